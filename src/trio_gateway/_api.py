"""A gateway's REST interface, typed: one method for each request the library makes about kernels and kernelspecs.

The one idea: paths and bodies come from `_protocol.rest`, bytes go through `HttpClient`, and a 404 becomes the error that
says what was not found. Each action on a kernel comes through here, and here it becomes an event of kind
`"kernel"`. No policy lives here: who owns a kernel, what is retried and what is cleaned up is decided above.
"""

from __future__ import annotations

import builtins
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final, Protocol

import attrs
import trio

from ._config import GatewayConfig
from ._errors import GatewayError, GatewayHTTPError, InvalidInputError, KernelNotFoundError, KernelSpecNotFoundError
from ._events import EventSink, GatewayEvent, ignore
from ._models import KernelModel, KernelSpec, KernelSpecs
from ._protocol import rest
from ._transport.connector import Connector, connect_tcp
from ._transport.http.attempt import HttpResponse
from ._transport.http.client import HttpClient, open_http_client
from ._transport.turns import Turns, see_through

__all__ = ["LOOK_PAUSES", "KernelApi", "KernelNotes", "Look", "open_kernel_api"]

_NO_ANSWERS: Final = frozenset({408, 502, 503, 504})
"""Statuses that something before the gateway answers with: what the gateway does is not known."""
LOOK_PAUSES: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses between looks for a kernel that may still be starting, or may come back, in seconds."""
DOUBT_PAUSES: Final = (0.1, 0.4)
"""Pauses, in seconds, before a gateway that says that it does not know a kernel of ours is asked again: behind a balancer this
may be a replica that has not heard of it, or could not take it over."""


@attrs.frozen
class Look:
    """Kernels as the gateway described them at a moment of its own clock."""

    models: builtins.list[KernelModel]
    """The kernels."""
    time: datetime | None
    """What time it was for the gateway, in UTC, to the second; None where its answer does not say."""


@attrs.define
class _Action:
    """What an event says about an action, as far as it is known yet."""

    kernel_id: str
    kernel_name: str | None = None
    status_code: int | None = None
    message: str = ""


class KernelNotes(Protocol):
    """Takes note of what the gateway's answers say about which kernels there are."""

    def __contains__(self, kernel_id: object) -> bool:
        """Whether the kernel is there, as far as is known."""
        ...

    def name(self, kernel_id: str) -> str | None:
        """Return a kernel's kernelspec, as far as it is known."""
        ...

    def made(self, kernel_id: str, name: str) -> None:
        """A start of ours made this kernel."""
        ...

    def forget(self, kernel_id: str) -> None:
        """The kernel is gone: a shutdown of ours ended it, or the gateway does not know it."""
        ...


class _NoNotes:
    """Takes no notes."""

    def __contains__(self, kernel_id: object) -> bool:
        del kernel_id
        return False

    def name(self, kernel_id: str) -> str | None:
        del kernel_id
        return None

    def made(self, kernel_id: str, name: str) -> None:
        del kernel_id, name

    def forget(self, kernel_id: str) -> None:
        del kernel_id


