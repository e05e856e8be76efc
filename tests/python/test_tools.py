"""Tools: code in a real kernel calls functions here; and what a kernel tells that the test plays."""

from __future__ import annotations

import base64
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_gateway
from python.values import same
from tools.tcp_proxy import open_tcp_proxy
from trio_gateway import ConnectionLostError, InvalidInputError, Kernel, KernelDiedError, KernelRestartedError, ProtocolError
from trio_gateway._kernel.comms import CommMessage
from trio_gateway._python import codec, tool_side, tools
from trio_gateway._python.link import NAME
from trio_gateway._python.tools import How, make_tools, open_tools
from trio_gateway.python import RemoteError, open_python

real = [pytest.mark.gateway, pytest.mark.full]
SIDE = f"__import__('sys').modules['{NAME}.tool_side']"


def on_real_kernels(test: Any) -> Any:
    for mark in real:
        test = mark(test)
    return test


async def text(kernel: Kernel, code: str) -> str:
    result = await kernel.execute(code)
    result.raise_for_error()
    return result.text


class Odd(Exception):
    """No built-in one."""


TRIED = """
def tried(*args, **kwargs):
    try:
        fail(*args, **kwargs)
    except Exception as error:
        return repr(error), type(error).__mro__[1].__name__
"""


# On a real kernel -------------------------------------------------------------------------------------------------------


@on_real_kernels
async def test_code_calls_functions_here_and_gets_their_values_and_exceptions(kernel: Kernel) -> None:
    called: list[Any] = []

    async def lookup(key: str, *, times: int = 1) -> str:
        await trio.lowlevel.checkpoint()
        called.append(key)
        return key * times

    def fail(kind: str) -> None:
        raise {"key": KeyError("k"), "odd": Odd("so"), "os": FileNotFoundError(2, "No such file")}[kind]

    async with open_python(kernel) as python, python.tools({"fail": fail}, lookup=lookup):
        shown = "<lookup(key, *, times), a function of the client's>"
        assert await text(kernel, "print(lookup('ab', times=2), lookup)") == f"abab {shown}\n"
        assert await text(kernel, TRIED + "print(*tried('key'))") == "KeyError('k') LookupError\n"
        assert await text(kernel, "print(*tried('os'))") == "FileNotFoundError(2, 'No such file') OSError\n"
        assert "Odd: so') RuntimeError" in await text(kernel, "print(*tried('odd'))")
        assert await text(kernel, "print(*tried())") == (
            "TypeError(\"fail() can't be called so: missing a required argument: 'kind'\") Exception\n"
        )
        assert "can't be carried" in await text(kernel, "print(*tried(object()))")
        assert await python.call(lambda function: function("x", times=3), python.name("lookup")) == "xxx"
    assert called == ["ab", "x"]


@on_real_kernels
async def test_a_function_may_run_code_in_a_subshell_of_the_kernel_that_waits_for_it(kernel: Kernel) -> None:
    """G3"""

    async def look() -> str:
        async with kernel.subshell() as subshell:
            return (await subshell.execute("print(x)")).text

    async with open_python(kernel) as python, python.tools(look=look):
        assert await text(kernel, "x = 5; print(look(), look())") == "5\n 5\n\n"


@on_real_kernels
async def test_large_values_go_both_ways_and_threads_call_at_once(kernel: Kernel) -> None:
    seen: list[Any] = []
    barrier = [0, trio.Event()]

    def double(array: Any) -> Any:
        seen.append(array)
        return array * 2

    async def meet(n: int) -> int:
        barrier[0] += 1  # type: ignore[operator]
        if barrier[0] == 40:
            barrier[1].set()  # type: ignore[attr-defined]
        await barrier[1].wait()  # type: ignore[attr-defined]
        return n

    async with open_python(kernel) as python, python.tools(double=double, meet=meet):
        assert await text(kernel, "import numpy as np\nprint(double(np.arange(700_000)).sum())") == f"{700_000 * 699_999}\n"
        assert same(seen, [np.arange(700_000)])
        code = "from concurrent.futures import ThreadPoolExecutor as T\nwith T(40) as t: print(sum(t.map(meet, range(40))))"
        assert await text(kernel, code) == "780\n"


