"""The recurrent layers against torch's; the model, its training and its sampling against torch."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lmcourse import language_models, rnn
from lmcourse.gradient_check import check_gradients
from lmcourse.language_models import generate
from lmcourse.optimizers import SGD, Adam
from lmcourse.rnn import (
    GRU,
    RECURRENT_STARTS,
    RNN,
    RecurrentModel,
    gradient_flow,
    orthogonal_matrix,
    spectral_radius,
    train,
)

KINDS = [RNN, GRU]
TORCH = {RNN: torch.nn.RNN, GRU: torch.nn.GRU}
VOCAB = 5

both_kinds = pytest.mark.parametrize("kind", KINDS)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
sizes = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS),
        "batch": st.integers(1, 4),
        "time": st.integers(1, 6),
        "inputs": st.integers(1, 4),
        "hidden": st.integers(1, 5),
        "seed": st.integers(0, 1000),
    }
)


def assert_equal(ours, theirs):
    if isinstance(theirs, torch.Tensor):
        theirs = theirs.detach().numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)


def torch_layer(layer):
    """Return torch's layer with the same weights; each of ours is split over torch's two biases.

    torch adds ``bias_ih`` outside and ``bias_hh`` inside the reset gate's product. Only in the
    candidate's block does that differ: there ``bias_hh`` is our ``candidate_bias``. Elsewhere our
    ``bias`` is the sum of the two, however it is split.
    """
    hidden, p = layer.hidden_size, layer.parameters
    theirs = TORCH[type(layer)](layer.input_size, hidden, batch_first=True, dtype=torch.float64)
    inside = np.random.default_rng(7).normal(size=p["bias"].shape)
    outside = p["bias"] - inside
    if isinstance(layer, GRU):
        inside[2 * hidden :], outside[2 * hidden :] = p["candidate_bias"], p["bias"][2 * hidden :]
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.tensor(p["input_weight"].T.copy()))
        theirs.weight_hh_l0.copy_(torch.tensor(p["recurrent_weight"].T.copy()))
        theirs.bias_ih_l0.copy_(torch.tensor(outside))
        theirs.bias_hh_l0.copy_(torch.tensor(inside))
    return theirs


def assert_parameter_gradients_equal(gradients, theirs):
    hidden = theirs.hidden_size
    assert_equal(gradients["input_weight"], theirs.weight_ih_l0.grad.T)
    assert_equal(gradients["recurrent_weight"], theirs.weight_hh_l0.grad.T)
    assert_equal(gradients["bias"], theirs.bias_ih_l0.grad)
    assert_equal(gradients["bias"][: 2 * hidden], theirs.bias_hh_l0.grad[: 2 * hidden])
    if "candidate_bias" in gradients:
        assert_equal(gradients["candidate_bias"], theirs.bias_hh_l0.grad[2 * hidden :])


def random_layer(kind, inputs, hidden, *, seed=0, dtype=np.float64):
    layer = kind(inputs, hidden, seed=seed, dtype=dtype)
    rng = np.random.default_rng(seed)
    for p in layer.parameters.values():
        p += rng.normal(size=p.shape) / 2
    return layer


def random_case(kind, batch, time, inputs, hidden, seed):
    """Return a layer, inputs, an initial state, and upstream gradients of states and last state."""
    rng = np.random.default_rng(seed)
    layer = random_layer(kind, inputs, hidden, seed=seed)
    x, state = rng.normal(size=(batch, time, inputs)), rng.normal(size=(batch, hidden))
    return layer, x, state, rng.normal(size=(batch, time, hidden)), rng.normal(size=(batch, hidden))


def leaf(array):
    return torch.tensor(array, requires_grad=True)


# The layers


@given(size=sizes, upstream=st.sampled_from(["all states", "last state", "both"]))
def test_layers_and_all_their_gradients_equal_torch(size, upstream):
    layer, x, state, d_all, d_last = random_case(**size)
    if upstream == "all states":
        d_last = None
    if upstream == "last state":
        d_all = np.zeros_like(d_all)
    theirs, tx, tstate = torch_layer(layer), leaf(x), leaf(state)
    outputs, last = theirs(tx, tstate[None])
    (outputs * torch.tensor(d_all)).sum().backward(retain_graph=True)
    if d_last is not None:
        (last[0] * torch.tensor(d_last)).sum().backward()

    hidden_states, final, tape = layer.forward(x, state)
    gradients = layer.backward(tape, d_all, d_last)
    assert_equal(hidden_states, outputs)
    assert_equal(final, last[0])
    assert_parameter_gradients_equal(gradients.parameters, theirs)
    assert_equal(gradients.x, tx.grad)
    assert_equal(gradients.state, tstate.grad)


@both_kinds
def test_without_a_state_the_reading_starts_at_zero(kind):
    layer, x, state, _, _ = random_case(kind, 2, 3, 2, 4, seed=0)
    for ours, zeros in zip(layer.forward(x)[:2], layer.forward(x, 0 * state)[:2], strict=True):
        np.testing.assert_array_equal(ours, zeros)


@given(size=sizes, data=st.data())
def test_variable_lengths_equal_torchs_packed_sequences(size, data):
    layer, x, state, d_all, d_last = random_case(**size)
    batch, time = size["batch"], size["time"]
    lengths = data.draw(st.lists(st.integers(1, time), min_size=batch, max_size=batch))
    mask = np.arange(time) < np.array(lengths)[:, None]
    theirs, tx, tstate = torch_layer(layer), leaf(x), leaf(state)
    packed = pack_padded_sequence(tx, lengths, batch_first=True, enforce_sorted=False)
    outputs, last = theirs(packed, tstate[None])
    outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=time)
    d_all = d_all * mask[..., None]  # torch fills its outputs with zeros where they are padding
    loss = (outputs * torch.tensor(d_all)).sum() + (last[0] * torch.tensor(d_last)).sum()
    loss.backward()

    hidden_states, final, tape = layer.forward(x, state, mask=mask)
    gradients = layer.backward(tape, d_all, d_last)
    assert_equal(hidden_states[mask], outputs[torch.tensor(mask)])
    assert_equal(final, last[0])
    assert_parameter_gradients_equal(gradients.parameters, theirs)
    assert_equal(gradients.x, tx.grad)
    assert_equal(gradients.state, tstate.grad)


@given(size=sizes, data=st.data())
def test_padding_anywhere_hands_the_state_on(size, data):
    """Against torch one step at a time, which also gives the gradient at every single state."""
    layer, x, state, d_all, d_last = random_case(**size)
    batch, time = size["batch"], size["time"]
    flags = data.draw(st.lists(st.booleans(), min_size=batch * time, max_size=batch * time))
    mask = np.array(flags).reshape(batch, time)
    theirs, tx, tstate = torch_layer(layer), leaf(x), leaf(state)
    states = [tstate]
    for t in range(time):
        new = theirs(tx[:, t : t + 1], states[-1][None])[0][:, 0]
        states.append(torch.where(torch.tensor(mask[:, t : t + 1]), new, states[-1]))
        states[-1].retain_grad()
    outputs = torch.stack(states[1:], dim=1)
    loss = (outputs * torch.tensor(d_all)).sum() + (states[-1] * torch.tensor(d_last)).sum()
    loss.backward()

    hidden_states, final, tape = layer.forward(x, state, mask=mask)
    gradients = layer.backward(tape, d_all, d_last)
    assert_equal(hidden_states, outputs)
    assert_equal(final, states[-1])
    assert_parameter_gradients_equal(gradients.parameters, theirs)
    assert_equal(gradients.x, tx.grad)
    assert_equal(gradients.state, tstate.grad)
    assert_equal(gradients.hidden_states, torch.stack([h.grad for h in states[1:]], dim=1))
    # And exactly: padding neither moves the state nor receives a gradient.
    before = np.concatenate([state[:, None], hidden_states[:, :-1]], axis=1)
    np.testing.assert_array_equal(hidden_states[~mask], before[~mask])
    np.testing.assert_array_equal(gradients.x[~mask], 0)


@both_kinds
def test_what_stands_at_padding_does_not_matter(kind):
    layer, x, state, d_all, d_last = random_case(kind, 2, 5, 3, 4, seed=3)
    mask = np.array([[False, True, False, True, False], [True, True, False, False, True]])
    changed = np.where(mask[..., None], x, 1e6)
    one, other = (layer.forward(inputs, state, mask=mask) for inputs in (x, changed))
    np.testing.assert_array_equal(one[0], other[0])
    backs = [layer.backward(tape, d_all, d_last) for *_, tape in (one, other)]
    for name, gradient in backs[0].parameters.items():
        np.testing.assert_array_equal(gradient, backs[1].parameters[name])


@given(size=sizes)
def test_float32_gives_the_same_to_its_own_precision(size):
    layer, x, state, d_all, d_last = random_case(**size)
    small = type(layer)(layer.input_size, layer.hidden_size)
    for name, p in layer.parameters.items():
        small.parameters[name] = p.astype(np.float32)
    *outputs, tape = layer.forward(x, state)
    *small_outputs, small_tape = small.forward(x, state)  # float64 inputs are rounded
    back = layer.backward(tape, d_all, d_last)
    small_back = small.backward(small_tape, d_all, d_last)
    pairs = [
        *zip(small_outputs, outputs, strict=True),
        *zip(small_back[1:], back[1:], strict=True),
        *((small_back.parameters[name], g) for name, g in back.parameters.items()),
    ]
    for in_float32, in_float64 in pairs:
        assert in_float32.dtype == np.float32
        assert in_float64.dtype == np.float64
        np.testing.assert_allclose(in_float32, in_float64, rtol=1e-4, atol=1e-4)


@both_kinds
@both_dtypes
@pytest.mark.parametrize(("batch", "hidden"), [(1, 1), (1, 24), (3, 7), (8, 33), (32, 64)])
def test_chunks_give_exactly_the_unchunked_result(kind, dtype, batch, hidden):
    rng = np.random.default_rng(0)
    layer = random_layer(kind, 5, hidden, dtype=dtype)
    x = rng.normal(size=(batch, 40, 5))
    mask = rng.random((batch, 40)) < 0.8
    for padding in (None, mask):
        whole, last, _ = layer.forward(x, mask=padding)
        for cuts in ([20], [1, 2, 39], [7, 14, 21, 28, 35]):
            state, pieces = None, []
            for piece in np.split(np.arange(40), cuts):
                part = None if padding is None else padding[:, piece]
                outputs, state, _ = layer.forward(x[:, piece], state, mask=part)
                pieces.append(outputs)
            np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
            np.testing.assert_array_equal(state, last)


@both_kinds
def test_nothing_that_is_handed_in_is_changed(kind):
    layer, x, state, d_all, d_last = random_case(kind, 2, 3, 2, 4, seed=0)
    given = (x, state, d_all, d_last, *layer.parameters.values())
    before = [array.copy() for array in given]
    outputs, last, tape = layer.forward(x, state)
    layer.backward(tape, d_all, d_last)
    kept = outputs.copy()
    last += 1  # the caller's own: it is no view of the outputs
    np.testing.assert_array_equal(outputs, kept)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_saturated_gates_do_not_overflow():
    layer = GRU(1, 1)
    for p in layer.parameters.values():
        p[...] = 1
    with np.errstate(over="raise", invalid="raise"):
        for huge in (1e30, -1e30):
            hidden_states, _, tape = layer.forward(np.full((1, 3, 1), huge))
            assert np.isfinite(hidden_states).all()
            assert np.isfinite(layer.backward(tape, np.ones((1, 3, 1))).x).all()


# What the layers start from


def test_weights_start_with_the_documented_spread():
    for kind in KINDS:
        layer = kind(50, 80, recurrent_start="normal", seed=1, dtype=np.float64)
        np.testing.assert_allclose(layer.parameters["input_weight"].std(), 50**-0.5, rtol=0.05)
        np.testing.assert_allclose(layer.parameters["recurrent_weight"].std(), 80**-0.5, rtol=0.05)
        np.testing.assert_array_equal(layer.parameters["bias"], 0)


@both_kinds
def test_each_block_of_the_recurrent_weight_starts_as_asked(kind):
    for start in ("orthogonal", "identity"):
        weight = kind(2, 6, recurrent_start=start, dtype=np.float64).parameters["recurrent_weight"]
        blocks = np.split(weight, kind.blocks, axis=1)
        for block in blocks:
            np.testing.assert_allclose(block @ block.T, np.eye(6), atol=1e-14)
            assert np.array_equal(block, np.eye(6)) == (start == "identity")
    if kind is GRU:
        independent = GRU(2, 6).parameters["recurrent_weight"]
        assert not np.allclose(independent[:, :6], independent[:, 6:12])


@both_kinds
@pytest.mark.parametrize("start", RECURRENT_STARTS)
def test_the_seed_decides_the_weights(kind, start):
    one, same, other = (kind(2, 3, recurrent_start=start, seed=s).parameters for s in (4, 4, 5))
    for name in one:
        np.testing.assert_array_equal(one[name], same[name])
    assert not np.array_equal(one["input_weight"], other["input_weight"])


def test_the_update_bias_stands_in_the_update_gates_block_and_keeps_the_state():
    np.testing.assert_array_equal(
        GRU(2, 3, update_bias=1.5).parameters["bias"], [0, 0, 0, 1.5, 1.5, 1.5, 0, 0, 0]
    )
    keeps = GRU(2, 3, update_bias=40, dtype=np.float64)
    rng = np.random.default_rng(0)
    state = rng.normal(size=(1, 3))
    _, last, _ = keeps.forward(rng.normal(size=(1, 100, 2)), state)
    np.testing.assert_allclose(last, state, rtol=1e-12)


# The model


def small_model(kind, *, dtype=np.float64, embed=3, hidden=4, vocab=VOCAB, model=RecurrentModel):
    built = model(vocab, random_layer(kind, embed, hidden, dtype=dtype))
    built.parameters["output_bias"] += np.random.default_rng(0).normal(size=vocab).astype(dtype)
    return built


class TorchModel:
    """torch's embedding, recurrent layer and linear layer, on leaves named as our parameters."""

    def __init__(self, model):
        self.weights = {name: leaf(value) for name, value in model.parameters.items()}
        self.layer = torch_layer(model.layer)

    def logits(self, ids, state=None):
        w, hidden = self.weights, self.layer.hidden_size
        bias_hh = torch.zeros_like(w["bias"])
        if "candidate_bias" in w:
            bias_hh = torch.cat([bias_hh[: 2 * hidden], w["candidate_bias"]])
        layer_weights = {
            "weight_ih_l0": w["input_weight"].T,
            "weight_hh_l0": w["recurrent_weight"].T,
            "bias_ih_l0": w["bias"],
            "bias_hh_l0": bias_hh,
        }
        if state is None:
            state = torch.zeros(1, len(ids), hidden, dtype=torch.float64)
        x = functional.embedding(torch.tensor(ids), w["embedding"])
        outputs, state = torch.func.functional_call(self.layer, layer_weights, (x, state))
        return functional.linear(outputs, w["output_weight"].T, w["output_bias"]), state

    def loss(self, ids, targets, state=None):
        logits, state = self.logits(ids, state)
        targets = torch.tensor(targets).flatten()
        return functional.cross_entropy(logits.flatten(0, 1), targets), state


