"""Attention on the CPU, tile by tile of queries: memory grows with length, not with its square.

Only the keys that some query of the tile can see are touched, so a causal mask costs half and a
window nearly nothing. Forward hands each tile to torch's fused kernel for CPUs, which has no window
and aligns its causal mask at the first key. Backward is written out in matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float

from lmcourse.attention.reference import accumulation_dtype, added_to_scores, relative_positions

TILE_Q = 128


def forward(
    query: Float[torch.Tensor, "batch heads n_query head_dim"],
    key: Float[torch.Tensor, "batch kv_heads n_key head_dim"],
    value: Float[torch.Tensor, "batch kv_heads n_key head_dim"],
    *,
    causal: bool,
    window: int | None,
    scale: float,
    bias: Float[torch.Tensor, "batch heads n_query n_key"] | None,
    alibi_slopes: Float[torch.Tensor, "batch heads"] | None,
) -> tuple[
    Float[torch.Tensor, "batch heads n_query head_dim"],
    Float[torch.Tensor, "batch heads n_query"],
]:
    """Return the output of attention and the LSE of each row of scores.

    Equation: eq-attention-sdpa, eq-attention-lse.

    Args:
        query: (batch, heads, n_query, head_dim), on the CPU.
        key, value: (batch, kv_heads, n_key, head_dim); kv_heads divides heads.
        causal, window, scale, bias, alibi_slopes: as in ``attention``, with ``bias`` expanded to
            (batch, heads, n_query, n_key) and ``alibi_slopes`` to (batch, heads).

    Returns:
        The output, in the query's dtype; and the LSE in float32, or float64 if the query is.
    """
    n_query, n_key, group = query.shape[2], key.shape[2], query.shape[1] // key.shape[1]
    query, key, value = (_with_unit_stride(tensor) for tensor in (query, key, value))
    output = query.new_zeros(query.shape)
    lse = query.new_full(query.shape[:3], -torch.inf, dtype=accumulation_dtype(query.dtype))
    may_be_blind = bias is not None or n_query > n_key  # a query that sees no key
    for queries, keys in tiles(n_query, n_key, causal=causal, window=window):
        added = added_to_scores(
            relative_positions(n_query, n_key, queries=queries, keys=keys),
            lse.dtype,
            causal=causal,
            window=window,
            bias=None if bias is None else bias[:, :, queries, keys],
            alibi_slopes=alibi_slopes,
        )
        tile_output, tile_lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            _fold(query[:, :, queries], group),
            key[:, :, keys],
            value[:, :, keys],
            attn_mask=None if added is None else _fold(added, group),
            scale=scale,
        )
        tile_output = _unfold(tile_output, group)  # (batch, heads, tile_q, head_dim)
        tile_lse = _unfold(tile_lse, group)  # (batch, heads, tile_q)
        if may_be_blind and added is not None:
            blind = (added == -torch.inf).all(-1)  # (1 or batch, 1 or heads, tile_q)
            tile_output = tile_output.masked_fill(blind[..., None], 0.0)
            tile_lse = tile_lse.masked_fill(blind, -torch.inf)
        output[:, :, queries] = tile_output
        lse[:, :, queries] = tile_lse
    return output, lse


def backward(
    grad_output: Float[torch.Tensor, "batch heads n_query head_dim"],
    grad_lse: Float[torch.Tensor, "batch heads n_query"] | None,
    query: Float[torch.Tensor, "batch heads n_query head_dim"],
    key: Float[torch.Tensor, "batch kv_heads n_key head_dim"],
    value: Float[torch.Tensor, "batch kv_heads n_key head_dim"],
    output: Float[torch.Tensor, "batch heads n_query head_dim"],
    lse: Float[torch.Tensor, "batch heads n_query"],
    *,
    causal: bool,
    window: int | None,
    scale: float,
    bias: Float[torch.Tensor, "batch heads n_query n_key"] | None,
    alibi_slopes: Float[torch.Tensor, "batch heads"] | None,
) -> tuple[
    Float[torch.Tensor, "batch heads n_query head_dim"],
    Float[torch.Tensor, "batch kv_heads n_key head_dim"],
    Float[torch.Tensor, "batch kv_heads n_key head_dim"],
]:
    """Return the gradients of query, key and value; the weights are computed again from the LSE.

    Equation: eq-attention-backward.

    Args:
        grad_output: the gradient with respect to the output.
        grad_lse: the gradient with respect to the LSE, or None if it is 0.
        query, key, value, causal, window, scale, bias, alibi_slopes: what ``forward`` was given.
        output, lse: what it returned.

    Returns:
        Three gradients, in shape and dtype of query, key and value.
    """
    n_query, n_key, group = query.shape[2], key.shape[2], query.shape[1] // key.shape[1]
    delta = (grad_output.to(lse.dtype) * output).sum(-1)  # (batch, heads, n_query)
    if grad_lse is not None:
        delta = delta - grad_lse
    lse = lse.masked_fill(lse == -torch.inf, 0.0)  # rows without a key: exp(-inf - 0) = 0
    dtype = torch.float32 if query.dtype == torch.float16 else query.dtype  # float16 is slow here
    query_, grad_output, key_, value_ = (t.to(dtype) for t in (query, grad_output, key, value))
    key_, value_ = key_.flatten(0, 1), value_.flatten(0, 1)  # (batch * kv_heads, n_key, head_dim)
    grad_query = query.new_zeros(query.shape)
    grad_key = torch.zeros_like(key_, dtype=lse.dtype)
    grad_value = torch.zeros_like(value_, dtype=lse.dtype)
    for queries, keys in tiles(n_query, n_key, causal=causal, window=window):
        added = added_to_scores(
            relative_positions(n_query, n_key, queries=queries, keys=keys),
            lse.dtype,
            causal=causal,
            window=window,
            bias=None if bias is None else bias[:, :, queries, keys],
            alibi_slopes=alibi_slopes,
        )
        q, do, row_lse, row_delta = (
            _fold(rows[:, :, queries], group).flatten(0, 1)  # (batch * kv_heads, rows, ...)
            for rows in (query_, grad_output, lse[..., None], delta[..., None])
        )
        k, v = key_[:, keys], value_[:, keys]
        # Both differences cancel, so their products are made as exactly as LSE and delta were.
        scores = scale * (q.to(lse.dtype) @ k.to(lse.dtype).mT) - row_lse
        grad_scores = do.to(lse.dtype) @ v.to(lse.dtype).mT - row_delta
        if added is not None:
            shape = (*key.shape[:2], *scores.shape[1:])
            scores = (scores.view(shape) + _fold(added, group)).flatten(0, 1)
        weights = scores.exp_()
        grad_value[:, keys] += weights.to(dtype).mT @ do
        grad_scores = (grad_scores * weights).to(dtype)
        grad_q = _unfold((grad_scores @ k).unflatten(0, key.shape[:2]), group)
        grad_query[:, :, queries] = grad_q * scale
        grad_key[:, keys] += grad_scores.mT @ q
    grad_key *= scale
    return (
        grad_query,
        grad_key.view(key.shape).to(key.dtype),
        grad_value.view(value.shape).to(value.dtype),
    )


def tiles(
    n_query: int, n_key: int, *, causal: bool, window: int | None
) -> Iterator[tuple[slice, slice]]:
    """Yield the tiles of queries, each with the range of keys that its queries see some of.

    Args:
        n_query, n_key: how many queries and keys there are.
        causal, window: as in ``attention``.

    Yields:
        A slice of the queries and one of the keys.
    """
    for start in range(0, n_query, TILE_Q):
        stop = min(start + TILE_Q, n_query)
        first, last = start + n_key - n_query, stop - 1 + n_key - n_query  # positions p_i
        begin = 0 if window is None else max(0, first - window + 1)
        end = n_key if window is None else min(n_key, last + window)
        if causal:
            end = min(end, last + 1)
        if begin < end:
            yield slice(start, stop), slice(begin, end)


def _fold(tensor: torch.Tensor, group: int) -> torch.Tensor:
    """Lay the heads that share a key head under each other: (batch, kv_heads, group * rows, …).

    What is the same for all heads, (batch, 1, rows, …), is repeated for those of one group alone;
    what is the same for all queries, (rows, …), too.
    """
    tensor = tensor if tensor.ndim == 4 else tensor[None, None]
    if group == 1:
        return tensor
    if tensor.shape[1] == 1:
        tensor = tensor.expand(-1, group, *tensor.shape[2:])
    return tensor.unflatten(1, (-1, group)).flatten(2, 3)


def _unfold(tensor: torch.Tensor, group: int) -> torch.Tensor:
    """Undo ``_fold``: (batch, kv_heads, group * rows, …) becomes (batch, heads, rows, …)."""
    return tensor if group == 1 else tensor.unflatten(2, (group, -1)).flatten(1, 2)


def _with_unit_stride(tensor: torch.Tensor) -> torch.Tensor:
    """Return ``tensor`` with its last axis contiguous, which the kernel takes for granted."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
