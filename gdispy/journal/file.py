"""A journal: facts in one file, appended, that persists when the process that writes it ends.

Used by clients (in the user's thread and the hub), schedulers and nodes. `rules/history/facts.py` defines the facts,
`format.py` their bytes in the file.

Invariants:
1. After an append, promises may be made: when the process dies, the system still has all that was written. `sync`
   protects against the death of the machine, and is done once a second, outside the loop.
2. A fact that could not be written is kept in memory and written first when there is room again; `stuck` reports
   this, and a promise has to wait for it.
3. The file belongs to one process at a time, and to no other user of the machine.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import shutil
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping

import gevent

from gdispy import config
from gdispy.buffers.native import write_short
from gdispy.errors import JournalError
from gdispy.journal.format import (
    HEAD,
    HEADER_BYTES,
    MAGIC,
    Reading,
    arrays,
    first_record,
    pack_plain,
    packed,
    read,
    read_open,
    records,
)
from gdispy.journal.locked_file import open_locked
from gdispy.protocol.ids import ComputationId, Instance
from gdispy.protocol.message import Message
from gdispy.protocol.messages import Release
from gdispy.protocol.payload import Buffer
from gdispy.rules.history.facts import Began
from gdispy.runtime.greenlets import keep_running

logger = logging.getLogger("gdispy")

#: Seconds after which deferred facts are written; and the number of such intervals after which the system's memory
#: is written to the disk, and failed writes are repeated.
FLUSH_INTERVAL = 0.1
SYNC_TURNS = 10
#: Whether the disk is written at all; without it, only the death of the machine costs more.
syncs = os.environ.get("GDISPY_JOURNAL_SYNC", "1") != "0"
#: Pieces in one write: the system accepts 1024 at most.
_PIECES = 1000
#: Records of up to this number of bytes are written without releasing the GIL, which would return 5 ms later.
SHORT = 64 * 1024


def boot_name() -> str:
    """A name for the time since this machine was started, or '' if the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


