"""The command `gdispy logs [HOST]`: what a shared scheduler and its nodes have logged, in the order of time.

Runs in a process that gevent has patched. Times are by the clock of each daemon; the order within a daemon is kept even
if its clock was set back. With `-f` it asks again each second, over one connection while that lasts.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from gdispy.cli.durations import seconds_of
from gdispy.cli.interruption import interrupted
from gdispy.cli.options import Once, fail, parse, set_up_logging
from gdispy.cli.scheduler_request import SchedulerLink, add_connection_options, add_scheduler_argument, scheduler_of
from gdispy.cli.standard_streams import check_standard_output
from gdispy.errors import ConnectFailed, GdispyError
from gdispy.protocol.ids import Instance
from gdispy.protocol.limits import COLUMN_LIMIT, counted, printable, printable_for_log
from gdispy.protocol.messages import LogEvents, LogRequest
from gdispy.protocol.rows import LogPosition, LogRow

_ABOUT = """Show what a gdispy-scheduler and its nodes have logged: each keeps its last 2,000 records, or 200 KB.
Times are by the clock of each machine."""

#: Seconds between two questions with -f.
INTERVAL = 1.0
#: Bytes of texts that are asked for.
BYTES = 2_000_000


def logs_parser() -> argparse.ArgumentParser:
    """The options of `gdispy logs`."""
    parser = argparse.ArgumentParser(prog="gdispy logs", description=_ABOUT)
    add_scheduler_argument(parser)
    text = "continue with what is logged from now on, until Ctrl-C"
    parser.add_argument("-f", "--follow", action="store_true", help=text)
    text = "only what is not older, such as 90s, 10m, 2h or 1d (default: all that is kept)"
    parser.add_argument("--since", action=Once, default="", metavar="TIME", help=text)
    text = "only this node: its name, or its address, optionally with ':port', or a pattern such as 'lab*'"
    parser.add_argument("--node", action=Once, default="", metavar="NAME", help=text)
    text = "print an object for each record: `time` (seconds since 1970), `where`, `level`, `text`"
    parser.add_argument("--json", action="store_true", help=text)
    add_connection_options(parser)
    return parser


def logs_main(words: Sequence[str] | None = None) -> int:
    """`gdispy logs`; the exit code."""
    options = parse(logs_parser(), words)
    set_up_logging("gdispy: %(message)s", options.debug)
    try:
        seconds = seconds_of("--since", options.since) if options.since else 0.0
        secret, place = scheduler_of(options)
        reader = LogReader(lambda: SchedulerLink(secret, *place), seconds, options.node)
        show = _Printer(options.json)
        try:
            show(reader.read())  # An error in the first request is more likely a mistake of the user.
            if options.follow:
                _follow(reader, show)
        finally:
            reader.close()
    except (GdispyError, OSError) as error:
        return fail("gdispy logs", error)
    return 0


def _follow(reader: LogReader, show: Callable[[LogEvents], None]) -> None:
    """Show what is logged, until Ctrl-C. A scheduler that is away is waited for."""
    stop, told = interrupted(), ""
    while not stop.wait(INTERVAL):
        check_standard_output()  # Without a reader there is nothing to wait for.
        try:
            found = reader.read()
        except GdispyError as error:
            if str(error) != told:  # Not each second.
                told = str(error)
                print(f"gdispy logs: {told}", file=sys.stderr)
            continue
        told = ""
        show(found)


class LogReader:
    """Asks a scheduler for records, each of them once."""

    def __init__(self, connect: Callable[[], SchedulerLink], seconds: float, node: str) -> None:
        self._connect, self._seconds, self._node = connect, seconds, node
        self._link: SchedulerLink | None = None
        self._question = 0
        #: The number of the next record of each log.
        self._next: dict[Instance, int] = {}

    def read(self) -> LogEvents:
        """The records since the last call. Raises GdispyError."""
        if self._link is None:
            self._link = self._connect()
        self._question += 1
        positions = [LogPosition(*each) for each in self._next.items()][-COLUMN_LIMIT:]
        request = LogRequest(self._question, self._seconds, BYTES, self._node, positions)
        try:
            found = self._link.ask(request, LogEvents)
        except ConnectFailed:
            self.close()
            raise
        if found.error:
            raise GdispyError(printable(found.error))
        for row in found.rows:
            self._next[row.log] = max(self._next.get(row.log, 0), row.number + 1)
        return found

    def close(self) -> None:
        """Close the connection; the next call of `read` makes another."""
        link, self._link = self._link, None
        if link is not None:
            link.close()


class _Printer:
    """Prints records on standard output, and what is missing on standard error."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._problems: list[str] = []

    def __call__(self, found: LogEvents) -> None:
        if found.left_out:
            what = counted(found.left_out, "older record")
            print(f"gdispy logs: {what} left out: they are not kept, or too many for one answer", file=sys.stderr)
        for row in merged(found.rows):
            sys.stdout.write(f"{_object(row) if self._as_json else line(row)}\n")
        sys.stdout.flush()
        for problem in found.problems:
            if problem not in self._problems:
                print(f"gdispy logs: {printable(problem)}", file=sys.stderr)
        self._problems = found.problems


def merged(rows: Sequence[LogRow]) -> Iterator[LogRow]:
    """The records in the order of their times, those of each log in their own order."""
    logs: dict[Instance, list[LogRow]] = {}
    for row in rows:
        logs.setdefault(row.log, []).append(row)
    return heapq.merge(*logs.values(), key=lambda row: row.time)


def line(row: LogRow) -> str:
    """A record as a line, or several; those after the first are indented."""
    return f"{_clock(row.time)} {printable(row.where)} {printable(row.level)} {printable_for_log(row.text)}"


def _clock(seconds: float) -> str:
    try:
        whole = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "(no valid time)"
    return f"{whole}.{int(seconds % 1 * 1000):03}"


def _object(row: LogRow) -> str:
    return json.dumps({"time": row.time, "where": row.where, "level": row.level, "text": row.text})
