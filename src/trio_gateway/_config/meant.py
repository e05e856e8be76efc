"""Which settings someone may have meant by a name that is none.

The one idea: people write what other libraries call it, so nearness in meaning comes before nearness in spelling.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["meant"]

MOST: Final = 3
"""How many settings are proposed at most."""
_MEANT: Final[Mapping[str, tuple[str, ...]]] = {
    "timeout": ("request_timeout", "connect_timeout", "launch_timeout"),
    "deadline": ("request_timeout", "connect_timeout", "launch_timeout"),
    "token": ("auth_token",),
    "bearer": ("auth_token", "auth_scheme"),
    "auth": ("auth_token", "http_user", "http_pwd"),
    "key": ("auth_token", "client_key"),
    "secret": ("auth_token", "http_pwd"),
    "password": ("http_pwd",),
    "passwd": ("http_pwd",),
    "pwd": ("http_pwd",),
    "user": ("http_user", "kernel_username"),
    "username": ("http_user", "kernel_username"),
    "credentials": ("auth_token", "http_user", "http_pwd"),
    "cookie": ("accept_cookies",),
    "cookies": ("accept_cookies",),
    "verify": ("validate_cert", "ca_certs"),
    "insecure": ("validate_cert",),
    "ssl": ("validate_cert", "ca_certs", "client_cert"),
    "tls": ("validate_cert", "ca_certs", "client_cert"),
    "cert": ("client_cert", "ca_certs", "validate_cert"),
    "certificate": ("client_cert", "ca_certs", "validate_cert"),
    "ca": ("ca_certs",),
    "host": ("url",),
    "address": ("url",),
    "addresses": ("url",),
    "urls": ("url",),
    "replicas": ("url",),
    "endpoint": ("url", "kernels_endpoint", "kernelspecs_endpoint"),
    "uri": ("url",),
    "gateway": ("url",),
    "server": ("url",),
    "port": ("url",),
    "websocket": ("ws_url", "websocket_engine"),
    "header": ("headers",),
    "retry": ("max_request_retries", "gateway_retry_max"),
    "retries": ("max_request_retries", "gateway_retry_max"),
    "attempts": ("max_request_retries", "gateway_retry_max"),
    "reconnect": ("reconnect_timeout", "gateway_retry_max", "reconnects_at_once"),
    "backoff": ("gateway_retry_interval", "gateway_retry_interval_max"),
    "heartbeat": ("ping_interval",),
    "keepalive": ("ping_interval",),
    "ping": ("ping_interval",),
    "unresponsive": ("unresponsive_timeout",),
    "silent": ("unresponsive_timeout", "ping_interval"),
    "env": ("allowed_envs",),
    "envs": ("allowed_envs",),
    "environment": ("allowed_envs",),
    "pool": ("max_connections",),
    "connections": ("max_connections",),
    "size": ("max_message_size", "max_response_size"),
    "limit": ("max_message_size", "max_output_bytes", "max_connections"),
    "output": ("max_output_bytes",),
    "buffer": ("buffer_messages", "buffer_bytes"),
    "queue": ("buffer_messages", "buffer_bytes"),
    "engine": ("websocket_engine",),
    "startup": ("launch_timeout",),
    "start": ("launch_timeout",),
    "shutdown": ("cleanup_timeout",),
    "close": ("cleanup_timeout",),
    "interrupt": ("interrupt_timeout",),
    "command": ("token_command",),
    "credential_process": ("token_command",),
    "helper": ("token_command",),
    "renewer": ("token_renewer", "gateway_token_renewer_class"),
}


def meant(name: str, settings: Iterable[str]) -> tuple[str, ...]:
    """Return the settings that someone may have meant, the likeliest first.

    Args:
        name: what was written.
        settings: the names of all settings.
    """
    import difflib  # only for a typing error

    known = list(settings)
    wanted = name.lower()
    found: list[str] = list(_MEANT.get(wanted, ()))
    slip = difflib.get_close_matches(wanted, known, n=1, cutoff=0.85)
    if slip and not found:
        return tuple(slip)  # nearly the same letters, as after a slip of the finger
    words = wanted.split("_")
    shared = {setting: len(set(words) & set(setting.split("_"))) for setting in known}
    most = max(shared.values(), default=0)
    if most > 1:
        found += [setting for setting in known if shared[setting] == most]
    for word in words:
        found += _MEANT.get(word, ())
    if not found:
        found += [setting for setting in known if shared[setting]]
        found += difflib.get_close_matches(wanted, known, n=1)
    return tuple([setting for setting in dict.fromkeys(found) if setting in known][:MOST])
