"""The tree of errors: what each says, what it is besides, and that a copy is whole."""

from __future__ import annotations

import contextlib
import copy
import math
import pickle
import traceback
from collections.abc import Callable

import pytest

from trio_gateway import _errors
from trio_gateway._errors import (
    AsyncLibraryError,
    AuthenticationError,
    ConfigError,
    ConfigProblem,
    ConnectionLostError,
    ExecutionError,
    ForkedProcessError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayInternalError,
    GatewayTimeoutError,
    HubServerNotRunningError,
    HubSpawnError,
    InvalidInputError,
    KernelCulledError,
    KernelDiedError,
    KernelError,
    KernelInitError,
    KernelNotFoundError,
    KernelRestartedError,
    KernelSpecNotFoundError,
    KernelUnresponsiveError,
    MessageTooLargeError,
    NoGatewayError,
    PoolClosedError,
    ProtocolError,
    SessionNotFoundError,
    SessionStoreError,
    SlowConsumerError,
    TokenCommandError,
    fresh,
)

TREE = {
    GatewayError: (Exception,),
    InvalidInputError: (GatewayError, ValueError),
    ConfigError: (InvalidInputError,),
    GatewayConnectionError: (GatewayError, ConnectionError),
    ConnectionLostError: (GatewayConnectionError,),
    GatewayTimeoutError: (GatewayError, TimeoutError),
    KernelUnresponsiveError: (GatewayTimeoutError,),
    GatewayHTTPError: (GatewayError,),
    AuthenticationError: (GatewayHTTPError,),
    HubServerNotRunningError: (GatewayHTTPError,),
    HubSpawnError: (GatewayError,),
    KernelNotFoundError: (GatewayHTTPError, KernelError, KeyError),
    KernelSpecNotFoundError: (GatewayHTTPError, KeyError),
    KernelError: (GatewayError,),
    KernelDiedError: (KernelError,),
    KernelRestartedError: (KernelError,),
    KernelCulledError: (KernelError,),
    KernelInitError: (GatewayError,),
    NoGatewayError: (GatewayError,),
    PoolClosedError: (GatewayError,),
    SessionNotFoundError: (GatewayError, KeyError),
    SessionStoreError: (GatewayError,),
    TokenCommandError: (GatewayError,),
    ExecutionError: (GatewayError,),
    MessageTooLargeError: (GatewayError,),
    SlowConsumerError: (GatewayError,),
    AsyncLibraryError: (GatewayError, RuntimeError),
    ForkedProcessError: (GatewayError, RuntimeError),
    ProtocolError: (GatewayError,),
    GatewayInternalError: (GatewayError,),
}
"""Each class and its bases, as the module's docstring draws them."""

ONE_PROBLEM = [ConfigProblem("url", "ftp://gw", "an http or https URL")]
LIMIT = "the limit is the setting unresponsive_timeout"
UNRESPONSIVE = (
    "though it used to while code ran: its host or the network to it may be down, its process stopped, or code in C holds "
    "its interpreter's lock"
)
TWO_PROBLEMS = [
    ConfigProblem("auth_token", None, "text without line breaks", "JUPYTER_GATEWAY_AUTH_TOKEN"),
    ConfigProblem("connect_timeout", "'soon'", "a number of seconds", "argument"),
]

