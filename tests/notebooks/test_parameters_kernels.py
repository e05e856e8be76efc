"""Parameters in kernels that are not ipykernel: bash_kernel and xeus-python from PyPI, IRkernel from Debian, on a real gateway.

Of papermill's other languages there is no kernel that a package index has: their code is compared with papermill's, in
`test_languages` and `test_parameters`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

import trio_gateway
from conftest import run_gateway
from tools.browser import program
from trio_gateway import notebooks

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, pytest.mark.full]

OTHERS = os.environ.get("TRIO_GATEWAY_KERNELS_ENV")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A Kernel Gateway that knows R, and what `nox -s kernels` has installed."""
    folder = tmp_path_factory.mktemp("kernels")
    r = folder / "kernels" / "ir" / "kernel.json"
    r.parent.mkdir(parents=True)
    argv = ["R", "--no-echo", "-e", "IRkernel::main()", "--args", "{connection_file}"]
    r.write_text(json.dumps({"argv": argv, "display_name": "R", "language": "R"}), encoding="utf-8")
    paths = [str(folder), *([str(Path(OTHERS, "share", "jupyter"))] if OTHERS else [])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", os.pathsep.join(paths))
        with run_gateway() as gateway:
            yield gateway


def has_r() -> bool:
    rscript = program("Rscript", "r-cran-irkernel")
    return subprocess.run([rscript, "-e", "library(IRkernel)"], check=False, capture_output=True).returncode == 0


CASES: Mapping[str, tuple[dict[str, Any], str, list[str]]] = {
    "ir": (
        {"text": 'a "b" \\ tab\t', "flag": True, "n": [1, 2.5], "named": {"k": "v", "inner": [True, None]}, "nothing": None},
        "cat(text, flag, n[[1]] + n[[2]], named$k, named$inner[[1]], is.null(nothing), sep = '|')",
        ['a "b" \\ tab\t|TRUE|3.5|v|TRUE|TRUE'],
    ),
    "bash": (
        {"text": "a \"b\" 'c' $HOME `id` \\ ü", "n": [1, "two"], "flag": False},
        'printf "%s|%s|%s|%s" "$text" "${n[0]}" "${n[1]}" "$flag"',
        ["a \"b\" 'c' $HOME `id` \\ ü|1|two|false"],
    ),
    "xpython": (
        {"text": 'ü "q" \\', "n": [1, {"k": None}], "flag": True},
        "print(text, n, flag, sep='|')",
        ["ü \"q\" \\|[1, {'k': None}]|True"],
    ),
}


@pytest.mark.parametrize("kernel", CASES)
async def test_the_kernel_gets_the_values(kernel: str, gateway: RunningGateway, tmp_path: Path) -> None:
    """As the language has them. A run again replaces the cell, by a notebook that says the kernel's language."""
    if kernel == "ir" and not has_r():
        pytest.skip("IRkernel is not here: on Debian apt-get install r-cran-irkernel")
    if kernel != "ir" and not OTHERS:
        pytest.skip("these kernels need an environment of their own: run nox -s kernels")
    parameters, code, texts = CASES[kernel]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    output = tmp_path / "out.ipynb"
    async with trio_gateway.open_gateway(gateway.url, auth_token=gateway.token) as opened:
        for given in (notebook, output):
            result = await notebooks.run(opened, given, kernel_name=kernel, parameters=parameters, output=output)
            result.raise_for_error()
            injected, cell = result.notebook.cells
            assert injected.metadata.tags == ["injected-parameters"]
            assert ["".join(shown.get("text", "")).rstrip("\n") for shown in cell.outputs] == texts  # bash_kernel adds one
