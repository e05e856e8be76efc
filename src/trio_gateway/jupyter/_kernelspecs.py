"""Jupyter Server's kernelspecs: those of the gateway that the kernel manager has."""

# The server awaits what its managers' methods give, and the annotations of their synchronous base classes don't say so.
# mypy: disable-error-code="override"
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import attrs
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_server.utils import url_path_join
from tornado import web

from .._gateway.gateway import Gateway
from .._models import KernelSpec
from ._errors import NotOnAGatewayError
from ._http_errors import as_http

__all__ = ["GatewayKernelSpecManager"]


class GatewayKernelSpecManager(KernelSpecManager):
    """Jupyter Server's `kernel_spec_manager_class`: the kernelspecs of the gateway that the kernel manager has."""

    async def _gateway(self) -> Gateway:
        server: Any = self.parent
        gateway: Gateway = await server.kernel_manager.gateway()
        return gateway

    async def get_all_specs(self) -> dict[str, Any]:
        """Give all kernelspecs; the gateway's default becomes the server's."""
        kernelspecs: dict[str, Any] = (await self.list_kernel_specs())["kernelspecs"]
        return kernelspecs

    async def list_kernel_specs(self) -> dict[str, Any]:
        """Give all kernelspecs that the trait `allowed_kernelspecs` lets through, and the name of the gateway's default.

        Returns:
            `kernelspecs`, by name, and `default`.
        """
        with as_http():
            specs = await (await self._gateway()).kernelspecs.list()
        server: Any = self.parent
        if specs.default is not None:
            server.kernel_manager.default_kernel_name = specs.default
        allowed = self.allowed_kernelspecs or specs.kernelspecs
        kernelspecs = {name: self._as_json(spec) for name, spec in specs.kernelspecs.items() if name in allowed}
        return {"default": specs.default, "kernelspecs": kernelspecs}

    def find_kernel_specs(self) -> NoReturn:
        """Raise NotOnAGatewayError: a gateway's kernelspecs have no folders here."""
        raise NotOnAGatewayError("find_kernel_specs", "a gateway's kernelspecs have no folders here; await get_all_specs()")

    def install_native_kernel_spec(self, *arguments: Any, **more: Any) -> NoReturn:
        """Raise NotOnAGatewayError: a gateway's kernelspecs are its administrator's."""
        del arguments, more
        raise NotOnAGatewayError("install_native_kernel_spec", "kernelspecs are installed on the gateway, by its administrator")

    def install_kernel_spec(self, *arguments: Any, **more: Any) -> NoReturn:
        """Raise NotOnAGatewayError: a gateway's kernelspecs are its administrator's."""
        del arguments, more
        raise NotOnAGatewayError("install_kernel_spec", "kernelspecs are installed on the gateway, by its administrator")

    def remove_kernel_spec(self, name: str) -> NoReturn:
        """Raise NotOnAGatewayError: a gateway's kernelspecs are its administrator's."""
        del name
        raise NotOnAGatewayError("remove_kernel_spec", "kernelspecs are removed on the gateway, by its administrator")

    async def get_kernel_spec(self, kernel_name: str, **arguments: Any) -> dict[str, Any]:
        """Give one kernelspec.

        Raises:
            NoSuchKernel: the gateway has none of this name. It is a `KeyError`.
        """
        del arguments
        try:
            with as_http():
                return self._as_json(await (await self._gateway()).kernelspecs.get(kernel_name))
        except web.HTTPError as error:
            if error.status_code == 404:
                raise NoSuchKernel(kernel_name) from error
            raise

    async def get_kernel_spec_resource(self, kernel_name: str, path: str) -> bytes:
        """Give a file of a kernelspec, such as its logo.

        Raises:
            tornado.web.HTTPError: 404: there is none.
        """
        with as_http():
            return (await (await self._gateway()).kernelspecs.resource(kernel_name, path)).content

    def _as_json(self, spec: KernelSpec) -> dict[str, Any]:
        server: Any = self.parent
        resources = {
            key: url_path_join(server.base_url, "kernelspecs", path.rsplit("/kernelspecs/", 1)[-1])
            for key, path in spec.resources.items()
        }
        fields = attrs.asdict(spec, recurse=False)
        known = {name: fields[name] for name in ("env", "display_name", "language", "interrupt_mode", "metadata")}
        return {
            "name": spec.name,
            "spec": {"argv": list(spec.argv), **{name: _plain(value) for name, value in known.items()}},
            "resources": resources,
        }


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
