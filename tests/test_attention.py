import itertools
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers.models.llama.modeling_llama import eager_attention_forward

from lmcourse.attention import attention, attention_weights, dispatch, explain
from lmcourse.attention.operator import attention_operator
from lmcourse.attention.tiled import TILE_Q, tiles
from tests.notebooks import ROOT

BACKENDS = ("reference", "tiled", "sdpa")
INF = float("inf")

# heads, kv_heads, n_query, n_key, head_dim
SHAPES = {
    "equal": (4, 4, 40, 40, 8),
    "grouped": (6, 2, 33, 33, 8),
    "more keys": (4, 2, 21, 50, 5),
    "more queries": (4, 1, 50, 21, 16),
    "one query": (4, 2, 1, 37, 8),
    "several tiles": (2, 1, TILE_Q + 70, TILE_Q + 90, 4),
    "no keys": (2, 1, 3, 0, 4),
    "no queries": (2, 1, 0, 3, 4),
}
OPTIONS = {
    "plain": {},
    "causal": {"causal": True},
    "window": {"window": 5},
    "causal window": {"causal": True, "window": 9},
    "window of one": {"window": 1},
    "window between": {"window": 25},
    "wide window": {"causal": True, "window": 1000},
    "scale": {"scale": 0.7},
    "negative scale": {"scale": -0.2, "causal": True},
    "bias": {"bias": (1, 1, -1, -1)},
    "bias of all": {"bias": (-1, -1, -1, -1), "causal": True},
    "bias of keys": {"bias": (-1, 1, 1, -1), "window": 7},
    "bias of queries": {"bias": (-1, 1)},
    "alibi": {"alibi_slopes": (-1,)},
    "alibi of batch": {"alibi_slopes": (-1, -1), "causal": True, "window": 15},
    "all": {"causal": True, "window": 11, "scale": 0.4, "bias": (-1, -1), "alibi_slopes": (-1,)},
}


def tensors(shape, dtype=torch.float64, *, batch=2, seed=0, requires_grad=False):
    heads, kv_heads, n_query, n_key, head_dim = shape
    generator = torch.Generator().manual_seed(seed)
    sizes = [(heads, n_query), (kv_heads, n_key), (kv_heads, n_key)]
    made = [
        torch.randn(batch, *size, head_dim, generator=generator, dtype=torch.float64).to(dtype)
        for size in sizes
    ]
    return [tensor.requires_grad_(requires_grad) for tensor in made]


def filled(options, query, key, *, seed=1):
    """Put random tensors where ``options`` gives shapes, in which -1 is the full length."""
    generator = torch.Generator().manual_seed(seed)
    options = dict(options)
    full = {"bias": (*query.shape[:3], key.shape[2]), "alibi_slopes": query.shape[:2]}
    for name, shape in full.items():
        if name in options:
            wanted = options[name]
            shape = shape[len(shape) - len(wanted) :]
            sizes = [n if w == -1 else w for n, w in zip(shape, wanted, strict=True)]
            options[name] = torch.rand(sizes, generator=generator, dtype=torch.float64)
    if "bias" in options and options["bias"].shape[-1] > 10:
        options["bias"][..., 3:6] = -INF
    return options


