"""The tasks' answers against what a reader of the finished sequences finds alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmcourse.optimizers import Adam
from lmcourse.rnn import GRU, RecurrentModel
from lmcourse.synthetic_tasks import (
    bracket_matching,
    delayed_copy,
    delayed_copy_accuracy,
    learn_delayed_copy,
)

seeds = st.integers(0, 2**32 - 1)


def rng():
    return np.random.default_rng(0)


@given(
    n_sequences=st.integers(1, 20),
    delay=st.integers(1, 12),
    n_symbols=st.integers(2, 5),
    n_fillers=st.integers(1, 5),
    seed=seeds,
)
def test_a_copy_is_a_symbol_then_fillers_then_the_cue(
    n_sequences, delay, n_symbols, n_fillers, seed
):
    ids, answers = delayed_copy(
        n_sequences,
        delay,
        np.random.default_rng(seed),
        n_symbols=n_symbols,
        n_fillers=n_fillers,
    )
    cue = n_symbols + n_fillers
    assert ids.shape == (n_sequences, delay + 1)
    assert ids.dtype.kind == answers.dtype.kind == "i"
    np.testing.assert_array_equal(answers, ids[:, 0])
    assert ((ids[:, 0] >= 0) & (ids[:, 0] < n_symbols)).all()
    assert ((ids[:, 1:-1] >= n_symbols) & (ids[:, 1:-1] < cue)).all()
    assert (ids[:, -1] == cue).all()
    answers += 1  # an array of its own
    np.testing.assert_array_equal(answers, ids[:, 0] + 1)


def assert_uniform(counts):
    """Each count lies within five standard deviations of an equal share."""
    n, share = counts.sum(), 1 / len(counts)
    assert np.abs(counts - n * share).max() < 5 * np.sqrt(n * share * (1 - share))


def test_symbols_and_fillers_are_equally_likely_and_independent():
    ids, answers = delayed_copy(20_000, 3, rng(), n_symbols=3, n_fillers=2)
    assert_uniform(np.bincount(answers, minlength=3))
    # Every combination of symbol, first and second filler.
    assert_uniform(np.bincount(answers * 4 + (ids[:, 1] - 3) * 2 + ids[:, 2] - 3, minlength=12))


def parse(sequence, n_kinds):
    """Read brackets with a stack; return how far back each closed one stands, and the depths."""
    stack, distances, depths = [], [], []
    for t, token in enumerate(sequence.tolist()):
        if token < n_kinds:
            stack.append((token, t))
            distances.append(0)
        else:
            kind, opened = stack.pop()  # an IndexError if nothing is open
            assert token - n_kinds == kind
            distances.append(t - opened)
        depths.append(len(stack))
    return distances, depths


@given(
    n_sequences=st.integers(1, 8),
    length=st.integers(1, 40),
    n_kinds=st.integers(2, 5),
    max_depth=st.integers(1, 6),
    seed=seeds,
)
def test_closing_brackets_fit_and_their_distances_are_right(
    n_sequences, length, n_kinds, max_depth, seed
):
    ids, distances = bracket_matching(
        n_sequences,
        length,
        np.random.default_rng(seed),
        n_kinds=n_kinds,
        max_depth=max_depth,
    )
    assert ids.shape == distances.shape == (n_sequences, length)
    assert ids.min() >= 0
    assert ids.max() < 2 * n_kinds
    for sequence, given_distances in zip(ids, distances, strict=True):
        expected, depths = parse(sequence, n_kinds)
        np.testing.assert_array_equal(given_distances, expected)
        assert max(depths) <= max_depth


def test_brackets_are_drawn_as_documented():
    ids, _ = bracket_matching(4000, 30, rng(), n_kinds=3, max_depth=4)
    opens = ids < 3
    before = np.cumsum(np.where(opens, 1, -1), axis=1) - np.where(opens, 1, -1)  # depth before
    assert opens[before == 0].all()
    assert not opens[before == 4].any()
    for depth in (1, 2, 3):
        assert_uniform(np.bincount(opens[before == depth], minlength=2))
    assert_uniform(np.bincount(ids[opens], minlength=3))
    # The kind does not depend on the bracket around it, nor a sequence on its neighbour.
    two_open = opens[:, 0] & opens[:, 1]
    assert_uniform(np.bincount(ids[two_open, 0] * 3 + ids[two_open, 1], minlength=9))
    assert_uniform(np.bincount(ids[0::2, 0] * 3 + ids[1::2, 0], minlength=9))


@pytest.mark.parametrize("draw", [delayed_copy, bracket_matching])
def test_the_generator_decides(draw):
    one, same, other = (draw(5, 20, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: delayed_copy(0, 3, rng()), "n_sequences must be an integer >= 1, got 0"),
        (lambda: delayed_copy(2, 0, rng()), "delay must be an integer >= 1, got 0"),
        (lambda: delayed_copy(2, 3, rng(), n_symbols=1), "n_symbols must be an integer >= 2"),
        (lambda: delayed_copy(2, 3, rng(), n_fillers=0), "n_fillers must be an integer >= 1"),
        (lambda: bracket_matching(0, 3, rng()), "n_sequences must be an integer >= 1, got 0"),
        (lambda: bracket_matching(2, 0, rng()), "length must be an integer >= 1, got 0"),
        (lambda: bracket_matching(2, 3, rng(), n_kinds=1), "n_kinds must be an integer >= 2"),
        (lambda: bracket_matching(2, 3, rng(), max_depth=0), "max_depth must be an integer >= 1"),
    ],
)
def test_numbers_that_are_too_small_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: delayed_copy(2.5, 3, rng()), r"n_sequences must be an integer, got float 2\.5"),
        (lambda: delayed_copy(2, "3", rng()), "delay must be an integer, got str '3'"),
        (lambda: bracket_matching(2, 3.0, rng()), r"length must be an integer, got float 3\.0"),
        (lambda: bracket_matching(2, 3, rng(), max_depth=True), "max_depth must be an integer"),
    ],
)
def test_numbers_that_are_no_integers_are_named(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_a_model_learns_to_copy_and_is_scored():
    model = RecurrentModel(17, GRU(16, 16))
    before = delayed_copy_accuracy(model, 3, np.random.default_rng(0))
    optimizer = Adam(0.02)
    learn_delayed_copy(model, optimizer, 3, np.random.default_rng(1), steps=150)
    assert before < 0.4
    assert delayed_copy_accuracy(model, 3, np.random.default_rng(0)) > 0.95
    assert optimizer.learning_rate == 0.02


@pytest.mark.parametrize(("answer", "expected"), [(0, 1.0), (-1, 0.0)])
def test_only_the_symbol_after_the_cue_is_right(answer, expected):
    class Model:
        """Names the symbol at the cue and a filler before it, or the other way round."""

        def logits(self, ids):
            one_hot = np.eye(17)
            last = one_hot[ids[:, :1] if answer == 0 else ids[:, 1:2]]
            rest = one_hot[ids[:, 1:2] if answer == 0 else ids[:, :1]]
            return np.concatenate([rest.repeat(ids.shape[1] - 1, axis=1), last], axis=1), None

    assert delayed_copy_accuracy(Model(), 4, np.random.default_rng(0)) == expected
