"""When to start no more jobs: the value of `--halt`.

Pure: counts go in, a decision comes out.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

from gdispy.errors import ConfigError

#: A percentage applies only from this number of jobs on: the first job alone would be 100%.
LEAST_JOBS = 3

_RULE = re.compile(r"(?P<when>now|soon),(?P<why>fail|success|done)=(?P<limit>[0-9]+)(?P<percent>%?)")
#: The numbers that GNU parallel accepts for the most common rules.
_NUMBERED = {"0": "never", "1": "soon,fail=1", "2": "now,fail=1"}


class Halt(enum.Enum):
    """What to do after the end of a job."""

    CONTINUE = enum.auto()
    #: Start no more jobs, and wait for the running ones.
    SOON = enum.auto()
    #: Terminate the running jobs as well.
    NOW = enum.auto()


class HaltRule(NamedTuple):
    """`never`, or a limit of the number or the percentage of jobs that have failed, succeeded, or ended."""

    text: str = "never"
    halt: Halt = Halt.CONTINUE
    why: str = ""
    limit: int = 0
    is_percent: bool = False

    @classmethod
    def read(cls, text: str) -> HaltRule:
        """Raises ConfigError."""
        text = _NUMBERED.get(text, text)
        if text == "never":
            return cls()
        match = _RULE.fullmatch(text)
        if match is None:
            raise ConfigError(
                f"--halt {text!r} is invalid: write never, or now or soon with a limit, as in soon,fail=1, "
                "now,fail=10% or now,success=1"
            )
        limit, is_percent = int(match["limit"]), bool(match["percent"])
        if not limit:
            raise ConfigError(f"--halt {text!r}: the limit must be at least 1")
        if is_percent and limit > 100:
            raise ConfigError(f"--halt {text!r}: a percentage can be at most 100")
        if is_percent and match["why"] == "done":
            raise ConfigError(f"--halt {text!r}: done takes a number of jobs, not a percentage")
        return cls(text, Halt[match["when"].upper()], match["why"], limit, is_percent)

    @property
    def halts_on_success(self) -> bool:
        """Whether it is reached by jobs that succeed, so that reaching it is a success."""
        return self.why == "success"

    def after(self, ended: int, failed: int) -> Halt:
        """The decision after `ended` jobs have ended, `failed` of which have failed."""
        if self.halt is Halt.CONTINUE:
            return Halt.CONTINUE
        reached = {"fail": failed, "success": ended - failed, "done": ended}[self.why]
        if self.is_percent:
            is_over = ended >= LEAST_JOBS and reached > 0 and 100 * reached >= self.limit * ended
        else:
            is_over = reached >= self.limit
        return self.halt if is_over else Halt.CONTINUE