@both_kinds
def test_loss_and_gradients_equal_torch(kind):
    model = small_model(kind)
    theirs = TorchModel(model)
    rng = np.random.default_rng(2)
    ids, targets = rng.integers(VOCAB, size=(2, 3, 7))  # 21 tokens of 5 kinds: many come twice
    ids[0] = 2  # also within one sequence
    state = rng.normal(size=(3, 4))
    torch_state = torch.tensor(state)[None]
    expected, expected_state = theirs.loss(ids, targets, torch_state)
    expected.backward()

    loss, gradients, last = model.loss_and_gradients(ids, targets, state)
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-13)
    assert_equal(last, expected_state[0])
    assert gradients.keys() == theirs.weights.keys()
    for name, weight in theirs.weights.items():
        assert_equal(gradients[name], weight.grad)
    logits, last = model.logits(ids, state)
    assert_equal(logits, theirs.logits(ids, torch_state)[0])
    assert_equal(last, expected_state[0])


@both_kinds
@pytest.mark.parametrize("options", ["plain", "state", "mask", "counted", "all"])
def test_gradients_equal_finite_differences(kind, options):
    model = small_model(kind, embed=2, hidden=3)
    rng = np.random.default_rng(1)
    ids, targets = rng.integers(VOCAB, size=(2, 3, 4))
    state, arguments = None, {}
    if options in ("state", "all"):
        state = rng.normal(size=(3, 3))
    if options in ("mask", "all"):
        arguments["mask"] = np.array([[1, 1, 0, 1], [0, 1, 1, 0], [1, 1, 1, 1]], bool)
    if options in ("counted", "all"):
        arguments["counted"] = np.array([[0, 0, 0, 1], [1, 0, 1, 1], [0, 0, 0, 0]], bool)

    def loss_and_gradients(parameters):
        for name, value in parameters.items():
            model.parameters[name][...] = value
        return model.loss_and_gradients(ids, targets, state, **arguments)[:2]

    check_gradients(loss_and_gradients, model.parameters, tolerance=1e-6)


