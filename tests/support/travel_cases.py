"""What programs define, in small pieces, with what jobs make of it: see tests/integration/test_what_travels.py."""

from __future__ import annotations

import textwrap

#: What all cases import.
PRELUDE = """\
import abc, collections, contextlib, dataclasses, enum, functools, gdispy, logging, math, os, os.path, queue, re
import threading, types, typing, weakref
"""

#: Name -> text that defines something, an expression, and what its value shows as.
CASES: dict[str, tuple[str, str, str]] = {}


def case(name: str, text: str, expression: str, shown: str) -> None:
    assert name not in CASES
    CASES[name] = PRELUDE + textwrap.dedent(text), textwrap.dedent(expression).strip(), shown
