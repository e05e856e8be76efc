"""Tools, in the kernel: functions of the client's that code here calls while its cell runs.

The one idea: a call is told on a comm, which leaves a busy kernel, and all else the client asks for on the control channel, which
a thread of its own serves: it fetches large arguments, brings the answer, and says that it is still there. So code that waits
here is woken by an answer, by the end of the client's block, or by the client's silence, and never waits for ever.

Kernels don't let others add types of messages to the control channel. But each answers `comm_info_request` there, so what is
asked in one for our target, with our key in it, is ours; a kernel without this file answers it as well.

This file is sent to the kernel as it is; see `kernel_side`.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
import threading
import time
from typing import Any

from . import codec

__all__ = ["ToolError", "listen", "offer", "opened", "withdraw"]

KEY = "trio_gateway_tools"
TARGET = __package__ or "trio_gateway"
INLINE = 32 * 1024
"""Arguments of so many bytes at most go with the call."""
AT_A_TIME = 64
"""So many calls of one block at a time; more of them wait here."""
AGAIN = (1.0, 1.0, 2.0, 5.0)
"""After how long a call is told again, in seconds, in case it was lost; the last one also the further times."""
SILENCE = 60.0
"""After so long without a word of the client's a call fails, in seconds."""

_offers: dict[str, Any] = {}
"""What blocks of the client's offer, by their tokens."""
_names: dict[str, Any] = {}
"""For each name that is taken: what it stood for before, as a list of one or none, and the tools that took it, in turn."""
_lock = threading.RLock()


class ToolError(RuntimeError):
    """A tool could not be called, or raised an exception that is no built-in one."""

    def __init__(self, text: Any, type_name: Any = "") -> None:
        super().__init__(text)
        self.type_name = type_name
        """The name of the exception's class at the client, with its module; `""` where the tool was not called."""


class _Offer:
    """What one block offers: its comm and its calls."""

    def __init__(self, comm: Any) -> None:
        self.comm = comm
        self.how: dict[str, Any] = {}
        self.tools: dict[str, Any] = {}
        self.namespace: dict[str, Any] = {}
        self.calls: dict[int, Any] = {}
        self.ended = ""
        self._count = 0
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(AT_A_TIME)

    def call(self, name: Any, args: Any, kwargs: Any) -> Any:
        """Call a tool, and wait for what comes of it."""
        try:
            encoded = codec.encode((args, kwargs), pickled=self.how["pickled"], classes=self.how["classes"]())
        except codec.CannotCarry as error:
            inside = _inside(error.place)
            raise TypeError(f"{name}(): {inside} can't be carried: {error.reason}") from error.__cause__
        while not self._slots.acquire(timeout=1.0):
            self._check()
        try:
            return self._one(name, encoded)
        finally:
            self._slots.release()

    def _one(self, name: Any, encoded: Any) -> Any:
        call = _Call(encoded)
        told = {"name": name, "total": encoded.total, "check": encoded.checksum()}
        if encoded.total <= INLINE:
            told["data"] = base64.b64encode(encoded.joined()).decode("ascii")
        with self._lock:
            self._check()
            self._count += 1
            number = self._count
            self.calls[number] = call
        try:
            pauses = iter(AGAIN)
            pause = 0.0
            while not call.done.is_set():
                with self._lock:
                    self.comm.send(dict(told, call=number, oldest=min(self.calls)))
                pause = next(pauses, pause)
                if not call.done.wait(pause):
                    self._check()
                    if time.monotonic() - call.heard > SILENCE:
                        raise ToolError(f"{name}(): nothing was heard of the client for {SILENCE:g} seconds")
        finally:
            with self._lock:
                self.calls.pop(number, None)
                if not call.done.is_set() and not self.ended:
                    self.comm.send({"drop": number})
        return call.outcome(name)

    def _check(self) -> None:
        if self.ended:
            raise ToolError(self.ended)

    def end(self, why: Any) -> None:
        """Fail what waits, and every further call."""
        with self._lock:
            self.ended = why
            waiting = list(self.calls.values())
        for call in waiting:
            call.fail({"text": why})


class _Call:
    """A call that waits for its answer."""

    def __init__(self, encoded: Any) -> None:
        self.encoded = encoded
        self.heard = time.monotonic()
        self.done = threading.Event()
        self.receiver: Any = None
        self._error: Any = None

    def fail(self, error: Any) -> None:
        self._error = error
        self.done.set()

    def take(self, total: Any, check: Any, start: Any, pieces: Any) -> Any:
        """Take a piece of the answer; return how much of it is there."""
        if self.receiver is None or self.receiver.total != total:
            self.receiver = codec.Receiver(total, check)
        if start == self.receiver.received:
            for piece in pieces:
                self.receiver.feed(piece)
        if self.receiver.complete:
            self.done.set()
        return self.receiver.received

    def outcome(self, name: Any) -> Any:
        if self._error is not None:
            raise _exception(self._error)
        try:
            return self.receiver.value(loads=codec.read_pickle, find=codec.find_dataclass)
        except codec.BadData as error:
            raise ToolError(f"{name}(): what the client has returned can't be made here: {error}") from error


def _inside(place: Any) -> Any:
    """Say where in a call's arguments something is, as people do: in `[1]['x']` it is the argument `x`."""
    for begin, words in (("[0]", "arguments"), ("[1]", "named arguments")):
        if place.startswith(begin):
            return words + place[len(begin) :]
    return "an argument"


