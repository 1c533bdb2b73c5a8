"""Modules of Python as they are before any job runs, for what a worker does between jobs.

Standard library. A job may replace functions of modules, as tests do with `unittest.mock`, and leave them so:
`os.fstat`, say, is then not what the worker needs. These are copies of the modules, which no job finds by name. Only
such modules are here as gevent leaves alone, since daemons use some of the same code.
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
