"""Functions that run as jobs. Where one sleeps, the sleep is the job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any


def wait_for_interrupt(mark: str, catch: bool) -> str:
    try:
        Path(mark).write_text(str(os.getpid()))  # In here: who sees it may interrupt at once.
        time.sleep(60)
    except KeyboardInterrupt:
        if not catch:
            raise
        return "caught"
    return "slept"


def ignore_everything(mark: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    code = f"import os, time; os.setsid(); open({mark!r}, 'a').write(f'{{os.getpid()}} '); time.sleep(60)"
    # A grandchild in a session of its own, whose parent is dead: nothing but its ancestry leads to it.
    subprocess.run([sys.executable, "-c", f"import os\nif os.fork() == 0:\n exec({code!r})"], check=True)
    Path(mark + "2").write_text(str(os.getpid()))
    while True:
        time.sleep(60)


def provide_slowly(count: int) -> int:
    """Sends so many provisional results, ten a second."""
    for number in range(count):
        dispy_provisional_result(number)
        time.sleep(0.1)
    return count


def wait_for_file(path: str) -> None:
    """Ends when there is that file, and after half a minute."""
    until = time.monotonic() + 30
    while not os.path.exists(path) and time.monotonic() < until:
        time.sleep(0.01)


def print_lines(directory: str, count: int) -> int:
    """Prints a line to each stream, and continues when there is a file of its number."""
    for number in range(count):
        print(f"line {number}")
        print(f"error {number}", file=sys.stderr)
        wait_for_file(os.path.join(directory, str(number)))
    print("end", end="")
    return count


def print_in_bursts(count: int) -> None:
    for number in range(count):
        print(f"{number:08}")
        if number % 20_000 == 0:
            time.sleep(0.05)


def leave_a_process(mark: str) -> int:
    child = f"import os, time; open({mark!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
    while not os.path.exists(mark) or not open(mark).read():
        time.sleep(0.01)
    return 1


def note_and_wait(path: str, number: int, seconds: float) -> int:
    """Leaves a line for each time it is begun."""
    with open(path, "a") as file:
        file.write(f"{number}\n")
    time.sleep(seconds)
    return number


def make_at_gate(size: int, path: str, number: int, gate: str = "") -> bytes:
    """Leaves a line, and returns much when there is the gate."""
    note_quickly(path, number, gate)
    return b"x" * size


def note_quickly(path: str, number: int, what: str) -> int:
    """Leaves a line in a few microseconds; then kills itself, waits for a file to be there, or returns."""
    log = _logs.get(path)
    if log is None:
        log = _logs[path] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, b"%d\n" % number)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    while what and not os.path.exists(what):
        time.sleep(0.01)
    return number


_logs: dict[str, int] = {}


def pass_gate(number: int, gate: str) -> int:
    """Waits at the gate, if there is one, and says so."""
    if gate:
        open(f"{gate}.at", "w").close()
    while gate and not os.path.exists(gate):
        time.sleep(0.01)
    return number


def become_slow(number: int) -> tuple[int, int]:
    """Slow from 3000 on; also tells in which process."""
    if number >= 3000:
        time.sleep(0.02)
    return number, os.getpid()


def wait_for_go(path: str) -> str:
    Path(path).write_text(str(os.getpid()))
    while not os.path.exists(path + ".go"):
        time.sleep(0.01)
    return path


def wait_until_there(path: str, seconds: float = 60) -> None:
    """Runs as a part of a job: wait for a file, for so long at most."""
    until = time.monotonic() + seconds
    while not os.path.exists(path) and time.monotonic() < until:
        time.sleep(0.01)


def print_and_wait(path: str) -> int:
    """Prints a line, and ends when there is that file."""
    print("line 0")
    wait_until_there(path, 100)
    return 1


def set_up_slowly() -> int:
    time.sleep(1.5)
    return 0


def take_too_much(what: str) -> None:
    if what == "memory":
        parts = [bytearray(os.urandom(1000)) * 20_000 for _ in range(50)]
        time.sleep(30 + len(parts))
    while what == "processes":
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        time.sleep(0.001)


def leave_far_descendant(mark: str) -> None:
    """Has a grandchild in a session of its own, whose parent is dead, and goes on itself."""
    code = f"import os, time; os.setsid(); open({mark!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    subprocess.run([sys.executable, "-c", f"import os\nif os.fork() == 0:\n exec({code!r})"], check=True)
    time.sleep(60)


def breed() -> None:
    """Every process makes others, as fast as it can."""
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)


def read_at_gate(name: str, gate: str) -> str:
    """What a file says, when the gate is there."""
    while not os.path.exists(gate):
        time.sleep(0.01)
    with open(name) as file:
        return file.read()


def orphan() -> int:
    """Leaves a process whose parent is dead, and tells who is the first process."""
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            os.execvp("sleep", ["sleep", "60"])
        os._exit(0)
    os.wait()
    with open("/proc/1/cmdline") as file:
        return file.read().count("gdispy-node")


def outlast_a_timer(number: int) -> int:
    """The first sets a timer, whose signal would end the next."""
    if number == 0:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
    else:
        time.sleep(0.3)
    return number


def leave_a_thread(number: int) -> int:
    """The first leaves a thread that prints and reports."""

    def go_on() -> None:
        for _ in range(1000):
            print("of the thread")
            dispy_provisional_result("of the thread")  # type: ignore[name-defined]
            time.sleep(0.001)

    if number == 0:
        threading.Thread(target=go_on, daemon=True).start()
    time.sleep(0.1)
    print("job", number)
    return number


def draw(_number: int) -> tuple[float, ...]:
    """Random numbers, slowly enough for all processes to take part; the last one of a generator with a given seed."""
    import random

    import numpy

    time.sleep(0.05)
    given: Any = numpy.random.default_rng()
    given.bit_generator.state = SEEDED.bit_generator.state  # type: ignore[name-defined]  # noqa: F821
    own: Any = GENERATOR  # type: ignore[name-defined]  # noqa: F821
    return random.random(), float(numpy.random.rand()), float(own.random()), float(given.random())


def write_and_read(number: int) -> tuple[Any, ...]:
    """What it has written into its directory, after a while, and what else is there."""
    found = Path("out.txt")
    found.write_text(str(number))
    time.sleep(0.1)
    names = sorted(str(path) for path in Path().rglob("*") if path.is_file() and path.parts[0] != "tests")
    is_home = os.getcwd() == dispy_job_path == os.environ["dispy_job_path"]  # type: ignore[name-defined]  # noqa: SIM112
    return found.read_text(), names, Path("sub/data.txt").read_text(), Path("of setup").read_text(), is_home


def process_of_the_node(seconds: float = 0.0, begun: str = "") -> int:
    """The process of the local node that runs this job, after a while."""
    if begun:
        Path(begun).touch()
    time.sleep(seconds)
    pid = os.getpid()
    while b"--exit-with-stdin" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return pid
