"""How one setting's value is read: from what was given to what is kept, or to a sentence that says what would be right.

A reader is a function of one value; it knows neither its setting's name nor any other setting. Reading what has been read changes
nothing. Text from the environment becomes a value by one of the `*_in_text` functions first. The only look outside is whether a
file exists.
"""

from __future__ import annotations

import ipaddress
import json
import math
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias, cast
from urllib.parse import quote, unquote, urlsplit

import attrs

from .._secret import Secret
from .._tokens import TokenRenewer

__all__ = [
    "BadValue",
    "InText",
    "Origin",
    "Reader",
    "SplitURL",
    "addresses",
    "as_it_is",
    "base_path",
    "boolean",
    "boolean_in_text",
    "command",
    "credential",
    "existing_file",
    "existing_file_or_directory",
    "header_name",
    "header_name_problem",
    "header_value",
    "header_value_problem",
    "headers",
    "hidden_url",
    "holds_pem",
    "names",
    "number",
    "number_in_text",
    "one_of",
    "optional",
    "origins_of",
    "plain_text",
    "renewer",
    "renewer_class",
    "scheme",
    "scheme_in_text",
    "split_url",
    "token",
    "websocket_urls",
    "whole",
    "whole_in_text",
]

Reader: TypeAlias = Callable[[object], Any]
"""Gives what is kept for a value, or raises BadValue."""

InText: TypeAlias = Callable[[str], object]
"""Gives the value that a variable's text means; the text itself where it means none, for the reader to refuse."""

Origin: TypeAlias = tuple[str, str, int]
"""Scheme, host in lower case and port: what decides whether two URLs mean the same server."""


class BadValue(Exception):
    """A value can't be used; the message is what would be right, as the end of the sentence "expected …". It stays in here."""


# ------------------------------------------------------------------------------------------------------ numbers, yes and no


def number(*, zero: bool = False, infinite: bool = False) -> Reader:
    """Make a reader of seconds.

    Args:
        zero: whether 0 is right too.
        infinite: whether infinity is right too.
    """
    expected = "a number of seconds, " + ("0 or more" if zero else "more than 0") + (", or inf for no limit" if infinite else "")

    def read(value: object) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise BadValue(expected)
        try:
            found = float(value)
        except OverflowError:
            raise BadValue(expected) from None
        # Written so that NaN, which compares false with everything, fails too.
        if not (found > 0 or (zero and found == 0)) or (math.isinf(found) and not infinite):
            raise BadValue(expected)
        return found

    return read


def whole(unit: str, *, minimum: int) -> Reader:
    """Make a reader of whole numbers.

    Args:
        unit: what is counted, in the plural.
        minimum: the smallest number that is right.
    """
    # What an index or a count of bytes may be: more is a typing error, and some libraries below can't take it.
    maximum = 2**63 - 1
    expected = f"a whole number of {unit}, {minimum} or more"

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise BadValue(expected)
        return int(value)

    return read


def boolean(value: object) -> bool:
    """Read yes or no."""
    if not isinstance(value, bool):
        raise BadValue("True or False (in the environment yes, true, on, 1, or no, false, off, 0, in any case)")
    return value


# float() and int() also take "1_000" and the digits of every script: in an environment those are typing errors.
_FLOAT = re.compile(r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|inf(inity)?)", re.ASCII | re.IGNORECASE)
_INT = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_BOOLEANS = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


def number_in_text(text: str) -> object:
    """Give the number that a variable's text means."""
    return float(text) if _FLOAT.fullmatch(text.strip()) else text


def whole_in_text(text: str) -> object:
    """Give the whole number that a variable's text means."""
    return int(text) if _INT.fullmatch(text.strip()) else text


def boolean_in_text(text: str) -> object:
    """Give the yes or no that a variable's text means."""
    return _BOOLEANS.get(text.strip().lower(), text)


def scheme_in_text(text: str) -> object:
    """Give the scheme that a variable's text means: nothing and the word None both mean no scheme."""
    return None if text.strip().lower() in {"", "none"} else text


# ------------------------------------------------------------------------------------------------------------------ text


def _text(value: object, expected: str) -> str:
    """A string that can be encoded: what can't came out of an environment with broken bytes."""
    if not isinstance(value, str):
        raise BadValue(expected)
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise BadValue(f"{expected}, of characters that UTF-8 can encode")
    return value


