"""Word pairs that people rated and analogy questions, to evaluate word vectors with.

Two of the three sets state no licence, so they are not shipped: they are read from the test data of
an installed gensim, without importing it.

>>> pairs = load_word_pairs("wordsim-353")
>>> questions = load_analogies()["capital-common-countries"]
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

from lmcourse import _arguments
from lmcourse.data._shipped import DataFileError

__all__ = ["WORD_PAIRS", "WordPair", "load_analogies", "load_word_pairs"]

WORD_PAIRS = {"wordsim-353": "wordsim353.tsv", "simlex-999": "simlex999.txt"}
"""The names that `load_word_pairs` takes, and gensim's file of each."""

_ANALOGIES = "questions-words.txt"
_QUESTIONS, _CATEGORIES = 19_544, 14


class WordPair(NamedTuple):
    """Two words and how people rated them.

    Attributes:
        first: a word, its case as published: ``"Jerusalem"``.
        second: the other word.
        score: mean rating, from 0 to 10.
    """

    first: str
    second: str
    score: float


def load_word_pairs(name: str) -> tuple[WordPair, ...]:
    """Load pairs of words with people's mean ratings, in the published order.

    WordSim-353 asks how related two words are: "closet" and "clothes" score 8.00. SimLex-999 asks
    how similar they are, and the same words score 3.27. WordSim-353 holds "money" and "cash" twice.

    Args:
        name: ``"wordsim-353"`` or ``"simlex-999"``.

    Returns:
        353 or 999 pairs.

    Raises:
        ValueError: there is no such set; the message lists the names.
        ModuleNotFoundError: gensim is not installed.
        DataFileError: gensim's file is missing or damaged.

    Source: Finkelstein et al. (2002), "Placing Search in Context: The Concept Revisited"; Hill,
    Reichart and Korhonen (2015), "SimLex-999: Evaluating Semantic Models with (Genuine) Similarity
    Estimation".
    """
    path = _gensim_file(WORD_PAIRS[_arguments.one_of("name", name, tuple(WORD_PAIRS))])
    pairs = tuple(
        _pair(path, number, line) for number, line in _lines(path) if not line.startswith("#")
    )
    _check_count(path, "pairs", len(pairs), int(name.rpartition("-")[2]))
    return pairs


def load_analogies() -> dict[str, tuple[tuple[str, str, str, str], ...]]:
    """Load Google's analogy questions: "Athens" is to "Greece" as "Baghdad" is to "Iraq".

    Returns:
        The questions ``(a, b, c, d)`` of each category: a is to b as c is to d. 14 categories, 5 of
        meaning (``"capital-common-countries"``, …, ``"family"``) and 9 of grammar (their names
        start with ``"gram"``), in the published order and case; 19,544 questions in all.

    Raises:
        ModuleNotFoundError: gensim is not installed.
        DataFileError: gensim's file is missing or damaged.

    Source: Mikolov, Chen, Corrado and Dean (2013), "Efficient Estimation of Word Representations in
    Vector Space".
    """
    path = _gensim_file(_ANALOGIES)
    questions: dict[str, list[tuple[str, str, str, str]]] = {}
    category = None
    for number, line in _lines(path):
        words = tuple(line.split())
        if words[0] == ":" and len(words) == 2:
            category = questions.setdefault(words[1], [])
        elif len(words) == 4 and category is not None:
            category.append(words)
        else:
            raise _damaged(path, f"line {number} must be ': category' or 4 words", line)
    _check_count(path, "categories", len(questions), _CATEGORIES)
    _check_count(path, "questions", sum(map(len, questions.values())), _QUESTIONS)
    return {category: tuple(asked) for category, asked in questions.items()}


def _gensim_file(name: str) -> Path:
    # Importing gensim takes seconds; its files can be found without.
    package = importlib.util.find_spec("gensim")
    if package is None or package.origin is None:  # not found, or only a folder of that name
        raise ModuleNotFoundError(
            f"{name} is read from gensim, which is not installed: pip install gensim"
        )
    return Path(package.origin).parent / "test" / "test_data" / name


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines that are not blank, with their numbers from 1."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise DataFileError(f"{path} is missing. Reinstall gensim.") from None
    except UnicodeDecodeError as error:
        raise DataFileError(f"{path} is damaged: {error}. Reinstall gensim.") from None
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _pair(path: Path, number: int, line: str) -> WordPair:
    try:
        first, second, score = line.split()
        pair = WordPair(first, second, float(score))
    except ValueError:
        pair = None
    if pair is None or not 0 <= pair.score <= 10:
        raise _damaged(path, f"line {number} must be 2 words and a score in [0, 10]", line)
    return pair


def _check_count(path: Path, what: str, found: int, expected: int) -> None:
    if found != expected:
        raise _damaged(path, f"expected {expected} {what}", found)


def _damaged(path: Path, expected: str, found: str | int) -> DataFileError:
    return DataFileError(f"{path} is damaged: {expected}, got {found!r:.60}. Reinstall gensim.")
