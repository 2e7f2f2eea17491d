"""Word vectors at work: neighbours, analogies, and how well they agree with people.

Any table of words and vectors will do, trained here or elsewhere::

    vectors = WordVectors(*load_word_vectors())
    vectors.most_similar("whale")
    vectors.analogy("king", "man", "woman")
"""

from __future__ import annotations

import difflib
import itertools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lmcourse import _arguments, _files

ANALOGY_METHODS = ("add", "mul")
_EPSILON = 1e-3  # keeps 3CosMul's denominator above zero, as in Levy and Goldberg (2014)
_CHUNK = 128  # analogy questions answered at once


class WordVectors:
    """One vector for each word of a vocabulary.

    Attributes:
        words: the vocabulary; row i of ``vectors`` belongs to word i.
        vectors: float32 or float64, [vocab, dim].
        index: each word's row.
    """

    def __init__(self, words: Sequence[str], vectors: Float[np.ndarray, "vocab dim"]):
        """Keep ``words`` and their ``vectors``; half precision becomes float32.

        Raises:
            TypeError: a word is not a string, or the vectors are not numeric.
            ValueError: the two differ in number, a word is there twice, a vector is zero and so has
                no direction, or one holds NaN or infinity.
        """
        if isinstance(words, str):
            raise TypeError(f"words must be a sequence of strings, got the string {words!r:.60}")
        self.words = tuple(
            _arguments.text(f"words[{i}]", word, allow_empty=False) for i, word in enumerate(words)
        )
        if getattr(vectors, "dtype", None) == np.float16:
            vectors = vectors.astype(np.float32)
        self.vectors = _arguments.finite_array("vectors", vectors, ndim=2)
        if len(self.words) != len(self.vectors):
            raise ValueError(
                f"vectors must have a row for each of the {len(self.words)} words, "
                f"got shape {self.vectors.shape}"
            )
        self.index = {word: i for i, word in enumerate(self.words)}
        if len(self.index) < len(self.words):
            twice = next(word for i, word in enumerate(self.words) if self.index[word] != i)
            raise ValueError(f"words must be distinct, got {twice!r} twice")
        zero = ~self.vectors.any(axis=1)
        if zero.any():
            raise ValueError(f"vectors must not be zero, got that of {self.words[zero.argmax()]!r}")

    @cached_property
    def unit(self) -> Float[np.ndarray, "vocab dim"]:
        """The vectors scaled to length 1: a product of two rows is the cosine of their angle."""
        return self.vectors / np.linalg.norm(self.vectors, axis=1, keepdims=True)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.index

    def __getitem__(self, word: str) -> Float[np.ndarray, " dim"]:
        return self.vectors[self._row("word", word)]

    def __repr__(self) -> str:
        return f"WordVectors({len(self):,} words, {self.vectors.shape[1]} dimensions)"

    def similarity(self, first: str, second: str) -> float:
        """Return the cosine of the angle between two words' vectors, in [-1, 1].

        Equation: eq-glove-cosine

        Raises:
            KeyError: ``first`` or ``second`` is not in the vocabulary.
        """
        return float(self.unit[self._row("first", first)] @ self.unit[self._row("second", second)])

    def most_similar(
        self, word: str | Float[np.ndarray, " dim"], *, top: int = 10
    ) -> list[tuple[str, float]]:
        """Return the words whose vectors point most nearly the same way.

        Equation: eq-glove-cosine

        Args:
            word: a word, which is left out of the answer, or any vector.
            top: how many to return at most.

        Returns:
            Words and their cosines, the largest first.

        Raises:
            KeyError: the word is not in the vocabulary.
            ValueError: the vector has another number of dimensions or is zero, or ``top`` < 1.
        """
        if isinstance(word, str):
            row = self._row("word", word)
            return self._best(self.unit @ self.unit[row], {row}, top)
        vector = _arguments.finite_array("word", word, ndim=1)
        length = np.linalg.norm(vector)
        if len(vector) != self.vectors.shape[1] or length == 0:
            raise ValueError(
                f"word must be a word or a vector of {self.vectors.shape[1]} numbers, not all "
                f"zero, got one of shape {vector.shape} and length {length:g}"
            )
        return self._best(self.unit @ (vector / length).astype(self.unit.dtype), set(), top)

    def analogy(
        self, a: str, b: str, c: str, *, method: str = "add", top: int = 10
    ) -> list[tuple[str, float]]:
        """Return the words nearest to a - b + c: what is to c as a is to b.

        ``"add"`` (3CosAdd) ranks by the cosine with the sum of the three unit vectors.
        ``"mul"`` (3CosMul) multiplies and divides the three cosines, moved to [0, 1], so that one
        large term cannot outweigh the others.

        Equations: eq-glove-3cosadd, eq-glove-3cosmul

        Source: Mikolov, Yih and Zweig (2013), 3CosAdd; Levy and Goldberg (2014), 3CosMul.

        Args:
            a: the word to start from, as "king".
            b: the word to take away, as "man".
            c: the word to add, as "woman".
            method: ``"add"`` or ``"mul"``.
            top: how many words to return at most.

        Returns:
            Words and their scores, the largest first. The query words themselves are left out:
            without that rule more than half the answers to Google's questions would be a or c.

        Raises:
            KeyError: a query word is not in the vocabulary.
            ValueError: ``method`` is neither, or ``top`` < 1.
        """
        rows = [self._row(name, word) for name, word in zip("abc", (a, b, c), strict=True)]
        scores = self._analogy_scores(np.array([rows]), method)[0]
        return self._best(scores, set(rows), top)

    def save(self, path: str | os.PathLike) -> None:
        """Write the vectors to ``path`` as GloVe does: a line for each word, blanks between.

        gensim reads the file with ``KeyedVectors.load_word2vec_format(path, no_header=True)``.

        Raises:
            ValueError: a word holds whitespace, which the format cannot.
        """
        for word in self.words:
            if len(word.split()) != 1 or word != word.strip():
                raise ValueError(f"words must not hold whitespace in this format, got {word!r}")
        rows = zip(self.words, self.vectors, strict=True)
        lines = (f"{word} {' '.join(map(str, row))}\n" for word, row in rows)
        _files.write_text(path, "".join(lines))

    @classmethod
    def load(cls, path: str | os.PathLike, *, dtype: type = np.float32) -> WordVectors:
        """Read vectors of type ``dtype`` from ``path``, a file in GloVe's text format.

        Raises:
            ValueError: a line is no word and numbers, or has another number of numbers than the
                first; the message gives the line.
        """
        words, rows = [], []
        with Path(path).open(encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):
                word, *entries = line.rstrip("\n").split(" ")
                try:
                    rows.append(np.array(entries, dtype=dtype))
                except ValueError:
                    raise ValueError(f"{path}, line {number}: not a word and numbers") from None
                if len(rows[-1]) != len(rows[0]) or not entries:
                    raise ValueError(
                        f"{path}, line {number}: expected {len(rows[0]) or 'some'} numbers after "
                        f"the word, got {len(rows[-1])}"
                    )
                words.append(word)
        if not words:
            raise ValueError(f"{path} holds no vectors")
        return cls(words, np.stack(rows))

    def _row(self, name: str, word: str) -> int:
        try:
            return self.index[word]
        except (KeyError, TypeError):
            near = difflib.get_close_matches(str(word), self.words, n=3)
            hint = f"; near it: {', '.join(map(repr, near))}" if near else ""
            raise KeyError(
                f"{name} must be one of the {len(self):,} words, got {word!r}{hint}"
            ) from None

    def _best(self, scores: np.ndarray, excluded: set[int], top: int) -> list[tuple[str, float]]:
        top = _arguments.integer("top", top, at_least=1)
        scores = scores.copy()
        scores[list(excluded)] = -np.inf
        order = np.argsort(-scores, kind="stable")[: min(top, len(self) - len(excluded))]
        return [(self.words[i], float(scores[i])) for i in order]

    def _analogy_scores(self, rows: np.ndarray, method: str) -> np.ndarray:
        """Score every word, [questions, vocab], for questions given as rows (a, b, c)."""
        _arguments.one_of("method", method, ANALOGY_METHODS)
        a, b, c = (self.unit[column] for column in rows.T)
        if method == "add":
            wanted = a - b + c
            length = np.linalg.norm(wanted, axis=1, keepdims=True)
            return wanted / np.where(length == 0, 1, length) @ self.unit.T
        near_a, near_b, near_c = ((1 + x @ self.unit.T) / 2 for x in (a, b, c))
        return near_a * near_c / (near_b + _EPSILON)


