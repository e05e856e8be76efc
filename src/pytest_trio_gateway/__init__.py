"""The pytest plugin of trio_gateway: fixtures for tests of programs that use kernels.

It is a package of its own, because pytest imports it in every run, whatever is tested: only pytest is imported here, and
trio_gateway by the fixtures that are used. What they give is documented in docs/testing.md.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trio_gateway import Fleet, FleetGateway, Gateway, GatewayConfig, GatewayEvent, Kernel, KernelPool
    from trio_gateway.testing import FakeFleet, FakeGateway

__all__ = [
    "fake_fleet",
    "fake_fleet_server",
    "fake_gateway",
    "fake_gateway_client",
    "fake_gateway_fleet",
    "fake_gateway_kernel",
    "fake_gateway_pool",
    "fake_gateway_server",
    "gateway_events",
    "local_gateway",
    "local_gateway_client",
    "local_gateway_fleet",
    "local_gateway_kernel",
    "local_gateway_pool",
]

_MARKER = "trio_gateway"
_ASYNC_FIXTURES = frozenset(
    {
        "fake_fleet",
        "fake_gateway",
        "fake_gateway_client",
        "fake_gateway_fleet",
        "fake_gateway_kernel",
        "fake_gateway_pool",
        "local_gateway_client",
        "local_gateway_fleet",
        "local_gateway_kernel",
        "local_gateway_pool",
    }
)
_RUNNERS = ("trio", "anyio", "asyncio")
"""The markers that say what runs an async test."""
_NOBODY_RUNS_IT = """\
This async test uses {fixture}, and nothing is here that runs it on Trio. Either
  pip install pytest-trio
which needs no configuration for it, or mark the test for anyio's plugin, with the backend "trio":
  @pytest.mark.anyio"""
_FOR_A_PLAIN_TEST = """\
This test is a plain function, and {fixture} is for async ones. Either write
  async def {test}(...):
or take the fixture {instead}, {what}, and open that with trio_gateway.blocking."""
_REAL_TIME = frozenset(
    {
        "fake_fleet_server",
        "fake_gateway_server",
        "local_gateway",
        "local_gateway_client",
        "local_gateway_fleet",
        "local_gateway_kernel",
        "local_gateway_pool",
    }
)
_IN_TWO_TIMES = """\
This test uses {fixture}, which is in real time, and autojump_clock, which leaps over each wait for the network: limits run
out at once. Either take {instead}, which is in memory, or leave autojump_clock out."""
_NO_REQUEST = """\
No request came to it. If your program opens its gateway itself, it reaches this one by
  open_gateway({name}.url, auth_token={name}.token, connector={name}.connector)
or, where it calls trio_gateway.open_gateway() without a URL, by
  monkeypatch.setattr(trio_gateway, "open_gateway", {name}.open)"""
_fakes: pytest.StashKey[list[FakeGateway]] = pytest.StashKey()
_own: pytest.StashKey[FakeGateway] = pytest.StashKey()
"""The fake that the fixture `fake_gateway` gives."""
_in_two_times: pytest.StashKey[str] = pytest.StashKey()
"""The fixture in real time that a test uses beside the clock that leaps."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(kernelspec=None, fake={{}}, pool={{}}, fleet={{}}, **settings): which kernelspec and settings the fixtures of"
        " trio_gateway use, and arguments of FakeGateway, of open_pool and of FakeFleet",
    )


