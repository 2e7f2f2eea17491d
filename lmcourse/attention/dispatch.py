"""``attention``, one function over several implementations, and ``explain``, which names the one.

"reference" is the definition, "sdpa" hands over to torch's own function, "tiled" goes through the
queries tile by tile, and "triton" is the kernel for GPUs.
"""

from __future__ import annotations

import importlib.util
import os
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch.nn import functional

from lmcourse import _arguments
from lmcourse.attention import tiled
from lmcourse.attention.operator import attention_operator
from lmcourse.attention.reference import (
    accumulation_dtype,
    added_to_scores,
    reference_attention,
    relative_positions,
)

BACKENDS = ("auto", "reference", "tiled", "sdpa", "triton")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
HAS_TRITON = importlib.util.find_spec("triton") is not None
TRITON_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
MAX_TRITON_HEAD_DIM = 256
# Where tiles began to pay on the CPU, forward and backward together: benchmarks/attention.py.
MIN_QUERIES_TO_TILE = 1024
MOST_TOUCHED_TO_TILE = 5 / 8  # of all pairs of a query and a key


class Choice(NamedTuple):
    """Which implementation a call of ``attention`` takes.

    Attributes:
        backend: "reference", "tiled", "sdpa" or "triton".
        reason: why that one.
    """

    backend: str
    reason: str

    def __str__(self) -> str:
        return f"The backend {self.backend!r} runs, because {self.reason}."


def attention(
    query: Float[torch.Tensor, "batch heads n_query head_dim"],
    key: Float[torch.Tensor, "batch kv_heads n_key head_dim"],
    value: Float[torch.Tensor, "batch kv_heads n_key head_dim"],
    *,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    bias: Float[torch.Tensor, "*scores"] | None = None,
    alibi_slopes: Float[torch.Tensor, "*rows heads"] | None = None,
    return_lse: bool = False,
    backend: str = "auto",
) -> (
    Float[torch.Tensor, "batch heads n_query head_dim"]
    | tuple[
        Float[torch.Tensor, "batch heads n_query head_dim"],
        Float[torch.Tensor, "batch heads n_query"],
    ]
):
    """Average the values, weighted by how well their keys fit each query.

    score_ij = scale * q_i·k_j + bias_ij - slope * |p_i - j|, output_i = softmax_j(score_ij) · v_j

    Query i stands at the position p_i = i + n_key - n_query among the keys, so the last query at
    the last key. A query that sees no key has the output 0 and the LSE -inf.

    Equation: eq-attention-sdpa, eq-attention-causal.

    Args:
        query: (batch, heads, n_query, head_dim); float16, bfloat16, float32 or float64.
        key, value: (batch, kv_heads, n_key, head_dim), of the query's dtype and on its device.
            kv_heads divides heads: query head h reads key head h // (heads // kv_heads).
        causal: hide the keys after the query's position, those with j > p_i.
        window: hide the keys with |p_i - j| >= window. With ``causal``, the last ``window``
            keys stay, the query's own included.
        scale: factor of the dot products; 1 / sqrt(head_dim) if not given.
        bias: added to the scores; broadcast to (batch, heads, n_query, n_key). -inf hides a key.
        alibi_slopes: how fast the scores fall with distance, (heads,) or (batch, heads).
        return_lse: also return the log of the sum of exponentials of each row of scores.
        backend: "reference", "tiled", "sdpa", "triton", or "auto", which picks; see ``explain``.

    Returns:
        The output (batch, heads, n_query, head_dim), in the query's dtype. With ``return_lse`` also
        the LSE, (batch, heads, n_query), natural log, in float32, or float64 if the query is.

    Raises:
        TypeError: a tensor is none, not floating, or of another dtype than the query; ``bias`` is
            a bool mask; or an option has the wrong type.
        ValueError: shapes, devices or options do not fit together, or the backend cannot serve
            them.
    """
    call = _checked(query, key, value, causal, window, scale, bias, alibi_slopes, return_lse)
    chosen = _choose(call, backend).backend
    if chosen == "reference":
        output, lse = _run_reference(call)
    elif chosen == "sdpa":
        output, lse = _run_sdpa(call)
    else:
        output, lse = _run_operator(call, chosen)
    return (output, lse) if return_lse else output


