"""The settings of chapter 4's trained models: what was tried, and how far each of them got.

Four tables: heads that learn to continue a repeated passage; bits per character past the training
length, for each way to encode positions; chapter 2's delay task; and deep models with layer
normalisation before or after. Run as ``python -m benchmarks.attention_training`` from the
repository's root; it takes about four minutes of two cores.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import cache
from time import process_time

import numpy as np
import torch
from torch.nn import functional

from benchmarks import _measure
from lmcourse.data import load_corpus
from lmcourse.optimizers import Adam
from lmcourse.synthetic_tasks import delayed_copy_accuracy, learn_delayed_copy
from lmcourse.tokenizers import CharacterTokenizer
from lmcourse.torch_models import NumpyInterface
from lmcourse.transformer import POSITIONS, TransformerModel

SEEDS = (0, 1)
N_WORDS, REPEATED_LENGTH = 32, 49
TRAINED_LENGTH, TESTED_LENGTH = 32, 256
DELAYS = (5, 20, 80)
SPANS = ((16, 32), (32, 48), (48, 64), (64, 128), (128, 256))


def fit(model: TransformerModel, draw, rate: float, steps: int, warm_up: int = 50) -> None:
    """Train with AdamW, at a rate that rises and then falls linearly to zero.

    Args:
        model: trained in place.
        draw: called without arguments, returns ids, targets and which targets count.
        rate: what the learning rate would peak at without the fall.
        steps: number of updates.
        warm_up: updates in which the rate rises.
    """
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min((step + 1) / warm_up, 1 - step / steps)
        ids, targets, counted = draw()
        loss = functional.cross_entropy(model(ids)[counted], targets[counted])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def repeated_passages(n_sequences: int, rng: np.random.Generator):
    """Draw sequences that repeat a passage of 8 to 24 different words, and its length in each."""
    periods = rng.integers(8, 25, size=n_sequences)
    ids = [np.resize(rng.permutation(N_WORDS)[:p], REPEATED_LENGTH) for p in periods]
    return torch.from_numpy(np.stack(ids)), torch.from_numpy(periods)


def targets_of_repeats(ids: torch.Tensor, periods: torch.Tensor):
    """Return inputs, next words, and which of those a reader of the passage knows."""
    known = torch.arange(ids.shape[1] - 1) >= periods[:, None]
    return ids[:, :-1], ids[:, 1:], known


@torch.no_grad()
def repeat_accuracy(model: TransformerModel) -> float:
    """Return the share of words in the repeats that a model predicts."""
    ids, targets, known = targets_of_repeats(*repeated_passages(200, np.random.default_rng(9)))
    return (model(ids).argmax(-1) == targets)[known].float().mean().item()


@torch.no_grad()
def head_scores(model: TransformerModel) -> list[str]:
    """Return how much each head attends to the previous word and to the one to predict."""
    ids, periods = repeated_passages(100, np.random.default_rng(9))
    inputs, _, known = targets_of_repeats(ids, periods)
    row, now = known.nonzero(as_tuple=True)
    scores = []
    for layer, weights in enumerate(model.attentions(inputs), 1):
        previous = weights[row, :, now, now - 1].mean(0)
        induction = weights[row, :, now, now - periods[row] + 1].mean(0)
        scores += [
            f"{layer}.{head}: {p:.2f} {i:.2f}"
            for head, (p, i) in enumerate(zip(previous, induction, strict=True), 1)
        ]
    return scores


@torch.no_grad()
def accuracy_without(model: TransformerModel, layer: int, head: int) -> float:
    """Return the accuracy on repeats while a head's output is zero."""
    attention = model.blocks[layer].attention
    columns = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
    weights = attention.output_projection.weight
    kept = weights[:, columns].clone()
    weights[:, columns] = 0
    accuracy = repeat_accuracy(model)
    weights[:, columns] = kept
    return accuracy


