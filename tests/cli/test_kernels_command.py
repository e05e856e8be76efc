"""Commands that name a kernel: listed, started, attached to, interrupted, restarted, shut down. On a fake gateway on loopback."""

from __future__ import annotations

import io
import json
import logging
import math
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import trio

import trio_gateway
from tools.notebook_tools import write_notebook
from trio_gateway import (
    AuthenticationError,
    KernelModel,
)
from trio_gateway._cli.options import _PlainFormatter

from .cli_kit import CliHere, Done, ServedFake
from .in_process import *  # noqa: F403 - its fixtures
from .in_process import FakeConfigured, run

Served = Callable[..., ServedFake]

UNKNOWN = str(uuid.UUID(int=1, version=4))
NAMING = [
    ("kernels", "interrupt"),
    ("kernels", "restart"),
    ("kernels", "shutdown"),
    ("exec", "--attach"),
    ("run", "script.py", "--attach"),
]


def report_of(done: Done) -> dict[str, Any]:
    """Read the JSON object that a command wrote: one, on one line."""
    assert done.out.count("\n") == 1
    assert done.out.isascii()
    report: dict[str, Any] = json.loads(done.out)
    assert report["ok"] == (done.code == 0)
    return report


def start(served: ServedFake) -> str:
    """Start a kernel with the command, and return its id."""
    done = served.cli.run("kernels", "start")
    assert (done.code, done.err) == (0, "")
    assert done.out.strip() in served.fake.kernels
    return done.out.strip()


@pytest.mark.parametrize("words", NAMING, ids=" ".join)
def test_a_kernel_that_is_not_there_gives_code_2(words: tuple[str, ...], served: Served) -> None:
    gateway = served()
    (gateway.cli.cwd / "script.py").write_text("1")
    done = gateway.cli.run(*words, UNKNOWN, *(["1"] if words[0] == "exec" else []))
    assert (done.code, done.out) == (2, "")
    assert UNKNOWN in done.err
    assert "trio-gateway kernels" in done.err
    assert "trio-gateway doctor" in done.err
    assert "shut down." not in done.err


@pytest.mark.parametrize("words", NAMING, ids=" ".join)
def test_an_address_that_is_wrong_does_nothing_to_a_kernel_and_gives_code_2(words: tuple[str, ...], served: Served) -> None:
    gateway = served()
    kernel_id = start(gateway)
    (gateway.cli.cwd / "script.py").write_text("1")
    wrong = {"JUPYTER_GATEWAY_URL": f"{gateway.url}/wrong"}
    done = gateway.cli.run(*words, kernel_id, *(["1"] if words[0] == "exec" else []), **wrong)
    assert (done.code, done.out) == (2, "")
    assert "/wrong" in done.err
    assert kernel_id in gateway.fake.kernels


@pytest.mark.parametrize(
    "words",
    [*NAMING, ("kernels",), ("kernels", "start"), ("kernelspecs",), ("conformance",), ("exec", "1"), ("run", "script.py")],
    ids=" ".join,
)
def test_an_address_that_ends_in_api_is_told_with_what_to_write(words: tuple[str, ...], served: Served) -> None:
    gateway = served()
    (gateway.cli.cwd / "script.py").write_text("1")
    named = (UNKNOWN,) if words in NAMING else ()
    done = gateway.cli.run(
        *words, *named, *(["1"] if words == ("exec", "--attach") else []), JUPYTER_GATEWAY_URL=f"{gateway.url}/api"
    )
    assert done.code in {2, 3}
    assert f"Write the address without its last /api, which is added to it: {gateway.url}. " in done.err
    assert f"{gateway.url}/api/api/" in done.err


def test_of_several_kernels_one_that_is_not_there_keeps_none_from_its_end(served: Served) -> None:
    gateway = served()
    first, second = start(gateway), start(gateway)
    done = gateway.cli.run("kernels", "shutdown", first, UNKNOWN, "not/an/id", second, "--json")
    assert done.code == 2
    report = report_of(done)
    assert [(each["id"], each["ok"]) for each in report["kernels"]] == [
        (first, True),
        (UNKNOWN, False),
        ("not/an/id", False),
        (second, True),
    ]
    assert report["kernels"][1]["error"]["type"] == report["error"]["type"] == "KernelNotFoundError"
    assert f"{first}: shut down." in done.err
    assert not gateway.fake.kernels


