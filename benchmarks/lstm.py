"""A training step and predictions of recurrent models beside Keras 3's and bare torch's.

Run as ``python -m benchmarks.lstm`` from the repository's root; it takes about six minutes.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"  # Keras looks at it once, when it is imported

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

import lmcourse.keras
from benchmarks import _measure

BATCH_SIZE, BATCHES = 32, 8
ROUNDS = 8
THREADS = (1, 2)
RATE = 1e-6  # so small that every round starts from nearly the same weights
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
LIBRARIES = ("lmcourse", "equations", "Keras 3", "torch")


@dataclass(frozen=True)
class Case:
    """A network and its inputs.

    Attributes:
        layer: the recurrent layer's class, by its name in Keras.
        length: steps of a sequence.
        units: numbers in the layer's state.
        features: numbers in an input; or, with ``vocab_size``, in a token's vector.
        vocab_size: how many tokens there are; 0 if the inputs are numbers already.
        padding: ``"pre"`` or ``"post"`` for sequences of different lengths, which are masked.
        sequences: whether the model predicts at every step, the next token, and not one class.
        both_ways: whether the layer reads in both directions.
    """

    layer: str = "LSTM"
    length: int = 64
    units: int = 128
    features: int = 128
    vocab_size: int = 0
    padding: str = ""
    sequences: bool = False
    both_ways: bool = False

    @property
    def outputs(self) -> int:
        """How many numbers the model predicts at once."""
        return self.vocab_size if self.sequences else 1


CASES = {
    "LSTM, 128 units, 64 steps": Case(),
    "LSTM, 64 units, 32 steps": Case(length=32, units=64, features=64),
    "LSTM, 256 units, 64 steps": Case(units=256),
    "GRU, 128 units, 64 steps": Case(layer="GRU"),
    "LSTM, 128, padded behind": Case(vocab_size=1000, padding="post"),
    "LSTM, 128, padded before": Case(vocab_size=1000, padding="pre"),
    "bidirectional LSTM, 2 × 128": Case(both_ways=True),
    "characters, LSTM 128": Case(vocab_size=69, features=32, sequences=True),
}


class TorchModel(nn.Module):
    """The same network of torch's own parts, with the weights of a model of lmcourse."""

    def __init__(self, case: Case, weights: list[np.ndarray]):
        super().__init__()
        self.case = case
        directions = 2 if case.both_ways else 1
        self.embedding = nn.Embedding(case.vocab_size or 1, case.features)
        self.layer = getattr(nn, case.layer)(
            case.features, case.units, batch_first=True, bidirectional=case.both_ways
        )
        self.linear = nn.Linear(directions * case.units, case.outputs)
        weights = [torch.tensor(weight) for weight in weights]
        if case.vocab_size:
            self.embedding.weight.data = weights.pop(0)
        for suffix in ("_l0", "_l0_reverse")[:directions]:
            kernel, recurrent_kernel, bias = (self._in_torch(weights.pop(0)) for _ in range(3))
            biases = bias if bias.ndim == 2 else torch.stack([bias, torch.zeros_like(bias)])
            arrays = (kernel.T, recurrent_kernel.T, *biases)
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            for name, array in zip(names, arrays, strict=True):
                getattr(self.layer, name + suffix).data = array.contiguous()
        self.linear.weight.data, self.linear.bias.data = weights[0].T.contiguous(), weights[1]
        self.optimizer = torch.optim.Adam(self.parameters(), lr=RATE, eps=1e-7)

    def _in_torch(self, weight: torch.Tensor) -> torch.Tensor:
        """Put Keras's gates z, r, candidate of a GRU into torch's order."""
        if self.case.layer != "GRU":
            return weight
        z, r, candidate = weight.chunk(3, dim=-1)
        return torch.cat([r, z, candidate], dim=-1)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """Return logits; ``lengths`` say where padded sequences end."""
        if self.case.vocab_size:
            x = self.embedding(x)
        if lengths is not None:
            x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        outputs, state = self.layer(x)
        if self.case.sequences:
            return self.linear(outputs).flatten(0, 1)
        h = state[0] if isinstance(state, tuple) else state
        return self.linear(torch.cat(list(h), dim=-1))

    def fit(self, batches: list[Batch]) -> None:
        """Train for one epoch."""
        for x, y, lengths in batches:
            self.optimizer.zero_grad()
            logits = self(x, lengths)
            if self.case.sequences:
                loss = functional.cross_entropy(logits, y.flatten())
            else:
                loss = functional.binary_cross_entropy_with_logits(logits, y)
            loss.backward()
            self.optimizer.step()

    def predict(self, batches: list[Batch]) -> np.ndarray:
        """Return all predictions."""
        found = []
        with torch.no_grad():
            for x, _, lengths in batches:
                logits = self(x, lengths)
                if self.case.sequences:
                    found.append(logits.softmax(dim=-1).unflatten(0, x.shape))
                else:
                    found.append(logits.sigmoid())
        return torch.cat(found).numpy()


