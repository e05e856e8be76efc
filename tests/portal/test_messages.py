"""What a caller and its call or block say to each other: what each last message means for the caller."""

from __future__ import annotations

import pytest
import trio

from trio_gateway._portal.messages import NOBODY, Entered, Last, Raised, Returned, Stopped, closed, swallowed, value_of


def test_what_a_message_gives() -> None:
    assert value_of(Entered("entered")) == "entered"
    assert value_of(Returned("returned")) == "returned"
    mine = LookupError("mine")
    with pytest.raises(LookupError) as caught:
        value_of(Raised(mine))
    assert caught.value is mine
    with pytest.raises(trio.ClosedResourceError, match="the gateway's block has ended"):
        value_of(Stopped())
    assert str(closed()) == "the gateway's block has ended"


@pytest.mark.parametrize(
    ("message", "error", "expected"),
    [
        (Returned(None), None, False),
        (Returned(None), LookupError(), True),  # as a context manager that returns true
        (Returned(None), KeyboardInterrupt(), False),  # it was cancelled by that, and ended well: the signal goes on
        (Stopped(), LookupError(), False),
        (Stopped(), KeyboardInterrupt(), False),
        (Stopped(), None, False),
    ],
)
def test_whether_a_block_has_swallowed_what_its_body_raised(message: Last, error: BaseException | None, expected: bool) -> None:
    assert swallowed(message, error, None) is expected


def test_g9_what_the_body_raised_goes_on_without_the_frames_in_trio() -> None:
    mine, traceback = LookupError("mine"), None
    try:
        raise mine
    except LookupError as error:
        traceback = error.__traceback__
    try:
        raise mine  # as it comes out of the block in Trio, with a longer traceback
    except LookupError:
        assert mine.__traceback__ is not traceback
    assert swallowed(Raised(mine), mine, traceback) is False
    assert mine.__traceback__ is traceback


def test_what_a_block_raises_in_place_of_that_is_raised() -> None:
    with pytest.raises(OSError, match="another"):
        swallowed(Raised(OSError("another")), LookupError(), None)
    with pytest.raises(OSError, match="at its end"):
        swallowed(Raised(OSError("at its end")), None, None)


def test_nobody_waits() -> None:
    assert NOBODY.deliver(Entered(1)) is False
