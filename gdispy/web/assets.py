"""The files of the page. All are read when the page is started, so no request can name any other file.

Any thread.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "assets"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """One file, as it is sent."""

    content: bytes
    kind: str
    #: The value of the header ETag.
    tag: str


def load() -> dict[str, Asset]:
    """The files by their paths in URLs; '/' is the page itself."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        kind = _TYPES.get(path.suffix)
        if kind is not None:
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[f"/{path.relative_to(FOLDER).as_posix()}"] = Asset(content, kind, tag)
    found["/"] = found["/index.html"]
    return found