def _exception(told: Any) -> Any:
    """Make the exception that the client tells: a built-in one as itself, another one as `ToolError`."""
    kind = getattr(builtins, str(told.get("type")), None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with contextlib.suppress(Exception):  # some can't be made of what can be told of them
            return kind(*told.get("args", ()))
    name, text = told.get("type", ""), told.get("text", "")
    return ToolError(f"{name}: {text}" if name else text, name)


class _Tool:
    """A function of the client's."""

    def __init__(self, name: Any, about: Any, offer: Any) -> None:
        self.__name__ = self.__qualname__ = name
        self.__doc__ = about.get("doc")
        self._shown = f"<{name}{about.get('signature', '(...)')}, a function of the client's>"
        self._offer = offer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._offer.call(self.__name__, args, kwargs)

    def __repr__(self) -> Any:
        return self._shown

    def __reduce__(self) -> Any:
        raise TypeError(f"{self.__name__} is a function of the client's, which works in this process only")


# ------------------------------------------------------------------------------------------------- what a block offers


def opened(token: Any, comm: Any) -> None:
    """Take the comm on which the calls of a block are told; another one where a connection was lost."""
    with _lock:
        found = _offers.get(token)
        if found is None:
            _offers[token] = _Offer(comm)
        else:
            found.comm = comm


def offer(token: Any, tools: Any, how: Any, namespace: Any) -> Any:
    """Bind the names of a block's tools, until it ends."""
    with _lock:
        found = _offers.get(token)
        if found is None:
            return {"offered": False}
        if not found.tools:
            found.how = how
            found.namespace = namespace
            found.tools = {name: _Tool(name, about, found) for name, about in tools.items()}
            for name, tool in found.tools.items():
                _, taken = _names.setdefault(name, ([namespace[name]] if name in namespace else [], []))
                taken.append(tool)
                namespace[name] = tool
    return {"offered": listen()}


def withdraw(token: Any, why: Any) -> None:
    """End what a block offers: names stand for what they stood for before, unless they stand for something new."""
    with _lock:
        found = _offers.pop(token, None)
        if found is None:
            return
        for name, tool in found.tools.items():
            before, taken = _names[name]
            taken.remove(tool)
            if found.namespace.get(name) is tool:
                stands = [*before, *taken]
                if stands:
                    found.namespace[name] = stands[-1]
                else:
                    del found.namespace[name]
            if not taken:
                del _names[name]
    found.end(why)


# ---------------------------------------------------------------------------------------- what the client asks for on control


def _asked(content: Any, buffers: Any) -> Any:
    """Do what the client asks for beside the cell that runs."""
    asked = content[KEY]
    token, step = asked["token"], asked["step"]
    found = _offers.get(token)
    if found is None:
        return {"gone": True}
    if step == "end":
        withdraw(token, asked["why"])
        return {"ended": True}
    for number in asked.get("calls", ()):
        call = found.calls.get(number)
        if call is not None:
            call.heard = time.monotonic()
    if step == "alive":
        return {}
    call = found.calls.get(asked["call"])
    if call is None:
        return {"gone": True}
    call.heard = time.monotonic()
    if step == "fetch":
        piece = b"".join(call.encoded.cut(asked["start"], asked["stop"]))
        return {"piece": base64.b64encode(piece).decode("ascii")}
    if step == "fail":
        call.fail(asked["error"])
        return {"have": 0}
    return {"have": call.take(asked["total"], asked["check"], asked["start"], buffers)}


def _ours(content: Any) -> Any:
    return content.get("target_name") == TARGET and KEY in content


def _answer(content: Any, buffers: Any) -> Any:
    try:
        answer = _asked(content, buffers)
    except Exception as error:  # it is the client's own mistake, or a message that was changed on its way
        answer = {"bad": f"{type(error).__name__}: {error}"}
    return {"status": "ok", "comms": {}, KEY: answer}


_listens: list[bool] = []
"""Whether the control channel is listened to, once that was tried."""


def listen() -> Any:
    """Answer on the control channel from now on. Return whether that works in this kernel."""
    if not _listens:
        _listens.append(_listen())
    return _listens[0]


def _listen() -> Any:
    try:
        from IPython import get_ipython

        shell: Any = get_ipython()
    except ImportError:
        return False
    kernel: Any = getattr(shell, "kernel", None)
    handlers = getattr(kernel, "control_handlers", None)
    if isinstance(handlers, dict) and "comm_info_request" in handlers:  # ipykernel
        if getattr(kernel, "control_thread", None) is None:
            return False
        theirs = handlers["comm_info_request"]

        def handle(stream: Any, ident: Any, parent: Any) -> Any:
            if not _ours(parent["content"]):
                return theirs(stream, ident, parent)
            answer = _answer(parent["content"], parent.get("buffers", ()))
            return kernel.session.send(stream, "comm_info_reply", answer, parent, ident=ident)

        handlers["comm_info_request"] = handle
        return True
    cache = getattr(kernel, "_handler_cache", None)
    if isinstance(cache, dict) and hasattr(kernel, "comm_info_request"):  # async-kernel
        asked_before = kernel.comm_info_request

        async def request(job: Any) -> Any:
            message = job["msg"]
            if not _ours(message["content"]):
                return await asked_before(job)
            return _answer(message["content"], message.get("buffers") or ())

        kernel.comm_info_request = request
        for key in [key for key in cache if str(key) == "comm_info_request"]:
            del cache[key]
        return True
    return False
