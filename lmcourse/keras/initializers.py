"""What weights start as, by Keras's names. An initializer takes a shape and returns a tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmcourse.keras.registry import look_up

Initializer = Callable[[tuple[int, ...]], Float[Tensor, "..."]]


def glorot_uniform(shape: tuple[int, ...]) -> Float[Tensor, "*shape"]:
    """Return numbers in ``shape``, uniform between ±√(6 / (inputs + outputs)).

    Source: Glorot and Bengio (2010).
    """
    limit = (6 / sum(_fans(shape))) ** 0.5
    return torch.empty(shape).uniform_(-limit, limit)


def glorot_normal(shape: tuple[int, ...]) -> Float[Tensor, "*shape"]:
    """Return numbers in ``shape``, normal with variance 2 / (inputs + outputs).

    None lies more than about two standard deviations from 0.

    Source: Glorot and Bengio (2010).
    """
    return _truncated_normal(shape, (2 / sum(_fans(shape))) ** 0.5)


def he_normal(shape: tuple[int, ...]) -> Float[Tensor, "*shape"]:
    """Return numbers in ``shape``, normal with variance 2 / inputs.

    None lies more than about two standard deviations from 0.

    Source: He et al. (2015).
    """
    return _truncated_normal(shape, (2 / shape[0]) ** 0.5)


def orthogonal(shape: tuple[int, ...]) -> Float[Tensor, "*shape"]:
    """Return a matrix of ``shape`` whose rows have length 1 and stand at right angles.

    If there are more rows than columns, its columns do.
    """
    return nn.init.orthogonal_(torch.empty(shape))


def random_uniform(shape: tuple[int, ...]) -> Float[Tensor, "*shape"]:
    """Return numbers in ``shape``, uniform between ±0.05."""
    return torch.empty(shape).uniform_(-0.05, 0.05)


def random_normal(shape: tuple[int, ...]) -> Float[Tensor, "*shape"]:
    """Return numbers in ``shape``, normal with standard deviation 0.05."""
    return torch.empty(shape).normal_(std=0.05)


def _fans(shape):
    """Numbers of inputs and outputs; for a vector, as in Keras, both its length."""
    return shape[0], shape[-1]


def _truncated_normal(shape, standard_deviation):
    # Cutting a normal off at two standard deviations leaves 0.8796 of the standard deviation.
    wide = standard_deviation / 0.87962566103423978
    return nn.init.trunc_normal_(torch.empty(shape), std=wide, a=-2 * wide, b=2 * wide)


INITIALIZERS: dict[str, Initializer] = {
    "glorot_normal": glorot_normal,
    "glorot_uniform": glorot_uniform,
    "he_normal": he_normal,
    "normal": random_normal,
    "ones": torch.ones,
    "orthogonal": orthogonal,
    "random_normal": random_normal,
    "random_uniform": random_uniform,
    "uniform": random_uniform,
    "zeros": torch.zeros,
}


def get(initializer: str | Initializer) -> Initializer:
    """Return an initializer by name; a function is itself.

    Raises:
        TypeError: ``initializer`` is neither.
        ValueError: there is none of that name.
    """
    return (
        initializer if callable(initializer) else look_up("initializer", initializer, INITIALIZERS)
    )


def name_of(initializer: Initializer) -> str:
    """Return the name under which ``get`` finds the function ``initializer``.

    Raises:
        ValueError: it is not one of those that have a name, and so cannot be saved.
    """
    for name, function in INITIALIZERS.items():
        if function is initializer:
            return name
    raise ValueError(
        f"initializer {initializer!r} has no name in lmcourse.keras: it cannot be saved"
    )
