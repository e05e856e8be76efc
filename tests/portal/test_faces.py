"""How a face is made out of a Trio class, each kind of member, on a side that does everything at once."""

from __future__ import annotations

import functools
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypedDict, Unpack

import attrs
import pytest
import trio

from trio_gateway import InvalidInputError
from trio_gateway._kernel.inbox import InboxStatistics
from trio_gateway._portal.faces import Face, Method, Side, Translate, asked, check_door, original_of, refuse_faces
from trio_gateway._portal.members import Function, How
from trio_gateway._portal.portal import Portal
from trio_gateway._portal.thread_side import BlockingPortalCrossing, take_blocking


class Part:
    """A part of what lives in Trio."""

    @property
    def name(self) -> str:
        """Its name."""
        return threading.current_thread().name


class Item:
    """What is read, and has a face."""


class Original:
    """What lives in Trio."""

    def __init__(self) -> None:
        self.made = 0
        self.items: list[Any] = [Item(), Item(), Item(), Item()]
        self.lost = 3

    @property
    def here(self) -> str:
        """Where it is read."""
        return threading.current_thread().name

    @property
    def there(self) -> str:
        """Where it is read."""
        return threading.current_thread().name

    @property
    def part(self) -> Part:
        """A part."""
        self.made += 1
        return Part()

    @property
    def late(self) -> Part:
        """A part that is made late."""
        self.made += 1
        assert threading.current_thread().name == "trio_gateway"
        return Part()

    @property
    def lost_events(self) -> int:
        """How many were lost."""
        return self.lost

    def called_here(self, word: str, *, end: str = "") -> str:
        """Say it."""
        return f"{threading.current_thread().name} {word}{end}"

    def called_there(self, word: str) -> str:
        """Say it."""
        return f"{threading.current_thread().name} {word}"

    def numbers(self) -> AsyncIterator[int]:
        """Give numbers."""
        raise NotImplementedError

    async def receive(self) -> Item:
        """Wait for an item."""
        await trio.lowlevel.checkpoint()
        return self.items.pop(0)

    def receive_nowait(self) -> Item:
        """Take an item."""
        return self.items.pop(0)

    def receive_ready(self, limit: int = 64, *, limit_bytes: float = 1e6) -> list[Item]:
        """Take items."""
        taken, self.items = self.items[:limit], self.items[limit:]
        return taken

    def statistics(self) -> InboxStatistics:
        """Count items."""
        return InboxStatistics(len(self.items), 0, 0, 0, 0, 0)

    @asynccontextmanager
    async def block(self) -> AsyncGenerator[Part]:
        """Give a part."""
        yield Part()

    def internal(self) -> None:
        """Not for users."""


DECLARED = {
    Original: {
        How.ON_THE_SPOT: ("here", "called_here"),
        How.IN_TRIO: ("there", "called_there"),
        How.PART: ("part",),
        How.LATE_PART: ("late",),
        How.COUNTS_EVENTS: ("lost_events",),
        How.RECEIVES: ("receive",),
        How.RECEIVES_NOWAIT: ("receive_nowait",),
        How.RECEIVES_READY: ("receive_ready",),
        How.COUNTS_ITEMS: ("statistics",),
        How.GIVES_BLOCK: ("block",),
        How.INTERNAL: ("internal",),
    },
    Part: {How.ON_THE_SPOT: ("name",)},
    Item: {},
}


@attrs.frozen
class Crossed:
    """A block of this side."""

    manager: Any
    translate: Translate


class ThisSide(Side):
    """Threads, as simply as can be."""

    def awaiting(self, function: Method, *, closes: bool) -> Method:
        raise NotImplementedError

    def receiving(self, function: Method) -> Method:
        return lambda self: side_of(self).translate(self._portal, take_blocking(self._portal, self._reading))

    def crossing(self, portal: Portal, manager: Any, translate: Translate) -> Any:
        return Crossed(manager, translate)

    def iterator(self, portal: Portal, original: AsyncIterator[Any]) -> Any:
        return ("iterator", original)

    def client(self, portal: Portal, client: Any) -> Any:
        return ("client", client)

    def dressed(self, method: Method, function: Method) -> Method:
        return functools.update_wrapper(method, function)


def side_of(face: Any) -> ThisSide:
    side: ThisSide = face.side
    return side


@pytest.fixture
def portal() -> Iterator[Portal]:
    @asynccontextmanager
    async def nothing() -> AsyncGenerator[None]:
        await trio.lowlevel.checkpoint()
        yield

    with BlockingPortalCrossing(nothing(), lambda portal, value: portal) as portal:
        yield portal


@pytest.fixture
def face(portal: Portal) -> Any:
    side = ThisSide("this", "trio_gateway")
    for original, declared in DECLARED.items():
        side.faces[original] = type(original.__name__, (Face,), {**side.members(original, declared), "side": side})
    return side.translate(portal, Original())


def test_where_a_member_is_read_and_called(face: Any) -> None:
    mine = threading.current_thread().name
    assert (face.here, face.there) == (mine, "trio_gateway")
    assert face.called_here("word", end="!") == f"{mine} word!"
    assert face.called_there("word") == "trio_gateway word"
    assert type(face).here.__doc__ == "Where it is read."
    assert (face.called_there.__name__, face.called_there.__doc__) == ("called_there", "Say it.")
    assert not hasattr(face, "internal")


