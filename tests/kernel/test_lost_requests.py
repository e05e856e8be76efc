"""Each kind of request, lost with its connection or without, there or back: all end, and the kernel goes on (G3, G4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway._protocol import codec
from trio_gateway.testing import FakeComm, FakeGateway, FakeKernelSpec

Clock = trio.testing.MockClock
SOON = 120.0
"""Within so many seconds each ends: some intervals of 20."""


async def execute(kernel: trio_gateway.Kernel) -> None:
    """Run code."""
    await kernel.execute("x = 1")


async def stream(kernel: trio_gateway.Kernel) -> None:
    """Run code, and read what comes of it."""
    async with kernel.stream("print(1)") as outputs:
        async for _ in outputs:
            pass


async def in_subshell(kernel: trio_gateway.Kernel) -> None:
    """Run code in a subshell."""
    async with kernel.subshell() as subshell:
        await subshell.execute("x = 1")


async def subshell(kernel: trio_gateway.Kernel) -> None:
    """Make a subshell, and delete it."""
    async with kernel.subshell():
        pass


async def interrupt(kernel: trio_gateway.Kernel) -> None:
    """Interrupt it by a message."""
    await kernel.interrupt()


@attrs.frozen
class Kind:
    """A kind of request."""

    ask: Callable[[trio_gateway.Kernel], Awaitable[object]]
    request: str
    """The channel and the type of the request that is lost."""
    goes_on: bool = False
    """Whether it ends well all the same."""

    @property
    def reply(self) -> str:
        """The channel and the type of its reply."""
        return self.request.removesuffix("_request") + "_reply"


KINDS = {
    "execute": Kind(execute, "shell execute_request"),
    "stream": Kind(stream, "shell execute_request"),
    "execute in a subshell": Kind(in_subshell, "shell execute_request"),
    "complete": Kind(lambda kernel: kernel.complete("impo"), "shell complete_request"),
    "inspect": Kind(lambda kernel: kernel.inspect("print"), "shell inspect_request"),
    "history": Kind(lambda kernel: kernel.history(), "shell history_request"),
    "is_complete": Kind(lambda kernel: kernel.is_complete("("), "shell is_complete_request"),
    "comm_info": Kind(lambda kernel: kernel.comm_info(), "shell comm_info_request"),
    "kernel_info": Kind(lambda kernel: kernel.kernel_info(), "shell kernel_info_request"),
    "debug": Kind(lambda kernel: kernel.debug("debugInfo"), "control debug_request"),
    "make a subshell": Kind(subshell, "control create_subshell_request"),
    "delete a subshell": Kind(subshell, "control delete_subshell_request", goes_on=True),
    "interrupt by message": Kind(interrupt, "control interrupt_request", goes_on=True),
}


@pytest.mark.parametrize("lost", ["request", "reply"])
@pytest.mark.parametrize("held", [False, True], ids=["with the connection", "though it holds"])
@pytest.mark.parametrize("name", KINDS)
async def test_each_kind_of_request_ends(autojump_clock: Clock, name: str, held: bool, lost: str) -> None:
    kind = KINDS[name]
    async with FakeGateway() as fake:
        fake.kernelspecs["python3"] = FakeKernelSpec(name="python3", interrupt_mode="message")
        async with fake.open() as gateway, gateway.start_kernel() as kernel:
            await kernel.execute("0")
            pattern = kind.request if lost == "request" else kind.reply
            direction = "to_kernel" if lost == "request" else "to_client"
            strike = fake.faults.drop if held else fake.faults.cut_at_message
            fault = strike(pattern, direction=direction, times=1)
            began = trio.current_time()
            with trio.fail_after(SOON):
                if kind.goes_on:
                    await kind.ask(kernel)
                else:
                    # The first kernel_info of a subshell is asked on shell and holds: what is lost is named.
                    with pytest.raises(trio_gateway.ConnectionLostError, match=kind.request.split()[1]):
                        await kind.ask(kernel)
            assert fault.hits == 1
            assert trio.current_time() - began < SOON
            assert (await kernel.execute("6 * 7")).text == "42"
            assert max(fake.kernels[kernel.id].executed.values()) == 1, "nothing runs twice"
            if name != "make a subshell" and not (name == "delete a subshell" and held):  # nothing tells of that in time
                assert fake.kernels[kernel.id].subshells == []


async def test_a_request_on_control_that_takes_its_time_is_not_taken_for_lost(autojump_clock: Clock) -> None:
    """The barrier waits behind it."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel, trio.open_nursery() as nursery:
        answers: list[bool] = []

        async def ask() -> None:
            answers.append((await kernel.debug("debugInfo"))["success"])

        fake.kernels[kernel.id].stall()
        nursery.start_soon(ask)
        await trio.sleep(1000)
        assert not answers
        fake.kernels[kernel.id].resume()
        await trio.sleep(SOON)
        assert answers == [True]


