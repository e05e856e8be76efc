"""The faces of asyncio: each public member of each Trio class is there, and means the same."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

import trio_gateway
import trio_gateway.anyio.notebooks
import trio_gateway.anyio.python
from tools.face_tools import ASYNCIO as ASYNCIO_BACKENDS
from tools.face_tools import run
from trio_gateway._notebooks.members import MEMBERS as NOTEBOOKS
from trio_gateway._portal.asyncio_faces import ASYNCIO as ASYNCIO_SIDE
from trio_gateway._portal.faces import original_of
from trio_gateway._portal.members import MEMBERS, How
from trio_gateway._python.members import MEMBERS as PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable

ALL = {**MEMBERS, **NOTEBOOKS, **PYTHON}


@pytest.mark.parametrize("original", ALL, ids=lambda original: original.__name__)
def test_every_public_member_is_replaced(original: type) -> None:
    """No method or property is left that would touch Trio's objects from another thread; signatures and docstrings agree."""
    face = ASYNCIO_SIDE.faces[original]
    assert issubclass(face, original)
    for name in dir(original):
        if name.startswith("_") and name not in ("__anext__", "__aiter__"):
            continue
        assert name in vars(face), name
        if name in ALL[original].get(How.INTERNAL, ()):
            with pytest.raises(AttributeError):
                getattr(object.__new__(face), name)
            continue
        there, here = inspect.getattr_static(original, name), inspect.getattr_static(face, name)
        if not name.startswith("_"):
            assert inspect.getdoc(here) == inspect.getdoc(there), name
            assert isinstance(here, property) == isinstance(there, property)
        if not isinstance(there, property) and name != "__aiter__":
            assert inspect.signature(here) == inspect.signature(there), name
            assert inspect.iscoroutinefunction(here) == inspect.iscoroutinefunction(there)


def public_classes_of(value: object) -> set[type]:
    """Follow properties, and return the classes of the library's objects that live in Trio."""
    found: set[type] = set()
    waiting = [value]
    while waiting:
        value = waiting.pop()
        original = getattr(value, "_original", value)
        if type(original) in found:
            continue
        module = type(original).__module__
        if module.startswith(("trio_gateway._gateway", "trio_gateway._kernel")) and not hasattr(original, "__attrs_attrs__"):
            found.add(type(original))
            names = [name for name in dir(type(original)) if isinstance(inspect.getattr_static(type(original), name), property)]
            waiting += [getattr(value, name) for name in names if not name.startswith("_") and name != "result"]
    return found


def test_every_property_can_be_read(attached: Callable[..., Any], opened: Callable[..., Any]) -> None:
    """Whatever a property gives that lives in Trio is given as a face, and each can be read from asyncio."""

    async def main() -> None:
        async with opened() as gateway, attached() as kernel:
            found = public_classes_of(gateway) | public_classes_of(kernel)
            assert {trio_gateway.Gateway, trio_gateway.Kernel, trio_gateway.Channel, trio_gateway.HeartbeatChannel} <= found
            assert found <= MEMBERS.keys()
            for value in (gateway, gateway.kernels, gateway.sessions, kernel, kernel.iopub, kernel.hb, kernel.comms):
                assert type(original_of(value)) in MEMBERS, value
                assert repr(value) == repr(original_of(value))
            assert kernel.iopub is kernel.iopub

    run("asyncio", main)


@pytest.mark.parametrize("backend", ASYNCIO_BACKENDS)
def test_each_kind_of_member(backend: str, opened: Callable[..., Any], attached: Callable[..., Any]) -> None:
    """Calls, blocks, iterations, an iterator without a public class, and a client of httpx; what is closed gives no more."""

    async def main() -> None:
        async with attached() as kernel:
            assert (await kernel.execute("6 * 7")).text == "42"
            async with kernel.stream("for i in range(3): print(i, flush=True)") as outputs:
                assert [output.text async for output in outputs] == ["0\n", "1\n", "2\n"]
            async for status in kernel.changes():
                assert status.kernel is kernel.state
                break
            async with kernel.iopub.subscribe() as messages:
                await kernel.execute("1")
                first = await messages.receive()
                assert (first.msg_type, (await anext(messages)).msg_type) == ("status", "execute_input")
                await messages.aclose()
                assert messages.statistics().messages == 0
                with pytest.raises(trio.EndOfChannel):
                    await messages.receive()
                assert [message async for message in messages] == []
        async with opened() as gateway, gateway.http_client() as client:
            assert isinstance(client, httpx.AsyncClient)
            assert (await client.get("api/kernels")).status_code == 200

    run(backend, main)
