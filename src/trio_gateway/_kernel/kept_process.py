"""Whether a kernel's process is still the one that its user has set up, for users who ask for that: a pool's leases.

The one idea: a replacement that its user did not ask for is a loss, and a loss has a number. An execution notes which losses its
user knows of when it is asked for; it is not sent where there is a later one, but fails, and from then on its user knows.
"""

from __future__ import annotations

from .._errors import fresh

__all__ = ["KeptProcess"]


class KeptProcess:
    """What a session's user knows of the kernel's process. Until `keep` is called nothing is a loss."""

    __slots__ = ("_failures", "_heard", "_keeps", "_lost", "_replaced", "known")

    known: int
    """The number of the latest loss that the user knows of."""

    def __init__(self) -> None:
        self.known = 0
        self._keeps = False
        self._lost = 0  # the number of the latest loss
        self._replaced = 0  # the latest loss after which the user has replaced the process
        self._failures: tuple[Exception, ...] = ()  # what tells of the latest loss
        self._heard: dict[str, str] = {}  # as what the process was heard first, by channel

    def keep(self) -> None:
        """From now on count as a loss what replaces the process without the user's doing. What was before is known."""
        self._keeps = True
        self.replaced()

    def replaced(self) -> None:
        """The user has replaced the process: what was lost before does not matter any more, also to what was asked for before."""
        self.known = self._replaced = self._lost
        self._heard.clear()

    def lose(self, sent: Exception, unsent: Exception) -> bool:
        """The process was replaced, and not by the user; say whether that is a loss.

        Args:
            sent: what an execution fails with that was sent.
            unsent: what one fails with that was not.
        """
        if self._keeps:
            self._lost += 1
            self._failures = (sent, unsent)
            self._heard.clear()
        return self._keeps

    def raise_if_lost(self, known: int) -> None:
        """Raise that the process was lost, and note that the user knows, unless that was known.

        Args:
            known: `known` as it was when the user asked for what is to be sent now.

        Raises:
            KernelRestartedError: it was lost since then.
        """
        if self._lost > known and self._lost > self._replaced:
            self.known = self._lost
            raise fresh(self._failures[1])

    def note_known(self, failure: Exception | None) -> None:
        """Note that the user knows what an execution failed with; None where it did not fail."""
        if failure is not None and any(failure is known for known in self._failures):
            self.known = self._lost

    def speaks(self, channel: str, process: str) -> bool:
        """Say whether the process that was heard on a channel may be the one that is kept.

        Args:
            channel: where: a kernel may call itself otherwise on another channel.
            process: the session that it gives to its messages; `""` where it gives them none of its own, which says nothing.
        """
        return not (self._keeps and process) or self._heard.setdefault(channel, process) == process
