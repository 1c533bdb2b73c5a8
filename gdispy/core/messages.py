"""What peers say to each other.

Floor 1. A message is a frozen dataclass with a `tag`; on the wire it is the msgpack array
`[tag, field, ...]`. Its `shape` says what each field must be; `wire.py` checks it on arrival, once,
and above that everything is trusted. Jobs travel in columns: the same place in each column belongs
to one job, so a thousand short jobs are one message and a handful of lists.

docs/protocol.md says who sends what, when, and what the receiver does; a test holds it to this file.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, NewType

from gdispy.core.payloads import Bulk
from gdispy.core.shapes import (
    Check,
    is_bulk,
    is_bulk_column,
    is_column_list,
    is_computation,
    is_computation_column,
    is_count,
    is_count_column,
    is_file_list,
    is_flag,
    is_flag_column,
    is_instance,
    is_node_list,
    is_number,
    is_number_column,
    is_text,
    is_text_column,
)
from gdispy.errors import ProtocolError

#: Sixteen random bytes: one life of one process.
Instance = NewType("Instance", bytes)
#: Eight random bytes: one computation of one client.
ComputationId = NewType("ComputationId", bytes)
#: Counts from 1 in each computation.
JobId = NewType("JobId", int)


class Message:
    """Base of all messages."""

    __slots__ = ()
    tag: ClassVar[int]
    #: One check per field, in order.
    shape: ClassVar[tuple[Check, ...]]
    #: Names of the fields that hold one item per job, and so must be of one length.
    columns: ClassVar[tuple[str, ...]] = ()

    def values(self) -> list[Any]:
        """The array that travels."""
        return [self.tag, *[getattr(self, name) for name in _field_names[type(self)]]]


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """First message each way: who speaks. `cpus` is 0 for who runs no jobs; `address` is '' or where
    the sender wants to be reached."""

    tag = 1
    shape = (is_text, is_instance, *[is_text] * 4, is_count, is_text, is_number)
    role: str
    instance: Instance
    name: str
    version: str
    python: str
    platform: str
    cpus: int
    address: str
    #: Seconds between two signs of life that the sender will give; 0 leaves it to the receiver.
    pulse: float


@dataclass(frozen=True, slots=True)
class Holding(Message):
    """A node's first word to its scheduler: the jobs it holds, begun, waiting or ended."""

    tag = 3
    shape = (is_computation_column, is_column_list, is_column_list)
    columns = ("computations", "jobs", "attempts")
    computations: list[ComputationId]
    jobs: list[list[JobId]]
    attempts: list[list[int]]


@dataclass(frozen=True, slots=True)
class Prepare(Message):
    """Load this computation. `kind` is 'function' or 'program'; `body` the pickled function, or
    nothing; `files` rows `[path, mode, mtime, size, BLAKE2b-32]`, `contents` their bytes."""

    tag = 10
    shape = (is_computation, *[is_text] * 5, is_flag, is_bulk, is_file_list, is_bulk_column)
    columns = ("files", "contents")
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
    contents: list[Bulk]


@dataclass(frozen=True, slots=True)
class Prepared(Message):
    """The computation is loaded, or cannot be: `error` says why."""

    tag = 11
    shape = (is_computation, is_text)
    computation: ComputationId
    error: str


@dataclass(frozen=True, slots=True)
class Run(Message):
    """Run these jobs: from a client to a scheduler, and from a scheduler to a node."""

    tag = 12
    shape = (is_computation, is_count_column, is_count_column, is_bulk_column)
    columns = ("jobs", "attempts", "arguments")
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]
    arguments: list[Bulk]


@dataclass(frozen=True, slots=True)
class Cancel(Message):
    """End these jobs, begun or not."""

    tag = 13
    shape = (is_computation, is_count_column, is_count_column)
    columns = ("jobs", "attempts")
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]


@dataclass(frozen=True, slots=True)
class Recall(Message):
    """Give up to `count` jobs back that have not begun."""

    tag = 14
    shape = (is_computation, is_count)
    computation: ComputationId
    count: int


@dataclass(frozen=True, slots=True)
class Returned(Message):
    """These jobs have not begun here and will not."""

    tag = 15
    shape = (is_computation, is_count_column, is_count_column)
    columns = ("jobs", "attempts")
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]


@dataclass(frozen=True, slots=True)
class Started(Message):
    """These jobs run, since these times (seconds since the epoch, by the node's clock)."""

    tag = 16
    shape = (is_computation, is_count_column, is_count_column, is_number_column, is_text)
    columns = ("jobs", "attempts", "times")
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]
    times: list[float]
    #: The node's address as the client knows it; filled in by the scheduler.
    address: str


@dataclass(frozen=True, slots=True)
class Progress(Message):
    """A provisional result, the `index`-th of its job from 0."""

    tag = 17
    shape = (is_computation, is_count, is_count, is_count, is_bulk, is_text)
    computation: ComputationId
    job: JobId
    attempt: int
    index: int
    value: Bulk
    address: str


