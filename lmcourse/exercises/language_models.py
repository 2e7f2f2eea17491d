"""Exercises of chapter 1: the right answers, and the trials that an answer must stand."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from lmcourse import exercises, probability
from lmcourse.data import load_corpus
from lmcourse.exercises import Trial, Wrong, describe, numbers
from lmcourse.language_models import NGramModel

exercise = functools.partial(exercises.exercise, chapter="01_language_models")


def sequence_log_probability(
    ids: Int[np.ndarray, " time"],
    initial: Float[np.ndarray, " vocab"],
    transition: Float[np.ndarray, "vocab vocab"],
) -> float:
    """Return the log-probability of a token sequence under a bigram model, in nats."""
    with np.errstate(divide="ignore"):
        steps = np.log(transition[ids[:-1], ids[1:]])
        return float(np.log(initial[ids[0]]) + steps.sum())


@exercise(
    "language-models-chain-rule",
    title="The chain rule, in logarithms",
    reference=sequence_log_probability,
    difficulty=1,
    minutes=5,
)
def _(rng):
    initial = np.array([0.25, 0.75])
    transition = np.array([[0.1, 0.9], [0.6, 0.4]])
    yield Trial(
        "one token has the logarithm of its initial probability",
        (np.array([0]), initial, transition),
    )
    yield Trial(
        "a second token adds the logarithm of one transition",
        (np.array([1, 1]), initial, transition),
    )
    yield Trial(
        "rows of transition are the current token, columns the next",
        (np.array([0, 1]), initial, transition),
    )
    initial, transition = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6), size=6)
    yield Trial(
        "every transition counts, the last too",
        (rng.integers(6, size=9), initial, transition),
    )
    yield Trial(
        "the probability of a long text must not underflow",
        (rng.integers(6, size=2000), initial, transition),
    )
    yield Trial(
        "an impossible step has the log-probability -inf",
        (np.array([0, 1, 1]), np.array([0.5, 0.5]), np.array([[0.5, 0.5], [1.0, 0.0]])),
    )


def softmax(
    logits: Float[np.ndarray, "*batch vocab"], temperature: float
) -> Float[np.ndarray, "*batch vocab"]:
    """Return the softmax of ``logits / temperature`` over the last axis."""
    return probability.softmax(logits, temperature=temperature)


@exercise(
    "language-models-softmax",
    title="A softmax that survives large logits",
    reference=softmax,
    difficulty=2,
    minutes=10,
)
def _(rng):
    yield Trial("probabilities are proportional to exp(logits)", (np.log([1.0, 2.0, 5.0]), 1.0))
    yield Trial("the logits are divided by the temperature", (np.log([1.0, 2.0, 5.0]), 0.5))
    rows = np.log([[1.0, 1.0, 2.0], [1.0, 3.0, 6.0]])
    yield Trial("each row is a distribution of its own", (rows, 1.0))
    yield Trial("tokens lie on the last axis", (rng.normal(size=(2, 3, 4)), 1.5))
    yield Trial("large logits must not overflow", (np.array([1000.0, 1001.0]), 1.0))
    rows = np.array([[0.0, 1.0], [2000.0, 2001.0]])
    yield Trial("each row is shifted by its own largest logit", (rows, 1.0))
    yield Trial("a logit of -inf rules its token out", (np.array([1.0, -np.inf, 1.0]), 2.0))


def bits_per_byte(log_probabilities: Float[np.ndarray, " tokens"], text: str) -> float:
    """Return the bits that the tokens of ``text`` cost for each of its UTF-8 bytes."""
    return probability.bits_per_byte(-log_probabilities.sum(), len(text.encode("utf-8")))


@exercise(
    "language-models-bits-per-byte",
    title="Bits per byte",
    reference=bits_per_byte,
    difficulty=1,
    minutes=5,
)
def _(rng):
    yield Trial("a token of probability 1/2 costs 1 bit", (np.log([0.5]), "a"))
    yield Trial("the cost of all tokens is divided by the bytes", (np.log([0.5, 0.125]), "pride"))
    yield Trial("a text's length is that of its UTF-8 bytes", (np.log([0.5, 0.125]), "café “où”"))
    yield Trial("any probabilities will do", (np.log(rng.uniform(size=9)), "Mr. Bennet’s ποίησις"))


def add_k_probability(
    counts: Int[np.ndarray, "vocab vocab"], context: int, token: int, k: float
) -> float:
    """Return the probability of ``token`` after ``context``, smoothed by adding ``k``."""
    row = counts[context]
    return float((row[token] + k) / (row.sum() + k * len(row)))


@exercise(
    "language-models-add-k",
    title="Add-k smoothing",
    reference=add_k_probability,
    difficulty=2,
    minutes=10,
)
def _(rng):
    counts = np.array([[0, 6, 2], [1, 0, 4], [0, 0, 0]])
    yield Trial("with k = 0 it is a count over its row's total", (counts, 0, 1, 0.0))
    yield Trial("k is added for each token of the vocabulary", (counts, 0, 0, 0.5))
    yield Trial("tokens that were seen are smoothed too", (counts, 0, 1, 0.5))
    yield Trial("an unseen context gives the uniform distribution", (counts, 2, 1, 0.5))
    counts = rng.integers(50, size=(7, 7))
    yield Trial("any vocabulary and any k will do", (counts, 4, 2, 0.03))


def merge(ids: list[int], pair: tuple[int, int], new_id: int) -> list[int]:
    """Return ``ids`` with each occurrence of ``pair``, from the left, replaced by ``new_id``."""
    merged = []
    position = 0
    while position < len(ids):
        found = tuple(ids[position : position + 2]) == pair
        merged.append(new_id if found else ids[position])
        position += 2 if found else 1
    return merged


@exercise(
    "language-models-bpe-merge",
    title="One merge of byte-pair encoding",
    reference=merge,
    difficulty=2,
    minutes=10,
)
def _(rng):
    yield Trial("the pair becomes the new token", ([3, 1, 2], (1, 2), 9))
    yield Trial("every occurrence is merged", ([1, 2, 3, 1, 2], (1, 2), 9))
    yield Trial("the last token stays", ([1, 2, 3], (1, 2), 9))
    yield Trial("the order of the pair matters", ([2, 1, 3, 1, 2], (1, 2), 9))
    yield Trial("tokens are whole numbers, not digits", ([11, 2, 3], (1, 2), 9))
    yield Trial("half a pair at the end stays as it is", ([3, 2, 1], (1, 2), 9))
    yield Trial("merges do not overlap", ([1, 1, 1], (1, 1), 9))
    yield Trial("any text will do", (rng.integers(3, size=200).tolist(), (1, 1), 3))


def top_p_filter(
    probabilities: Float[np.ndarray, " vocab"], top_p: float
) -> Float[np.ndarray, " vocab"]:
    """Keep the fewest likeliest tokens that hold at least ``top_p``, and renormalise."""
    with np.errstate(divide="ignore"):
        return probability.sampling_distribution(np.log(probabilities), top_p=top_p)


def _any_tied(result, expected):
    array = numbers(result, describe(expected))
    if array.shape != expected.shape or not np.allclose(np.sort(array), np.sort(expected)):
        raise Wrong(f"{describe(expected)}, in any order", describe(result))


@exercise(
    "language-models-top-p",
    title="Top-p sampling",
    reference=top_p_filter,
    difficulty=2,
    minutes=15,
)
def _(rng):
    falling = np.array([0.5, 0.25, 0.125, 0.125])
    yield Trial("the kept probabilities are renormalised", (falling, 0.75))
    yield Trial("the token that crosses top_p is kept", (falling, 0.6))
    yield Trial("probabilities come in any order", (falling[[2, 0, 3, 1]], 0.6))
    yield Trial("the likeliest token is always kept", (falling, 0.01))
    yield Trial("of tied tokens, only as many as needed stay", (np.full(4, 0.25), 0.5), _any_tied)
    # Ten times 0.1, added one by one, falls short of 1.
    yield Trial("top_p = 1 keeps every token", (np.full(10, 0.1), 1.0))
    yield Trial("any distribution will do", (rng.dirichlet(np.ones(50)), 0.8))


def cross_entropy_gradient(
    logits: Float[np.ndarray, "batch vocab"], targets: Int[np.ndarray, " batch"]
) -> Float[np.ndarray, "batch vocab"]:
    """Return the gradient of the batch's mean cross-entropy with respect to the logits."""
    one_hot = np.eye(logits.shape[1])[targets]
    return (probability.softmax(logits) - one_hot) / len(targets)


