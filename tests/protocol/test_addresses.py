"""Which address is asked is decided by a pure machine, so its order can be tested whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway._protocol.addresses import AddressBook


def round_of(book: AddressBook) -> list[int]:
    """Every address in the order in which they are asked, where none answers and nothing is noted."""
    tried: list[int] = []
    while (following := book.following(tried)) is not None:
        tried.append(following)
    return tried


def test_the_first_is_in_use_and_the_others_follow_in_order():
    assert round_of(AddressBook(3)) == [0, 1, 2]
    assert (AddressBook(3).current, len(AddressBook(3)), repr(AddressBook(3))) == (0, 3, "<AddressBook 0 of 3>")


def test_the_one_in_use_stays_until_it_fails():
    book = AddressBook(2)
    book.answered(1, 1.0)
    assert book.current == 0
    assert book.failed(0, 2.0, 3.0)
    assert book.current == 1
    book.answered(0, 4.0)  # it is back, which is no reason to change again
    assert round_of(book) == [1, 0]


def test_what_failed_longest_ago_is_asked_first():
    book = AddressBook(4)
    for index, now in ((0, 1.0), (1, 2.0), (2, 3.0)):
        assert book.failed(index, now, now)
    assert round_of(book) == [3, 0, 1, 2]
    book.answered(1, 4.0)
    assert round_of(book) == [3, 1, 0, 2]


def test_one_that_is_not_in_use_fails_without_a_change():
    book = AddressBook(3)
    assert not book.failed(1, 1.0, 2.0)
    assert round_of(book) == [0, 2, 1]


def test_an_address_that_answers_others_has_not_failed():
    """A kernel that withholds a handshake for a minute says nothing about the address."""
    book = AddressBook(2)
    book.answered(0, 5.0)
    assert not book.failed(0, 4.0, 64.0)
    assert round_of(book) == [0, 1]
    assert book.failed(0, 5.0, 64.0), "what it answered before is no news"


def test_one_alone_is_always_in_use():
    book = AddressBook(1)
    assert not book.failed(0, 1.0, 2.0)
    assert round_of(book) == [0]


@given(
    count=st.integers(1, 6),
    happenings=st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 4)), max_size=40),
)
def test_a_round_asks_each_once_and_begins_at_the_one_in_use(count: int, happenings: list[tuple[bool, int, int]]):
    book = AddressBook(count)
    for now, (answers, which, ago) in enumerate(happenings):
        before, index = book.current, which % count
        if answers:
            book.answered(index, float(now))
            assert book.current == before
        else:
            changed = book.failed(index, float(now - ago), float(now))
            assert changed == (book.current != before)
            assert before == index or not changed, "only the one in use is left"
        order = round_of(book)
        assert sorted(order) == list(range(count))
        assert order[0] == book.current


@pytest.mark.parametrize("tried", [(0, 1), (1, 0), (0, 1, 2)])
def test_after_all_were_asked_none_follows(tried: tuple[int, ...]):
    assert AddressBook(2).following(tried) is None
