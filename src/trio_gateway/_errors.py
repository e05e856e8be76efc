"""Every exception the library raises on purpose about a gateway, a kernel or an argument.

Here live the classes and how they print; when one is raised is decided by the layer that knows. Ordered by who must act::

    GatewayError
    ├── InvalidInputError (ValueError)      the caller: an argument is wrong; nothing was sent
    │   └── ConfigError                     the caller: a setting is wrong; all wrong ones at once
    ├── GatewayConnectionError (ConnectionError)     the network, or nobody listens there
    │   └── ConnectionLostError             a kernel's connection broke, and an answer with it
    ├── GatewayTimeoutError (TimeoutError)  a limit of the configuration ran out (never the caller's own scope)
    │   └── KernelUnresponsiveError         the kernel has answered nobody for that long; it may be there, with all that it has
    ├── GatewayHTTPError                    the gateway answered, and not with success
    │   ├── AuthenticationError             401 or 403, after one renewal of the token
    │   ├── HubServerNotRunningError        a JupyterHub answered in place of a user's server
    │   ├── KernelNotFoundError (KernelError, KeyError)
    │   └── KernelSpecNotFoundError (KeyError)
    ├── HubSpawnError                       a JupyterHub could not start a user's server
    ├── TokenCommandError                   the command that gives the token has failed; nothing was sent after it
    ├── KernelError                         the kernel can't answer this request any more: its variables are gone
    │   ├── KernelDiedError
    │   ├── KernelRestartedError
    │   └── KernelCulledError
    ├── KernelInitError                     the caller: a pool's init code failed in a new kernel
    ├── NoGatewayError                      no gateway of a fleet can do it; it says of each why
    ├── PoolClosedError                     the caller: the pool gives no kernels any more
    ├── SessionNotFoundError (KeyError)     no such session is kept here, or its kernel is gone
    ├── SessionStoreError                   the sessions' database can't be read or written
    ├── MessageTooLargeError                the caller: a message of ours is larger than the gateway takes
    ├── ExecutionError                      code raised in the kernel; only from ExecutionResult.raise_for_error()
    ├── SlowConsumerError                   the caller: it read too slowly, and had chosen to fail then (or the disk is full)
    ├── AsyncLibraryError (RuntimeError)    the caller: this is not Trio, and another module is for it
    ├── ForkedProcessError (RuntimeError)   the caller: it belongs to the process that this one was forked off
    ├── ProtocolError                       the other side sent something that can't be understood
    └── GatewayInternalError                a defect in this library
"""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

__all__ = [
    "AsyncLibraryError",
    "AuthenticationError",
    "ConfigError",
    "ConfigProblem",
    "ConnectionLostError",
    "ExecutionError",
    "ForkedProcessError",
    "GatewayConnectionError",
    "GatewayError",
    "GatewayHTTPError",
    "GatewayInternalError",
    "GatewayTimeoutError",
    "HubServerNotRunningError",
    "HubSpawnError",
    "InvalidInputError",
    "KernelCulledError",
    "KernelDiedError",
    "KernelError",
    "KernelInitError",
    "KernelNotFoundError",
    "KernelRestartedError",
    "KernelSpecNotFoundError",
    "KernelUnresponsiveError",
    "MessageTooLargeError",
    "NoGatewayError",
    "PoolClosedError",
    "ProtocolError",
    "SessionNotFoundError",
    "SessionStoreError",
    "SlowConsumerError",
    "TokenCommandError",
    "fresh",
    "missing_extra",
    "name_gateway",
]

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120


def _shown(value: object) -> str:
    try:
        return _short.repr(value)
    except Exception:  # noqa: BLE001 - an error can always be printed, whatever was given: integers have a limit of digits
        return f"a value of type {type(value).__name__}"


