"""Skip-gram's inner loop, compiled by numba; ``word2vec._update`` is its definition."""

from __future__ import annotations

import math
from typing import no_type_check

import numba
import numpy as np


def update(parameters, words, contexts, noise, learning_rate) -> float:
    """Take a step for each pair, as ``word2vec._update`` does."""
    word = parameters["word"]
    learning_rate = word.dtype.type(learning_rate)
    return _update(word, parameters["context"], words, contexts, noise, learning_rate)


# fastmath lets the compiler add the products of a row in the order that the processor likes.
# The tests' run-time type checker wraps functions unless told not to, and numba needs them bare.
@numba.njit(fastmath=True, cache=True, error_model="numpy")
@no_type_check
def _update(word, context, words, contexts, noise, learning_rate):
    total = 0.0
    dim = word.shape[1]
    zero, one = word.dtype.type(0), word.dtype.type(1)
    targets = np.empty(1 + noise.shape[1], np.int64)
    slopes = np.empty(len(targets), word.dtype)
    step = np.empty(dim, word.dtype)
    for pair in range(len(words)):
        w = word[words[pair]]
        targets[0] = contexts[pair]
        targets[1:] = noise[pair]
        step[:] = 0
        for t in range(len(targets)):
            slopes[t] = 0
            if t > 0 and targets[t] == targets[0]:
                continue
            c = context[targets[t]]
            product = zero
            for d in range(dim):
                product += w[d] * c[d]
            score = product if t == 0 else -product
            # One exponential, which cannot overflow, gives both -log σ(score) and σ(-score).
            power = math.exp(-abs(score))
            total += max(-score, zero) + math.log1p(power)
            slope = learning_rate * (power if score > 0 else one) / (one + power)
            slopes[t] = -slope if t == 0 else slope
            for d in range(dim):
                step[d] += slopes[t] * c[d]
        # All at the end: a noise word that was drawn twice is read before it is moved.
        for t in range(len(targets)):
            c = context[targets[t]]
            for d in range(dim):
                c[d] -= slopes[t] * w[d]
        for d in range(dim):
            w[d] -= step[d]
    return total
