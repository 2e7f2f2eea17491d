"""Exercises of chapter 6: the right answers, and the trials that an answer must stand.

What ``lmcourse.gpt2`` has is written out again in numpy: it loads torch, which no check should have
to wait for.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lmcourse import exercises, probability
from lmcourse.data import load_corpus
from lmcourse.exercises import Trial, Wrong, compare, describe, numbers
from lmcourse.language_models import NGramModel
from lmcourse.tokenizers import WordTokenizer

exercise = functools.partial(exercises.exercise, chapter="06_gpt2")


def count_parameters(vocab_size: int, n_positions: int, n_embd: int, n_layer: int) -> int:
    """Return how many numbers a GPT-2 has to learn."""
    layer_norm = 2 * n_embd
    attention = (n_embd + 1) * 3 * n_embd + (n_embd + 1) * n_embd
    mlp = (n_embd + 1) * 4 * n_embd + (4 * n_embd + 1) * n_embd
    block = layer_norm + attention + layer_norm + mlp
    return (vocab_size + n_positions) * n_embd + n_layer * block + layer_norm


class Counts(NamedTuple):
    """What an answer counted for one model and, unless that is None, for a smaller one."""

    count: Any
    of_smaller: Any


def _count(count_parameters, sizes, smaller):
    return Counts(count_parameters(*sizes), smaller and count_parameters(*smaller))


def _what_it_adds(counts, expected):
    """Compare the counts, or what the first model has more than the second."""
    if expected.of_smaller is None:
        compare(counts.count, expected.count)
        return
    for came, wanted in zip(counts, expected, strict=True):
        if np.shape(numbers(came, describe(wanted))):
            raise Wrong(describe(wanted), describe(came))
    compare(counts.count - counts.of_smaller, expected.count - expected.of_smaller)


@exercise(
    "gpt2-parameters",
    title="Where the parameters are",
    reference=count_parameters,
    drive=_count,
    difficulty=1,
    minutes=10,
)
def _(rng):
    def trial(idea, sizes, smaller=None):
        tried = " - ".join(f"count_parameters{s}" for s in (sizes, smaller) if s)
        return Trial(idea, (sizes, smaller), _what_it_adds, tried)

    few = (10, 4, 6, 1)
    yield trial(
        "one more token takes one vector: the output uses the table again", (11, 4, 6, 1), few
    )
    yield trial("one more position takes one vector", (10, 5, 6, 1), few)
    block = "a block has two layer norms and four matrices, all with a bias"
    yield trial(block, (10, 4, 6, 2), few)
    yield trial("after the last block there is a layer norm", (10, 4, 6, 0))
    yield trial("GPT-2 small has 124,439,808", (50257, 1024, 768, 12))
    vocab_size, n_positions, n_layer = rng.integers(20, 500, size=3).tolist()
    yield trial("any sizes will do", (vocab_size, n_positions, 64, n_layer))


def learning_rate(step: int, peak: float, warmup_steps: int, max_steps: int, floor: float) -> float:
    """Return the learning rate of an update: linear warmup, then half a cosine to the floor."""
    if step < warmup_steps:
        return peak * step / warmup_steps
    done = min((step - warmup_steps) / (max_steps - warmup_steps), 1)
    return float(peak * (floor + (1 - floor) * (1 + np.cos(np.pi * done)) / 2))


@exercise(
    "gpt2-schedule",
    title="Warm up, then slow down",
    reference=learning_rate,
    difficulty=1,
    minutes=10,
)
def _(rng):
    def trial(idea, step, *schedule):
        return Trial(idea, (step, *(schedule or (2.0, 10, 110, 0.1))))

    yield trial("at warmup_steps the rate is the peak", 10)
    yield trial("before, it is in proportion to the step", 4)
    yield trial("at max_steps it is down to floor times the peak", 110)
    yield trial("halfway down in steps, it is halfway down", 60)
    yield trial("the way down is half a cosine: slow, fast, slow", 35)
    yield trial("after max_steps it stays where it is", 250)
    yield trial("without warmup it starts at the peak", 0, 2.0, 0, 100, 0.1)
    warmup_steps, steps_down = rng.integers(100, 400, size=2).tolist()
    schedule = 6e-4, warmup_steps, warmup_steps + steps_down, 0.05
    yield trial("any schedule will do", warmup_steps + int(rng.integers(20, 100)), *schedule)


def merge_once(tokens: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Return ``tokens`` with the neighbours that have the lowest rank merged wherever they are."""
    pairs = [pair for pair in itertools.pairwise(tokens) if pair in ranks]
    if not pairs:
        return list(tokens)
    best = min(pairs, key=ranks.__getitem__)
    merged, place = [], 0
    while place < len(tokens):
        size = 2 if tuple(tokens[place : place + 2]) == best else 1
        merged.append("".join(tokens[place : place + size]))
        place += size
    return merged


