"""The settings of chapter 2: which learning rates were tried, and what more training buys.

Three tables: accuracy on the delay task by start and learning rate; bits per character of the
character models by learning rate, on validation text; and one larger model, trained longer. Run as
``python -m benchmarks.rnn_training`` from the repository's root; it takes about twenty minutes.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

from benchmarks import _measure
from lmcourse.data import load_corpus
from lmcourse.language_models import held_out_bits_per_byte
from lmcourse.optimizers import Adam
from lmcourse.rnn import GRU, RNN, RecurrentModel, train
from lmcourse.synthetic_tasks import delayed_copy_accuracy, learn_delayed_copy
from lmcourse.tokenizers import CharacterTokenizer

SEEDS = (0, 1)
STARTS = ("orthogonal", "normal", "identity")


def accuracy_after(layer: RNN | GRU, rate: float, delay: int, seed: int, steps: int) -> float:
    """Train on one delay, as the chapter does, and return the share of symbols remembered."""
    model = RecurrentModel(17, layer, seed=seed)
    learn_delayed_copy(model, Adam(rate), delay, np.random.default_rng(100 + seed), steps=steps)
    return delayed_copy_accuracy(model, delay, np.random.default_rng(9))


def delay_table(kind: type, starts, rates, delays, steps: int) -> str:
    """Return accuracies of every seed, a row for each start and rate."""
    rows = []
    for start in starts:
        for rate in rates:
            row = [f"{kind.__name__}, {start}", f"{rate:g}"]
            for delay in delays:
                scores = [
                    accuracy_after(
                        kind(32, 32, recurrent_start=start, seed=seed, dtype=np.float64),
                        rate,
                        delay,
                        seed,
                        steps,
                    )
                    for seed in SEEDS
                ]
                row.append(" ".join(f"{score:.2f}" for score in scores))
            rows.append(row)
    header = ("layer, start", "rate", *(f"delay {delay}" for delay in delays))
    return _measure.table(header, rows)


def character_row(layer, rate: float, steps: int, batch_size: int, length: int) -> tuple:
    """Train a character model on the novel and return its row of the table."""
    novel = load_corpus("austen").work("Pride and Prejudice").split()
    tokenizer = CharacterTokenizer.train(novel.train.text)
    model = RecurrentModel(tokenizer.vocab_size, layer)
    start = perf_counter()
    train(
        model,
        tokenizer.encode(novel.train.text),
        Adam(rate),
        steps=steps,
        batch_size=batch_size,
        length=length,
    )
    seconds = perf_counter() - start
    validation, held_out = (
        held_out_bits_per_byte(model, tokenizer, part.text)
        for part in (novel.validation, novel.held_out)
    )
    return (
        f"{type(layer).__name__}, {layer.hidden_size}",
        f"{steps:,} of {batch_size} × {length}",
        f"{rate:g}",
        f"{seconds:.0f} s",
        f"{validation:.3f}",
        f"{held_out:.3f}",
    )


def main() -> None:
    rates = (0.001, 0.002, 0.005, 0.01, 0.02)
    rnn_delays = delay_table(RNN, STARTS, rates, (5, 7, 10, 14, 20), steps=200)
    rnn_long = delay_table(RNN, STARTS, (0.0003, 0.001, 0.003), (10, 14, 20), steps=4000)
    gru_delays = delay_table(GRU, ("orthogonal",), (0.005, 0.01, 0.02, 0.05), (10, 40, 80), 200)
    characters = [character_row(RNN(32, 256), rate, 2000, 16, 32) for rate in (0.002, 0.004, 0.008)]
    characters += [
        character_row(GRU(32, 192), rate, 1600, 16, 32) for rate in (0.0035, 0.007, 0.014)
    ]
    characters += [character_row(GRU(64, 384), 0.003, 3000, 32, 64)]
    header = ("layer, hidden", "steps", "rate", "training", "validation", "held out")
    _measure.report(
        "rnn_training",
        "The settings of chapter 2",
        "Accuracy at the cue of `delayed_copy` after 200 updates of 32 sequences on one delay, "
        "32 units, Adam with a rate that falls linearly to zero, gradients clipped at 1; one "
        "number for each of two seeds. Guessing gets 0.125.",
        rnn_delays,
        gru_delays,
        "The RNN again, after 4,000 updates.",
        rnn_long,
        "Character models on *Pride and Prejudice*, in bits per character. The rates were chosen "
        "on the validation chapters. The last model is larger and sees eleven times the text's "
        "length.",
        _measure.table(header, characters),
        packages=("numpy",),
    )


if __name__ == "__main__":
    main()
