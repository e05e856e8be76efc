"""`trio-gateway proxy`: serve a gateway's kernels to notebook front ends.

The one idea: the command reads options and signals; everything else is `trio_gateway.proxy`'s.
"""

from __future__ import annotations

import functools
import logging
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
import trio

from .._errors import InvalidInputError
from .._services import alongside
from .exits import ExitCode
from .opening import open_gateway
from .options import Options, read_token
from .supervision import run_command

if TYPE_CHECKING:
    from ..proxy import Listening, Proxy

__all__ = ["proxy"]


def proxy(
    options: Options,
    host: str,
    port: int,
    base_path: str,
    proxy_token_file: Path | None,
    allow_anyone: bool,
    allow_origin: tuple[str, ...],
    allow_host: tuple[str, ...],
    certfile: Path | None,
    keyfile: Path | None,
    drain: float,
    no_access_log: bool,
) -> int:
    """Serve a gateway's kernels to notebook front ends."""
    try:
        from .. import proxy as package
        from ..proxy._server import files_needed
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is not installed: pip install 'trio-gateway[proxy]'") from None
    if allow_anyone and proxy_token_file is not None:
        raise click.UsageError("--allow-anyone and --proxy-token-file exclude each other.")
    if options.quiet and proxy_token_file is None and not allow_anyone:
        raise click.UsageError("With --quiet nobody learns a random token: give --proxy-token-file.")
    if keyfile is not None and certfile is None:
        raise click.UsageError("--keyfile needs --certfile.")
    config = package.ProxyConfig(
        token=None if proxy_token_file is None else _token(proxy_token_file),
        allow_anyone=allow_anyone,
        allowed_origins=allow_origin,
        allowed_hosts=allow_host,
        base_path=base_path,
    )
    if not no_access_log:
        _log_access()

    async def command() -> int:
        async with open_gateway(options, for_others=True) as gateway:
            app = package.create_app(gateway, config)
            _allow_files(files_needed(config))
            running = _Running(options, app, proxy_token_file)

            async def serve() -> None:
                with running.scope:
                    await package.serve(
                        app,
                        host=host,
                        port=port,
                        certfile=certfile,
                        keyfile=keyfile,
                        until=running.told.wait,
                        drain_seconds=drain,
                        task_status=cast("trio.TaskStatus[Listening]", running),
                    )

            with trio.open_signal_receiver(*_signals()) as signals:
                await alongside(functools.partial(running.obey, signals), serve)
        return ExitCode.OK

    return run_command(options, command)


class _Running:
    """The proxy while it runs: greets when it listens, and does what signals say.

    Args:
        options: for what is said.
        app: the proxy.
        token_file: the file with its token, if it has one.
    """

    def __init__(self, options: Options, app: Proxy, token_file: Path | None) -> None:
        self.told = trio.Event()
        self.scope = trio.CancelScope()
        self._options = options
        self._app = app
        self._token_file = token_file

    def started(self, value: Listening) -> None:
        """Say where the proxy is."""
        if self._app.token is None:
            self._options.warn("the proxy asks for no token: everybody who reaches the port can run code on the gateway")
            self._options.say(f"Listening on {value.url}")
        elif self._token_file is not None:
            self._options.say(f"Listening on {value.url} with the token of {self._token_file}")
        else:
            # As Jupyter does: a random one is of no use to anybody unless it is printed.
            self._options.say(f"Listening on {value.url}?token={self._app.token}")

    async def obey(self, signals: AsyncIterator[int]) -> None:
        """Do what each signal says, until cancelled."""
        async for number in signals:
            if signal.Signals(number).name == "SIGHUP":
                self._reload()
            elif not self.told.is_set():
                self._options.say(f"Ending, with {self._app.channels} connections (a second time: at once).")
                self.told.set()
            else:
                self.scope.cancel(reason=f"a second signal {number}")

    def _reload(self) -> None:
        if self._token_file is None:
            self._options.say("There is no token file to read again.")
            return
        try:
            self._app.change_token(_token(self._token_file))
        except InvalidInputError as error:
            self._options.warn(f"the token stays as it was: {error}")
        else:
            self._options.say("The token was read again.")


def _token(path: Path) -> str:
    try:
        return read_token(path)
    except InvalidInputError as error:
        raise InvalidInputError("--proxy-token-file", error.value, error.expected) from None


def _signals() -> list[signal.Signals]:
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [signal.Signals[name] for name in names if name in signal.Signals.__members__]


def _allow_files(wanted: int) -> None:
    """Let this process have so many files open, or as many as it may allow itself: often it begins with 1,024."""
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _log_access() -> None:
    """Write the access log, a line of JSON for each request, to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    access = logging.getLogger("trio_gateway.proxy.access")
    access.addHandler(handler)
    access.setLevel(logging.INFO)
    access.propagate = False
