"""`--hub`: a JupyterHub user's server in place of a gateway, started where that makes sense; errors that say what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.notebook_tools import texts_of, write_notebook

from .cli_kit import CliHere, ServedFake, ServedHub

ALICE = "/hub/api/users/alice/server"


def test_code_runs_on_a_server_that_is_started_and_stopped(served_hub: ServedHub) -> None:  # G1, G2
    hub = served_hub.hub
    done = served_hub.cli.run("exec", "--hub", hub.url, "6 * 7")
    assert (done.code, done.out) == (0, "42\n")
    assert "The hub: alice: 100 %: Server ready at /user/alice/" in done.err
    assert hub.token not in done.err
    assert hub.count(f"POST {ALICE}") == hub.count(f"DELETE {ALICE}") == 1
    done = served_hub.cli.run("-q", "--hub", f"{hub.url}/hub", "--hub-server", "gpu", "exec", "6 * 7")
    assert (done.code, done.out, done.err) == (0, "42\n", "")
    assert hub.count("DELETE /hub/api/users/alice/servers/gpu") == 1


def test_a_notebook_runs_there(served_hub: ServedHub, tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "n.ipynb", "6 * 7")
    done = served_hub.cli.run("run", path, "--inplace", "-q", "--hub", served_hub.hub.url)
    assert (done.code, done.out) == (0, "")
    (cell,) = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert texts_of(cell) == ["42"]
    assert served_hub.hub.count(f"DELETE {ALICE}") == 1


def test_another_user_is_named_and_the_token_comes_from_a_file(served_hub: ServedHub, tmp_path: Path) -> None:
    hub = served_hub.hub
    hub.tokens["services-token"] = type(hub.tokens[hub.token])("ci", "service")
    (tmp_path / "token").write_text("services-token\n", encoding="utf-8")
    (tmp_path / "token").chmod(0o600)
    given = ["exec", "-q", "6 * 7", "--hub", hub.url, "--token-file", str(tmp_path / "token")]
    done = served_hub.cli.run(*given)
    assert done.code == 2
    assert "--hub-user: None can't be used; expected a user's name: the token is the service 'ci'" in done.err
    assert served_hub.cli.run(*given, "--hub-user", "bob").out == "42\n"
    assert hub.count("POST /hub/api/users/bob/server") == 1


def test_kernels_are_those_of_a_server_that_runs_and_none_is_started_for_them(served_hub: ServedHub) -> None:
    hub = served_hub.hub
    for arguments in (["kernels"], ["kernels", "start"], ["exec", "--attach", "0123", "1"], ["kernels", "shutdown", "0123"]):
        done = served_hub.cli.run(*arguments, "--hub", hub.url)
        assert done.code == 3
        assert f"start it in the hub's page ({hub.url}/hub/spawn/alice)\nStart it there, then try again" in done.err
        assert "open_hub" not in done.err
    assert hub.count(f"POST {ALICE}") == 0
    served_hub.run_server()
    kernel_id = served_hub.cli.run("kernels", "start", "--hub", hub.url).out.strip()
    assert served_hub.cli.run("exec", "--attach", kernel_id, "6 * 7", "--hub", hub.url).out == "42\n"
    listed = json.loads(served_hub.cli.run("kernels", "list", "--json", "--hub", hub.url).out)
    assert [kernel["id"] for kernel in listed["kernels"]] == [kernel_id]
    assert served_hub.cli.run("kernels", "shutdown", kernel_id, "--hub", hub.url).code == 0
    assert hub.count(f"POST {ALICE}") == hub.count(f"DELETE {ALICE}") == 0


def test_a_server_that_runs_is_used_and_left(served_hub: ServedHub) -> None:
    served_hub.run_server()
    assert served_hub.cli.run("exec", "6 * 7", "--hub", served_hub.hub.url).out == "42\n"
    assert served_hub.cli.run("kernelspecs", "--hub", served_hub.hub.url).code == 0
    assert served_hub.hub.count(f"POST {ALICE}") == served_hub.hub.count(f"DELETE {ALICE}") == 0


def test_the_doctor_looks_at_the_server_and_starts_none(served_hub: ServedHub) -> None:  # G10
    hub = served_hub.hub
    done = served_hub.cli.run("doctor", "--hub", hub.url)
    assert done.code == 3
    assert f"{hub.url}/hub/spawn/alice" in done.out
    assert [line.split()[2] for line in done.out.splitlines() if line.startswith("url ")] == ["--hub"]
    assert hub.count(f"POST {ALICE}") == 0
    served_hub.run_server()
    done = served_hub.cli.run("doctor", "--hub", hub.url)
    assert (done.code, done.err) == (0, "")
    hub.down = True
    done = served_hub.cli.run(
        "doctor", "--hub", hub.url, JUPYTER_GATEWAY_CONNECT_TIMEOUT="1", JUPYTER_GATEWAY_MAX_REQUEST_RETRIES="0"
    )
    assert done.code == 3
    assert "FAILED" in done.out


def test_a_token_that_the_hub_does_not_know(served_hub: ServedHub) -> None:  # G8, G10
    hub = served_hub.hub
    for command in (["exec", "1"], ["kernels"], ["doctor"]):
        done = served_hub.cli.run(*command, "--hub", hub.url, JUPYTER_GATEWAY_AUTH_TOKEN="nobodys-token")
        assert done.code == 3
        assert "the hub does not know the token" in done.err
        assert f"Make a token at {hub.url}/hub/token, and give it in JUPYTER_GATEWAY_AUTH_TOKEN or with --token-file." in done.err
        assert "nobodys-token" not in done.err


def test_a_start_that_fails_is_told_in_the_hubs_words(served_hub: ServedHub) -> None:
    served_hub.hub.spawn_failure = "no such image"
    done = served_hub.cli.run("exec", "1", "--hub", served_hub.hub.url)
    assert done.code == 3
    assert "no such image" in done.err
    assert "the hub's administrators can read its log" in done.err


def test_what_is_no_hub(served_hub: ServedHub, served: Callable[..., ServedFake]) -> None:
    done = served_hub.cli.run("exec", "1", "--hub", served(token="").url)
    assert done.code == 3
    assert "no JupyterHub answers there" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hub", "http://h", "--url", "http://u"], "--hub and --url exclude each other"),
        (["--hub", "http://h", "--gateway", "prod"], "--hub and --gateway exclude each other"),
        (["--hub-user", "alice"], "--hub-user says which server of a JupyterHub: give the hub's address with --hub"),
        (["--hub-server", "gpu"], "--hub-server says which server of a JupyterHub"),
        (["--hub", "nonsense"], "hub: 'nonsense' can't be used"),
        (["--hub", "http://h", "--hub-user", "a/b"], "--hub-user: 'a/b' can't be used"),
        (["--hub", "http://h", "--hub-user", "a", "--hub-server", "a/b"], "--hub-server: 'a/b' can't be used"),
    ],
)
@pytest.mark.parametrize("command", [["exec", "1"], ["kernels"], ["doctor"], ["kernelspecs"], ["conformance"]])
def test_options_that_can_not_be_used_are_named(
    bare_cli_here: CliHere, command: list[str], arguments: list[str], said: str
) -> None:
    done = bare_cli_here.run(*command, *arguments)
    assert done.code == 2
    assert said in done.err + done.out


def test_the_login_of_another_gateway_is_not_sent(served_hub: ServedHub) -> None:  # G8
    done = served_hub.cli.run("exec", "1", "--hub", served_hub.hub.url, JUPYTER_GATEWAY_URL="http://other.invalid")
    assert done.code == 3
    assert "JUPYTER_GATEWAY_AUTH_TOKEN: not used, because JUPYTER_GATEWAY_URL names another gateway than --hub" in done.err
    assert not any("authorization" in request.headers for request in served_hub.hub.requests)


def test_the_help_says_it(bare_cli_here: CliHere) -> None:
    shown = " ".join(bare_cli_here.run("exec", "--help", COLUMNS="200").out.split())
    assert "--hub URL" in shown
    assert "--hub-user NAME" in shown
    assert "--hub-server NAME" in shown
    assert "is started, and stopped at the end" in shown
