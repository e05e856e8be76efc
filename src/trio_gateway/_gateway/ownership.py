"""Starting a kernel so that none is ever left behind, and owning it while a block runs (guarantees G1 and G2).

The one idea: the kernel's id is chosen on this side (`starting`), before anything is sent, so whatever becomes of the start
request (its answer is lost, it takes too long, its caller is cancelled) there is a name by which to find the kernel and end it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from .._api import LOOK_PAUSES, KernelApi
from .._errors import (
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    HubServerNotRunningError,
    KernelNotFoundError,
    ProtocolError,
    fresh,
)
from .._models import KernelModel
from .._services import open_services
from .restrictions import read_refusal
from .starting import StartRequest

__all__ = ["end_unheard", "launch", "own_kernel"]

_logger = logging.getLogger("trio_gateway.kernels")

_MAY_HAVE_STARTED: Final = frozenset({408, 502, 504})
_NOT_TAKEN: Final = 503
"""The word of a server that takes no requests now (RFC 9110, 15.6.4); a proxy that had passed it on has others, as a rule."""


@asynccontextmanager
async def own_kernel(
    api: KernelApi, request: StartRequest, *, is_left: Callable[[], bool] = lambda: False
) -> AsyncGenerator[KernelModel]:
    """Start a kernel and own it: it is shut down when the block ends, in whatever way, also in the middle of the start.

    Args:
        api: the gateway's REST interface.
        request: what to start.
        is_left: asked when the block ends, but for cancellation: whether the kernel is left running all the same, as nobody's.
            The caller says so to whom it may concern.

    Raises:
        GatewayError: the start failed; or the block ended well and the shutdown failed.
    """
    limit = api.config.cleanup_timeout
    model = await launch(api, request, limit)
    try:
        yield model
    except BaseException as error:
        if not (isinstance(error, Exception) and is_left()):
            await _shutdown(api, model, limit, quietly=True)  # noqa: ASYNC102 - it shields and bounds itself
        raise
    if not is_left():
        await _shutdown(api, model, limit, quietly=False)


async def launch(api: KernelApi, request: StartRequest, cleanup_timeout: float) -> KernelModel:
    """Start a kernel that is its caller's from now on; if this raises, no kernel is left.

    The request is sent in a task of its own, so that a caller who is cancelled still learns what became of it.

    Raises:
        InvalidInputError: the gateway says which variable it refuses.
        GatewayError: the start failed.

    Cancellation: waits, shielded and at most for `cleanup_timeout`, until the kernel is gone. Where it returns, nothing is
        awaited after the kernel is there.
    """
    answer: list[KernelModel | Exception] = []
    answered = trio.Event()
    sending = trio.Event()

    async def post() -> None:
        try:
            answer.append(
                await api.start(
                    kernel_id=request.kernel_id,
                    name=request.name,
                    env=request.env,
                    path=request.path,
                    timeout=request.timeout,
                    on_sending=sending.set,
                )
            )
        except Exception as error:  # noqa: BLE001 - it is raised again where the answer is awaited
            answer.append(error)
        answered.set()

    async with open_services() as services:
        services.start_soon(post, name=f"trio_gateway.start[{request.kernel_id:.8}]")
        try:
            await answered.wait()
        except BaseException:
            if not sending.is_set():
                raise  # nothing was sent, and ends here
            with trio.move_on_after(cleanup_timeout, shield=True) as scope:
                # The answer is the surest word, also from a gateway that chose another id. Where it does not come, ours will do.
                with trio.move_on_after(cleanup_timeout / 2):
                    await answered.wait()
                if answer:
                    await _remove(api, request.kernel_id, answer[0])
                else:
                    await _await_and_remove(api, request.kernel_id)
            if scope.cancelled_caught:
                _warn_of_orphan(request.kernel_id, f"its start took longer than cleanup_timeout = {cleanup_timeout:g} s")
            raise
    outcome = answer[0]
    if isinstance(outcome, KernelModel):
        if outcome.id != request.kernel_id:
            _logger.info("kernel_id_not_honoured", extra={"gateway.wished": request.kernel_id, "gateway.kernel_id": outcome.id})
        return outcome
    with trio.move_on_after(cleanup_timeout, shield=True) as scope:
        await _remove(api, request.kernel_id, outcome)
    if scope.cancelled_caught:
        _warn_of_orphan(request.kernel_id, f"no answer within cleanup_timeout = {cleanup_timeout:g} s")
    error = fresh(outcome)
    refusal = read_refusal(error, request) if isinstance(error, GatewayError) else None
    if refusal is not None:
        raise refusal from error
    if isinstance(error, GatewayHTTPError) and error.status_code == 405:
        # jupyverse. Its sessions take no id of ours, so a kernel whose start is cut short could not be found again.
        error.message = (
            "no kernels are started there; where that takes a session (POST /api/sessions), attach_kernel() takes one that runs"
        )
    raise error from outcome.__cause__


async def _remove(api: KernelApi, kernel_id: str, outcome: KernelModel | Exception) -> None:
    """End what a start request may have left, as far as its outcome leaves that open. The caller bounds it."""
    if isinstance(outcome, KernelModel):
        await _shutdown_now(api, outcome.id)
    elif isinstance(outcome, HubServerNotRunningError):
        pass  # a hub answered, and there is no server that could have started anything
    elif (isinstance(outcome, GatewayTimeoutError) and outcome.setting == "connect_timeout") or (
        isinstance(outcome, GatewayConnectionError) and not outcome.sent
    ):
        pass  # nothing was sent
    elif isinstance(outcome, GatewayTimeoutError) or (
        isinstance(outcome, GatewayHTTPError) and outcome.status_code in _MAY_HAVE_STARTED
    ):
        # The gateway may be starting it still: look until it is there, or until the caller's bound.
        await _await_and_remove(api, kernel_id)
    elif isinstance(outcome, (GatewayConnectionError, ProtocolError)) or (
        isinstance(outcome, GatewayHTTPError) and outcome.status_code == _NOT_TAKEN
    ):
        await _await_and_remove(api, kernel_id, looks=len(LOOK_PAUSES) + 1)
    elif isinstance(outcome, GatewayHTTPError) and outcome.status_code >= 500:
        await _shutdown_now(api, kernel_id)


async def _await_and_remove(api: KernelApi, kernel_id: str, looks: int | None = None) -> None:
    """Look for a kernel until it is there and shut down. So often at most; where the gateway can't be reached, twice."""
    attempt = refused = 0
    unsure: GatewayError | None = None
    while looks is None or attempt < looks:
        await trio.sleep(LOOK_PAUSES[min(attempt, len(LOOK_PAUSES) - 1)])  # the last one repeats
        attempt += 1
        try:
            await api.shutdown(kernel_id, action="cleanup")
        except KernelNotFoundError:
            refused, unsure = 0, None
        except GatewayError as error:
            unsure = error
            _logger.debug("look_failed", extra={"gateway.kernel_id": kernel_id, "gateway.reason": repr(error)})
            refused = refused + 1 if isinstance(error, GatewayConnectionError) else 0
            if looks is not None and refused > 1:
                break
        else:
            return
    if unsure is not None:
        _warn_of_orphan(kernel_id, str(unsure))


