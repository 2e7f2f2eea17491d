"""Attention of one head in numpy, against torch and SciPy, and the tiled algorithm's promises."""

import tracemalloc

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.nn import functional

from lmcourse.attention.one_head import (
    causal_mask,
    log_sum_exp,
    merge,
    scaled_dot_product,
    tiled,
    weighted_average,
)

shapes = st.fixed_dictionaries(
    {
        "n_query": st.integers(1, 20),
        "n_key": st.integers(1, 20),
        "head_dim": st.integers(1, 9),
        "value_dim": st.integers(1, 9),
        "seed": st.integers(0, 1000),
    }
)


def inputs(n_query, n_key, head_dim, value_dim=None, *, seed=0, scale=1.0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    value_dim = head_dim if value_dim is None else value_dim
    arrays = [(n_query, head_dim), (n_key, head_dim), (n_key, value_dim)]
    return [(scale * rng.normal(size=shape)).astype(dtype) for shape in arrays]


def by_torch(query, key, value, causal):
    """Attention and log-sum-exp by torch; zeros and -inf for a query that sees nothing.

    The mask is written out, because torch's own causal flag counts from the first query.
    """
    query, key, value = map(torch.from_numpy, (query, key, value))
    n_query, n_key = len(query), len(key)
    seen = torch.ones(n_query, n_key, dtype=torch.bool)
    if causal:
        seen = seen.tril(diagonal=n_key - n_query)
    output = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    scores = query @ key.T / query.shape[1] ** 0.5
    lse = torch.logsumexp(scores.masked_fill(~seen, -torch.inf), dim=1)
    output[~seen.any(dim=1)] = 0.0
    return output.numpy(), lse.numpy()


def assert_close(ours, theirs):
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


def test_weighted_average_weighs_and_selects():
    value = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 8.0]])
    weights = np.array([[0.0, 1.0, 0.0], [0.5, 0.25, 0.25]])
    assert_close(weighted_average(weights, value), np.array([[3.0, 4.0], [2.5, 4.0]]))


def test_causal_mask_is_aligned_at_the_last_query_and_the_last_key():
    expected = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], bool)
    np.testing.assert_array_equal(causal_mask(3, 5), expected)
    np.testing.assert_array_equal(causal_mask(3, 2), [[0, 0], [1, 0], [1, 1]])


@given(shapes, st.booleans())
@example({"n_query": 5, "n_key": 2, "head_dim": 3, "value_dim": 4, "seed": 0}, True)
def test_scaled_dot_product_equals_torch(shape, causal):
    query, key, value = inputs(**shape)
    ours = scaled_dot_product(query, key, value, causal=causal)
    assert_close(ours, by_torch(query, key, value, causal)[0])


@given(shapes, st.booleans(), st.integers(1, 24), st.integers(1, 24))
@example({"n_query": 9, "n_key": 4, "head_dim": 3, "value_dim": 5, "seed": 0}, True, 4, 3)
@example({"n_query": 4, "n_key": 9, "head_dim": 3, "value_dim": 5, "seed": 0}, True, 3, 2)
def test_tiled_equals_torch_for_any_tile(shape, causal, tile_q, tile_k):
    query, key, value = inputs(**shape)
    output, lse = tiled(query, key, value, causal=causal, tile_q=tile_q, tile_k=tile_k)
    expected_output, expected_lse = by_torch(query, key, value, causal)
    assert_close(output, expected_output)
    assert_close(lse, expected_lse)


@pytest.mark.parametrize("causal", [False, True])
def test_tiled_equals_torch_with_its_default_tiles(causal):
    query, key, value = inputs(150, 170, 16)
    for ours, theirs in zip(
        tiled(query, key, value, causal=causal), by_torch(query, key, value, causal), strict=True
    ):
        assert_close(ours, theirs)


def test_queries_before_the_first_key_give_zeros_and_minus_infinity():
    query, key, value = inputs(5, 2, 3)
    output, lse = tiled(query, key, value, causal=True, tile_q=2, tile_k=1)
    whole = scaled_dot_product(query, key, value, causal=True)
    for blind in (output[:3], whole[:3]):
        np.testing.assert_array_equal(blind, np.zeros((3, 3)))
    assert (lse[:3] == -np.inf).all()
    assert np.isfinite(lse[3:]).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shift", [0.0, -1e4, 1e4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_scores_neither_overflow_nor_vanish(shift, dtype):
    """The first entries make every score about ``shift``; the others tell them apart."""
    query, key, value = inputs(6, 9, 4, seed=1, dtype=dtype)
    query[:, 0], key[:, 0] = 100.0, shift * 2 / 100
    expected_output, expected_lse = by_torch(*(a.astype(float) for a in (query, key, value)), False)
    output, lse = tiled(query, key, value, tile_q=4, tile_k=2)
    tolerance = 5e-3 if dtype == np.float32 else 1e-9  # scores of 1e4 have steps of 1e-3 in float32
    np.testing.assert_allclose(output, expected_output, rtol=0, atol=tolerance)
    np.testing.assert_allclose(lse, expected_lse, rtol=0, atol=tolerance)
    whole = scaled_dot_product(query, key, value)
    np.testing.assert_allclose(whole, expected_output, rtol=0, atol=tolerance)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scores", [[1e4, 0.0, -1e4], [-1e4, 0.0, 1e4], [0.0, 1e4, -1e4]])
