"""HTTP to one gateway: each request ends in an answer or in one typed error, within its limits.

Limits are Trio's cancel scopes: one around connecting, one around each attempt. What may be repeated, and when, is decided by
`_protocol/retry.py`; who may log in, by `credentials`. Credentials go to the configured server and nowhere else, whatever a
redirect says.
"""

from __future__ import annotations

import io
import logging
import random
import re
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import attrs
import trio

from ..._config import GatewayConfig, header_name_problem, header_value_problem
from ..._errors import (
    AuthenticationError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    InvalidInputError,
    ProtocolError,
)
from ..._events import EventSink, GatewayEvent, ignore
from ..._protocol.body import ACCEPT_ENCODING, BodyTooLarge, UnreadableBody, decode_body, parse_encodings
from ..._protocol.cookies import CookieJar
from ..._protocol.headers import Headers
from ..._protocol.masking import Masker, one_line, tidy
from ..._protocol.rest import encode_query, load_json, parse_error, reason_phrase
from ..._protocol.retry import IDEMPOTENT_METHODS, RETRIED_STATUS_CODES, parse_retry_after, request_delay
from ..._secret import Secret, SecretBytes, hide_values
from ..._version import __version__
from ..connector import Connector, TLSRefusedError, connect_tcp
from ..tls import load_ssl_context
from ..websocket.handshakes import Handshakes, open_handshakes
from .credentials import Credentials

if TYPE_CHECKING:
    from .pool import Answer, ConnectionPool

__all__ = ["UNSET", "HttpClient", "HttpResponse", "open_http_client"]

logger = logging.getLogger("trio_gateway.http")

