"""What became of notebooks, as JUnit's XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import attrs

from trio_gateway import OutputGap
from trio_gateway._cli.junit import as_junit

from .report_kit import BOOM, RunReport, cell, failed, finished, in_time, run_of


def xml_of(*reports: RunReport) -> ET.Element:
    return ET.fromstring(as_junit(reports, "trio-gateway run"))


def counts(element: ET.Element) -> list[str | None]:
    return [element.get(name) for name in ("tests", "failures", "errors", "skipped")]


def test_each_notebook_is_a_suite_and_each_cell_a_case() -> None:
    root = xml_of(finished(name="a.ipynb"), failed(name="b.ipynb"), in_time(name="c.ipynb"), in_time("failed", name="d.ipynb"))
    assert (root.tag, root.get("name"), counts(root)) == ("testsuites", "trio-gateway run", ["8", "1", "2", "2"])
    good, bad, late, lost = root
    assert [(suite.get("name"), counts(suite)) for suite in root] == [
        ("a.ipynb", ["3", "0", "0", "1"]),
        ("b.ipynb", ["3", "1", "0", "1"]),
        ("c.ipynb", ["1", "0", "1", "0"]),
        ("d.ipynb", ["1", "0", "1", "0"]),
    ]
    assert [case.get("name") for case in good.iter("testcase")] == ["cell 1: import this", "cell 2: x", "cell at 2: z"]
    assert {case.get("classname") for case in good.iter("testcase")} == {"a.ipynb"}
    assert (good.get("timestamp"), good.get("time")) == ("2026-01-02T03:04:05+00:00", "4.5")
    properties = {each.get("name"): each.get("value") for each in good.iter("property")}
    assert properties == {"notebook": "in/a.ipynb", "output": "out/a.ipynb", "kernel": "python3", "kernel_id": "k-1"}
    assert good.findtext("testcase/system-err") == "the output is not whole: lost"
    failure = bad.find("testcase/failure")
    assert failure is not None
    assert (failure.get("message"), failure.get("type")) == ("ValueError: boom <b>", "ValueError")
    assert failure.text == "Traceback\nValueError: boom <b>\ufffd"
    assert [each.get("message") for each in bad.iter("skipped")] == ["did not run"]
    assert [each.get("type") for each in late.iter("error")] == ["timeout"]
    assert [(each.get("message"), each.get("type")) for each in lost.iter("error")] == [("too slow", "OutOfTimeError")]


def test_an_error_that_a_cell_may_raise_is_no_failure() -> None:
    run = run_of(cell(1, status="error", error=BOOM, output_gaps=(OutputGap("overflow"),)), cell(2))
    root = xml_of(RunReport(run=run, path=finished().path))
    assert counts(root) == ["2", "0", "0", "0"]


def test_a_notebook_that_did_not_begin_is_skipped_or_an_error_where_it_is_known_why() -> None:
    known = in_time("pending")
    root = xml_of(known, attrs.evolve(known, failure=None))
    assert [counts(suite) for suite in root] == [["1", "0", "1", "0"], ["1", "0", "0", "1"]]


def test_what_xml_has_no_place_for_is_left_out() -> None:
    root = xml_of(failed(name="\x01a\ud800\ufffe\U0001f600\x1b[31m.ipynb"))
    assert root[0].get("name") == "a\ufffd\ufffd\U0001f600.ipynb"
