"""Notebooks for the tests: where the book's are, and how to make small ones."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))


def code(source: str, *, outputs: list[NotebookNode] | None = None, **metadata) -> NotebookNode:
    """Return a code cell; without an id, which `notebook` gives."""
    outputs = [nbformat.from_dict(output) for output in outputs or []]
    return v4.new_code_cell(source, outputs=outputs, metadata=metadata)


def markdown(source: str, **metadata) -> NotebookNode:
    """Return a Markdown cell; without an id, which `notebook` gives."""
    return v4.new_markdown_cell(source, metadata=metadata)


def notebook(*cells: NotebookNode | str) -> NotebookNode:
    """Return a notebook with ids 1, 2, 3 …, its code cells executed in order; strings are code."""
    cells = [code(cell) if isinstance(cell, str) else cell for cell in cells]
    count = 0
    for number, cell in enumerate(cells, start=1):
        cell.id = str(number)
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
    return v4.new_notebook(cells=cells)


def write(path: Path, *cells: NotebookNode | str) -> Path:
    """Write a notebook of these cells and return its path."""
    nbformat.write(notebook(*cells), path)
    return path