def explain(
    query: Float[torch.Tensor, "batch heads n_query head_dim"],
    key: Float[torch.Tensor, "batch kv_heads n_key head_dim"],
    value: Float[torch.Tensor, "batch kv_heads n_key head_dim"],
    *,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    bias: Float[torch.Tensor, "*scores"] | None = None,
    alibi_slopes: Float[torch.Tensor, "*rows heads"] | None = None,
    return_lse: bool = False,
    backend: str = "auto",
) -> Choice:
    """Return which implementation ``attention`` takes for these arguments, and why.

    Args:
        query, key, value, causal, window, scale, bias, alibi_slopes, return_lse, backend: those of
            ``attention``.

    Returns:
        The choice; printed, it is a sentence.

    Raises:
        TypeError: as ``attention``.
        ValueError: as ``attention``.
    """
    call = _checked(query, key, value, causal, window, scale, bias, alibi_slopes, return_lse)
    return _choose(call, backend)


class _Call(NamedTuple):
    """The arguments of a call, checked, without options that change nothing."""

    query: torch.Tensor  # (batch, heads, n_query, head_dim)
    key: torch.Tensor  # (batch, kv_heads, n_key, head_dim)
    value: torch.Tensor  # (batch, kv_heads, n_key, head_dim)
    causal: bool
    window: int | None
    scale: float
    bias: torch.Tensor | None  # (batch, heads, n_query, n_key), stride 0 where it was broadcast
    alibi_slopes: torch.Tensor | None  # (batch, heads)
    return_lse: bool


def _checked(query, key, value, causal, window, scale, bias, alibi_slopes, return_lse) -> _Call:
    _check_tensors(query, key, value)
    n_query, head_dim = query.shape[2:]
    for name, flag in (("causal", causal), ("return_lse", return_lse)):
        if not isinstance(flag, bool):
            raise TypeError(f"{name} must be True or False, got {flag!r}")
    if scale is None:
        scale = head_dim**-0.5
    elif not torch.compiler.is_compiling():  # there it is a symbol, which no check can look at
        scale = _arguments.number("scale", scale)
    if bias is not None:
        bias = _expanded("bias", bias, query, key, ("batch", "heads", "n_query", "n_key"))
    if alibi_slopes is not None:
        alibi_slopes = _expanded("alibi_slopes", alibi_slopes, query, key, ("batch", "heads"))
    if window is not None:
        window = _arguments.integer("window", window, at_least=1)
        # Keys that lie before every query's window: when one token is decoded, nearly all.
        unseen = max(0, key.shape[2] - n_query - window + 1)
        key, value = key[:, :, unseen:], value[:, :, unseen:]
        bias = None if bias is None else bias[..., unseen:]
        farthest = key.shape[2] if causal else max(n_query, key.shape[2])
        window = window if window < farthest else None
    causal = causal and n_query > 1  # the last query sees every key
    return _Call(query, key, value, causal, window, scale, bias, alibi_slopes, return_lse)


