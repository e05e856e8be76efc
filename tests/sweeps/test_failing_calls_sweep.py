"""Each call to the operating system of a whole conversation fails, one at a time, with each error that the system can give.

The conversation goes over loopback: what is below the library is what is tried. A run takes every fourth call (`suite.budgets`).
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import nbformat
import pytest
import trio
import trustme

import trio_gateway
from suite.budgets import STRIDE, sweep_offset
from tools.failing_calls import FailingCall, os_error
from tools.os_view import nothing_left_behind
from tools.python_kernel import PythonProcess, python_spec, small_pieces
from trio_gateway import Stream, notebooks
from trio_gateway._threads import NO_THREAD
from trio_gateway.python import open_python
from trio_gateway.testing import Cell, FakeGateway

pytestmark = pytest.mark.full

SETTINGS: dict[str, Any] = {
    "gateway_retry_interval": 0.01,
    "gateway_retry_interval_max": 0.05,
    "cleanup_timeout": 1.0,  # a start of which nobody knows whether it was sent is looked for as long
    "launch_timeout": 2.0,
}
PIECE = 1000
NO_END = 60.0
"""Seconds until a conversation hangs; each limit above is much shorter."""

ERRORS: dict[str, list[Callable[[], BaseException]]] = {
    "resolve": [
        lambda: socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        lambda: os_error(errno.EMFILE),
    ],
    "socket": [lambda: os_error(errno.EMFILE), lambda: os_error(errno.ENOMEM)],
    "connect": [lambda: os_error(errno.ECONNREFUSED), lambda: os_error(errno.EADDRNOTAVAIL)],
    "read": [lambda: os_error(errno.ECONNRESET), lambda: os_error(errno.ENOMEM)],
    "write": [lambda: os_error(errno.EPIPE), lambda: os_error(errno.ENOBUFS)],
    "write at once": [lambda: os_error(errno.EPIPE), lambda: os_error(errno.ENOBUFS), lambda: BlockingIOError(errno.EAGAIN, "")],
    "option": [lambda: os_error(errno.EINVAL)],
    "thread": [lambda: RuntimeError(NO_THREAD)],
    "open": [lambda: os_error(errno.EMFILE), lambda: os_error(errno.ENOSPC)],
    "file": [lambda: os_error(errno.ENOSPC), lambda: os_error(errno.EDQUOT)],
    "replace": [lambda: os_error(errno.ENOSPC)],
    "sync": [lambda: os_error(errno.EIO), lambda: os_error(errno.ENOSPC)],
    "process": [lambda: os_error(errno.EMFILE), lambda: os_error(errno.ENOMEM), lambda: os_error(errno.EAGAIN)],
}
FILES = ("open", "file", "replace", "sync")
CASES = [
    pytest.param(kind, number, id=f"{kind}-{getattr(error(), 'errno', None) or 'none'}")
    for kind, errors in ERRORS.items()
    for number, error in enumerate(errors)
]


def script(cell: Cell) -> Iterator[object]:
    yield Stream("stdout", "begin\n")
    yield "end"


def check(fake: FakeGateway) -> None:
    for kernel in fake.ended_kernels:
        assert set(kernel.executed.values()) <= {1}, "something ran twice (G4)"


Attempt = Callable[[FailingCall], Awaitable[bool]]
"""Holds the conversation; says whether it was whole."""


async def sweep(kind: str, error: Callable[[], BaseException], attempt: Attempt, *, each: bool = False) -> int:
    """Let the first call fail, the second, and so on, until there are no more; return how many failed.

    Args:
        kind: which calls.
        error: what they raise.
        attempt: holds the conversation.
        each: also where a run takes every fourth call: there are few of them.
    """
    stride = 1 if each else STRIDE
    nth, struck = 1 + (0 if each else sweep_offset()), 0
    while True:
        call = FailingCall(kind, nth, error())
        try:
            with call.armed(), trio.fail_after(NO_END):
                whole = await attempt(call)
        except BaseException as failure:
            failure.add_note(f"the {nth}. call of the kind {kind!r} failed with {error()!r}")
            raise
        if call.calls < nth:
            assert whole, "it is not whole, though nothing failed"
            return struck
        struck += 1
        nth += stride


@pytest.mark.parametrize(("kind", "number"), [case for case in CASES if case.values[0] not in (*FILES, "process")])
async def test_a_call_fails_in_a_conversation(kind: str, number: int, caplog: pytest.LogCaptureFixture) -> None:
    """G1 to G5"""

    async def attempt(call: FailingCall) -> bool:
        caplog.clear()
        result = None
        async with FakeGateway(script) as fake, fake.listen() as address:
            url = address.replace("127.0.0.1", "localhost")  # so that it is looked up
            with call.here():
                try:
                    async with trio_gateway.open_gateway(url, auth_token=fake.token, **SETTINGS) as gateway:
                        await gateway.kernelspecs.list()
                        async with gateway.start_kernel() as kernel:
                            result = await kernel.execute("x")
                            async with kernel.stream("y") as stream:
                                async for _ in stream:
                                    pass
                            await kernel.interrupt()
                except trio_gateway.GatewayError as error:
                    assert not isinstance(error, trio_gateway.GatewayInternalError)  # noqa: PT017 - one of a kind is enough
            told = {
                getattr(record, "gateway.kernel_id") for record in caplog.records if record.msg.startswith("kernel_may_be_left")
            }
            assert set(fake.kernels) <= told, "a kernel is left, and nobody says so (G2)"
            check(fake)
        if result is not None:
            assert result.text == "begin\nend" or result.output_gaps, "output is missing, and nobody says so (G5)"
        return result is not None and not result.output_gaps

    caplog.set_level(logging.WARNING, "trio_gateway")
    with nothing_left_behind():
        assert await sweep(kind, ERRORS[kind][number], attempt) > 0 or STRIDE > 1


@asynccontextmanager
async def listen_with_tls(fake: FakeGateway, certificate: trustme.LeafCert) -> AsyncGenerator[str]:
    """Have the gateway listen behind a server that takes TLS off."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)

    async def carry(source: trio.abc.ReceiveStream, target: trio.abc.Stream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                await target.send_all(data)
        await trio.aclose_forcefully(target)

    async def serve(tcp: trio.SocketStream) -> None:
        secure = trio.SSLStream(tcp, context, server_side=True, https_compatible=True)
        plain = await fake.connector("127.0.0.1", 1)
        async with trio.open_nursery() as both:
            both.start_soon(carry, secure, plain)
            await carry(plain, secure)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, serve, listeners)
        yield f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("kind", "number"), [case for case in CASES if case.values[0] in ("read", "write")])
