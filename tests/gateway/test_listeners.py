"""Who listens to events: functions, channels, jupyter_events, OpenTelemetry; and that listening changes nothing."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from io import StringIO
from typing import Any

import jsonschema
import pytest
import trio
from jupyter_events import EventLogger
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from trio.testing import MockClock

from tools.gateway_tools import PATIENCE
from tools.rest_fake import ID_A, RestFake, error, open_fake
from trio_gateway import GatewayEvent, GatewayHTTPError, InvalidInputError, NoGatewayError, events
from trio_gateway.testing import FakeFleet

# -------------------------------------------------------------------------------------------------- functions and channels


async def test_a_function_is_told(autojump_clock: MockClock) -> None:
    told: list[GatewayEvent] = []
    async with open_fake(RestFake(), on_event=told.append) as gateway:
        await gateway.kernels.list()
    (event,) = told
    assert (event.kind, event.action, event.path, event.status_code) == ("request", "get", "/api/kernels", 200)


async def test_a_channel_is_told_and_ends_with_the_block(autojump_clock: MockClock) -> None:
    send, receive = trio.open_memory_channel[GatewayEvent](10)
    async with send, open_fake(RestFake(), on_event=send) as gateway:
        await gateway.kernels.list()
        assert (await receive.receive()).action == "get"
        assert gateway.dropped_events == 0
    with pytest.raises(trio.EndOfChannel):
        await receive.receive()


async def test_the_callers_own_end_of_the_channel_stays_open(autojump_clock: MockClock) -> None:
    send, receive = trio.open_memory_channel[GatewayEvent](10)
    async with open_fake(RestFake(), on_event=send):
        assert send.statistics().open_send_channels == 2
    assert send.statistics().open_send_channels == 1
    send.close()
    receive.close()


@pytest.mark.parametrize("size", [0, 2])
async def test_a_full_channel_loses_events_and_counts_them(
    autojump_clock: MockClock, size: int, caplog: pytest.LogCaptureFixture
) -> None:  # G7
    send, receive = trio.open_memory_channel[GatewayEvent](size)
    async with send, receive, open_fake(RestFake(), on_event=send) as gateway:
        for _ in range(5):
            await gateway.kernels.list()
        assert gateway.dropped_events == 5 - size
    assert caplog.text.count("event_dropped") == 1


async def test_a_channel_that_nobody_reads_any_more_is_no_error(autojump_clock: MockClock) -> None:
    send, receive = trio.open_memory_channel[GatewayEvent](10)
    receive.close()
    async with send, open_fake(RestFake(), on_event=send) as gateway:
        await gateway.kernels.list()
        assert gateway.dropped_events == 1


async def test_a_sink_that_raises_breaks_nothing_and_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[GatewayEvent] = []

    def bad(event: GatewayEvent) -> None:
        raise LookupError("my sink is broken")

    send, receive = trio.open_memory_channel[GatewayEvent](10)
    async with send, receive, open_fake(RestFake(), on_event=[bad, told.append, send]) as gateway:
        model = await gateway.kernels.start("python3")
        session = await gateway.sessions.create("a", kernel_id=model.id)
        assert await gateway.sessions.list() == [session]
        assert [kernel.id for kernel in await gateway.kernels.list()] == [model.id]
        assert len(told) == receive.statistics().current_buffer_used > 3
    assert "my sink is broken" in caplog.text
    assert "event_sink_failed" in caplog.text


async def test_signals_pass_through_a_sink(autojump_clock: MockClock) -> None:
    def sink(event: GatewayEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with open_fake(RestFake(), on_event=sink) as gateway:
            await gateway.kernels.list()


class _Async:
    async def __call__(self, event: GatewayEvent) -> None: ...


async def _async(event: GatewayEvent) -> None: ...


@pytest.mark.parametrize("listener", [5, "sink", [5], {}, _async, _Async(), [print, _async]])
async def test_what_cannot_listen_is_refused(autojump_clock: MockClock, listener: Any) -> None:  # G10
    with pytest.raises(InvalidInputError, match="on_event"):
        async with open_fake(RestFake(), on_event=listener):
            pass


# ---------------------------------------------------------------------------------------------------------- jupyter_events


class Jupyter:
    """A Jupyter event logger, and what it wrote."""

    def __init__(self) -> None:
        self.text = StringIO()
        self.logger = EventLogger(handlers=[logging.StreamHandler(self.text)])

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.getvalue().splitlines()]


@pytest.mark.parametrize("installed", [True, False])
async def test_requests_go_into_jupyter_events_and_fit_their_schema(
    autojump_clock: MockClock, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """System: `emit`, event schema `gateway_client/v1`. With Jupyter Server's own schema, and with ours where it is missing."""
    if not installed:
        monkeypatch.setattr(events, "_find_schema", lambda: None)
    jupyter = Jupyter()
    fake = RestFake()
    fake.add(ID_A)
    fake.script("POST .*", error(409))
    async with open_fake(fake, on_event=events.to_jupyter_events(jupyter.logger)) as gateway:
        await gateway.kernels.get(ID_A)
        await gateway.kernels.shutdown(ID_A)
        with pytest.raises(GatewayHTTPError):
            await gateway.kernels.interrupt(ID_A)
        fake.unresolvable = True
    written = jupyter.events()
    assert [(event["status"], event["status_code"]) for event in written] == [("success", 200), ("success", 204), ("error", 409)]
    assert {event["gateway_url"] for event in written} == {"http://gateway.test:8888/Base"}
    assert {event["__schema__"] for event in written} == {events.GATEWAY_CLIENT_SCHEMA_ID}
    assert written[0]["msg"] == f"GET /api/kernels/{ID_A}: success"
    assert "error 409" in written[2]["msg"]


