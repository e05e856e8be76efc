"""What a pool is given: contradictions and wrong types are named before anything starts (G10)."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trio_gateway import InvalidInputError
from trio_gateway._pool.options import PoolOptions


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("size", {"size": 0}),
        ("size", {"size": True}),
        ("size", {"size": 2.0}),
        ("warm", {"warm": -1}),
        ("warm", {"warm": 4}),
        ("warm", {"warm": None}),
        ("init", {"init": 3}),
        ("init", {"init": ["a = 1"]}),
        ("init", {"init": "a\x00"}),
        ("init_timeout", {"init_timeout": 0}),
        ("init_timeout", {"init_timeout": None}),
        ("init_timeout", {"init_timeout": "5"}),
        ("reuse", {"reuse": "yes"}),
        ("reuse", {"reuse": True}),
        ("max_uses", {"max_uses": 0, "reuse": "as-is"}),
        ("max_uses", {"max_uses": 3}),
        ("max_age", {"max_age": 0}),
        ("max_age", {"max_age": math.nan}),
        ("idle_timeout", {"idle_timeout": -1}),
        ("starts_at_once", {"starts_at_once": 0}),
    ],
)
def test_what_is_wrong_is_named(field: str, given: dict[str, Any]) -> None:
    """G10"""
    with pytest.raises(InvalidInputError) as caught:
        PoolOptions(**{"size": 3, **given})
    assert caught.value.field == field


def test_what_is_right() -> None:
    PoolOptions(size=1)
    PoolOptions(size=3, warm=3, init="a = 1", init_timeout=math.inf, reuse="as-is", max_uses=1, max_age=0.5, idle_timeout=None)
    assert "secret" not in repr(PoolOptions(size=1, init="password = 'secret'"))
