"""Tools: code in the kernel calls functions here while its cell runs.

The one idea: a call is heard on a comm, which leaves a busy kernel, and answered on the control channel, which a busy kernel
hears (`tool_side` says how). The kernel numbers its calls and tells one again until it hears of it; so none is lost, and each
runs once. What a call brings is data, from someone who may mean harm: only the names that were given can be called, with
arguments that fit, and no more of them than the limits allow.
"""

from __future__ import annotations

import base64
import binascii
import inspect
import math
import pickle
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import attrs
import trio

from .._errors import ConnectionLostError, GatewayError, InvalidInputError, KernelError, ProtocolError
from .._kernel.comms import CommMessage
from .._services import Services, open_services
from . import codec, tool_side
from .link import FORGET_SECONDS, NAME, Link, new_token

__all__ = ["LIMIT_BYTES", "How", "Tool", "make_tools", "open_tools"]

LIMIT_BYTES: Final = 256 * 1024 * 1024
LIMIT_CALLS: Final = 2 * tool_side.AT_A_TIME
"""So many calls run at a time. The kernel's side makes fewer; of others that come nothing is heard until there is room."""
LIMIT_FINISHED: Final = 10_000
"""How many calls the kernel may leave open whose answers it has: an honest one leaves as many as it makes at a time."""
TRIES: Final = 4
"""How often in a row nothing may come of what is asked on the control channel."""
ANSWER_SECONDS: Final = 10.0
"""After so long an answer on the control channel is taken for lost: the kernel's side does nothing there that takes time."""
TEXT: Final = 64 * 1024
"""So much of an exception's text or a docstring is told, in characters."""
ENDED: Final = "the client's block of tools has ended"


@attrs.frozen
class Tool:
    """A function that the kernel may call."""

    function: Callable[..., object]
    signature: inspect.Signature

    def about(self) -> dict[str, str]:
        """What code in the kernel can read of it: the names of its parameters, not their defaults, and its docstring."""
        empty = inspect.Parameter.empty
        bare = [parameter.replace(default=empty, annotation=empty) for parameter in self.signature.parameters.values()]
        shown = str(self.signature.replace(parameters=bare, return_annotation=empty))
        doc = getattr(self.function, "__doc__", None) if inspect.isroutine(self.function) else None
        return {"signature": _sendable(shown), **({"doc": _sendable(doc)} if isinstance(doc, str) else {})}


def make_tools(functions: Mapping[str, object]) -> dict[str, Tool]:
    """Look at the functions that are to be offered.

    Raises:
        InvalidInputError: one is no function, or does not say which arguments it takes.
    """
    if not functions:
        raise InvalidInputError("functions", {}, "at least one function, as in tools(lookup=lookup)")
    tools = {}
    for name, function in functions.items():
        if not callable(function):
            raise InvalidInputError(name, function, "a function or an async function")
        try:
            tools[name] = Tool(function, inspect.signature(function))
        except (ValueError, TypeError):
            raise InvalidInputError(name, function, "a function that says which arguments it takes; wrap it into one") from None
    return tools


@attrs.frozen(kw_only=True)
class How:
    """How values are read and written here."""

    reading: Callable[[], dict[str, Any]]
    """What the kernel is to know of how its values are read."""
    decoding: Callable[[], dict[str, Any]]
    """How its values are read; see `codec.decode`."""
    limit_bytes: int
    """How many bytes the arguments of all calls that run may have together."""


@asynccontextmanager
async def open_tools(link: Link, tools: Mapping[str, Tool], how: How) -> AsyncGenerator[None]:
    """Offer functions to the kernel's code as long as the block lasts.

    Raises:
        InvalidInputError: the kernel does not hear its client while code runs.
        ProtocolError: what came is no call.
        GatewayError: as for `Link.ask`; also in the middle of the block, when the kernel has gone.

    Cancellation: code that waits in the kernel gets an error.
    """
    if not link.has_comms:
        raise _unfit(link)
    failures: list[BaseException] = []
    with trio.CancelScope() as scope:

        def fail(error: BaseException) -> None:
            failures.append(error)
            scope.cancel(reason="calls of tools can't be heard any more")

        async with open_services() as services:
            offer = _Offer(link, tools, how, services, fail)
            services.start_soon(offer.serve, name="trio_gateway.python.tools")
            try:
                await offer.ready.wait()
                yield
            finally:
                await offer.end()  # noqa: ASYNC102 - shielded and bounded there
    if failures:
        raise failures[0]


def _unfit(link: Link) -> InvalidInputError:
    return InvalidInputError(
        "kernel",
        link.kernel.name,
        "a kernel that hears its client while code runs, on its comms and its control channel, as those of ipykernel and of "
        "async-kernel do",
    )


@attrs.define(eq=False)
class _Running:
    scope: trio.CancelScope
    total: int


