"""The bytes of a journal: the layout of facts in a file, and reading a file, intact or not.

The writer is `file.py`, in any thread; other programs only read, such as `cli/journal.py`.

    file    "gdispyJ1" | 16 random bytes | record ...
    record  u64 length | u32 crc | facts, msgpack arrays one after the other; a payload in a separate file
            (`payload_files.py`) is an extension of kind 1: u64 size | u32 crc | name of the file

Invariants:
1. The crc of a record is that of the record before it, continued over the record's own bytes: no record is accepted
   that is torn, damaged, moved, or from another file.
2. `torn` is only the result of an interruption: the beginning of a record, or zeros. All other bytes that are not good
   were good once, and may hold results: that is `damaged`.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeGuard, TypeVar

import msgpack

from gdispy.errors import JournalError, ProtocolError
from gdispy.protocol.ids import ComputationId
from gdispy.protocol.job_status import TERMINATED
from gdispy.protocol.message import Message, picked
from gdispy.protocol.messages import Ended, Progress, Release, Released, Run
from gdispy.protocol.payload import Buffer, Payload, bulk_size, joined
from gdispy.protocol.splitting import divided
from gdispy.rules.history.facts import Announced, computation_of, from_values
from gdispy.rules.history.replay import JournalState

_T = TypeVar("_T")

MAGIC = b"gdispyJ1"
HEADER_BYTES = len(MAGIC) + 16
HEAD = struct.Struct(">QI")
#: Bytes of a payload above which it is written without a copy.
LARGE = 64 * 1024
#: Maximum size in bytes of one value in msgpack.
LONGEST = (1 << 32) - 1
#: The kind of the msgpack extension that names a payload in a file, and its packing: size, crc, name.
_STORED = 1
_STORED_HEAD = struct.Struct(">QI")
#: The first bytes of a list in msgpack, of any length.
_ARRAY = b"\xdd"
#: Bytes of a damaged file that are searched for records after the damage.
_SEARCHED = 4 << 20
#: Total bytes that are checked for that: data that is not a record may look like the beginnings of many long ones.
_CHECKED = 256 << 20


class StoredPayload(Payload):
    """A payload in a file beside the journal, by its name there. `payload_files.py` reads it."""

    __slots__ = ("crc", "name")

    def __init__(self, name: str, size: int, crc: int) -> None:
        self.name, self.size, self.crc = name, size, crc


class Reading:
    """The result of reading a file."""

    def __init__(self) -> None:
        self.remembered = JournalState()
        #: The number of bytes that are good, and the crc there.
        self.end = 0
        self.crc = 0
        #: The defect of the rest: '', 'torn', or 'damaged'.
        self.fault = ""
        #: Computations with a fact that could not be applied, and why. No other fact of them is kept.
        self.set_aside: dict[ComputationId, str] = {}

    def take(self, values: object) -> None:
        """Apply the fact in an array. Raises ProtocolError if it is not a fact and concerns no computation."""
        computation = computation_of(values)
        if computation in self.set_aside:
            if isinstance(values, list) and values[0] in (Release.tag, Released.tag):
                del self.set_aside[computation]
            return
        try:
            self.remembered.take(from_values(values))
        except Exception as error:  # A peer's message may have been written before it was checked as it is now.
            if computation is None:
                raise
            self.remembered.histories.pop(computation, None)
            self.set_aside[computation] = f"{type(error).__name__}: {error}"


def read(path: str) -> Reading:
    """Read a journal, whichever process keeps it. Raises JournalError."""
    with _opened(path) as fd:
        return read_open(fd, path)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)


class Facts(Iterable[Message]):
    """All facts of a file, in order, as far as they are good; one record at a time is in memory. An iteration raises
    JournalError as `read` does."""

    def __init__(self, path: str) -> None:
        self._path = path
        #: As in `Reading`, after an iteration to the end.
        self.end = 0
        self.fault = ""

    def __iter__(self) -> Iterator[Message]:
        with _opened(self._path) as fd:
            scan = _Scan(fd, self._path)
            yield from scan.each(from_values)
        self.end, self.fault = scan.end, scan.fault


def read_open(fd: int, path: str) -> Reading:
    """Read an open file. Raises JournalError."""
    reading = Reading()
    scan = _Scan(fd, path)
    for _ in scan.each(reading.take):
        pass
    reading.end, reading.crc, reading.fault = scan.end, scan.crc, scan.fault
    return reading


class _Scan:
    """One pass over an open file. After it, `end`, `crc` and `fault` are as in `Reading`."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd, self._path = fd, path
        # Before all else: bytes that are written meanwhile would be taken for damage.
        self._size = os.fstat(fd).st_size
        self.end = self.crc = 0
        self.fault = ""

    def each(self, take: Callable[[object], _T]) -> Iterator[_T]:
        """What `take` makes of each fact, which it gets as an array. Raises JournalError, also if that raises
        ProtocolError."""
        header = os.pread(self._fd, HEADER_BYTES, 0)
        if header[: len(MAGIC)] != MAGIC[: len(header)]:
            raise JournalError(f"{self._path} {_what_else(header)}")
        if len(header) < HEADER_BYTES:  # New, or its writer died immediately.
            self.fault = "torn" if header else ""
            return
        self.end, self.crc = first_record(self._fd)
        for data, end, crc in records(self._fd, self.end, self.crc):
            try:
                taken = [take(values) for values in arrays(data)]
            except (ProtocolError, ValueError) as error:
                raise JournalError(f"{self._path} was written by another version of gdispy: {error}") from error
            yield from taken
            self.end, self.crc = end, crc
        if self.end < self._size:
            self.fault = "torn" if _is_torn(self._fd, self.end, self._size) else "damaged"