def _check_tensors(query, key, value) -> None:
    named = (("query", query), ("key", key), ("value", value))
    for name, tensor in named:
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
        if tensor.ndim != 4:
            raise ValueError(
                f"{name} must have 4 axes, (batch, heads, length, head_dim), "
                f"got shape {tuple(tensor.shape)}"
            )
        if tensor.dtype not in DTYPES:
            wanted = "float16, bfloat16, float32 or float64"
            raise TypeError(f"{name} must be of {wanted}, got {_name_of(tensor.dtype)}")
    for name, tensor in named[1:]:
        if tensor.dtype != query.dtype:
            raise TypeError(
                f"{name} must have query's dtype {_name_of(query.dtype)}, "
                f"got {_name_of(tensor.dtype)}"
            )
        _check_device(name, tensor, query)
        for axis, meaning in ((0, "batch"), (3, "head_dim")):
            if tensor.shape[axis] != query.shape[axis]:
                raise ValueError(
                    f"{name} must have query's {meaning} {query.shape[axis]}, "
                    f"got {tensor.shape[axis]} in shape {tuple(tensor.shape)}"
                )
    if query.shape[3] == 0:
        raise ValueError(f"query must have a head_dim of at least 1, got {tuple(query.shape)}")
    if key.shape[1] == 0 or query.shape[1] % key.shape[1]:
        raise ValueError(
            f"key has {key.shape[1]} heads, which does not divide query's {query.shape[1]} heads"
        )
    for axis, meaning in ((1, "heads"), (2, "length")):
        if value.shape[axis] != key.shape[axis]:
            raise ValueError(
                f"value must have key's {meaning} {key.shape[axis]}, "
                f"got {value.shape[axis]} in shape {tuple(value.shape)}"
            )


