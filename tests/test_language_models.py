"""n-gram models against NLTK; the feed-forward model against torch and finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nltk.lm import KneserNeyInterpolated, Laplace, Lidstone, Vocabulary
from nltk.util import everygrams

from lmcourse.gradient_check import check_gradients
from lmcourse.language_models import (
    FeedForwardModel,
    NGramModel,
    feed_forward_loss_and_gradients,
    generate,
    held_out_bits_per_byte,
    train,
)
from lmcourse.optimizers import SGD, Adam
from lmcourse.tokenizers import CharacterTokenizer

VOCAB = 7


@pytest.fixture(scope="module")
def texts():
    """A training text in which every token occurs, and a text to score."""
    rng = np.random.default_rng(1)
    train_ids = np.concatenate([np.arange(VOCAB), rng.zipf(1.6, size=600) % VOCAB])
    return train_ids, rng.zipf(1.6, size=200) % VOCAB


def words(ids):
    """NLTK takes strings."""
    return [str(i) for i in ids]


def fit_nltk(model, train_ids, order):
    model.fit([list(everygrams(words(train_ids), max_len=order))])
    return model


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("k", [0.01, 1.0])
def test_add_k_equals_nltk(texts, order, k):
    train_ids, test_ids = texts
    # NLTK counts its unknown token into the vocabulary: one id more than occurs.
    ours = NGramModel(order, VOCAB + 1, smoothing="add-k", k=k).fit(train_ids)
    vocabulary = Vocabulary(words(range(VOCAB)))
    peer = Laplace(order, vocabulary) if k == 1 else Lidstone(k, order, vocabulary)
    peer = fit_nltk(peer, train_ids, order)
    scores = ours.token_log_probabilities(test_ids)
    for t in range(order - 1, len(test_ids)):
        *context, word = words(test_ids[t - order + 1 : t + 1])
        np.testing.assert_allclose(np.exp(scores[t]), peer.score(word, context), rtol=1e-12)


@pytest.mark.parametrize("order", [2, 3, 4, 5])
@pytest.mark.parametrize("discount", [0.1, 0.75])
def test_kneser_ney_equals_nltk(texts, order, discount):
    train_ids, test_ids = texts
    # NLTK does not discount its unigrams.
    ours = NGramModel(order, VOCAB, discount=[0.0] + [discount] * (order - 1)).fit(train_ids)
    peer = KneserNeyInterpolated(order, discount, vocabulary=Vocabulary(words(range(VOCAB))))
    peer = fit_nltk(peer, train_ids, order)
    scores = ours.token_log_probabilities(test_ids)
    for t in range(order - 1, len(test_ids)):
        *context, word = words(test_ids[t - order + 1 : t + 1])
        np.testing.assert_allclose(np.exp(scores[t]), peer.score(word, tuple(context)), rtol=1e-12)


def test_perplexity_equals_nltk(texts):
    train_ids, test_ids = texts
    ours = NGramModel(3, VOCAB, discount=[0.0, 0.5, 0.5]).fit(train_ids)
    peer = KneserNeyInterpolated(3, 0.5, vocabulary=Vocabulary(words(range(VOCAB))))
    peer = fit_nltk(peer, train_ids, 3)
    trigrams = [tuple(words(test_ids[t - 2 : t + 1])) for t in range(2, len(test_ids))]
    ours_perplexity = np.exp(-ours.token_log_probabilities(test_ids)[2:].mean())
    np.testing.assert_allclose(ours_perplexity, peer.perplexity(trigrams), rtol=1e-10)


@given(
    ids=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    context=st.lists(st.integers(0, 4), max_size=6),
    order=st.integers(1, 5),
    smoothing=st.sampled_from([("add-k", 0.0), ("add-k", 0.3), ("kneser-ney", 1.0)]),
)
def test_probabilities_sum_to_one_and_agree_with_the_scores(ids, context, order, smoothing):
    name, k = smoothing
    model = NGramModel(order, 6, smoothing=name, k=k).fit(np.array(ids))
    text = np.array([*context, 0])
    scores = model.token_log_probabilities(text)
    for t in range(len(text)):
        p = model.probabilities(text[:t])
        assert p.min() >= 0
        assert np.isfinite(p).all()
        np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)
        np.testing.assert_allclose(np.exp(scores[t]), p[text[t]], rtol=1e-12)


def test_kneser_ney_counts_neighbours_not_occurrences():
    """'Francisco' is frequent, but only after 'San': it must not be likely after a new word."""
    san, francisco, fog, sea, hill = range(5)
    text = np.array([san, francisco] * 30 + [hill, fog, sea, fog, san, fog, hill, sea])
    model = NGramModel(2, 6, discount=0.5).fit(text)
    p = model.probabilities(np.array([5]))  # a token that training never met
    assert p[fog] > p[francisco]


def test_each_order_estimates_its_own_discount():
    # Bigrams: 01 02 10 20 occur once, 00 twice. Left neighbours: 0 has three, 1 and 2 have one.
    text = np.array([0, 0, 0, 1, 0, 2, 0])
    estimated = NGramModel(2, 3).fit(text)
    given = NGramModel(2, 3, discount=[2 / (2 + 2 * 0), 4 / (4 + 2 * 1)]).fit(text)
    np.testing.assert_array_equal(
        estimated.token_log_probabilities(text), given.token_log_probabilities(text)
    )


def test_maximum_likelihood_is_the_relative_frequency():
    model = NGramModel(2, 3, smoothing="add-k", k=0).fit(np.array([0, 1, 0, 1, 0, 2]))
    np.testing.assert_array_equal(model.probabilities(np.array([0])), [0, 2 / 3, 1 / 3])
    assert model.token_log_probabilities(np.array([0, 0]))[1] == -np.inf


def test_n_parameters_counts_distinct_n_grams():
    ids = np.array([0, 1, 0, 1, 2])
    assert NGramModel(1, 3).fit(ids).n_parameters == 3
    assert NGramModel(2, 3, smoothing="add-k").fit(ids).n_parameters == 3  # 01, 10, 12
    assert NGramModel(2, 3).fit(ids).n_parameters == 6


def tiny_model(dtype=np.float64):
    return FeedForwardModel(5, window=3, embedding_size=2, hidden_size=4, seed=2, dtype=dtype)


def batch(model, size=6):
    rng = np.random.default_rng(0)
    ids = rng.integers(model.vocab_size, size=size)
    return model.windows(ids)[:-1], ids


def test_gradients_equal_finite_differences():
    model = tiny_model()
    windows, targets = batch(model)
    check_gradients(
        lambda parameters: feed_forward_loss_and_gradients(parameters, windows, targets),
        model.parameters,
        tolerance=1e-6,
    )


def test_loss_and_gradients_equal_torch():
    model = tiny_model()
    windows, targets = batch(model)
    weights = {k: torch.tensor(v, requires_grad=True) for k, v in model.parameters.items()}
    x = torch.nn.functional.embedding(torch.tensor(windows.copy()), weights["embedding"]).flatten(1)
    h = torch.tanh(x @ weights["hidden_weight"] + weights["hidden_bias"])
    logits = h @ weights["output_weight"] + weights["output_bias"]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(targets))
    expected.backward()
    loss, gradients = model.loss_and_gradients(windows, targets)
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-12)
    for name, weight in weights.items():
        np.testing.assert_allclose(gradients[name], weight.grad, rtol=1e-10, atol=1e-15)


def test_feed_forward_scores_agree_with_its_distributions():
    model = tiny_model()
    ids = np.array([4, 0, 3, 3, 1, 2, 0])
    scores = model.token_log_probabilities(ids, batch_size=3)
    for t in range(len(ids)):
        p = model.probabilities(ids[:t])
        np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)
        np.testing.assert_allclose(np.log(p[ids[t]]), scores[t], rtol=1e-10)


def test_feed_forward_sees_its_window_and_nothing_else():
    model = tiny_model()
    ids = np.array([4, 0, 3, 3, 1])
    changed_before = np.array([1, 0, 3, 3, 1])
    changed_inside = np.array([4, 1, 3, 3, 1])
    scores = model.token_log_probabilities(ids)
    assert model.token_log_probabilities(changed_before)[4] == scores[4]
    assert model.token_log_probabilities(changed_inside)[4] != scores[4]
    np.testing.assert_array_equal(model.token_log_probabilities(ids[:3]), scores[:3])


@pytest.mark.parametrize("optimizer", [SGD(0.5), Adam(0.02)], ids=["sgd", "adam"])
def test_training_learns_a_cycle_and_leaves_the_learning_rate_alone(optimizer):
    rate = optimizer.learning_rate
    model = tiny_model(np.float32)
    losses = train(model, np.arange(200) % 5, optimizer, steps=300, batch_size=32)
    assert losses[0] > 1
    assert losses[-20:].mean() < 0.1
    assert optimizer.learning_rate == rate
    assert all(p.dtype == np.float32 for p in model.parameters.values())
    np.testing.assert_array_equal(generate(model, np.array([0, 1, 2]), 5, top_k=1), [3, 4, 0, 1, 2])


def test_the_learning_rate_falls_in_a_line():
    rates = []

    class Recorder:
        learning_rate = 2.0

        def step(self, parameters, gradients):
            rates.append(self.learning_rate)

    train(tiny_model(), np.arange(20) % 5, Recorder(), steps=4, batch_size=2)
    assert rates == [2.0, 1.5, 1.0, 0.5]


def test_the_same_seed_trains_the_same_model():
    runs = [
        train(tiny_model(), np.arange(50) % 5, SGD(0.1), steps=5, batch_size=4, seed=3)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])


def test_generation_follows_the_model():
    model = NGramModel(2, 3, smoothing="add-k", k=0).fit(np.array([0, 1] * 30 + [0, 2, 0]))
    ids = generate(model, np.array([0]), 4000, seed=5)
    np.testing.assert_array_equal(ids[1::2], 0)  # after 1 or 2 there is always 0
    expected = model.probabilities(np.array([0]))[2]
    error = np.sqrt(expected * (1 - expected) / 2000)
    assert abs(np.mean(ids[::2] == 2) - expected) < 5 * error
    np.testing.assert_array_equal(ids, generate(model, np.array([0]), 4000, seed=5))
    assert set(generate(model, np.array([0]), 50, top_k=1)) == {0, 1}


@pytest.mark.parametrize("only_the_best", [{"temperature": 1e-3}, {"top_p": 1e-3}, {"min_p": 1.0}])
def test_generation_passes_its_settings_on(only_the_best):
    model = NGramModel(2, 3, smoothing="add-k", k=0).fit(np.array([0, 1] * 30 + [0, 2] * 20 + [0]))
    assert set(generate(model, np.array([0]), 60)) == {0, 1, 2}
    assert set(generate(model, np.array([0]), 60, **only_the_best)) == {0, 1}


def test_bits_per_byte_of_a_uniform_model_counts_bytes_not_characters():
    text = "naïve café"
    tokenizer = CharacterTokenizer.train(text)
    model = NGramModel(1, tokenizer.vocab_size, smoothing="add-k", k=1e12).fit(
        tokenizer.encode(text)
    )
    expected = len(text) * np.log2(tokenizer.vocab_size) / len(text.encode())
    np.testing.assert_allclose(held_out_bits_per_byte(model, tokenizer, text), expected, rtol=1e-6)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NGramModel(0, 5), "order must be an integer >= 1, got 0"),
        (lambda: NGramModel(2, 5, smoothing="laplace"), "smoothing must be one of 'add-k'"),
        (lambda: NGramModel(2, 5, k=-1), "k must be a finite number >= 0, got -1"),
        (lambda: NGramModel(2, 5, discount=[0.5]), "one entry for each of 2 orders"),
        (lambda: NGramModel(2, 5).fit(np.array([])), "ids must hold at least one token"),
        (lambda: NGramModel(2, 5).fit(np.array([1, 5])), r"ids must lie in \[0, 5\), got 5 at"),
        (lambda: NGramModel(2, 5).fit(np.array([0.5])), "ids must hold integer token ids"),
        (lambda: NGramModel(2, 5).probabilities(np.array([1])), r"call fit\(ids\) first"),
        (lambda: tiny_model().windows(np.array([9])), r"ids must lie in \[0, 5\), got 9"),
        (lambda: FeedForwardModel(5, window=0), "window must be an integer >= 1"),
        (lambda: FeedForwardModel(5, dtype=np.int32), "dtype must be a floating-point type"),
        (
            lambda: tiny_model().loss_and_gradients(np.array([[0, 1]]), np.array([0])),
            "windows must have 3 columns",
        ),
        (
            lambda: tiny_model().loss_and_gradients(np.array([[0, 1, 2]]), np.array([0, 1])),
            "targets must have 1 entries, one a window, got 2",
        ),
        (
            lambda: tiny_model().loss_and_gradients(np.array([[0, 1, 2]]), np.array([5])),
            r"targets must lie in \[0, 5\)",
        ),
        (lambda: generate(tiny_model(), np.array([0]), 3, temperature=0), "temperature must be"),
        (lambda: generate(tiny_model(), np.array([7]), 3), r"context must lie in \[0, 5\)"),
        (lambda: held_out_bits_per_byte(tiny_model(), None, ""), "text must not be empty"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises((ValueError, TypeError, RuntimeError), match=message):
        call()
