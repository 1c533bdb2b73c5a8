"""The installed commands: `gdispy`, `gdispy-node` and `gdispy-scheduler`.

Importing this module changes the process: it is imported by the programs that pip creates, and by the files in
`scripts/`, before anything else. It is outside of the package, so that gevent's patches are applied before any module
of the package is loaded.

Invariants:
1. Standard streams, `sys.path` and gevent's patches are in order before any other module is imported.
2. Nothing of the package is loaded before one of the functions is called.
"""

import os
import sys

for stream in (sys.stdin, sys.stdout, sys.stderr):
    if stream is None:  # It is closed: the next opened file would get its number.
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
# An empty entry of PYTHONPATH means the working directory, whose files must not shadow modules of this program.
if "" in (os.environ.get("PYTHONPATH") or "none").split(os.pathsep):
    here = os.path.realpath(os.curdir)
    sys.path[:] = [path for path in sys.path if path not in ("", here) or os.path.isdir(os.path.join(path, "gdispy"))]

# Patch before every other import, so that all of them are cooperative. Processes and their
# exit statuses remain Python's own: with gevent's, a crashed job could look successful.
import gevent.events
import gevent.monkey

# Otherwise gevent searches all installed packages for plug-ins, once for each module that it patches, which is slow.
gevent.events.notify_and_call_entry_points = gevent.events.notify
gevent.monkey.patch_all(subprocess=False, os=False, signal=False)


def client() -> int:
    """`gdispy`; returns the exit code."""
    from gdispy.cli import main

    return main()


def node() -> int:
    """`gdispy-node`; returns the exit code."""
    from gdispy.cli import node_main

    return node_main()


def scheduler() -> int:
    """`gdispy-scheduler`; returns the exit code."""
    from gdispy.cli import scheduler_main

    return scheduler_main()
