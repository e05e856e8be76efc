"""A kernel's session on a real Kernel Gateway with ipykernel: requests, channels, input, comms, subshells, the heartbeat.

The counterparts of `GatewayKernelClient`, `ChannelQueue`, `HBChannelQueue` and `GatewayWebSocketConnection`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio

import trio_gateway
from tools.gateway_tools import each_engine, each_framing, rest
from tools.tcp_proxy import open_tcp_proxy
from trio_gateway import ConnectionState, Kernel, KernelState, Verdict
from trio_gateway._protocol import codec
from trio_gateway.testing import FakeGateway

if TYPE_CHECKING:
    from conftest import RunningGateway
    from tools.gateway_tools import Wire

pytestmark = pytest.mark.gateway


# System: GatewayKernelClient ------------------------------------------------------------------------------------------


async def test_complete(kernel: Kernel) -> None:
    await kernel.execute("first_name = second_name = 1")
    reply = await kernel.complete("print(first_n", 13)
    assert (reply["status"], reply["matches"], reply["cursor_start"], reply["cursor_end"]) == ("ok", ["first_name"], 6, 13)
    assert "import" in (await kernel.complete("impo"))["matches"]
    # The cursor counts characters, not bytes or UTF-16 units.
    astral = "'𝄞𝄞'; first_n"
    assert (await kernel.complete(astral))["cursor_start"] == astral.index("first")


async def test_inspect(kernel: Kernel) -> None:
    await kernel.execute("def documented():\n    'Says what it is for.'")
    reply = await kernel.inspect("documented", 5)
    assert reply["found"]
    assert "Says what it is for." in reply["data"]["text/plain"]
    source = (await kernel.inspect("documented", detail_level=1))["data"]["text/plain"]
    assert "def documented()" in re.sub(r"\x1b\[[0-9;]*m", "", source)
    assert not (await kernel.inspect("undocumented_and_unknown"))["found"]


async def test_history(kernel: Kernel) -> None:
    await kernel.execute("'one of many'")
    await kernel.execute("'not stored'", store_history=False)
    await kernel.execute("'two of many'")
    tail = (await kernel.history(n=2))["history"]
    assert [line[2] for line in tail] == ["'one of many'", "'two of many'"]
    with_output = (await kernel.history(n=1, output=True))["history"]
    assert with_output[0][2][0] == "'two of many'"
    line = tail[-1][1]
    ranged = (await kernel.history(hist_access_type="range", start=line, stop=line + 1))["history"]
    assert [entry[2] for entry in ranged] == ["'two of many'"]
    found = (await kernel.history(hist_access_type="search", pattern="*of many*", n=10, unique=True))["history"]
    assert {"'one of many'", "'two of many'"} <= {entry[2] for entry in found}


async def test_kernel_info(kernel: Kernel) -> None:
    reply = await kernel.kernel_info()
    assert reply["implementation"] == "ipython"
    assert reply["language_info"]["name"] == "python"


async def test_debug_does_not_wait_behind_code_that_runs(kernel: Kernel, wire: Wire) -> None:
    await kernel.execute(wire.code)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kernel.execute, "wire('go')")
        call = await wire.hears("go")
        first, second = await kernel.debug("debugInfo"), await kernel.debug("debugInfo", {})
        assert (first["type"], first["command"], first["success"]) == ("response", "debugInfo", True)
        assert second["request_seq"] == first["request_seq"] + 1
        assert kernel.state is KernelState.BUSY
        await call.answer()


async def test_a_request_that_is_cancelled_leaves_the_session_in_order(kernel: Kernel, wire: Wire) -> None:
    await kernel.execute(wire.code)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kernel.execute, "wire('go')")
        call = await wire.hears("go")
        with trio.move_on_after(0.05) as scope:
            await kernel.complete("impo")  # it waits behind the code
        assert scope.cancelled_caught
        await call.answer()
    assert "import" in (await kernel.complete("impo"))["matches"]


# Input ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [True, False])
async def test_input_is_answered_by_a_handler(kernel: Kernel, is_async: bool) -> None:
    asked: list[tuple[str, bool]] = []

    def plain(prompt: str, password: bool) -> str:
        asked.append((prompt, password))
        return "ä" * len(asked)

    async def waiting(prompt: str, password: bool) -> str:
        await trio.lowlevel.checkpoint()
        return plain(prompt, password)

    code = "import getpass\n[input('who? '), getpass.getpass('secret: '), input()]"
    result = await kernel.execute(code, stdin=waiting if is_async else plain)
    assert result.text == "['ä', 'ää', 'äää']"
    assert asked == [("who? ", False), ("secret: ", True), ("", False)]


async def test_input_in_a_stream_is_asked_for_while_it_runs(kernel: Kernel) -> None:
    """The request comes over another socket than output; what was printed before is given first."""
    seen: list[str] = []

    def answer(prompt: str, password: bool) -> str:
        del password
        seen.append(prompt)
        return "7"

    async with kernel.stream("print('before', flush=True)\nx = input('?')\nprint('after', x)", stdin=answer) as outputs:
        async for output in outputs:
            assert isinstance(output, trio_gateway.Stream)
            seen.append(output.text)
    assert "".join(seen) == "before\n?after 7\n"


# Comms ----------------------------------------------------------------------------------------------------------------

ECHO = """
def opened(comm, message):
    comm.send({"opened": message["content"]["data"]}, buffers=message["buffers"])
    def answer(message):
        comm.send({"echo": message["content"]["data"]}, buffers=[b[::-1] for b in map(bytes, message["buffers"])])
        if message["content"]["data"].get("say") == "bye":
            comm.close()
    comm.on_msg(answer)
