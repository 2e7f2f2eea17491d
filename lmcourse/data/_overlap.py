"""Find long passages that two sets of texts share, so that a split can be kept from leaking."""

from __future__ import annotations

import bisect
import itertools
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

    A passage is a run of at least `PASSAGE` characters that is equal once whitespace is folded. It
    may span several paragraphs; then all of them go. A text may come back empty.
    """
    kept = [[p for p in text.split("\n\n") if p.strip()] for text in texts]
    others = [fold(other) for other in others]
    while shared := _shared_paragraphs(kept, others):
        kept = [
            [paragraph for j, paragraph in enumerate(paragraphs) if (i, j) not in shared]
            for i, paragraphs in enumerate(kept)
        ]
    return ["\n\n".join(paragraphs) for paragraphs in kept]


def _shared_paragraphs(texts: list[list[str]], others: list[str]) -> set[tuple[int, int]]:
    """Return (text, paragraph) for each paragraph that a shared passage touches."""
    folded = [[fold(paragraph) for paragraph in paragraphs] for paragraphs in texts]
    joined = [" ".join(paragraphs) for paragraphs in folded]
    # Where in the joined text each paragraph starts; one space stands between two of them.
    starts = [
        list(itertools.accumulate((len(p) + 1 for p in paragraphs), initial=0))
        for paragraphs in folded
    ]
    blocks = _aligned_blocks(joined)
    shared: set[tuple[int, int]] = set()
    for other in others:
        for there in range(len(other) - _BLOCK + 1):
            for i, here in blocks.get(other[there : there + _BLOCK], ()):
                first, end = _common_run(joined[i], here, other, there)
                if end - first >= PASSAGE:
                    # The space between two paragraphs belongs to neither.
                    first += joined[i][first] == " "
                    touched_from = bisect.bisect_right(starts[i], first) - 1
                    touched_to = bisect.bisect_left(starts[i], end)
                    shared.update((i, j) for j in range(touched_from, touched_to))
    return shared


def _aligned_blocks(texts: list[str]) -> dict[str, list[tuple[int, int]]]:
    """Map each block of `_BLOCK` characters at a multiple of `_BLOCK` to its (text, offset)s.

    Wherever a run of `PASSAGE` characters starts, it covers such a block, so looking up blocks
    misses no passage.
    """
    blocks = defaultdict(list)
    for i, text in enumerate(texts):
        for offset in range(0, len(text) - _BLOCK + 1, _BLOCK):
            blocks[text[offset : offset + _BLOCK]].append((i, offset))
    return blocks


def _common_run(text: str, here: int, other: str, there: int) -> tuple[int, int]:
    """Return start and end in ``text`` of the longest common run around equal blocks."""
    back = 0
    while back < min(here, there) and text[here - back - 1] == other[there - back - 1]:
        back += 1
    ahead = _BLOCK
    room = min(len(text) - here, len(other) - there)
    while ahead < room and text[here + ahead] == other[there + ahead]:
        ahead += 1
    return here - back, here + ahead
