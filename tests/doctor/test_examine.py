"""What the doctor finds: on ways to a gateway that are broken, each in its own way, and what it says to do."""

from __future__ import annotations

import json
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import h11
import pytest
import trio
import trustme

from trio_gateway import GatewayConfig
from trio_gateway._doctor.examine import STEPS, examine
from trio_gateway._doctor.findings import Check
from trio_gateway._transport.probe import Handshake

NOW = 1_800_000_000.0


async def checks_of(config: GatewayConfig, **traits: Any) -> dict[str, Check]:
    """Examine a gateway, and give the checks by name."""
    told: list[Check] = []

    async def report(check: Check) -> None:
        await trio.lowlevel.checkpoint()
        told.append(check)

    traits.setdefault("environ", {})
    traits.setdefault("now", NOW)
    checks = await examine(config, report=report, **traits)
    assert checks == told
    assert tuple(check.name for check in checks) == STEPS
    return {check.name: check for check in checks}


def failed(checks: dict[str, Check]) -> Check:
    """Give the one check that failed; what comes after it must be skipped."""
    (found,) = [check for check in checks.values() if check.status == "failed"]
    after = STEPS[STEPS.index(found.name) + 1 :]
    assert {checks[name].status for name in after} <= {"skipped"}
    assert found.advice
    return found


class _Resolver(trio.abc.HostnameResolver):
    """A name service that knows one name and nothing else."""

    async def getaddrinfo(self, host: Any, port: Any, *hints: Any, **more: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if host == b"silent.test":
            await trio.sleep_forever()
        if host != b"gateway.test":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


async def test_a_name_that_does_not_resolve(autojump_clock: trio.testing.MockClock) -> None:
    trio.socket.set_custom_hostname_resolver(_Resolver())
    config = GatewayConfig.from_env({"JUPYTER_GATEWAY_URL": "http://nosuchhost.invalid"})
    check = failed(await checks_of(config, environ={"HTTPS_PROXY": "http://user:s3cret@proxy.test"}))
    assert check.name == "name"
    assert "nosuchhost.invalid does not resolve" in check.detail
    assert "url (from JUPYTER_GATEWAY_URL)" in check.advice
    assert "HTTPS_PROXY is not used" in check.advice
    assert "s3cret" not in check.advice
    check = failed(await checks_of(GatewayConfig(url="http://silent.test")))
    assert (check.name, check.status) == ("name", "failed")
    assert "JUPYTER_GATEWAY_CONNECT_TIMEOUT" in check.advice


async def test_nobody_answers(autojump_clock: trio.testing.MockClock) -> None:
    async def silence(host: str, port: int) -> trio.abc.Stream:
        await trio.sleep_forever()
        raise AssertionError

    checks = await checks_of(GatewayConfig(url="http://gateway.test"), connector=silence)
    assert checks["name"].status == "skipped"
    assert failed(checks).name == "tcp"
    assert "firewall" in failed(checks).advice


# ----------------------------------------------------------------------------------------------------- a scripted server


@attrs.frozen
class Answer:
    """What the scripted server says to a path; with the status 0 nothing at all."""

    status: int
    body: object = None
    location: str = ""


Script = Callable[[str], Answer]


def well(path: str) -> Answer:
    """Answer as an Enterprise Gateway does, as far as it gets without a kernel."""
    if path == "/api":
        return Answer(200, {"version": "1.24.0", "gateway_version": "3.3.0"})
    if path == "/api/kernelspecs":
        return Answer(200, {"default": "py", "kernelspecs": {"py": {"name": "py", "spec": {"argv": [], "display_name": "P"}}}})
    return Answer(404, {"reason": "Not Found"})


def but(**answers: Answer) -> Script:
    """Answer as `well` does, but for these: `api`, `specs`, `start`, `socket`."""
    names = {"/api": "api", "/api/kernelspecs": "specs", "/api/kernels": "start"}

    def script(path: str) -> Answer:
        name = "socket" if path.endswith("/channels") else names.get(path, "")
        return answers.get(name) or well(path)

    return script


@asynccontextmanager
async def serving(
    script: Script, tls: ssl.SSLContext | None = None, *, asked: list[tuple[str, bool]] | None = None
) -> AsyncGenerator[int]:
    """Serve on loopback; gives the port. `asked` gets each path, and whether it was asked for with credentials."""

    async def serve(stream: trio.abc.Stream) -> None:
        if tls is not None:
            stream = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        connection = h11.Connection(h11.SERVER)
        try:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some())
                elif isinstance(event, h11.Request):
                    path = event.target.decode().partition("?")[0]
                    answer = script(path)
                    if asked is not None:
                        asked.append((path, b"authorization" in dict(event.headers)))
                elif isinstance(event, h11.EndOfMessage):
                    if not answer.status:
                        await trio.sleep_forever()
                    body = answer.body.encode() if isinstance(answer.body, str) else json.dumps(answer.body).encode()
                    headers = [("Content-Length", str(len(body))), ("Connection", "close")]
                    if answer.location:
                        headers.append(("Location", answer.location))
                    head = connection.send(h11.Response(status_code=answer.status, headers=headers))
                    data = connection.send(h11.Data(data=body))
                    await stream.send_all((head or b"") + (data or b""))
                    await stream.aclose()
                    return
                elif not isinstance(event, h11.Data):
                    return
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            return

    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        try:
            yield listeners[0].socket.getsockname()[1]
        finally:
            nursery.cancel_scope.cancel()