get_ipython().kernel.comm_manager.register_target("echo", opened)
"""


@each_framing
async def test_a_comm_that_we_open(kernel: Kernel) -> None:
    (await kernel.execute(ECHO)).raise_for_error()
    async with kernel.comms.open("echo", {"hello": 1}, buffers=[b"\0\xff"]) as comm:
        first = await comm.receive()
        assert (first.data, [bytes(buffer) for buffer in first.buffers]) == ({"opened": {"hello": 1}}, [b"\0\xff"])
        for index in range(3):
            await comm.send({"index": index}, buffers=[bytes([index, 9]), b""])
        for index in range(3):
            message = await comm.receive()
            assert message.data == {"echo": {"index": index}}
            assert [bytes(buffer) for buffer in message.buffers] == [bytes([9, index]), b""]
        comm_id = comm.id
        assert comm_id in (await kernel.comm_info("echo"))["comms"]
    assert comm_id not in (await kernel.comm_info("echo"))["comms"], "the block's end closes it"


@asynccontextmanager
async def widgets(kernel: Kernel) -> AsyncGenerator[trio_gateway.IncomingComms]:
    """The comms that widgets open."""
    async with kernel.comms.accept("jupyter.widget") as opened:
        yield opened


async def comm_of(opened: trio_gateway.IncomingComms, model: str) -> trio_gateway.Comm:
    """The comm of the next widget of this model: layouts and styles come first."""
    async for comm in opened:
        if comm.opening.data["state"]["_model_name"] == model:
            return comm
    raise AssertionError(model)


async def test_an_ipywidgets_slider_is_moved_from_both_sides(kernel: Kernel) -> None:
    async with widgets(kernel) as opened:
        code = (
            "import ipywidgets\ns = ipywidgets.IntSlider(value=3, max=10)\n"
            "seen = []\ns.observe(lambda change: seen.append(change.new), 'value')"
        )
        (await kernel.execute(code)).raise_for_error()
        slider = await comm_of(opened, "IntSliderModel")
        assert (slider.opening.data["state"]["value"], slider.opening.data["state"]["max"]) == (3, 10)
        await slider.send({"method": "update", "state": {"value": 7}, "buffer_paths": []})
        assert (await kernel.execute("print(s.value, seen)")).text == "7 [7]\n"
        (await kernel.execute("s.value = 9")).raise_for_error()
        values = []
        async for message in slider:
            values.append(message.data.get("state", {}).get("value"))
            if values[-1] == 9:
                break
        await kernel.execute("s.close()")


@each_framing
async def test_an_ipywidgets_image_has_its_bytes_both_ways(kernel: Kernel) -> None:
    """The case that breaks other gateways' clients: a widget whose state has a binary buffer."""
    picture, other = bytes(range(256)), b"\x89PNG" + bytes(1000)
    async with widgets(kernel) as opened:
        code = "import ipywidgets\nimage = ipywidgets.Image(value=bytes(range(256)))\nimage"
        result = await kernel.execute(code)
        (shown,) = result.outputs
        assert isinstance(shown, trio_gateway.DisplayData | trio_gateway.ExecuteResult)
        comm = await comm_of(opened, "ImageModel")
        assert shown.data["application/vnd.jupyter.widget-view+json"]["model_id"] == comm.id
        assert comm.opening.data["buffer_paths"] == [["value"]]
        assert [bytes(buffer) for buffer in comm.opening.buffers] == [picture]
        await comm.send({"method": "update", "state": {}, "buffer_paths": [["value"]]}, buffers=[other])
        assert (await kernel.execute("bytes(image.value) == b'\\x89PNG' + bytes(1000)")).text == "True"
        await kernel.execute("image.close()")


