"""What may be meant by a name that is no setting's: what is near in meaning, before what is spelled alike."""

from __future__ import annotations

import pytest

from trio_gateway import GatewayConfig
from trio_gateway._config.meant import _MEANT, meant

SETTINGS = [row.name for row in GatewayConfig(url="http://a").describe()]


@pytest.mark.parametrize(
    ("name", "proposed"),
    [
        ("timeout", ("request_timeout", "connect_timeout", "launch_timeout")),
        ("token", ("auth_token",)),
        ("password", ("http_pwd",)),
        ("verify", ("validate_cert", "ca_certs")),
        ("verify_ssl", ("validate_cert", "ca_certs", "client_cert")),
        ("max_retries", ("max_request_retries", "gateway_retry_max")),
        ("conect_timeout", ("connect_timeout",)),
        ("ping_intervall", ("ping_interval",)),
        ("base_url", ("url", "ws_url")),
        ("buffer_size", ("buffer_messages", "buffer_bytes", "max_message_size")),
        ("environment", ("allowed_envs",)),
        ("zzz", ()),
    ],
)
def test_what_may_be_meant(name: str, proposed: tuple[str, ...]) -> None:
    assert meant(name, SETTINGS)[: max(len(proposed), 1)] == proposed


def test_what_is_proposed_is_there() -> None:
    assert {setting for proposed in _MEANT.values() for setting in proposed} <= set(SETTINGS)
    assert not set(_MEANT) & set(SETTINGS)
