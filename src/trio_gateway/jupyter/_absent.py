"""What jupyter_client's managers and clients have for kernels on this machine, and a kernel on a gateway has not.

The one idea: the caller who asks for it gets a typed error that says why, at once, in place of ports that are 0 and sockets
that never get a message.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from ._errors import NotOnAGatewayError

__all__ = ["WithoutProcess", "WithoutSockets"]

_NO_SOCKETS: Final = (
    "a kernel on a gateway is reached over the gateway's WebSocket, and has neither ports nor a connection file here; "
    "client() gives a client for it, and blocking_client() one that blocks"
)
_NO_PROCESS: Final = "the kernel's process is the gateway's, which starts it; start_kernel() asks it to"


def _absent(name: str, why: str) -> Any:
    def method(self: object, *arguments: object, **more: object) -> NoReturn:
        del self, arguments, more
        raise NotOnAGatewayError(name, why)

    method.__name__ = name
    method.__doc__ = f"Raise NotOnAGatewayError: {why}."
    return method


class WithoutSockets:
    """In place of jupyter_client's `ConnectionFileMixin`, where it would read or write connection files, or make sockets."""

    connect_shell: Any = _absent("connect_shell", _NO_SOCKETS)
    connect_iopub: Any = _absent("connect_iopub", _NO_SOCKETS)
    connect_stdin: Any = _absent("connect_stdin", _NO_SOCKETS)
    connect_control: Any = _absent("connect_control", _NO_SOCKETS)
    connect_hb: Any = _absent("connect_hb", _NO_SOCKETS)
    get_connection_info: Any = _absent("get_connection_info", _NO_SOCKETS)
    load_connection_file: Any = _absent("load_connection_file", _NO_SOCKETS)
    load_connection_info: Any = _absent("load_connection_info", _NO_SOCKETS)
    write_connection_file: Any = _absent("write_connection_file", _NO_SOCKETS)


class WithoutProcess(WithoutSockets):
    """In place of jupyter_client's `KernelManager`, where it would start a process."""

    format_kernel_cmd: Any = _absent("format_kernel_cmd", _NO_PROCESS)
    pre_start_kernel: Any = _absent("pre_start_kernel", _NO_PROCESS)
    post_start_kernel: Any = _absent("post_start_kernel", _NO_PROCESS)
