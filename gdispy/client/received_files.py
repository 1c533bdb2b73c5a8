"""Files that a job sends to its client (`dispy_send_file`, or those that a program returns): written below the client's
working directory, or below another directory that is chosen for the job.

Requests arrive in the hub; files are written outside of it.

Invariants:
1. A file exists completely, with the announced contents, or not at all.
2. Files are written only below that directory: symbolic links are never followed, even if created meanwhile.
3. Existing files are not replaced, except those that this process received the same way and that were not changed
   since, and if the user has allowed it (`overwrite`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import BinaryIO, NamedTuple

from gdispy.buffers.memory_file import DIGEST_BYTES, digest_of_file
from gdispy.errors import ForkedError, ProtocolError
from gdispy.filesystem.no_follow import open_file, opened_folder
from gdispy.hub import Hub
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Upload
from gdispy.protocol.payload import Buffer, Bulk, bulk_size
from gdispy.protocol.rows import FileFields, FileRow
from gdispy.protocol.safe_path import safe_parts

#: Bytes copied at once.
_PIECE = 1 << 20


class _Version(NamedTuple):
    """Identifies a file and its state."""

    device: int
    inode: int
    size: int
    modified: int


#: The files that this process has received: (device and inode of the folder, name) -> the version written there.
_received: dict[tuple[int, int, str], _Version] = {}
#: Several clusters may receive files with the same name.
_storing = threading.Lock()


def store(root: str, row: FileFields, content: Bulk, overwrite: bool = False, for_all: bool = False) -> str:
    """Write a file to its path below `root`; returns the error, or ''. `row` as in `Prepare.files`. With `for_all`, the
    group and others get the permissions of the owner, as far as the umask allows."""
    path, mode, modified, size, digest = FileRow._make(row)
    if bulk_size(content) != size:
        return _changed(path)
    if len(digest) != DIGEST_BYTES:
        return f"the file {path} came without a digest of its contents"
    mode &= 0o700
    if for_all:
        mode |= mode >> 3 | mode >> 6
    row = [path, mode, modified, size, digest]
    try:
        parts = safe_parts(path)
        with opened_folder(root, parts[:-1], 0o777) as folder, _storing:
            return _write(folder, parts[-1], row, content, overwrite)
    except ProtocolError as error:
        return str(error)
    except NotADirectoryError:
        return f"the file {path} would leave the client's directory, or a file is in the way: a folder is needed there"
    except OSError as error:
        return f"the file {path} cannot be written at the client: {error.strerror}"


def _changed(path: str) -> str:
    return f"the file {path} changed while it was sent"


def _write(folder: int, name: str, row: FileFields, content: Bulk, overwrite: bool) -> str:
    """Write a file under a temporary name first; returns the error, or ''. Raises OSError."""
    path, mode, modified, _, digest = FileRow._make(row)
    draft = f".gdispy-{secrets.token_hex(8)}"
    # The kernel applies the umask: a process cannot read it without changing it.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(draft, flags, mode, dir_fd=folder)
    try:
        with open(fd, "wb") as file:
            if _copy(content, file) != digest:
                return _changed(path)
            file.flush()
            os.utime(file.fileno(), (modified, modified))
            return _give_name(folder, draft, name, row, overwrite, os.fstat(file.fileno()))
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=folder)


def _give_name(folder: int, draft: str, name: str, row: FileFields, overwrite: bool, about: os.stat_result) -> str:
    key = (*_place(os.fstat(folder)), name)
    known = _received.get(key)
    if overwrite or (known is not None and known == _version(folder, name)):
        os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    elif not _named_anew(folder, draft, name):
        if _has_contents(folder, name, row):
            return ""
        return (
            f"the file {FileRow._make(row).path} already exists at the client and was not sent by a job of this "
            "program: remove or rename it, or create the cluster with overwrite=True"
        )
    _received[key] = _as_version(about)
    return ""


def _named_anew(folder: int, draft: str, name: str) -> bool:
    """Give a file its final name if that is free. Raises OSError."""
    try:
        os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError:  # A file system without hard links: reserve the name, then move the file to it.
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder))
        except FileExistsError:
            return False
        os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    return True


def _version(folder: int, name: str) -> _Version | None:
    try:
        about = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return _as_version(about) if stat.S_ISREG(about.st_mode) else None


def _as_version(about: os.stat_result) -> _Version:
    return _Version(*_place(about), about.st_size, about.st_mtime_ns)


def _place(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino


def _has_contents(folder: int, name: str, row: FileFields) -> bool:
    """Whether the existing file has the received contents, as after a restart of this program."""
    try:
        with open(open_file(folder, name), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode) or about.st_size != FileRow._make(row).size:
                return False
            return bool(digest_of_file(file) == FileRow._make(row).digest)
    except OSError:
        return False


def _copy(content: Bulk, file: BinaryIO) -> bytes:
    """Write the received contents; returns their digest."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for piece in _pieces(content):
        file.write(piece)
        digest.update(piece)
    return digest.digest()


def _pieces(content: Bulk) -> Iterator[Buffer]:
    if isinstance(content, bytes):
        yield content
        return
    offset = 0
    while offset < content.size:
        piece = content.read(offset, _PIECE)
        if not len(piece):
            return
        yield piece
        offset += len(piece)


class Destination(NamedTuple):
    """Where a file goes."""

    #: The directory below which it has its path.
    root: str = os.curdir
    #: Whether it may replace any file.
    replaces: bool = False
    #: Whether it is for the group and others, too, as far as the umask allows.
    for_all: bool = False


class ReceivedFiles:
    """The files that the jobs of one cluster send. Accepted in the hub, and written outside of it."""

    def __init__(self, hub: Hub, answer: Callable[[JobId, int, int, str], None], overwrite: bool = False) -> None:
        """With `overwrite`, any file may be replaced."""
        self._hub = hub
        #: Called in the hub with job, attempt and number of a file, and the error, or ''.
        self._answer = answer
        #: Called outside the hub with the job and the path of a file. May raise OSError.
        self.destination: Callable[[JobId, str], Destination] = lambda job, path: Destination(replaces=overwrite)
        #: The files written: (job, attempt, number).
        self._stored: set[tuple[int, int, int]] = set()

    def take(self, upload: Upload) -> None:
        """Write a file below the working directory, once, even if it is sent again after a connection loss."""
        if (upload.job, upload.attempt, upload.number) in self._stored:
            self._answer(upload.job, upload.attempt, upload.number, "")
            return
        # In a greenlet, since a patched program starts the runner of callbacks by waiting for it.
        self._hub.spawn(self._store_outside, upload)

    def _store_outside(self, upload: Upload) -> None:
        self._hub.prepare_callbacks()
        self._hub.call_back(self._store, upload)

    def _store(self, upload: Upload) -> None:
        error = "no file arrived"
        if upload.files and upload.contents:
            error = self._write(upload)
        if not error:
            self._stored.add((upload.job, upload.attempt, upload.number))
        with contextlib.suppress(ForkedError):
            self._hub.post(self._answer, upload.job, upload.attempt, upload.number, error)

    def _write(self, upload: Upload) -> str:
        row = upload.files[0]
        path = FileRow._make(row).path
        try:
            where = self.destination(upload.job, path)
        except OSError as error:
            return f"the file {path} cannot be written at the client: {error}"
        return store(where.root, row, upload.contents[0], where.replaces, where.for_all)
