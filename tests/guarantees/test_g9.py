"""G9 on a real gateway: what a block's body raises comes out as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_gateway
from trio_gateway import (
    Gateway,
    open_gateway,
    open_local_gateway,
)

if TYPE_CHECKING:
    from conftest import RunningGateway


pytestmark = pytest.mark.gateway


def exceptions() -> list[Any]:
    group = ExceptionGroup("the user's", [ValueError("one"), BaseExceptionGroup("inner", [KeyError("two")])])
    return [
        pytest.param(ValueError("the body's own"), id="ValueError"),
        pytest.param(KeyboardInterrupt(), id="KeyboardInterrupt"),
        pytest.param(SystemExit(3), id="SystemExit"),
        pytest.param(group, id="ExceptionGroup"),
        pytest.param(BaseExceptionGroup("base", [KeyboardInterrupt(), ValueError()]), id="BaseExceptionGroup"),
        pytest.param(trio.TooSlowError(), id="TooSlowError"),
        pytest.param(trio_gateway.ExecutionError("E", "of the user"), id="GatewayError"),
        pytest.param(StopAsyncIteration(), id="StopAsyncIteration"),
        pytest.param(GeneratorExit(), id="GeneratorExit"),
    ]


def shape(error: BaseException) -> object:
    return [shape(inner) for inner in error.exceptions] if isinstance(error, BaseExceptionGroup) else id(error)


@pytest.mark.parametrize("error", exceptions())
async def test_G9_what_a_body_raises_comes_out(real_gateway: RunningGateway, shared_kernel_id: str, error: BaseException) -> None:
    """Out of each block the same object, its cause and context untouched, a group in its shape."""
    before = shape(error)

    async def in_open_gateway() -> None:
        async with open_gateway(real_gateway.url, auth_token=real_gateway.token):
            raise error

    async def in_attach_kernel() -> None:
        async with (
            open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
            gateway.attach_kernel(shared_kernel_id),
        ):
            raise error

    async def in_stream() -> None:
        async with (
            open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
            gateway.attach_kernel(shared_kernel_id) as kernel,
            kernel.stream("while True: print(1, flush=True)") as outputs,
        ):
            await anext(outputs)
            raise error

    for body in (in_open_gateway, in_attach_kernel, in_stream):
        with pytest.raises(BaseException) as caught:
            await body()
        assert caught.value is error, body
        assert shape(error) == before
        assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("own"),
        *(pytest.param(own, marks=pytest.mark.full) for own in (KeyboardInterrupt(), ExceptionGroup("", [KeyError()]))),
    ],
)
async def test_G9_what_a_body_raises_comes_out_of_a_kernels_start_too(gateway: Gateway, error: BaseException) -> None:
    before = shape(error)
    with pytest.raises(BaseException) as caught:
        async with gateway.start_kernel():
            raise error
    assert caught.value is error
    assert shape(error) == before
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.full
async def test_G9_open_local_gateway() -> None:
    error = ValueError("the body's own")
    with pytest.raises(ValueError, match="the body's own") as caught:
        async with open_local_gateway(), trio.open_nursery():
            pass
        async with open_local_gateway():
            raise error
    assert caught.value is error
    assert caught.value.__context__ is None


async def test_G9_a_nursery_of_the_users(real_gateway: RunningGateway, shared_kernel_id: str) -> None:
    """What a strict nursery of the user's makes a group of is a group outside too, with nothing of ours in it."""
    error = ValueError("in a task")

    async def fail() -> None:
        raise error

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, check=lambda caught: caught is error)):
        async with (
            open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
            gateway.attach_kernel(shared_kernel_id) as kernel,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(kernel.execute, "while True: pass")
            nursery.start_soon(fail)


async def test_G9_a_scope_of_the_users_stays_theirs(real_gateway: RunningGateway, shared_kernel_id: str) -> None:
    """Cancelling from inside the block ends in the scope that was cancelled, outside of it."""
    with trio.CancelScope() as outer:
        async with (
            open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
            gateway.attach_kernel(shared_kernel_id) as kernel,
        ):
            with trio.CancelScope() as inner:
                async with kernel.stream("while True: pass"):
                    inner.cancel()
                    await trio.sleep_forever()
            assert inner.cancelled_caught
            assert (await kernel.execute("1")).text == "1"
            outer.cancel()
            await trio.lowlevel.checkpoint()
            pytest.fail("not reached")
    assert outer.cancelled_caught
