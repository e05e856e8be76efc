"""`open_python`: values in and out of a kernel's Python, and functions called there.

The one idea: a value is carried as data (`codec`), whole or not at all (`transfer`), by steps that are silent executions
(`link`). What comes from a kernel is data as well: nothing that it sends is imported, called or unpickled here, unless `trust`
says so.
"""

from __future__ import annotations

import base64
import inspect
import keyword
import pickle
import re
import sys
import unicodedata
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from types import ModuleType
from typing import Any, Final, Literal, TypeAlias, TypeVar, overload

import attrs
import trio

from .._errors import InvalidInputError, ProtocolError, missing_extra
from .._kernel.kernel import Kernel
from .._limits import points_to_limits
from .._portal.faces import refuse_faces
from .._transport.blocks import block
from .._values import as_lines, as_object
from . import codec, kernel_side
from . import libraries as _libraries  # noqa: F401 - it makes itself known to the codec
from .errors import TransferError, ValueNotCarriedError, ValueTooLargeError
from .files import (
    FileCopy,
    FileOptions,
    Path,
    Total,
    copy_down,
    copy_up,
    file_error,
    find_here,
    find_there,
    refuse_pattern,
    text_of,
)
from .link import Link, OnOutput, new_token, remote_error
from .tools import LIMIT_BYTES, How, make_tools, open_tools
from .transfer import INLINE, OnProgress, fetch, put, refuse_longer

__all__ = ["Name", "Options", "Python", "RemoteItems", "Trust", "check_dataclasses", "check_options", "open_python"]

Trust: TypeAlias = Literal["pickle"]
"""`"pickle"`: pickles that the kernel sends are read, so it may run any code here."""
Name: TypeAlias = codec.Name

R = TypeVar("R")

BEYOND: Final = 2 * kernel_side.BATCH_BYTES
"""So much longer than one item may be what comes together of a stream: those before the last one, and what describes them."""
DROPPED: Final = "the kernel has closed it, because nobody had asked for more in ten minutes or longer"
_UNSET: Final[Any] = object()


@attrs.frozen
class Options:
    """How values are read, and who hears of what."""

    trust: Trust | None = None
    on_output: OnOutput | None = None
    on_progress: OnProgress | None = None
    max_bytes: int | None = None


@block("open_python")
@asynccontextmanager
async def _open_python(kernel: Kernel, options: Options, classes: set[type]) -> AsyncGenerator[Python]:
    link = Link(kernel)
    await link.install()
    yield Python(link, options, classes)


@refuse_faces("python", Kernel)
def open_python(
    kernel: Kernel,
    *,
    trust: Trust | None = None,
    dataclasses: Collection[type] = (),
    on_output: OnOutput | None = None,
    on_progress: OnProgress | None = None,
    max_bytes: int | None = None,
) -> AbstractAsyncContextManager[Python]:
    """Open the way to the values and functions of a Python kernel.

    Example::

        async with gateway.start_kernel() as kernel, open_python(kernel) as python:
            await python.push(frame=frame)
            total = await python.pull("frame['x'].sum()")

    Nothing has to be installed in the kernel but what its values need, and nothing is left among the user's names, in the history
    or in the counter.

    Args:
        kernel: the kernel, whose language is Python.
        trust: `"pickle"` to read pickles that the kernel sends. It may run any code here then: so only where all who can reach
            the kernel may do that anyway.
        dataclasses: the dataclasses that may come from the kernel, beside those whose instances were pushed. Their own code is
            not run when they come.
        on_output: called, and awaited, with what called functions print, and at the end with what of it is missing (`OutputGap`).
            Without it nothing of that is kept.
        on_progress: called, and awaited, with how far a value has come, after each piece.
        max_bytes: how many bytes a value or a file may have that comes from the kernel; None for any number. What is longer is a
            `ValueTooLargeError`, above 32 KiB before it is asked for. Items of a stream come together, as many as make a
            megabyte: these together may have two megabytes more. (What `tools` take has a limit of its own.)

    Returns:
        A context manager; it gives a `Python`.

    Raises:
        InvalidInputError: an argument can't be used; nothing was sent.
        ProtocolError: the kernel is none of Python's.
        GatewayError: as for `kernel.execute`.

    Cancellation: as for `kernel.execute`.
    """
    if not isinstance(kernel, Kernel):
        raise InvalidInputError("kernel", kernel, "an open Kernel of trio_gateway")
    classes = check_dataclasses(dataclasses)
    return _open_python(kernel, check_options(trust, on_output, on_progress, max_bytes), classes)


