"""Modules of Python in their state before any job, for the work of a worker between jobs.

Standard library. A job may replace functions of modules, as tests do with `unittest.mock`, and leave them so, for
example `os.fstat`. These are copies of the modules, which jobs cannot find by name. Only modules that gevent does not
patch are here, since daemons use some of the same code.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import fcntl as fcntl
    import os as os
    import resource as resource

    import msgpack as msgpack
else:
    import fcntl as _fcntl
    import os as _os
    import resource as _resource

    import msgpack as _msgpack

    def _copy(module):
        copied = types.ModuleType(module.__name__, module.__doc__)
        vars(copied).update(vars(module))
        return copied

    fcntl, msgpack, os, resource = map(_copy, (_fcntl, _msgpack, _os, _resource))