def _same_tokens(result, expected):
    if not isinstance(result, (list, tuple)) or not all(isinstance(t, str) for t in result):
        raise Wrong(str(expected), describe(result))
    if list(result) != expected:
        raise Wrong(str(expected), str(list(result)))


@exercise(
    "gpt2-merge-rank",
    title="One merge, by rank",
    reference=merge_once,
    difficulty=2,
    minutes=15,
)
def _(rng):
    def trial(idea, tokens, *merges):
        """The last of the merges has rank 0: in a dict, the first is not the best."""
        ranks = dict(zip(merges, reversed(range(len(merges))), strict=True))
        shown = ", ".join(f"{pair}: {rank}" for pair, rank in ranks.items())
        tried = f"merge_once({tokens}, {{{shown}}})"
        return Trial(idea, (tokens, ranks), _same_tokens, tried)

    def pairs(text):
        return [tuple(pair) for pair in text.split()]

    yield trial("two neighbours become one token", list("xlo"), ("l", "o"))
    yield trial(
        "of the pairs that are there, that of lowest rank is merged", list("low"), *pairs("lo ow")
    )
    yield trial("one call makes one merge", list("lower"), ("lo", "w"), *pairs("er lo"))
    yield trial(
        "a rank says which merge was learned first, not how often a pair is here",
        list("banand"),
        *pairs("an nd"),
    )
    yield trial("the pair is merged wherever it is", list("banana"), *pairs("na an"))
    yield trial("pairs that overlap are taken from the left", list("aaa"), ("a", "a"))
    whole = ["l", "ow", "lo", "w", "hello", "w"]
    yield trial("tokens are merged whole", whole, ("lo", "w"))
    unknown = "where no pair has a rank, the tokens stay as they are"
    yield trial(unknown, list("low"), ("lo", "w"), ("e", "r"))
    letters = [*"abc"]
    every = [(a, b) for a in letters for b in letters]
    some = [every[i] for i in rng.permutation(len(every))[:6]]
    yield trial("any tokens will do", rng.choice(letters, size=30).tolist(), *some)


def mask_and_positions(
    n_padding: Int[np.ndarray, " batch"], n_cached: int, n_new: int
) -> tuple[Bool[np.ndarray, "batch n_new n_key"], Int[np.ndarray, "batch n_new"]]:
    """Return which keys each new token may see, and the new tokens' positions."""
    keys = np.arange(n_cached + n_new)
    queries, padding = keys[n_cached:], n_padding[:, None]
    mask = (keys <= queries[:, None]) & (keys >= padding[..., None])
    return mask, np.maximum(queries - padding, 0)


MASK_AND_POSITIONS = "mask", "positions"


def _mask_or_positions(result, expected, *, name, real):
    """Compare one of the two at the tokens that are ``real`` [batch, n_new]."""
    if not isinstance(result, (tuple, list)) or len(result) != len(MASK_AND_POSITIONS):
        raise Wrong(f"a tuple ({', '.join(MASK_AND_POSITIONS)})", describe(result))
    place = MASK_AND_POSITIONS.index(name)
    came, wanted = result[place], expected[place]
    if name == "positions":
        came = numbers(came, describe(wanted))
        if came.shape != wanted.shape:
            raise Wrong(describe(wanted), describe(came))
        compare(np.where(real, came, wanted), wanted)
        return
    array = np.asarray(came) if isinstance(came, (np.ndarray, list, tuple)) else None
    if array is None or array.dtype != bool or array.shape != wanted.shape:
        kind = "" if array is None else f"{array.dtype} "
        raise Wrong(f"booleans of shape {wanted.shape}", kind + describe(came))
    for row, i in np.argwhere(real).tolist():
        if not np.array_equal(array[row, i], wanted[row, i]):
            token = f"new token {i} of row {row} to see {_keys(wanted[row, i])}"
            raise Wrong(token, _keys(array[row, i]))


