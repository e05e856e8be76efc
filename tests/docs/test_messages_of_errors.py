"""The examples on the page on errors are what the library says, and each error knows its entry there."""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest
import trio
from tornado import web

import trio_gateway
from tools.public_modules import PUBLIC
from trio_gateway import _errors as errors
from trio_gateway._notebooks.results import CellError, NotebookStoppedError, NotebookTimeoutError
from trio_gateway._outputs import Error
from trio_gateway._portal.deadlines import check_limits, fail_after
from trio_gateway._protocol.codec import TooLargeError
from trio_gateway._python.errors import FileAccessError, RemoteError, TransferError, ValueNotCarriedError, ValueTooLargeError
from trio_gateway._transport.blocks import OTHER_DOORS
from trio_gateway._transport.connector import TLSRefusedError
from trio_gateway.jupyter import NoSuchKernelError, NotOnAGatewayError
from trio_gateway.jupyter.server import NoSuchKernelHTTPError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^### (\w+)\n.*?^```text\n(.*?)\n```", PAGE, re.MULTILINE | re.DOTALL))
KERNEL = "5d2e…"

TOO_LARGE = {"kernel_id": KERNEL, "msg_type": "execute_request", "size": 11_000_000, "limit": 10_000_000}
REFUSED = "can't connect to gw.example.org:8888: Connection refused"
LOST = "the connection broke, so the execute_request or its reply was lost on the way; it may have run, and was not sent again"
ENDED = "its process ended, and the gateway gave up restarting it"
REPLACED = "its process ended and the gateway started it again"
CULLED = "the gateway does not know it any more: it was culled, or shut down by someone"


def raised() -> Exception:
    """Return what a limit in synchronous code raises, of which no public argument makes one."""
    try:
        with fail_after(60) as scope:
            scope.cancel()
            check_limits()
    except trio.TooSlowError as error:
        return error
    raise AssertionError


# The error as its class makes it, and what the code that raises it has to say itself.
MADE: dict[str, tuple[Exception, tuple[str, ...]]] = {
    "GatewayError": (errors.KernelNotFoundError(KERNEL), ()),
    "GatewayConnectionError": (errors.GatewayConnectionError(REFUSED), (REFUSED,)),
    "ConnectionLostError": (
        errors.ConnectionLostError(f"kernel {KERNEL}: {LOST}"),
        LOST.split(", so ")[:1] + LOST.split("; ")[1:],
    ),
    "GatewayTimeoutError": (errors.GatewayTimeoutError("request", 42, "request_timeout"), ()),
    "GatewayHTTPError": (errors.GatewayHTTPError(500, "Internal Server Error", method="POST", url="http://gw/api/kernels"), ()),
    "AuthenticationError": (errors.AuthenticationError(403, "Forbidden", url="http://gw/api/kernels"), ()),
    "TokenCommandError": (errors.TokenCommandError("vault", "ended with status 2", stderr="sealed", returncode=2), ()),
    "HubServerNotRunningError": (errors.HubServerNotRunningError(302, "Found", url="https://hub/user/alice/api"), ()),
    "HubSpawnError": (errors.HubSpawnError("alice", "", "no such image"), ()),
    "KernelError": (errors.KernelDiedError(KERNEL, "it was shut down"), ("it was shut down",)),
    "KernelDiedError": (errors.KernelDiedError(KERNEL, ENDED), (ENDED,)),
    "KernelRestartedError": (errors.KernelRestartedError(KERNEL, REPLACED), (REPLACED,)),
    "KernelCulledError": (errors.KernelCulledError(KERNEL, CULLED), (CULLED,)),
    "KernelNotFoundError": (errors.KernelNotFoundError(KERNEL), ()),
    "KernelUnresponsiveError": (errors.KernelUnresponsiveError(KERNEL, 30.0, seconds=31.5), ()),
    "KernelSpecNotFoundError": (errors.KernelSpecNotFoundError("ir", available=["bash", "python3"]), ()),
    "KernelInitError": (errors.KernelInitError("NameError", "name 'np' is not defined"), ()),
    "NoGatewayError": (
        errors.NoGatewayError(
            "no gateway can start a kernel 'python3' now", {"a": REFUSED, "b": "it is drained: no kernel starts there"}
        ),
        ("no gateway can start a kernel 'python3' now", "it is drained: no kernel starts there"),
    ),
    "PoolClosedError": (
        errors.PoolClosedError("the pool was drained; it gives no kernels any more"),
        ("the pool was drained", "the pool was drained; it gives no kernels any more"),
    ),
    "ExecutionError": (errors.ExecutionError("ZeroDivisionError", "division by zero"), ()),
    "MessageTooLargeError": (errors.MessageTooLargeError(**TOO_LARGE), ()),  # type: ignore[arg-type]
    "SlowConsumerError": (errors.SlowConsumerError(10_000, 64 * 1024**2), ()),
    "ProtocolError": (
        errors.ProtocolError("the gateway's answer should be JSON and is an HTML page"),
        ("the gateway's answer should be JSON and is an HTML page", "an HTML page"),
    ),
    "CellError": (CellError("report.ipynb", 3, "load(path)", Error("FileNotFoundError", "no such file", ())), ()),
    "NotebookTimeoutError": (NotebookTimeoutError("report.ipynb", 3, "train()", "cell_timeout", 600), ()),
    "NotebookStoppedError": (NotebookStoppedError("report.ipynb", "other.ipynb"), ()),
    "RemoteError": (RemoteError("ValueError", "no such column"), ()),
    "FileAccessError": (
        FileAccessError("data.parquet", "kernel", "other", "it is no regular file"),
        ("it is no regular file",),
    ),
    "TransferError": (
        TransferError("frame", 8_388_608, 80_000_000, "the kernel closed the comm"),
        ("the kernel closed the comm",),
    ),
    "ValueTooLargeError": (ValueTooLargeError("frame", 80_000_000, 1_000_000), ()),
    "ValueNotCarriedError": (
        ValueNotCarriedError("job['zone']", "a time zone of type myzones.Zone is none that is carried as data"),
        ("a time zone of type myzones.Zone is none that is carried as data",),
    ),
    "InvalidInputError": (errors.InvalidInputError("name", 7, "text"), ()),
    "ConfigError": (
        errors.ConfigError([errors.ConfigProblem("connect_timeout", "'soon'", "a number of seconds")]),
        (),
    ),
    "AsyncLibraryError": (errors.AsyncLibraryError("trio_gateway.open_gateway", "asyncio", OTHER_DOORS), ()),
    "ForkedProcessError": (errors.ForkedProcessError(), ()),
    "SessionNotFoundError": (
        errors.SessionNotFoundError("path='a.ipynb'", f"its kernel {KERNEL} is gone"),
        (f"its kernel {KERNEL} is gone",),
    ),
    "SessionStoreError": (errors.SessionStoreError("/var/sessions.db", "its disk is full"), ("its disk is full",)),
    "GatewayInternalError": (
        errors.GatewayInternalError("a background task failed: KeyError('x')"),
        ("a background task failed: KeyError('x')",),
    ),
    "TooSlowError": (raised(), ()),
    "NoSuchKernelError": (NoSuchKernelError("ir", available=["bash", "python3"]), ()),
    "NoSuchKernelHTTPError": (NoSuchKernelHTTPError("ir", "the gateway has no kernelspec 'ir'"), ()),
    "NotOnAGatewayError": (
        NotOnAGatewayError("signal_kernel", "a gateway sends its kernels no signal but SIGINT"),
        ("a gateway sends its kernels no signal but SIGINT",),
    ),
}


