"""The spool of a node: the outcomes of clients that are away, on disk, and their restoration after a restart.

Runs in the node's loop; the rules (`rules/node/outcomes.py`) decide which outcomes are written, `file.py` how.

    PREFIX/spool/<computation>   a journal for each computation, locked by the node that has it

Invariant: a file is removed only when its computation was released, or by `--clean`.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Callable

import gevent

from gdispy.errors import ConfigError, JournalError
from gdispy.journal.file import Journal
from gdispy.protocol.ids import ComputationId, Instance
from gdispy.protocol.message import Message
from gdispy.protocol.messages import Release
from gdispy.rules.history.replay import ComputationHistory
from gdispy.runtime.greenlets import keep_running

logger = logging.getLogger(__name__)

#: Seconds between two checks for free space.
LOOK_INTERVAL = 1.0


class NodeSpool:
    """The outcomes of one node that wait for their clients."""

    def __init__(self, prefix: str, instance: Instance, limit: int, on_change: Callable[[str], None]) -> None:
        self._directory = os.path.join(prefix, "spool")
        self._instance = instance
        #: Bytes that it may hold; 0 for no limit.
        self._limit = limit
        #: Called with the reason why no more can be written, or '' when writing works again.
        self._on_change = on_change
        self._journals: dict[ComputationId, Journal] = {}
        self._trouble = ""
        self._watcher: gevent.Greenlet | None = None

    def load(self, age: float) -> list[ComputationHistory]:
        """The histories that previous nodes with this directory have left, except those older than `age` seconds.
        Raises ConfigError."""
        histories: list[ComputationHistory] = []
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            names = [name for name in os.listdir(self._directory) if re.fullmatch("[0-9a-f]{16}", name)]
        except OSError as error:
            raise ConfigError(f"{self._directory} cannot be used: {error.strerror}") from error
        for name in sorted(names):
            histories += self._load_one(os.path.join(self._directory, name), age)
        return histories

    def _load_one(self, path: str, age: float) -> list[ComputationHistory]:
        try:
            is_old = time.time() - os.stat(path).st_mtime > age
            journal, reading = Journal.open(path)
        except (OSError, JournalError) as error:
            if "in use" not in str(error):
                logger.error("results of a client are not given out: %s", error)
            return []
        histories = list(reading.remembered.histories.values())
        if is_old or not any(history.jobs for history in histories):
            journal.close(remove=True)
            return []
        self._journals[histories[0].id] = journal
        journal.keep(self._look_again)
        logger.info("%d results wait for client %s", len(histories[0].jobs), histories[0].open.computation.hex())
        return histories[:1]

    def record(self, computation: ComputationId, facts: list[Message]) -> None:
        """Write these facts; after `Release` the file is removed."""
        journal = self._journals.get(computation)
        if isinstance(facts[-1], Release):
            if journal is not None:
                del self._journals[computation]
                journal.close(remove=True)
            return
        if journal is None:
            journal = self._open(computation)
        if journal is not None and not journal.append(facts):
            self._tell(journal.stuck)
        elif self._limit and self.size > self._limit:
            self._tell(f"results that wait for clients take {self.size:,} bytes, of {self._limit:,} (--spool_size)")

    def _open(self, computation: ComputationId) -> Journal | None:
        path = os.path.join(self._directory, computation.hex())
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            journal, _ = Journal.open(path)
            journal.begin("node", self._instance, 0)
        except (OSError, JournalError) as error:
            logger.error("results cannot be written down, and are in memory only: %s", error)
            self._tell(str(error))
            return None
        journal.keep(self._look_again)
        self._journals[computation] = journal
        return journal

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return sum(journal.size for journal in self._journals.values())

    def _tell(self, trouble: str) -> None:
        if trouble and not self._trouble:
            logger.error("no new jobs are taken: %s", trouble)
            self._watcher = keep_running(self._watch, what="the watch over the disk of results")
        if bool(trouble) != bool(self._trouble):
            self._on_change(trouble)
        self._trouble = trouble

    def _watch(self) -> None:
        while self._trouble:
            gevent.sleep(LOOK_INTERVAL)
            self._look_again()

    def _look_again(self) -> None:
        is_stuck = any(journal.stuck for journal in self._journals.values())
        if self._trouble and not is_stuck and not (self._limit and self.size > self._limit) and self._has_room():
            logger.info("results can be written down again")
            self._tell("")

    def _has_room(self) -> bool:
        return shutil.disk_usage(self._directory).free > 1 << 20

    def close(self) -> None:
        """The node ends; the files stay for its next run."""
        if self._watcher is not None:
            self._watcher.kill(block=False)
        for journal in self._journals.values():
            journal.close()
