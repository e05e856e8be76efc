"""Clients of jupyter_client's kind."""

from __future__ import annotations

import asyncio

import pytest

from trio_gateway.jupyter import (
    GatewayKernelManager,
)

from .manager_kit import PATIENCE, Fake, Own


def test_a_client_that_is_made_before_its_kernel(fake: Fake) -> None:
    """As programs that use jupyter_client may: its channels are started when there is a kernel; a second kernel is another."""

    async def main() -> None:
        own = Own(fake, GatewayKernelManager)
        manager = own.manager
        client = manager.client()
        assert not await client.is_alive()
        with pytest.raises(RuntimeError, match="No kernel is running"):
            client.start_channels()
        for _ in range(2):
            await manager.start_kernel()
            client.start_channels()
            await client.wait_for_ready(timeout=PATIENCE)
            assert client.kernel_id == manager.kernel_id
            client.stop_channels()
            await manager.shutdown_kernel()

    asyncio.run(main())
