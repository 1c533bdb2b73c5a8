"""The command `gdispy journal FILE`: shows a recovery file, or the journal of a scheduler or a node.

It only reads, also while another process writes, and unpickles nothing: jobs are shown by number, not by the user's id.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence

from gdispy.cli.options import EXIT_FAILED, add_common_options, fail, parse, set_up_logging
from gdispy.client.job import STATUS_NAMES
from gdispy.errors import ConfigError, GdispyError
from gdispy.journal.format import Facts, Reading, read
from gdispy.protocol import job_status
from gdispy.protocol.ids import JobId
from gdispy.protocol.limits import PRINTED_LINES_LIMIT, printable
from gdispy.protocol.message import Message
from gdispy.protocol.payload import Payload, bulk_size
from gdispy.rules.history.replay import ComputationHistory, Job

_FAULTS = {
    "": "",
    "torn": "; the last record is incomplete, because its writer was interrupted",
    "damaged": "; the file is damaged there, and the rest cannot be trusted",
}

_EXAMPLES = """examples:
  gdispy journal jobs.recover              a summary
  gdispy journal --jobs jobs.recover       with each job
  gdispy journal --facts ~/.local/state/gdispy/scheduler-51347/journal
"""


def journal_parser() -> argparse.ArgumentParser:
    """The options of `gdispy journal`."""
    parser = argparse.ArgumentParser(
        prog="gdispy journal",
        description="Show the contents of a recovery file or journal.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="the file; it may be in use")
    parser.add_argument("--jobs", action="store_true", help="show each job")
    parser.add_argument("--facts", action="store_true", help="show all records in order")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_common_options(parser)
    return parser


def journal_main(words: Sequence[str] | None = None) -> int:
    """`gdispy journal`; the exit code: 1 if the file is damaged or is not a journal."""
    options = parse(journal_parser(), words)
    set_up_logging("gdispy: %(message)s", options.debug)
    try:
        reading = read(checked_file(options.file))
    except (GdispyError, OSError) as error:
        return fail("gdispy journal", error)
    if options.json:
        print(json.dumps(_as_json(options.file, reading), indent=2))
    else:
        for line in _lines(options.file, reading, options.jobs):
            print(printable(line, PRINTED_LINES_LIMIT))
    if options.facts:
        try:
            for fact in Facts(options.file):
                print(printable(_fact_line(fact), PRINTED_LINES_LIMIT))
        except (GdispyError, OSError) as error:
            return fail("gdispy journal", error)
    return EXIT_FAILED if reading.fault == "damaged" else 0


def checked_file(path: str) -> str:
    """Returns the path unless it is a directory. Raises ConfigError."""
    if os.path.isdir(path):
        inside = os.path.join(path, "journal")
        advice = f": did you mean {inside}?" if os.path.isfile(inside) else "; name a recovery file or journal"
        raise ConfigError(f"{path} is a directory{advice}")
    return path


def _lines(path: str, reading: Reading, with_jobs: bool) -> Iterator[str]:
    began = reading.remembered.began
    if began is None:
        whose = "empty"
    else:
        whose = (
            f"kept by a {began.kind}: process {began.pid} on {began.host}, gdispy {began.version}, epoch {began.epoch}"
        )
    yield f"{path}: {whose}"
    yield f"valid up to byte {reading.end:,}{_FAULTS[reading.fault]}"
    for history in reading.remembered.histories.values():
        yield from _history_lines(history, with_jobs)


def _history_lines(history: ComputationHistory, with_jobs: bool) -> Iterator[str]:
    counts = Counter(_state(job) for job in history.jobs.values())
    told = ", ".join(f"{count} {state}" for state, count in counts.items()) or "no jobs"
    name = history.owned.name if history.owned is not None else "?"
    where = f", at the scheduler {history.owned.place}" if history.owned is not None and history.owned.place else ""
    yield f"computation {name} ({history.id.hex()}, epoch {history.open.epoch}){where}: {told}"
    for met in history.nodes.values():
        yield f"  node {met.name} at {met.names[0]}:{met.port} ({met.node.hex()[:8]})"
    if with_jobs:
        for number, job in history.jobs.items():
            yield f"  job {number}: {_job_line(history, job)}"


def _state(job: Job) -> str:
    if job.outcome is None:
        return "on a node" if job.node is not None else "not begun"
    ended, place = job.outcome
    return STATUS_NAMES.get(ended.statuses[place], "?").lower()


def _job_line(history: ComputationHistory, job: Job) -> str:
    met = history.nodes.get(job.node) if job.node is not None else None
    parts = [_state(job), f"attempt {job.attempt}", f"{bulk_size(job.arguments)} bytes of arguments"]
    if job.options is not None and job.options.priority:
        parts.append(f"priority {job.options.priority:g}")
    if met is not None:
        parts.append(f"node {met.name}")
    if job.outcome is not None:
        ended, place = job.outcome
        parts.append(f"{bulk_size(ended.results[place])} bytes of result")
        reason = ended.exceptions[place].strip().rpartition("\n")[2]
        if reason and ended.statuses[place] != job_status.FINISHED:
            parts.append(reason)
    return ", ".join(parts)


def _fact_line(fact: Message) -> str:
    fields = [f"{name}={_short(getattr(fact, name))}" for name in fact.__match_args__]
    return f"{type(fact).__name__} {' '.join(fields)}"


def _short(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 16 else f"<{len(value)} bytes>"
    if isinstance(value, Payload):
        return f"<{value.size} bytes>"
    if isinstance(value, list | tuple):
        shown = [_short(each) for each in value[:8]]
        return f"[{', '.join(shown)}{f', ... {len(value)} in all' if len(value) > 8 else ''}]"
    return str(value)


def _as_json(path: str, reading: Reading) -> dict[str, object]:
    began = reading.remembered.began
    return {
        "file": path,
        "kind": began.kind if began is not None else None,
        "pid": began.pid if began is not None else None,
        "host": began.host if began is not None else None,
        "life": began.epoch if began is not None else None,
        "good_bytes": reading.end,
        "fault": reading.fault,
        "computations": [_history_json(history) for history in reading.remembered.histories.values()],
    }


def _history_json(history: ComputationHistory) -> dict[str, object]:
    def job_json(number: JobId, job: Job) -> dict[str, object]:
        node = history.nodes.get(job.node) if job.node is not None else None
        return {
            "job": number,
            "state": _state(job),
            "attempt": job.attempt,
            "node": node.name if node is not None else None,
            "cancelled": job.cancelled,
        }

    return {
        "computation": history.id.hex(),
        "name": history.owned.name if history.owned is not None else None,
        "scheduler": history.owned.place if history.owned is not None else None,
        "epoch": history.open.epoch,
        "nodes": [[met.name, met.names[0], met.port] for met in history.nodes.values()],
        "jobs": [job_json(number, job) for number, job in history.jobs.items()],
    }
