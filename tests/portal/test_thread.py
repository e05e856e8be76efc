"""The one thread in which Trio runs: all gateways share it, it starts with the first and ends with the last."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import uvloop

from tools.face_tools import ASYNCIO, ListeningFake, kernel_ids, run, trio_threads
from trio_gateway._portal.asyncio_side import PortalCrossing
from trio_gateway._portal.calls import Block
from trio_gateway._portal.portal import Portal
from trio_gateway._portal.thread_side import BlockingPortalCrossing, block_on

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


@pytest.mark.parametrize("backend", ASYNCIO)
def test_a_blocked_loop_stops_no_heartbeat(backend: str, attached: Callable[..., Any]) -> None:
    """While nothing runs in the loop, pings go out, pongs come in, and the kernel is known to be alive."""

    async def main() -> None:
        async with attached(ping_interval=0.1) as kernel:
            liveness = kernel._original._session.liveness
            heard = liveness._heard
            for _ in range(3):
                while liveness._heard == heard:
                    pass  # the loop is blocked: by this very line
                heard = liveness._heard
            assert kernel.hb.is_beating()

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_all_gateways_share_one_thread(backend: str, opened: Callable[..., Any]) -> None:
    """Also those of other threads' loops; it ends with the last one, wherever that is, and starts anew for the next."""

    async def one() -> int | None:
        async with opened() as gateway:
            await gateway.kernelspecs.list()
            (thread,) = trio_threads()
            return thread.ident

    async def main() -> None:
        async with opened() as first:
            mine = trio_threads()[0].ident
            async with opened():
                assert await one() == mine
            assert await asyncio.to_thread(run, backend, one) == mine
            await first.kernelspecs.list()
        assert trio_threads() == []
        assert await one() is not None

    run(backend, main)


