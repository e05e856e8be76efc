"""What a kernel gets of a cluster: units, names, and the variables that it becomes. G10."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway import InvalidInputError, KernelResources

PAGE = Path(__file__).parents[1] / "docs" / "clusters.md"

EVERYTHING: dict[str, Any] = {
    "cpu": 0.5,
    "cpu_limit": "1500m",
    "memory": "512Mi",
    "memory_limit": 2**30,
    "gpus": 1,
    "image": "registry.example:5000/team/kernel:1@sha256:ab",
    "executor_image": "spark:3",
    "namespace": "team-a",
    "service_account": "kernels.team-a",
    "pod_name": "{{ kernel_username }}-{{ kernel_id }}",
    "uid": 1000,
    "gid": 100,
    "volumes": [{"name": "data", "emptyDir": {}}],
    "volume_mounts": ({"name": "data", "mountPath": "/data"},),
    "remote_host": "h2.example",
    "queue": "default",
    "node_label": "gpu",
    "driver_memory": 2048,
    "executor_memory": 4096,
    "extra_spark_opts": "--conf spark.executor.cores=2",
    "spark_config_map": "spark",
}
VARIABLES = {
    "KERNEL_CPUS": "0.5",
    "KERNEL_CPUS_LIMIT": "1500m",
    "KERNEL_MEMORY": "512Mi",
    "KERNEL_MEMORY_LIMIT": "1073741824",
    "KERNEL_GPUS": "1",
    "KERNEL_GPUS_LIMIT": "1",
    "KERNEL_IMAGE": "registry.example:5000/team/kernel:1@sha256:ab",
    "KERNEL_EXECUTOR_IMAGE": "spark:3",
    "KERNEL_NAMESPACE": "team-a",
    "KERNEL_SERVICE_ACCOUNT_NAME": "kernels.team-a",
    "KERNEL_POD_NAME": "{{ kernel_username }}-{{ kernel_id }}",
    "KERNEL_UID": "1000",
    "KERNEL_GID": "100",
    "KERNEL_VOLUMES": '[{"name":"data","emptyDir":{}}]',
    "KERNEL_VOLUME_MOUNTS": '[{"name":"data","mountPath":"/data"}]',
    "KERNEL_REMOTE_HOST": "h2.example",
    "KERNEL_QUEUE": "default",
    "KERNEL_NODE_LABEL": "gpu",
    "KERNEL_DRIVER_MEMORY": "2048",
    "KERNEL_EXECUTOR_MEMORY": "4096",
    "KERNEL_EXTRA_SPARK_OPTS": "--conf spark.executor.cores=2",
    "KERNEL_SPARKAPP_CONFIG_MAP": "spark",
}


def test_each_field_is_a_variable() -> None:
    """What no field says is not sent."""
    assert KernelResources().variables() == {}
    assert set(EVERYTHING) == {field.name for field in attrs.fields(KernelResources)}
    assert KernelResources(**EVERYTHING).variables() == VARIABLES


def test_where_each_variable_comes_from() -> None:
    """So that an error of the gateway's can name the field."""
    entries = list(KernelResources(gpus=2, cpu=1).entries())
    assert entries == [("KERNEL_CPUS", "cpu", "1"), ("KERNEL_GPUS", "gpus", "2"), ("KERNEL_GPUS_LIMIT", "gpus", "2")]


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("cpu", 2, "2"),
        ("cpu", 0.001, "0.001"),
        ("cpu", 0.25, "0.25"),
        ("cpu", 1.0, "1.0"),
        ("cpu", "1m", "1m"),
        ("cpu", ".5", ".5"),
        ("memory", 1, "1"),
        ("memory", "1.5Gi", "1.5Gi"),
        ("memory", "4G", "4G"),
        ("memory", "100k", "100k"),
        ("gpus", 0, "0"),
        ("uid", 4294967295, "4294967295"),
        ("namespace", "a", "a"),
        ("remote_host", "10.0.0.3", "10.0.0.3"),
        ("remote_host", "fe80::1%eth0", "fe80::1%eth0"),
        ("volumes", [], "[]"),
    ],
)
def test_what_can_be_asked_for(field: str, value: object, text: str) -> None:
    wanted: dict[str, Any] = {field: value}
    assert set(KernelResources(**wanted).variables().values()) == {text}


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (
            "cpu",
            [0, -1, True, float("nan"), float("inf"), 0.0001, "0.5m", "2 ", "two", "1k", "500u", "1e3", "", b"1", [1], 10**5000],
        ),
        ("cpu_limit", ["2Gi", "0m"]),
        # A thousandth of a byte is what many write who mean megabytes.
        ("memory", [0, -1, True, 1.5, "512m", "512MB", "512mb", "4 Gi", "4gi", "1e9", "Gi", "", "0.5", b"1", 10**5000]),
        ("memory_limit", ["1m", "-1Gi"]),
        ("gpus", [-1, 0.5, "1", True, 10**5000]),
        ("image", ["", "a b", "-a", "$(x)", "a\n", "a'b", "x" * 513, 5]),
        ("executor_image", ["a;b"]),
        ("namespace", ["", "A", "a.b", "-a", "a-", "a" * 64, "a\n", 5]),
        ("service_account", ["", "A", ".a", "a..b", "a." * 127 + "a", 5]),
        ("pod_name", ["", "a\nb", 5]),
        ("uid", [-1, 2**32, "1000", True]),
        ("gid", [-1, 2**32, 1.0]),
        (
            "volumes",
            ["[]", {"name": "a"}, [{}], [{"name": 5}], ["a"], [{"name": "a", "x": object()}], [{"name": "a", "x": float("nan")}]],
        ),
        ("volume_mounts", [[{"name": "a"}], [{"mountPath": "/a"}], [{"name": "a", "mountPath": ""}]]),
        ("remote_host", ["", "h1:22/x", "a b", "user@h1", "-h", "h\n", "h" * 254, 5]),
        ("queue", ["", 5]),
        ("node_label", ["", 5]),
        ("driver_memory", [0, "2g", 1.5, True]),
        ("executor_memory", [0, "2g"]),
        ("extra_spark_opts", ["", "a\nb", 5]),
        ("spark_config_map", ["A"]),
    ],
)
def test_what_can_not_be_asked_for_is_named(field: str, values: list[object]) -> None:
    for value in values:
        wanted: dict[str, Any] = {field: value}
        with pytest.raises(InvalidInputError) as caught:
            KernelResources(**wanted)
        assert re.fullmatch(rf"{field}(\[0\])?", caught.value.field), value
        assert str(caught.value)


