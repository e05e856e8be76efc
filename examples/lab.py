"""JupyterLab through the proxy: `python examples/lab.py`. It needs the extras `local` and `proxy`, and jupyterlab.

Kernels run on the gateway; JupyterLab, here, only edits. Ctrl-C ends all of it.
"""

from __future__ import annotations

import os
import sys
from functools import partial

import trio

import trio_gateway
from trio_gateway import proxy

LAB = ("-m", "jupyter", "lab", "--no-browser", "--ServerApp.port_retries=50")


async def main() -> None:
    """Serve the proxy on a gateway of this block, and run JupyterLab on it for as long as it likes."""
    async with trio_gateway.open_local_gateway() as gateway, trio.open_nursery() as nursery:
        app = proxy.create_app(gateway)
        listening = await nursery.start(partial(proxy.serve, app, port=0))
        variables = {**os.environ, "JUPYTER_GATEWAY_AUTH_TOKEN": app.token or ""}
        command = [sys.executable, *LAB, *sys.argv[1:], "--gateway-url", listening.url]
        await trio.run_process(command, env=variables, check=False)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    try:
        trio.run(main)
    except KeyboardInterrupt:
        print("ended")
