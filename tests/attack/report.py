"""The table of a run, its goals, and the same as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: Of honest newcomers, how many must be served within their time; of a few, one may be unlucky.
SERVED = 0.99
#: Bytes by which a daemon may grow because of strangers, and because of those with the secret.
STRANGERS_MEMORY = 20_000_000
INSIDERS_MEMORY = 640_000_000
#: Descriptors that strangers may hold at once; and those that may be left when an attack is over, and files.
STRANGERS_DESCRIPTORS = 2048 + 256
LEFT = 16
#: The same of what those with the secret have brought, which is kept for the lease that it is theirs for.
LEFT_WITH_LEASE = 3 * 1024
#: Topics in which somebody brings what is kept.
_BRINGING = ("insiders", "abuse")
#: Seconds after which honest jobs must have gone on.
PATIENCE = 3.0


@dataclass
class Row:
    """What one attack has done."""

    topic: str
    attack: str
    target: str
    seconds: float = 0.0
    tried: int = 0
    accepted: int = 0
    #: How often the daemon ended, and the last lines of its logs.
    ends: int = 0
    #: Before, the most, and after.
    descriptors: tuple[int, int, int] = (0, 0, 0)
    resident: tuple[int, int, int] = (0, 0, 0)
    #: Before and after.
    files: tuple[int, int] = (0, 0)
    memory_files: tuple[int, int] = (0, 0)
    newcomers: int = 0
    served: int = 0
    #: What came of the jobs of the honest program, and whether none of them ended during the attack.
    stood_still: bool = False
    right: int = 0
    wrong: int = 0
    lost: int = 0
    breaks: int = 0
    slowest: float = 0.0
    #: Why it was not made at all, or ''.
    skipped: str = ""
    reasons: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return not self.reasons

    def judge(self, by_strangers: bool) -> None:
        """Compare with the goals."""
        if self.accepted:
            self.reasons.append(f"{self.accepted} accepted: {self.details.get('accepted', '')}".rstrip(": "))
        if self.ends:
            self.reasons.append(f"ended {self.ends} times")
        self._judge_jobs()
        missed = self.newcomers - self.served
        if missed > max(1, (1 - SERVED) * self.newcomers):
            self.reasons.append(f"{missed} of {self.newcomers} newcomers not served within 2 s")
        if not self.ends:
            self._judge_size(by_strangers)

    def _judge_jobs(self) -> None:
        if self.wrong:
            self.reasons.append(f"{self.wrong} wrong results")
        if self.lost:
            self.reasons.append(f"{self.lost} honest jobs lost: {str(self.details.get('lost', ''))[:120]!r}")
        if self.breaks and not self.ends:
            self.reasons.append(f"{self.breaks} honest connections broken")
        if self.stood_still and self.seconds >= PATIENCE:
            self.reasons.append("honest jobs stood still")

    def _judge_size(self, by_strangers: bool) -> None:
        limit = STRANGERS_MEMORY if by_strangers else INSIDERS_MEMORY
        grown = self.resident[1] - self.resident[0]
        if grown > limit:
            self.reasons.append(f"grew by {grown / 1e6:.0f} MB")
        before, peak, after = self.descriptors
        if by_strangers and peak - before > STRANGERS_DESCRIPTORS:
            self.reasons.append(f"{peak - before} descriptors at once")
        left = LEFT_WITH_LEASE if self.topic in _BRINGING else LEFT
        if after - before > left:
            self.reasons.append(f"{after - before} descriptors left")
        if self.files[1] - self.files[0] > left:
            self.reasons.append(f"{self.files[1] - self.files[0]} files left")
        kept = self.memory_files[1] - self.memory_files[0]
        if kept > INSIDERS_MEMORY:
            self.reasons.append(f"{kept / 1e6:.0f} MB of memory files left")

    def cells(self) -> list[str]:
        """The row as the table has it."""
        verdict = f"skipped: {self.skipped}" if self.skipped else "; ".join(self.reasons) or "good"
        return [
            f"{self.topic}: {self.attack}",
            self.target,
            f"{self.seconds:.1f}",
            f"{self.tried:,}",
            str(self.accepted),
            str(self.ends),
            "/".join(map(str, self.descriptors)),
            "/".join(f"{each / 1e6:.0f}" for each in self.resident),
            f"{self.served}/{self.newcomers}",
            f"{self.right}/{self.wrong}/{self.lost}",
            verdict,
        ]


_TITLES = [
    "attack",
    "on",
    "s",
    "tried",
    "accepted",
    "ends",
    "descriptors",
    "RSS MB",
    "newcomers",
    "jobs r/w/l",
    "verdict",
]


def table(rows: list[Row]) -> str:
    """All rows, and totals."""
    cells = [_TITLES, *(row.cells() for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(_TITLES) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]) for line in cells
    ]
    return "\n".join([*lines, "", *totals(rows)])


def totals(rows: list[Row]) -> list[str]:
    """What came of all attacks together, in lines."""
    floods = [row for row in rows if row.topic in ("floods", "replays") and row.newcomers]
    tried, served = sum(row.newcomers for row in floods), sum(row.served for row in floods)
    jobs = [sum(getattr(row, name) for row in rows) for name in ("right", "wrong", "lost")]
    return [
        f"attacks: {len(rows)}, of which {sum(not row.is_good for row in rows)} missed a goal",
        f"tried: {sum(row.tried for row in rows):,}; wrongly accepted: {sum(row.accepted for row in rows)}; "
        f"ends of daemons and programs: {sum(row.ends for row in rows)}",
        f"honest newcomers during floods and replays served within 2 s: {served} of {tried}; "
        f"in all attacks: {sum(row.served for row in rows)} of {sum(row.newcomers for row in rows)}",
        f"honest jobs: {jobs[0]} right, {jobs[1]} wrong, {jobs[2]} lost; "
        f"connections of honest programs broken: {sum(row.breaks for row in rows)}",
    ]


def missed(rows: list[Row]) -> list[str]:
    """The goals that were missed."""
    found = [f"{row.topic}: {row.attack} on {row.target}: {'; '.join(row.reasons)}" for row in rows if not row.is_good]
    floods = [row for row in rows if row.topic in ("floods", "replays")]
    tried, served = sum(row.newcomers for row in floods), sum(row.served for row in floods)
    if tried >= 100 and served < SERVED * tried:
        found.append(f"floods and replays: {served} of {tried} newcomers served within 2 s, fewer than 99 of 100")
    return found


def save(path: Path, seed: int, rows: list[Row]) -> None:
    """The raw rows as JSON."""
    path.write_text(json.dumps({"seed": seed, "rows": [asdict(row) for row in rows]}, indent=1, default=str))
