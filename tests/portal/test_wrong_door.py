"""Who comes by the wrong door is told where the right one is: the wrong async library, and blocks that are not used as blocks."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_gateway
import trio_gateway.anyio
import trio_gateway.blocking
import trio_gateway.proxy
from tools.face_tools import ListeningFake
from trio_gateway.testing import FakeGateway

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

TRIO = "trio"
ASYNCIO = "asyncio"
RUN: dict[str, Callable[[Callable[[], Awaitable[None]]], None]] = {
    TRIO: trio.run,
    ASYNCIO: lambda main: asyncio.run(main()),  # type: ignore[arg-type, return-value]
}
FACES: dict[str, tuple[Any, str]] = {
    "trio": (trio_gateway, TRIO),
    "anyio": (trio_gateway.anyio, ASYNCIO),
    "both": (trio_gateway.anyio, TRIO),
}

# The wrong library -----------------------------------------------------------------------------------------------------------


async def enter(manager: Any) -> None:
    """Enter a block."""
    async with manager:
        pytest.fail("it was entered")


WRONG: dict[str, tuple[Callable[[], Awaitable[None]], str]] = {
    "open_gateway": (lambda: enter(trio_gateway.open_gateway("http://127.0.0.1:1")), "import trio_gateway.anyio"),
    "open_gateway, with an error in it": (
        lambda: enter(trio_gateway.open_gateway("nonsense", tokn=1)),
        "import trio_gateway.anyio",
    ),
    "open_fleet": (lambda: enter(trio_gateway.open_fleet(["http://127.0.0.1:1"])), "import trio_gateway.anyio"),
    "open_hub": (lambda: enter(trio_gateway.open_hub("http://127.0.0.1:1")), "import trio_gateway.anyio"),
    "open_local_gateway": (lambda: enter(trio_gateway.open_local_gateway()), "trio_gateway.blocking"),
    "FakeGateway": (lambda: enter(FakeGateway()), "fake_gateway_server"),
    "proxy.serve": (lambda: trio_gateway.proxy.serve(None), "command trio-gateway proxy"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRONG)
def test_on_asyncio_the_right_module_is_named(name: str) -> None:
    use, words = WRONG[name]

    async def main() -> None:
        with pytest.raises(trio_gateway.AsyncLibraryError, match="this is asyncio") as caught:
            await use()
        assert words in str(caught.value)
        assert isinstance(caught.value, RuntimeError)
        assert caught.value.library == ASYNCIO

    asyncio.run(main())


def test_the_proxys_application_on_asyncio() -> None:
    async def trio_main() -> None:
        async with FakeGateway() as fake, fake.open() as gateway:
            app = trio_gateway.proxy.create_app(gateway)

            async def main() -> None:
                with pytest.raises(trio_gateway.AsyncLibraryError, match=r"trio_gateway\.proxy\.serve"):
                    await app({"type": "http"}, None, None)  # type: ignore[arg-type]

            await trio.to_thread.run_sync(asyncio.run, main())

    trio.run(trio_main)


def test_where_no_library_runs() -> None:
    coroutine = enter(trio_gateway.open_gateway("http://127.0.0.1:1"))
    with pytest.raises(trio_gateway.AsyncLibraryError, match="no async library runs here"):
        coroutine.send(None)  # type: ignore[attr-defined]


# Blocks that are not used as blocks ------------------------------------------------------------------------------------------


def misuses(opened: Any, example: str) -> None:
    """See that every other use says how it is opened. Of `await`, `async for` and `async with` only the beginning is tried."""
    with pytest.raises(TypeError) as caught:
        opened.__await__()
    assert example in str(caught.value)
    with pytest.raises(TypeError) as caught:
        opened.__aiter__()
    assert example in str(caught.value)
    with pytest.raises(TypeError) as caught:
        iter(opened)
    assert example in str(caught.value)
    with pytest.raises(AttributeError) as missing:
        opened.execute  # noqa: B018
    assert example in str(missing.value)
    assert not hasattr(opened, "_ipython_display_")
    assert example.split(" ", maxsplit=1)[0] in repr(opened)


async def misuse_all(face: Any, url: str, token: str) -> None:
    """Misuse each block of a face that waits."""
    misuses(face.open_local_gateway(), "async with open_local_gateway(...) as ...:")
    opener = face.open_gateway(url, auth_token=token)
    misuses(opener, "async with open_gateway(...) as ...:")
    with pytest.raises(TypeError, match="async with open_gateway"):
        await opener
    with pytest.raises(TypeError, match="async with open_gateway"):
        async for _ in opener:
            pass
    with pytest.raises(TypeError, match=r"trio_gateway\.blocking; write `async with open_gateway"), opener:
        pass
    async with opener as gateway:
        with pytest.raises(RuntimeError, match="entered before"):
            await enter(opener)
        misuses(gateway.attach_kernel("a"), "async with gateway.attach_kernel(...) as ...:")
        misuses(gateway.open_channels("a", session_id="b"), "async with gateway.open_channels(...) as ...:")
        misuses(gateway.http_client(), "async with gateway.http_client(...) as ...:")
        starting = gateway.start_kernel()
        misuses(starting, "async with gateway.start_kernel(...) as ...:")
        async with starting as kernel:
            misuses(kernel.stream("1"), "async with kernel.stream(...) as ...:")
            with pytest.raises(TypeError, match=r"async with kernel\.stream"):
                async for _ in kernel.stream("1"):
                    pass
            misuses(kernel.subshell(), "async with kernel.subshell(...) as ...:")
            misuses(kernel.iopub.subscribe(), "async with channel.subscribe(...) as ...:")
            misuses(kernel.comms.open("t"), "async with kernel.comms.open(...) as ...:")
            misuses(kernel.comms.accept("t"), "async with kernel.comms.accept(...) as ...:")


@pytest.mark.parametrize("name", FACES)
def test_a_block_says_how_it_is_opened(name: str, fake_gateway: ListeningFake) -> None:
    face, library = FACES[name]
    RUN[library](functools.partial(misuse_all, face, fake_gateway.url, fake_gateway.token))


def test_a_block_of_the_blocking_face_says_how_it_is_opened(fake_gateway: ListeningFake) -> None:
    face = trio_gateway.blocking
    misuses(face.open_local_gateway(), "with open_local_gateway(...) as ...:")
    opener = face.open_gateway(fake_gateway.url, auth_token=fake_gateway.token)
    misuses(opener, "with open_gateway(...) as ...:")

    async def main() -> None:
        with pytest.raises(TypeError, match=r"it is trio_gateway\.blocking's; write `with open_gateway"):
            await enter(opener)

    for run in RUN.values():
        run(main)
    with opener as gateway, gateway.start_kernel() as kernel:
        misuses(gateway.start_kernel(), "with gateway.start_kernel(...) as ...:")
        misuses(gateway.http_client(), "with gateway.http_client(...) as ...:")
        misuses(kernel.stream("1"), "with kernel.stream(...) as ...:")
        misuses(kernel.subshell(), "with kernel.subshell(...) as ...:")
        misuses(kernel.iopub.subscribe(), "with channel.subscribe(...) as ...:")
        misuses(kernel.comms.open("t"), "with kernel.comms.open(...) as ...:")
        with pytest.raises(TypeError, match=r"with kernel\.stream"):
            for _ in kernel.stream("1"):  # type: ignore[attr-defined]
                pass


def test_a_fake_says_how_it_is_opened() -> None:
    fake = FakeGateway()
    with pytest.raises(TypeError, match="`async with"), fake:
        pass
    with pytest.raises(TypeError, match="`async with"):
        fake.__await__()
    with pytest.raises(AttributeError, match="'FakeGateway' object has no attribute 'nothing'"):
        fake.nothing  # type: ignore[attr-defined]  # noqa: B018
    misuses(fake.open(), "async with open_gateway(...) as ...:")
    misuses(fake.listen(), "async with fake.listen(...) as ...:")


def test_no_public_block_is_left_out() -> None:
    """Whatever a public class gives that is entered by `async with` is one of those above."""
    classes = [value for value in vars(trio_gateway).values() if inspect.isclass(value)] + [FakeGateway]
    plain = [
        f"{cls.__name__}.{name}"
        for cls in classes
        for name, member in vars(cls).items()
        if inspect.isasyncgenfunction(inspect.unwrap(member)) and not any(map(from_blocks, layers(member)))
    ]
    assert plain == []


def layers(function: Any) -> Iterator[Any]:
    """Give a function and all that it is made of."""
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)


def from_blocks(function: Any) -> bool:
    """Say whether a function is a decorator's of the module `blocks`."""
    return "blocks.py" in function.__code__.co_filename
