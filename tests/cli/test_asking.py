"""The command at a pseudo terminal, on a real gateway with real kernels: what code asks for is asked there."""

from __future__ import annotations

import signal
from typing import Any

import pytest

import trio_gateway
from tools.notebook_tools import write_notebook

from .cli_kit import Cli, CliHere
from .terminal_kit import at_terminal

pytestmark = pytest.mark.gateway

IN_VAIN = "the code asks for input, and standard input is no terminal: run it at one, or write the value into the code"


async def test_input_and_a_password_are_asked_for_and_the_password_is_not_shown(cli: Cli) -> None:
    code = "import getpass; name = input('Who? '); word = getpass.getpass('Word: '); print('len', len(word), 'of', name)"
    async with at_terminal(
        cli, "exec", f"{code}\ntry:\n    input('Then? ')\nexcept EOFError:\n    print('end of file')"
    ) as terminal:
        await terminal.until("Who? ")
        assert terminal.echoes
        terminal.type("Ädä\n")
        await terminal.until("Word: ")
        assert not terminal.echoes
        terminal.type("s3cret\n")
        await terminal.until("of Ädä\r\nThen? ")
        assert terminal.echoes
        terminal.type("\x04")
        await terminal.until("end of file")
        assert await terminal.end() == 0
    assert "s3cret" not in terminal.shown
    assert "Who? Ädä\r\nWord: \r\n" in terminal.shown
    assert "len 6 of Ädä\r\n" in terminal.shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.full
async def test_a_signal_while_a_password_is_typed_gives_the_terminal_back(cli: Cli, number: signal.Signals) -> None:
    async with at_terminal(cli, "exec", "import getpass; getpass.getpass('Word: ')") as terminal:
        await terminal.until("Word: ")
        assert not terminal.echoes
        terminal.process.send_signal(number)
        assert await terminal.end() == 128 + number
        assert terminal.echoes
    assert "Traceback" not in terminal.shown


@pytest.mark.full
async def test_a_second_signal_gives_the_terminal_back_too(cli: Cli, real_gateway: Any) -> None:
    code = """
import getpass
while True:
    try:
        getpass.getpass('Word: ')
    except KeyboardInterrupt:
        pass
"""
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
        kernel = await gateway.kernels.start()
        async with at_terminal(cli, "exec", "--attach", kernel.id, code) as terminal:
            await terminal.until("Word: ")
            terminal.process.send_signal(signal.SIGINT)
            await terminal.until("quit at once")
            terminal.process.send_signal(signal.SIGINT)
            assert await terminal.end() == 130
            assert terminal.echoes
        await gateway.kernels.shutdown(kernel.id)


@pytest.mark.full
async def test_a_cell_asks_though_a_bar_is_drawn_and_output_goes_elsewhere(cli: Cli) -> None:
    notebook = write_notebook(cli.cwd / "n.ipynb", "x = input('Who? ')", "print(x)")
    with (cli.cwd / "log").open("wb") as log:
        async with at_terminal(cli, "run", notebook, "--inplace", out=log.fileno()) as terminal:
            await terminal.until("Who? ")
            terminal.type("Ada\n")
            await terminal.until("Saved to")
            assert await terminal.end() == 0
        async with at_terminal(cli, "run", notebook, "-q", out=log.fileno()) as terminal:
            await terminal.until("Who? ")
            terminal.type("Bob\n")
            assert await terminal.end() == 0
    assert "Ada" in notebook.read_text()
    assert (cli.cwd / "log").read_text() == "Bob\n"


def test_where_nobody_can_be_asked_one_line_says_what_to_do(cli_here: CliHere) -> None:
    notebook = write_notebook(cli_here.cwd / "n.ipynb", "import getpass; getpass.getpass()")
    done = cli_here.run("exec", "print('before'); input('Who? ')")
    assert (done.code, done.out, done.err) == (1, "before\n", f"trio-gateway: error: {IN_VAIN}\n")
    done = cli_here.run("run", notebook, "-q")
    assert (done.code, done.out) == (1, "")
    assert done.err == f"trio-gateway: error: cell 1 of 1 (import getpass; getpass.getpass()): {IN_VAIN}\n"
    done = cli_here.run("exec", "try: input()\nexcept Exception: print('none')")
    assert (done.code, done.out, done.err) == (0, "none\n", "")
