"""The Triton kernels: in the interpreter, through the compiler and, where one is, on a GPU."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, bias, sdpa_kernel

from tests.kernel_cases import CASES, RESULTS, Case, errors, inputs, kernel_results, whole_matrix
from tests.kernel_compiler import CONFIGURATIONS
from tests.notebooks import ROOT

triton = pytest.importorskip("triton", reason="not run here: needs Triton")

OLDER_TRITON = ROOT / "_build" / "triton-3.6"
KERNELS = "_forward_kernel", "_grad_key_value_kernel", "_grad_query_kernel"
SHARED_MEMORY = 227 * 1024  # of a Hopper multiprocessor, in bytes, as much as a program may have
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="not run here: needs a CUDA GPU"
)


def child(module, tmp_path_factory, **environment):
    """Run a module of the tests in a process of its own, and return what it prints."""
    environment |= {
        "OMP_NUM_THREADS": "1",
        "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton")),
        "TRITON_DEFAULT_FP_FUSION": "1",
    }
    run = subprocess.run(
        [sys.executable, "-m", module],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def complain(report):
    """Fail for every result whose error is too large; NaN is."""
    assert isinstance(report, dict), report
    assert report.keys() == set(RESULTS)
    bad = {name: pair for name, pair in report.items() if not pair[0] <= pair[1]}
    assert not bad, f"(error, allowed): {bad}"


# The reference


@pytest.mark.parametrize("name", ["plain", "ragged lengths", "tile sizes exactly", "causal"])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_the_reference_is_torchs_attention(name, kv_heads):
    case = replace(CASES[name], kv_heads=kv_heads, dtype="float64")
    compare_with_torch(case, is_causal=case.causal)


@pytest.mark.parametrize("name", ["causal, fewer queries", "bias", "bias, the same for all keys"])
def test_the_reference_is_torchs_attention_with_a_mask(name):
    case = replace(CASES[name], dtype="float64")
    mask = inputs(case)[1]["bias"]
    if case.causal:
        lower_right = bias.causal_lower_right(case.n_query, case.n_key)._materialize("cpu")
        mask = torch.where(lower_right, 0.0 if mask is None else mask, -math.inf)
    compare_with_torch(case, attn_mask=mask.double())


def compare_with_torch(case, **options):
    tensors, ours = inputs(case)
    query, key, value = (tensors[name] for name in ("query", "key", "value"))
    with sdpa_kernel(SDPBackend.MATH):
        expected = functional.scaled_dot_product_attention(
            query, key, value, scale=case.scale, enable_gqa=True, **options
        )
    torch.testing.assert_close(whole_matrix(query, key, value, **ours)[0], expected)


# In the interpreter


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """The errors of all cases, from Triton's interpreter."""
    return child("tests.kernel_cases", tmp_path_factory, TRITON_INTERPRET="1")


@pytest.mark.parametrize("name", CASES)
def test_the_kernels_compute_the_definition(interpreted, name):
    complain(interpreted[name])


# Through the compiler


@pytest.fixture(scope="module", params=["installed", "3.6"])
def compiled(request, tmp_path_factory):
    """The compiler's numbers, from the installed Triton and from the one that torch 2.11 brings."""
    path = []
    if request.param == "3.6":
        if not (OLDER_TRITON / "triton").exists():
            pytest.skip(f"not run here: needs Triton 3.6 in {OLDER_TRITON}")
        path = [str(OLDER_TRITON)]
    path = os.pathsep.join([*path, *filter(None, [os.environ.get("PYTHONPATH")])])
    report = child("tests.kernel_compiler", tmp_path_factory, PYTHONPATH=path, TRITON_INTERPRET="0")
    expected = triton.__version__ if request.param == "installed" else "3.6"
    assert report["version"].startswith(expected)
    return report["kernels"]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_kernels_compile_for_hopper(compiled, name):
    numbers = compiled[name]
    assert numbers.keys() == set(KERNELS)
    for kernel, found in numbers.items():
        assert found["shared"] <= SHARED_MEMORY, (kernel, found)
        assert ("float32" in name) == (found["wgmma"] == 0), (kernel, found)


@pytest.mark.parametrize("name", [name for name in CONFIGURATIONS if name[:2] in ("64", "12")])
def test_the_main_kernels_keep_all_they_need_in_registers(compiled, name):
    for kernel, found in compiled[name].items():
        assert found["spilled"] == 0, (kernel, found)


# The launchers


@pytest.mark.wrong_input
@pytest.mark.parametrize("function", ["forward", "backward"])
def test_tensors_on_the_cpu_are_refused(function):
    code = f"""
import torch
from lmcourse.attention import triton_kernels
query = torch.zeros(1, 1, 4, 16)
tensors = [query] * 3 if {function!r} == "forward" else [query, None, *[query] * 4, query[..., 0]]
options = dict(causal=False, window=None, scale=1.0, bias=None, alibi_slopes=None)
triton_kernels.{function}(*tensors, **options)
"""
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "ValueError: query must be on a GPU for the Triton kernels, got device cpu" in run.stderr
    assert "TRITON_INTERPRET=1" in run.stderr


@pytest.mark.wrong_input
def test_what_the_kernels_cannot_do_is_refused():
    from lmcourse.attention.triton_kernels import tile_sizes

    with pytest.raises(ValueError, match=r"head_dim must be at most 256 for .*, got 257"):
        tile_sizes("forward", 257, torch.float16)
    with pytest.raises(ValueError, match=r"query must be .* float32 for .*, got torch\.float64"):
        tile_sizes("forward", 64, torch.float64)


@pytest.mark.parametrize(("head_dim", "tile_d"), [(1, 16), (16, 16), (17, 32), (80, 128)])
def test_tiles_are_as_wide_as_the_next_power_of_two(head_dim, tile_d):
    from lmcourse.attention.triton_kernels import tile_sizes

    for kernel in ("forward", "grad_key_value", "grad_query"):
        for dtype in (torch.float16, torch.float32):
            assert tile_sizes(kernel, head_dim, dtype)["TILE_D"] == tile_d


# On a GPU


@needs_gpu
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_a_gpu_computes_the_definition(name, dtype):
    case = replace(CASES[name], dtype=dtype).stretched(7)
    complain(errors(case, "cuda"))


BIG = {
    "head_dim 128": Case(2, 2048, 128, heads=8, kv_heads=2, scale=0.09, causal=True),
    "head_dim 256": Case(1000, 1500, 256, heads=4, kv_heads=4, scale=0.06),
    "window": Case(3000, 3000, 64, scale=0.125, causal=True, window=700),
    "many heads": Case(17, 17, 16, batch=9000, heads=8, kv_heads=4),
}


@needs_gpu
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", BIG)
def test_a_gpu_computes_the_definition_of_big_ones(name, dtype):
    complain(errors(replace(BIG[name], dtype=dtype), "cuda"))


@needs_gpu
@pytest.mark.parametrize("name", BIG)
def test_a_gpu_computes_the_same_bits_again(name):
    tensors, options = inputs(replace(BIG[name], dtype="bfloat16"), "cuda")
    first, second = kernel_results(tensors, options), kernel_results(tensors, options)
    for result in RESULTS:
        assert torch.equal(first[result], second[result]), result
