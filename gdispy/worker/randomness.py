"""Random numbers of a worker that are not those of all others.

Standard library. A worker is a copy of its template, and so are generators that were made or used there: each
would go on with the same numbers. Python's own `random` is seeded anew by itself in each process that is forked. A
generator that a program has given its seed keeps it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import Any

#: Who gives a seed gives a number of at most so many bits, as a rule; what numpy takes of the system has 128.
_GIVEN_BITS = 64


class Generators:
    """Generators of numpy that a template has, to be seeded anew in each worker."""

    def __init__(self) -> None:
        self._found: list[Any] = []

    def find(self) -> None:
        """Look for them once, when the computation is set up: to look at all objects takes some milliseconds."""
        numpy = sys.modules.get("numpy.random")
        kind = getattr(numpy, "Generator", None)
        if isinstance(kind, type):
            self._found = [each for each in gc.get_objects() if type(each) is kind and _is_unseeded(each)]

    def reseed(self) -> None:
        """Seed them, and those that libraries have themselves. In a process just forked."""
        for generator in self._found:
            with contextlib.suppress(Exception):
                own = generator.bit_generator
                own.state = type(own)().state
        numpy: Any = sys.modules.get("numpy.random")
        if numpy is not None:
            with contextlib.suppress(Exception):  # It may be another module of that name, or half imported.
                numpy.seed(list(os.urandom(16)))
        torch: Any = sys.modules.get("torch")
        if torch is not None:
            with contextlib.suppress(Exception):
                # Not `torch.manual_seed`: that touches graphics processors, which do not work in forked processes.
                torch.default_generator.manual_seed(int.from_bytes(os.urandom(7), "big"))


def _is_unseeded(generator: Any) -> bool:
    entropy = getattr(getattr(generator.bit_generator, "seed_seq", None), "entropy", None)
    return isinstance(entropy, int) and entropy.bit_length() > _GIVEN_BITS
