"""The headers of an answer: a mapping that ignores case and remembers repeated names.

Nothing is interpreted here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Headers"]


class Headers(Mapping[str, str]):
    """An answer's headers. Names compare without case; `headers[name]` joins repeated ones with `", "`.

    Args:
        items: names and values in the order of the wire, decoded as latin-1.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._items: dict[str, list[str]] = {}
        for name, value in items:
            self._items.setdefault(name.lower(), []).append(value)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._items[name.lower()])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def get_list(self, name: str) -> list[str]:
        """Return every value of a header, such as `Set-Cookie`, that must not be joined."""
        return list(self._items.get(name.lower(), ()))

    def __repr__(self) -> str:
        # Values may be cookies.
        return f"<Headers {', '.join(self._items)}>"
