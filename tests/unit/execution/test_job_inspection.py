"""Which stacks of a job's threads are shown, and in which order."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.execution import job_inspection as module
from gdispy.execution.job_inspection import ordered
from gdispy.worker.shared_page import ALL_STACKS, LIVE, THREAD

OWN = 0x7F00000A


def stack(thread: int, function: str, current: bool = False, below: str = "") -> str:
    head = "Current thread" if current else "Thread"
    return f'{head} 0x{thread:016x} (most recent call first):\n  File "/job.py", line 8 in {function}\n{below}'


@pytest.mark.parametrize("current", [OWN, 3, 40])
def test_thread_of_the_job_is_first_whichever_has_handled_the_signal(current: int) -> None:
    below = '  File "/x/gdispy/worker/runner.py", line 9 in serve\n  File "<string>", line 4 in <module>\n'
    others = [stack(number, f"wait{number}", number == current) for number in range(1, 50)]
    text = "\n".join([*others, stack(OWN, "compute", current == OWN, below)])
    first, *rest = ordered(text, OWN)
    assert first.splitlines()[1:] == ['  File "/job.py", line 8 in compute']
    assert [each.rpartition(" in ")[2] for each in rest] == [f"wait{number}" for number in range(1, 50)]


def test_thread_is_known_also_if_its_stack_is_too_deep_to_show_what_is_below_the_job() -> None:
    text = stack(1, "wait", current=True) + "\n" + stack(OWN, "deep") + "  ...\n"
    assert "in deep" in ordered(text, OWN)[0]


def test_name_of_a_thread_after_its_number_is_no_hindrance() -> None:
    text = "\n".join([stack(1, "wait", current=True), stack(OWN, "compute").replace(" (most", " [python] (most")])
    assert "in compute" in ordered(text, OWN)[0]


def test_what_stands_for_further_threads_stays_last() -> None:
    assert ordered(stack(1, "wait") + "\n...\n", OWN)[-1] == "..."


def asked(own: str, rest: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is shown if the worker writes these texts: in its thread of jobs, and of all threads with the GIL."""
    monkeypatch.setattr(module, "STACK_LIMIT", 5 * module.STACK_INTERVAL)
    monkeypatch.setattr(module, "ALL_LIMIT", 5 * module.STACK_INTERVAL)
    file, words = os.memfd_create("stacks"), [0] * (ALL_STACKS + 1)
    words[THREAD] = OWN
    page = SimpleNamespace(words=words)
    worker: Any = SimpleNamespace(pid=0, output=SimpleNamespace(stacks=file), page=page)

    def send(number: int) -> None:
        if number == signal.SIGWINCH:
            assert not words[ALL_STACKS]
            os.pwrite(file, own.encode(), 0)
        elif rest:
            assert words[ALL_STACKS] and words[LIVE]
            os.pwrite(file, rest.encode(), os.fstat(file).st_size)
            words[ALL_STACKS] = 0

    try:
        return module._stack(worker, send)
    finally:
        os.close(file)
        assert words[ALL_STACKS] == 0


OF_WORKER = '  File "/gdispy/worker/runner.py", line 1 in _on_followed\n'
STACK = 'Stack (most recent call first):\n  File "/job.py", line 8 in compute\n'


def test_threads_are_those_of_the_second_look_with_that_of_the_job_first(monkeypatch: pytest.MonkeyPatch) -> None:
    head, _, frames = stack(OWN, "compute", True).partition("\n")
    shown = asked(STACK, f"{stack(1, 'wait')}\n{head}\n{OF_WORKER}{frames}", monkeypatch)
    assert shown.split("\n\n") == [stack(OWN, "compute", True).strip(), stack(1, "wait").strip()]


def test_job_that_computes_in_c_has_its_own_stack_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(STACK, "", monkeypatch).split("\n\n") == [STACK.strip(), module._OTHERS_NOT_SHOWN]


def test_own_stack_is_first_where_python_shows_only_later_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    rest = "\n".join(stack(each, "wait", each == 1) for each in range(1, 101)) + "\n...\n"
    shown = asked(STACK, rest, monkeypatch)
    assert shown.split("\n\n")[:2] == [STACK.strip(), stack(1, "wait", True).strip()]


def test_worker_that_does_not_answer_has_no_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked("", "", monkeypatch) == ""


def test_stacks_are_read_once_the_last_is_written_however_often_the_writer_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, left = os.memfd_create("stacks"), ["", "one\n", "", "", "two\n", "", "", "three\n"]
    worker: Any = SimpleNamespace(output=SimpleNamespace(stacks=file))

    def sleep(_seconds: float) -> None:
        os.pwrite(file, (left.pop(0) if left else "").encode(), os.fstat(file).st_size)

    monkeypatch.setattr(module.gevent, "sleep", sleep)
    try:
        assert module._written(worker, 0, lambda: not left, 1.0) == "one\ntwo\nthree\n"
        # What never ends is read after a while, and so is what never begins.
        assert module._written(worker, 4, lambda: False, 1.0) == "two\nthree\n"
        assert module._written(worker, 14, lambda: True, 1.0) == ""
    finally:
        os.close(file)
