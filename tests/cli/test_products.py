"""What is written beside a notebook that has run."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import trio

from tools.notebook_tools import FakeKernel, write_notebook
from trio_gateway import DisplayData, Error, Stream

from .in_process import *  # noqa: F403 - its fixtures
from .in_process import Install, run

PNG = base64.b64encode(b"\x89PNG").decode()
SCRIPTS: dict[str, list[Any]] = {
    "a": [Stream("stdout", "<shown>"), DisplayData({"image/png": PNG})],
    "b": [DisplayData({"image/png": "none!"})],
    "boom": [Error("E", "v")],
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    write_notebook(tmp_path / "n.ipynb", "a", "boom", "a")
    write_notebook(tmp_path / "x" / "m.ipynb", "a")


def test_a_notebook_that_failed_has_its_page_and_its_images_too(fake_gateway: Install) -> None:
    fake_gateway(FakeKernel(SCRIPTS))
    assert run("run", "n.ipynb", "-q", "--html", "n.html", "--images", "img", "--report", "r.html") == 1
    assert "&lt;shown&gt;" in Path("n.html").read_text()
    assert {path.name: path.read_bytes() for path in Path("img").iterdir()} == {"n-cell1-1.png": b"\x89PNG"}
    page = Path("r.html").read_text()
    assert 'href="n.html"' in page
    assert "raised E: v" in page


def test_several_have_theirs_in_folders_of_their_names(fake_gateway: Install) -> None:
    fake_gateway(FakeKernel(SCRIPTS))
    options = ["--html", "web/", "--images", "img", "--report", "r.json"]
    assert run("run", "n.ipynb", "x/m.ipynb", "-q", "--allow-errors", *options) == 0
    assert {path.as_posix() for path in Path("web").rglob("*.html")} == {"web/n.html", "web/x/m.html"}
    assert {path.as_posix() for path in Path("img").rglob("*.png")} == {
        "img/n-cell1-1.png",
        "img/n-cell3-1.png",
        "img/x/m-cell1-1.png",
    }
    assert [each["page"] for each in json.loads(Path("r.json").read_text())["runs"]] == ["web/n.html", "web/x/m.html"]


def test_what_can_not_be_written_costs_the_exit_code_and_no_notebook(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kernel = FakeKernel({**SCRIPTS, "gone": [_take_away]})
    fake_gateway(kernel)
    write_notebook(tmp_path / "n.ipynb", "a", "gone")
    options = ["--html", "web/", "--report", "rep/r.xml", "--report", "rep/r.json", "-o", "out.ipynb"]
    for folder in ("rep", "web"):
        Path(folder).mkdir()
    assert run("run", "n.ipynb", "-q", *options) == 2
    err = capfd.readouterr().err
    for words in ("--html: ", "--report: 'rep/r.xml'", "--report: 'rep/r.json'"):
        assert words in err
    assert json.loads(Path("out.ipynb").read_text())["cells"][0]["outputs"]


async def _take_away() -> None:
    for folder in ("rep", "web"):
        await trio.Path(folder).rmdir()


def test_a_notebook_that_nbconvert_makes_no_page_of_costs_no_other_its_page(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def page_of(notebook: Any, title: str) -> str:
        if title == "n":
            raise RuntimeError("odd")
        return "page"

    monkeypatch.setattr("trio_gateway._cli.products.page_of", page_of)
    fake_gateway(FakeKernel(SCRIPTS))
    assert (
        run("run", "n.ipynb", "x/m.ipynb", "-q", "--allow-errors", "--html", "web/", "--images", "img", "--report", "r.json") == 2
    )
    assert "error: n.ipynb: no page could be made of it (RuntimeError: odd)" in capfd.readouterr().err
    assert [path.name for path in Path("web").rglob("*.html")] == ["m.html"]
    assert len([*Path("img").rglob("*.png")]) == 3
    assert [each["page"] for each in json.loads(Path("r.json").read_text())["runs"]] == [None, "web/x/m.html"]


def test_an_image_that_is_none_is_named_and_the_others_are_written(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_gateway(FakeKernel(SCRIPTS))
    write_notebook(tmp_path / "n.ipynb", "b", "a")
    assert run("run", "n.ipynb", "-q", "--images", "img") == 2
    assert "warning: n.ipynb: n-cell1-1.png: " in capfd.readouterr().err
    assert [path.name for path in Path("img").iterdir()] == ["n-cell2-1.png"]


def test_what_comes_of_a_private_notebook_is_private(fake_gateway: Install) -> None:
    fake_gateway(FakeKernel(SCRIPTS))
    Path("n.ipynb").chmod(0o600)
    before = os.umask(0o022)
    try:
        options = ["--html", "{stem}.html", "--images", "img", "--report", "r.xml", "-o", "{stem}-out.ipynb"]
        run("run", "x/m.ipynb", "n.ipynb", "-q", *options)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in Path().rglob("*") if path.is_file()}
    for name in ("n.html", "n-cell1-1.png", "n-out.ipynb", "r.xml"):
        assert modes[name] == 0o600, name
    for name in ("m.html", "m-cell1-1.png", "m-out.ipynb"):
        assert modes[name] == 0o644, name


def test_a_notebook_may_go_to_standard_output(fake_gateway: Install, capfd: pytest.CaptureFixture[str]) -> None:
    fake_gateway(FakeKernel(SCRIPTS))
    assert run("run", "n.ipynb", "-o", "-") == 1
    out, err = capfd.readouterr()
    assert [len(cell["outputs"]) for cell in json.loads(out)["cells"]] == [2, 1, 0]
    assert "Ran 2 of 3 cells" in err
    assert "Saved" not in err
