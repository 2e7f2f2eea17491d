"""Activation functions by Keras's names."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lmcourse.keras.registry import look_up

Activation = Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]


def linear(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return ``x``."""
    return x


def softmax(x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """Return ``x`` with its last axis turned into probabilities."""
    return torch.softmax(x, dim=-1)


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return ``x Φ(x)``.

    Keras 3 too computes it exactly by default, and does not approximate it by a tanh.
    """
    return functional.gelu(x)


ACTIVATIONS: dict[str, Activation] = {
    "elu": functional.elu,
    "exponential": torch.exp,
    "gelu": gelu,
    "hard_sigmoid": functional.hardsigmoid,
    "linear": linear,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "softmax": softmax,
    "softplus": functional.softplus,
    "swish": functional.silu,
    "tanh": torch.tanh,
}


def get(activation: str | Activation | None) -> Activation:
    """Return an activation function.

    Args:
        activation: its name; ``None`` for the linear one; a function is returned as it is.

    Raises:
        TypeError: ``activation`` is neither.
        ValueError: there is none of that name.
    """
    if activation is None:
        return linear
    if callable(activation):
        return activation
    return look_up("activation", activation, ACTIVATIONS)


def name_of(activation: Activation) -> str:
    """Return the name under which ``get`` finds the function ``activation``.

    Raises:
        ValueError: it is not one of those that have a name, and so cannot be saved.
    """
    for name, function in ACTIVATIONS.items():
        if function is activation:
            return name
    raise ValueError(f"activation {activation!r} has no name in lmcourse.keras: it cannot be saved")