def _has_controls(text: str) -> bool:
    return any(char < " " or "\x7f" <= char <= "\x9f" for char in text)


def plain_text(value: object) -> str:
    """Read text of one line that is not empty."""
    expected = "text that is not empty and has no control characters"
    text = _text(value, expected)
    if not text or _has_controls(text):
        raise BadValue(expected)
    return text


def credential(*, colon: bool) -> Reader:
    """Make a reader of a user name or password for HTTP basic authentication (RFC 7617).

    Args:
        colon: whether a colon may be in it: a password may, a user name may not.
    """
    expected = "text without control characters" + ("" if colon else " and without a colon")

    def read(value: object) -> str:
        text = _text(value, expected)
        if _has_controls(text) or (not colon and ":" in text):
            raise BadValue(expected)
        return text

    return read


def as_it_is(value: object) -> Any:
    """Read what another function has read already."""
    return value


def optional(reader: Reader) -> Reader:
    """Make a reader that lets None through."""

    def read(value: object) -> Any:
        return None if value is None else reader(value)

    return read


def one_of(*choices: str) -> Reader:
    """Make a reader of one of a few words."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise BadValue(" or ".join(f'"{choice}"' for choice in choices))
        return value

    return read


def names(value: object) -> tuple[str, ...]:
    """Read names of environment variables: text with commas between them, or an iterable of names."""
    expected = "names of environment variables, with commas between them or as an iterable of texts"
    if isinstance(value, str):
        given: Sequence[object] = [part.strip() for part in value.split(",") if part.strip()]
    elif isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, Mapping)):
        given = list(cast("Iterable[object]", value))
    else:
        raise BadValue(expected)
    found: dict[str, None] = {}
    for name in given:
        if not isinstance(name, str) or not re.fullmatch(r"[^\s=\x00-\x1f\x7f-\x9f\ud800-\udfff]+", name):
            raise BadValue(f"{expected}; a name has no blanks, no = and no control characters")
        if "*" in name and name != "KERNEL_*":  # whose prefix is no other's: JUPYTER_* would be the gateway's token too
            raise BadValue(f"{expected}; only KERNEL_* stands for all that begin so")
        found[name] = None
    return tuple(found)


# --------------------------------------------------------------------------------------------------------------- headers

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Those that carry the connection itself: the HTTP and WebSocket engines write them, a second one would break the framing.
_OWN_HEADERS = frozenset(
    (
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "te",
        "trailer",
        "transfer-encoding",
        "content-length",
        "expect",
    )
)


def header_name_problem(name: str) -> str | None:
    """Say what a header's name must be, or None when `name` is right."""
    if not _TOKEN.fullmatch(name):
        return "a header's name: letters, digits and any of !#$%&'*+-.^_`|~"
    if name.lower() in _OWN_HEADERS or name.lower().startswith("sec-websocket-"):
        return "a header that the connection does not need for itself"
    return None


def header_value_problem(value: str) -> str | None:
    """Say what a header's value must be, or None when `value` is right.

    For tokens of a renewer too, which come after the configuration was read.
    """
    if any((char < " " and char != "\t") or char == "\x7f" for char in value):
        return "text without line breaks and other control characters"
    if any(char > "\xff" for char in value):
        return "text of Latin-1 characters only"
    if value != value.strip(" \t"):
        return "text without blanks at its ends"
    return None


def header_name(value: object) -> str:
    """Read one header's name."""
    if not isinstance(value, str):
        raise BadValue("a header's name")
    if problem := header_name_problem(value):
        raise BadValue(problem)
    return value


def header_value(value: object) -> str:
    """Read what stands in one header, the empty text included."""
    if not isinstance(value, str):
        raise BadValue("text")
    if problem := header_value_problem(value):
        raise BadValue(problem)
    return value


def token(value: object) -> str:
    """Read a token; None and the empty text are no token."""
    return "" if value is None else header_value(value)


def scheme(value: object) -> str | None:
    """Read what stands before a token; None and the empty text are nothing."""
    return None if value is None else header_value(value) or None


