"""Messages about a computation as a whole: its files, its start, its end.

Pure. docs/protocol.md describes the sender, the time and the receiver's reaction; a test compares it with this file.
"""

from __future__ import annotations

from gdispy.protocol.address import pattern_flaw
from gdispy.protocol.field_checks import (
    is_bulk,
    is_computation,
    is_content_column,
    is_count,
    is_count_column,
    is_file_list,
    is_flag,
    is_text,
    is_text_column,
    is_token,
)
from gdispy.protocol.ids import ComputationId
from gdispy.protocol.limits import NAME_LIMIT, shortened
from gdispy.protocol.message import Message
from gdispy.protocol.payload import Bulk
from gdispy.protocol.record import record
from gdispy.protocol.rows import FileFields

#: Default number of bytes kept of each output stream of a job; and the value for no limit.
OUTPUT_LIMIT = 8 * 1024 * 1024
UNLIMITED = (1 << 53) - 1


@record
class Prepare(Message):
    """Load this computation. `kind` is 'function' or 'program'; `body` the pickled function, or
    nothing; `files` rows `[path, mode, mtime, size, BLAKE2b-32]`, `contents` their bytes."""

    tag = 10
    shape = (
        *(is_computation, *[is_text] * 5, is_flag, is_bulk, is_file_list, is_content_column, is_bulk, is_bulk),
        *(is_token, is_count, is_flag, is_count, is_text, is_bulk),
    )
    computation: ComputationId
    name: str
    kind: str
    #: '' or 'job': every job in a new process.
    isolation: str
    #: Python's major.minor that the body was compiled for, or '' for any.
    python: str
    #: A relative directory that outlives the computation, or '' for a new one.
    directory: str
    #: Whether its files are removed at the end.
    cleanup: bool
    body: Bulk
    files: list[FileFields]
    #: Empty from a scheduler to a node, which requests files with `MissingFiles`.
    contents: list[Bulk]
    #: The pickled arguments of the computation's setup and cleanup functions.
    arguments: Bulk = b""
    #: The body for other versions of Python than `python`, or empty.
    source: Bulk = b""
    #: The token that a process needs to take the computation over, or empty if that is not possible; and how often that
    #: was done.
    token: bytes = b""
    epoch: int = 0
    #: Whether each job runs in a separate directory, with copies of the files.
    job_directory: bool = False
    #: Bytes kept of each output stream of a job; `UNLIMITED` for all.
    output_limit: int = OUTPUT_LIMIT
    #: Encoding of results: '' pickles, 'plain' plain data.
    results: str = ""
    #: Levels of loggers as a msgpack map, if log records of jobs are sent to the client; else empty.
    logs: Bulk = b""

    def problem(self) -> str:
        is_even = not self.contents or len(self.contents) == len(self.files)
        return "" if is_even else "Prepare has contents for some of its files only"


@record
class MissingFiles(Message):
    """These files of a computation, by their indices in `Prepare`, are missing."""

    tag = 25
    shape = (is_computation, is_count_column)
    computation: ComputationId
    places: list[int]


@record
class FileContents(Message):
    """The contents of the missing files."""

    tag = 26
    shape = (is_computation, is_count_column, is_content_column)
    columns = ("places", "contents")
    parts = columns
    computation: ComputationId
    places: list[int]
    contents: list[Bulk]


@record
class Prepared(Message):
    """The computation is loaded, or cannot be: `error` is the reason. `note` is a message for its user if it is loaded.
    With `for_now`, the error is temporary, and not caused by the computation."""

    tag = 11
    shape = (is_computation, is_text, is_text, is_flag)
    computation: ComputationId
    error: str
    note: str = ""
    for_now: bool = False


@record
class Open(Message):
    """A client opens a computation at a scheduler; `Prepare` follows. `nodes` are the addresses that may be used, with
    `*` matching anything."""

    tag = 30
    shape = (is_computation, is_text_column, is_flag, is_flag, is_flag, is_flag, is_token, is_count, is_flag)
    computation: ComputationId
    nodes: list[str]
    #: Whether a job whose node is lost may run again.
    reentrant: bool
    #: Whether the client decides about each node: it is asked with `NodeFound`.
    asks: bool = False
    #: Whether the client wants events of its nodes.
    watches: bool = False
    #: Whether it waits until all others have ended, and then uses all nodes alone.
    exclusive: bool = False
    #: As in `Prepare`.
    token: bytes = b""
    epoch: int = 0
    #: Whether jobs that none of its nodes can run wait for another node instead of ending.
    waits: bool = False

    def problem(self) -> str:
        flaws = ((pattern, pattern_flaw(pattern)) for pattern in self.nodes)
        pattern, flaw = next((each for each in flaws if each[1]), ("", ""))
        return f"Open.nodes has {shortened(repr(pattern), NAME_LIMIT)}: {flaw}" if flaw else ""


@record
class Notice(Message):
    """Jobs wait and no node can run them; `text` tells the user why and what to do."""

    tag = 33
    shape = (is_computation, is_text)
    computation: ComputationId
    text: str


@record
class Release(Message):
    """The computation has ended: end its jobs, its processes and its files. No later message refers to anything before
    it, and it overtakes no earlier message."""

    tag = 20
    is_last = True
    shape = (is_computation,)
    computation: ComputationId


@record
class Released(Message):
    """Everything of the computation is removed."""

    tag = 21
    shape = (is_computation,)
    computation: ComputationId
