"""Views for the tests of GradientFlow; importing them costs little."""

import numpy as np

from lmcourse.rnn import GRU, RNN, RecurrentModel
from lmcourse.widgets import GradientFlow
from tests.sampler_views import HOSTILE

LETTERS = list("etaoinshrdlu")


def models(
    vocab_size: int, input_size: int, hidden_size: int, *, seed: int = 0, scale: float = 1.0
) -> tuple[RecurrentModel, RecurrentModel]:
    """An RNN and a GRU with random weights everywhere, biases too."""
    rng = np.random.default_rng(seed)
    pair = [RecurrentModel(vocab_size, layer(input_size, hidden_size)) for layer in (RNN, GRU)]
    for model in pair:
        for value in model.parameters.values():
            value[:] = rng.normal(0, scale / max(value.shape) ** 0.5, value.shape)
    return pair[0], pair[1]


def hostile_flow(**options) -> GradientFlow:
    ids = np.array([*range(len(HOSTILE)), 3, 0])
    return GradientFlow(*models(len(HOSTILE), 4, 5, scale=1.5), ids, HOSTILE, **options)


def large_flow(**options) -> GradientFlow:
    ids = np.random.default_rng(1).integers(0, len(LETTERS), 60)
    return GradientFlow(*models(len(LETTERS), 6, 12, seed=2, scale=2), ids, LETTERS, **options)


def unbounded_flow() -> GradientFlow:
    """No tanh holds these gradients back: the states are 0, where its slope is 1."""
    rnn, gru = models(2, 1, 1)
    for model in (rnn, gru):
        for value in model.parameters.values():
            value[:] = 0
        model.parameters["recurrent_weight"][:] = 1
        model.parameters["output_weight"][:] = [[1, -1]]
    return GradientFlow(rnn, gru, np.zeros(200, int), ["a", "b"], spectral_radius=10)
