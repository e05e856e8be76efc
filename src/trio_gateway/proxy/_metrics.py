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

__all__ = ["Metrics", "Traffic"]


@attrs.define(eq=False)
class Traffic:
    """What goes between one kernel and its front ends while any is connected."""

    channels: int = 0
    """WebSockets of front ends that are open."""
    to_kernel: int = 0
    """Messages from front ends."""
    to_front: int = 0
    """Messages to front ends."""


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

    kernels: dict[str, Traffic] = attrs.field(factory=dict)
    """Kernels to which front ends are connected, by id."""

    def of(self, kernel_id: str) -> Traffic:
        """Return what goes to and from a kernel; nothing, where no front end is connected."""
        return self.kernels.get(kernel_id) or Traffic()

    def opened(self, kernel_id: str) -> Traffic:
        """A front end was connected to a kernel: count it, and return where its messages are counted."""
        self.channels += 1
        self.channels_opened += 1
        traffic = self.kernels.setdefault(kernel_id, Traffic())
        traffic.channels += 1
        return traffic

    def closed(self, kernel_id: str, code: int) -> None:
        """A front end's connection ended, with this close code."""
        self.channels -= 1
        self.channels_closed[code] += 1
        traffic = self.kernels[kernel_id]
        traffic.channels -= 1
        if not traffic.channels:
            del self.kernels[kernel_id]

    def to_front(self, traffic: Traffic, frames: int, size: int) -> None:
        """So many messages, of so many bytes, go to a front end."""
        traffic.to_front += frames
        self.frames_to_front += frames
        self.bytes_to_front += size

    def to_kernel(self, traffic: Traffic, size: int) -> None:
        """A message of so many bytes goes to a kernel."""
        traffic.to_kernel += 1
        self.frames_to_kernel += 1
        self.bytes_to_kernel += size

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
