"""Decoding on plain arrays, against Hugging Face's processors and the definitions."""

import itertools

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from lmcourse.gpt2.sampling import (
    beam_score,
    contrastive_scores,
    draw,
    filter_typical,
    next_token_distribution,
    penalize_repetition,
)
from lmcourse.probability import sample

TEXT = [3, 1, 4, 1, 5]


def random_logits(*shape, seed=0, scale=3.0):
    return np.random.default_rng(seed).normal(scale=scale, size=shape)


def random_distributions(*shape, seed=0):
    return scipy.special.softmax(random_logits(*shape, seed=seed), axis=-1)


def by_transformers(
    logits,
    ids=TEXT,
    *,
    repetition_penalty=None,
    temperature=None,
    top_k=None,
    top_p=None,
    min_p=None,
    typical_p=None,
):
    """Apply Hugging Face's processors in the order in which ``generate`` builds them."""
    processors = [
        (RepetitionPenaltyLogitsProcessor, repetition_penalty),
        (TemperatureLogitsWarper, temperature),
        (TopKLogitsWarper, top_k),
        (TopPLogitsWarper, top_p),
        (MinPLogitsWarper, min_p),
        (TypicalLogitsWarper, typical_p),
    ]
    scores = torch.tensor(logits)[None]
    for processor, value in processors:
        if value is not None:
            scores = processor(value)(torch.tensor([ids]), scores)
    return scores[0].numpy()


@pytest.mark.parametrize("penalty", [0.5, 1.0, 1.2, 3.0])
def test_repetition_penalty_equals_transformers(penalty):
    for seed in range(5):
        logits = random_logits(20, seed=seed)
        assert (logits[TEXT] < 0).any() or seed  # both signs are met
        theirs = by_transformers(logits, repetition_penalty=penalty)
        np.testing.assert_array_equal(penalize_repetition(logits, TEXT, penalty), theirs)


def test_a_penalty_makes_repetition_less_likely_whatever_the_sign():
    logits = np.array([2.0, -2.0, 0.0, 1.0, -np.inf])
    penalized = penalize_repetition(logits, [0, 1, 2, 4, 0, 0], 2.0)
    np.testing.assert_array_equal(penalized, [1.0, -4.0, 0.0, 1.0, -np.inf])
    np.testing.assert_array_equal(logits, [2.0, -2.0, 0.0, 1.0, -np.inf])  # left as they were


def test_nothing_said_is_nothing_penalized():
    logits = random_logits(5)
    np.testing.assert_array_equal(penalize_repetition(logits, [], 2.0), logits)


