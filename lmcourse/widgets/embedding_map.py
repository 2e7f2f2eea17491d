"""EmbeddingMap: words on a map, with their neighbours and analogies in the whole space."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets
from jaxtyping import Float

from lmcourse._arguments import integer, one_of, text
from lmcourse.widgets._widget import Widget, script_and_style, table, visible
from lmcourse.word_vectors import ANALOGY_METHODS, WordVectors

SMALLEST_MAP = 3
DEFAULT_WORDS = 500
LARGEST_MAP = 1000
MOST_GROUPS = 6  # colours that colour-blind readers can tell apart
MOST_NEIGHBOURS = 50
LARGEST_CODE = 127
DECIMALS = 4
DECIMALS_OF_SHARES = 3
METHOD_NAMES = {"add": "3CosAdd", "mul": "3CosMul"}
ROWS_OF_SUMMARY = 10
STORED = ("words", "codes", "coordinates", "variance", "groups", "neighbours")
SETTINGS = ("selected", "analogy", "method")


class EmbeddingMap(Widget):
    """A map of words that shows each one's nearest words, and draws analogies.

    The map is the plane of the first two principal components of the words' unit vectors. It holds
    a small part of their variance, which the view states, so nearest words and analogies are
    computed in all dimensions, among the words drawn, as :class:`lmcourse.word_vectors.WordVectors`
    computes them. A word is looked at with the mouse, by the arrow keys or by its name; an analogy
    a - b + c is drawn as the arrows from b to a and from c to its answer, beside the place that
    a - b + c itself has on the map.

    With a kernel the attributes ``selected``, ``analogy`` and ``method`` follow the page, and
    setting one changes the page. In the built book the page does the same arithmetic itself.

    All of it, ``nearest`` too, is computed with rounded vectors: each is divided by its largest
    entry and kept in 8 bits a number. With 500 of the shipped vectors of 100 dimensions this moves
    no cosine by more than 0.01 and most by about 0.001, and it changes about 1 in 100 of the ten
    nearest words; the page grows by some 80 kB. The rounding goes entry by entry, so the stored
    bytes are the same on every machine whenever the vectors are; the map's coordinates are rounded
    to 4 decimals for the same reason.

    Equations: eq-glove-cosine, eq-glove-3cosadd, eq-glove-3cosmul

    Args:
        vectors: the word vectors, of at least two dimensions.
        words: those to draw, between 3 and 1000; ``None`` draws the first 500.
        neighbours: how many nearest words are listed.
        groups: names and words of up to six groups, to be drawn in colours and shapes of their own.
        selected: the word whose neighbours are shown at first, or ``None``.
        analogy: the words (a, b, c) of the analogy that is shown at first, or ``None``.
        method: what ranks an analogy's answers, ``"add"`` (3CosAdd) or ``"mul"`` (3CosMul).

    Attributes:
        words: the words drawn.
        coordinates: each word's place on the map.
        variance: each axis's share of the variance of the words' unit vectors.
        groups, neighbours: as given.
        codes: the rounded vectors, one signed byte a number, row by row, in base64.
        selected: the word looked at, or ``None``; can be set, and then clears ``analogy``.
        analogy: the analogy shown, or ``None``; can be set, and then clears ``selected``.
        method: as given; can be set.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the vectors have one dimension; there are fewer than 3 words to draw or more
            than 1000, one is given twice or has no vector; there are too many groups, or two share
            a word; ``selected`` and ``analogy`` are both given; a word to show is not drawn.
    """

    _esm, _css = script_and_style("embedding_map")

    words = traitlets.Any(read_only=True).tag(sync=True)
    codes = traitlets.Any(read_only=True).tag(sync=True)
    coordinates = traitlets.Any(read_only=True).tag(sync=True)
    variance = traitlets.Any(read_only=True).tag(sync=True)
    groups = traitlets.Any(read_only=True).tag(sync=True)
    neighbours = traitlets.Any(read_only=True).tag(sync=True)
    selected = traitlets.Any(None).tag(sync=True)
    analogy = traitlets.Any(None).tag(sync=True)
    # Unlike Any, whose None no validator sees.
    method = traitlets.TraitType("add").tag(sync=True)

    def __init__(
        self,
        vectors: WordVectors,
        words: Sequence[str] | None = None,
        *,
        neighbours: int = 10,
        groups: Mapping[str, Sequence[str]] | None = None,
        selected: str | None = None,
        analogy: Sequence[str] | None = None,
        method: str = "add",
    ):
        if not isinstance(vectors, WordVectors):
            raise TypeError(f"vectors must be WordVectors, got {type(vectors).__name__}")
        if vectors.vectors.shape[1] < 2:
            raise ValueError("vectors must have at least 2 dimensions, got 1")
        if selected is not None and analogy is not None:
            raise ValueError("selected and analogy must not both be given: one of them is shown")
        words = _checked_words(words, vectors)
        codes = _codes(vectors.vectors[[vectors.index[word] for word in words]])
        self._drawn = WordVectors(words, codes)
        coordinates, variance = _map(self._drawn.unit)
        stored = {
            "words": words,
            "codes": base64.b64encode(codes.astype(np.int8).tobytes()).decode("ascii"),
            "coordinates": coordinates,
            "variance": variance,
            "groups": _checked_groups(groups or {}, self._drawn),
            "neighbours": integer("neighbours", neighbours, at_least=1, at_most=MOST_NEIGHBOURS),
        }
        for name, value in stored.items():
            self.set_trait(name, value)
        super().__init__(selected=selected, analogy=analogy, method=method)

    @property
    def nearest(self) -> list[tuple[str, float]]:
        """The words that are listed at present, and their cosines or scores.

        They are the nearest of ``selected`` or the answers to ``analogy``; without either, none.
        """
        if self.selected is not None:
            return self._drawn.most_similar(self.selected, top=self.neighbours)
        if self.analogy is not None:
            return self._drawn.analogy(*self.analogy, method=self.method, top=self.neighbours)
        return []

    def page_state(self) -> dict[str, Any]:
        """Return the state that the built page draws the widget from."""
        return {name: getattr(self, name) for name in (*STORED, *SETTINGS)}

    def summary(self) -> str:
        """Return the words listed at present, or some words' nearest, without JavaScript."""
        if self.nearest:
            kind = "Score" if self.analogy and self.method == "mul" else "Cosine"
            rows = [(visible(word), f"{score:.2f}") for word, score in self.nearest]
            shown = table(("Word", kind), rows)
        else:
            rows = [
                (
                    visible(word),
                    ", ".join(visible(w) for w, _ in self._drawn.most_similar(word, top=3)),
                )
                for word in self.words[:ROWS_OF_SUMMARY]
            ]
            shown = table(("Word", "Nearest words"), rows)
        return f"<p>{html.escape(self._sentences())}</p>{shown}"

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in SETTINGS)
        return f"EmbeddingMap({len(self.words)} words, {settings})"

    def _sentences(self) -> str:
        """Say what the map holds and what is listed, in the page's words."""
        dimensions = self._drawn.vectors.shape[1]
        return (
            f"A map of {len(self.words)} words. Its two axes hold {sum(self.variance):.1%} of the "
            f"words’ variance in {dimensions} dimensions; nearest words are found in all of these."
            f"{self._query()}"
        )

    def _query(self) -> str:
        if self.selected is not None:
            return f" Nearest to {_quoted(self.selected)}:"
        if self.analogy is not None:
            a, b, c = map(_quoted, self.analogy)
            return f" Nearest to {a} − {b} + {c}, by {METHOD_NAMES[self.method]}:"
        return ""

    @traitlets.validate("selected")
    def _validate_selected(self, proposal: Any) -> str | None:
        if proposal.value is None:
            return None
        return self._checked_word("selected", proposal.value)

    @traitlets.validate("analogy")
    def _validate_analogy(self, proposal: Any) -> tuple[str, ...] | None:
        analogy = proposal.value
        if analogy is None:
            return None
        if not isinstance(analogy, Sequence) or isinstance(analogy, str) or len(analogy) != 3:
            raise ValueError(
                f"analogy must be three words (a, b, c) for a - b + c, or None, got {analogy!r:.80}"
            )
        return tuple(self._checked_word(f"analogy[{i}]", word) for i, word in enumerate(analogy))

    @traitlets.validate("method")
    def _validate_method(self, proposal: Any) -> str:
        return one_of("method", proposal.value, ANALOGY_METHODS)

    @traitlets.observe("selected")
    def _show_the_word_alone(self, change: Any) -> None:
        if change.new is not None:
            self.analogy = None

    @traitlets.observe("analogy")
    def _show_the_analogy_alone(self, change: Any) -> None:
        if change.new is not None:
            self.selected = None

    def _checked_word(self, name: str, word: Any) -> str:
        word = text(name, word)
        if word not in self._drawn:
            raise ValueError(
                f"{name} must be one of the {len(self.words)} words drawn, got {word!r}"
            )
        return word


