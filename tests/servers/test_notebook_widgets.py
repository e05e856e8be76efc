"""Widgets of a real kernel in a run: beside nbclient's documents, and what only we do with them.

That what is saved is what nbclient saves is in `test_notebooks_beside_nbclient`, for the notebooks `widgets_*` and `tqdmnb` of
`tests/notebooks/cases`. Here is the rest: closed widgets, open kernels, pages that hold the state, and large outputs.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import nbformat
import pytest
from nbconvert import HTMLExporter

from tools.notebook_tools import notebook_of, texts_of
from trio_gateway import Gateway, Kernel, notebooks
from trio_gateway._notebooks import widgets as module
from trio_gateway._notebooks.widgets import WIDGET_STATE, WIDGET_VIEW

pytestmark = pytest.mark.gateway

STATE_SCHEMA = {
    "type": "object",
    "required": ["version_major", "version_minor", "state"],
    "properties": {
        "version_major": {"const": 2},
        "version_minor": {"const": 0},
        "state": {
            "additionalProperties": {
                "type": "object",
                "required": ["model_name", "model_module", "state"],
                "properties": {
                    "model_name": {"type": "string"},
                    "model_module": {"type": "string"},
                    "model_module_version": {"type": "string"},
                    "state": {"type": "object"},
                    "buffers": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["path", "data", "encoding"],
                            "properties": {
                                "path": {"type": "array", "items": {"type": ["string", "number"]}},
                                "data": {"type": "string"},
                                "encoding": {"enum": ["hex", "base64"]},
                            },
                        },
                    },
                },
            }
        },
    },
}
"""What the schema of "jupyter-widgets" says of a saved state, version 2.0."""


def saved(notebook: Any) -> dict[str, Any]:
    """What a notebook holds of each model, and that a front end can read it."""
    value = json.loads(json.dumps(notebook.metadata.widgets[WIDGET_STATE]))
    jsonschema.validate(value, STATE_SCHEMA)
    return dict(value["state"])


def views(cell: Any) -> list[str]:
    return [output.data[WIDGET_VIEW]["model_id"] for output in cell.outputs if WIDGET_VIEW in output.get("data", {})]


def models_of(notebook: Any, name: str) -> list[Any]:
    return [model for model in saved(notebook).values() if model["model_name"] == name]


@pytest.mark.parametrize("echo", ["1", pytest.param("0", marks=pytest.mark.full)])
async def test_the_kernels_own_widget_knows_what_it_captured(gateway: Gateway, echo: str) -> None:
    """Whether or not the kernel sends back what it is told."""
    cells = (
        f"import os; os.environ['JUPYTER_WIDGETS_ECHO'] = {echo!r}",
        "import ipywidgets as w\nout = w.Output()\nwith out:\n    print('a')\n    print('b')\n    1/0",
        "print([output.get('text', output['output_type']) for output in out.outputs])\nout.append_stdout('told')",
        "with out:\n    print('c')\nprint(len(out.outputs))",
        "print(len(out.outputs))\nout.outputs = ()\nwith out:\n    print('d')",
        "print([output['text'] for output in out.outputs])",
    )
    result = await notebooks.run(gateway, notebook_of(*cells))
    assert result.status == "ok"
    assert [texts_of(cell) for cell in result.notebook.cells] == [
        [],
        [],
        ["['a\\nb\\n', 'error']\n"],
        ["3\n"],
        ["3\n"],
        ["['d\\n']\n"],
    ]
    (model,) = models_of(result.notebook, "OutputModel")
    assert texts_of(model["state"]) == ["d\n"]


@pytest.mark.full
async def test_bars_that_are_gone_are_in_no_file(gateway: Gateway) -> None:
    code = "from tqdm.notebook import tqdm\nfor i in tqdm(range(3)):\n    for j in tqdm(range(2), leave=False):\n        pass"
    result = await notebooks.run(gateway, notebook_of(code))
    (bar,) = models_of(result.notebook, "HBoxModel")
    stays, *gone = views(result.notebook.cells[0])
    assert saved(result.notebook)[stays] == bar
    assert gone == ["", "", ""]
    (percent, progress, pace) = [
        saved(result.notebook)[name.removeprefix("IPY_MODEL_")]["state"] for name in bar["state"]["children"]
    ]
    assert (percent["value"], progress["value"], progress["max"], progress["bar_style"]) == ("100%", 3.0, 3.0, "success")
    assert "3/3" in pace["value"]


async def test_a_page_of_the_file_holds_the_state(gateway: Gateway, tmp_path: Path) -> None:
    cells = ("import ipywidgets as w\nw.Image(value=b'\\x89PNG\\xff', format='png')", "w.IntSlider(value=7)")
    await notebooks.run(gateway, notebook_of(*cells), output=tmp_path / "out.ipynb")
    notebook = nbformat.read(tmp_path / "out.ipynb", 4)
    page, _ = HTMLExporter().from_notebook_node(notebook)
    (text,) = re.findall(rf'<script type="{re.escape(WIDGET_STATE)}">(.*?)</script>', page, re.DOTALL)
    assert json.loads(text)["state"] == saved(notebook)
    shown = re.findall(rf'<script type="{re.escape(WIDGET_VIEW)}">(.*?)</script>', page, re.DOTALL)
    assert [json.loads(each)["model_id"] for each in shown] == [views(cell)[0] for cell in notebook.cells]
    (image,) = models_of(notebook, "ImageModel")
    (buffer,) = image["buffers"]
    assert (buffer["path"], base64.b64decode(buffer["data"])) == (["value"], b"\x89PNG\xff")


async def test_two_runs_one_after_the_other_in_an_open_kernel(kernel: Kernel) -> None:
    """The widgets of the first live on: the second shows one of them, and prints into another."""
    cells = (
        "import ipywidgets as w\nslider = w.IntSlider(value=3, max=8)\nout = w.Output()\nunseen = w.Text('secret')",
        "with out:\n    print('first')\nslider",
    )
    first = await notebooks.run(kernel, notebook_of(*cells))
    assert len(saved(first.notebook)) == 8, "all that lives: three widgets, with a layout each, and two styles"
    assert "jupyter.widget" in str(await kernel.comm_info("jupyter.widget")), "and it lives on"
    code = "slider.value = 5\nwith out:\n    print('second')\nfrom IPython.display import display\ndisplay(slider, out)"
    second = await notebooks.run(kernel, notebook_of(code, "print(slider.comm is None, [o['text'] for o in out.outputs])"))
    assert texts_of(second.notebook.cells[1]) == ["False ['first\\nsecond\\n']\n"]
    slider, out = views(second.notebook.cells[0])
    assert slider == views(first.notebook.cells[1])[0]
    state = saved(second.notebook)
    assert (state[slider]["state"]["value"], state[slider]["state"]["max"]) == (5, 8)
    assert texts_of(state[out]["state"]) == ["first\nsecond\n"]
    assert sorted(model["model_name"] for model in state.values()) == [
        "IntSliderModel",
        "LayoutModel",
        "LayoutModel",
        "OutputModel",
        "SliderStyleModel",
    ], "what the second does not show is not its own"


@pytest.mark.full
async def test_what_is_captured_beyond_a_gateways_limit_is_in_the_file(gateway: Gateway) -> None:
    """A Kernel Gateway takes no message of more than 10 MiB, and hangs up."""
    cells = (
        "import ipywidgets as w\nout = w.Output()\nwith out:\n    for _ in range(12):\n        print('x' * 1024**2)",
        "print(len(out.outputs))",
    )
    result = await notebooks.run(gateway, notebook_of(*cells))
    (model,) = models_of(result.notebook, "OutputModel")
    assert len(texts_of(model["state"])[0]) == 12 * (1024**2 + 1) > module.UPDATE_LIMIT
    assert texts_of(result.notebook.cells[1]) == ["0\n"]
    assert result.output_gaps == ()


@pytest.mark.full
async def test_interact_shows_what_its_function_gave(gateway: Gateway) -> None:
    code = "from ipywidgets import interact\n@interact(x=5)\ndef f(x):\n    print(x)\n    return x * 2"
    result = await notebooks.run(gateway, notebook_of(code))
    (model,) = models_of(result.notebook, "OutputModel")
    assert texts_of(model["state"]) == ["5\n", "10"]
    assert [output.output_type for output in result.notebook.cells[0].outputs] == ["display_data"]
