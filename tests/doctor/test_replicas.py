"""Replicas that differ, balancers that send a client anywhere, several addresses: what the doctor finds, and says to do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tools.browser import program
from tools.serving import serve
from trio_gateway import GatewayConfig
from trio_gateway._doctor.examine import examine
from trio_gateway._doctor.findings import Check, Finding
from trio_gateway._doctor.replicas import LOOKS, Look, judge_replicas
from trio_gateway.testing import FakeGateway, FakeKernelSpec

A, B = "http://a", "http://b"
VERSION = ("2.21.1",)


def judged(
    versions: Sequence[Look] = (), kernelspecs: Sequence[Look] = (), kernel: Sequence[Look] = (), *, accepts: bool = False
) -> Finding:
    return judge_replicas(versions, kernelspecs, kernel, here=A, accepts_cookies=accepts, accept_variable="ACCEPT")


def looks(*says: str | int, address: str = A) -> list[Look]:
    return [Look(address, one) if isinstance(one, int) else Look(address, 200, (one,)) for one in says]


def with_cookies(*values: str, name: str = "EGNODE") -> list[Look]:
    return [Look(A, 200, VERSION, ((name, value),)) for value in values]


# ------------------------------------------------------------------------------------------------------------ the rules


def test_one_gateway() -> None:
    found = judged(looks("1", "1"), looks("py", "py"), looks(200, 200))
    assert (found.status, found.detail) == ("ok", "6 answers, each over a connection of its own, agree")


def test_versions_that_differ() -> None:
    found = judged(looks("3.3.0", "3.2.3", "3.3.0"))
    assert (found.status, found.detail) == ("warning", "versions differ between answers: 3.2.3 / 3.3.0")


def test_kernelspecs_that_differ() -> None:
    specs = [Look(A, 200, ("ir", "py")), Look(A, 200, ("py",)), Look(A, 200, ("ir", "py"))]
    found = judged(kernelspecs=specs)
    assert (found.status, found.detail) == ("warning", "kernelspecs differ between answers: ir / nothing more")


@pytest.mark.parametrize(("bad", "words"), [(503, "503"), (0, "nothing"), (500, "500")])
def test_a_replica_that_is_not_well(bad: int, words: str) -> None:
    found = judged(looks("1", bad, "1", bad))
    assert found.status == "warning"
    assert found.detail == f"2 of 4 requests were answered with {words}, the others well"


@pytest.mark.parametrize("all_alike", [503, 403, 404, 0])
def test_what_all_answer_alike_is_another_steps_business(all_alike: int) -> None:
    assert judged(looks(*[all_alike] * 4), looks(*[all_alike] * 4), looks(*[404] * 4)).status == "ok"


def test_a_kernel_that_some_do_not_know() -> None:
    found = judged(kernel=looks(200, 404, 200))
    assert found.status == "failed"
    assert "of 3 requests for the kernel that was started 1 were" in found.detail
    assert "keep a client at one" in found.advice
    assert "EG_AVAILABILITY_MODE=replication" in found.advice


def test_a_balancers_cookie_that_is_not_sent_back() -> None:
    """It is told from a session's, which has another value each time, and from one that is always the same."""
    found = judged(with_cookies("one", "two", "one"), kernel=looks(200, 404))
    assert found.status == "failed"
    assert found.advice == "A balancer keeps a client at one replica by the cookie EGNODE, and is not sent it: set ACCEPT=yes."
    found = judged(with_cookies("one", "two", "one"), kernel=looks(200, 200))
    assert found.status == "warning"
    assert "2 replicas by the cookie EGNODE" in found.detail
    assert "ACCEPT=yes" in found.advice
    for values in (("a", "b", "c"), ("a", "a", "a")):
        assert judged(with_cookies(*values), kernel=looks(200, 200)).status == "ok"


def test_a_cookie_that_has_the_time_in_it_is_no_balancers() -> None:
    """Looks that cross a second see two values, each several times, and none again that was there before."""
    assert judged(with_cookies("one", "one", "two", "two"), kernel=looks(200, 200)).status == "ok"


@pytest.mark.parametrize("name", ["username-127-0-0-1-8888", "_xsrf"])
def test_a_jupyter_servers_own_cookie_is_no_balancers(name: str) -> None:
    """Replicas that are asked in turn each sign their own, in the same second."""
    assert judged(with_cookies("one", "two", "one", name=name), kernel=looks(200, 200)).status == "ok"


