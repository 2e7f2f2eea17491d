"""Models of several layers against Keras 3's: graphs, their order of weights, configurations."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import lmcourse.keras
from lmcourse.keras.layers.base import get_mask
from tests.keras_reference import build_both, get_keras_mask, keras, quiet

pytestmark = quiet

WORDS, BATCH, TIME = 11, 3, 5


def ids(seed: int, *, time: int = TIME, padded: bool = True) -> np.ndarray:
    generator = np.random.default_rng(seed)
    found = generator.integers(1, WORDS, size=(BATCH, time))
    if padded:
        found[0, -2:] = 0  # padding behind
        found[1, :1] = 0  # and before
    return found


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def explicit_mask(k: Any, embedding: Any, sequence: Any) -> dict[str, Any]:
    """Return what Keras needs for the mask to reach a layer that is also given a state.

    There, Keras 3 passes no mask on, and reads the padding as if it were words; ours does pass it.
    """
    return {} if k is lmcourse.keras else {"mask": embedding.compute_mask(sequence)}


def language_model(k):
    """The sequence's probabilities and the state after it, from a given state."""
    inputs = k.Input(shape=(None,), name="ids")
    start = [k.Input(shape=(6,), name=name) for name in ("h", "c")]
    embedding = k.layers.Embedding(WORDS, 4, mask_zero=True)
    lstm = k.layers.LSTM(6, return_sequences=True, return_state=True)
    mask = explicit_mask(k, embedding, inputs)
    sequence, h, c = lstm(embedding(inputs), initial_state=start, **mask)
    probabilities = k.layers.Dense(WORDS, activation="softmax")(sequence)
    return k.Model([inputs, *start], [probabilities, h, c])


def encoder_decoder(k):
    """Two sequences, one embedding, and a state that goes from one reader to the other."""
    source, target = k.Input(shape=(None,)), k.Input(shape=(None,))
    embedding = k.layers.Embedding(WORDS, 4, mask_zero=True)
    _, state = k.layers.GRU(5, return_state=True)(embedding(source))
    mask = explicit_mask(k, embedding, target)
    reader = k.layers.GRU(5, return_sequences=True)
    read = reader(embedding(target), initial_state=state, **mask)
    return k.Model([source, target], k.layers.Dense(WORDS)(read))


def siamese(k):
    """One reader for two sequences."""
    pair = [k.Input(shape=(TIME,)) for _ in range(2)]
    reader = k.Sequential([k.layers.Embedding(WORDS, 4), k.layers.LSTM(3)])
    joined = k.layers.Concatenate()([reader(one) for one in pair])
    return k.Model(inputs=pair, outputs=k.layers.Dense(1, activation="sigmoid")(joined))


def branches(k):
    """Branches of different depth, in the order that looks at depth and not at creation."""
    x = k.Input(shape=(TIME, 3))
    short = k.layers.SimpleRNN(2, name="short")(x)
    long = k.layers.Dense(4, name="long_1")(x)
    long = k.layers.LSTM(4, return_sequences=True, name="long_2")(long)
    long = k.layers.GRU(2, name="long_3")(long)
    both = k.layers.Concatenate(name="both")([long, short])
    first = k.layers.Dense(3, name="first")(both)
    return k.Model(x, [k.layers.Dense(2, name="second")(first), first, short])


def nested(k):
    """A model in a model in a model."""
    x = k.Input(shape=(TIME, 3))
    inner = k.Model(x, k.layers.Dense(4, activation="tanh")(k.layers.LSTM(4)(x)))
    middle = k.Sequential([k.Input(shape=(TIME, 3)), inner, k.layers.Dense(2)])
    y = k.Input(shape=(TIME, 3))
    return k.Model(y, k.layers.Dense(1)(middle(y)))


