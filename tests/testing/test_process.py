"""One kernel process: the order of its answers, its numbers, its shells, its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway import Message
from trio_gateway.testing import Ask, Cell, CellError, Crash, FakeComm, FakeGateway, FakeKernelSpec, Script, Sleep
from trio_gateway.testing._engines import ScriptEngine
from trio_gateway.testing._process import KernelProcess

from .kit_parts import Owns, execute, request

Clock = trio.testing.MockClock


def script(cell: Cell) -> object:
    """Does what its code says."""
    match cell.code.split():
        case ["fail"]:
            raise CellError("Oops", "bad")
        case ["crash"]:
            yield Crash()
        case ["sleep", seconds]:
            yield Sleep(float(seconds))
        case ["ask", prompt]:
            yield str((yield Ask(prompt)))
        case _:
            yield cell.code


@asynccontextmanager
async def running(owner: Owns, script: Script = script) -> AsyncGenerator[KernelProcess]:
    """A process that runs beside the block's body."""
    process = KernelProcess(owner, ScriptEngine(script), "session", 77)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.testing.wait_all_tasks_blocked()
        yield process
        process.end()


async def say(process: KernelProcess, owner: Owns, *messages: Message) -> None:
    """Send it messages, and wait until it has done what it can at once."""
    for message in messages:
        process.take(message, owner)
    await trio.testing.wait_all_tasks_blocked()


# By itself --------------------------------------------------------------------------------------------------------------


async def test_an_execution_is_framed_and_all_is_numbered() -> None:
    owner = Owns()
    asked = execute("42", msg_id="one")
    async with running(owner) as process:
        await say(process, owner, asked)
    assert owner.types(asked) == ["status", "execute_input", "execute_result", "status"]
    assert owner.states == ["starting", "busy", "idle"]
    (reply,) = owner.replies
    assert (reply.msg_type, reply.channel, reply.parent_id, reply.content["status"]) == ("execute_reply", "shell", "one", "ok")
    sent = sorted([*owner.published, reply], key=lambda message: int(message.msg_id.rpartition("_")[2]))
    assert [message.msg_id for message in sent] == [f"session_77_{number}" for number in range(1, 7)]
    assert [message.msg_type for message in sent][-2:] == ["execute_reply", "status"]
    assert owner.executed == ["one"]


async def test_a_number_may_be_used_up() -> None:
    owner = Owns()
    async with running(owner) as process:
        process.skip_number()
        await say(process, owner, request("kernel_info_request"))
    assert [message.msg_id for message in owner.published[:2]] == ["session_77_1", "session_77_3"]


async def test_requests_run_one_after_the_other(autojump_clock: Clock) -> None:
    owner = Owns()
    async with running(owner) as process:
        await say(process, owner, execute("sleep 10", msg_id="slow"), execute("x", msg_id="next"))
        assert owner.executed == ["slow"]
        await say(process, owner, request("kernel_info_request", channel="control", msg_id="beside"))
        assert [reply.parent_id for reply in owner.replies] == ["beside"]
        await trio.sleep(11)
    assert [reply.parent_id for reply in owner.replies] == ["beside", "slow", "next"]
    assert [reply.content["execution_count"] for reply in owner.replies[1:]] == [1, 2]


@pytest.mark.parametrize("beside", [True, False])
async def test_who_it_is_may_be_answered_beside_code(autojump_clock: Clock, beside: bool) -> None:
    owner = Owns(answers_beside=beside)
    async with running(owner) as process:
        await say(process, owner, execute("sleep 10", msg_id="slow"), request("kernel_info_request", msg_id="info"))
        assert [reply.parent_id for reply in owner.replies] == (["info"] if beside else [])
        await trio.sleep(11)
    (info,) = [reply for reply in owner.replies if reply.msg_type == "kernel_info_reply"]
    assert (info.content["implementation"] == "async") is beside


async def test_a_silent_execution_is_not_counted() -> None:
    owner = Owns()
    silent = execute("a", msg_id="silent", silent=True)
    async with running(owner) as process:
        await say(process, owner, silent, execute("b"), request("history_request", {"n": 9, "hist_access_type": "tail"}))
    assert owner.types(silent) == ["status", "status"]
    first, second, history = owner.replies
    assert (first.content["execution_count"], second.content["execution_count"]) == (0, 1)
    assert history.content["history"] == [[1, 1, "b"]]