async def test_an_event_without_an_answer_has_no_status_code(autojump_clock: MockClock) -> None:
    jupyter = Jupyter()
    fake = RestFake()
    fake.unresolvable = True
    sink = events.to_jupyter_events(jupyter.logger)
    async with open_fake(fake, on_event=sink) as gateway:
        with pytest.raises(ConnectionError):
            await gateway.kernels.list()
    (event,) = jupyter.events()
    assert event["status"] == "error"
    assert "status_code" not in event


def test_both_schemas_say_the_same() -> None:
    """Ours is written from the facts: it takes and refuses what Jupyter Server's does."""
    import yaml

    path = events._find_schema()
    assert path is not None
    theirs = yaml.safe_load(path.read_text(encoding="utf-8"))
    ours = events._GATEWAY_CLIENT_SCHEMA
    for data, fits in [
        ({"status": "success", "msg": "a"}, True),
        ({"status": "error", "msg": "", "status_code": 500, "gateway_url": "http://a"}, True),
        ({"status": "odd", "msg": "a"}, False),
        ({"status": "success"}, False),
        ({"msg": "a"}, False),
        ({"status": "success", "msg": 5}, False),
        ({"status": "success", "msg": "a", "status_code": "200"}, False),
        ({"status": "success", "msg": "a", "gateway_url": 5}, False),
    ]:
        for schema in (theirs, ours):
            assert jsonschema.Draft7Validator(schema).is_valid(data) is fits, (data, schema["title"])
    assert theirs["$id"] == ours["$id"]
    assert theirs["version"] == ours["version"]


def test_the_schema_that_a_logger_has_is_kept() -> None:
    jupyter = Jupyter()
    events.to_jupyter_events(jupyter.logger)
    events.to_jupyter_events(jupyter.logger)  # registering it twice would be an error


def test_what_is_no_event_logger_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="logger"):
        events.to_jupyter_events(logging.getLogger())  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------------- OpenTelemetry