class KernelApi:
    """Requests about kernels and kernelspecs. Made by `open_kernel_api`, one for a gateway: restarts and shutdowns of a kernel
    take turns in it, for all callers.

    Every method raises GatewayConnectionError, GatewayTimeoutError, GatewayHTTPError, AuthenticationError and
    ProtocolError as `HttpClient.request` does. Cancelling one leaves open whether the gateway got the request.

    KernelNotFoundError is a gateway's own word. Of a kernel that is there, as far as the notes say, it takes three answers in a
    row: what is asked may be a replica that does not know it. A 404 that is no gateway's is a GatewayHTTPError.

    Args:
        http: the gateway's HTTP client.
        notes: takes note of which kernels there are, before an event tells of it.
    """

    def __init__(self, http: HttpClient, notes: KernelNotes) -> None:
        self._http = http
        self._notes = notes
        self._turns = Turns()
        self._restarts: Counter[str] = Counter()
        self.look_on: Callable[[str, float], object] | None = None
        """Takes a kernel that was shut down and may come back all the same, and until when; None where nobody looks on."""

    @property
    def http(self) -> HttpClient:
        """The gateway's HTTP client, for what is no request about kernels."""
        return self._http

    @property
    def config(self) -> GatewayConfig:
        """The gateway's configuration."""
        return self._http.config

    async def start(
        self,
        *,
        kernel_id: str,
        name: str | None,
        env: Mapping[str, str],
        path: str | None,
        timeout: float,
        on_sending: Callable[[], object] | None = None,
    ) -> KernelModel:
        """Ask for a new kernel.

        The id is a wish: compare it with the model's. jupyter_server takes it since its pull request 1655, and Enterprise
        Gateway from `KERNEL_ID` in `env`; older servers choose one of their own.

        Args:
            kernel_id: the wished id, a UUID.
            name: the kernelspec; None for the gateway's default.
            env: the environment to send, exactly.
            path: the directory to start in, as the gateway's API path.
            timeout: seconds.
            on_sending: called when the request is about to be sent: a caller cancelled before that has started nothing.
        """
        body: dict[str, Any] = {"kernel_id": kernel_id, "env": dict(env)}
        if name is not None:
            body["name"] = name
        if path is not None:
            body["path"] = path
        with self._told("start", _Action(kernel_id, name)) as action:
            response = await self._http.request(
                "POST",
                self._kernels(),
                json=body,
                timeout=timeout,
                timeout_setting="launch_timeout",
                phase="kernel start",
                on_sending=on_sending,
            )
            # No id is given: `null` is no answer to a start, whatever it is to a question.
            model = rest.parse_kernel(response.json())
            action.kernel_id, action.kernel_name, action.status_code = model.id, model.name or name, response.status_code
            self._notes.made(model.id, action.kernel_name or "")
        return model

    async def list(self) -> builtins.list[KernelModel]:
        """List the kernels; a gateway may forbid it (403)."""
        return (await self.look_at_all()).models

    async def look_at_all(self) -> Look:
        """List the kernels, with the gateway's time."""
        response = await self._http.request("GET", self._kernels())
        return Look(rest.parse_kernels(response.json()), _date(response))

    async def get(self, kernel_id: str) -> KernelModel:
        """Return a kernel's model. Raises KernelNotFoundError."""
        return (await self.look_at(kernel_id)).models[0]

    async def look_at(self, kernel_id: str) -> Look:
        """Return one kernel's model, with the gateway's time. Raises KernelNotFoundError."""
        response = await self._kernel("GET", kernel_id)
        return Look([rest.parse_kernel(response.json(), kernel_id=kernel_id)], _date(response))

    async def interrupt(self, kernel_id: str) -> None:
        """Interrupt a kernel. Raises KernelNotFoundError."""
        with self._told("interrupt", _Action(kernel_id)) as action:
            action.status_code = (await self._kernel("POST", kernel_id, "interrupt")).status_code

    async def restart(
        self,
        kernel_id: str,
        *,
        timeout: float | None = None,
        on_sending: Callable[[], object] | None = None,
        on_restarted: Callable[[], object] | None = None,
    ) -> KernelModel:
        """Restart a kernel, when it is the turn of this; returns when it is back. Raises KernelNotFoundError.

        Args:
            kernel_id: the kernel.
            timeout: seconds, from when it is its turn.
            on_sending: called when it is about to be asked for.
            on_restarted: called when the gateway says that it is back, also if the caller was cancelled meanwhile.

        Cancellation: while it waits for its turn, nothing is sent. Then it waits, shielded and at most for `cleanup_timeout`, for
            the gateway's answer.
        """
        self._path(kernel_id)  # before anything is kept by it
        async with self._turns.take(kernel_id):
            return await see_through(
                partial(self._restart, kernel_id, timeout, on_sending, on_restarted),
                limit=self.config.cleanup_timeout,
                name=f"trio_gateway.restart[{kernel_id:.8}]",
            )

    async def _restart(
        self,
        kernel_id: str,
        timeout: float | None,
        on_sending: Callable[[], object] | None,
        on_restarted: Callable[[], object] | None,
        begin: Callable[[], object],
    ) -> KernelModel:
        turns = self._turns

        def note_sending() -> None:
            turns.unsettled[kernel_id] = trio.current_time() + (self.config.request_timeout if timeout is None else timeout)
            begin()
            if on_sending is not None:
                on_sending()

        self._restarts[kernel_id] += 1  # before it is asked for: the kernel's goodbye comes before the answer
        with self._told("restart", _Action(kernel_id)) as action:
            try:
                response = await self._kernel("POST", kernel_id, "restart", timeout=timeout, on_sending=note_sending)
            except GatewayHTTPError as error:
                if error.status_code not in _NO_ANSWERS:
                    turns.unsettled.pop(kernel_id, None)
                if error.status_code != 500:
                    raise
                # So Kernel Gateway answers for a kernel that it does not know; a look says whether that is it.
                await self._check_known(kernel_id)  # noqa: ASYNC120 - a cancellation may well take the place of this error
                raise
            turns.unsettled.pop(kernel_id, None)
            action.status_code = response.status_code
            # A gateway may answer without a model, as with 204: its word that it is done is what counts.
            answer = response.json() if response.content else None
            model = await self._look(kernel_id) if answer is None else rest.parse_kernel(answer, kernel_id=kernel_id)
            action.kernel_name = model.name
        if on_restarted is not None:
            on_restarted()
        return model

    def own_restarts(self, kernel_id: str) -> int:
        """Return how often a kernel was restarted, or nearly, through this: so a session can tell whose a restart was."""
        return self._restarts[kernel_id]

    async def shutdown(
        self,
        kernel_id: str,
        *,
        action: str = "shutdown",
        kernel_name: str | None = None,
        message: str = "",
        retry: bool | None = None,
    ) -> None:
        """Shut a kernel down, when no restart of it is under way. Raises KernelNotFoundError.

        For a restart it waits at most half of `cleanup_timeout`; then, and after one whose end is not known, it looks for some
        seconds whether the kernel comes back, and shuts it down again. A restart that may go on longer is `look_on`'s.

        Args:
            kernel_id: the kernel.
            action: what the event calls it: `"shutdown"`; `"cull"`; or `"cleanup"` for a kernel that may never have been there,
                and gives an event only where it was.
            kernel_name: its kernelspec, where it is known.
            message: why.
            retry: whether a request that fails is repeated; as `HttpClient.request` has it for None.
        """
        turns = self._turns
        self._path(kernel_id)  # before anything is kept by it
        async with turns.take(kernel_id, patience=self._http.config.cleanup_timeout / 2) as ours:
            try:
                with self._told(action, _Action(kernel_id, kernel_name, None, message)) as told:
                    told.status_code = (await self._kernel("DELETE", kernel_id, retry=retry)).status_code
                    self._notes.forget(kernel_id)
                self._drop_handshakes(kernel_id)
            except KernelNotFoundError:
                self._drop_handshakes(kernel_id)
                if not ours or kernel_id in turns.unsettled:
                    await self._look_whether_it_comes_back(kernel_id)  # noqa: ASYNC120 - a cancellation may take its place
                raise
            if not ours or kernel_id in turns.unsettled:
                await self._look_whether_it_comes_back(kernel_id)

    def _drop_handshakes(self, kernel_id: str) -> None:
        """Let go of handshakes that nobody waits for: the kernel has gone, and a gateway may withhold the answer for a minute."""
        config = self._http.config
        path = rest.channels_path(config.kernels_endpoint, kernel_id)
        for address in range(len(config.addresses)):
            self._http.handshakes.drop(config.websocket_url(path, address))

    async def _look_whether_it_comes_back(self, kernel_id: str) -> None:
        """Look for a kernel that was shut down in the middle of a restart, shut it down again, and have it looked for on."""
        until = self._turns.unsettled.get(kernel_id, 0.0)
        for pause in LOOK_PAUSES:
            await trio.sleep(pause)
            try:
                await self.get(kernel_id)
                await self._kernel("DELETE", kernel_id)
            except KernelNotFoundError:
                await trio.lowlevel.checkpoint()
        self._turns.unsettled.pop(kernel_id, None)
        if self.look_on is not None and until > trio.current_time():
            self.look_on(kernel_id, until)

    async def kernelspecs(self, *, user: str | None = None) -> KernelSpecs:
        """List the kernelspecs, for a user where the gateway filters by user."""
        path = rest.kernelspecs_path(self._http.config.kernelspecs_endpoint)
        params = {"user": user} if user else None
        return rest.parse_kernelspecs((await self._http.request("GET", path, params=params)).json())

    async def kernelspec(self, name: str, *, user: str | None = None) -> KernelSpec:
        """Return one kernelspec. Raises KernelSpecNotFoundError."""
        path = rest.kernelspec_path(self._http.config.kernelspecs_endpoint, name)
        params = {"user": user} if user else None
        try:
            return rest.parse_kernelspec((await self._http.request("GET", path, params=params)).json(), name)
        except GatewayHTTPError as error:
            if error.status_code == 404 and not isinstance(error, KernelSpecNotFoundError):
                raise KernelSpecNotFoundError(name, method="GET", url=error.url, message=error.message) from None
            raise

    async def resource(self, name: str, file: str, *, etag: str | None = None) -> HttpResponse:
        """Fetch a file of a kernelspec.

        Args:
            name: the kernelspec.
            file: the file's path in its folder.
            etag: the version that is known; then the answer may be 304 without content.

        Raises:
            InvalidInputError: the name or path can't be used.
            GatewayHTTPError: with status 404 where there is no such kernelspec or file.
        """
        path = rest.resource_path(self._http.config.kernelspecs_resource_endpoint, name, file)
        headers = {"Accept": "*/*"} | ({"If-None-Match": etag} if etag is not None else {})
        return await self._http.request("GET", path, headers=headers)

    def tell(
        self, action: str, *, kernel_id: str, kernel_name: str | None = None, message: str = "", failed: bool = True
    ) -> None:
        """Tell of something that happened to a kernel without our doing, such as its death."""
        self._emit(action, _Action(kernel_id, kernel_name, None, message), failed=failed, seconds=0.0)

    def _emit(self, action: str, what: _Action, *, failed: bool, seconds: float) -> None:
        self._http.emit(
            GatewayEvent(
                kind="kernel",
                action=action,
                status="error" if failed else "success",
                status_code=what.status_code,
                message=what.message,
                gateway_url=self._http.addresses.url,
                seconds=seconds,
                kernel_id=what.kernel_id,
                kernel_name=what.kernel_name or None,
            )
        )

    @contextmanager
    def _told(self, action: str, what: _Action) -> Generator[_Action]:
        """Tell how an action on a kernel ends; a kernel that the gateway does not know is noted before."""
        started = trio.current_time()
        failed = True
        if what.kernel_name is None and isinstance(what.kernel_id, str):  # what is no id is refused below
            what.kernel_name = self._notes.name(what.kernel_id)
        try:
            yield what
            failed = False
        except KernelNotFoundError:
            self._notes.forget(what.kernel_id)
            # A caller that shuts down a kernel that is gone has what it wanted. Of what is done unasked nothing happened.
            if action in {"cull", "cleanup"}:
                action = ""
            failed = action != "shutdown"
            what.status_code, what.message = 404, "the gateway does not know it"
            raise
        except InvalidInputError:
            action = ""  # nothing was done
            raise
        except GatewayError as error:
            what.status_code, what.message = getattr(error, "status_code", None), str(error)
            if action == "cleanup":
                action = ""  # it is tried again, or the caller that gives up tells it
            raise
        except BaseException as error:
            if action == "cleanup":
                action = ""
            what.message = "cancelled" if isinstance(error, trio.Cancelled) else type(error).__name__
            raise
        finally:
            if action:
                self._emit(action, what, failed=failed, seconds=trio.current_time() - started)

    async def _look(self, kernel_id: str) -> KernelModel:
        """Return a kernel's model, as far as the gateway tells. Raises KernelNotFoundError."""
        try:
            return await self.get(kernel_id)
        except KernelNotFoundError:
            raise
        except GatewayError:
            await trio.lowlevel.checkpoint()
            return KernelModel(id=kernel_id)

    async def _check_known(self, kernel_id: str) -> None:
        """Raise KernelNotFoundError if the gateway says so; whatever else a look ends in says nothing."""
        try:
            await self.get(kernel_id)
        except KernelNotFoundError:
            raise
        except GatewayError:
            await trio.lowlevel.checkpoint()

    def _kernels(self) -> str:
        return rest.kernels_path(self._http.config.kernels_endpoint)

    def _path(self, kernel_id: str, action: str | None = None) -> str:
        """Return a kernel's path. Raises InvalidInputError for what is no id."""
        return rest.kernel_path(self._http.config.kernels_endpoint, kernel_id, action)

    async def _kernel(
        self,
        method: str,
        kernel_id: str,
        action: str | None = None,
        *,
        timeout: float | None = None,
        retry: bool | None = None,
        on_sending: Callable[[], object] | None = None,
    ) -> HttpResponse:
        path = self._path(kernel_id, action)
        # What is answered 404 was not done, so it may be asked for again whatever it is (guarantee G4).
        for pause in DOUBT_PAUSES if kernel_id in self._notes else ():
            try:
                with _not_found_names_kernel(kernel_id):
                    return await self._http.request(method, path, timeout=timeout, retry=retry, on_sending=on_sending)
            except KernelNotFoundError:
                await trio.sleep(pause)
        with _not_found_names_kernel(kernel_id):
            return await self._http.request(method, path, timeout=timeout, retry=retry, on_sending=on_sending)