class Journal:
    """An open journal. `append` may be called in any thread."""

    def __init__(self, path: str) -> None:
        self._fd = -1
        self.path = path
        #: Bytes in the file, and the crc there. In one attribute, since Ctrl-C may occur between any two steps of this
        #: class: then the next write overwrites the last one, for which no promise was made.
        self._tip = 0, 0
        self._lock = threading.Lock()
        #: Facts that could not be written, and why.
        self._unwritten: list[bytes] = []
        self.stuck = ""
        self._unsynced = False
        self._keeper: gevent.Greenlet | None = None
        # Last: from here on the file is locked, until `close` or `__del__`.
        self._fd = open_locked(path, _holder)

    @classmethod
    def open(cls, path: str, sets_aside: bool = False) -> tuple[Journal, Reading]:
        """Open a journal for this process alone, and read it; it is created if it does not exist.

        With `sets_aside` the caller handles computations with a fact that cannot be applied; without, such a fact is an
        error, too. Raises JournalError.
        """
        journal = cls(path)
        try:
            reading = read_open(journal._fd, path)
            if reading.set_aside and not sets_aside:
                raise JournalError(f"{path} cannot be used: {next(iter(reading.set_aside.values()))}")
            _mend(journal._fd, path, reading)
            journal._tip = reading.end, reading.crc
        except BaseException:
            journal.close()
            raise
        return journal, reading

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._tip[0]

    def begin(self, kind: str, instance: Instance, epoch: int) -> None:
        """Record the process that keeps it from now on. Raises JournalError."""
        who = (config.VERSION, boot_name(), platform.node(), os.getpid())
        self.append_or_raise([Began(kind, instance, epoch, *who)])

    # Writing

    def append(self, facts: Iterable[Message]) -> bool:
        """Write these facts, all or none; returns whether that was possible. If not, they are kept: see `stuck`."""
        data = packed(facts)
        with self._lock:
            if not self._unwritten:
                try:
                    self._write(data)
                except OSError as error:
                    self._get_stuck(error)
                else:
                    return True
            self._unwritten.append(b"".join(data))
        return False

    def append_or_raise(self, facts: Iterable[Message]) -> None:
        """Write these facts, or raise JournalError without keeping them."""
        data = packed(facts)
        with self._lock:
            try:
                self._write_unwritten()
                self._write(data)
            except OSError as error:
                raise JournalError(f"{self.path} cannot be written: {error.strerror}") from error

    def add(self, values: list[object]) -> bool:
        """Write one fact, as the array of its fields, in the fastest way: each submitted job is one. False if that is
        impossible, and nothing was written: then `append_or_raise` can write it, or raises the reason."""
        try:
            data = pack_plain(values)
        except TypeError:  # It contains a payload.
            return False
        with self._lock:
            return len(data) <= SHORT and not self._unwritten and self._write_at_once(data)

    def _write(self, pieces: list[Buffer]) -> None:
        """Append one record, in consecutive pieces."""
        if len(pieces) == 1:
            only = pieces[0]
            if type(only) is bytes and len(only) <= SHORT and self._write_at_once(only):
                return
        begin, crc = self._tip
        size, end = sum(map(len, pieces)), begin
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
        left = [memoryview(piece) for piece in (HEAD.pack(size, crc), *pieces)]
        try:
            while left:
                # A full disk accepts a part, without an error.
                written = os.pwritev(self._fd, left[:_PIECES], end)
                end += written
                while left and written >= len(left[0]):
                    written -= len(left.pop(0))
                if written:
                    left[0] = left[0][written:]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, begin)
            raise
        self._tip = end, crc
        self._unsynced = True

    def _write_at_once(self, data: bytes) -> bool:
        """The same for one short piece, such as each submitted job; returns whether it was written completely."""
        begin, crc = self._tip
        crc = zlib.crc32(data, crc)
        record = HEAD.pack(len(data), crc) + data
        size = len(record)
        if write_short(self._fd, record, size, begin) < size:
            return False  # A full disk accepts a part, or nothing. The next write overwrites it.
        self._tip = begin + size, crc
        self._unsynced = True
        return True

    def _write_unwritten(self) -> None:
        while self._unwritten:
            self._write([self._unwritten[0]])
            del self._unwritten[0]
        self.stuck = ""

    def _get_stuck(self, error: OSError) -> None:
        self.stuck = f"{self.path} cannot be written: {error.strerror}"
        logger.error("%s; nothing is lost, but nothing continues until it can be", self.stuck)

    # In the background

    def keep(self, when_free: Callable[[], None], before: Callable[[], None] | None = None) -> None:
        """Start a greenlet of the calling loop that syncs appended facts to the disk, and repeats failed writes; it
        calls `before`, if given, more often than that."""
        self._keeper = keep_running(self._keep, when_free, before, what=f"writing {self.path} to the disk")

    def _keep(self, when_free: Callable[[], None], before: Callable[[], None] | None) -> None:
        while True:
            if before is None:
                gevent.sleep(SYNC_TURNS * FLUSH_INTERVAL)
            else:
                for _ in range(SYNC_TURNS):
                    gevent.sleep(FLUSH_INTERVAL)
                    before()
            if self.stuck:
                with self._lock, contextlib.suppress(OSError):
                    self._write_unwritten()
                if not self.stuck:
                    logger.info("%s can be written again", self.path)
                    when_free()
            if syncs and self._unsynced:
                self._unsynced = False
                with contextlib.suppress(OSError):
                    gevent.get_hub().threadpool.apply(os.fdatasync, (self._fd,))

    def sync(self) -> None:
        """Write it to the disk now. Raises JournalError."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise JournalError(f"{self.path} cannot be written: {error.strerror}") from error

    def compact(self, began: Began) -> None:
        """Rewrite it without facts that are not needed any more. Raises JournalError; then it is unchanged.

        Runs outside the loop; facts that are appended meanwhile are written after the others. Never run two at once.
        """
        end = self.size
        beside = f"{self.path}.new"
        pool = gevent.get_hub().threadpool
        other, crc = pool.apply(_rewritten, (self.path, beside, end, began))
        try:
            with self._lock:
                for data, _, _ in records(self._fd, end, crc):
                    other._write([data])
                os.rename(beside, self.path)
                old, self._fd, other._fd = self._fd, other._fd, -1
                self._tip, self._unsynced = other._tip, True
                os.close(old)
            _sync_directory(self.path)
        except OSError as error:
            other.close()
            raise JournalError(f"{beside} cannot be written: {error.strerror}") from error

    def set_aside(self, computations: Mapping[ComputationId, str]) -> None:
        """Keep a copy of all facts of computations that cannot be taken up, and start without them.

        Raises JournalError; then nothing has changed.
        """
        copy = _copied(self.path)
        for computation, reason in computations.items():
            form = "%s: computation %s is set aside, since it cannot be taken up (%s). All that was known is in %s"
            logger.error(form, self.path, computation.hex(), reason, copy)
        self.append_or_raise([Release(each) for each in computations])

    def close(self, remove: bool = False) -> None:
        """Close it; with `remove` its contents are not needed any more."""
        if self._keeper is not None:
            self._keeper.kill(block=False)
        with self._lock:  # It may be closed twice at the same time, and during a write.
            fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if remove:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        os.close(fd)

    def __del__(self) -> None:
        # The caller of `open` was interrupted before it could store the journal: it must not stay locked.
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)

    def forget_in_child(self) -> None:
        """In a forked child: the journal is its parent's, and must not stay locked by the child."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _rewritten(path: str, beside: str, end: int, began: Began) -> tuple[Journal, int]:
    """A journal with the facts in the first `end` bytes of another, and the crc there. Raises JournalError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)
    reading = Reading()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        begin, crc = first_record(fd)
        for data, at, crc_there in records(fd, begin, crc):
            crc = crc_there
            for values in arrays(data):
                reading.take(values)
            if at >= end:
                break
    finally:
        os.close(fd)
    other, _ = Journal.open(beside)
    try:
        other.append_or_raise([began])
        for fact in reading.remembered.facts():
            other.append_or_raise([fact])
        os.fsync(other._fd)
    except BaseException:
        other.close(remove=True)
        raise
    return other, crc


def _holder(path: str) -> str:
    try:
        began = read(path).remembered.began
    except JournalError:
        began = None
    return f"process {began.pid} on {began.host}" if began is not None else "another process"


def _mend(fd: int, path: str, reading: Reading) -> None:
    """Truncate the file after its good part."""
    if reading.fault == "damaged":
        _keep_corrupt(path)
        logger.error(
            "%s is damaged at byte %d: the rest is lost; the whole file is kept as %s.corrupt",
            *(path, reading.end, path),
        )
    elif reading.fault:
        logger.warning("%s ends in the middle of a record, which is dropped: its writer was interrupted", path)
    try:
        if reading.end < HEADER_BYTES:
            header = MAGIC + os.urandom(16)
            os.ftruncate(fd, 0)
            if os.pwrite(fd, header, 0) < len(header):
                raise JournalError(f"{path} cannot be written: the disk is full")
            reading.end, reading.crc = len(header), zlib.crc32(header)
            _sync_directory(path)
        os.ftruncate(fd, reading.end)
    except OSError as error:
        raise JournalError(f"{path} cannot be written: {error.strerror}") from error


def _copied(path: str) -> str:
    """Copy the file to an unused name beside it, and return the path. Raises JournalError."""
    try:
        fd, copy = tempfile.mkstemp(prefix=f"{os.path.basename(path)}.set-aside-", dir=os.path.dirname(path) or ".")
        with open(fd, "wb") as goal, open(path, "rb") as file:
            shutil.copyfileobj(file, goal)
    except OSError as error:
        raise JournalError(f"{path} cannot be copied: {error.strerror}") from error
    return copy


def _keep_corrupt(path: str) -> None:
    try:
        shutil.copyfile(path, f"{path}.corrupt")
        os.chmod(f"{path}.corrupt", 0o600)
    except OSError as error:
        text = f"{path} is damaged, and is left as it is: {path}.corrupt cannot be written: {error.strerror}"
        raise JournalError(text) from error


def _sync_directory(path: str) -> None:
    directory = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
