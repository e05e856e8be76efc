"""What an Enterprise Gateway does not take of `env`, and others do: refused for the one, sent to the others. G8, G10."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tools.rest_fake import NORMAL, Answer, Request, RestFake, error, open_fake
from trio_gateway import GatewayConnectionError, GatewayHTTPError, InvalidInputError, KernelResources
from trio_gateway._gateway.restrictions import read_refusal, refusal_of
from trio_gateway._gateway.starting import Inherited, StartRequest

ENTERPRISE = Answer(200, {"version": "1.24.0", "gateway_version": "3.3.0"})
KERNEL_GATEWAY = Answer(200, {"version": "2.21.1"})
SECRET = "pa$$word-in-there"
RESTRICTED = [SECRET, "a`b", "a\nb", "a\rb", "x" * 4097]


def fake_of(version: Answer) -> RestFake:
    fake = RestFake()
    fake.script("GET /api", version)
    return fake


def starts(fake: RestFake) -> list[dict[str, str]]:
    """Return what the starts were sent, without the ids."""
    found = [request.body["env"] for request in fake.requests if (request.method, request.path) == ("POST", "/api/kernels")]
    return [{name: value for name, value in env.items() if name != "KERNEL_ID"} for env in found]


# ------------------------------------------------------------------------------------------------------------ the rule


@pytest.mark.parametrize("name", ["1A", "A-B", "A B", "\xc4"])
def test_a_name_that_is_none_for_a_shell(name: str) -> None:
    refusal = refusal_of(name, "x", {})
    assert refusal is not None
    assert (refusal.field, refusal.value) == ("env", name)


@pytest.mark.parametrize("value", RESTRICTED)
def test_a_value_that_it_does_not_take_is_not_shown(value: str) -> None:
    refusal = refusal_of("A_1", value, {})
    assert refusal is not None
    assert refusal.field == "env['A_1']"
    assert value not in str(refusal)


def test_what_it_just_takes() -> None:
    assert refusal_of("_a1", "x" * 4096, {}) is None
    assert refusal_of("A", "\xe4 \U0001f600 \"'{}[]\t;|&", {}) is None


def test_the_argument_that_said_it_is_named() -> None:
    refusal = refusal_of("KERNEL_VOLUMES", "$", {"KERNEL_VOLUMES": "resources.volumes"})
    assert refusal is not None
    assert refusal.field == "resources.volumes"


# --------------------------------------------------------------------------------------------------------- at a start


@pytest.mark.parametrize("value", RESTRICTED)
async def test_a_kernel_gateway_gets_it(autojump_clock: MockClock, value: str) -> None:
    fake = fake_of(KERNEL_GATEWAY)
    async with open_fake(fake) as gateway:
        await gateway.kernels.start(env={"KERNEL_X": value, "A-B": "1"})
    assert starts(fake) == [{"KERNEL_X": value, "A-B": "1"}]


@pytest.mark.parametrize("value", RESTRICTED)
@pytest.mark.parametrize("way", ["start", "own"])
async def test_an_enterprise_gateway_is_not_sent_it(autojump_clock: MockClock, way: str, value: str) -> None:
    fake = fake_of(ENTERPRISE)
    async with open_fake(fake) as gateway:
        with pytest.raises(InvalidInputError, match="KERNEL_X") as caught:
            if way == "start":
                await gateway.kernels.start(env={"KERNEL_X": value})
            else:
                async with gateway.start_kernel(env={"KERNEL_X": value}):
                    pass
    assert starts(fake) == []
    assert value not in "".join(traceback.format_exception(caught.value))


async def test_it_is_asked_once_and_only_for_a_reason(autojump_clock: MockClock) -> None:
    fake = fake_of(KERNEL_GATEWAY)
    async with open_fake(fake) as gateway:
        await gateway.kernels.start(env={"KERNEL_X": "harmless"})
        assert "GET /api" not in fake.asked()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(lambda: gateway.kernels.start(env={"KERNEL_X": SECRET}))
        await gateway.kernels.start(env={"KERNEL_X": SECRET})
    assert fake.asked().count("GET /api") == 1
    assert len(starts(fake)) == 7


@pytest.mark.parametrize("answer", [error(404), error(403), error(500), Answer(200, ["?"]), Answer(200, {"gateway_version": 3})])
async def test_a_server_that_does_not_say_what_it_is_gets_it(autojump_clock: MockClock, answer: Answer) -> None:
    """It says itself what it refuses."""
    fake = fake_of(answer)
    async with open_fake(fake, max_request_retries=0) as gateway:
        await gateway.kernels.start(env={"KERNEL_X": SECRET})
    assert starts(fake) == [{"KERNEL_X": SECRET}]


async def test_what_was_no_answer_is_asked_again(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.script("GET /api", error(503), ENTERPRISE)
    async with open_fake(fake, max_request_retries=0) as gateway:
        await gateway.kernels.start(env={"KERNEL_X": SECRET})
        with pytest.raises(InvalidInputError):
            await gateway.kernels.start(env={"KERNEL_X": SECRET})


async def test_a_gateway_that_is_away_is_started_nothing_on(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.script("GET /api", None)
    async with open_fake(fake, max_request_retries=0) as gateway:
        with pytest.raises(GatewayConnectionError):
            await gateway.kernels.start(env={"KERNEL_X": SECRET})
    assert starts(fake) == []


async def test_cancelling_the_question_starts_nothing_and_the_next_asks(autojump_clock: MockClock) -> None:
    fake = RestFake()

    async def never(request: Request) -> Answer:
        await trio.sleep_forever()
        raise AssertionError(request)

    fake.script("GET /api", never, KERNEL_GATEWAY)
    async with open_fake(fake) as gateway:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: gateway.kernels.start(env={"KERNEL_X": SECRET}))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert starts(fake) == []
        await gateway.kernels.start(env={"KERNEL_X": SECRET})
    assert len(starts(fake)) == 1


async def test_what_nobody_has_asked_for_is_left_out(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It came along because a setting names it, and must not keep every kernel from starting."""
    monkeypatch.setenv("PS1", SECRET)
    monkeypatch.setenv("HARMLESS", "yes")
    settings: dict[str, Any] = {"allowed_envs": ("PS1", "HARMLESS")}
    fake = fake_of(ENTERPRISE)
    with caplog.at_level(logging.WARNING):
        async with open_fake(fake, **settings) as gateway:
            await gateway.kernels.start(env={"KERNEL_X": "1"})
    assert starts(fake) == [{"HARMLESS": "yes", "KERNEL_X": "1"}]
    assert "variable_not_sent: env['PS1']" in caplog.text
    assert SECRET not in caplog.text
    fake = fake_of(KERNEL_GATEWAY)
    async with open_fake(fake, **settings) as gateway:
        await gateway.kernels.start()
    assert starts(fake) == [{"HARMLESS": "yes", "PS1": SECRET}]


