"""Attention with the whole matrix of scores, in plain torch: the definition of correct.

Every other path must give these numbers. This one keeps n_query times n_key of them for each head,
works in float64, and gives the gradient of everything that goes in.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int


def relative_positions(
    n_query: int,
    n_key: int,
    *,
    queries: slice = slice(None),
    keys: slice = slice(None),
    device: torch.device | str | None = None,
) -> Int[torch.Tensor, "n_query n_key"]:
    """Return how far each key lies behind each query, p_i - j.

    The last query stands at the last key: query i has the position p_i = i + n_key - n_query.

    Equation: eq-attention-causal.

    Args:
        n_query, n_key: how many queries and keys there are.
        queries, keys: which of them to give the rows and columns of; all if not given.
        device: where to put the result.
    """
    position = torch.arange(n_key - n_query, n_key, dtype=torch.int32, device=device)[queries]
    return position[:, None] - torch.arange(n_key, dtype=torch.int32, device=device)[keys]


def seen_keys(
    relative_position: Int[torch.Tensor, "n_query n_key"], *, causal: bool, window: int | None
) -> Bool[torch.Tensor, "n_query n_key"] | None:
    """Return which keys each query sees, or None if it sees all.

    Equation: eq-attention-causal.

    Args:
        relative_position: p_i - j, from ``relative_positions``.
        causal: whether later keys are hidden, those with j > p_i.
        window: hide the keys with |p_i - j| >= window.
    """
    seen = relative_position >= 0 if causal else None
    if window is not None:
        near = relative_position.abs() < window
        seen = near if seen is None else seen & near
    return seen


def added_to_scores(
    relative_position: Int[torch.Tensor, "n_query n_key"],
    dtype: torch.dtype,
    *,
    causal: bool,
    window: int | None,
    bias: Float[torch.Tensor, "*scores"] | None,
    alibi_slopes: Float[torch.Tensor, "*rows heads"] | None,
) -> Float[torch.Tensor, "*added"] | None:
    """Return bias, ALiBi and mask as one tensor that is added to the dot products.

    Equation: eq-attention-causal, eq-attention-alibi.

    Args:
        relative_position: p_i - j, from ``relative_positions``.
        dtype: that of the scores.
        causal, window, bias, alibi_slopes: as in ``attention``.

    Returns:
        A tensor that broadcasts to (batch, heads, n_query, n_key), or None if nothing is added.
    """
    added = None if bias is None else bias.to(dtype)
    if alibi_slopes is not None:
        penalty = alibi_slopes.to(dtype)[..., None, None] * relative_position.abs()
        added = -penalty if added is None else added - penalty
    seen = seen_keys(relative_position, causal=causal, window=window)
    if seen is None:
        return added
    if added is None:
        added = torch.zeros((), dtype=dtype, device=relative_position.device)
    return torch.where(seen, added, -torch.inf)


def attention_scores(
    query: Float[torch.Tensor, "batch heads n_query head_dim"],
    key: Float[torch.Tensor, "batch kv_heads n_key head_dim"],
    *,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    bias: Float[torch.Tensor, "*scores"] | None = None,
    alibi_slopes: Float[torch.Tensor, "*rows heads"] | None = None,
) -> Float[torch.Tensor, "batch heads n_query n_key"]:
    """Return the scores before softmax, -inf where a query does not see a key.

    score_ij = scale * q_i·k_j + bias_ij - slope * |p_i - j|

    Equation: eq-attention-causal, eq-attention-alibi.

    Args:
        query: (batch, heads, n_query, head_dim).
        key: (batch, kv_heads, n_key, head_dim); kv_heads divides heads.
        causal, window, scale, bias, alibi_slopes: as in ``attention``.

    Returns:
        (batch, heads, n_query, n_key), in float32, or float64 if the query is.
    """
    n_query, head_dim = query.shape[-2:]
    dtype = accumulation_dtype(query.dtype)
    scale = head_dim**-0.5 if scale is None else scale
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = query.to(dtype) @ key.to(dtype).mT * scale  # (batch, heads, n_query, n_key)
    added = added_to_scores(
        relative_positions(n_query, key.shape[2], device=query.device),
        dtype,
        causal=causal,
        window=window,
        bias=bias,
        alibi_slopes=alibi_slopes,
    )
    return scores if added is None else scores + added


def attention_weights(
    query: Float[torch.Tensor, "batch heads n_query head_dim"],
    key: Float[torch.Tensor, "batch kv_heads n_key head_dim"],
    *,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    bias: Float[torch.Tensor, "*scores"] | None = None,
    alibi_slopes: Float[torch.Tensor, "*rows heads"] | None = None,
) -> Float[torch.Tensor, "batch heads n_query n_key"]:
    """Return how much each query attends to each key: the softmax of the scores, row by row.

    Args:
        query: (batch, heads, n_query, head_dim).
        key: (batch, kv_heads, n_key, head_dim); kv_heads divides heads.
        causal, window, scale, bias, alibi_slopes: as in ``attention``.

    Returns:
        (batch, heads, n_query, n_key), in float32, or float64 if the query is. Rows sum to 1; the
        row of a query that sees no key is 0.
    """
    scores = attention_scores(
        query,
        key,
        causal=causal,
        window=window,
        scale=scale,
        bias=bias,
        alibi_slopes=alibi_slopes,
    )
    return _softmax_and_lse(scores)[0]


def reference_attention(
    query: Float[torch.Tensor, "batch heads n_query head_dim"],
    key: Float[torch.Tensor, "batch kv_heads n_key head_dim"],
    value: Float[torch.Tensor, "batch kv_heads n_key head_dim"],
    *,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    bias: Float[torch.Tensor, "*scores"] | None = None,
    alibi_slopes: Float[torch.Tensor, "*rows heads"] | None = None,
) -> tuple[
    Float[torch.Tensor, "batch heads n_query head_dim"],
    Float[torch.Tensor, "batch heads n_query"],
]:
    """Return the values, averaged with the weights of attention, and the LSE of the scores.

    Equation: eq-attention-sdpa, eq-attention-lse.

    Args:
        query: (batch, heads, n_query, head_dim).
        key, value: (batch, kv_heads, n_key, head_dim); kv_heads divides heads.
        causal, window, scale, bias, alibi_slopes: as in ``attention``.

    Returns:
        The output (batch, heads, n_query, head_dim) in the query's dtype, and the log of the sum
        of exponentials of each row of scores, (batch, heads, n_query), in float32, or float64 if
        the query is.
    """
    scores = attention_scores(
        query,
        key,
        causal=causal,
        window=window,
        scale=scale,
        bias=bias,
        alibi_slopes=alibi_slopes,
    )
    weights, lse = _softmax_and_lse(scores)
    value = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
    output = weights @ value.to(weights.dtype)  # (batch, heads, n_query, head_dim)
    return output.to(query.dtype), lse


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which sums over tensors of ``dtype`` are taken."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _softmax_and_lse(
    scores: Float[torch.Tensor, "*batch n_key"],
) -> tuple[Float[torch.Tensor, "*batch n_key"], Float[torch.Tensor, "*batch"]]:
    # A row of -inf alone would give NaN, here or in its gradient: compute with 0, then blank it.
    blind = (scores == -torch.inf).all(-1)
    scores = scores.masked_fill(blind[..., None], 0.0)
    weights = scores.softmax(-1).masked_fill(blind[..., None], 0.0)
    return weights, scores.logsumexp(-1).masked_fill(blind, -torch.inf)
