"""The settings of one gateway: `values` reads one, `fields` says what one is, `config` is the class with all of them."""

from __future__ import annotations

from .config import WEBSOCKET_ENGINES, GatewayConfig, hidden_settings, settings_table
from .fields import SettingRow
from .typed import GatewaySettings, LocalSettings
from .values import header_name_problem, header_value_problem, holds_pem
from .variables import unknown_variables

__all__ = [
    "WEBSOCKET_ENGINES",
    "GatewayConfig",
    "GatewaySettings",
    "LocalSettings",
    "SettingRow",
    "header_name_problem",
    "header_value_problem",
    "hidden_settings",
    "holds_pem",
    "settings_table",
    "unknown_variables",
]