SAMPLES: list[tuple[GatewayError, str, dict[str, object]]] = [
    (
        TokenCommandError("vault", "ended with status 2", stderr="sealed", returncode=2),
        "token_command: the command 'vault' ended with status 2: sealed",
        {"program": "vault", "problem": "ended with status 2", "stderr": "sealed", "returncode": 2},
    ),
    (GatewayError("something"), "something", {}),
    (
        HubServerNotRunningError(302, "Found", url="https://hub/jupyter/user/alice/api"),
        (
            "GET https://hub/jupyter/user/alice/api was answered by a JupyterHub, with 302: the user's server is not running; "
            "start it with open_hub(), or in the hub's page (https://hub/jupyter/hub/spawn/alice)"
        ),
        {"status_code": 302, "page": "https://hub/jupyter/hub/spawn/alice"},
    ),
    (
        HubServerNotRunningError(302, "Found", url="wss://hub/user/alice/api/kernels/x/channels"),
        (
            "GET wss://hub/user/alice/api/kernels/x/channels was answered by a JupyterHub, with 302: the user's server is not "
            "running; start it with open_hub(), or in the hub's page (https://hub/hub/spawn/alice)"
        ),
        {"page": "https://hub/hub/spawn/alice"},
    ),
    (
        HubSpawnError("alice", "gpu", "no such image"),
        "the hub could not start the server 'gpu' of 'alice': no such image; the hub's log has more",
        {"user": "alice", "server": "gpu", "message": "no such image"},
    ),
    (
        HubSpawnError("alice", "", "no such image"),
        "the hub could not start the server of 'alice': no such image; the hub's log has more",
        {},
    ),
    (
        HubServerNotRunningError(424, "Failed Dependency", url="https://alice.hub/api"),
        (
            "GET https://alice.hub/api was answered by a JupyterHub, with 424: the user's server is not running; "
            "start it with open_hub(), or in the hub's page"
        ),
        {"page": ""},
    ),
    (
        InvalidInputError("name", 7, "text"),
        "name: 7 can't be used; expected text",
        {"field": "name", "value": 7, "expected": "text"},
    ),
    (
        ConfigError(ONE_PROBLEM),
        "url: ftp://gw can't be used; expected an http or https URL",
        {"field": "url", "value": "ftp://gw", "expected": "an http or https URL"},
    ),
    (
        ConfigError(TWO_PROBLEMS),
        (
            "2 settings can't be used:\n"
            "  auth_token (from JUPYTER_GATEWAY_AUTH_TOKEN): the value (not shown: it is secret) can't be used; "
            "expected text without line breaks\n"
            "  connect_timeout: 'soon' can't be used; expected a number of seconds"
        ),
        {"field": "auth_token", "value": None, "expected": "text without line breaks"},
    ),
    (GatewayConnectionError("nobody listens"), "nobody listens", {"attempts": 1, "seconds": 0.0}),
    (GatewayConnectionError("reset", attempts=3, seconds=1.5), "reset", {"attempts": 3, "seconds": 1.5}),
    (ConnectionLostError("cut", attempts=2, seconds=0.5), "cut", {"attempts": 2, "seconds": 0.5}),
    (
        GatewayTimeoutError("request", 20.0, "request_timeout"),
        "request took longer than 20 s; the limit is the setting request_timeout",
        {
            "phase": "request",
            "limit": 20.0,
            "setting": "request_timeout",
            "detail": "",
            "attempts": 1,
            "seconds": 20.0,
            "errno": None,
            "strerror": None,
            "filename": None,
        },
    ),
    (
        GatewayTimeoutError("launch", 1.25, "launch_timeout", detail="kernel python3", attempts=2, seconds=3.75123),
        "launch took longer than 1.25 s, 2 attempts in 3.75 s (kernel python3); the limit is the setting launch_timeout",
        {"detail": "kernel python3", "attempts": 2, "seconds": 3.75123},
    ),
    (
        GatewayHTTPError(500, "Internal Server Error", method="POST", url="http://gw/api/kernels"),
        "POST http://gw/api/kernels answered 500 Internal Server Error",
        {
            "status_code": 500,
            "reason": "Internal Server Error",
            "message": "",
            "method": "POST",
            "url": "http://gw/api/kernels",
            "attempts": 1,
            "seconds": 0.0,
        },
    ),
    (
        GatewayHTTPError(503, "Service Unavailable", "starting up", url="http://gw/api", attempts=2, seconds=2.34567),
        "GET http://gw/api answered 503 Service Unavailable after 2 attempts in 2.35 s: starting up",
        {"message": "starting up", "method": "GET", "attempts": 2, "seconds": 2.34567},
    ),
    (GatewayHTTPError(502, "Bad Gateway"), "GET  answered 502 Bad Gateway", {"method": "GET", "url": ""}),
    (
        GatewayHTTPError(409, "Conflict", "Conflict", url="http://gw/api"),
        "GET http://gw/api answered 409 Conflict",  # said once
        {"message": "Conflict"},
    ),
    (
        AuthenticationError(403, "Forbidden", "list is off", url="http://gw/api/kernels"),
        "GET http://gw/api/kernels answered 403 Forbidden: list is off",
        {"status_code": 403},
    ),
    (
        KernelNotFoundError("k-1"),
        "the gateway knows no kernel k-1",
        {"kernel_id": "k-1", "status_code": 404, "reason": "Not Found", "message": "", "method": "GET", "url": ""},
    ),
    (
        KernelNotFoundError("k-1", method="DELETE", url="http://gw/api/kernels/k-1", message="Kernel does not exist"),
        "the gateway knows no kernel k-1 (Kernel does not exist)",
        {"method": "DELETE", "url": "http://gw/api/kernels/k-1", "message": "Kernel does not exist"},
    ),
    (
        KernelSpecNotFoundError("ir"),
        "the gateway has no kernelspec 'ir'",
        {"name": "ir", "available": (), "status_code": 404, "reason": "Not Found", "method": "GET", "url": "", "message": ""},
    ),
    (
        KernelSpecNotFoundError("ir", available=["python3", "bash"], method="POST", url="http://gw/api/kernels", message="no"),
        "the gateway has no kernelspec 'ir'; it has bash, python3",
        {"available": ("python3", "bash"), "method": "POST", "url": "http://gw/api/kernels", "message": "no"},
    ),
    (
        KernelUnresponsiveError("k-1", 30.0, seconds=31.5),
        f"kernel k-1 has answered nothing for 31.5 s, {UNRESPONSIVE}; what it was asked may run, and was not sent again; {LIMIT}",
        {"kernel_id": "k-1", "limit": 30.0, "seconds": 31.5, "setting": "unresponsive_timeout", "unsent": False},
    ),
    (
        KernelUnresponsiveError("k-1", 30.0, unsent=True),
        f"kernel k-1 has answered nothing for 30 s, {UNRESPONSIVE}; this waited behind something else and was not sent; {LIMIT}",
        {"limit": 30.0, "seconds": 30.0, "unsent": True},
    ),
    (KernelError("k-1", "is odd"), "kernel k-1: is odd", {"kernel_id": "k-1", "message": "is odd"}),
    (KernelDiedError("k-1", "it ended"), "kernel k-1: it ended", {"kernel_id": "k-1"}),
    (KernelRestartedError("k-1", "again"), "kernel k-1: again", {"kernel_id": "k-1"}),
    (KernelCulledError("k-1", "idle"), "kernel k-1: idle", {"kernel_id": "k-1"}),
    (
        KernelInitError("NameError", "name 'np' is not defined", ["line 1"]),
        "the pool's init code failed in a new kernel: NameError: name 'np' is not defined",
        {"ename": "NameError", "evalue": "name 'np' is not defined", "traceback": ("line 1",)},
    ),
    (
        NoGatewayError("no gateway can start a kernel now", {"a": "refused", "b": "it is drained"}),
        "no gateway can start a kernel now:\n  a: refused\n  b: it is drained",
        {"reasons": {"a": "refused", "b": "it is drained"}},
    ),
    (PoolClosedError("the pool was drained"), "the pool was drained", {"message": "the pool was drained"}),
    (SessionNotFoundError("path='a.ipynb'"), "there is no session with path='a.ipynb'", {"key": "path='a.ipynb'", "reason": ""}),
    (
        SessionNotFoundError("path='a.ipynb'", "its kernel is gone"),
        "there is no session with path='a.ipynb': its kernel is gone",
        {"reason": "its kernel is gone"},
    ),
    (
        SessionStoreError("/var/sessions.db", "the disk is full"),
        "the sessions' database /var/sessions.db: the disk is full",
        {"database": "/var/sessions.db", "problem": "the disk is full"},
    ),
    (
        ExecutionError("ZeroDivisionError", "division by zero", ["line 1", "line 2"]),
        "ZeroDivisionError: division by zero",
        {"ename": "ZeroDivisionError", "evalue": "division by zero", "traceback": ("line 1", "line 2")},
    ),
    (ExecutionError("KeyboardInterrupt", ""), "KeyboardInterrupt", {"evalue": "", "traceback": ()}),
    (
        MessageTooLargeError("k-1", "execute_request", 11_000_000, 10_000_000),
        (
            "kernel k-1: the execute_request has 11000000 bytes, more than the 10000000 that the gateway takes "
            "(max_message_size of a local gateway); it did not reach the kernel"
        ),
        {"kernel_id": "k-1", "msg_type": "execute_request", "size": 11_000_000, "limit": 10_000_000, "reason": ""},
    ),
    (
        MessageTooLargeError("k-1", "comm_msg", 11_000_000, reason="message too big"),
        (
            "kernel k-1: the comm_msg has 11000000 bytes, more than the gateway takes; its limit is not known, "
            "by default it is 10 MiB (10485760) [message too big]; it did not reach the kernel"
        ),
        {"limit": None, "reason": "message too big"},
    ),
    (
        SlowConsumerError(10_000, 64 * 1024**2),
        (
            "messages came faster than they were read, and 10000 messages or 67108864 bytes were waiting; "
            'read faster, or choose another when_full than "fail"'
        ),
        {"limit_messages": 10_000, "limit_bytes": 64 * 1024**2, "detail": ""},
    ),
    (
        SlowConsumerError(math.inf, 5.0, "the disk is full"),
        "messages came faster than they were read, and inf messages or 5 bytes were waiting; the disk is full",
        {"limit_messages": math.inf, "limit_bytes": 5.0, "detail": "the disk is full"},
    ),
    (
        AsyncLibraryError("trio_gateway.open_gateway", "asyncio", "import the other one"),
        "trio_gateway.open_gateway runs on Trio, and this is asyncio: import the other one",
        {"what": "trio_gateway.open_gateway", "library": "asyncio", "instead": "import the other one"},
    ),
    (
        AsyncLibraryError("it", "", "start one"),
        "it runs on Trio, and no async library runs here: start one",
        {"library": ""},
    ),
    (
        ForkedProcessError(),
        (
            "this process was forked off inside the gateway's block, and what serves the gateway runs in its parent only; "
            "open a gateway of this process's own"
        ),
        {},
    ),
    (ProtocolError("a frame is broken"), "a frame is broken", {}),
    (GatewayInternalError("a defect"), "a defect", {}),
]
each_sample = pytest.mark.parametrize(("error", "text", "fields"), SAMPLES, ids=[type(error).__name__ for error, *_ in SAMPLES])