def headers(value: object) -> Mapping[str, str]:
    """Read headers: a mapping, or the text of a JSON object. The order stays."""
    expected = "a mapping of header names to texts, or the text of such a JSON object"
    given = value
    if isinstance(given, str):
        if not given.strip():
            return MappingProxyType({})
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            raise BadValue(expected) from None
    if not isinstance(given, Mapping):
        raise BadValue(expected)
    found: dict[str, str] = {}
    seen: set[str] = set()
    for name, content in cast("Mapping[object, object]", given).items():
        if not isinstance(name, str) or not isinstance(content, str):
            raise BadValue(expected)
        if problem := header_name_problem(name):
            raise BadValue(f"{expected}; as each name, {problem}")
        # The name is not secret: header names are shown wherever their values are hidden.
        if problem := header_value_problem(content):
            raise BadValue(f"{expected}; as the value of {name}, {problem}")
        if name.lower() in seen:
            raise BadValue(f"{expected}; {name} only once, since case makes no difference")
        seen.add(name.lower())
        found[name] = Secret.of(content)
    return MappingProxyType(found)


# ----------------------------------------------------------------------------------------------------------------- files


_ARMOUR = re.compile(r"-----BEGIN |LS0tLS1CRUdJTi")  # the second is the first in Base64, as Kubernetes keeps it


def holds_pem(value: object) -> bool:
    """Say whether a value is what stands in a file of PEM, perhaps a private key, in place of that file's path."""
    return isinstance(value, str) and _ARMOUR.search(value) is not None


def existing_file(value: object) -> str:
    """Read the path of a file that exists."""
    return _existing(value, "the path of a file that exists", Path.is_file)


def existing_file_or_directory(value: object) -> str:
    """Read the path of a file or directory that exists."""
    return _existing(value, "the path of a file or directory that exists", lambda path: path.is_file() or path.is_dir())


def _existing(value: object, expected: str, is_right: Callable[[Path], bool]) -> str:
    path = _path(value, expected)
    if holds_pem(path):
        raise BadValue(f"{expected}; this is what stands in such a file")
    try:
        found = is_right(Path(path))
    except OSError as error:
        raise BadValue(f"{expected} ({error.strerror})") from None
    if not found:
        raise BadValue(f"{expected} (relative paths start at {_cwd()})")
    return path


def _path(value: object, expected: str) -> str:
    path: object = os.fspath(cast("os.PathLike[str]", value)) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or not path:
        raise BadValue(expected)
    return path


def _cwd() -> str:
    try:
        return ascii(str(Path.cwd()))[1:-1]
    except OSError:  # it was deleted under us
        return "the working directory"


# ------------------------------------------------------------------------------------------------------------------ URLs


@attrs.frozen
class SplitURL:
    """A URL taken apart: what may be kept and shown, and what must not."""

    url: str
    """Scheme in lower case, host in ASCII, path escaped; no user information, no "/" at the end."""
    origin: Origin
    """The server that it means."""
    user: str | None = attrs.field(repr=False)
    """The user name in it."""
    password: str | None = attrs.field(repr=False)
    """The password in it."""


def split_url(value: object, schemes: Sequence[str] = ("http", "https")) -> SplitURL:
    """Read a URL.

    Args:
        value: what was given.
        schemes: the plain scheme and the one over TLS.

    Raises:
        BadValue: it is no such URL.
    """
    plain, secure = schemes
    example = f"{plain}://127.0.0.1:8888"
    expected = f"a URL such as {example}"
    text = _text(value, expected)
    if not text.isprintable() or " " in text or "\\" in text:
        raise BadValue(f"{expected}, without blanks, control characters and backslashes")
    if "://" not in text:
        raise BadValue(
            f"a URL that begins with its scheme, {plain}:// or {secure}://, such as {example}; this is a URL without a scheme"
        )
    try:
        parts = urlsplit(text)
        userinfo, _, _ = parts.netloc.rpartition("@")
        port = parts.port
        host = parts.hostname
    except ValueError:
        raise BadValue(f"{expected}; here the host or the port is wrong") from None
    if parts.scheme not in schemes:
        raise BadValue(f"a URL that begins with {plain}:// or {secure}://, such as {example}")
    if not host:
        raise BadValue(f"{expected}; here the host is missing")
    if port == 0 or parts.netloc.endswith(":"):
        raise BadValue(f"{expected}; a port is a number from 1 to 65535")
    _refuse_query(text)
    # As it was typed: parts.hostname is in lower case.
    typed = parts.netloc.rpartition("@")[2]
    typed = typed[: typed.rindex(":")] if port is not None else typed
    host = _host(typed)
    path = _escaped_path(parts.path)
    user, password = _userinfo(userinfo)
    netloc = host if port is None else f"{host}:{port}"
    default_port = 443 if parts.scheme == secure else 80
    return SplitURL(
        url=f"{parts.scheme}://{netloc}{path}",
        origin=(parts.scheme, _canonical(host), default_port if port is None else port),
        user=None if user is None else Secret(user),
        password=None if password is None else Secret(password),
    )


