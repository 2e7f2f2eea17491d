"""Calls of ``attention`` that take the Triton kernels, as the tests run them in the interpreter.

``TRITON_INTERPRET=1 python -m tests.kernels_through_attention`` fails with what went wrong. The
tensors lie in memory as multi-head attention has them, heads and length swapped.
"""

from __future__ import annotations

import torch

from lmcourse.attention import attention
from lmcourse.attention.operator import attention_operator


def made() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, n, heads, 16, generator=generator).transpose(1, 2).requires_grad_()
        for n, heads in ((20, 4), (30, 2), (30, 2))
    ]


def results(inputs, backend, *, compiled=False, **options):
    def function(*tensors):
        return attention(*tensors, backend=backend, **options)

    if compiled:
        function = torch.compile(function, fullgraph=True, backend="aot_eager")
    output = function(*inputs)
    return [output, *torch.autograd.grad(output.sin().sum(), inputs)]


def main() -> None:
    for options in (
        {},
        {"causal": True, "window": 9},
        {"scale": -0.3, "causal": True},
        {"scale": 0.0},
        {"bias": torch.randn(20, 30), "alibi_slopes": torch.tensor([0.5, 0.25, 0.125, 0.0625])},
    ):
        wanted = results(made(), "reference", **options)
        torch.testing.assert_close(results(made(), "triton", **options), wanted)
        torch.testing.assert_close(results(made(), "triton", compiled=True, **options), wanted)
    torch.library.opcheck(attention_operator, (*made(), True, 9, 0.3, None, None, "triton"))

    low = [tensor.detach().bfloat16() for tensor in made()]
    try:
        attention(*low, backend="triton")
    except ValueError as error:
        assert "bfloat16" in str(error), error
    else:
        raise AssertionError("the interpreter's bfloat16 products are wrong, and were taken")


if __name__ == "__main__":
    main()
