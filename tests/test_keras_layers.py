"""The layers against Keras 3's: the same weights give the same outputs, states and gradients."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import lmcourse.keras
from lmcourse.keras.activations import ACTIVATIONS
from lmcourse.keras.initializers import INITIALIZERS
from lmcourse.keras.layers.base import Layer, device, get_mask
from tests.keras_reference import build_both, get_keras_mask, keras, quiet, randomize_weights

pytestmark = quiet

BATCH, TIME, INPUTS, UNITS = 4, 6, 3, 5
KINDS = {
    "LSTM": ("LSTM", {}),
    "GRU": ("GRU", {}),
    "GRU that resets before": ("GRU", {"reset_after": False}),
    "SimpleRNN": ("SimpleRNN", {}),
}
GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
MASKS = {
    "no mask": None,
    "right": [[1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]],
    "left": [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]],
    "holes": [[1, 0, 1, 0, 0, 1], [0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0]],
    "a row of padding": [[1, 1, 1, 0, 0, 0], [0] * 6, [1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0]],
}
RARER_MASKS = {
    "a left row of padding": [[0, 0, 0, 1, 1, 1], [0] * 6, [1] * 6, [0, 1, 1, 1, 1, 1]],
    "only padding": [[0] * 6] * 4,
    "nothing masked": [[1] * 6] * 4,
}
BOTH = (False, True)
PATHS = ("equations", "auto")

GRID = list(itertools.product(KINDS, MASKS, BOTH, BOTH, BOTH, BOTH, BOTH))
MERGE_MODES = ("concat", "sum", "ave", "mul", None)
BIDIRECTIONAL_GRID = list(itertools.product(KINDS, MASKS, MERGE_MODES, BOTH, BOTH))

every_kind = pytest.mark.parametrize("kind", KINDS)
every_path = pytest.mark.parametrize("path", PATHS)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def recurrent(library: Any, kind: str, *, path: str = "auto", **options: Any) -> Any:
    """Return a recurrent layer of ``library``; ``path`` is for ours, Keras has one of its own."""
    name, kind_options = KINDS[kind]
    if library is lmcourse.keras:
        options["implementation"] = path
    return getattr(library.layers, name)(options.pop("units", UNITS), **kind_options, **options)


def built(layer: Any, shape: tuple[int | None, ...] = (None, None, INPUTS)) -> Any:
    """Give a layer of either library its weights."""
    library = lmcourse.keras if isinstance(layer, Layer) else keras
    layer(library.Input(batch_shape=shape))
    return layer


def states_for(kind: str, directions: int = 1, batch: int = BATCH) -> list[np.ndarray]:
    count = directions * (2 if kind == "LSTM" else 1)
    return [random(batch, UNITS, seed=10 + i) for i in range(count)]


def flat(outputs: Any) -> list[torch.Tensor]:
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def run(
    layer: Any,
    x: np.ndarray,
    mask: Iterable | None = None,
    states: list[np.ndarray] | None = None,
    **options: Any,
) -> dict[str, np.ndarray]:
    """Call a layer of either library; return its outputs and the gradients of a sum over them.

    Each output number has a weight of its own in the sum, which no other path has.
    """
    tensors = [torch.tensor(a, device=device()).requires_grad_() for a in [x, *(states or [])]]
    if mask is not None:
        options["mask"] = torch.tensor(mask, dtype=torch.bool, device=device())
    if states is not None:
        options["initial_state"] = tensors[1:]
    outputs = flat(layer(tensors[0], **options))
    total = sum(
        (output * torch.tensor(random(*output.shape, seed=20 + i)).to(output)).sum()
        for i, output in enumerate(outputs)
    )
    weights = [getattr(weight, "value", weight) for weight in layer.trainable_weights]
    gradients = torch.autograd.grad(total, [*weights, *tensors], materialize_grads=True)
    names = [weight.path.split("/")[-1] for weight in layer.trainable_weights]
    names += ["input", *(f"state {i}" for i in range(len(tensors) - 1))]
    found = {f"output {i}": output for i, output in enumerate(outputs)}
    for i, (name, gradient) in enumerate(zip(names, gradients, strict=True)):
        found[f"gradient {i}, {name}"] = gradient
    return {name: tensor.detach().cpu().numpy() for name, tensor in found.items()}


def assert_equal(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], message: str = ""):
    assert ours.keys() == theirs.keys(), message
    for name, array in theirs.items():
        assert ours[name].shape == array.shape, f"{message} {name}"
        np.testing.assert_allclose(
            ours[name], array, rtol=1e-5, atol=1e-5, err_msg=f"{message} {name}"
        )


def assert_same_results(make: Callable[..., Any], x: np.ndarray, *, message: str = "", **call: Any):
    """Compare both paths of ours with Keras; ``make(library, path=...)`` returns a built layer."""
    theirs = make(keras)
    randomize_weights(theirs)
    expected = run(theirs, x, **call)
    for path in PATHS:
        ours = make(lmcourse.keras, path=path)
        ours.set_weights(theirs.get_weights())
        assert_equal(run(ours, x, **call), expected, f"{message} {path}:")


# ── The recurrent layers, option by option ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "mask", "sequences", "state", "backwards", "bias", "initial"), GRID
)
def test_recurrent_layers(kind, mask, sequences, state, backwards, bias, initial):
    options = {
        "return_sequences": sequences,
        "return_state": state,
        "go_backwards": backwards,
        "use_bias": bias,
    }
    assert_same_results(
        lambda library, **path: built(recurrent(library, kind, **options, **path)),
        random(BATCH, TIME, INPUTS),
        mask=MASKS[mask],
        states=states_for(kind) if initial else None,
    )


@pytest.mark.parametrize(("kind", "mask", "merge", "sequences", "states"), BIDIRECTIONAL_GRID)
def test_bidirectional(kind, mask, merge, sequences, states):
    def make(library, **path):
        layer = recurrent(library, kind, return_sequences=sequences, return_state=states, **path)
        return built(library.layers.Bidirectional(layer, merge_mode=merge))

    assert_same_results(
        make,
        random(BATCH, TIME, INPUTS),
        mask=MASKS[mask],
        states=states_for(kind, directions=2) if states else None,
    )


@every_kind
@pytest.mark.parametrize("mask", RARER_MASKS)
@pytest.mark.parametrize("sequences", BOTH)
@pytest.mark.parametrize("wrapped", BOTH)
def test_rarer_masks(kind, mask, sequences, wrapped):
    def make(library, **path):
        layer = recurrent(library, kind, return_sequences=sequences, return_state=True, **path)
        return built(library.layers.Bidirectional(layer) if wrapped else layer)

    assert_same_results(
        make,
        random(BATCH, TIME, INPUTS),
        mask=RARER_MASKS[mask],
        states=states_for(kind, directions=1 + wrapped),
    )


@every_kind
@pytest.mark.parametrize("backwards", BOTH)
def test_bidirectional_of_two_given_layers(kind, backwards):
    def make(library, **path):
        forward = recurrent(library, kind, return_sequences=True, go_backwards=backwards, **path)
        backward = library.layers.SimpleRNN(
            2, return_sequences=True, go_backwards=not backwards, activation="relu"
        )
        return built(library.layers.Bidirectional(forward, backward_layer=backward))

    assert_same_results(make, random(BATCH, TIME, INPUTS), mask=MASKS["right"])


@every_kind
@pytest.mark.parametrize("mask", ["no mask", "right", "left", "holes"])
@pytest.mark.parametrize(
    ("batch", "time", "inputs", "units"),
    [(1, 1, 1, 1), (1, 6, 1, 7), (5, 1, 4, 3), (2, 6, 7, 1), (3, 6, 2, 16)],
)
def test_sizes(kind, mask, batch, time, inputs, units):
    mask = MASKS[mask]
    assert_same_results(
        lambda library, **path: built(
            recurrent(library, kind, units=units, return_sequences=True, return_state=True, **path),
            (None, None, inputs),
        ),
        random(batch, time, inputs),
        mask=None if mask is None else np.resize(mask, (batch, time)),
    )


@every_kind
@pytest.mark.parametrize("mask", ["no mask", "right", "holes"])
@pytest.mark.parametrize(
    ("activation", "recurrent_activation"),
    [("relu", "sigmoid"), ("tanh", "hard_sigmoid"), (None, "sigmoid"), ("softplus", "tanh")],
)
def test_activations_of_recurrent_layers(kind, mask, activation, recurrent_activation):
    options = {"activation": activation, "return_sequences": True}
    if kind != "SimpleRNN":
        options["recurrent_activation"] = recurrent_activation
    assert_same_results(
        lambda library, **path: built(recurrent(library, kind, **options, **path)),
        random(BATCH, TIME, INPUTS),
        mask=MASKS[mask],
    )


@every_kind
def test_a_long_sequence(kind):
    """Rounding errors of two hundred steps must not add up to a difference."""
    assert_same_results(
        lambda library, **path: built(recurrent(library, kind, return_sequences=True, **path)),
        random(2, 200, INPUTS),
    )


@every_kind
@pytest.mark.parametrize("mask", ["no mask", "right", "holes"])
@pytest.mark.parametrize(("sequences", "backwards"), [(False, False), (True, False), (True, True)])
def test_stateful(kind, mask, sequences, backwards):
    """Three batches in a row, one after a reset, and two from a given state on."""
    options = {"stateful": True, "return_sequences": sequences, "go_backwards": backwards}
    mask = MASKS[mask]
    call = {} if mask is None else {"mask": torch.tensor(mask, device=device()) == 1}
    batches = [
        torch.tensor(random(BATCH, TIME, INPUTS, seed=seed), device=device()) for seed in range(4)
    ]
    given = [torch.tensor(state, device=device()) for state in states_for(kind)]

    def outputs(layer):
        found = [layer(x, **call) for x in batches[:3]]
        found += [getattr(state, "value", state).clone() for state in layer.states]
        layer.reset_states()
        found.append(layer(batches[3], **call))
        found.append(layer(batches[0], **call, initial_state=given))
        found.append(layer(batches[1], **call))
        return [output.detach().cpu() for output in found]

    theirs = built(recurrent(keras, kind, **options), (BATCH, None, INPUTS))
    randomize_weights(theirs)
    expected = outputs(theirs)
    for path in PATHS:
        ours = built(recurrent(lmcourse.keras, kind, path=path, **options), (BATCH, None, INPUTS))
        ours.set_weights(theirs.get_weights())
        for one, other in zip(outputs(ours), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_stateful_layer_takes_the_size_of_its_first_batch():
    """Keras wants to be told before; after a reset, another size may come."""
    layer = lmcourse.keras.layers.LSTM(2, stateful=True)
    assert layer(lmcourse.keras.Input((None, INPUTS))).shape == (None, 2)
    assert layer(random(4, 2, INPUTS)).shape == (4, 2)
    layer.reset_states()
    assert layer(random(3, 2, INPUTS)).shape == (3, 2)


@every_kind
@every_path
def test_gradients_of_a_stateful_layer_stop_at_the_batch(kind, path):
    """Keras's own stateful LSTM cannot be trained on torch; a given state has the same meaning."""
    x, states = random(BATCH, TIME, INPUTS), states_for(kind)
    ours, theirs = build_both(
        lambda library: built(
            recurrent(library, kind, path=path, stateful=library is lmcourse.keras),
            (BATCH, None, INPUTS),
        )
    )
    run(ours, random(BATCH, TIME, INPUTS, seed=1), states=states)
    carried = [state.detach().cpu().numpy() for state in ours.states]
    expected = run(theirs, x, states=carried)
    expected = {name: a for name, a in expected.items() if "state" not in name}
    assert_equal(run(ours, x), expected)


