"""What a face does with each public member of the Trio classes: the one declaration that both faces are made from.

The one idea: a face is not written member by member. For each member stands here where it happens and what comes of it, and the
asyncio and the blocking face make of that what their callers need (`faces`). A public member that has no entry is an error of a
test's, so nothing is forgotten.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from .._documents.sessions import Sessions
from .._fleet.fleet import Fleet
from .._fleet.kernels import FleetKernels, FleetKernelSpecs
from .._gateway.gateway import Gateway
from .._gateway.kernels import Kernels
from .._gateway.kernelspecs import KernelSpecDirectory
from .._kernel.channels import Channel, Subscription
from .._kernel.comms import Comm, Comms, IncomingComms
from .._kernel.executor import OutputStream
from .._kernel.frame_relay import KernelChannels
from .._kernel.kernel import HeartbeatChannel, Kernel, Subshell
from .._pool.jobs import JobResults
from .._pool.pool import KernelPool

__all__ = ["MEMBERS", "Declared", "Function", "How"]


class How(enum.Enum):
    """What a face does with a member."""

    ON_THE_SPOT = enum.auto()
    """It is read, or called, in the caller's thread: it neither waits nor looks at Trio's clock, and changes nothing."""
    IN_TRIO = enum.auto()
    """It is read, or called, in Trio's thread: it does not wait, but looks at the clock, or at what tasks are changing."""
    PART = enum.auto()
    """It gives an object that has a face too, the same one each time. It is read on the spot."""
    LATE_PART = enum.auto()
    """So does this, but the object is made when it is first asked for: in Trio's thread."""
    AWAITS = enum.auto()
    """It is a call: its caller waits for what comes of it, which is a value."""
    CLOSES = enum.auto()
    """It is a call after which nothing is read any more: what was handed over and not read is forgotten."""
    GIVES_BLOCK = enum.auto()
    """It gives a block, which is entered and left in Trio."""
    OFFERS = enum.auto()
    """So does this; and functions of the caller's, which are given under any name, are called where the caller is at any time
    while the block lasts."""
    GIVES_ITEMS = enum.auto()
    """It gives items that come of tasks in Trio; what these ask, such as to call a handler, those answer who read the items."""
    GIVES_CLIENT = enum.auto()
    """It gives a block that gives an httpx client."""
    RECEIVES = enum.auto()
    """It waits for the next item; items are handed over in bulk (`prefetch`)."""
    RECEIVES_NOWAIT = enum.auto()
    """It takes the next item, if one was handed over or is ready in Trio."""
    RECEIVES_READY = enum.auto()
    """It takes those items that were handed over or are ready in Trio."""
    COUNTS_ITEMS = enum.auto()
    """It says in Trio's thread how many items wait, to which those are added that were handed over and not read."""
    COUNTS_EVENTS = enum.auto()
    """It says how many events were lost, to which those are added that were lost on their way to an event loop."""
    INTERNAL = enum.auto()
    """The library's own parts call it: no face has it."""


Declared = Mapping[How, tuple[str, ...]]
"""What a face does with each public member of a Trio class."""

