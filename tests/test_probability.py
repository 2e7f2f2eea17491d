import itertools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from lmcourse.gradient_check import numerical_gradient
from lmcourse.probability import (
    bits_per_byte,
    cross_entropy,
    entropy,
    filter_logits,
    kl_divergence,
    log_softmax,
    perplexity,
    sample,
    sampling_distribution,
    softmax,
    softmax_cross_entropy_gradient,
)

TIGHT = 1e-12


def random_logits(*shape, seed=0, scale=3.0):
    return np.random.default_rng(seed).normal(scale=scale, size=shape)


def random_distributions(*shape, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(shape[-1], 0.5), size=shape[:-1])


extreme = st.sampled_from([-np.inf, 1e300, -1e300, 1.7e308, -1.7e308, 5e-324, -5e-324, 0.0, -0.0])
any_logit = st.floats(allow_nan=False, allow_infinity=False) | extreme


@st.composite
def any_logits(draw, elements=any_logit, dtype=np.float64):
    logits = draw(arrays(dtype, st.integers(1, 8), elements=elements))
    assume(np.isfinite(logits).any())
    return logits


# --- softmax ---------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("temperature", [1, 0.3, 4.0])
def test_softmax_equals_scipy_and_torch(axis, temperature):
    logits = random_logits(4, 3, 50)
    logits[1, 2, :7] = -np.inf
    ours = softmax(logits, temperature=temperature, axis=axis)
    our_logs = log_softmax(logits, temperature=temperature, axis=axis)
    scaled = torch.from_numpy(logits) / temperature
    np.testing.assert_allclose(ours, scipy.special.softmax(logits / temperature, axis), TIGHT)
    np.testing.assert_allclose(ours, torch.softmax(scaled, axis).numpy(), TIGHT)
    np.testing.assert_allclose(our_logs, torch.log_softmax(scaled, axis).numpy(), TIGHT)
    np.testing.assert_allclose(
        our_logs, scipy.special.log_softmax(logits / temperature, axis), TIGHT
    )


def test_log_softmax_keeps_what_softmax_loses_to_underflow():
    logits = np.array([0.0, -1000.0])
    assert softmax(logits)[1] == 0
    np.testing.assert_array_equal(log_softmax(logits), logits)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types_are_kept(dtype):
    logits = random_logits(5, 20).astype(dtype)
    p = softmax(logits)
    assert p.dtype == dtype
    assert log_softmax(logits, temperature=0.7).dtype == dtype
    assert entropy(p).dtype == dtype
    assert kl_divergence(p, p).dtype == dtype
    assert softmax_cross_entropy_gradient(logits, np.zeros(5, int)).dtype == dtype
    assert filter_logits(logits, temperature=0.7, top_k=3).dtype == dtype
    assert sampling_distribution(logits, temperature=0.7, top_p=0.5).dtype == dtype
    np.testing.assert_allclose(p, scipy.special.softmax(logits.astype(float), -1), rtol=1e-5)


@given(any_logits(), st.floats(1e-308, 1e308))
@example(np.array([1.7e308, -1.7e308]), 1.0)
@example(np.array([5e-324, 0.0]), 5e-324)
@example(np.array([-np.inf, -1e300, -np.inf]), 1e-300)
def test_softmax_is_a_distribution_for_any_logits(logits, temperature):
    p = softmax(logits, temperature=temperature)
    assert (p >= 0).all() and not np.isnan(p).any()
    assert p.sum() == pytest.approx(1, abs=1e-14)
    assert (p[logits == -np.inf] == 0).all()
    log_p = log_softmax(logits, temperature=temperature)
    assert not np.isnan(log_p).any() and (log_p <= 0).all()
    np.testing.assert_allclose(np.exp(log_p), p, rtol=1e-9, atol=1e-300)
    order = np.argsort(logits)
    assert (np.diff(p[order]) >= 0).all()
    np.testing.assert_array_equal(sampling_distribution(logits, temperature=temperature), p)


