"""A character LSTM that ships with the course, and the program that trained it.

>>> from lmcourse.character_lstm import encode, load
>>> model, characters = load()
>>> probabilities = model(encode("It is a truth universally", characters)[None])

It has read Austen and Shakespeare, the training parts of their ``Corpus.split()``: 7.1 million
characters, 16 times. On the held-out parts, with its state carried along, a character of Austen
takes it 1.80 bits, one of Shakespeare 2.13. ``python -m lmcourse.character_lstm`` trains one like
it from another random start, in 20 to 30 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes

from lmcourse import _files, keras
from lmcourse.data import load_corpus
from lmcourse.keras import layers
from lmcourse.keras.callbacks import Callback
from lmcourse.keras.models import load_model
from lmcourse.keras.optimizers import Adam

FILE = Path(__file__).with_suffix(".safetensors")
"""The trained model."""

AUTHORS = ("austen", "shakespeare")
UNKNOWN = ""
"""Stands in the list of characters for all that are not in it; its id is 0."""

RAREST = 100  # a character that the training text has less often is read as unknown
CHARACTERS_KEY = "lmcourse.characters"


class CharacterLSTM(NamedTuple):
    """What `load` returns.

    Attributes:
        model: gives each next character's probability (batch, time, characters) for ids
            (batch, time); its LSTM also returns its last states.
        characters: the character of each id; the first is `UNKNOWN`.
    """

    model: keras.Model
    characters: list[str]


def load(filepath: str | PathLike = FILE) -> CharacterLSTM:
    """Read the model that ships with the course, or one that `save` wrote.

    Args:
        filepath: the file.

    Returns:
        The model and its characters.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, or one without characters.
    """
    model = load_model(filepath)
    with safe_open(filepath, framework="numpy") as file:
        characters = file.metadata().get(CHARACTERS_KEY)
    if characters is None:
        raise ValueError(f"{filepath} holds a model, but not the characters of its ids")
    return CharacterLSTM(model, json.loads(characters))


def save(filepath: str | PathLike, model: keras.Model, characters: Sequence[str]) -> None:
    """Write a model as `Model.save` does, and its characters beside it in the same file.

    Args:
        filepath: where to; a file that is there already is replaced.
        model: the model.
        characters: the character of each id.

    Raises:
        OSError: the folder is missing or not writable.
    """
    model.save(filepath)
    with safe_open(filepath, framework="numpy") as file:
        about = file.metadata() | {CHARACTERS_KEY: json.dumps(list(characters))}
    _files.write_bytes(filepath, to_bytes(load_file(filepath), metadata=about))


def encode(text: str, characters: Sequence[str]) -> Int64[np.ndarray, " time"]:
    """Return the id of each character of ``text``; 0 where it is not among ``characters``."""
    ids = {character: i for i, character in enumerate(characters)}
    return np.array([ids.get(character, 0) for character in text], dtype=np.int64)


def frequent_characters(text: str, *, at_least: int = RAREST) -> list[str]:
    """Return `UNKNOWN` and the characters that ``text`` has ``at_least`` as often, sorted."""
    counts = Counter(text)
    return [UNKNOWN, *sorted(c for c, count in counts.items() if count >= at_least)]


def build(
    n_characters: int, *, units: int = 128, width: int = 32, n_streams: int | None = None
) -> keras.Model:
    """Return a new model.

    Args:
        n_characters: how many ids there are.
        units: of the LSTM.
        width: of the embedding.
        n_streams: makes the model stateful, for batches of that many rows: each goes on where the
            row of the batch before ended.
    """
    ids = keras.Input(shape=(None,), batch_size=n_streams, dtype="int64", name="ids")
    embedded = layers.Embedding(n_characters, width, name="embedding")(ids)
    lstm = layers.LSTM(
        units,
        return_sequences=True,
        return_state=True,
        stateful=n_streams is not None,
        name="lstm",
    )
    hidden_states, _, _ = lstm(embedded)
    softmax = layers.Dense(n_characters, activation="softmax", name="next_character")
    return keras.Model(ids, softmax(hidden_states), name="character_lstm")


def streams(
    ids: Int64[np.ndarray, " time"], n_streams: int, length: int
) -> tuple[Int64[np.ndarray, "rows length"], Int64[np.ndarray, "rows length"]]:
    """Cut a text into streams that are read side by side, ``length`` characters at a time.

    Row ``i`` of each batch of ``n_streams`` rows goes on where row ``i`` of the batch before ended.

    Args:
        ids: the text; what does not fill a batch at the ends of the streams is left out.
        n_streams: rows in a batch.
        length: characters in a row.

    Returns:
        Inputs and targets; the target of a character is the one after it.

    Raises:
        ValueError: the text does not fill one batch.
    """
    n_batches = (len(ids) - 1) // (n_streams * length)
    if n_batches < 1:
        raise ValueError(
            f"ids must have more than n_streams * length = {n_streams * length} characters, "
            f"got {len(ids)}"
        )
    used = n_streams * n_batches * length

    def cut(part):
        by_stream = part.reshape(n_streams, n_batches, length)
        return by_stream.swapaxes(0, 1).reshape(-1, length)

    return cut(ids[:used]), cut(ids[1 : used + 1])


class LinearDecay(Callback):
    """Lowers the learning rate from epoch to epoch to zero, and starts each with fresh states.

    Args:
        learning_rate: that of the first epoch.
        epochs: how many there will be.
    """

    def __init__(self, learning_rate: float, epochs: int):
        super().__init__()
        self.learning_rate, self.epochs = learning_rate, epochs

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Set the rate of ``epoch`` and reset the states; ``logs`` are not used."""
        self.model.optimizer.learning_rate = self.learning_rate * (1 - epoch / self.epochs)
        self.model.reset_states()


