"""Attention of one head in numpy, from the formula to the tiled algorithm, written to be read.

``tiled`` goes through the same tiles in the same order as the forward kernel of
``triton_kernels.py`` and gives them the same names. Arrays are (length, head_dim); nothing here
knows of batches, heads or half precision.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from lmcourse import _arguments
from lmcourse.probability import softmax


def weighted_average(
    weights: Float[np.ndarray, "n_query n_key"], value: Float[np.ndarray, "n_key head_dim"]
) -> Float[np.ndarray, "n_query head_dim"]:
    """Return an average of the values for each row of weights.

    Equation: eq-attention-lookup

    Args:
        weights: not negative; each row sums to 1.
        value: one row for each key.

    Raises:
        TypeError: an argument is not numeric.
        ValueError: a row does not sum to 1, or the shapes do not fit.
    """
    weights = _arguments.distribution("weights", weights, ndim=2)
    value = _arguments.finite_array("value", value, ndim=2)
    if weights.shape[1] != value.shape[0]:
        raise ValueError(
            f"value must have a row for each of the {weights.shape[1]} weights, "
            f"got {value.shape[0]} rows"
        )
    return weights @ value


def causal_mask(n_query: int, n_key: int) -> Bool[np.ndarray, "n_query n_key"]:
    """Return which keys each query sees if none may look ahead.

    The last query stands at the last key, so that a query added to a text sees all of it.

    Equation: eq-attention-causal

    Args:
        n_query, n_key: how many there are, at least 1.

    Raises:
        TypeError: a number is not an integer.
        ValueError: a number is below 1.
    """
    n_query = _arguments.integer("n_query", n_query, at_least=1)
    n_key = _arguments.integer("n_key", n_key, at_least=1)
    position = np.arange(n_query)[:, None] + n_key - n_query
    return np.arange(n_key) <= position


def scaled_dot_product(
    query: Float[np.ndarray, "n_query head_dim"],
    key: Float[np.ndarray, "n_key head_dim"],
    value: Float[np.ndarray, "n_key value_dim"],
    *,
    causal: bool = False,
) -> Float[np.ndarray, "n_query value_dim"]:
    """Return scaled dot-product attention by way of the whole matrix of scores.

    Equation: eq-attention-sdpa

    Source: Vaswani et al. (2017).

    Args:
        query, key, value: one row for each position.
        causal: whether each query sees only keys up to its own position.

    Returns:
        One row for each query; zeros for a query that sees no key.

    Raises:
        TypeError: an argument is not numeric.
        ValueError: the shapes do not fit, or an array holds NaN or infinity.
    """
    query, key, value = _checked(query, key, value)
    scores = query @ key.T / query.shape[1] ** 0.5  # [n_query, n_key]
    if causal:
        scores[~causal_mask(*scores.shape)] = -np.inf
    seen = scores.max(axis=1, keepdims=True) > -np.inf
    return weighted_average(softmax(np.where(seen, scores, 0.0)), value) * seen


def log_sum_exp(scores: Float[np.ndarray, "n_query n_key"]) -> Float[np.ndarray, " n_query"]:
    """Return log Σ_j exp(score_j) of each row without overflow; -inf for a row of -inf.

    Equation: eq-attention-lse

    Args:
        scores: finite or -inf.

    Raises:
        TypeError: ``scores`` is not numeric.
        ValueError: it has other than two axes, or holds NaN or +inf.
    """
    scores = _arguments.finite_array("scores", scores, ndim=2, allow_minus_inf=True)
    row_max = scores.max(axis=1)
    shift = np.where(row_max > -np.inf, row_max, 0.0)  # -inf - -inf would be NaN
    with np.errstate(divide="ignore"):
        return shift + np.log(np.exp(scores - shift[:, None]).sum(axis=1))


def merge(
    output_a: Float[np.ndarray, "n_query head_dim"],
    lse_a: Float[np.ndarray, " n_query"],
    output_b: Float[np.ndarray, "n_query head_dim"],
    lse_b: Float[np.ndarray, " n_query"],
) -> tuple[Float[np.ndarray, "n_query head_dim"], Float[np.ndarray, " n_query"]]:
    """Return attention to two blocks of keys together, from what each block gave alone.

    Equation: eq-attention-merge

    Source: Milakov and Gimelshein (2018); Rabe and Staats (2021).

    Args:
        output_a, output_b: each block's attention.
        lse_a, lse_b: the log-sum-exp of each block's scores; -inf where it was not seen.

    Returns:
        The output and the log-sum-exp over both blocks; zeros and -inf where neither was seen.

    Raises:
        TypeError: an argument is not numeric.
        ValueError: the shapes do not fit, or an array holds NaN or +inf.
    """
    output_a, output_b = (
        _arguments.finite_array(name, array, ndim=2)
        for name, array in (("output_a", output_a), ("output_b", output_b))
    )
    lse_a, lse_b = (
        _arguments.finite_array(name, array, ndim=1, allow_minus_inf=True)
        for name, array in (("lse_a", lse_a), ("lse_b", lse_b))
    )
    if output_a.shape != output_b.shape or {lse_a.shape, lse_b.shape} != {output_a.shape[:1]}:
        raise ValueError(
            "both blocks must have an output of one shape and an lse of its rows, got "
            f"{output_a.shape}, {lse_a.shape} and {output_b.shape}, {lse_b.shape}"
        )
    lse = np.logaddexp(lse_a, lse_b)
    shift = np.where(lse > -np.inf, lse, 0.0)
    share_a, share_b = np.exp(lse_a - shift)[:, None], np.exp(lse_b - shift)[:, None]
    return share_a * output_a + share_b * output_b, lse


def tiled(
    query: Float[np.ndarray, "n_query head_dim"],
    key: Float[np.ndarray, "n_key head_dim"],
    value: Float[np.ndarray, "n_key value_dim"],
    *,
    causal: bool = False,
    tile_q: int = 64,
    tile_k: int = 64,
) -> tuple[Float[np.ndarray, "n_query value_dim"], Float[np.ndarray, " n_query"]]:
    """Return attention and its log-sum-exp without ever holding more than a tile of scores.

    Equations: eq-attention-online, eq-attention-lse

    Source: Dao et al. (2022); the order of the loops is that of Dao (2024).

    Args:
        query, key, value: one row for each position.
        causal: whether each query sees only keys up to its own position.
        tile_q, tile_k: rows and columns of a tile, at least 1.

    Returns:
        What ``scaled_dot_product`` returns, and the log-sum-exp of each query's scores.

    Raises:
        TypeError: an argument is not numeric, or a tile's size is not an integer.
        ValueError: the shapes do not fit, an array holds NaN or infinity, or a tile is empty.
    """
    query, key, value = _checked(query, key, value)
    tile_q = _arguments.integer("tile_q", tile_q, at_least=1)
    tile_k = _arguments.integer("tile_k", tile_k, at_least=1)
    output = np.empty((len(query), value.shape[1]), value.dtype)
    lse = np.empty(len(query), value.dtype)
    for start in range(0, len(query), tile_q):  # the kernel runs these in parallel
        rows = slice(start, min(start + tile_q, len(query)))
        position = np.arange(rows.start, rows.stop) + len(key) - len(query)
        output[rows], lse[rows] = _one_tile_of_queries(
            query[rows], key, value, position if causal else None, tile_k
        )
    return output, lse


def _one_tile_of_queries(query_tile, key, value, position, tile_k):
    """Go through the keys once, with running maximum, sum and output."""
    row_max = np.full(len(query_tile), -np.inf, query_tile.dtype)
    row_sum = np.zeros(len(query_tile), query_tile.dtype)
    accumulator = np.zeros((len(query_tile), value.shape[1]), value.dtype)
    # Behind the last position that a query of this tile sees there is nothing to do.
    end = len(key) if position is None else max(0, position[-1] + 1)
    for start in range(0, end, tile_k):
        columns = slice(start, min(start + tile_k, end))
        scores = query_tile @ key[columns].T / query_tile.shape[1] ** 0.5  # [tile_q, tile_k]
        if position is not None:
            seen = np.arange(columns.start, columns.stop) <= position[:, None]
            scores[~seen] = -np.inf

        new_max = np.maximum(row_max, scores.max(axis=1))
        shift = np.where(new_max > -np.inf, new_max, 0.0)  # -inf - -inf would be NaN
        rescale = np.exp(row_max - shift)  # [tile_q]
        weights = np.exp(scores - shift[:, None])  # [tile_q, tile_k], not yet normalised
        row_sum = row_sum * rescale + weights.sum(axis=1)
        accumulator = accumulator * rescale[:, None] + weights @ value[columns]
        row_max = new_max

    saw_any = row_sum > 0
    divisor = np.where(saw_any, row_sum, 1.0)
    return accumulator / divisor[:, None], np.where(saw_any, row_max + np.log(divisor), -np.inf)


def _checked(query, key, value):
    query, key, value = (
        _arguments.finite_array(name, array, ndim=2)
        for name, array in (("query", query), ("key", key), ("value", value))
    )
    if key.shape[1] != query.shape[1]:
        raise ValueError(
            f"key must have query's head_dim of {query.shape[1]}, got shape {key.shape}"
        )
    if len(value) != len(key):
        raise ValueError(
            f"value must have a row for each of the {len(key)} keys, got shape {value.shape}"
        )
    return query, key, value
