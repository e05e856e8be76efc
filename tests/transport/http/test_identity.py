"""Who we are to a gateway: which headers say so to which URL, and what of them is masked."""

from __future__ import annotations

import pytest
import trio

from trio_gateway import GatewayConfig, InvalidInputError
from trio_gateway._transport.http.identity import Identity, merged

URL = "http://gateway.test:8888/Base"


def identity(**settings: object) -> Identity:
    return Identity(GatewayConfig(**{"url": URL, "auth_token": "t0ken-s3cret", **settings}))  # type: ignore[arg-type]


class Renewer:
    """Gives the tokens one after the other."""

    tokens = ("second", "third")

    def __init__(self) -> None:
        self.left = list(self.tokens)

    def get_token(self, key: str, scheme: str, token: str) -> str:
        return self.left.pop(0)


def test_of_headers_of_one_name_the_last_stays():
    assert merged([("A", "1"), ("b", "2"), ("a", "3")]) == [("a", "3"), ("b", "2")]


async def test_the_token_and_the_configured_headers_go_along():
    ours = identity(headers={"X-One": "1"})
    assert ours.headers(f"{URL}/api") == [("Authorization", "token t0ken-s3cret"), ("X-One", "1")]
    assert ours.token == "t0ken-s3cret"
    assert not ours.renews


async def test_cookies_go_where_they_belong_and_only_if_asked_for():
    ours = identity(accept_cookies=True, headers={"Cookie": "mine=1"})
    ours.store_cookies(["a=b; Path=/Base/api"], f"{URL}/api/kernels")
    assert ("Cookie", "mine=1; a=b") in ours.headers(f"{URL}/api/kernels")
    assert dict(ours.headers(f"{URL}/other"))["Cookie"] == "mine=1"
    without = identity()
    without.store_cookies(["a=b"], f"{URL}/api")
    assert "Cookie" not in dict(without.headers(f"{URL}/api"))


async def test_cookies_end_by_trios_clock(autojump_clock: object):
    ours = identity(accept_cookies=True)
    before = ours.now()
    ours.store_cookies(["a=b; Max-Age=60; Path=/"], URL)
    await trio.sleep(59)
    assert dict(ours.headers(f"{URL}/api"))["Cookie"] == "a=b"
    await trio.sleep(2)
    assert "Cookie" not in dict(ours.headers(f"{URL}/api"))
    assert ours.now() - before == pytest.approx(61)


async def test_a_handshake_says_the_same_once_each():
    ours = identity(headers={"Authorization": "Bearer mine"})
    assert await ours.handshake_headers("ws://gateway.test:8888/Base/api/kernels/x/channels") == [
        ("Authorization", "Bearer mine")
    ]


@pytest.mark.parametrize("url", ["ws://evil.test:8888/", "wss://gateway.test:8888/", "ws://gateway.test/"])
async def test_a_handshake_says_nothing_to_another_server(url: str):  # G8
    with pytest.raises(InvalidInputError, match="credentials go nowhere else"):
        await identity().handshake_headers(f"{url}?token=x")


async def test_a_handshake_renews_the_token(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(GatewayConfig, "load_token_renewer", lambda _: Renewer())
    ours = identity()
    assert ours.renews
    assert dict(await ours.handshake_headers("ws://gateway.test:8888/"))["Authorization"] == "token second"
    assert await ours.renew("second")
    assert ours.token == "third"
    assert await ours.renew("second"), "there is another one already, so nobody is asked"


async def test_what_logs_in_is_masked_and_old_tokens_too(monkeypatch: pytest.MonkeyPatch):  # G8
    monkeypatch.setattr(GatewayConfig, "load_token_renewer", lambda _: Renewer())
    ours = identity(accept_cookies=True, headers={"X-Api-Key": "header-s3cret"})
    ours.store_cookies(["c=cookie-s3cret; Path=/", "d=short"], URL)
    same = ours.mask
    assert ours.mask is same
    await ours.renew()
    said = ours.mask("t0ken-s3cret second header-s3cret cookie-s3cret short")
    assert "s3cret" not in said
    assert "second" not in said
    assert "short" in said, "what is that short is no secret"
