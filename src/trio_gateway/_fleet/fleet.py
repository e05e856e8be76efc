"""`Fleet` and `open_fleet`: several gateways as one.

The one idea: a fleet decides where a kernel starts, and nothing else. From then on the kernel is its gateway's: it never moves,
and what happens to it is told as by that gateway alone. And a start goes on to another gateway only where it is certain that the
one before has started nothing.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final, TypeVar, Unpack, cast

import trio

from .._config import FleetSettings, GatewayConfig, hidden_settings
from .._errors import GatewayError, InvalidInputError, KernelSpecNotFoundError, NoGatewayError, name_gateway
from .._events import EventSink
from .._gateway.gateway import Gateway, checked_policy, checked_session_id, hidden_url, new_session_id
from .._gateway.listeners import EventFanOut, Listeners, open_fan_out
from .._gateway.ownership import StartAttempt
from .._kernel.frame_relay import KernelChannels
from .._kernel.kernel import Kernel
from .._kernel_resources import KernelResources
from .._limits import points_to_limits
from .._models import KernelModel
from .._pool.member import Standing
from .._pool.options import PoolOptions, Reuse
from .._pool.pool import KernelPool, open_kernel_pool
from .._protocol.culling import CullPolicy
from .._secret import hide_values
from .._services import open_services
from .._transport.blocks import block, check_trio
from .._transport.connector import Connector
from .health import is_of_the_gateway
from .kernels import FleetKernels, FleetKernelSpecs, find_kernel
from .member import LOOK_SECONDS, Member, Place, look_at, said
from .options import FleetGateway, GatewayStatus, check_labels, read_gateways
from .placement import Placement, Placer, make_placer

__all__ = ["Fleet", "hidden_gateways", "open_fleet"]

_T = TypeVar("_T")

PATIENCE: Final = 2.0
"""How long opening a fleet, or a start, waits for the others once one gateway has answered, in seconds."""


@points_to_limits
class Fleet:
    """Several gateways as one. Made by `open_fleet`."""

    def __init__(self, members: Sequence[Member], place: Placer, fan_out: EventFanOut, changed: trio.lowlevel.ParkingLot) -> None:
        self._members = members
        self._place = place
        self._fan_out = fan_out
        self._changed = changed
        self._pools: dict[KernelPool, frozenset[str]] = {}  # with the labels that each requires
        self._kernels = FleetKernels(members, self.start_unowned)
        self._kernelspecs = FleetKernelSpecs(members)
        for member in members:
            member.on_news = partial(self._look_at_pools, member)

    @property
    def gateways(self) -> tuple[GatewayStatus, ...]:
        """What is known of each gateway now, in the order in which they were given. Asks nobody."""
        return tuple(member.status() for member in self._members)

    @property
    def kernels(self) -> FleetKernels:
        """All kernels of all gateways, by id."""
        return self._kernels

    @property
    def kernelspecs(self) -> FleetKernelSpecs:
        """The kernelspecs of all gateways."""
        return self._kernelspecs

    @property
    def dropped_events(self) -> int:
        """How many events were lost because a channel given as `on_event` was full, or nobody read it any more."""
        return self._fan_out.dropped

    def __repr__(self) -> str:
        up = sum(member.is_up for member in self._members)
        return f"<Fleet of {len(self._members)} gateways, {up} up>"

    def gateway(self, name: str) -> Gateway:
        """Return one gateway, for what only one can do: its own requests, and its document sessions.

        Kernels that are started with it are not the fleet's: `drain` does not wait for them.

        Args:
            name: what it is called in the fleet.

        Raises:
            InvalidInputError: none is called so.
        """
        return self._member(name).gateway

    # --------------------------------------------------------------------------------------------------------------- kernels

    def start_kernel(
        self,
        name: str | None = None,
        *,
        require: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        path: str | None = None,
        launch_timeout: float | None = None,
        resources: KernelResources | None = None,
    ) -> AbstractAsyncContextManager[Kernel]:
        """Start a kernel on one of the gateways and own it: it is shut down when the block ends, in whatever way.

        Of the gateways that answer, have the kernelspec and the labels, and are not drained, the fleet's `placement` takes one.
        Where the start fails there for a reason of that gateway, and it is certain that nothing was started, it goes on to the
        next. The kernel stays where it has started.

        Args:
            name: the kernelspec's name; None for the default of the gateway on which it starts.
            require: labels that the gateway must have, all of them.
            env: variables for the kernel's environment, as for `Gateway.start_kernel`; and so the rest.
            cwd: the directory the kernel works in, on the kernel's host.
            path: the same, as the gateway's API path.
            launch_timeout: how long the start may take, in seconds, in place of the setting; at each gateway.
            resources: what it gets of a cluster.

        Returns:
            A context manager; entering it starts the kernel and connects to it.

        Raises:
            InvalidInputError: an argument can't be used, by any gateway or by the one that was taken; no kernel was started.
            KernelSpecNotFoundError: no gateway with these labels has such a kernelspec.
            NoGatewayError: no gateway can start it now; the error says of each why.
            GatewayError: as for `Gateway.start_kernel`, with the gateway's name in `gateway`: the start failed, and may have
                started something, so it was not tried elsewhere. The kernel is looked for, as there.

        Cancellation: as for `Gateway.start_kernel`.
        """
        env = hide_values(env)
        labels = self._check_start(require, name, env, cwd, path, launch_timeout, resources)

        def open_on(member: Member, attempt: StartAttempt) -> AbstractAsyncContextManager[Kernel]:
            request = member.gateway.kernels.prepare(
                name, env=env, cwd=cwd, path=path, launch_timeout=launch_timeout, resources=resources
            )
            return member.gateway.start_prepared(request, attempt=attempt)

        return self._start(name, labels, open_on)

    def _check_start(
        self,
        require: Iterable[str],
        name: str | None,
        env: Mapping[str, str] | None,
        cwd: str | os.PathLike[str] | None,
        path: str | None,
        launch_timeout: float | None,
        resources: KernelResources | None,
    ) -> frozenset[str]:
        """Check the arguments of a start, and return the labels that it requires."""
        labels = check_labels("require", require)
        if not any(labels <= member.labels for member in self._members):
            has = "; ".join(f"{member.name} has {', '.join(sorted(member.labels)) or 'none'}" for member in self._members)
            raise InvalidInputError("require", sorted(labels), f"labels that one gateway has, all of them: {has}")
        kernels = self._members[0].gateway.kernels
        kernels.prepare(name, env=env, cwd=cwd, path=path, launch_timeout=launch_timeout, resources=resources)
        return labels

    @block("fleet.start_kernel")
    @asynccontextmanager
    async def _start(
        self,
        name: str | None,
        labels: frozenset[str],
        open_on: Callable[[Member, StartAttempt], AbstractAsyncContextManager[Kernel]],
    ) -> AsyncGenerator[Kernel]:
        async with AsyncExitStack() as stack:

            async def enter(member: Member, attempt: StartAttempt, place: Place) -> Kernel:
                stack.callback(place.release)  # after the kernel's end: a drain waits for that
                return await stack.enter_async_context(open_on(member, attempt))

            _, place, kernel = await self._start_somewhere(name, labels, enter)
            place.fill(kernel.id)
            yield kernel

    async def _start_somewhere(
        self, name: str | None, labels: frozenset[str], start: Callable[[Member, StartAttempt, Place], Awaitable[_T]]
    ) -> tuple[Member, Place, _T]:
        """Start something on one gateway after the other, until one does; on the next only where the last has started nothing.

        Args:
            name: the kernelspec.
            labels: what the gateway must have.
            start: starts it on one.

        Returns:
            The gateway, the place that is taken there, and what was started.

        Cancellation: as for `start`.
        """
        tried: dict[str, GatewayError] = {}
        while True:
            member = await self._choose(name, labels, tried)
            attempt, place = StartAttempt(), member.take_place()
            try:
                started = await start(member, attempt, place)
            except GatewayError as error:
                place.release()
                name_gateway(error, member.name)
                if not is_of_the_gateway(error):
                    raise
                member.start_failed(error)
                if not attempt.nothing_started:
                    raise
                tried[member.name] = error
                member.tell("moved", f"nothing was started there, so another gateway is tried: {said(error)}", failed=True)
                await trio.lowlevel.checkpoint()
            except BaseException:
                place.release()
                raise
            else:
                member.health.started()
                return member, place, started

    async def start_unowned(
        self,
        name: str | None,
        *,
        require: Iterable[str],
        env: Mapping[str, str] | None,
        cwd: str | os.PathLike[str] | None,
        path: str | None,
        launch_timeout: float | None,
        resources: KernelResources | None,
    ) -> tuple[Member, KernelModel]:
        """Start a kernel that nothing owns. For `Fleet.kernels`.

        Cancellation: as for `Gateway.kernels.start`.
        """
        env = hide_values(env)
        labels = self._check_start(require, name, env, cwd, path, launch_timeout, resources)

        async def start(member: Member, attempt: StartAttempt, place: Place) -> KernelModel:
            del place
            kernels = member.gateway.kernels
            request = kernels.prepare(name, env=env, cwd=cwd, path=path, launch_timeout=launch_timeout, resources=resources)
            return await kernels.start_prepared(request, attempt=attempt)

        member, place, model = await self._start_somewhere(name, labels, start)
        place.release()
        member.note_made(model.id)
        return member, model

    async def _choose(self, name: str | None, labels: frozenset[str], tried: Mapping[str, GatewayError]) -> Member:
        """Take the gateway for a start. Nothing is awaited between the choice and its return.

        Args:
            name: the kernelspec.
            labels: what the gateway must have.
            tried: those where it has failed.
        """
        fitting = [member for member in self._members if labels <= member.labels]

        def candidates() -> list[Member]:
            return [member for member in fitting if member.name not in tried and not member.is_draining]

        def usable() -> list[Member]:
            return [member for member in candidates() if member.is_up and member.has_spec(name)]

        # Where something went wrong just now, a start would wait for an answer that may not come.
        sure = _without(candidates(), lambda member: member.is_doubtful)
        stale = [member for member in sure if member.is_stale and member.health.state != "down"]
        await look_at(stale, LOOK_SECONDS)
        found: Sequence[Member] = [member for member in usable() if member in sure]
        if not found:
            # What was known is no reason to refuse a start: all are asked, but for those that have just been.
            # One that can be used by then, though it was drained before or down, is taken soon, whatever the others do.
            asked = [member for member in candidates() if member not in stale or not member.is_up]
            await self._look_until(asked, lambda: not all(member.is_doubtful for member in usable()))
            found = _without(usable(), lambda member: member.is_doubtful)
        found = _without(found, lambda member: member.is_failing)
        if not found:
            raise self._refusal(name, fitting, tried)
        taken = self._place([member.status() for member in found])
        return next(member for member in found if member.name == taken)

    async def _look_until(self, members: Iterable[Member], is_enough: Callable[[], bool]) -> None:
        """Ask gateways how they are, at once; and do not wait for long once what is known is enough.

        Args:
            members: the gateways.
            is_enough: whether a start could be placed; asked after each change in the fleet.

        Cancellation: safe.
        """
        async with trio.open_nursery() as nursery:

            async def watch() -> None:  # noqa: ASYNC910 - it waits for as long as it takes
                scope = trio.CancelScope()
                while not scope.cancelled_caught:
                    while not is_enough():
                        await self._changed.park()
                    with trio.move_on_after(PATIENCE) as scope:  # noqa: ASYNC912 - it parks: it is enough now
                        while is_enough():
                            await self._changed.park()
                nursery.cancel_scope.cancel(reason="a start need not wait for the others")

            nursery.start_soon(watch, name="trio_gateway.fleet.look_until")
            await look_at(members)
            nursery.cancel_scope.cancel(reason="all have answered")

    def _refusal(self, name: str | None, fitting: Sequence[Member], tried: Mapping[str, GatewayError]) -> Exception:
        """Say why no gateway can start a kernel."""
        last = list(tried.values())[-1] if tried else None
        if name is not None and all(
            isinstance(tried.get(member.name), KernelSpecNotFoundError)
            or (member.name not in tried and member.is_up and not member.has_spec(name))
            for member in fitting
        ):
            specs = [member.specs for member in fitting if member.specs is not None]
            return KernelSpecNotFoundError(name, available=sorted({one for listed in specs for one in listed.kernelspecs}))
        reasons = {
            member.name: said(tried[member.name]) if member.name in tried else self._reason(member, name) for member in fitting
        }
        what = f"kernel {name!r}" if name is not None else "kernel"
        refusal = NoGatewayError(f"no gateway can start a {what} now", reasons, tried=tried)
        refusal.__cause__ = last
        return refusal

    @staticmethod
    def _reason(member: Member, name: str | None) -> str:
        status = member.status()
        if status.state in ("up", "failing") and not member.has_spec(name):
            return f"it has no kernelspec {name!r}"
        return status.reason or "it was drained meanwhile"

    @block("fleet.attach_kernel")
    @asynccontextmanager
    async def attach_kernel(self, kernel_id: str) -> AsyncGenerator[Kernel]:
        """Open a session with a kernel that runs already, on whichever gateway that is. It is left running when the block ends.

        Args:
            kernel_id: the kernel's id.

        Yields:
            The kernel.

        Raises:
            KernelNotFoundError: no gateway knows it.
            NoGatewayError: none of those that answer knows it, and the error names those that do not.
            GatewayError: as for each request to its gateway.

        Cancellation: as for `Gateway.attach_kernel`.
        """
        member, _ = await find_kernel(self._members, kernel_id)
        async with AsyncExitStack() as stack:
            try:
                kernel = await stack.enter_async_context(member.gateway.attach_kernel(kernel_id))
            except GatewayError as error:
                name_gateway(error, member.name)
                raise
            with member.using(kernel_id):
                yield kernel

    @block("fleet.open_channels")
    @asynccontextmanager
    async def open_channels(
        self, kernel_id: str, *, session_id: str | None = None, v1: bool = True
    ) -> AsyncGenerator[KernelChannels]:
        """Open the channels of a kernel that runs already, on whichever gateway that is, as frames: for relays.

        Args:
            kernel_id: the kernel's id.
            session_id: as for `Gateway.open_channels`, and so is the rest.
            v1: the framing of the frames.

        Yields:
            The channels.

        Raises:
            InvalidInputError: an id can't be used; nothing was sent.
            KernelNotFoundError: no gateway knows it.
            NoGatewayError: none of those that answer knows it, and the error names those that do not.
            GatewayError: as for each request to its gateway.

        Cancellation: as for `Gateway.open_channels`.
        """
        session_id = new_session_id() if session_id is None else checked_session_id(session_id)
        member, _ = await find_kernel(self._members, kernel_id)
        async with AsyncExitStack() as stack:
            try:
                opening = member.gateway.open_channels(kernel_id, session_id=session_id, v1=v1)
                channels = await stack.enter_async_context(opening)
            except GatewayError as error:
                name_gateway(error, member.name)
                raise
            with member.using(kernel_id):
                yield channels

    @block("fleet.open_pool")
    @asynccontextmanager
    async def open_pool(
        self,
        name: str | None = None,
        *,
        size: int,
        require: Iterable[str] = (),
        warm: int = 0,
        init: str | None = None,
        init_timeout: float = 60.0,
        reuse: Reuse = "never",
        max_uses: int | None = None,
        max_age: float | None = None,
        idle_timeout: float | None = 300.0,
        starts_at_once: int = 4,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        path: str | None = None,
        launch_timeout: float | None = None,
        resources: KernelResources | None = None,
    ) -> AsyncGenerator[KernelPool]:
        """Open a pool of kernels on all gateways that fit. They are shut down when the block ends.

        Each kernel is placed as `start_kernel` places it. Kernels on a gateway that is drained are not handed out any more, and
        replaced elsewhere.

        Args:
            name: the kernelspec's name; None for the gateways' defaults.
            size: how many kernels there are at most, on all gateways together.
            require: labels that a kernel's gateway must have, all of them.
            warm: as for `Gateway.open_pool`, and so is the rest.
            init: code that runs once in each new process.
            init_timeout: how long `init` may take, in seconds.
            reuse: what becomes of a kernel that was used.
            max_uses: after how many uses a kernel is shut down; None for no limit.
            max_age: how old a kernel may be that is handed out, in seconds; None for no limit.
            idle_timeout: how long kernels that are ready beyond `warm` are kept, in seconds; None: for good.
            starts_at_once: how many kernels are started at the same time.
            env: variables for the kernels' environment.
            cwd: the directory they work in, on their host.
            path: the same, as the gateway's API path.
            launch_timeout: how long each start may take, in seconds, in place of the setting.
            resources: what each kernel gets of a cluster.

        Yields:
            The pool.

        Raises:
            InvalidInputError: an argument can't be used, or two contradict each other; nothing was sent.
            KernelSpecNotFoundError: no gateway with these labels has such a kernelspec. No kernel was started.
            NoGatewayError: no gateway answers.

        Cancellation: as for `Gateway.open_pool`.
        """
        env = hide_values(env)
        options = PoolOptions(
            size=size,
            warm=warm,
            init=init,
            init_timeout=init_timeout,
            reuse=reuse,
            max_uses=max_uses,
            max_age=max_age,
            idle_timeout=idle_timeout,
            starts_at_once=starts_at_once,
        )
        labels = self._check_start(require, name, env, cwd, path, launch_timeout, resources)
        start = partial(
            self.start_kernel,
            name,
            require=labels,
            env=env,
            cwd=cwd,
            path=path,
            launch_timeout=launch_timeout,
            resources=resources,
        )
        await self._check_spec(name, labels)
        async with open_kernel_pool(
            start,
            options,
            emit=self._fan_out,
            url="",
            name=name or "",
            ask_spec=partial(self._kernelspecs.find_listed, name),
            surroundings=self,
        ) as pool:
            self._pools[pool] = labels
            try:
                yield pool
            finally:
                del self._pools[pool]

    async def _check_spec(self, name: str | None, labels: frozenset[str]) -> None:
        """See that a gateway that fits has a kernelspec, or may have it: one that does not answer may."""
        fitting = [member for member in self._members if labels <= member.labels]
        if not any(member.is_up and member.has_spec(name) for member in fitting):
            await look_at(fitting)
            if all(member.is_up and not member.has_spec(name) for member in fitting):
                raise self._refusal(name, fitting, {})
        await trio.lowlevel.checkpoint()

    def standing(self, kernel_id: str) -> Standing:
        """What is known of the gateway that a kernel of the fleet is on. For pools."""
        return next((member.standing for member in self._members if member.has(kernel_id)), Standing.WELL)

    def has_lost(self, kernel_id: str) -> None:
        """A kernel of a pool did not answer: its gateway is asked how it is. For pools."""
        for member in self._members:
            if member.has(kernel_id) and member.is_up:
                member.doubt()

    # ----------------------------------------------------------------------------------------------------------------- draining

    async def drain(self, gateway: str) -> bool:
        """Start no more kernels on a gateway, and wait until those that the fleet uses there are no longer used.

        Kernels of a pool that are ready there are shut down, and others take their place elsewhere; those that are leased follow
        when they are given back. Twice is fine. `resume` takes it back.

        Args:
            gateway: what the gateway is called in the fleet.

        Returns:
            Whether it is drained: False where `resume` has taken that back meanwhile.

        Raises:
            InvalidInputError: no gateway is called so.

        Cancellation: leaves off waiting; the gateway takes no starts until `resume` takes that back.
        """
        member = self._member(gateway)
        if not member.is_draining:
            member.is_draining = True
            member.tell("drain")
            self._note_drain(member, is_better=False)
        await trio.lowlevel.checkpoint()
        while member.is_draining and member.is_busy:
            await self._changed.park()
        return member.is_draining

    def resume(self, gateway: str) -> None:
        """Take a drain back: kernels may start on the gateway again.

        Args:
            gateway: what the gateway is called in the fleet.

        Raises:
            InvalidInputError: no gateway is called so.
        """
        member = self._member(gateway)
        if member.is_draining:
            member.is_draining = False
            member.tell("resume")
            self._note_drain(member, is_better=True)

    def _note_drain(self, member: Member, *, is_better: bool) -> None:
        member.note_change()
        self._look_at_pools(member, is_better)

    def _look_at_pools(self, member: Member, is_better: bool) -> None:
        """Have the pools look again which of their kernels can be handed out, and whether there is a place for new ones."""
        for pool, labels in self._pools.items():
            pool.look_again(came=member.name if is_better and labels <= member.labels else "")

    def _member(self, name: object) -> Member:
        for member in self._members:
            if name == member.name:
                return member
        names = ", ".join(repr(member.name) for member in self._members)
        raise InvalidInputError("gateway", name, f"the name of one of the fleet's gateways: {names}")


def hidden_gateways(gateways: object) -> object:
    """Return what `open_fleet` is given as its gateways, in which URLs with a password hide themselves."""
    if isinstance(gateways, (list, tuple)):
        return [hidden_url(one) for one in cast("Sequence[object]", gateways)]
    return gateways


@block("open_fleet")
@asynccontextmanager
async def open_fleet(
    gateways: Iterable[str | GatewayConfig | FleetGateway],
    *,
    placement: Placement = "least-kernels",
    connector: Connector | None = None,
    on_event: Listeners = None,
    cull: CullPolicy | None = None,
    **settings: Unpack[FleetSettings],
) -> AsyncGenerator[Fleet]:
    """Open several gateways as one. Each is asked what it has, all at once; one that does not answer fails nothing.

    Example::

        async with trio_gateway.open_fleet(["https://eg-a/", "https://eg-b/"], auth_token=token) as fleet:
            async with fleet.start_kernel("python3") as kernel:
                print((await kernel.execute("1 + 1")).text)

    A gateway that does not answer, or refuses us, is left out; it is asked again after pauses that grow up to 30 s, and comes
    back by itself. `Fleet.gateways` says why it is out.

    Args:
        gateways: each by its URL, or a whole configuration, or a `FleetGateway`, which also has a name, labels and a weight.
            Replicas that share their kernels are one gateway with several addresses.
        placement: which gateway a kernel starts on: `"least-kernels"`, the one with the fewest for its weight; `"round-robin"`,
            each in its turn, as often as its weight says; or a function, which gets those that can start it, as `GatewayStatus`,
            and returns one of them or its name. It must neither block nor wait. What it raises the start raises.
        connector: opens byte streams in place of TCP, for tests and tunnels.
        on_event: gets the events of all gateways, and the fleet's own, as for `open_gateway`.
        cull: shut idle kernels of each gateway down as long as the block lasts, by this policy.
        **settings: settings of `GatewayConfig` by name, for all gateways.

    Yields:
        The fleet, until the block ends.

    Raises:
        ConfigError: one or more settings can't be used; all are named.
        InvalidInputError: another argument can't be used: no gateways, two of one name, an unknown placement. Nothing was sent.
        NoGatewayError: no gateway answers; the error says of each why.

    Cancellation: as for `open_gateway`; all gateways are closed at once.
    """
    check_trio("trio_gateway.open_fleet")
    settings = cast("FleetSettings", hidden_settings(settings))
    gateways = cast("Iterable[str | GatewayConfig | FleetGateway]", hidden_gateways(gateways))
    entries = read_gateways(gateways, settings)
    place = make_placer(placement)
    cull = checked_policy(cull)
    with open_fan_out(on_event) as fan_out:
        changed = trio.lowlevel.ParkingLot()
        emit: EventSink = fan_out
        rng = random.Random()  # noqa: S311 - jitter, no secret
        async with open_services() as services:
            members = [Member(entry, connector=connector, emit=emit, changed=changed, rng=rng, cull=cull) for entry in entries]
            for member in members:
                services.start_soon(member.run, name=f"trio_gateway.fleet.gateway[{member.name}]")
            for member in members:
                await member.opened.wait()
                if member.failure is not None:
                    raise member.failure
            for member in members:
                services.start_soon(member.watch, name=f"trio_gateway.fleet.watch[{member.name}]")
            await _wait_for_answers(members, changed)
            yield Fleet(members, place, fan_out, changed)


def _without(members: Sequence[Member], is_so: Callable[[Member], bool]) -> Sequence[Member]:
    """Return those that are not so; or all, where there are no others."""
    return [member for member in members if not is_so(member)] or members


async def _wait_for_answers(members: Sequence[Member], changed: trio.lowlevel.ParkingLot) -> None:
    """Wait until each gateway has answered, or failed to; and not for long once one has answered.

    Raises:
        NoGatewayError: none has.
    """
    with trio.CancelScope() as scope:  # noqa: ASYNC912 - who was asked has answered, or is waited for
        while any(member.health.state == "unknown" for member in members):
            if any(member.is_up for member in members):
                scope.deadline = min(scope.deadline, trio.current_time() + PATIENCE)
            await changed.park()
    if not any(member.is_up for member in members):
        raise NoGatewayError("no gateway of the fleet answers", {member.name: member.health.reason for member in members})
    await trio.lowlevel.checkpoint()