async def test_history() -> None:
    owner = Owns()
    async with running(owner) as process:
        await say(process, owner, *[execute(code) for code in "abc"], execute("d", store_history=False))
        for content in (
            {"hist_access_type": "range", "start": 2, "stop": 3},
            {"hist_access_type": "range", "start": 2, "output": True},
            {"hist_access_type": "tail", "n": 1},
            {"hist_access_type": "tail", "n": 0},
        ):
            await say(process, owner, request("history_request", content))
    assert [reply.content["history"] for reply in owner.replies[4:]] == [
        [[1, 2, "b"]], [[1, 2, ["b", None]], [1, 3, ["c", None]]], [[1, 3, "c"]], []
    ]  # fmt: skip


async def test_what_waits_behind_a_failure_is_aborted(autojump_clock: Clock) -> None:
    owner = Owns(stop_on_error_timeout=5)
    async with running(owner) as process:
        failed = execute("fail", msg_id="failed")
        await say(process, owner, failed, execute("x", msg_id="aborted"), request("kernel_info_request", msg_id="answered"))
        assert [(reply.parent_id, reply.content["status"]) for reply in owner.replies] == [
            ("failed", "error"), ("aborted", "aborted"), ("answered", "ok")
        ]  # fmt: skip
        assert owner.types(failed) == ["status", "execute_input", "error", "status"]
        await trio.sleep(4)
        await say(process, owner, execute("x", msg_id="too soon"))
        await trio.sleep(2)
        await say(process, owner, execute("x", msg_id="late enough"))
        assert [reply.content["status"] for reply in owner.replies[3:]] == ["aborted", "ok"]
        await say(process, owner, execute("fail", stop_on_error=False), execute("x", msg_id="goes on"))
        assert [reply.content["status"] for reply in owner.replies[5:]] == ["error", "ok"]
    assert "aborted" not in owner.executed


async def test_other_exceptions_of_a_script_are_its_cells() -> None:
    def broken(cell: Cell) -> object:
        raise ValueError("worse")

    owner = Owns()
    async with running(owner, broken) as process:
        await say(process, owner, execute("x"))
        assert process.alive
    (reply,) = owner.replies
    assert (reply.content["ename"], reply.content["evalue"]) == ("ValueError", "worse")


async def test_user_expressions_and_payload() -> None:
    def pages(cell: Cell) -> None:
        cell.payload.append({"source": "page"})

    owner = Owns()
    async with running(owner, pages) as process:
        await say(process, owner, execute("x", user_expressions={"a": "1"}))
    (reply,) = owner.replies
    assert reply.content["payload"] == [{"source": "page"}]
    assert reply.content["user_expressions"]["a"]["status"] == "error"


async def test_an_interrupt(autojump_clock: Clock) -> None:
    owner = Owns()
    async with running(owner) as process:
        process.interrupt()  # nothing runs
        await say(process, owner, execute("sleep 100", msg_id="slow"))
        await say(process, owner, request("interrupt_request", channel="control", msg_id="interrupt"))
    assert [(reply.msg_type, reply.content.get("ename")) for reply in owner.replies] == [
        ("interrupt_reply", None), ("execute_reply", "KeyboardInterrupt")
    ]  # fmt: skip
    assert trio.current_time() == 0


async def test_input_goes_to_who_is_asked() -> None:
    owner = Owns()
    async with running(owner) as process:
        await say(process, owner, execute("ask name?", msg_id="asks", allow_stdin=True))
        (question,) = owner.replies
        assert (question.channel, question.msg_type, question.parent_id) == ("stdin", "input_request", "asks")
        assert question.content == {"prompt": "name?", "password": False}
        await say(process, owner, request("input_reply", {"value": "ada"}, channel="stdin", parent=question))
    assert [message.content["data"] for message in owner.published if message.msg_type == "execute_result"] == [
        {"text/plain": "ada"}
    ]


