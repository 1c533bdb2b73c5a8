"""Runs a stand-alone program as a job, inside a worker.

The worker starts the program itself and waits for it: the program inherits the worker's
directory, its descriptors 1 and 2 (which are captured) and its process group. Meanwhile the worker sends the files that
the program hands to `dispy_send_file` (`file_requests.py`), and afterwards those that the job returns.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping

from gdispy.protocol.texts import JOB_CANCELLED
from gdispy.worker import pickling
from gdispy.worker.calls import Outcome, Run
from gdispy.worker.file_requests import FileRequests
from gdispy.worker.frames import FINISHED, TERMINATED
from gdispy.worker.memory_kills import MemoryKills
from gdispy.worker.process_tree import interrupt, signal_name
from gdispy.worker.result_encoding import encode_result
from gdispy.worker.returned_files import ReturnedFiles
from gdispy.worker.runner import Job
from gdispy.worker.send_file_command import VARIABLE

#: Suffix of files that the node's Python runs, whatever their permissions and first line.
PYTHON_SCRIPT = ".py"
#: Python ignores these signals, and ignored signals are inherited by programs; restore the defaults.
_RESTORED = [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT]


#: The folder of the commands that programs find in their PATH, in the directory of the workers.
COMMANDS = "commands"


def run_program(path: str, exported: Mapping[str, object], commands: str = "") -> Run:
    """Runs the jobs of a program computation: `path` is the program's file on this node; texts and numbers among
    `exported` become environment variables, as globals of setup do in dispy; `commands` is a directory with commands
    for the program, '' for none."""

    memory_kills = MemoryKills()
    command = [sys.executable, path] if path.endswith(PYTHON_SCRIPT) else [path]
    sender = _Sender(commands)

    def run(arguments: pickling.ReceivedPayload, job: Job) -> Outcome:
        trouble = _trouble(path)
        if trouble:
            return TERMINATED, b"", trouble
        words, patterns = _given(pickling.loads(arguments))
        # As setup has left it.
        environment = {**os.environ, **_variables(exported)}
        environment["GDISPY_JOB"] = str(job.number)
        environment["GDISPY_ATTEMPT"] = str(job.attempt)
        requests = sender.prepare(environment, job)
        returned = ReturnedFiles(patterns) if patterns else None
        memory_kills.begin()
        job.is_sending = True
        try:
            job.program = os.posix_spawn(command[0], [*command, *words], environment, setsigdef=_RESTORED)
        except OSError as error:
            return TERMINATED, b"", _cannot_start(path, error)
        finally:
            job.is_sending = False
        if job.cancelled:  # The interrupt arrived before its target existed.
            interrupt(job.program)
        status, usage = requests.wait(job.program, job) if requests is not None else os.wait4(job.program, 0)[1:]
        job.program = -1
        outcome = _outcome(os.waitstatus_to_exitcode(status), job, memory_kills.explain(status, usage.ru_maxrss))
        return outcome if returned is None or job.cancelled else _send_returned(returned, outcome, status, job)

    return run


def _given(arguments: object) -> tuple[list[str], list[str]]:
    """The command-line arguments of the program, and the patterns of the files that the job returns."""
    if isinstance(arguments, dict):
        return list(arguments["words"]), list(arguments["returns"])
    assert isinstance(arguments, list | tuple)
    return list(arguments), []


class _Sender:
    """The command with which programs send files, and the socket behind it."""

    def __init__(self, commands: str) -> None:
        self._commands = commands
        self._requests: FileRequests | None = None

    def prepare(self, environment: dict[str, str], job: Job) -> FileRequests | None:
        """Make the command known to a program; None if there is none."""
        if not self._commands:
            return None
        if self._requests is None:  # In the worker, not in the template from which it was forked.
            try:
                self._requests = FileRequests(job.worker.private_directory)
            except OSError as error:  # A job need not send files.
                self._commands = ""
                job.worker.log(logging.WARNING, f"programs cannot send files here: {error}")
                return None
        environment[VARIABLE] = self._requests.path
        environment["PATH"] = environment.get("PATH", os.defpath) + os.pathsep + self._commands
        return self._requests


def _send_returned(returned: ReturnedFiles, outcome: Outcome, status: int, job: Job) -> Outcome:
    """The program has ended: send its files. What is missing is an error, unless the program has failed."""
    job.program = 0  # From now on an interrupt is for this process.
    paths, missing, outside = returned.find()
    errors = [] if status else [f"no file to return matches {pattern!r}" for pattern in missing]
    errors += [f"not returned: {path}: it is a link to a place outside of the job's directory" for path in outside]
    for path in paths:
        try:
            error = job.send_file(path, path)
        except OSError as failure:
            error = f"{path}: {failure.strerror or failure}"
        if error:
            errors.append(f"not returned: {error}")
    job.program = -1
    if not errors:
        return outcome
    _, result, text = outcome
    return TERMINATED, result, text + "".join(f"{error}\n" for error in errors)


def _variables(exported: Mapping[str, object]) -> dict[str, str]:
    known = {name: str(value) for name, value in exported.items() if isinstance(value, str | int | float)}
    return {name: value for name, value in known.items() if "\0" not in value}


def _outcome(code: int, job: Job, killer: str) -> Outcome:
    result = encode_result(code)
    if job.cancelled:
        return TERMINATED, result, f"{JOB_CANCELLED}.\n"
    if code < 0:
        by = f": {killer}" if killer else ""
        return TERMINATED, result, f"The program was killed by {signal_name(-code)}{by}.\n{job.note_signal(-code)}"
    return FINISHED, result, ""


def _trouble(path: str) -> str:
    """The error in a script that would otherwise fail without an explanation, or ''."""
    wanted = "" if path.endswith(PYTHON_SCRIPT) else _interpreter(path)
    if not wanted.endswith("\r"):
        return ""
    return (
        f"{os.path.basename(path)} cannot be started: its first line names {wanted!r}, which is not on this node: its "
        "lines end with CR LF, as on Windows. Save it with Unix line endings (for example with dos2unix)\n"
    )


def _cannot_start(path: str, error: OSError) -> str:
    text = f"{os.path.basename(path)} cannot be started: {error.strerror}"
    if error.errno == 2 and not os.path.lexists(path):
        return f"{text}: {path} is run in place and not sent, and it does not exist on this node\n"
    if error.errno == 8:  # ENOEXEC
        text += " (a script needs a first line such as #!/bin/sh)"
    if error.errno == 2 and (wanted := _interpreter(path)):
        # In a script from Windows, the line end is part of the name.
        text += f": its first line names {wanted!r}, which is not on this node"
    return text + "\n"


def _interpreter(path: str) -> str:
    """The interpreter named in the first line of a script, '' if there is none."""
    try:
        with open(path, "rb") as file:
            line = file.readline(256)
    except OSError:
        return ""
    return line[2:].rstrip(b"\n").strip(b" ").decode("utf-8", "backslashreplace") if line.startswith(b"#!") else ""
