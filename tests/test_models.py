"""What a gateway tells, as values: names of kernelspecs are found without case, and a file's content is not shown."""

from __future__ import annotations

import attrs
import pytest

from trio_gateway import KernelModel, KernelSpec, KernelSpecs
from trio_gateway._models import KernelSpecResource, find_name, find_started


@pytest.mark.parametrize(
    ("name", "names", "found"),
    [
        ("python3", ["python3", "ir"], "python3"),
        ("Python3", ["python3", "ir"], "python3"),
        ("ir", ["IR"], "IR"),
        ("IR", ["ir", "IR"], "IR"),
        ("Ir", ["ir", "IR"], None),
        ("julia", ["python3"], None),
        ("", ["python3"], None),
        ("python3", [], None),
    ],
)
def test_a_name_is_the_same_one_or_the_only_one_that_differs_in_case(name: str, names: list[str], found: str | None) -> None:
    assert find_name(name, names) == found


@pytest.mark.parametrize(
    ("names", "found"),
    [(["python3", "ir"], "python3"), (["python", "python3"], "python"), (["Python"], "Python"), (["ir"], None), ([], None)],
)
def test_python_is_another_name_for_python3_where_a_kernel_is_started(names: list[str], found: str | None) -> None:
    assert find_started("python", names) == found
    assert find_started("julia", names) is None
    assert find_started("Python", ["python3"]) is None


def test_kernelspecs_are_found_as_gateways_find_them() -> None:
    spec = KernelSpec(name="python3")
    specs = KernelSpecs(default="python3", kernelspecs={"python3": spec})
    assert specs.find("PYTHON3") is spec
    assert specs.find("ir") is None


def test_what_a_server_does_not_tell_has_a_value_that_says_so() -> None:
    model = KernelModel(id="a")
    assert (model.name, model.last_activity, model.execution_state, model.connections) == ("", None, "unknown", None)
    assert model.extra == {}
    assert model.extra is not KernelModel(id="b").extra
    assert KernelSpec(name="x").interrupt_mode == "signal"


def test_they_are_values() -> None:
    assert KernelModel(id="a", name="x") == KernelModel(id="a", name="x")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        KernelModel(id="a").id = "b"  # type: ignore[misc]
    with pytest.raises(TypeError):
        KernelModel("a")  # type: ignore[misc]


def test_a_files_content_is_not_shown() -> None:
    resource = KernelSpecResource(content=b"PNG" * 1000, media_type="image/png")
    assert "PNG" not in repr(resource)
    assert "image/png" in repr(resource)
