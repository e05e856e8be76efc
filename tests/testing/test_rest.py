"""The REST interface: statuses and bodies as Kernel Gateway has them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway.testing import FakeGateway, FakeKernelSpec, FakeRequest
from trio_gateway.testing._rest import answer_request, refusal
from trio_gateway.testing._state import GatewayState

Clock = trio.testing.MockClock
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@asynccontextmanager
async def running(**settings: Any) -> AsyncGenerator[GatewayState]:
    state = GatewayState(**settings)
    async with state._running():
        yield state


async def ask(state: GatewayState, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Ask for something, and return the answer's status and body."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    answer = await answer_request(state, FakeRequest(method, path, body=content))
    is_json = answer.headers.get("Content-Type") == "application/json"
    return answer.status, json.loads(answer.body) if is_json else answer.body


# By itself --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "query", "settings", "status"),
    [
        ({}, {}, {}, 401),
        ({}, {}, {"token": ""}, None),
        ({"authorization": "token t"}, {}, {}, None),
        ({"authorization": "token other"}, {}, {}, 401),
        ({"authorization": "Bearer t"}, {}, {}, 401),
        ({"authorization": "Token t"}, {}, {}, 401),
        ({"authorization": "Bearer t"}, {}, {"takes_bearer": True}, None),
        ({"authorization": "TOKEN t"}, {}, {"takes_bearer": True}, None),
        ({"authorization": "Basic t"}, {}, {"takes_bearer": True}, 401),
        ({}, {"token": "t"}, {}, None),
        ({}, {"token": "other"}, {}, 401),
    ],
)
def test_who_is_let_in(headers: dict[str, str], query: dict[str, str], settings: Any, status: int | None) -> None:
    state = GatewayState(**{"token": "t", **settings})
    answer = refusal(state, FakeRequest("GET", "/api", query, headers))
    assert (None if answer is None else answer.status) == status


def test_how_it_refuses_can_be_set() -> None:
    state = GatewayState()
    state.refusal_status = 403
    answer = refusal(state, FakeRequest("GET", "/api"))
    assert answer is not None
    assert answer.status == 403


async def test_kernelspecs() -> None:
    spec = FakeKernelSpec(name="other", resources={"logo.svg": b"<svg/>", "x.unheard": b"?"})
    async with running(kernelspecs=[FakeKernelSpec(name="python3"), spec]) as state:
        status, listed = await ask(state, "GET", "/api/kernelspecs")
        assert (status, listed["default"], list(listed["kernelspecs"])) == (200, "python3", ["python3", "other"])
        assert await ask(state, "GET", "/api/kernelspecs/OTHER") == (200, {**spec.model(), "name": "OTHER"})
        assert (await ask(state, "GET", "/api/kernelspecs/nope"))[0] == 404
        assert await ask(state, "GET", "/kernelspecs/other/logo.svg") == (200, b"<svg/>")
        found = await answer_request(state, FakeRequest("GET", "/kernelspecs/other/x.unheard"))
        assert found.headers["Content-Type"] == "application/octet-stream"
        assert (await ask(state, "GET", "/kernelspecs/other/none"))[0] == 404
        assert (await ask(state, "GET", "/kernelspecs/nope/logo.svg"))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api", 200),
        ("GET", "/api/nothing", 404),
        ("POST", "/api/kernelspecs", 405),
        ("POST", "/api/kernelspecs/python3", 405),
        ("GET", "/api/kernelspecs/python3/more", 404),
        ("PUT", "/api/kernels", 405),
        ("PUT", f"/api/kernels/{UNKNOWN}", 405),
        ("GET", f"/api/kernels/{UNKNOWN}/more", 404),
        ("GET", "/api/kernels/not-an-id", 404),
        ("PUT", "/api/sessions", 405),
    ],
)
async def test_what_there_is_not(method: str, path: str, status: int) -> None:
    async with running() as state:
        assert (await ask(state, method, path))[0] == status


async def test_starting_kernels(autojump_clock: Clock) -> None:
    async with running(max_kernels=2) as state:
        status, made = await ask(state, "POST", "/api/kernels", {"kernel_id": UNKNOWN, "env": {"A": "1"}})
        assert (status, made["id"], made["name"]) == (201, UNKNOWN, "python3")
        assert state.kernels[UNKNOWN].env == {"A": "1"}
        assert (await ask(state, "POST", "/api/kernels", {"kernel_id": UNKNOWN}))[1]["id"] == UNKNOWN
        assert len(state.kernels) == 1
        state.takes_kernel_id = False
        assert (await ask(state, "POST", "/api/kernels", {"kernel_id": UNKNOWN}))[1]["id"] != UNKNOWN
        assert (await ask(state, "POST", "/api/kernels"))[0] == 403
        for body in (b"{", [1], {"env": 1}):
            assert (await ask(state, "POST", "/api/kernels", body))[0] == 400
        for name in ("nope", 7):
            assert (await ask(state, "POST", "/api/kernels", {"name": name}))[0] == 500


async def test_a_kernels_life(autojump_clock: Clock) -> None:
    async with running(shutdown_seconds=4, restart_seconds=2) as state:
        kernel = await state.start_kernel("python3", kernel_id=UNKNOWN)
        assert await ask(state, "GET", "/api/kernels") == (200, [kernel.model()])
        state.list_kernels = False
        assert (await ask(state, "GET", "/api/kernels"))[0] == 403
        assert (await ask(state, "GET", "/api/sessions"))[0] == 403
        assert await ask(state, "GET", f"/api/kernels/{UNKNOWN}") == (200, kernel.model())
        assert await ask(state, "POST", f"/api/kernels/{UNKNOWN}/interrupt") == (204, b"")
        assert kernel.interrupts == 1
        assert (await ask(state, "POST", f"/api/kernels/{UNKNOWN}/restart"))[1]["id"] == UNKNOWN
        assert (kernel.restarts, trio.current_time()) == (1, 2)
        assert await ask(state, "DELETE", f"/api/kernels/{UNKNOWN}") == (204, b"")
        assert (state.kernels, trio.current_time()) == ({}, 6)
        statuses = [(await ask(state, method, f"/api/kernels/{UNKNOWN}{more}"))[0] for method, more in [
            ("GET", ""), ("DELETE", ""), ("POST", "/interrupt"), ("POST", "/restart")
        ]]  # fmt: skip
        assert statuses == [404, 404, 404, 500]


async def test_a_kernel_that_ends_while_it_restarts(autojump_clock: Clock) -> None:
    async with running(restart_seconds=2) as state:
        await state.start_kernel("python3", kernel_id=UNKNOWN)
        async with trio.open_nursery() as nursery:

            async def restart() -> None:
                assert (await ask(state, "POST", f"/api/kernels/{UNKNOWN}/restart"))[0] == 500

            nursery.start_soon(restart)
            await trio.sleep(1)
            await ask(state, "DELETE", f"/api/kernels/{UNKNOWN}")
        assert len(state.orphans) == 1


async def test_sessions(autojump_clock: Clock) -> None:
    async with running() as state:
        body = {"path": "a.ipynb", "name": "a", "type": "console", "kernel": {"name": "python3"}}
        status, made = await ask(state, "POST", "/api/sessions", body)
        assert (status, made["path"], made["name"], made["type"]) == (201, "a.ipynb", "a", "console")
        assert list(state.kernels) == [made["kernel"]["id"]]
        url = f"/api/sessions/{made['id']}"
        assert (await ask(state, "POST", "/api/sessions", {"path": "a.ipynb"}))[1]["id"] == made["id"]
        beside = {"path": "b.ipynb", "kernel": {"id": made["kernel"]["id"]}}
        other = (await ask(state, "POST", "/api/sessions", beside))[1]
        assert (other["kernel"]["id"], other["type"]) == (made["kernel"]["id"], "notebook")
        assert await ask(state, "GET", url) == (200, state.sessions[made["id"]].model())
        status, moved = await ask(state, "PATCH", url, {"path": "c.ipynb", "type": "file"})
        assert (status, moved["path"], moved["name"], moved["type"]) == (200, "c.ipynb", "a", "file")
        assert [each["id"] for each in (await ask(state, "GET", "/api/sessions"))[1]] == [made["id"], other["id"]]
        assert (await ask(state, "PUT", url))[0] == 405
        assert await ask(state, "DELETE", url) == (204, b"")
        assert state.kernels == {}
        assert await ask(state, "GET", "/api/sessions") == (200, [])  # the kernel of the other one is gone too
        assert (await ask(state, "GET", url))[0] == 404
        assert (await ask(state, "POST", "/api/sessions", b"{"))[0] == 400
        assert (await ask(state, "POST", "/api/sessions", {"path": "x", "kernel": {"name": "nope"}}))[0] == 501


# With a client ----------------------------------------------------------------------------------------------------------


async def test_rest(autojump_clock: Clock, fake: FakeGateway) -> None:
    fake.kernelspecs["other"] = FakeKernelSpec(name="other", resources={"logo.svg": b"<svg/>"})
    async with fake.open() as gateway:
        specs = await gateway.kernelspecs.list()
        assert specs.default == "python3"
        assert set(specs.kernelspecs) == {"python3", "other"}
        assert (await gateway.kernelspecs.resource("other", "logo.svg")).content == b"<svg/>"
        with pytest.raises(trio_gateway.KernelSpecNotFoundError):
            await gateway.kernelspecs.get("nope")
        async with gateway.start_kernel("other", env={"KERNEL_A": "1"}) as kernel:
            assert fake.kernels[kernel.id].env["KERNEL_A"] == "1"
            assert [model.id for model in await gateway.kernels.list()] == [kernel.id]
            await gateway.kernels.interrupt(kernel.id)
            assert (await gateway.kernels.restart(kernel.id)).id == kernel.id
        with pytest.raises(trio_gateway.KernelNotFoundError):
            await gateway.kernels.get(kernel.id)


async def test_rest_as_measured(autojump_clock: Clock, fake: FakeGateway) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    async with fake.open(max_request_retries=0) as gateway, gateway.http_client() as client:
        assert (await client.get("api")).json() == {"version": "2.21.1"}
        assert (await client.post("api/kernels", json={"name": "nope"})).status_code == 500
        assert (await client.post("api/kernels", content=b"{")).status_code == 400
        assert (await client.post("api/kernels", json={"env": 1})).status_code == 400
        started = await client.post("api/kernels", json={"kernel_id": unknown})
        assert started.status_code == 201
        assert started.headers["Location"] == f"/api/kernels/{unknown}"
        assert started.json()["id"] == unknown
        assert (await client.post("api/kernels", json={"kernel_id": unknown})).json()["id"] == unknown
        assert (await client.delete(f"api/kernels/{unknown}")).status_code == 204
        assert (await client.delete(f"api/kernels/{unknown}")).status_code == 404
        assert (await client.post(f"api/kernels/{unknown}/interrupt")).status_code == 404
        assert (await client.post(f"api/kernels/{unknown}/restart")).status_code == 500
        assert (await client.get(f"api/kernels/{unknown}/channels")).status_code == 404
        fake.list_kernels = False
        assert (await client.get("api/kernels")).status_code == 403
        fake.max_kernels = 0
        assert (await client.post("api/kernels", json={})).status_code == 403


async def test_sessions_over_rest(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.http_client() as client:
        made = await client.post("api/sessions", json={"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {}})
        assert made.status_code == 201
        session = made.json()
        again = await client.post("api/sessions", json={"path": "a.ipynb", "kernel": {}})
        assert again.json()["id"] == session["id"]
        moved = await client.patch(f"api/sessions/{session['id']}", json={"path": "b.ipynb"})
        assert moved.json()["path"] == "b.ipynb"
        assert [each["id"] for each in (await client.get("api/sessions")).json()] == [session["id"]]
        assert (await client.delete(f"api/sessions/{session['id']}")).status_code == 204
        assert (await client.get(f"api/sessions/{session['id']}")).status_code == 404
        assert not fake.kernels


async def test_authentication(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open(auth_token="wrong") as gateway:
        with pytest.raises(trio_gateway.AuthenticationError):
            await gateway.kernelspecs.list()
    async with fake.open(auth_scheme="Bearer") as gateway:
        with pytest.raises(trio_gateway.AuthenticationError):
            await gateway.kernelspecs.list()
        fake.takes_bearer = True
        await gateway.kernelspecs.list()
    async with fake.open(auth_token=None) as gateway, gateway.http_client() as client:
        assert (await client.get("api/kernelspecs")).status_code == 401
        assert (await client.get("api/kernelspecs", params={"token": fake.token})).status_code == 200
        fake.token = ""
        assert (await client.get("api/kernelspecs")).status_code == 200
    assert "fake-token" not in str(fake.conversation)
    assert "token=***" not in str(fake.conversation)
