"""Measure gdispy and its peers in turn, and print a table. `make bench`, or `bench.py --help`.

One node with two CPUs and one client, on this machine, over TCP on the loopback interface and
encrypted. The peers use pipes and no encryption. The figures are medians of the rounds, and a ratio is
gdispy's median divided by the peer's. The exit code is 1 where a row could not be measured.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

# Before gdispy is imported: all traffic of this benchmark stays on this machine.
os.environ["GDISPY_IP_ADDR"] = "127.0.0.1"
# An installed package has its bytecode beside it; without, row 6 would measure the compiler.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from report import Measured, machine, table, write_json
from rows import ROWS, measure


def options() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description="Measure gdispy and its peers in turn.")
    parser.add_argument("--quick", action="store_true", help="few jobs and one round: under 30 s, for a test")
    parser.add_argument("--rows", type=_numbers, default=None, metavar="1,2", help="only these rows")
    parser.add_argument("--json", default="", metavar="FILE", help="write all figures to this file as well")
    return parser.parse_args()


def _numbers(text: str) -> set[int]:
    known = {row.number for row in ROWS}
    numbers = {int(word) for word in text.split(",")}
    if not numbers <= known:
        raise argparse.ArgumentTypeError(f"rows are numbers from {min(known)} to {max(known)}")
    return numbers


def _on_signal(number: int, frame: object) -> None:
    sys.exit(128 + number)  # So that every `finally` ends its processes.


def main() -> int:
    """Measure, print, and return the exit code."""
    chosen = options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)
    load, began = os.getloadavg()[0], time.monotonic()
    measured: Measured = []
    for row in ROWS:
        if chosen.rows is None or row.number in chosen.rows:
            print(f"row {row.number}: {row.what} ...", file=sys.stderr, flush=True)
            measured.append((row, measure(row, chosen.quick)))
    print(table(measured))
    print()
    kind = "quick run, few jobs and one round" if chosen.quick else "medians of the rounds [least..greatest]"
    print(f"{kind}; took {time.monotonic() - began:.0f} s; load of the machine before it: {load:.2f}")
    print(machine())
    if chosen.json:
        write_json(chosen.json, measured, chosen.quick)
    return 1 if any(outcome.error for _, outcome in measured) else 0


if __name__ == "__main__":
    sys.exit(main())
