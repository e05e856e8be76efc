"""All settings of one gateway as one frozen value, with where each came from.

The one idea: an attribute's field says its variable, its reader and whether it is secret; checking, `from_env`, `repr`,
`describe` and the table in the docs all follow from that. What one value must be stands in `values`; nothing is applied here.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import itertools
import math
import os
import shutil
import warnings
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Unpack, cast

import attrs

from .._errors import ConfigError, ConfigProblem, InvalidInputError
from .._secret import Secret, SecretBytes, Unshown, hide_arguments, hide_values
from .._tokens import NoOpTokenRenewer, TokenRenewer
from . import values
from .fields import Given, Setting, SettingRow, masked, number, readable, setting, setting_of, whole
from .gateways_file import REFERENCES, gateways_file, read_entry
from .typed import GatewaySettings
from .values import BadValue

__all__ = ["WEBSOCKET_ENGINES", "GatewayConfig", "SettingRow", "hidden_settings", "settings_table", "settings_variables"]

WEBSOCKET_ENGINES = ("auto", "fast", "trio-websocket")
"""What the setting `websocket_engine` may be."""

_ALLOWED_ENVS_OLD = "JUPYTER_GATEWAY_ENV_WHITELIST"
# The default's name since there are gateway clients: known here, so that nobody needs jupyter_server for it.
_NO_OP_RENEWER = "jupyter_server.gateway.gateway_client.NoOpTokenRenewer"
_MEBI = 1024 * 1024


def _as_headers(given: Mapping[str, str] | str) -> Mapping[str, str]:
    return cast("Mapping[str, str]", given)


def _as_names(given: Iterable[str] | str) -> tuple[str, ...]:
    return cast("tuple[str, ...]", given)


def _as_token(given: str | None) -> str:
    return cast("str", given)


def _as_url(given: str | Sequence[str]) -> str:
    return cast("str", given)


def _as_ws_url(given: str | Sequence[str] | None) -> str | None:
    return cast("str | None", given)


def _as_command(given: Sequence[str] | str | None) -> tuple[str, ...] | None:
    return cast("tuple[str, ...] | None", given)


def _as_path(given: str | os.PathLike[str] | None) -> str | None:
    return cast("str | None", given)


@attrs.frozen(kw_only=True, repr=False)
class GatewayConfig:
    """All settings of one gateway, checked. It never changes; one program may have as many as it likes.

    Names, defaults and variables are those of `jupyter_server.gateway`, where it has the setting. The class itself reads no
    environment; `from_env` does. Limits are in seconds, and `math.inf` switches one off where it says so; sizes are in bytes.

    Raises:
        ConfigError: one or more settings are wrong; it tells all of them.
    """

    url: str = attrs.field(converter=_as_url, metadata=setting(values.as_it_is, "JUPYTER_GATEWAY_URL", url=True))
    """The gateway's base URL, `http` or `https`, with its path. User name and password in it go to `http_user` and `http_pwd`.
    Of a gateway with several addresses all of them: a list, or a text with commas between them, all `http` or all `https`."""
    ws_url: str | None = attrs.field(
        default=None,
        converter=_as_ws_url,
        metadata=setting(values.optional(values.websocket_urls), "JUPYTER_GATEWAY_WS_URL", url=True, bound=True),
    )
    """The base URL for WebSockets, `ws` or `wss`; without it, `url` with `ws` in place of `http`. Where `url` has several
    addresses, one for each, in the same order."""
    kernels_endpoint: str = attrs.field(
        default="/api/kernels", metadata=setting(values.base_path, "JUPYTER_GATEWAY_KERNELS_ENDPOINT")
    )
    """The path of the kernels, joined to `url`."""
    kernelspecs_endpoint: str = attrs.field(
        default="/api/kernelspecs", metadata=setting(values.base_path, "JUPYTER_GATEWAY_KERNELSPECS_ENDPOINT")
    )
    """The path of the kernelspecs, joined to `url`."""
    kernelspecs_resource_endpoint: str = attrs.field(
        default="/kernelspecs", metadata=setting(values.base_path, "JUPYTER_GATEWAY_KERNELSPECS_RESOURCE_ENDPOINT")
    )
    """The path of the kernelspecs' files, joined to `url`."""
    connect_timeout: float = attrs.field(default=40.0, metadata=number("JUPYTER_GATEWAY_CONNECT_TIMEOUT", infinite=True))
    """Seconds to make a connection, TLS included; `inf` for no limit. The addresses of `url` share it: of two, each gets half."""
    request_timeout: float = attrs.field(default=42.0, metadata=number("JUPYTER_GATEWAY_REQUEST_TIMEOUT", infinite=True))
    """Seconds for one HTTP request; to start a kernel, at least `launch_timeout` + `launch_timeout_pad`; `inf` for no limit."""
    client_key: str | None = attrs.field(
        default=None,
        converter=_as_path,
        metadata=setting(values.optional(values.existing_file), "JUPYTER_GATEWAY_CLIENT_KEY", bound=True),
    )
    """The file with the private key of `client_cert`; not needed where that file holds it."""
    client_cert: str | None = attrs.field(
        default=None,
        converter=_as_path,
        metadata=setting(values.optional(values.existing_file), "JUPYTER_GATEWAY_CLIENT_CERT", bound=True),
    )
    """The file with the client's TLS certificate, in PEM."""
    ca_certs: str | None = attrs.field(
        default=None,
        converter=_as_path,
        metadata=setting(values.optional(values.existing_file_or_directory), "JUPYTER_GATEWAY_CA_CERTS"),
    )
    """A file, or a directory, of CA certificates to trust instead of the system's."""
    http_user: str | None = attrs.field(
        default=None,
        metadata=setting(values.optional(values.credential(colon=False)), "JUPYTER_GATEWAY_HTTP_USER", secret=True, bound=True),
    )
    """The user name for HTTP basic authentication."""
    http_pwd: str | None = attrs.field(
        default=None,
        metadata=setting(values.optional(values.credential(colon=True)), "JUPYTER_GATEWAY_HTTP_PWD", secret=True, bound=True),
    )
    """The password for HTTP basic authentication."""
    headers: Mapping[str, str] = attrs.field(
        default=MappingProxyType({}),
        converter=_as_headers,
        hash=False,
        metadata=setting(values.headers, "JUPYTER_GATEWAY_HEADERS", secret=True, bound=True),
    )
    """More headers for each request and handshake: a mapping, or the text of a JSON object. They beat what we would send."""
    auth_header_key: str = attrs.field(
        default="Authorization", metadata=setting(values.header_name, "JUPYTER_GATEWAY_AUTH_HEADER_KEY")
    )
    """The header that carries the token."""
    auth_token: str = attrs.field(
        default="",
        converter=_as_token,
        metadata=setting(values.token, "JUPYTER_GATEWAY_AUTH_TOKEN", secret=True, bound=True),
    )
    """The token; without one no such header is sent."""
    auth_scheme: str | None = attrs.field(
        default="token",
        metadata=setting(values.scheme, "JUPYTER_GATEWAY_AUTH_SCHEME", values.scheme_in_text, empty_counts=True),
    )
    """What stands before the token in its header; with None, or set to nothing in the environment, the token stands alone."""
    validate_cert: bool = attrs.field(
        default=True, metadata=setting(values.boolean, "JUPYTER_GATEWAY_VALIDATE_CERT", values.boolean_in_text, bound=True)
    )
    """Whether the gateway must show a valid TLS certificate."""
    allowed_envs: tuple[str, ...] = attrs.field(
        default=(), converter=_as_names, metadata=setting(values.names, "JUPYTER_GATEWAY_ALLOWED_ENVS", empty_counts=True)
    )
    """Names of environment variables that go along to a kernel that starts; with commas between them in the environment.
    `KERNEL_*` stands for all that begin so: what Enterprise Gateway makes a kernel by."""
    gateway_retry_interval: float = attrs.field(default=1.0, metadata=number("JUPYTER_GATEWAY_RETRY_INTERVAL", zero=True))
    """Seconds before the first new attempt after a lost connection; doubled for each that follows."""
    gateway_retry_interval_max: float = attrs.field(
        default=30.0, metadata=number("JUPYTER_GATEWAY_RETRY_INTERVAL_MAX", zero=True)
    )
    """The longest of these pauses, in seconds."""
    gateway_retry_max: int = attrs.field(default=5, metadata=whole("attempts", 0, "JUPYTER_GATEWAY_RETRY_MAX"))
    """How many attempts in a row are made to reconnect a kernel's WebSocket until something comes over it; 0 for none."""
    gateway_token_renewer_class: str | type[TokenRenewer] = attrs.field(
        default=_NO_OP_RENEWER,
        metadata=setting(values.renewer_class, "JUPYTER_GATEWAY_TOKEN_RENEWER_CLASS", bound=True),
    )
    """The class that gives the token before each request, or its dotted name. The default keeps the token."""
    launch_timeout_pad: float = attrs.field(default=2.0, metadata=number("JUPYTER_GATEWAY_LAUNCH_TIMEOUT_PAD", zero=True))
    """Seconds that a start request may take beyond `launch_timeout`."""
    accept_cookies: bool = attrs.field(
        default=False, metadata=setting(values.boolean, "JUPYTER_GATEWAY_ACCEPT_COOKIES", values.boolean_in_text)
    )
    """Whether cookies of the gateway, or of a load balancer before it, are kept and sent back."""

    reconnect_timeout: float = attrs.field(default=120.0, metadata=number("JUPYTER_GATEWAY_RECONNECT_TIMEOUT", infinite=True))
    """Seconds for which a kernel's session tries to reconnect, all attempts and pauses together; `inf` for no limit."""
    max_request_retries: int = attrs.field(default=2, metadata=whole("attempts", 0, "JUPYTER_GATEWAY_MAX_REQUEST_RETRIES"))
    """How many more attempts a failed HTTP request gets, where repeating it is safe; 0 for none."""
    launch_timeout: float = attrs.field(default=40.0, metadata=number("KERNEL_LAUNCH_TIMEOUT"))
    """Seconds that the gateway may take to launch a kernel."""
    kernel_username: str | None = attrs.field(
        default=None, metadata=setting(values.optional(values.plain_text), "KERNEL_USERNAME")
    )
    """The user for whom kernels start and kernelspecs are listed, where the gateway distinguishes users."""

    token_renewer: TokenRenewer | None = attrs.field(default=None, hash=False, metadata=setting(values.optional(values.renewer)))
    """The object that gives the token before each request; beats `gateway_token_renewer_class`."""
    token_command: tuple[str, ...] | None = attrs.field(
        default=None,
        converter=_as_command,
        metadata=setting(values.optional(values.command), "JUPYTER_GATEWAY_TOKEN_COMMAND", secret=True, command=True, bound=True),
    )
    """The command that prints the token: a list of its arguments, or text that is split as a shell would. It runs where there
    is no token yet, and when the gateway refuses the one there is; without a shell, a terminal and standard input."""
    token_command_timeout: float = attrs.field(
        default=30.0, metadata=number("JUPYTER_GATEWAY_TOKEN_COMMAND_TIMEOUT", infinite=True)
    )
    """Seconds that `token_command` may take; `inf` for no limit."""
    handshake_timeout: float = attrs.field(default=75.0, metadata=number(infinite=True))
    """Seconds for a WebSocket handshake, which a gateway withholds for up to 60 s while a kernel comes up; `inf` for no limit.
    Less than that cuts some off, and a Kernel Gateway then keeps nothing any more of what that kernel's sessions miss."""
    max_message_size: int = attrs.field(default=256 * _MEBI, metadata=whole("bytes", 1))
    """The largest WebSocket message to accept, in bytes."""
    max_response_size: int = attrs.field(default=64 * _MEBI, metadata=whole("bytes", 1))
    """The largest HTTP body to accept, in bytes."""
    max_connections: int = attrs.field(default=100, metadata=whole("connections", 1))
    """How many HTTP connections may be open at a time; WebSockets do not count."""
    reconnects_at_once: int = attrs.field(default=16, metadata=whole("kernels", 1))
    """How many kernels' sessions reconnect at the same time, so that a gateway that has just come back is not buried; the others
    wait, first come, first served. One that has no answer after 5 seconds holds up nobody any more."""
    ping_interval: float = attrs.field(default=20.0, metadata=number(infinite=True))
    """Seconds between WebSocket pings; `inf` for none."""
    unresponsive_timeout: float = attrs.field(
        default=math.inf, metadata=number("JUPYTER_GATEWAY_UNRESPONSIVE_TIMEOUT", infinite=True)
    )
    """Seconds for which a kernel may leave a question unanswered that it used to answer while code ran; then what waits for it
    fails with `KernelUnresponsiveError`. It is asked after `ping_interval` of silence. `inf` for no limit: code in C that holds
    the interpreter's lock looks the same as a host that is down."""
    cleanup_timeout: float = attrs.field(default=30.0, metadata=number())
    """Seconds to shut a kernel down when its block ends."""
    interrupt_timeout: float = attrs.field(default=10.0, metadata=number(zero=True))
    """Seconds to wait until an interrupted kernel is idle; 0 to not wait."""
    idle_grace: float = attrs.field(default=5.0, metadata=number(zero=True))
    """Seconds to wait for a kernel's `idle` after its reply; 0 to not wait."""
    buffer_messages: int = attrs.field(default=10_000, metadata=whole("messages", 1))
    """How many messages one stream keeps for a reader that is slow."""
    buffer_bytes: int = attrs.field(default=64 * _MEBI, metadata=whole("bytes", 1))
    """How many bytes of messages one stream keeps for a reader that is slow."""
    max_output_bytes: int = attrs.field(default=1024 * _MEBI, metadata=whole("bytes", 1))
    """The most output that one `execute` collects, in bytes; more is dropped, and counted in `output_gaps`."""
    websocket_engine: str = attrs.field(default="auto", metadata=setting(values.one_of(*WEBSOCKET_ENGINES)))
    """What speaks the WebSocket protocol: `"fast"`, an engine of this library; `"trio-websocket"`; or `"auto"`, the fast one
    where the extra `fast` is installed."""

    _given: Mapping[str, Given] = attrs.field(factory=dict[str, Given], alias="_given", eq=False)
    _ignored: tuple[str, ...] = attrs.field(default=(), alias="_ignored", eq=False)
    _addresses: tuple[str, ...] = attrs.field(init=False, default=(), eq=False)
    _ws_addresses: tuple[str, ...] = attrs.field(init=False, default=(), eq=False)

    def __attrs_post_init__(self) -> None:
        raws = {name: self._raw(name) for name in _SETTINGS}
        problems: list[ConfigProblem] = []
        ignored = list(self._ignored)
        self._take_url_apart(raws, problems, ignored)
        found: dict[str, Any] = {}
        for name, entry in _SETTINGS.items():
            given = raws[name]
            try:
                found[name] = entry.reader(entry.value_of(given))
            except BadValue as error:
                problems.append(_problem(name, given, str(error)))
        problems += _conflicts(found, raws)
        if problems:
            raise ConfigError(problems)
        for name, value in found.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_addresses", tuple(one.url for one in values.addresses(self.url)))
        object.__setattr__(self, "_ws_addresses", self._find_ws_addresses())
        kept = {name: attrs.evolve(given, value=found[name]) for name, given in raws.items() if given.source != "default"}
        object.__setattr__(self, "_given", MappingProxyType(kept))
        object.__setattr__(self, "_ignored", tuple(ignored))

    def _find_ws_addresses(self) -> tuple[str, ...]:
        if self.ws_url is None:
            return tuple("ws" + url.removeprefix("http") for url in self._addresses)
        return tuple(one.url for one in values.addresses(self.ws_url, ("ws", "wss")))

    def _raw(self, name: str) -> Given:
        value = getattr(self, name)
        given = self._given.get(name)
        if given is not None and given.value is value:
            return given
        default = _default(name)
        # The type first: 0 equals False, and foreign types may compare in any way.
        if type(value) is type(default) and value == default:
            return Given("default", default)
        return Given("argument", value)

    def _take_url_apart(self, raws: dict[str, Given], problems: list[ConfigProblem], ignored: list[str]) -> None:
        given = raws["url"]
        try:
            if given.value is None or given.value == "":
                raise BadValue(
                    "the gateway's URL, such as http://127.0.0.1:8888, as url or in JUPYTER_GATEWAY_URL; "
                    "without a gateway, open_local_gateway() starts one"
                )
            addresses = values.addresses(given.value)
            logins = {(one.user, one.password): None for one in addresses if one.user is not None}
            if len(logins) > 1:
                raise BadValue("one user name and password for all addresses, in each URL or in one: they are one gateway's")
        except BadValue as error:
            problems.append(_problem("url", given, str(error)))
            return
        url = ",".join(one.url for one in addresses)
        raws["url"] = attrs.evolve(given, value=url)
        user, password = next(iter(logins), (None, None))

        before = self._given.get("url")
        # replace() or attrs.evolve() may have put another one in the place of the one on record.
        if before is not None and before.value is not given.value and (before.value, None) != (url, user):
            moved = not {one.origin for one in addresses} <= values.origins_of(before.value)
            for name, entry in _SETTINGS.items():
                old = raws[name]
                if old.from_url or (moved and entry.bound and old.from_env):
                    raws[name] = Given("default", _default(name))
                    if not old.from_url:
                        ignored.append(old.source)

        if user is not None:
            level = max((_level(raws[name]) for name in ("http_user", "http_pwd") if raws[name].value is not None), default=0)
            pair = {"http_user": user, "http_pwd": password}
            if level < _level(given):
                for name, value in pair.items():
                    raws[name] = Given(given.source, value, from_url=True)
            elif level == _level(given) and any(raws[name].value != value for name, value in pair.items()):
                problems.append(_problem("url", given, "a URL without user name and password beside http_user and http_pwd"))

    # ------------------------------------------------------------------------------------------------------ making one

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **arguments: Unpack[GatewaySettings]) -> GatewayConfig:
        """Make a configuration from the environment and from arguments.

        An argument beats its variable, which beats the default. A variable that is set and empty counts as not set, except
        that an empty `JUPYTER_GATEWAY_AUTH_SCHEME` means a token without scheme.

        **Which gateway the environment is about:** when `url` is an argument and the environment names another gateway (another
        scheme, host or port in `JUPYTER_GATEWAY_URL`, or without that in `JUPYTER_GATEWAY_WS_URL`; of several addresses, one that
        is not among the environment's is enough), then what the environment has
        to log in there is not sent here: its token and token renewer, user name and password, headers, client certificate and key
        stay unused, and so do its `JUPYTER_GATEWAY_WS_URL` and `JUPYTER_GATEWAY_VALIDATE_CERT`. `ignored_variables` names those
        that were set.

        Args:
            environ: the environment; `os.environ` when it is None, which is read in no other case.
            **arguments: settings by name. `url=None` counts as not given.

        Raises:
            ConfigError: one or more settings are wrong, or there is no setting of this name; it tells all of them.

        Warns:
            DeprecationWarning: `JUPYTER_GATEWAY_ENV_WHITELIST` is used, in the absence of `JUPYTER_GATEWAY_ALLOWED_ENVS`.
        """
        environ = Unshown(os.environ if environ is None else environ)
        named = hidden_settings(arguments)
        del arguments
        given: dict[str, Given] = {}
        elsewhere = named.get("url") is not None and not _same_gateway(named["url"], environ)
        ignored: list[str] = []
        for name, entry in _SETTINGS.items():
            if name in named and not (name == "url" and named[name] is None):
                given[name] = Given("argument", named[name])
                continue
            variable = _variable_in(environ, name, entry)
            if variable is None:
                continue
            if elsewhere and entry.bound:
                ignored.append(variable)
                continue
            if variable == _ALLOWED_ENVS_OLD:
                warnings.warn(f"{variable} is deprecated: set {entry.variable} instead", DeprecationWarning, stacklevel=2)
            given[name] = Given(variable, _hidden(name, environ[variable]))
        settings = {name: value.value for name, value in given.items()}
        settings |= {name: value for name, value in named.items() if name not in _SETTINGS}
        return cls._checked(settings, given, tuple(ignored))

    @classmethod
    def from_file(
        cls,
        gateway: str,
        *,
        file: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
        **arguments: Unpack[GatewaySettings],
    ) -> GatewayConfig:
        """Make a configuration of a gateway that has a name in a file, in TOML.

        Below a line `[prod]` stand the settings of the gateway `prod`, each by its name. No secret stands there: `token_env`
        names the variable that holds the token, `token_file` the file, and `token_command` is the setting; `http_pwd_env`,
        `http_pwd_file`, `headers_env` and `headers_file` likewise. Paths are relative to the file's folder.

        An argument beats the file, which beats the variables, which beat the defaults. Of the variables those are left out that
        are about one gateway: its address, and what logs in. `ignored_variables` names those that were set.

        Args:
            gateway: the gateway's name.
            file: the file; None for `trio-gateway/gateways.toml` in the user's folder of configurations (`$XDG_CONFIG_HOME` or
                `~/.config`, `~/Library/Application Support` on macOS, `%APPDATA%` on Windows), or what the variable
                `TRIO_GATEWAY_FILE` names.
            environ: the environment; `os.environ` when it is None.
            **arguments: settings by name, without `url`.

        Raises:
            ConfigError: one or more settings are wrong, or there is no setting of this name; it tells all of them.
            InvalidInputError: the file can't be used, or has no gateway of this name.

        Warns:
            UserWarning: everybody on this machine can read a file with a secret, or write the file with a command.
        """
        environ = Unshown(os.environ if environ is None else environ)
        named = hidden_settings(arguments)
        del arguments
        entry = read_entry(gateway, gateways_file(environ) if file is None else Path(file), environ)
        for warning in entry.warnings:
            warnings.warn(warning, UserWarning, stacklevel=2)
        problems = list(entry.problems)
        if named.pop("url", None) is not None:
            problems.append(ConfigProblem("url", None, f"no url beside a gateway's name: {entry.source}url says it"))
        known = (*_SETTINGS, *REFERENCES)
        problems += [_unknown(key, known, f"{entry.source}{key}") for key in entry.unknown if key not in _SETTINGS]
        given: dict[str, Given] = {}
        ignored: list[str] = []
        for name, setting_ in _SETTINGS.items():
            variable = _variable_in(environ, name, setting_)
            if name in named:
                given[name] = Given("argument", named[name])
            elif name in entry.settings:
                key, value = entry.settings[name]
                given[name] = Given(f"{entry.source}{key}", _hidden(name, value), is_text=False)
            elif variable is not None and setting_.bound:
                ignored.append(variable)
            elif variable is not None and name != "url":
                given[name] = Given(variable, _hidden(name, environ[variable]))
        settings = {name: value.value for name, value in given.items()}
        settings |= {name: value for name, value in named.items() if name not in _SETTINGS}
        return cls._checked(settings, given, tuple(ignored), problems)

    @staticmethod
    def is_configured(environ: Mapping[str, str] | None = None) -> bool:
        """Tell whether the environment names a gateway.

        Args:
            environ: the environment; `os.environ` when it is None.
        """
        environ = os.environ if environ is None else environ
        return bool(environ.get("JUPYTER_GATEWAY_URL", "").strip())

    def replace(self, **changes: Unpack[GatewaySettings]) -> GatewayConfig:
        """Make a configuration that differs in some settings, and check it again.

        With a `url` of another scheme, host or port, what the environment gave to log in goes away as in `from_env`; with any
        other `url`, so do user name and password of the old one. What came as an argument stays. `attrs.evolve` does the same.

        Args:
            **changes: settings by name.

        Raises:
            ConfigError: one or more settings are wrong, or there is no setting of this name; it tells all of them.
        """
        changes = cast("GatewaySettings", hidden_settings(changes))
        # The old url stays on record: that is how the new one is recognised as new.
        given = dict(self._given) | {name: Given("argument", value) for name, value in changes.items() if name != "url"}
        settings = {name: getattr(self, name) for name in _SETTINGS} | changes
        return self._checked(settings, given, self._ignored)

    @classmethod
    def _checked(
        cls,
        settings: Mapping[str, Any],
        given: Mapping[str, Given],
        ignored: tuple[str, ...],
        problems: Iterable[ConfigProblem] = (),
    ) -> GatewayConfig:
        unknown = [*problems, *[_unknown(name, _SETTINGS) for name in settings if name not in _SETTINGS]]
        known = {name: value for name, value in settings.items() if name in _SETTINGS}
        known.setdefault("url", None)
        try:
            config = cls(**known, _given=given, _ignored=ignored)
        except ConfigError as error:
            problems = [*unknown, *error.problems]
        else:
            if not unknown:
                return config
            problems = unknown
        raise ConfigError(problems)

    # -------------------------------------------------------------------------------------------------------- using one

    @property
    def addresses(self) -> tuple[str, ...]:
        """The base URL of each address in `url`, most often of one; without "/" at their ends."""
        return self._addresses

    @property
    def ws_addresses(self) -> tuple[str, ...]:
        """The base URL for WebSockets of each address, in the same order."""
        return self._ws_addresses

    @property
    def base_url(self) -> str:
        """The gateway's base URL, without "/" at its end; case and segments of its path as they were given. That of its first
        address, which stands for the gateway, where it has several.
        """
        return self._addresses[0]

    @property
    def ws_base_url(self) -> str:
        """The base URL for WebSockets, without "/" at its end: `ws_url`, or else `url` with `ws` in place of `http`. That of the
        first address where there are several.
        """
        return self._ws_addresses[0]

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host in lower case and port of the first address: a server that our credentials are for, as those of the other
        addresses are.
        """
        return values.split_url(self.base_url).origin

    def http_url(self, path: str, address: int = 0) -> str:
        """Join a path to the base URL.

        Args:
            path: an escaped path that begins with "/"; a query may follow it.
            address: to that of which of `addresses`, from 0.

        Raises:
            InvalidInputError: the path does not begin with "/".
        """
        return self._addresses[address] + _checked_path(path)

    def websocket_url(self, path: str, address: int = 0) -> str:
        """Join a path to the base URL for WebSockets.

        Args:
            path: an escaped path that begins with "/"; a query may follow it.
            address: to that of which of `ws_addresses`, from 0.

        Raises:
            InvalidInputError: the path does not begin with "/".
        """
        return self._ws_addresses[address] + _checked_path(path)

    def request_timeout_for(self, launch_timeout: float | None = None) -> float:
        """Tell how long a request that starts a kernel may take: never shorter than the launch and its pad.

        Args:
            launch_timeout: the limit of this launch in seconds; `launch_timeout` of the configuration when it is None.

        Returns:
            Seconds; infinity for no limit.

        Raises:
            InvalidInputError: the limit is no finite number of seconds above 0.
        """
        try:
            limit: float = _SETTINGS["launch_timeout"].reader(self.launch_timeout if launch_timeout is None else launch_timeout)
        except BadValue as error:
            raise InvalidInputError("launch_timeout", launch_timeout, str(error)) from None
        return max(self.request_timeout, limit + self.launch_timeout_pad)

    def auth_headers(self, token: str | None = None) -> tuple[tuple[str, str], ...]:
        """Give the headers that log in, without those in `headers`, which beat them.

        Args:
            token: the token to use, such as a renewed one; `auth_token` when it is None.

        Returns:
            Names and values, secret; empty where there is nothing to log in with.
        """
        token = self.auth_token if token is None else token
        found: list[tuple[str, str]] = []
        if self.http_user is not None:
            pair = SecretBytes(f"{self.http_user}:{self.http_pwd or ''}".encode())
            found.append(("Authorization", Secret(f"Basic {b64encode(pair).decode('ascii')}")))
        if token:
            value = Secret.of(token if self.auth_scheme is None else f"{self.auth_scheme} {token}")
            found.append((self.auth_header_key, value))
        own = {name.lower() for name in self.headers}
        return tuple((name, value) for name, value in found if name.lower() not in own)

    def load_token_renewer(self) -> TokenRenewer:
        """Give `token_renewer`, or import `gateway_token_renewer_class` and make one, anew at each call.

        Raises:
            ConfigError: the class can't be imported or made, or it has no method `get_token`.
        """
        if self.token_renewer is not None:
            return self.token_renewer
        named = self.gateway_token_renewer_class
        if named == _NO_OP_RENEWER:
            return NoOpTokenRenewer()
        try:
            made = named() if isinstance(named, type) else _import_class(named)()
            return values.renewer(made)
        except Exception as error:  # whatever a foreign module raises, the setting that names it is wrong
            expected = "a class that can be imported and made without arguments, with a method get_token"
            if not isinstance(error, BadValue):
                expected += f"; {type(error).__name__} was raised"  # its text may tell anything
            given = self._given.get("gateway_token_renewer_class", Given("default", named))
            raise ConfigError([_problem("gateway_token_renewer_class", given, expected)]) from error

    def find_token_command(self) -> tuple[str, ...] | None:
        """Give `token_command` with the path of its program, looked for as a shell does; None where there is no such setting.

        Raises:
            ConfigError: there is no such program.
        """
        if self.token_command is None:
            return None
        program, arguments = str(self.token_command[0]), self.token_command[1:]
        found = shutil.which(program)
        if found is None:
            given = self._given.get("token_command", Given("default", self.token_command))
            expected = f"a command whose program is there; {program[:120]!r} is no program in PATH, and no path of one"
            raise ConfigError([_problem("token_command", given, expected)])
        return (found, *arguments)

    # ----------------------------------------------------------------------------------------------------- showing one

    @property
    def sources(self) -> Mapping[str, str]:
        """Where each setting's value came from: `"argument"`, an environment variable's name, or `"default"`.

        A user name and password that stood in the URL have the URL's source.
        """
        return MappingProxyType({name: self._given[name].source if name in self._given else "default" for name in _SETTINGS})

    @property
    def ignored_variables(self) -> tuple[str, ...]:
        """Environment variables that were set and not used, because they are meant for another gateway than `url`."""
        return self._ignored

    def describe(self) -> tuple[SettingRow, ...]:
        """Give every setting as a person reads it, secrets masked, in the order of the class."""
        sources = self.sources
        return tuple(
            SettingRow(
                name=name,
                variable=entry.variable,
                value=readable(entry, getattr(self, name)),
                source=sources[name],
                default=_readable_default(name),
                help=_help().get(name, ""),
            )
            for name, entry in _SETTINGS.items()
        )

    def __repr__(self) -> str:
        parts = [f"{name}={masked(_SETTINGS[name], getattr(self, name))}" for name in _SETTINGS if name in self._given]
        return f"{type(self).__name__}({', '.join(parts)})"


def hidden_settings(settings: Mapping[str, Any], *, but: Collection[str] = ()) -> dict[str, Any]:
    """Return settings by name, in which what may be secret hides itself from tools that show a frame's locals.

    Each function that takes settings by name begins with this: what goes wrong later has its frame in the traceback.

    Args:
        settings: the settings, right or wrong.
        but: names of other arguments, which hold no secrets.
    """
    return {name: value if name in but else _hidden(name, value) for name, value in settings.items()}


def _hidden(name: str, value: Any) -> Any:
    entry = _SETTINGS.get(name)
    # What is no setting may be one with a typing error in its name; in a URL there may be a password; and a file's path may be
    # the private key itself, by mistake.
    if entry is not None and not (entry.secret or entry.url):
        return Secret.of(value) if values.holds_pem(value) else value
    if isinstance(value, str):
        return Secret.of(value) if value and (entry is None or entry.secret or "@" in value) else value
    if isinstance(value, (list, tuple)):
        given = cast("Sequence[object]", value)
        hidden = [_hidden(name, one) if isinstance(one, str) else one for one in given]
        return value if all(one is other for one, other in zip(given, hidden, strict=True)) else hidden
    return hide_values(value)


_SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {field.name: found for field in attrs.fields(GatewayConfig) if (found := setting_of(field)) is not None}
)
_DEFAULTS: Mapping[str, Any] = MappingProxyType({name: getattr(attrs.fields(GatewayConfig), name).default for name in _SETTINGS})


hide_arguments(GatewayConfig, hidden_settings)


def _default(name: str) -> Any:
    return _DEFAULTS[name]


# -------------------------------------------------------------------------------------------------------------- reading


def settings_variables() -> frozenset[str]:
    """Return the names of all variables that a setting is read from."""
    return frozenset([_ALLOWED_ENVS_OLD, *(entry.variable for entry in _SETTINGS.values() if entry.variable is not None)])


def _variable_in(environ: Mapping[str, str], name: str, entry: Setting) -> str | None:
    """The variable that says something about a setting, or None."""
    if entry.variable is None:
        return None
    text = environ.get(entry.variable)
    if text is not None and (entry.empty_counts or text.strip()):
        return entry.variable
    if name == "allowed_envs" and environ.get(_ALLOWED_ENVS_OLD, "").strip():
        return _ALLOWED_ENVS_OLD
    return None


def _same_gateway(url: object, environ: Mapping[str, str]) -> bool:
    """Whether the environment is about this URL's server: it names the same one, or none. Of several addresses, each must be."""
    named = environ.get("JUPYTER_GATEWAY_URL", "").strip() or environ.get("JUPYTER_GATEWAY_WS_URL", "").strip()
    if not named:
        return True
    servers = values.origins_of(url)
    return bool(servers) and servers <= values.origins_of(named)


