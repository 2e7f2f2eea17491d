"""Attention's paths beside torch's own function, on the CPU and, where there is one, on a GPU.

Run as ``python -m benchmarks.attention`` from the repository's root.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks import _measure
from lmcourse.attention import attention, explain
from lmcourse.positional import alibi_slopes

HEADS, HEAD_DIM = 12, 64  # GPT-2's
WINDOW = 256
CPU_LENGTHS = (128, 512, 2048, 4096)
BACKWARD_LENGTHS = (256, 1024)
CPU_DTYPES = (torch.float32, torch.bfloat16)
KINDS = {
    "full": {},
    "causal": {"causal": True},
    f"causal, window {WINDOW}": {"causal": True, "window": WINDOW},
    "causal, ALiBi": {"causal": True, "alibi_slopes": alibi_slopes(HEADS)},
}
CPU_PATHS = ("naive", "tiled", "SDPA", "auto")
NAIVE_LIMIT = 2048  # beyond, the plain formula takes seconds and gigabytes

MEMORY_HEADS = 4
MEMORY_LENGTHS = (1024, 2048, 4096, 8192, 16384)
MEMORY_NAIVE_LIMIT = 4096

GPU_TOKENS = 16384  # batch times length
GPU_WIDTH = 2048  # heads times head_dim
GPU_LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)
GPU_HEAD_DIMS = (64, 128)
GPU_REPEATS = 30
PINNED = {
    "SDPA flash": SDPBackend.FLASH_ATTENTION,
    "SDPA cuDNN": SDPBackend.CUDNN_ATTENTION,
    "SDPA efficient": SDPBackend.EFFICIENT_ATTENTION,
    "SDPA math": SDPBackend.MATH,
}


def main() -> None:
    cpu_part()
    if torch.cuda.is_available():
        gpu_part("cuda")
    else:
        print("No GPU was found, so the part for GPUs was not run.")


# On the CPU.


def cpu_part() -> None:
    forward = [
        row
        for dtype in CPU_DTYPES
        for kind, options in KINDS.items()
        for length in CPU_LENGTHS
        for row in [cpu_row(dtype, kind, options, length)]
    ]
    backward = [
        cpu_row(dtype, kind, options, length, backward=True)
        for dtype in CPU_DTYPES
        for kind, options in KINDS.items()
        for length in BACKWARD_LENGTHS
    ]
    header = ["dtype, mask, length", *CPU_PATHS, "SDPA / auto", "auto took"]
    _measure.report(
        "attention_cpu",
        "Attention on the CPU",
        f"Batch 1, {HEADS} heads of {HEAD_DIM}, {torch.get_num_threads()} threads. Milliseconds, "
        "the best of several rounds taken in turn; the outputs are checked to agree. *naive* is "
        "the formula in torch's matrix products and softmax; *tiled* and *auto* are backends of "
        "`lmcourse.attention.attention`; *SDPA* is "
        "`torch.nn.functional.scaled_dot_product_attention`, which for a window or for ALiBi is "
        "given a mask, made beforehand and not in the time, while the other paths make what they "
        "need. *SDPA / auto* is above 1 where auto is faster.",
        "Forward:",
        _measure.table(header, forward),
        "Forward and backward:",
        _measure.table(header, backward),
        f"Memory beyond the inputs, causal, forward, {MEMORY_HEADS} heads of {HEAD_DIM}, float32: "
        "how far the resident size of a process of its own rose at its peak. MiB.",
        _measure.table(["length", *MEMORY_PATHS], memory_rows()),
        packages=["torch", "numpy"],
    )


def cpu_row(
    dtype: torch.dtype, kind: str, options: dict, length: int, *, backward: bool = False
) -> list[str]:
    query, key, value = inputs(1, HEADS, length, HEAD_DIM, dtype, "cpu", requires_grad=backward)
    paths = cpu_paths(length, dtype, options)
    if length > NAIVE_LIMIT:
        del paths["naive"]
    with torch.no_grad():
        expected = paths["SDPA"](query, key, value)
        for path in paths.values():
            check(path(query, key, value), expected)

    def forward_only(path: Callable) -> Any:
        with torch.no_grad():
            return path(query, key, value)

    def both_ways(path: Callable) -> Any:
        return torch.autograd.grad(path(query, key, value), (query, key, value), expected)

    run = both_ways if backward else forward_only
    rounds = 20 if length <= 512 else 6 if length <= 1024 else 3
    times = _measure.best_times(
        {name: partial(partial, run, path) for name, path in paths.items()}, rounds=rounds
    )
    row = [
        f"{name_of(dtype)}, {kind}, {length}",
        *(f"{1e3 * times[path]:.2f}" if path in times else "–" for path in CPU_PATHS),
        f"{times['SDPA'] / times['auto']:.2f}",
        explain(query, key, value, **options).backend,
    ]
    print(" | ".join(row), flush=True)
    return row


def cpu_paths(length: int, dtype: torch.dtype, options: dict) -> dict[str, Callable]:
    added = None
    if "window" in options or "alibi_slopes" in options:
        added = mask_of(length, **options).to(dtype)
    sdpa = partial(
        functional.scaled_dot_product_attention,
        attn_mask=added,
        is_causal=added is None and options.get("causal", False),
    )
    return {
        "naive": partial(naive, **options),
        "tiled": partial(attention, **options, backend="tiled"),
        "SDPA": sdpa,
        "auto": partial(attention, **options),
    }


def naive(query: Any, key: Any, value: Any, **options: Any) -> torch.Tensor:
    """Attend as the formula says, in the precision of the inputs."""
    scores = query @ key.mT * query.shape[-1] ** -0.5
    if options:
        scores = scores + mask_of(query.shape[2], **options).to(query)
    return scores.softmax(-1) @ value


def mask_of(
    length: int,
    *,
    causal: bool = False,
    window: int | None = None,
    alibi_slopes: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return what is to be added to the scores, (1 or heads, length, length)."""
    distance = torch.arange(length)[:, None] - torch.arange(length)
    hidden = (distance < 0) & causal
    if window is not None:
        hidden = hidden | (distance.abs() >= window)
    slopes = torch.zeros(1) if alibi_slopes is None else alibi_slopes
    return (-slopes[:, None, None] * distance.abs()).masked_fill(hidden, -torch.inf)