def test_a_part_has_one_face(face: Any) -> None:
    """Each time the same, and it is asked for once; one that is made late is made in Trio."""
    assert face.part is face.part
    assert face.late is face.late
    assert face.part is not face.late
    assert original_of(face).made == 2
    assert face.part.name == threading.current_thread().name
    assert isinstance(face.part, Face)


def test_lost_events_are_added(face: Any) -> None:
    face._portal.dropped_events += 4
    assert face.lost_events == 7


def test_items_are_handed_over_and_counted(face: Any) -> None:
    """What was handed over comes first, whichever way it is read; and what has a face is given as one."""
    first, *rest = original_of(face).items
    assert face.statistics().messages == 4
    item = face.receive()
    assert (isinstance(item, Face), original_of(item)) == (True, first)
    assert original_of(face).items == []
    assert face.statistics().messages == 3
    assert original_of(face.receive_nowait()) is rest[0]
    original_of(face).items = [more := Item()]
    assert [original_of(each) for each in face.receive_ready(2)] == rest[1:]
    assert original_of(face.receive_nowait()) is more
    assert face.receive_ready() == []


def test_a_block_is_crossed_into(face: Any) -> None:
    crossed = face.block()
    assert isinstance(crossed, Crossed)
    part = crossed.translate(face._portal, Part())
    assert isinstance(part, Face)


def test_what_stands_for_a_value(face: Any) -> None:
    side, portal = side_of(face), face._portal

    async def numbers() -> AsyncGenerator[int]:
        yield 1

    assert side.translate(portal, "value") == "value"
    assert side.translate(portal, given := numbers()) == ("iterator", given)
    assert repr(side.translate(portal, part := Part())) == repr(part)


class Options(TypedDict, total=False):
    stdin: Any
    on_event: Any
    more: int


def run_code(code: str, stdin: Any = None, **options: Unpack[Options]) -> None:
    """Take handlers, also among its options."""


def carry(values: Any = None, /, *, on_progress: Any = None, **named: object) -> None:
    """Take a handler, and values of any name."""


def test_only_the_callers_functions_are_asked() -> None:
    arguments = {"code": "1", "stdin": "channel", "connector": print}
    assert asked(run_code, arguments) == arguments
    assert asked(run_code, {"stdin": None}) == {"stdin": None}
    replaced = asked(run_code, {"code": "1", "stdin": print, "on_event": print})
    assert replaced["code"] == "1"
    assert replaced["stdin"] is not print
    assert replaced["on_event"] is not print


def test_a_value_that_has_a_handlers_name_is_none() -> None:
    replaced = asked(carry, {"on_progress": print, "on_event": print, "stdin": len})
    assert (replaced["on_event"], replaced["stdin"]) == (print, len)
    assert replaced["on_progress"] is not print


def use(where: Original, what: str, **options: Unpack[Options]) -> Any:
    """Use it."""
    return where, what, options


ENTRY = Function(use, How.GIVES_BLOCK, "tools", (Original,), {"what": str.upper, "missing": str.upper})


def test_a_function_takes_the_face_of_its_first_argument(face: Any) -> None:
    """It crosses as a method of that would; what is to be read is read first, and the caller's functions are asked."""
    function = side_of(face).function(ENTRY)
    for crossed in (function(face, "word", stdin=print, more=1), function(where=face, what="word", stdin=print, more=1)):
        where, what, options = crossed.manager
        assert (where, what, options["more"]) == (original_of(face), "WORD", 1)
        assert options["stdin"] is not print
    assert (function.__name__, function.__doc__) == ("use", "Use it.")
    with pytest.raises(TypeError, match="missing a required argument: 'what'"):
        function(face)


def test_a_function_is_the_one_in_trio_where_that_may_come_in(face: Any) -> None:
    original = Original()
    assert side_of(face).function(ENTRY)(original, "word") == (original, "word", {})


def test_another_modules_object_is_told_where_to_go(face: Any) -> None:
    function = side_of(face).function(ENTRY)
    other = ThisSide("other")
    made = type("Other", (Face,), {**other.members(Original, DECLARED[Original])})(face._portal, Original())
    with pytest.raises(InvalidInputError, match=r"of this; this one is of other: import other\.tools, which has") as caught:
        function(made, "word")
    assert (caught.value.field, caught.value.value) == ("where", made)
    for nothing in ("text", None, face.part):
        with pytest.raises(InvalidInputError, match=r"expected an open Original of this$"):
            function(nothing, "word")
    with pytest.raises(InvalidInputError, match=r"of alone; this one is of trio_gateway: import trio_gateway\.tools"):
        check_door("where", Original(), (Original,), "tools", "alone")
    check_door("where", Original(), (Original,), "tools", "trio_gateway")


def test_a_function_in_trio_refuses_faces_at_the_call(face: Any) -> None:
    refusing = refuse_faces("tools", Original)(use)
    original = Original()
    assert refusing(original, "word", more=1) == refusing(where=original, what="word", more=1) == (original, "word", {"more": 1})
    assert (refusing.__name__, refusing.__doc__) == ("use", "Use it.")
    for call in (lambda: refusing(face, "word"), lambda: refusing(where=face, what="word")):
        with pytest.raises(InvalidInputError, match=r"of trio_gateway; this one is of this: import this\.tools"):
            call()
    with pytest.raises(TypeError, match="missing"):
        refusing()  # type: ignore[call-arg]