MAX_REDIRECTS = 5
"""How many redirects in a row are followed."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OUR_HEADERS = (
    ("User-Agent", f"trio-gateway/{__version__}"),
    ("Accept", "application/json, */*;q=0.5"),
    ("Accept-Encoding", ACCEPT_ENCODING),
)
# Methods whose requests have a body, if only an empty one (RFC 9110, 8.6).
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
# What headers say to our cookies, and where a redirect leads; neither is shown.
_KEPT_AS_IT_IS = frozenset({"set-cookie", "location"})
# Never reached: nothing that is closed here waits for anyone.
_CLOSE_LIMIT = 10.0


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


class _AttemptFailed(Exception):  # never leaves this module
    """An attempt failed.

    Args:
        error: what the caller sees, unless another attempt succeeds.
        safe: repeating is safe whatever the method, because nothing was sent.
        worth: repeating may help.
        after: what the gateway asked to wait, in seconds.
        response: the answer, where there is one.
    """

    def __init__(
        self,
        error: GatewayError,
        *,
        safe: bool = False,
        worth: bool = False,
        after: float | None = None,
        response: HttpResponse | None = None,
    ) -> None:
        super().__init__()
        self.error = error
        self.safe = safe
        self.worth = worth
        self.after = after
        self.response = response


@attrs.define
class _Call:
    """One call of `request` or `exchange`, through all its attempts."""

    method: str
    path: str
    url: str
    query: str = attrs.field(repr=False)
    headers: list[tuple[str, str]] = attrs.field(repr=False)
    content: bytes | None = attrs.field(repr=False)
    limit: float
    setting: str
    phase: str
    started: float
    any_status: bool = False
    """Whether every whole answer is given back, instead of an error for those that are none of success."""
    on_sending: Callable[[], object] | None = None
    attempts: int = 0
    status: int | None = None
    message: str = ""
    """What the event says went wrong."""

    def own_headers(self) -> list[tuple[str, str]]:
        if self.content is None and self.method not in _WITH_BODY:
            return self.headers
        return [("Content-Length", str(len(self.content or b""))), *self.headers]

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
    emit: EventSink
    """Takes the events of what is done; what it raises comes out of what it tells of."""
    takes_bytes: int | None
    """How large a WebSocket message the gateway takes, in bytes; None where that is not known, as mostly."""
    handshakes: Handshakes
    """Where WebSocket handshakes are made."""

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
        self.takes_bytes = None
        self.handshakes = handshakes
        self._pool = pool
        self._host = urlsplit(config.base_url).netloc
        self._rng = rng
        self._credentials = Credentials(config, config.load_token_renewer())
        self._cookies = CookieJar()
        self._masked: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._masker = Masker(())
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
        on_sending: Callable[[], object] | None = None,
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
            on_sending: called when the first byte is about to be sent: who is cancelled before has sent nothing.

        Returns:
            The answer, with a status of 200 to 299 or 304.

        Raises:
            GatewayHTTPError: it answered with another status.
            AuthenticationError: it answered 401 or 403, also to a new token where there is one.
            GatewayConnectionError: there is no connection, or it broke.
            GatewayTimeoutError: connecting or an attempt took too long. That is not tried again: who wants to wait longer raises
                the limit.
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
        call = _Call(
            method=_checked_method(method),
            path=_checked_path(path),
            url=self.config.http_url(path),
            query=f"?{encode_query(params)}" if params else "",
            headers=[*json_type, *_checked_headers(given)],
            content=content,
            limit=self.config.request_timeout if timeout is None else timeout,
            setting=timeout_setting,
            phase=phase,
            started=trio.current_time(),
            on_sending=on_sending,
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
            url: an escaped URL of the configured server, inside the base URL or not, without fragment.
            headers: more headers, which beat the configured ones.
            content: the body, if there is one.

        Returns:
            The answer.

        Raises:
            GatewayConnectionError: there is no connection, or it broke.
            GatewayTimeoutError: connecting or an attempt took too long.
            ProtocolError: the answer can't be understood, or is larger than `max_response_size`.
            InvalidInputError: the URL is one of another server, or the request can't be sent.
            trio.ClosedResourceError: the client's block has ended.

        Cancellation:
            Safe for the client: the connection in use is closed. Whether the gateway has acted on the request is unknown.
        """
        given: Mapping[str, str] = hide_values(headers or {})
        headers = given
        base = urlsplit(self.config.base_url)
        parts = _split(url)
        if (origin := _origin(parts)) != _origin(base):
            expected = f"a URL of {base.scheme}://{base.netloc}; credentials go nowhere else"
            raise InvalidInputError("url", "{}://{}:{}".format(*origin), expected)
        path = parts.path or "/"
        call = _Call(
            method=_checked_method(method),
            path=path.removeprefix(base.path) if path.startswith(f"{base.path}/") else path,
            url=f"{base.scheme}://{base.netloc}{path}",
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

    async def _run(self, call: _Call, retry: bool | None) -> HttpResponse:
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

    async def _with_retries(self, call: _Call, retry: bool | None) -> HttpResponse:
        idempotent = call.method in IDEMPOTENT_METHODS
        failures = 0
        renewed = False
        if self._credentials.renews:
            await self._credentials.ask()
        while True:
            token = self._credentials.token
            try:
                return await self._attempt(call)
            except _AttemptFailed as caught:
                failed = caught
            if isinstance(failed.error, AuthenticationError) and not renewed:
                renewed = True
                if await self._credentials.ask(token):
                    continue
            failures += 1
            may = (idempotent or failed.safe) if retry is None else retry
            if not may or not failed.worth or failures > self.config.max_request_retries:
                return self._settle(call, failed)
            limit = self.config.gateway_retry_interval_max
            delay = request_delay(failures, limit=limit, rng=self._rng, retry_after=failed.after)
            if delay is None:
                return self._settle(call, failed)
            logger.debug("request_retried after %.3g s: %s", delay, failed.error)
            await trio.sleep(delay)

    def _settle(self, call: _Call, failed: _AttemptFailed) -> HttpResponse:
        """End with the last attempt, for better or worse."""
        if not call.any_status or failed.response is None:
            raise failed.error
        call.message = str(failed.error)
        return failed.response

    async def _attempt(self, call: _Call) -> HttpResponse:
        """Send a request and follow where it is redirected to, all within one limit.

        Raises:
            _AttemptFailed: there is no answer of success.
        """
        call.attempts += 1
        call.status = None
        url = call.url + call.query
        with trio.move_on_after(call.limit):
            redirects = 0
            while True:
                response = await self._exchange(call, url)
                call.status = response.status_code
                if call.any_status or response.status_code not in _REDIRECTS:
                    return self._judge(call, response)
                redirects += 1
                url = self._redirect(call, response, url, redirects)
        raise _AttemptFailed(
            GatewayTimeoutError(call.phase, call.limit, call.setting, attempts=call.attempts, seconds=call.seconds())
        )

    def _http_error(self, call: _Call, status: int, reason: str, message: str) -> GatewayHTTPError:
        error = AuthenticationError if status in {401, 403} else GatewayHTTPError
        return error(status, reason, message, method=call.method, url=call.url, attempts=call.attempts, seconds=call.seconds())

    def _judge(self, call: _Call, response: HttpResponse) -> HttpResponse:
        """Give an answer of success."""
        status = response.status_code
        if 200 <= status < 300 or status == 304 or (call.any_status and status < 400):
            return response
        reason, message = parse_error(status, response.headers, response.content, mask=self.mask)
        raise _AttemptFailed(
            self._http_error(call, status, reason, message),
            worth=status in RETRIED_STATUS_CODES,
            after=parse_retry_after(response.headers.get("Retry-After"), now=self._now()),
            response=response,
        )

    def _redirect(self, call: _Call, response: HttpResponse, url: str, redirects: int) -> str:
        """Find out where a redirect leads. Only reading requests are sent on, and only within one server."""
        location = response.headers.get("Location", "")
        target, where = _resolve(url, location)
        if not location:
            message = "it redirects to nowhere"
        elif target is None:
            message = f"it redirects to {self.mask(tidy(where))}; requests are sent on only within one server"
        elif call.method not in {"GET", "HEAD"}:
            message = f"it redirects within {where}; only reading requests are sent on"
        elif redirects > MAX_REDIRECTS:
            message = f"it redirects more than {MAX_REDIRECTS} times"
        else:
            return target
        status = response.status_code
        raise _AttemptFailed(self._http_error(call, status, reason_phrase(status), message))

    async def _exchange(self, call: _Call, url: str) -> HttpResponse:
        """Send one request and read its answer, whatever that says.

        Raises:
            _AttemptFailed: there was no connection, or it broke.
            ProtocolError: the answer can't be understood, or is too large.
        """
        from .connection import BodyOverflow, Broken, ConnectFailed, NotHTTP, NotSendable

        self._check_open()
        headers = _merge([("Host", self._host), *_OUR_HEADERS, *self._own_headers(url), *call.own_headers()])
        answer: Answer | None = None
        # Not a list: its repr would show what came, and this frame is in the traceback of what goes wrong here.
        content = io.BytesIO()
        failure: Exception
        try:
            answer = await self._pool.send(call.method, _target(url), _encoded(headers), call.content, call.on_sending)
            await _read(answer, content)
            return self._complete(call, url, answer, content)
        except ConnectFailed as failed:
            error = failed.error
            error.attempts, error.seconds = call.attempts, call.seconds()
            if isinstance(error, GatewayConnectionError):
                error.sent = False
            final = isinstance(error, (TLSRefusedError, GatewayTimeoutError))
            failure = _AttemptFailed(error, safe=True, worth=not final)
        except NotSendable:
            # Such as a Content-Length of the user's own.
            failure = InvalidInputError("headers", None, "headers that fit the request")
        except (BodyOverflow, Broken, NotHTTP) as failed:
            # What is known of an error page is enough: that it is one. Who reads the page itself wants all of it.
            if answer is not None and answer.status >= 400 and not call.any_status:
                await trio.lowlevel.checkpoint()
                return self._complete(call, url, answer, content)
            failure = self._failure(call, failed)
        # Here, where no error is handled: it would go along, with all that it and its frames know of what came.
        try:
            raise failure
        finally:
            del failure  # else this frame and its own traceback keep each other

    def _failure(self, call: _Call, error: Exception) -> Exception:
        """Say what went wrong while an answer came."""
        from .connection import BodyOverflow, NotHTTP

        if isinstance(error, BodyOverflow):
            return self._too_large()
        if isinstance(error, NotHTTP):
            what = one_line(self.mask(str(error)), 100)
            return ProtocolError(f"{call.url} does not answer in HTTP/1.1: {what}")
        if self._closed:
            return _closed_error()
        text = f"{call.url} closed the connection before its answer was complete"
        return _AttemptFailed(GatewayConnectionError(text, attempts=call.attempts, seconds=call.seconds()), worth=True)

    def _complete(self, call: _Call, url: str, answer: Answer, content: io.BytesIO) -> HttpResponse:
        """Make the answer of what came. This is where our secrets are taken out of it; a request of the user's own gets all."""
        status = answer.status
        headers = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers)
        self.store_cookies(headers.get_list("Set-Cookie"), url)
        mask = self.mask.content
        problem: ProtocolError | None = None
        body = b""
        try:
            body = decode_body(
                content.getvalue(), parse_encodings(headers.get_list("Content-Encoding")), limit=self.config.max_response_size
            )
        except BodyTooLarge:
            problem = self._too_large()
        except UnreadableBody as error:
            problem = ProtocolError(f"the answer of {call.url} can't be read: {self.mask(str(error))}")
        if problem is not None and (status < 400 or call.any_status):
            raise problem
        logger.debug("request_answered %s %s: %d, %d bytes", call.method, call.path, status, len(body))
        if call.any_status:
            return HttpResponse(status, headers, body)
        masked = [
            (name, (value if name.lower() in _KEPT_AS_IT_IS else mask(value)).decode("latin-1"))
            for name, value in ((name.decode("latin-1"), value) for name, value in answer.headers)
        ]
        return HttpResponse(status, Headers(masked), mask(body))

    def _too_large(self) -> ProtocolError:
        limit = self.config.max_response_size
        return ProtocolError(f"the gateway's answer is larger than {limit} bytes, the limit that max_response_size sets")

    def _check_open(self) -> None:
        if self._closed:
            raise _closed_error()

    # ---------------------------------------------------------------------------------------------------------- headers

    def _own_headers(self, url: str) -> list[tuple[str, str]]:
        found = [*self.config.auth_headers(self._credentials.token), *self.config.headers.items()]
        if self.config.accept_cookies and (cookies := self._cookies.header(url, now=self._now())):
            theirs = [value for name, value in found if name.lower() == "cookie"]
            found.append(("Cookie", Secret("; ".join([*theirs, cookies]))))
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

    @property
    def mask(self) -> Masker:
        """Takes out of what the gateway says what we log in with."""
        cookies = (cookie.value for cookie in self._cookies if len(cookie.value) >= 6)
        secrets = (*self._credentials.secrets(), *cookies), self._credentials.other_headers()
        if secrets != self._masked:
            self._masked, self._masker = secrets, Masker(*secrets)
        return self._masker

    def _tell(self, call: _Call) -> None:
        self.emit(
            GatewayEvent(
                kind="request",
                action=call.method.lower(),
                status="error" if call.message else "success",
                status_code=call.status,
                message=call.message,
                gateway_url=self.config.base_url,
                method=call.method,
                path=call.path,
                attempts=call.attempts,
                seconds=call.seconds(),
            )
        )

    def close(self) -> None:
        """Refuse requests from now on."""
        self._closed = True


