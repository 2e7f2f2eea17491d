"""Every page of the built book, opened from disk in Chromium with the network cut off."""

import pytest

from tests.chromium import OfflinePage, accessibility_violations
from tests.notebooks import ROOT

BOOK = ROOT / "_build" / "html"
# index.html only sends its reader on to intro.html.
PAGES = sorted(set(BOOK.rglob("*.html")) - {BOOK / "index.html", *BOOK.glob("_static/**/*.html")})
PHONE = {"width": 390, "height": 844}

pytestmark = pytest.mark.browser


def settled(offline: OfflinePage, path) -> None:
    """Open a page and wait until its formulas are set."""
    offline.page.goto(path.as_uri())
    offline.page.wait_for_load_state("load")
    offline.page.evaluate("window.MathJax?.startup?.promise.then(() => null)")


def test_the_book_has_been_built():
    assert (BOOK / "intro.html").exists(), f"{BOOK} holds no book; build it with: make book"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(BOOK).as_posix())
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_loads_offline_and_is_accessible(browser, path, scheme):
    with OfflinePage(browser, color_scheme=scheme) as offline:
        settled(offline, path)
        assert offline.refused == [], "the page asked other machines"
        assert offline.errors == []
        assert offline.page.locator("html").get_attribute("data-theme") == scheme
        assert offline.page.locator("mjx-merror").count() == 0, "MathJax refused a formula"
        assert accessibility_violations(offline.page) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(BOOK).as_posix())
def test_page_fits_a_phone(browser, path):
    with OfflinePage(browser, viewport=PHONE) as offline:
        settled(offline, path)
        wide = offline.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= PHONE["width"], f"the page is {wide} px wide"
        assert accessibility_violations(offline.page, colours=False) == []


@pytest.mark.parametrize(
    "path",
    [path for path in PAGES if "tag_clinic" in path.read_text(encoding="utf-8")],
    ids=lambda path: path.relative_to(BOOK).as_posix(),
)
def test_a_clinic_is_one_box(browser, path):
    """Its prose and its code cells touch, and look alike."""
    with OfflinePage(browser) as offline:
        settled(offline, path)
        seams = offline.page.evaluate(
            """() => [...document.querySelectorAll(".clinic + .tag_clinic, .tag_clinic + .clinic")]
            .map((below) => [below.previousElementSibling, below].map((part) => {
                const { borderLeft, backgroundColor } = getComputedStyle(part);
                const { top, bottom, left } = part.getBoundingClientRect();
                return { look: [borderLeft, backgroundColor, left], top, bottom };
            }))"""
        )
        assert seams
        for above, below in seams:
            assert below["top"] == pytest.approx(above["bottom"], abs=1)
            assert below["look"] == above["look"]
