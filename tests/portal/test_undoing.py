"""A call whose answer comes when its caller is cancelled already: what it left on the gateway is taken back."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest

import trio_gateway
import trio_gateway.anyio
import trio_gateway.blocking
from tools.face_tools import ASYNCIO, ListeningFake, kernel_ids, run
from trio_gateway._documents.sessions import Sessions
from trio_gateway._gateway.kernels import Kernels
from trio_gateway._portal.asyncio_side import LoopCaller
from trio_gateway._portal.thread_side import ThreadCaller
from trio_gateway._portal.undoing import undo_of

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("backend", ASYNCIO)
@pytest.mark.parametrize("kind", ["new", "named", "running"])
def test_g2_a_start_whose_answer_comes_with_the_cancellation(
    backend: str, kind: str, opened: Callable[..., Any], fake_gateway: ListeningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller never learned of that kernel, so it is shut down, with a chosen id too. One that ran before is left."""

    async def main() -> None:
        async with opened() as other, opened() as gateway:
            kernel_id = None if kind == "new" else str(uuid.uuid4())
            if kind == "running":
                await other.kernels.start(kernel_id=kernel_id)
            before = kernel_ids(fake_gateway)
            start = asyncio.create_task(gateway.kernels.start(kernel_id=kernel_id))
            taken = LoopCaller._take

            def take(self: LoopCaller, message: Any) -> None:
                taken(self, message)
                if isinstance(getattr(message, "value", None), trio_gateway.KernelModel):
                    start.cancel()

            monkeypatch.setattr(LoopCaller, "_take", take)
            with pytest.raises(asyncio.CancelledError):
                await start
            assert kernel_ids(fake_gateway) == before
            monkeypatch.undo()
            if kernel_id is not None:
                await gateway.kernels.shutdown(kernel_id)

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_g2_a_start_in_a_fleet_whose_answer_comes_with_the_cancellation(
    backend: str, fake_gateway: ListeningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shut down on the gateway where it was placed."""
    config = trio_gateway.GatewayConfig(url=fake_gateway.url, auth_token=fake_gateway.token)

    async def main() -> None:
        async with trio_gateway.anyio.open_fleet([trio_gateway.FleetGateway(config, name="a")]) as fleet:
            before = kernel_ids(fake_gateway)
            start = asyncio.create_task(fleet.kernels.start())
            taken = LoopCaller._take

            def take(self: LoopCaller, message: Any) -> None:
                taken(self, message)
                if isinstance(getattr(message, "value", None), trio_gateway.KernelModel):
                    start.cancel()

            monkeypatch.setattr(LoopCaller, "_take", take)
            with pytest.raises(asyncio.CancelledError):
                await start
            assert kernel_ids(fake_gateway) == before
            monkeypatch.undo()

    run(backend, main)


def test_g2_a_start_whose_answer_comes_with_ctrl_c(fake_gateway: ListeningFake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller never learned of that kernel, so it is shut down."""
    before = kernel_ids(fake_gateway)
    delivered = ThreadCaller.deliver

    def deliver(self: ThreadCaller, message: Any) -> bool:
        done = delivered(self, message)
        if isinstance(getattr(message, "value", None), trio_gateway.KernelModel):
            answered.append(self)
        return done

    def wait(self: ThreadCaller) -> None:
        waited(self)
        if self in answered:
            raise KeyboardInterrupt

    answered: list[ThreadCaller] = []
    waited = ThreadCaller._wait
    with trio_gateway.blocking.open_gateway(fake_gateway.url, auth_token=fake_gateway.token) as gateway:
        monkeypatch.setattr(ThreadCaller, "deliver", deliver)
        monkeypatch.setattr(ThreadCaller, "_wait", wait)
        with pytest.raises(KeyboardInterrupt):
            gateway.kernels.start()
        assert kernel_ids(fake_gateway) == before
        monkeypatch.undo()


def test_what_a_block_owns_or_its_caller_finds_again_is_not_taken_back() -> None:
    """Undoing more than that would take what was there before."""
    kept = (trio_gateway.Gateway.start_kernel, Kernels.get, Kernels.shutdown, trio_gateway.Kernel.execute, Sessions.create)
    assert [undo_of(function, object()) for function in kept] == [None] * len(kept)
    assert undo_of(Kernels.start, object()) is not None
