"""The REST side of a gateway without the wire: paths from names, models from JSON, and what an error page says.

Whatever a server sends, reading it ends in a value or in one typed error that says where in the JSON it went wrong. Whatever a
caller gives as a name can't leave its segment of a path. Nothing is sent here.
"""

from __future__ import annotations

import functools
import html
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, get_args, get_origin
from urllib.parse import quote, urlencode

import attrs

from .._errors import InvalidInputError, KernelNotFoundError, KernelSpecNotFoundError, ProtocolError
from .._models import KernelModel, KernelSpec, KernelSpecs, SessionModel, find_name
from .masking import one_line, shorten

if TYPE_CHECKING:
    from cattrs import Converter

__all__ = [
    "PROXY",
    "channels_path",
    "encode_query",
    "has_gateways_form",
    "kernel_path",
    "kernels_path",
    "kernelspec_path",
    "kernelspecs_path",
    "load_json",
    "parse_error",
    "parse_kernel",
    "parse_kernels",
    "parse_kernelspec",
    "parse_kernelspecs",
    "parse_session",
    "parse_sessions",
    "parse_timestamp",
    "reason_phrase",
    "resource_path",
]

_T = TypeVar("_T")

PROXY: Final = "trio_gateway"
"""What this library's own proxy says at /api, as `proxy` beside the version."""

_MAX_SEGMENT = 1024
_MAX_MESSAGE = 500
# More of an error page is never looked at.
_MAX_ERROR_PAGE = 256 * 1024
# More wrong things than are shown are looked for nowhere: each costs an exception.
_MAX_PROBLEMS = 4
_MAX_SHOWN_KEY = 100
# `[],` takes three bytes to say and twenty times as many to hold: so many lists and objects may be in any answer, and in a longer
# one each sixteenth byte may begin one. A list of kernels has one in 170 bytes.
_MAX_CONTAINERS = 10_000
_BYTES_PER_CONTAINER = 16
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# ----------------------------------------------------------------------------------------------------------------- paths


def kernels_path(endpoint: str) -> str:
    """Return the path of all kernels.

    Args:
        endpoint: the setting `kernels_endpoint`, already escaped.
    """
    return "/" + endpoint.strip("/")


def kernel_path(endpoint: str, kernel_id: str, action: str | None = None) -> str:
    """Return the path of one kernel, or of something to do with it.

    Args:
        endpoint: the setting `kernels_endpoint`, already escaped.
        kernel_id: the kernel. Any text without control characters will do; it is escaped.
        action: such as `"interrupt"` or `"restart"`.

    Raises:
        InvalidInputError: the id is empty or can't be part of a path.
    """
    path = f"{kernels_path(endpoint)}/{_segment('kernel_id', kernel_id)}"
    return path if action is None else f"{path}/{_segment('action', action)}"


def channels_path(endpoint: str, kernel_id: str, session_id: str | None = None) -> str:
    """Return the path of a kernel's WebSocket, with its query.

    Args:
        endpoint: the setting `kernels_endpoint`, already escaped.
        kernel_id: the kernel.
        session_id: what the gateway keeps undelivered messages by.

    Raises:
        InvalidInputError: the id is empty or can't be part of a path.
    """
    path = kernel_path(endpoint, kernel_id, "channels")
    return path if session_id is None else f"{path}?{encode_query({'session_id': session_id})}"


def kernelspecs_path(endpoint: str) -> str:
    """Return the path of all kernelspecs.

    Args:
        endpoint: the setting `kernelspecs_endpoint`, already escaped.
    """
    return "/" + endpoint.strip("/")


def kernelspec_path(endpoint: str, name: str) -> str:
    """Return the path of one kernelspec.

    Args:
        endpoint: the setting `kernelspecs_endpoint`, already escaped.
        name: the kernelspec's name; it is escaped.

    Raises:
        InvalidInputError: the name is empty or can't be part of a path.
    """
    return f"{kernelspecs_path(endpoint)}/{_segment('name', name)}"


