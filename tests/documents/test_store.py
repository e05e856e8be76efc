"""The store of sessions: rows, transactions, cancellation, files that survive, files that are refused, two stores on one file."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import sqlite3
import sys
import tempfile
import textwrap
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_gateway._documents import store as session_store
from trio_gateway._documents.store import PathTakenError, SessionRow, SessionStore, open_session_store
from trio_gateway._errors import GatewayTimeoutError, InvalidInputError, SessionStoreError

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(microseconds=1)


def row(number: int, **changes: Any) -> SessionRow:
    values: dict[str, Any] = {
        "id": f"id-{number}",
        "path": f"folder/{number}.ipynb",
        "name": f"{number}.ipynb",
        "type": "notebook",
        "kernel_id": f"kernel-{number}",
        "created": NOON,
        "updated": NOON,
    }
    return SessionRow(**values | changes)


# A transaction waits until the disk has it. That is SQLite's work and no test's subject: files lie in memory where they can.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory."""
    with tempfile.TemporaryDirectory(prefix="tgw-", dir=MEMORY) as name:
        yield Path(name)


@contextlib.contextmanager
def plain_connection(path: Path) -> Iterator[sqlite3.Connection]:
    """SQLite without the store, as another program would use it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        yield connection


def no_thread_works() -> bool:
    return trio.testing.active_thread_count() == 0


def open_descriptors(path: Path) -> int:
    """How many descriptors this process has on a file or its journals."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(entry.readlink()).startswith(str(path))
    return found


