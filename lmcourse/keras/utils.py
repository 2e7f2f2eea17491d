"""Keras's small helpers: seeds, padding, one-hot labels."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from lmcourse import _arguments
from lmcourse.keras.layers.base import clear_session
from lmcourse.keras.preprocessing.sequence import pad_sequences

__all__ = ["clear_session", "pad_sequences", "set_random_seed", "to_categorical"]


def set_random_seed(seed: int) -> None:
    """Seed the random numbers of Python, numpy and torch with ``seed``.

    Everything random here comes from torch: initial weights, dropout, the order of batches.

    Raises:
        TypeError: ``seed`` is not an integer.
        ValueError: it is negative or above 2**32 - 1, numpy's largest.
    """
    import torch

    seed = _arguments.integer("seed", seed, at_least=0, at_most=2**32 - 1)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (Keras's contract names numpy's global generator)
    torch.manual_seed(seed)


def to_categorical(
    x: Int[np.ndarray, "*shape"] | Sequence[Any] | int, num_classes: int | None = None
) -> Float64[np.ndarray, "*shape classes"]:
    """Return one-hot rows for the classes ``x``.

    Args:
        x: integers from 0 on, of any shape; a last axis of length 1 is dropped.
        num_classes: how many classes there are; None for the largest in ``x`` plus 1.

    Returns:
        An array of zeros with a one at each class, which is the last axis.

    Raises:
        TypeError: ``x`` or ``num_classes`` is not of integers.
        ValueError: a class is negative or at least ``num_classes``, or ``x`` is empty and
            ``num_classes`` None.
    """
    if num_classes is not None:
        num_classes = _arguments.integer("num_classes", num_classes, at_least=1)
    classes = _arguments.token_ids("x", x, num_classes, allow_empty=num_classes is not None)
    if classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes[..., 0]
    return np.eye(num_classes or classes.max() + 1)[classes]
