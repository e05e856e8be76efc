"""What works in the kernel for `open_python`: values are evaluated, taken, bound and sent here, and functions called.

The one idea: the client asks for one step at a time, by a silent execution. What is large goes over a comm, piece by piece, and
only so many pieces as were asked for; so what is lost on its way is asked for again, and a value is bound when it is whole. Where
the kernel does not hear of comms (xeus-python), a piece goes in the step itself.

This file, `codec`, `file_side`, `libraries` and `tool_side` are sent to the kernel as they are, and live there in `sys.modules`
alone. They run on Python 3.9 and later, in ipykernel, async-kernel and xeus-python.
"""

from __future__ import annotations

import base64
import collections.abc
import contextlib
import importlib
import inspect
import json
import linecache
import pickle
import sys
import time
import traceback
from typing import Any

from . import codec, file_side, tool_side
from . import libraries as _libraries  # noqa: F401 - it makes itself known to the codec

__all__ = ["ask", "finish", "forget", "register", "told"]

TARGET = __package__ or "trio_gateway"
"""The comms' target: with the version of these files in it, so that two versions don't meet."""
INLINE = 32 * 1024
"""A value of so many bytes at most is told in the answer itself."""
TEXT = 200_000
"""What an exception says is told up to so many characters: an answer that is too long for the gateway is lost."""
PICKLE_BYTES = 1024 * 1024
"""An exception's pickle is told up to so many bytes."""
BATCH_SECONDS = 0.05
BATCH_ITEMS = 1000
BATCH_BYTES = 1024 * 1024
"""A generator's items are told together: what comes in so long, so many, or about so much. The first one is waited for."""

LEFT_SECONDS = 600
"""What is on its way and was not asked about for so long was left by a client that has died; it goes with the next step."""
STREAMS = 16
STREAM_SECONDS = 24 * 3600
"""A generator's client may be slow, so a generator goes later: after so long, or when so many others were asked for since. Those
that were asked for in the last LEFT_SECONDS don't count, and stay.
"""
LIMIT_DROPPED = 1000
"""Of so many that were dropped it is known that they were: their clients may live, and are to hear why nothing comes."""

_boxes: dict[str, Any] = {}
"""What is under way, by tokens of the client's: an _Outgoing, a codec.Receiver, a file, an _Items, or an awaitable."""
_answers: dict[str, Any] = {}
"""What the client has asked for and not read yet."""
_asked: dict[str, float] = {}
"""When a client was last heard of about what is on its way."""
_left: list[Any] = []
"""What clients that have died have left here, and what is still to be closed."""
_dropped: dict[str, None] = {}
"""The tokens of the last of these."""


class Answer:
    """An answer's JSON, as a kernel shows it for `user_expressions`."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def __repr__(self) -> Any:
        return json.dumps(self._content, separators=(",", ":"))


class _Outgoing:
    """A value that is fetched piece by piece."""

    def __init__(self, encoded: Any) -> None:
        self.encoded = encoded
        self.comm = None

    def pieces(self, start: Any, stop: Any) -> Any:
        """Yield the bytes from `start` to `stop`, some at a time."""
        return self.encoded.pieces(start, stop)


class _Items:
    """What a generator of the user's has not given yet."""

    def __init__(self, iterator: Any, how: Any) -> None:
        self.iterator = iterator
        self.how = how
        self.long: Any = None
        """The next batch, where that is one long item."""

    def next_batch(self) -> Any:
        """Return the batch that is filled next."""
        batch, self.long = self.long or _Batch(self.how), None
        return batch


def ask(token: Any, step: Any, text: Any) -> None:
    """Do one step; what comes of it is `told`. Raises nothing, but what is no Exception of the user's code is told too."""
    arguments = json.loads(text)
    _drop_left(token, arguments.get("stream"))
    _forget_code(sys._getframe(1).f_code.co_filename)  # noqa: SLF001 - no public one is as cheap
    _note(token, _STEPS[step], arguments)
    _close_left(token)


async def finish(token: Any, step: Any, text: Any) -> None:
    """Do a step that awaits."""
    arguments = json.loads(text)
    _drop_left(token, arguments.get("stream"))
    _forget_code(sys._getframe(1).f_code.co_filename)  # noqa: SLF001 - no public one is as cheap
    try:
        answer = await _ASYNC_STEPS[step](token, **arguments)
    except BaseException as error:  # also an interrupt: it is the call's end
        answer = _failure(error, arguments)
    _answers[token] = answer
    _close_left(token)


