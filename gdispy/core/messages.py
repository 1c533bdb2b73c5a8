"""What peers say to each other.

Floor 1. A message is a record (`record.py`) with a `tag`; on the wire it is the msgpack array
`[tag, field, ...]`. Its `shape` says what each field must be; `wire.py` checks it on arrival, once,
and above that everything is trusted. Jobs travel in columns: the same place in each column belongs
to one job, so a thousand short jobs are one message and a handful of lists.

docs/protocol.md says who sends what, when, and what the receiver does; a test holds it to this file.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

from gdispy.core.away import Accepted as Accepted
from gdispy.core.away import Ask as Ask
from gdispy.core.away import Fenced as Fenced
from gdispy.core.away import Named as Named
from gdispy.core.away import Overview as Overview
from gdispy.core.away import Resume as Resume
from gdispy.core.away import Standing as Standing
from gdispy.core.away import Survey as Survey
from gdispy.core.away import Unknown as Unknown
from gdispy.core.away import Wanted as Wanted
from gdispy.core.limits import NAME_LIMIT, shortened
from gdispy.core.message import ComputationId as ComputationId
from gdispy.core.message import Instance as Instance
from gdispy.core.message import JobId as JobId
from gdispy.core.message import Message as Message
from gdispy.core.message import read_values
from gdispy.core.patterns import pattern_flaw
from gdispy.core.payloads import Bulk
from gdispy.core.record import fields, record
from gdispy.core.shapes import (
    is_availability,
    is_bulk,
    is_bulk_column,
    is_claim_list,
    is_column_list,
    is_computation,
    is_computation_column,
    is_content_column,
    is_count,
    is_count_column,
    is_cpus,
    is_file_list,
    is_flag,
    is_instance,
    is_left_out_column,
    is_node_list,
    is_node_name,
    is_number,
    is_option_column,
    is_proof,
    is_short_text,
    is_status_column,
    is_text,
    is_text_column,
    is_time_column,
    is_token,
)
from gdispy.core.statuses import NODE_EVENTS

#: CPUs, where nobody has set a limit.
NO_LIMIT = 1 << 30
#: Bytes of each stream of a job's output that are kept, where nobody says otherwise; and where all are.
OUTPUT_LIMIT = 8 * 1024 * 1024
UNLIMITED = (1 << 53) - 1
#: What a node says with its goodbye when its owner has stopped it: it will not come back.
STOPPED = "the node was stopped"
#: How the reason begins with which a node closes the connection of a scheduler while it works for another one.
BUSY = "busy: "
#: How the reason begins with which a side closes a connection because of a message that is none, or none for it: the
#: other side would send it again on the next connection.
REFUSED = "a message is refused: "
#: The same where that has happened again and again: there will be no more connections with this life of the node.
GIVEN_UP = "each connection is closed for the same reason"


@record
class Hello(Message):
    """First message each way: who speaks. `cpus` is 0 for who runs no jobs; `address` is '' or where
    the sender wants to be reached."""

    tag = 1
    shape = (
        is_short_text,
        is_instance,
        *[is_short_text] * 4,
        is_cpus,
        is_short_text,
        is_number,
        is_claim_list,
        is_count,
        is_proof,
    )
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
    #: Rows `[computation, token, epoch]`: these are the sender's from now on, whoever brought them.
    claims: list[list[Any]] = field(default_factory=list)
    #: How many lives of the sender a journal remembers; who was met in a later one is not met again.
    epoch: int = 0
    #: That the instance is the sender's own; see `identity.py`.
    proof: bytes = b""


@record
class Holding(Message):
    """A node's first word to its scheduler: the jobs it holds, begun, waiting or ended."""

    tag = 3
    is_first = True
    shape = (is_computation_column, is_column_list, is_column_list, is_column_list)
    columns = ("computations", "jobs", "attempts")
    computations: list[ComputationId]
    jobs: list[list[JobId]]
    attempts: list[list[int]]
    #: Which of those jobs have ended; told to a recoverer only, which then knows what will come.
    ended: list[list[JobId]] = field(default_factory=list)

    def held(self) -> dict[ComputationId, tuple[list[JobId], list[int]]]:
        """Jobs and attempts of each computation; one with more jobs than a row can hold has several rows."""
        found: dict[ComputationId, tuple[list[JobId], list[int]]] = {}
        for computation, jobs, attempts in zip(self.computations, self.jobs, self.attempts, strict=True):
            known = found.get(computation, ([], []))
            found[computation] = ([*known[0], *jobs], [*known[1], *attempts])
        return found

    def problem(self) -> str:
        is_even = list(map(len, self.jobs)) == list(map(len, self.attempts))
        is_even = is_even and len(self.ended) in (0, len(self.jobs))
        return "" if is_even else "the columns within Holding differ in length"


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
    #: Nothing from a scheduler to a node, which says with `Lacking` what it has not.
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
class Lacking(Message):
    """These files of a computation, by their places in `Prepare`, are not there yet."""

    tag = 25
    shape = (is_computation, is_count_column)
    computation: ComputationId
    places: list[int]


