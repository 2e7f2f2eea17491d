"""Training GloVe: how many entries a second, and how soon it reaches a cost, beside torch.

Run as ``python -m benchmarks.glove`` from the repository's root; it takes about ten minutes.
"""

from __future__ import annotations

import os

# One thread each, unless said otherwise: numpy's and torch's libraries look at these when loaded.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import NamedTuple
from unittest import mock

import numpy as np
import scipy.sparse
import torch
from torch import nn

from benchmarks import _measure
from lmcourse import glove
from lmcourse.data import load_corpus
from lmcourse.tokenizers import split_words

CORPORA = ("austen", "shakespeare", "moby-dick", "alice")
MIN_COUNT, WINDOW = 5, 10
DIMS = (50, 100)
LEARNING_RATE = 0.1  # what glove.train takes by default
BATCH_SIZE = 16_384  # torch's; smaller ones take longer a pass, larger ones more passes
PASSES, ROUNDS = 2, 3  # passes in a round, of which the fastest counts
RACE_DIM, RACE_PASSES, LONGEST = 50, 15, 25


class Run(NamedTuple):
    """The cost of each pass, and the seconds from the start until each pass began and the end."""

    costs: np.ndarray
    clock: np.ndarray

    @property
    def fastest_pass(self) -> float:
        """Seconds that the fastest pass took."""
        return float(np.diff(self.clock).min())

    def seconds_to(self, cost: float) -> tuple[float, int] | None:
        """Return when a pass had at most this cost, and which one it was."""
        reached = np.flatnonzero(self.costs <= cost)
        return (float(self.clock[reached[0] + 1]), int(reached[0] + 1)) if len(reached) else None


Trainer = Callable[[scipy.sparse.csr_array, int, int], Run]


def ours(backend: str, threads: int) -> Trainer:
    def run(counts: scipy.sparse.csr_array, dim: int, passes: int) -> Run:
        clock = [perf_counter()]
        strata = glove._strata  # is called when a pass begins

        def timed_strata(*arguments: object) -> list:
            clock.append(perf_counter())
            return strata(*arguments)

        with mock.patch.object(glove, "_strata", timed_strata):
            _, costs = glove.train(
                counts,
                dim=dim,
                passes=passes,
                learning_rate=LEARNING_RATE,
                backend=backend,
                threads=threads,
            )
        clock.append(perf_counter())
        return Run(costs, np.array(clock[1:]) - clock[0])

    return run


