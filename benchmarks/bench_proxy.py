"""What the proxy costs a front end, beside jupyter_server's own gateway proxy, and beside no proxy at all; in one run, in turns.

The front end is a bare socket with a parser of frames, the same for all. The gateway has one core, the front end and the proxy
share another, so whoever spends less on a message leaves more to the rest. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections import defaultdict
from collections.abc import Callable, Generator
from pathlib import Path
from urllib.parse import urlsplit

from trio_gateway import Header, Message
from trio_gateway._protocol import codec
from trio_gateway._protocol.frames import BINARY, TEXT, FrameParser, small_frame, xor_mask

from . import environments
from .servers import fast_gateway, real_gateway

V1 = codec.V1_SUBPROTOCOL
PEER = "jupyter-server"
FLOOD = "# bench: print {0} 100\nimport sys\nfor _ in range({0}):\n    print('x' * 99)\n    sys.stdout.flush()"
LINE = b"x" * 79
PATIENCE = 60.0
"""How long anything may take, in seconds."""


class FrontEnd:
    """A kernel's channels on a blocking socket, in the framing that the server selects."""

    def __init__(self, url: str, kernel_id: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(
            f"GET {parts.path.rstrip('/')}/api/kernels/{kernel_id}/channels?session_id={uuid.uuid4().hex} HTTP/1.1\r\n"
            f"Host: {parts.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: {V1}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._read()
        head, _, self._first = head.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(f"the WebSocket was refused: {head!r}")
        self._v1 = V1.encode() in head
        self._parser = FrameParser(2**30)

    def _read(self) -> bytes:
        data = self._socket.recv(256 * 1024)
        if not data:
            raise RuntimeError("the connection was closed")
        # A gateway that has not switched Nagle's algorithm off waits up to 40 ms for a lazy client's acknowledgement.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data

    def execute(self, code: str) -> tuple[int, int]:
        """Run code; return how many messages came until the reply and the end of it had come, and how many lines were in them."""
        header = Header(uuid.uuid4().hex, "execute_request", "bench", "ada", "2026-01-01T00:00:00Z", "5.4")
        content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
        frame = (codec.encode_v1 if self._v1 else codec.encode_legacy)(Message("shell", header, content))
        kind, payload = (TEXT, frame.encode()) if isinstance(frame, str) else (BINARY, frame)
        self._socket.sendall(small_frame(kind, payload, os.urandom(4), xor_mask))
        asked = header.msg_id.encode()
        count = lines = 0
        replied = idle = False
        while not (replied and idle):
            data, self._first = self._first or self._read(), b""
            for message in self._parser.feed(data):
                text = message.encode() if isinstance(message, str) else message
                count += 1
                lines += text.count(LINE)
                # A gateway asks a new kernel how it is, and everybody hears when that is answered.
                if asked in text:
                    replied = replied or b'"execute_reply"' in text
                    idle = idle or b'"idle"' in text
        return count, lines

    def close(self) -> None:
        """End it, without a word."""
        self._socket.close()


class Target:
    """What front ends connect to.

    Args:
        url: its URL.
        pid: the process that relays; None where nobody does.
    """

    def __init__(self, url: str, pid: int | None) -> None:
        self.url = url
        self._pid = pid

    def cpu(self) -> float:
        """Seconds of processor that the relay has taken."""
        if self._pid is None:
            return 0.0
        threads = Path(f"/proc/{self._pid}/task").glob("*/schedstat")  # in nanoseconds, where the process' own is in ticks
        return sum(int(each.read_text().split()[0]) for each in threads) / 1e9

    def memory(self) -> int:
        """Bytes that the relay has resident."""
        if self._pid is None:
            return 0
        return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{self._pid}/status").read_text())[0]) * 1024


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str], cpu: int, says: str) -> Generator[tuple[str, int]]:
    """Run a proxy; give what it says of its address, and its process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "KERNEL"))}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            ["taskset", "-c", str(cpu), *command], env={**kept, **environment}, stderr=log, stdout=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + PATIENCE
            while (found := re.search(says, os.pread(log.fileno(), 100_000, 0).decode())) is None:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"it did not start: {os.pread(log.fileno(), 2000, 0).decode()}")
                time.sleep(0.05)
            yield found[1], process.pid
        finally:
            process.kill()  # its kernels are the gateway's to end
            process.wait(PATIENCE)


def ours(gateway: str, cpu: int) -> contextlib.AbstractContextManager[tuple[str, int]]:
    """Run our proxy."""
    command = [sys.executable, "-m", "trio_gateway", "proxy", "--port", "0", "--allow-anyone", "--no-access-log"]
    return _process(command, {"JUPYTER_GATEWAY_URL": gateway}, cpu, r"Listening on (http://\S+)")


def peer(gateway: str, cpu: int) -> contextlib.AbstractContextManager[tuple[str, int]]:
    """Run jupyter_server's."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {
        "gateway-url": gateway,
        "IdentityProvider.token": "",
        "ServerApp.disable_check_xsrf": True,
        "ServerApp.allow_root": True,
        "ServerApp.open_browser": False,
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
    }
    python = environments.make(PEER)
    command = [str(python), "-m", "jupyter_server", *[f"--{name}={value}" for name, value in options.items()]]
    return _process(command, {"HOME": os.environ.get("HOME", "/")}, cpu, r"is running at:?[^h]*(http://[^/\s]+)")