def _used(item: pytest.Item, *, plain: bool = False) -> list[str]:
    """Return which of the async fixtures an async test, or a plain one, uses that does not say itself what runs it."""
    if not isinstance(item, pytest.Function) or inspect.iscoroutinefunction(item.obj) is plain:
        return []
    if "anyio_backend" in item.fixturenames or any(item.get_closest_marker(name) for name in _RUNNERS):
        return []
    return sorted(_ASYNC_FIXTURES.intersection(item.fixturenames))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have pytest-trio run the async tests that use these fixtures, also without its `trio_mode`."""
    if config.pluginmanager.hasplugin("trio"):
        for item in items:
            if _used(item):
                item.add_marker("trio")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say what is missing where nothing runs an async test that uses these fixtures."""
    used = _used(item)
    if used:
        pytest.fail(_NOBODY_RUNS_IT.format(fixture=used[0]), pytrace=False)
    # pytest-trio takes a clock that the test itself asks for, and none that only its fixtures do. It wraps the function later.
    if isinstance(item, pytest.Function) and "autojump_clock" in inspect.signature(item.obj).parameters:
        used = sorted(_REAL_TIME.intersection(item.fixturenames))
        if used:
            item.stash[_in_two_times] = used[-1]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show in a failure what the fake gateway and the program said to each other, or how the test uses fixtures wrongly."""
    report = yield
    if report.failed:
        used = _used(item, plain=True) if report.when == "setup" else []
        if used:
            # Beside the error, not in its place: another plugin may make sense of such a test, and have failed otherwise.
            server = "fake_fleet_server" if "fleet" in used[0] else "fake_gateway_server"
            instead = "local_gateway" if used[0].startswith("local") else server
            what = "a list of FleetGateways" if instead == "fake_fleet_server" else "a GatewayConfig"
            test = item.name.partition("[")[0]
            words = _FOR_A_PLAIN_TEST.format(fixture=used[0], test=test, instead=instead, what=what)
            report.sections.append((_MARKER, words))
        real = item.stash.get(_in_two_times, None)
        if real is not None:
            # Likewise beside the error: a test may have both, as long as nothing on Trio waits for the network.
            instead = real.replace("local_", "fake_").removesuffix("_server")
            report.sections.append((_MARKER, _IN_TWO_TIMES.format(fixture=real, instead=instead)))
        for fake in item.stash.get(_fakes, ()):
            said = str(fake.conversation)
            if not said and fake is item.stash.get(_own, None):
                said = _NO_REQUEST.format(name="fake_gateway")
            missed = [f"{fault!r} has struck nothing" for fault in fake.faults.missed]
            report.sections.append((f"Conversation with {fake!r}", "\n".join([said, *missed])))
    return report


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what the marker says: the nearest one wins, argument by argument."""
    said: dict[str, Any] = {}
    for marker in request.node.iter_markers(_MARKER):
        if marker.args:
            raise pytest.UsageError(f"the marker {_MARKER} takes arguments by name only, not {marker.args!r}")
        said = {**marker.kwargs, **said}
    return said


def _settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {name: value for name, value in _marked(request).items() if name not in {"fake", "fleet", "kernelspec", "pool"}}