async def examined(script: Script, *, kernel: bool = False, **settings: Any) -> dict[str, Check]:
    """Examine the scripted server."""
    async with serving(script) as port:
        return await checks_of(GatewayConfig(**{"url": f"http://127.0.0.1:{port}", **settings}), kernel=kernel)


async def test_what_an_enterprise_gateway_says_of_itself() -> None:
    checks = await examined(well, kernel_username="me")
    assert {check.status for check in checks.values()} == {"ok", "skipped"}
    assert "Enterprise Gateway 3.3.0 on Jupyter server 1.24.0" in checks["http"].detail
    assert checks["kernelspecs"].detail == "py (default)"
    assert "none is asked for" in checks["authentication"].detail


async def test_a_short_token_leaves_the_doctors_own_words_alone() -> None:  # G8
    """It is a part of many words by chance, where it tells nothing."""
    checks = await examined(well, auth_token="s")
    assert checks["settings"].detail == "the settings, and the files and classes that they name, can be used"
    assert "[hidden]" not in repr(list(checks.values()))


@pytest.mark.parametrize(
    ("script", "step", "words", "advice"),
    [
        (but(api=Answer(200, "<html>login</html>")), "http", "JSON", "login page"),
        (but(api=Answer(302, "")), "http", "redirects", "url"),
        (but(api=Answer(502, "")), "http", "502", "behind it does not"),
        (but(api=Answer(500, "")), "http", "500", "log"),
        (but(api=Answer(401, "")), "authentication", "401", "Set the gateway's token"),
        (but(specs=Answer(403, "")), "authentication", "403", "Set the gateway's token"),
        (but(specs=Answer(200, {"kernelspecs": 1})), "kernelspecs", "kernelspecs", "url"),
        (but(socket=Answer(400, 'Can "Upgrade" only to "WebSocket".')), "websocket", "400", "Upgrade $http_upgrade"),
        (but(socket=Answer(403, "")), "websocket", "403", "credentials"),
        (but(socket=Answer(502, "")), "websocket", "502", "Upgrade $http_upgrade"),
    ],
)
async def test_each_way_to_fail_names_its_step_and_what_to_do(script: Script, step: str, words: str, advice: str) -> None:
    checks = await examined(script)
    found = [check for check in checks.values() if check.status == "failed"]
    assert [check.name for check in found] == [step]
    assert words in found[0].detail
    assert advice in found[0].advice


@pytest.mark.parametrize(
    ("script", "step", "words"),
    [
        (but(api=Answer(404, "")), "http", "404"),
        (but(api=Answer(200, {})), "http", "without a version"),
        (but(specs=Answer(404, "")), "kernelspecs", "no list"),
        (but(specs=Answer(200, {"default": "py", "kernelspecs": {}})), "kernelspecs", "empty"),
        (but(specs=Answer(200, {**well("/api/kernelspecs").body, "default": "r"})), "kernelspecs", "none of them"),  # type: ignore[dict-item]
    ],
)
async def test_what_is_odd_is_a_warning_and_the_rest_is_checked(script: Script, step: str, words: str) -> None:
    checks = await examined(script)
    assert [check.name for check in checks.values() if check.status in {"warning", "failed"}] == [step]
    assert words in checks[step].detail
    assert checks[step].advice
    assert checks["websocket"].status == "ok"


