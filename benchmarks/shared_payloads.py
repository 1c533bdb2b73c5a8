"""4 MiB payloads, echoed: by a `JobCluster`, and through a shared scheduler without and with a journal, in turn.

`python benchmarks/shared_payloads.py [ROUNDS [COUNT]]` prints the medians in MB/s, both directions summed, and what
part of the rate of a `JobCluster` is left with a journal.
"""

from __future__ import annotations

import statistics
import sys
from contextlib import ExitStack

from processes import NodePlace, run_client, running_node, running_scheduler

#: The row of `rows.py` that echoes 4 MiB, and seconds in which each of its measurements must be over.
ROW = 3
LIMIT = 60.0
WITHOUT, WITH = "shared --no_journal", "shared with journal"


def started(stack: ExitStack) -> dict[str, tuple[str, NodePlace]]:
    """What is measured: by name, the side of `client.py`, and where it goes to; each has a node of its own."""
    nodes = [stack.enter_context(running_node()) for _ in range(3)]
    return {
        "JobCluster": ("gdispy", nodes[0]),
        WITHOUT: ("shared", stack.enter_context(running_scheduler(nodes[1], keeps_journal=False))),
        WITH: ("shared", stack.enter_context(running_scheduler(nodes[2]))),
    }


def main(rounds: int, count: int) -> None:
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        places = started(stack)
        for _ in range(rounds):
            for name, (side, place) in places.items():
                rates.setdefault(name, []).append(run_client(ROW, side, count, LIMIT, place)["value"])
    for name, values in rates.items():
        print(f"{name:20} {statistics.median(values):6.0f} MB/s   ({min(values):.0f} to {max(values):.0f})")
    for other in ("JobCluster", WITHOUT):
        # By rounds: what else the machine does changes the figures of a round together.
        ratios = [one / two for one, two in zip(rates[WITH], rates[other], strict=True)]
        print(f"journal / {other}: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    main(*words, *(7, 40)[len(words) :])