@every_kind
def test_weights_are_named_and_shaped_as_in_keras(kind):
    for bias in BOTH:
        ours, theirs = (
            built(recurrent(library, kind, use_bias=bias)) for library in (lmcourse.keras, keras)
        )
        names = [weight.path.split("/")[-1] for weight in ours.weights]
        assert names == [weight.name for weight in theirs.weights]
        shapes = [tuple(weight.shape) for weight in ours.weights]
        assert shapes == [tuple(weight.shape) for weight in theirs.weights]
        assert ours.count_params() == theirs.count_params()


def test_a_bidirectional_layer_has_forward_weights_first():
    ours, theirs = (
        built(library.layers.Bidirectional(library.layers.GRU(UNITS), name="both_ways"))
        for library in (lmcourse.keras, keras)
    )

    def without_cell(weights):
        paths = [weight.path.replace("gru_cell/", "").split("/") for weight in weights]
        return [[part.split("_")[0] for part in path] for path in paths]

    assert without_cell(ours.weights) == without_cell(theirs.weights)
    assert len({weight.path for weight in ours.weights}) == 6


# ── torch's own layers, in float64 ───────────────────────────────────────────────────────────────


def torch_layer(ours: Any, **options: Any) -> torch.nn.Module:
    """Return torch's layer with the weights of ours: transposed, GRU's gates in its order."""
    kernel, recurrent_kernel, bias = (weight.detach() for weight in ours.weights)
    name = type(ours).__name__
    kind = {"SimpleRNN": "RNN"}.get(name, name)
    theirs = getattr(torch.nn, kind)(INPUTS, UNITS, batch_first=True, **options).double()
    biases = bias if bias.ndim == 2 else torch.stack([bias, torch.zeros_like(bias)])
    gates = [1, 0, 2] if name == "GRU" else list(range(GATES[name]))  # torch's r, z, n

    def in_torch(weight):
        parts = weight.unflatten(-1, (GATES[name], UNITS))
        return parts[..., gates, :].flatten(-2).t()

    with torch.no_grad():
        theirs.weight_ih_l0.copy_(in_torch(kernel))
        theirs.weight_hh_l0.copy_(in_torch(recurrent_kernel))
        theirs.bias_ih_l0.copy_(in_torch(biases[0]))
        theirs.bias_hh_l0.copy_(in_torch(biases[1]))
    return theirs.to(device())


