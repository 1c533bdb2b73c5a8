"""What an attack works with: its target, its time, its chance, and where it counts.

Called in the main thread, by `measuring.py` and by the attacks. Whatever an attack does, its target is looked after:
one that has ended, or that answers nobody for `HANG_LIMIT`, is killed by its pid, counted, and started again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gdispy.protocol.ids import Instance
from gdispy.protocol.messages import Hello, Overview, OverviewRequest
from gdispy.transport.credentials import find_secret
from tests.attack.peer import Peer, Refused, some_source
from tests.attack.report import Row
from tests.attack.site import Site, Target
from tests.support.waiting import eventually

#: Seconds without an answer after which a daemon counts as ended.
HANG_LIMIT = 10.0
#: Logs of ends that are kept in a row.
TAILS = 3


@dataclass(frozen=True)
class Attack:
    """One kind of attack on one kind of target."""

    topic: str
    name: str
    target: str
    act: Callable[[Stage], None]
    #: Its part of the time, and seconds that it takes at least.
    weight: float = 1.0
    least: float = 0.4
    by_strangers: bool = False
    #: Honest newcomers come as often, in seconds.
    interval: float = 0.5
    needs_tls: bool = False


class Stage:
    """What one attack works with."""

    def __init__(self, attack: Attack, site: Site, seconds: float, seed: str, is_isolated: bool) -> None:
        self.attack, self.site = attack, site
        self.target: Target = site.targets[attack.target]
        self.row = Row(attack.topic, attack.name, attack.target)
        self.chance = random.Random(seed)
        self.seed = seed
        #: Whether nothing can leave this run's own network.
        self.is_isolated = is_isolated
        self.psk: bytes = find_secret("", str(site.secret_file)).for_tcp()
        self.seconds = seconds
        self._until = 0.0
        #: Connections of the honest program that this attack has to break.
        self.breaks = 0
        self._unanswered = 0.0
        self._log_size = 0

    def begin(self) -> None:
        self._until = time.monotonic() + self.seconds
        self._log_size = self.target.process.log_size()

    @property
    def left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def goes_on(self) -> bool:
        """Whether there is time left; looks after the target."""
        self.revive()
        return self.left > 0

    # Counting

    def tried(self, count: int = 1) -> None:
        self.row.tried += count

    def accepted(self, what: str) -> None:
        """Something was taken that must not be."""
        self.row.accepted += 1
        kinds: list[str] = self.row.details.setdefault("accepted", [])
        if what not in kinds and len(kinds) < 20:
            kinds.append(what)

    def count(self, name: str, amount: int = 1) -> None:
        """Something worth knowing; in the JSON only."""
        self.row.details[name] = self.row.details.get(name, 0) + amount

    # Connecting

    def source(self) -> str:
        return some_source(self.chance)

    def connect(self, roles: bytes, source: str | None = None) -> Peer | None:
        """A connection of an insider, or None where there is none now."""
        place, tls = self.target.place, bool(self.target.certfile)
        try:
            peer = Peer.connect(place, self.psk, roles, self.source() if source is None else source, tls)
        except Refused:
            self._wait_for_answer()
            return None
        self._unanswered = 0.0
        return peer

    def _wait_for_answer(self) -> None:
        now = time.monotonic()
        self._unanswered = self._unanswered or now
        if now - self._unanswered > HANG_LIMIT and not self.is_answering():
            self._end_hung()

    # The target

    def revive(self) -> None:
        """Count a target that has ended, and start it again."""
        if not self.target.process.is_up():
            self._note_end("ended")
            self._restart()

    def is_answering(self, within: float = HANG_LIMIT) -> bool:
        """Whether the target still does what it is there for."""
        if not self.target.roles:
            honest = self.target.honest
            assert honest is not None
            before = honest.jobs.ended
            return is_true(lambda: not honest.process.is_up() or honest.jobs.ended > before, within)
        return is_true(lambda: not self.target.process.is_up() or self.ask(), within)

    def ask(self) -> bool:
        """Ask the target how it stands; whether it answers."""
        roles = self.target.roles.encode()
        try:
            peer = Peer.connect(self.target.place, self.psk, roles, self.source(), bool(self.target.certfile))
        except Refused:
            return False
        with peer:
            peer.send(hello(roles.decode().partition(">")[0], self.chance.randbytes(16)), OverviewRequest(1))
            return peer.until(Overview) is not None

    def look_after(self) -> None:
        """The attack is over: is the target still there?"""
        self.revive()
        if not self.is_answering():
            self._end_hung()

    def _end_hung(self) -> None:
        self._note_end(f"answered nobody for {HANG_LIMIT:.0f} s, and was killed")
        self._restart()

    def _note_end(self, how: str) -> None:
        process = self.target.process
        self.row.ends += 1
        tails: list[str] = self.row.details.setdefault("logs", [])
        if len(tails) < TAILS:
            tails.append(f"{how}: {process.log_tail(self._log_size)}")
        process.kill()

    def _restart(self) -> None:
        self._unanswered = 0.0
        self._log_size = self.target.process.log_size()
        self.target.start()

    def restart_from_journal(self) -> None:
        """Kill the target as a crash would, and start it again; it must be there again."""
        self.breaks += 1
        self.target.process.kill()
        self._log_size = self.target.process.log_size()
        try:
            self.target.start()
        except RuntimeError:
            self._note_end("did not start again")
            journal = self.site.directory / "journal"
            journal.rename(journal.with_name(f"journal-that-failed-{time.monotonic():.0f}"))
            self._restart()


def hello(role: str, instance: bytes, **changes: Any) -> Hello:
    """What somebody says first who means no harm with it."""
    values: dict[str, Any] = {"name": "attacker", "version": "0", "python": "3.11", "platform": "linux", "cpus": 0}
    values |= {"address": "", "pulse": 0.0, **changes}
    return Hello(role, Instance(instance), **values)


def is_true(condition: Callable[[], bool], within: float) -> bool:
    """Whether it is within so many seconds."""
    try:
        return bool(eventually(condition, within))
    except AssertionError:
        return False