def bidirectional_stack(k):
    return k.Sequential(
        [
            k.Input(shape=(None,)),
            k.layers.Embedding(WORDS, 4, mask_zero=True),
            k.layers.Bidirectional(k.layers.LSTM(3, return_sequences=True)),
            k.layers.Dropout(0.5),
            k.layers.Bidirectional(k.layers.GRU(3), merge_mode="sum"),
            k.layers.Dense(2, activation="softmax"),
        ]
    )


def tagger(k):
    model = k.Sequential(name="tagger")
    model.add(k.Input(shape=(None,)))
    model.add(k.layers.Embedding(WORDS, 4, mask_zero=True))
    model.add(k.layers.SimpleRNN(3, return_sequences=True))
    model.add(k.layers.TimeDistributed(k.layers.Dense(4, activation="softmax")))
    return model


def states_of_both_directions(k):
    x = k.Input(shape=(TIME, 3))
    layer = k.layers.Bidirectional(
        k.layers.LSTM(2, return_sequences=True, return_state=True), merge_mode=None
    )
    forward, backward, *states = layer(x)
    again = k.layers.Bidirectional(k.layers.LSTM(2))(backward, initial_state=states)
    return k.Model(x, [forward, again, *states])


def dictionaries(k):
    inputs = {
        "left": k.Input(shape=(TIME, 3), name="left"),
        "right": k.Input(shape=(4,), name="right"),
    }
    outputs = {"a": k.layers.LSTM(2)(inputs["left"]), "b": k.layers.Dense(2)(inputs["right"])}
    return k.Model(inputs, outputs)


MODELS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "language model": (language_model, [ids(0), random(BATCH, 6), random(BATCH, 6, seed=1)]),
    "encoder-decoder": (encoder_decoder, [ids(1), ids(2, time=7)]),
    "siamese": (siamese, [ids(3), ids(4)]),
    "branches": (branches, random(BATCH, TIME, 3)),
    "nested": (nested, random(BATCH, TIME, 3)),
    "bidirectional stack": (bidirectional_stack, ids(5)),
    "tagger": (tagger, ids(6)),
    "states of both directions": (states_of_both_directions, random(BATCH, TIME, 3)),
    "dictionaries": (dictionaries, {"left": random(BATCH, TIME, 3), "right": random(BATCH, 4)}),
}

every_model = pytest.mark.parametrize("name", MODELS)


def flat(outputs: Any) -> list[Any]:
    if isinstance(outputs, dict):
        return list(outputs.values())
    many = isinstance(outputs, list) or (isinstance(outputs, tuple) and outputs[0] is not None)
    return list(outputs) if many else [outputs]


def outputs_and_gradients(model: Any, x: Any) -> list[np.ndarray]:
    outputs = flat(model(x))
    total = sum((y * torch.tensor(random(*y.shape, seed=9)).to(y)).sum() for y in outputs)
    weights = [getattr(weight, "value", weight) for weight in model.trainable_weights]
    gradients = torch.autograd.grad(total, weights, materialize_grads=True)
    return [tensor.detach().cpu().numpy() for tensor in (*outputs, *gradients)]


def assert_all_close(ours: list[np.ndarray], theirs: list[np.ndarray]):
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@every_model
def test_outputs_and_gradients(name):
    build, x = MODELS[name]
    ours, theirs = build_both(build)
    assert_all_close(outputs_and_gradients(ours, x), outputs_and_gradients(theirs, x))
    assert type(ours(x)) is type(theirs(x)) or isinstance(ours(x), list | tuple)


@every_model
def test_masks_of_outputs(name):
    build, x = MODELS[name]
    ours, theirs = build_both(build)
    for one, other in zip(flat(ours(x)), flat(theirs(x)), strict=True):
        one, other = get_mask(one), get_keras_mask(other)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one.cpu(), other.cpu())


def without_counts(names: list[str]) -> list[str]:
    """Drop what tells layers of one kind apart: how many were made before depends on the tests."""
    return [re.sub(r"_\d+\b", "", name) for name in names]


