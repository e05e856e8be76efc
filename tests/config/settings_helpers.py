"""What the tests of the settings share: the names, and short ways to make a configuration or to see why there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trio_gateway import ConfigError, GatewayConfig, TokenRenewer

URL = "http://127.0.0.1:8888"

REFERENCE = {
    "url": "JUPYTER_GATEWAY_URL",
    "ws_url": "JUPYTER_GATEWAY_WS_URL",
    "kernels_endpoint": "JUPYTER_GATEWAY_KERNELS_ENDPOINT",
    "kernelspecs_endpoint": "JUPYTER_GATEWAY_KERNELSPECS_ENDPOINT",
    "kernelspecs_resource_endpoint": "JUPYTER_GATEWAY_KERNELSPECS_RESOURCE_ENDPOINT",
    "connect_timeout": "JUPYTER_GATEWAY_CONNECT_TIMEOUT",
    "request_timeout": "JUPYTER_GATEWAY_REQUEST_TIMEOUT",
    "client_key": "JUPYTER_GATEWAY_CLIENT_KEY",
    "client_cert": "JUPYTER_GATEWAY_CLIENT_CERT",
    "ca_certs": "JUPYTER_GATEWAY_CA_CERTS",
    "http_user": "JUPYTER_GATEWAY_HTTP_USER",
    "http_pwd": "JUPYTER_GATEWAY_HTTP_PWD",
    "headers": "JUPYTER_GATEWAY_HEADERS",
    "auth_header_key": "JUPYTER_GATEWAY_AUTH_HEADER_KEY",
    "auth_token": "JUPYTER_GATEWAY_AUTH_TOKEN",
    "auth_scheme": "JUPYTER_GATEWAY_AUTH_SCHEME",
    "validate_cert": "JUPYTER_GATEWAY_VALIDATE_CERT",
    "allowed_envs": "JUPYTER_GATEWAY_ALLOWED_ENVS",
    "gateway_retry_interval": "JUPYTER_GATEWAY_RETRY_INTERVAL",
    "gateway_retry_interval_max": "JUPYTER_GATEWAY_RETRY_INTERVAL_MAX",
    "gateway_retry_max": "JUPYTER_GATEWAY_RETRY_MAX",
    "gateway_token_renewer_class": "JUPYTER_GATEWAY_TOKEN_RENEWER_CLASS",
    "launch_timeout_pad": "JUPYTER_GATEWAY_LAUNCH_TIMEOUT_PAD",
    "accept_cookies": "JUPYTER_GATEWAY_ACCEPT_COOKIES",
}
MORE = {
    "reconnect_timeout": "JUPYTER_GATEWAY_RECONNECT_TIMEOUT",
    "unresponsive_timeout": "JUPYTER_GATEWAY_UNRESPONSIVE_TIMEOUT",
    "max_request_retries": "JUPYTER_GATEWAY_MAX_REQUEST_RETRIES",
    "launch_timeout": "KERNEL_LAUNCH_TIMEOUT",
    "kernel_username": "KERNEL_USERNAME",
    "token_command": "JUPYTER_GATEWAY_TOKEN_COMMAND",
    "token_command_timeout": "JUPYTER_GATEWAY_TOKEN_COMMAND_TIMEOUT",
}
OLD = "JUPYTER_GATEWAY_ENV_WHITELIST"
VARIABLES = {**REFERENCE, **MORE}


def from_env(environ: dict[str, str] | None = None, /, **arguments: Any) -> GatewayConfig:
    """A configuration from these variables, beside a URL where none is given."""
    environ = dict(environ or {})
    if "url" not in arguments:
        environ.setdefault("JUPYTER_GATEWAY_URL", URL)
    return GatewayConfig.from_env(environ, **arguments)


def refused(environ: dict[str, str] | None = None, /, **arguments: Any) -> ConfigError:
    """The error that a configuration gives."""
    with pytest.raises(ConfigError) as caught:
        from_env(environ, **arguments)
    return caught.value


def one_problem(environ: dict[str, str] | None = None, /, **arguments: Any) -> tuple[str, str | None, str, str]:
    """The only problem that a configuration has: field, value, what is expected, source."""
    (problem,) = refused(environ, **arguments).problems
    return problem.field, problem.value, problem.expected, problem.source


def outcome(make: Callable[[], GatewayConfig]) -> GatewayConfig | ConfigError:
    """What making a configuration gives; any other exception is the test's failure."""
    try:
        return make()
    except ConfigError as error:
        return error


class Renewer(TokenRenewer):
    """As a program writes one."""

    async def get_token(self, auth_header_key: str, auth_scheme: str | None, auth_token: str, **kwargs: Any) -> str:
        return "new"


class Foreign:
    """As jupyter_server's renewers are: of another base class."""

    def get_token(self, auth_header_key: str, auth_scheme: str | None, auth_token: str, **kwargs: Any) -> str:
        return "new"


def fully(cls: type) -> str:
    """A class's dotted name."""
    return f"{cls.__module__}.{cls.__qualname__}"


SECRETS = {
    "JUPYTER_GATEWAY_AUTH_TOKEN": "s3cret-token",
    "JUPYTER_GATEWAY_AUTH_HEADER_KEY": "X-Key",
    "JUPYTER_GATEWAY_HTTP_USER": "s3cret-user",
    "JUPYTER_GATEWAY_HTTP_PWD": "s3cret-pwd",
    "JUPYTER_GATEWAY_HEADERS": '{"X-Team": "s3cret-header"}',
    "JUPYTER_GATEWAY_CLIENT_CERT": __file__,
    "JUPYTER_GATEWAY_CLIENT_KEY": __file__,
    "JUPYTER_GATEWAY_TOKEN_RENEWER_CLASS": "package.Renewer",
    "JUPYTER_GATEWAY_VALIDATE_CERT": "no",
    "JUPYTER_GATEWAY_WS_URL": "ws://sockets.example",
}
