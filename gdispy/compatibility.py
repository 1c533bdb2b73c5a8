"""Names that programs for dispy, and jobs, find in its package, and that nothing here needs.

Floor 0.
"""

from __future__ import annotations

import hashlib
from typing import Any

__author__ = __maintainer__ = __contributors__ = "the authors of gdispy"
__email__ = __url__ = ""
__copyright__ = "Copyright, the authors of gdispy"
__license__ = "Apache 2.0"
__status__ = "Alpha"


def num_min(*values: Any) -> Any:
    """The least of the numbers, those that are None left out; None where nothing is left."""
    return min((value for value in values if value is not None), default=None)


def num_max(*values: Any) -> Any:
    """The greatest of them, likewise."""
    return max((value for value in values if value is not None), default=None)


def auth_code(secret: str, sign: str) -> bytes:
    """What dispy makes of a secret; gdispy itself proves secrets otherwise."""
    return hashlib.sha1((secret + sign).encode()).hexdigest().encode()