class GatewayError(Exception):
    """The root of the errors that trio_gateway raises about gateways, kernels and arguments.

    Can be copied and pickled, with all its fields.
    """

    gateway: str = ""
    """What the gateway that it is about is called in its fleet; `""` where there is no fleet, or it is about no one gateway."""
    _entry: ClassVar[str]  # of a class that has no entry of its own: that of the public class that it is a kind of

    @property
    def help_page(self) -> str:
        """The entry of the documentation about this class, as a file and a place in it: cause, example, remedy.

        Such as `"docs/errors.md#kerneldiederror"`, in the repository and in the source distribution; the site has the same place
        in `errors.html`. A class of a program's own has that of the class it derives from.
        """
        own = next(cls for cls in type(self).__mro__ if cls.__module__.partition(".")[0] == "trio_gateway")
        return f"docs/errors.md#{own.__dict__.get('_entry', own.__name__).lower()}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def _rebuild(cls: type[GatewayError], args: tuple[object, ...], fields: dict[str, object]) -> GatewayError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    if "__notes__" in fields:
        error.__notes__ = list(error.__notes__)  # a list of its own: a note on a copy is no note on the original
    return error


def fresh(error: Exception) -> Exception:
    """Return a copy of an error that may be raised in several tasks: each needs a traceback and a context of its own."""
    again = copy.copy(error)
    again.__cause__ = error.__cause__
    again.__suppress_context__ = error.__suppress_context__  # setting a cause, even None, hides the context
    return again


def name_gateway(error: Exception, name: str) -> None:
    """Have an error say which gateway of a fleet it is about, if it does not yet.

    Args:
        error: the error; one that is not of this library stays as it is.
        name: what the gateway is called there; `""` does nothing.
    """
    if name and isinstance(error, GatewayError) and not error.gateway:
        error.gateway = name
        error.add_note(f"gateway {name}")


def missing_extra(error: ModuleNotFoundError, what: str, extra: str) -> ModuleNotFoundError:
    """Return the error for a program that uses what needs an extra that is not installed.

    Args:
        error: what Python said.
        what: what needs the extra, such as `"trio_gateway.proxy"`.
        extra: the extra's name; after it, with commas, other packages that are needed and no extra brings.
    """
    name, *others = extra.split(",")
    install = " ".join([f"'trio-gateway[{name}]'", *others])
    text = f"{what} needs the extra {name!r}: pip install {install} (there is no module {error.name!r})"
    return ModuleNotFoundError(text, name=error.name, path=error.path)


class InvalidInputError(GatewayError, ValueError):
    """An argument is wrong; nothing was sent and nothing has changed.

    Args:
        field: the argument's name, as the caller wrote it.
        value: what was given. Never pass a secret.
        expected: what would be right, as the end of the sentence "expected …".
    """

    field: str
    """The argument's name."""
    value: object
    """What was given."""
    expected: str
    """What would be right."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(field, value, expected)
        self.field = field
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.field}: {_shown(self.value)} can't be used; expected {self.expected}"


class ConfigProblem:
    """One wrong setting of a [ConfigError][trio_gateway.ConfigError].

    Args:
        field: the setting's name.
        value: its value as text, or None where it is secret.
        expected: what would be right.
        source: where the value came from: `"argument"`, the environment variable's name, or the file and the key in it.
        unknown: whether there is no setting of this name; `expected` is what may have been meant, or `""`.
    """

    __slots__ = ("expected", "field", "source", "unknown", "value")

    field: str
    """The setting's name."""
    value: str | None
    """What was given; None where the value is secret."""
    expected: str
    """What would be right."""
    source: str
    """`"argument"`, the environment variable that the value came from, or the file and the key in it."""

    unknown: bool
    """Whether there is no setting of this name."""

    def __init__(self, field: str, value: str | None, expected: str, source: str = "argument", *, unknown: bool = False) -> None:
        self.field = field
        self.value = value
        self.expected = expected
        self.source = source
        self.unknown = unknown

    def __str__(self) -> str:
        where = "" if self.source == "argument" else f" (from {self.source})"
        if self.unknown:
            return f"{self.field}{where}: there is no setting of this name" + (
                f"; did you mean {self.expected}?" if self.expected else ""
            )
        value = "the value (not shown: it is secret)" if self.value is None else self.value
        return f"{self.field}{where}: {value} can't be used; expected {self.expected}"

    def __repr__(self) -> str:
        return f"<ConfigProblem {self}>"