@both_kinds
@pytest.mark.parametrize("names", [(), ("mask",), ("counted",), ("mask", "counted")])
def test_the_loss_is_the_mean_over_what_counts(kind, names):
    model = small_model(kind)
    ids, targets = np.random.default_rng(3).integers(VOCAB, size=(2, 2, 6))
    masks = {
        "mask": np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], bool),
        "counted": np.array([[0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 0, 1]], bool),
    }
    wanted = np.logical_and.reduce([np.ones((2, 6), bool), *(masks[name] for name in names)])
    logits, _ = model.logits(ids, mask=masks["mask"] if "mask" in names else None)
    loss, _, _ = model.loss_and_gradients(ids, targets, **{name: masks[name] for name in names})
    expected = functional.cross_entropy(torch.tensor(logits[wanted]), torch.tensor(targets[wanted]))
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-13)


@both_kinds
def test_padded_targets_do_not_matter(kind):
    model = small_model(kind)
    rng = np.random.default_rng(3)
    ids, targets = rng.integers(VOCAB, size=(2, 2, 4))
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0]], bool)
    loss, gradients, _ = model.loss_and_gradients(ids, targets, mask=mask)
    other_ids, other_targets = np.where(mask, ids, 0), np.where(mask, targets, 0)
    other_loss, others, _ = model.loss_and_gradients(other_ids, other_targets, mask=mask)
    assert loss == other_loss
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, others[name])


