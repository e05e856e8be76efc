"""Which gateway a command talks to: the one that is configured, or a local one started for it.

The one idea: a person who has configured nothing still gets a kernel, and learns how.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import click

import trio_gateway

from .._errors import ConfigError, ConfigProblem, GatewayHTTPError, ProtocolError
from .._gateway.starting import KERNEL_VARIABLES, StartRequest, is_named
from .._hub.opening import find_hub_server
from .options import Options
from .parameters import resources_of
from .placing import Place, put_into_place
from .short_ids import find_kernel_id

_TAKES_NONE: Final = frozenset({401, 429, 502, 503, 504})
"""Answers that speak of all requests and not of this one."""

__all__ = [
    "attached_kernel",
    "check_ready",
    "configured_gateway",
    "configured_hub",
    "configured_server",
    "open_gateway",
    "open_kernel",
    "placing",
    "require_gateway",
]


def configured_gateway(options: Options, *, for_others: bool = False) -> trio_gateway.GatewayConfig:
    """Return the settings of the gateway that options and environment name.

    A person says by a command's environment what kernel is wanted: the `KERNEL_*` in it go along with a start, as with
    Jupyter's own tools. Where kernels are started for other people nobody has asked for that, and `allowed_envs` has to name
    them.

    Args:
        options: the common options.
        for_others: whether kernels are started for other people.

    Raises:
        InvalidInputError: an option or a setting is wrong.
    """
    config = _config_of(options)
    wanted = not for_others and any(is_named(name, (KERNEL_VARIABLES,)) for name in os.environ)
    if wanted and KERNEL_VARIABLES not in config.allowed_envs:
        config = config.replace(allowed_envs=(*config.allowed_envs, KERNEL_VARIABLES))
    return config


def _config_of(options: Options) -> trio_gateway.GatewayConfig:
    options.check_gateway()
    settings = options.settings()
    if options.gateway is None:
        return trio_gateway.GatewayConfig.from_env(**settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        config = trio_gateway.GatewayConfig.from_file(options.gateway, **settings)
    for warning in caught:
        options.warn(str(warning.message))
    return config


@asynccontextmanager
async def open_gateway(
    options: Options, *, for_others: bool = False, for_running_kernels: bool = False
) -> AsyncGenerator[trio_gateway.Gateway]:
    """Open the gateway that options and environment name, or else start a local one that ends with the block.

    Args:
        options: the common options.
        for_others: whether kernels are started for other people.
        for_running_kernels: whether it is about kernels that outlive the block: no server of a hub is started for these.

    Raises:
        InvalidInputError: an option or a setting is wrong.
        GatewayError: what opening it raises.
    """
    options.check_gateway()
    if options.hub is not None:
        if for_running_kernels or options.attach is not None:
            opening = trio_gateway.open_gateway(await configured_server(options))
        else:
            opening = _open_hub(options, for_others=for_others)
        async with opening as gateway:
            yield gateway
    elif options.has_gateway:
        config = configured_gateway(options, for_others=for_others)
        if config.ignored_variables:
            names = ", ".join(config.ignored_variables)
            if options.gateway is None:
                options.warn(f"{names}: not used, because JUPYTER_GATEWAY_URL names another gateway than --url")
            else:
                options.say(f"{names}: not used, because the file of gateways says how to log in at {options.gateway}.")
        async with trio_gateway.open_gateway(config) as gateway:
            yield gateway
    else:
        if options.attach is not None:
            require_gateway(options)
        options.say("No gateway is configured (--url, JUPYTER_GATEWAY_URL): starting a local one.")
        async with trio_gateway.open_local_gateway() as gateway:
            yield gateway


def configured_hub(options: Options, *, for_others: bool = False) -> trio_gateway.GatewayConfig:
    """Return the settings by which the hub of `--hub` itself is reached.

    Raises:
        InvalidInputError: an option or a setting is wrong.
    """
    try:
        return configured_gateway(options.at_the_hub(), for_others=for_others)
    except ConfigError as error:
        # At a terminal it is another option that is wrong.
        raise ConfigError(
            [
                ConfigProblem("hub", problem.value, problem.expected, source=problem.source)
                if problem.field == "url"
                else problem
                for problem in error.problems
            ]
        ) from None


async def configured_server(options: Options) -> trio_gateway.GatewayConfig:
    """Return the settings of the server of `--hub`, whether it runs or not: nothing is started.

    Raises:
        InvalidInputError: an option or a setting is wrong.
        GatewayError: the hub can't be reached, or refuses.
    """
    assert options.hub is not None
    return await find_hub_server(options.hub, user=options.hub_user, server=options.hub_server, **_hub_settings(options))


def _hub_settings(options: Options, *, for_others: bool = False) -> dict[str, Any]:
    """Return what both the hub's server and the way to it are opened with."""
    settings = options.settings()
    config = configured_hub(options, for_others=for_others)
    if config.ignored_variables:
        names = ", ".join(config.ignored_variables)
        options.warn(f"{names}: not used, because JUPYTER_GATEWAY_URL names another gateway than --hub")
    return {"token": settings.get("auth_token"), "allowed_envs": config.allowed_envs}


