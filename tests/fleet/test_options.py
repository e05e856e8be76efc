"""What a fleet is made of: bad input is named before anything is sent."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trio_gateway import ConfigError, FleetGateway, GatewayConfig, InvalidInputError
from trio_gateway._fleet.options import check_labels, read_gateways

A, B = "http://a.invalid", "http://b.invalid"


def test_urls_configurations_and_values_make_a_fleet() -> None:
    config = GatewayConfig(url=B, auth_token="secret")
    first, second, third = read_gateways(
        [A, config, FleetGateway(["http://c.invalid", "http://d.invalid"], name="c", labels={"gpu"}, weight=2)],
        {"request_timeout": 7.0},
    )
    assert (first.name, first.labels, first.weight) == (A, frozenset(), 1.0)
    assert (second.name, second.config.auth_token) == (B, "secret")
    assert (third.name, third.labels, third.weight) == ("c", {"gpu"}, 2)
    assert third.config.addresses == ("http://c.invalid", "http://d.invalid")
    assert {one.config.request_timeout for one in (first, second, third)} == {7.0}


@pytest.mark.parametrize(
    ("gateways", "words"),
    [
        ([], "one gateway or more"),
        (A, "a list of gateways"),
        (None, "a list of gateways"),
        ({A: {"gpu"}}, "a list of gateways"),
        ([None], "a list of gateways"),
        ([[A, B]], "a list of gateways"),
        ([FleetGateway(None)], "a list of gateways"),  # type: ignore[arg-type]
        ([A, A], "gateways of different names"),
        ([FleetGateway(A, name="x"), FleetGateway(B, name="x")], "gateways of different names"),
    ],
)
def test_what_is_no_fleet_is_refused(gateways: Any, words: str) -> None:
    """G10"""
    with pytest.raises(InvalidInputError, match=words) as caught:
        read_gateways(gateways, {})
    assert caught.value.field == "gateways"


def test_what_is_no_url_is_refused_as_a_setting() -> None:
    """G10"""
    with pytest.raises(ConfigError, match="url"):
        read_gateways(["gopher://a"], {})
    for name in ("url", "ws_url"):
        with pytest.raises(ConfigError, match=f"{name}.*its gateways say it"):
            read_gateways([A], {name: "http://c.invalid"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", 1),
        ("labels", "gpu"),
        ("labels", {""}),
        ("labels", [1]),
        ("labels", None),
        ("weight", 0),
        ("weight", -1),
        ("weight", math.nan),
        ("weight", math.inf),
        ("weight", "2"),
        ("weight", True),
    ],
)
def test_bad_fields_are_named(field: str, value: Any) -> None:
    """G10"""
    with pytest.raises(InvalidInputError) as caught:
        FleetGateway(A, **{field: value})
    assert caught.value.field == field


def test_labels_are_a_set() -> None:
    assert check_labels("require", ["gpu", "gpu", "large"]) == {"gpu", "large"}
    with pytest.raises(InvalidInputError, match="require"):
        check_labels("require", "gpu")


def test_passwords_in_urls_hide_themselves() -> None:
    """G8"""
    one = FleetGateway("http://me:hunter2@a.invalid", name="a")
    assert "hunter2" not in repr(one)
    (read,) = read_gateways([one], {})
    assert read.config.http_pwd == "hunter2"
    for wrong in ("http://me:hunter2@a.invalid", {"http://me:hunter2@a.invalid": 1}):
        with pytest.raises(InvalidInputError) as caught:
            read_gateways(wrong, {})
        assert "hunter2" not in repr(caught.value) + str(caught.value)
