"""A training step of the recurrent models beside torch's, and where its time goes.

Run as ``python -m benchmarks.rnn`` from the repository's root.
"""

from __future__ import annotations

import os

# One thread each: numpy's and torch's libraries look at these when they are loaded.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import _measure
from lmcourse.rnn import GRU, RNN, RecurrentModel

VOCAB_SIZE = 69  # characters of the chapter's novel
EMBEDDING_SIZE = 64
BATCH_SIZE, LENGTH = 32, 64
HIDDEN_SIZES = (64, 256)
ROUNDS = 40
PEERS = {RNN: nn.RNN, GRU: nn.GRU}


class TorchModel(nn.Module):
    """The same network of torch's own parts, with the weights of ours."""

    def __init__(self, ours: RecurrentModel):
        super().__init__()
        hidden = ours.layer.hidden_size
        self.embedding = nn.Embedding(VOCAB_SIZE, EMBEDDING_SIZE)
        self.layer = PEERS[type(ours.layer)](EMBEDDING_SIZE, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, VOCAB_SIZE)
        with torch.no_grad():
            self.layer.bias_hh_l0.zero_()
            for name, place in self.by_our_names(lambda parameter: parameter).items():
                place.copy_(torch.tensor(ours.parameters[name]))

    def by_our_names(self, look: Callable[[nn.Parameter], torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return what ``look`` makes of each parameter, in the layout of ours."""
        arrays = {
            "embedding": look(self.embedding.weight),
            "input_weight": look(self.layer.weight_ih_l0).T,
            "recurrent_weight": look(self.layer.weight_hh_l0).T,
            "bias": look(self.layer.bias_ih_l0),
            "output_weight": look(self.linear.weight).T,
            "output_bias": look(self.linear.bias),
        }
        if isinstance(self.layer, nn.GRU):
            arrays["candidate_bias"] = look(self.layer.bias_hh_l0)[-self.layer.hidden_size :]
        return arrays

    def loss_and_gradients(self, ids: torch.Tensor, targets: torch.Tensor) -> float:
        """Return the loss, and leave the gradients with the parameters."""
        hidden_states, _ = self.layer(self.embedding(ids))
        logits = self.linear(hidden_states)
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        return loss.item()


def main() -> None:
    torch.set_num_threads(1)
    ids, targets = np.random.default_rng(0).integers(VOCAB_SIZE, size=(2, BATCH_SIZE, LENGTH))
    steps, stages, products = [], {}, []
    for kind in PEERS:
        for hidden in HIDDEN_SIZES:
            name = f"{kind.__name__}, {hidden}"
            model = RecurrentModel(VOCAB_SIZE, kind(EMBEDDING_SIZE, hidden))
            steps.append([name, *compare_steps(model, ids, targets)])
            products.append([name, *compare_products(model)])
            stages[name] = time_stages(model, ids, targets)
    _measure.report(
        "rnn",
        "A training step of the recurrent models",
        f"Batch {BATCH_SIZE}, {LENGTH} steps, {VOCAB_SIZE} tokens, an embedding of "
        f"{EMBEDDING_SIZE} numbers, float32, one thread on both sides. A training step is the loss "
        "and all gradients, without the optimizer. torch's is `nn.Embedding`, `nn.RNN` or "
        "`nn.GRU`, `nn.Linear`, `cross_entropy` and `backward`; the weights are the same, and loss "
        f"and gradients are checked to be equal. The best of {ROUNDS} runs each, taken in turn. "
        "Ratio: lmcourse's time divided by torch's, below 1 where lmcourse is faster.",
        _measure.table(["layer, hidden", "lmcourse", "torch", "ratio"], steps),
        f"Where lmcourse's time goes, in the fastest of {ROUNDS} steps:",
        _measure.table(
            ["part", *stages],
            [[part, *(shares[part] for shares in stages.values())] for part in stages[name]],
        ),
        f"The {LENGTH} products of the state and the recurrent weight, which both sides leave to a "
        f"library ({blas()}), forward. Backward has as many of the same size.",
        _measure.table(["layer, hidden", "lmcourse", "torch", "ratio"], products),
        packages=["numpy", "torch"],
    )


def compare_steps(model: RecurrentModel, ids: np.ndarray, targets: np.ndarray) -> list[str]:
    theirs = TorchModel(model)
    our_step = partial(model.loss_and_gradients, ids, targets)
    their_step = partial(theirs.loss_and_gradients, torch.tensor(ids), torch.tensor(targets))
    loss, gradients, _ = our_step()
    np.testing.assert_allclose(their_step(), loss, rtol=1e-5)
    for name, gradient in theirs.by_our_names(lambda parameter: parameter.grad).items():
        np.testing.assert_allclose(gradients[name], gradient.numpy(), rtol=1e-3, atol=1e-6)

    def without_gradients() -> Callable:
        theirs.zero_grad()
        return their_step

    return compare(lambda: our_step, without_gradients)


def compare_products(model: RecurrentModel) -> list[str]:
    weight = model.parameters["recurrent_weight"]  # torch stores it the other way round
    torch_weight = torch.tensor(np.ascontiguousarray(weight.T))
    states = np.random.default_rng(0).normal(size=(LENGTH, BATCH_SIZE, len(weight)))
    states = states.astype(np.float32)
    torch_states = torch.tensor(states)
    return compare(
        lambda: lambda: [h @ weight for h in states],
        lambda: lambda: [functional.linear(h, torch_weight) for h in torch_states],
    )


def compare(ours: Callable[[], Callable], theirs: Callable[[], Callable]) -> list[str]:
    times = _measure.best_times({"ours": ours, "theirs": theirs}, rounds=ROUNDS)
    return [
        milliseconds(times["ours"]),
        milliseconds(times["theirs"]),
        f"{times['ours'] / times['theirs']:.2f}",
    ]


def time_stages(model: RecurrentModel, ids: np.ndarray, targets: np.ndarray) -> dict[str, str]:
    p, x = model.parameters, model._read(ids, None, None)[-1].x
    projection = _measure.best_times(
        {"projection": lambda: lambda: x @ p["input_weight"] + p["bias"]}, rounds=ROUNDS
    )["projection"]
    watch = Stopwatch()
    for function in ("loss_and_gradients", "_read", "_embedding_gradient"):
        watch.put_on(model, function)
    for function in ("_forward", "_backward", "_gradients"):
        watch.put_on(model.layer, function)
    spent, total = {}, float("inf")
    for _ in range(ROUNDS):
        model.loss_and_gradients(ids, targets)
        if sum(watch.spent.values()) < total:
            spent, total = dict(watch.spent), sum(watch.spent.values())
    parts = {
        "embedding, checks": spent["_read"],
        "input projection": projection,
        "recurrence, forward": spent["_forward"] - projection,
        "output layer and loss, both ways": spent["loss_and_gradients"],
        "recurrence, backward": spent["_backward"],
        "gradients of the layer's weights and inputs": spent["_gradients"],
        "gradient of the embedding": spent["_embedding_gradient"],
    }
    return {
        **{part: f"{seconds / total:.0%}" for part, seconds in parts.items()},
        "the whole step": milliseconds(total),
    }


class Stopwatch:
    """Measures functions, each without the time of those inside it that are measured too."""

    def __init__(self):
        self.spent: dict[str, float] = {}
        self._inside = [0.0]

    def put_on(self, owner: Any, name: str) -> None:
        """Measure ``owner``'s method of that name from now on; ``spent`` has its last time."""
        function = getattr(owner, name)

        def timed(*arguments: Any) -> Any:
            self._inside.append(0.0)
            start = perf_counter()
            result = function(*arguments)
            elapsed = perf_counter() - start
            self.spent[name] = elapsed - self._inside.pop()
            self._inside[-1] += elapsed
            return result

        setattr(owner, name, timed)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def blas() -> str:
    ours = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    theirs = "MKL" if torch.backends.mkl.is_available() else "another"
    return f"{ours['name']} {ours['version']} here, {theirs} there"


if __name__ == "__main__":
    main()