def _forget_code(name: Any) -> None:
    """Have IPython forget the text of a cell that asks for a step: it keeps each for ever, and with it what the step brings."""
    entry = linecache.cache.get(name)
    if entry is None or len(entry) < 2 or entry[1] is not None:  # a file has the time of its change there
        return
    names = getattr(getattr(_shell(), "compile", None), "_filename_map", None)
    for kept in (linecache.cache, getattr(linecache, "_ipython_cache", None), names):
        if isinstance(kept, dict):
            kept.pop(name, None)


def told(token: Any) -> Any:
    """Return what came of a step."""
    return Answer(_answers.pop(token, {"gone": True}))


def forget(token: Any) -> None:
    """Forget what is under way: the client does not want it any more."""
    _answers.pop(token, None)
    _dropped.pop(token, None)
    _close(_boxes.pop(token, None))


def _close(box: Any) -> None:
    if isinstance(box, _Items) and hasattr(box.iterator, "close"):
        box.iterator.close()
    elif inspect.iscoroutine(box):
        box.close()
    elif isinstance(box, _FILES):
        box.discard()


def _gone(token: Any) -> Any:
    """Tell that something is not under way, and whether that is so because its client was taken for dead."""
    return {"gone": True, "dropped": token in _dropped}


def _drop_left(*asked: Any) -> None:
    """Drop what a client that has died has left here; not what this step is about, by its tokens. It is closed after the step."""
    now = time.monotonic()
    _asked.update(dict.fromkeys(asked, now))
    since = {other: now - _asked.setdefault(other, now) for other in _boxes}
    left = sorted((other for other in since if since[other] > LEFT_SECONDS), key=lambda other: since[other])
    slow = [other for other in left if not isinstance(_boxes[other], _MOVING)]
    for other in left:
        if other not in slow[:STREAMS] or since[other] > STREAM_SECONDS:
            _answers.pop(other, None)
            _left.append(_boxes.pop(other))
            _dropped[other] = None
    for other in list(_dropped)[:-LIMIT_DROPPED]:
        del _dropped[other]
    for other in [other for other in _asked if other not in _boxes]:
        del _asked[other]


def _close_left(token: Any) -> None:
    """Close what was dropped. A generator's `finally` may do anything, so the step has been done and its answer is noted."""
    while _left:
        try:
            _close(_left.pop(0))
        except KeyboardInterrupt:  # meant for this step, whose client hears of it; the others are closed after the next one
            _answers.pop(token, None)
            raise
        except BaseException:
            pass


def _note(token: Any, step: Any, arguments: Any) -> None:
    try:
        _answers[token] = step(token, **arguments)
    except BaseException as error:  # also an interrupt: it is the call's end
        _answers[token] = _failure(error, arguments)


def _failure(error: Any, arguments: Any) -> Any:
    """Tell an exception, in a way that can always be told."""
    if isinstance(error, codec.CannotCarry):
        return {"carry": [_text(error.reason), _text(error.place)]}
    if isinstance(error, codec.Damaged):
        return {"damaged": _text(error)}
    if isinstance(error, codec.BadData):
        return {"bad": _text(error)}
    if isinstance(error, file_side.FileProblem):
        return {"file": [str(error.kind), str(error.path), str(error.reason)]}
    told: dict[str, Any] = {"type": codec.name_of(type(error)), "text": _text(error), "notes": [], "traceback": []}
    try:
        notes = getattr(error, "__notes__", None)
        if isinstance(notes, (list, tuple)):
            told["notes"] = _fitting([_text(note) for note in notes])
        shown = error.__traceback__
        while shown is not None and shown.tb_frame.f_globals.get("__package__") == __package__:
            shown = shown.tb_next
        told["traceback"] = _fitting(traceback.format_exception(type(error), error, shown))
    except Exception:
        told["traceback"] = [_cut_short(f"{told['type']}: {told['text']}")]
    if arguments.get("pickled"):
        try:
            data = pickle.dumps(error, 5)
        except Exception:
            data = b""
        told["pickle"] = base64.b64encode(data if len(data) <= PICKLE_BYTES else b"").decode("ascii")
    return {"error": told}


def _text(error: Any) -> Any:
    try:
        return _cut_short(str(error))
    except Exception:
        return "(its text can't be made)"


def _cut_short(text: Any) -> Any:
    """Return the beginning and the end of a text that is too long for an answer."""
    half = TEXT // 2
    return text if len(text) <= TEXT else f"{text[:half]} ... {len(text) - TEXT} characters ... {text[-half:]}"


def _fitting(lines: Any) -> Any:
    """Return as many of the last lines as fit into an answer."""
    found: list[Any] = []
    left = 2 * TEXT
    for line in map(_cut_short, reversed(lines)):
        left -= len(line)
        if left < 0:
            found.append(f"({len(lines) - len(found)} more)\n")
            break
        found.append(line)
    return found[::-1]


