"""The command `trio-gateway proxy`, as a process, with curl; and TLS."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trustme

import trio_gateway
from proxy.front import PATIENCE, open_front
from proxy.proxy_kit import TOKEN, Upstream, open_upstream
from tools.ports import held_port
from trio_gateway.proxy import create_app, serve
from trio_gateway.testing import FakeGateway
from trio_gateway_command.reading import run_app

if TYPE_CHECKING:
    from proxy.proxy_kit import Behind


@attrs.define
class Command:
    """The command as it runs."""

    process: trio.Process
    said: str = ""

    async def hears(self, pattern: str) -> re.Match[str]:
        """Read its standard error until it says this."""
        with trio.fail_after(PATIENCE):
            while (found := re.search(pattern, self.said)) is None:
                assert self.process.stderr is not None
                data = await self.process.stderr.receive_some()
                assert data, self.said
                self.said += data.decode()
        return found


@asynccontextmanager
async def run(upstream: Upstream, *arguments: str | Path, before: str = "") -> AsyncGenerator[Command]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER_GATEWAY_")}
    environment |= {"JUPYTER_GATEWAY_URL": before + upstream.url, "JUPYTER_GATEWAY_AUTH_TOKEN": upstream.token}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "trio_gateway", "proxy", "--port", "0", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield Command(process)
    finally:
        with trio.CancelScope(shield=True):
            if process.poll() is None:
                process.kill()
            await process.wait()
            for stream in (process.stdout, process.stderr):
                assert stream is not None
                await stream.aclose()


async def curl(*arguments: str) -> tuple[int, str]:
    """Ask with curl; return the status and the body."""
    done = await trio.run_process(["curl", "-sS", "-w", "\n%{http_code}", *arguments], capture_stdout=True, capture_stderr=True)
    body, _, status = done.stdout.decode().rpartition("\n")
    return int(status), body


async def test_the_next_address_is_used_where_the_first_is_down(behind: Behind, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first", encoding="utf-8")
    with held_port() as dead:
        async with (
            open_upstream(behind) as upstream,
            run(upstream, "--proxy-token-file", tmp_path / "token", before=f"http://127.0.0.1:{dead},") as command,
        ):
            found = await command.hears(r"Listening on (http://127\.0\.0\.1:(\d+)/) with")
            asked = ("-H", "Authorization: token first", f"{found[1]}api/kernels")
            status, made = await curl("-X", "POST", *asked)
            assert status == 201, made
            kernel_id = json.loads(made)["id"]
            async with open_front(int(found[2]), kernel_id, headers=[("Authorization", "token first")]) as front:
                assert await front.run("print(6 * 7)") == "42\n"
            assert (await curl("-X", "DELETE", *asked[:2], f"{asked[2]}/{kernel_id}"))[0] == 204


async def test_a_random_token_is_printed_and_sigterm_drains(behind: Behind) -> None:
    async with open_upstream(behind) as upstream, run(upstream) as command:
        found = await command.hears(r"Listening on (http://127\.0\.0\.1:(\d+)/)\?token=([0-9a-f]{48})")
        url, port, token = found[1], int(found[2]), found[3]
        assert (await curl(f"{url}api/status"))[0] == 401
        status, body = await curl("-H", f"Authorization: token {token}", f"{url}api")
        assert (status, json.loads(body)) == (200, {"version": trio_gateway.__version__, "proxy": "trio_gateway"})
        made = await curl("-X", "POST", "-H", f"Authorization: Bearer {token}", f"{url}api/kernels")
        kernel_id = json.loads(made[1])["id"]
        async with open_front(port, kernel_id, headers=[("Authorization", f"token {token}")]) as front:
            assert await front.run("print(6 * 7)") == "42\n"
            assert (await curl("-X", "DELETE", "-H", f"Authorization: token {token}", f"{url}api/kernels/{kernel_id}"))[0] == 204
            command.process.send_signal(signal.SIGTERM)
            assert await front.closed() == (1001, "the proxy is shutting down")
        with trio.fail_after(PATIENCE):
            assert await command.process.wait() == 0
        assert command.process.stdout is not None
        log = b"".join([data async for data in command.process.stdout]).decode()
        lines = [json.loads(line) for line in log.splitlines()]
        assert [(line["method"], line["status"]) for line in lines][:3] == [("GET", 401), ("GET", 200), ("POST", 201)]
        assert lines[-1]["method"] == "WEBSOCKET"
        assert lines[-1]["close_code"] == 1001
        assert token not in log
        assert upstream.token not in log + command.said


@pytest.mark.skipif(sys.platform != "linux", reason="it reads its process's limits, as Linux tells them")
async def test_it_may_have_as_many_files_open_as_its_connections_take() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024) if soft >= 0 else 1024, hard))
    try:
        async with open_upstream(None) as upstream, run(upstream) as command:
            await command.hears("Listening on")
            limits = await trio.Path(f"/proc/{command.process.pid}/limits").read_text(encoding="ascii")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = next(line.split()[3] for line in limits.splitlines() if line.startswith("Max open files"))
    assert int(allowed) == (2264 if hard == resource.RLIM_INFINITY else min(2264, hard))


async def test_sighup_reads_the_token_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    options = ("--proxy-token-file", file, "--base-path", "/x/")
    async with open_upstream(None) as upstream, run(upstream, *options) as command:
        url = (await command.hears(r"Listening on (http\S+) with the token of"))[1]
        assert (await curl("-H", "Authorization: token first", f"{url}api"))[0] == 200
        file.write_text("second\n")
        command.process.send_signal(signal.SIGHUP)
        await command.hears("The token was read again")
        assert (await curl("-H", "Authorization: token first", f"{url}api/status"))[0] == 401
        assert (await curl("-H", "Authorization: token second", f"{url}api"))[0] == 200
        file.write_text("two words")
        command.process.send_signal(signal.SIGHUP)
        await command.hears("the token stays as it was")
        assert (await curl("-H", "Authorization: token second", f"{url}api"))[0] == 200
        assert "two words" not in command.said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--base-path", "x"], "--base-path"),
        (["--allow-origin", "x"], "--allow-origin"),
        (["--keyfile", "x"], "--keyfile needs --certfile"),
        (["--certfile", "/nowhere.pem"], "certfile"),
        (["--proxy-token-file", "/nowhere"], "--proxy-token-file"),
        (["--allow-anyone", "--proxy-token-file", "x"], "exclude each other"),
        (["--quiet"], "--quiet"),
        (["--host", "192.0.2.1"], "192.0.2.1"),
    ],
)
def test_what_is_wrong_is_named(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("JUPYTER_GATEWAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", "http://127.0.0.1:1")
    assert run_app(["proxy", "--port", "0", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err


async def test_tls_with_a_certificate_of_the_users(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    async with FakeGateway() as fake, fake.open() as gateway:
        app = create_app(gateway, token=TOKEN)
        async with trio.open_nursery() as nursery:
            listening = await nursery.start(partial(serve, app, port=0, certfile=tmp_path / "server.pem"))
            url = f"https://localhost:{listening.port}/api"
            asked = ("--cacert", str(tmp_path / "ca.pem"), "-4", "-D", "-", "-H", f"Authorization: token {TOKEN}")
            assert (await curl(*asked, url))[0] == 200
            status, told = await curl("--cacert", str(tmp_path / "ca.pem"), "-4", "-D", "-", f"{url}?token={TOKEN}")
            assert status == 200
            assert "; Secure" in told
            assert (await curl(*asked, "--tls-max", "1.2", url))[0] == 200
            nursery.cancel_scope.cancel()
        assert TOKEN not in told