@pytest.mark.parametrize("action", ["interrupt", "restart", "shutdown"])
@pytest.mark.parametrize(("status", "code", "kind"), [(500, 3, "GatewayHTTPError"), (None, 4, "GatewayTimeoutError")])
def test_of_several_kernels_one_that_the_gateway_fails_for_keeps_none_from_its_turn(
    action: str, status: int | None, code: int, kind: str, served: Served
) -> None:
    gateway = served()
    kernel_ids = [start(gateway) for _ in range(3)]
    pattern = f"(POST|DELETE) /api/kernels/{kernel_ids[1]}.*"
    if status is None:
        gateway.fake.faults.delay_answer(pattern, math.inf)
    else:
        gateway.fake.faults.answer(pattern, status)
    limits = {} if status else {"JUPYTER_GATEWAY_REQUEST_TIMEOUT": "0.3", "JUPYTER_GATEWAY_LAUNCH_TIMEOUT": "0.3"}
    done = gateway.cli.run("kernels", action, *kernel_ids, UNKNOWN, "--json", **limits)
    assert done.code == code  # the first failure's
    report = report_of(done)
    assert [(each["id"], each["ok"]) for each in report["kernels"]] == [
        *zip(kernel_ids, (True, False, True), strict=True),
        (UNKNOWN, False),
    ]
    assert report["kernels"][1]["error"]["type"] == report["error"]["type"] == kind


@pytest.mark.parametrize("status", [401, 403])
def test_who_is_not_let_in_asks_for_no_second_kernel(status: int, served: Served) -> None:
    gateway = served()
    kernel_ids = [start(gateway) for _ in range(2)]
    gateway.fake.faults.answer("POST .*/interrupt", status)
    assert gateway.cli.run("kernels", "interrupt", *kernel_ids).code == 3
    assert [asked for asked in gateway.asked if asked.endswith("/interrupt")] == [f"POST /api/kernels/{kernel_ids[0]}/interrupt"]