def _shell() -> Any:
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return get_ipython()


def _namespace() -> Any:
    """Where the user's names are."""
    shell = _shell()
    return sys.modules["__main__"].__dict__ if shell is None else shell.user_ns


def _named(name: Any) -> Any:
    namespace = _namespace()
    if name not in namespace:
        raise NameError(f"name {name!r} is not defined")
    return namespace[name]


# ------------------------------------------------------------------------------------------------------------------- giving


def _give(token: Any, value: Any, pickled: Any = False, classes: Any = ()) -> Any:
    """Tell a value, or how large it is."""
    return _tell(token, codec.encode(value, **_writing(pickled, classes)))


def _writing(pickled: Any, classes: Any) -> Any:
    """How values are written for this client."""
    return {"pickled": _pickled if pickled else None, "classes": _known(classes)}


def _tell(token: Any, encoded: Any) -> Any:
    check = encoded.checksum()
    if encoded.total <= INLINE:
        return {"data": base64.b64encode(encoded.joined()).decode("ascii"), "check": check}
    _boxes[token] = _Outgoing(encoded)
    return {"total": encoded.total, "check": check}


def _pickled(value: Any, callback: Any) -> Any:
    try:
        import cloudpickle
    except ImportError:
        return pickle.dumps(value, 5, buffer_callback=callback)
    return cloudpickle.dumps(value, 5, buffer_callback=callback)


def _known(classes: Any) -> Any:
    return {kind for kind in map(_loaded, classes) if kind is not None}


def _loaded(name: Any) -> Any:
    """Return the class of that module and name, if its module is there."""
    found = sys.modules.get(name[0])
    for part in name[1].split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


def _forget(token: Any) -> Any:
    forget(token)
    return {}


def _evaluate(token: Any, expression: Any, pickled: Any, classes: Any) -> Any:
    value = eval(compile(expression, "<pulled>", "eval"), _namespace())
    return _give(token, value, pickled, classes)


def _send(token: Any, start: Any, stop: Any, inline: Any = False) -> Any:
    """Send the pieces of a value from `start` to `stop` over its comm, or in the answer."""
    box = _boxes.get(token)
    if not isinstance(box, _OUT):
        return {"gone": True}
    if inline:
        return {"piece": base64.b64encode(b"".join(box.pieces(start, stop))).decode("ascii")}
    if box.comm is None:
        return {"sent": False}
    for piece in box.pieces(start, stop):
        # A copy: what is sent leaves in a thread, when the user's code may go on to write there.
        box.comm.send({"start": start}, buffers=[piece if type(piece) is bytes else bytes(piece)])
        start += len(piece)
    return {"sent": True}


# ------------------------------------------------------------------------------------------------------------------- taking


_heard: set[Any] = set()
"""The tokens of comms that were opened only to see whether they come."""


def _opened(comm: Any, message: Any) -> None:
    """A comm of the client's: it brings pieces, or fetches some, or says what is not wanted any more."""
    data = message["content"]["data"]
    token = data["token"]
    if data.get("forget"):
        with contextlib.suppress(SystemExit, GeneratorExit):  # a generator's `finally` may raise it, and it would end the kernel
            forget(token)
        return
    if data.get("hello"):
        _heard.add(token)
        return
    if data.get("tools"):
        tool_side.opened(token, comm)
        return
    if "total" in data and not isinstance(_boxes.get(token), codec.Receiver):
        _boxes[token] = codec.Receiver(data["total"], data["check"])
    box = _boxes.get(token)
    if isinstance(box, _OUT):
        box.comm = comm
    elif isinstance(box, _IN):
        comm.on_msg(lambda message: _take(box, message))


def _take(receiver: Any, message: Any) -> None:
    start = message["content"]["data"]["start"]
    if start == receiver.received:  # else it came before, or one before it did not come: it will be sent again
        with contextlib.suppress(file_side.FileProblem):  # the file remembers it, and who asks how much there is hears of it
            for piece in message["buffers"]:
                receiver.feed(piece)


def _have(token: Any, total: Any = None, check: Any = None, start: Any = 0, piece: Any = None) -> Any:
    """Say how much of a value is there; nothing where it is not known. A piece of it may come with the question."""
    box = _boxes.get(token)
    if piece is not None:
        if not isinstance(box, _IN) and total is not None:
            box = _boxes[token] = codec.Receiver(total, check)
        if isinstance(box, _IN) and start == box.received:
            box.feed(base64.b64decode(piece))
    if isinstance(box, file_side.Writing) and box.failure is not None:
        raise box.failure
    return {"have": box.received if isinstance(box, _IN) else None}