# Subshells ------------------------------------------------------------------------------------------------------------


async def test_a_subshell_runs_beside_a_busy_main_shell(kernel: Kernel, wire: Wire) -> None:
    await kernel.execute(wire.code + "x = 1")
    async with kernel.subshell() as subshell, trio.open_nursery() as nursery:
        nursery.start_soon(kernel.execute, "wire('go')")
        call = await wire.hears("go")
        assert (await subshell.execute("x + 1")).text == "2"
        async with subshell.stream("print(x)") as outputs:
            assert "".join([output.text async for output in outputs if isinstance(output, trio_gateway.Stream)]).strip() == "1"
        assert outputs.result.status == "ok"
        await call.answer()
        subshell_id = subshell.id
    assert subshell_id


async def delete_while_it_asks(gateway: trio_gateway.Gateway, kernel_id: str) -> list[tuple[str, str]]:
    """Delete a subshell whose code asks for input, answer, and return what comes then: of which request, and what it is."""
    async with gateway.open_channels(kernel_id) as channels:

        async def send(
            channel: str, kind: str, content: dict[str, object], parent: object = None, subshell_id: object = None
        ) -> None:
            header = trio_gateway.Header(kind, kind, channels.session_id, "ada", "2026-01-01T00:00:00Z", "5.4")
            if subshell_id is not None:
                header = msgspec.structs.replace(header, subshell_id=subshell_id)
            message = trio_gateway.Message(channel, header, content, parent_header=parent or {})
            await channels.send(codec.encode_v1(message))

        async def until(kind: str) -> list[trio_gateway.Message]:
            seen: list[trio_gateway.Message] = []
            while not seen or seen[-1].msg_type != kind:
                for frame in await channels.receive():
                    seen.append(codec.decode(frame, v1=True))
                    if seen[-1].msg_type == kind:
                        break
            return seen

        await send("control", "create_subshell_request", {})
        made = (await until("create_subshell_reply"))[-1].content["subshell_id"]
        await send("shell", "execute_request", {"code": "input('who? ')", "allow_stdin": True}, subshell_id=made)
        question = (await until("input_request"))[-1]
        await send("control", "delete_subshell_request", {"subshell_id": made})
        while (await until("status"))[-1].parent_id != "delete_subshell_request":
            pass  # it is busy with that, and waits for the code
        await send("stdin", "input_reply", {"value": "ada"}, parent=question.own_header)
        came = await until("delete_subshell_reply")
        await send("shell", "kernel_info_request", {})  # what comes before its reply, comes before this
        came += await until("kernel_info_reply")
        return [(message.parent_id, message.msg_type) for message in came if message.parent_id == "execute_request"]


