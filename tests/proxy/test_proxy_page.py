"""The status page: its files and numbers, and the page itself in a real browser, by keyboard alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from front import PATIENCE, open_front
from proxy_kit import TOKEN, serve_gateway

from browser import drive, driver_folder
from trio_gateway.testing import FakeGateway, Sleep


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return driver_folder(tmp_path_factory, Path(__file__).parent)


async def test_the_page_is_static_and_takes_nothing_from_elsewhere() -> None:
    async with FakeGateway() as fake, fake.open() as gateway, serve_gateway(gateway, base_path="/lab/") as proxy:
        for path, kind in (("", "text/html"), ("page/status.js", "text/javascript"), ("page/status.css", "text/css")):
            answer = await proxy.ask("GET", f"/lab/{path}")
            assert (answer.status, answer.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
            assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
            assert b"http://" not in answer.body.replace(b"http://www.w3.org/2000/svg", b"")
            assert (await proxy.ask("GET", f"/lab/{path}", token=None)).status == 401
        for path in ("page/", "page/status.py", "page/..%2f_page.py", "page/x"):
            assert (await proxy.ask("GET", f"/lab/{path}")).status in {400, 404}


async def test_what_the_page_shows() -> None:
    async with FakeGateway() as fake, fake.open() as gateway, serve_gateway(gateway) as proxy:
        session = (await proxy.ask("POST", "/api/sessions", {"path": "a.ipynb", "kernel": {"name": "python3"}})).json()
        kernel_id = session["kernel"]["id"]
        nothing = {"to_kernel": 0, "to_front": 0}
        shown = (await proxy.ask("GET", "/status.json")).json()
        assert shown["gateway"] == {"reachable": True, "message": None}
        assert (shown["channels"], shown["resumed"], shown["messages"], shown["draining"]) == (0, 0, nothing, False)
        assert [(kernel["id"], kernel["channels"], kernel["messages"]) for kernel in shown["kernels"]] == [
            (kernel_id, 0, nothing)
        ]
        assert [each["path"] for each in shown["sessions"]] == ["a.ipynb"]
        async with open_front(proxy, kernel_id) as front, open_front(proxy, kernel_id):
            assert await front.run("print(1)") == "1\n"
            shown = (await proxy.ask("GET", "/status.json")).json()
            (kernel,) = shown["kernels"]
            assert (shown["channels"], kernel["channels"]) == (2, 2)
            assert kernel["messages"] == shown["messages"]
            assert kernel["messages"]["to_kernel"] == 1
            assert kernel["messages"]["to_front"] >= 5
        with trio.fail_after(PATIENCE):
            while proxy.app.channels:
                await trio.testing.wait_all_tasks_blocked(0.01)
        shown = (await proxy.ask("GET", "/status.json")).json()
        assert (shown["kernels"][0]["channels"], shown["kernels"][0]["messages"]) == (0, nothing)
        assert shown["messages"]["to_kernel"] == 1
        proxy.app.drain()
        assert (await proxy.ask("GET", "/status.json")).json()["draining"] is True


async def test_a_gateway_that_is_away_is_shown_without_its_address() -> None:
    async with FakeGateway() as fake, fake.open(max_request_retries=0) as gateway, serve_gateway(gateway) as proxy:
        fake.token = "another"
        answer = await proxy.ask("GET", "/status.json")
        assert answer.status == 200
        assert answer.json()["gateway"] == {"reachable": False, "message": "the gateway refuses the proxy's credentials"}
        assert answer.json()["kernels"] == []
        assert b"fake.invalid" not in answer.body


@pytest.mark.full
async def test_the_page_in_a_browser(driver: Path) -> None:
    """Chromium: the WebSocket's subprotocol is selected; charts move; interrupt, restart and shut down by keyboard."""
    async with (
        FakeGateway(lambda cell: Sleep(3600)) as fake,
        fake.open() as gateway,
        serve_gateway(gateway) as proxy,
    ):
        made = {"path": "a.ipynb", "kernel": {"name": "python3"}}
        first = (await proxy.ask("POST", "/api/sessions", made)).json()["kernel"]["id"]
        second = (await proxy.ask("POST", "/api/kernels")).json()["id"]
        async with open_front(proxy, first) as front:
            asked = await front.execute("the first kernel is busy for an hour")
            await front.until("execute_input", asked)
            seen = await drive(driver, "page.mjs", f"{proxy.url}/?token={TOKEN}", first, second)
            told = await front.whole(asked)
        assert [message.content["ename"] for message in told if message.msg_type == "error"] == ["KeyboardInterrupt"]
        assert [kernel["id"] for kernel in (await proxy.ask("GET", "/api/kernels")).json()] == [first]
    assert seen.pop("chart").endswith(" s")
    assert seen == {
        "problems": [],
        "address": f"{proxy.url}/",
        "gateway": "reachable",
        "sessions": ["a.ipynb"],
        "protocol": "v1.kernel.websocket.jupyter.org",
        "replies": 20,
        "connections": "2",
        "focus": "Interrupt",
        "asks": "Restart this kernel? All its variables are lost.",
        "restartedUnasked": False,
    }
