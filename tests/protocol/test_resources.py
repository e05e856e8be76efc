"""The files of a kernelspec: where they are, what they are, and which copies are kept."""

from __future__ import annotations

from typing import Any

import pytest

from trio_gateway._models import KernelSpec, KernelSpecResource
from trio_gateway._protocol.headers import Headers
from trio_gateway._protocol.resources import ResourceCache, media_type, relocate, resource_file, time_to_live


@pytest.mark.parametrize(
    ("listed", "file"),
    [
        ("logo.png", "logo.png"),
        ("a/b.js", "a/b.js"),
        ("/kernelspecs/ir/logo.png", "logo.png"),
        ("/Base/kernelspecs/ir/a/b.js?v=1#x", "a/b.js"),
        ("/kernelspecs/ir/my%20logo.png", "my logo.png"),
        ("/kernelspecs/ir/logo.png#x", "logo.png"),
        ("/kernelspecs/ir/kernelspecs/ir/x.png", "kernelspecs/ir/x.png"),
        ("/ir/kernelspecs/ir/logo.png", "logo.png"),
        ("/files/ir/logo.png", "logo.png"),
        ("/files/ir/a/ir/logo.png", "a/ir/logo.png"),
        ("/somewhere/else/logo.png", "logo.png"),
        ("/kernelspecs/ir/../../api/kernels", "../../api/kernels"),  # and that is refused later
        ("../x", "../x"),
    ],
)
def test_a_file_is_found_in_what_a_gateway_lists(listed: str, file: str) -> None:
    assert resource_file("ir", listed) == file


def test_resources_are_moved_to_where_the_gateway_is() -> None:  # lesson B39
    spec = KernelSpec(
        name="a b",
        resources={
            "bad": "/kernelspecs/a b/../../x",
            "empty": "",
            "logo": "/kernelspecs/a%20b/logo.png",
            "script": "/wrong/kernelspecs/a b/kernel.js",
        },
    )
    assert relocate(spec, "/Base/kernelspecs").resources == {
        "logo": "/Base/kernelspecs/a%20b/logo.png",
        "script": "/Base/kernelspecs/a%20b/kernel.js",
    }


@pytest.mark.parametrize(
    ("header", "file", "expected"),
    [
        ("image/png", "x.svg", "image/png"),
        ("Text/HTML; charset=utf-8", "x", "text/html"),
        ("application/octet-stream", "kernel.js", "text/javascript"),
        (None, "logo.svg", "image/svg+xml"),
        ("nonsense", "logo.png", "image/png"),
        ("nonsense", "logo.webp", "image/webp"),
        ("a/b\r\nX: y", "x", "application/octet-stream"),
        ("", "unknown.thing", "application/octet-stream"),
    ],
)
def test_media_types(header: str | None, file: str, expected: str) -> None:
    assert media_type(header, file) == expected


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("max-age=60", 60.0),
        ('public, MAX-AGE="60"', 60.0),
        ("max-age=2592000", 86_400.0),
        ("max-age=99999999999999", 0.0),
        ("max-age=-5", 0.0),
        ("max-age=x", 0.0),
        ("max-age=\u0661", 0.0),  # a digit, and no number of a header
        ("no-cache, max-age=60", 0.0),
        ("no-store, max-age=60", None),
        ("", 0.0),
    ],
)
def test_how_long_a_copy_is_good(value: str, seconds: float | None) -> None:
    assert time_to_live(Headers([("cache-control", value)])) == seconds
    assert time_to_live(Headers([])) == 0.0


def resource(size: int = 1, etag: str | None = '"e"') -> KernelSpecResource:
    return KernelSpecResource(content=b"x" * size, media_type="image/png", etag=etag)


def test_a_copy_is_good_for_its_time_and_then_asked_about() -> None:
    cache = ResourceCache()
    logo = resource()
    cache.put(("a", "b"), logo, now=100, ttl=10)
    assert cache.get(("a", "b"), 109.9) == (logo, True)
    assert cache.get(("a", "b"), 110) == (logo, False)
    assert cache.get(("a", "c"), 100) == (None, False)


@pytest.mark.parametrize(("etag", "ttl", "kept"), [('"e"', 0.0, 1), (None, 0.0, 0), (None, 5.0, 1), ('"e"', None, 0)])
def test_only_what_is_of_use_is_kept(etag: str | None, ttl: Any, kept: int) -> None:
    cache = ResourceCache()
    cache.put(("a", "b"), resource(etag='"before"'), now=0, ttl=5)
    cache.put(("a", "b"), resource(etag=etag), now=0, ttl=ttl)
    assert (len(cache), cache.bytes) == (kept, kept)


def test_the_cache_is_bounded_in_number_and_bytes_and_drops_what_was_not_used() -> None:  # G7
    cache = ResourceCache(max_entries=3, max_bytes=10)
    for name in "abc":
        cache.put((name, "f"), resource(2), now=0, ttl=5)
    cache.get(("a", "f"), 0)
    cache.put(("d", "f"), resource(2), now=0, ttl=5)
    assert cache.get(("b", "f"), 0) == (None, False)
    assert cache.get(("a", "f"), 0)[1]
    cache.put(("e", "f"), resource(7), now=0, ttl=5)
    assert (len(cache), cache.bytes) == (2, 9)
    cache.put(("f", "f"), resource(11), now=0, ttl=5)
    assert (len(cache), cache.bytes) == (2, 9)
    cache.put(("e", "f"), resource(1), now=0, ttl=5)
    assert cache.bytes == 3
    cache.put(("g", "f"), resource(7), now=0, ttl=5)
    assert (len(cache), cache.bytes) == (3, 10)
    cache.put(("h", "f"), resource(10), now=0, ttl=5)
    assert (len(cache), cache.bytes) == (1, 10)


def test_how_much_a_cache_keeps_by_itself() -> None:  # G7
    cache = ResourceCache()
    for number in range(100):
        cache.put((str(number), "f"), resource(), now=0, ttl=5)
    assert len(cache) == 64
