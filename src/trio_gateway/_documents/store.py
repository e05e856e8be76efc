"""Rows about sessions in SQLite, for Trio: in memory, or in one file that survives a restart and may be shared by processes.

The one idea: each call is one transaction, so it either happened or did not, and a call that returned has happened also where
its caller was cancelled meanwhile. A file is worked on in one worker thread at a time; a database in memory needs no thread
(its calls take microseconds), and so it works under a virtual clock.

Here is no knowledge of gateways, kernels or what a session is for: that is `sessions`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import stat
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio

from .._errors import GatewayTimeoutError, InvalidInputError, SessionStoreError
from .._threads import run_sync

__all__ = ["PathTakenError", "SessionRow", "SessionStore", "make_memory_store", "open_session_store"]

_T = TypeVar("_T")

_APPLICATION_ID = 0x74674773
"""Stands in the header of each file of ours, where SQLite has a place for it ("tgGs")."""

_VERSION = 1
"""The schema's version, in `PRAGMA user_version`. A change of the schema raises it, and carries older files over."""

_COLUMNS = "id, scope, path, name, type, kernel_id, created, updated"

# typeof: a column's type is only a wish in SQLite (STRICT tables need 3.37).
_SCHEMA = (
    "CREATE TABLE session (id TEXT NOT NULL PRIMARY KEY, "
    + ", ".join(f"{column} TEXT NOT NULL" for column in _COLUMNS.split(", ")[1:])
    + ", UNIQUE (scope, path), "
    + ", ".join(f"CHECK (typeof({column}) = 'text')" for column in _COLUMNS.split(", "))
    + ")",
    "CREATE INDEX session_kernel ON session (scope, kernel_id)",
)

_READ = "BEGIN"
_WRITE = "BEGIN IMMEDIATE"  # takes the write lock at once, instead of when it is too late to wait for it

_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.1
_CLOSE_LIMIT = 5.0


@attrs.frozen(kw_only=True)
class SessionRow:
    """One session as it is kept: which kernel a document uses."""

    id: str
    """The session's own id (a UUID as text)."""
    path: str
    """The document's path; unique within a store's scope."""
    name: str
    """The document's name."""
    type: str
    """What the document is, such as `"notebook"`."""
    kernel_id: str
    """The kernel it uses."""
    created: datetime
    """When the row was made, in UTC."""
    updated: datetime
    """When the row was last changed, in UTC."""


class PathTakenError(InvalidInputError):
    """Another session has this path.

    Args:
        holder: the session that has it.
    """

    holder: SessionRow
    """The session that has the path."""
    _entry = "InvalidInputError"

    def __init__(self, holder: SessionRow) -> None:
        super().__init__("path", holder.path, f"a path that no other session has; session {holder.id} has it")
        self.args = (holder,)
        self.holder = holder


class _BusyError(Exception):
    """Another connection holds the file: nothing was done, try again."""


