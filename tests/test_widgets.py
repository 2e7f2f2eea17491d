"""What all widgets share: one script and one style sheet, in Jupyter and in a built page."""

import re
from pathlib import Path

import pytest

import lmcourse.widgets
from lmcourse.book import extension
from tests.attention_views import hostile_view as hostile_attention
from tests.chromium import OfflinePage
from tests.embedding_maps import hostile_map
from tests.gate_views import hostile_view as hostile_gates
from tests.gradient_flows import hostile_flow
from tests.sampler_views import hostile_view
from tests.widget_pages import build_book, opened

FOLDER = Path(lmcourse.widgets.__file__).parent
SCRIPT = (FOLDER / "_widget.js").read_text(encoding="utf-8")
STYLE = (FOLDER / "_widget.css").read_text(encoding="utf-8")
MODULES = lmcourse.widgets.modules()


def test_the_shared_script_neither_imports_nor_exports():
    assert not re.search(r"^\s*(import|export)\b", SCRIPT, re.MULTILINE)


@pytest.mark.parametrize("kind", MODULES)
def test_jupyter_gets_the_shared_part_before_the_widgets_own(kind):
    widget, path = getattr(lmcourse.widgets, kind), MODULES[kind]
    assert widget._esm == f"{SCRIPT}\n{path.read_text(encoding='utf-8')}"
    assert widget._css == f"{STYLE}\n{path.with_suffix('.css').read_text(encoding='utf-8')}"


@pytest.mark.browser
@pytest.mark.parametrize("kind", MODULES)
def test_what_jupyter_gets_is_a_module(browser, kind):
    """A name that both parts declare would be a syntax error here, though not in the book."""
    load = """async (source) => {
        const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
        return Object.keys((await import(url)).default);
    }"""
    with OfflinePage(browser) as offline:
        source = getattr(lmcourse.widgets, kind)._esm
        assert offline.page.evaluate(load, source) == ["render"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('import x from "./x.js";\nexport default {};', "must not import"),
        ("function render() {}", "must have one line 'export default …', got 0"),
    ],
)
def test_a_module_that_the_page_cannot_hold_is_refused(tmp_path, monkeypatch, source, message):
    module = tmp_path / "bad.js"
    module.write_text(source, encoding="utf-8")
    monkeypatch.setattr(lmcourse.widgets, "modules", lambda: {"Bad": module})
    with pytest.raises(ValueError, match=message):
        extension.widget_script()


# --- The built page ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    views = [hostile_view(), hostile_flow(), hostile_map(), hostile_attention(), hostile_gates()]
    return build_book(tmp_path_factory.mktemp("book"), {"all": views})


@pytest.mark.browser
def test_a_page_of_all_kinds_holds_the_shared_part_once(browser, book):
    with opened(browser, book / "all.html") as page:
        links = page.locator("script[src], link[rel=stylesheet]").evaluate_all(
            "links => links.map((link) => new URL(link.src ?? link.href).pathname)"
        )
        texts = [Path(link).read_text(encoding="utf-8") for link in links]
        assert sum(text.count(SCRIPT) for text in texts) == 1
        assert sum(text.count(STYLE) for text in texts) == 1
        names = page.locator(".lmc-widget").evaluate_all("roots => roots.map((r) => r.ariaLabel)")
        assert names == [
            "Next-token sampler",
            "Gradient flow in an RNN and a GRU",
            "A map of word vectors",
            "Attention weights",
            "Gates of an LSTM along a text",
        ]


@pytest.mark.browser
def test_the_shared_style_yields_to_a_widgets_own(browser, book):
    """Each kind in a notebook brings it: then it stands after another one's own style."""
    changed = """(css) => {
        const styles = [...document.querySelectorAll(".lmc-widget, .lmc-widget *")].map(
            (element) => [element, getComputedStyle(element)]);
        const values = () => styles.flatMap(([element, style]) => Array.from(style, (key) =>
            `${element.localName} ${element.className} ${key}: ${style.getPropertyValue(key)}`));
        const before = values();
        document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
        return values().filter((value, i) => value !== before[i]);
    }"""
    with opened(browser, book / "all.html") as page:
        assert page.evaluate(changed, STYLE) == []


@pytest.mark.browser
def test_pages_without_a_widget_do_not_load_the_script(browser, book):
    assert "lmcourse-widgets" not in (book / "plain.html").read_text(encoding="utf-8")
    with opened(browser, book / "plain.html") as page:
        assert page.title().startswith("A page without a widget")