async def test_a_stalled_process_answers_when_it_goes_on() -> None:
    owner = Owns()
    async with running(owner) as process:
        process.stall()
        process.stall()
        assert process.stalled
        await say(process, owner, request("kernel_info_request"), request("kernel_info_request", channel="control"))
        assert owner.replies == []
        process.resume()
        await process.wait_awake()
        await trio.testing.wait_all_tasks_blocked()
        assert not process.stalled
    assert len(owner.replies) == 2


async def test_a_crash_is_told_and_ends_it() -> None:
    owner = Owns()
    async with running(owner) as process:
        await say(process, owner, execute("crash"))
        assert not process.alive
        assert owner.crashes == [process]
        published = len(owner.published)
        await say(process, owner, execute("x"))
        process.publish("stream", {}, None)
        assert (owner.replies, len(owner.published)) == ([], published)


async def test_an_end_from_outside_is_no_crash() -> None:
    owner = Owns()
    async with running(owner) as process:
        process.end()
        await trio.testing.wait_all_tasks_blocked()
    assert owner.crashes == []


async def test_a_shutdown_request(autojump_clock: Clock) -> None:
    owner = Owns()
    async with running(owner) as process:
        await say(process, owner, execute("sleep 100", msg_id="slow"))
        shutdown = request("shutdown_request", {"restart": True}, channel="control", msg_id="shutdown")
        await say(process, owner, shutdown)
        assert owner.crashes == [process]
    assert [(reply.msg_type, reply.content["restart"]) for reply in owner.replies] == [("shutdown_reply", True)]
    assert [message.msg_type for message in owner.published[-3:]] == ["error", "shutdown_reply", "status"]
    assert owner.published[-3].parent_id == "slow"
    assert owner.published[-2].parent_id == "shutdown"


async def test_what_needs_no_code_is_answered() -> None:
    owner = Owns(has_subshells=False)
    kinds = ["kernel_info", "complete", "inspect", "is_complete", "history", "comm_info", "unheard_of"]
    async with running(owner) as process:
        await say(process, owner, *[request(f"{kind}_request", {"code": "x"}) for kind in kinds])
    assert [reply.msg_type for reply in owner.replies] == [f"{kind}_reply" for kind in kinds[:-1]]
    assert owner.replies[0].content["supported_features"] == []
    assert owner.replies[0].content["language_info"]["name"] == "text"


async def test_comms() -> None:
    opened: list[tuple[FakeComm, Any]] = []
    heard: list[Any] = []

    def target(comm: FakeComm, message: Message) -> None:
        opened.append((comm, message.content["data"]))
        comm.on_message = lambda comm, message: heard.append(message.content["data"])

    def comm(kind: str, comm_id: str = "1", **content: Any) -> Message:
        return request(f"comm_{kind}", {"comm_id": comm_id, "data": {"a": 1}, **content}, msg_id=kind)

    owner = Owns(comm_targets={"echo": target})
    asked = request("comm_info_request", {})
    async with running(owner) as process:
        await say(process, owner, comm("open", target_name="nobody"))
        assert [each.content["comm_id"] for each in owner.published if each.msg_type == "comm_close"] == ["1"]
        await say(process, owner, comm("open", target_name="echo"), comm("msg"), comm("msg", "unknown"), asked)
        assert [data for _, data in opened] == [{"a": 1}]
        assert heard == [{"a": 1}]
        await say(process, owner, request("comm_info_request", {"target_name": "other"}))
        opened[0][0].close()
        await say(process, owner, comm("msg"), asked)
        await say(process, owner, comm("open", target_name="echo"), comm("close"), asked)
    assert heard == [{"a": 1}]
    assert [reply.content["comms"] for reply in owner.replies] == [{"1": {"target_name": "echo"}}, {}, {}, {}]