async def test_a_call_fails_in_a_conversation_over_tls(kind: str, number: int, tmp_path: Path) -> None:
    """G1 to G5"""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)

    async def attempt(call: FailingCall) -> bool:
        result = None
        async with FakeGateway(script) as fake, listen_with_tls(fake, certificate) as url:
            with call.here():
                try:
                    async with (
                        trio_gateway.open_gateway(url, auth_token=fake.token, ca_certs=str(ca_file), **SETTINGS) as gateway,
                        gateway.start_kernel() as kernel,
                    ):
                        result = await kernel.execute("x")
                except trio_gateway.GatewayError as error:
                    assert not isinstance(error, trio_gateway.GatewayInternalError)  # noqa: PT017
            check(fake)
        if result is not None:
            assert result.text == "begin\nend" or result.output_gaps, "output is missing, and nobody says so (G5)"
        return result is not None and not result.output_gaps

    with nothing_left_behind():
        assert await sweep(kind, ERRORS[kind][number], attempt) > 0


TRAVEL = ("read", "write", "write at once", "thread", "open", "replace", "sync")


@pytest.mark.parametrize(("kind", "number"), [case for case in CASES if case.values[0] in TRAVEL])
async def test_a_call_fails_where_values_and_files_travel(kind: str, number: int, tmp_path: Path) -> None:
    """G1, G3: a value is there or not, and so is a file; never a part of it."""
    old, new = b"before", bytes(range(250)) * 14
    source, there, back = tmp_path / "new", tmp_path / "there", tmp_path / "back"
    source.write_bytes(new)

    async def attempt(call: FailingCall) -> bool:
        there.write_bytes(old)
        back.write_bytes(old)
        whole = False
        processes: list[PythonProcess] = []
        async with FakeGateway(kernelspecs=[python_spec(processes, PIECE)]) as fake, fake.listen() as url:
            with call.here(), small_pieces(PIECE):
                try:
                    async with (
                        trio_gateway.open_gateway(url, auth_token=fake.token, **SETTINGS) as gateway,
                        gateway.start_kernel() as kernel,
                        open_python(kernel) as python,
                    ):
                        await python.push(value=new, other=1)
                        assert await python.pull("value") == new
                        await python.upload(source, there)
                        assert there.read_bytes() == new
                        await python.download(there, back)
                        assert back.read_bytes() == new
                        whole = True
                except trio_gateway.GatewayError as error:
                    assert not isinstance(error, trio_gateway.GatewayInternalError)  # noqa: PT017
            check(fake)
        for process in processes:
            assert ("value" in process.namespace) == ("other" in process.namespace), "some names are bound, and some are not"
            assert process.namespace.get("value", new) == new, "half a value is under the name"
        assert {there.read_bytes(), back.read_bytes()} <= {old, new}, "half a file is under the name"
        return whole

    with nothing_left_behind():
        assert await sweep(kind, ERRORS[kind][number], attempt) > 0 or STRIDE > 1


