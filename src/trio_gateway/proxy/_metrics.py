"""What the proxy counts, and how Prometheus reads it.

The one idea: plain numbers, added to where things happen; they take Prometheus's form only when somebody asks for them, so a
message costs an addition and nothing more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import attrs
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric

__all__ = ["Metrics"]


@attrs.define(eq=False)
class Metrics:
    """The numbers of one proxy."""

    requests: Counter[tuple[str, int]] = attrs.field(factory=Counter)
    """HTTP requests by method and status."""
    request_seconds: float = 0.0
    """How long all of them took, in seconds."""
    channels: int = 0
    """WebSockets of front ends that are open."""
    channels_opened: int = 0
    """WebSockets of front ends that were accepted."""
    channels_closed: Counter[int] = attrs.field(factory=Counter)
    """WebSockets that ended, by close code."""
    resumed: int = 0
    """Connections to the gateway that were lost and made again."""
    frames_to_kernel: int = 0
    """Messages from front ends."""
    bytes_to_kernel: int = 0
    """Their size."""
    frames_to_front: int = 0
    """Messages to front ends."""
    bytes_to_front: int = 0
    """Their size."""

    def collect(self) -> Iterator[Metric]:
        """Return everything in Prometheus's form. For its registry."""
        requests = CounterMetricFamily("trio_gateway_proxy_requests", "HTTP requests.", labels=("method", "status"))
        for (method, status), count in sorted(self.requests.items()):
            requests.add_metric((method, str(status)), count)
        yield requests
        closed = CounterMetricFamily("trio_gateway_proxy_channels_closed", "Front ends' WebSockets that ended.", labels=("code",))
        for code, count in sorted(self.channels_closed.items()):
            closed.add_metric((str(code),), count)
        yield closed
        yield GaugeMetricFamily("trio_gateway_proxy_channels", "Front ends' WebSockets that are open.", self.channels)
        frames = CounterMetricFamily("trio_gateway_proxy_messages", "Messages relayed.", labels=("direction",))
        sizes = CounterMetricFamily("trio_gateway_proxy_message_bytes", "Bytes of messages relayed.", labels=("direction",))
        for direction, count, size in (
            ("to_kernel", self.frames_to_kernel, self.bytes_to_kernel),
            ("to_front", self.frames_to_front, self.bytes_to_front),
        ):
            frames.add_metric((direction,), count)
            sizes.add_metric((direction,), size)
        yield from (frames, sizes)
        for name, words, value in (
            ("request_seconds", "Time spent on HTTP requests, in seconds.", self.request_seconds),
            ("channels_opened", "Front ends' WebSockets that were accepted.", self.channels_opened),
            ("resumed", "Connections to the gateway that were lost and made again.", self.resumed),
        ):
            yield CounterMetricFamily(f"trio_gateway_proxy_{name}", words, value)

    def exposition(self) -> tuple[str, bytes]:
        """Return the content type and the text that Prometheus reads."""
        registry = CollectorRegistry()
        registry.register(self)
        return CONTENT_TYPE_LATEST, generate_latest(registry)
