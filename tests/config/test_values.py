"""Each value of a setting is read, or refused by a text that says what is expected."""

from __future__ import annotations

import base64
import errno
import math
from pathlib import Path
from types import MappingProxyType

import attrs
import pytest

from trio_gateway import ConfigError, GatewayConfig, InvalidInputError, TokenRenewer
from trio_gateway._config import header_name_problem, header_value_problem

from .settings_helpers import URL, VARIABLES, Foreign, Renewer, from_env, fully, one_problem, refused


class Picky(Foreign):
    def __init__(self) -> None:
        raise ValueError("s3cret")


@pytest.mark.parametrize("text", ["yes", "true", "on", "1", "YES", "True", "oN", " 1 "])
def test_yes(text: str) -> None:
    assert from_env({"JUPYTER_GATEWAY_ACCEPT_COOKIES": text}).accept_cookies is True


@pytest.mark.parametrize("text", ["no", "false", "off", "0", "NO", "False", "oFF", "False\n"])
def test_no(text: str) -> None:
    assert from_env({"JUPYTER_GATEWAY_VALIDATE_CERT": text}).validate_cert is False


@pytest.mark.parametrize("text", ["y", "n", "t", "2", "-1", "maybe", "yes no", "\uff10", "nein"])
def test_neither_yes_nor_no(text: str) -> None:
    field, value, expected, source = one_problem({"JUPYTER_GATEWAY_VALIDATE_CERT": text})
    assert (field, value, source) == ("validate_cert", repr(text), "JUPYTER_GATEWAY_VALIDATE_CERT")
    for word in ("yes", "true", "on", "1", "no", "false", "off", "0"):
        assert word in expected


@pytest.mark.parametrize("value", ["yes", 1, 0, None])
def test_an_argument_is_no_text_for_yes(value: object) -> None:
    assert one_problem(validate_cert=value)[:2] == ("validate_cert", repr(value))


@pytest.mark.parametrize("text", ["soon", "-1", "0", "nan", "-inf", "1_0", "1,5", "\u0661", "0x10", "1e", "e1", ".", "1e-999"])
def test_no_number_of_seconds(text: str) -> None:
    field, value, expected, _ = one_problem({"JUPYTER_GATEWAY_CONNECT_TIMEOUT": text})
    assert (field, value) == ("connect_timeout", repr(text))
    assert expected == "a number of seconds, more than 0, or inf for no limit"


@pytest.mark.parametrize("value", ["5", None, True, 0, -1.0, math.nan, -math.inf, 10**400, [1], b"1"])
def test_an_argument_that_is_no_number_of_seconds(value: object) -> None:
    assert one_problem(connect_timeout=value)[0] == "connect_timeout"


INFINITE = {
    "connect_timeout",
    "request_timeout",
    "handshake_timeout",
    "reconnect_timeout",
    "ping_interval",
    "unresponsive_timeout",
    "token_command_timeout",
}


ZERO = {"gateway_retry_interval", "gateway_retry_interval_max", "launch_timeout_pad", "interrupt_timeout", "idle_grace"}


SECONDS = INFINITE | ZERO | {"launch_timeout", "cleanup_timeout"}


COUNTS = {"gateway_retry_max": 0, "max_request_retries": 0} | dict.fromkeys(
    (
        "max_message_size",
        "max_response_size",
        "max_connections",
        "reconnects_at_once",
        "buffer_messages",
        "buffer_bytes",
        "max_output_bytes",
    ),
    1,
)


def test_each_number_is_in_one_of_the_lists() -> None:
    numeric = {
        field.name
        for field in attrs.fields(GatewayConfig)
        if isinstance(field.default, (int, float)) and not isinstance(field.default, bool)
    }
    assert set(COUNTS) | SECONDS == numeric


@pytest.mark.parametrize("name", sorted(SECONDS))
def test_bounds_of_seconds(name: str) -> None:
    """What bounds a clean-up can't be infinite (G1); what can be switched off, can."""
    assert getattr(from_env(**{name: 3}), name) == 3.0
    for value, right in ((math.inf, name in INFINITE), (0, name in ZERO), (-0.001, False)):
        if right:
            assert getattr(from_env(**{name: value}), name) == value
        else:
            field, _, expected, _ = one_problem(**{name: value})
            assert field == name
            assert ("0 or more" in expected) is (name in ZERO)
            assert ("more than 0" in expected) is (name not in ZERO)
            assert ("or inf for no limit" in expected) is (name in INFINITE)


@pytest.mark.parametrize(("name", "minimum"), sorted(COUNTS.items()))
def test_bounds_of_counts(name: str, minimum: int) -> None:
    assert getattr(from_env(**{name: minimum}), name) == minimum
    for value in (minimum - 1, 1.0, "1", True, None, math.inf, 2**63, 10**5000):
        assert one_problem(**{name: value})[0] == name