WAYS: dict[str, Callable[[GatewayError], GatewayError]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "fresh": fresh,  # type: ignore[dict-item]
    **{f"pickle{protocol}": lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol)) for protocol in (2, 5)},
}
each_way = pytest.mark.parametrize("again", WAYS.values(), ids=WAYS)


def visible(error: GatewayError) -> dict[str, object]:
    """All that a user can read off an error; problems have no equality of their own."""
    return {
        "type": type(error),
        "str": str(error),
        "repr": repr(error),
        "args": tuple(str(list(map(str, arg))) if isinstance(arg, tuple) else arg for arg in error.args),
        **{name: str(list(map(str, value))) if name == "problems" else value for name, value in vars(error).items()},
    }


def test_the_tree_is_as_drawn() -> None:
    assert {cls: cls.__bases__ for cls in TREE} == TREE
    classes = {value for value in vars(_errors).values() if isinstance(value, type) and issubclass(value, BaseException)}
    assert classes == set(TREE)
    assert set(_errors.__all__) == {cls.__name__ for cls in TREE} | {"ConfigProblem", "fresh", "missing_extra", "name_gateway"}


def test_every_class_has_a_sample() -> None:
    assert {type(error) for error, *_ in SAMPLES} == set(TREE)


@each_sample
def test_what_it_says_and_holds(error: GatewayError, text: str, fields: dict[str, object]) -> None:
    assert str(error) == text
    assert {name: getattr(error, name) for name in fields} == fields
    assert type(error).__name__ in repr(error)


