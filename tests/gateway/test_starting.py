"""What is asked of a gateway at a start: the arguments, checked, and the environment. G10."""

from __future__ import annotations

import logging
import uuid
from pathlib import Path
from typing import Any

import pytest

from trio_gateway import GatewayConfig, InvalidInputError, KernelResources
from trio_gateway._gateway.starting import (
    Inherited,
    can_be_kernel_id,
    check_variable,
    checked_directory,
    is_named,
    new_kernel_id,
    prepare_start,
    start_environment,
)
from trio_gateway._secret import Secret

ID = "11111111-1111-4111-8111-111111111111"


def config(**settings: Any) -> GatewayConfig:
    return GatewayConfig.from_env({}, url="http://gateway.test", **settings)


def environment(
    settings: dict[str, Any] | None = None, environ: dict[str, str] | None = None, **arguments: Any
) -> dict[str, str]:
    """Make the environment of a start, without the id, which is always there."""
    arguments = {"env": None, "launch_timeout": None, "cwd": None, **arguments}
    env = arguments.pop("env")
    sent = start_environment(config(**settings or {}), ID, env, environ or {}, **arguments)
    assert sent.pop("KERNEL_ID") == ID
    return sent


# ----------------------------------------------------------------------------------------------------- the environment


def test_without_anything_only_the_id_is_sent() -> None:
    assert environment(environ={"HOME": "/me", "KERNEL_X": "1"}) == {}


def test_what_the_settings_say_is_sent() -> None:
    assert environment({"kernel_username": "alice", "launch_timeout": 30.0}) == {
        "KERNEL_USERNAME": "alice",
        "KERNEL_LAUNCH_TIMEOUT": "30",
    }


def test_what_the_caller_says_beats_the_settings() -> None:
    settings = {"kernel_username": "alice", "launch_timeout": 30.0}
    assert environment(settings, launch_timeout=2.5, env={"KERNEL_USERNAME": "bob"}, cwd="/work") == {
        "KERNEL_USERNAME": "bob",
        "KERNEL_LAUNCH_TIMEOUT": "2.5",
        "KERNEL_WORKING_DIR": "/work",
    }


def test_of_this_process_only_what_is_named_goes_along_and_hides_itself() -> None:  # G8
    environ = {"HOME": "/me", "KERNEL_X": "1", "KERNEL_USERNAME": "eve", "PATH": "/bin"}
    sent = environment({"allowed_envs": ("PATH", "KERNEL_*")}, environ)
    assert sent == {"KERNEL_X": "1", "PATH": "/bin"}
    assert isinstance(sent["PATH"], Inherited)
    assert isinstance(sent["PATH"], Secret)


def test_what_is_inherited_and_can_not_be_sent_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert environment({"allowed_envs": ("A", "B")}, {"A": "s3cret\udc80", "B": "1"}) == {"B": "1"}
    assert "variable_not_sent: env['A']" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("name", "names", "named"),
    [
        ("A", {"A"}, True),
        ("A", set(), False),
        ("KERNEL_X", {"KERNEL_*"}, True),
        ("KERNEL_X", {"OTHER_*"}, False),
        ("KERNEL_ID", {"KERNEL_*"}, False),
        ("KERNEL_LAUNCH_TIMEOUT", {"KERNEL_*"}, False),
        ("KERNEL_USERNAME", {"KERNEL_*"}, False),
        ("KERNEL_USERNAME", {"KERNEL_*", "KERNEL_USERNAME"}, True),
    ],
)
def test_which_variables_a_setting_names(name: str, names: set[str], named: bool) -> None:
    assert is_named(name, names) is named


@pytest.mark.parametrize("name", ["", "A=B", "=", "A\0", "A\udc80", 5, None, b"A"])
def test_a_name_that_is_none(name: object) -> None:
    with pytest.raises(InvalidInputError, match="env: "):
        check_variable(name, "x")


@pytest.mark.parametrize("value", ["a\0b", "lone \udc80", 5, None, b"x"])
def test_a_value_that_can_not_be_sent_is_not_shown(value: object) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_variable("A_1", value)
    assert caught.value.field == "env['A_1']"
    assert not isinstance(value, str) or value not in str(caught.value)


def test_what_can_just_be_sent() -> None:
    """What only some gateways refuse is not refused for all: see `restrictions`."""
    check_variable("_a1", "x" * 100_000)
    check_variable("A", "\xe4 \U0001f600 $`\n\r")
    check_variable("1 A-B", "")