@given(any_logits(st.floats(-100, 100)), st.floats(-1e3, 1e3), st.floats(0.1, 10))
def test_softmax_is_shift_invariant(logits, shift, temperature):
    p = softmax(logits, temperature=temperature)
    shifted = softmax(logits + shift, temperature=temperature)
    # The sum logits + shift is itself rounded by up to 1e-13, which the temperature magnifies.
    np.testing.assert_allclose(shifted, p, rtol=1e-11, atol=1e-300)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_limits_of_the_temperature(dtype):
    logits = np.array([1, 3, -np.inf, 3, 2.9], dtype)
    np.testing.assert_allclose(softmax(logits, temperature=1e300), [0.25, 0.25, 0, 0.25, 0.25])
    for tiny in (1e-5, 1e-60, 5e-324):
        np.testing.assert_array_equal(softmax(logits, temperature=tiny), [0, 0.5, 0, 0.5, 0])


# --- entropy and its kin ----------------------------------------------------------------------


@pytest.mark.parametrize("axis", [-1, 0])
def test_entropy_equals_scipy(axis):
    p = random_distributions(30, 30)
    p[3] = np.eye(30)[5]
    p = np.moveaxis(p, -1, axis)
    np.testing.assert_allclose(entropy(p, axis=axis), scipy.stats.entropy(p, axis=axis), TIGHT)
    np.testing.assert_allclose(entropy(p, axis=axis), scipy.special.entr(p).sum(axis), TIGHT)


def test_entropy_of_certainty_is_zero_without_a_sign():
    assert str(float(entropy(np.array([1.0])))) == "0.0"
    assert str(float(entropy(np.array([0.0, 1.0])))) == "0.0"


@pytest.mark.parametrize("axis", [-1, 0])
def test_kl_divergence_equals_scipy_and_torch(axis):
    p = np.moveaxis(random_distributions(20, 40, seed=1), -1, axis)
    q = np.moveaxis(random_distributions(20, 40, seed=2), -1, axis)
    ours = kl_divergence(p, q, axis=axis)
    np.testing.assert_allclose(ours, scipy.special.rel_entr(p, q).sum(axis), TIGHT)
    np.testing.assert_allclose(ours, scipy.stats.entropy(p, q, axis=axis), rtol=1e-11)
    by_torch = torch.nn.functional.kl_div(
        torch.from_numpy(q).log(), torch.from_numpy(p), reduction="none"
    )
    np.testing.assert_allclose(ours, by_torch.sum(axis).numpy(), TIGHT)


@pytest.mark.filterwarnings("error")
def test_kl_divergence_where_probabilities_are_zero():
    half, first = np.array([0.5, 0.5, 0.0]), np.array([1.0, 0.0, 0.0])
    assert kl_divergence(first, half) == pytest.approx(math.log(2), rel=TIGHT)
    assert kl_divergence(half, first) == np.inf
    assert kl_divergence(half, half) == 0
    # The quotient p / q overflows here; the difference of logarithms does not.
    tiny = np.array([1.0, 5e-324, 0.0])
    expected = math.log(0.5) - 0.5 * math.log(5e-324)
    assert kl_divergence(half, tiny) == pytest.approx(expected, rel=TIGHT)


@given(any_logits(st.floats(-50, 50)), st.floats(-1e-9, 1e-9))
def test_kl_divergence_is_never_negative(logits, change):
    p = softmax(logits)
    q = softmax(logits * (1 + change))
    assert kl_divergence(p, q) >= 0


def test_cross_entropy_and_its_gradient_equal_torch():
    for shape in [(50,), (4, 9), (1,), (2, 3, 4)]:
        logits = random_logits(*shape, 30, scale=5)
        targets = np.random.default_rng(3).integers(30, size=shape)
        leaf = torch.tensor(logits, requires_grad=True)
        loss = torch.nn.functional.cross_entropy(
            leaf.reshape(-1, 30), torch.from_numpy(targets).reshape(-1)
        )
        loss.backward()
        assert cross_entropy(logits, targets) == pytest.approx(loss.item(), rel=TIGHT)
        gradient = softmax_cross_entropy_gradient(logits, targets)
        np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=TIGHT, atol=1e-16)


