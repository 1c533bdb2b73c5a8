"""A bar that shows how many jobs have ended, while a program waits for them.

Floor 3. Called by `cluster.wait(progress=True)` in the user's thread.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

from gdispy.errors import ConfigError

#: Seconds between two looks.
LOOK_INTERVAL = 0.1


def wait_with_bar(wait: Callable[[float], bool], counts: Callable[[], tuple[int, int]], timeout: float | None) -> bool:
    """Wait as `wait` does, in short steps, and show how many jobs have ended: `counts` tells that, and of how many."""
    until = None if timeout is None else time.monotonic() + timeout
    ended, total = counts()
    with _tqdm()(total=total, initial=ended, unit="job") as bar:
        while True:
            left = LOOK_INTERVAL if until is None else min(LOOK_INTERVAL, until - time.monotonic())
            is_over = wait(left)
            ended, bar.total = counts()
            bar.update(ended - bar.n)
            if is_over or left <= 0:
                bar.refresh()
                return is_over


def _tqdm() -> Any:
    try:
        return importlib.import_module("tqdm.auto").tqdm
    except ImportError:
        raise ConfigError("a progress bar needs the package tqdm: pip install gdispy[progress]") from None
