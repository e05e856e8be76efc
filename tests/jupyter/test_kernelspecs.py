"""Jupyter Server's kernelspecs, those of the gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from traitlets.config import LoggingConfigurable

from trio_gateway.jupyter import server

from .test_contract import check_table, does, is_, opened, refuses

if TYPE_CHECKING:
    from tools.face_tools import ListeningFake


def test_the_kernelspec_manager(fake_gateway: ListeningFake) -> None:
    """What looks at folders says that a gateway's kernelspecs have none; the list of those that are allowed counts."""

    class App(LoggingConfigurable):
        base_url = "/base/"
        kernel_manager: Any = None

    async def use() -> None:
        async with opened(fake_gateway) as mapping:
            app = App()
            app.kernel_manager = mapping
            specs = server.GatewayKernelSpecManager(parent=app)
            await check_table(
                {
                    "find_kernel_specs": refuses(),
                    "install_kernel_spec": refuses("folder"),
                    "install_native_kernel_spec": refuses(),
                    "remove_kernel_spec": refuses("python3"),
                    "get_all_specs": is_(dict),
                    "list_kernel_specs": is_(dict),
                    "get_kernel_spec": does("python3", gives=dict),
                },
                specs,
            )
            specs.allowed_kernelspecs = {"ir"}
            assert await specs.get_all_specs() == {}

    asyncio.run(use())
