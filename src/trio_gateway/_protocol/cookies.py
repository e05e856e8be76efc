"""A small cookie jar after RFC 6265: what a gateway or the load balancer before it sets goes back there, and nowhere else.

`now` is an argument everywhere, in seconds since 1970. Cookies are secrets: no `repr` shows a value. A cookie that can't be
understood or is too large is left out; it never breaks a request.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

import attrs

__all__ = ["Cookie", "CookieJar", "parse_cookie", "parse_cookie_date"]

MAX_COOKIE_SIZE = 4096
"""The most bytes of one cookie's name and value together."""
MAX_COOKIES = 60
"""The most cookies of one jar; the oldest leave first."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# Printable ASCII without ";"; more than RFC 6265 has servers send, as browsers do.
_VALUE = re.compile(r"[\x20-\x3a\x3c-\x7e]*")
_MAX_AGE = re.compile(r"-?[0-9]+")
_DATE_DELIMITER = re.compile(r"[\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[^0-9].*)?", re.DOTALL)
_DAY = re.compile(r"([0-9]{1,2})(?:[^0-9].*)?", re.DOTALL)
_YEAR = re.compile(r"([0-9]{2,4})(?:[^0-9].*)?", re.DOTALL)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SECURE_SCHEMES = frozenset({"https", "wss"})


@attrs.frozen(kw_only=True)
class Cookie:
    """One cookie and where it may go."""

    name: str
    """Its name."""
    value: str = attrs.field(repr=False)
    """Its value: a secret."""
    domain: str
    """The host it belongs to, in lower case."""
    host_only: bool
    """It goes to exactly that host, not to hosts below it."""
    path: str
    """It goes to this path and to paths below it."""
    secure: bool
    """It goes only where the connection is encrypted."""
    expires: float
    """When it ends, in seconds since 1970; infinity where it lasts as long as the jar."""
    created: int
    """Its place in the order in which cookies came."""

    def matches(self, *, secure: bool, host: str, path: str, now: float) -> bool:
        """Say whether the cookie goes with a request."""
        return (
            self.expires > now
            and (secure or not self.secure)
            and (host == self.domain if self.host_only else _domain_match(host, self.domain))
            and _path_match(path, self.path)
        )


class CookieJar:
    """The cookies of one gateway's client. It holds at most 60 of at most 4096 bytes each."""

    __slots__ = ("_cookies", "_count")

    def __init__(self) -> None:
        self._cookies: dict[tuple[str, str, str], Cookie] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._cookies)

    def __iter__(self) -> Iterator[Cookie]:
        return iter(tuple(self._cookies.values()))

    def __repr__(self) -> str:
        return f"<CookieJar {len(self)} cookies>"

    def store(self, set_cookie_values: Iterable[str], url: str, *, now: float) -> None:
        """Take what an answer sets.

        Args:
            set_cookie_values: the values of its `Set-Cookie` headers, one a header.
            url: the URL of the request.
            now: the time, in seconds since 1970.
        """
        for value in set_cookie_values:
            self._count += 1
            cookie = parse_cookie(value, url, now=now, created=self._count)
            if cookie is None:
                continue
            key = (cookie.domain, cookie.path, cookie.name)
            old = self._cookies.pop(key, None)
            # A changed cookie keeps its place in the order (RFC 6265, 5.3, step 11.3).
            self._cookies[key] = cookie if old is None else attrs.evolve(cookie, created=old.created)
        self._drop(now)

    def _drop(self, now: float) -> None:
        for key in [key for key, cookie in self._cookies.items() if cookie.expires <= now]:
            del self._cookies[key]
        while len(self._cookies) > MAX_COOKIES:
            del self._cookies[next(iter(self._cookies))]

    def header(self, url: str, *, now: float) -> str | None:
        """Return the `Cookie` header for a request, or None where no cookie goes with it.

        Args:
            url: the URL of the request; `ws` and `wss` count as `http` and `https`.
            now: the time, in seconds since 1970.
        """
        secure, host, path = _split(url)
        found = [cookie for cookie in self._cookies.values() if cookie.matches(secure=secure, host=host, path=path, now=now)]
        if not found:
            return None
        found.sort(key=lambda cookie: (-len(cookie.path), cookie.created))
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in found)