def check_dataclasses(dataclasses: Collection[type]) -> set[type]:
    """Return the dataclasses that may come. Raises InvalidInputError if one is none."""
    classes = set(dataclasses)
    for kind in classes:
        if not isinstance(kind, type) or not hasattr(kind, "__dataclass_fields__"):
            raise InvalidInputError("dataclasses", kind, "dataclasses")
    return classes


def check_options(trust: object, on_output: Any, on_progress: Any, max_bytes: Any) -> Options:
    """Return the options. Raises InvalidInputError if one can't be used."""
    if trust not in (None, "pickle"):
        raise InvalidInputError("trust", trust, '"pickle", or None to read no pickles of the kernel')
    for field, handler in (("on_output", on_output), ("on_progress", on_progress)):
        if handler is not None and not callable(handler):
            raise InvalidInputError(field, handler, "a function or an async function")
    if max_bytes is not None and (isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1):
        raise InvalidInputError("max_bytes", max_bytes, "a number of bytes, 1 or more, or None for any number")
    return Options("pickle" if trust else None, on_output, on_progress, max_bytes)


@points_to_limits
class Python:
    """A kernel's Python: its values and its functions. Made by `open_python`.

    All methods may be called from any number of tasks at once; in the kernel one step runs after the other, and between the steps
    of one call other code may run there.
    """

    def __init__(self, link: Link, options: Options, classes: set[type]) -> None:
        self._link = link
        self._options = options
        self._classes = classes

    def __repr__(self) -> str:
        return f"<Python of {self._link.kernel!r}>"

    def using(
        self,
        *,
        trust: Trust | None = _UNSET,
        on_output: OnOutput | None = _UNSET,
        on_progress: OnProgress | None = _UNSET,
        max_bytes: int | None = _UNSET,
    ) -> Python:
        """Return the same with other options, for instance for one call: `python.using(on_output=print).call(train)`.

        Args:
            trust: as for `open_python`; what is not given stays as it is.
            on_output: likewise.
            on_progress: likewise.
            max_bytes: likewise.

        Raises:
            InvalidInputError: an option can't be used.
        """
        given = {"trust": trust, "on_output": on_output, "on_progress": on_progress, "max_bytes": max_bytes}
        merged = {name: getattr(self._options, name) if value is _UNSET else value for name, value in given.items()}
        return Python(self._link, check_options(**merged), self._classes)

    def name(self, name: str) -> Name:
        """Stand for what has that name in the kernel: an argument of a call, or a part of one, that is not carried.

        Raises:
            InvalidInputError: it is no name.
        """
        return codec.Name(_checked_name("name", name))

    async def push(self, values: Mapping[str, object] | None = None, /, **named: object) -> None:
        """Bind names in the kernel to values: all of them, or, after an error, none.

        Args:
            values: the values by name.
            named: more of them.

        Raises:
            InvalidInputError: a name is none, or is given twice; nothing was sent.
            ValueNotCarriedError: a value can't be carried, or the kernel can't make it; nothing is bound.
            TransferError: a value did not come through; nothing is bound.
            GatewayError: as for `kernel.execute`. Where an answer was lost with the connection it is open whether they are bound.

        Cancellation: nothing is bound, unless all had come through.
        """
        given = _merged("values", values, named)
        encoded = await self._encode(given, _place_of_name)
        await self._step("bind", {}, encoded, ", ".join(given), runs=False)

    async def pull(
        self,
        expression: str,
        *,
        trust: Trust | None = _UNSET,
        on_progress: OnProgress | None = _UNSET,
        max_bytes: int | None = _UNSET,
    ) -> Any:
        """Evaluate an expression in the kernel, and return its value.

        Args:
            expression: the expression, such as a name.
            trust: `"pickle"` to read a pickle where the value is none of those that are carried as data; else as for the block.
            on_progress: as for `open_python`.
            max_bytes: as for `open_python`.

        Raises:
            InvalidInputError: the expression is no text.
            RemoteError: it raised an exception.
            ValueNotCarriedError: its value can't be carried.
            ValueTooLargeError: its value is longer than `max_bytes`.
            TransferError: its value did not come through, or has changed while it was carried.
            ProtocolError: what came is no value, or one that is not taken from this kernel.
            GatewayError: as for `kernel.execute`.

        Cancellation: as for `kernel.execute`; nothing is kept in the kernel.
        """
        if not isinstance(expression, str):
            raise InvalidInputError("expression", expression, "an expression of Python's (str)")
        if any(option is not _UNSET for option in (trust, on_progress, max_bytes)):
            return await self.using(trust=trust, on_progress=on_progress, max_bytes=max_bytes).pull(expression)
        async with self._ticket() as ticket:
            asked = {"expression": expression, **self._reading()}
            answer = await self._link.ask("evaluate", asked, token=ticket.token, on_output=self._options.on_output, shows=True)
            return await self._value(answer, ticket, expression)

    @overload
    async def call(self, function: Callable[..., Awaitable[R]], /, *args: Any, **kwargs: Any) -> R: ...
    @overload
    async def call(self, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> R: ...
    @overload
    async def call(self, function: Name, /, *args: Any, **kwargs: Any) -> Any: ...
    async def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function in the kernel, once, and return what it returns; an async one is awaited there.

        The function is imported where the kernel has its module, and else sent by value, with what it refers to: that takes the
        same minor version of Python.

        Args:
            function: the function; or one that the kernel has, by `python.name("f")`.
            args: its arguments; with `python.name("x")` in them for what is there.
            kwargs: its named arguments.

        Raises:
            InvalidInputError: it is no function.
            RemoteError: it raised an exception.
            ValueNotCarriedError: the function, an argument or the result can't be carried. (The result is lost then, and the
                function has run.)
            ValueTooLargeError: the result is longer than the `max_bytes` of `open_python` or `using`. (Likewise.)
            TransferError: an argument did not come through, and nothing was called; or the result did not.
            GatewayError: as for `kernel.execute`: the function is never called twice.

        Cancellation: as for `kernel.execute`: the function is interrupted.
        """
        async with self._ticket() as ticket:
            answer = await self._start(function, args, kwargs, ticket, stream=False)
            return await self._value(answer, ticket, f"what {_shown(function)} returns")

    def stream(self, function: Any, /, *args: Any, **kwargs: Any) -> AbstractAsyncContextManager[RemoteItems]:
        """Call a generator function in the kernel, and give its items as they come; an async one too, or any that has items.

        Example::

            async with python.stream(read_lines, "data.txt") as lines:
                async for line in lines:
                    print(line)

        It goes on in the kernel only while the next items are waited for: a reader that is slow slows it down. Leaving the block
        before the end closes it.

        Args:
            function: as for `call`.
            args: its arguments.
            kwargs: its named arguments.

        Returns:
            A context manager; it gives the items.

        Raises:
            ValueTooLargeError: raised by the items: one is longer than `max_bytes`.
            TransferError: as for `call`. The items raise it where one did not come through, or where the kernel has closed the
                generator, because you had asked for none in ten minutes or longer.
            GatewayError: as for `call`.

        Cancellation: as for `call`; the generator is closed.
        """
        return self._stream(function, args, kwargs)

    @block("python.stream")
    @asynccontextmanager
    async def _stream(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncGenerator[RemoteItems]:
        async with self._ticket() as ticket:
            answer = await self._start(function, args, kwargs, ticket, stream=True)
            kind = answer.get("stream")
            if kind not in ("sync", "async"):
                raise ProtocolError(f"{_shown(function)}: the kernel does not say how its items come")
            items = RemoteItems(self, ticket, f"an item of {_shown(function)}", asynchronous=kind == "async")
            yield items
            if ticket.held and kind == "async":
                # Nobody waits any more to be told what it prints at its end.
                await self._link.ask("close", {"stream": ticket.token}, awaits=True, shows=True)
                ticket.held = False

    def tools(
        self,
        functions: Mapping[str, Callable[..., object]] | None = None,
        /,
        *,
        limit_bytes: int = LIMIT_BYTES,
        **named: Callable[..., object],
    ) -> AbstractAsyncContextManager[None]:
        """Let code in the kernel call functions here, by these names, as long as the block lasts.

        Example::

            async def lookup(key: str) -> list[float]:
                return await database.fetch(key)

            async with python.tools(lookup=lookup):
                await kernel.execute("rows = lookup('rain')")

        For the code it is a function call: it waits for the value, or gets the exception. A built-in exception arrives as itself,
        another one as a `RuntimeError` with its class's name and its text. Each call runs once, beside the others: an async
        function in a task, a plain one in Trio's thread, where it should not take long. Code that is interrupted, or ends its
        wait otherwise, cancels the function.

        The names stand among the user's names in the kernel for the time of the block; what they stood for before, they stand for
        again afterwards. A process that takes the kernel's place is offered them too, a moment later. Code that waits when the
        block ends, or that hears nothing of this client for a minute, gets a `RuntimeError`.

        Args:
            functions: the functions by name.
            limit_bytes: how many bytes the arguments of all calls that run may have together; a call beyond that is refused.
            named: more of them.

        Returns:
            A context manager.

        Raises:
            InvalidInputError: a name is none or is given twice, a function is none or does not say which arguments it takes, or
                the kernel can't hear its client while code runs, as xeus-python can't.
            ProtocolError: what the kernel sent is no call; also in the middle of the block.
            GatewayError: as for `kernel.execute`; also in the middle of the block, when the kernel has gone for good.

        Cancellation: functions that run are cancelled, and the code that waits for them gets a `RuntimeError`.
        """
        tools = make_tools(_merged("functions", functions, named))
        if isinstance(limit_bytes, bool) or not isinstance(limit_bytes, int) or limit_bytes < 1:
            raise InvalidInputError("limit_bytes", limit_bytes, "a number of bytes, 1 or more")
        how = How(reading=self._reading, decoding=self._decoding, limit_bytes=limit_bytes)
        return block("python.tools")(open_tools)(self._link, tools, how)

    async def upload(
        self,
        source: Path,
        target: Path,
        *,
        within: Path | None = None,
        resume: bool = False,
        on_progress: OnProgress | None = _UNSET,
    ) -> FileCopy:
        """Copy a file to where the kernel runs. It is under its name there when it is whole, in place of what was there.

        Its permissions are kept. Directories that are missing are made. Meanwhile it is `.NAME.part` beside its place.

        Args:
            source: the file here.
            target: its path there, from the kernel's working directory. A link there is replaced, and not followed.
            within: a directory there that the file must be in, wherever links lead; None for any.
            resume: whether to go on where an earlier call with `resume` was given up, if the beginning is still the same (by its
                SHA-256); and to leave `.NAME.part` there for a later one if this call fails or is cancelled.
            on_progress: as for `open_python`. It is also called before the first piece.

        Returns:
            What there is now.

        Raises:
            InvalidInputError: an argument is no path.
            FileAccessError: a file can't be read or written: it is missing, a directory, outside of `within`, not permitted, or
                the disk is full. `side` says where.
            TransferError: it did not come through, or has changed meanwhile.
            GatewayError: as for `kernel.execute`. Where the last answer was lost with the connection it is open whether the file
                is there: whole, or as it was.

        Cancellation: what was under the name stays, unless the new file had come through.
        """
        options = self._file_options(within, resume, on_progress)
        source, target = text_of("source", source), text_of("target", target)
        return await self._copy_up(source, target, options)

    async def download(
        self,
        source: Path,
        target: Path,
        *,
        within: Path | None = None,
        resume: bool = False,
        on_progress: OnProgress | None = _UNSET,
        max_bytes: int | None = _UNSET,
    ) -> FileCopy:
        """Copy a file from where the kernel runs. It is under its name here when it is whole, in place of what was there.

        Its permissions are kept, those aside that give a program its owner's rights. It is as long as the kernel says:
        `on_progress` hears of that before the first piece, and may raise; `max_bytes` limits it.

        Args:
            source: its path there, from the kernel's working directory.
            target: where it shall be here. A link there is replaced, and not followed.
            within: a directory here that the file must be in, wherever links lead; None for any.
            resume: as for `upload`.
            on_progress: as for `upload`.
            max_bytes: as for `open_python`.

        Returns:
            What there is now.

        Raises:
            InvalidInputError: an argument is no path.
            FileAccessError: as for `upload`.
            ValueTooLargeError: the file is longer than `max_bytes`; nothing was written.
            TransferError: it did not come through, or has changed meanwhile.
            ProtocolError: the kernel answers with something else.
            GatewayError: as for `kernel.execute`.

        Cancellation: what was under the name stays, unless the new file had come through.
        """
        options = self._file_options(within, resume, on_progress, max_bytes)
        source, target = text_of("source", source), text_of("target", target)
        return await self._copy_down(source, target, options)

    async def upload_all(
        self,
        source: Path,
        target: Path,
        pattern: str = "**/*",
        *,
        within: Path | None = None,
        resume: bool = False,
        on_progress: OnProgress | None = _UNSET,
    ) -> tuple[FileCopy, ...]:
        """Copy the files below a directory to where the kernel runs, one after the other, each to the same path below another.

        Args:
            source: the directory here.
            target: the directory there; it is made where it is missing. No link in it is followed out of it.
            pattern: which files: as for `pathlib.Path.glob`. All that are there when it begins; at most 100,000.
            within: as for `upload`; None: the target itself.
            resume: as for `upload`, for each file.
            on_progress: as for `upload`; told of all files together.

        Returns:
            What there is now, in the order of the paths; nothing where no file matches.

        Raises:
            GatewayError: as for `upload`. The files before this one have been copied.

        Cancellation: as for `upload`; the files before this one have been copied.
        """
        options = self._file_options(within, resume, on_progress)
        source, target = text_of("source", source), text_of("target", target)
        refuse_pattern(pattern)
        found = await find_here(source, pattern)
        return await self._copy_all(self._copy_up, found, source, target, options)

    async def download_all(
        self,
        source: Path,
        target: Path,
        pattern: str = "**/*",
        *,
        within: Path | None = None,
        resume: bool = False,
        on_progress: OnProgress | None = _UNSET,
        max_bytes: int | None = _UNSET,
    ) -> tuple[FileCopy, ...]:
        """Copy the files below a directory of the kernel's, one after the other, each to the same path below one here.

        Args:
            source: the directory there.
            target: the directory here; it is made where it is missing. Nothing that the kernel says leads out of it.
            pattern: as for `upload_all`.
            within: as for `download`; None: the target itself.
            resume: as for `upload`, for each file.
            on_progress: as for `upload_all`.
            max_bytes: how many bytes all of them together may have; as for `open_python`.

        Returns:
            What there is now, in the order of the paths; nothing where no file matches.

        Raises:
            ValueTooLargeError: they are longer than `max_bytes`, and nothing was copied; or one has grown beyond that meanwhile.
            FileAccessError: as for `upload`; or the kernel names a path that leads out of the directory, and nothing was copied.
            GatewayError: as for `download`. The files before this one have been copied.

        Cancellation: as for `download`; the files before this one have been copied.
        """
        options = self._file_options(within, resume, on_progress, max_bytes)
        source, target = text_of("source", source), text_of("target", target)
        refuse_pattern(pattern)
        found = await find_there(self._link, self._answer, source, pattern)
        refuse_longer(f"the files of {source}", sum(size for _, size in found), options.max_bytes)
        return await self._copy_all(self._copy_down, found, source, target, options)

    # How it is done ---------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _ticket(self) -> AsyncGenerator[_Ticket]:
        """Name something that is to be under way in the kernel, and have it forgotten where it may be there at the end."""
        ticket = _Ticket(new_token())
        try:
            yield ticket
        finally:
            if ticket.held:
                await self._link.forget(ticket.token)  # noqa: ASYNC102 - shielded and bounded there

    def _reading(self) -> dict[str, Any]:
        """What the kernel is to know of how its values are read here."""
        classes = [[kind.__module__, kind.__qualname__] for kind in self._classes]
        return {"pickled": self._options.trust == "pickle", "classes": classes}

    def _file_options(
        self, within: Path | None, resume: object, on_progress: OnProgress | None, max_bytes: int | None = _UNSET
    ) -> FileOptions:
        if not isinstance(resume, bool):
            raise InvalidInputError("resume", resume, "True or False")
        options = self._options
        handler = options.on_progress if on_progress is _UNSET else on_progress
        most = options.max_bytes if max_bytes is _UNSET else max_bytes
        checked = check_options(None, None, handler, most)
        directory = None if within is None else text_of("within", within)
        return FileOptions(directory, resume, checked.on_progress, checked.max_bytes)

    async def _copy_up(self, source: str, target: str, options: FileOptions) -> FileCopy:
        async with self._ticket() as ticket:
            copy = await copy_up(self._link, self._answer, ticket.token, source, target, options)
            ticket.held = False
            return copy

    async def _copy_down(self, source: str, target: str, options: FileOptions) -> FileCopy:
        async with self._ticket() as ticket:
            return await copy_down(self._link, self._answer, ticket.token, source, target, options)

    async def _copy_all(
        self,
        copy: Callable[[str, str, FileOptions], Awaitable[FileCopy]],
        found: Sequence[tuple[str, int]],
        source: str,
        target: str,
        options: FileOptions,
    ) -> tuple[FileCopy, ...]:
        within = target if options.within is None else options.within
        told = Total(options.on_progress, sum(size for _, size in found))
        copies: list[FileCopy] = []
        for name, _ in found:
            each = attrs.evolve(options, within=within, on_progress=told.of_next(), before=told.before)
            copies.append(await copy(f"{source}/{name}", f"{target}/{name}", each))
            told.before += copies[-1].size
        return tuple(copies)

    async def _encode(self, value: object, what: Callable[[str], str], by_value: ModuleType | None = None) -> codec.Encoded:
        """Make ready what is sent, and the kernel for it."""
        needs_cloudpickle = False

        def pickled(part: object, callback: Callable[[Any], object]) -> bytes:
            nonlocal needs_cloudpickle
            cloudpickle = _cloudpickle()
            with _by_value(by_value):
                data = bytes(cloudpickle.dumps(part, 5, buffer_callback=callback))
            needs_cloudpickle |= b"cloudpickle" in data
            return data

        try:
            encoded: codec.Encoded = codec.encode(value, pickled=pickled)
        except codec.CannotCarry as error:
            raise ValueNotCarriedError(what(error.place), error.reason) from error.__cause__
        self._classes |= encoded.classes
        if needs_cloudpickle:
            await self._bring_cloudpickle(what(""))
        return encoded

    async def _bring_cloudpickle(self, what: str) -> None:
        """Have cloudpickle there, for what goes by value: code, which means something to the same Python alone."""
        link = self._link
        if link.version != sys.version_info[:2]:
            here, there = (".".join(map(str, version)) for version in (sys.version_info[:2], link.version))
            raise ValueNotCarriedError(
                what, f"it goes by value, from Python {here} to {there}; put it into a module that both have"
            )
        if not link.has_cloudpickle:
            self._answer(await link.bring_cloudpickle(inspect.getsource(_cloudpickle().cloudpickle)), what)

    async def _step(
        self, step: str, arguments: Mapping[str, Any], encoded: codec.Encoded, what: str, *, runs: bool
    ) -> Mapping[str, Any]:
        """Bring a value to the kernel, and have a step done with it; return the step's answer, which is none of an error."""
        token, options = new_token(), self._options
        try:
            given = await put(self._link, encoded, what=what, token=token, on_progress=options.on_progress)
            asked = {**arguments, **given}
            answer = await self._link.ask(step, asked, token=token, on_output=options.on_output if runs else None, shows=runs)
            if "damaged" in answer:
                raise TransferError(what, 0, encoded.total, str(answer["damaged"]))
            return self._answer(answer, what)
        finally:
            if encoded.total > INLINE:
                await self._link.forget(token)  # noqa: ASYNC102 - shielded and bounded there

    async def _start(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], ticket: _Ticket, *, stream: bool
    ) -> Mapping[str, Any]:
        """Call a function; return the answer that tells what it returned."""
        if not callable(function) and not isinstance(function, codec.Name):
            raise InvalidInputError("function", function, "a function, or python.name(...) for one that the kernel has")
        shown = _shown(function)
        sent, imported, by_value = function, None, None
        owner = getattr(function, "__objclass__", function)  # a method of a type that is written in C has no module
        module, name = getattr(owner, "__module__", None), getattr(function, "__qualname__", None)
        if isinstance(module, str) and isinstance(name, str) and _resolves(function, module, name):
            if await self._is_known(module, name):
                sent, imported = None, [module, name]
            else:
                by_value = sys.modules[module]

        def place(inside: str) -> str:
            for index, words in enumerate((shown, f"{shown}: arguments", f"{shown}: named arguments")):
                if inside.startswith(f"[{index}]"):
                    return words + inside[len(f"[{index}]") :]
            return shown + inside

        encoded = await self._encode((sent, args, kwargs), place, by_value)
        ticket.held = True
        asked = {"result": ticket.token, "stream": stream, **self._reading()}
        called = {**asked, "imported": imported}
        answer = await self._step("call", called, encoded, shown, runs=True)
        if answer.get("await"):
            answer = await self._link.ask("await", asked, awaits=True, on_output=self._options.on_output, shows=True)
        return self._answer(answer, shown)

    async def fill(self, ready: deque[Any], ticket: _Ticket, what: str, *, asynchronous: bool) -> Exception | None:
        """Fetch the next items of a generator; return the error that comes after them. For `RemoteItems`."""
        async with self._ticket() as batch:
            asked = {"stream": ticket.token, "result": batch.token, "pickled": self._options.trust == "pickle"}
            answer = await self._link.ask(
                "next", asked, token=batch.token, awaits=asynchronous, on_output=self._options.on_output, shows=True
            )
            items = await self._value(answer, batch, what, beyond=BEYOND)
            if not isinstance(items, list):
                raise ProtocolError(f"{what}: the kernel does not send items")
            ready.extend(items)
            after = as_object(answer.get("after"))
            ticket.held = not after
            try:
                self._answer(after, what)
            except Exception as error:  # noqa: BLE001 - it comes after the items
                return error
            return None

    async def _is_known(self, module: str, name: str) -> bool:
        """Whether the kernel can import a function. It is asked once."""
        if module == "__main__":
            return False
        known = self._link.known.get((module, name))
        if known is None:
            answer = self._answer(await self._link.ask("knows", {"module": module, "name": name}), f"{module}.{name}")
            known = self._link.known[module, name] = answer.get("knows") is True
        return known

    async def _value(self, answer: Mapping[str, Any], ticket: _Ticket, what: str, beyond: int = 0) -> Any:
        """Read the value that an answer tells, or has ready. It may have so many bytes beyond its limit."""
        ticket.held = "total" in answer
        self._answer(answer, what)
        how, options = self._decoding(), self._options
        most = None if options.max_bytes is None else options.max_bytes + beyond
        try:
            return await fetch(
                self._link, answer, what=what, token=ticket.token, on_progress=options.on_progress, how=how, max_bytes=most
            )
        except ValueTooLargeError as error:
            if options.max_bytes is None or error.max_bytes != most:
                raise  # a handler's own
            raise ValueTooLargeError(what, error.size, options.max_bytes) from None

    def _decoding(self) -> dict[str, Any]:
        """How the kernel's values are read here."""
        return {"loads": codec.read_pickle if self._options.trust == "pickle" else None, "find": self._find}

    def _find(self, module: str, name: str) -> type | None:
        """The dataclass of that name, if it may come."""
        return next((kind for kind in self._classes if (kind.__module__, kind.__qualname__) == (module, name)), None)

    def _answer(self, answer: Mapping[str, Any], what: str) -> Mapping[str, Any]:
        """Raise the error that an answer tells; else return it."""
        if "error" in answer:
            raise self._remote(answer["error"])
        if "carry" in answer:
            reason, place = [*as_lines(answer["carry"]), "", ""][:2]
            raise ValueNotCarriedError(what + place, reason)
        if "file" in answer:
            raise file_error(answer["file"])
        if "bad" in answer:
            raise ValueNotCarriedError(what, f"the kernel can't make it: {answer['bad']}")
        if answer.get("dropped"):
            raise TransferError(what, 0, 0, DROPPED)
        if answer.get("gone"):
            raise ProtocolError(f"{what}: the kernel does not know any more what was asked of it")
        return answer

    def _remote(self, told: object) -> Exception:
        """Make the error of what the kernel tells of an exception."""
        error = remote_error(told)
        if self._options.trust == "pickle" and isinstance(told, dict):
            with suppress(Exception):  # it could not be pickled there, or is of a class that is not here
                original = pickle.loads(base64.b64decode(told.get("pickle", "")))  # noqa: S301 - the caller trusts the kernel
                if isinstance(original, BaseException):
                    error.__cause__ = original
        return error