# Memory on the CPU: a process of its own for each path, which goes through growing lengths.

MEMORY_PATHS = ("naive", "tiled", "SDPA")


def memory_rows() -> Iterator[list[str]]:
    found = {path: peaks_in_a_process_of_its_own(path) for path in MEMORY_PATHS}
    for length in map(str, MEMORY_LENGTHS):
        cells = (found[path].get(length) for path in MEMORY_PATHS)
        yield [length, *("–" if mib is None else f"{mib:.0f}" for mib in cells)]


def peaks_in_a_process_of_its_own(path: str) -> dict[str, float]:
    code = f"from benchmarks.attention import print_peaks; print_peaks({path!r})"
    child = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=300
    )
    return json.loads(child.stdout)


def print_peaks(path: str) -> None:
    """Print by how many MiB the resident size rose at its peak, for each length."""
    import psutil

    function = cpu_paths(1, torch.float32, {"causal": True})[path]
    peaks = {}
    with torch.no_grad():
        function(*inputs(1, MEMORY_HEADS, 64, HEAD_DIM, torch.float32, "cpu"))
        for length in MEMORY_LENGTHS:
            if path == "naive" and length > MEMORY_NAIVE_LIMIT:
                break
            tensors = inputs(1, MEMORY_HEADS, length, HEAD_DIM, torch.float32, "cpu")
            before = psutil.Process().memory_info().rss
            reset_peak()
            function(*tensors)
            peaks[str(length)] = (peak() - before) / 2**20
    print(json.dumps(peaks))


def reset_peak() -> None:
    """Let Linux count the process's largest resident size from now on."""
    with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123
        file.write("5")


def peak() -> int:
    with open("/proc/self/status") as file:  # noqa: PTH123
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


# On a GPU.


def gpu_part(
    device: str,
    *,
    tokens: int = GPU_TOKENS,
    width: int = GPU_WIDTH,
    lengths: tuple[int, ...] = GPU_LENGTHS,
    repeats: int = GPU_REPEATS,
) -> None:
    """Measure the grid and write it under the device's name."""
    paths = gpu_paths(device)
    forward, backward, memory = [], [], []
    for head_dim in GPU_HEAD_DIMS:
        for causal in (False, True):
            for length in lengths:
                tensors = inputs(
                    tokens // length, width // head_dim, length, head_dim, torch.bfloat16, device
                )
                name = f"{head_dim}, {'causal' if causal else 'full'}, {length}"
                cells = [measure(*path, tensors, causal, repeats) for path in paths.items()]
                forward.append([name, *(cell["forward"] for cell in cells)])
                backward.append([name, *(cell["backward"] for cell in cells)])
                memory.append([name, *(cell["memory"] for cell in cells)])
                print(" | ".join(forward[-1]), "||", " | ".join(backward[-1][1:]), flush=True)
    header = ["head_dim, mask, length", *paths]
    device_name = torch.cuda.get_device_name() if device == "cuda" else device
    _measure.report(
        f"attention_{re.sub('[^a-z0-9]+', '_', device_name.lower())}",
        f"Attention on {device_name}",
        f"bfloat16, batch times length {tokens}, heads times head_dim {width}, CUDA "
        f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}. TFLOP/s, counting 4 · "
        "batch · heads · length² · head_dim operations forward and 2.5 times as many backward, "
        f"half of that if causal: the median of {repeats} runs after as many to warm up, and "
        "behind ± half the distance between the quartiles. A dash: the backend refuses the call, "
        "or memory does not suffice. SDPA's backends are pinned one at a time; FlexAttention is "
        "compiled, with a block mask where causal. The outputs are checked to agree.",
        "Forward:",
        _measure.table(header, forward),
        "Backward alone:",
        _measure.table(header, backward),
        "Memory beyond the inputs at the peak of forward and backward, MiB:",
        _measure.table(header, memory),
        packages=["torch", *(["triton"] if device == "cuda" else [])],
    )


