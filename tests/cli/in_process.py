"""The command in this process, with a gateway that is faked: for tests of options, endings and signals."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from trio_gateway import (
    GatewayConfig,
)
from trio_gateway_command.reading import run_app

__all__ = ["_plain_environment", "_signals_as_a_terminal_gives_them"]


Install = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def _signals_as_a_terminal_gives_them() -> Iterator[None]:
    """Under `nohup`, or in the background of a script, some are ignored, and the command leaves them so."""
    usual = {signal.SIGHUP: signal.SIG_DFL, signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith(("JUPYTER_GATEWAY_", "NO_COLOR", "FORCE_COLOR", "TTY_")):
            monkeypatch.delenv(name)


def run(*arguments: str | Path) -> int:
    """Run the command to its end, and leave the log as loud as it was: `--debug` sets that."""
    log = logging.getLogger("trio_gateway")
    level = log.level
    try:
        return run_app([str(argument) for argument in arguments])
    finally:
        log.setLevel(level)


class FakeConfigured:
    """A configured gateway of which only the list of kernels is asked for."""

    def __init__(self, answer: Any) -> None:
        self.kernels = self
        self._answer = answer
        self.configs: list[GatewayConfig] = []

    async def list(self, **_options: object) -> Any:
        await trio.lowlevel.checkpoint()
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    @asynccontextmanager
    async def open_gateway(self, config: GatewayConfig) -> AsyncGenerator[FakeConfigured]:
        self.configs.append(config)
        yield self


def run_in_virtual_time(monkeypatch: pytest.MonkeyPatch) -> list[trio.testing.MockClock]:
    """Have each command run on a clock that stands still until a test moves it; return the clocks, the last one's last."""
    clocks: list[trio.testing.MockClock] = []

    def run_on_it(*arguments: Any, run: Callable[..., Any] = trio.run) -> Any:
        clocks.append(trio.testing.MockClock())
        return run(*arguments, clock=clocks[-1])

    monkeypatch.setattr(trio, "run", run_on_it)
    return clocks


def here(number: int) -> Callable[[], Any]:
    """Send this process a signal, then wait for what becomes of it."""

    async def send() -> None:
        signal.raise_signal(number)
        await trio.sleep_forever()

    return send