@on_real_kernels
async def test_names_stand_for_the_time_of_the_block_and_nothing_else_is_left(kernel: Kernel) -> None:
    state = "print(get_ipython().execution_count, sorted(globals()), len(In), get_ipython().user_ns_hidden.keys() & {'ask', 'f'})"
    await kernel.execute("f = 'mine'", silent=True)
    before = (await kernel.execute(state, store_history=False)).text
    async with open_python(kernel) as python:
        async with python.tools(f=len, ask=len):
            assert (await kernel.execute("print(f([1]) + ask([1]))", store_history=False)).text == "2\n"
            with pytest.raises(InvalidInputError, match="silent"):
                async with python.tools(silent="no function"):  # type: ignore[arg-type]
                    pass
        assert (await kernel.execute("print(f)", store_history=False)).text == "mine\n"
        assert (await kernel.execute(state, store_history=False)).text == before
        assert (await kernel.execute(f"print({SIDE}._offers, {SIDE}._names)", store_history=False)).text == "{} {}\n"


@on_real_kernels
@pytest.mark.parametrize("how", ["it ends", "it is cancelled", "it fails"])
async def test_code_that_waits_when_the_block_ends_gets_an_error(kernel: Kernel, how: str) -> None:
    """G3, G9"""
    called, cancelled, results = trio.Event(), [], []

    async def ask() -> None:
        called.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(True)

    async def run() -> None:
        results.append(await kernel.execute("try: ask()\nexcept RuntimeError as e: print(e)"))

    async with open_python(kernel) as python, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            try:
                async with python.tools(ask=ask):
                    nursery.start_soon(run)
                    await called.wait()
                    if how == "it is cancelled":
                        scope.cancel()
                        await trio.sleep_forever()
                    if how == "it fails":
                        raise Odd
            except Odd:
                assert how == "it fails"
    assert cancelled == [True]
    assert [result.text for result in results] == [f"{tools.ENDED}\n"]
    assert (await kernel.execute("ask")).error is not None


@on_real_kernels
async def test_interrupting_the_code_cancels_the_function(kernel: Kernel) -> None:
    """G6"""
    called, cancelled = trio.Event(), trio.Event()

    async def ask() -> None:
        called.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with open_python(kernel) as python, python.tools(ask=ask):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.execute, "ask()")
            await called.wait()
            nursery.cancel_scope.cancel()
        await cancelled.wait()
        assert await python.pull("1") == 1


@on_real_kernels
async def test_a_process_that_takes_the_kernels_place_is_offered_the_tools_too(gateway: trio_gateway.Gateway) -> None:
    waits, cancelled = trio.Event(), trio.Event()

    async def wait() -> None:
        waits.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with gateway.start_kernel() as kernel, open_python(kernel) as python:
        async with python.tools(double=lambda x: 2 * x, wait=wait):
            async with trio.open_nursery() as nursery:

                async def run() -> None:
                    with pytest.raises(KernelRestartedError):
                        await kernel.execute("wait()")

                nursery.start_soon(run)
                await waits.wait()
                await kernel.restart()
            await cancelled.wait()
            while not await python.pull("'double' in globals()"):
                pass  # it is offered again in the background, by an execution of its own
            assert await text(kernel, "print(double(4))") == "8\n"


@on_real_kernels
async def test_a_kernel_that_is_gone_ends_the_block(gateway: trio_gateway.Gateway) -> None:
    """G3"""
    async with gateway.start_kernel() as kernel, open_python(kernel) as python:
        with pytest.raises(KernelDiedError):
            async with python.tools(f=len):
                await kernel.shutdown()
                await trio.sleep_forever()


@on_real_kernels
async def test_a_connection_that_is_cut_loses_no_call(real_gateway: Any) -> None:
    """G4, G5"""
    called = []
    async with (
        open_tcp_proxy(real_gateway.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token, gateway_retry_interval=0.1) as gateway,
        gateway.start_kernel() as kernel,
        open_python(kernel) as python,
    ):

        def lookup(n: int) -> int:
            called.append(n)
            if n % 10 == 5:
                proxy.reset_all()
            return n

        async with python.tools(lookup=lookup):
            result = await kernel.execute("found = [lookup(n) for n in range(30)]")
            assert result.error is None
            assert await python.pull("found") == list(range(30))
    assert called == list(range(30))


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "a name that was not given": ({"name": "other"}, "offers no function 'other'"),
    "a name that is none": ({"name": 5}, "offers no function"),
    "no name": ({"name": None}, "offers no function"),
    "a method's name": ({"name": "tool.__class__"}, "offers no function"),
    "no base64": ({"data": "???"}, "can't take what came"),
    "a number as data": ({"data": 5}, "can't take what came"),
    "the wrong check": ({"check": 1}, "checksum"),
    "a check that is none": ({"check": "x"}, "can't take what came"),
    "more than was announced": ({"total": 9}, "can't take what came"),
    "a length that is none": ({"total": 0}, "can't take what came"),
    "a huge length": ({"total": 2**60}, "more than the client takes"),
    "no arguments": ({"value": [1, 2]}, "can't take what came"),
    "names that are none": ({"value": ((), {1: 2})}, "can't take what came"),
    "a dataclass": ({"tree": {"dataclass": ["os", "system", {}]}}, "can't take what came"),
    "a pickle": ({"tree": {"pickle": ["gAVLAS4=", []]}}, "can't take what came"),
}
"""What a hostile kernel tells in place of a call, and what it is answered."""


