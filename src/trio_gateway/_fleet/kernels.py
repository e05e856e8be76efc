"""`fleet.kernels` and `fleet.kernelspecs`: what all gateways of a fleet have, and on which of them a kernel is.

The one idea: as with one gateway, only a gateway's own word makes a kernel gone; and a kernel is unknown only where each of them
has said so.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence

import attrs
import trio

from .._errors import GatewayError, KernelNotFoundError, KernelSpecNotFoundError, NoGatewayError, name_gateway
from .._limits import points_to_limits
from .._models import KernelModel, KernelSpec, KernelSpecs
from .member import Member, for_each, look_at, said
from .options import FleetKernelModel

__all__ = ["FleetKernelSpecs", "FleetKernels", "find_kernel"]


async def find_kernel(members: Sequence[Member], kernel_id: str) -> tuple[Member, KernelModel]:  # noqa: ASYNC910 - it asks
    """Find the gateway that a kernel is on: at first where it was seen last, then everywhere at once.

    Raises:
        KernelNotFoundError: no gateway knows it.
        NoGatewayError: none of those that answer knows it.

    Cancellation: safe.
    """
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

    Every method but `list` raises KernelNotFoundError where each gateway says that it does not know the kernel, NoGatewayError
    where it is on none that answers, and what its request raises. Unless said otherwise, cancelling one leaves open whether the
    gateway got its request.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members

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
            KernelSpecNotFoundError: no gateway that answers has one of this name.
        """
        found = await self.find_listed(name)
        if found is None:
            raise KernelSpecNotFoundError(name, available=tuple(self._known().kernelspecs))
        return found

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