async def test_401_and_403_are_told_apart_when_there_is_a_token_and_an_echoed_token_is_masked() -> None:
    unknown = failed(await examined(but(specs=Answer(401, {"message": "no token s3cret-t0ken"})), auth_token="s3cret-t0ken"))
    forbidden = failed(await examined(but(specs=Answer(403, {"message": "not you"})), auth_token="s3cret-t0ken"))
    assert "does not know auth_token" in unknown.advice
    assert "JUPYTER_GATEWAY_AUTH_SCHEME" in unknown.advice
    assert "forbids" in forbidden.advice
    assert "KERNEL_USERNAME" in forbidden.advice
    assert "s3cret" not in unknown.detail + str(unknown)
    told = await examined(but(api=Answer(200, {"version": "s3cret-t0ken"})), auth_token="s3cret-t0ken")
    assert "s3cret" not in str(told)


async def test_a_kernel_that_does_not_start_still_lets_the_handshake_be_checked() -> None:
    checks = await examined(but(start=Answer(500, {"message": "no such thing"})), kernel=True)
    assert (checks["kernel"].status, checks["websocket"].status) == ("failed", "ok")
    assert "log" in checks["kernel"].advice
    assert checks["reply"].detail == "not checked, since kernel failed"
    checks = await examined(but(start=Answer(403, {"message": "limit"})), kernel=True)
    assert "a limit of kernels" in checks["kernel"].advice


STARTED = Answer(201, {"id": "5b7e4f0a-0000-4000-8000-000000000001", "name": "py"})


async def test_a_handshake_that_is_held_back_is_told_and_the_kernel_is_shut_down(mock_clock: trio.testing.MockClock) -> None:
    removed: list[str] = []

    def script(path: str) -> Answer:
        if path.endswith("/channels"):
            mock_clock.jump(1000)
            return Answer(0)
        if path.endswith(STARTED.body["id"]):  # type: ignore[index]
            removed.append(path)
        return but(start=STARTED)(path)

    checks = await examined(script, kernel=True)
    assert [checks[name].status for name in STEPS[-4:]] == ["ok", "failed", "skipped", "ok"]
    assert "is that one alive" in checks["websocket"].advice
    assert checks["reply"].detail == "not checked, since websocket failed"
    assert removed


async def test_a_kernel_that_can_not_be_shut_down_is_told() -> None:
    def script(path: str) -> Answer:
        return Answer(500) if path.endswith("1") else but(start=STARTED, socket=Answer(400))(path)

    checks = await examined(script, kernel=True)
    assert [checks[name].status for name in STEPS[-4:]] == ["ok", "failed", "skipped", "failed"]
    assert "500" in checks["shutdown"].detail


