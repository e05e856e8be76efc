"""The proxy's HTTP routes: on the fake gateway, and where the gateway's part counts on a real one too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

import trio_gateway
from trio_gateway._doctor.examine import examine
from trio_gateway._doctor.findings import Check

from .proxy_kit import TOKEN, open_proxy

if TYPE_CHECKING:
    from .proxy_kit import Behind


async def test_what_a_server_says_of_itself() -> None:
    async with open_proxy(None) as proxy:
        assert (await proxy.ask("GET", "/api")).json() == {"version": trio_gateway.__version__, "proxy": "trio_gateway"}
        status = (await proxy.ask("GET", "/api/status")).json()
        assert status["kernels"] == status["connections"] == 0
        assert status["started"].endswith("Z")
        me = (await proxy.ask("GET", "/api/me")).json()
        assert me["identity"]["username"] == "anonymous"
        assert me["permissions"] == {}


async def test_doctor_knows_what_it_talks_to() -> None:
    async def report(check: Check) -> None:
        await trio.lowlevel.checkpoint()

    async with open_proxy(None) as proxy:
        config = trio_gateway.GatewayConfig(url=proxy.url, auth_token=TOKEN)
        checks = await examine(config, environ={}, now=0, report=report)
    (told,) = [check.detail for check in checks if check.name == "http"]
    assert told == f"the proxy of trio_gateway {trio_gateway.__version__}, which passes on what another gateway has"


async def test_a_kernels_life(behind: Behind) -> None:
    async with open_proxy(behind) as proxy:
        started = await proxy.ask("POST", "/api/kernels", {"name": "python3", "env": {"KERNEL_USERNAME": "ada"}})
        assert started.status == 201
        model = started.json()
        path = f"/api/kernels/{model['id']}"
        assert started.headers["location"] == path
        assert model["name"] == "python3"
        assert isinstance(model["last_activity"], str)
        assert model["connections"] == 0
        assert (await proxy.ask("GET", path)).json()["id"] == model["id"]
        assert [kernel["id"] for kernel in (await proxy.ask("GET", "/api/kernels")).json()] == [model["id"]]
        assert (await proxy.ask("POST", f"{path}/interrupt")).status == 204
        restarted = await proxy.ask("POST", f"{path}/restart")
        assert (restarted.status, restarted.json()["id"]) == (200, model["id"])
        ended = await proxy.ask("DELETE", path)
        assert (ended.status, ended.body) == (204, b"")
        for method, action in (("GET", ""), ("DELETE", ""), ("POST", "/interrupt"), ("POST", "/restart")):
            gone = await proxy.ask(method, path + action)
            assert gone.status == 404
            assert gone.json() == {"message": f"Kernel does not exist: {model['id']}", "reason": "Not Found"}


async def test_a_front_end_may_choose_the_kernels_id(behind: Behind) -> None:
    wish = {"kernel_id": "c8a1f0de-5f0b-4f5e-9b67-0d3a2f1e4b55"}
    async with open_proxy(behind) as proxy:
        assert (await proxy.ask("POST", "/api/kernels", wish)).json()["id"] == wish["kernel_id"]
        assert (await proxy.ask("DELETE", f"/api/kernels/{wish['kernel_id']}")).status == 204


async def test_a_start_without_a_body_is_the_default_kernel() -> None:
    async with open_proxy(None) as proxy:
        started = await proxy.ask("POST", "/api/kernels")
        assert (started.status, started.json()["name"]) == (201, "python3")
        assert (await proxy.ask("DELETE", f"/api/kernels/{started.json()['id']}")).status == 204


@pytest.mark.parametrize(
    ("raw", "status", "message"),
    [
        (b"{", 400, "Invalid JSON in body of request"),
        (b"[]", 400, "the body is JSON, but no object"),
        (b"[" * 100_000, 400, "Invalid JSON in body of request"),
        (b'{"name": 3}', 400, "name: expected text"),
        (b'{"env": []}', 400, "env: expected an object"),
        (b'{"env": {"SECRET": "hush\\u0000"}}', 400, "env['SECRET']"),
        (b'{"name": "no-such-kernel"}', 404, "no-such-kernel"),
        (b"x" * (1024 * 1024 + 1), 413, "1048576 bytes"),
    ],
)
async def test_a_body_that_is_wrong_is_named(behind: Behind, raw: bytes, status: int, message: str) -> None:
    async with open_proxy(behind) as proxy:
        answer = await proxy.ask("POST", "/api/kernels", raw=raw)
        assert answer.status == status
        assert message in answer.json()["message"]
        assert set(answer.json()) == {"message", "reason"}
        assert b"hush" not in answer.body


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async with open_proxy(None, body_seconds=0.01) as proxy:
        async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
            head = f"POST /api/kernels HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: token {TOKEN}\r\nContent-Length: 10\r\n\r\n"
            await stream.send_all(head.encode())
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 408 ")


async def test_kernelspecs_and_their_files(behind: Behind) -> None:
    async with open_proxy(behind, base_path="/lab/gateway/") as proxy:
        listed = (await proxy.ask("GET", "/lab/gateway/api/kernelspecs")).json()
        assert listed["default"] == "python3"
        spec = listed["kernelspecs"]["python3"]
        assert spec["spec"]["language"] == "python"
        assert spec["spec"]["argv"]
        assert (await proxy.ask("GET", "/lab/gateway/api/kernelspecs/python3")).json() == spec
        logo = spec["resources"]["logo-64x64"]
        assert logo == "/lab/gateway/kernelspecs/python3/logo-64x64.png"
        image = await proxy.ask("GET", logo)
        assert (image.status, image.headers["content-type"]) == (200, "image/png")
        assert image.body.startswith(b"\x89PNG")
        again = await proxy.ask("GET", logo, headers={"If-None-Match": image.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        other = await proxy.ask("GET", logo, headers={"If-None-Match": '"another"'})
        assert (other.status, other.body) == (200, image.body)
        head = await proxy.ask("HEAD", logo)
        assert (head.status, head.body, head.headers["content-type"]) == (200, b"", "image/png")
        assert (await proxy.ask("GET", "/lab/gateway/api/kernelspecs/none")).status == 404
        assert (await proxy.ask("GET", "/api/kernelspecs")).status == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/kernelspecs/python3/logo-999.png", 404),
        ("/kernelspecs/none/logo-64x64.png", 404),
        ("/kernelspecs/python3/", 400),
        ("/kernelspecs/python3/../../etc/passwd", 400),
        ("/kernelspecs/python3/%2e%2e/%2e%2e/etc/passwd", 400),
        ("/kernelspecs/python3/..%2f..%2fetc%2fpasswd", 400),
        ("/kernelspecs/python3/%252e%252e/secret", 404),
        ("/kernelspecs/python3//etc/passwd", 404),
        ("/kernelspecs/python3/a%00b", 400),
        ("/api/kernels/%2e%2e", 400),
        ("/api/kernels/a%ffb", 400),
    ],
)
async def test_paths_are_decoded_once_and_stay_in_their_folder(behind: Behind, path: str, status: int) -> None:
    """A file that is not there is 404, and no path leads out of a kernelspec's folder."""
    async with open_proxy(behind) as proxy:
        answer = await proxy.ask("GET", path)
        assert answer.status == status
        assert set(answer.json()) == {"message", "reason"}


