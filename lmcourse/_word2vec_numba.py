"""Skip-gram's inner loop, compiled by numba; ``word2vec._update`` is its definition."""

from __future__ import annotations

import math

import numba
import numpy as np


def update(parameters, words, contexts, noise, learning_rate) -> float:
    """Take a step for each pair, as ``word2vec._update`` does."""
    word = parameters["word"]
    learning_rate = word.dtype.type(learning_rate)
    return _update(word, parameters["context"], words, contexts, noise, learning_rate)


# fastmath lets the compiler add the products of a row in the order that the processor likes.
@numba.njit(fastmath=True, cache=True, error_model="numpy")
def _update(word, context, words, contexts, noise, learning_rate):
    total = 0.0
    dim = word.shape[1]
    step = np.empty(dim, word.dtype)
    steps = np.empty((noise.shape[1] + 1, dim), word.dtype)
    targets = np.empty(noise.shape[1] + 1, np.int64)
    for pair in range(len(words)):
        w = word[words[pair]]
        targets[0] = contexts[pair]
        targets[1:] = noise[pair]
        step[:] = 0
        steps[:] = 0
        for t in range(len(targets)):
            if t > 0 and targets[t] == targets[0]:
                continue
            c = context[targets[t]]
            product = word.dtype.type(0)
            for d in range(dim):
                product += w[d] * c[d]
            sign = 1 if t == 0 else -1
            total += math.log1p(math.exp(-abs(product))) + max(-sign * product, 0)
            slope = -sign * learning_rate / (1 + math.exp(sign * product))
            for d in range(dim):
                step[d] += slope * c[d]
                steps[t, d] = slope * w[d]
        # All at the end: a noise word that was drawn twice is read before it is moved.
        w -= step
        for t in range(len(targets)):
            context[targets[t]] -= steps[t]
    return total
