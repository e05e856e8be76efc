"""Takes secrets out of text that someone else wrote, such as an error page that echoes the request.

It knows the secrets and nothing else; what is a secret is decided by whoever makes it.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

__all__ = ["MASK", "Masker", "one_line", "shorten", "tidy"]

MASK = "[hidden]"
"""What stands where a secret was."""
_LOOKED_AT = 64
"""So many times as much of a text is looked at as is shown of it: to tidy a text takes eight times its size, and more."""


class Masker:
    """Replaces secrets, as they are and as URLs, HTML and JSON write them.

    Args:
        secrets: the secrets; empty ones are left out.
    """

    __slots__ = ("_pattern",)

    def __init__(self, secrets: Iterable[str]) -> None:
        forms: set[str] = set()
        for secret in secrets:
            if secret:
                forms |= {secret, quote(secret, safe=""), quote_plus(secret), html.escape(secret), json.dumps(secret)[1:-1]}
                forms |= {secret.strip(), json.dumps(secret, ensure_ascii=False)[1:-1]}
        forms.discard("")
        # A secret may begin with another one, which then comes later.
        alternatives = "|".join(re.escape(form) for form in sorted(forms, reverse=True))
        self._pattern = re.compile(alternatives) if alternatives else None

    def __call__(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def __repr__(self) -> str:
        return "<Masker>"


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
