"""Defects of journals and of who takes up what they say: the worlds whose scheduler is killed must catch them."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.protocol.message import Message
from gdispy.protocol.messages import Cancel, Release, Run
from gdispy.protocol.payload import Payload
from gdispy.rules.effects import Effects, WriteFacts
from gdispy.rules.history.facts import Placed, Unplaced
from gdispy.rules.history.replay import JournalState
from tests.simulation import seams
from tests.simulation.scheduler import Scheduler
from tests.simulation.test_planted_defects import Patch, Plant, assert_caught, change


def fact_is_skipped(kind: type[Message]) -> Plant:
    """Facts of a kind are not written."""

    def plant(patch: Patch) -> None:
        def make(original: Any) -> Any:
            def remember(self: Scheduler, fact: Message) -> None:
                if not isinstance(fact, kind):
                    original(self, fact)

            return remember

        change(patch, Scheduler, "_remember", make)

    plant.__name__ = f"{kind.__name__}_is_not_written"
    return plant


def facts_are_written_too_late(patch: Patch) -> None:
    """What a turn promises is written at the next turn, when it has been sent."""
    late: list[Effects] = []

    def make(original: Any) -> Any:
        def perform(self: Scheduler, effect: Any) -> None:
            if isinstance(effect, WriteFacts):
                late.append([self, effect])
                return
            original(self, effect)
            if len(late) > 20:
                other, record = late.pop(0)
                if other is self:
                    original(self, record)

        return perform

    change(patch, Scheduler, "_perform", make)


def jobs_on_nodes_are_queued_again(patch: Patch) -> None:
    """What may have begun is taken for new after a restart."""

    def make(original: Any) -> Any:
        def restore_job(self: Any, computation: Any, number: Any, job: Any) -> Any:
            if not job.cancelled:
                job.node = None
            return original(self, computation, number, job)

        return restore_job

    change(patch, *seams.RESTORE_JOB, make)


def attempts_begin_anew(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def restore_job(self: Any, computation: Any, number: Any, job: Any) -> Any:
            job.attempt = 1
            return original(self, computation, number, job)

        return restore_job

    change(patch, *seams.RESTORE_JOB, make)


def restored_nodes_are_waited_for_without_end(patch: Patch) -> None:
    change(patch, *seams.WATCH_ABSENCE, lambda original: lambda self, node: None)


def collected_results_come_back(patch: Patch) -> None:
    """What is left of a node's former life is not forgotten when it was collected."""
    change(patch, *seams.SPOOL_ACKED, lambda original: lambda self, computation, jobs: [])
    change(patch, *seams.OUTCOMES_ACKED, lambda original: lambda self, computation, message, now: [])


def losses_are_not_counted_over_lives(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def take(self: Any, history: Any, fact: Any) -> None:
            original(self, history, fact)
            for number in fact.jobs:
                if number in history.jobs:
                    history.jobs[number].losses = 0

        return take

    change(patch, JournalState, "_unplaced", make)


def outcomes_are_collected_before_they_are_written(patch: Patch) -> None:
    """Nodes forget what could not be written yet."""
    change(patch, Scheduler, "_has_to_wait", lambda original: lambda self, message: False)


def jobs_are_accepted_before_they_are_written(patch: Patch) -> None:
    """Clients forget what jobs are called with, and it is not on the disk."""

    def make(original: Any) -> Any:
        def can_lose(self: Scheduler, fact: Run, place: int) -> bool:
            return isinstance(fact.arguments[place], Payload)

        return can_lose

    change(patch, Scheduler, "_can_lose", make)


def jobs_whose_arguments_are_with_the_client_are_forgotten(patch: Patch) -> None:
    """They are neither placed again, nor is their client asked for them."""

    def make(original: Any) -> Any:
        def give_back(self: Any, computation: Any, tasks: Any) -> Any:
            original(self, computation, tasks)
            return []

        return give_back

    change(patch, *seams.GIVE_BACK, make)


def attempts_begin_anew_when_clients_say_jobs_again(patch: Patch) -> None:
    change(patch, *seams.TAKE_AGAIN, lambda original: lambda self, task: None)


PLANTS: list[Plant] = [
    outcomes_are_collected_before_they_are_written,
    jobs_are_accepted_before_they_are_written,
    jobs_whose_arguments_are_with_the_client_are_forgotten,
    attempts_begin_anew_when_clients_say_jobs_again,
    *(fact_is_skipped(kind) for kind in (Run, Placed, Unplaced, Cancel, Release)),
    facts_are_written_too_late,
    jobs_on_nodes_are_queued_again,
    attempts_begin_anew,
    restored_nodes_are_waited_for_without_end,
    collected_results_come_back,
    losses_are_not_counted_over_lives,
]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_planted_defect_is_caught(plant: Plant) -> None:
    assert_caught(plant)
