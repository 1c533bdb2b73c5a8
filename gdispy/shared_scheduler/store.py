"""The persistent state of a shared scheduler: its journal, and the files that clients have sent. All in its loop.

    DIRECTORY/journal    facts, as in `journal/file.py`; locked by the running scheduler
    DIRECTORY/payloads/  large arguments and results, as in `journal/payload_files.py`
    DIRECTORY/files/     dependency files, under the names that the journal uses
    DIRECTORY/key        32 random bytes, by which nodes and clients recognize the same scheduler

Invariant: a fact is here before a client is notified that something was accepted, and before a node is notified that
something may begin, or be forgotten.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import time
from dataclasses import replace
from hashlib import blake2b

import gevent

from gdispy.buffers.memory_file import DIGEST_BYTES, FILE_PREFIX, ReceivedFile
from gdispy.errors import JournalError
from gdispy.journal.file import FLUSH_INTERVAL, SYNC_TURNS, Journal, boot_name, syncs
from gdispy.journal.format import Reading
from gdispy.journal.payload_files import PayloadFiles, sync_files
from gdispy.journal.router import JournalRouter
from gdispy.protocol.identity import SEED_BYTES, Identity
from gdispy.protocol.ids import ComputationId, Instance
from gdispy.protocol.message import Message
from gdispy.protocol.messages import Cancel, JobNames, Open, Prepare, Release, Run, SetPriority
from gdispy.protocol.payload import Bulk
from gdispy.rules.arrivals import Arrivals
from gdispy.rules.history.facts import Began, Owned, Submitted
from gdispy.rules.history.replay import ComputationHistory
from gdispy.runtime.greenlets import keep_running

logger = logging.getLogger(__name__)

#: Minimum size in bytes of a journal that is rewritten, and the factor by which it must have grown since.
COMPACT_SIZE = 64 << 20
COMPACT_GROWTH = 2
#: Seconds between two checks of its size.
COMPACT_INTERVAL = 5.0


class SchedulerStore:
    """The journal of one scheduler; without a directory nothing is stored."""

    def __init__(self, directory: str, temporary: str) -> None:
        self.journals = JournalRouter()
        #: The secret of this scheduler, the same in all its runs, and its identity that follows from it.
        self.seed = secrets.token_bytes(SEED_BYTES)
        self.identity = Identity(self.seed)
        self.epoch = 0
        self.histories: list[ComputationHistory] = []
        self.files = temporary
        self._journal: Journal | None = None
        self._payloads: PayloadFiles | None = None
        self._compact_at = COMPACT_SIZE
        self._submissions: dict[ComputationId, Arrivals] = {}
        if directory:
            self._open(os.path.abspath(directory))

    def _open(self, directory: str) -> None:
        self.files = os.path.join(directory, "files")
        try:
            os.makedirs(self.files, mode=0o700, exist_ok=True)
        except OSError as error:
            raise JournalError(f"{directory} cannot be used for the journal: {error.strerror}") from error
        journal, reading = Journal.open(os.path.join(directory, "journal"), sets_aside=True)
        began = reading.remembered.began
        if began is not None and began.kind != "scheduler":
            journal.close()
            raise JournalError(f"{journal.path} is the journal of a {began.kind}, not of a scheduler")
        self.seed = _seed_in(os.path.join(directory, "key"))
        self.identity = Identity(self.seed)
        if began is not None:
            self.epoch = began.epoch
            rebooted = began.boot != boot_name()
            for history in reading.remembered.histories.values():
                history.rebooted = rebooted
        self.epoch += 1
        journal.begin("scheduler", self.identity.instance, self.epoch)
        if reading.set_aside:
            journal.set_aside(reading.set_aside)
        journal.sync()
        self.histories = [history for history in reading.remembered.histories.values() if self._find_files(history)]
        self._submissions = {history.id: history.submissions for history in self.histories}
        self._journal = self.journals.common = journal
        self._payloads = self.journals.payloads = self._open_payloads(directory, journal, reading)
        self._remove_files()
        jobs = sum(len(history.jobs) for history in self.histories)
        if jobs:
            logger.info(
                "computations: %d, with unfinished jobs: %d, are continued from %s",
                len(self.histories),
                jobs,
                journal.path,
            )

    def _open_payloads(self, directory: str, journal: Journal, reading: Reading) -> PayloadFiles:
        """The files with large payloads, which are put back into the computations that were found."""
        try:
            payloads = PayloadFiles(os.path.join(directory, "payloads"))
        except OSError as error:
            raise JournalError(f"{directory} cannot be used for the journal: {error.strerror}") from error
        for history in self.histories:
            if not payloads.take_up(history):
                logger.warning("the machine went off before payloads of computation %s were written", history.id.hex())
                payloads.say_again(history.id, map(self._as_written, history.facts()), journal.append_or_raise)
        # Some may belong to the copy of a journal that could not be read.
        payloads.remove_unknown(keep=bool(reading.set_aside) or reading.fault == "damaged")
        return payloads

    def _find_files(self, history: ComputationHistory) -> bool:
        """Attach its files to a computation; if one is missing, the client sends the computation again. Returns whether
        it has a client."""
        if history.prepare is not None:
            files = [self._file(name) for name in history.prepare.contents]
            is_whole = all(isinstance(each, ReceivedFile) and not each.error for each in files)
            history.prepare = replace(history.prepare, contents=files) if is_whole else None
        return history.owned is not None and bool(history.owned.client)

    def _file(self, name: Bulk) -> Bulk:
        """A file by its name in the journal."""
        path = os.path.join(self.files, os.path.basename(bytes(name).decode())) if isinstance(name, bytes) else ""
        digest = blake2b(digest_size=DIGEST_BYTES)
        try:
            size = os.stat(path).st_size
        except OSError:
            return ReceivedFile(path, 0, digest.digest(), "it is gone")
        return ReceivedFile(path, size, b"", "")

    def _remove_files(self) -> None:
        """Remove files of computations that have ended."""
        known = {
            os.path.basename(each.path)
            for history in self.histories
            if history.prepare is not None
            for each in history.prepare.contents
            if isinstance(each, ReceivedFile)
        }
        for name in os.listdir(self.files):
            # The user names the directory: only files that this program creates are touched.
            if name.startswith(FILE_PREFIX) and name not in known:
                os.unlink(os.path.join(self.files, name))

    def set_aside(self, computation: ComputationId, error: Exception) -> None:
        """A computation cannot be taken up: keep its known facts apart."""
        if self._journal is not None and self._payloads is not None:
            self._journal.set_aside({computation: f"{type(error).__name__}: {error}"})
            self._payloads.set_aside(computation)

    @property
    def remembers(self) -> bool:
        return self._journal is not None

    def keep(self) -> None:
        """Start writing to the disk, in a greenlet of the calling loop."""
        if self._journal is not None and self._payloads is not None:
            self._journal.keep(self.journals.free)
            keep_running(self._watch_size, self._journal, what="the watch over the size of the journal")
            if syncs:
                keep_running(self._sync_payloads, self._payloads, what="writing large payloads to the disk")

    def _sync_payloads(self, payloads: PayloadFiles) -> None:
        while True:
            gevent.sleep(SYNC_TURNS * FLUSH_INTERVAL)
            paths = payloads.unsynced()
            if paths:
                gevent.get_hub().threadpool.apply(sync_files, (paths,))

    def _watch_size(self, journal: Journal) -> None:
        while True:
            gevent.sleep(COMPACT_INTERVAL)
            if journal.size < self._compact_at:
                continue
            try:
                journal.compact(
                    Began("scheduler", self.identity.instance, self.epoch, "", boot_name(), "", os.getpid())
                )
            except JournalError as error:
                logger.error("the journal could not be made smaller: %s", error)
            self._compact_at = max(COMPACT_SIZE, COMPACT_GROWTH * journal.size)

    @property
    def size(self) -> int:
        """Bytes of the journal, without large payloads."""
        return self._journal.size if self._journal is not None else 0

    def accept(self, client: Instance, name: str, message: Message) -> None:
        """Record a client's message that is about to be acknowledged as accepted."""
        if isinstance(message, Open):
            self.journals.record(message.computation, [message, Owned(message.computation, client, name, "")])
        elif isinstance(message, Prepare):
            self.journals.record(message.computation, [self._as_written(message)])
        elif isinstance(message, Run):
            self.journals.record(message.computation, [*self._noted(message), message])
        elif isinstance(message, Cancel | Release | JobNames | SetPriority):
            self.journals.record(message.computation, [message])
            if isinstance(message, Release):
                self._submissions.pop(message.computation, None)

    def submissions(self, computation: ComputationId) -> Arrivals | None:
        """When the jobs of a computation were submitted, also in previous runs; None if none was."""
        return self._submissions.get(computation)

    def _noted(self, message: Run) -> list[Message]:
        """When these jobs were submitted, unless others were at nearly the same time."""
        if not message.jobs:
            return []
        known = self._submissions.setdefault(message.computation, Arrivals())
        first, now = min(message.jobs), time.time()
        return [Submitted(message.computation, [first], [now])] if known.note(first, now) else []

    def _as_written(self, message: Message) -> Message:
        """A fact with dependency files replaced by their names."""
        if not isinstance(message, Prepare):
            return message
        names: list[Bulk] = [
            os.path.basename(each.path).encode() if isinstance(each, ReceivedFile) else b"" for each in message.contents
        ]
        return replace(message, contents=names)

    def record(self, computation: ComputationId, *facts: Message) -> None:
        if self._journal is not None:
            self.journals.record(computation, facts)

    def close(self) -> None:
        """The scheduler ends. If nothing is to be kept, its files are removed."""
        if self._journal is not None and self._payloads is not None:
            self._journal.close()
            self._payloads.close()
        else:
            shutil.rmtree(self.files, ignore_errors=True)


def _seed_in(path: str) -> bytes:
    """The random bytes in a file, which is created if it does not exist. Raises JournalError."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "r+b") as file:
            seed = file.read()
            if not seed:
                seed = secrets.token_bytes(SEED_BYTES)
                file.write(seed)
                file.flush()
                os.fsync(fd)
    except OSError as error:
        raise JournalError(f"{path} cannot be used: {error.strerror}") from error
    if len(seed) != SEED_BYTES:
        raise JournalError(f"{path} is damaged: it must have {SEED_BYTES} bytes, and has {len(seed)}")
    return seed