def _level(given: Given) -> int:
    """Which of two that say the same thing wins."""
    return {"default": 0, "argument": 2}.get(given.source, 1)


def _conflicts(found: Mapping[str, Any], raws: Mapping[str, Given]) -> list[ConfigProblem]:
    """What is wrong between settings that are right by themselves."""
    problems: list[ConfigProblem] = []
    if found.get("client_key") is not None and found.get("client_cert", "wrong") is None:
        problems.append(_problem("client_key", raws["client_key"], "client_cert beside it, the certificate that this key is for"))
    if found.get("http_pwd") is not None and found.get("http_user", "wrong") is None:
        problems.append(_problem("http_pwd", raws["http_pwd"], "http_user beside it, the user whose password this is"))
    ws_url, url = found.get("ws_url"), found.get("url")
    if ws_url and url and len(values.addresses(ws_url, ("ws", "wss"))) != (count := len(values.addresses(url))):
        problems.append(_problem("ws_url", raws["ws_url"], f"as many URLs as url has addresses, {count}, in the same order"))
    if (
        found.get("http_user") is not None
        and found.get("auth_header_key", "").lower() == "authorization"
        and "authorization" not in {name.lower() for name in found.get("headers", ())}
    ):
        for name, nothing in (("auth_token", '""'), ("token_command", "None")):
            if found.get(name):
                expected = (
                    f"only one of {name} and http_user, since both fill the header Authorization"
                    f" (the argument {name}={nothing} or http_user=None, http_pwd=None takes away what the environment has)"
                )
                problems.append(_problem(name, raws[name], expected))
    renewer = next((name for name in ("token_renewer", "gateway_token_renewer_class") if found.get(name) != _default(name)), None)
    if found.get("token_command") is not None and renewer in found:
        expected = f"only one of token_command and {renewer}, since each says where tokens come from"
        problems.append(_problem("token_command", raws["token_command"], expected))
    return problems