def test_the_gradient_agrees_with_central_differences():
    logits, targets = random_logits(3, 4), np.array([0, 3, 3])
    numerical = numerical_gradient(lambda x: cross_entropy(x, targets), logits)
    np.testing.assert_allclose(
        softmax_cross_entropy_gradient(logits, targets), numerical, atol=1e-9
    )


def test_cross_entropy_is_entropy_plus_kl_divergence():
    """Targets counted as a distribution: the three measures are one story."""
    logits = random_logits(6)
    targets = np.array([0, 0, 0, 1, 4, 4, 5, 5])
    p = np.bincount(targets, minlength=6) / len(targets)
    repeated = np.broadcast_to(logits, (len(targets), 6))
    total = entropy(p) + kl_divergence(p, softmax(logits))
    assert cross_entropy(repeated, targets) == pytest.approx(float(total), rel=TIGHT)


def test_cross_entropy_of_a_target_that_was_ruled_out_is_infinite():
    logits = np.array([[0.0, -np.inf], [0.0, 0.0]])
    assert cross_entropy(logits, np.array([1, 0])) == np.inf
    assert cross_entropy(logits, np.array([0, 0])) == pytest.approx(math.log(2) / 2)


def test_cross_entropy_of_one_prediction_without_a_batch():
    assert cross_entropy(np.zeros(8), np.array(3)) == pytest.approx(math.log(8))


def test_float32_losses_are_averaged_in_float64():
    logits = random_logits(100_000, 2).astype(np.float32)
    exact = math.fsum(-log_softmax(logits)[:, 0]) / 100_000
    assert cross_entropy(logits, np.zeros(100_000, int)) == pytest.approx(exact, rel=TIGHT)


@pytest.mark.parametrize("vocab_size", [1, 2, 50257])
def test_perplexity_of_a_uniform_model_is_the_vocabulary(vocab_size):
    loss = cross_entropy(np.zeros((2, vocab_size)), np.array([0, vocab_size - 1]))
    assert perplexity(loss) == pytest.approx(vocab_size)


def test_perplexity_beyond_the_largest_float_is_infinite():
    assert perplexity(1000) == perplexity(np.inf) == np.inf


def test_bits_per_byte():
    assert bits_per_byte(100 * math.log(256), 100) == pytest.approx(8)
    assert bits_per_byte(np.float64(3 * math.log(2)), 4) == pytest.approx(0.75)
    assert bits_per_byte(np.inf, 5) == np.inf
    # Two bytes a token at perplexity 16: four bits in two bytes.
    assert bits_per_byte(math.log(16), len("é".encode())) == pytest.approx(2)


# --- filters ----------------------------------------------------------------------------------


def by_transformers(logits, temperature=1.0, top_k=None, top_p=None, min_p=None):
    """Apply Hugging Face's own warpers, in the order in which ``generate`` builds them."""
    warpers = [TemperatureLogitsWarper(float(temperature))]
    if top_k is not None:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p is not None and top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    if min_p is not None:
        warpers.append(MinPLogitsWarper(min_p))
    scores = torch.tensor(logits)
    for warper in warpers:
        scores = warper(None, scores)
    return scores.numpy()


SINGLE_FILTERS = [
    *({"temperature": t} for t in (0.1, 0.7, 1.0, 5.0)),
    *({"top_k": k} for k in (1, 2, 10, 99, 100, 1000)),
    *({"top_p": p} for p in (1e-6, 0.1, 0.5, 0.9, 0.999, 1.0)),
    *({"min_p": p} for p in (0.0, 1e-4, 0.1, 0.9, 1.0)),
]
CHAINS = [
    dict(zip(("temperature", "top_k", "top_p", "min_p"), values, strict=True))
    for values in itertools.product((0.4, 1.7), (None, 5, 60), (None, 0.3, 0.95), (None, 0.02, 0.3))
]


