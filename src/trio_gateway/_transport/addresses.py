"""The addresses of one gateway, shared by all its requests and handshakes: which is in use, and where to go when it is silent.

The one idea: a request or a handshake goes round the addresses, from the one in use on, until one of them answers; it asks each
once. Which one follows is decided by `_protocol/addresses.py`. Whether a request may be asked at another address is its caller's
knowledge.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import trio

from .._config import GatewayConfig
from .._errors import GatewayConnectionError, GatewayTimeoutError
from .._events import EventSink, GatewayEvent
from .._protocol.addresses import AddressBook
from .connector import TLSRefusedError

__all__ = ["SILENT_STATUS_CODES", "Addresses", "Round"]

logger = logging.getLogger("trio_gateway.http")

SILENT_STATUS_CODES = frozenset({502, 503, 504})
"""Answers of what stands before a gateway, which says that the gateway itself does not answer."""


class Addresses:
    """The addresses of one gateway.

    Args:
        config: the settings.
        emit: gets an event when the address in use does not answer, and another one takes its place.
    """

    def __init__(self, config: GatewayConfig, emit: EventSink) -> None:
        self._urls = config.addresses
        self._emit = emit
        self._book = AddressBook(len(self._urls))

    def __len__(self) -> int:
        return len(self._urls)

    @property
    def current(self) -> int:
        """The address in use, by its number."""
        return self._book.current

    @property
    def url(self) -> str:
        """The base URL of the address in use."""
        return self._urls[self._book.current]

    def url_of(self, index: int) -> str:
        """Return the base URL of an address."""
        return self._urls[index]

    def start_round(self) -> Round:
        """Begin to go round the addresses."""
        return Round(self)

    def answered(self, index: int) -> None:
        """An address has answered, whatever it said."""
        if len(self._urls) > 1:
            self._book.answered(index, trio.current_time())

    def failed(self, index: int, began: float, why: Callable[[], str]) -> None:
        """An address has not answered.

        Args:
            index: the address.
            began: when it was asked; if it has answered anything since, it counts as there.
            why: gives the reason in words without secrets.
        """
        if len(self._urls) == 1 or not self._book.failed(index, began, trio.current_time()):
            return
        url, message = self._urls[index], f"{why()}; {self.url} is asked from now on"
        logger.info("address_left", extra={"gateway.url": url, "gateway.reason": message})
        self._emit(GatewayEvent(kind="address", action="leave", status="error", message=message, gateway_url=url))

    def following(self, tried: Sequence[int]) -> int | None:
        """Return the address to ask after those that were asked in vain, or None where all were."""
        return self._book.following(tried)


class Round:
    """One way round the addresses, for one request or handshake. It begins at the address in use.

    Args:
        addresses: the addresses.
    """

    __slots__ = ("_addresses", "_began", "_failures", "index")

    index: int
    """The address to ask."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._failures: dict[int, Exception] = {}
        self.index = addresses.current
        self._began = trio.current_time()

    def answered(self) -> None:
        """The address has answered, whatever it said."""
        self._addresses.answered(self.index)

    def failed(self, error: Exception) -> bool:
        """The address has not answered; go on to the next.

        Args:
            error: what came of asking it.

        Returns:
            Whether there is one that was not asked yet.
        """
        self._failures[self.index] = error
        self._addresses.failed(self.index, self._began, error.__str__)
        following = self._addresses.following(tuple(self._failures))
        if following is None:
            return False
        self.index = following
        self._began = trio.current_time()
        return True

    def error(self) -> Exception:
        """Make one error of what came of asking all of them, of the type that callers tell apart; of an answer, that answer."""
        errors = list(self._failures.values())
        last = errors[-1]
        if len(errors) == 1 or not isinstance(last, (GatewayConnectionError, GatewayTimeoutError)):
            return last
        attempts = max(last.attempts, len(errors))
        made: GatewayConnectionError | GatewayTimeoutError
        if isinstance(last, GatewayTimeoutError) and all(_ran_out(error, last.setting) for error in errors):
            each = f"at each of {', '.join(map(self._addresses.url_of, self._failures))}"
            detail = f"{each}, which share it" if last.setting == "connect_timeout" else each
            made = GatewayTimeoutError(
                last.phase, last.limit, last.setting, detail=detail, attempts=attempts, seconds=last.seconds
            )
        else:
            told = "; ".join(f"{self._addresses.url_of(index)}: {error}" for index, error in self._failures.items())
            kind = TLSRefusedError if all(isinstance(error, TLSRefusedError) for error in errors) else GatewayConnectionError
            made = kind(f"no address of the gateway answers: {told}", attempts=attempts, seconds=last.seconds)
            made.sent = any(map(_may_have_sent, errors))
        made.__cause__ = last
        return made


def _ran_out(error: Exception, setting: str) -> bool:
    return isinstance(error, GatewayTimeoutError) and error.setting == setting


def _may_have_sent(error: Exception) -> bool:
    return error.sent if isinstance(error, GatewayConnectionError) else not _ran_out(error, "connect_timeout")
