"""How sphinx builds the site, from pages that docs/_ext/build.py assembles; `make docs` does both."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "_ext"), str(Path(__file__).parents[1])]

from clipdiy_lab import __version__

project = "clipdiy_lab"
author = "The clipdiy_lab authors"
copyright = f"{author}. Apache-2.0"
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_design",
    "mathml",
]
nitpicky = True
# Types in docstrings are words of other projects, whose inventories cannot be had offline.
nitpick_ignore_regex = [("py:.*", ".*")]
suppress_warnings = ["config.cache"]

# Tutorials are shown as they were executed by `make notebooks`, and never run here.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 4

autosummary_generate = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
default_role = "py:obj"
python_maximum_signature_line_length = 88
add_module_names = False

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = f"clipdiy_lab {release}"
html_static_path = ["_build/source/_static"]
html_css_files = ["site.css"]
html_js_files = ["figures.js"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "clipdiy_lab"},
    "header_links_before_dropdown": 6,
    "navbar_end": ["theme-switcher"],
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars: dict[str, list[str]] = {
    name: [] for name in ("index", "changelog", "decisions", "live/index", "gallery/index")
}
