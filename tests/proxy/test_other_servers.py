"""The application itself, on servers that are not ours: any that runs on Trio, and none that runs on asyncio."""

from __future__ import annotations

import asyncio  # noqa: TID251 - what uvicorn runs on
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import hypercorn.config
import hypercorn.trio
import trio
import uvicorn

from trio_gateway import AsyncLibraryError
from trio_gateway.proxy import create_app
from trio_gateway.testing import FakeGateway

from .front import PATIENCE, open_front
from .proxy_kit import TOKEN, Served


@asynccontextmanager
async def on_hypercorn() -> AsyncGenerator[Served]:
    """Serve an application as hypercorn's users do."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = hypercorn.config.Config()
    config.bind = [f"fd://{listening.detach()}"]  # it closes it
    config.accesslog = None
    config.errorlog = None
    end = trio.Event()
    async with FakeGateway() as fake, fake.open() as gateway, trio.open_nursery() as nursery:
        app = create_app(gateway, token=TOKEN)
        serve: Any = hypercorn.trio.serve
        await nursery.start(lambda task_status: serve(app, config, shutdown_trigger=end.wait, task_status=task_status))
        yield Served(app, f"http://127.0.0.1:{port}", port, gateway)
        end.set()


async def test_on_hypercorn() -> None:
    with trio.fail_after(PATIENCE):
        async with on_hypercorn() as proxy:
            assert (await proxy.ask("GET", "/api")).status == 200
            assert (await proxy.ask("GET", "/api/kernels", token=None)).status == 401
            made = await proxy.ask("POST", "/api/kernels", {"name": "python3"})
            assert made.status == 201
            async with open_front(proxy, made.json()["id"]) as front:
                assert await front.run("print(6 * 7)") == "42\n"
                proxy.app.drain()
                assert (await front.closed())[0] == 1001


async def test_on_asyncio_it_says_what_it_wants() -> None:
    """uvicorn runs on asyncio alone."""
    async with FakeGateway() as fake, fake.open() as gateway:
        app = create_app(gateway, token=TOKEN)
        said: list[BaseException] = []

        async def on_uvicorn(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            except AsyncLibraryError as error:
                said.append(error)
                raise

        def run() -> int:
            with socket.create_server(("127.0.0.1", 0)) as listening:
                server = uvicorn.Server(uvicorn.Config(on_uvicorn, log_config=None, lifespan="off"))

                async def serve_and_ask() -> int:
                    serving = asyncio.create_task(server.serve(sockets=[listening]))
                    async with httpx.AsyncClient() as client:
                        answer = await client.get(f"http://127.0.0.1:{listening.getsockname()[1]}/api")
                    server.should_exit = True
                    await serving
                    return answer.status_code

                return asyncio.run(serve_and_ask())

        assert await trio.to_thread.run_sync(run) == 500
        assert "trio_gateway.proxy.serve" in str(said[0])


async def test_a_server_that_asks_whether_it_may_start_and_end() -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        app = create_app(gateway, token=TOKEN)
        told: list[str] = []
        waiting = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

        async def receive() -> Any:
            await trio.lowlevel.checkpoint()
            return waiting.pop()

        async def send(message: Any) -> None:
            await trio.lowlevel.checkpoint()
            told.append(message["type"])

        await app({"type": "lifespan"}, receive, send)
        assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
