"""A cluster's recovery file (`fault_recover`): its jobs and their outcomes, for use after a crash.

Created in the user's thread; written there and in the hub.

Invariants:
1. A job is in the file before `submit` returns, and its end before the node may forget it.
2. The file holds no secret, belongs to one process at a time, and is removed when nothing in it is needed.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import threading
import time
from collections import defaultdict, deque
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from gdispy.errors import ConfigError, JournalError
from gdispy.journal.call_digest import content_digest
from gdispy.journal.detach_token import joined_dump
from gdispy.journal.file import Journal, boot_name
from gdispy.journal.format import LONGEST, Reading
from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.message import Message
from gdispy.protocol.messages import JobNames, Open, Prepare, Run
from gdispy.protocol.payload import Bulk, MemoryPayload, Payload, joined
from gdispy.protocol.rows import JobOptions
from gdispy.rules.arrivals import Arrivals
from gdispy.rules.history.facts import Owned, Submitted, Told
from gdispy.rules.history.replay import ComputationHistory, Job
from gdispy.worker import pickling

logger = logging.getLogger("gdispy")


def recovery_path(fault_recover: object) -> str:
    """The path of the file for the user's value of `fault_recover`; '' for none. Raises ConfigError."""
    if fault_recover is None or fault_recover is False or fault_recover == "":
        return ""
    if fault_recover is True:
        return os.path.abspath(time.strftime("_dispy_fault_recover_%Y%m%d%H%M%S"))
    if isinstance(fault_recover, str | os.PathLike) and "\0" not in os.fspath(fault_recover):
        return os.path.abspath(os.fspath(fault_recover))
    raise ConfigError(f"fault_recover must be True, False or the path of a file, not {fault_recover!r}")


#: Seconds in which jobs count as submitted at the same time: a separate fact for each would slow `submit`.
SUBMISSION_INTERVAL = 0.01
#: The value of `resume` with which jobs that have ended without a result run again.
FAILED = "failed"


