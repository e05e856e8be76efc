"""`trio-gateway kernels`: what runs on a gateway, and interrupting, restarting or shutting it down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import rich_click as click

from trio_gateway import Gateway

from .._errors import AuthenticationError
from .._models import KernelModel
from .exits import ExitCode
from .opening import open_gateway, require_gateway
from .options import Options, common_options, pass_options
from .supervision import run_command
from .tables import write_json, write_table

__all__ = ["kernels"]

_LISTING_IS_OFF: Final = (
    "gateways forbid listing kernels by default: start a Kernel Gateway with KG_LIST_KERNELS=True in its environment, "
    "an Enterprise Gateway with EG_LIST_KERNELS=True"
)


@click.group(invoke_without_command=True, epilog="Example: trio-gateway kernels interrupt ID")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
@common_options
@click.pass_context
def kernels(context: click.Context, as_json: bool) -> int:
    """List the kernels that run on the gateway, or interrupt, restart or shut down some."""
    if context.invoked_subcommand is None:
        return _list(context.ensure_object(Options), as_json=as_json)
    return ExitCode.OK


@kernels.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
@common_options
@pass_options
def list_(options: Options, as_json: bool) -> int:
    """List the kernels that run on the gateway."""
    return _list(options, as_json=as_json)


@kernels.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@common_options
@pass_options
def interrupt(options: Options, ids: tuple[str, ...]) -> int:
    """Interrupt what these kernels are doing."""
    return _each(options, ids, "interrupted", lambda gateway: gateway.kernels.interrupt)


@kernels.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@common_options
@pass_options
def restart(options: Options, ids: tuple[str, ...]) -> int:
    """Restart these kernels: what is in their memory is lost, their ids stay."""
    return _each(options, ids, "restarted", lambda gateway: gateway.kernels.restart)


@kernels.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@common_options
@pass_options
def shutdown(options: Options, ids: tuple[str, ...]) -> int:
    """Shut these kernels down."""
    return _each(options, ids, "shut down", lambda gateway: gateway.kernels.shutdown)


def _list(options: Options, *, as_json: bool) -> int:
    require_gateway(options)

    async def command() -> int:
        async with open_gateway(options) as gateway:
            try:
                models = await gateway.kernels.list(complete=True)
            except AuthenticationError as error:
                if error.status_code == 403:
                    options.warn(_LISTING_IS_OFF)
                raise
        if as_json:
            await write_json([_as_dict(model) for model in models])
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


def _each(
    options: Options, ids: tuple[str, ...], done: str, action: Callable[[Gateway], Callable[[str], Awaitable[object]]]
) -> int:
    """Do something to each kernel, in order; the first error ends it."""
    require_gateway(options)

    async def command() -> int:
        async with open_gateway(options) as gateway:
            for kernel_id in ids:
                await action(gateway)(kernel_id)
                options.say(f"{kernel_id}: {done}.")
        return ExitCode.OK

    return run_command(options, command)
