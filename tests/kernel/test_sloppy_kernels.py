"""Sloppy kernels: whatever stands in a message, nothing of it ends an execution, a stream or the session.

On the fake, in virtual time, in both framings. What each field is read as is `tests/protocol/test_contents.py`'s.

Another type of message, or a field, is a line in one of the tables.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tools.odd_values import ODD
from trio_gateway import Gateway, Kernel, KernelState, ProtocolError, Stream
from trio_gateway._protocol.execution import OUTPUT_TYPES, OutputArea
from trio_gateway.testing import Cell, FakeGateway, FakeKernelSpec

Clock = trio.testing.MockClock

each_framing = pytest.mark.parametrize("framing", ["v1", "legacy"])

DISPLAY = {"data": {"text/plain": "shown"}, "metadata": {}, "transient": {"display_id": "d"}}
PUBLISHED: dict[str, dict[str, Any]] = {
    "stream": {"name": "stdout", "text": "shown"},
    "display_data": DISPLAY,
    "update_display_data": DISPLAY,
    "execute_result": {**DISPLAY, "execution_count": 1},
    "error": {"ename": "E", "evalue": "v", "traceback": ["shown"]},
    "clear_output": {"wait": False},
    "execute_input": {"code": "x", "execution_count": 1},
    "status": {"execution_state": "busy"},
    "comm_open": {"comm_id": "c", "target_name": "t", "data": {}},
    "comm_msg": {"comm_id": "c", "data": {}},
    "comm_close": {"comm_id": "d", "data": {}},
    "shutdown_reply": {"status": "ok", "restart": False},
    "debug_event": {"type": "event", "event": "stopped"},
    "input_request": {"prompt": "p"},
    "kernel_info_reply": {"implementation": "x"},
    "unheard_of": {"a": 1},
}
"""What is published while code runs, some of which never is, with a content that is right."""
HEADER = ("msg_id", "msg_type", "session", "username", "date", "version", "subshell_id")
UNREAD = {"text", "number", "list", "bool", "NaN", "surrogate", "latin-1", "control", "digits", "deep"}
"""What is no object."""


def with_field(field: str, value: bytes | None) -> Callable[[bytes], bytes]:
    """Return what puts a value into a field of a part, or takes the field out of it."""

    def change(part: bytes) -> bytes:
        fields = json.loads(part)
        fields.pop(field, None)
        text = json.dumps(fields).encode()
        return text if value is None else b'{"%s":%s%s' % (field.encode(), value, b"," * bool(fields) + text[1:])

    return change


def whole(value: bytes | None) -> Callable[[bytes], bytes]:
    return lambda part: b"" if value is None else value


def each_in_turn(changes: list[Callable[[bytes], bytes]]) -> Callable[[bytes], bytes]:
    """Return what changes one message in the first way, the next one in the second, and so on."""
    turns = itertools.cycle(changes)
    return lambda part: next(turns)(part)  # noqa: PLW0108 - another one each time


def script(cell: Cell) -> object:
    """Publish what the code says: a type of message, as often as there is a way to spoil it; between two texts."""
    kind, _, times = cell.code.partition(" ")
    cell.stdout("before\n")
    for _ in range(int(times or 0)):
        cell.publish(kind, PUBLISHED.get(kind, {}))
    cell.stderr("after\n")
    return None


@asynccontextmanager
async def a_kernel(framing: str) -> AsyncGenerator[tuple[FakeGateway, Gateway, Kernel]]:
    spec = FakeKernelSpec(name="python3", script=script)
    fake = FakeGateway(kernelspecs=[spec], framings=[framing], iopub_msg_rate_limit=0, iopub_data_rate_limit=0)  # type: ignore[list-item]
    async with fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        yield fake, gateway, kernel


async def both(kernel: Kernel, code: str) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Execute code and stream it; give each result, and what was shown."""
    result = await kernel.execute(code)
    area = OutputArea()
    async with kernel.stream(code) as outputs:
        async for output in outputs:
            area.feed(output)
    return iter([(result, result.outputs), (outputs.result, area.outputs)])


def texts(outputs: tuple[Any, ...], name: str) -> str:
    return "".join([output.text for output in outputs if isinstance(output, Stream) and output.name == name])


async def works(kernel: Kernel) -> None:
    """The session is as good as before."""
    result = await kernel.execute("nothing")
    assert (result.status, result.stdout, result.stderr, result.output_gaps) == ("ok", "before\n", "after\n", ())
    assert (await kernel.complete("x"))["status"] == "ok"
    await kernel.wait_for(KernelState.IDLE)


