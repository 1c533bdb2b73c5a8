"""The options of `gdispy PROGRAM`, and the objects that they describe: the jobs, the halt rule, the number of attempts.

Raises ConfigError for an invalid combination before anything is started.
"""

from __future__ import annotations

import argparse
import os

from gdispy import config
from gdispy.cli.argument_shapes import PackedSource
from gdispy.cli.command_line import CommandLine
from gdispy.cli.command_template import CommandTemplate
from gdispy.cli.commands import overview
from gdispy.cli.durations import seconds_of
from gdispy.cli.halt_rule import Halt, HaltRule
from gdispy.cli.job_lines import JobLines, Templates
from gdispy.cli.node_wait import NodeWait
from gdispy.cli.options import Once, add_common_options, add_secret_options, add_tls_options
from gdispy.cli.program_run import JOBS_AHEAD, JOBS_WITH_FILES_AHEAD, Attempts, JobWindow
from gdispy.cli.source_options import add_source_options, check_source_options, gathers, renamed, sources
from gdispy.client.return_patterns import ReturnPatterns
from gdispy.errors import ConfigError
from gdispy.execution.host_resources import usable_cpus

_EXAMPLES = """templates in the words of the program, and in -f:
  {}  the argument          {.}  without its extension    {/}  without its directory
  {//}  its directory       {/.}  without directory and extension      {#}  number of the job, from 1
  {1} {2} {1.} {2/} ...     the argument of the n-th source, or the n-th column, or argument of the job
  {%}  number of the job among those that run at the same time, with -j      {name}  a column, with --header :
Without any template, the arguments are appended. No shell is involved: an argument with spaces remains one argument.

examples:
  gdispy --local ./simulate ::: 1 2 3             three jobs on this machine
  gdispy -f {} gzip -kc {} ::: *.txt              each job gets its file
  find . -name '*.png' | gdispy -f {} ./convert {} {/.}.jpg
  gdispy ./fit --alpha {1} --beta {2} ::: 0.1 0.2 ::: 1 2 3      all six combinations
  gdispy -f {} --return '{.}.jpg' ./convert {} {.}.jpg ::: *.png    and brings its result back
  gdispy --results out --joblog log --retries 3 ./fit ::: 1 2 3
  gdispy --results out --joblog log --resume-failed ./fit ::: 1 2 3     only those that have failed
  gdispy --colsep , --header : -a @table.csv ./fit --alpha {alpha} --beta {beta}
  ls | gdispy --local -X gzip -9                  as many files in each job as fit into a command line
  gdispy --local -a 1 -a 2 -a 3 ./simulate        three jobs, as texts that are split as in a shell
  gdispy -n 10.0.0.5 -n 10.0.0.6 -f data.csv -a "data.csv --from 1" -a "data.csv --from 2" ./count
  gdispy -- status                                run a program that has the name of a gdispy command
  gdispy --scheduler_node lab ./program ::: 1 2   use the nodes of the scheduler on host lab
  gdispy status lab                               show the status of that scheduler: nodes, clients, jobs

Each job's output is printed in the order of the arguments. The exit status is 0 only if every job
ended with exit code 0.
"""


