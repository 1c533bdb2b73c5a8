"""The number of threads that numerical libraries start in a worker.

Standard library. Called in a worker before its first job, and so before such a library is loaded there.
"""

from __future__ import annotations

import os


def set_thread_limits(variables: dict[str, str]) -> None:
    """Set environment variables such as OMP_NUM_THREADS."""
    os.environ.update(variables)