# ------------------------------------------------------------------------------------------------- what is published


@each_framing
@pytest.mark.parametrize("kind", PUBLISHED)
async def test_no_field_of_what_is_published_ends_anything(kind: str, framing: str, autojump_clock: Clock) -> None:
    """Each field holds each odd value once, in an execution of its own; what can be shown is, and nothing is a gap."""
    async with a_kernel(framing) as (fake, _, kernel):
        fields = {
            "content": PUBLISHED[kind],
            "parent_header": ("msg_type", "session", "date"),
            "header": set(HEADER) - {"msg_type"},
        }
        for part, field in [(part, field) for part, names in fields.items() for field in names]:
            if kind in {"status", "shutdown_reply"} and part == "content":
                continue  # it would say that it is restarting, and mean it: see below
            spoilt = fake.faults.spoil(
                f"iopub {kind}",
                part=part,
                by=each_in_turn([with_field(field, value) for value in ODD.values()]),  # type: ignore[arg-type]
            )
            for result, outputs in await both(kernel, f"{kind} {len(ODD)}"):
                assert result.status == "ok", (part, field)
                assert "after\n" in texts(outputs, "stderr") or kind == "stream", (part, field)
                # A kernel whose busy is said to be another one's is not the one that the gateway's notices are told from.
                assert [gap for gap in result.output_gaps if kind != "status"] == [], (part, field)
            assert spoilt.hits >= 2 * len(ODD)
            fake.faults.clear()
        await works(kernel)


@each_framing
@pytest.mark.parametrize("odd", [name for name in ODD if name != "object"])
@pytest.mark.parametrize("part", ["content", "metadata", "header", "parent_header", "channel"])
async def test_what_cant_be_read_at_all_is_a_gap_and_no_end(part: str, odd: str, framing: str, autojump_clock: Clock) -> None:
    value = ODD[odd]
    if framing == "legacy" and value is None:
        value = b"null"
    async with a_kernel(framing) as (fake, _, kernel):
        for kind in PUBLISHED:
            fake.faults.spoil(f"iopub {kind}", part=part, by=whole(value), times=2)  # type: ignore[arg-type]
            counts = []
            for result, outputs in await both(kernel, f"{kind} 1"):
                assert result.status == "ok"
                assert "after\n" in texts(outputs, "stderr") or kind == "stream"
                counts.append(sum([gap.count or 0 for gap in result.output_gaps]))
            if part == "content" and kind in OUTPUT_TYPES:
                # `execute` comes first: the two that were spoilt are the first text and the one after it, of a stream.
                assert sum(counts) == (2 if odd in UNREAD else 0)
            if part == "header":
                assert sum(counts) >= 1
            if part == "metadata" or (part == "content" and kind not in {*OUTPUT_TYPES, "status"}):
                assert counts == [0, 0]
            fake.faults.clear()
        await works(kernel)


# --------------------------------------------------------------------------------------------------------- replies


@each_framing
@pytest.mark.parametrize("part", ["content", "header", "parent_header", "metadata"])
async def test_a_reply_of_code_that_cant_be_read_is_a_gap(part: str, framing: str, autojump_clock: Clock) -> None:
    async with a_kernel(framing) as (fake, _, kernel):
        for odd, given in ODD.items():
            value = b"null" if framing == "legacy" and given is None else given
            fake.faults.spoil("shell execute_reply", part=part, by=whole(value))  # type: ignore[arg-type]
            for result, outputs in await both(kernel, "stream 1"):
                assert result.status == "ok"
                assert texts(outputs, "stdout") == "before\nshown"
                whole_reply = part == "metadata" or (part == "content" and odd in {"missing", "null", "object"})
                assert (result.output_gaps == ()) is whole_reply, odd
            fake.faults.clear()
        await works(kernel)


STATUS = {"missing": "ok", "null": "ok", "number": "ok", "object": "ok", "bool": "ok", "NaN": "ok", "list": "error"}


@each_framing
@pytest.mark.parametrize("field", ["status", "execution_count", "payload", "user_expressions"])
async def test_no_field_of_a_reply_of_code_ends_anything(field: str, framing: str, autojump_clock: Clock) -> None:
    async with a_kernel(framing) as (fake, _, kernel):
        for odd, value in ODD.items():
            fake.faults.spoil("shell execute_reply", by=with_field(field, value))
            for result, _ in await both(kernel, "stream 1"):
                expected = STATUS.get(odd, "error") if field == "status" else "ok"
                assert result.status == expected, odd
                assert result.execution_count == (5 if odd == "number" else None) or field != "execution_count"
                assert result.output_gaps == ()
            fake.faults.clear()
        await works(kernel)


