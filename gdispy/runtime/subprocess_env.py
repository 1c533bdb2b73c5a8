"""The environment of Python processes that gdispy starts. Callable in any thread; does not wait."""

from __future__ import annotations

import os


def importable(environment: dict[str, str]) -> dict[str, str]:
    """The environment, changed so that a new interpreter finds this package."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # An empty entry would be the working directory.
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    if os.path.basename(here) not in ("site-packages", "dist-packages"):  # These are found anyway.
        paths.insert(0, here)
    environment.pop("PYTHONPATH", None)
    if paths:
        environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    return environment
