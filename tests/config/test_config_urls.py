"""The gateway's URLs and paths: what is kept, what is refused."""

from __future__ import annotations

import pytest

from trio_gateway import GatewayConfig, InvalidInputError

from .settings_helpers import URL, one_problem, refused

# ------------------------------------------------------------------------------------------------------------------ URLs


@pytest.mark.parametrize(
    ("url", "base", "sockets"),
    [
        ("http://Http-Gateway.example/User/Alice", None, "ws://Http-Gateway.example/User/Alice"),
        ("https://httphttps.example/http", None, "wss://httphttps.example/http"),
        ("HTTPS://gateway.example:8443/", "https://gateway.example:8443", "wss://gateway.example:8443"),
        ("http://[::1]:8888/base/", "http://[::1]:8888/base", "ws://[::1]:8888/base"),
        ("http://[2001:DB8::1]", None, "ws://[2001:DB8::1]"),
        ("http://bücher.example/Ü", "http://xn--bcher-kva.example/%C3%9C", "ws://xn--bcher-kva.example/%C3%9C"),
        ("http://h/a%2Fb//c;d=1/", "http://h/a%2Fb//c;d=1", "ws://h/a%2Fb//c;d=1"),
        (
            "http://gateway_1:080/user/alice@x.example",
            "http://gateway_1:80/user/alice@x.example",
            "ws://gateway_1:80/user/alice@x.example",
        ),
        ("http://gateway.example.", None, "ws://gateway.example."),
        ("http://" + "a." * 126 + "b", None, "ws://" + "a." * 126 + "b"),
    ],
)
def test_urls(url: str, base: str | None, sockets: str) -> None:
    config = GatewayConfig(url=url)
    assert config.url == config.base_url == (base or url)
    assert config.ws_base_url == sockets
    assert config.ws_url is None
    assert config.http_url("/api/kernels?x=1") == (base or url) + "/api/kernels?x=1"
    assert config.websocket_url("/api/kernels/1/channels") == sockets + "/api/kernels/1/channels"
    assert GatewayConfig(url=config.url) == config


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("gateway.example", "this is a URL without a scheme"),
        ("127.0.0.1:8888", "this is a URL without a scheme"),
        ("localhost:8888/x", "this is a URL without a scheme"),
        ("http:/gateway.example", "this is a URL without a scheme"),
        ("//gateway.example", "this is a URL without a scheme"),
        ("", "JUPYTER_GATEWAY_URL"),
        ("ftp://gateway.example", "begins with http:// or https://"),
        ("ws://gateway.example", "begins with http:// or https://"),
        ("http://", "the host is missing"),
        ("http:///path", "the host is missing"),
        ("http://:80", "the host is missing"),
        ("http://h:", "from 1 to 65535"),
        ("http://h:0", "from 1 to 65535"),
        ("http://h:65536", "the host or the port is wrong"),
        ("http://h:port", "the host or the port is wrong"),
        ("http://[::1", "the host or the port is wrong"),
        ("http://[::1]x", "an IPv6 address in brackets"),
        ("http://[fe80::1%25eth0]", "without a zone"),
        ("http://::1", "the host or the port is wrong"),
        ("http://a b/", "without blanks"),
        (" http://h", "without blanks"),
        ("http://h\n", "without blanks, control characters"),
        ("http://h/\u200b", "control characters"),
        ("http:\\\\h", "backslashes"),
        ("http://h_/\udc80", "UTF-8"),
        ("http://-h", "whose host is a name"),
        ("http://a..b", "whose host is a name"),
        ("http://a,b", "whose host is a name"),
        ("http://%41", "whose host is a name"),
        ("http://256.1.1.1", "an IPv4 address"),
        ("http://1.2.3", "an IPv4 address"),
        ("http://" + "a" * 64, "whose host is a name"),
        ("http://" + "a." * 130, "whose host is a name"),
        ("http://\u2764.example", "whose host is a name"),
        ("http://h/../x", "without the segments . and .."),
        ("http://h/%2e%2E/x", "without the segments . and .."),
        ("http://h/100%", "an escape such as %20"),
        ("http://h/?x=1", "without a query"),
        ("http://h/?", "without a query"),
        ("http://h#x", "without a fragment"),
        ("http://h/?token=s3cret", "auth_token"),
        ("http://h/?a=1&Token=s3cret", "auth_token"),
        ("http://h/#token=s3cret", "auth_token"),
        (3, "a URL such as"),
        (b"http://h", "a URL such as"),
    ],
)
def test_no_urls(url: object, expected: str) -> None:
    field, value, what, _ = one_problem(url=url)
    assert field == "url"
    assert expected in what
    assert value is not None
    assert "s3cret" not in value


@pytest.mark.parametrize(
    "ws_url", ["http://h", "h", "ws://", "ws://u:s3cret@h", "ws://h/?token=s3cret", "ws://h/#x", "", 3, "ws://u:s3cret@h/?x"]
)
def test_no_websocket_urls(ws_url: object) -> None:
    error = refused(ws_url=ws_url)
    assert error.field == "ws_url"
    assert "s3cret" not in str(error)


def test_a_websocket_url_of_its_own() -> None:
    config = GatewayConfig(url=URL, ws_url="WSS://Sockets.example/Base/")
    assert config.ws_base_url == "wss://Sockets.example/Base"
    assert config.http_url("/x") == URL + "/x"


@pytest.mark.parametrize("path", ["", "api", "?x=1", "http://h/"])
def test_a_path_to_join_begins_with_a_slash(path: str) -> None:
    config = GatewayConfig(url=URL)
    for join in (config.http_url, config.websocket_url):
        with pytest.raises(InvalidInputError, match=r"^path: "):
            join(path)


@pytest.mark.parametrize(("given_path", "kept"), [("/k/", "/k"), ("k", "/k"), ("/Ü/a b%20".replace(" ", ""), "/%C3%9C/ab%20")])
def test_endpoints(given_path: str, kept: str) -> None:
    assert GatewayConfig(url=URL, kernels_endpoint=given_path).kernels_endpoint == kept


@pytest.mark.parametrize(
    "path", ["", "/", "//h/x", "http://h/x", "/a b", "/a?x", "/a#x", "/../a", "/%zz", "/a\\b", "/a\n", None, "/\udc80"]
)
def test_no_endpoints(path: object) -> None:
    assert one_problem(kernelspecs_endpoint=path)[0] == "kernelspecs_endpoint"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://H/x", ("http", "h", 80)),
        ("https://h.", ("https", "h", 443)),
        ("http://[0:0::1]:1", ("http", "[::1]", 1)),
    ],
)
def test_origin(url: str, origin: tuple[str, str, int]) -> None:
    assert GatewayConfig(url=url).origin == origin
