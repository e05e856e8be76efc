"""A pytest plugin for another project's tests: they get our kernel managers, on a real Kernel Gateway, in place of their own.

`TRIO_GATEWAY_NEIGHBOUR` says whose tests they are; `compare.py` sets it, and runs the same tests beside it with the neighbour's
own managers. jupyter_server's own are to be those of `jupyter_server.gateway`, on such a gateway too: it has this plugin in both
runs, and `TRIO_GATEWAY_SIDE` says in which it is, `own` or `ours`.

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

LIMIT = 20
"""For a test of jupyter_server's, in seconds."""

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


def _serve_a_gateway() -> None:
    """Every server has the classes for a gateway, whatever a test's configuration says of others; theirs become ours."""
    import jupyter_server.gateway.connections
    import jupyter_server.gateway.managers
    from jupyter_server.serverapp import ServerApp

    if os.environ["TRIO_GATEWAY_SIDE"] == "ours":
        from trio_gateway.jupyter import _mapping, server

        for module in (jupyter_server.gateway.connections, jupyter_server.gateway.managers):
            for name in server.__all__:
                if hasattr(module, name):
                    setattr(module, name, getattr(server, name))
        _count(_mapping)

    init_configurables: Any = ServerApp.init_configurables

    def init_with_a_gateway(app: Any) -> None:
        managers = jupyter_server.gateway.managers
        app.kernel_manager_class = managers.GatewayMappingKernelManager
        app.kernel_spec_manager_class = managers.GatewayKernelSpecManager
        app.session_manager_class = managers.GatewaySessionManager
        app.kernel_websocket_connection_class = jupyter_server.gateway.connections.GatewayWebSocketConnection
        init_configurables(app)

    ServerApp.init_configurables = init_with_a_gateway  # type: ignore[method-assign]


def _count(module: Any) -> None:
    """Count how often a module opens a gateway."""
    opened = module.open_gateway

    def open_gateway(**settings: Any) -> Any:
        _uses.append(None)
        return opened(**settings)

    module.open_gateway = open_gateway


_SWAPS = {"nbclient": _swap_managers, "papermill": _swap_engine, "jupyter_server": _serve_a_gateway}


def pytest_configure(config: pytest.Config) -> None:
    """Start the gateway, and swap before the neighbour's tests import anything."""
    del config
    gateway = _gateway.enter_context(trio_gateway.blocking.open_local_gateway())
    os.environ["JUPYTER_GATEWAY_URL"] = gateway.url
    os.environ["JUPYTER_GATEWAY_AUTH_TOKEN"] = str(gateway.config.auth_token)
    _count(_manager)
    _SWAPS[os.environ["TRIO_GATEWAY_NEIGHBOUR"]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of jupyter_server's fails when it takes longer than `LIMIT`, whatever it says itself: some wait for ever."""
    if os.environ["TRIO_GATEWAY_NEIGHBOUR"] == "jupyter_server":
        for item in items:
            item.add_marker(pytest.mark.timeout(LIMIT, method="signal"), append=False)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_unconfigure() -> Iterator[None]:
    """End the gateway."""
    yield
    Path(os.environ["TRIO_GATEWAY_USES"]).write_text(str(len(_uses)))
    _gateway.close()
