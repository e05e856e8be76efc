"""What is measured: each case is an async function that any client can run, and says how its number is read.

The one idea: a case uses only what `clients.base` promises, and checks what came of each operation, so a client that is fast
because it does not do the work fails. Code begins with a line that the fast gateway understands, and goes on with Python for a
real kernel.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .clients.base import BenchKernel, Client, Outcome
from .measure import Meter

Result = Mapping[str, Any]
Body = Callable[..., Awaitable[None]]

MB = 1_000_000
FLOOR = "raw-sansio"
"""The client that is the floor of all others on Trio: raw frames, with next to nothing on top."""


def check(outcome: Outcome, *, characters: int = 0, binary: int = 0, text: str | None = None) -> None:
    """Raise if an execution did not give what it should."""
    raw = outcome.messages < 0
    wrong = (
        outcome.characters < characters
        or outcome.binary < binary
        or (not raw and (outcome.characters > characters + 1 if characters else False))
        or (not raw and text is not None and outcome.text != text)
    )
    if wrong:
        shown = outcome.text if len(outcome.text) < 100 else f"{len(outcome.text)} characters"
        raise RuntimeError(f"{outcome.messages} outputs, {outcome.characters} characters, {outcome.binary} bytes, text {shown}")


# ------------------------------------------------------------------------------------------------------------------- bodies


async def latency(client: Client, meter: Meter, *, count: int, warmup: int, each: bool = False) -> None:
    """Run `1 + 1` again and again, one after the other."""
    async with client.start_kernel() as kernel:
        for _ in range(warmup):
            check(await kernel.execute("1 + 1", each=each), text="2")
        meter.start()
        now = time.perf_counter()
        for _ in range(count):
            check(await kernel.execute("1 + 1", each=each), text="2")
            now = meter.sample(now)
        meter.stop(count)


async def flood(client: Client, meter: Meter, *, count: int, size: int, each: bool = True) -> None:
    """Receive many small messages of one execution."""
    code = "# bench: print {0} {1}\nimport sys\nfor _ in range({0}):\n    print('x' * ({1} - 1))\n    sys.stdout.flush()"
    async with client.start_kernel() as kernel:
        await kernel.execute(code.format(100, size), each=each)
        meter.start()
        outcome = await kernel.execute(code.format(count, size), each=each)
        meter.stop(count)
        check(outcome, characters=count * size)


async def big_text(client: Client, meter: Meter, *, size: int, repeat: int) -> None:
    """Receive one output of text, some times."""
    await _big(client, meter, _TEXT, size, repeat, characters=size)


async def big_buffer(client: Client, meter: Meter, *, size: int, repeat: int) -> None:
    """Receive one output with a binary buffer, some times."""
    await _big(client, meter, _BUFFER, size, repeat, binary=size)


_TEXT = "# bench: text {0}\nimport sys\n_ = sys.stdout.write(('x' * 79 + '\\n') * ({0} // 80))"
_BUFFER = """# bench: buffer {0}
_kernel = get_ipython().kernel
_ = _kernel.session.send(
    _kernel.iopub_socket,
    "display_data",
    {{"data": {{"text/plain": "a buffer"}}, "metadata": {{}}, "transient": {{}}}},
    parent=_kernel.get_parent(),
    ident=b"display_data",
    buffers=[bytes({0})],
)"""


async def _big(client: Client, meter: Meter, code: str, size: int, repeat: int, **expected: Any) -> None:
    code = code.format(size)
    async with client.start_kernel() as kernel:
        await kernel.execute("# bench: text 100")
        meter.start()
        if repeat > 1:
            await kernel.execute(code)  # now the fast gateway has its answer ready
        meter.start(memory=False)
        for _ in range(repeat):
            now = time.perf_counter()
            outcome = await kernel.execute(code)
            check(outcome, **expected)
            meter.sample(now)
            del outcome
        meter.stop(repeat)


async def send_text(client: Client, meter: Meter, *, size: int, repeat: int) -> None:
    """Send code with a long text in it, some times."""
    code = "# bench: length\nx = '" + "y" * size + "'\nprint(len(x))"
    async with client.start_kernel() as kernel:
        await kernel.execute("# bench: length")
        meter.start()
        for _ in range(repeat):
            now = time.perf_counter()
            outcome = await kernel.execute(code)
            meter.sample(now)
            if outcome.messages >= 0 and int(outcome.text) < size:
                raise RuntimeError(f"only {outcome.text} bytes arrived")
        meter.stop(repeat)


_ECHO = """# bench: length
def _opened(comm, message):
    @comm.on_msg
    def _(message):
        comm.send({"size": sum(len(buffer) for buffer in message["buffers"])})