async def test_subshells(autojump_clock: Clock) -> None:
    owner = Owns()

    def control(kind: str, **content: str) -> Message:
        return request(f"{kind}_subshell_request", content, channel="control", msg_id=kind)

    async with running(owner) as process:
        await say(process, owner, control("create"), control("list"))
        made, listed = owner.replies
        subshell = made.content["subshell_id"]
        assert listed.content["subshell_id"] == [subshell] == process.subshells
        await say(process, owner, execute("sleep 10"), execute("x", msg_id="beside", subshell_id=subshell))
        assert owner.replies[-1].parent_id == "beside"
        await say(process, owner, execute("x", msg_id="nowhere", subshell_id="unknown"))
        assert owner.replies[-1].content["ename"] == "UnknownSubshellError"
        await say(process, owner, execute("ask me", msg_id="asks", subshell_id=subshell, allow_stdin=True))
        question = owner.replies[-1]
        assert question.msg_type == "input_request"
        await say(process, owner, request("input_reply", {"value": "ada"}, channel="stdin", parent=question))
        assert owner.replies[-1].parent_id == "asks"
        await say(process, owner, execute("sleep 5", msg_id="last", subshell_id=subshell))
        await say(process, owner, execute("x", msg_id="lost", subshell_id=subshell), control("delete", subshell_id=subshell))
        assert owner.replies[-1].parent_id == "asks", "what runs there comes to its end first"
        await trio.sleep(6)
        assert [reply.parent_id for reply in owner.replies[-2:]] == ["asks", "delete"], "its reply is lost, as ipykernel's is"
        assert process.subshells == []
        await say(process, owner, control("delete", subshell_id=subshell), control("paint"))
        assert [reply.content["status"] for reply in owner.replies[-2:]] == ["error", "error"]
    assert "lost" not in owner.executed


async def test_a_kernel_without_subshells_knows_only_its_main_shell() -> None:
    owner = Owns(has_subshells=False)
    async with running(owner) as process:
        await say(process, owner, request("create_subshell_request", channel="control"), execute("x", subshell_id="any"))
    assert [reply.msg_type for reply in owner.replies] == ["execute_reply"]


async def test_debugging() -> None:
    owner = Owns(debugger=lambda command, arguments: {"seen": arguments} if command == "evaluate" else None)

    def debug(command: str, **arguments: int) -> Message:
        return request("debug_request", {"seq": 1, "command": command, "arguments": arguments}, channel="control")

    commands = ["attach", "debugInfo", "initialize", "debugInfo", "attach", "evaluate", "disconnect", "debugInfo", "disconnect"]
    async with running(owner) as process:
        await say(process, owner, *[debug(command, x=1) for command in commands])
    answers = [reply.content for reply in owner.replies]
    assert [answer["success"] for answer in answers] == [False, True, True, True, True, True, True, True, False]
    assert [answer["body"]["isStarted"] for answer in answers if answer["command"] == "debugInfo"] == [False, True, False]
    assert answers[5]["body"] == {"seen": {"x": 1}}
    assert owner.types().count("debug_event") == 1


# With a client ----------------------------------------------------------------------------------------------------------


