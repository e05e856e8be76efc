"""`gateway.kernels`: what can be done with any kernel of a gateway, by its id.

The one idea: this is administration, not ownership. Nothing here is shut down by a block's end; see `ownership` for that. And
only the gateway's own word about an id makes a kernel gone.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress

import attrs
import trio

from .._api import KernelApi
from .._config import GatewayConfig
from .._errors import AuthenticationError, GatewayError, InvalidInputError, KernelNotFoundError
from .._kernel_resources import KernelResources
from .._limits import points_to_limits
from .._models import KernelModel
from .._protocol.culling import CullPolicy
from .._secret import hide_values
from .._transport.turns import Turns
from .culling import Culler
from .kernelspecs import KernelSpecDirectory
from .known_kernels import KnownKernels
from .ownership import StartAttempt, end_unheard, launch
from .restrictions import Restrictions
from .searches import Searches
from .starting import PathFinder, StartRequest, prepare_start

__all__ = ["Kernels"]

_AT_ONCE = 10


@points_to_limits
class Kernels:
    """The kernels of a gateway, those of other clients too. Reached as `gateway.kernels`.

    A gateway object *knows* the kernels that it started or attached to, until the gateway says that they are gone.

    Every method raises GatewayConnectionError, GatewayTimeoutError, GatewayHTTPError and AuthenticationError as its
    requests do. Unless said otherwise, cancelling one leaves open whether the gateway got its request.
    """

    def __init__(
        self,
        api: KernelApi,
        kernelspecs: KernelSpecDirectory,
        known: KnownKernels,
        config: GatewayConfig,
        searches: Searches,
        *,
        find_path: PathFinder | None = None,
    ) -> None:
        self._api = api
        self._searches = searches
        self._kernelspecs = kernelspecs
        self._known = known
        self._config = config
        self._find_path = find_path
        self._starting = Turns()
        self._culler = Culler(api, kernelspecs, known)
        self._restrictions = Restrictions(api)

    # ------------------------------------------------------------------------------------------------------------- looking

    async def list(self, *, complete: bool = False) -> builtins.list[KernelModel]:
        """Return the models of all kernels.

        Kernel Gateway and Enterprise Gateway forbid listing by default (403). Then the kernels that this gateway object knows are
        looked up one by one, and nobody else's are among them. A kernel that it knows and the gateway's list lacks is looked up
        too: lists may be incomplete. One that can't be asked about is listed with the state `"unknown"`.

        Args:
            complete: raise where the gateway forbids listing, instead.

        Raises:
            AuthenticationError: the gateway refuses us; or forbids listing, and `complete` is asked for.

        Cancellation: safe.
        """
        # Before the request: a kernel that is started while it is under way must not seem to be missing from its answer.
        known = self._known.ids()
        try:
            models = await self._api.list()
        except AuthenticationError as error:
            if complete or error.status_code != 403:
                raise
            models = []
        listed = {model.id for model in models}
        return [*models, *await self._look_up([kernel_id for kernel_id in known if kernel_id not in listed])]

    async def get(self, kernel_id: str) -> KernelModel:
        """Return a kernel's model.

        Raises:
            KernelNotFoundError: the gateway itself says that it does not know the kernel. Never for anything less certain.

        Cancellation: safe.
        """
        try:
            return await self._api.get(kernel_id)
        except KernelNotFoundError:
            self._known.forget(kernel_id)
            raise

    async def _look_up(self, kernel_ids: Iterable[str]) -> builtins.list[KernelModel]:
        found: dict[str, KernelModel] = {}

        async def look(kernel_id: str) -> None:
            try:
                found[kernel_id] = await self.get(kernel_id)
            except KernelNotFoundError:
                await trio.lowlevel.checkpoint()
            except AuthenticationError:
                raise
            except GatewayError:
                name = self._known.name(kernel_id) or ""
                found[kernel_id] = KernelModel(id=kernel_id, name=name, execution_state="unknown")
                await trio.lowlevel.checkpoint()

        for failure in await _for_each(kernel_ids, look):
            raise failure
        return [found[kernel_id] for kernel_id in kernel_ids if kernel_id in found]

    # -------------------------------------------------------------------------------------------------------------- acting

    async def start(
        self,
        name: str | None = None,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        path: str | None = None,
        launch_timeout: float | None = None,
        kernel_id: str | None = None,
        resources: KernelResources | None = None,
    ) -> KernelModel:
        """Start a kernel that nothing owns: it runs until someone shuts it down. `Gateway.start_kernel` is the one that is owned.

        Args:
            name: as for `Gateway.start_kernel`, and so is the rest.
            env: variables for the kernel.
            cwd: the directory it works in, on the kernel's host.
            path: the same, as the gateway's API path.
            launch_timeout: how long the start may take, in seconds, in place of the setting.
            kernel_id: the id to ask for, a UUID of the random kind; a new one if None. Older gateways choose another. Of a kernel
                that runs under it already the model is returned.
            resources: what it gets of a cluster, as for `Gateway.start_kernel`.

        Returns:
            The kernel's model.

        Raises:
            InvalidInputError: an argument can't be used, by any gateway or by this one; no kernel was started.
            KernelSpecNotFoundError: the gateway has no such kernelspec.
            GatewayTimeoutError: the start took too long. The kernel is looked for, as after `Gateway.start_kernel`.

        Cancellation: safe: no kernel is left. Waits, shielded and at most for the setting `cleanup_timeout`, until it is gone.
        """
        env = hide_values(env)
        request = self.prepare(
            name, env=env, cwd=cwd, path=path, launch_timeout=launch_timeout, kernel_id=kernel_id, resources=resources
        )
        if kernel_id is None:
            return await self._start(request)
        # As Kernel Gateway has it. Enterprise Gateway answers 500, and whose kernel would be cleaned up after that? So of several
        # starts under one id each looks when the one before is over.
        async with self._starting.take(kernel_id):
            await self._searches.release(kernel_id)
            with suppress(KernelNotFoundError):
                model = await self.get(kernel_id)
                self._known.met(model.id, model.name)
                return model
            return await self._start(request)

    async def _start(self, request: StartRequest) -> KernelModel:
        return await self.start_prepared(request)

    async def start_prepared(self, request: StartRequest, *, attempt: StartAttempt | None = None) -> KernelModel:
        """Start a kernel that nothing owns, of what `prepare` has made. For fleets.

        Args:
            request: what to start.
            attempt: learns, when the start fails, whether it is certain that nothing was started.

        Cancellation: as for `start`.
        """
        return await launch(self._api, await self.fit(request), self._searches, attempt)

    async def fit(self, request: StartRequest) -> StartRequest:
        """Return a request as this gateway takes it. For `Gateway`.

        Raises:
            InvalidInputError: it takes no such variable.
            KernelSpecNotFoundError: it has no such kernelspec.
        """
        if request.name is not None:
            request = attrs.evolve(request, name=await self._kernelspecs.check(request.name))
        return await self._restrictions.fit(request)

    async def undo_start(self, model: KernelModel) -> None:
        """End what a start made and nobody heard of, because its caller was gone when it was answered. For the faces.

        A kernel that ran before, or that somebody else has asked for since, is left.

        Cancellation: is waited out, at most for the setting `cleanup_timeout`.
        """
        if self._known.unheard(model.id):
            await end_unheard(self._api, model, self._config.cleanup_timeout)
        else:
            await trio.lowlevel.checkpoint()

    def note_met(self, model: KernelModel) -> None:
        """Know a kernel that ran already from now on, as if it was attached to. For Jupyter Server's managers."""
        self._known.met(model.id, model.name)

    def prepare(
        self,
        name: str | None,
        *,
        env: Mapping[str, str] | None,
        cwd: str | os.PathLike[str] | None,
        path: str | None,
        launch_timeout: float | None,
        kernel_id: str | None = None,
        resources: KernelResources | None = None,
    ) -> StartRequest:
        """Check the arguments of a start, and make the request out of them. For `Gateway`.

        Raises:
            InvalidInputError: an argument can't be used.
        """
        return prepare_start(
            self._config,
            name,
            env=hide_values(env),
            cwd=cwd,
            path=path,
            launch_timeout=launch_timeout,
            kernel_id=kernel_id,
            resources=resources,
            find_path=self._find_path,
        )

    async def interrupt(self, kernel_id: str) -> None:
        """Interrupt what a kernel is doing.

        Raises:
            KernelNotFoundError: the gateway does not know the kernel.
        """
        await self._api.interrupt(kernel_id)

    async def restart(self, kernel_id: str) -> KernelModel:
        """Restart a kernel and return its model when it is back. Restarts of one kernel come one after the other.

        Raises:
            KernelNotFoundError: the gateway does not know the kernel.

        Cancellation: as for `Kernel.restart`.
        """
        return await self._api.restart(kernel_id, timeout=self._config.request_timeout_for(None))

    async def shutdown(self, kernel_id: str) -> None:
        """Shut a kernel down; one that is gone already is fine."""
        try:
            await self._api.shutdown(kernel_id)
        except KernelNotFoundError:
            await trio.lowlevel.checkpoint()

    async def shutdown_all(self) -> None:
        """Shut down all kernels that `list` returns, other people's too; each is tried, whatever becomes of the others.

        Where the gateway forbids listing, these are the kernels that this gateway object knows. Several are shut down at once.

        Raises:
            ExceptionGroup: of a GatewayError for each kernel that could not be shut down; its note says which.

        Cancellation: may leave some of them running.
        """
        known = self._known.ids()
        try:
            listed = [model.id for model in await self._api.list()]
        except AuthenticationError as error:
            if error.status_code != 403:
                raise
            listed = []
        # A known kernel that the list lacks needs no look first: to shut down one that is gone is fine.
        kernel_ids = tuple(dict.fromkeys([*listed, *known]))
        failures = await _for_each(kernel_ids, self.shutdown)
        if failures:
            raise ExceptionGroup(f"{len(failures)} of {len(kernel_ids)} kernels could not be shut down", failures)

    # -------------------------------------------------------------------------------------------------------------- culling

    async def cull(self, policy: CullPolicy) -> builtins.list[KernelModel]:
        """Shut down the kernels that are idle by a policy, now and once. `open_gateway(cull=...)` does it again and again.

        Args:
            policy: which; its `interval` does not matter here.

        Returns:
            The kernels that were shut down, as they were before.

        Raises:
            ExceptionGroup: of the GatewayErrors of what could not be asked about or shut down; everything else was.

        Cancellation: may leave some of them running.
        """
        if not isinstance(policy, CullPolicy):
            raise InvalidInputError("policy", policy, "a CullPolicy")
        done = await self._culler.cull(policy)
        if done.failures:
            raise ExceptionGroup(f"culling failed for {len(done.failures)} kernels", done.failures)
        return done.culled

    async def keep_culling(self, policy: CullPolicy) -> None:
        """Cull every `interval`, until cancelled. For `Gateway`: a service of its block."""
        await self._culler.run(policy)


async def _for_each(kernel_ids: Iterable[str], act: Callable[[str], Awaitable[object]]) -> builtins.list[GatewayError]:
    """Do something to each kernel, a few at once; return what went wrong, each error with a note on its kernel."""
    failures: dict[str, GatewayError] = {}
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def run(kernel_id: str) -> None:
        async with limiter:
            try:
                await act(kernel_id)
            except GatewayError as error:
                error.add_note(f"kernel {kernel_id}")
                failures[kernel_id] = error

    async with trio.open_nursery() as nursery:
        for kernel_id in kernel_ids:
            nursery.start_soon(run, kernel_id, name=f"trio_gateway.kernel[{kernel_id:.8}]")
    return [failures[kernel_id] for kernel_id in kernel_ids if kernel_id in failures]
