"""The site: `nox -s docs` builds it and checks it, `python -m sphinx docs build/site` only builds it.

Pages are Markdown, as GitHub shows them too. What GitHub understands and Sphinx does not is translated on the way
(`docs/_site.py`): links that leave the folder, drawings in Mermaid, the Markdown of docstrings. No part of it needs the network.
`TRIO_GATEWAY_INTERSPHINX=1` also links what belongs to Python, Trio, httpx and anyio, and asks their sites what they have.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import trio_gateway

sys.path.insert(0, str(Path(__file__).parent))

project = "trio-gateway"
author = "the trio_gateway developers"
copyright = f"2026, {author}"  # noqa: A001 - Sphinx's name for it
release = version = trio_gateway.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinxcontrib_trio",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "_site",
]
if os.environ.get("TRIO_GATEWAY_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "trio": ("https://trio.readthedocs.io/en/stable", None),
        "httpx": ("https://www.python-httpx.org", None),
        "anyio": ("https://anyio.readthedocs.io/en/stable", None),
    }

root_doc = "index"
exclude_patterns = ["benchmarks/*", "words"]
nitpicky = True
default_role = "code"
pygments_style = "friendly"
pygments_dark_style = "monokai"

myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 4

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"trio-gateway {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
copybutton_exclude = ".linenos, .gp, .go"
