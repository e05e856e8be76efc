"""Who may come in: the token, the Origin, the Host, and what a browser learns about other sites (CORS).

The one idea: a decision over one request's headers and query, made before anything else looks at it. A valid token does not
excuse a foreign Origin: another site's page may know the token and still must not use it in somebody's browser unless it was
allowed to.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import attrs

from .._secret import Secret
from ._config import ProxyConfig

__all__ = ["Caller", "Gate", "Refused"]

_COOKIE: Final = "trio-gateway-proxy-"
"""The beginning of the cookie's name."""
_LONGEST_COOKIE: Final = 16_384
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Caller(enum.Enum):
    """By what a caller was known."""

    ANYONE = "anyone"
    """No token is asked for."""
    HEADER = "header"
    """By the header `Authorization`."""
    QUERY = "query"
    """By the parameter `token`."""
    COOKIE = "cookie"
    """By a cookie, which a browser sends by itself."""


class Refused(Exception):
    """The request is answered without being looked at further.

    Args:
        status_code: HTTP status of the answer.
        message: for the caller.
        wrong_token: whether they showed a token, and it is not the proxy's.
    """

    def __init__(self, status_code: int, message: str, *, wrong_token: bool = False) -> None:
        super().__init__(status_code, message)
        self.status_code = status_code
        self.message = message
        self.wrong_token = wrong_token


