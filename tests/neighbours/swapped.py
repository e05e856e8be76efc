"""A pytest plugin for another project's tests: they get our kernel managers, on a real Kernel Gateway, in place of their own.

`TRIO_GATEWAY_NEIGHBOUR` says whose tests they are; `compare.py` sets it, and runs the same tests without this plugin beside it.
Into the file `TRIO_GATEWAY_USES` goes how often a manager of ours was used: so nobody takes tests of other managers for ours.
Nothing here imports from the rest of our tests: it is loaded into an environment of the neighbour's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupyter_client
import jupyter_client.manager
import pytest

import trio_gateway.blocking
from trio_gateway.jupyter import BlockingGatewayKernelManager, GatewayKernelManager, _manager

_gateway = contextlib.ExitStack()
_uses: list[None] = []


def _swap_managers() -> None:
    """Where jupyter_client's own managers are looked up: by its package's names, and by those of `jupyter_client.manager`."""
    import nbclient.client  # noqa: F401 - its trait is of jupyter_client's class, of which ours are too

    for module in (jupyter_client, jupyter_client.manager):
        module.AsyncKernelManager = GatewayKernelManager  # type: ignore[attr-defined,misc]
        module.KernelManager = BlockingGatewayKernelManager  # type: ignore[attr-defined,misc]


def _swap_engine() -> None:
    """papermill's default engine is ours."""
    from papermill.engines import papermill_engines  # type: ignore[import-not-found]

    from trio_gateway.jupyter._papermill import PapermillEngine

    papermill_engines.register(None, PapermillEngine)
    papermill_engines.register("nbclient", PapermillEngine)


def _count_uses() -> None:
    opened = _manager.open_gateway

    def open_gateway(**settings: Any) -> Any:
        _uses.append(None)
        return opened(**settings)

    _manager.open_gateway = open_gateway  # type: ignore[assignment]


_SWAPS = {"nbclient": _swap_managers, "papermill": _swap_engine}


def pytest_configure(config: pytest.Config) -> None:
    """Start the gateway, and swap before the neighbour's tests import anything."""
    del config
    gateway = _gateway.enter_context(trio_gateway.blocking.open_local_gateway())
    os.environ["JUPYTER_GATEWAY_URL"] = gateway.url
    os.environ["JUPYTER_GATEWAY_AUTH_TOKEN"] = str(gateway.config.auth_token)
    _count_uses()
    _SWAPS[os.environ["TRIO_GATEWAY_NEIGHBOUR"]]()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_unconfigure() -> Iterator[None]:
    """End the gateway."""
    yield
    Path(os.environ["TRIO_GATEWAY_USES"]).write_text(str(len(_uses)))
    _gateway.close()
