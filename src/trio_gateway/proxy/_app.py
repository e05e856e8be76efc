"""The ASGI application: every request through one door, and every answer with its headers, its log line and its count.

The one idea: what is refused is refused here, before a route is looked at, and whatever goes wrong behind the routes is
answered here, in Jupyter's form and without a word about our insides. What is no request does not come here: `_http1` answers it,
and writes it down.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, TypeAlias, Unpack

import trio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route, Router

from .._errors import GatewayError
from .._gateway.gateway import Gateway
from .._secret import Secret, SecretBytes
from .._transport.blocks import check_trio
from ._channels import Relays
from ._config import ProxyConfig, ProxySettings, hidden
from ._gate import Caller, Gate, Refused
from ._http1 import LET_IN
from ._metrics import Metrics
from ._page import sign_in_page
from ._rest import Rest
from ._shapes import error_of

__all__ = ["ON_TRIO", "Proxy", "create_app"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_logger = logging.getLogger("trio_gateway.proxy")
_access = logging.getLogger("trio_gateway.proxy.access")

ON_TRIO: Final = (
    "serve it with trio_gateway.proxy.serve, with the command trio-gateway proxy, or with another ASGI server that runs on Trio"
)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f\ufffd\ud800-\udfff]")
_LONGEST_PATH: Final = 2048
_ONLY_ONCE: Final = frozenset({"host", "origin", "authorization"})
_HEADERS: Final = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"), ("X-Frame-Options", "DENY"))


class Proxy:
    """An ASGI application that is a Jupyter server's kernels, kernelspecs and sessions, on a gateway. Made by `create_app`."""

    def __init__(self, gateway: Gateway, config: ProxyConfig) -> None:
        self._config = config
        self._gate = Gate(config)
        self._metrics = Metrics()
        # The wall clock, for people: front ends show since when the server runs.
        started = datetime.now(UTC)  # noqa: TID251
        self._relays = Relays(gateway, config, self._metrics)
        rest = Rest(gateway, config, self._gate, self._metrics, started, lambda: self._relays.is_draining)
        self._router = Router(rest.routes(), redirect_slashes=False)

    @property
    def config(self) -> ProxyConfig:
        """The configuration it was made with."""
        return self._config

    @property
    def token(self) -> str | None:
        """The token that front ends must show; None where nobody is asked for one."""
        return self._gate.token

    @property
    def channels(self) -> int:
        """How many WebSockets of front ends are open."""
        return self._metrics.channels

    def change_token(self, token: str) -> None:
        """Ask for another token from now on. WebSockets that are open stay open.

        Args:
            token: the new token.

        Raises:
            InvalidInputError: it can't be one.
        """
        self._gate.change_token(token)

    def drain(self) -> None:
        """Begin to end: every WebSocket is closed with code 1001, new ones are refused, and `/healthz` says so."""
        self._relays.drain()

    def __repr__(self) -> str:
        return f"<Proxy {self._config.base_path} {self.channels} channels>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, as ASGI has it."""
        check_trio("the application of trio_gateway.proxy", ON_TRIO)
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] in {"http", "websocket"}:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, count it and write it down."""
        started = trio.current_time()
        method = "WEBSOCKET" if scope["type"] == "websocket" else str(scope["method"])
        answer = _Answer(send)
        try:
            await self._answer(scope, method, receive, answer)
        finally:
            seconds = trio.current_time() - started
            counted = method if method in _METHODS or method == "WEBSOCKET" else "OTHER"
            self._metrics.requests[counted, answer.status] += 1
            if method != "WEBSOCKET":
                self._metrics.request_seconds += seconds
            # Never the query: a token may be in it.
            line = {
                "method": counted,
                "path": str(scope["path"])[:_LONGEST_PATH],
                "status": answer.status,
                "bytes": answer.size,
                "seconds": round(seconds, 6),
                "client": (scope.get("client") or ("",))[0],
            }
            if answer.close_code is not None:
                line["close_code"] = answer.close_code
            _access.info("%s", json.dumps(line), extra={"proxy.access": line})

    async def _answer(self, scope: Scope, method: str, receive: Receive, answer: _Answer) -> None:
        # A front end's token is in there, and this is a local of each frame from here on.
        scope["headers"] = [(name, SecretBytes(value)) for name, value in scope["headers"]]
        scope["query_string"] = SecretBytes(scope["query_string"])
        headers: dict[str, Secret] = {}
        try:
            _read_headers(scope["headers"], headers)
            if scope["type"] == "websocket":
                await self._check(scope, method, headers, answer)
                scope["headers"] = ()  # nobody needs them any more, and a connection lives for days
                headers.clear()
                await self._relays.serve(scope, receive, answer)
                return
            response = await self._respond(scope, method, headers, receive, answer)
        except Refused as refused:
            response = self._refusal(refused, method, headers)
        except HTTPException as error:
            response = _error(error.status_code, _phrase(error.status_code))
            response.headers.update(error.headers or {})
        except GatewayError as error:
            response = _error(*error_of(error))
        except ClientDisconnect:
            return
        except Exception:
            # Its traceback is for the log alone.
            _logger.exception("request_failed")
            response = _error(500, "the proxy has a defect; its log says more")
        if answer.is_open:
            # Else the server says goodbye as if all had been well, and no front end knows that it may come again.
            with suppress(ClientDisconnect):
                await answer({"type": "websocket.close", "code": 1011, "reason": ""})
        if answer.started:
            return
        if response.status_code == 401:
            response.headers["WWW-Authenticate"] = "token"
        for name, value in _HEADERS:
            response.headers.setdefault(name, value)
        for name, value in answer.headers:
            response.headers[name] = value
        with suppress(ClientDisconnect):
            await response(scope, receive, answer)

    def _refusal(self, refused: Refused, method: str, headers: Mapping[str, str]) -> Response:
        """Return the answer for a front end that may not come in: for a person in a browser, a page to sign in."""
        if refused.status_code != 401 or method not in {"GET", "HEAD", "POST"} or "text/html" not in headers.get("accept", ""):
            return _error(refused.status_code, refused.message)
        more, content = sign_in_page(self._config.base_path, "That is not the proxy's token." if refused.wrong_token else None)
        return Response(content, 401, more)

    async def _check(self, scope: Scope, method: str, headers: Mapping[str, str], answer: _Answer) -> None:
        """See whether the caller may come in.

        Raises:
            Refused: no.
        """
        path = str(scope["path"])
        if _UNPRINTABLE.search(path) or len(path) > _LONGEST_PATH:
            raise Refused(400, "the path can't be understood")
        answer.headers.append(("Vary", "Origin"))
        if path == f"{self._config.base_path}healthz":
            return  # monitoring knows neither name nor token
        self._gate.check_host(headers)
        origin = self._gate.check_origin(headers)
        preflight = method == "OPTIONS" and "access-control-request-method" in headers
        if origin is not None:
            answer.headers += self._gate.cors_headers(origin, preflight=preflight)
        if method == "POST" and path == self._config.base_path:
            return  # the token is in the body
        if method != "OPTIONS":
            try:
                caller = self._gate.check_token(method, headers, scope["query_string"])
            except Refused as refused:
                if refused.status_code == 401 and method in {"GET", "HEAD"} and path == f"{self._config.base_path}api":
                    return  # the version: clients of Jupyter servers wait for it before they show a token
                raise
            if LET_IN in scope:
                scope[LET_IN]()
            if caller is Caller.QUERY and scope["type"] == "http":
                answer.headers.append(("Set-Cookie", self._gate.set_cookie(secure=scope["scheme"] == "https")))

    async def _respond(
        self, scope: Scope, method: str, headers: Mapping[str, str], receive: Receive, answer: _Answer
    ) -> Response:
        await self._check(scope, method, headers, answer)
        allowed: set[str] = set()
        for route in self._router.routes:
            match, more = route.matches(scope)
            if match is Match.NONE:
                continue
            assert isinstance(route, Route)
            if match is Match.FULL and method != "OPTIONS":
                scope.update(more)
                response: Response = await route.endpoint(Request(scope, receive))
                return response
            allowed |= route.methods or set()
        if not allowed:
            raise Refused(404, "there is nothing here")
        allow = {"Allow": ", ".join(sorted({*allowed, "OPTIONS"}))}
        if method == "OPTIONS":
            return Response(status_code=204, headers=allow)
        raise HTTPException(405, headers=allow)


def _read_headers(pairs: Iterable[tuple[bytes, bytes]], headers: dict[str, Secret]) -> None:
    """Take in a request's headers, names in lower case.

    Raises:
        Refused: one by which it is decided who may come in is there twice: what stands before the proxy may have read the other.
    """
    for raw, value in pairs:
        name = raw.decode("latin-1").lower()
        text = Secret(value.decode("latin-1"))
        if name in headers and name in _ONLY_ONCE:
            raise Refused(400, f"the header {name.title()} is there twice")
        if name in headers and name == "cookie":
            text = Secret(f"{headers[name]}; {text}")  # a front end of HTTP/2 may have several (RFC 9113, 8.2.3)
        headers[name] = text


class _Answer:
    """Passes an answer on, and remembers what the log and the counters want to know.

    Args:
        send: the server's.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.headers: list[tuple[str, str]] = []
        self.started = False
        self.status = 0
        self.size = 0
        self.close_code: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is a WebSocket's, which was accepted and not closed."""
        return self.status == 101 and self.close_code is None

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        """Pass on one event.

        Raises:
            ClientDisconnect: the front end has gone.
        """
        kind = message["type"]
        if kind in {"http.response.start", "websocket.http.response.start"}:
            self.started = True
            self.status = message["status"]
        elif kind == "websocket.accept":
            self.started = True
            self.status = 101
        elif kind == "websocket.close":
            self.started = True
            self.close_code = message.get("code", 1000)
        self.size += len(message.get("body") or b"")
        try:
            await self._send(message)
        except OSError:  # so says a server whose front end has gone, as ASGI has it
            raise ClientDisconnect from None


async def _live(receive: Receive, send: Send) -> None:
    """Say yes to the server's start and end: the application's maker opens and closes the gateway."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _error(status: int, message: str) -> Response:
    """Return an error as Jupyter servers write it."""
    return JSONResponse({"message": message, "reason": _phrase(status)}, status)


def create_app(gateway: Gateway, config: ProxyConfig | None = None, **settings: Unpack[ProxySettings]) -> Proxy:
    """Make the proxy of a gateway: an ASGI application, for a server that runs on Trio.

    It lives as long as the gateway's block. All its front ends share the gateway's connections and credentials.

    Args:
        gateway: the gateway.
        config: how it is to be; None for the defaults.
        **settings: settings of `ProxyConfig` by name, in place of the configuration's.

    Returns:
        The application. `Proxy.token` is what front ends must show.

    Raises:
        ConfigError: there is no setting of a name.
        InvalidInputError: a setting can't be used.
    """
    given: Any = hidden(settings)
    del settings
    return Proxy(gateway, (config or ProxyConfig()).replace(**given))
