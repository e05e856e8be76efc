"""Which gateway a command talks to: the one that is configured, or a local one started for it.

The one idea: a person who has configured nothing still gets a kernel, and is told how.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import rich_click as click

import trio_gateway

from .options import Options

__all__ = ["open_gateway", "require_gateway"]


@asynccontextmanager
async def open_gateway(options: Options) -> AsyncGenerator[trio_gateway.Gateway]:
    """Open the gateway that options and environment name, or else start a local one that ends with the block.

    Raises:
        InvalidInputError: an option or a setting is wrong.
        GatewayError: what opening it raises.
    """
    settings = options.settings()
    if options.has_gateway:
        config = trio_gateway.GatewayConfig.from_env(**settings)
        if config.ignored_variables:
            names = ", ".join(config.ignored_variables)
            options.warn(f"{names}: not used, because JUPYTER_GATEWAY_URL names another gateway than --url")
        async with trio_gateway.open_gateway(config) as gateway:
            yield gateway
    else:
        options.say("No gateway is configured (--url, JUPYTER_GATEWAY_URL): starting a local one.")
        async with trio_gateway.open_local_gateway() as gateway:
            yield gateway


def require_gateway(options: Options) -> None:
    """Refuse a command that makes no sense on a gateway that has only just been started.

    Raises:
        click.UsageError: no gateway is configured.
    """
    if not options.has_gateway:
        raise click.UsageError(
            "No gateway is configured: give its address with --url or in JUPYTER_GATEWAY_URL. "
            "A local gateway lives only as long as the command that starts it, so it has no kernels to show."
        )