def test_a_balancers_cookie_that_is_sent_back() -> None:
    found = judged(with_cookies("one", "two", "one"), kernel=looks(200, 200), accepts=True)
    assert found.status == "ok"
    assert found.detail.endswith("2 replicas by the cookie EGNODE, which is sent back")
    found = judged(with_cookies("one", "two", "one"), kernel=looks(200, 404), accepts=True)
    assert found.status == "failed"
    assert "ACCEPT" not in found.advice


def test_other_addresses() -> None:
    found = judged(looks("1", "1") + looks("1", address=B), kernel=looks(200) + looks(404, address=B))
    assert found.status == "failed"
    assert found.detail == "http://b does not know the kernel that was started at http://a"
    assert judged(looks("1", "1") + looks(0, address=B)).status == "ok", "the step before tells of that"
    found = judged(looks("1", "1") + looks("2", address=B))
    assert (found.status, found.detail) == ("warning", "versions differ between answers: 1 / 2")


def test_no_value_of_a_cookie_is_shown() -> None:  # G8
    found = judged(with_cookies("s3cret", "other", "s3cret"), kernel=looks(200, 404))
    assert "s3cret" not in f"{found} {with_cookies('s3cret')}"


# ----------------------------------------------------------------------------------------- an examination, in memory


FAKE_NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""What time it is where a fake gateway begins."""


async def checks_of(config: GatewayConfig, **traits: Any) -> list[Check]:
    async def report(check: Check) -> None:
        await trio.lowlevel.checkpoint()

    return await examine(config, report=report, environ={}, now=FAKE_NOW, **traits)


class Balancer:
    """Gives each new connection to the next door."""

    def __init__(self, *doors: FakeGateway) -> None:
        self.turns: Iterator[FakeGateway] = cycle(doors)

    async def __call__(self, host: str, port: int) -> trio.abc.Stream:
        return await next(self.turns).connector(host, port)


def settings_of(fake: FakeGateway, **settings: Any) -> GatewayConfig:
    return GatewayConfig.from_env({}, url=fake.url, auth_token=fake.token, **settings)


async def test_replicas_that_share_their_kernels(autojump_clock: MockClock) -> None:
    async with FakeGateway() as one, one.replica() as two:
        checks = await checks_of(settings_of(one), connector=Balancer(one, two))
        assert one.kernels == {}
    assert [check.name for check in checks if check.status not in {"ok", "skipped"}] == ["tls"], "credentials in the clear"
    (found,) = [check for check in checks if check.name == "replicas"]
    assert found.detail == f"{3 * LOOKS} answers, each over a connection of its own, agree"


async def test_replicas_that_know_nothing_of_each_other(autojump_clock: MockClock) -> None:
    """What stands on it is skipped: it would fail here and be well there."""
    async with FakeGateway() as one, FakeGateway() as two:
        checks = {check.name: check for check in await checks_of(settings_of(one), connector=Balancer(one, two))}
        assert (one.kernels, two.kernels) == ({}, {}), "the kernel is shut down"
    assert checks["replicas"].status == "failed"
    assert f"of {LOOKS} requests for the kernel that was started {LOOKS // 2} were" in checks["replicas"].detail
    assert [checks[name].status for name in ("websocket", "reply", "shutdown")] == ["skipped", "skipped", "ok"]


async def test_replicas_with_other_kernelspecs_and_one_that_is_not_well(autojump_clock: MockClock) -> None:
    async with FakeGateway() as one, FakeGateway(kernelspecs=[FakeKernelSpec(name="python3"), FakeKernelSpec(name="ir")]) as two:
        two.faults.answer("GET /api", 503, "no")
        config = settings_of(one)
        checks = {check.name: check for check in await checks_of(config, connector=Balancer(two, one), kernel=False)}
    assert checks["replicas"].status == "warning"
    assert f"{LOOKS // 2} of {2 * LOOKS} requests were answered with 503" in checks["replicas"].detail
    assert "kernelspecs differ between answers: ir / nothing more" in checks["replicas"].detail
    assert checks["websocket"].status == "ok", "a warning is no failure"


async def test_a_kernel_that_can_not_be_ended_is_told(autojump_clock: MockClock) -> None:
    async with FakeGateway() as one, FakeGateway() as two:
        config = settings_of(one)
        two.faults.answer("DELETE .*", 404, {"message": "no"})
        one.faults.answer("DELETE .*", 404, {"message": "no"})
        checks = await checks_of(config, connector=Balancer(one, two))
        found = told(checks, "shutdown")
        assert found.status == "warning"
        assert "may be left" in found.detail
        assert len(one.kernels) + len(two.kernels) == 1


async def test_addresses_of_one_gateway(autojump_clock: MockClock) -> None:
    async with FakeGateway() as one, one.replica() as two:

        async def connect(host: str, port: int) -> trio.abc.Stream:
            if host == "away.test":
                raise ConnectionRefusedError
            return await (one if host == "one.test" else two).connector(host, port)

        urls = "http://one.test,http://two.test,http://away.test"
        checks = await checks_of(GatewayConfig.from_env({}, url=urls, auth_token=one.token), connector=connect)
        assert one.kernels == {}
    assert told(checks, "addresses").status == "warning", "which tells of the one that is away"
    assert told(checks, "replicas").status == "ok"


async def test_addresses_of_two_gateways(autojump_clock: MockClock) -> None:
    async with FakeGateway() as one, FakeGateway() as two:

        async def connect(host: str, port: int) -> trio.abc.Stream:
            return await (one if host == "one.test" else two).connector(host, port)

        config = GatewayConfig.from_env({}, url="http://one.test,http://two.test", auth_token=one.token)
        checks = await checks_of(config, connector=connect)
        assert (one.kernels, two.kernels) == ({}, {})
    found = told(checks, "replicas")
    assert found.status == "failed"
    assert found.detail == "http://two.test does not know the kernel that was started at http://one.test"


# ------------------------------------------------------------------------------------------------------- a real balancer

HAPROXY = """
defaults
  mode http
  timeout connect 10s
  timeout client 300s
  timeout server {server}
