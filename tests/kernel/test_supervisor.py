"""What ends the making of connections: where asking again has no sense, the first failure is the answer."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_gateway import GatewayConfig, GatewayConnectionError, open_gateway
from trio_gateway.testing import FakeGateway


async def test_a_websocket_over_tls_where_plain_http_is_spoken(autojump_clock: trio.abc.Clock) -> None:  # G3
    """`ws_url` is wss:// by mistake: it is said at once, and not after all attempts of `reconnect_timeout`."""
    asked: list[tuple[str, int]] = []

    async with FakeGateway() as fake:

        async def connect(host: str, port: int) -> trio.abc.Stream:
            asked.append((host, port))
            if port != 443:
                return await fake.connector(host, port)
            ours, theirs = trio.testing.memory_stream_pair()
            await ours.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return theirs

        config = GatewayConfig(url=fake.url, ws_url="wss://gateway.test", auth_token=fake.token)
        async with open_gateway(config, connector=connect) as gateway:
            with pytest.raises(GatewayConnectionError, match=r"can't connect to wss://gateway\.test.*does not speak TLS"):
                async with gateway.start_kernel() as kernel:
                    await kernel.execute("1")
        assert fake.kernels == {}
    assert asked.count(("gateway.test", 443)) == 1
