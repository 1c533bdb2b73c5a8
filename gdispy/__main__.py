"""`python -m gdispy`: the same as `gdispy`."""

import gdispy.runtime.patching  # noqa: F401, I001 (before anything else)

import sys

from gdispy.cli import main

sys.exit(main())
