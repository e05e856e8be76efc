"""How a face is made out of a Trio class: each member as `members` declares it, in the same way on both sides.

The one idea: a face's class holds no knowledge of its own. Its members take parameters, docstring and meaning from the Trio
class; what differs between the sides, how their callers wait, is the few methods that a `Side` has to give.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from operator import attrgetter
from typing import Any, Final, ParamSpec, Self, TypeVar

from .._errors import InvalidInputError
from .._secret import hide_values
from .calls import Questions, asking, beside
from .members import Declared, Function, How
from .portal import Portal
from .prefetch import Reading, have_readers_answer, read

__all__ = ["Face", "Method", "Side", "Translate", "asked", "check_door", "hide_environment", "original_of", "refuse_faces"]

CALLBACKS: Final = frozenset({"on_event", "on_output", "on_progress", "stdin"})
"""Parameters that are functions of the caller's: they are called, and awaited, by the caller."""

P = ParamSpec("P")
R = TypeVar("R")
Getter = Callable[[Any], Any]
Method = Callable[..., Any]
Translate = Callable[[Portal, Any], Any]


class Face:
    """An object that lives in Trio, as code outside of Trio holds it.

    Args:
        portal: the way into its gateway's block.
        original: the object.
    """

    _reads = False
    """Whether items are read from it."""
    _module = ""
    """The module that it is of, and that its users import."""

    def __init__(self, portal: Portal, original: Any) -> None:
        self._portal = portal
        self._original = original
        self._reading: Reading[Any] | None = read(original) if self._reads else None
        self._parts: dict[str, Any] = {}

    @classmethod
    def _of(cls, portal: Portal, original: Any) -> Self:
        """Make the face of an object, also where its users make one in another way."""
        face = cls.__new__(cls)
        Face.__init__(face, portal, original)
        return face

    def __repr__(self) -> str:
        return repr(self._original)


original_of: Final[Callable[[Any], Any]] = attrgetter("_original")
"""Gives the object in Trio that a face stands for: for modules that do more there than a face offers, such as jupyter's."""


def check_door(field: str, value: object, takes: tuple[type, ...], submodule: str, *modules: str) -> None:
    """See that a function got an object of the module that its user has imported.

    Args:
        field: the argument's name.
        value: the argument.
        takes: the classes of which it may be, in Trio.
        submodule: the name of the function's module, below that which the user has imported.
        modules: the modules whose objects may come in there; the first one is that which the user has imported.

    Raises:
        InvalidInputError: it belongs to another module, which is named, or is no such object.
    """
    own, original = "trio_gateway", value
    if isinstance(value, Face):
        own, original = value._module, value._original  # noqa: SLF001 - of this module
    fits = isinstance(original, takes)
    if fits and own in modules:
        return
    here = modules[0]
    *others, last = [kind.__name__ for kind in takes]
    expected = f"an open {', '.join(others)}{' or ' if others else ''}{last} of {here}"
    if fits:
        expected += f"; this one is of {own}: import {own}.{submodule}, which has the same names as {here}.{submodule}"
    raise InvalidInputError(field, value, expected)


def refuse_faces(submodule: str, *takes: type) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have a function in Trio refuse a face as its first argument, and name the module for it; a decorator.

    It does so when it is called, for nothing awaits it in synchronous code.

    Args:
        submodule: the name of the function's module, below the library's and each face's.
        takes: the classes of which the argument may be.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        first = next(iter(inspect.signature(function).parameters))

        @functools.wraps(function)
        def called(*args: P.args, **arguments: P.kwargs) -> R:
            found = args[0] if args else arguments.get(first)
            if isinstance(found, Face):
                check_door(first, found, takes, submodule, "trio_gateway")
            return function(*args, **arguments)

        return called

    return decorate


