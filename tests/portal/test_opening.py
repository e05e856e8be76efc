"""`open_gateway` and `open_local_gateway` on every backend: Trio's own on Trio, a face of it on asyncio."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import trio_gateway
import trio_gateway.blocking
from tools.face_tools import ASYNCIO, BACKENDS, ListeningFake, run, trio_threads
from trio_gateway._portal import opening
from trio_gateway._portal.faces import original_of

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("name", ["open_fleet", "open_gateway", "open_hub", "open_local_gateway"])
def test_an_opener_has_its_originals_words(name: str) -> None:
    here, there = getattr(opening, name), getattr(trio_gateway, name)
    assert inspect.signature(here) == inspect.signature(there)
    assert (inspect.getdoc(here), here.__name__) == (inspect.getdoc(there), name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_opened_is_seen_to_when_the_block_is_entered(backend: str, opened: Callable[..., Any]) -> None:
    """So a block may be made where nothing runs yet."""
    block = opened()
    assert trio_threads() == []

    async def main() -> None:
        async with block as gateway:
            assert isinstance(gateway, trio_gateway.Gateway)
            assert (type(gateway) is trio_gateway.Gateway) == (backend == "trio")
            assert type(original_of(gateway) if backend != "trio" else gateway) is trio_gateway.Gateway

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
@pytest.mark.parametrize("where", ["argument", "configuration", "first argument"])
def test_a_renewer_runs_in_the_loop_wherever_it_was_given(backend: str, where: str, fake_gateway: ListeningFake) -> None:
    loops: list[object] = []

    class Renewer(trio_gateway.TokenRenewer):
        async def get_token(self, *args: Any, **kwargs: Any) -> str:
            await asyncio.sleep(0)
            loops.append(asyncio.get_running_loop())
            return fake_gateway.token

    async def main() -> None:
        config = trio_gateway.GatewayConfig(url=fake_gateway.url, token_renewer=Renewer())
        arguments: dict[str, Any] = {"argument": {"token_renewer": Renewer()}, "configuration": {"gateway": config}}.get(
            where, {}
        )
        first = {"argument": [fake_gateway.url], "first argument": [config]}.get(where, [])
        async with opening.open_gateway(*first, **arguments) as gateway:
            await gateway.kernels.list()
        assert loops
        assert set(loops) == {asyncio.get_running_loop()}

    run(backend, main)


def test_what_cant_be_opened_is_said_on_entering() -> None:
    async def main() -> None:
        with pytest.raises(trio_gateway.ConfigError):
            async with opening.open_gateway("gopher://127.0.0.1"):
                pytest.fail("no such scheme")

    run("asyncio", main)


def printing(token: str) -> list[str]:
    """A command that prints a token."""
    return [sys.executable, "-I", "-S", "-c", f"print({token!r})"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_command_gives_the_token(backend: str, fake_gateway: ListeningFake) -> None:
    async def main() -> None:
        async with opening.open_gateway(fake_gateway.url, token_command=printing(fake_gateway.token)) as gateway:
            await gateway.kernels.list()
        with pytest.raises(trio_gateway.TokenCommandError, match="ended with status 1: log in first"):
            command = [sys.executable, "-I", "-S", "-c", "import sys; sys.exit('log in first')"]
            async with opening.open_gateway(fake_gateway.url, token_command=command) as gateway:
                await gateway.kernels.list()

    run(backend, main)


def test_a_command_gives_the_token_of_a_program_without_async(fake_gateway: ListeningFake) -> None:
    with trio_gateway.blocking.open_gateway(fake_gateway.url, token_command=printing(fake_gateway.token)) as gateway:
        gateway.kernels.list()


@pytest.mark.parametrize("backend", ASYNCIO)
def test_a_command_ends_when_its_task_is_cancelled(backend: str, fake_gateway: ListeningFake, tmp_path: Path) -> None:  # G1
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    code = f"import os, signal; file = open({str(fifo)!r}, 'w'); print(os.getpid(), file=file); file.close(); signal.pause()"

    async def main() -> None:
        command = [sys.executable, "-I", "-S", "-c", code]
        async with opening.open_gateway(fake_gateway.url, token_command=command) as gateway:
            task = asyncio.ensure_future(gateway.kernels.list())
            number = int(await asyncio.to_thread(fifo.read_text))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(ProcessLookupError):
                os.kill(number, 0)

    run(backend, main)
