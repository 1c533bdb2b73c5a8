"""The command `gdispy PROGRAM`: runs a program on the nodes, once for each job, and prints the output of each run.

Runs in a process that gevent has patched.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from gdispy.cli.command_line import CommandLine
from gdispy.cli.interruption import Interruption
from gdispy.cli.job_lines import JobLines, arrived, shuffled
from gdispy.cli.job_log import LoggedJobs
from gdispy.cli.job_outcome import JobLine
from gdispy.cli.job_printer import JobPrinter, JsonForm, PlainForm
from gdispy.cli.live_lines import LiveLines
from gdispy.cli.node_wait import LOCAL_ADVICE
from gdispy.cli.options import EXIT_FAILED, fail, parse, set_up_logging
from gdispy.cli.program_run import EndedJobs, JobRecords, ProgramRun, Slots, Totals
from gdispy.cli.run_options import RunOptions, parser
from gdispy.client.cluster import JobCluster
from gdispy.client.progress_bar import bar_for
from gdispy.client.shared_cluster import SharedJobCluster
from gdispy.client.status import table
from gdispy.errors import GdispyError
from gdispy.protocol.limits import counted


def run_main(words: Sequence[str] | None = None) -> int:
    """`gdispy`; returns the exit code."""
    interruption = Interruption()
    with interruption.raised():
        try:
            return _main(sys.argv[1:] if words is None else words, interruption)
        except (GdispyError, OSError) as error:
            return fail("gdispy", error)
        except KeyboardInterrupt:
            if interruption.number:
                interruption.report("nothing was running")
            return interruption.exit_code


def _main(words: Sequence[str], interruption: Interruption) -> int:
    known = parser()
    line = CommandLine.split(known, words)
    options = parse(known, line.options, verbatim="-a")
    set_up_logging("gdispy: %(message)s", options.debug)
    chosen = RunOptions(options, line)
    logged = LoggedJobs.read(options.joblog) if _resumes(options) else None
    lines = _lines(options, chosen.lines, logged)
    if options.dry_run:
        return _print_commands(chosen.lines, lines)
    shows = options.bar or sys.stderr.isatty()
    is_counted = (shows or options.page) and not _resumes(options)
    totals = Totals(chosen.lines.count() if is_counted else None)
    code = 0
    for first in arrived(lines):  # Without jobs, no node is needed.
        code = _run(options, chosen, chain([first], lines), totals, shows, interruption)
        break
    else:
        if logged is None or not logged.last:
            print("gdispy: there are no arguments, so no jobs", file=sys.stderr)
    if logged is not None and not options.resume_failed and logged.failed and not code:
        return _report_former(logged.failed)
    return code


def _report_former(failed: int) -> int:
    """Jobs that a previous run has logged as failed were not run again: the whole has failed."""
    text = f"gdispy: {counted(failed, 'job')} of the log failed in a previous run; --resume-failed runs such jobs again"
    print(text, file=sys.stderr)
    return EXIT_FAILED


def _resumes(options: argparse.Namespace) -> bool:
    return bool(options.resume or options.resume_failed)


def _lines(options: argparse.Namespace, lines: JobLines, logged: LoggedJobs | None) -> Iterator[JobLine | None]:
    """The jobs to run, in the order in which they are run."""
    found = lines.lines()
    if logged is not None:
        found = lines.unfinished(logged, options.resume_failed)
    return shuffled(found) if options.shuf else found


def _print_commands(lines: JobLines, found: Iterator[JobLine | None]) -> int:
    for line in arrived(found):
        sys.stdout.buffer.write(lines.command(line).encode("utf-8", "surrogateescape") + b"\n")
    return 0


def _run(
    options: argparse.Namespace,
    chosen: RunOptions,
    lines: Iterator[JobLine | None],
    totals: Totals,
    shows: bool,
    interruption: Interruption,
) -> int:
    records = JobRecords.open(options.results, options.joblog, _resumes(options), chosen.lines.command)
    if not _resumes(options):
        _warn_of_results(records, options.results)
    ended = EndedJobs()
    live = LiveLines(options.tag, ended.wake) if options.line_buffer else None
    form = live or (JsonForm() if options.json else PlainForm(options.tag))
    printer = JobPrinter(options.program, form, options.keep_order and live is None, records.printed)
    cluster = _cluster(options, chosen.common_files, records)
    if live is not None:
        cluster._engine.table.live = live
    bar = bar_for(totals.counts, stays=False) if shows else None
    rules = (chosen.window(), chosen.halt_rule, chosen.attempts)
    slots = Slots() if chosen.lines.have_slots else None
    run = ProgramRun(
        cluster, lines, printer, records, *rules, totals, bar, slots, ended, live, interruption, chosen.node_wait
    )
    with cluster:
        if options.page:
            _serve_page(options, cluster, totals)
        try:
            with interruption.noted(ended.wake):
                is_good = run.run()
        except GdispyError:  # No node can be expected, or output or records cannot be written.
            cluster.close(timeout=0, terminate=True)
            raise
        if interruption.number:
            cluster.close(timeout=0, terminate=True)
            return interruption.exit_code
        if options.stats:
            print(table(cluster.status(), totals.wall_time), file=sys.stderr)
        if run.is_cut_short:
            cluster.close(timeout=0, terminate=True)
    return 0 if is_good else EXIT_FAILED


def _warn_of_results(records: JobRecords, path: str) -> None:
    """Results of different runs could be taken for those of one."""
    number = records.results.count() if records.results is not None else 0
    if number:
        text = (
            f"gdispy: --results {path} has {counted(number, 'folder')} of a previous run: those of jobs with the same "
        )
        print(f"{text}numbers are replaced when the jobs end, and others stay", file=sys.stderr)


def _serve_page(options: argparse.Namespace, cluster: JobCluster, totals: Totals) -> None:
    """It ends with the program."""
    from gdispy.client.page import serve  # It imports a web server.

    shown = (options.page_port or 0, options.page_arguments, options.page_admin)
    serve(cluster, "127.0.0.1", *shown, expected=lambda: totals.counts.total)


def _cluster(options: argparse.Namespace, files: list[str], records: JobRecords) -> JobCluster:
    nodes = [*options.nodes, *(["local"] if options.local else [])]
    both: dict[str, Any] = {
        "nodes": nodes or ["*"],
        "depends": files,
        "ip_addr": options.ip_addr,
        "dest_path": options.dest_path,
        "job_directory": True,
        "output_limit": None,
        "results": "plain",  # Exit codes only: nothing is unpickled here.
        "cleanup": not options.keep and not options.dest_path,  # A dest_path is reused by the next run.
        "secret": options.secret,
        "secret_file": options.secret_file,
        "insecure": options.insecure,
        "certfile": options.certfile,
        "keyfile": options.keyfile,
    }
    if options.scheduler_node:
        cluster: JobCluster = SharedJobCluster(options.program, scheduler_node=options.scheduler_node, **both)
    else:
        cluster = JobCluster(options.program, node_port=options.node_port, **both)
        cluster._engine.scheduler.rules.local_advice = LOCAL_ADVICE
    cluster._engine.table.takes_files = True  # Large output is copied from files to standard output.
    cluster._engine.table.on_ended, records.hosts.nodes = records.hosts.note, cluster._engine.nodes.all
    cluster._engine.received.destination = records.files.destination
    return cluster
