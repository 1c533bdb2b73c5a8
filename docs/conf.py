"""How Sphinx builds these pages: `make docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from gdispy.config import VERSION

project = "gdispy"
author = "the gdispy authors"
version = release = VERSION

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_design"]
exclude_patterns = ["_build"]
#: `name` in a docstring is code, as in Markdown.
default_role = "code"
#: What is quoted is to be typed as it stands.
smartquotes = False
autodoc_member_order = "bysource"
myst_heading_anchors = 3
#: `:::` for directives that contain code blocks.
myst_enable_extensions = ["colon_fence"]

html_theme = "furo"
html_title = f"gdispy {VERSION}"
html_static_path = ["_static"]
html_css_files = ["gdispy.css"]
html_show_sourcelink = False
html_copy_source = False
