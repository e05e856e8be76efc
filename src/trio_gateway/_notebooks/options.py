"""How a notebook is to be run: the options, which notebook they are for, and what is wrong with them. Pure.

The one idea: whatever can't be used is an error that names it, before any kernel is started (guarantee G10).
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, cast

import attrs

from .._errors import ConfigError, ConfigProblem, InvalidInputError
from .._kernel_resources import KernelResources
from .._protocol.code import Stdin
from .._secret import hide_values

__all__ = ["KeepKernel", "NotebookJob", "OnError", "RunOptions", "RunSettings", "as_path", "hidden_settings", "options_of"]

OnError: TypeAlias = Literal["stop", "continue"]
"""What becomes of a run whose cell has raised an error, or run out of its time."""


KeepKernel: TypeAlias = Literal["never", "on_error"]
"""What becomes of a kernel that a run has started, when the run has not ended well."""


class RunSettings(TypedDict, total=False):
    """The options of a run as type checkers and editors see them; what each means stands at `RunOptions`."""

    output: str | os.PathLike[str] | None
    parameters: Mapping[str, Any] | None
    kernel_name: str | None
    env: Mapping[str, str] | None
    resources: KernelResources | None
    cwd: str | os.PathLike[str] | None
    timeout: float | None
    cell_timeout: float | None
    on_error: OnError
    stdin: Stdin | None
    grace: float
    max_output_bytes: int | None
    record_timing: bool
    resume: bool
    keep_kernel: KeepKernel


def hidden_settings(settings: RunSettings) -> RunSettings:
    """Return options in which the environment's values hide themselves: a traceback's frames hold them all (G8)."""
    return {**settings, "env": hide_values(settings["env"])} if "env" in settings else settings


@attrs.frozen
class NotebookJob:
    """One notebook to run, where several are, and what is its own of the options."""

    notebook: Any
    """The notebook: a path, a file object, a node of nbformat or a dictionary, or what `read_notebook` gave."""
    output: str | os.PathLike[str] | None = None
    """Where to save it; None: where the options say."""
    parameters: Mapping[str, Any] | None = None
    """Values for its parameters, beside those of the options; what is in both has this value."""
    name: str | None = None
    """What to call it in events and results; None: its file's name."""
    cwd: str | os.PathLike[str] | None = None
    """The directory that its kernel works in; None: where the options say."""


def as_path(field: str, value: object) -> Path:
    """Return a path that was given as text or as a path.

    Raises:
        InvalidInputError: it is neither, or has no characters.
    """
    if isinstance(value, (str, os.PathLike)):
        path = os.fspath(cast("str | os.PathLike[str]", value))
        if isinstance(path, str) and path:
            return Path(path)
    raise InvalidInputError(field, value, "a path (str or os.PathLike)")


