"""Names of files that a peer sends: which are safe to join to a directory of ours.

Pure.
"""

from __future__ import annotations

from gdispy.errors import ProtocolError

#: Bytes of a path, and of each part of it.
PATH_LIMIT = 1024
PART_LIMIT = 255
#: Names that gdispy uses itself.
RESERVED = ".gdispy"


def safe_parts(path: str) -> list[str]:
    """The parts of a relative path that stays below where it begins.

    Raises ProtocolError, naming the path, for an absolute one, for `..`, for names that some system
    takes for something else than a name, and for such as are too long.
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