@every_model
def test_layers_weights_and_shapes_are_in_the_order_of_keras(name):
    ours, theirs = build_both(MODELS[name][0])
    assert [type(x).__name__ for x in ours.layers] == [type(x).__name__ for x in theirs.layers]
    assert without_counts([layer.name for layer in ours.layers]) == without_counts(
        [layer.name for layer in theirs.layers]
    )
    shapes = [[tuple(w.shape) for w in model.weights] for model in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert ours.count_params() == theirs.count_params()
    if hasattr(theirs, "output_names"):  # Keras's Sequential has none
        assert without_counts(ours.output_names) == without_counts(theirs.output_names)
    for attribute in ("inputs", "outputs"):
        shapes = [[t.shape for t in getattr(model, attribute)] for model in (ours, theirs)]
        assert shapes[0] == shapes[1]
    assert flat(ours.input_shape) == flat(theirs.input_shape)
    assert flat(ours.output_shape) == flat(theirs.output_shape)
    paths = [weight.path for weight in ours.weights]
    assert len(set(paths)) == len(paths)
    last = [path.split("/")[-1] for path in paths]
    assert last == [weight.name for weight in theirs.weights]


@every_model
def test_a_layer_that_is_not_trainable_has_no_trainable_weights(name):
    ours, theirs = build_both(MODELS[name][0])
    for model in (ours, theirs):
        model.layers[-1].trainable = False
    for attribute in ("trainable_weights", "non_trainable_weights"):
        counts = [
            [tuple(weight.shape) for weight in getattr(model, attribute)]
            for model in (ours, theirs)
        ]
        assert counts[0] == counts[1]
    ours.trainable = False
    assert ours.trainable_weights == []


@every_model
def test_a_configuration_makes_the_same_model_again(name):
    build, x = MODELS[name]
    model, _ = build_both(build)
    config = json.loads(json.dumps(model.get_config()))
    again = type(model).from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    again.set_weights(model.get_weights())
    assert_all_close(outputs_and_gradients(again, x), outputs_and_gradients(model, x))


def test_inputs_by_name_or_in_order():
    model, _ = build_both(language_model)
    x = MODELS["language model"][1]
    expected = outputs_and_gradients(model, x)
    for same in (tuple(x), dict(zip(["c", "h", "ids"], [x[2], x[1], x[0]], strict=True))):
        assert_all_close(outputs_and_gradients(model, same), expected)


def test_symbolic_and_actual_shapes_agree():
    for build, x in MODELS.values():
        model = build(lmcourse.keras)
        for promised, output in zip(model.outputs, flat(model(x)), strict=True):
            assert len(promised.shape) == output.ndim
            assert all(
                size in (None, actual)
                for size, actual in zip(promised.shape, output.shape, strict=True)
            )


def deferred(k):
    model = k.Sequential()
    model.add(k.layers.Embedding(WORDS, 4))
    model.add(k.layers.LSTM(3, return_sequences=True))
    model.add(k.layers.LSTM(2))
    model.add(k.layers.Dense(1, activation="sigmoid"))
    return model


def test_a_sequential_model_without_an_input_is_built_by_what_it_sees():
    ours, theirs = deferred(lmcourse.keras), deferred(keras)
    assert not ours.built
    assert ours.get_weights() == theirs.get_weights() == []
    for model in (ours, theirs):
        model(ids(0))
    assert ours.built
    ours.set_weights(theirs.get_weights())
    for x in (ids(0), ids(1, time=9)):
        assert_all_close(outputs_and_gradients(ours, x), outputs_and_gradients(theirs, x))


def test_a_sequential_model_is_built_for_a_shape():
    ours, theirs = deferred(lmcourse.keras), deferred(keras)
    for model in (ours, theirs):
        model.build((None, TIME))
    ours.set_weights(theirs.get_weights())
    assert_all_close(outputs_and_gradients(ours, ids(0)), outputs_and_gradients(theirs, ids(0)))


def test_layers_of_a_sequential_model_come_and_go():
    def build(k):
        model = tagger(k)
        model.pop()
        model.add(k.layers.LSTM(2))
        return model

    ours, theirs = build_both(build)
    assert ours.output_shape == theirs.output_shape == (None, 2)
    assert_all_close(outputs_and_gradients(ours, ids(0)), outputs_and_gradients(theirs, ids(0)))


def test_layers_are_found_by_name_and_place():
    ours, theirs = build_both(branches)
    for model in (ours, theirs):
        assert model.get_layer("long_2").units == 4
        assert model.get_layer(index=1).name == "long_1"
        assert model.get_layer("first").output.shape == (None, 3)


def test_the_output_of_a_layer_is_that_of_its_first_call():
    for k in (lmcourse.keras, keras):
        layer = k.layers.Dense(2)
        first, second = k.Input(shape=(3,)), k.Input(shape=(7, 3))
        outputs = [layer(first), layer(second)]
        assert layer.output is outputs[0]


def test_stateful_models_carry_their_states_until_they_are_reset():
    def build(k):
        return k.Sequential(
            [
                k.Input(batch_shape=(BATCH, None, 3)),
                k.layers.LSTM(4, return_sequences=True, stateful=True),
                k.layers.GRU(4, stateful=True),
            ]
        )

    ours, theirs = build_both(build)

    def outputs(model):
        batches = [random(BATCH, TIME, 3, seed=seed) for seed in range(3)]
        found = [model(x) for x in batches]
        for layer in model.layers:
            layer.reset_states()
        found += [model(x) for x in batches[:2]]
        return [output.detach().cpu().numpy() for output in found]

    assert_all_close(outputs(ours), outputs(theirs))
    again = ours(random(BATCH, TIME, 3)).detach().cpu().numpy()
    ours.reset_states()
    fresh = ours(random(BATCH, TIME, 3)).detach().cpu().numpy()
    assert np.abs(again - fresh).max() > 1e-3
    np.testing.assert_allclose(fresh, outputs(theirs)[3], atol=1e-5)


def test_a_part_of_a_model_is_a_model():
    """Two models over the same layers: training one, asking the other."""

    def build(k):
        return branches(k)

    ours, theirs = build_both(build)
    parts = [
        library.Model(model.input, model.get_layer("long_2").output)
        for library, model in ((lmcourse.keras, ours), (keras, theirs))
    ]
    x = random(BATCH, TIME, 3)
    assert_all_close(*(outputs_and_gradients(part, x) for part in parts))
    assert parts[0].layers[1] is ours.get_layer("long_1")
    assert [t.shape for t in ours.output] == [t.shape for t in theirs.output]


def test_a_layer_can_be_told_in_the_graph_that_it_trains():
    """Dropout that stays on when the model is asked: the spread of answers is then of interest."""
    for library in (lmcourse.keras, keras):
        x = library.Input(shape=(400,))
        model = library.Model(x, library.layers.Dropout(0.5)(x, training=True))
        dropped = model(np.ones((1, 400), np.float32)).detach().cpu().numpy() == 0
        assert 0.3 < dropped.mean() < 0.7


def test_a_layer_can_be_told_in_the_graph_that_it_does_not_train():
    x = lmcourse.keras.Input(shape=(400,))
    model = lmcourse.keras.Model(x, lmcourse.keras.layers.Dropout(0.5)(x, training=False))
    again = lmcourse.keras.Model.from_config(model.get_config())
    for calm in (model, again):  # the model's own flag gives way; in Keras it does not
        ones = calm(np.ones((1, 400), np.float32), training=True).detach().cpu().numpy()
        np.testing.assert_array_equal(ones, 1)


# ── Bad input ────────────────────────────────────────────────────────────────────────────────────


def two_inputs(k):
    a, b = k.Input(shape=(3,), name="a"), k.Input(shape=(4,), name="b")
    return k.Model([a, b], [k.layers.Dense(2)(a), k.layers.Dense(2)(b)])


def disconnected(k):
    a, b = k.Input(shape=(3,), name="a"), k.Input(shape=(3,), name="b")
    return k.Model(a, k.layers.Dense(2)(b))


def two_of_one_name(k):
    x = k.Input(shape=(3,))
    return k.Model(x, k.layers.Dense(2, name="same")(k.layers.Dense(2, name="same")(x)))


BAD = {
    "an output that the inputs do not reach": (disconnected, "b|connected"),
    "two layers of one name": (two_of_one_name, "same"),
    "too few inputs": (lambda k: two_inputs(k)(random(BATCH, 3)), "2.*1"),
    "too many inputs": (lambda k: two_inputs(k)([random(BATCH, 3)] * 3), "2.*3"),
    "an input of another size": (
        lambda k: two_inputs(k)([random(BATCH, 4), random(BATCH, 4)]),
        r"'?a'?.*3.*4",
    ),
    "an input of another rank": (lambda k: nested(k)(random(BATCH, 3)), "5, 3"),
    "too few weights": (lambda k: two_inputs(k).set_weights([]), "4.* 0"),
    "weights of another shape": (
        lambda k: two_inputs(k).set_weights([random(4, 2), random(2), random(3, 2), random(2)]),
        r"\(3, 2\).*\(4, 2\)",
    ),
    "a layer that is not there": (lambda k: two_inputs(k).get_layer("dens"), "dens"),
    "a place that is not there": (lambda k: two_inputs(k).get_layer(index=9), "9"),
    "a model of no layers": (lambda k: k.Sequential()(random(2, 3)), "layer"),
    "no outputs": (lambda k: k.Model(k.Input((2,)), []), "outputs"),
    "several outputs in a row": (
        lambda k: k.Sequential(
            [k.Input((TIME, 3)), k.layers.LSTM(2, return_state=True), k.layers.Dense(2)]
        ),
        "one tensor",
    ),
}


@pytest.mark.wrong_input
@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_the_error_that_keras_raises(case):
    call, message = BAD[case]
    with pytest.raises(Exception) as theirs:
        call(keras)
    with pytest.raises(type(theirs.value), match=message):
        call(lmcourse.keras)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k: k.Model(3, 4), "inputs.* int"),
        (lambda k: k.Sequential([3]), "layer.* int"),
        (lambda k: k.Sequential().add("LSTM"), "layer.* str"),
    ],
)
def test_things_of_the_wrong_type(call, message):
    """Keras raises a ValueError."""
    with pytest.raises(TypeError, match=message):
        call(lmcourse.keras)


@pytest.mark.wrong_input
def test_no_layer_is_left_to_take_off():
    with pytest.raises(ValueError, match="no layers"):
        lmcourse.keras.Sequential().pop()


@pytest.mark.wrong_input
def test_an_input_in_the_middle():
    model = tagger(lmcourse.keras)
    with pytest.raises(ValueError, match="Input must come before"):
        model.add(lmcourse.keras.Input(shape=(3,)))


@pytest.mark.wrong_input
def test_names_of_inputs():
    with pytest.raises(ValueError, match="a, b"):
        two_inputs(lmcourse.keras)({"a": random(BATCH, 3), "c": random(BATCH, 4)})


@pytest.mark.parametrize("library", [lmcourse.keras, keras], ids=["lmcourse", "keras"])
def test_build_makes_the_weights_once(library):
    layer = library.layers.Dense(2)
    layer.build((None, 3))
    assert layer.built
    before = layer.get_weights()
    layer(np.ones((1, 3), np.float32))
    np.testing.assert_array_equal(layer.get_weights()[0], before[0])


@pytest.mark.wrong_input
def test_a_sequential_cannot_be_built_from_nothing():
    model = lmcourse.keras.Sequential([lmcourse.keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="input_shape"):
        model.build()
    assert not model.built