@pytest.mark.parametrize(("kind", "number"), [case for case in CASES if case.values[0] in (*FILES, "thread")])
async def test_a_call_fails_in_a_run_of_a_notebook(kind: str, number: int, tmp_path: Path) -> None:
    """G1, G2; what is saved is whole, and what was there before stays until then."""
    source, output = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x"), nbformat.v4.new_code_cell("y")]), source)
    before = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("of an earlier day")])

    async def attempt(call: FailingCall) -> bool:
        nbformat.write(before, output)
        run = None
        async with FakeGateway(script) as fake, fake.open(session_database=tmp_path / "sessions.db") as gateway:
            with call.here():
                try:
                    run = await notebooks.run(gateway, source, output=output)
                except trio_gateway.InvalidInputError as error:
                    assert error.field == "output"  # noqa: PT017
            assert not fake.kernels, "a kernel is left (G2)"
            check(fake)
        saved = nbformat.read(output, 4)
        nbformat.validate(saved)
        is_new = len(saved.cells) == 2
        assert is_new or (run is None and saved == before), "what was there is gone, and the run is not in its place"
        if run is not None:
            assert [len(cell.outputs) for cell in saved.cells] == [2, 2]
        assert set(os.listdir(tmp_path)) <= {"in.ipynb", "out.ipynb", "sessions.db"}  # noqa: PTH208
        rescued = list(Path(tempfile.gettempdir()).glob("out-*.ipynb"))  # noqa: ASYNC240
        assert run is not None or rescued or not is_new, "what the run has come to is nowhere"
        for path in rescued:
            assert [len(cell.outputs) for cell in nbformat.read(path, 4).cells] == [2, 2]
            path.unlink()
        return run is not None and run.status == "ok"

    with nothing_left_behind():
        assert await sweep(kind, ERRORS[kind][number], attempt) > 0 or STRIDE > 1


@pytest.mark.parametrize("error", ERRORS["process"])
async def test_the_command_that_gives_the_token_can_not_be_started(error: Callable[[], BaseException]) -> None:
    """G1, G3: what waits for the token gets the reason."""

    async def attempt(call: FailingCall) -> bool:
        whole = False
        async with FakeGateway(script) as fake:
            with call.here():
                try:
                    async with trio_gateway.open_gateway(
                        fake.url, connector=fake.connector, token_command=["echo", fake.token], **SETTINGS
                    ) as gateway:
                        await gateway.kernelspecs.list()
                        whole = True
                except trio_gateway.GatewayError as failure:
                    assert not isinstance(failure, trio_gateway.GatewayInternalError)  # noqa: PT017
                    assert os.strerror(call.error.errno) in str(failure)  # type: ignore[attr-defined]  # noqa: PT017
        return whole

    with nothing_left_behind():
        assert await sweep("process", error, attempt, each=True) > 0


@pytest.mark.parametrize("error", ERRORS["process"])
async def test_a_local_gateway_can_not_be_started(error: Callable[[], BaseException]) -> None:
    """G1, G3: the block is not entered, and the reason comes out."""
    call = FailingCall("process", 1, error())
    with nothing_left_behind(), call.armed(), call.here():
        with pytest.raises(trio_gateway.GatewayError, match=os.strerror(call.error.errno)):  # type: ignore[attr-defined]
            async with trio_gateway.open_local_gateway():
                raise AssertionError("there is one")
    assert call.calls == 1
