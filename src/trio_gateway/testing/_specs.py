"""Kernelspecs of the fake: what kind of kernel, and what runs its code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from .._protocol.messages import Message
from ._cell import Script
from ._comm import FakeComm
from ._engines import Engine, ScriptEngine
from ._python import TinyPython

__all__ = ["FakeKernelSpec"]


@attrs.frozen(kw_only=True)
class FakeKernelSpec:
    """One kind of kernel of a fake gateway."""

    name: str
    """The name to start it by."""
    script: Script | None = None
    """What runs its code; None for a tiny Python."""
    display_name: str = ""
    """The name to show."""
    language: str = "python"
    """Its language."""
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    """The kernelspec's own metadata."""
    resources: Mapping[str, bytes] = attrs.field(factory=dict)
    """Its files, by name, such as `logo-64x64.png`."""
    comm_targets: Mapping[str, Callable[[FakeComm, Message], object]] = attrs.field(factory=dict)
    """What opens the comms that a client opens, by target name."""
    subshells: bool = True
    """Whether it offers subshells, where code runs beside other code (JEP 91)."""
    debugger: Callable[[str, Mapping[str, Any]], Mapping[str, Any] | None] | None = None
    """Answers what is asked of its debugger: from a command and its arguments to the response's body, or None if it can't. Then
    the fake answers `debugInfo`, `initialize`, `attach`, which an event `initialized` follows, and `disconnect` by itself."""
    interrupt_mode: Literal["signal", "message"] = "signal"
    """How clients interrupt it: by the gateway's signal, or by a message on control."""
    stop_on_error_timeout: float = 0.0
    """How long after a failure it skips what it is asked to execute, in seconds: ipykernel's setting of this name."""
    answers_beside: bool = False
    """Whether it answers `kernel_info_request` beside code that runs, as xeus-python and async-kernel do."""
    control_at_work: bool = True
    """Whether it answers on its control channel while code runs, as ipykernel does; else it does one thing after the other."""
    startup_seconds: float = 0.0
    """How long its process takes until it answers, in seconds."""

    def make_engine(self, environ: Mapping[str, str], pid: int) -> Engine:
        """Make what runs the code of one process."""
        return TinyPython(environ=environ, pid=pid) if self.script is None else ScriptEngine(self.script)

    def model(self) -> dict[str, Any]:
        """Return it as a gateway shows it."""
        return {
            "name": self.name,
            "spec": {
                "argv": ["fake", "-f", "{connection_file}"],
                "env": {},
                "display_name": self.display_name or self.name,
                "language": self.language,
                "interrupt_mode": self.interrupt_mode,
                "metadata": dict(self.metadata),
            },
            "resources": {file.partition(".")[0]: f"/kernelspecs/{self.name}/{file}" for file in self.resources},
        }
