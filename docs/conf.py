"""Build the pages as a site that opens without a network: `make docs`, then build/site/index.html.

The pages stay as GitHub shows them. Only here are they put in an order, and their formulae made
MathML, which browsers draw by themselves.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.application import Sphinx

NAVIGATION = {
    "Start": ("docs/guide", "docs/cookbook", "docs/gallery", "docs/completion"),
    "How good is it": ("docs/skill", "benchmarks/README"),
    "Downscale": ("docs/climatology", "docs/statics", "docs/reconstruct", "docs/perturb"),
    "Assimilate": ("docs/assimilate", "docs/observe", "docs/levels"),
    "Evaluate and export": ("docs/evaluate", "docs/gis"),
    "Train": ("docs/train", "docs/embed", "docs/profiles", "docs/profiles_data"),
    "Reference": ("docs/commands", "docs/plan", "docs/settings"),
    "Inside": ("docs/method", "docs/architecture", "CONTRIBUTING", "CHANGELOG"),
}

project = "dpdm"
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = [f"{page}.md" for pages in NAVIGATION.values() for page in ("README", *pages)]
exclude_patterns = [".*", "build", "cli", "dist", "dpdm", "sample_data", "tests"]
highlight_language = "none"
suppress_warnings = ["misc.highlighting_failure", "myst.header"]

myst_enable_extensions = ["dollarmath"]
myst_dmath_allow_space = False
myst_dmath_allow_digits = False
myst_heading_anchors = 4

html_theme = "furo"
html_title = "dpdm"
html_copy_source = False
html_show_copyright = False
html_show_search_summary = False  # browsers fetch nothing of a folder
html_show_sphinx = False
html_math_renderer = "mathml"


def toctree(caption: str, pages: tuple[str, ...]) -> str:
    """Return a group of the navigation as MyST reads it."""
    return "\n".join(["\n```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```\n"])


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the navigation to the README."""
    if page == root_doc:
        source[0] += "".join(toctree(*group) for group in NAVIGATION.items())


def write_mathml(translator: Any, node: Element) -> None:
    """Write a formula as MathML."""
    from docutils.nodes import SkipNode, math_block
    from latex2mathml.converter import convert

    display = "block" if isinstance(node, math_block) else "inline"
    translator.body.append(convert(node.astext(), display=display))
    raise SkipNode


def name_index(app: Sphinx, fault: Exception | None) -> None:
    """Give the README the name that browsers look for in a folder."""
    if not fault:
        shutil.copy(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> None:
    """Register what this file adds."""
    app.add_html_math_renderer("mathml", (write_mathml, None), (write_mathml, None))
    app.connect("source-read", add_navigation)
    app.connect("build-finished", name_index)
