"""What keeps a node from starting the processes of a computation, in words."""

from __future__ import annotations

import errno
import os

import pytest

from gdispy.execution.spawner_process import why_not_started


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.EAGAIN, "ulimit -u"), (errno.EMFILE, "ulimit -n"), (errno.ENFILE, "fs.file-max"), (errno.ENOMEM, "memory")],
)
def test_a_limit_that_was_reached_is_named_with_where_it_is_set(number: int, advice: str) -> None:
    text = why_not_started(OSError(number, os.strerror(number)))
    assert text.startswith(f"the node has no resources for it: {os.strerror(number)}. ") and advice in text


def test_other_failures_are_told_as_they_are() -> None:
    assert why_not_started(FileNotFoundError(errno.ENOENT, "no such file", "x")) == "[Errno 2] no such file: 'x'"
