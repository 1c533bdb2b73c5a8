"""Texts of jobs and of what they use, made fit to travel.

Floor 1: standard library.
"""

from __future__ import annotations

#: Bytes of the text of an exception, and of a text between the processes of a node, at most.
EXCEPTION_LIMIT = 512 * 1024
MESSAGE_LIMIT = 16 * 1024


def shortened(text: str, limit: int) -> str:
    """A text of so many bytes at most, its first and last parts where it is longer. What is no character, as in names
    of files from elsewhere, is shown by its number."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return data.decode()
    note = f"\n[... {len(data) - limit:,} bytes are left out here ...]\n"
    half = max(0, limit - len(note)) // 2
    first, last = data[:half].decode("utf-8", "ignore"), data[len(data) - half :].decode("utf-8", "ignore")
    return f"{first}{note}{last}"
