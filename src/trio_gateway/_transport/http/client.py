"""HTTP to one gateway: each request ends in an answer or in one typed error, within its limits.

The one idea: a call is checked, attempted, repeated where that is safe and may help, and reported once. Limits are Trio's cancel
scopes: one around connecting, one around each attempt (`attempt`). What may be repeated, and when, is decided by
`_protocol/retry.py`; who we are to the gateway, by `identity`.
"""

from __future__ import annotations

import logging
import random
import re
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

import trio

from ..._config import GatewayConfig, header_name_problem, header_value_problem
from ..._errors import AuthenticationError, GatewayError, InvalidInputError
from ..._events import EventSink, GatewayEvent, ignore
from ..._protocol.masking import Masker
from ..._protocol.rest import encode_query
from ..._protocol.retry import IDEMPOTENT_METHODS, request_delay
from ..._protocol.urls import origin_of, split_url
from ..._secret import SecretBytes, hide_values
from ..addresses import Addresses
from ..connector import Connector, connect_tcp
from ..timer import Timer
from ..tls import load_ssl_context
from ..turnstile import Turnstile
from ..websocket.handshakes import Handshakes, open_handshakes
from .attempt import CLOSE_LIMIT, AttemptFailed, Attempts, Call, HttpResponse
from .identity import Identity

if TYPE_CHECKING:
    from .pool import ConnectionPool

__all__ = ["UNSET", "HttpClient", "open_http_client"]

logger = logging.getLogger("trio_gateway.http")


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()
"""No JSON is sent; None would be sent as `null`."""

RECONNECT_SECONDS: Final = 5.0
"""How long a kernel that is connected to again may hold up the next ones, in seconds: a gateway withholds its answer to a
handshake for up to a minute while a kernel does not answer."""


