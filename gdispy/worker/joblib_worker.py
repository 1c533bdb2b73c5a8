"""What a worker of joblib's backend needs before its first job.

Standard library.
"""

from __future__ import annotations

import importlib
import os


def begin_worker(variables: dict[str, str]) -> None:
    """Set environment variables such as OMP_NUM_THREADS, and make the backend known to joblib: in this order, since
    joblib loads numerical libraries."""
    os.environ.update(variables)
    importlib.import_module("gdispy.joblib").register()