@pytest.mark.parametrize("options", SINGLE_FILTERS + CHAINS, ids=str)
def test_filters_equal_transformers(options):
    for seed, vocab_size in enumerate((100, 100, 7, 1)):
        logits = random_logits(30, vocab_size, seed=seed)
        theirs = by_transformers(logits, **options)
        np.testing.assert_array_equal(filter_logits(logits, **options), theirs)
        np.testing.assert_allclose(
            sampling_distribution(logits, **options), scipy.special.softmax(theirs, -1), TIGHT
        )


def kept(probabilities, **options):
    return np.flatnonzero(sampling_distribution(np.log(probabilities), **options)).tolist()


def test_top_k_keeps_ties_as_transformers_does():
    logits = np.array([[1.0, 2.0, 3.0, 2.0, 2.0]])
    filtered = filter_logits(logits, top_k=2)
    assert np.isfinite(filtered).tolist() == [[False, True, True, True, True]]
    np.testing.assert_array_equal(filtered, by_transformers(logits, top_k=2))


def test_top_k_leaves_ruled_out_tokens_ruled_out():
    logits = np.array([1.0, -np.inf, 0.0, -np.inf])
    np.testing.assert_array_equal(filter_logits(logits, top_k=3), logits)


@pytest.mark.parametrize(
    ("top_p", "expected"),
    [(0.05, [1]), (0.5, [1]), (0.51, [1, 3]), (0.8, [1, 3]), (0.81, [0, 1, 3]), (1, [0, 1, 2, 3])],
)
def test_top_p_keeps_the_token_that_crosses(top_p, expected):
    assert kept([0.15, 0.5, 0.05, 0.3], top_p=top_p) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", range(1, 10))
def test_top_p_breaks_ties_by_the_lower_index(k, dtype):
    assert kept(np.full(10, 0.1, dtype), top_p=k / 10) == list(range(k))
    assert kept(np.full(5000, 1 / 5000, dtype), top_p=k / 10) == list(range(500 * k))


def test_top_p_among_many_ties_equals_a_walk_down_the_sorted_tokens():
    rng = np.random.default_rng(10)
    for top_p in (0.2, 0.5, 0.9):
        logits = rng.integers(4, size=300).astype(float)
        p = scipy.special.softmax(logits)
        walk, mass = [], 0.0
        for token in sorted(range(300), key=lambda token: (-logits[token], token)):
            if mass >= top_p - 1e-9:
                break
            walk.append(token)
            mass += p[token]
        assert kept(p, top_p=top_p) == sorted(walk)


def test_cuts_at_round_numbers_do_not_hang_on_rounding():
    """A shift changes the last digits of the probabilities, and must not change the choice."""
    for shift in np.random.default_rng(5).normal(scale=10, size=200):
        logits = np.log([0.5, 0.4, 0.1]) + shift
        assert np.isfinite(filter_logits(logits, top_p=0.9)).tolist() == [True, True, False]
        assert np.isfinite(filter_logits(logits, min_p=0.2)).tolist() == [True, True, True]
        assert np.isfinite(filter_logits(logits, min_p=0.8)).tolist() == [True, True, False]


def test_filters_that_remove_nothing_keep_even_what_underflows():
    logits = np.array([0.0, -2000.0])
    np.testing.assert_array_equal(filter_logits(logits, top_p=1, min_p=0), logits)