@on_real_kernels
async def test_a_hostile_kernel_runs_nothing_here(kernel: Kernel) -> None:
    ran: list[Any] = []
    async with open_python(kernel) as python, python.tools(tool=lambda *args, **kwargs: ran.append((args, kwargs))):
        for number, (wrong, expected) in enumerate(HOSTILE.values(), 1000):
            encoded = codec.encode(wrong.get("value", ((), {})))
            if "tree" in wrong:
                encoded = codec.Encoded({"value": [{"tuple": []}, wrong["tree"]]}, [])
            told = {
                "name": "tool",
                "total": encoded.total,
                "check": encoded.checksum(),
                "data": base64.b64encode(encoded.joined()).decode(),
                **{key: value for key, value in wrong.items() if key not in ("value", "tree")},
                "call": number,
                "oldest": number,
            }
            code = (
                f"side = {SIDE}\noffer = next(iter(side._offers.values()))\n"
                f"call = offer.calls[{number}] = side._Call(side.codec.encode(1))\noffer.comm.send({told!r})\n"
                f"assert call.done.wait(60)\ntry: call.outcome('tool')\nexcept side.ToolError as e: print(e)\n"
                f"del offer.calls[{number}]"
            )
            assert expected in await text(kernel, code)
    assert ran == []


@on_real_kernels
@pytest.mark.parametrize(
    "told", ["{}", "{'call': 'x'}", "{'call': 0, 'oldest': 0, 'total': 9}", "{'call': 5, 'oldest': 6, 'total': 9}"]
)
async def test_what_is_no_call_ends_the_block(kernel: Kernel, told: str) -> None:
    async with open_python(kernel) as python:
        with pytest.raises(ProtocolError, match="is no call"):
            async with python.tools(f=len):
                await kernel.execute(f"next(iter({SIDE}._offers.values())).comm.send({told})")
                await trio.sleep_forever()
        assert await python.pull("'f' in globals()") is False


@on_real_kernels
async def test_bad_input_is_named(kernel: Kernel) -> None:
    """G10"""
    async with open_python(kernel) as python:
        for field, make in {
            "functions": python.tools,
            "f": lambda: python.tools(f=5),  # type: ignore[arg-type]
            "type": lambda: python.tools(type=type),
            "limit_bytes": lambda: python.tools(f=len, limit_bytes=0),
            "class": lambda: python.tools({"class": len}),
            "twice": lambda: python.tools({"f": len}, f=len),
        }.items():
            with pytest.raises(InvalidInputError, match=field):
                make()


@on_real_kernels
async def test_pickles_come_only_with_trust(kernel: Kernel) -> None:
    taken: list[Any] = []
    async with open_python(kernel) as python:
        async with python.tools(take=taken.append):
            with pytest.raises(RemoteError, match="can't be carried"):
                await python.pull("take(__import__('collections').Counter('aab'))")
        async with python.using(trust="pickle").tools(take=taken.append):
            await python.pull("take(__import__('collections').Counter('aab'))")
    assert taken == [{"a": 2, "b": 1}]


# A kernel that the test plays ---------------------------------------------------------------------------------------------


