"""Adapters for what `on_event` tells: into Jupyter's event system, and into OpenTelemetry.

The one idea: an adapter is a plain sink, made once and given to `open_gateway(on_event=...)`; it translates, and decides nothing.
The libraries are imported when an adapter is made: they belong to the extras `events` and `otel`.
"""

from __future__ import annotations

import importlib.util
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ._errors import InvalidInputError, missing_extra
from ._events import EventSink, GatewayEvent

if TYPE_CHECKING:
    from jupyter_events import EventLogger
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["GATEWAY_CLIENT_SCHEMA_ID", "EventSink", "GatewayEvent", "to_jupyter_events", "to_opentelemetry"]

GATEWAY_CLIENT_SCHEMA_ID: Final = "https://events.jupyter.org/jupyter_server/gateway_client/v1"
"""The schema of Jupyter Server's events about requests to a gateway."""

_GATEWAY_CLIENT_SCHEMA: Final[Mapping[str, Any]] = {
    "$id": GATEWAY_CLIENT_SCHEMA_ID,
    "version": "1",
    "title": "Requests to a gateway",
    "personal-data": True,
    "description": "A request that was made to a Jupyter gateway, and how it ended.",
    "type": "object",
    "required": ["status", "msg"],
    "properties": {
        "status": {"enum": ["error", "success"], "description": "How the request ended."},
        "status_code": {"type": "number", "description": "The HTTP status of the answer, where there was one."},
        "msg": {"type": "string", "description": "What happened, for a person."},
        "gateway_url": {"type": "string", "description": "The gateway's URL."},
    },
}
"""Said in our own words, for where Jupyter Server, whose schema it is, is not installed."""


def to_jupyter_events(logger: EventLogger) -> EventSink:
    """Make a sink that emits each request into `jupyter_events`, as Jupyter Server's own gateway client does.

    Events have the schema `https://events.jupyter.org/jupyter_server/gateway_client/v1`, are checked against it, and go to the
    logger's handlers. If the logger does not have the schema yet, it gets it: Jupyter Server's, where that is installed. Its
    *listeners* are coroutines of asyncio: they need its event loop to run in the thread in which Trio does. Events of other
    kinds than `"request"` have no schema, and are left out: the requests that they were made of have events anyway.

    Args:
        logger: where to.

    Returns:
        A sink for `open_gateway(on_event=...)`.

    Raises:
        InvalidInputError: that is no event logger.
        ModuleNotFoundError: the extra `events` is not installed.
    """
    try:
        from jupyter_events import EventLogger
    except ModuleNotFoundError as error:
        raise missing_extra(error, "trio_gateway.events.to_jupyter_events()", "events") from None
    if not isinstance(logger, EventLogger):
        raise InvalidInputError("logger", logger, "a jupyter_events.EventLogger")
    if GATEWAY_CLIENT_SCHEMA_ID not in logger.schemas:
        logger.register_event_schema(_find_schema() or dict(_GATEWAY_CLIENT_SCHEMA))

    def emit(event: GatewayEvent) -> None:
        if event.kind == "request":
            logger.emit(schema_id=GATEWAY_CLIENT_SCHEMA_ID, data=_gateway_client_data(event))

    return emit


def _find_schema() -> Path | None:
    """Find Jupyter Server's schema without importing it: that would take long."""
    found = importlib.util.find_spec("jupyter_server")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "event_schemas" / "gateway_client" / "v1.yaml"
    return path if path.is_file() else None


def _gateway_client_data(event: GatewayEvent) -> dict[str, Any]:
    said = event.message or (f"{event.method} {event.path}: " if event.path else "") + event.status
    data: dict[str, Any] = {"status": event.status, "msg": said}
    if event.status_code is not None:
        data["status_code"] = event.status_code
    if event.gateway_url:
        data["gateway_url"] = event.gateway_url
    return data


# ------------------------------------------------------------------------------------------------------------ OpenTelemetry

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_KERNEL_ID: Final = re.compile(r"\w+-\w+-\w+-\w+-\w+", re.ASCII)