def asked(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments of a call, with the caller's functions made so that the caller calls them."""
    if CALLBACKS.isdisjoint(arguments):
        return arguments
    own = _callbacks_of(function)  # of a call that carries values, other names are the caller's own
    return {name: asking(name, value) if name in own and callable(value) else value for name, value in arguments.items()}


@functools.cache
def _callbacks_of(function: Callable[..., Any]) -> frozenset[str]:
    """Return which arguments are handlers: of a function that takes values of the caller's by any name, those it names itself."""
    parameters = inspect.signature(function).parameters
    others = [parameter for parameter in parameters.values() if parameter.kind is parameter.VAR_KEYWORD]
    typed = all(str(parameter.annotation).startswith("Unpack[") for parameter in others)
    return CALLBACKS if typed else CALLBACKS & parameters.keys()


def hide_environment(arguments: dict[str, Any]) -> None:
    """Have the values of an argument `env` hide themselves, in place: a frame's locals are in every traceback (G8)."""
    if "env" in arguments:
        arguments["env"] = hide_values(arguments["env"])


class Side(ABC):
    """How callers of one kind use Trio, and the faces that they see.

    Args:
        module: the module that these callers import.
        others: other modules whose objects they may use in it.
    """

    def __init__(self, module: str, *others: str) -> None:
        self.doors: Final = (module, *others)
        self.faces: dict[type, type[Face]] = {}
        """The face of each Trio class."""

    # What a side gives ----------------------------------------------------------------------------------------------

    @abstractmethod
    def awaiting(self, function: Method, *, closes: bool) -> Method:
        """Make a method out of an async one; after one that closes, what was handed over and not read is forgotten."""

    @abstractmethod
    def receiving(self, function: Method) -> Method:
        """Make a method that waits for the next item out of an async one."""

    @abstractmethod
    def crossing(self, portal: Portal, manager: AbstractAsyncContextManager[Any], translate: Translate) -> Any:
        """Make a block out of one in Trio."""

    @abstractmethod
    def iterator(self, portal: Portal, original: AsyncIterator[Any]) -> Any:
        """Make an iterator out of one in Trio that is of no public class."""

    @abstractmethod
    def client(self, portal: Portal, client: Any) -> Any:
        """Make an httpx client out of one in Trio."""

    @abstractmethod
    def dressed(self, method: Method, function: Method) -> Method:
        """Give a method the name, the parameters and the docstring of the one in Trio."""

    # What both do ---------------------------------------------------------------------------------------------------

    def translate(self, portal: Portal, value: Any) -> Any:
        """Give what stands for a value outside of Trio: the face of an object that lives in Trio, else the value itself."""
        face = self.faces.get(type(value))
        if face is not None:
            return face._of(portal, value)  # noqa: SLF001 - of this module
        if isinstance(value, AsyncIterator):
            return self.iterator(portal, value)
        return value

    def members(self, original: type, declared: Declared) -> dict[str, Any]:
        """Make the members of a Trio class's face, by name."""
        reads = How.RECEIVES in declared or hasattr(original, "__anext__")
        made: dict[str, Any] = {"_reads": reads, "_module": self.doors[0]}
        for how, names in declared.items():
            if how is not How.INTERNAL:
                for name in names:
                    made[name] = self._member(how, name, inspect.getattr_static(original, name))
        return made

    def offered(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Make a function of the caller's so that tasks in Trio can call it, while a block lasts."""
        return beside(name, function)

    def constructor(self, entry: Function) -> Method:
        """Make the `__init__` of the face of a class whose objects its users make, out of the face of its first argument."""
        signature = inspect.signature(entry.origin)
        first = next(iter(signature.parameters))

        @functools.wraps(entry.origin.__init__)
        def construct(face: Face, /, *args: Any, **arguments: Any) -> None:
            bound = signature.bind(*args, **arguments)
            found = bound.arguments[first]
            check_door(first, found, entry.takes, entry.module, *self.doors)
            bound.arguments[first] = found._original  # noqa: SLF001 - of this module
            Face.__init__(face, found._portal, entry.origin(*bound.args, **asked(entry.origin, bound.kwargs)))  # noqa: SLF001

        return construct

    def function(self, entry: Function) -> Method:
        """Make the face's function of one in Trio, which takes the face of its first argument."""
        method = self._member(entry.how, entry.origin.__name__, entry.origin)
        signature = inspect.signature(entry.origin)
        first = next(iter(signature.parameters))

        def called(*args: Any, **arguments: Any) -> Any:
            hide_environment(arguments)
            bound = signature.bind(*args, **arguments)
            found = bound.arguments[first]
            check_door(first, found, entry.takes, entry.module, *self.doors)
            if not isinstance(found, Face):  # on Trio
                return entry.origin(*args, **arguments)
            for name in entry.reads.keys() & bound.arguments.keys():
                bound.arguments[name] = entry.reads[name](bound.arguments[name])
            return method(*bound.args, **bound.kwargs)

        return self.dressed(called, entry.origin)

    def _member(self, how: How, name: str, member: Any) -> Any:
        if isinstance(member, property):
            return property(_GETTERS[how](self, name), doc=member.__doc__)
        if how in (How.AWAITS, How.CLOSES):
            return self.awaiting(member, closes=how is How.CLOSES)
        if how is How.RECEIVES:
            return self.receiving(member)
        return self.dressed(_METHODS[how](self, member), member)


def _read_on_the_spot(side: Side, name: str) -> Getter:
    del side
    return attrgetter(f"_original.{name}")


def _read_in_trio(side: Side, name: str) -> Getter:
    del side
    return lambda self: self._portal.run_sync(functools.partial(getattr, self._original, name))


def _read_part(side: Side, name: str, *, late: bool = False) -> Getter:
    def read_part(self: Face) -> Any:
        part = self._parts.get(name)
        if part is None:
            made = functools.partial(getattr, self._original, name)
            part = self._parts[name] = side.translate(self._portal, self._portal.run_sync(made) if late else made())
        return part

    return read_part


def _read_events(side: Side, name: str) -> Getter:
    del side
    return lambda self: getattr(self._original, name) + self._portal.dropped_events


_GETTERS: Final[Mapping[How, Callable[[Side, str], Getter]]] = {
    How.ON_THE_SPOT: _read_on_the_spot,
    How.IN_TRIO: _read_in_trio,
    How.PART: _read_part,
    How.LATE_PART: functools.partial(_read_part, late=True),
    How.COUNTS_EVENTS: _read_events,
}


def _on_the_spot(side: Side, function: Method) -> Method:
    def method(self: Face, *args: Any, **arguments: Any) -> Any:
        return side.translate(self._portal, function(self._original, *args, **asked(function, arguments)))

    return method


def _in_trio(side: Side, function: Method) -> Method:
    del side

    def method(self: Face, *args: Any, **arguments: Any) -> Any:
        return self._portal.run_sync(functools.partial(function, self._original, *args, **arguments))

    return method


def _gives_block(side: Side, function: Method) -> Method:
    def method(self: Face, *args: Any, **arguments: Any) -> Any:
        return side.crossing(self._portal, function(self._original, *args, **asked(function, arguments)), side.translate)

    return method


def _offers(side: Side, function: Method) -> Method:
    own = inspect.signature(function).parameters

    def offered(name: str, value: Any) -> Any:
        return side.offered(name, value) if name not in own and callable(value) else value

    def method(self: Face, *args: Any, **arguments: Any) -> Any:
        args = tuple({name: offered(name, value) for name, value in a.items()} if isinstance(a, Mapping) else a for a in args)
        arguments = {name: offered(name, value) for name, value in arguments.items()}
        return side.crossing(self._portal, function(self._original, *args, **arguments), side.translate)

    return method


def _gives_items(side: Side, function: Method) -> Method:
    def method(self: Face, *args: Any, **arguments: Any) -> Any:
        questions = Questions()
        with questions.asked_here():
            face = side.translate(self._portal, function(self._original, *args, **asked(function, arguments)))
        have_readers_answer(face, questions)
        return face

    return method


def _gives_client(side: Side, function: Method) -> Method:
    def method(self: Face, *args: Any, **arguments: Any) -> Any:
        return side.crossing(self._portal, function(self._original, *args, **arguments), side.client)

    return method


def _receives_nowait(side: Side, function: Method) -> Method:
    def method(self: Face) -> Any:
        assert self._reading is not None
        self._portal.thread.check_process()  # what was handed over is the parent's too
        try:
            item = self._reading.pop()
        except IndexError:
            item = self._portal.run_sync(functools.partial(function, self._original))
        return side.translate(self._portal, item)

    return method


def _receives_ready(side: Side, function: Method) -> Method:
    del function  # the reading calls it for what was not handed over

    def method(self: Face, *args: Any, **arguments: Any) -> Any:
        assert self._reading is not None
        items = self._portal.run_sync(functools.partial(self._reading.receive_ready, *args, **arguments))
        return [side.translate(self._portal, item) for item in items]

    return method


def _counts_items(side: Side, function: Method) -> Method:
    del side

    def method(self: Face) -> Any:
        reading = self._reading
        assert reading is not None
        return self._portal.run_sync(lambda: reading.count_in(function(self._original)))

    return method


_METHODS: Final[Mapping[How, Callable[[Side, Method], Method]]] = {
    How.ON_THE_SPOT: _on_the_spot,
    How.IN_TRIO: _in_trio,
    How.GIVES_BLOCK: _gives_block,
    How.OFFERS: _offers,
    How.GIVES_ITEMS: _gives_items,
    How.GIVES_CLIENT: _gives_client,
    How.RECEIVES_NOWAIT: _receives_nowait,
    How.RECEIVES_READY: _receives_ready,
    How.COUNTS_ITEMS: _counts_items,
}
