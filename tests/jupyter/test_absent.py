"""What no kernel on a gateway has says so."""

from __future__ import annotations

import pytest
from tornado import web

from trio_gateway.jupyter import (
    NotOnAGatewayError,
)

from .manager_kit import App, Fake, with_app


def test_what_no_kernel_on_a_gateway_has(fake: Fake) -> None:
    """Asked for by the kernel's id, at the mapping manager: a typed error that says why."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        kernel_id = await manager.start_kernel(kernel_name="python3")
        for ask in (manager.get_connection_info, manager.connect_iopub, manager.connect_shell, manager.connect_hb):
            with pytest.raises(NotOnAGatewayError, match=r"client\(\)"):
                ask(kernel_id)
        with pytest.raises(NotOnAGatewayError, match="SIGINT"):
            await manager.signal_kernel(kernel_id, 15)
        with pytest.raises(NotOnAGatewayError, match="get_all_specs"):
            app.kernel_spec_manager.find_kernel_specs()
        manager.transport_encryption = "required"
        with pytest.raises(web.HTTPError, match="CurveZMQ"):
            await manager.start_kernel(kernel_name="python3")

    with_app(fake, use)