class SimilarityResult(NamedTuple):
    """How well cosines rank pairs of words as people do.

    Attributes:
        spearman: Spearman's rank correlation, in [-1, 1].
        low: lower end of its bootstrap interval.
        high: upper end.
        used: how many pairs were compared.
        missing: the pairs left out because a word has no vector.
    """

    spearman: float
    low: float
    high: float
    used: int
    missing: tuple[tuple[str, str], ...]


def evaluate_similarity(
    vectors: WordVectors,
    pairs: Iterable[tuple[str, str, float]],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> SimilarityResult:
    """Compare cosines with people's ratings of word pairs.

    Words are looked up as they are and, failing that, in lower case. The interval comes from
    drawing as many pairs again with replacement, ``resamples`` times.

    Equation: eq-glove-spearman

    Args:
        vectors: the word vectors.
        pairs: two words and their rating, of any scale.
        confidence: probability that the interval covers, in (0, 1).
        resamples: number of bootstrap samples.
        seed: of the draws.

    Returns:
        Spearman's correlation with its interval, and the pairs that had to be left out.

    Raises:
        ValueError: fewer than three pairs can be compared; their ratings or their cosines are all
            the same, or a rating is not finite; or an option is out of range.
    """
    from scipy.stats import rankdata

    confidence = _arguments.number("confidence", confidence, above=0, below=1)
    resamples = _arguments.integer("resamples", resamples, at_least=1)
    rng = np.random.default_rng(_arguments.integer("seed", seed, at_least=0))
    cosines, ratings, missing = [], [], []
    for first, second, rating in pairs:
        known = [_known(vectors, word) for word in (first, second)]
        if None in known:
            missing.append((first, second))
        else:
            cosines.append(vectors.similarity(*known))
            ratings.append(rating)
    if len(cosines) < 3:
        raise ValueError(
            f"pairs must hold at least 3 pairs of known words, got {len(cosines)} "
            f"and {len(missing)} with a word that has no vector"
        )

    def spearman(x, y):  # of each row; a constant row has no ranking and gives NaN
        with np.errstate(invalid="ignore"):
            x, y = (rankdata(values, axis=-1) for values in (x, y))
            x, y = (r - r.mean(axis=-1, keepdims=True) for r in (x, y))
            return (x * y).sum(-1) / np.sqrt((x**2).sum(-1) * (y**2).sum(-1))

    x, y = np.array(cosines), _arguments.finite_array("ratings", ratings)
    if (x == x[0]).all() or (y == y[0]).all():
        raise ValueError(
            "pairs must differ in their ratings and in their cosines, got the same for all of them"
        )
    draws = rng.integers(len(x), size=(resamples, len(x)))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.nanquantile(spearman(x[draws], y[draws]), tails)
    return SimilarityResult(float(spearman(x, y)), float(low), float(high), len(x), tuple(missing))


class AnalogyResult(NamedTuple):
    """How many analogy questions were answered.

    Attributes:
        correct: questions whose first answer was the expected word.
        used: questions that could be asked.
        missing: questions left out because one of their four words has no vector.
    """

    correct: int
    used: int
    missing: int

    @property
    def accuracy(self) -> float:
        """Share of the questions asked that were answered, NaN if none could be asked."""
        return self.correct / self.used if self.used else math.nan


def evaluate_analogies(
    vectors: WordVectors,
    questions: Mapping[str, Iterable[tuple[str, str, str, str]]],
    *,
    method: str = "add",
) -> dict[str, AnalogyResult]:
    """Answer questions of the kind "a is to b as c is to d" and count the answers that are d.

    Equations: eq-glove-3cosadd, eq-glove-3cosmul

    Args:
        vectors: the word vectors.
        questions: tuples (a, b, c, d) by category; words as in ``evaluate_similarity``.
        method: ``"add"`` or ``"mul"``, as for ``WordVectors.analogy``; it is asked for b - a + c.

    Returns:
        The result of each category.

    Raises:
        ValueError: ``method`` is neither.
    """
    _arguments.one_of("method", method, ANALOGY_METHODS)
    return {
        category: _answer(vectors, list(asked), method) for category, asked in questions.items()
    }


def _answer(vectors: WordVectors, asked: list, method: str) -> AnalogyResult:
    known = [[_known(vectors, word) for word in question] for question in asked]
    rows = [[vectors.index[w] for w in question] for question in known if None not in question]
    correct = 0
    for start in range(0, len(rows), _CHUNK):
        a, b, c, d = np.array(rows[start : start + _CHUNK]).T
        scores = vectors._analogy_scores(np.stack([b, a, c], axis=1), method)
        for excluded in (a, b, c):
            scores[np.arange(len(d)), excluded] = -np.inf
        correct += int((scores.argmax(axis=1) == d).sum())
    return AnalogyResult(correct, len(rows), len(asked) - len(rows))


class AssociationResult(NamedTuple):
    """What a word-embedding association test finds.

    Attributes:
        effect_size: how much closer the first targets are to the first attributes, in standard
            deviations; 0 without bias, between ±2 sqrt((n - 1) / n) for two groups of n / 2 words.
        p_value: share of the ways to divide the targets in two that give at least this difference.
        missing: the words of the test that have no vector and were left out.
    """

    effect_size: float
    p_value: float
    missing: tuple[str, ...]


def association_test(
    vectors: WordVectors,
    targets: tuple[Sequence[str], Sequence[str]],
    attributes: tuple[Sequence[str], Sequence[str]],
    *,
    max_partitions: int = 20_000,
    seed: int = 0,
) -> AssociationResult:
    """Measure whether one group of words stands nearer to one set of attributes than another does.

    A word's association is its mean cosine with the first attributes less that with the second.
    The effect size is the difference of the two groups' means, divided by the standard deviation
    over both groups (with n - 1). The test is one-sided: it tries all divisions of the words into
    groups of these sizes, or ``max_partitions`` random ones if there are more.

    Equation: eq-glove-weat

    Source: Caliskan, Bryson and Narayanan (2017).

    Args:
        vectors: the word vectors.
        targets: two groups of words, such as flowers and insects.
        attributes: two sets of words, such as pleasant and unpleasant ones.
        max_partitions: largest number of divisions to try.
        seed: of the random divisions.

    Returns:
        Effect size, p-value and the words left out.

    Raises:
        ValueError: fewer than two words of a group, or one of an attribute set, have a vector; two
            groups share a word; or ``max_partitions`` < 1.
    """
    max_partitions = _arguments.integer("max_partitions", max_partitions, at_least=1)
    rng = np.random.default_rng(_arguments.integer("seed", seed, at_least=0))
    (x, y), missing_targets = _two_groups(vectors, "targets", targets, at_least=2)
    (a, b), missing_attributes = _two_groups(vectors, "attributes", attributes, at_least=1)
    both = vectors.unit[x + y].astype(np.float64)
    association = (both @ vectors.unit[a].T).mean(axis=1) - (both @ vectors.unit[b].T).mean(axis=1)
    observed = association[: len(x)].mean() - association[len(x) :].mean()
    spread = association.std(ddof=1)
    if spread == 0:
        raise ValueError("targets must differ in their association, got the same for all of them")
    # For groups of given sizes the difference of means grows with the first group's sum.
    sums = _sums_of_partitions(association, len(x), max_partitions, rng)
    tolerance = 1e-9 * spread
    p_value = float((sums >= association[: len(x)].sum() - tolerance).mean())
    missing = missing_targets + missing_attributes
    return AssociationResult(float(observed / spread), p_value, missing)


def _sums_of_partitions(
    values: np.ndarray, size: int, limit: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the sums of all choices of ``size`` values, or of the given one and random ones."""
    if math.comb(len(values), size) <= limit:
        chosen = np.array(list(itertools.combinations(range(len(values)), size)))
        return values[chosen].sum(axis=1)
    shuffled = rng.permuted(np.tile(values, (limit - 1, 1)), axis=1)[:, :size]
    return np.concatenate([[values[:size].sum()], shuffled.sum(axis=1)])


def _two_groups(
    vectors: WordVectors, name: str, groups: Sequence[Sequence[str]], *, at_least: int
) -> tuple[tuple[list[int], list[int]], tuple[str, ...]]:
    """Return the rows of two groups of words, and the words without a vector."""
    if len(groups) != 2:
        raise ValueError(f"{name} must be two groups of words, got {len(groups)}")
    found, missing = [], []
    for i, group in enumerate(groups):
        known = {word: _known(vectors, word) for word in group}
        found.append([vectors.index[w] for w in dict.fromkeys(known.values()) if w is not None])
        missing += [word for word, row in known.items() if row is None]
        if len(found[i]) < at_least:
            raise ValueError(
                f"{name}[{i}] must have at least {at_least} words with a vector, "
                f"got {len(found[i])} of {len(known)}"
            )
    shared = set(found[0]) & set(found[1])
    if shared:
        raise ValueError(f"{name} must not share a word, got {vectors.words[min(shared)]!r} twice")
    return (found[0], found[1]), tuple(missing)


def _known(vectors: WordVectors, word: str) -> str | None:
    """Return the form under which a word has a vector: as it is, or in lower case."""
    return next((form for form in (word, word.lower()) if form in vectors), None)
