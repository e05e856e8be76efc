"""The status page and the one to sign in: static files, and the numbers that its script asks for again and again.

The one idea: the page is static and knows nothing; what it shows is one JSON object, and what its buttons do is the API that
front ends have. Nothing on it comes from other hosts, and no HTML is made of what others say.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from html import escape
from importlib import resources
from typing import Any, Final

from .._version import __version__
from ._gather import News, Part
from ._metrics import Metrics
from ._shapes import kernel_json, session_json

__all__ = ["PAGE_HEADERS", "page_file", "sign_in_page", "status_json"]

PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
}
"""With the page and its files: nothing from other hosts, nothing inline."""
_TYPES: Final = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_FILES: Final = frozenset(
    {"status.html", "theme.css", "status.css", "status.js", "chart.js", "kernels.js", "question.js", "words.js"}
)


def page_file(name: str) -> tuple[str, bytes] | None:
    """Return the media type and the content of one of the page's files; None where there is no such file."""
    if name not in _FILES:
        return None
    return _TYPES[name.rpartition(".")[2]], _read(name)


def _read(name: str) -> bytes:
    return resources.files("trio_gateway.proxy").joinpath("page", name).read_bytes()


@cache
def _sign_in_template() -> tuple[str, str]:
    """Return the page to sign in, and a policy that allows its style: a browser without a token can get no other file."""
    style = _read("theme.css").decode() + _read("sign-in.css").decode()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return _read("sign-in.html").decode().replace("{style}", style), policy


def sign_in_page(base_path: str, problem: str | None) -> tuple[dict[str, str], bytes]:
    """Return the headers and the content of the page to sign in.

    Args:
        base_path: where everything of the proxy begins.
        problem: what is wrong with what was shown; None where nothing was.
    """
    template, policy = _sign_in_template()
    page = template.replace("{base_path}", escape(base_path)).replace("{problem}", escape(problem or ""))
    headers = {
        "Content-Type": _TYPES["html"],
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        # Without a referrer a browser tells no Origin either, when it sends the form.
        "Referrer-Policy": "same-origin",
    }
    return headers, page.encode()


def status_json(
    news: News, metrics: Metrics, *, draining: bool, now: float, up: float, started: str, asks_token: bool
) -> dict[str, Any]:
    """Return what the page shows: what is known, and of each part how old it is. Pure.

    Args:
        news: what is known of the gateway.
        metrics: what was counted.
        draining: whether the proxy is about to end.
        now: what time it is, in seconds of the clock that the news have.
        up: for how long the proxy has run, in seconds.
        started: when it was started, as Jupyter servers write it.
        asks_token: whether it asks for a token: a browser that has shown one can sign out.
    """
    problem = news.kernels.problem(now)
    as_of = now if news.kernels.asked_at is None else news.kernels.asked_at
    documents: dict[str, list[dict[str, str]]] = {}
    for session in news.sessions.value:
        here = {"path": session.path, "name": session.name, "type": session.type}
        documents.setdefault(session.kernel.id, []).append(here)
    kernels = []
    for model in news.running():
        traffic = metrics.of(model.id)
        kernels.append(
            {
                **kernel_json(model),
                "display_name": news.names.value.get(model.name, model.name),
                "state_seconds": round(max(0.0, as_of - news.states.get(model.id, ("", as_of))[1]), 3),
                "documents": documents.get(model.id, []),
                "channels": traffic.channels,
                "messages": {"to_kernel": traffic.to_kernel, "to_front": traffic.to_front},
            }
        )
    version, gateway_version = news.versions.value
    return {
        "draining": draining,
        "proxy": {"version": __version__, "started": started, "up": round(up, 3), "asks_token": asks_token},
        "gateway": {
            "reachable": problem is None,
            "message": problem,
            "version": version,
            "gateway_version": gateway_version,
            "lists_all": news.lists_all.value,
        },
        "news": {"kernels": _part_json(news.kernels, now, up), "sessions": _part_json(news.sessions, now, up)},
        "channels": metrics.channels,
        "resumed": metrics.resumed,
        "messages": {"to_kernel": metrics.frames_to_kernel, "to_front": metrics.frames_to_front},
        "kernels": kernels,
        "sessions": [session_json(session) for session in news.sessions.value],
    }


def _part_json(part: Part[Any], now: float, up: float) -> dict[str, Any]:
    age, unanswered = part.age(now), part.unanswered(now)
    return {
        "at": None if part.asked_at is None else round(up - (now - part.asked_at), 3),
        "age": None if age is None else round(age, 3),
        "unanswered": None if unanswered is None else round(unanswered, 3),
        "message": part.problem(now),
    }