def to_opentelemetry(
    *, meter_provider: MeterProvider | None = None, tracer_provider: TracerProvider | None = None, spans: bool = True
) -> EventSink:
    """Make a sink that turns events into OpenTelemetry's metrics and spans.

    Metrics:

    - `trio_gateway.request.duration` (histogram, seconds): a request with all its attempts, by `http.request.method`,
      `http.response.status_code` (where there was an answer), `server.address`, `server.port` and, on failure, `error.type`.
    - `trio_gateway.request.attempts` (counter): how often requests were sent, by the same.
    - `trio_gateway.action.duration` (histogram, seconds): an action on a kernel or session, by `trio_gateway.kind`,
      `trio_gateway.action`, `server.address`, `server.port` and, on failure, `error.type`.

    Each event becomes a span too, a child of whichever is current in the task that did the work; its times are when the work
    began and ended.

    Args:
        meter_provider: where metrics go; None for the process's own.
        tracer_provider: where spans go; None for the process's own.
        spans: whether to make spans.

    Returns:
        A sink for `open_gateway(on_event=...)`.

    Raises:
        ModuleNotFoundError: the extra `otel` is not installed.
    """
    try:
        from opentelemetry import metrics, trace
    except ModuleNotFoundError as error:
        raise missing_extra(error, "trio_gateway.events.to_opentelemetry()", "otel") from None
    from ._version import __version__

    meter = metrics.get_meter("trio_gateway", __version__, meter_provider)
    tracer = trace.get_tracer("trio_gateway", __version__, tracer_provider)
    duration = meter.create_histogram(
        "trio_gateway.request.duration",
        unit="s",
        description="How long requests to a gateway took, with all their attempts",
        explicit_bucket_boundaries_advisory=_SECONDS,
    )
    attempts = meter.create_counter(
        "trio_gateway.request.attempts", unit="{attempt}", description="How often requests to a gateway were sent"
    )
    actions = meter.create_histogram(
        "trio_gateway.action.duration",
        unit="s",
        description="How long actions on kernels and sessions took",
        explicit_bucket_boundaries_advisory=_SECONDS,
    )

    def record(event: GatewayEvent) -> None:
        attributes = _attributes(event)
        if event.kind == "request":
            duration.record(event.seconds, attributes)
            attempts.add(event.attempts, attributes)
        else:
            actions.record(event.seconds, attributes)
        if spans:
            ended = time.time_ns()
            span = tracer.start_span(
                _span_name(event),
                kind=trace.SpanKind.CLIENT if event.kind == "request" else trace.SpanKind.INTERNAL,
                attributes={**attributes, **_details(event)},
                start_time=ended - round(event.seconds * 1e9),
            )
            if event.status == "error":
                span.set_status(trace.Status(trace.StatusCode.ERROR, event.message))
            span.end(ended)

    return record


def _attributes(event: GatewayEvent) -> dict[str, str | int]:
    """Return the labels of metrics: nothing that has many values, such as a kernel's id."""
    attributes: dict[str, str | int] = {}
    if event.method is not None:
        attributes["http.request.method"] = event.method
    else:
        attributes["trio_gateway.kind"] = event.kind
        attributes["trio_gateway.action"] = event.action
    if event.method is not None and event.status_code is not None:
        attributes["http.response.status_code"] = event.status_code
    if event.status == "error":
        attributes["error.type"] = "_OTHER" if event.status_code is None else str(event.status_code)
    if event.gateway_url:
        url = urlsplit(event.gateway_url)
        attributes["server.address"] = url.hostname or ""
        attributes["server.port"] = url.port or (443 if url.scheme == "https" else 80)
    return attributes


def _details(event: GatewayEvent) -> dict[str, str | int]:
    details: dict[str, str | int] = {}
    if event.path is not None:
        details["url.path"] = event.path
    if event.attempts > 1:
        details["http.request.resend_count"] = event.attempts - 1
    if event.kernel_id is not None:
        details["trio_gateway.kernel.id"] = event.kernel_id
    if event.kernel_name is not None:
        details["trio_gateway.kernel.name"] = event.kernel_name
    if event.message and event.status == "success":
        details["trio_gateway.message"] = event.message
    return details


def _span_name(event: GatewayEvent) -> str:
    if event.method is None or event.path is None:
        return f"{event.kind} {event.action}"
    return f"{event.method} {_KERNEL_ID.sub('{kernel_id}', event.path)}"
