"""Takes secrets out of text that someone else wrote, such as an error page that echoes the request.

It knows the secrets and nothing else; its maker decides what is a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

__all__ = ["MASK", "Masker", "OwnWordsMasker", "one_line", "secrets_of", "shorten", "tidy"]

MASK = "[hidden]"
"""What stands where a secret was."""
_LOOKED_AT = 64
"""So many times as much of a text is looked at as is shown of it: to tidy a text takes eight times its size, and more."""

_ALWAYS_ITSELF = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
"""What URLs, HTML, JSON and Python write as it is."""
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;", " ": "+"}
_SHORT_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\b": r"\b", "\f": r"\f"}
_CHARS = re.compile(r"\\+|[^\\]", re.DOTALL)
_TELLING = 8
"""So many characters of a secret, at the end of a text that was cut there, are taken for its beginning."""
_BEGINNING = 12
"""So many of the first characters of a secret are taken for its beginning wherever they stand: the peer may have cut it off."""
_ORDINARY = re.compile(r"[A-Za-z_.\- ]{0,15}|.{0,7}", re.DOTALL)

_FEW = 6
"""A header of fewer characters is no secret, and masking it would mask half of any text."""


def secrets_of(headers: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield what must not be shown of headers that we send: each value, and what stands behind its scheme."""
    for _, value in headers:
        for part in (value, value.partition(" ")[2]):
            if len(part) >= _FEW:
                yield part


class Masker:
    """Replaces secrets, as they are and as URLs, HTML, JSON and Python write them, in any mixture and in any case.

    Args:
        secrets: the secrets; empty ones are left out.
        only_in_text: more of them, which may be ordinary words too: in data they stay.
    """

    __slots__ = ("__weakref__", "_cut", "_needles", "_pattern", "_secrets", "_strong")

    def __init__(self, secrets: Iterable[str], only_in_text: Iterable[str] = ()) -> None:
        everywhere = _longest_first(secrets)
        strong = [secret for secret in everywhere if not _ORDINARY.fullmatch(secret)]
        self._secrets = _longest_first([*everywhere, *only_in_text])
        self._pattern = _compile(self._secrets)
        self._strong = _compile(strong)
        self._cut = [secret for secret in strong if len(secret) > _BEGINNING]
        self._needles = [_needle(secret) for secret in strong]

    def __call__(self, text: str) -> str:
        """Return a text without them, and without a beginning of one that was cut off: a short one only at the end."""
        if self._pattern is None or not text:
            return text
        text = self._pattern.sub(MASK, text)
        for secret in self._cut:
            text = _without_beginning(text, secret)
        cut = max(_overlap(text, secret) for secret in self._secrets)
        return text[: len(text) - cut] + MASK if cut else text

    def content(self, data: bytes) -> bytes:
        """Return data, such as the body of an answer, without them.

        One that is short, or an ordinary word, stays: nothing distinguishes it from a name or a key that is the same by
        chance, and what would be left could not be understood.

        Args:
            data: text in UTF-8 or Latin-1, or anything.
        """
        if self._strong is None:
            return data
        lower = data.lower()
        if not any(needle in lower for needle in self._needles):
            return data
        return self._strong.sub(MASK, data.decode("latin-1")).encode("latin-1")

    def __repr__(self) -> str:
        return "<Masker>"


