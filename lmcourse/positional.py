"""Ways to tell a Transformer where a token stands: tables, rotations and biases, in torch.

A learned encoding is a table like an embedding, ``torch.nn.Embedding(max_length, d_model)``, and
needs no function here. Angles are computed in float64, whatever the type of the result, because
position times frequency loses its last digits first.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int

from lmcourse import _arguments


def sinusoidal(
    length: int, width: int, *, base: float = 10_000.0, dtype: torch.dtype = torch.float32
) -> Float[torch.Tensor, "length width"]:
    """Return the sinusoidal encodings of the positions 0, 1, …, length - 1.

    Slots 2i and 2i + 1 hold sine and cosine of the position times ``base ** (-2i / width)``. An odd
    width ends with a sine.

    Equations: eq-attention-sinusoidal, eq-attention-rotation

    Source: Vaswani et al. (2017), section 3.5.

    Args:
        length: number of positions, at least 1.
        width: number of slots, at least 1; that of the embeddings they are added to.
        base: sets the longest wavelength, ``2 * pi * base`` positions if the width were endless.
        dtype: of the result.

    Returns:
        One row for each position, every entry in [-1, 1].

    Raises:
        TypeError: ``length`` or ``width`` is not an integer, ``base`` is not a number, or ``dtype``
            is not a floating type.
        ValueError: one of them is too small.
    """
    length = _arguments.integer("length", length, at_least=1)
    width = _arguments.integer("width", width, at_least=1)
    if not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating type, got {dtype}")
    angles = _angles(torch.arange(length), width, base)  # [length, ceil(width / 2)]
    pairs = torch.stack([angles.sin(), angles.cos()], dim=-1)  # [length, ceil(width / 2), 2]
    return pairs.flatten(start_dim=1)[:, :width].to(dtype)


def rotary(
    x: Float[torch.Tensor, "*batch length head_dim"],
    positions: Int[torch.Tensor, " length"] | None = None,
    *,
    base: float = 10_000.0,
) -> Float[torch.Tensor, "*batch length head_dim"]:
    """Rotate queries or keys by angles that grow with their positions.

    Entries i and i + head_dim / 2 form a plane, which turns by ``base ** (-2i / head_dim)`` radians
    a position. The dot product of a rotated query with a rotated key depends on their contents and
    on how far apart they stand, not on where.

    Equation: eq-attention-rotary

    Source: Su et al. (2024). They pair neighbours, 2i and 2i + 1; pairing the two halves, as
    GPT-NeoX and Llama do, is the same up to an order of the entries.

    Args:
        x: queries or keys of any number of heads.
        positions: where each row stands; 0, 1, …, length - 1 if not given.
        base: sets the slowest rotation.

    Returns:
        The rotated rows, as long as before.

    Raises:
        TypeError: ``x`` is not floating, or ``base`` is not a number.
        ValueError: ``x`` has fewer than two axes, ``head_dim`` is odd, ``base`` too small, or there
            are not ``length`` positions.
    """
    if not x.is_floating_point():
        raise TypeError(f"x must be a tensor of floating numbers, got one of {x.dtype}")
    if x.ndim < 2:
        raise ValueError(f"x must end with length and head_dim, got shape {tuple(x.shape)}")
    length, head_dim = x.shape[-2:]
    if head_dim % 2:
        raise ValueError(f"x must have an even head_dim, which splits into pairs, got {head_dim}")
    if positions is None:
        positions = torch.arange(length, device=x.device)
    if positions.shape != (length,):
        raise ValueError(
            f"positions must have shape ({length},), one for each row of x, "
            f"got shape {tuple(positions.shape)}"
        )
    angles = _angles(positions, head_dim, base)  # [length, head_dim / 2]
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)  # [..., length, head_dim / 2] each
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def alibi_slopes(n_heads: int) -> Float[torch.Tensor, " n_heads"]:
    """Return the slope of each head's penalty on distance.

    For a power of two they fall geometrically from ``2 ** (-8 / n_heads)`` to ``2 ** -8``. For
    other numbers of heads, the slopes of the next lower power of two are followed by every other
    slope of the next higher one.

    Equation: eq-attention-alibi

    Source: Press, Smith and Lewis (2022), and its authors' code for other than powers of two.

    Args:
        n_heads: number of heads, at least 1.

    Returns:
        The slopes, in nats a position, in float32.

    Raises:
        TypeError: ``n_heads`` is not an integer.
        ValueError: ``n_heads`` is below 1.
    """
    n_heads = _arguments.integer("n_heads", n_heads, at_least=1)
    lower = 2 ** (n_heads.bit_length() - 1)  # the largest power of two that is not above n_heads
    slopes = [2 ** (-8 * i / lower) for i in range(1, lower + 1)]
    between = [2 ** (-4 * i / lower) for i in range(1, 2 * lower, 2)]
    return torch.tensor((slopes + between)[:n_heads], dtype=torch.float32)


def _angles(
    positions: Int[torch.Tensor, " length"], width: int, base: float
) -> Float[torch.Tensor, "length pairs"]:
    """Return position times frequency for each pair of slots, in float64."""
    base = _arguments.number("base", base, above=1)
    slots = torch.arange(0, width, 2, dtype=torch.float64, device=positions.device)
    return positions[:, None] * base ** (-slots / width)