def _keys(seen: np.ndarray) -> str:
    keys = np.flatnonzero(seen).tolist()
    return f"key{'s' * (len(keys) > 1)} {str(keys)[1:-1]}" if keys else "no key"


@exercise(
    "gpt2-cache-mask",
    title="The mask behind a cache",
    reference=mask_and_positions,
    difficulty=2,
    minutes=20,
)
def _(rng):
    def trial(idea, name, n_padding, n_cached, n_new):
        n_padding = np.array(n_padding)
        real = np.arange(n_cached, n_cached + n_new) >= n_padding[:, None]
        judge = functools.partial(_mask_or_positions, name=name, real=real)
        tried = f"{name} of mask_and_positions({describe(n_padding)}, {n_cached}, {n_new})"
        return Trial(idea, (n_padding, n_cached, n_new), judge, tried)

    yield trial("without a cache, a token sees itself and what came before", "mask", [0], 0, 3)
    yield trial("a single new token sees the whole cache, and itself", "mask", [0], 3, 1)
    yield trial("several new tokens see the cache and each other, causally", "mask", [0], 2, 3)
    yield trial("nobody sees padding", "mask", [2], 3, 2)
    yield trial("each row has padding of its own", "mask", [0, 2, 1], 2, 2)
    yield trial("positions go on where the cache ends", "positions", [0], 3, 2)
    yield trial("the first real token is at position 0", "positions", [2], 3, 2)
    n_cached, n_new = rng.integers(5, 20, size=2).tolist()
    n_padding = rng.integers(n_cached + n_new, size=4).tolist()
    yield trial("any batch will do", "mask", n_padding, n_cached, n_new)
    yield trial("any batch will do", "positions", n_padding, n_cached, n_new)


def top_p_logits(
    logits: Float[np.ndarray, " vocab"], temperature: float, top_p: float
) -> Float[np.ndarray, " vocab"]:
    """Return ``logits / temperature``, and -inf for the tokens that top-p leaves out."""
    return probability.filter_logits(logits, temperature=temperature, top_p=top_p)


@exercise(
    "gpt2-top-p-ties",
    title="Top-p, to the last tie",
    reference=top_p_logits,
    difficulty=2,
    minutes=20,
)
def _(rng):
    def trial(idea, logits, temperature, top_p):
        return Trial(idea, (np.array(logits, dtype=float), temperature, top_p))

    falling = np.log([0.5, 0.25, 0.15, 0.1])
    yield trial("the token that crosses top_p stays", falling, 1.0, 0.6)
    yield trial("logits come in any order", falling[[2, 0, 3, 1]], 1.0, 0.6)
    yield trial("of equal logits, those of lower index stay", [0, 0, 0, 0], 1.0, 0.5)
    yield trial("what stays is divided by the temperature", falling, 0.5, 1.0)
    yield trial("the temperature comes before the cut", np.log([0.81, 0.09, 0.09, 0.01]), 2.0, 0.8)
    # Nine times 0.1, added one by one, falls short of 0.9.
    yield trial("rounding errors let no token in", np.zeros(10), 1.0, 0.9)
    yield trial("the likeliest token always stays", [0, 2, 1], 1.0, 1e-12)
    yield trial("large logits stay finite", [1000, 1001, 0], 1.0, 0.99)
    yield trial("any logits will do, with many ties", rng.integers(-3, 3, size=60), 1.3, 0.8)


def penalize(
    logits: Float[np.ndarray, "batch vocab"], ids: Int[np.ndarray, "batch time"], penalty: float
) -> Float[np.ndarray, "batch vocab"]:
    """Return ``logits`` with those of the tokens in ``ids`` made less likely by ``penalty``."""
    penalized = logits.copy()
    rows = np.arange(len(ids))[:, None]
    of_seen = logits[rows, ids]
    penalized[rows, ids] = np.where(of_seen > 0, of_seen / penalty, of_seen * penalty)
    return penalized