def in_float64(kind: str, path: str) -> Any:
    options = {"return_sequences": True, "return_state": True}
    layer = built(recurrent(lmcourse.keras, kind, path=path, **options)).double()
    generator = np.random.default_rng(0)
    with torch.no_grad():
        for weight in layer.weights:
            weight.copy_(torch.tensor(generator.normal(size=weight.shape)))
    return layer


def doubles(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array, dtype=torch.float64, device=device()).requires_grad_()


def total_of(outputs: torch.Tensor, states: Iterable[torch.Tensor], mask: Any) -> torch.Tensor:
    """Return a sum in which every number that the mask leaves has a weight of its own."""
    taken = doubles(np.ones(outputs.shape[:2]) if mask is None else np.array(mask))[:, :, None]
    parts = [outputs * taken, *states]
    return sum((part * doubles(random(*part.shape, seed=i))).sum() for i, part in enumerate(parts))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("mask", MASKS | RARER_MASKS)
def test_both_paths_agree_in_float64(kind, mask):
    """So closely that no difference of meaning could hide in it."""
    x, states, found = random(BATCH, TIME, INPUTS), states_for(kind), {}
    mask = (MASKS | RARER_MASKS)[mask]
    for path in PATHS:
        layer = in_float64(kind, path)
        inputs, *initial = (doubles(array) for array in [x, *states])
        of_bool = None if mask is None else torch.tensor(mask, dtype=torch.bool, device=device())
        outputs = layer(inputs, mask=of_bool, initial_state=initial)
        total = sum((part * doubles(random(*part.shape))).sum() for part in outputs)
        sources = [*layer.weights, inputs, *initial]
        found[path] = [*outputs, *torch.autograd.grad(total, sources, materialize_grads=True)]
    for one, other in zip(*found.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("mask", ["no mask", "right"])
@every_path
def test_torch_in_float64(kind, mask, path):
    """torch's own layer, for masks given the sequences' lengths: packed sequences."""
    mask, layer, x = MASKS[mask], in_float64(kind, path), random(BATCH, TIME, INPUTS)
    theirs = torch_layer(layer)
    ours_in, theirs_in = doubles(x), doubles(x)
    of_bool = None if mask is None else torch.tensor(mask, dtype=torch.bool, device=device())
    outputs, *states = layer(ours_in, mask=of_bool)
    total = total_of(outputs, states, mask)
    if mask is None:
        their_outputs, last = theirs(theirs_in)
    else:
        lengths = torch.tensor(mask).sum(dim=1)
        packed = pack_padded_sequence(theirs_in, lengths, batch_first=True, enforce_sorted=False)
        their_outputs, last = theirs(packed)
        their_outputs, _ = pad_packed_sequence(their_outputs, batch_first=True, total_length=TIME)
    last = last if isinstance(last, tuple) else (last,)
    their_total = total_of(their_outputs, [state[0] for state in last], mask)
    torch.testing.assert_close(total, their_total, rtol=1e-11, atol=1e-13)
    total.backward()
    their_total.backward()
    torch.testing.assert_close(ours_in.grad, theirs_in.grad, rtol=1e-11, atol=1e-13)
    assert ours_in.grad.abs().max() > 0.1


# ── The other layers ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [(INPUTS,), (TIME, INPUTS), (2, TIME, INPUTS)])
@pytest.mark.parametrize("bias", BOTH)
@pytest.mark.parametrize("activation", [None, "relu", "softmax", "sigmoid"])
def test_dense(shape, bias, activation):
    ours, theirs = build_both(
        lambda library: built(
            library.layers.Dense(4, activation=activation, use_bias=bias), (None, *shape)
        )
    )
    x = random(BATCH, *shape)
    assert_equal(run(ours, x), run(theirs, x))


@pytest.mark.parametrize("mask_zero", BOTH)
@pytest.mark.parametrize("shape", [(BATCH,), (BATCH, TIME), (BATCH, 1), (2, 3, 4)])
def test_embedding(mask_zero, shape):
    ids = np.random.default_rng(0).integers(0, 7, size=shape)
    ours, theirs = build_both(
        lambda library: built(library.layers.Embedding(7, 5, mask_zero=mask_zero), (None, None))
    )
    found, expected = ours(ids), theirs(ids)
    np.testing.assert_array_equal(found.detach().cpu(), expected.detach().cpu())
    their_mask = get_keras_mask(expected)
    assert (get_mask(found) is None) == (their_mask is None) == (not mask_zero)
    if mask_zero:
        np.testing.assert_array_equal(get_mask(found).cpu(), their_mask.cpu())
    gradients = [
        torch.autograd.grad((output * output.detach().cos()).sum(), weight)[0].cpu()
        for output, weight in ((found, ours.weights[0]), (expected, theirs.weights[0].value))
    ]
    np.testing.assert_allclose(*gradients, rtol=1e-5, atol=1e-5)


@every_path
@pytest.mark.parametrize("mask_zero", BOTH)
@pytest.mark.parametrize("wrapped", BOTH)
@pytest.mark.parametrize("sequences", BOTH)
@every_kind
def test_masks_travel_as_in_keras(kind, path, mask_zero, wrapped, sequences):
    """Embedding → recurrent layer → Dropout → Dense: which mask is left after each of them."""
    ids = np.random.default_rng(1).integers(0, 3, size=(BATCH, TIME))

    def masks(library):
        layers = library.layers
        recurrent_layer = recurrent(library, kind, path=path, return_sequences=sequences)
        stack = [
            layers.Embedding(3, INPUTS, mask_zero=mask_zero),
            layers.Bidirectional(recurrent_layer) if wrapped else recurrent_layer,
            layers.Dropout(0.5),
            layers.Dense(2),
        ]
        if sequences:
            stack.append(layers.TimeDistributed(layers.Dense(2)))
        x = ids
        get = get_mask if library is lmcourse.keras else get_keras_mask
        for layer in stack:
            x = layer(x)
            mask = get(x)
            yield None if mask is None else mask.cpu().numpy()

    for ours, theirs in zip(masks(lmcourse.keras), masks(keras), strict=True):
        assert (ours is None) == (theirs is None)
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "make",
    [
        lambda layers: layers.Dense(4, activation="tanh"),
        lambda layers: layers.LSTM(UNITS),
        lambda layers: layers.GRU(UNITS, return_sequences=True),
        lambda layers: layers.Bidirectional(layers.SimpleRNN(UNITS)),
        lambda layers: layers.TimeDistributed(layers.Dense(2)),
    ],
    ids=["Dense", "LSTM", "GRU", "Bidirectional", "TimeDistributed"],
)
def test_time_distributed(make):
    shape = (BATCH, 2, TIME, INPUTS)
    ours, theirs = build_both(
        lambda library: built(library.layers.TimeDistributed(make(library.layers)), shape)
    )
    assert_equal(run(ours, random(*shape)), run(theirs, random(*shape)))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    x = torch.tensor(3 * random(BATCH, TIME, INPUTS), device=device())
    np.testing.assert_allclose(
        lmcourse.keras.activations.get(name)(x).cpu(),
        keras.activations.get(name)(x).cpu(),
        rtol=1e-5,
        atol=1e-6,
    )