def induction_row(n_heads: int, rate: float, seed: int, steps: int = 300) -> list[str]:
    """Train two blocks on repeated passages and return what their heads do."""
    model = TransformerModel(N_WORDS, 64, n_heads, 2, positions="rotary", seed=seed)
    rng = np.random.default_rng(100 + seed)
    start = process_time()
    fit(model, lambda: targets_of_repeats(*repeated_passages(64, rng)), rate, steps)
    seconds = process_time() - start
    without = [accuracy_without(model, layer, head) for layer in (0, 1) for head in range(n_heads)]
    return [
        f"{n_heads}",
        f"{rate:g}",
        f"{seed}",
        f"{seconds:.0f} s",
        f"{repeat_accuracy(model):.3f}",
        ", ".join(head_scores(model)),
        " ".join(f"{accuracy:.2f}" for accuracy in without),
    ]


@cache
def novel_as_ids() -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return a novel's characters, training and validation chapters, and how many kinds."""
    novel = load_corpus("austen").work("Pride and Prejudice").split()
    tokenizer = CharacterTokenizer.train(novel.train.text)
    train, validation = (
        torch.as_tensor(tokenizer.encode(part.text)) for part in (novel.train, novel.validation)
    )
    return train, validation, tokenizer.vocab_size


def windows(ids: torch.Tensor, length: int, n_windows: int, rng: np.random.Generator):
    """Draw windows of a text: ids, the ids after them, and that all count."""
    starts = torch.from_numpy(rng.integers(len(ids) - length, size=n_windows))
    drawn = ids[starts[:, None] + torch.arange(length + 1)]
    return drawn[:, :-1], drawn[:, 1:], torch.ones(n_windows, length, dtype=torch.bool)


def extrapolation_row(positions: str, rate: float, seed: int, steps: int = 400) -> list[str]:
    """Train on windows of 32 characters and return the bits of later ones, up to 256."""
    train, validation, vocab_size = novel_as_ids()
    learned = positions == "learned"
    max_length = TRAINED_LENGTH if learned else None
    model = TransformerModel(
        vocab_size, 64, 4, 2, positions=positions, max_length=max_length, seed=seed
    )
    rng = np.random.default_rng(100 + seed)
    start = process_time()
    fit(model, lambda: windows(train, TRAINED_LENGTH, 32, rng), rate, steps)
    seconds = process_time() - start
    length = TRAINED_LENGTH if learned else TESTED_LENGTH
    ids, targets, _ = windows(validation, TESTED_LENGTH, 100, np.random.default_rng(9))
    with torch.no_grad():
        logits = model(ids[:, :length])
    nats = functional.cross_entropy(logits.mT, targets[:, :length], reduction="none")
    bits = nats.mean(0) / np.log(2)
    return [
        positions,
        f"{rate:g}",
        f"{seed}",
        f"{seconds:.0f} s",
        *(f"{bits[a:b].mean():.2f}" if b <= length else "no row" for a, b in SPANS),
    ]


def delay_row(positions: str, d_model: int, rate: float) -> list[str]:
    """Train one block on each delay, as chapter 2 does, and return the accuracies."""
    cells = []
    for delay in DELAYS:
        scores = []
        for seed in SEEDS:
            model = NumpyInterface(
                TransformerModel(17, d_model, 2, 1, d_model, positions=positions, seed=seed)
            )
            rng = np.random.default_rng(100 + seed)
            learn_delayed_copy(model, Adam(rate), delay, rng, steps=200)
            scores.append(delayed_copy_accuracy(model, delay, np.random.default_rng(9)))
        cells.append(" ".join(f"{score:.2f}" for score in scores))
    return [f"{positions}, {d_model} wide", f"{model.n_parameters:,}", f"{rate:g}", *cells]


