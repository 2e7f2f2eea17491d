"""A torch model behind the numpy interface: gradients, shared memory, and training on a task."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lmcourse.gradient_check import check_gradients
from lmcourse.optimizers import SGD, Adam
from lmcourse.synthetic_tasks import delayed_copy_accuracy, learn_delayed_copy
from lmcourse.torch_models import NumpyInterface
from lmcourse.transformer import TransformerModel

VOCAB = 5


class Bigram(nn.Module):
    """Scores each next token by the last one alone; ``unused`` takes no part."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn(VOCAB, VOCAB, generator=generator, dtype=dtype))
        self.unused = nn.Parameter(torch.ones(2, 3, dtype=dtype))

    def forward(self, ids):
        return self.table[ids]


def transformer():
    return TransformerModel(VOCAB, 8, 2, 2, 12, positions="rotary", seed=1).double()


def sequences(seed=0, batch=3, time=6):
    ids = np.random.default_rng(seed).integers(VOCAB, size=(batch, time + 1))
    return ids[:, :-1], ids[:, 1:]


def test_logits_are_the_modules():
    module = transformer()
    ids, _ = sequences()
    logits, state = NumpyInterface(module).logits(ids)
    assert state is None
    assert isinstance(logits, np.ndarray)
    np.testing.assert_array_equal(logits, module(torch.from_numpy(ids)).detach().numpy())


def test_loss_and_gradients_equal_autograd():
    ids, targets = sequences()
    loss, gradients, state = NumpyInterface(transformer()).loss_and_gradients(ids, targets)
    module = transformer()
    expected = functional.cross_entropy(
        module(torch.from_numpy(ids)).flatten(0, 1), torch.from_numpy(targets).flatten()
    )
    names, parameters = zip(*module.named_parameters(), strict=True)
    assert state is None
    assert isinstance(loss, float)
    assert loss == pytest.approx(expected.item(), rel=1e-14)
    assert gradients.keys() == set(names)
    for name, theirs in zip(names, torch.autograd.grad(expected, parameters), strict=True):
        np.testing.assert_allclose(gradients[name], theirs.numpy(), rtol=1e-11, atol=1e-14)


def test_gradients_equal_finite_differences():
    model = NumpyInterface(transformer())
    ids, targets = sequences()
    counted = np.random.default_rng(1).random(ids.shape) < 0.5

    def loss_and_gradients(parameters):
        for name, value in parameters.items():
            model.parameters[name][...] = value
        return model.loss_and_gradients(ids, targets, counted=counted)[:2]

    start = {name: value.copy() for name, value in model.parameters.items()}
    check_gradients(loss_and_gradients, start, max_entries=4)


def test_only_counted_targets_count():
    model = NumpyInterface(Bigram())
    ids, targets = sequences()
    counted = np.zeros(ids.shape, bool)
    counted[0, 2] = counted[2, 5] = True
    loss, gradients, _ = model.loss_and_gradients(ids, targets, counted=counted)
    log_p = functional.log_softmax(model.module.table.detach(), dim=-1).numpy()
    picked = [log_p[ids[0, 2], targets[0, 2]], log_p[ids[2, 5], targets[2, 5]]]
    assert loss == pytest.approx(-np.mean(picked), rel=1e-14)
    reached = np.flatnonzero(gradients["table"].any(axis=1))
    assert set(reached) == {ids[0, 2], ids[2, 5]}

    changed = np.where(counted, targets, (targets + 1) % VOCAB)
    loss_after, gradients_after, _ = model.loss_and_gradients(ids, changed, counted=counted)
    assert loss_after == loss
    np.testing.assert_array_equal(gradients_after["table"], gradients["table"])


def test_everything_counts_if_nothing_is_said():
    model = NumpyInterface(Bigram())
    ids, targets = sequences()
    loss, gradients, _ = model.loss_and_gradients(ids, targets)
    every = model.loss_and_gradients(ids, targets, counted=np.ones(ids.shape, bool))
    assert every[0] == loss
    np.testing.assert_array_equal(every[1]["table"], gradients["table"])


def test_gradients_do_not_add_up_over_calls_nor_change_afterwards():
    model = NumpyInterface(Bigram())
    first_batch, second_batch = sequences(0), sequences(1)
    _, first, _ = model.loss_and_gradients(*first_batch)
    kept = first["table"].copy()
    _, second, _ = model.loss_and_gradients(*second_batch)
    _, fresh, _ = NumpyInterface(Bigram()).loss_and_gradients(*second_batch)
    np.testing.assert_array_equal(second["table"], fresh["table"])
    np.testing.assert_array_equal(first["table"], kept)


