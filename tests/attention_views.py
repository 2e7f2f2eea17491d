"""Views for the tests of AttentionView; importing them costs little."""

import numpy as np

from lmcourse.widgets import AttentionView
from tests.sampler_views import HOSTILE

SENTENCE = ["the", "cat", "sat", "on", "the", "mat", "because", "it", "was", "tired", "."]
GERMAN = ["die", "Katze", "saß", "auf", "der", "Matte", ",", "weil", "sie", "müde", "war", "."]
HOSTILE_TOKENS = [*HOSTILE, "שלום", "$x_1$", "the", " the"]


def random_weights(*shape: int, causal: bool = False, seed: int = 0, scale: float = 1.5):
    """Softmax of normal scores; in a causal matrix the last query stands at the last key."""
    scores = np.random.default_rng(seed).normal(scale=scale, size=shape)
    if causal:
        seen = np.tri(*shape[-2:], shape[-1] - shape[-2], dtype=bool)
        scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def patterned_weights(layers: int, heads: int, tokens: int, *, causal: bool = True):
    """Heads as trained models have them: to the token before, the first one, near ones, a few."""
    rng = np.random.default_rng(0)
    apart = np.subtract.outer(np.arange(tokens), np.arange(tokens))
    patterns = [
        -2.0 * np.abs(apart - 1),
        -np.log(2) * (np.arange(tokens) > 0) * 6 + 0 * apart,
        -0.3 * np.abs(apart),
        4.0 * (rng.random((tokens, tokens)) < 3 / tokens),
    ]
    scores = np.array(
        [
            [
                patterns[(layer + head) % 4] + rng.normal(scale=0.7, size=apart.shape)
                for head in range(heads)
            ]
            for layer in range(layers)
        ]
    )
    if causal:
        scores = np.where(apart >= 0, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def sentence_view(**options) -> AttentionView:
    """Two layers of four heads, causal."""
    return AttentionView(patterned_weights(2, 4, len(SENTENCE)), SENTENCE, **options)


def long_view(tokens: int = 256, **options) -> AttentionView:
    """Four layers of four heads, causal."""
    words = [SENTENCE[i % len(SENTENCE)] for i in range(tokens)]
    return AttentionView(patterned_weights(4, 4, tokens), words, **options)


def cross_view(**options) -> AttentionView:
    """Two layers of eight heads between two sentences."""
    weights = random_weights(2, 8, len(GERMAN), len(SENTENCE), seed=3)
    return AttentionView(weights, GERMAN, key_tokens=SENTENCE, **options)


def hostile_view(**options) -> AttentionView:
    count = len(HOSTILE_TOKENS)
    return AttentionView(random_weights(2, 2, count, count), HOSTILE_TOKENS, **options)
