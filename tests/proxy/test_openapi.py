"""The OpenAPI description: it has exactly what is served, and schemathesis asks everything that it allows."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import requests
import schemathesis
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans
from starlette.routing import Route

from trio_gateway.testing import FakeGateway

from .proxy_kit import TOKEN, Served, serve_gateway


async def with_proxy(job: Any) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, serve_gateway(gateway) as proxy:
        await job(proxy)


async def test_it_describes_what_is_served() -> None:
    async def job(proxy: Served) -> None:
        described = (await proxy.ask("GET", "/api/openapi.json")).json()
        routes = {
            (route.path.replace(":path}", "}"), method.lower())
            for route in proxy.app._router.routes
            if isinstance(route, Route)
            for method in route.methods or ()
            if method != "HEAD"
        }
        assert {
            (path, method) for path, item in described["paths"].items() for method in item if method != "parameters"
        } == routes

    await with_proxy(job)


async def test_it_begins_where_the_proxy_does() -> None:
    async with FakeGateway() as fake, fake.open() as gateway, serve_gateway(gateway, base_path="/a/b/") as proxy:
        described = (await proxy.ask("GET", "/a/b/api/openapi.json")).json()
        assert described["servers"] == [{"url": "/a/b"}]


@pytest.mark.full
async def test_whatever_it_allows_is_answered_as_it_says(caplog: pytest.LogCaptureFixture) -> None:
    """No 500, no undocumented status, body or header; nothing leaks into an answer or a log."""

    async def job(proxy: Served) -> None:
        described = (await proxy.ask("GET", "/api/openapi.json")).json()
        model = (await proxy.ask("POST", "/api/kernels")).json()
        known = {"kernel_id": model["id"], "name": "python3"}
        await trio.to_thread.run_sync(ask_everything, described, proxy.url, known)
        assert (await proxy.ask("GET", "/api")).status == 200

    await with_proxy(job)
    assert TOKEN not in caplog.text
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def ask_everything(described: dict[str, Any], url: str, known: dict[str, str]) -> None:
    """Ask for every operation, with what schemathesis makes of it; now and then for a thing that is really there."""
    schema = schemathesis.openapi.from_dict(described)
    asked = set()
    with requests.Session() as session:  # or each request has a connection of its own, which stays open for a while
        for found in schema.get_all_operations():
            operation = found.ok()
            cases = operation.as_strategy()

            @settings(database=None, suppress_health_check=list(HealthCheck))
            @given(case=cases, there=booleans())
            def ask(case: Any, there: bool) -> None:
                if there and case.path_parameters:
                    case.path_parameters |= {name: value for name, value in known.items() if name in case.path_parameters}
                answer = case.call(base_url=url, session=session, headers={"Authorization": f"token {TOKEN}"}, timeout=200)
                case.validate_response(answer)
                assert answer.status_code not in {500, 502, 504}, answer.text
                for secret in (TOKEN, "fake-token", "Traceback"):
                    assert secret not in answer.text
                asked.add((case.method, case.path))

            ask()
            gc.collect()  # its check for ignored credentials leaves a connection open for each request until then
    assert len(asked) == len(list(schema.get_all_operations()))
