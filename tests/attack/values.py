"""Messages of every kind with fields of every kind: valid ones, those at the limits, and hostile ones.

Pure but for the random source that it is given. The checks in `protocol/field_checks.py` say what a field is; of a
check that is not known here, any value is made, so messages that are added later are sent, too."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from gdispy.protocol import field_checks
from gdispy.protocol.job_status import NODE_EVENTS
from gdispy.protocol.limits import COLUMN_LIMIT, CPUS_LIMIT, SHORT_TEXT_LIMIT, TEXT_LIMIT
from gdispy.protocol.messages import Event, Message, NodeCommand, NodeFound, Upload
from gdispy.protocol.wire import FILE, PAYLOAD
from tests.attack.odd_values import COUNTS, NUMBERS, ODD, PATHS, PATTERNS, ROLES, STATUSES, TEXTS, WORDS

#: What no file may be called that is written anywhere: such paths lead out of the directory that they are meant for.
ESCAPED = "escaped"
#: Items of a list from which on they are kept small.
MANY = 50
#: Messages that are as they must be; those with fields at the limits; the others have something that is not allowed.
FIT, EDGE = 0.55, 0.38


@dataclass
class Carried:
    """A payload that is to travel as a stream; the sender of a message puts a reference in its place."""

    data: bytes
    purpose: int = PAYLOAD


@dataclass
class Known:
    """What an attacker knows and names in what it says."""

    #: Its own computations, and those of others.
    computations: list[bytes] = field(default_factory=list)
    others: list[bytes] = field(default_factory=list)
    instances: list[bytes] = field(default_factory=list)
    #: Jobs that it was told of, with their attempts.
    jobs: list[tuple[int, int]] = field(default_factory=list)
    #: A directory that no file of a message may get into.
    outside: str = "/tmp"

    def learn(self, messages: list[Any]) -> None:
        """Remember what the other side has named."""
        for message in messages:
            computation = getattr(message, "computation", None)
            if isinstance(computation, bytes) and computation not in self.computations:
                self.computations = [*self.computations[-8:], computation]
            attempts = getattr(message, "attempts", None)
            if isinstance(attempts, list) and attempts and isinstance(attempts[0], int):
                self.jobs = [*self.jobs[-50:], *list(zip(message.jobs, attempts, strict=False))[:50]]


class Values:
    """Makes messages."""

    def __init__(self, chance: random.Random, known: Known) -> None:
        self._chance = chance
        self.known = known
        self._is_edgy = False
        #: Items of each list of the message that is being made.
        self._size = 0
        #: Whether it is to be kept small, being one of many.
        self._is_small = False
        plain: dict[Any, Callable[[str], Any]] = {
            field_checks.is_text: self._text,
            field_checks.is_short_text: lambda name: self._text(name)[:SHORT_TEXT_LIMIT],
            field_checks.is_cpus: lambda name: self._pick((0, 1, 2, 64), (CPUS_LIMIT, CPUS_LIMIT + 1, 1 << 40)),
            field_checks.is_proof: lambda name: chance.randbytes(chance.choice((0, 96))),
            field_checks.is_flag: lambda name: chance.random() < 0.5,
            field_checks.is_count: self._count,
            field_checks.is_number: self._number,
            field_checks.is_bulk: lambda name: self._bulk(),
            field_checks.is_instance: lambda name: self._instance(),
            field_checks.is_computation: lambda name: self._computation(),
            field_checks.is_node_name: lambda name: self._instance() if chance.random() < 0.5 else b"",
            field_checks.is_file: lambda name: self._file()[0],
            field_checks.is_availability: lambda name: [self._number(name) for _ in range(chance.choice((0, 4)))],
            field_checks.is_option_column: lambda name: [],
        }
        self._makers = plain | self._columns()

    def _columns(self) -> dict[Any, Callable[[str], Any]]:
        """What makes lists, of as many items as `self._size` says."""
        items: dict[Any, Callable[[str], Any]] = {
            field_checks.is_text_column: self._text,
            field_checks.is_count_column: self._count,
            field_checks.is_number_column: self._number,
            field_checks.is_status_column: self._count,
            field_checks.is_time_column: self._time,
            field_checks.is_flag_column: lambda name: False,
            field_checks.is_left_out_column: lambda name: self._chance.choice((False, True, 0, 1 << 40)),
            field_checks.is_computation_column: lambda name: self._computation(),
            field_checks.is_bulk_column: lambda name: self._bulk(),
            field_checks.is_content_column: lambda name: self._bulk(),
            field_checks.is_column_list: lambda name: [
                self._count(name) for _ in range(self._chance.choice((0, 1, 5)))
            ],
            field_checks.is_file_list: lambda name: self._file()[0],
            field_checks.is_claim_list: lambda name: self._row(field_checks.CLAIM_ROW),
            field_checks.is_node_list: lambda name: self._row(field_checks.NODE_ROW),
            field_checks.is_node_overview: lambda name: self._row(field_checks.NODE_OVERVIEW),
            field_checks.is_usage: lambda name: self._row(field_checks.USAGE_ROW),
            field_checks.is_running_jobs: lambda name: self._row(field_checks.RUNNING_JOB_ROW),
            field_checks.is_log_positions: lambda name: self._row(field_checks.LOG_POSITION),
            field_checks.is_log_rows: lambda name: self._row(field_checks.LOG_ROW),
            field_checks.is_computation_overview: lambda name: self._row(field_checks.COMPUTATION_OVERVIEW),
        }
        return {check: self._list_of(item) for check, item in items.items()}

    def _list_of(self, item: Callable[[str], Any]) -> Callable[[str], list[Any]]:
        return lambda name: [item(name) for _ in range(self._size)]

    def _row(self, checks: tuple[Any, ...]) -> list[Any]:
        # Lists in each of many rows must not be long as well, nor what is in them large.
        whole, self._size, self._is_small = self._size, min(self._size, 2), self._size >= MANY
        row = [self._makers.get(check, self._anything)("") for check in checks]
        self._size, self._is_small = whole, False
        return row

    # Messages

    def message(self, kind: type[Message]) -> list[Any]:
        """One message of this kind, as the array that travels."""
        kind_of_values = self._chance.random()
        self._is_edgy = kind_of_values >= FIT
        self._size = self._some_size()
        names = kind.__match_args__
        found = [self._field(kind, name, check) for name, check in zip(names, kind.shape, strict=True)]
        self._join_files(names, found)
        self._even_out(names, found)
        self._make_sense(kind, names, found)
        if kind_of_values >= FIT + EDGE and found:
            self._break(found)
        return [kind.tag, *found]

    def _some_size(self) -> int:
        if not self._is_edgy:
            return self._chance.choice((0, 1, 1, 2, 5))
        return self._chance.choice((0, 1, 2, 40, 1000, *([COLUMN_LIMIT] if self._chance.random() < 0.05 else [])))

    def _field(self, kind: type[Message], name: str, check: Any) -> Any:
        if name == "nodes" and check is field_checks.is_text_column:
            return self.patterns()
        if name == "options" and check is field_checks.is_option_column:
            return self._options()
        if name in ("jobs", "attempts") and check is field_checks.is_count_column:
            return self._jobs(name)
        return self._makers.get(check, self._anything)(name)

    def _break(self, found: list[Any]) -> None:
        """Make something of it what it must not be."""
        place = self._chance.randrange(len(found))
        way = self._chance.randrange(4)
        if way == 0:
            del found[place:]
        elif way == 1 and isinstance(found[place], list):
            found[place] = [*found[place], *found[place], self._chance.choice(ODD)]
        else:
            found[place] = self._chance.choice(ODD)

    def _even_out(self, names: tuple[str, ...], found: list[Any]) -> None:
        """As many attempts as jobs in each row of what holds rows of both."""
        if "attempts" in names and self._chance.random() < 0.9:
            jobs, place = found[names.index("jobs")] if "jobs" in names else [], names.index("attempts")
            if jobs and isinstance(jobs[0], list):
                found[place] = [[1] * len(row) for row in jobs]

    def _make_sense(self, kind: type[Message], names: tuple[str, ...], found: list[Any]) -> None:
        """What is checked of a message as a whole, most often as it must be."""
        if self._chance.random() >= 0.9:
            return
        if kind is Upload:
            row, data = self._file()
            found[names.index("files")], found[names.index("contents")] = [row], [Carried(data, FILE)]
        elif kind is Event:
            found[names.index("what")] = self._chance.choice(sorted(NODE_EVENTS))
            found[names.index("rows")] = [self._row(field_checks.NODE_ROW)]
        elif kind is NodeFound and not found[names.index("names")]:
            found[names.index("names")] = ["127.0.0.1"]
        elif kind is NodeCommand:
            found[names.index("value")] = float(self._pick((0.0, 1.0, -1.0), (1 << 30, -(1 << 30))))

    def _join_files(self, names: tuple[str, ...], found: list[Any]) -> None:
        """Contents that go with their rows, where the message has both."""
        if "files" in names and "contents" in names and self._chance.random() < 0.8:
            files = [self._file() for _ in range(min(self._size, 5))]
            found[names.index("files")] = [row for row, _ in files]
            found[names.index("contents")] = [Carried(data, FILE) for _, data in files]

    # Fields

    def _pick(self, plain: tuple[Any, ...], edges: tuple[Any, ...]) -> Any:
        return self._chance.choice(edges if self._is_edgy and self._chance.random() < 0.4 else plain)

    def _text(self, name: str) -> str:
        if name == "word":
            return str(self._pick(WORDS[:6], WORDS))
        if name == "role":
            return str(self._pick(ROLES[:5], ROLES))
        if name == "kind":
            return str(self._pick(("function",), ("function", "program", "", "x")))
        if name in ("isolation", "directory", "python", "address"):
            return str(
                self._pick(("",), ("", "job", "d/e", "../" + ESCAPED, f"{self.known.outside}/{ESCAPED}", *TEXTS))
            )
        if self._is_edgy and self._size < MANY and not self._is_small and self._chance.random() < 0.01:
            return "x" * self._chance.choice((TEXT_LIMIT, TEXT_LIMIT - 1, TEXT_LIMIT // 2))
        return str(self._pick(("a", "work", "name"), TEXTS))

    def patterns(self) -> list[str]:
        """Addresses of nodes; where a port could be connected to, nobody listens there."""
        if not self._is_edgy:
            return ["127.0.0.1"]
        if self._chance.random() < 0.03:
            return [f"127.{each >> 8 & 255}.{each & 255}.7:1" for each in range(20_000)]
        return [self._chance.choice(PATTERNS) for _ in range(self._chance.choice((0, 1, 2, 5)))]

    def _count(self, name: str) -> int:
        if name == "statuses":
            return int(self._pick(STATUSES[:4], STATUSES))
        if name in ("job", "attempt") and self.known.jobs and self._chance.random() < 0.7:
            return self._chance.choice(self.known.jobs)[name == "attempt"]
        return int(self._pick(COUNTS[:5], COUNTS))

    def _jobs(self, name: str) -> list[int]:
        if self.known.jobs and self._chance.random() < 0.6:
            place = 0 if name == "jobs" else 1
            jobs = self.known.jobs[-self._size :] if self._size else []
            found = [each[place] for each in jobs]
            return (found + [self._count(name) for _ in range(self._size)])[: self._size]
        if self._is_edgy and self._chance.random() < 0.3:
            return [self._count(name)] * self._size
        return list(range(1, self._size + 1)) if name == "jobs" else [1] * self._size

    def _time(self, name: str) -> float:
        return float(self._pick((0.0, 0.5, time.time()), (1e12, *NUMBERS)))

    def _number(self, name: str) -> float:
        return float(self._pick((0.0, 0.5, time.time()), NUMBERS))

    def _bulk(self) -> Any:
        is_one_of_few = self._size < MANY and not self._is_small
        size = self._pick((0, 3, 100), (0, 1, 32_768, 32_769, 40_000, 200_000)) if is_one_of_few else 2
        data = bytes(size) if self._chance.random() < 0.5 else self._chance.randbytes(size)
        if self._is_edgy and self._chance.random() < 0.04:
            return Carried(data, self._chance.choice((PAYLOAD, FILE)))  # What is to be in memory, as a file, too.
        return Carried(data) if size > 32_768 else data

    def _instance(self) -> bytes:
        known = self.known.instances
        return self._chance.choice(known) if known and self._chance.random() < 0.7 else self._chance.randbytes(16)

    def _computation(self) -> bytes:
        number = self._chance.random()
        if number < 0.65 and self.known.computations:
            return self._chance.choice(self.known.computations)
        if number < 0.85 and self.known.others:
            return self._chance.choice(self.known.others)
        return self._chance.randbytes(8)

    def _file(self) -> tuple[list[Any], bytes]:
        """A row of a file, and what is in it."""
        data = self._chance.randbytes(self._chance.choice((0, 5, 1000)))
        out = ("../" + ESCAPED, "../" * 9 + ESCAPED, f"{self.known.outside}/{ESCAPED}", f"d/../../{ESCAPED}")
        path = self._pick(PATHS[:2], (*PATHS, *out))
        mode = self._pick((0o644,), (0o644, 0o4777, 0, 1 << 40))
        size = self._pick((len(data),), (len(data), 0, 1, 1 << 40))
        digest = blake2b(data, digest_size=32).digest()
        row = [
            path,
            mode,
            self._pick((0.0, 1e9), (0.0, 1e9, 1e12)),
            size,
            self._pick((digest,), (digest, b"", b"x" * 32)),
        ]
        return row, data

    def _options(self) -> list[Any]:
        if self._chance.random() < 0.6:
            return []
        return [None if self._chance.random() < 0.3 else self._option_row() for _ in range(self._size)]

    def _option_row(self) -> list[Any]:
        row = self._row(field_checks.OPTION_ROW)
        files = [self._file() for _ in range(self._chance.choice((0, 0, 1)))]
        row[6:8] = [each for each, _ in files], [Carried(data, FILE) for _, data in files]
        row[3] = self._pick((0, 1), (0, 1, 64, 1 << 20))
        return row

    def _anything(self, name: str) -> Any:
        return self._chance.choice(ODD)
