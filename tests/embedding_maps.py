"""Views for the tests of EmbeddingMap; importing them costs little."""

from functools import cache

import numpy as np

from lmcourse.data import load_word_vectors
from lmcourse.widgets import EmbeddingMap
from lmcourse.word_vectors import WordVectors
from tests.sampler_views import HOSTILE

RIGHT_TO_LEFT = ["שלום", "مرحبا (a"]
HOSTILE_WORDS = [*filter(None, HOSTILE), *RIGHT_TO_LEFT, "$x_1$", "A", "Zoë"]
GROUPS = {
    "royalty": ["king", "queen", "prince", "princess", "duke", "emperor", "throne", "crown"],
    "people": ["man", "woman", "boy", "girl", "father", "mother", "son", "daughter", "sister"],
    "countries": ["france", "germany", "spain", "italy", "england", "russia", "japan", "china"],
    "capitals": ["paris", "berlin", "madrid", "rome", "london", "moscow", "tokyo", "beijing"],
    "animals": ["dog", "cat", "horse", "cow", "lion", "bird", "fish", "bear"],
    "food": ["bread", "milk", "rice", "meat", "fruit", "cheese", "wine", "sugar"],
}


@cache
def pretrained() -> WordVectors:
    return WordVectors(*load_word_vectors())


def large_map(count: int = 200, **options) -> EmbeddingMap:
    """The words of six groups among as many frequent ones as make ``count``."""
    grouped = [word for words in GROUPS.values() for word in words]
    others = [word for word in pretrained().words if len(word) > 3 and word not in grouped]
    words = grouped + others[: count - len(grouped)]
    return EmbeddingMap(pretrained(), words, **({"groups": GROUPS} | options))


def random_vectors(words, dim: int, *, seed: int = 0) -> WordVectors:
    return WordVectors(words, np.random.default_rng(seed).normal(size=(len(words), dim)))


def hostile_map(**options) -> EmbeddingMap:
    groups = {HOSTILE[0]: HOSTILE_WORDS[:3], "</div><b>group</b>": HOSTILE_WORDS[5:7]}
    vectors = random_vectors(HOSTILE_WORDS, 6)
    return EmbeddingMap(vectors, **({"groups": groups, "neighbours": 5} | options))


def straight_map(**options) -> EmbeddingMap:
    """Words in two places: the map is a line, and the words a, c and d lie on each other."""
    return EmbeddingMap(WordVectors(list("abcd"), np.eye(2)[[0, 1, 0, 0]]), **options)