def _check_limit(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and (not _is_number(value) or not cast("float", value) > 0):
        raise InvalidInputError(attribute.name, value, "a number of seconds above 0, or None for no limit")


def _check_grace(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not _is_number(value) or not 0 <= cast("float", value) < math.inf:
        raise InvalidInputError(attribute.name, value, "a number of seconds, 0 for none")


def _check_bytes(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InvalidInputError(attribute.name, value, "a number of bytes, 1 or more, or None for no limit")


def _check_flag(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidInputError(attribute.name, value, "True or False")


def _check_text(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidInputError(attribute.name, value, "text (str), or None")


def _check_on_error(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in ("stop", "continue"):
        raise InvalidInputError(attribute.name, value, '"stop" or "continue"')


def _check_keep_kernel(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in ("never", "on_error"):
        raise InvalidInputError(attribute.name, value, '"never" or "on_error"')


def _check_stdin(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and value != "channel" and not callable(value):
        expected = 'a function of a prompt and of whether it is for a password, "channel", or None'
        raise InvalidInputError(attribute.name, value, expected)


def _check_mapping(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, Mapping):
        raise InvalidInputError(attribute.name, value, "a mapping of names to values, or None")


def _check_resources(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, KernelResources):
        raise InvalidInputError(attribute.name, value, "a KernelResources, or None")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _as_output(value: object) -> Path | None:
    return None if value is None else as_path("output", value)


def _as_cwd(value: object) -> Path | None:
    return None if value is None else as_path("cwd", value)


@attrs.frozen(kw_only=True)
class RunOptions:
    """How to run a notebook.

    Raises:
        InvalidInputError: an option has a value that can't be used.
    """

    output: Path | None = attrs.field(default=None, converter=_as_output)
    """Where to save the notebook as it runs; None: nowhere."""
    parameters: Mapping[str, Any] | None = attrs.field(default=None, validator=_check_mapping, repr=False)
    """Values for the notebook's parameters, by name; None or none: it keeps its own.

    A cell that is tagged `injected-parameters` sets them, right after the one that is tagged `parameters`, or as the first where
    none is; it is replaced where there is one already. papermill's translators write its code, for the languages that it knows.
    Values are what JSON has, nested as you like, and NaN and infinities where the language has them; a tuple is a list. A name
    or a value that the language has nothing for is an `InvalidInputError`. Names that the cell tagged `parameters` does not have
    are a warning of the logger `trio_gateway.notebooks`, where papermill can read that cell."""
    kernel_name: str | None = attrs.field(default=None, validator=_check_text)
    """The kernelspec of the kernel to start; None: the notebook's own, or else the gateway's default."""
    env: Mapping[str, str] | None = attrs.field(default=None, converter=hide_values, validator=_check_mapping, repr=False)
    """Variables for the environment of the kernel to start, as for `gateway.start_kernel`."""
    resources: KernelResources | None = attrs.field(default=None, validator=_check_resources)
    """What the kernel to start gets of a cluster, as for `gateway.start_kernel`."""
    cwd: Path | None = attrs.field(default=None, converter=_as_cwd)
    """The directory that the kernel to start works in, as for `gateway.start_kernel`."""
    timeout: float | None = attrs.field(default=None, validator=_check_limit)
    """The limit for all cells together, in seconds; None for none."""
    cell_timeout: float | None = attrs.field(default=None, validator=_check_limit)
    """The limit for each cell, in seconds; None for none."""
    on_error: OnError = attrs.field(default="stop", validator=_check_on_error)
    """Whether a cell that raises an error, or takes longer than `cell_timeout`, ends the run, or the next cell runs all the same.

    A cell that is tagged `raises-exception` may raise whatever this says."""
    stdin: Stdin | None = attrs.field(default=None, validator=_check_stdin)
    """What answers the code's requests for input, as for `kernel.execute`; None: asking is an error in the kernel."""
    grace: float = attrs.field(default=0.2, validator=_check_grace)
    """For how long nothing may come of the cells' background work before the run has ended, in seconds; 0: no waiting.

    That is waited for five times as long at most."""
    max_output_bytes: int | None = attrs.field(default=None, validator=_check_bytes)
    """How many bytes of outputs are kept of each cell; None: all. What is beyond is cut, and a gap of the kind `"overflow"`.

    What the cell shows counts, not what it has cleared or updated; the first error is kept in any case. Events still tell all."""
    record_timing: bool = attrs.field(default=True, validator=_check_flag)
    """Whether each cell's metadata say when it ran, as Jupyter records it, and as papermill does: `metadata.papermill` of the
    notebook and its cells has papermill's record of the run, with its parameters, times and each cell's status.

    Cells that papermill has put into the notebook to point to one that failed are then removed, as papermill removes them."""
    resume: bool = attrs.field(default=False, validator=_check_flag)
    """Whether to go on where the last run of this notebook stopped."""
    keep_kernel: KeepKernel = attrs.field(default="never", validator=_check_keep_kernel)
    """Whether a kernel that the run has started is left where the run does not end well, so that `resume` can go on there.

    It is never left by a run that ends well or is cancelled, nor where the kernel itself has ended. Nobody holds it then: end it
    with `gateway.kernels.shutdown(result.kernel_id)`, if no run goes on with it. A kernel that was open already stays in any
    case; there `"on_error"` only has the notebook say what `resume` needs to know."""


def options_of(settings: RunSettings, *, beside: Collection[str] = ()) -> RunOptions:
    """Return a run's options.

    Args:
        settings: what was given.
        beside: what else its caller takes, which may have been meant too.

    Raises:
        ConfigError: there are no options of such names; it tells all of them, and what may have been meant.
        InvalidInputError: an option has a value that can't be used.
    """
    known = [field.name for field in attrs.fields(RunOptions)]
    unknown = [name for name in settings if name not in known]
    if unknown:
        import difflib  # only for a typing error

        near = [difflib.get_close_matches(name, [*known, *beside], n=1) for name in unknown]
        raise ConfigError(
            [ConfigProblem(name, None, "".join(found), unknown=True) for name, found in zip(unknown, near, strict=True)]
        )
    return RunOptions(**settings)
