"""Tools for tests of the faces: run a test on a backend, and look at what is left of it."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import urllib.request
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import sniffio
import uvloop

if TYPE_CHECKING:
    from conftest import RunningGateway

__all__ = ["ASYNCIO", "BACKENDS", "ListeningFake", "ends_code", "kernel_ids", "rest", "run", "trio_threads"]

ASYNCIO = ["asyncio", "uvloop", *(["asyncio-eager"] if sys.version_info >= (3, 12) else [])]
BACKENDS = ["trio", *ASYNCIO]


@attrs.frozen
class ListeningFake:
    """A fake gateway that listens on loopback."""

    url: str
    token: str = attrs.field(repr=False)


def run(backend: str, function: Callable[[], Awaitable[Any]], *, limit: float = 250) -> Any:
    """Run an async function on a backend, and check that it is the one; end it if it hangs."""
    destroyed: list[str] = []

    async def main() -> Any:
        expected = "trio" if backend == "trio" else "asyncio"
        assert sniffio.current_async_library() == expected
        if backend != "trio":
            loop = asyncio.get_running_loop()
            assert isinstance(loop, uvloop.Loop) == (backend == "uvloop")
            loop.set_exception_handler(lambda _, context: destroyed.append(str(context)))
            if backend == "asyncio-eager":
                loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]  # from 3.12 on
        with anyio.fail_after(limit):
            if backend == "asyncio-eager":
                return await asyncio.create_task(function())
            return await function()

    if backend == "trio":
        return anyio.run(main, backend="trio")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if backend == "uvloop" else None) as runner:
        found = runner.run(main())
    assert destroyed == []
    return found


def trio_threads() -> list[threading.Thread]:
    """Return the threads in which the library runs Trio now."""
    return [thread for thread in threading.enumerate() if thread.name == "trio_gateway"]


def rest(gateway: RunningGateway | ListeningFake, method: str, path: str, body: object = None) -> Any:
    """Ask the gateway without the library under test."""
    request = urllib.request.Request(
        gateway.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"token {gateway.token}"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read() or b"null")


def kernel_ids(gateway: RunningGateway | ListeningFake) -> set[str]:
    """Return the ids of the kernels that run on the gateway."""
    return {kernel["id"] for kernel in rest(gateway, "GET", "/api/kernels")}


def ends_code(message: Any) -> bool:
    """Whether a kernel says that it is idle after code, and not after a gateway's question when somebody connects."""
    return message.parent_type == "execute_request" and bool(message.content.get("execution_state") == "idle")
