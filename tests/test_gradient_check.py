import re

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import torch

from lmcourse.gradient_check import check_gradients, numerical_gradient

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(8, 3))
TARGETS = RNG.integers(2, size=8)


def small_net(parameters):
    """A tanh layer and a softmax cross-entropy, differentiated by torch."""
    leaves = {name: torch.tensor(p, requires_grad=True) for name, p in parameters.items()}
    hidden = torch.tanh(torch.from_numpy(INPUTS) @ leaves["weights"] + leaves["bias"])
    logits = leaves["scale"] * hidden
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(TARGETS))
    loss.backward()
    return loss.item(), {name: leaf.grad.numpy() for name, leaf in leaves.items()}


def net_parameters():
    rng = np.random.default_rng(1)
    return {
        "weights": rng.normal(size=(3, 2)),
        "bias": rng.normal(size=2),
        "scale": np.array(1.5),
    }


def test_numerical_gradient_equals_rosenbrocks():
    x = np.array([1.3, 0.7, 0.8, 1.9, 1.2])
    gradient = numerical_gradient(scipy.optimize.rosen, x)
    np.testing.assert_allclose(gradient, scipy.optimize.rosen_der(x), rtol=1e-7)
    # scipy differentiates with forward differences: fewer digits, the same gradient.
    forward = scipy.optimize.approx_fprime(x, scipy.optimize.rosen)
    np.testing.assert_allclose(gradient, forward, rtol=1e-4)


def test_numerical_gradient_of_a_line_is_exact():
    """It divides by the change that was made, which rounding makes differ from 2 * step."""
    x = np.random.default_rng(5).normal(size=20)
    np.testing.assert_array_equal(numerical_gradient(lambda x: x[7], x), np.eye(20)[7])


def test_numerical_gradient_is_second_order():
    """The bend's error falls by four when the step is halved; a forward difference's by two."""
    x = np.array([1.0])
    errors = [
        abs(numerical_gradient(lambda x: np.exp(x[0]), x, step=step)[0] - np.e)
        for step in (2e-2, 1e-2)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=1e-3)


def test_the_step_grows_with_the_entry():
    """At 1e12 a step of 1e-5 is below the rounding unit and the difference would be 0."""
    x = np.array([1e12, -3e-3])
    gradient = numerical_gradient(lambda x: np.log(x[0]) + x[1] ** 2, x)
    np.testing.assert_allclose(gradient, [1e-12, -6e-3], rtol=1e-4)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (1, 2, 2)])
def test_numerical_gradient_of_logsumexp_is_softmax(shape):
    x = np.asarray(np.random.default_rng(2).normal(size=shape))
    before = x.copy()
    gradient = numerical_gradient(lambda x: float(scipy.special.logsumexp(x)), x)
    np.testing.assert_allclose(gradient, scipy.special.softmax(x), rtol=1e-8)
    np.testing.assert_array_equal(x, before)


def test_numerical_gradient_of_an_array_in_fortran_order():
    x = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.testing.assert_allclose(numerical_gradient(lambda x: (x**2).sum(), x), 2 * x, atol=1e-9)


def test_a_function_that_spoils_its_argument_does_no_harm():
    def square_and_erase(x):
        value = (x**2).sum()
        x[:] = 0
        return value

    x = np.array([1.0, 2.0])
    np.testing.assert_allclose(numerical_gradient(square_and_erase, x), 2 * x, rtol=1e-9)
    check_gradients(lambda p: (square_and_erase(p["x"]), {"x": 2 * x}), {"x": x})


def test_right_gradients_pass_with_tiny_errors():
    parameters = net_parameters()
    before = {name: p.copy() for name, p in parameters.items()}
    errors = check_gradients(small_net, parameters)
    assert errors.keys() == parameters.keys()
    assert all(error < 1e-7 for error in errors.values())
    for name, parameter in parameters.items():
        np.testing.assert_array_equal(parameter, before[name])


def test_agrees_with_scipys_check_grad():
    x = np.array([0.3, 1.7, -0.4])
    assert scipy.optimize.check_grad(scipy.optimize.rosen, scipy.optimize.rosen_der, x) < 1e-4
    check_gradients(
        lambda p: (scipy.optimize.rosen(p["x"]), {"x": scipy.optimize.rosen_der(p["x"])}), {"x": x}
    )


@pytest.mark.parametrize("name", ["weights", "bias", "scale"])
@pytest.mark.parametrize("mistake", [lambda g: -g, lambda g: g * 1.001, lambda g: g + 1e-5])
def test_a_mistake_in_any_single_entry_is_caught(name, mistake):
    parameters = net_parameters()
    for index in np.ndindex(parameters[name].shape):

        def wrong(parameters, index=index):
            loss, gradients = small_net(parameters)
            gradients[name][index] = mistake(gradients[name][index])
            return loss, gradients

        where = f"gradients['{name}']" + (str(list(index)) if index else "")
        with pytest.raises(AssertionError, match=rf"^{re.escape(where)} is .*1 of \d+ entr"):
            check_gradients(wrong, parameters)


