"""Reads what a running job prints, for a client that follows it.

Used in the node's loop. The node has the files behind descriptors 1 and 2 of each worker (`worker/output_capture.py`).

Invariant: only output of this job is read. The worker writes the number of the job that prints to its files into their
shared page, and 0 before it empties them; a piece that was read while the number changed is dropped.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from gdispy.protocol.ids import JobId
from gdispy.worker.shared_page import LIVE, PRINTING, Page

#: Bytes in one piece, and pieces of a stream that are read at a time.
PIECE = 16 * 1024
PIECES = 4
#: Calls of `wants_signal` between two signals: at first one, and finally this many.
PAUSE_LIMIT = 64


class Piece(NamedTuple):
    """What the job has printed to a stream (1 or 2), from byte `offset` of it."""

    stream: int
    offset: int
    content: bytes


class FollowedJob:
    """A running job whose output is reported."""

    def __init__(self, job: JobId, attempt: int, page: Page, output_limit: int) -> None:
        self.job = job
        self.attempt = attempt
        self._page = page
        self._limit = output_limit
        #: The next byte to read of each stream.
        self._offsets = [0, 0]
        #: Calls until the next signal, and between that and the one after it.
        self._until = self._pause = 1
        page.words[LIVE] = 1

    def is_shown(self) -> bool:
        """Whether its output can be read now: the worker writes it at once, and the job runs."""
        return bool(self._page.words[PRINTING] == self.job)

    def wants_signal(self) -> bool:
        """Whether the worker is asked (again) to write what Python buffers. It does not answer while it computes in C,
        and if the signal comes while it writes."""
        self._until -= 1
        if self._until:
            return False
        self._until = self._pause = min(2 * self._pause, PAUSE_LIMIT)
        return True

    def read(self, out: int, err: int) -> list[Piece]:
        """What it has printed since the last call; the rest of much output is read by the next calls."""
        found: list[Piece] = []
        for stream, fd in ((1, out), (2, err)):
            found += self._read_stream(stream, fd)
        if not self.is_shown():
            return []
        for piece in found:
            self._offsets[piece.stream - 1] = piece.offset + len(piece.content)
        return found

    def _read_stream(self, stream: int, fd: int) -> list[Piece]:
        offset, found = self._offsets[stream - 1], []
        size = os.fstat(fd).st_size
        # Of much output, the middle is freed (`keep_within_limit`), and would be read as zeros.
        if size > 2 * self._limit and offset >= self._limit - self._limit // 2:
            offset = max(offset, size - self._limit // 2)
        for _ in range(PIECES):
            content = os.pread(fd, PIECE, offset)
            if not content:
                break
            found.append(Piece(stream, offset, content))
            offset += len(content)
        return found
