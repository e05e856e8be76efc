"""Values for a notebook's parameters, as the code of a cell of its own: what papermill does, with papermill's translators. Pure.

The one idea: a notebook is given its parameters by a cell that sets them, right behind the cell that has their defaults. A value
or a name that the notebook's language has nothing for is an error before anything runs, and not the text that Python prints for
it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final

import attrs
import nbformat

from .._errors import InvalidInputError, missing_extra
from .languages import Language, Place, as_json_value, language_of

__all__ = ["DEFAULTS_TAG", "INJECTED_TAG", "Injected", "inject"]

_from_dict: Any = nbformat.from_dict  # without annotations

DEFAULTS_TAG: Final = "parameters"
"""The tag of the cell that sets parameters to their defaults."""
INJECTED_TAG: Final = "injected-parameters"
"""The tag of the cell that sets them to what was given."""

_WITH_IDS: Final = 5  # the minor version of format 4 whose cells have ids
_SHOWN: Final = 10  # how many names a warning has
_ALONE: Final = f"{__package__}._papermill"


@attrs.frozen
class Injected:
    """What giving a notebook its parameters has done."""

    parameters: dict[str, Any]
    """The parameters as JSON has them."""
    warnings: tuple[str, ...] = ()
    """What may not be meant, each as a sentence without its beginning and end."""


def inject(notebook: Any, parameters: Mapping[str, object], *, kernel_name: str | None, language: str | None) -> Injected:
    """Give a notebook its parameters: put the cell that sets them into it, or set the one that is there anew.

    It comes right after the first cell that is tagged `parameters`, and before the first cell of all where none is. The first
    cell that is tagged `injected-parameters` is replaced, wherever it is.

    papermill's own translators write its code. They are imported by the first call; where the program has imported papermill
    itself, they are those that are registered there.

    Args:
        notebook: nbformat's node, of format 4; it is changed in place, unless an error is raised.
        parameters: the values by name. They may be what JSON has, and NaN and infinities where the language has them; a tuple is
            a list.
        kernel_name: the name of the kernelspec, which may decide the translator; None where it is not known.
        language: the language, as the kernel calls it; None where it is not known.

    Raises:
        InvalidInputError: papermill knows no such language, or a name or a value can't be expressed in it; the error names the
            parameter.
        ModuleNotFoundError: the extra `notebooks` is not installed.
    """
    values: dict[str, Any] = {}
    for name, value in parameters.items():
        if not isinstance(name, str):
            raise InvalidInputError("parameters", name, "names that are text (str)")
        values[str.__str__(name)] = as_json_value(value, Place("parameters", name))
    translators = _import_translators()
    translator = _find_translator(translators, kernel_name, language, list(values))
    known = language_of(translator)
    known.check_names(values)
    for name, value in values.items():
        known.check(value, Place("parameters", name))
    source = _translate(translator, known, values)
    warnings = _put(notebook, source)
    unknown = _unknown_names(translator, notebook, values)
    if unknown:
        warnings.append(f"the cell that is tagged {DEFAULTS_TAG!r} does not know {_listed(unknown)}")
    return Injected(values, tuple(warnings))


# papermill's translators ----------------------------------------------------------------------------------------------


def _import_translators() -> Any:
    """Import papermill's translators, and of papermill no more than they need: all of it is hundreds of modules."""
    registered = sys.modules.get("papermill.translators")
    if registered is not None:
        return registered
    try:
        found = importlib.util.find_spec("papermill")
        if found is None or found.submodule_search_locations is None:
            raise ModuleNotFoundError("No module named 'papermill'", name="papermill")
    except ModuleNotFoundError as error:
        raise missing_extra(error, "a notebook with parameters", "notebooks") from None
    if _ALONE not in sys.modules:
        package = ModuleType(_ALONE)
        package.__path__ = list(found.submodule_search_locations)
        sys.modules[_ALONE] = package
    translators: Any = importlib.import_module(f"{_ALONE}.translators")
    translators.logger.disabled = True  # what it can't read of a cell, nothing here depends on
    return translators


def _find_translator(translators: Any, kernel_name: str | None, language: str | None, names: list[str]) -> Any:
    try:
        return translators.papermill_translators.find_translator(kernel_name, language)
    except translators.PapermillException:
        pass
    if language is None:
        expected = "none for a notebook whose language is not known: kernel_name, or the notebook's kernelspec, decides it"
    else:
        expected = f"none for a notebook in {language!r:.100}, which papermill has no translator to"
    raise InvalidInputError("parameters", names, expected)


def _translate(translator: Any, language: Language, values: Mapping[str, Any]) -> str:
    try:
        return str(translator.codify(values))
    except Exception as error:  # noqa: BLE001 - a translator is anybody's code
        problem = error
    for name, value in values.items():
        try:
            translator.codify({name: value})
        except Exception as error:
            expected = f"what papermill can write for {language.name} ({type(error).__name__}: {error})"
            raise InvalidInputError(str(Place("parameters", name)), value, expected) from error
    expected = f"what papermill can write for {language.name} ({type(problem).__name__}: {problem})"
    raise InvalidInputError("parameters", list(values), expected) from problem


# The notebook's cells -------------------------------------------------------------------------------------------------


def _put(notebook: Any, source: str) -> list[str]:
    """Put the cell with this source where it belongs, and return what may not be meant."""
    cell = _from_dict(
        {"cell_type": "code", "execution_count": None, "metadata": {"tags": [INJECTED_TAG]}, "outputs": [], "source": source}
    )
    before = _first_tagged(notebook, INJECTED_TAG)
    if before is not None:
        if "id" in notebook.cells[before]:
            cell["id"] = notebook.cells[before]["id"]
        notebook.cells[before] = cell
        return []
    if (notebook.nbformat, notebook.nbformat_minor) >= (4, _WITH_IDS):
        cell["id"] = _new_id({other.get("id") for other in notebook.cells})
    defaults = _first_tagged(notebook, DEFAULTS_TAG)
    notebook.cells.insert(0 if defaults is None else defaults + 1, cell)
    return [f"no cell is tagged {DEFAULTS_TAG!r}, so the first cell sets the parameters"] if defaults is None else []


def _first_tagged(notebook: Any, tag: str) -> int | None:
    return next((index for index, cell in enumerate(notebook.cells) if _has_tag(cell, tag)), None)


def _has_tag(cell: Any, tag: str) -> bool:
    tags = cell.metadata.get("tags")
    return isinstance(tags, list) and tag in tags


def _new_id(taken: set[object]) -> str:
    """Return an id that no cell has: the same one whenever the same notebook gets parameters."""
    text = INJECTED_TAG
    while True:
        text = hashlib.sha256(text.encode()).hexdigest()
        if text[:8] not in taken:
            return text[:8]


def _unknown_names(translator: Any, notebook: Any, names: Mapping[str, object]) -> list[str]:
    """Return which names the cell with the defaults does not have, as far as papermill can read it."""
    index = _first_tagged(notebook, DEFAULTS_TAG)
    if index is None:
        return []
    cell = notebook.cells[index]
    try:
        known = {parameter.name for parameter in translator.inspect(cell)}
    except Exception:  # noqa: BLE001 - most of papermill's translators read nothing; others are anybody's code
        return []
    # papermill reads one assignment a line. What stands there in another way may be set too.
    return [name for name in names if name not in known and re.search(rf"\b{re.escape(name)}\b", cell.source) is None]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return f"{', '.join(names[:_SHOWN])}{f' and {more} more' if more > 0 else ''}"