class Scripted:
    """What `open_tools` needs of a kernel. The test tells on its comm, and answers what is asked on its control channel."""

    id = name = "scripted"

    def __init__(self) -> None:
        self.kernel = self
        self.comms = self
        self.has_comms = True
        self.offers = True
        self.opened: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any], bytes], Awaitable[Mapping[str, Any]]] = self._have_it
        self._number = 0

    async def ask(self, step: str, arguments: Mapping[str, Any], *, token: str = "") -> Mapping[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"offered": self.offers}

    @asynccontextmanager
    async def open(self, target: str, data: Mapping[str, Any]) -> AsyncGenerator[Any]:
        self.opened.append(data["token"])
        self._send, receive = trio.open_memory_channel[Any](1000)
        yield self._reading(receive)

    async def _reading(self, receive: trio.MemoryReceiveChannel[Any]) -> AsyncGenerator[CommMessage]:
        async for told in receive:
            if isinstance(told, Exception):
                raise told
            yield CommMessage(told, {}, ())

    async def ask_control(self, msg_type: str, content: Mapping[str, Any], *, buffers: Any = ()) -> Mapping[str, Any]:
        await trio.lowlevel.checkpoint()
        asked = content[tool_side.KEY]
        self.asked.append(asked)
        return {"status": "ok", tool_side.KEY: await self.answer(asked, b"".join(buffers))}

    async def _have_it(self, asked: dict[str, Any], piece: bytes) -> Mapping[str, Any]:
        return {"have": asked.get("start", 0) + len(piece)}

    def tell(self, told: Any) -> None:
        self._send.send_nowait(told)

    def call(self, name: str, *args: Any, number: int = 0, inline: bool = True, **more: Any) -> None:
        encoded = codec.encode((args, {}))
        self._number = number or self._number + 1
        data = {"data": base64.b64encode(encoded.joined()).decode()} if inline else {}
        about = {"name": name, "total": encoded.total, "check": encoded.checksum(), "call": self._number, "oldest": self._number}
        self.tell({**about, **data, **more})

    def steps(self) -> list[tuple[str, Any]]:
        return [(asked["step"], asked.get("call")) for asked in self.asked]


HOW = How(reading=dict, decoding=dict, limit_bytes=1000)


@asynccontextmanager
async def offered(**functions: Any) -> AsyncGenerator[Scripted]:
    scripted = Scripted()
    async with open_tools(scripted, make_tools(functions), HOW):  # type: ignore[arg-type]
        yield scripted


async def test_a_call_that_is_told_twice_runs_once_and_hears_that_it_runs(autojump_clock: MockClock) -> None:
    """G4"""
    called, go_on = [], trio.Event()

    async def slow(n: int) -> int:
        called.append(n)
        await go_on.wait()
        return n

    async with offered(slow=slow) as scripted:
        for _ in range(3):
            scripted.call("slow", 1, number=1)
        await wait_all_tasks_blocked()
        assert scripted.steps() == [("alive", None)]
        go_on.set()
        await wait_all_tasks_blocked()
        scripted.call("slow", 1, number=1)
        scripted.call("slow", 2, number=3)
        scripted.call("slow", 1, number=1)
        scripted.call("slow", 3, number=2, oldest=2)
        await wait_all_tasks_blocked()
    assert called == [1, 2], "what is older than the oldest one is over"
    assert scripted.steps() == [("alive", None), ("answer", 1), ("answer", 3), ("end", None)]


async def test_a_call_that_the_kernel_gave_up_is_cancelled_also_where_that_was_not_heard(autojump_clock: MockClock) -> None:
    """G5: the word that it was dropped is a message that a gateway's rate limit drops too."""
    cancelled: list[int] = []

    async def hold(n: int) -> int:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(n)

    async with offered(hold=hold) as scripted:
        scripted.call("hold", 1, number=1, oldest=1)
        scripted.call("hold", 2, number=2, oldest=1)
        await wait_all_tasks_blocked()
        assert cancelled == []
        scripted.call("hold", 3, number=3, oldest=2)
        await wait_all_tasks_blocked()
        assert cancelled == [1]
        scripted.tell({"drop": 2})
        await wait_all_tasks_blocked()
        assert cancelled == [1, 2]


