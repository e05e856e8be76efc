"""The options of every command: before and after its name, and what they make of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

import trio_gateway
from tools.notebook_tools import FakeKernel
from trio_gateway._cli.options import Options

from .in_process import *  # noqa: F403 - its fixtures
from .in_process import FakeConfigured, Install, run


@pytest.mark.parametrize("content", ["", " \n", "two words"])
def test_a_token_file_holds_one_word_and_what_it_holds_is_not_told(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    assert run("--url", "http://127.0.0.1:1", "--token-file", path, "exec", "1") == 2
    err = capsys.readouterr().err
    assert "--token-file" in err
    assert "two words" not in err


def test_options_count_before_and_after_the_command_and_the_last_one_wins(fake_gateway: Install) -> None:
    gateway = fake_gateway(FakeKernel({}))
    assert run("--kernel", "before", "exec", "1") == 0
    assert run("exec", "--kernel", "after", "1") == 0
    assert run("--kernel", "before", "exec", "1", "--kernel", "after") == 0
    assert run("exec", "1", "--cwd", "/tmp") == 0
    assert [(name, cwd and str(cwd)) for name, cwd in gateway.started] == [
        ("before", None),
        ("after", None),
        ("after", None),
        (None, "/tmp"),
    ]


def test_a_url_and_a_token_file_become_settings(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    options = Options(url="http://h", token_file=path)
    assert options.settings() == {"url": "http://h", "auth_token": "s3cret"}
    assert "s3cret" not in repr(options)


def test_what_the_environment_has_for_another_gateway_is_not_used_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeConfigured([])
    monkeypatch.setattr(trio_gateway, "open_gateway", fake.open_gateway)
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", "s3cret")
    assert run("kernels", "--url", "http://127.0.0.1:1") == 0
    assert fake.configs[-1].auth_token == "s3cret"
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", "http://127.0.0.1:2")
    assert run("kernels", "--url", "http://127.0.0.1:1") == 0
    assert fake.configs[-1].auth_token != "s3cret"
    assert "warning: JUPYTER_GATEWAY_AUTH_TOKEN: not used" in capsys.readouterr().err