@exercise(
    "gpt2-repetition-penalty",
    title="A penalty that knows its sign",
    reference=penalize,
    difficulty=2,
    minutes=15,
)
def _(rng):
    def trial(idea, logits, ids, penalty):
        return Trial(idea, (np.array(logits, dtype=float), np.array(ids), penalty))

    yield trial("a logit above 0 is divided by the penalty", [[3, 1]], [[0]], 2.0)
    yield trial("a logit below 0 gets further from 0", [[-3, 1]], [[0]], 2.0)
    yield trial(
        "a token that comes three times is penalized once", [[3, -1]], [[0, 1, 0, 0, 1]], 2.0
    )
    yield trial("each row of the batch has a text of its own", [[3, 1], [3, 1]], [[0], [1]], 2.0)
    yield trial("0 stays 0, and -inf stays -inf", [[0, -np.inf, 1]], [[0, 1]], 2.0)
    yield trial("a penalty below 1 makes repetition likelier", [[3, -1]], [[0, 1]], 0.5)
    ids = rng.integers(12, size=(3, 8))
    yield trial("any batch will do", 3 * rng.normal(size=(3, 12)), ids, 1.2)


def beam_scores(
    ids: Int[np.ndarray, "n_beams time"],
    log_probabilities: Float[np.ndarray, "n_beams time"],
    n_prompt: int,
    eos: int,
    length_penalty: float,
) -> Float[np.ndarray, " n_beams"]:
    """Return the score of each beam: log-probability over a power of the length."""
    ends = np.cumsum(ids[:, n_prompt:] == eos, axis=1)
    written = ends - (ids[:, n_prompt:] == eos) == 0  # before the first end, and that end itself
    total = np.where(written, log_probabilities[:, n_prompt:], 0).sum(axis=1)
    return total / written.sum(axis=1) ** float(length_penalty)


@exercise(
    "gpt2-beam-scores",
    title="What a beam is worth",
    reference=beam_scores,
    difficulty=2,
    minutes=20,
)
def _(rng):
    def trial(idea, ids, log_probabilities, n_prompt, length_penalty, eos=0):
        log_probabilities = np.array(log_probabilities, dtype=float)
        return Trial(idea, (np.array(ids), log_probabilities, n_prompt, eos, length_penalty))

    yield trial(
        "the log-probabilities of the tokens are added up", [[5, 6, 7]], [[0, -1, -2]], 1, 0.0
    )
    yield trial("the prompt does not count", [[5, 6, 7]], [[0, -3, -2]], 2, 0.0)
    power = "the sum is divided by the number of new tokens to the power of length_penalty"
    yield trial(power, [[5, 6, 7, 8, 9]], [[0, 0, -1, -2, -6]], 2, 2.0)
    yield trial(power, [[5, 6, 7, 8, 9]], [[0, 0, -1, -2, -6]], 2, -1.0)
    yield trial(
        "what stands after eos is padding", [[5, 6, 0, 0, 7]], [[0, -1, -2, -4, -8]], 1, 0.0
    )
    counts = "eos counts in the sum and in the length"
    yield trial(counts, [[5, 6, 0, 0]], [[0, -2, -4, -8]], 1, 1.0)
    yield trial("an eos in the prompt ends nothing", [[0, 5, 6, 7]], [[0, -1, -2, -4]], 2, 1.0)
    rows = [[5, 6, 0, 0], [5, 0, 7, 0], [5, 6, 7, 8]]
    yield trial("each beam has a length of its own", rows, [[0, -2, -4, -6]] * 3, 1, 1.0)
    ids = rng.integers(6, size=(5, 12))
    yield trial("any beams will do", ids, np.log(rng.random(ids.shape)), 3, 0.7, 4)


