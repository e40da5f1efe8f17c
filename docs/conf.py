"""Settings of Sphinx for these pages: `make docs`. Nothing is fetched from the network."""

from __future__ import annotations

import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
# files outside docs that are pages too: the page's name
INCLUDED = {
    "benchmarks/RESULTS.md": "results.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "tests/README.md": "testing.md",
}
API = (
    "sgdsm",
    "sgdsm.models",
    "sgdsm.data",
    "sgdsm.sources",
    "sgdsm.preprocessing",
    "sgdsm.training",
    "sgdsm.downscaling",
)

matplotlib.use("agg")

project = "sgdsm"
author = "the sgdsm authors"
project_copyright = "the sgdsm authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["build", "examples"]
suppress_warnings: list[str] = []

nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
highlight_language = "none"

default_role = "literal"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_inherit_docstrings = False
autoclass_content = "class"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "pydata_sphinx_theme"
html_title = "sgdsm"
html_show_sourcelink = False
# it would be fetched, which a browser refuses for files
html_show_search_summary = False
html_context = {"default_mode": "auto"}
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_math_renderer = "mathml"
html_sidebars = {"**": ["globaltoc.html"]}
html_theme_options = {
    "show_prev_next": True,
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def inline_math(writer: Any, node: nodes.math) -> None:
    """Write a formula within a line as MathML."""
    writer.body.append(tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def display_math(writer: Any, node: nodes.math_block) -> None:
    """Write a formula on lines of its own as MathML."""
    writer.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def links_to_pages(app: Any, page: str, source: list[str]) -> None:
    """Turn links to files outside docs, which a reader of the repository follows, into links to their pages."""
    for path, name in INCLUDED.items():
        source[0] = re.sub(rf"\]\((?:\.\./)*{re.escape(path)}(?=[#)])", f"]({name}", source[0])


def links_of_included(app: Any, relative: Path, parent: str, source: list[str]) -> None:
    """Turn the links of an included file, which begin at its own folder, into links between pages."""
    for path, name in INCLUDED.items():
        source[0] = re.sub(rf"\]\((?:\.\./)*{re.escape(path)}(?=[#)])", f"]({name}", source[0])
    source[0] = re.sub(r"\]\((?:\.\./)*docs/(?!images)", "](", source[0])


def write_api(app: Any) -> None:
    """Write the pages of the public names, as the packages list them in `PUBLIC`."""
    folder = DOCS / "api"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for package in API:
        module = import_module(package)
        lines = [package, "=" * len(package), "", *(module.__doc__ or "").strip().splitlines()[:1], ""]
        for name in sorted(module.PUBLIC, key=str.lower):
            kind = "autoclass" if isinstance(getattr(module, name), type) else "autofunction"
            lines += [f".. {kind}:: {package}.{name}", *(["   :members:"] if kind == "autoclass" else []), ""]
        if package == "sgdsm":
            lines += ["Dataset.sgdsm", "-------------", "", ".. autoclass:: sgdsm.SgdsmAccessor", "   :members:", ""]
        (folder / f"{package}.rst").write_text("\n".join(lines))
    tree = [
        "API",
        "===",
        "",
        "The public names, which stay where modules move.",
        "",
        ".. toctree::",
        "   :maxdepth: 1",
        "",
    ]
    (folder / "index.rst").write_text("\n".join([*tree, *(f"   {package}" for package in API), ""]))


def setup(app: Any) -> None:
    """Register what is ours."""
    app.add_html_math_renderer("mathml", inline_renderers=(inline_math, None), block_renderers=(display_math, None))
    app.connect("source-read", links_to_pages)
    app.connect("include-read", links_of_included)
    app.connect("builder-inited", write_api)