def test_where_there_is_no_connection_no_second_kernel_is_tried(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []

    async def interrupt(kernel_id: str) -> None:
        tried.append(kernel_id)
        await trio.lowlevel.checkpoint()
        raise trio_gateway.GatewayTimeoutError("connect", 0.3, "connect_timeout")

    fake = FakeConfigured([])
    monkeypatch.setattr(fake, "interrupt", interrupt, raising=False)
    monkeypatch.setattr(trio_gateway, "open_gateway", fake.open_gateway)
    assert run("kernels", "interrupt", UNKNOWN, str(uuid.uuid4()), "--url", "http://127.0.0.1:1") == 4
    assert tried == [UNKNOWN]
    assert "JUPYTER_GATEWAY_CONNECT_TIMEOUT" in capfd.readouterr().err


def test_a_shutdown_whose_answer_was_lost_is_done(served: Served) -> None:
    gateway = served()
    kernel_id = start(gateway)
    gateway.fake.faults.lose_answer(f"DELETE .*{kernel_id}", times=1)
    done = gateway.cli.run("kernels", "shutdown", kernel_id)
    assert (done.code, done.err) == (0, f"{kernel_id}: shut down.\n")
    assert gateway.asked.count(f"DELETE /api/kernels/{kernel_id}") == 2
    assert not gateway.fake.kernels


def test_a_kernel_that_another_ends_meanwhile_is_shut_down(served: Served) -> None:
    gateway = served()
    kernel_id = start(gateway)
    gateway.fake.faults.answer(f"DELETE .*{kernel_id}", 404, {"message": "Kernel does not exist", "reason": None})
    assert gateway.cli.run("kernels", "shutdown", kernel_id).code == 0


def test_a_kernel_that_was_started_is_listed_and_can_be_used_and_stays(served: Served) -> None:
    gateway = served()
    kernel_id = start(gateway)
    assert gateway.cli.run("exec", "--attach", kernel_id, "x = 6").code == 0
    (gateway.cli.cwd / "script.py").write_text("x * 7")
    assert gateway.cli.run("run", "script.py", "--attach", kernel_id).out == "42\n"
    notebook = write_notebook(gateway.cli.cwd / "n.ipynb", "x + 1", kernel="another")
    done = gateway.cli.run("run", notebook, "--attach", kernel_id, "-q")
    assert (done.code, done.out, done.err) == (0, "7\n", "")
    assert list(gateway.fake.kernels) == [kernel_id]
    listed = gateway.cli.run("kernels")
    assert [line.split()[:2] for line in listed.out.splitlines()[1:]] == [[kernel_id, "python3"]]


def test_a_kernel_starts_by_name_and_one_that_is_not_there_does_not(served: Served) -> None:
    gateway = served()
    report = report_of(gateway.cli.run("kernels", "start", "python3", "--json"))
    (started,) = report["kernels"]
    assert started["name"] == "python3"
    assert list(gateway.fake.kernels) == [started["id"]]
    done = gateway.cli.run("kernels", "start", "klingon", "--json")
    assert done.code == 2
    report = report_of(done)
    assert (report["error"]["type"], report["kernels"]) == ("KernelSpecNotFoundError", [])
    assert report["error"]["advice"] == "Give another NAME; `trio-gateway kernelspecs` lists them."
    done = gateway.cli.run("--kernel", "klingon", "kernels", "start")
    assert done.code == 2
    assert "--kernel NAME" in done.err


def test_fresh_kernels_get_their_resources_and_a_wrong_one_is_named(served: Served) -> None:
    """By each command that starts kernels; before anything is sent."""
    gateway = served()
    gateway.cli.cwd.joinpath("script.py").write_text("1")
    write_notebook(gateway.cli.cwd / "a.ipynb", "1")
    commands = [("kernels", "start"), ("exec", "1"), ("run", "script.py"), ("run", "a.ipynb"), ("run", "a.ipynb", "--resume")]
    for words in commands:
        done = gateway.cli.run(*words, "--resource", "cpu=1500m", "--resource", "gpus=1")
        assert done.code == 0, done.err
    starts = [request.json()["env"] for request in gateway.fake.requests if str(request) == "POST /api/kernels"]
    wanted = {"KERNEL_CPUS": "1500m", "KERNEL_GPUS": "1", "KERNEL_GPUS_LIMIT": "1"}
    assert [{name: env.get(name) for name in wanted} for env in starts] == [wanted] * len(commands)
    asked = len(gateway.asked)
    for words in commands:
        done = gateway.cli.run(*words, "--resource", "memory=512m")
        assert done.code == 2
        assert "--resource: 'memory=512m' can't be used" in done.err
    assert len(gateway.asked) == asked


def test_a_kernel_whose_id_nobody_reads_is_not_left(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    class NobodyReads(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            raise BrokenPipeError

    for more in ([], ["--json"]):
        gateway = served()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(NobodyReads()), write_through=True))
            done = gateway.cli.run("kernels", "start", *more)
        assert done.code == 141
        assert any(asked.startswith("POST") for asked in gateway.asked)
        assert not gateway.fake.kernels


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["exec", "--attach", UNKNOWN, "--kernel", "python3", "1"], "--kernel and --attach"),
        (["exec", "--attach", UNKNOWN, "--cwd", "/", "1"], "--cwd and --attach"),
        (["exec", "--attach", UNKNOWN, "--resource", "cpu=1", "1"], "--resource and --attach"),
        (["--kernel", "python3", "run", "x.py", "--attach", UNKNOWN], "--kernel and --attach"),
    ],
)
def test_a_kernel_that_runs_takes_no_wishes(arguments: list[str], words: str, served: Served) -> None:
    gateway = served()
    done = gateway.cli.run(*arguments)
    assert done.code == 2
    assert words in done.err
    assert gateway.asked == []


def test_without_a_gateway_there_is_nothing_to_attach_to(bare_cli_here: CliHere) -> None:
    for arguments in (["exec", "--attach", UNKNOWN, "1"], ["kernels", "start"]):
        done = bare_cli_here.run(*arguments)
        assert done.code == 2
        assert "No gateway is configured" in done.err


def test_a_running_kernel_whose_code_fails_or_takes_too_long_stays(served: Served) -> None:
    gateway = served()
    kernel_id = start(gateway)
    assert gateway.cli.run("exec", "--attach", kernel_id, "1 / 0").code == 1
    done = gateway.cli.run("exec", "--attach", kernel_id, "--timeout", "0.3", "import time; time.sleep(60)", "--json")
    assert done.code == 4
    assert report_of(done)["error"]["type"] == "OutOfTimeError"
    assert gateway.cli.run("exec", "--attach", kernel_id, "1").out == "1\n"


