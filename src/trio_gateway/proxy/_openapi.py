"""The OpenAPI description of what the proxy serves over HTTP, which it serves itself at `api/openapi.json`.

The one idea: the routes say which paths and methods there are, and this says what they take and give; a test holds the two
together, and another asks everything that the description allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .._version import __version__

__all__ = ["describe"]

Json = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}
_OPTIONAL_TEXT: Final[Json] = {"type": ["string", "null"]}
_NAME: Final[Json] = {"type": "string", "pattern": r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", "maxLength": 200}
_ENV: Final[Json] = {
    "type": ["object", "null"],
    "description": "Variables for the kernel's environment. An Enterprise Gateway behind the proxy takes no value with `$`, a "
    "backtick or a line break, nor of more than 4096 characters.",
    "propertyNames": {"pattern": "^[^=\\x00]+$"},
    "additionalProperties": {"type": "string", "pattern": "^[^\\x00]*$"},
}
_UUID: Final[Json] = {
    "type": ["string", "null"],
    "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
}


def _object(properties: Json, required: tuple[str, ...] = (), **more: Any) -> Json:
    return {"type": "object", "properties": properties, "required": list(required), **more}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_WISHED: Final[Json] = {**_OPTIONAL_TEXT, "pattern": r"^[^\x00]*$", "maxLength": 200}
_WISHES: Final[Json] = {
    "path": _WISHED,
    "name": _WISHED,
    "type": {**_WISHED, "minLength": 1},
    "kernel": {**_object({"id": {**_NAME, "type": ["string", "null"]}, "name": _WISHED}), "type": ["object", "null"]},
}
_NUMBER_OR_NONE: Final[Json] = {"type": ["number", "null"]}
_PART: Final = _object(
    {"at": _NUMBER_OR_NONE, "age": _NUMBER_OR_NONE, "unanswered": _NUMBER_OR_NONE, "message": _OPTIONAL_TEXT},
    ("at", "age", "unanswered", "message"),
    description="How old a part of the answer is, in seconds, and of which second of the proxy's life (null: it never came); "
    "for how long a newer one has been waited for (null: it came); and what is wrong (null: nothing).",
)
_COUNTS: Final = _object({"to_kernel": {"type": "integer"}, "to_front": {"type": "integer"}}, ("to_kernel", "to_front"))
_KERNEL: Final = _object(
    {
        "id": _TEXT,
        "name": _TEXT,
        "execution_state": _TEXT,
        "connections": {"type": "integer"},
        "last_activity": {"type": "string", "format": "date-time"},
    },
    ("id", "name", "execution_state", "connections"),
)
_DOCUMENT: Final = _object({"path": _TEXT, "name": _TEXT, "type": _TEXT}, ("path", "name", "type"))
_SHOWN: Final = _object(
    {
        "display_name": _TEXT,
        "state_seconds": {"type": "number"},
        "documents": {"type": "array", "items": _DOCUMENT},
        "channels": {"type": "integer"},
        "messages": _COUNTS,
    },
    ("display_name", "state_seconds", "documents", "channels", "messages"),
)
_SCHEMAS: Final[Json] = {
    "Error": _object({"message": _TEXT, "reason": _TEXT}, ("message", "reason"), additionalProperties=False),
    "Kernel": _KERNEL,
    "Session": _object(
        {"id": _TEXT, "path": _TEXT, "name": _TEXT, "type": _TEXT, "kernel": _ref("Kernel")},
        ("id", "path", "name", "type", "kernel"),
    ),
    "KernelSpec": _object(
        {
            "name": _TEXT,
            "spec": _object({"argv": {"type": "array"}, "display_name": _TEXT, "language": _TEXT}, ("argv", "display_name")),
            "resources": {"type": "object", "additionalProperties": _TEXT},
        },
        ("name", "spec", "resources"),
    ),
    "StartKernel": _object({"name": _OPTIONAL_TEXT, "path": _OPTIONAL_TEXT, "kernel_id": _UUID, "env": _ENV}),
    "NewSession": _object({**_WISHES, "path": {**_WISHED, "type": "string", "minLength": 1}, "env": _ENV}, ("path",)),
    "ChangedSession": _object(_WISHES),
    "Status": _object(
        {
            "draining": {"type": "boolean"},
            "proxy": _object(
                {
                    "version": _TEXT,
                    "started": {"type": "string", "format": "date-time"},
                    "up": {"type": "number"},
                    "asks_token": {"type": "boolean"},
                },
                ("version", "started", "up", "asks_token"),
            ),
            "gateway": _object(
                {
                    "reachable": {"type": "boolean"},
                    "message": _OPTIONAL_TEXT,
                    "version": _OPTIONAL_TEXT,
                    "gateway_version": _OPTIONAL_TEXT,
                    "lists_all": {"type": ["boolean", "null"]},
                },
                ("reachable", "message", "version", "gateway_version", "lists_all"),
            ),
            "news": _object({"kernels": _PART, "sessions": _PART}, ("kernels", "sessions")),
            "channels": {"type": "integer"},
            "resumed": {"type": "integer"},
            "messages": _COUNTS,
            "kernels": {
                "type": "array",
                "items": {"allOf": [_ref("Kernel"), _SHOWN]},
            },
            "sessions": {"type": "array", "items": _ref("Session")},
        },
        ("draining", "proxy", "gateway", "news", "channels", "resumed", "messages", "kernels", "sessions"),
    ),
}
_WORDS: Final = {
    200: "Here it is.",
    201: "It was made.",
    303: "You are signed in: here is a cookie.",
    204: "Done.",
    304: "You have it already.",
    400: "Something in the request can't be used; the message says what.",
    401: "The proxy's token is needed.",
    403: "The Host, the Origin or the gateway forbids it.",
    404: "There is no such thing.",
    408: "The body took too long.",
    409: "The gateway says that it can't be done as things are.",
    410: "The kernel was gone before its session.",
    413: "The body is too large.",
    503: "The proxy is shutting down.",
}
_ANYWHERE: Final = (400, 401, 403)
_GATEWAY: Final = {"description": "The gateway can't be reached, breaks, or is too slow (502, 504), or refuses (4XX)."}


def _answer(status: int, schema: Json | None = None, kind: str = "application/json", headers: Json | None = None) -> Json:
    answer: Json = {"description": _WORDS[status]}
    if status >= 400:
        schema = schema or _ref("Error")
    if schema is not None:
        answer["content"] = {kind: {"schema": schema}}
    if headers is not None:
        answer["headers"] = headers
    return answer


def _operation(what: str, *answers: tuple[int, Json], takes: str | None = None, open_to_all: bool = False) -> Json:
    """Describe one method of one path.

    Args:
        what: in a line, what it does.
        answers: status and answer; what any request may get is added.
        takes: the schema of its body.
        open_to_all: whether it is answered without a token.
    """
    known = dict(answers)
    for status in () if open_to_all else (*_ANYWHERE, *((408, 413) if takes else ())):
        known.setdefault(status, _answer(status))
    described: Json = {"summary": what, "responses": {str(status): known[status] for status in sorted(known)}}
    described["responses"]["502"] = described["responses"]["504"] = {**_GATEWAY, "content": _answer(400)["content"]}
    if takes:
        described["requestBody"] = {"required": takes == "NewSession", "content": {"application/json": {"schema": _ref(takes)}}}
    if open_to_all:
        described["security"] = []
    return described


def _sign_in() -> Json:
    """Describe what the page to sign in does: a form, where all else is JSON."""
    described = _operation("Sign in: get a cookie for the token.", (303, _answer(303)), open_to_all=True)
    described["responses"] |= {str(status): _answer(status) for status in (400, 401, 403, 408, 413)}
    # A client that follows the redirect sees the page; and a person in a browser, in place of an error, the page to sign in.
    described["responses"]["200"] = _answer(200, _TEXT, "text/html")
    described["responses"]["401"]["content"]["text/html"] = {"schema": _TEXT}
    form = {"schema": _object({"token": _TEXT}, ("token",))}
    described["requestBody"] = {"required": True, "content": {"application/x-www-form-urlencoded": form}}
    return described


def _version() -> Json:
    """Describe the one thing of `api` that is answered without a token. A token in the query is answered with a cookie."""
    described = _operation(
        "The version.", _ok(_object({"version": _TEXT, "proxy": _TEXT}, ("version", "proxy"))), open_to_all=True
    )
    described["responses"] |= {str(status): _answer(status) for status in (400, 403)}
    return described


def _list_of(name: str) -> Json:
    return {"type": "array", "items": _ref(name)}


def _ok(schema: Json) -> tuple[int, Json]:
    return 200, _answer(200, schema)


_LOCATION: Final[Json] = {"Location": {"schema": _TEXT, "description": "Where it is."}}
_FILE: Final[Json] = {"type": "string", "format": "binary"}


def _paths() -> Mapping[str, Mapping[str, Json]]:
    missing, done = (404, _answer(404)), (204, _answer(204))
    return {
        "": {
            "get": _operation("The status page.", (200, _answer(200, _TEXT, "text/html"))),
            "post": _sign_in(),
            "delete": _operation("Sign out: the cookie is taken back.", done),
        },
        "page/{name}": {"get": _operation("A file of the status page.", (200, _answer(200, _FILE, "*/*")), missing)},
        "status.json": {"get": _operation("What the status page shows.", _ok(_ref("Status")))},
        "api": {"get": _version()},
        "api/openapi.json": {"get": _operation("This description.", _ok({"type": "object"}))},
        "api/status": {"get": _operation("How many kernels and connections there are.", _ok({"type": "object"}))},
        "api/me": {"get": _operation("Who is asking: nobody in particular.", _ok({"type": "object"}))},
        "api/terminals": {
            "get": _operation("There are no terminals.", missing),
            "post": _operation("There are no terminals.", missing),
        },
        "api/kernels": {
            "get": _operation("The kernels.", _ok(_list_of("Kernel"))),
            "post": _operation(
                "Start a kernel.",
                (201, _answer(201, _ref("Kernel"), headers=_LOCATION)),
                missing,
                (409, _answer(409)),
                takes="StartKernel",
            ),
        },
        "api/kernels/{kernel_id}": {
            "get": _operation("A kernel.", _ok(_ref("Kernel")), missing),
            "delete": _operation("Shut a kernel down.", done, missing),
        },
        "api/kernels/{kernel_id}/interrupt": {"post": _operation("Interrupt a kernel.", done, missing)},
        "api/kernels/{kernel_id}/restart": {"post": _operation("Restart a kernel.", _ok(_ref("Kernel")), missing)},
        "api/kernelspecs": {
            "get": _operation(
                "The kernelspecs.",
                _ok(
                    _object(
                        {"default": _TEXT, "kernelspecs": {"type": "object", "additionalProperties": _ref("KernelSpec")}},
                        ("default", "kernelspecs"),
                    )
                ),
            )
        },
        "api/kernelspecs/{name}": {"get": _operation("A kernelspec.", _ok(_ref("KernelSpec")), missing)},
        "kernelspecs/{name}/{path}": {
            "get": _operation("A file of a kernelspec.", (200, _answer(200, _FILE, "*/*")), (304, _answer(304)), missing)
        },
        "api/sessions": {
            "get": _operation("The sessions.", _ok(_list_of("Session"))),
            "post": _operation(
                "Make a session, or find the one of this path.",
                (201, _answer(201, _ref("Session"), headers=_LOCATION)),
                missing,
                takes="NewSession",
            ),
        },
        "api/sessions/{session_id}": {
            "get": _operation("A session.", _ok(_ref("Session")), missing),
            "patch": _operation(
                "Rename a session, or give it another kernel.", _ok(_ref("Session")), missing, takes="ChangedSession"
            ),
            "delete": _operation("End a session, and its kernel.", done, missing, (410, _answer(410))),
        },
        "healthz": {
            "get": _operation(
                "Whether the proxy is there.", _ok({"type": "object"}), (503, _answer(503, {"type": "object"})), open_to_all=True
            )
        },
        "metrics": {"get": _operation("What was counted, for Prometheus.", (200, _answer(200, _TEXT, "text/plain")))},
    }


def describe(base_path: str) -> Json:
    """Return the description.

    Args:
        base_path: where everything begins.
    """
    paths: Json = {}
    for path, methods in _paths().items():
        names = [piece[1:-1] for piece in path.split("/") if piece.startswith("{")]
        here: Json = {**methods}
        if names:
            here["parameters"] = [{"name": name, "in": "path", "required": True, "schema": _NAME} for name in names]
        paths[f"/{path}"] = here
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "trio_gateway's proxy",
            "version": __version__,
            "description": "A Jupyter server's kernels, kernelspecs and sessions, on a gateway. The WebSocket "
            "`/api/kernels/{kernel_id}/channels` is beside it. HEAD is answered as GET, and OPTIONS everywhere.",
        },
        "servers": [{"url": base_path.rstrip("/") or "/"}],
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "`token …` or `Bearer …`"}
            },
        },
        "security": [{"token": []}],
    }
