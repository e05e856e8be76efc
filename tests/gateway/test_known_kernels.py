"""Which kernels a gateway object knows of: from whoever acts, and from no event."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, cast

import attrs
import pytest
from trio.testing import MockClock

from tools.rest_fake import ID_A, ID_B, RestFake, open_fake
from trio_gateway import (
    ConnectionState,
    CullPolicy,
    GatewayEvent,
    KernelDiedError,
    KernelModel,
    KernelNotFoundError,
    KernelState,
    Status,
)
from trio_gateway._events import ignore
from trio_gateway._gateway.known_kernels import KnownKernels
from trio_gateway._kernel.session import KernelSession


@attrs.define
class Session:
    """What is asked of a session."""

    kernel_id: str = ID_A
    connection: ConnectionState = ConnectionState.CONNECTED
    waits: bool = False
    ended: Exception | None = None

    @property
    def status(self) -> Status:
        return Status(KernelState.IDLE, self.connection)

    __hash__ = object.__hash__

    def as_one(self) -> KernelSession:
        return cast("KernelSession", self)


def test_a_kernel_is_known_from_its_start_until_it_is_gone() -> None:
    known = KnownKernels()
    assert (ID_A in known, known.ids(), known.name(ID_A)) == (False, (), None)
    known.made(ID_A, "python3")
    known.met(ID_B, "")
    assert (ID_A in known, known.ids()) == (True, (ID_A, ID_B))
    assert (known.name(ID_A), known.name(ID_B)) == ("python3", None)
    known.forget(ID_A)
    known.forget(ID_A)
    assert known.ids() == (ID_B,)


def test_a_name_that_is_not_told_again_stays() -> None:
    known = KnownKernels()
    known.made(ID_A, "python3")
    known.met(ID_A, "")
    assert known.name(ID_A) == "python3"
    known.met(ID_A, "ir")
    assert known.name(ID_A) == "ir"


def test_what_a_start_made_and_nobody_heard_of_is_nobodys() -> None:
    known = KnownKernels()
    known.made(ID_A, "")
    assert known.unheard(ID_A)


def test_what_ran_before_is_somebodys() -> None:
    known = KnownKernels()
    known.met(ID_A, "")
    assert not known.unheard(ID_A)


@pytest.mark.parametrize("first_gives_up", [True, False])
def test_what_two_starts_gave_is_nobodys_when_both_never_heard(first_gives_up: bool) -> None:
    """One made it and the other met it. Which of them never heard makes no difference."""
    known = KnownKernels()
    known.made(ID_A, "")
    known.met(ID_A, "")
    assert [known.unheard(ID_A), known.unheard(ID_A)] == [False, True]


def test_what_is_gone_needs_no_end() -> None:
    known = KnownKernels()
    known.made(ID_A, "")
    known.forget(ID_A)
    assert not known.unheard(ID_A)


def test_sessions_count_while_their_block_lasts() -> None:
    known = KnownKernels()
    one, two = Session(), Session(connection=ConnectionState.CONNECTING)
    with known.using(one.as_one()), known.using(two.as_one()):
        assert known.connections(ID_A) == 1
        assert known.connections(ID_B) == 0
        two.connection = ConnectionState.CONNECTED
        assert known.connections(ID_A) == 2
    assert known.connections(ID_A) == 0


@pytest.mark.parametrize(
    ("session", "used"),
    [
        (Session(), False),
        (Session(waits=True), True),
        (Session(connection=ConnectionState.RECONNECTING), True),
        (Session(waits=True, ended=KernelDiedError(ID_A, "it died")), False),
    ],
)
def test_a_kernel_is_in_use_while_something_waits_for_it(session: Session, used: bool) -> None:
    known = KnownKernels()
    with known.using(session.as_one()):
        assert known.in_use(ID_A) is used
        assert not known.in_use(ID_B)
    assert not known.in_use(ID_A)


def test_the_end_of_a_kernel_is_told_once_and_only_if_it_was_not_our_doing() -> None:
    known = KnownKernels()
    died, unknown = KernelDiedError(ID_A, "it died"), KernelNotFoundError(ID_A)
    known.made(ID_A, "")
    assert known.how_it_ended(Session().as_one()) is None
    assert known.how_it_ended(Session(ended=died).as_one()) == ("died", str(died))
    assert known.how_it_ended(Session(ended=died).as_one()) is None
    known.made(ID_A, "")
    assert known.how_it_ended(Session(ended=unknown).as_one()) == ("gone", str(unknown))
    known.made(ID_A, "")
    assert known.how_it_ended(Session(ended=ValueError()).as_one()) is None
    known.forget(ID_A)  # shut down by us
    assert known.how_it_ended(Session(ended=died).as_one()) is None


# ----------------------------------------------------------------------------------------------------- without any listener


@pytest.mark.parametrize("on_event", [None, ignore])
async def test_kernels_are_known_although_nobody_listens(autojump_clock: MockClock, on_event: Any) -> None:
    """The list, where the gateway forbids one, and culling know a kernel from its start, without any event."""
    fake = RestFake()
    fake.lists = False
    async with open_fake(fake, on_event=on_event) as gateway:
        gateway._api.http.emit = ignore  # not even the fan-out hears of anything
        one, two = await gateway.kernels.start("python3"), await gateway.kernels.start("python3")
        assert [model.id for model in await gateway.kernels.list()] == [one.id, two.id]
        fake.idle_for(one.id, 100)
        assert [model.id for model in await gateway.kernels.cull(CullPolicy(idle_timeout=50))] == [one.id]
        assert gateway._known.ids() == (two.id,)
        await gateway.kernels.shutdown(two.id)
        assert await gateway.kernels.list() == []
        assert gateway._known.ids() == ()


@pytest.mark.parametrize("action", ["interrupt", "restart", "get", "shutdown"])
async def test_an_answer_of_404_is_enough_to_forget(autojump_clock: MockClock, action: str) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        gateway._api.http.emit = ignore
        model = await gateway.kernels.start("python3")
        del fake.kernels[model.id]
        with pytest.raises(KernelNotFoundError) if action != "shutdown" else nullcontext():
            await getattr(gateway.kernels, action)(model.id)
        assert gateway._known.ids() == ()


async def test_an_event_that_somebody_makes_up_changes_nothing(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        model = await gateway.kernels.start("python3")
        for action, kernel_id in (("shutdown", model.id), ("start", ID_B)):
            gateway._fan_out(GatewayEvent(kind="kernel", action=action, status="success", kernel_id=kernel_id))
        assert gateway._known.ids() == (model.id,)


# ------------------------------------------------------------------------------------------------- starts that nobody heard of


async def test_an_unheard_start_ends_what_it_made_and_leaves_what_ran(autojump_clock: MockClock) -> None:  # G2
    fake = RestFake()
    fake.add(ID_A)
    async with open_fake(fake) as gateway:
        made = await gateway.kernels.start("python3", kernel_id=ID_B)
        ran = await gateway.kernels.start("python3", kernel_id=ID_A)
        await gateway.kernels.undo_start(made)
        await gateway.kernels.undo_start(ran)
        assert list(fake.kernels) == [ID_A]


async def test_an_unheard_start_leaves_a_kernel_that_somebody_else_has_asked_for_since(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        unheard: KernelModel = await gateway.kernels.start("python3", kernel_id=ID_A)
        heard = await gateway.kernels.start(kernel_id=ID_A)
        await gateway.kernels.undo_start(unheard)
        assert list(fake.kernels) == [heard.id]
        assert (await gateway.kernels.list())[0].id == ID_A