def row_by_row(query, key, value, *, causal=False, window=None, scale=None, bias=0, alibi_slopes=0):
    """The definition, one query at a time, in numpy: output and LSE."""
    query, key, value = (t.detach().double().numpy() for t in (query, key, value))
    batch, heads, n_query, head_dim = query.shape
    kv_heads, n_key = key.shape[1:3]
    bias = np.broadcast_to(np.asarray(bias, dtype=float), (batch, heads, n_query, n_key))
    slopes = np.broadcast_to(np.asarray(alibi_slopes, dtype=float), (batch, heads))
    scale = 1 / math.sqrt(head_dim) if scale is None else scale
    output, lse = np.zeros_like(query), np.full((batch, heads, n_query), -INF)
    for b, h, i in np.ndindex(batch, heads, n_query):
        kv_head, position = h // (heads // kv_heads), i + n_key - n_query
        seen = [
            j
            for j in range(n_key)
            if not (causal and j > position)
            and not (window is not None and abs(position - j) >= window)
            and bias[b, h, i, j] > -INF
        ]
        if not seen:
            continue
        distance = np.abs(position - np.array(seen))
        scores = scale * (key[b, kv_head, seen] @ query[b, h, i])
        scores = scores + bias[b, h, i, seen] - slopes[b, h] * distance
        lse[b, h, i] = np.logaddexp.reduce(scores)
        output[b, h, i] = np.exp(scores - lse[b, h, i]) @ value[b, kv_head, seen]
    return torch.tensor(output), torch.tensor(lse)


def error(found, wanted):
    if found.numel() == 0:
        return 0.0
    return (found.double() - wanted.double()).abs().nan_to_num(nan=INF).max().item()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_output_and_lse_are_those_of_the_definition_row_by_row(shape, options, backend):
    query, key, value = tensors(shape)
    options = filled(options, query, key)
    output, lse = attention(query, key, value, **options, return_lse=True, backend=backend)
    wanted_output, wanted_lse = row_by_row(query, key, value, **options)
    blind = wanted_lse == -INF
    torch.testing.assert_close(output, wanted_output, rtol=1e-6, atol=1e-6)
    assert torch.equal(lse == -INF, blind)
    torch.testing.assert_close(lse[~blind], wanted_lse[~blind], rtol=1e-6, atol=1e-6)
    assert not output[blind].any()


