"""A fault that can strike nothing is refused when it is asked for: a test with it would pass whatever happens."""

from __future__ import annotations

import pytest

from trio_gateway import InvalidInputError
from trio_gateway.testing import FakeGateway


@pytest.mark.parametrize(
    "pattern",
    [
        *("GET /api/kernels", ".*", "POST .*/restart", "(GET|DELETE) /api", "[A-Z]+ /x", "GET|POST /api", "P.*", "POS?T /api"),
        *("DELETE .*a|b", r"\\w+ /api", "PATCH /api/sessions/.*", "GET /no/such/path", "nonsense|GET /api"),
    ],
)  # fmt: skip
def test_what_may_match_a_request(pattern: str) -> None:
    FakeGateway().faults.answer(pattern, 500)


@pytest.mark.parametrize(
    "pattern", ["/api/kernels", "get /api/kernels", "GET api/kernels", "POSTS /api", "GET|api", "GET", "", "kernels/.*"]
)
def test_what_can_match_no_request(pattern: str) -> None:
    faults = FakeGateway().faults
    for ask in (faults.lose_request, faults.lose_answer):
        with pytest.raises(InvalidInputError, match='such as "GET /api/kernels"; methods are GET, HEAD, POST'):
            ask(pattern)


def test_what_is_no_regular_expression() -> None:
    with pytest.raises(InvalidInputError, match=r"a regular expression \(unterminated character set"):
        FakeGateway().faults.answer("GET [", 500)


@pytest.mark.parametrize(
    "pattern",
    [
        *("iopub stream", "iopub .*", ".*", "shell execute_reply", "(shell|control) .*_reply", "iopub comm_.*"),
        *("stdin input_request", "iopub shutdown_reply", "shell .*", "iopub my_own_type", "shell my_own_reply"),
        *("shell|control .*", "iopub (stream|error)", "iopub input_request"),
    ],
)  # fmt: skip
def test_what_may_match_a_message_to_the_client(pattern: str) -> None:
    FakeGateway().faults.drop(pattern)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("stream", 'to the client go "iopub stream"'),
        ("execute_reply", 'to the client go "shell execute_reply"'),
        ("iopub streem", 'to the client go "iopub stream"'),
        ("shell stream", 'to the client go "iopub stream"'),
        ("control execute_reply", 'to the client go "shell execute_reply"'),
        ("shell execute_request", 'to the client go "shell execute_reply"'),
        ("stdin input_reply", 'to the client go "stdin input_request"'),
        ("IOPub .*", 'to the client go "shell .*", "control .*", "iopub .*", "stdin .*"'),
        ("hb .*", 'to the client go "shell .*", "control .*", "iopub .*", "stdin .*"'),
    ],
)
def test_what_can_match_no_message_to_the_client(pattern: str, words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        FakeGateway().faults.drop(pattern)
    assert words in str(caught.value)


def test_it_is_a_matter_of_the_way_it_goes() -> None:
    faults = FakeGateway().faults
    for pattern in ("shell execute_request", "stdin input_reply", "control .*", "shell comm_open"):
        faults.drop(pattern, direction="to_kernel")
    with pytest.raises(InvalidInputError, match=r'to the kernel go "shell \.\*", "control \.\*", "stdin \.\*"'):
        faults.drop("iopub .*", direction="to_kernel")
    with pytest.raises(InvalidInputError, match="to the kernel go"):
        faults.cut_at_message("shell execute_reply", direction="to_kernel")
    faults.garbage("x")  # which has a pattern of its own
