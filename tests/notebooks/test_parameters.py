"""A notebook's parameters: the cell that sets them, beside papermill's own."""

from __future__ import annotations

import copy
import logging
import math
import subprocess
import sys
from typing import Any

import nbformat
import papermill
import pytest
from papermill import iorw, parameterize, translators

from trio_gateway import InvalidInputError
from trio_gateway._notebooks import parameters as subject
from trio_gateway._notebooks.parameters import Injected, inject

DEFAULTS, INJECTED = ["parameters"], ["injected-parameters"]


def notebook_of(*cells: tuple[str, list[str]], language: str = "python", kernel: str = "python3", minor: int = 5) -> Any:
    """Return a valid notebook with these cells, each its source and its tags."""
    nodes = [nbformat.v4.new_code_cell(source, metadata={"tags": tags}, id=f"cell-{n}") for n, (source, tags) in enumerate(cells)]
    metadata = {"kernelspec": {"name": kernel, "display_name": kernel}, "language_info": {"name": language}}
    notebook = nbformat.v4.new_notebook(cells=nodes, metadata=metadata)
    notebook.nbformat_minor = minor
    if minor < 5:
        for node in notebook.cells:
            del node["id"]
    nbformat.validate(notebook)
    return notebook


def given(notebook: Any, **parameters: object) -> Injected:
    """Give the notebook parameters, in its own language."""
    metadata = notebook.metadata
    done = inject(notebook, parameters, kernel_name=metadata.kernelspec.name, language=metadata.language_info.name)
    nbformat.validate(notebook)
    return done


def injected(notebook: Any) -> Any:
    (cell,) = [cell for cell in notebook.cells if "injected-parameters" in cell.metadata.tags]
    return cell


def sources(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook.cells]


# ------------------------------------------------------------------------------------------------------- as papermill does

PLAIN: dict[str, Any] = {
    "a": 1,
    "b": -2.5,
    "c": 'it\'s "text"\\ &c.',
    "d": True,
    "e": False,
    "f": 1e-7,
    "g": 2**31,
    "h": -(2**40),
}
NOTHING = {"nothing": None}
LISTS = {"l": ["x", "y z"], "m": []}
NESTED = {"n": {"p": [1, 2], "q": {"r": "s"}}, "o": [[1], [2, 3]]}
NUMBERS = {"nan": math.nan, "inf": math.inf, "minus": -math.inf}
EVERYTHING = {**PLAIN, **NOTHING, **LISTS, **NESTED}
VALUES: dict[str, dict[str, Any]] = {
    "python": {**EVERYTHING, **NUMBERS, "ü": "ü\n\t\0λ😀"},
    "R": {**EVERYTHING, "_u": "λ😀"},
    "scala": {**EVERYTHING, "u": "λ"},
    "julia": {**EVERYTHING, "u": "λ😀"},
    "matlab": {**EVERYTHING, **NUMBERS, "c": 'it\'s "text" &c.'},
    ".net-csharp": {**PLAIN, **NESTED, "l": ["x", "y z"], "u": "é λ😀"},
    ".net-fsharp": {**EVERYTHING, "nan": math.nan, "u": "éλ😀"},
    ".net-powershell": {**EVERYTHING, **NUMBERS, "c": 'it\'s "text" &c.'},
    "pysparkkernel": {**EVERYTHING, **NUMBERS},
    "sparkkernel": EVERYTHING,
    "sparkrkernel": EVERYTHING,
    "bash": {**PLAIN, **NOTHING, **LISTS, "u": "éλ😀$HOME `id`"},
}
"""For each of papermill's translators, values that it can express."""

BEFORE: dict[str, list[tuple[str, list[str]]]] = {
    "defaults": [("first", []), ("a = 1", DEFAULTS), ("last", [])],
    "nothing": [("first", []), ("last", [])],
    "no cell": [],
    "injected before": [("first", []), ("a = 1", DEFAULTS), ("# old", INJECTED), ("last", [])],
    "injected elsewhere": [("# old", INJECTED), ("a = 1", DEFAULTS), ("# older", INJECTED)],
    "defaults twice": [("a = 1", DEFAULTS), ("a = 2", ["other", "parameters"]), ("last", [])],
}


def papermills(notebook: Any, parameters: dict[str, Any]) -> Any:
    """Return the notebook as papermill gives it its parameters."""
    notebook = iorw.load_notebook_node(nbformat.from_dict(notebook))
    return parameterize.parameterize_notebook(notebook, parameters)


def comparable(notebook: Any) -> list[dict[str, Any]]:
    """Return the cells without what papermill draws at random, and without its places for metadata."""
    cells = copy.deepcopy(notebook.cells)
    for cell in cells:
        if "injected-parameters" in cell.metadata.tags:
            cell.pop("id", None)
        cell.metadata.pop("papermill", None)
    return [dict(cell) for cell in cells]


def test_each_of_papermills_translators_is_compared() -> None:
    assert set(VALUES) == set(translators.papermill_translators._translators)


