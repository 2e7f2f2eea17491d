"""Calls of the attention kernels on a grid of cases, held against the whole matrix in float64.

``TRITON_INTERPRET=1 python -m tests.kernel_cases`` runs them in Triton's interpreter, which must be
chosen before Triton's first import, and prints the errors and what they may be, as JSON.
"""

from __future__ import annotations

import json
import math
import traceback
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Case:
    """One call: its shapes, its options, and how its tensors lie in memory."""

    n_query: int = 40
    n_key: int = 40
    head_dim: int = 16
    batch: int = 1
    heads: int = 2
    kv_heads: int = 2
    causal: bool = False
    window: int | None = None
    scale: float = 0.3
    bias: tuple[int, int, int, int] | None = None  # 1 for each axis that is not broadcast
    minus_inf: bool = False  # the bias removes keys, and all those of the query 3
    alibi: str = ""  # "heads" or "batch"
    slope: float = 1.0
    layout: str = ""
    magnitude: float = 1.0
    grad_lse: bool = True
    dtype: str = "float32"

    def stretched(self, factor: int) -> Case:
        """Return the same call on longer sequences."""
        window = self.window and self.window * factor
        return replace(
            self, n_query=self.n_query * factor, n_key=self.n_key * factor, window=window
        )


CASES = {
    "plain": Case(batch=2, grad_lse=False),
    "ragged lengths": Case(n_query=37, n_key=53, head_dim=40, grad_lse=False),
    "one query": Case(n_query=1, n_key=45, causal=True),
    "one key": Case(n_query=19, n_key=1),
    "no keys": Case(n_query=5, n_key=0),
    "no queries": Case(n_query=0, n_key=5, causal=True),
    "tile sizes exactly": Case(n_query=64, n_key=64, causal=True, grad_lse=False),
    "causal": Case(n_query=70, n_key=70, causal=True),
    "causal, fewer queries": Case(n_query=21, n_key=90, causal=True),
    "causal, more queries": Case(n_query=90, n_key=21, causal=True),
    "window": Case(n_query=61, n_key=61, window=7),
    "window, fewer queries": Case(n_query=35, n_key=77, window=9),
    "window, more queries": Case(n_query=77, n_key=35, window=9),
    "window of one": Case(n_query=35, n_key=35, window=1),
    "window of several tiles": Case(n_query=100, n_key=100, window=47, heads=1, kv_heads=1),
    "window of 65 bits": Case(n_query=20, n_key=30, window=2**64),
    "window, causal": Case(n_query=61, n_key=61, causal=True, window=7),
    "window, causal, several tiles": Case(n_query=90, n_key=99, causal=True, window=70),
    "window, causal, more queries": Case(n_query=77, n_key=35, causal=True, window=40),
    "grouped": Case(batch=2, heads=6, kv_heads=2, n_query=20, n_key=35),
    "grouped, causal": Case(heads=4, kv_heads=1, n_query=35, n_key=50, causal=True),
    "bias": Case(batch=2, bias=(1, 1, 1, 1), n_query=21, n_key=35),
    "bias, the same for all queries": Case(batch=2, bias=(1, 0, 0, 1), n_query=21, n_key=35),
    "bias, the same for all keys": Case(bias=(0, 1, 1, 0), n_query=21, n_key=35, causal=True),
    "bias of -inf": Case(bias=(0, 0, 1, 1), minus_inf=True, n_query=35, n_key=50),
    "alibi": Case(batch=2, alibi="heads", n_query=35, n_key=50),
    "alibi, causal": Case(batch=2, alibi="batch", n_query=50, n_key=35, causal=True),
    "alibi upwards": Case(alibi="heads", slope=-50.0, n_query=50, n_key=35),
    "everything": Case(
        batch=2, heads=4, kv_heads=2, n_query=35, n_key=50, head_dim=24, causal=True, window=30,
        bias=(1, 1, 1, 1), minus_inf=True, alibi="batch", layout="length first",
    ),
    "large logits": Case(magnitude=50.0, causal=True),
    "large logits, float16": Case(magnitude=20.0, dtype="float16"),
    "scale of 0": Case(scale=0.0, causal=True),
    "scale below 0": Case(scale=-0.4, window=9),
    "head_dim 3": Case(head_dim=3),
    "head_dim 64": Case(head_dim=64, causal=True),
    "head_dim 80": Case(head_dim=80, n_query=35, n_key=50, layout="among NaN"),
    "length first": Case(batch=2, layout="length first", head_dim=40, causal=True),
    "every second number": Case(layout="every second number", head_dim=24),
    "expanded": Case(batch=2, layout="expanded", n_query=21),
    "beyond 2**31": Case(layout="beyond 2**31", n_query=20, n_key=20, heads=1, kv_heads=1),
    "float16": Case(dtype="float16", n_query=70, n_key=70, grad_lse=False),
    "float16, causal, head_dim 64": Case(dtype="float16", head_dim=64, causal=True),
    "float16, everything": Case(
        heads=4, kv_heads=2, n_query=35, n_key=50, head_dim=24, causal=True, window=30,
        bias=(1, 1, 1, 1), minus_inf=True, alibi="batch", layout="length first", dtype="float16",
    ),
}  # fmt: skip


