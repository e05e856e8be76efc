"""`trio_gateway.python` on kernels of several kinds and Pythons, on a real Kernel Gateway: what is sent there works on each.

They have environments of their own, which `nox -s kernels` makes, with each Python that is on the machine.
"""

from __future__ import annotations

import math
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

import trio_gateway
from tools.serving import Server, serve
from trio_gateway import InvalidInputError, Kernel
from trio_gateway.python import Python, RemoteError, ValueNotCarriedError, open_python

ENVIRONMENT = os.environ.get("TRIO_GATEWAY_KERNELS_ENV")
SPECS = Path(ENVIRONMENT or "no environment", "share", "jupyter", "kernels")
NAMES = sorted(path.name for path in SPECS.glob("*") if path.name in ("async", "xpython") or path.name.startswith("ipykernel"))

pytestmark = [
    pytest.mark.gateway,
    pytest.mark.full,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not ENVIRONMENT, reason="these kernels need environments of their own: run nox -s kernels"),
    pytest.mark.parametrize("name", NAMES or ["none"]),
]

DEFINED = """
def count(n):
    yield from range(n)

async def later(value):
    return value * 2

def fail():
    raise ValueError("so")
"""
VALUE = [None, True, 2**70, 1.5, "é", b"\x00" * 1000, (1, {"a": [2]}), {3: {4}}]
NUMPY_FREE_LARGE = bytes(range(256)) * 4000


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Kernel Gateway in the environment of these kernels."""
    assert ENVIRONMENT is not None
    token = secrets.token_hex(16)
    python = Path(ENVIRONMENT) / "bin" / "python"
    environ = {"KG_AUTH_TOKEN": token, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}

    def command(port: int) -> list[str]:
        options = {"ip": "127.0.0.1", "port": port, "port_retries": 0}
        return [str(python), "-m", "kernel_gateway", *[f"--KernelGatewayApp.{name}={value}" for name, value in options.items()]]

    folder = tmp_path_factory.mktemp("kernels")
    with serve(command, folder, token=token, env=environ, without=("JUPYTER_", "KERNEL_", "KG_", "PYTHON")) as server:
        yield server


async def state(kernel: Kernel) -> Any:
    """What a user sees of the namespace, the counter and the history."""
    result = await kernel.execute("print(sorted(globals()))", store_history=False)
    history = await kernel.history(hist_access_type="tail", n=5, raw=True, output=False)
    counter = (await kernel.execute("0", store_history=False)).reply["execution_count"]
    return counter, result.text, history


async def values_and_calls(kernel: Kernel, python: Python) -> None:
    for value in (VALUE, NUMPY_FREE_LARGE):
        await python.push(value=value)
        assert await python.pull("value") == value
    await kernel.execute("del value", silent=True)
    assert await python.call(math.hypot, 3, 4) == 5
    assert await python.call(python.name("later"), "ab") == "abab"
    async with python.stream(python.name("count"), 1200) as items:
        assert [item async for item in items] == list(range(1200))
    with pytest.raises(RemoteError) as caught:
        await python.call(python.name("fail"))
    assert (caught.value.type_name, caught.value.text) == ("ValueError", "so")
    assert ", in fail\n" in "".join(caught.value.traceback)


async def tools_are_called(kernel: Kernel, python: Python) -> None:
    called: list[Any] = []

    async def lookup(key: str, value: Any = None) -> Any:
        await trio.lowlevel.checkpoint()
        called.append(key)
        return {"key": key, "value": value}

    async with python.tools(lookup=lookup):
        result = await kernel.execute(
            "print(lookup('a'))\n"
            "print(lookup('b', bytes(200_000)) == {'key': 'b', 'value': bytes(200_000)})\n"
            "try: lookup()\nexcept TypeError: print('refused')",
            silent=True,
        )
        assert result.error is None
        assert result.text == "{'key': 'a', 'value': None}\nTrue\nrefused\n"
    assert called == ["a", "b"]


async def test_values_calls_and_tools(name: str, gateway: Server) -> None:
    opened = trio_gateway.open_gateway(gateway.url, auth_token=gateway.token)
    async with opened as opened_gateway, opened_gateway.start_kernel(name) as kernel:
        (await kernel.execute(DEFINED)).raise_for_error()
        first, before = await state(kernel), await state(kernel)
        looking = before[0] - first[0]  # async-kernel counts also what is not to be in the history
        async with open_python(kernel) as python:
            await values_and_calls(kernel, python)
            if name == "xpython":
                with pytest.raises(InvalidInputError, match="hears its client while code runs"):
                    async with python.tools(lookup=len):
                        pytest.fail("it is not offered")
            else:
                await tools_are_called(kernel, python)
        counter, *rest = await state(kernel)
        assert rest == list(before[1:])
        assert counter == before[0] + looking


async def test_a_function_by_value_goes_to_the_same_python_only(name: str, gateway: Server) -> None:
    opened = trio_gateway.open_gateway(gateway.url, auth_token=gateway.token)
    async with opened as opened_gateway, opened_gateway.start_kernel(name) as kernel, open_python(kernel) as python:
        same = tuple(await python.pull("tuple(__import__('sys').version_info[:2])")) == sys.version_info[:2]
        if same:
            assert await python.call(lambda x: x + 1, 1) == 2, "cloudpickle is brought where the kernel has none"
        else:
            with pytest.raises(ValueNotCarriedError, match="from Python"):
                await python.call(lambda x: x + 1, 1)
