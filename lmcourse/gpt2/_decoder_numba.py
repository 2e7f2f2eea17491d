"""One token's way through a GPT-2, compiled by numba; ``decoder._block`` is its definition.

A product of a matrix and a vector takes two operations for each number of the matrix, far fewer
than a processor does in the time that it takes to fetch the number. So nothing here matters but
that the matrices are read once, from end to end, by all threads at a time.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numba
import numpy as np
from numba import prange
from numba.extending import overload

GELU_SLOPE = np.float32(math.sqrt(2 / math.pi))
GELU_CUBIC = np.float32(0.044715)
HALF, ONE = np.float32(0.5), np.float32(1)


def block(x, weights, key, value, position, epsilon, buffers) -> None:
    """Add to ``x`` what a block makes of it, and store its key and value at ``position``.

    Args:
        x: (n_embd,), changed in place.
        weights: a ``decoder.BlockWeights``.
        key, value: the layer's part of the cache, (n_head, max_length, head_dim).
        position: how many tokens are in the cache.
        epsilon: ``layer_norm_epsilon``.
        buffers: a ``decoder.Buffers``, overwritten.
    """
    _block(x, *weights, key, value, position, np.float32(epsilon), *buffers)


def logits(x, norm, matrix, epsilon, buffers) -> np.ndarray:
    """Return the next token's scores, (vocab_size,)."""
    scores = np.empty(len(matrix.stored), np.float32)
    _layer_norm(x, *norm, np.float32(epsilon), buffers.normed)
    _linear(*matrix, buffers.normed, scores, False, False)
    return scores


# fastmath lets the compiler add the products of a row in the order that the processor likes; no
# number may be infinite then. The tests' run-time type checker wraps functions unless told not to.
@numba.njit(fastmath=True, cache=True, error_model="numpy")
@no_type_check
def _block(
    x, ln_1, c_attn, attn_c_proj, ln_2, c_fc, mlp_c_proj, key, value, position, epsilon,
    normed, qkv, scores, mixed, hidden,
):  # fmt: skip
    _layer_norm(x, ln_1[0], ln_1[1], epsilon, normed)
    _linear(c_attn[0], c_attn[1], c_attn[2], normed, qkv, False, False)
    _attend(qkv, key, value, position, scores, mixed)
    _linear(attn_c_proj[0], attn_c_proj[1], attn_c_proj[2], mixed, x, False, True)
    _layer_norm(x, ln_2[0], ln_2[1], epsilon, normed)
    _linear(c_fc[0], c_fc[1], c_fc[2], normed, hidden, True, False)
    _linear(mlp_c_proj[0], mlp_c_proj[1], mlp_c_proj[2], hidden, x, False, True)


@numba.njit(fastmath=True, cache=True, error_model="numpy")
@no_type_check
def _layer_norm(x, gain, bias, epsilon, out):
    n = np.float32(len(x))
    mean = np.float32(0)
    for i in range(len(x)):
        mean += x[i]
    mean /= n
    variance = np.float32(0)
    for i in range(len(x)):
        variance += (x[i] - mean) ** 2
    scale = ONE / math.sqrt(variance / n + epsilon)
    for i in range(len(x)):
        out[i] = (x[i] - mean) * scale * gain[i] + bias[i]


@numba.njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
@no_type_check
def _linear(stored, scale, bias, x, out, gelu, add):
    n_out, n_in = stored.shape
    # Four rows at a time, a quarter of the matrix apart: a core reads several streams faster than
    # one, and each number of x is loaded once for the four.
    quarter = n_out // 4
    for row in prange(quarter):
        second, third, fourth = row + quarter, row + 2 * quarter, row + 3 * quarter
        w_1, w_2, w_3, w_4 = stored[row], stored[second], stored[third], stored[fourth]
        y_1 = y_2 = y_3 = y_4 = np.float32(0)
        for i in range(n_in):
            y_1 += _number(w_1[i]) * x[i]
            y_2 += _number(w_2[i]) * x[i]
            y_3 += _number(w_3[i]) * x[i]
            y_4 += _number(w_4[i]) * x[i]
        _put(out, row, y_1 * scale[row] + bias[row], gelu, add)
        _put(out, second, y_2 * scale[second] + bias[second], gelu, add)
        _put(out, third, y_3 * scale[third] + bias[third], gelu, add)
        _put(out, fourth, y_4 * scale[fourth] + bias[fourth], gelu, add)
    for row in range(4 * quarter, n_out):
        y = np.float32(0)
        for i in range(n_in):
            y += _number(stored[row, i]) * x[i]
        _put(out, row, y * scale[row] + bias[row], gelu, add)


@numba.njit(fastmath=True, cache=True, error_model="numpy")
@no_type_check
def _put(out, row, y, gelu, add):
    if gelu:
        y *= HALF * (ONE + math.tanh(GELU_SLOPE * (y + GELU_CUBIC * y * y * y)))
    out[row] = out[row] + y if add else y


@numba.njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
@no_type_check
def _attend(qkv, key, value, position, scores, out):
    n_head, _, head_dim = key.shape
    n_embd = n_head * head_dim
    scale = ONE / math.sqrt(np.float32(head_dim))
    for head in prange(n_head):
        begin, end = head * head_dim, (head + 1) * head_dim
        query, mixed = qkv[begin:end], out[begin:end]
        new_key = qkv[n_embd + begin : n_embd + end]
        new_value = qkv[2 * n_embd + begin : 2 * n_embd + end]
        keys, values, weights = key[head], value[head], scores[head]
        for i in range(head_dim):
            keys[position, i] = new_key[i]
            values[position, i] = new_value[i]
            mixed[i] = 0
        for t in range(position + 1):
            row = keys[t]
            score = np.float32(0)
            for i in range(head_dim):
                score += query[i] * row[i]
            weights[t] = score * scale
        top = weights[0]
        for t in range(1, position + 1):
            top = max(top, weights[t])
        total = np.float32(0)
        for t in range(position + 1):
            weights[t] = math.exp(weights[t] - top)
            total += weights[t]
        for t in range(position + 1):
            row, weight = values[t], weights[t] / total
            for i in range(head_dim):
                mixed[i] += weight * row[i]


def _number(stored):
    """Return a stored weight as float32: numba takes the overload for its type."""


@overload(_number)
@no_type_check
def _number_of(stored):
    if stored == numba.types.uint16:  # the upper half of a float32
        return lambda stored: np.uint32(np.uint32(stored) << 16).view(np.float32)
    return lambda stored: np.float32(stored)
