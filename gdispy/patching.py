"""Patches this process for gevent, as the files in `scripts/` do: for `python -m gdispy` and the like.

Floor 0. Imported first by those, and by nobody else. Processes and their exit statuses stay Python's own: with
gevent's, a job that crashed could look like one that ended well.
"""

import gevent.events
import gevent.monkey

# Else gevent looks through all installed packages for plug-ins, once for each module that it patches (0.1 s and more).
gevent.events.notify_and_call_entry_points = gevent.events.notify
gevent.monkey.patch_all(subprocess=False, os=False, signal=False)
