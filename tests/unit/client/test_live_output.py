"""Lines of running jobs: pieces that arrive, gaps, the rest at the end, and slow readers."""

from __future__ import annotations

import gc
import io
import sys
import threading
from typing import Any

import pytest

from gdispy import ConfigError, DispyJob
from gdispy.client import live_output
from gdispy.client.live_output import Echo, LiveOutput, OutputLines, _whole_characters, ended_lines, wanted_streams
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Printed
from tests.unit.builders import C

BOTH = ("stdout", "stderr")


class Made:
    """The output of job 1, which is followed by a reader."""

    def __init__(self, limit: int = 1000, echoes: bool = False, streams: tuple[str, ...] = BOTH) -> None:
        self.echoed: list[tuple[str, list[str]]] = []
        self.job = DispyJob._new(1, 0.0)
        self.live = LiveOutput(self._echo if echoes else None, limit)
        self.lines = OutputLines(streams)
        if not echoes:
            self.live.follow(self.job, self.lines)

    def _echo(self, job: DispyJob, node: bytes, stream: str, lines: list[str]) -> None:
        self.echoed.append((stream, lines))

    def arrive(self, offset: int, content: bytes, stream: int = 1, attempt: int = 1) -> None:
        self.live.take(self.job, Printed(C, JobId(1), attempt, stream, offset, content))

    def end(self, output: bytes = b"", error: bytes = b"", attempt: int = 1) -> list[str]:
        """All lines, when the job has ended."""
        self.live.end(self.job, b"", attempt, (output, error))
        self.live.finish([JobId(1)])
        return list(self.lines)


def test_lines_are_put_together_from_pieces_and_the_rest_comes_at_the_end() -> None:
    made = Made()
    made.arrive(0, b"first\nsec")
    assert next(made.lines) == "first"
    made.arrive(9, b"ond\n\nth")
    assert next(made.lines) == "second"
    assert made.end(b"first\nsecond\n\nthird\nlast") == ["", "third", "last"]


def test_both_streams_are_separate_and_one_may_be_chosen() -> None:
    made = Made(streams=("stderr",))
    made.arrive(0, b"out\n")
    made.arrive(0, b"err", stream=2)
    made.arrive(0, b"none", stream=3)
    assert made.end(b"out\n", b"error\n") == ["error"]


def test_piece_that_was_lost_is_counted_and_one_that_comes_again_is_not_shown_again() -> None:
    made = Made()
    made.arrive(0, b"one\nhalf")
    made.arrive(20, b"two\n")
    made.arrive(20, b"two\nthree\n")
    assert made.end() == ["one", "half", "[gdispy: 12 bytes of output not shown here]", "two", "three"]


def test_job_that_runs_again_prints_from_the_beginning_and_the_former_attempt_is_not_mixed_in() -> None:
    made = Made()
    made.arrive(0, b"first attempt\n")
    made.arrive(0, b"second\n", attempt=2)
    made.arrive(14, b"late\n", attempt=1)
    assert made.end(b"second\nend\n", attempt=2) == ["first attempt", "second", "end"]


def test_of_cut_output_the_last_part_follows_what_was_shown() -> None:
    kept = b"a" * 9 + b"\n" + b"\n[gdispy: 80 bytes of output left out here]\n" + b"b" * 9 + b"\n"
    gap = "[gdispy: 80 bytes of output not shown here]"
    assert Made(limit=20).end(kept) == ["a" * 9, gap, "b" * 9]
    made = Made(limit=20)
    made.arrive(0, b"a" * 9 + b"\n" + b"m" * 9 + b"\n")
    gap = "[gdispy: 70 bytes of output not shown here]"
    assert made.end(kept) == ["a" * 9, "m" * 9, gap, "b" * 9]
    made = Made(limit=20)
    made.arrive(0, b"a" * 9 + b"\n" + b"m" * 79 + b"\n" + b"bbb")
    assert made.end(kept) == ["a" * 9, "m" * 79, "b" * 9]


def test_long_line_is_shown_in_parts_of_whole_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_output, "LINE_LIMIT", 5)
    made = Made()
    text = "12345\u00e9".encode()
    made.arrive(0, text[:6])
    assert next(made.lines) == "12345"
    assert made.end(text + b"7\nend") == ["\u00e97", "end"]


@pytest.mark.parametrize(
    ("data", "whole"), [(b"ab", 2), (b"a\xc3", 1), (b"a\xf0\x9f\x98", 1), (b"\x80" * 6, 6), (b"", 0)]
)
def test_characters_that_may_be_incomplete_are_not_shown(data: bytes, whole: int) -> None:
    assert _whole_characters(data) == whole


