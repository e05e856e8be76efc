"""The images that cells show, as files."""

from __future__ import annotations

import base64

import pytest

from trio_gateway._cli.images import images_of

from .report_kit import cell, run_of, shown

PNG = base64.b64encode(b"\x89PNG").decode()


def test_each_image_of_each_cell_is_a_file_that_its_cell_and_number_name() -> None:
    outputs = [
        [shown({"text/plain": "x"}), shown({"image/png": PNG, "image/svg+xml": "<svg/>", "text/plain": "x"})],
        [{"output_type": "stream", "name": "stdout", "text": "image/png"}],
        [shown({"image/jpeg": f"{PNG[:4]}\n{PNG[4:]}"}), shown({"image/gif": PNG})],
    ]
    run = run_of(cell(1), cell(2), cell(3), outputs=outputs)
    assert [(image.name, image.content) for image in images_of(run, "2024/sales")] == [
        ("2024/sales-cell1-1.png", b"\x89PNG"),
        ("2024/sales-cell1-1.svg", b"<svg/>"),
        ("2024/sales-cell3-1.jpg", b"\x89PNG"),
        ("2024/sales-cell3-2.gif", b"\x89PNG"),
    ]


def test_what_a_cell_shows_that_did_not_run_is_no_image_of_this_run() -> None:
    old = [[shown({"image/png": PNG})]] * 3
    run = run_of(cell(1, status="skipped"), cell(2, status="pending"), cell(3, status="error"), outputs=old)
    assert [image.name for image in images_of(run, "n")] == ["n-cell3-1.png"]


def test_an_image_that_is_none_says_why_and_ends_nothing() -> None:
    run = run_of(
        cell(1), outputs=[[shown({"image/png": "no base64!"}), shown({"image/png": {"a": 1}}), shown({"image/png": PNG})]]
    )
    broken, odd, good = images_of(run, "n")
    assert (broken.name, broken.content, "base64" in broken.problem) == ("n-cell1-1.png", None, True)
    assert (odd.name, odd.content, "image/png" in odd.problem) == ("n-cell1-2.png", None, True)
    assert (good.name, good.content, good.problem) == ("n-cell1-3.png", b"\x89PNG", "")
    assert "PNG" not in repr(good)


@pytest.mark.parametrize(
    ("mime", "ending"),
    [
        ("image/webp", ".webp"),
        ("image/svg+xml; charset=utf-8", ".svg"),
        ("IMAGE/PNG", None),
        ("image/x-odd/../../etc", ".x-odd-etc"),
        ("image/", ".bin"),
    ],
)
def test_a_type_gives_an_ending_and_never_a_folder(mime: str, ending: str | None) -> None:
    names = [image.name for image in images_of(run_of(cell(1), outputs=[[shown({mime: PNG})]]), "n")]
    assert names == ([] if ending is None else [f"n-cell1-1{ending}"])
