"""`Gateway` and `open_gateway`: what opening one costs, what it is made of, and what ends with its block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_gateway
from tools.rest_fake import ID_A, RestFake, open_fake
from trio_gateway import (
    ConnectionState,
    GatewayHTTPError,
    InvalidInputError,
    Kernel,
    KernelNotFoundError,
    KernelSpecNotFoundError,
    KernelState,
    Verdict,
)
from trio_gateway._gateway.gateway import _make_path_finder, hidden_url
from trio_gateway._local.process import local_kernel_path
from trio_gateway.testing import FakeGateway

# ------------------------------------------------------------------------------------------------ sessions, kept cheaply


async def test_sessions_are_kept_in_memory_and_end_with_the_block(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        session = await gateway.sessions.create("a/b.ipynb", kernel_name="python3")
        assert gateway.sessions is gateway.sessions
        assert await gateway.sessions.list() == [session]
        (post,) = [request for request in fake.requests if request.method == "POST"]
        assert post.body["path"] == "a"
    with pytest.raises(trio.ClosedResourceError):
        await gateway.sessions.list()
    async with open_fake(fake) as other:
        assert await other.sessions.list() == []
    with pytest.raises(trio.ClosedResourceError):
        async with open_fake(fake) as late:
            pass
        await late.sessions.list()


async def test_sessions_of_a_file_survive_and_belong_to_one_gateway(autojump_clock: MockClock, tmp_path: Any) -> None:
    fake = RestFake()
    database = tmp_path / "sessions.db"
    async with open_fake(fake, session_database=database) as gateway:
        session = await gateway.sessions.create("a.ipynb", kernel_name="python3")
    async with open_fake(fake, session_database=str(database)) as gateway:
        assert await gateway.sessions.get(path="a.ipynb") == session
    async with trio_gateway.open_gateway("http://127.0.0.1:1", session_database=database) as other:
        assert await other.sessions.list() == []


@pytest.mark.parametrize("database", [":memory:", None])
async def test_memory_by_either_name(autojump_clock: MockClock, database: str | None) -> None:
    async with open_fake(RestFake(), session_database=database) as gateway:
        assert await gateway.sessions.list() == []


async def test_a_file_that_is_no_database_is_refused_when_the_gateway_is_opened(autojump_clock: MockClock, tmp_path: Any) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("something else, and long enough to be looked at\n" * 100)
    with pytest.raises(InvalidInputError, match="session_database"):
        async with open_fake(RestFake(), session_database=file):
            pass


async def test_opening_a_gateway_sends_nothing_and_opens_no_database(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    def connect(*_: object, **__: object) -> None:
        pytest.fail("a database was opened")

    monkeypatch.setattr(sqlite3, "connect", connect)
    fake = RestFake()
    async with open_fake(fake):
        await wait_all_tasks_blocked()
    assert fake.requests == []


# --------------------------------------------------------------------------------------------------------- what it is made of


async def test_what_a_gateway_tells_of_itself(autojump_clock: MockClock) -> None:
    async with open_fake(RestFake(), auth_token="s3cret-token") as gateway:
        assert repr(gateway) == "<Gateway http://gateway.test:8888/Base>"
        assert gateway.url == gateway.config.base_url
        assert gateway.kernels is gateway.kernels
        assert gateway.kernelspecs is gateway.kernelspecs
        assert gateway.dropped_events == 0
        async with gateway.http_client() as client:
            assert str(client.base_url) == "http://gateway.test:8888/Base/"


async def test_a_kernel_is_started_owned_and_used(autojump_clock: MockClock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        async with gateway.start_kernel("Python3", env={"KERNEL_X": "1"}) as kernel:
            assert (await kernel.execute("6 * 7")).text == "42"
            assert list(fake.kernels) == [kernel.id]
        assert not fake.kernels
        with pytest.raises(KernelSpecNotFoundError):
            async with gateway.start_kernel("ir"):
                pytest.fail("there is none")


async def test_a_kernel_is_dead_when_its_block_has_shut_it_down(autojump_clock: MockClock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        async with gateway.start_kernel() as kernel:
            assert kernel.verdict is Verdict.ALIVE
        assert (kernel.verdict, kernel.state) == (Verdict.DEAD, KernelState.DEAD)
        with pytest.raises(ValueError, match="mine"):
            async with gateway.start_kernel() as kernel:
                raise ValueError("mine")
        assert kernel.verdict is Verdict.DEAD
        with trio.CancelScope() as scope:
            async with gateway.start_kernel() as kernel:
                scope.cancel()
                await trio.sleep_forever()
        assert kernel.verdict is Verdict.DEAD


def test_what_is_known_of_kernels_can_be_read_when_trio_runs_no_more() -> None:
    async def main() -> tuple[Kernel, Kernel]:
        async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as own:
            async with gateway.attach_kernel(own.id) as other:
                await trio.sleep(7)
            await trio.sleep(1000)
            return own, other

    own, other = trio.run(main, clock=MockClock(autojump_threshold=0))
    assert (own.verdict, own.hb.is_beating()) == (Verdict.DEAD, False)
    assert (other.verdict, other.hb.is_beating()) == (Verdict.SUSPECT, False)
    assert other.hb.silence == other.hb.evidence.connection < 1000, "as of the session's end"


async def test_a_kernel_that_someone_else_shut_down_was_culled_and_stays_so(autojump_clock: MockClock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        async with gateway.start_kernel() as kernel:
            fake.kernels[kernel.id].cull()
            await kernel.wait_for(KernelState.CULLED)
        assert (kernel.verdict, kernel.state) == (Verdict.CULLED, KernelState.CULLED)


async def test_of_a_kernel_whose_shutdown_failed_nothing_is_known(autojump_clock: MockClock) -> None:
    async with FakeGateway() as fake, fake.open(gateway_retry_max=0, max_request_retries=0) as gateway:
        with pytest.raises(GatewayHTTPError):
            async with gateway.start_kernel() as kernel:
                fake.faults.answer("DELETE .*/api/kernels/.*", 403)
        assert kernel.verdict is Verdict.SUSPECT
        assert kernel.state is not KernelState.DEAD
        assert list(fake.kernels) == [kernel.id]


async def test_of_a_kernel_that_was_attached_to_nothing_is_heard_after_its_block(autojump_clock: MockClock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as own:
        async with gateway.attach_kernel(own.id) as kernel:
            assert kernel.verdict is Verdict.ALIVE
        assert (kernel.verdict, kernel.connection_state) == (Verdict.SUSPECT, ConnectionState.CLOSED)
        assert own.verdict is Verdict.ALIVE


async def test_a_kernel_that_is_attached_to_is_known_and_left(autojump_clock: MockClock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        model = await gateway.kernels.start("python3")
        async with fake.open() as other:
            async with other.attach_kernel(model.id) as kernel:
                assert (kernel.id, kernel.name) == (model.id, "python3")
                assert other._known.ids() == (model.id,)
            with pytest.raises(KernelNotFoundError):
                async with other.attach_kernel(ID_A):
                    pytest.fail("there is none")
        assert list(fake.kernels) == [model.id]


async def test_channels_are_of_a_session_of_ones_own_or_of_the_named_one(autojump_clock: MockClock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        model = await gateway.kernels.start("python3")
        async with fake.open() as other:
            async with other.open_channels(model.id, session_id="mine") as channels:
                assert (channels.kernel_id, channels.session_id) == (model.id, "mine")
                assert other._known.ids() == (model.id,)
            async with other.open_channels(model.id) as one, other.open_channels(model.id) as two:
                assert one.session_id != two.session_id


@pytest.mark.parametrize("session_id", ["", "x" * 257, "a\nb", 5])
async def test_a_session_id_that_can_not_be_sent_is_named(autojump_clock: MockClock, session_id: Any) -> None:  # G10
    fake = RestFake()
    async with open_fake(fake) as gateway:
        with pytest.raises(InvalidInputError, match="session_id"):
            async with gateway.open_channels(ID_A, session_id=session_id):
                pytest.fail("it can't be used")
    assert fake.requests == []


async def test_what_can_not_be_used_to_open_a_gateway_is_named(monkeypatch: pytest.MonkeyPatch) -> None:  # G10
    with pytest.raises(InvalidInputError, match="cull"):
        async with trio_gateway.open_gateway("http://gateway.test", cull=5):  # type: ignore[arg-type]
            pytest.fail("it can't be used")
    for name in ("url", "ws_url", "auth_token"):
        with pytest.raises(trio_gateway.ConfigError, match="nothing, for a local gateway has one of its own"):
            async with trio_gateway.open_local_gateway(**{name: "http://x"}):  # type: ignore[arg-type]
                pytest.fail("it can't be used")


async def test_a_configuration_and_settings_beside_it() -> None:
    config = trio_gateway.GatewayConfig(url="http://gateway.test")
    async with trio_gateway.open_gateway(config) as gateway:
        assert gateway.config is config
    async with trio_gateway.open_gateway(config, request_timeout=3.0) as gateway:
        assert (gateway.config.request_timeout, gateway.config.url) == (3.0, config.url)


def test_a_url_with_a_password_hides_itself() -> None:  # G8
    assert repr(hidden_url("http://me:pw@h")) == "'***'"
    assert hidden_url("http://h") == "http://h"
    assert hidden_url(None) is None


@pytest.mark.parametrize(
    ("cwd", "path", "found"),
    [("/", None, "/"), (None, "inside", "root/inside"), (None, "not/there", "root"), (None, None, None)],
)
def test_where_a_kernel_of_a_local_gateway_works(tmp_path: Path, cwd: str | None, path: str | None, found: str | None) -> None:
    (tmp_path / "root" / "inside").mkdir(parents=True)
    find = _make_path_finder(tmp_path / "root")
    expected = None if found is None else local_kernel_path(found if found.startswith("/") else str(tmp_path / found))
    assert find(cwd, path) == expected
