"""Other interpreters than that of the tests, which run what the tests start.

They are looked for in GDISPY_TEST_PYTHONS (paths, separated by colons), in PATH and below ~/.pyenv. They need what
gdispy depends on; where the variable names one that lacks that, or CI is set, a venv is made for it.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from pathlib import Path

NEEDED = "import sys, dill, gevent, msgpack, nacl; print(sys.version_info[1])"
#: Seconds in which a venv must be ready.
PATIENCE = 60


def version(python: str, code: str = "import sys; print(sys.version_info[1])") -> int | None:
    """The minor version of an interpreter that runs the code, else None."""
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, timeout=20, check=True)
        return int(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def named() -> list[str]:
    return [path for path in os.environ.get("GDISPY_TEST_PYTHONS", "").split(":") if path]


def candidates(minor: int) -> list[str]:
    found = [*named(), shutil.which(f"python3.{minor}") or ""]
    found += map(str, Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python"))
    return [path for path in found if path and version(path) == minor]


def made(base: str, directory: Path) -> tuple[str, str]:
    """The interpreter of a new venv, or why there is none."""
    python = str(directory / "bin" / "python")
    # Not the project itself: two that build it at the same time in the same directory disturb each other.
    needed = [line for line in importlib.metadata.requires("gdispy") or [] if "extra ==" not in line]
    commands = [[base, "-m", "venv", str(directory)], [python, "-m", "pip", "install", "--quiet", *needed]]
    try:
        for command in commands:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.SubprocessError) as error:
        return "", f"no venv could be made with {base}: {error}\n{getattr(error, 'stderr', None) or ''}"
    return python, ""