# ── Dropout: its statistics, and that a step's mask is every step's ──────────────────────────────


def inputs_of_ones(time: int = 5, features: int = 2000) -> torch.Tensor:
    return torch.ones(2, time, features, device=device())


def copying_layer(kind: str, units: int, *, dropout: float, path: str) -> Any:
    """Return a layer whose output is its input at every step, but for the dropout."""
    options = {"activation": "linear", "return_sequences": True, "dropout": dropout}
    layer = built(recurrent(lmcourse.keras, kind, units=units, path=path, **options), (2, 5, units))
    eye, zero = np.eye(units), np.zeros((units, units))
    open_, shut = np.full(units, 40.0), np.full(units, -40.0)
    none = np.zeros(units)
    kernel, bias = {
        "LSTM": ([zero, zero, eye, zero], [open_, shut, none, open_]),
        "GRU": ([zero, zero, eye], [shut, none, none]),
        "GRU that resets before": ([zero, zero, eye], [shut, none, none]),
        "SimpleRNN": ([eye], [none]),
    }[kind]
    bias = np.concatenate(bias)
    if layer.weights[2].ndim == 2:
        bias = np.stack([bias, 0 * bias])
    layer.set_weights([np.concatenate(kernel, axis=1), 0 * np.concatenate(kernel, axis=1), bias])
    return layer


