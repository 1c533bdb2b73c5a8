"""Provisional results and files, until they are acknowledged."""

from __future__ import annotations

from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Progress, Upload
from gdispy.rules.node.progress import FileKey, ProvisionalResult, SentFile, UnackedProgress
from tests.unit.builders import Announced, C
from tests.unit.rules.node.building import W1

JOB = JobId(1)


def test_acknowledged_results_are_dropped_from_the_first_on_and_given_back() -> None:
    progress, values = UnackedProgress(), [Announced(1) for _ in range(3)]
    for position, value in enumerate(values):
        progress.show(JOB, ProvisionalResult(1, position, value))
    progress.acked(JOB, 1, 2)
    assert [each.released for each in values] == [1, 1, 0]
    assert list(progress.messages(C)) == [Progress(C, JOB, 1, 2, values[2], "")]
    progress.acked(JOB, 1, 3)
    assert progress.shown() == []


def test_acknowledgement_of_a_later_attempt_drops_all_of_the_former() -> None:
    progress = UnackedProgress()
    progress.show(JOB, ProvisionalResult(1, 5, b"old"))
    progress.show(JOB, ProvisionalResult(2, 0, b"new"))
    progress.acked(JOB, 2, 0)
    assert list(progress.messages(C)) == [Progress(C, JOB, 2, 0, b"new", "")]


def test_file_is_answered_once_and_its_contents_given_back() -> None:
    progress, content = UnackedProgress(), Announced(1)
    file = SentFile(["name"], content, W1)
    progress.add_file(FileKey(JOB, 1, 0), file)
    assert list(progress.messages(C)) == [Upload(C, JOB, 1, 0, [["name"]], [content])]
    assert progress.take_file(FileKey(JOB, 1, 0)) is file
    assert progress.take_file(FileKey(JOB, 1, 0)) is None
    assert content.released == 1


def test_files_of_a_job_that_has_ended_are_dropped_and_those_of_others_are_not() -> None:
    progress, contents = UnackedProgress(), [Announced(1), Announced(1)]
    for job, content in zip((JobId(1), JobId(2)), contents, strict=True):
        progress.add_file(FileKey(job, 1, 0), SentFile([], content, W1))
    progress.drop_files(JobId(1))
    assert [each.released for each in contents] == [1, 0]
    progress.drop()
    assert [each.released for each in contents] == [1, 1]