class Telemetry:
    """OpenTelemetry's exporters in memory."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))

    def sink(self, **arguments: Any) -> events.EventSink:
        return events.to_opentelemetry(meter_provider=self.meters, tracer_provider=self.tracers, **arguments)

    def points(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        metrics = data.resource_metrics[0].scope_metrics[0].metrics
        return {metric.name: list(metric.data.data_points) for metric in metrics}

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


async def test_requests_and_actions_become_metrics_and_spans(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()
    fake = RestFake()
    fake.add(ID_A)
    fake.script(f"GET /api/kernels/{ID_A}", error(503), times=1)

    with telemetry.tracers.get_tracer("test").start_as_current_span("mine") as mine:
        async with open_fake(fake, on_event=telemetry.sink()) as gateway:
            await gateway.kernels.get(ID_A)
            await gateway.kernels.shutdown(ID_A)
            with pytest.raises(GatewayHTTPError):
                await gateway.kernels.interrupt(ID_A)

    server = {"server.address": "gateway.test", "server.port": 8888}
    points = telemetry.points()
    sent = {"http.request.method": "GET", "http.response.status_code": 200, **server}
    (attempts,) = [point for point in points["trio_gateway.request.attempts"] if point.attributes == sent]
    assert attempts.value == 2
    (duration,) = [point for point in points["trio_gateway.request.duration"] if point.attributes == sent]
    assert (duration.count, duration.sum > 0) == (1, True)
    kernel = {"trio_gateway.kind": "kernel", **server}
    assert {frozenset(point.attributes.items()) for point in points["trio_gateway.action.duration"]} == {
        frozenset({**kernel, "trio_gateway.action": "shutdown"}.items()),
        frozenset({**kernel, "trio_gateway.action": "interrupt", "error.type": "404"}.items()),
    }

    spans = telemetry.spans()
    assert set(spans) == {
        "mine",
        "GET /api/kernels/{kernel_id}",
        "DELETE /api/kernels/{kernel_id}",
        "POST /api/kernels/{kernel_id}/interrupt",
        "kernel shutdown",
        "kernel interrupt",
    }
    got = spans["GET /api/kernels/{kernel_id}"]
    assert got.attributes == {**sent, "url.path": f"/api/kernels/{ID_A}", "http.request.resend_count": 1}
    assert got.kind is trace.SpanKind.CLIENT
    assert got.parent is not None
    assert got.parent.span_id == mine.get_span_context().span_id
    assert got.status.is_ok or got.status.is_unset
    assert got.start_time is not None
    assert got.end_time is not None
    assert (got.end_time - got.start_time) / 1e9 == pytest.approx(duration.sum)
    failed = spans["kernel interrupt"]
    assert failed.kind is trace.SpanKind.INTERNAL
    assert not failed.status.is_ok
    assert failed.attributes is not None
    assert failed.attributes["trio_gateway.kernel.id"] == ID_A


async def test_pools_and_fleets_are_measured_too(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()
    async with FakeFleet(["one", "two"]) as fakes, fakes.open(on_event=telemetry.sink()) as fleet:
        async with fleet.open_pool(size=1, warm=1) as pool, pool.kernel() as kernel:
            pass
        fakes.fall("one")
        fakes.fall("two")
        with pytest.raises(NoGatewayError):
            async with fleet.start_kernel():
                pass
    done = {
        (point.attributes["trio_gateway.kind"], point.attributes["trio_gateway.action"], point.attributes.get("error.type"))
        for point in telemetry.points()["trio_gateway.action.duration"]
    }
    assert {("pool", "ready", None), ("pool", "lease", None), ("fleet", "down", "_OTHER")} <= done
    lease = telemetry.spans()["pool lease"]
    assert lease.attributes is not None
    assert lease.attributes["trio_gateway.kernel.id"] == kernel.id


async def test_spans_can_be_left_out(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()
    async with open_fake(RestFake(), on_event=telemetry.sink(spans=False)) as gateway:
        await gateway.kernels.list()
    assert telemetry.spans() == {}
    assert "trio_gateway.request.duration" in telemetry.points()


async def test_a_request_without_an_answer_is_told_apart(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()
    fake = RestFake()
    fake.unresolvable = True
    async with open_fake(fake, on_event=telemetry.sink()) as gateway:
        with pytest.raises(ConnectionError):
            await gateway.kernels.list()
    (point,) = telemetry.points()["trio_gateway.request.duration"]
    assert point.attributes["error.type"] == "_OTHER"
    assert "http.response.status_code" not in point.attributes


def test_metrics_have_no_attributes_of_many_values() -> None:
    event = GatewayEvent(kind="request", action="get", status="success", method="GET", path=f"/api/kernels/{ID_A}")
    assert ID_A not in str(events._attributes(event))


def test_without_its_extra_an_adapter_says_what_to_install() -> None:
    """Both adapters, in one interpreter that has neither package."""
    program = """
import sys
sys.modules["jupyter_events"] = sys.modules["opentelemetry"] = None
from trio_gateway import events
for adapt in (lambda: events.to_jupyter_events(None), events.to_opentelemetry):
    try:
        adapt()
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=PATIENCE)
    for line, extra in zip(done.stdout.splitlines(), ("events", "otel"), strict=True):
        assert f"trio-gateway[{extra}]" in line