def gpu_paths(device: str) -> dict[str, Callable]:
    """Return the peers by name, each a function of query, key, value and causal."""
    backend = "triton" if device == "cuda" else "auto"

    def ours(query: Any, key: Any, value: Any, causal: bool) -> torch.Tensor:
        return attention(query, key, value, causal=causal, backend=backend)

    def pinned(kernel: SDPBackend, query: Any, key: Any, value: Any, causal: bool) -> torch.Tensor:
        with sdpa_kernel(kernel):
            return functional.scaled_dot_product_attention(query, key, value, is_causal=causal)

    sdpa = {name: partial(pinned, kernel) for name, kernel in PINNED.items()}
    return {"lmcourse": ours, **sdpa, "FlexAttention": flex_path(device)}


def flex_path(device: str) -> Callable:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    compiled = torch.compile(flex_attention, dynamic=False)
    masks = {}

    def flex(query: Any, key: Any, value: Any, causal: bool) -> torch.Tensor:
        length = query.shape[2]
        if causal and length not in masks:
            masks[length] = create_block_mask(
                lambda batch, head, i, j: i >= j, None, None, length, length, device=device
            )
        return compiled(query, key, value, block_mask=masks[length] if causal else None)

    return flex


def measure(name: str, path: Callable, tensors: list, causal: bool, repeats: int) -> dict[str, str]:
    """Return the cells of one path: forward, backward and memory."""
    batch, heads, length, head_dim = tensors[0].shape
    operations = 4 * batch * heads * length**2 * head_dim / (2 if causal else 1)
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    device = tensors[0].device
    cells = {"forward": "–", "backward": "–", "memory": "–"}
    try:
        with torch.no_grad():
            # The first batch entry alone, so that the formula fits into memory.
            few = [tensor[:1, :1] for tensor in tensors]
            whole = path(*tensors, causal)
            check(whole[:1, :1], exact(*few, causal))
            del whole
            cells["forward"] = speed(lambda: path(*tensors, causal), operations, device, repeats)
        output = path(*leaves, causal)
        gradient = torch.randn_like(output)
        cells["backward"] = speed(
            lambda: torch.autograd.grad(output, leaves, gradient, retain_graph=True),
            2.5 * operations,
            device,
            repeats,
        )
        if device.type == "cuda":
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            torch.autograd.grad(path(*leaves, causal), leaves, gradient)
            cells["memory"] = f"{(torch.cuda.max_memory_allocated() - before) / 2**20:.0f}"
    except RuntimeError as error:  # a backend that refuses, or too little memory
        print(f"{name}: {str(error).splitlines()[0]:.120}", flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return cells


def exact(query: Any, key: Any, value: Any, causal: bool) -> torch.Tensor:
    query, key, value = (tensor.float() for tensor in (query, key, value))
    return attention(query, key, value, causal=causal, backend="reference")


def speed(function: Callable, operations: float, device: torch.device, repeats: int) -> str:
    """Return the median speed in TFLOP/s and half the distance between its quartiles."""
    speeds = [operations / seconds / 1e12 for seconds in timings(function, device, repeats)]
    low, _, high = quantiles(speeds, n=4)
    return f"{median(speeds):.3g} ± {(high - low) / 2:.2g}"


def timings(function: Callable, device: torch.device, repeats: int) -> list[float]:
    """Return the seconds that each of ``repeats`` runs takes on the device."""
    for _ in range(repeats):
        function()
    if device.type != "cuda":
        return [timed(function) for _ in range(repeats)]
    events = [
        (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
        for _ in range(repeats)
    ]
    flush = torch.empty(2**28, dtype=torch.uint8, device=device)  # more than the cache holds
    for start, stop in events:
        flush.zero_()
        start.record()
        function()
        stop.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(stop) / 1e3 for start, stop in events]


def timed(function: Callable) -> float:
    start = perf_counter()
    function()
    return perf_counter() - start


# Both.


def inputs(
    batch: int,
    heads: int,
    length: int,
    head_dim: int,
    dtype: torch.dtype,
    device: str,
    *,
    requires_grad: bool = False,
) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, heads, length, head_dim, generator=generator)
        .to(device, dtype)
        .requires_grad_(requires_grad)
        for _ in range(3)
    ]


def check(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Compare two outputs as far as their precision goes."""
    tolerance = 1e-4 if found.dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found.float(), expected.float(), rtol=tolerance, atol=tolerance)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    main()
