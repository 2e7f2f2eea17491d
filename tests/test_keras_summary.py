"""The summary, held against the text that Keras 3 prints."""

from __future__ import annotations

import numpy as np
import pytest

import lmcourse.keras
from lmcourse.keras.layers.base import clear_session
from tests.keras_reference import keras

LIBRARIES = (lmcourse.keras, keras)


def _classifier(library, *first):
    layers = library.layers
    return library.models.Sequential(
        [
            *first,
            layers.Embedding(50, 8, mask_zero=True),
            layers.Bidirectional(layers.LSTM(6, return_sequences=True)),
            layers.TimeDistributed(layers.Dense(4)),
            layers.GRU(5),
            layers.Dropout(0.1),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def unbuilt(library):
    return _classifier(library)


def sequential(library):
    return _classifier(library, library.layers.Input(shape=(7,)))


def empty(library):
    return library.models.Sequential(name="empty")


def language_model(library):
    layers = library.layers
    ids = layers.Input(shape=(None,))
    states, h, c = layers.LSTM(6, return_sequences=True, return_state=True)(
        layers.Embedding(10, 4)(ids)
    )
    return library.models.Model(ids, [layers.Dense(10, activation="softmax")(states), h, c])


def two_ways(library):
    layers = library.layers
    a, b = layers.Input(shape=(5,), name="a"), layers.Input(shape=(3,), name="b")
    joined = layers.Concatenate()([layers.Dense(4)(a), layers.Dense(4)(b)])
    outputs = [layers.Dense(2, name="p")(joined), layers.Dense(1, name="q")(joined)]
    return library.models.Model([a, b], outputs)


def two_towers(library):
    layers = library.layers
    a, b = layers.Input(shape=(5,), name="a"), layers.Input(shape=(3,), name="b")
    return library.models.Model([a, b], [layers.Dense(2)(a), layers.Dense(1)(b)])


def two_heads(library):
    layers = library.layers
    x = layers.Input(shape=(5,))
    return library.models.Model(x, [layers.Dense(2)(x), layers.Dense(1)(x)])


def shared(library):
    layers = library.layers
    a, b = layers.Input(shape=(5,), name="a"), layers.Input(shape=(5,), name="b")
    encoder = layers.Dense(1000, name="encoder_shared_by_both_of_the_inputs")
    return library.models.Model([a, b], layers.Concatenate()([encoder(a), encoder(b)]))


def with_start(library):
    layers = library.layers
    ids = layers.Input(shape=(None, 3), name="steps")
    start = [layers.Input(shape=(4,), name=name) for name in ("h", "c")]
    return library.models.Model([ids, *start], layers.LSTM(4)(ids, initial_state=start))


def nested(library):
    layers = library.layers
    inner = library.models.Sequential([layers.Input(shape=(3,)), layers.Dense(4)], name="inner")
    x = layers.Input(shape=(3,))
    return library.models.Model(x, layers.Dense(1)(inner(x)), name="outer")


def frozen(library):
    layers = library.layers
    return library.models.Sequential(
        [layers.Input(shape=(3,)), layers.Dense(2000, trainable=False), layers.Dense(2)]
    )


@pytest.fixture(autouse=True)
def _names_start_anew():
    clear_session()
    keras.utils.clear_session()


def _texts(models, **options):
    texts = []
    for model in models:
        calls: list[str] = []
        model.summary(print_fn=calls.append, **options)
        (text,) = calls
        texts.append(text)
    return texts


MODELS = (
    unbuilt,
    sequential,
    empty,
    language_model,
    two_ways,
    two_towers,
    two_heads,
    shared,
    with_start,
    nested,
    frozen,
)


@pytest.mark.parametrize("columns", [60, 200])
@pytest.mark.parametrize("build", MODELS)
def test_a_summary_is_keras_s(build, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    ours, theirs = _texts([build(library) for library in LIBRARIES])
    assert ours == theirs


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_after_training_the_optimizer_is_counted(optimizer):
    models = [frozen(library) for library in LIBRARIES]
    for model in models:
        model.compile(optimizer, "mse")
    before, expected = _texts(models)
    assert before == expected and "Optimizer" not in before
    for model in models:
        model.fit(np.zeros((4, 3)), np.zeros((4, 2)), verbose=0)
    after, expected = _texts(models)
    assert after == expected and "Optimizer params" in after


@pytest.mark.parametrize("line_length", [50, 101])
def test_a_line_length_is_kept(line_length, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    ours, theirs = _texts([sequential(library) for library in LIBRARIES], line_length=line_length)
    assert ours == theirs


def test_a_summary_is_printed(capsys):
    model = sequential(lmcourse.keras)
    model.summary()
    (expected,) = _texts([model])
    assert capsys.readouterr().out == expected


@pytest.mark.wrong_input
def test_too_short_a_line_is_refused():
    with pytest.raises(ValueError, match="line_length must leave every column 4 characters"):
        sequential(lmcourse.keras).summary(line_length=10)
