"""Training, held against Keras 3 on torch: losses, metrics, optimizers, `fit`, callbacks."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lmcourse.keras
from lmcourse.keras import callbacks, layers, losses, metrics, optimizers
from lmcourse.keras.layers.base import set_mask
from lmcourse.keras.models import Model, Sequential
from tests.keras_reference import build_both, keras

BATCH, TIME, CLASSES = 6, 5, 7
RNG = np.random.default_rng(5)
IDS = RNG.integers(1, CLASSES, (21, TIME))
IDS[np.arange(21)[:, None], np.arange(TIME)] *= np.arange(TIME) < RNG.integers(2, TIME + 1, (21, 1))


# Losses.


def _probabilities(shape):
    logits = RNG.normal(scale=3, size=shape)
    exps = np.exp(logits - logits.max(-1, keepdims=True))
    found = (exps / exps.sum(-1, keepdims=True)).astype(np.float32)
    found[0, 0] = 0
    found[0, 0, 1] = 1  # beyond the clip, on both sides
    return found


def _labels(loss, shape):
    if loss == "SparseCategoricalCrossentropy":
        return RNG.integers(0, shape[-1], shape[:-1])
    if loss == "CategoricalCrossentropy":
        return np.eye(shape[-1], dtype=np.float32)[RNG.integers(0, shape[-1], shape[:-1])]
    if loss == "BinaryCrossentropy":
        return RNG.integers(0, 2, shape)
    return RNG.normal(size=shape).astype(np.float32)


LOSS_OPTIONS = [
    ("MeanSquaredError", {}),
    ("MeanAbsoluteError", {}),
    ("BinaryCrossentropy", {}),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.2}),
    ("CategoricalCrossentropy", {}),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}),
    ("SparseCategoricalCrossentropy", {}),
    ("SparseCategoricalCrossentropy", {"from_logits": True, "ignore_class": 2}),
]
REDUCTIONS = ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("loss, options", LOSS_OPTIONS)
def test_losses_and_their_gradients_are_keras_s(loss, options, reduction):
    shape = (BATCH, TIME, CLASSES)
    y = _labels(loss, shape)
    prediction = RNG.normal(size=shape).astype(np.float32)
    if not options.get("from_logits"):
        prediction = _probabilities(shape)
    all_masked = np.zeros((BATCH, TIME), bool)
    masks = [None, RNG.random((BATCH, TIME)) < 0.6, all_masked]
    weights = [None, RNG.random((BATCH, TIME)).astype(np.float32), np.zeros((BATCH, TIME), "f4")]
    for mask, weight in itertools.product(masks, weights):
        found = []
        for library in (losses, keras.losses):
            tensor = torch.tensor(prediction, requires_grad=True)
            if mask is not None:
                tensor._keras_mask = torch.tensor(mask)
            made = getattr(library, loss)(reduction=reduction, **options)
            given_weight = None if weight is None else torch.tensor(weight)
            value = made(torch.tensor(y), tensor, sample_weight=given_weight)
            value.sum().backward()
            found += [value.detach().numpy(), tensor.grad.numpy()]
        ours, our_gradient, theirs, their_gradient = found
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(our_gradient, their_gradient, rtol=1e-5, atol=1e-6)


def test_labels_may_lack_or_have_a_last_axis_of_one():
    probabilities = RNG.random((BATCH, 1)).astype(np.float32)
    labels = RNG.integers(0, 2, BATCH)
    for y in (labels, labels[:, None]):
        ours = losses.BinaryCrossentropy()(y, probabilities)
        np.testing.assert_allclose(ours, keras.losses.BinaryCrossentropy()(y, probabilities).cpu())
        np.testing.assert_allclose(
            losses.MeanSquaredError()(y, probabilities),
            keras.losses.MeanSquaredError()(y, probabilities).cpu(),
        )


def test_a_weight_for_each_sample_weighs_all_its_steps():
    """Keras 3 multiplies (batch, time) by (batch,), which fails or, if equal, weighs the steps."""
    y, p = RNG.normal(size=(2, 4, 4, 3)).astype(np.float32)
    weight = RNG.random(4).astype(np.float32)
    ours = losses.MeanSquaredError()(y, p, sample_weight=weight)
    np.testing.assert_allclose(ours, (((y - p) ** 2).mean(-1) * weight[:, None]).mean(), rtol=1e-6)


def test_losses_have_keras_s_names():
    for name in ("mse", "MSE", "mae", "bce", "mean_squared_error", "CategoricalCrossentropy"):
        assert type(losses.get(name)).__name__ == _name_in_keras(keras.losses.get(name))
    assert losses.get(losses.mean_absolute_error).name == "mean_absolute_error"
    assert losses.get(losses.MeanSquaredError).name == "mean_squared_error"


def _name_in_keras(loss):
    name = getattr(loss, "__name__", type(loss).__name__)
    return "".join(part.capitalize() for part in name.split("_")) if "_" in name else name


# Metrics.


def _batches(kind, n_batches=3):
    for _ in range(n_batches):
        probabilities = _probabilities((BATCH, TIME, CLASSES))
        if kind == "sparse":
            yield RNG.integers(0, CLASSES, (BATCH, TIME)), probabilities
        elif kind == "one-hot":
            yield np.eye(CLASSES)[RNG.integers(0, CLASSES, (BATCH, TIME))], probabilities
        elif kind == "classes":
            yield RNG.integers(0, 2, (BATCH, CLASSES)).astype("f4"), probabilities[:, 0]
        elif kind == "one label":
            yield RNG.integers(0, 2, BATCH), probabilities[:, 1, :1]
        else:
            yield RNG.integers(0, 2, (BATCH, TIME, CLASSES)), probabilities


METRIC_OPTIONS = [
    ("SparseCategoricalAccuracy", {}, "sparse"),
    ("SparseCategoricalCrossentropy", {}, "sparse"),
    ("CategoricalAccuracy", {}, "one-hot"),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, "one-hot"),
    ("BinaryAccuracy", {}, "binary"),
    ("BinaryAccuracy", {"threshold": 0.1}, "one label"),
    ("BinaryCrossentropy", {"from_logits": True}, "binary"),
    ("MeanSquaredError", {}, "binary"),
    ("MeanAbsoluteError", {}, "one label"),
    ("Precision", {}, "classes"),
    ("Precision", {"thresholds": [0.1, 0.4, 0.8]}, "one label"),
    ("Recall", {"thresholds": 0.2}, "classes"),
    ("Recall", {"thresholds": [0.1, 0.4, 0.8]}, "classes"),
    ("AUC", {}, "classes"),
    ("AUC", {"num_thresholds": 11}, "one label"),
    ("AUC", {"curve": "PR"}, "classes"),
    ("AUC", {"curve": "PR", "num_thresholds": 7, "from_logits": True}, "one label"),
    ("F1Score", {}, "classes"),
    ("F1Score", {"average": "macro", "threshold": 0.3}, "classes"),
    ("F1Score", {"average": "micro", "threshold": 0.2}, "classes"),
    ("F1Score", {"average": "weighted"}, "classes"),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("metric, options, kind", METRIC_OPTIONS)
def test_metrics_are_keras_s(metric, options, kind, weighted):
    ours = getattr(metrics, metric)(**options)
    theirs = getattr(keras.metrics, metric)(**options)
    for _ in range(2):
        for y, prediction in _batches(kind):
            steps = kind in ("sparse", "one-hot", "binary")
            shape = (BATCH, TIME) if steps else (BATCH,)
            weight = RNG.random(shape).astype("f4") if weighted else None
            ours.update_state(y, prediction, sample_weight=weight)
            theirs.update_state(y, prediction, sample_weight=weight)
        expected = theirs.result().cpu().numpy()
        np.testing.assert_allclose(ours.result(), expected, rtol=1e-5, atol=1e-6)
        ours.reset_state()
        theirs.reset_state()
    np.testing.assert_allclose(ours.result(), np.zeros_like(ours.result()))
    again = type(ours).from_config(ours.get_config())
    assert again.get_config() == ours.get_config()


@pytest.mark.parametrize("weighted", [False, True])
def test_masked_predictions_do_not_count_in_metrics(weighted):
    ours, theirs = metrics.SparseCategoricalAccuracy(), keras.metrics.SparseCategoricalAccuracy()
    for y, prediction in _batches("sparse"):
        mask = RNG.random((BATCH, TIME)) < 0.6
        weight = RNG.random((BATCH, TIME)).astype("f4") if weighted else None
        for metric in (ours, theirs):
            tensor = torch.tensor(prediction)
            set_mask(tensor, torch.tensor(mask))
            metric.update_state(y, tensor, sample_weight=None if weight is None else weight.copy())
    np.testing.assert_allclose(ours.result(), theirs.result().cpu(), rtol=1e-6)


def test_accuracy_of_equal_probabilities_takes_the_first_class_as_keras_does():
    y, even = np.array([0, 1, 2]), np.full((3, 3), 1 / 3, np.float32)
    assert metrics.SparseCategoricalAccuracy()(y, even) == pytest.approx(1 / 3)


# Optimizers.


OPTIMIZER_OPTIONS = [
    ("SGD", {}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.7, "epsilon": 1e-3}),
    ("Adam", {"amsgrad": True, "beta_2": 0.5}),
    ("AdamW", {"weight_decay": 0.1, "learning_rate": 0.01}),
    ("RMSprop", {}),
    ("RMSprop", {"rho": 0.5, "momentum": 0.5, "centered": True, "epsilon": 1e-3}),
    ("Adagrad", {}),
    ("Adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.0, "epsilon": 1e-4}),
    ("SGD", {"clipnorm": 0.5}),
    ("SGD", {"clipvalue": 0.3}),
    ("SGD", {"global_clipnorm": 0.7}),
    ("SGD", {"global_clipnorm": 1e9}),
]


@pytest.mark.parametrize("name, options", OPTIMIZER_OPTIONS)
def test_optimizers_step_as_keras_s(name, options):
    ours, theirs = getattr(optimizers, name)(**options), getattr(keras.optimizers, name)(**options)
    start = [RNG.normal(size=(3, 2)).astype("f4"), RNG.normal(size=4).astype("f4")]
    weights = [torch.nn.Parameter(torch.tensor(array)) for array in start]
    variables = [keras.Variable(array) for array in start]
    ours.build(weights)
    # The smallest gradients are where it matters on which side of a root epsilon is.
    for i, size in enumerate([1e-6, 1e-4, 1.0, 3.0, 1e-7, 1e-2]):
        if i == 3:
            ours.learning_rate = theirs.learning_rate = 0.03
        gradients = [(size * RNG.normal(size=array.shape)).astype("f4") for array in start]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = torch.tensor(gradient)
        ours.step()
        theirs.apply([torch.tensor(gradient) for gradient in gradients], variables)
        for weight, variable in zip(weights, variables, strict=True):
            np.testing.assert_allclose(
                weight.detach(), variable.value.detach().cpu(), rtol=1e-5, atol=1e-7
            )
    assert type(ours).from_config(ours.get_config()).get_config() == ours.get_config()


def test_defaults_of_optimizers_are_keras_s():
    for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad"):
        theirs = getattr(keras.optimizers, name)().get_config()
        for key, value in getattr(optimizers, name)().get_config().items():
            assert theirs[key] == pytest.approx(value), (name, key)


def test_a_weight_without_a_gradient_stays():
    used, unused = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = optimizers.Adam(weight_decay=0.1)
    optimizer.build([used, unused])
    used.grad = torch.ones(2)
    optimizer.step()
    assert (used < 1).all() and (unused == 1).all()


# fit, evaluate, predict.


def _sequence_model(library, *, mask, classes, activation, steps):
    return library.models.Sequential(
        [
            library.layers.Input(shape=(TIME,)),
            library.layers.Embedding(CLASSES, 4, mask_zero=mask),
            library.layers.LSTM(5, return_sequences=steps),
            library.layers.Dense(classes, activation=activation),
        ]
    )


def _targets(loss, steps):
    if loss == "sparse_categorical_crossentropy":
        return IDS if steps else IDS[:, 0], CLASSES, "softmax"
    if loss == "categorical_crossentropy":
        return np.eye(CLASSES)[IDS if steps else IDS[:, 0]], CLASSES, "softmax"
    if loss == "binary_crossentropy":
        return (IDS % 2)[..., None] if steps else IDS[:, 0] % 2, 1, "sigmoid"
    shape = (len(IDS), TIME, 2) if steps else (len(IDS), 2)
    return np.random.default_rng(1).normal(size=shape), 2, None


def _assert_same_history(ours, theirs, atol=1e-6):
    assert list(ours) == list(theirs)
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=atol, err_msg=name)


GRID = [
    (loss, steps, mask, weighted)
    for loss in (
        "sparse_categorical_crossentropy",
        "categorical_crossentropy",
        "binary_crossentropy",
        "mse",
        "mae",
    )
    for steps in (False, True)
    for mask in (False, True)
    for weighted in (False, True)
]


@pytest.mark.parametrize("i, case", list(enumerate(GRID)))
def test_three_epochs_give_keras_s_history(i, case):
    loss, steps, mask, weighted = case
    optimizer = ("sgd", "adam", "rmsprop", "adagrad")[(i + i // 4) % 4]
    y, classes, activation = _targets(loss, steps)
    weight = RNG.random(IDS.shape if steps else len(IDS)) if weighted else None
    models = build_both(
        lambda library: _sequence_model(
            library, mask=mask, classes=classes, activation=activation, steps=steps
        )
    )
    found = []
    for model in models:
        model.compile(
            optimizer,
            loss,
            metrics=["accuracy", "mae"] if loss[0] != "s" else ["acc"],
            # With a mask and weights for each step, Keras on torch changes the weights in place.
            weighted_metrics=None if mask and weighted and steps else ["accuracy"],
        )
        history = model.fit(
            IDS,
            y,
            batch_size=8,
            epochs=3,
            shuffle=False,
            verbose=0,
            sample_weight=weight,
            validation_split=0.2,
        )
        found.append(history.history)
    _assert_same_history(*found)


@pytest.mark.parametrize(
    "options",
    [
        {"validation_data": (IDS[:5], IDS[:5, 0])},
        {"validation_data": (IDS[:5], IDS[:5, 0], RNG.random(5)), "validation_batch_size": 2},
        {"class_weight": {0: 2.0, 3: 0.5}, "validation_split": 0.3},
        {"batch_size": 100},
        {"initial_epoch": 2},
    ],
)
def test_options_of_fit_are_keras_s(options):
    models = build_both(
        lambda library: _sequence_model(
            library, mask=True, classes=CLASSES, activation="softmax", steps=False
        )
    )
    found = []
    for model in models:
        model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
        fitted = model.fit(IDS, IDS[:, 0], epochs=3, shuffle=False, verbose=0, **options)
        assert model.history is fitted
        found.append(fitted)
    ours, theirs = found
    _assert_same_history(ours.history, theirs.history)
    assert ours.epoch == theirs.epoch
    assert ours.params == theirs.params


def _two_outputs(library, structure=list):
    a, b = (library.layers.Input(shape=(n,), name=name) for n, name in ((5, "a"), (3, "b")))
    p = library.layers.Dense(2, activation="softmax", name="p")(a)
    q = library.layers.Dense(1, name="q")(library.layers.Concatenate()([a, b]))
    outputs = {"p": p, "q": q} if structure is dict else [p, q]
    return library.models.Model([a, b], outputs)


A, B = RNG.normal(size=(10, 5)), RNG.normal(size=(10, 3))
P, Q = RNG.integers(0, 2, 10), RNG.normal(size=(10, 1))
SPARSE = "sparse_categorical_crossentropy"


@pytest.mark.parametrize(
    "compiled, y, fitted",
    [
        ({"loss": [SPARSE, "mse"], "metrics": [["accuracy"], ["mae", "mse"]]}, [P, Q], {}),
        (
            {
                "loss": {"p": SPARSE, "q": "mse"},
                "loss_weights": {"p": 1.0, "q": 0.3},
                "metrics": {"q": ["mae"]},
                "weighted_metrics": {"p": "accuracy", "q": "mae"},
            },
            [P, Q],
            {"sample_weight": np.arange(10.0)},
        ),
        (
            {"loss": [SPARSE, "mse"], "loss_weights": [2.0, 0.5], "metrics": ["acc", None]},
            [P, Q],
            {"sample_weight": [np.arange(10.0), np.ones(10)]},
        ),
        ({"loss": [None, "mse"], "metrics": [None, "mse"]}, [P, Q], {}),
        ({"loss": [None, "mse"]}, [Q], {}),
        ({"loss": "mse"}, [np.eye(2)[P], Q], {}),
        ({"loss": ["mse", "mse"], "loss_weights": [1.0, 0.2]}, (np.eye(2)[P], Q), {}),
    ],
)
def test_several_inputs_and_outputs_are_trained_as_in_keras(compiled, y, fitted):
    found = []
    for model in build_both(_two_outputs):
        model.compile("sgd", **compiled)
        history = model.fit(
            [A, B], y, epochs=3, batch_size=4, shuffle=False, verbose=0, **fitted
        ).history
        by_name = model.evaluate({"a": A, "b": B}, y, verbose=0, return_dict=True)
        found.append((history, by_name, model.evaluate([A, B], y, verbose=0)))
    _assert_same_history(found[0][0], found[1][0])
    assert list(found[0][1]) == list(found[1][1])
    np.testing.assert_allclose(found[0][2], found[1][2], rtol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_states_beside_the_trained_output_need_no_targets(weighted):
    def build(library):
        layers = library.layers
        ids = layers.Input(shape=(None,))
        lstm = layers.LSTM(4, return_sequences=True, return_state=True)
        states, h, c = lstm(layers.Embedding(CLASSES, 3)(ids))
        return library.models.Model(
            ids, [layers.Dense(CLASSES, activation="softmax")(states), h, c]
        )

    weight = RNG.random(IDS.shape) if weighted else None
    found = []
    for model in build_both(build):
        model.compile("adam", [SPARSE, None, None])
        options = {"epochs": 2, "batch_size": 8, "shuffle": False, "verbose": 0}
        found.append(model.fit(IDS, IDS, sample_weight=weight, **options).history)
    _assert_same_history(*found)


def test_outputs_in_a_dict_come_back_in_one():
    ours, theirs = build_both(lambda library: _two_outputs(library, dict))
    loss = {"p": SPARSE, "q": "mse"}
    found = []
    for model in (ours, theirs):
        model.compile("adam", loss, metrics={"p": ["accuracy"]})
        options = {"epochs": 2, "batch_size": 4, "shuffle": False, "verbose": 0}
        found.append(model.fit([A, B], {"p": P, "q": Q}, **options).history)
    _assert_same_history(*found)
    predicted, expected = (
        model.predict([A, B], batch_size=3, verbose=0) for model in (ours, theirs)
    )
    assert predicted.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(predicted[name], expected[name], rtol=1e-4, atol=1e-6)


def _dense(library=lmcourse.keras, **options):
    return library.models.Sequential(
        [library.layers.Input(shape=(3,)), library.layers.Dense(1, activation="sigmoid", **options)]
    )


X = RNG.normal(size=(10, 3))
Y = (X[:, 0] > 0).astype(int)


def test_single_batches_and_predictions_are_keras_s():
    found = []
    for model in build_both(_dense):
        model.compile(
            "adam", "binary_crossentropy", metrics=["accuracy", "AUC", "Precision", "Recall"]
        )
        found.append(
            [
                *model.train_on_batch(X, Y, class_weight={0: 1.0, 1: 3.0}),
                *model.train_on_batch(X[:4], Y[:4], sample_weight=np.arange(4.0)),
                *model.test_on_batch(X[:7], Y[:7]),
                *model.predict(X, batch_size=3, verbose=0).ravel(),
                *model.predict_on_batch(X).ravel(),
                *model.evaluate(X, Y, batch_size=3, verbose=0, sample_weight=np.arange(10.0)),
            ]
        )
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_one_hot_labels_have_class_weights_too():
    def build(library):
        dense = library.layers.Dense(3, activation="softmax")
        return library.models.Sequential([library.layers.Input(shape=(3,)), dense])

    found = []
    for model in build_both(build):
        model.compile("sgd", "categorical_crossentropy")
        found.append(model.train_on_batch(X, np.eye(3)[Y * 2], class_weight={0: 0.3, 2: 5.0}))
    assert found[0] == pytest.approx(float(found[1]), rel=1e-5)


def test_without_metrics_evaluate_returns_the_loss_alone():
    model = _dense()
    model.compile(loss="binary_crossentropy")
    assert isinstance(model.evaluate(X, Y, verbose=0), float)
    assert model.evaluate(X, Y, verbose=0, return_dict=True).keys() == {"loss"}
    assert isinstance(model.train_on_batch(X, Y), float)


def test_tensors_float64_and_small_integers_do_as_well():
    model = _dense()
    model.compile("sgd", "binary_crossentropy")
    expected = model.evaluate(X.astype("f4"), Y, verbose=0)
    for x, y in [
        (torch.tensor(X), torch.tensor(Y)),
        (X, Y.astype(bool)),
        ([X], [Y.astype("u1")]),
        (X.astype(">f8"), Y[:, None]),
    ]:
        assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-6)


def test_functions_of_your_own_are_losses_and_metrics():
    def distance(y_true, y_pred):
        return (y_true - y_pred).abs().mean(-1)

    found = []
    for model in build_both(_dense):
        model.compile("sgd", distance, metrics=[distance])
        found.append(model.fit(X, Y, epochs=2, shuffle=False, verbose=0).history)
    _assert_same_history(*found)


def test_shuffling_visits_every_sample_once_an_epoch_and_follows_torch_s_seed():
    seen = []

    class Watch(layers.Layer):
        def call(self, inputs):
            seen.append(inputs[:, 0].tolist())
            return inputs

    model = Sequential([layers.Input(shape=(1,)), Watch(), layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.arange(10.0)[:, None]

    def order(**options):
        seen.clear()
        torch.manual_seed(3)
        model.fit(x, x, batch_size=4, epochs=2, verbose=0, **options)
        return [value for batch in seen for value in batch]

    assert order(shuffle=False) == [*range(10), *range(10)]
    mixed = order()
    assert sorted(mixed[:10]) == sorted(mixed[10:]) == list(range(10))
    assert mixed[:10] != mixed[10:]
    assert mixed == order()


def test_training_is_training_only_in_fit():
    found = []

    class Watch(layers.Layer):
        def call(self, inputs, training=None):
            found.append(training)
            return inputs

    model = Sequential([layers.Input(shape=(3,)), Watch(), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0, validation_data=(X, Y))
    model.evaluate(X, Y, verbose=0)
    model.predict(X, verbose=0)
    model(X)
    assert found == [True, False, False, False, False]


def test_an_interrupted_training_leaves_no_dropout_behind():
    class Interrupt(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model = Sequential([layers.Input(shape=(3,)), layers.Dropout(0.9)])
    model.compile("sgd", "mse")
    model.add(layers.Dense(3))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, X, verbose=0, callbacks=[Interrupt()])
    assert not model.layers[0].training
    np.testing.assert_array_equal(model(X).detach(), model(X).detach())


def test_inputs_in_a_list_of_one_build_a_model():
    model = Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit([X], [Y], verbose=0)
    assert model.predict([X], verbose=0).shape == (10, 1)


def test_frozen_layers_stay():
    model = Sequential([layers.Input(shape=(3,)), layers.Dense(2, name="frozen"), layers.Dense(1)])
    model.layers[0].trainable = False
    before = [array.copy() for array in model.get_weights()]
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0)
    after = model.get_weights()
    np.testing.assert_array_equal(before[0], after[0])
    assert not np.array_equal(before[2], after[2])
    model.layers[0].trainable = True
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0)
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_the_learning_rate_may_change_between_epochs():
    found = []
    for library, model in zip((lmcourse.keras, keras), build_both(_dense), strict=True):
        model.compile("adam", "binary_crossentropy")

        def slower(epoch, logs=None, model=model):
            model.optimizer.learning_rate = 0.1 / (epoch + 1)

        follow = library.callbacks.LambdaCallback(on_epoch_begin=slower)
        found.append(
            model.fit(X, Y, epochs=3, shuffle=False, verbose=0, callbacks=[follow]).history
        )
    _assert_same_history(*found)


def test_stateful_layers_carry_their_state_over_batches_and_calls():
    def build(library):
        return library.models.Sequential(
            [
                library.layers.Input(batch_shape=(4, TIME)),
                library.layers.Embedding(CLASSES, 3),
                library.layers.LSTM(4, stateful=True),
                library.layers.Dense(CLASSES, activation="softmax"),
            ]
        )

    ours, theirs = build_both(build)
    for model in (ours, theirs):
        model.compile("adam", SPARSE)
    for _ in range(2):
        found, expected = (
            model.evaluate(IDS[:20], IDS[:20, 0], batch_size=4, verbose=0)
            for model in (ours, theirs)
        )
        assert found == pytest.approx(expected, rel=1e-5)
    ours.fit(IDS[:20], IDS[:20, 0], batch_size=4, epochs=2, verbose=0)  # torch's Keras cannot


# Callbacks.


def _recorder(library):
    class Recorder(library.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.calls = []

    def record(name):
        def method(self, *when, logs=None):
            if when and isinstance(when[-1], dict):
                *when, logs = when
            self.calls.append((name, *when, sorted(logs or {})))

        return method

    for when in ("train", "test", "predict", "epoch", "train_batch", "test_batch", "predict_batch"):
        for end in ("begin", "end"):
            setattr(Recorder, f"on_{when}_{end}", record(f"on_{when}_{end}"))
    return Recorder()


def test_callbacks_are_called_when_keras_calls_them():
    calls = []
    for library, model in zip((lmcourse.keras, keras), build_both(_dense), strict=True):
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
        recorder = _recorder(library)
        options = {"batch_size": 4, "verbose": 0, "callbacks": [recorder]}
        model.fit(X, Y, epochs=2, validation_split=0.3, validation_batch_size=2, **options)
        model.evaluate(X, Y, **options)
        model.predict(X, **options)
        calls.append(recorder.calls)
    assert calls[0] == calls[1]


def test_a_callback_can_stop_training_within_an_epoch():
    model = _dense()
    model.compile("sgd", "binary_crossentropy")

    def stop(batch, logs):
        assert logs.keys() == {"loss"}
        model.stop_training = batch == 1

    watch = callbacks.LambdaCallback(on_train_batch_end=stop)
    history = model.fit(X, Y, batch_size=2, epochs=3, verbose=0, callbacks=watch)
    assert history.epoch == [0] and model.optimizer.iterations == 2
    assert model.fit(X, Y, epochs=2, verbose=0).epoch == [0, 1]


class _FakeModel:
    """Weights that tell the epoch; what a callback asks of a model."""

    def __init__(self):
        self.stop_training = False
        self.weights = None
        self.saved = []
        self.metrics = []

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights

    def direction_of(self, name):
        return "down" if name == "loss" else None

    def save(self, path, overwrite=True):
        self.saved.append(str(path))

    save_weights = save


@settings(max_examples=60)
@given(
    values=st.lists(st.sampled_from([0.5, 0.8, 0.9, 1.0, 1.1, 1.3, float("nan")]), max_size=9),
    mode=st.sampled_from(["auto", "min", "max"]),
    min_delta=st.sampled_from([0.0, 0.15, -0.15]),
    patience=st.integers(0, 3),
    baseline=st.sampled_from([None, 0.85, 1.05]),
    restore=st.booleans(),
    start=st.integers(0, 2),
)
def test_early_stopping_stops_where_keras_stops(
    values, mode, min_delta, patience, baseline, restore, start
):
    results = []
    for library in (lmcourse.keras, keras):
        callback = library.callbacks.EarlyStopping(
            mode=mode,
            min_delta=min_delta,
            patience=patience,
            baseline=baseline,
            restore_best_weights=restore,
            start_from_epoch=start,
        )
        model = _FakeModel()
        callback.set_model(model)
        for _ in range(2):  # it may be used again
            model.stop_training = False
            callback.on_train_begin()
            for epoch, value in enumerate(values):
                model.weights = epoch
                callback.on_epoch_end(epoch, {"val_loss": value})
                if model.stop_training:
                    break
            callback.on_train_end()
            results.append((model.weights, callback.stopped_epoch, callback.best_epoch))
    assert results[:2] == results[2:]


@settings(max_examples=40)
@given(
    values=st.lists(st.sampled_from([0.5, 0.8, 1.0, 1.3, float("nan")]), max_size=7),
    mode=st.sampled_from(["auto", "min", "max"]),
    best_only=st.booleans(),
    weights_only=st.booleans(),
    threshold=st.sampled_from([None, 0.9]),
)
def test_checkpoints_are_written_where_keras_writes_them(
    values, mode, best_only, weights_only, threshold
):
    saved = []
    for library in (lmcourse.keras, keras):
        callback = library.callbacks.ModelCheckpoint(
            "epoch{epoch:02d}-{val_loss:.1f}" + (".weights.h5" if weights_only else ".keras"),
            mode=mode,
            save_best_only=best_only,
            save_weights_only=weights_only,
            initial_value_threshold=threshold,
        )
        model = _FakeModel()
        callback.set_model(model)
        for epoch, value in enumerate(values):
            callback.on_epoch_end(epoch, {"val_loss": value})
        saved.append(model.saved)
    assert saved[0] == saved[1]


@pytest.mark.parametrize("monitor, up", [("accuracy", True), ("val_AUC", True), ("loss", False)])
def test_the_direction_of_a_metric_is_known(monitor, up):
    model = _dense()
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy", "AUC", "mae"])
    model.fit(X, Y, verbose=0, validation_data=(X, Y))
    assert model.direction_of(monitor.removeprefix("val_")) == ("up" if up else "down")
    assert model.direction_of("mae") == "down"
    assert model.direction_of("mea") is None


def test_early_stopping_and_a_checkpoint_within_fit(tmp_path):
    model = _dense()
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    stop = callbacks.EarlyStopping(monitor="loss", mode="max", restore_best_weights=True)
    keep = callbacks.ModelCheckpoint(
        tmp_path / "new" / "best", monitor="loss", save_best_only=True, save_weights_only=True
    )
    history = model.fit(X, Y, epochs=5, verbose=0, callbacks=[stop, keep])
    assert history.epoch == [0, 1] and stop.stopped_epoch == 1  # the loss falls, which mode forbids
    restored = model.get_weights()
    model.load_weights(tmp_path / "new" / "best")  # the second epoch, the last
    assert not np.array_equal(restored[0], model.get_weights()[0])


# What is printed.


def test_one_line_an_epoch_without_times(capsys):
    model = _dense()
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(X, Y, epochs=2, verbose=2, validation_data=(X, Y)).history
    model.evaluate(X, Y, verbose=2)
    model.predict(X, verbose=2)
    printed = capsys.readouterr().out.splitlines()
    assert printed[1] == (
        f"Epoch 2/2 - loss: {history['loss'][1]:.4f} - accuracy: {history['accuracy'][1]:.4f}"
        f" - val_loss: {history['val_loss'][1]:.4f}"
        f" - val_accuracy: {history['val_accuracy'][1]:.4f}"
    )
    assert printed[2] == (
        f"loss: {history['val_loss'][1]:.4f} - accuracy: {history['val_accuracy'][1]:.4f}"
    )
    assert len(printed) == 3


@pytest.mark.parametrize("verbose", [0, 1, "auto"])
def test_a_bar_goes_to_standard_error(verbose, capsys):
    model = _dense()
    model.compile("sgd", "binary_crossentropy")
    model.fit(X, Y, epochs=2, batch_size=5, verbose=verbose)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("Epoch 2/2" in err and "2/2" in err and "loss: " in err) == (verbose != 0)


# Wrong input.


def _compiled(loss="binary_crossentropy", model=None, **options):
    model = model or _dense()
    model.compile("sgd", loss, **options)
    return model


def _next_word(steps, loss=SPARSE):
    model = _sequence_model(
        lmcourse.keras, mask=False, classes=CLASSES, activation="softmax", steps=steps
    )
    return _compiled(loss, model)


def _fit(model, x, y, **options):
    return lambda: model.fit(x, y, verbose=0, **options)


NAN = X.copy()
NAN[2, 1] = np.nan

WRONG = {
    "not compiled": (
        _fit(_dense(name="d"), X, Y),
        ValueError,
        r"must be compiled before fit: call compile",
    ),
    "no loss": (_fit(_compiled(None), X, Y), ValueError, "fit must have a loss"),
    "loss's name": (
        lambda: _compiled("sparse_categorical_crossentrpy"),
        ValueError,
        "unknown loss 'sparse_categorical_crossentrpy': did you mean "
        "'sparse_categorical_crossentropy'",
    ),
    "optimizer's name": (
        lambda: _dense().compile("adm"),
        ValueError,
        "unknown optimizer 'adm': did you mean 'adam'",
    ),
    "metric's name": (
        lambda: _compiled(metrics=["acuracy"]),
        ValueError,
        "unknown metric 'acuracy': did you mean .*accuracy",
    ),
    "metrics not in a list": (
        lambda: _compiled(metrics="accuracy"),
        TypeError,
        r"metrics must be a list, as in metrics=\['accuracy'\]",
    ),
    "one-hot labels": (
        _fit(_next_word(False), IDS, np.eye(CLASSES)[IDS[:, 0]]),
        ValueError,
        r"must get y of shape \(21,\) .* got shape \(21, 7\): one-hot labels go with",
    ),
    "one-hot labels at every step": (
        _fit(_next_word(True), IDS, np.eye(CLASSES)[IDS]),
        ValueError,
        "one-hot labels go with categorical_crossentropy",
    ),
    "classes for one-hot labels": (
        _fit(_next_word(False, "categorical_crossentropy"), IDS, IDS[:, 0]),
        ValueError,
        r"got shape \(21,\): labels given as classes go with sparse_categorical_crossentropy",
    ),
    "targets for steps, one prediction": (
        _fit(_next_word(False), IDS, IDS),
        ValueError,
        "return_sequences=True",
    ),
    "one target, predictions for steps": (
        _fit(_next_word(True), IDS, IDS[:, 0]),
        ValueError,
        "return_sequences=False",
    ),
    "a label too large": (
        _fit(_next_word(True), IDS, IDS + 1),
        ValueError,
        r"y must be classes in \[0, 7\).* got 7 at y\[\d+, \d+\]",
    ),
    "a negative label": (
        _fit(_next_word(False), IDS, np.full(21, -100)),
        ValueError,
        r"got -100 at y\[0\]",
    ),
    "half a label": (
        _fit(_next_word(False), IDS, np.full(21, 0.5)),
        ValueError,
        r"got 0.5 at y\[0\]",
    ),
    "two labels for one output": (
        _fit(_compiled(), X, np.eye(2)[Y]),
        ValueError,
        r"must get y of shape \(10, 1\) .* got shape \(10, 2\): with one output",
    ),
    "numbers of samples": (
        _fit(_compiled(), X, Y[:7]),
        ValueError,
        "equally many samples, got x: 10, y: 7",
    ),
    "shape of targets": (
        _fit(_compiled("mse"), X, X),
        ValueError,
        r"mean_squared_error must get y of shape \(10, 1\)",
    ),
    "rank of x": (_fit(_compiled(), X[:, 0], Y), ValueError, r"shape \(None, 3\)"),
    "features of x": (_fit(_compiled(), X[:, :2], Y), ValueError, r"shape \(None, 3\)"),
    "nan": (_fit(_compiled(), NAN, Y), ValueError, r"x must be finite, got nan at x\[2, 1\]"),
    "infinite weight": (
        _fit(_compiled(), X, Y, sample_weight=np.full(10, np.inf)),
        ValueError,
        "sample_weight must be finite",
    ),
    "x is a list": (_fit(_compiled(), X.tolist(), Y), TypeError, "np.array turns numbers into one"),
    "x is ragged": (
        _fit(_compiled(), np.array([[1], [1, 2]], dtype=object), Y),
        TypeError,
        "need pad_sequences",
    ),
    "x is text": (_fit(_compiled(), np.array(["a", "b"]), Y), TypeError, "need a Tokenizer"),
    "no y": (_fit(_compiled(), X, None), ValueError, "y must hold targets"),
    "no samples": (_fit(_compiled(), X[:0], Y[:0]), ValueError, r"x must hold samples, got shape"),
    "batch_size": (
        _fit(_compiled(), X, Y, batch_size=0),
        ValueError,
        "batch_size must be an integer >= 1, got 0",
    ),
    "epochs": (_fit(_compiled(), X, Y, epochs=1.5), TypeError, "epochs must be an integer"),
    "verbose": (
        lambda: _compiled().fit(X, Y, verbose=3),
        ValueError,
        "verbose must be 0, 1, 2 or 'auto', got 3",
    ),
    "validation_split": (
        _fit(_compiled(), X, Y, validation_split=1.0),
        ValueError,
        r"validation_split must be .* < ?1",
    ),
    "validation_split too small": (
        _fit(_compiled(), X, Y, validation_split=0.95),
        ValueError,
        "validation_split=0.95 of 10 samples leaves 0 for training",
    ),
    "validation_data": (
        _fit(_compiled(), X, Y, validation_data=X),
        ValueError,
        r"validation_data must be \(x, y\) or \(x, y, sample_weight\)",
    ),
    "shape of weights": (
        _fit(_compiled(), X, Y, sample_weight=np.ones((10, 3))),
        ValueError,
        "sample_weight must have shape",
    ),
    "both weights": (
        _fit(_compiled(), X, Y, sample_weight=np.ones(10), class_weight={0: 1.0}),
        ValueError,
        "only one of class_weight and sample_weight",
    ),
    "class_weight": (
        _fit(_compiled(), X, Y, class_weight=[1.0, 2.0]),
        TypeError,
        "class_weight must map classes to weights",
    ),
    "class_weight of steps": (
        _fit(_next_word(True), IDS, IDS, class_weight={0: 2.0}),
        ValueError,
        "class_weight must go with one label for each sample",
    ),
    "a callback's class": (
        _fit(_compiled(), X, Y, callbacks=[callbacks.EarlyStopping]),
        TypeError,
        "make one of it",
    ),
    "LambdaCallback": (
        lambda: callbacks.LambdaCallback(on_epoch_stop=print),
        TypeError,
        "got on_epoch_stop",
    ),
    "checkpoint's name": (
        _fit(_compiled(), X, Y, callbacks=[callbacks.ModelCheckpoint("{val_los}")]),
        KeyError,
        "there are: epoch, loss",
    ),
    "unknown direction": (
        _fit(_compiled(), X, Y, callbacks=[callbacks.EarlyStopping("mystery")]),
        ValueError,
        "mystery",
    ),
    "watching a misspelt name": (
        _fit(_compiled(), X, Y, callbacks=[callbacks.EarlyStopping("acuracy")]),
        ValueError,
        "pass mode='max' or mode='min', or one of loss",
    ),
    "a metric without targets": (
        _fit(
            _compiled([None, "mse"], _two_outputs(lmcourse.keras), metrics=["accuracy", None]),
            [A, B],
            [Q],
        ),
        ValueError,
        "y must hold targets for 'p', which has a loss or a metric",
    ),
    "y of fewer axes than a masked prediction": (
        _fit(
            _compiled(
                "binary_crossentropy",
                _sequence_model(
                    lmcourse.keras, mask=True, classes=1, activation="sigmoid", steps=True
                ),
            ),
            IDS,
            IDS % 2,
        ),
        ValueError,
        r"mask of the predictions has shape \(21, 5\).*as y\[..., None\]",
    ),
    "reduction": (
        lambda: losses.MeanSquaredError(reduction="average"),
        ValueError,
        "reduction must be one of",
    ),
    "unreduced loss": (
        _fit(_compiled(losses.MeanSquaredError(reduction="none")), X, Y),
        ValueError,
        "its reduction must not be 'none'",
    ),
    "two ways to clip": (
        lambda: optimizers.Adam(clipnorm=1.0, clipvalue=1.0),
        ValueError,
        "only one of clipnorm",
    ),
    "learning_rate": (
        lambda: optimizers.SGD(learning_rate=-1.0),
        ValueError,
        "learning_rate must be a finite number >= 0",
    ),
    "one y for two outputs": (
        _fit(_compiled("mse", _two_outputs(lmcourse.keras)), [A, B], Q),
        ValueError,
        r"y must be a list or a dict with one entry for each of the 2 outputs \(p, q\)",
    ),
    "an output's name": (
        _fit(_compiled("mse", _two_outputs(lmcourse.keras)), [A, B], {"p": P, "r": Q}),
        ValueError,
        "y must have the outputs' names p, q, got 'r'",
    ),
    "a loss is missing": (
        lambda: _compiled({"p": SPARSE}, _two_outputs(lmcourse.keras)),
        ValueError,
        "missing: q",
    ),
    "too many metrics": (
        lambda: _compiled("mse", _two_outputs(lmcourse.keras), metrics=["mae"]),
        ValueError,
        "metrics must hold one entry for each of the 2 outputs",
    ),
    "weights for steps of two outputs": (
        _fit(
            _compiled("mse", _two_outputs(lmcourse.keras)),
            [A, B],
            [np.eye(2)[P], Q],
            sample_weight=np.ones((10, 2)),
        ),
        ValueError,
        "give a list, one for each",
    ),
}


@pytest.mark.wrong_input
@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_is_named(what):
    call, error, message = WRONG[what]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(error, match=message):
            call()


def test_a_fixed_batch_is_the_batch_size():
    """As in Keras: four samples at a time, without being told."""
    model = Sequential([layers.Input(batch_shape=(4, 3)), layers.Dense(2)])
    model.compile("sgd", "mse")
    x = np.ones((8, 3), np.float32)
    assert model.fit(x, x[:, :2], verbose=0).params["steps"] == 2
    assert model.predict(x, verbose=0).shape == (8, 2)


@pytest.mark.wrong_input
def test_a_stateful_model_says_how_many_samples_it_takes():
    model = Sequential(
        [
            layers.Input(batch_shape=(4, TIME)),
            layers.Embedding(CLASSES, 2),
            layers.LSTM(3, stateful=True),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile("sgd", SPARSE)
    for n, batch_size in ((20, 5), (21, 4), (21, None)):
        with pytest.raises(ValueError, match="takes 4 samples at a time: pass batch_size=4"):
            model.fit(IDS[:n], IDS[:n, 0], batch_size=batch_size, verbose=0)


@pytest.mark.wrong_input
def test_an_optimizer_serves_one_set_of_weights():
    optimizer = optimizers.Adam()
    first, second = _dense(), _dense()
    first.compile(optimizer, "mse")
    first.fit(X, Y, verbose=0)
    second.compile(optimizer, "mse")
    with pytest.raises(ValueError, match="built for other weights"):
        second.fit(X, Y, verbose=0)


@pytest.mark.wrong_input
def test_watching_what_is_not_there_warns():
    model = _compiled()
    with pytest.warns(UserWarning, match="watches 'val_loss', which is not there; there are: loss"):
        model.fit(X, Y, verbose=0, callbacks=[callbacks.EarlyStopping()])


@pytest.mark.wrong_input
def test_a_label_out_of_range_is_named_by_the_loss_alone():
    with pytest.raises(ValueError, match=r"got 5 at y_true\[1\]"):
        losses.sparse_categorical_crossentropy(np.array([0, 5]), np.full((2, 3), 1 / 3, "f4"))


def test_models_learn():
    """Not a comparison: the network of program (c) in small must solve an easy task."""
    model = Model(*_parity())
    model.compile(optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
    generator = np.random.default_rng(0)
    x = generator.integers(1, 4, (200, 6))
    y = (x == 2).any(1).astype(int)
    torch.manual_seed(0)
    history = model.fit(x, y, epochs=15, verbose=0, validation_split=0.25).history
    assert history["val_accuracy"][-1] > 0.9


def _parity():
    ids = layers.Input(shape=(None,))
    states = layers.LSTM(12)(layers.Embedding(4, 6)(ids))
    return ids, layers.Dense(1, activation="sigmoid")(states)
