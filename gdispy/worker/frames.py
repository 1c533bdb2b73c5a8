"""What travels on the sockets between a node and its workers: the constants and layouts that both sides share.

Standard library only, so that the node loads nothing of what runs jobs.

A job message is `[job, attempt, arguments]`; for a job with options of its own `[job, attempt, arguments, names,
error, seconds of processor time, paths of its own files, directory that they are in]`; for a group
`[serial number of the first, [[job, attempt, arguments], ...]]`.
A result frame is u32 length and one of
  `[RESULT, job, attempt, status, result, stdout, stderr, exception, start, end, 0, bytes of output left out or False]`
  `[PROGRESS, job, attempt, 0, value]`
  `[FILE, job, attempt, token, path, mode, mtime, size, digest]` with the open file
  `[TOGETHER, generation, outcomes]`: arrays that begin with RESULT, one after the other
  `[RETURNED, serial]`: this and what follows in its group was not begun.
  `[FREED, job, attempt]`: the file that came with it is not used here any more.
  `[LOG, level, text]`: for the node's log.
Arguments, names and values above `INLINE` bytes come in a memory file that travels with the message; their place in it
holds the size in bytes. With a minus, the arguments are in a file that may be used again (`payload_files.py`), and the
result in the one that came with the job, which does not travel once more. A file that nothing in the message speaks of
is blank, for the result. Of much output there is the size, too, and files as `Output` says (`output_capture.py`),
behind that of the result. The answer to FILE, u32 length, u64 token and a text, '' for good, comes back through the
socket of the results.
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
#: The place of the value in a result frame.
VALUE = 4

#: The exit code of a worker that could not go on: what it needs is broken, such as its open files.
BROKEN = 70

#: Bytes of one message at most.
MESSAGE_LIMIT = 64 * 1024

#: What a worker can report of a job; the numbers are those of `protocol/job_status.py`.
TERMINATED = 9
FINISHED = 11
#: Bytes of the answer to FILE at most.
ANSWER_LIMIT = 64 * 1024

LENGTH = struct.Struct(">I")
ANSWER = struct.Struct(">IQ")
TARGET = struct.Struct("<QI")


def target(number: int, attempt: int) -> bytes:
    """What the node writes into a worker's page before it has the worker interrupted."""
    return TARGET.pack(number, attempt)


def job_directory(base: str, job: int, attempt: int) -> str:
    """Where the directory of a job is, below that of its worker; the node puts the job's files there."""
    return os.path.join(base, f"{job}-{attempt}")