def test_rest_of_a_job_is_complete_however_much_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_output, "LINES_LIMIT", 10)
    made = Made(limit=1 << 30)
    made.arrive(0, b"0\n1\n2")
    data = b"".join(b"%d\n" % number for number in range(5000))
    assert made.end(data) == [str(number) for number in range(5000)]


def test_slow_reader_loses_the_oldest_lines_and_learns_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_output, "LINES_LIMIT", 2)
    made = Made()
    made.arrive(0, b"1\n2\n3\n4\n")
    assert made.end() == ["[gdispy: 2 lines left out here, which were not read fast enough]", "3", "4"]


def test_reader_waits_for_the_next_line_in_another_thread() -> None:
    made = Made()
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.extend(made.lines))
    thread.start()
    made.arrive(0, b"one\n")
    made.live.end(made.job, b"", 1, (b"one\ntwo\n", b""))
    made.live.finish([JobId(1)])
    thread.join(20)
    assert found == ["one", "two"]


def test_reader_that_was_dropped_is_forgotten() -> None:
    made = Made()
    del made.lines
    gc.collect()
    made.arrive(0, b"text\n")
    [readers] = made.live._readers.values()
    assert list(readers) == []


def test_later_reader_gets_everything_when_the_node_reports_it_again() -> None:
    made = Made()
    made.arrive(0, b"one\ntwo\n")
    later = OutputLines(BOTH)
    made.live.follow(made.job, later)
    made.arrive(0, b"one\ntwo\nthree\n")
    assert made.end(b"one\ntwo\nthree\n") == list(later) == ["one", "two", "three"]


def test_several_threads_may_take_from_one_reader() -> None:
    made = Made()
    found: list[list[str]] = [[], []]
    threads = [threading.Thread(target=lambda own=own: own.extend(made.lines)) for own in found]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for number in range(100):
        made.arrive(2 * number, b"x\n")
    made.live.end(made.job, b"", 1, (b"x\n" * 100, b""))
    made.live.finish([JobId(1)])
    for thread in threads:
        thread.join(20)
    assert sorted(found[0] + found[1]) == ["x"] * 100 and not any(thread.is_alive() for thread in threads)


def test_echo_shows_all_jobs_also_those_that_were_too_short_to_be_followed() -> None:
    made = Made(echoes=True)
    assert made.live.wanted([JobId(1), JobId(2)]) == [1, 2]
    made.arrive(0, b"one\n")
    made.live.end(made.job, b"", 1, (b"one\ntwo\n", b"error"))
    made.live.end(DispyJob._new(5, 0.0), b"", 1, (b"short", b""))
    assert made.echoed == [("stdout", ["one"]), ("stdout", ["two"]), ("stderr", ["error"]), ("stdout", ["short"])]


def test_only_followed_jobs_are_wanted_and_nothing_is_active_without_any() -> None:
    made = Made()
    assert made.live.is_active and made.live.wanted([JobId(1), JobId(2)]) == [1]
    made.end()
    assert not made.live.is_active and made.live.wanted([JobId(1)]) == []


def test_readers_end_when_no_report_can_arrive_any_more() -> None:
    made = Made()
    made.arrive(0, b"one\n")
    made.live.end_all()
    assert list(made.lines) == ["one"]


@pytest.mark.parametrize("output", ["a\n\nb\n", b"a\r\n\nb"])
def test_lines_of_a_job_that_has_ended_are_those_of_its_output(output: Any) -> None:
    job = DispyJob._new(1, 0.0)
    job.stdout, job.stderr = output, type(output)()
    assert list(ended_lines(job, BOTH)) == ["a", "", "b"]


def test_unknown_stream_is_refused() -> None:
    assert wanted_streams(None) == BOTH and wanted_streams("stderr") == ("stderr",)
    with pytest.raises(ConfigError, match="stream must be 'stdout', 'stderr' or None"):
        wanted_streams("out")


def test_lines_are_printed_to_the_stream_of_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err, echo = io.StringIO(), io.StringIO(), Echo()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    echo.print("stdout", "[n 1] ", ["a", "b"])
    echo.print("stderr", "", ["c"])
    monkeypatch.setattr(sys, "stdout", None)
    echo.print("stdout", "", ["lost"])
    assert (out.getvalue(), err.getvalue()) == ("[n 1] a\n[n 1] b\n", "c\n")


def test_character_that_the_stream_cannot_encode_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, encoding="ascii"))
    Echo().print("stdout", "", ["caf\u00e9", "plain"])
    assert data.getvalue() == b"caf\\xe9\nplain\n"


def test_stream_that_is_broken_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError("the reader has gone")

    echo = Echo()
    monkeypatch.setattr(sys, "stdout", Broken())
    for _ in range(3):
        echo.print("stdout", "", ["a"])
    assert caplog.messages == ["the output of jobs is not printed any more: the reader has gone"]
