"""The command that prints the token: what it gives, how it fails, and that neither it nor its output is left anywhere."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tools.scripted_http import Answer, Request, bench, response
from trio_gateway._config import GatewayConfig
from trio_gateway._errors import AuthenticationError, ConfigError, GatewayError, GatewayTimeoutError, TokenCommandError
from trio_gateway._transport.http.client import open_http_client
from trio_gateway._transport.http.token_command import run_token_command

TOKEN = "s3cret-t0ken-0123456789"


def python(code: str, *arguments: str) -> list[str]:
    """A command in Python: on each system the same."""
    return [sys.executable, "-I", "-S", "-c", code, *arguments]


async def failure_of(command: Sequence[str], limit: float = 200, secrets: Sequence[str] = ()) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await run_token_command(command, limit, lambda: secrets)
    return caught.value


def accepting(*tokens: str) -> Answer:
    """Answer 401 to all other tokens."""

    def answer(request: Request) -> bytes:
        return response(200 if request.headers.get("authorization", "").removeprefix("token ") in tokens else 401)

    return answer


def counting(path: Path, *, fails_from: int = 1000) -> list[str]:
    """A command that prints token-1, token-2 and so on, and from a number on fails."""
    code = f"""
import pathlib, sys
path = pathlib.Path({str(path)!r})
number = int(path.read_text()) + 1 if path.exists() else 1
path.write_text(str(number))
if number >= {fails_from}:
    sys.exit("no more tokens")
print(f"token-{{number}}")
"""
    return python(code)


def tokens_of(requests: list[Request]) -> list[str]:
    return [request.headers.get("authorization", "") for request in requests]


# ----------------------------------------------------------------------------------------------------- what it gives


@pytest.mark.parametrize("printed", [TOKEN, f"{TOKEN}\n", f"  {TOKEN}\r\n\n"])
async def test_what_it_prints_is_the_token(printed: str) -> None:
    token = await run_token_command(python(f"import sys; sys.stdout.write({printed!r})"), 200, tuple)
    assert token == TOKEN
    assert repr(token) == "'***'"


async def test_it_gets_its_arguments_as_they_are_and_no_shell() -> None:
    command = python("import sys; print(sys.argv[1])", "$(echo;`")
    assert await run_token_command(command, 200, tuple) == "$(echo;`"


async def test_it_reads_nothing_and_has_no_terminal() -> None:
    code = """
import os, sys
assert sys.stdin.read() == ""
if os.name == "posix":
    assert os.getsid(0) == os.getpid() == os.getpgid(0)
print("alone")
"""
    assert await run_token_command(python(code), 200, tuple) == "alone"


async def test_what_it_leaves_running_does_not_hold_its_answer_up(tmp_path: Path) -> None:  # G3
    """An agent that it starts has its output open for as long as it lives."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    agent = f"open({str(fifo)!r}).read()"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-I', '-S', '-c', {agent!r}]); print('t0ken')"
    assert await run_token_command(python(code), 200, tuple) == "t0ken"
    await trio.to_thread.run_sync(fifo.write_text, "end")


# ------------------------------------------------------------------------------------------------------ how it fails