REPLIES: Mapping[str, tuple[str, Callable[[Kernel], Any]]] = {
    "kernel_info": ("shell", lambda kernel: kernel.kernel_info()),
    "complete": ("shell", lambda kernel: kernel.complete("x")),
    "inspect": ("shell", lambda kernel: kernel.inspect("x")),
    "history": ("shell", lambda kernel: kernel.history()),
    "is_complete": ("shell", lambda kernel: kernel.is_complete("x")),
    "comm_info": ("shell", lambda kernel: kernel.comm_info()),
    "debug": ("control", lambda kernel: kernel.debug("debugInfo")),
}


@each_framing
@pytest.mark.parametrize("name", REPLIES)
async def test_another_reply_that_cant_be_read_is_an_error_for_who_asked(name: str, framing: str, autojump_clock: Clock) -> None:
    channel, ask = REPLIES[name]
    async with a_kernel(framing) as (fake, _, kernel):
        for value in [value for odd, value in ODD.items() if odd in UNREAD]:
            fake.faults.spoil(f"{channel} {name}_reply", by=whole(value))
            with pytest.raises(ProtocolError, match=f"its {name}_reply came and can't be understood"):
                await ask(kernel)
            fake.faults.clear()
        for value in (None, b"null", b"{}"):
            fake.faults.spoil(f"{channel} {name}_reply", by=whole(value or b"null"))
            assert await ask(kernel) == {}
            fake.faults.clear()
        await works(kernel)


@each_framing
async def test_a_reply_that_does_not_say_whose_it_is(framing: str, autojump_clock: Clock) -> None:
    """Code ends with its idle, and a gap; another request with an error that does not speak of a connection that was lost."""
    async with a_kernel(framing) as (fake, _, kernel):
        fake.faults.spoil("shell (execute|complete)_reply", part="parent_header", by=b"{}")
        result = await kernel.execute("stream 1")
        assert (result.status, result.stdout) == ("ok", "before\nshown")
        assert [(gap.kind, gap.count) for gap in result.output_gaps] == [("lost", 1)]
        with pytest.raises(ProtocolError, match="no reply to the complete_request can be made out"):
            await kernel.complete("x")
        fake.faults.clear()
        await works(kernel)


@pytest.mark.parametrize("part", ["content", "header", "parent_header"])
async def test_answers_that_nobody_needs_to_read(part: Any, autojump_clock: Clock) -> None:
    """That it was interrupted, or that its kernel was asked whether it is there, a kernel may say as it likes."""
    async with a_kernel("v1") as (fake, _, kernel):
        fake.faults.spoil("control (interrupt|kernel_info)_reply", part=part, by=b'["\xff"]')
        await kernel.interrupt()
        await kernel.hb.check()
        fake.faults.clear()
        await works(kernel)


# --------------------------------------------------------------------------------------- states, questions, comms


@each_framing
@pytest.mark.parametrize("state", ["busy", "idle"])
async def test_a_status_that_cant_be_read(state: str, framing: str, autojump_clock: Clock) -> None:
    """Its busy is missed by nobody; without its idle an execution ends a little later."""
    async with a_kernel(framing) as (fake, _, kernel):

        def spoil(value: bytes, content: bytes) -> bytes:
            return value if json.loads(content)["execution_state"] == state else content

        for value in (b'{"execution_state":null}', b'{"execution_state":{"a":1}}', b"[]", b"{}", b'{"execution_state":"\xff"}'):
            fake.faults.spoil("iopub status", by=partial(spoil, value))
            for result, outputs in await both(kernel, "stream 1"):
                assert result.status == "ok"
                assert texts(outputs, "stdout") == "before\nshown"
                assert [gap for gap in result.output_gaps if gap.count] == []
            fake.faults.clear()
        await kernel.execute("nothing")
        await works(kernel)


