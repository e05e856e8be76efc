"""The fake gateway: the real protocol over memory, in virtual time."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway import Stream
from trio_gateway._protocol import codec
from trio_gateway.testing import (
    Ask,
    Cell,
    CellError,
    Crash,
    FakeComm,
    FakeGateway,
    FakeKernelSpec,
    Interrupted,
    Sleep,
)

Clock = trio.testing.MockClock


@pytest.fixture(params=["v1", pytest.param("legacy", marks=pytest.mark.full)])
async def fake(request: pytest.FixtureRequest) -> AsyncGenerator[FakeGateway]:
    """A fake that speaks one of the framings."""
    async with FakeGateway(framings=[request.param]) as fake:
        yield fake
    assert not fake.kernels
    assert not fake.connections
    assert fake.protocol_errors == []


# --------------------------------------------------------------------------------------------------------------- Python


async def test_the_tiny_python_is_python(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        assert (await kernel.execute("6 * 7")).text == "42"
        result = await kernel.execute("import sys\nprint('out')\nprint('err', file=sys.stderr)\nx = 1")
        assert [type(output).__name__ for output in result.outputs] == ["Stream", "Stream"]
        assert result.text == "out\nerr\n"
        assert (await kernel.execute("x + 1;")).outputs == ()
        failed = await kernel.execute("def f():\n    return {}['k']\nf()")
        assert failed.error is not None
        assert failed.error.ename == "KeyError"
        assert any("line 2, in f" in line for line in failed.error.traceback)
        assert not any("_python.py" in line for line in failed.error.traceback)
        syntax = await kernel.execute("1 +")
        assert syntax.error is not None
        assert syntax.error.ename == "SyntaxError"
        shown = await kernel.execute("display({'text/html': '<b>'})\nclear_output(wait=True)\nprint(2)")
        assert shown.text == "2\n"
        expressions = await kernel.execute("y = 3", user_expressions={"a": "y * 2", "b": "nope"})
        assert expressions.reply["user_expressions"]["a"]["data"]["text/plain"] == "6"
        assert expressions.reply["user_expressions"]["b"]["ename"] == "NameError"
        silent = await kernel.execute("print(1)", silent=True)
        assert silent.outputs == ()
        assert (await kernel.complete("prin"))["matches"] == ["print"]
        assert (await kernel.inspect("len"))["found"] is True
        assert (await kernel.is_complete("for x in y:")) == {"status": "incomplete", "indent": "    "}
        assert (await kernel.is_complete("1 +* 2"))["status"] == "invalid"
        assert (await kernel.history())["history"][0][2] == "6 * 7"
        assert (await kernel.kernel_info())["language_info"]["name"] == "python"
        assert (await kernel.debug("evaluate", {"expression": "x"}))["success"] is False


async def test_a_debugger(autojump_clock: Clock) -> None:
    def answer(command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return {"result": arguments["expression"].upper()} if command == "evaluate" else None

    async with FakeGateway(kernelspecs=[FakeKernelSpec(name="python3", debugger=answer)]) as fake, fake.open() as gateway:
        async with gateway.start_kernel() as kernel, kernel.iopub.subscribe() as messages:
            assert not (await kernel.debug("attach"))["success"], "it was not initialized"
            assert not (await kernel.debug("debugInfo"))["body"]["isStarted"]
            assert (await kernel.debug("initialize", {"clientID": "test"}))["success"]
            assert (await kernel.debug("debugInfo"))["body"]["isStarted"]
            attached = await kernel.debug("attach")
            assert (attached["success"], attached["type"], attached["command"]) == (True, "response", "attach")
            async for message in messages:
                if message.msg_type == "debug_event":
                    assert message.content["event"] == "initialized"
                    break
            assert (await kernel.debug("evaluate", {"expression": "x"}))["body"] == {"result": "X"}
            assert (await kernel.debug("disconnect"))["success"]
            assert not (await kernel.debug("debugInfo"))["body"]["isStarted"]


async def test_code_sleeps_in_virtual_time(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        before = trio.current_time()
        await kernel.execute("import time\ndef f():\n    time.sleep(40)\nf()")
        assert trio.current_time() - before == 40


@pytest.mark.parametrize("code", ["while True: pass", "while True:\n    x = 1", "import time; time.sleep(1e9)", "input('?')"])
async def test_code_that_runs_for_ever_is_interrupted(autojump_clock: Clock, fake: FakeGateway, code: str) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        with trio.move_on_after(1) as scope:
            await kernel.execute(code, stdin=partial(_answer_late, 1e6))
        assert scope.cancelled_caught
        (running,) = fake.kernels.values()
        assert running.interrupts == 1
        assert running.execution_state == "idle"
        assert (await kernel.execute("'on'")).text == "'on'"


async def _answer_late(seconds: float, prompt: str, password: bool) -> str:
    await trio.sleep(seconds)
    return prompt


async def test_code_may_catch_the_interrupt_and_clean_up(autojump_clock: Clock, fake: FakeGateway) -> None:
    code = "import time\ntry:\n    time.sleep(1000)\nexcept KeyboardInterrupt:\n    print('caught')\nfinally:\n    time.sleep(2)"
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                assert (await kernel.execute(code)).text == "caught\n"

            nursery.start_soon(run)
            await trio.sleep(1)
            await kernel.interrupt()
        assert trio.current_time() == pytest.approx(3, abs=0.1)


async def test_input_and_its_absence(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        result = await kernel.execute("'hello ' + input('who? ')", stdin=lambda prompt, password: prompt + "me")
        assert result.text == "'hello who? me'"
        refused = await kernel.execute("input()")
        assert refused.error is not None


async def test_code_that_ends_the_process(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        with pytest.raises(trio_gateway.KernelRestartedError):
            await kernel.execute("import os; os._exit(1)")
        assert (await kernel.execute("'new'")).text == "'new'"
        assert next(iter(fake.kernels.values())).restarts == 1


async def test_what_waits_behind_an_error_is_aborted(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel, gateway.attach_kernel(kernel.id) as other:
        statuses: dict[str, str] = {}

        async def run(name: str, who: trio_gateway.Kernel, code: str) -> None:
            statuses[name] = (await who.execute(code)).status

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "first", kernel, "import time; time.sleep(5); 1 / 0")
            await trio.sleep(1)
            nursery.start_soon(run, "second", other, "1")
        assert statuses == {"first": "error", "second": "aborted"}


# ------------------------------------------------------------------------------------------------------------ subshells


async def test_subshells_run_beside_one_another(autojump_clock: Clock, fake: FakeGateway) -> None:
    """Three hours' sleep in each of three places take three hours; they share their names, and each prints its own."""
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        async with kernel.subshell() as first, kernel.subshell() as second:
            said: dict[str, str | None] = {}

            async def run(name: str, where: trio_gateway.Kernel | trio_gateway.Subshell) -> None:
                code = f"import time\nprint('{name}')\n{name} = 1\ntime.sleep(3 * 3600)\nprint('{name} later')"
                said[name] = (await where.execute(code)).text

            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, "main", kernel)
                nursery.start_soon(run, "one", first)
                nursery.start_soon(run, "two", second)
            assert trio.current_time() == pytest.approx(3 * 3600, abs=1)
            assert said == {name: f"{name}\n{name} later\n" for name in ("main", "one", "two")}
            assert (await first.execute("main + one + two")).text == "3"

            # One after the other in one place; what fails there drops what waits there, and nothing elsewhere.
            statuses: list[str] = []
            async with kernel.subshell() as third:

                async def fail() -> None:
                    statuses.append((await third.execute("import time; time.sleep(5); 1 / 0")).status)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(fail)
                    await trio.sleep(1)
                    statuses.append((await kernel.execute("1")).status)
            assert statuses == ["ok", "error"]

            # Input is asked of who waits for it there.
            async with trio.open_nursery() as nursery:

                async def ask(name: str, where: trio_gateway.Kernel | trio_gateway.Subshell, after: float) -> None:
                    async def answer(prompt: str, password: bool) -> str:
                        await trio.sleep(after)
                        return prompt + name

                    said[name] = (await where.execute("input('I am ')", stdin=answer)).text

                nursery.start_soon(ask, "main", kernel, 3)
                nursery.start_soon(ask, "one", first, 2)
                nursery.start_soon(ask, "two", second, 1)
            assert said == {name: f"'I am {name}'" for name in ("main", "one", "two")}


