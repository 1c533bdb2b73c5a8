"""Whether a signal would end the system call early in which a process waits."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading

import pytest

from gdispy.execution.system_calls import interruptible_wait, threads_with_blocked
from tests.support.daemons import ended
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the stack is read on x86-64 only")


def waits(code: str, call: int | None = None) -> str:
    """What is found while a program waits, in the system call with this number or in one that is found."""
    program = f"import ctypes, select, sys, time, threading; print(1, flush=True); {code}"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with ended(process):
        assert process.stdout is not None and process.stdout.readline()
        if call is None:
            return str(eventually(lambda: interruptible_wait(process.pid)))
        eventually(lambda: _call(process.pid) == str(call))
        return interruptible_wait(process.pid)


def _call(pid: int) -> str:
    with open(f"/proc/{pid}/syscall") as file:
        return file.read().split()[0]


@pytest.mark.parametrize("code", ["poll(None, 0, 600000)", "usleep(600000000)", "pause()"])
def test_calls_of_c_code_are_found(code: str) -> None:
    found = waits(f"ctypes.CDLL(None).{code}")
    assert found.endswith(".so") or ".so." in found
    assert found.partition(",")[0] in ("poll", "clock_nanosleep", "nanosleep", "pause")


@pytest.mark.parametrize(
    ("code", "call"),
    [
        ("time.sleep(600)", 230),
        ("select.select([], [], [], 600)", 270),
        ("select.poll().poll(600000)", 7),
        ("select.epoll().poll(600)", 232),
        ("threading.Event().wait(600)", 202),
        ("sys.stdin.read()", 0),
        ("import asyncio; asyncio.run(asyncio.sleep(600))", 232),
    ],
)
def test_python_repeats_its_calls_itself_and_the_kernel_repeats_others(code: str, call: int) -> None:
    assert waits(code, call) == ""


def test_process_that_is_gone_waits_for_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(30)
    assert interruptible_wait(process.pid) == ""


def test_threads_in_which_a_signal_is_blocked() -> None:
    before, found = threads_with_blocked(os.getpid(), signal.SIGWINCH), []

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
        found.append(str(threading.get_native_id()))
        found.extend(threads_with_blocked(os.getpid(), signal.SIGWINCH) - before)
        found.extend(threads_with_blocked(os.getpid(), signal.SIGUSR2))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert len(found) == 2 and found[0] == found[1]
    assert threads_with_blocked(0, signal.SIGWINCH) == set()