async def test_an_answer_that_is_lost_is_brought_again_piece_by_piece(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G3, G5"""
    monkeypatch.setattr(codec, "PIECE", 1000)
    came: list[tuple[int, int]] = []

    async def answer(asked: dict[str, Any], piece: bytes) -> Mapping[str, Any]:
        if asked["step"] == "answer":
            came.append((asked["start"], len(piece)))
            if len(came) == 2:
                raise ConnectionLostError("scripted")
            if len(came) == 3:
                await trio.sleep_forever()
        return {"have": asked.get("start", 0) + len(piece)}

    async with offered(f=lambda: bytes(1500)) as scripted:
        scripted.answer = answer
        scripted.call("f")
        await trio.sleep(tools.ANSWER_SECONDS + 1)
    last = came[-1][1]
    assert came == [(0, 1000), (1000, last), (1000, last), (1000, last)]


@pytest.mark.parametrize(
    "piece", [{}, {"piece": "AAAA"}, {"piece": "?"}, {"piece": base64.b64encode(bytes(500)).decode()}, {"gone": True}]
)
async def test_pieces_of_arguments_that_are_wrong_run_nothing(autojump_clock: MockClock, piece: dict[str, Any]) -> None:
    called: list[Any] = []

    async def answer(asked: dict[str, Any], data: bytes) -> Mapping[str, Any]:
        return piece

    async with offered(f=called.append) as scripted:
        scripted.answer = answer
        scripted.call("f", 1, inline=False)
        await trio.sleep(1)
        told = [asked["error"]["text"] for asked in scripted.asked if asked["step"] == "fail"]
    assert len(told) == 1
    assert "can't take what came" in told[0]
    assert called == []


async def test_arguments_of_all_calls_together_have_a_limit(autojump_clock: MockClock) -> None:
    """G7"""

    async def hold(data: str) -> None:
        await trio.sleep_forever()

    async with offered(hold=hold) as scripted:
        scripted.call("hold", "x" * 600, oldest=1)
        scripted.call("hold", "x" * 600, oldest=1)
        scripted.call("hold", "x" * 200, oldest=1)
        await wait_all_tasks_blocked()
        assert scripted.steps() == [("fail", 2)]


async def test_no_more_calls_run_at_a_time_than_the_limit(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """G7"""
    monkeypatch.setattr(tools, "LIMIT_CALLS", 3)
    monkeypatch.setattr(tools, "LIMIT_FINISHED", 4)
    called: list[int] = []
    go_on = trio.Event()

    async def hold(n: int) -> None:
        called.append(n)
        await go_on.wait()

    with pytest.raises(ProtocolError, match="leaves 4 calls"):
        async with offered(hold=hold) as scripted:
            for n in range(1, 6):
                scripted.call("hold", n, oldest=1)
            await wait_all_tasks_blocked()
            assert called == [1, 2, 3]
            go_on.set()
            await wait_all_tasks_blocked()
            scripted.call("hold", 4, number=4, oldest=1)
            await wait_all_tasks_blocked()
            assert called == [1, 2, 3, 4]
            scripted.call("hold", 5, number=5, oldest=1)
            await trio.sleep_forever()


async def test_what_ends_a_program_ends_the_block(autojump_clock: MockClock) -> None:
    with pytest.raises(SystemExit):
        async with offered(stop=lambda: sys.exit(3)) as scripted:
            scripted.call("stop")
            await trio.sleep_forever()
    assert ("end", None) in scripted.steps()


async def test_comms_that_are_lost_are_opened_again(autojump_clock: MockClock) -> None:
    called: list[int] = []
    async with offered(f=called.append) as scripted:
        scripted.call("f", 1)
        await wait_all_tasks_blocked()
        scripted.tell(ConnectionLostError("scripted"))
        await wait_all_tasks_blocked()
        scripted.call("f", 1, number=1)
        scripted.call("f", 2)
        await wait_all_tasks_blocked()
        scripted.tell(KernelRestartedError("scripted", "it was restarted"))
        await wait_all_tasks_blocked()
        scripted.call("f", 3, number=1)
        await wait_all_tasks_blocked()
    assert called == [1, 2, 3]
    first, second, third = scripted.opened
    assert first == second != third


async def test_a_kernel_that_does_not_hear_its_client_is_named() -> None:
    for name in ("has_comms", "offers"):
        scripted = Scripted()
        setattr(scripted, name, False)
        with pytest.raises(InvalidInputError, match="hears its client while code runs"):
            async with open_tools(scripted, make_tools({"f": len}), HOW):  # type: ignore[arg-type]
                pytest.fail("it is not offered")


@pytest.mark.parametrize(
    ("error", "args"),
    [
        (ValueError("x", 1, None), ["x", 1, None]),
        (ValueError("x" * 100_000), ["x" * tools.TEXT]),
        (ValueError("\ud800"), ["?"]),
        (ValueError(2**70), [str(2**70)]),
        (ValueError(b"x"), ["b'x'"]),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "so"), None),
        (Odd("x"), None),
    ],
)
def test_exceptions_are_told_by_what_can_be_told(error: Exception, args: Any) -> None:
    told = tools._told(error)
    assert told.get("args") == args
    assert told["type"].endswith(type(error).__name__)


def test_what_is_told_of_a_function_has_no_values_of_its_defaults() -> None:
    """G8"""

    def connect(host: str, password: str = "geheim") -> None:
        """Connect to a host."""

    assert make_tools({"connect": connect})["connect"].about() == {"signature": "(host, password)", "doc": "Connect to a host."}
