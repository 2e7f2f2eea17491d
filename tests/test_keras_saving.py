"""Models in files."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import torch

from lmcourse.keras import layers, losses, metrics, optimizers
from lmcourse.keras.models import Model, Sequential, load_model
from tests.keras_reference import keras

RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 9, (20, 6))


def _sequential():
    return Sequential(
        [
            layers.Input(shape=(None,)),
            layers.Embedding(9, 4, mask_zero=True),
            layers.Bidirectional(layers.LSTM(5, recurrent_dropout=0.2), merge_mode="sum"),
            layers.Dropout(0.1),
            layers.Dense(9, activation="softmax"),
        ]
    )


def _functional():
    ids = layers.Input(shape=(None,), name="ids")
    states, h, _ = layers.LSTM(5, return_sequences=True, return_state=True)(
        layers.Embedding(9, 4)(ids)
    )
    p = layers.TimeDistributed(layers.Dense(9, activation="softmax"), name="p")(states)
    q = layers.Dense(1, name="q")(layers.Concatenate()([h, layers.GRU(3)(states)]))
    return Model(ids, {"p": p, "q": q})


def _fit(model, epochs=2, **options):
    outputs = getattr(model, "output_names", [])
    y = {"p": IDS, "q": IDS[:, :1] / 9} if len(outputs) == 2 else IDS[:, 0]
    torch.manual_seed(1)  # of dropout
    return model.fit(
        IDS, y, epochs=epochs, batch_size=8, shuffle=False, verbose=0, **options
    ).history


OPTIMIZERS = [
    optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    optimizers.Adam(0.01, clipnorm=1.0),
    optimizers.Adam(0.01, amsgrad=True),
    optimizers.AdamW(0.01),
    optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    optimizers.Adagrad(0.1),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_as_if_it_had_not_stopped(optimizer, tmp_path):
    path = tmp_path / "model.safetensors"
    model = _sequential()
    model.compile(
        type(optimizer).from_config(optimizer.get_config()),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    _fit(model)
    model.optimizer.learning_rate = 0.02
    model.save(path)
    expected = _fit(model)
    loaded = load_model(path)
    assert _fit(loaded) == expected
    assert loaded.optimizer.get_config() == model.optimizer.get_config()


def test_a_graph_comes_back_with_its_losses_and_metrics(tmp_path):
    path = tmp_path / "model"
    model = _functional()
    model.compile(
        "adam",
        {"p": losses.SparseCategoricalCrossentropy(ignore_class=0), "q": "mse"},
        loss_weights={"p": 0.5, "q": 2.0},
        metrics={"p": ["accuracy"], "q": [metrics.AUC(num_thresholds=5), "mae"]},
    )
    _fit(model)
    model.save(path)
    loaded = load_model(path)
    assert loaded.get_config() == model.get_config()
    assert loaded.name == model.name and loaded.input_names == ["ids"]
    for name, array in model.predict(IDS, verbose=0).items():
        np.testing.assert_array_equal(loaded.predict(IDS, verbose=0)[name], array)
    assert _fit(loaded) == _fit(model)


@pytest.mark.parametrize("build", [_sequential, _functional])
def test_a_model_that_was_not_compiled_comes_back_so(build, tmp_path):
    path = tmp_path / "model"
    model = build()
    model.save(path)
    loaded = load_model(path)
    assert not loaded.compiled
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_model_may_come_back_without_its_training(tmp_path):
    model = _sequential()
    model.compile("adam", "sparse_categorical_crossentropy")
    _fit(model)
    model.save(tmp_path / "model")
    assert not load_model(tmp_path / "model", compile=False).compiled


def test_compiled_but_not_yet_trained(tmp_path):
    model = _sequential()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert not loaded.optimizer.built
    assert _fit(loaded) == _fit(model)


def test_frozen_layers_stay_frozen(tmp_path):
    model = _sequential()
    model.layers[0].trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    _fit(model)
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert len(loaded.trainable_weights) == len(model.weights) - 1
    assert _fit(loaded) == _fit(model)


def test_weights_go_by_their_order_not_their_names(tmp_path):
    first, second = _sequential(), _sequential()
    assert first.weights[0].path != second.weights[0].path
    first.save_weights(tmp_path / "weights.h5")
    second.load_weights(tmp_path / "weights.h5")
    np.testing.assert_array_equal(first.predict(IDS, verbose=0), second.predict(IDS, verbose=0))
    first.save(tmp_path / "model")
    third = _sequential()
    third.load_weights(tmp_path / "model")
    np.testing.assert_array_equal(first.predict(IDS, verbose=0), third.predict(IDS, verbose=0))


def test_the_file_is_safetensors_and_json(tmp_path):
    """Read by its specification: eight bytes of length, a JSON header, plain numbers."""
    path = tmp_path / "model"
    model = Sequential([layers.Input(shape=(2,)), layers.Dense(3, name="d")])
    model.compile("sgd", "mse")
    model.save(path)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    about = json.loads(header.pop("__metadata__")["lmcourse.keras"])
    assert about["weights"] == ["d/kernel", "d/bias"]
    assert sorted(header) == ["d/bias", "d/kernel"]
    start, end = header["d/kernel"]["data_offsets"]
    kernel = np.frombuffer(content[8 + length :][start:end], "<f4").reshape(2, 3)
    np.testing.assert_array_equal(kernel, model.get_weights()[0])


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model"
    model = _sequential()
    model.save(path)
    before = path.read_bytes()
    monkeypatch.setattr("pathlib.Path.replace", _fail)
    with pytest.raises(OSError, match="full"):
        model.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def _fail(*_):
    raise OSError("disk full")


# Wrong input.


@pytest.mark.wrong_input
@pytest.mark.parametrize("name", ["real.keras", "real.h5"])
@pytest.mark.filterwarnings("ignore")
def test_files_of_keras_are_named_as_such(name, tmp_path):
    path = tmp_path / name
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    try:
        model.save(path)
    except ImportError:  # h5py
        path.write_bytes(b"\x89HDF\r\n\x1a\n")
    ours = Sequential([layers.Input(shape=(2,)), layers.Dense(1)])
    for read in (load_model, ours.load_weights):
        with pytest.raises(ValueError, match=r"of Keras.*set_weights"):
            read(path)


@pytest.mark.wrong_input
def test_other_files_are_refused(tmp_path):
    from safetensors.numpy import save_file

    (tmp_path / "text").write_text("hello, world")
    (tmp_path / "empty").write_bytes(b"")
    save_file({"a": np.zeros(1)}, tmp_path / "other")
    for name, message in (
        ("text", "is not a safetensors file"),
        ("empty", "is not a safetensors file"),
        ("other", "none that lmcourse.keras wrote"),
    ):
        with pytest.raises(ValueError, match=message):
            load_model(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "missing")


@pytest.mark.wrong_input
def test_weights_that_do_not_fit_are_refused(tmp_path):
    small = Sequential([layers.Input(shape=(2,)), layers.Dense(1, name="d")])
    small.save_weights(tmp_path / "weights")
    with pytest.raises(ValueError, match=r"weights holds weights alone: build the model"):
        load_model(tmp_path / "weights")
    large = Sequential([layers.Input(shape=(3,)), layers.Dense(1, name="d")], name="large")
    with pytest.raises(
        ValueError, match=r"does not fit 'large': d/kernel must have shape \(3, 1\)"
    ):
        large.load_weights(tmp_path / "weights")
    with pytest.raises(ValueError, match="must be built before load_weights"):
        Sequential([layers.Dense(1)]).load_weights(tmp_path / "weights")


@pytest.mark.wrong_input
def test_what_cannot_be_saved_is_named(tmp_path):
    with pytest.raises(ValueError, match="must be built before save"):
        Sequential([layers.Dense(1)]).save(tmp_path / "model")
    model = Sequential([layers.Input(shape=(2,)), layers.Dense(1)])

    def mine(y_true, y_pred):
        return (y_true - y_pred).abs().mean(-1)

    model.compile("sgd", mine)
    with pytest.raises(ValueError, match=r"loss 'mine' is a function of your own.*save_weights"):
        model.save(tmp_path / "model")
    model.compile("sgd", "mse", metrics=[mine])
    with pytest.raises(ValueError, match="metric 'mine' is a function of your own"):
        model.save(tmp_path / "model")

    class Mine(losses.Loss):
        def call(self, y_true, y_pred):
            return (y_true - y_pred).abs().mean(-1)

    model.compile("sgd", Mine())
    with pytest.raises(ValueError, match="Mine is a class of your own"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    model.save_weights(tmp_path / "weights")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save_weights(tmp_path / "weights", overwrite=False)
    with pytest.raises(FileNotFoundError):
        model.save_weights(tmp_path / "missing" / "weights")