def test_the_running_maximum_may_jump_by_ten_thousand_between_tiles(scores):
    value = np.arange(6.0).reshape(3, 2)
    output, lse = tiled(np.ones((1, 1)), np.array(scores)[:, None], value, tile_k=1)
    np.testing.assert_array_equal(output[0], value[np.argmax(scores)])
    assert lse[0] == 1e4


@pytest.mark.parametrize("causal", [False, True])
def test_float32_stays_float32(causal):
    arrays = inputs(7, 9, 4, dtype=np.float32)
    output, lse = tiled(*arrays, causal=causal, tile_q=3, tile_k=2)
    assert output.dtype == lse.dtype == np.float32
    assert scaled_dot_product(*arrays, causal=causal).dtype == np.float32
    assert log_sum_exp(arrays[0]).dtype == np.float32
    merged = merge(output, lse, output, lse)
    assert merged[0].dtype == merged[1].dtype == np.float32
    np.testing.assert_allclose(
        output, by_torch(*(a.astype(float) for a in arrays), causal)[0], rtol=1e-5, atol=1e-6
    )


def test_arguments_stay_as_they_were():
    arrays = inputs(5, 7, 3)
    before = [array.copy() for array in arrays]
    scaled_dot_product(*arrays, causal=True)
    output, lse = tiled(*arrays, causal=True, tile_q=2, tile_k=2)
    kept = output.copy(), lse.copy()
    merge(output, lse, output, lse)
    scores = np.array([[0.5, -np.inf]])
    log_sum_exp(scores)
    for now, then in zip(
        [*arrays, output, lse, scores], [*before, *kept, [[0.5, -np.inf]]], strict=True
    ):
        np.testing.assert_array_equal(now, then)


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1e-3, 1.0, 1e4, 1e300]))
def test_log_sum_exp_equals_scipy(n_query, n_key, scale):
    rng = np.random.default_rng(n_query * 7 + n_key)
    scores = scale * rng.normal(size=(n_query, n_key))
    scores[rng.random(scores.shape) < 0.3] = -np.inf
    assert_close(log_sum_exp(scores), scipy.special.logsumexp(scores, axis=1))


@pytest.mark.filterwarnings("error")
def test_log_sum_exp_of_nothing_is_minus_infinity():
    np.testing.assert_array_equal(
        log_sum_exp(np.array([[-np.inf, -np.inf], [0.0, -np.inf]])), [-np.inf, 0.0]
    )


def blocks(sizes, *, seed=0, scale=3.0):
    """Return attention to each block of keys alone, and to all of them together."""
    query, key, value = inputs(4, sum(sizes), 3, 5, seed=seed, scale=scale)
    cuts = np.cumsum(sizes)[:-1]
    parts = zip(np.split(key, cuts), np.split(value, cuts), strict=True)
    return [tiled(query, k, v) for k, v in parts], by_torch(query, key, value, False)


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.1, 3.0, 50.0]))
def test_two_blocks_merge_into_the_whole_in_either_order(size_a, size_b, scale):
    (a, b), whole = blocks([size_a, size_b], scale=scale)
    for merged in (merge(*a, *b), merge(*b, *a)):
        for ours, theirs in zip(merged, whole, strict=True):
            assert_close(ours, theirs)


def test_merging_is_associative():
    (a, b, c), whole = blocks([2, 5, 3])
    for merged in (merge(*merge(*a, *b), *c), merge(*a, *merge(*b, *c))):
        for ours, theirs in zip(merged, whole, strict=True):
            assert_close(ours, theirs)


@pytest.mark.filterwarnings("error")
def test_an_unseen_block_changes_nothing():
    (a,), _ = blocks([4])
    unseen = np.zeros_like(a[0]), np.full_like(a[1], -np.inf)
    for merged in (merge(*a, *unseen), merge(*unseen, *a)):
        np.testing.assert_array_equal(merged[0], a[0])
        np.testing.assert_array_equal(merged[1], a[1])
    nothing = merge(*unseen, *unseen)
    np.testing.assert_array_equal(nothing[0], unseen[0])
    np.testing.assert_array_equal(nothing[1], unseen[1])


