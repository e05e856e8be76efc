"""HTTP to one gateway: each call of `HttpClient.request` ends in an answer or in one typed error, within its limits.

Limits are Trio's cancel scopes: one around connecting, one around each attempt. What may be repeated, and when, is decided by
`_protocol/retry.py`; who may log in, by `credentials`. Credentials go to the configured server and nowhere else, whatever a
redirect says.
"""

from __future__ import annotations

import logging
import math
import random
import ssl
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import urljoin, urlsplit

import attrs
import trio

from .._config import GatewayConfig
from .._errors import (
    AuthenticationError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    InvalidInputError,
    ProtocolError,
)
from .._events import EventSink, GatewayEvent, ignore
from .._protocol.body import ACCEPT_ENCODING, BodyTooLarge, UnreadableBody, decode_body, parse_encodings
from .._protocol.cookies import CookieJar
from .._protocol.headers import Headers
from .._protocol.masking import Masker
from .._protocol.rest import encode_query, load_json, parse_error
from .._protocol.retry import IDEMPOTENT_METHODS, RETRIED_STATUS_CODES, parse_retry_after, request_delay
from .connector import Connector, TLSRefusedError, connect_tcp
from .credentials import Credentials
from .tls import load_ssl_context

if TYPE_CHECKING:
    import httpx

__all__ = ["UNSET", "HttpClient", "HttpResponse", "open_http_client"]

logger = logging.getLogger("trio_gateway.http")

