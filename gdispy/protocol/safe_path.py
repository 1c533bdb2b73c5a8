"""Checks file names that a peer sends: which are safe to join to a local directory.

Pure.
"""

from __future__ import annotations

from gdispy.errors import ProtocolError

#: Maximum size of a path, and of each part, in bytes.
PATH_LIMIT = 1024
PART_LIMIT = 255
#: Names reserved by gdispy.
RESERVED = ".gdispy"


def safe_parts(path: str) -> list[str]:
    """The parts of a relative path that stays below its base.

    Raises ProtocolError, naming the path, for an absolute path, for `..`, for names that have a special meaning on some
    systems, and for names that are too long.
    """
    parts = path.split("/")
    if not path or len(path.encode("utf-8", "surrogatepass")) > PATH_LIMIT:
        raise ProtocolError(f"a file name is empty or too long: {path[:80]!r}")
    for part in parts:
        if part in ("", ".", "..") or part.startswith(RESERVED):
            raise ProtocolError(f"not a name for a file here: {path!r}")
        if len(part.encode("utf-8", "surrogatepass")) > PART_LIMIT:
            raise ProtocolError(f"a file name is too long: {path[:80]!r}")
        if any(ord(char) < 32 or char in "\\:\x7f" or 0xD800 <= ord(char) < 0xE000 for char in part):
            raise ProtocolError(f"a character of this file name is not allowed: {path!r}")
    return parts
