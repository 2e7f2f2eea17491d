"""Positional encodings against transformers, literal formulas and the properties they promise."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.distilbert.modeling_distilbert import create_sinusoidal_embeddings
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from lmcourse.positional import alibi_slopes, rotary, sinusoidal

DOUBLE = torch.float64


def normal(*shape, seed=0, dtype=DOUBLE):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def assert_close(ours, theirs, tolerance=1e-12):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@given(st.integers(1, 40), st.integers(1, 17), st.sampled_from([100.0, 10_000.0, 500_000.0]))
@example(1, 1, 10_000.0)
def test_sinusoidal_equals_its_formula_for_any_width(length, width, base):
    ours = sinusoidal(length, width, base=base, dtype=DOUBLE)
    expected = [
        [
            (math.cos if slot % 2 else math.sin)(position * base ** (-2 * (slot // 2) / width))
            for slot in range(width)
        ]
        for position in range(length)
    ]
    assert_close(ours, torch.tensor(expected, dtype=DOUBLE))


@pytest.mark.parametrize("width", [2, 6, 64])
def test_sinusoidal_equals_transformers(width):
    theirs = create_sinusoidal_embeddings(300, width, torch.empty(300, width))
    ours = sinusoidal(300, width)
    assert ours.dtype == theirs.dtype
    assert_close(ours, theirs, tolerance=1e-7)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-7), (torch.float16, 1e-3), (torch.bfloat16, 4e-3)]
)
def test_sinusoidal_is_rounded_only_at_the_end(dtype, tolerance):
    """Positions of 100 000 rounded to half precision, or angles to float32, would be far off."""
    ours = sinusoidal(100_000, 6, dtype=dtype)[-50:]
    assert ours.dtype == dtype
    assert_close(ours.double(), sinusoidal(100_000, 6, dtype=DOUBLE)[-50:], tolerance)


@pytest.mark.parametrize("width", [8, 7])
@pytest.mark.parametrize("shift", [1, 5, 40])
def test_a_shift_rotates_each_pair_by_an_angle_of_its_own(width, shift):
    """Sine and cosine at p + k are R(k) times those at p, with one R(k) for all p."""
    table = sinusoidal(60, width, dtype=DOUBLE)
    for i in range(width // 2):
        angle = shift * 10_000.0 ** (-2 * i / width)
        rotation = torch.tensor(
            [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=DOUBLE
        )
        pairs = table[:, 2 * i : 2 * i + 2]  # (sine, cosine) at each position
        assert_close(pairs[shift:], pairs[:-shift] @ rotation.T)


def test_even_widths_have_dot_products_of_the_distance_alone():
    table = sinusoidal(30, 10, dtype=DOUBLE)
    products = table @ table.T
    assert_close(products[:-3, :-3], products[3:, 3:])
    assert_close(products.diagonal(), torch.full((30,), 5.0, dtype=DOUBLE))


def by_llama(query, key, positions, base):
    head_dim = query.shape[-1]
    config = LlamaConfig(
        hidden_size=head_dim * query.shape[1],
        num_attention_heads=query.shape[1],
        rope_theta=base,  # transformers 4
        rope_parameters={"rope_type": "default", "rope_theta": base},  # transformers 5
    )
    cos, sin = LlamaRotaryEmbedding(config=config)(query, positions[None])
    return apply_rotary_pos_emb(query, key, cos, sin)


@pytest.mark.parametrize("head_dim", [2, 6, 64])
@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
def test_rotary_equals_llama(head_dim, base):
    query, key = (normal(2, 3, 20, head_dim, seed=s, dtype=torch.float32) for s in (0, 1))
    theirs = by_llama(query, key, torch.arange(20), base)
    assert_close(rotary(query, base=base), theirs[0], tolerance=1e-5)
    assert_close(rotary(key, base=base), theirs[1], tolerance=1e-5)


def test_rotary_equals_llama_at_other_positions():
    query, key = (normal(1, 2, 5, 8, seed=s, dtype=torch.float32) for s in (0, 1))
    positions = torch.tensor([7, 3, 0, 3, 11])
    theirs = by_llama(query, key, positions, 10_000.0)
    assert_close(rotary(query, positions), theirs[0], tolerance=1e-5)
    assert_close(rotary(key, positions), theirs[1], tolerance=1e-5)


@pytest.mark.parametrize("base", [10.0, 10_000.0])
def test_rotary_multiplies_complex_numbers(base):
    """The entries of the first half are real parts, those of the second half imaginary parts."""
    x = normal(2, 9, 6)
    frequencies = base ** (-torch.arange(3, dtype=DOUBLE) * 2 / 6)
    angles = torch.arange(9, dtype=DOUBLE)[:, None] * frequencies
    turned = torch.complex(x[..., :3], x[..., 3:]) * torch.polar(torch.ones_like(angles), angles)
    assert_close(rotary(x, base=base), torch.cat([turned.real, turned.imag], dim=-1))


@given(st.integers(0, 500), st.integers(0, 500), st.integers(-500, 10_000))
def test_rotary_dot_products_know_only_the_distance(here, there, shift):
    query, key = normal(1, 8, seed=2), normal(1, 8, seed=3)

    def product(q, k):
        return rotary(query, torch.tensor([q])) @ rotary(key, torch.tensor([k])).T

    assert_close(product(here, there), product(here + shift, there + shift), tolerance=1e-10)


def test_rotary_dot_products_differ_with_the_distance():
    query, key = normal(1, 8, seed=2), rotary(normal(1, 8, seed=3).expand(50, 8))
    assert len((query @ key.T).unique()) == 50


def test_rotary_keeps_lengths_and_position_zero():
    x = normal(2, 3, 10, 6)
    turned = rotary(x)
    assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turned[..., 0, :], x[..., 0, :], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_rotary_keeps_its_type_and_far_positions_their_angles(dtype):
    """At position 100 001 half precision cannot tell neighbours apart, and float32 is 0.004 off."""
    x = normal(1, 4, dtype=dtype)
    positions = torch.tensor([100_001])
    ours = rotary(x, positions)
    assert ours.dtype == dtype
    assert_close(ours.double(), rotary(x.double(), positions), tolerance=3 * torch.finfo(dtype).eps)


def test_rotary_has_the_gradient_of_a_rotation():
    x = normal(5, 4).requires_grad_()
    assert torch.autograd.gradcheck(rotary, (x,))


@pytest.mark.parametrize("n_heads", range(1, 65))
def test_alibi_slopes_equal_bloom(n_heads):
    """Bloom's bias at key 1 is the slope itself."""
    theirs = build_alibi_tensor(torch.ones(1, 2), n_heads, torch.float32)[:, 0, 1]
    assert_close(alibi_slopes(n_heads), theirs, tolerance=1e-6)


