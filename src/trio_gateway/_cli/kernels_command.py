"""`trio-gateway kernels`: what runs on a gateway; starting, interrupting, restarting and shutting it down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import attrs
import trio

from trio_gateway import Gateway

from .._errors import (
    AuthenticationError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    InvalidInputError,
    KernelSpecNotFoundError,
)
from .._models import KernelModel
from .exits import ExitCode, exit_code_of, printable
from .opening import check_ready, open_gateway, require_gateway
from .options import Options
from .parameters import resources_of
from .placing import place_named, put_into_place
from .short_ids import can_be_beginning, choose_kernel_id, list_kernel_ids
from .sinks import standard_output
from .supervision import run_command
from .tables import write_json, write_table
from .wording import Failure, describe

__all__ = ["interrupt", "list_kernels", "restart", "shutdown", "start"]

_LISTING_IS_OFF: Final = (
    "gateways forbid listing kernels by default: start a Kernel Gateway with KG_LIST_KERNELS=True in its environment, "
    "an Enterprise Gateway with EG_LIST_KERNELS=True"
)


def start(options: Options, name: str | None, cwd: Path | None) -> int:
    """Start a kernel, put it into its directory, and print its id; a kernel whose id could not be printed is shut down."""
    require_gateway(options)
    resources = resources_of(options.resources)
    options.report["kernels"] = []

    async def command() -> int:
        async with open_gateway(options, for_running_kernels=True) as gateway:
            await check_ready(gateway)
            place = None if cwd is None else place_named(cwd)
            try:
                directory = None if place is None else place.directory
                model = await gateway.kernels.start(name or options.kernel, cwd=directory, resources=resources)
            except KernelSpecNotFoundError as error:
                if not name:
                    raise
                # It was no --kernel here that has to be another one.
                advice = "Give another NAME; `trio-gateway kernelspecs` lists them."
                options.complain(attrs.evolve(describe(error), advice=advice))
                return exit_code_of(error)
            try:
                if place is not None:
                    async with gateway.attach_kernel(model.id) as kernel:
                        await put_into_place(options, kernel, place)
                options.report["kernels"] = [_as_dict(model)]
                if options.as_json:
                    await write_json(options.report)
                    options.reported = True
                else:
                    await standard_output().write(f"{printable(model.id)}\n")
            except BaseException:
                # Nobody has its id, so nobody would ever shut it down.
                options.report["kernels"] = []
                with trio.move_on_after(gateway.config.cleanup_timeout, shield=True):
                    await gateway.kernels.shutdown(model.id)
                raise
        return ExitCode.OK

    return run_command(options, command)


def interrupt(options: Options, ids: tuple[str, ...]) -> int:
    """Interrupt each kernel that the ids name, or their beginnings."""
    return _each(options, ids, "interrupted", lambda gateway, kernel_id: gateway.kernels.interrupt(kernel_id))


def restart(options: Options, ids: tuple[str, ...]) -> int:
    """Restart each kernel that the ids name, or their beginnings."""
    return _each(options, ids, "restarted", lambda gateway, kernel_id: gateway.kernels.restart(kernel_id))


def shutdown(options: Options, ids: tuple[str, ...]) -> int:
    """Shut down each kernel that the ids name, or their beginnings; one that is not there is an error."""
    return _each(options, ids, "shut down", _shut_down)


async def _shut_down(gateway: Gateway, kernel_id: str) -> None:
    """Shut a kernel down that is there; if it ends meanwhile by somebody else, or two answers say so, that is as good."""
    await gateway.kernels.get(kernel_id)
    await gateway.kernels.shutdown(kernel_id)


def list_kernels(options: Options) -> int:
    """Ask the gateway for its kernels, and show them; where it forbids that, say which setting allows it."""
    require_gateway(options)

    async def command() -> int:
        async with open_gateway(options, for_running_kernels=True) as gateway:
            try:
                models = await gateway.kernels.list(complete=True)
            except AuthenticationError as error:
                if error.status_code == 403:
                    options.warn(_LISTING_IS_OFF)
                raise
        if options.as_json:
            options.report["kernels"] = [_as_dict(model) for model in models]
        else:
            rows = [(m.id, m.name, m.execution_state, _optional(m.connections), _time(m)) for m in models]
            await write_table(("ID", "KERNEL", "STATE", "CONNECTIONS", "LAST ACTIVITY"), rows)
        return ExitCode.OK

    return run_command(options, command)


def _as_dict(model: KernelModel) -> dict[str, object]:
    return {
        "id": model.id,
        "name": model.name,
        "execution_state": model.execution_state,
        "connections": model.connections,
        "last_activity": _time(model) or None,
    }


def _optional(value: object) -> str:
    return "" if value is None else str(value)


def _time(model: KernelModel) -> str:
    return "" if model.last_activity is None else model.last_activity.isoformat(timespec="seconds")


def _each(options: Options, ids: tuple[str, ...], done: str, action: Callable[[Gateway, str], Awaitable[object]]) -> int:
    """Do something to each kernel, in order, and once. What is wrong with one of them keeps none of the others from it.

    What is wrong with the gateway or with who we are to it ends the command. The exit code is that of the first failure.
    """
    require_gateway(options)
    told: list[dict[str, object]] = []
    options.report["kernels"] = told

    async def command() -> int:
        code = ExitCode.OK
        async with open_gateway(options, for_running_kernels=True) as gateway:
            for kernel_id, wrong in await _named(gateway, ids):
                failure: Failure | None = None
                try:
                    if wrong is not None:
                        raise wrong
                    await action(gateway, kernel_id)
                except (InvalidInputError, GatewayHTTPError, GatewayTimeoutError) as error:
                    if not _is_of_one(error):
                        raise
                    failure = options.complain(error)
                    code = code or exit_code_of(error)
                else:
                    options.say(f"{kernel_id}: {done}.")
                told.append({"id": kernel_id, "ok": failure is None, "error": None if failure is None else attrs.asdict(failure)})
        return code

    return run_command(options, command)


async def _named(gateway: Gateway, given: tuple[str, ...]) -> list[tuple[str, GatewayError | None]]:
    """Say which kernels are meant, each once, before anything is done to one of them; and what is wrong with what was given.

    The gateway is asked at most once. Where that fails, ids that are whole are right all the same.
    """
    kernel_ids: list[str] = []
    unlisted: GatewayError | None = None
    if any(map(can_be_beginning, given)):
        try:
            kernel_ids = await list_kernel_ids(gateway)
        except (GatewayHTTPError, GatewayTimeoutError) as error:
            if not _is_of_one(error):
                raise
            unlisted = error
    found: dict[str, GatewayError | None] = {}
    for words in given:
        if unlisted is not None and can_be_beginning(words):
            found[words] = unlisted
            continue
        try:
            found[choose_kernel_id(words, kernel_ids)] = None
        except InvalidInputError as error:
            found[words] = error
    return list(found.items())


def _is_of_one(error: GatewayError) -> bool:
    """Say whether an error is about one kernel or question, so that the next one may go well.

    Not where the gateway does not know us, or there is no connection: each kernel would cost that wait again.
    """
    unreached = isinstance(error, GatewayTimeoutError) and error.setting == "connect_timeout"
    return not unreached and not isinstance(error, AuthenticationError)
