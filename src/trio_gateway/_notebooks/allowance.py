"""How much of a cell's output is kept, where there is a limit. Pure.

The one idea: what counts is what the cell shows at the moment. What is cleared or updated makes room, so a cell that shows its
progress for hours stays whole, and what is printed beyond the limit costs no memory and is counted.
"""

from __future__ import annotations

from .._outputs import ClearOutput, DisplayData, Error, ExecuteResult, Output, Stream, UpdateDisplayData

__all__ = ["Allowance"]


class Allowance:
    """The room that is left for the outputs of one cell.

    Args:
        limit: how many bytes of outputs are kept at most.
    """

    dropped: int
    """How many outputs were not kept, or not to their end."""

    def __init__(self, limit: float) -> None:
        self.dropped = 0
        self._limit = limit
        self._size = 0
        self._clears_next = False
        self._displays: dict[str, int] = {}  # how large what is shown under each display id is
        self._error_is_kept = False

    def cut(self, output: Output, size: int) -> Output | None:
        """Return as much of the next output as there is room for; None for none.

        Of text the beginning is kept. The first error is kept in any case: it says how the cell ended.

        Args:
            output: the output.
            size: how many bytes it has, where it is no text.
        """
        if isinstance(output, ClearOutput):
            self._clears_next = output.wait
            if not output.wait:
                self._clear()
            return output
        if isinstance(output, UpdateDisplayData):
            return output if self._fits(size, output.display_id, update=True) else None
        if self._clears_next:
            self._clears_next = False
            self._clear()
        if isinstance(output, Stream):
            return self._cut_text(output)
        display_id = output.display_id if isinstance(output, (DisplayData, ExecuteResult)) else None
        if isinstance(output, Error) and not self._error_is_kept:
            self._error_is_kept = True
            self._size += size
            return output
        return output if self._fits(size, display_id) else None

    def _clear(self) -> None:
        self._size = 0
        self._displays.clear()
        self._error_is_kept = False

    def _fits(self, size: int, display_id: str | None, *, update: bool = False) -> bool:
        before = self._displays.get(display_id, 0) if update and display_id is not None else 0
        if size - before > self._limit - self._size:
            self.dropped += 1
            return False
        self._size += size - before
        if display_id is not None:
            self._displays[display_id] = size
        return True

    def _cut_text(self, output: Stream) -> Stream | None:
        text = output.text
        room = self._limit - self._size
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if size <= room:
            self._size += size
            return output
        self.dropped += 1
        if room <= 0:
            return None
        self._size = int(self._limit)
        kept = text[: int(room)] if text.isascii() else text.encode("utf-8", "replace")[: int(room)].decode("utf-8", "ignore")
        return Stream(output.name, kept)