@dataclass(frozen=True, slots=True)
class Ended(Message):
    """What came of these jobs. Who receives it answers `Collected`, also when it comes again."""

    tag = 18
    shape = (
        is_computation,
        *[is_count_column] * 3,
        *[is_bulk_column] * 3,
        is_text_column,
        *[is_number_column] * 2,
        is_count_column,
        is_flag_column,
        is_text,
    )
    columns = (
        *("jobs", "attempts", "statuses", "results", "outputs", "errors", "exceptions"),
        *("starts", "ends", "progress", "truncated"),
    )
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]
    #: Final statuses, by the numbers of `DispyJob`.
    statuses: list[int]
    results: list[Bulk]
    outputs: list[Bulk]
    errors: list[Bulk]
    exceptions: list[str]
    starts: list[float]
    ends: list[float]
    #: How many provisional results each job has sent; they may arrive after this message.
    progress: list[int]
    truncated: list[bool]
    address: str


@dataclass(frozen=True, slots=True)
class Collected(Message):
    """The outcomes of these jobs are in safe hands; forget them."""

    tag = 19
    shape = (is_computation, is_count_column, is_count_column)
    columns = ("jobs", "attempts")
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]


@dataclass(frozen=True, slots=True)
class Seen(Message):
    """The first so many provisional results of these jobs have arrived; forget them."""

    tag = 22
    shape = (is_computation, *[is_count_column] * 3)
    columns = ("jobs", "attempts", "counts")
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]
    counts: list[int]


@dataclass(frozen=True, slots=True)
class Release(Message):
    """The computation is over: end its jobs, its processes and its files."""

    tag = 20
    shape = (is_computation,)
    computation: ComputationId


@dataclass(frozen=True, slots=True)
class Released(Message):
    """Nothing is left of the computation."""

    tag = 21
    shape = (is_computation,)
    computation: ComputationId


@dataclass(frozen=True, slots=True)
class Open(Message):
    """A client brings a computation to a scheduler; `Prepare` follows. `nodes` are the addresses
    that may be used, `*` in them standing for anything."""

    tag = 30
    shape = (is_computation, is_text_column, is_flag)
    computation: ComputationId
    nodes: list[str]
    #: Whether a job whose node is lost may run again.
    reentrant: bool


@dataclass(frozen=True, slots=True)
class Ask(Message):
    """A client asks how its computation stands."""

    tag = 31
    shape = (is_computation, is_count)
    computation: ComputationId
    question: int


@dataclass(frozen=True, slots=True)
class Standing(Message):
    """The answer to `Ask`: rows `[name, address, port, cpus, busy, jobs done, seconds of job time,
    bytes sent, bytes received]` of the nodes, the count of waiting jobs, and what is wrong."""

    tag = 32
    shape = (is_computation, is_count, is_node_list, is_count, is_text_column)
    computation: ComputationId
    question: int
    nodes: list[list[Any]]
    queued: int
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Trouble(Message):
    """Jobs wait and no node can run them; `text` tells the user why and what to do."""

    tag = 33
    shape = (is_computation, is_text)
    computation: ComputationId
    text: str


ALL: tuple[type[Message], ...] = (
    *(Hello, Holding),
    *(Prepare, Prepared, Run, Cancel, Recall, Returned, Started, Progress, Ended, Collected),
    *(Seen, Release, Released, Open, Ask, Standing, Trouble),
)
BY_TAG: dict[int, type[Message]] = {kind.tag: kind for kind in ALL}
_field_names: dict[type[Message], tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind))  # type: ignore[arg-type]
    for kind in ALL
}


def from_values(values: Any) -> Message:
    """The message in an array that arrived. Raises ProtocolError for anything else."""
    if type(values) is not list or not values or type(values[0]) is not int:
        raise ProtocolError("a message must be an array that begins with its number")
    kind = BY_TAG.get(values[0])
    if kind is None:
        raise ProtocolError(f"there is no message {values[0]}")
    shape = kind.shape
    if len(values) - 1 < len(shape):
        raise ProtocolError(f"{kind.__name__} has {len(shape)} fields, not {len(values) - 1}")
    # Fields beyond those known here were added by a later version, and can be done without.
    found = values[1 : len(shape) + 1]
    for name, check, value in zip(_field_names[kind], shape, found, strict=True):
        if not check(value):
            raise ProtocolError(f"{kind.__name__}.{name} is not what it must be")
    message = kind(*found)
    if kind.columns and len({len(getattr(message, name)) for name in kind.columns}) != 1:
        raise ProtocolError(f"the columns of {kind.__name__} differ in length")
    if isinstance(message, Holding) and list(map(len, message.jobs)) != list(map(len, message.attempts)):
        raise ProtocolError("the columns within Holding differ in length")
    return message
