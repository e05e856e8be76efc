"""Who we are to one gateway: the token, the configured headers and the cookies; and what of it must be shown to nobody.

The one idea: HTTP and the WebSocket log in alike, so what they say of themselves is kept in one place, and so is the clock that
cookies go by.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from urllib.parse import urlsplit

import trio

from ..._config import GatewayConfig
from ..._errors import InvalidInputError
from ..._protocol.cookies import CookieJar
from ..._protocol.masking import Masker
from ..._protocol.urls import origin_of, without_query
from ..._secret import Secret
from .credentials import Credentials

__all__ = ["Identity", "merged"]


def merged(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Keep the last of each name."""
    last: dict[str, tuple[str, str]] = {}
    for name, value in headers:
        last[name.lower()] = (name, value)
    return list(last.values())


class Identity:
    """Who we are to one gateway.

    Args:
        config: the settings.

    Raises:
        ConfigError: the token renewer can't be made, or there is no such program as `token_command` names.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._credentials = Credentials(config, config.load_token_renewer())
        # A jar for each address: what a balancer at one of them says is nothing to the others.
        self._jars = [CookieJar() for _ in config.addresses]
        self._masked: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._masker = Masker(())
        # The wall clock is read once. From then on it follows Trio's, in tests a virtual one.
        self._epoch = time.time() - trio.current_time()  # noqa: TID251 - cookies and Retry-After speak of dates

    @property
    def token(self) -> str:
        """The token in use."""
        return self._credentials.token

    @property
    def renews(self) -> bool:
        """Whether somebody can be asked for a new token."""
        return self._credentials.renews

    async def renew(self, used: str | None = None) -> bool:
        """Ask for the token to use now.

        Args:
            used: a token that the gateway has just refused; None to ask whether there is another.

        Returns:
            Whether the token is another one now.

        Raises:
            TokenCommandError: the command of `token_command` gave no token.
            GatewayTimeoutError: it took longer than `token_command_timeout`.

        Cancellation:
            Safe.
        """
        return await self._credentials.ask(used)

    def now(self) -> float:
        """What time it is, in seconds since the epoch."""
        return self._epoch + trio.current_time()

    def headers(self, url: str) -> list[tuple[str, str]]:
        """Return what tells the gateway who we are: what logs in, the configured headers, and the cookies that go to a URL."""
        found = [*self._config.auth_headers(self._credentials.token), *self._config.headers.items()]
        if self._config.accept_cookies and (cookies := self._jar(url).header(url, now=self.now())):
            theirs = [value for name, value in found if name.lower() == "cookie"]
            found.append(("Cookie", Secret("; ".join([*theirs, cookies]))))
        return found

    async def handshake_headers(self, url: str) -> list[tuple[str, str]]:
        """Give the headers of a WebSocket handshake: what logs in, renewed, the configured ones, and the cookies that go there.

        Args:
            url: the WebSocket's URL.

        Raises:
            InvalidInputError: the URL is not one of the configured gateway.
            TokenCommandError: the command of `token_command` gave no token.
            GatewayTimeoutError: it took longer than `token_command_timeout`.

        Cancellation:
            Safe.
        """
        ours = self._config.ws_addresses
        if origin_of(urlsplit(url)) not in {origin_of(urlsplit(one)) for one in (*ours, *self._config.addresses)}:
            raise InvalidInputError("url", without_query(url), f"a URL of {' or '.join(ours)}; credentials go nowhere else")
        await self.renew()
        return merged(self.headers(url))

    def store_cookies(self, set_cookie_values: Iterable[str], url: str) -> None:
        """Keep the cookies of an answer, if the configuration says so.

        Args:
            set_cookie_values: the values of its `Set-Cookie` headers.
            url: the URL of the request.
        """
        if self._config.accept_cookies:
            self._jar(url).store(set_cookie_values, url, now=self.now())

    def _jar(self, url: str) -> CookieJar:
        """The cookies of the address that a URL is one of."""
        if len(self._jars) == 1:
            return self._jars[0]
        parts, best, found = urlsplit(url), -1, self._jars[0]
        for jar, *bases in zip(self._jars, self._config.addresses, self._config.ws_addresses, strict=True):
            for base in map(urlsplit, bases):
                below = f"{parts.path}/".startswith(f"{base.path}/")
                if below and len(base.path) > best and origin_of(base) == origin_of(parts):
                    best, found = len(base.path), jar
        return found

    @property
    def mask(self) -> Masker:
        """Takes out of what the gateway says what we log in with."""
        cookies = (cookie.value for jar in self._jars for cookie in jar if len(cookie.value) >= 6)
        secrets = (*self._credentials.secrets(), *cookies), self._credentials.other_headers()
        if secrets != self._masked:
            self._masked, self._masker = secrets, Masker(*secrets)
        return self._masker