class ConfigError(InvalidInputError):
    """One or more settings are wrong; the error names all of them.

    Args:
        problems: every wrong setting, at least one.
    """

    problems: tuple[ConfigProblem, ...]
    """Every wrong setting."""

    args: tuple[Any, ...]

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        first = problems[0]
        super().__init__(first.field, first.value, first.expected)
        self.args = (tuple(problems),)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        return "\n".join([f"{len(self.problems)} settings can't be used:", *(f"  {problem}" for problem in self.problems)])


class GatewayConnectionError(GatewayError, ConnectionError):
    """The gateway can't be reached: a name that does not resolve, a refused or reset connection, a failed TLS handshake.

    Args:
        message: what happened, with the gateway's address and without secrets.
        attempts: how often it was tried.
        seconds: how long all attempts took together.
    """

    attempts: int
    """How often it was tried."""
    seconds: float
    """How long all attempts took together, in seconds."""
    sent: bool
    """Whether the last attempt may have sent a whole request; False where there was no connection, or where it broke before the
    system had taken the last byte: no server acts on a part of a request."""

    def __init__(self, message: str, *, attempts: int = 1, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.attempts = attempts
        self.seconds = seconds
        self.sent = True


class ConnectionLostError(GatewayConnectionError):
    """A kernel's connection broke and could not be resumed, or an answer was lost with it.

    The request may have run: it is never sent a second time.
    """


class GatewayTimeoutError(GatewayError, TimeoutError):
    """A limit of the configuration ran out. A caller's own cancel scope never turns into this error.

    Args:
        phase: what took too long, such as `"connect"`, `"request"` or `"launch"`.
        limit: the limit, in seconds.
        setting: the setting that holds the limit.
        detail: more about it, without secrets.
        attempts: how often it was tried.
        seconds: how long all attempts took together.
    """

    phase: str
    """What took too long."""
    limit: float
    """The limit, in seconds."""
    setting: str
    """The setting to raise."""
    attempts: int
    """How often it was tried."""
    seconds: float
    """How long all attempts took together, in seconds."""

    args: tuple[Any, ...]

    def __init__(
        self, phase: str, limit: float, setting: str, *, detail: str = "", attempts: int = 1, seconds: float | None = None
    ) -> None:
        super().__init__()
        self.args = (phase, limit, setting)  # OSError, a base, would take them for errno, strerror and filename
        self.phase = phase
        self.limit = limit
        self.setting = setting
        self.detail = detail
        self.attempts = attempts
        self.seconds = limit if seconds is None else seconds

    def __str__(self) -> str:
        tried = f", {self.attempts} attempts in {self.seconds:.3g} s" if self.attempts > 1 else ""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.phase} took longer than {self.limit:g} s{tried}{detail}; the limit is the setting {self.setting}"


class KernelUnresponsiveError(GatewayTimeoutError):
    """The kernel has answered nobody for as long as the setting `unresponsive_timeout` says, though it used to while code ran.

    Its host or the network to it may be down, or its process stopped; or code in C holds its interpreter's lock: that looks the
    same. So this is no KernelError: what the kernel has in memory may be there. What was asked may run, and was not sent again;
    what comes of it later is nobody's. The kernel can be used as soon as it answers again.

    Args:
        kernel_id: the kernel.
        limit: the limit, in seconds.
        seconds: how long the kernel has said nothing.
        unsent: whether the request was not sent: it waited behind one that this error ended.
    """

    kernel_id: str
    """The kernel."""
    unsent: bool
    """Whether the request was never sent: it waited behind one that ended so."""

    def __init__(self, kernel_id: str, limit: float, *, seconds: float | None = None, unsent: bool = False) -> None:
        super().__init__("the kernel's answer", limit, "unresponsive_timeout", seconds=seconds)
        self.args: tuple[Any, ...] = (kernel_id, limit)
        self.kernel_id = kernel_id
        self.unsent = unsent

    def __str__(self) -> str:
        sent = (
            "this waited behind something else and was not sent"
            if self.unsent
            else "what it was asked may run, and was not sent again"
        )
        return (
            f"kernel {self.kernel_id} has answered nothing for {self.seconds:.3g} s, though it used to while code ran: its "
            f"host or the network to it may be down, its process stopped, or code in C holds its interpreter's lock; {sent}; "
            f"the limit is the setting {self.setting}"
        )


