"""Gateways by name, in a file of the user's: what stands there of one of them, and where the file is.

The one idea: no secret stands in the file, which is copied, shown and kept in repositories: it says where each is. What one
setting must be stands in `values`; here is decided what the file's keys mean.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import attrs

from .._errors import ConfigProblem, InvalidInputError
from .._secret import Secret
from . import values

__all__ = ["REFERENCES", "FileEntry", "gateways_file", "read_entry", "read_file", "readable_by_all"]

_VARIABLE: Final = "TRIO_GATEWAY_FILE"
_SECRETS: Final[Mapping[str, str]] = {
    "auth_token": "token",
    "token": "token",
    "http_pwd": "http_pwd",
    "password": "http_pwd",
    "headers": "headers",
}
"""What must not stand in the file, and how what says where it is begins."""
_SETTING_OF: Final[Mapping[str, str]] = {"token": "auth_token", "http_pwd": "http_pwd", "headers": "headers"}
REFERENCES: Final[Mapping[str, tuple[str, str]]] = {
    f"{start}_{kind}": (setting, kind) for start, setting in _SETTING_OF.items() for kind in ("env", "file")
}
"""The keys that say where a secret is: the setting that it is, and whether in a variable or in a file."""
_PATHS: Final = frozenset({"client_key", "client_cert", "ca_certs"})
_MOST: Final = 1 << 20
"""The largest file that is read, in bytes."""


@attrs.frozen(kw_only=True)
class FileEntry:
    """What the file says of one gateway."""

    name: str
    """Its name."""
    settings: Mapping[str, tuple[str, Any]] = attrs.field(repr=False)
    """Each setting: the key that says it, and its value, with secrets fetched."""
    unknown: tuple[str, ...]
    """Keys that say nothing that is known here: settings, or nothing."""
    problems: tuple[ConfigProblem, ...]
    """What is wrong with it."""
    warnings: tuple[str, ...]
    """What its owner should know."""
    source: str
    """Where it stands, for errors: a key follows."""


def gateways_file(environ: Mapping[str, str]) -> Path:
    """Return where the file is, whether it is there or not.

    It is what `TRIO_GATEWAY_FILE` names, or else `trio-gateway/gateways.toml` in the user's folder of configurations:
    `$XDG_CONFIG_HOME`, else `%APPDATA%` on Windows, `~/Library/Application Support` on macOS, and `~/.config` elsewhere.

    Args:
        environ: the environment.
    """
    if named := environ.get(_VARIABLE, "").strip():
        return Path(named).expanduser()
    folder = environ.get("XDG_CONFIG_HOME", "")
    if not Path(folder).is_absolute():  # the specification: another one is to be ignored
        folder = environ.get("APPDATA", "") if sys.platform == "win32" else ""
    if not folder:
        folder = "~/Library/Application Support" if sys.platform == "darwin" else "~/.config"
    return Path(folder).expanduser() / "trio-gateway" / "gateways.toml"


def read_file(path: Path) -> Mapping[str, Mapping[str, object]]:
    """Return all gateways of the file, each with what stands below its name, unchecked. What is no text there hides nothing.

    Raises:
        InvalidInputError: it can't be read, is no TOML, or has something else in it than gateways.
    """
    problem, found = _parse(path)  # not raised there, where a local holds the file's text
    if problem:
        raise InvalidInputError("file", str(path), problem)
    return found


def _parse(path: Path) -> tuple[str, dict[str, Mapping[str, object]]]:
    import tomllib  # only where a gateway has a name

    expected = "a file of gateways in TOML"
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        return f"{expected} ({getattr(error, 'strerror', None) or error})", {}
    if len(data) > _MOST:
        return f"{expected}, of at most {_MOST} bytes", {}
    try:
        tables = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return f"{expected}, in UTF-8", {}
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return f"{expected} ({error})", {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            return f"{expected}, each below its name: {name} stands above the first line such as [prod]", {}
    return "", tables


def read_entry(name: str, path: Path, environ: Mapping[str, str]) -> FileEntry:
    """Return what the file says of one gateway, with the secrets that it refers to.

    Args:
        name: the gateway's name.
        path: the file.
        environ: the environment, for the variables that the file names.

    Raises:
        InvalidInputError: the file can't be used, or has no gateway of this name.
    """
    if not isinstance(name, str) or not name:
        raise InvalidInputError("gateway", name, "the name of a gateway")
    if not path.exists():
        raise InvalidInputError(
            "gateway", name, f'a name that stands in {path}, which does not exist: write [{name}] there, and below it url = "…"'
        )
    tables = read_file(path)
    if name not in tables:
        import difflib  # only for a typing error

        known = sorted(tables)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        told = f"{near[0]}, or another one" if near else (", ".join(known[:20]) or "none yet")
        raise InvalidInputError("gateway", name, f"a gateway of {path}: {told}")
    return _Reader(name, path, environ).read(tables[name])


class _Reader:
    """Reads one gateway's table: what is wrong is gathered, not raised, so that all of it is told at once."""

    def __init__(self, name: str, path: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        self._name = name
        self._environ = environ
        self._source = f"{path}: {name}."
        self._problems: list[ConfigProblem] = []
        self._warnings: list[str] = []
        self._settings: dict[str, tuple[str, Any]] = {}

    def read(self, table: Mapping[str, object]) -> FileEntry:
        unknown: list[str] = []
        for key, value in table.items():
            if key in REFERENCES:
                self._fetch(key, value)
            elif key in _SECRETS:
                self._wrong(key, _by_reference(_SECRETS[key]))
            elif key in ("url", "ws_url") and _has_login(value):
                self._wrong(key, f'a URL without user name and password: http_user = "NAME", and {_by_reference("http_pwd")}')
            elif key in _PATHS and isinstance(value, str) and not values.holds_pem(value):
                self._settings[key] = key, str(self._file(value))
            else:
                self._settings[key] = key, value
                unknown.append(key)
        if "token_command" in table and _mode(self._path) & 0o002:
            self._warnings.append(
                f"{self._path} can be written by everybody, who could have it run commands as you: chmod o-w takes that away"
            )
        return FileEntry(
            name=self._name,
            settings=self._settings,
            unknown=tuple(unknown),
            problems=tuple(self._problems),
            warnings=tuple(self._warnings),
            source=self._source,
        )

    def _wrong(self, key: str, expected: str) -> None:
        self._problems.append(ConfigProblem(key, None, expected, f"{self._source}{key}"))

    def _fetch(self, key: str, value: object) -> None:
        setting, kind = REFERENCES[key]
        if setting in self._settings:
            self._wrong(key, f"only one of {self._settings[setting][0]} and {key}")
        elif not isinstance(value, str) or not value:
            self._wrong(key, "the name of a variable" if kind == "env" else "the path of a file")
        elif kind == "env":
            found = self._environ.get(value, "").strip()
            if found:
                self._settings[setting] = key, Secret(found)
            else:
                self._wrong(key, f"a variable that is set, unlike {value[:100]}")
        else:
            self._read(key, setting, self._file(value))

    def _read(self, key: str, setting: str, path: Path) -> None:
        why = ""
        found = Secret("")
        try:
            with path.open("rb") as file:
                found = Secret(file.read(_MOST).decode("utf-8").strip())
        except UnicodeDecodeError:
            why = "it is no UTF-8 text"
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "the path has a NUL"
        if why or not found:
            self._wrong(key, f"a file that holds it, and nothing else ({path}: {why or 'it is empty'})")
            return
        self._settings[setting] = key, found
        if warning := readable_by_all(path):
            self._warnings.append(warning)

    def _file(self, value: str) -> Path:
        """A path of the file's: relative ones are relative to the folder that it is in."""
        return self._path.parent / Path(value).expanduser()


def readable_by_all(path: Path) -> str:
    """Say so where everybody on this machine may read a file that holds a secret; `""` where not."""
    return (
        f"{path} holds a secret, and everybody on this machine can read it: chmod o-r takes that away"
        if _mode(path) & 0o004
        else ""
    )


def _mode(path: Path) -> int:
    if os.name != "posix":
        return 0
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _has_login(value: object) -> bool:
    texts = cast("list[object]", value) if isinstance(value, list) else [value]
    urls = [url for text in texts if isinstance(text, str) for url in text.split(",")]
    return any("@" in url.partition("://")[2].partition("/")[0] for url in urls)


def _by_reference(start: str) -> str:
    command = ', or token_command = ["COMMAND", …]' if start == "token" else ""
    return f'where it is, for no secret stands in this file: {start}_env = "VARIABLE" or {start}_file = "PATH"{command}'
