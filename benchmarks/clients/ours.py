"""trio_gateway itself, through its public names."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from .base import BenchKernel, Outcome, TrioClient

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
        if result.status != "ok" or result.output_gaps:
            raise RuntimeError(f"{result.status}, {result.output_gaps}")
        return outcome

    async def send_binary(self, data: bytes) -> int:
        async with self._kernel.comms.open("bench") as comm:
            await comm.send({}, buffers=[data])
            return int((await comm.receive()).data["size"])

    async def get_model(self) -> str:
        return (await self._gateway.kernels.get(self._kernel.id)).id


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


class OursClient(TrioClient):
    """Options: `engine`, a value of the setting `websocket_engine`, and further settings by name."""

    @classmethod
    def missing(cls, **options: Any) -> str | None:
        import trio_gateway

        try:
            trio_gateway.GatewayConfig(url="http://127.0.0.1", websocket_engine=options.get("engine", "auto"))
        except trio_gateway.GatewayError as error:
            return str(error)
        return None

    def settings(self) -> dict[str, Any]:
        """Return the settings that the options ask for."""
        settings: dict[str, Any] = {name: value for name, value in self.options.items() if name not in ("engine", "server_cpu")}
        settings["websocket_engine"] = self.options.get("engine", "auto")
        if self.token:
            settings["auth_token"] = self.token
        return settings

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        import trio_gateway

        config = trio_gateway.GatewayConfig(url=self.url, **self.settings())
        async with trio_gateway.open_gateway(config) as self._gateway:
            yield

    @asynccontextmanager
    async def start_kernel(self, name: str = "python3") -> AsyncGenerator[BenchKernel]:
        async with self._gateway.start_kernel(name) as kernel:
            yield OursKernel(self._gateway, kernel)