class GatewayHTTPError(GatewayError):
    """The gateway answered a request, and not with success.

    Args:
        status_code: HTTP status.
        reason: the gateway's `reason`, or the status's own phrase.
        message: the gateway's `message`, or `""`; shortened.
        method: HTTP method of the request.
        url: the request's URL without query and without user information.
        attempts: how often it was tried.
        seconds: how long all attempts took together.
        from_gateway: whether the answer has a gateway's form.
    """

    status_code: int
    """HTTP status of the answer."""
    reason: str
    """What the gateway gives as `reason`, or the status's own phrase."""
    message: str
    """What the gateway gives as `message`, or `""`."""
    method: str
    """HTTP method of the request."""
    url: str
    """The request's URL without query and without user information."""
    attempts: int
    """How often it was tried."""
    seconds: float
    """How long all attempts took together, in seconds."""
    from_gateway: bool
    """Whether the answer has a gateway's form: JSON, or a page of the server that Jupyter's gateways run on. What stands before a
    gateway, such as a load balancer, answers with a page of its own, which says nothing of what the gateway knows or does."""

    def __init__(
        self,
        status_code: int,
        reason: str,
        message: str = "",
        *,
        method: str = "GET",
        url: str = "",
        attempts: int = 1,
        seconds: float = 0.0,
        from_gateway: bool = True,
    ) -> None:
        Exception.__init__(self, status_code, reason, message)  # past KernelError, which is a base of one of ours too
        self.status_code = status_code
        self.reason = reason
        self.message = message
        self.method = method
        self.url = url
        self.attempts = attempts
        self.seconds = seconds
        self.from_gateway = from_gateway

    def __str__(self) -> str:
        tried = f" after {self.attempts} attempts in {self.seconds:.3g} s" if self.attempts > 1 else ""
        said = f": {self.message}" if self.message and self.message != self.reason else ""
        return f"{self.method} {self.url} answered {self.status_code} {self.reason}{tried}{said}"


class AuthenticationError(GatewayHTTPError):
    """The gateway refused our credentials (401) or what they may do (403), also after the token was renewed once."""


class HubServerNotRunningError(GatewayHTTPError):
    """A JupyterHub answered in place of a user's server: that is not running, or is still being started.

    Its kernels ended with it. `open_hub` starts a server and waits for it; so does the hub's page.
    """

    @property
    def page(self) -> str:
        """The hub's page that starts the user's default server; `""` where the URL does not say whose it is."""
        address, found, rest = self.url.partition("/user/")
        user = rest.partition("/")[0]
        address = address.replace("ws", "http", 1) if address.startswith("ws") else address
        return f"{address}/hub/spawn/{user}" if found and user else ""

    def __str__(self) -> str:
        page = f" ({self.page})" if self.page else ""
        return (
            f"{self.method} {self.url} was answered by a JupyterHub, with {self.status_code}: the user's server is not running; "
            f"start it with open_hub(), or in the hub's page{page}"
        )


class HubSpawnError(GatewayError):
    """A JupyterHub could not start a user's server, or it ended before it was ready. Nothing is left of it.

    Args:
        user: the user.
        server: the server's name; `""` for the user's default server.
        message: what the hub said.
    """

    user: str
    """The user."""
    server: str
    """The server's name; `""` for the user's default server."""
    message: str
    """What the hub said."""

    def __init__(self, user: str, server: str, message: str) -> None:
        super().__init__(user, server, message)
        self.user = user
        self.server = server
        self.message = message

    def __str__(self) -> str:
        which = f"the server {self.server!r} of {self.user!r}" if self.server else f"the server of {self.user!r}"
        return f"the hub could not start {which}: {self.message}; the hub's log has more"


