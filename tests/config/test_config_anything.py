"""Whatever stands in an environment or in arguments: a configuration or a ConfigError, and no secret shows (G8, G10)."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import attrs
from hypothesis import example, given
from hypothesis import strategies as st

from trio_gateway import GatewayConfig
from trio_gateway._config import header_name_problem, header_value_problem
from trio_gateway._config import values as v

from .settings_helpers import OLD, URL, VARIABLES, Renewer, outcome

# --------------------------------------------------------------------------------------------------------------- whatever

MARK = "s3cret"
texts = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "yes",
            "NO",
            "0",
            "1",
            "-1",
            "1.5",
            "inf",
            "nan",
            "1e999",
            "9" * 30,
            "None",
            "A,B",
            "a.B",
            "auto",
            "{}",
            "/x",
            "/",
        ]
    ),
    st.sampled_from(
        ["http://h", "https://u:p@h:1/x", "ws://h", "http://h/?token=x", "http://[::1]", "http://ü.example", "h:1", __file__]
    ),
    st.text(st.characters(), max_size=20),
    st.binary(max_size=10).map(os.fsdecode),
    st.dictionaries(st.text(max_size=3), st.one_of(st.text(max_size=3), st.integers()), max_size=2).map(json.dumps),
)
anything = st.one_of(
    texts,
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**5000),
    st.floats(),
    st.binary(max_size=5),
    st.lists(texts, max_size=3),
    st.dictionaries(texts, texts, max_size=2),
    st.builds(object),
    st.builds(Renewer),
    st.sampled_from([Renewer, Path("x"), Path(__file__), int]),
)


def check_one(config: GatewayConfig) -> None:
    """What holds of every configuration there is."""
    assert attrs.evolve(config) == config == config.replace()
    assert hash(config) == hash(config.replace())
    assert config.replace().sources == config.sources
    assert v.split_url(config.url).url == config.url
    assert config.url.startswith(("http://", "https://"))
    assert config.ws_base_url.startswith(("ws://", "wss://"))
    assert config.request_timeout_for() >= config.launch_timeout + config.launch_timeout_pad
    for header, value in (*config.headers.items(), *config.auth_headers()):
        assert header_name_problem(header) is None
        assert header_value_problem(value) is None
        header.encode("ascii")
        value.encode("latin-1")
    repr(config)
    config.describe()


@given(st.dictionaries(st.sampled_from([*VARIABLES.values(), OLD]), texts), st.booleans())
@example({"JUPYTER_GATEWAY_URL": "http://h", "JUPYTER_GATEWAY_AUTH_TOKEN": "a", "JUPYTER_GATEWAY_HTTP_USER": "b"}, True)
@example({"JUPYTER_GATEWAY_HEADERS": "[" * 100_000}, True)
def test_any_environment_gives_a_configuration_or_a_config_error(environ: dict[str, str], with_url: bool) -> None:
    """G10."""
    arguments = {"url": URL} if with_url else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = outcome(lambda: GatewayConfig.from_env(environ, **arguments))
    if isinstance(found, GatewayConfig):
        check_one(found)
        return
    for problem in found.problems:
        assert problem.field in VARIABLES
        assert problem.source in {"argument", VARIABLES[problem.field], OLD}
        assert problem.expected in str(found)
    str(found).encode()


@given(st.dictionaries(st.sampled_from([field.name for field in attrs.fields(GatewayConfig)]), anything, max_size=6))
def test_any_arguments_give_a_configuration_or_a_config_error(arguments: dict[str, Any]) -> None:
    """G10."""
    found = outcome(lambda: GatewayConfig.from_env({"JUPYTER_GATEWAY_URL": URL}, **arguments))
    if isinstance(found, GatewayConfig):
        check_one(found)
        return
    assert {problem.field for problem in found.problems} <= set(arguments) | {"auth_token"}
    str(found).encode()
    repr(found)


@given(
    st.dictionaries(st.sampled_from(["auth_token", "http_user", "http_pwd", "headers", "url", "ws_url"]), texts, min_size=1),
    st.integers(min_value=0, max_value=20),
)
def test_no_secret_shows(variables: dict[str, str], at: int) -> None:
    """G8: neither in a configuration nor in what is said about a wrong one."""
    environ = {"JUPYTER_GATEWAY_URL": URL}
    for name, text in variables.items():
        secret = text[:at] + MARK + text[at:]
        if name == "headers":
            secret = json.dumps({"X-A": secret})
        elif name == "url":
            secret = f"https://u:{secret}@h/"
        elif name == "ws_url":
            secret = f"wss://h/?token={secret}"
        environ[VARIABLES[name]] = secret
    found = outcome(lambda: GatewayConfig.from_env(environ))
    if isinstance(found, GatewayConfig):
        shown = f"{found} {found!r} {found.describe()} {found.sources}"
    else:
        shown = f"{found} {found!r} {found.args} {found.problems} {found.value}"
    assert MARK not in shown


@given(st.text(max_size=30))
def test_any_url_is_read_or_refused(text: str) -> None:
    for start in ("", "http://", "https://h/", "http://[", "http://u:p@"):
        try:
            found = v.split_url(start + text)
        except v.BadValue:
            continue
        assert found.url.isascii()
        assert v.split_url(found.url) == attrs.evolve(found, user=None, password=None)
