"""Runs a stand-alone program as a job, inside a worker.

Floor 1. The worker starts the program itself and waits for it: the program inherits the worker's
directory, its descriptors 1 and 2 (which are captured) and its process group.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

from gdispy.worker import pickling
from gdispy.worker.runner import FINISHED, TERMINATED, Job, Outcome, Run

#: Python ignores these, and what is ignored stays so in a program; give it the defaults back.
_RESTORED = [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT]


def run_program(path: str, exported: Mapping[str, Any]) -> Run:
    """How the jobs of a program computation run: `path` is the program's file on this node; texts and numbers among
    `exported` become environment variables, as what setup made global does in dispy."""

    def run(arguments: Any, job: Job) -> Outcome:
        words = [path, *pickling.loads(arguments)]
        # As setup has left it.
        environment = {**os.environ, **_variables(exported)}
        environment["GDISPY_JOB"] = str(job.number)
        environment["GDISPY_ATTEMPT"] = str(job.attempt)
        try:
            job.program = os.posix_spawn(path, words, environment, setsigdef=_RESTORED)
        except OSError as error:
            return TERMINATED, b"", _cannot_start(path, error)
        if job.cancelled:  # The interrupt came before its target existed.
            os.kill(job.program, signal.SIGINT)
        _, status = os.waitpid(job.program, 0)
        job.program = -1
        return _outcome(os.waitstatus_to_exitcode(status), job)

    return run


def _variables(exported: Mapping[str, Any]) -> dict[str, str]:
    known = {name: str(value) for name, value in exported.items() if isinstance(value, str | int | float)}
    return {name: value for name, value in known.items() if "\0" not in value}


def _outcome(code: int, job: Job) -> Outcome:
    result = pickling.dumps(code)
    if job.cancelled:
        return TERMINATED, result, "The job was cancelled.\n"
    if code < 0:
        return TERMINATED, result, f"The program was ended by {signal_name(-code)}.\n{job.note_signal(-code)}"
    return FINISHED, result, ""


def signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _cannot_start(path: str, error: OSError) -> str:
    text = f"{os.path.basename(path)} cannot be started: {error.strerror}"
    if error.errno == 8:  # ENOEXEC
        text += " (a script needs a first line such as #!/bin/sh)"
    if error.errno == 2 and (wanted := _interpreter(path)):
        # Of a script of Windows, the end of the line is a part of the name.
        text += f": its first line asks for {wanted!r}, which is not on this node"
    return text + "\n"


def _interpreter(path: str) -> str:
    """What the first line of a script says that it is for, '' where it says nothing."""
    try:
        with open(path, "rb") as file:
            line = file.readline(256)
    except OSError:
        return ""
    return line[2:].rstrip(b"\n").strip(b" ").decode("utf-8", "backslashreplace") if line.startswith(b"#!") else ""