def test_a_parameter_without_a_part_gets_zeros():
    model = NumpyInterface(Bigram(torch.float32))
    _, gradients, _ = model.loss_and_gradients(*sequences())
    assert gradients["unused"].dtype == np.float32
    np.testing.assert_array_equal(gradients["unused"], np.zeros((2, 3)))


def test_an_optimizers_step_reaches_the_module():
    model = NumpyInterface(Bigram())
    ids, targets = sequences()
    before = model.logits(ids)[0].copy()
    loss, gradients, _ = model.loss_and_gradients(ids, targets)
    SGD(0.5).step(model.parameters, gradients)
    np.testing.assert_allclose(model.logits(ids)[0], before - 0.5 * gradients["table"][ids])
    assert model.loss_and_gradients(ids, targets)[0] < loss
    assert np.shares_memory(model.parameters["table"], model.module.table.detach().numpy())


def test_parameters_keep_names_shapes_and_types():
    module = TransformerModel(VOCAB, 8, 2, 1)
    model = NumpyInterface(module)
    assert model.parameters.keys() == {name for name, _ in module.named_parameters()}
    assert all(value.dtype == np.float32 for value in model.parameters.values())
    assert model.n_parameters == module.n_parameters == sum(p.numel() for p in module.parameters())
    _, gradients, _ = model.loss_and_gradients(*sequences())
    for name, gradient in gradients.items():
        assert gradient.shape == model.parameters[name].shape
        assert gradient.dtype == np.float32


def test_a_transformer_learns_to_copy_over_a_delay():
    model = NumpyInterface(TransformerModel(17, 32, 2, 1, positions="rotary", seed=0))
    rng = np.random.default_rng(0)
    assert delayed_copy_accuracy(model, 2, np.random.default_rng(9)) < 0.4
    learn_delayed_copy(model, Adam(5e-3), 2, rng, steps=60)
    assert delayed_copy_accuracy(model, 2, np.random.default_rng(9)) == 1.0


IDS = np.array([[0, 1], [2, 3]])


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("ids", "targets", "counted", "error", "words"),
    [
        (IDS * 1.0, IDS, None, TypeError, "ids must hold integer token ids"),
        (IDS, IDS * 1.0, None, TypeError, "targets must hold integer token ids"),
        (IDS[0], IDS, None, ValueError, "ids must have 2 axes, got shape (2,)"),
        (IDS[:, :0], IDS, None, ValueError, "ids must hold at least one token id"),
        (IDS, IDS[:1], None, ValueError, "targets must have the shape of ids (2, 2), got shape"),
        (-IDS, IDS, None, ValueError, "ids must lie in [0, "),
        (IDS + 2, IDS, None, ValueError, "ids must lie in [0, 5), got 5"),
        (IDS, IDS + 2, None, ValueError, "targets must lie in [0, 5), got 5 at targets[1, 1]"),
        (IDS, IDS, np.ones((2, 2)), TypeError, "counted must be an array of bool, got an array of"),
        (
            IDS,
            IDS,
            np.ones((1, 2), bool),
            ValueError,
            "counted must have the shape of ids (2, 2), got shape (1, 2)",
        ),
        (
            IDS,
            IDS,
            np.zeros((2, 2), bool),
            ValueError,
            "counted must hold at least one target, got none",
        ),
    ],
)
def test_wrong_batches(ids, targets, counted, error, words):
    model = NumpyInterface(transformer())
    with pytest.raises(error) as caught:
        model.loss_and_gradients(ids, targets, counted=counted)
    assert words in str(caught.value)


@pytest.mark.wrong_input
def test_wrong_ids_for_logits():
    model = NumpyInterface(transformer())
    with pytest.raises(TypeError, match="ids must hold integer token ids"):
        model.logits(IDS * 0.5)
    with pytest.raises(ValueError, match=r"ids must lie in \[0, 5\), got 6"):
        model.logits(IDS + 3)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("module", "error", "words"),
    [
        (lambda ids: ids, TypeError, "module must be a torch.nn.Module, got function"),
        (
            nn.Linear(2, 2, dtype=torch.bfloat16),
            TypeError,
            "module must have parameters of float32 or float64, got weight of torch.bfloat16",
        ),
        (
            nn.Linear(2, 2, device="meta"),
            ValueError,
            "module must be on the CPU, got weight on meta",
        ),
    ],
)
def test_wrong_modules(module, error, words):
    with pytest.raises(error) as caught:
        NumpyInterface(module)
    assert words in str(caught.value)
