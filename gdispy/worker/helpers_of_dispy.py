"""Small functions that dispy has in its package: programs import them, and jobs find them without an import."""

from __future__ import annotations

import hashlib
from typing import Any


def num_min(*values: Any) -> Any:
    """The least of the numbers, those that are None left out; None where nothing is left."""
    return min((value for value in values if value is not None), default=None)


def num_max(*values: Any) -> Any:
    """The greatest of them, likewise."""
    return max((value for value in values if value is not None), default=None)


def auth_code(secret: str, sign: str) -> bytes:
    """What dispy makes of a secret; gdispy itself proves secrets otherwise."""
    return hashlib.sha1((secret + sign).encode()).hexdigest().encode()
