import numpy as np
import pytest
import torch

from lmcourse.optimizers import SGD, AdaGrad, Adam, AdamW, clip_by_global_norm, linear_decay

SHAPES = {"embedding": (7, 3), "weights": (4, 1, 5), "bias": (6,), "scale": ()}


def initial_parameters(dtype=np.float64):
    rng = np.random.default_rng(0)
    return {name: np.asarray(rng.normal(size=s), dtype) for name, s in SHAPES.items()}


def gradient_of(parameter, noise):
    """A noisy bowl: the gradient depends on the parameter, so an error in a step feeds back."""
    return 0.5 * (parameter - 3) + noise


def schedule(step):
    return 0.02 * (1 + np.cos(np.pi * step / 100)) / 2 + 1e-4


PAIRS = [
    (SGD, torch.optim.SGD, {}),
    (SGD, torch.optim.SGD, {"weight_decay": 0.1}),
    (SGD, torch.optim.SGD, {"momentum": 0.9}),
    (SGD, torch.optim.SGD, {"momentum": 0.5, "nesterov": True, "weight_decay": 0.03}),
    (Adam, torch.optim.Adam, {}),
    (Adam, torch.optim.Adam, {"betas": (0.8, 0.95), "epsilon": 1e-3, "weight_decay": 0.1}),
    (Adam, torch.optim.Adam, {"betas": (0.0, 0.0)}),
    (AdamW, torch.optim.AdamW, {}),
    (AdamW, torch.optim.AdamW, {"betas": (0.9, 0.99), "epsilon": 1e-6, "weight_decay": 0.3}),
    (AdamW, torch.optim.AdamW, {"weight_decay": 0}),
    (AdaGrad, torch.optim.Adagrad, {}),
    (AdaGrad, torch.optim.Adagrad, {"initial_accumulator": 1.0, "epsilon": 1e-2}),
]

TORCH_NAMES = {"epsilon": "eps", "initial_accumulator": "initial_accumulator_value"}


@pytest.mark.parametrize("scheduled", [False, True], ids=["constant", "scheduled"])
@pytest.mark.parametrize(("ours", "theirs", "options"), PAIRS)
def test_equals_torch_over_100_steps(ours, theirs, options, scheduled):
    parameters = initial_parameters()
    tensors = {name: torch.tensor(p, requires_grad=True) for name, p in parameters.items()}
    torch_options = {TORCH_NAMES.get(name, name): value for name, value in options.items()}
    optimizer = ours(learning_rate=0.02, **options)
    reference = theirs(tensors.values(), lr=0.02, **torch_options)
    rng = np.random.default_rng(1)
    for step in range(100):
        if scheduled:
            optimizer.learning_rate = reference.param_groups[0]["lr"] = schedule(step)
        noise = {name: np.asarray(rng.normal(size=shape)) for name, shape in SHAPES.items()}
        optimizer.step(
            parameters,
            {name: np.asarray(gradient_of(p, noise[name])) for name, p in parameters.items()},
        )
        for name, tensor in tensors.items():
            tensor.grad = gradient_of(tensor.detach(), torch.from_numpy(noise[name]))
        reference.step()
    for name, tensor in tensors.items():
        np.testing.assert_allclose(parameters[name], tensor.detach().numpy(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "optimizer", [SGD(0.1, momentum=0.9, weight_decay=0.1), Adam(0.1), AdamW(0.1), AdaGrad(0.1)]
)
def test_updates_in_place_and_keeps_float32(optimizer):
    parameters = initial_parameters(np.float32)
    before = {name: p.copy() for name, p in parameters.items()}
    same_arrays = dict(parameters)
    gradients = {name: np.ones(shape) for name, shape in SHAPES.items()}
    optimizer.step(parameters, gradients)
    for name, parameter in parameters.items():
        assert parameter is same_arrays[name]
        assert parameter.dtype == np.float32
        assert (parameter != before[name]).all()
        np.testing.assert_array_equal(gradients[name], np.ones(SHAPES[name]))


def test_first_adam_step_is_the_learning_rate_whatever_the_gradients_size():
    parameters = {"w": np.zeros(3)}
    Adam(0.01).step(parameters, {"w": np.array([1e-3, -1.0, 1e3])})
    np.testing.assert_allclose(parameters["w"], [-0.01, 0.01, -0.01], rtol=1e-4)


def test_adagrad_steps_fall_as_one_over_the_root_of_the_steps():
    parameters, optimizer = {"w": np.zeros(3)}, AdaGrad(0.1)
    gradients = {"w": np.array([1e-3, -1.0, 1e3])}
    for step in range(1, 6):
        before = parameters["w"].copy()
        optimizer.step(parameters, gradients)
        expected = -0.1 / np.sqrt(step) * np.sign(gradients["w"])
        np.testing.assert_allclose(parameters["w"] - before, expected, rtol=1e-6)


def test_state_belongs_to_the_name_and_not_to_the_order():
    a, b = initial_parameters(), initial_parameters()
    forwards, backwards = SGD(0.1, momentum=0.9), SGD(0.1, momentum=0.9)
    for _ in range(3):
        forwards.step(a, {name: np.asarray(p * 0.5) for name, p in a.items()})
        backwards.step(
            dict(reversed(b.items())), {name: np.asarray(p * 0.5) for name, p in b.items()}
        )
    for name in SHAPES:
        np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        ({"w": np.ones(2)}, r"missing: \['b'\], unknown: \[\]"),
        ({"w": np.ones(2), "b": np.ones(1), "c": np.ones(1)}, r"missing: \[\], unknown: \['c'\]"),
        ({"w": np.ones(3), "b": np.ones(1)}, r"gradients\['w'\] .* shape \(2,\), got shape \(3,\)"),
        (
            {"w": np.ones(2), "b": np.array([np.nan])},
            r"gradients\['b'\] must be finite, got nan at gradients\['b'\]\[0\]",
        ),
        (
            {"w": np.array([0, np.inf]), "b": np.ones(1)},
            r"gradients\['w'\] must be finite, got inf at gradients\['w'\]\[1\]",
        ),
    ],
)
@pytest.mark.parametrize("optimizer", [SGD, Adam, AdamW, AdaGrad])
def test_wrong_gradients_are_named_and_nothing_moves(optimizer, gradients, message):
    parameters = {"w": np.ones(2), "b": np.ones(1)}
    with pytest.raises(ValueError, match=message):
        optimizer(0.1).step(parameters, gradients)
    np.testing.assert_array_equal(parameters["w"], 1)
    np.testing.assert_array_equal(parameters["b"], 1)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"w": [1.0]}, TypeError, r"parameters\['w'\] must be an array of float32 or float64"),
        ({"w": np.ones(1, int)}, TypeError, r"parameters\['w'\] .* got an array of int64"),
        ({"w": np.broadcast_to(1.0, 1)}, ValueError, r"parameters\['w'\] must be writable"),
        ([np.ones(1)], TypeError, "parameters must map names to arrays, got list"),
    ],
)
def test_wrong_parameters_are_named(parameters, error, message):
    with pytest.raises(error, match=message):
        SGD(0.1).step(parameters, {"w": np.ones(1)})