@asynccontextmanager
async def open_kernel_api(
    config: GatewayConfig, *, connector: Connector = connect_tcp, emit: EventSink = ignore, notes: KernelNotes | None = None
) -> AsyncGenerator[KernelApi]:
    """Open a gateway's REST interface. Nothing is sent yet.

    Args:
        config: the settings.
        connector: opens raw streams.
        emit: gets one event for each request and for each action on a kernel. What it raises comes out of what it tells of.
        notes: takes note of which kernels there are; nobody does if None.

    Yields:
        The interface; its HTTP client is closed when the block ends.

    Raises:
        ConfigError: a certificate or key can't be used, the token renewer can't be made, or there is no program of
            `token_command`.

    Cancellation: as for `open_http_client`.
    """
    async with open_http_client(config, connector=connector, emit=emit) as http:
        yield KernelApi(http, _NoNotes() if notes is None else notes)


def _date(response: HttpResponse) -> datetime | None:
    try:
        time = parsedate_to_datetime(response.headers.get("Date", ""))
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


@contextmanager
def _not_found_names_kernel(kernel_id: str) -> Generator[None]:
    try:
        yield
    except KernelNotFoundError:
        raise
    except GatewayHTTPError as error:
        if error.status_code == 404 and error.from_gateway:
            raise KernelNotFoundError(kernel_id, method=error.method, url=error.url, message=error.message) from None
        raise