@exercise(
    "language-models-softmax-gradient",
    title="The gradient of the cross-entropy",
    reference=cross_entropy_gradient,
    difficulty=2,
    minutes=15,
)
def _(rng):
    pair = np.log([[1.0, 3.0]])
    yield Trial("it is the prediction minus the one-hot target", (pair, np.array([1])))
    yield Trial("a mean loss divides it by the batch", (np.tile(pair, (4, 1)), np.ones(4, int)))
    yield Trial("each row has its own target", (np.tile(pair, (2, 1)), np.array([0, 1])))
    rows = np.log([[1.0, 1.0, 2.0], [1.0, 3.0, 6.0]])
    yield Trial("each row has its own softmax", (rows, np.array([2, 0])))
    yield Trial("large logits must not overflow", (1000 * pair, np.array([0])))
    yield Trial("any batch will do", (rng.normal(size=(20, 9)), rng.integers(9, size=20)))


def train(
    ids: Int[np.ndarray, " time"], vocab_size: int
) -> Callable[[Int[np.ndarray, " context"]], Float[np.ndarray, " vocab"]]:
    """Return the predictor to beat: an add-k trigram model."""
    return NGramModel(3, vocab_size, smoothing="add-k", k=0.05).fit(ids).probabilities


ASKED_AGAIN = 20  # predictions, to see whether they come out the same


