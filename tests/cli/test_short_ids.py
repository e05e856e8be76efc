"""The beginning of a kernel's id, as the proxy's page shows it, names the kernel where it can be no other."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

import trio_gateway.blocking

from .cli_kit import ServedFake
from .in_process import *  # noqa: F403 - its fixtures

Served = Callable[..., ServedFake]

FIRST = "abcd1234-0000-4000-8000-000000000001"
SECOND = "abcd1239-0000-4000-8000-000000000002"


def begin(served: Served) -> ServedFake:
    """Have a fake gateway with two kernels whose ids begin alike."""
    found = served()
    with trio_gateway.blocking.open_gateway(found.url, auth_token=found.fake.token) as gateway:
        for kernel_id in (FIRST, SECOND):
            gateway.kernels.start(kernel_id=kernel_id)
    return found


def test_as_many_letters_as_the_page_shows(served: Served) -> None:
    gateway = begin(served)
    assert gateway.cli.run("exec", "--attach", FIRST[:8], "x = 6").code == 0
    (gateway.cli.cwd / "script.py").write_text("x * 7")
    assert gateway.cli.run("run", "script.py", "--attach", FIRST[:8]).out == "42\n"
    for action, done in (("interrupt", "interrupted"), ("restart", "restarted"), ("shutdown", "shut down")):
        assert gateway.cli.run("kernels", action, FIRST[:8]).err == f"{FIRST}: {done}.\n"
    assert list(gateway.fake.kernels) == [SECOND]


@pytest.mark.parametrize("words", [("kernels", "shutdown"), ("exec", "1", "--attach")], ids=" ".join)
def test_letters_that_several_begin_with(served: Served, words: tuple[str, ...]) -> None:
    gateway = begin(served)
    done = gateway.cli.run(*words, FIRST[:6])
    assert (done.code, done.out) == (2, "")
    assert f"ID: 'abcd12' can't be used; expected more of it: 2 kernels begin so, {FIRST}, {SECOND}" in done.err
    assert list(gateway.fake.kernels) == [FIRST, SECOND]


@pytest.mark.parametrize("given", ["abc", "abcd99", FIRST[:-1], f" {FIRST[:8]}"])
def test_what_is_no_beginning_is_taken_for_an_id(served: Served, given: str) -> None:
    gateway = begin(served)
    done = gateway.cli.run("kernels", "shutdown", given)
    assert done.code == 2
    assert "begin" not in done.err
    assert list(gateway.fake.kernels) == [FIRST, SECOND]


def test_a_whole_id_costs_no_question_and_a_gateway_may_forbid_lists(served: Served) -> None:
    gateway = begin(served)
    assert gateway.cli.run("kernels", "interrupt", FIRST).code == 0
    assert "GET /api/kernels" not in gateway.asked
    gateway.fake.list_kernels = False
    done = gateway.cli.run("kernels", "interrupt", FIRST[:8])
    assert done.code == 2
    assert "`trio-gateway kernels` lists" in done.err


def test_a_kernel_that_is_named_twice_is_shut_down_once(served: Served) -> None:
    gateway = begin(served)
    done = gateway.cli.run("kernels", "shutdown", FIRST, FIRST[:8], FIRST, "--json")
    assert done.code == 0
    assert [(each["id"], each["ok"]) for each in json.loads(done.out)["kernels"]] == [(FIRST, True)]
    assert list(gateway.fake.kernels) == [SECOND]


def test_several_beginnings_cost_one_question(served: Served) -> None:
    gateway = begin(served)
    assert gateway.cli.run("kernels", "shutdown", FIRST[:8], SECOND[:8], "abcd99").code == 2
    assert gateway.asked.count("GET /api/kernels") == 1
    assert not gateway.fake.kernels


def test_a_list_that_fails_keeps_no_whole_id_from_its_turn(served: Served) -> None:
    gateway = begin(served)
    gateway.fake.faults.answer("GET /api/kernels", 500)
    done = gateway.cli.run("kernels", "shutdown", FIRST[:8], SECOND[:8], SECOND, "--json")
    assert done.code == 3
    assert [(each["id"], each["ok"]) for each in json.loads(done.out)["kernels"]] == [
        (FIRST[:8], False),
        (SECOND[:8], False),
        (SECOND, True),
    ]
    assert list(gateway.fake.kernels) == [FIRST]
    gateway.fake.faults.answer("GET /api/kernels", 401)
    done = gateway.cli.run("kernels", "shutdown", FIRST[:8], FIRST)
    assert done.code == 3
    assert list(gateway.fake.kernels) == [FIRST]
