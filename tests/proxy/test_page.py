"""The status page: its files, what it is told and how old that is, signing in; and the page itself in a real browser."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tools.browser import drive, driver_folder
from trio_gateway import Message
from trio_gateway.proxy import _gather
from trio_gateway.proxy._gather import Gather, Part
from trio_gateway.proxy._metrics import Metrics
from trio_gateway.proxy._page import status_json
from trio_gateway.testing import FakeGateway, FakeKernelSpec, Sleep

from .front import PATIENCE, open_front
from .proxy_kit import TOKEN, Served, open_proxy, serve_gateway

if TYPE_CHECKING:
    from .proxy_kit import Behind

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
NOTHING = {"to_kernel": 0, "to_front": 0}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return driver_folder(tmp_path_factory, Path(__file__).parent)


async def test_the_page_is_static_and_takes_nothing_from_elsewhere() -> None:
    async with FakeGateway() as fake, fake.open() as gateway, serve_gateway(gateway, base_path="/lab/") as proxy:
        page = (await proxy.ask("GET", "/lab/")).body.decode()
        files = re.findall(r'(?:src|href)="(page/[^"]+)"', page)
        script = (await proxy.ask("GET", "/lab/page/status.js")).body.decode()
        files += [f"page/{name}" for name in re.findall(r'from "\./([^"]+)"', script)]
        assert len(set(files)) >= 6
        for path in ("", *files, "page/question.js"):
            answer = await proxy.ask("GET", f"/lab/{path}")
            kind = {"js": "text/javascript", "css": "text/css"}.get(path.rpartition(".")[2], "text/html")
            assert (answer.status, answer.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
            assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
            text = answer.body.decode()
            assert "://" not in text.replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|style=|<style|\son\w+=\"", text)
            assert (await proxy.ask("GET", f"/lab/{path}", token=None)).status == 401
        for path in ("page/", "page/status.py", "page/..%2f_page.py", "page/x", "page/sign-in.html"):
            assert (await proxy.ask("GET", f"/lab/{path}")).status in {400, 404}


# ---------------------------------------------------------------------------------------------------------- what it is told


async def test_what_the_page_shows() -> None:
    specs = [FakeKernelSpec(name="python3", display_name="Python 3 (of ours)")]
    async with FakeGateway(kernelspecs=specs) as fake, fake.open() as gateway, serve_gateway(gateway) as proxy:
        session = (await proxy.ask("POST", "/api/sessions", {"path": "a.ipynb", "kernel": {"name": "python3"}})).json()
        kernel_id = session["kernel"]["id"]
        await gateway.sessions.create("a console", kernel_id=kernel_id, type="console")
        answer = await proxy.ask("GET", "/status.json")
        assert answer.headers["cache-control"] == "no-store"
        shown = answer.json()
        version = shown["gateway"].pop("version")
        assert re.fullmatch(r"[\d.]+", version)
        assert shown["gateway"] == {"reachable": True, "message": None, "gateway_version": None, "lists_all": True}
        for part in ("kernels", "sessions"):
            assert (shown["news"][part]["unanswered"], shown["news"][part]["message"]) == (None, None)
            assert shown["news"][part]["age"] >= 0
        assert (shown["channels"], shown["resumed"], shown["messages"], shown["draining"]) == (0, 0, NOTHING, False)
        (kernel,) = shown["kernels"]
        assert (kernel["id"], kernel["channels"], kernel["messages"]) == (kernel_id, 0, NOTHING)
        assert kernel["display_name"] == "Python 3 (of ours)"
        assert kernel["documents"] == [
            {"path": "a.ipynb", "name": "", "type": "notebook"},
            {"path": "a console", "name": "", "type": "console"},
        ]
        assert [each["path"] for each in shown["sessions"]] == ["a.ipynb", "a console"]
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
        assert (shown["kernels"][0]["channels"], shown["kernels"][0]["messages"]) == (0, NOTHING)
        assert shown["messages"]["to_kernel"] == 1
        proxy.app.drain()
        assert (await proxy.ask("GET", "/status.json")).json()["draining"] is True


async def test_a_gateway_is_shown_as_it_is(behind: Behind) -> None:
    async with open_proxy(behind) as proxy:
        path = f"{uuid.uuid4()}.ipynb"
        made = (await proxy.ask("POST", "/api/sessions", {"path": path, "kernel": {"name": "python3"}})).json()
        try:
            shown = (await proxy.ask("GET", "/status.json")).json()
            assert (shown["gateway"]["reachable"], shown["gateway"]["lists_all"]) == (True, True)
            assert re.match(r"\d+\.\d+", shown["gateway"]["version"])
            (kernel,) = [kernel for kernel in shown["kernels"] if kernel["id"] == made["kernel"]["id"]]
            assert [document["path"] for document in kernel["documents"]] == [path]
            assert kernel["display_name"]
        finally:
            with trio.move_on_after(60, shield=True):
                await proxy.ask("DELETE", f"/api/sessions/{made['id']}")


async def test_a_gateway_that_is_away_is_shown_without_its_address() -> None:
    async with FakeGateway() as fake, fake.open(max_request_retries=0) as gateway, serve_gateway(gateway) as proxy:
        fake.token = "another"
        answer = await proxy.ask("GET", "/status.json")
        assert answer.status == 200
        shown = answer.json()
        assert shown["gateway"]["reachable"] is False
        assert shown["gateway"]["message"] == "the gateway refuses the proxy's credentials"
        # That there is no kernel is not what it says.
        assert (shown["kernels"], shown["news"]["kernels"]["age"]) == ([], None)
        assert b"fake.invalid" not in answer.body


async def test_nobody_waits_for_a_gateway_that_hangs(elastic_clock: trio.testing.MockClock) -> None:
    """Asked over HTTP, in virtual time: the answer comes after the page's own limit, and says how old it is."""
    async with FakeGateway() as fake, fake.open() as gateway, serve_gateway(gateway) as proxy:
        kernel_id = (await proxy.ask("POST", "/api/kernels")).json()["id"]
        assert (await proxy.ask("GET", "/status.json")).json()["gateway"]["reachable"]
        fake.faults.delay_answer(".*", math.inf)
        started = trio.current_time()
        shown = (await proxy.ask("GET", "/status.json")).json()
        assert trio.current_time() - started < _gather.LOOK_SECONDS + 1
        assert shown["gateway"]["message"] == "the gateway did not answer within 3 s"
        assert shown["gateway"]["reachable"] is False
        assert [kernel["id"] for kernel in shown["kernels"]] == [kernel_id]
        assert shown["news"]["kernels"]["unanswered"] >= 3
        assert shown["news"]["kernels"]["age"] >= 3


