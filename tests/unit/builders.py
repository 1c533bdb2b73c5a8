"""Messages, rules objects under watch, and payloads for the tests of this ring."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar, cast

from gdispy.journal.format import arrays
from gdispy.protocol.ids import ComputationId, Instance, Peer
from gdispy.protocol.job_status import FINISHED
from gdispy.protocol.messages import Ended, Hello, Message, Prepare
from gdispy.protocol.payload import Payload
from gdispy.rules.effects import Effects, Send
from gdispy.rules.history.facts import from_values
from gdispy.rules.node.effects import AssignJobs

T = TypeVar("T")

C = ComputationId(b"computat")
D = ComputationId(b"another1")
CLIENT_INSTANCE = Instance(b"c" * 16)


class _Checked:
    """A rules object whose invariants are checked after every call."""

    def __init__(self, rules: Any) -> None:
        self._rules = rules

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._rules, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = found(*args, **kwargs)
            self._rules.check()
            return result

        return call if callable(found) else found


def checked(rules: T) -> T:
    return cast(T, _Checked(rules))


def hello(
    instance: bytes = CLIENT_INSTANCE, name: str = "client", cpus: int = 0, python: str = "3.11", role: str = ""
) -> Hello:
    role = role or ("node" if cpus else "scheduler")
    return Hello(role, Instance(instance), name, "0.1.0", python, "linux", cpus, "", 0.0)


def prepare(computation: ComputationId = C, isolation: str = "", python: str = "3.11", name: str = "f") -> Prepare:
    return Prepare(computation, name, "function", isolation, python, "", True, b"body", [], [])


def outcome(
    job: int,
    attempt: int = 1,
    status: int = FINISHED,
    result: Any = b"result",
    exception: str = "",
    start: float = 0.0,
    end: float = 1.0,
    progress: int = 0,
    truncated: bool = False,
    stdout: Any = b"",
    stderr: Any = b"",
) -> tuple[Any, ...]:
    """One job's place in the columns of `Ended`."""
    return (job, attempt, status, result, stdout, stderr, exception, start, end, progress, truncated)


def ended(*rows: tuple[Any, ...], computation: ComputationId = C, address: str = "", node: bytes = b"") -> Ended:
    columns: dict[str, Any] = {name: [row[place] for row in rows] for place, name in enumerate(Ended.columns)}
    return Ended(computation=computation, **columns, address=address, node=node)


def plain(effects: Effects) -> list[Any]:
    """The effects, with the jobs of `AssignJobs` by their numbers, so that they can be compared."""
    return [
        AssignJobs(each.worker, [job.number for job in each.jobs]) if isinstance(each, AssignJobs) else each  # type: ignore[misc]
        for each in effects
    ]


def sent(effects: Effects, peer: Peer, kind: type[Message] | None = None) -> list[Any]:
    """The messages that go to a peer, of one kind or of all."""
    return [
        each.message
        for each in effects
        if isinstance(each, Send) and each.peer == peer and (kind is None or isinstance(each.message, kind))
    ]


class Announced(Payload):
    """A payload of some size that nobody reads; remembers its release."""

    __slots__ = ("released",)

    def __init__(self, size: int) -> None:
        self.size = size
        self.released = 0

    def release(self) -> None:
        self.released += 1


def unpack(data: bytes) -> Iterator[Message]:
    """The facts of a record of a journal."""
    return map(from_values, arrays(data))
