"""`python -m gdispy`: the same as `gdispy`.

Floor 4. As the files in `scripts/`, it patches before anything else is imported.
"""

import gevent.events
import gevent.monkey

# Else gevent looks through all installed packages for plug-ins, once for each module that it patches (0.1 s and more).
gevent.events.notify_and_call_entry_points = gevent.events.notify
gevent.monkey.patch_all(subprocess=False, os=False, signal=False)

import sys  # noqa: E402

from gdispy.cli import main  # noqa: E402

sys.exit(main())