@both_kinds
@both_dtypes
def test_the_model_keeps_its_precision(kind, dtype):
    model = small_model(kind, dtype=dtype)
    ids = np.arange(12).reshape(2, 6) % VOCAB
    loss, gradients, last = model.loss_and_gradients(ids, ids)
    logits, _ = model.logits(ids)
    assert isinstance(loss, float)
    assert {array.dtype for array in (last, logits, *gradients.values())} == {np.dtype(dtype)}
    assert {p.dtype for p in model.parameters.values()} == {np.dtype(dtype)}


@both_kinds
def test_float32_losses_and_gradients_equal_float64(kind):
    exact, model = small_model(kind), small_model(kind, dtype=np.float32)
    for name, p in exact.parameters.items():
        model.parameters[name][...] = p
    ids, targets = np.random.default_rng(0).integers(VOCAB, size=(2, 4, 9))
    loss, gradients, _ = model.loss_and_gradients(ids, targets)
    exact_loss, exact_gradients, _ = exact.loss_and_gradients(ids, targets)
    np.testing.assert_allclose(loss, exact_loss, rtol=1e-6)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, exact_gradients[name], rtol=1e-4, atol=1e-6)


def test_the_integer_type_of_ids_does_not_matter():
    model = small_model(RNN, embed=50)  # 5 * 50 entries of the embedding are too many for int8
    ids = np.random.default_rng(0).integers(VOCAB, size=(2, 4))
    _, gradients, _ = model.loss_and_gradients(ids, ids)
    _, others, _ = model.loss_and_gradients(ids.astype(np.int8), ids.astype(np.int8))
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, others[name])


@both_kinds
def test_model_and_layer_share_their_parameters(kind):
    model = small_model(kind)
    for name, p in model.layer.parameters.items():
        assert model.parameters[name] is p
    layer = {RNN: 3 * 4 + 4 * 4 + 4, GRU: 3 * (3 * 4 + 4 * 4 + 4) + 4}[kind]
    assert model.n_parameters == 5 * 3 + layer + 4 * 5 + 5


@both_kinds
@both_dtypes
@pytest.mark.parametrize("batch", [1, 3])
def test_a_model_reads_chunks_exactly_as_the_whole(kind, dtype, batch):
    model = small_model(kind, dtype=dtype, hidden=33, vocab=20)
    ids = np.random.default_rng(0).integers(20, size=(batch, 40))
    whole, last = model.logits(ids)
    state, pieces = None, []
    for piece in np.split(ids, [1, 2, 20, 39], axis=1):
        logits, state = model.logits(piece, state)
        pieces.append(logits)
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
    np.testing.assert_array_equal(state, last)


@both_kinds
@both_dtypes
@pytest.mark.parametrize("chunk", [1, 2, 7, 39, 40, 41])
def test_scores_do_not_depend_on_how_much_is_held_in_memory(kind, dtype, chunk, monkeypatch):
    model = small_model(kind, dtype=dtype, hidden=33, vocab=20)
    ids = np.random.default_rng(0).integers(20, size=40)
    scores, state = model.token_log_probabilities(ids), model.state_after(ids)
    monkeypatch.setattr(rnn, "CHUNK", chunk)
    np.testing.assert_array_equal(model.token_log_probabilities(ids), scores)
    np.testing.assert_array_equal(model.state_after(ids), state)


