"""What the proxy counts, and Prometheus's form of it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from trio_gateway.proxy._metrics import Metrics, Traffic


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """What Prometheus reads: by name and the values of labels."""
    content_type, text = metrics.exposition()
    assert content_type.startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        assert family.name.startswith("trio_gateway_proxy_")
        assert family.documentation.endswith(".")
        for sample in family.samples:
            found[sample.name.removeprefix("trio_gateway_proxy_"), tuple(sample.labels.values())] = sample.value
    return found


def test_a_new_proxy_has_counted_nothing() -> None:
    assert set(samples(Metrics()).values()) == {0.0}


def test_messages_are_counted_for_their_kernel_and_for_all() -> None:
    metrics = Metrics()
    first, second = metrics.opened("a"), metrics.opened("b")
    metrics.to_front(first, 3, 300)
    metrics.to_front(second, 1, 10)
    metrics.to_kernel(first, 7)
    assert (metrics.of("a").to_front, metrics.of("a").to_kernel) == (3, 1)
    assert (metrics.of("b").to_front, metrics.of("b").to_kernel) == (1, 0)
    read = samples(metrics)
    assert read["messages_total", ("to_front",)] == 4
    assert read["message_bytes_total", ("to_front",)] == 310
    assert read["messages_total", ("to_kernel",)] == 1
    assert read["message_bytes_total", ("to_kernel",)] == 7


def test_a_kernel_is_known_while_a_front_end_is_connected_to_it() -> None:
    metrics = Metrics()
    assert metrics.of("a") == metrics.of("a") or metrics.of("a").channels == 0
    one, two = metrics.opened("a"), metrics.opened("a")
    assert one is two
    assert metrics.of("a").channels == 2
    metrics.closed("a", 1000)
    assert metrics.of("a") is one
    metrics.closed("a", 1006)
    assert metrics.kernels == {}
    assert metrics.of("a").channels == 0
    read = samples(metrics)
    assert read["channels", ()] == 0
    assert read["channels_opened_total", ()] == 2
    assert (read["channels_closed_total", ("1000",)], read["channels_closed_total", ("1006",)]) == (1, 1)


def test_to_ask_for_a_kernel_that_nobody_is_connected_to_keeps_nothing() -> None:
    metrics = Metrics()
    metrics.of("a").channels += 1
    assert metrics.kernels == {}
    assert isinstance(metrics.of("a"), Traffic)


def test_requests_are_counted_by_method_and_status() -> None:
    metrics = Metrics(request_seconds=1.5, resumed=2)
    metrics.requests["GET", 200] += 2
    metrics.requests["POST", 404] += 1
    read = samples(metrics)
    assert read["requests_total", ("GET", "200")] == 2
    assert read["requests_total", ("POST", "404")] == 1
    assert read["request_seconds_total", ()] == 1.5
    assert read["resumed_total", ()] == 2