async def test_an_interrupt_hits_the_main_shell_only(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel, kernel.subshell() as subshell:
        results: dict[str, str] = {}

        async def run(name: str, where: trio_gateway.Kernel | trio_gateway.Subshell) -> None:
            results[name] = (await where.execute("while True:\n    if 'enough' in globals(): break")).status

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "subshell", subshell)
            nursery.start_soon(run, "main", kernel)
            await trio.sleep(1)
            await kernel.interrupt()
            await trio.sleep(1)
            assert results == {"main": "error"}
            await kernel.execute("enough = True")
        assert results == {"main": "error", "subshell": "ok"}


async def test_a_subshell_that_is_gone(autojump_clock: Clock, fake: FakeGateway) -> None:
    """Code for it fails; deleting it waits for what runs there; a crash in one ends the process; a kernel may have none."""
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        async with kernel.subshell() as subshell:
            with trio.move_on_after(1) as scope:
                await subshell.execute("import time; time.sleep(10)")
            assert scope.cancelled_caught
        assert trio.current_time() == pytest.approx(10, abs=1)
        refused = await subshell.execute("1")
        assert refused.status == "error"
        assert refused.reply["ename"] == "UnknownSubshellError"
        with pytest.raises(trio_gateway.KernelRestartedError):
            async with kernel.subshell() as subshell:
                await subshell.execute("import os; os._exit(1)")
        assert (await kernel.execute("'new'")).text == "'new'"
    plain = FakeKernelSpec(name="plain", subshells=False)
    async with FakeGateway(kernelspecs=[plain]) as other, other.open() as gateway, gateway.start_kernel("plain") as kernel:
        with pytest.raises(trio_gateway.InvalidInputError, match="offers subshells"):
            async with kernel.subshell():
                pytest.fail("there is none")