def test_a_limit_below_what_is_set_aside() -> None:
    """Kubernetes refuses the pod, and the gateway says nothing of it for as long as a start may take."""
    KernelResources(cpu=1, cpu_limit="1000m", memory="1Gi", memory_limit=2**30)
    with pytest.raises(InvalidInputError, match="cpu_limit"):
        KernelResources(cpu=1, cpu_limit="999m")
    with pytest.raises(InvalidInputError, match="memory_limit"):
        KernelResources(memory="1Gi", memory_limit="1G")


def test_it_is_a_value() -> None:
    one = KernelResources(cpu=1)
    assert one == KernelResources(cpu=1)
    assert len({one, KernelResources(cpu=1)}) == 1
    assert attrs.evolve(one, cpu=2).variables() == {"KERNEL_CPUS": "2"}
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.cpu = 3  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


_QUANTITY = re.compile(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)(m|[kMGTPE]|[KMGTPE]i)?")


@given(st.one_of(st.integers(), st.floats(), st.text(max_size=8), st.from_regex(_QUANTITY, fullmatch=True)))
def test_whatever_passes_is_a_quantity_of_kubernetes(value: Any) -> None:
    """By the grammar that Kubernetes documents for them (reference/kubernetes-api/common-definitions/quantity)."""
    for field in ("cpu", "memory"):
        wanted: dict[str, Any] = {field: value}
        try:
            (sent,) = KernelResources(**wanted).variables().values()
        except InvalidInputError:
            continue
        assert _QUANTITY.fullmatch(sent)


def test_the_table_in_the_documentation_has_each_field_and_variable() -> None:
    section = PAGE.read_text().partition("\n## Resources\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))
    for field in attrs.fields(KernelResources):
        assert re.findall(r"`(KERNEL_\w+)`", rows[field.name]) == list(field.metadata["variables"]), field.name
    assert json.dumps(sorted(rows)) == json.dumps(sorted(EVERYTHING))