@pytest.mark.parametrize("typical_p", [0.01, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("vocab_size", [1, 2, 7, 100])
def test_typical_equals_transformers(typical_p, vocab_size):
    for seed in range(10):
        logits = random_logits(vocab_size, seed=seed)
        theirs = by_transformers(logits, typical_p=typical_p)
        np.testing.assert_array_equal(filter_typical(logits, typical_p), theirs)


@pytest.mark.parametrize("typical_p", [0.1, 0.35, 0.6, 0.85])
def test_typical_keeps_ties_as_transformers_does(typical_p):
    for seed in range(20):
        logits = np.random.default_rng(seed).integers(-2, 3, size=30).astype(np.float64)
        theirs = by_transformers(logits, typical_p=typical_p)
        np.testing.assert_array_equal(filter_typical(logits, typical_p), theirs)


def test_typical_can_leave_out_the_likeliest_token():
    # The entropy is 1.75 nats. The likeliest token's surprise is 0.92, that of the others 2.30.
    p = np.array([0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    kept = np.isfinite(filter_typical(np.log(p), 0.5))
    assert kept.tolist() == [False] + [True] * 6


def test_typical_of_1_keeps_all_and_ruled_out_tokens_stay_out():
    logits = np.array([1.0, -np.inf, 0.5])
    np.testing.assert_array_equal(filter_typical(logits, 1.0), logits)
    assert filter_typical(logits, 0.99)[1] == -np.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_typical_takes_batches_and_keeps_the_type(dtype):
    logits = random_logits(2, 3, 50).astype(dtype)
    filtered = filter_typical(logits, 0.4)
    assert filtered.dtype == dtype
    for row in np.ndindex(2, 3):
        np.testing.assert_array_equal(filtered[row], filter_typical(logits[row], 0.4))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.floats(0.01, 0.99))
def test_typical_keeps_the_nearest_tokens_that_hold_the_mass(logits, typical_p):
    p = scipy.special.softmax(logits)
    kept = np.isfinite(filter_typical(np.array(logits), typical_p))
    distance = np.abs(-np.log(p) - scipy.stats.entropy(p))
    assert p[kept].sum() >= typical_p - 1e-8
    assert distance[kept].max() <= distance[~kept].min(initial=np.inf)
    # Without the furthest tokens that stay, the mass is not reached.
    needed = kept & (distance < distance[kept].max() - 2e-9)
    assert p[needed].sum() < typical_p


SINGLE = [
    {"repetition_penalty": 1.3},
    {"temperature": 0.7},
    {"top_k": 5},
    {"top_p": 0.8},
    {"min_p": 0.1},
    {"typical_p": 0.6},
]
CHAINS = [
    {name: value for name, value in zip(names, values, strict=True) if value is not None}
    for names in [("repetition_penalty", "temperature", "top_k", "top_p", "min_p", "typical_p")]
    for values in itertools.product(
        (None, 1.5), (0.5, 1.6), (None, 30), (0.9,), (0.02,), (0.3, 0.8)
    )
]


@pytest.mark.parametrize("options", SINGLE + CHAINS, ids=str)
def test_the_distribution_equals_transformers(options):
    for seed, vocab_size in enumerate((100, 100, 40, 6)):
        logits = random_logits(vocab_size, seed=seed)
        theirs = scipy.special.softmax(by_transformers(logits, **options))
        ours = next_token_distribution(logits, TEXT, **options)
        np.testing.assert_array_equal(ours > 0, theirs > 0)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("options", [*SINGLE, CHAINS[0], CHAINS[-1]], ids=str)
def test_tied_logits_are_filtered_as_transformers_does(options):
    """Among equal logits, top-p and so what follows it may keep others, but as many of each."""
    for seed in range(10):
        logits = np.random.default_rng(seed).integers(-3, 4, size=50).astype(np.float64)
        theirs = scipy.special.softmax(by_transformers(logits, **options))
        ours = next_token_distribution(logits, TEXT, **options)
        np.testing.assert_allclose(np.sort(ours), np.sort(theirs), rtol=1e-12)


def test_without_options_it_is_the_softmax():
    logits = random_logits(30)
    np.testing.assert_allclose(next_token_distribution(logits), scipy.special.softmax(logits))


def test_float32_stays_float32():
    logits = random_logits(30).astype(np.float32)
    for options in ({}, {"typical_p": 0.5}, {"repetition_penalty": 2.0}):
        p = next_token_distribution(logits, TEXT, **options)
        assert p.dtype == np.float32
        expected = next_token_distribution(logits.astype(np.float64), TEXT, **options)
        np.testing.assert_allclose(p, expected, rtol=1e-5)


def test_draw_inverts_the_cumulative_distribution():
    p = np.array([0.25, 0.0, 0.5, 0.25])
    uniform = np.array([0.0, 0.2499, 0.25, 0.7499, 0.75, np.nextafter(1, 0)])
    drawn = draw(np.tile(p, (6, 1)), uniform)
    assert drawn.tolist() == [0, 0, 2, 2, 3, 3]
    assert draw(p, 0.3) == 2


def test_draw_is_sample_with_given_numbers():
    p = random_distributions(500).astype(np.float32)
    numbers = np.random.default_rng(7).random(1000)
    expected = sample(p, np.random.default_rng(7), size=1000)
    np.testing.assert_array_equal(draw(np.tile(p, (1000, 1)), numbers), expected)


def test_draw_never_takes_what_is_ruled_out():
    p = np.array([0.0, 0.3, 0.0, 0.7, 0.0])
    assert draw(p, 0.0) == 1
    assert draw(p, np.nextafter(1, 0)) == 3


def test_draw_finds_a_token_where_rounding_leaves_the_sum_below_1():
    assert draw(np.array([0.5, 0.49998], np.float32), np.nextafter(1, 0)) == 1


def test_beam_score():
    assert beam_score(-6.0, 3, length_penalty=0.0) == -6.0
    assert beam_score(-6.0, 3) == -2.0
    assert beam_score(-6.0, 3, length_penalty=2.0) == pytest.approx(-6 / 9)


def test_contrastive_scores_by_the_definition():
    rng = np.random.default_rng(0)
    p, candidates, context = rng.random(4), rng.normal(size=(4, 6)), rng.normal(size=(9, 6))
    cosine = torch.nn.functional.cosine_similarity(
        torch.tensor(candidates)[:, None], torch.tensor(context)[None], dim=-1
    )
    expected = 0.4 * p - 0.6 * cosine.amax(dim=1).numpy()
    ours = contrastive_scores(p, candidates, context, penalty_alpha=0.6)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    np.testing.assert_array_equal(contrastive_scores(p, candidates, context, penalty_alpha=0), p)


def test_a_repeated_vector_costs_all_of_alpha():
    vectors = np.eye(3)
    scores = contrastive_scores(np.array([0.9, 0.1]), vectors[:2], vectors[[0]], penalty_alpha=0.5)
    np.testing.assert_allclose(scores, [0.45 - 0.5, 0.05])


LOGITS = random_logits(5)
HALVES = np.array([0.5, 0.5])


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: penalize_repetition(LOGITS, [5], 1.2),
            r"ids must lie in \[0, 5\), got 5 at ids\[0",
        ),
        (lambda: penalize_repetition(LOGITS, [0.5], 1.2), "ids must hold integer token ids"),
        (lambda: penalize_repetition(LOGITS, [0], 0), "repetition_penalty must be .* > 0, got 0"),
        (lambda: filter_typical(LOGITS, 0), "typical_p must be .* > 0 and <= 1, got 0"),
        (lambda: filter_typical(LOGITS, 1.1), "typical_p must be .* > 0 and <= 1, got 1.1"),
        (lambda: filter_typical(np.full(3, -np.inf), 0.5), "at least one token possible"),
        (lambda: filter_typical(np.array([np.nan, 0.0]), 0.5), r"logits\[0\]"),
        (lambda: next_token_distribution(LOGITS, temperature=0), "temperature must be .* > 0"),
        (lambda: next_token_distribution(LOGITS, top_p=0), "top_p must be .* > 0 and <= 1, got 0"),
        (lambda: next_token_distribution(LOGITS, top_p=1.01), "top_p must be .* <= 1, got 1.01"),
        (lambda: draw(HALVES, 1.0), r"uniform must lie in \[0, 1\), got 1.0"),
        (lambda: draw(HALVES, -0.1), r"uniform must lie in \[0, 1\), got -0.1"),
        (lambda: draw(HALVES, np.array([0.1, 0.2])), r"shape \(\), got shape \(2,\)"),
        (lambda: draw(np.array([0.5, 0.4]), 0.1), "probabilities must sum to 1"),
        (lambda: beam_score(-1.0, 0), "n_tokens must be an integer >= 1, got 0"),
        (lambda: beam_score(-1.0, 2, length_penalty=np.nan), "length_penalty must be a finite"),
        (
            lambda: contrastive_scores(HALVES, np.eye(2), np.eye(2), penalty_alpha=1.5),
            "penalty_alpha must be .* <= 1, got 1.5",
        ),
        (
            lambda: contrastive_scores(HALVES, np.eye(3), np.eye(3), penalty_alpha=0.5),
            r"a vector for each probability.*\(3, 3\), \(2,\)",
        ),
        (
            lambda: contrastive_scores(HALVES, np.eye(2), np.eye(3), penalty_alpha=0.5),
            "as wide as those of context",
        ),
    ],
)
def test_wrong_input(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
