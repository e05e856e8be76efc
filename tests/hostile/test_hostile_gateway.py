"""A gateway that attacks its client: what it sends, what the client does then, and what that costs at most.

To add an attack, add a line to `ANSWERS` (HTTP) or to `MESSAGES` (what a kernel says, and the frames it is said in). Costs are
bounds, not measurements: so many bytes held for each byte that came, and so many calls, beside what client and peer need anyway.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeAlias

import attrs
import pytest
import trio

from trio_gateway import AuthenticationError, ConnectionLostError, Gateway, GatewayHTTPError, Message, ProtocolError, open_gateway
from trio_gateway._protocol import codec

from .hostile_tools import (
    BINARY,
    CONTINUATION,
    KERNEL,
    KERNEL_ID,
    PID,
    PING,
    PONG,
    SESSION,
    TEXT,
    TOKEN,
    Cost,
    RawConnection,
    RawRequest,
    frame_bytes,
    json_answer,
    measured,
    open_hostile_gateway,
    v1_frame,
)

ANYWAY_BYTES = 1_000_000
ANYWAY_CALLS = 30_000
MEGA = 1_000_000
ENGINES = ["fast", pytest.param("trio-websocket", marks=pytest.mark.full)]

# ------------------------------------------------------------------------------------------------------- wrong answers

Does: TypeAlias = Callable[[Gateway], Awaitable[object]]


async def kernels(gateway: Gateway) -> object:
    """Ask for the list of kernels."""
    return await gateway.kernels.list()


async def kernel(gateway: Gateway) -> object:
    """Ask for one kernel."""
    return await gateway.kernels.get(KERNEL_ID)


async def specs(gateway: Gateway) -> object:
    """Ask for the list of kernelspecs."""
    return await gateway.kernelspecs.list()


ASKED = {kernels: "GET /api/kernels", kernel: f"GET /api/kernels/{KERNEL_ID}", specs: "GET /api/kernelspecs"}


@attrs.frozen
class Answer:
    """An answer that is wrong."""

    name: str
    does: Does
    body: bytes = attrs.field(repr=False)
    raises: type[Exception] | None
    says: str = ""
    status: int = 200
    memory: int = 32
    """How many bytes may be held for each byte that came."""


def spec(field: str, value: bytes) -> bytes:
    """Make a list of one kernelspec with one field."""
    return b'{"kernelspecs":{"a":{"spec":{"%s":%s}}}}' % (field.encode(), value)


ONES = b"[" + b"1," * 100_000 + b"1]"
LISTS = b"[" + b"[]," * 60_000 + b"[]]"
OBJECTS = b"[" + b"{}," * 60_000 + b"{}]"
FEW_OBJECTS = b"[" + b"{}," * 9_000 + b"{}]"
EVERY_OTHER = b"[" + b'1,{"id":"a"},' * 9_000 + b"1]"
FIELDS = b"{" + b",".join([b'"%d":1' % number for number in range(20_000)]) + b"}"
MANY = json_answer([KERNEL] * 3_000).partition(b"\r\n\r\n")[2]
NULS = b"\\u0000" * 100_000
TOO_MANY = "lists and objects: too many to be read"

ANSWERS = [
    # its name, what the client does, what comes, what is raised, what that says
    Answer("kernels that are none", kernels, ONES, ProtocolError, "expected an object, found a number @ $[2]; …"),
    Answer("kernels without fields", kernels, FEW_OBJECTS, ProtocolError, "required field missing @ $[2].id; …"),
    Answer("kernels of no size", kernels, OBJECTS, ProtocolError, TOO_MANY),
    Answer("kernels that are lists", kernels, LISTS, ProtocolError, TOO_MANY),
    Answer("every other kernel is none", kernels, EVERY_OTHER, ProtocolError, "found a number @ $[4]; …"),
    Answer("many kernels", kernels, MANY, None),
    Answer("a kernel that is a list", kernel, ONES, ProtocolError, "expected an object, found a list"),
    Answer("a kernel of unknown fields", kernel, FIELDS, ProtocolError, "required field missing"),
    Answer("kernelspecs that are none", specs, b'{"kernelspecs":%s}' % FIELDS, ProtocolError, "expected an object"),
    Answer("arguments that are none", specs, spec("argv", ONES), ProtocolError, "expected text, found a number"),
    Answer("variables that are none", specs, spec("env", FIELDS), ProtocolError, "expected text, found a number"),
    Answer("metadata of lists", specs, spec("metadata", b'{"a":%s}' % LISTS), ProtocolError, TOO_MANY),
    Answer("a name of controls", specs, b'{"kernelspecs":{"%s":1}}' % NULS, ProtocolError, "expected an object"),
    Answer("a deep answer", kernels, b"[" * 9_000 + b"]" * 9_000, ProtocolError, "nested too deeply"),
    Answer("a deep field", kernel, b'{"id":"a","x":%s%s}' % (b"[" * 900, b"]" * 900), None),
    Answer("a number without end", kernel, b'{"id":"a","connections":%s}' % (b"9" * 300_000), ProtocolError, "not JSON"),
    Answer("an error of lists", kernels, LISTS, GatewayHTTPError, status=500),
    Answer("an error of numbers", kernels, ONES, GatewayHTTPError, status=500),
    Answer("an error that is deep", kernels, b"[" * 960 + b"]" * 960, GatewayHTTPError, status=500),
    Answer("an error of controls", kernels, b'{"message":"%s"}' % NULS, GatewayHTTPError, status=500),
    Answer("a page of brackets", kernels, b"<" * 300_000, GatewayHTTPError, status=500),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
async def test_a_wrong_answer_is_named_and_costs_its_size_times_a_small_number(answer: Answer) -> None:  # G7, G10
    async with (
        open_hostile_gateway() as hostile,
        open_gateway(hostile.url, auth_token=TOKEN, gateway_retry_max=0) as gateway,
    ):
        await gateway.kernels.list()  # what the first answer needs is imported and made now
        await gateway.kernelspecs.list()
        sent = json_answer(answer.body, answer.status)
        hostile.answers[ASKED[answer.does]] = sent
        caught: Exception | None = None
        with measured() as cost:
            try:
                await answer.does(gateway)
            except Exception as error:  # noqa: BLE001 - it is looked at
                caught = error
        assert type(caught) is (answer.raises or type(None)), caught
        assert answer.says in str(caught), caught
        assert len(str(caught)) < 1_000
        assert cost.peak < answer.memory * len(sent) + ANYWAY_BYTES
        assert cost.calls < len(sent) + ANYWAY_CALLS


# ------------------------------------------------------------------------------------------------ what a kernel says

LIMIT = 200_000
"""The setting `max_message_size`."""
Header: TypeAlias = Mapping[str, Any]


@attrs.frozen
class Said:
    """What a kernel says, before it answers a request to execute as it should."""

    name: str
    says: Callable[[RawConnection, Header], bytes]
    shown: str = ""
    """What the execution prints, before what it should."""
    gaps: tuple[tuple[str, int | None], ...] = ()
    """What the result tells of what is missing: kinds, and how many."""
    raises: type[Exception] | None = None
    """How the execution ends instead. The session goes on in any case."""
    trio_raises: type[Exception] | None = None
    """The same with the engine trio-websocket, where that is different."""
    memory: int = 32
    """How many bytes may be held for each byte that came."""
    work: int = 1
    """How many calls may be made for each byte that came."""


def odd_id(connection: RawConnection, header: Header) -> bytes:
    """Number a message with more digits than Python reads."""
    odd = f"{SESSION}_{PID}_{'1' * 5_000}"
    return connection.message("iopub", "stream", {"name": "stdout", "text": "odd\n"}, parent=header, number=odd)


def long_parents(connection: RawConnection, header: Header) -> bytes:
    """Work on requests with long ids."""
    del header
    status = {"execution_state": "busy"}
    return b"".join([connection.message("iopub", "status", status, parent=_foreign(f"{i}" * 2_000)) for i in range(100, 200)])


def foreign_work(connection: RawConnection, header: Header) -> bytes:
    """Work on many requests of others, whose replies are not seen here."""
    del header
    said = b""
    for number in range(400):
        parent = _foreign(f"foreign-{number}")
        said += connection.message("iopub", "status", {"execution_state": "busy"}, parent=parent)
        connection.skip_number()
        said += connection.message("iopub", "status", {"execution_state": "idle"}, parent=parent)
    return said


def _foreign(msg_id: str) -> dict[str, Any]:
    return {"msg_id": msg_id, "msg_type": "kernel_info_request", "session": "another"}


def display(content: bytes) -> Callable[[RawConnection, Header], bytes]:
    """Display something."""
    return lambda connection, header: connection.message("iopub", "display_data", content, parent=header)


def buffers(count: int) -> Callable[[RawConnection, Header], bytes]:
    """Display something with so many empty buffers."""
    return lambda connection, header: connection.message("iopub", "display_data", {}, parent=header, buffers=[b""] * count)


def large(kind: str, channel: str = "iopub") -> Callable[[RawConnection, Header], bytes]:
    """Say something that is larger than the client takes."""
    content = {"name": "stdout", "text": "x" * LIMIT}
    return lambda connection, header: connection.message(channel, kind, content, parent=header)


def frames(*several: bytes) -> Callable[[RawConnection, Header], bytes]:
    """Send frames as they are."""
    return lambda connection, header: b"".join(several)


BEGUN, EMPTY = frame_bytes(TEXT, b"x", fin=False), frame_bytes(CONTINUATION, fin=False)
DEEP = b'{"data":{"x":%s%s}}' % (b"[" * 50_000, b"]" * 50_000)
HOLDS_LISTS = b'{"data":{"x":[%s[]]}}' % (b"[]," * 50_000)
LOST, ONE_LOST = ConnectionLostError, (("lost", 1),)

MESSAGES = [
    # its name, what the kernel says, what comes of it
    Said("an id of 5,000 digits", odd_id, shown="odd\n"),
    Said("ids of 2,000 characters", long_parents),
    Said("work of others", foreign_work),
    Said("lists of nothing", display(HOLDS_LISTS)),
    Said("depth", display(DEEP), gaps=ONE_LOST),
    Said("a number of 5,000 digits", display(b'{"data":{"x":%s}}' % (b"9" * 5_000))),  # shown as text
    Said("many empty buffers", buffers(9_000)),
    Said("too many empty buffers", buffers(20_000), gaps=ONE_LOST),
    Said("garbage", frames(*[frame_bytes(BINARY, b"x" * number) for number in range(300)]), gaps=(("lost", 300),), work=4),
    Said("a table without end", frames(frame_bytes(BINARY, b"\xff" * 100_000)), gaps=ONE_LOST),
    Said("a deep header", frames(frame_bytes(BINARY, v1_frame([b"iopub", b'{"a":' * 9_000, *[b"{}"] * 3]))), gaps=ONE_LOST),
    Said("pings", frames(frame_bytes(PING, b"x") * 500), work=150),
    Said("pongs", frames(frame_bytes(PONG, b"x") * 500), work=150),
    Said("empty fragments", frames(BEGUN, EMPTY * 20_000), raises=LOST),
    Said("small fragments", frames(BEGUN, frame_bytes(CONTINUATION, b"xy", fin=False) * 10_000), raises=LOST),
    Said("an output that is too large", large("stream"), gaps=(("overflow", 1),), trio_raises=LOST),
    Said("a reply that is too large", large("execute_reply", "shell"), raises=ProtocolError, trio_raises=LOST),
    Said("a status that is too large", large("status"), trio_raises=LOST),
    Said("a message of others that is too large", lambda c, h: large("stream")(c, _foreign("x")), trio_raises=LOST),
]  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("said", MESSAGES, ids=lambda said: said.name)
async def test_what_a_kernel_says_ends_no_session_and_costs_its_size_times_a_small_number(
    said: Said, engine: str
) -> None:  # G3, G7
    sent: list[int] = []
    costs: list[Cost] = []
    measuring = ExitStack()

    async def attack(connection: RawConnection, request: RawRequest) -> None:
        await connection.accept(request)
        while (message := await connection.read_message()) is not None:
            channel, header, content = message
            if content.get("code") != "attack":
                await connection.answer_message(channel, header, content)
                continue
            await connection.say("iopub", "status", {"execution_state": "busy"}, parent=header)
            await connection.say("iopub", "execute_input", {"code": "", "execution_count": 1}, parent=header)
            wire = said.says(connection, header)
            sent.append(len(wire))
            costs.append(measuring.enter_context(measured()))
            await connection.send(wire)
            await connection.say("iopub", "stream", {"name": "stdout", "text": "after\n"}, parent=header)
            await connection.say("shell", "execute_reply", {"status": "ok", "execution_count": 1}, parent=header)
            await connection.say("iopub", "status", {"execution_state": "idle"}, parent=header)

    raises = said.trio_raises if engine == "trio-websocket" and said.trio_raises else said.raises
    async with (
        open_hostile_gateway({"GET .*/channels": attack}) as hostile,
        open_gateway(hostile.url, auth_token=TOKEN, websocket_engine=engine, max_message_size=LIMIT) as gateway,
        gateway.start_kernel() as kernel,
    ):
        await kernel.execute("before")
        with measuring:
            if raises is None:
                result = await kernel.execute("attack")
                assert result.text == f"{said.shown}after\n"
                assert tuple((gap.kind, gap.count) for gap in result.output_gaps)[: len(said.gaps)] == said.gaps
                assert len(result.output_gaps) <= len(said.gaps) + 1
            else:
                with pytest.raises(raises):
                    await kernel.execute("attack")
        assert (await kernel.execute("still there")).text == "still there\n"
        (cost,) = costs
        assert cost.peak < said.memory * sent[0] + ANYWAY_BYTES
        assert cost.calls < said.work * sent[0] + ANYWAY_CALLS


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_refusal_without_end_is_a_refusal(engine: str) -> None:
    """So much of its body is read as an error needs."""

    async def attack(connection: RawConnection, request: RawRequest) -> None:
        del request
        await connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000000\r\n\r\n")
        await connection.send(b"x" * 10_000, times=1_000)

    async with (
        open_hostile_gateway({"GET .*/channels": attack}) as hostile,
        open_gateway(hostile.url, auth_token=TOKEN, websocket_engine=engine, gateway_retry_max=0) as gateway,
    ):
        with measured(calls=False) as cost, pytest.raises(AuthenticationError):
            async with gateway.attach_kernel(KERNEL_ID):
                pass
        assert cost.peak < 2 * MEGA


# ---------------------------------------------------------------------------------------------------------- relays


def request_frame(number: int, username: str = "") -> bytes:
    """Make a front end's request to execute, as a v1 frame."""
    header = {"msg_id": f"front-{number}", "msg_type": "execute_request", "session": "front", "username": username}
    return v1_frame([b"shell", json.dumps(header).encode(), b"{}", b"{}", b'{"code":"attack"}'])


