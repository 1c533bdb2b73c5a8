"""Odd contents of fields: at their limits, hostile, and not allowed at all.

Constants only, used by `values.py`. What could be an address is one of this machine, or none.
"""

from __future__ import annotations

from typing import Any

from gdispy.protocol.limits import COUNT_LIMIT, TEXT_LIMIT

TEXTS = (
    *("", "a", "work", "x" * 255, "x" * 256, "a b\tc", "line\nline\r\nline", "\x1b[31mred\x1b[0m\x1b]0;title\x07"),
    *(
        "\x00",
        "a\x00b",
        "\u202etxt.exe",
        "\ufeff",
        "%s%n{0}{}",
        "<b>&amp;</b>",
        "'; --",
        "\N{SNOWMAN}" * 100,
        "*",
        "-rf",
    ),
)
PATTERNS = (
    *(
        "*",
        "*:x",
        ":",
        "127.0.0.1:99999",
        "[::1",
        "[::1]:1",
        "",
        " ",
        "127.*",
        "*:1",
        "a:b:c",
        "127.0.0.1:-1",
        "\x1b[2J",
    ),
    *("*" * 40, "*" * 40 + "x", "*1" * 30 + "x", "*." * 60, "*" * 40 + ":1", "127.0.0.1:0", "*\x00*", "::", "0:1"),
)
COUNTS = (0, 1, 2, 3, 7, 255, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 30, COUNT_LIMIT - 1)
NUMBERS = (0.0, 1.0, -1.0, 0.05, 0.049, 1e-300, 1000.0, 1e9, 1e12, 1e18, -1e18, 9.9e299, -9.9e299, 5e-324, 4e10)
NOT_NUMBERS = (float("nan"), float("inf"), -float("inf"), 1e300, 1, "1", None)
STATUSES = (8, 9, 10, 11, 0, 5, 6, 7, 12, 255, 1 << 40)
WORDS = ("deallocate", "allocate", "close", "resetup", "cpus", "jobs", "", "drop", "x" * 1000, "close\n")
ROLES = ("client", "scheduler", "node", "visitor", "recoverer", "", "relay", "client\x00")
PATHS = (
    "a.txt",
    "d/b.txt",
    "x" * 255,
    "/".join(["d"] * 400),
    "",
    ".",
    "a//b",
    "a/",
    "a\\b",
    "c:d",
    ".gdispy-x",
    "\ud800",
)
#: Anything at all, in the place of a field.
ODD: tuple[Any, ...] = (
    *NOT_NUMBERS,
    *(
        None,
        True,
        False,
        0,
        -1,
        1 << 53,
        (1 << 64) - 1,
        -(1 << 63),
        0.5,
        float("nan"),
        "",
        "text",
        b"",
        b"x" * 9,
        [],
        [[]],
    ),
    *({}, {"a": 1}, [None], [[[[[[]]]]]], [0] * 70_000, "x" * (TEXT_LIMIT + 1), [b"12345678", b"1"], [1, "a"], [{}]),
)
