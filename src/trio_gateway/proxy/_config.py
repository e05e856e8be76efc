"""A proxy's settings, checked when it is made.

The one idea: a value, complete and right from the start; nothing later has to ask whether a setting makes sense.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypedDict, Unpack
from urllib.parse import urlsplit

import attrs

from .._errors import ConfigError, ConfigProblem, InvalidInputError
from .._secret import Secret, hide_arguments

__all__ = ["ProxyConfig", "ProxySettings", "hidden"]

_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,1024}")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})")
_BASE_PATH: Final = re.compile(r"/([A-Za-z0-9._~-]+/)*")


def _texts(values: str | Iterable[str]) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else tuple(values)


def hidden(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by name, in which the token hides itself from tools that show a frame's locals."""
    return {name: Secret.of(value) if name == "token" and isinstance(value, str) else value for name, value in settings.items()}


def _check_token(_self: ProxyConfig, _field: attrs.Attribute[str | None], value: object) -> None:
    # Never shown, not even where it is wrong.
    if value is not None and not (isinstance(value, str) and _TOKEN.fullmatch(value)):
        raise InvalidInputError("token", "the value (not shown: it is secret)", "1 to 1024 printable ASCII characters, or None")


def _check_origins(_self: ProxyConfig, field: attrs.Attribute[tuple[str, ...]], values: tuple[str, ...]) -> None:
    for value in values:
        parts = urlsplit(value) if isinstance(value, str) else None
        if value != "*" and (
            parts is None or not parts.scheme or not parts.netloc or value != f"{parts.scheme}://{parts.netloc}"
        ):
            raise InvalidInputError(field.name, value, 'origins such as "https://lab.example.org", or "*"')


def _check_hosts(_self: ProxyConfig, field: attrs.Attribute[tuple[str, ...]], values: tuple[str, ...]) -> None:
    for value in values:
        if not isinstance(value, str) or not _HOST.fullmatch(value):
            raise InvalidInputError(field.name, value, 'names of hosts without a port, such as "proxy.example.org"')


def _check_base_path(_self: ProxyConfig, field: attrs.Attribute[str], value: object) -> None:
    if not isinstance(value, str) or not _BASE_PATH.fullmatch(value):
        raise InvalidInputError(field.name, value, 'a path that begins and ends with "/", such as "/jupyter/"')


def _check_amount(_self: ProxyConfig, field: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InvalidInputError(field.name, value, "a number above 0")


@attrs.frozen(kw_only=True)
class ProxyConfig:
    """How a proxy is to be: who may come in, and how much of anything it takes.

    Raises:
        InvalidInputError: a value can't be used.
    """

    token: str | None = attrs.field(default=None, repr=False, validator=_check_token)
    """What front ends must show; None: a random one is made, which `Proxy.token` tells."""
    allow_anyone: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    """Ask for no token at all. Everybody who reaches the port can run code on the gateway."""
    allowed_origins: tuple[str, ...] = attrs.field(default=(), converter=_texts, validator=_check_origins)
    """Origins of other sites' pages that may use the proxy, such as `"https://lab.example.org"`; `"*"` for all, which
    lets them in with the token only, not with a browser's cookie."""
    allowed_hosts: tuple[str, ...] = attrs.field(default=(), converter=_texts, validator=_check_hosts)
    """Names by which the proxy may be called, beside `localhost` and addresses; without port."""
    base_path: str = attrs.field(default="/", validator=_check_base_path)
    """Where everything begins, with a slash at both ends."""
    max_body_size: int = attrs.field(default=1024 * 1024, validator=_check_amount)
    """The largest body of a request, in bytes."""
    max_message_size: int = attrs.field(default=64 * 1024 * 1024, validator=_check_amount)
    """The largest message from a front end to a kernel, in bytes."""
    max_channels: int = attrs.field(default=1000, validator=_check_amount)
    """How many WebSockets may be open at a time; one more is answered with 503."""
    body_seconds: float = attrs.field(default=30.0, validator=_check_amount)
    """How long the body of a request may take to come, in seconds."""
    header_seconds: float = attrs.field(default=10.0, validator=_check_amount)
    """How long a request's headers may take to come, and how long a connection may be idle between requests, in seconds."""

    def replace(self, **changes: Unpack[ProxySettings]) -> ProxyConfig:
        """Return a copy with these settings in place of its own.

        Raises:
            ConfigError: there is no setting of a name.
            InvalidInputError: a value can't be used.
        """
        given = hidden(changes)
        del changes
        names = [field.name for field in attrs.fields(ProxyConfig)]
        if unknown := [_unknown(name, names) for name in given if name not in names]:
            raise ConfigError(unknown)
        return attrs.evolve(self, **given)


class ProxySettings(TypedDict, total=False):
    """The settings of `ProxyConfig` as type checkers and editors see them, none required. A test holds them against it."""

    token: str | None
    allow_anyone: bool
    allowed_origins: str | Iterable[str]
    allowed_hosts: str | Iterable[str]
    base_path: str
    max_body_size: int
    max_message_size: int
    max_channels: int
    body_seconds: float
    header_seconds: float


def _unknown(name: str, names: list[str]) -> ConfigProblem:
    import difflib  # only for a typing error

    near = difflib.get_close_matches(name, names, n=1) or [known for known in names if name in known.split("_")]
    return ConfigProblem(name, None, " or ".join(near), unknown=True)


hide_arguments(ProxyConfig, hidden)
