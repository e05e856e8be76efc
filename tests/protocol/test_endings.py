"""How code says that its program ends."""

from __future__ import annotations

from typing import Any

import pytest

from trio_gateway import Error, ExecutionResult
from trio_gateway._protocol.endings import asked_to_leave, exit_code_in, exit_number, failure_of


@pytest.mark.parametrize(
    ("value", "code"),
    [("", 0), ("0", 0), ("None", 0), ("False", 0), ("True", 1), ("3", 3), ("-1", 255), ("256", 0), ("bad", 1), ("1" * 21, 1)],
)
def test_sys_exit_tells_the_code_that_python_would_end_with(value: str, code: int) -> None:
    assert exit_code_in(Error("SystemExit", value)) == code
    assert exit_code_in(Error("ValueError", value)) is None


def test_a_message_is_no_number() -> None:
    assert exit_number("bad") is None


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (None, None),
        (5, None),
        ("ask_exit", None),
        (["ask_exit"], None),
        ([{"source": "page"}], None),
        ([{"source": "page"}, {"source": "ask_exit"}], 0),
        ([{"source": "ask_exit", "keepkernel": True}], 0),
        ([{"source": "ask_exit", "keepkernel": 3}], 3),
        ([{"source": "ask_exit", "keepkernel": 256}], 0),
    ],
)
def test_a_kernel_may_ask_its_front_end_to_leave(payload: Any, code: int | None) -> None:
    assert asked_to_leave(ExecutionResult("ok", (), {"payload": payload})) == code


def test_a_result_that_is_not_ok_has_an_error_whatever_the_kernel_told() -> None:
    assert failure_of(ExecutionResult("error", (Error("E", "v"),), {})) == Error("E", "v")
    assert failure_of(ExecutionResult("error", (), {"ename": "E", "evalue": "v"})) == Error("E", "v")
    assert failure_of(ExecutionResult("aborted", (), {})).ename == "Aborted"
