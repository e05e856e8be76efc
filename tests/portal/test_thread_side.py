"""Calls and blocks of plain threads, under Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tools.face_tools import ListeningFake, kernel_ids, trio_threads
from trio_gateway._portal.calls import Call
from trio_gateway._portal.messages import Entered, Returned, Stopped
from trio_gateway._portal.portal import Portal
from trio_gateway._portal.thread_side import BlockingPortalCrossing, ThreadCaller

INTERRUPTED = """
import sys
import trio_gateway.blocking as tg
UNTIL = '''
import time
interrupted = False
try:
    print("running", end="", flush=True)
    while True: time.sleep(0.01)
except KeyboardInterrupt:
    interrupted = True
'''
with tg.open_gateway(sys.argv[1], auth_token=sys.argv[2]) as gateway, gateway.start_kernel() as kernel:
    print(kernel.id, flush=True)
    try:
        if sys.argv[3] == "execute":
            with kernel.iopub.subscribe() as messages:
                import threading
                def watch():
                    for message in messages:
                        if message.msg_type == "stream":
                            print("running", flush=True)
                thread = threading.Thread(target=watch)
                thread.start()
                kernel.execute(UNTIL)
        elif sys.argv[3] == "stream":
            with kernel.stream(UNTIL) as outputs:
                for output in outputs:
                    print("running", flush=True)
        else:
            print("running", flush=True)
            kernel.execute("input()", stdin=lambda prompt, password: sys.stdin.read())
    except KeyboardInterrupt:
        print("KeyboardInterrupt", kernel.state.value, flush=True)
    else:
        print("no KeyboardInterrupt")
    print(kernel.execute("globals().get('interrupted')").text)
    if sys.argv[3] == "stdin":
        raise SystemExit(0)
    try:
        print("body", flush=True)
        sys.stdin.read()
    finally:
        print("left", flush=True)
"""


@pytest.mark.parametrize("how", ["execute", "stream", "stdin"])
def test_ctrl_c(how: str, fake_gateway: ListeningFake) -> None:
    """Ctrl-C while a call waits interrupts the kernel, then raises KeyboardInterrupt; in the body, it leaves the blocks."""
    before = kernel_ids(fake_gateway)
    program = [sys.executable, "-c", INTERRUPTED, fake_gateway.url, fake_gateway.token, how]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            kernel_id = process.stdout.readline().strip()
            assert kernel_ids(fake_gateway) - before == {kernel_id}
            assert process.stdout.readline() == "running\n"
            os.kill(process.pid, signal.SIGINT)
            assert process.stdout.readline() == "KeyboardInterrupt idle\n"
            if how == "stdin":
                assert process.wait(250) == 0
            else:
                assert process.stdout.readline() == "True\n"
                assert process.stdout.readline() == "body\n"
                os.kill(process.pid, signal.SIGINT)
                assert process.wait(250) == -signal.SIGINT
                assert process.stdout.read() == "left\n"
        finally:
            process.kill()
    assert kernel_ids(fake_gateway) == before


def test_a_signal_at_any_moment_loses_nothing() -> None:
    """Interrupted before the start, while it waits, and at its end, a caller waits for the last message each time."""

    with BlockingPortalCrossing(_nothing(), lambda portal, value: portal) as portal:
        assert isinstance(portal, Portal)

        async def wait() -> None:
            await trio.sleep_forever()

        # Before the start was posted.
        caller = ThreadCaller()
        call = Call(portal, wait, caller)
        with pytest.raises(KeyboardInterrupt):
            caller.converse(_interrupt, call.cancel)
        assert caller._arrived == [Stopped()]

        # After it.
        caller = ThreadCaller()
        call = Call(portal, wait, caller)

        def start_then_interrupt() -> None:
            call.start()
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            caller.converse(start_then_interrupt, call.cancel)
        assert caller._arrived == [Stopped()]

        # When it had ended.
        caller = ThreadCaller()

        def end_then_interrupt() -> None:
            caller.deliver(Entered(1))
            caller.deliver(Returned(7))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            caller.converse(end_then_interrupt, lambda: None)

    # A gateway's block that was never begun gives its place in the thread back.
    crossing = BlockingPortalCrossing(_nothing(), lambda portal, value: portal)
    caller = ThreadCaller()
    block = crossing._open(caller)
    with pytest.raises(KeyboardInterrupt):
        caller.converse(_interrupt, lambda: block.leave(caller, KeyboardInterrupt()))
    crossing._portal.thread.join()
    assert trio_threads() == []


def _interrupt() -> None:
    raise KeyboardInterrupt


@asynccontextmanager
async def _nothing() -> Any:
    await trio.lowlevel.checkpoint()
    yield None