def resource_path(endpoint: str, name: str, resource: str) -> str:
    """Return the path of a kernelspec's file.

    Args:
        endpoint: the setting `kernelspecs_resource_endpoint`, already escaped.
        name: the kernelspec's name; it is escaped.
        resource: the file's path in the kernelspec's folder, such as `"logo-64x64.png"`; each segment is escaped.

    Raises:
        InvalidInputError: a name or segment is empty, `.` or `..`, or holds a backslash.
    """
    segments = [_segment("resource", segment, whole=resource) for segment in resource.split("/")]
    return "/".join(["/" + endpoint.strip("/"), _segment("name", name), *segments])


def _segment(field: str, text: str, *, whole: str | None = None) -> str:
    """Escape one segment of a path; `%` is escaped too, so what is escaped already can't turn into dots or slashes."""
    shown = text if whole is None else whole
    _check_text(field, text)
    if text in {"", ".", ".."}:
        raise InvalidInputError(field, shown, 'text that is not empty, ".", or ".." between slashes')
    if _CONTROL.search(text) or "\\" in text or len(text) > _MAX_SEGMENT:
        raise InvalidInputError(field, shown, f"at most {_MAX_SEGMENT} characters without control characters and backslashes")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise InvalidInputError(field, shown, "text that can be written in UTF-8") from None


