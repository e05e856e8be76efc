"""Starting a kernel so that none is ever left behind, and owning it while a block runs (guarantees G1 and G2).

The one idea: the kernel's id is chosen here, before anything is sent, so whatever becomes of the start request (its answer
is lost, it takes too long, its caller is cancelled) there is a name by which to look for the kernel and end it.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from .._api import KernelApi
from .._config import GatewayConfig
from .._errors import (
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    InvalidInputError,
    KernelNotFoundError,
    ProtocolError,
    fresh,
)
from .._kernel.kernel import Kernel
from .._kernel.poller import KernelWatch
from .._kernel.session import KernelSession
from .._models import KernelModel
from .._secret import Secret, hide_values
from .._services import open_services
from .known_kernels import KnownKernels

__all__ = [
    "KERNEL_VARIABLES",
    "StartRequest",
    "check_variable",
    "end_unheard",
    "is_named",
    "launch",
    "new_kernel_id",
    "open_kernel",
    "own_kernel",
    "start_environment",
]

_logger = logging.getLogger("trio_gateway.kernels")

KERNEL_VARIABLES: Final = "KERNEL_*"
"""What names all variables by which gateways are told of a kernel."""
LOOK_PAUSES: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses between looks for a kernel that may still be starting, in seconds; the last one repeats."""
# Enterprise Gateway 3.3 answers 400 to these (services/kernels/handlers.py), and a name with "=" is none.
_MAX_VALUE: Final = 4096
_REFUSED_IN_VALUES: Final = re.compile(r"[$`\n\r\0]")
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# These are settings, which are read from the variables of the same names; a setting that is given otherwise wins over them.
_SETTINGS: Final = frozenset({"KERNEL_ID", "KERNEL_LAUNCH_TIMEOUT", "KERNEL_USERNAME"})
_MAY_HAVE_STARTED: Final = frozenset({408, 502, 504})
_NOT_TAKEN: Final = 503
"""The word of a server that takes no requests now (RFC 9110, 15.6.4); a proxy that had passed it on has others, as a rule."""


@attrs.frozen
class StartRequest:
    """What is asked of the gateway when a kernel is started."""

    kernel_id: str
    """The id we choose."""
    name: str | None
    """The kernelspec; None for the gateway's default."""
    env: Mapping[str, str] = attrs.field(repr=False)
    """The environment, exactly as sent. Values may be secrets."""
    path: str | None
    """The directory to start in, as the gateway's API path."""
    timeout: float
    """How long the gateway may take, in seconds."""


def new_kernel_id() -> str:
    """Return a fresh kernel id. Enterprise Gateway takes only a UUID of version 4."""
    return str(uuid.uuid4())


def start_environment(
    config: GatewayConfig,
    kernel_id: str,
    env: Mapping[str, str] | None,
    environ: Mapping[str, str],
    *,
    launch_timeout: float | None,
    cwd: str | None,
) -> dict[str, str]:
    """Return the environment to send with a start request.

    It is always sent, if only an empty one: a gateway that gets none may use what another request has just asked for.

    Args:
        config: gives `allowed_envs`, `kernel_username` and a configured `launch_timeout`.
        kernel_id: sent as `KERNEL_ID`, which is how Enterprise Gateway takes it.
        env: what the caller asks for.
        environ: this process's environment, of which `allowed_envs` are taken. One that can't be sent is left out, with a warning
            in the log: nobody has written it for a kernel, and it must not keep every kernel from starting.
        launch_timeout: what the caller asks for, in seconds; sent as `KERNEL_LAUNCH_TIMEOUT`.
        cwd: the directory on the kernel's host; sent as `KERNEL_WORKING_DIR`.

    Raises:
        InvalidInputError: a name or value of `env`, or a `cwd`, that Enterprise Gateway would refuse.
    """
    sent = _inherited(config.allowed_envs, environ)
    if config.kernel_username is not None:
        sent["KERNEL_USERNAME"] = config.kernel_username
    if launch_timeout is None and config.sources.get("launch_timeout", "default") != "default":
        launch_timeout = config.launch_timeout
    if launch_timeout is not None:
        sent["KERNEL_LAUNCH_TIMEOUT"] = f"{launch_timeout:g}"
    if cwd is not None:
        sent["KERNEL_WORKING_DIR"] = cwd
    if env is not None:
        if not isinstance(env, Mapping):
            raise InvalidInputError("env", env, "a mapping of names to texts")
        sent.update(hide_values(env))
    for name, value in sent.items():
        check_variable(name, value)
    sent["KERNEL_ID"] = kernel_id
    return sent


