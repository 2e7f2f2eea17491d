"""What all widgets share: how they are shown, stored, checked and escaped."""

from __future__ import annotations

import html
import json
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import anywidget

from lmcourse._arguments import text

FOLDER = Path(__file__).parent
_VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "": "∅"}


class Widget(anywidget.AnyWidget):
    """A widget that draws itself in Jupyter and, from its stored output, in the built book.

    The output holds the live view for a notebook with a kernel, and HTML with the state as JSON and
    a readable summary for every other place. The HTML depends on the state alone: the same state
    gives the same bytes on every machine.

    A subclass sets ``_esm`` and ``_css`` and says what is stored: ``page_state`` and ``summary``.
    """

    def page_state(self) -> dict[str, Any]:
        """Return the state that the built page draws the widget from, ready for JSON."""
        raise NotImplementedError

    def summary(self) -> str:
        """Return HTML for readers without JavaScript."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**options)
        return {**data, "text/html": self._html()}, metadata

    def _html(self) -> str:
        kind = type(self).__name__
        return (
            # MathJax leaves elements of these two classes alone: a token may look like TeX.
            f'<div class="lmcourse-widget mathjax_ignore tex2jax_ignore" data-kind="{kind}">'
            f'<script type="application/json">{json_for_html(self.page_state())}</script>'
            f"{self.summary()}</div>"
        )


def script_and_style(name: str) -> tuple[str, str]:
    """Return a widget's ES module and its style sheet, as Jupyter needs them.

    They are the files ``name.js`` and ``name.css`` of this folder, each after what all widgets
    share, ``_widget.js`` and ``_widget.css``.
    """

    def read(kind: str) -> str:
        files = (FOLDER / f"{part}.{kind}" for part in ("_widget", name))
        return "\n".join(file.read_text(encoding="utf-8") for file in files)

    return read("js"), read("css")


def json_for_html(value: Any) -> str:
    """Return ``value`` as compact JSON that can stand inside an HTML ``<script>``.

    Every ``<`` is escaped, so no string in it can close the script or open a comment.

    Raises:
        ValueError: ``value`` holds NaN or an infinity, which JSON does not know.
    """
    compact = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return compact.replace("<", "\\u003c")


def texts(name: str, values: Iterable[Any], count: int, *, each: str) -> list[str]:
    """Return ``values`` as a list of ``count`` strings, one for each of what ``each`` names.

    Raises:
        TypeError: ``values`` is a string, or holds something else than strings.
        ValueError: a string is not valid Unicode, or there are more or fewer than ``count``.
    """
    if isinstance(values, str):
        raise TypeError(f"{name} must be a sequence of strings, got the string {values!r:.60}")
    values = [text(f"{name}[{i}]", value) for i, value in enumerate(values)]
    if len(values) != count:
        raise ValueError(f"{name} must be {count} strings, one for each {each}, got {len(values)}")
    return values


def visible(token: str) -> str:
    """Return ``token`` with its blanks and invisible characters made visible.

    A space becomes ␣, a line feed ⏎, a tab ⇥ and an empty token ∅; other blanks, control and
    formatting characters are given by number, such as U+200B.
    """
    if not token:
        return _VISIBLE[""]
    return "".join(_VISIBLE.get(c) or _by_number(c) for c in token)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an HTML table; every cell is text, the first of each row its heading."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _by_number(character: str) -> str:
    # Unicode's categories C (control, format, unassigned …) and Z (separators).
    hidden = unicodedata.category(character)[0] in "CZ"
    return f"U+{ord(character):04X}" if hidden else character
