"""The TLS context: what is trusted, who we are, and a clear word for each file that can't be used."""

from __future__ import annotations

import logging
import shutil
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trustme
from cryptography.hazmat.primitives import serialization

from tools.scripted_http import Dice, Request, Server, in_turn, response
from trio_gateway._config import GatewayConfig
from trio_gateway._errors import ConfigError, GatewayConnectionError
from trio_gateway._transport.http.client import HttpClient, open_http_client
from trio_gateway._transport.tls import build_ssl_context, load_ssl_context

URL = "https://gateway.test"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def client_files(authority: trustme.CA, tmp_path: Path) -> dict[str, Path]:
    issued = authority.issue_cert("client@gateway.test")
    files = {name: tmp_path / f"{name}.pem" for name in ("cert", "key", "both", "encrypted", "other")}
    for blob in issued.cert_chain_pems:
        blob.write_to_path(files["cert"], append=True)
        blob.write_to_path(files["both"], append=True)
    issued.private_key_pem.write_to_path(files["key"])
    issued.private_key_pem.write_to_path(files["both"], append=True)
    authority.issue_cert("another@gateway.test").private_key_pem.write_to_path(files["other"])
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    files["encrypted"].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    return files


class TLSServer(Server):
    """The scripted server behind TLS."""

    context: ssl.SSLContext

    async def _serve(self, stream: trio.abc.Stream, number: int) -> None:
        secure = trio.SSLStream(stream, self.context, server_side=True, https_compatible=True)
        try:
            await secure.do_handshake()
        except trio.BrokenResourceError:
            # Trio keeps the alert to itself; OpenSSL on a socket sends it.
            with suppress(trio.BrokenResourceError):
                await stream.send_all(secure._outgoing.read())
            await stream.aclose()
        else:
            await super()._serve(secure, number)


@asynccontextmanager
async def bench(
    authority: trustme.CA, *, name: str = "gateway.test", wants_certificate: bool = False, **settings: Any
) -> AsyncGenerator[tuple[HttpClient, list[Request]]]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    if wants_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    async with trio.open_nursery() as nursery:
        server = TLSServer(nursery, in_turn(response()))
        server.context = context
        config = GatewayConfig(**{"url": URL, **settings})
        try:
            async with open_http_client(config, connector=server.connect, rng=Dice()) as http:  # type: ignore[arg-type]
                yield http, server.requests
        finally:
            nursery.cancel_scope.cancel()


# ------------------------------------------------------------------------------------------------------ who is trusted


async def test_a_private_authority_needs_no_client_certificate(authority: trustme.CA, ca_file: str):  # lesson B31
    async with bench(authority, ca_certs=ca_file) as (http, requests):
        await http.request("GET", "/")
        await http.request("POST", "/")
    assert [request.connection for request in requests] == [1, 1]


@pytest.mark.parametrize("name", ["ca.pem", "ca.CRT", "ca.cer", "hashed"])
async def test_an_authority_in_a_folder(authority: trustme.CA, ca_file: str, name: str, tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "README").write_text("not a certificate")
    if name == "hashed":
        if shutil.which("openssl") is None:
            pytest.skip("there is no openssl command")
        hashed = await trio.run_process(["openssl", "x509", "-hash", "-noout", "-in", ca_file], capture_stdout=True)
        name = f"{hashed.stdout.decode().strip()}.0"
    shutil.copy(ca_file, folder / name)
    async with bench(authority, ca_certs=str(folder)) as (http, _):
        await http.request("GET", "/")


async def test_an_unknown_authority_is_not_trusted_and_not_tried_twice(authority: trustme.CA):
    async with bench(authority) as (http, requests):
        with pytest.raises(GatewayConnectionError, match=r"not accepted.*ca_certs") as caught:
            await http.request("GET", "/")
    assert requests == []
    assert caught.value.attempts == 1


async def test_another_hosts_certificate_is_not_accepted(authority: trustme.CA, ca_file: str):
    async with bench(authority, name="other.test", ca_certs=ca_file) as (http, requests):
        with pytest.raises(GatewayConnectionError, match=r"not valid for 'gateway\.test'"):
            await http.request("GET", "/")
    assert requests == []


@pytest.mark.parametrize("text", ["False", "0", "no", "NO", "off"])
async def test_verification_can_be_switched_off_and_warns(
    authority: trustme.CA, text: str, caplog: pytest.LogCaptureFixture
):  # lesson B32: "False", "0" and "NO" meant yes
    config = GatewayConfig.from_env({"JUPYTER_GATEWAY_URL": URL, "JUPYTER_GATEWAY_VALIDATE_CERT": text})
    async with bench(authority, name="other.test", validate_cert=config.validate_cert) as (http, requests):
        await http.request("GET", "/")
    assert len(requests) == 1
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "validate_cert is off" in record.getMessage()


async def test_where_verification_is_on_nobody_is_warned(authority: trustme.CA, ca_file: str, caplog: pytest.LogCaptureFixture):
    async with bench(authority, ca_certs=ca_file) as (http, _):
        await http.request("GET", "/")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


# ---------------------------------------------------------------------------------------------------------- who we are


@pytest.mark.parametrize("files", [{"client_cert": "cert", "client_key": "key"}, {"client_cert": "both"}])
async def test_a_client_certificate(authority: trustme.CA, ca_file: str, client_files: dict[str, Path], files: dict[str, str]):
    paths = {setting: str(client_files[name]) for setting, name in files.items()}
    async with bench(authority, wants_certificate=True, ca_certs=ca_file, **paths) as (http, requests):
        await http.request("GET", "/")
    assert len(requests) == 1


