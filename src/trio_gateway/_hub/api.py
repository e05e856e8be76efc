"""A hub's REST interface as far as a user's server needs it: whose the token is, how the server is, start, follow, stop.

The one idea: paths and answers are read in `_protocol.hub`, bytes go through the same `HttpClient` as a gateway's, and a refusal
says which scope is missing. What is done with a server, and whose it is, is decided above.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, Literal
from urllib.parse import urljoin, urlsplit

import attrs
import trio

from .._config import GatewayConfig
from .._errors import (
    AuthenticationError,
    GatewayConnectionError,
    GatewayHTTPError,
    GatewayTimeoutError,
    InvalidInputError,
    ProtocolError,
)
from .._events import GatewayEvent
from .._protocol.hub import (
    OWNER_PATH,
    HubServer,
    Owner,
    Progress,
    ProgressReader,
    ServerName,
    parse_owner,
    parse_server,
    says_not_running,
)
from .._protocol.masking import one_line
from .._protocol.rest import kernelspecs_path
from .._protocol.urls import origin_of
from .._transport.http.client import UNSET, HttpClient

__all__ = ["UNSURE", "HubApi"]

UNSURE: Final = frozenset({408, 502, 503, 504})
"""Statuses that something before the hub answers with: what the hub does is not known."""
_SCOPES: Final = "read:servers, start:servers, delete:servers and access:servers"
_MAX_SCOPES: Final = 300


class HubApi:
    """Requests to a hub about servers.

    Every method raises GatewayConnectionError, GatewayTimeoutError, GatewayHTTPError, AuthenticationError and ProtocolError as
    `HttpClient.request` does. Cancelling one leaves open whether the hub got the request.

    Args:
        http: a client of the hub's root.
    """

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._owner: Owner | None = None

    @property
    def config(self) -> GatewayConfig:
        """The settings of the requests."""
        return self._http.config

    async def owner(self) -> Owner:
        """Return whose the token is; to be asked before all else, so that a token that is wrong is told from one that may not."""
        try:
            response = await self._http.request("GET", OWNER_PATH)
            self._owner = parse_owner(response.json())
        except AuthenticationError as error:
            error.message = "the hub does not know the token"
            raise
        except GatewayHTTPError as error:
            if error.status_code == 404:
                error.message = f"no JupyterHub answers there: is {self.config.base_url} its URL, with what stands before /hub?"
            raise
        return self._owner

    async def look(self, name: ServerName) -> HubServer | None:
        """Return how a server is; None if it does not run."""
        with self._refusal_explained(name, "read:servers"):
            response = await self._http.request("GET", name.user_path)
            try:
                return parse_server(response.json(), name.server)
            except LookupError:
                problem = AuthenticationError(403, "Forbidden", url=self.config.http_url(name.user_path))
            raise problem

    async def start(self, name: ServerName, options: Mapping[str, Any] | None, on_sending: Callable[[], object]) -> None:
        """Ask for a server, once.

        The hub answers 201 when it is ready, and 202 when that takes longer (`slow_spawn_timeout`), or when somebody has asked
        before; 400 where it runs, or is being stopped; 500 where it could not be started.

        Args:
            name: the server.
            options: what the hub's form of options gives.
            on_sending: called when the request is about to be sent.
        """
        with self._refusal_explained(name, "start:servers"):
            # For hubs of all versions, a body without `user_options` is those.
            body = UNSET if options is None else dict(options)
            await self._http.request("POST", name.path, json=body, phase="hub server start", on_sending=on_sending)

    async def follow(self, name: ServerName) -> Progress | None:
        """Tell of a start that is under way, event by event; return how it ended, None where that is not known.

        A stream that breaks, or that a proxy cuts off, says nothing of the server.
        """
        reader = ProgressReader()
        last: list[Progress] = []

        def take(piece: bytes) -> None:
            for event in reader.feed(piece):
                last[:] = [attrs.evolve(event, message=self._http.mask(event.message))]
                self.tell("progress", name, str(last[0]), failed=event.failed)

        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        try:
            # How long it may take is the caller's business.
            await self._http.request(
                "GET", name.progress_path, headers=headers, timeout=float("inf"), retry=False, on_content=take
            )
        except (GatewayConnectionError, GatewayTimeoutError, GatewayHTTPError, ProtocolError):
            await trio.lowlevel.checkpoint()
        return last[0] if last and (last[0].ready or last[0].failed) else None

    async def stop(self, name: ServerName) -> bool:
        """Ask for a server's end; say whether it has ended, or was not there. Stopping may take longer than the answer."""
        with self._refusal_explained(name, "delete:servers"):
            try:
                response = await self._http.request("DELETE", name.path, phase="hub server stop")
            except GatewayHTTPError as error:
                if error.status_code == 404:
                    return True  # noqa: ASYNC910 - it was asked
                if error.status_code == 400:  # it is pending something else
                    return False  # noqa: ASYNC910 - it was asked
                raise
            return response.status_code != 202

    def server_url(self, name: ServerName, server: HubServer) -> str:
        """Return a server's URL.

        Raises:
            InvalidInputError: it is not on the hub's host, where the token goes and nowhere else.
        """
        base = self.config.base_url
        url, same = f"{base}{name.url_path}", False
        with suppress(ValueError):  # it can't be read
            if server.url:
                url = urljoin(f"{base}/", server.url)  # the hub's paths begin at the root of its host
            same = origin_of(urlsplit(url)) == origin_of(urlsplit(base))
        if not same:
            expected = (
                "a hub whose servers are on its own host, where the token goes and nowhere else; open_gateway() reaches another"
            )
            raise InvalidInputError("hub", one_line(server.url, 200), expected)
        return url.rstrip("/")

    async def reaches(self, name: ServerName, server: HubServer) -> bool:
        """Say whether the hub's proxy has the way to a server that the hub says is ready.

        Raises:
            AuthenticationError: the server does not let the token in.
            InvalidInputError: the server is on another host.
        """
        url = self.server_url(name, server) + kernelspecs_path(self.config.kernelspecs_endpoint)
        try:
            answer = await self._http.exchange("GET", url)
        except (GatewayConnectionError, GatewayTimeoutError):
            await trio.lowlevel.checkpoint()
            return False
        status = answer.status_code
        if status in UNSURE or says_not_running("GET", urlsplit(url).path, status, answer.headers, answer.content):
            return False
        if status in {401, 403}:
            with self._refusal_explained(name, "access:servers"):
                raise AuthenticationError(status, "Forbidden" if status == 403 else "Unauthorized", url=url)
        return True

    def tell(
        self,
        action: Literal["start", "progress", "found", "stop"],
        name: ServerName,
        message: str = "",
        *,
        failed: bool = False,
        since: float | None = None,
    ) -> None:
        """Tell of something that was done with a server, or happens to it.

        Args:
            action: what.
            name: the server.
            message: more about it.
            failed: how it ended.
            since: when it began, in Trio's time.
        """
        self._http.emit(
            GatewayEvent(
                kind="hub",
                action=action,
                status="error" if failed else "success",
                message=f"{name}: {message}" if message else str(name),
                gateway_url=self.config.base_url,
                seconds=0.0 if since is None else trio.current_time() - since,
            )
        )

    @contextmanager
    def _refusal_explained(self, name: ServerName, scope: str) -> Generator[None]:
        try:
            yield
        except AuthenticationError as error:
            owner = self._owner
            whose = (
                "" if owner is None else f" ({owner.name}'s, with the scopes {one_line(', '.join(owner.scopes), _MAX_SCOPES)})"
            )
            error.message = (
                f"the token{whose} may not do this with a server of {name.user!r}: that takes the scope {scope}; "
                f"all of open_hub() takes {_SCOPES}"
            )
            raise
        except GatewayHTTPError as error:
            if error.status_code == 404:
                error.message = (
                    f"the hub has no user {name.user!r}, or the token may not know; open_hub() takes the scopes {_SCOPES}"
                )
            raise
