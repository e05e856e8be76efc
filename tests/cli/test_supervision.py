"""Signals, limits and services: how a command ends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from tools.notebook_tools import FakeKernel, texts_of, write_notebook
from trio_gateway import (
    GatewayConnectionError,
    Stream,
)
from trio_gateway._cli.options import Options
from trio_gateway._cli.supervision import limited, run_command
from trio_gateway_command import main

from .in_process import *  # noqa: F403 - its fixtures
from .in_process import Install, here, run, run_in_virtual_time


def test_running_out_of_time_interrupts_and_ends_with_code_4(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is virtual, and runs out when the kernel has said something, however busy the machine is."""
    clocks = run_in_virtual_time(monkeypatch)

    async def time_passes() -> None:
        clocks[-1].jump(60)
        await trio.sleep_forever()

    kernel = FakeKernel({"x": [Stream("stdout", "before\n"), time_passes]})
    fake_gateway(kernel)
    assert run("exec", "-q", "--timeout", "60", "x") == 4
    out, err = capfd.readouterr()
    assert out == "before\n"
    assert "--timeout" in err
    path = write_notebook(tmp_path / "n.ipynb", "x", "never")
    assert run("run", "-q", "--inplace", "--timeout", "60", path) == 4
    assert kernel.interrupted == ["x", "x"]
    assert [texts_of(cell) for cell in json.loads(path.read_text())["cells"]] == [["before\n"], []]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_interrupts_the_kernel_saves_and_gives_the_shells_exit_code(
    name: str, fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    number = signal.Signals[name]
    kernel = FakeKernel({"a": [Stream("stdout", "before"), here(number)]})
    fake_gateway(kernel)
    path = write_notebook(tmp_path / "n.ipynb", "a", "b")
    before = signal.getsignal(number)
    assert run("run", "--inplace", path) == 128 + number
    assert kernel.interrupted == ["a"]
    assert [texts_of(cell) for cell in json.loads(path.read_text())["cells"]] == [["before"], []]
    assert "interrupting the kernel and cleaning up" in capfd.readouterr().err
    assert signal.getsignal(number) is before


def test_an_error_while_cleaning_up_after_a_signal_does_not_hide_the_signal(capfd: pytest.CaptureFixture[str]) -> None:
    async def command() -> int:
        try:
            await here(signal.SIGINT)()
        finally:
            raise GatewayConnectionError("the gateway is gone")

    assert run_command(Options(), command) == 130
    assert "while cleaning up: the gateway is gone" in capfd.readouterr().err


def test_a_signal_after_the_work_is_done_still_counts() -> None:
    async def command() -> int:
        with trio.CancelScope(shield=True):
            signal.raise_signal(signal.SIGTERM)
            await trio.testing.wait_all_tasks_blocked()
        return 0

    assert run_command(Options(quiet=True), command) == 143


def test_a_second_signal_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []

    class Gone(BaseException):
        pass

    def exit_now(code: int) -> None:
        codes.append(code)
        raise Gone

    monkeypatch.setattr(os, "_exit", exit_now)

    async def command() -> int:
        with trio.CancelScope(shield=True):  # a clean-up that takes its time
            signal.raise_signal(signal.SIGINT)
            await trio.testing.wait_all_tasks_blocked()
            assert codes == []
            signal.raise_signal(signal.SIGINT)
            await trio.testing.wait_all_tasks_blocked()
        return 0

    with pytest.RaisesGroup(Gone):
        run_command(Options(quiet=True), command)
    assert codes == [130]


def deep(reached: Callable[[], Awaitable[object]], depth: int = 5) -> Callable[[], Awaitable[int]]:
    """A command that notices a cancellation only some turns of the scheduler after it: below several nurseries."""

    async def layer(left: int) -> int:
        if left == 0:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep_forever()
        try:
            async with trio.open_nursery() as nursery:  # noqa: ASYNC112
                nursery.start_soon(layer, left - 1)
        finally:
            if left == depth:
                with trio.CancelScope(shield=True):
                    await reached()
        return 0

    return lambda: layer(depth)


def test_a_cancellation_is_delivered_before_a_second_signal_is_invited_or_obeyed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both signals are there at once: what the first one has saved is saved before the second one ends the process."""
    told: list[str] = []
    ended = trio.Event()

    class Gone(BaseException):
        pass

    def exit_now(code: int) -> None:
        told.append(f"exit {code}")
        ended.set()
        raise Gone

    async def save_and_clean_up() -> None:
        told.append("saved")
        await ended.wait()

    monkeypatch.setattr(os, "_exit", exit_now)
    monkeypatch.setattr(Options, "say", lambda _, message: told.append(message.partition(":")[0]))
    with pytest.raises(BaseExceptionGroup):  # noqa: ASYNC401
        run_command(Options(), deep(save_and_clean_up))
    assert told[1:3] == ["saved", "… (a second time"], told
    assert told[3].startswith("exit")


def test_signals_that_our_parent_had_us_ignore_stay_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:

        async def command() -> int:
            signal.raise_signal(signal.SIGHUP)
            await trio.testing.wait_all_tasks_blocked()
            return 0

        assert run_command(Options(quiet=True), command) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_before_the_event_loop_runs_is_told_by_the_exit_code_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: object = None) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("trio_gateway_command.reading.run_app", interrupted)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert capfd.readouterr() == ("", "")


async def test_a_limit_that_does_not_run_out_changes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async def work() -> int:
        await trio.sleep(9)
        return 7

    assert await limited(10, work) == 7
    assert await limited(None, work) == 7
    with pytest.raises(Exception, match="after 5 s"):
        await limited(5, work)