class OwnWordsMasker:
    """Replaces secrets in texts of this program's own, in which others' may stand.

    A short secret, or one that is an ordinary word, is by chance a part of our own words, as the token `s` is of `settings`.
    Inside a word it tells nothing, so it is replaced only where it stands by itself.

    Args:
        secrets: the secrets; empty ones are left out.
    """

    __slots__ = ("_alone", "_strong")

    def __init__(self, secrets: Iterable[str]) -> None:
        found = _longest_first(secrets)
        self._strong = Masker(secret for secret in found if not _ORDINARY.fullmatch(secret))
        alone = _compile([secret for secret in found if _ORDINARY.fullmatch(secret)])
        self._alone = None if alone is None else re.compile(rf"(?<!\w)(?:{alone.pattern})(?!\w)", re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """Return a text without them."""
        text = self._strong(text)
        return text if self._alone is None else self._alone.sub(MASK, text)

    def __repr__(self) -> str:
        return "<OwnWordsMasker>"


def _longest_first(secrets: Iterable[str]) -> list[str]:
    """Return each secret once, with and without the blanks around it. One may be the beginning of another, which comes first."""
    found = {form for secret in secrets for form in (str(secret), str(secret).strip())}
    return sorted(found - {""}, key=len, reverse=True)


def _compile(secrets: list[str]) -> re.Pattern[str] | None:
    if not secrets:
        return None
    return re.compile("|".join("".join(map(_spellings, _CHARS.findall(secret))) for secret in secrets), re.IGNORECASE)


def _spellings(char: str) -> str:
    """Return a pattern of all ways in which a character, or a row of backslashes, is written."""
    if char in _ALWAYS_ITSELF:
        return re.escape(char)
    if char[0] == "\\":
        # In one piece: a piece for each of them would have to be tried in all lengths.
        count = len(char)
        return rf"(?:\\{{{count},{9 * count}}}|(?:%5c|&#92;|&#x5c;|\\{{0,9}}(?:x5c|u005c)){{{count}}})"
    # JSON in JSON, and a repr in a repr, double each backslash.
    ways = [r"\\{0,8}" * way.startswith("\\") + re.escape(way) for way in dict.fromkeys(_ways(char))]
    return rf"(?:\\{{0,8}}{re.escape(char)}|{'|'.join(ways)})"


def _ways(char: str) -> Iterator[str]:
    code = ord(char)
    yield f"&#{code};"
    yield f"&#x{code:x};"
    for ways in (_ENTITIES, _SHORT_ESCAPES):
        if char in ways:
            yield ways[char]
    yield f"\\x{code:02x}"
    yield f"\\u{code:04x}"
    units = char.encode("utf-16-be", "surrogatepass")
    yield "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
    for encoding in ("utf-8", "latin-1"):
        coded = char.encode(encoding, "surrogatepass" if encoding == "utf-8" else "ignore")
        if coded:
            yield "".join(f"%{byte:02x}" for byte in coded)
            yield "".join(f"\\x{byte:02x}" for byte in coded)
            # Read in the other one's place.
            yield coded.decode("latin-1")
            yield coded.decode("utf-8", "replace")


def _needle(secret: str) -> bytes:
    """Return what stands, in lower case, in each way in which a secret is written; b"" where nothing does."""
    return max(re.findall(r"[A-Za-z0-9]+", secret), key=len, default="").lower().encode("ascii")


def _without_beginning(text: str, secret: str) -> str:
    """Return a text without what a secret begins with, as far as that is there."""
    beginning = secret[:_BEGINNING]
    kept: list[str] = []
    done = 0
    while (at := text.find(beginning, done)) >= 0:
        end = at + _BEGINNING
        while end < len(text) and end - at < len(secret) and text[end] == secret[end - at]:
            end += 1
        kept += [text[done:at], MASK]
        done = end
    return "".join([*kept, text[done:]])


def _overlap(text: str, secret: str) -> int:
    """Return how much of a text's end is a secret's beginning, if it is enough to tell something."""
    # What stands before a blank is a scheme.
    beginning = secret[: max(_TELLING, secret.find(" ") + 4)]
    end = text[1 - len(secret) :] if len(secret) > len(beginning) else ""
    at = end.find(beginning)
    while at >= 0:
        if secret.startswith(end[at:]):
            return len(end) - at
        at = end.find(beginning, at + 1)
    return 0


def tidy(text: str) -> str:
    """Make one printable line of a text: no line breaks, no terminal codes, nothing that turns the direction of writing."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(text.split())


def shorten(text: str, limit: int = 500) -> str:
    """Cut a text to so many characters, with a mark where it was cut."""
    return text if len(text) <= limit else text[: limit - 2] + " …"


def one_line(text: str, limit: int = 500) -> str:
    """Make one short printable line of a text, however long it is. What is to be hidden in it was hidden before."""
    looked_at = text[: _LOOKED_AT * limit]
    return shorten(tidy(looked_at) + (" …" if len(looked_at) < len(text) else ""), limit)
