"""The inner loop of GloVe's training, compiled by numba; ``glove._update`` is its definition."""

from __future__ import annotations

import math
from typing import no_type_check

import numba


def update(parameters, squares, entries, starts, diagonals, tiles, learning_rate) -> float:
    """Visit the entries as ``glove._update`` does, but tile by tile and one after the other."""
    return _update(
        *(parameters[name] for name in ("word", "context", "word_bias", "context_bias")),
        *(squares[name] for name in ("word", "context", "word_bias", "context_bias")),
        *entries,
        starts,
        diagonals,
        tiles,
        parameters["word"].dtype.type(learning_rate),
    )


# fastmath lets the compiler add the products of a row in the order that the processor likes.
# The tests' run-time type checker wraps functions unless told not to, and numba needs them bare.
@numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
@no_type_check
def _update(
    word, context, word_bias, context_bias,
    word_squares, context_squares, word_bias_squares, context_bias_squares,
    rows, columns, logs, weights, starts, diagonals, tiles, learning_rate,
):  # fmt: skip
    cost = 0.0
    for tile in tiles:
        for diagonal in diagonals:
            for n in range(starts[diagonal, tile], starts[diagonal, tile + 1]):
                i, j = rows[n], columns[n]
                w, c = word[i], context[j]
                error = word_bias[i] + context_bias[j] - logs[n]
                for d in range(w.shape[0]):
                    error += w[d] * c[d]
                slope = weights[n] * error
                cost += slope * error
                slope += slope
                w_squares, c_squares = word_squares[i], context_squares[j]
                for d in range(w.shape[0]):
                    dw, dc = slope * c[d], slope * w[d]
                    w_square, c_square = w_squares[d] + dw * dw, c_squares[d] + dc * dc
                    w_squares[d], c_squares[d] = w_square, c_square
                    w[d] -= learning_rate * dw / math.sqrt(w_square)
                    c[d] -= learning_rate * dc / math.sqrt(c_square)
                word_bias_squares[i] += slope * slope
                context_bias_squares[j] += slope * slope
                word_bias[i] -= learning_rate * slope / math.sqrt(word_bias_squares[i])
                context_bias[j] -= learning_rate * slope / math.sqrt(context_bias_squares[j])
    return cost
