"""What is asked of a gateway when a kernel is started: the checked arguments and the environment that goes with them.

The one idea: what every gateway would refuse is refused here, before anything is sent, with the argument's name (guarantee G10).
What only some refuse, `restrictions` looks at.
"""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Final

import attrs

from .._config import GatewayConfig
from .._errors import InvalidInputError
from .._kernel_resources import KernelResources
from .._secret import Secret, Unshown, hide_values

__all__ = [
    "KERNEL_VARIABLES",
    "Inherited",
    "PathFinder",
    "StartRequest",
    "can_be_kernel_id",
    "check_variable",
    "checked_directory",
    "is_named",
    "new_kernel_id",
    "prepare_start",
    "start_environment",
]

_logger = logging.getLogger("trio_gateway.kernels")

KERNEL_VARIABLES: Final = "KERNEL_*"
"""What names all variables that say to a gateway how a kernel is to be."""
# These are settings, which are read from the variables of the same names; a setting that is given otherwise wins over them.
_SETTINGS: Final = frozenset({"KERNEL_ID", "KERNEL_LAUNCH_TIMEOUT", "KERNEL_USERNAME"})
_UNSENDABLE: Final = re.compile("[\0\ud800-\udfff]")
"""NUL, and halves of a surrogate pair, which UTF-8 has no bytes for."""

PathFinder = Callable[[str | None, str | None], str | None]
"""Makes the `path` of a start request out of a caller's `cwd` and `path`, for a gateway on this machine."""


class Inherited(Secret):
    """A variable's value that nobody has written for this kernel: the process was given it.

    Where a gateway does not take it, it is left out, with a warning in the log, as it must not keep every kernel from starting.
    """

    __slots__ = ()


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
    origins: Mapping[str, str] = attrs.field(factory=dict)
    """Which argument a variable comes from, where that is not `env`."""


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
    resources: KernelResources | None = None,
) -> dict[str, str]:
    """Return the environment to send with a start request.

    It is always sent, if only an empty one: a gateway that gets none may use what another request has just asked for.

    Args:
        config: gives `allowed_envs`, `kernel_username` and a configured `launch_timeout`.
        kernel_id: sent as `KERNEL_ID`, which is how Enterprise Gateway takes it.
        env: what the caller asks for.
        environ: this process's environment, of which `allowed_envs` are taken, as `Inherited`. One that no gateway takes is left
            out, with a warning in the log.
        launch_timeout: what the caller asks for, in seconds; sent as `KERNEL_LAUNCH_TIMEOUT`.
        cwd: the directory on the kernel's host; sent as `KERNEL_WORKING_DIR`.
        resources: what the kernel gets of a cluster; beats `allowed_envs`, as whatever is asked for does.

    Raises:
        InvalidInputError: a name or value of `env` that no gateway takes; or `env` and `resources` say the same variable.
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
    if resources is not None:
        for name, field, value in resources.entries():
            if env is not None and name in env:
                raise InvalidInputError(f"resources.{field}", getattr(resources, field), f"None where env has {name}")
            sent[name] = value
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
            found[name] = Inherited(environ[name])
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
    """See that a variable can be sent with a start request: that no gateway is known not to take it.

    Args:
        name: its name.
        value: what it holds; the error does not show it.

    Raises:
        InvalidInputError: no gateway could give it to a kernel.
    """
    if not isinstance(name, str) or not name or "=" in name or _UNSENDABLE.search(name):
        raise InvalidInputError("env", name, 'names (str) that are not empty and without "=" and NUL')
    field = f"env[{name!r}]"
    # Values may be secrets: the error names the variable and not what it holds.
    if not isinstance(value, str):
        raise InvalidInputError(field, type(value).__name__, "text (str)")
    found = _UNSENDABLE.search(value)
    if found is not None:
        what = "NUL" if found[0] == "\0" else "a lone surrogate"
        raise InvalidInputError(field, f"a value with {what}", "text that can be encoded as UTF-8, without NUL")


def prepare_start(
    config: GatewayConfig,
    name: str | None,
    *,
    env: Mapping[str, str] | None,
    cwd: str | os.PathLike[str] | None,
    path: str | None,
    launch_timeout: float | None,
    kernel_id: str | None = None,
    resources: KernelResources | None = None,
    find_path: PathFinder | None = None,
) -> StartRequest:
    """Check the arguments of a start, which are those of `Kernels.start`, and make the request out of them.

    Args:
        config: the gateway's configuration.
        name: the kernelspec; None for the gateway's default.
        env: variables for the kernel.
        cwd: the directory it works in, on the kernel's host.
        path: the same, as the gateway's API path.
        launch_timeout: how long the start may take, in seconds, in place of the setting.
        kernel_id: the id to ask for; a new one if None.
        resources: what the kernel gets of a cluster.
        find_path: makes the path out of both, for a gateway on this machine.

    Raises:
        InvalidInputError: an argument can't be used.
    """
    env = hide_values(env)
    kernel_id = new_kernel_id() if kernel_id is None else _checked_kernel_id(kernel_id)
    directory = None if cwd is None else checked_directory(cwd)
    if directory is not None and path is not None:
        raise InvalidInputError("path", path, "None when cwd is given: both name the kernel's directory")
    if path is not None and (not isinstance(path, str) or _UNSENDABLE.search(path)):
        raise InvalidInputError("path", path, "a folder's path, relative to the gateway's root")
    if name is not None and (not isinstance(name, str) or not name):
        raise InvalidInputError("name", name, "a kernelspec's name, or None for the gateway's default")
    if launch_timeout is not None and (isinstance(launch_timeout, (bool, str)) or not launch_timeout > 0):
        raise InvalidInputError("launch_timeout", launch_timeout, "seconds, more than 0")
    if resources is not None and not isinstance(resources, KernelResources):
        raise InvalidInputError("resources", resources, "a KernelResources, or None")
    if find_path is not None:
        path, directory = find_path(directory, path), None
    environment = start_environment(
        config, kernel_id, env, Unshown(os.environ), launch_timeout=launch_timeout, cwd=directory, resources=resources
    )
    origins = {} if resources is None else {name: f"resources.{field}" for name, field, _ in resources.entries()}
    if directory is not None and "KERNEL_WORKING_DIR" not in (env or {}):
        origins["KERNEL_WORKING_DIR"] = "cwd"
    timeout = config.request_timeout_for(launch_timeout)
    return StartRequest(kernel_id, name, environment, path, timeout, origins)


def can_be_kernel_id(kernel_id: str) -> bool:
    """Say whether any gateway can take an id: Enterprise Gateway refuses others, when it is too late to say so."""
    try:
        return str(uuid.UUID(kernel_id, version=4)) == kernel_id
    except ValueError:
        return False


def _checked_kernel_id(kernel_id: object) -> str:
    if isinstance(kernel_id, str) and can_be_kernel_id(kernel_id):
        return kernel_id
    raise InvalidInputError("kernel_id", kernel_id, "a random UUID (version 4) in its usual form")


def checked_directory(cwd: object) -> str:
    """Return a directory's path as text.

    Raises:
        InvalidInputError: it is none.
    """
    directory: object = os.fspath(cwd) if isinstance(cwd, (str, os.PathLike)) else cwd
    if not isinstance(directory, str) or not directory or _UNSENDABLE.search(directory):
        raise InvalidInputError("cwd", cwd, "a directory's path")
    return directory
