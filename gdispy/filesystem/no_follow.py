"""Opens folders below a root without following symbolic links.

For paths that a peer has sent. A folder is an open descriptor, and all operations use that descriptor: renames and
replacements by others meanwhile have no effect."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

#: Search permission for a folder is enough, if the system supports that.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


@contextlib.contextmanager
def opened_folder(root: str, parts: Sequence[str], mode: int = -1) -> Iterator[int]:
    """The descriptor of the folder with this path below `root`; with `mode`, missing folders are created.

    Raises NotADirectoryError if a symbolic link, or anything else than a folder, is on the path, and OSError.
    """
    fd = os.open(root, _FOLDER)
    try:
        for part in parts:
            if mode >= 0:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, mode, dir_fd=fd)
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def open_file(folder: int, name: str) -> int:
    """A descriptor for reading the file of this name, unless it is a symbolic link. Raises OSError."""
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=folder)
