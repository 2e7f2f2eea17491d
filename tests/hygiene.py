"""What every chapter's notebook must keep to.

Each check takes a notebook and yields complaints, one line each, that name the cell. They are held
against small hostile notebooks in ``test_notebooks.py``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

import nbformat
from nbformat import NotebookNode

from lmcourse.book.execute import TIMING_METADATA, WIDGET_VIEW

LONGEST_CELL = 15  # lines that are not blank
WIDEST_LINE = 72  # characters: more is cut off on a phone
SHORTEST_ALT = 15  # characters: less cannot say what a figure shows

MACHINE_PATH = re.compile(
    r"(?<![\w.+])(?:/(?:home|Users|root|tmp|work|var|mnt|opt|content)/\w|[CD]:\\Users)[^\s\"'<>]*"
)
ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}")
MARKDOWN_IMAGE = re.compile(r"!\[(?P<alt>[^\]]*)\]\([^)]*\)")
HTML_IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
HTML_ALT = re.compile(r"\balt\s*=\s*(?P<quote>[\"'])(?P<alt>.*?)(?P=quote)", re.IGNORECASE)
IMAGE_DIRECTIVE = re.compile(
    r"^(?P<colons>:{3,})\{(?:image|figure)\}.*\n(?P<body>(?:(?!(?P=colons)\s*$).*\n?)*)",
    re.MULTILINE,
)
BACKTICK_DIRECTIVE = re.compile(r"^\s*(?:`{3,}|~{3,})\{[^}]*\}", re.MULTILINE)
FILLER = re.compile(
    r"\bin this (?:section|chapter),? we (?:will|'ll|are going to)\b", re.IGNORECASE
)
NBVAL_COMMENT = re.compile(r"^\s*#\s*(?:NBVAL_\w+|PYTEST_VALIDATE_\w+)", re.MULTILINE)
NBVAL_SKIPS = {"nbval-skip", "nbval-raises-exception", "raises-exception"}

Complaints = Iterator[str]


def is_valid(notebook: NotebookNode) -> Complaints:
    """The file is notebook format 4.5 or newer, where cells have ids, and no id comes twice."""
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5):
        yield f"format {notebook.nbformat}.{notebook.nbformat_minor} has no cell ids; 4.5 has"
        return
    counts = Counter(cell.get("id") for cell in notebook.cells)
    yield from (f"{n} cells have the id {name!r}" for name, n in counts.items() if n > 1)
    yield from (error.message for error in nbformat.validator.iter_validate(notebook))


def is_executed_in_order(notebook: NotebookNode) -> Complaints:
    """Every code cell was executed, from top to bottom."""
    cells = _code_cells(notebook)
    if cells and not any(cell.execution_count for cell in cells):
        yield "it was never executed; say `make chapters`"
        return
    for count, cell in enumerate(cells, start=1):
        if not cell.source.strip():
            yield f"{_name(notebook, cell)} is empty"
        elif cell.execution_count != count:
            yield (
                f"{_name(notebook, cell)} should have run as number {count}, "
                f"but has {cell.execution_count}; say `make chapters`"
            )


def has_no_errors(notebook: NotebookNode) -> Complaints:
    """No cell raised, and none wrote to stderr (which is where warnings go)."""
    for cell, output in _outputs(notebook):
        if output.output_type == "error":
            yield f"{_name(notebook, cell)} raised {output.ename}: {output.evalue}"
        elif output.get("name") == "stderr":
            yield f"{_name(notebook, cell)} wrote to stderr: {output.text.strip()[:80]!r}"


def has_short_cells(notebook: NotebookNode) -> Complaints:
    """A code cell has at most 15 lines, or its metadata says why: ``{"lmcourse": {"long": …}}``."""
    for cell in _code_cells(notebook):
        length = sum(bool(line.strip()) for line in cell.source.splitlines())
        reason = cell.metadata.get("lmcourse", {}).get("long", "")
        if length > LONGEST_CELL and len(reason.split()) < 3:
            yield (
                f"{_name(notebook, cell)} has {length} lines, more than {LONGEST_CELL}, and its "
                'metadata gives no reason ({"lmcourse": {"long": "…"}})'
            )


def has_narrow_code(notebook: NotebookNode) -> Complaints:
    """Code fits a phone: at most 72 characters a line."""
    for cell in _code_cells(notebook):
        for line in cell.source.splitlines():
            if len(line) > WIDEST_LINE:
                yield (
                    f"{_name(notebook, cell)} has a line of {len(line)} characters, more than "
                    f"{WIDEST_LINE}: {line.strip()!r}"
                )


def has_alt_texts(notebook: NotebookNode) -> Complaints:
    """Every image, drawn by code or linked in prose, says in words what it shows."""
    for cell, output in _outputs(notebook):
        data = output.get("data", {})
        if any(kind.startswith("image/") for kind in data):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            if _says_little(alt):
                yield (
                    f"{_name(notebook, cell)} draws an image with the alt text {alt!r}; metadata: "
                    '{"mystnb": {"image": {"alt": "…"}}}'
                )
        for alt in _alts_of_html(data.get("text/html", "")):
            if _says_little(alt):
                yield f"{_name(notebook, cell)} shows an <img> with the alt text {alt!r}"
    for cell in _markdown_cells(notebook):
        alts = [image["alt"] for image in MARKDOWN_IMAGE.finditer(cell.source)]
        alts += _alts_of_html(cell.source)
        alts += [_option(image["body"], "alt") for image in IMAGE_DIRECTIVE.finditer(cell.source)]
        for alt in filter(_says_little, alts):
            yield f"{_name(notebook, cell)} has an image with the alt text {alt!r}"


def has_no_timing_metadata(notebook: NotebookNode) -> Complaints:
    """Nothing is stored that tells when a cell ran, or under which Python."""
    if "version" in notebook.metadata.get("language_info", {}):
        yield "the metadata holds the Python version; say `make chapters`"
    for cell in notebook.cells:
        for key in TIMING_METADATA:
            if key in cell.metadata:
                yield f"{_name(notebook, cell)} has {key!r} metadata; say `make chapters`"


def has_no_live_widgets(notebook: NotebookNode) -> Complaints:
    """Of a widget only its ``text/html`` is stored: the rest has random ids and needs a kernel."""
    if "widgets" in notebook.metadata:
        yield "the metadata holds widget state; say `make chapters`"
    for cell, output in _outputs(notebook):
        if WIDGET_VIEW in output.get("data", {}):
            yield f"{_name(notebook, cell)} stores a live widget; say `make chapters`"


def has_no_machine_paths(notebook: NotebookNode) -> Complaints:
    """No path or memory address of the machine that a notebook ran on."""
    for cell in notebook.cells:
        for text in [cell.source, *_output_texts(cell)]:
            for match in MACHINE_PATH.finditer(text):
                yield f"{_name(notebook, cell)} has the path {match[0]!r}"
    for cell in _code_cells(notebook):
        for text in _output_texts(cell):
            for match in ADDRESS.finditer(text):
                yield f"{_name(notebook, cell)} prints the memory address{match[0]!r}"


def has_readable_directives(notebook: NotebookNode) -> Complaints:
    """Directives use ``:::``, whose content Colab shows as text; backticks show it as raw code."""
    for cell in _markdown_cells(notebook):
        for match in BACKTICK_DIRECTIVE.finditer(cell.source):
            yield f"{_name(notebook, cell)} has {match[0].strip()!r}; write :::{{…}} instead"


def has_no_filler(notebook: NotebookNode) -> Complaints:
    """No sentence announces what the next one does."""
    for cell in _markdown_cells(notebook):
        for match in FILLER.finditer(cell.source):
            yield f"{_name(notebook, cell)} says {match[0]!r}; say the thing itself"


def is_compared_by_nbval(notebook: NotebookNode) -> Complaints:
    """Cells are left out of the comparison only by the tag ``nbval-ignore-output``."""
    for cell in _code_cells(notebook):
        for tag in sorted(NBVAL_SKIPS.intersection(_tags(cell))):
            yield f"{_name(notebook, cell)} has the tag {tag!r}"
        for match in NBVAL_COMMENT.finditer(cell.source):
            yield f"{_name(notebook, cell)} has the comment {match[0].strip()!r}"


CHECKS: tuple[Callable[[NotebookNode], Complaints], ...] = (
    is_valid,
    is_executed_in_order,
    has_no_errors,
    has_short_cells,
    has_narrow_code,
    has_alt_texts,
    has_no_timing_metadata,
    has_no_live_widgets,
    has_no_machine_paths,
    has_readable_directives,
    has_no_filler,
    is_compared_by_nbval,
)


def exercises_are_complete(
    chapter: NotebookNode, solutions: NotebookNode | None, known: set[str]
) -> Complaints:
    """A chapter's exercises have their three cells, a name that `check` knows, and a solution.

    The group of an exercise is a Markdown cell with the task, a code cell with the stub and a code
    cell that calls ``check``, one after the other, all tagged ``exercise:NAME``. The solutions
    page, and only that, has a code cell tagged ``solution:NAME``.

    Args:
        chapter: the chapter.
        solutions: its page of worked solutions, or ``None`` if there is none.
        known: the names of the chapter's exercises in `lmcourse.exercises`.
    """
    groups = _tagged(chapter, "exercise")
    solved = _tagged(solutions, "solution") if solutions else {}
    for name in sorted(_tagged(chapter, "solution")):
        yield f"the chapter holds the solution of {name}; it belongs on the solutions page"
    for name in sorted(_tagged(solutions, "exercise") if solutions else {}):
        yield f"the solutions page holds the exercise {name}; it belongs into the chapter"
    for name in sorted(known - groups.keys()):
        yield f"no cell is tagged exercise:{name}, though lmcourse.exercises has it"
    for name in sorted(solved.keys() - groups.keys()):
        yield f"the solutions page solves {name}, which is no exercise of the chapter"
    for name, cells in groups.items():
        if name not in known:
            yield f"exercise:{name} is not known to lmcourse.exercises"
        yield from _complaints_about_group(chapter, name, cells)
        if not any(cell.cell_type == "code" for cell in solved.get(name, [])):
            yield f"exercise:{name} has no code cell tagged solution:{name} on the solutions page"


def _complaints_about_group(
    chapter: NotebookNode, name: str, cells: list[NotebookNode]
) -> Complaints:
    kinds = [cell.cell_type for cell in cells]
    if kinds != ["markdown", "code", "code"]:
        yield f"exercise:{name} must be a task (markdown), a stub and a check (code), got {kinds}"
        return
    places = [chapter.cells.index(cell) for cell in cells]
    if places != list(range(places[0], places[0] + 3)):
        yield f"the cells of exercise:{name} do not follow each other"
    if not re.search(rf"""\bcheck\(\s*["']{re.escape(name)}["']""", cells[-1].source):
        yield f'the last cell of exercise:{name} does not call check("{name}", …)'


def _tagged(notebook: NotebookNode, kind: str) -> dict[str, list[NotebookNode]]:
    """Return the cells tagged ``kind:NAME`` by name."""
    groups: dict[str, list[NotebookNode]] = {}
    for cell in notebook.cells:
        for tag in _tags(cell):
            if tag.startswith(f"{kind}:"):
                groups.setdefault(tag.removeprefix(f"{kind}:"), []).append(cell)
    return groups


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _markdown_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def _outputs(notebook: NotebookNode) -> Iterator[tuple[NotebookNode, NotebookNode]]:
    for cell in _code_cells(notebook):
        for output in cell.outputs:
            yield cell, output


def _output_texts(cell: NotebookNode) -> Iterator[str]:
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        for kind, content in output.get("data", {}).items():
            if kind.startswith("text/") or kind == "image/svg+xml":
                yield content


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _name(notebook: NotebookNode, cell: NotebookNode) -> str:
    first_line = cell.source.strip().partition("\n")[0]
    return f"cell {notebook.cells.index(cell) + 1} ({first_line[:40]!r})"


def _says_little(alt: str) -> bool:
    return len(alt.strip()) < SHORTEST_ALT


def _alts_of_html(html: str) -> list[str]:
    matches = [HTML_ALT.search(image[0]) for image in HTML_IMAGE.finditer(html)]
    return [match["alt"] if match else "" for match in matches]


def _option(body: str, name: str) -> str:
    match = re.search(rf"^\s*:{name}:(.*)$", body, re.MULTILINE)
    return match[1] if match else ""