def _pool(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the arguments of a pool: of two kernels, where the marker says nothing else."""
    said = _marked(request)
    return {"name": said.get("kernelspec"), "size": 2, **said.get("pool", {})}


def _fake_arguments(request: pytest.FixtureRequest) -> dict[str, Any]:
    from trio_gateway.testing import FakeKernelSpec

    said = _marked(request)
    arguments = dict(said.get("fake", {}))
    name = said.get("kernelspec")
    if name is not None and "kernelspecs" not in arguments:
        arguments["kernelspecs"] = [FakeKernelSpec(name=name, script=arguments.pop("script", None))]
    return arguments


def _check_arguments(name: str, arguments: Mapping[str, Any], *takers: Callable[..., object]) -> None:
    """Check that what the marker says is an argument of one of those who take it."""
    signatures = [inspect.signature(taker).parameters.values() for taker in takers]
    known = [one.name for signature in signatures for one in signature if one.kind is not one.VAR_KEYWORD]
    for argument in arguments:
        if argument not in known:
            raise pytest.UsageError(
                f"the marker {_MARKER} says {name}={{{argument!r}: ...}}, and there is no such argument; "
                f"there are {', '.join(known)}"
            )


def _make_fake(request: pytest.FixtureRequest) -> FakeGateway:
    from trio_gateway.testing import FakeGateway

    arguments = _fake_arguments(request)
    _check_arguments("fake", arguments, FakeGateway)
    fake = FakeGateway(**arguments)
    request.node.stash.setdefault(_fakes, []).append(fake)
    return fake


def _fleet(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the marker says of the gateways of a fleet, and what of the fleet."""
    said = dict(_marked(request).get("fleet", {}))
    opening = {"placement": said.pop("placement")} if "placement" in said else {}
    return said, opening


def _make_fakes(request: pytest.FixtureRequest) -> FakeFleet:
    from trio_gateway.testing import FakeFleet, FakeGateway

    arguments = _fleet(request)[0]
    if not isinstance(arguments.get("gateways"), dict):
        arguments = {**_fake_arguments(request), **arguments}
    _check_arguments("fleet", arguments, FakeFleet, FakeGateway)
    fakes = FakeFleet(**arguments)
    request.node.stash.setdefault(_fakes, []).extend(fakes.gateways.values())
    return fakes


@pytest.fixture
def gateway_events() -> list[GatewayEvent]:
    """What the gateways of the other fixtures tell: each request, each action on a kernel, in order."""
    return []


@pytest.fixture
async def fake_gateway(request: pytest.FixtureRequest) -> AsyncGenerator[FakeGateway]:
    """A fake gateway in memory. The marker's `fake` has its arguments. For pytest-trio, and anyio's plugin on Trio."""
    async with _make_fake(request) as fake:
        request.node.stash[_own] = fake
        yield fake


@pytest.fixture
async def fake_gateway_client(
    request: pytest.FixtureRequest, fake_gateway: FakeGateway, gateway_events: list[GatewayEvent]
) -> AsyncGenerator[Gateway]:
    """The fake gateway, opened with the marker's settings: a `trio_gateway.Gateway`."""
    async with fake_gateway.open(on_event=gateway_events.append, **_settings(request)) as gateway:
        yield gateway


@pytest.fixture
async def fake_gateway_kernel(request: pytest.FixtureRequest, fake_gateway_client: Gateway) -> AsyncGenerator[Kernel]:
    """A kernel of the fake gateway, of the marker's kernelspec: a `trio_gateway.Kernel`."""
    async with fake_gateway_client.start_kernel(_marked(request).get("kernelspec")) as kernel:
        yield kernel


@pytest.fixture
async def fake_gateway_pool(request: pytest.FixtureRequest, fake_gateway_client: Gateway) -> AsyncGenerator[KernelPool]:
    """A pool of the fake gateway's kernels, of the marker's kernelspec: a `trio_gateway.KernelPool`.

    The marker's `pool` has the arguments of `Gateway.open_pool`; without it the pool has two kernels, and none is warm.
    """
    async with fake_gateway_client.open_pool(**_pool(request)) as pool:
        yield pool


@pytest.fixture
async def fake_fleet(request: pytest.FixtureRequest) -> AsyncGenerator[FakeFleet]:
    """Two fake gateways in memory, `a` and `b`, which fall and rise. The marker's `fleet` has the arguments of `FakeFleet`."""
    async with _make_fakes(request) as fakes:
        yield fakes


@pytest.fixture
async def fake_gateway_fleet(
    request: pytest.FixtureRequest, fake_fleet: FakeFleet, gateway_events: list[GatewayEvent]
) -> AsyncGenerator[Fleet]:
    """These gateways, opened as a `trio_gateway.Fleet` with the marker's settings, and its `fleet`'s `placement`."""
    async with fake_fleet.open(on_event=gateway_events.append, **_fleet(request)[1], **_settings(request)) as fleet:
        yield fleet


@contextmanager
def _in_trio_thread(serve: Callable[[Callable[[Any], None]], Any], name: str) -> Generator[Any]:
    """Run a server in a thread with a Trio of its own, for a fixture that outlives a test or serves one without Trio."""
    import trio

    ready = threading.Event()
    found: list[Any] = []
    stop: list[Callable[[], None]] = []
    failures: list[BaseException] = []

    def note(value: object) -> None:
        found.append(value)
        ready.set()

    async def main() -> None:
        with trio.CancelScope() as scope:
            token = trio.lowlevel.current_trio_token()
            stop.append(lambda: token.run_sync_soon(scope.cancel))
            await serve(note)

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as error:  # noqa: ASYNC103, BLE001 - it is raised again in the test's thread
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name=name)
    thread.start()
    ready.wait()
    try:
        if found:
            yield found[0]
    finally:
        if stop:
            with suppress(trio.RunFinishedError):  # it has ended by itself, and `failures` says why
                stop[0]()
        thread.join()
    if failures:
        raise failures[0]


@pytest.fixture
def fake_gateway_server(request: pytest.FixtureRequest) -> Iterator[GatewayConfig]:
    """A fake gateway on a real loopback port, in real time: for asyncio, for other processes, for programs without Trio.

    It gives a `GatewayConfig` with its URL and token.
    """
    from trio_gateway import GatewayConfig

    async def serve(ready: Callable[[object], None]) -> None:
        import trio

        async with _make_fake(request) as fake, fake.listen() as url:
            ready(GatewayConfig(url=url, auth_token=fake.token or None, **_settings(request)))
            await trio.sleep_forever()

    with _in_trio_thread(serve, "fake_gateway_server") as config:
        yield config