@pytest.fixture(params=["memory", "file"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "sessions.db" if request.param == "file" else None


# --- rows


async def test_a_row_comes_back_as_it_was_kept(database: Path | None) -> None:
    async with open_session_store(database) as store:
        text = row(1, path="dir ?#%/ü \U0001f40d\n.ipynb", name="", type="' OR 1=1 --")
        assert await store.insert(text) == text
        assert await store.find() == [text]
        assert await store.find(id="id-1", path=text.path, kernel_id="kernel-1") == [text]
        assert await store.find(id="id-1", path="other") == []
        assert await store.find(path=text.path.upper()) == []


async def test_the_second_row_of_a_path_is_not_kept(database: Path | None) -> None:
    async with open_session_store(database) as store:
        await store.insert(row(1))
        assert await store.insert(row(2, path=row(1).path)) == row(1)
        assert await store.find() == [row(1)]


async def test_an_id_of_another_row_is_refused(database: Path | None) -> None:
    async with open_session_store(database) as store:
        await store.insert(row(1))
        with pytest.raises(InvalidInputError, match="no other session") as caught:
            await store.insert(row(2, id="id-1"))
        assert (caught.value.field, caught.value.value) == ("id", "id-1")
        assert await store.find() == [row(1)]


async def test_rows_are_listed_in_the_order_in_which_they_were_made() -> None:
    async with open_session_store() as store:
        for number in (3, 1, 2):
            await store.insert(row(number, kernel_id="shared"))
        await store.update("id-3", updated=LATER, path="zzz")
        assert [found.id for found in await store.find()] == ["id-3", "id-1", "id-2"]
        assert [found.id for found in await store.find(kernel_id="shared")] == ["id-3", "id-1", "id-2"]


async def test_times_are_kept_in_utc_with_microseconds() -> None:
    summer = timezone(timedelta(hours=2))
    async with open_session_store() as store:
        kept = await store.insert(row(1, created=datetime(2026, 7, 1, 0, 30, 0, 7, summer)))
        assert kept.created == datetime(2026, 6, 30, 22, 30, 0, 7, UTC)
        assert kept.created.tzinfo is UTC


async def test_update_changes_what_is_given_and_tells_before_and_after(database: Path | None) -> None:
    async with open_session_store(database) as store:
        await store.insert(row(1))
        assert await store.update("id-1", updated=LATER, kernel_id="k") == (row(1), row(1, kernel_id="k", updated=LATER))
        changes = {"path": "p", "name": "", "type": "t"}
        assert await store.update("id-1", updated=LATER, **changes) == (
            row(1, kernel_id="k", updated=LATER),
            row(1, kernel_id="k", updated=LATER, **changes),
        )
        assert await store.update("nobody", updated=LATER, name="n") is None


async def test_update_refuses_a_path_that_another_session_has(database: Path | None) -> None:
    async with open_session_store(database) as store:
        await store.insert(row(1))
        await store.insert(row(2))
        with pytest.raises(PathTakenError, match="id-2 has it") as caught:
            await store.update("id-1", updated=LATER, path=row(2).path, name="never written")
        assert caught.value.holder == row(2)
        assert pickle.loads(pickle.dumps(caught.value)).holder == row(2)
        assert await store.find() == [row(1), row(2)]
        assert await store.update("id-1", updated=LATER, path=row(1).path) is not None, "its own path is not taken"


async def test_delete_forgets_a_row_once_and_only_while_it_has_that_kernel(database: Path | None) -> None:
    async with open_session_store(database) as store:
        await store.insert(row(1))
        assert await store.delete("id-1", kernel_id="another") is None
        assert await store.find() == [row(1)]
        assert await store.delete("id-1", kernel_id="kernel-1") == row(1)
        assert await store.delete("id-1") is None
        assert await store.find() == []


async def test_scopes_do_not_see_each_other(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    async with open_session_store(path, scope="a") as a, open_session_store(path, scope="b") as b:
        await a.insert(row(1))
        assert await b.find() == []
        assert await b.update("id-1", updated=LATER, name="x") is None
        assert await b.delete("id-1") is None
        other = row(2, path=row(1).path)
        assert await b.insert(other) == other
        with pytest.raises(InvalidInputError):
            await b.insert(row(1, path="elsewhere"))
        assert await a.find() == [row(1)]


# --- blocks


async def test_calls_checkpoint_and_a_closed_store_says_so(database: Path | None) -> None:
    async with open_session_store(database) as store:
        with assert_checkpoints():
            await store.find()
        with assert_checkpoints():
            await store.insert(row(1))
        assert str(database or ":memory:") in repr(store)
        assert store.path == database
    assert repr(store).endswith("closed>")
    with pytest.raises(trio.ClosedResourceError):
        await store.find()


async def test_databases_in_memory_are_separate() -> None:
    async with open_session_store() as a, open_session_store(":memory:") as b:
        await a.insert(row(1))
        assert await b.find() == []


async def test_a_file_survives_and_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "sessions ?#%41.db"
    async with open_session_store(str(path)) as store:
        await store.insert(row(1))
        assert open_descriptors(path) == 1
    assert open_descriptors(path) == 0
    assert no_thread_works()
    assert contents(tmp_path).keys() == {path.name}
    async with open_session_store(path) as store:
        assert await store.find() == [row(1)]


async def test_a_file_is_as_durable_as_sqlite_makes_it(tmp_path: Path) -> None:
    """A call that returned has happened, also where the power fails then."""
    async with open_session_store(tmp_path / "sessions.db") as store:
        assert store._connection is not None
        settings = [store._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")]
        assert settings == [2, "delete"]  # 2: FULL


async def test_the_connection_is_closed_whatever_ends_the_block(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with pytest.raises(ZeroDivisionError):
        async with open_session_store(path):
            raise ZeroDivisionError
    with trio.CancelScope() as scope:
        async with open_session_store(path) as store:
            scope.cancel()
            await store.find()
    assert scope.cancelled_caught
    assert open_descriptors(path) == 0


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
async def test_a_new_file_is_its_owners_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    async with open_session_store(tmp_path / "new"):
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    assert set(contents(tmp_path)) == {"new"}
    (tmp_path / "empty").touch()
    (tmp_path / "empty").chmod(0o640)
    async with open_session_store(tmp_path / "empty") as store:
        await store.insert(row(1))
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("name", ["new", "dangling"])
async def test_at_no_moment_can_others_read_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool, name: str
) -> None:
    """Looked at when SQLite is about to open it, and its journal while the tables are made."""
    (tmp_path / "dangling").symlink_to("new")
    modes: dict[str, int] = {}

    def look() -> None:
        modes.update({entry.name: entry.stat().st_mode & 0o777 for entry in tmp_path.iterdir() if entry.exists()})

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            look()
            found = original(*args)
            look()
            return found

        return call

    monkeypatch.setattr(session_store, "_connect", watched(session_store._connect))
    monkeypatch.setattr(session_store, "_create", watched(session_store._create))
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", raise_os_error)
    before = os.umask(0)
    try:
        async with open_session_store(tmp_path / name) as store:
            await store.insert(row(1))
    finally:
        os.umask(before)
    look()
    assert modes.pop("new-journal") == 0o600
    assert set(modes) == {"new", "dangling"}
    assert set(modes.values()) == {0o600}


def raise_os_error(*_: object) -> None:
    """What a file system without links does."""
    raise PermissionError


async def test_a_store_in_memory_works_under_a_virtual_clock(autojump_clock: trio.testing.MockClock) -> None:
    # A worker thread looks idle to the clock, which would jump to this deadline.
    with trio.fail_after(1):
        async with open_session_store() as store:
            for number in range(20):
                await store.insert(row(number))
            assert len(await store.find()) == 20
    assert trio.current_time() == 0


async def test_the_event_loop_runs_while_a_file_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, leave = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()
    select = SessionStore._select

    def slow(self: SessionStore, *arguments: Any, **keywords: Any) -> list[SessionRow]:
        token.run_sync_soon(entered.set)
        assert leave.wait(200)
        return select(self, *arguments, **keywords)

    async with open_session_store(tmp_path / "sessions.db") as store, trio.open_nursery() as nursery:
        monkeypatch.setattr(SessionStore, "_select", slow)
        nursery.start_soon(store.find)
        nursery.start_soon(store.find)
        await entered.wait()
        await wait_all_tasks_blocked()
        assert trio.testing.active_thread_count() == 1, "one thread at a time"
        leave.set()


async def test_a_block_that_ends_during_a_call_closes_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of a task that outlives the block ends whole; with a disk that hangs, the call itself closes the connection."""
    path = tmp_path / "sessions.db"
    entered, leave = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()
    transaction = session_store._transaction

    @contextlib.contextmanager
    def slow(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
        with transaction(connection, begin):
            yield
        token.run_sync_soon(entered.set)
        assert leave.wait(200)

    found: list[SessionRow] = []
    for limit in (1000.0, 0.0):
        entered, leave = trio.Event(), threading.Event()
        async with trio.open_nursery() as nursery:
            async with open_session_store(path) as store:
                monkeypatch.setattr(session_store, "_transaction", slow)
                monkeypatch.setattr(session_store, "_CLOSE_LIMIT", limit)

                async def late(store: SessionStore = store) -> None:
                    found[:] = [await store.insert(row(1))]

                nursery.start_soon(late)
                await entered.wait()
                monkeypatch.setattr(session_store, "_transaction", transaction)
                if limit:
                    leave.set()
            assert open_descriptors(path) == (0 if limit else 1)
            leave.set()
        assert found == [row(1)]
        assert open_descriptors(path) == 0


# --- cancellation


async def test_a_cancelled_call_either_happened_or_did_not(database: Path | None) -> None:
    """Cancelled before it began: nothing. A call that returns has happened."""
    async with open_session_store(database) as store:
        await store.insert(row(1))
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.insert(row(2)),
            lambda: store.update("id-1", updated=LATER, name="x"),
            lambda: store.delete("id-1"),
        ]
        for call in calls:
            with trio.CancelScope() as scope:
                scope.cancel()
                await call()
            assert scope.cancelled_caught
        assert await store.find() == [row(1)]


@pytest.mark.parametrize("moment", ["begun", "written", "committed"])
async def test_cancelled_in_the_middle_of_a_transaction_it_ends_and_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    transaction = session_store._transaction
    scope = trio.CancelScope()

    def cancel(now: str) -> None:
        if now == moment:
            trio.from_thread.run_sync(scope.cancel)

    @contextlib.contextmanager
    def cancelled(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
        with transaction(connection, begin):
            cancel("begun")
            yield
            cancel("written")
        cancel("committed")

    returned = None
    async with open_session_store(tmp_path / "sessions.db") as store:
        monkeypatch.setattr(session_store, "_transaction", cancelled)
        with scope:
            returned = await store.insert(row(1))
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert returned == row(1)
        assert await store.find() == [row(1)]


async def test_cancelled_while_it_waits_for_its_turn_nothing_happens(tmp_path: Path) -> None:
    async with open_session_store(tmp_path / "sessions.db") as store, trio.open_nursery() as nursery:
        await store._limiter.acquire_on_behalf_of("another call")
        scope = trio.CancelScope()

        async def insert() -> None:
            with scope:
                await store.insert(row(1))

        nursery.start_soon(insert)
        await wait_all_tasks_blocked()
        assert store._limiter.statistics().tasks_waiting == 1
        scope.cancel()
        await wait_all_tasks_blocked()
        assert scope.cancelled_caught
        store._limiter.release_on_behalf_of("another call")
        assert await store.find() == []


async def test_cancelled_while_opening_nothing_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sessions.db"
    open_file = session_store._open_file
    scope = trio.CancelScope()

    def cancelled(path: Path, field: str) -> sqlite3.Connection:
        trio.from_thread.run_sync(scope.cancel)
        return open_file(path, field)

    monkeypatch.setattr(session_store, "_open_file", cancelled)
    with scope:
        async with open_session_store(path) as store:
            await store.find()
    assert scope.cancelled_caught
    assert open_descriptors(path) == 0
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_session_store(tmp_path / "never"):
            pass
    assert scope.cancelled_caught
    assert not (tmp_path / "never").exists()


async def test_an_error_inside_a_transaction_leaves_nothing(database: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_session_store(database) as store:
        await store.insert(row(1))
        with monkeypatch.context() as patch:
            calls = 0
            select = SessionStore._select

            def fails_after_the_write(self: SessionStore, *arguments: Any, **keywords: Any) -> list[SessionRow]:
                nonlocal calls
                calls += 1
                if calls == 2:
                    raise ZeroDivisionError
                return select(self, *arguments, **keywords)

            patch.setattr(SessionStore, "_select", fails_after_the_write)
            with pytest.raises(ZeroDivisionError):
                await store.update("id-1", updated=LATER, name="half")
        assert await store.find() == [row(1)]
        assert await store.insert(row(2)) == row(2), "no transaction is left open"


# --- many tasks, several connections, several processes


async def test_a_hundred_tasks_keep_one_row_of_a_path(database: Path | None) -> None:
    async with open_session_store(database) as store:
        kept: set[str] = set()

        async def insert(number: int) -> None:
            kept.add((await store.insert(row(number, path="same"))).id)
            await store.insert(row(1000 + number))

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(insert, number)
        assert len(kept) == 1
        assert len(await store.find()) == 101
        assert len(await store.find(path="same")) == 1


async def test_two_stores_on_one_file_see_each_others_rows(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    async with open_session_store(path) as one, open_session_store(path) as two:

        async def work(store: SessionStore, name: str) -> None:
            for number in range(20):
                await store.insert(row(number, id=f"{name}-{number}"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, one, "one")
            nursery.start_soon(work, two, "two")
        rows = await one.find()
        assert rows == await two.find()
        assert sorted(found.path for found in rows) == sorted(row(number).path for number in range(20))
        await one.delete(rows[0].id)
        assert await two.find(id=rows[0].id) == []


async def test_opening_a_second_store_leaves_the_firsts_locks(tmp_path: Path) -> None:
    """POSIX drops all locks of a process on a file when it closes any descriptor of it: so nothing here may open() the file."""
    path = tmp_path / "sessions.db"
    async with open_session_store(path) as store:
        assert store._connection is not None
        store._connection.execute("BEGIN EXCLUSIVE")
        session_store._inspect(path, "database")
        code = f"""
            import sqlite3
            try:
                sqlite3.connect({str(path)!r}, timeout=0).execute("SELECT * FROM session")
            except sqlite3.OperationalError as error:
                print(error)
        """
        # -I -S: nothing but SQLite is needed, and nothing else is looked for.
        result = await trio.run_process([sys.executable, "-I", "-S", "-c", textwrap.dedent(code)], capture_stdout=True)
        assert result.stdout.strip() == b"database is locked"
        store._connection.execute("ROLLBACK")


PROCESSES = """
    import os
    import sys
    import trio
    from datetime import UTC, datetime
    from trio_gateway._documents.store import SessionRow, open_session_store

    async def main(path, name):
        async with open_session_store(path, busy_limit=200) as store:
            mine = 0
            for number in range(25):
                now = datetime(2026, 1, 1, tzinfo=UTC)
                new_id, path = f"{name}-{number}", f"{number}"
                row = SessionRow(id=new_id, path=path, name=name, type="t", kernel_id="k", created=now, updated=now)
                mine += (await store.insert(row)).id == row.id
            os.write(1, f"{mine}\\n".encode())  # in one piece: print() may write the line's end by itself

    # The imports are paid once. All begin at once, also with making the file: when nobody can write into the pipe any more.
    begin, gate = os.pipe()
    for name in ("one", "two", "three"):
        if not os.fork():
            os.close(gate)
            os.read(begin, 1)
            trio.run(main, sys.argv[1], name)
            sys.exit()
    os.close(gate)
    sys.exit(any([os.wait()[1] for _ in range(3)]))
"""


async def test_three_processes_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    done = await trio.run_process([sys.executable, "-c", textwrap.dedent(PROCESSES), str(path)], capture_stdout=True)
    mine = [int(line) for line in done.stdout.split()]
    assert len(mine) == 3
    assert sum(mine) == 25, "each path was kept by exactly one of them"
    async with open_session_store(path) as store:
        assert sorted(int(found.path) for found in await store.find()) == list(range(25))


def event_of_waiting(monkeypatch: pytest.MonkeyPatch) -> trio.Event:
    """Make an event that is set when a transaction has found that another connection holds the file."""
    event, token = trio.Event(), trio.lowlevel.current_trio_token()
    transaction = session_store._transaction

    @contextlib.contextmanager
    def telling(connection: sqlite3.Connection, begin: str = "BEGIN") -> Iterator[None]:
        try:
            with transaction(connection, begin):
                yield
        except sqlite3.OperationalError:
            token.run_sync_soon(event.set)
            raise

    monkeypatch.setattr(session_store, "_transaction", telling)
    return event


async def test_a_file_held_by_another_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sessions.db"
    async with open_session_store(path, busy_limit=200) as store, trio.open_nursery() as nursery:
        waits = event_of_waiting(monkeypatch)
        with plain_connection(path) as other:
            other.execute("BEGIN IMMEDIATE")
            nursery.start_soon(store.insert, row(1))
            await waits.wait()
            other.execute("COMMIT")
    async with open_session_store(path) as store:
        assert await store.find() == [row(1)]


async def test_rows_can_be_read_while_another_prepares_to_write(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    async with open_session_store(path, busy_limit=0) as store:
        await store.insert(row(1))
        with plain_connection(path) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await store.find() == [row(1)]
            with pytest.raises(GatewayTimeoutError):
                await store.delete("id-1")


async def test_a_file_held_for_too_long_is_told(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = tmp_path / "sessions.db"
    async with open_session_store(path, busy_limit=3) as store:
        with plain_connection(path) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(GatewayTimeoutError, match="busy_limit") as caught:
                await store.insert(row(1))
            assert (caught.value.phase, caught.value.limit, caught.value.setting) == ("session store", 3, "busy_limit")
            assert str(path) in caught.value.detail
            assert trio.current_time() == pytest.approx(3, abs=session_store._LONGEST_PAUSE)
            with pytest.raises(GatewayTimeoutError):
                async with open_session_store(path, busy_limit=0):
                    pass
        assert await store.find() == []


async def test_a_call_that_waits_for_another_process_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sessions.db"
    async with open_session_store(path, busy_limit=1e9) as store:
        waits = event_of_waiting(monkeypatch)
        with plain_connection(path) as other:
            other.execute("BEGIN IMMEDIATE")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.insert, row(1))
                await waits.wait()
                nursery.cancel_scope.cancel()
        assert await store.find() == []
        assert no_thread_works()


def kill_while_writing(path: Path, *statements: str) -> Path:
    """Leave a file and its journal as a process does that is killed in its transaction; return the journal.

    They are copied in the middle of one: what a killed process leaves is what the files hold at that moment.
    """
    journal = path.with_name(path.name + "-journal")
    with plain_connection(path) as connection:
        connection.execute("PRAGMA cache_size = 1")  # pages are written at once
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        left = {file: file.read_bytes() for file in (path, journal)}
        connection.execute("ROLLBACK")
    for file, content in left.items():
        file.write_bytes(content)
    assert journal.stat().st_size >= 512, "the test must leave a journal to replay"
    return journal


MANY = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"


def test_a_process_killed_while_it_writes_leaves_a_file_that_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    make_ours(path)
    size = path.stat().st_size
    journal = kill_while_writing(path, MANY + "INSERT INTO session SELECT i, '', i, hex(randomblob(99)), '', '', '', '' FROM n")
    assert path.stat().st_size > 2 * size, "and pages that must go"
    with path.open("r+b") as file:  # the first page was written, the others not: as if killed a moment later
        file.seek(28)
        file.write((10_000).to_bytes(4, "big"))

    async def main() -> None:
        async with open_session_store(path) as store:
            assert await store.find() == [row(number) for number in range(50)]
            await store.insert(row(1000))

    trio.run(main)
    assert not journal.exists()
    assert path.stat().st_size == size


def test_a_process_killed_while_it_makes_the_file_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    journal = kill_while_writing(path, "CREATE TABLE t (x)", MANY + "INSERT INTO t SELECT hex(randomblob(99)) FROM n")
    path.write_bytes(fifty_rows()[:4096])

    async def main() -> None:
        async with open_session_store(path) as store:
            assert await store.find() == []
            await store.insert(row(1))

    trio.run(main)
    assert not journal.exists()


# --- files that are refused


def make_foreign(path: Path) -> None:
    with plain_connection(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
        connection.execute("INSERT INTO bookmarks VALUES ('mine')")


def make_foreign_wal(path: Path) -> None:
    """Write-ahead mode, with a log that SQLite would move into the file if it opened it: as a killed process leaves them."""
    log = path.with_name(path.name + "-wal")
    with plain_connection(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE bookmarks (url)")
        left = {file: file.read_bytes() for file in (path, log, path.with_name(path.name + "-shm"))}
    for file, content in left.items():
        file.write_bytes(content)
    assert log.stat().st_size > 0


def make_foreign_hot(path: Path) -> None:
    """A journal that SQLite would replay if it opened the file."""
    make_foreign(path)
    kill_while_writing(path, MANY + "INSERT INTO bookmarks SELECT hex(randomblob(99)) FROM n")


@functools.cache
def fifty_rows() -> bytes:
    """A file of ours with 50 rows: made once, and copied for each test."""

    async def main() -> None:
        async with open_session_store(path) as store:
            for number in range(50):
                await store.insert(row(number))

    with tempfile.TemporaryDirectory(prefix="tgw-", dir=MEMORY) as folder:
        path = Path(folder, "sessions.db")
        trio.run(main)
        return path.read_bytes()


def make_ours(path: Path, *statements: str) -> None:
    path.write_bytes(fifty_rows())
    with plain_connection(path) as connection:
        for statement in statements:
            connection.execute(statement)


def contents(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        entry.name: (entry.read_bytes(), entry.stat().st_mtime_ns, entry.stat().st_mode)
        for entry in folder.iterdir()
        if entry.is_file()
    }


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("my notes\n" * 1000), "no SQLite database"),
    "short text": (lambda path: path.write_text("x"), "another program"),
    "foreign": (make_foreign, "another program"),
    "foreign with a write-ahead log": (make_foreign_wal, "another program"),
    "foreign with a journal": (make_foreign_hot, "another program"),
    "newer": (lambda path: make_ours(path, "PRAGMA user_version = 2"), "a newer release made this"),
    "folder": (lambda path: path.mkdir(), "a regular file"),
    "pipe": (os.mkfifo, "a regular file"),
    "in a missing folder": (lambda path: None, "a folder that exists"),
    "below a file": (lambda path: path.parent.touch(), "can be looked at"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_ours_is_refused_and_left_as_it_is(tmp_path: Path, what: str) -> None:
    make, expected = REFUSED[what]
    path = tmp_path / "missing" / "sessions.db" if what in {"in a missing folder", "below a file"} else tmp_path / "sessions.db"
    make(path)
    before = contents(tmp_path)

    async def main() -> None:
        async with open_session_store(path, field="sessions_file"):
            pass

    with pytest.raises(InvalidInputError, match=expected) as caught:
        trio.run(main)
    assert (caught.value.field, caught.value.value) == ("sessions_file", str(path))
    assert "left as it is" in str(caught.value)
    assert contents(tmp_path) == before
    assert open_descriptors(path) == 0


def overwrite(path: Path, start: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)


def damage_page(path: Path) -> None:
    make_ours(path)
    overwrite(path, 4096, b"\xa5" * 4096)


def truncate(path: Path) -> None:
    make_ours(path)
    os.truncate(path, 4096)


def damage_first_page(path: Path) -> None:
    make_ours(path)
    overwrite(path, 100, b"\xa5" * 3000)


def break_constraint(path: Path) -> None:
    make_ours(path, "PRAGMA ignore_check_constraints = ON", "UPDATE session SET name = x'ff' WHERE id = 'id-1'")


DAMAGED: dict[str, Callable[[Path], object]] = {
    "a page": damage_page,
    "truncated": truncate,
    "the first page": damage_first_page,
    "another table": lambda path: make_ours(path, "CREATE TABLE other (x)"),
    "no index": lambda path: make_ours(path, "DROP INDEX session_kernel"),
    "a trigger": lambda path: make_ours(path, "CREATE TRIGGER t AFTER INSERT ON session BEGIN DELETE FROM session; END"),
    "version 0": lambda path: make_ours(path, "PRAGMA user_version = 0"),
    "a wrong type": break_constraint,
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_file_is_told_and_left_as_it_is(tmp_path: Path, what: str) -> None:
    path = tmp_path / "sessions.db"
    DAMAGED[what](path)
    before = contents(tmp_path)

    async def main() -> None:
        async with open_session_store(path):
            pass

    with pytest.raises(SessionStoreError, match="move it away") as caught:
        trio.run(main)
    assert caught.value.database == str(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before
    assert open_descriptors(path) == 0


@pytest.mark.parametrize("value", ["", 7, b"bytes", "nul\0", "lone \ud800", object()])
async def test_what_is_no_path_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="a file's path"):
        async with open_session_store(value):
            pass


async def test_a_file_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sessions.db"
    connect = session_store._connect
    monkeypatch.setattr(session_store, "_make", lambda path: None)  # nothing can be made there
    monkeypatch.setattr(session_store, "_connect", lambda path, parameters: connect(path, parameters.replace("rwc", "ro")))
    with pytest.raises(InvalidInputError, match="can be opened"):
        async with open_session_store(path):
            pass
    monkeypatch.undo()
    async with open_session_store(path) as store:
        await store.insert(row(1))
    monkeypatch.setattr(session_store, "_connect", lambda path, parameters: connect(path, parameters.replace("rwc", "ro")))
    with pytest.raises(InvalidInputError, match="may write"):
        async with open_session_store(path):
            pass


async def test_a_file_made_meanwhile_by_another_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the first look and the transaction: the second look decides."""
    path = tmp_path / "sessions.db"
    inspect = session_store._inspect

    def inspect_then_lose(path: Path, field: str) -> bool:
        there = inspect(path, field)
        make_foreign(path)
        return there

    monkeypatch.setattr(session_store, "_inspect", inspect_then_lose)
    with pytest.raises(InvalidInputError, match="another program"):
        async with open_session_store(path):
            pass
    with plain_connection(path) as connection:
        assert connection.execute("SELECT * FROM bookmarks").fetchall() == [("mine",)]


# --- a file that goes bad while in use


async def test_a_file_that_is_deleted_while_in_use_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    async with open_session_store(path) as store:
        await store.insert(row(1))
        path.unlink()
        with pytest.raises(SessionStoreError, match="moved or deleted"):
            await store.insert(row(2))


async def test_a_full_disk_is_told_and_the_store_goes_on(database: Path | None) -> None:
    async with open_session_store(database) as store:
        await store.insert(row(1))
        assert store._connection is not None
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(SessionStoreError, match="full"):
            await store.insert(row(2, name="x" * 100_000))
        assert await store.find() == [row(1)]
        assert await store.delete("id-1") == row(1)


async def test_a_time_that_cannot_be_read_is_told(database: Path | None) -> None:
    async with open_session_store(database) as store:
        await store.insert(row(1))
        assert store._connection is not None
        store._connection.execute("UPDATE session SET created = 'yesterday'")
        with pytest.raises(SessionStoreError, match="session id-1 has a time"):
            await store.find()


# --- against a model


IDS = st.sampled_from(["a", "b", "c", "d"])
PATHS = st.sampled_from(["p", "P", "q", "dir/p", ""]) | st.text(max_size=3)
TEXTS = st.text(max_size=4)
KERNELS = st.sampled_from(["k1", "k2", "k3"])
TIMES = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
SCOPES = st.sampled_from(["", "http://one/", "http://two/"])
ROWS = st.builds(SessionRow, id=IDS, path=PATHS, name=TEXTS, type=TEXTS, kernel_id=KERNELS, created=TIMES, updated=TIMES)


class StoreAgainstDictionary(RuleBasedStateMachine):
    """Each step opens the file anew, so each also shows that it survives."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="tgw-", dir=MEMORY)
        self.path = Path(self.folder.name, "db")
        self.model: dict[str, tuple[str, SessionRow]] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    def call(self, scope: str, function: Callable[[SessionStore], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            async with open_session_store(self.path, scope=scope) as store:
                return await function(store)

        return trio.run(main)

    def of(self, scope: str) -> list[SessionRow]:
        return [kept for its_scope, kept in self.model.values() if its_scope == scope]

    @rule(scope=SCOPES, new=ROWS)
    def insert(self, scope: str, new: SessionRow) -> None:
        same_path = [kept for kept in self.of(scope) if kept.path == new.path]
        if same_path:
            assert self.call(scope, lambda store: store.insert(new)) == same_path[0]
        elif new.id in self.model:
            with pytest.raises(InvalidInputError):
                self.call(scope, lambda store: store.insert(new))
        else:
            assert self.call(scope, lambda store: store.insert(new)) == new
            self.model[new.id] = scope, new

    @rule(
        scope=SCOPES,
        session_id=IDS,
        updated=TIMES,
        changes=st.fixed_dictionaries({}, optional={"path": PATHS, "name": TEXTS, "type": TEXTS, "kernel_id": KERNELS}),
    )
    def update(self, scope: str, session_id: str, updated: datetime, changes: dict[str, str]) -> None:
        before = next((kept for kept in self.of(scope) if kept.id == session_id), None)
        holder = next((kept for kept in self.of(scope) if kept.path == changes.get("path") and kept.id != session_id), None)

        def call() -> Any:
            return self.call(scope, lambda store: store.update(session_id, updated=updated, **changes))

        if before is None:
            assert call() is None
        elif holder is not None:
            with pytest.raises(PathTakenError) as caught:
                call()
            assert caught.value.holder == holder
        else:
            after = attrs.evolve(before, updated=updated, **changes)
            assert call() == (before, after)
            self.model[session_id] = scope, after

    @rule(scope=SCOPES, session_id=IDS, kernel_id=st.none() | KERNELS)
    def delete(self, scope: str, session_id: str, kernel_id: str | None) -> None:
        before = next((kept for kept in self.of(scope) if kept.id == session_id and kernel_id in {None, kept.kernel_id}), None)
        assert self.call(scope, lambda store: store.delete(session_id, kernel_id=kernel_id)) == before
        if before is not None:
            del self.model[session_id]

    @rule(scope=SCOPES, criteria=st.fixed_dictionaries({}, optional={"id": IDS, "path": PATHS, "kernel_id": KERNELS}))
    def find(self, scope: str, criteria: dict[str, str]) -> None:
        fitting = [kept for kept in self.of(scope) if all(getattr(kept, key) == value for key, value in criteria.items())]
        assert self.call(scope, lambda store: store.find(**criteria)) == fitting

    @invariant()
    def same_rows(self) -> None:
        """In the file, of all scopes: seen without the store, which the rule `find` asks."""
        expected: dict[str, list[tuple[str, ...]]] = {scope: [] for scope, _ in self.model.values()}
        for scope, kept in self.model.values():
            times = [moment.isoformat(timespec="microseconds") for moment in (kept.created, kept.updated)]
            expected[scope].append((kept.id, kept.path, kept.name, kept.type, kept.kernel_id, *times))
        found: dict[str, list[tuple[str, ...]]] = {}
        if self.path.exists():
            with plain_connection(self.path) as connection:
                columns = "scope, id, path, name, type, kernel_id, created, updated"
                for scope, *values in connection.execute(f"SELECT {columns} FROM session ORDER BY rowid"):
                    found.setdefault(scope, []).append(tuple(values))
        assert found == expected


TestStoreAgainstDictionary = StoreAgainstDictionary.TestCase
TestStoreAgainstDictionary.settings = settings(stateful_step_count=12)


@given(position=st.integers(0, 40_000), content=st.binary(min_size=1, max_size=64))
def test_any_damage_gives_a_typed_error_or_rows(position: int, content: bytes) -> None:
    async def main() -> None:
        async with open_session_store(path) as store:
            await store.find()
            await store.insert(row(1000))
            await store.delete("id-1")

    with tempfile.TemporaryDirectory(prefix="tgw-", dir=MEMORY) as folder:
        path = Path(folder, "sessions.db")
        path.write_bytes(fifty_rows())
        overwrite(path, position % len(fifty_rows()), content)
        with contextlib.suppress(InvalidInputError, SessionStoreError):
            trio.run(main)
        assert open_descriptors(path) == 0
