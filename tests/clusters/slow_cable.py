"""A bad cable: between a host and the switch each frame takes longer, and some are lost.

The one idea: the host's port leaves the switch for a small bridge of its own, and a process carries frames between the two. No
address and no socket of the host changes. (`tc netem` does this too, but many kernels of containers come without it.)

As a program, in the switch's namespace: `python slow_cable.py NAME DELAY LOSS SEED`.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["slow_cable"]

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
LARGEST = 65_536


@contextmanager
def slow_cable(switch: str, name: str, *, delay: float, loss: float, seed: int) -> Iterator[None]:
    """Have a bad cable at a port of the switch for a block.

    Args:
        switch: the switch's namespace.
        name: the port.
        delay: what each frame takes longer in each direction, in seconds.
        loss: which part of the frames is lost.
        seed: for the dice.
    """

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", "-n", switch, "link", *arguments], check=True, capture_output=True)

    command = ["ip", "netns", "exec", switch, sys.executable, __file__, name, str(delay), str(loss), str(seed)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as carrier:
        try:
            assert carrier.stdout is not None
            assert carrier.stdout.readline() == b"ready\n"
            ip("add", "name", f"s-{name}", "type", "bridge")
            ip("set", f"s-{name}", "up")
            ip("set", f"a-{name}", "master", f"s-{name}", "up")
            ip("set", f"b-{name}", "master", "bridge", "up")
            ip("set", name, "master", f"s-{name}")
            yield
        finally:
            ip("set", name, "master", "bridge")
            carrier.kill()
            ip("del", f"s-{name}")


def _tap(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


def _carry(name: str, delay: float, loss: float, dice: random.Random) -> None:
    """Carry frames until standard input ends, with who started this."""
    ends = [_tap(f"a-{name}"), _tap(f"b-{name}")]
    print("ready", flush=True)
    under_way: list[tuple[float, int, int, bytes]] = []
    number = 0
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        readable, _, _ = select.select([*ends, 0], [], [], wait)
        if 0 in readable:
            return
        for end in readable:
            frame = os.read(end, LARGEST)
            if dice.random() >= loss:
                number += 1
                heapq.heappush(under_way, (time.monotonic() + delay, number, ends[1 - ends.index(end)], frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, end, frame = heapq.heappop(under_way)
            try:
                os.write(end, frame)
            except OSError:  # the other side is down: a frame that is lost
                continue


if __name__ == "__main__":
    _carry(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), random.Random(int(sys.argv[4])))
