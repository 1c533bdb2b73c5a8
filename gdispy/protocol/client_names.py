"""The names of programs that submit jobs, as nodes and schedulers show them: `HOST (USER: PROGRAM)`.

Pure. What is in a name is what its sender says: a peer that has the secret can send any.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gdispy.protocol.limits import short_name

_FORM = re.compile(r"(.*?) \((.*?): (.*)\)", re.DOTALL)


class ClientName(NamedTuple):
    """The parts of a name; '' for those that are unknown."""

    host: str
    user: str
    program: str

    @property
    def person(self) -> str:
        """The user, or the host if no user is known."""
        return self.user or self.host


def client_name(host: str, user: str, program: str) -> str:
    """The name of a program, short enough to be sent."""
    return short_name(f"{host or 'client'} ({user}: {program or 'python'})")


def parse(name: str) -> ClientName:
    """The parts of a name; a name in another form is that of a host."""
    found = _FORM.fullmatch(name)
    return ClientName(*found.groups()) if found else ClientName(name, "", "")
