"""The settings as type checkers and editors see them, where functions take them by name. Tests hold them against `GatewayConfig`.

What each means stands there; nothing is checked here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from .._tokens import TokenRenewer

__all__ = ["FleetSettings", "GatewaySettings", "HubSettings", "LocalSettings"]


class LocalSettings(TypedDict, total=False):
    """The settings that `open_local_gateway` takes: all but those that say where the gateway is, and its token."""

    kernels_endpoint: str
    kernelspecs_endpoint: str
    kernelspecs_resource_endpoint: str
    connect_timeout: float
    request_timeout: float
    client_key: str | os.PathLike[str] | None
    client_cert: str | os.PathLike[str] | None
    ca_certs: str | os.PathLike[str] | None
    http_user: str | None
    http_pwd: str | None
    headers: Mapping[str, str] | str
    auth_header_key: str
    auth_scheme: str | None
    validate_cert: bool
    allowed_envs: Iterable[str] | str
    gateway_retry_interval: float
    gateway_retry_interval_max: float
    gateway_retry_max: int
    gateway_token_renewer_class: str | type[TokenRenewer]
    launch_timeout_pad: float
    accept_cookies: bool
    reconnect_timeout: float
    max_request_retries: int
    launch_timeout: float
    kernel_username: str | None
    token_renewer: TokenRenewer | None
    handshake_timeout: float
    max_message_size: int
    max_response_size: int
    max_connections: int
    reconnects_at_once: int
    ping_interval: float
    unresponsive_timeout: float
    cleanup_timeout: float
    interrupt_timeout: float
    idle_grace: float
    buffer_messages: int
    buffer_bytes: int
    max_output_bytes: int
    websocket_engine: str


class HubSettings(LocalSettings, total=False):
    """The settings that `open_hub` takes: all but those that say where the server is; its token is the hub's."""

    token_command: Sequence[str] | str | None
    token_command_timeout: float


class FleetSettings(HubSettings, total=False):
    """The settings that `open_fleet` takes, for all of its gateways: all but those that say where one is."""

    auth_token: str | None


class GatewaySettings(FleetSettings, total=False):
    """All settings of `GatewayConfig`, none of them required: for functions of yours that pass settings on.

    Example::

        def open_mine(**settings: Unpack[GatewaySettings]) -> AbstractAsyncContextManager[Gateway]:
            return open_gateway("https://gateway.example.org", **settings)
    """

    url: str | Sequence[str] | None
    ws_url: str | Sequence[str] | None
