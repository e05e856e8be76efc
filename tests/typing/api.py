"""What the public types say. Never executed: mypy and pyright read it, and it fails to check when a type changes.

`assert_type` pins what a call gives; a line with expected errors pins what is refused (both checkers complain about an
ignored error that isn't one).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal, Unpack, assert_never, assert_type

import trio
from jupyter_events import EventLogger

import trio_gateway
from trio_gateway import (
    CullPolicy,
    Error,
    ExecuteResult,
    ExecutionResult,
    Fleet,
    FleetGateway,
    FleetKernelModel,
    Gateway,
    GatewayConfig,
    GatewayEvent,
    GatewaySettings,
    GatewayStatus,
    JobResult,
    Kernel,
    KernelModel,
    KernelPool,
    KernelResources,
    KernelState,
    SessionModel,
    TokenRenewer,
    events,
    notebooks,
)


def open_mine(**settings: Unpack[GatewaySettings]) -> AbstractAsyncContextManager[Gateway]:
    """Who passes settings on says so."""
    return trio_gateway.open_gateway("http://127.0.0.1:8888", **settings)


def place(candidates: Sequence[GatewayStatus]) -> GatewayStatus:
    """A placement of one's own."""
    return candidates[0]


async def fleets() -> None:
    """Several gateways are used as one is."""
    mine = FleetGateway("http://a", name="a", labels={"gpu"}, weight=2)
    async with trio_gateway.open_fleet([mine, "http://b", GatewayConfig(url="http://c")], auth_token="t") as fleet:
        assert_type(fleet, Fleet)
        assert_type(fleet.gateways, tuple[GatewayStatus, ...])
        assert_type(fleet.gateways[0].labels, frozenset[str])
        assert_type(fleet.gateway("a"), Gateway)
        async with fleet.start_kernel("python3", require={"gpu"}) as kernel, fleet.attach_kernel("0") as other:
            assert_type(kernel, Kernel)
            assert_type(other, Kernel)
        async with fleet.open_pool(size=1, require={"gpu"}) as pool:
            assert_type(pool, KernelPool)
        assert_type(await fleet.kernels.list(), list[FleetKernelModel])
        assert_type((await fleet.kernels.get("0")).gateway, str)
        assert_type(await fleet.drain("a"), bool)
        await notebooks.run(fleet, "a.ipynb")
        async with notebooks.run_many(fleet, ["a.ipynb"]):
            pass
    trio_gateway.open_fleet(["http://a"], placement="round-robin")
    trio_gateway.open_fleet(["http://a"], placement=place)
    trio_gateway.open_fleet(["http://a"], placement="best")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    trio_gateway.open_fleet(["http://a"], url="http://b")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    trio_gateway.open_fleet([8888])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]