@record
class Contents(Message):
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
class Run(Message):
    """Run these jobs: from a client to a scheduler, and from a scheduler to a node."""

    tag = 12
    shape = (is_computation, is_count_column, is_count_column, is_bulk_column, is_option_column)
    columns = ("jobs", "attempts", "arguments")
    parts = (*columns, "options")
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]
    arguments: list[Bulk]
    #: Nothing where no job has options, else None or `[node, priority, seconds, cpus, bytes of memory, names,
    #: files, contents]` for each: where it must run, who goes first, limits (0 is none), and what it needs
    #: besides the computation: pickled names, and files that are there as long as it runs.
    options: list[list[Any] | None] = field(default_factory=list)

    def problem(self) -> str:
        is_even = not self.options or len(self.options) == len(self.jobs)
        return "" if is_even else "Run has options for some of its jobs only"


@record
class Cancel(Message):
    """End these jobs, begun or not."""

    tag = 13
    shape = (is_computation, is_count_column, is_count_column)
    columns = ("jobs", "attempts")
    parts = columns
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]


@record
class Recall(Message):
    """Give up to `count` jobs back that have not begun."""

    tag = 14
    shape = (is_computation, is_count)
    computation: ComputationId
    count: int


@record
class Returned(Message):
    """These jobs have not begun here and will not."""

    tag = 15
    shape = (is_computation, is_count_column, is_count_column)
    columns = ("jobs", "attempts")
    parts = columns
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]


@record
class Started(Message):
    """These jobs run, since these times (seconds since the epoch, by the node's clock)."""

    tag = 16
    shape = (is_computation, is_count_column, is_count_column, is_time_column, is_text, is_node_name)
    columns = ("jobs", "attempts", "times")
    parts = columns
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]
    times: list[float]
    #: The node's address as the client knows it, and the node; filled in by the scheduler.
    address: str
    node: bytes = b""


@record
class Progress(Message):
    """A provisional result, the `index`-th of its job from 0."""

    tag = 17
    shape = (is_computation, is_count, is_count, is_count, is_bulk, is_text, is_node_name)
    computation: ComputationId
    job: JobId
    attempt: int
    index: int
    value: Bulk
    address: str
    node: bytes = b""


@record
class Ended(Message):
    """What came of these jobs. Who receives it answers `Collected`, also when it comes again."""

    tag = 18
    shape = (
        is_computation,
        *[is_count_column] * 2,
        is_status_column,
        is_bulk_column,
        *[is_content_column] * 2,
        is_text_column,
        *[is_time_column] * 2,
        is_count_column,
        is_left_out_column,
        is_text,
        is_node_name,
    )
    columns = (
        *("jobs", "attempts", "statuses", "results", "outputs", "errors", "exceptions"),
        *("starts", "ends", "progress", "truncated"),
    )
    parts = columns
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
    #: How many bytes of what each job has printed were left out, or False.
    truncated: list[int]
    address: str
    node: bytes = b""

    def at(self, address: str, node: bytes) -> Ended:
        """The same, said of this node."""
        values = [*fields(self)[:-2], address, node]
        return Ended(*values)


@record
class Collected(Message):
    """The outcomes of these jobs are in safe hands; forget them."""

    tag = 19
    shape = (is_computation, is_count_column, is_count_column)
    columns = ("jobs", "attempts")
    parts = columns
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]


@record
class Seen(Message):
    """The first so many provisional results of these jobs have arrived; forget them."""

    tag = 22
    shape = (is_computation, *[is_count_column] * 3)
    columns = ("jobs", "attempts", "counts")
    parts = columns
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]
    counts: list[int]


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
    #: Whether the client decides about each node itself: it is asked with `Appeared`.
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
class Trouble(Message):
    """Jobs wait and no node can run them; `text` tells the user why and what to do."""

    tag = 33
    shape = (is_computation, is_text)
    computation: ComputationId
    text: str


@record
class Cpus(Message):
    """The node offers so many CPUs from now on; 0: it takes no jobs at present, for this reason."""

    tag = 23
    shape = (is_cpus, is_text)
    cpus: int
    reason: str = ""