def _taken(token: Any, data: Any, check: Any) -> Any:
    """Return the value that came, in the step itself or before it."""
    if data is None:
        receiver = _boxes.pop(token, None)
        if not isinstance(receiver, codec.Receiver):
            raise codec.Damaged("the kernel's process does not have it any more")
    else:
        raw = base64.b64decode(data)
        receiver = codec.Receiver(len(raw), check)
        receiver.feed(raw)
    return receiver.value(loads=codec.read_pickle, find=codec.find_dataclass, named=_named)


def _knows(token: Any, module: Any, name: Any) -> Any:
    """Say whether a function can be imported here."""
    return {"knows": callable(_imported(module, name))}


def _bind(token: Any, data: Any = None, check: Any = None) -> Any:
    """Bind the names of a dictionary that came, all at once."""
    _namespace().update(_taken(token, data, check))
    return {"bound": True}


# ------------------------------------------------------------------------------------------------------------------ calling


def _call(
    token: Any,
    result: Any,
    pickled: Any,
    classes: Any,
    stream: Any = False,
    imported: Any = None,
    data: Any = None,
    check: Any = None,
) -> Any:
    function, args, kwargs = _taken(token, data, check)
    if imported is not None:
        module, name = imported
        function = _imported(module, name)
        if function is None:
            raise ImportError(f"the kernel has no {module}.{name} any more")
    given = function(*args, **kwargs)
    how = {"pickled": pickled, "classes": classes}
    if stream:
        if inspect.isawaitable(given):
            _boxes[result] = given
            return {"await": True}
        return _begin(result, given, how)
    if inspect.isawaitable(given):
        _boxes[result] = given
        return {"await": True}
    return _give(result, given, **how)


def _imported(module: Any, name: Any) -> Any:
    """Return the function of that name, or None where this kernel has no such module."""
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module + ".").startswith(error.name + "."):
            return None
        raise
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


async def _await(token: Any, result: Any, pickled: Any, classes: Any, stream: Any = False) -> Any:
    awaitable = _boxes.pop(result, None)
    if not inspect.isawaitable(awaitable):
        return _gone(result)
    given = await awaitable
    how = {"pickled": pickled, "classes": classes}
    return _begin(result, given, how) if stream else _give(result, given, **how)


def _begin(result: Any, given: Any, how: Any) -> Any:
    """Have the items of what a call has returned told from now on."""
    asynchronous = isinstance(given, collections.abc.AsyncIterable)
    if asynchronous or isinstance(given, collections.abc.Iterable):
        _boxes[result] = _Items(given.__aiter__() if asynchronous else iter(given), how)
        return {"stream": "async" if asynchronous else "sync"}
    raise TypeError(f"the call has returned a {codec.name_of(type(given))}, which has no items")


def _next(token: Any, stream: Any, result: Any, pickled: Any) -> Any:
    """Tell the next items of a generator."""
    box = _boxes.get(stream)
    if not isinstance(box, _Items):
        return _gone(stream)
    batch = box.next_batch()
    while not batch.full:
        try:
            batch.add(next(box.iterator))
        except StopIteration:
            batch.after = {"end": True}
        except BaseException as error:
            batch.after = _failure(error, {"pickled": pickled})
    box.long = batch.long
    return _told_items(batch, stream, result)


async def _anext(token: Any, stream: Any, result: Any, pickled: Any) -> Any:
    box = _boxes.get(stream)
    if not isinstance(box, _Items):
        return _gone(stream)
    batch = box.next_batch()
    while not batch.full:
        try:
            batch.add(await box.iterator.__anext__())
        except StopAsyncIteration:
            batch.after = {"end": True}
        except BaseException as error:
            batch.after = _failure(error, {"pickled": pickled})
    box.long = batch.long
    return _told_items(batch, stream, result)


async def _aclose(token: Any, stream: Any) -> Any:
    """Close an asynchronous generator."""
    box = _boxes.pop(stream, None)
    if isinstance(box, _Items) and hasattr(box.iterator, "aclose"):
        await box.iterator.aclose()
    return {"closed": True}


