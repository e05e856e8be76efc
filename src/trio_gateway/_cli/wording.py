"""What happened and what to do about it, in the words of the command. Pure: no printing here.

The one idea: the library's errors speak to programs, of arguments and settings; a person at a terminal has options and
variables, and another command to find out more.
"""

from __future__ import annotations

import functools
import re
from typing import Final

import attrs

from .._config import GatewayConfig
from .._errors import (
    AuthenticationError,
    ConfigError,
    ConfigProblem,
    ConnectionLostError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayInternalError,
    GatewayTimeoutError,
    HubServerNotRunningError,
    HubSpawnError,
    InvalidInputError,
    KernelNotFoundError,
    KernelSpecNotFoundError,
    KernelUnresponsiveError,
    ProtocolError,
    TokenCommandError,
)
from .exits import OutOfTimeError

__all__ = ["DOCTOR", "Failure", "describe", "more_about", "names_api_twice"]

DOCTOR: Final = "`trio-gateway doctor` goes the way to the gateway and to a kernel step by step, and says where it ends."

_OPTIONS: Final = {
    "url": "--url",
    "hub": "--hub",
    "user": "--hub-user",
    "server": "--hub-server",
    "gateway": "--gateway",
    "auth_token": "--token-file",
    "cwd": "--cwd",
    "name": "--kernel",
    "kernel_id": "ID",
    "code": "CODE",
    "notebook": "FILE",
    "output": "--output",
    "html": "--html",
    "images": "--images",
    "report": "--report",
    "parameters": "--parameters",
    "resources": "--resource",
    "allowed_origins": "--allow-origin",
    "allowed_hosts": "--allow-host",
    "base_path": "--base-path",
    "certfile": "--certfile",
    "port": "--port",
}
"""What stands at a terminal for an argument of the library."""
_VARIABLES: Final = {"KERNEL_WORKING_DIR": "--cwd"}
"""The same for variables that the command sends of its own accord."""
_BY_THE_PROGRAM: Final = re.compile(r" \(the argument [^)]*\)")
_OWN_SETTING: Final = re.compile(r"; the limit is the setting \w+|raise it on a slow machine; ")
_FOR_PROGRAMS: Final = {
    "attach_kernel()": "--attach",
    "start it with open_hub(), or in the hub's page": "start it in the hub's page",
    "all of open_hub() takes": "all of --hub takes",
    "; open_hub() takes": "; --hub takes",
    "; open_gateway() reaches another": "; --url reaches another",
    "(or give the url of a running gateway)": "or give the --url of one that runs",
}


@attrs.frozen
class Failure:
    """What went wrong."""

    type: str
    """The error's class, or another name for it that stays."""
    message: str
    """What happened."""
    advice: str = ""
    """What to do about it."""

    @property
    def lines(self) -> list[str]:
        """Both, for a person."""
        return [*(self.message.splitlines() or [self.type]), *self.advice.splitlines()]


def describe(error: Exception, *, local: bool = False) -> Failure:
    """Say what happened and what to do about it, also where the gateway is a local one of the command's own."""
    known = isinstance(error, (GatewayError, OutOfTimeError))
    message = _message(error) if known else f"{type(error).__name__}: {error}"
    return Failure(type(error).__name__, message, _advice(error, local=local))


def more_about(error: object) -> list[str]:
    """Return a line on where the documentation has more about an error; none for what a person mistyped: all of that is said."""
    if isinstance(error, GatewayError) and not isinstance(error, InvalidInputError):
        return [f"More in the documentation: {error.help_page}"]
    return []


def _message(error: Exception) -> str:
    match error:
        case ConfigError():
            told = [_problem(problem) for problem in error.problems]
            return (
                told[0]
                if len(told) == 1
                else "\n".join([f"{len(told)} settings can't be used:", *(f"  {each}" for each in told)])
            )
        case InvalidInputError():
            text = _translated(str(error).removeprefix(error.field))
            variable = re.fullmatch(r"env\['(\w+)'\]", error.field)
            if variable is not None:
                return f"{_VARIABLES.get(variable[1], f'the variable {variable[1]}')}{text}"
            return _OPTIONS.get(error.field, error.field) + text
        case GatewayTimeoutError() if _variables().get(error.setting) is None:
            return _OWN_SETTING.sub("", str(error))
        case GatewayTimeoutError():
            return str(error).replace(f"the setting {error.setting}", _variables()[error.setting])
        case _:
            return _translated(str(error))