async def test_a_restart_asks_again_what_it_asked_a_kernel_that_does_not_answer(autojump_clock: Clock) -> None:
    """Of a barrier on control, too, its question is asked again, and not failed."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.kernelspecs["python3"] = FakeKernelSpec(name="python3", startup_seconds=8)
        fake.faults.drop("shell kernel_info_request", direction="to_kernel")
        fault = fake.faults.cut_at_message("control kernel_info_reply", times=2)
        with trio.fail_after(SOON):
            await kernel.restart()
        fake.faults.clear()
        assert fault.hits == 2
        assert (await kernel.execute("6 * 7")).text == "42"


@pytest.mark.parametrize("lost", ["request", "reply"])
@pytest.mark.parametrize("v1", [True, False])
@pytest.mark.parametrize("line", ["shell", "control", "subshell"])
async def test_a_relays_request_ends(autojump_clock: Clock, line: str, v1: bool, lost: str) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel, kernel.subshell() as subshell:
        async with gateway.open_channels(kernel.id, session_id="front", v1=v1) as channels:
            channel, kind = ("control", "debug") if line == "control" else ("shell", "complete")
            direction = "to_kernel" if lost == "request" else "to_client"
            fault = fake.faults.cut_at_message(f"{channel} {kind}_{lost}", direction=direction, times=1)
            subshell_id = subshell.id if line == "subshell" else None
            header = trio_gateway.Header(
                "asked", f"{kind}_request", "front", "ada", "2026-01-01T00:00:00Z", "5.4", subshell_id=subshell_id
            )
            message = trio_gateway.Message(channel, header, {"code": "impo", "cursor_pos": 4, "command": "debugInfo"})
            await channels.send(codec.encode_v1(message) if v1 else codec.encode_legacy(message))
            replies: list[trio_gateway.Message] = []
            with trio.fail_after(SOON):
                while not replies:
                    messages = [codec.decode(frame, v1=v1) for frame in await channels.receive()]
                    replies += [message for message in messages if message.msg_type == f"{kind}_reply"]
            assert fault.hits == 1
            assert (replies[0].channel, replies[0].parent_id) == (channel, "asked")
            assert replies[0].content["ename"] == "ConnectionLostError"


# Answers to requests for input ---------------------------------------------------------------------------------------------


async def test_code_whose_answer_was_lost_with_the_connection_ends(autojump_clock: Clock) -> None:
    """It is not sent again: the code could take it for the answer to its next question."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fault = fake.faults.cut_at_message("stdin input_reply", direction="to_kernel", times=1)
        with trio.fail_after(SOON), pytest.raises(trio_gateway.ConnectionLostError, match="answer to its request for input"):
            await kernel.execute("input('who? ')", stdin=lambda prompt, password: "me")
        assert fault.hits == 1
        assert fake.kernels[kernel.id].interrupts == 1
        assert (await kernel.execute("6 * 7")).text == "42"


async def test_code_that_is_answered_over_a_channel_of_its_users_ends_too(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel, trio.open_nursery() as nursery:
        fake.faults.cut_at_message("stdin input_reply", direction="to_kernel", times=1)

        async def answer() -> None:
            async with kernel.stdin.subscribe() as questions:
                await questions.receive()
                await kernel.stdin.send("input_reply", {"status": "ok", "value": "me"})

        nursery.start_soon(answer)
        with trio.fail_after(SOON), pytest.raises(trio_gateway.ConnectionLostError):
            await kernel.execute("input('who? ')", stdin="channel")
        assert (await kernel.execute("6 * 7")).text == "42"


@pytest.mark.parametrize("how", ["a pong came since", "it speaks on"])
async def test_code_whose_answer_came_through_goes_on_for_hours(autojump_clock: Clock, how: str) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel, trio.open_nursery() as nursery:
        results: list[str] = []
        answered = trio.Event()

        def answer(prompt: str, password: bool) -> str:
            answered.set()
            return "me"

        async def run() -> None:
            told = "print('hello')" if how == "it speaks on" else "pass"
            code = f"import time\nname = input('who? ')\ntime.sleep(1)\n{told}\ntime.sleep(7200)\nname"
            results.append((await kernel.execute(code, stdin=answer)).data["text/plain"])

        nursery.start_soon(run)
        await answered.wait()
        await trio.sleep(2 if how == "it speaks on" else 300)
        fake.cut_connections()
        await trio.sleep(8_000)
        assert results == ["'me'"]
        assert fake.kernels[kernel.id].interrupts == 0


async def test_code_that_goes_on_after_the_connection_broke_is_left_alone(autojump_clock: Clock) -> None:
    """Whether the answer came through is not known when the connection is made again: what the code says later tells."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:

        def answer(prompt: str, password: bool) -> str:
            fake.spawn(cut, "cut")
            return "me"

        async def cut() -> None:
            await trio.sleep(0.1)
            fake.cut_connections()

        code = "import time\nname = input('who? ')\ntime.sleep(15)\nprint('hello')\ntime.sleep(3600)\nname"
        result = await kernel.execute(code, stdin=answer)
        assert result.data["text/plain"] == "'me'"
        assert fake.kernels[kernel.id].interrupts == 0


# Comms ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["its opening", "its end", "nothing of it"])
async def test_a_comm_that_the_kernel_does_not_know_ends(autojump_clock: Clock, lost: str) -> None:
    opened: list[FakeComm] = []

    def echo(comm: FakeComm, message: trio_gateway.Message) -> None:
        opened.append(comm)
        comm.on_message = lambda comm, message: comm.send(message.content["data"])

    async with FakeGateway() as fake:
        fake.kernelspecs["python3"] = FakeKernelSpec(name="python3", comm_targets={"echo": echo})
        async with fake.open() as gateway, gateway.start_kernel() as kernel:
            if lost == "its opening":
                fake.faults.cut_at_message("shell comm_open", direction="to_kernel", times=1)
            async with kernel.comms.open("echo") as comm:
                if lost == "its end":
                    await kernel.execute("0")
                    fake.faults.cut_at_message("iopub comm_close", times=1)
                    opened[0].close()
                if lost == "nothing of it":
                    await kernel.execute("0")
                    fake.cut_connections()
                    await trio.sleep(SOON)
                    await comm.send({"text": "hello"})
                    assert (await comm.receive()).data == {"text": "hello"}
                else:
                    with trio.fail_after(SOON), pytest.raises(trio_gateway.ConnectionLostError, match="does not know this comm"):
                        await comm.receive()
                    assert comm.closed
            assert (await kernel.execute("6 * 7")).text == "42"
