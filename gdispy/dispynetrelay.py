"""dispy's name for the relay: `python -m gdispy.dispynetrelay` is `gdispy relay`."""

from __future__ import annotations

if __name__ == "__main__":
    import gdispy.runtime.patching  # noqa: F401, I001 (before the command)

    import sys

    from gdispy.cli import main

    sys.exit(main(["relay", *sys.argv[1:]]))