MEMBERS: Final[Mapping[type, Declared]] = {
    Gateway: {
        How.ON_THE_SPOT: ("address", "config", "url"),
        How.PART: ("kernels", "kernelspecs"),
        How.LATE_PART: ("sessions",),
        How.COUNTS_EVENTS: ("dropped_events",),
        How.GIVES_BLOCK: ("start_kernel", "attach_kernel", "open_channels", "open_pool"),
        How.GIVES_CLIENT: ("http_client",),
        How.INTERNAL: ("start_prepared", "be_called"),
    },
    Fleet: {
        How.ON_THE_SPOT: ("gateway",),
        How.IN_TRIO: ("gateways", "resume"),
        How.PART: ("kernels", "kernelspecs"),
        How.COUNTS_EVENTS: ("dropped_events",),
        How.AWAITS: ("drain",),
        How.GIVES_BLOCK: ("start_kernel", "attach_kernel", "open_channels", "open_pool"),
        How.INTERNAL: ("standing", "has_lost", "start_unowned"),
    },
    FleetKernels: {
        How.AWAITS: ("list", "get", "start", "interrupt", "restart", "shutdown", "shutdown_all", "cull"),
        How.INTERNAL: ("undo_start",),
    },
    FleetKernelSpecs: {
        How.AWAITS: ("list", "get", "default_name", "resource", "check"),
        How.INTERNAL: ("find_listed",),
    },
    KernelPool: {
        How.ON_THE_SPOT: ("size", "warm", "map"),
        How.IN_TRIO: ("statistics",),
        How.AWAITS: ("run", "wait_ready", "drain"),
        How.GIVES_BLOCK: ("kernel",),
        How.INTERNAL: (
            *("became_ready", "start_failed", "was_lost", "is_cut_off", "has_gone", "keep", "close", "look_again"),
            "jobs",
        ),
    },
    JobResults: {
        How.CLOSES: ("aclose",),
    },
    Kernels: {
        How.AWAITS: ("list", "get", "start", "interrupt", "restart", "shutdown", "shutdown_all", "cull"),
        How.INTERNAL: ("prepare", "fit", "keep_culling", "start_prepared", "undo_start", "note_met"),
    },
    KernelSpecDirectory: {
        How.AWAITS: ("list", "get", "default_name", "resource", "check", "interrupt_mode"),
        How.INTERNAL: ("find_listed", "last_listed"),
    },
    Sessions: {
        How.AWAITS: ("create", "get", "list", "update", "delete"),
    },
    Kernel: {
        How.ON_THE_SPOT: ("id", "name", "session_id", "state", "connection_state", "changes"),
        How.PART: ("shell", "iopub", "stdin", "control", "hb", "comms"),
        How.AWAITS: (
            "execute", "wait_for", "complete", "inspect", "history", "is_complete", "comm_info", "kernel_info", "debug",
            "interrupt", "restart", "shutdown",
        ),
        How.IN_TRIO: ("verdict",),
        How.GIVES_BLOCK: ("stream", "subshell"),
        How.INTERNAL: (
            "ask_control", "ask_process", "ask_shell", "ask_spec", "account_for_losses", "keep_process", "note_shut_down",
        ),
    },
    Subshell: {
        How.ON_THE_SPOT: ("id",),
        How.AWAITS: ("execute",),
        How.GIVES_BLOCK: ("stream",),
    },
    HeartbeatChannel: {
        How.IN_TRIO: ("verdict", "evidence", "is_beating", "silence"),
        How.AWAITS: ("check",),
    },
    Channel: {
        How.ON_THE_SPOT: ("name",),
        How.IN_TRIO: ("statistics",),
        How.AWAITS: ("send", "forward"),
        How.GIVES_BLOCK: ("subscribe",),
        How.INTERNAL: ("publish", "end", "send_last"),
    },
    Subscription: {
        How.RECEIVES: ("receive",),
        How.RECEIVES_NOWAIT: ("receive_nowait",),
        How.RECEIVES_READY: ("receive_ready",),
        How.COUNTS_ITEMS: ("statistics",),
        How.CLOSES: ("aclose",),
    },
    OutputStream: {
        How.RECEIVES_READY: ("receive_ready",),
        How.IN_TRIO: ("result",),
        How.COUNTS_ITEMS: ("statistics",),
        How.INTERNAL: ("read", "run_out", "request_id", "process", "told_end"),
    },
    Comms: {
        How.GIVES_BLOCK: ("open", "accept"),
        How.INTERNAL: ("observe", "adopt", "close", "end", "find_lost"),
    },
    Comm: {
        How.ON_THE_SPOT: ("id", "target_name", "opening", "closed"),
        How.AWAITS: ("send",),
        How.RECEIVES: ("receive",),
        How.RECEIVES_READY: ("receive_ready",),
        How.CLOSES: ("aclose",),
    },
    IncomingComms: {
        How.RECEIVES: ("receive",),
        How.RECEIVES_READY: ("receive_ready",),
        How.CLOSES: ("aclose",),
    },
    KernelChannels: {
        How.ON_THE_SPOT: ("kernel_state", "resumed"),
        How.AWAITS: ("wait_opened", "send"),
        How.RECEIVES: ("receive",),
        How.INTERNAL: (
            "begin", "connections", "ended", "gone", "is_gone", "kernel_id", "liveness", "lost", "opened", "paused",
            "receive_all", "refused", "run", "send_all", "sending", "session_id",
        ),
    },
}  # fmt: skip
"""Each Trio class that has faces, and each of its public members. To iterate is to receive, and needs no entry."""


@attrs.frozen
class Function:
    """A public function of a module beside the library's front door, whose first argument is an object that lives in Trio.

    Or a class, of which its users make objects.

    A face has one of the same name in a module of the same name, which takes the object's face.
    """

    origin: Callable[..., Any]
    """The function, or the class."""
    how: How
    """What a face does with it: as with a method of its first argument. A class is called on the spot."""
    module: str
    """The module's name below that of the library, or of a face."""
    takes: tuple[type, ...]
    """The classes of which the first argument may be."""
    reads: Mapping[str, Callable[[Any], Any]] = attrs.field(factory=dict)
    """What is done with some arguments where the caller is, by their names: what they give is read there."""
