"""Traps of `jupyter_server.gateway`'s managers (rows B10 to B20, B38 to B41): each shown not to be here.

On the real gateway where it does what the row needs, else on one in memory that answers as wrongly as the row says.
"""

from __future__ import annotations

import inspect
import logging
import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock

import trio_gateway
from tools.gateway_tools import rest
from tools.rest_fake import ID_A, ID_B, ID_C, NORMAL, Answer, Request, RestFake, error, open_fake
from trio_gateway import (
    CullPolicy,
    GatewayConfig,
    GatewayConnectionError,
    GatewayEvent,
    GatewayHTTPError,
    GatewayTimeoutError,
    InvalidInputError,
    KernelNotFoundError,
    KernelSpecNotFoundError,
    ProtocolError,
    Verdict,
)
from trio_gateway._transport.connector import connect_tcp

if TYPE_CHECKING:
    from conftest import RunningGateway


# ------------------------------------------------------------------------------------------------ B10: DNS is not a 404


class Resolver:
    """A connector whose name resolution can fail."""

    def __init__(self) -> None:
        self.fails = False

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        if self.fails:
            await trio.lowlevel.checkpoint()
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return await connect_tcp(host, port)


@pytest.mark.full
@pytest.mark.gateway
async def test_b10_a_name_that_does_not_resolve_is_no_kernel_that_is_gone(real_gateway: RunningGateway) -> None:
    resolver = Resolver()
    async with trio_gateway.open_gateway(
        real_gateway.url, auth_token=real_gateway.token, connector=resolver.connect, max_request_retries=0, max_connections=1
    ) as gateway:
        model = await gateway.kernels.start("python3")
        session = await gateway.sessions.create("a.ipynb", kernel_id=model.id)
    # Another gateway object has no connection in its pool, so it has to resolve the name.
    async with trio_gateway.open_gateway(
        real_gateway.url, auth_token=real_gateway.token, connector=resolver.connect, max_request_retries=0
    ) as gateway:
        resolver.fails = True
        for ask in (
            gateway.kernels.get,
            gateway.kernels.shutdown,
            gateway.kernels.interrupt,
            gateway.kernels.restart,
            gateway.kernelspecs.get,
        ):
            with pytest.raises(GatewayConnectionError) as caught:
                await ask(model.id)
            assert not isinstance(caught.value, KeyError)
        with pytest.raises(GatewayConnectionError):
            async with gateway.attach_kernel(model.id):
                pass
        resolver.fails = False
        assert (await gateway.kernels.get(model.id)).id == session.kernel.id, "it was neither forgotten nor shut down"
        await gateway.kernels.shutdown(model.id)
    assert real_gateway.kernel_processes() == []


