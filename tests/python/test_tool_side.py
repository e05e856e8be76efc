"""Tools, in the kernel: the kernel's side played in this process, its client by the test."""

from __future__ import annotations

import base64
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from trio_gateway._python import codec, tool_side


class Client:
    """Hears what is told on the comm, and asks on the control channel."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.names: dict[str, Any] = {}
        self.news = threading.Semaphore(0)
        tool_side.opened("t", self)

    def send(self, data: dict[str, Any]) -> None:
        self.told.append(data)
        self.news.release()

    def offer(self, *names: str, token: str = "t") -> None:
        how = {"pickled": None, "classes": set}
        tool_side.offer(token, {name: {"signature": "(x)"} for name in names}, how, self.names)

    def ask(self, step: str, *pieces: bytes, token: str = "t", **asked: Any) -> Any:
        content = {"target_name": tool_side.TARGET, tool_side.KEY: {"token": token, "step": step, **asked}}
        assert tool_side._ours(content)
        return tool_side._answer(content, pieces)[tool_side.KEY]

    def next(self) -> dict[str, Any]:
        """Wait for what is told next."""
        assert self.news.acquire(timeout=60)
        return self.told.pop(0)

    def answer(self, number: int, value: Any) -> Any:
        encoded = codec.encode(value)
        about = {"total": encoded.total, "check": encoded.checksum()}
        return self.ask("answer", encoded.joined(), call=number, start=0, **about)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(tool_side, "AGAIN", (60.0,))
    made = Client()
    made.offer("f", "g")
    yield made
    tool_side.withdraw("t", "the test is over")
    assert made.names == {}
    assert tool_side._offers == {}
    assert tool_side._names == {}


@pytest.fixture
def start() -> Iterator[Callable[..., Future[Any]]]:
    """Calls in threads, as code in the kernel makes them."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


def test_a_call_waits_for_its_value(client: Client, start: Any) -> None:
    call = start(client.names["f"], 1, x=[2])
    told = client.next()
    assert (told["name"], told["call"], told["oldest"]) == ("f", 1, 1)
    assert codec.of_bytes(base64.b64decode(told["data"])) == ((1,), {"x": [2]})
    assert client.answer(1, {"a": (1, 2)}) == {"have": codec.encode({"a": (1, 2)}).total}
    assert call.result(60) == {"a": (1, 2)}
    assert client.answer(1, 5) == {"gone": True}


def test_large_arguments_are_fetched_and_large_values_come_in_pieces(client: Client, start: Any) -> None:
    large = bytes(range(256)) * 1000
    call = start(client.names["f"], large)
    told = client.next()
    assert "data" not in told
    cuts = [*range(0, told["total"], 100_000), told["total"]]
    pieces = [client.ask("fetch", call=1, start=first, stop=last)["piece"] for first, last in itertools.pairwise(cuts)]
    assert codec.of_bytes(b"".join(base64.b64decode(piece) for piece in pieces)) == ((large,), {})
    encoded = codec.encode(large)
    data, about = encoded.joined(), {"call": 1, "total": encoded.total, "check": encoded.checksum()}
    assert client.ask("answer", data[:1000], start=0, **about) == {"have": 1000}
    assert client.ask("answer", data[5000:6000], start=5000, **about) == {"have": 1000}, "the one before it is lost"
    assert client.ask("answer", data[:1000], start=0, **about) == {"have": 1000}, "it came twice"
    assert client.ask("answer", data[1000:], start=1000, **about) == {"have": len(data)}
    assert call.result(60) == large


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"type": "KeyError", "text": "'x'", "args": ["x"]}, KeyError("x")),
        ({"type": "FileNotFoundError", "text": "", "args": [2, "No such file"]}, FileNotFoundError(2, "No such file")),
        ({"type": "my.Error", "text": "so"}, tool_side.ToolError("my.Error: so", "my.Error")),
        ({"type": "UnicodeDecodeError", "text": "so"}, tool_side.ToolError("UnicodeDecodeError: so")),
        ({"type": "SystemExit", "text": "3", "args": [3]}, tool_side.ToolError("SystemExit: 3")),
        ({"type": "print", "text": "3", "args": [3]}, tool_side.ToolError("print: 3")),
        ({"text": "it is over"}, tool_side.ToolError("it is over")),
    ],
)
def test_an_exception_arrives_as_the_built_in_one_or_as_one_with_its_name(
    client: Client, start: Any, told: Any, expected: Exception
) -> None:
    call = start(client.names["f"])
    client.next()
    client.ask("fail", call=1, error=told)
    error = call.exception(60)
    assert type(error) is type(expected)
    assert error.args == expected.args


