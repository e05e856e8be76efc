"""What the proxy says to front ends, in the JSON that Jupyter servers speak and `@jupyterlab/services` checks. Pure.

The one idea: models become dictionaries here, and errors become a status and a body; nothing of the gateway's address, its
credentials or our own insides is in either.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from .._errors import (
    AuthenticationError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    HubServerNotRunningError,
    InvalidInputError,
    KernelNotFoundError,
    KernelSpecNotFoundError,
    SessionNotFoundError,
    TokenCommandError,
)
from .._models import KernelModel, KernelSpec, KernelSpecs, SessionModel

__all__ = ["error_of", "kernel_json", "kernelspec_json", "kernelspecs_json", "session_json", "time_text"]


def time_text(moment: datetime) -> str:
    """Return a time as Jupyter servers write it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def kernel_json(model: KernelModel) -> dict[str, Any]:
    """Return a kernel's model."""
    body: dict[str, Any] = {
        "id": model.id,
        "name": model.name,
        "execution_state": model.execution_state,
        "connections": model.connections or 0,
    }
    if model.last_activity is not None:
        body["last_activity"] = time_text(model.last_activity)
    return body


def kernelspec_json(spec: KernelSpec, base_path: str, gateway_prefix: str) -> dict[str, Any]:
    """Return a kernelspec's model, whose files are here.

    Args:
        spec: the kernelspec.
        base_path: where everything of the proxy begins.
        gateway_prefix: where kernelspecs' folders are on the gateway.
    """
    folder = f"{gateway_prefix.rstrip('/')}/{quote(spec.name, safe='')}/"
    ours = f"{base_path}kernelspecs/{quote(spec.name, safe='')}/"
    return {
        "name": spec.name,
        "spec": {
            "argv": list(spec.argv),
            "env": dict(spec.env),
            "display_name": spec.display_name or spec.name,
            "language": spec.language,
            "interrupt_mode": spec.interrupt_mode,
            "metadata": dict(spec.metadata),
        },
        "resources": {key: ours + path.removeprefix(folder) for key, path in spec.resources.items() if path.startswith(folder)},
    }


def kernelspecs_json(specs: KernelSpecs, base_path: str, gateway_prefix: str) -> dict[str, Any]:
    """Return all kernelspecs. A front end wants a default: the first one is it where the gateway names none."""
    return {
        "default": specs.default or next(iter(sorted(specs.kernelspecs)), ""),
        "kernelspecs": {name: kernelspec_json(spec, base_path, gateway_prefix) for name, spec in specs.kernelspecs.items()},
    }


def session_json(session: SessionModel) -> dict[str, Any]:
    """Return a session's model."""
    body: dict[str, Any] = {
        "id": session.id,
        "path": session.path,
        "name": session.name,
        "type": session.type,
        "kernel": kernel_json(session.kernel),
    }
    if session.type == "notebook":
        body["notebook"] = {"path": session.path, "name": session.name}  # what old front ends look at
    return body


def error_of(error: GatewayError) -> tuple[int, str]:
    """Return the status and the words for an error of the library's.

    What a gateway says in its 4xx is for the front end that asked. Its 401 is about the proxy's own credentials, which is
    nobody's business here, and so is what it says when it breaks.
    """
    match error:
        case KernelNotFoundError():
            return 404, f"Kernel does not exist: {error.kernel_id}"
        case KernelSpecNotFoundError() | SessionNotFoundError():
            return 404, str(error)
        case InvalidInputError():
            return 400, str(error)
        case AuthenticationError(status_code=403):
            return 403, error.message or "the gateway forbids it"
        case AuthenticationError():
            return 502, "the gateway refuses the proxy's credentials"
        case HubServerNotRunningError():
            return 503, "the gateway is a JupyterHub's server, and is not running"
        case TokenCommandError() | GatewayTimeoutError(setting="token_command_timeout"):
            return 502, "the proxy has no token for the gateway"
        case GatewayHTTPError() if 400 <= error.status_code < 500:
            return error.status_code, error.message or error.reason
        case GatewayHTTPError():
            return 502, f"the gateway answered {error.status_code}"
        case GatewayTimeoutError():
            return 504, f"the gateway took too long ({error.phase}, more than {error.limit:g} s)"
        case GatewayConnectionError():
            return 502, "the gateway can't be reached"
        case _:
            return 502, "the gateway's answer can't be understood"
