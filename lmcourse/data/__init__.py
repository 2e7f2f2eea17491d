"""Texts to train on, word vectors that were trained elsewhere, and sets to evaluate with.

>>> corpus = load_corpus("austen").work("Pride and Prejudice")
>>> train, validation, held_out = corpus.split()
>>> words, vectors = load_word_vectors()
>>> train, validation, test = load_spam()

Nothing here needs more than numpy. `README.md` beside this file says where the texts and vectors
that ship with the package come from and what was changed; `build.py` rebuilds their files.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float16

from lmcourse.data._overlap import without_shared_passages
from lmcourse.data._shipped import FOLDER, DataFileError, read_content
from lmcourse.data.evaluation_sets import WORD_PAIRS, WordPair, load_analogies, load_word_pairs
from lmcourse.data.spam import Messages, SpamSplit, load_spam

__all__ = [
    "CORPORA",
    "WORD_PAIRS",
    "Chapter",
    "Corpus",
    "DataFileError",
    "Messages",
    "SpamSplit",
    "Split",
    "WordPair",
    "load_analogies",
    "load_corpus",
    "load_spam",
    "load_word_pairs",
    "load_word_vectors",
]

CORPORA = {
    "alice": "Lewis Carroll",
    "austen": "Jane Austen",
    "moby-dick": "Herman Melville",
    "shakespeare": "William Shakespeare",
}
"""The names that `load_corpus` takes, and the author of each corpus."""


@dataclass(frozen=True)
class Chapter:
    """A chapter of a novel, a scene of a play, or a poem.

    Attributes:
        work: title of the novel, play or collection, e.g. ``"Emma"``.
        title: e.g. ``"Volume 1, Chapter 3"`` or ``"Act 1, Scene 2. A Street."``.
        text: paragraphs of one line each, speeches and stanzas line by line; a blank line between
            any two of them, none at either end.
    """

    work: str
    title: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """Chapters of one author, in reading order.

    Attributes:
        name: what `load_corpus` was called with.
        author: e.g. ``"Jane Austen"``.
        chapters: all chapters of all works.
    """

    name: str
    author: str
    chapters: tuple[Chapter, ...]

    @property
    def text(self) -> str:
        """All chapters joined by blank lines, without their titles."""
        return "\n\n".join(chapter.text for chapter in self.chapters)

    @property
    def works(self) -> tuple[str, ...]:
        """Titles of the works, in order."""
        return tuple(dict.fromkeys(chapter.work for chapter in self.chapters))

    def work(self, title: str) -> Corpus:
        """Return the corpus that holds the work with this ``title`` alone.

        Raises:
            ValueError: there is no such work; the message lists the titles.
        """
        self._check_title(title)
        return replace(self, chapters=tuple(c for c in self.chapters if c.work == title))

    def without(self, title: str) -> Corpus:
        """Return the corpus that holds every work but the one with this ``title``.

        Raises:
            ValueError: there is no such work; the message lists the titles.
        """
        self._check_title(title)
        return replace(self, chapters=tuple(c for c in self.chapters if c.work != title))

    def split(self, *, validation: float = 0.1, held_out: float = 0.1) -> Split:
        """Split into train, validation and held-out parts that share no passage.

        The last chapters of each work are held out, as many as come closest to ``held_out`` of its
        characters; those before them become validation in the same way. A work of fewer than three
        chapters goes to train whole. Authors repeat themselves (a sonnet of a play is printed again
        among the poems), so paragraphs of train that share a run of 100 characters with validation
        or held-out, whitespace folded, are left out of train, and likewise those of validation that
        recur in held-out.

        Args:
            validation: share of each work's characters, in (0, 1).
            held_out: the same; the two together must leave at least one chapter for train.

        Returns:
            The three parts, each a `Corpus`. The same call always gives the same parts.

        Raises:
            ValueError: a share is not in (0, 1), the two do not leave room for train, or no work
                has three chapters.
        """
        for name, share in (("validation", validation), ("held_out", held_out)):
            if not 0 < share < 1:
                raise ValueError(f"{name} must be a number in (0, 1), got {share}")
        if validation + held_out >= 1:
            raise ValueError(
                f"validation + held_out must be < 1 to leave text for train, "
                f"got {validation} + {held_out}"
            )
        parts: tuple[list[Chapter], ...] = ([], [], [])
        for title in self.works:
            chapters = self.work(title).chapters
            for part, piece in zip(parts, _split_work(chapters, validation, held_out), strict=True):
                part.extend(piece)
        train, validating, holding = parts
        if not holding:
            raise ValueError(
                f"split needs a work of at least 3 chapters, got {len(self.chapters)} in "
                f"{', '.join(self.works)}"
            )
        validating = _without_passages_of(validating, holding)
        train = _without_passages_of(train, validating + holding)
        return Split(*(replace(self, chapters=tuple(p)) for p in (train, validating, holding)))

    def _check_title(self, title: str) -> None:
        if title not in self.works:
            raise ValueError(
                f"title must be one of {', '.join(map(repr, self.works))}, got {title!r}"
            )

    def __repr__(self) -> str:
        return (
            f"Corpus({self.name!r}, {len(self.works)} works, {len(self.chapters)} chapters, "
            f"{len(self.text):,} characters)"
        )


class Split(NamedTuple):
    """What `Corpus.split` returns; it unpacks into three corpora.

    Attributes:
        train: most chapters of each work, to fit models to.
        validation: chapters after those, to choose between models.
        held_out: the last chapters, to measure the chosen model once.
    """

    train: Corpus
    validation: Corpus
    held_out: Corpus


def load_corpus(name: str) -> Corpus:
    """Load a corpus that ships with the package.

    Args:
        name: ``"alice"``, ``"austen"``, ``"moby-dick"`` or ``"shakespeare"``.

    Returns:
        The corpus, its chapters in reading order.

    Raises:
        ValueError: there is no such corpus; the message lists the names.
        DataFileError: the file is missing or its checksum is wrong.
    """
    if not isinstance(name, str) or name not in CORPORA:
        raise ValueError(f"name must be one of {', '.join(map(repr, CORPORA))}, got {name!r}")
    lines = read_content(f"{name}.jsonl.xz", FOLDER).splitlines()
    chapters = tuple(Chapter(**json.loads(line)) for line in lines)
    return Corpus(name, CORPORA[name], chapters)


def load_word_vectors() -> tuple[tuple[str, ...], Float16[np.ndarray, "10000 100"]]:
    """Load the vectors that Stanford trained with GloVe, of the 10,000 most frequent words.

    The words are in lower case, most frequent first; 39 of them are punctuation or hold a sign or a
    figure ("well-known"). The package that the vectors come from left some tokens out, frequent
    ones too: letters on their own (so "a" and "i"), numbers, "'s", "n't", "u.s.".

    Returns:
        The words and their vectors, [10000, 100], row i of word i.

    Raises:
        DataFileError: the file is missing or its checksum is wrong.

    Source: Pennington, Socher and Manning (2014), "GloVe: Global Vectors for Word Representation".
    """
    table = np.load(io.BytesIO(read_content("glove.npy.xz", FOLDER)))
    return tuple(table["word"].tolist()), np.ascontiguousarray(table["vector"])


def _split_work(
    chapters: tuple[Chapter, ...], validation: float, held_out: float
) -> tuple[tuple[Chapter, ...], ...]:
    """Cut one work's chapters into train, validation and held-out, in reading order."""
    if len(chapters) < 3:
        return chapters, (), ()
    total = sum(len(chapter.text) for chapter in chapters)
    end = _tail(chapters, held_out * total, leave=2)
    middle = _tail(chapters[:end], validation * total, leave=1)
    return chapters[:middle], chapters[middle:end], chapters[end:]


def _tail(chapters: tuple[Chapter, ...], wanted: float, *, leave: int) -> int:
    """Return where the tail starts whose length is closest to ``wanted`` characters.

    The tail has at least one chapter, and ``leave`` chapters stay before it.
    """
    start = len(chapters) - 1
    length = len(chapters[start].text)
    while start > leave:
        longer = length + len(chapters[start - 1].text)
        if abs(longer - wanted) >= abs(length - wanted):
            break
        start, length = start - 1, longer
    return start


def _without_passages_of(chapters: list[Chapter], others: list[Chapter]) -> list[Chapter]:
    """Drop the paragraphs of ``chapters`` that share a long passage with ``others``."""
    texts = without_shared_passages([c.text for c in chapters], [c.text for c in others])
    kept = zip(chapters, texts, strict=True)
    return [replace(chapter, text=text) for chapter, text in kept if text]