@every_kind
@every_path
def test_dropout_drops_the_same_inputs_at_every_step(kind, path):
    layer = copying_layer(kind, 800, dropout=0.3, path=path)
    x = inputs_of_ones(features=800)
    found = layer(x, training=True).detach().cpu().numpy()
    dropped = found[:, 0] < 0.5
    np.testing.assert_allclose(found[:, 0], np.where(dropped, 0, 1 / 0.7), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found, np.broadcast_to(found[:, :1], found.shape), rtol=1e-4)
    assert abs(dropped.mean() - 0.3) < 0.05
    assert (dropped[0] != dropped[1]).any(), "each sequence needs a mask of its own"
    again = layer(x, training=True).detach().cpu().numpy()
    assert ((again[:, 0] < 0.5) != dropped).any(), "each call needs a mask of its own"
    for calm in (layer(x), layer(x, training=False)):
        np.testing.assert_allclose(calm.detach().cpu(), 1, rtol=1e-4)


@every_path
def test_recurrent_dropout_drops_the_same_units_at_every_step(path):
    """A one at the first step travels on through an identity matrix; each step multiplies it."""
    units = 800
    layer = built(
        lmcourse.keras.layers.SimpleRNN(
            units,
            activation="linear",
            return_sequences=True,
            recurrent_dropout=0.3,
            implementation=path,
        ),
        (2, 5, units),
    )
    layer.set_weights([np.eye(units), np.eye(units), np.zeros(units)])
    x = inputs_of_ones(features=units)
    x[:, 1:] = 0
    found = layer(x, training=True).detach().cpu().numpy()
    kept = found[:, 1] > 0.5
    np.testing.assert_allclose(found[:, 0], 1, rtol=1e-6)
    for step in range(1, 5):
        np.testing.assert_allclose(found[:, step], kept * 0.7**-step, rtol=1e-4)
    assert abs(kept.mean() - 0.7) < 0.05
    assert (kept[0] != kept[1]).any()
    np.testing.assert_allclose(layer(x).detach().cpu(), 1, rtol=1e-6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "GRU that resets before"])
