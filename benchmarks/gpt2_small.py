"""The GPT-2 that ships, beside what earlier chapters made, on the same held-out text.

Bits per byte of the held-out chapters of Austen, Shakespeare and Melville. The n-grams and the GRU
are trained here, on the text that the GPT-2 was trained on; the LSTM is the one that ships with
chapter 5, which has not read Melville or the validation chapters. Run as ``python -m
benchmarks.gpt2_small`` from the repository's root; it takes about a quarter of an hour on one core.
``--work FOLDER`` keeps each row, and takes those that are there already.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks import _measure
from lmcourse import character_lstm
from lmcourse.data import load_corpus
from lmcourse.gpt2 import GPT2Tokenizer, from_pretrained
from lmcourse.gpt2.evaluation import sliding_window
from lmcourse.gpt2.train import encode, read_documents
from lmcourse.language_models import NGramModel
from lmcourse.optimizers import Adam
from lmcourse.rnn import GRU, RecurrentModel, train
from lmcourse.tokenizers import CharacterTokenizer

NAMES = ("austen", "shakespeare", "moby-dick")
NOVEL = "Pride and Prejudice"
Bits = dict[str, float]  # by author: bits for the whole held-out text


@cache
def documents(name: str) -> list[str]:
    """Return the held-out chapters of an author, or of the novel of chapters 1 and 2."""
    if name == NOVEL:
        part = load_corpus("austen").work(NOVEL).split().held_out
        return [chapter.text for chapter in part.chapters]
    return read_documents([name], held_out=True)


def gpt2(stride: int) -> tuple[int, Bits]:
    """Score chapters one after the other, ``<|endoftext|>`` before the first and behind each."""
    model, tokenizer = from_pretrained("lmcourse-small"), GPT2Tokenizer.from_pretrained(SMALL)
    end = tokenizer.eos_token_id
    bits = {}
    for name in (*NAMES, NOVEL):
        ids = encode(tokenizer, documents(name))
        bits[name] = sliding_window(model, ids, stride=stride, start=end).total_nats / math.log(2)
    return model.n_parameters, bits


def subword_n_gram(order: int) -> tuple[int, Bits]:
    """Count the GPT-2's own tokens."""
    tokenizer = GPT2Tokenizer.from_pretrained(SMALL)
    model = NGramModel(order, tokenizer.vocab_size).fit(encode(tokenizer, read_documents(NAMES)))
    bits = {}
    for name in (*NAMES, NOVEL):
        ids = np.append(tokenizer.eos_token_id, encode(tokenizer, documents(name)))
        bits[name] = -model.token_log_probabilities(ids)[1:].sum() / math.log(2)
    return model.n_parameters, bits


def characters() -> tuple[CharacterTokenizer, np.ndarray]:
    """Return a tokenizer that also knows the one held-out character not in training, and ids."""
    text = "\n\n".join(read_documents(NAMES))
    tokenizer = CharacterTokenizer("".join(sorted({*text, "£"})))
    return tokenizer, tokenizer.encode(text)


def _character_bits(model, tokenizer: CharacterTokenizer) -> Bits:
    return {
        name: -model.token_log_probabilities(tokenizer.encode("\n\n".join(documents(name)))).sum()
        / math.log(2)
        for name in (*NAMES, NOVEL)
    }


def character_n_gram(order: int) -> tuple[int, Bits]:
    """Count characters, as in chapter 1."""
    tokenizer, ids = characters()
    model = NGramModel(order, tokenizer.vocab_size).fit(ids)
    return model.n_parameters, _character_bits(model, tokenizer)


def character_gru() -> tuple[int, Bits]:
    """Train chapter 2's GRU for one epoch: eleven times as many characters as it reads there."""
    tokenizer, ids = characters()
    model = RecurrentModel(tokenizer.vocab_size, GRU(32, 192))
    train(model, ids, Adam(0.007), steps=4400, batch_size=32, length=64)
    return model.n_parameters, _character_bits(model, tokenizer)


def shipped_lstm() -> tuple[int, Bits]:
    """Score with chapter 5's LSTM the authors that it has read."""
    model, known = character_lstm.load()
    bits = {}
    for name in NAMES[:2]:
        text = "\n\n".join(documents(name))
        bits[name] = character_lstm.bits_per_character(text, model, known) * len(text)
    return model.count_params(), bits


SMALL = "lmcourse-small"
ROWS: dict[str, Callable[[], tuple[int, Bits]]] = {
    "GPT-2, sliding window": partial(gpt2, 128),
    "GPT-2, windows side by side": partial(gpt2, 256),
    "5-gram of the same subwords": partial(subword_n_gram, 5),
    "5-gram of characters": partial(character_n_gram, 5),
    "6-gram of characters": partial(character_n_gram, 6),
    "GRU of characters, 192 units": character_gru,
    "LSTM of characters, 128 units (chapter 5)": shipped_lstm,
}


def cells(name: str, n_parameters: int, bits: Bits) -> list[str]:
    """Return the row of a table."""
    n_bytes = {part: sum(len(t.encode()) for t in documents(part)) for part in (*NAMES, NOVEL)}
    scores = {part: bits[part] / n_bytes[part] for part in bits}
    if set(NAMES) <= set(bits):
        scores["all"] = sum(bits[n] for n in NAMES) / sum(n_bytes[n] for n in NAMES)
    columns = (*NAMES, "all", NOVEL)
    return [
        name,
        f"{n_parameters:,}",
        *(f"{scores[c]:.3f}" if c in scores else "–" for c in columns),
    ]


def main() -> None:
    """Score all of them and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, help="folder for finished rows")
    given = parser.parse_args().work
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, measure in ROWS.items():
            path = (given or Path(temporary)) / f"{name.partition(' (')[0]}.json"
            if not path.exists():
                path.write_text(json.dumps(measure()), encoding="utf-8")
            rows.append(cells(name, *json.loads(path.read_text("utf-8"))))
    header = ("bits per byte, held out", "parameters", "Austen", "Shakespeare", "Melville", "all")
    _measure.report(
        "gpt2_small",
        "The GPT-2 that ships, beside earlier chapters' models",
        __doc__.split("\n\n")[1].partition(" Run as")[0].replace("\n", " "),
        _measure.table((*header, NOVEL), rows),
        packages=("torch", "numpy"),
    )


if __name__ == "__main__":
    main()
