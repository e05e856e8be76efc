"""What the doctor finds where a gateway has several addresses: it looks at each, and goes on with one that answers."""

from __future__ import annotations

from datetime import UTC, datetime

import trio
from trio.testing import MockClock

from trio_gateway import GatewayConfig
from trio_gateway._doctor.examine import STEPS, examine
from trio_gateway._doctor.findings import Check
from trio_gateway.testing import FakeGateway

ONE, TWO = "http://one.test:8888", "http://two.test:9999/Base"


FAKE_NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""What time it is where a fake gateway begins."""


async def checks_of(
    *down: str,
    url: str = f"{ONE},{TWO}",
    answer: int | None = None,
    token: str = "t0ken",
    logins: set[str] | None = None,
    **settings: str,
) -> dict[str, Check]:
    """Examine two replicas, of which these are down; what logs in is added to `logins`."""
    told: list[Check] = []

    async def report(check: Check) -> None:
        await trio.lowlevel.checkpoint()
        told.append(check)

    async with FakeGateway(url=ONE, token=token) as one, one.replica(url=TWO) as two:
        if answer is not None:
            one.faults.answer("GET /api", answer)

        async def connect(host: str, port: int) -> trio.abc.Stream:
            if host in down:
                await trio.lowlevel.checkpoint()
                raise ConnectionRefusedError(111, "Connection refused")
            return await (one if host == "one.test" else two).connector(host, port)

        config = GatewayConfig.from_env({}, url=url, auth_token=token, **settings)  # type: ignore[arg-type]
        assert await examine(config, report=report, connector=connect, environ={}, now=FAKE_NOW) == told
        if logins is not None:
            logins.update(request.headers.get("authorization", "") for door in (one, two) for request in door.requests)
    found = {check.name: check for check in told}
    assert tuple(found) == (STEPS[0], "addresses", *STEPS[1:])
    return found


async def test_all_answer(autojump_clock: MockClock) -> None:
    found = await checks_of()
    check = found.pop("addresses")
    assert (check.status, check.advice) == ("ok", "")
    assert check.detail == f"{ONE}: answers; {TWO}: answers; what follows is about the first"
    assert {name for name, check in found.items() if check.status not in {"ok", "skipped"}} == {"tls"}, "a token, in the open"
    assert found["shutdown"].status == "ok"
    assert found["tcp"].detail == "connected to one.test, port 8888"


async def test_one_that_is_down_is_told_and_the_other_examined(autojump_clock: MockClock) -> None:
    found = await checks_of("one.test", ws_url="ws://one.test:8888,ws://two.test:9999/Base")
    check = found["addresses"]
    assert check.status == "warning"
    assert check.detail == f"{ONE}: can't connect to one.test:8888: Connection refused; {TWO}: answers"
    assert f"What follows is about {TWO}" in check.advice
    assert "take it out of url" in check.advice
    assert found["tcp"].detail == "connected to two.test, port 9999"
    assert (found["reply"].status, found["websocket"].status) == ("ok", "ok")


async def test_a_balancer_without_a_gateway_is_none_that_answers(autojump_clock: MockClock) -> None:
    found = await checks_of(answer=503)
    assert "answered 503" in found["addresses"].detail
    assert found["tcp"].detail == "connected to two.test, port 9999"
    found = await checks_of(answer=401)
    assert found["addresses"].status == "ok", "a refusal is an answer, and the next steps are about it"


async def test_all_down_is_told_by_the_steps_of_the_first(autojump_clock: MockClock) -> None:
    found = await checks_of("one.test", "two.test")
    assert found["addresses"].status == "failed"
    assert found["addresses"].advice == f"No address answers, so no request can go on. What follows is about the first, {ONE}."
    assert (found["tcp"].status, found["http"].status) == ("failed", "skipped")


async def test_a_login_in_a_url_is_the_login_at_each(autojump_clock: MockClock) -> None:  # G8
    url = f"http://u:p4ss-word@one.test:8888,{TWO}"
    logins: set[str] = set()
    found = await checks_of("one.test", url=url, token="", logins=logins)
    assert found["reply"].status == "ok"
    assert logins == {"Basic dTpwNHNzLXdvcmQ="}
    assert "p4ss-word" not in repr(list(found.values()))
