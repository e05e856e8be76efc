"""The settings of one gateway: `values` reads one, `fields` says what one is, `config` is the class with all of them."""

from __future__ import annotations

from .config import WEBSOCKET_ENGINES, GatewayConfig, hidden_settings, settings_table
from .fields import SettingRow
from .gateways_file import gateways_file, read_file, readable_by_all
from .typed import FleetSettings, GatewaySettings, HubSettings, LocalSettings
from .values import header_name_problem, header_value_problem, holds_pem
from .values import hidden_url as shown_url
from .variables import unknown_variables

__all__ = [
    "WEBSOCKET_ENGINES",
    "FleetSettings",
    "GatewayConfig",
    "GatewaySettings",
    "HubSettings",
    "LocalSettings",
    "SettingRow",
    "gateways_file",
    "header_name_problem",
    "header_value_problem",
    "hidden_settings",
    "holds_pem",
    "read_file",
    "readable_by_all",
    "settings_table",
    "shown_url",
    "unknown_variables",
]