def _inherited(names: Collection[str], environ: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in environ if names else ():
        if not is_named(name, names):
            continue
        try:
            check_variable(name, environ[name])
        except InvalidInputError as error:
            _logger.warning("variable_not_sent: %s", error)
        else:
            found[name] = Secret(environ[name])
    return found


def is_named(name: str, names: Collection[str]) -> bool:
    """Say whether a variable is among those that a setting such as `allowed_envs` names.

    Args:
        name: the variable's name.
        names: names; `KERNEL_*` stands for all that begin so, but for those that are settings of ours, which are sent as the
            settings say.
    """
    return name in names or (KERNEL_VARIABLES in names and name.startswith("KERNEL_") and name not in _SETTINGS)


def check_variable(name: object, value: object) -> None:
    """See that a variable can be sent with a start request.

    Args:
        name: its name.
        value: what it holds; the error does not show it.

    Raises:
        InvalidInputError: Enterprise Gateway would refuse it.
    """
    if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
        raise InvalidInputError("env", name, "names of letters, digits and underscores")
    field = f"env[{name!r}]"
    # Values may be secrets: the error names the variable and not what it holds.
    if not isinstance(value, str):
        raise InvalidInputError(field, type(value).__name__, "text (str)")
    if len(value) > _MAX_VALUE:
        raise InvalidInputError(field, f"{len(value)} characters", f"at most {_MAX_VALUE}, as Enterprise Gateway takes")
    found = _REFUSED_IN_VALUES.search(value)
    if found is not None:
        raise InvalidInputError(
            field, f"a value with {found[0]!r}", "no $, backtick, line break or NUL: Enterprise Gateway refuses them"
        )
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInputError(field, "a value with a lone surrogate", "text that can be encoded as UTF-8") from None


@asynccontextmanager
async def own_kernel(api: KernelApi, request: StartRequest) -> AsyncGenerator[KernelModel]:
    """Start a kernel and own it: it is shut down when the block ends, in whatever way, also in the middle of the start.

    Raises:
        GatewayError: the start failed; or the block ended well and the shutdown failed.
    """
    limit = api.config.cleanup_timeout
    model = await launch(api, request, limit)
    try:
        yield model
    except BaseException:
        await _shutdown(api, model, limit, quietly=True)  # noqa: ASYNC102 - it shields and bounds itself
        raise
    await _shutdown(api, model, limit, quietly=False)


async def launch(api: KernelApi, request: StartRequest, cleanup_timeout: float) -> KernelModel:
    """Start a kernel that is its caller's from now on; if this raises, no kernel is left.

    The request is sent in a task of its own, so that a caller who is cancelled still learns what became of it.

    Raises:
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
        await trio.sleep(LOOK_PAUSES[min(attempt, len(LOOK_PAUSES) - 1)])
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
        except KernelNotFoundError:
            pass
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
            if error.status_code < 500 or pause is None:
                raise
        else:
            return
        assert pause is not None
        await trio.sleep(pause)


def _warn_of_orphan(kernel_id: str, reason: str) -> None:
    _logger.warning("kernel_may_be_left: %s: %s", kernel_id, reason, extra={"gateway.kernel_id": kernel_id})


@asynccontextmanager
async def open_kernel(
    api: KernelApi,
    watch: KernelWatch,
    known: KnownKernels,
    kernel_id: str,
    name: str,
    *,
    interrupt_mode: Callable[[], Awaitable[str]],
) -> AsyncGenerator[Kernel]:
    """Open a session with a kernel that is there; the block owns the session, not the kernel.

    Args:
        api: the gateway's REST interface, with its HTTP client.
        watch: looks after the session.
        known: knows which kernels are in use.
        kernel_id: the kernel.
        name: its kernelspec.
        interrupt_mode: asks how it is interrupted.

    Raises:
        KernelNotFoundError: the gateway does not know it.
        GatewayError: the connection could not be made.
    """
    async with open_services() as services:
        session = KernelSession(kernel_id, session_id=uuid.uuid4().hex, api=api, services=services, interrupt_mode=interrupt_mode)
        services.start_soon(_run, session, known, name, name=f"trio_gateway.session[{kernel_id:.8}]")
        with known.using(session):
            await session.wait_opened()
            with watch.watching(session):
                yield Kernel(session, name)


async def _run(session: KernelSession, known: KnownKernels, name: str) -> None:
    """Run a session; if its kernel ends without our doing, tell, also when that ends the block at once."""
    try:
        await session.run()
    finally:
        told = known.how_it_ended(session)
        if told is not None:
            action, message = told
            session.api.tell(action, kernel_id=session.kernel_id, kernel_name=name, message=message)
