"""Random numbers of a worker that are not those of all others.

Floor 1: standard library. A worker is a copy of its template, and so are generators that were used there: each would go
on with the same numbers. Python's own `random` is seeded anew by itself in each process that is forked. Generators that
a program has made and keeps itself are its own business, since it may have given them their seed.
"""

from __future__ import annotations

import contextlib
import os
import sys


def reseed() -> None:
    """Seed the generators of libraries that are loaded. In a process just forked."""
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        with contextlib.suppress(Exception):  # It may be another module of that name, or half imported.
            numpy.seed(list(os.urandom(16)))
    torch = sys.modules.get("torch")
    if torch is not None:
        with contextlib.suppress(Exception):
            # Not `torch.manual_seed`: that touches graphics processors, which do not work in forked processes.
            torch.default_generator.manual_seed(int.from_bytes(os.urandom(7), "big"))