def depth_row(norm: str, n_blocks: int, rate: float, warm_up: int, steps: int = 200) -> list[str]:
    """Train a narrow character model at a constant rate and return its bits on the way."""
    train, _, vocab_size = novel_as_ids()
    model = TransformerModel(vocab_size, 32, 2, n_blocks, norm=norm)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    rng = np.random.default_rng(0)
    bits = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1, (step + 1) / (warm_up + 1))
        ids, targets, _ = windows(train, TRAINED_LENGTH, 16, rng)
        loss = functional.cross_entropy(model(ids).mT, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bits.append(loss.item() / np.log(2))
    on_the_way = (f"{np.mean(bits[stop - 20 : stop]):.2f}" for stop in (50, 100, 150, 200))
    return [norm, f"{n_blocks}", f"{warm_up}", f"{rate:g}", *on_the_way]


def rows(pool: ProcessPoolExecutor, row, settings) -> list[list[str]]:
    """Compute a row for each setting, two at a time, and print each when it is there."""
    done = []
    for cells in pool.map(row, *zip(*settings, strict=True)):
        print(*cells, sep=" | ", flush=True)
        done.append(cells)
    return done


def main() -> None:
    with ProcessPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        extrapolation = rows(
            pool,
            extrapolation_row,
            [
                (positions, rate, seed)
                for positions in POSITIONS
                for rate, seed in ((0.002, 0), (0.004, 0), (0.004, 1))
            ],
        )
        induction = rows(
            pool,
            induction_row,
            [(1, 0.003, 0), (2, 0.003, 0), (2, 0.003, 1), (2, 0.003, 2), (2, 0.0015, 0)],
        )
        depth = rows(
            pool,
            depth_row,
            [
                (norm, n_blocks, rate, warm_up)
                for n_blocks in (2, 12)
                for norm, warm_up in (("pre", 0), ("post", 0), ("post", 100))
                for rate in (0.0003, 0.001, 0.003)
                if n_blocks == 12 or rate == 0.001
            ],
        )
        delays = rows(
            pool,
            delay_row,
            [
                (positions, d_model, rate)
                for positions, d_model in (("rotary", 16), ("rotary", 24), ("none", 24))
                for rate in (0.002, 0.01)
            ],
        )
    train, _, vocab_size = novel_as_ids()
    frequency = torch.bincount(train, minlength=vocab_size).double() / len(train)
    letters = -torch.special.xlogy(frequency, frequency).sum().item() / np.log(2)
    _measure.report(
        "attention_training",
        "The settings of chapter 4",
        "Times are processor time of one thread.",
        "**Heads.** Two blocks, 64 wide, rotary positions, 300 updates of 64 sequences of 49 "
        "words, in which a passage of 8 to 24 different words repeats; AdamW with 50 updates of "
        "warm-up, then a rate that falls linearly to zero. Accuracy on the repeats; for each head "
        "(layer.head) its mean weight on the previous word and on the word after the earlier "
        "occurrence; the accuracy while the output of one head is zero, head by head.",
        _measure.table(
            ("heads", "rate", "seed", "training", "accuracy", "previous, induction", "without"),
            induction,
        ),
        "**Past the training length.** Two blocks, 64 wide, 4 heads, 400 updates of 32 windows of "
        "32 characters of *Pride and Prejudice*; bits per character on the validation chapters, "
        "by position. AdamW as above.",
        _measure.table(
            ("positions", "rate", "seed", "training", *(f"{a} to {b - 1}" for a, b in SPANS)),
            extrapolation,
        ),
        "**Delays.** `delayed_copy` as in chapter 2: 200 updates of 32 sequences, Adam with a rate "
        "that falls linearly to zero. One block of 2 heads, its hidden layer as wide as the "
        "vectors; accuracy at the cue for two seeds. Guessing gets 0.125.",
        _measure.table(
            ("positions", "parameters", "rate", *(f"delay {delay}" for delay in DELAYS)), delays
        ),
        "**Depth.** Blocks 32 wide, with 2 heads, on 16 windows of 32 characters an update, Adam "
        "at a constant rate, to which it rises in the warm-up; bits per character on the training "
        "text, the mean of 20 updates up to the one named, for one seed. Letter frequencies give "
        f"{letters:.2f}.",
        _measure.table(
            ("norm", "blocks", "warm-up", "rate", *(f"update {n}" for n in (50, 100, 150, 200))),
            depth,
        ),
        packages=("numpy", "torch"),
    )


if __name__ == "__main__":
    main()
