"""Several addresses of one gateway, on the command line and in the environment."""

from __future__ import annotations

import pytest

from tools.ports import held_port

from .cli_kit import CliHere


@pytest.mark.gateway
def test_the_next_address_is_used_where_the_first_is_down(cli_here: CliHere) -> None:
    real = cli_here.environment["JUPYTER_GATEWAY_URL"]
    with held_port() as port:
        both = f"http://127.0.0.1:{port},{real}"
        done = cli_here.run("exec", "6 * 7", JUPYTER_GATEWAY_URL=both)
        assert (done.code, done.out) == (0, "42\n")
        done = cli_here.run("doctor", "--no-kernel", JUPYTER_GATEWAY_URL=both)
        assert done.code == 0
        assert "addresses" in done.out
        done = cli_here.run("exec", "1", "--url", both)
        assert done.code == 3, "the environment's token is for the real one alone"  # G8


@pytest.mark.gateway
def test_all_down_is_code_3_and_names_each(cli_here: CliHere) -> None:
    with held_port() as one, held_port() as two:
        done = cli_here.run("exec", "1", "--url", f"http://127.0.0.1:{one}, http://127.0.0.1:{two}")
    assert done.code == 3
    assert f"http://127.0.0.1:{one}: " in done.err
    assert f"http://127.0.0.1:{two}: " in done.err


def test_a_wrong_one_is_code_2_and_named_by_its_index(cli_here: CliHere) -> None:  # G10
    done = cli_here.run("exec", "1", "--url", "http://127.0.0.1:1,ftp://127.0.0.1")
    assert done.code == 2
    assert "[1], number 2 of 2 addresses" in done.err
