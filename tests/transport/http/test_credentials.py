"""Who logs in, with what, and where to. Lessons B29 to B33 and B37."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from tools.scripted_http import URL, Answer, Request, bench, in_turn, response, sent
from trio_gateway._config import GatewayConfig
from trio_gateway._errors import AuthenticationError, ConfigError, InvalidInputError
from trio_gateway._tokens import NoOpTokenRenewer, TokenRenewer
from trio_gateway._transport.http.client import open_http_client

# -------------------------------------------------------------------------------------------------------------- headers


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {}),
        ({"auth_token": "t"}, {"authorization": "token t"}),
        ({"auth_token": "t", "auth_scheme": "Bearer"}, {"authorization": "Bearer t"}),
        # lesson B29: these sent "None t", "token None", "token " or nothing of the user's own
        ({"auth_token": "t", "auth_scheme": None}, {"authorization": "t"}),
        ({"auth_token": "t", "auth_scheme": ""}, {"authorization": "t"}),
        ({"auth_token": None}, {}),
        ({"auth_token": ""}, {}),
        ({"auth_token": "", "auth_scheme": None}, {}),
        ({"headers": {"Authorization": "Mine x"}}, {"authorization": "Mine x"}),
        ({"headers": {"authorization": "Mine x"}, "http_user": "u", "http_pwd": "p"}, {"authorization": "Mine x"}),
        ({"auth_token": "t", "auth_header_key": "X-Auth"}, {"x-auth": "token t"}),
        (
            {"auth_token": "t", "auth_header_key": "X-Auth", "headers": {"Authorization": "Mine x"}},
            {"x-auth": "token t", "authorization": "Mine x"},
        ),
        ({"http_user": "u", "http_pwd": "ü:p"}, {"authorization": "Basic dTrDvDpw"}),
        ({"http_user": "u"}, {"authorization": "Basic dTo="}),
        (
            {"http_user": "u", "http_pwd": "p", "auth_token": "t", "auth_header_key": "X-Auth"},
            {"x-auth": "token t", "authorization": "Basic dTpw"},
        ),
        ({"headers": {"X-One": "1", "X-Two": "2"}, "auth_token": "t"}, {"x-one": "1", "x-two": "2", "authorization": "token t"}),
        ({"url": "http://u:p@gateway.test:8888"}, {"authorization": "Basic dTpw"}),
    ],
)
async def test_what_logs_in(settings: dict[str, Any], expected: dict[str, str]):
    async with bench(in_turn(response()), **settings) as it:
        await it.http.request("GET", "/")
        handshake = await it.http.handshake_headers(it.http.config.websocket_url("/x"))
    assert sent(it.requests[0]) == expected
    # The same on the WebSocket.
    assert {name.lower(): value for name, value in handshake} == expected
    assert "p@" not in it.requests[0].target + it.requests[0].headers["host"]


async def test_an_empty_variable_for_headers_does_not_log_out():  # lesson B30
    environ = {"JUPYTER_GATEWAY_URL": URL, "JUPYTER_GATEWAY_AUTH_TOKEN": "t", "JUPYTER_GATEWAY_HEADERS": ""}
    async with bench(in_turn(response()), GatewayConfig.from_env(environ)) as it:
        await it.http.request("GET", "/")
    assert sent(it.requests[0]) == {"authorization": "token t"}


@pytest.mark.parametrize(
    "url",
    [
        "ws://evil.test/x",
        "wss://gateway.test:8888/x",
        "ws://gateway.test/x",
        "http://evil.test:8888/",
        "ws://gateway.test:8888@evil.test/x",
    ],
)
async def test_no_handshake_elsewhere_gets_credentials(url: str):  # G8
    async with bench(in_turn(response()), auth_token="t0ken") as it:
        with pytest.raises(InvalidInputError, match="credentials go nowhere else") as caught:
            await it.http.handshake_headers(url + "?token=s3cret")
    assert "s3cret" not in str(caught.value)


async def test_a_host_for_websockets_of_its_own_gets_credentials():
    async with bench(in_turn(response()), auth_token="t", ws_url="wss://sockets.test/base") as it:
        headers = await it.http.handshake_headers(it.http.config.websocket_url("/x"))
    assert headers == [("Authorization", "token t")]


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials(status: int):
    async with bench(in_turn(response(status, {"message": "Invalid auth token t0ken"})), auth_token="t0ken") as it:
        with pytest.raises(AuthenticationError) as caught:
            await it.http.request("GET", "/")
    assert caught.value.status_code == status
    assert caught.value.message == "Invalid auth [hidden]"
    assert len(it.requests) == 1


# -------------------------------------------------------------------------------------------------------------- renewal


class Renewer(TokenRenewer):
    """Gives what it is told to, and remembers what it was asked."""

    def __init__(self, *tokens: Any) -> None:
        self.tokens = list(tokens)
        self.asked: list[tuple[str, str | None, str]] = []

    def next(self) -> Any:
        token = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        if isinstance(token, BaseException):
            raise token
        return token


class Plain(Renewer):
    def get_token(self, auth_header_key: str, auth_scheme: str | None, auth_token: str, **kwargs: Any) -> str:
        self.asked.append((auth_header_key, auth_scheme, auth_token))
        self.thread = threading.current_thread()
        return self.next()


class Async(Renewer):
    async def get_token(self, auth_header_key: str, auth_scheme: str | None, auth_token: str, **kwargs: Any) -> str:  # type: ignore[override]
        self.asked.append((auth_header_key, auth_scheme, auth_token))
        await trio.lowlevel.checkpoint()
        return self.next()


class Awaitable(Async):
    def get_token(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().get_token(*args, **kwargs)


KINDS = pytest.mark.parametrize("kind", [Plain, Async, Awaitable])


def accepting(*tokens: str) -> Answer:
    """Answer 401 to all other tokens."""

    def answer(request: Request) -> bytes:
        return response(200 if request.headers.get("authorization", "").removeprefix("token ") in tokens else 401)

    return answer


def tokens_of(requests: list[Request]) -> list[str]:
    return [request.headers.get("authorization", "") for request in requests]


@KINDS
async def test_the_renewer_is_asked_before_each_request(kind: Callable[..., Renewer]):  # lesson B33
    renewer = kind("one", "two", "two")
    async with bench(in_turn(response()), auth_token="zero", token_renewer=renewer) as it:
        for _ in range(3):
            await it.http.request("GET", "/")
        assert await it.http.handshake_headers(it.http.config.websocket_url("/")) == [("Authorization", "token two")]
    assert tokens_of(it.requests) == ["token one", "token two", "token two"]
    assert renewer.asked == [("Authorization", "token", token) for token in ("zero", "one", "two", "two")]


async def test_a_plain_renewer_does_not_block_the_loop():  # lesson B33
    renewer = Plain("one")
    async with bench(in_turn(response()), token_renewer=renewer) as it:
        await it.http.request("GET", "/")
    assert renewer.thread is not threading.current_thread()


@KINDS
async def test_the_renewer_is_asked_where_there_is_no_token_yet(kind: Callable[..., Renewer]):  # lesson B33
    async with bench(in_turn(response()), token_renewer=kind("one")) as it:
        await it.http.request("GET", "/")
    assert tokens_of(it.requests) == ["token one"]


@KINDS
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_refused_token_is_renewed_once(kind: Callable[..., Renewer], method: str):  # lesson B33: no retry on 401
    async with bench(accepting("two"), auth_token="zero", token_renewer=kind("one", "two")) as it:
        await it.http.request(method, "/")
        assert tokens_of(it.requests) == ["token one", "token two"]
    async with bench(accepting("never"), token_renewer=kind("one", "two", "three", "four")) as it:
        with pytest.raises(AuthenticationError) as caught:
            await it.http.request(method, "/")
        assert tokens_of(it.requests) == ["token one", "token two"]
        assert caught.value.attempts == 2


async def test_the_same_token_again_is_not_sent_again():
    async with bench(accepting("never"), token_renewer=Async("one")) as it:
        with pytest.raises(AuthenticationError):
            await it.http.request("GET", "/")
    assert len(it.requests) == 1


@pytest.mark.parametrize("renewer", [None, NoOpTokenRenewer()])
async def test_without_a_renewer_a_refusal_is_final(renewer: TokenRenewer | None):
    async with bench(accepting("never"), auth_token="zero", token_renewer=renewer) as it:
        with pytest.raises(AuthenticationError):
            await it.http.request("GET", "/")
        assert not await it.http.renew_token()
    assert len(it.requests) == 1


async def test_a_handshakes_refusal_asks_too():
    async with bench(in_turn(response()), auth_token="zero", token_renewer=Async("one", "one", "two")) as it:
        assert await it.http.renew_token()
        assert await it.http.renew_token("zero")  # renewed while the handshake was under way: nobody is asked
        assert not await it.http.renew_token()
        assert await it.http.renew_token()


@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError("s3cret"),
        trio.TooSlowError(),
        TimeoutError(),
        None,
        "",
        5,
        b"bytes",
        "line\r\nbreak",
        "s3cret\n",
        "\u20ac",
        [],
        {},
    ],
    ids=repr,
)
@KINDS
async def test_a_renewer_that_fails_is_logged_and_the_old_token_used(
    kind: Callable[..., Renewer], answer: Any, caplog: pytest.LogCaptureFixture
):  # lesson B33
    async with bench(in_turn(response()), auth_token="t0ken-s3cret", token_renewer=kind(answer)) as it:
        await it.http.request("GET", "/")
    assert tokens_of(it.requests) == ["token t0ken-s3cret"]
    (record,) = [record for record in caplog.records if record.name == "trio_gateway.http" and record.levelno >= logging.WARNING]
    assert record.getMessage().startswith("token_renewal_failed: ")
    assert "s3cret" not in caplog.text


async def test_an_async_renewer_that_hangs_is_bounded(autojump_clock: object, caplog: pytest.LogCaptureFixture):  # G3
    class Hangs(TokenRenewer):
        async def get_token(self, *args: Any, **kwargs: Any) -> str:  # type: ignore[override]
            await trio.sleep_forever()
            raise AssertionError

    async with bench(in_turn(response()), auth_token="zero", token_renewer=Hangs(), request_timeout=5) as it:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(it.http.request, "GET", "/")
        # One question for all, and each of them then sent its request.
        assert trio.current_time() == 5
    assert tokens_of(it.requests) == ["token zero"] * 10
    assert "no answer within 5 s (request_timeout)" in caplog.text


async def test_a_plain_renewer_that_hangs_costs_one_thread(caplog: pytest.LogCaptureFixture):  # G3
    release, asked = threading.Event(), threading.Semaphore(0)
    threads: list[threading.Thread] = []

    class Hangs(TokenRenewer):
        def get_token(self, *args: Any, **kwargs: Any) -> str:
            threads.append(threading.current_thread())
            asked.release()
            release.wait(200)
            return "late"

    try:
        async with bench(in_turn(response()), auth_token="zero", token_renewer=Hangs(), request_timeout=0.05) as it:
            for _ in range(3):
                await it.http.request("GET", "/", timeout=200)
            await trio.to_thread.run_sync(asked.acquire)  # a busy machine may begin a thread late
    finally:
        release.set()
    assert len(threads) == 1
    assert tokens_of(it.requests) == ["token zero"] * 3
    assert "still hangs" in caplog.text


async def test_requests_at_the_same_time_share_one_question(autojump_clock: object):
    asked: list[float] = []

    class Slow(TokenRenewer):
        async def get_token(self, *args: Any, **kwargs: Any) -> str:  # type: ignore[override]
            asked.append(trio.current_time())
            await trio.sleep(1)
            return f"token-{len(asked)}"

    async with bench(accepting("token-2"), token_renewer=Slow()) as it:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(it.http.request, "GET", "/")
    # One before the requests, and one after all of them were refused.
    assert asked == [0, 1]
    assert tokens_of(it.requests) == ["token token-1"] * 10 + ["token token-2"] * 10


async def test_a_question_that_is_cancelled_is_asked_again(autojump_clock: object):
    asked: list[float] = []

    class Slow(TokenRenewer):
        async def get_token(self, *args: Any, **kwargs: Any) -> str:  # type: ignore[override]
            asked.append(trio.current_time())
            await trio.sleep(10)
            return "new"

    async with bench(in_turn(response()), auth_token="old", token_renewer=Slow()) as it:
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(1):
                nursery.start_soon(it.http.request, "GET", "/1")  # waits in the queue behind …
                await it.http.request("GET", "/2")  # … or before this one, which is cancelled
    assert len(asked) <= 2
    assert tokens_of(it.requests) == ["token new"]


async def test_a_cancelled_question_answers_nobody(autojump_clock: object):
    asked: list[float] = []

    class Slow(TokenRenewer):
        async def get_token(self, *args: Any, **kwargs: Any) -> str:  # type: ignore[override]
            asked.append(trio.current_time())
            await trio.sleep(10)
            return "new"

    async with bench(in_turn(response()), auth_token="old", token_renewer=Slow()) as it:
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def first() -> None:
                with scope:
                    await it.http.request("GET", "/first")

            nursery.start_soon(first)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(it.http.request, "GET", "/second")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert len(asked) == 2
    assert [(request.target, request.headers["authorization"]) for request in it.requests] == [("/Base/second", "token new")]


async def test_old_tokens_are_hidden_too():  # G8
    answer = response(418, {"message": "one-s3cret, two-s3cret, zero-s3cret"})
    async with bench(in_turn(answer), auth_token="zero-s3cret", token_renewer=Async("one-s3cret", "two-s3cret")) as it:
        for _ in range(2):
            with pytest.raises(Exception, match="418") as caught:
                await it.http.request("GET", "/")
    assert "s3cret" not in str(caught.value)


async def test_a_renewer_that_can_not_be_made_is_told_before_anything_is_sent():
    config = GatewayConfig(url=URL, gateway_token_renewer_class="no.such.module.Renewer")
    with pytest.raises(ConfigError, match="gateway_token_renewer_class"):
        async with open_http_client(config):
            pass


# -------------------------------------------------------------------------------------------------------------- cookies


def setting(*cookies: str, status: int = 200) -> bytes:
    return response(status, b"{}", *(f"Set-Cookie: {cookie}" for cookie in cookies))


async def test_cookies_are_sent_back_to_http_and_websocket():
    async with bench(in_turn(setting("AWSALB=x; Path=/", "b=2"), response()), accept_cookies=True) as it:
        await it.http.request("GET", "/api/kernels")
        await it.http.request("GET", "/api/kernels")
        await it.http.request("GET", "/other")
        channels = await it.http.handshake_headers(it.http.config.websocket_url("/api/kernels/1/channels"))
    assert [request.headers.get("cookie") for request in it.requests] == [None, "b=2; AWSALB=x", "AWSALB=x"]
    assert channels == [("Cookie", "b=2; AWSALB=x")]


@pytest.mark.parametrize("text", ["False", "0", "no", "off", "FALSE"])
async def test_cookies_are_left_alone_unless_they_are_wanted(text: str):  # lesson B32: "False" and "0" meant yes
    config = GatewayConfig.from_env({"JUPYTER_GATEWAY_URL": URL, "JUPYTER_GATEWAY_ACCEPT_COOKIES": text})
    async with bench(in_turn(setting("a=1; Path=/")), config) as it:
        it.http.store_cookies(["b=2; Path=/"], URL)
        for _ in range(2):
            await it.http.request("GET", "/")
        assert await it.http.handshake_headers(it.http.config.websocket_url("/")) == []
    assert [request.headers.get("cookie") for request in it.requests] == [None, None]


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_errors_set_cookies_too(status: int):  # lesson B37
    async with bench(in_turn(setting("a=1; Path=/", status=status)), accept_cookies=True) as it:
        for _ in range(2):
            with pytest.raises(Exception, match=str(status)):
                await it.http.request("POST", "/")
    assert it.requests[1].headers["cookie"] == "a=1"


async def test_redirects_and_refused_attempts_set_cookies_too(autojump_clock: object):  # lesson B37
    moved = response(302, b"", "Location: /Base/there", "Set-Cookie: a=1; Path=/")
    async with bench(in_turn(setting("b=2; Path=/", status=503), moved, response()), accept_cookies=True) as it:
        await it.http.request("GET", "/here")
    assert [request.headers.get("cookie") for request in it.requests] == [None, "b=2", "b=2; a=1"]


async def test_a_websockets_answer_sets_cookies_too():  # lesson B37: those of the 101 were lost
    async with bench(in_turn(response()), accept_cookies=True) as it:
        it.http.store_cookies(["a=1; Path=/"], it.http.config.websocket_url("/api/kernels/1/channels"))
        await it.http.request("GET", "/")
    assert it.requests[0].headers["cookie"] == "a=1"


async def test_garbage_in_a_cookie_breaks_nothing():  # lesson B37: Max-Age=soon made every following request raise
    async with bench(
        in_turn(setting("a=1; Path=/; Max-Age=soon; Expires=never; Domain=..; SameSite", "=;=", "\xff=\xfe")), accept_cookies=True
    ) as it:
        for _ in range(3):
            await it.http.request("GET", "/")
    assert it.server.connections == 1


async def test_a_cookie_ends_when_its_time_is_over(autojump_clock: object):
    async with bench(in_turn(setting("a=1; Path=/; Max-Age=10"), response()), accept_cookies=True) as it:
        await it.http.request("GET", "/")
        await trio.sleep(9)
        await it.http.request("GET", "/")
        await trio.sleep(2)
        await it.http.request("GET", "/")
    assert [request.headers.get("cookie") for request in it.requests] == [None, "a=1", None]


async def test_a_cookie_of_the_users_own_goes_along():
    async with bench(in_turn(setting("a=1; Path=/")), accept_cookies=True, headers={"Cookie": "mine=0"}) as it:
        for _ in range(2):
            await it.http.request("GET", "/")
    assert [request.headers.get("cookie") for request in it.requests] == ["mine=0", "mine=0; a=1"]
