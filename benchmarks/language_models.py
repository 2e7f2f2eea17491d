"""The learning rates of chapter 1: how far each optimizer gets with four of them.

The network and its training are the chapter's; the score is on the validation chapters, so that
the held-out ones stay unseen. Run as ``python -m benchmarks.language_models`` from the
repository's root.
"""

from __future__ import annotations

from functools import partial

from benchmarks import _measure
from lmcourse.data import load_corpus
from lmcourse.language_models import FeedForwardModel, held_out_bits_per_byte, train
from lmcourse.optimizers import SGD, Adam
from lmcourse.tokenizers import CharacterTokenizer

SWEEPS = {
    "SGD": (SGD, (0.25, 0.5, 1.0, 2.0)),
    "SGD, momentum 0.9": (partial(SGD, momentum=0.9), (0.125, 0.25, 0.5, 1.0)),
    "Adam": (Adam, (0.001, 0.002, 0.004, 0.008)),
}


def main() -> None:
    novel = load_corpus("austen").work("Pride and Prejudice").split()
    tokenizer = CharacterTokenizer.train(novel.train.text)
    ids = tokenizer.encode(novel.train.text)
    rows = []
    for name, (make, rates) in SWEEPS.items():
        for rate in rates:
            model = FeedForwardModel(tokenizer.vocab_size, window=8)
            train(model, ids, make(rate), steps=3000)
            score = held_out_bits_per_byte(model, tokenizer, novel.validation.text)
            rows.append((name, f"{rate:g}", f"{score:.3f}"))
    _measure.report(
        "language_models",
        "Learning rates for the feed-forward model",
        "Bits per byte on the validation chapters of *Pride and Prejudice* after 3,000 steps of "
        "256 characters, the learning rate falling linearly to zero.",
        _measure.table(("optimizer", "learning rate", "bits/byte"), rows),
        packages=("numpy",),
    )


if __name__ == "__main__":
    main()
