"""Numbers of jobs: each is used once, also beside those of a previous run and of a parent process."""

from __future__ import annotations

import itertools

import pytest

from gdispy.client import job_numbers as module
from gdispy.client.job_numbers import is_of_parent, skip_numbers


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count(1)
    monkeypatch.setattr(module, "next_number", numbers.__next__)
    monkeypatch.setattr(module, "_first_in_child", 0)


def test_numbers_of_a_previous_run_are_not_used_again() -> None:
    skip_numbers(5)
    assert module.next_number() > 5
    after = module.next_number()
    skip_numbers(3)
    assert module.next_number() > after


def test_program_that_was_not_forked_has_created_all_its_jobs() -> None:
    assert not is_of_parent(module.next_number()) and not is_of_parent(1)


def test_forked_child_tells_its_jobs_from_those_of_its_parent() -> None:
    parents = [module.next_number() for _ in range(3)]
    module._begin_child()
    own = [module.next_number() for _ in range(3)]
    assert all(map(is_of_parent, parents)) and not any(map(is_of_parent, own))
    assert min(own) > max(parents)


def test_child_that_continues_a_previous_run_has_all_jobs_itself() -> None:
    module.next_number()
    module._begin_child()
    skip_numbers(1)
    assert not is_of_parent(1)
