"""The parts that a node keeps of much output (`worker/output_capture.py`), with their places in it.

Pure.
"""

from __future__ import annotations

import re

_LEFT_OUT = re.compile(rb"\n\[gdispy: (\d+) bytes of output left out here\]\n")


def kept_parts(data: bytes, limit: int) -> list[tuple[int, bytes]]:
    """What was kept of a stream, of which `limit` bytes are kept, with the offsets in it: all, or the first and last
    parts."""
    first = limit - limit // 2
    note = _LEFT_OUT.match(data, first) if len(data) > limit else None
    if note is None:
        return [(0, data)]
    return [(0, data[:first]), (first + int(note[1]), data[note.end() :])]
