"""The settings of one gateway: `values` reads one value, `config` is the class that holds all of them."""

from __future__ import annotations

from .config import WEBSOCKET_ENGINES, GatewayConfig, SettingRow, settings_table
from .values import header_name_problem, header_value_problem

__all__ = [
    "WEBSOCKET_ENGINES",
    "GatewayConfig",
    "SettingRow",
    "header_name_problem",
    "header_value_problem",
    "settings_table",
]
