"""Servers other than the Kernel Gateway of the ordinary tests. Each is real. What can't be had on a machine is skipped."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from servers.enterprise import CannotBeHad, enterprise_python
from tools.gateway_fixtures import *  # noqa: F403 - pytest looks for fixtures and hooks in this module
from tools.ordinary_kernels import *  # noqa: F403 - likewise
from tools.serving import Server, serve


@pytest.fixture(scope="module")
def enterprise_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real Enterprise Gateway 3.3 with local kernels."""
    try:
        programs = enterprise_python().parent
    except CannotBeHad as error:
        pytest.skip(str(error))
    token = secrets.token_hex(16)
    environ = {
        "EG_AUTH_TOKEN": token,
        "EG_CLIENT_ENVS": "OTHER_CHAPTER",  # beside KERNEL_*; else it would hide that we send what is not to be sent
        "EG_LIST_KERNELS": "True",
        "EG_PORT_RETRIES": "0",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }

    def command(port: int) -> list[str]:
        return [str(programs / "jupyter-enterprisegateway"), "--ip=127.0.0.1", f"--port={port}"]

    folder = tmp_path_factory.mktemp("enterprise")
    with serve(command, folder, token=token, env=environ, without=("JUPYTER_", "KERNEL_", "EG_", "PYTHON")) as server:
        yield server