def test_the_message_gives_both_values_for_each_wrong_parameter():
    def wrong(parameters):
        x, y = parameters["x"], parameters["y"]
        return (x**2).sum() + (y**3).sum(), {"x": x, "y": 3 * y}

    with pytest.raises(AssertionError) as caught:
        check_gradients(wrong, {"x": np.array([0.0, 3.0]), "y": np.array([2.0, 1.0])})
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("gradients['x'][1] is 3, but the loss changes at a rate of 6")
    assert "relative error 0.5, tolerance 1e-05; 1 of 2 entries are off" in lines[0]
    assert lines[1].startswith("gradients['y'][0] is 6, but the loss changes at a rate of 12")


def test_a_large_loss_with_small_gradients_raises_no_false_alarm():
    x = np.random.default_rng(3).normal(size=50)
    check_gradients(
        lambda p: (1e4 + 1e-4 * np.sin(p["x"]).sum(), {"x": 1e-4 * np.cos(p["x"])}), {"x": x}
    )


def test_max_entries_checks_that_many_and_the_seed_decides_which():
    seen = []

    def loss_and_gradients(parameters):
        seen.extend(np.flatnonzero(parameters["x"]).tolist())
        return parameters["x"].sum(), {"x": np.ones(100)}

    def checked(**options):
        seen.clear()
        check_gradients(loss_and_gradients, {"x": np.zeros(100)}, **options)
        return set(seen)

    assert checked() == set(range(100))
    assert len(checked(max_entries=7)) == 7
    assert len(checked(max_entries=90)) == 90
    assert checked(max_entries=7) == checked(max_entries=7)
    assert checked(max_entries=7) != checked(max_entries=7, seed=1)
    assert len(checked(max_entries=1000)) == 100


def test_gradients_returned_in_a_buffer_that_is_refilled_are_read_in_time():
    buffer = np.empty(2)

    def loss_and_gradients(parameters):
        buffer[:] = 3 * parameters["x"] ** 2
        return (parameters["x"] ** 3).sum(), {"x": buffer}

    check_gradients(loss_and_gradients, {"x": np.array([1.0, 2.0])}, step=1e-4, tolerance=1e-7)


@pytest.mark.wrong_input
@pytest.mark.parametrize("x", [np.ones(2, np.float32), np.ones(2, int), [1.0, 2.0]])
def test_other_types_than_float64_are_refused_with_the_reason(x):
    with pytest.raises(TypeError, match=r"x must be an array of float64, got .*rounding error"):
        numerical_gradient(lambda x: x.sum(), x)
    with pytest.raises(TypeError, match=r"parameters\['w'\] must be an array of float64"):
        check_gradients(lambda p: (0.0, p), {"w": x})


def log_of_first(x):
    with np.errstate(invalid="ignore"):
        return np.log(x[0])


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: numerical_gradient(log_of_first, np.array([1e-6])), ValueError, r"x\[0\] = -9"),
        (
            lambda: numerical_gradient(lambda x: x, np.ones(2)),
            TypeError,
            "must be a number, got an",
        ),
        (lambda: numerical_gradient(np.sum, np.array([np.nan])), ValueError, "x must be finite"),
        (lambda: numerical_gradient(np.sum, np.ones(1), step=0), ValueError, "step must be"),
        (lambda: check_gradients(lambda p: (0.0, {}), {}), ValueError, "at least one array"),
        (
            lambda: check_gradients(lambda p: (0.0, {"v": p["w"]}), {"w": np.ones(2)}),
            ValueError,
            r"missing: \['w'\], unknown: \['v'\]",
        ),
        (
            lambda: check_gradients(lambda p: (0.0, {"w": np.ones((2, 1))}), {"w": np.ones(2)}),
            ValueError,
            r"shape \(2,\), got shape \(2, 1\)",
        ),
        (
            lambda: check_gradients(lambda p: (np.nan, p), {"w": np.ones(2)}),
            ValueError,
            "the loss must be a finite number, got nan",
        ),
        (
            lambda: check_gradients(lambda p: (0.0, p), {"w": np.ones(2)}, tolerance=0),
            ValueError,
            "tolerance must be a finite number > 0, got 0",
        ),
        (
            lambda: check_gradients(lambda p: (0.0, p), {"w": np.ones(2)}, max_entries=0),
            ValueError,
            "max_entries must be an integer >= 1, got 0",
        ),
    ],
)
def test_wrong_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.wrong_input
def test_a_loss_that_does_not_repeat_is_refused():
    rng = np.random.default_rng(4)
    with pytest.raises(ValueError, match="the loss must repeat, got"):
        check_gradients(lambda p: (rng.normal(), p), {"w": np.ones(2)})
