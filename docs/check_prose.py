"""Read the pages as a reader does whose first language is not English: `python docs/check_prose.py`.

Three readers: proselint, without its rules of typography; our list of words, `WORDS`; and the length of sentences. They read no
code, and not what a program prints.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from proselint.checks import __register__
from proselint.config import DEFAULT
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted(ROOT.glob("docs/*.md"))
LONGEST = 35
"""Words of a sentence, at most."""
WORDS = {
    r"\bwhoever\b": "name the actor",
    r"\bwhomever\b": "name the actor",
    r"\b(is|are|was|were|gets?) told\b": "say who tells whom, or use an active verb",
    r"\belsewhere\b": "name the place",
    r"\bbelongs? into\b": "goes into",
    r"\bat most so many\b": "say how many",
    r"\bin brackets: how many times better\b": "say what the number divides",
    r"\butili[sz]e[sd]?\b": "use",
    r"\bin order to\b": "to",
    r"\bprior to\b": "before",
    r"\bleverag(e|es|ed|ing)\b": "use",
    r"\bsimply\b": "leave it out",
    r"\bof course\b": "leave it out",
    r"\bobviously\b": "leave it out",
    r"\bthereof\b|\btherein\b|\bwhereby\b|\bhereby\b|\bherein\b": "use short words",
    r"\bseamless(ly)?\b|\bblazing(ly)?\b|\bpowerful\b|\bworld-class\b": "say a number in place of praise",
    r"\bneeds no more to\b": "need not",
    r"\bthe latter\b|\bthe former\b": "name it again",
    r"\betc\.": "say what else, or 'such as'",
}
"""What is not written here, as patterns, and what to do in its place."""
SILENT = ("typography", "lexical_illusions", "industrial_language.chatspeak")
"""Checks of proselint that are about print, or take names for faults: `B4` is a lesson's number here."""


def read(tokens: list[Token]) -> Iterator[tuple[int, str]]:
    """Yield the prose of a page, piece by piece, with the number of its line. Code is a word, `Code`."""
    line = 0
    for token in tokens:
        line = (token.map[0] + 1) if token.map else line
        if token.type != "inline" or not token.children:
            continue
        text = ""
        for part in token.children:
            if part.type == "text":
                text += part.content
            elif part.type == "code_inline":
                text += "Code"
            elif part.type in {"softbreak", "hardbreak"}:
                text += " "
        yield line, text


def sentences(text: str) -> list[str]:
    """Return the sentences of a piece. A semicolon ends one here: what it parts can be read one after the other."""
    return [sentence for sentence in re.split(r"(?<=[.!?])[)\"”]*\s+|;\s", text) if sentence.strip()]


def findings(path: Path) -> Iterator[str]:
    """Yield what is to be mended on a page."""
    name = path.relative_to(ROOT)
    pieces = list(read(MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))))
    for line, text in pieces:
        for pattern, instead in WORDS.items():
            for found in re.finditer(pattern, text, re.IGNORECASE):
                yield f"{name}:{line}: {found[0]!r}: {instead}"
        for sentence in sentences(text):
            words = re.findall(r"[\w'./-]*\w[\w'./-]*", sentence)
            if len(words) > LONGEST and not sentence.startswith("Versions:"):
                yield f"{name}:{line}: {len(words)} words in one sentence, {LONGEST} at most: {' '.join(words[:8])} …"
    # Each piece is a line for proselint.
    for result in LintFile(source=path, content="\n".join(text for _, text in pieces)).lint(DEFAULT):
        if not result.check_result.check_path.startswith(SILENT):
            yield f"{name}:{pieces[result.pos[0] - 1][0]}: {result.check_result.message}"


def main() -> int:
    """Read all pages, and say what is wrong."""
    registry = CheckRegistry()
    if not registry.checks:
        registry.register_many(__register__)
    found = [one for path in (list(map(Path.resolve, map(Path, sys.argv[1:]))) or PAGES) for one in findings(path)]
    print(*found, sep="\n")
    print(f"{len(found)} to mend on {len(PAGES)} pages")
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
