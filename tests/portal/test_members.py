"""The declaration of what faces do with each public member: whole, each member once, and true to the Trio class."""

from __future__ import annotations

import inspect
import re
from collections import Counter

import pytest

import trio_gateway
from trio_gateway._notebooks.members import MEMBERS as NOTEBOOKS
from trio_gateway._portal import members
from trio_gateway._portal.members import How
from trio_gateway._python.members import MEMBERS as PYTHON

MEMBERS = {**members.MEMBERS, **NOTEBOOKS, **PYTHON}
CLASSES = pytest.mark.parametrize("original", MEMBERS, ids=lambda original: original.__name__)
WAITING = {How.AWAITS, How.CLOSES, How.RECEIVES}
READ = {How.PART, How.LATE_PART, How.COUNTS_EVENTS}


def public_names(original: type) -> list[str]:
    return [name for name in dir(original) if not name.startswith("_")]


@CLASSES
def test_each_public_member_has_one_entry(original: type) -> None:
    """A member that is added to a Trio class needs one in `trio_gateway._portal.members`, or no face has it."""
    declared = Counter(name for names in MEMBERS[original].values() for name in names)
    assert declared == Counter(public_names(original))


@CLASSES
def test_an_entry_fits_its_member(original: type) -> None:
    """What waits is async, and nothing else; what is read is a property; the rest is a plain method."""
    for how, names in MEMBERS[original].items():
        for name in names:
            member = inspect.getattr_static(original, name)
            if how is not How.INTERNAL:
                assert inspect.iscoroutinefunction(member) == (how in WAITING), name
                assert isinstance(member, property) or how not in READ, name
                assert not isinstance(member, property) or how in READ | {How.ON_THE_SPOT, How.IN_TRIO}, name
                gives = str(inspect.signature(member).return_annotation) if inspect.isfunction(member) else ""
                blocks = gives.startswith(("AbstractAsyncContextManager", "AsyncGenerator"))
                assert blocks == (how in {How.GIVES_BLOCK, How.OFFERS, How.GIVES_CLIENT}), name


@CLASSES
def test_a_part_is_an_object_that_has_a_face(original: type) -> None:
    """And whatever has a face is declared a part: the same face is given each time."""
    faces = {each.__name__ for each in MEMBERS}
    for how, names in MEMBERS[original].items():
        for name in names:
            member = inspect.getattr_static(original, name)
            if isinstance(member, property) and member.fget is not None:
                gives = member.fget.__annotations__["return"]
                assert (gives in faces) == (how in {How.PART, How.LATE_PART}), name


@CLASSES
def test_what_comes_of_a_call_is_a_value(original: type) -> None:
    """And needs no face. An object that lives in Trio is given by a block, which ends it."""
    faces = {each.__name__ for each in MEMBERS}
    for how in (How.AWAITS, How.CLOSES):
        for name in MEMBERS[original].get(how, ()):
            gives = str(inspect.signature(getattr(original, name)).return_annotation)
            assert faces.isdisjoint(re.findall(r"\w+", gives)), name


def test_every_public_class_that_lives_in_trio_is_there() -> None:
    """Values and exceptions are the same everywhere; an object with methods that are async, or give a block, needs a face."""
    for name, value in vars(trio_gateway).items():
        if isinstance(value, type) and not issubclass(value, BaseException) and value is not trio_gateway.TokenRenewer:
            lives = any(inspect.iscoroutinefunction(getattr(value, member)) for member in public_names(value))
            assert lives <= (value in MEMBERS), name
