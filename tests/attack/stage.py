"""One attack, from what is measured before it to its row of the report.

Called in the main thread. An attack gets a `Stage`: its target, its time, its chance, and where it counts. Whatever it
does, the target is looked after: one that has ended, or that answers nobody for `HANG_LIMIT`, is killed by its pid,
counted, and started again.
"""

from __future__ import annotations

import random
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gdispy.core.messages import Hello, Instance, Overview, Survey
from gdispy.keys import find_secret
from tests.attack.peer import Peer, Refused, some_source
from tests.attack.processes import Peaks, Usage
from tests.attack.report import LEFT, Row
from tests.attack.site import Honest, Jobs, Site, Target
from tests.support.waiting import eventually

#: Seconds without an answer after which a daemon counts as ended.
HANG_LIMIT = 10.0
#: Seconds for an honest program to go on, and jobs that one does which comes later.
GO_ON_LIMIT = 10.0
LATER_JOBS = 5
#: Seconds for what attackers have left to go.
SETTLE_LIMIT = 12.0
#: Bytes and descriptors by which a target may have grown when the next attack on it begins.
DIRTY_MEMORY, DIRTY_DESCRIPTORS = 40_000_000, 50
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
            peer.send(hello(roles.decode().partition(">")[0], self.chance.randbytes(16)), Survey(1))
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


def run_attack(attack: Attack, site: Site, seconds: float, seed: str, is_isolated: bool) -> Row:
    """Make one attack; its row."""
    stage = Stage(attack, site, seconds, seed, is_isolated)
    if attack.needs_tls and site.certificate is None:
        stage.row.skipped = "there is no openssl program to make a certificate"
        return stage.row
    try:
        _make_ready(stage)
        _measure(stage)
    except RuntimeError as error:
        stage.row.reasons.append(str(error))
        stage.target.is_spoilt = True
    return stage.row


def _measure(stage: Stage) -> None:
    """The attack itself, with all that is looked at before, during and after it. Raises RuntimeError."""
    target, row = stage.target, stage.row
    jobs_before, usage_before = _jobs(target), target.process.usage()
    peaks = Peaks()
    peaks.begin(target.process)
    try:
        with stage.site.newcomers.coming(target, stage.attack.interval) as newcomers:
            _act(stage)
            row.stood_still = _jobs(target).right == jobs_before.right and target.honest is not None
            stage.look_after()
    finally:
        peaks.end()
    _finish(stage, usage_before, peaks)
    _count_jobs(stage, jobs_before)
    row.newcomers, row.served = len(newcomers), sum(each["served"] for each in newcomers)
    row.details["newcomers served at the first attempt"] = sum(
        each["served"] and each["attempts"] == 1 for each in newcomers
    )
    row.details["newcomers"] = [each["why"] for each in newcomers if not each["served"]][:3]
    row.judge(stage.attack.by_strangers)


def _act(stage: Stage) -> None:
    began = time.monotonic()
    stage.begin()
    try:
        stage.attack.act(stage)
    except RuntimeError:
        raise
    except Exception:
        stage.row.reasons.append(f"the attack itself failed: {traceback.format_exc()[-500:]}")
    stage.row.seconds = time.monotonic() - began


def _jobs(target: Target) -> Jobs:
    return Jobs() if target.honest is None else target.honest.jobs


def _make_ready(stage: Stage) -> None:
    """The target is there, as good as new, and its honest program works."""
    target = stage.target
    if not target.is_started:
        target.start()
        target.baseline = target.process.usage()
    now = target.process.usage()
    grown = now.resident - target.baseline.resident, now.descriptors - target.baseline.descriptors
    is_dirty = target.is_spoilt or not target.process.is_up() or grown[0] > DIRTY_MEMORY or grown[1] > DIRTY_DESCRIPTORS
    if is_dirty or (target.honest is not None and not _works(target.honest)):
        _renew(stage)


def _works(honest: Honest) -> bool:
    """Whether an honest program does one more job."""
    honest.process.say("work")
    before = honest.jobs.right
    return is_true(lambda: honest.jobs.right > before, GO_ON_LIMIT)


def _renew(stage: Stage) -> None:
    """What an attack before this one has spoilt is no fault of this one: all is started anew."""
    target = stage.target
    for process in target.processes():
        process.kill()
        for directory in process.directories:
            shutil.rmtree(directory, ignore_errors=True)
    target.start()
    target.baseline = target.process.usage()
    target.is_spoilt = False
    if target.honest is not None and not _works(target.honest):
        stage.row.reasons.append("honest jobs do not go on though all was started anew")


def _finish(stage: Stage, before: Usage, peaks: Peaks) -> None:
    """Wait until what the attackers have left is gone, and write down what was taken."""
    process, row = stage.target.process, stage.row
    limit = min(SETTLE_LIMIT, max(2.0, stage.seconds))
    is_true(lambda: _has_settled(before, process.usage()), limit)
    after = process.usage()
    peak = max(peaks.descriptors, before.descriptors, after.descriptors)
    row.descriptors = before.descriptors, peak, after.descriptors
    row.resident = before.resident, max(peaks.resident, before.resident, after.resident), after.resident
    row.files, row.memory_files = (before.files, after.files), (before.memory_files, after.memory_files)


def _has_settled(before: Usage, now: Usage) -> bool:
    return now.descriptors - before.descriptors <= LEFT and now.files - before.files <= LEFT


def _count_jobs(stage: Stage, before: Jobs) -> None:
    target, row = stage.target, stage.row
    if target.honest is not None:
        works = _works(target.honest)
        target.honest.process.say("rest")
        _take(row, before, target.honest.jobs)
        row.breaks = max(0, target.honest.jobs.breaks - before.breaks - stage.breaks)
        target.is_spoilt = not works or row.lost > 0
        if not works:
            row.reasons.append("honest jobs do not go on after it")
        return
    later = stage.site.later_program(target, stage.attack.topic == "discovery")
    try:
        if later.process.start():
            later.process.say("work")
            is_true(lambda: later.jobs.right + later.jobs.lost + later.jobs.wrong >= LATER_JOBS, 3 * GO_ON_LIMIT)
        if later.jobs.right < LATER_JOBS:
            row.reasons.append(f"of an honest program that came after it, {later.jobs.right} jobs ended well")
        _take(row, before, later.jobs)
    finally:
        later.process.finish()


def _take(row: Row, before: Jobs, after: Jobs) -> None:
    row.right, row.wrong, row.lost = (
        after.right - before.right,
        after.wrong - before.wrong,
        after.lost - before.lost,
    )
    row.slowest = after.slowest
    if row.lost:
        row.details["lost"] = after.why
