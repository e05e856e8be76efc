"""The proxy's HTTP routes: what a Jupyter server answers, answered from a `Gateway`.

The one idea: each handler is one call of the library's and one shape. Errors are raised, and answered in one place (`_app`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import trio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .._errors import KernelNotFoundError
from .._gateway.gateway import Gateway
from .._protocol.rest import PROXY
from .._secret import SecretBytes
from .._version import __version__
from ._config import ProxyConfig
from ._gate import Gate, Refused
from ._gather import Gather
from ._metrics import Metrics
from ._openapi import describe
from ._page import PAGE_HEADERS, page_file, status_json
from ._shapes import kernel_json, kernelspec_json, kernelspecs_json, session_json, time_text

__all__ = ["Rest"]

_IDENTITY: Final = {
    "username": "anonymous",
    "name": "Anonymous",
    "display_name": "Anonymous",
    "initials": "A",
    "avatar_url": None,
    "color": None,
}
_TEXT_OR_NONE: Final = (str, type(None))
_FORM_BYTES: Final = 16 * 1024
"""How large the form of the page to sign in may be, in bytes: a token, however it is escaped. Anybody may send it."""


@attrs.frozen
class Rest:
    """Answers requests.

    Args:
        gateway: where the kernels are.
        config: the proxy's configuration.
        gate: who may come in.
        metrics: what is counted.
        started: when the proxy was started.
        is_draining: whether it is about to end.
    """

    gateway: Gateway
    config: ProxyConfig
    gate: Gate
    metrics: Metrics
    started: datetime
    is_draining: Callable[[], bool]
    _gather: Gather = attrs.field(init=False, default=attrs.Factory(lambda self: Gather(self.gateway), takes_self=True))
    _born: float = attrs.field(init=False, factory=trio.current_time)

    def routes(self) -> list[Route]:
        """Return the routes; which methods a path has, they say."""
        api = [
            ("", "GET", self._page),
            ("", "POST", self._sign_in),
            ("", "DELETE", self._sign_out),
            ("page/{name}", "GET", self._page),
            ("status.json", "GET", self._page_status),
            ("api", "GET", self._version),
            ("api/openapi.json", "GET", self._description),
            ("api/status", "GET", self._status),
            ("api/me", "GET", self._me),
            ("api/terminals", "GET", self._no_terminals),
            ("api/terminals", "POST", self._no_terminals),
            ("api/kernels", "GET", self._list_kernels),
            ("api/kernels", "POST", self._start_kernel),
            ("api/kernels/{kernel_id}", "GET", self._get_kernel),
            ("api/kernels/{kernel_id}", "DELETE", self._shutdown_kernel),
            ("api/kernels/{kernel_id}/interrupt", "POST", self._interrupt_kernel),
            ("api/kernels/{kernel_id}/restart", "POST", self._restart_kernel),
            ("api/kernelspecs", "GET", self._list_kernelspecs),
            ("api/kernelspecs/{name}", "GET", self._get_kernelspec),
            ("kernelspecs/{name}/{path:path}", "GET", self._resource),
            ("api/sessions", "GET", self._list_sessions),
            ("api/sessions", "POST", self._create_session),
            ("api/sessions/{session_id}", "GET", self._get_session),
            ("api/sessions/{session_id}", "PATCH", self._update_session),
            ("api/sessions/{session_id}", "DELETE", self._delete_session),
            ("healthz", "GET", self._health),
            ("metrics", "GET", self._metrics),
        ]
        return [Route(self.config.base_path + path, handler, methods=[method]) for path, method, handler in api]

    async def _page(self, request: Request) -> Response:
        found = page_file(request.path_params.get("name", "status.html"))
        if found is None:
            raise Refused(404, "there is no such file")
        return Response(found[1], headers={**PAGE_HEADERS, "Content-Type": found[0]})

    async def _page_status(self, _request: Request) -> Response:
        await self._gather.look()
        now = trio.current_time()
        shown = status_json(
            self._gather.news,
            self.metrics,
            draining=self.is_draining(),
            now=now,
            up=now - self._born,
            started=time_text(self.started),
            asks_token=not self.config.allow_anyone,
        )
        return JSONResponse(shown, headers={"Cache-Control": "no-store"})

    async def _sign_in(self, request: Request) -> Response:
        """Take the token out of the form of the page to sign in, and give a cookie for it."""
        content = SecretBytes(await self._content(request, min(_FORM_BYTES, self.config.max_body_size)))
        if not self.gate.knows(content):
            raise Refused(401, "That is not the proxy's token.", wrong_token=True)
        cookie = self.gate.set_cookie(secure=request.url.scheme == "https")
        # To an address of its own: shown anew, the page does not send the form again.
        return Response(status_code=303, headers={"Location": self.config.base_path, "Set-Cookie": cookie})

    async def _no_terminals(self, _request: Request) -> Response:
        """Say it in words: front ends ask for them. (404 is what a Jupyter server without terminals answers.)"""
        raise Refused(404, "this proxy has no terminals")

    async def _sign_out(self, _request: Request) -> Response:
        """Take the cookie back; the token stays what it is."""
        return Response(status_code=204, headers={"Set-Cookie": self.gate.clear_cookie()})

    async def _version(self, _request: Request) -> Response:
        # What stands there beside the version, Jupyter's own front ends don't look at.
        return JSONResponse({"version": __version__, "proxy": PROXY})

    async def _description(self, _request: Request) -> Response:
        return JSONResponse(describe(self.config.base_path))

    async def _me(self, _request: Request) -> Response:
        return JSONResponse({"identity": _IDENTITY, "permissions": {}})

    async def _status(self, _request: Request) -> Response:
        kernels = await self.gateway.kernels.list()
        times = [kernel.last_activity for kernel in kernels if kernel.last_activity is not None]
        return JSONResponse(
            {
                "started": time_text(self.started),
                "last_activity": time_text(max(times, default=self.started)),
                "connections": self.metrics.channels,
                "kernels": len(kernels),
            }
        )

    async def _health(self, _request: Request) -> Response:
        draining = self.is_draining()
        return JSONResponse({"status": "draining" if draining else "ok"}, status_code=503 if draining else 200)

    async def _metrics(self, _request: Request) -> Response:
        content_type, body = self.metrics.exposition()
        return Response(body, headers={"Content-Type": content_type})

    # Kernels ----------------------------------------------------------------------------------------------------

    async def _list_kernels(self, _request: Request) -> Response:
        return JSONResponse([kernel_json(model) for model in await self.gateway.kernels.list()])

    async def _start_kernel(self, request: Request) -> Response:
        body = await self._body(request)
        model = await self.gateway.kernels.start(
            _field(body, "name", _TEXT_OR_NONE) or None,
            env=_env(body),
            path=_field(body, "path", _TEXT_OR_NONE) or None,
            kernel_id=_field(body, "kernel_id", _TEXT_OR_NONE) or None,
        )
        return JSONResponse(kernel_json(model), 201, {"Location": f"{self.config.base_path}api/kernels/{model.id}"})

    async def _get_kernel(self, request: Request) -> Response:
        return JSONResponse(kernel_json(await self.gateway.kernels.get(request.path_params["kernel_id"])))

    async def _shutdown_kernel(self, request: Request) -> Response:
        kernel_id = request.path_params["kernel_id"]
        # To shut down what is not there is fine for the library, and 404 for a front end.
        await self.gateway.kernels.get(kernel_id)
        await self.gateway.kernels.shutdown(kernel_id)
        return Response(status_code=204)

    async def _interrupt_kernel(self, request: Request) -> Response:
        await self.gateway.kernels.interrupt(request.path_params["kernel_id"])
        return Response(status_code=204)

    async def _restart_kernel(self, request: Request) -> Response:
        return JSONResponse(kernel_json(await self.gateway.kernels.restart(request.path_params["kernel_id"])))

    # Kernelspecs ------------------------------------------------------------------------------------------------

    def _prefix(self) -> str:
        config = self.gateway.config
        return urlsplit(config.http_url("/" + config.kernelspecs_resource_endpoint.strip("/"))).path

    async def _list_kernelspecs(self, _request: Request) -> Response:
        specs = await self.gateway.kernelspecs.list()
        return JSONResponse(kernelspecs_json(specs, self.config.base_path, self._prefix()))

    async def _get_kernelspec(self, request: Request) -> Response:
        spec = await self.gateway.kernelspecs.get(request.path_params["name"])
        return JSONResponse(kernelspec_json(spec, self.config.base_path, self._prefix()))

    async def _resource(self, request: Request) -> Response:
        path = request.path_params["path"]
        if path.startswith("/"):
            raise Refused(404, "there is no such file")  # a path from a list, to the library; here it is none
        resource = await self.gateway.kernelspecs.resource(request.path_params["name"], path)
        etag = f'"{hashlib.sha256(resource.content).hexdigest()[:32]}"'
        # A kernelspec's script runs in the front end anyway; but nothing that is opened by itself may act in our name.
        headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Content-Security-Policy": "sandbox; default-src 'none'"}
        known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if etag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        return Response(resource.content, headers={**headers, "Content-Type": resource.media_type})

    # Sessions ---------------------------------------------------------------------------------------------------

    async def _list_sessions(self, _request: Request) -> Response:
        return JSONResponse([session_json(session) for session in await self.gateway.sessions.list()])

    async def _create_session(self, request: Request) -> Response:
        body = await self._body(request)
        notebook = _field(body, "notebook", (dict, type(None))) or {}
        kernel = _field(body, "kernel", (dict, type(None))) or {}
        path = _field(body, "path", _TEXT_OR_NONE) or _field(notebook, "path", _TEXT_OR_NONE)
        if not path:
            raise Refused(400, "path: expected the document's path")
        kernel_id = _field(kernel, "id", _TEXT_OR_NONE) or None
        session = await self.gateway.sessions.create(
            path,
            kernel_id=kernel_id,
            kernel_name=None if kernel_id else _field(kernel, "name", _TEXT_OR_NONE) or None,
            name=_field(body, "name", _TEXT_OR_NONE) or _field(notebook, "name", _TEXT_OR_NONE) or "",
            type=_field(body, "type", _TEXT_OR_NONE) or "notebook",
            env=_env(body),
        )
        return JSONResponse(session_json(session), 201, {"Location": f"{self.config.base_path}api/sessions/{session.id}"})

    async def _get_session(self, request: Request) -> Response:
        return JSONResponse(session_json(await self.gateway.sessions.get(request.path_params["session_id"])))

    async def _update_session(self, request: Request) -> Response:
        body = await self._body(request)
        notebook = _field(body, "notebook", (dict, type(None))) or {}
        kernel = _field(body, "kernel", (dict, type(None))) or {}
        session_id = request.path_params["session_id"]
        kernel_id = _field(kernel, "id", _TEXT_OR_NONE) or None
        kernel_name = None if kernel_id else _field(kernel, "name", _TEXT_OR_NONE) or None
        if kernel_id is not None and kernel_id == (await self.gateway.sessions.get(session_id)).kernel.id:
            kernel_id = None  # a front end sends the whole model back: it is a rename
        session = await self.gateway.sessions.update(
            session_id,
            path=_field(body, "path", _TEXT_OR_NONE) or _field(notebook, "path", _TEXT_OR_NONE),
            name=_field(body, "name", _TEXT_OR_NONE),
            type=_field(body, "type", _TEXT_OR_NONE),
            kernel_id=kernel_id,
            kernel_name=kernel_name,
        )
        return JSONResponse(session_json(session))

    async def _delete_session(self, request: Request) -> Response:
        try:
            await self.gateway.sessions.delete(request.path_params["session_id"])
        except KernelNotFoundError:
            raise Refused(410, "Kernel deleted before session") from None
        return Response(status_code=204)

    # Bodies -----------------------------------------------------------------------------------------------------

    async def _content(self, request: Request, limit: int) -> bytearray:
        """Read a body.

        Args:
            request: the request.
            limit: how large the body may be, in bytes.

        Raises:
            Refused: it is too large or too slow.
        """
        too_large = Refused(413, f"the body is larger than {limit} bytes")
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > limit:
            raise too_large
        content = bytearray()
        with trio.move_on_after(self.config.body_seconds) as scope:
            try:
                async with aclosing(request.stream()) as chunks:
                    async for chunk in chunks:
                        content += chunk
                        if len(content) > limit:
                            raise too_large
            except ClientDisconnect:
                raise Refused(400, "the body did not come whole") from None
        if scope.cancelled_caught:
            raise Refused(408, f"the body took longer than {self.config.body_seconds:g} s")
        return content

    async def _body(self, request: Request) -> Mapping[str, Any]:
        """Read a body that has to be a JSON object, or nothing at all.

        Raises:
            Refused: it is too large, too slow, or no object of JSON.
        """
        content = await self._content(request, self.config.max_body_size)
        if not content:
            return {}
        try:
            body = json.loads(bytes(content))
        except (ValueError, RecursionError):
            raise Refused(400, "Invalid JSON in body of request") from None
        if not isinstance(body, dict):
            raise Refused(400, "the body is JSON, but no object")
        return body


def _field(body: Mapping[str, Any], name: str, kinds: tuple[type, ...]) -> Any:
    value = body.get(name)
    if not isinstance(value, kinds):
        wanted = "an object" if dict in kinds else "text"
        raise Refused(400, f"{name}: expected {wanted}")
    return value


def _env(body: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Return the variables for a kernel. Their values may be secrets: nothing is said of them."""
    env: Mapping[str, str] | None = _field(body, "env", (dict, type(None)))
    return env
