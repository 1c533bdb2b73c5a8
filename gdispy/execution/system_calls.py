"""Whether a signal would end a system call early in which a job waits, and which threads handle a signal.

Used in greenlets of the node. The kernel repeats most calls after a signal (SA_RESTART), others never: poll, sleep and
the like (see signal(7)). Python repeats these itself (PEP 475); libraries in C may not. So the caller of such
a call is looked for on the stack of the job's process: the first return address outside of the C library. It may be
wrong where the stack has remains of former calls, and nothing is known on other processors than x86-64, or where the
kernel does not allow to look.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import struct
from typing import NamedTuple

#: Calls that the kernel does not repeat, on x86-64.
_ENDED_EARLY = {
    7: "poll",
    23: "select",
    34: "pause",
    35: "nanosleep",
    65: "semop",
    69: "msgsnd",
    70: "msgrcv",
    128: "rt_sigtimedwait",
    130: "rt_sigsuspend",
    208: "io_getevents",
    219: "restart_syscall",
    220: "semtimedop",
    230: "clock_nanosleep",
    232: "epoll_wait",
    270: "pselect6",
    271: "ppoll",
    281: "epoll_pwait",
    333: "io_pgetevents",
    441: "epoll_pwait2",
}
#: Words of the stack that are looked at.
_WORDS = 256
_BLOCKED = re.compile(r"^SigBlk:\s*([0-9a-f]+)$", re.MULTILINE)
#: Parts of the C library, which calls for others.
_C_LIBRARY = re.compile(r"/(libc|ld|libpthread|librt)[.-][^/]*$|^\[")


class _Mapping(NamedTuple):
    begin: int
    end: int
    path: str


def interruptible_wait(pid: int) -> str:
    """The system call in which the main thread of a process waits, and its caller, if the call would end early by a
    signal and it is not Python that has called it; otherwise ''."""
    if platform.machine() != "x86_64":
        return ""
    try:
        with open(f"/proc/{pid}/syscall") as file:
            fields = file.read().split()
        name = _ENDED_EARLY.get(int(fields[0]), "") if len(fields) == 9 else ""
        caller = _caller(pid, int(fields[7], 16)) if name else ""
    except (OSError, ValueError):
        return ""
    return f"{name}, called by {os.path.basename(caller)}" if caller and not _is_python(pid, caller) else ""


def threads_with_blocked(pid: int, number: int) -> set[str]:
    """The threads of a process in which a signal is blocked, as it is while its handler in C runs there."""
    threads = set()
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/status") as file:
                found = _BLOCKED.search(file.read())
                if found is not None and int(found[1], 16) >> number - 1 & 1:
                    threads.add(thread)
    return threads


def _caller(pid: int, stack: int) -> str:
    """The file of the code that has called the C library; '' if it is not found."""
    mappings = _executable(pid)
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(stack)
        data = memory.read(8 * _WORDS)
        for (word,) in struct.iter_unpack("<Q", data[: len(data) // 8 * 8]):
            found = next((each for each in mappings if each.begin + 8 <= word < each.end), None)
            if found is None or _C_LIBRARY.search(found.path):
                continue
            memory.seek(word - 8)
            if _ends_with_call(memory.read(8)):
                return found.path
    return ""


def _executable(pid: int) -> list[_Mapping]:
    found = []
    with open(f"/proc/{pid}/maps") as file:
        for line in file:
            place, rights, _, _, _, *path = line.split(maxsplit=5)
            if "x" in rights and path:
                begin, _, end = place.partition("-")
                found.append(_Mapping(int(begin, 16), int(end, 16), path[0].rstrip("\n")))
    return found


def _ends_with_call(code: bytes) -> bool:
    """Whether these bytes before a return address are a call: relative, or of a register or a place in memory."""
    if len(code) < 8:
        return False
    return code[-5] == 0xE8 or any(code[-size] == 0xFF and code[1 - size] >> 3 & 7 == 2 for size in (2, 3, 6, 7))


def _is_python(pid: int, path: str) -> bool:
    """Whether this is the interpreter, a module of its library, or gevent, which repeats calls as well."""
    is_library = "/lib-dynload/" in path or "/gevent/" in path
    return is_library or os.path.basename(path).startswith("libpython") or path == os.readlink(f"/proc/{pid}/exe")