async def test_a_subshell_that_is_deleted_while_its_code_asks_is_answered(real_gateway: RunningGateway) -> None:
    """The code comes to its end, and its reply is lost; the fake does the same."""
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
        async with gateway.start_kernel() as kernel:
            real = await delete_while_it_asks(gateway, kernel.id)
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        assert await delete_while_it_asks(gateway, kernel.id) == real
    assert real == [("execute_request", "execute_result"), ("execute_request", "status")]


# System: ChannelQueue -------------------------------------------------------------------------------------------------


async def test_a_reader_of_a_session_that_ended_is_told_why(real_gateway: RunningGateway) -> None:
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
        async with gateway.start_kernel() as kernel, kernel.iopub.subscribe() as messages:
            await trio.to_thread.run_sync(rest, real_gateway, "DELETE", f"/api/kernels/{kernel.id}")
            with pytest.raises(trio_gateway.KernelCulledError):
                async for _ in messages:
                    pass
            with pytest.raises(trio_gateway.KernelCulledError):
                await kernel.shell.send("kernel_info_request", {})
            with pytest.raises(trio_gateway.KernelCulledError):
                async with kernel.iopub.subscribe():
                    pytest.fail("there is nothing to read")


# System: HBChannelQueue -----------------------------------------------------------------------------------------------


async def test_the_heartbeat(real_gateway: RunningGateway) -> None:
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
        async with gateway.start_kernel() as kernel:
            assert kernel.hb.is_beating()
            assert kernel.hb.verdict is Verdict.ALIVE
            assert 0 <= kernel.hb.silence < 20
            await trio.to_thread.run_sync(rest, real_gateway, "DELETE", f"/api/kernels/{kernel.id}")
            await kernel.wait_for(KernelState.CULLED)
            assert not kernel.hb.is_beating()
            assert await kernel.hb.check() is Verdict.CULLED


# System: GatewayWebSocketConnection -----------------------------------------------------------------------------------


@each_engine
async def test_the_websocket_connection(
    real_gateway: RunningGateway, shared_kernel_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One session id, reconnects with back-off as its variables say, and what is asked meanwhile waits."""
    for name, value in (("INTERVAL", "0.01"), ("INTERVAL_MAX", "0.1"), ("MAX", "100000")):
        monkeypatch.setenv(f"JUPYTER_GATEWAY_RETRY_{name}", value)
    async with (
        open_tcp_proxy(real_gateway.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token) as gateway,
        gateway.attach_kernel(shared_kernel_id) as kernel,
    ):
        config = gateway.config
        assert (config.gateway_retry_interval, config.gateway_retry_interval_max, config.gateway_retry_max) == (
            0.01,
            0.1,
            100_000,
        )
        await kernel.execute("0")  # so the gateway is done with the first connection's beginning
        states: list[ConnectionState] = []
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                async for status in kernel.changes():
                    if not states or states[-1] is not status.connection:
                        states.append(status.connection)

            nursery.start_soon(watch)
            for _ in range(3):
                await proxy.refuse()
                proxy.reset_all()
                await kernel.wait_for(ConnectionState.RECONNECTING)
                results: list[str] = []

                async def run(results: list[str] = results) -> None:
                    results.append((await kernel.execute("6 * 7")).text)

                async with trio.open_nursery() as inner:
                    inner.start_soon(run)
                    await trio.testing.wait_all_tasks_blocked()
                    assert not results
                    await proxy.listen()
                assert results == ["42"]
            nursery.cancel_scope.cancel()
        connected, reconnecting = ConnectionState.CONNECTED, ConnectionState.RECONNECTING
        assert states == [connected, *[reconnecting, connected] * 3]
        assert {request for request in proxy.requests if "/channels" in request} == {
            f"GET /api/kernels/{kernel.id}/channels?session_id={kernel.session_id}"
        }
