"""On which gateway a kernel starts: the rules, as functions of what is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from trio_gateway import GatewayStatus, InvalidInputError
from trio_gateway._fleet.placement import make_placer


def one(name: str, kernels: int = 0, weight: float = 1.0) -> GatewayStatus:
    return GatewayStatus(name=name, url="", labels=frozenset(), weight=weight, state="up", reason="", kernels=kernels)


def test_the_one_with_the_fewest_kernels_is_taken() -> None:
    place = make_placer("least-kernels")
    assert place([one("a", 3), one("b", 1), one("c", 2)]) == "b"


def test_of_equals_each_is_taken_in_its_turn() -> None:
    place = make_placer("least-kernels")
    assert [place([one("a"), one("b"), one("c")]) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_kernels_count_less_where_there_is_more_room() -> None:
    place = make_placer("least-kernels")
    kernels = Counter[str]()
    for _ in range(9):
        kernels[place([one("a", kernels["a"]), one("b", kernels["b"], 2.0)])] += 1
    assert kernels == {"a": 3, "b": 6}


def test_each_in_its_turn() -> None:
    place = make_placer("round-robin")
    assert [place([one("a", 100), one("b"), one("c")]) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_turns_follow_the_weights_and_are_spread() -> None:
    place = make_placer("round-robin")
    assert "".join(place([one("a", 0, 3), one("b", 0, 1)]) for _ in range(8)) == "aabaaaba"


def test_who_was_left_out_does_not_get_all_the_turns_afterwards() -> None:
    place = make_placer("round-robin")
    assert {place([one("a"), one("b")]) for _ in range(10)} == {"a", "b"}
    assert {place([one("a")]) for _ in range(10)} == {"a"}
    assert Counter(place([one("a"), one("b")]) for _ in range(10)) == {"a": 5, "b": 5}


@pytest.mark.parametrize("answer", ["name", "status"])
def test_a_function_of_the_users_own(answer: str) -> None:
    seen: list[Sequence[GatewayStatus]] = []

    def last(candidates: Sequence[GatewayStatus]) -> Any:
        seen.append(candidates)
        return candidates[-1].name if answer == "name" else candidates[-1]

    place = make_placer(last)
    assert place([one("a"), one("b", 7)]) == "b"
    assert seen == [(one("a"), one("b", 7))]


@pytest.mark.parametrize("answer", [None, "c", one("c"), 1])
def test_a_function_that_gives_no_candidate_is_named(answer: Any) -> None:
    """G10"""
    place = make_placer(lambda candidates: answer)
    with pytest.raises(InvalidInputError, match="'a', 'b'") as caught:
        place([one("a"), one("b")])
    assert caught.value.field == "placement"


async def _too_late(candidates: Any) -> str:
    return "a"


@pytest.mark.parametrize("placement", ["most-kernels", "", None, 1, _too_late])
def test_unknown_placements_are_refused(placement: Any) -> None:
    """G10"""
    with pytest.raises(InvalidInputError, match="'least-kernels' or 'round-robin', or a function") as caught:
        make_placer(placement)
    assert caught.value.field == "placement"