def peak_memory(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("causal", [False, True])
def test_tiled_never_holds_the_matrix_of_scores(causal):
    arrays = inputs(1500, 1500, 8)
    matrix = 1500 * 1500 * 8
    assert peak_memory(lambda: scaled_dot_product(*arrays, causal=causal)) > matrix
    assert peak_memory(lambda: tiled(*arrays, causal=causal)) < matrix / 15


@pytest.mark.filterwarnings("error")
def test_tiles_that_no_query_sees_are_skipped():
    """Were they looked at, these scores would overflow before they are masked."""
    query, key, value = inputs(6, 6, 2)
    query[:4], key[4:] = 1e200, 1e200
    key[:4] = 0.0
    query[4:] = 0.0
    output, _ = tiled(query, key, value, causal=True, tile_q=2, tile_k=2)
    np.testing.assert_allclose(output, np.cumsum(value, axis=0) / np.arange(1, 7)[:, None])


GOOD = np.ones((2, 3))


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: weighted_average([[0.5, 0.6]], [[1.0], [2.0]]),
            ValueError,
            "weights must sum to 1, got the sum 1.1 of weights[0, :]",
        ),
        (
            lambda: weighted_average([[0.5, 0.5]], [[1.0]]),
            ValueError,
            "value must have a row for each of the 2 weights, got 1 rows",
        ),
        (lambda: weighted_average([["a"]], [[1.0]]), TypeError, "weights must be an array of real"),
        (lambda: weighted_average([[1.0]], [1.0]), ValueError, "value must have 2 axes"),
        (lambda: causal_mask(0, 3), ValueError, "n_query must be an integer >= 1, got 0"),
        (lambda: causal_mask(3, 0), ValueError, "n_key must be an integer >= 1, got 0"),
        (lambda: causal_mask(3, 2.0), TypeError, "n_key must be an integer, got float 2.0"),
        (lambda: log_sum_exp([[np.inf]]), ValueError, "scores must be finite or -inf, got inf"),
        (lambda: log_sum_exp([[np.nan]]), ValueError, "scores must be finite or -inf, got nan"),
        (lambda: log_sum_exp([1.0]), ValueError, "scores must have 2 axes, got shape (1,)"),
        (lambda: log_sum_exp([["a"]]), TypeError, "scores must be an array of real numbers"),
        (
            lambda: merge(GOOD, [0.0], GOOD, [0.0, 0.0]),
            ValueError,
            "both blocks must have an output of one shape and an lse of its rows, "
            "got (2, 3), (1,) and (2, 3), (2,)",
        ),
        (lambda: merge(GOOD, [0, 0], GOOD[:1], [0, 0]), ValueError, "both blocks must have an"),
        (lambda: merge(GOOD, [0, np.nan], GOOD, [0, 0]), ValueError, "lse_a must be finite or"),
        (lambda: merge(GOOD, [0, 0], GOOD, [0, np.inf]), ValueError, "lse_b must be finite or"),
        (lambda: merge(GOOD, [0, 0], GOOD * np.nan, [0, 0]), ValueError, "output_b must be finite"),
        (lambda: merge("a", [0, 0], GOOD, [0, 0]), TypeError, "output_a must be an array of real"),
        (
            lambda: tiled(GOOD, GOOD, GOOD, tile_q=0),
            ValueError,
            "tile_q must be an integer >= 1, got 0",
        ),
        (
            lambda: tiled(GOOD, GOOD, GOOD, tile_k=2.0),
            TypeError,
            "tile_k must be an integer, got float 2.0",
        ),
    ],
)
def test_wrong_input(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)


@pytest.mark.wrong_input
@pytest.mark.parametrize("function", [scaled_dot_product, tiled])
@pytest.mark.parametrize(
    ("arrays", "error", "words"),
    [
        (
            (GOOD, GOOD[:, :2], GOOD),
            ValueError,
            "key must have query's head_dim of 3, got",
        ),
        ((GOOD, GOOD, GOOD[:1]), ValueError, "value must have a row for each of the 2 keys, got"),
        ((GOOD[0], GOOD, GOOD), ValueError, "query must have 2 axes, got shape (3,)"),
        ((GOOD, GOOD * np.nan, GOOD), ValueError, "key must be finite, got nan at key[0, 0]"),
        ((GOOD, GOOD, GOOD * np.inf), ValueError, "value must be finite, got inf at value[0, 0]"),
        ((GOOD[:0], GOOD, GOOD), ValueError, "query must not be empty, got shape (0, 3)"),
        ((GOOD, "a", GOOD), TypeError, "key must be an array of real numbers"),
    ],
)
def test_wrong_arrays(function, arrays, error, words):
    with pytest.raises(error) as caught:
        function(*arrays)
    assert words in str(caught.value)
