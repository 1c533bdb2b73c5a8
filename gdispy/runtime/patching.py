"""Patches this process for gevent, as `_gdispy_programs.py` does, for `python -m gdispy` and the like.

Must be imported before everything else. Processes and their exit statuses remain Python's own: with gevent's, a crashed
job could look successful.
"""

import contextlib
import os
import sys

# Python puts the working directory first when it runs a module: a file there must not shadow a module that gevent
# needs.
with contextlib.suppress(OSError):  # It may no longer exist.
    if sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]

import gevent.events
import gevent.monkey

# Otherwise gevent searches all installed packages for plug-ins, once for each module that it patches, which is slow.
gevent.events.notify_and_call_entry_points = gevent.events.notify
gevent.monkey.patch_all(subprocess=False, os=False, signal=False)