def _what_else(header: bytes) -> str:
    if header.startswith(MAGIC[:-1]):
        return "was written by another version of gdispy"
    return "is not a journal of gdispy"


def first_record(fd: int) -> tuple[int, int]:
    """The offset of the first record, and the crc there."""
    return HEADER_BYTES, zlib.crc32(os.pread(fd, HEADER_BYTES, 0))


def records(fd: int, end: int, crc: int) -> Iterator[tuple[bytes, int, int]]:
    """The good records from an offset on: bytes, the end of each, and the crc there."""
    while True:
        head = os.pread(fd, HEAD.size, end)
        if len(head) < HEAD.size:
            return
        size, wanted = HEAD.unpack(head)
        data = _pread_all(fd, size, end + HEAD.size)
        if len(data) < size or not size:
            return
        crc = zlib.crc32(data, crc)
        if crc != wanted:
            return
        end += HEAD.size + size
        yield data, end, crc


def _pread_all(fd: int, size: int, offset: int) -> bytes:
    if size > os.fstat(fd).st_size - offset:
        return b""
    parts: list[bytes] = []
    while size > 0:
        part = os.pread(fd, size, offset)
        if not part:
            break
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return b"".join(parts)


def _is_torn(fd: int, begin: int, size: int) -> bool:
    """Whether the bytes between the last good record and the end of the file are the result of an interrupted write."""
    data = os.pread(fd, min(size - begin, _SEARCHED), begin)
    if not any(data):  # The machine died: the file had its new size, and not yet its bytes.
        return True
    if len(data) < HEAD.size:
        return True
    length, crc = HEAD.unpack_from(data)
    return bool(length) and begin + HEAD.size + length > size and not _goes_on(data, crc)


def _goes_on(data: bytes, crc: int) -> bool:
    """Whether a bad position is followed by a record that continues it (by its crc), or by one that continues another
    record: then the bad one was complete, and its length is damaged. True as well if a check would take too long."""
    left = _CHECKED
    for offset in range(1, len(data) - HEAD.size):
        record, wanted, after = _record_at(data, offset)
        if not record:
            continue
        following, last, _ = _record_at(data, after)
        left -= len(record) + len(following)
        if left < 0 or zlib.crc32(record, crc) == wanted or (following and zlib.crc32(following, wanted) == last):
            return True
    return False


def _record_at(data: bytes, offset: int) -> tuple[bytes, int, int]:
    """The bytes of a possible record there, its crc, and the offset of the next one; empty if there is none."""
    begin = offset + HEAD.size
    if begin >= len(data):
        return b"", 0, 0
    length, crc = HEAD.unpack_from(data, offset)
    if length > len(data) - begin:
        return b"", 0, 0
    return data[begin : begin + length], crc, begin + length


