"""Small functions of dispy's package: programs import them, and jobs use them without an import."""

from __future__ import annotations

import hashlib
from typing import Any


def num_min(*values: Any) -> Any:
    """The minimum of the numbers, ignoring None; None if there are none."""
    return min((value for value in values if value is not None), default=None)


def num_max(*values: Any) -> Any:
    """The maximum, likewise."""
    return max((value for value in values if value is not None), default=None)


def auth_code(secret: str, sign: str) -> bytes:
    """dispy's hash of a secret; gdispy authenticates differently."""
    return hashlib.sha1((secret + sign).encode()).hexdigest().encode()