get_ipython().kernel.comm_manager.register_target("bench", _opened)"""
"""What the fast gateway does by itself: tell of each message of the target "bench" how large it was."""


async def send_buffer(client: Client, meter: Meter, *, size: int, repeat: int) -> None:
    """Send a binary buffer in a comm's message, some times."""
    data = os.urandom(1000) * (size // 1000)
    async with client.start_kernel() as kernel:
        await kernel.execute(_ECHO)
        await kernel.send_binary(b"warm")
        meter.start()
        for _ in range(repeat):
            now = time.perf_counter()
            arrived = await kernel.send_binary(data)
            meter.sample(now)
            if arrived < size:
                raise RuntimeError(f"only {arrived} bytes arrived")
        meter.stop(repeat)


class _Crowd:
    """Many kernels at once, in steps that all take together: start, work, end."""

    def __init__(self, client: Client, count: int, meter: Meter, *, spec: str = "python3", sessions: int = 1) -> None:
        self._client = client
        self._count = count
        self._spec = spec
        self._sessions = sessions
        self.attached: dict[BenchKernel, list[BenchKernel]] = {}
        self._meter = meter
        self._ready = 0
        self._done = 0
        self._all_ready, self._go, self._all_done, self._end = (client.event() for _ in range(4))

    async def run(self, work: Callable[[BenchKernel], Awaitable[None]], lead: Callable[[_Crowd], Awaitable[None]]) -> None:
        """Start the kernels, let `lead` say when to work, and end them."""

        async def one() -> None:
            async with AsyncExitStack() as stack:
                kernel = await stack.enter_async_context(self._client.start_kernel(self._spec))
                more = [await stack.enter_async_context(self._client.attach(kernel)) for _ in range(1, self._sessions)]
                self.attached[kernel] = more
                self._ready += 1
                if self._ready == self._count:
                    self._all_ready.set()
                await self._go.wait()
                await work(kernel)
                self._done += 1
                if self._done == self._count:
                    self._all_done.set()
                await self._end.wait()

        async def leader() -> None:
            await lead(self)
            self._end.set()

        await self._client.gather([*[one] * self._count, leader])

    async def started(self) -> None:
        """Wait until all kernels are there."""
        await self._all_ready.wait()

    def go(self) -> None:
        """Let them work."""
        self._go.set()

    async def finished(self) -> None:
        """Wait until all have worked."""
        await self._all_done.wait()


async def fan_out(client: Client, meter: Meter, *, kernels: int, executions: int, each: bool = False) -> None:
    """Run code in many kernels at once."""

    async def work(kernel: BenchKernel) -> None:
        for _ in range(executions):
            check(await kernel.execute("1 + 1", each=each), text="2")

    async def lead(crowd: _Crowd) -> None:
        await crowd.started()
        crowd_meter.stop()
        meter.extra["start_seconds"] = crowd_meter.result()["seconds"]
        meter.start()
        crowd.go()
        await crowd.finished()
        meter.stop(kernels * executions)
        meter.extra["session_bytes"] = (meter.result()["rss"] - before) / kernels

    async with client.start_kernel() as kernel:  # what is imported late is no session's memory
        check(await kernel.execute("1 + 1", each=each), text="2")
    crowd_meter = Meter()
    crowd_meter.start()
    before = crowd_meter.base
    await _Crowd(client, kernels, meter).run(work, lead)


async def idle(client: Client, meter: Meter, *, kernels: int, seconds: float, settle: float = 1.0) -> None:
    """Wait for many executions in which nothing happens; first let everything settle, for as many seconds as `settle` says."""

    async def work(kernel: BenchKernel) -> None:
        check(await kernel.execute(f"# bench: sleep {seconds + 2 * settle}"))

    await _Crowd(client, kernels, meter).run(work, partial(_watch_waiting, client, meter, kernels, seconds, settle))


async def _watch_waiting(client: Client, meter: Meter, sessions: int, seconds: float, settle: float, crowd: _Crowd) -> None:
    """Set a crowd to work, and measure so many seconds of it when it has settled."""
    await crowd.started()
    crowd.go()
    await client.sleep(settle)
    meter.start()
    await client.sleep(seconds)
    meter.stop(sessions)


async def idle_shared(client: Client, meter: Meter, *, kernels: int, sessions: int, seconds: float, settle: float = 2.0) -> None:
    """Wait with many sessions that share a few kernels: on each, one runs code that sleeps, and the others' waits behind it."""
    waiting = seconds + 2 * settle

    async def work(kernel: BenchKernel) -> None:
        async def sleep() -> None:
            check(await kernel.execute(f"# bench: sleep {waiting}\nimport time\ntime.sleep({waiting})"))

        async def wait(other: BenchKernel) -> None:
            await client.sleep(settle / 2)  # it has begun
            check(await other.execute("1 + 1"), text="2")

        await client.gather([sleep, *[partial(wait, other) for other in crowd.attached[kernel]]])

    async def lead(crowd: _Crowd) -> None:
        await _watch_waiting(client, meter, sessions, seconds, settle, crowd)
        await crowd.finished()

    crowd = _Crowd(client, kernels, meter, sessions=sessions // kernels)
    await crowd.run(work, lead)


async def start_up(client: Client, meter: Meter, *, count: int) -> None:
    """Start a kernel, connect, run code, shut down; the first time too."""
    meter.start()
    now = time.perf_counter()
    for _ in range(count):
        async with client.start_kernel() as kernel:
            check(await kernel.execute("1 + 1"), text="2")
        now = meter.sample(now)
    meter.stop(count)
    meter.extra["first_seconds"] = meter.samples[0]


async def gets(client: Client, meter: Meter, *, count: int) -> None:
    """Ask the gateway for a kernel's model, again and again."""
    async with client.start_kernel() as kernel:
        known = await kernel.get_model()
        meter.start()
        now = time.perf_counter()
        for _ in range(count):
            if await kernel.get_model() != known:
                raise RuntimeError("another kernel's model")
            now = meter.sample(now)
        meter.stop(count)


async def starts(client: Client, meter: Meter, *, kernels: int) -> None:
    """Start many kernels at once, each of which takes the gateway half a second, however many they are."""

    async def work(kernel: BenchKernel) -> None:
        check(await kernel.execute("1 + 1"), text="2")

    async def lead(crowd: _Crowd) -> None:
        meter.start()
        await crowd.started()
        meter.stop(kernels)
        crowd.go()
        await crowd.finished()

    async with client.start_kernel() as kernel:
        check(await kernel.execute("1 + 1"), text="2")
    await _Crowd(client, kernels, meter, spec="slow").run(work, lead)


# -------------------------------------------------------------------------------------------------------------------- cases


def percentile(samples: list[float], share: float) -> float:
    """Return the sample below which that share of them lies."""
    ordered = sorted(samples)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    A case without a body is measured by starting processes: `import`.
    """

    name: str
    title: str
    body: Body | None
    unit: str
    value: Callable[[Result], float]
    """Its number, from one run's result."""
    higher: bool = False
    """Whether more is better."""
    server: str = "fast"
    """`"fast"`, `"legacy"` (the fast one, legacy framing only) or `"real"`."""
    full: dict[str, Any] = field(default_factory=dict)
    """What the body is given."""
    quick: dict[str, Any] = field(default_factory=dict)
    """What is different in a quick run."""
    smoke: dict[str, Any] = field(default_factory=dict)
    """What is different in the tests."""
    groups: tuple[str, ...] = ("engine", "face", "peer", "raw")
    """Which clients take part."""
    only: tuple[str, ...] = ()
    """If not empty: of these groups only clients with these keys."""
    also: tuple[str, ...] = ()
    """Clients of other groups that take part too, by their keys."""
    floor: float | None = None
    """What no client can go below, where raw frames are no floor: what the gateway itself takes, in the case's unit."""
    cannot: Mapping[str, str] = field(default_factory=dict)
    """Which of them can't, by their keys, and why."""
    details: Callable[[Result], dict[str, float]] = field(default=lambda _: {})
    """More numbers of one run, by name."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of our own client for this case."""
    once: bool = False
    """Whether it takes so long that one run is enough."""
    closes: bool = False
    """Whether closing is part of what is measured. If not, a client that is slow at it may leave that to the process's end."""
    fewer: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What is different for a client, by its key, that would take minutes."""


def _rate(result: Result) -> float:
    return float(result["operations"] / result["seconds"])


def _median_us(result: Result) -> float:
    return float(statistics.median(result["samples"])) * 1e6


def _latency_details(result: Result) -> dict[str, float]:
    samples = result["samples"]
    return {"p95 µs": percentile(samples, 0.95) * 1e6, "p99 µs": percentile(samples, 0.99) * 1e6}


def _big_case(name: str, title: str, body: Body, size: int, *, server: str = "fast", repeat: int = 0, **others: Any) -> Case:
    real = server == "real"
    if real:  # its kernel takes most of the time
        others |= {"groups": ("engine", "peer", "floor"), "also": (FLOOR,)}
    repeat = repeat or (3 if real else max(5, min(20, 50 * MB // size)))
    return Case(
        f"{name}-real" if real else name,
        f"{title}, real gateway" if real else title,
        body,
        "MB/s",
        # The size is not in the result: what was asked for is kept beside it.
        value=lambda result: result["params"]["size"] / statistics.median(result["samples"]) / MB,
        higher=True,
        server=server,
        full={"size": size, "repeat": repeat},
        quick={"size": min(size, 10 * MB), "repeat": 3},
        smoke={"size": 100_000, "repeat": 1},
        # Linux counts resident pages in batches for each thread, so a peak can be read below the base.
        details=lambda result: {"peak ÷ size": max(result["rss_peak"] - result["rss_base"], 0) / result["params"]["size"]},
        once=real,
        # It takes 17 s for 50 MB.
        fewer={key: {"repeat": 1} for key in ("jupyter-server", "jupyter-kernel-client")} if size > 2 * MB else {},
        **others,
    )


def _session_details(result: Result) -> dict[str, float]:
    extra = result["extra"]
    return {"kB a session": extra["session_bytes"] / 1000, "start s": extra["start_seconds"]}


_ABOVE_4 = {"agent-jupyter-toolkit": "takes at most 4 MiB a message"}
_ABOVE_10 = {"jupyter-server-connection": "takes at most 10 MiB a message"} | _ABOVE_4
_RECEIVES_NO_BUFFERS = _ABOVE_10 | dict.fromkeys(
    ("jupyter-server", "jupyter-server-wsaccel", "agent-jupyter-toolkit"), "can't receive binary buffers"
)
_SENDS_NO_BUFFERS = dict.fromkeys(
    ("jupyter-server", "jupyter-server-wsaccel", "jupyter-server-connection", "jupyter-kernel-client", "agent-jupyter-toolkit"),
    "can't send binary buffers",
)
_IN_ONE = {"agent-jupyter-toolkit": {"each": False}}
"""It copies all outputs so far for each callback: 20,000 would take minutes."""
_STREAMS = ("ours-trio-websocket", "ours-fast", "jupyter-server-wsaccel", "agent-jupyter-toolkit", "raw-picows", FLOOR)
"""Who takes part in the cases of `stream()`: the other peers have one way only, which `execute`'s cases show."""

_ALL = (
    Case(
        "latency-real",
        "1 + 1, real gateway",
        latency,
        "µs",
        _median_us,
        server="real",
        full={"count": 40, "warmup": 4},
        quick={"count": 20, "warmup": 2},
        smoke={"count": 2, "warmup": 1},
        groups=("engine", "face", "peer", "floor"),
        also=(FLOOR,),
        details=_latency_details,
    ),
    Case(
        "latency",
        "1 + 1, fast gateway",
        latency,
        "µs",
        _median_us,
        full={"count": 1000, "warmup": 100},
        quick={"count": 500, "warmup": 50},
        smoke={"count": 5, "warmup": 1},
        details=_latency_details,
    ),
    Case(
        "latency-stream",
        "1 + 1 by stream(), fast gateway",
        latency,
        "µs",
        _median_us,
        full={"count": 1000, "warmup": 100, "each": True},
        quick={"count": 500, "warmup": 50},
        smoke={"count": 5, "warmup": 1},
        only=_STREAMS,
        details=_latency_details,
    ),
    Case(
        "flood",
        "20,000 messages of 200 bytes",
        flood,
        "messages/s",
        _rate,
        higher=True,
        full={"count": 20_000, "size": 200},
        quick={"count": 5_000},
        smoke={"count": 300},
        fewer=_IN_ONE,
    ),
    Case(
        "flood-collected",
        "the same, into one result",
        flood,
        "messages/s",
        _rate,
        higher=True,
        full={"count": 20_000, "size": 200, "each": False},
        quick={"count": 5_000},
        smoke={"count": 300},
        groups=("engine",),
    ),
    Case(
        "flood-legacy",
        "the same, legacy framing",
        flood,
        "messages/s",
        _rate,
        higher=True,
        server="legacy",
        full={"count": 20_000, "size": 200},
        quick={"count": 5_000},
        smoke={"count": 300},
        groups=("engine",),
    ),
    Case(
        "flood-real",
        "2,000 messages of 200 bytes, real gateway",
        flood,
        "messages/s",
        _rate,
        higher=True,
        server="real",
        full={"count": 2_000, "size": 200},
        fewer=_IN_ONE,
        quick={"count": 1_000},
        once=True,  # it is the kernel that is measured: all clients are as fast
        smoke={"count": 10},
        groups=("engine", "peer", "floor"),
        also=(FLOOR,),
    ),
    _big_case("big-text-1", "1 MB of text", big_text, MB),
    _big_case("big-text-10", "10 MB of text", big_text, 10 * MB, cannot=_ABOVE_4),
    _big_case("big-text-50", "50 MB of text", big_text, 50 * MB, cannot=_ABOVE_10),
    _big_case("big-buffer-50", "50 MB in a buffer", big_buffer, 50 * MB, cannot=_RECEIVES_NO_BUFFERS),
    _big_case("send-text-10", "10 MB of code", send_text, 10 * MB),
    _big_case("send-buffer-10", "10 MB in a buffer, sent", send_buffer, 10 * MB, cannot=_SENDS_NO_BUFFERS),
    _big_case("send-buffer-50", "50 MB in a buffer, sent", send_buffer, 50 * MB, cannot=_SENDS_NO_BUFFERS),
    _big_case("big-text-1", "1 MB of text", big_text, MB, server="real"),
    _big_case("big-text-10", "10 MB of text", big_text, 10 * MB, server="real", cannot=_ABOVE_4),
    _big_case("big-text-50", "50 MB of text", big_text, 50 * MB, server="real", cannot=_ABOVE_10),
    _big_case("big-buffer-50", "50 MB in a buffer", big_buffer, 50 * MB, server="real", cannot=_RECEIVES_NO_BUFFERS),
    # A Kernel Gateway takes no message of more than 10 MiB, so there is no such case of 50 MB.
    # Its kernel takes 3 s. It sends the code to everybody, too, as `execute_input`.
    _big_case("send-text-10", "10 MB of code", send_text, 10 * MB, server="real", repeat=1, cannot=_ABOVE_4),
    _big_case("send-buffer-10", "10 MB in a buffer, sent", send_buffer, 10 * MB, server="real", cannot=_SENDS_NO_BUFFERS),
    Case(
        "fan-out",
        "100 kernels × 50 executions",
        fan_out,
        "executions/s",
        _rate,
        higher=True,
        full={"kernels": 100, "executions": 50},
        quick={"executions": 10},
        smoke={"kernels": 5, "executions": 2},
        details=_session_details,
    ),
    Case(
        "fan-out-stream",
        "100 kernels × 50 executions by stream()",
        fan_out,
        "executions/s",
        _rate,
        higher=True,
        full={"kernels": 100, "executions": 50, "each": True},
        quick={"executions": 10},
        smoke={"kernels": 5, "executions": 2},
        only=_STREAMS,
        details=_session_details,
    ),
    Case(
        "fan-out-real",
        "4 kernels × 50 executions, real gateway",
        fan_out,
        "executions/s",
        _rate,
        higher=True,
        server="real",
        # A hundred would take 6 GB and a minute to start, for each client, and it is the kernels that would be measured. Four
        # keep the servers' core as busy as eight, and start in half the time.
        full={"kernels": 4, "executions": 50},
        quick={"kernels": 4, "executions": 20},
        once=True,
        smoke={"kernels": 2, "executions": 2},
        groups=("engine", "peer", "floor"),
        also=(FLOOR,),
        details=lambda result: {"start s": result["extra"]["start_seconds"]},
    ),
    Case(
        "sessions-1000",
        "1,000 sessions × 5 executions",
        fan_out,
        "executions/s",
        _rate,
        higher=True,
        full={"kernels": 1000, "executions": 5},
        quick={"kernels": 300, "executions": 3},
        smoke={"kernels": 10, "executions": 1},
        groups=("engine",),
        details=_session_details,
    ),
    Case(
        "sessions-5000",
        "5,000 sessions × 2 executions",
        fan_out,
        "executions/s",
        _rate,
        higher=True,
        full={"kernels": 5000, "executions": 2},
        quick={"kernels": 600, "executions": 2},
        once=True,
        smoke={"kernels": 20, "executions": 1},
        # To start them takes half a minute. What the engines differ in, 1,000 sessions show.
        groups=("engine",),
        only=("ours-fast",),
        details=_session_details,
    ),
    Case(
        "idle",
        "50 sessions waiting for 10 s",
        idle,
        "% of a core",
        lambda result: result["cpu"] / result["seconds"] * 100,
        full={"kernels": 50, "seconds": 10},
        quick={"kernels": 20, "seconds": 3},
        smoke={"kernels": 3, "seconds": 0.2, "settle": 0.1},
        groups=("engine", "peer"),
        settings={"ping_interval": 10},  # one ping, or two, falls into the time,
    ),
    Case(
        "idle-real",
        "50 sessions waiting for 6 s, real gateway",
        idle_shared,
        "% of a core",
        lambda result: result["cpu"] / result["seconds"] * 100,
        server="real",
        full={"kernels": 2, "sessions": 50, "seconds": 6},
        quick={"kernels": 2, "sessions": 20, "seconds": 3},
        once=True,
        smoke={"kernels": 1, "sessions": 3, "seconds": 0.2, "settle": 0.2},
        groups=("engine", "peer"),
        cannot={
            "jupyter-server-wsaccel": "as without wsaccel, for nothing comes",
            "agent-jupyter-toolkit": "joins another's kernel only by a notebook's session",
        },
        settings={"ping_interval": 6},
    ),
    Case(
        "start-up-real",
        "start to shut down, real gateway, best of 3",
        start_up,
        "ms",
        # A gateway takes half a second longer now and then, whoever asks: that is not what is compared.
        lambda result: min(result["samples"]) * 1e3,
        server="real",
        full={"count": 3},
        quick={"count": 2},
        smoke={"count": 1},
        groups=("engine", "peer", "floor"),
        also=(FLOOR,),
        closes=True,
        fewer={"jupyter-kernel-client": {"count": 1}},
        details=lambda result: {"mean ms": statistics.mean(result["samples"]) * 1e3},
    ),
    Case(
        "start-up",
        "start to shut down, fast gateway",
        start_up,
        "ms",
        lambda result: statistics.median(result["samples"]) * 1e3,
        full={"count": 10},
        quick={"count": 5},
        smoke={"count": 2},
        groups=("engine", "face", "peer"),
        also=(FLOOR,),
        closes=True,
        fewer={"jupyter-kernel-client": {"count": 1}},
        details=lambda result: {"first ms": result["extra"]["first_seconds"] * 1e3},
    ),
    Case(
        "gets",
        "GET of a kernel's model",
        gets,
        "requests/s",
        _rate,
        higher=True,
        full={"count": 1000},
        quick={"count": 200},
        smoke={"count": 5},
        groups=("ours", "peer"),
        also=(FLOOR,),
        cannot={"agent-jupyter-toolkit": "says only whether the kernel is there, and reads no model"},
        details=_latency_details,
    ),
    Case(
        "starts",
        "100 starts at once, 0.5 s each",
        starts,
        "s",
        lambda result: result["seconds"],
        full={"kernels": 100},
        quick={"kernels": 40},
        smoke={"kernels": 3},
        groups=("ours", "peer"),
        floor=0.5,
    ),
    Case(
        "import",
        "import",
        None,
        "ms",
        lambda result: result["seconds"] * 1e3,
        groups=("ours", "face", "peer", "floor"),
    ),
)
CASES = {case.name: case for case in _ALL}
