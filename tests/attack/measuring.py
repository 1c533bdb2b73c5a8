"""One attack, from what is measured before it to its row of the report.

Called in the main thread. Before it, the target is as good as new; after it, it must still be there, and its honest
program must go on.
"""

from __future__ import annotations

import shutil
import time
import traceback

from tests.attack.processes import Peaks, Usage
from tests.attack.report import LEFT, Row
from tests.attack.site import Honest, Jobs, Site, Target
from tests.attack.stage import Attack, Stage, is_true

#: Seconds for an honest program to go on, and jobs that one does which comes later.
GO_ON_LIMIT = 10.0
LATER_JOBS = 5
#: Seconds for what attackers have left to go.
SETTLE_LIMIT = 12.0
#: Bytes and descriptors by which a target may have grown when the next attack on it begins.
DIRTY_MEMORY, DIRTY_DESCRIPTORS = 40_000_000, 50


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