class TorchGloVe(nn.Module):
    """The model of torch's own parts, with the first parameters of ours."""

    def __init__(self, initial: glove.Parameters):
        super().__init__()
        self.tables = nn.ModuleDict(
            {
                name: nn.Embedding.from_pretrained(
                    torch.tensor(array.reshape(len(array), -1)), freeze=False
                )
                for name, array in initial.items()
            }
        )

    def forward(self, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        """Return w_i·w̃_j + b_i + b̃_j of each entry."""
        products = (self.tables["word"](i) * self.tables["context"](j)).sum(dim=1)
        return products + (self.tables["word_bias"](i) + self.tables["context_bias"](j))[:, 0]


def with_torch(counts: scipy.sparse.csr_array, dim: int, passes: int) -> Run:
    """Train with torch's autograd and AdaGrad, on batches of shuffled entries."""
    clock = [perf_counter()]
    model = TorchGloVe(glove.initial_parameters(counts.shape[0], dim))
    optimizer = torch.optim.Adagrad(
        model.parameters(), lr=LEARNING_RATE, initial_accumulator_value=1, eps=0, fused=True
    )
    entries = tensors(counts)
    torch.manual_seed(0)
    costs = []
    for _ in range(passes):
        clock.append(perf_counter())
        cost = 0.0
        for batch in torch.randperm(counts.nnz).split(BATCH_SIZE):
            i, j, logs, weights = (array[batch] for array in entries)
            loss = (weights * (model(i, j) - logs) ** 2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cost += loss.item()
        costs.append(cost / counts.nnz)
    clock.append(perf_counter())
    return Run(np.array(costs), np.array(clock[1:]) - clock[0])


def tensors(counts: scipy.sparse.csr_array) -> tuple[torch.Tensor, ...]:
    """Return row, column, logarithm and weight of each entry."""
    coo = counts.tocoo()
    rows, columns = (torch.tensor(index, dtype=torch.int64) for index in coo.coords)
    logs, weights = np.log(coo.data), glove.weight(coo.data)
    return rows, columns, torch.tensor(logs).float(), torch.tensor(weights).float()


TRAINERS: dict[str, Trainer] = {
    "torch": with_torch,
    "numpy": ours("numpy", 1),
    "numba": ours("numba", 1),
    "numba, 2 threads": ours("numba", 2),
}


def main() -> None:
    torch.set_num_threads(1)
    counts = count()
    check_equal(counts[:300, :300])  # it compiles numba's loop, too
    best = {dim: fastest_passes(counts, dim) for dim in DIMS}
    _measure.report(
        "glove",
        "Training GloVe",
        f"Counts of {', '.join(CORPORA)}: {counts.shape[0]:,} words that occur {MIN_COUNT} times "
        f"or more, window {WINDOW}, {counts.nnz:,} nonzero entries; float32, learning rate "
        f"{LEARNING_RATE}, one thread unless it says two. torch is `nn.Embedding`, autograd and "
        f"`torch.optim.Adagrad` (`fused`) on batches of {BATCH_SIZE:,} shuffled entries. Objective "
        "and first parameters are the same, and the objectives are checked to be equal; numpy and "
        "numba also take the entries in the same order, and their costs are checked to be equal.",
        f"Millions of entries a second in the fastest of {PASSES * ROUNDS} passes, which the "
        "trainers made in turn, and how many times torch's that is:",
        _measure.table(
            ["trainer", *(f"{dim} dimensions" for dim in DIMS)],
            [[name, *(rate(counts, best[dim], name) for dim in DIMS)] for name in TRAINERS],
        ),
        "For comparison: the C program of GloVe's authors made 1.3 million entries a second, with "
        "50 dimensions in one thread, when it was measured once on a machine of this kind. It is "
        "no part of this run.",
        *race(counts, best[RACE_DIM]),
        packages=["numpy", "scipy", "numba", "torch"],
    )


def count() -> scipy.sparse.csr_array:
    documents = [
        split_words(chapter.text) for name in CORPORA for chapter in load_corpus(name).chapters
    ]
    words, _ = glove.build_vocabulary(documents, min_count=MIN_COUNT)
    return glove.cooccurrence(glove.encode(documents, words), len(words), window=WINDOW)


def check_equal(counts: scipy.sparse.csr_array) -> None:
    initial = glove.initial_parameters(counts.shape[0], RACE_DIM)
    i, j, logs, weights = tensors(counts)
    theirs = (weights * (TorchGloVe(initial)(i, j) - logs) ** 2).sum().item()
    np.testing.assert_allclose(theirs, glove.objective(initial, counts), rtol=1e-4)
    costs = [trainer(counts, RACE_DIM, 3).costs for trainer in list(TRAINERS.values())[1:]]
    for one in costs[1:]:
        np.testing.assert_allclose(one, costs[0], rtol=1e-4)


def fastest_passes(counts: scipy.sparse.csr_array, dim: int) -> dict[str, float]:
    seconds = dict.fromkeys(TRAINERS, float("inf"))
    for _ in range(ROUNDS):
        for name, trainer in TRAINERS.items():
            seconds[name] = min(seconds[name], trainer(counts, dim, PASSES).fastest_pass)
    return seconds


def rate(counts: scipy.sparse.csr_array, seconds: dict[str, float], name: str) -> str:
    ratio = seconds["torch"] / seconds[name]
    return f"{counts.nnz / seconds[name] / 1e6:.1f} ({ratio:.1f} ×)"


def race(counts: scipy.sparse.csr_array, seconds: dict[str, float]) -> Iterator[str]:
    """Yield the text and the table of who reaches numba's cost after some passes, and when."""
    runs = {
        name: trainer(counts, RACE_DIM, LONGEST if name == "torch" else RACE_PASSES)
        for name, trainer in TRAINERS.items()
        if name != "numpy"
    }
    # Threads add the same costs up in another order, which rounds otherwise.
    goal = runs["numba"].costs[-1] * (1 + 1e-5)
    yield (
        f"Seconds from the first parameters to a pass whose mean cost is at most {goal:.4f}, "
        f"numba's after {RACE_PASSES} passes with {RACE_DIM} dimensions, sorting the entries "
        "included; and how many times sooner than torch. numpy makes the same passes as numba, "
        "and its time is that of its fastest one, times their number."
    )
    times = {name: run.seconds_to(goal) for name, run in runs.items()}
    times["numpy"] = (RACE_PASSES * seconds["numpy"], RACE_PASSES)
    yield _measure.table(
        ["trainer", "passes", "seconds", "sooner"],
        [[name, *placing(times[name], times["torch"])] for name in TRAINERS],
    )


def placing(time: tuple[float, int] | None, torchs: tuple[float, int] | None) -> list[str]:
    if time is None:
        return [f"over {LONGEST}", "", ""]
    seconds, passes = time
    return [str(passes), f"{seconds:.1f}", f"{torchs[0] / seconds:.1f} ×" if torchs else ""]


if __name__ == "__main__":
    main()
