"""The stacks of a worker's threads, as a file for the node that asks for them.

Standard library. SIGWINCH is handled in C, in the thread of the jobs, which shows its own stack also while it computes
in C. The stacks of other threads are written only by that thread, and with the GIL: otherwise they would change while
they are read, which can end the process.
"""

from __future__ import annotations

import faulthandler
import signal
import threading

from gdispy.worker.shared_page import ALL_STACKS, THREAD


class Stacks:
    """The file `fd`, and the words of the page that is shared with the node."""

    def __init__(self, fd: int, words: memoryview) -> None:
        self.fd = fd
        self._words = words

    def begin(self) -> None:
        """To be called in the thread that runs the jobs."""
        # Ignored by default, and only this process may have the handler.
        faulthandler.register(signal.SIGWINCH, file=self.fd, all_threads=False)
        self._words[THREAD] = threading.get_ident()

    def write_all(self) -> None:
        """Write the stacks of the latest hundred threads if the node has asked for them."""
        if self._words[ALL_STACKS]:
            faulthandler.dump_traceback(self.fd, all_threads=True)
            self._words[ALL_STACKS] = 0  # For the node: they are all there.
