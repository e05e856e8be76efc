"""A secret is a local variable of no frame that somebody could see it in (G8): `pytest -l`, rich and services print them all.

Each test has something go wrong with secrets in use, and looks at the locals of all frames of the traceback, and of what it came
from, on both sides where there are two threads.
"""

from __future__ import annotations

import logging
import os
import pickle
import secrets
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import rich.pretty
import trio

import trio_gateway
import trio_gateway.anyio
import trio_gateway.blocking
from trio_gateway import GatewayConfig, TokenRenewer, notebooks
from trio_gateway._secret import Secret, SecretBytes, Unshown, hide_values
from trio_gateway.anyio import notebooks as asyncio_notebooks
from trio_gateway.proxy import ProxyConfig, create_app, serve

from .hostile_tools import answer_bytes, connect, open_hostile_gateway, request_bytes
from .showing import Log, leaks, shown

TOKEN = "s3cret-token-0123456789"
PASSWORD = "s3cret-password-0123456789"
HEADER = "s3cret-header-0123456789"
VARIABLE = "s3cret-variable-0123456789"
PROXY = "s3cret-proxy-0123456789"
KEY = f"-----BEGIN PRIVATE KEY-----\n{HEADER}\n-----END PRIVATE KEY-----\n"
SECRETS = [TOKEN, PASSWORD, HEADER, VARIABLE, PROXY, "s3cret", "bWU6czNjcmV0"]
LOGIN: dict[str, Any] = {
    "auth_token": TOKEN,
    "auth_header_key": "X-Auth",
    "http_user": "me",
    "http_pwd": PASSWORD,
    "headers": {"X-Key": HEADER},
}
FEW_TRIES: dict[str, Any] = {"max_request_retries": 0, "gateway_retry_max": 0}


def assert_hidden(error: BaseException) -> None:
    texts = list(shown(error))
    # The test can fail: frames were seen.
    assert sum("trio_gateway" in where for where, _ in texts) > 3, [where for where, _ in texts]
    assert leaks(iter(texts), SECRETS) == []


# ------------------------------------------------------------------------------------------------------ what hides itself


def test_a_secret_is_the_text_and_hides_itself() -> None:
    secret = Secret.of(TOKEN)
    assert secret == TOKEN
    assert hash(secret) == hash(TOKEN)
    assert f"token {secret}" == f"token {TOKEN}"
    assert Secret.of(secret) is secret
    assert repr([secret, {"a": secret}]) == "['***', {'a': '***'}]"
    assert repr(Secret("")) == "''"
    assert pickle.loads(pickle.dumps(secret)) == secret
    assert repr(pickle.loads(pickle.dumps(secret))) == "'***'"
    coded = SecretBytes(TOKEN.encode())
    assert coded == TOKEN.encode()
    assert coded[0] == ord("s")
    assert repr((coded, coded[2:])) == "(b'***', b'***')"
    assert repr(SecretBytes()) == "b''"
    # rich cuts what is long before it shows it.
    for value in (Secret(TOKEN * 10), SecretBytes(TOKEN.encode() * 10), {"a": [secret]}):
        assert "s3cret" not in rich.pretty.pretty_repr(value, max_string=40)


def test_mappings_that_hide_themselves() -> None:
    environ = {"A": TOKEN}
    view = Unshown(environ)
    environ["B"] = "2"
    assert dict(view) == environ
    assert repr(view) == "<2 entries, not shown>"
    hidden = hide_values(environ)
    assert (hidden, repr(hidden)) == (environ, "{'A': '***', 'B': '***'}")
    assert hide_values(hidden) is hidden
    assert hide_values(None) is None
    assert hide_values({"A": 1, 2: TOKEN}) == {"A": 1, 2: TOKEN}


# -------------------------------------------------------------------------------------------------------- wrong arguments


async def open_wrongly(opener: Callable[..., Any]) -> None:
    async with opener(f"ftp://me:{PASSWORD}@127.0.0.1", **LOGIN):
        pass


