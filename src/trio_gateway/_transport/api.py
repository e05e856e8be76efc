"""A gateway's REST interface, typed: one method for each request the library makes about kernels and kernelspecs.

The one idea: paths and bodies come from `_protocol.rest`, bytes go through `HttpClient`, and a 404 becomes the error that
says what was not found. No policy lives here: who owns a kernel, what is retried and what is cleaned up is decided above.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .._errors import GatewayHTTPError, KernelNotFoundError, KernelSpecNotFoundError
from .._models import KernelModel, KernelSpec, KernelSpecs
from .._protocol import rest
from .http import HttpClient, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KernelApi"]


class KernelApi:
    """Requests about kernels and kernelspecs.

    Every method raises GatewayConnectionError, GatewayTimeoutError, GatewayHTTPError, AuthenticationError and
    ProtocolError as `HttpClient.request` does. Cancelling one leaves open whether the gateway got the request.

    Args:
        http: the gateway's HTTP client.
    """

    __slots__ = ("_http",)

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def start(
        self, *, kernel_id: str, name: str | None, env: Mapping[str, str], path: str | None, timeout: float
    ) -> KernelModel:
        """Ask for a new kernel. The id is a wish: compare it with the model's (servers that honour it: see the wire notes).

        Args:
            kernel_id: the wished id, a UUID.
            name: the kernelspec; None for the gateway's default.
            env: the environment to send, exactly.
            path: the directory to start in, as the gateway's API path.
            timeout: seconds.
        """
        body: dict[str, Any] = {"kernel_id": kernel_id, "env": dict(env)}
        if name is not None:
            body["name"] = name
        if path is not None:
            body["path"] = path
        response = await self._http.request(
            "POST", self._kernels(), json=body, timeout=timeout, timeout_setting="launch_timeout", phase="kernel start"
        )
        return rest.parse_kernel(response.json(), kernel_id=kernel_id)

    async def list(self) -> list[KernelModel]:
        """List the kernels; a gateway may forbid it (403)."""
        return rest.parse_kernels((await self._http.request("GET", self._kernels())).json())

    async def get(self, kernel_id: str) -> KernelModel:
        """Return a kernel's model. Raises KernelNotFoundError."""
        return rest.parse_kernel((await self._kernel("GET", kernel_id)).json(), kernel_id=kernel_id)

    async def interrupt(self, kernel_id: str) -> None:
        """Interrupt a kernel. Raises KernelNotFoundError."""
        await self._kernel("POST", kernel_id, "interrupt")

    async def restart(self, kernel_id: str, *, timeout: float | None = None) -> KernelModel:
        """Restart a kernel; returns when it is back. Raises KernelNotFoundError."""
        response = await self._kernel("POST", kernel_id, "restart", timeout=timeout)
        return rest.parse_kernel(response.json(), kernel_id=kernel_id)

    async def shutdown(self, kernel_id: str) -> None:
        """Shut a kernel down. Raises KernelNotFoundError."""
        await self._kernel("DELETE", kernel_id)

    async def kernelspecs(self, *, user: str | None = None) -> KernelSpecs:
        """List the kernelspecs, for a user where the gateway filters by user."""
        path = rest.kernelspecs_path(self._http.config.kernelspecs_endpoint)
        params = {"user": user} if user else None
        return rest.parse_kernelspecs((await self._http.request("GET", path, params=params)).json())

    async def kernelspec(self, name: str, *, user: str | None = None) -> KernelSpec:
        """Return one kernelspec. Raises KernelSpecNotFoundError."""
        path = rest.kernelspec_path(self._http.config.kernelspecs_endpoint, name)
        params = {"user": user} if user else None
        try:
            return rest.parse_kernelspec((await self._http.request("GET", path, params=params)).json(), name)
        except GatewayHTTPError as error:
            if error.status_code == 404 and not isinstance(error, KernelSpecNotFoundError):
                raise KernelSpecNotFoundError(name, method="GET", url=error.url, message=error.message) from None
            raise

    def _kernels(self) -> str:
        return rest.kernels_path(self._http.config.kernels_endpoint)

    async def _kernel(
        self, method: str, kernel_id: str, action: str | None = None, *, timeout: float | None = None
    ) -> HttpResponse:
        path = rest.kernel_path(self._http.config.kernels_endpoint, kernel_id, action)
        with _not_found_names_kernel(kernel_id):
            return await self._http.request(method, path, timeout=timeout)


@contextmanager
def _not_found_names_kernel(kernel_id: str) -> Iterator[None]:
    try:
        yield
    except KernelNotFoundError:
        raise
    except GatewayHTTPError as error:
        if error.status_code == 404:
            raise KernelNotFoundError(kernel_id, method=error.method, url=error.url, message=error.message) from None
        raise
