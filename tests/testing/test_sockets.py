"""What waits for a client's session."""

from __future__ import annotations

from trio_gateway.testing._sockets import Streams

from .kit_parts import Sunk, request

ONE, TWO, THREE = (request("stream", channel="iopub", msg_id=name) for name in ("one", "two", "three"))


def test_messages_go_to_the_connection() -> None:
    sink = Sunk()
    streams = Streams("front", sink)
    streams.take(ONE)
    streams.reply(TWO)
    assert sink.messages == [ONE, TWO]
    assert streams.buffer == []
    assert streams.session_id == "front"


def test_without_a_connection_they_wait() -> None:
    sink = Sunk()
    streams = Streams("front", sink)
    streams.sink = None
    streams.take(ONE)
    streams.reply(TWO)
    assert streams.buffer == [ONE, TWO]
    streams.sink = sink
    streams.take(THREE)
    assert sink.messages == [THREE]


def test_closed_they_take_nothing() -> None:
    sink = Sunk()
    streams = Streams("front", sink)
    streams.open = False
    streams.take(ONE)
    streams.sink = None
    streams.reply(TWO)
    assert (sink.messages, streams.buffer) == ([], [])
