"""The scaling law's fit finds what made the losses, and agrees with SciPy's fits."""

import dataclasses
import json
import re

import numpy as np
import pytest
from scipy import optimize, stats

from lmcourse.gpt2.scaling import Run, ScalingLaw, fit, leave_one_out, load_runs

SIZES = np.array([3e5, 1e6, 3e6, 1e7])
MANY = np.geomspace(1e5, 1e8, 12)


def noisy(losses, scale=0.01, seed=0):
    return losses * np.exp(scale * np.random.default_rng(seed).normal(size=len(losses)))


@pytest.mark.parametrize(("coefficient", "exponent"), [(20, 0.15), (4, 0.0), (900, 0.6), (1, -0.1)])
@pytest.mark.parametrize("sizes", [SIZES, SIZES[:2], MANY, SIZES.astype(int)])
def test_a_power_law_is_found_again(coefficient, exponent, sizes):
    losses = coefficient * sizes**-exponent
    law = fit(sizes, losses)
    assert law.coefficient == pytest.approx(coefficient)
    assert law.exponent == pytest.approx(exponent, abs=1e-12)
    assert law.irreducible == 0
    np.testing.assert_allclose(law.residuals, 0, atol=1e-12)
    np.testing.assert_allclose(law.predict(sizes * 100), coefficient * (sizes * 100) ** -exponent)


