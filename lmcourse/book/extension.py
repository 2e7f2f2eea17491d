"""The book's Sphinx extension: its look, widgets and mathematics, all without a network.

Built pages are opened from disk as often as from a server, and browsers refuse to import ES modules
from disk. So the widgets' modules are wrapped into one classic script, which draws every widget
that a notebook's output left in the page. Pages without a widget do not load it.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

import lmcourse
import lmcourse.widgets

STATIC = Path(__file__).with_name("static")
TEMPLATES = Path(__file__).with_name("templates")
WIDGETS = Path(lmcourse.widgets.__file__).parent
MATHJAX_PACKAGE = "sphinx-mathjax-offline"
# What a page may ask for: the program, its fonts, TeX packages, and English speech for screen
# readers. The package holds 24 MB of other variants.
MATHJAX_PARTS = (
    "tex-chtml.js",
    "output/chtml/fonts/woff-v2",
    "input/tex/extensions",
    "a11y",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
    "sre/mathmaps/nemeth.json",
)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx.

    Returns:
        What Sphinx wants to know of an extension: its version, and that it is safe in parallel.
    """
    app.connect("config-inited", _configure)
    app.connect("builder-inited", _write_assets)
    app.connect("html-page-context", _add_widgets)
    app.connect("html-page-context", _mend_references)
    app.add_css_file("book.css", priority=900)
    # Before the theme's own script, which is deferred and would complain of an unset mode.
    app.add_js_file(None, body=(STATIC / "mode.js").read_text("utf-8"), priority=100)
    return {
        "version": lmcourse.__version__,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }


def widget_script() -> str:
    """Return the classic script that draws the widgets of a built page.

    Returns:
        JavaScript: what the widgets share, their ES modules, each inside a function, and the page's
        stand-in for a Jupyter model.

    Raises:
        ValueError: a module imports another, or does not end in one ``export default``.
    """
    shared = (WIDGETS / "_widget.js").read_text("utf-8")
    modules = [_wrapped(kind, path) for kind, path in lmcourse.widgets.modules().items()]
    page = (STATIC / "widgets.js").read_text("utf-8")
    return page.replace("/* WIDGETS */", "\n".join([shared, *modules]))


def widget_style() -> str:
    """Return the style sheet of all widgets: what they share, in ``_widget.css``, comes first."""
    return "\n".join(path.read_text("utf-8") for path in sorted(WIDGETS.glob("*.css")))


def _wrapped(kind: str, path: Path) -> str:
    source = path.read_text("utf-8")
    if re.search(r"^\s*import\b", source, re.MULTILINE):
        raise ValueError(
            f"{path.name} must not import: a page opened from disk cannot load modules"
        )
    body, exports = re.subn(r"^export default ", "return ", source, flags=re.MULTILINE)
    if exports != 1:
        raise ValueError(f"{path.name} must have one line 'export default …', got {exports}")
    return f"modules.{kind} = (function () {{\n{body}}})();"


def _configure(_app: Sphinx, config: Config) -> None:
    config.mathjax_path = "mathjax/tex-chtml.js"
    config.templates_path.append(str(TEMPLATES))


def _write_assets(app: Sphinx) -> None:
    if app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    static.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(STATIC / "book.css", static / "book.css")
    (static / "lmcourse-widgets.js").write_text(widget_script(), "utf-8")
    (static / "lmcourse-widgets.css").write_text(widget_style(), "utf-8")
    _copy_mathjax(static / "mathjax")


def _copy_mathjax(target: Path) -> None:
    package = importlib.util.find_spec(MATHJAX_PACKAGE)
    if package is None or package.origin is None:
        raise ModuleNotFoundError(f"the book needs {MATHJAX_PACKAGE}; pip install it")
    source = Path(package.origin).parent / "static" / "mathjax"
    for part in MATHJAX_PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            shutil.copyfile(source / part, target / part)


def _add_widgets(app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree) -> None:
    if 'class="lmcourse-widget' in context.get("body", ""):
        app.add_css_file("lmcourse-widgets.css")
        app.add_js_file("lmcourse-widgets.js", loading_method="defer")


def _mend_references(_app, _page: str, _template: str, context: dict[str, Any], _tree) -> None:
    # docutils puts a role that ARIA has deprecated into lists that allow list items alone.
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')