@pytest.mark.parametrize("text", ["1.0", "-1", "1_0", "", "\u0663", "1e3", "9" * 5000, "x"])
def test_no_whole_number(text: str) -> None:
    if not text:
        assert from_env({"JUPYTER_GATEWAY_RETRY_MAX": text}).gateway_retry_max == 5
    else:
        assert one_problem({"JUPYTER_GATEWAY_RETRY_MAX": text})[0] == "gateway_retry_max"


@pytest.mark.parametrize(
    "value",
    ["", "A B", "A=B,C", "A\x00", ["A", ""], ["A", 1], 3, None, b"A", {"A": 1}, "A,\udc80", "*", "A_*", ["*A"], "JUPYTER_*"],
)
def test_no_names_of_variables(value: object) -> None:
    if value == "":
        assert from_env(allowed_envs=value).allowed_envs == ()
    else:
        assert one_problem(allowed_envs=value)[0] == "allowed_envs"


@pytest.mark.parametrize("value", ["B,A,B", ["B", "A", "B"], ("B", "A")])
def test_names_of_variables(value: object) -> None:
    assert from_env(allowed_envs=value).allowed_envs == ("B", "A")


def test_names_of_variables_may_come_one_by_one() -> None:
    assert from_env(allowed_envs=iter(["B", "A"])).allowed_envs == ("B", "A")


def test_all_variables_of_kernels() -> None:
    assert from_env({"JUPYTER_GATEWAY_ALLOWED_ENVS": "A,KERNEL_*"}).allowed_envs == ("A", "KERNEL_*")


@pytest.mark.parametrize("value", ["", "a\nb", "a\0", "\udc80", 3])
def test_no_user_name_for_kernels(value: object) -> None:
    assert one_problem(kernel_username=value)[0] == "kernel_username"


def test_no_such_engine() -> None:
    assert one_problem(websocket_engine="magic") == (
        "websocket_engine",
        "'magic'",
        '"auto" or "fast" or "trio-websocket"',
        "argument",
    )


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file.pem"
    file.touch()
    config = GatewayConfig(url=URL, ca_certs=file, client_cert=str(file), client_key=file)
    assert config.ca_certs == config.client_cert == config.client_key == str(file)
    assert GatewayConfig(url=URL, ca_certs=tmp_path).ca_certs == str(tmp_path)
    assert GatewayConfig(url=URL, client_cert=file).client_key is None
    monkeypatch.chdir(tmp_path)
    assert GatewayConfig(url=URL, ca_certs="file.pem").ca_certs == "file.pem"


@pytest.mark.parametrize("name", ["ca_certs", "client_cert", "client_key"])
def test_missing_files(tmp_path: Path, name: str) -> None:
    missing = tmp_path / "missing.pem"
    for value in (missing, str(missing), "", "a\0b", 3, b"/"):
        problem = refused(**{name: value}).problems[0]
        assert problem.field == name
        assert "that exists" in problem.expected
    field, value_text, _, source = one_problem({VARIABLES[name]: "missing.pem"})
    assert (field, value_text, source) == (name, "'missing.pem'", VARIABLES[name])
    if name != "ca_certs":
        assert refused(**{name: tmp_path}).problems[0].field == name


@pytest.mark.parametrize("name", ["ca_certs", "client_cert", "client_key"])
@pytest.mark.parametrize("size", [1, 5000])
@pytest.mark.parametrize("coded", [False, True])
def test_what_stands_in_a_file_is_not_its_path(name: str, size: int, coded: bool) -> None:  # G8
    """A private key by mistake, for instance: nothing shows it. A long one is no path at all for the system."""
    text = f"-----BEGIN EC PRIVATE KEY-----\n{'s3cret' * size}\n-----END EC PRIVATE KEY-----\n"
    if coded:
        text = base64.b64encode(text.encode()).decode()
    expected = (
        "the path of a file"
        + (" or directory" if name == "ca_certs" else "")
        + " that exists; this is what stands in such a file"
    )
    assert one_problem(**{name: text}) == (name, None, expected, "argument")
    assert one_problem({VARIABLES[name]: text}) == (name, None, expected, VARIABLES[name])


@pytest.mark.parametrize("name", ["ca_certs", "client_cert", "client_key"])
def test_a_path_that_the_system_refuses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one_problem(**{name: "a" * 5000})[2].endswith("that exists (File name too long)")

    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)  # as Python has it before 3.14, where a folder above is closed to this user
    assert one_problem(**{name: "a"})[2].endswith("that exists (Permission denied)")


@pytest.mark.parametrize("userinfo", ["s3cret%00:x", "u:s3cret%0A", "u%3As3cret:x", "u:s3cret%FF", "u:s3cret?x", "u:s3cret#x"])
def test_no_user_in_the_url(userinfo: str) -> None:
    error = refused(url=f"http://{userinfo}@h")
    assert error.field == "url"
    assert "s3cret" not in str(error)


