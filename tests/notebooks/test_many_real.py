"""Forty notebooks on one real gateway: none lost, none run twice, nothing left; also with connections cut, and cancelled."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import nbformat
import pytest
import trio

import trio_gateway
from tools.fault_tools import channels_of
from tools.gateway_tools import QUICK
from tools.notebook_tools import texts_of, write_notebook
from tools.os_view import nothing_left_behind
from tools.tcp_proxy import TcpProxy, open_tcp_proxy
from trio_gateway import notebooks

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.full, pytest.mark.gateway]

JOBS, FEWER, CELLS, LIMIT = 40, 20, 10, 8
"""Cancelled in the middle, twenty are what forty are: some have ended, so many run as may, and others wait."""


@attrs.define
class Farm:
    """The notebooks, and what their cells note of themselves."""

    folder: Path
    real_gateway: RunningGateway
    before: int = 0
    """How many kernels the gateway had before."""
    most: int = 0
    """How many more it had at most."""

    @property
    def ledger(self) -> Path:
        """The file in which each cell writes a line when it runs."""
        return self.folder / "ledger"

    def jobs(self, number: int) -> Iterator[notebooks.NotebookJob]:
        """Write so many notebooks."""
        for job in range(number):
            cells = [
                "import time\n"
                f"with open({str(self.ledger)!r}, 'a') as ledger: print('{job}.{cell}', file=ledger)\n"
                f"for number in range(20): print('{job}.{cell}', flush=True), time.sleep(0.01)"
                for cell in range(CELLS)
            ]
            path = write_notebook(self.folder / f"in {job}.ipynb", *cells)
            yield notebooks.NotebookJob(path, self.folder / f"out {job}.ipynb", name=str(job))

    def ran(self) -> Counter[str]:
        """How often each cell has run."""
        return Counter(self.ledger.read_text().split())

    async def look(self, job: notebooks.NotebookJob, event: notebooks.RunEvent) -> None:
        """Ask the gateway how many kernels there are when one has come to be, and when one is gone: an on_event."""
        if isinstance(event, (notebooks.RunStarted, notebooks.RunFinished)):
            async with self.other_way() as gateway:
                listed: list[trio_gateway.KernelModel] | None = None
                while listed is None:
                    with suppress(trio_gateway.GatewayHTTPError):  # Kernel Gateway answers 500 while it is starting a kernel
                        listed = await gateway.kernels.list()
            self.most = max(self.most, len(listed) - self.before)

    def other_way(self) -> AbstractAsyncContextManager[trio_gateway.Gateway]:
        """The gateway, behind no proxy."""
        return trio_gateway.open_gateway(self.real_gateway.url, auth_token=self.real_gateway.token)


@pytest.fixture
def farm(real_gateway: RunningGateway, tmp_path: Path) -> Farm:
    return Farm(tmp_path, real_gateway)


@asynccontextmanager
async def watched(farm: Farm) -> AsyncGenerator[None]:
    """See that neither a kernel nor a process nor a temporary file is left, as the gateway, the system and the folder say it."""
    processes = set(farm.real_gateway.kernel_processes())
    async with farm.other_way() as gateway:
        known = {model.id for model in await gateway.kernels.list()}
        farm.before = len(known)
        with nothing_left_behind():
            yield
        assert {model.id for model in await gateway.kernels.list()} == known
    assert set(farm.real_gateway.kernel_processes()) <= processes
    assert {path.suffix for path in farm.folder.iterdir()} <= {".ipynb", ""}
    for path in farm.folder.glob("*.ipynb"):
        nbformat.validate(nbformat.read(path, as_version=4))


def check_whole(run: notebooks.NotebookRun) -> None:
    """See that a run's result and file are what its cells have put out."""
    assert run.output is not None
    saved = json.loads(run.output.read_text())
    for document in (run.notebook, saved):
        assert [texts_of(cell) for cell in document["cells"]] == [[f"{run.name}.{cell}\n" * 20] for cell in range(CELLS)]
        assert [cell["execution_count"] for cell in document["cells"]] == list(range(1, CELLS + 1))


async def test_forty_notebooks_of_ten_cells(farm: Farm) -> None:
    """G1, G2, G4"""
    jobs = list(farm.jobs(JOBS))
    async with (
        watched(farm),
        farm.other_way() as gateway,
        notebooks.run_many(gateway, jobs, limit=LIMIT, on_event=farm.look) as runs,
    ):
        results = [run async for run in runs]
    assert farm.ran() == {f"{job}.{cell}": 1 for job in range(JOBS) for cell in range(CELLS)}
    assert Counter(run.status for run in results) == {"ok": JOBS}
    assert {run.job for run in results} == set(jobs)
    assert all(run.output_gaps == () for run in results)
    assert farm.most <= LIMIT
    for run in results:
        check_whole(run)


async def test_the_same_with_connections_cut_every_second(farm: Farm) -> None:
    """G1, G2, G4, G5: what an output lacks, its run says."""
    jobs = list(farm.jobs(JOBS))
    cuts = 0

    async def cut(proxy: TcpProxy) -> None:
        """Cut the kernels' connections in turn, and no request for a start, which fails its job when its answer is cut off."""
        nonlocal cuts
        while True:
            await trio.sleep(1)
            link = next((link for link in channels_of(proxy) if not link.ended.is_set()), None)
            if link is not None:
                link.reset()
                cuts += 1

    async with (
        watched(farm),
        open_tcp_proxy(farm.real_gateway.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=farm.real_gateway.token, **QUICK) as gateway,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(cut, proxy)
        async with notebooks.run_many(gateway, jobs, limit=LIMIT, on_event=farm.look) as runs:
            results = [run async for run in runs]
        nursery.cancel_scope.cancel()
    ran = farm.ran()
    assert max(ran.values()) == 1
    assert {run.job for run in results} == set(jobs)
    for run in results:
        if run.status == "ok":
            assert all(ran[f"{run.name}.{cell}"] == 1 for cell in range(CELLS))
            if not run.output_gaps:
                check_whole(run)
        else:  # a cut may take a request with it, or its reply: whether that cell has run is not known, so it is not sent again
            assert isinstance(run.failure, trio_gateway.ConnectionLostError)
            status = [cell.status for cell in run.cells]
            assert status == ["ok"] * status.index("pending") + ["pending"] * (CELLS - status.index("pending"))
    assert farm.most <= LIMIT
    assert cuts > 0
    assert any(run.status == "ok" for run in results)


async def test_the_same_cancelled_in_the_middle(farm: Farm) -> None:
    """G1, G2, G6"""
    ended = 0

    async def count(job: notebooks.NotebookJob, event: notebooks.RunEvent) -> None:
        nonlocal ended
        await farm.look(job, event)
        ended += isinstance(event, notebooks.CellFinished)
        if ended == FEWER * CELLS // 2:
            scope.cancel()

    seen: list[notebooks.NotebookRun] = []
    async with watched(farm), farm.other_way() as gateway:
        with trio.CancelScope() as scope:
            async with notebooks.run_many(gateway, list(farm.jobs(FEWER)), limit=LIMIT, on_event=count) as runs:
                async for run in runs:
                    seen.append(run)  # noqa: PERF401 - what came before the cancellation is kept
        assert scope.cancelled_caught
    ran = farm.ran()
    assert max(ran.values()) == 1
    assert FEWER * CELLS // 2 <= len(ran) < FEWER * CELLS
    for run in seen:
        check_whole(run)
    # What ran when it was cancelled is saved too, with what had come.
    begun = {name.partition(".")[0] for name in ran}
    assert {path.stem for path in farm.folder.glob("out *")} >= {f"out {name}" for name in begun}