def sliding_perplexity(
    log_probabilities: Callable, ids: Int[np.ndarray, " time"], n_context: int, stride: int
) -> float:
    """Return the perplexity of a text, by windows of ``n_context`` tokens that slide over it."""
    total, scored = 0.0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + n_context, len(ids) - 1)
        predicted = log_probabilities(ids[begin:end])
        of_target = predicted[np.arange(end - begin), ids[begin + 1 : end + 1]]
        total -= of_target[scored - begin :].sum()
        scored = end
        if end == len(ids) - 1:
            break
    return float(np.exp(total / scored))


class Measured(NamedTuple):
    """What an answer returned, and the windows that it gave to the model."""

    perplexity: Any
    windows: list[list[int]]


def _measure(sliding_perplexity, scores, ids, n_context, stride):
    """Give the answer a model over ``scores`` [vocab, vocab], which looks back as far as it can."""
    windows = []

    def log_probabilities(window):
        array = np.asarray(window)
        if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
            raise ValueError(f"a window must be whole numbers [length], got {describe(window)}")
        windows.append(array.tolist())
        distance = np.arange(array.size)[:, None] - np.arange(array.size)
        weights = np.where(distance >= 0, 0.7 ** np.maximum(distance, 0), 0)
        logits = weights @ scores[array]
        return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)

    return Measured(sliding_perplexity(log_probabilities, ids, n_context, stride), windows)


def _perplexity(run, expected):
    compare(run.perplexity, expected.perplexity)


def _short_windows(run, expected, *, n_context):
    numbers(run.perplexity, "a number")
    longest = max(map(len, run.windows), default=0)
    if longest > n_context:
        raise Wrong(f"at most {n_context} tokens", f"{longest}")


def _windows_in_place(run, expected, *, ids):
    """No token comes twice in these ids, so that a window's first one tells where it begins.

    The window's last token may be left out or not, as long as its prediction is not needed.
    """
    came, wanted = ([ids.index(window[0]) for window in r.windows] for r in (run, expected))
    if sorted(set(came)) != wanted:
        raise Wrong(f"windows that begin at {str(wanted)[1:-1]}", str(came)[1:-1] or "none")


@exercise(
    "gpt2-sliding-window",
    title="Perplexity beyond the context",
    reference=sliding_perplexity,
    drive=_measure,
    difficulty=2,
    minutes=25,
)
def _(rng):
    vocab = 12

    def trial(idea, n_ids, n_context, stride, judge=_perplexity):
        ids = rng.permutation(vocab)[:n_ids] if n_ids <= vocab else rng.integers(vocab, size=n_ids)
        if judge is _short_windows:
            judge = functools.partial(judge, n_context=n_context)
        elif judge is _windows_in_place:
            judge = functools.partial(judge, ids=ids.tolist())
        scores = 1.5 * rng.normal(size=(vocab, vocab))
        tried = f"sliding_perplexity(model, {describe(ids)}, {n_context}, {stride})"
        return Trial(idea, (scores, ids, n_context, stride), judge, tried)

    yield trial("a text that fits takes one window, and its first token is not scored", 5, 8, 4)
    yield trial("no window is longer than the context", 12, 5, 2, _short_windows)
    yield trial("a window begins stride tokens after the one before", 12, 6, 3, _windows_in_place)
    side_by_side = "side by side, windows miss no token, and every token weighs the same"
    yield trial(side_by_side, 11, 4, 4)
    yield trial("a token is scored once, by the first window that reaches it", 9, 4, 2)
    yield trial("the last window ends with the text", 11, 5, 5, _windows_in_place)
    yield trial("any text will do", int(rng.integers(60, 90)), 16, 5)


def choose_next(
    logits: Float[np.ndarray, " vocab"], ids: Int[np.ndarray, " time"], rng: np.random.Generator
) -> int:
    """Return a likely id that does not complete four tokens that were there before."""
    before = np.lib.stride_tricks.sliding_window_view(ids[:-1], ORDER - 1)
    again = (before == ids[1 - ORDER :]).all(axis=1)
    logits = logits.copy()
    logits[ids[ORDER - 1 :][again]] = -np.inf
    return probability.sample(probability.softmax(logits, temperature=0.3), rng)


