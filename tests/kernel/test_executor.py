"""Running code: one execution after the other, its input, its cancellation, and code that a kernel has skipped."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway import Kernel, Stream
from trio_gateway._kernel.executor import OVERTAKEN_SECONDS
from trio_gateway.testing import FakeGateway, FakeKernelSpec

Clock = trio.testing.MockClock


@pytest.fixture
async def fake() -> AsyncGenerator[FakeGateway]:
    async with FakeGateway() as fake:
        yield fake


@pytest.fixture
async def kernel(fake: FakeGateway) -> AsyncGenerator[Kernel]:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        yield kernel


@pytest.mark.parametrize("code", ["", "# nothing", "\n\n"])
async def test_no_code(autojump_clock: Clock, kernel: Kernel, code: str) -> None:
    result = await kernel.execute(code)
    assert (result.status, result.outputs) == ("ok", ())


async def test_state_is_kept_between_executions(autojump_clock: Clock, kernel: Kernel) -> None:
    first = await kernel.execute("x = 20")
    second = await kernel.execute("x + 1")
    assert second.text == "21"
    assert first.execution_count is not None
    assert second.execution_count == first.execution_count + 1


async def test_silent(autojump_clock: Clock, kernel: Kernel) -> None:
    before = await kernel.execute("1")
    result = await kernel.execute("y = 5\nprint('printed')\ny", silent=True)
    assert result.status == "ok"
    assert not any(isinstance(output, trio_gateway.ExecuteResult) for output in result.outputs)
    after = await kernel.execute("y")
    assert after.text == "5"
    assert before.execution_count is not None
    assert after.execution_count == before.execution_count + 1


@pytest.mark.parametrize("is_async", [True, False])
async def test_input_is_answered_by_a_handler(autojump_clock: Clock, kernel: Kernel, is_async: bool) -> None:
    asked: list[tuple[str, bool]] = []

    def plain(prompt: str, password: bool) -> str:
        asked.append((prompt, password))
        return "ä" * len(asked)

    async def waiting(prompt: str, password: bool) -> str:
        await trio.lowlevel.checkpoint()
        return plain(prompt, password)

    code = "[input('who? '), input('where? '), input()]"
    result = await kernel.execute(code, stdin=waiting if is_async else plain)
    assert result.text == "['ä', 'ää', 'äää']"
    assert asked == [("who? ", False), ("where? ", False), ("", False)]


async def test_what_a_handler_raises_comes_out_and_ends_the_code(autojump_clock: Clock, kernel: Kernel) -> None:
    class Refused(Exception):
        pass

    def refuse(prompt: str, password: bool) -> str:
        raise Refused(prompt, password)

    with pytest.raises(Refused):
        await kernel.execute("asked = True\ninput('?')\nanswered = True", stdin=refuse)
    assert (await kernel.execute("'answered' in globals()")).text == "False"


@pytest.mark.parametrize("answer", [None, 5, b"bytes"])
async def test_an_answer_that_is_no_text_is_named(autojump_clock: Clock, kernel: Kernel, answer: Any) -> None:
    with pytest.raises(trio_gateway.InvalidInputError, match="stdin"):
        await kernel.execute("input('?')", stdin=lambda _prompt, _password: answer)
    assert (await kernel.execute("1")).text == "1"


async def test_input_over_the_channel(autojump_clock: Clock, kernel: Kernel) -> None:
    """For who wants the requests themselves: a front end, say."""
    async with kernel.stdin.subscribe() as requests, trio.open_nursery() as nursery:
        results: list[str] = []

        async def run() -> None:
            results.append((await kernel.execute("input('who? ')", stdin="channel")).text)

        nursery.start_soon(run)
        request = await requests.receive()
        assert (request.msg_type, request.content["prompt"], request.content["password"]) == ("input_request", "who? ", False)
        await kernel.stdin.send("input_reply", {"status": "ok", "value": "me"}, parent_header=request.own_header)
    assert results == ["'me'"]


async def test_code_that_waits_for_input_can_be_cancelled(autojump_clock: Clock, kernel: Kernel) -> None:
    asked = trio.Event()

    async def never(prompt: str, password: bool) -> str:
        del prompt, password
        asked.set()
        await trio.sleep_forever()
        return ""

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:

            async def cancel() -> None:
                await asked.wait()
                scope.cancel()

            nursery.start_soon(cancel)
            await kernel.execute("input('?')", stdin=never)
    assert scope.cancelled_caught
    assert (await kernel.execute("1")).text == "1"


def without_numbers(header: bytes) -> bytes:
    """Give a message an id that is no number, as kernels that are not built on `jupyter_client` do."""
    fields = json.loads(header)
    return json.dumps({**fields, "msg_id": fields["msg_id"].replace("_", "-")}).encode()


def held(fake: FakeGateway) -> int:
    """How many messages were sent behind the one that follows them: a question."""
    lines = str(fake.conversation).splitlines()
    return sum("input_request" in line and "iopub" in after for line, after in pairwise(lines))


async def order_of(kernel: Kernel, code: str) -> list[str]:
    """Return what a stream gave and what its handler was asked, in order."""
    order: list[str] = []

    def answer(prompt: str, password: bool) -> str:
        order.append(prompt)
        return "me"

    async with kernel.stream(code, stdin=answer) as outputs:
        async for output in outputs:
            assert isinstance(output, Stream)
            order.append(output.text)
    return order


ASKS = "print('before', flush=True)\nprint(input('who? '))"


@pytest.mark.parametrize(
    ("late", "code", "order"),
    [
        ("iopub stream", ASKS, ["before\n", "who? ", "me\n"]),
        ("iopub execute_input", "print(input('who? '))", ["who? ", "me\n"]),  # what is no output wakes it too
    ],
)
async def test_what_was_printed_before_a_question_is_given_before_it_is_asked(
    autojump_clock: Clock, fake: FakeGateway, kernel: Kernel, late: str, code: str, order: list[str]
) -> None:
    """Though the question, which comes over another socket, comes first."""
    await kernel.execute("1")
    for _ in range(3):
        fake.faults.reorder(late, times=1)
        began = trio.current_time()
        assert await order_of(kernel, code) == order
        assert trio.current_time() - began < OVERTAKEN_SECONDS, "it waits for no more than it has to"
    assert held(fake) == 3


async def test_a_question_is_asked_although_what_came_before_it_was_lost(
    autojump_clock: Clock, fake: FakeGateway, kernel: Kernel
) -> None:
    fake.faults.drop("iopub stream", times=1)
    began = trio.current_time()
    code = f"{ASKS}\nprint(input('and? '))"
    assert await order_of(kernel, code) == ["who? ", "me\n", "and? ", "me\n"]
    assert OVERTAKEN_SECONDS <= trio.current_time() - began < 2 * OVERTAKEN_SECONDS, "for the same hole it waits once"


async def test_a_kernel_that_numbers_nothing_has_a_moment(autojump_clock: Clock, fake: FakeGateway, kernel: Kernel) -> None:
    fake.faults.spoil(".*", part="header", by=without_numbers)
    fake.faults.reorder("iopub stream", times=1)
    began = trio.current_time()
    assert await order_of(kernel, ASKS) == ["before\n", "who? ", "me\n"]
    assert 0 < trio.current_time() - began < OVERTAKEN_SECONDS


@pytest.mark.parametrize("number", ["", "x", "²", "9" * 5_000], ids=lambda number: number[:4])
async def test_a_question_whose_number_is_none_is_asked_all_the_same(
    autojump_clock: Clock, fake: FakeGateway, kernel: Kernel, number: str
) -> None:
    """Its sender is known and numbers all else."""

    def renumber(header: bytes) -> bytes:
        fields = json.loads(header)
        fields["msg_id"] = f"{fields['msg_id'].rpartition('_')[0]}_{number}"
        return json.dumps(fields).encode()

    fake.faults.spoil("stdin input_request", part="header", by=renumber)
    assert await order_of(kernel, ASKS) == ["before\n", "who? ", "me\n"]


async def test_a_question_is_taken_back_with_its_code(autojump_clock: Clock, fake: FakeGateway, kernel: Kernel) -> None:
    """The code ends, for it was interrupted, while its question waits for what was printed before."""
    fake.faults.drop("iopub stream", times=1)
    asked: list[str] = []
    async with trio.open_nursery() as nursery:

        async def interrupt() -> None:
            await trio.sleep(OVERTAKEN_SECONDS / 2)
            await kernel.interrupt()

        nursery.start_soon(interrupt)
        result = await kernel.execute(ASKS, stdin=lambda prompt, password: asked.append(prompt) or "me")
    assert (result.status, asked) == ("error", [])


async def test_who_stops_iterating_and_goes_on_is_asked_once(autojump_clock: Clock, fake: FakeGateway, kernel: Kernel) -> None:
    fake.faults.reorder("iopub stream", times=1)
    order: list[str] = []

    def answer(prompt: str, password: bool) -> str:
        order.append(prompt)
        return "me"

    async with kernel.stream(ASKS, stdin=answer) as outputs:
        for _ in range(20):
            with trio.move_on_after(0.001):
                async for output in outputs:
                    order.append(output.text)  # type: ignore[union-attr]  # noqa: PERF401 - it may be cancelled
    assert order == ["before\n", "who? ", "me\n"]


async def test_nothing_is_given_at_once_where_a_question_waits(autojump_clock: Clock, fake: FakeGateway, kernel: Kernel) -> None:
    fake.faults.drop("iopub stream", times=1)
    asked: list[str] = []
    async with kernel.stream(f"{ASKS}\nprint('end')", stdin=lambda prompt, password: asked.append(prompt) or "me") as outputs:
        with trio.move_on_after(OVERTAKEN_SECONDS / 2):
            await anext(outputs)
        assert (outputs.receive_ready(), asked) == ([], [])
        assert [output.text async for output in outputs] == ["me\nend\n"]  # type: ignore[union-attr]
    assert asked == ["who? "]


async def test_who_reads_outputs_on_iopub_answers_all_the_same(autojump_clock: Clock, kernel: Kernel) -> None:
    asked: list[str] = []
    async with kernel.stream(ASKS, stdin=lambda prompt, password: asked.append(prompt) or "me") as outputs:
        await outputs.run_out()
        assert (outputs.result.status, asked) == ("ok", ["who? "])
        assert outputs.statistics().messages == 0


# Code that a kernel skips ---------------------------------------------------------------------------------------------


def a_gateway(seconds: float) -> FakeGateway:
    """One whose kernels skip code for so long after a failure."""
    return FakeGateway(kernelspecs=[FakeKernelSpec(name="python3", stop_on_error_timeout=seconds)])


@pytest.mark.parametrize("seconds", [0.005, 0.1, 0.5])
async def test_code_that_follows_a_failure_runs_once(autojump_clock: Clock, seconds: float) -> None:
    async with a_gateway(seconds) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("runs = 0")
        assert (await kernel.execute("1 / 0")).status == "error"
        result = await kernel.execute("runs += 1; print(runs)")
        assert (result.status, result.text, result.output_gaps) == ("ok", "1\n", ())
        assert (await kernel.execute("runs")).text == "1"


async def test_a_stream_that_follows_a_failure_is_whole(autojump_clock: Clock) -> None:
    async with a_gateway(0.1) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("1 / 0")
        async with kernel.stream("print('once')") as outputs:
            texts = [output.text async for output in outputs if isinstance(output, trio_gateway.Stream)]
        assert (texts, outputs.result.status, outputs.result.output_gaps) == (["once\n"], "ok", ())


async def test_code_that_follows_an_interrupt_runs(autojump_clock: Clock) -> None:
    async with a_gateway(0.1) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        with trio.move_on_after(5):
            await kernel.execute("import time; time.sleep(3600)")
        assert (await kernel.execute("print('after')")).text == "after\n"


async def test_a_kernel_that_goes_on_skipping_has_the_last_word(autojump_clock: Clock) -> None:
    async with a_gateway(30) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("1 / 0")
        begun = trio.current_time()
        assert (await kernel.execute("print('never')")).status == "aborted"
        assert trio.current_time() - begun < 3
        with pytest.raises(trio_gateway.ExecutionError):
            (await kernel.execute("print('never')")).raise_for_error()
        await trio.sleep(31)
        assert (await kernel.execute("print('late')")).text == "late\n"


async def test_what_another_clients_failure_skips_is_not_sent_again(autojump_clock: Clock) -> None:
    """That is what `stop_on_error` is for: it was in the queue when the other's code failed."""
    async with a_gateway(0.1) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with gateway.attach_kernel(kernel.id) as other, trio.open_nursery() as nursery:
            nursery.start_soon(kernel.execute, "import time; time.sleep(5); 1 / 0")
            await trio.sleep(1)
            assert (await other.execute("print('never')")).status == "aborted"