@pytest.fixture
def fake_fleet_server(request: pytest.FixtureRequest) -> Iterator[list[FleetGateway]]:
    """Fake gateways on real loopback ports, in real time, for asyncio and for programs without Trio: what `open_fleet` takes."""

    async def serve(ready: Callable[[object], None]) -> None:
        import trio

        async with _make_fakes(request) as fakes, fakes.listen(**_settings(request)) as gateways:
            ready(gateways)
            await trio.sleep_forever()

    with _in_trio_thread(serve, "fake_fleet_server") as gateways:
        yield gateways


@contextmanager
def _local_gateway(name: str) -> Generator[GatewayConfig]:
    async def serve(ready: Callable[[object], None]) -> None:
        import trio

        from trio_gateway import open_local_gateway

        async with open_local_gateway() as gateway:
            ready(gateway.config)
            await trio.sleep_forever()

    with _in_trio_thread(serve, name) as config:
        yield config


@pytest.fixture(scope="session")
def local_gateway() -> Iterator[GatewayConfig]:
    """A real Kernel Gateway process, one for the session (with pytest-xdist, for each worker): its URL and token.

    It needs the extra `local`. Leave no kernel behind in it.
    """
    with _local_gateway("local_gateway") as config:
        yield config


@pytest.fixture(scope="session")
def _second_local_gateway() -> Iterator[GatewayConfig]:
    with _local_gateway("second_local_gateway") as config:
        yield config


@pytest.fixture
async def local_gateway_client(
    request: pytest.FixtureRequest, local_gateway: GatewayConfig, gateway_events: list[GatewayEvent]
) -> AsyncGenerator[Gateway]:
    """The real gateway, opened with the marker's settings: a `trio_gateway.Gateway`."""
    from trio_gateway import open_gateway
    from trio_gateway._transport.blocks import check_trio

    instead = "for asyncio take the fixture local_gateway, and open it with trio_gateway.anyio"
    check_trio("the fixture local_gateway_client", instead)
    async with open_gateway(local_gateway.replace(**_settings(request)), on_event=gateway_events.append) as gateway:
        yield gateway


@pytest.fixture
async def local_gateway_kernel(request: pytest.FixtureRequest, local_gateway_client: Gateway) -> AsyncGenerator[Kernel]:
    """A kernel of the real gateway, of the marker's kernelspec: a `trio_gateway.Kernel`."""
    async with local_gateway_client.start_kernel(_marked(request).get("kernelspec")) as kernel:
        yield kernel


@pytest.fixture
async def local_gateway_pool(request: pytest.FixtureRequest, local_gateway_client: Gateway) -> AsyncGenerator[KernelPool]:
    """A pool of the real gateway's kernels: a `trio_gateway.KernelPool`. The marker's `pool` has its arguments."""
    async with local_gateway_client.open_pool(**_pool(request)) as pool:
        yield pool


@pytest.fixture
async def local_gateway_fleet(
    request: pytest.FixtureRequest,
    local_gateway: GatewayConfig,
    _second_local_gateway: GatewayConfig,
    gateway_events: list[GatewayEvent],
) -> AsyncGenerator[Fleet]:
    """Two real gateways, `a` and `b`, as a `trio_gateway.Fleet`: `local_gateway`, and one more for the session.

    The marker's `fleet` has `labels`, `weights` and `placement`.
    """
    from trio_gateway import FleetGateway, open_fleet
    from trio_gateway._transport.blocks import check_trio

    check_trio("the fixture local_gateway_fleet", "for asyncio open a fleet of your own gateways with trio_gateway.anyio")
    said, opening = _fleet(request)
    if "gateways" in said:
        raise pytest.UsageError(f"the marker {_MARKER}'s fleet has no gateways for local_gateway_fleet: they are a and b")
    labels, weights = said.get("labels", {}), said.get("weights", {})
    gateways = [
        FleetGateway(config, name=name, labels=labels.get(name, ()), weight=weights.get(name, 1.0))
        for name, config in (("a", local_gateway), ("b", _second_local_gateway))
    ]
    async with open_fleet(gateways, on_event=gateway_events.append, **opening, **_settings(request)) as fleet:
        yield fleet
