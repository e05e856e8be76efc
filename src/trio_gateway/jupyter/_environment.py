"""What Jupyter's own tools say of a gateway, and which variables go along with a start that they ask for.

The one idea: to jupyter_client, `env` is the whole environment of a process on this machine, so callers write
`env=dict(os.environ, X="1")`, and Jupyter Server does. A gateway is another machine, and nobody who writes so wants to send it
all that this process was given, passwords included. What is sent is what somebody has meant for a kernel: what the caller has
added or changed, the `KERNEL_*` variables of this process, which are the gateways' own convention, and what `allowed_envs` names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final, cast

from .._config import GatewayConfig, hidden_settings
from .._errors import ConfigError, ConfigProblem, InvalidInputError
from .._gateway.starting import KERNEL_VARIABLES, Inherited, check_variable, is_named
from .._secret import Secret

__all__ = ["NAME_HELP", "SESSION_NAME", "absolute_directory", "choose_directory", "choose_variables", "opened_by"]

NAME_HELP: Final = "The gateway's name in the file of gateways, in place of url; `trio-gateway gateways` lists them."
SESSION_NAME: Final = "JPY_SESSION_NAME"
"""The notebook's path, which Jupyter Server adds for the kernel of a session."""


def opened_by(
    name: str, url: str, auth_token: str, settings: Mapping[str, Any]
) -> tuple[tuple[GatewayConfig, ...], dict[str, Any]]:
    """Return the arguments of `open_gateway` that a manager's traits make.

    Args:
        name: the gateway's name in the file of gateways; `""` for none.
        url: its URL; `""` for the environment's.
        auth_token: its token; `""` for the environment's.
        settings: other settings.

    Raises:
        ConfigError: there is no gateway of this name, or its settings can't be used.
    """
    given: dict[str, Any] = dict(hidden_settings(cast("Any", settings)))
    if url:
        given["url"] = url
    if auth_token:
        given["auth_token"] = Secret.of(auth_token)
    if not name:
        return (), given
    if "url" in given:
        raise ConfigError([ConfigProblem("url", url or None, f"nothing, where gateway_name is {name!r}: the file has its URL")])
    return (GatewayConfig.from_file(name, **given),), {}


def choose_variables(
    env: object, environ: Mapping[str, str], warn: Callable[[str], object], *, only: Collection[str] | None = None
) -> Any:
    """Return what is to be sent of an `env` as jupyter_client's callers give it; what is no mapping is returned as it is.

    What `allowed_envs` names is not in it where it is the same as in this process's environment: it is sent anyway.

    Args:
        env: what the caller gave.
        environ: this process's environment. What `env` has in common with it is not sent, but for `KERNEL_*`.
        warn: called for each variable that is left out because no gateway takes it. What only some don't take is marked, and left
            out when the gateway is known.
        only: the names that are sent beside `KERNEL_*`, where the caller is known to give its whole environment; what can't be
            sent of them is left out too. None: whatever the caller has added or changed, and it is an error if it can't be sent.
    """
    if env is not None and not isinstance(env, Mapping):
        return env  # whose error it is, is said where it is sent
    given: Mapping[Any, Any] = env or {}
    own = ((name, value) for name, value in environ.items() if is_named(name, (KERNEL_VARIABLES,)))
    chosen: dict[Any, Any] = {name: Inherited(value) for name, value in own if _can_be_sent(name, value, warn)}
    for name, value in given.items():
        if name in environ and environ[name] == value:
            continue
        if only is None or ((str(name).startswith("KERNEL_") or is_named(name, only)) and _can_be_sent(name, value, warn)):
            chosen[name] = value if only is None or not isinstance(value, str) else Inherited(value)
    return chosen


def absolute_directory(cwd: Any) -> Any:
    """Return a directory's absolute path: relative ones are relative to this process's. What is no path is returned as it is."""
    return str(Path(cwd).absolute()) if cwd and isinstance(cwd, (str, os.PathLike)) else cwd


def choose_directory(cwd: Any, warn: Callable[[str], object]) -> Any:
    """Return the directory to send, marked so that it may be left out; None for one whose path no gateway takes.

    Jupyter's tools give the notebook's folder without being asked. That is no reason to start no kernel for it.

    Args:
        cwd: what the caller gave.
        warn: told if it is left out.
    """
    if not isinstance(cwd, str):
        return cwd
    return Inherited(cwd) if _can_be_sent("KERNEL_WORKING_DIR", cwd, warn) else None


def _can_be_sent(name: str, value: object, warn: Callable[[str], object]) -> bool:
    try:
        check_variable(name, value)
    except InvalidInputError as error:
        warn(f"a variable is not sent to the gateway: {error}")
        return False
    return True
