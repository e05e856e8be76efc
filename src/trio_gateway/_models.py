"""What a gateway tells about its kernels, kernelspecs and sessions, as values.

Only the shapes live here. How they are read from an answer, and what is wrong with one, is `_protocol/rest.py`'s business.
Fields that this library does not know are kept in `extra`: servers evolve.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

import attrs

__all__ = ["KernelModel", "KernelSpec", "KernelSpecResource", "KernelSpecs", "SessionModel", "find_name", "find_started"]


def find_name(name: str, names: Iterable[str]) -> str | None:
    """Return which of these names of kernelspecs a gateway takes a name for: the same one, or the only one that differs in case.

    Jupyter's servers list kernelspecs in small letters and compare without case (jupyter_client, `KernelSpecManager`). Where a
    server tells two names of different case apart, only the very name is meant.

    Args:
        name: the name that was asked for.
        names: the names that there are.

    Returns:
        The name as the gateway spells it; None where it has none.
    """
    found = [one for one in names if one.lower() == name.lower()]
    if name in found:
        return name
    return found[0] if len(found) == 1 else None


def find_started(name: str, names: Collection[str]) -> str | None:
    """Return which of these names of kernelspecs is started under a name: as `find_name`, and `python3` for `python`.

    Jupyter's servers start the Python that they run on under either name (jupyter_client, `KernelManager.kernel_name`). Notebooks
    of years ago name `python`.
    """
    found = find_name(name, names)
    return find_name("python3", names) if found is None and name == "python" else found


@attrs.frozen(kw_only=True)
class KernelModel:
    """One kernel, as the gateway describes it."""

    id: str
    """The kernel's id."""
    name: str = ""
    """The name of its kernelspec; `""` where the server does not tell."""
    last_activity: datetime | None = None
    """When it last did something, with its time zone; None where the server does not tell or the time can't be read."""
    execution_state: str = "unknown"
    """`"starting"`, `"idle"`, `"busy"`, `"restarting"`, `"dead"` or `"unknown"`, and whatever else a server says."""
    connections: int | None = None
    """How many WebSockets are open to it; None where the server does not tell."""
    extra: Mapping[str, Any] = attrs.field(factory=dict)
    """What else the server said."""


@attrs.frozen(kw_only=True)
class KernelSpec:
    """One kind of kernel that the gateway can start."""

    name: str
    """The name to start it by."""
    display_name: str = ""
    """The name to show; the same as `name` where the server has none."""
    language: str = ""
    """The language it runs."""
    argv: tuple[str, ...] = ()
    """The command line that starts it, on the gateway's side."""
    env: Mapping[str, str] = attrs.field(factory=dict)
    """The variables that the kernelspec sets."""
    interrupt_mode: str = "signal"
    """How it is interrupted: `"signal"` or `"message"`."""
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    """The kernelspec's own metadata."""
    resources: Mapping[str, str] = attrs.field(factory=dict)
    """Its logos and scripts: what each is called, and its URL's path on the gateway."""
    extra: Mapping[str, Any] = attrs.field(factory=dict)
    """What else the server said."""


@attrs.frozen(kw_only=True)
class KernelSpecResource:
    """A file of a kernelspec, such as its logo."""

    content: bytes = attrs.field(repr=False)
    """The file."""
    media_type: str
    """What it is, such as `"image/png"`, without parameters."""
    etag: str | None = None
    """The gateway's name for this version of it; None where it has none."""


@attrs.frozen(kw_only=True)
class KernelSpecs:
    """All kinds of kernels that the gateway can start."""

    default: str | None = None
    """The kernelspec that is started when none is named; None where the server does not tell."""
    kernelspecs: Mapping[str, KernelSpec] = attrs.field(factory=dict)
    """The kernelspecs by name."""

    def find(self, name: str) -> KernelSpec | None:
        """Return the kernelspec of a name, compared without case as gateways do; None where there is none.

        Args:
            name: the name, such as `"python3"`.
        """
        found = find_name(name, self.kernelspecs)
        return None if found is None else self.kernelspecs[found]


@attrs.frozen(kw_only=True)
class SessionModel:
    """A name for a kernel: the notebook or console it belongs to."""

    id: str
    """The session's id."""
    path: str
    """The path of the notebook or file."""
    name: str
    """The name to show."""
    type: str
    """`"notebook"`, `"console"` or another word."""
    kernel: KernelModel
    """The kernel."""
