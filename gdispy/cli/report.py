"""The command `gdispy report FILE`: a report of the jobs that a recovery file, or a scheduler's journal, has.

It only reads, also while another process writes, and unpickles nothing. The file is read several times, record by
record, so memory does not grow with the results in it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence

from gdispy.cli.journal import checked_file
from gdispy.cli.options import Once, add_common_options, fail, parse, set_up_logging
from gdispy.client.run_record import JobRecord, NodeLabels
from gdispy.client.run_report import as_json, write
from gdispy.client.run_summary import summarize
from gdispy.errors import ConfigError, GdispyError, JournalError
from gdispy.journal.format import Facts
from gdispy.protocol.error_lines import error_line
from gdispy.protocol.ids import ComputationId
from gdispy.protocol.message import Message
from gdispy.protocol.messages import Ended, Open, Prepare
from gdispy.rules.arrivals import Arrivals
from gdispy.rules.history.facts import Met, Owned, Submitted, Unplaced

_EXAMPLES = """examples:
  gdispy report jobs.recover                      writes jobs.recover.html
  gdispy report jobs.recover -o run.html
  gdispy report jobs.recover --json               the figures as JSON on standard output
  gdispy report jobs.recover --trace run.trace.json
  gdispy report ~/.local/state/gdispy/scheduler-51347/journal --computation compute -o run.html

A recovery file has all jobs of its program. A scheduler's journal has those whose outcomes were not collected yet.
Times of submission are exact to a hundredth of a second in a recovery file, and less so after hours.
Of a damaged file the jobs before the damage are reported, with a warning, and the exit status is 1.
"""


def report_parser() -> argparse.ArgumentParser:
    """The options of `gdispy report`."""
    parser = argparse.ArgumentParser(
        prog="gdispy report",
        description="Write a report of the jobs in a recovery file or journal.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="the recovery file or journal; it may be in use")
    add("-o", "--output", action=Once, default="", metavar="FILE", help="the page to write (default: FILE.html)")
    add("--json", action="store_true", help="print the figures as JSON instead")
    text = "write a trace instead, in the format of Chrome and Perfetto; the name ends with .trace.json"
    add("--trace", action=Once, default="", metavar="FILE", help=text)
    text = "name of the computation, if the file has several; its identifier in hexadecimal digits also works"
    add("--computation", action=Once, default="", metavar="NAME", help=text)
    add_common_options(parser)
    return parser


def report_main(words: Sequence[str] | None = None) -> int:
    """`gdispy report`; the exit code: 1 if no job in the file has ended, or if the file is damaged."""
    options = parse(report_parser(), words)
    set_up_logging("gdispy: %(message)s", options.debug)
    try:
        path = checked_file(options.file)
        if options.trace and not options.trace.endswith(".trace.json"):
            raise ConfigError(f"the name of a trace ends with .trace.json, not {options.trace!r}")
        if options.output and not options.output.endswith(".html"):
            raise ConfigError(f"-o is a page, whose name ends with .html, not {options.output!r}")
        facts = Facts(path)
        names = _names(facts)
        warning = _warning(path, facts)
        computation, name = _chosen(path, names, options.computation, warning)

        def records() -> Iterator[JobRecord]:
            return ended_jobs(path, computation)

        if next(records(), None) is None:
            raise GdispyError(_with(warning, f"no job of {name} in {path} has ended"))
        if options.json:
            print(json.dumps(as_json(summarize(name, records, warning=warning)), indent=2))
        else:
            goal = options.trace or options.output or f"{path}.html"
            write(goal, name, records, warning=warning)
            print(goal)
    except (GdispyError, OSError) as error:
        return fail("gdispy report", error)
    return fail("gdispy report", JournalError(warning)) if warning else 0


def _warning(path: str, facts: Facts) -> str:
    """What is to be said of a damaged file whose facts were read, or ''."""
    if facts.fault != "damaged":
        return ""
    return f"{path} is valid up to byte {facts.end:,} and damaged there: jobs that ended later are missing"


def _with(warning: str, text: str) -> str:
    return f"{text} before the damage; {warning}" if warning else text


def _names(facts: Iterable[Message]) -> dict[ComputationId, str]:
    """The computations in a file, with their names."""
    names: dict[ComputationId, str] = {}
    for fact in facts:
        if isinstance(fact, Open):
            names.setdefault(fact.computation, fact.computation.hex())
        elif isinstance(fact, Owned | Prepare) and fact.computation in names:
            names[fact.computation] = fact.name
    return names


def _chosen(path: str, names: dict[ComputationId, str], wanted: str, warning: str) -> tuple[ComputationId, str]:
    """The computation to report, and its name. Raises ConfigError if that is not clear."""
    found = {number: name for number, name in names.items() if not wanted or wanted in (name, number.hex())}
    if not found:
        named = f" named {wanted}" if wanted else ""
        raise ConfigError(_with(warning, f"{path} has no computation{named}"))
    if len(found) > 1:
        shown = ", ".join(f"{name} ({number.hex()})" for number, name in found.items())
        raise ConfigError(f"{path} has several computations, choose one with --computation: {shown}")
    return next(iter(found.items()))


def ended_jobs(path: str, computation: ComputationId) -> Iterator[JobRecord]:
    """The jobs of a computation that have ended, in the order of their ends; a job that has run again has several."""
    met: dict[bytes, Met] = {}
    labels = NodeLabels()
    seen: set[int] = set()
    submissions = Arrivals()
    for fact in Facts(path):
        if isinstance(fact, Met) and fact.computation == computation:
            met[fact.node] = fact
        elif isinstance(fact, Submitted) and fact.computation == computation:
            for first, moment in zip(fact.jobs, fact.times, strict=True):
                submissions.note(first, moment)
        elif isinstance(fact, Unplaced) and fact.computation == computation:
            seen.difference_update(fact.jobs)  # They run again.
        elif isinstance(fact, Ended) and fact.computation == computation:
            node = _node_of(fact, met, labels)
            submitted = submissions.times(fact.jobs)
            for place, job in enumerate(fact.jobs):
                if job not in seen:
                    seen.add(job)
                    error = error_line(fact.exceptions[place]) if fact.exceptions[place] else ""
                    times = fact.starts[place], fact.ends[place]
                    yield JobRecord(job, fact.statuses[place], submitted[place], *times, node, error)


def _node_of(ended: Ended, met: dict[bytes, Met], labels: NodeLabels) -> str:
    """The label of the node of these jobs. The file of a `SharedJobCluster` does not describe nodes."""
    node = met.get(ended.node)
    if node is not None:
        return labels.of(node.name, node.names[0] if node.names else "", node.port, ended.node)
    return labels.of(ended.address, "", 0, ended.node) if ended.node else ended.address
