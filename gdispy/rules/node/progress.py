"""Provisional results and files that a running job has sent to its client and that are not acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from gdispy.protocol.ids import ComputationId, JobId, WorkerId
from gdispy.protocol.messages import Progress, Upload
from gdispy.protocol.payload import Bulk
from gdispy.rules.node.job import release


class ProvisionalResult(NamedTuple):
    """A provisional result of an attempt, the `position`-th from 0."""

    attempt: int
    position: int
    value: Bulk


class FileKey(NamedTuple):
    """A file that an attempt has sent, the `number`-th of the files of its job."""

    job: JobId
    attempt: int
    number: int


class SentFile(NamedTuple):
    """A file that is being sent to the client; its job waits in `worker` for the answer."""

    #: As in `Upload`.
    row: list[Any]
    content: Bulk
    worker: WorkerId


class UnackedProgress:
    """Provisional results and files of a computation's jobs, until they are acknowledged."""

    __slots__ = ("_shown", "files")

    def __init__(self) -> None:
        self._shown: dict[JobId, deque[ProvisionalResult]] = {}
        #: Files whose jobs wait for an answer.
        self.files: dict[FileKey, SentFile] = {}

    def shown(self) -> list[JobId]:
        """Jobs with provisional results that are not acknowledged."""
        return list(self._shown)

    def show(self, job: JobId, result: ProvisionalResult) -> None:
        self._shown.setdefault(job, deque()).append(result)

    def acked(self, job: JobId, attempt: int, amount: int) -> None:
        """Drop the first `amount` provisional results of an attempt, which have arrived, and those of attempts before
        it."""
        values = self._shown.get(job)
        while values and (values[0].attempt < attempt or values[0].position < amount):
            release(values.popleft().value)
        if not values:
            self._shown.pop(job, None)

    def add_file(self, key: FileKey, file: SentFile) -> None:
        self.files[key] = file

    def take_file(self, key: FileKey) -> SentFile | None:
        """The file is answered: release its contents."""
        file = self.files.pop(key, None)
        if file is not None:
            release(file.content)
        return file

    def drop_files(self, job: JobId) -> None:
        """The job has ended, and waits for no answer any more."""
        for key in [key for key in self.files if key.job == job]:
            self.take_file(key)

    def drop_shown(self) -> None:
        for values in self._shown.values():
            for each in values:
                release(each.value)
        self._shown.clear()

    def drop(self) -> None:
        """The computation is released."""
        for key in list(self.files):
            self.take_file(key)
        self.drop_shown()

    def messages(self, computation: ComputationId) -> Iterator[Progress | Upload]:
        """All of it, for a scheduler that has reconnected."""
        for job, values in self._shown.items():
            for each in values:
                yield Progress(computation, job, *each, "")
        for key, file in self.files.items():
            yield Upload(computation, *key, [file.row], [file.content])
