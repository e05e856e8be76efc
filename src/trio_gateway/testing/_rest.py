"""The fake's REST interface: statuses and bodies as Kernel Gateway 3 has them.

The one idea: one function from a request to its answer. What the gateway *is* stands in `_state`; how bytes come and go, in
`_server`.
"""

from __future__ import annotations

import mimetypes
import re
import uuid
from collections.abc import Mapping
from typing import Final

import trio

from .._models import find_started
from ._http import FakeAnswer, FakeRequest, error, text_answer
from ._kernel import FakeKernel
from ._state import FakeSession, GatewayState

__all__ = ["answer_request", "refusal"]

_KERNEL_ID: Final = re.compile(r"\w+-\w+-\w+-\w+-\w+")


def refusal(gateway: GatewayState, request: FakeRequest) -> FakeAnswer | None:
    """Return why a request is refused: no token, or another one. None if it is let in."""
    if not gateway.token:
        return None
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    schemes = ("token", "bearer") if gateway.takes_bearer else ("token",)
    known = scheme.lower() if gateway.takes_bearer else scheme
    if request.query.get("token") == gateway.token or (known in schemes and token == gateway.token):
        return None
    return error(gateway.refusal_status, "")


async def answer_request(gateway: GatewayState, request: FakeRequest) -> FakeAnswer:
    """Answer a request that is let in, and no upgrade."""
    match (request.method, *request.segments):
        case ("GET", "api"):
            return FakeAnswer.of(200, {"version": "2.21.1"})
        case (method, "api", "kernelspecs", *rest):
            return _kernelspecs(gateway, method, rest)
        case ("GET", "kernelspecs", name, file):
            spec = gateway.find_kernelspec(name)
            content = None if spec is None else spec.resources.get(file)
            if content is None:
                return error(404, f"Resource not found: {file}")
            return text_answer(content, mimetypes.guess_type(file)[0] or "application/octet-stream")
        case (method, "api", "kernels", *rest):
            return await _kernels(gateway, request, method, rest)
        case (method, "api", "sessions", *rest):
            return await _sessions(gateway, request, method, rest)
        case _:
            return error(404)


def _kernelspecs(gateway: GatewayState, method: str, rest: list[str]) -> FakeAnswer:
    match (method, *rest):
        case ("GET",):
            models = {name: spec.model() for name, spec in gateway.kernelspecs.items()}
            return FakeAnswer.of(200, {"default": gateway.default_kernelspec, "kernelspecs": models})
        case ("GET", name):
            spec = gateway.find_kernelspec(name)
            return (
                error(404, f"Kernel spec {name} not found")
                if spec is None
                else FakeAnswer.of(200, {**spec.model(), "name": name})
            )
        case _:
            return error(405 if len(rest) < 2 else 404)


async def _kernels(gateway: GatewayState, request: FakeRequest, method: str, rest: list[str]) -> FakeAnswer:
    match (method, *rest):
        case ("GET",):
            if not gateway.list_kernels:
                return error(403)
            return FakeAnswer.of(200, [kernel.model() for kernel in gateway.kernels.values()])
        case ("POST",):
            made = await _start(gateway, request)
            if isinstance(made, FakeAnswer):
                return made
            headers = {"Location": f"{gateway.base_path}/api/kernels/{made.id}"}
            return FakeAnswer.of(201, made.model(), headers)
        case (_, kernel_id, *_) if not _KERNEL_ID.fullmatch(kernel_id):
            return error(404)
        case ("GET", kernel_id):
            kernel = gateway.kernels.get(kernel_id)
            return _unknown(kernel_id) if kernel is None else FakeAnswer.of(200, kernel.model())
        case ("DELETE", kernel_id):
            kernel = gateway.kernels.get(kernel_id)
            if kernel is None:
                return _unknown(kernel_id)
            gateway.remove_kernel(kernel)
            await trio.sleep(gateway.shutdown_seconds)
            return FakeAnswer(204)
        case ("POST", kernel_id, "interrupt"):
            kernel = gateway.kernels.get(kernel_id)
            if kernel is None:
                return _unknown(kernel_id)
            if kernel.is_cut_off:
                # As measured with gateway_provisioners: what speaks to the host has given the process up.
                return error(
                    500, "Internal Server Error", traceback="RuntimeError: Cannot interrupt kernel. No kernel is running!"
                )
            kernel.interrupts += 1
            kernel.interrupt()
            return FakeAnswer(204)
        case ("POST", kernel_id, "restart"):
            kernel = gateway.kernels.get(kernel_id)
            if kernel is None:
                # As measured: Kernel Gateway answers 500 here, not 404.
                return error(500, "Internal Server Error", traceback="KeyError")
            await kernel.restart_process()
            if kernel_id not in gateway.kernels:
                return error(500, "Internal Server Error", traceback="KeyError")
            return FakeAnswer.of(200, kernel.model())
        case _:
            return error(405 if len(rest) < 2 else 404)


