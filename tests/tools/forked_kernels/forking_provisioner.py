"""Kernels of the tests' own gateway: real ipykernels, forked from a process that has already imported ipykernel.

Most of a kernel's processor time goes into its imports, and into taking them apart when it ends: 0.6 of 0.7 s where nothing is
asked of it, on a busy machine. A fork does without both.
What comes of it is the same kernel: a child of the gateway that leads a session of its own, with the command line, the
environment, the working directory and the arguments that it was given. The gateway waits for it and signals it as for any other.

What differs: all kernels of one gateway hash strings alike, as with one PYTHONHASHSEED, and modules that ipykernel would import
only later are there from the beginning. When a kernel has ended, and its threads, and what it has registered with `atexit`, its
process ends at once: ipykernel has let go of the user's names by then. Whatever the template cannot stand for is started in the
ordinary way: other kernels, options of the interpreter, other variables that Python or its libraries read when imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

from jupyter_client.provisioning import LocalProvisioner

TEMPLATE = str(Path(__file__).with_name("kernel_template.py"))
ROOM = "x" * 16384
"""Makes room in the template's environment for what a start adds, in bytes."""
READ_BY_IMPORTS = (
    "COVERAGE", "DEBUGPY", "HOME", "IPYTHON", "JUPYTER", "LANG", "LC_", "LD_", "MALLOC_", "PATH", "PYDEVD", "PYTHON",
    "TMPDIR", "TZ", "VIRTUAL_ENV", "XDG_", "ZMQ",
)  # fmt: skip
PR_SET_CHILD_SUBREAPER = 36
LAUNCHER = ["-m", "ipykernel_launcher", "-f"]
"""How ipykernel is started, between the interpreter and the connection file."""
STARTS = {"cwd", "env", "kernel_id", "extra_arguments"}


def block(strings: list[str]) -> bytes:
    """What the system keeps of a command line, or of an environment."""
    return b"".join(os.fsencode(string) + b"\0" for string in strings)


def read_by_imports(environment: dict[str, str]) -> dict[str, str]:
    """Those variables that decide what an interpreter is, and what its modules are once imported."""
    return {name: value for name, value in environment.items() if name.startswith(READ_BY_IMPORTS)}


class Forked(subprocess.Popen):  # type: ignore[type-arg]
    """A child that this process did not start by itself."""

    def __init__(self, pid: int, command: list[str]) -> None:
        self.args = command
        self.pid = pid
        self.returncode = None
        self.stdin = self.stdout = self.stderr = None
        self._child_created = True
        self._waitpid_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Forked {self.pid}>"


class Template:
    """The process that kernels are forked from. It ends when its socket is closed, so with this process at the latest.

    Args:
        command: how a kernel is started.
        environment: its variables.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._interpreter = command[0]
        self._decisive = read_by_imports(environment)
        self._environment = {**environment, "KERNEL_TEMPLATE_ROOM": ROOM, "JPY_PARENT_PID": str(os.getpid())}
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._reader = ours.makefile("rb")
        arguments = [self._interpreter, TEMPLATE, str(theirs.fileno())]
        # As long as a kernel's: the command line of the forked process is written over the template's.
        arguments.append("-" * max(0, len(block(command)) - len(block(arguments)) - 1))
        self._arguments = arguments
        with theirs:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, env=self._environment, pass_fds=[theirs.fileno()]
            )

    def fits(self, command: list[str], environment: dict[str, str]) -> bool:
        """Whether a fork can be what this command would start."""
        return (
            command[0] == self._interpreter
            and command[1:-1] == LAUNCHER
            and read_by_imports(environment) == self._decisive
            and len(block(command)) <= len(block(self._arguments))
            and len(block([f"{name}={value}" for name, value in environment.items()])) < len(ROOM)
        )

    def fork(self, command: list[str], cwd: str, environment: dict[str, str]) -> int | None:
        """Return the process id of a new kernel, None where the template is gone or can't fork."""
        request = {
            "command": command,
            "cwd": cwd,
            "environment": {**environment, "JPY_PARENT_PID": str(os.getpid())},
            "ignored": [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN],
        }
        # The new kernel's parent ends at once, and the nearest subreaper becomes its parent. For now that is this process.
        prctl = ctypes.CDLL(None).prctl
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            self._socket.sendall(json.dumps(request).encode("ascii") + b"\n")
            answer = self._reader.readline()
        except OSError:
            answer = b""
        finally:
            prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        return int(answer) if answer.strip() else None

    def close(self) -> None:
        """End it. Kernels go on."""
        self._reader.close()
        self._socket.close()
        self._process.wait()


class ForkingProvisioner(LocalProvisioner):
    """Starts a kernel by a fork where it can, else as the ordinary provisioner does."""

    template: Template | None = None
    """Of the gateway; None once somebody has ended it."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Fork the kernel, or start it."""
        pid = self._fork(cmd, kwargs)
        if pid is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.process = Forked(pid, cmd)
        self.pid = pid
        self.pgid = None
        with contextlib.suppress(OSError):
            self.pgid = os.getpgid(pid)
        self.cwd = kwargs.get("cwd") or Path.cwd()
        return self.connection_info

    def _fork(self, cmd: list[str], kwargs: dict[str, Any]) -> int | None:
        template = ForkingProvisioner.template
        environment: dict[str, str] = kwargs.get("env") or {}
        cwd = os.fspath(kwargs.get("cwd") or Path.cwd())
        if template is None or not template.fits(cmd, environment) or not set(kwargs) <= STARTS or not Path(cwd).is_dir():
            return None
        pid = template.fork(cmd, cwd, environment)
        if pid is None:
            template.close()
            ForkingProvisioner.template = None
        return pid
