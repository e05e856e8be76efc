"""What is read of each type of message, and as what.

The one idea: one table says which field of which message is read as what, and everyone who needs a field asks here. A field that
is missing, null or of another type is read as what it can be (see `_values`), so only a content that is no object can't be read
at all. Whether that matters depends on the type: of an output or an `execute_reply` it is a gap in the execution's result, of
another reply it is an error for its caller, and the rest (a status, a comm's message) is skipped.

Fields that are not in the table are passed on as they are. Source of the fields: "Messaging in Jupyter", version 5.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from .._errors import ProtocolError
from .._values import as_bundle, as_count, as_flag, as_lines, as_object, as_text
from .messages import Message

__all__ = ["FIELDS", "execution_state", "look", "metadata_of", "parent_of", "read"]


def _stream_name(value: object) -> str:
    return "stderr" if value == "stderr" else "stdout"


def _display_id(value: object) -> dict[str, Any]:
    fields = as_object(value)
    name = fields.get("display_id")
    return {**fields, "display_id": as_text(name)} if name is not None else fields


def _lines(value: object) -> list[str]:
    return list(as_lines(value))


def _is_restart(value: object) -> bool:
    """Strictly: by a yes, callers who wait for the process learn that it goes; after a no, the gateway can be asked."""
    return value in (1, "true")


def _status(value: object) -> str:
    return as_text(value) if isinstance(value, (str, list)) else ""


_DISPLAY: Final[Mapping[str, Callable[[object], Any]]] = {"data": as_bundle, "metadata": as_object, "transient": _display_id}
_ERROR: Final[Mapping[str, Callable[[object], Any]]] = {"ename": as_text, "evalue": as_text, "traceback": _lines}

FIELDS: Final[Mapping[str, Mapping[str, Callable[[object], Any]]]] = {
    "stream": {"name": _stream_name, "text": as_text},
    "display_data": _DISPLAY,
    "update_display_data": _DISPLAY,
    "execute_result": {**_DISPLAY, "execution_count": as_count},
    "error": _ERROR,
    "clear_output": {"wait": as_flag},
    "status": {"execution_state": as_text},
    "execute_input": {"code": as_text, "execution_count": as_count},
    "execute_reply": {"status": _status, "execution_count": as_count},
    "input_request": {"prompt": as_text, "password": as_flag},
    "comm_open": {"comm_id": as_text, "target_name": as_text, "data": as_object},
    "comm_msg": {"comm_id": as_text, "data": as_object},
    "comm_close": {"comm_id": as_text, "data": as_object},
    "shutdown_reply": {"restart": _is_restart},
    "kernel_info_reply": {"implementation": as_text, "supported_features": _lines},
    "comm_info_reply": {"comms": as_object},
}
"""By message type: which of its fields are read, and as what."""
_NONE: Final[Mapping[str, Callable[[object], Any]]] = {}


def read(message: Message) -> dict[str, Any]:
    """Return a message's content, each known field as what it should be, and there.

    Raises:
        ProtocolError: it can't be read at all: it is no object of JSON.
    """
    return _read(message.header.msg_type, message.content)


def look(message: Message) -> dict[str, Any]:
    """Return a message's content as `read` does; where it can't be read at all, as if all were missing. Keeps nothing."""
    try:
        content = message.peek_content()
    except ProtocolError:
        content = {}
    return _read(message.header.msg_type, content)


def _read(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(content)
    for name, as_it_should_be in FIELDS.get(kind, _NONE).items():
        fields[name] = as_it_should_be(content.get(name))
    return fields


def execution_state(message: Message) -> str:
    """Return what a `status` says that the kernel does; `""` where that can't be read. Quick: each kernel sends many."""
    try:
        state = message.content.get("execution_state")
    except ProtocolError:
        return ""
    return state if isinstance(state, str) else as_text(state)


def parent_of(message: Message) -> Mapping[str, Any]:
    """Return the header of the request that caused a message; empty where it is no object."""
    try:
        return message.parent_header
    except ProtocolError:
        return {}


def metadata_of(message: Message) -> Mapping[str, Any]:
    """Return a message's metadata; empty where it is no object."""
    try:
        return message.metadata
    except ProtocolError:
        return {}
