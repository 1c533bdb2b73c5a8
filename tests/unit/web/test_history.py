"""The rate of jobs, and the time left."""

from __future__ import annotations

from gdispy.web.history import LEFT_SPAN, SAMPLES, History


def history(*samples: tuple[int, int], begin: float = 0.0) -> History:
    """A sample each second: jobs that have ended, and that run."""
    made = History()
    for second, (ended, running) in enumerate(samples):
        made.add(begin + second, ended, 0, running)
    return made


def test_time_left_is_not_told_from_the_first_seconds() -> None:
    assert history((0, 0), (1, 4)).left(100) is None and history((0, 0), (1, 4)).rate() == 1.0
    work = [(second, 4) for second in range(int(LEFT_SPAN) + 2)]
    assert history(*work).left(100) == 100.0


def test_time_before_the_first_job_does_not_count() -> None:
    idle, work = [(7, 0)] * 60, [(7 + 2 * second, 4) for second in range(1, 11)]
    assert history(*idle, *work).left(30) == 15.0
    assert history(*idle, *work).rate() < 1.0
    assert history(*work, *[(27, 0)] * 3).left(30) is None


def test_nothing_is_left_without_jobs_and_unknown_if_none_ends() -> None:
    assert history(*[(second, 1) for second in range(10)]).left(0) is None
    assert history(*[(0, 1)] * 10).left(5) is None
    assert History().rate() == 0.0


def test_samples_are_bounded_and_cover_the_whole_time() -> None:
    made = history(*[(second, 1) for second in range(3 * SAMPLES)])
    assert SAMPLES // 2 <= len(made.samples) <= SAMPLES and made.samples[0][0] == 0.0