@pytest.mark.parametrize("name", VALUES)
def test_the_cell_is_papermills_byte_for_byte(name: str) -> None:
    """Named by the kernel as well as by the language."""
    for kernel, language in ((name, "unheard of"), ("unheard of", name)):
        notebook = notebook_of(*BEFORE["defaults"], kernel=kernel, language=language)
        theirs = papermills(notebook, VALUES[name])
        done = given(notebook, **VALUES[name])
        assert injected(notebook).source == injected(theirs).source
        assert comparable(notebook) == comparable(theirs)
        assert repr(done.parameters) == repr(theirs.metadata.papermill.parameters)


@pytest.mark.parametrize("minor", [4, 5])
@pytest.mark.parametrize("before", BEFORE)
def test_the_cell_stands_where_papermill_puts_it(before: str, minor: int) -> None:
    notebook = notebook_of(*BEFORE[before], minor=minor)
    theirs = papermills(notebook, {"a": 3})
    given(notebook, a=3)
    if minor == 4:  # papermill makes it one of format 4.5
        assert not any("id" in cell for cell in notebook.cells)
        for cell in theirs.cells:
            cell.pop("id", None)
    assert comparable(notebook) == comparable(theirs)
    assert "# Parameters\na = 3\n" in sources(notebook)


def test_a_tuple_is_a_list_and_not_papermills_text() -> None:
    notebook = notebook_of()
    assert given(notebook, a=(1, 2)).parameters == {"a": [1, 2]}
    assert notebook.cells[0].source == "# Parameters\na = [1, 2]\n"
    assert papermills(notebook_of(), {"a": (1, 2)}).cells[0].source == '# Parameters\na = "(1, 2)"\n'


# ------------------------------------------------------------------------------------------------------ run again, ids


def test_a_notebook_that_has_run_gets_other_parameters_in_the_same_cell() -> None:
    notebook = notebook_of(*BEFORE["defaults"])
    given(notebook, a=1)
    before = copy.deepcopy(injected(notebook))
    given(notebook, a=2)
    assert sources(notebook) == ["first", "a = 1", "# Parameters\na = 2\n", "last"]
    assert injected(notebook).id == before.id
    again = notebook_of(*BEFORE["defaults"])
    given(again, a=1)
    assert injected(again).id == before.id, "the same notebook with the same parameters is the same"


def test_the_cells_id_is_no_other_cells() -> None:
    notebook = notebook_of()
    given(notebook, a=1)
    notebook.cells[0].metadata.tags = []
    given(notebook, a=2)
    assert len({cell.id for cell in notebook.cells}) == 2


def test_what_is_in_no_cells_tags_is_no_trouble() -> None:
    notebook = notebook_of(("x", []), ("y", DEFAULTS))
    del notebook.cells[0].metadata["tags"]
    inject(notebook, {"y": 1}, kernel_name=None, language="python")
    assert sources(notebook)[2] == "# Parameters\ny = 1\n"


# ------------------------------------------------------------------------------------------------------------- warnings


def test_names_that_the_defaults_do_not_have_are_told() -> None:
    notebook = notebook_of(("alpha = 1\nbeta: int = 2  # type: int", DEFAULTS))
    assert given(notebook, alpha=1, beta=2).warnings == ()
    assert given(notebook, alhpa=1, beta=2, gamma=3).warnings == (
        "the cell that is tagged 'parameters' does not know alhpa, gamma",
    )
    (warning,) = given(notebook, **{f"p{number}": 0 for number in range(12)}).warnings
    assert warning.endswith("p8, p9 and 2 more")


def test_what_papermill_can_t_read_is_not_told_as_unknown(caplog: pytest.LogCaptureFixture) -> None:
    """It reads one assignment a line, and tells names as unknown that the cell sets in another way."""
    notebook = notebook_of(("a = b = 1\nc, d = 1, 2\nif True: e = 3\ncfg(f=1)", DEFAULTS))
    with caplog.at_level(logging.WARNING):
        assert given(notebook, a=1, b=1, c=1, d=1, e=1).warnings == ()
    assert [p.name for p in translators.PythonTranslator.inspect(notebook.cells[0])] == []


def test_of_languages_that_papermill_reads_nothing_of_no_name_is_unknown() -> None:
    assert given(notebook_of(("x = 1", DEFAULTS), language="R"), y=1).warnings == ()