@attrs.define
class Gate:
    """Decides who may come in.

    Args:
        config: the proxy's configuration.
    """

    config: ProxyConfig
    _token: str = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._token = self.config.token or Secret(secrets.token_hex(24))

    @property
    def token(self) -> str | None:
        """What callers must show; None where nobody is asked."""
        return None if self.config.allow_anyone else self._token

    def change_token(self, token: str) -> None:
        """Ask for another token from now on. A WebSocket that is open stays.

        Raises:
            InvalidInputError: it can't be one.
        """
        self._token = self.config.replace(token=token).token or ""

    def check_host(self, headers: Mapping[str, str]) -> None:
        """See that the caller meant us: a page whose own name was made to resolve to our address sends that name (DNS rebinding).

        Raises:
            Refused: the name is none of ours.
        """
        host = _host_of(headers.get("host", ""))
        if host is None:
            raise Refused(400, "the request has no Host that can be understood")
        if host != "localhost" and host not in {name.lower() for name in self.config.allowed_hosts} and not _is_address(host):
            raise Refused(403, "this Host is not one that the proxy is to be called by (allowed_hosts)")

    def check_origin(self, headers: Mapping[str, str]) -> str | None:
        """See that the page that asks, if it is a page, is ours or an allowed one; return its origin if it is another site's.

        Raises:
            Refused: the page is another site's and not allowed.
        """
        origin = headers.get("origin")
        if origin is None or self._is_own(origin, headers):
            return None
        if "*" in self.config.allowed_origins or origin in self.config.allowed_origins:
            return origin
        raise Refused(403, "pages of this Origin may not use the proxy (allowed_origins)")

    def _is_own(self, origin: str, headers: Mapping[str, str]) -> bool:
        """Whether a page of ours asks. The scheme is not compared: a server that ends TLS before us changes it."""
        try:
            parts = urlsplit(origin)
            port = parts.port
        except ValueError:
            return False
        if parts.scheme not in {"http", "https"} or parts.hostname is None:
            return False
        usual = 443 if parts.scheme == "https" else 80
        host = headers.get("host", "").lower()
        name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return host == f"{name}:{port or usual}" or (host == name and port in {None, usual})

    def check_token(self, method: str, headers: Mapping[str, str], query: bytes) -> Caller:
        """See that the caller knows the token.

        Raises:
            Refused: they do not.
        """
        if self.config.allow_anyone:
            return Caller.ANYONE
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme:
            if scheme.lower() in {"token", "bearer"} and _same(given.strip(), self._token):
                return Caller.HEADER
            raise Refused(401, "the token in the header Authorization is not the proxy's", wrong_token=True)
        tokens = [value for name, value in _pairs(query) if name == "token"]
        if tokens:
            if len(tokens) == 1 and _same(tokens[0], self._token):
                return Caller.QUERY
            raise Refused(401, "the token in the URL is not the proxy's", wrong_token=True)
        if _same(_cookie(headers.get("cookie", ""), self.cookie_name()), self.cookie_value()):
            # A browser sends it for each page that asks; that a page of ours asks, only its Origin says.
            origin = headers.get("origin")
            if origin is None and method not in _SAFE_METHODS:
                raise Refused(403, "a request that changes something and has only a cookie needs an Origin")
            # Pages on other ports of this host get a cookie of SameSite=Strict sent along too: "*" does not speak for them.
            if origin is not None and origin not in self.config.allowed_origins and not self._is_own(origin, headers):
                raise Refused(403, "pages of this Origin may use the proxy with its token, not with a cookie (allowed_origins)")
            return Caller.COOKIE
        raise Refused(401, "the proxy's token is needed: in the header Authorization, or as ?token=")

    def knows(self, form: bytes) -> bool:
        """Whether a form that was filled in has the token in its field `token`. Blanks around it are nobody's wish.

        Raises:
            Refused: it has too many fields.
        """
        tokens = [value for name, value in _pairs(form) if name == "token"]
        return self.config.allow_anyone or (len(tokens) == 1 and _same(tokens[0].strip(), self._token))

    def cookie_name(self) -> str:
        """Return the cookie's name, another one for each token: cookies know no ports, and one host may have several proxies."""
        return _COOKIE + hmac.digest(self._token.encode(), b"trio-gateway-proxy name", "sha256")[:4].hex()

    def cookie_value(self) -> str:
        """Return what the cookie holds: something that can be made only with the token, and from which nobody can tell it."""
        return base64.urlsafe_b64encode(hmac.digest(self._token.encode(), b"trio-gateway-proxy cookie", "sha256")).decode()

    def set_cookie(self, *, secure: bool) -> str:
        """Return the header `Set-Cookie` for a browser that came with the token in the URL, or in the page's form."""
        flags = "; Secure" if secure else ""
        return f"{self.cookie_name()}={self.cookie_value()}; Path={self.config.base_path}; HttpOnly; SameSite=Strict{flags}"

    def clear_cookie(self) -> str:
        """Return the header `Set-Cookie` for a browser that signs out."""
        return f"{self.cookie_name()}=; Path={self.config.base_path}; Max-Age=0; HttpOnly; SameSite=Strict"

    def cors_headers(self, origin: str, *, preflight: bool) -> list[tuple[str, str]]:
        """Return the headers with which a browser lets another site's allowed page read the answer."""
        headers = [("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", "ETag, Location")]
        if origin in self.config.allowed_origins:
            headers.append(("Access-Control-Allow-Credentials", "true"))
        if preflight:
            headers += [
                ("Access-Control-Allow-Methods", "GET, HEAD, POST, PATCH, DELETE, OPTIONS"),
                ("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, If-None-Match, X-XSRFToken"),
                ("Access-Control-Max-Age", "600"),
            ]
        return headers


def _host_of(host: str) -> str | None:
    """Return the name in a `Host` header, in lower case and without port; None where there is none."""
    if any(mark in host for mark in "/@?#\\ "):
        return None
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 - raises ValueError
    except ValueError:
        return None
    return parts.hostname


def _is_address(host: str) -> bool:
    """Whether a host is an address, which nobody can make resolve to another one."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise Refused(400, "there are too many parameters") from None


def _cookie(header: str, wanted: str) -> str:
    for part in header[:_LONGEST_COOKIE].split(";"):
        name, _, value = part.strip().partition("=")
        if name == wanted:
            return value.strip('"')
    return ""


def _same(given: str, right: str) -> bool:
    """Compare in a time that tells nothing, not even the length."""
    return hmac.compare_digest(_hashed(given), _hashed(right))


def _hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
