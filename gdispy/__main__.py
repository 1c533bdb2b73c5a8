"""`python -m gdispy`: the same as `gdispy`.

Floor 4.
"""

import gdispy.patching  # noqa: F401, I001 (before anything else)

import sys

from gdispy.cli import main

sys.exit(main())
