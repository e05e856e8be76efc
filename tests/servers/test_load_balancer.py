"""nginx in front of two gateways: it ends TLS and keeps a client on one of them by a cookie, as a cluster's balancer does."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest
import trio
import trustme

import trio_gateway
from tools.browser import program
from tools.serving import Server, serve

pytestmark = [pytest.mark.gateway, pytest.mark.full]

CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log info;
events {{ worker_connections 256; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    # Who comes without the cookie goes to a gateway by turns; who has it stays where it says.
    split_clients "$request_id" $turn {{ 50% one; * two; }}
    map $cookie_route $chosen {{ one one; two two; default $turn; }}
    map $chosen $backend {{ one {one}; two {two}; }}
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.key;
        {client}
        client_max_body_size 0;
        location /Cluster/A/ {{
            add_header Set-Cookie "route=$chosen; Path=/Cluster; Secure; HttpOnly; Max-Age=3600" always;
            proxy_pass $backend;
            rewrite ^/Cluster/A/(.*)$ /$1 break;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_read_timeout 300s;
        }}
    }}
}}
"""


@attrs.frozen
class Balancer:
    """nginx, and what a client needs to get in."""

    url: str
    token: str = attrs.field(repr=False)
    folder: Path
    ca: Path
    client_cert: Path


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Two gateways with one token."""
    token = secrets.token_hex(16)
    environ = {"KG_AUTH_TOKEN": token, "KG_LIST_KERNELS": "True"}

    def command(port: int) -> list[str]:
        options = {"ip": "127.0.0.1", "port": port, "port_retries": 0, "allow_root": True}
        given = [f"--KernelGatewayApp.{name}={value}" for name, value in options.items()]
        return [sys.executable, "-W", "ignore", "-m", "kernel_gateway", *given]

    with ExitStack() as stack:
        folders = [tmp_path_factory.mktemp("gateway") for _ in range(2)]
        yield [stack.enter_context(serve(command, folder, token=token, env=environ)) for folder in folders]


@pytest.fixture(scope="module", params=[False, True], ids=["tls", "mutual-tls"])
def balancer(
    request: pytest.FixtureRequest, behind: list[Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Balancer]:
    """nginx in front of them."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin") or program("nginx", "nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    server = authority.issue_cert("127.0.0.1")
    server.private_key_pem.write_to_path(folder / "server.key")
    for blob in server.cert_chain_pems:
        blob.write_to_path(folder / "server.pem", append=True)
    client = authority.issue_cert("client@example.org")
    client.private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    wanted = f"ssl_client_certificate {folder}/ca.pem; ssl_verify_client on;" if request.param else ""
    one, two = (gateway.url for gateway in behind)
    configuration = folder / "nginx.conf"

    def command(port: int) -> list[str]:
        configuration.write_text(CONFIGURATION.format(folder=folder, port=port, one=one, two=two, client=wanted))
        return [nginx, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(configuration)]

    with serve(command, folder) as running:
        port = running.url.rpartition(":")[2]
        yield Balancer(
            f"https://127.0.0.1:{port}/Cluster/A", behind[0].token, folder, folder / "ca.pem", folder / "client.pem"
        )  # fmt: skip


def settings(place: Balancer) -> dict[str, object]:
    """What a client says to get through."""
    return {"auth_token": place.token, "ca_certs": str(place.ca), "client_cert": str(place.client_cert), "accept_cookies": True}


async def test_kernels_and_their_websockets_stay_where_the_cookie_says(balancer: Balancer) -> None:
    access = balancer.folder / "access.log"
    seen = len(access.read_text())
    async with trio_gateway.open_gateway(balancer.url, **settings(balancer)) as gateway:
        for number in range(4):
            async with gateway.start_kernel() as kernel:
                assert (await kernel.execute(f"{number} + 1")).text == str(number + 1)
                assert [model.id for model in await gateway.kernels.list()] == [kernel.id]
    with trio.fail_after(120):
        while access.read_text()[seen:].count("channels?session_id=") < 4:  # noqa: ASYNC110
            await trio.sleep(0.05)  # it writes the line when it has noticed that both sides hung up
    log = access.read_text()[seen:]
    assert log.count("channels?session_id=") == 4
    assert " 404 " not in log


async def test_a_certificate_of_an_unknown_authority_is_refused_and_says_what_to_do(balancer: Balancer) -> None:
    async with trio_gateway.open_gateway(balancer.url, auth_token=balancer.token, max_request_retries=0) as gateway:
        with pytest.raises(trio_gateway.GatewayConnectionError, match="ca_certs"):
            await gateway.kernelspecs.list()


async def test_without_verification_it_works_and_warns(balancer: Balancer, caplog: pytest.LogCaptureFixture) -> None:
    certificate = str(balancer.client_cert)
    async with trio_gateway.open_gateway(
        balancer.url, auth_token=balancer.token, validate_cert=False, client_cert=certificate, accept_cookies=True
    ) as gateway:
        assert (await gateway.kernelspecs.list()).default == "python3"
    assert "validate_cert is off" in caplog.text
