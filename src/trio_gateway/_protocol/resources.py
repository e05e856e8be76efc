"""The files of a kernelspec, without the wire: where one is, of what type it is, and how long a copy of it is good.

The one idea: of a URL path that a gateway lists, only the part below the kernelspec's folder is believed. Where the gateway is
seen from here, behind whatever prefix, its own answer can't say.
"""

from __future__ import annotations

import mimetypes
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import attrs

from .._models import KernelSpec, KernelSpecResource
from .rest import resource_path

__all__ = ["ResourceCache", "media_type", "relocate", "resource_file", "time_to_live"]

_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127}", re.ASCII)
_LONGEST_TTL: Final = 86_400.0
"""However long a gateway says that a file stays as it is, after a day it is asked again."""


def resource_file(name: str, listed: str) -> str:
    """Return a file's path in its kernelspec's folder.

    Args:
        name: the kernelspec.
        listed: such a path already; or a URL path, from "/" on, as `KernelSpec.resources` has it.
    """
    if not listed.startswith("/"):
        return listed
    path = unquote(listed.partition("?")[0].partition("#")[0])
    _, found, file = path.partition(f"/kernelspecs/{name}/")
    if not found:
        _, found, file = path.partition(f"/{name}/")
    return file if found else path.rpartition("/")[2]


def relocate(spec: KernelSpec, prefix: str) -> KernelSpec:
    """Return a kernelspec whose resources have paths below `prefix`. One that can't be a path in its folder is left out.

    Args:
        spec: the kernelspec.
        prefix: the path under which kernelspecs' folders are, escaped, such as `"/base/kernelspecs"`.
    """
    resources: dict[str, str] = {}
    for key, listed in spec.resources.items():
        try:
            resources[key] = resource_path(prefix, spec.name, resource_file(spec.name, listed))
        except ValueError:
            continue
    return attrs.evolve(spec, resources=resources)


# Python's own table alone: the system's files differ from machine to machine, and reading them blocks.
_TYPES: Final = mimetypes.MimeTypes()
_TYPES.add_type("text/javascript", ".js")  # RFC 9239, which Python follows from 3.12 on


def media_type(header: str | None, file: str) -> str:
    """Return a file's media type: what the gateway says, else what the name says.

    Args:
        header: the answer's `Content-Type`.
        file: the file's path.
    """
    given = (header or "").partition(";")[0].strip().lower()
    if _MEDIA_TYPE.fullmatch(given) and given != "application/octet-stream":
        return given
    return _TYPES.guess_type(file, strict=False)[0] or "application/octet-stream"


def time_to_live(headers: Mapping[str, str]) -> float | None:
    """Read an answer's `Cache-Control`.

    Returns:
        How long the answer may be used without asking again, in seconds; None where it is not to be kept at all.
    """
    directives = [directive.strip().lower() for directive in headers.get("Cache-Control", "").split(",")]
    if "no-store" in directives:
        return None
    if "no-cache" in directives:
        return 0.0
    for directive in directives:
        found = re.fullmatch(r'max-age="?(\d{1,12})"?', directive, re.ASCII)
        if found:
            return min(float(found[1]), _LONGEST_TTL)
    return 0.0


@attrs.frozen
class _Kept:
    resource: KernelSpecResource
    good_until: float


class ResourceCache:
    """The files that were fetched last, bounded in number and bytes; the one that was used longest ago goes first.

    Args:
        max_entries: how many files.
        max_bytes: how many bytes all together.
    """

    def __init__(self, max_entries: int = 64, max_bytes: int = 8 * 1024 * 1024) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """How many bytes are kept."""
        return self._bytes

    def get(self, key: tuple[str, str], now: float) -> tuple[KernelSpecResource | None, bool]:
        """Return a file that is kept, and whether it is good without asking again.

        Args:
            key: the kernelspec and the file.
            now: what time it is, in seconds.
        """
        kept = self._kept.get(key)
        if kept is None:
            return None, False
        self._kept.move_to_end(key)
        return kept.resource, now < kept.good_until

    def put(self, key: tuple[str, str], resource: KernelSpecResource, *, now: float, ttl: float | None) -> None:
        """Keep a file, if that is of use and there is room for it.

        Args:
            key: the kernelspec and the file.
            resource: the file.
            now: what time it is, in seconds.
            ttl: for how long it is good without asking, in seconds; None where it is not to be kept.
        """
        self.drop(key)
        useless = ttl is None or (ttl == 0 and resource.etag is None)
        if useless or len(resource.content) > self._max_bytes:
            return
        assert ttl is not None
        self._kept[key] = _Kept(resource, now + ttl)
        self._bytes += len(resource.content)
        while len(self._kept) > self._max_entries or self._bytes > self._max_bytes:
            self.drop(next(iter(self._kept)))

    def drop(self, key: tuple[str, str]) -> None:
        """Forget a file; one that is not kept is fine."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= len(kept.resource.content)
