"""G8 on a real gateway: secrets are in nothing that is said."""

from __future__ import annotations

import logging
import pickle
import re
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import trio

import trio_gateway
from tools.guarantee_tools import start_and_wait
from tools.tcp_proxy import Link, open_tcp_proxy
from trio_gateway import (
    AuthenticationError,
    ConnectionLostError,
    GatewayConnectionError,
    GatewayEvent,
    open_gateway,
    open_local_gateway,
)

if TYPE_CHECKING:
    from conftest import RunningGateway


pytestmark = pytest.mark.gateway


def everything_said(error: BaseException | None) -> Iterator[str]:
    """All that an exception could show of itself, and of what caused it."""
    while error is not None:
        yield from (str(error), repr(error), repr(error.args), repr(vars(error)), repr(pickle.dumps(error)))
        yield "".join(traceback.format_exception(error))
        error = error.__cause__ or error.__context__


SECRET_HEADER = "header-that-is-secret"


SECRET_COOKIE = "cookie-that-is-secret"


async def test_G8_no_secret_is_said(real_gateway: RunningGateway, caplog: pytest.LogCaptureFixture) -> None:
    """Not in a log of any library, not in an event, not in a repr, not in an error; though all of them were sent."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    events: list[GatewayEvent] = []
    sent: list[bytes] = []

    def listen(link: Link) -> None:
        def note(data: bytes) -> None:
            sent.append(data)

        link.to_server.forwarded = note
        link.to_client.rewrite = lambda data: re.sub(
            rb"^(HTTP/1.1 20\d [^\r]*\r\n)", rb"\1Set-Cookie: session=" + SECRET_COOKIE.encode() + rb"; Path=/\r\n", data
        )

    async with (
        open_tcp_proxy(real_gateway.url) as proxy,
        open_gateway(
            proxy.url,
            auth_token=real_gateway.token,
            headers={"X-Secret": SECRET_HEADER},
            accept_cookies=True,
            on_event=events.append,
            gateway_retry_interval=0,
        ) as gateway,
    ):
        proxy.on_link = listen
        async with gateway.start_kernel("python3") as kernel:
            result = await kernel.execute("1 / 0")
            said += [repr(result), repr(kernel), repr(gateway), repr(gateway.config), str(gateway.config), repr(vars(kernel))]
            said += [repr(gateway.config.describe()), gateway.url, repr(gateway.kernels), repr(gateway.kernelspecs)]
            # What is sent next breaks the connection, and is lost with it.
            link = await proxy.wait_request("GET /api/kernels/")
            link.to_server.cut_after(1, reset=True)
            with pytest.raises(ConnectionLostError) as broken:
                await kernel.execute("2")
            said += everything_said(broken.value)
        for failing in (gateway.kernels.get(kernel.id), gateway.kernelspecs.get("none"), gateway.kernels.interrupt(kernel.id)):
            with pytest.raises(trio_gateway.GatewayError) as caught:
                await failing
            said += everything_said(caught.value)
        await proxy.refuse()
        proxy.reset_all()
        with pytest.raises(GatewayConnectionError) as lost:
            await gateway.kernels.list()
        said += everything_said(lost.value)

    everything = b"".join(sent)
    for secret in (real_gateway.token, SECRET_HEADER, SECRET_COOKIE):
        assert secret.encode() in everything, "it was not sent, so that it is not said proves nothing"
        assert [text for text in said if secret in text] == []
        assert secret not in caplog.text
        assert secret not in repr([vars(record) for record in caplog.records])
        assert secret not in repr(events)
    assert {record.name.partition(".")[0] for record in caplog.records} >= {"trio_gateway"}
    assert events


@pytest.mark.full
async def test_G8_a_refused_token_is_not_said(real_gateway: RunningGateway, caplog: pytest.LogCaptureFixture) -> None:
    """Over HTTP and in the WebSocket's handshake."""
    caplog.set_level(logging.DEBUG)
    wrong = "wrong-and-yet-secret"
    events: list[GatewayEvent] = []
    said: list[str] = []
    async with open_gateway(real_gateway.url, auth_token=wrong, on_event=events.append) as gateway:
        with pytest.raises(AuthenticationError) as caught:
            await start_and_wait(gateway)
        assert caught.value.status_code == 401
        said += everything_said(caught.value)

    async with open_tcp_proxy(real_gateway.url) as proxy:

        def garble_handshake(link: Link) -> None:
            def garble(data: bytes) -> bytes:
                return data.replace(real_gateway.token.encode(), wrong.encode()) if b"/channels" in data else data

            link.to_server.rewrite = garble

        proxy.on_link = garble_handshake
        async with open_gateway(proxy.url, auth_token=real_gateway.token, on_event=events.append) as gateway:
            with pytest.raises(AuthenticationError) as caught:
                await start_and_wait(gateway)
            assert caught.value.status_code in (401, 403)
            said += everything_said(caught.value)

    for secret in (real_gateway.token, wrong):
        assert [text for text in said if secret in text] == []
        assert secret not in caplog.text
        assert secret not in repr(events)


@pytest.mark.full
async def test_G8_a_local_gateways_token_is_not_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    events: list[GatewayEvent] = []
    async with open_local_gateway(on_event=events.append) as gateway, gateway.start_kernel() as kernel:
        token = gateway.config.auth_token
        assert token
        processes = psutil.Process().children(recursive=True)
        said = [repr(gateway), repr(gateway.config), repr(kernel), *(repr(process.cmdline()) for process in processes)]
        seen = await kernel.execute(f"import os\n[name for name, value in os.environ.items() if {token!r} in value]")
        assert seen.text == "[]"
    assert [text for text in [*said, caplog.text, repr(events)] if token in text] == []


@pytest.mark.parametrize("engine", ["fast", "trio-websocket"])
async def test_G8_no_variable_leads_us_to_another_server(
    engine: str, real_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither one that names a proxy, in any spelling, nor a `.netrc`, which names another login."""
    came: list[bytes] = []

    async def note(stream: trio.SocketStream) -> None:
        came.append(bytes(await stream.receive_some()))

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, note, 0, host="127.0.0.1"))
        trap = f"http://joe:secret@127.0.0.1:{listener.socket.getsockname()[1]}"
        for kind in ("http", "https", "all", "ws", "wss", "socks", "no"):
            for name in (f"{kind}_proxy", f"{kind}_PROXY", f"{kind.upper()}_PROXY", f"{kind.title()}_Proxy"):
                monkeypatch.setenv(name, "other.example" if kind == "no" else trap)
        netrc = tmp_path / ".netrc"
        netrc.write_text("default login joe password secret\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("HOME", str(tmp_path))
        settings = {"auth_token": real_gateway.token, "websocket_engine": engine}
        async with open_gateway(real_gateway.url, **settings) as gateway, gateway.start_kernel() as kernel:
            assert (await kernel.execute("6 * 7")).text == "42"
            async with gateway.http_client() as client:
                assert (await client.get("api/kernelspecs")).status_code == 200
        nursery.cancel_scope.cancel()
    assert came == []
