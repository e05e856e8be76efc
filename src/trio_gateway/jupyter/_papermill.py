"""papermill's engine that runs notebooks on a gateway: `papermill --engine trio_gateway`.

papermill loads it by its entry point, in the middle of its own import: so papermill is imported when the engine is asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["PapermillEngine"]


def _own_engine() -> Any:
    from papermill.engines import NBClientEngine  # type: ignore[import-untyped]

    return NBClientEngine


def _asked_directory() -> str | None:
    """Give the directory of papermill's `--cwd`; None without it.

    papermill does not tell its engines: it changes this process's directory, which local kernels inherit. Where the process was
    before, it goes on to look for its own files, and that it tells.
    """
    from papermill.iorw import papermill_io  # type: ignore[import-untyped]

    now = str(Path.cwd())
    files: Any = papermill_io.get_handler("local")
    if not hasattr(files, "cwd"):
        return None
    before = files.cwd(now)
    files.cwd(before)
    return now if before is not None and Path(before) != Path(now) else None


class PapermillEngine:
    """papermill's own engine, with kernels on the gateway of the variables `JUPYTER_GATEWAY_*`."""

    @staticmethod
    def execute_notebook(nb: Any, kernel_name: str, **arguments: Any) -> Any:
        """Run a notebook. papermill calls this.

        Args:
            nb: the notebook.
            kernel_name: the kernelspec.
            **arguments: as for papermill's own engine.
        """
        arguments.setdefault("kernel_manager_class", "trio_gateway.jupyter.GatewayKernelManager")
        directory = _asked_directory()
        if directory is not None:
            arguments.setdefault("resources", {"metadata": {"path": directory}})
        return _own_engine().execute_notebook(nb, kernel_name, **arguments)

    @staticmethod
    def nb_kernel_name(nb: Any, name: str | None = None) -> Any:
        """Say which kernelspec a notebook wants. papermill calls this."""
        return _own_engine().nb_kernel_name(nb, name)

    @staticmethod
    def nb_language(nb: Any, language: str | None = None) -> Any:
        """Say which language a notebook is in. papermill calls this."""
        return _own_engine().nb_language(nb, language)
