"""What the benchmark prints and writes: a plain table, the machine, JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from typing import Any

from rows import Outcome, Row

import gdispy

HEADINGS = ("row", "what", "gdispy", "peer", "ratio", "goal", "met", "remark")
Measured = list[tuple[Row, Outcome]]


def table(measured: Measured) -> str:
    """The rows as text, with columns as wide as what is in them."""
    lines = [HEADINGS, *(_cells(row, outcome) for row, outcome in measured)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEADINGS))]
    text = [_joined(line, widths) for line in lines]
    return "\n".join([text[0], _joined(["-" * width for width in widths], widths), *text[1:]])


def _joined(cells: Iterable[str], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cells(row: Row, outcome: Outcome) -> tuple[str, ...]:
    what = f"{row.what} ({row.unit})" if row.unit else row.what
    if outcome.error:
        return str(row.number), what, "-", "-", "-", goal(row), "-", "NOT MEASURED, see above"
    peer = _spread(outcome, "peer")
    ratio = "-" if outcome.ratio is None else f"{outcome.ratio:.3g}"
    met = {True: "yes", False: "NO", None: "-"}[row.is_met(outcome)]
    beside = f"{peer} {row.peer}" if peer != "-" else peer
    return str(row.number), what, _spread(outcome, "gdispy"), beside, ratio, goal(row), met, outcome.note


def goal(row: Row) -> str:
    """The goal of a row in a few signs."""
    sign = "<=" if row.at_most else ">="
    what = "ratio " if row.judged == "ratio" else ""
    stretch = "" if row.stretch is None else f" (stretch {row.stretch:g})"
    return f"{what}{sign} {row.goal:g}{stretch}"


def _spread(outcome: Outcome, name: str) -> str:
    """The median, and the least and the greatest where there were several rounds."""
    values, middle = outcome.rounds.get(name, []), outcome.figure(name)
    if middle is None:
        return "-"
    return _short(middle) if len(values) == 1 else f"{_short(middle)} [{_short(min(values))}..{_short(max(values))}]"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def machine() -> str:
    """What it ran on, without names of the machine or of its directories."""
    lines = [
        f"CPUs: {len(os.sched_getaffinity(0))} to use, of {os.cpu_count()}; {platform.machine()}",
        f"Python: {platform.python_implementation()} {platform.python_version()}; gdispy {gdispy.__version__}",
        f"kernel: {platform.system()} {platform.release()}",
    ]
    return "\n".join(lines)


def write_json(path: str, measured: Measured, quick: bool) -> None:
    """All figures of all rounds, for programs."""
    rows: list[dict[str, Any]] = [
        {
            "row": row.number,
            "what": row.what,
            "unit": row.unit,
            "peer": row.peer,
            "rounds": outcome.rounds,
            "gdispy": outcome.figure("gdispy"),
            "peer_median": outcome.figure("peer"),
            "ratio": outcome.ratio,
            "goal": goal(row),
            "met": row.is_met(outcome),
            "remark": outcome.note,
            "error": outcome.error,
        }
        for row, outcome in measured
    ]
    with open(path, "w") as file:
        json.dump({"quick": quick, "machine": machine().splitlines(), "rows": rows}, file, indent=1)
        file.write("\n")
