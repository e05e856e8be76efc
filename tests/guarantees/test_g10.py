"""G10 on a real gateway: bad input is named before anything is sent, seen by counting requests."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tools.gateway_tools import rest
from trio_gateway import (
    AuthenticationError,
    ConfigError,
    Gateway,
    GatewayConnectionError,
    GatewayEvent,
    GatewayHTTPError,
    InvalidInputError,
    Kernel,
    KernelNotFoundError,
    KernelSpecNotFoundError,
    open_gateway,
    open_local_gateway,
)

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = pytest.mark.gateway


@pytest.fixture
async def heard(real_gateway: RunningGateway) -> Any:
    """The gateway, opened, and the requests that were sent to it."""
    events: list[GatewayEvent] = []
    async with open_gateway(real_gateway.url, auth_token=real_gateway.token, on_event=events.append) as gateway:
        yield gateway, events
    assert real_gateway.kernel_processes() == []


async def enter(block: Any) -> None:
    """Enter a block that can't be entered."""
    async with block:
        pytest.fail("the block was entered")


# -------------------------------------------------------------------------------------------------------------- gateways


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8888",
        "localhost",
        "//127.0.0.1:8888",
        "ftp://127.0.0.1",
        "http://",
        "http:///path",
        "http://[::1",
        "http://h:99999",
    ],
)
async def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await enter(open_gateway(url))
    assert caught.value.field == "url"
    assert caught.value.expected
    assert "url" in str(caught.value)
    assert isinstance(caught.value, ValueError)


async def test_settings_that_are_wrong_are_all_named() -> None:
    with pytest.raises(ConfigError) as caught:
        await enter(open_gateway("127.0.0.1:1", request_timeout=-1, auth_token=5))
    assert {problem.field for problem in caught.value.problems} == {"url", "request_timeout", "auth_token"}


async def test_a_setting_that_does_not_exist() -> None:
    with pytest.raises((TypeError, ConfigError), match="no_such_setting"):
        await enter(open_gateway("http://127.0.0.1:1", no_such_setting=1))


