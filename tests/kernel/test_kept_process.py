"""A user who keeps to a kernel's process, as pools do: no code of theirs is sent to another one before they know of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway import Kernel, KernelRestartedError
from trio_gateway._kernel.kept_process import KeptProcess
from trio_gateway.testing import FakeGateway, FakeKernel

Clock = trio.testing.MockClock


@pytest.fixture
async def fake() -> AsyncGenerator[FakeGateway]:
    async with FakeGateway() as fake:
        yield fake


@pytest.fixture
async def kernel(fake: FakeGateway) -> AsyncGenerator[Kernel]:
    async with fake.open(reconnect_timeout=600, gateway_retry_max=100) as gateway, gateway.start_kernel() as kernel:
        kernel.keep_process()
        (await kernel.execute("x = 1")).raise_for_error()
        assert await kernel.ask_process()
        yield kernel


def theirs(fake: FakeGateway) -> FakeKernel:
    (kernel,) = fake.kernels.values()
    return kernel


async def replace(fake: FakeGateway, how: str) -> None:
    """Have the process replaced, and everybody hear of it."""
    if how == "another session":
        async with fake.open() as gateway, gateway.attach_kernel(theirs(fake).id) as kernel:
            await kernel.restart()
    else:
        getattr(theirs(fake), how)()
    await trio.sleep(30)


@pytest.mark.parametrize("how", ["kill", "restart", "another session"])
@pytest.mark.parametrize("via", ["execute", "stream", "input"])
async def test_code_is_not_sent_to_another_process_before_its_user_knows(
    autojump_clock: Clock, fake: FakeGateway, kernel: Kernel, how: str, via: str
) -> None:
    await replace(fake, how)
    with pytest.raises(KernelRestartedError, match="this was not sent to the new one"):
        if via == "stream":
            async with kernel.stream("x + 1"):
                pytest.fail("it is not sent")
        elif via == "input":
            await kernel.execute("x + 1", stdin=lambda prompt, password: "")
        else:
            await kernel.execute("x + 1")
    assert theirs(fake).codes == ["x = 1"]
    with pytest.raises(trio_gateway.ExecutionError, match="NameError"):
        (await kernel.execute("x")).raise_for_error()  # its user knows, and may go on


async def test_nobody_else_s_code_is_kept_back(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        await replace(fake, "kill")
        assert (await kernel.execute("1")).text == "1"


async def test_a_restart_of_one_s_own_is_no_loss(autojump_clock: Clock, fake: FakeGateway, kernel: Kernel) -> None:
    await kernel.restart()
    assert (await kernel.execute("'new'")).text == "'new'"
    await replace(fake, "kill")
    await kernel.restart()
    assert (await kernel.execute("'newer'")).text == "'newer'", "what was lost before does not matter any more"


async def test_code_that_waits_during_a_restart_of_one_s_own_runs_in_the_new_process(autojump_clock: Clock) -> None:
    async with FakeGateway(restart_seconds=5) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        kernel.keep_process()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.restart)
            await trio.sleep(1)
            assert (await kernel.execute("'new'")).text == "'new'"


async def test_a_user_who_saw_an_execution_fail_knows(autojump_clock: Clock, fake: FakeGateway, kernel: Kernel) -> None:
    for _ in range(2):
        theirs(fake).kill_soon(1)
        with pytest.raises(KernelRestartedError):
            await kernel.execute("import time; time.sleep(1e6)")
        assert (await kernel.execute("1")).text == "1"
        theirs(fake).kill_soon(1)
        async with kernel.stream("import time; time.sleep(1e6)") as outputs:
            with pytest.raises(KernelRestartedError):
                async for _output in outputs:
                    pass
        assert (await kernel.execute("1")).text == "1"


async def test_one_who_was_cancelled_does_not_know(autojump_clock: Clock, fake: FakeGateway, kernel: Kernel) -> None:
    theirs(fake).kill_soon(1)
    with trio.move_on_after(1.5):
        await kernel.execute("import time; time.sleep(1e6)")
    await trio.sleep(30)
    with pytest.raises(KernelRestartedError):
        await kernel.execute("x")


async def test_all_that_was_asked_for_before_fails(autojump_clock: Clock, fake: FakeGateway, kernel: Kernel) -> None:
    """Each may count on what the one before it has done."""
    outcomes: list[str] = []

    async def run(number: int) -> None:
        with suppress(KernelRestartedError):
            await kernel.execute(f"import time; time.sleep(1e6); {number}")
        outcomes.append("failed")

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(run, number)
            await trio.testing.wait_all_tasks_blocked()
        theirs(fake).kill_soon(1)
    assert outcomes == ["failed"] * 3
    assert len(theirs(fake).codes) == 2
    assert (await kernel.execute("1")).text == "1"


async def test_code_that_waits_for_the_connection_is_not_sent(autojump_clock: Clock, fake: FakeGateway, kernel: Kernel) -> None:
    """Nothing tells of the new process, for the connection was away: the answer to the first question does."""
    restarts = kernel.hb.evidence.restarts
    refused = fake.faults.refuse()
    fake.cut_connections()
    theirs(fake).kill()

    async def mend() -> None:
        await trio.sleep(20)
        refused.remove()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(mend)
        await trio.sleep(1)  # the cut has been noticed
        with pytest.raises(KernelRestartedError, match="another process has answered"):
            await kernel.execute("x + 1")
    assert theirs(fake).codes == ["x = 1"]
    assert kernel.hb.evidence.restarts == restarts + 1
    assert (await kernel.execute("1")).text == "1"


@pytest.mark.parametrize("via", ["execute", "stream"])
async def test_code_that_another_process_has_begun_with_has_failed(
    autojump_clock: Clock, fake: FakeGateway, kernel: Kernel, via: str
) -> None:
    """A gateway keeps what it could not deliver for the next process, and its word of that was lost."""
    fake.faults.drop("iopub status", times=1)
    theirs(fake).kill()
    with pytest.raises(KernelRestartedError, match="another process has answered"):
        if via == "execute":
            await kernel.execute("x")
        else:
            async with kernel.stream("x") as outputs:
                assert [output async for output in outputs] == []
    assert theirs(fake).codes == ["x = 1", "x"]
    assert (await kernel.execute("1")).text == "1"


async def test_code_that_waits_during_a_restart_that_fails_does_not_run_in_another_process(
    autojump_clock: Clock, fake: FakeGateway, kernel: Kernel
) -> None:
    """The process ends while a restart is asked for that does not happen: nobody here has replaced it."""
    fake.faults.delay_answer("POST .*/restart", 10)
    fake.faults.answer("POST .*/restart", status=403)

    async def restart() -> None:
        with pytest.raises(trio_gateway.GatewayError):
            await kernel.restart()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(restart)
        await trio.sleep(1)
        theirs(fake).kill()
        with pytest.raises(KernelRestartedError):
            await kernel.execute("x + 1")
    assert theirs(fake).codes == ["x = 1"]


async def test_a_process_that_is_lost_before_it_was_sent_code_is_no_second_loss(
    autojump_clock: Clock, fake: FakeGateway, kernel: Kernel
) -> None:
    """Its user, who knows of the first, has nothing in it."""
    await replace(fake, "kill")
    with pytest.raises(KernelRestartedError):
        await kernel.execute("x")
    fake.faults.drop("shell kernel_info_reply", times=3)
    theirs(fake).kill()
    await trio.sleep(3.01)
    with pytest.raises(KernelRestartedError):
        await kernel.execute("x")
    theirs(fake).kill()
    assert (await kernel.execute("1")).text == "1"


def lost(kept: KeptProcess, known: int) -> bool:
    try:
        kept.raise_if_lost(known)
    except KernelRestartedError:
        return True
    return False


def lose(kept: KeptProcess) -> tuple[KernelRestartedError, KernelRestartedError]:
    errors = KernelRestartedError("k", "sent"), KernelRestartedError("k", "unsent")
    kept.lose(*errors)
    return errors


def test_losses_have_numbers() -> None:
    kept = KeptProcess()
    lose(kept)
    assert not lost(kept, kept.known), "nobody keeps it"
    kept.keep()
    before = kept.known
    first = lose(kept)
    second = lose(kept)
    kept.note_known(first[0])
    assert kept.known == before, "there is one that its user does not know of"
    kept.note_known(None)
    kept.note_known(second[0])
    assert not lost(kept, kept.known)
    assert lost(kept, before), "what was asked for before fails, though its user knows by now"
    assert lost(kept, before)
    kept.replaced()
    assert not lost(kept, before)


def test_what_tells_which_process_it_is() -> None:
    kept = KeptProcess()
    assert all(kept.speaks("control", process) for process in "ab"), "nobody keeps it"
    kept.keep()
    assert all(kept.speaks("control", process) for process in ("", "a", ""))
    assert kept.speaks("iopub", "b"), "a kernel may call itself otherwise there"
    assert not kept.speaks("control", "b")
    assert not kept.speaks("iopub", "a")
    lose(kept)
    assert kept.speaks("control", "b")
    assert kept.speaks("iopub", "a")
