"""Names of jobs for people, `PREFIX:NUMBER`: the beginning of the computation's id in hex that no other computation
has, and the number of the job; 0 for the computation.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gdispy.errors import ConfigError
from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.limits import COUNT_LIMIT, counted, printable

#: Digits of a prefix, if they suffice.
DIGITS = 4

_FORM = re.compile(r"([0-9a-fA-F]{1,16})(?::([0-9]{1,16})?)?", re.ASCII)


def prefixes(computations: Iterable[ComputationId]) -> dict[ComputationId, str]:
    """The prefix of each computation."""
    names = sorted((each.hex(), each) for each in computations)
    found: dict[ComputationId, str] = {}
    for place, (name, computation) in enumerate(names):
        beside = [names[other][0] for other in (place - 1, place + 1) if 0 <= other < len(names)]
        found[computation] = name[: max([DIGITS, *(_common(name, other) + 1 for other in beside)])]
    return found


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    return next((place for place, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]), len(one))


def find(name: str, computations: Iterable[ComputationId]) -> tuple[ComputationId, JobId]:
    """The computation and the job with this name. Raises ConfigError."""
    parts = _FORM.fullmatch(name)
    number = int(parts[2] or 0) if parts is not None else 0
    if parts is None or number >= COUNT_LIMIT:
        raise ConfigError(
            f"'{printable(name, 60)}' is not the name of a job: write it as c41f:17, or c41f:0 for all jobs"
        )
    prefix = parts[1].lower()
    found = [each for each in computations if each.hex().startswith(prefix)]
    if not found:
        raise ConfigError(f"no computation here begins with {prefix}; `gdispy explain` without a job lists them")
    if len(found) > 1:
        shown = ", ".join(sorted(each.hex() for each in found)[:3]) + (", ..." if len(found) > 3 else "")
        raise ConfigError(f"{counted(len(found), 'computation')} begin with {prefix}: {shown}; write more digits")
    return found[0], JobId(number)
