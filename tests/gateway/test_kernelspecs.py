"""Names of kernelspecs are compared as gateways do: without case. On the fake here, and on a real gateway beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

import trio_gateway
from tools.rest_fake import Answer, RestFake, error, open_fake
from trio_gateway import GatewayHTTPError, InvalidInputError, KernelSpecNotFoundError, ProtocolError
from trio_gateway._models import find_name
from trio_gateway.testing import FakeGateway, FakeKernelSpec

if TYPE_CHECKING:
    from conftest import RunningGateway


@pytest.mark.parametrize(
    ("name", "names", "found"),
    [
        ("python3", ["ir", "python3"], "python3"),
        ("Python3", ["ir", "python3"], "python3"),
        ("python3", ["Python3"], "Python3"),
        ("IR", ["Ir", "ir"], None),  # a server that tells them apart is not guessed at
        ("ir", ["Ir", "ir"], "ir"),
        ("julia", ["ir"], None),
        ("", [], None),
    ],
)
def test_which_name_is_meant(name: str, names: list[str], found: str | None) -> None:
    assert find_name(name, names) == found


async def names_are_compared_without_case(gateway: trio_gateway.Gateway) -> None:
    """Use a kernelspec that is listed as `python3` under another spelling, in each place that takes a name."""
    specs = await gateway.kernelspecs.list()
    assert "python3" in specs.kernelspecs
    found = specs.find("Python3")
    assert found is specs.kernelspecs["python3"]
    assert specs.find("nothing") is None
    assert await gateway.kernelspecs.check("PYTHON3") == "python3"
    assert await gateway.kernelspecs.interrupt_mode("Python3") == "signal"
    assert (await gateway.kernelspecs.get("Python3")).language == found.language
    async with gateway.start_kernel("Python3") as kernel:
        assert (await kernel.execute("6 * 7")).text == "42"
        assert kernel.name == "python3"
    for name in ("pYTHON3", "python"):
        model = await gateway.kernels.start(name)
        assert model.name == "python3"
        await gateway.kernels.shutdown(model.id)
    with pytest.raises(trio_gateway.KernelSpecNotFoundError):
        await gateway.kernels.start("Python")


async def what_a_gateway_does(gateway: trio_gateway.Gateway) -> list[tuple[Any, ...]]:
    """Ask a gateway under other spellings, without the library's own comparison; return what it says."""
    said: list[tuple[Any, ...]] = []
    async with gateway.http_client() as client:
        for name in ("python3", "Python3", "PYTHON3", "python", "Python", "nothing"):
            answer = await client.get(f"api/kernelspecs/{name}")
            said.append(("kernelspec", name, answer.status_code, answer.json().get("name")))
            answer = await client.get(f"kernelspecs/{name}/logo-64x64.png")
            said.append(("resource", name, answer.status_code))
            answer = await client.post("api/kernels", json={"name": name, "env": {}})
            said.append(("kernel", name, answer.status_code, answer.json().get("name")))
            if answer.status_code == 201:
                await client.delete(f"api/kernels/{answer.json()['id']}")
            body = {"path": name, "name": name, "type": "notebook", "kernel": {"name": name}}
            answer = await client.post("api/sessions", json=body)
            said.append(("session", name, answer.status_code, (answer.json().get("kernel") or {}).get("name")))
            if answer.status_code == 201:
                await client.delete(f"api/kernels/{answer.json()['kernel']['id']}")
    return said


def fake() -> FakeGateway:
    """A fake with a kernelspec as Kernel Gateway has it."""
    return FakeGateway(kernelspecs=[FakeKernelSpec(name="python3", resources={"logo-64x64.png": b"x"})])


async def test_on_the_fake(autojump_clock: object) -> None:
    async with fake() as made, made.open() as gateway:
        await names_are_compared_without_case(gateway)


@pytest.mark.full
@pytest.mark.gateway
async def test_on_a_real_gateway(real_gateway: RunningGateway) -> None:
    with trio.fail_after(60):
        async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
            await names_are_compared_without_case(gateway)


@pytest.mark.full
@pytest.mark.gateway
async def test_the_fake_does_as_a_real_gateway_does(real_gateway: RunningGateway) -> None:
    with trio.fail_after(60):
        async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
            there = await what_a_gateway_does(gateway)
        async with fake() as made, made.open() as gateway:
            here = await what_a_gateway_does(gateway)
    assert here == there


async def test_the_kernelspecs_limit_counts_for_a_kernel_that_was_started_under_another_spelling(autojump_clock: object) -> None:
    """A kernel's model has the name that whoever started it wrote."""
    specs = [FakeKernelSpec(name="python3", metadata={"cull_idle_timeout": 10})]
    async with FakeGateway(kernelspecs=specs) as made, made.open() as gateway:
        async with gateway.http_client() as client:
            model = (await client.post("api/kernels", json={"name": "Python3", "env": {}})).json()
        await trio.sleep(100)
        done = await gateway.kernels.cull(trio_gateway.CullPolicy(idle_timeout=1e6, all_listed=True))
        assert [culled.id for culled in done] == [model["id"]]


async def test_a_default_that_is_configured_in_another_spelling_is_the_one_that_is_listed(autojump_clock: object) -> None:
    async with FakeGateway() as made, made.open() as gateway:
        made.default_kernelspec = "Python3"
        assert await gateway.kernelspecs.default_name() == "python3"
        async with gateway.start_kernel() as kernel:
            assert (await kernel.execute("6 * 7")).text == "42"


# ------------------------------------------------------------------------------------------------ on a gateway in memory