ORDER = 4  # of the model, and of the repetitions that count
N_TEXTS, N_WRITTEN = 4, 100
MOST_NATS = 2.1  # a token, on average
MOST_REPEATED = 0.01  # of the sequences of four tokens


class Writing(NamedTuple):
    """Texts that an answer wrote, and what their tokens cost the model.

    Attributes:
        texts: ids of the new tokens; what was returned where that was no id, and the end there.
        nats: ``-log p`` of each token under the model, before anything was changed.
    """

    texts: list[list[Any]]
    nats: list[float]

    @property
    def repeated(self) -> float:
        """The share of sequences of four tokens that had come before in the same text."""
        shares = []
        for text in self.texts:
            sequences = list(zip(*(text[i:] for i in range(ORDER)), strict=False))
            shares.append(1 - len(set(sequences)) / len(sequences))
        return float(np.mean(shares))


def _write(choose_next, starts, seeds, length):
    """Let the answer write after the places of the novel; seeds are those of its generators."""
    ids, model = _novel()
    texts, nats = [], []
    for start, seed in zip(starts, seeds, strict=True):
        rng, text = np.random.default_rng(seed), ids[start : start + 8].copy()
        for _ in range(length):
            logits = np.log(model.probabilities(text))
            came = choose_next(logits.copy(), text.copy(), rng)
            if not _is_id(came, model.vocab_size):
                return Writing([[came]], nats)
            nats.append(-logits[int(came)])
            text = np.append(text, int(came))
        texts.append(text[8:].tolist())
    return Writing(texts, nats)


def _is_id(came: Any, vocab_size: int) -> bool:
    array = np.asarray(came)
    return array.shape == () and array.dtype.kind in "iu" and 0 <= int(array) < vocab_size


@functools.cache
def _novel() -> tuple[np.ndarray, NGramModel]:
    """Return *Pride and Prejudice* as ids of its words, and a model of it."""
    text = load_corpus("austen").work("Pride and Prejudice").text
    tokenizer = WordTokenizer.train(text)
    ids = tokenizer.encode(text)
    return ids, NGramModel(ORDER, tokenizer.vocab_size).fit(ids)


def _are_ids(run, expected):
    last = run.texts[-1][-1]
    vocab_size = _novel()[1].vocab_size
    if not _is_id(last, vocab_size):
        raise Wrong(f"an id, a whole number below {vocab_size}", describe(last))


def _differ(run, expected):
    _are_ids(run, expected)
    if run.texts[0] == run.texts[1]:
        raise Wrong("two texts", "the same text twice")


def _has_few_repetitions(run, expected):
    _are_ids(run, expected)
    if run.repeated > MOST_REPEATED:
        raise Wrong(f"at most {MOST_REPEATED:.0%} of repetitions", f"{run.repeated:.1%}")


def _is_likely(run, expected):
    _has_few_repetitions(run, expected)
    nats = np.mean(run.nats)
    if nats > MOST_NATS:
        raise Wrong(f"at most {MOST_NATS} nats a token", f"{nats:.2f}")
    return f"Your texts: {nats:.2f} nats a token, {run.repeated:.1%} of repetitions."


@exercise(
    "gpt2-no-loop",
    title="Likely words, and no loop",
    reference=choose_next,
    drive=_write,
    difficulty=3,
    minutes=40,
)
def _(rng):
    ids, _ = _novel()

    def trial(idea, judge, starts, length=N_WRITTEN, *, n_texts=N_TEXTS):
        seeds = rng.integers(10_000, size=n_texts).tolist()
        texts = "1 text" if n_texts == 1 else f"{n_texts} texts"
        tried = f"choose_next for {texts} of {length} tokens" if length > 1 else "choose_next once"
        return Trial(idea, (starts, seeds, length), judge, tried)

    places = rng.integers(len(ids) - 8, size=N_TEXTS).tolist()
    yield trial("it returns an id", _are_ids, places[:1], 1, n_texts=1)
    yield trial("with another rng it writes another text", _differ, places[:1] * 2, 20, n_texts=2)
    yield trial(
        "the texts seldom repeat four tokens", _has_few_repetitions, places[:2], 70, n_texts=2
    )
    yield trial("the texts are likely, and seldom repeat", _is_likely, places)
