"""The kernel's side, played in this process: steps, their answers, and what is kept between them."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trio_gateway._python import codec, kernel_side


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Iterator[None]:
    yield
    kernel_side._dropped.clear()
    assert kernel_side._left == []
    assert kernel_side._answers == {}
    assert kernel_side._boxes == {}
    assert kernel_side._heard == set()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found: dict[str, Any] = {}
    monkeypatch.setattr(kernel_side, "_namespace", lambda: found)
    return found


def ask(step: str, token: str = "t", **arguments: Any) -> Any:
    kernel_side.ask(token, step, json.dumps(arguments))
    return json.loads(repr(kernel_side.told(token)))


def inline(value: Any) -> dict[str, Any]:
    encoded = codec.encode(value)
    return {"data": base64.b64encode(encoded.joined()).decode(), "check": encoded.checksum()}


def value_of(told: Any) -> Any:
    return codec.of_bytes(base64.b64decode(told["data"]))


def evaluate(expression: str, token: str = "t") -> Any:
    return ask("evaluate", token, expression=expression, pickled=False, classes=[])


class FakeComm:
    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.take: Any = None

    def on_msg(self, callback: Any) -> None:
        self.take = callback

    def send(self, data: Any, buffers: Any) -> None:
        self.sent.append((data["start"], bytes(buffers[0])))

    def bring(self, start: int, piece: bytes) -> None:
        self.take({"content": {"data": {"start": start}}, "buffers": [memoryview(piece)]})


def opened(**data: Any) -> FakeComm:
    comm = FakeComm()
    kernel_side._opened(comm, {"content": {"data": data}})
    return comm


def test_a_small_value_is_in_the_answer(names: dict[str, Any]) -> None:
    names["x"] = [1, (2, 3)]
    answer = evaluate("x + [None]")
    assert codec.of_bytes(base64.b64decode(answer["data"])) == [1, (2, 3), None]


def test_a_large_value_is_sent_as_far_as_was_asked_for(names: dict[str, Any]) -> None:
    names["x"] = bytes(range(256)) * 200_000
    answer = evaluate("x")
    assert ask("send", start=0, stop=5) == {"sent": False}, "no comm was opened yet"
    comm = opened(token="t")
    assert ask("send", start=0, stop=5_000_000) == {"sent": True}
    assert max(len(piece) for _, piece in comm.sent) <= codec.PIECE
    assert sum(len(piece) for _, piece in comm.sent) == 5_000_000
    ask("send", start=5_000_000, stop=answer["total"])
    receiver = codec.Receiver(answer["total"], answer["check"])
    for _, piece in comm.sent:
        receiver.feed(piece)
    assert receiver.value() == names["x"]
    opened(token="t", forget=True)
    assert ask("send", start=0, stop=5) == {"gone": True}


def test_names_are_bound_when_all_has_come_and_a_lost_piece_may_come_again(names: dict[str, Any]) -> None:
    encoded = codec.encode({"a": b"x" * 100_000, "b": 1})
    data = encoded.joined()
    assert ask("have") == {"have": None}
    comm = opened(token="t", total=encoded.total, check=encoded.checksum())
    comm.bring(0, data[:1000])
    comm.bring(5000, data[5000:])  # the one before it was lost
    comm.bring(0, data[:1000])  # it came twice
    assert ask("have") == {"have": 1000}
    again = opened(token="t", total=encoded.total, check=encoded.checksum())
    again.bring(1000, data[1000:])
    assert ask("have") == {"have": len(data)}
    assert names == {}
    assert ask("bind") == {"bound": True}
    assert names == {"a": b"x" * 100_000, "b": 1}


def test_what_is_not_whole_or_changed_binds_nothing(names: dict[str, Any]) -> None:
    encoded = codec.encode({"a": b"x" * 100_000})
    opened(token="t", total=encoded.total, check=encoded.checksum()).bring(0, encoded.joined()[:50_000])
    assert "not whole" in ask("bind")["damaged"]
    opened(token="t", total=encoded.total, check=1).bring(0, encoded.joined())
    assert "checksum" in ask("bind")["damaged"]
    assert "does not have it" in ask("bind")["damaged"]
    assert names == {}


def test_a_name_that_is_not_there_is_the_callers_error(names: dict[str, Any]) -> None:
    call = {"result": "r", "pickled": False, "classes": []}
    answer = ask("call", **call, imported=["builtins", "len"], **inline((None, (codec.Name("missing"),), {})))
    assert (answer["error"]["type"], answer["error"]["text"]) == ("NameError", "name 'missing' is not defined")


class Odd(Exception):
    def __init__(self) -> None:
        super().__init__()
        self.__notes__ = ["one", 2]  # type: ignore[list-item]

    def __str__(self) -> str:
        raise ValueError


def test_of_generators_that_nobody_asks_for_the_oldest_are_closed(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """G7: their clients may have died, or be slow."""
    closed: list[int] = []

    def items(n: int) -> Iterator[int]:
        try:
            yield n
            yield n
        finally:
            closed.append(n)
            if n % 2:
                raise ValueError("at the end")

    async def later() -> None: ...

    def stream(n: int) -> None:
        how = {"result": f"stream {n}", "stream": True, "pickled": False, "classes": []}
        assert ask("call", f"call {n}", **inline((codec.Name("items"), (n,), {})), **how) == {"stream": "sync"}
        assert value_of(ask_next(n)) == [n]

    def ask_next(n: int) -> Any:
        return ask("next", f"next {n}", stream=f"stream {n}", result=f"result {n}", pickled=False)

    def pass_time(seconds: float) -> None:
        kernel_side._asked.update({token: at - seconds for token, at in kernel_side._asked.items()})

    names.update(items=items)
    monkeypatch.setattr(kernel_side, "STREAMS", 3)
    monkeypatch.setattr(kernel_side, "BATCH_ITEMS", 1)
    kernel_side._boxes["awaited"] = later()
    for n in range(6):
        stream(n)
        pass_time(1)
    assert closed == []
    pass_time(kernel_side.LEFT_SECONDS)
    assert value_of(ask_next(0)) == [0], "it is asked for, so it is none of them"
    ask("forget", "other")
    assert closed == [2, 1], "the oldest of the others, and one of them has raised an error"
    assert "awaited" not in kernel_side._boxes
    assert ask_next(1) == {"gone": True, "dropped": True}
    pass_time(kernel_side.STREAM_SECONDS)
    ask("forget", "other")
    assert sorted(closed) == list(range(6))


def drop_a_generator_that_ends_with(end: Any, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Leave a generator that says what it does and ends so; with the next step it goes."""
    said: list[str] = []

    def items() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            said.append("the end")
            raise end

    names.update(items=items, say=said.append)
    monkeypatch.setattr(kernel_side, "STREAMS", 0)
    monkeypatch.setattr(kernel_side, "BATCH_ITEMS", 1)
    ask("call", result="left", stream=True, pickled=False, classes=[], **inline((codec.Name("items"), (), {})))
    assert value_of(ask("next", stream="left", result="r", pickled=False)) == [1]
    kernel_side._asked["left"] -= kernel_side.LEFT_SECONDS + 1
    return said