MAX_REDIRECTS = 5
"""How many redirects in a row are followed."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()
"""No JSON is sent; None would be sent as `null`."""


@attrs.frozen
class HttpResponse:
    """An answer with its whole body."""

    status_code: int
    """HTTP status."""
    headers: Headers
    """The headers; names compare without case."""
    content: bytes = attrs.field(repr=False)
    """The body, its content encoding undone."""

    def json(self) -> Any:
        """Read the body as JSON.

        Raises:
            ProtocolError: it is none.
        """
        return load_json(self.content)


@attrs.frozen
class _Retry:
    """An attempt failed: the error to raise unless another attempt is made."""

    error: GatewayError
    safe: bool
    """Repeating is safe whatever the method: nothing was sent."""
    worth: bool = True
    """Repeating may help."""
    after: float | None = None
    """What the gateway asked to wait, in seconds."""


@attrs.define
class _Call:
    """One call of `request`, through all its attempts."""

    method: str
    path: str
    url: str
    headers: list[tuple[str, str]]
    content: bytes | None
    limit: float
    setting: str
    phase: str
    started: float
    attempts: int = 0
    status: int | None = None

    def seconds(self) -> float:
        return trio.current_time() - self.started


class HttpClient:
    """HTTP to one gateway. Made by [open_http_client][]; any number of tasks may use it."""

    config: GatewayConfig
    """The settings."""
    connector: Connector
    """Opens raw streams, for the WebSocket too."""
    ssl_context: ssl.SSLContext | None
    """What to do TLS with; None where no URL of the configuration needs it."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        connector: Connector,
        ssl_context: ssl.SSLContext | None,
        emit: EventSink,
        client: httpx.AsyncClient,
        rng: random.Random,
    ) -> None:
        self.config = config
        self.connector = connector
        self.ssl_context = ssl_context
        self._emit = emit
        self._client = client
        self._rng = rng
        self._credentials = Credentials(config, config.load_token_renewer())
        self._cookies = CookieJar()
        # The wall clock is read once. From then on it follows Trio's, in tests a virtual one.
        self._epoch = time.time() - trio.current_time()  # noqa: TID251 - cookies and Retry-After speak of dates
        self._closed = False

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
    ) -> HttpResponse:
        """Send a request, again where that is safe and may help, and give the answer if it is one of success.

        Args:
            method: HTTP method.
            path: an escaped path, joined to the base URL.
            params: the query, not escaped.
            json: what to send as JSON.
            headers: more headers, which beat the configured ones.
            timeout: the limit of one attempt in seconds, the wait for a free connection included; `request_timeout` when it is None.
            timeout_setting: the setting that this limit comes from, for the error.
            phase: what the request does, for the error.
            retry: whether a failed attempt is repeated; by the method when it is None. In that case a request whose method is not
                idempotent is repeated only if no connection was made for it.

        Returns:
            The answer, with a status of 200 to 299 or 304.

        Raises:
            GatewayHTTPError: it answered with another status.
            AuthenticationError: it answered 401 or 403, also to a new token where there is one.
            GatewayConnectionError: there is no connection, or it broke.
            GatewayTimeoutError: connecting or an attempt took too long. A limit that ran out is not tried again.
            ProtocolError: the answer can't be understood, or is larger than `max_response_size`.

        Cancellation:
            Safe for the client: the connection in use is closed. Whether the gateway has acted on the request is unknown.
        """
        method = method.upper()
        call = _Call(
            method=method,
            path=path,
            url=self.config.http_url(path),
            headers=[],
            content=None,
            limit=self.config.request_timeout if timeout is None else timeout,
            setting=timeout_setting,
            phase=phase,
            started=trio.current_time(),
        )
        extra = dict(headers or {})
        if not isinstance(json, _Unset):
            call.content = _dump_json(json)
            extra.setdefault("Content-Type", "application/json")
        call.headers = [("Accept", "application/json, */*;q=0.5"), ("Accept-Encoding", ACCEPT_ENCODING), *extra.items()]
        query = f"?{encode_query(params)}" if params else ""
        message = ""
        try:
            response = await self._with_retries(call, query, retry)
        except GatewayError as error:
            message = str(error)
            raise
        except trio.Cancelled:
            message = "cancelled"
            raise
        except BaseException as error:
            message = type(error).__name__
            raise
        finally:
            self._tell(call, message)
        return response

    async def _with_retries(self, call: _Call, query: str, retry: bool | None) -> HttpResponse:
        retries = self.config.max_request_retries
        idempotent = call.method in IDEMPOTENT_METHODS
        failures = 0
        if self._credentials.renews:
            await self._credentials.ask()
        renewed = False
        while True:
            token = self._credentials.token
            outcome = await self._follow(call, query)
            if isinstance(outcome, HttpResponse):
                return outcome
            if isinstance(outcome.error, AuthenticationError) and not renewed:
                renewed = True
                if await self._credentials.ask(token):
                    continue
            failures += 1
            may = (idempotent or outcome.safe) if retry is None else retry
            if not may or not outcome.worth or failures > retries:
                raise outcome.error
            limit = self.config.gateway_retry_interval_max
            delay = request_delay(failures, limit=limit, rng=self._rng, retry_after=outcome.after)
            if delay is None:
                raise outcome.error
            logger.debug("request_retry in %.3g s: %s", delay, outcome.error)
            await trio.sleep(delay)

    async def _follow(self, call: _Call, query: str) -> HttpResponse | _Retry:
        """Make an attempt, redirects included: all of them share one limit."""
        call.attempts += 1
        outcome: HttpResponse | _Retry | None = None
        with trio.move_on_after(call.limit):
            url = call.url + query
            for _ in range(MAX_REDIRECTS + 1):
                outcome = await self._exchange(call, url)
                if not isinstance(outcome, HttpResponse) or outcome.status_code not in _REDIRECTS:
                    break
                target = self._redirect(call, outcome, url)
                if isinstance(target, _Retry):
                    return target
                url = target
            else:
                error = self._http_error(call, 310, "Too Many Redirects", f"more than {MAX_REDIRECTS} redirects")
                return _Retry(error, safe=False, worth=False)
        if outcome is None or (isinstance(outcome, HttpResponse) and outcome.status_code in _REDIRECTS):
            error = GatewayTimeoutError(call.phase, call.limit, call.setting, attempts=call.attempts, seconds=call.seconds())
            return _Retry(error, safe=False, worth=False)
        return self._judge(call, outcome) if isinstance(outcome, HttpResponse) else outcome

    def _http_error(self, call: _Call, status: int, reason: str, message: str) -> GatewayHTTPError:
        cls = AuthenticationError if status in {401, 403} else GatewayHTTPError
        return cls(status, reason, message, method=call.method, url=call.url, attempts=call.attempts, seconds=call.seconds())

    def _judge(self, call: _Call, response: HttpResponse) -> HttpResponse | _Retry:
        status = response.status_code
        if 200 <= status < 300 or status == 304:
            return response
        reason, message = parse_error(status, response.headers, response.content, mask=self._masker())
        after = parse_retry_after(response.headers.get("Retry-After"), now=self._now())
        error = self._http_error(call, status, reason, message)
        return _Retry(error, safe=False, worth=status in RETRIED_STATUS_CODES, after=after)

    def _redirect(self, call: _Call, response: HttpResponse, url: str) -> str | _Retry:
        """Find out where a redirect leads; only a reading request is sent on, and only to the same server."""
        location = response.headers.get("Location", "")
        try:
            target = urlsplit(urljoin(url, location))
            here = urlsplit(url)
            host = f"{target.scheme}://{target.hostname}" + (f":{target.port}" if target.port else "")
            same = _origin(target) == _origin(here)
        except ValueError:
            same, host, target = False, "a place that can't be read", urlsplit(url)
        if location and same and call.method in {"GET", "HEAD"}:
            return target._replace(netloc=urlsplit(url).netloc, fragment="").geturl()
        message = f"it redirects to {self._masker()(host)}" if location else "it redirects to nowhere"
        if location:
            message += "; a request is sent on only to read, and" if same else ";"
            message += " only within one server"
        status = response.status_code
        return _Retry(self._http_error(call, status, parse_error(status, {}, b"")[0], message), safe=False, worth=False)

    async def _exchange(self, call: _Call, url: str) -> HttpResponse | _Retry:
        """Send one request and read its answer."""
        import httpcore2

        from .pool import BodyOverflow, ConnectFailed, Exchange, exchange

        self._check_open()
        current = Exchange(self.config.max_response_size)
        before = exchange.set(current)
        target = _target(url)
        request = self._client.build_request(
            call.method,
            url,
            headers=_encoded(_merge([*self._own_headers(url), *call.headers])),
            content=call.content,
            # As it was written: httpx would resolve dots and escape once more.
            extensions={"target": target.encode("ascii")},
        )
        try:
            response = await self._client.send(request, stream=True, auth=None, follow_redirects=False)
            content = await _read(response)
        except ConnectFailed as failure:
            return self._not_connected(call, failure.error)
        except BodyOverflow:
            self._too_large()
        except (httpcore2.NetworkError, httpcore2.RemoteProtocolError) as error:
            if isinstance(error, httpcore2.RemoteProtocolError) and not current.ended:
                # Its text may show a line of the answer.
                kind = str(error).partition(":")[0]
                raise ProtocolError(f"{call.url} does not answer in HTTP/1.1: {self._masker()(kind)}") from None
            self._check_open()
            lost = GatewayConnectionError(
                f"{call.url} closed the connection before its answer was complete",
                attempts=call.attempts,
                seconds=call.seconds(),
            )
            return _Retry(lost, safe=False)
        finally:
            exchange.reset(before)
        found = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw)
        call.status = response.status_code
        self.store_cookies(found.get_list("Set-Cookie"), url)
        if response.status_code < 200:
            raise ProtocolError(f"{call.url} answered {response.status_code}, which nobody asked for")
        try:
            body = decode_body(content, parse_encodings(found.get_list("Content-Encoding")), limit=self.config.max_response_size)
        except BodyTooLarge:
            self._too_large()
        except UnreadableBody as error:
            if response.status_code < 400:
                raise ProtocolError(f"the answer of {call.url} can't be read: {error}") from None
            body = b""
        logger.debug("request_done %s %s: %d, %d bytes", call.method, call.path, response.status_code, len(body))
        return HttpResponse(response.status_code, found, body)

    def _not_connected(self, call: _Call, error: GatewayConnectionError | GatewayTimeoutError) -> _Retry:
        error.attempts, error.seconds = call.attempts, call.seconds()
        return _Retry(error, safe=True, worth=not isinstance(error, (TLSRefusedError, GatewayTimeoutError)))

    def _too_large(self) -> NoReturn:
        raise ProtocolError(
            f"the gateway's answer is larger than {self.config.max_response_size} bytes, the setting max_response_size"
        )

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the gateway's HTTP client is closed")

    # ---------------------------------------------------------------------------------------------------------- headers

    def _own_headers(self, url: str) -> list[tuple[str, str]]:
        found = [*self.config.auth_headers(self._credentials.token), *self.config.headers.items()]
        if self.config.accept_cookies and (cookies := self._cookies.header(url, now=self._now())):
            found.append(("Cookie", cookies))
        return found

    async def handshake_headers(self, url: str) -> list[tuple[str, str]]:
        """Give the headers of a WebSocket handshake: what logs in, renewed, the configured ones, and the cookies that go there.

        Args:
            url: the WebSocket's URL.

        Raises:
            InvalidInputError: the URL is not one of the configured gateway.

        Cancellation:
            Safe.
        """
        ours = {_origin(urlsplit(self.config.ws_base_url)), _origin(urlsplit(self.config.base_url))}
        if _origin(urlsplit(url)) not in ours:
            raise InvalidInputError("url", _bare(url), f"a URL of {self.config.ws_base_url}; credentials go nowhere else")
        await self._credentials.ask()
        return _merge(self._own_headers(url))

    def store_cookies(self, set_cookie_values: Iterable[str], url: str) -> None:
        """Keep the cookies of an answer, if the configuration says so.

        Args:
            set_cookie_values: the values of its `Set-Cookie` headers.
            url: the URL of the request.
        """
        if self.config.accept_cookies:
            self._cookies.store(set_cookie_values, url, now=self._now())

    async def renew_token(self) -> bool:
        """Ask for a new token because a handshake was refused.

        Returns:
            Whether there is another token now.

        Cancellation:
            Safe.
        """
        return await self._credentials.ask(self._credentials.token)

    # ------------------------------------------------------------------------------------------------------------- rest

    def _now(self) -> float:
        return self._epoch + trio.current_time()

    def _masker(self) -> Masker:
        return Masker([*self._credentials.secrets(), *(cookie.value for cookie in self._cookies if len(cookie.value) >= 6)])

    def _tell(self, call: _Call, message: str) -> None:
        event = GatewayEvent(
            kind="request",
            action=call.method.lower(),
            status="error" if message else "success",
            status_code=call.status,
            message=message,
            gateway_url=self.config.base_url,
            method=call.method,
            path=call.path,
            attempts=call.attempts,
            seconds=call.seconds(),
        )
        try:
            self._emit(event)
        except Exception as error:  # noqa: BLE001 - who listens must not break what they listen to
            logger.warning("event_sink_failed: %s", type(error).__name__)

    def close(self) -> None:
        """Refuse requests from now on."""
        self._closed = True