class SessionStore:
    """The rows of one scope of one database; made by [open_session_store][].

    Safe for any number of tasks. Every method is one transaction.

    **Cancellation:** safe everywhere: a call that raises `Cancelled` has changed nothing, and one that has begun its
    transaction ends it and returns.

    Each method raises:
        SessionStoreError: the database is damaged, was moved, or its disk is full.
        GatewayTimeoutError: another process held the file longer than `busy_limit`.
        trio.ClosedResourceError: the store's block has ended.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path | None, scope: str, busy_limit: float) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._path = path
        self._scope = scope
        self._busy_limit = busy_limit
        self._limiter = trio.CapacityLimiter(1)

    @property
    def path(self) -> Path | None:
        """The file; None for a database in memory."""
        return self._path

    def __repr__(self) -> str:
        closed = "" if self._connection is not None else " closed"
        return f"<SessionStore {_name(self._path)}{closed}>"

    async def insert(self, row: SessionRow) -> SessionRow:
        """Keep this row, unless one with its path is kept already.

        Args:
            row: what to keep.

        Returns:
            the row that is now kept under that path: this one, or the one that was there before.

        Raises:
            InvalidInputError: its id belongs to another row.
        """
        values = (row.id, self._scope, row.path, row.name, row.type, row.kernel_id, _to_text(row.created), _to_text(row.updated))

        def insert(connection: sqlite3.Connection) -> SessionRow:
            kept = self._select(connection, path=row.path)
            if kept:
                return kept[0]
            if _rows(connection, "SELECT 1 FROM session WHERE id = ?", row.id):
                raise InvalidInputError("id", row.id, "an id that no other session has")
            connection.execute(f"INSERT INTO session ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608
            return self._select(connection, id=row.id)[0]

        return await self._run(insert)

    async def find(self, *, id: str | None = None, path: str | None = None, kernel_id: str | None = None) -> list[SessionRow]:  # noqa: A002
        """Find the rows that fit all that is given; without arguments, all rows.

        Args:
            id: a session's id.
            path: a document's path.
            kernel_id: a kernel.

        Returns:
            the rows in the order in which they were made.
        """
        return await self._run(lambda connection: self._select(connection, id=id, path=path, kernel_id=kernel_id), _READ)

    async def update(
        self,
        id: str,  # noqa: A002
        *,
        updated: datetime,
        path: str | None = None,
        name: str | None = None,
        type: str | None = None,  # noqa: A002
        kernel_id: str | None = None,
    ) -> tuple[SessionRow, SessionRow] | None:
        """Change what is given, leave what is None.

        Args:
            id: which session.
            updated: when this is.
            path: the new path.
            name: the new name.
            type: the new type.
            kernel_id: the new kernel.

        Returns:
            the row before and after, as one transaction saw them; None where there is no such session.

        Raises:
            PathTakenError: another session has that path; nothing was changed.
        """

        def update(connection: sqlite3.Connection) -> tuple[SessionRow, SessionRow] | None:
            found = self._select(connection, id=id)
            if not found:
                return None
            before = found[0]
            if path is not None and path != before.path and (holders := self._select(connection, path=path)):
                raise PathTakenError(holders[0])
            connection.execute(
                "UPDATE session SET path = ?, name = ?, type = ?, kernel_id = ?, updated = ? WHERE id = ?",
                (
                    before.path if path is None else path,
                    before.name if name is None else name,
                    before.type if type is None else type,
                    before.kernel_id if kernel_id is None else kernel_id,
                    _to_text(updated),
                    id,
                ),
            )
            return before, self._select(connection, id=id)[0]

        return await self._run(update)

    async def delete(self, id: str, *, kernel_id: str | None = None) -> SessionRow | None:  # noqa: A002
        """Forget a session.

        Args:
            id: which session.
            kernel_id: forget it only while it uses this kernel; None: whichever it uses.

        Returns:
            the row that was forgotten, or None where nothing was.
        """

        def delete(connection: sqlite3.Connection) -> SessionRow | None:
            found = self._select(connection, id=id, kernel_id=kernel_id)
            if not found:
                return None
            connection.execute("DELETE FROM session WHERE id = ?", (id,))
            return found[0]

        return await self._run(delete)

    def _select(
        self,
        connection: sqlite3.Connection,
        *,
        id: str | None = None,  # noqa: A002
        path: str | None = None,
        kernel_id: str | None = None,
    ) -> list[SessionRow]:
        given = {"scope": self._scope, "id": id, "path": path, "kernel_id": kernel_id}
        wanted = {column: value for column, value in given.items() if value is not None}
        condition = " AND ".join(f"{column} = ?" for column in wanted)
        query = f"SELECT {_COLUMNS} FROM session WHERE {condition} ORDER BY rowid"  # noqa: S608 -- column names of ours
        return [_to_row(values) for values in _rows(connection, query, *wanted.values())]

    async def _run(self, operation: Callable[[sqlite3.Connection], _T], begin: str = _WRITE) -> _T:
        def run() -> _T:
            connection = self._connection
            if connection is None:
                raise trio.ClosedResourceError("the block of this session store has ended")
            try:
                with _errors_named(self._path), _transaction(connection, begin):
                    return operation(connection)
            finally:
                if self._connection is None:  # the block ended meanwhile, and may have tired of waiting
                    connection.close()

        if self._path is None:
            await trio.lowlevel.checkpoint()  # before, not after: what is cancelled has not happened
            return run()
        return await _in_thread(run, self._path, self._limiter, self._busy_limit)

    def close_memory(self) -> None:
        """Close a store in memory: what it kept is forgotten. For the caller of [make_memory_store][]; twice is fine."""
        assert self._path is None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def aclose(self) -> None:
        """Close it. For the block that opened it. Cancellation: a close that has begun is waited for."""
        if self._path is None:
            self.close_memory()
            await trio.lowlevel.checkpoint()
            return
        connection, self._connection = self._connection, None
        assert connection is not None
        await run_sync(connection.close, limiter=self._limiter)


def make_memory_store(scope: str = "") -> SessionStore:
    """Make a database of sessions in memory, without a block: its maker calls its `close_memory`.

    Args:
        scope: whose rows these are.
    """
    return SessionStore(_open_memory(), None, scope, 0.0)


@asynccontextmanager
async def open_session_store(
    database: str | PathLike[str] | None = None, *, scope: str = "", busy_limit: float = 5.0, field: str = "database"
) -> AsyncGenerator[SessionStore]:
    """Open the database of sessions, and close it when the block ends.

    A file is made if it is missing or empty, readable by its owner only. A file of anything else is refused and left as it is.
    Several stores, also of several processes, may have the same file open.

    Args:
        database: a file's path; None or `":memory:"` for a database that ends with the block.
        scope: whose rows these are, such as a gateway's URL: rows of another scope are neither seen nor changed, so a kernel that
            one gateway does not know is never looked for at another one. Never pass a secret.
        busy_limit: how long to wait in all while another process holds the file, in seconds.
        field: how the caller calls `database`, for errors.

    Yields:
        the store.

    Raises:
        InvalidInputError: the file can't be used: it is something else's, made by a newer release, or in a missing folder.
        SessionStoreError: the file is ours and damaged.
        GatewayTimeoutError: another process held the file longer than `busy_limit`.

    **Cancellation:** safe. Both ends checkpoint; the connection is closed in any case.
    """
    path = _checked_path(database, field)
    if path is None:
        await trio.lowlevel.checkpoint()
        connection = _open_memory()
    else:
        # Not interrupted once it has begun, so a connection that was made always arrives here.
        connection = await _in_thread(lambda: _open_file(path, field), path, trio.CapacityLimiter(1), busy_limit)
    store = SessionStore(connection, path, scope, busy_limit)
    try:
        yield store
    finally:
        # A transaction of another task may be in progress. The bound is for a disk that hangs under that one, which then closes
        # the connection itself; a close that has begun is waited for.
        with trio.move_on_after(_CLOSE_LIMIT, shield=True):
            await store.aclose()


# ------------------------------------------------------------------------------------------------------ threads and transactions


async def _in_thread(function: Callable[[], _T], path: Path, limiter: trio.CapacityLimiter, busy_limit: float) -> _T:
    """Run a transaction in a worker thread; while another connection holds the file, pause here, where a cancel is heard."""
    pause, paused = _FIRST_PAUSE, 0.0
    while True:
        try:
            return await run_sync(function, limiter=limiter)
        except _BusyError as error:
            # Pauses are summed, not measured: waiting for our own thread is no sign of another process.
            if paused >= busy_limit:
                detail = f"another process holds the file {path}"
                raise GatewayTimeoutError("session store", busy_limit, "busy_limit", detail=detail) from error
        await trio.sleep(pause)
        paused += pause
        pause = min(pause * 2, _LONGEST_PAUSE)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection, begin: str = _WRITE) -> Generator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some errors end the transaction by themselves; a rollback that fails leaves the work to SQLite's journal.
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _errors_named(path: Path | None) -> Generator[None]:
    try:
        yield
    # Python reports text of a damaged file that is not UTF-8 in either way.
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if _kind(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise _BusyError from error
        raise SessionStoreError(_name(path), _problem(error)) from error


def _kind(error: Exception) -> int:
    """SQLite's kind of an error, without its details; 0 where Python raised it, which it does for values that can't be read."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _problem(error: Exception) -> str:
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_DBMOVED:
        return "the file was moved or deleted while in use; open it again"
    if _kind(error) in {0, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return _damaged(str(error))
    if _kind(error) == sqlite3.SQLITE_FULL:
        return "its disk is full"
    return str(error)


def _damaged(how: str) -> str:
    return f"the file is damaged ({' '.join(how.split())[:200]}); move it away, and a new one will be made"


def _name(path: Path | None) -> str:
    return ":memory:" if path is None else str(path)


def _rows(connection: sqlite3.Connection, query: str, *values: str) -> list[Any]:
    # All at once: a cursor that still has rows, kept alive by an exception's traceback, keeps the file open after close().
    return connection.execute(query, values).fetchall()


# ---------------------------------------------------------------------------------------------------------- opening a database


def _checked_path(database: object, field: str) -> Path | None:
    expected = "a file's path, or None for a database in memory"
    if database is None or database == ":memory:":
        return None
    text: object = os.fspath(database) if isinstance(database, (str, os.PathLike)) else database
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidInputError(field, database, expected)
    try:
        os.fsencode(text)
    except UnicodeError:
        raise InvalidInputError(field, database, expected) from None
    return Path(text).absolute()


def _connect(path: Path, parameters: str) -> sqlite3.Connection:
    # Not bound to one thread: a store's calls run in any worker thread, one at a time. timeout=0: waiting is _in_thread's.
    return sqlite3.connect(f"{path.as_uri()}?{parameters}", uri=True, timeout=0, isolation_level=None, check_same_thread=False)


def _open_memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with _transaction(connection):
        _create(connection)
    return connection


def _open_file(path: Path, field: str) -> sqlite3.Connection:
    """Open a file of ours or a new one, in a worker thread."""
    if not _inspect(path, field):
        _make(path)
    with _errors_named(path):
        try:
            connection = _connect(path, "mode=rwc")
        except sqlite3.OperationalError as error:
            raise _refused(path, field, f"a file that can be opened ({error})") from error
        try:
            # A file that somebody prepared runs nothing here.
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            try:
                with _transaction(connection):
                    _create_or_check(connection, path, field)
            except sqlite3.OperationalError as error:
                if _kind(error) in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
                    raise _refused(path, field, f"a file, and a folder, that this process may write ({error})") from error
                raise
        except BaseException:
            connection.close()
            raise
    return connection


def _inspect(path: Path, field: str) -> bool:
    """Refuse what is not ours before SQLite could touch it; tell whether there is a file.

    SQLite itself looks into the file, as one that is immutable: then it takes no lock and replays no journal. Reading it with
    `open()` would be wrong: closing any descriptor of a file drops all of this process's locks on it, those of another store too.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise _refused(path, field, "a file in a folder that exists") from None
        return False
    except OSError as error:
        raise _refused(path, field, f"a path that can be looked at ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, field, "a regular file")
    if status.st_size == 0:
        return True
    with _errors_named(path):
        try:
            with contextlib.closing(_connect(path, "mode=ro&immutable=1")) as connection:
                # Else a file that is shorter than its header says is refused; one that a crashed process left so has a journal.
                connection.execute("PRAGMA writable_schema = ON")
                _check_header(connection, path, field)
        except sqlite3.DatabaseError as error:
            if _kind(error) == sqlite3.SQLITE_NOTADB:
                raise _refused(path, field, "a file of sessions; this is no SQLite database") from error
            if _kind(error) in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}:
                raise _refused(path, field, f"a file that this process may read ({error})") from error
            raise
    return True


def _check_header(connection: sqlite3.Connection, path: Path, field: str) -> None:
    application_id, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    if application_id != _APPLICATION_ID:
        raise _refused(path, field, "a file of sessions; this is a database of another program")
    if version > _VERSION:
        raise _refused(path, field, f"a file of sessions of version {_VERSION}; a newer release made this, of version {version}")
    if version < 1:
        raise SessionStoreError(str(path), _damaged(f"its version is {version}"))


def _make(path: Path) -> None:
    """Make an empty file that only its owner can read, before SQLite could make one for everybody; its journal is made alike.

    It is made under another name: closing it under its own would drop the locks of another store of this process. What goes
    wrong here SQLite meets too, and says.
    """
    path = Path(os.path.realpath(path))  # a symbolic link may lead to a file that is not there
    other = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.tmp")
    with contextlib.suppress(OSError):
        os.close(os.open(other, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            path.hardlink_to(other)
        except FileExistsError:
            pass  # somebody was faster, and made it alike
        except OSError:  # not each file system has links
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        finally:
            other.unlink()


def _create_or_check(connection: sqlite3.Connection, path: Path, field: str) -> None:
    """Inside a transaction: two processes may open the same new file at once."""
    empty = not _rows(connection, "SELECT 1 FROM sqlite_schema LIMIT 1")
    if empty and _pragma(connection, "application_id") == 0:
        _create(connection)
        return
    _check_header(connection, path, field)
    if _schema_of(connection) != sorted(_SCHEMA):
        raise SessionStoreError(str(path), _damaged("its tables are not those of its version"))
    ((verdict,),) = _rows(connection, "PRAGMA integrity_check(1)")
    if verdict != "ok":
        raise SessionStoreError(str(path), _damaged(str(verdict)))
    connection.execute("DELETE FROM session WHERE 0")  # changes nothing, and fails where nothing may be changed


def _create(connection: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {_VERSION}")


def _schema_of(connection: sqlite3.Connection) -> list[object]:
    # SQLite keeps the statements as they were written; its own tables and indexes are called sqlite_….
    return sorted(sql for name, sql in _rows(connection, "SELECT name, sql FROM sqlite_schema") if not name.startswith("sqlite_"))


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    ((value,),) = _rows(connection, f"PRAGMA {name}")
    assert isinstance(value, int)
    return value


def _refused(path: Path, field: str, expected: str) -> InvalidInputError:
    return InvalidInputError(field, str(path), f"{expected} (it was left as it is: name another file, or move this one away)")


# ----------------------------------------------------------------------------------------------------------------------- rows


def _to_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _to_row(values: tuple[str, ...]) -> SessionRow:
    id_, _, path, name, type_, kernel_id, created, updated = values
    try:
        times = datetime.fromisoformat(created), datetime.fromisoformat(updated)
    except ValueError as error:
        raise sqlite3.DatabaseError(f"session {id_} has a time that can't be read") from error
    return SessionRow(id=id_, path=path, name=name, type=type_, kernel_id=kernel_id, created=times[0], updated=times[1])
