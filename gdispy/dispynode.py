"""dispy's name for what a node is: `python -m gdispy.dispynode` is `gdispy-node`.

Jobs that import `dispynode_logger` from here get the one that they find without that, too. What jobs import is
light: the command is loaded where this is run as a program only.
"""

from __future__ import annotations

import builtins
import logging
from typing import Any

__all__ = ["dispynode_logger"]


def __getattr__(name: str) -> Any:
    if name != "dispynode_logger":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(builtins, name, None) or logging.getLogger("dispynode")


if __name__ == "__main__":
    import gdispy.runtime.patching  # noqa: F401, I001 (before the command)

    import sys

    from gdispy.cli import node_main

    sys.exit(node_main())