def test_each_filter_sees_what_the_one_before_it_left():
    p = [0.4, 0.2, 0.2, 0.1, 0.1]
    # 0.4 is half of what top_k=3 leaves, so it alone reaches top_p=0.5; of the whole it does not.
    assert kept(p, top_k=3, top_p=0.5) == [0]
    assert kept(p, top_p=0.5) == [0, 1]
    # Temperature 2 evens the masses out, and 0.55 takes one token more.
    assert kept(p, top_p=0.55) == [0, 1]
    assert kept(p, top_p=0.55, temperature=2) == [0, 1, 2]
    # The ratio 0.2 / 0.4 becomes 0.25 at temperature 1/2.
    assert kept(p, min_p=0.4) == [0, 1, 2]
    assert kept(p, min_p=0.4, temperature=0.5) == [0]


def test_rows_of_a_batch_are_filtered_on_their_own():
    logits = random_logits(3, 4, 20)
    options = {"temperature": 0.8, "top_k": 12, "top_p": 0.9, "min_p": 0.05}
    together = sampling_distribution(logits, **options)
    for index in np.ndindex(3, 4):
        np.testing.assert_array_equal(
            together[index], sampling_distribution(logits[index], **options)
        )


def test_float32_logits_are_cut_as_the_same_logits_in_float64():
    logits = random_logits(200, 500, seed=6).astype(np.float32)
    for options in ({"top_p": 0.9}, {"min_p": 0.03}, {"temperature": 0.6, "top_p": 0.99}):
        np.testing.assert_array_equal(
            np.isfinite(filter_logits(logits, **options)),
            np.isfinite(filter_logits(logits.astype(np.float64), **options)),
        )


@given(
    any_logits(),
    st.floats(1e-308, 1e308),
    st.none() | st.integers(1, 10),
    st.none() | st.floats(0, 1, exclude_min=True),
    st.none() | st.floats(0, 1),
)
def test_sampling_distribution_is_a_distribution_for_any_input(logits, t, top_k, top_p, min_p):
    p = sampling_distribution(logits, temperature=t, top_k=top_k, top_p=top_p, min_p=min_p)
    assert (p >= 0).all() and p.sum() == pytest.approx(1, abs=1e-14)
    assert p[logits.argmax()] == p.max() > 0
    assert (p[logits == -np.inf] == 0).all()


def test_the_callers_logits_stay_as_they_are():
    logits = random_logits(3, 9)
    before = logits.copy()
    sampling_distribution(logits, temperature=0.5, top_k=5, top_p=0.8, min_p=0.1)
    filter_logits(logits, top_p=0.5)
    softmax_cross_entropy_gradient(logits, np.zeros(3, int))
    np.testing.assert_array_equal(logits, before)


# --- sample -----------------------------------------------------------------------------------


class Fixed(np.random.Generator):
    """A generator whose uniform numbers are chosen."""

    def __init__(self, u):
        super().__init__(np.random.PCG64(0))
        self.u = u

    def random(self, size=None):
        return self.u


def test_sample_draws_as_numpys_choice_does():
    p = random_distributions(1, 50)[0]
    ours = sample(p, np.random.default_rng(7), size=(100, 20))
    np.testing.assert_array_equal(ours, np.random.default_rng(7).choice(50, p=p, size=(100, 20)))


def test_sample_draws_each_token_as_often_as_its_probability_says():
    p = np.array([0.0, 0.5, 0.25, 0.0, 0.125, 0.125, 0.0])
    counts = np.bincount(sample(p, np.random.default_rng(8), size=80_000), minlength=7)
    assert (counts[p == 0] == 0).all()
    assert scipy.stats.chisquare(counts[p > 0], 80_000 * p[p > 0]).pvalue > 0.01


@pytest.mark.parametrize(
    ("u", "expected"),
    [(0.0, 1), (np.nextafter(0.5, 0), 1), (0.5, 3), (np.nextafter(1, 0), 3)],
)
def test_sample_at_the_edges_of_the_uniform_number(u, expected):
    assert sample(np.array([0, 0.5, 0, 0.5, 0]), Fixed(u)) == expected


