"""The chaos soak: executions under random faults in virtual time, against a model of what may come of each.

    python tests/sweeps/chaos_soak.py --seed 17            # replay one episode
    python tests/sweeps/chaos_soak.py --from 0 --episodes 1000

An episode is one gateway and one seed. Whatever it does, each execution ends (G3), nothing runs twice (G4), what is missing from
its output is told (G5), and at the end nothing is left (G1, G2).
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator
from unittest import mock

import attrs
import trio
import trio.testing

import trio_gateway
from tools.sweep_tools import run_seeded, service_tasks
from trio_gateway import Stream
from trio_gateway._protocol import loss
from trio_gateway.testing import Cell, Chaos, Conversation, FakeGateway, FakeKernel, Sleep

EXECUTIONS = 40
"""How many an episode has."""
LONGEST = 200_000.0
"""An episode that takes longer hangs: in virtual seconds."""


@attrs.define
class Report:
    """What episodes did."""

    executions: int = 0
    episodes: int = 0
    faults: Counter[str] = attrs.field(factory=Counter)
    endings: Counter[str] = attrs.field(factory=Counter)

    def add(self, other: Report) -> None:
        self.executions += other.executions
        self.episodes += other.episodes
        self.faults += other.faults
        self.endings += other.endings

    def __str__(self) -> str:
        rows = [f"{self.executions} executions in {self.episodes} episodes"]
        rows += [f"  {kind:24} {count:6}" for kind, count in sorted(self.faults.items())]
        rows += [f"  -> {kind:21} {count:6}" for kind, count in sorted(self.endings.items())]
        return "\n".join(rows)


def script(cell: Cell) -> Iterator[object]:
    """Print as many lines as the code says, with pauses as it says: `name lines pause`."""
    name, lines, pause = cell.code.split()
    for number in range(int(lines)):
        yield Stream("stdout", f"{name}:{number}\n")
        if float(pause):
            yield Sleep(float(pause))
    yield name


def expected(code: str) -> list[str]:
    name, lines, _ = code.split()
    return [*(f"{name}:{number}" for number in range(int(lines))), name]


def make_chaos(rng: random.Random) -> Chaos:
    """Choose which faults this episode has, and how often."""
    names = [field.name for field in attrs.fields(Chaos) if field.name != "longest_delay"]
    chosen = rng.sample(names, rng.randint(1, 6))
    rare = {"kill", "restart", "stall", "cut_bytes", "black_hole", "cut", "cut_inside"}
    rates = {name: rng.choice([0.005, 0.02, 0.05] if name in rare else [0.02, 0.1, 0.3]) for name in chosen}
    return Chaos(**rates, longest_delay=rng.choice([0.5, 5.0, 60.0]))


class Violated(AssertionError):
    """A guarantee does not hold."""


def check(code: str, result: trio_gateway.ExecutionResult, chaos: Chaos) -> str:
    """Compare what came of an execution with what it had to be; return how it ended."""
    lines = result.text.splitlines()
    if chaos.duplicate:
        lines = list(dict.fromkeys(lines))  # sent twice over one connection they are no replay; each line is printed once
    wanted = expected(code)
    whole = sorted(lines) == sorted(wanted) if chaos.reorder else lines == wanted
    if not whole and sorted(lines) == sorted(wanted):
        raise Violated(f"{code!r}: its output came in another order")
    if whole:
        return "whole" if not result.output_gaps else "whole, with a gap that says otherwise"
    if result.status == "aborted":
        return "aborted"
    if result.status == "error":
        return "error"
    strange = Counter(lines) - Counter(wanted)
    if strange:
        raise Violated(f"{code!r} gave what it never printed, or twice: {dict(strange)}")
    if not result.output_gaps:
        raise Violated(f"{code!r}: {len(wanted) - len(lines)} of {len(wanted)} lines are missing, and nobody says so (G5)")
    counted = sum(gap.count or 0 for gap in result.output_gaps)
    vague = any(gap.count is None for gap in result.output_gaps)
    if counted < len(wanted) - len(lines) and not vague:
        raise Violated(f"{code!r}: {len(wanted) - len(lines)} lines are missing, and only {counted} are told (G5)")
    return "with gaps"


async def run_episode(seed: int, *, show: bool = False) -> Report:
    """Run one episode.

    Raises:
        Violated: a guarantee does not hold.
    """
    rng = random.Random(seed)
    chaos = make_chaos(rng)
    report = Report(episodes=1)
    framing = rng.choice(["v1", "legacy"])
    fake = FakeGateway(script, seed=seed, framings=[framing], ping_interval=rng.choice([0.0, 30.0]))
    if show:
        fake.conversation = Conversation(kept=1_000_000)
    try:
        # Chaos drops any output: here a queue may be full at any length of an answer, so each hole has to be told.
        with mock.patch.object(loss, "QUEUE_MESSAGES", 0), trio.move_on_after(LONGEST) as scope:
            async with fake:
                before = service_tasks()
                await _work(fake, chaos, rng, report)
                fake.faults.chaos(None)
                await trio.sleep(200)  # what the fake does late, it notices late that nobody waits for
                await trio.testing.wait_all_tasks_blocked()
                if left := service_tasks() - before:
                    raise Violated(f"tasks are left (G1): {left}")
                if fake.connections:
                    raise Violated(f"connections are left (G1): {fake.connections}")
                if fake.protocol_errors:
                    raise Violated(f"the library sent what is no protocol: {fake.protocol_errors}")
                for kernel in [*fake.kernels.values(), *fake.ended_kernels]:
                    check_kernel(kernel)
        if scope.cancelled_caught:
            raise Violated("it hangs (G3)")
    finally:
        report.faults += fake.faults.counts
        if show:
            print(chaos)
            print(fake.conversation)
    return report


def check_kernel(kernel: FakeKernel) -> None:
    twice = [code for code, count in Counter(kernel.codes).items() if count > 1]
    if twice or max(kernel.executed.values(), default=0) > 1:
        raise Violated(f"ran twice (G4): {twice}")


async def _work(fake: FakeGateway, chaos: Chaos, rng: random.Random, report: Report) -> None:
    settings = {"gateway_retry_max": 8, "ping_interval": rng.choice([5, 10]), "request_timeout": 30, "connect_timeout": 10}
    async with fake.open(**settings) as gateway:
        while report.executions < EXECUTIONS:
            fake.faults.chaos(None)
            try:
                async with gateway.start_kernel() as kernel:
                    fake.faults.chaos(chaos)
                    await _execute_many(kernel, chaos, rng, report)
                    fake.faults.chaos(None)
                    if rng.random() < 0.5:
                        await trio.sleep(100)  # let connections that were cut come back
            except trio_gateway.GatewayError as error:
                report.endings[f"kernel: {type(error).__name__}"] += 1
            if fake.kernels:
                raise Violated(f"a kernel is left (G2): {list(fake.kernels.values())}")


async def _execute_many(kernel: trio_gateway.Kernel, chaos: Chaos, rng: random.Random, report: Report) -> None:
    while report.executions < EXECUTIONS:
        wide = rng.choice([1, 1, 1, 3])
        codes = [
            f"s{report.executions + number} {rng.choice([0, 1, 5, 30])} {rng.choice([0, 0, 0.01, 2])}" for number in range(wide)
        ]
        cancel_after = rng.choice([None] * 8 + [0.0, 0.5, 3.0])
        async with trio.open_nursery() as nursery:
            for code in codes:
                nursery.start_soon(_execute, kernel, chaos, code, cancel_after, report)
        report.executions += wide
        if kernel.connection_state is trio_gateway.ConnectionState.CLOSED:
            return


async def _execute(kernel: trio_gateway.Kernel, chaos: Chaos, code: str, cancel_after: float | None, report: Report) -> None:
    with trio.move_on_after(float("inf") if cancel_after is None else cancel_after):
        try:
            result = await kernel.execute(code)
        except trio_gateway.GatewayError as error:
            report.endings[type(error).__name__] += 1
            return
        report.endings[check(code, result, chaos)] += 1
        return
    report.endings["cancelled"] += 1


def replay_command(seed: int) -> str:
    return f"{sys.executable} tests/sweeps/chaos_soak.py --seed {seed}"


def soak(first: int, episodes: int) -> Report:
    """Run episodes; the first that violates a guarantee ends it, with the command that replays it."""
    total = Report()
    for seed in range(first, first + episodes):
        try:
            total.add(run_seeded(run_episode, seed, seed=seed))
        except BaseException as error:
            error.add_note(f"replay: {replay_command(seed)}")
            raise
    return total


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, help="replay this episode and show its conversation")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--episodes", type=int, default=250)
    options = parser.parse_args()
    if options.seed is None:
        print(soak(options.first, options.episodes))
    else:
        from functools import partial

        print(run_seeded(partial(run_episode, show=True), options.seed, seed=options.seed))


if __name__ == "__main__":
    main()