class HttpClient:
    """HTTP to one gateway. Made by [open_http_client][]; any number of tasks may use it."""

    config: GatewayConfig
    """The settings."""
    connector: Connector
    """Opens raw streams, for the WebSocket too."""
    ssl_context: ssl.SSLContext | None
    """What to do TLS with; None where no URL of the configuration needs it."""
    emit: EventSink
    """Takes the events of what is done; what it raises comes out of what it tells of."""
    addresses: Addresses
    """Which of the gateway's addresses is in use, for the WebSocket too."""
    takes_bytes: int | None
    """How large a WebSocket message the gateway takes, in bytes; None where that is not known, as mostly."""
    handshakes: Handshakes
    """Where WebSocket handshakes are made."""
    reconnects: Turnstile
    """Where those wait that connect to a kernel again."""
    timer: Timer
    """Keeps time for all connections."""
    called: str
    """What the gateway is called in a fleet; `""` where it is in none."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        connector: Connector,
        ssl_context: ssl.SSLContext | None,
        emit: EventSink,
        pool: ConnectionPool,
        handshakes: Handshakes,
        rng: random.Random,
    ) -> None:
        self.config = config
        self.connector = connector
        self.ssl_context = ssl_context
        self.emit = emit
        self.addresses = Addresses(config, emit)
        self.takes_bytes = None
        self.called = ""
        self.reconnects = Turnstile(config.reconnects_at_once, RECONNECT_SECONDS)
        self.handshakes = handshakes
        self.timer = Timer()
        handshakes.services.start_soon(self.timer.run, name="trio_gateway.timer")
        self._rng = rng
        self._identity = Identity(config)
        self._attempts = Attempts(config, self._identity, pool)

    def __repr__(self) -> str:
        return f"<HttpClient {self.config.base_url}>"

    # --------------------------------------------------------------------------------------------------------- requests

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: object = UNSET,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        timeout_setting: str = "request_timeout",
        phase: str = "request",
        retry: bool | None = None,
        on_sending: Callable[[], object] | None = None,
        on_content: Callable[[bytes], object] | None = None,
    ) -> HttpResponse:
        """Send a request, again where that is safe and may help, and give the answer if it is one of success.

        Args:
            method: HTTP method.
            path: an escaped path, joined to the base URL.
            params: the query, not escaped.
            json: what to send as JSON.
            headers: more headers, which beat the configured ones.
            timeout: the limit of one attempt in seconds, redirects and the wait for a free connection included;
                `request_timeout` when it is None.
            timeout_setting: the setting that this limit comes from, for the error.
            phase: what the request does, for the error.
            retry: whether a failed attempt is repeated; by the method when it is None. In that case a request whose method is not
                idempotent is repeated only if no connection was made for it.
            on_sending: called when the first byte is about to be sent: a caller cancelled before that has sent nothing.
            on_content: called with each piece of the body of a 200 as it comes, without decoding it or taking secrets out of it.

        Returns:
            The answer, with a status of 200 to 299 or 304.

        Raises:
            GatewayHTTPError: it answered with another status.
            AuthenticationError: it answered 401 or 403, also to a new token where there is one.
            GatewayConnectionError: there is no connection, or it broke.
            GatewayTimeoutError: connecting or an attempt took too long. That is not tried again, but at another address of the
                gateway: to wait longer, a caller raises the limit.
            TokenCommandError: the command of `token_command` gave no token.
            ProtocolError: the answer can't be understood, or is larger than `max_response_size`.
            InvalidInputError: path, headers or JSON can't be sent.
            trio.ClosedResourceError: the client's block has ended.

        Cancellation:
            Safe for the client: the connection in use is closed. Whether the gateway has acted on the request is unknown.
        """
        given: Mapping[str, str] = hide_values(headers or {})
        headers = given
        content = None if isinstance(json, _Unset) else _dump_json(json)
        json_type = [("Content-Type", "application/json")] if content is not None else []
        call = Call(
            method=_checked_method(method),
            path=_checked_path(path),
            url_at=partial(self.config.http_url, path),
            query=f"?{encode_query(params)}" if params else "",
            headers=[*json_type, *_checked_headers(given)],
            content=content,
            limit=self.config.request_timeout if timeout is None else timeout,
            setting=timeout_setting,
            phase=phase,
            started=trio.current_time(),
            on_sending=on_sending,
            on_content=on_content,
        )
        return await self._run(call, retry)

    async def exchange(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> HttpResponse:
        """Send a request of the user's own and give the answer, whatever its status.

        As `request` does, it logs in, renews the token, stays within `request_timeout` for each attempt, and repeats what is safe
        to repeat. It follows no redirect: where one leads is the caller's to see.

        Args:
            method: HTTP method.
            url: an escaped URL of the configured server, inside the base URL or not, without fragment. Where the gateway has
                several addresses, a URL of any of them means the one in use.
            headers: more headers, which beat the configured ones.
            content: the body, if there is one.

        Returns:
            The answer.

        Raises:
            GatewayConnectionError: there is no connection, or it broke.
            GatewayTimeoutError: connecting or an attempt took too long.
            TokenCommandError: the command of `token_command` gave no token.
            ProtocolError: the answer can't be understood, or is larger than `max_response_size`.
            InvalidInputError: the URL is one of another server, or the request can't be sent.
            trio.ClosedResourceError: the client's block has ended.

        Cancellation:
            Safe for the client: the connection in use is closed. Whether the gateway has acted on the request is unknown.
        """
        given: Mapping[str, str] = hide_values(headers or {})
        headers = given
        bases = [urlsplit(address) for address in self.config.addresses]
        parts = split_url(url)
        here = [base for base in bases if origin_of(base) == origin_of(parts)]
        if not here:
            expected = f"a URL of {' or '.join(f'{base.scheme}://{base.netloc}' for base in bases)}; credentials go nowhere else"
            raise InvalidInputError("url", "{}://{}:{}".format(*origin_of(parts)), expected)
        path = parts.path or "/"
        # Below the base URL of an address it is the same path below that of another one.
        within = max((base.path for base in here if f"{path}/".startswith(f"{base.path}/")), key=len, default=None)

        def url_at(address: int) -> str:
            base = bases[address]
            below = path if within is None else base.path + path[len(within) :]
            return f"{base.scheme}://{base.netloc}{below}"

        call = Call(
            method=_checked_method(method),
            path=path if within is None else path[len(within) :] or path,
            url_at=url_at,
            query=f"?{parts.query}" if parts.query else "",
            headers=_checked_headers(given),
            content=None if content is None else SecretBytes(content),
            limit=self.config.request_timeout,
            setting="request_timeout",
            phase="request",
            started=trio.current_time(),
            any_status=True,
        )
        return await self._run(call, None)

    async def _run(self, call: Call, retry: bool | None) -> HttpResponse:
        try:
            return await self._with_retries(call, retry)
        except GatewayError as error:
            call.message = str(error)
            raise
        except BaseException as error:
            call.message = "cancelled" if isinstance(error, trio.Cancelled) else type(error).__name__
            raise
        finally:
            self._tell(call)

    async def _with_retries(self, call: Call, retry: bool | None) -> HttpResponse:
        idempotent = call.method in IDEMPOTENT_METHODS
        failures = 0
        renewed = False
        if self._identity.renews:
            await self._identity.renew()
        worth = False
        way = self.addresses.start_round()
        while True:
            token = self._identity.token
            try:
                response = await self._attempts.make(call, way.index)
            except AttemptFailed as caught:
                failed = caught
            else:
                way.answered()
                return response
            if isinstance(failed.error, AuthenticationError) and not renewed:
                renewed = True
                try:
                    again = await self._identity.renew(token)
                except GatewayError as error:
                    raise error from failed.error
                if again:
                    continue
            may = (idempotent or failed.safe) if retry is None else retry
            worth |= failed.worth
            unanswered = failed.elsewhere and (may or failed.safe)
            if unanswered and way.failed(failed.error):
                continue
            failures += 1
            if unanswered:
                failed.error = cast("GatewayError", way.error())
            elif failed.response is not None:
                way.answered()
            if not may or not worth or failures > self.config.max_request_retries:
                return self._settle(call, failed)
            limit = self.config.gateway_retry_interval_max
            delay = request_delay(failures, limit=limit, rng=self._rng, retry_after=failed.after)
            if delay is None:
                return self._settle(call, failed)
            logger.debug("request_retried after %.3g s: %s", delay, failed.error)
            await trio.sleep(delay)
            worth = False
            way = self.addresses.start_round()

    def _settle(self, call: Call, failed: AttemptFailed) -> HttpResponse:
        """End with the last attempt, for better or worse."""
        if not call.any_status or failed.response is None:
            raise failed.error
        call.message = str(failed.error)
        return failed.response

    # ------------------------------------------------------------------------------------------------ for the WebSocket

    @property
    def mask(self) -> Masker:
        """Takes out of what the gateway says what we log in with."""
        return self._identity.mask

    async def handshake_headers(self, url: str) -> list[tuple[str, str]]:
        """Give the headers of a WebSocket handshake: what logs in, renewed, the configured ones, and the cookies that go there.

        Args:
            url: the WebSocket's URL.

        Raises:
            InvalidInputError: the URL is not one of the configured gateway.
            TokenCommandError: the command of `token_command` gave no token.
            GatewayTimeoutError: it took longer than `token_command_timeout`.

        Cancellation:
            Safe.
        """
        return await self._identity.handshake_headers(url)

    def store_cookies(self, set_cookie_values: Iterable[str], url: str) -> None:
        """Keep the cookies of an answer, if the configuration says so.

        Args:
            set_cookie_values: the values of its `Set-Cookie` headers.
            url: the URL of the request.
        """
        self._identity.store_cookies(set_cookie_values, url)

    @property
    def token(self) -> str:
        """The token that logs in now, a secret."""
        return self._identity.token

    async def renew_token(self, used: str | None = None) -> bool:
        """Ask for a new token because a handshake was refused.

        Args:
            used: the token that was refused; None for the one that logs in now. If that is another one already, nobody is asked:
                a request may have renewed it while the handshake was under way.

        Returns:
            Whether there is another token now.

        Raises:
            TokenCommandError: the command of `token_command` gave no token.
            GatewayTimeoutError: it took longer than `token_command_timeout`.

        Cancellation:
            Safe.
        """
        return await self._identity.renew(self._identity.token if used is None else used)

    # ------------------------------------------------------------------------------------------------------------- rest

    def _tell(self, call: Call) -> None:
        self.emit(
            GatewayEvent(
                kind="request",
                action=call.method.lower(),
                status="error" if call.message else "success",
                status_code=call.status,
                message=call.message,
                gateway_url=self.addresses.url_of(call.address),
                method=call.method,
                path=call.path,
                attempts=call.attempts,
                seconds=call.seconds(),
            )
        )

    def close(self) -> None:
        """Refuse requests from now on."""
        self._attempts.close()


def _dump_json(value: object) -> bytes:
    import json

    try:
        # Variables for a kernel are in there, which may be secrets.
        return SecretBytes(json.dumps(value, allow_nan=False).encode("ascii"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError("json", type(value).__name__, f"something that JSON can hold ({error})") from None


def _checked_method(method: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{1,20}", method):
        raise InvalidInputError("method", method, "an HTTP method such as GET")
    return method.upper()


def _checked_path(path: str) -> str:
    if not re.fullmatch(r"/[!-~]*", path) or "#" in path:
        raise InvalidInputError("path", path, 'an escaped path that begins with "/"')
    return path


def _checked_headers(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    for name, value in headers.items():
        if problem := header_name_problem(name) or header_value_problem(value):
            # The value may be secret.
            raise InvalidInputError("headers", name, problem)
    return list(headers.items())


@asynccontextmanager
async def open_http_client(
    config: GatewayConfig, *, connector: Connector = connect_tcp, emit: EventSink = ignore, rng: random.Random | None = None
) -> AsyncGenerator[HttpClient]:
    """Open the HTTP client of a gateway. Nothing is sent yet.

    The environment's proxies and `.netrc` files are not used: the configuration alone says where credentials go.

    Args:
        config: the settings.
        connector: opens raw streams; tests put a network of their own here.
        emit: gets one event for each request. It must not raise: what it raises comes out of the request.
        rng: gives the jitter between attempts.

    Yields:
        The client; closed, with all its connections, when the block ends.

    Raises:
        ConfigError: a certificate or key can't be used, the token renewer can't be made, or there is no program of
            `token_command`.

    Cancellation: closes the client; waits, shielded, for WebSocket handshakes that have begun, at most for the shorter one of
        `connect_timeout` and `cleanup_timeout`.
    """
    from .pool import ConnectionPool

    ssl_context = await load_ssl_context(config)
    # ws_url alone may be one of TLS.
    pool = ConnectionPool(config, connector, ssl_context if config.base_url.startswith("https:") else None)
    async with open_handshakes(min(config.connect_timeout, config.cleanup_timeout)) as handshakes:
        http = HttpClient(
            config,
            connector=connector,
            ssl_context=ssl_context,
            emit=emit,
            pool=pool,
            handshakes=handshakes,
            rng=random.Random() if rng is None else rng,  # noqa: S311 - it spreads retries and guards nothing
        )
        try:
            yield http
        finally:
            http.close()
            with trio.move_on_after(CLOSE_LIMIT, shield=True):
                await pool.aclose()
