"""`fail_after` and `move_on_after` of the blocking face: as Trio's, for each call, iteration and block (G3, G6)."""

from __future__ import annotations

import contextvars
import functools
import math
import pickle
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_gateway.blocking as tg
from tools.face_tools import ListeningFake, rest
from trio_gateway._portal.deadlines import Cancelled
from trio_gateway._portal.messages import Returned
from trio_gateway._portal.thread_side import ThreadCaller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import RunningGateway

FOR_EVER = "import time\ntime.sleep(1e6)"
SOON = 0.05
"""Seconds; what is limited would take for ever."""


@pytest.fixture
def opened(fake_gateway: ListeningFake) -> Callable[..., Any]:
    """Open the fake."""
    return functools.partial(tg.open_gateway, fake_gateway.url, auth_token=fake_gateway.token)


@pytest.fixture
def kernel(opened: Callable[..., Any], kernel_id: str) -> Iterator[tg.Kernel]:
    """A kernel of the fake's."""
    with opened() as gateway, gateway.attach_kernel(kernel_id) as kernel:
        yield kernel


def test_a_call_is_cancelled_and_the_kernel_interrupted(kernel: tg.Kernel) -> None:
    with tg.move_on_after(SOON) as scope:
        assert not scope.cancel_called
        kernel.execute(FOR_EVER)
        pytest.fail("it went on")
    assert scope.cancelled_caught
    assert scope.cancel_called
    assert kernel.execute("6 * 7").text == "42"


@pytest.mark.parametrize("caught", [trio.TooSlowError, TimeoutError, tg.TooSlowError])
def test_it_is_trios_error_and_pythons(caught: type[Exception], kernel: tg.Kernel) -> None:
    with pytest.raises(caught, match=r"fail_after\(0\.\d+\)"), tg.fail_after(SOON) as scope:
        try:
            kernel.execute(FOR_EVER)
        except Exception:  # noqa: BLE001
            pytest.fail("no `except Exception` takes it")
    assert scope.cancelled_caught
    assert kernel.execute("6 * 7").text == "42"


def test_a_limit_of_a_block_is_no_error_of_the_library(kernel: tg.Kernel) -> None:
    """So one who catches what the gateway did does not take one's own limit for it; and it can go to another process."""
    with pytest.raises(TimeoutError) as raised, tg.fail_after(0):
        kernel.execute("6 * 7")
    assert not isinstance(raised.value, tg.GatewayError)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (type(again), str(again)) == (tg.TooSlowError, "a call was cancelled by the fail_after(0) around it")


@pytest.mark.gateway
def test_on_a_real_kernel(real_gateway: RunningGateway, real_kernel_id: str) -> None:
    with tg.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
        with gateway.attach_kernel(real_kernel_id) as kernel:
            with pytest.raises(trio.TooSlowError), tg.fail_after(1):
                kernel.execute("while True: pass")
            assert kernel.execute("6 * 7").text == "42"


def test_what_ends_in_time_is_not_touched(kernel: tg.Kernel) -> None:
    for limit in (1000, 1000.5, math.inf):
        with tg.fail_after(limit) as scope:
            assert kernel.execute("6 * 7").text == "42"
        assert not scope.cancel_called
        assert not scope.cancelled_caught


def test_what_the_body_raises_goes_on(kernel: tg.Kernel) -> None:
    with pytest.raises(tg.ExecutionError), tg.fail_after(1000):
        kernel.execute("1 / 0").raise_for_error()
    with pytest.raises(ZeroDivisionError), tg.move_on_after(0) as scope:
        raise ZeroDivisionError
    assert scope.cancel_called
    assert not scope.cancelled_caught


@pytest.mark.parametrize(("inner", "outer", "catches"), [(SOON, 1000, "inner"), (1000, SOON, "outer"), (0, 0, "outer")])
def test_nested(kernel: tg.Kernel, inner: float, outer: float, catches: str) -> None:
    with tg.move_on_after(outer) as around:
        with tg.move_on_after(inner) as within:
            kernel.execute(FOR_EVER)
        assert catches == "inner"
        assert kernel.execute("6 * 7").text == "42"
    assert (within.cancelled_caught, around.cancelled_caught) == (catches == "inner", catches == "outer")
    assert kernel.execute("6 * 7").text == "42"


def test_each_iteration(kernel: tg.Kernel) -> None:
    code = "import time\nfor i in range(10_000_000):\n    print(i, flush=True)\n    time.sleep(0.001)"
    with tg.move_on_after(SOON) as scope, kernel.stream(code) as outputs:
        for _ in outputs:
            pass
    assert scope.cancelled_caught
    assert kernel.execute("6 * 7").text == "42"


def test_an_iteration_over_what_is_there_already(kernel: tg.Kernel) -> None:
    """As in Trio, where each step is a checkpoint. Nothing is lost."""
    with kernel.stream("for i in range(10): print(i, flush=True)") as outputs:
        texts = [next(outputs).text]  # type: ignore[union-attr]
        with tg.move_on_after(1000) as scope:
            scope.cancel()
            for _ in outputs:
                pytest.fail("it went on")
        assert scope.cancelled_caught
        texts += [output.text for output in outputs]  # type: ignore[union-attr]
    assert "".join(texts) == "".join(f"{number}\n" for number in range(10))