def test_a_notebook_without_defaults_is_told_once() -> None:
    notebook = notebook_of(("x", []))
    assert given(notebook, a=1).warnings == ("no cell is tagged 'parameters', so the first cell sets the parameters",)
    assert given(notebook, a=2).warnings == ()


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("parameters", "field", "shown"),
    [
        ({"a-b": 1}, "parameters", "'a-b' can't be used; expected a name that a variable of Python can have"),
        ({"class": 1}, "parameters", "'class' can't be used; expected a name that Python does not keep for itself"),
        ({1: 1}, "parameters", "1 can't be used; expected names that are text (str)"),
        ({"a": object()}, "parameters['a']", "'object' can't be used"),
        ({"a": [{"b": {1}}]}, "parameters['a'][0]['b']", "'set' can't be used"),
    ],
)
def test_what_can_t_be_used_is_named_and_the_notebook_stays_as_it_is(parameters: dict[Any, Any], field: str, shown: str) -> None:
    notebook = notebook_of(*BEFORE["defaults"])
    before = copy.deepcopy(notebook)
    with pytest.raises(InvalidInputError) as caught:
        inject(notebook, {"good": 1, **parameters}, kernel_name="python3", language="python")
    assert str(caught.value).startswith(f"{field}: {shown}")
    assert notebook == before


def test_what_the_language_lacks_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"parameters\['a'\]: nan can't be used.*for R$"):
        given(notebook_of(language="R"), a=math.nan)
    with pytest.raises(InvalidInputError, match=r"'TRUE' can't be used.*R does not keep"):
        given(notebook_of(language="R"), TRUE=1)


def test_a_language_without_translator_is_named() -> None:
    with pytest.raises(InvalidInputError, match="none for a notebook in 'rust', which papermill has no translator to") as caught:
        given(notebook_of(language="rust"), a=1)
    assert (caught.value.field, caught.value.value) == ("parameters", ["a"])
    with pytest.raises(InvalidInputError, match="whose language is not known"):
        inject(notebook_of(), {"a": 1}, kernel_name=None, language=None)


class Broken(translators.Translator):
    """A translator of somebody else, that can't write some values."""

    @classmethod
    def comment(cls, cmt_str: str) -> str:
        return f"; {cmt_str}"

    @classmethod
    def translate_int(cls, val: int) -> str:
        if val == 13:
            raise KeyError("unlucky")
        return str(val)

    @classmethod
    def codify(cls, parameters: dict[str, Any], comment: str = "Parameters") -> str:
        if len(parameters) > 2:
            raise ValueError("too many")
        return str(super().codify(parameters, comment))


def test_translators_that_the_program_has_registered_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(translators.papermill_translators._translators, "broken", Broken)
    notebook = notebook_of(("x", DEFAULTS), language="broken")
    assert given(notebook, **{"my-name": 1}).warnings == ()
    assert notebook.cells[1].source == "; Parameters\nmy-name = 1\n"
    with pytest.raises(InvalidInputError, match=r"parameters\['b'\]: 13 .*KeyError: 'unlucky'"):
        given(notebook, a=1, b=13)
    with pytest.raises(InvalidInputError, match=r"parameters\['b'\]: \[\] .*list type translation not implemented"):
        given(notebook, a=1, b=[])
    with pytest.raises(InvalidInputError, match=r"parameters: \['a', 'b', 'c'\] .*too many"):
        given(notebook, a=1, b=2, c=3)


# ------------------------------------------------------------------------------------------------- what is imported, and when

ALONE = """
import sys, logging
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
import nbformat
from trio_gateway._notebooks.parameters import inject
before = set(sys.modules)
cell = nbformat.v4.new_code_cell("f(a=1, b=2)", metadata={"tags": ["parameters"]})
notebook = nbformat.v4.new_notebook(cells=[cell])
for _ in range(2):
    inject(notebook, {"a": float("nan")}, kernel_name="python3", language="python")
print(repr(notebook.cells[1].source))
print({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)
"""


def test_papermill_itself_is_not_imported_for_its_translators() -> None:
    """All of it would be hundreds of modules, and whatever its plug-ins bring."""
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=200, check=True)
    source, packages = done.stdout.splitlines()
    assert source == repr("# Parameters\na = float('nan')\n")
    assert packages == "{'trio_gateway'}"
    assert done.stderr == ""


def test_it_is_the_same_code_that_papermill_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert subject._import_translators() is translators
    monkeypatch.delitem(sys.modules, "papermill.translators")
    alone = subject._import_translators()
    assert alone is not translators
    assert alone.__file__ == translators.__file__
    assert papermill.__file__.startswith(str(alone.__file__).removesuffix("translators.py"))


@pytest.mark.parametrize("blocked", ["finder", "nothing", "a module"])
def test_a_missing_papermill_names_the_extra(monkeypatch: pytest.MonkeyPatch, blocked: str) -> None:
    def find_spec(name: str) -> object:
        assert name == "papermill"
        if blocked == "finder":
            raise ModuleNotFoundError("No module named 'papermill'", name="papermill")
        return None if blocked == "nothing" else subject.importlib.util.spec_from_loader("papermill", None)

    monkeypatch.delitem(sys.modules, "papermill.translators")
    monkeypatch.setattr(subject.importlib.util, "find_spec", find_spec)
    with pytest.raises(ModuleNotFoundError, match=r"a notebook with parameters needs the extra 'notebooks': pip install"):
        given(notebook_of(), a=1)