async def test_b10_a_known_kernel_stays_known_while_the_name_does_not_resolve(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.lists = False
    fake.script("DELETE .*", None)
    async with open_fake(fake, max_request_retries=0) as gateway:
        model = await gateway.kernels.start()
        fake.script("GET .*", None, times=1)  # and with it goes the connection
        fake.unresolvable = True
        with pytest.raises(GatewayConnectionError):
            await gateway.kernels.list()
        with pytest.raises(GatewayConnectionError):
            await gateway.kernels.shutdown(model.id)
        fake.unresolvable = False
        fake.scripts.clear()
        assert [known.id for known in await gateway.kernels.list()] == [model.id]
        await gateway.kernels.shutdown(model.id)
    assert fake.kernels == {}


# ----------------------------------------------------------------------------------- B11: only a 404 means that it is gone


@pytest.mark.parametrize("answer", [*map(error, (400, 408, 429, 500, 502, 503, 504)), None, Answer(200, b"<html>")])
async def test_b11_only_a_404_of_the_double_check_forgets_a_kernel(autojump_clock: MockClock, answer: Answer | None) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        model = await gateway.kernels.start()
        session = await gateway.sessions.create("a.ipynb", kernel_id=model.id)
        fake.omitted = {model.id}
        fake.script(f"GET /api/kernels/{model.id}", answer)
        (listed,) = await gateway.kernels.list()
        assert (listed.id, listed.execution_state) == (model.id, "unknown")
        assert len(await gateway.sessions.list()) == 1
        fake.scripts.clear()
        assert [known.id for known in await gateway.kernels.list()] == [model.id]
        assert await gateway.sessions.get(session.id)
        del fake.kernels[model.id]
        assert await gateway.kernels.list() == []
        assert await gateway.sessions.list() == []


# --------------------------------------------------------------------------------- B12: kernels that go while others look


async def test_b12_a_kernel_that_is_shut_down_in_the_middle_of_a_list(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        one, two = await gateway.kernels.start(), await gateway.kernels.start()
        fake.omitted = {one.id, two.id}

        async def meanwhile(_: Request) -> Any:
            await gateway.kernels.shutdown(two.id)
            return NORMAL

        fake.script("GET /api/kernels", meanwhile, times=1)
        assert [model.id for model in await gateway.kernels.list()] == [one.id]
        fake.script(f"GET /api/kernels/{one.id}", meanwhile, times=1)
        assert [model.id for model in await gateway.kernels.list()] == [one.id]


async def test_b12_lists_and_shutdowns_of_many_tasks(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        models = [await gateway.kernels.start() for _ in range(10)]
        fake.omitted = {model.id for model in models}
        async with trio.open_nursery() as nursery:
            for model in models:
                nursery.start_soon(gateway.kernels.list)
                nursery.start_soon(gateway.kernels.shutdown, model.id)
                nursery.start_soon(gateway.kernels.cull, CullPolicy(idle_timeout=1))
                nursery.start_soon(gateway.kernels.shutdown_all)
        assert await gateway.kernels.list() == []


# ----------------------------------------------------------------------------------------- B13, B41: nothing is shared


@pytest.mark.full
@pytest.mark.gateway
async def test_b13_b41_gateways_of_one_process_share_nothing(real_gateway: RunningGateway) -> None:
    fake = RestFake()
    fake.lists = False
    async with (
        trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as one,
        trio_gateway.open_gateway(real_gateway.url, auth_token="wrong") as two,
        open_fake(fake) as three,
    ):
        model = await one.kernels.start("python3")
        assert [known.id for known in await one.kernels.list()] == [model.id]
        with pytest.raises(trio_gateway.AuthenticationError):
            await two.kernels.list()
        assert await three.kernels.list() == []
        await one.sessions.create("a.ipynb", kernel_id=model.id)
        assert await two.sessions.list() == []
        assert {gateway.url for gateway in (one, two)} == {real_gateway.url}
        assert three.url != one.url
        await three.kernels.shutdown_all()
        assert (await one.kernels.get(model.id)).id == model.id
        await one.kernels.shutdown_all()
    assert real_gateway.kernel_processes() == []


# --------------------------------------------------------------------------------------------------- B14: all are tried


@pytest.mark.parametrize("answer", [error(500), error(503), None, Answer(200, b"")])
async def test_b14_one_failure_does_not_stop_the_others(autojump_clock: MockClock, answer: Answer | None) -> None:
    fake = RestFake()
    for kernel_id in (ID_A, ID_B, ID_C):
        fake.add(kernel_id)
    fake.script(f"DELETE /api/kernels/{ID_A}", answer)
    fake.script(f"DELETE /api/kernels/{ID_C}", error(404))
    async with open_fake(fake) as gateway:
        if answer is not None and answer.status == 200:
            await gateway.kernels.shutdown_all()
        else:
            with pytest.RaisesGroup(pytest.RaisesExc(trio_gateway.GatewayError), match="1 of 3 kernels") as caught:
                await gateway.kernels.shutdown_all()
            assert ID_A in str(caught.value.exceptions[0].__notes__)
    assert ID_B not in fake.kernels


async def test_b14_a_shutdown_that_hangs_does_not_hold_up_the_others(autojump_clock: MockClock) -> None:
    fake = RestFake()
    for kernel_id in (ID_A, ID_B, ID_C):
        fake.add(kernel_id)

    async def hang(_: Request) -> Any:
        await trio.sleep_forever()

    fake.script(f"DELETE /api/kernels/{ID_A}", hang)
    async with open_fake(fake, request_timeout=50) as gateway:
        with pytest.RaisesGroup(GatewayTimeoutError):
            await gateway.kernels.shutdown_all()
    assert set(fake.kernels) == {ID_A}


# ------------------------------------------------------------------------------------------------- B15: start is no attach


@pytest.mark.gateway
async def test_b15_an_unknown_kernel_cannot_be_attached_to(gateway: trio_gateway.Gateway) -> None:
    with pytest.raises(KernelNotFoundError):
        async with gateway.attach_kernel(ID_A):
            pass
    with pytest.raises(KernelNotFoundError):
        await gateway.sessions.create("a.ipynb", kernel_id=ID_A)
    assert "kernel_id" not in inspect.signature(gateway.start_kernel).parameters
    # To start with an id is to start, not to attach.
    model = await gateway.kernels.start(kernel_id=ID_A)
    await gateway.kernels.shutdown(model.id)
    assert model.id == ID_A


async def test_b15_a_start_that_is_answered_with_null(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.lists = False
    fake.script("POST /api/kernels", Answer(201, b"null"))
    async with open_fake(fake) as gateway:
        with pytest.raises(ProtocolError):
            await gateway.kernels.start()
        with pytest.raises(ProtocolError):
            async with gateway.start_kernel():
                pass
        assert await gateway.kernels.list() == []


# --------------------------------------------------------------------------------------------- B16: is it alive, right now


@pytest.mark.gateway
async def test_b16_after_a_404_a_kernel_is_not_alive_at_once(real_gateway: RunningGateway) -> None:
    kernel_id = rest(real_gateway, "POST", "/api/kernels", {"name": "python3", "env": {}})["id"]
    async with (
        trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
        gateway.attach_kernel(kernel_id) as kernel,
    ):
        assert await kernel.hb.check() is Verdict.ALIVE
        rest(real_gateway, "DELETE", f"/api/kernels/{kernel_id}")
        assert await kernel.hb.check() is Verdict.CULLED
        assert not kernel.hb.is_beating()
        with pytest.raises(KernelNotFoundError):
            await gateway.kernels.get(kernel_id)


# -------------------------------------------------------------------------------------------------- B17, B18: what models say


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T12:00:00Z", datetime(2026, 1, 2, 12, tzinfo=UTC)),
        ("2026-01-02T12:00:00.000001Z", datetime(2026, 1, 2, 12, 0, 0, 1, tzinfo=UTC)),
        ("2026-01-02T13:00:00+01:00", datetime(2026, 1, 2, 12, tzinfo=UTC)),
        ("2026-01-02T12:00:00", datetime(2026, 1, 2, 12, tzinfo=UTC)),
        ("yesterday", None),
        (None, None),
        (5, None),
    ],
)
async def test_b17_any_time_can_be_read(autojump_clock: MockClock, text: Any, expected: datetime | None) -> None:
    fake = RestFake()
    fake.add(ID_A, last_activity=text)
    async with open_fake(fake) as gateway:
        assert (await gateway.kernels.get(ID_A)).last_activity == expected
        await gateway.kernels.cull(CullPolicy(idle_timeout=1, all_listed=True))
    assert (ID_A in fake.kernels) is (expected is None or expected >= datetime(2026, 1, 2, 12, tzinfo=UTC))


async def test_b18_a_model_without_what_this_side_wants(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.kernels[ID_A] = {"id": ID_A}
    async with open_fake(fake) as gateway:
        (model,) = await gateway.kernels.list()
        assert (model.connections, model.last_activity, model.execution_state, model.name) == (None, None, "unknown", "")
        assert await gateway.kernels.cull(CullPolicy(idle_timeout=1, all_listed=True)) == []
    assert ID_A in fake.kernels


async def test_b18_only_what_is_asked_for_leaves_this_process(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNEL_SECRET", "$`\n")
    monkeypatch.setenv("KERNEL_USERNAME", "bob")
    monkeypatch.setenv("FOO", "1")
    monkeypatch.setenv("BAR", "2")
    before = dict(os.environ)
    config = GatewayConfig.from_env(
        {"JUPYTER_GATEWAY_URL": "http://gateway.test:8888/Base", "JUPYTER_GATEWAY_ALLOWED_ENVS": "FOO, BAR ,BAZ"},
        kernel_username="alice",
    )
    fake = RestFake()
    async with open_fake(fake, allowed_envs=config.allowed_envs, kernel_username=config.kernel_username) as gateway:
        model = await gateway.kernels.start(env=None)
    (post,) = [request for request in fake.requests if request.method == "POST"]
    assert post.body["env"] == {"FOO": "1", "BAR": "2", "KERNEL_USERNAME": "alice", "KERNEL_ID": model.id}
    assert dict(os.environ) == before


# --------------------------------------------------------------------------------------------------- B19: secrets in `env`


async def test_b19_what_is_in_env_is_told_to_nobody(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    events: list[GatewayEvent] = []
    fake = RestFake()
    secret = {"KERNEL_PASSWORD": "hunter2-hunter2"}
    async with open_fake(fake, on_event=events.append) as gateway:
        await gateway.kernels.start("python3", env=secret)
        fake.script("POST .*", error(500))
        with pytest.raises(GatewayHTTPError) as caught:
            await gateway.kernels.start("python3", env=secret)
        with pytest.raises(InvalidInputError) as refused:
            await gateway.kernels.start("python3", env={"KERNEL_PASSWORD": "hunter2-hunter2\0"})
        said = [repr(gateway), caplog.text, *map(str, events), repr(caught.value), str(caught.value), str(refused.value)]
    assert fake.requests[1].body["env"]["KERNEL_PASSWORD"] == "hunter2-hunter2"
    assert [text for text in said if "hunter2" in text] == []
    assert "KERNEL_PASSWORD" in str(refused.value)


# ----------------------------------------------------------------------------------------- B20: names, and starts that fail


@pytest.mark.full
@pytest.mark.gateway
async def test_b20_the_kernels_real_name_is_known(real_gateway: RunningGateway) -> None:
    events: list[GatewayEvent] = []
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token, on_event=events.append) as gateway:
        model = await gateway.kernels.start()  # the gateway's default: only the gateway knows which
        assert model.name == "python3"
        async with gateway.attach_kernel(model.id) as kernel:
            assert kernel.name == "python3"
        await gateway.kernels.shutdown(model.id)
    named = [(event.action, event.kernel_name) for event in events if event.kind == "kernel"]
    assert named == [("start", "python3"), ("shutdown", "python3")]


async def test_b20_a_start_that_takes_too_long_or_is_cancelled_leaves_no_kernel(autojump_clock: MockClock) -> None:  # G2
    fake = RestFake()

    async def slow(_: Request) -> Any:
        await trio.sleep(50)
        return NORMAL

    fake.script("POST /api/kernels", slow)
    async with open_fake(fake, request_timeout=5, launch_timeout=10, cleanup_timeout=100) as gateway:
        with pytest.raises(GatewayTimeoutError) as caught:
            await gateway.kernels.start()
        assert caught.value.setting == "launch_timeout"
        with trio.move_on_after(1) as scope:
            await gateway.kernels.start()
        assert scope.cancelled_caught
        await trio.sleep(100)
        assert fake.kernels == {}


async def test_b20_a_restart_is_a_restart_and_a_shutdown_is_one(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.add(ID_A)
    async with open_fake(fake) as gateway:
        await gateway.kernels.restart(ID_A)
        assert fake.asked() == [f"POST /api/kernels/{ID_A}/restart"]
        assert ID_A in fake.kernels


# ------------------------------------------------------------------------------------------------------- B38: KERNEL_USERNAME


@pytest.mark.gateway
async def test_b38_a_named_kernelspec_of_a_user(real_gateway: RunningGateway) -> None:
    paths: list[str | None] = []
    async with trio_gateway.open_gateway(
        real_gateway.url,
        auth_token=real_gateway.token,
        kernel_username="alice & bob/../?x=1",
        on_event=lambda event: paths.append(event.path),
    ) as gateway:
        assert (await gateway.kernelspecs.get("python3")).name == "python3"
        with pytest.raises(KernelSpecNotFoundError) as caught:
            await gateway.kernelspecs.get("missing")
        assert "python3" in (await gateway.kernelspecs.list()).kernelspecs
        assert caught.value.name == "missing"
    assert paths == ["/api/kernelspecs/python3", "/api/kernelspecs/missing", "/api/kernelspecs"]


async def test_b38_the_user_is_in_the_query_and_escaped(autojump_clock: MockClock) -> None:
    user = "alice & bob/../?x=1#ü"
    fake = RestFake()
    async with open_fake(fake, kernel_username=user) as gateway:
        await gateway.kernelspecs.get("python3")
        await gateway.kernelspecs.list()
        await gateway.kernelspecs.check("python3")
    assert [(request.path, request.query) for request in fake.requests] == [
        ("/api/kernelspecs/python3", {"user": [user]}),
        ("/api/kernelspecs", {"user": [user]}),
    ]


async def test_b38_a_list_in_answer_to_a_name_is_searched_for_the_name(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.script("GET /api/kernelspecs/.*", Answer(200, {"default": "python3", "kernelspecs": fake.kernelspecs}))
    async with open_fake(fake) as gateway:
        assert (await gateway.kernelspecs.get("python3")).name == "python3"
        with pytest.raises(KernelSpecNotFoundError) as caught:
            await gateway.kernelspecs.get("ir")
        assert caught.value.available == ("python3",)


# -------------------------------------------------------------------------------------- B39: kernelspecs and their files


@pytest.mark.gateway
async def test_b39_kernelspecs_and_their_files_need_no_server_around(real_gateway: RunningGateway) -> None:
    events: list[GatewayEvent] = []
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token, on_event=events.append) as gateway:
        specs = await gateway.kernelspecs.list()
        assert specs.default == await gateway.kernelspecs.default_name() == "python3"
        spec = await gateway.kernelspecs.get("python3")
        assert attrs.asdict(spec) == attrs.asdict(specs.kernelspecs["python3"])
        count = len(events)
        logo = await gateway.kernelspecs.resource("python3", spec.resources["logo-64x64"])
        assert logo == await gateway.kernelspecs.resource("python3", "logo-64x64.png")
        assert logo.content.startswith(b"\x89PNG")
        assert logo.media_type == "image/png"
        assert len(events) == count + 1, "fetched once"
        svg = await gateway.kernelspecs.resource("python3", "logo-svg.svg")
        again = await gateway.kernelspecs.resource("python3", "logo-svg.svg")
        assert svg == again
        assert svg.media_type == "image/svg+xml"
        assert [event.status_code for event in events[count + 1 :]] == [200, 304], "asked about, and not fetched again"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("python3", "../../api/kernels"),
        ("python3", "/kernelspecs/python3/../../api/kernels"),
        ("python3", "%2e%2e/x/../y"),
        ("python3", "a//b"),
        ("python3", ""),
        ("python3", "/"),
        ("python3", "a\\b"),
        ("python3", "a\r\nX: y"),
        ("..", "logo.png"),
        ("", "logo.png"),
        ("python3", 5),
    ],
)
async def test_b39_no_path_leads_out_of_a_kernelspec(autojump_clock: MockClock, name: str, path: Any) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        with pytest.raises(InvalidInputError):
            await gateway.kernelspecs.resource(name, path)
    assert fake.requests == []


async def test_b39_names_and_paths_are_escaped(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.add_spec("a b?#")
    fake.files["a%20b%3F%23/%25/lo%26go.png"] = Answer(200, b"x", {"Content-Type": "image/png; q=1"})
    async with open_fake(fake) as gateway:
        found = await gateway.kernelspecs.resource("a b?#", "%/lo&go.png")
        assert (found.content, found.media_type) == (b"x", "image/png")
        spec = await gateway.kernelspecs.get("a b?#")
        assert spec.resources == {"logo-64x64": "/Base/kernelspecs/a%20b%3F%23/logo-64x64.png"}


async def test_b39_a_file_that_changed_is_fetched_and_one_that_went_is_forgotten(autojump_clock: MockClock) -> None:
    fake = RestFake()
    file = "python3/kernel.js"
    fake.files[file] = Answer(200, b"one", {"ETag": '"1"'})
    async with open_fake(fake) as gateway:
        assert (await gateway.kernelspecs.resource("python3", "kernel.js")).content == b"one"
        fake.files[file] = Answer(200, b"two", {"ETag": '"2"'})
        assert (await gateway.kernelspecs.resource("python3", "kernel.js")).content == b"two"
        fake.files[file] = Answer(304)
        found = await gateway.kernelspecs.resource("python3", "kernel.js")
        assert (found.content, found.etag, found.media_type) == (b"two", '"2"', "text/javascript")
        del fake.files[file]
        with pytest.raises(GatewayHTTPError):
            await gateway.kernelspecs.resource("python3", "kernel.js")
        fake.files[file] = Answer(304)
        with pytest.raises(ProtocolError):
            await gateway.kernelspecs.resource("python3", "kernel.js")
    assert [request.headers.get("if-none-match") for request in fake.requests] == [None, '"1"', '"2"', '"2"', None]


async def test_b39_a_file_is_kept_for_as_long_as_the_gateway_says(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.files["python3/logo.png"] = Answer(200, b"one", {"Cache-Control": "max-age=100"})
    async with open_fake(fake) as gateway:
        await gateway.kernelspecs.resource("python3", "logo.png")
        await trio.sleep(99)
        await gateway.kernelspecs.resource("python3", "logo.png")
        assert len(fake.requests) == 1
        await trio.sleep(2)
        await gateway.kernelspecs.resource("python3", "logo.png")
        assert len(fake.requests) == 2


# ---------------------------------------------------------------------------------------------- B40: a file that is missing


@pytest.mark.gateway
@pytest.mark.parametrize(("name", "path"), [("python3", "missing.png"), ("missing", "logo-64x64.png")])
async def test_b40_a_missing_file_is_a_404(gateway: trio_gateway.Gateway, name: str, path: str) -> None:
    with pytest.raises(GatewayHTTPError) as caught:
        await gateway.kernelspecs.resource(name, path)
    assert caught.value.status_code == 404
