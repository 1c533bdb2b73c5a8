"""Gives each worker different random numbers.

Standard library. A worker is a copy of its template, including generators that were created or used there: each would
continue with the same numbers. Python's `random` is reseeded automatically in each forked process. A generator with an
explicit seed keeps it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import Any

#: Explicit seeds usually have at most this many bits; numpy takes 128 bits from the system.
_GIVEN_BITS = 64


class Generators:
    """Generators of numpy in a template, to be reseeded in each worker."""

    def __init__(self) -> None:
        self._found: list[Any] = []

    def find(self) -> None:
        """Find them once, after setup, since searching all objects is slow."""
        numpy = sys.modules.get("numpy.random")
        kind = getattr(numpy, "Generator", None)
        if isinstance(kind, type):
            self._found = [each for each in gc.get_objects() if type(each) is kind and _is_unseeded(each)]

    def reseed(self) -> None:
        """Reseed them, and those of libraries. In a process just forked."""
        for generator in self._found:
            with contextlib.suppress(Exception):
                own = generator.bit_generator
                own.state = type(own)().state
        numpy: Any = sys.modules.get("numpy.random")
        if numpy is not None:
            with contextlib.suppress(Exception):  # It may be another module of that name, or be partly imported.
                numpy.seed(list(os.urandom(16)))
        torch: Any = sys.modules.get("torch")
        if torch is not None:
            with contextlib.suppress(Exception):
                # Not `torch.manual_seed`, which uses GPUs, and those do not work in forked processes.
                torch.default_generator.manual_seed(int.from_bytes(os.urandom(7), "big"))


def _is_unseeded(generator: Any) -> bool:
    entropy = getattr(getattr(generator.bit_generator, "seed_seq", None), "entropy", None)
    return isinstance(entropy, int) and entropy.bit_length() > _GIVEN_BITS
