"""A long text is scored token by token in windows, each token once; repetition is counted."""

import math
import re

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from nltk.util import ngrams
from torch.nn import functional as F

from lmcourse.gpt2 import GPT2, GPT2Config
from lmcourse.gpt2.evaluation import distinct_n, repetition_rate, sliding_window, windows

VOCAB = 31
CONTEXT = 12


def model():
    """A GPT-2 in float64 whose guesses depend on all of its context."""
    model = GPT2(GPT2Config(VOCAB, n_positions=CONTEXT, n_embd=12, n_layer=2, n_head=3)).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.3 * torch.randn(p.shape, dtype=p.dtype, generator=generator)
    return model


def hugging_face(ours):
    """The same model in Hugging Face's code."""
    sizes = {"vocab_size": VOCAB, "n_positions": CONTEXT, "n_embd": 12, "n_layer": 2, "n_head": 3}
    config = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
    theirs = transformers.GPT2LMHeadModel(config).double()
    weights = {f"transformer.{name}": p for name, p in ours.state_dict().items()}
    theirs.load_state_dict(weights | {"lm_head.weight": ours.wte.weight})
    return theirs.eval()


OURS = model()
THEIRS = hugging_face(OURS)


def text(n_tokens, seed=0):
    return np.random.default_rng(seed).integers(VOCAB, size=n_tokens)


def one_at_a_time(ids, length, stride):
    """Nats of each token after the first, each from a reading of its own by Hugging Face's code."""
    ids, nats = torch.from_numpy(ids), []
    for i in range(1, len(ids)):
        begin = max(0, math.ceil((i - length) / stride) * stride)
        with torch.no_grad():
            logits = THEIRS(ids[None, begin:i]).logits[0, -1]
        nats.append(-logits.log_softmax(-1)[ids[i]].item())
    return np.array(nats)


bigram_logits = torch.randn(VOCAB, VOCAB, generator=torch.Generator().manual_seed(2)).double()


def bigrams(ids):
    return bigram_logits[ids]


SHAPES = [(12, 6), (12, 12), (12, 1), (7, 3), (5, 5), (1, 1), (2, 1)]


@pytest.mark.parametrize(("length", "stride"), SHAPES)
@pytest.mark.parametrize("n_tokens", [2, 12, 13, 14, 30, 37])
def test_every_token_costs_what_it_costs_when_read_alone(n_tokens, length, stride):
    ids = text(n_tokens)
    score = sliding_window(OURS, ids, length=length, stride=stride, batch_size=3)
    assert score.n_tokens == n_tokens - 1
    np.testing.assert_allclose(score.nats, one_at_a_time(ids, length, stride), rtol=1e-10)