@every_path
def test_recurrent_dropout_has_a_mask_for_every_gate(kind, path):
    """With recurrent dropout Keras drops for each gate apart, and so must we.

    One unit and one step: over many sequences, every combination over the gates must be seen. An
    LSTM's input gate, and a GRU's reset gate, only show where their candidate gets the state.
    """
    gates = GATES[KINDS[kind][0]]
    layer = built(
        recurrent(lmcourse.keras, kind, units=1, path=path, recurrent_dropout=0.5), (None, 1, 1)
    )
    to_gates = np.array([[0.3, 0.7, 1.1, 1.7]])[:, :gates]
    layer.set_weights([np.zeros((1, gates)), to_gates, *layer.get_weights()[2:]])
    x = torch.zeros(600, 1, 1, device=device())
    state = [torch.full((600, 1), 0.9, device=device()) for _ in layer.state_names]
    found = layer(x, initial_state=state, training=True).detach().cpu().numpy()
    assert len(np.unique(found.round(5))) == {4: 12, 3: 6}[gates]


@every_kind
@every_path
@pytest.mark.parametrize("mask", ["no mask", "right", "holes"])
def test_dropout_with_a_mask_of_keras(kind, path, mask):
    """Dropping inputs is multiplying them, so Keras gets the product and no dropout."""
    x, rate = random(BATCH, TIME, INPUTS), 0.4
    ours, theirs = build_both(
        lambda library: built(
            recurrent(
                library,
                kind,
                path=path,
                return_sequences=True,
                dropout=rate if library is lmcourse.keras else 0.0,
            )
        )
    )
    copies = np.repeat(x[:1], 400, axis=0)
    the_mask = None if MASKS[mask] is None else np.repeat(MASKS[mask][:1], 400, axis=0)
    found = run(ours, copies, the_mask, training=True)["output 0"]
    expected = []
    for kept in itertools.product(BOTH, repeat=INPUTS):
        product = x[:1] * np.float32(kept) / np.float32(1 - rate)
        one_mask = None if the_mask is None else the_mask[:1]
        expected.append(run(theirs, product, one_mask)["output 0"][0])
    distances = np.abs(found[:, None] - np.array(expected)).max(axis=(2, 3))
    assert distances.min(axis=1).max() < 1e-5, "an output that no choice of inputs gives"
    assert len(set(distances.argmin(axis=1))) == 2**INPUTS


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.9])
def test_dropout_layer(rate):
    layer = lmcourse.keras.layers.Dropout(rate)
    x = inputs_of_ones()
    found = layer(x, training=True).cpu().numpy()
    kept = found > 0
    np.testing.assert_allclose(found[kept], 1 / (1 - rate), rtol=1e-6)
    assert abs(kept.mean() - (1 - rate)) < 0.02
    for calm in (layer(x), layer(x, training=False)):
        np.testing.assert_array_equal(calm.cpu(), x.cpu())


# ── How weights start ────────────────────────────────────────────────────────────────────────────


