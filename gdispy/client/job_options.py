"""What a job asks for besides its arguments: the keywords of `submit` that begin with `dispy_`.

Called by `cluster.py` in the user's thread. They are taken out of the keywords before the computation
gets to see those.
"""

from __future__ import annotations

from typing import Any

from gdispy.client.packaging import Bundle, bulk, gather, read_files
from gdispy.errors import ConfigError
from gdispy.protocol.payload import Bulk
from gdispy.protocol.rows import JobOptions
from gdispy.worker import pickling

#: The most that a node is believed to have, so that a slip of the pen is told at once.
CPU_LIMIT = 1 << 16
SECONDS_LIMIT = 1e9
BYTES_LIMIT = 1 << 50

_KNOWN = ("dispy_job_depends", "dispy_timeout", "dispy_cpus", "dispy_memory", "dispy_cpu_time", "dispy_priority")


def take(kwargs: dict[str, Any], node: bytes = b"") -> JobOptions | None:
    """Remove the reserved keywords; the job's options, None where there are none.

    `dispy_timeout` is seconds that the job may run, `dispy_cpus` how many CPUs it occupies, `dispy_memory` bytes
    that it may use with all its processes, `dispy_cpu_time` seconds of processor time likewise, `dispy_priority` any
    number, higher goes first, and `dispy_job_depends` what only this job needs, as `depends` of a cluster. Raises
    ConfigError.
    """
    reserved = {name: kwargs.pop(name) for name in [*kwargs] if name.startswith("dispy_")} if kwargs else {}
    if not reserved and not node:
        return None
    for name in reserved:
        if name not in _KNOWN:
            raise ConfigError(f"submit knows no {name!r}: names that begin with dispy_ are {', '.join(_KNOWN)}")
    get = reserved.get
    depends = _Depends(get("dispy_job_depends"))
    return JobOptions(
        node,
        _number("dispy_priority", get("dispy_priority"), -1e9, 1e9),
        _number("dispy_timeout", get("dispy_timeout"), 0.001, SECONDS_LIMIT),
        _whole("dispy_cpus", get("dispy_cpus"), CPU_LIMIT),
        _whole("dispy_memory", get("dispy_memory"), BYTES_LIMIT),
        depends.names,
        depends.files,
        depends.contents,
        _number("dispy_cpu_time", get("dispy_cpu_time"), 0.01, SECONDS_LIMIT),
    )


class _Depends:
    """What only this job needs, as it travels."""

    def __init__(self, depends: Any) -> None:
        self.names: Bulk = b""
        self.files: list[list[Any]] = []
        self.contents: list[Bulk] = []
        if depends is None:
            return
        parts = Bundle()
        gather(parts, depends)
        if parts.names:
            self.names = bulk(pickling.dumps(parts.names))
        self.files, self.contents = read_files(parts.files)


def _number(name: str, value: Any, least: float, most: float) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ConfigError(f"{name} must be a number from {least:g} to {most:g}, not {value!r}")
    return float(value)


def _whole(name: str, value: Any, most: int) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ConfigError(f"{name} must be a whole number from 1 to {most}, not {value!r}")
    return value
