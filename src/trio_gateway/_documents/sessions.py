"""`gateway.sessions`: which kernel belongs to which document.

The one idea: a session is a row of ours about a kernel of the gateway's. The row is dropped when its kernel is gone, and a kernel
is gone only when the gateway says so of this very id: a list that lacks it, an error, a silence say nothing.

Here is no SQL (that is `session_store`), and nothing about how kernels are started or found.
"""

from __future__ import annotations

import builtins
import logging
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Final, Protocol

import attrs
import trio

from .._errors import (
    AuthenticationError,
    GatewayError,
    InvalidInputError,
    KernelNotFoundError,
    SessionNotFoundError,
    SessionStoreError,
)
from .._events import EventSink, GatewayEvent, ignore
from .._kernel_resources import KernelResources
from .._limits import points_to_limits
from .._models import KernelModel, SessionModel
from .._secret import hide_values
from .store import PathTakenError, SessionRow, SessionStore

__all__ = ["KernelDirectory", "Sessions"]

_logger = logging.getLogger("trio_gateway.sessions")

_LONGEST_PATH: Final = 4096
_LONGEST_NAME: Final = 1024
_LONGEST_WORD: Final = 256
_MAX_DROPPED: Final = 1000
"""How many sessions that were dropped are remembered; of more, the oldest are forgotten."""
_LOOKS_AT_ONCE: Final = 10


class KernelDirectory(Protocol):
    """What sessions need of a gateway's kernels. Each method raises GatewayError as its requests do."""

    async def start(
        self, name: str | None, *, env: Mapping[str, str] | None, path: str | None, resources: KernelResources | None
    ) -> KernelModel:
        """Start a kernel that nothing owns, and return its model.

        Args:
            name: the kernelspec; None for the gateway's default.
            env: variables for the kernel.
            path: the folder to work in, relative to the gateway's root and with "/" between its parts; None: that root.
            resources: what it gets of a cluster.

        Cancellation: a start that raises, `Cancelled` too, leaves no kernel behind.
        """
        ...

    async def get(self, kernel_id: str) -> KernelModel:
        """Return a kernel's model.

        Raises:
            KernelNotFoundError: the gateway itself says that there is no such kernel. Never for anything less certain.
        """
        ...

    async def list(self) -> Sequence[KernelModel]:
        """Return the models of the kernels. It may lack some.

        Raises:
            AuthenticationError: with status 403, where the gateway forbids listing.
        """
        ...

    async def shutdown(self, kernel_id: str) -> None:
        """Shut a kernel down. One that is gone already is fine, or KernelNotFoundError."""
        ...


def _wall_clock() -> datetime:
    # Written into rows, for people; nothing is decided by it.
    return datetime.now(UTC)  # noqa: TID251