@pytest.mark.parametrize("how", ["closed", "thrown away"])
@pytest.mark.parametrize("loop_of", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_g1_a_loop_that_is_closed_under_it(
    how: str, loop_of: Callable[[], asyncio.AbstractEventLoop], opened: Callable[..., Any], fake_gateway: ListeningFake
) -> None:
    """No task leaves the blocks: the kernel is shut down, and the thread ends, all the same."""
    before = kernel_ids(fake_gateway)
    entered: list[str] = []
    running: list[Any] = []

    async def use() -> None:
        async with opened() as gateway, gateway.start_kernel() as kernel:
            entered.append(kernel.id)
            await kernel.execute("while True: pass")

    async def until_running() -> None:
        running.append(asyncio.ensure_future(use()) if how == "closed" else None)
        coroutine = use()
        if how == "thrown away":
            running.append(coroutine)
            # Driven by hand, so that no task of the loop's holds it.
            future = coroutine.send(None)
            while not entered:
                await asyncio.sleep(0.01)
                if future is None or future.done():
                    future = coroutine.send(None)
        else:
            coroutine.close()
            while not entered:
                await asyncio.sleep(0.01)

    loop = loop_of()
    loop.run_until_complete(until_running())
    (thread,) = trio_threads()
    assert kernel_ids(fake_gateway) - before == set(entered)
    if how == "thrown away":
        running.pop().close()
    else:
        running[0]._log_destroy_pending = False  # as the loop that is closed here should have said, but need not
        loop.close()
    thread.join(250)
    assert not thread.is_alive()
    assert kernel_ids(fake_gateway) == before
    if how == "thrown away":
        loop.close()
    running.clear()
    gc.collect()


@asynccontextmanager
async def nothing() -> AsyncGenerator[None]:
    """Stand in for a gateway."""
    await trio.lowlevel.checkpoint()
    yield None


def give_portal(portal: Portal, value: object) -> Portal:
    return portal


def open_blocking() -> None:
    with BlockingPortalCrossing(nothing(), give_portal):
        pass


def open_in_loop() -> None:
    async def use() -> None:
        async with PortalCrossing(lambda portal: nothing(), give_portal):
            pass

    loop = asyncio.new_event_loop()  # which leaves signals alone, as asyncio.run() does not
    try:
        loop.run_until_complete(use())
    finally:
        loop.close()


PLACES = {
    "before the thread starts": (threading.Thread, "start", "before"),
    "while the thread starts": (threading.Thread, "start", "after"),
    "before it is used": (Portal, "open", "before"),
    "when it is used": (Portal, "open", "after"),
    "before the block begins": (Block, "enter", "before"),
    "when the block begins": (Block, "enter", "after"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("use", [open_blocking, open_in_loop])
def test_g1_a_signal_while_a_gateway_is_opened_leaves_no_thread(
    use: Callable[[], None], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, when = PLACES[place]
    real: Any = getattr(owner, name)

    def interrupted(self: Any) -> None:
        if when == "after":
            real(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            use()
    for thread in trio_threads():
        thread.join(100)
    assert trio_threads() == []
    use()
    assert trio_threads() == []


PROGRAM_WHOSE_TRIO_FAILS = """
import asyncio, contextlib, sys, threading, trio
from trio_gateway._portal.asyncio_side import Crossing, PortalCrossing, call
from trio_gateway._portal.thread_side import BlockingCrossing, BlockingPortalCrossing, block_on

async def wait_and_fail():
    clock = type(trio.lowlevel.current_clock())
    real = clock.deadline_to_sleep_time
    def fail(*_):  # Trio calls it when no task can run
        clock.deadline_to_sleep_time = real
        raise MemoryError
    clock.deadline_to_sleep_time = fail
    await trio.sleep_forever()

@contextlib.asynccontextmanager
async def fails(at=None):
    await (wait_and_fail() if at == "entering" else trio.lowlevel.checkpoint())
    yield None
    await (wait_and_fail() if at == "leaving" else trio.lowlevel.checkpoint())

@contextlib.contextmanager
def show_error():
    try:
        yield
    except Exception as error:
        print(type(error).__name__)

def give_portal(portal, value):
    return portal

def in_a_thread(case):
    with show_error(), BlockingPortalCrossing(fails(case.partition("a gateway, ")[2]), give_portal) as portal:
        with show_error():
            if case == "a call":
                block_on(portal, wait_and_fail)
            if case == "what does not wait":
                portal.run_sync(sys.exit)
            if case.startswith("a block, "):
                with BlockingCrossing(portal, fails(case.removeprefix("a block, ")), give_portal):
                    print("entered")
        if not case.startswith("a gateway, "):
            with show_error():
                block_on(portal, trio.sleep_forever)
            with BlockingPortalCrossing(fails(), give_portal) as second:  # while the first is still held
                print(block_on(second, trio.lowlevel.checkpoint))

async def in_asyncio(case):
    with show_error():
        async with PortalCrossing(lambda portal: fails(case.partition("a gateway, ")[2]), give_portal) as portal:
            with show_error():
                if case == "a call":
                    await call(portal, wait_and_fail)
                if case == "what does not wait":
                    portal.run_sync(sys.exit)
                if case.startswith("a block, "):
                    async with Crossing(portal, fails(case.removeprefix("a block, ")), give_portal):
                        print("entered")
            if not case.startswith("a gateway, "):
                with show_error():
                    await call(portal, trio.sleep_forever)
                async with PortalCrossing(lambda portal: fails(), give_portal) as second:
                    print(await call(second, trio.lowlevel.checkpoint))

if sys.argv[1] == "blocking":
    in_a_thread(sys.argv[2])
else:
    asyncio.run(in_asyncio(sys.argv[2]))
for thread in threading.enumerate():
    if thread is not threading.main_thread():  # the one that has failed says so
        thread.join()
"""

FAILED = "GatewayInternalError"
NEXT = ["ClosedResourceError", "None"]
"""A further call of the gateway whose thread has failed, and one of another gateway that is opened then."""

WHILE_TRIO_FAILS = {
    "a call": [FAILED, *NEXT, FAILED],
    "what does not wait": [FAILED, *NEXT],  # Trio cancels the block first, which ends well
    "a block, entering": [FAILED, *NEXT, FAILED],
    "a block, leaving": ["entered", FAILED, *NEXT, FAILED],
    "a gateway, entering": [FAILED],
    "a gateway, leaving": [FAILED],
}


@pytest.mark.parametrize("case", WHILE_TRIO_FAILS)
@pytest.mark.parametrize("face", ["blocking", "asyncio"])
def test_g3_a_caller_of_a_thread_that_fails_gets_an_error(face: str, case: str) -> None:
    """What fails in Trio itself, as where memory is short, ends the thread as it stands; the next gateway has another."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM_WHOSE_TRIO_FAILS, face, case], check=True, capture_output=True, text=True, timeout=250
    )
    assert done.stdout.split() == WHILE_TRIO_FAILS[case]


def test_g9_what_is_cut_from_outside_is_no_group() -> None:
    """As at the end of the program, in a thread that is still in a block."""
    with BlockingPortalCrossing(nothing(), give_portal) as portal:
        portal.thread.post(portal.run_sync(lambda: portal.thread.nursery).cancel_scope.cancel)
        with pytest.raises(trio.ClosedResourceError):
            block_on(portal, trio.sleep_forever)
    assert trio_threads() == []


PROGRAM_THAT_IS_LATE = """
import sys
import trio_gateway.blocking as tg
class Late:
    def __del__(self, open_gateway=tg.open_gateway, arguments=sys.argv):
        try:
            with open_gateway(arguments[1], auth_token=arguments[2]):
                print("opened")
        except RuntimeError as error:
            print("refused")
late = Late()
"""


def test_g3_where_the_interpreter_ends_no_gateway_is_opened(fake_gateway: ListeningFake) -> None:
    """No thread would run any more."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM_THAT_IS_LATE, fake_gateway.url, fake_gateway.token],
        check=True, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("refused\n", "")


PROGRAM_WITH_A_GENERATOR = """
import asyncio, sys
import trio_gateway.anyio as tg
async def kernels():
    async with tg.open_gateway(sys.argv[1], auth_token=sys.argv[2]) as gateway, gateway.start_kernel() as kernel:
        yield kernel
async def main():
    global generator
    generator = kernels()
    async for kernel in generator:
        print((await kernel.execute("6 * 7")).text)
        break
class Ordered(dict):
    add, discard = dict.setdefault, lambda self, item: self.pop(item, None)
    def __iter__(self):
        return iter(list(self.keys())[:: -1 if sys.argv[3] == "newest" else 1])
with asyncio.Runner() as runner:
    runner.get_loop()._asyncgens = Ordered()  # in place of a set, whose order is chance
    runner.run(main())
"""


@pytest.mark.parametrize("first", ["oldest", "newest"])
def test_g2_a_generator_that_is_left_behind(fake_gateway: ListeningFake, first: str) -> None:
    """The event loop ends it, where nothing can be awaited any more: no word about it, and no kernel."""
    before = kernel_ids(fake_gateway)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM_WITH_A_GENERATOR, fake_gateway.url, fake_gateway.token, first],
        check=True, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("42\n", "")
    assert kernel_ids(fake_gateway) == before


PROGRAM_THAT_FORGETS = """
import asyncio, sys
import trio_gateway.anyio as tg
stack = []
async def main():
    gateway = tg.open_gateway(sys.argv[1], auth_token=sys.argv[2])
    stack.append(gateway)
    stack.append((await gateway.__aenter__()).start_kernel())
    kernel = await stack[-1].__aenter__()
    print(kernel.id)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""


def test_g2_a_program_that_forgets_to_leave(fake_gateway: ListeningFake) -> None:
    """The interpreter ends, and the kernel before it."""
    before = kernel_ids(fake_gateway)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM_THAT_FORGETS, fake_gateway.url, fake_gateway.token],
        check=True, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert len(done.stdout.strip()) == 36
    assert kernel_ids(fake_gateway) == before
    assert "Traceback" not in done.stderr


PROGRAM_THAT_FORKS = """
import asyncio, os, sys, warnings
import trio_gateway.anyio as tg
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
async def use():
    async with tg.open_gateway(sys.argv[1], auth_token=sys.argv[2]) as gateway:
        return (await gateway.kernelspecs.list()).default
async def main():
    async with tg.open_gateway(sys.argv[1], auth_token=sys.argv[2]):
        if not os.fork():
            asyncio.set_event_loop(None)
            asyncio._set_running_loop(None)
            print("child", asyncio.run(use()), flush=True)
            os._exit(0)
        os.wait()
        print("parent", await use(), flush=True)
asyncio.run(main())
"""


@pytest.mark.full
def test_a_forked_process_starts_anew(fake_gateway: ListeningFake) -> None:
    """The child has a thread of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM_THAT_FORKS, fake_gateway.url, fake_gateway.token],
        check=True, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.stdout.split() == ["child", "python3", "parent", "python3"]
