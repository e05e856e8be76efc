"""`PythonPool`: functions that are called on a pool's kernels, one or many.

The one idea: a call is a lease and one call on it, and many calls are jobs of the pool's, so order, limit and the end of the pool
are as for the codes that it runs. What became of an item is its result, whatever it was. An item is called once; again only
where its user says that the function may be repeated, and only after what was not the function's fault.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import Any, Final, Generic, TypeVar, overload
from weakref import WeakKeyDictionary

import attrs
import trio

from .._errors import ConnectionLostError, GatewayError, InvalidInputError, KernelError, PoolClosedError, fresh
from .._kernel.kernel import Kernel
from .._limits import points_to_limits
from .._pool.jobs import JobResults
from .._pool.pool import KernelPool
from .._portal.faces import Face, check_door
from . import codec
from .errors import TransferError
from .link import Link, OnOutput
from .python import Python, Trust, check_dataclasses, check_options
from .transfer import OnProgress

__all__ = ["CallResult", "CallResults", "PythonPool"]

T = TypeVar("T")
R = TypeVar("R")

ATTEMPTS: Final = 3
"""So often an item is tried whose function may be repeated."""
_NOT_ITS_FAULT: Final = (KernelError, ConnectionLostError, TransferError)
"""What a function that was called, or was about to be, has no part in, mostly: its kernel or its connection went."""
_UNSET: Final[Any] = object()


@attrs.frozen(kw_only=True)
class CallResult(Generic[R]):
    """What came of one item: the value that the function returned, or the error for which there is none."""

    value: R | None = None
    """What the function returned; None where there is an error."""
    error: Exception | None = None
    """Why there is no value: what the call raised, such as RemoteError or KernelDiedError."""

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.error is None

    def raise_for_error(self) -> R:
        """Return the value, or raise what went wrong.

        Raises:
            RemoteError: the function raised an exception.
            GatewayError: there is no value.
        """
        if self.error is not None:
            raise fresh(self.error) if isinstance(self.error, GatewayError) else self.error
        value: Any = self.value
        return value  # type: ignore[no-any-return]


@points_to_limits
class CallResults(AsyncIterator[tuple[T, CallResult[R]]], Generic[T, R]):
    """What comes of many calls: iterate over it for pairs of an item and its `CallResult`. Made by `PythonPool.map`.

    Several tasks may iterate; each result goes to one of them.
    """

    def __init__(self, jobs: JobResults[tuple[T, ...]]) -> None:
        self._jobs = jobs
        self._ready: deque[tuple[T, CallResult[R]]] = deque()

    def __aiter__(self) -> CallResults[T, R]:
        return self

    async def __anext__(self) -> tuple[T, CallResult[R]]:
        """Wait for the next result.

        Raises:
            StopAsyncIteration: each item has had its result, or this was closed.
            Exception: what the iterable of items raised. The calls that had begun are read afterwards.

        Cancellation: safe, no result is lost.
        """
        await trio.lowlevel.checkpoint()
        while not self._ready:
            items, job = await anext(self._jobs)
            results: Any = job.execution
            if results is None:
                results = [CallResult(error=job.error)] * len(items)
            self._ready.extend(zip(items, results, strict=True))
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Call for no more items, interrupt the calls that run, and wait until they have ended. Twice is fine.

        Cancellation: those that run are ended all the same, in the background of the pool's block.
        """
        self._ready.clear()
        await self._jobs.aclose()


