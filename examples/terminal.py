"""The kernels of a gateway, live, in a terminal: `python examples/terminal.py`, with JUPYTER_GATEWAY_URL set; it needs textual.

Textual runs on asyncio: the library's face for it is `trio_gateway.anyio`. s starts a kernel, r runs code in the marked one,
i interrupts it, k shuts it down, q quits, which shuts down what was started here.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable, Footer, Header

import trio_gateway.anyio as trio_gateway

CODE = "import time\nfor second in range(3600): time.sleep(1)"


class Kernels(App[None]):
    """A table of kernels, which follows what each tells of itself."""

    TITLE = "Kernels"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("s", "begin", "Start"),
        ("r", "run", "Run"),
        ("i", "interrupt", "Interrupt"),
        ("k", "end", "Shut down"),
        ("q", "quit", "Quit"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.kernels: dict[str, trio_gateway.Kernel] = {}
        self.tasks: dict[str, asyncio.Task[object]] = {}
        self.gateway: trio_gateway.Gateway | None = None
        self.ending = asyncio.Event()

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield Header()
        yield DataTable(cursor_type="row")
        yield Footer()

    async def on_mount(self) -> None:
        """Open the gateway, in a task of its own: its block is left where it was entered."""
        self.query_one(DataTable).add_columns(("Kernel", "id"), ("Spec", "spec"), ("State", "state"))
        self.block = asyncio.create_task(self.hold_gateway())

    async def hold_gateway(self) -> None:
        """Hold the gateway's block open until the end."""
        async with trio_gateway.open_gateway() as gateway:
            self.gateway = gateway
            self.sub_title = "ready"
            await self.ending.wait()
            for task in self.tasks.values():
                task.cancel()
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    async def hold_kernel(self) -> None:
        """Hold one kernel's block open, and show its states."""
        assert self.gateway is not None
        table = self.query_one(DataTable)
        async with self.gateway.start_kernel() as kernel:
            self.kernels[kernel.id] = kernel
            task = asyncio.current_task()
            assert task is not None
            self.tasks[kernel.id] = task
            table.add_row(kernel.id[:8], kernel.name, kernel.state.value, key=kernel.id)
            try:
                async for status in kernel.changes():
                    table.update_cell(kernel.id, "state", status.kernel.value, update_width=True)
            finally:
                del self.kernels[kernel.id], self.tasks[kernel.id]
                table.remove_row(kernel.id)

    def marked(self) -> trio_gateway.Kernel | None:
        """Return the kernel under the cursor."""
        table = self.query_one(DataTable)
        if not table.row_count:
            return None
        return self.kernels.get(str(table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value))

    def action_begin(self) -> None:
        """Start a kernel."""
        if self.gateway is not None:
            self.run_worker(self.hold_kernel())

    def action_run(self) -> None:
        """Run code in the marked kernel."""
        if (kernel := self.marked()) is not None:
            self.run_worker(self.run_code(kernel))

    async def run_code(self, kernel: trio_gateway.Kernel) -> None:
        """Run it; that it is interrupted is no error here."""
        with contextlib.suppress(trio_gateway.GatewayError):
            await kernel.execute(CODE)

    async def action_interrupt(self) -> None:
        """Interrupt the marked kernel."""
        if (kernel := self.marked()) is not None:
            await kernel.interrupt()

    def action_end(self) -> None:
        """Shut the marked kernel down: leave its block."""
        if (kernel := self.marked()) is not None:
            self.tasks[kernel.id].cancel()

    async def action_quit(self) -> None:
        """Leave all blocks, then the application."""
        self.ending.set()
        await self.block
        self.exit()


if __name__ == "__main__":
    Kernels().run()