async def test_others_wait_only_a_moment_for_a_look_that_hangs(autojump_clock: trio.testing.MockClock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        gather = Gather(gateway)
        await gather.look()
        fake.faults.delay_answer(".*", math.inf)
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gather.look)
            await trio.testing.wait_all_tasks_blocked()
            for number in (1, 2, 3):
                await gather.look()
                assert trio.current_time() - begun == pytest.approx(number * _gather.JOIN_SECONDS)
            # It is told before the look has ended.
            assert gather.news.kernels.problem(trio.current_time()) == "the gateway does not answer"
        assert len([request for request in fake.requests if request.path == "/api/kernels"]) <= 6


async def test_a_gateway_that_is_slow_is_given_time(autojump_clock: trio.testing.MockClock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        await gateway.kernels.start("python3")
        gather = Gather(gateway)
        fake.faults.delay_answer("GET /api/kernels", 5.0)
        await gather.look()
        assert gather.news.kernels.asked_at is None
        await gather.look()
        assert len(gather.news.kernels.value) == 1
        assert gather.news.kernels.failure is None
        for _ in range(3):
            await gather.look()
            assert gather.news.kernels.failure is None


async def test_a_look_that_began_before_is_not_as_good(autojump_clock: trio.testing.MockClock) -> None:
    """Who has just started a kernel sees it, though somebody else's look was under way."""
    async with FakeGateway() as fake, fake.open() as gateway:
        gather = Gather(gateway)
        await gather.look()
        fake.faults.delay_answer("GET /api/kernels", 0.5, times=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gather.look)
            await trio.testing.wait_all_tasks_blocked()
            asked = trio.current_time()
            await gather.look()
        assert gather.news.kernels.asked_at is not None
        assert gather.news.kernels.asked_at >= asked + 0.5


async def test_what_was_known_stays_and_gets_older(autojump_clock: trio.testing.MockClock) -> None:
    async with FakeGateway() as fake, fake.open(max_request_retries=0) as gateway:
        await gateway.sessions.create("a.ipynb")
        gather, metrics = Gather(gateway), Metrics()

        born = trio.current_time() - 100

        def shown() -> dict[str, Any]:
            now = trio.current_time()
            return status_json(gather.news, metrics, draining=False, now=now, up=now - born, started="", asks_token=True)

        await gather.look()
        await trio.sleep(7)
        await gather.look()
        await trio.sleep(30)
        refused = fake.faults.refuse()
        fake.cut_connections()
        await gather.look()
        seen = shown()
        assert (seen["gateway"]["reachable"], seen["gateway"]["message"]) == (False, "the gateway can't be reached")
        assert [(kernel["documents"][0]["path"], kernel["state_seconds"]) for kernel in seen["kernels"]] == [("a.ipynb", 7.0)]
        assert seen["news"]["kernels"] == {"at": 107.0, "age": 30.0, "unanswered": 0.0, "message": "the gateway can't be reached"}
        await trio.sleep(12)
        await gather.look()
        assert shown()["news"]["kernels"]["unanswered"] == 12.0
        refused.remove()
        await gather.look()
        assert shown()["news"]["kernels"] == {"at": 149.0, "age": 0.0, "unanswered": None, "message": None}


async def test_a_gateway_that_lists_nothing_is_not_one_without_kernels(autojump_clock: trio.testing.MockClock) -> None:
    async with FakeGateway(list_kernels=False) as fake, fake.open() as other, fake.open() as gateway:
        kernel = await other.kernels.start("python3")
        await gateway.sessions.create("a.ipynb", kernel_id=kernel.id)
        gather = Gather(gateway)
        await gather.look()
        assert gather.news.lists_all.value is False
        assert [model.id for model in gather.news.running()] == [kernel.id]
        asked = len(fake.requests)
        await gather.look()
        # What hardly ever changes is asked for seldom.
        assert not [request for request in fake.requests[asked:] if request.path in {"/api", "/api/kernelspecs"}]


async def test_the_versions_and_names_are_not_needed(autojump_clock: trio.testing.MockClock) -> None:
    async with FakeGateway() as fake, fake.open(max_request_retries=0) as gateway:
        fake.faults.answer("GET /api/kernelspecs", 500)
        wrong = fake.faults.answer("GET /api", 200, "[" * 100_000)
        await gateway.kernels.start()
        gather = Gather(gateway)
        await gather.look()
        assert gather.news.kernels.failure is None
        assert gather.news.versions.value == (None, None)
        wrong.remove()
        fake.faults.answer("GET /api", 200, {"version": "1.24.0", "gateway_version": "3.3.0\n" + "x" * 1000})
        await gather.look()
        assert gather.news.versions.value == (None, None)
        await trio.sleep(_gather.AGAIN_SECONDS)
        await gather.look()
        version, own = gather.news.versions.value
        assert version == "1.24.0"
        assert own is not None
        assert own.startswith("3.3.0 x")
        assert len(own) <= 60


def test_a_part_says_how_old_it_is() -> None:
    part: Part[int] = Part(0)
    assert (part.age(7.0), part.unanswered(7.0), part.problem(7.0), part.is_due(7.0)) == (None, None, None, True)
    part.ask(10.0)
    assert (part.age(11.0), part.unanswered(11.0), part.problem(11.0)) == (None, 1.0, None)
    assert part.problem(10.0 + _gather.SILENT_SECONDS + 0.1) == "the gateway does not answer"
    part.answer(1, 10.0)
    assert (part.value, part.age(12.0), part.unanswered(12.0), part.problem(99.0)) == (1, 2.0, None, None)
    assert not part.is_due(69.0)
    assert part.is_due(70.0)
    part.ask(20.0)
    part.fail("it is away")
    part.ask(25.0)
    assert (part.value, part.age(30.0), part.unanswered(30.0), part.problem(30.0)) == (1, 20.0, 10.0, "it is away")
    assert not part.is_due(34.0)
    assert part.is_due(35.0)


# ------------------------------------------------------------------------------------------------------------------- signing in


async def send_form(proxy: Served, body: bytes, **headers: str) -> Any:
    form = {"Content-Type": "application/x-www-form-urlencoded", **HTML, **headers}
    return await proxy.ask("POST", "/", token=None, headers=form, raw=body)


async def test_a_browser_without_a_token_is_asked_for_it() -> None:
    async with FakeGateway() as fake, fake.open() as gateway, serve_gateway(gateway, base_path="/lab/") as proxy:
        for path in ("/lab/", "/lab/api/kernels", "/lab/nothing"):
            page = await proxy.ask("GET", path, token=None, headers=HTML)
            text = page.body.decode()
            assert (page.status, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
            assert '<form method="post" action="/lab/">' in text
            assert 'role="alert"></p>' in text
            (style,) = re.findall("<style>(.*)</style>", text, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
            assert page.headers["content-security-policy"] == (
                f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
                "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
            )
            # With no-referrer a browser would send "Origin: null" with the form.
            assert page.headers["referrer-policy"] == "same-origin"
            assert page.headers["cache-control"] == "no-store"
            assert "<script" not in text
        # Who asks for something else gets what they got.
        for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
            refused = await proxy.ask("GET", "/lab/", token=None, headers=headers)
            assert refused.status == 401
            assert set(refused.json()) == {"message", "reason"}
        assert b"not the proxy" in (await proxy.ask("GET", "/lab/?token=wrong", token=None, headers=HTML)).body


async def test_who_signs_in_gets_a_cookie() -> None:
    async with FakeGateway() as fake, fake.open() as gateway, serve_gateway(gateway) as proxy:
        own = {"Origin": f"http://127.0.0.1:{proxy.port}"}
        came = await send_form(proxy, b"token=+" + TOKEN.encode() + b"%0D%0A", **own)
        assert (came.status, came.headers["location"]) == (303, "/")
        cookie, *flags = came.headers["set-cookie"].split("; ")
        assert TOKEN not in cookie
        assert flags == ["Path=/", "HttpOnly", "SameSite=Strict"]
        page = await proxy.ask("GET", "/", token=None, headers={**HTML, "Cookie": cookie})
        assert page.status == 200
        assert b"page/status.js" in page.body
        # To sign out is to lose the cookie; a page from elsewhere signs nobody out.
        assert (await proxy.ask("DELETE", "/", token=None, headers={"Cookie": cookie})).status == 403
        out = await proxy.ask("DELETE", "/", token=None, headers={"Cookie": cookie, **own})
        assert (out.status, out.headers["set-cookie"]) == (
            204,
            f"{cookie.partition('=')[0]}=; Path=/; Max-Age=0; {'; '.join(flags[1:])}",
        )
        proxy.app.change_token("another")
        assert (await proxy.ask("GET", "/", token=None, headers={**HTML, "Cookie": cookie})).status == 401


async def test_a_wrong_token_is_said_to_be_wrong() -> None:
    async with FakeGateway() as fake, fake.open() as gateway, serve_gateway(gateway, max_body_size=1000) as proxy:
        right = b"token=" + TOKEN.encode()
        for body in (b"", b"token=", b"token=wrong", b"token=x&" + right, b"token=%ff", b"other=x"):
            page = await send_form(proxy, body)
            assert page.status == 401
            assert b"That is not the proxy&#x27;s token." in page.body
            assert "set-cookie" not in page.headers
        plain = await proxy.ask("POST", "/", token=None, raw=b"token=wrong")
        assert plain.json() == {"message": "That is not the proxy's token.", "reason": "Unauthorized"}
        # A page from elsewhere signs nobody in, and the limits of other bodies are this one's too.
        for origin in ("https://evil.example", "null"):
            refused = await send_form(proxy, right, Origin=origin)
            assert refused.status == 403
            assert "set-cookie" not in refused.headers
        assert (await send_form(proxy, right, Host="rebound.example")).status == 403
        assert (await send_form(proxy, b"&".join([b"a=b"] * 101))).status == 400
        assert (await send_form(proxy, b"token=" + b"x" * 1000)).status == 413


async def test_under_tls_the_cookie_is_for_tls_alone() -> None:
    async with FakeGateway() as fake, fake.open() as gateway, serve_gateway(gateway) as proxy:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            return {"type": "http.request", "body": b"token=" + TOKEN.encode(), "more_body": False}

        async def send(message: Any) -> None:
            await trio.lowlevel.checkpoint()
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/", "scheme": "https", "query_string": b"", "client": None}
        await proxy.app({**scope, "headers": [(b"host", b"localhost")]}, receive, send)
        assert sent[0]["status"] == 303
        assert dict(sent[0]["headers"])[b"set-cookie"].endswith(b"; Secure")


# ------------------------------------------------------------------------------------------------------------------ in a browser

HOSTILE = '<img src=x onerror="document.title=1">\u202egnp.ipynb'


@asynccontextmanager
async def open_controls(commands: dict[str, Callable[[], Awaitable[object]]]) -> AsyncGenerator[int]:
    """Let the browser's driver make things happen here: on this port it sends a command's name, and hears when it is done."""

    async def take(stream: trio.SocketStream) -> None:
        name = (await stream.receive_some(100)).decode().strip()
        await commands[name]()
        await stream.send_all(b"done")

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, take, 0, host="127.0.0.1"))
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.full
async def test_the_page_in_a_browser(driver: Path) -> None:
    """Chromium: what the page shows of a gateway that is well, hangs, is away; by keyboard alone; looked at by axe-core."""
    specs = [
        FakeKernelSpec(name="python3", script=lambda cell: Sleep(3600)),
        FakeKernelSpec(name="other", display_name="<b>Other</b>", script=lambda cell: Sleep(3600)),
    ]
    async with (
        FakeGateway(kernelspecs=specs) as fake,
        fake.open(gateway_retry_interval_max=0.1) as gateway,
        serve_gateway(gateway) as proxy,
    ):
        kernels = {}
        for path, name in (("work/first.ipynb", "python3"), ("work/second.ipynb", "python3"), (HOSTILE, "other")):
            made = {"path": path, "kernel": {"name": name}}
            kernels[path] = (await proxy.ask("POST", "/api/sessions", made)).json()["kernel"]["id"]
        first, second = kernels["work/first.ipynb"], kernels["work/second.ipynb"]

        async def hang() -> None:
            fake.faults.delay_answer("(GET|POST|DELETE) .*", math.inf)
            await trio.lowlevel.checkpoint()

        async def away() -> None:
            fake.faults.clear()
            fake.faults.refuse()
            fake.cut_connections()
            await trio.lowlevel.checkpoint()

        async def back() -> None:
            fake.faults.clear()
            await trio.lowlevel.checkpoint()

        async def slow() -> None:
            fake.faults.delay_answer("POST .*/interrupt", 5.0, times=1)
            await trio.lowlevel.checkpoint()

        async def empty() -> None:
            for kernel_id in list(fake.kernels):
                await gateway.kernels.shutdown(kernel_id)

        async def sign_out() -> None:
            proxy.app.change_token("another")
            await trio.lowlevel.checkpoint()

        commands = {"hang": hang, "away": away, "back": back, "slow": slow, "empty": empty, "sign_out": sign_out}
        told: list[Message] = []

        async def keep_busy(*, task_status: trio.TaskStatus[None]) -> None:
            async with open_front(proxy, first) as front:
                asked = await front.execute("the first kernel is busy for an hour")
                await front.until("execute_input", asked)
                task_status.started()
                told.extend(await front.whole(asked, patience=math.inf))  # for as long as the browser looks

        async with open_controls(commands) as controls, trio.open_nursery() as nursery:
            await nursery.start(keep_busy)
            seen = await drive(driver, "page.mjs", proxy.url, TOKEN, str(controls), first, second)
        assert [message.content["ename"] for message in told if message.msg_type == "error"] == ["KeyboardInterrupt"]
    assert seen.pop("problems") == []
    assert seen.pop("axe") == []
    assert len(seen) >= 30
    assert {name: found for name, found in seen.items() if found is not True} == {}