def arrays(data: bytes) -> Iterator[object]:
    """The facts of a record as arrays. Raises ValueError if another version wrote it."""
    limit = max(len(data), 1)
    unpacker = msgpack.Unpacker(ext_hook=_extension, raw=False, unicode_errors="surrogatepass", max_buffer_size=limit)
    unpacker.feed(data)
    yield from unpacker


def _extension(kind: int, data: bytes) -> StoredPayload:
    if kind != _STORED or len(data) <= _STORED_HEAD.size:
        raise ValueError(f"an unknown extension {kind}")
    size, crc = _STORED_HEAD.unpack_from(data)
    return StoredPayload(data[_STORED_HEAD.size :].decode(), size, crc)


class _Large(Exception):
    """A fact holds a payload that must not be copied."""


def packed(facts: Iterable[Message]) -> list[Buffer]:
    """Facts in their written form, in pieces. Large payloads are pieces without a copy: copying them would cost more
    than all other work here."""
    facts = [part for fact in facts for part in divided(fact)]
    try:
        return [b"".join([_pack(fact.values()) for fact in facts])]
    except _Large:
        pieces: list[Buffer] = []
        for fact in facts:
            for part in _writable(fact):
                _add_pieces(part.values(), pieces)
        return pieces


def _writable(fact: Message) -> list[Message]:
    """The writable part of a fact with payloads that exceed the maximum size of a value in a file.

    A client is asked again for the arguments, a result that is lost with the process is reported as lost, and a
    provisional result is omitted.
    """
    match fact:
        case Run():
            long = [place for place, value in enumerate(fact.arguments) if _is_too_long(value)]
            if not long:
                return [fact]
            rest = [place for place, value in enumerate(fact.arguments) if not _is_too_long(value)]
            said_again = picked(fact, long)
            told: list[Message] = [Announced(fact.computation, said_again.jobs, said_again.options)]
            return [*told, picked(fact, rest)] if rest else told
        case Ended():
            long = [place for place, value in enumerate(fact.results) if _is_too_long(value)]
            if not long:
                return [fact]
            results, statuses, exceptions = fact.results[:], fact.statuses[:], fact.exceptions[:]
            for place in long:
                text = f"The result of {bulk_size(fact.results[place]):,} bytes was lost with the process that held it:"
                text += f" more than {LONGEST:,} cannot be kept in a journal. Return the name of a file instead.\n"
                results[place], statuses[place], exceptions[place] = b"", TERMINATED, text
            return [replace(fact, results=results, statuses=statuses, exceptions=exceptions)]
        case Progress():
            return [] if _is_too_long(fact.value) else [fact]
    return [fact]


def _is_too_long(value: object) -> bool:
    return _lies_here(value) and value.size > LONGEST


def _lies_here(value: object) -> TypeGuard[Payload]:
    """Whether it is a payload whose bytes are written into the journal."""
    return isinstance(value, Payload) and not isinstance(value, StoredPayload)


#: Packs facts without payloads, else raises TypeError; creating one for each fact takes as long. It calls nothing that
#: could switch threads.
pack_plain = msgpack.Packer(unicode_errors="surrogatepass").pack


def _pack(value: object) -> bytes:
    try:
        data: bytes = pack_plain(value)
    except TypeError:  # It contains a payload.
        data = msgpack.packb(value, default=_as_bytes, unicode_errors="surrogatepass")
    return data


def _as_bytes(value: Payload) -> bytes | msgpack.ExtType:
    if isinstance(value, StoredPayload):
        return msgpack.ExtType(_STORED, _STORED_HEAD.pack(value.size, value.crc) + value.name.encode())
    if value.size > LARGE:
        raise _Large
    return joined(value)


def _add_pieces(value: object, pieces: list[Buffer]) -> None:
    """The same as `_pack`, piece by piece."""
    if _lies_here(value) and value.size > LARGE:
        pieces.append(b"\xc6" + value.size.to_bytes(4, "big"))
        offset = 0
        while offset < value.size:
            pieces.append(value.read(offset, value.size - offset))
            offset += len(pieces[-1])
    elif isinstance(value, list | tuple):
        pieces.append(_ARRAY + len(value).to_bytes(4, "big"))
        for each in value:
            _add_pieces(each, pieces)
    else:
        pieces.append(_pack(value))