# -------------------------------------------------------------------------------------------------------------- scripts


def plain(cell: Cell) -> object:
    return [Stream("stdout", f"{cell.code}\n"), "done"]


def generator(cell: Cell) -> object:
    yield Stream("stdout", f"{cell.code}\n")
    yield Sleep(2)
    yield "done"


async def coroutine(cell: Cell) -> object:
    cell.stdout(f"{cell.code}\n")
    await trio.sleep(2)
    return "done"


async def agenerator(cell: Cell) -> AsyncGenerator[object]:
    yield Stream("stdout", f"{cell.code}\n")
    await cell.sleep(2)
    yield {"text/plain": "done"}


@pytest.mark.parametrize("script", [plain, generator, coroutine, agenerator])
async def test_all_kinds_of_scripts(autojump_clock: Clock, script: object) -> None:
    async with FakeGateway(script) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:  # type: ignore[arg-type]
        assert (await kernel.execute("code")).text == "code\ndone"


@pytest.mark.parametrize("script", [generator, coroutine, agenerator])
async def test_scripts_are_interrupted(autojump_clock: Clock, script: object) -> None:
    async with FakeGateway(script) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:  # type: ignore[arg-type]
        with trio.move_on_after(1) as scope:
            await kernel.execute("code")
        assert scope.cancelled_caught
        assert next(iter(fake.kernels.values())).execution_state == "idle"


