"""The TLS context: what is trusted, who we are, and a clear word for each file that can't be used."""

from __future__ import annotations

import logging
import shutil
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
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
from trio_gateway._transport.connector import TLSRefusedError
from trio_gateway._transport.http.client import HttpClient, open_http_client
from trio_gateway._transport.tls import build_ssl_context, load_ssl_context
from trio_gateway._transport.websocket.engine import WebSocketOptions
from trio_gateway._transport.websocket.opening import open_websocket

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
                await stream.receive_some()  # a socket takes what the client sends before it has heard of that
            await stream.aclose()
        else:
            await super()._serve(secure, number)


@asynccontextmanager
async def bench(
    authority: trustme.CA,
    *,
    name: str = "gateway.test",
    wants_certificate: bool = False,
    validity: Mapping[str, datetime] = {},
    server: Mapping[str, Any] = {},
    **settings: Any,
) -> AsyncGenerator[tuple[HttpClient, list[Request]]]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name, **validity).configure_cert(context)
    for attribute, value in server.items():
        setattr(context, attribute, value)
    if wants_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    async with trio.open_nursery() as nursery:
        listening = TLSServer(nursery, in_turn(response()))
        listening.context = context
        config = GatewayConfig(**{"url": URL, **settings})
        try:
            async with open_http_client(config, connector=listening.connect, rng=Dice()) as http:  # type: ignore[arg-type]
                yield http, listening.requests
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


NOW = datetime.now(UTC)  # noqa: TID251 - certificates are valid by the wall clock, which OpenSSL reads
OF_SERVERS: dict[str, tuple[dict[str, Any], str]] = {
    "of another host": (
        {"name": "other.test"},
        "Hostname mismatch, certificate is not valid for 'gateway.test' (the URL's host must be one that the certificate is for)",
    ),
    "of an address only": (
        {"name": "127.0.0.1"},
        "Hostname mismatch, certificate is not valid for 'gateway.test' (the URL's host must be one that the certificate is for)",
    ),
    "expired": (
        {"validity": {"not_before": NOW - timedelta(days=9), "not_after": NOW - timedelta(days=1)}},
        "certificate has expired (the server's has to be renewed; or else this machine's clock is wrong)",
    ),
    "of the future": (
        {"validity": {"not_before": NOW + timedelta(days=1), "not_after": NOW + timedelta(days=9)}},
        "certificate is not yet valid (is this machine's clock right?)",
    ),
}


@pytest.mark.parametrize("which", OF_SERVERS)
async def test_a_certificate_that_is_not_accepted_is_told_with_its_cure(which: str, authority: trustme.CA, ca_file: str):
    settings, said = OF_SERVERS[which]
    async with bench(authority, ca_certs=ca_file, **settings) as (http, requests):
        with pytest.raises(TLSRefusedError) as caught:
            await http.request("GET", "/")
    assert str(caught.value) == f"gateway.test:443 shows a certificate that is not accepted: {said}"
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


PAST = {"not_before": NOW - timedelta(days=9), "not_after": NOW - timedelta(days=1)}
FUTURE = {"not_before": NOW + timedelta(days=1), "not_after": NOW + timedelta(days=9)}
REFUSED = "gateway.test:443 refuses the certificate in client_cert, or that there is none: "
OF_CLIENTS = {
    "missing": (None, "gateway.test:443 asks for a certificate of ours, which belongs into client_cert: certificate required"),
    "expired": (PAST, f"{REFUSED}certificate expired"),
    "of the future": (FUTURE, f"{REFUSED}bad certificate"),
    "of another authority": ({}, f"{REFUSED}unknown ca"),
}


@pytest.mark.parametrize("way", ["http", "fast", "trio-websocket"])
@pytest.mark.parametrize("which", OF_CLIENTS)
async def test_a_client_certificate_that_is_not_accepted(
    which: str, way: str, authority: trustme.CA, ca_file: str, tmp_path: Path
):
    """With TLS 1.3 the server says so only after the handshake; it has not read the request, and asking again is in vain."""
    validity, said = OF_CLIENTS[which]
    settings = {"ca_certs": ca_file}
    if validity is not None:
        issuer = trustme.CA() if which == "of another authority" else authority
        settings["client_cert"] = str(tmp_path / "client.pem")
        issuer.issue_cert("client@gateway.test", **validity).private_key_and_cert_chain_pem.write_to_path(settings["client_cert"])
    async with bench(authority, wants_certificate=True, **settings) as (http, requests):
        with pytest.raises(TLSRefusedError) as caught:
            if way == "http":
                await http.request("GET", "/")
            else:
                async with open_websocket(
                    "wss://gateway.test/x",
                    connector=http.connector,
                    ssl_context=http.ssl_context,
                    headers=[],
                    subprotocols=[],
                    options=WebSocketOptions(max_message_size=1, connect_timeout=60, handshake_timeout=60, engine=way),
                ):
                    pass
    assert str(caught.value) == (said if way == "http" else f"can't connect to wss://gateway.test/x: {said}")
    assert requests == []
    assert caught.value.attempts == 1


async def test_a_server_of_tls_1_2_says_less_of_a_certificate_that_is_missing(authority: trustme.CA, ca_file: str):
    limits = {"maximum_version": ssl.TLSVersion.TLSv1_2}
    async with bench(authority, wants_certificate=True, ca_certs=ca_file, server=limits) as (http, requests):
        with pytest.raises(TLSRefusedError, match=r"handshake failure \(does it ask for a certificate of ours\?.*client_cert\)$"):
            await http.request("GET", "/")
    assert requests == []


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


def test_a_file_in_a_folder_that_can_not_be_used_is_named(ca_file: str, tmp_path: Path):  # G10
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(ca_file, folder / "a.pem")
    (folder / "key.pem").write_text("no certificate")
    assert "(key.pem: no certificate or crl found)" in problem(ca_certs=str(folder))


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


def test_a_folder_of_authorities_that_is_closed_to_us_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))

    def refuse(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert build_ssl_context(GatewayConfig(url=URL)).verify_mode == ssl.CERT_REQUIRED


def test_without_authorities_on_the_system_there_may_be_certifi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pytest.importorskip("certifi")
    nowhere = str(tmp_path / "none")
    monkeypatch.setenv("SSL_CERT_FILE", nowhere)
    monkeypatch.setenv("SSL_CERT_DIR", nowhere)
    assert build_ssl_context(GatewayConfig(url=URL)).cert_store_stats()["x509_ca"] > 10
