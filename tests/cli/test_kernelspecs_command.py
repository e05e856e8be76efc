"""`kernelspecs` on a real gateway."""

from __future__ import annotations

import json

import pytest

from .cli_kit import CliHere

pytestmark = pytest.mark.gateway


def test_kernelspecs(cli_here: CliHere) -> None:
    table = cli_here.run("kernelspecs")
    assert table.code == 0
    assert any(line.startswith("python3 ") and line.endswith("*") for line in table.out.splitlines())
    specs = json.loads(cli_here.run("kernelspecs", "--json").out)
    assert specs["default"] == "python3"
    assert specs["kernelspecs"]["python3"]["language"] == "python"