@pytest.mark.parametrize(
    ("code", "problem", "said"),
    [
        ("import sys; sys.exit('log in first')", "ended with status 1", "log in first"),
        ("import sys; sys.exit(7)", "ended with status 7", ""),
        ("pass", "printed nothing on standard output", ""),
        ("print()", "printed nothing on standard output", ""),
        ("print('two words')", "printed what is no token", ""),
        ("print('two'); print('lines')", "printed what is no token", ""),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\xfe')", "printed what is no token", ""),
        ("print('a\\x00b')", "printed what is no token", ""),
        ("import sys\nwhile True: sys.stdout.write('x' * 1000)", "printed more than 16384 bytes", ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL", ""),
    ],
)
async def test_how_it_failed_is_told(code: str, problem: str, said: str) -> None:
    error = await failure_of(python(code))
    assert isinstance(error, TokenCommandError)
    assert error.problem.startswith(problem)
    assert error.stderr == said
    assert error.program == sys.executable
    assert str(error) == f"token_command: the command {sys.executable!r} {error.problem}" + (f": {said}" if said else "")


async def test_a_program_that_can_not_be_started_is_told(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("no program")
    program.chmod(0o700)
    error = await failure_of([str(program)])
    assert isinstance(error, TokenCommandError)
    assert error.problem == "can't be started (Exec format error)"
    assert error.returncode is None


async def test_its_words_are_shown_without_the_token_and_its_output_never() -> None:  # G8
    code = f"""
import sys
print("{TOKEN}")
print("another-s3cret")
print("got {TOKEN} and another-s3cret, and had 0ld-s3cret\\x1b[31m", file=sys.stderr)
sys.exit(3)
"""
    error = await failure_of(python(code), secrets=["0ld-s3cret"])
    assert isinstance(error, TokenCommandError)
    assert error.stderr == "got [hidden] and [hidden], and had [hidden] [31m"
    assert "s3cret" not in str(error)


async def test_of_many_words_the_last_are_shown() -> None:  # G7
    code = f"""
import sys
for number in range(10_000):
    print(f"line {{number}} {TOKEN}", file=sys.stderr)
print("the reason", file=sys.stderr)
print("{TOKEN}")
sys.exit(1)
"""
    error = await failure_of(python(code))
    assert isinstance(error, TokenCommandError)
    assert len(error.stderr) <= 500
    assert "cret-t0ken" not in error.stderr
    assert error.stderr.endswith("the reason")


# ------------------------------------------------------------------------------------------------------ how it ends


def group_is_gone(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return True
    return False


async def gone(leader: int) -> None:
    """Wait until all of a group are gone: those that have lost their parent are collected by the system's first process."""
    while not group_is_gone(leader):  # noqa: ASYNC110 - nobody tells
        await trio.sleep(0.01)


FAMILY = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"])
with open(sys.argv[1], "w") as file:
    print(os.getpid(), file=file)
print("waiting for you", file=sys.stderr, flush=True)
os.write(int(sys.argv[2]), b"x") if len(sys.argv) > 2 else None
signal.pause()
"""


async def started(fifo: Path) -> int:
    """Wait until the command has written its id into a pipe with a name."""
    return int(await trio.to_thread.run_sync(fifo.read_text))


async def test_cancelling_ends_it_and_what_it_has_started(tmp_path: Path) -> None:  # G1
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_token_command, python(FAMILY, str(fifo)), 200, tuple)
        leader = await started(fifo)
        nursery.cancel_scope.cancel()
    await gone(leader)


async def test_its_limit_ends_it_and_is_told_with_its_words(tmp_path: Path) -> None:  # G3
    said = tmp_path / "said"
    code = f"import signal, sys; print('waiting for you', file=sys.stderr, flush=True); open({str(said)!r}, 'w'); signal.pause()"
    error: list[GatewayError] = []

    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            error.append(await failure_of(python(code), limit=5))

        nursery.start_soon(ask)
    (found,) = error
    assert isinstance(found, GatewayTimeoutError)
    assert (found.setting, found.limit) == ("token_command_timeout", 5)
    assert "said: waiting for you" in str(found) or not said.exists()


# ------------------------------------------------------------------------------------------------- when it is asked


async def test_it_runs_where_there_is_no_token_and_where_one_is_refused(tmp_path: Path) -> None:
    command = counting(tmp_path / "count")
    async with bench(accepting("token-1"), token_command=command) as it:
        for _ in range(3):
            await it.http.request("GET", "/")
        assert await it.http.handshake_headers(it.http.config.websocket_url("/")) == [("Authorization", "token token-1")]
    assert tokens_of(it.requests) == ["token token-1"] * 3
    async with bench(accepting("token-2"), auth_token="old", token_command=command) as it:
        await it.http.request("POST", "/")
        await it.http.request("GET", "/")
    assert tokens_of(it.requests) == ["token old", "token token-2", "token token-2"]


async def test_a_new_token_that_is_refused_too_is_a_refusal(tmp_path: Path) -> None:
    async with bench(accepting("never"), token_command=counting(tmp_path / "count")) as it:
        with pytest.raises(AuthenticationError):
            await it.http.request("GET", "/")
    assert tokens_of(it.requests) == ["token token-1", "token token-2"]


async def test_requests_at_the_same_time_share_one_run(tmp_path: Path) -> None:
    async with bench(accepting("token-2"), token_command=counting(tmp_path / "count")) as it:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(it.http.request, "GET", "/")
    assert (tmp_path / "count").read_text() == "2"


async def test_requests_at_the_same_time_share_one_failure(tmp_path: Path) -> None:
    errors: list[TokenCommandError] = []
    async with bench(accepting("never"), token_command=counting(tmp_path / "count", fails_from=1)) as it:

        async def ask() -> None:
            with pytest.raises(TokenCommandError, match="no more tokens") as caught:
                await it.http.request("GET", "/")
            errors.append(caught.value)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask)
        assert it.requests == []
        assert (tmp_path / "count").read_text() == "1"
        assert len({id(error) for error in errors}) == 10
        # The next request asks again.
        await ask()
    assert (tmp_path / "count").read_text() == "2"


async def test_a_failure_after_a_refusal_tells_both(tmp_path: Path) -> None:
    async with bench(accepting("never"), auth_token="old", token_command=counting(tmp_path / "count", fails_from=1)) as it:
        with pytest.raises(TokenCommandError) as caught:
            await it.http.request("GET", "/")
    assert isinstance(caught.value.__cause__, AuthenticationError)


async def test_a_run_that_is_cancelled_answers_nobody(tmp_path: Path) -> None:
    """The one that waits for the same answer asks anew."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    code = f"""
import os, pathlib, signal, sys
marker = pathlib.Path({str(tmp_path / "marker")!r})
if marker.exists():
    print("t0ken")
else:
    marker.write_text("")
    with open(sys.argv[1], "w") as file:
        print(os.getpid(), file=file)
    signal.pause()
"""
    async with bench(accepting("t0ken"), token_command=python(code, str(fifo))) as it:
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def first() -> None:
                with scope:
                    await it.http.request("GET", "/first")

            nursery.start_soon(first)
            leader = await started(fifo)
            nursery.start_soon(it.http.request, "GET", "/second")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert [request.target for request in it.requests] == ["/Base/second"]
    await gone(leader)


# ------------------------------------------------------------------------------------------------------ the setting


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a", "b c"], ("a", "b c")),
        (("a",), ("a",)),
        ("a 'b c' d\\ e", ("a", "b c", "d e")),
        (None, None),
    ],
)
def test_how_it_is_given(given: Any, expected: Any) -> None:
    config = GatewayConfig(url="http://127.0.0.1", token_command=given)
    assert config.token_command == expected
    assert GatewayConfig.from_env({}, url="http://127.0.0.1", token_command=given).token_command == expected
    assert config.replace(request_timeout=5).token_command == expected


def test_the_variable() -> None:
    environ = {"JUPYTER_GATEWAY_URL": "http://127.0.0.1", "JUPYTER_GATEWAY_TOKEN_COMMAND": "vault read -field=token 'my path'"}
    config = GatewayConfig.from_env(environ)
    assert config.token_command == ("vault", "read", "-field=token", "my path")
    # It is for the gateway that the environment names.
    other = GatewayConfig.from_env(environ, url="http://127.0.0.2")
    assert (other.token_command, other.ignored_variables) == (None, ("JUPYTER_GATEWAY_TOKEN_COMMAND",))
    assert config.replace(url="http://127.0.0.2").token_command is None


def test_its_arguments_show_nowhere_and_its_program_does() -> None:  # G8
    config = GatewayConfig(url="http://127.0.0.1", token_command=["vault", "login", "-token=s3cret"])
    (row,) = [row for row in config.describe() if row.name == "token_command"]
    assert row.value == "vault ***"
    assert "token_command=('vault', '***', '***')" in repr(config)
    assert "s3cret" not in f"{config!r} {config.describe()!r} {config.token_command!r}"


@pytest.mark.parametrize(
    "given", ["", "  ", [], [""], ["a", 5], ["a\0b"], "a 'b s3cret", 5, b"a", {"a": 1}, ["vault read s3cret"]]
)
def test_what_is_no_command_is_named_and_not_shown(given: Any) -> None:  # G8, G10
    with pytest.raises(ConfigError, match=r"token_command: .* expected a command") as caught:
        GatewayConfig(url="http://127.0.0.1", token_command=given)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("beside", "named"),
    [
        ({"token_renewer": type("Renewer", (), {"get_token": lambda *_: "t"})()}, "token_renewer"),
        ({"gateway_token_renewer_class": "my.Renewer"}, "gateway_token_renewer_class"),
        ({"http_user": "me"}, "http_user"),
    ],
)
def test_what_can_not_stand_beside_it(beside: Any, named: str) -> None:  # G10
    with pytest.raises(ConfigError, match=f"only one of token_command and {named}"):
        GatewayConfig(url="http://127.0.0.1", token_command="vault", **beside)
    GatewayConfig(url="http://127.0.0.1", token_command="vault", http_user="me", auth_header_key="X-Auth")


async def test_a_program_that_is_not_there_is_named_before_anything_is_sent() -> None:  # G10
    config = GatewayConfig(url="http://127.0.0.1", token_command=shlex.join(["no-such-program", "s3cret"]))
    with pytest.raises(ConfigError, match=r"token_command: .*'no-such-program' is no program in PATH") as caught:
        async with open_http_client(config):
            raise AssertionError("it was opened")
    assert "s3cret" not in str(caught.value)