def _unknown(kernel_id: str) -> FakeAnswer:
    return error(404, f"Kernel does not exist: {kernel_id}")


async def _start(gateway: GatewayState, request: FakeRequest) -> FakeKernel | FakeAnswer:
    try:
        body = request.json() or {}
    except ValueError:
        return error(400, "Invalid JSON in body of request")
    if not isinstance(body, Mapping):
        return error(400, "Invalid JSON in body of request")
    env = body.get("env", {})
    if not isinstance(env, Mapping):
        return error(400, "env is not an object")
    name = body.get("name") or gateway.default_kernelspec
    if not isinstance(name, str) or find_started(name, gateway.kernelspecs) is None:
        # As measured: Kernel Gateway answers 500 here, not 404.
        return error(500, f"No such kernel named {name}", traceback="NoSuchKernel")
    wanted = body.get("kernel_id") if gateway.takes_kernel_id else None
    if wanted in gateway.kernels:
        return gateway.kernels[wanted]
    if gateway.max_kernels is not None and len(gateway.kernels) >= gateway.max_kernels:
        return error(403, "Resource Limit")
    return await gateway.start_kernel(name, kernel_id=wanted, env=env)


async def _sessions(gateway: GatewayState, request: FakeRequest, method: str, rest: list[str]) -> FakeAnswer:
    sessions = gateway.sessions
    for gone in [key for key, session in sessions.items() if session.kernel.id not in gateway.kernels]:
        del sessions[gone]
    try:
        body = request.json() or {}
    except ValueError:
        return error(400, "Invalid JSON in body of request")
    match (method, *rest):
        case ("GET",):
            return error(403) if not gateway.list_kernels else FakeAnswer.of(200, [each.model() for each in sessions.values()])
        case ("POST",):
            known = next((each for each in sessions.values() if each.path == body.get("path")), None)
            if known is not None:
                return FakeAnswer.of(201, known.model())
            kernel_id = (body.get("kernel") or {}).get("id")
            if kernel_id in gateway.kernels:
                kernel = gateway.kernels[kernel_id]
            else:
                name = (body.get("kernel") or {}).get("name") or gateway.default_kernelspec
                if find_started(name, gateway.kernelspecs) is None:
                    return error(501, f"The '{name}' kernel is not available.")
                kernel = await gateway.start_kernel(name)
            made = str(uuid.UUID(gateway.new_hex()))
            path, title, kind = (body.get("path", ""), body.get("name", ""), body.get("type", "notebook"))
            session = FakeSession(made, path, title, kind, kernel)
            sessions[session.id] = session
            return FakeAnswer.of(201, session.model())
        case (_, session_id) if session_id not in sessions:
            return error(404, f"Session not found: session_id='{session_id}'")
        case ("GET", session_id):
            return FakeAnswer.of(200, sessions[session_id].model())
        case ("PATCH", session_id):
            session = sessions[session_id]
            session.path, session.name = body.get("path", session.path), body.get("name", session.name)
            session.type = body.get("type", session.type)
            return FakeAnswer.of(200, session.model())
        case ("DELETE", session_id):
            gateway.remove_kernel(sessions.pop(session_id).kernel)
            return FakeAnswer(204)
        case _:
            return error(405)