def _predict(train, ids, vocab_size, held_out):
    """Train and return the predictions for ``held_out``, then those for its first tokens again.

    The predictor is given the tokens before the one that it is to predict, and no others.
    """
    next_token_probabilities = train(ids, vocab_size)
    if not callable(next_token_probabilities):
        return next_token_probabilities
    positions = [*range(len(held_out)), *range(min(len(held_out), ASKED_AGAIN))]
    return [copy.copy(next_token_probabilities(held_out[:i].copy())) for i in positions]


@exercise(
    "language-models-beat-the-trigram",
    title="Beat the trigram",
    reference=train,
    drive=_predict,
    difficulty=3,
    minutes=30,
)
def _(rng):
    ids, vocab_size = _novel()

    def piece(n_train, n_held_out):
        start = rng.integers(len(ids) - n_train - n_held_out)
        seen, held_out = np.split(ids[start : start + n_train + n_held_out], [n_train])
        tried = f"training on {n_train:,} characters and predicting the {n_held_out:,} after them"
        return (seen, vocab_size, held_out), tried

    few, tried = piece(2000, 1)
    yield Trial("the first prediction has an empty context", few, _arrays, tried)
    few, tried = piece(2000, 100)
    yield Trial("each prediction is one probability per token", few, _arrays, tried)
    yield Trial("each prediction sums to 1", few, _distributions, tried)
    yield Trial("no token has probability 0", few, _positive, tried)
    yield Trial("the context alone decides the prediction", few, _repeatable, tried)
    many, tried = piece(100_000, 3000)
    score = functools.partial(_beats, held_out=many[-1])
    yield Trial("the model beats an add-k trigram on unseen text", many, score, tried)


@functools.cache
def _novel() -> tuple[np.ndarray, int]:
    """Return *Pride and Prejudice* as ids of its characters, and how many characters it uses."""
    text = load_corpus("austen").work("Pride and Prejudice").text
    characters, ids = np.unique(list(text), return_inverse=True)
    return ids, len(characters)


def _arrays(predictions, expected):
    shape = expected[0].shape
    wanted = f"a function that returns {shape[0]} probabilities"
    if not isinstance(predictions, list):
        raise Wrong(wanted, describe(predictions))
    for prediction in predictions:
        if numbers(prediction, wanted).shape != shape:
            raise Wrong(wanted, f"an array of shape {np.shape(prediction)}")


def _distributions(predictions, expected):
    _arrays(predictions, expected)
    totals = np.sum(predictions, axis=1)
    off = np.flatnonzero(~np.isclose(totals, 1))
    if len(off):
        raise Wrong("sums of 1", f"{describe(totals[off[0]])} for prediction {off[0]}")


def _positive(predictions, expected):
    _distributions(predictions, expected)
    least = np.min(predictions, axis=1)
    off = np.flatnonzero(least <= 0)
    if len(off):
        raise Wrong("probabilities above 0", f"{describe(least[off[0]])} in prediction {off[0]}")


def _repeatable(predictions, expected):
    _positive(predictions, expected)
    first, again = predictions[:ASKED_AGAIN], predictions[-ASKED_AGAIN:]
    if not np.allclose(first, again):
        raise Wrong("the same prediction for the same context", "another when asked again")


def _beats(predictions, expected, *, held_out):
    _repeatable(predictions, expected)
    own, trigram = (_bits_per_token(rows, held_out) for rows in (predictions, expected))
    if own >= trigram:
        raise Wrong(f"under the trigram's {trigram:.2f} bits per character", f"{own:.2f}")
    return f"Your model: {own:.2f} bits per character; the trigram: {trigram:.2f}."


def _bits_per_token(predictions, held_out):
    came = [row[token] for row, token in zip(predictions, held_out, strict=False)]
    return -np.log2(came).mean()
