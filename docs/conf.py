"""How Sphinx builds these pages: `make docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from gdispy.config import VERSION

project = "gdispy"
author = "the gdispy authors"
version = release = VERSION

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
#: `name` in a docstring is code, as in Markdown.
default_role = "code"
#: What is quoted is to be typed as it stands.
smartquotes = False
autodoc_member_order = "bysource"
myst_heading_anchors = 3

html_theme = "alabaster"
html_theme_options = {
    "description": "Python functions and programs on many machines",
    "fixed_sidebar": True,
    "page_width": "1080px",
    "show_powered_by": False,
}
html_show_sourcelink = False
html_copy_source = False