class RecoveryFile:
    """One cluster's recovery file. `former` is the history that a previous run of the program has left in it."""

    def __init__(self, path: str, resume: bool | str) -> None:
        self.path = path
        self._resume = resume
        self.journal, reading = Journal.open(path)
        try:
            self.former = _former(path, reading)
            if self.former is not None and not resume:
                self._put_aside(self.former)
                reading, self.former = self._open_anew(), None
        except BaseException:
            self.journal.close()
            raise
        self._began = reading.remembered.began
        self._computation = ComputationId(b"")
        self._lock = threading.Lock()
        self._submissions = Arrivals(SUBMISSION_INTERVAL)
        self._names: list[tuple[JobId, bytes]] = []
        #: Jobs of the previous run that were not submitted again, by their arguments, and by their numbers.
        self._by_call: dict[bytes, deque[JobId]] = {}
        #: Those whose calls hold sets, by digests without the order of sets; calculated when needed.
        self._by_content: dict[bytes, deque[JobId]] | None = None
        self._is_new_job_logged = False
        self._left: dict[JobId, Job] = {}
        #: Whether the file stays although the cluster is closed.
        self.stays = False
        #: Jobs that have ended without a result and were not cancelled.
        self.missing = 0
        self._is_closed = False

    def _put_aside(self, former: ComputationHistory) -> None:
        """Restart of a program with a fixed name of the file after a crash: rename the file of the previous run."""
        aside = next(
            name for name in (f"{self.path}.{count}" for count in itertools.count(1)) if not os.path.exists(name)
        )
        os.rename(self.path, aside)
        self.journal.close()
        text = "%s holds %d jobs of a program that has ended, and is called %s from now on: gdispy.recover_jobs(%r)"
        logger.warning(
            text + " collects them, and resume=True would have gone on with them", *self._shown(former, aside)
        )

    def _shown(self, former: ComputationHistory, aside: str) -> tuple[str, int, str, str]:
        return self.path, len(former.jobs), os.path.basename(aside), aside

    def _open_anew(self) -> Reading:
        self.journal, reading = Journal.open(self.path)
        return reading

    def run_again(self, lost: set[Instance]) -> None:
        """Have jobs of the previous run run again: those of these nodes, which have ended with the program, and with
        `resume='failed'` those that have ended without a result."""
        assert self.former is not None
        numbers = self.former.lost_with(lost)
        if self._resume == FAILED:
            numbers += self.former.failed()
        if numbers:
            self.journal.append_or_raise(self.former.run_again(numbers))

    def begin(self, message: Prepare, opened: Open, place: str) -> tuple[Prepare, Open]:
        """Record the computation; returns it and its `Open` as they are to be sent. Raises ConfigError."""
        token, epoch = secrets.token_bytes(16), 1
        if self.former is not None:
            former = self.former
            name = former.owned.name if former.owned is not None else "?"
            if name != message.name:
                raise ConfigError(
                    f"{self.path} is about {name}, and this computation is {message.name}: give another file"
                )
            token, epoch = former.open.token, former.open.epoch + 1
            message = replace(message, computation=former.id)
            self._left = dict(former.jobs)
            for number, job in former.jobs.items():
                self._by_call.setdefault(_digest(joined(job.arguments)), deque()).append(number)
        self._computation = message.computation
        message = replace(message, token=token, epoch=epoch)
        opened = replace(opened, computation=message.computation, token=token, epoch=epoch)
        # The nodes and the program have the function and the files.
        short = replace(message, body=b"", files=[], contents=[], arguments=b"", source=b"")
        self.journal.begin("client", Instance(secrets.token_bytes(16)), epoch)
        owned = Owned(message.computation, b"", message.name, place)
        self.journal.append_or_raise([opened, owned, short])
        self.journal.sync()
        return message, opened

    def submitted(self, number: int, payload: Bulk, options: JobOptions | None, name: object) -> None:
        """Record a job before it is submitted. Raises JournalError; then it must not be submitted."""
        fields: list[Any] = [self._computation, [number], [1], [payload], [options] if options else []]
        is_due = self._submissions.is_due(time.time())
        if name is None and not is_due and not self._names and self.journal.add([Run.tag, *fields]):
            return
        if isinstance(payload, Payload) and payload.size > LONGEST:
            text = f"the arguments have {payload.size:,} bytes, and {self.path} keeps at most {LONGEST:,} of one job"
            raise JournalError(f"{text}: pass the name of a file instead")
        run = Run(*fields)
        before = self._pending()
        if is_due:
            before += self._noted(JobId(number))
        if name is not None:
            self.named(number, name)
        self.journal.append_or_raise([*before, run, *self._pending()])

    def _noted(self, number: JobId) -> list[Message]:
        with self._lock:
            now = time.time()
            return [Submitted(self._computation, [number], [now])] if self._submissions.note(number, now) else []

    def named(self, number: int, name: object) -> None:
        """Record the user's id of a job. It is written with the next job, or a little later."""
        try:
            data = joined_dump(name)
        except Exception as error:
            logger.warning("the id of job %d is not kept: it cannot be pickled: %s", number, error)
            return
        with self._lock:
            self._names.append((JobId(number), data))

    def told(self, number: int) -> None:
        """The user's callback was called for the end of a job. Written immediately, so that it is not called again; not
        if the cluster is closed, and the callback runs late."""
        if self._is_closed:
            return
        self.journal.append([*self._pending(), Told(self._computation, [JobId(number)])])

    def flush(self) -> None:
        """Write deferred facts."""
        facts = self._pending()
        if facts:
            self.journal.append(facts)

    def _pending(self) -> list[Message]:
        if not self._names:
            return []
        with self._lock:
            names, self._names = self._names, []
        return [JobNames(self._computation, [job for job, _ in names], [name for _, name in names])] if names else []

    def taken_up(self, payload: Bulk, call: object) -> JobId | None:
        """The job of the previous run that is submitted again with this; None for a new job."""
        if not self._left:
            return None
        data = joined(payload)
        number = self._take(self._by_call.get(_digest(data)))
        if number is None:
            content = content_digest(data)
            if content is not None:
                number = self._take(self._jobs_by_content().get(content))
        if number is not None:
            return number
        # Equal arguments may be pickled differently for other reasons.
        number = next(iter(self._left))
        if _is_same(self._left[number].arguments, call):
            del self._left[number]
            return number
        if not self._is_new_job_logged:
            self._is_new_job_logged = True
            text = (
                "%s: a submitted job has other arguments than the %d jobs of the previous run that were not submitted"
            )
            logger.warning(text + " again so far: it is a new job (logged once)", self.path, len(self._left))
        return None

    def _take(self, numbers: deque[JobId] | None) -> JobId | None:
        """The first of these jobs that was not submitted again."""
        while numbers:
            number = numbers.popleft()
            if self._left.pop(number, None) is not None:
                return number
        return None

    def _jobs_by_content(self) -> dict[bytes, deque[JobId]]:
        if self._by_content is None:
            found: defaultdict[bytes, deque[JobId]] = defaultdict(deque)
            for number, job in list(self._left.items()):
                content = content_digest(joined(job.arguments))
                if content is not None:
                    found[content].append(number)
            self._by_content = found
        return self._by_content

    def give_up(self) -> None:
        """The cluster could not be created: leave the file as it was found."""
        self.journal.close(remove=self.former is None)

    def close(self) -> None:
        """The cluster is closed. If nothing in the file is needed, it is removed."""
        self._is_closed = True
        self.flush()
        self.journal.close(remove=not self.stays)


def _former(path: str, reading: Reading) -> ComputationHistory | None:
    histories = list(reading.remembered.histories.values())
    began = reading.remembered.began
    if began is not None and began.kind != "client":
        raise JournalError(f"{path} is the journal of a {began.kind}, and no recovery file")
    if not histories:
        return None
    histories[0].rebooted = began is not None and began.boot != boot_name()
    return histories[0]


def call_of(payload: Bulk) -> Any:
    """The call of a job: `(args, kwargs)` of a function, the arguments of a program."""
    return pickling.loads(payload.parts() if isinstance(payload, MemoryPayload) else payload)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _is_same(payload: Bulk, call: object) -> bool:
    try:
        return _are_same(call_of(payload), call)
    except Exception:  # Comparing objects of the user's classes may raise any exception.
        return False


def _are_same(one: Any, other: Any) -> bool:
    """Equal and of the same types: 1, 1.0 and True are equal, but calls with them have different results."""
    kind = type(one)
    if kind is not type(other):
        return False
    if kind is list or kind is tuple:
        return len(one) == len(other) and all(map(_are_same, one, other))
    if kind is dict or kind is set or kind is frozenset:
        if len(one) != len(other):
            return False
        keys = {key: key for key in other}
        for key in one:
            if key not in keys or not _are_same(key, keys[key]):
                return False
            if kind is dict and not _are_same(one[key], other[key]):
                return False
        return True
    if kind is float or kind is complex:
        return repr(one) == repr(other)  # 0.0 == -0.0
    return bool(one == other)
