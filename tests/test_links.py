"""Links inside the built book lead somewhere, and so do the README's; citations have sources."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from tests.notebooks import CHAPTERS, ROOT

BOOK = ROOT / "_build" / "html"
FOLDERS = ("lmcourse", "benchmarks")
READMES = [ROOT / "README.md", *(p for f in FOLDERS for p in sorted((ROOT / f).rglob("README.md")))]
CITATION = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")
BIBTEX_KEY = re.compile(r"^@\w+\{\s*([^,\s]+)\s*,", re.MULTILINE)
MARKDOWN_LINK = re.compile(r"\]\(\s*<?([^)>\s]+)")
HTML_LINK = re.compile(r"""\b(?:href|src)\s*=\s*["']([^"']+)["']""")


class Page(HTMLParser):
    """The links of a page and the places on it that links can name."""

    def __init__(self, html: str):
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {"", "top"}
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]
        self.anchors |= {attributes[name] for name in ("id", "name") if attributes.get(name)}


def broken_links(folder: Path) -> list[str]:
    """Return a line for each link between a folder's pages and files that leads nowhere."""
    files = {path for path in folder.rglob("*.html") if "_static" not in path.parts}
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in sorted(files)}
    broken = []
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            where = f"{path.relative_to(folder.resolve())}: {link}"
            if not target.exists():
                broken.append(f"{where} (no such file)")
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                broken.append(f"{where} (no such place on that page)")
    return broken


def cited_keys(markdown: str) -> set[str]:
    groups = CITATION.findall(markdown)
    return {key.strip() for group in groups for key in group.split(",")}


def markdown_of_the_book() -> str:
    prose = [page.read_text("utf-8") for page in (ROOT / "intro.md", *ROOT.glob("chapters/*.md"))]
    for path in CHAPTERS:
        cells = nbformat.read(path, as_version=4).cells
        prose += [cell.source for cell in cells if cell.cell_type == "markdown"]
    return "\n\n".join(prose)


def missing_files(markdown: str, folder: Path) -> list[str]:
    """Return the relative links of a Markdown file in ``folder`` that lead to no file."""
    links = MARKDOWN_LINK.findall(markdown) + HTML_LINK.findall(markdown)
    local = [urlsplit(link) for link in links]
    paths = [unquote(parts.path) for parts in local if not parts.scheme and not parts.netloc]
    return [path for path in paths if path and not (folder / path).exists()]


def test_links_inside_the_built_book_lead_somewhere():
    if not (BOOK / "index.html").exists():
        pytest.fail("the book is not built; say `make book` first")
    broken = broken_links(BOOK)
    assert not broken, "\n".join(broken)


def test_every_citation_has_a_source_and_every_source_is_cited():
    cited = cited_keys(markdown_of_the_book())
    known = BIBTEX_KEY.findall((ROOT / "references.bib").read_text(encoding="utf-8"))
    assert sorted(known) == sorted(set(known)), "a key stands twice in references.bib"
    unknown, uncited = cited - set(known), set(known) - cited
    assert not unknown, f"cited, but not in references.bib: {', '.join(sorted(unknown))}"
    assert not uncited, f"in references.bib, but never cited: {', '.join(sorted(uncited))}"


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_readmes_lead_to_files(path):
    missing = missing_files(path.read_text(encoding="utf-8"), path.parent)
    assert not missing, f"{path.relative_to(ROOT)} links to {missing}"


def test_broken_links_are_caught(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "a.html").write_text(
        '<a href="../b.html#there">1</a> <a href="#me" id="me">2</a> <img src="x%20y.png?v=1">'
        '<a href="https://example.org/no">3</a> <a href="mailto:a@b.c">4</a> <a href="#">5</a>'
        '<a href="../b.html#nowhere">6</a> <a href="c.html">7</a> <a href="#you">8</a>'
        '<script src="z.js"></script> <a href="..">9</a>'
    )
    (tmp_path / "part" / "x y.png").touch()
    (tmp_path / "b.html").write_text('<h1 id="there">B</h1>')
    assert broken_links(tmp_path) == [
        "part/a.html: ../b.html#nowhere (no such place on that page)",
        "part/a.html: c.html (no such file)",
        "part/a.html: #you (no such place on that page)",
        "part/a.html: z.js (no such file)",
        "part/a.html: .. (no such file)",
    ]


def test_citations_are_found():
    text = "{cite}`a2001` and {cite:t}`b2002, c-2003` but not `cite` and {eq}`eq-a`"
    assert cited_keys(text) == {"a2001", "b2002", "c-2003"}


def test_missing_files_of_a_readme_are_caught(tmp_path):
    (tmp_path / "a.md").touch()
    text = (
        '[a](a.md#x) [b](b.md) <img src="c.png"> [d](https://example.org/d) [e](#e) ![f](<f.png>)'
    )
    assert missing_files(text, tmp_path) == ["b.md", "f.png", "c.png"]