def test_calls_of_threads_are_answered_in_any_order(client: Client, start: Any) -> None:
    calls = [start(client.names[name], name) for name in "fg"]
    told = {data["name"]: data["call"] for data in (client.next(), client.next())}
    assert client.answer(told["g"], "to g")
    assert client.answer(told["f"], "to f")
    assert [call.result(60) for call in calls] == ["to f", "to g"]


def test_a_call_that_was_lost_is_told_again_and_one_that_nobody_hears_fails(
    client: Client, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G3"""
    monkeypatch.setattr(tool_side, "AGAIN", (0.01,))
    call = start(client.names["f"])
    first, second = client.next(), client.next()
    assert first == second
    client.answer(1, "heard")
    assert call.result(60) == "heard"
    monkeypatch.setattr(tool_side, "SILENCE", 0.05)
    call = start(client.names["f"])
    with pytest.raises(tool_side.ToolError, match="nothing was heard of the client"):
        call.result(60)
    client.told = [told for told in client.told if "drop" in told]
    assert client.told == [{"drop": 2}]


def test_the_end_of_the_block_fails_what_waits_and_every_further_call(client: Client, start: Any) -> None:
    """G3"""
    f = client.names["f"]
    call = start(f)
    client.next()
    assert client.ask("end", why="the block has ended") == {"ended": True}
    with pytest.raises(RuntimeError, match="the block has ended"):
        call.result(60)
    with pytest.raises(RuntimeError, match="the block has ended"):
        f()
    assert client.ask("end", why="twice") == {"gone": True}


def test_what_cannot_be_carried_is_named_and_nothing_is_told(client: Client) -> None:
    with pytest.raises(TypeError, match=r"f\(\): named arguments\['x'\]\[1\] can't be carried"):
        client.names["f"](x=[1, object()])
    with pytest.raises(TypeError, match="works in this process only"):
        __import__("pickle").dumps(client.names["f"])
    assert repr(client.names["f"]) == "<f(x), a function of the client's>"
    assert client.told == []


def test_names_stand_afterwards_for_what_they_stood_for(client: Client) -> None:
    client.names.update(before=1)
    tool_side.opened("u", client)
    client.offer("before", "f", "mine", token="u")
    tool_side.opened("v", client)
    client.offer("f", token="v")
    assert len({id(client.names["f"]), *(id(tool) for tool in tool_side._names["f"][1])}) == 3
    client.names["mine"] = "the user's"
    tool_side.withdraw("u", "")
    assert client.names["before"] == 1
    assert client.names["mine"] == "the user's"
    assert client.names["f"]._offer is tool_side._offers["v"], "the one in the middle has gone"
    tool_side.withdraw("v", "")
    assert client.names["f"]._offer is tool_side._offers["t"]
    del client.names["before"], client.names["mine"]


@pytest.mark.parametrize("asked", [{"step": "unheard of", "call": 1}, {"step": "fetch"}, {"step": "answer", "call": 1}])
def test_what_is_no_question_is_said_to_be_none(client: Client, start: Any, asked: Any) -> None:
    call = start(client.names["f"])
    client.next()
    assert "bad" in client.ask(**asked)
    client.answer(1, None)
    assert call.result(60) is None


def test_an_answer_that_is_none_is_the_callers_error(client: Client, start: Any) -> None:
    call = start(client.names["f"])
    client.next()
    assert client.ask("answer", b"x" * 10, call=1, start=0, total=10, check=0)["bad"]
    data = codec.encode("so").joined()
    client.ask("answer", data, call=1, start=0, total=len(data), check=0)
    with pytest.raises(RuntimeError, match="checksum"):
        call.result(60)


def test_requests_of_others_are_none_of_ours() -> None:
    assert not tool_side._ours({})
    assert not tool_side._ours({"target_name": tool_side.TARGET})
    assert not tool_side._ours({"target_name": "jupyter.widget", tool_side.KEY: {}})
    assert tool_side.listen() is False, "there is no kernel in this process"
    tool_side._listens.clear()
