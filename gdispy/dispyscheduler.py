"""`gdispy-scheduler` by the name of dispy's module: `python -m gdispy.dispyscheduler`.

Floor 4. Run as a program, it gives way to a fresh interpreter, which patches before all else; else it does nothing.
"""

from __future__ import annotations

if __name__ == "__main__":
    from gdispy.local import become

    become("cli", "scheduler_main")