def test_embedding_and_output_start_with_unit_scale():
    """Vectors of variance 1 go in, and states of entries up to 1 give logits of that size."""
    model = RecurrentModel(300, RNN(40, 60, dtype=np.float64), seed=2)
    np.testing.assert_allclose(model.parameters["embedding"].std(), 1, rtol=0.05)
    np.testing.assert_allclose(model.parameters["output_weight"].std(), 60**-0.5, rtol=0.05)
    np.testing.assert_array_equal(model.parameters["output_bias"], 0)
    other = RecurrentModel(300, RNN(40, 60, dtype=np.float64), seed=3)
    assert not np.array_equal(model.parameters["embedding"], other.parameters["embedding"])


# The model as a language model


@both_kinds
def test_scores_agree_with_distributions_and_with_torch(kind):
    model = small_model(kind)
    theirs = TorchModel(model)
    ids = np.array([4, 0, 3, 3, 1, 2, 0])
    scores = model.token_log_probabilities(ids)
    assert scores.dtype == np.float64
    for t in range(len(ids)):
        p = model.probabilities(ids[:t])
        np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)
        np.testing.assert_allclose(np.log(p[ids[t]]), scores[t], rtol=1e-12)
    logits, _ = theirs.logits(ids[None, :-1])
    np.testing.assert_allclose(
        scores[1:],
        torch.log_softmax(logits[0], dim=-1)[range(6), ids[1:]].detach().numpy(),
        rtol=1e-12,
    )
    before_any = torch.softmax(theirs.weights["output_bias"], dim=-1)  # the state is zero
    assert_equal(model.probabilities(np.array([], dtype=np.int64)), before_any)
    np.testing.assert_array_equal(model.token_log_probabilities(ids[:1]), scores[:1])


@both_kinds
def test_it_is_a_language_model(kind):
    assert isinstance(small_model(kind), language_models.LanguageModel)


class Rereading:
    """A model without a reader: it can only be shown the whole text."""

    def __init__(self, model):
        self.vocab_size = model.vocab_size
        self.probabilities = model.probabilities
        self.token_log_probabilities = model.token_log_probabilities


@both_kinds
def test_a_reader_reads_on(kind):
    model, ids = small_model(kind), np.array([1, 4, 4, 0, 2])
    read, other = model.reader(), model.reader()
    assert_equal(read(ids[:0]), model.probabilities(ids[:0]))
    assert_equal(read(ids[:3]), model.probabilities(ids[:3]))
    assert_equal(other(ids[1:2]), model.probabilities(ids[1:2]))
    assert_equal(read(ids[3:]), model.probabilities(ids))


@both_kinds
@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.6}, {"min_p": 0.3}],
)
def test_generation_draws_what_rereading_the_text_would_draw(kind, settings):
    model = small_model(kind)
    for context in (np.array([], dtype=np.int64), np.array([1, 4, 4])):
        expected = generate(Rereading(model), context, 20, seed=3, **settings)
        drawn = generate(model, context, 20, seed=3, **settings)
        np.testing.assert_array_equal(drawn, expected)
        assert len(set(drawn.tolist())) > 1
    assert not np.array_equal(drawn, generate(model, context, 20, seed=4, **settings))


def test_generation_carries_the_state(monkeypatch):
    model = small_model(GRU)
    lengths = []
    forward = model.layer.forward

    def recording(x, state=None, *, mask=None):
        lengths.append(x.shape[1])
        return forward(x, state, mask=mask)

    monkeypatch.setattr(model.layer, "forward", recording)
    generate(model, np.array([1, 4, 4]), 20)
    assert lengths[0] == 3
    assert set(lengths[1:]) == {1}
    assert len(lengths) <= 21
    assert len(generate(model, np.array([1]), 0)) == 0


def test_state_after_a_text_continues_from_a_state():
    model = small_model(GRU)
    ids = np.array([3, 1, 4, 1, 0])
    half = model.state_after(ids[:2])
    np.testing.assert_array_equal(model.state_after(ids[2:], half), model.state_after(ids))
    np.testing.assert_array_equal(model.state_after(ids[:0], half), half)
    np.testing.assert_array_equal(model.state_after(ids[:0]), np.zeros((1, 4)))


# Training


class RecordedModel(RecurrentModel):
    """Remembers what training asked of it."""

    def loss_and_gradients(self, ids, targets, state=None, **options):
        result = super().loss_and_gradients(ids, targets, state, **options)
        self.calls = [*getattr(self, "calls", []), (ids.copy(), targets.copy(), state, result[2])]
        return result


@pytest.mark.parametrize("carry_state", [True, False])
@pytest.mark.parametrize(("batch_size", "length", "n_tokens"), [(3, 4, 53), (1, 5, 30), (4, 1, 19)])
def test_training_reads_streams_piece_by_piece(carry_state, batch_size, length, n_tokens):
    # Every token is its own position, so that what is read says where it was read.
    model = RecordedModel(n_tokens, RNN(2, 3))
    train(
        model,
        np.arange(n_tokens),
        SGD(0.01),
        steps=40,
        batch_size=batch_size,
        length=length,
        carry_state=carry_state,
    )
    starts = []  # where each stream's first token stands, one entry a pass over the text
    previous = None
    for ids, targets, state, last in model.calls:
        assert ids.shape == (batch_size, length)
        np.testing.assert_array_equal(ids, ids[:, :1] + np.arange(length))
        np.testing.assert_array_equal(targets, ids + 1)
        continues = previous is not None and np.array_equal(ids[:, 0], previous[0][:, -1] + 1)
        if continues and carry_state:
            np.testing.assert_array_equal(state, previous[1])
        else:
            assert state is None
        if not continues:
            starts.append(ids[:, 0])
            if previous is not None:  # what was left of each stream is less than a piece
                stream = (n_tokens - 1 - starts[-2][0]) // batch_size
                assert stream - length < previous[0][0, -1] + 1 - starts[-2][0] <= stream
        previous = ids, last
    assert len(starts) > 2
    for begin in starts:
        stream = (n_tokens - 1 - begin[0]) // batch_size
        np.testing.assert_array_equal(begin, begin[0] + stream * np.arange(batch_size))
    offsets = [int(begin[0]) for begin in starts]
    assert offsets[0] == 0
    assert all(0 <= offset < length for offset in offsets)
    assert len(set(offsets)) > 1 or length == 1