def _open_hub(options: Options, *, for_others: bool) -> AbstractAsyncContextManager[trio_gateway.Gateway]:
    """Open the server of `--hub`: it is started where it does not run, and then stopped at the end."""
    assert options.hub is not None

    def show(event: trio_gateway.GatewayEvent) -> None:
        if event.kind == "hub" and event.action == "progress":
            options.say(f"The hub: {event.message}")
        elif event.kind == "hub" and event.action == "stop" and event.status == "success":
            options.say(f"The hub has stopped the server of {event.message}.")

    settings = _hub_settings(options, for_others=for_others)
    return trio_gateway.open_hub(options.hub, user=options.hub_user, server=options.hub_server, on_event=show, **settings)


@asynccontextmanager
async def open_kernel(options: Options, name: str | None, place: Place | None) -> AsyncGenerator[trio_gateway.Kernel]:
    """Open the kernel that code runs in: the one of `--attach`, or else a fresh one that ends with the block.

    Args:
        options: the common options.
        name: the kernelspec of a fresh one; None for the gateway's default.
        place: where a fresh one is to work; None: where the gateway has it.

    Raises:
        InvalidInputError: an option or a setting is wrong.
        GatewayError: what opening it raises.
    """
    async with open_gateway(options) as gateway:
        if options.attach is not None:
            async with attached_kernel(options, gateway) as kernel:
                yield kernel
        else:
            async with _Placing(options, gateway, [] if place is None else [place]).start_kernel(
                name, cwd=None if place is None else place.directory
            ) as kernel:
                yield kernel


@asynccontextmanager
async def attached_kernel(options: Options, gateway: trio_gateway.Gateway) -> AsyncGenerator[trio_gateway.Kernel]:
    """Open the kernel of `--attach`, which stays.

    Raises:
        GatewayError: what opening it raises.
    """
    assert options.attach is not None
    async with gateway.attach_kernel(await find_kernel_id(gateway, options.attach)) as kernel:
        yield kernel


def placing(options: Options, gateway: trio_gateway.Gateway, places: Iterable[Place]) -> trio_gateway.Gateway:
    """Return a gateway whose fresh kernels work where they are wanted, or of which it is said that they do not.

    Args:
        options: for what is said.
        gateway: the gateway.
        places: the directories that kernels are started in.
    """
    return cast("trio_gateway.Gateway", _Placing(options, gateway, places))


