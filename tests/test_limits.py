"""Who writes `timeout=` is told where a limit goes, by every method that waits, in the words of the module in use."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
import trio

import trio_gateway
import trio_gateway.anyio
import trio_gateway.blocking
from trio_gateway._gateway.gateway import Gateway
from trio_gateway._gateway.kernels import Kernels
from trio_gateway._kernel.kernel import Kernel
from trio_gateway._limits import points_to_limits
from trio_gateway._portal.asyncio_faces import ASYNCIO
from trio_gateway._portal.members import MEMBERS
from trio_gateway.testing import FakeGateway

BLOCKING = [getattr(trio_gateway.blocking, cls.__name__) for cls in MEMBERS]
CLASSES = {
    "trio.fail_after": list(MEMBERS),
    "anyio.fail_after": [ASYNCIO.faces[cls] for cls in MEMBERS],
    "trio_gateway.blocking.fail_after": BLOCKING,
}
WAITING = {
    "Gateway": {"start_kernel", "attach_kernel", "open_channels", "open_pool", "http_client"},
    "Fleet": {"start_kernel", "attach_kernel", "open_channels", "open_pool", "drain"},
    "FleetKernels": {"get", "list", "start", "interrupt", "restart", "shutdown", "shutdown_all", "cull"},
    "FleetKernelSpecs": {"list", "get", "default_name", "resource"},
    "KernelPool": {"kernel", "run", "wait_ready", "drain"},
    "JobResults": {"close"},
    "Kernels": {"get", "list", "start", "interrupt", "restart", "shutdown", "shutdown_all", "cull"},
    "KernelSpecDirectory": {"get", "list", "default_name", "resource"},
    "Sessions": {"create", "delete", "get", "list", "update"},
    "Kernel": {
        *("execute", "stream", "subshell", "complete", "inspect", "history", "is_complete", "comm_info", "kernel_info"),
        *("debug", "interrupt", "restart", "shutdown", "wait_for", "changes"),
    },
    "Subshell": {"execute", "stream"},
    "HeartbeatChannel": {"check"},
    "Channel": {"send", "forward", "subscribe"},
    "Subscription": {"receive", "close"},
    "Comms": {"open", "accept"},
    "Comm": {"send", "receive", "close"},
    "IncomingComms": {"receive", "close"},
    "KernelChannels": {"send", "receive"},
    "OutputStream": set(),
}
"""The methods that wait, as users know them. Those of asyncio and Trio are called `aclose`."""
CALLS = [
    pytest.param(
        cls,
        "aclose" if name == "close" and limit != "trio_gateway.blocking.fail_after" else name,
        limit,
        id=f"{limit}-{cls.__name__}.{name}",
    )
    for limit, classes in CLASSES.items()
    for cls in classes
    for name in sorted(WAITING[cls.__name__])
]


def told(cls: type, name: str, **arguments: Any) -> str:
    """Call a method of an object that is not there, and return what the error says: nothing else is reached before it."""
    method = getattr(cls, name)
    with pytest.raises((TypeError, AttributeError)) as caught:
        given = method(object.__new__(cls), **arguments)
        if inspect.iscoroutine(given):
            given.send(None)
    return str(caught.value)


@pytest.mark.parametrize(("cls", "name", "limit"), CALLS)
def test_a_timeout_is_answered_with_the_limit_to_use(cls: type, name: str, limit: str) -> None:
    words = told(cls, name, timeout=2.5)
    assert words.startswith(f"{name}() takes no timeout: ")
    assert f"`with {limit}(2.5):`" in words


OTHERS = [
    ("Kernel", "execute", "allow_stdin", "`stdin`"),
    ("Kernel", "stream", "allow_stdin", "`stdin`"),
    ("Kernel", "execute", "output_hook", "`stream()`"),
    ("Kernel", "shutdown", "now", "leave it out"),
    ("Kernel", "restart", "newports", "leave it out"),
    ("Kernel", "complete", "reply", "waits for its reply"),
    ("Kernels", "shutdown", "now", "leave it out"),
    ("Gateway", "start_kernel", "kernel_name", "`name`"),
    ("Fleet", "start_kernel", "kernel_name", "`name`"),
    ("Subshell", "execute", "allow_stdin", "`stdin`"),
]


@pytest.mark.parametrize("limit", CLASSES)
@pytest.mark.parametrize(("name", "method", "argument", "words"), OTHERS)
def test_an_argument_of_jupyter_clients_is_answered_with_what_to_do(
    limit: str, name: str, method: str, argument: str, words: str
) -> None:
    (cls,) = [cls for cls in CLASSES[limit] if cls.__name__ == name]
    said = told(cls, method, **{argument: True})
    assert said.startswith(f"{method}() takes no {argument}: ")
    assert words in said


@pytest.mark.parametrize("limit", CLASSES)
def test_no_method_that_waits_is_forgotten(limit: str) -> None:
    """All public methods that wait are in the list above, but for those that the library's own layers call."""
    own = {
        "account_for_losses",
        "ask_control",
        "ask_process",
        "ask_shell",
        "ask_spec",
        "check",
        "interrupt_mode",
        "keep",
        "keep_culling",
        "fit",
        "is_gone",
        "start_prepared",
        "start_unowned",
        "note_met",
        "find_listed",
        "last_listed",
        "undo_start",
        "close",
        "begin",
        "run",
        "run_out",
        "told_end",
        "wait_opened",
        "receive_all",
        "send_all",
    }
    for cls in CLASSES[limit]:
        public = {
            name.replace("aclose", "close")
            for name, member in inspect.getmembers(cls, inspect.isfunction)
            if not name.startswith("_") and "takes no timeout" in told(cls, name, timeout=1)
        }
        assert WAITING[cls.__name__] <= public <= WAITING[cls.__name__] | own, cls