def test_the_shortest_text_is_one_piece_read_again_and_again():
    model = RecordedModel(13, RNN(2, 3))
    train(model, np.arange(13), SGD(0.01), steps=3, batch_size=3, length=4)
    for ids, _, state, _ in model.calls:
        np.testing.assert_array_equal(ids, np.arange(12).reshape(3, 4))
        assert state is None


@both_kinds
@pytest.mark.parametrize("carry_state", [True, False])
@pytest.mark.parametrize("clipped", [True, False])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(SGD, torch.optim.SGD), (Adam, torch.optim.Adam)], ids=["sgd", "adam"]
)
def test_training_equals_the_same_in_torch(kind, carry_state, clipped, ours, theirs):
    model = small_model(kind, model=RecordedModel)
    torch_model = TorchModel(model)
    ids = np.random.default_rng(4).integers(VOCAB, size=50)
    steps, rate = 14, 0.1  # three pieces a pass: several passes
    some_norms_are_above = {RNN: 0.7, GRU: 0.35}[kind]
    max_norm = some_norms_are_above if clipped else None
    losses = train(
        model,
        ids,
        ours(rate),
        steps=steps,
        batch_size=3,
        length=5,
        max_norm=max_norm,
        carry_state=carry_state,
    )
    weights = list(torch_model.weights.values())
    optimizer = theirs(weights, lr=rate)
    state, norms = None, []
    for step, (inputs, targets, our_state, _) in enumerate(model.calls):
        optimizer.param_groups[0]["lr"] = rate * (steps - step) / steps
        optimizer.zero_grad()
        loss, state = torch_model.loss(inputs, targets, None if our_state is None else state)
        loss.backward()
        norms.append(torch.sqrt(sum((w.grad**2).sum() for w in weights)))
        if clipped:
            for weight in weights:
                weight.grad *= torch.clamp(max_norm / norms[-1], max=1)
        optimizer.step()
        state = state.detach()
        np.testing.assert_allclose(losses[step], loss.item(), rtol=1e-9)
    for name, weight in torch_model.weights.items():
        np.testing.assert_allclose(
            model.parameters[name], weight.detach().numpy(), rtol=1e-8, atol=1e-10
        )
    assert min(norms) < some_norms_are_above < max(norms)


@both_kinds
def test_training_learns_what_only_a_state_can_carry(kind):
    """Three tokens of one kind, then three of another: the last token alone does not say which."""
    ids = np.tile([0, 0, 0, 1, 1, 1], 60)
    optimizer = Adam(0.03)
    model = RecurrentModel(2, kind(4, 8))
    losses = train(model, ids, optimizer, steps=150, batch_size=4, length=8)
    assert losses[0] > 0.5
    assert losses[-10:].mean() < 0.05
    assert optimizer.learning_rate == 0.03
    assert {p.dtype for p in model.parameters.values()} == {np.dtype(np.float32)}
    continuation = generate(model, ids[:9], 9, top_k=1)
    np.testing.assert_array_equal(continuation, ids[9:18])


def test_the_same_seed_trains_the_same_model():
    ids = np.random.default_rng(0).integers(VOCAB, size=60)

    def losses(seed):
        model = small_model(GRU)
        return train(model, ids, SGD(0.1), steps=12, batch_size=2, length=8, seed=seed)

    np.testing.assert_array_equal(losses(3), losses(3))
    assert not np.array_equal(losses(3), losses(4))


# Gradient flow


@both_kinds
@pytest.mark.parametrize("n_tokens", [2, 9])
def test_gradient_flow_equals_autograd(kind, n_tokens):
    model = small_model(kind)
    theirs = TorchModel(model)
    ids = np.random.default_rng(5).integers(VOCAB, size=n_tokens)
    x = leaf(model.parameters["embedding"][ids[:-1]])
    state, states = torch.zeros(1, 1, 4, dtype=torch.float64), []
    for t in range(n_tokens - 1):
        _, state = theirs.layer(x[None, t : t + 1], state)
        state.retain_grad()
        states.append(state)
    logits = state[0] @ theirs.weights["output_weight"] + theirs.weights["output_bias"]
    functional.cross_entropy(logits, torch.tensor(ids[-1:])).backward()

    flow = gradient_flow(model, ids)
    assert_equal(flow.hidden_states, torch.stack([h.grad.norm() for h in states]))
    assert_equal(flow.inputs, x.grad.norm(dim=-1))


def test_gradient_flow_neither_vanishes_nor_explodes_through_a_rotation():
    """The limit that the chapter speaks of: tanh at 0 has slope 1, and rotations keep lengths."""
    model = RecurrentModel(3, RNN(2, 8, dtype=np.float64))
    model.parameters["embedding"][...] = 0
    for scale in (1.0, 0.5, 2.0):
        model.parameters["recurrent_weight"][...] = scale * orthogonal_matrix(
            8, np.random.default_rng(0)
        )
        norms = gradient_flow(model, np.zeros(12, dtype=np.int64)).hidden_states
        np.testing.assert_allclose(norms[:-1], norms[1:] * scale, rtol=1e-12)


# Matrices


