"""Large payloads of a scheduler's journal: each in a separate file beside it, which the facts name.

A journal grows, and is rewritten when it has grown much. Most large payloads are needed for less than a second, so
they are stored where their space is released immediately. Files that are not needed any more are overwritten: that
takes a third of the time of a new file, for which the system has to find memory first.

Called in the loop of the process that keeps the journal; `sync_files` in any thread.

Invariants:
1. A file is complete before a fact is written that names it, and is removed or overwritten after a fact that makes it
   unnecessary.
2. After the death of the machine a file may be missing or damaged: then the payload counts as not written.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace

from gdispy.buffers.memory_file import write_all
from gdispy.journal.format import StoredPayload
from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.message import Message
from gdispy.protocol.messages import Ended, OutcomesAcked, Release, Released, Run
from gdispy.protocol.payload import ABSENT, Bulk, MemoryPayload, Payload
from gdispy.rules.history.replay import ComputationHistory

#: Minimum size in bytes of a payload that is stored in a separate file.
LARGE = 128 * 1024
#: How many files are kept to be overwritten, and the maximum size in bytes of each.
SPARE_FILES = 64
SPARE_SIZE = 8 << 20
#: The prefix of the names of the files, and the directory beside theirs for files that no known job needs.
_PREFIX = "payload-"
_SET_ASIDE = "payloads.set-aside"
#: Facts with data of users. Other large values stay in the journal.
_WITH_PAYLOADS = (Run, Ended)

#: Writes facts into the journal.
Append = Callable[[list[Message]], object]


class PayloadFiles:
    """The files of one journal."""

    def __init__(self, directory: str) -> None:
        """In this directory, which is created if it does not exist. Raises OSError."""
        self.directory = directory
        os.makedirs(directory, mode=0o700, exist_ok=True)
        #: The greatest number in the name of a file.
        self._next = max(map(_number, self._found()), default=0)
        #: The files of each job that was not collected.
        self._names: dict[ComputationId, dict[JobId, list[str]]] = {}
        #: Files that are not needed any more, to be overwritten.
        self._spare: list[str] = []
        #: Files that may not be on the disk yet.
        self._unsynced: set[str] = set()

    # Writing

    def store(self, facts: Iterable[Message]) -> list[Message]:
        """The facts in the form for the journal: large payloads are written to files now."""
        return [self._stored(fact) if isinstance(fact, _WITH_PAYLOADS) else fact for fact in facts]

    def _stored(self, fact: Run | Ended) -> Message:
        columns = (fact.arguments,) if isinstance(fact, Run) else (fact.results, fact.outputs, fact.errors)
        if all(set(map(type, column)) <= {bytes} for column in columns):  # They are small then.
            return fact
        if isinstance(fact, Run):
            return replace(fact, arguments=self._column(fact, fact.arguments))
        results, outputs, errors = (self._column(fact, column) for column in columns)
        return replace(fact, results=results, outputs=outputs, errors=errors)

    def _column(self, fact: Run | Ended, values: list[Bulk]) -> list[Bulk]:
        return [
            self._write(fact.computation, job, value) if isinstance(value, Payload) and value.size >= LARGE else value
            for job, value in zip(fact.jobs, values, strict=True)
        ]

    def _write(self, computation: ComputationId, job: JobId, value: Payload) -> Payload:
        """Write one payload; if that is impossible, it stays in the fact, and waits with it for room."""
        name = self._spare.pop() if self._spare and value.size <= SPARE_SIZE else self._new_name()
        try:
            crc = _write_file(self._path(name), value)
        except OSError:
            self._remove(name)
            return value
        self._names.setdefault(computation, {}).setdefault(job, []).append(name)
        self._unsynced.add(name)
        return StoredPayload(name, value.size, crc)

    def _new_name(self) -> str:
        self._next += 1
        return f"{_PREFIX}{self._next}"

    def forget(self, facts: Iterable[Message]) -> None:
        """These facts are written: remove the files of jobs that are not needed any more."""
        for fact in facts:
            if isinstance(fact, OutcomesAcked):
                jobs = self._names.get(fact.computation)
                if jobs:
                    self._give_up(name for job in fact.jobs for name in jobs.pop(job, ()))
            elif isinstance(fact, Release | Released):
                self._give_up(self._take(fact.computation))

    def _give_up(self, names: Iterable[str]) -> None:
        """These files are not needed any more."""
        for name in names:
            if len(self._spare) < SPARE_FILES and 0 < self._size(name) <= SPARE_SIZE:
                self._unsynced.discard(name)
                self._spare.append(name)
            else:
                self._remove(name)

    def unsynced(self) -> list[str]:
        """The files to be synced now; each is returned once."""
        paths = [self._path(name) for name in self._unsynced]
        self._unsynced.clear()
        return paths

    # Reading

    def take_up(self, history: ComputationHistory) -> bool:
        """Put the contents of the files into the history of a computation; a missing payload counts as not written.

        Returns whether all were there; if not, the journal must record that (`say_again`), or facts about these jobs
        that are written later do not count.
        """
        is_whole = True
        for number, job in history.jobs.items():
            was_absent = job.arguments is ABSENT
            job.arguments = self._found_in(history.id, number, [job.arguments])[0]
            is_whole = is_whole and (job.arguments is not ABSENT or was_absent)
            if job.outcome is not None and not self._read_outcome(history.id, number, *job.outcome):
                job.outcome, is_whole = None, False
        return is_whole

    def say_again(self, computation: ComputationId, facts: Iterable[Message], append: Append) -> None:
        """Have the journal record these facts of a computation, instead of all earlier ones."""
        former = self._take(computation)
        append([Release(computation), *self.store(facts)])
        self._give_up(former)

    def _read_outcome(self, computation: ComputationId, job: JobId, ended: Ended, place: int) -> bool:
        """Put the contents of the files into the end of a job; returns whether all were there."""
        columns = (ended.results, ended.outputs, ended.errors)
        found = self._found_in(computation, job, [column[place] for column in columns])
        for column, value in zip(columns, found, strict=True):
            column[place] = value
        return ABSENT not in found

    def _found_in(self, computation: ComputationId, job: JobId, values: list[Bulk]) -> list[Bulk]:
        """Payloads as in the journal -> with the contents of the files, ABSENT if a file is not as written."""
        found: list[Bulk] = []
        for value in values:
            if isinstance(value, StoredPayload):
                data = self._read(value)
                found.append(ABSENT if data is None else MemoryPayload([data]))
                if data is not None:
                    self._names.setdefault(computation, {}).setdefault(job, []).append(value.name)
            else:
                found.append(value)
        return found

    def _read(self, stored: StoredPayload) -> bytes | None:
        try:
            with open(self._path(stored.name), "rb") as file:
                data = file.read(stored.size)
        except OSError:
            return None
        return data if (len(data), zlib.crc32(data)) == (stored.size, stored.crc) else None

    def close(self) -> None:
        """Remove the files that were kept to be overwritten."""
        self._remove_all(self._spare)

    def remove_unknown(self, keep: bool) -> None:
        """Remove the files of jobs that were not taken up; with `keep` they are moved elsewhere instead."""
        known = {name for jobs in self._names.values() for names in jobs.values() for name in names}
        names = [name for name in self._found() if name not in known]
        if keep:
            self._move_away(names)
        else:
            self._remove_all(names)

    def set_aside(self, computation: ComputationId) -> None:
        """Move the files of a computation that cannot be taken up to another directory."""
        self._move_away(self._take(computation))

    # Files

    def _found(self) -> list[str]:
        return [name for name in os.listdir(self.directory) if name.startswith(_PREFIX) and _number(name)]

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _size(self, name: str) -> int:
        try:
            return os.stat(self._path(name)).st_size
        except OSError:
            return 0

    def _take(self, computation: ComputationId) -> list[str]:
        return [name for names in self._names.pop(computation, {}).values() for name in names]

    def _remove_all(self, names: Iterable[str]) -> None:
        for name in names:
            self._remove(name)

    def _remove(self, name: str) -> None:
        self._unsynced.discard(name)
        with contextlib.suppress(OSError):
            os.unlink(self._path(name))

    def _move_away(self, names: Iterable[str]) -> None:
        goal = os.path.join(os.path.dirname(self.directory), _SET_ASIDE)
        for name in names:
            with contextlib.suppress(OSError):
                os.makedirs(goal, mode=0o700, exist_ok=True)
                os.rename(self._path(name), os.path.join(goal, name))


def sync_files(paths: list[str]) -> None:
    """Sync these files to the disk, as far as they still exist, and their names in their directory."""
    for path in [*paths, *{os.path.dirname(path) for path in paths}]:
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def _write_file(path: str, value: Payload) -> int:
    """Write a payload to a file, new or existing; returns its crc."""
    crc = offset = 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb", buffering=0):
        while offset < value.size:
            part = memoryview(value.read(offset, value.size - offset))
            crc = zlib.crc32(part, crc)
            offset += len(part)
            write_all(fd, part)
    return crc


def _number(name: str) -> int:
    """The number in the name of a file; 0 if it has none, and this class has not created it."""
    digits = name.removeprefix(_PREFIX)
    return int(digits) if digits.isdecimal() else 0
