"""A network of its own for the run: what is attacked, and what attacks, is reached from nowhere else.

Called once, before the first thread and the first child, which inherit it. Needs the right to make namespaces; without
it the run stays on the loopback interface of the machine, and leaves out what could leave it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS = 0x8914
_UP_AND_RUNNING = 0x1 | 0x40


def enter_own_network() -> bool:
    """Move this process into a new network namespace with nothing but a loopback interface; whether that was done."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWNET):
        if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
            return False
        with contextlib.suppress(OSError):
            _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP_AND_RUNNING))
    return True


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