class _Offer:
    """Tools that are offered to one kernel, whichever process it has."""

    def __init__(
        self, link: Link, tools: Mapping[str, Tool], how: How, services: Services, fail: Callable[[BaseException], None]
    ) -> None:
        self._link = link
        self._tools = tools
        self._how = how
        self._services = services
        self._fail = fail
        self.ready: trio.Event = trio.Event()
        """Set when the kernel's code can call them."""
        self._token = new_token()
        self._running: dict[int, _Running] = {}
        self._finished: set[int] = set()
        self._oldest = 0
        self._heard: set[int] = set()

    # Listening --------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Offer the tools, and take calls, until the block ends. A service."""
        tries = 0
        try:
            while True:
                try:
                    await self._link.ask("about", {})  # which brings the kernel's side where it is missing
                    async with self._link.kernel.comms.open(NAME, {"token": self._token, "tools": True}) as comm:
                        await self._offer()
                        self.ready.set()
                        tries = 0
                        async for message in comm:
                            self._take(message)
                        raise ProtocolError(f"kernel {self._link.kernel.id}: code there has closed the comm of the tools")
                except (ConnectionLostError, KernelError) as error:
                    tries += 1
                    if tries >= TRIES:
                        raise
                    if isinstance(error, KernelError):
                        self._begin_anew()
        except Exception as error:  # noqa: BLE001 - the block raises it
            self._fail(error)
            await trio.lowlevel.checkpoint()

    async def _offer(self) -> None:
        asked = {"tools": {name: tool.about() for name, tool in self._tools.items()}, **self._how.reading()}
        answer = await self._link.ask("offer", asked, token=self._token)
        if answer.get("offered") is not True:
            raise _unfit(self._link)

    def _begin_anew(self) -> None:
        """The process is gone, and its calls with it."""
        self._cancel_all("the kernel was restarted")
        self._token = new_token()
        self._finished.clear()
        self._oldest = 0

    def _cancel_all(self, why: str) -> None:
        for running in self._running.values():
            running.scope.cancel(reason=why)
        self._running.clear()

    def _take(self, message: CommMessage) -> None:
        """Take what the kernel tells of its calls.

        Raises:
            ProtocolError: it is none of what it may tell.
        """
        data = message.data
        if "drop" in data:
            running = self._running.pop(data["drop"], None) if type(data["drop"]) is int else None
            if running is not None:
                running.scope.cancel(reason="code in the kernel does not wait for it any more")
            return
        number, oldest, total = (data.get(part) for part in ("call", "oldest", "total"))
        if type(number) is not int or type(oldest) is not int or type(total) is not int or not 0 < oldest <= number:
            raise ProtocolError(f"kernel {self._link.kernel.id}: what came on the comm of the tools is no call")
        if oldest > self._oldest:
            self._oldest = oldest
            self._finished = {done for done in self._finished if done >= oldest}
            for given_up in [running for running in self._running if running < oldest]:  # a gateway's rate limit drops "drop" too
                self._running.pop(given_up).scope.cancel(reason="code in the kernel does not wait for it any more")
        if number < self._oldest or number in self._finished:
            return
        if number in self._running:
            if not self._heard:
                self._services.start_soon(self._say_alive, name="trio_gateway.python.tools.alive")
            self._heard.add(number)
            return
        if len(self._finished) >= LIMIT_FINISHED:
            raise ProtocolError(f"kernel {self._link.kernel.id}: it leaves {LIMIT_FINISHED} calls of tools open")
        if len(self._running) < LIMIT_CALLS:
            held = sum(running.total for running in self._running.values())
            fits = total <= self._how.limit_bytes - held
            token = self._token
            scope = self._services.start_soon(self._run, token, number, data, fits, name="trio_gateway.python.tools.call")
            self._running[number] = _Running(scope, total if fits else 0)

    async def _say_alive(self) -> None:
        """Say that calls are being worked on, so that the kernel's code waits on. A service."""
        await trio.lowlevel.checkpoint()
        with suppress(GatewayError):
            while self._heard:
                calls = sorted(self._heard)
                await self._control(self._token, "alive", calls=calls)
                self._heard.difference_update(calls)
        self._heard.clear()

    # One call ---------------------------------------------------------------------------------------------------

    async def _run(self, token: str, number: int, data: Mapping[str, Any], fits: bool) -> None:
        """Do one call. A service."""
        try:
            outcome = await self._outcome(token, number, data, fits=fits)
            await self._deliver(token, number, outcome)
        except GatewayError:
            await trio.lowlevel.checkpoint()  # the kernel has gone, or the session; what listens says so
        finally:
            if token == self._token:
                self._finished.add(number)
                self._running.pop(number, None)

    async def _outcome(self, token: str, number: int, data: Mapping[str, Any], *, fits: bool) -> codec.Encoded | dict[str, Any]:
        """Call the function; return its value ready to be sent, or what is told of the error."""
        await trio.lowlevel.checkpoint()
        name = data.get("name")
        tool = self._tools.get(name) if isinstance(name, str) else None
        if tool is None:
            return {"text": f"the client offers no function {name!r:.100}"}
        if not fits:
            return {"text": f"{name}(): its arguments have {data['total']} bytes, more than the client takes"}
        try:
            args, kwargs = await self._arguments(token, number, data)
        except (codec.BadData, binascii.Error, TypeError, ValueError) as error:
            return {"text": f"{name}(): the client can't take what came as its arguments: {error}"}
        try:
            tool.signature.bind(*args, **kwargs)
        except TypeError as error:
            return _told(TypeError(f"{name}() can't be called so: {error}"))
        try:
            value = tool.function(*args, **kwargs)
            if inspect.isawaitable(value):
                value = await value
        except Exception as error:  # noqa: BLE001 - the kernel's code gets it
            return _told(error)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - it is not the kernel's business, and the block raises it
            self._fail(error)
            return {"text": ENDED}
        try:
            encoded: codec.Encoded = codec.encode(value, pickled=_pickled)
        except codec.CannotCarry as error:
            return _told(TypeError(f"{name}(): what it returns can't be carried: {error.place} {error.reason}"))
        return encoded

    async def _arguments(self, token: str, number: int, data: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return a call's arguments, fetched where they did not come with it."""
        receiver = codec.Receiver(data["total"], data.get("check"))
        if "data" in data:
            receiver.feed(base64.b64decode(data["data"], validate=True))
        losses = 0
        while not receiver.complete:
            start = receiver.received
            answer = await self._control(token, "fetch", call=number, start=start, stop=start + codec.PIECE)
            if answer is None and losses + 1 < TRIES:
                losses += 1
                continue
            losses = 0
            piece = base64.b64decode((answer or {}).get("piece", ""), validate=True)
            if not piece:
                raise codec.Damaged("they are not whole")
            receiver.feed(piece)
        args, kwargs = receiver.value(**self._how.decoding())
        if type(args) is not tuple or type(kwargs) is not dict or not all(type(key) is str for key in kwargs):
            raise codec.BadData("they are no arguments")
        return args, kwargs

    async def _deliver(self, token: str, number: int, outcome: codec.Encoded | dict[str, Any]) -> None:
        """Bring the kernel what came of a call; what is lost with a connection is brought again."""
        have = tries = 0
        check = None if isinstance(outcome, dict) else outcome.checksum()
        while tries < TRIES:
            if isinstance(outcome, dict):
                answer = await self._control(token, "fail", call=number, error=outcome)
            else:
                piece = b"".join(outcome.cut(have, have + codec.PIECE))
                answer = await self._control(
                    token, "answer", buffers=[piece], call=number, total=outcome.total, check=check, start=have
                )
            if answer is None:
                tries += 1
                continue
            if isinstance(outcome, dict):
                return
            if "bad" in answer:
                tries += 1
                outcome = {"text": f"what the client returned can't be taken: {answer['bad']!r:.200}"}
                continue
            has = answer.get("have")
            if type(has) is not int or has == outcome.total:  # it is there, or nobody waits for it any more
                return
            tries = 0 if has > have else tries + 1
            have = has

    async def _control(self, token: str, step: str, *, buffers: Any = (), **asked: Any) -> Mapping[str, Any] | None:
        """Ask the kernel's side for something beside the code that runs; None where the answer is lost: it may be asked again.

        Raises:
            GatewayError: as for `Kernel.ask_control`.
        """
        content = {"target_name": NAME, tool_side.KEY: {"token": token, "step": step, **asked}}
        reply: Mapping[str, Any] | None = None
        with trio.move_on_after(ANSWER_SECONDS):
            try:
                reply = await self._link.kernel.ask_control("comm_info_request", content, buffers=buffers)
            except ConnectionLostError:
                await trio.lowlevel.checkpoint()
        if reply is None:
            return None
        answer = reply.get(tool_side.KEY)
        return answer if isinstance(answer, dict) else {}  # another process, which has no such side

    async def end(self) -> None:
        """Take calls no more, and say so to the kernel's code, if that can be said soon."""
        self._cancel_all("the block of tools has ended")
        with trio.move_on_after(FORGET_SECONDS, shield=True), suppress(GatewayError):
            await self._control(self._token, "end", why=ENDED)


def _pickled(value: object, callback: Callable[[pickle.PickleBuffer], object]) -> bytes:
    """Pickle what is no data, by names: to bring code over takes a kernel that is not busy."""
    return pickle.dumps(value, 5, buffer_callback=callback)


def _sendable(text: str) -> str:
    return text[:TEXT].encode("utf-8", "replace").decode("utf-8")


def _told(error: BaseException) -> dict[str, Any]:
    """Tell the kernel of an exception: its class's name, its text, and what a built-in one is made of."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a text that can't be made is none
        text = ""
    told: dict[str, Any] = {"type": codec.name_of(type(error)), "text": _sendable(text)}
    if type(error).__module__ == "builtins":
        if all(_is_plain(arg) for arg in error.args):
            told["args"] = [_sendable(arg) if type(arg) is str else arg for arg in error.args]
        elif not isinstance(error, (OSError, UnicodeError, BaseExceptionGroup)):  # which are not made of their text
            told["args"] = [told["text"]]
    return told


def _is_plain(arg: object) -> bool:
    """Whether JSON carries it as it is."""
    if type(arg) is int:
        return abs(arg) < codec.SAFE_INT
    if type(arg) is float:
        return math.isfinite(arg)
    return arg is None or type(arg) is bool or (type(arg) is str and len(arg) <= TEXT)