@points_to_limits
class Sessions:
    """The sessions of a gateway: which kernel belongs to which document. Reached as `gateway.sessions`.

    A session is found by its id or its path; a path has at most one. Paths are compared as they are written. Sessions are kept
    here, not by the gateway, and may be shared by programs that use the same database.

    A session whose kernel is gone is dropped when it is next looked at, and only if the gateway says of that kernel's id that it
    does not know it. As long as it can't be asked, the session stays. One that was dropped can still be given another kernel by
    `update`, for the client that has the document open, until its path has another session; the last 1,000 are remembered.

    Every method raises SessionStoreError if the database fails, and what requests to the gateway raise: GatewayConnectionError,
    GatewayTimeoutError, GatewayHTTPError and AuthenticationError. Safe for any number of tasks.

    Args:
        store: where the rows are.
        kernels: the gateway's kernels.
        gateway_url: the gateway's URL without secrets, for events.
        emit: called for each session made, changed, deleted or dropped, and for each failure to do so.
        cleanup_timeout: how long shutting down a kernel that nobody wants any more may take, in seconds.
        now: what time it is, with a time zone.
    """

    def __init__(
        self,
        store: SessionStore,
        kernels: KernelDirectory,
        *,
        gateway_url: str = "",
        emit: EventSink = ignore,
        cleanup_timeout: float = 30.0,
        now: Callable[[], datetime] = _wall_clock,
    ) -> None:
        self._store = store
        self._kernels = kernels
        self._gateway_url = gateway_url
        self._emit = emit
        self._cleanup_timeout = cleanup_timeout
        self._now = now
        self._creating = _Turns()
        self._dropped: dict[str, SessionRow] = {}

    async def create(
        self,
        path: str,
        *,
        kernel_name: str | None = None,
        kernel_id: str | None = None,
        name: str = "",
        type: str = "notebook",  # noqa: A002
        env: Mapping[str, str] | None = None,
        resources: KernelResources | None = None,
    ) -> SessionModel:
        """Return the session of a path; if there is none, start a kernel and make one.

        A session that is there already is returned as it is, whatever else was asked for. However many tasks ask for one path
        at once, one kernel is started.

        Args:
            path: the document's path, relative to the gateway's root and with "/" between its parts; or any other text that
                is unique.
            kernel_name: the kernelspec to start; None for the gateway's default.
            kernel_id: use this kernel, and start none.
            name: the document's name, to show.
            type: what the document is: `"notebook"`, `"console"`, `"file"` or another word.
            env: variables for the kernel, if one is started.
            resources: what it gets of a cluster, if one is started, as for `gateway.start_kernel`.

        Returns:
            The session.

        Raises:
            InvalidInputError: an argument can't be used; nothing was done.
            KernelNotFoundError: there is no kernel `kernel_id`.
            KernelSpecNotFoundError: there is no kernelspec `kernel_name`.

        Cancellation: safe: it leaves neither a session nor a kernel that was started for it. Waits, shielded and at most for
            `cleanup_timeout`, until that kernel is shut down.
        """
        env = hide_values(env)
        _check_text("path", path, _LONGEST_PATH)
        _check_text("name", name, _LONGEST_NAME, empty=True)
        _check_text("type", type, _LONGEST_WORD)
        _check_kernel(kernel_id, kernel_name)
        with self._failures_told("create", kernel_id, kernel_name) as started:
            async with self._creating.wait(path):
                session = await self._live_at(path)
                if session is not None:
                    return session

                async def claim(kernel: KernelModel) -> SessionModel:
                    return await self._claim(path, name, type, kernel, started)

                if kernel_id is not None:
                    return await claim(await self._kernels.get(kernel_id))
                return await self._start_for(claim, kernel_name, env, resources, path)

    async def get(self, session_id: str | None = None, *, path: str | None = None, kernel_id: str | None = None) -> SessionModel:
        """Return the session that fits all that is given.

        Args:
            session_id: the session's id.
            path: the document's path.
            kernel_id: a kernel; the oldest of its sessions is returned.

        Returns:
            The session, with its kernel as the gateway describes it now.

        Raises:
            InvalidInputError: nothing was given, or it can't be used.
            SessionNotFoundError: there is none, or its kernel is gone and so it was dropped.

        Cancellation: safe.
        """
        key = _key(session_id=session_id, path=path, kernel_id=kernel_id)
        rows = await self._store.find(id=session_id, path=path, kernel_id=kernel_id)
        if not rows:
            raise SessionNotFoundError(key)
        session = await self._live(rows[0])
        if session is None:
            raise SessionNotFoundError(key, f"its kernel {rows[0].kernel_id} is gone")
        return session

    async def list(self) -> builtins.list[SessionModel]:
        """Return all sessions, oldest first.

        Kernels that the gateway's list lacks, and all kernels where it forbids listing, are looked up one by one. A session whose
        kernel can't be asked about is listed with a kernel of which only the id is known (`execution_state` is `"unknown"`).

        Cancellation: safe.
        """
        # First the rows: a kernel that was started after the gateway made its list must not seem to be missing from it.
        rows = await self._store.find()
        if not rows:
            return []
        listed: Mapping[str, KernelModel] = {}
        try:
            listed = {kernel.id: kernel for kernel in await self._kernels.list()}
        except AuthenticationError as error:
            if error.status_code != 403:  # forbidding only the list is the default of the usual gateways
                raise
        sessions = {row.id: _session(row, listed[row.kernel_id]) for row in rows if row.kernel_id in listed}
        lacking = [row for row in rows if row.id not in sessions]
        if lacking:
            sessions |= await self._look(lacking)
        return [sessions[row.id] for row in rows if row.id in sessions]

    async def update(
        self,
        session_id: str,
        *,
        path: str | None = None,
        name: str | None = None,
        type: str | None = None,  # noqa: A002
        kernel_id: str | None = None,
        kernel_name: str | None = None,
        env: Mapping[str, str] | None = None,
        resources: KernelResources | None = None,
    ) -> SessionModel:
        """Change what is given of a session; the rest stays.

        A kernel that is replaced is shut down, unless another session has it too. If that fails, the session is changed all the
        same, and an event and the log tell of the kernel that may be left.

        Args:
            session_id: which session.
            path: the document's new path.
            name: its new name.
            type: its new type.
            kernel_id: the kernel to use from now on.
            kernel_name: start a kernel of this kernelspec and use it from now on; `kernel_id` wins.
            env: variables for the kernel, if one is started.
            resources: what it gets of a cluster, if one is started, as for `gateway.start_kernel`.

        Returns:
            The session as it is now.

        Raises:
            InvalidInputError: an argument can't be used, or another session has that path; nothing was changed.
            SessionNotFoundError: there is none, or its kernel is gone (and none was given to replace it) and so it was dropped.
            KernelNotFoundError: there is no kernel `kernel_id`.
            KernelSpecNotFoundError: there is no kernelspec `kernel_name`.

        Cancellation: safe: the session is either changed or not, and no kernel is left without one. Waits, shielded and at most
            for `cleanup_timeout`, until the kernel that was replaced, or was started in vain, is shut down.
        """
        env = hide_values(env)
        key = _key(session_id=session_id)
        if path is not None:
            _check_text("path", path, _LONGEST_PATH)
        if name is not None:
            _check_text("name", name, _LONGEST_NAME, empty=True)
        if type is not None:
            _check_text("type", type, _LONGEST_WORD)
        _check_kernel(kernel_id, kernel_name)
        with self._failures_told("update", kernel_id, kernel_name) as started:
            rows = await self._store.find(id=session_id)
            dropped = self._dropped.get(session_id) if kernel_id is not None or kernel_name is not None else None
            if not rows and dropped is None:
                raise SessionNotFoundError(key)
            row = rows[0] if rows else dropped
            assert row is not None
            if path is not None:
                await self._check_free(path, row)
            if kernel_id is None and kernel_name is None:
                return await self._rename(row, started, path=path, name=name, type=type)

            async def move(kernel: KernelModel) -> SessionModel:
                return await self._move(row, kernel, started, path=path, name=name, type=type)

            if kernel_id is not None:
                return await move(await self._kernels.get(kernel_id))
            return await self._start_for(move, kernel_name, env, resources, row.path if path is None else path)

    async def delete(self, session_id: str) -> None:
        """Shut a session's kernel down and forget the session. A kernel that is gone already is fine.

        The kernel is shut down also where another session has it, as Jupyter servers do.

        Args:
            session_id: which session.

        Raises:
            SessionNotFoundError: there is none.

        Cancellation: safe: the session stays as long as its kernel was not shut down, and can be deleted again.
        """
        key = _key(session_id=session_id)
        with self._failures_told("delete") as started:
            while True:
                rows = await self._store.find(id=session_id)
                if not rows:
                    raise SessionNotFoundError(key)
                await self._shutdown(rows[0].kernel_id)
                # An update may have given it another kernel meanwhile: that one's turn is next.
                deleted = await self._store.delete(session_id, kernel_id=rows[0].kernel_id)
                if deleted is not None:
                    self._tell("delete", deleted, started=started)
                    return

    def __repr__(self) -> str:
        return f"<Sessions {self._store!r}>"

    # ------------------------------------------------------------------------------------------------- what is still there

    async def _live(self, row: SessionRow) -> SessionModel | None:
        """Return a session with its kernel; None, and the session is dropped, if its kernel is gone."""
        while True:
            started = trio.current_time()
            with suppress(KernelNotFoundError):
                return _session(row, await self._kernels.get(row.kernel_id))
            # Only as long as it has that kernel: another task or program may have given it a new one while we asked.
            dropped = await self._store.delete(row.id, kernel_id=row.kernel_id)
            if dropped is not None:
                self._dropped[row.id] = dropped
                if len(self._dropped) > _MAX_DROPPED:
                    del self._dropped[next(iter(self._dropped))]
                self._tell("drop", dropped, "its kernel is gone", started=started)
                return None
            rows = await self._store.find(id=row.id)
            if not rows:
                return None
            row = rows[0]

    async def _live_at(self, path: str) -> SessionModel | None:
        """Return the session of a path, if it has one whose kernel is there."""
        rows = await self._store.find(path=path)
        while rows:
            session = await self._live(rows[0])
            if session is not None and session.path == path:
                return session
            rows = await self._store.find(path=path)  # dropped, or renamed while we asked
        return None

    async def _look(self, rows: Sequence[SessionRow]) -> dict[str, SessionModel]:
        """Ask about each session's kernel by id, a few at once; drop the sessions whose kernel is gone."""
        sessions: dict[str, SessionModel] = {}
        failures: builtins.list[Exception] = []
        limiter = trio.CapacityLimiter(_LOOKS_AT_ONCE)
        await trio.lowlevel.checkpoint()

        async def look(row: SessionRow) -> None:
            async with limiter:
                try:
                    session = await self._live(row)
                except SessionStoreError as error:
                    failures.append(error)
                except GatewayError:
                    sessions[row.id] = _session(row, KernelModel(id=row.kernel_id, name="", execution_state="unknown"))
                except Exception as error:  # noqa: BLE001 -- raised below, without the nursery's group around it
                    failures.append(error)
                else:
                    if session is not None:
                        sessions[row.id] = session

        async with trio.open_nursery() as nursery:
            for row in rows:
                nursery.start_soon(look, row, name=f"trio_gateway.session_look[{row.kernel_id:.8}]")
        if failures:
            raise failures[0]
        return sessions

    async def _check_free(self, path: str, row: SessionRow) -> None:
        """Refuse a path that another living session has, before a kernel is started in vain."""
        for holder in await self._store.find(path=path):
            if holder.id != row.id and await self._live(holder) is not None:
                raise PathTakenError(holder)

    # ---------------------------------------------------------------------------------------------------- rows and kernels

    async def _claim(self, path: str, name: str, type_: str, kernel: KernelModel, started: float) -> SessionModel:
        """Make a session with this kernel, or return the one that another program made for the path meanwhile."""
        now = self._now()
        row = SessionRow(id=str(uuid.uuid4()), path=path, name=name, type=type_, kernel_id=kernel.id, created=now, updated=now)
        while True:
            kept = await self._store.insert(row)
            if kept.id == row.id:
                for dropped in [dropped.id for dropped in self._dropped.values() if dropped.path == path]:
                    del self._dropped[dropped]
                self._tell("create", row, kernel_name=kernel.name, started=started)
                return _session(row, kernel)
            session = await self._live(kept)
            if session is not None and session.path == path:
                return session

    async def _rename(
        self,
        row: SessionRow,
        started: float,
        *,
        path: str | None,
        name: str | None,
        type: str | None,  # noqa: A002
    ) -> SessionModel:
        """Change a session that keeps its kernel, if that is there."""
        session = await self._live(row)
        if session is not None and (path, name, type) != (None, None, None):
            _, after = await self._write(row, started, path=path, name=name, type=type)
            # Someone may have given it another kernel since we looked.
            session = _session(after, session.kernel) if after.kernel_id == session.kernel.id else await self._live(after)
        if session is None:
            raise SessionNotFoundError(_key(session_id=row.id), f"its kernel {row.kernel_id} is gone")
        return session

    async def _move(
        self,
        row: SessionRow,
        kernel: KernelModel,
        started: float,
        *,
        path: str | None,
        name: str | None,
        type: str | None,  # noqa: A002
    ) -> SessionModel:
        """Give a session this kernel, with other changes, and shut down the one that it had."""
        before, after = await self._write(row, started, path=path, name=name, type=type, kernel=kernel)
        with trio.move_on_after(self._cleanup_timeout, shield=True) as scope:
            await self._end_unused(before.kernel_id)
        if scope.cancelled_caught:
            self._tell_of_orphan(before.kernel_id, self._too_slow)
        return _session(after, kernel)

    async def _write(
        self,
        row: SessionRow,
        started: float,
        *,
        path: str | None,
        name: str | None,
        type: str | None,  # noqa: A002
        kernel: KernelModel | None = None,
    ) -> tuple[SessionRow, SessionRow]:
        """Change a row; return it as it was and as it is. What returns has happened: nothing is awaited after the change."""
        kernel_id = None if kernel is None else kernel.id
        while True:
            try:
                changed = await self._store.update(
                    row.id, updated=self._now(), path=path, name=name, type=type, kernel_id=kernel_id
                )
            except PathTakenError as error:
                taken = error
            else:
                if changed is None:
                    dropped = None if kernel is None else self._dropped.get(row.id)
                    if dropped is None or kernel is None:
                        raise SessionNotFoundError(_key(session_id=row.id), "it was deleted meanwhile")
                    row = attrs.evolve(
                        dropped,
                        path=dropped.path if path is None else path,
                        name=dropped.name if name is None else name,
                        type=dropped.type if type is None else type,
                        kernel_id=kernel.id,
                        updated=self._now(),
                    )
                    kept = await self._store.insert(row)
                    if (kept.id, kept.kernel_id) != (row.id, row.kernel_id):
                        if kept.id != row.id and await self._live(kept) is not None:
                            raise PathTakenError(kept)
                        continue
                    self._dropped.pop(row.id, None)
                    changed = dropped, kept
                self._tell("update", changed[1], kernel_name=None if kernel is None else kernel.name, started=started)
                return changed
            # Another task or program has taken the path since _check_free looked.
            if await self._live(taken.holder) is not None:
                raise taken

    async def _start_for(
        self,
        use: Callable[[KernelModel], Awaitable[SessionModel]],
        kernel_name: str | None,
        env: Mapping[str, str] | None,
        resources: KernelResources | None,
        path: str,
    ) -> SessionModel:
        """Start a kernel and give it to `use`; shut it down unless a session has it afterwards."""
        kernel = await self._kernels.start(kernel_name, env=env, resources=resources, path=path.rpartition("/")[0] or None)
        used = False
        try:
            session = await use(kernel)
            used = session.kernel.id == kernel.id
        finally:
            if not used:
                with trio.move_on_after(self._cleanup_timeout, shield=True) as scope:
                    await self._end_unwanted(kernel.id)
                if scope.cancelled_caught:
                    self._tell_of_orphan(kernel.id, self._too_slow)
        return session

    async def _end_unused(self, kernel_id: str) -> None:
        """Shut down a kernel unless it has a session. The caller bounds and shields it."""
        try:
            users = await self._store.find(kernel_id=kernel_id)
        except GatewayError as error:
            self._tell_of_orphan(kernel_id, str(error))
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            if not users:
                await self._end_unwanted(kernel_id)

    async def _end_unwanted(self, kernel_id: str) -> None:
        """Shut down a kernel that nobody asked for. A failure is reported, not raised. The caller bounds and shields it."""
        try:
            await self._shutdown(kernel_id)
        except Exception as error:  # noqa: BLE001 -- nothing may hide what is being raised or returned
            self._tell_of_orphan(kernel_id, str(error) or repr(error))
            await trio.lowlevel.cancel_shielded_checkpoint()

    @property
    def _too_slow(self) -> str:
        return f"its shutdown took longer than cleanup_timeout = {self._cleanup_timeout:g} s"

    async def _shutdown(self, kernel_id: str) -> None:
        try:
            await self._kernels.shutdown(kernel_id)
        except KernelNotFoundError:
            await trio.lowlevel.checkpoint()

    # -------------------------------------------------------------------------------------------------------------- events

    def _tell(self, action: str, row: SessionRow, message: str = "", *, kernel_name: str | None = None, started: float) -> None:
        self._emit(
            GatewayEvent(
                kind="session",
                action=action,
                status="success",
                message=f"session {row.id} of {row.path!r}" + (f": {message}" if message else ""),
                gateway_url=self._gateway_url,
                seconds=trio.current_time() - started,
                kernel_id=row.kernel_id,
                kernel_name=kernel_name or None,
            )
        )

    @contextmanager
    def _failures_told(self, action: str, kernel_id: str | None = None, kernel_name: str | None = None) -> Generator[float]:
        """Tell of an action that fails. Gives the time at which it began."""
        started = trio.current_time()
        try:
            yield started
        except (InvalidInputError, SessionNotFoundError):
            raise  # nothing was done
        except GatewayError as error:
            self._emit(
                GatewayEvent(
                    kind="session",
                    action=action,
                    status="error",
                    status_code=getattr(error, "status_code", None),
                    message=str(error),
                    gateway_url=self._gateway_url,
                    seconds=trio.current_time() - started,
                    kernel_id=kernel_id,
                    kernel_name=kernel_name,
                )
            )
            raise

    def _tell_of_orphan(self, kernel_id: str, reason: str) -> None:
        _logger.warning("kernel_may_be_left: %s: %s", kernel_id, reason, extra={"gateway.kernel_id": kernel_id})
        self._emit(
            GatewayEvent(
                kind="session",
                action="cleanup",
                status="error",
                message=f"kernel {kernel_id} may be left: {reason}",
                gateway_url=self._gateway_url,
                kernel_id=kernel_id,
            )
        )


