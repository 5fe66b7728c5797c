"""How the documentation is built: `sphinx-build -W docs docs/_build/html`."""

import sys
from pathlib import Path
from types import GenericAlias
from typing import Any

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))  # for `generate`, which stands beside this file

from generate import write_pages

from slidemask import __version__

project = "slidemask"
author = "the slidemask authors"
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "generated/*.inc"]
nitpicky = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say types, with shapes and units
autodoc_default_options = {"members": True, "exclude-members": "model_config"}
numpydoc_show_class_members = False
numpydoc_validation_checks = {"GL06", "GL07", "PR02"}  # not RT03: a shape often says it all
numpydoc_validation_exclude = {
    rf"\.{name}$" for name in ("KDTree", "linear_sum_assignment", "minimize_scalar")
}  # imported
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "pydata_sphinx_theme"
html_title = "slidemask"
html_sidebars = {"**": ["globaltoc.html"]}
html_theme_options = {
    "navbar_center": [],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_show_copyright = False
html_show_sourcelink = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": "/plot_",
    "abort_on_example_error": True,
    "show_memory": False,
    "min_reported_time": 1e6,  # the same page on every machine
    "write_computation_times": False,
    "remove_config_comments": True,
    "download_all_examples": False,
}


def skip_alias(_app: Sphinx, *member: Any) -> bool | None:
    """Leave out names for array types: autodoc takes them for classes, and falls over."""
    return True if isinstance(member[2], GenericAlias) else None


def setup(app: Sphinx) -> None:
    """Write the pages that follow from the code before Sphinx looks for sources."""
    write_pages(Path(app.srcdir) / "generated")
    app.connect("autodoc-skip-member", skip_alias)