async def test_a_directory_and_resources_are_named_as_the_caller_wrote_them(autojump_clock: MockClock) -> None:
    fake = fake_of(ENTERPRISE)
    async with open_fake(fake) as gateway:
        with pytest.raises(InvalidInputError) as caught:
            await gateway.kernels.start(cwd="/a$b")
        assert caught.value.field == "cwd"
        mounts = [{"name": f"v{number}", "mountPath": "/" + "x" * 100} for number in range(50)]
        with pytest.raises(InvalidInputError) as caught:
            await gateway.kernels.start(resources=KernelResources(volume_mounts=mounts))
        assert caught.value.field == "resources.volume_mounts"
    assert starts(fake) == []


# ------------------------------------------------------------------------------------------- the gateway's own refusal


def refused(message: str, status: int = 400) -> Answer:
    return Answer(status, {"reason": "Bad Request", "message": message})


@pytest.mark.parametrize(
    ("message", "value", "told"),
    [
        ("Environment variable 'KERNEL_X' contains prohibited characters", SECRET, "a value with '$'"),
        ("Environment variable 'KERNEL_X' exceeds maximum length", "x" * 5000, "5000 characters"),
        ("Environment variable 'KERNEL_X' is on a list of ours", "word", "its value"),
    ],
)
async def test_its_400_names_the_variable(autojump_clock: MockClock, message: str, value: str, told: str) -> None:
    """As Enterprise Gateway 3.3 and 3.4 word it. Where something before it answers /api, this is the only word."""
    fake = fake_of(error(404))
    fake.script("POST /api/kernels", refused(message))
    async with open_fake(fake) as gateway:
        with pytest.raises(InvalidInputError) as caught:
            await gateway.kernels.start(env={"KERNEL_X": value})
        assert (caught.value.field, caught.value.value) == ("env['KERNEL_X']", told)
        assert isinstance(caught.value.__cause__, GatewayHTTPError)
        with pytest.raises(InvalidInputError):
            async with gateway.start_kernel(env={"KERNEL_X": value}):
                pass
    assert fake.kernels == {}


@pytest.mark.parametrize(
    "answer",
    [
        refused("Environment variable 'KERNEL_OTHER' contains prohibited characters"),
        refused("Environment variable KERNEL_X"),
        refused("no"),
        refused("Environment variable 'KERNEL_X' contains prohibited characters", 422),
    ],
)
async def test_another_refusal_stays_what_it_is(autojump_clock: MockClock, answer: Answer) -> None:
    fake = RestFake()
    fake.script("POST /api/kernels", answer)
    async with open_fake(fake) as gateway:
        with pytest.raises(GatewayHTTPError) as caught:
            await gateway.kernels.start(env={"KERNEL_X": "1"})
    assert caught.value.status_code == answer.status


def test_another_error_is_read_as_none() -> None:
    request = StartRequest("", None, {"A": "1"}, None, 1.0)
    assert read_refusal(GatewayConnectionError("environment variable 'A'"), request) is None


def test_what_is_inherited_hides_itself() -> None:  # G8
    assert repr(Inherited(SECRET)) == "'***'"
    assert Inherited(SECRET) == SECRET


async def test_a_start_under_an_id_that_runs_already_is_asked_nothing(autojump_clock: MockClock) -> None:
    fake = fake_of(ENTERPRISE)
    fake.script("POST /api/kernels", NORMAL)
    async with open_fake(fake) as gateway:
        there = await gateway.kernels.start()
        assert (await gateway.kernels.start(kernel_id=there.id, env={"KERNEL_X": SECRET})).id == there.id