async def test_a_client_certificate_that_is_wanted_and_missing(authority: trustme.CA, ca_file: str):
    """With TLS 1.3 the server says so only after the handshake; it has not read the request, and asking again is in vain."""
    async with bench(authority, wants_certificate=True, ca_certs=ca_file) as (http, requests):
        with pytest.raises(GatewayConnectionError, match="certificate required") as caught:
            await http.request("GET", "/")
    assert requests == []
    assert caught.value.attempts == 1


# ----------------------------------------------------------------------------------------------------------- bad files


def problem(**settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build_ssl_context(GatewayConfig(url=URL, **settings))
    assert len(caught.value.problems) == 1
    return str(caught.value)


def test_files_that_can_not_be_used_are_named(ca_file: str, client_files: dict[str, Path], tmp_path: Path):  # G10
    text = tmp_path / "text.pem"
    text.write_text("nothing of the kind")
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    cert, key = str(client_files["cert"]), str(client_files["key"])
    assert problem(ca_certs=str(text)).startswith(
        f"ca_certs: '{text}' can't be used; expected a file or folder with certificates"
    )
    assert "ca_certs" in problem(ca_certs=str(broken))
    assert problem(ca_certs=str(empty)).startswith(f"ca_certs: '{empty}' can't be used; expected a folder with certificates")
    assert problem(client_cert=str(text)).startswith("client_cert: ")
    assert problem(client_cert=str(broken), client_key=key).startswith("client_")
    assert "expected a file with a certificate in PEM and its private key" in problem(client_cert=cert)
    assert problem(client_cert=cert, client_key=str(text)).startswith(f"client_key: '{text}' can't be used")
    assert problem(client_cert=cert, client_key=str(client_files["other"])).startswith("client_key: ")
    assert "belongs to the certificate" in problem(client_cert=cert, client_key=str(client_files["other"]))


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(client_files: dict[str, Path]):
    """Left alone, OpenSSL asks at the terminal and blocks for ever."""
    text = problem(client_cert=str(client_files["cert"]), client_key=str(client_files["encrypted"]))
    assert text.startswith("client_key: ")
    assert "without a password" in text


def test_files_that_have_gone_since(ca_file: str, client_files: dict[str, Path]):
    config = GatewayConfig(url=URL, ca_certs=ca_file, client_cert=str(client_files["cert"]), client_key=str(client_files["key"]))
    Path(ca_file).unlink()
    client_files["key"].unlink()
    with pytest.raises(ConfigError) as caught:
        build_ssl_context(config)
    assert [one.field for one in caught.value.problems] == ["ca_certs", "client_key"]
    assert "No such file" in str(caught.value)


def test_a_problem_names_its_variable(tmp_path: Path):
    text = tmp_path / "text.pem"
    text.write_text("nothing of the kind")
    config = GatewayConfig.from_env({"JUPYTER_GATEWAY_URL": URL, "JUPYTER_GATEWAY_CA_CERTS": str(text)})
    with pytest.raises(ConfigError, match="from JUPYTER_GATEWAY_CA_CERTS"):
        build_ssl_context(config)


async def test_a_bad_file_is_told_when_the_client_opens(tmp_path: Path):
    text = tmp_path / "text.pem"
    text.write_text("nothing of the kind")
    with pytest.raises(ConfigError, match="ca_certs"):
        async with open_http_client(GatewayConfig(url=URL, ca_certs=str(text))):
            pass


# --------------------------------------------------------------------------------------------------------- the context


async def test_a_context_is_made_only_where_it_is_needed():
    assert await load_ssl_context(GatewayConfig(url="http://gateway.test")) is None
    for settings in ({"url": URL}, {"url": "http://gateway.test", "ws_url": "wss://gateway.test"}):
        context = await load_ssl_context(GatewayConfig(**settings))
        assert context is not None
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_http_stays_plain_where_only_the_websocket_has_tls():
    async with trio.open_nursery() as nursery:
        server = Server(nursery, in_turn(response()))
        config = GatewayConfig(url="http://gateway.test", ws_url="wss://gateway.test")
        async with open_http_client(config, connector=server.connect) as http:
            assert http.ssl_context is not None
            await http.request("GET", "/")
        nursery.cancel_scope.cancel()
    assert server.addresses == [("gateway.test", 80)]


def test_authorities_of_the_system_are_trusted():
    context = build_ssl_context(GatewayConfig(url=URL))
    paths = ssl.get_default_verify_paths()
    if not context.cert_store_stats()["x509_ca"]:
        assert paths.capath


def test_own_authorities_replace_those_of_the_system(ca_file: str):
    assert build_ssl_context(GatewayConfig(url=URL, ca_certs=ca_file)).cert_store_stats()["x509_ca"] == 1


def test_without_authorities_on_the_system_there_may_be_certifi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pytest.importorskip("certifi")
    nowhere = str(tmp_path / "none")
    monkeypatch.setenv("SSL_CERT_FILE", nowhere)
    monkeypatch.setenv("SSL_CERT_DIR", nowhere)
    assert build_ssl_context(GatewayConfig(url=URL)).cert_store_stats()["x509_ca"] > 10
