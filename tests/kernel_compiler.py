"""The attention kernels compiled for Hopper, with or without a GPU: what comes out, in numbers.

``python -m tests.kernel_compiler`` prints them as JSON. The kernels are compiled from the very
calls that the launchers make, by whichever Triton is imported first.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

# head_dim, type, causal, other options and, if not as below, heads, kv_heads, n_query, n_key
CONFIGURATIONS = {
    "64, bfloat16, causal": (64, torch.bfloat16, True, {}),
    "64, float16": (64, torch.float16, False, {}),
    "128, bfloat16, causal": (128, torch.bfloat16, True, {}),
    "128, float16": (128, torch.float16, False, {}),
    "80, bfloat16, everything": (
        80, torch.bfloat16, True,
        {"window": 500, "bias": torch.zeros(1, 1, 1, 1), "alibi_slopes": torch.zeros(1, 4)},
    ),
    "256, bfloat16, causal": (256, torch.bfloat16, True, {}),
    "64, float32": (64, torch.float32, False, {}),
    # Triton compiles an argument that is 1 as a constant, which the interpreter does not.
    "64, bfloat16, one of each": (64, torch.bfloat16, True, {"window": 1}, (1, 1, 1, 1)),
}  # fmt: skip


class Hopper:
    """What Triton asks of a driver before it compiles: which device is there."""

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


@contextlib.contextmanager
def compiling_only() -> Iterator[list]:
    """Have launches compile for Hopper instead; yields the list that the kernels are put into."""
    import triton

    from lmcourse.attention import triton_kernels

    compiled = []

    def launch(self, grid):
        return lambda *args, **kwargs: compiled.append(self.warmup(*args, grid=grid, **kwargs))

    triton.runtime.driver.set_active(Hopper())
    launch_on_a_gpu, triton.JITFunction.__getitem__ = triton.JITFunction.__getitem__, launch
    check, triton_kernels._check_device = triton_kernels._check_device, lambda query: None
    yield compiled
    triton.JITFunction.__getitem__, triton_kernels._check_device = launch_on_a_gpu, check


def compile_kernels(
    head_dim: int,
    dtype: torch.dtype,
    causal: bool,
    others: dict,
    sizes: tuple[int, int, int, int] = (4, 2, 1024, 1024),
) -> dict:
    """Compile what a forward and a backward pass launch; return each kernel's numbers."""
    from lmcourse.attention import triton_kernels

    heads, kv_heads, n_query, n_key = sizes
    query = torch.empty(1, heads, n_query, head_dim, dtype=dtype)
    key = torch.empty(1, kv_heads, n_key, head_dim, dtype=dtype)
    options = {"causal": causal, "window": None, "scale": 0.1, "bias": None, "alibi_slopes": None}
    options |= others
    if options["bias"] is not None:
        options["bias"] = options["bias"].expand(1, heads, n_query, n_key)
    with compiling_only() as compiled:
        output, lse = triton_kernels.forward(query, key, key, **options)
        triton_kernels.backward(output, None, query, key, key, output, lse, **options)
    return {kernel.metadata.name: numbers_of(kernel) for kernel in compiled}


def numbers_of(kernel) -> dict[str, int]:
    """Return a kernel's registers a thread, bytes of stack (spills) and of shared memory, and how
    often it says ``wgmma``, Hopper's product of tiles."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = subprocess.run(
            [tool, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", usage).groups()
    return {
        "registers": int(registers),
        "spilled": int(stack),
        "shared": kernel.metadata.shared,
        "wgmma": kernel.asm["ptx"].count("wgmma.mma_async"),
    }


def main() -> None:
    """Print the version of Triton and, by configuration and kernel, the numbers."""
    import triton

    results = {name: compile_kernels(*case) for name, case in CONFIGURATIONS.items()}
    print(json.dumps({"version": triton.__version__, "kernels": results}))


if __name__ == "__main__":
    main()
