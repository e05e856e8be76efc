"""What a program gives to a gateway to be called later is called where the program lives."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

import trio_gateway.anyio as tg
from tools.anyio_fixtures import attach
from tools.face_tools import ASYNCIO, BACKENDS, ListeningFake, run
from trio_gateway._portal import callbacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import RunningGateway


HERE: contextvars.ContextVar[str] = contextvars.ContextVar("HERE", default="nowhere")


@pytest.mark.gateway
@pytest.mark.parametrize("backend", BACKENDS)
def test_callbacks_run_where_their_program_does(
    backend: str, really_opened: Callable[..., Any], real_kernel_id: str, real_gateway: RunningGateway
) -> None:
    """`stdin` in the calling task, events and tokens in the loop's thread; all of them see context variables."""

    async def main() -> None:
        thread = threading.get_ident()
        seen: list[tuple[str, str, int]] = []

        class Renewer(tg.TokenRenewer):
            async def get_token(self, *args: Any, **kwargs: Any) -> str:
                await anyio.lowlevel.checkpoint()
                seen.append(("token", HERE.get(), threading.get_ident()))
                return real_gateway.token

        def told(event: tg.GatewayEvent) -> None:
            seen.append(("event", HERE.get(), threading.get_ident()))

        async def ask(prompt: str, password: bool) -> str:
            seen.append(("stdin", HERE.get(), threading.get_ident()))
            await anyio.lowlevel.checkpoint()
            HERE.set("answered")
            return prompt + str(password)

        HERE.set("opened")
        arguments: dict[str, Any] = {"on_event": [told], "auth_token": "wrong", "token_renewer": Renewer()}
        async with attach(really_opened, real_kernel_id, **arguments) as kernel:
            HERE.set("used")
            await kernel.interrupt()
            assert {("event", "used", thread), ("token", "used", thread)} <= set(seen)
            assert (await kernel.execute("input('who? ')", stdin=ask)).text == "'who? False'"
            assert ("stdin", "used", thread) in seen
            assert HERE.get() == "answered"
            async with kernel.stream("import getpass; getpass.getpass('x ')", stdin=ask) as outputs:
                assert [output.data["text/plain"] async for output in outputs] == ["'x True'"]

            def fail(prompt: str, password: bool) -> str:
                raise LookupError(prompt)

            with pytest.raises(LookupError, match="sure"):
                await kernel.execute("input('sure? ')", stdin=fail)

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_a_handler_that_is_cancelled(backend: str, attached: Callable[..., Any]) -> None:
    """A task that is cancelled while it answers the kernel: the answer is dropped, the kernel interrupted (G6)."""

    async def main() -> None:
        async with attached() as kernel:
            asked = asyncio.Event()

            async def ask(prompt: str, password: bool) -> str:
                asked.set()
                await asyncio.sleep(3600)
                return ""

            task = asyncio.create_task(kernel.execute("input()", stdin=ask))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await kernel.execute("1")).text == "1"

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_a_plain_renewer_stays_in_a_worker_thread(backend: str, fake_gateway: ListeningFake) -> None:
    """Where it may block; one that gives an awaitable has it awaited in the loop."""

    async def main() -> None:
        loop_thread = threading.get_ident()
        seen: list[bool] = []

        class Renewer(tg.TokenRenewer):
            def get_token(self, *args: Any, **kwargs: Any) -> Any:
                seen.append(threading.get_ident() == loop_thread)
                return self.later()

            async def later(self) -> str:
                await asyncio.sleep(0)
                seen.append(threading.get_ident() == loop_thread)
                return fake_gateway.token

        config = tg.GatewayConfig(url=fake_gateway.url, token_renewer=Renewer())
        async with tg.open_gateway(config) as gateway:
            await gateway.kernelspecs.list()
        assert seen == [False, True]

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_g7_events_for_a_loop_that_is_busy_are_bounded(
    backend: str, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit is counted in `dropped_events`."""
    monkeypatch.setattr(callbacks, "EVENTS_WAITING", 3)

    async def main() -> None:
        told: list[tg.GatewayEvent] = []
        async with opened(on_event=told.append) as gateway:
            fan_out = gateway._original._fan_out
            event = tg.GatewayEvent(kind="kernel", action="start", status="success")
            for _ in range(5):
                gateway._portal.run_sync(lambda: fan_out(event))
            assert (len(told), gateway.dropped_events) == (0, 2)
            await asyncio.sleep(0)
            assert told == [event] * 3
            gateway._portal.run_sync(lambda: fan_out(event))
            await asyncio.sleep(0)
            assert len(told) == 4

    run(backend, main)
