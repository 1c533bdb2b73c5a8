"""Rows in fields of messages, with a name for each index. Pure.

A row is an array on the wire. One that arrives is a list of its fields until it is given its type here; one that is
sent may be of its type, which is packed as the same bytes. `field_checks.py` says what each field must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.payload import Bulk, bulk_size

#: The fields of a file's row that may have arrived: checked, but without their types.
FileFields = Sequence[object]


class FileRow(NamedTuple):
    """A file that belongs to a computation or a job; its contents are sent with it."""

    #: Relative, with '/' between its parts.
    path: str
    mode: int
    #: Seconds since the epoch.
    modified: float
    size: int
    #: BLAKE2b of the contents.
    digest: bytes


class JobOptions(NamedTuple):
    """What a job asks for besides its arguments, as in `Run.options`. 0 and b"" are no wish."""

    #: The instance of the only node that may run it.
    node: bytes = b""
    #: Higher goes first.
    priority: float = 0.0
    #: Seconds that it may run.
    timeout: float = 0.0
    #: CPUs that it occupies.
    cpus: int = 0
    #: Bytes that it may use with all its processes.
    memory: int = 0
    #: Pickled names that only it finds.
    names: Bulk = b""
    #: Files that only it gets, and what is in them.
    files: list[FileFields] = []
    contents: list[Bulk] = []
    #: Seconds of processor time that it may use with all its processes.
    cpu_time: float = 0.0

    @property
    def size(self) -> int:
        """Bytes of what it brings along."""
        return bulk_size(self.names) + sum(map(bulk_size, self.contents))

    @property
    def concern_worker(self) -> bool:
        """Whether the job is more to a node than any other with a limit of time: then it goes to a worker alone."""
        return self.cpus > 1 or any((self.memory, self.names, self.files, self.contents, self.cpu_time))


def options_size(options: JobOptions | None) -> int:
    """Bytes of what the options of a job bring along."""
    return 0 if options is None else options.size


class Claim(NamedTuple):
    """A computation that the sender of a `Hello` owns, with the proof of that."""

    computation: ComputationId
    token: bytes
    epoch: int


class NodeRow(NamedTuple):
    """A node as one computation uses it, as in `Status` and `Event`."""

    name: str
    address: str
    port: int
    cpus: int
    busy: int
    #: Jobs that have ended there, and the seconds that they took.
    done: int
    seconds: float
    #: Bytes sent to it and received from it.
    sent: int
    received: int


class NodeOverviewRow(NamedTuple):
    """A node of a scheduler, as in `Overview`."""

    name: str
    address: str
    port: int
    cpus: int
    #: CPUs in use.
    load: int
    connected: bool


class UsageRow(NamedTuple):
    """What a user has used on a day, as in `Usage`."""

    #: As an ISO date.
    day: str
    user: str
    #: Jobs that have ended: finished, terminated, and others such as cancelled ones.
    finished: int
    failed: int
    other: int
    #: The time that they ran, multiplied by their CPUs.
    seconds: float


class RunningJobRow(NamedTuple):
    """A job that a worker process has in hand, as in `RunningJobs`. A node leaves out what only its scheduler knows."""

    computation: ComputationId
    job: JobId
    #: Of its worker; 0 if it is not known yet.
    pid: int
    #: Since when it can have begun, in seconds before now.
    age: float
    #: CPU time of the processes that are there, in seconds, and bytes of memory; -1.0 and 0 if not measured.
    processor: float
    memory: int
    #: The beginning of `computation` in hex that no other computation has, its name, its client, and the node.
    prefix: str = ""
    name: str = ""
    client: str = ""
    node: str = ""


class LogPosition(NamedTuple):
    """The next record of a log that is wanted, as in `LogRequest`."""

    log: Instance
    number: int


class LogRow(NamedTuple):
    """A record of the log of a daemon, as in `LogEvents`."""

    #: The instance of the run of the daemon, and the number of the record in it.
    log: Instance
    number: int
    #: Seconds since the epoch, by the clock of the daemon.
    time: float
    level: str
    #: The daemon, for people; a node leaves it out.
    where: str
    text: str


class ComputationOverviewRow(NamedTuple):
    """A computation of a scheduler or on a node, as in `Overview`."""

    client: str
    #: Of the client; "" while it is away.
    address: str
    name: str
    #: Jobs that wait, and jobs on nodes.
    waiting: int
    running: int
