"""How Sphinx builds the documentation: make docs."""

import sys
from pathlib import Path

from eulernet import __version__

project = "eulernet"
author = "the eulernet contributors"
copyright = "the eulernet contributors, MIT licence"
version = release = __version__
sys.path.insert(0, str(Path(__file__).parent))
extensions = ["model_pages", "myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
highlight_language = "bash"
exclude_patterns = ["_build", "figures/*.md"]

html_theme = "furo"
html_title = f"eulernet {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]

nb_execution_mode = "off"  # what notebooks show is in them; the slow tests run them
nb_render_markdown_format = "myst"  # with tables
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
python_display_short_literal_types = True
copybutton_exclude = ".linenos, .gp, .go"
