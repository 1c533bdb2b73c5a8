"""The stacks of a worker's threads, as a file for the node that asks for them.

Standard library. SIGWINCH is handled in C, in whichever thread the kernel selects, so the stacks of a job that computes
in C are written, too. Python shows the latest hundred threads only; `write_own` runs in the thread of the jobs.
"""

from __future__ import annotations

import faulthandler
import signal
import threading

from gdispy.worker.shared_page import OWN_STACK, THREAD


class Stacks:
    """The file `fd`, and the words of the page that is shared with the node."""

    def __init__(self, fd: int, words: memoryview) -> None:
        self.fd = fd
        self._words = words

    def begin(self) -> None:
        """To be called in the thread that runs the jobs."""
        # Ignored by default, and only this process may have the handler.
        faulthandler.register(signal.SIGWINCH, file=self.fd)
        self._words[THREAD] = threading.get_ident()

    def write_own(self) -> None:
        """Write the stack of this thread if the node has asked for it."""
        if self._words[OWN_STACK]:
            faulthandler.dump_traceback(self.fd, all_threads=False)
            self._words[OWN_STACK] = 0  # For the node: it is all there.
