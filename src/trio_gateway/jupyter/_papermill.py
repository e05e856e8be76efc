"""papermill's engine that runs notebooks on a gateway: `papermill --engine trio_gateway`."""

from __future__ import annotations

from typing import Any

from papermill.engines import NBClientEngine  # type: ignore[import-untyped]

__all__ = ["PapermillEngine"]


class PapermillEngine(NBClientEngine):  # type: ignore[misc] # papermill has no types
    """papermill's own engine, with kernels on the gateway of the variables `JUPYTER_GATEWAY_*`."""

    @classmethod
    def execute_managed_notebook(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, nb_man: Any, kernel_name: str, **arguments: Any
    ) -> Any:
        """Run a notebook. papermill calls this.

        Args:
            nb_man: papermill's manager of the notebook.
            kernel_name: the kernelspec.
            **arguments: as for papermill's own engine.
        """
        arguments.setdefault("kernel_manager_class", "trio_gateway.jupyter.GatewayKernelManager")
        return super().execute_managed_notebook(nb_man, kernel_name, **arguments)
