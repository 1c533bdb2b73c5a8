"""CPUs that are offered, used and busy."""

from __future__ import annotations

import pytest

from gdispy.errors import InternalError
from gdispy.protocol.messages import Cpus
from gdispy.rules.node.capacity import Capacity


def test_nothing_is_offered_until_no_reason_is_left() -> None:
    capacity = Capacity(4)
    assert capacity.shut("stopped")
    assert not capacity.shut("disk")
    assert capacity.message() == Cpus(0, "stopped, disk")
    assert not capacity.reopen("stopped")
    assert capacity.offered == 0
    assert capacity.reopen("disk")
    assert capacity.message() == Cpus(4, "")


def test_number_that_is_set_while_it_is_shut_counts_when_it_opens() -> None:
    capacity = Capacity(4)
    capacity.shut("stopped")
    assert not capacity.want(2)
    capacity.reopen("stopped")
    assert capacity.offered == 2


def test_lesser_of_what_is_offered_and_allowed_is_used() -> None:
    capacity = Capacity(4)
    capacity.allow(3)
    assert capacity.adjust() == -1
    capacity.want(2)
    assert capacity.cpus == 3, "before it is adjusted"
    assert (capacity.adjust(), capacity.cpus) == (-1, 2)
    capacity.allow(8)
    assert (capacity.adjust(), capacity.cpus) == (0, 2)


def test_offer_that_never_changed_need_not_be_said_again() -> None:
    capacity = Capacity(4)
    capacity.want(4)
    assert not capacity.has_varied
    capacity.want(5)
    capacity.want(4)
    assert capacity.has_varied


def test_where_the_number_was_lowered_what_is_busy_may_go_on_and_is_not_replaced() -> None:
    capacity = Capacity(3)
    capacity.take(3)
    capacity.want(1)
    capacity.adjust()
    assert capacity.free() == -2
    capacity.check(3)
    # When one of them ends, then two are the most that may be busy.
    capacity.give(1)
    capacity.lower_ceiling()
    capacity.check(2)
    capacity.take(1)
    with pytest.raises(InternalError):
        capacity.check(3)


def test_count_that_is_not_what_is_busy_is_found() -> None:
    capacity = Capacity(3)
    capacity.take(2)
    with pytest.raises(InternalError, match="1 workers are busy, 2 counted"):
        capacity.check(1)