# ------------------------------------------------------------------------------------------------------------------- turns


@attrs.define
class _Turn:
    lock: trio.Lock = attrs.field(factory=trio.Lock)
    users: int = 0


class _Turns:
    """One task at a time for each key; nothing is kept of keys that nobody uses."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}

    @asynccontextmanager
    async def wait(self, key: str) -> AsyncGenerator[None]:
        turn = self._turns.setdefault(key, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[key]


# ------------------------------------------------------------------------------------------------------------------ values


def _session(row: SessionRow, kernel: KernelModel) -> SessionModel:
    return SessionModel(id=row.id, path=row.path, name=row.name, type=row.type, kernel=kernel)


def _key(*, session_id: object, path: object = None, kernel_id: object = None) -> str:
    given = {"session_id": session_id, "path": path, "kernel_id": kernel_id}
    for field, value in given.items():
        if value is not None:
            _check_text(field, value, _LONGEST_PATH)
    if not any(value is not None for value in given.values()):
        raise InvalidInputError("session_id", None, "an id; or a path or a kernel_id in its place")
    return ", ".join(f"{field}={value!r}" for field, value in given.items() if value is not None)


def _check_kernel(kernel_id: object, kernel_name: object) -> None:
    if kernel_id is not None:
        _check_text("kernel_id", kernel_id, _LONGEST_WORD)
    if kernel_name is not None:
        _check_text("kernel_name", kernel_name, _LONGEST_WORD)


def _check_text(field: str, value: object, longest: int, *, empty: bool = False) -> None:
    if not isinstance(value, str):
        raise InvalidInputError(field, value, "text (str)")
    if not value and not empty:
        raise InvalidInputError(field, value, "text that is not empty")
    if len(value) > longest:
        raise InvalidInputError(field, value, f"at most {longest} characters; this has {len(value)}")
    if "\0" in value:
        raise InvalidInputError(field, value, "text without NUL characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(field, value, "text that can be encoded as UTF-8; this has a lone surrogate") from None
