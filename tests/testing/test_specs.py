"""Kernelspecs: what they make, and how a gateway shows them."""

from __future__ import annotations

from trio_gateway.testing import FakeKernelSpec
from trio_gateway.testing._engines import ScriptEngine
from trio_gateway.testing._python import TinyPython

from .kit_parts import cell


async def test_without_a_script_it_is_a_tiny_python() -> None:
    engine = FakeKernelSpec(name="python3").make_engine({"A": "1"}, 77)
    assert isinstance(engine, TinyPython)
    running, publishes = cell("import os\nos.getpid(), os.environ['A']")
    await engine.run(running)
    assert publishes.text == "(77, '1')"
    engine.close()


async def test_with_a_script_it_runs_that() -> None:
    engine = FakeKernelSpec(name="mine", script=lambda cell: cell.code * 2).make_engine({}, 1)
    assert isinstance(engine, ScriptEngine)
    running, publishes = cell("ab")
    await engine.run(running)
    assert publishes.text == "abab"


def test_how_it_is_shown() -> None:
    spec = FakeKernelSpec(
        name="mine",
        display_name="My kernel",
        language="prolog",
        interrupt_mode="message",
        metadata={"a": 1},
        resources={"logo-64x64.png": b"png", "kernel.js": b"js"},
    )
    assert spec.model() == {
        "name": "mine",
        "spec": {
            "argv": ["fake", "-f", "{connection_file}"],
            "env": {},
            "display_name": "My kernel",
            "language": "prolog",
            "interrupt_mode": "message",
            "metadata": {"a": 1},
        },
        "resources": {"logo-64x64": "/kernelspecs/mine/logo-64x64.png", "kernel": "/kernelspecs/mine/kernel.js"},
    }
    assert FakeKernelSpec(name="mine").model()["spec"]["display_name"] == "mine"
