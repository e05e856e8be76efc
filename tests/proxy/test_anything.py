"""Whatever is sent to the proxy: no 500, no traceback, nothing leaked, and the next one is served."""

from __future__ import annotations

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.budgets import examples
from trio_gateway.testing import FakeGateway

from .front import PATIENCE
from .proxy_kit import TOKEN, serve_gateway

METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
NAMES = ["api", "kernels", "kernelspecs", "sessions", "python3", "channels", "interrupt"]
PIECES = st.sampled_from([*NAMES, "..", ".", "%2e%2e", "%2f", "%00", "%ff", "%", "", "~", "a b"])
PATHS = st.lists(PIECES, max_size=6).map(lambda pieces: "/" + "/".join(pieces).replace(" ", "%20"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "path", "kernel", "id", "type", "env", "notebook"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(method=METHODS, path=PATHS, query=st.sampled_from(["", "?token=x", "?session_id=%ff", "?" + "a&" * 200]), body=JSON)
@settings(max_examples=examples(4))
def test_no_request_is_a_500_and_none_ends_the_proxy(method: str, path: str, query: str, body: object) -> None:
    async def main() -> None:
        async with FakeGateway() as fake, fake.open() as gateway, serve_gateway(gateway) as proxy:
            with trio.fail_after(PATIENCE):
                answer = await proxy.ask(method, path + query, body)
                assert answer.status < 500
                assert b"Traceback" not in answer.body
                assert TOKEN.encode() not in answer.body
                assert (await proxy.ask("GET", "/api")).status == 200

    trio.run(main)
