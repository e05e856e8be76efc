"""What the page of the command says: the schema of --json, the exit codes, shell completion."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from tools.notebook_tools import write_notebook
from trio_gateway._cli.exits import EXIT_CODES_HELP
from trio_gateway.testing.scenarios import SCENARIOS
from trio_gateway_command.commands import app

from .cli_kit import ServedFake, clean_environment

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "command.md").read_text(encoding="utf-8")
SCHEMA = json.loads((DOCS / "command.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

Served = Callable[..., ServedFake]
UNKNOWN = "00000000-0000-4000-8000-000000000001"

FAILURES = [
    ["exec", "1 / 0"],
    ["exec", "--timeout", "0.2", "import time; time.sleep(60)"],
    ["exec", "--attach", UNKNOWN, "1"],
    ["exec", "--kernel", "klingon", "1"],
    ["exec", "--cwd", "nowhere", "1"],
    ["exec"],
    ["run", "bad.ipynb"],
    ["run", "missing.ipynb"],
    ["kernels", "shutdown", UNKNOWN],
    ["kernels", "start", "klingon"],
    ["kernels", "--url", "nonsense"],
    ["kernelspecs", "--token-file", "missing"],
    ["doctor", "--kernel", "klingon"],
    ["doctor", "--url", "nonsense"],
    ["conformance", "--token-file", "missing"],
]
GOOD = [
    ["exec", "print('x\\x1b[31m'); 6 * 7"],
    ["run", "script.py"],
    ["run", "good.ipynb"],
    ["kernels"],
    ["kernels", "list"],
    ["kernelspecs"],
    ["doctor"],
]


@pytest.fixture
def gateway(served: Served, monkeypatch: pytest.MonkeyPatch) -> ServedFake:
    """A gateway, and files to run."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    gateway = served(restarter_seconds=0.2)
    folder = gateway.cli.cwd
    (folder / "script.py").write_text("print(1)")
    write_notebook(folder / "good.ipynb", "1", ("1 / 0", ["raises-exception"]), "3")
    write_notebook(folder / "bad.ipynb", "1", "1 / 0", "3")
    return gateway


def report_of(gateway: ServedFake, *arguments: str) -> dict[str, Any]:
    """Run a command with --json, and check what it writes."""
    done = gateway.cli.run(*arguments, "--json")
    assert (done.out.count("\n"), done.out.isascii()) == (1, True), arguments
    report: dict[str, Any] = json.loads(done.out)
    VALIDATOR.validate(report)
    assert report["ok"] == (done.code == 0), arguments
    return report


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert not VALIDATOR.is_valid({"ok": True})
    assert not VALIDATOR.is_valid({"ok": True, "error": None, "unknown": 1})


def test_whatever_goes_well_is_of_one_shape(gateway: ServedFake) -> None:
    for arguments in GOOD:
        assert report_of(gateway, *arguments)["ok"], arguments
    kernel_id = report_of(gateway, "kernels", "start")["kernels"][0]["id"]
    for command in ("interrupt", "restart", "shutdown"):
        assert report_of(gateway, "kernels", command, kernel_id)["kernels"] == [{"id": kernel_id, "ok": True, "error": None}]


def test_whatever_goes_wrong_is_of_the_same_shape(gateway: ServedFake) -> None:
    for arguments in FAILURES:
        report = report_of(gateway, *arguments)
        assert not report["ok"], arguments
        assert report["error"] is not None or arguments[0] == "doctor", arguments


def test_conformance_is_of_that_shape_and_counts_on_standard_error(gateway: ServedFake, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [scenario for scenario in SCENARIOS if scenario.name in {"execute", "restart"}]
    monkeypatch.setattr("trio_gateway.testing.scenarios.SCENARIOS", few)
    monkeypatch.setattr("trio_gateway._cli.conformance_command.SCENARIOS", few)
    assert len(report_of(gateway, "conformance")["scenarios"]) == 2


def test_each_key_and_each_command_is_on_the_page() -> None:
    for key in SCHEMA["properties"]:
        assert f"`{key}`" in PAGE
    for name in app.list_commands(click.Context(app)):
        assert f"`{name}" in PAGE


def test_the_exit_codes_are_those_of_the_page() -> None:
    section = PAGE.partition("## Exit codes")[2].partition("\n## ")[0]
    assert re.findall(r"^\| (\d+) \| (.*) \|$", section, re.MULTILINE) == [
        (str(int(code)), what) for code, what in EXIT_CODES_HELP
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes(shell: str) -> None:
    assert f"_TRIO_GATEWAY_COMPLETE={shell}_source trio-gateway" in PAGE

    def ask(what: str, **variables: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; sys.argv[0] = 'trio-gateway'; from trio_gateway_command import main; main()"],
            env={**clean_environment(), "_TRIO_GATEWAY_COMPLETE": f"{shell}_{what}", **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.stdout

    assert "_TRIO_GATEWAY_COMPLETE" in ask("source")
    words = {"COMP_WORDS": "trio-gateway kernels st", "COMP_CWORD": "st" if shell == "fish" else "2"}
    assert "start" in ask("complete", **words)
