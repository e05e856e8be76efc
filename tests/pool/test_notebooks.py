"""Notebooks on a pool: each run has a lease, on kernels that are what the pool says."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from tools.notebook_tools import notebook_of, texts_of
from trio_gateway import InvalidInputError, notebooks

from .pool_kit import open_ground


async def test_each_notebook_has_a_lease(autojump_clock: MockClock) -> None:
    jobs = [notebooks.NotebookJob(notebook_of("print(x)"), name=str(number)) for number in range(5)]
    async with open_ground(size=2, init="x = 7") as ground:
        async with notebooks.run_many(ground.pool, jobs, limit=4) as runs:
            results = [run async for run in runs]
        assert {run.name for run in results} == set("01234")
        assert [texts_of(run.notebook["cells"][0]) for run in results] == [["7\n"]] * 5
        assert ground.pool.statistics().hand_out.count == 5
        run = await notebooks.run(ground.pool, notebook_of("print(x)"))
        assert run.status == "ok"
        async with notebooks.open_run(ground.pool, notebook_of("1 / 0")) as opened:
            async for _ in opened:
                pass
        assert opened.result.status == "error"


async def test_parameters_are_written_in_the_language_of_the_pool_s_kernels(autojump_clock: MockClock) -> None:
    async with open_ground() as ground:
        run = await notebooks.run(ground.pool, notebook_of("print(y)"), parameters={"y": [1, None]})
        assert texts_of(run.notebook["cells"][1]) == ["[1, None]\n"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("resume", True), ("keep_kernel", "on_error"), ("kernel_name", "python3"), ("env", {"A": "b"}), ("cwd", "/")],
)
async def test_what_a_pool_has_settled_can_t_be_asked_for(autojump_clock: MockClock, field: str, value: Any) -> None:
    """G10"""
    async with open_ground() as ground:
        with pytest.raises(InvalidInputError) as caught:
            await notebooks.run(ground.pool, notebook_of("1"), **{field: value})
        assert caught.value.field == field