@pytest.mark.parametrize("text", ["", " ", "None", "none"])
def test_no_scheme_in_the_environment(text: str) -> None:
    config = from_env({"JUPYTER_GATEWAY_AUTH_SCHEME": text, "JUPYTER_GATEWAY_AUTH_TOKEN": "abc"})
    assert config.auth_headers() == (("Authorization", "abc"),)


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\0b", "a\x7fb", "€", "\udc80", " a", "a\t", 3, b"a"])
@pytest.mark.parametrize("name", ["auth_token", "auth_scheme"])
def test_no_values_of_headers(name: str, value: object) -> None:
    assert one_problem(**{name: value})[0] == name
    if isinstance(value, str):
        assert header_value_problem(value)


def test_values_of_headers() -> None:
    for value in ("", "a", "a b\tc", "é", "\xff"):
        assert header_value_problem(value) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a b",
        "a:",
        "é",
        "a\n",
        None,
        "Host",
        "content-length",
        "Transfer-Encoding",
        "connection",
        "Upgrade",
        "Sec-WebSocket-Key",
    ],
)
def test_no_names_of_headers(value: object) -> None:
    assert one_problem(auth_header_key=value)[0] == "auth_header_key"
    if isinstance(value, str):
        assert header_name_problem(value)
        assert one_problem(headers={value: "s3cret"})[:2] == ("headers", None)


@pytest.mark.parametrize(
    "value",
    [
        "{",
        "[]",
        '"x"',
        "3",
        "null",
        '{"X-A": 1}',
        '{"X-A": null}',
        '{"X-A": {"s3cret": "x"}}',
        '{"X-A": "s3cret\\n"}',
        '{"X-A": "s3cret\\ud800"}',
        '{"X-A": "s3cret", "x-a": "b"}',
        "[" * 100_000,
        {"X-A": 1},
        {1: "a"},
        {"X-A": "s3cret\n"},
        {"X-A": "s3cret "},
        {"X-A": "s3cret", "x-a": "b"},
        None,
        3,
        [("a", "b")],
    ],
)
def test_no_headers(value: object) -> None:
    error = refused(headers=value)
    assert [problem.field for problem in error.problems] == ["headers"]
    assert "s3cret" not in str(error)
    if isinstance(value, str):
        assert one_problem({"JUPYTER_GATEWAY_HEADERS": value})[3] == "JUPYTER_GATEWAY_HEADERS"


def test_headers() -> None:
    assert from_env({"JUPYTER_GATEWAY_HEADERS": ""}).headers == {}
    assert from_env({"JUPYTER_GATEWAY_HEADERS": '{"B": "1", "A": ""}'}).headers == {"B": "1", "A": ""}
    source = {"B": "1", "A": ""}
    config = GatewayConfig(url=URL, headers=source)
    source["C"] = "later"
    assert list(config.headers.items()) == [("B", "1"), ("A", "")]
    with pytest.raises(TypeError):
        config.headers["B"] = "2"  # type: ignore[index]
    assert GatewayConfig(url=URL, headers=MappingProxyType({"A": "1"})).headers == {"A": "1"}


@pytest.mark.parametrize("value", ["a\nb", "a\x85b", "\udc80", 3])
@pytest.mark.parametrize("name", ["http_user", "http_pwd"])
def test_no_users_and_passwords(name: str, value: object) -> None:
    problems = refused(**{"http_user": "u", name: value}).problems
    assert [(problem.field, problem.value) for problem in problems] == [(name, None)]


@pytest.mark.parametrize(
    ("name", "raised"),
    [
        ("no_such_package.Class", "ModuleNotFoundError"),
        ("os.NoSuchClass", "AttributeError"),
        ("os.getcwd", "TypeError"),
        ("abc.ABC", None),
        (fully(TokenRenewer), "TypeError"),
        (fully(Picky), "ValueError"),
    ],
)
def test_a_renewer_that_can_not_be_loaded(name: str, raised: str | None) -> None:
    config = from_env({"JUPYTER_GATEWAY_TOKEN_RENEWER_CLASS": name})  # it is not imported yet
    with pytest.raises(ConfigError) as caught:
        config.load_token_renewer()
    (problem,) = caught.value.problems
    assert (problem.field, problem.source) == ("gateway_token_renewer_class", "JUPYTER_GATEWAY_TOKEN_RENEWER_CLASS")
    assert problem.value == repr(name)
    assert ("was raised" in problem.expected) is (raised is not None)
    assert raised is None or raised in problem.expected
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "Class", "a..B", "a.b-c", ".a", "a b.c", 3, None, object, Foreign()])
def test_no_renewer_class(value: object) -> None:
    assert one_problem(gateway_token_renewer_class=value)[0] == "gateway_token_renewer_class"


@pytest.mark.parametrize("value", ["a.B", object(), Renewer, 3])
def test_no_renewer(value: object) -> None:
    assert one_problem(token_renewer=value)[0] == "token_renewer"


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