def test_every_reader(kernel: tg.Kernel, opened: Callable[..., Any]) -> None:
    with kernel.iopub.subscribe() as messages, tg.move_on_after(SOON) as scope:
        for _ in messages:
            pass
    assert scope.cancelled_caught
    with kernel.iopub.subscribe() as messages, pytest.raises(trio.TooSlowError), tg.fail_after(SOON):
        while True:
            messages.receive()
    with kernel.comms.accept("nothing") as comms, pytest.raises(trio.TooSlowError), tg.fail_after(SOON):
        comms.receive()
    with pytest.raises(trio.TooSlowError), tg.fail_after(SOON):
        for _ in kernel.changes():
            pass
    with pytest.raises(trio.TooSlowError), tg.fail_after(SOON):
        kernel.wait_for(tg.KernelState.DEAD)


def test_blocks_do_their_clean_up(opened: Callable[..., Any]) -> None:
    """The kernel of the block is shut down, and the thread ends: the fixtures look."""
    with pytest.raises(trio.TooSlowError), tg.fail_after(0.5), opened() as gateway, gateway.start_kernel() as kernel:
        kernel.execute(FOR_EVER)
    with tg.move_on_after(0) as scope, opened():
        pytest.fail("it was entered")
    assert scope.cancelled_caught


def test_a_gateway_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(trio.TooSlowError), tg.fail_after(SOON), tg.open_gateway(url, auth_token="") as gateway:
            gateway.kernels.list()
        with tg.open_gateway(url, auth_token="") as gateway, gateway.http_client() as client:
            with pytest.raises(trio.TooSlowError), tg.fail_after(SOON):
                client.get("/api")


def test_what_is_called_too_late_is_not_sent(kernel: tg.Kernel, fake_gateway: ListeningFake, kernel_id: str) -> None:
    kernel.execute("late = 0")
    with tg.move_on_after(1000) as scope:
        scope.cancel()
        for _ in range(3):  # as often as one tries
            with pytest.raises(Cancelled):
                kernel.execute("late += 1")
        kernel.execute("late += 1")
    assert scope.cancelled_caught
    assert kernel.execute("late").text == "0"
    assert rest(fake_gateway, "GET", f"/api/kernels/{kernel_id}")["execution_state"] == "idle"


def test_another_thread_is_not_touched(kernel: tg.Kernel) -> None:
    """Not even one that runs in a copy of the context, as `asyncio.to_thread` does."""
    results: list[str] = []
    with tg.move_on_after(1000) as scope:
        scope.cancel()
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(lambda: results.append(kernel.execute("6 * 7").text)))
        thread.start()
        thread.join()
        assert results == ["42"]
        kernel.execute("1")
    assert scope.cancelled_caught


def test_a_scope_is_cancelled_from_another_thread(kernel: tg.Kernel) -> None:
    with tg.move_on_after(math.inf) as scope, kernel.stream("print('begun')\n" + FOR_EVER) as outputs:
        next(outputs)
        thread = threading.Thread(target=scope.cancel)
        thread.start()
        for _ in outputs:
            pass
    thread.join()
    assert scope.cancelled_caught
    assert kernel.execute("6 * 7").text == "42"


def test_within_a_callback(kernel: tg.Kernel) -> None:
    def answer(prompt: str, password: bool) -> str:
        with tg.move_on_after(SOON) as scope:
            kernel.wait_for(tg.KernelState.DEAD)
        return str(scope.cancelled_caught)

    assert kernel.execute("input('late? ')", stdin=answer).text == "'True'"
    with pytest.raises(trio.TooSlowError), tg.fail_after(SOON):
        kernel.execute("input('late? ')", stdin=lambda prompt, password: kernel.wait_for(tg.KernelState.DEAD) or "")
    assert kernel.execute("6 * 7").text == "42"


def test_a_call_that_ends_in_the_same_moment_gives_its_result() -> None:
    with tg.move_on_after(0) as scope:
        caller = ThreadCaller()
        assert caller.converse(lambda: None, lambda: bool(caller.deliver(Returned(7))) and None) == Returned(7)
    assert not scope.cancelled_caught


@pytest.mark.parametrize("seconds", [-1, math.nan, "1", None, True])
@pytest.mark.parametrize("make", [tg.move_on_after, tg.fail_after])
def test_what_is_no_number_of_seconds(make: Any, seconds: Any) -> None:
    with pytest.raises(tg.InvalidInputError, match="seconds"), make(seconds):
        pass


def test_what_is_closed_too_late_is_closed(kernel: tg.Kernel) -> None:
    """As in Trio, where `aclose` closes also when it is cancelled."""
    with kernel.iopub.subscribe() as messages, tg.move_on_after(1000) as scope:
        scope.cancel()
        messages.close()
    assert scope.cancelled_caught
    with kernel.iopub.subscribe() as messages:
        with tg.move_on_after(1000) as scope:
            scope.cancel()
            messages.close()
        with pytest.raises(trio.EndOfChannel):
            messages.receive()


def test_a_scope_is_entered_once() -> None:
    scope = tg.move_on_after(1)
    with scope:
        pass
    with pytest.raises(RuntimeError, match="entered before"), scope:
        pass