@pytest.mark.parametrize("end", [SystemExit("over"), GeneratorExit(), ValueError()], ids=repr)
def test_how_a_dead_clients_generator_ends_is_nothing_of_another_clients_step(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    """The step comes first, so what the generator does at its end can't stand in its way."""
    said = drop_a_generator_that_ends_with(end, names, monkeypatch)
    assert value_of(evaluate("say('the step')")) is None
    assert said == ["the step", "the end"]


def test_a_generator_that_exits_when_it_is_forgotten_leaves_the_kernel_alone(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = drop_a_generator_that_ends_with(SystemExit("over"), names, monkeypatch)
    opened(token="left", forget=True)
    assert said == ["the end"]


def test_an_interrupt_while_a_dead_clients_generator_is_closed_is_the_steps(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client wants it to end. What else is to be closed is closed after the next one."""
    said = drop_a_generator_that_ends_with(KeyboardInterrupt(), names, monkeypatch)
    kernel_side._boxes["other"] = kernel_side._Items(closing := Closing(), {})
    kernel_side._asked["other"] = kernel_side._asked["left"] - 1
    with pytest.raises(KeyboardInterrupt):
        evaluate("say('the step')")
    assert (said, closing.closed) == (["the step", "the end"], 0)
    evaluate("1")
    assert closing.closed == 1


class Closing:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_of_few_that_were_dropped_it_is_kept_that_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_side, "STREAMS", 0)
    monkeypatch.setattr(kernel_side, "LIMIT_DROPPED", 2)
    for n in range(4):
        kernel_side._boxes[str(n)] = kernel_side._Items(iter(()), {})
        kernel_side._asked[str(n)] = -1e9
        ask("forget", "another")
    assert [ask("next", stream=str(n), result="r", pickled=False)["dropped"] for n in range(4)] == [False, False, True, True]
    ask("forget", "3")
    assert list(kernel_side._dropped) == ["2"]


def test_a_long_item_comes_by_itself(names: dict[str, Any]) -> None:
    """A client that takes nothing so long has all items before it."""
    long = bytearray(kernel_side.BATCH_BYTES + 1)

    def items() -> Iterator[object]:
        yield from (1, 2, long, 3)

    names.update(items=items)
    ask("call", result="s", stream=True, pickled=False, classes=[], **inline((codec.Name("items"), (), {})))
    assert value_of(ask("next", stream="s", result="r", pickled=False)) == [1, 2]
    long[0] = 7
    answer = ask("next", stream="s", result="r", pickled=False)
    assert (answer["after"], codec.of_bytes(kernel_side._boxes["r"].encoded.joined())) == ({}, [bytearray(len(long))])
    ask("forget", "r")
    answer = ask("next", stream="s", result="r", pickled=False)
    assert (value_of(answer), answer["after"]) == ([3], {"end": True})


def test_what_a_client_has_left_is_dropped(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And what is asked about is not, nor what is no transfer."""
    names["x"] = bytes(100_000)
    names["items"] = lambda: iter([1])
    evaluate("x", "pulled")
    ask("write_file", "uploaded", path=str(tmp_path / "f"), within=None, total=5, resume=False)
    ask("read_file", "downloaded", path=__file__)
    opened(token="pushed", total=100, check=1)
    ask("call", result="streamed", pickled=False, classes=[], stream=True, **inline((codec.Name("items"), (), {})))
    ask("about", "another client's")
    assert set(kernel_side._boxes) == {"pulled", "uploaded", "downloaded", "pushed", "streamed"}
    for token in ("pulled", "uploaded", "downloaded", "pushed"):
        kernel_side._asked[token] -= kernel_side.LEFT_SECONDS + 1
    ask("have", "pushed")
    assert set(kernel_side._boxes) == {"pushed", "streamed"}
    assert list(tmp_path.iterdir()) == []
    ask("forget", "pushed")
    ask("forget", "streamed")
    assert set(kernel_side._asked) <= {"streamed"}


def test_any_exception_can_be_told(names: dict[str, Any]) -> None:
    def fail() -> None:
        raise Odd

    names["fail"] = fail
    told = evaluate("fail()")["error"]
    assert told["type"].endswith("Odd")
    assert told["text"] == "(its text can't be made)"
    assert told["notes"] == ["one", "2"]
    names["stop"] = sys.exit
    assert evaluate("stop(3)")["error"]["type"] == "SystemExit"


def test_the_traceback_shows_the_users_frames_only(names: dict[str, Any]) -> None:
    lines = evaluate("1 / 0")["error"]["traceback"]
    assert not any("kernel_side" in line for line in lines)
    assert lines[-1] == "ZeroDivisionError: division by zero\n"


def test_items_are_told_in_batches_and_the_end_with_the_last(names: dict[str, Any]) -> None:
    def count(n: int) -> Iterator[int]:
        yield from range(n)
        raise ValueError("no more")

    names["count"] = count
    call = {"result": "s", "pickled": False, "classes": [], "stream": True}
    assert ask("call", **call, **inline((codec.Name("count"), (1500,), {}))) == {"stream": "sync"}
    found: list[int] = []
    while True:
        answer = ask("next", stream="s", result="r", pickled=False)
        found += codec.of_bytes(base64.b64decode(answer["data"]))
        assert len(found) <= 1500
        if answer["after"]:
            break
    assert found == list(range(1500))
    assert answer["after"]["error"]["text"] == "no more"
    assert ask("next", stream="s", result="r", pickled=False) == {"gone": True, "dropped": False}


def items_of(answer: Any) -> Any:
    return codec.of_bytes(base64.b64decode(answer["data"]))


STREAM = {"result": "s", "pickled": False, "classes": [], "stream": True}


def test_each_item_is_told_as_it_was_when_it_came(names: dict[str, Any]) -> None:
    def fill() -> Iterator[Any]:
        row: list[int] = []
        buffer = bytearray(600)
        for number in range(3):
            row.append(number)
            buffer[0] = number
            yield row, buffer

    names["fill"] = fill
    ask("call", **STREAM, **inline((codec.Name("fill"), (), {})))
    items = items_of(ask("next", stream="s", result="r", pickled=False))
    assert [(row, buffer[0]) for row, buffer in items] == [([0], 0), ([0, 1], 1), ([0, 1, 2], 2)]


def test_items_with_much_in_them_are_told_one_by_one(names: dict[str, Any]) -> None:
    """G7"""
    names["large"] = lambda: ({"inside": [bytes(2_000_000)]} for _ in range(5))
    ask("call", **STREAM, **inline((codec.Name("large"), (), {})))
    assert ask("next", stream="s", result="r", pickled=False)["total"] < 2_100_000
    kernel_side.forget("r")
    kernel_side.forget("s")


def test_items_before_one_that_cannot_be_carried_are_told_first(names: dict[str, Any]) -> None:
    names["some"] = lambda: iter([1, {"a": 2}, {"a": object()}, 4])
    ask("call", **STREAM, **inline((codec.Name("some"), (), {})))
    answer = ask("next", stream="s", result="r", pickled=False)
    assert items_of(answer) == [1, {"a": 2}]
    assert answer["after"]["carry"][1] == "['a']"


def test_what_an_exception_says_has_an_end(names: dict[str, Any]) -> None:
    """G7: an answer that is too long for the gateway is lost."""

    def fail() -> None:
        error = ValueError("x" * 10_000_000)
        error.__notes__ = ["y" * 10_000_000] * 5
        raise error

    names["fail"] = fail
    answer = ask("evaluate", expression="fail()", pickled=True, classes=[])
    assert len(json.dumps(answer)) < 2_000_000
    assert "characters ..." in answer["error"]["text"]
    assert answer["error"]["traceback"][-1].startswith("yyy")


def test_an_exception_of_no_module_is_told(names: dict[str, Any]) -> None:
    def fail() -> None:
        raise type("Odd", (Exception,), {"__module__": None, "__notes__": property(lambda _: 1 / 0)})("so")

    names["fail"] = fail
    told = evaluate("fail()")["error"]
    assert (told["type"].endswith("Odd"), told["text"]) == (True, "so")


def test_a_list_that_a_name_stands_for_is_no_function(names: dict[str, Any]) -> None:
    names["f"] = ["math", "hypot"]
    call = {"result": "r", "pickled": False, "classes": []}
    assert "not callable" in ask("call", **call, **inline((codec.Name("f"), (3, 4), {})))["error"]["text"]


def test_a_comm_that_came_is_told_once() -> None:
    opened(token="t", hello=True)
    assert ask("about")["comms"] is True
    assert ask("about")["comms"] is False


def test_a_generator_that_is_forgotten_is_closed(names: dict[str, Any]) -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    names["items"] = items
    ask("call", result="s", pickled=False, classes=[], stream=True, **inline((codec.Name("items"), (), {})))
    ask("next", stream="s", result="r", pickled=False)
    ask("forget", "s")
    assert closed == [True]


def test_a_module_that_is_not_there_is_told_from_one_that_fails(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "fails_here.py").write_text("import not_there_either", encoding="utf-8")
    assert ask("knows", module="json.decoder", name="JSONDecoder.decode") == {"knows": True}
    assert ask("knows", module="not_there.at_all", name="f") == {"knows": False}
    assert ask("knows", module="json", name="nothing") == {"knows": False}
    assert ask("knows", module="fails_here", name="f")["error"]["type"] == "ModuleNotFoundError"
