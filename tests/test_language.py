"""The wording of texts that users and readers see: phrases that plain technical English says otherwise."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Phrases -> what to write instead.
BANNED = {
    r"\bwhom\b": "name the client, node or scheduler",
    r"\b[Ww]hoever\b": "name the role: the client, the holder, the peer",
    r"\b(former|earlier|later) (life|lives)\b": "previous run, later run",
    r"\bso (many|much|long)\b(?! (that|as|more bytes|steps))": "a number, or the name of the parameter",
    r"\banother one\b": "another",
    r"\bof (its|their|his) own\b": "separate, private, new",
    r"\bby (itself|themselves|himself)\b": "automatically, alone",
    r"\b(comes?|coming|came) about\b": "occurs, is created",
    r"(?<!there )\b(is|are) no (host|file|journal|options file|address|port|name|pattern|program)\b": "is not a",
    r"\bin (the|its|their) place of\b": "instead of",
    r"\b(hears?|heard) (of|that|from|by)\b(?! for)": "receives, is notified",
    r"\b(has|have|had) been told\b": "is notified",
    r"\b[Ss]igns? of life\b": "heartbeat",
    r"\b(travels?|travelled)\b": "is sent",
    r"\b(gives?|given|giving) back\b": "returns, releases",
    r"\b(goes|go|going|went) on\b": "continues",
    r"\b[Nn]obody\b(?! else is in it)": "no process, no client, no user",
    r"\bmakes? no sense\b": "is invalid",
    r"(^|[;:,.] )[Ww]hat (runs|goes|comes|stands|arrives|came|travels)\b": "name the thing: running jobs, messages",
    r"\b([Mm]ade|[Cc]alled|[Uu]sed|[Dd]riven|[Rr]ead) (by|in|from) `[a-z_/]+\.py`": "docstrings do not name callers",
}
#: Pages of bytes.
PAGES_LEFT_OUT = {"protocol.md"}

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name not in PAGES_LEFT_OUT),
]
MODULES = sorted((ROOT / "gdispy").rglob("*.py"))


def texts_of_page(path: Path) -> Iterator[tuple[int, str]]:
    yield from enumerate(path.read_text().splitlines(), 1)


def texts_of_module(path: Path) -> Iterator[tuple[int, str]]:
    """Comments, docstrings and other string literals, line by line."""
    source = path.read_text()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for offset, line in enumerate(node.value.splitlines()):
                yield node.lineno + offset, line


@pytest.mark.parametrize("path", [*PAGES, *MODULES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_phrase_is_used_that_plain_english_says_otherwise(path: Path) -> None:
    lines = texts_of_module(path) if path.suffix == ".py" else texts_of_page(path)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0].strip()!r}: {advice}"
        for number, line in lines
        for phrase, advice in BANNED.items()
        for match in re.finditer(phrase, line)
    ]
    assert found == [], "\n" + "\n".join(found)