def test_stride_one_gives_each_token_the_longest_context():
    ids = text(40)
    expected = [
        F.cross_entropy(OURS(torch.tensor(ids[None, max(0, i - CONTEXT) : i]))[0, -1], target)
        for i, target in enumerate(torch.tensor(ids))
        if i
    ]
    score = sliding_window(OURS, ids, stride=1)
    np.testing.assert_allclose(score.nats, torch.stack(expected).detach(), rtol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_the_model_may_be_ours_or_hugging_faces_or_a_function(batch_size):
    ids = text(50)
    ours = sliding_window(OURS, ids, batch_size=batch_size)
    for model, options in (
        (THEIRS, {}),
        (lambda ids: OURS(ids), {"length": CONTEXT}),
        (lambda ids: OURS(ids).detach().numpy(), {"length": CONTEXT}),
    ):
        score = sliding_window(model, ids, batch_size=batch_size, **options)
        np.testing.assert_allclose(score.nats, ours.nats, rtol=1e-10)
    np.testing.assert_allclose(ours.nats, one_at_a_time(ids, CONTEXT, CONTEXT // 2), rtol=1e-10)


@given(
    st.integers(2, 60),
    st.integers(1, 20).flatmap(lambda length: st.tuples(st.just(length), st.integers(1, length))),
    st.integers(1, 5),
)
def test_bigrams_cost_the_same_in_windows_of_any_shape(n_tokens, shape, batch_size):
    length, stride = shape
    ids = torch.tensor(text(n_tokens))
    expected = F.cross_entropy(bigram_logits[ids[:-1]], ids[1:], reduction="none")
    score = sliding_window(
        bigrams, ids.numpy(), length=length, stride=stride, batch_size=batch_size
    )
    np.testing.assert_allclose(score.nats, expected, rtol=1e-12)


@pytest.mark.parametrize("n_tokens", [1, 13, 20])
def test_after_a_start_the_first_token_is_scored_as_well(n_tokens):
    ids = text(n_tokens)
    score = sliding_window(OURS, ids, start=4)
    assert score.n_tokens == n_tokens
    np.testing.assert_array_equal(score.nats, sliding_window(OURS, np.array([4, *ids])).nats)


@given(st.integers(2, 300), st.integers(1, 40), st.data())
def test_windows_score_each_token_once_with_the_context_that_is_promised(n_tokens, length, data):
    stride = data.draw(st.integers(1, length))
    rows = windows(n_tokens, length, stride)
    scored = [i for _, end, first in rows for i in range(first, end + 1)]
    assert scored == list(range(1, n_tokens))
    for begin, end, first in rows:
        assert end - begin <= length
        for i in range(first, end + 1):
            assert begin == stride * math.ceil(max(0, i - length) / stride)
            assert i - begin >= min(i, length - stride + 1)


def test_windows_by_hand():
    expected = [[0, 4, 1], [2, 6, 5], [4, 8, 7], [6, 9, 9]]
    assert windows(10, length=4, stride=2).tolist() == expected
    assert windows(5, length=4, stride=4).tolist() == [[0, 4, 1]]
    assert windows(6, length=4, stride=4).tolist() == [[0, 4, 1], [4, 5, 5]]


def test_measures_of_a_score():
    ids = np.array([3, 1, 4, 1, 5])
    score = sliding_window(lambda ids: torch.zeros(*ids.shape, 8), ids, length=2)
    assert score.n_tokens == 4
    assert score.total_nats == pytest.approx(4 * math.log(8))
    assert score.mean_nats == pytest.approx(math.log(8))
    assert score.perplexity == pytest.approx(8)
    assert score.bits_per_byte(6) == pytest.approx(4 * 3 / 6)


def test_a_model_is_asked_without_dropout_and_left_as_it_was():
    config = GPT2Config(VOCAB, n_positions=CONTEXT, n_embd=12, n_layer=2, n_head=3, dropout=0.5)
    model = GPT2(config).train()
    model.h[1].eval()
    modes = [module.training for module in model.modules()]
    asked = []
    model.register_forward_hook(lambda *args: asked.append(args[-1].requires_grad))
    first, again = (sliding_window(model, text(30)) for _ in range(2))
    np.testing.assert_array_equal(first.nats, again.nats)
    np.testing.assert_array_equal(first.nats, sliding_window(model.eval(), text(30)).nats)
    assert not any(asked)
    model.train()
    model.h[1].eval()
    with pytest.raises(ValueError, match="lie in"):
        sliding_window(model, text(30) + 5)
    assert [module.training for module in model.modules()] == modes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_logits_of_low_precision_are_summed_in_a_higher_one(dtype):
    logits = bigram_logits.to(dtype)
    ids = torch.tensor(text(200))
    expected = F.cross_entropy(logits.double()[ids[:-1]], ids[1:], reduction="none")
    score = sliding_window(lambda ids: logits[ids], ids.numpy(), length=9)
    np.testing.assert_allclose(score.nats, expected, rtol=1e-5)


def test_certainty_and_impossibility():
    def next_number(ids):
        return torch.full((*ids.shape, 5), -torch.inf).scatter(2, ids[..., None] + 1, 0)

    sure = sliding_window(next_number, np.arange(5), length=3)
    assert (sure.total_nats, sure.perplexity) == (0, 1)
    wrong = sliding_window(next_number, np.array([0, 1, 3]), length=3)
    assert (wrong.total_nats, wrong.perplexity) == (math.inf, math.inf)


IDS = text(20)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("model", "ids", "options", "error", "message"),
    [
        (OURS, IDS[:1], {}, ValueError, "ids must hold a token to score, got 1 token and no star"),
        (OURS, IDS[:0], {}, ValueError, "ids must hold at least one token id, got an empty array"),
        (OURS, IDS / 2, {}, TypeError, "ids must hold integer token ids"),
        (OURS, IDS[None], {}, ValueError, "ids must have 1 axis, got shape (1, 20)"),
        (OURS, IDS - 40, {}, ValueError, "ids must not be negative"),
        (bigrams, [2, 3, 4, 31], {"length": 9}, ValueError, "lie in [0, 31), got 31 at ids[3]"),
        (OURS, IDS, {"length": 13}, ValueError, "length must be an integer >= 1 and <= 12, got 13"),
        (OURS, IDS, {"length": 0}, ValueError, "length must be an integer >= 1 and <= 12, got 0"),
        (OURS, IDS, {"stride": 13}, ValueError, "stride must be an integer >= 1 and <= 12, got 13"),
        (OURS, IDS, {"stride": 0}, ValueError, "stride must be an integer >= 1 and <= 12, got 0"),
        (OURS, IDS, {"stride": 2.5}, TypeError, "stride must be an integer, got float 2.5"),
        (OURS, IDS, {"start": -1}, ValueError, "start must be an integer >= 0, got -1"),
        (OURS, IDS, {"batch_size": 0}, ValueError, "batch_size must be an integer >= 1, got 0"),
        (bigrams, IDS, {}, ValueError, "length must be given for a model without config.n_positi"),
        (
            lambda ids: bigrams(ids)[:, -1],
            IDS,
            {"length": 5, "stride": 5},
            ValueError,
            "model must give logits of shape (3, 5, vocab), got (3, 31)",
        ),
        (
            lambda ids: bigrams(ids) * torch.nan,
            IDS,
            {"length": 5},
            ValueError,
            "model must give logits that are numbers, got NaN",
        ),
    ],
)
def test_wrong_input(model, ids, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        sliding_window(model, ids, **options)


@pytest.mark.wrong_input
def test_windows_need_a_token_to_score():
    with pytest.raises(ValueError, match="n_tokens must be an integer >= 2, got 1"):
        windows(1, 4, 2)


token_lists = st.lists(st.integers(0, 6), min_size=1, max_size=40)


@given(token_lists, st.integers(1, 12))
def test_repetition_rate_looks_back_over_the_window(tokens, window):
    repeated = [token in tokens[max(0, i - window) : i] for i, token in enumerate(tokens)]
    expected = sum(repeated) / len(tokens)
    assert repetition_rate(tokens, window=window) == expected
    assert repetition_rate(np.array(tokens), window=window) == expected
    assert repetition_rate([f"word {token}" for token in tokens], window=window) == expected


def test_repetition_rate_by_hand():
    assert repetition_rate(["the", "cat", "saw", "the", "dog"]) == 1 / 5
    assert repetition_rate(["the", "cat", "saw", "the", "dog"], window=3) == 1 / 5
    assert repetition_rate(["the", "cat", "saw", "the", "dog"], window=2) == 0
    assert repetition_rate([1, 2] * 50) == 0.98
    assert repetition_rate([7]) == 0
    far = [0, *range(1, 128), 0]
    assert repetition_rate(far) > 0
    assert repetition_rate([0, *range(1, 129), 0]) == 0


@given(token_lists, st.integers(1, 5))
def test_distinct_n_counts_n_grams(tokens, n):
    tokens = tokens + [0] * n
    found = list(ngrams(tokens, n))
    expected = len(set(found)) / len(found)
    assert distinct_n(tokens, n) == expected
    assert distinct_n(torch.tensor(tokens).numpy(), n) == expected
    assert distinct_n(list(map(str, tokens)), n) == expected


def test_distinct_n_by_hand():
    words = ["the", "cat", "saw", "the", "cat"]
    assert distinct_n(words) == 3 / 4
    assert distinct_n(words, 1) == 3 / 5
    assert distinct_n(words, 5) == 1


@pytest.mark.wrong_input
@pytest.mark.parametrize("measure", [repetition_rate, distinct_n])
@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        ("a text", TypeError, "tokens must be token ids or words, got a string; split it"),
        ([], ValueError, "tokens must hold at least"),
        ([[1, 2], [3, 4]], ValueError, "tokens must have 1 axis"),
        (np.zeros((2, 3), dtype=int), ValueError, "tokens must have 1 axis"),
    ],
)
def test_wrong_tokens(measure, tokens, error, message):
    with pytest.raises(error, match=message):
        measure(tokens)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: repetition_rate([1], window=0), "window must be an integer >= 1, got 0"),
        (lambda: distinct_n([1], 0), "n must be an integer >= 1, got 0"),
        (lambda: distinct_n([1, 2], 3), "tokens must hold at least 3 tokens, got 2"),
    ],
)
def test_wrong_numbers(function, message):
    with pytest.raises(ValueError, match=message):
        function()
