"""Command lines as text that a shell reads back as the same words, in one line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

#: Characters of arguments in a message.
MESSAGE_LIMIT = 200
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPES = {"\n": r"\n", "\t": r"\t", "\r": r"\r", "\\": r"\\", "'": r"\'"}


def quoted(words: Sequence[str]) -> str:
    """The words, quoted where necessary. A word with control characters is written as $'...', as in bash."""
    return " ".join(_quoted(word) for word in words)


def shortened(words: Sequence[str]) -> str:
    """The beginning of the words, for messages."""
    return cut(quoted(words), MESSAGE_LIMIT)


def cut(text: str, limit: int) -> str:
    """The beginning of a text, for messages."""
    return text if len(text) <= limit else f"{text[:limit]} ..., {len(text):,} characters in all"


def _quoted(word: str) -> str:
    if not _CONTROLS.search(word):
        return shlex.quote(word)
    return "$'" + re.sub(r"[\x00-\x1f\x7f\\']", _escaped, word) + "'"


def _escaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0], f"\\x{ord(match[0]):02x}")
