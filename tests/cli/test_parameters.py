"""Parameters on a command line, and in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_gateway import InvalidInputError, KernelResources
from trio_gateway._cli.parameters import parameters_of, read_parameters, resources_of

TEXTS = [
    "7",
    "-1.5e3",
    "007",
    " 7 ",
    "1_000",
    "True",
    "False",
    "None",
    "true",
    "null",
    "nan",
    "-inf",
    "1e999",
    "9" * 5000,
    "",
    "sales",
    "2024-01-02",
    "no",
    "a=b",
    '"7"',
    "[1, 2]",
    '{"a": 1}',
    "0x10",
    "\u0661",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_value_is_what_papermill_makes_of_it(text: str) -> None:
    from papermill.cli import _resolve_type

    (found,) = parameters_of([f"x={text}"]).values()
    expected = _resolve_type(text)
    assert (repr(found), type(found)) == (repr(expected), type(expected))


@pytest.mark.parametrize("text", TEXTS)
def test_a_raw_one_is_text(text: str) -> None:
    assert parameters_of([f"x={text}"], raw=True) == {"x": text}


def test_the_last_one_of_a_name_counts() -> None:
    assert parameters_of(["a=1", "b=2", "a=3"]) == {"a": 3, "b": 2}


@pytest.mark.parametrize("pair", ["a", "=1", ""])
def test_a_pair_has_a_name_and_a_value(pair: str) -> None:
    with pytest.raises(InvalidInputError, match="NAME=VALUE") as caught:
        parameters_of([pair])
    assert caught.value.field == "--parameter"
    with pytest.raises(InvalidInputError, match="NAME=TEXT"):
        parameters_of([pair], raw=True)


def test_resources() -> None:
    pairs = ["cpu=2", "cpu-limit=2500m", "memory=4Gi", "gpus=1", "uid=5", "namespace=7", "image=a:1", 'volumes=[{"name": "v"}]']
    assert resources_of([*pairs, "cpu=1"]) == KernelResources(
        cpu="1", cpu_limit="2500m", memory="4Gi", gpus=1, uid=5, namespace="7", image="a:1", volumes=[{"name": "v"}]
    )
    assert resources_of([]) is None


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("cpu", "one of these names: cpu, cpu_limit,"),
        ("=1", "one of these names"),
        ("cpus=1", "one of these names"),
        ("cpu=many", "number of processors"),
        ("memory=512m", "a thousandth of a byte"),
        ("gpus=some", "GPUs"),
        ('volumes=[{"emptyDir": {}}]', "name"),
    ],
)
def test_a_resource_that_is_none(pair: str, expected: str) -> None:
    with pytest.raises(InvalidInputError, match=expected) as caught:
        resources_of(["gpus=1", pair])
    assert (caught.value.field, caught.value.value) == ("resources", pair)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.json", '\ufeff{"a": 1, "b": [true, null], "ü": "x"}'),
        ("p", '{"a": 1, "b": [true, null], "ü": "x"}'),
        ("p.yaml", "a: 1\nb: [true, null]\nü: x\n"),
        ("p.YML", "{a: 1, b: [yes, ~], ü: x}"),
    ],
)
def test_a_file_is_json_or_by_its_name_yaml(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_parameters(tmp_path / name) == {"a": 1, "b": [True, None], "ü": "x"}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.json", None, "a file that can be read"),
        ("p.json", b"a: 1", "a file in JSON"),
        ("p.json", b"\xff", "a file in JSON"),
        ("p.json", b'{"a": 1,\n"b" 2}', "line 2 column 5"),
        ("p.yaml", b"a: 1\nb: [1\nc: 2", "line 3, column 2"),
        ("p.yaml", b"a: 1\n\tb: 2", "line 2, column 1"),
        ("p.yaml", b"a: [1", "a file in YAML"),
        ("p.yaml", b"a: !!python/object/apply:os.system ['x']", "a file in YAML"),
        ("p.json", b"[1]", "names with values"),
        ("p.yaml", b"", "names with values"),
        ("p.yaml", b"1: 2", "whose names are text, unlike 1"),
    ],
)
def test_what_is_no_file_of_parameters_is_named(name: str, content: bytes | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        read_parameters(tmp_path / name)
    assert words in str(caught.value)
    assert name in str(caught.value)


def test_a_date_in_yaml_is_text_as_papermill_reads_it(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("day: 2024-01-02\nwhen: 2024-01-02 03:04:05\n")
    assert read_parameters(tmp_path / "p.yaml") == {"day": "2024-01-02", "when": "2024-01-02 03:04:05"}