def start_kernel(url: str) -> str:
    """Start a kernel; return its id."""
    request = urllib.request.Request(f"{url.rstrip('/')}/api/kernels", data=b'{"name": "python3"}', method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return str(json.load(answer)["id"])


def end_kernel(url: str, kernel_id: str) -> None:
    """Shut a kernel down."""
    request = urllib.request.Request(f"{url.rstrip('/')}/api/kernels/{kernel_id}", method="DELETE")
    with urllib.request.urlopen(request, timeout=PATIENCE):
        pass


def measure_talk(target: Target, kernel_id: str, executions: int, flood: int) -> dict[str, float]:
    """Measure single executions and a flood on one connection."""
    front = FrontEnd(target.url, kernel_id)
    for _ in range(20):
        front.execute("1 + 1")
    times = []
    for _ in range(executions):
        started = time.perf_counter()
        front.execute("1 + 1")
        times.append(time.perf_counter() - started)
    front.execute(FLOOD.format(flood // 10))
    cpu, started = target.cpu(), time.perf_counter()
    count, lines = front.execute(FLOOD.format(flood))
    seconds, cpu = time.perf_counter() - started, target.cpu() - cpu
    front.close()
    if lines < flood:
        raise RuntimeError(f"only {lines} of {flood} lines came")
    return {"execute_us": statistics.median(times) * 1e6, "messages_s": count / seconds, "cpu_us": cpu / count * 1e6}


def measure_memory(target: Target, kernels: list[str]) -> dict[str, float]:
    """Measure what a connection takes while it is open, each to a kernel of its own."""
    warm = FrontEnd(target.url, kernels[0])
    warm.execute("1 + 1")
    before = target.memory()
    fronts = [FrontEnd(target.url, kernel_id) for kernel_id in kernels[1:]]
    for front in fronts:
        front.execute("1 + 1")
    each = (target.memory() - before) / len(fronts)
    for front in (warm, *fronts):
        front.close()
    return {"connection_kb": each / 1000}


def main() -> None:
    """Print the machine, then a line of JSON for each target, and what the goals ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often the targets take turns")
    parser.add_argument("--executions", type=int, default=200, help="single executions in a turn")
    parser.add_argument("--flood", type=int, default=5000, help="messages of a flood in a turn")
    parser.add_argument("--connections", type=int, default=200, help="connections for the memory of one (fast gateway only)")
    parser.add_argument("--gateway", choices=("real", "fast"), default="real", help="a Kernel Gateway, or the benchmarks' own")
    parser.add_argument("--without-peer", action="store_true", help="our proxy and no proxy only")
    options = parser.parse_args()
    print(json.dumps({"python": platform.python_version(), "machine": platform.machine(), **vars(options)}))
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    proxies: dict[str, Callable[..., contextlib.AbstractContextManager[tuple[str, int]]]] = {"ours": ours}
    if not options.without_peer:
        proxies["peer"] = peer
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    server = real_gateway if options.gateway == "real" else fast_gateway
    with contextlib.ExitStack() as stack:
        gateway = stack.enter_context(server(environments.python_of("server") or Path(sys.executable), cores[0]))
        targets = {"direct": Target(gateway.url, None)}
        for name, run in proxies.items():
            targets[name] = Target(*stack.enter_context(run(gateway.url, cores[-1])))
        for number in range(options.rounds):
            for name, target in targets.items():
                kernel_id = start_kernel(target.url)
                for what, value in measure_talk(target, kernel_id, options.executions, options.flood).items():
                    found[name][what].append(value)
                end_kernel(target.url, kernel_id)
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        if options.gateway == "fast":
            for name in proxies:
                kernels = [start_kernel(targets[name].url) for _ in range(options.connections + 1)]
                for what, value in measure_memory(targets[name], kernels).items():
                    found[name][what].append(value)
        gateway.end_kernels()
    middle = {name: {what: statistics.median(values) for what, values in cells.items()} for name, cells in found.items()}
    for name, cells in middle.items():
        print(json.dumps({"target": name, **{what: round(value, 1) for what, value in cells.items()}}))
    direct = middle["direct"]
    for name in proxies:
        cells = middle[name]
        told = {
            "added_us": round(cells["execute_us"] - direct["execute_us"], 1),
            "of_direct": round(cells["messages_s"] / direct["messages_s"], 3),
        }
        if "peer" in middle and name == "ours":
            theirs = middle["peer"]
            told["rate_over_peer"] = round(cells["messages_s"] / theirs["messages_s"], 2)
            told["cpu_over_peer"] = round(cells["cpu_us"] / theirs["cpu_us"], 3)
            if "connection_kb" in cells:
                told["memory_over_peer"] = round(cells["connection_kb"] / theirs["connection_kb"], 2)
        print(json.dumps({"goals": name, **told}))


if __name__ == "__main__":
    main()
