"""URLs of requests: which server one leads to, and where a redirect leads.

The one idea: two URLs are of one server if scheme, host and port agree, however they are written. Credentials go to one server.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from .._errors import InvalidInputError

__all__ = ["origin_of", "request_target", "resolve_redirect", "split_url", "without_query"]


def origin_of(parts: SplitResult) -> tuple[str, str, int]:
    """Return the server of a URL: `"http"` or `"https"`, also for `ws` and `wss`; the host in small letters; and the port."""
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return scheme, (parts.hostname or "").lower().rstrip("."), parts.port or (443 if scheme == "https" else 80)


def split_url(url: str) -> SplitResult:
    """Split a URL of a request.

    Raises:
        InvalidInputError: it is not escaped, has a fragment, or can't be read.
    """
    try:
        readable = urlsplit(url).port != 0
    except ValueError:
        readable = False
    if not readable or not re.fullmatch(r"[!-~]*", url) or "#" in url:
        # Its query may be secret.
        raise InvalidInputError("url", None, "an escaped URL without fragment")
    return urlsplit(url)


def request_target(url: str) -> str:
    """Return what stands in the request line: path and query."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def without_query(url: str) -> str:
    """Return what may be shown of a URL: neither its query nor user information."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"


def resolve_redirect(url: str, location: str) -> tuple[str | None, str]:
    """Resolve a redirect.

    Returns:
        The new URL, None where it leads away from this server or can't be read; and the server that it leads to.
    """
    try:
        # What came is latin-1; whatever is not to stand in a URL is escaped, and what is escaped stays.
        target = urlsplit(urljoin(url, quote(location.encode("latin-1"), safe="%/:=&?~#+!$,;'@()*[]")))
        origin = origin_of(target)
    except ValueError:
        return None, "a place that can't be read"
    scheme, host, port = origin
    where = f"{scheme}://{host}:{port}"
    here = urlsplit(url)
    # Credentials in a URL are not ours, so they do not go along either.
    return (target._replace(netloc=here.netloc, fragment="").geturl() if origin == origin_of(here) else None), where