@given(st.integers(1, 8), st.integers(0, 1000))
def test_spectral_radius_equals_scipys_eigenvalues(size, seed):
    matrix = np.random.default_rng(seed).normal(size=(size, size))
    expected = np.abs(scipy.linalg.eigvals(matrix)).max()
    np.testing.assert_allclose(spectral_radius(matrix), expected, rtol=1e-9)
    np.testing.assert_allclose(
        spectral_radius(matrix.astype(np.float32)), expected, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(
    ("matrix", "radius"),
    [
        ([[0.0, -1.0], [1.0, 0.0]], 1),  # a rotation: eigenvalues i and -i
        ([[3.0, -4.0], [4.0, 3.0]], 5),
        ([[0.5, 100.0], [0.0, 0.25]], 0.5),  # its largest singular value is 100
        ([[-2.0, 0.0], [0.0, 1.0]], 2),
        ([[0.0, 1.0], [0.0, 0.0]], 0),
        ([[-0.7]], 0.7),
    ],
)
def test_spectral_radius_of_known_matrices(matrix, radius):
    np.testing.assert_allclose(spectral_radius(np.array(matrix)), radius, rtol=1e-14)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_orthogonal_matrices_keep_lengths(size):
    matrix = orthogonal_matrix(size, np.random.default_rng(size))
    assert matrix.dtype == np.float64
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-13)
    np.testing.assert_allclose(spectral_radius(matrix), 1, rtol=1e-12)


def test_orthogonal_matrices_come_from_the_one_factorization_with_a_positive_diagonal():
    """Gram-Schmidt's, whose Q is uniform; what QR returns has signs that are not."""
    drawn = np.random.default_rng(1).normal(size=(6, 6))
    r = orthogonal_matrix(6, np.random.default_rng(1)).T @ drawn
    np.testing.assert_allclose(r, np.triu(r), atol=1e-13)
    assert (np.diag(r) > 0).all()


def test_orthogonal_matrices_prefer_no_direction():
    rng = np.random.default_rng(0)
    draws = np.array([orthogonal_matrix(3, rng) for _ in range(4000)])
    # Five standard errors: entries have mean 0 and variance 1 / 3, det is 1 as often as -1.
    assert np.abs(draws.mean(axis=0)).max() < 5 * (1 / 3 / 4000) ** 0.5
    np.testing.assert_allclose((draws**2).mean(axis=0), 1 / 3, atol=0.03)
    assert abs(np.linalg.det(draws).mean()) < 5 / 4000**0.5


# Wrong input


def layer():
    return RNN(2, 3)


def forward(**changes):
    arguments = {"x": np.zeros((2, 4, 2)), **changes}
    return layer().forward(**arguments)


def backward(d_hidden_states, d_state=None):
    *_, tape = forward()
    return layer().backward(tape, d_hidden_states, d_state)


def loss(**changes):
    ids = np.zeros((2, 4), dtype=np.int64)
    arguments = {"ids": ids, "targets": ids, **changes}
    return RecurrentModel(5, layer()).loss_and_gradients(**arguments)


def training(n_tokens=20, **changes):
    arguments = {"steps": 1, "batch_size": 2, "length": 3, **changes}
    train(RecurrentModel(5, layer()), np.zeros(n_tokens, int), SGD(0.1), **arguments)


