"""A web application on asyncio that uses `trio_gateway.anyio`: the example, served by uvicorn on a loopback port."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
import uvloop

from tools.face_tools import kernel_ids, trio_threads

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, pytest.mark.full]

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest, real_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The example's application, served; give its address."""
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", real_gateway.url)
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", real_gateway.token)
    spec = importlib.util.spec_from_file_location("web", EXAMPLES / "web.py")
    assert spec is not None
    assert spec.loader is not None
    web = importlib.util.module_from_spec(spec)
    # FastAPI looks annotations up where they were written.
    monkeypatch.setitem(__import__("sys").modules, "web", web)
    spec.loader.exec_module(web)

    server = uvicorn.Server(uvicorn.Config(web.app, host="127.0.0.1", port=0, log_config=None, lifespan="on"))
    started = threading.Event()
    startup = server.startup

    async def startup_and_tell(*arguments: Any, **more: Any) -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop) == (request.param == "uvloop")
        await startup(*arguments, **more)
        started.set()

    monkeypatch.setattr(server, "startup", startup_and_tell)

    def serve() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if request.param == "uvloop" else None) as runner:
            runner.run(server.serve())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert started.wait(250)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(250)
    assert not thread.is_alive()


def test_an_application_on_asyncio(server: str, real_gateway: RunningGateway) -> None:
    """Its lifespan holds a gateway and a kernel; requests use them at once; a visitor who leaves interrupts what runs."""
    assert len(trio_threads()) == 1

    async def visit() -> None:
        async with httpx.AsyncClient(base_url=server, timeout=250) as client:
            answers = await asyncio.gather(*[client.get(f"/square/{number}") for number in range(5)])
            assert [answer.json() for answer in answers] == [str(number**2) for number in range(5)]
            assert (await client.get("/count/5")).text == "0\n1\n2\n3\n4\n"
            async with client.stream("GET", "/count/1000000") as answer:
                async for line in answer.aiter_lines():
                    assert line == "0"
                    break
            # Ten thousand seconds of printing, were it not for that.
            assert (await client.get("/square/9")).json() == "81"

    asyncio.run(visit())
    assert len(kernel_ids(real_gateway)) >= 1
