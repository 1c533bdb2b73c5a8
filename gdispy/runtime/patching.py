"""Patches this process for gevent, as the files in `scripts/` do: for `python -m gdispy` and the like.

Imported first by those, and by nobody else. Processes and their exit statuses stay Python's own: with
gevent's, a job that crashed could look like one that ended well.
"""

import contextlib
import os
import sys

# Python puts the working directory first where it runs a module: a file there must not stand in for what gevent needs.
with contextlib.suppress(OSError):  # It may not exist any more.
    if sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]

import gevent.events
import gevent.monkey

# Else gevent looks through all installed packages for plug-ins, once for each module that it patches (0.1 s and more).
gevent.events.notify_and_call_entry_points = gevent.events.notify
gevent.monkey.patch_all(subprocess=False, os=False, signal=False)
