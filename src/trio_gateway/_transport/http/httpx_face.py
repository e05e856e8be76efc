"""`httpx.AsyncClient` as a face of `HttpClient`, for users' own requests.

The one idea: httpx builds requests and reads answers, and everything on the way is ours. The only module that imports httpx, and
itself imported only when somebody asks for the face. Nothing is decided here about logging in, limits or repeating.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx
import trio
from httpx import AsyncClient, Client

from ..._errors import InvalidInputError
from ..blocks import block
from .attempt import HttpResponse
from .client import HttpClient

__all__ = ["AsyncClient", "Client", "Transport", "make_blocking_twin", "make_twin", "open_httpx_client"]

_URL = "trio_gateway.url"
"""The extension of a request that keeps its URL while httpx logs it."""

# What the request line and the body say is said by HttpClient.
_NOT_THEIRS = frozenset({"host", "content-length", "transfer-encoding"})
# The body is given unpacked and whole.
_NOT_OURS = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class Transport(httpx.AsyncBaseTransport):
    """Sends httpx's requests through an `HttpClient`. Closing it closes nothing: the client is someone else's.

    Args:
        http: the client.
    """

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and give the answer with its whole body.

        Args:
            request: the request; its body is read whole before anything is sent.

        Raises:
            GatewayError: as `HttpClient.exchange` does.
        """
        url = request.url
        answer = await self._http.exchange(
            request.method,
            str(url.copy_with(userinfo=b"", fragment=None)),
            headers=_headers(request),
            content=await request.aread() or None,
        )
        response = _response(request, answer)
        # As soon as this returns httpx logs the URL, in whose query a token may be; then it calls `_restore`.
        request.extensions[_URL] = url
        request.url = url.copy_with(userinfo=b"", query=None, fragment=None)
        return response


def _restore_url(response: httpx.Response) -> None:
    response.request.url = response.request.extensions.pop(_URL)


async def _restore(response: httpx.Response) -> None:
    _restore_url(response)
    # After it: nobody else may see the other URL.
    await trio.lowlevel.checkpoint()


def _headers(request: httpx.Request) -> dict[str, str]:
    if request.headers.get("Host", "").encode() not in {b"", request.url.netloc}:
        # A proxy that serves several names would hand the credentials to another one.
        raise InvalidInputError("headers", "Host", "no header Host: the URL says where a request goes")
    found: dict[str, list[str]] = {}
    for name, value in request.headers.raw:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    joints = {"cookie": "; "}
    return {name: joints.get(name, ", ").join(values) for name, values in found.items() if name not in _NOT_THEIRS}


def _response(request: httpx.Request, answer: HttpResponse) -> httpx.Response:
    bodiless = request.method == "HEAD" or answer.status_code == 304
    headers: list[tuple[bytes, bytes]] = []
    for name in answer.headers:
        if bodiless or name not in _NOT_OURS:
            headers += [(name.encode("latin-1"), value.encode("latin-1")) for value in answer.headers.get_list(name)]
    if not bodiless:
        headers.append((b"content-length", str(len(answer.content)).encode("ascii")))
    # A stream, not content: so `elapsed` is measured, and reading in pieces works.
    response = httpx.Response(answer.status_code, headers=headers, stream=httpx.ByteStream(answer.content))
    if response.has_redirect_location and not _readable(request.url, response.headers["Location"]):
        del response.headers["Location"]
    return response


def _readable(url: httpx.URL, location: str) -> bool:
    """Say whether httpx can read a `Location`. It reads each one, followed or not, and where it can't it gives no answer."""
    try:
        target = httpx.URL(location)
        if target.scheme and not target.host:
            target = target.copy_with(host=url.host)
        if target.is_relative_url:
            url.join(target)
    except (httpx.InvalidURL, ValueError):
        return False
    return True


def _settings(base_url: object) -> dict[str, Any]:
    return {
        "base_url": base_url,
        "timeout": None,  # HttpClient's apply
        "trust_env": False,
        # HttpClient keeps the gateway's cookies, if the configuration says so. A jar that takes none keeps only the user's own.
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    }


def _empty(headers: httpx.Headers) -> None:
    # What httpx says of itself would beat what HttpClient says, and it would ask for encodings that only httpx can undo.
    for name in list(headers):
        del headers[name]


class _GatewayClient(AsyncClient):
    """httpx's client, which knows by what its requests go: its twins' requests go the same way."""

    def __init__(self, transport: Transport, **settings: Any) -> None:
        super().__init__(transport=transport, **settings)
        self.transport = transport


@block("gateway.http_client")
@asynccontextmanager
async def open_httpx_client(http: HttpClient) -> AsyncGenerator[AsyncClient]:
    """Open an httpx client whose requests go through `http`.

    Args:
        http: the gateway's client, which stays open when the block ends.

    Yields:
        The client; its base URL is the gateway's.
    """
    hooks = {"response": [_restore]}
    client = _GatewayClient(Transport(http), event_hooks=hooks, **_settings(http.config.base_url))
    _empty(client.headers)
    async with client:
        yield client


# ------------------------------------------------------------------------------------------------------------ other worlds

Send = Callable[[httpx.Request], Coroutine[Any, Any, httpx.Response]]
"""A client's own transport, as a function of Trio's."""


def make_twin(client: AsyncClient, cross: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]) -> AsyncClient:
    """Make a client for an event loop of another kind whose requests go through `client`.

    Args:
        client: a client of `open_httpx_client`'s.
        cross: awaits an async function of Trio's.

    Returns:
        The client; to close it closes nothing.
    """
    send = _sender(client)

    class Twin(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await request.aread()  # a body that is an iterator of theirs can be read there only
            response: httpx.Response = await cross(partial(send, request))
            return response

    async def restore(response: httpx.Response) -> None:  # noqa: ASYNC124 - httpx awaits it
        _restore_url(response)

    twin = AsyncClient(transport=Twin(), event_hooks={"response": [restore]}, **_settings(client.base_url))
    _empty(twin.headers)
    return twin


def make_blocking_twin(client: AsyncClient, cross: Callable[[Callable[[], Awaitable[Any]]], Any]) -> Client:
    """Make a synchronous client whose requests go through `client`.

    Args:
        client: a client of `open_httpx_client`'s.
        cross: calls an async function of Trio's, and blocks until it is done.

    Returns:
        The client; to close it closes nothing.
    """
    send = _sender(client)

    class Twin(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            request.read()
            response: httpx.Response = cross(partial(send, request))
            return response

    twin = Client(transport=Twin(), event_hooks={"response": [_restore_url]}, **_settings(client.base_url))
    _empty(twin.headers)
    return twin


def _sender(client: AsyncClient) -> Send:
    assert isinstance(client, _GatewayClient)
    return client.transport.handle_async_request
