"""The commands, by the names that `scripts/` know them by.

Floor 4. `scripts/` patch first and import this module then. Each `..._main` takes the words of the
command line and returns the exit code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gdispy.options import EXIT_FAILED, add_common_options


def node_main(words: Sequence[str] | None = None) -> int:
    """`gdispy-node`."""
    from gdispy import serve

    return serve.node_main(words)


def main(words: Sequence[str] | None = None) -> int:
    """`gdispy`."""
    from gdispy.run import run_main

    return run_main(words)


def scheduler_main(words: Sequence[str] | None = None) -> int:
    """`gdispy-scheduler`."""
    parser = argparse.ArgumentParser(prog="gdispy-scheduler", description="Share nodes among clients.")
    add_common_options(parser)
    parser.parse_args(words)
    print("gdispy-scheduler: sharing nodes among clients is not part of this version", file=sys.stderr)
    return EXIT_FAILED
