"""A small Keras on torch."""

from lmcourse.keras import activations, initializers, layers
from lmcourse.keras.layers import Input
