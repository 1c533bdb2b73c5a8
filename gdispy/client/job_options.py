"""The options of a job: the keywords of `submit` that begin with `dispy_`.

They are removed from the keywords before the call is encoded. Runs in the user's thread.
"""

from __future__ import annotations

from typing import Any

from gdispy.client.packaging import Bundle, bulk, gather, read_files
from gdispy.errors import ConfigError
from gdispy.protocol.payload import Bulk
from gdispy.protocol.rows import FileFields, JobOptions
from gdispy.worker import pickling

#: Upper limits of plausible values, so that typing errors are reported immediately.
CPU_LIMIT = 1 << 16
SECONDS_LIMIT = 1e9
BYTES_LIMIT = 1 << 50

_KNOWN = ("dispy_job_depends", "dispy_timeout", "dispy_cpus", "dispy_memory", "dispy_cpu_time", "dispy_priority")


def take(kwargs: dict[str, Any], node: bytes = b"") -> JobOptions | None:
    """Remove the reserved keywords; returns the job's options, None if there are none.

    `dispy_timeout` is the time limit of the job in seconds, `dispy_cpus` the number of CPUs that it occupies,
    `dispy_memory` the memory limit of all its processes in bytes, `dispy_cpu_time` their CPU time limit in seconds,
    `dispy_priority` a number, higher runs first, and `dispy_job_depends` lists dependencies of this job only, like
    `depends` of a cluster. Raises ConfigError.
    """
    reserved = {name: kwargs.pop(name) for name in [*kwargs] if name.startswith("dispy_")} if kwargs else {}
    if not reserved and not node:
        return None
    for name in reserved:
        if name not in _KNOWN:
            raise ConfigError(
                f"submit does not accept {name!r}: the keywords that begin with dispy_ are {', '.join(_KNOWN)}"
            )
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
    """The encoded dependencies of one job."""

    def __init__(self, depends: object) -> None:
        self.names: Bulk = b""
        self.files: list[FileFields] = []
        self.contents: list[Bulk] = []
        if depends is None:
            return
        parts = Bundle()
        gather(parts, depends, "dispy_job_depends")
        if parts.names:
            self.names = bulk(pickling.dumps(parts.names))
        self.files, self.contents = read_files(parts.files)


def _number(name: str, value: object, least: float, most: float) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ConfigError(f"{name} must be a number from {least:g} to {most:g}, not {value!r}")
    return float(value)


def _whole(name: str, value: object, most: int) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ConfigError(f"{name} must be a whole number from 1 to {most}, not {value!r}")
    return value