_BETWEEN = re.compile(r",\s*(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)  # a comma may also stand in a path


def _pieces(value: object) -> Sequence[object]:
    """The URLs in what was given: one, several in a text with commas between them, or a list of them."""
    if isinstance(value, str):
        pieces = _BETWEEN.split(value)
        if len(pieces) == 1:
            return [value]
        kind = Secret if isinstance(value, Secret) else str
        return [kind(piece.strip()) for piece in pieces]
    return cast("Sequence[object]", value) if isinstance(value, (list, tuple)) else [value]


def addresses(value: object, schemes: Sequence[str] = ("http", "https")) -> tuple[SplitURL, ...]:
    """Read the addresses of one gateway: a URL, several in a text with commas between them, or a list or tuple of URLs.

    Args:
        value: what was given.
        schemes: the plain scheme and the one over TLS.

    Raises:
        BadValue: one of them is no such URL, and it says which; or they don't go together.
    """
    pieces = _pieces(value)
    if not pieces:
        raise BadValue(f"at least one URL, such as {schemes[0]}://127.0.0.1:8888")
    found: list[SplitURL] = []
    for index, piece in enumerate(pieces):
        try:
            found.append(split_url(piece, schemes))
        except BadValue as error:
            raise BadValue(str(error) + _which(index, pieces)) from None
        same = next((other for other, one in enumerate(found[:-1]) if _place(one) == _place(found[-1])), None)
        if same is not None:
            raise BadValue(f"each address once; [{same}] and [{index}] are the same")
    if len({one.origin[0] for one in found}) > 1:
        # Else who can cut the encrypted one off gets to read the token.
        raise BadValue(f"addresses that all begin with {schemes[0]}://, or all with {schemes[1]}://")
    return tuple(found)


def _which(index: int, pieces: Sequence[object]) -> str:
    if len(pieces) > 1:
        return f"; this is about [{index}], number {index + 1} of {len(pieces)} addresses"
    return "; of several addresses, each begins with its scheme" if isinstance(pieces[0], str) and "," in pieces[0] else ""


def _place(one: SplitURL) -> tuple[Origin, str]:
    return one.origin, urlsplit(one.url).path


def websocket_urls(value: object) -> str:
    """Read the WebSocket URLs of a gateway's addresses, given as `addresses` takes them; with commas between them."""
    found = addresses(value, ("ws", "wss"))
    if any(one.user is not None for one in found):
        raise BadValue("a URL without a user name and password, which belong into http_user and http_pwd")
    return ",".join(one.url for one in found)


def origins_of(value: object) -> frozenset[Origin]:
    """Tell the servers that http or ws URLs mean, as http ones; of URLs that can't be used, none."""
    found: set[Origin] = set()
    for piece in _pieces(value):
        for schemes in (("http", "https"), ("ws", "wss")):
            try:
                kind, host, port = split_url(piece, schemes).origin
            except BadValue:
                continue
            found.add((kind.replace("ws", "http"), host, port))
    return frozenset(found)


def base_path(value: object) -> str:
    """Read the path of an endpoint: begins with "/", does not end with one."""
    expected = "a path such as /api/kernels"
    text = _text(value, expected)
    if not text.strip("/") or not text.isprintable() or " " in text or "\\" in text:
        raise BadValue(f"{expected}, not empty, without blanks, control characters and backslashes")
    if "://" in text or text.startswith("//"):
        raise BadValue(f"{expected}, without scheme and host: it is joined to the setting url")
    _refuse_query(text)
    return _escaped_path("/" + text.removeprefix("/"))


def hidden_url(text: str) -> str:
    """Give a URL, right or wrong, as it may be shown: user information, query and fragment are replaced.

    A wrong URL can be cut in more than one way, so more is hidden than may be needed.
    """
    found = re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE)
    start = found.group() if found else ""
    shown, query, behind = _partition_query(text[len(start) :])
    if "@" in behind:
        return f"{start}***"  # a password with a "?" in it, or a query with an "@"?
    if "@" in shown:
        shown = "***@" + shown.rpartition("@")[2]
    return f"{start}{shown}{query}{'***' if query else ''}"


