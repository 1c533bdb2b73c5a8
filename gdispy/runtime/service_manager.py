"""Reports to the service manager that has started this process, as systemd with `Type=notify`.

The protocol is that of `sd_notify(3)` and `sd_watchdog_enabled(3)`: datagrams to a Unix socket that the environment
names. Without such a service manager nothing happens.

Runs in the loop of the daemon, so that a loop that is blocked reports nothing, and the watchdog of the service manager
ends the process. The variables are removed from the environment: they are meant for this process, not for jobs.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping

import gevent

from gdispy.runtime.greenlets import keep_running


class ServiceManager:
    """The service manager of this process, if it has one."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        path = environment.pop("NOTIFY_SOCKET", "")
        #: An abstract socket is written with '@'.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._interval = _watchdog_interval(environment)

    def ready(self, status: str) -> None:
        """The daemon accepts connections; `status` is a line for people."""
        self._notify(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")
        if self._address and self._interval:
            keep_running(self._feed_watchdog, what="the reports to the watchdog")

    def stopping(self) -> None:
        """The daemon ends, perhaps after some time."""
        self._notify("STOPPING=1\nSTATUS=waiting for running jobs")

    def _feed_watchdog(self) -> None:
        while True:
            self._notify("WATCHDOG=1")
            gevent.sleep(self._interval)

    def _notify(self, text: str) -> None:
        if not self._address:
            return
        # The service manager may have restarted; it never makes this process wait for long.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(text.encode("utf-8", "replace"), self._address)


def _watchdog_interval(environment: MutableMapping[str, str]) -> float:
    """Seconds between two reports, half of what the service manager waits; 0 if it does not."""
    microseconds, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
    is_meant = not pid or pid == str(os.getpid())
    return int(microseconds) / 2e6 if is_meant and microseconds.isdecimal() else 0.0