async def test_sessions_are_served_here(behind: Behind) -> None:
    async with open_proxy(behind) as proxy:
        wish = {"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {"name": "python3"}}
        made = await proxy.ask("POST", "/api/sessions", wish)
        assert made.status == 201
        session = made.json()
        assert session["notebook"] == {"path": "a.ipynb", "name": "a"}
        path = f"/api/sessions/{session['id']}"
        assert made.headers["location"] == path
        again = await proxy.ask("POST", "/api/sessions", wish)
        assert (again.status, again.json()["id"]) == (201, session["id"])
        assert (await proxy.ask("GET", path)).json()["kernel"]["id"] == session["kernel"]["id"]
        assert [each["id"] for each in (await proxy.ask("GET", "/api/sessions")).json()] == [session["id"]]
        # A front end that renames sends the whole model back.
        renamed = await proxy.ask("PATCH", path, {**session, "path": "b.ipynb"})
        assert (renamed.status, renamed.json()["path"]) == (200, "b.ipynb")
        assert renamed.json()["kernel"]["id"] == session["kernel"]["id"]
        other = (await proxy.ask("PATCH", path, {"kernel": {"name": "python3"}})).json()["kernel"]["id"]
        assert other != session["kernel"]["id"]
        assert (await proxy.ask("GET", f"/api/kernels/{session['kernel']['id']}")).status == 404
        assert (await proxy.ask("DELETE", path)).status == 204
        assert (await proxy.ask("DELETE", path)).status == 404
        assert (await proxy.ask("GET", path)).status == 404
        assert (await proxy.ask("GET", f"/api/kernels/{other}")).status == 404
        assert (await proxy.ask("POST", "/api/sessions", {"kernel": {}})).status == 400


async def test_a_session_whose_kernel_is_gone_gets_another(behind: Behind) -> None:
    """As after a restart of the gateway: the front end has polled the sessions, and asks for the one that it knows."""
    async with open_proxy(behind) as proxy:
        made = (await proxy.ask("POST", "/api/sessions", {"path": "a.ipynb", "kernel": {"name": "python3"}})).json()
        await proxy.gateway.kernels.shutdown(made["kernel"]["id"])
        assert (await proxy.ask("GET", "/api/sessions")).json() == []
        path = f"/api/sessions/{made['id']}"
        assert (await proxy.ask("GET", path)).status == 404
        moved = await proxy.ask("PATCH", path, {"kernel": {"name": "python3"}})
        assert (moved.status, moved.json()["id"]) == (200, made["id"])
        assert [each["id"] for each in (await proxy.ask("GET", "/api/sessions")).json()] == [made["id"]]
        assert (await proxy.ask("DELETE", path)).status == 204


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_terminals_are_said_not_to_be_there(method: str) -> None:
    async with open_proxy(None) as proxy:
        answer = await proxy.ask(method, "/api/terminals")
        assert (answer.status, answer.json()) == (404, {"message": "this proxy has no terminals", "reason": "Not Found"})


async def test_health_and_metrics() -> None:
    async with open_proxy(None) as proxy:
        health = await proxy.ask("GET", "/healthz", token=None, headers={"Host": "anything.example"})
        assert (health.status, health.json()) == (200, {"status": "ok"})
        assert (await proxy.ask("GET", "/metrics", token=None)).status == 401
        metrics = await proxy.ask("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert metrics.headers["content-type"].startswith("text/plain")
        assert b'trio_gateway_proxy_requests_total{method="GET",status="401"} 1.0' in metrics.body
        await proxy.ask("BREW", "/api")
        assert b'method="OTHER"' in (await proxy.ask("GET", "/metrics")).body
        proxy.app.drain()
        assert (await proxy.ask("GET", "/healthz", token=None)).status == 503
