"""Byte-pair encoding beside Hugging Face `tokenizers`: training 4,096 entries on Austen, encoding.

Run as `python -m benchmarks.tokenizers` from the repository's root.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import numpy as np
import tokenizers as hf

from benchmarks import _measure
from lmcourse.data import load_corpus
from lmcourse.tokenizers import BPETokenizer

VOCAB_SIZE = 4096
SEPARATOR = "\n\n"

# Byte-level BPE writes every byte as a visible character: the byte's own, or one from U+0100 on.
VISIBLE = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
INVISIBLE = [byte for byte in range(256) if byte not in VISIBLE]
CHARACTERS = {byte: chr(byte) for byte in VISIBLE} | {
    byte: chr(256 + i) for i, byte in enumerate(INVISIBLE)
}


def main() -> None:
    chapters = [chapter.text for chapter in load_corpus("austen").chapters]
    text = SEPARATOR.join(chapters)
    merges = BPETokenizer.train(text, VOCAB_SIZE).merges
    hf_json = same_in_hf(merges).to_str()
    ids = BPETokenizer(merges).encode(text)
    np.testing.assert_array_equal(ids, hf.Tokenizer.from_str(hf_json).encode(text).ids)

    # Each run has a fresh tokenizer, so that its cache is empty. Only lists of texts give Hugging
    # Face something to spread over threads.
    works = {
        "train on one string": (
            lambda: partial(BPETokenizer.train, text, VOCAB_SIZE),
            lambda: partial(train_hf, [text]),
        ),
        f"train on {len(chapters)} chapters": (
            lambda: lambda: BPETokenizer.train(SEPARATOR.join(chapters), VOCAB_SIZE),
            lambda: partial(train_hf, chapters),
        ),
        "encode one string": (
            lambda: partial(BPETokenizer(merges).encode, text),
            lambda: partial(hf.Tokenizer.from_str(hf_json).encode, text),
        ),
        f"encode {len(chapters)} chapters": (
            lambda: partial(encode_each, BPETokenizer(merges), chapters),
            lambda: partial(hf.Tokenizer.from_str(hf_json).encode_batch_fast, chapters),
        ),
    }
    rows = [row(work, *peers) for work, peers in works.items()]
    _measure.report(
        "tokenizers",
        "Byte-pair encoding",
        f"Text: Austen's novels, {len(text.encode()) / 1e6:.1f} MB. Vocabulary: {VOCAB_SIZE:,} "
        "entries. The best of 5 runs each, taken in turn, each with an empty cache; the ids are "
        "checked to be equal. Ratio: lmcourse's time divided by Hugging Face's, below 1 where "
        "lmcourse is faster. lmcourse runs on one thread. Hugging Face's `encode` also records "
        "where each token stands in the text; its batch call here, `encode_batch_fast`, does not.",
        _measure.table(
            ["work", "lmcourse", "HF, one thread", "ratio", "HF, all threads", "ratio"], rows
        ),
        packages=["numpy", "regex", "tokenizers"],
    )


def row(work: str, ours: Callable, theirs: Callable) -> list[str]:
    def with_threads(setting: str) -> Callable:
        def prepare() -> Callable:
            os.environ["TOKENIZERS_PARALLELISM"] = setting
            return theirs()

        return prepare

    peers = {"ours": ours, "one": with_threads("false"), "all": with_threads("true")}
    times = _measure.best_times(peers)
    cells = [work, f"{times['ours']:.2f} s"]
    for peer in ("one", "all"):
        cells += [f"{times[peer]:.2f} s", f"{times['ours'] / times[peer]:.2f}"]
    return cells


def encode_each(tokenizer: BPETokenizer, texts: list[str]) -> list[np.ndarray]:
    return [tokenizer.encode(text) for text in texts]


def train_hf(texts: list[str]) -> None:
    trainer = hf.trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        initial_alphabet=list(CHARACTERS.values()),
        show_progress=False,
    )
    untrained_hf().train_from_iterator(texts, trainer)


def untrained_hf() -> hf.Tokenizer:
    tokenizer = hf.Tokenizer(hf.models.BPE())
    tokenizer.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def same_in_hf(merges: list[tuple[bytes, bytes]]) -> hf.Tokenizer:
    """Build Hugging Face's tokenizer from the same merges, with the same ids."""

    def written(token: bytes) -> str:
        return "".join(CHARACTERS[byte] for byte in token)

    vocabulary = BPETokenizer(merges).vocabulary
    tokenizer = untrained_hf()
    tokenizer.model = hf.models.BPE(
        vocab={written(token): i for i, token in enumerate(vocabulary)},
        merges=[(written(left), written(right)) for left, right in merges],
    )
    return tokenizer


if __name__ == "__main__":
    main()
