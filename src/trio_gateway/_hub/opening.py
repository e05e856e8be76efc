"""`open_hub`: a JupyterHub user's server, opened as a gateway.

The one idea: the block of the server goes around the block of the gateway, and both share settings, listeners and renewer.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Unpack, cast

import trio

from .._config import GatewayConfig, HubSettings, hidden_settings
from .._errors import ConfigError, ConfigProblem, InvalidInputError
from .._gateway.gateway import Gateway, hidden_url, open_gateway
from .._gateway.listeners import Listeners, open_fan_out
from .._protocol.culling import CullPolicy
from .._protocol.hub import Owner, ServerName, hub_root
from .._secret import Secret, hide_values
from .._tokens import NoOpTokenRenewer
from .._transport.blocks import block, check_trio
from .._transport.connector import Connector, connect_tcp
from .._transport.http.client import open_http_client
from .api import HubApi
from .ownership import own_server

__all__ = ["find_hub_server", "open_hub"]


@block("open_hub")
@asynccontextmanager
async def open_hub(
    url: str,
    *,
    token: str | None = None,
    user: str | None = None,
    server: str = "",
    options: Mapping[str, Any] | None = None,
    startup_timeout: float = 300.0,
    connector: Connector | None = None,
    on_event: Listeners = None,
    session_database: str | os.PathLike[str] | None = None,
    cull: CullPolicy | None = None,
    **settings: Unpack[HubSettings],
) -> AsyncGenerator[Gateway]:
    """Open a JupyterHub user's server as a gateway: it is started if it does not run, and waited for.

    If this block has started it, it is stopped when the block ends, in whatever way, and its kernels with it; a server that ran
    before is left running, and so is one that somebody else has started since. Only who asks within the same moment as somebody
    else may take the other's start for this block's.

    The token takes the scopes `read:servers`, `start:servers`, `delete:servers` and `access:servers` for the user; a user's own
    token has them. It is sent to the hub's host, and to no other.

    Args:
        url: the hub's URL, with what stands before `/hub`.
        token: a token of the hub's; None for what the environment, `token_command` or the token renewer gives, which are asked
            for the hub's requests as for the server's.
        user: the user whose server it is; None for the one whose token it is.
        server: the name of a named server; `""` for the user's default one.
        options: what the hub's form of options would give its spawner, such as a profile.
        startup_timeout: how long it may take until the server is ready, in seconds, someone else's stop of it included.
        connector: opens byte streams in place of TCP, for tests and tunnels.
        on_event: gets what happens to the server as events of the kind `"hub"`, each step of its start among them (`"progress"`),
            and what `open_gateway` tells.
        session_database: the file in which `gateway.sessions` are kept; None for memory.
        cull: shut idle kernels down as long as the block lasts, by this policy.
        **settings: settings of `GatewayConfig` by name, for the hub and the server; they win over the environment.

    Yields:
        The user's server as a gateway, until the block ends.

    Raises:
        HubSpawnError: the hub could not start the server. The error has the hub's words.
        AuthenticationError: the hub does not know the token, or the token lacks a scope, which the error names.
        GatewayTimeoutError: the server was not ready within `startup_timeout`; or could not be stopped within `cleanup_timeout`.
        GatewayHTTPError: the hub refused the start, or has no such user.
        GatewayConnectionError: the hub can't be reached.
        ConfigError: one or more settings can't be used; all are named.
        InvalidInputError: another argument can't be used; or the hub's servers are on another host than the hub.
        SessionStoreError: the file of sessions is damaged.

    Cancellation: as for `open_gateway`. Waits, shielded and at most for `cleanup_timeout`, until a server that this block asked
        for is stopped, also in the middle of its start. What can't be shown to have ended is logged as `hub_server_may_be_left`.
    """
    check_trio("trio_gateway.open_hub")
    settings = cast("HubSettings", hidden_settings(settings))
    options = hide_values(options)
    _check(options, startup_timeout, cull, settings)
    config = _hub_config(url, token, settings)
    del token
    name = None if user is None else ServerName.checked(user, server)
    # One renewer for both: it may keep what it has asked for.
    renewer = config.load_token_renewer()
    shared: dict[str, Any] = {} if isinstance(renewer, NoOpTokenRenewer) else {"token_renewer": renewer}
    connect = connector or connect_tcp
    with open_fan_out(on_event) as fan_out:
        async with open_http_client(config.replace(**shared), connector=connect, emit=fan_out) as http:
            api = HubApi(http)
            owner = await api.owner()
            if name is None:
                name = _own_server(owner, server)
            async with own_server(api, name, options=options, limit=startup_timeout) as found:
                gateway = config.replace(url=api.server_url(name, found), **shared)
                async with open_gateway(
                    gateway, connector=connect, on_event=fan_out, session_database=session_database, cull=cull
                ) as opened:
                    yield opened


async def find_hub_server(
    url: str, *, token: str | None = None, user: str | None = None, server: str = "", **settings: Unpack[HubSettings]
) -> GatewayConfig:
    """Return the settings by which a user's server is reached, whether it runs or not. Nothing is started.

    The hub is asked for the user whose token it is, where no user is named, and else for nothing.

    Args:
        url: the hub's URL, with what stands before `/hub`.
        token: as for `open_hub`.
        user: as for `open_hub`.
        server: as for `open_hub`.
        **settings: as for `open_hub`.

    Raises:
        AuthenticationError: the hub does not know the token.
        GatewayConnectionError: the hub can't be reached.
        GatewayHTTPError: it is no hub, or refuses.
        GatewayTimeoutError: the hub does not answer.
        ConfigError: one or more settings can't be used.
        InvalidInputError: a name can't be used, or is missing because the token is a service's.

    Cancellation: safe.
    """
    config = _hub_config(url, token, cast("HubSettings", hidden_settings(settings)))
    del token
    if user is not None:
        name = ServerName.checked(user, server)
        await trio.lowlevel.checkpoint()
    else:
        async with open_http_client(config) as http:
            name = _own_server(await HubApi(http).owner(), server)
    return config.replace(url=config.base_url + name.url_path)


def _hub_config(url: str, token: str | None, settings: HubSettings) -> GatewayConfig:
    """Return the settings for requests to the hub itself.

    Raises:
        ConfigError: one or more can't be used.
    """
    address = hidden_url(hub_root(url) if isinstance(url, str) else url)
    given: dict[str, Any] = {} if token is None else {"auth_token": Secret.of(token)}
    config = GatewayConfig.from_env(url=address, ws_url=None, **given, **settings)
    if len(config.addresses) > 1:
        raise ConfigError([ConfigProblem("url", ",".join(config.addresses), "one URL: that of a hub")])
    return config


def _own_server(owner: Owner, server: str) -> ServerName:
    """Return the server of the user whose token it is.

    Raises:
        InvalidInputError: it is a service's; or the server's name can't be used.
    """
    if not owner.is_user:
        raise InvalidInputError("user", None, f"a user's name: the token is the service {owner.name!r}'s")
    return ServerName.checked(owner.name, server)


def _check(options: object, startup_timeout: object, cull: object, settings: Mapping[str, Any]) -> None:
    told = [name for name in ("url", "ws_url", "auth_token") if name in settings]
    if told:
        raise ConfigError([ConfigProblem(name, None, "nothing: url, token and user say it") for name in told])
    if options is not None and not isinstance(options, Mapping):
        raise InvalidInputError("options", type(options).__name__, "a mapping, or None")
    if isinstance(startup_timeout, bool) or not isinstance(startup_timeout, int | float) or not startup_timeout > 0:
        raise InvalidInputError("startup_timeout", startup_timeout, "a number of seconds above 0")
    if cull is not None and not isinstance(cull, CullPolicy):
        raise InvalidInputError("cull", cull, "a CullPolicy, or None")
