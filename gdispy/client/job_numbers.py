"""The numbers of the jobs of this process. They may be taken in any thread.

Invariant: in a forked child, the numbers of its jobs are greater than those of the jobs of its parent, unless it
continues jobs of a previous run.
"""

from __future__ import annotations

import itertools
import os

#: The numbers of all jobs of this process.
numbers = itertools.count(1)
#: Returns the number of a new job.
next_number = numbers.__next__

#: In a forked child, the first number of its jobs.
_first_in_child = 0


def skip_numbers(last: int) -> None:
    """Reserve the numbers up to `last`: jobs of a previous run of the program have them."""
    global _first_in_child
    _first_in_child = 0
    while next_number() <= last:
        pass


def is_of_parent(number: int) -> bool:
    """Whether this process is a forked child, and its parent has created the job of this number."""
    return number < _first_in_child


def _begin_child() -> None:
    global _first_in_child
    _first_in_child = next_number()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)