@pytest.mark.parametrize(
    ("error", "args"),
    [
        (InvalidInputError(field="name", value=7, expected="text"), ("name", 7, "text")),
        (GatewayConnectionError(message="reset"), ("reset",)),
        (GatewayTimeoutError(phase="request", limit=20.0, setting="request_timeout"), ("request", 20.0, "request_timeout")),
        (GatewayHTTPError(status_code=500, reason="Oh", message="no"), (500, "Oh", "no")),
        (KernelNotFoundError(kernel_id="k-1", message="gone"), (404, "Not Found", "gone")),
        (KernelSpecNotFoundError(name="ir", message="gone"), (404, "Not Found", "gone")),
        (KernelDiedError(kernel_id="k-1", message="it ended"), ("k-1", "it ended")),
        (SessionNotFoundError(key="path='a'", reason="gone"), ("path='a'", "gone")),
        (SessionStoreError(database="a.db", problem="full"), ("a.db", "full")),
        (ExecutionError(ename="E", evalue="v", traceback=["a"]), ("E", "v", ("a",))),
        (SlowConsumerError(limit_messages=1, limit_bytes=2, detail="x"), (1, 2, "x")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_keywords_are_arguments_too(error: GatewayError, args: tuple[object, ...]) -> None:
    assert error.args == args


@each_way
@each_sample
def test_a_copy_is_whole(
    error: GatewayError, text: str, fields: dict[str, object], again: Callable[[GatewayError], GatewayError]
) -> None:
    copied = again(error)
    assert copied is not error
    assert visible(copied) == visible(error)
    assert {name: getattr(copied, name) for name in fields} == fields


@each_way
def test_a_copied_problem_is_whole(again: Callable[[GatewayError], GatewayError]) -> None:
    copied = again(ConfigError(TWO_PROBLEMS))
    assert isinstance(copied, ConfigError)
    assert [(problem.field, problem.value, problem.expected, problem.source) for problem in copied.problems] == [
        ("auth_token", None, "text without line breaks", "JUPYTER_GATEWAY_AUTH_TOKEN"),
        ("connect_timeout", "'soon'", "a number of seconds", "argument"),
    ]


@each_way
def test_a_note_on_a_copy_is_none_on_the_original(again: Callable[[GatewayError], GatewayError]) -> None:
    error = ProtocolError("a frame is broken")
    error.add_note("first")
    copied = again(error)
    copied.add_note("second")
    assert error.__notes__ == ["first"]
    assert copied.__notes__ == ["first", "second"]


def test_an_attribute_that_someone_added_is_copied() -> None:
    error = KernelDiedError("k-1", "it ended")
    error.ticket = 42  # type: ignore[attr-defined]
    assert fresh(error).ticket == 42  # type: ignore[attr-defined]


def test_a_timeout_is_no_error_of_the_operating_system() -> None:
    # OSError would take three arguments for errno, strerror and filename, and drop the third.
    error = GatewayTimeoutError("request", 20.0, "request_timeout")
    assert error.args == ("request", 20.0, "request_timeout")
    assert (error.errno, error.strerror, error.filename) == (None, None, None)


def test_a_fresh_error_has_its_own_traceback_and_context_but_the_same_cause() -> None:
    cause = OSError("reset")
    try:
        try:
            raise KeyError("meanwhile")
        except KeyError:
            raise ConnectionLostError("cut") from cause
    except ConnectionLostError as error:
        first = error
    again = fresh(first)
    assert again.__traceback__ is None
    assert again.__context__ is None
    assert again.__cause__ is cause
    assert again.__suppress_context__
    assert first.__traceback__ is not None
    assert isinstance(first.__context__, KeyError)


def test_a_fresh_error_without_a_cause_shows_the_context_it_is_raised_in() -> None:
    with contextlib.suppress(KernelDiedError):
        try:
            raise KeyError("what the caller was doing")
        except KeyError:
            raise (raised := fresh(KernelDiedError("k-1", "it ended")))  # noqa: B904 - the context is what is tested
    assert not raised.__suppress_context__
    assert "what the caller was doing" in "".join(traceback.format_exception(raised))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * 1000, "'" + "x" * 57 + "..." + "x" * 58 + "'"),
        (10**5000, "a value of type int"),  # Python refuses to print it
        ({"n": [10**5000]}, "a value of type dict"),
        (None, "None"),
    ],
    ids=["long", "huge", "huge inside", "None"],
)
def test_any_value_can_be_shown_and_none_at_length(value: object, shown: str) -> None:
    assert str(InvalidInputError("n", value, "less")) == f"n: {shown} can't be used; expected less"