def _checked_words(words: Any, vectors: WordVectors) -> list[str]:
    if words is None:
        words = vectors.words[:DEFAULT_WORDS]
    if isinstance(words, str):
        raise TypeError(f"words must be a sequence of strings, got the string {words!r:.60}")
    words = [text(f"words[{i}]", word) for i, word in enumerate(words)]
    if not SMALLEST_MAP <= len(words) <= LARGEST_MAP:
        raise ValueError(
            f"words must be {SMALLEST_MAP} to {LARGEST_MAP} words to draw, got {len(words)}"
        )
    missing = [word for word in words if word not in vectors]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        named = ", ".join(map(repr, missing[:5]))
        raise ValueError(f"words must have vectors, got none for {named}{more}")
    return words


def _checked_groups(groups: Any, drawn: WordVectors) -> dict[str, list[str]]:
    if not isinstance(groups, Mapping):
        raise TypeError(f"groups must map names to words, got {type(groups).__name__}")
    if len(groups) > MOST_GROUPS:
        raise ValueError(f"groups must be at most {MOST_GROUPS}, got {len(groups)}")
    group_of: dict[str, str] = {}
    for group, members in groups.items():
        text("a group's name", group, allow_empty=False)
        if isinstance(members, str):
            raise TypeError(f"groups[{group!r}] must be a sequence of words, got {members!r:.60}")
        for word in members:
            if word not in drawn:
                raise ValueError(f"groups[{group!r}] must hold words that are drawn, got {word!r}")
            if word in group_of:
                raise ValueError(
                    f"groups must not share a word, got {word!r} "
                    f"in {group_of[word]!r} and {group!r}"
                )
            group_of[word] = group
    return {group: list(members) for group, members in groups.items()}