@attrs.define
class _Ticket:
    """Something that is to be under way in the kernel."""

    token: str
    held: bool = True
    """Whether it may be there."""


@points_to_limits
class RemoteItems(AsyncIterator[Any]):
    """The items of a generator in the kernel, in order. Iterate over it once. Made by `Python.stream`."""

    def __init__(self, python: Python, ticket: _Ticket, what: str, *, asynchronous: bool) -> None:
        self._python = python
        self._ticket = ticket
        self._what = what
        self._asynchronous = asynchronous
        self._ready: deque[Any] = deque()
        self._failure: Exception | None = None
        self._ended = False
        self._lock = trio.Lock()

    def __aiter__(self) -> RemoteItems:
        return self

    def receive_ready(self, limit: int, /, *, limit_bytes: float) -> list[Any]:
        """Take the items that are there, for a face: they came together, and are few."""
        del limit_bytes
        return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]

    async def __anext__(self) -> Any:
        """Wait for the next item.

        Raises:
            StopAsyncIteration: there are no more.
            RemoteError: the generator raised an exception; all items before it were given.
            ValueNotCarriedError: an item can't be carried, and the generator is closed; all items before it were given.
            ValueTooLargeError: an item is longer than the `max_bytes` of `open_python` or `using`, and no more come; all items
                before it were given.
            TransferError: items did not come through; or the kernel has closed the generator, because you had asked for none in
                ten minutes or longer. (It does so where sixteen others were asked for since, or after a day.)
            GatewayError: as for `Python.call`.

        Cancellation: what the generator is doing is interrupted, so it is at its end. After that, and after an error, no more
        items come.
        """
        async with self._lock:
            while not self._ready:
                if self._ended:
                    failure, self._failure = self._failure, None
                    if failure is not None:
                        raise failure
                    raise StopAsyncIteration
                self._ended = True  # also where the next ones do not come: what was lost of them is not passed over
                self._failure = await self._python.fill(self._ready, self._ticket, self._what, asynchronous=self._asynchronous)
                self._ended = not self._ticket.held
            return self._ready.popleft()