async def test_a_debugger(autojump_clock: Clock) -> None:
    def answer(command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return {"result": arguments["expression"].upper()} if command == "evaluate" else None

    async with FakeGateway(kernelspecs=[FakeKernelSpec(name="python3", debugger=answer)]) as fake, fake.open() as gateway:
        async with gateway.start_kernel() as kernel, kernel.iopub.subscribe() as messages:
            assert not (await kernel.debug("attach"))["success"], "it was not initialized"
            assert not (await kernel.debug("debugInfo"))["body"]["isStarted"]
            assert (await kernel.debug("initialize", {"clientID": "test"}))["success"]
            assert (await kernel.debug("debugInfo"))["body"]["isStarted"]
            attached = await kernel.debug("attach")
            assert (attached["success"], attached["type"], attached["command"]) == (True, "response", "attach")
            async for message in messages:
                if message.msg_type == "debug_event":
                    assert message.content["event"] == "initialized"
                    break
            assert (await kernel.debug("evaluate", {"expression": "x"}))["body"] == {"result": "X"}
            assert (await kernel.debug("disconnect"))["success"]
            assert not (await kernel.debug("debugInfo"))["body"]["isStarted"]


async def test_what_waits_behind_an_error_is_aborted(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel, gateway.attach_kernel(kernel.id) as other:
        statuses: dict[str, str] = {}

        async def run(name: str, who: trio_gateway.Kernel, code: str) -> None:
            statuses[name] = (await who.execute(code)).status

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "first", kernel, "import time; time.sleep(5); 1 / 0")
            await trio.sleep(1)
            nursery.start_soon(run, "second", other, "1")
        assert statuses == {"first": "error", "second": "aborted"}


async def test_subshells_run_beside_one_another(autojump_clock: Clock, fake: FakeGateway) -> None:
    """Three hours' sleep in each of three places take three hours; they share their names, and each prints its own."""
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        async with kernel.subshell() as first, kernel.subshell() as second:
            said: dict[str, str | None] = {}

            async def run(name: str, where: trio_gateway.Kernel | trio_gateway.Subshell) -> None:
                code = f"import time\nprint('{name}')\n{name} = 1\ntime.sleep(3 * 3600)\nprint('{name} later')"
                said[name] = (await where.execute(code)).text

            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, "main", kernel)
                nursery.start_soon(run, "one", first)
                nursery.start_soon(run, "two", second)
            assert trio.current_time() == pytest.approx(3 * 3600, abs=1)
            assert said == {name: f"{name}\n{name} later\n" for name in ("main", "one", "two")}
            assert (await first.execute("main + one + two")).text == "3"

            # One after the other in one place; what fails there drops what waits there, and nothing elsewhere.
            statuses: list[str] = []
            async with kernel.subshell() as third:

                async def fail() -> None:
                    statuses.append((await third.execute("import time; time.sleep(5); 1 / 0")).status)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(fail)
                    await trio.sleep(1)
                    statuses.append((await kernel.execute("1")).status)
            assert statuses == ["ok", "error"]

            # Input is asked of who waits for it there.
            async with trio.open_nursery() as nursery:

                async def ask(name: str, where: trio_gateway.Kernel | trio_gateway.Subshell, after: float) -> None:
                    async def answer(prompt: str, password: bool) -> str:
                        await trio.sleep(after)
                        return prompt + name

                    said[name] = (await where.execute("input('I am ')", stdin=answer)).text

                nursery.start_soon(ask, "main", kernel, 3)
                nursery.start_soon(ask, "one", first, 2)
                nursery.start_soon(ask, "two", second, 1)
            assert said == {name: f"'I am {name}'" for name in ("main", "one", "two")}


async def test_an_interrupt_hits_the_main_shell_only(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel, kernel.subshell() as subshell:
        results: dict[str, str] = {}

        async def run(name: str, where: trio_gateway.Kernel | trio_gateway.Subshell) -> None:
            results[name] = (await where.execute("while True:\n    if 'enough' in globals(): break")).status

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "subshell", subshell)
            nursery.start_soon(run, "main", kernel)
            await trio.sleep(1)
            await kernel.interrupt()
            await trio.sleep(1)
            assert results == {"main": "error"}
            await kernel.execute("enough = True")
        assert results == {"main": "error", "subshell": "ok"}


async def test_a_subshell_that_is_gone(autojump_clock: Clock, fake: FakeGateway) -> None:
    """Code for it fails; deleting it waits for what runs there; a crash in one ends the process; a kernel may have none."""
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        async with kernel.subshell() as subshell:
            with trio.move_on_after(1) as scope:
                await subshell.execute("import time; time.sleep(10)")
            assert scope.cancelled_caught
        assert trio.current_time() == pytest.approx(10, abs=1)
        refused = await subshell.execute("1")
        assert refused.status == "error"
        assert refused.reply["ename"] == "UnknownSubshellError"
        with pytest.raises(trio_gateway.KernelRestartedError):
            async with kernel.subshell() as subshell:
                await subshell.execute("import os; os._exit(1)")
        assert (await kernel.execute("'new'")).text == "'new'"
    plain = FakeKernelSpec(name="plain", subshells=False)
    async with FakeGateway(kernelspecs=[plain]) as other, other.open() as gateway, gateway.start_kernel("plain") as kernel:
        with pytest.raises(trio_gateway.InvalidInputError, match="offers subshells"):
            async with kernel.subshell():
                pytest.fail("there is none")
