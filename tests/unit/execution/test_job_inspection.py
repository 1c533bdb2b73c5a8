"""Which stacks of a job's threads are shown, and in which order."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.execution import job_inspection as module
from gdispy.execution.job_inspection import ordered
from gdispy.worker.shared_page import OWN_STACK, THREAD

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


@pytest.mark.parametrize("answers", [True, False])
def test_oldest_of_too_many_threads_is_asked_for_its_own_stack(answers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STACK_LIMIT", 5 * module.STACK_INTERVAL)
    file, words = os.memfd_create("stacks"), [0] * (OWN_STACK + 1)
    words[THREAD] = OWN
    page = SimpleNamespace(words=words)
    worker: Any = SimpleNamespace(pid=0, output=SimpleNamespace(stacks=file), page=page)

    def send(number: int) -> None:
        if number == signal.SIGWINCH:
            text = "\n".join(stack(each, "wait", each == 1) for each in range(1, 101)) + "\n...\n"
            os.pwrite(file, text.encode(), 0)
        elif words[OWN_STACK] and answers:
            text = 'Stack (most recent call first):\n  File "/gdispy/worker/runner.py", line 1 in _on_followed\n'
            text += '  File "/job.py", line 8 in compute\n'
            os.pwrite(file, text.encode(), os.fstat(file).st_size)
            words[OWN_STACK] = 0

    try:
        shown = module._stack(worker, send)
    finally:
        os.close(file)
    expected = 'Stack (most recent call first):\n  File "/job.py", line 8 in compute' if answers else module._NOT_SHOWN
    assert shown.startswith(f"{expected}\n\n{stack(1, 'wait', True)}") and words[OWN_STACK] == 0


def test_stacks_are_read_once_the_last_is_written_however_often_the_writer_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, left = os.memfd_create("stacks"), ["", "one\n", "", "", "two\n", "", "", "three\n"]
    worker: Any = SimpleNamespace(output=SimpleNamespace(stacks=file))

    def sleep(_seconds: float) -> None:
        os.pwrite(file, (left.pop(0) if left else "").encode(), os.fstat(file).st_size)

    monkeypatch.setattr(module.gevent, "sleep", sleep)
    try:
        assert module._written(worker, 0, lambda: not left) == "one\ntwo\nthree\n"
        # What never ends is read after a while, and so is what never begins.
        assert module._written(worker, 4, lambda: False) == "two\nthree\n"
        assert module._written(worker, 14, lambda: True) == ""
    finally:
        os.close(file)
