"""A proxy in a process of its own, in front of a fake gateway, with low limits; it ends with its standard input.

It may have 1,024 files open, as a process has on most Linux machines. The first line that it prints says where it listens.
"""

from __future__ import annotations

import json
import sys
from functools import partial

import trio

from trio_gateway.proxy import create_app, serve
from trio_gateway.testing import FakeGateway

__all__ = ["FILES", "MAX_MESSAGE_SIZE", "TOKEN"]

TOKEN = "the-hostile-proxys-token"
FILES = 1024
MAX_MESSAGE_SIZE = 2**20


async def main() -> None:
    async with FakeGateway() as fake, fake.open() as gateway, trio.open_nursery() as nursery:
        app = create_app(gateway, token=TOKEN, max_message_size=MAX_MESSAGE_SIZE, header_seconds=2.0, body_seconds=2.0)
        listening = await nursery.start(partial(serve, app, port=0))
        kernels = [(await gateway.kernels.start("python3")).id for _ in range(2)]
        print(json.dumps({"port": listening.port, "kernels": kernels}), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    trio.run(main)