def _problem(name: str, given: Given, expected: str) -> ConfigProblem:
    entry = _SETTINGS[name]
    secret = entry.secret or values.holds_pem(given.value)
    return ConfigProblem(name, None if secret else masked(entry, given.value), expected, given.source)


def _unknown(name: str, known: Iterable[str], source: str = "argument") -> ConfigProblem:
    from .meant import meant

    *others, last = meant(name, known) or ("",)
    return ConfigProblem(name, None, f"{', '.join(others)} or {last}" if others else last, source, unknown=True)


def _checked_path(path: str) -> str:
    if not path.startswith("/"):
        raise InvalidInputError("path", path, 'an escaped path that begins with "/"')
    return path


def _import_class(dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    if not isinstance(found, type):
        raise TypeError(f"{dotted} is no class")
    return found


# -------------------------------------------------------------------------------------------------------------- showing


def _readable_default(name: str) -> str:
    default = _default(name)
    return "(required)" if default is attrs.NOTHING else readable(_SETTINGS[name], default)


@functools.cache
def _help() -> Mapping[str, str]:
    """The text below each attribute of the class: written once, where editors and the reference find it too.

    Empty where the source is not at hand.
    """
    try:
        body = cast("ast.ClassDef", ast.parse(inspect.getsource(GatewayConfig)).body[0]).body
    except (OSError, SyntaxError):
        return MappingProxyType({})
    found: dict[str, str] = {}
    for field, text in itertools.pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(content))):
                found[name] = inspect.cleandoc(content)
            case _:
                pass
    return MappingProxyType(found)


def settings_table() -> str:
    """Render all settings as a Markdown table, for the docs."""
    lines = ["| Setting | Variable | Default | What it does |", "|---|---|---|---|"]
    for name, entry in _SETTINGS.items():
        variable = f"`{entry.variable}`" if entry.variable else ""
        text = _help()[name].replace("|", "\\|").replace("\n", " ")
        lines.append(f"| `{name}` | {variable} | {_readable_default(name)} | {text} |")
    return "\n".join(lines) + "\n"
