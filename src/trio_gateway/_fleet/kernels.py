"""`fleet.kernels` and `fleet.kernelspecs`: what all gateways of a fleet have, and on which of them a kernel is.

The one idea: as with one gateway, only a gateway's own word makes a kernel gone; and a kernel is unknown only where each of them
has said so.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import attrs
import trio

from .._errors import (
    GatewayError,
    InvalidInputError,
    KernelNotFoundError,
    KernelSpecNotFoundError,
    NoGatewayError,
    name_gateway,
)
from .._kernel_resources import KernelResources
from .._limits import points_to_limits
from .._models import KernelModel, KernelSpec, KernelSpecResource, KernelSpecs, find_started
from .._protocol.culling import CullPolicy
from .._protocol.resources import resource_file
from .._protocol.rest import kernel_path, kernelspec_path
from .._secret import hide_values
from .member import Member, for_each, look_at, said
from .options import FleetKernelModel

__all__ = ["FleetKernelSpecs", "FleetKernels", "StartUnowned", "find_kernel"]


class StartUnowned(Protocol):
    """Starts a kernel that nothing owns, on one of the gateways."""

    async def __call__(
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
        """Return the gateway, and the kernel."""
        ...


async def find_kernel(members: Sequence[Member], kernel_id: str) -> tuple[Member, KernelModel]:  # noqa: ASYNC910 - it asks
    """Find the gateway that a kernel is on: at first where it was seen last, then everywhere at once.

    Raises:
        InvalidInputError: it is no id; nothing was sent.
        KernelNotFoundError: no gateway knows it.
        NoGatewayError: none of those that answer knows it.

    Cancellation: safe.
    """
    kernel_path("", kernel_id)
    found: dict[str, KernelModel] = {}
    failures: dict[str, GatewayError] = {}

    async def ask(member: Member) -> None:
        try:
            found[member.name] = await member.gateway.kernels.get(kernel_id)
        except GatewayError as error:
            failures[member.name] = error
            if not isinstance(error, KernelNotFoundError):
                member.doubt()
            await trio.lowlevel.checkpoint()

    likely = [member for member in members if member.has(kernel_id)]
    for asked in (likely, [member for member in members if member not in likely]):
        if asked:
            await for_each(asked, ask)
        for member in asked:
            if member.name in found:
                return member, found[member.name]
    silent = {name: error for name, error in failures.items() if not isinstance(error, KernelNotFoundError)}
    if silent:
        reasons = {name: said(error) for name, error in silent.items()}
        raise NoGatewayError(f"kernel {kernel_id} is on no gateway that answers; these do not", reasons) from builtins.list(
            silent.values()
        )[-1]
    raise KernelNotFoundError(kernel_id, message=f"nor does any other of the fleet's {len(members)}" if len(members) > 1 else "")


@points_to_limits
class FleetKernels:
    """The kernels of all gateways of a fleet, those of other clients too. Reached as `fleet.kernels`.

    Every method that takes a kernel's id raises KernelNotFoundError where each gateway says that it does not know the kernel,
    NoGatewayError where it is on none that answers, and what its request raises. Unless said otherwise, cancelling one leaves
    open whether the gateway got its request.
    """

    def __init__(self, members: Sequence[Member], start: StartUnowned) -> None:
        self._members = members
        self._start = start

    async def list(self, *, complete: bool = False) -> builtins.list[FleetKernelModel]:
        """Return the models of all kernels of all gateways, each with its gateway's name.

        Of a gateway that does not answer, those are listed that the fleet uses there, with the state `"unknown"`. All are
        asked at once.

        Args:
            complete: raise where a gateway does not answer or forbids listing, instead.

        Raises:
            NoGatewayError: no gateway answers.
            GatewayError: a gateway does not answer, or forbids listing, and `complete` is asked for.

        Cancellation: safe.
        """
        found: dict[str, builtins.list[FleetKernelModel]] = {}
        failures: dict[str, GatewayError] = {}

        async def ask(member: Member) -> None:
            try:
                models = await member.gateway.kernels.list(complete=complete)
            except GatewayError as error:
                name_gateway(error, member.name)
                failures[member.name] = error
                await trio.lowlevel.checkpoint()
                models = [KernelModel(id=kernel_id) for kernel_id in sorted(member.ids())]
            found[member.name] = [_placed(model, member) for model in models]

        await for_each(self._members, ask)
        if complete:
            for error in failures.values():
                raise error
        if len(failures) == len(self._members):
            reasons = {name: said(error) for name, error in failures.items()}
            raise NoGatewayError("no gateway lists its kernels", reasons) from builtins.list(failures.values())[-1]
        return [model for member in self._members for model in found[member.name]]

    async def get(self, kernel_id: str) -> FleetKernelModel:
        """Return a kernel's model, with its gateway's name.

        Cancellation: safe.
        """
        member, model = await find_kernel(self._members, kernel_id)
        return _placed(model, member)

    async def interrupt(self, kernel_id: str) -> None:
        """Interrupt what a kernel is doing."""
        member, _ = await find_kernel(self._members, kernel_id)
        await member.gateway.kernels.interrupt(kernel_id)

    async def restart(self, kernel_id: str) -> FleetKernelModel:
        """Restart a kernel, where it is, and return its model when it is back.

        Cancellation: as for `Kernel.restart`.
        """
        member, _ = await find_kernel(self._members, kernel_id)
        return _placed(await member.gateway.kernels.restart(kernel_id), member)

    async def shutdown(self, kernel_id: str) -> None:
        """Shut a kernel down; one that is gone already is fine."""
        try:
            member, _ = await find_kernel(self._members, kernel_id)
        except KernelNotFoundError:
            await trio.lowlevel.checkpoint()
            return
        await member.gateway.kernels.shutdown(kernel_id)

    async def start(
        self,
        name: str | None = None,
        *,
        require: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        path: str | None = None,
        launch_timeout: float | None = None,
        resources: KernelResources | None = None,
    ) -> FleetKernelModel:
        """Start a kernel that nothing owns, on one of the gateways: it runs until someone shuts it down.

        It is placed as `Fleet.start_kernel` places it, which is the one that owns its kernel. A drain does not wait for it. Which
        id it has is not for the caller to say, as with one gateway: all of them are asked for it.

        Args:
            name: as for `Fleet.start_kernel`, and so is the rest.
            require: labels that the gateway must have, all of them.
            env: variables for the kernel.
            cwd: the directory it works in, on the kernel's host.
            path: the same, as the gateway's API path.
            launch_timeout: how long the start may take, in seconds, in place of the setting; at each gateway.
            resources: what it gets of a cluster.

        Returns:
            The kernel's model, with its gateway's name.

        Raises:
            GatewayError: as for `Fleet.start_kernel`.

        Cancellation: safe: no kernel is left. Waits, shielded and at most for the setting `cleanup_timeout`, until it is gone.
        """
        env = hide_values(env)
        member, model = await self._start(
            name, require=require, env=env, cwd=cwd, path=path, launch_timeout=launch_timeout, resources=resources
        )
        return _placed(model, member)

    async def undo_start(self, model: FleetKernelModel) -> None:
        """End what a start made and nobody heard of, because its caller was gone when it was answered. For the faces.

        Cancellation: is waited out, at most for the setting `cleanup_timeout`.
        """
        (member,) = [member for member in self._members if member.name == model.gateway]
        await member.gateway.kernels.undo_start(model)

    async def shutdown_all(self) -> None:
        """Shut down all kernels of all gateways, other people's too; each is tried, whatever becomes of the others.

        Where a gateway forbids listing, these are the kernels there that this fleet knows.

        Raises:
            ExceptionGroup: of a GatewayError for each kernel that could not be shut down, and for each gateway that does not
                answer. Each has its gateway's name in `gateway`.

        Cancellation: may leave some of them running.
        """

        async def act(member: Member) -> builtins.list[KernelModel]:
            await member.gateway.kernels.shutdown_all()
            return []

        await self._at_each("shutting kernels down", act)

    async def cull(self, policy: CullPolicy) -> builtins.list[FleetKernelModel]:
        """Shut down the kernels that are idle by a policy, on all gateways, now and once. `open_fleet(cull=...)` does it again.

        Args:
            policy: which; its `interval` does not matter here.

        Returns:
            The kernels that were shut down, as they were before, each with its gateway's name.

        Raises:
            ExceptionGroup: of the GatewayErrors of what could not be asked about or shut down, each with its gateway's name in
                `gateway`; everything else was.

        Cancellation: may leave some of them running.
        """
        if not isinstance(policy, CullPolicy):
            raise InvalidInputError("policy", policy, "a CullPolicy")

        async def act(member: Member) -> builtins.list[KernelModel]:
            return await member.gateway.kernels.cull(policy)

        return await self._at_each("culling", act)

    async def _at_each(  # noqa: ASYNC910 - a nursery checkpoints
        self, what: str, act: Callable[[Member], Awaitable[builtins.list[KernelModel]]]
    ) -> builtins.list[FleetKernelModel]:
        """Do something with the kernels of each gateway, at all at once, and return those that came of it.

        Raises:
            ExceptionGroup: of what went wrong, flat.
        """
        done: builtins.list[FleetKernelModel] = []
        failures: builtins.list[GatewayError] = []

        async def run(member: Member) -> None:  # noqa: ASYNC910 - a request checkpoints
            told: builtins.list[GatewayError] = []
            try:
                done.extend(_placed(model, member) for model in await act(member))
            except GatewayError as error:
                told = [error]
                member.doubt()
            except ExceptionGroup as group:
                told = [error for error in group.exceptions if isinstance(error, GatewayError)]
            for one in told:
                name_gateway(one, member.name)
            failures.extend(told)

        await for_each(self._members, run)
        if failures:
            raise ExceptionGroup(f"{what} failed {len(failures)} times on {len(self._members)} gateways", failures)
        return done


def _placed(model: KernelModel, member: Member) -> FleetKernelModel:
    fields = {field.name: getattr(model, field.name) for field in attrs.fields(KernelModel)}
    return FleetKernelModel(gateway=member.name, **fields)


@points_to_limits
class FleetKernelSpecs:
    """The kernelspecs of all gateways of a fleet. Reached as `fleet.kernelspecs`.

    Every method raises NoGatewayError where no gateway answers. Cancelling one is safe.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members

    async def list(self) -> KernelSpecs:
        """Return the kernelspecs of those gateways that answer; of several of one name, that of the gateway that comes first.

        The default is that of the first one that tells. Each gateway starts its own, where no name is given.
        """
        await look_at(self._members)
        return self._known()

    async def get(self, name: str) -> KernelSpec:
        """Return one kernelspec, as `list` has it.

        Args:
            name: its name; compared without case.

        Raises:
            InvalidInputError: the name can't be one.
            KernelSpecNotFoundError: no gateway that answers has one of this name.
        """
        kernelspec_path("", name)
        found = await self.find_listed(name)
        if found is None:
            raise KernelSpecNotFoundError(name, available=tuple(self._known().kernelspecs))
        return found

    async def check(self, name: str) -> str:
        """See that a gateway has a kernelspec of this name, as far as they tell.

        Args:
            name: its name, as for `KernelSpecDirectory.check`.

        Returns:
            The name as the gateway spells it; where one does not tell, and no other has it, as it was given.

        Raises:
            InvalidInputError: the name can't be one.
            KernelSpecNotFoundError: none that answers has it; the error lists those they have.
        """
        kernelspec_path("", name)
        listed = (await self.list()).kernelspecs
        found = find_started(name, listed)
        if found is None and all(member.specs is not None for member in self._members if member.is_up):
            raise KernelSpecNotFoundError(name, available=tuple(sorted(listed)))
        return found or name

    async def resource(self, name: str, path: str) -> KernelSpecResource:
        """Return a file of a kernelspec, such as its logo, from the gateway whose kernelspec `list` has.

        Args:
            name: the kernelspec.
            path: as for `KernelSpecDirectory.resource`, with what `KernelSpec.resources` has.

        Raises:
            InvalidInputError: the name or path can't be used; nothing was sent.
            KernelSpecNotFoundError: no gateway that answers has such a kernelspec.
            GatewayHTTPError: with the status 404 where that gateway has no such file.
        """
        resource_file(name, path)
        spelled = (await self.get(name)).name
        for member in self._members:
            if member.is_up and member.specs is not None and member.specs.find(spelled) is not None:
                try:
                    return await member.gateway.kernelspecs.resource(spelled, path)
                except GatewayError as error:
                    name_gateway(error, member.name)
                    raise
        raise KernelSpecNotFoundError(name, available=tuple(self._known().kernelspecs))  # it went down meanwhile

    async def default_name(self) -> str | None:
        """Return the name of the kernelspec that the first gateway starts when none is named; None where none tells."""
        return (await self.list()).default

    async def find_listed(self, name: str | None) -> KernelSpec | None:
        """Return a kernelspec as it was when they were last listed; they are listed where that tells nothing. For notebooks.

        Args:
            name: its name; None for the default.
        """
        for look in (False, True):
            if look:
                await look_at(self._members)
            elif not any(member.is_up for member in self._members):
                continue
            listed = self._known()
            wanted = name or listed.default
            found = None if wanted is None else listed.find(wanted)
            if found is not None:
                await trio.lowlevel.checkpoint()
                return found
        await trio.lowlevel.checkpoint()
        return None

    def _known(self) -> KernelSpecs:
        up = [member for member in self._members if member.is_up]
        if not up:
            raise NoGatewayError("no gateway answers", {member.name: member.health.reason for member in self._members})
        told = [member.specs for member in up if member.specs is not None]
        merged = {name: spec for specs in reversed(told) for name, spec in specs.kernelspecs.items()}
        return KernelSpecs(default=next((specs.default for specs in told if specs.default), None), kernelspecs=merged)
