"""What is said about a computation as a whole: its files, its beginning, its end.

Pure. docs/protocol.md says who sends each message, when, and what its receiver does; a test holds it to this file.
"""

from __future__ import annotations

from typing import Any

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

#: Bytes of each stream of a job's output that are kept, where nobody says otherwise; and where all are.
OUTPUT_LIMIT = 8 * 1024 * 1024
UNLIMITED = (1 << 53) - 1


@record
class Prepare(Message):
    """Load this computation. `kind` is 'function' or 'program'; `body` the pickled function, or
    nothing; `files` rows `[path, mode, mtime, size, BLAKE2b-32]`, `contents` their bytes."""

    tag = 10
    shape = (
        *(is_computation, *[is_text] * 5, is_flag, is_bulk, is_file_list, is_content_column, is_bulk, is_bulk),
        *(is_token, is_count, is_flag, is_count, is_text),
    )
    computation: ComputationId
    name: str
    kind: str
    #: '' or 'job': every job in a process of its own.
    isolation: str
    #: Python's major.minor that the body was made for, or '' where any will do.
    python: str
    #: A relative directory that outlives the computation, or '' for one of its own.
    directory: str
    #: Whether its files go when it is over.
    cleanup: bool
    body: Bulk
    files: list[list[Any]]
    #: Nothing from a scheduler to a node, which says with `MissingFiles` what it has not.
    contents: list[Bulk]
    #: The pickled arguments of the computation's setup and cleanup functions.
    arguments: Bulk = b""
    #: The body for other versions of Python than `python`, or nothing where there is none.
    source: Bulk = b""
    #: What somebody who takes the computation over must know, or nothing where nobody can; and how often that
    #: was done.
    token: bytes = b""
    epoch: int = 0
    #: Whether each job has a directory of its own, with copies of the files.
    job_directory: bool = False
    #: Bytes of each stream of a job's output that are kept; `UNLIMITED` for all.
    output_limit: int = OUTPUT_LIMIT
    #: How results travel: '' as pickles, 'plain' as plain data.
    results: str = ""

    def problem(self) -> str:
        is_even = not self.contents or len(self.contents) == len(self.files)
        return "" if is_even else "Prepare has contents for some of its files only"


@record
class MissingFiles(Message):
    """These files of a computation, by their places in `Prepare`, are not there yet."""

    tag = 25
    shape = (is_computation, is_count_column)
    computation: ComputationId
    places: list[int]


@record
class FileContents(Message):
    """The contents of the files that were lacking."""

    tag = 26
    shape = (is_computation, is_count_column, is_content_column)
    columns = ("places", "contents")
    parts = columns
    computation: ComputationId
    places: list[int]
    contents: list[Bulk]


@record
class Prepared(Message):
    """The computation is loaded, or cannot be: `error` says why. `note` is what its user should know where it is. With
    `for_now`, the error is of the moment, and says nothing of the computation itself."""

    tag = 11
    shape = (is_computation, is_text, is_text, is_flag)
    computation: ComputationId
    error: str
    note: str = ""
    for_now: bool = False


@record
class Open(Message):
    """A client brings a computation to a scheduler; `Prepare` follows. `nodes` are the addresses
    that may be used, `*` in them standing for anything."""

    tag = 30
    shape = (is_computation, is_text_column, is_flag, is_flag, is_flag, is_flag, is_token, is_count, is_flag)
    computation: ComputationId
    nodes: list[str]
    #: Whether a job whose node is lost may run again.
    reentrant: bool
    #: Whether the client decides about each node itself: it is asked with `NodeFound`.
    asks: bool = False
    #: Whether the client wants to hear of what happens to its nodes.
    watches: bool = False
    #: Whether it waits until all others are over, and then has all nodes to itself.
    exclusive: bool = False
    #: As in `Prepare`.
    token: bytes = b""
    epoch: int = 0
    #: Whether jobs that none of its nodes can run wait for another node, and do not end.
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
    """The computation is over: end its jobs, its processes and its files. Nothing that follows it is about what was
    said before it, and it overtakes nothing of that."""

    tag = 20
    is_last = True
    shape = (is_computation,)
    computation: ComputationId


@record
class Released(Message):
    """Nothing is left of the computation."""

    tag = 21
    shape = (is_computation,)
    computation: ComputationId
