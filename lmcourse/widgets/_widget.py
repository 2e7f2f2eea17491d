"""What all widgets share: how they are shown, stored and escaped."""

from __future__ import annotations

import html
import json
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import anywidget

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
    """Return the ES module ``name.js`` and the style sheet ``name.css`` of this folder."""
    return (
        (FOLDER / f"{name}.js").read_text(encoding="utf-8"),
        (FOLDER / f"{name}.css").read_text(encoding="utf-8"),
    )


def json_for_html(value: Any) -> str:
    """Return ``value`` as compact JSON that can stand inside an HTML ``<script>``.

    Every ``<`` is escaped, so no string in it can close the script or open a comment.

    Raises:
        ValueError: ``value`` holds NaN or an infinity, which JSON does not know.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


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
