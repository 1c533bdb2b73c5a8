"""dispy's name for the shared scheduler: `python -m gdispy.dispyscheduler` is `gdispy-scheduler`."""

from __future__ import annotations

if __name__ == "__main__":
    import gdispy.runtime.patching  # noqa: F401, I001 (before the command)

    import sys

    from gdispy.cli import scheduler_main

    sys.exit(scheduler_main())