@given(
    any_logits(st.floats(-800, 800) | st.just(-np.inf)),
    st.sampled_from([0.0, 5e-324, 2.0**-53, 0.5, 1 - 2.0**-53]) | st.floats(0, 1, exclude_max=True),
    st.floats(-9e-7, 9e-7),
)
def test_sample_never_draws_a_token_of_probability_zero(logits, u, off):
    p = softmax(logits) * (1 + off)
    drawn = sample(p, Fixed(u))
    assert isinstance(drawn, int) and p[drawn] > 0


def test_sample_adds_float32_probabilities_up_without_losing_small_ones():
    p = np.full(4097, 2.0**-26, np.float32)
    p[0] = 1 - 2.0**-14
    assert sample(p, Fixed(np.nextafter(1, 0))) == 4096


def test_sample_of_float32_probabilities_over_a_large_vocabulary():
    p = softmax(random_logits(50_257).astype(np.float32))
    drawn = sample(p, np.random.default_rng(9), size=5)
    assert drawn.shape == (5,) and drawn.dtype == np.int64


# --- wrong input ------------------------------------------------------------------------------

nan = float("nan")
LOGITS = np.zeros((2, 4))


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    "function",
    [softmax, log_softmax, filter_logits, sampling_distribution],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize(
    ("logits", "error", "message"),
    [
        (
            [[0.0, 1.0], [nan, 1.0]],
            ValueError,
            r"logits must be finite or -inf, got nan at logits\[1, 0\]",
        ),
        ([0.0, np.inf], ValueError, r"logits must be finite or -inf, got inf at logits\[1\]"),
        ([[0, 1], [-np.inf, -np.inf]], ValueError, r"got only -inf in logits\[1, :\]"),
        ([], ValueError, r"logits must not be empty, got shape \(0,\)"),
        (3.0, ValueError, "logits must have at least 1 axis, got the single number 3.0"),
        (["a"], TypeError, r"logits must be an array of real numbers, got list \['a'\]"),
        ([[1.0], [1.0, 2.0]], TypeError, "logits must be an array of real numbers, got list"),
        ([True, False], TypeError, "logits must be an array of real numbers, got list"),
        (np.ones(2, complex), TypeError, "got an array of complex128 with shape"),
    ],
)
def test_wrong_logits_are_named(function, logits, error, message):
    with pytest.raises(error, match=message):
        function(logits)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    "function",
    [softmax, log_softmax, filter_logits, sampling_distribution],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("temperature", [0, -1.0, nan, np.inf])
def test_a_wrong_temperature_says_what_to_use_instead(function, temperature):
    message = f"temperature must be a finite number > 0, got {temperature}; for greedy .*argmax"
    with pytest.raises(ValueError, match=message):
        function(LOGITS, temperature=temperature)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temperature": "hot"}, TypeError, "temperature must be a number, got str 'hot'"),
        ({"top_k": 0}, ValueError, "top_k must be an integer >= 1, got 0"),
        ({"top_k": 2.0}, TypeError, r"top_k must be an integer, got float 2\.0"),
        ({"top_k": True}, TypeError, "top_k must be an integer, got bool True"),
        ({"top_p": 0}, ValueError, "top_p must be a finite number > 0 and <= 1, got 0"),
        ({"top_p": 1.5}, ValueError, "top_p must be a finite number > 0 and <= 1, got 1.5"),
        ({"top_p": nan}, ValueError, "top_p must be a finite number > 0 and <= 1, got nan"),
        ({"min_p": -0.1}, ValueError, "min_p must be a finite number >= 0 and <= 1, got -0.1"),
        ({"min_p": 2}, ValueError, "min_p must be a finite number >= 0 and <= 1, got 2"),
    ],
)
def test_wrong_filter_options_are_named(options, error, message):
    for function in (filter_logits, sampling_distribution):
        with pytest.raises(error, match=message):
            function(LOGITS, **options)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("logits", "temperature"), [([5.0, 1e300], 1e-10), (np.float32([5, -5]), 1e-38)]
)
def test_filtered_logits_that_overflow_are_refused(logits, temperature):
    message = (
        r"logits / temperature must fit into float\d\d, got a logit of size .* and temperature 1e-"
    )
    with pytest.raises(ValueError, match=message):
        filter_logits(logits, temperature=temperature)
    assert sampling_distribution(logits, temperature=temperature).max() == 1


