"""One step at a time: what is sent for it, and how its answer is read."""

from __future__ import annotations

import pytest

import trio_gateway
from trio_gateway import Kernel, ProtocolError
from trio_gateway._python.errors import RemoteError
from trio_gateway._python.link import NAME, Link, remote_error

pytestmark = pytest.mark.gateway


async def test_a_step_is_answered_and_the_kernels_side_comes_when_it_is_missing(kernel: Kernel) -> None:
    link = Link(kernel)
    await kernel.execute(f"import sys; [sys.modules.pop(name) for name in list(sys.modules) if name.startswith('{NAME}')]")
    assert await link.ask("knows", {"module": "json", "name": "loads"}) == {"knows": True}
    assert link.has_comms
    assert link.version >= (3, 9)
    assert await link.ask("knows", {"module": "json", "name": "nothing"}) == {"knows": False}


async def test_two_clients_share_what_is_there(gateway: trio_gateway.Gateway, kernel: Kernel) -> None:
    await Link(kernel).install()
    await kernel.execute(f"import sys; before = sys.modules['{NAME}']")
    async with gateway.attach_kernel(kernel.id) as other:
        await Link(other).install()
    assert (await kernel.execute(f"print(before is sys.modules['{NAME}'])")).text == "True\n"


async def test_a_step_that_fails_outside_of_its_own_handling_is_a_remote_error(kernel: Kernel) -> None:
    link = Link(kernel)
    await link.install()
    with pytest.raises(RemoteError, match="unheard of"):
        await link.ask("unheard of", {})


async def test_a_process_that_takes_the_kernels_place_is_brought_cloudpickle_too(kernel: Kernel) -> None:
    """What is asked of it next may be a function by value."""
    link = Link(kernel)
    hide = "import sys; sys.modules.pop('cloudpickle.cloudpickle', None); sys.modules['cloudpickle'] = None"
    await kernel.execute(hide)
    await link.install()
    await link.bring_cloudpickle("mark = 5")
    await kernel.execute(f"{hide}; [sys.modules.pop(name) for name in list(sys.modules) if name.startswith('{NAME}')]")
    assert await link.ask("knows", {"module": "cloudpickle", "name": "mark.__add__"}) == {"knows": True}
    assert link.has_cloudpickle
    await kernel.execute("del sys.modules['cloudpickle'], sys.modules['cloudpickle.cloudpickle']")


async def test_what_is_forgotten_is_gone(kernel: Kernel) -> None:
    link = Link(kernel)
    await link.install()
    side = f"__import__('sys').modules['{NAME}.kernel_side']"
    for link.has_comms in (True, False):
        await kernel.execute(f"{side}._boxes['t'] = 1")
        await link.forget("t")
        assert (await kernel.execute(f"print('t' in {side}._boxes)")).text == "False\n"


@pytest.mark.parametrize("told", [None, 5, "x", []])
def test_an_exception_that_is_none_is_a_protocol_error(told: object) -> None:
    with pytest.raises(ProtocolError):
        remote_error(told)


def test_what_an_exception_lacks_is_missing() -> None:
    assert str(remote_error({"type": "E", "text": "x", "notes": 5})) == "E: x"
