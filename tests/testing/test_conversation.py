"""The log of what was said: its lines, its times, its bound, and that it keeps no secret."""

from __future__ import annotations

import trio.testing

from trio_gateway.testing import Conversation

from .kit_parts import execute, request

Clock = trio.testing.MockClock


async def test_times_count_from_its_beginning(autojump_clock: Clock) -> None:
    conversation = Conversation()
    await trio.sleep(100)
    conversation.begin()
    await trio.sleep(2.5)
    conversation.begin()  # it has begun
    conversation.note("#1 <", "GET /api")
    assert conversation.lines == ["       2.500  #1 <   GET /api"]


async def test_its_first_line_begins_it(autojump_clock: Clock) -> None:
    conversation = Conversation()
    await trio.sleep(7)
    conversation.note("#1 <", "a")
    await trio.sleep(1)
    conversation.note("#1 >", "b")
    assert [line.split() for line in conversation.lines] == [["0.000", "#1", "<", "a"], ["1.000", "#1", ">", "b"]]


async def test_it_keeps_the_last_lines_and_counts_the_others() -> None:
    conversation = Conversation(kept=2)
    conversation.note("#1", "first")
    conversation.note("#1", "second")
    assert str(conversation) == "\n".join(conversation.lines)
    conversation.note("#1", "third")
    conversation.note("#1", "fourth")
    assert [line.split()[-1] for line in conversation.lines] == ["third", "fourth"]
    assert str(conversation).splitlines()[0] == "(2 lines before)"
    assert str(conversation).splitlines()[1:] == conversation.lines


async def test_no_token_of_a_query_is_kept() -> None:
    conversation = Conversation()
    conversation.note("#1", "GET /api?a=1&token=secret&b=2")
    conversation.note("#1", "GET /api?token=secret")
    assert [line.split()[-1] for line in conversation.lines] == ["/api?a=1&token=***&b=2", "/api?token=***"]


async def test_a_message_is_one_short_line() -> None:
    conversation = Conversation()
    asked = execute("x" * 500, msg_id="0123456789-asked")
    conversation.message("#1 <", asked)
    conversation.message("#1 >", request("stream", {"text": "é"}, channel="iopub", msg_id="said", parent=asked))
    first, second = conversation.lines
    assert 'shell execute_request 89-asked {"code":"xxx' in first
    assert first.count("x") < 110
    assert second.endswith('iopub stream said re 89-asked {"text":"é"}')
