"""Attention as three Triton kernels, and the two functions that launch them.

The algorithm is FlashAttention-2's (Dao, 2024): no kernel ever writes a score to memory.
A program of the forward kernel owns ``TILE_Q`` queries and walks over the keys they see,
``TILE_K`` at a time. The backward pass computes the scores again, in two kernels: one
owns keys and walks over queries, one owns queries and walks over keys. So every number
is written by one program, in one order, and two runs agree bit for bit.

What a call does not use costs nothing: ``None`` and ``CAUSAL`` are known when Triton
compiles, and their branches vanish. Scores are in units of log 2 inside a kernel, for
the hardware's exponential is ``exp2``.
"""

from __future__ import annotations

import math
from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float

LOG2_E = tl.constexpr(math.log2(math.e))
# Loops over tiles have three parts: tiles at one edge of the mask, tiles where every
# query sees every key, tiles at the other edge. Only the edges pay for masks.
WHOLE = tl.constexpr(1)

# The tests' run-time type checker wraps functions unless told not to, and Triton needs
# them bare.


@triton.jit
@no_type_check
def _program(tiles, heads):
    """Return which tile, head and batch entry this program owns."""
    program = tl.program_id(0)  # one axis, for the others stop at 65,535
    tile = program % tiles
    # 64 bits, so that what they are multiplied with may point beyond 2**31 elements.
    head = (program // tiles % heads).to(tl.int64)
    batch = (program // tiles // heads).to(tl.int64)
    return tile, head, batch


@triton.jit
@no_type_check
def _loop_bounds(first, last, behind, ahead, n, TILE: tl.constexpr):
    """Return where loops over the other axis, of length ``n``, begin and end.

    Index x of this axis meets x - behind … x + ahead of the other. All of first … last
    together meet bounds[0] … bounds[3]; each alone meets all of bounds[1] … bounds[2].
    """
    begin = tl.maximum(first - behind, 0) // TILE * TILE
    end = tl.maximum(tl.minimum(last + ahead + 1, n), begin)
    whole_begin = tl.cdiv(tl.maximum(last - behind, 0), TILE) * TILE
    whole_begin = tl.minimum(whole_begin, end)
    whole_end = tl.maximum(tl.minimum(first + ahead + 1, n), 0) // TILE * TILE
    whole_end = tl.maximum(whole_end, whole_begin)
    return begin, whole_begin, whole_end, end


@triton.jit
@no_type_check
def _pointers(base, strides, rows, TILE_D: tl.constexpr):
    """Return the addresses of these rows of one head, all ``TILE_D`` wide."""
    dims = tl.arange(0, TILE_D).to(tl.int64)
    row_offsets = rows.to(tl.int64) * strides[2]
    # (rows, TILE_D)
    return base + row_offsets[:, None] + dims[None, :] * strides[3]


@triton.jit
@no_type_check
def _load(
    base, strides, rows, n_rows,
    CHECK_ROWS: tl.constexpr, HEAD_DIM: tl.constexpr, TILE_D: tl.constexpr,
):  # fmt: skip
    """Load these rows as (rows, TILE_D); what lies beyond the tensor is 0."""
    pointers = _pointers(base, strides, rows, TILE_D)
    inside = (tl.arange(0, TILE_D) < HEAD_DIM)[None, :]
    if CHECK_ROWS:
        return tl.load(pointers, mask=inside & (rows < n_rows)[:, None], other=0.0)
    elif HEAD_DIM < TILE_D:
        return tl.load(pointers, mask=inside, other=0.0)
    else:
        return tl.load(pointers)


@triton.jit
@no_type_check
def _store(
    base, strides, rows, n_rows, tile,
    HEAD_DIM: tl.constexpr, TILE_D: tl.constexpr,
):  # fmt: skip
    """Store what of tile (rows, TILE_D) lies inside the tensor, in its type."""
    inside = (tl.arange(0, TILE_D) < HEAD_DIM)[None, :] & (rows < n_rows)[:, None]
    pointers = _pointers(base, strides, rows, TILE_D)
    tl.store(pointers, tile.to(base.dtype.element_ty), mask=inside)


@triton.jit
@no_type_check
def _scores(
    products, queries, keys, n_query, n_key,
    scale, window, slope, bias, bias_strides,
    CAUSAL: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Turn the products q·k of a tile into scores, in units of log 2.

    ``queries`` and ``keys`` are indices that broadcast to the shape of ``products``.
    Only where ``MASKED`` can the tile hold a pair that does not see each other.
    """
    # eq-attention-sdpa
    scores = products * (scale * LOG2_E)
    distance = queries + (n_key - n_query) - keys  # p_i - j, of eq-attention-causal
    if slope is not None:  # eq-attention-alibi
        scores -= slope * LOG2_E * tl.abs(distance).to(tl.float32)
    if bias is not None:
        pointers = bias + queries.to(tl.int64) * bias_strides[2]
        pointers += keys.to(tl.int64) * bias_strides[3]
        inside = (queries < n_query) & (keys < n_key)
        bias_tile = tl.load(pointers, mask=inside, other=0.0)
        scores += bias_tile.to(tl.float32) * LOG2_E
    if MASKED:  # eq-attention-causal
        seen = keys < n_key
        if CAUSAL:
            seen &= distance >= 0
        if window is not None:
            seen &= tl.abs(distance) < window
        scores = tl.where(seen, scores, float("-inf"))
    return scores


@triton.jit
@no_type_check
def _head_of(base, strides, batch, head):
    """Return the address of one head of one batch entry."""
    return base + batch * strides[0] + head * strides[1]


@triton.jit
@no_type_check
def _forward_kernel(
    query, query_strides, key, key_strides, value, value_strides,
    output, output_strides, lse,
    heads, group, n_query, n_key, scale, window, alibi_slopes, bias, bias_strides,
    CAUSAL: tl.constexpr, HEAD_DIM: tl.constexpr,
    TILE_Q: tl.constexpr, TILE_K: tl.constexpr, TILE_D: tl.constexpr,
):  # fmt: skip
    """One tile of queries of one head: its output and its LSE."""
    tiles = tl.cdiv(n_query, TILE_Q)
    tile, head, batch = _program(tiles, heads)
    first_query = (tiles - 1 - tile) * TILE_Q  # causal: the longest loops start first
    queries = first_query + tl.arange(0, TILE_Q)  # (TILE_Q,)

    query = _head_of(query, query_strides, batch, head)
    key = _head_of(key, key_strides, batch, head // group)
    value = _head_of(value, value_strides, batch, head // group)
    slope = None
    if alibi_slopes is not None:
        slope = tl.load(alibi_slopes + batch * heads + head)
    if bias is not None:
        bias = _head_of(bias, bias_strides, batch, head)

    query_tile = _load(query, query_strides, queries, n_query, True, HEAD_DIM, TILE_D)
    row_max = tl.full([TILE_Q], float("-inf"), tl.float32)
    row_sum = tl.zeros([TILE_Q], tl.float32)
    accumulator = tl.zeros([TILE_Q, TILE_D], tl.float32)

    reach = n_query + n_key if window is None else window - 1
    first = first_query + n_key - n_query
    last = tl.minimum(first + TILE_Q, n_key) - 1
    bounds = _loop_bounds(first, last, reach, 0 if CAUSAL else reach, n_key, TILE_K)
    # Keys at the window's far edge, keys that all queries see, keys at the near edge.
    for part in tl.static_range(1 if window is None else 0, 3):
        for first_key in range(bounds[part], bounds[part + 1], TILE_K):
            keys = first_key + tl.arange(0, TILE_K)  # (TILE_K,)
            key_tile = _load(
                key, key_strides, keys, n_key, part != WHOLE, HEAD_DIM, TILE_D,
            )  # fmt: skip
            products = tl.dot(query_tile, key_tile.T, input_precision="ieee")
            scores = _scores(
                products, queries[:, None], keys[None, :], n_query, n_key,
                scale, window, slope, bias, bias_strides, CAUSAL, part != WHOLE,
            )  # (TILE_Q, TILE_K)  # fmt: skip

            # eq-attention-online
            new_max = tl.maximum(row_max, tl.max(scores, 1))
            shift = new_max
            if part != WHOLE or bias is not None:  # -inf - -inf is NaN
                shift = tl.where(new_max == float("-inf"), 0.0, new_max)
            weights = tl.exp2(scores - shift[:, None])  # (TILE_Q, TILE_K)
            rescale = tl.exp2(row_max - shift)
            row_sum = row_sum * rescale + tl.sum(weights, 1)
            accumulator = accumulator * rescale[:, None]
            value_tile = _load(
                value, value_strides, keys, n_key, part != WHOLE, HEAD_DIM, TILE_D,
            )  # fmt: skip
            low = weights.to(value_tile.dtype)  # for the tensor cores
            accumulator = tl.dot(low, value_tile, accumulator, input_precision="ieee")
            row_max = new_max

    # A query that saw no key has the sum 0: its output is 0 and its LSE -inf.
    row_sum = tl.where(row_sum == 0, 1.0, row_sum)
    output = _head_of(output, output_strides, batch, head)
    accumulator = accumulator / row_sum[:, None]
    _store(output, output_strides, queries, n_query, accumulator, HEAD_DIM, TILE_D)
    # eq-attention-lse, back in units of e
    lse_tile = (row_max + tl.log2(row_sum)) / LOG2_E  # (TILE_Q,)
    lse += (batch * heads + head) * n_query
    tl.store(lse + queries, lse_tile, mask=queries < n_query)


@triton.jit
@no_type_check
def _grad_key_value_kernel(
    query, query_strides, key, key_strides, value, value_strides,
    grad_output, grad_output_strides, lse, delta,
    grad_key, grad_key_strides, grad_value, grad_value_strides,
    heads, group, n_query, n_key, scale, window, alibi_slopes, bias, bias_strides,
    CAUSAL: tl.constexpr, HEAD_DIM: tl.constexpr,
    TILE_Q: tl.constexpr, TILE_K: tl.constexpr, TILE_D: tl.constexpr,
):  # fmt: skip
    """One tile of keys of one key-value head: the gradients of these keys and values.

    Tiles of weights are transposed, (TILE_K, TILE_Q): so they are left factors of the
    products that follow, and a left factor may stay in registers.
    """
    tile, kv_head, batch = _program(tl.cdiv(n_key, TILE_K), heads // group)
    first_key = tile * TILE_K
    keys = first_key + tl.arange(0, TILE_K)  # (TILE_K,)

    key = _head_of(key, key_strides, batch, kv_head)
    value = _head_of(value, value_strides, batch, kv_head)
    key_tile = _load(key, key_strides, keys, n_key, True, HEAD_DIM, TILE_D)
    value_tile = _load(value, value_strides, keys, n_key, True, HEAD_DIM, TILE_D)
    key_sum = tl.zeros([TILE_K, TILE_D], tl.float32)
    value_sum = tl.zeros([TILE_K, TILE_D], tl.float32)

    reach = n_query + n_key if window is None else window - 1
    first = first_key - n_key + n_query
    last = tl.minimum(first + TILE_K, n_query) - 1
    bounds = _loop_bounds(first, last, 0 if CAUSAL else reach, reach, n_query, TILE_Q)
    # Queries at the near edge, queries that see all keys, queries at the far edge.
    for part in tl.static_range(0 if CAUSAL or window is not None else 1, 3):
        # One loop over the query heads that share these keys, and their tiles.
        steps = tl.cdiv(bounds[part + 1] - bounds[part], TILE_Q)
        for step in range(0, group * steps):
            head = kv_head * group + step // steps
            first_query = bounds[part] + step % steps * TILE_Q
            queries = first_query + tl.arange(0, TILE_Q)  # (TILE_Q,)
            slope = None
            if alibi_slopes is not None:
                slope = tl.load(alibi_slopes + batch * heads + head)
            head_bias = None
            if bias is not None:
                head_bias = _head_of(bias, bias_strides, batch, head)
            query_tile = _load(
                _head_of(query, query_strides, batch, head),
                query_strides, queries, n_query, part != WHOLE, HEAD_DIM, TILE_D,
            )  # fmt: skip
            products = tl.dot(key_tile, query_tile.T, input_precision="ieee")
            scores = _scores(
                products, queries[None, :], keys[:, None], n_query, n_key,
                scale, window, slope, head_bias, bias_strides, CAUSAL, part != WHOLE,
            )  # (TILE_K, TILE_Q)  # fmt: skip
            grad_tile = _load(
                _head_of(grad_output, grad_output_strides, batch, head),
                grad_output_strides, queries, n_query, part != WHOLE, HEAD_DIM, TILE_D,
            )  # fmt: skip
            inside = queries < n_query
            row = (batch * heads + head) * n_query
            # Beyond the last query the LSE is inf, which makes the weights 0.
            lse_tile = tl.load(lse + row + queries, mask=inside, other=float("inf"))
            delta_tile = tl.load(delta + row + queries, mask=inside, other=0.0)

            # eq-attention-backward
            weights = tl.exp2(scores - lse_tile[None, :] * LOG2_E)  # (TILE_K, TILE_Q)
            low = weights.to(grad_tile.dtype)
            value_sum = tl.dot(low, grad_tile, value_sum, input_precision="ieee")
            grad_weights = tl.dot(value_tile, grad_tile.T, input_precision="ieee")
            grad_scores = weights * (grad_weights - delta_tile[None, :])
            low = grad_scores.to(query_tile.dtype)
            key_sum = tl.dot(low, query_tile, key_sum, input_precision="ieee")

    grad_key = _head_of(grad_key, grad_key_strides, batch, kv_head)
    grad_value = _head_of(grad_value, grad_value_strides, batch, kv_head)
    _store(grad_key, grad_key_strides, keys, n_key, key_sum * scale, HEAD_DIM, TILE_D)
    _store(grad_value, grad_value_strides, keys, n_key, value_sum, HEAD_DIM, TILE_D)


@triton.jit
@no_type_check
def _grad_query_kernel(
    query, query_strides, key, key_strides, value, value_strides,
    grad_output, grad_output_strides, lse, delta,
    grad_query, grad_query_strides,
    heads, group, n_query, n_key, scale, window, alibi_slopes, bias, bias_strides,
    CAUSAL: tl.constexpr, HEAD_DIM: tl.constexpr,
    TILE_Q: tl.constexpr, TILE_K: tl.constexpr, TILE_D: tl.constexpr,
):  # fmt: skip
    """One tile of queries of one head: the gradient of these queries."""
    tiles = tl.cdiv(n_query, TILE_Q)
    tile, head, batch = _program(tiles, heads)
    first_query = (tiles - 1 - tile) * TILE_Q
    queries = first_query + tl.arange(0, TILE_Q)  # (TILE_Q,)

    query = _head_of(query, query_strides, batch, head)
    key = _head_of(key, key_strides, batch, head // group)
    value = _head_of(value, value_strides, batch, head // group)
    grad_output = _head_of(grad_output, grad_output_strides, batch, head)
    slope = None
    if alibi_slopes is not None:
        slope = tl.load(alibi_slopes + batch * heads + head)
    if bias is not None:
        bias = _head_of(bias, bias_strides, batch, head)

    query_tile = _load(query, query_strides, queries, n_query, True, HEAD_DIM, TILE_D)
    grad_tile = _load(
        grad_output, grad_output_strides, queries, n_query, True, HEAD_DIM, TILE_D,
    )  # fmt: skip
    inside = queries < n_query
    row = (batch * heads + head) * n_query
    lse_tile = tl.load(lse + row + queries, mask=inside, other=float("inf"))
    delta_tile = tl.load(delta + row + queries, mask=inside, other=0.0)
    query_sum = tl.zeros([TILE_Q, TILE_D], tl.float32)

    reach = n_query + n_key if window is None else window - 1
    first = first_query + n_key - n_query
    last = tl.minimum(first + TILE_Q, n_key) - 1
    bounds = _loop_bounds(first, last, reach, 0 if CAUSAL else reach, n_key, TILE_K)
    for part in tl.static_range(1 if window is None else 0, 3):
        for first_key in range(bounds[part], bounds[part + 1], TILE_K):
            keys = first_key + tl.arange(0, TILE_K)  # (TILE_K,)
            key_tile = _load(
                key, key_strides, keys, n_key, part != WHOLE, HEAD_DIM, TILE_D,
            )  # fmt: skip
            products = tl.dot(query_tile, key_tile.T, input_precision="ieee")
            scores = _scores(
                products, queries[:, None], keys[None, :], n_query, n_key,
                scale, window, slope, bias, bias_strides, CAUSAL, part != WHOLE,
            )  # (TILE_Q, TILE_K)  # fmt: skip

            # eq-attention-backward
            weights = tl.exp2(scores - lse_tile[:, None] * LOG2_E)  # (TILE_Q, TILE_K)
            value_tile = _load(
                value, value_strides, keys, n_key, part != WHOLE, HEAD_DIM, TILE_D,
            )  # fmt: skip
            grad_weights = tl.dot(grad_tile, value_tile.T, input_precision="ieee")
            grad_scores = weights * (grad_weights - delta_tile[:, None])
            low = grad_scores.to(key_tile.dtype)
            query_sum = tl.dot(low, key_tile, query_sum, input_precision="ieee")

    grad_query = _head_of(grad_query, grad_query_strides, batch, head)
    _store(
        grad_query, grad_query_strides, queries, n_query, query_sum * scale,
        HEAD_DIM, TILE_D,
    )  # fmt: skip


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
    """Return the output, in the type of ``query``, and the LSE in float32; both contiguous.

    Args:
        query, key, value: float16, bfloat16 or float32, all of one type and device,
            with any strides; ``heads`` is a multiple of ``kv_heads``.
        causal, window, scale: as for `lmcourse.attention.attention`.
        bias: added to the scores, with any strides, 0 for a broadcast axis included.
        alibi_slopes: one float32 slope for each head.

    Raises:
        ValueError: the tensors are on the CPU and Triton's interpreter is off,
            ``head_dim`` is above 256, or the type is another.
    """
    _check_device(query)
    output = query.new_empty(query.shape)
    lse = query.new_empty(query.shape[:3], dtype=torch.float32)
    tiles = tile_sizes("forward", query.shape[-1], query.dtype)
    with torch.cuda.device_of(query):
        _forward_kernel[_grid(query, 2, tiles["TILE_Q"])](
            *_with_strides(query, key, value, output), lse,
            **_shared(query, key, causal, window, scale, bias, alibi_slopes), **tiles,
        )  # fmt: skip
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
    """Return the gradients of ``query``, ``key`` and ``value``, contiguous, in their types.

    Equation: eq-attention-backward

    Args:
        grad_output: the gradient of the output, with any strides.
        grad_lse: the gradient of the LSE, or ``None`` where nothing was made of it.
        query, key, value: as they went into `forward`.
        output, lse: as they came out of it.
        causal, window, scale, bias, alibi_slopes: as they went into it.

    Raises:
        ValueError: as `forward` does.
    """
    _check_device(query)
    # eq-attention-backward: the part of the gradient that all scores of a row share
    delta = (grad_output.float() * output.float()).sum(-1)
    if grad_lse is not None:
        delta -= grad_lse
    # exp(s - inf) = 0 are the weights of a query that saw no key.
    lse = lse.masked_fill(lse == -math.inf, math.inf).contiguous()
    grad_query, grad_key, grad_value = (t.new_empty(t.shape) for t in (query, key, value))
    inputs = *_with_strides(query, key, value, grad_output), lse, delta
    shared = _shared(query, key, causal, window, scale, bias, alibi_slopes)
    with torch.cuda.device_of(query):
        tiles = tile_sizes("grad_key_value", query.shape[-1], query.dtype)
        _grad_key_value_kernel[_grid(key, 2, tiles["TILE_K"])](
            *inputs, *_with_strides(grad_key, grad_value), **shared, **tiles
        )
        tiles = tile_sizes("grad_query", query.shape[-1], query.dtype)
        _grad_query_kernel[_grid(query, 2, tiles["TILE_Q"])](
            *inputs, *_with_strides(grad_query), **shared, **tiles
        )
    return grad_query, grad_key, grad_value


# TILE_Q, TILE_K, num_warps and num_stages by kernel, bytes of an element and the largest
# TILE_D: large tiles with which the compiler, for Hopper, keeps all that a thread needs
# in its 255 registers (at 256, nearly all). Two-byte types run on tensor cores; float32
# in full precision does not, and takes more registers for less. No clock chose them.
_TILES = {
    ("forward", 2): {64: (128, 128, 8, 3), 128: (128, 64, 8, 3), 256: (128, 32, 8, 2)},
    ("grad_key_value", 2): {64: (64, 128, 8, 2), 128: (32, 128, 8, 2), 256: (16, 64, 8, 2)},
    ("grad_query", 2): {64: (128, 128, 8, 2), 128: (128, 64, 8, 2), 256: (64, 32, 8, 2)},
    ("forward", 4): {64: (64, 32, 8, 1), 128: (32, 32, 8, 1), 256: (32, 16, 8, 1)},
    ("grad_key_value", 4): {64: (32, 32, 8, 1), 128: (16, 32, 8, 1), 256: (16, 16, 8, 1)},
    ("grad_query", 4): {64: (32, 32, 8, 1), 128: (16, 16, 8, 1), 256: (16, 16, 8, 1)},
}


def tile_sizes(kernel: str, head_dim: int, dtype: torch.dtype) -> dict[str, int]:
    """Return the tile sizes with which a kernel is launched, and its warps and stages.

    Args:
        kernel: ``"forward"``, ``"grad_key_value"`` or ``"grad_query"``.
        head_dim: the width of a head, at most 256.
        dtype: float16, bfloat16 or float32.

    Raises:
        ValueError: ``head_dim`` is larger, or ``dtype`` another.
    """
    if head_dim > 256:
        raise ValueError(f"head_dim must be at most 256 for the Triton kernels, got {head_dim}")
    if dtype not in (torch.float16, torch.bfloat16, torch.float32):
        raise ValueError(
            f"query must be float16, bfloat16 or float32 for the Triton kernels, got {dtype}"
        )
    tile_d = max(16, triton.next_power_of_2(head_dim))
    by_width = _TILES[kernel, dtype.itemsize]
    tile_q, tile_k, num_warps, num_stages = by_width[max(64, tile_d)]
    return {
        "TILE_Q": tile_q,
        "TILE_K": tile_k,
        "TILE_D": tile_d,
        "num_warps": num_warps,
        "num_stages": num_stages,
    }


def _check_device(query):
    interpreted = not isinstance(_forward_kernel, triton.JITFunction)
    if not (query.is_cuda or interpreted):
        raise ValueError(
            f"query must be on a GPU for the Triton kernels, got device {query.device}; on a CPU "
            "they run in Triton's interpreter, if TRITON_INTERPRET=1 is set before the import"
        )


def _grid(tensor, axis, tile):
    """Return the grid with one program for each tile of an axis of each head."""
    batch, heads = tensor.shape[:2]
    return (triton.cdiv(tensor.shape[axis], tile) * heads * batch,)


def _with_strides(*tensors):
    return [item for tensor in tensors for item in (tensor, tensor.stride())]


def _shared(query, key, causal, window, scale, bias, alibi_slopes):
    """Return the arguments that all three kernels take."""
    _, heads, n_query, head_dim = query.shape
    _, kv_heads, n_key, _ = key.shape
    return {
        "heads": heads,
        "group": heads // kv_heads,
        "n_query": n_query,
        "n_key": n_key,
        "scale": scale,
        # A window as long as all is none, and need not fit a register.
        "window": None if window is None or window >= n_query + n_key else window,
        "alibi_slopes": None if alibi_slopes is None else alibi_slopes.contiguous(),
        "bias": bias,
        "bias_strides": None if bias is None else bias.stride(),
        "CAUSAL": causal,
        "HEAD_DIM": head_dim,
        "enable_fp_fusion": True,  # a * b + c as one instruction; defaults differ
    }
