"""papermill's engine that runs notebooks on a gateway: `papermill --engine trio_gateway`.

papermill loads it by its entry point, in the middle of its own import: so papermill is imported when a notebook is run.
"""

from __future__ import annotations

from typing import Any

__all__ = ["PapermillEngine"]


class PapermillEngine:
    """papermill's own engine, with kernels on the gateway of the variables `JUPYTER_GATEWAY_*`."""

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, **arguments: Any) -> Any:
        """Run a notebook. papermill calls this.

        Args:
            nb: the notebook.
            kernel_name: the kernelspec.
            **arguments: as for papermill's own engine.
        """
        from papermill.engines import NBClientEngine  # type: ignore[import-untyped]

        arguments.setdefault("kernel_manager_class", "trio_gateway.jupyter.GatewayKernelManager")
        return NBClientEngine.execute_notebook(nb, kernel_name, **arguments)
