"""The commands, by the names that `scripts/` know them by.

Floor 4. `scripts/` patch first and import this module then. Each `..._main` takes the words of the
command line and returns the exit code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def node_main(words: Sequence[str] | None = None) -> int:
    """`gdispy-node`."""
    from gdispy import serve

    return serve.node_main(words)


def main(words: Sequence[str] | None = None) -> int:
    """`gdispy`: a bare first word that names a subcommand is that; a program of such a name is given with its path."""
    words = sys.argv[1:] if words is None else words
    if words and words[0] == "status":
        from gdispy.overview import status_main

        return status_main(words[1:])
    if words and words[0] == "nodes":
        from gdispy.survey import nodes_main

        return nodes_main(words[1:])
    if words and words[0] == "relay":
        from gdispy.relay import relay_main

        return relay_main(words[1:])
    if words and words[0] == "certificate":
        from gdispy.certificate import certificate_main

        return certificate_main(words[1:])
    from gdispy.run import run_main

    return run_main(words)


def scheduler_main(words: Sequence[str] | None = None) -> int:
    """`gdispy-scheduler`."""
    from gdispy import share

    return share.scheduler_main(words)
