"""Layers, by Keras's names."""

from lmcourse.keras.layers.base import Input, InputLayer, Layer
from lmcourse.keras.layers.core import Concatenate, Dense, Dropout, Embedding
from lmcourse.keras.layers.recurrent import GRU, LSTM, SimpleRNN
from lmcourse.keras.layers.wrappers import Bidirectional, TimeDistributed

__all__ = [
    "GRU",
    "LSTM",
    "Bidirectional",
    "Concatenate",
    "Dense",
    "Dropout",
    "Embedding",
    "Input",
    "InputLayer",
    "Layer",
    "SimpleRNN",
    "TimeDistributed",
]