async def test_a_relay_says_what_was_too_large() -> None:
    """A front end gets a notice in an output's place, and an error in a reply's: nobody waits for ever."""

    async def attack(connection: RawConnection, request: RawRequest) -> None:
        await connection.accept(request)
        while (message := await connection.read_message()) is not None:
            header = message[1]
            await connection.send(large("stream")(connection, header))
            await connection.send(large("execute_reply", "shell")(connection, header))
            await connection.say("iopub", "status", {"execution_state": "idle"}, parent=header)

    async with (
        open_hostile_gateway({"GET .*/channels": attack}) as hostile,
        open_gateway(hostile.url, auth_token=TOKEN, websocket_engine="fast", max_message_size=LIMIT) as gateway,
        gateway.open_channels(KERNEL_ID, v1=True) as channels,
    ):
        await channels.send(request_frame(1))
        told: list[Message] = []
        while len(told) < 3:
            told += [codec.decode(frame, v1=True) for frame in await channels.receive()]
        notice, reply, idle = told
        assert [message.parent_id for message in told] == ["front-1"] * 3
        assert (notice.channel, notice.msg_type, notice.content["name"]) == ("iopub", "stream", "stderr")
        assert "more than max_message_size allows; it was left out" in notice.content["text"]
        assert (reply.channel, reply.msg_type, reply.content["ename"]) == ("shell", "execute_reply", "MessageTooLarge")
        assert idle.content == {"execution_state": "idle"}


async def test_a_relay_remembers_so_much_of_what_was_asked() -> None:
    """Headers are the front end's, and may be as long as a message."""
    came = trio.Event()

    async def attack(connection: RawConnection, request: RawRequest) -> None:
        await connection.accept(request)
        for _ in range(9):
            await connection.read_frame()
        came.set()
        await connection.read_rest()

    async with (
        open_hostile_gateway({"GET .*/channels": attack}) as hostile,
        open_gateway(hostile.url, auth_token=TOKEN) as gateway,
        gateway.open_channels(KERNEL_ID, v1=True) as channels,
    ):
        for number in range(8):
            await channels.send(request_frame(number, "x" * MEGA))
        await channels.send(request_frame(8))
        await came.wait()
        assert list(channels._asked) == [f"front-{number}" for number in (4, 5, 6, 7, 8)]
        assert channels._asked_bytes == sum(len(asked.header) for asked in channels._asked.values()) <= 4 * 1024**2
