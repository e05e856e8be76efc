"""What is said of runs: the summary, JSON, the page."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path
from typing import Any

import jsonschema

from trio_gateway._cli.reports import as_dict, as_page, as_report, summary_of
from trio_gateway._cli.tables import as_json

from .report_kit import failed, finished, in_time
from .test_documented import SCHEMA, VALIDATOR

RUN = jsonschema.Draft202012Validator({**SCHEMA["$defs"]["run"], "$defs": SCHEMA["$defs"]})


def test_one_line_says_what_became_of_all() -> None:
    reports = [finished(), failed(), failed(), in_time(), in_time("failed"), in_time("pending"), in_time("cancelled")]
    assert summary_of(reports, 1234.56) == (
        "7 notebooks in 1234.6 s: 1 succeeded, 2 failed, 1 ran out of time, 1 could not go on, 1 was interrupted, 1 did not run."
    )
    assert summary_of([finished()], 0.04) == "1 notebook in 0.0 s: 1 succeeded."


def test_a_run_as_json_has_all_of_it() -> None:
    found = json.loads(as_json(as_dict(failed(name="a/n.ipynb")), ok=True))
    del found["ok"]
    assert found.pop("error") == {"type": "ExecutionError", "message": "cell 2 of 3 raised ValueError: boom <b>", "advice": ""}
    cells = found.pop("cells")
    assert found == {
        "name": "a/n.ipynb",
        "notebook": "a/n.ipynb",
        "output": "out/a/n.ipynb",
        "page": None,
        "status": "error",
        "kernel_id": "k-1",
        "kernel_name": "python3",
        "kernel_left": False,
        "resumption": None,
        "started": "2026-01-02T03:04:05.678000+00:00",
        "finished": "2026-01-02T03:04:18.023600+00:00",
        "seconds": 12.346,
        "failed_cell": 2,
        "ended_by": None,
    }
    assert [(each["cell"], each["index"], each["status"], each["title"]) for each in cells] == [
        (1, 0, "ok", "x"),
        (2, 1, "error", "<b> & 'boom'"),
        (3, 2, "pending", "after"),
    ]
    assert cells[1]["error"]["ename"] == "ValueError"
    assert (cells[2]["started"], cells[2]["seconds"]) == (None, 0.0)


def test_each_run_is_of_the_shape_that_the_schema_has() -> None:
    for report in (finished(), failed(), in_time(), in_time("failed"), in_time("cancelled"), in_time("pending")):
        found = json.loads(as_json({"runs": [as_dict(report)]}, ok=report.failure is None, error=report.failure))
        VALIDATOR.validate(found)
        RUN.validate(found["runs"][0])
    assert not RUN.is_valid({**found["runs"][0], "news": 1})
    skipped = as_dict(finished())["cells"]
    assert [each["cell"] for each in skipped] == [1, 2, None]  # type: ignore[attr-defined]
    assert skipped[1]["output_gaps"] == [{"kind": "lost", "count": 3, "detail": ""}]  # type: ignore[index]


def test_a_report_in_json_is_what_json_has_but_for_the_outputs() -> None:
    reports = [finished(), failed()]
    found = as_report(reports, ok=False, error=reports[1].failure)
    VALIDATOR.validate(json.loads(json.dumps(found)))
    assert [each["status"] for each in found["runs"]] == ["ok", "error"]


class _Page(html.parser.HTMLParser):
    """Reads a page: its text, its tags, its links; and sees that each tag that begins also ends."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def test_a_page_says_what_came_of_each_and_links_to_it() -> None:
    reports = [finished(name="ä ?#.ipynb"), failed(), in_time(), in_time("failed")]
    text = as_page(reports, title="<runs>", summary="4 notebooks", folder=Path("reports"))
    page = _Page(text)
    assert text.startswith("<!doctype html>")
    assert page.links == [
        "#run1", "../out/%C3%A4%20%3F%23.ipynb", "#run2", "../out/n.ipynb", "#run3", "../out/n.ipynb", "#run4",
    ]  # fmt: skip
    for words in ("<runs>", "4 notebooks", "2 of 2", "2 of 3", "1 of 1", "0 of 0", "cell 2 of 3 raised ValueError: boom <b>"):
        assert words in page.text
    for words in ("Traceback\nValueError: boom <b>", "<b> & 'boom'", "the output of 1 cell is not whole", "too slow"):
        assert words in page.text
    assert "script" not in page.tags
    assert "\x1b" not in text
    assert "default-src 'none'" in text


def test_a_page_is_for_all_readers_whatever_a_kernel_sent() -> None:
    page = as_page([failed()], title="\ud800", summary="", folder=Path())
    assert "\x00" not in page
    page.encode()
