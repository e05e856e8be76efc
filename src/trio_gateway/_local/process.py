"""A Kernel Gateway of our own: a child process on this machine that lives as long as a block.

Its one idea: the child can't outlive its owner. The block's end stops it in bounded time, and a pipe that only we hold open ends
it when we can't. What the child does is `child.py`'s; nothing here speaks HTTP: url and token go to the layers that do.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, final

import attrs
import trio

from .._errors import GatewayConnectionError, GatewayTimeoutError, InvalidInputError
from .._secret import Secret, Unshown, hide_values
from .._threads import run_sync
from .child import end_kernels

__all__ = ["LocalGatewayProcess", "local_kernel_path", "run_local_gateway"]

_GRACE = 5.0  # seconds that the gateway has to shut its kernels down
_PATIENCE = _GRACE + 2.0  # seconds until a gateway that does not end is killed
_LAST_WORDS = 5.0  # seconds that a killed process, or one that closed its standard output, has to be gone
_TAIL_BYTES = 64 * 1024  # of the log: what log_tail() looks at, and what it keeps once the block has ended
_LINE_LENGTH = 400  # characters of one line of the log


def local_kernel_path(cwd: str | os.PathLike[str]) -> str:
    """Return the `path` of a start request that makes a local gateway run the kernel in this directory.

    A gateway of [run_local_gateway][trio_gateway._local.process.run_local_gateway] takes the absolute path of a directory as it
    is. Any other gateway reads `path` below its own root directory: don't send it this. Without a `path` the kernel runs in the
    directory that the gateway was started in.

    Args:
        cwd: the directory; one that is relative is relative to this process's own.

    Returns:
        The directory's absolute path.

    Raises:
        InvalidInputError: it is no directory. Asked, the gateway would silently take the next parent that is one.
    """
    return _directory("cwd", cwd)


@final
@attrs.define(eq=False)
class LocalGatewayProcess:
    """A running Kernel Gateway of our own. Made by [run_local_gateway][trio_gateway._local.process.run_local_gateway]."""

    url: str
    """Where it listens: `http://127.0.0.1:<port>`."""
    token: str = attrs.field(repr=False)
    """What it wants to see in `Authorization: token …`. Secret."""
    pid: int
    """The child process."""
    log_path: Path
    """The file with all that the gateway and its kernels wrote to their standard output and error. Removed with the block."""
    _process: trio.Process = attrs.field(repr=False)
    _last_log: bytes | None = attrs.field(default=None, repr=False)

    def log_tail(self, lines: int = 40) -> str:
        """Return the log's last lines, also when the block has ended. The token is masked, long lines are shortened.

        Args:
            lines: how many lines at most.

        Returns:
            The lines, `""` when nothing was logged.
        """
        data = _read_tail(self.log_path) if self._last_log is None else self._last_log
        return _tail_text(data, self.token, lines)

    def keep_log(self) -> None:
        """Remember the end of the log, whose file goes with the block. For that block."""
        self._last_log = _read_tail(self.log_path)

    async def wait(self) -> int:
        """Wait until the gateway's process has ended, by itself, by someone or with its block.

        Returns:
            Its exit status; the negative number of the signal that killed it.

        Cancellation:
            Safe, and leaves the gateway alone. Any number of tasks may wait.
        """
        return await self._process.wait()


@contextlib.asynccontextmanager
async def run_local_gateway(
    *,
    python: str | os.PathLike[str] = sys.executable,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    startup_timeout: float = 60.0,
    max_message_size: int = 1 << 30,
    extra_args: Sequence[str] = (),
) -> AsyncGenerator[LocalGatewayProcess]:
    """Run a Kernel Gateway for the block: on a free port of the loopback interface, with a random token.

    It serves one owner and so limits nothing: its kernels get this process's environment and working directory and any variable
    a start request sends, it lists kernels and limits no output's rate. Output can still be lost
    between kernel and gateway, as when the gateway gets no processor time for seconds. It reads no Jupyter configuration, and
    its own files live in a private temporary directory; the user's kernelspecs are there, and `python3` always is.

    When the block ends, in any way, the gateway and its kernels are gone. This holds too when this process is killed:
    then the gateway notices and ends by itself. The terminal's Ctrl-C does not reach it.

    Args:
        python: the interpreter that has `jupyter_kernel_gateway` and `ipykernel`.
        cwd: working directory of the gateway and its kernels; by default this process's.
        env: variables to add to this process's, for the gateway and its kernels.
        startup_timeout: how long it may take until the gateway answers, in seconds.
        max_message_size: the largest message that it takes, in bytes: what its client takes.
        extra_args: arguments for `jupyter kernelgateway`, such as `--KernelManager.shutdown_wait_time=1`. Other users of this
            machine can't see them.

    Yields:
        The process, with its url and token.

    Raises:
        InvalidInputError: an argument is wrong; nothing was started.
        GatewayConnectionError: the gateway is not installed, or ended while it started; the message has its log's last lines.
        GatewayTimeoutError: it did not answer within `startup_timeout`.

    Cancellation:
        Safe everywhere. Ending the gateway is shielded and takes at most about 15 seconds, mostly 0.2.
    """
    env = hide_values(env)
    command, options = _check(python, cwd, env, startup_timeout, extra_args)
    directory = tempfile.mkdtemp(prefix="trio-gateway-")  # for this user only
    try:
        script, log_path = _furnish(directory)
        process = await _spawn(command, script, log_path, options)
        token = Secret(secrets.token_urlsafe(32))
        gateway: LocalGatewayProcess | None = None
        try:
            settings = {
                "token": token,
                "directory": directory,
                "owner": os.getpid(),
                "grace": _GRACE,
                "max_message_size": max_message_size,
                "arguments": list(extra_args),
            }
            url = await _start(process, settings, startup_timeout, log_path)
            gateway = LocalGatewayProcess(url, token, process.pid, log_path, process)
            yield gateway
        finally:
            with trio.move_on_after(_PATIENCE + 3 * _LAST_WORDS, shield=True):
                await _end(process, directory)
            if gateway is not None:
                gateway.keep_log()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _spawn(command: str, script: str, log_path: Path, options: dict[str, Any]) -> trio.Process:
    """Start the child. Its log is its standard error."""
    with log_path.open("ab") as log:
        try:
            return await trio.lowlevel.open_process(
                [command, "-W", "ignore", script],  # the caller's environment may ask for warnings as errors
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                **options,
            )
        except OSError as error:
            raise GatewayConnectionError(f"the local gateway can't be started with {command}: {error}") from error


async def _start(process: trio.Process, settings: dict[str, Any], limit: float, log_path: Path) -> str:
    """Tell the child what to do, wait until it serves, and return its URL."""
    assert process.stdin is not None
    assert process.stdout is not None
    answer = b""
    with trio.move_on_after(limit) as scope:
        with contextlib.suppress(trio.BrokenResourceError):  # it has ended already; its log says why
            await process.stdin.send_all(memoryview(json.dumps(settings).encode() + b"\n"))
        while not answer.endswith(b"\n") and (data := await process.stdout.receive_some()):
            answer += data
        await process.stdout.aclose()
    if scope.cancelled_caught:
        tail = _tail_text(_read_tail(log_path), settings["token"], 20)
        raise GatewayTimeoutError(
            "local gateway start",
            limit,
            "startup_timeout",
            detail=f"raise it on a slow machine; the gateway's log ends:\n{tail}" if tail else "it has logged nothing yet",
        )
    if not answer.endswith(b"\n"):
        with trio.move_on_after(_LAST_WORDS):
            await process.wait()
        status = "has closed its standard output" if process.returncode is None else f"ended with status {process.returncode}"
        tail = _tail_text(_read_tail(log_path), settings["token"], 40) or "(nothing)"
        raise GatewayConnectionError(f"the local gateway {status} while it started; its log ends:\n{tail}")
    said: dict[str, str] = json.loads(answer)
    if "url" in said:
        return said["url"]
    lacks = "jupyter_kernel_gateway is not installed"
    what = lacks if "missing" in said else f"{said['unfit']} is installed, and version 3 is needed"
    raise GatewayConnectionError(
        f"a local gateway can't be started: {what} for {said['python']}; "
        "install it there with: pip install 'trio-gateway[local]' (or give the url of a running gateway)"
    )


async def _end(process: trio.Process, directory: str) -> None:
    """End the child and its kernels, politely, then not; return when they are gone."""
    assert process.stdin is not None
    assert process.stdout is not None
    with trio.move_on_after(_PATIENCE):
        if process.returncode is None:
            with contextlib.suppress(trio.BrokenResourceError):
                await process.stdin.send_all(b"end\n")  # the lifeline's word for: shut down, we remove your directory
            if os.name == "posix":
                process.terminate()  # also reaches one that does not read yet
        await process.wait()
    if process.returncode is None:
        process.kill()
        with trio.move_on_after(_LAST_WORDS):
            await process.wait()
    if process.returncode != 0:  # 0: it has seen to its kernels
        await run_sync(end_kernels, directory)
    await process.stdin.aclose()
    await process.stdout.aclose()


def _check(python: object, cwd: object, env: object, startup_timeout: object, extra_args: object) -> tuple[str, dict[str, Any]]:
    """Check the arguments; return the interpreter's path and the options of its process."""
    command = shutil.which(_text("python", python)) if python else None
    if command is None:
        raise InvalidInputError("python", python, "the path of a Python interpreter")
    if env is not None and not isinstance(env, Mapping):
        raise InvalidInputError("env", type(env).__name__, "a mapping of names to values")
    variables: dict[str, str] = {}
    for name, value in cast("Mapping[object, object]", env or {}).items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise InvalidInputError("env", name, "names that are not empty and without '=' and NUL")
        if not isinstance(value, str) or "\0" in value:  # not shown: it may be secret
            shown = "str" if isinstance(value, str) else type(value).__name__
            raise InvalidInputError(f"env[{name!r}]", f"<{shown}>", "text without NUL")
        variables[name] = value
    if isinstance(startup_timeout, bool) or not isinstance(startup_timeout, int | float) or not startup_timeout > 0:
        raise InvalidInputError("startup_timeout", startup_timeout, "a number of seconds above 0")
    if isinstance(extra_args, str | bytes) or not isinstance(extra_args, Sequence):
        raise InvalidInputError("extra_args", extra_args, "a sequence of arguments")
    for argument in cast("Sequence[object]", extra_args):
        _text("extra_args", argument)
    options: dict[str, Any] = {
        "cwd": _directory("cwd", os.curdir if cwd is None else cwd),
        "env": Unshown({**os.environ, **variables}),
    }
    if sys.platform == "win32":
        options["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP
    else:
        options["start_new_session"] = True  # the terminal's Ctrl-C and hang-up are ours
    return command, options


def _text(field: str, value: object) -> str:
    text = value if isinstance(value, str) else None
    if isinstance(value, os.PathLike):
        text = os.fspath(cast("os.PathLike[str]", value))
    if not isinstance(text, str) or "\0" in text:
        raise InvalidInputError(field, value, "text without NUL")
    return text


def _directory(field: str, value: object) -> str:
    text = _text(field, value)
    try:
        path = os.path.abspath(text) if text else ""  # noqa: PTH100  # keeps the names of symbolic links
    except OSError:  # our own working directory is gone
        path = ""
    if not os.path.isdir(path):  # noqa: PTH112
        raise InvalidInputError(field, value, "an existing directory")
    return path


def _furnish(directory: str) -> tuple[str, Path]:
    """Put the child's program into its directory; return its path and the log's."""
    source = pkgutil.get_data(__name__.rpartition(".")[0], "child.py")
    assert source is not None
    script = Path(directory, "kernel_gateway_for_trio.py")
    script.write_bytes(source)
    return os.fspath(script), Path(directory, "gateway.log")


def _read_tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            return file.read()
    except OSError:  # no log, or removed
        return b""


def _tail_text(data: bytes, token: str, lines: int) -> str:
    text = data.decode("utf-8", "replace").replace(token, "[masked]")
    chosen = text.splitlines()[-lines:] if lines > 0 else []
    return "\n".join(line if len(line) <= _LINE_LENGTH else line[:_LINE_LENGTH] + " …" for line in chosen)
