"""Folders below a given one, reached without following a symbolic link.

Used where a peer says the path of a file: at the node (`execution/dependency_files.py`) and at the client
(`client/received_files.py`). A folder is an open descriptor, and what is done in it is done by that: what others rename
or replace meanwhile changes nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

#: A folder that may be searched, if not read, is enough, where the system has that.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


@contextlib.contextmanager
def opened_folder(root: str, parts: Sequence[str], mode: int = -1) -> Iterator[int]:
    """The descriptor of the folder with this path below `root`; with `mode`, what is not there is made.

    Raises NotADirectoryError where a symbolic link, or anything else but a folder, is on the way, and OSError.
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
    """A descriptor to read the file of this name, and not one that a symbolic link leads to. Raises OSError."""
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=folder)