@points_to_limits
class PythonPool:
    """Functions that are called on the kernels of a pool, whose language is Python.

    Example::

        async with gateway.open_pool(size=8) as pool:
            python = PythonPool(pool)
            print(await python.call(score, "a"))
            async for name, result in python.map(score, names):
                print(name, result.value if result.ok else result.error)

    It has nothing of its own that would have to be closed.

    Args:
        pool: a gateway's pool, or a fleet's.
        trust: as for `open_python`, and so is the rest.
        dataclasses: the dataclasses that may come from the kernels.
        on_output: called with what called functions print.
        on_progress: called with how far a value has come.
        max_bytes: how many bytes a result may have; None for any number.
        repeatable: whether a call may be made again, on another kernel, when its kernel or its connection was lost: up to three
            times in all. The function may have run then, wholly or in part. An exception of the function's is no reason.

    Raises:
        InvalidInputError: an argument can't be used.
    """

    def __init__(
        self,
        pool: KernelPool,
        *,
        trust: Trust | None = None,
        dataclasses: Collection[type] = (),
        on_output: OnOutput | None = None,
        on_progress: OnProgress | None = None,
        max_bytes: int | None = None,
        repeatable: bool = False,
    ) -> None:
        if isinstance(pool, Face):
            check_door("pool", pool, (KernelPool,), "python", "trio_gateway")
        if not isinstance(pool, KernelPool):
            raise InvalidInputError("pool", pool, "an open KernelPool of trio_gateway")
        if not isinstance(repeatable, bool):
            raise InvalidInputError("repeatable", repeatable, "True or False")
        self._pool = pool
        self._options = check_options(trust, on_output, on_progress, max_bytes)
        self._classes = check_dataclasses(dataclasses)
        self._repeatable = repeatable
        self._links: WeakKeyDictionary[Kernel, Link] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<PythonPool of {self._pool!r}>"

    def using(
        self,
        *,
        trust: Trust | None = _UNSET,
        on_output: OnOutput | None = _UNSET,
        on_progress: OnProgress | None = _UNSET,
        max_bytes: int | None = _UNSET,
        repeatable: bool = _UNSET,
    ) -> PythonPool:
        """Return the same with other options, for instance for one call: `python.using(repeatable=True).call(score, "a")`.

        Args:
            trust: as for `PythonPool`; what is not given stays as it is.
            on_output: likewise.
            on_progress: likewise.
            max_bytes: likewise.
            repeatable: likewise.

        Raises:
            InvalidInputError: an option can't be used.
        """
        options = self._options
        made = type(self)(
            self._pool,
            trust=options.trust if trust is _UNSET else trust,
            dataclasses=self._classes,
            on_output=options.on_output if on_output is _UNSET else on_output,
            on_progress=options.on_progress if on_progress is _UNSET else on_progress,
            max_bytes=options.max_bytes if max_bytes is _UNSET else max_bytes,
            repeatable=self._repeatable if repeatable is _UNSET else repeatable,
        )
        made._links, made._classes = self._links, self._classes  # noqa: SLF001 - of this class
        return made

    @overload
    async def call(self, function: Callable[..., Awaitable[R]], /, *args: Any, **kwargs: Any) -> R: ...
    @overload
    async def call(self, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> R: ...
    async def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Lease a kernel, call a function there, and return what it returns.

        Args:
            function: as for `Python.call`.
            args: its arguments.
            kwargs: its named arguments.

        Raises:
            PoolClosedError: the pool gives no kernels any more.
            GatewayError: as for `KernelPool.kernel` and `Python.call`. The function is never called twice,
                unless it is repeatable.

        Cancellation: as for `Python.call`.
        """
        _check_function(function)
        (result,) = await self._call_each(function, [(args, kwargs)])
        if result.error is not None:
            raise result.error
        return result.value

    @overload
    def map(
        self,
        function: Callable[[T], Awaitable[R]],
        items: Iterable[T],
        *,
        limit: int | None = None,
        as_completed: bool = False,
        chunk: int = 1,
    ) -> CallResults[T, R]: ...
    @overload
    def map(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        *,
        limit: int | None = None,
        as_completed: bool = False,
        chunk: int = 1,
    ) -> CallResults[T, R]: ...
    def map(
        self,
        function: Any,
        items: Iterable[T],
        *,
        limit: int | None = None,
        as_completed: bool = False,
        chunk: int = 1,
    ) -> CallResults[T, Any]:
        """Call a function with each of many items, several at a time, and iterate over what came of them.

        A failure is a result, and takes nothing from the others. An item is begun when there is room for its result: while nobody
        reads, at most `limit` chunks are called.

        Args:
            function: as for `Python.call`; it is called with one item.
            items: the items. An iterator is read when there is room, in Trio's thread also for the other faces.
            limit: how many chunks may run, or wait for their reader, at a time; None for the pool's size.
            as_completed: give the results as they come, and not in the order of the items.
            chunk: how many items are called one after the other on one lease: more than one where a lease costs much, as with a
                pool that restarts its kernels. Where a kernel is lost in between, the chunk goes on with the next item on another
                lease.

        Returns:
            An async iterator of pairs: the item, and its `CallResult`. Close it (`aclose`, or `contextlib.aclosing`) to leave it
            early: what runs is then interrupted. Otherwise it runs to its end, and what came of it is dropped.

        Raises:
            InvalidInputError: an argument can't be used.
        """
        _check_function(function)
        if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
            raise InvalidInputError("items", items, "an iterable of items, such as a list")
        if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
            raise InvalidInputError("chunk", chunk, "how many items are called on one lease: a whole number, 1 or more")

        async def work(part: tuple[T, ...]) -> Any:
            return await self._call_each(function, [((item,), {}) for item in part])

        chunks = _chunks(list(items) if isinstance(items, Collection) else items, chunk)
        return CallResults(self._pool.jobs(chunks, work, limit=limit, as_completed=as_completed))

    # How it is done ---------------------------------------------------------------------------------------------

    async def _call_each(self, function: Any, calls: list[tuple[Any, Any]]) -> list[CallResult[Any]]:
        """Call a function for each of these, and return what came of them; on as many leases as it takes."""
        results: list[CallResult[Any]] = []
        tries = 0
        while len(results) < len(calls):
            try:
                async with self._pool.kernel() as kernel:
                    while len(results) < len(calls):
                        args, kwargs = calls[len(results)]
                        results.append(await self._call_one(kernel, function, args, kwargs))
                        tries = 0
            except PoolClosedError as error:
                results += [CallResult(error=error)] * (len(calls) - len(results))
            except Exception as error:  # noqa: BLE001 - it is the item's result, whatever it is
                tries += 1
                if not (self._repeatable and isinstance(error, _NOT_ITS_FAULT) and tries < ATTEMPTS):
                    results.append(CallResult(error=error))
                    tries = 0
        return results

    async def _call_one(self, kernel: Kernel, function: Any, args: Any, kwargs: Any) -> CallResult[Any]:
        """Call a function on a kernel. Raises what another kernel may be better for."""
        try:
            python = await self._python(kernel)
            return CallResult(value=await python.call(function, *args, **kwargs))
        except _NOT_ITS_FAULT:
            raise
        except Exception as error:  # noqa: BLE001 - it is the item's result, whatever it is
            return CallResult(error=error)

    async def _python(self, kernel: Kernel) -> Python:
        """Return a kernel's Python. Its side there is brought once."""
        link = self._links.get(kernel)
        if link is None:
            link = Link(kernel)
            await link.install()
            self._links[kernel] = link
        else:
            await trio.lowlevel.checkpoint()
        return Python(link, self._options, self._classes)


def _check_function(function: object) -> None:
    if not callable(function) and not isinstance(function, codec.Name):
        raise InvalidInputError("function", function, "a function, or python.name(...) for one that the kernels have")


def _chunks(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    iterator = iter(items)
    while part := tuple(islice(iterator, size)):
        yield part
