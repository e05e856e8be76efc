"""A run that stopped, resumed on a real kernel that was left; and what says whether it is still the same process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import trio_gateway
from tools.notebook_tools import texts_of, write_notebook
from trio_gateway import notebooks

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.full, pytest.mark.gateway]


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_run_goes_on_where_it_stopped_unless_the_kernel_was_restarted(
    real_gateway: RunningGateway, tmp_path: Path, is_restarted: bool
) -> None:
    """G2"""
    ledger = tmp_path / "ledger"
    note = f"with open({str(ledger)!r}, 'a') as ledger: print('ran', file=ledger)"
    path = write_notebook(tmp_path / "n.ipynb", f"{note}\na = 1", "a += 1\nprint(a)", "1 / 0", "print(a)")
    before = set(real_gateway.kernel_processes())
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
        failed = await notebooks.run(gateway, path, output=path, keep_kernel="on_error")
        assert (failed.status, failed.kernel_left) == ("error", True)
        if is_restarted:
            await gateway.kernels.restart(failed.kernel_id)
        path.write_text(path.read_text().replace("1 / 0", "a += 1"))
        well = await notebooks.run(gateway, path, output=path, resume=True)
        assert well.status == "ok"
        assert [texts_of(cell) for cell in well.notebook.cells] == [[], ["2\n"], [], ["3\n"]]
        if is_restarted:
            assert well.resumption == f"kernel {failed.kernel_id} was restarted since the last run; it runs on"
            await gateway.kernels.shutdown(failed.kernel_id)
        else:
            assert well.kernel_id == failed.kernel_id
    assert ledger.read_text() == "ran\n" * (2 if is_restarted else 1)
    assert set(real_gateway.kernel_processes()) <= before
