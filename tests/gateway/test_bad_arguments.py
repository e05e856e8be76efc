"""Arguments of other types than their names promise (G10): refused by name, before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from trio_gateway import Gateway, InvalidInputError, Kernel

pytestmark = pytest.mark.gateway

WRONG_EXECUTIONS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "user_expressions not a mapping": ("1", {"user_expressions": ["x"]}, "user_expressions"),
    "user_expressions of no text": ("1", {"user_expressions": {"a": 5}}, "user_expressions"),
    "user_expressions by no text": ("1", {"user_expressions": {5: "a"}}, "user_expressions"),
    "user_expressions with a lone surrogate": ("1", {"user_expressions": {"a": "\ud800"}}, "user_expressions"),
    "user_expressions with NUL": ("1", {"user_expressions": {"a": "\0"}}, "user_expressions"),
}


@pytest.mark.parametrize("case", WRONG_EXECUTIONS)
async def test_expressions_that_can_not_be_sent(kernel: Kernel, case: str) -> None:
    code, arguments, named = WRONG_EXECUTIONS[case]
    with pytest.raises(InvalidInputError) as caught:
        await kernel.execute(code, **arguments)
    assert caught.value.field.startswith(named)


@pytest.mark.parametrize("kernel_id", [5, None, b"a"])
async def test_a_kernel_id_that_is_no_text(gateway: Gateway, kernel_id: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await gateway.kernels.get(kernel_id)
    assert caught.value.field == "kernel_id"
