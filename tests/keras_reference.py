"""The real Keras 3, on torch, and how one definition is built with it and with lmcourse.keras."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

os.environ["KERAS_BACKEND"] = "torch"  # Keras looks at it once, when it is imported

import keras
from keras.src.backend import get_keras_mask

import lmcourse.keras

__all__ = ["build_both", "get_keras_mask", "keras", "quiet", "randomize_weights"]

if keras.backend.backend() != "torch":
    raise RuntimeError(
        f"Keras was imported before, with {keras.backend.backend()}; these tests need torch"
    )
keras.config.set_floatx("float32")  # whatever the user's keras.json says
keras.config.set_epsilon(1e-7)

quiet = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")
"""A mark for tests in which Keras turns tensors into arrays in NumPy's old way."""


def build_both(build: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Return what ``build`` makes of lmcourse's Keras and of the real one.

    Both have the same weights, drawn at random.

    Args:
        build: makes a built layer or model of the library it gets: ``lmcourse.keras`` or ``keras``.
    """
    ours, theirs = build(lmcourse.keras), build(keras)
    randomize_weights(theirs)
    ours.set_weights(theirs.get_weights())
    return ours, theirs


def randomize_weights(theirs: Any, seed: int = 0) -> None:
    """Draw new weights for a layer or model of Keras, none of them zero, as biases start."""
    generator = np.random.default_rng(seed)
    theirs.set_weights(
        [generator.normal(scale=0.5, size=weight.shape) for weight in theirs.get_weights()]
    )