@pytest.mark.wrong_input
def test_a_parameter_that_changes_its_shape_is_refused():
    optimizer = Adam(0.1)
    optimizer.step({"w": np.ones((2, 3))}, {"w": np.ones((2, 3))})
    with pytest.raises(ValueError, match=r"stay float64 \(2, 3\), got float64 \(3,\)"):
        optimizer.step({"w": np.ones(3)}, {"w": np.ones(3)})


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SGD(0), "learning_rate must be a finite number > 0, got 0"),
        (lambda: Adam(-1e-3), "learning_rate must be a finite number > 0, got -0.001"),
        (lambda: SGD(float("nan")), "learning_rate must be a finite number > 0, got nan"),
        (lambda: SGD(1, momentum=1), "momentum must be a finite number >= 0 and < 1, got 1"),
        (lambda: SGD(1, nesterov=True), "nesterov needs a momentum above 0"),
        (lambda: SGD(1, weight_decay=-1), "weight_decay must be a finite number >= 0, got -1"),
        (lambda: Adam(1, betas=(0.9, 1)), r"betas\[1\] must be a finite number >= 0 and < 1"),
        (lambda: AdamW(1, betas=(-0.1, 0.9)), r"betas\[0\] must be a finite number >= 0 and < 1"),
        (lambda: Adam(1, betas=0.9), "betas must be two numbers, got 0.9"),
        (lambda: Adam(1, epsilon=0), "epsilon must be a finite number > 0, got 0"),
        (lambda: AdaGrad(1, epsilon=0), "epsilon must be a finite number > 0, got 0"),
        (
            lambda: AdaGrad(1, initial_accumulator=-1),
            "initial_accumulator must be a finite number >= 0, got -1",
        ),
    ],
)
def test_settings_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.wrong_input
def test_a_schedule_that_sets_a_wrong_learning_rate_is_refused():
    optimizer = SGD(0.1)
    with pytest.raises(ValueError, match="learning_rate must be a finite number > 0, got 0"):
        optimizer.learning_rate = 0
    with pytest.raises(TypeError, match=r"learning_rate must be a number, got str '0\.1'"):
        optimizer.learning_rate = "0.1"
    assert optimizer.learning_rate == 0.1


def random_gradients(dtype=np.float64):
    rng = np.random.default_rng(6)
    return {name: np.asarray(rng.normal(size=s), dtype) for name, s in SHAPES.items()}