def laid_out(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """Return the same numbers with other strides."""
    if layout == "length first":  # as a projection's output is, before heads are moved forward
        return tensor.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "every second number":
        return tensor.repeat_interleave(2, -1)[..., ::2]
    if layout == "among NaN":  # nothing beyond a row's end, or the last row, may be read
        batch, heads, length, width = tensor.shape
        larger = tensor.new_full((batch, heads, length + 50, 2 * width), math.nan)
        larger[:, :, :length, :width] = tensor
        return larger[:, :, :length, :width]
    if layout == "expanded":
        return tensor[:1, :1].expand(tensor.shape)
    if layout == "beyond 2**31":  # untouched memory is not taken
        length, width = tensor.shape[-2:]
        row = -(-(2**31) // (length - 1))
        far = torch.empty((length - 1) * row + width, dtype=tensor.dtype, device=tensor.device)
        far = far.as_strided(tensor.shape, (0, 0, row, 1))
        return far.copy_(tensor)
    return tensor


def inputs(case: Case, device: str = "cpu") -> tuple[dict, dict]:
    """Return the tensors of a case (query, key, value and the gradients) and its options."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape, dtype=case.dtype):
        numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
        return numbers.to(device, getattr(torch, dtype))

    rows = case.batch, case.heads, case.n_query
    columns = case.batch, case.kv_heads, case.n_key
    tensors = {
        "query": laid_out(case.magnitude * normal(*rows, case.head_dim), case.layout),
        "key": laid_out(normal(*columns, case.head_dim), case.layout),
        "value": laid_out(normal(*columns, case.head_dim), case.layout),
        "grad_output": laid_out(normal(*rows, case.head_dim), case.layout),
        "grad_lse": normal(*rows, dtype="float32") if case.grad_lse else None,
    }
    bias = slopes = None
    if case.bias:
        shape = (*rows, case.n_key)
        full = [size if kept else 1 for size, kept in zip(shape, case.bias, strict=True)]
        bias = normal(*full)
        if case.minus_inf:
            bias[bias > 1] = -math.inf
            bias[..., 3, :] = -math.inf
        bias = bias.expand(shape)
    if case.alibi:
        full = (case.batch if case.alibi == "batch" else 1, case.heads)
        slopes = case.slope * normal(*full, dtype="float32").abs()
        slopes = slopes.expand(case.batch, case.heads)
    options = {
        "causal": case.causal,
        "window": case.window,
        "scale": case.scale,
        "bias": bias,
        "alibi_slopes": slopes,
    }
    return tensors, options


def whole_matrix(query, key, value, *, causal, window, scale, bias, alibi_slopes):
    """Return output and LSE by the definition, in the type of ``query``; differentiable."""
    n_query, n_key = query.shape[2], key.shape[2]
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scores = scale * query @ key.mT
    distance = torch.arange(n_query, device=query.device)[:, None] + (n_key - n_query)
    distance = distance - torch.arange(n_key, device=query.device)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    if alibi_slopes is not None:
        scores = scores - (alibi_slopes[..., None, None] * distance.abs()).to(scores.dtype)
    seen = torch.ones_like(distance, dtype=torch.bool)
    if causal:
        seen &= distance >= 0
    if window is not None:
        seen &= distance.abs() < min(window, 2**63 - 1)  # which torch can compare
    scores = scores.masked_fill(~seen, -math.inf)
    some = (scores > -math.inf).any(-1, keepdim=True)
    scores = torch.where(some, scores, 0.0)  # else softmax is NaN
    output = scores.softmax(-1) * some @ value
    return output, scores.logsumexp(-1).masked_fill(~some[..., 0], -math.inf)


def whole_matrix_results(tensors: dict, options: dict, dtype: torch.dtype) -> dict:
    """Return output, LSE and gradients by the definition and torch's autograd."""
    leaves = [tensors[name].to(dtype).detach().requires_grad_() for name in INPUTS]
    output, lse = whole_matrix(*leaves, **options)
    loss = (output * tensors["grad_output"].to(dtype)).sum()
    if tensors["grad_lse"] is not None:
        loss = loss + (lse * tensors["grad_lse"].to(dtype))[lse > -math.inf].sum()
    gradients = torch.autograd.grad(loss, leaves)
    return dict(zip(RESULTS, (output.detach(), lse.detach(), *gradients), strict=True))


def kernel_results(tensors: dict, options: dict) -> dict:
    """Return output, LSE and gradients by the kernels."""
    from lmcourse.attention import triton_kernels

    query, key, value, grad_output, grad_lse = tensors.values()
    output, lse = triton_kernels.forward(query, key, value, **options)
    gradients = triton_kernels.backward(
        grad_output, grad_lse, query, key, value, output, lse, **options
    )
    return dict(zip(RESULTS, (output, lse, *gradients), strict=True))


INPUTS = "query", "key", "value"
RESULTS = "output", "lse", "grad_query", "grad_key", "grad_value"


def errors(case: Case, device: str = "cpu") -> dict[str, tuple[float, float]]:
    """Return, for each result of the kernels, its largest error and what that may be.

    An error may be twice that of torch on the whole matrix in the same type, and a unit in the last
    place of the largest number; float32 is the type of scores too, where that unit grows with them.
    The LSE is float32 whatever the type.
    """
    tensors, options = inputs(case, device)
    found = kernel_results(tensors, options)
    exact = whole_matrix_results(tensors, options, torch.float64)
    rough = whole_matrix_results(tensors, options, getattr(torch, case.dtype))
    largest_score = max(4.0, largest(exact["lse"]))
    report = {}
    for name in RESULTS:
        dtype = torch.float32 if name == "lse" else getattr(torch, case.dtype)
        assert found[name].dtype == dtype, (name, found[name].dtype)
        assert found[name].shape == exact[name].shape, (name, found[name].shape)
        if name == "lse":
            allowed = 1e-6 * largest_score
        else:
            slack = torch.finfo(dtype).eps * (largest_score if dtype == torch.float32 else 1)
            slack *= max(1.0, largest(exact[name]))
            allowed = 2 * largest_difference(rough[name], exact[name]) + slack
        report[name] = largest_difference(found[name], exact[name]), allowed
    return report


def largest(tensor: torch.Tensor) -> float:
    """Return the largest finite size of a number."""
    finite = tensor[tensor.isfinite()].abs()
    return finite.max().item() if finite.numel() else 0.0


def largest_difference(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return max |found - exact|, where equal infinities differ by 0; NaN if there is one."""
    difference = torch.where(found == exact, 0.0, (found.double() - exact.double()).abs())
    return difference.max().item() if difference.numel() else 0.0


def main() -> None:
    """Print the errors of all cases, or what was raised, with tiles so small that all have some."""
    from jaxtyping import install_import_hook

    with install_import_hook(["lmcourse"], "tests.check"):
        from lmcourse.attention import triton_kernels

    def small_tiles(kernel, head_dim, dtype):
        tile_d = max(16, triton_kernels.triton.next_power_of_2(head_dim))
        return {"TILE_Q": 16, "TILE_K": 32, "TILE_D": tile_d}

    triton_kernels.tile_sizes = small_tiles
    results = {}
    for name, case in CASES.items():
        try:
            results[name] = errors(case)
        except Exception:  # the test of this case shows it, the others go on
            results[name] = traceback.format_exc()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
