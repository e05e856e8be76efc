"""The status page: three files, and the numbers that its script asks for again and again.

The one idea: the page is static and knows nothing; what it shows is one JSON object, and what its buttons do is the API that
front ends have. Nothing on it comes from elsewhere, and nothing in it is written as HTML by us.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, Final

from .._errors import GatewayError
from .._gateway.gateway import Gateway
from ._metrics import Metrics
from ._shapes import error_of, kernel_json, session_json

__all__ = ["PAGE_HEADERS", "page_file", "status_json"]

PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
}
"""With the page and its files: nothing from elsewhere, nothing inline."""
_TYPES: Final = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_FILES: Final = frozenset({"status.html", "status.css", "status.js"})


def page_file(name: str) -> tuple[str, bytes] | None:
    """Return the media type and the content of one of the page's files; None where there is no such file."""
    if name not in _FILES:
        return None
    content = resources.files("trio_gateway.proxy").joinpath("page", name).read_bytes()
    return _TYPES[name.rpartition(".")[2]], content


async def status_json(gateway: Gateway, metrics: Metrics, *, draining: bool) -> dict[str, Any]:
    """Return what the page shows. A gateway that gives no answer is no error here: the page says so.

    Args:
        gateway: where the kernels are.
        metrics: what was counted.
        draining: whether the proxy is about to end.

    Cancellation: safe.
    """
    message: str | None = None
    kernels: list[dict[str, Any]] = []
    sessions: list[dict[str, Any]] = []
    try:
        for model in await gateway.kernels.list():
            traffic = metrics.of(model.id)
            messages = {"to_kernel": traffic.to_kernel, "to_front": traffic.to_front}
            kernels.append({**kernel_json(model), "channels": traffic.channels, "messages": messages})
        sessions = [session_json(session) for session in await gateway.sessions.list()]
    except GatewayError as error:
        message = error_of(error)[1]
    return {
        "draining": draining,
        "gateway": {"reachable": message is None, "message": message},
        "channels": metrics.channels,
        "resumed": metrics.resumed,
        "messages": {"to_kernel": metrics.frames_to_kernel, "to_front": metrics.frames_to_front},
        "kernels": kernels,
        "sessions": sessions,
    }