def test_a_value_whose_repr_fails_is_shown_all_the_same() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "Odd" in str(InvalidInputError("n", Odd(), "less"))


def test_a_secret_setting_is_not_shown() -> None:
    error = ConfigError(TWO_PROBLEMS)
    assert error.problems[0].value is None
    assert "None" not in str(error)
    assert "not shown" in str(error)
    assert repr(error.problems[0]) == f"<ConfigProblem {error.problems[0]}>"
    assert "<ConfigProblem auth_token (from JUPYTER_GATEWAY_AUTH_TOKEN)" in repr(error)


def test_problems_are_kept_as_they_were() -> None:
    problems = list(TWO_PROBLEMS)
    error = ConfigError(problems)
    problems.clear()
    assert error.problems == tuple(TWO_PROBLEMS)
    assert error.args == (tuple(TWO_PROBLEMS),)


def test_all_that_say_that_a_kernels_variables_are_gone_have_one_base() -> None:
    gone = (KernelDiedError, KernelRestartedError, KernelCulledError, KernelNotFoundError)
    assert all(issubclass(error, KernelError) for error in gone)
    assert {error for error in TREE if issubclass(error, KernelError)} == {KernelError, *gone}
    assert not issubclass(ConnectionLostError, KernelError), "the kernel may run on"
