"""Messages between node, spawner and templates, with open files."""

from __future__ import annotations

import os
import tempfile

from gdispy.worker import control


def test_message_arrives_with_its_files_which_no_program_inherits() -> None:
    ours, theirs = control.pair()
    with ours, theirs, tempfile.TemporaryFile() as file:
        file.write(b"content")
        file.flush()
        control.send(ours, ["load", "name", b"\xff"], [file.fileno(), file.fileno()])
        received = control.receive(theirs)
        assert received is not None
        message, fds = received
        assert message == ["load", "name", b"\xff"] and len(fds) == 2
        assert os.pread(fds[0], 10, 0) == b"content" and not any(map(os.get_inheritable, fds))
        control.close_all([*fds, *fds])  # What is closed already is left.


def test_path_that_is_no_utf_8_survives() -> None:
    ours, theirs = control.pair()
    with ours, theirs:
        path = os.fsdecode(b"/tmp/\xff\xfe")
        control.send(ours, [path])
        assert control.receive(theirs) == ([path], [])


def test_each_message_is_received_whole_and_alone() -> None:
    ours, theirs = control.pair()
    with ours, theirs:
        for number in range(3):
            control.send(ours, [number])
        assert [control.receive(theirs) for _ in range(3)] == [([0], []), ([1], []), ([2], [])]


def test_end_of_the_other_side_is_no_message() -> None:
    ours, theirs = control.pair()
    with theirs:
        ours.close()
        assert control.receive(theirs) is None


def test_memory_file_appends_and_goes_with_its_descriptor() -> None:
    fd = control.memory_file("gdispy-test")
    os.write(fd, b"one")
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"two")
    assert os.pread(fd, 10, 0) == b"onetwo"
    os.close(fd)