def test_alibi_slopes_of_the_paper():
    assert alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
    np.testing.assert_allclose(alibi_slopes(3).numpy(), [2**-4, 2**-8, 2**-2])


def test_tables_do_not_depend_on_the_default_type():
    try:
        torch.set_default_dtype(torch.float64)
        assert alibi_slopes(4).dtype == torch.float32
        assert sinusoidal(3, 4).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: sinusoidal(0, 4), ValueError, "length must be an integer >= 1, got 0"),
        (lambda: sinusoidal(4, 0), ValueError, "width must be an integer >= 1, got 0"),
        (lambda: sinusoidal(4.0, 4), TypeError, "length must be an integer, got float 4.0"),
        (lambda: sinusoidal(4, "4"), TypeError, "width must be an integer, got str '4'"),
        (lambda: sinusoidal(4, 4, base=1), ValueError, "base must be a finite number > 1, got 1"),
        (lambda: sinusoidal(4, 4, base="e"), TypeError, "base must be a number, got str 'e'"),
        (
            lambda: sinusoidal(4, 4, dtype=torch.int64),
            TypeError,
            "dtype must be a floating type, got torch.int64",
        ),
        (
            lambda: rotary(torch.ones(2, 3)),
            ValueError,
            "x must have an even head_dim, which splits into pairs, got 3",
        ),
        (
            lambda: rotary(torch.ones(4)),
            ValueError,
            "x must end with length and head_dim, got shape (4,)",
        ),
        (
            lambda: rotary(torch.ones(2, 4, dtype=torch.int64)),
            TypeError,
            "x must be a tensor of floating numbers, got one of torch.int64",
        ),
        (
            lambda: rotary(torch.ones(2, 4), torch.arange(3)),
            ValueError,
            "positions must have shape (2,), one for each row of x, got shape (3,)",
        ),
        (
            lambda: rotary(torch.ones(2, 4), torch.zeros(1, 2)),
            ValueError,
            "positions must have shape (2,), one for each row of x, got shape (1, 2)",
        ),
        (
            lambda: rotary(torch.ones(2, 4), base=0.5),
            ValueError,
            "base must be a finite number > 1, got 0.5",
        ),
        (
            lambda: rotary(torch.ones(2, 4), base=None),
            TypeError,
            "base must be a number, got NoneType None",
        ),
        (lambda: alibi_slopes(0), ValueError, "n_heads must be an integer >= 1, got 0"),
        (lambda: alibi_slopes(2.0), TypeError, "n_heads must be an integer, got float 2.0"),
    ],
)
def test_wrong_input(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)