@pytest.mark.parametrize("silent", [True, False])
async def test_what_the_kernel_says_or_does_not_say(
    silent: bool, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kernel:
        async def kernel_info(self) -> dict[str, str]:
            if silent:
                mock_clock.jump(1000)
                await trio.sleep_forever()
            return {"implementation": "K\x1b[31m", "protocol_version": "5.4"}

    @asynccontextmanager
    async def open_kernel(*_: object, **__: object) -> AsyncGenerator[Kernel]:
        yield Kernel()

    async def shake_hands(*_: object) -> Handshake:
        await trio.lowlevel.checkpoint()
        return Handshake(101)

    monkeypatch.setattr("trio_gateway._doctor.examine.open_kernel", open_kernel)
    monkeypatch.setattr("trio_gateway._doctor.examine.shake_hands", shake_hands)
    checks = await examined(but(start=STARTED), kernel=True)
    assert checks["websocket"].detail == "connected, with the older framing"
    assert checks["shutdown"].status == "ok"
    if silent:
        assert (checks["reply"].status, "silent" in checks["reply"].advice) == ("failed", True)
    else:
        assert checks["reply"].detail == "K [31m answers, in version 5.4 of the protocol"


async def test_what_is_not_http() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(b"SSH-2.0-OpenSSH_9.6\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        assert failed(await checks_of(GatewayConfig(url=f"http://127.0.0.1:{port}"))).name == "http"
        secure = failed(await checks_of(GatewayConfig(url=f"https://127.0.0.1:{port}")))
        assert (secure.name, "http://" in secure.advice) == ("tls", True)
        nursery.cancel_scope.cancel()


# ------------------------------------------------------------------------------------------- the wrong address, scheme, path


async def test_https_where_plain_http_is_spoken_is_found_by_asking(mock_clock: trio.testing.MockClock) -> None:
    """As tornado, this server answers nothing to a TLS hello, since that has no line's end."""

    async def serve(stream: trio.SocketStream) -> None:
        data = await stream.receive_some()
        if not data.startswith(b"GET "):
            mock_clock.jump(3)  # past the patience with a handshake, and far from the limit of 40 s
            await trio.sleep_forever()
        await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        check = failed(await checks_of(GatewayConfig(url=f"https://127.0.0.1:{port}/base", auth_token="t0ken")))
        nursery.cancel_scope.cancel()
    assert (check.name, "plain HTTP" in check.detail) == ("tls", True)
    assert check.advice.startswith("Write http:// in url")
    assert check.seconds < 40


async def test_http_to_a_port_of_tls_says_https(authority: trustme.CA) -> None:
    async with serving(well, server_context(authority)) as port:
        check = failed(await checks_of(GatewayConfig(url=f"http://127.0.0.1:{port}"), kernel=False))
    assert (check.name, "write https:// in url" in check.advice) == ("http", True)


def redirecting(where: str) -> Script:
    return lambda path: Answer(308, "", location=where.replace("{path}", path))


@pytest.mark.parametrize(
    ("where", "advice"),
    [
        ("https://127.0.0.1{path}", "write https://127.0.0.1/base in url"),
        ("https://127.0.0.1:8443{path}", "write https://127.0.0.1:8443/base in url"),
        ("https://login.test/?next=s3cret", "It sends on to login.test"),
        ("http://u:s3cret@[::1", "the gateway's whole URL"),
        ("/login", "may be a login page"),
    ],
)
async def test_a_redirect_says_where_to(where: str, advice: str) -> None:
    async with serving(redirecting(where)) as port:
        check = failed(await checks_of(GatewayConfig(url=f"http://127.0.0.1:{port}/base"), kernel=False))
    assert check.name == "http"
    assert advice in check.advice
    assert "s3cret" not in check.advice


async def test_a_wrong_path_fails_and_the_right_one_is_found_without_credentials() -> None:
    asked: list[tuple[str, bool]] = []

    def script(path: str) -> Answer:
        inside = path.startswith("/hub/team/api")
        return well(path.removeprefix("/hub/team")) if inside else Answer(404, "<html>nothing here</html>")

    for below, found in (("/hub/team/lab", True), ("/elsewhere", False), ("", False)):
        async with serving(script, asked=asked) as port:
            url = f"http://127.0.0.1:{port}{below}"
            check = failed(await checks_of(GatewayConfig(url=url, auth_token="t0ken"), kernel=False))
        assert check.name == "http"
        assert (f"It answers at http://127.0.0.1:{port}/hub/team: write that in url" in check.advice) is found
        assert ("with the path that a proxy" in check.advice) is not found
    sent_with = {path for path, with_token in asked if with_token}
    assert sent_with == {
        f"{below}{path}" for below in ("/hub/team/lab", "/elsewhere", "") for path in ("/api", "/api/kernelspecs")
    }


async def test_what_was_not_asked_is_not_said_to_be_well() -> None:
    checks = await examined(but(specs=Answer(404, "")), auth_token="t0ken")
    assert checks["authentication"].status == "skipped"
    assert "not known" in checks["authentication"].detail


async def test_variables_that_nothing_reads_are_told_with_those_that_are_near() -> None:
    environ = {
        "JUPYTER_GATEWAY_TOKEN": "s3cret",
        "JUPYTER_GATEWAY_TIMEOUT": "1",
        "JUPYTER_GATEWAY_AUTHTOKEN": "s3cret",
        "JUPYTER_GATEWAY_CONECT_TIMEOUT": "1",
        "jupyter_gateway_url": "http://s3cret",
        "JUPYTERGATEWAY_BEES": "s3cret",
        "JUPYTER_GATEWAY_ENV_WHITELIST": "A",
        "JUPYTER_TOKEN": "s3cret",
    }
    async with serving(well) as port:
        checks = await checks_of(GatewayConfig(url=f"http://127.0.0.1:{port}"), kernel=False, environ=environ)
    check = checks["settings"]
    assert check.status == "warning"
    for words in (
        "JUPYTER_GATEWAY_TOKEN: is JUPYTER_GATEWAY_AUTH_TOKEN or JUPYTER_GATEWAY_TOKEN_COMMAND meant?",
        "JUPYTER_GATEWAY_TIMEOUT: is JUPYTER_GATEWAY_CONNECT_TIMEOUT or ",
        "JUPYTER_GATEWAY_AUTHTOKEN: is JUPYTER_GATEWAY_AUTH_TOKEN meant?",
        "JUPYTER_GATEWAY_CONECT_TIMEOUT: is JUPYTER_GATEWAY_CONNECT_TIMEOUT or ",
        "jupyter_gateway_url: is JUPYTER_GATEWAY_URL meant?",
        "Take JUPYTERGATEWAY_BEES away",
    ):
        assert words in check.advice
    assert "WHITELIST" not in check.detail
    assert "JUPYTER_TOKEN" not in check.detail
    assert "s3cret" not in check.detail + check.advice


# ------------------------------------------------------------------------------------------------------------------ TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str = "127.0.0.1", **traits: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name, **traits).configure_cert(context)
    return context


async def test_tls_that_is_not_trusted_until_its_ca_is_given(authority: trustme.CA, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    async with serving(well, server_context(authority)) as port:
        url = f"https://127.0.0.1:{port}"
        check = failed(await checks_of(GatewayConfig(url=url), kernel=False))
        assert check.name == "tls"
        assert "JUPYTER_GATEWAY_CA_CERTS" in check.advice
        assert "JUPYTER_GATEWAY_VALIDATE_CERT=no" in check.advice

        checks = await checks_of(GatewayConfig(url=url, ca_certs=ca), kernel=False)
        assert {check.status for check in checks.values()} == {"ok", "skipped"}
        assert "the certificate is accepted and expires in" in checks["tls"].detail

        checks = await checks_of(GatewayConfig(url=url, validate_cert=False), kernel=False)
        assert checks["tls"].status == "warning"
        assert "validate_cert is off" in checks["tls"].detail
        assert checks["websocket"].status == "ok"


async def test_a_certificate_for_another_name_or_past_its_time(authority: trustme.CA, tmp_path: Path) -> None:
    from datetime import UTC, datetime, timedelta

    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)

    async def look(context: ssl.SSLContext, now: float = NOW) -> dict[str, Check]:
        async with serving(well, context) as port:
            return await checks_of(GatewayConfig(url=f"https://127.0.0.1:{port}", ca_certs=ca), kernel=False, now=now)

    other = failed(await look(server_context(authority, "other.test")))
    assert (other.name, "that the certificate is for" in other.advice) == ("tls", True)
    old = server_context(authority, not_before=datetime(2001, 1, 1, tzinfo=UTC), not_after=datetime(2002, 1, 1, tzinfo=UTC))
    assert "Renew the server's certificate; or else" in failed(await look(old)).advice
    end = datetime(2037, 1, 1, tzinfo=UTC)
    soon = (await look(server_context(authority, not_after=end), (end - timedelta(days=3)).timestamp()))["tls"]
    assert (soon.status, "expires in 3 days" in soon.detail) == ("warning", True)


async def test_a_server_that_wants_a_certificate_of_ours(authority: trustme.CA, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    context = server_context(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    async with serving(well, context) as port:
        check = failed(await checks_of(GatewayConfig(url=f"https://127.0.0.1:{port}", ca_certs=ca), kernel=False))
    assert check.name in {"tls", "http"}  # in TLS 1.3 a server says so only after the handshake
    assert "JUPYTER_GATEWAY_CLIENT_CERT" in check.advice


async def test_credentials_in_the_clear_on_the_way_to_another_machine_are_a_warning() -> None:
    async with serving(well) as port:

        async def tunnel(host: str, _: int) -> trio.abc.Stream:
            return await trio.open_tcp_stream("127.0.0.1", port)

        open_to_all = await checks_of(
            GatewayConfig(url="http://gateway.test", auth_token="t0ken"), connector=tunnel, kernel=False
        )
        nothing = await checks_of(GatewayConfig(url="http://gateway.test"), connector=tunnel, kernel=False)
    assert (open_to_all["tls"].status, nothing["tls"].status) == ("warning", "skipped")
    assert open_to_all["websocket"].status == "ok"


async def test_a_command_that_gives_no_token_fails_where_credentials_are_looked_at() -> None:
    command = [sys.executable, "-I", "-S", "-c", "import sys; sys.exit('log in first')"]
    checks = await examined(well, token_command=command)
    check = failed(checks)
    assert (check.name, checks["http"].status) == ("authentication", "skipped")
    assert "ended with status 1: log in first" in check.detail
    assert "Run the command by hand" in check.advice


async def test_a_commands_program_that_is_not_there_is_a_wrong_setting() -> None:
    check = failed(await examined(well, token_command=["no-such-program"]))
    assert check.name == "settings"
    assert "'no-such-program' is no program in PATH" in check.detail