@pytest.mark.parametrize("backend", ["tiled", "sdpa"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradients_are_those_of_the_reference(shape, options, backend):
    inputs = tensors(shape, requires_grad=True)
    options = filled(options, *inputs[:2])
    found, wanted = (gradients(inputs, options, name) for name in (backend, "reference"))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def gradients(inputs, options, backend, *, of_output=True, of_lse=True):
    output, lse = attention(*inputs, **options, return_lse=True, backend=backend)
    generator = torch.Generator().manual_seed(2)
    loss = torch.zeros((), dtype=output.dtype)
    if of_output:
        loss = (output * torch.randn(output.shape, generator=generator, dtype=output.dtype)).sum()
    if of_lse:
        weight = torch.randn(lse.shape, generator=generator, dtype=lse.dtype)
        loss = loss + (lse.masked_fill(lse == -INF, 0.0) * weight).sum()
    return torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("parts", [{"of_output": False}, {"of_lse": False}])
def test_gradients_of_the_output_alone_and_of_the_lse_alone(parts):
    inputs = tensors((4, 2, 20, 30, 8), requires_grad=True)
    options = {"causal": True, "window": 9}
    for one, other in zip(
        gradients(inputs, options, "tiled", **parts),
        gradients(inputs, options, "reference", **parts),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_are_those_of_finite_differences(backend):
    inputs = tensors((4, 2, 5, 4, 3), batch=1, requires_grad=True)
    bias = torch.zeros(5, 4, dtype=torch.float64)
    bias[3] = -INF  # a row that sees nothing, beside the first, which is before all keys

    def function(query, key, value):
        output, lse = attention(
            query, key, value, causal=True, bias=bias, return_lse=True, backend=backend
        )
        return output, lse.masked_fill(lse == -INF, 0.0)

    assert torch.autograd.gradcheck(function, inputs)


def test_the_reference_gives_gradients_of_bias_and_slopes_and_second_derivatives():
    query, key, value = tensors((2, 1, 3, 4, 2), batch=1, requires_grad=True)
    bias = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    slopes = torch.rand(2, dtype=torch.float64, requires_grad=True)

    def function(query, key, value, bias, slopes):
        return attention(query, key, value, causal=True, bias=bias, alibi_slopes=slopes)

    assert torch.autograd.gradcheck(function, (query, key, value, bias, slopes))
    assert torch.autograd.gradgradcheck(function, (query, key, value, bias, slopes))


@pytest.mark.parametrize("causal", [False, True])
def test_equal_lengths_are_those_of_torch_and_of_transformers(causal):
    query, key, value = tensors((6, 2, 30, 30, 8), torch.float32)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        wanted = functional.scaled_dot_product_attention(
            query, key, value, is_causal=causal, enable_gqa=True
        )
    mask = torch.zeros(30, 30).masked_fill(torch.ones(30, 30).triu(1) == 1, -INF)
    module = torch.nn.Module()
    module.num_key_value_groups = 3
    llama, llama_weights = eager_attention_forward(
        module, query, key, value, mask[None, None] if causal else None, 8**-0.5
    )
    torch.testing.assert_close(llama.transpose(1, 2), wanted)
    for backend in ("auto", *BACKENDS):
        torch.testing.assert_close(
            attention(query, key, value, causal=causal, backend=backend), wanted
        )
    torch.testing.assert_close(attention_weights(query, key, causal=causal), llama_weights)


def test_a_causal_mask_for_fewer_queries_is_aligned_at_the_end():
    query, key, value = tensors((2, 2, 9, 9, 4))
    whole = attention(query, key, value, causal=True)
    for backend in ("auto", *BACKENDS):
        last = attention(query[:, :, 6:], key, value, causal=True, backend=backend)
        torch.testing.assert_close(last, whole[:, :, 6:])


def test_decoding_token_by_token_is_one_causal_pass():
    query, key, value = tensors((4, 2, 12, 12, 4))
    for options in ({}, {"window": 5}, {"alibi_slopes": torch.rand(4)}):
        whole = attention(query, key, value, causal=True, **options)
        for t in range(12):
            step = attention(
                query[:, :, t : t + 1],
                key[:, :, : t + 1],
                value[:, :, : t + 1],
                causal=True,
                **options,
            )
            torch.testing.assert_close(step, whole[:, :, t : t + 1])


def test_the_lse_is_torch_logsumexp_of_the_scores():
    query, key, value = tensors((2, 2, 10, 10, 4))
    for backend in BACKENDS:
        _, lse = attention(query, key, value, return_lse=True, backend=backend)
        torch.testing.assert_close(lse, (query @ key.mT / 2).logsumexp(-1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_scores_neither_overflow_nor_lose_the_row(backend):
    query, key, value = tensors((2, 2, 20, 20, 4), torch.float32)
    output, lse = attention(1e4 * query, key, value, causal=True, return_lse=True, backend=backend)
    wanted, wanted_lse = row_by_row(1e4 * query, key, value, causal=True)
    assert error(output, wanted) < 1e-2
    torch.testing.assert_close(lse.double(), wanted_lse, rtol=1e-5, atol=1e-2)


def strided_views():
    query, key, value = tensors((4, 2, 20, 20, 6))
    yield (
        "heads inside",
        [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (query, key, value)],
    )
    yield "head_dim outside", [t.mT.contiguous().mT for t in (query, key, value)]
    yield (
        "every second",
        [torch.stack([t, t + 1], -1).flatten(-2)[..., ::2] for t in (query, key, value)],
    )
    yield (
        "one head for all",
        [query, key[:, :1].expand(-1, 2, -1, -1), value[:, :1].expand(2, 2, 20, 6)],
    )
    yield "backwards", [t.flip(2).contiguous().flip(2) for t in (query, key, value)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "views", [v for _, v in strided_views()], ids=[n for n, _ in strided_views()]
)
def test_any_strides(views, backend):
    options = {"causal": True, "window": 7, "backend": backend}
    copies = [view.clone(memory_format=torch.contiguous_format) for view in views]
    views, copies = ([t.detach().requires_grad_() for t in inputs] for inputs in (views, copies))
    output, wanted = attention(*views, **options), attention(*copies, **options)
    torch.testing.assert_close(output, wanted)
    # The gradient of a sum has the stride 0 on all axes.
    for one, other in zip(
        torch.autograd.grad(output.sum(), views),
        torch.autograd.grad((wanted * torch.ones_like(wanted)).sum(), copies),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_grouped_heads_are_those_of_repeated_keys_and_values(backend):
    query, key, value = tensors((6, 2, 15, 15, 4))
    options = {"causal": True, "backend": backend, "alibi_slopes": torch.rand(6)}
    torch.testing.assert_close(
        attention(query, key, value, **options),
        attention(query, key.repeat_interleave(3, 1), value.repeat_interleave(3, 1), **options),
    )


@pytest.mark.parametrize("bias_shape", [(), (1,), (20, 1), (1, 20), (3, 1, 20), (2, 1, 1, 1)])
def test_a_bias_broadcasts_as_torch_does(bias_shape):
    query, key, value = tensors((3, 3, 20, 20, 4))
    bias = torch.rand(bias_shape, dtype=torch.float64)
    wanted = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias.expand(2, 3, 20, 20).clone()
    )
    for backend in BACKENDS:
        torch.testing.assert_close(attention(query, key, value, bias=bias, backend=backend), wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("options", ["plain", "causal window", "alibi", "bias", "all"])
@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
def test_low_precision_is_as_exact_as_plain_torch(backend, options, dtype):
    # FlashAttention's own rule: at most twice the error of the same formula in low precision.
    exact = tensors((4, 2, 300, 300, 64), torch.float64, batch=1)
    low = [tensor.to(dtype).requires_grad_() for tensor in exact]
    exact = [tensor.detach().double().requires_grad_() for tensor in low]
    options = filled(OPTIONS[options], *exact[:2])
    grad = torch.randn(low[0].shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    results = {}
    for name, function, inputs in (
        ("ours", lambda *i: attention(*i, **options, backend=backend), low),
        ("plain", lambda *i: naive(*i, **options), low),
        ("exact", lambda *i: attention(*i, **options, backend="reference"), exact),
    ):
        output = function(*inputs)
        results[name] = [output, *torch.autograd.grad(output, inputs, grad.to(output.dtype))]
    assert results["ours"][0].dtype == dtype
    for what, ours, plain, wanted in zip(
        ("output", "query", "key", "value"), *results.values(), strict=True
    ):
        ulp = torch.finfo(dtype).eps * wanted.abs().max().item()
        assert error(ours, wanted) <= 2 * error(plain, wanted) + ulp, what


def test_gradients_of_large_low_precision_scores_are_as_exact_as_torchs():
    query, key, value = tensors((2, 2, 200, 200, 32), torch.bfloat16, batch=1)
    query *= 32
    grad = torch.randn(query.shape, generator=torch.Generator().manual_seed(3))

    def gradients(function, dtype):
        inputs = [t.to(dtype).clone().requires_grad_() for t in (query, key, value)]
        return torch.autograd.grad(function(*inputs), inputs, grad.to(dtype))

    def sdpa(*inputs):
        return functional.scaled_dot_product_attention(*inputs, is_causal=True)

    def ours(*inputs):
        return attention(*inputs, causal=True, backend="tiled")

    exact = gradients(sdpa, torch.float64)
    for mine, theirs, wanted in zip(
        gradients(ours, torch.bfloat16), gradients(sdpa, torch.bfloat16), exact, strict=True
    ):
        assert (mine - wanted).norm() <= 1.5 * (theirs - wanted).norm()


def test_slopes_keep_the_precision_of_float64():
    query, key, value = tensors((2, 2, 8, 2000, 4))
    options = {"alibi_slopes": torch.tensor([1 / 3, 0.1], dtype=torch.float64)}
    torch.testing.assert_close(
        attention(query, key, value, **options, backend="tiled"),
        attention(query, key, value, **options, backend="reference"),
        rtol=0,
        atol=1e-12,
    )


def test_the_kernels_run_through_attention():
    pytest.importorskip("triton", reason="not run here: needs Triton")
    run = subprocess.run(
        [sys.executable, "-m", "tests.kernels_through_attention"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def naive(
    query, key, value, *, causal=False, window=None, scale=None, bias=None, alibi_slopes=None
):
    """The formula in the precision of its inputs, without the care that others take."""
    n_query, n_key = query.shape[2], key.shape[2]
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scores = query @ key.mT * (query.shape[3] ** -0.5 if scale is None else scale)
    distance = torch.arange(n_key - n_query, n_key)[:, None] - torch.arange(n_key)
    if bias is not None:
        scores = scores + bias.to(query.dtype)
    if alibi_slopes is not None:
        scores = scores - (alibi_slopes[..., None, None] * distance.abs()).to(query.dtype)
    hidden = (distance < 0) & causal
    if window is not None:
        hidden = hidden | (distance.abs() >= window)
    return scores.masked_fill(hidden, -INF).softmax(-1) @ value


def test_lse_of_low_precision_is_float32_and_of_float64_is_float64():
    for dtype, wanted in (
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        for backend in BACKENDS:
            output, lse = attention(
                *tensors((2, 2, 4, 4, 4), dtype), return_lse=True, backend=backend
            )
            assert (output.dtype, lse.dtype) == (dtype, wanted)


def test_weights_are_a_softmax_and_give_the_output():
    query, key, value = tensors((4, 2, 10, 8, 4))
    weights = attention_weights(query, key, causal=True)
    sums = weights.sum(-1)
    torch.testing.assert_close(sums[:, :, 2:], torch.ones_like(sums[:, :, 2:]))
    assert not weights[:, :, :2].any()  # they stand before the first key
    torch.testing.assert_close(
        weights @ value.repeat_interleave(2, 1), attention(query, key, value, causal=True)
    )


@pytest.mark.parametrize(
    "n_query, n_key, causal, window",
    list(itertools.product([1, 100, 300], [1, 90, 500], [False, True], [None, 1, 40])),
)
def test_tiles_hold_every_key_that_is_seen(n_query, n_key, causal, window):
    touched = torch.zeros(n_query, n_key, dtype=torch.bool)
    for queries, keys in tiles(n_query, n_key, causal=causal, window=window):
        assert not touched[queries, keys].any()
        touched[queries, keys] = True
    position = torch.arange(n_key - n_query, n_key)[:, None]
    seen = torch.ones(n_query, n_key, dtype=torch.bool)
    if causal:
        seen &= torch.arange(n_key) <= position
    if window is not None:
        seen &= (position - torch.arange(n_key)).abs() < window
    assert not (seen & ~touched).any()


def test_tiles_skip_what_a_window_hides():
    touched = sum(
        (q.stop - q.start) * (k.stop - k.start)
        for q, k in tiles(4096, 4096, causal=True, window=64)
    )
    assert touched <= 4096 * (TILE_Q + 64)


def test_tiled_needs_no_memory_for_the_matrix_of_scores():
    n = 16384  # its scores would take 1 GiB
    query, key, value = tensors((1, 1, n, n, 2), torch.float32, batch=1)
    slopes = torch.ones(1)
    with torch.profiler.profile(profile_memory=True, record_shapes=False) as profile:
        attention(query, key, value, causal=True, window=256, alibi_slopes=slopes)
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest < 4 * n * TILE_Q


# The operator.


def operator_arguments(*, bias=None, window=None, slopes=None):
    query, key, value = tensors((4, 2, 12, 14, 4), torch.float32, requires_grad=True)
    return query, key, value, True, window, 0.3, bias, slopes, "tiled"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"window": 3, "slopes": torch.rand(2, 4)},
        {"bias": torch.rand(12, 14).expand(2, 4, -1, -1)},
    ],
    ids=["plain", "window and slopes", "bias"],
)
def test_torch_checks_the_operator(options):
    torch.library.opcheck(attention_operator, operator_arguments(**options))


def test_torch_checks_the_operator_on_heads_that_lie_side_by_side():
    query, key, value, *options = operator_arguments()
    swapped = (t.detach().transpose(1, 2).contiguous().transpose(1, 2) for t in (query, key, value))
    inputs = [tensor.requires_grad_() for tensor in swapped]
    torch.library.opcheck(attention_operator, (*inputs, *options))


def test_torch_checks_the_operator_of_the_gradient():
    query, key, value, *options = operator_arguments(window=3)
    with torch.no_grad():
        output, lse = attention_operator(query, key, value, *options)
    inputs = (torch.randn_like(output), None, query, key, value, output, lse, *options)
    inputs = tuple(i.detach() if isinstance(i, torch.Tensor) else i for i in inputs)
    torch.library.opcheck(
        torch.ops.lmcourse.attention_backward.default,
        inputs,
        test_utils=("test_schema", "test_faketensor"),
    )


@pytest.mark.wrong_input  # the type checker cannot be compiled
@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
@pytest.mark.parametrize("options", ["plain", "causal window", "all"])
def test_it_compiles_into_one_graph(backend, options):
    inputs = tensors((4, 2, 40, 40, 8), torch.float32, requires_grad=True)
    options = filled(OPTIONS[options], *inputs[:2])

    def function(query, key, value):
        return attention(query, key, value, **options, backend=backend)

    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    output, wanted = compiled(*inputs), function(*inputs)
    torch.testing.assert_close(output, wanted)
    for one, other in zip(
        torch.autograd.grad(output.sum(), inputs),
        torch.autograd.grad(wanted.sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_there_is_no_second_derivative_without_the_whole_matrix():
    query, key, value = tensors((2, 2, 4, 4, 2), requires_grad=True)
    output = attention(query, key, value, backend="tiled")
    (gradient,) = torch.autograd.grad(output.sum(), query, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives only with backend='reference'"):
        gradient.sum().backward()


def test_the_tiled_gradient_is_the_same_to_the_last_bit_every_time():
    inputs = tensors((4, 2, 300, 300, 16), torch.float32, requires_grad=True)
    first, second = (gradients(inputs, {"causal": True}, "tiled") for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


# The choice.

LONG = (1, 1, 1024, 1024, 4)
CHOICES = [
    (LONG, {}, "sdpa"),
    (LONG, {"causal": True}, "sdpa"),
    (LONG, {"causal": True, "window": 100}, "tiled"),
    (LONG, {"window": 900}, "sdpa"),
    (LONG, {"window": 100}, "tiled"),
    (LONG, {"alibi_slopes": (-1,)}, "tiled"),
    (LONG, {"bias": (-1, -1)}, "sdpa"),
    (LONG, {"bias": (-1, -1), "causal": True}, "tiled"),
    (LONG, {"return_lse": True}, "tiled"),
    ((1, 1, 64, 64, 4), {"causal": True, "window": 10}, "sdpa"),
    ((1, 1, 1, 1024, 4), {"causal": True, "window": 100}, "sdpa"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape, options, wanted", CHOICES)
def test_auto_on_the_cpu(shape, options, wanted, dtype):
    inputs = tensors(shape, dtype)
    assert explain(*inputs, **filled(options, *inputs[:2])).backend == wanted


@pytest.mark.parametrize("shape, options, _", CHOICES)
def test_what_explain_says_is_what_runs(shape, options, _, monkeypatch):
    inputs = tensors(shape, torch.float32, batch=1)
    options = filled(options, *inputs[:2])
    ran = []
    for name in ("reference_attention", "attention_operator"):
        function = getattr(dispatch, name)

        def spy(*arguments, name=name, function=function, **keywords):
            ran.append("reference" if name == "reference_attention" else arguments[-1])
            return function(*arguments, **keywords)

        monkeypatch.setattr(dispatch, name, spy)
    torch_function = functional.scaled_dot_product_attention
    monkeypatch.setattr(
        functional,
        "scaled_dot_product_attention",
        lambda *a, **k: ran.append("sdpa") or torch_function(*a, **k),
    )
    attention(*inputs, **options)
    assert ran == [explain(*inputs, **options).backend]
    for backend in BACKENDS:
        assert explain(*inputs, **options, backend=backend).backend == backend


def test_auto_goes_to_the_reference_for_gradients_of_the_bias():
    inputs = tensors((2, 2, 8, 8, 4))
    bias = torch.zeros(8, 8, requires_grad=True)
    assert explain(*inputs, bias=bias).backend == "reference"
    slopes = torch.zeros(2, requires_grad=True)
    assert explain(*inputs, alibi_slopes=slopes).backend == "reference"
    with torch.no_grad():
        assert explain(*inputs, bias=bias).backend == "sdpa"


def test_a_choice_reads_as_a_sentence():
    text = str(explain(*tensors(LONG), window=3))
    assert text == (
        "The backend 'tiled' runs, because "
        "it skips many hidden keys, where torch's own function reads a mask."
    )


def test_auto_on_a_gpu(monkeypatch):
    def call(**changes):
        query, key, value = tensors((2, 1, 5, 5, 8), changes.pop("dtype", torch.float16))
        inputs = [t.to("meta") for t in (query, key, value)]
        return explain(*inputs, **changes)

    monkeypatch.setattr(dispatch, "HAS_TRITON", True)
    monkeypatch.setattr(dispatch, "TRITON_INTERPRETED", True)
    assert call().backend == "triton"
    assert call(dtype=torch.float64) == ("sdpa", "the Triton kernels have no float64")
    monkeypatch.setattr(dispatch, "HAS_TRITON", False)
    assert call() == ("sdpa", "Triton is not installed")


# Wrong input.

GOOD = (2, 8, 4, 4)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    "changes, kind, message",
    [
        ({"query": [1.0]}, TypeError, "query must be a torch.Tensor, got list"),
        (
            {"key": torch.zeros(2, 4, 8)},
            ValueError,
            r"key must have 4 axes, \(batch, heads, length, head_dim\), got shape \(2, 4, 8\)",
        ),
        (
            {"query": torch.zeros(2, 8, 4, 4, dtype=torch.int64)},
            TypeError,
            "query must be of float16, bfloat16, float32 or float64, got int64",
        ),
        (
            {"value": torch.zeros(2, 4, 6, 4, dtype=torch.float64)},
            TypeError,
            "value must have query's dtype float32, got float64",
        ),
        (
            {"key": torch.zeros(2, 4, 6, 4, device="meta")},
            ValueError,
            "key must be on query's device cpu, got meta",
        ),
        (
            {"key": torch.zeros(3, 4, 6, 4)},
            ValueError,
            r"key must have query's batch 2, got 3 in shape \(3, 4, 6, 4\)",
        ),
        (
            {"value": torch.zeros(2, 4, 6, 5)},
            ValueError,
            r"value must have query's head_dim 4, got 5 in shape \(2, 4, 6, 5\)",
        ),
        (
            {"key": torch.zeros(2, 3, 6, 4)},
            ValueError,
            "key has 3 heads, which does not divide query's 8 heads",
        ),
        (
            {"key": torch.zeros(2, 0, 6, 4)},
            ValueError,
            "key has 0 heads, which does not divide query's 8 heads",
        ),
        (
            {"value": torch.zeros(2, 2, 6, 4)},
            ValueError,
            r"value must have key's heads 4, got 2 in shape \(2, 2, 6, 4\)",
        ),
        (
            {"value": torch.zeros(2, 4, 5, 4)},
            ValueError,
            r"value must have key's length 6, got 5 in shape \(2, 4, 5, 4\)",
        ),
        ({"causal": 1}, TypeError, "causal must be True or False, got 1"),
        ({"return_lse": None}, TypeError, "return_lse must be True or False, got None"),
        ({"window": 0}, ValueError, "window must be an integer >= 1, got 0"),
        ({"window": 2.0}, TypeError, "window must be an integer, got float 2.0"),
        ({"scale": INF}, ValueError, "scale must be a finite number, got inf"),
        ({"scale": "1"}, TypeError, "scale must be a number, got str '1'"),
        ({"bias": 1.0}, TypeError, "bias must be a torch.Tensor, got float"),
        (
            {"bias": torch.ones(4, 6, dtype=torch.bool)},
            TypeError,
            r"bias must hold numbers to add, got bool; .* torch.where\(mask, 0.0, -torch.inf\)",
        ),
        (
            {"bias": torch.ones(4, 6, dtype=torch.int32)},
            TypeError,
            "bias must be of a floating type, got int32",
        ),
        (
            {"bias": torch.zeros(6, 4)},
            ValueError,
            r"bias must broadcast to \(batch, heads, n_query, n_key\) = \(2, 8, 4, 6\), "
            r"got shape \(6, 4\)",
        ),
        (
            {"alibi_slopes": torch.zeros(4)},
            ValueError,
            r"alibi_slopes must broadcast to \(batch, heads\) = \(2, 8\), got shape \(4,\)",
        ),
        (
            {"alibi_slopes": torch.zeros(8, device="meta")},
            ValueError,
            "alibi_slopes must be on query's device cpu, got meta",
        ),
        (
            {"backend": "flash"},
            ValueError,
            "backend must be one of 'auto', 'reference', 'tiled', 'sdpa', 'triton', got 'flash'",
        ),
        (
            {"bias": torch.zeros(4, 6, requires_grad=True), "backend": "tiled"},
            ValueError,
            "bias requires a gradient, which only backend='reference' gives, got 'tiled'",
        ),
        (
            {"alibi_slopes": torch.zeros(8, requires_grad=True), "backend": "sdpa"},
            ValueError,
            "alibi_slopes requires a gradient, which only backend='reference' gives, got 'sdpa'",
        ),
    ],
)
def test_wrong_input(changes, kind, message):
    good = {
        "query": torch.zeros(2, 8, 4, 4),
        "key": torch.zeros(2, 4, 6, 4),
        "value": torch.zeros(2, 4, 6, 4),
    }
    for function in (attention, explain):
        with pytest.raises(kind, match=f"^{message}$"):
            function(**(good | changes))


@pytest.mark.wrong_input
def test_triton_without_a_gpu_says_what_to_do(monkeypatch):
    inputs = tensors((2, 2, 4, 4, 4), torch.float32)
    monkeypatch.setattr(dispatch, "TRITON_INTERPRETED", False)
    monkeypatch.setattr(dispatch, "HAS_TRITON", True)
    with pytest.raises(ValueError, match=r"query is on cpu.* set TRITON_INTERPRET=1 before"):
        attention(*inputs, backend="triton")
    monkeypatch.setattr(dispatch, "HAS_TRITON", False)
    with pytest.raises(ValueError, match="cannot run: Triton is not installed"):
        attention(*inputs, backend="triton")
    monkeypatch.setattr(dispatch, "TRITON_INTERPRETED", True)
    monkeypatch.setattr(dispatch, "HAS_TRITON", True)
    with pytest.raises(ValueError, match="head_dim of 256, got 257"):
        attention(*tensors((1, 1, 2, 2, 257), torch.float32), backend="triton")


@pytest.mark.wrong_input
def test_tiled_is_for_the_cpu():
    inputs = [t.to("meta") for t in tensors((2, 2, 4, 4, 4), torch.float32)]
    with pytest.raises(ValueError, match="backend 'tiled' runs on the CPU, got query on meta"):
        attention(*inputs, backend="tiled")