async def _shutdown_now(api: KernelApi, kernel_id: str) -> None:
    try:
        await api.shutdown(kernel_id, action="cleanup")
    except KernelNotFoundError:
        pass
    except GatewayError as error:
        _warn_of_orphan(kernel_id, str(error))


async def end_unheard(api: KernelApi, model: KernelModel, limit: float) -> None:
    """Shut down a kernel whose start was answered when its caller was gone: nobody else knows of it.

    Args:
        api: the gateway's REST interface.
        model: the kernel.
        limit: how long it may take, in seconds: `cleanup_timeout`. What fails is logged as `kernel_may_be_left`.

    Cancellation: is waited out, so long at most.
    """
    await _shutdown(api, model, limit, quietly=True)


async def _shutdown(api: KernelApi, model: KernelModel, limit: float, *, quietly: bool) -> None:
    """Shut a kernel down, shielded and bounded; gone already is fine. A failure is raised, or logged if `quietly`."""
    failure: GatewayError | None = None
    kernel_id = model.id
    unreached: list[GatewayConnectionError] = []
    with trio.move_on_after(limit, shield=True) as scope:
        try:
            await _shutdown_in_the_end(api, model, unreached)
        except (KernelNotFoundError, HubServerNotRunningError):
            pass  # a server that a hub stops takes its kernels with it
        except GatewayError as error:
            failure = error
    if scope.cancelled_caught:
        late = GatewayTimeoutError("kernel shutdown", limit, "cleanup_timeout", detail=f"kernel {kernel_id} may be left")
        failure = unreached[-1] if unreached else late
    if failure is not None:
        _warn_of_orphan(kernel_id, str(failure))
        if not quietly:
            raise failure


async def _shutdown_in_the_end(api: KernelApi, model: KernelModel, unreached: list[GatewayConnectionError]) -> None:
    """Shut a kernel down, again while the gateway answers with an error of its own, and once more where it can't be reached.

    Kernel Gateway answers 500 to the shutdown of a kernel whose process has just died and is being started again, and the
    kernel then stays; a moment later the same request succeeds.

    Args:
        api: the gateway's REST interface.
        model: the kernel.
        unreached: takes the errors of those attempts that did not reach the gateway. The caller bounds it all.
    """
    for pause in (*LOOK_PAUSES, None):
        try:
            await api.shutdown(model.id, kernel_name=model.name)
        except GatewayConnectionError as error:
            unreached.append(error)
            if len(unreached) > 1:
                raise
        except GatewayHTTPError as error:
            # A hub that has just been started again says for a moment of each server that it is not running.
            if (error.status_code < 500 and not isinstance(error, HubServerNotRunningError)) or pause is None:
                raise
        else:
            return
        assert pause is not None
        await trio.sleep(pause)


def _warn_of_orphan(kernel_id: str, reason: str) -> None:
    _logger.warning("kernel_may_be_left: %s: %s", kernel_id, reason, extra={"gateway.kernel_id": kernel_id})