# ------------------------------------------------------------------------------------------------------- code from a pipe


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_code_comes_from_a_pipe(arguments: list[str], served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"6 * 7\n")))
    assert served().cli.run("exec", *arguments).out == "42\n"


def test_no_code_at_all_is_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = served()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b" \n")))
    done = gateway.cli.run("exec")
    assert done.code == 2
    assert "CODE" in done.err

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def read(self, size: int | None = -1) -> str:
            raise AssertionError("it waits for what nobody knows they should type")

    monkeypatch.setattr(sys, "stdin", Terminal())
    done = gateway.cli.run("exec")
    assert done.code == 2
    assert "CODE" in done.err
    assert gateway.asked == []


# ---------------------------------------------------------------------------------------------- a gateway that is not there


@pytest.mark.parametrize("arguments", [["exec", "1"], ["exec", "--kernel", "python3", "1"], ["kernels", "start"]])
def test_a_gateway_that_takes_nothing_now_is_told_at_once_and_no_kernel_is_looked_for(
    arguments: list[str], served: Served
) -> None:
    gateway = served()
    gateway.fake.faults.answer(".*", 503)
    done = gateway.cli.run(*arguments)
    assert (done.code, done.out) == (3, "")
    assert set(gateway.asked) == {"GET /api/kernelspecs"}
    first, advice, more = done.err.splitlines()
    assert "answered 503" in first
    assert "trio-gateway doctor" in advice
    assert more == "More in the documentation: docs/errors.md#gatewayhttperror"


def test_a_gateway_that_tells_of_no_kernelspecs_starts_kernels_all_the_same(served: Served) -> None:
    gateway = served()
    gateway.fake.faults.answer("GET /api/kernelspecs", 404)
    assert gateway.cli.run("exec", "6 * 7").out == "42\n"


def test_what_the_log_says_to_everybody_is_in_words_and_names_a_kernel_once() -> None:
    record = logging.makeLogRecord(
        {"msg": "kernel_may_be_left: %s: %s", "args": ("abc", "why"), "levelname": "WARNING", "gateway.kernel_id": "abc"}
    )
    assert _PlainFormatter("trio-gateway: warning: %(message)s").format(record) == (
        "trio-gateway: warning: a kernel may be left on the gateway: abc: why"
    )
    record = logging.makeLogRecord({"msg": "still_busy", "gateway.kernel_id": "abc"})
    assert _PlainFormatter("%(message)s").format(record) == "the kernel was interrupted and is still busy kernel_id=abc"


def test_doctor_says_in_json_too_what_kept_it_from_checking(bare_cli_here: CliHere) -> None:
    done = bare_cli_here.run("doctor", "--json", "--url", "http://127.0.0.1:1", "--token-file", "missing")
    assert done.code == 2
    report = report_of(done)
    assert "missing" in report["error"]["message"]


def test_a_gateway_that_forbids_listing_is_explained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeConfigured(AuthenticationError(403, "Forbidden", url="http://127.0.0.1:1/api/kernels"))
    monkeypatch.setattr(trio_gateway, "open_gateway", fake.open_gateway)
    assert run("kernels", "--url", "http://127.0.0.1:1") == 3
    assert "KG_LIST_KERNELS" in capsys.readouterr().err


def test_kernels_are_listed_with_what_is_known_of_them(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    models = [
        KernelModel(id="one", name="py\x1b[31m" + "x" * 100, last_activity=when, execution_state="idle", connections=2),
        KernelModel(id="two"),
    ]
    monkeypatch.setattr(trio_gateway, "open_gateway", FakeConfigured(models).open_gateway)
    monkeypatch.setenv("COLUMNS", "20")  # nothing is shortened, however narrow the terminal
    assert run("kernels", "--url", "http://127.0.0.1:1") == 0
    assert [line.split() for line in capfd.readouterr().out.splitlines()[1:]] == [
        ["one", "py\\x1b[31m" + "x" * 100, "idle", "2", "2026-01-02T03:04:05+00:00"],
        ["two", "unknown"],
    ]
    assert run("kernels", "list", "--json", "--url", "http://127.0.0.1:1") == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["ok"], report["error"]) == (True, None)
    listed = report["kernels"]
    assert listed[0]["last_activity"] == "2026-01-02T03:04:05+00:00"
    assert listed[1] == {"id": "two", "name": "", "execution_state": "unknown", "connections": None, "last_activity": None}