def parser() -> argparse.ArgumentParser:
    """The options of `gdispy`."""
    parser = argparse.ArgumentParser(
        prog="gdispy",
        usage="gdispy [options] program [words] [::: args ...]",
        description="Run a program on the nodes, with different arguments each time.",
        epilog=f"{overview()}\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("program", help="the program to run: a path, or a name to look up in PATH; its words follow")
    add_source_options(parser)
    _add_file_options(parser.add_argument_group("files"))
    _add_job_options(parser.add_argument_group("jobs"))
    _add_output_options(parser.add_argument_group("output"))
    _add_node_options(parser.add_argument_group("nodes"))
    add_secret_options(parser)
    add_tls_options(parser)
    add_common_options(parser)
    return parser


def _add_file_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "file that the program needs; with a template, as -f {}, each job gets its file"
    add("-f", dest="files", action="append", default=[], metavar="FILE", help=text)
    text = "file to bring back from the directory of each job when it has ended: a name or pattern, with templates, as "
    text += "--return '{.}.png'; may be repeated. It goes below this directory, or that of the job in --results"
    add("--return", dest="returns", action="append", default=[], metavar="PATTERN", help=text)


def _add_job_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "jobs that run at the same time, on all nodes together (default: one for each CPU)"
    add("-j", "--max-jobs", "--jobs", default=None, metavar="N", help=text)
    add("--retries", type=int, default=1, metavar="N", help="attempts of a job that fails, in all (default: 1)")
    text = "time limit of each attempt in seconds, or as 90s, 5m, 2h, 1d"
    add("--timeout", default=None, metavar="S", help=text)
    text = (
        "when to start no more jobs: never, or soon (wait for running jobs) or now (terminate them) with a limit, as "
    )
    text += "in soon,fail=1, now,fail=10%%, now,success=1"
    add("--halt", default="never", metavar="RULE", help=text)
    add("--joblog", default="", metavar="FILE", help="log each job that has ended, in the format of GNU parallel")
    add("--resume", action="store_true", help="do not run the jobs that are in the --joblog")
    text = "do not run the jobs that are in the --joblog and have succeeded"
    add("--resume-failed", action="store_true", help=text)
    add("--shuf", action="store_true", help="run the jobs in random order; their numbers stay")
    add("--dry-run", action="store_true", help="print the command lines, quoted, and run nothing")


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "keep each job's stdout, stderr, status and arguments in DIR/<number>/"
    add("--results", default="", metavar="DIR", help=text)
    text = "print output in the order of the arguments (default); with --no-keep-order when jobs end"
    add("-k", "--keep-order", action=argparse.BooleanOptionalAction, default=True, help=text)
    text = "print whole lines of jobs as they arrive, not only when jobs have ended; in no order of jobs"
    add("--line-buffer", action="store_true", help=text)
    add("--tag", action="store_true", help="print the arguments before each line of output")
    add("--json", action="store_true", help="print a line of JSON for each job")
    text = "show the progress on standard error even if it is not a terminal"
    add("--bar", "--eta", "--progress", action="store_true", help=text)
    add("--stats", action="store_true", help="print a table of the nodes and their jobs at the end")
    text = "serve a web page with the jobs and nodes on this machine while the jobs run, and print its URL"
    add("--page", action="store_true", help=text)
    add("--page-port", type=int, default=None, metavar="PORT", help="the port of --page (default: any free one)")
    add("--page-admin", action="store_true", help="let the page cancel jobs, and change and release nodes")
    add("--page-arguments", action="store_true", help="show the arguments of jobs on the page")


def _add_node_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "node to use; may be repeated (default: all that are found)"
    add("-n", "--nodes", action="append", default=[], metavar="HOST[:PORT]", help=text)
    add("--local", action="store_true", help="use this machine; no running gdispy-node is needed")
    text = "use the nodes of the gdispy-scheduler there, which other programs share"
    names = ("--scheduler_node", "--scheduler-node", "--scheduler_host")
    add(*names, default="", metavar="HOST[:PORT]", help=text)
    text = "end with status 1 if no node can be used for this time, in seconds, or as 90s, 5m (default: wait for ever)"
    add("--wait-for-nodes", default=None, metavar="S", help=text)
    text = "local address to use (default: GDISPY_IP_ADDR, or any)"
    add("-i", "--ip_addr", action=Once, default=None, metavar="ADDR", help=text)
    text = f"port on which nodes listen (default: {config.NODE_PORT})"
    add("--node_port", type=int, default=config.NODE_PORT, metavar="PORT", help=text)
    add("--dest_path", default=None, metavar="DIR", help="directory on the nodes, reused by the next run")
    text = "keep the files on the nodes as long as the nodes run; always the case with --dest_path"
    add("-c", "--keep", action="store_true", help=text)


def _number_of_jobs(text: str | None) -> int | None:
    """The value of -j; None for the default, which GNU parallel also knows as +0 and 100%. Raises ConfigError."""
    if text is None or text in ("+0", "100%"):
        return None
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigError(
            f"-j must be at least 1, a number of jobs on all nodes together, not {text!r}; without -j, one runs on "
            "each CPU"
        )
    return number


class RunOptions:
    """The checked options of one run."""

    def __init__(self, options: argparse.Namespace, line: CommandLine) -> None:
        """Opens the files of arguments. Raises ConfigError."""
        self._options = options
        options.max_jobs = _number_of_jobs(options.max_jobs)
        _check(options)
        self.halt_rule = HaltRule.read(options.halt)
        self.attempts = Attempts(options.retries, _seconds("--timeout", options.timeout))
        self.node_wait = NodeWait(_seconds("--wait-for-nodes", options.wait_for_nodes))
        found = sources(options, line.sources, _have_fields(line, options), _jobs(options))
        words, files, returns = (renamed(each, found.names) for each in (line.words, options.files, options.returns))
        #: Files that all jobs need.
        self.common_files = [file for file in files if not CommandTemplate([file]).has_fields]
        own = [file for file in files if CommandTemplate([file]).has_fields]
        ReturnPatterns([pattern for pattern in returns if not CommandTemplate([pattern]).has_fields])
        templates = self._templates(words, own, returns)
        if found.packed is not None:
            _pack(found.packed, options.program, words, templates.words)
        self.lines = JobLines(options.program, templates, found.groups)
        self._has_files = bool(own)

    def _templates(self, *words: list[str]) -> Templates:
        """Raises ConfigError for a template that cannot stand there."""
        repeats = gathers(self._options)
        pads = repeats or self._options.colsep is not None
        made = Templates(*(CommandTemplate(each, pads, repeats) for each in words))
        if made.files.has_slot or made.returns.has_slot:
            raise ConfigError("{%} can stand in the words of the program only, not in -f and --return")
        if made.words.has_slot and self._options.max_jobs is None:
            raise ConfigError("{%} is the number of the job among those that run at the same time: it needs -j N")
        return made

    def window(self) -> JobWindow:
        """The number of jobs to submit ahead."""
        exact = self.halt_rule.halt is not Halt.CONTINUE
        least = JOBS_WITH_FILES_AHEAD if self._has_files else JOBS_AHEAD
        return JobWindow(self._options.max_jobs, exact, least)


def _have_fields(line: CommandLine, options: argparse.Namespace) -> bool:
    """Whether any template needs an argument, or the number of a job."""
    return any(CommandTemplate(words).has_fields for words in (line.words, options.files, options.returns))


def _jobs(options: argparse.Namespace) -> int | None:
    """The number of jobs among which -X distributes arguments: those that run at the same time, as far as known."""
    if options.max_jobs is None and options.local and not options.nodes and not options.scheduler_node:
        return usable_cpus()
    found: int | None = options.max_jobs
    return found


def _pack(packed: PackedSource, program: str, words: list[str], template: CommandTemplate) -> None:
    """Set how long command lines become."""
    packed.cost = template.cost
    packed.base = sum(len(os.fsencode(word)) + 1 for word in (program, *words))


def _check(options: argparse.Namespace) -> None:
    check_source_options(options)
    if CommandTemplate([options.program]).has_fields:
        raise ConfigError(
            f"the program must be the same for all jobs, so {options.program!r} cannot contain a template"
        )
    if options.retries < 1:
        raise ConfigError(f"--retries must be at least 1, the number of attempts in all, not {options.retries}")
    for name in ("resume", "resume_failed"):
        if getattr(options, name) and not options.joblog:
            raise ConfigError(f"--{name.replace('_', '-')} needs --joblog FILE, the log of the previous run")
    if (options.page_port is not None or options.page_admin or options.page_arguments) and not options.page:
        raise ConfigError("--page-port, --page-admin and --page-arguments need --page")
    for name in ("tag", "line_buffer", "dry_run"):
        if options.json and getattr(options, name):
            raise ConfigError(f"--json and --{name.replace('_', '-')} cannot be combined")


def _seconds(option: str, text: str | None) -> float | None:
    return seconds_of(option, text) if text is not None else None