def global_norm(gradients):
    return np.linalg.norm(
        np.concatenate([g.astype(np.float64).ravel() for g in gradients.values()])
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("max_norm", [0.1, 3.0, 100.0])
def test_clipping_equals_torch(max_norm, dtype):
    gradients = random_gradients(dtype)
    tensors = [torch.zeros(g.shape, dtype=torch.from_numpy(g).dtype) for g in gradients.values()]
    for tensor, gradient in zip(tensors, gradients.values(), strict=True):
        tensor.grad = torch.tensor(gradient)
    expected = torch.nn.utils.clip_grad_norm_(tensors, max_norm)
    norm = clip_by_global_norm(gradients, max_norm)
    assert isinstance(norm, float)
    np.testing.assert_allclose(norm, expected.item(), rtol=1e-6)
    for gradient, tensor in zip(gradients.values(), tensors, strict=True):
        assert gradient.dtype == dtype
        # torch divides by the norm plus 1e-6.
        np.testing.assert_allclose(gradient, tensor.grad, rtol=1e-5)


def test_clipping_reaches_the_limit_keeps_the_direction_and_works_in_place():
    gradients, before = random_gradients(), random_gradients()
    same_arrays = dict(gradients)
    norm = clip_by_global_norm(gradients, 0.7)
    np.testing.assert_allclose(norm, global_norm(before), rtol=1e-14)
    np.testing.assert_allclose(global_norm(gradients), 0.7, rtol=1e-14)
    for name, gradient in gradients.items():
        assert gradient is same_arrays[name]
        np.testing.assert_allclose(gradient * norm, before[name] * 0.7, rtol=1e-13)


@pytest.mark.parametrize("max_norm", [5.0, 1e3])
def test_gradients_within_the_limit_are_left_alone(max_norm):
    gradients = {"w": np.array([3.0, 0.0]), "b": np.array(4.0), "none": np.zeros((0, 2))}
    assert clip_by_global_norm(gradients, max_norm) == 5
    np.testing.assert_array_equal(gradients["w"], [3, 0])
    np.testing.assert_array_equal(gradients["b"], 4)


@pytest.mark.parametrize(("huge", "dtype"), [(1e200, np.float64), (1e30, np.float32)])
def test_clipping_survives_gradients_whose_squares_overflow(huge, dtype):
    gradients = {"w": np.array([3, -4], dtype) * dtype(huge), "b": np.zeros(1, dtype)}
    np.testing.assert_allclose(clip_by_global_norm(gradients, 10), 5 * huge, rtol=1e-6)
    np.testing.assert_allclose(gradients["w"], [6, -8], rtol=1e-6)


def test_no_gradient_at_all_is_not_scaled():
    gradients = {"w": np.zeros(3)}
    assert clip_by_global_norm(gradients, 1.0) == 0
    np.testing.assert_array_equal(gradients["w"], 0)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("gradients", "max_norm", "error", "message"),
    [
        ({"w": np.ones(2)}, 0, ValueError, "max_norm must be a finite number > 0, got 0"),
        ({"w": np.ones(2)}, np.inf, ValueError, "max_norm must be a finite number > 0, got inf"),
        ({"w": np.ones(2)}, "1", TypeError, "max_norm must be a number, got str '1'"),
        ([np.ones(2)], 1, TypeError, "gradients must map names to arrays, got list"),
        ({"w": [1.0]}, 1, TypeError, r"gradients\['w'\] must be an array of float32 or float64"),
        ({"w": np.ones(2, int)}, 1, TypeError, r"gradients\['w'\] must be .* array of int64"),
        ({"w": np.broadcast_to(1.0, 2)}, 1, ValueError, r"gradients\['w'\] must be writable"),
        ({"w": np.array([1, np.nan])}, 1, ValueError, r"got nan at gradients\['w'\]\[1\]"),
        ({"w": np.array([np.inf])}, 1, ValueError, r"got inf at gradients\['w'\]\[0\]"),
    ],
)
def test_clipping_names_what_is_wrong(gradients, max_norm, error, message):
    with pytest.raises(error, match=message):
        clip_by_global_norm(gradients, max_norm)


def test_linear_decay_falls_to_nothing_and_gives_the_rate_back():
    optimizer = SGD(2.0)
    with linear_decay(optimizer, 4) as counting:
        rates = [(step, optimizer.learning_rate) for step in counting]
    assert rates == [(0, 2.0), (1, 1.5), (2, 1.0), (3, 0.5)]
    assert optimizer.learning_rate == 2.0


def test_linear_decay_gives_the_rate_back_when_interrupted():
    optimizer = SGD(2.0)
    with pytest.raises(KeyboardInterrupt), linear_decay(optimizer, 4) as counting:
        for step in counting:
            if step == 2:
                raise KeyboardInterrupt
    assert optimizer.learning_rate == 2.0


@pytest.mark.wrong_input
def test_linear_decay_needs_a_step():
    with (
        pytest.raises(ValueError, match="steps must be an integer >= 1, got 0"),
        linear_decay(SGD(1.0), 0),
    ):
        pass
