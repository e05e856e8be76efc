"""trio_gateway itself, through its public names, on each of its faces.

On its two asynchronous faces the code is the same, but for the module that is imported.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .base import AsyncioClient, BenchKernel, BlockingClient, Client, Outcome, TrioClient, load

if TYPE_CHECKING:
    import trio_gateway


class OursKernel(BenchKernel):
    def __init__(self, gateway: trio_gateway.Gateway, kernel: trio_gateway.Kernel) -> None:
        self._gateway = gateway
        self._kernel = kernel

    async def execute(self, code: str, *, each: bool = False) -> Outcome:
        outcome = Outcome()
        if each:
            async with self._kernel.stream(code) as outputs:
                async for output in outputs:
                    look(outcome, output)
            result = outputs.result
        else:
            result = await self._kernel.execute(code)
            for shown in result.outputs:
                look(outcome, shown)
        _check(result)
        return outcome

    async def send_binary(self, data: bytes) -> int:
        async with self._kernel.comms.open("bench") as comm:
            await comm.send({}, buffers=[data])
            return int((await comm.receive()).data["size"])

    async def get_model(self) -> str:
        return (await self._gateway.kernels.get(self._kernel.id)).id


def _check(result: trio_gateway.ExecutionResult) -> None:
    if result.status != "ok" or result.output_gaps:
        raise RuntimeError(f"{result.status}, {result.output_gaps}")


def look(outcome: Outcome, output: trio_gateway.Output) -> None:
    """Look at an output as its user would: which kind it is, and what is in it."""
    from trio_gateway import DisplayData, ExecuteResult, Stream

    outcome.messages += 1
    if isinstance(output, Stream):
        outcome.characters += len(output.text)
        outcome.text = output.text
    elif isinstance(output, (DisplayData, ExecuteResult)):
        outcome.text = output.data["text/plain"]
        for buffer in output.buffers:
            outcome.binary += len(buffer)


class OursClient(Client):
    """Options: `engine`, a value of the setting `websocket_engine`, and further settings by name."""

    module = "trio_gateway"

    @classmethod
    def missing(cls, **options: Any) -> str | None:
        import trio_gateway

        if find_spec(cls.module) is None:
            return f"there is no {cls.module}"
        try:
            trio_gateway.GatewayConfig(url="http://127.0.0.1", websocket_engine=options.get("engine", "auto"))
        except trio_gateway.GatewayError as error:
            return str(error)
        return None

    def config(self, module: Any) -> Any:
        """Return the configuration that the options ask for."""
        settings: dict[str, Any] = {name: value for name, value in self.options.items() if name != "engine"}
        if self.token:
            settings["auth_token"] = self.token
        return module.GatewayConfig(url=self.url, websocket_engine=self.options.get("engine", "auto"), **settings)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        module = load(self.module)
        async with module.open_gateway(self.config(module)) as self._gateway:
            yield

    @asynccontextmanager
    async def start_kernel(self, name: str = "python3") -> AsyncGenerator[BenchKernel]:
        async with self._gateway.start_kernel(name) as kernel:
            yield OursKernel(self._gateway, kernel)

    @asynccontextmanager
    async def attach(self, kernel: BenchKernel) -> AsyncGenerator[BenchKernel]:
        async with self._gateway.attach_kernel(await kernel.get_model()) as attached:
            yield OursKernel(self._gateway, attached)


class OursOnTrio(OursClient, TrioClient):
    """The library as it is."""


class OursOnAsyncio(OursClient, AsyncioClient):
    """`trio_gateway.anyio` on asyncio."""

    module = "trio_gateway.anyio"


class OursBlockingKernel(BenchKernel):
    def __init__(self, gateway: Any, kernel: Any) -> None:
        self._gateway = gateway
        self._kernel = kernel

    async def execute(self, code: str, *, each: bool = False) -> Outcome:
        outcome = Outcome()
        if each:
            with self._kernel.stream(code) as outputs:
                for output in outputs:
                    look(outcome, output)
            result = outputs.result
        else:
            result = self._kernel.execute(code)
            for shown in result.outputs:
                look(outcome, shown)
        _check(result)
        return outcome

    async def send_binary(self, data: bytes) -> int:
        with self._kernel.comms.open("bench") as comm:
            comm.send({}, buffers=[data])
            return int(comm.receive().data["size"])

    async def get_model(self) -> str:
        return str(self._gateway.kernels.get(self._kernel.id).id)


class OursBlocking(OursClient, BlockingClient):
    """`trio_gateway.blocking`."""

    module = "trio_gateway.blocking"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        module = load(self.module)
        with module.open_gateway(self.config(module)) as self._gateway:
            yield

    @asynccontextmanager
    async def start_kernel(self, name: str = "python3") -> AsyncGenerator[BenchKernel]:
        with self._gateway.start_kernel(name) as kernel:
            yield OursBlockingKernel(self._gateway, kernel)

    @asynccontextmanager
    async def attach(self, kernel: BenchKernel) -> AsyncGenerator[BenchKernel]:
        with self._gateway.attach_kernel(await kernel.get_model()) as attached:
            yield OursBlockingKernel(self._gateway, attached)
