"""One attempt of a request: sent, redirected, read and judged, within one limit.

The one idea: an attempt ends in an answer, or in an error that says whether another attempt is safe and may help. The
client decides about that. Credentials go to the configured server and nowhere else, whatever a redirect says.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import attrs
import trio

from ..._config import GatewayConfig
from ..._errors import (
    AuthenticationError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    HubServerNotRunningError,
    InvalidInputError,
    ProtocolError,
)
from ..._protocol.body import ACCEPT_ENCODING, BodyTooLarge, UnreadableBody, decode_body, parse_encodings
from ..._protocol.headers import Headers
from ..._protocol.hub import says_not_running
from ..._protocol.masking import one_line, tidy
from ..._protocol.rest import has_gateways_form, load_json, parse_error, reason_phrase
from ..._protocol.retry import RETRIED_STATUS_CODES, parse_retry_after
from ..._protocol.urls import request_target, resolve_redirect
from ..._secret import SecretBytes
from ..._version import __version__
from ..addresses import SILENT_STATUS_CODES
from ..connector import TLSRefusedError
from .identity import Identity, merged

if TYPE_CHECKING:
    from .pool import Answer, ConnectionPool

__all__ = ["CLOSE_LIMIT", "AttemptFailed", "Attempts", "Call", "HttpResponse"]

logger = logging.getLogger("trio_gateway.http")

MAX_REDIRECTS: Final = 5
"""How many redirects in a row are followed."""
CLOSE_LIMIT: Final = 10.0
"""How long closing may take, in seconds. Never reached: nothing that is closed here waits for anyone."""

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
        if self.status_code == 304:
            raise ProtocolError(
                "the gateway's answer is 304 Not Modified and has no content: does one of the headers in headers ask for what is "
                "new only, such as If-None-Match?"
            )
        return load_json(self.content)


class AttemptFailed(Exception):  # never leaves the client
    """An attempt failed.

    Args:
        error: what the caller sees, unless another attempt succeeds.
        safe: repeating is safe whatever the method, because no whole request was sent.
        worth: repeating may help.
        elsewhere: another address of the gateway may answer, because this one did not.
        after: what the gateway asked to wait, in seconds.
        response: the answer, where there is one.
    """

    def __init__(
        self,
        error: GatewayError,
        *,
        safe: bool = False,
        worth: bool = False,
        elsewhere: bool = False,
        after: float | None = None,
        response: HttpResponse | None = None,
    ) -> None:
        super().__init__()
        self.error = error
        self.safe = safe
        self.worth = worth
        self.elsewhere = elsewhere
        self.after = after
        self.response = response


@attrs.define
class Call:
    """One call of `request` or `exchange`, through all its attempts."""

    method: str
    path: str
    url_at: Callable[[int], str]
    """Gives the URL at an address of the gateway."""
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
    on_content: Callable[[bytes], object] | None = None
    """Gets the body of an answer of success piece by piece, as it comes and as it was sent."""
    url: str = ""
    """The URL of the latest attempt, without its query."""
    address: int = 0
    """The address of the latest attempt, by its number."""
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


class Attempts:
    """Makes attempts at one gateway.

    Args:
        config: the settings.
        identity: what logs in.
        pool: the connections.
    """

    def __init__(self, config: GatewayConfig, identity: Identity, pool: ConnectionPool) -> None:
        self._config = config
        self._identity = identity
        self._pool = pool
        self._hosts = [urlsplit(url).netloc for url in config.addresses]
        self._closed = False

    def close(self) -> None:
        """Refuse attempts from now on."""
        self._closed = True

    async def make(self, call: Call, address: int) -> HttpResponse:
        """Send a request and follow where it is redirected to, all within one limit.

        Args:
            call: what to send.
            address: where to: one of the gateway's addresses, by its number.

        Raises:
            AttemptFailed: there is no answer of success.
        """
        call.attempts += 1
        call.status = None
        call.url, call.address = call.url_at(address), address
        url = call.url + call.query
        with trio.move_on_after(call.limit):
            redirects = 0
            while True:
                response = await self._exchange(call, url, address)
                call.status = response.status_code
                if not call.any_status and says_not_running(
                    call.method, urlsplit(call.url).path, response.status_code, response.headers, response.content
                ):
                    raise AttemptFailed(self._not_running(call, response), response=response)
                if call.any_status or response.status_code not in _REDIRECTS:
                    return self._judge(call, response)
                redirects += 1
                url = self._redirect(call, response, url, redirects)
        raise AttemptFailed(
            GatewayTimeoutError(call.phase, call.limit, call.setting, attempts=call.attempts, seconds=call.seconds()),
            elsewhere=True,
        )

    def _http_error(self, call: Call, status: int, reason: str, message: str) -> GatewayHTTPError:
        error = AuthenticationError if status in {401, 403} else GatewayHTTPError
        return error(status, reason, message, method=call.method, url=call.url, attempts=call.attempts, seconds=call.seconds())

    def _not_running(self, call: Call, response: HttpResponse) -> HubServerNotRunningError:
        """Make the error for the answer of a hub. It is no reason to try again: somebody has to start the server."""
        status = response.status_code
        return HubServerNotRunningError(
            status, reason_phrase(status), method=call.method, url=call.url, attempts=call.attempts, seconds=call.seconds()
        )

    def _judge(self, call: Call, response: HttpResponse) -> HttpResponse:
        """Give an answer of success."""
        status = response.status_code
        if 200 <= status < 300 or status == 304 or (call.any_status and status < 400):
            return response
        reason, message = parse_error(status, response.headers, response.content, mask=self._identity.mask)
        error = self._http_error(call, status, reason, message)
        error.from_gateway = has_gateways_form(response.headers, response.content)
        raise AttemptFailed(
            error,
            worth=status in RETRIED_STATUS_CODES,
            elsewhere=status in SILENT_STATUS_CODES,
            after=parse_retry_after(response.headers.get("Retry-After"), now=self._identity.now()),
            response=response,
        )

    def _redirect(self, call: Call, response: HttpResponse, url: str, redirects: int) -> str:
        """Find out where a redirect leads. Only reading requests are sent on, and only within one server."""
        location = response.headers.get("Location", "")
        target, where = resolve_redirect(url, location)
        if not location:
            message = "it redirects to nowhere"
        elif target is None:
            message = f"it redirects to {self._identity.mask(tidy(where))}; requests are sent on only within one server"
        elif call.method not in {"GET", "HEAD"}:
            message = f"it redirects within {where}; only reading requests are sent on"
        elif redirects > MAX_REDIRECTS:
            message = f"it redirects more than {MAX_REDIRECTS} times"
        else:
            return target
        status = response.status_code
        raise AttemptFailed(self._http_error(call, status, reason_phrase(status), message))

    async def _exchange(self, call: Call, url: str, address: int) -> HttpResponse:
        """Send one request and read its answer, whatever that says.

        Raises:
            AttemptFailed: there was no connection, or it broke.
            ProtocolError: the answer can't be understood, or is too large.
        """
        from .connection import BodyOverflow, Broken, ConnectFailed, NotHTTP, NotSendable

        if self._closed:
            raise closed_error()
        headers = merged([("Host", self._hosts[address]), *_OUR_HEADERS, *self._identity.headers(url), *call.own_headers()])
        answer: Answer | None = None
        # Not a list: its repr would show what came, and this frame is in the traceback of what goes wrong here.
        content = io.BytesIO()
        failure: Exception
        try:
            answer = await self._pool.send(
                call.method, request_target(url), _encoded(headers), call.content, call.on_sending, address=address
            )
            await _read(answer, content, call.on_content if answer.status == 200 else None)
            return self._complete(call, url, answer, content)
        except ConnectFailed as failed:
            error = failed.error
            error.attempts, error.seconds = call.attempts, call.seconds()
            if isinstance(error, GatewayConnectionError):
                error.sent = False
            final = isinstance(error, (TLSRefusedError, GatewayTimeoutError))
            failure = AttemptFailed(error, safe=True, worth=not final, elsewhere=True)
        except NotSendable:
            # Such as a Content-Length of the user's own.
            failure = InvalidInputError("headers", None, "headers that fit the request")
        except (BodyOverflow, Broken, NotHTTP) as failed:
            # What is known of an error page is enough: that it is one. With `any_status` the caller wants all of the page.
            if answer is not None and answer.status >= 400 and not call.any_status:
                await trio.lowlevel.checkpoint()
                return self._complete(call, url, answer, content)
            failure = self._failure(call, failed)
        # Here, where no error is handled: it would go along, with all that it and its frames know of what came.
        try:
            raise failure
        finally:
            del failure  # else this frame and its own traceback keep each other

    def _failure(self, call: Call, error: Exception) -> Exception:
        """Say what went wrong while an answer came."""
        from .connection import BodyOverflow, NotHTTP, NotTaken

        if isinstance(error, BodyOverflow):
            return self._too_large()
        if isinstance(error, NotHTTP):
            what = one_line(self._identity.mask(str(error)), 100)
            return ProtocolError(f"{call.url} does not answer in HTTP/1.1: {what}")
        if self._closed:
            return closed_error()
        taken = not isinstance(error, NotTaken)
        what = "its answer was complete" if taken else "the request was sent"
        broken = GatewayConnectionError(
            f"{call.url} closed the connection before {what}", attempts=call.attempts, seconds=call.seconds()
        )
        broken.sent = taken
        return AttemptFailed(broken, safe=not taken, worth=True, elsewhere=True)

    def _complete(self, call: Call, url: str, answer: Answer, content: io.BytesIO) -> HttpResponse:
        """Make the answer of what came. This is where our secrets are taken out of it; a request of the user's own gets all."""
        status = answer.status
        headers = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers)
        self._identity.store_cookies(headers.get_list("Set-Cookie"), url)
        mask = self._identity.mask.content
        problem: ProtocolError | None = None
        body = b""
        try:
            body = decode_body(
                content.getvalue(), parse_encodings(headers.get_list("Content-Encoding")), limit=self._config.max_response_size
            )
        except BodyTooLarge:
            problem = self._too_large()
        except UnreadableBody as error:
            problem = ProtocolError(f"the answer of {call.url} can't be read: {self._identity.mask(str(error))}")
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
        limit = self._config.max_response_size
        return ProtocolError(f"the gateway's answer is larger than {limit} bytes, the limit that max_response_size sets")


def closed_error() -> trio.ClosedResourceError:
    return trio.ClosedResourceError("the gateway is closed: its block has ended, or is being left")


async def _read(answer: Answer, content: io.BytesIO, on_content: Callable[[bytes], object] | None) -> None:
    try:
        # Nothing breaks out of this loop: an error comes out of the body, and ends each generator on its way.
        async for part in answer.body:
            content.write(part)  # what came before an error is wanted too
            if on_content is not None:
                on_content(part)
            del part  # it may echo what we sent, and an error's frames show their locals
    finally:
        with trio.move_on_after(CLOSE_LIMIT, shield=True):
            await answer.aclose()


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), SecretBytes(value.encode("latin-1"))) for name, value in headers]
