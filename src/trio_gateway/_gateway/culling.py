"""Shutting idle kernels down: once, or again and again while a gateway's block lasts.

The one idea: the gateway's own clock decides. Its answers say what time it is there, so a clock of ours that goes wrong culls
nothing. A kernel that is to be culled is looked at by id just before, and nothing is awaited between the verdict and the request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import attrs
import trio

from .._api import KernelApi, Look
from .._errors import AuthenticationError, GatewayError, KernelNotFoundError
from .._models import KernelModel, find_name
from .._protocol.culling import CullPolicy, CullVerdict, judge, spec_idle_timeout
from .kernelspecs import KernelSpecDirectory
from .known_kernels import KnownKernels

__all__ = ["CullRound", "Culler"]

_logger = logging.getLogger("trio_gateway.culling")

_AT_ONCE = 10


def _wall_clock() -> datetime:
    # Only for a gateway whose answers have no date.
    return datetime.now(UTC)  # noqa: TID251


@attrs.define
class CullRound:
    """What one round came to."""

    culled: list[KernelModel] = attrs.field(factory=list)
    """The kernels that were shut down, as they were."""
    failures: list[GatewayError] = attrs.field(factory=list)
    """What went wrong with others."""


class Culler:
    """Culls the idle kernels of one gateway.

    Args:
        api: the gateway's REST interface.
        kernelspecs: the gateway's kernelspecs; their metadata may set other limits.
        known: what this side knows and uses.
        now: what time it is, with a time zone, where the gateway does not tell.
    """

    def __init__(
        self, api: KernelApi, kernelspecs: KernelSpecDirectory, known: KnownKernels, *, now: Callable[[], datetime] = _wall_clock
    ) -> None:
        self._api = api
        self._kernelspecs = kernelspecs
        self._known = known
        self._now = now

    async def run(self, policy: CullPolicy) -> None:
        """Cull every `interval` until cancelled. A service: what goes wrong is logged, and tried again next time."""
        while True:
            await trio.sleep(policy.interval)
            for failure in (await self.cull(policy)).failures:
                _logger.warning("cull_failed: %s", failure)

    async def cull(self, policy: CullPolicy) -> CullRound:
        """Look at the kernels of the policy's scope, and shut down the idle ones. Raises nothing.

        Cancellation: may leave some of them running.
        """
        done = CullRound()
        limits = await self._limits()
        candidates = dict.fromkeys(self._known.ids())
        if policy.all_listed:
            candidates |= await self._listed(policy, limits, done)
        limiter = trio.CapacityLimiter(_AT_ONCE)

        async def look(kernel_id: str) -> None:
            async with limiter:
                try:
                    await self._cull_if_idle(kernel_id, policy, limits, done)
                except KernelNotFoundError:
                    self._known.forget(kernel_id)
                except GatewayError as error:
                    error.add_note(f"while culling kernel {kernel_id}")
                    done.failures.append(error)

        async with trio.open_nursery() as nursery:
            for kernel_id in candidates:
                nursery.start_soon(look, kernel_id, name=f"trio_gateway.cull[{kernel_id:.8}]")
        return done

    async def _limits(self) -> Mapping[str, float]:
        """Return the limits that kernelspecs set, by name."""
        try:
            specs = (await self._kernelspecs.list()).kernelspecs
        except GatewayError as error:
            _logger.debug("kernelspecs_unknown", extra={"gateway.reason": repr(error)})
            return {}
        limits = {name: spec_idle_timeout(spec.metadata) for name, spec in specs.items()}
        return {name: limit for name, limit in limits.items() if limit is not None}

    async def _listed(self, policy: CullPolicy, limits: Mapping[str, float], done: CullRound) -> dict[str, None]:
        try:
            look = await self._api.look_at_all()
        except AuthenticationError as error:
            if error.status_code != 403:
                done.failures.append(error)
            _logger.debug("list_forbidden: only kernels that are known here are culled")
            return {}
        except GatewayError as error:
            done.failures.append(error)
            return {}
        return {model.id: None for model in look.models if self._verdict(model, look, policy, limits).cull}

    async def _cull_if_idle(self, kernel_id: str, policy: CullPolicy, limits: Mapping[str, float], done: CullRound) -> None:
        look = await self._api.look_at(kernel_id)
        model = look.models[0]
        verdict = self._verdict(model, look, policy, limits)
        if not verdict.cull:
            _logger.debug("kernel_spared", extra={"gateway.kernel_id": kernel_id, "gateway.reason": verdict.reason})
            return
        await self._api.shutdown(kernel_id, action="cull", kernel_name=model.name, message=verdict.reason)
        _logger.info("kernel_culled", extra={"gateway.kernel_id": kernel_id, "gateway.reason": verdict.reason})
        done.culled.append(model)

    def _verdict(self, model: KernelModel, look: Look, policy: CullPolicy, limits: Mapping[str, float]) -> CullVerdict:
        if policy.only is not None:
            try:
                if not policy.only(model):
                    return CullVerdict(False, "not in the policy's scope")
            except Exception:  # it is the user's, and no reason to end anything
                _logger.exception("cull_policy_failed")
                return CullVerdict(False, "the policy's function failed")
        return judge(
            model,
            policy,
            now=look.time or self._now(),
            idle_timeout=limits.get(find_name(model.name, limits) or ""),  # its starter may have written it otherwise
            own_connections=self._known.connections(model.id),
            in_use=self._known.in_use(model.id),
        )