def _cloudpickle() -> Any:
    """Return the package that pickles functions by value."""
    try:
        import cloudpickle
    except ModuleNotFoundError as missing:
        raise missing_extra(missing, "a function or value that goes to a kernel as a pickle", "python") from None
    return cloudpickle


@contextmanager
def _by_value(module: ModuleType | None) -> Generator[None]:
    """Have what a module defines pickled by value meanwhile."""
    cloudpickle = _cloudpickle()
    if module is None or module.__name__ in cloudpickle.list_registry_pickle_by_value():
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _resolves(function: object, module: str, name: str) -> bool:
    """Whether a function is found under its own name."""
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is function


def _shown(function: object) -> str:
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else repr(function)[:60]


def _place_of_name(inside: str) -> str:
    """Where in what is pushed something is: `['frame']['when'][3]` is in the frame."""
    found = re.match(r"\['(\w+)'\]", inside)
    return found[1] + inside[found.end() :] if found else "what is pushed" + inside


def _merged(field: str, given: Mapping[str, Any] | None, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given by name, in both ways."""
    if given is not None and not isinstance(given, Mapping):
        raise InvalidInputError(field, type(given).__name__, "what is given by name: a dictionary")
    merged: dict[str, Any] = {}
    for name, value in (*(given or {}).items(), *named.items()):
        found = _checked_name(field, name)
        if found in merged:
            raise InvalidInputError(field, name, "names that are not given twice")
        merged[found] = value
    return merged


def _checked_name(field: str, name: object) -> str:
    """Return a name as Python has it: NFKC, so that the micro sign is the Greek letter."""
    found = unicodedata.normalize("NFKC", name) if isinstance(name, str) else ""
    if not found.isidentifier() or keyword.iskeyword(found):
        raise InvalidInputError(field, name, "names of Python's (str)")
    return found