@each_framing
@pytest.mark.parametrize("odd", ODD)
async def test_a_question_is_asked_whatever_its_prompt_is(odd: str, framing: str, autojump_clock: Clock) -> None:
    async with FakeGateway(framings=[framing]) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:  # type: ignore[list-item]
        asked: list[tuple[str, bool]] = []

        def answer(prompt: str, password: bool) -> str:
            asked.append((prompt, password))
            return "me"

        for part, field in [
            ("content", "prompt"),
            ("content", "password"),
            ("header", "session"),
            ("header", "more"),
            ("header", "date"),
        ]:
            fake.faults.spoil("stdin input_request", part=part, by=with_field(field, ODD[odd]))  # type: ignore[arg-type]
            assert (await kernel.execute("print(input('who? '))", stdin=answer)).text == "me\n", (part, field)
            async with kernel.stream("print(input('who? '))", stdin=answer) as outputs:
                assert [output.text async for output in outputs if isinstance(output, Stream)] == ["me\n"]
            fake.faults.clear()
        if ODD[odd] is not None:
            fake.faults.spoil("stdin input_request", by=whole(ODD[odd]))
            assert (await kernel.execute("print(input('who? '))", stdin=answer)).text == "me\n"
            assert asked.pop() == ("", False)
        assert all(isinstance(prompt, str) for prompt, _ in asked)
        assert all(isinstance(password, bool) for _, password in asked)
        assert len(asked) == 10


@each_framing
async def test_comms_take_what_is_an_object(framing: str, autojump_clock: Clock) -> None:
    async with a_kernel(framing) as (fake, _, kernel), kernel.comms.accept("t") as comms:
        await kernel.execute("comm_open 1")
        comm = await comms.receive()
        for part, field in [("content", "data"), ("metadata", "")]:
            for value in ODD.values():
                by = with_field(field, value) if field else whole(value or b"null")
                fake.faults.spoil("iopub comm_msg", part=part, by=by)  # type: ignore[arg-type]
                result = await kernel.execute("comm_msg 1")
                assert result.output_gaps == ()
                message = await comm.receive()
                assert message.data in ({}, {"a": 1})
                assert message.metadata in ({}, {"a": 1})
                fake.faults.clear()
        for value in [value for odd, value in ODD.items() if odd in UNREAD]:
            fake.faults.spoil("iopub comm_.*", by=whole(value))
            for kind in ("comm_open", "comm_msg", "comm_close"):
                assert (await kernel.execute(f"{kind} 1")).output_gaps == ()
            fake.faults.clear()
        await works(kernel)
        await comm.aclose()


@each_framing
async def test_who_reads_a_channel_decides(framing: str, autojump_clock: Clock) -> None:
    """Each message that has a header is given, and says what can't be read of it only to who looks."""
    async with a_kernel(framing) as (fake, _, kernel), kernel.iopub.subscribe() as messages:
        fake.faults.spoil("iopub stream", by=b"[]", times=1)
        await kernel.execute("nothing")
        kinds: list[str] = []
        async for message in messages:
            kinds.append(message.msg_type)
            if message.msg_type == "stream":
                break
        assert bytes(message.content_raw) == b"[]"
        with pytest.raises(ProtocolError, match="content is a list"):
            _ = message.content
        assert (await messages.receive()).content["text"] == "after\n"


@each_framing
async def test_a_goodbye_that_does_not_say_which_ends_nothing(framing: str, autojump_clock: Clock) -> None:
    """The gateway is asked, and knows that the kernel is there."""
    async with a_kernel(framing) as (fake, _, kernel):
        values = [value for odd, value in ODD.items() if odd != "bool"]
        fake.faults.spoil("iopub shutdown_reply", by=each_in_turn([with_field("restart", value) for value in values]))
        for result, _ in await both(kernel, f"shutdown_reply {len(values)}"):
            assert (result.status, result.output_gaps) == ("ok", ())
        await trio.sleep(30)
        await works(kernel)


@each_framing
async def test_a_connection_that_brings_nothing_more_of_what_is_published_is_replaced(
    framing: str, autojump_clock: Clock
) -> None:
    """As a gateway leaves it that reads the JSON of what it passes on: lessons, A36."""
    async with a_kernel(framing) as (fake, _, kernel):
        await works(kernel)
        before = kernel.session_id
        deaf = fake.faults.drop("iopub .*")
        result = await kernel.execute("nothing")
        assert (result.status, result.stdout) == ("ok", "")
        assert [gap.kind for gap in result.output_gaps] == ["lost"]
        deaf.remove()
        assert kernel.session_id != before
        await works(kernel)


async def test_a_kernel_that_never_says_how_it_is_keeps_its_connection(autojump_clock: Clock) -> None:
    async with FakeGateway(script=script) as fake:
        fake.faults.drop("iopub status")
        async with fake.open() as gateway, gateway.start_kernel() as kernel:
            before = kernel.session_id
            for _ in range(3):
                assert (await kernel.execute("nothing")).stdout == "before\n"
            assert kernel.session_id == before
            assert fake.kernels[kernel.id].connections == 1
