"""What an engine answers that knows no language, and the one that runs scripts."""

from __future__ import annotations

import pytest

from trio_gateway.testing import CellError, Sleep
from trio_gateway.testing._engines import Engine, ScriptEngine

from .kit_parts import cell


async def test_without_a_language_nothing_is_known() -> None:
    engine = Engine()
    assert engine.complete("pri", 3) == {
        "matches": [], "cursor_start": 3, "cursor_end": 3, "metadata": {}, "status": "ok"
    }  # fmt: skip
    assert engine.inspect("len", 3) == {"found": False, "data": {}, "metadata": {}, "status": "ok"}
    assert engine.is_complete("for") == {"status": "unknown"}
    assert engine.evaluate("1")["status"] == "error"
    assert engine.language_info["name"] == engine.language == "text"
    engine.close()
    with pytest.raises(NotImplementedError):
        await engine.run(cell()[0])


async def test_each_cell_goes_through_the_script() -> None:
    engine = ScriptEngine(lambda cell: cell.code.upper())
    for code in ("first", "second"):
        running, publishes = cell(code)
        await engine.run(running)
        assert publishes.text == code.upper()


async def test_what_a_script_raises_comes_out() -> None:
    def script(cell: object) -> object:
        yield Sleep(0)
        raise CellError("Oops")

    with pytest.raises(CellError, match="Oops"):
        await ScriptEngine(script).run(cell()[0])