async def test_nobody_listens() -> None:
    """At a port that is taken, so that nobody else can begin to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        await nobody_listens_at(taken.getsockname()[1])


async def nobody_listens_at(port: int) -> None:
    async with open_gateway(f"http://127.0.0.1:{port}", max_request_retries=0) as gateway:
        with pytest.raises(GatewayConnectionError, match=f"127.0.0.1:{port}"):
            await gateway.kernelspecs.list()
        with pytest.raises(GatewayConnectionError, match=f"127.0.0.1:{port}"):
            await enter(gateway.start_kernel("python3"))
        with pytest.raises(GatewayConnectionError, match=f"127.0.0.1:{port}"):
            await enter(gateway.start_kernel())


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_a_token_that_is_wrong(real_gateway: RunningGateway, token: str | None) -> None:
    async with open_gateway(real_gateway.url, auth_token=token) as gateway:
        with pytest.raises(AuthenticationError) as caught:
            await enter(gateway.start_kernel("python3"))
        assert caught.value.status_code == 401
        with pytest.raises(AuthenticationError):
            await gateway.kernels.list()
    assert real_gateway.kernel_processes() == []


# --------------------------------------------------------------------------------------------------------------- kernels


@pytest.mark.parametrize("name", ["no-such-kernel", "Python3.", "python3 ", "../python3", "a\0b", "\ud800"])
async def test_an_unknown_kernelspec(heard: tuple[Gateway, list[GatewayEvent]], real_gateway: RunningGateway, name: str) -> None:
    """The gateway would answer 500: it is asked for its kernelspecs first, and no start is sent."""
    gateway, events = heard
    with pytest.raises(KernelSpecNotFoundError) as caught:
        await enter(gateway.start_kernel(name))
    assert caught.value.name == name
    assert set(caught.value.available) == set(rest(real_gateway, "GET", "/api/kernelspecs")["kernelspecs"])
    assert repr(name) in str(caught.value)
    assert "python3" in str(caught.value)
    assert isinstance(caught.value, KeyError)
    sent = [(event.method, event.path) for event in events if event.kind == "request"]
    assert sent == [("GET", "/api/kernelspecs")]


async def test_an_unknown_kernelspec_asked_for_by_name(heard: tuple[Gateway, list[GatewayEvent]]) -> None:
    gateway, _ = heard
    with pytest.raises(KernelSpecNotFoundError, match="no-such-kernel"):
        await gateway.kernelspecs.get("no-such-kernel")


@pytest.mark.parametrize("kernel_id", ["00000000-0000-4000-8000-000000000000"])
async def test_an_unknown_kernel(heard: tuple[Gateway, list[GatewayEvent]], kernel_id: str) -> None:
    gateway, _ = heard
    calls: list[Callable[[], Any]] = [
        lambda: enter(gateway.attach_kernel(kernel_id)),
        partial(gateway.kernels.get, kernel_id),
        partial(gateway.kernels.interrupt, kernel_id),
        partial(gateway.kernels.restart, kernel_id),
    ]
    for call in calls:
        with pytest.raises(KernelNotFoundError) as caught:
            await call()
        assert caught.value.kernel_id == kernel_id
        assert kernel_id in str(caught.value)
        assert isinstance(caught.value, KeyError)
    await gateway.kernels.shutdown(kernel_id)  # gone is what was wanted


@pytest.mark.parametrize("kernel_id", ["", "..", ".", "a/b", "../kernelspecs", "x" * 5000, "ä", "\0", "\ud800"])
async def test_a_kernel_id_that_is_none(heard: tuple[Gateway, list[GatewayEvent]], kernel_id: Any) -> None:
    """Either it is refused before anything is sent, or it is sent escaped and nothing but a kernel of that id can be meant."""
    gateway, events = heard
    with pytest.raises((InvalidInputError, KernelNotFoundError, GatewayHTTPError)) as caught:
        await enter(gateway.attach_kernel(kernel_id))
    if isinstance(caught.value, InvalidInputError):
        assert events == []
        assert caught.value.field == "kernel_id"
    else:
        paths = [event.path for event in events if event.kind == "request"]
        assert all(path is not None and path.startswith("/api/kernels/") and path.count("/") == 3 for path in paths)


WRONG_STARTS: dict[str, tuple[dict[str, Any], str]] = {
    "name not text": ({"name": 5}, "name"),
    "name empty": ({"name": ""}, "name"),
    "env not a mapping": ({"env": ["A=1"]}, "env"),
    "env value not text": ({"env": {"KERNEL_A": 1}}, "KERNEL_A"),
    "env value with NUL": ({"env": {"KERNEL_A": "secret\0"}}, "KERNEL_A"),
    "env value with lone surrogate": ({"env": {"KERNEL_A": "secret\ud800"}}, "KERNEL_A"),
    "env name with =": ({"env": {"A=B": "1"}}, "A=B"),
    "env name empty": ({"env": {"": "1"}}, "env"),
    "env name not text": ({"env": {5: "1"}}, "env"),
    "cwd and path": ({"cwd": "/", "path": "a"}, "path"),
    "cwd empty": ({"cwd": ""}, "cwd"),
    "cwd with NUL": ({"cwd": "/a\0b"}, "cwd"),
    "cwd of bytes": ({"cwd": b"/"}, "cwd"),
    "launch_timeout 0": ({"launch_timeout": 0}, "launch_timeout"),
    "launch_timeout negative": ({"launch_timeout": -1.5}, "launch_timeout"),
    "launch_timeout NaN": ({"launch_timeout": float("nan")}, "launch_timeout"),
    "launch_timeout text": ({"launch_timeout": "5"}, "launch_timeout"),
    "path not text": ({"path": 5}, "path"),
    "path with lone surrogate": ({"path": "\ud800"}, "path"),
    "path with surrogate in the middle": ({"path": "a/\udfff/b"}, "path"),
    "path with NUL": ({"path": "a\0b"}, "path"),
}


@pytest.mark.parametrize("case", WRONG_STARTS)
async def test_a_start_that_can_not_be_sent(heard: tuple[Gateway, list[GatewayEvent]], case: str) -> None:
    gateway, events = heard
    arguments, named = WRONG_STARTS[case]
    with pytest.raises(InvalidInputError) as caught:
        await enter(gateway.start_kernel(**arguments))
    assert named in str(caught.value)
    assert caught.value.expected in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value.args)
    assert isinstance(caught.value, ValueError)
    assert events == []


async def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    """A local gateway's kernels work on this machine, so it can be looked at. Asked, the gateway would take another directory."""
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(InvalidInputError) as caught:
            await enter(open_local_gateway(cwd=wrong))
        assert caught.value.field == "cwd"
    events: list[GatewayEvent] = []
    async with open_local_gateway(on_event=events.append) as gateway:
        for wrong in (tmp_path / "missing", tmp_path / "file"):
            with pytest.raises(InvalidInputError) as caught:
                await enter(gateway.start_kernel(cwd=wrong))
            assert caught.value.field == "cwd"
            assert str(wrong) in str(caught.value)
    assert events == []