class _Batch:
    """Items that are told together, each as it was when it came."""

    def __init__(self, how: Any) -> None:
        self.how = how
        self.row = codec.Row(**_writing(**how))
        self.after: dict[str, Any] = {}
        """What comes after them: the end, or an error."""
        self.long: Any = None
        """A long item, which goes by itself: if the client takes none so long, it has those before it."""
        self._until = time.monotonic() + BATCH_SECONDS

    def add(self, item: Any) -> None:
        before = self.row.size
        self.row.add(item)
        if len(self.row) > 1 and self.row.size - before > BATCH_BYTES:
            self.row.take_back()
            self.long = _Batch(self.how)
            self.long.row.add(item)
            self.long.row.keep()
        if not self.full:
            self.row.keep()

    @property
    def full(self) -> Any:
        if self.after or self.long:
            return True
        enough = len(self.row) >= BATCH_ITEMS or self.row.size >= BATCH_BYTES
        return len(self.row) > 0 and (enough or time.monotonic() >= self._until)


def _told_items(batch: Any, stream: Any, result: Any) -> Any:
    _asked[stream] = time.monotonic()
    if batch.after:
        forget(stream)
    return dict(_tell(result, batch.row.encoded()), after=batch.after)


def _offer(token: Any, tools: Any, pickled: Any, classes: Any) -> Any:
    """Have code here call functions of the client's."""
    how = {"pickled": _pickled if pickled else None, "classes": lambda: _known(classes)}
    return tool_side.offer(token, tools, how, _namespace())


# -------------------------------------------------------------------------------------------------------------------- files

_FILES = (file_side.Reading, file_side.Writing)
_OUT = (_Outgoing, file_side.Reading)
"""What is fetched piece by piece."""
_IN = (codec.Receiver, file_side.Writing)
"""What is brought piece by piece."""
_MOVING = (*_OUT, *_IN)


def _write_file(token: Any, path: Any, within: Any, total: Any, resume: Any) -> Any:
    """Begin to write a file; tell how much of it there is from before."""
    # Where another client left such a file, nobody goes on with it.
    box = _boxes[token] = file_side.Writing(path, within, total, resume=resume, takes_over=True)
    return {"have": box.received, "digest": box.digest()}


def _rewrite_file(token: Any) -> Any:
    box = _boxes.get(token)
    if not isinstance(box, file_side.Writing):
        return {"gone": True}
    box.restart()
    return {"have": 0}


def _keep_file(token: Any, digest: Any, mode: Any) -> Any:
    box = _boxes.pop(token, None)
    return {"path": box.keep(digest, mode)} if isinstance(box, file_side.Writing) else {"gone": True}


def _read_file(token: Any, path: Any) -> Any:
    """Begin to read a file."""
    box = _boxes[token] = file_side.Reading(path)
    return {"total": box.total, "mode": box.mode}


def _digest_file(token: Any, stop: Any = None) -> Any:
    """Tell the checksum of a file that is read: of its beginning, or of all of it."""
    box = _boxes.get(token)
    if not isinstance(box, file_side.Reading):
        return {"gone": True}
    return {"digest": box.whole() if stop is None else box.digest(stop)}


def _find_files(token: Any, directory: Any, pattern: Any) -> Any:
    return {"files": file_side.find(directory, pattern)}


def _install(token: Any, source: Any) -> Any:
    """Make cloudpickle of the client's source, for functions that come by value."""
    try:
        importlib.import_module("cloudpickle")
    except ImportError:
        kind: Any = type(sys)
        package, module = kind("cloudpickle"), kind("cloudpickle.cloudpickle")
        package.__path__ = []
        module.__package__ = package.__package__ = "cloudpickle"
        sys.modules["cloudpickle.cloudpickle"] = module
        exec(compile(source, "<cloudpickle>", "exec"), module.__dict__)
        package.__dict__.update({name: item for name, item in vars(module).items() if not name.startswith("__")})
        package.cloudpickle = module
        sys.modules["cloudpickle"] = package
    return {"installed": True}


def _about(token: Any) -> Any:
    heard = token in _heard
    _heard.discard(token)
    return {"python": list(sys.version_info[:2]), "comms": heard}


_STEPS: dict[str, Any] = {
    "evaluate": _evaluate,
    "send": _send,
    "have": _have,
    "bind": _bind,
    "call": _call,
    "next": _next,
    "cloudpickle": _install,
    "knows": _knows,
    "write_file": _write_file,
    "rewrite_file": _rewrite_file,
    "keep_file": _keep_file,
    "read_file": _read_file,
    "digest_file": _digest_file,
    "find_files": _find_files,
    "forget": _forget,
    "offer": _offer,
    "about": _about,
}
_ASYNC_STEPS: dict[str, Any] = {"await": _await, "next": _anext, "close": _aclose}


def register() -> None:
    """Take the client's comms from now on. What installs this file calls it."""
    try:
        import comm
    except ImportError:
        return
    comm.get_comm_manager().register_target(TARGET, _opened)
