"""The classes of the blocking face: each public member of each Trio class is there, and is not async."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Iterator

import httpx
import pytest
import trio

import trio_gateway.blocking as tg
import trio_gateway.blocking.notebooks
import trio_gateway.blocking.python  # noqa: F401 - they define faces
from tools.face_tools import ListeningFake
from trio_gateway._kernel.channels import Channel
from trio_gateway._kernel.kernel import Subshell
from trio_gateway._notebooks.members import MEMBERS as NOTEBOOKS
from trio_gateway._portal.blocking_faces import BLOCKING, BlockingFace, like
from trio_gateway._portal.members import MEMBERS, How
from trio_gateway._protocol.messages import MessageFactory
from trio_gateway._python.members import MEMBERS as PYTHON

ALL = {**MEMBERS, **NOTEBOOKS, **PYTHON}
RENAMED = {"aclose": "close", "__anext__": "__next__", "__aiter__": "__iter__", "__aenter__": "__enter__"}


@pytest.mark.parametrize("original", ALL, ids=lambda original: original.__name__)
def test_no_member_is_missing_or_different(original: type) -> None:
    """Each public member of each Trio class: there, with the same parameters, defaults and docstring, and not async."""
    face = BLOCKING.faces[original]
    assert inspect.getdoc(face) == inspect.getdoc(original)
    internal = ALL[original].get(How.INTERNAL, ())
    members = [name for name in dir(original) if (not name.startswith("_") and name not in internal) or name in RENAMED]
    for name in members:
        there = inspect.getattr_static(original, name)
        here = inspect.getattr_static(face, RENAMED.get(name, name))
        assert isinstance(here, property) == isinstance(there, property), name
        if not name.startswith("_"):
            assert inspect.getdoc(here), name
            assert inspect.getdoc(here) == inspect.getdoc(there), name
        if not isinstance(there, property):
            assert not inspect.iscoroutinefunction(here), name
            assert inspect.signature(here).parameters == inspect.signature(there).parameters, name
            assert "Async" not in str(inspect.signature(here).return_annotation), name
            if not name.startswith("_"):
                assert here.__qualname__ == f"{original.__name__}.{RENAMED.get(name, name)}"
    extra = {name for name in dir(face) if not name.startswith("_")} - {RENAMED.get(name, name) for name in members}
    assert extra == set()


@pytest.fixture
def kept() -> Iterator[None]:
    """The real faces stay what stands for the Trio classes."""
    before = dict(BLOCKING.faces)
    yield
    assert BLOCKING.faces == before


def test_a_class_that_names_other_members_cant_be_defined(kept: None) -> None:
    """So what type checkers and editors read is what there is."""
    with pytest.raises(TypeError, match="Lacking does not name"):

        class Lacking(BlockingFace, of=Subshell):
            @property
            def id(self) -> str: ...

    with pytest.raises(TypeError, match="Adding names more, which is not declared"):

        class Adding(BlockingFace, of=Subshell):
            @property
            def id(self) -> str: ...

            @like(Subshell.execute)
            def execute(self) -> None: ...

            @like(Subshell.stream, BlockingFace)
            def stream(self) -> None: ...

            @property
            def more(self) -> str: ...


def test_a_member_with_the_type_of_another_is_refused(kept: None) -> None:
    with pytest.raises(TypeError, match=r"Wrong.execute has another type than Subshell.execute"):

        class Wrong(BlockingFace, of=Subshell):
            @property
            def id(self) -> str: ...

            @like(Subshell.stream, BlockingFace)
            def execute(self) -> None: ...

            @like(Subshell.stream, BlockingFace)
            def stream(self) -> None: ...

    with pytest.raises(TypeError, match=r"Wrong.name has another type than Channel.name"):

        class Wrong(BlockingFace, of=Channel):
            @property
            def name(self) -> int: ...


def test_a_method_says_what_it_gives() -> None:
    gives = {
        "stream": "AbstractContextManager[OutputStream]",
        "changes": "Iterator[Status]",
        "execute": "ExecutionResult",
    }
    assert {name: inspect.signature(getattr(tg.Kernel, name)).return_annotation for name in gives} == gives
    assert inspect.signature(tg.Gateway.http_client).return_annotation == "AbstractContextManager[Client]"
    assert inspect.signature(tg.Channel.subscribe).return_annotation == "AbstractContextManager[Subscription]"


def test_each_kind_of_member(fake_gateway: ListeningFake, kernel_id: str) -> None:
    """Calls, blocks, iterations, an iterator without a public class, and a client of httpx; what is closed gives no more."""
    with tg.open_gateway(fake_gateway.url, auth_token=fake_gateway.token) as gateway:
        with gateway.attach_kernel(kernel_id) as kernel:
            assert kernel.execute("6 * 7").text == "42"
            with kernel.stream("for i in range(3): print(i, flush=True)") as outputs:
                assert [output.text for output in outputs if isinstance(output, tg.Stream)] == ["0\n", "1\n", "2\n"]
            assert next(kernel.changes()).kernel is kernel.state
            with kernel.iopub.subscribe() as messages:
                kernel.execute("1")
                assert (messages.receive().msg_type, next(messages).msg_type) == ("status", "execute_input")
                messages.close()
                assert messages.statistics().messages == 0
                with pytest.raises(trio.EndOfChannel):
                    messages.receive()
                assert list(messages) == []
            with kernel.comms.accept("mine") as incoming:
                opening = {"comm_id": uuid.uuid4().hex, "target_name": "mine", "data": {}}
                message = MessageFactory("a", "b").make("iopub", "comm_open", opening, date="2026-01-01T00:00:00Z")
                kernel._portal.run_sync(lambda: kernel.comms._original.observe(message))
                with next(incoming) as comm:  # a face, which closes itself
                    assert not comm.closed
                assert comm.closed
        with gateway.http_client() as client:
            assert isinstance(client, httpx.Client)
            assert client.get("api/kernels").status_code == 200