@cache
def templates() -> list[re.Pattern[str]]:
    """Return all texts of the source as patterns: what is formatted into one may be anything."""
    found = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [part.value if isinstance(part, ast.Constant) else None for part in parts]
            fixed = [text for text in texts if isinstance(text, str)]
            if sum(map(len, fixed)) >= 12:
                found.append(re.compile("".join(re.escape(text) if isinstance(text, str) else ".+" for text in texts), re.DOTALL))
    return found


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_is_what_the_library_says(name: str) -> None:
    """A reader searches for the words of an error: those of its entry have to be the same."""
    error, words = MADE[name]
    assert EXAMPLES[name] == str(error)
    assert [text for text in words if not any(template.fullmatch(text) for template in templates())] == []


def test_words_that_the_source_does_not_have_are_found_out() -> None:
    assert not any(template.fullmatch("its process ended and was not started again") for template in templates())


PUBLIC_ERRORS = {
    value
    for module in PUBLIC
    if not module.startswith("trio_gateway.testing")
    for name in importlib.import_module(module).__all__
    if isinstance(value := getattr(importlib.import_module(module), name), type) and issubclass(value, errors.GatewayError)
}


@pytest.mark.parametrize("cls", sorted(PUBLIC_ERRORS, key=str))
def test_an_error_names_its_entry(cls: type[errors.GatewayError]) -> None:
    assert cls.__new__(cls).help_page == f"docs/errors.md#{cls.__name__.lower()}"
    assert f"\n### {cls.__name__}\n" in PAGE


def test_an_error_without_an_entry_names_that_of_what_it_is_a_kind_of() -> None:
    class OwnError(trio_gateway.KernelDiedError):
        """A program's own."""

    assert TLSRefusedError("no").help_page == "docs/errors.md#gatewayconnectionerror"
    assert TooLargeError.__new__(TooLargeError).help_page == "docs/errors.md#protocolerror"
    assert OwnError("k-1", "it ended").help_page == "docs/errors.md#kerneldiederror"


def test_http_errors_of_jupyter_server_are_no_errors_of_ours() -> None:
    """Which is why their entry is named by no attribute."""
    assert issubclass(NoSuchKernelHTTPError, web.HTTPError)
    assert not issubclass(NoSuchKernelHTTPError, errors.GatewayError)
