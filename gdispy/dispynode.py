"""`gdispy-node` by the name of dispy's module: `python -m gdispy.dispynode`, and its logger for computations.

Floor 4. Run as a program, it gives way to a fresh interpreter, which patches before all else; else it does nothing.
"""

from __future__ import annotations

import logging

#: In a computation: writes into the log of the node.
dispynode_logger = logging.getLogger("dispynode")

if __name__ == "__main__":
    from gdispy.local import become

    become("cli", "node_main")