def _problem(problem: ConfigProblem) -> str:
    variable = _variables().get(problem.field, problem.field)
    given = _OPTIONS.get(problem.field, variable) if problem.source == "argument" else problem.source
    rest = str(ConfigProblem("", problem.value, problem.expected, unknown=problem.unknown))
    return given + _translated(rest)


def _translated(text: str) -> str:
    for theirs, ours in _FOR_PROGRAMS.items():
        text = text.replace(theirs, ours)
    known = _variables()
    return re.sub(r"\b[a-z]+(?:_[a-z]+)+\b", lambda found: known.get(found[0], found[0]), _BY_THE_PROGRAM.sub("", text))


@functools.cache
def _variables() -> dict[str, str]:
    """Return each setting's environment variable, where it has one."""
    rows = GatewayConfig(url="http://127.0.0.1").describe()
    return {row.name: row.variable for row in rows if row.variable is not None}


def names_api_twice(error: GatewayHTTPError) -> bool:
    """Say whether nothing was found because the address ends in /api, which is added to it."""
    return error.status_code == 404 and "/api/api/" in error.url


def _advice(error: Exception, *, local: bool) -> str:
    if isinstance(error, GatewayHTTPError) and names_api_twice(error):
        wanted = error.url.partition("/api/api/")[0]
        where = f"That was asked at {error.url}; the address comes from --url, or else from JUPYTER_GATEWAY_URL."
        return f"Write the address without its last /api, which is added to it: {wanted}. {where}"
    match error:
        case ConfigError():
            return "`trio-gateway doctor` shows where each setting comes from."
        case AuthenticationError() if "/hub/api/" in error.url:
            page = f"{error.url.partition('/hub/api/')[0]}/hub/token"
            return f"Make a token at {page}, and give it in JUPYTER_GATEWAY_AUTH_TOKEN or with --token-file."
        case AuthenticationError():
            return f"Give the gateway's token in JUPYTER_GATEWAY_AUTH_TOKEN or with --token-file. {DOCTOR}"
        case HubServerNotRunningError():
            return f"Start it there, then try again; exec and run start one by themselves with --hub in place of --url. {DOCTOR}"
        case HubSpawnError():
            return "Start it in the hub's page to see more of it; the hub's administrators can read its log."
        case TokenCommandError():
            return "Run the command by hand to see what it says. Here it has no terminal and no standard input: it can't ask."
        case KernelSpecNotFoundError():
            return "Choose a kernel with --kernel NAME; `trio-gateway kernelspecs` lists them."
        case KernelNotFoundError():
            where = f" That was asked at {error.url}." if error.url else ""
            return f"`trio-gateway kernels` lists those that run.{where} {DOCTOR}"
        case ConnectionLostError():
            return f"The code may have run: it was not sent a second time. {DOCTOR}"
        case GatewayConnectionError() if local:
            return "A gateway that runs already is used where --url or JUPYTER_GATEWAY_URL names it."
        case GatewayConnectionError():
            source = "Its address comes from --url or --hub, or else from JUPYTER_GATEWAY_URL."
            return f"Is the gateway running there? {source} {DOCTOR}"
        case KernelUnresponsiveError():
            limit = f"Raise the limit with the environment variable {_variables()[error.setting]}, in seconds."
            return f"Is its host there? `trio-gateway kernels restart {error.kernel_id}` gives up what is in it. {limit}"
        case GatewayTimeoutError():
            variable = _variables().get(error.setting)
            return f"Raise the limit with the environment variable {variable}, in seconds. {DOCTOR}" if variable else DOCTOR
        case GatewayHTTPError() | ProtocolError():
            return DOCTOR
        case GatewayError() | OutOfTimeError() | OSError() if not isinstance(error, GatewayInternalError):
            return ""
        case _:
            return "This is a defect in trio-gateway: please report it, with what --debug shows."
