"""Standard streams that neither block the event loop nor lose a byte."""

from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path

import pytest
import trio

from trio_gateway import InvalidInputError
from trio_gateway._cli.exits import OutputClosedError
from trio_gateway._cli.sinks import Sink, standard_error, standard_output


def sink_on(descriptor: int, encoding: str = "utf-8") -> Sink:
    return Sink(io.TextIOWrapper(io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False)), encoding=encoding))


@pytest.mark.parametrize("blocking", [True, False])  # another process may have made a shared terminal non-blocking
async def test_a_reader_that_stops_holds_up_the_writer_but_not_the_event_loop(blocking: bool) -> None:
    read, write = os.pipe()
    os.set_blocking(write, blocking)
    try:
        sink = sink_on(write)
        text = "ä" * 1_000_000  # far more than a pipe holds
        received = bytearray()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.write, text)
            await trio.testing.wait_all_tasks_blocked()  # only reached if the write has not taken the event loop with it
            while len(received) < 2_000_000:
                received += await trio.to_thread.run_sync(os.read, read, 1 << 20)
        assert received.decode() == text
    finally:
        os.close(read)
        os.close(write)


async def test_a_write_to_a_reader_that_stopped_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    ended = threading.Event()
    try:
        sink = sink_on(write)
        write_all = sink._write_all

        def tell_the_end(data: bytes) -> None:
            try:
                write_all(data)
            finally:
                ended.set()

        monkeypatch.setattr(sink, "_write_all", tell_the_end)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sink.write, "x" * 1_000_000)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
    finally:
        os.close(read)  # ends the abandoned write
        assert ended.wait(60)
        os.close(write)


async def test_small_writes_keep_their_order() -> None:
    read, write = os.pipe()
    try:
        sink = sink_on(write)
        for number in range(1000):
            await sink.write(f"{number}\n")
        assert os.read(read, 1 << 16) == b"".join([b"%d\n" % number for number in range(1000)])
    finally:
        os.close(read)
        os.close(write)


async def test_every_write_is_a_checkpoint() -> None:
    with Path(os.devnull).open("w") as null:  # noqa: ASYNC230
        sink = Sink(null)
        with trio.testing.assert_checkpoints():
            await sink.write("x")


@pytest.mark.parametrize("size", [1, 1_000_000])
async def test_a_reader_that_went_away_is_an_error(size: int) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        with pytest.raises(OutputClosedError):
            await sink_on(write).write("x" * size)
    finally:
        os.close(write)


@pytest.mark.parametrize("size", [1, 1_000_000])
async def test_a_full_disk_is_told(size: int) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(InvalidInputError, match="No space left"):
            await sink_on(full).write("x" * size)
    finally:
        os.close(full)


async def test_characters_that_the_encoding_lacks_are_escaped() -> None:
    read, write = os.pipe()
    try:
        await sink_on(write, "latin-1").write("ü€\ud800")
        assert os.read(read, 100) == b"\xfc\\u20ac\\ud800"
    finally:
        os.close(read)
        os.close(write)


async def test_a_stream_without_descriptor_works_too() -> None:
    buffer = io.BytesIO()
    sink = Sink(io.TextIOWrapper(buffer, encoding="utf-8"))
    await sink.write("ü")
    assert buffer.getvalue() == "ü".encode()


async def test_closed_standard_streams_swallow_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    for sink in (standard_output(), standard_error()):
        assert not sink.is_terminal
        await sink.write("into the void")
