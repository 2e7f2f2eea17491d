"""A small Keras on torch: the layers, models and training loop that language models use.

>>> from lmcourse import keras
>>> from lmcourse.keras import layers
>>> model = keras.Sequential(
...     [layers.Embedding(1000, 32, mask_zero=True), layers.LSTM(64), layers.Dense(1000, "softmax")]
... )
>>> model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")

Names, defaults and layouts of weights are those of Keras 3, so a program changes its import and no
more. Models live on torch's default device; ``torch.set_default_device("cuda")`` is for GPUs.
`recurrence.py` holds the equations; `layers/`, what is built on them; `training.py`, ``fit``.
"""

from lmcourse.keras import (
    activations,
    callbacks,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    preprocessing,
    utils,
)
from lmcourse.keras.layers import Input
from lmcourse.keras.models import Model, Sequential

__all__ = [
    "Input",
    "Model",
    "Sequential",
    "activations",
    "callbacks",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "preprocessing",
    "utils",
]
