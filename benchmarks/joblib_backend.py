"""joblib's `Parallel` with the backend of gdispy, beside loky: on all CPUs of this machine, in turn.

`python benchmarks/joblib_backend.py [ROUNDS]` prints the medians in seconds of 2,000 calls of 1 ms, and of 100 calls
that have the same array of 50 MB as an argument.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import joblib
import numpy
from joblib import Parallel, delayed

import gdispy.joblib

CALLS, ARRAY_CALLS = 2000, 100
ARRAY_BYTES = 50_000_000
BACKENDS = ("gdispy", "loky")


def wait(number: int) -> int:
    time.sleep(0.001)
    return number


def element(array: Any, number: int) -> float:
    return float(array[number])


def short_calls() -> None:
    assert Parallel()(delayed(wait)(number) for number in range(CALLS)) == list(range(CALLS))


def same_array() -> None:
    array = numpy.arange(ARRAY_BYTES // 8, dtype=float) + time.time()  # Other contents each time.
    found = Parallel()(delayed(element)(array, number) for number in range(ARRAY_CALLS))
    assert found == array[:ARRAY_CALLS].tolist()


def main(rounds: int) -> int:
    gdispy.joblib.register()
    rows: dict[str, Callable[[], None]] = {
        f"{CALLS:,} calls of 1 ms": short_calls,
        f"{ARRAY_CALLS} calls with the same 50 MB": same_array,
    }
    took: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for row, work in rows.items():
            for backend in BACKENDS:
                with joblib.parallel_config(backend=backend, n_jobs=joblib.cpu_count()):
                    begin = time.perf_counter()
                    work()
                if number:  # In the first round processes are started, and joblib learns the size of batches.
                    took.setdefault((row, backend), []).append(time.perf_counter() - begin)
    gdispy.joblib.shutdown()
    is_good = True
    for row in rows:
        ours, theirs = (statistics.median(took[row, backend]) for backend in BACKENDS)
        is_good = is_good and ours <= theirs
        print(f"{row:34} gdispy {ours:6.3f} s   loky {theirs:6.3f} s   {theirs / ours:.2f} times as fast (goal 1)")
    return int(not is_good)


if __name__ == "__main__":
    sys.exit(main(*[int(word) for word in sys.argv[1:]] or [7]))
