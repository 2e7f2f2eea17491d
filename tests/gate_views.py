"""Views for the tests of GateView; importing them costs little until one is made."""

from functools import cache

import numpy as np

from lmcourse.widgets import GateView
from tests.sampler_views import HOSTILE

CHARACTERS = ["", *"\n !\"'(),-.:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"]
SPEECH = '"No, sir," she said,\n"I shall NOT stay."\n\nHe looked up. "With me?"'
VERSE = "If I have too austerely punish'd you,\nYour compensation makes amends: for\nHave given you"
TEXTS = {"Speech": SPEECH, "Verse": VERSE}
# A page of markup, invisible and far-off characters, none of which the model knows.
HOSTILE_TEXT = " ".join(HOSTILE) + " שלום é $x_1$"


def random_weights(vocab: int, width: int, units: int, *, seed: int = 0) -> list[np.ndarray]:
    """Weights in Keras's layout that make gates and cells of every size."""
    rng = np.random.default_rng(seed)
    shapes = [(vocab, width), (width, 4 * units), (units, 4 * units), (4 * units,), (units, vocab)]
    scales = [1, 2 / width**0.5, 1.5 / units**0.5, 0.5, 4 / units**0.5]
    arrays = [rng.normal(0, s, shape) for s, shape in zip(scales, shapes, strict=True)]
    return [array.astype(np.float32) for array in (*arrays, rng.normal(0, 0.5, vocab))]


def character_model(weights: list[np.ndarray]):
    """A model of lmcourse.keras with these weights; the import of torch waits for it."""
    from lmcourse import keras
    from lmcourse.keras import layers

    (vocab, width), units = weights[0].shape, len(weights[2])
    lstm = layers.LSTM(units, return_sequences=True)
    softmax = layers.Dense(vocab, activation="softmax")
    model = keras.Sequential([keras.Input((None,)), layers.Embedding(vocab, width), lstm, softmax])
    model.set_weights(weights)
    return model


@cache
def small_model(vocab: int = len(CHARACTERS)):
    return character_model(random_weights(vocab, 3, 6))


def plain_view(**options) -> GateView:
    """Six units, and a model that reads all it does not know as one unknown character."""
    return GateView(small_model(), CHARACTERS, TEXTS, **options)


def skipping_view(**options) -> GateView:
    """Six units, and a model that knows of no unknown character."""
    return GateView(small_model(len(CHARACTERS) - 1), CHARACTERS[1:], [VERSE], **options)


def hostile_view(**options) -> GateView:
    names = {"</script><b>name</b>": HOSTILE_TEXT, "$x_1$": "<img src=x onerror=hacked=1>"}
    characters = ["", "<", "&", "$", "\u202e", " "]
    model = character_model(random_weights(len(characters), 2, 3))
    return GateView(model, characters, names, **options)


def large_view(characters: int = 600, **options) -> GateView:
    """The size of the course's model: 128 units, 68 characters, embeddings of 32 numbers."""
    model = character_model(random_weights(len(CHARACTERS), 32, 128))
    text = (SPEECH + "\n\n" + VERSE + "\n\n") * (characters // 100)
    return GateView(model, CHARACTERS, {"Long": text[:characters]}, **options)