async def opening() -> None:
    """A gateway comes from a URL, from a configuration, from the environment, or from a process of its own."""
    async with trio_gateway.open_gateway() as gateway:
        assert_type(gateway, Gateway)
        assert_type(gateway.config, GatewayConfig)
    async with trio_gateway.open_gateway("http://127.0.0.1:8888", auth_token="t", connect_timeout=3.0) as gateway:
        assert_type(gateway, Gateway)
    async with trio_gateway.open_gateway(["http://127.0.0.1:8888", "http://127.0.0.1:9999"]) as gateway:
        assert_type(gateway.address, str)
        assert_type(gateway.config.addresses, tuple[str, ...])
    async with trio_gateway.open_gateway(url=("http://127.0.0.1:8888",), ws_url=["ws://127.0.0.1:8888"]) as gateway:
        assert_type(gateway.config.url, str)
    async with trio_gateway.open_gateway(GatewayConfig(url="http://127.0.0.1:8888")) as gateway:
        assert_type(gateway, Gateway)
    async with trio_gateway.open_gateway(on_event=report) as gateway:
        assert_type(gateway, Gateway)
    async with trio_gateway.open_local_gateway() as gateway:
        assert_type(gateway, Gateway)
    async with trio_gateway.open_gateway(request_timeout="5"):  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        pass
    async with trio_gateway.open_gateway(timeout=5):  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        pass
    async with trio_gateway.open_local_gateway(max_message_size=1, on_event=report) as gateway:
        assert_type(gateway, Gateway)
    async with trio_gateway.open_hub("http://h", token="t", user="a", server="b", options={"a": 1}, request_timeout=5) as gateway:
        assert_type(gateway, Gateway)
    async with trio_gateway.open_hub("http://h", auth_token="t"):  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        pass
    async with trio_gateway.open_local_gateway(url="http://a"):  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        pass
    assert_type(GatewayConfig.from_env({}, url="http://a", headers={"A": "b"}), GatewayConfig)
    GatewayConfig.from_env({}, ping_intervall=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    gateway.config.replace(buffer_bytes="many")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    async with open_mine(idle_grace=1) as gateway:
        assert_type(gateway, Gateway)
    async with trio_gateway.open_gateway(8888):  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        pass
    with trio_gateway.open_gateway():  # type: ignore[attr-defined] # pyright: ignore[reportGeneralTypeIssues]
        pass


async def listening(logger: EventLogger) -> None:
    """Events go to functions, to channels, or to several of either."""
    send, receive = trio.open_memory_channel[GatewayEvent](100)
    async with receive, trio_gateway.open_gateway(on_event=send, cull=CullPolicy(idle_timeout=60)) as gateway:
        assert_type(gateway.dropped_events, int)
    sinks = [report, events.to_jupyter_events(logger), events.to_opentelemetry()]
    async with trio_gateway.open_gateway(on_event=sinks, session_database=Path("sessions.db")) as gateway:
        assert_type(gateway, Gateway)
    async with trio_gateway.open_local_gateway(on_event=[send, report]) as gateway:
        assert_type(gateway, Gateway)
    async with trio_gateway.open_gateway(on_event=5):  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        pass


def report(event: GatewayEvent) -> None:
    """A sink of events is any function of one."""
    assert_type(event.status_code, int | None)
    assert_type(event.seconds, float)


def configuring() -> None:
    """A configuration is made of arguments or read from a mapping; it does not change."""
    config = GatewayConfig.from_env({"JUPYTER_GATEWAY_URL": "http://127.0.0.1:8888"}, request_timeout=5.0)
    assert_type(config, GatewayConfig)
    assert_type(config.sources, Mapping[str, str])
    config.url = "http://127.0.0.1:1"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    GatewayConfig("http://127.0.0.1:8888")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


async def kernels(gateway: Gateway) -> None:
    """A kernel is started or attached to as a block."""
    async with gateway.start_kernel("python3", env={"A": "b"}, cwd=Path("/tmp"), launch_timeout=10.0) as kernel:
        assert_type(kernel, Kernel)
        assert_type(kernel.id, str)
        assert_type(kernel.name, str)
        assert_type(kernel.state, KernelState)
        await kernel.interrupt()
        await kernel.restart()
        await kernel.shutdown()
    async with gateway.start_kernel() as kernel:
        assert_type(kernel, Kernel)
    async with gateway.attach_kernel("0000") as kernel:
        assert_type(kernel, Kernel)
    gateway.attach_kernel()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    gateway.start_kernel(env={"A": 1})  # type: ignore[dict-item] # pyright: ignore[reportArgumentType]

    async with gateway.open_pool("python3", size=2, warm=1, init="a = 1", reuse="as-is") as pool:
        assert_type(pool, KernelPool)
        async with pool.kernel() as kernel:
            assert_type(kernel, Kernel)
        assert_type(await pool.run("1"), ExecutionResult)
        async for code, result in pool.map(["1"], limit=2):
            assert_type(code, str)
            assert_type(result, JobResult)
        assert_type(pool.statistics().hand_out.median, float)
    gateway.open_pool("python3")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    gateway.open_pool(size=1, reuse="yes")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    models = await gateway.kernels.list()
    assert_type(models[0].id, str)
    assert_type((await gateway.kernels.get("0000")).execution_state, str)
    await gateway.kernels.interrupt("0000")
    await gateway.kernels.restart("0000")
    await gateway.kernels.shutdown("0000")
    await gateway.kernels.shutdown_all()
    assert_type(await gateway.kernels.start("python3", env={"A": "b"}), KernelModel)
    resources = KernelResources(cpu=0.5, memory="4Gi", gpus=1, volumes=[{"name": "a"}])
    assert_type(resources.variables(), dict[str, str])
    assert_type(await gateway.kernels.start(resources=resources), KernelModel)
    async with gateway.start_kernel(resources=resources) as kernel:
        assert_type(kernel, Kernel)
    assert_type(await gateway.sessions.create("a.ipynb", resources=resources), SessionModel)
    await notebooks.run(gateway, "a.ipynb", resources=resources)
    KernelResources(1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    KernelResources(gpus="1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert_type(await gateway.kernels.cull(CullPolicy(idle_timeout=60)), list[KernelModel])
    CullPolicy(60)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    specs = await gateway.kernelspecs.list()
    assert_type(specs.kernelspecs["python3"].language, str)
    assert_type((await gateway.kernelspecs.get("python3")).argv, tuple[str, ...])
    assert_type((await gateway.kernelspecs.resource("python3", "logo-64x64.png")).content, bytes)
    assert_type(await gateway.sessions.create("a.ipynb", kernel_name="python3"), SessionModel)
    assert_type(await gateway.sessions.list(), list[SessionModel])


async def executing(kernel: Kernel) -> None:
    """An execution gives a result, or a stream of outputs and then a result."""
    result = await kernel.execute("6 * 7", silent=False, store_history=True, user_expressions={"a": "b"}, stop_on_error=False)
    assert_type(result, ExecutionResult)
    assert_type(result.raise_for_error(), ExecutionResult)
    assert_type(result.status, Literal["ok", "error", "aborted"])
    assert_type(result.text, str)
    assert_type(result.error, Error | None)
    assert_type(result.execution_count, int | None)
    assert_type(result.to_nbformat(), list[dict[str, Any]])
    await kernel.execute("x", on_cancel="abandon")
    await kernel.execute(b"x")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await kernel.execute("x", on_cancel="forget")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await kernel.execute("x", timeout=3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]

    async with kernel.stream("6 * 7") as outputs:
        async for output in outputs:
            match output:
                case trio_gateway.Stream(name=name, text=text):
                    assert_type(name, Literal["stdout", "stderr"])
                    assert_type(text, str)
                case trio_gateway.DisplayData() | trio_gateway.UpdateDisplayData():
                    assert_type(output.display_id, str | None)
                case ExecuteResult(execution_count=count):
                    assert_type(count, int | None)
                case Error(traceback=traceback):
                    assert_type(traceback, tuple[str, ...])
                case trio_gateway.ClearOutput(wait=wait):
                    assert_type(wait, bool)
                case _:
                    assert_never(output)
    assert_type(outputs.result, ExecutionResult)


async def running_notebooks(gateway: Gateway, kernel: Kernel) -> None:
    """One notebook, one with its events, and many."""
    result = await notebooks.run(gateway, "a.ipynb", output=Path("b.ipynb"), parameters={"n": 1}, resume=True)
    assert_type(result, notebooks.NotebookRun)
    assert_type(result.cells, tuple[notebooks.CellRun, ...])
    assert_type(result.error, Error | None)
    async with notebooks.open_run(kernel, {"nbformat": 4}, cell_timeout=3) as run:
        async for event in run:
            assert_type(event, notebooks.RunEvent)

    async def show(job: notebooks.NotebookJob, event: notebooks.RunEvent) -> None:
        assert_type(job.name, str | None)

    async with notebooks.run_many(gateway, ["a.ipynb", notebooks.NotebookJob("b.ipynb")], limit=2, on_event=show) as runs:
        assert_type([run async for run in runs], list[notebooks.NotebookRun])
    notebooks.run_many(kernel, [])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    notebooks.run_many(gateway, [], keep_kernel="always")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    notebooks.run_many(gateway, [], celltimeout=3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def failing(error: trio_gateway.GatewayError) -> None:
    """Every error of the library has one root, and what a program needs as attributes."""
    match error:
        case trio_gateway.GatewayHTTPError():
            assert_type(error.status_code, int)
        case trio_gateway.ExecutionError():
            assert_type(error.ename, str)
        case trio_gateway.TokenCommandError():
            assert_type(error.returncode, int | None)
        case trio_gateway.GatewayTimeoutError():
            assert_type(error.phase, str)
        case _:
            pass
    timeout: TimeoutError = trio_gateway.GatewayTimeoutError("connect", 1.0, "connect_timeout")
    connection: ConnectionError = trio_gateway.GatewayConnectionError("refused")
    value: ValueError = trio_gateway.ConfigError([])
    del timeout, connection, value


class Renewer(TokenRenewer):
    """A renewer may be a coroutine function."""

    async def get_token(self, auth_header_key: str, auth_scheme: str | None, auth_token: str, **kwargs: Any) -> str:
        """Return a token."""
        return auth_token


async def values_and_calls(kernel: Kernel) -> None:
    from trio_gateway.python import Name, Progress, Python, RemoteItems, open_python

    def train(epochs: int) -> float:
        return float(epochs)

    async def train_later(epochs: int) -> str:
        return str(epochs)

    async with open_python(kernel, trust="pickle", on_progress=lambda progress: assert_type(progress, Progress)) as python:
        assert_type(python, Python)
        assert_type(python.using(trust=None), Python)
        assert_type(python.name("x"), Name)
        assert_type(await python.call(train, 3), float)
        assert_type(await python.call(train_later, 3), str)
        async with python.stream(range, 3) as items:
            assert_type(items, RemoteItems)
