"""Find long passages that two sets of texts share, so that a split can be kept from leaking."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Sequence

PASSAGE = 100
"""Characters, whitespace folded, from which on a shared run counts as a passage."""

_BLOCK = PASSAGE // 2


def fold(text: str) -> str:
    """Return the text with every run of whitespace as one space."""
    return " ".join(text.split())


def without_shared_passages(texts: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return each text without the paragraphs that share a passage with one of ``others``.

    A passage is a run of at least `PASSAGE` characters that is equal once whitespace is folded; it
    may span several paragraphs, and then all of them go. A text may come back empty.
    """
    index = _index_blocks(others)
    cleaned = []
    for text in texts:
        paragraphs = [p for p in text.split("\n\n") if p.strip()]
        while shared := _shared_paragraphs(paragraphs, index):
            paragraphs = [p for i, p in enumerate(paragraphs) if i not in shared]
        cleaned.append("\n\n".join(paragraphs))
    return cleaned


def _index_blocks(texts: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    """Map each aligned block of the folded texts to the places where it stands.

    A run of `PASSAGE` characters covers an aligned block of half that length wherever it starts,
    so looking up blocks misses no passage.
    """
    index = defaultdict(list)
    for text in map(fold, texts):
        for start in range(0, len(text) - _BLOCK + 1, _BLOCK):
            index[text[start : start + _BLOCK]].append((text, start))
    return index


def _shared_paragraphs(paragraphs: list[str], index: dict[str, list[tuple[str, int]]]) -> set[int]:
    """Return the numbers of the paragraphs that a shared passage touches."""
    folded = [fold(paragraph) for paragraph in paragraphs]
    starts = [0]
    for paragraph in folded:
        starts.append(starts[-1] + len(paragraph) + 1)
    text = " ".join(folded)
    shared: set[int] = set()
    for here in range(len(text) - _BLOCK + 1):
        for other, there in index.get(text[here : here + _BLOCK], ()):
            first, last = _extend(text, here, other, there)
            if last - first >= PASSAGE:
                touched = bisect.bisect_right(starts, first), bisect.bisect_right(starts, last - 1)
                shared.update(range(touched[0] - 1, touched[1]))
    return shared


def _extend(text: str, here: int, other: str, there: int) -> tuple[int, int]:
    """Grow the block that stands at ``here`` and ``there`` to the longest common run in ``text``."""
    back = 0
    while back < min(here, there) and text[here - back - 1] == other[there - back - 1]:
        back += 1
    ahead = _BLOCK
    room = min(len(text) - here, len(other) - there)
    while ahead < room and text[here + ahead] == other[there + ahead]:
        ahead += 1
    return here - back, here + ahead