def _closed_error() -> trio.ClosedResourceError:
    return trio.ClosedResourceError("the gateway is closed: its block has ended, or is being left")


async def _read(answer: Answer, content: io.BytesIO) -> None:
    try:
        # Nothing breaks out of this loop: an error comes out of the body, and ends each generator on its way.
        async for part in answer.body:
            content.write(part)  # what came before an error is wanted too
            del part  # it may echo what we sent, and an error's frames show their locals
    finally:
        with trio.move_on_after(_CLOSE_LIMIT, shield=True):
            await answer.aclose()


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


def _resolve(url: str, location: str) -> tuple[str | None, str]:
    """Resolve a redirect.

    Returns:
        The new URL, None where it leads away from this server or can't be read; and the server that it leads to.
    """
    try:
        # What came is latin-1; whatever is not to stand in a URL is escaped, and what is escaped stays.
        target = urlsplit(urljoin(url, quote(location.encode("latin-1"), safe="%/:=&?~#+!$,;'@()*[]")))
        origin = _origin(target)
    except ValueError:
        return None, "a place that can't be read"
    scheme, host, port = origin
    where = f"{scheme}://{host}:{port}"
    here = urlsplit(url)
    # Credentials in a URL are not ours, so they do not go along either.
    return (target._replace(netloc=here.netloc, fragment="").geturl() if origin == _origin(here) else None), where


def _merge(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Keep the last of each name."""
    merged: dict[str, tuple[str, str]] = {}
    for name, value in headers:
        merged[name.lower()] = (name, value)
    return list(merged.values())


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), SecretBytes(value.encode("latin-1"))) for name, value in headers]


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return scheme, (parts.hostname or "").lower().rstrip("."), parts.port or (443 if scheme == "https" else 80)


def _split(url: str) -> SplitResult:
    try:
        readable = urlsplit(url).port != 0
    except ValueError:
        readable = False
    if not readable or not re.fullmatch(r"[!-~]*", url) or "#" in url:
        # Its query may be secret.
        raise InvalidInputError("url", None, "an escaped URL without fragment")
    return urlsplit(url)


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

    The environment's proxies and `.netrc` files are not used: the configuration alone says where credentials go.

    Args:
        config: the settings.
        connector: opens raw streams; tests put a network of their own here.
        emit: gets one event for each request. It must not raise: what it raises comes out of the request.
        rng: gives the jitter between attempts.

    Yields:
        The client; closed, with all its connections, when the block ends.

    Raises:
        ConfigError: a certificate or key can't be used, or the token renewer can't be made.

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
            with trio.move_on_after(_CLOSE_LIMIT, shield=True):
                await pool.aclose()
