"""A proxy in a process of its own, in front of a fake gateway in another, with low limits; they end with their standard inputs.

The fake is not in the proxy's process: a kernel holds all that it has not yet looked at, and the proxy's memory is measured.
The proxy may have 1,024 files open, as a process has on most Linux machines. The first line that each prints is JSON, and says
where it listens.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import trio

import trio_gateway
from trio_gateway.proxy import create_app, serve
from trio_gateway.testing import FakeGateway

__all__ = ["FILES", "MAX_MESSAGE_SIZE", "TOKEN"]

TOKEN = "the-hostile-proxys-token"
FILES = 1024
MAX_MESSAGE_SIZE = 2**20


async def standard_input_ends() -> None:
    await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)


async def fake_gateway() -> None:
    async with FakeGateway() as fake, fake.listen() as url:
        print(json.dumps({"url": url, "token": fake.token}), flush=True)
        await standard_input_ends()


async def proxy(url: str, token: str) -> None:
    async with trio_gateway.open_gateway(url, auth_token=token) as gateway, trio.open_nursery() as nursery:
        app = create_app(gateway, token=TOKEN, max_message_size=MAX_MESSAGE_SIZE, header_seconds=2.0, body_seconds=2.0)
        listening = await nursery.start(partial(serve, app, port=0))
        kernels = [(await gateway.kernels.start("python3")).id for _ in range(2)]
        print(json.dumps({"port": listening.port, "kernels": kernels}), flush=True)
        await standard_input_ends()
        nursery.cancel_scope.cancel()


def main() -> None:
    import resource

    if sys.argv[1:] == ["--gateway"]:
        trio.run(fake_gateway)
        return
    with subprocess.Popen([sys.executable, __file__, "--gateway"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        told = json.loads(child.stdout.readline())
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        trio.run(partial(proxy, **told))
        child.stdin.close()
        assert child.wait(60) == 0


if __name__ == "__main__":
    main()
