"""nginx in front of two gateways: it ends TLS and keeps a client on one of them by a cookie, as a cluster's balancer does."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import attrs
import pytest
import trio
import trustme

import trio_gateway
from trio_gateway._gateway.local import run_local_gateway

from .conftest import free_port

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
    map $chosen $backend {{ one 127.0.0.1:{one}; two 127.0.0.1:{two}; }}
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.key;
        {client}
        client_max_body_size 0;
        location /Cluster/A/ {{
            add_header Set-Cookie "route=$chosen; Path=/Cluster; Secure; HttpOnly; Max-Age=3600" always;
            proxy_pass http://$backend;
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
    folder: Path
    ca: Path
    client_cert: Path


@pytest.fixture(params=[False, True], ids=["tls", "mutual-tls"])
def balancer(request: pytest.FixtureRequest, nginx: str, tmp_path: Path) -> Iterator[tuple[Balancer, int, int]]:
    """nginx on ports of its own; the two gateways behind it are started by `behind`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = authority.issue_cert("127.0.0.1")
    server.private_key_pem.write_to_path(tmp_path / "server.key")
    for blob in server.cert_chain_pems:
        blob.write_to_path(tmp_path / "server.pem", append=True)
    client = authority.issue_cert("client@example.org")
    client.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    port, one, two = free_port(), free_port(), free_port()
    wanted = f"ssl_client_certificate {tmp_path}/ca.pem; ssl_verify_client on;" if request.param else ""
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=tmp_path, port=port, one=one, two=two, client=wanted))
    command = [nginx, "-p", str(tmp_path), "-e", str(tmp_path / "error.log"), "-c", str(configuration)]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    process = subprocess.Popen(command)
    try:
        url = f"https://127.0.0.1:{port}/Cluster/A"
        yield Balancer(url, tmp_path, tmp_path / "ca.pem", tmp_path / "client.pem"), one, two
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
async def behind(balancer: tuple[Balancer, int, int]) -> AsyncGenerator[tuple[Balancer, str]]:
    """Two gateways with one token behind the balancer."""
    place, one, two = balancer
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(run_local_gateway()) for _ in range(2)]
        token = "a-token-for-both"
        async with trio.open_nursery() as nursery:
            for port, process in zip((one, two), processes, strict=True):
                nursery.start_soon(relay, port, process.url, process.token, token)
            yield place, token
            nursery.cancel_scope.cancel()


async def relay(port: int, url: str, own: str, shared: str) -> None:
    """Give a gateway of our own, whose port and token are random, a known port and a known token."""
    target_port = int(url.rpartition(":")[2].rstrip("/"))

    async def carry(source: trio.SocketStream, sink: trio.SocketStream, swap: tuple[bytes, bytes] | None) -> None:
        try:
            async for data in source:
                await sink.send_all(data.replace(*swap) if swap else data)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def serve(client: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", target_port) as server, trio.open_nursery() as nursery:
            nursery.start_soon(carry, client, server, (f"token {shared}".encode(), f"token {own}".encode()))
            nursery.start_soon(carry, server, client, None)

    await trio.serve_tcp(serve, port, host="127.0.0.1")


def settings(place: Balancer, token: str) -> dict[str, object]:
    """What a client says to get through."""
    return {"auth_token": token, "ca_certs": str(place.ca), "client_cert": str(place.client_cert), "accept_cookies": True}


async def test_kernels_and_their_websockets_stay_where_the_cookie_says(behind: tuple[Balancer, str]) -> None:
    place, token = behind
    async with trio_gateway.open_gateway(place.url, **settings(place, token)) as gateway:
        for number in range(4):
            async with gateway.start_kernel() as kernel:
                assert (await kernel.execute(f"{number} + 1")).text == str(number + 1)
                assert [model.id for model in await gateway.kernels.list()] == [kernel.id]
        log = (place.folder / "access.log").read_text()
    assert log.count("channels?session_id=") == 4
    assert " 404 " not in log


async def test_a_certificate_of_an_unknown_authority_is_refused_and_says_what_to_do(behind: tuple[Balancer, str]) -> None:
    place, token = behind
    async with trio_gateway.open_gateway(place.url, auth_token=token, max_request_retries=0) as gateway:
        with pytest.raises(trio_gateway.GatewayConnectionError, match="ca_certs"):
            await gateway.kernelspecs.list()


async def test_without_verification_it_works_and_warns(behind: tuple[Balancer, str], caplog: pytest.LogCaptureFixture) -> None:
    place, token = behind
    certificate = str(place.client_cert)
    async with trio_gateway.open_gateway(
        place.url, auth_token=token, validate_cert=False, client_cert=certificate, accept_cookies=True
    ) as gateway:
        assert (await gateway.kernelspecs.list()).default == "python3"
    assert "validate_cert is off" in caplog.text