def keras_model(library: Any, case: Case, **options: Any) -> Any:
    """Return the network in lmcourse.keras or in Keras."""
    layers = library.layers
    layer = getattr(layers, case.layer)(case.units, return_sequences=case.sequences, **options)
    activation = "softmax" if case.sequences else "sigmoid"
    stack = [
        layers.Bidirectional(layer) if case.both_ways else layer,
        layers.Dense(case.outputs, activation=activation),
    ]
    shape = (case.length,) if case.vocab_size else (case.length, case.features)
    if case.vocab_size:
        mask_zero = bool(case.padding)
        stack.insert(0, layers.Embedding(case.vocab_size, case.features, mask_zero=mask_zero))
    model = library.Sequential([library.Input(shape), *stack])
    model.compile(
        optimizer=library.optimizers.Adam(RATE),
        loss="sparse_categorical_crossentropy" if case.sequences else "binary_crossentropy",
    )
    return model


def examples(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return inputs, targets, and the lengths of the sequences before they were padded."""
    generator = np.random.default_rng(0)
    count = BATCH_SIZE * BATCHES
    lengths = generator.integers(case.length // 8, case.length + 1, size=count)
    if not case.vocab_size:
        x = generator.normal(size=(count, case.length, case.features)).astype(np.float32)
    else:
        x = generator.integers(1, case.vocab_size, size=(count, case.length))
        place = np.arange(case.length)
        if case.padding == "post":
            x[place >= lengths[:, None]] = 0
        if case.padding == "pre":
            x[place < case.length - lengths[:, None]] = 0
    if case.sequences:
        return x, generator.integers(0, case.vocab_size, size=x.shape), lengths
    return x, generator.integers(0, 2, size=(count, 1)).astype(np.float32), lengths


@dataclass(frozen=True)
class Peer:
    """A model of one library, ready to be timed.

    Attributes:
        fit: trains for one epoch.
        predict: returns all predictions.
    """

    fit: Callable[[], Any]
    predict: Callable[[], np.ndarray]


def peers(case: Case) -> dict[str, Peer]:
    """Return the same network in every library, after checking that they predict the same."""
    x, y, lengths = examples(case)
    models = {
        "lmcourse": keras_model(lmcourse.keras, case),
        "equations": keras_model(lmcourse.keras, case, implementation="equations"),
        "Keras 3": keras_model(keras, case),
    }
    weights = models["lmcourse"].get_weights()
    found = {}
    for name, model in models.items():
        model.set_weights(weights)
        found[name] = Peer(
            partial(model.fit, x, y, batch_size=BATCH_SIZE, shuffle=False, verbose=0),
            partial(model.predict, x, batch_size=BATCH_SIZE, verbose=0),
        )
    theirs = TorchModel(case, weights)
    if case.padding == "pre":  # torch packs sequences that are padded behind, and no others
        x = np.stack([np.roll(row, length) for row, length in zip(x, lengths, strict=True)])
    x, y, lengths = (torch.tensor(array).split(BATCH_SIZE) for array in (x, y, lengths))
    batches = list(zip(x, y, lengths if case.padding else [None] * BATCHES, strict=True))
    found["torch"] = Peer(partial(theirs.fit, batches), partial(theirs.predict, batches))
    expected = found["Keras 3"].predict()
    for name, peer in found.items():
        np.testing.assert_allclose(peer.predict(), expected, rtol=1e-4, atol=1e-5, err_msg=name)
    return found


def compare(case: Case, what: str) -> list[str]:
    """Time ``fit`` or ``predict`` of every library and return the row of the table."""
    times = _measure.best_times(
        {
            name: partial(lambda peer: getattr(peer, what), peer)
            for name, peer in peers(case).items()
        },
        rounds=ROUNDS,
    )
    milliseconds = [f"{times[name] / BATCHES * 1e3:.1f}" for name in LIBRARIES]
    return [
        *milliseconds,
        f"{times['Keras 3'] / times['lmcourse']:.1f}",
        f"{times['lmcourse'] / times['torch']:.2f}",
    ]


def main() -> None:
    header = ["layer", *LIBRARIES, "Keras 3 / lmcourse", "lmcourse / torch"]
    parts = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        for what, title in (("fit", "A training step"), ("predict", "A batch of `predict`")):
            rows = [[name, *compare(case, what)] for name, case in CASES.items()]
            plural = "thread" if threads == 1 else "threads"
            parts += [f"{title}, {threads} {plural}, milliseconds:", _measure.table(header, rows)]
    _measure.report(
        "lstm",
        "Recurrent models in lmcourse.keras, Keras 3 and torch",
        f"Batches of {BATCH_SIZE}, float32, on the CPU. The model is the recurrent layer and a "
        "`Dense` layer; for padded sequences and characters an `Embedding` before them. A training "
        "step is forward, loss, backward and Adam, measured as users call it: one epoch of `fit` "
        f"over {BATCHES} batches, divided by {BATCHES}; `predict` likewise. *torch* is a bare loop "
        "over `nn.LSTM` or `nn.GRU`, `nn.Linear`, the loss on logits and `torch.optim.Adam`; "
        "padded sequences it gets packed, their lengths being known to it. *equations* is "
        'lmcourse\'s layer with `implementation="equations"`. Weights are the same and predictions '
        f"are checked to agree. The best of {ROUNDS} rounds each, taken in turn. The last two "
        "columns: above 1 where lmcourse is faster than Keras 3; below 1 where it is faster than "
        "torch.",
        *parts,
        packages=["torch", "keras", "numpy"],
    )


if __name__ == "__main__":
    main()