# ---------------------------------------------------------------------------------------------------------- the request


def test_an_id_is_a_random_uuid() -> None:
    made = new_kernel_id()
    assert uuid.UUID(made).version == 4
    assert can_be_kernel_id(made)
    assert made != new_kernel_id()


@pytest.mark.parametrize("kernel_id", ["", "foo", ID.replace("-", ""), ID.replace("-4", "-1"), f"{{{ID}}}", ID.replace("1", "A")])
def test_what_is_no_id_that_any_gateway_takes(kernel_id: str) -> None:
    assert not can_be_kernel_id(kernel_id)
    with pytest.raises(InvalidInputError, match="kernel_id"):
        prepare_start(config(), None, env=None, cwd=None, path=None, launch_timeout=None, kernel_id=kernel_id)


def test_a_directory_is_text() -> None:
    assert checked_directory("/a") == "/a"
    assert checked_directory(Path("/a/b")) == "/a/b"
    for wrong in ("", "a\0", "a\udc80", b"/a", 5, None):
        with pytest.raises(InvalidInputError, match="cwd"):
            checked_directory(wrong)


def test_a_request_has_all_that_was_asked_for() -> None:
    ours = config(request_timeout=20.0, launch_timeout=10.0)
    arguments: dict[str, Any] = {"env": {"KERNEL_X": "1"}, "cwd": None, "path": "a/b", "launch_timeout": 30}
    request = prepare_start(ours, "ir", **arguments, kernel_id=ID)
    assert (request.kernel_id, request.name, request.path) == (ID, "ir", "a/b")
    assert request.env == {"KERNEL_X": "1", "KERNEL_LAUNCH_TIMEOUT": "30", "KERNEL_ID": ID}
    assert request.timeout == ours.request_timeout_for(30)
    assert "KERNEL_X" not in repr(request), "values may be secrets"


def test_a_directory_goes_into_the_environment_or_for_a_local_gateway_into_the_path() -> None:
    arguments: dict[str, Any] = {"env": None, "path": None, "launch_timeout": None}
    there = prepare_start(config(), None, cwd="/work", **arguments)
    assert (there.path, there.env["KERNEL_WORKING_DIR"]) == (None, "/work")
    here = prepare_start(config(), None, cwd="/work", find_path=lambda cwd, path: f"{cwd}|{path}", **arguments)
    assert here.path == "/work|None"
    assert "KERNEL_WORKING_DIR" not in here.env


def test_resources_are_variables_and_win_over_what_came_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNEL_CPUS", "9")
    monkeypatch.setenv("KERNEL_IMAGE", "theirs")
    request = prepare_start(
        config(allowed_envs=("KERNEL_*",)),
        None,
        env={"KERNEL_X": "1"},
        cwd="/work",
        path=None,
        launch_timeout=None,
        resources=KernelResources(cpu=2, memory="1Gi"),
    )
    assert {name: request.env[name] for name in ("KERNEL_CPUS", "KERNEL_MEMORY", "KERNEL_X", "KERNEL_IMAGE")} == {
        "KERNEL_CPUS": "2", "KERNEL_MEMORY": "1Gi", "KERNEL_X": "1", "KERNEL_IMAGE": "theirs",
    }  # fmt: skip
    assert request.origins == {
        "KERNEL_CPUS": "resources.cpu", "KERNEL_MEMORY": "resources.memory", "KERNEL_WORKING_DIR": "cwd",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("path", {"path": "a", "cwd": "/b"}),
        ("path", {"path": "a\ud800"}),
        ("name", {"name": ""}),
        ("name", {"name": 5}),
        ("launch_timeout", {"launch_timeout": 0}),
        ("launch_timeout", {"launch_timeout": True}),
        ("env", {"env": ["A"]}),
        ("resources", {"resources": {"cpu": 1}}),
        ("resources.cpu", {"resources": KernelResources(cpu=1), "env": {"KERNEL_CPUS": "2"}}),
        ("resources.gpus", {"resources": KernelResources(gpus=1), "env": {"KERNEL_GPUS_LIMIT": "1"}}),
    ],
)
def test_a_wrong_argument_is_named(field: str, arguments: dict[str, Any]) -> None:
    given: dict[str, Any] = {"name": None, "env": None, "cwd": None, "path": None, "launch_timeout": None, **arguments}
    with pytest.raises(InvalidInputError) as caught:
        prepare_start(config(), given.pop("name"), **given)
    assert caught.value.field == field