async def test_what_else_a_script_can_do(autojump_clock: Clock) -> None:
    def script(cell: Cell) -> object:
        match cell.code:
            case "ask":
                answer = yield Ask("name? ")
                yield str(answer)
            case "crash":
                yield Crash()
            case "fail":
                raise CellError("Oops", "bad", ["line 1"])
            case "raise":
                raise ValueError("worse")
            case "catch":
                try:
                    yield Sleep(100)
                except Interrupted:
                    yield "caught"
            case "show":
                cell.display("a", display_id="x")
                cell.display("b", display_id="x", update=True)
                cell.display({"image/png": "AAAA"}, buffers=[b"\x00\xff"])
                cell.stderr("e")

    async with FakeGateway(script) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        assert (await kernel.execute("ask", stdin=lambda prompt, password: prompt * 2)).text == "name? name? "
        failed = await kernel.execute("fail")
        assert failed.error == trio_gateway.Error("Oops", "bad", ("line 1",))
        raised = await kernel.execute("raise")
        assert raised.error is not None
        assert (raised.error.ename, raised.error.evalue) == ("ValueError", "worse")
        shown = await kernel.execute("show")
        assert [getattr(output, "data", None) for output in shown.outputs] == [{"text/plain": "b"}, {"image/png": "AAAA"}, None]
        with pytest.raises(trio_gateway.KernelRestartedError):
            await kernel.execute("crash")
        assert (await kernel.execute("nothing")).outputs == ()


async def test_comms(autojump_clock: Clock, fake: FakeGateway) -> None:
    def opened(comm: FakeComm, message: trio_gateway.Message) -> None:
        comm.on_message = lambda comm, message: comm.send(
            {"echo": message.content["data"]}, buffers=[bytes(each) for each in message.buffers]
        )

    fake.kernelspecs["python3"] = FakeKernelSpec(name="python3", comm_targets={"echo": opened})
    async with fake.open() as gateway, gateway.start_kernel() as kernel, kernel.comms.open("echo") as comm:
        await comm.send({"a": 1}, buffers=[b"\x00\xff"])
        answer = await comm.receive()
        assert answer.data == {"echo": {"a": 1}}
        assert bytes(answer.buffers[0]) == b"\x00\xff"
        assert list((await kernel.comm_info())["comms"].values()) == [{"target_name": "echo"}]


# ---------------------------------------------------------------------------------------------------------- the gateway


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