def _partition_query(text: str) -> tuple[str, str, str]:
    found = re.search(r"[?#]", text)
    return (text, "", "") if found is None else (text[: found.start()], found.group(), text[found.end() :])


def _refuse_query(text: str) -> None:
    _, query, behind = _partition_query(text)
    if not query:
        return
    if re.search(r"(^|&)token=", behind, re.IGNORECASE):
        raise BadValue("a URL without a token, which belongs into the setting auth_token: URLs end up in logs")
    raise BadValue("a URL without a query and without a fragment")


def _host(typed: str) -> str:
    problem = "a URL whose host is a name, an IPv4 address, or an IPv6 address in brackets"
    if typed.startswith("["):
        try:
            ipaddress.IPv6Address(typed[1:-1])
        except ValueError:
            raise BadValue(problem) from None
        if "%" in typed:
            raise BadValue(f"{problem}, without a zone")
        return typed
    if not typed.isascii():
        import idna  # a big table, and most hosts are ASCII

        try:
            typed = idna.encode(typed, uts46=True).decode("ascii")
        except UnicodeError:  # which idna.IDNAError is
            raise BadValue(problem) from None
    labels = typed.removesuffix(".").split(".")
    if len(typed) > 253 or not all(re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", label) for label in labels):
        raise BadValue(problem)
    if labels[-1].isdigit():
        try:
            ipaddress.IPv4Address(typed)
        except ValueError:
            raise BadValue(problem) from None
    return typed


def _canonical(host: str) -> str:
    """One spelling for all that mean the same host."""
    return f"[{ipaddress.IPv6Address(host[1:-1])}]" if host.startswith("[") else host.lower().removesuffix(".")


def _escaped_path(path: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", path):
        raise BadValue("a path in which each % begins an escape such as %20")
    if any(unquote(segment) in (".", "..") for segment in path.split("/")):
        raise BadValue("a path without the segments . and ..")
    return quote(path, safe="/%:@!$&'()*+,;=~").rstrip("/")


def _userinfo(text: str) -> tuple[str | None, str | None]:
    expected = (
        "a URL whose user name and password are escaped UTF-8 without control characters, such as http://user:p%40ss@127.0.0.1"
    )
    user, colon, password = text.partition(":")
    try:
        user, password = unquote(user, errors="strict"), unquote(password, errors="strict")
    except UnicodeDecodeError:
        raise BadValue(expected) from None
    if ":" in user or _has_controls(user + password):
        raise BadValue(expected)
    if not user and not password:
        return None, None
    return user, password if colon else None


# -------------------------------------------------------------------------------------------------------- token renewers


def renewer_class(value: object) -> str | type[TokenRenewer]:
    """Read the class of a token renewer: itself, or its dotted name, which is not imported yet."""
    if isinstance(value, type) and callable(getattr(value, "get_token", None)):
        return value
    if isinstance(value, str):
        parts = value.strip().split(".")
        if len(parts) > 1 and all(part.isidentifier() for part in parts):
            return value.strip()
    raise BadValue("the dotted name of a class, such as package.module.Class, or a class with a method get_token")


def renewer(value: object) -> TokenRenewer:
    """Read a token renewer: anything with a method get_token."""
    if isinstance(value, type) or not callable(getattr(value, "get_token", None)):
        raise BadValue("an instance of a class with a method get_token")
    return cast("TokenRenewer", value)


def command(value: object) -> tuple[str, ...]:
    """Read a command: a list of its arguments, or text that is split into them as a shell would. No shell ever sees it.

    Its arguments may be secret, so all of it hides itself; who shows a setting shows the program.
    """
    expected = "a command: a list of its arguments, or text that is split as a shell would"
    given: list[object] = []
    if isinstance(value, str):
        try:
            given.extend(map(Secret, shlex.split(value)))
        except ValueError:
            raise BadValue(f"{expected}; here a quote is open at the end") from None
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        given.extend([Secret.of(part) if isinstance(part, str) else part for part in cast("Sequence[object]", value)])
    else:
        raise BadValue(expected)
    found = [part for part in given if isinstance(part, str) and "\0" not in part]
    if len(found) != len(given) or not found or not found[0].strip():
        raise BadValue(f"{expected}, each a text without NUL, the first the program")
    if len(found) == 1 and not isinstance(value, str) and " " in found[0] and not Path(found[0]).is_file():
        raise BadValue(f"{expected}; here a list has the whole command as one text")
    return tuple(found)