@pytest.mark.wrong_input
@pytest.mark.parametrize("function", [cross_entropy, softmax_cross_entropy_gradient])
@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        ([0, 4], ValueError, r"targets must lie in \[0, 4\), got 4 at targets\[1\]"),
        ([-1, 0], ValueError, r"targets must lie in \[0, 4\), got -1 at targets\[0\]"),
        ([0, 1, 2], ValueError, r"targets of shape \(3,\) for logits of shape \(2, 4\)"),
        ([[0, 1]], ValueError, r"targets of shape \(1, 2\) for logits of shape \(2, 4\)"),
        ([0.0, 1.0], TypeError, "targets must hold integer token ids, got list"),
        ([], ValueError, "targets must hold at least one token id"),
    ],
)
def test_wrong_targets_are_named(function, targets, error, message):
    with pytest.raises(error, match=message):
        function(LOGITS, targets)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: softmax(LOGITS, axis=2),
            ValueError,
            "axis must be an integer >= -2 and <= 1, got 2",
        ),
        (
            lambda: softmax(LOGITS, axis=None),
            TypeError,
            "axis must be an integer, got NoneType None",
        ),
        (
            lambda: softmax([[0.0, -np.inf], [0.0, -np.inf]], axis=0),
            ValueError,
            r"got only -inf in logits\[:, 1\]",
        ),
        (
            lambda: entropy([[0.5, 0.5], [0.5, 0.6]]),
            ValueError,
            r"probabilities must sum to 1, got the sum 1\.1 of probabilities\[1, :\]",
        ),
        (
            lambda: entropy([1.5, -0.5]),
            ValueError,
            r"must not be negative, got -0\.5 at probabilities\[1\]",
        ),
        (lambda: entropy([nan, 1.0]), ValueError, "probabilities must be finite, got nan"),
        (lambda: kl_divergence([0.5, 0.6], [0.5, 0.5]), ValueError, "p must sum to 1"),
        (lambda: kl_divergence([0.5, 0.5], [0.5, 0.6]), ValueError, "q must sum to 1"),
        (
            lambda: kl_divergence([0.5, 0.5], [0.5, 0.25, 0.25]),
            ValueError,
            r"p and q must have the same shape, got \(2,\) and \(3,\)",
        ),
        (lambda: perplexity(-0.1), ValueError, r"mean_nats must be a number >= 0, got -0\.1"),
        (lambda: perplexity(nan), ValueError, "mean_nats must be a number >= 0, got nan"),
        (lambda: perplexity([1.0]), TypeError, "mean_nats must be a number, got list"),
        (lambda: bits_per_byte(-1, 5), ValueError, "total_nats must be a number >= 0, got -1"),
        (lambda: bits_per_byte(1, 0), ValueError, "n_bytes must be an integer >= 1, got 0"),
        (lambda: bits_per_byte(1, 2.5), TypeError, r"n_bytes must be an integer, got float 2\.5"),
        (lambda: sample([0.5, 0.6], Fixed(0.5)), ValueError, "probabilities must sum to 1"),
        (
            lambda: sample([[0.5, 0.5]], Fixed(0.5)),
            ValueError,
            r"probabilities must have 1 axis, got shape \(1, 2\)",
        ),
        (
            lambda: sample([0.5, 0.5], 3),
            TypeError,
            r"rng must be a numpy\.random\.Generator such as .*, got int",
        ),
        (lambda: sample([0.5, 0.5], np.random), TypeError, "got module"),
    ],
)
def test_wrong_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