def _check_text(field: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidInputError(field, value, "text (str)")


def encode_query(params: Mapping[str, str]) -> str:
    """Return a query, escaped so that a space is `%20` and not `+`."""
    return urlencode(dict(params), quote_via=quote)


# ------------------------------------------------------------------------------------------------------------------ JSON


def load_json(content: bytes) -> Any:
    """Read JSON. What it takes then is at most its size times sixteen, whatever it is: it may not be made of empty lists.

    Raises:
        ProtocolError: it is none, or has more lists and objects than an answer of its size can have.
    """
    containers = content.count(b"[") + content.count(b"{")  # those in texts too: rather too many than too few
    if containers > max(_MAX_CONTAINERS, len(content) // _BYTES_PER_CONTAINER):
        raise ProtocolError(
            f"the gateway's answer of {len(content)} bytes has {containers} lists and objects: too many to be read"
        )
    try:
        # json.loads finds out which of the Unicode encodings it is.
        return json.loads(content)
    except RecursionError:
        raise ProtocolError("the gateway's answer is JSON nested too deeply to be read") from None
    except ValueError:
        # The error's own text may show what is in the body, and its `doc` holds all of it.
        kind = "an HTML page" if content.lstrip()[:1] == b"<" else "not JSON"
        raise ProtocolError(f"the gateway's answer should be JSON and is {kind if content.strip() else 'empty'}") from None


def parse_timestamp(text: object) -> datetime | None:
    """Read a time as servers write it: ISO 8601 with or without fractions, with `Z`, an offset or none (then UTC).

    Returns:
        The time with its zone; None where it can't be read. A kernel is not less usable for a strange time.
    """
    if not isinstance(text, str):
        return None
    # Python 3.11 and later read fractions of any length.
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if time.tzinfo is None:
        return time.replace(tzinfo=UTC)
    # An offset at the very end of time can't be converted by anyone.
    offset = time.utcoffset() or timedelta()
    try:
        _ = time.replace(tzinfo=None) - offset
    except OverflowError:
        return None
    return time


def parse_kernel(body: object, *, kernel_id: str | None = None) -> KernelModel:
    """Read one kernel's model.

    Args:
        body: the answer's JSON.
        kernel_id: the kernel that was asked for, where one was.

    Raises:
        KernelNotFoundError: the answer is `null`, which is how jupyverse says, with status 200, that it has no `kernel_id`.
        ProtocolError: it is no kernel's model.
    """
    if body is None and kernel_id is not None:
        raise KernelNotFoundError(kernel_id, message="it answered null")
    return _structure(body, KernelModel, "a kernel")


def parse_kernels(body: object) -> list[KernelModel]:
    """Read the list of kernels.

    Raises:
        ProtocolError: it is none.
    """
    return _structure(body, list[KernelModel], "a list of kernels")


def parse_kernelspecs(body: object) -> KernelSpecs:
    """Read the list of kernelspecs.

    Raises:
        ProtocolError: it is none.
    """
    found = _structure(body, _KernelSpecList, "a list of kernelspecs")
    default = found.default
    return KernelSpecs(
        default=default
        and (find_name(default, found.kernelspecs) or default),  # as it is listed: it may be configured in any case
        kernelspecs={name: _kernelspec(entry, name) for name, entry in found.kernelspecs.items()},
    )


def parse_kernelspec(body: object, name: str) -> KernelSpec:
    """Read one kernelspec.

    Args:
        body: the answer's JSON. Some servers answer with the whole list; then the one of this name is taken.
        name: the kernelspec that was asked for.

    Raises:
        KernelSpecNotFoundError: the whole list came, and it is not in there.
        ProtocolError: it is no kernelspec.
    """
    if isinstance(body, Mapping) and "kernelspecs" in body and "spec" not in body:
        specs = parse_kernelspecs(cast("object", body))
        spec = specs.find(name)
        if spec is None:
            raise KernelSpecNotFoundError(name, available=tuple(specs.kernelspecs))
        return spec
    return _kernelspec(_structure(body, _KernelSpecEntry, "a kernelspec"), name)


def parse_session(body: object) -> SessionModel:
    """Read one session's model.

    Raises:
        ProtocolError: it is none.
    """
    return _structure(body, SessionModel, "a session")


def parse_sessions(body: object) -> list[SessionModel]:
    """Read the list of sessions.

    Raises:
        ProtocolError: it is none.
    """
    return _structure(body, list[SessionModel], "a list of sessions")


@attrs.frozen(kw_only=True)
class _Spec:
    argv: list[str] = attrs.field(factory=list)
    env: Mapping[str, str] = attrs.field(factory=dict)
    display_name: str = ""
    language: str = ""
    interrupt_mode: str = "signal"
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    extra: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class _KernelSpecEntry:
    name: str | None = None
    spec: _Spec
    resources: Mapping[str, str] = attrs.field(factory=dict)
    extra: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class _KernelSpecList:
    default: str | None = None
    kernelspecs: Mapping[str, _KernelSpecEntry]
    extra: Mapping[str, Any] = attrs.field(factory=dict)


def _kernelspec(entry: _KernelSpecEntry, name: str) -> KernelSpec:
    spec = entry.spec
    name = entry.name or name
    return KernelSpec(
        name=name,
        display_name=spec.display_name or name,
        language=spec.language,
        argv=tuple(spec.argv),
        env=spec.env,
        interrupt_mode=spec.interrupt_mode,
        metadata=spec.metadata,
        resources=entry.resources,
        extra={**entry.extra, **spec.extra},
    )


def _structure(body: object, form: type[_T], what: str) -> _T:
    from cattrs import BaseValidationError, transform_error

    try:
        return _converter().structure(body, form)
    except BaseValidationError as group:
        problems = transform_error(group, format_exception=_describe)
    except _WrongType as error:
        problems = [f"{error} @ $"]
    shown = "; ".join(one_line(problem) for problem in problems[:3]) + ("; …" if len(problems) > 3 else "")
    raise ProtocolError(f"the gateway's answer should be {what}: {one_line(shown)}")


def _describe(error: BaseException, form: object) -> str:
    del form
    if isinstance(error, KeyError):
        return "required field missing"
    return str(error) if isinstance(error, _WrongType) else "invalid value"


class _WrongType(ValueError):
    """Something in the JSON is of another type."""

    def __init__(self, expected: str, value: object) -> None:
        names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", int: "a number", float: "a number"}
        found = "null" if value is None else names.get(type(value), type(value).__name__)
        super().__init__(f"expected {expected}, found {found}")


@functools.cache
def _converter() -> Converter:
    """Make the converter; it is made once, and only when a model is first read, because importing cattrs takes time."""
    from cattrs import Converter
    from cattrs.cols import is_mapping

    converter = Converter(detailed_validation=True)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(int, _whole_number)
    # Read before, where the model is; what can't be read is None and not wrong.
    converter.register_structure_hook(datetime | None, lambda value, _: value)

    # Left alone, cattrs takes text for a list of characters, and a list of pairs for a mapping, and makes an exception for each
    # entry that is wrong.
    def list_hook(form: Any, converter: Converter) -> Callable[[object, Any], Any]:
        return _checked(list, "a list", _make_list_hook(form, converter))

    def mapping_hook(form: Any, converter: Converter) -> Callable[[object, Any], Any]:
        return _checked(dict, "an object", _make_mapping_hook(form, converter))

    def model_hook(form: Any, converter: Converter) -> Callable[[object, Any], Any]:
        return _checked(dict, "an object", _make_model_hook(form, converter))

    factories: list[tuple[Callable[[Any], bool], Any]] = [
        (lambda form: get_origin(form) is list, list_hook),
        (is_mapping, mapping_hook),
        (attrs.has, model_hook),
    ]
    for predicate, factory in factories:
        converter.register_structure_hook_factory(predicate, factory)
    return converter


def _text(value: object, _: object) -> str:
    # cattrs would call str(value), and everything is a text then.
    if not isinstance(value, str):
        raise _WrongType("text", value)
    return value


def _whole_number(value: object, _: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _WrongType("a whole number", value)
    return value


def _checked(kind: type, expected: str, hook: Callable[[Any, Any], Any]) -> Callable[[object, Any], Any]:
    def check(value: object, form: Any) -> Any:
        if not isinstance(value, kind):
            raise _WrongType(expected, value)
        return hook(value, form)

    return check


def _make_list_hook(form: Any, converter: Converter) -> Callable[[list[Any], Any], Any]:
    (kind,) = get_args(form)
    structure = converter.get_structure_hook(kind)
    return lambda values, form: [value for _, value in _structure_each(enumerate(values), structure, kind, form)]


def _make_mapping_hook(form: Any, converter: Converter) -> Callable[[dict[Any, Any], Any], Any]:
    _, kind = get_args(form)
    structure = converter.get_structure_hook(kind)
    return lambda values, form: dict(_structure_each(values.items(), structure, kind, form))


def _structure_each(
    entries: Iterable[tuple[Any, Any]], structure: Callable[[Any, Any], Any], kind: Any, form: Any
) -> list[tuple[Any, Any]]:
    """Structure the entries of a list or an object; after a few wrong ones the rest is not looked at."""
    from cattrs import BaseValidationError, IterableValidationError, IterableValidationNote

    found: list[tuple[Any, Any]] = []
    wrong: list[Exception] = []
    for index, value in entries:
        try:
            found.append((index, structure(value, kind)))
        except (BaseValidationError, _WrongType) as error:
            shown = shorten(index, _MAX_SHOWN_KEY) if isinstance(index, str) else index
            error.__notes__ = [IterableValidationNote("", shown, kind)]
            wrong.append(error)
            if len(wrong) == _MAX_PROBLEMS:
                break
    if wrong:
        raise IterableValidationError("some entries are wrong", wrong, form)  # pyright: ignore[reportCallIssue] - its __new__'s
    return found


def _make_model_hook(form: Any, converter: Converter) -> Callable[[dict[str, Any], Any], Any]:
    from cattrs.gen import make_dict_structure_fn

    structure = make_dict_structure_fn(form, converter)
    fields = {field.name for field in attrs.fields(form)} - {"extra"}
    times = {field.name for field in attrs.fields(form) if "datetime" in str(field.type)}
    has_extra = "extra" in attrs.fields_dict(form)

    def hook(value: dict[str, Any], form: Any) -> Any:
        # A field that is null says as much as one that is not there.
        known = {name: item for name, item in value.items() if name in fields and item is not None}
        for name in times & known.keys():
            known[name] = parse_timestamp(known[name])
        if has_extra:
            known["extra"] = {name: item for name, item in value.items() if name not in fields}
        return structure(known, form)

    return hook


# ---------------------------------------------------------------------------------------------------------------- errors


def reason_phrase(status: int) -> str:
    """Return the standard phrase of a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown Status"


def parse_error(status: int, headers: Mapping[str, str], content: bytes, *, mask: Callable[[str], str] = str) -> tuple[str, str]:
    """Find out what an error page says, also one that is not the gateway's: JSON, a proxy's HTML, or anything else.

    Args:
        status: the answer's status.
        headers: its headers; `Content-Type` is looked at.
        content: its body, decoded but for its charset.
        mask: takes secrets out of text. It is asked before anything is cut, so no half of a secret stays.

    Returns:
        The reason and the message, each one printable line, shortened, the message `""` where nothing is said.
    """
    phrase = reason_phrase(status)
    try:
        body: object = load_json(content)
        if not isinstance(body, dict):
            return phrase, "" if body is None else _line(body if isinstance(body, str) else json.dumps(body), mask)
        return _reason_and_message(cast("dict[str, object]", body), phrase, mask)
    except (ProtocolError, RecursionError):  # what can be read can't be written for sure
        page = _line(_plain(_decode(content[:_MAX_ERROR_PAGE], headers), headers), mask)
        # A secret may have been cut in two at the end of the page.
        return phrase, page if len(content) <= _MAX_ERROR_PAGE else page[: _MAX_MESSAGE // 2]


def has_gateways_form(headers: Mapping[str, str], content: bytes) -> bool:
    """Say whether an error's answer may be a gateway's own: a JSON object, or a page of tornado, which Jupyter's servers run on.

    A balancer, an ingress or a proxy answers with a page or a line of its own, as HAProxy, nginx, Envoy and Traefik do.

    Args:
        headers: the answer's headers; `Server` is looked at.
        content: its body, decoded but for its charset.
    """
    if headers.get("Server", "").startswith("TornadoServer"):
        return True
    try:
        return isinstance(load_json(content), dict)
    except ProtocolError:
        return False


def _reason_and_message(body: dict[str, object], phrase: str, mask: Callable[[str], str]) -> tuple[str, str]:
    given = body.get("reason")
    reason = _line(given, mask, 200) if isinstance(given, str) else ""
    message = next((found for key in ("message", "detail", "error", "title") if isinstance(found := body.get(key), str)), "")
    if not message and not reason:
        message = json.dumps(body)
    # For a failure of its own the gateway says "Unknown server error", and only the traceback's last line says which.
    traceback = body.get("traceback")
    if isinstance(traceback, str) and traceback.strip():
        message = f"{message}: {traceback.rstrip().splitlines()[-1]}" if message else traceback.rstrip().splitlines()[-1]
    return reason or phrase, _line(message, mask)


def _line(text: str, mask: Callable[[str], str], limit: int = _MAX_MESSAGE) -> str:
    return one_line(mask(text), limit)


_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE | re.ASCII)
# Some of Python's codecs are no charsets, and some take hours for a megabyte.
_CHARSETS = re.compile(
    r"(us-?)?ascii|utf-?(8|16|32)([-_]?(le|be))?|latin-?1|iso-?8859-?\d+|windows-125\d|cp125\d|koi8-[ru]"
    r"|euc-?(jp|kr)|big5|gb18030|gbk|gb2312|shift_?jis"
)


def _decode(content: bytes, headers: Mapping[str, str]) -> str:
    match = _CHARSET.search(headers.get("Content-Type", ""))
    if match and _CHARSETS.fullmatch(match[1].lower()):
        with suppress(LookupError):  # not all that look like one are there
            return content.decode(match[1], "replace")
    return content.decode("utf-8", "replace")


def _plain(text: str, headers: Mapping[str, str]) -> str:
    """Take the words out of an HTML page: its title if it has one, else what a reader would see."""
    is_html = "html" in headers.get("Content-Type", "").lower()
    if not is_html and not re.match(r"\s*<(!doctype|html|head|body)", text, re.IGNORECASE):
        return text
    title = re.search(r"<title[^<>]*>([^<]{1,1000})", text, re.IGNORECASE)
    if title and title[1].strip():
        return html.unescape(title[1])
    text = re.sub(r"<(script|style)\b.*?(</\1[^<>]*>|\Z)", " ", text, flags=re.IGNORECASE | re.DOTALL)
    return html.unescape(re.sub(r"<[^<>]*>?", " ", text))