def train(
    text: str,
    *,
    units: int = 128,
    width: int = 32,
    n_streams: int = 64,
    length: int = 128,
    epochs: int = 16,
    learning_rate: float = 3e-3,
    verbose: int = 2,
) -> CharacterLSTM:
    """Train a model on the characters of ``text``, stream beside stream with carried states.

    Args:
        text: what to read.
        units: of the LSTM.
        width: of the embedding.
        n_streams: streams side by side, see `streams`.
        length: characters that a gradient goes back; the states go on.
        epochs: how often to read all.
        learning_rate: of Adam in the first epoch; it falls linearly.
        verbose: as in `Model.fit`.

    Returns:
        The model, without streams and not compiled, and its characters.

    Raises:
        ValueError: the text is too short for the streams.
    """
    characters = frequent_characters(text)
    model = build(len(characters), units=units, width=width, n_streams=n_streams)
    model.compile(Adam(learning_rate), loss="sparse_categorical_crossentropy")
    x, y = streams(encode(text, characters), n_streams, length)
    model.fit(
        x,
        y,
        batch_size=n_streams,
        epochs=epochs,
        shuffle=False,
        callbacks=LinearDecay(learning_rate, epochs),
        verbose=verbose,
    )
    trained = build(len(characters), units=units, width=width)
    trained.set_weights(model.get_weights())
    return CharacterLSTM(trained, characters)


def bits_per_character(
    text: str, model: keras.Model, characters: Sequence[str], *, n_streams: int = 16
) -> float:
    """Return how many bits a character of ``text`` takes, when the state is carried along.

    Args:
        text: what to measure on, read as ``n_streams`` parts side by side, each from state zero.
        model: with the layers of `build`.
        characters: the character of each of its ids.
        n_streams: how many parts.

    Raises:
        ValueError: the text is too short for the streams.
    """
    lstm, embedding = model.get_layer("lstm"), model.get_layer("embedding")
    stateful = build(
        len(characters), units=lstm.units, width=embedding.output_dim, n_streams=n_streams
    )
    stateful.set_weights(model.get_weights())
    stateful.compile(loss="sparse_categorical_crossentropy")
    x, y = streams(encode(text, characters), n_streams, length=100)
    return stateful.evaluate(x, y, batch_size=n_streams, verbose=0) / math.log(2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the model that ships, measure it on the held-out texts, and write it to a file.

    Args:
        arguments: those of the command line if not given.
    """
    parser = argparse.ArgumentParser(description=main.__doc__.partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, default=FILE)
    file = parser.parse_args(arguments).file
    parts = {name: load_corpus(name).split() for name in AUTHORS}
    keras.utils.set_random_seed(0)
    model, characters = train("\n\n".join(part.train.text for part in parts.values()))
    for name, part in parts.items():
        bits = bits_per_character(part.held_out.text, model, characters)
        print(f"{name}: {bits:.2f} bits per character of the held-out part")
    save(file, model, characters)
    print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