@pytest.mark.parametrize(
    ("bytes_per_second", "after"),
    [(1e9, after) for after in (0.004, 0.02, 0.05, 0.15)] + [(20_000, after) for after in (0.005, 0.015, 0.025, 0.035, 0.045)],
)
async def test_a_caller_who_is_cancelled_meanwhile_leaves_nothing_to_be_sent(
    autojump_clock: Clock, bytes_per_second: float, after: float
) -> None:
    """Whether the code waits to be sent again just then, or is with the kernel; or, on a slow line, on its way there or back."""
    async with a_gateway(0.5) as fake:
        fake.faults.slow(bytes_per_second)
        async with fake.open() as gateway, gateway.start_kernel() as kernel:
            await kernel.execute("runs = 0")
            await kernel.execute("1 / 0")
            with trio.move_on_after(after) as scope:
                await kernel.execute("runs += 1")
            assert scope.cancelled_caught
            await trio.sleep(10)
            assert (await kernel.execute("runs")).text == "0"


async def test_a_kernel_that_is_shut_down_meanwhile_ends_the_wait(autojump_clock: Clock) -> None:
    async with a_gateway(0.5) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("1 / 0")
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                with pytest.raises(trio_gateway.KernelDiedError):
                    await kernel.execute("print('never')")

            nursery.start_soon(run)
            await trio.sleep(0.05)
            await kernel.shutdown()
