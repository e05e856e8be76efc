"""A process that has imported what a kernel needs, and forks itself for each kernel: `forking_provisioner.py` runs it.

It has one thread and no ZeroMQ context, and it asks nothing of the kernel's own start: that is what a kernel does after the fork.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
from typing import Any, NoReturn

MODULES = (
    "ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.zmqshell", "ipykernel.debugger", "debugpy.server.api", "faulthandler",
    "psutil", "sqlite3", "tornado.platform.asyncio", "traitlets.config.argcomplete_config", "IPython.core.completerlib",
    "IPython.core.debugger", "IPython.core.oinspect", "IPython.extensions.storemagic",
)  # fmt: skip
"""What a kernel imports until it has answered its first request."""


SET_BY_IMPORTS: dict[str, str] = {}
"""Variables that modules set when they are imported."""


def import_all() -> None:
    """Import what kernels need; what this version of ipykernel does not have, they don't need."""
    before = dict(os.environ)
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    SET_BY_IMPORTS.update({name: value for name, value in os.environ.items() if before.get(name) != value})


def overwrite(start: int, end: int, strings: list[str]) -> None:
    """Write strings where the system looks for this process's command line or environment, and nothing else there."""
    data = b"".join(os.fsencode(string) + b"\0" for string in strings)
    ctypes.memmove(start, data.ljust(end - start, b"\0"), end - start)


def become(request: dict[str, Any]) -> None:
    """Turn this process into the one that was asked for, but for what it runs."""
    os.setsid()
    os.chdir(request["cwd"])
    command: list[str] = request["command"]
    environment: dict[str, str] = request["environment"]
    with open("/proc/self/stat", encoding="ascii", errors="replace") as stat:  # noqa: PTH123
        places = [int(number) for number in stat.read().rpartition(")")[2].split()[45:49]]  # field 48 of proc(5), and on
    os.environ.clear()
    os.environ.update({**SET_BY_IMPORTS, **environment})
    overwrite(*places[:2], command)
    overwrite(*places[2:], [f"{name}={value}" for name, value in environment.items()])
    sys.orig_argv[:] = command
    sys.argv[:] = ["-m", *command[3:]]
    sys.path.insert(0, request["cwd"])
    # The template began before its gateway had handlers of its own: what it ignored from then on, a started kernel does not.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}:
        if number in request["ignored"]:
            signal.signal(number, signal.SIG_IGN)
        elif signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    gc.unfreeze()
    gc.enable()


def fork(request: dict[str, Any]) -> str | None:
    """Fork a kernel that is no child of this process; return its process id, "" where that failed, None in the kernel."""
    go, let_go = os.pipe()
    said, say = os.pipe()
    between = os.fork()
    if not between:
        status = 1
        with contextlib.suppress(OSError):
            if not os.fork():
                os.close(let_go)
                if not os.read(go, 1):  # the template has been ended meanwhile
                    os._exit(1)
                become(request)
                stdin, nobody = os.pipe()
                os.dup2(stdin, 0)
                os.write(say, str(os.getpid()).encode("ascii"))
                for descriptor in (go, said, say, stdin, nobody):
                    os.close(descriptor)
                return None
            status = 0
        os._exit(status)
    os.close(go)
    os.close(say)
    os.waitpid(between, 0)
    with contextlib.suppress(BrokenPipeError):  # there is no kernel
        os.write(let_go, b"g")
    os.close(let_go)
    pid = os.read(said, 16).decode("ascii")
    os.close(said)
    return pid


def run_kernel() -> NoReturn:
    """Run the kernel, and end this process as an interpreter does, but for tearing down six hundred modules."""
    status = 0
    try:
        runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: ASYNC103, BLE001 - the interpreter would also print it and end
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def main() -> None:
    """Fork a kernel for each line that comes in, until the socket is closed; in a kernel, run it."""
    del sys.path[0]  # this file's folder: an interpreter with `-m` does not have it
    channel = socket.socket(fileno=int(sys.argv[1]))
    reader = channel.makefile("rb")
    import_all()
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would be missing in what is forked"  # noqa: PTH208
    gc.collect()
    gc.disable()
    gc.freeze()
    while line := reader.readline():
        pid = fork(json.loads(line))
        if pid is None:
            reader.close()
            channel.close()
            run_kernel()
        channel.sendall(f"{pid}\n".encode("ascii"))
    os._exit(0)


if __name__ == "__main__":
    main()
