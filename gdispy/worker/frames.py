"""The constants and layouts of the sockets between a node and its workers.

Standard library only, so that the node does not load code of jobs.

A job message is `[job, attempt, arguments]`; for a job with options `[job, attempt, arguments, names, error, seconds of
CPU time, paths of its files, directory of the files]`; for a group `[serial number of the first, [[job, attempt,
arguments], ...]]`.
A result frame is u32 length and one of
  `[RESULT, job, attempt, status, result, stdout, stderr, exception, start, end, 0, bytes of output left out or False]`
  `[PROGRESS, job, attempt, 0, value]`
  `[FILE, job, attempt, token, path, mode, mtime, size, digest]` with the open file
  `[TOGETHER, generation, outcomes]`: arrays that begin with RESULT, one after the other
  `[RETURNED, serial]`: this job and the following ones of its group were not started.
  `[FREED, job, attempt]`: the file of the job is no longer used here.
  `[LOG, level, text]`: for the node's log.
Arguments, names and values above `INLINE` bytes are sent in a memory file with the message, and replaced by their size.
A negative size means that the arguments are in a file that can be reused (`payload_files.py`), or that the result is in
the file that came with the job, which is not sent again. A file that the message does not mention is blank, for the
result. Large output is replaced by its size, too, in files described by `Output` (`output_capture.py`), after that of
the result. The answer to FILE, u32 length, u64 token and a text, '' for success, is sent through the socket of the
results.
"""

from __future__ import annotations

import struct

from gdispy.protocol.limits import INLINE as INLINE
from gdispy.worker.originals import os

RESULT = 0
PROGRESS = 1
FILE = 2
TOGETHER = 3
RETURNED = 4
FREED = 5
LOG = 6
#: Index of the value in a result frame.
VALUE = 4

#: Exit code of a worker that cannot continue: something it needs is broken, such as its open files.
BROKEN = 70

#: Maximum size of one message.
MESSAGE_LIMIT = 64 * 1024

#: Statuses that a worker can report; the numbers are those of `protocol/job_status.py`.
TERMINATED = 9
FINISHED = 11
#: Maximum size of the answer to FILE.
ANSWER_LIMIT = 64 * 1024

LENGTH = struct.Struct(">I")
ANSWER = struct.Struct(">IQ")
TARGET = struct.Struct("<QI")


def target(number: int, attempt: int) -> bytes:
    """Written by the node into a worker's page before it has the worker interrupted."""
    return TARGET.pack(number, attempt)


def job_directory(base: str, job: int, attempt: int) -> str:
    """The directory of a job, below that of its worker; the node puts the job's files there."""
    return os.path.join(base, f"{job}-{attempt}")