def drawn(initializer: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(initializer(shape).detach().cpu(), dtype=np.float64)


@pytest.mark.parametrize("shape", [(120, 200), (5000,)])
@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializers_draw_from_keras_distributions(name, shape):
    if name == "orthogonal" and len(shape) == 1:
        pytest.skip("vectors are not orthogonal")
    lmcourse.keras.utils.set_random_seed(0)
    ours = drawn(lmcourse.keras.initializers.get(name), shape)
    theirs = drawn(keras.initializers.get(name), shape)
    assert ours.shape == shape
    if np.ptp(theirs) == 0:
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert scipy.stats.ks_2samp(ours.ravel(), theirs.ravel()).pvalue > 1e-3


@pytest.mark.parametrize("shape", [(7, 7), (4, 12), (12, 4)])
def test_orthogonal(shape):
    matrix = drawn(lmcourse.keras.initializers.get("orthogonal"), shape)
    product = matrix @ matrix.T if shape[0] <= shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, np.eye(min(shape)), atol=1e-5)
    signs = [drawn(lmcourse.keras.initializers.get("orthogonal"), shape)[0, 0] for _ in range(40)]
    assert min(signs) < 0 < max(signs)


@pytest.mark.parametrize(
    "make",
    [
        lambda layers: built(layers.LSTM(64), (None, None, 48)),
        lambda layers: built(layers.GRU(64), (None, None, 48)),
        lambda layers: built(layers.SimpleRNN(64), (None, None, 48)),
        lambda layers: built(layers.Dense(64), (None, 48)),
        lambda layers: built(layers.Embedding(64, 48), (None, None)),
    ],
    ids=["LSTM", "GRU", "SimpleRNN", "Dense", "Embedding"],
)
def test_layers_start_as_in_keras(make):
    lmcourse.keras.utils.set_random_seed(0)
    ours, theirs = make(lmcourse.keras.layers), make(keras.layers)
    for weight, array in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        if weight.ndim == 2 and np.ptp(array) > 0:
            assert scipy.stats.ks_2samp(weight.ravel(), array.ravel()).pvalue > 1e-3
        else:
            np.testing.assert_array_equal(weight, array)


@pytest.mark.parametrize("forget", BOTH)
@pytest.mark.parametrize("start", ["zeros", "ones"])
def test_forget_bias(forget, start):
    ours, theirs = (
        built(library.layers.LSTM(2, unit_forget_bias=forget, bias_initializer=start))
        for library in (lmcourse.keras, keras)
    )
    np.testing.assert_array_equal(ours.get_weights()[2], theirs.get_weights()[2])


