"""The file `usage.json` of a scheduler: its history of use over its restarts.

Used in the scheduler's loop. The file is written within ten seconds of a change, and when the scheduler ends: a
crash costs these seconds of the history. It is not part of the journal, which forgets jobs whose outcomes were
collected.
"""

from __future__ import annotations

import datetime
import json
import logging
import os

import gevent

from gdispy.protocol.client_names import parse
from gdispy.protocol.ids import JobId, Peer
from gdispy.protocol.messages import Ended
from gdispy.protocol.rows import UsageRow
from gdispy.rules.scheduler.usage import UsageHistory
from gdispy.runtime.greenlets import keep_running

logger = logging.getLogger(__name__)

#: Seconds between two writes.
WRITE_INTERVAL = 10.0


class UsageFile:
    """The history of use, in a file or, without a directory, in memory only."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(os.path.abspath(directory), "usage.json") if directory else ""
        self.history = UsageHistory(_read(self._path))
        #: The users of clients.
        self.users: dict[Peer, str] = {}
        self._has_changed = False

    def count(self, client: Peer, ended: Ended, widths: dict[JobId, int]) -> None:
        """Jobs of a client have ended on a node; as in `UsageHistory.count`."""
        day = datetime.date.today().isoformat()
        self.history.count(day, self.users.get(client, "(unknown)"), ended, widths)
        self._has_changed = True

    def admit(self, client: Peer, name: str) -> None:
        """A client has this name, as in `client_names`."""
        self.users[client] = parse(name).person

    def rows(self, days: int) -> list[UsageRow]:
        """The rows of the last `days` days, today included."""
        first = datetime.date.today() - datetime.timedelta(days=max(0, min(days, 36500) - 1))
        return self.history.rows(first.isoformat())

    def keep(self) -> None:
        """Start writing, in a greenlet of the calling loop."""
        if self._path:
            keep_running(self._keep, what="writing the history of use")

    def _keep(self) -> None:
        while True:
            gevent.sleep(WRITE_INTERVAL)
            self.write()

    def write(self) -> None:
        """Write the file if something has changed. A failure is logged, and it is tried again."""
        if not self._path or not self._has_changed:
            return
        draft = f"{self._path}.new"
        try:
            with open(draft, "w", encoding="utf-8") as file:
                json.dump({"format": 1, "rows": self.history.rows()}, file)
            os.replace(draft, self._path)
        except OSError as error:
            logger.warning("the history of use could not be written to %s: %s", self._path, error.strerror)
            return
        self._has_changed = False


def _read(path: str) -> list[UsageRow]:
    """The rows in a file; a damaged one is renamed, so that it is not overwritten."""
    if not path or not os.path.exists(path):
        return []
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if found["format"] != 1:
            raise ValueError(f"its format is {found['format']!r}")
        return [_checked(row) for row in found["rows"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        aside = f"{path}.damaged"
        logger.warning("the history of use in %s cannot be read (%s); it is now %s", path, error, aside)
        try:
            os.replace(path, aside)
        except OSError as reason:
            logger.warning("%s cannot be renamed: %s", path, reason.strerror)
        return []


def _checked(row: list[object]) -> UsageRow:
    day, user, *counts, seconds = row
    if not isinstance(day, str) or not isinstance(user, str):
        raise ValueError(f"{row!r} is not a row")
    finished, failed, other = (int(str(each)) for each in counts)
    return UsageRow(datetime.date.fromisoformat(day).isoformat(), user, finished, failed, other, float(str(seconds)))