async def _read(response: httpx.Response) -> bytes:
    try:
        return b"".join([chunk async for chunk in response.aiter_raw()])
    finally:
        with trio.CancelScope(shield=True, deadline=math.inf):
            await response.aclose()


def _dump_json(value: object) -> bytes:
    import json

    try:
        return json.dumps(value, allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError("json", type(value).__name__, f"something that JSON can hold ({error})") from None


def _merge(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Keep the last of each name."""
    merged: dict[str, tuple[str, str]] = {}
    for name, value in headers:
        merged[name.lower()] = (name, value)
    return list(merged.values())


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]


def _origin(parts: Any) -> tuple[str, str, int]:
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return scheme, (parts.hostname or "").lower().rstrip("."), parts.port or (443 if scheme == "https" else 80)


def _target(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _bare(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"


@asynccontextmanager
async def open_http_client(
    config: GatewayConfig, *, connector: Connector = connect_tcp, emit: EventSink = ignore, rng: random.Random | None = None
) -> AsyncGenerator[HttpClient]:
    """Open the HTTP client of a gateway. Nothing is sent yet.

    Args:
        config: the settings.
        connector: opens raw streams; tests put a network of their own here.
        emit: gets one event for each request.
        rng: gives the jitter between attempts.

    Yields:
        The client; closed, with all its connections, when the block ends.

    Raises:
        ConfigError: a certificate or key can't be used, or the token renewer can't be made.
    """
    import httpx

    from .pool import NoCookies, PoolTransport

    ssl_context = await load_ssl_context(config)
    # ws_url alone may be one of TLS.
    transport = PoolTransport(config, connector, ssl_context if config.base_url.startswith("https:") else None)
    client = httpx.AsyncClient(
        transport=transport,
        trust_env=False,  # no proxy, no .netrc and no certificate that the configuration does not name
        timeout=None,  # noqa: S113 - limits are our own cancel scopes
        cookies=NoCookies(),
        headers={"User-Agent": "trio-gateway"},
    )
    http = HttpClient(
        config,
        connector=connector,
        ssl_context=ssl_context,
        emit=emit,
        client=client,
        rng=random.Random() if rng is None else rng,  # noqa: S311 - it spreads retries and guards nothing
    )
    try:
        yield http
    finally:
        http.close()
        with trio.CancelScope(shield=True, deadline=math.inf):
            await client.aclose()