def test_a_seed_decides_how_weights_start():
    def weights(seed):
        lmcourse.keras.utils.set_random_seed(seed)
        return built(lmcourse.keras.layers.LSTM(UNITS)).get_weights()

    for a, b in zip(weights(3), weights(3), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (weights(3)[0] != weights(4)[0]).any()


# ── Bad input ────────────────────────────────────────────────────────────────────────────────────

X = random(BATCH, TIME, INPUTS)
BAD = {
    "an LSTM on two axes": (lambda k: k.layers.LSTM(3)(X[0]), "3"),
    "a GRU on four axes": (lambda k: k.layers.GRU(3)(X[None]), "3"),
    "no units": (lambda k: k.layers.LSTM(0), "units.* 0"),
    "negative units": (lambda k: k.layers.Dense(-1), "units.* -1"),
    "an unknown activation": (lambda k: k.layers.Dense(2, activation="reul"), "reul"),
    "an unknown initializer": (lambda k: k.layers.LSTM(2, kernel_initializer="xavier"), "xavier"),
    "an unknown merge mode": (
        lambda k: k.layers.Bidirectional(k.layers.LSTM(2), merge_mode="max"),
        "max",
    ),
    "TimeDistributed on two axes": (
        lambda k: k.layers.TimeDistributed(k.layers.Dense(2))(X[0]),
        "3",
    ),
    "a dropout rate above 1": (lambda k: k.layers.Dropout(1.5), "rate.* 1.5|1.5"),
    "a negative dropout rate": (lambda k: k.layers.Dropout(-0.5), "-0.5"),
    "a stateful layer with another batch size": (
        lambda k: [f(X[:n]) for f in [k.layers.LSTM(3, stateful=True)] for n in (4, 2)],
        "4(.|\n)*2",
    ),
    "other features than built for": (
        lambda k: built(k.layers.Dense(2), (None, 7))(X),
        "7(.|\n)*3|3(.|\n)*7",
    ),
    "an unknown number of features": (lambda k: k.layers.Dense(2)(k.Input((None,))), "None"),
    "an embedding of nothing": (lambda k: k.layers.Embedding(0, 2), "input_dim.*0"),
    "an embedding into nothing": (lambda k: k.layers.Embedding(2, -2), "output_dim.*-2"),
    "too few weights": (lambda k: built(k.layers.Dense(2), (None, 3)).set_weights([]), "2.* 0"),
    "weights of another shape": (
        lambda k: built(k.layers.Dense(2), (None, 3)).set_weights([X[0], X[0, 0, :2]]),
        r"\(6, 3\)|\(3, 2\)",
    ),
    "weights before there are any": (lambda k: k.layers.LSTM(2).set_weights([X]), "none yet"),
    "an unknown argument": (lambda k: k.layers.LSTM(2)(X, initial_states=[]), "initial_states"),
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
    ("call", "error", "message"),
    [
        (lambda k: k.layers.Embedding(5, 2)(np.array([[0, 3], [-1, 2]])), ValueError, "-1"),
        (lambda k: k.layers.Embedding(5, 2)(np.array([[0, 5]])), ValueError, "5"),
        (lambda k: k.layers.Embedding(5, 2)(np.array([[0.5, 1]])), TypeError, "fraction"),
        (lambda k: k.layers.Bidirectional(3), TypeError, "layer.* int"),
        (lambda k: k.layers.TimeDistributed(3), TypeError, "layer.* int"),
        (lambda k: k.layers.LSTM(2, unit_bias=True), TypeError, "unit_bias"),
        (lambda k: k.layers.LSTM(2)(X, mask=np.ones((BATCH, 3), bool)), ValueError, "mask"),
        (lambda k: k.layers.LSTM(2)(X, initial_state=[X[:, 0]]), ValueError, "initial_state"),
        (lambda k: k.layers.LSTM(2)(X, initial_state=[X[:, 0]] * 2), ValueError, "initial_state"),
        (lambda k: k.layers.GRU(2)(X[:, :0]), ValueError, "0"),
        (lambda k: k.layers.LSTM(2, dropout=1.5), ValueError, "dropout"),
        (lambda k: k.layers.LSTM(2, recurrent_dropout=-0.1), ValueError, "recurrent_dropout"),
        (lambda k: k.layers.LSTM(2.5), TypeError, "units"),
        (lambda k: k.layers.Bidirectional(k.layers.Dense(2)), TypeError, "Dense"),
        (lambda k: k.layers.LSTM(2, implementation="fused"), ValueError, "implementation"),
    ],
)
def test_bad_input_that_keras_lets_pass_or_explains_badly(call, error, message):
    with pytest.raises(error, match=message):
        call(lmcourse.keras)


# ── Configurations ───────────────────────────────────────────────────────────────────────────────

CONFIGURED = {
    "Embedding": lambda k: k.layers.Embedding(7, 3, mask_zero=True, name="words"),
    "LSTM": lambda k: k.layers.LSTM(
        3,
        activation="relu",
        recurrent_activation="hard_sigmoid",
        use_bias=False,
        kernel_initializer="he_normal",
        recurrent_initializer="glorot_uniform",
        bias_initializer="ones",
        unit_forget_bias=False,
        dropout=0.1,
        recurrent_dropout=0.2,
        return_sequences=True,
        return_state=True,
        go_backwards=True,
        trainable=False,
        name="reader",
    ),
    "GRU": lambda k: k.layers.GRU(3, reset_after=False, return_sequences=True, dropout=0.1),
    "SimpleRNN": lambda k: k.layers.SimpleRNN(3, activation="relu", return_state=True),
    "stateful": lambda k: k.layers.LSTM(3, stateful=True, activation=None),
    "Dense": lambda k: k.layers.Dense(3, activation="softmax", use_bias=False),
    "Dropout": lambda k: k.layers.Dropout(0.3),
    "Bidirectional": lambda k: k.layers.Bidirectional(k.layers.GRU(3), merge_mode="ave"),
    "Bidirectional of two": lambda k: k.layers.Bidirectional(
        k.layers.LSTM(3), merge_mode=None, backward_layer=k.layers.LSTM(2, go_backwards=True)
    ),
    "TimeDistributed": lambda k: k.layers.TimeDistributed(k.layers.Dense(2, activation="relu")),
}


@pytest.mark.parametrize("case", CONFIGURED)
def test_a_configuration_makes_the_same_layer_again(case):
    layer = CONFIGURED[case](lmcourse.keras)
    config = layer.get_config()
    again = type(layer).from_config(config)
    assert type(again) is type(layer)
    assert again.get_config() == config


@pytest.mark.parametrize("case", CONFIGURED)
def test_configurations_have_the_values_of_keras(case):
    """Where both have a name and Keras's value is a plain one; Keras nests the others."""
    ours, theirs = (CONFIGURED[case](library).get_config() for library in (lmcourse.keras, keras))
    plain = {
        name: value
        for name, value in theirs.items()
        if isinstance(value, str | int | float) and (name != "name" or "_" not in value)
    }
    missing = {"unroll", "zero_output_for_mask", "dtype", "sparse", "seed"}
    for name, value in plain.items():
        if name not in missing:
            assert ours[name] == value or {ours[name], value} == {None, "linear"}, name