def parse_cookie(set_cookie: str, url: str, *, now: float, created: int = 0) -> Cookie | None:
    """Read one `Set-Cookie` value.

    Args:
        set_cookie: the header's value.
        url: the URL of the request that it answers.
        now: the time, in seconds since 1970.
        created: its place in the order of cookies.

    Returns:
        The cookie; None where there is none, or it is not for this host to set.
    """
    pair, *attributes = set_cookie.split(";")
    name, equals, value = pair.partition("=")
    name, value = name.strip(" \t"), value.strip(" \t")
    if not equals or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value) or len(name) + len(value) > MAX_COOKIE_SIZE:
        return None
    secure, host, request_path = _split(url)
    domain, host_only, path = host, True, _default_path(request_path)
    is_secure, expires, max_age = False, math.inf, None
    for attribute in attributes:
        key, _, given = attribute.partition("=")
        key, given = key.strip(" \t").lower(), given.strip(" \t")
        if key == "secure":
            is_secure = True
        elif key == "path":
            path = given if given.startswith("/") else _default_path(request_path)
        elif key == "domain" and given.removeprefix("."):
            domain, host_only = given.removeprefix(".").lower(), False
        elif key == "max-age" and _MAX_AGE.fullmatch(given):
            max_age = given
        elif key == "expires" and (date := parse_cookie_date(given)) is not None:
            expires = date
    if max_age is not None:
        expires = _end(max_age, now)
    if not host_only:
        if not _domain_match(host, domain) or (host != domain and "." not in domain):
            return None
        host_only = host == domain and _is_address(host)
    if is_secure and not secure:
        # A plain connection may be anyone's: it must not plant what later goes over an encrypted one.
        return None
    return Cookie(
        name=name,
        value=value,
        domain=domain,
        host_only=host_only,
        path=path,
        secure=is_secure,
        expires=expires,
        created=created,
    )


def _end(max_age: str, now: float) -> float:
    if max_age.startswith("-") or not max_age.strip("0"):
        return -math.inf
    # More digits than this are "for ever", and int() refuses thousands of them.
    return now + int(max_age) if len(max_age) <= 12 else math.inf


def parse_cookie_date(text: str) -> float | None:
    """Read the date of an `Expires` attribute as leniently as RFC 6265, 5.1.1, asks for.

    Returns:
        Seconds since 1970; None where it is no date.
    """
    time: tuple[int, int, int] | None = None
    day: int | None = None
    month: int | None = None
    year: int | None = None
    for token in _DATE_DELIMITER.split(text[:200]):
        if time is None and (match := _TIME.fullmatch(token)):
            time = (int(match[1]), int(match[2]), int(match[3]))
        elif day is None and (match := _DAY.fullmatch(token)):
            day = int(match[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (match := _YEAR.fullmatch(token)):
            year = int(match[1])
    if time is None or day is None or month is None or year is None:
        return None
    if year < 70:
        year += 2000
    elif year < 100:
        year += 1900
    if year < 1601:
        return None
    try:
        return datetime(year, month, day, *time, tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def _split(url: str) -> tuple[bool, str, str]:
    parts = urlsplit(url)
    return parts.scheme in _SECURE_SCHEMES, (parts.hostname or "").lower().rstrip("."), parts.path or "/"


def _default_path(request_path: str) -> str:
    folder = request_path.rpartition("/")[0]
    return folder if folder.startswith("/") else "/"


def _domain_match(host: str, domain: str) -> bool:
    return host == domain or (host.endswith(f".{domain}") and not _is_address(host))


def _path_match(path: str, allowed: str) -> bool:
    return path == allowed or (path.startswith(allowed) and (allowed.endswith("/") or path[len(allowed)] == "/"))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