async def test_an_expired_token(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.expire_token()
        with pytest.raises(trio_gateway.AuthenticationError):
            await gateway.kernels.get(kernel.id)
        assert (await kernel.execute("1")).text == "1"  # the WebSocket was let in before
        fake.expire_token("fake-token")


async def test_the_handshake_waits_for_the_kernel(autojump_clock: Clock, fake: FakeGateway) -> None:
    fake.kernelspecs["python3"] = FakeKernelSpec(name="python3", startup_seconds=12)
    async with fake.open() as gateway, gateway.start_kernel():
        assert trio.current_time() == pytest.approx(12)
        (kernel,) = fake.kernels.values()
        kernel.stall()
        async with gateway.attach_kernel(kernel.id):
            assert trio.current_time() == pytest.approx(72)
        kernel.resume()


async def test_culling(autojump_clock: Clock, fake: FakeGateway) -> None:
    fake.cull_idle_timeout, fake.cull_connected = 1000, True
    async with fake.open() as gateway:
        with pytest.raises(trio_gateway.KernelCulledError):
            async with gateway.start_kernel() as kernel:
                while True:
                    await trio.sleep(10_000)
                    await kernel.execute("1")
        assert not fake.kernels


async def test_replay(autojump_clock: Clock, fake: FakeGateway) -> None:
    """What is missed while nobody is connected comes later; what was in the socket does not, and is counted."""
    code = "import time\nfor i in range(20):\n    print(i, flush=True)\n    time.sleep(1)"
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        refused = fake.faults.refuse(nth=[1, 2])
        async with kernel.stream(code) as outputs:
            text = ""
            async for output in outputs:
                assert isinstance(output, Stream)
                text += output.text
                if text == "0\n1\n2\n":
                    fake.cut_connections()
        assert text == "".join(f"{i}\n" for i in range(20))
        assert refused.hits == 2
        assert trio.current_time() == pytest.approx(20, abs=1)
        assert outputs.result.output_gaps == ()  # all were read before the cut, or came after it


async def test_another_session_discards_the_buffer(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.cut_connections()
        fake.faults.refuse()
        with pytest.raises(trio_gateway.ConnectionLostError), trio.fail_after(10_000):
            await kernel.execute("1")
        fake.faults.clear()


async def test_rate_limits(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        result = await kernel.execute("for i in range(5000): print(i, flush=True)")
        assert {gap.kind: gap.count for gap in result.output_gaps} == {"rate_limited": None, "lost": 2000}
        fake.iopub_msg_rate_limit = 0
        async with gateway.attach_kernel(kernel.id) as other:
            assert (await other.execute("for i in range(5000): print(i, flush=True)")).output_gaps == ()


async def test_a_client_that_answers_no_ping_is_hung_up_on(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open(ping_interval=1e6) as gateway, gateway.start_kernel() as kernel:
        assert (await kernel.execute("1")).text == "1"
        (kernel_there,) = fake.kernels.values()
        await trio.sleep(1000)
        assert kernel_there.connections == 1  # the library answers pings
        for stream in fake.connections.values():
            stream.swallow()
        await trio.sleep(200)
        assert kernel_there.connections == 1  # and again, on the connection that replaced it
        assert "ping timeout" in str(fake.conversation)


async def test_on_a_real_port() -> None:
    """Another process, without the library, reaches it."""
    program = (
        "import json, sys, urllib.request\n"
        "request = urllib.request.Request(sys.argv[1] + '/api/kernelspecs', headers={'Authorization': 'token fake-token'})\n"
        "print(json.dumps(json.load(urllib.request.urlopen(request))))"
    )
    async with FakeGateway() as fake, fake.listen() as url:
        done = await trio.run_process([sys.executable, "-c", program, url], capture_stdout=True)
        assert json.loads(done.stdout)["default"] == "python3"
        async with trio_gateway.open_gateway(trio_gateway.GatewayConfig(url=url, auth_token=fake.token)) as gateway:
            async with gateway.start_kernel() as kernel:
                assert (await kernel.execute("6 * 7")).text == "42"


async def test_its_failures_are_the_bodys_own(autojump_clock: Clock, fake: FakeGateway) -> None:
    with pytest.raises(ValueError, match="mine"):
        async with FakeGateway() as another, another.open() as gateway, gateway.start_kernel():
            raise ValueError("mine")
    assert not another.kernels
    assert not another.connections


async def test_two_fakes_of_one_seed_do_the_same(autojump_clock: Clock) -> None:
    async def run() -> list[str]:
        async with FakeGateway(seed=7, takes_kernel_id=False) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
            await kernel.execute("print(1)")
            return [kernel.id, fake.server_session]

    assert await run() == await run()


async def test_a_connection_that_takes_anothers_place_keeps_what_it_got(autojump_clock: Clock) -> None:
    """Also when the one before ends later: what it had is the new one's, and so is what the kernel says from then on."""
    header = trio_gateway.Header("asked", "execute_request", "front", "ada", "2026-01-01T00:00:00Z", "5.4")
    async with FakeGateway() as fake, fake.open() as gateway, fake.open(gateway_retry_max=0) as other:
        kernel = await gateway.kernels.start()
        async with other.open_channels(kernel.id, session_id="front"):  # it does not come back
            async with gateway.open_channels(kernel.id, session_id="front") as channels:
                await trio.sleep(5)  # by then the fake is done with the first one
                assert fake.kernels[kernel.id].connections == 1
                await channels.send(codec.encode_v1(trio_gateway.Message("shell", header, {"code": "print(1)"})))
                seen: set[str] = set()
                with trio.fail_after(10):
                    while not {"stream", "execute_reply"} <= seen:
                        seen |= {codec.decode(frame, v1=True).msg_type for frame in await channels.receive()}


async def test_its_legacy_messages_repeat_type_and_id(autojump_clock: Clock) -> None:
    """As those of Jupyter's servers do, and some front ends look only there."""
    async with FakeGateway(framings=["legacy"]) as fake, fake.open() as gateway:
        kernel = await gateway.kernels.start()
        async with gateway.open_channels(kernel.id, session_id="front", v1=False) as channels:
            (frame, *_) = await channels.receive()
    message = json.loads(frame)
    assert (message["msg_type"], message["msg_id"]) == (message["header"]["msg_type"], message["header"]["msg_id"])
