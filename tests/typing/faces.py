"""What the types of the three faces say: the same. Never executed: mypy and pyright read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, assert_type

import httpx
import trio

import trio_gateway
import trio_gateway.anyio
import trio_gateway.anyio.notebooks
import trio_gateway.anyio.python
import trio_gateway.blocking as tg
import trio_gateway.notebooks
import trio_gateway.proxy
import trio_gateway.python
from trio_gateway.blocking import notebooks, python


def behind_a_proxy(gateway: trio_gateway.Gateway) -> None:
    """Its settings are typed too."""
    app = trio_gateway.proxy.create_app(gateway, allowed_hosts=["lab.example.org"], max_channels=3)
    assert_type(app, trio_gateway.proxy.Proxy)
    trio_gateway.proxy.create_app(gateway, tokn="t")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    trio_gateway.proxy.create_app(gateway, max_channels="3")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def on_asyncio() -> None:
    """The types are the library's own."""
    async with trio_gateway.anyio.open_gateway("http://127.0.0.1:8888", auth_token="t") as gateway:
        assert_type(gateway, trio_gateway.Gateway)
        assert_type(gateway, trio_gateway.anyio.Gateway)
        async with gateway.start_kernel() as kernel:
            assert_type(kernel, trio_gateway.anyio.Kernel)
            assert_type(await kernel.execute("1"), trio_gateway.anyio.ExecutionResult)
    async with trio_gateway.anyio.open_local_gateway() as gateway:
        assert_type(gateway, trio_gateway.Gateway)
    async with trio_gateway.anyio.open_gateway(timeout=5):  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        pass
    async with trio_gateway.anyio.open_gateway(8888):  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        pass