BAD_VALUE = [
    (lambda: RNN(0, 3), "input_size must be an integer >= 1, got 0"),
    (lambda: GRU(2, 0), "hidden_size must be an integer >= 1, got 0"),
    (lambda: RNN(2, 3, seed=-1), "seed must be an integer >= 0, got -1"),
    (
        lambda: GRU(2, 3, recurrent_start="xavier"),
        "recurrent_start must be one of 'orthogonal', 'normal', 'identity', got 'xavier'",
    ),
    (lambda: RNN(2, 3, dtype=np.float16), "dtype must be float32 or float64, got float16"),
    (lambda: GRU(2, 3, dtype=int), "dtype must be float32 or float64, got int64"),
    (lambda: GRU(2, 3, update_bias=np.inf), "update_bias must be a finite number, got inf"),
    # Sequences of no length, batches of no sequences, steps of no inputs.
    (lambda: forward(x=np.zeros((2, 0, 2))), r"x must have at least .* one step .* \(2, 0, 2\)"),
    (lambda: forward(x=np.zeros((0, 4, 2))), r"x must have at least one sequence.* \(0, 4, 2\)"),
    (lambda: forward(x=np.zeros((2, 4, 0))), r"x must have at least .* one input.* \(2, 4, 0\)"),
    (lambda: forward(x=np.zeros((4, 2))), r"x must have 3 axes, got shape \(4, 2\)"),
    (lambda: forward(x=np.zeros((2, 4, 3))), r"x must have 2 inputs a step, got .* \(2, 4, 3\)"),
    (lambda: forward(x=np.full((1, 1, 2), np.nan)), r"x must be finite, got nan at x\[0, 0, 0\]"),
    (lambda: forward(state=np.zeros((1, 3))), r"state must have shape \(2, 3\), got .* \(1, 3\)"),
    (lambda: forward(state=np.full((2, 3), np.inf)), r"state must be finite, got inf at state"),
    (
        lambda: forward(mask=np.ones((4, 2), bool)),
        r"mask must have shape \(2, 4\), got shape \(4, 2\)",
    ),
    (
        lambda: backward(np.zeros((4, 2, 3))),
        r"d_hidden_states must have shape \(2, 4, 3\), got shape \(4, 2, 3\)",
    ),
    (lambda: backward(np.full((2, 4, 3), np.nan)), "d_hidden_states must be finite, got nan"),
    (lambda: backward(np.zeros((2, 4, 3)), np.zeros((3, 2))), r"d_state must have shape \(2, 3\)"),
    (lambda: RecurrentModel(0, layer()), "vocab_size must be an integer >= 1, got 0"),
    (lambda: RecurrentModel(5, layer(), seed=-1), "seed must be an integer >= 0, got -1"),
    (lambda: loss(ids=np.full((2, 4), 5)), r"ids must lie in \[0, 5\), got 5 at ids\[0, 0\]"),
    (lambda: loss(ids=np.zeros((2, 0), int)), "ids must hold at least one token id"),
    (lambda: loss(ids=np.zeros(4, int)), r"ids must have 2 axes, got shape \(4,\)"),
    (lambda: loss(targets=np.full((2, 4), -1)), r"targets must lie in \[0, 5\), got -1"),
    (
        lambda: loss(targets=np.zeros((2, 3), int)),
        r"targets must have ids' shape \(2, 4\), got shape \(2, 3\)",
    ),
    (lambda: loss(counted=np.ones((2, 3), bool)), r"counted must have shape \(2, 4\)"),
    (lambda: loss(counted=np.zeros((2, 4), bool)), "counted must hold at least one target"),
    (
        lambda: loss(mask=np.eye(2, 4) > 0, counted=np.eye(2, 4) == 0),
        "counted must hold at least one target that is not padding, got none",
    ),
    (lambda: loss(state=np.zeros((3, 2))), r"state must have shape \(2, 3\)"),
    (
        lambda: RecurrentModel(5, layer()).logits(np.array([[0, 9]])),
        r"ids must lie in \[0, 5\), got 9 at ids\[0, 1\]",
    ),
    (
        lambda: RecurrentModel(5, layer()).probabilities(np.array([7])),
        r"context must lie in \[0, 5\), got 7",
    ),
    (
        lambda: RecurrentModel(5, layer()).token_log_probabilities(np.array([])),
        "ids must hold at least one token id",
    ),
    (
        lambda: RecurrentModel(5, layer()).state_after(np.array([1]), np.zeros((2, 3))),
        r"state must have shape \(1, 3\), got shape \(2, 3\)",
    ),
    (lambda: training(6), r"ids must hold at least 2 \* 3 \+ 1 tokens, .* got 6"),
    (lambda: training(steps=0), "steps must be an integer >= 1, got 0"),
    (lambda: training(batch_size=0), "batch_size must be an integer >= 1, got 0"),
    (lambda: training(length=0), "length must be an integer >= 1, got 0"),
    (lambda: training(max_norm=0), "max_norm must be a finite number > 0, got 0"),
    (lambda: training(seed=-1), "seed must be an integer >= 0, got -1"),
    (
        lambda: gradient_flow(RecurrentModel(5, layer()), np.array([1])),
        r"ids must hold at least two tokens, one of them to predict, got \[1\]",
    ),
    (
        lambda: gradient_flow(RecurrentModel(5, layer()), np.array([1, 5])),
        r"ids must lie in \[0, 5\), got 5 at ids\[1\]",
    ),
    (lambda: spectral_radius(np.ones((2, 3))), r"matrix must be square, got shape \(2, 3\)"),
    (lambda: spectral_radius(np.ones(4)), r"matrix must have 2 axes, got shape \(4,\)"),
    (lambda: spectral_radius(np.ones((0, 0))), "matrix must not be empty"),
    (lambda: spectral_radius(np.array([[np.nan]])), "matrix must be finite, got nan"),
    (
        lambda: orthogonal_matrix(0, np.random.default_rng(0)),
        "size must be an integer >= 1, got 0",
    ),
]

BAD_TYPE = [
    (lambda: RNN(2.0, 3), r"input_size must be an integer, got float 2\.0"),
    (lambda: RNN(2, "3"), "hidden_size must be an integer, got str '3'"),
    (lambda: GRU(2, 3, update_bias="1"), "update_bias must be a number, got str '1'"),
    (lambda: forward(x=np.full((1, 1, 2), "a")), "x must be an array of real numbers"),
    (lambda: forward(state=np.full((2, 3), "a")), "state must be an array of real numbers"),
    (lambda: forward(mask=np.ones((2, 4))), "mask must be an array of bool, got .* float64"),
    (lambda: forward(mask=np.ones((2, 4), int)), "mask must be an array of bool, got .* int64"),
    (lambda: backward(np.full((2, 4, 3), "a")), "d_hidden_states must be an array of real numbers"),
    (lambda: RecurrentModel(5, torch.nn.RNN(2, 3)), "layer must be an RNN or a GRU, got RNN"),
    (lambda: RecurrentModel(5, RNN), "layer must be an RNN or a GRU, got type"),
    (lambda: loss(ids=np.zeros((2, 4))), "ids must hold integer token ids"),
    (lambda: loss(targets=np.zeros((2, 4))), "targets must hold integer token ids"),
    (lambda: loss(counted=np.ones((2, 4), int)), "counted must be an array of bool"),
    (lambda: loss(mask=np.ones((2, 4), int)), "mask must be an array of bool"),
    (lambda: training(steps=1.5), r"steps must be an integer, got float 1\.5"),
    (lambda: training(max_norm="1"), "max_norm must be a number, got str '1'"),
    (lambda: spectral_radius(np.full((2, 2), "a")), "matrix must be an array of real numbers"),
    (lambda: orthogonal_matrix(2.5, np.random.default_rng(0)), "size must be an integer"),
]


@pytest.mark.wrong_input
@pytest.mark.parametrize(("call", "message"), BAD_VALUE)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.wrong_input
@pytest.mark.parametrize(("call", "message"), BAD_TYPE)
def test_wrong_types_are_named(call, message):
    with pytest.raises(TypeError, match=message):
        call()
