"""Starting a kernel so that none is ever left behind, and owning it while a block runs (guarantees G1 and G2).

The one idea: the kernel's id is chosen on this side (`starting`), before anything is sent, so whatever becomes of the start
request (its answer is lost, it takes too long, its caller is cancelled) there is a name by which to find the kernel and end it.
How long one must look for it is the business of `searches`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from .._api import LOOK_PAUSES, KernelApi
from .._errors import (
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    HubServerNotRunningError,
    KernelNotFoundError,
    fresh,
)
from .._models import KernelModel
from .._services import open_services
from .restrictions import read_refusal
from .searches import QUICK_LOOKS, Search, Searches, may_be_left, say_left
from .starting import StartRequest

__all__ = ["StartAttempt", "end_unheard", "launch", "own_kernel"]

_logger = logging.getLogger("trio_gateway.kernels")


@attrs.define(eq=False)
class StartAttempt:
    """What is known of one start, for callers that would try it elsewhere."""

    nothing_started: bool = True
    """Whether it is certain that the gateway has started nothing for it, and will not: nothing was sent; or its answer says so;
    or, asked for the kernel when the start must have been over, it said that there is none."""


@asynccontextmanager
async def own_kernel(
    api: KernelApi,
    request: StartRequest,
    *,
    is_left: Callable[[], bool] = lambda: False,
    may_live: Callable[[], bool] = lambda: False,
    on_shut_down: Callable[[], object] = lambda: None,
    searches: Searches | None = None,
    attempt: StartAttempt | None = None,
) -> AsyncGenerator[KernelModel]:
    """Start a kernel and own it: it is shut down when the block ends, in whatever way, also in the middle of the start.

    Args:
        api: the gateway's REST interface.
        request: what to start.
        is_left: asked when the block ends, but for cancellation: whether the kernel is left running all the same, as nobody's.
            The caller says so to whom it may concern.
        may_live: asked where the gateway does not know the kernel in the end: whether that shows nothing, since the kernel
            answered nobody before: a gateway that can't reach a kernel's host may forget the kernel.
        on_shut_down: called when the block has shut the kernel down, or finds that it is gone.
        searches: as for `launch`.
        attempt: learns what is certain, as for `launch`.

    Raises:
        GatewayError: the start failed; or the block ended well and the shutdown failed.
    """
    limit = api.config.cleanup_timeout
    model = await launch(api, request, searches, attempt)
    try:
        yield model
    except BaseException as error:
        stays = isinstance(error, Exception) and is_left()
        # It shields and bounds itself.
        if not stays and await _shutdown(api, model, limit, quietly=True, may_live=may_live):  # noqa: ASYNC102
            on_shut_down()
        raise
    if not is_left() and await _shutdown(api, model, limit, quietly=False, may_live=may_live):
        on_shut_down()


async def launch(
    api: KernelApi, request: StartRequest, searches: Searches | None = None, attempt: StartAttempt | None = None
) -> KernelModel:
    """Start a kernel that is its caller's from now on; if this raises, no kernel is left, or it is looked for in `searches`.

    The request is sent in a task of its own, so that a caller who is cancelled still learns what became of it.

    Args:
        api: the gateway's REST interface.
        request: what to start.
        searches: look for a kernel that may come yet when the caller has been held up long enough. Without them it is said then
            that it may be left.
        attempt: learns whether it is certain that nothing was started.

    Raises:
        InvalidInputError: the gateway says which variable it refuses.
        GatewayError: the start failed.

    Cancellation: waits, shielded and at most for `cleanup_timeout`, until the kernel is gone. Where it returns, nothing is
        awaited after the kernel is there.
    """
    if searches is not None:
        await searches.release(request.kernel_id)
    answer: list[KernelModel | Exception] = []
    answered = trio.Event()
    began: float | None = None

    def note_sending() -> None:
        nonlocal began
        began = trio.current_time()
        if attempt is not None:
            attempt.nothing_started = False

    async def post() -> None:
        try:
            answer.append(
                await api.start(
                    kernel_id=request.kernel_id,
                    name=request.name,
                    env=request.env,
                    path=request.path,
                    timeout=request.timeout,
                    on_sending=note_sending,
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
            if began is None:
                raise  # nothing was sent, and ends here
            cancelled = trio.current_time()
            # The answer is the surest word, also from a gateway that chose another id. Where it does not come, ours will do.
            with trio.move_on_after(api.config.cleanup_timeout / 2, shield=True):
                await answered.wait()
            held = trio.current_time() - cancelled
            # It shields and bounds itself.
            await _clear_up(api, request, answer[0] if answer else None, began=began, held=held, searches=searches)  # noqa: ASYNC102
            raise
    outcome = answer[0]
    if isinstance(outcome, KernelModel):
        if outcome.id != request.kernel_id:
            _logger.info("kernel_id_not_honoured", extra={"gateway.wished": request.kernel_id, "gateway.kernel_id": outcome.id})
        return outcome
    if began is not None:
        nothing_started = await _clear_up(api, request, outcome, began=began, held=0.0, searches=searches)
        if attempt is not None:
            attempt.nothing_started = nothing_started
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


async def _clear_up(
    api: KernelApi,
    request: StartRequest,
    outcome: KernelModel | Exception | None,
    *,
    began: float,
    held: float,
    searches: Searches | None,
) -> bool:
    """End what a start request may have left, as far as its outcome leaves that open. Shields and bounds itself.

    Args:
        api: the gateway's REST interface.
        request: what was asked for.
        outcome: the answer, or what went wrong; None where there is no answer yet.
        began: when it was sent.
        held: how long it has held its caller up already, in seconds.
        searches: where it is gone on with in the background.

    Returns:
        Whether it is certain that nothing was started.
    """
    limit = api.config.cleanup_timeout - held
    if isinstance(outcome, KernelModel):
        with trio.move_on_after(limit, shield=True) as scope:
            await _shutdown_now(api, outcome.id)
        if scope.cancelled_caught:
            say_left(api, outcome.id, f"no answer within cleanup_timeout = {api.config.cleanup_timeout:g} s")
        return False
    looks = may_be_left(outcome)
    if not looks:
        return isinstance(outcome, GatewayError)
    now = trio.current_time()
    if looks == 1:
        until = now
    elif isinstance(outcome, GatewayTimeoutError):
        # It takes longer than it should, and nobody knows how much.
        until = now + max(request.timeout, api.config.cleanup_timeout)
    elif outcome is None:
        until = max(began + request.timeout, now + limit)  # a caller that was cancelled may have set launch_timeout short
    else:
        until = began + request.timeout
    search = Search(api, request.kernel_id, until, held=held)
    with trio.move_on_after(limit, shield=True), search.holding():
        await search.look(looks, unreached=QUICK_LOOKS)
    if search.settled:
        return search.never_came
    if search.over or searches is None:
        say_left(api, request.kernel_id, search.reason)
    else:
        searches.take(search)
    return False


async def _shutdown_now(api: KernelApi, kernel_id: str) -> None:
    try:
        await api.shutdown(kernel_id, action="cleanup")
    except KernelNotFoundError:
        pass
    except GatewayError as error:
        say_left(api, kernel_id, str(error))


async def end_unheard(api: KernelApi, model: KernelModel, limit: float) -> None:
    """Shut down a kernel whose start was answered when its caller was gone: nobody else knows of it.

    Args:
        api: the gateway's REST interface.
        model: the kernel.
        limit: how long it may take, in seconds: `cleanup_timeout`. What fails is logged as `kernel_may_be_left`.

    Cancellation: is waited out, so long at most.
    """
    await _shutdown(api, model, limit, quietly=True)


async def _shutdown(
    api: KernelApi, model: KernelModel, limit: float, *, quietly: bool, may_live: Callable[[], bool] = lambda: False
) -> bool:
    """Shut a kernel down, shielded and bounded; gone already is fine. A failure is raised, or logged if `quietly`.

    Returns:
        Whether it is certain that the kernel is gone.
    """
    is_gone = True
    failure: GatewayError | None = None
    kernel_id = model.id
    unreached: list[GatewayConnectionError] = []
    with trio.move_on_after(limit, shield=True) as scope:
        try:
            await _shutdown_in_the_end(api, model, unreached)
        except KernelNotFoundError:
            if may_live():
                is_gone = False
                say_left(api, kernel_id, "the gateway does not know it any more, and it answered nobody before")
        except HubServerNotRunningError:
            pass  # a server that a hub stops takes its kernels with it
        except GatewayError as error:
            failure = error
    if scope.cancelled_caught:
        late = GatewayTimeoutError("kernel shutdown", limit, "cleanup_timeout", detail=f"kernel {kernel_id} may be left")
        failure = unreached[-1] if unreached else late
    if failure is not None:
        say_left(api, kernel_id, str(failure))
        if not quietly:
            raise failure
    return is_gone and failure is None


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
            # A hub that has just been started again says for a moment of each server that it is not running; a balancer that has
            # nowhere to pass something on to may say 404.
            passing = isinstance(error, HubServerNotRunningError) or (error.status_code == 404 and not error.from_gateway)
            if (error.status_code < 500 and not passing) or pause is None:
                raise
        else:
            return
        assert pause is not None
        await trio.sleep(pause)
