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

Each is a table from a state and an event to the next state; a pair that is not in the table changes nothing. The drawings are
made from the tables by `python docs/state_machines.py`, and a test compares them.
"""

EXECUTION = """
## An execution

Its events are what the kernel says of one request: `busy`, an `output`, its `reply`, `idle`, in any order; or that `idle` was
given up after the reply, because it never came, or the reply after `idle`, because it could not be read.
`_protocol/execution.py` holds the table.
"""

KERNEL = """
## A kernel

Its events are the states that the kernel or the gateway publishes, and `culled`: the gateway does not know it any more.
`Kernel.state` is this machine's state. `_protocol/kernel_state.py` holds the table.
"""

CONNECTION = """
## A connection

`Kernel.connection_state` is this machine's state.
"""


LIVENESS = """
## Whether a kernel is there

`Kernel.hb.verdict` is this machine's state. `heard` is anything that comes over the connection, a pong included; `silent`,
that nothing came for one and a half times the setting `ping_interval`, though a ping asked; `vouched for`, that the gateway's
model has the kernel; `lost`, that its connection broke, or was closed at the end of its block.
`_protocol/liveness.py` holds the table.
"""

HEARING = """
## Whether a connection leads to its kernel

A session and a relay each have this machine. Over a connection that was made again nothing is sent that could be lost, until the
kernel has answered a question on its control channel (`heard`); or until it is known that its silence proves nothing. A
connection that is `mute` is replaced by one with another session id. `_protocol/recovery.py` holds the table, and all rules.
"""

BARRIER = """
## Whether a request was lost

Each line of a kernel (main shell, each subshell, control) has this machine. A barrier is a question behind what waits there; when
it is answered, what it overtook is lost. Some kernels answer questions beside code that runs: for those the proof is empty code,
which runs in its turn. `_protocol/recovery.py` holds the table.

Both machines together, with a gateway and a kernel, are modelled in [resume.pml](resume.pml) for the checker Spin. It tries every
order in which requests, cuts, replacements of the kernel's process and another replica of the gateway can come. No request runs
twice, a request that is reported as lost gets no reply any more, and each one ends. With two requests, two cuts and one
replacement these are 0.7 million states, and 1.8 million with a kernel that answers beside running code: `pytest
tests/guarantees/test_resume_model.py`. With three requests they are 22 million: `nox -s model`. The checker finds each of four
variants that are wrong on purpose.
"""

GATE = """
## Whether code is kept back while the kernel's process is replaced

Each session has this machine. `replaced` is the gateway's answer to a restart, or a kernel's word that it was replaced; `met`,
that the new process has answered and was heard, or had its time for it. `_kernel/restart_gate.py` holds the table.

Of a pool's kernel the step to `meeting` is a loss, unless the pool or the lease has restarted it itself. What was asked for
before its caller knew of that fails, and never passes the gate. `_kernel/kept_process.py` counts the losses.
"""


def draw(table: Mapping[tuple[Enum, str], Enum], start: Enum) -> str:
    """Return a Mermaid diagram of a table; events that lead the same way share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, event), after in table.items():
        if state is not after:
            arrows.setdefault((state.value, after.value), []).append(event)
    lines = [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {start.value}", *lines, "```", ""])


def page() -> str:
    """Return the whole page."""
    return "\n".join(
        [
            HEAD.rstrip(),
            EXECUTION,
            draw(TRANSITIONS, ExecutionState.REQUESTED).rstrip(),
            KERNEL,
            draw(KERNEL_TRANSITIONS, KernelState.STARTING).rstrip(),
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