class TokenCommandError(GatewayError):
    """The command of the setting `token_command` gave no token. What it printed as one is shown nowhere.

    Where the gateway had refused the token that there was, its `AuthenticationError` is the `__cause__`.

    Args:
        program: the command's first word; its arguments are not told.
        problem: what happened, as the end of the sentence "the command …".
        stderr: the end of what it printed on standard error, without secrets.
        returncode: its exit status.
    """

    program: str
    """The command's first word."""
    problem: str
    """What happened."""
    stderr: str
    """The end of what it printed on standard error: without the token and all else that logs in, `""` where there was nothing."""
    returncode: int | None
    """Its exit status, or the negative number of the signal that ended it; None where it could not be started."""

    def __init__(self, program: str, problem: str, *, stderr: str = "", returncode: int | None = None) -> None:
        super().__init__(program, problem)
        self.program = program
        self.problem = problem
        self.stderr = stderr
        self.returncode = returncode

    def __str__(self) -> str:
        said = f": {self.stderr}" if self.stderr else ""
        return f"token_command: the command {_shown(self.program)} {self.problem}{said}"


class KernelSpecNotFoundError(GatewayHTTPError, KeyError):
    """The gateway has no kernelspec of this name.

    Args:
        name: the name that was asked for.
        available: the names that the gateway has, where it tells them.
        message: what the gateway said.
    """

    name: str
    """The name that was asked for."""
    available: tuple[str, ...]
    """The names that the gateway has; empty where it does not tell."""

    def __init__(
        self, name: str, *, available: Sequence[str] = (), method: str = "GET", url: str = "", message: str = ""
    ) -> None:
        super().__init__(404, "Not Found", message, method=method, url=url)
        self.name = name
        self.available = tuple(available)

    def __str__(self) -> str:
        # Names are the gateway's: there may be many, and long ones.
        names = sorted(name if len(name) <= 100 else name[:98] + " …" for name in self.available)
        more = [f"and {len(names) - 50} more"] if len(names) > 50 else []
        has = f"; it has {', '.join([*names[:50], *more])}" if names else ""
        return f"the gateway has no kernelspec {self.name!r}{has}"


class KernelError(GatewayError):
    """The kernel can't answer this request any more, and what it had in memory is gone.

    It is the base of all that say so. After a KernelRestartedError the kernel can be used again, from the beginning; after any
    other one another kernel has to be started.

    Args:
        kernel_id: the kernel.
        message: what is known about it.
    """

    kernel_id: str
    """The kernel."""

    def __init__(self, kernel_id: str, message: str) -> None:
        super().__init__(kernel_id, message)
        self.kernel_id = kernel_id
        self.message = message

    def __str__(self) -> str:
        return f"kernel {self.kernel_id}: {self.message}"


class KernelDiedError(KernelError):
    """The kernel's process ended and will not come back."""


class KernelRestartedError(KernelError):
    """The kernel was restarted, by itself or by someone, so what was running in it is gone. The kernel can be used again."""


class KernelCulledError(KernelError):
    """The kernel was shut down by someone else: culled for idleness, or deleted."""


class KernelNotFoundError(GatewayHTTPError, KernelError, KeyError):
    """The gateway does not know this kernel: it was shut down, culled, or never started."""

    kernel_id: str
    """The kernel that is gone."""

    def __init__(self, kernel_id: str, *, method: str = "GET", url: str = "", message: str = "") -> None:
        GatewayHTTPError.__init__(self, 404, "Not Found", message, method=method, url=url)
        self.kernel_id = kernel_id

    def __str__(self) -> str:
        return f"the gateway knows no kernel {self.kernel_id}" + (f" ({self.message})" if self.message else "")


