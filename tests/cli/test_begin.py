"""The command's first moments, and its last: Ctrl-C ends it without a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

import trio_gateway_command
from trio_gateway import __version__

from .cli_kit import Done, ServedFake, clean_environment

ROOT = Path(__file__).parents[2]

INTERRUPTED_IN_AN_IMPORT = """
import signal, sys

wanted = sys.argv[1]


class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            signal.raise_signal(signal.SIGINT)
        return None


if "ignored" in sys.argv[2:]:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.meta_path.insert(0, Interrupting())
from trio_gateway_command import main

sys.argv[1:] = ["gateways", "--quiet"]
{after}
main()
"""


async def begin(code: str, *arguments: str) -> Done:
    done = await trio.run_process(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=clean_environment(),
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize("module", ["trio_gateway", "trio", "trio_gateway._kernel.kernel", "trio_gateway._cli", "click"])
async def test_ctrl_c_while_the_command_is_imported_gives_130_and_says_nothing(module: str) -> None:
    code = INTERRUPTED_IN_AN_IMPORT.format(after="")
    assert await begin(code, module) == Done(130, "", "")


async def test_without_ctrl_c_the_same_program_ends_well() -> None:
    done = await begin(INTERRUPTED_IN_AN_IMPORT.format(after=""), "no_such_module")
    assert (done.code, done.err) == (0, "")


async def test_ctrl_c_that_our_parent_had_us_ignore_stays_ignored() -> None:
    done = await begin(INTERRUPTED_IN_AN_IMPORT.format(after=""), "trio", "ignored")
    assert (done.code, done.err) == (0, "")


async def test_ctrl_c_when_all_is_done_says_nothing_either() -> None:
    after = "import atexit; atexit.register(signal.raise_signal, signal.SIGINT)"
    assert (await begin(INTERRUPTED_IN_AN_IMPORT.format(after=after), "-")).err == ""


def test_the_command_begins_where_nothing_is_imported_yet() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts == {"trio-gateway": "trio_gateway_command:main"}
    look = "import sys, trio_gateway_command; print({'trio_gateway', 'trio'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_the_version_is_said_before_anything_is_imported() -> None:
    look = (
        "import sys, trio_gateway_command; sys.argv[1:] = ['--version']; trio_gateway_command.main(); "
        "print({'trio_gateway', 'trio', 'click'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert done.stdout == f"trio-gateway, version {__version__}\nset()\n"


def test_where_the_version_can_not_be_said_so_quickly_the_command_says_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(trio_gateway_command, "__file__", str(tmp_path / "trio_gateway_command" / "__init__.py"))
    monkeypatch.setattr(sys, "argv", ["trio-gateway", "--version"])
    with pytest.raises(SystemExit) as caught:
        trio_gateway_command.main()
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"trio-gateway, version {__version__}\n"


HEAVY = ["trio_gateway", "trio", "attrs", "attr", "rich", "rich_click", "pathlib", "shutil", "asyncio", "logging", "subprocess"]
IMPORTED = """
import json, sys

before = {*sys.modules}  # an editable installation brings some
from trio_gateway_command import main

sys.argv[1:] = json.loads(sys.argv[1])
try:
    main()
finally:
    print("\\n" + json.dumps(sorted({*sys.modules} - before)), file=sys.stderr)
"""


def imported_by(*arguments: str, code: int = 0, **variables: str) -> set[str]:
    """Return the modules that a command imports."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, json.dumps(arguments)],
        check=False,
        capture_output=True,
        text=True,
        env={**clean_environment(), **variables},
    )
    assert done.returncode == code, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments", [[], ["exec"], ["run"], ["kernels"], ["kernels", "start"], ["doctor"], ["conformance"], ["proxy"]], ids=" ".join
)
def test_help_imports_click_and_nothing_of_the_library(arguments: list[str]) -> None:
    found = imported_by(*arguments, "--help")
    assert "click" in found
    assert found.isdisjoint(HEAVY)


def test_the_shell_completes_names_without_the_library() -> None:
    words = {"_TRIO_GATEWAY_COMPLETE": "bash_complete", "COMP_WORDS": "trio-gateway kernels st", "COMP_CWORD": "2"}
    assert imported_by(**words).isdisjoint({"trio_gateway", "trio", "rich"})


def test_a_command_imports_nothing_that_another_needs(served: Callable[..., ServedFake]) -> None:
    gateway = served()
    found = imported_by("exec", "1", "--url", gateway.url, JUPYTER_GATEWAY_AUTH_TOKEN=gateway.fake.token)
    parts = ("testing", "proxy", "_notebooks", "_doctor", "_python", "_portal", "_cli.progress")
    assert "trio_gateway._cli.exec_command" in found
    assert found.isdisjoint({"rich", "nbformat", "papermill", *[f"trio_gateway.{name}" for name in parts]})


@pytest.fixture
def full() -> Iterator[int]:
    """A file on a full disk."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


NO_SPACE = "trio-gateway: error: OSError: [Errno 28] No space left on device\n"


def write_to(arguments: list[str], variables: dict[str, str], **streams: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trio_gateway_command", *arguments]
    return subprocess.run(command, check=False, text=True, env={**clean_environment(), **variables}, **streams)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", ["--help", "exec --help", "--version", "--version -q", "completion"])
def test_what_can_not_be_written_is_a_line_and_no_traceback(arguments: str, unbuffered: str, full: int) -> None:
    variables = {"PYTHONUNBUFFERED": unbuffered}
    if arguments == "completion":
        arguments, variables = "", {**variables, "_TRIO_GATEWAY_COMPLETE": "zsh_source"}
    done = write_to(arguments.split(), variables, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (2, NO_SPACE)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["kernels"]], ids=" ".join)
def test_where_even_an_error_can_not_be_written_the_exit_code_tells_it(arguments: list[str], unbuffered: str, full: int) -> None:
    done = write_to(arguments, {"PYTHONUNBUFFERED": unbuffered}, stdout=subprocess.PIPE, stderr=full)
    assert (done.returncode, done.stdout) == (2, "")
    assert write_to(arguments, {"PYTHONUNBUFFERED": unbuffered}, stdout=full, stderr=full).returncode == 2


def test_what_is_left_at_the_end_and_can_not_be_written_is_told_too(full: int) -> None:
    code = "import sys, trio_gateway_command as c; c._run = lambda: print('left') or 0; sys.argv[1:] = ['gateways']; c.main()"
    environment = {**clean_environment(), "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, text=True, env=environment, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (2, NO_SPACE)


@pytest.mark.parametrize("columns", ["0", "00", "", "1", "nonsense"])
async def test_a_terminal_without_columns_is_written_to_all_the_same(columns: str) -> None:
    done = await trio.run_process(
        [sys.executable, "-m", "trio_gateway_command", "nonsense"],
        stdin=subprocess.DEVNULL,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**clean_environment(), "COLUMNS": columns},
    )
    assert (done.returncode, b"No such command" in done.stderr) == (2, True)
