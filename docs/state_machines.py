"""Draw the state machines in docs/states.md from their own tables.

`python docs/state_machines.py` writes the file; with `--check` it only says whether the file is up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from trio_gateway._kernel.restart_gate import GATE_TRANSITIONS, GateState
from trio_gateway._protocol.execution import TRANSITIONS, ExecutionState
from trio_gateway._protocol.kernel_state import CONNECTION_TRANSITIONS, KERNEL_TRANSITIONS, ConnectionState, KernelState
from trio_gateway._protocol.liveness import VERDICT_TRANSITIONS, Verdict
from trio_gateway._protocol.recovery import BARRIER_TRANSITIONS, HEARING_TRANSITIONS, BarrierState, Hearing

PAGE = Path(__file__).with_name("states.md")

HEAD = """# The state machines

The library keeps its states in tables. A table says for a state and an event which state is next. A pair that is not in the table
changes nothing. The dot is the beginning. An arrow from `any` stands for all states that have a way out: its event leads there
from each of them. `python docs/state_machines.py` makes the drawings from the tables, and a test compares them. Paths such as
`_protocol/execution.py` are below `src/trio_gateway/`.
"""

EXECUTION = """
## An execution

Its events are what the kernel says of one request, in any order: `busy`, an `output`, its `reply`, `idle`. Two more are the
library's: `idle_given_up`, when after the reply `idle` never came; and `reply_given_up`, when after `idle` the reply could not be
read. `_protocol/execution.py` holds the table.
"""

KERNEL = """
## A kernel

Its events are the states that the kernel or the gateway publishes, and `culled`: the gateway does not know the kernel any more.
`Kernel.state` is this machine's state. `_protocol/kernel_state.py` holds the table.
"""

CONNECTION = """
## A connection

`Kernel.connection_state` is this machine's state. The events: the library `opened` a WebSocket; the connection was `lost`; the
session `ended`, because its block ended, or because there was no hope. `_protocol/kernel_state.py` holds the table.
"""


LIVENESS = """
## Whether a kernel is there

`Kernel.hb.verdict` is this machine's state. Its events:

- `heard`: anything came over the connection, such as a pong. `spoke`: it came from the kernel itself.
- `silent`: nothing came for one and a half times the setting `ping_interval`, though a ping asked.
- `unanswered`: the kernel did not answer a question on its control channel.
- `vouched for`: the gateway's model has the kernel. `unreachable`: the gateway itself can't be reached.
- `lost`: the kernel's connection broke, or was closed at the end of its block.

`_protocol/liveness.py` holds the table.
"""

HEARING = """
## Whether a connection leads to its kernel

A session and a relay each have this machine ([words](layers.md#words)). Over a connection that was made again, they send nothing
that could be lost until the kernel has answered a question on its control channel (`heard`). They also send when it is known that
the kernel's silence proves nothing. A connection that is `mute` is replaced by one with another session id.
`_protocol/recovery.py` holds the table, and all rules.
"""

BARRIER = """
## Whether a request was lost

Each line of a kernel (main shell, each subshell, control) has this machine. A barrier is a question that is sent behind the
requests that wait there. When it is answered, the requests before it that have no answer are lost. Some kernels answer questions
while code runs: for those the proof is empty code, which runs in its turn. `_protocol/recovery.py` holds the table.

[resume.pml](resume.pml) is a model of both machines, with a gateway and a kernel, for the checker Spin. Spin tries every order in
which requests, cuts, replacements of the kernel's process and another replica of the gateway can come. It shows: no request runs
twice, a request that is reported as lost gets no reply any more, and each one ends. With two requests, two cuts and one
replacement these are 0.7 million states, and 1.8 million with a kernel that answers beside running code: `pytest
tests/guarantees/test_resume_model.py`. With three requests they are 22 million: `nox -s model`. The checker finds each of four
variants that are wrong on purpose.
"""

GATE = """
## Whether code is kept back while the kernel's process is replaced

Each session has this machine. `replaced`: the gateway has answered a restart, or a kernel said that it was replaced. `met`: the
new process has answered and was heard, or its time for that is over. `_kernel/restart_gate.py` holds the table.

For a pool's kernel the step to `meeting` is a loss, unless the pool or the lease has restarted it itself. Requests that were made
before their caller knew of the loss fail, and never pass the gate. `_kernel/kept_process.py` counts the losses.
"""


def draw(table: Mapping[tuple[Enum, str], Enum], start: Enum, *turn: str) -> str:
    """Return a Mermaid diagram of a table; events that lead the same way share an arrow, and so do all states with a way out.

    A machine where all states lead the same way is a wide fan: `turn` lays it on its side, for phones.
    """
    steps = {(state.value, event): after.value for (state, event), after in table.items() if state is not after}
    going = {state for state, _ in steps}
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, event), after in steps.items():
        all_go = len(going - {after}) > 2 and all(steps.get((other, event)) == after for other in going - {after})
        events = arrows.setdefault(("any" if all_go else state, after), [])
        if event not in events:
            events.append(event)
    lines = [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *turn, f"    [*] --> {start.value}", *lines, "```", ""])


def page() -> str:
    """Return the whole page."""
    return "\n".join(
        [
            HEAD.rstrip(),
            EXECUTION,
            draw(TRANSITIONS, ExecutionState.REQUESTED).rstrip(),
            KERNEL,
            draw(KERNEL_TRANSITIONS, KernelState.STARTING, "    direction LR").rstrip(),
            CONNECTION,
            draw(CONNECTION_TRANSITIONS, ConnectionState.CONNECTING).rstrip(),
            LIVENESS,
            draw(VERDICT_TRANSITIONS, Verdict.SUSPECT).rstrip(),
            HEARING,
            draw(HEARING_TRANSITIONS, Hearing.FRESH).rstrip(),
            BARRIER,
            draw(BARRIER_TRANSITIONS, BarrierState.NONE).rstrip(),
            GATE,
            draw(GATE_TRANSITIONS, GateState.OPEN),
        ]
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(PAGE.read_text() != page() and "docs/states.md is not what the tables say: run python docs/state_machines.py")
    PAGE.write_text(page())