class KernelInitError(GatewayError):
    """A pool's `init` code failed in a kernel that had just started. The kernel was shut down and not handed out.

    Args:
        ename: the name of the error that the code raised.
        evalue: what the error said.
        traceback: its traceback, as the kernel tells it: lines, with escape sequences for colours.
    """

    ename: str
    """The name of the error that the code raised."""
    evalue: str
    """What the error said."""
    traceback: tuple[str, ...]
    """Its traceback, as the kernel tells it: lines, with escape sequences for colours."""

    def __init__(self, ename: str, evalue: str, traceback: Sequence[str] = ()) -> None:
        super().__init__(ename, evalue, tuple(traceback))
        self.ename = ename
        self.evalue = evalue
        self.traceback = tuple(traceback)

    def __str__(self) -> str:
        return f"the pool's init code failed in a new kernel: {self.ename}: {self.evalue}"


class NoGatewayError(GatewayError):
    """No gateway of a fleet can do what was asked for: each is down, drained, has failed to, or has not what it takes.

    Where a gateway has failed, its error is the `__cause__`; of several, the last one's.

    Args:
        message: what none of them can do.
        reasons: why each can't, by its name.
        tried: those where a start was tried, and failed.
    """

    reasons: Mapping[str, str]
    """Why each gateway can't, by the name that it has in the fleet."""
    tried: frozenset[str]
    """The names of those where a start was tried, and failed."""

    def __init__(self, message: str, reasons: Mapping[str, str], *, tried: Iterable[str] = ()) -> None:
        super().__init__(message, dict(reasons))
        self.message = message
        self.reasons = dict(reasons)
        self.tried = frozenset(tried)

    def __str__(self) -> str:
        return "\n".join([f"{self.message}:", *(f"  {name}: {reason}" for name, reason in self.reasons.items())])


class PoolClosedError(GatewayError):
    """The pool gives no kernels any more: it was drained, or its block is ending.

    Args:
        message: which of them.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class SessionNotFoundError(GatewayError, KeyError):
    """No such session is kept here, or it was dropped because its kernel is gone.

    Sessions are kept by this library, not by the gateway, so no HTTP answer belongs to it.

    Args:
        key: what was asked for, such as `"session_id='…'"`.
        reason: why it is not there, where that is known.
    """

    key: str
    """What was asked for: the arguments as the caller wrote them."""
    reason: str
    """Why it is not there; `""` where it simply is not."""

    def __init__(self, key: str, reason: str = "") -> None:
        super().__init__(key, reason)
        self.key = key
        self.reason = reason

    def __str__(self) -> str:
        return f"there is no session with {self.key}" + (f": {self.reason}" if self.reason else "")


class SessionStoreError(GatewayError):
    """The sessions' database can't be read or written: it is damaged, was moved while in use, or its disk is full.

    Args:
        database: the file's path, or `":memory:"`.
        problem: what is wrong with it, and what to do.
    """

    database: str
    """The file's path, or `":memory:"`."""
    problem: str
    """What is wrong with it, and what to do."""

    def __init__(self, database: str, problem: str) -> None:
        super().__init__(database, problem)
        self.database = database
        self.problem = problem

    def __str__(self) -> str:
        return f"the sessions' database {self.database}: {self.problem}"


class ExecutionError(GatewayError):
    """Code raised an exception in the kernel. Raised by `ExecutionResult.raise_for_error()`, never by `execute` itself.

    Args:
        ename: the exception's class name.
        evalue: its text.
        traceback: the kernel's formatted traceback, one string a line or frame, often with ANSI colours.
    """

    ename: str
    """The exception's class name."""
    evalue: str
    """The exception's text."""
    traceback: tuple[str, ...]
    """The kernel's formatted traceback, often with ANSI colours."""

    def __init__(self, ename: str, evalue: str, traceback: Sequence[str] = ()) -> None:
        super().__init__(ename, evalue, tuple(traceback))
        self.ename = ename
        self.evalue = evalue
        self.traceback = tuple(traceback)

    def __str__(self) -> str:
        return f"{self.ename}: {self.evalue}" if self.evalue else self.ename