# ------------------------------------------------------------------------------------------------------------------ code

WRONG_EXECUTIONS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "bytes": (b"1", {}, "code"),
    "number": (1, {}, "code"),
    "None": (None, {}, "code"),
    "NUL": ("print(1)\0", {}, "code"),
    "lone surrogate": ("x = '\ud800'", {}, "code"),
    "other half of a pair": ("x = '\udc00'", {}, "code"),
    "on_cancel": ("1", {"on_cancel": "kill"}, "on_cancel"),
    "on_cancel of another type": ("1", {"on_cancel": ["interrupt"]}, "on_cancel"),
}


@pytest.mark.parametrize("case", WRONG_EXECUTIONS)
async def test_code_that_can_not_be_sent(kernel: Kernel, case: str) -> None:
    """Refused by `execute` and by `stream`; nothing reaches the kernel, which counts what does."""
    code, arguments, named = WRONG_EXECUTIONS[case]
    before = await kernel.execute("1")
    with pytest.raises(InvalidInputError) as caught:
        await kernel.execute(code, **arguments)
    assert caught.value.field.startswith(named)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(InvalidInputError) as caught:
        await enter(kernel.stream(code, **arguments))
    assert caught.value.field.startswith(named)
    after = await kernel.execute("2")
    assert before.execution_count is not None
    assert after.execution_count == before.execution_count + 1


async def test_long_input_is_shortened_in_its_error(kernel: Kernel) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await kernel.execute("x" * 1_000_000 + "\0" + "y" * 1_000_000)
    assert len(str(caught.value)) < 500
    assert "1000000" in str(caught.value)


WRONG_EXPRESSIONS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "user_expressions not a mapping": ("1", {"user_expressions": ["x"]}, "user_expressions"),
    "user_expressions of no text": ("1", {"user_expressions": {"a": 5}}, "user_expressions"),
    "user_expressions by no text": ("1", {"user_expressions": {5: "a"}}, "user_expressions"),
    "user_expressions with a lone surrogate": ("1", {"user_expressions": {"a": "\ud800"}}, "user_expressions"),
    "user_expressions with NUL": ("1", {"user_expressions": {"a": "\0"}}, "user_expressions"),
}


@pytest.mark.parametrize("case", WRONG_EXPRESSIONS)
async def test_expressions_that_can_not_be_sent(kernel: Kernel, case: str) -> None:
    code, arguments, named = WRONG_EXPRESSIONS[case]
    with pytest.raises(InvalidInputError) as caught:
        await kernel.execute(code, **arguments)
    assert caught.value.field.startswith(named)


@pytest.mark.parametrize("kernel_id", [5, None, b"a"])
async def test_a_kernel_id_that_is_no_text(gateway: Gateway, kernel_id: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await gateway.kernels.get(kernel_id)
    assert caught.value.field == "kernel_id"