def _expanded(
    name: str, tensor: torch.Tensor, query: torch.Tensor, key: torch.Tensor, axes: tuple[str, ...]
) -> torch.Tensor:
    """Check a tensor that is added to the scores, and broadcast it to ``axes`` without copying."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor.dtype == torch.bool:
        raise TypeError(
            f"{name} must hold numbers to add, got bool; "
            "for a mask, True where a key is seen, give torch.where(mask, 0.0, -torch.inf)"
        )
    if tensor.dtype not in DTYPES:
        raise TypeError(f"{name} must be of a floating type, got {_name_of(tensor.dtype)}")
    _check_device(name, tensor, query)
    shape = (*query.shape[:3], key.shape[2])[: len(axes)]
    sizes = (1,) * (len(shape) - tensor.ndim) + tuple(tensor.shape)
    fits = len(sizes) == len(shape) and all(
        size in (1, wanted) for size, wanted in zip(sizes, shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{name} must broadcast to ({', '.join(axes)}) = {tuple(shape)}, "
            f"got shape {tuple(tensor.shape)}"
        )
    return tensor.expand(shape)


def _check_device(name: str, tensor: torch.Tensor, query: torch.Tensor) -> None:
    if tensor.device != query.device:
        raise ValueError(f"{name} must be on query's device {query.device}, got {tensor.device}")


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _choose(call: _Call, backend: str) -> Choice:
    _arguments.one_of("backend", backend, BACKENDS)
    if backend != "auto":
        _check_backend(call, backend)
        return Choice(backend, "the argument backend asks for it")
    if _score_gradients(call):
        return Choice("reference", "only it gives the gradients of bias and alibi_slopes")
    if call.query.device.type == "cpu":
        return _choose_on_cpu(call)
    impossible = _why_not_triton(call)
    if impossible is None:
        return Choice("triton", f"the tensors are on {call.query.device} and Triton is installed")
    return Choice("sdpa", impossible)


def _choose_on_cpu(call: _Call) -> Choice:
    n_query, n_key = call.query.shape[2], call.key.shape[2]
    if call.return_lse:
        return Choice("tiled", "torch's own function returns no LSE")
    if n_query < MIN_QUERIES_TO_TILE:
        return Choice(
            "sdpa",
            f"on the CPU tiles pay from {MIN_QUERIES_TO_TILE} queries on, "
            f"and this call has {n_query}",
        )
    if call.alibi_slopes is not None:
        return Choice(
            "tiled", "torch's own function would need a matrix of penalties for each head"
        )
    touched = sum(
        (queries.stop - queries.start) * (keys.stop - keys.start)
        for queries, keys in tiled.tiles(n_query, n_key, causal=call.causal, window=call.window)
    )
    needs_mask = call.window is not None or call.bias is not None
    if needs_mask and touched <= MOST_TOUCHED_TO_TILE * n_query * n_key:
        return Choice("tiled", "it skips many hidden keys, where torch's own function reads a mask")
    return Choice("sdpa", "torch's own function is the fastest on the CPU for these arguments")


def _check_backend(call: _Call, backend: str) -> None:
    if backend != "reference" and _score_gradients(call):
        name = "bias" if call.bias is not None and call.bias.requires_grad else "alibi_slopes"
        raise ValueError(
            f"{name} requires a gradient, which only backend='reference' gives, got {backend!r}"
        )
    if backend == "tiled" and call.query.device.type != "cpu":
        raise ValueError(f"backend 'tiled' runs on the CPU, got query on {call.query.device}")
    if backend == "triton":
        impossible = _why_not_triton(call)
        if impossible is not None:
            raise ValueError(f"backend 'triton' cannot run: {impossible}")


def _score_gradients(call: _Call) -> bool:
    """Tell whether somebody wants the gradient of what is added to the scores."""
    added = (call.bias, call.alibi_slopes)
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in added)


def _why_not_triton(call: _Call) -> str | None:
    """Return why the Triton kernels cannot serve the call, or None if they can."""
    device, head_dim = call.query.device, call.query.shape[3]
    if not HAS_TRITON:
        return "Triton is not installed"
    if device.type != "cuda" and not TRITON_INTERPRETED:
        return (
            f"query is on {device}, and Triton needs a GPU, or its interpreter: "
            "set TRITON_INTERPRET=1 before lmcourse.attention is imported"
        )
    if call.query.dtype == torch.float64:
        return "the Triton kernels have no float64"
    if device.type != "cuda" and call.query.dtype == torch.bfloat16:
        return "Triton's interpreter multiplies bfloat16 wrongly"
    if head_dim > MAX_TRITON_HEAD_DIM:
        return f"the Triton kernels go up to a head_dim of {MAX_TRITON_HEAD_DIM}, got {head_dim}"
    return None


def _run_reference(call: _Call) -> tuple[torch.Tensor, torch.Tensor]:
    return reference_attention(
        call.query,
        call.key,
        call.value,
        causal=call.causal,
        window=call.window,
        scale=call.scale,
        bias=call.bias,
        alibi_slopes=call.alibi_slopes,
    )


def _run_sdpa(call: _Call) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Call torch's function, with what it has no option for written into a mask."""
    query, key, value = call.query, call.key, call.value
    n_query, n_key = query.shape[2], key.shape[2]
    lse = _run_reference(call)[1] if call.return_lse else None  # torch's function gives none
    others = any(x is not None for x in (call.window, call.bias, call.alibi_slopes))
    # torch's own causal mask starts at the first query and key, and a scale below 0 spoils it.
    is_causal = call.causal and n_query == n_key and call.scale > 0 and not others
    mask = None
    if others or (call.causal and not is_causal):
        mask = added_to_scores(
            relative_positions(n_query, n_key, device=query.device),
            accumulation_dtype(query.dtype),
            causal=call.causal,
            window=call.window,
            bias=call.bias,
            alibi_slopes=call.alibi_slopes,
        )
    blind = None
    if mask is not None and (call.bias is not None or n_query > n_key):
        # A row of -inf alone would give NaN, here or in its gradient: see all, then blank it.
        blind = (mask == -torch.inf).all(-1, keepdim=True)
        mask = mask.masked_fill(blind, 0.0)
    output = functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=is_causal,
        scale=call.scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output if blind is None else output.masked_fill(blind, 0.0), lse


def _run_operator(call: _Call, backend: str) -> tuple[torch.Tensor, torch.Tensor]:
    slopes = call.alibi_slopes
    if slopes is not None:
        slopes = slopes.to(accumulation_dtype(call.query.dtype))
    return attention_operator(
        call.query,
        call.key,
        call.value,
        call.causal,
        call.window,
        call.scale,
        call.bias,
        slopes,
        backend,
    )