@pytest.mark.parametrize(
    ("timeout", "words"),
    [
        (3, "put the limit around the call, `with trio.fail_after(3):`"),
        (None, "leave it out, or put a limit around the call, `with trio.fail_after(seconds):`"),
        ("3", "put the limit around the call, `with trio.fail_after(seconds):`"),
    ],
)
def test_the_limit_has_the_number_that_was_given(timeout: object, words: str) -> None:
    assert told(Kernel, "execute", timeout=timeout) == f"execute() takes no timeout: {words}"


@pytest.mark.parametrize(("cls", "name"), [(Gateway, "start_kernel"), (Kernels, "start")])
def test_a_start_has_a_limit_of_its_own(cls: type, name: str) -> None:
    words = f"{name}() takes no timeout: launch_timeout=3 limits the start, and `with trio.fail_after(3):` all that is inside it"
    assert told(cls, name, timeout=3) == words


async def test_names_of_the_users_own_are_theirs() -> None:
    class Names:
        async def call(self, function: Any, /, **kwargs: Any) -> Any:
            return kwargs

        def stream(self, function: Any, /, **kwargs: Any) -> AsyncIterator[Any]:
            return kwargs  # type: ignore[return-value]

    given = {"timeout": 3, "env": {"A": "b"}}
    pointing = points_to_limits(Names)()
    assert await pointing.call(len, **given) == pointing.stream(len, **given) == given
    assert type(pointing.stream(len, **given)["env"]["A"]) is str  # type: ignore[index]


@pytest.mark.parametrize("limit", CLASSES)
def test_other_arguments_and_signatures_are_as_they_were(limit: str) -> None:
    for cls in CLASSES[limit]:
        for name, member in inspect.getmembers(cls, inspect.isfunction):
            if name in WAITING[cls.__name__]:
                taken = inspect.signature(member).parameters.values()
                assert {"timeout", "args"}.isdisjoint(parameter.name for parameter in taken)
                assert all(parameter.kind is not parameter.VAR_KEYWORD for parameter in taken)
                assert member.__doc__
    kernel: Any = next(cls for cls in CLASSES[limit] if cls.__name__ == "Kernel")
    assert inspect.iscoroutinefunction(kernel.execute) == (limit != "trio_gateway.blocking.fail_after")


async def use(gateway: Any) -> str:
    """Run code with a limit as other libraries have it, and then with one of the module in use."""
    async with gateway.start_kernel() as kernel:
        with pytest.raises(TypeError) as caught:
            await kernel.execute("1", timeout=3)
        with pytest.raises(TypeError):
            async with kernel.stream("1", timeout=3):
                pytest.fail("it was entered")
        assert (await kernel.execute("1 + 1")).text == "2"
    return str(caught.value)


async def test_on_trio(autojump_clock: trio.abc.Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        assert "with trio.fail_after(3):" in await use(gateway)


def test_on_asyncio(fake_gateway_server: trio_gateway.GatewayConfig) -> None:
    async def main() -> str:
        async with trio_gateway.anyio.open_gateway(fake_gateway_server) as gateway:
            return await use(gateway)

    assert "with anyio.fail_after(3):" in anyio.run(main)


def test_in_synchronous_code(fake_gateway_server: trio_gateway.GatewayConfig) -> None:
    with trio_gateway.blocking.open_gateway(fake_gateway_server) as gateway, gateway.start_kernel() as kernel:
        with pytest.raises(TypeError, match=r"with trio_gateway.blocking.fail_after\(3\):"):
            kernel.execute("1", timeout=3)  # type: ignore[call-arg]
        assert kernel.execute("1 + 1").text == "2"