def open_wrongly_here() -> None:
    with trio_gateway.blocking.open_gateway(f"ftp://me:{PASSWORD}@127.0.0.1", **LOGIN):
        pass


WRONG: dict[str, Callable[[], object]] = {
    "of a gateway": lambda: anyio.run(open_wrongly, trio_gateway.open_gateway, backend="trio"),
    "of a gateway, in asyncio": lambda: anyio.run(open_wrongly, trio_gateway.anyio.open_gateway, backend="asyncio"),
    "of a gateway, blocking": open_wrongly_here,
    "a setting": lambda: GatewayConfig(url="http://127.0.0.1", request_timeout=-1, **LOGIN),
    "a token": lambda: GatewayConfig(url="http://127.0.0.1", auth_token=f"{TOKEN}\n"),
    "a header": lambda: GatewayConfig(url="http://127.0.0.1", headers={"X-Key": HEADER, "X": f"{HEADER}\n"}),
    "a URL": lambda: GatewayConfig(url=f"ftp://me:{PASSWORD}@127.0.0.1", auth_token=TOKEN),
    "addresses": lambda: GatewayConfig(url=[f"http://me:{PASSWORD}@127.0.0.1", "nonsense"], auth_token=TOKEN),
    "addresses in a text": lambda: GatewayConfig(url=f"http://a,http://me:{PASSWORD}@b:x", auth_token=TOKEN),
    "addresses of two users": lambda: GatewayConfig(url=["http://me:1@a", f"http://me:{PASSWORD}@b"], auth_token=TOKEN),
    "a change": lambda: GatewayConfig(url="http://127.0.0.1").replace(request_timeout=-1, **LOGIN),
    "an argument beside": lambda: GatewayConfig.from_env({}, url="http://127.0.0.1", request_timeout=-1, **LOGIN),
    "a command": lambda: GatewayConfig(url="http://127.0.0.1", token_command=[f"vault {TOKEN}"]),
    "a command's text": lambda: GatewayConfig(url="http://127.0.0.1", token_command=f"vault '{TOKEN}"),
    "a command beside": lambda: GatewayConfig.from_env({}, url="nonsense", token_command=["vault", TOKEN]),
    "a command's name": lambda: GatewayConfig.from_env({}, url="http://127.0.0.1", token_comand=["vault", TOKEN]),  # type: ignore[call-arg]
    "a name": lambda: GatewayConfig.from_env({}, url="http://127.0.0.1", auth_tokn=TOKEN),
    "the environment": lambda: GatewayConfig.from_env(
        {
            "JUPYTER_GATEWAY_URL": "nonsense",
            "JUPYTER_GATEWAY_AUTH_TOKEN": TOKEN,
            "JUPYTER_GATEWAY_HEADERS": f'{{"X": "{HEADER}"}}',
        }
    ),
    "a key in place of its file": lambda: GatewayConfig(url="http://127.0.0.1", client_key=KEY),
    "a key in the environment": lambda: GatewayConfig.from_env(
        {"JUPYTER_GATEWAY_URL": "http://127.0.0.1", "JUPYTER_GATEWAY_CLIENT_KEY": KEY}
    ),
    "of the proxy": lambda: ProxyConfig(token=PROXY, base_path="nonsense"),
    "a change of the proxy": lambda: ProxyConfig().replace(token=PROXY, base_path="nonsense"),
    "the proxy's application": lambda: create_app(None, token=PROXY, base_path="nonsense"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_told_without_what_is_right(what: str) -> None:
    with pytest.raises(ValueError) as caught:
        WRONG[what]()
    assert leaks(shown(caught.value), SECRETS) == []
    assert any("trio_gateway" in where for where, _ in shown(caught.value))


def test_the_processs_own_environment_is_shown_by_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", VARIABLE)
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", "nonsense")
    with pytest.raises(trio_gateway.ConfigError) as caught:
        GatewayConfig.from_env()
    assert_hidden(caught.value)


# ------------------------------------------------------------------------------------------------------- what goes wrong


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def run_code(gateway: trio_gateway.Gateway) -> None:
    async with gateway.start_kernel(env={"KERNEL_PASSWORD": VARIABLE}) as kernel:
        await kernel.execute("1")


def notebook_of(*cells: str) -> dict[str, Any]:
    code = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    return {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [{**code, "source": cell} for cell in cells]}


async def open_run(gateway: trio_gateway.Gateway) -> None:
    async with notebooks.open_run(gateway, notebook_of("1"), env={"KERNEL_PASSWORD": VARIABLE}):
        pass


async def run_many(gateway: trio_gateway.Gateway) -> None:
    jobs = [notebook_of("1")]
    async with notebooks.run_many(gateway, jobs, env={"KERNEL_PASSWORD": VARIABLE}) as runs:
        async for run in runs:
            run.raise_for_error()


USES: dict[str, Callable[[trio_gateway.Gateway], Awaitable[object]]] = {
    "a list": lambda gateway: gateway.kernels.list(),
    "a kernel": run_code,
    "a session": lambda gateway: gateway.sessions.create("a.ipynb", env={"KERNEL_PASSWORD": VARIABLE}),
    "a notebook": lambda gateway: notebooks.run(gateway, notebook_of("1"), env={"KERNEL_PASSWORD": VARIABLE}),
    "a notebook's events": open_run,
    "many notebooks": run_many,
    "a notebook that can't be read": lambda gateway: notebooks.run(gateway, {}, env={"KERNEL_PASSWORD": VARIABLE}),
    "what can't be sent": lambda gateway: gateway.kernels.start(env={"KERNEL_PASSWORD": VARIABLE, "B": "$"}),
    "channels": lambda gateway: gateway.open_channels("11111111-2222-4333-8444-555555555555").__aenter__(),
}
ENGINES = pytest.mark.parametrize("engine", ["fast", "trio-websocket"])


@pytest.mark.parametrize("use", USES)
@ENGINES
@pytest.mark.parametrize("fate", ["refused", "nobody", "hang up", "silent"])
async def test_no_frame_of_what_goes_wrong_shows_one(use: str, engine: str, fate: str) -> None:
    answers: dict[str, Any] = {"GET .*/channels": answer_bytes(403), "(POST|GET) /api/kernels": answer_bytes(500, b"no")}
    if fate == "hang up":

        async def hang_up(connection: Any, _: object) -> None:
            await connection.stream.aclose()

        answers = dict.fromkeys(answers, hang_up)
    elif fate == "silent":

        async def say_nothing(*_: object) -> None:
            await trio.sleep_forever()

        answers = dict.fromkeys(answers, say_nothing)
    limits = {
        "request_timeout": 0.2,
        "launch_timeout": 0.1,
        "launch_timeout_pad": 0,
        "handshake_timeout": 0.2,
        "cleanup_timeout": 0.2,
    }
    async with open_hostile_gateway(answers) as hostile:
        url = hostile.url if fate != "nobody" else f"http://127.0.0.1:{closed_port()}"
        settings = {**LOGIN, **FEW_TRIES, **(limits if fate == "silent" else {}), "websocket_engine": engine}
        with pytest.raises(trio_gateway.GatewayError) as caught:
            async with trio_gateway.open_gateway(url, **settings) as gateway:
                await USES[use](gateway)
    assert_hidden(caught.value)


class Faulty(trio.abc.Stream):
    """A stream that fails in a way that nobody foresees, when it is written to for the nth time, or read from."""

    def __init__(self, stream: trio.abc.Stream, writes: int) -> None:
        self._stream = stream
        self._writes = writes

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._writes == 0:
            raise ZeroDivisionError
        self._writes -= 1
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        raise ZeroDivisionError

    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.mark.parametrize("use", ["a list", "channels"])
@pytest.mark.parametrize("writes", [0, 1])
@ENGINES
async def test_no_frame_on_the_way_to_the_socket_shows_one(use: str, writes: int, engine: str) -> None:
    """The error comes out of the very call that has the bytes in its hands."""
    async with open_hostile_gateway() as hostile:

        async def connector(host: str, port: int) -> trio.abc.Stream:
            return Faulty(await trio.open_tcp_stream(host, port), writes)

        with pytest.raises(BaseException) as caught:
            async with trio_gateway.open_gateway(
                hostile.url, connector=connector, websocket_engine=engine, **LOGIN, **FEW_TRIES
            ) as gateway:
                await USES[use](gateway)
    assert_hidden(caught.value)


async def test_a_renewers_token_is_shown_by_no_frame() -> None:
    class Renewer(TokenRenewer):
        def get_token(self, auth_header_key: str, auth_scheme: str | None, auth_token: str, **kwargs: Any) -> str:
            assert auth_token in {"first", TOKEN}
            return TOKEN

    async with open_hostile_gateway({"GET /api/kernels": answer_bytes(401)}) as hostile:
        with pytest.raises(trio_gateway.AuthenticationError) as caught:
            async with trio_gateway.open_gateway(
                hostile.url, auth_token="first", token_renewer=Renewer(), **FEW_TRIES
            ) as gateway:
                await gateway.kernels.list()
        assert hostile.requests[-1].header("Authorization") == f"token {TOKEN}"
    assert_hidden(caught.value)


@pytest.mark.parametrize("fate", ["refused", "fails", "prints two", "can't start"])
async def test_a_commands_token_is_shown_by_no_frame(fate: str, tmp_path: Path) -> None:
    """Neither its output, nor its arguments, nor what it says of the token on standard error."""
    code = f"import sys; print({TOKEN!r}); print({TOKEN!r}, file=sys.stderr); "
    code += {"fails": "sys.exit(1)", "prints two": f"print({PASSWORD!r})"}.get(fate, "")
    command = [sys.executable, "-I", "-S", "-c", code, HEADER]
    if fate == "can't start":
        program = tmp_path / "program"
        program.touch(mode=0o700)
        program.write_bytes(b"\0nothing to run")
        command[0] = str(program)
    expected = trio_gateway.AuthenticationError if fate == "refused" else trio_gateway.TokenCommandError
    async with open_hostile_gateway({"GET /api/kernels": answer_bytes(401)}) as hostile:
        with pytest.raises(expected) as caught:
            async with trio_gateway.open_gateway(hostile.url, token_command=command, **FEW_TRIES) as gateway:
                await gateway.kernels.list()
    assert_hidden(caught.value)


def test_a_blocking_program() -> None:
    with pytest.raises(trio_gateway.GatewayConnectionError) as caught:
        with trio_gateway.blocking.open_gateway(f"http://127.0.0.1:{closed_port()}", **LOGIN, **FEW_TRIES) as gateway:
            with gateway.start_kernel(env={"KERNEL_PASSWORD": VARIABLE}):
                pass
    assert_hidden(caught.value)


def test_notebooks_of_a_blocking_program() -> None:
    from trio_gateway.blocking import notebooks as blocking

    env = {"KERNEL_PASSWORD": VARIABLE}
    with trio_gateway.blocking.open_gateway(f"http://127.0.0.1:{closed_port()}", **LOGIN, **FEW_TRIES) as gateway:
        with pytest.raises(trio_gateway.GatewayConnectionError) as caught:
            blocking.run(gateway, notebook_of("1"), env=env)
        assert_hidden(caught.value)
        with pytest.raises(trio_gateway.GatewayConnectionError) as caught:
            with blocking.open_run(gateway, notebook_of("1"), env=env):
                pass
        assert_hidden(caught.value)
        with pytest.raises(trio_gateway.GatewayConnectionError) as caught:
            with blocking.run_many(gateway, [notebook_of("1")], env=env) as runs:
                for run in runs:
                    run.raise_for_error()
        assert_hidden(caught.value)


def test_notebooks_of_an_asyncio_program() -> None:
    async def main() -> None:
        async with trio_gateway.anyio.open_gateway(f"http://127.0.0.1:{closed_port()}", **LOGIN, **FEW_TRIES) as gateway:
            with pytest.raises(trio_gateway.GatewayConnectionError) as caught:
                await asyncio_notebooks.run(gateway, notebook_of("1"), env={"KERNEL_PASSWORD": VARIABLE})
            assert_hidden(caught.value)

    anyio.run(main)


def test_an_asyncio_program() -> None:
    async def main() -> None:
        url = f"http://me:{PASSWORD}@127.0.0.1:{closed_port()}"
        async with trio_gateway.anyio.open_gateway(url, headers=LOGIN["headers"], **FEW_TRIES) as gateway:
            async with gateway.start_kernel(env={"KERNEL_PASSWORD": VARIABLE}):
                pass

    with pytest.raises(trio_gateway.GatewayConnectionError) as caught:
        anyio.run(main, backend="asyncio")
    assert_hidden(caught.value)


async def test_a_front_ends_token_is_shown_by_no_frame_of_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect's traceback goes to the log, where a service that collects errors finds it with all its frames."""
    log = Log()
    monkeypatch.setattr(logging.getLogger("trio_gateway.proxy"), "handlers", [log])
    async with (
        open_hostile_gateway() as hostile,
        trio_gateway.open_gateway(hostile.url, **LOGIN) as gateway,
        trio.open_nursery() as nursery,
    ):
        listening = await nursery.start(partial(serve, create_app(gateway, token=PROXY), port=0))

        async def defect(_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(type(gateway.kernels), "list", defect)
        for path, headers in [
            ("/api/kernels", [("Authorization", f"token {PROXY}")]),
            (f"/api/kernels?token={PROXY}", [("Cookie", f"other={PROXY}")]),
        ]:
            async with connect(listening.port) as front:
                await front.send(request_bytes("GET", path, [*headers, ("Connection", "close")]))
                answer = await front.read_rest()
                assert b" 500 " in answer
                assert PROXY.encode() not in answer
        nursery.cancel_scope.cancel()
    assert sum("ZeroDivisionError" in where and "scope" in where for where, _ in log.texts) >= 2
    assert leaks(iter(log.texts), SECRETS) == []


async def test_a_gateway_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its token, and the environment that it is given, which is this process's."""
    monkeypatch.setenv("DATABASE_PASSWORD", VARIABLE)
    monkeypatch.setattr(secrets, "token_urlsafe", lambda _: TOKEN)
    with pytest.raises(trio_gateway.GatewayTimeoutError) as caught:
        async with trio_gateway.open_local_gateway(env={"OTHER": VARIABLE}, startup_timeout=0.01):
            pass
    frames = {frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.value.__traceback__)}
    assert {"open_local_gateway", "run_local_gateway", "_start"} <= frames
    assert_hidden(caught.value)


def test_jupyters_managers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Their traits hold what logs in; and `env` is a whole environment."""
    from trio_gateway.jupyter import BlockingGatewayKernelManager

    monkeypatch.setenv("DATABASE_PASSWORD", VARIABLE)
    manager = BlockingGatewayKernelManager(
        url=f"http://127.0.0.1:{closed_port()}", auth_token=TOKEN, settings={"headers": LOGIN["headers"], **FEW_TRIES}
    )
    with pytest.raises(trio_gateway.GatewayConnectionError) as caught:
        manager.start_kernel(env=dict(os.environ, X="1"), cwd=str(tmp_path))
    assert leaks(shown(caught.value), [TOKEN, HEADER]) == []
    # Jupyter's own functions hold their caller's `env` as it is.
    ours = [(where, text) for where, text in shown(caught.value) if "/trio_gateway/" in where]
    assert len(ours) > 3
    assert leaks(iter(ours), SECRETS) == []