@record
class Limit(Message):
    """Let jobs of this computation occupy no more than `own` CPUs of the node, and all jobs of this scheduler no
    more than `total`."""

    tag = 27
    shape = (is_computation, is_count, is_count)
    computation: ComputationId
    own: int
    total: int


@record
class Availability(Message):
    """What is free on the node: CPU (percent), memory (bytes), disk (bytes), swap (percent)."""

    tag = 24
    shape = (is_availability,)
    free: list[float]


@record
class Appeared(Message):
    """There is a node, known by these addresses and names: shall it be used? The answer is `Take`."""

    tag = 34
    shape = (is_computation, is_instance, is_text_column, is_count, is_count, is_text, is_availability)
    computation: ComputationId
    node: Instance
    names: list[str]
    port: int
    cpus: int
    platform: str
    free: list[float]

    def problem(self) -> str:
        return "" if self.names else "Appeared names no address of the node"


@record
class Take(Message):
    """Use so many CPUs of a node, 0 for none, with these arguments of setup and these files besides."""

    tag = 35
    shape = (is_computation, is_instance, is_count, is_bulk, is_file_list, is_content_column)
    columns = ("files", "contents")
    computation: ComputationId
    node: Instance
    cpus: int
    arguments: Bulk
    files: list[list[Any]]
    contents: list[Bulk]


@record
class Order(Message):
    """Do this with a node: 'deallocate', 'close', 'resetup', 'cpus', 'jobs'. The answer is `Reply`."""

    tag = 36
    shape = (is_computation, is_count, is_text, is_instance, is_number)
    computation: ComputationId
    question: int
    word: str
    node: Instance
    #: CPUs, where they are to be set; 1 where running jobs are to be ended, else 0.
    value: float

    def problem(self) -> str:
        return "" if abs(self.value) <= NO_LIMIT else "Order.value is out of range"


@record
class Reply(Message):
    """The answer to `Order` or `Deliver`: an error or '', a number, and jobs, where such were asked for."""

    tag = 37
    shape = (is_computation, is_count, is_text, is_number, is_count_column)
    computation: ComputationId
    question: int
    error: str
    value: float
    jobs: list[JobId]


@record
class Deliver(Message):
    """Put a file into the directory of a computation on a node. The answer is `Reply`."""

    tag = 38
    shape = (is_computation, is_count, is_instance, is_file_list, is_content_column)
    columns = ("files", "contents")
    computation: ComputationId
    question: int
    node: Instance
    files: list[list[Any]]
    contents: list[Bulk]


@record
class Upload(Message):
    """A job sends a file, its `number`-th from 0, to the client. The answer is `Uploaded`."""

    tag = 39
    shape = (is_computation, is_count, is_count, is_count, is_file_list, is_content_column)
    columns = ("files", "contents")
    computation: ComputationId
    job: JobId
    attempt: int
    number: int
    files: list[list[Any]]
    contents: list[Bulk]

    def problem(self) -> str:
        return "" if len(self.files) == 1 else "Upload brings one file"


@record
class Uploaded(Message):
    """The client has the file, or cannot take it: `error` says why."""

    tag = 40
    shape = (is_computation, is_count, is_count, is_count, is_text)
    computation: ComputationId
    job: JobId
    attempt: int
    number: int
    error: str


@record
class Event(Message):
    """Something has happened to a node: 4 it is set up, 16 it is closed or lost, 17 what is free on it."""

    tag = 41
    shape = (is_computation, is_count, is_instance, is_node_list, is_availability)
    computation: ComputationId
    what: int
    node: Instance
    #: One row, as in `Standing`.
    rows: list[list[Any]]
    free: list[float]

    def problem(self) -> str:
        if self.what not in NODE_EVENTS:
            return "Event.what is no event of a node"
        return "" if len(self.rows) == 1 else "Event has one row"


ALL: tuple[type[Message], ...] = (
    *(Hello, Holding),
    *(Prepare, Prepared, Run, Cancel, Recall, Returned, Started, Progress, Ended, Collected),
    *(Seen, Release, Released, Open, Ask, Standing, Trouble, Cpus, Limit, Availability, Lacking, Contents),
    *(Appeared, Take, Order, Reply, Deliver, Upload, Uploaded, Event, Resume, Accepted, Unknown, Survey, Overview),
    *(Wanted, Fenced, Named),
)
BY_TAG: dict[int, type[Message]] = {kind.tag: kind for kind in ALL}


def from_values(values: Any) -> Message:
    """The message in an array that arrived. Raises ProtocolError for anything else."""
    return read_values(values, BY_TAG)