def blocking() -> None:
    """The types are the library's without `async`."""
    with tg.open_gateway("http://127.0.0.1:8888", auth_token="t") as gateway, gateway.start_kernel("python3") as kernel:
        assert_type(gateway, tg.Gateway)
        assert_type(kernel, tg.Kernel)
        assert_type(kernel.execute("1", silent=True, on_cancel="abandon"), tg.ExecutionResult)
        assert_type(kernel.complete("1", 1), Mapping[str, Any])
        assert_type(kernel.state, tg.KernelState)
        assert_type(kernel.changes(), Iterator[tg.Status])
        assert_type(kernel.stream("1"), AbstractContextManager[tg.OutputStream])
        with kernel.stream("1", when_full="pause") as outputs:
            assert_type(list(outputs), list[tg.Output])
            assert_type(outputs.result, tg.ExecutionResult)
            assert_type(outputs.receive_ready(), list[tg.Output])
        with kernel.iopub.subscribe() as messages:
            assert_type(next(messages), tg.Message)
            assert_type(messages.receive(), tg.Message)
            assert_type(messages.receive_ready(5, limit_bytes=1e6), list[tg.Message])
        with kernel.comms.open("t") as comm, comm:
            assert_type(comm.receive(), tg.CommMessage)
        with kernel.comms.accept("t") as incoming:
            assert_type(next(incoming), tg.Comm)
            assert_type(incoming.receive(), tg.Comm)
            assert_type(incoming.receive_ready(), list[tg.Comm])
        with kernel.subshell() as subshell:
            assert_type(subshell.execute("1"), tg.ExecutionResult)
        assert_type(gateway.kernels.list(), list[tg.KernelModel])
        assert_type(gateway.kernelspecs.list(), tg.KernelSpecs)
        assert_type(gateway.sessions.get(path="a"), tg.SessionModel)
        with gateway.http_client() as client:
            assert_type(client, httpx.Client)
        kernel.execute(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        kernel.execute("1", silently=True)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        kernel.stream("1", when_full="never")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with tg.move_on_after(1) as scope, tg.fail_after(1.5) as other:
        assert_type(scope, tg.CancelScope)
        assert_type(other, tg.CancelScope)
        assert_type(scope.cancelled_caught, bool)
    as_of_sockets: type[TimeoutError] = tg.TooSlowError
    as_in_trio: type[trio.TooSlowError] = tg.TooSlowError
    assert issubclass(as_of_sockets, as_in_trio)
    with tg.open_local_gateway(cwd="/") as gateway:
        assert_type(gateway, tg.Gateway)
    with tg.open_hub("http://h", token="t") as gateway:
        assert_type(gateway, tg.Gateway)
    with tg.open_fleet(["http://a", tg.FleetGateway("http://b", labels={"gpu"})]) as fleet, fleet.start_kernel() as started:
        assert_type(fleet, tg.Fleet)
        assert_type(started, tg.Kernel)
        assert_type(fleet.gateways, tuple[tg.GatewayStatus, ...])
        assert_type(fleet.gateway("http://a"), tg.Gateway)
        assert_type(fleet.kernels.list(), list[tg.FleetKernelModel])
        assert_type(fleet.kernelspecs.list(), tg.KernelSpecs)
        assert_type(fleet.drain("http://a"), bool)
        with fleet.open_pool(size=1) as pool:
            assert_type(pool, tg.KernelPool)
    with tg.open_gateway(connect_timeout="5"):  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        pass
    with tg.open_local_gateway(timeout=5):  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        pass
    with tg.open_gateway(8888):  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        pass


async def notebooks_on_asyncio(gateway: trio_gateway.anyio.Gateway, kernel: trio_gateway.anyio.Kernel) -> None:
    """The types are the library's own."""
    assert_type(await trio_gateway.anyio.notebooks.run(gateway, "a.ipynb"), trio_gateway.notebooks.NotebookRun)
    async with trio_gateway.anyio.notebooks.open_run(kernel, "a.ipynb", output="b.ipynb") as run:
        assert_type(run, trio_gateway.notebooks.OpenRun)
        async for event in run:
            assert_type(event, trio_gateway.notebooks.RunEvent)
    await trio_gateway.anyio.notebooks.run("a.ipynb", gateway)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def notebooks_blocking(gateway: tg.Gateway, kernel: tg.Kernel) -> None:
    """The types are the library's without `async`."""
    assert_type(notebooks.run(kernel, "a.ipynb", cell_timeout=3), notebooks.NotebookRun)
    assert_type(notebooks.open_run(gateway, "a.ipynb"), AbstractContextManager[notebooks.OpenRun])
    with notebooks.open_run(gateway, "a.ipynb", on_error="continue") as run:
        assert_type(list(run), list[notebooks.RunEvent])
        assert_type(run.result, notebooks.NotebookRun)
        assert_type(run.cells, tuple[notebooks.CellRun, ...])
    with notebooks.run_many(gateway, ["a.ipynb"], limit=2, parameters={"a": 1}) as runs:
        assert_type(runs, notebooks.Runs)
        assert_type(next(runs), notebooks.NotebookRun)
    notebooks.run_many(kernel, ["a.ipynb"])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    notebooks.run("a.ipynb", gateway)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    notebooks.run(gateway, "a.ipynb", cell_timeout="3")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    notebooks.run(gateway, "a.ipynb", celltimeout=3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def _length(text: str) -> int:
    return len(text)


async def _length_later(text: str) -> int:
    return len(text)


async def values_on_asyncio(kernel: trio_gateway.anyio.Kernel, pool: trio_gateway.anyio.KernelPool) -> None:
    """The types are the library's own."""
    async with trio_gateway.anyio.python.open_python(kernel, trust="pickle", on_output=print) as there:
        assert_type(there, trio_gateway.python.Python)
        assert_type(await there.call(_length, "x"), int)
        assert_type(await there.upload("a", "b"), trio_gateway.python.FileCopy)
        async with there.stream(_length) as items:
            assert_type(items, trio_gateway.python.RemoteItems)
        async with there.tools(length=_length, later=_length_later):
            pass
    pooled = trio_gateway.anyio.python.PythonPool(pool, on_output=print)
    assert_type(pooled, trio_gateway.anyio.python.PythonPool)
    assert_type(await pooled.call(_length, "x"), int)
    assert_type(pooled.map(_length_later, ["x"], limit=2), trio_gateway.python.CallResults[str, int])
    trio_gateway.anyio.python.PythonPool("pool")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    trio_gateway.anyio.python.open_python("kernel")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def values_blocking(kernel: tg.Kernel, pool: tg.KernelPool) -> None:
    """The types are the library's without `async`."""
    assert_type(python.open_python(kernel), AbstractContextManager[python.Python])
    with python.open_python(kernel, on_progress=print) as there:
        assert_type(there.using(trust=None), python.Python)
        assert_type(there.call(_length, "x"), int)
        assert_type(there.call(_length_later, "x"), int)
        assert_type(there.upload("a", "b", within="c"), python.FileCopy)
        assert_type(there.download_all("a", "b"), tuple[python.FileCopy, ...])
        with there.tools({"length": _length}, limit_bytes=5) as nothing:
            assert_type(nothing, None)
        there.push(x=1)
        there.upload("a", 5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        with there.stream(_length) as items:
            assert_type(items, python.RemoteItems)
            for _ in items:
                pass
    python.open_python(kernel, trust="yes")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    pooled = python.PythonPool(pool, repeatable=True)
    assert_type(pooled.using(on_output=print), python.PythonPool)
    assert_type(pooled.call(_length_later, "x"), int)
    assert_type(pooled.map(_length, ["x"], chunk=2), python.CallResults[str, int])
    for item, result in pooled.map(_length, ["x"]):
        assert_type(item, str)
        assert_type(result.raise_for_error(), int)
    with pooled.map(_length, ["x"]) as results:
        results.close()
    python.PythonPool("pool")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