class MessageTooLargeError(GatewayError):
    """A message of ours is larger than the gateway takes: nothing of it reached the kernel. The session goes on.

    Where the gateway's limit is known, as of a local gateway, nothing was sent. Else the gateway closed the connection (with code
    1009), which was made again.

    Args:
        kernel_id: the kernel that it was for.
        msg_type: its type.
        size: how large it is, in bytes.
        limit: how large it may be, in bytes; None where that is not known.
        reason: what the gateway said when it closed the connection; `""` where nothing was sent.
    """

    kernel_id: str
    """The kernel that it was for."""
    msg_type: str
    """Its type, such as `"execute_request"`."""
    size: int
    """How large it is, in bytes."""
    limit: int | None
    """How large it may be, in bytes; None where that is not known."""
    reason: str
    """What the gateway said when it closed the connection; `""` where nothing was sent."""

    def __init__(self, kernel_id: str, msg_type: str, size: int, limit: int | None = None, reason: str = "") -> None:
        super().__init__(kernel_id, msg_type, size, limit, reason)
        self.kernel_id = kernel_id
        self.msg_type = msg_type
        self.size = size
        self.limit = limit
        self.reason = reason

    def __str__(self) -> str:
        if self.limit is not None:
            bound = f"more than the {self.limit} that the gateway takes (max_message_size of a local gateway)"
        else:
            bound = "more than the gateway takes; its limit is not known, by default it is 10 MiB (10485760)"
        said = f" [{self.reason}]" if self.reason else ""
        return f"kernel {self.kernel_id}: the {self.msg_type} has {self.size} bytes, {bound}{said}; it did not reach the kernel"


class SlowConsumerError(GatewayError):
    """A consumer read more slowly than messages came, and had chosen to fail then; or what waits fits on no disk.

    Args:
        limit_messages: the buffer's bound in messages.
        limit_bytes: the buffer's bound in bytes.
        detail: what else stood in the way, for people.
    """

    limit_messages: float
    """The buffer's bound in messages."""
    limit_bytes: float
    """The buffer's bound in bytes."""
    detail: str
    """What else stood in the way; `""` where the consumer had chosen to fail at the bound."""

    def __init__(self, limit_messages: float, limit_bytes: float, detail: str = "") -> None:
        super().__init__(limit_messages, limit_bytes, detail)
        self.limit_messages = limit_messages
        self.limit_bytes = limit_bytes
        self.detail = detail

    def __str__(self) -> str:
        why = self.detail or 'read faster, or choose another when_full than "fail"'
        return (
            f"messages came faster than they were read, and {self.limit_messages:.0f} messages or {self.limit_bytes:.0f} bytes "
            f"were waiting; {why}"
        )


class AsyncLibraryError(GatewayError, RuntimeError):
    """What runs on Trio was used where another async library runs, or none. Nothing was done.

    Args:
        what: what was used.
        library: what runs there, such as `"asyncio"`; `""` for none.
        instead: what to do.
    """

    what: str
    """What was used."""
    library: str
    """What runs there, such as `"asyncio"`; `""` for none."""
    instead: str
    """What to do."""

    def __init__(self, what: str, library: str, instead: str) -> None:
        super().__init__(what, library, instead)
        self.what = what
        self.library = library
        self.instead = instead

    def __str__(self) -> str:
        here = f"this is {self.library}" if self.library else "no async library runs here"
        return f"{self.what} runs on Trio, and {here}: {self.instead}"


class ForkedProcessError(GatewayError, RuntimeError):
    """A gateway, or something of it, was used in a process that was forked off inside its block.

    It belongs to the parent, where the thread is that serves it, and nothing has happened to it. The child may open a gateway of
    its own, and reach the same kernel with `attach_kernel`.
    """

    def __init__(
        self,
        message: str = (
            "this process was forked off inside the gateway's block, and what serves the gateway runs in its parent only; "
            "open a gateway of this process's own"
        ),
    ) -> None:
        super().__init__(message)


class ProtocolError(GatewayError):
    """The other side sent what can't be understood: a broken frame, a message without its fields, a body of another form."""


class GatewayInternalError(GatewayError):
    """A defect in this library: please report it, with its cause's traceback."""