def _codes(vectors: Float[np.ndarray, "words dim"]) -> Float[np.ndarray, "words dim"]:
    """Return each vector, divided by its largest entry, as whole numbers from -127 to 127."""
    vectors = vectors.astype(np.float64)
    # Nothing is summed here: sums would differ in their last bits from machine to machine.
    return np.rint(vectors / np.abs(vectors).max(axis=1, keepdims=True) * LARGEST_CODE)


def _map(unit: Float[np.ndarray, "words dim"]) -> tuple[list[list[float]], list[float]]:
    """Return the words' places on their first two principal axes, and these axes' shares.

    The word that lies furthest out along an axis lies on its positive side.
    """
    left, scale, _ = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    variance = scale**2
    if variance.sum() < 1e-9:
        raise ValueError("vectors must not all point the same way: such words have no map")
    places = np.round(left[:, :2] * scale[:2], DECIMALS)
    # Of rounded numbers, so that words equally far out are told apart alike on every machine.
    furthest = np.take_along_axis(places, np.abs(places).argmax(axis=0)[None], axis=0)
    places = places * np.where(furthest < 0, -1, 1) + 0.0  # no -0.0
    return places.tolist(), np.round(variance[:2] / variance.sum(), DECIMALS_OF_SHARES).tolist()


def _quoted(word: str) -> str:
    return f"“{visible(word)}”"