frontend gateway
  bind 127.0.0.1:{port}
  default_backend gateways
backend gateways
  balance roundrobin
  {sticky}
{lines}
"""


@asynccontextmanager
async def haproxy(
    folder: Path, doors: Sequence[FakeGateway], *, sticky: bool = False, server: str = "300s"
) -> AsyncGenerator[str]:
    """Run haproxy in front of fake gateways on loopback, and give its URL."""
    binary = program("haproxy", "haproxy")
    async with AsyncExitStack() as stack:
        hosts = [(await stack.enter_async_context(door.listen())).removeprefix("http://") for door in doors]
        lines = "\n".join(f"  server s{n} {host}{f' cookie s{n}' if sticky else ''}" for n, host in enumerate(hosts))
        cookie = "cookie NODE insert indirect nocache" if sticky else ""

        def command(port: int) -> list[str]:
            folder.joinpath("cfg").write_text(HAPROXY.format(port=port, sticky=cookie, lines=lines, server=server))
            return [binary, "-f", str(folder / "cfg"), "-db"]

        yield stack.enter_context(serve(command, folder)).url


def told(checks: Sequence[Check], name: str) -> Check:
    (found,) = [check for check in checks if check.name == name]
    return found


@pytest.mark.full
async def test_haproxy_without_stickiness(tmp_path: Path) -> None:
    async with FakeGateway() as one, FakeGateway() as two, haproxy(tmp_path, [one, two]) as url:
        found = told(await checks_of(GatewayConfig.from_env({}, url=url, auth_token=one.token)), "replicas")
        print(
            "LEFT",
            one.kernels,
            two.kernels,
            [str(r) for r in one.requests if "kernels/" in str(r)],
            [str(r) for r in two.requests if "kernels/" in str(r)],
        )
    # Which replica the start and the first question go to is haproxy's choice.
    assert found.status == "failed"
    assert "haproxy: `cookie NAME insert`" in found.advice


@pytest.mark.full
@pytest.mark.parametrize("accepts", [False, True])
async def test_haproxy_with_a_cookie(tmp_path: Path, accepts: bool) -> None:
    async with FakeGateway() as one, FakeGateway() as two, haproxy(tmp_path, [one, two], sticky=True) as url:
        config = GatewayConfig.from_env({}, url=url, auth_token=one.token, accept_cookies=accepts)
        checks = await checks_of(config)
    found = told(checks, "replicas")
    if accepts:
        assert (found.status, told(checks, "reply").status) == ("ok", "ok")
        assert "2 replicas by the cookie NODE, which is sent back" in found.detail
    else:
        assert found.status == "failed"
        assert found.advice.endswith("set JUPYTER_GATEWAY_ACCEPT_COOKIES=yes.")


@pytest.mark.full
async def test_haproxy_that_waits_less_long_than_a_start_takes(tmp_path: Path) -> None:
    """It answers 504, and its own limit is what has to be raised."""
    async with FakeGateway(start_seconds=30) as one, haproxy(tmp_path, [one], server="1s") as url:
        config = GatewayConfig.from_env({}, url=url, auth_token=one.token, cleanup_timeout=1.0)
        found = told(await checks_of(config), "kernel")
    assert found.status == "failed"
    assert "504" in found.detail
    assert "haproxy: `timeout server`" in found.advice
    assert "after 1 s, and it may take" in found.advice