async def test_a_name_is_asked_about_once_also_by_many_at_the_same_time(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.add_spec("ir")
    async with open_fake(fake) as gateway:
        async with trio.open_nursery() as nursery:
            for name in ("python3", "ir", "Python3"):
                nursery.start_soon(gateway.kernelspecs.check, name)
        assert fake.asked() == ["GET /api/kernelspecs"]
        with pytest.raises(KernelSpecNotFoundError) as caught:
            await gateway.kernelspecs.check("julia")
        assert caught.value.available == ("ir", "python3")
        assert fake.asked() == ["GET /api/kernelspecs"] * 2, "it may have come since"


@pytest.mark.parametrize("answer", [error(404), error(403), Answer(200, b"<html>")])
async def test_where_nothing_is_listed_no_name_is_refused(autojump_clock: MockClock, answer: Answer) -> None:
    fake = RestFake()
    fake.script("GET /api/kernelspecs", answer)
    async with open_fake(fake) as gateway:
        assert await gateway.kernelspecs.check("anything") == "anything"


async def test_how_a_kernel_is_interrupted_is_asked_once(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.add_spec("xpython", interrupt_mode="message")
    async with open_fake(fake) as gateway:
        specs = gateway.kernelspecs
        assert [await specs.interrupt_mode(name) for name in ("xpython", "xpython", "none")] == ["message", "message", "signal"]
        assert await specs.interrupt_mode("none") == "signal"
        assert fake.asked() == ["GET /api/kernelspecs/xpython", "GET /api/kernelspecs/none"]
        fake.script("GET /api/kernelspecs/late", error(500))
        assert await specs.interrupt_mode("late") == "signal"
        fake.scripts.clear()
        fake.add_spec("late", interrupt_mode="message")
        assert await specs.interrupt_mode("late") == "message", "an error is no answer to keep"


async def test_what_was_listed_last_is_there_without_asking(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        assert gateway.kernelspecs.last_listed("python3") is None
        specs = await gateway.kernelspecs.list()
        assert gateway.kernelspecs.last_listed("Python3") is specs.kernelspecs["python3"]
        assert gateway.kernelspecs.last_listed("ir") is None


async def test_paths_of_files_are_as_the_gateway_is_reached(autojump_clock: MockClock) -> None:
    async with open_fake(RestFake()) as gateway:
        listed = (await gateway.kernelspecs.list()).kernelspecs["python3"]
        one = await gateway.kernelspecs.get("python3")
    assert listed.resources == one.resources == {"logo-64x64": "/Base/kernelspecs/python3/logo-64x64.png"}


async def test_a_file_is_kept_as_long_as_it_is_said_to_be_good(autojump_clock: MockClock) -> None:
    fake = RestFake()
    headers = {"Content-Type": "image/png", "Cache-Control": "max-age=60", "ETag": '"1"'}
    fake.files["python3/logo-64x64.png"] = Answer(200, b"PNG", headers)
    path = "kernelspecs/python3/logo-64x64.png"
    async with open_fake(fake) as gateway:
        logo = await gateway.kernelspecs.resource("python3", "logo-64x64.png")
        assert (logo.content, logo.media_type, logo.etag) == (b"PNG", "image/png", '"1"')
        await trio.sleep(59)
        assert await gateway.kernelspecs.resource("python3", f"/Base/{path}") is logo
        assert fake.asked() == [f"GET /{path}"]
        await trio.sleep(2)
        fake.files["python3/logo-64x64.png"] = Answer(304, b"", headers)
        assert await gateway.kernelspecs.resource("python3", "logo-64x64.png") is logo
        assert fake.requests[-1].headers["if-none-match"] == '"1"'
        await trio.sleep(61)
        del fake.files["python3/logo-64x64.png"]
        with pytest.raises(GatewayHTTPError):
            await gateway.kernelspecs.resource("python3", "logo-64x64.png")
        fake.files["python3/logo-64x64.png"] = Answer(304, b"", headers)
        with pytest.raises(ProtocolError, match="304"):
            await gateway.kernelspecs.resource("python3", "logo-64x64.png")


@pytest.mark.parametrize("path", ["../x", "", 5])
async def test_a_path_out_of_the_folder_is_refused(autojump_clock: MockClock, path: Any) -> None:  # G10
    fake = RestFake()
    async with open_fake(fake) as gateway:
        with pytest.raises(InvalidInputError):
            await gateway.kernelspecs.resource("python3", path)
    assert fake.requests == []


async def test_what_python_is_the_gateway_says_today(autojump_clock: MockClock) -> None:
    """A gateway that gets a kernelspec `python` while it is used starts that one."""
    async with FakeGateway() as fake, fake.open() as gateway:
        assert await gateway.kernelspecs.check("python") == "python3"
        fake.kernelspecs = {"python": FakeKernelSpec(name="python")}
        assert await gateway.kernelspecs.check("python") == "python"


async def test_a_kernelspec_is_found_in_what_was_listed(autojump_clock: MockClock) -> None:
    async with (
        FakeGateway(kernelspecs=[FakeKernelSpec(name="first"), FakeKernelSpec(name="second")]) as fake,
        fake.open() as gateway,
    ):
        found = [await gateway.kernelspecs.find_listed(name) for name in (None, "second", "SECOND", "third")]
        assert [None if spec is None else spec.name for spec in found] == ["first", "second", "second", None]
        listed = [request for request in fake.requests if request.path == "/api/kernelspecs"]
        assert len(listed) == 2, "once for the default, and once for a name that nobody knew"
