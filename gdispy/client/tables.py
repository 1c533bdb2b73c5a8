"""Tables of text, as the commands and `print_status` show them. Called in any thread."""

from __future__ import annotations

from collections.abc import Sequence


def format_table(
    rows: Sequence[Sequence[str]], separator: str, widths: Sequence[int] = (), align: str = ">"
) -> list[str]:
    """A line for each row, its cells aligned: '>' to the right, '<' to the left.

    `widths` are the least widths of the columns, in characters; without them a column is as wide as its widest cell.
    The last column is not padded where it is aligned to the left, or has no width.
    """
    if not rows:
        return []
    count = len(rows[0])
    wide = list(widths) or [max(len(row[column]) for row in rows) for column in range(count)]
    wide += [0] * (count - len(wide))
    if align == "<":
        wide[-1] = 0
    return [
        separator.join(f"{cell:{align}{width}}" for cell, width in zip(row, wide, strict=True)).rstrip() for row in rows
    ]


def count(number: int, word: str) -> str:
    """A number with its noun."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
