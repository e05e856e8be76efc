"""What faces do with the functions and objects of notebooks: the declaration that their modules are made from.

The one idea: as in `_portal.members`, of which this is a part. It stands here because notebooks are an extra.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Final, cast

import attrs

from .._fleet.fleet import Fleet
from .._gateway.gateway import Gateway
from .._kernel.kernel import Kernel
from .._pool.pool import KernelPool
from .._portal.calls import asking
from .._portal.members import Declared, Function, How
from .many import Runs, is_several, run_many
from .options import NotebookJob
from .runs import OpenRun, open_run, run

__all__ = ["FUNCTIONS", "MEMBERS", "read_here", "read_jobs_here"]


@attrs.frozen
class _ReadFile:
    """A file object that was read: what it gave, once more."""

    content: object
    name: str | None

    def read(self) -> object:
        """Return what the file object gave."""
        return self.content


def read_here(notebook: Any) -> Any:
    """Read a notebook that is given as a file object, for that may know only the thread that it was made in.

    Args:
        notebook: the notebook, or a job with it; one that is no file object stays as it is.
    """
    if isinstance(notebook, NotebookJob):
        read = read_here(notebook.notebook)
        return notebook if read is notebook.notebook else attrs.evolve(notebook, notebook=read)
    if not hasattr(notebook, "read"):
        return notebook
    name: object = getattr(notebook, "name", None)
    content: object = notebook.read()
    return _ReadFile(content, name if isinstance(name, str) else None)


class _AskedJobs(AsyncIterator[object]):
    """Jobs that an iterator of the caller's gives, which is asked for each of them where the caller is.

    Args:
        function: gives the next one in a tuple, or None for no more.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        self._ask: Callable[[], Awaitable[tuple[object] | None]] = asking("jobs", function)

    async def __anext__(self) -> object:
        found = await self._ask()
        if found is None:
            raise StopAsyncIteration
        return found[0]


def read_jobs_here(jobs: Any) -> Any:
    """Have jobs read where they are given: those of a collection at once, others when there is a place for them.

    Args:
        jobs: the jobs; what are none stay as they are, for the call to refuse.
    """
    if not is_several(jobs):
        return jobs
    if isinstance(jobs, Collection):
        return [read_here(job) for job in cast("Collection[object]", jobs)]
    if isinstance(jobs, AsyncIterable):
        later = aiter(cast("AsyncIterable[object]", jobs))

        async def wait_for_next() -> tuple[object] | None:
            try:
                return (read_here(await anext(later)),)
            except StopAsyncIteration:
                return None  # noqa: ASYNC910 - in the caller's event loop

        return _AskedJobs(wait_for_next)
    given = iter(cast("Iterable[object]", jobs))

    def find_next() -> tuple[object] | None:
        try:
            return (read_here(next(given)),)
        except StopIteration:
            return None

    return _AskedJobs(find_next)


MEMBERS: Final[Mapping[type, Declared]] = {
    OpenRun: {
        How.ON_THE_SPOT: ("stop_saving",),
        How.IN_TRIO: ("cells", "notebook", "result"),
        How.INTERNAL: ("receive_ready",),
    },
    Runs: {How.ON_THE_SPOT: ("stop_saving",)},
}
"""Each class that has faces, and each of its public members."""

FUNCTIONS: Final[Mapping[Callable[..., Any], Function]] = {
    entry.origin: entry
    for entry in (
        Function(run, How.AWAITS, "notebooks", (Gateway, Fleet, KernelPool, Kernel), {"notebook": read_here}),
        Function(open_run, How.GIVES_BLOCK, "notebooks", (Gateway, Fleet, KernelPool, Kernel), {"notebook": read_here}),
        Function(run_many, How.GIVES_BLOCK, "notebooks", (Gateway, Fleet, KernelPool), {"jobs": read_jobs_here}),
    )
}
"""Each function that faces have."""
