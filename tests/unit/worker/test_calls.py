"""The jobs of a function: one call or a batch, and results that cannot be sent."""

from __future__ import annotations

import contextvars
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.worker import batch, pickling
from gdispy.worker.calls import call_function
from gdispy.worker.failures import Unpicklable
from gdispy.worker.frames import FINISHED

CURRENT: contextvars.ContextVar[int] = contextvars.ContextVar("current", default=0)


def job(**fields: Any) -> Any:
    values = {"cancelled": False, "leave_if_child": lambda error=None: None, "go_home": lambda now: True}
    return SimpleNamespace(**{**values, **fields})


def call(function: Any, *args: Any, **kwargs: Any) -> Any:
    status, payload, text = call_function(function)(pickling.dumps((args, kwargs)), job())
    assert (status, text) == (FINISHED, "")
    return None if payload == b"" else pickling.loads(payload)


def add(a: int, b: int = 1) -> int:
    return a + b


def test_result_of_a_call_is_its_payload_and_none_is_empty() -> None:
    assert call(add, 1) == 2 and call(add, 1, b=5) == 6 and call(lambda: None) is None


def test_exception_of_a_call_is_raised_to_the_worker() -> None:
    with pytest.raises(ZeroDivisionError):
        call(lambda: 1 / 0)


class Owner:
    """Its method may be called with an instance, as in dispy."""

    def __init__(self, number: int) -> None:
        self.number = number

    def get(self, more: int = 0) -> int:
        return self.number + more

    def same(self, other: Any) -> bool:
        return other is not None

    @classmethod
    def made(cls, number: int) -> int:
        return number


def test_first_argument_may_be_the_instance_of_a_method() -> None:
    bound = Owner(1)
    assert call(bound.get) == 1 and call(bound.get, 5) == 6
    assert call(bound.get, Owner(10)) == 10 and call(bound.get, Owner(10), 5) == 15
    assert call(bound.same, Owner(10)) is True  # Its signature needs it as an argument.
    assert call(Owner.made, 7) == 7


def test_result_that_cannot_be_pickled_is_named_with_the_path_to_its_part() -> None:
    with pytest.raises(Unpicklable, match=r"The result, a dict, cannot be pickled: .*result -> \['a'\]"):
        call(lambda: {"a": (number for number in range(3))})


# Batches


class Batch:
    """The calls of a batch: their values, as the function has got them."""

    def __init__(self, work: Any = None, **fields: Any) -> None:
        self.seen: list[Any] = []
        self._work = work
        self.job = job(**fields)

    def _call(self, value: Any) -> Any:
        self.seen.append(value)
        return self._work(value) if self._work else value

    def run(self, *values: Any, seconds: float = 0.0) -> tuple[list[bytes], dict[int, str]]:
        calls = [pickling.dumps(((value,), {})) for value in values]
        status, payload, text = call_function(self._call)(batch.pack_calls(calls, seconds), self.job)  # type: ignore[arg-type]
        assert (status, text) == (FINISHED, "")
        return batch.unpack_results(payload)


def test_calls_of_a_batch_run_in_their_order_and_a_failure_stops_none() -> None:
    made = Batch(lambda value: 1 / value)
    results, failures = made.run(2, 0, 4)
    assert made.seen == [2, 0, 4] and [pickling.loads(results[place]) for place in (0, 2)] == [0.5, 0.25]
    assert list(failures) == [1] and failures[1].endswith("ZeroDivisionError: division by zero\n") and results[1]


def test_batch_ends_after_the_call_with_which_its_time_is_over() -> None:
    made = Batch()
    assert len(made.run(1, 2, 3, seconds=1e-9)[0]) == 1 and made.seen == [1]
    assert len(Batch().run(1, 2, 3)[0]) == 3


def test_batch_ends_when_the_process_must_be_replaced() -> None:
    made = Batch(go_home=lambda now: False)
    assert len(made.run(1, 2, 3)[0]) == 1 and made.seen == [1]


@pytest.mark.parametrize("is_caught", [True, False])
def test_cancelled_batch_ends_also_if_its_call_has_caught_the_interrupt(is_caught: bool) -> None:
    made = Batch()

    def work(value: int) -> None:
        made.job.cancelled = True
        if not is_caught:
            raise KeyboardInterrupt

    made._work = work
    with pytest.raises(KeyboardInterrupt):
        made.run(1, 2)
    assert made.seen == [1]


def test_each_call_has_its_context_variables() -> None:
    found: list[int] = []

    def change(value: int) -> None:
        found.append(CURRENT.get())
        CURRENT.set(value)

    Batch(change).run(1, 2)
    assert found == [0, 0]