@pytest.mark.parametrize("irreducible", [0.3, 1.69, 3.0])
@pytest.mark.parametrize(
    ("coefficient", "exponent"), [(30, 0.3), (406, 0.34), (900, 0.6), (9, 0.1)]
)
@pytest.mark.parametrize("sizes", [SIZES, MANY])
def test_a_law_with_an_irreducible_loss_is_found_again(coefficient, exponent, irreducible, sizes):
    losses = irreducible + coefficient * sizes**-exponent
    law = fit(sizes, losses, irreducible=True)
    assert law.irreducible == pytest.approx(irreducible, rel=1e-4)
    assert law.exponent == pytest.approx(exponent, rel=1e-4)
    assert law.coefficient == pytest.approx(coefficient, rel=1e-3)
    np.testing.assert_allclose(law.residuals, 0, atol=1e-7)
    np.testing.assert_allclose(law.predict(sizes), losses, rtol=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_the_power_law_is_the_line_that_scipy_and_numpy_fit(seed):
    losses = noisy(20 * SIZES**-0.15, seed=seed)
    law = fit(SIZES, losses)
    line = stats.linregress(np.log(SIZES), np.log(losses))
    assert law.exponent == pytest.approx(-line.slope)
    assert law.coefficient == pytest.approx(np.exp(line.intercept))
    assert law.exponent_error == pytest.approx(line.stderr)
    slope, intercept = np.polyfit(np.log(SIZES), np.log(losses), 1)
    np.testing.assert_allclose(law.predict(MANY), np.exp(intercept + slope * np.log(MANY)))
    np.testing.assert_allclose(law.residuals, np.log(losses / law.predict(SIZES)), atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sizes", [SIZES, MANY])
def test_the_law_with_an_irreducible_loss_is_the_curve_that_scipy_fits(seed, sizes):
    def log_loss(log_size, exponent, log_coefficient, irreducible):
        return np.log(irreducible + np.exp(log_coefficient - exponent * log_size))

    losses = noisy(1.7 + 30 * sizes**-0.3, scale=0.003, seed=seed)
    law = fit(sizes, losses, irreducible=True)
    best, covariance = optimize.curve_fit(
        log_loss, np.log(sizes), np.log(losses), p0=[0.3, np.log(30), 1.7], xtol=1e-13, ftol=1e-13
    )
    found = [law.exponent, np.log(law.coefficient), law.irreducible]
    np.testing.assert_allclose(found, best, rtol=1e-4)
    assert law.exponent_error == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-3)


def test_losses_of_a_pure_power_law_leave_nothing_irreducible():
    law = fit(SIZES, 20 * SIZES**-0.15, irreducible=True)
    assert law.irreducible == pytest.approx(0, abs=1e-6)
    assert law.exponent == pytest.approx(0.15, rel=1e-5)


def test_a_third_number_never_fits_worse():
    for seed in range(5):
        losses = noisy(20 * SIZES**-0.15, seed=seed)
        costs = [np.sum(fit(SIZES, losses, irreducible=i).residuals ** 2) for i in (False, True)]
        assert costs[1] <= costs[0] * (1 + 1e-9)


def test_as_many_models_as_numbers_say_nothing_of_the_error():
    assert np.isnan(fit(SIZES[:2], 20 * SIZES[:2] ** -0.15).exponent_error)
    bent_the_other_way = np.array([3.0, 2.9, 2.6])  # no law of three numbers meets all three
    law = fit(SIZES[:3], bent_the_other_way, irreducible=True)
    assert np.abs(law.residuals).max() > 1e-3
    assert np.isnan(law.exponent_error)


@pytest.mark.parametrize("irreducible", [False, True])
def test_leave_one_out_asks_the_law_of_the_others(irreducible):
    losses = noisy(1.7 + 30 * SIZES**-0.3, scale=0.003)
    predicted = leave_one_out(SIZES, losses, irreducible=irreducible)
    for i, size in enumerate(SIZES):
        others = np.arange(len(SIZES)) != i
        law = fit(SIZES[others], losses[others], irreducible=irreducible)
        assert predicted[i] == pytest.approx(law.predict(size))
    np.testing.assert_allclose(predicted, losses, rtol=0.05)


def test_a_law_predicts_one_size_or_many():
    law = ScalingLaw(20.0, 0.5, 1.0, 0.0, np.zeros(2))
    for size in (100, 100.0, np.int64(100), np.array(100)):
        assert law.predict(size) == pytest.approx(3)
    np.testing.assert_allclose(law.predict(np.array([[100, 400]])), [[3, 2]])


RUN = {
    "n_layer": 2,
    "n_embd": 64,
    "n_head": 2,
    "parameters": 400_000,
    "non_embedding_parameters": 100_000,
    "tokens": 5_000_000,
    "held_out_loss": 4.1,
    "bits_per_byte": 1.9,
    "curve": [[1_000_000, 5.0], [5_000_000, 4.0]],
}


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_runs_are_read_from_the_smallest_to_the_largest(tmp_path):
    models = [RUN | {"parameters": n} for n in (500, 300, 400)]
    content = {"tokens": 5_000_000, "held_out_bytes": 10, "models": models}
    runs = load_runs(write(tmp_path / "runs.json", content))
    assert [run.parameters for run in runs] == [300, 400, 500]
    assert runs[0].held_out_loss == 4.1
    np.testing.assert_array_equal(runs[0].curve, RUN["curve"])
    assert {field.name for field in dataclasses.fields(Run)} == RUN.keys()


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"runs": []}, "must hold models with the fields of Run: 'models'"),
        ([RUN], "must hold models"),
        ({"models": [{k: v for k, v in RUN.items() if k != "tokens"}]}, "argument: 'tokens'"),
        ({"models": [{k: v for k, v in RUN.items() if k != "curve"}]}, "Run: 'curve'"),
        ({"models": [RUN | {"depth": 3}]}, "unexpected keyword argument 'depth'"),
    ],
)
def test_wrong_files(tmp_path, content, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load_runs(write(tmp_path / "runs.json", content))
    with pytest.raises(FileNotFoundError):
        load_runs(tmp_path / "none.json")


@pytest.mark.wrong_input
@pytest.mark.parametrize("function", [fit, leave_one_out])
@pytest.mark.parametrize(
    ("parameters", "losses", "options", "message"),
    [
        (SIZES, SIZES[:3], {}, "losses must give one loss for each of the "),
        (SIZES, -SIZES, {}, "losses must be above 0, got -1e+07"),
        (SIZES * 0, SIZES, {}, "parameters must be above 0, got 0"),
        (SIZES[None], SIZES[None], {}, "parameters must have 1 axis, got shape (1, 4)"),
        (SIZES, SIZES * np.nan, {}, "losses must be finite, got nan at losses[0]"),
        (SIZES[:1], SIZES[:1], {}, "different sizes, got 1"),
        ([5, 5, 5], [1, 2, 3], {}, "different sizes, got 1"),
        ([5, 5, 6], [1, 2, 3], {"irreducible": True}, "different sizes, got 2"),
    ],
)
def test_wrong_input(function, parameters, losses, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        function(parameters, losses, **options)


@pytest.mark.wrong_input
def test_leaving_one_out_takes_one_size_more():
    message = "parameters must hold at least {} different sizes, got {}"
    with pytest.raises(ValueError, match=message.format(2, 1)):
        fit(SIZES[:1], SIZES[:1])
    with pytest.raises(ValueError, match=message.format(3, 2)):
        leave_one_out(SIZES[:2], SIZES[:2])
    with pytest.raises(ValueError, match=message.format(3, 2)):
        fit(SIZES[:2], SIZES[:2], irreducible=True)
    with pytest.raises(ValueError, match=message.format(4, 3)):
        leave_one_out(SIZES[:3], SIZES[:3], irreducible=True)


@pytest.mark.wrong_input
def test_wrong_sizes_to_predict():
    with pytest.raises(ValueError, match="parameters must be above 0, got 0"):
        fit(SIZES, SIZES**-0.1).predict(0)
