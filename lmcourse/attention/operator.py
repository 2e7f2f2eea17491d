"""``lmcourse::attention``, the torch operator that carries the tiled and the Triton path.

As a registered operator it is one node to ``torch.compile``, and has its own gradient.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float

from lmcourse.attention import tiled
from lmcourse.attention.reference import accumulation_dtype

OPTIONS = "bool causal, SymInt? window, float scale, Tensor? bias, Tensor? alibi_slopes"


@torch.library.custom_op(
    "lmcourse::attention",
    mutates_args=(),
    schema=f"(Tensor query, Tensor key, Tensor value, {OPTIONS}, str backend) -> (Tensor, Tensor)",
)
def attention_operator(
    query: Float[torch.Tensor, "batch heads n_query head_dim"],
    key: Float[torch.Tensor, "batch kv_heads n_key head_dim"],
    value: Float[torch.Tensor, "batch kv_heads n_key head_dim"],
    causal: bool,
    window: int | None,
    scale: float,
    bias: Float[torch.Tensor, "batch heads n_query n_key"] | None,
    alibi_slopes: Float[torch.Tensor, "batch heads"] | None,
    backend: str,
) -> tuple[
    Float[torch.Tensor, "batch heads n_query head_dim"],
    Float[torch.Tensor, "batch heads n_query"],
]:
    """Return output and LSE, computed by the ``backend`` "tiled" or "triton".

    Args:
        query: (batch, heads, n_query, head_dim).
        key, value: (batch, kv_heads, n_key, head_dim); kv_heads divides heads.
        causal, window, scale, bias, alibi_slopes: as in ``attention``, with ``bias`` expanded to
            (batch, heads, n_query, n_key) and ``alibi_slopes`` to (batch, heads).
        backend: which module's ``forward`` and ``backward`` run.
    """
    return _implementation(backend).forward(
        query,
        key,
        value,
        causal=causal,
        window=window,
        scale=scale,
        bias=bias,
        alibi_slopes=alibi_slopes,
    )


@torch.library.custom_op(
    "lmcourse::attention_backward",
    mutates_args=(),
    schema="(Tensor grad_output, Tensor? grad_lse, Tensor query, Tensor key, Tensor value, "
    f"Tensor output, Tensor lse, {OPTIONS}, str backend) -> (Tensor, Tensor, Tensor)",
)
def _attention_backward(
    grad_output, grad_lse, query, key, value, output, lse, *options
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    causal, window, scale, bias, alibi_slopes, backend = options
    return _implementation(backend).backward(
        grad_output,
        grad_lse,
        query,
        key,
        value,
        output,
        lse,
        causal=causal,
        window=window,
        scale=scale,
        bias=bias,
        alibi_slopes=alibi_slopes,
    )


@attention_operator.register_fake
def _(query, key, value, *options):
    return (
        query.new_empty(query.shape),
        query.new_empty(query.shape[:3], dtype=accumulation_dtype(query.dtype)),
    )


@_attention_backward.register_fake
def _(grad_output, grad_lse, query, key, value, *rest):
    return tuple(tensor.new_empty(tensor.shape) for tensor in (query, key, value))


def _keep(ctx: Any, inputs: tuple, output: tuple) -> None:
    query, key, value, causal, window, scale, bias, alibi_slopes, backend = inputs
    ctx.save_for_backward(query, key, value, *output, bias, alibi_slopes)
    ctx.options = causal, window, scale, backend
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, grad_output: torch.Tensor | None, grad_lse: torch.Tensor | None) -> tuple:
    query, key, value, output, lse, bias, alibi_slopes = ctx.saved_tensors
    causal, window, scale, backend = ctx.options
    if grad_output is None:
        grad_output = torch.zeros_like(output)
    gradients = _attention_backward(
        grad_output,
        grad_lse,
        query,
        key,
        value,
        output,
        lse,
        causal,
        window,
        scale,
        bias,
        alibi_slopes,
        backend,
    )
    return (*gradients, None, None, None, None, None, None)


def _no_second_derivative(ctx: Any, *gradients: torch.Tensor) -> tuple:
    raise RuntimeError(
        "attention has second derivatives only with backend='reference': "
        "the other backends do not keep what they need"
    )


torch.library.register_autograd(attention_operator, _gradients, setup_context=_keep)
torch.library.register_autograd(_attention_backward, _no_second_derivative)


def _implementation(backend: str) -> ModuleType:
    if backend == "triton":
        from lmcourse.attention import triton_kernels  # Triton is an optional package

        return triton_kernels
    return tiled