class _Placing:
    """Stands for a gateway where kernels are started: by `start_kernel`, or by `kernels.prepare` and `start_prepared`."""

    def __init__(self, options: Options, gateway: trio_gateway.Gateway, places: Iterable[Place]) -> None:
        self._options = options
        self._gateway = gateway
        self._places = {place.directory: place for place in places}
        self._prepared: dict[str, Place] = {}  # by the ids of the kernels that are to be started
        self._checked = False
        resources = resources_of(options.resources)
        self._wanted: dict[str, Any] = {} if resources is None else {"resources": resources}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    @asynccontextmanager
    async def start_kernel(
        self, name: str | None = None, *, cwd: str | os.PathLike[str] | None = None, **arguments: Any
    ) -> AsyncGenerator[trio_gateway.Kernel]:
        """As the gateway's own; the kernel is put into its place.

        Raises:
            InvalidInputError: the kernel can't work in a directory that was asked for by name.
            GatewayError: as for the gateway's own.
        """
        await self._check()
        place = self._place(cwd)
        async with self._gateway.start_kernel(name, cwd=self._asked_for(place), **self._wanted, **arguments) as kernel:
            await self._put(kernel, place)
            yield kernel

    @property
    def kernels(self) -> Any:
        """What stands for the gateway's kernels."""
        return _PlacingKernels(self._gateway.kernels, self._prepare)

    def _prepare(self, name: str | None, *, cwd: str | os.PathLike[str] | None, **arguments: Any) -> StartRequest:
        place = self._place(cwd)
        request = self._gateway.kernels.prepare(name, cwd=self._asked_for(place), **self._wanted, **arguments)
        if place is not None:
            self._prepared[request.kernel_id] = place
        return request

    @asynccontextmanager
    async def start_prepared(self, request: StartRequest, **arguments: Any) -> AsyncGenerator[trio_gateway.Kernel]:
        """As the gateway's own; the kernel is put into its place.

        Raises:
            InvalidInputError: the kernel can't work in a directory that was asked for by name.
            GatewayError: as for the gateway's own.
        """
        await self._check()
        async with self._gateway.start_prepared(request, **arguments) as kernel:
            await self._put(kernel, self._prepared.pop(request.kernel_id, None))
            yield kernel

    async def _check(self) -> None:
        if self._options.has_gateway and not self._checked:
            await check_ready(self._gateway)
            self._checked = True

    def _place(self, cwd: str | os.PathLike[str] | None) -> Place | None:
        return None if cwd is None else self._places[Path(cwd)]

    def _asked_for(self, place: Place | None) -> Path | None:
        """Return the directory to ask the gateway for: another machine's may have no such one, unless it was named."""
        wanted = place is not None and (bool(place.option) or not self._options.has_gateway)
        return place.directory if place is not None and wanted else None

    async def _put(self, kernel: trio_gateway.Kernel, place: Place | None) -> None:
        if place is not None and self._options.has_gateway:
            await put_into_place(self._options, kernel, place)


class _PlacingKernels:
    """Stands for a gateway's kernels."""

    def __init__(self, kernels: Any, prepare: Callable[..., StartRequest]) -> None:
        self._kernels = kernels
        self.prepare = prepare

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernels, name)


async def check_ready(gateway: trio_gateway.Gateway) -> None:
    """Ask a gateway something harmless before a kernel is started there.

    What answers in place of a gateway that is away, or overloaded, says so now, and after a start nobody would know for sure
    whether there is a kernel, and would have to look for it.

    Raises:
        GatewayError: the gateway can't be reached, takes no requests now, or refuses us.
    """
    try:
        await gateway.kernelspecs.list()
    except (GatewayHTTPError, ProtocolError) as error:
        # Whatever else it says is about kernelspecs, which a gateway need not tell of.
        if isinstance(error, GatewayHTTPError) and error.status_code in _TAKES_NONE:
            raise


def require_gateway(options: Options) -> None:
    """Refuse a command that makes no sense on a gateway that has only just been started.

    Raises:
        click.UsageError: no gateway is configured.
    """
    options.check_gateway()
    if not options.has_gateway:
        raise click.UsageError(
            "No gateway is configured: give its address with --url or in JUPYTER_GATEWAY_URL, its name with --gateway; "
            "or a JupyterHub's address with --hub. "
            "A local gateway lives only as long as the command that starts it: it has no kernels to list or to attach to."
        )
