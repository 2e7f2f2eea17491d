"""Exercises of chapter 4: the right answers, and the trials that an answer must stand.

The answers are written out in numpy, though ``lmcourse.attention`` and ``lmcourse.positional`` have
most of them: those load torch, which no check should have to wait for.
"""

from __future__ import annotations

import functools
import tracemalloc
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lmcourse import exercises
from lmcourse.exercises import Trial, Wrong, compare, describe, numbers

exercise = functools.partial(exercises.exercise, chapter="04_attention")


def _arrays(*values: Any) -> tuple[np.ndarray, ...]:
    return tuple(np.array(value, dtype=float) for value in values)


def scaled_dot_product(
    query: Float[np.ndarray, "n_query d"],
    key: Float[np.ndarray, "n_key d"],
    value: Float[np.ndarray, "n_key d_value"],
) -> Float[np.ndarray, "n_query d_value"]:
    """Return the attention of one head, without a mask."""
    scores = query @ key.T / np.sqrt(query.shape[1])
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights @ value / weights.sum(axis=1, keepdims=True)


@exercise(
    "attention-scaled-dot-product",
    title="Scaled dot-product attention",
    reference=scaled_dot_product,
    difficulty=1,
    minutes=10,
)
def _(rng):
    def trial(idea, query, key, value):
        return Trial(idea, _arrays(query, key, value))

    yield trial("a single key gives its value", [[2, -1]], [[3, 1]], [[5, 7, 9]])
    # Three queries for three keys: whichever axis the softmax runs along, its weights are 1/3.
    keys = [[1, 2], [-3, 0], [2, 5]]
    zeros = np.zeros((3, 2))
    yield trial("a query of zeros takes the mean of the values", zeros, keys, [[3], [6], [-3]])
    # Scores that are symmetric: the axis makes no difference here either.
    pair = 2 * np.eye(2, 4)
    yield trial("scores are divided by the root of the keys' width", pair, pair, [[1], [0]])
    yield trial("each query's weights add up to 1", [[1]], [[0], [1]], [[0], [10]])
    yield trial("large scores stay finite", [[1000]], [[1], [2]], [[3], [4]])
    own = "every query's scores count from a maximum of their own"
    yield trial(own, [[1000], [-1000]], [[1], [2]], [[3], [4]])
    drawn = rng.normal(size=(3, 4)), rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    yield trial("any queries, keys and values will do", *drawn)


def causal_mask(n_query: int, n_key: int) -> Bool[np.ndarray, "n_query n_key"]:
    """Return which keys each query may see, the last query standing at the last key."""
    return np.tri(n_query, n_key, n_key - n_query, dtype=bool)


def _same_mask(result, expected):
    """Say which keys the first query that goes wrong should see."""
    wanted = f"booleans of shape {expected.shape}"
    array = np.asarray(result) if isinstance(result, (np.ndarray, list, tuple)) else None
    if array is None or array.dtype != bool:
        kind = "" if array is None else f"{array.dtype} "
        raise Wrong(wanted, kind + describe(result))
    if array.shape != expected.shape:
        raise Wrong(wanted, f"booleans of shape {array.shape}")
    for i, (came, seen) in enumerate(zip(array, expected, strict=True)):
        if not np.array_equal(came, seen):
            raise Wrong(f"query {i} to see {_keys(seen)}", _keys(came))


def _keys(seen: np.ndarray) -> str:
    keys = np.flatnonzero(seen).tolist()
    return f"key{'s' * (len(keys) > 1)} {str(keys)[1:-1]}" if keys else "no key"


@exercise(
    "attention-causal-mask",
    title="The causal mask, for unequal lengths",
    reference=causal_mask,
    difficulty=1,
    minutes=10,
)
def _(rng):
    def trial(idea, n_query, n_key):
        return Trial(idea, (n_query, n_key), _same_mask)

    yield trial("a token sees itself and what came before", 3, 3)
    yield trial("the last query stands at the last key", 1, 4)
    yield trial("the queries before it stand at the keys before", 2, 5)
    yield trial("with more queries than keys the first ones see nothing", 4, 2)
    n_query, n_key = rng.integers(5, 30, size=2).tolist()
    yield trial("any two lengths will do", n_query, n_key)


def split_heads(
    x: Float[np.ndarray, "batch length width"], n_heads: int
) -> Float[np.ndarray, "batch {n_heads} length head_dim"]:
    """Return the heads of ``x``, each with its slice of every token's vector."""
    batch, length, width = x.shape
    return x.reshape(batch, length, n_heads, width // n_heads).swapaxes(1, 2)


def _same_shape(result, expected):
    array = numbers(result, describe(expected))
    if array.shape != expected.shape:
        raise Wrong(describe(expected), describe(array))


@exercise(
    "attention-split-heads",
    title="From one width to several heads",
    reference=split_heads,
    difficulty=2,
    minutes=10,
)
def _(rng):
    def trial(idea, shape, n_heads, *judge):
        return Trial(idea, (np.arange(1.0, np.prod(shape) + 1).reshape(shape), n_heads), *judge)

    yield trial("the axes are batch, heads, length, head_dim", (2, 3, 8), 4, _same_shape)
    # One token: nothing but the order of its numbers can go wrong.
    yield trial("a head takes neighbouring numbers of a token's vector", (1, 1, 6), 2)
    yield trial("every head sees every token", (1, 2, 4), 2)
    yield trial("the texts of a batch stay apart", (2, 2, 2), 2)
    batch, length, n_heads, head_dim = rng.integers(2, 7, size=4).tolist()
    x = rng.normal(size=(batch, length, n_heads * head_dim))
    yield Trial("any sizes will do", (x, n_heads))


BASE = 10_000  # of the wavelengths


def sinusoidal(length: int, width: int) -> Float[np.ndarray, "{length} {width}"]:
    """Return the sinusoidal encoding of the positions 0 to ``length - 1``."""
    slots = np.arange(width)
    angles = np.arange(length)[:, None] * float(BASE) ** (-2 * (slots // 2) / width)
    return np.where(slots % 2 == 0, np.sin(angles), np.cos(angles))


@exercise(
    "attention-sinusoidal",
    title="Sinusoidal positions",
    reference=sinusoidal,
    difficulty=2,
    minutes=15,
)
def _(rng):
    yield Trial("position 0 has sin 0 in even slots and cos 0 in odd ones", (1, 4))
    yield Trial("the first pair turns by 1 radian a position", (4, 2))
    yield Trial("pair i turns by 10000^(-2i/width) a position", (2, 4))
    yield Trial("pair i turns by 10000^(-2i/width) a position", (2, 6))
    yield Trial("an odd width ends with a sine", (2, 5))
    length, width = rng.integers(8, 40, size=2).tolist()
    yield Trial("any length and width will do", (length, width))


def rotate(
    x: Float[np.ndarray, "n d"], positions: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n d"]:
    """Return ``x``, each row turned by its position; slots i and i + d/2 are a pair."""
    half = x.shape[1] // 2
    angles = positions[:, None] * float(BASE) ** (-np.arange(half) / half)
    cos, sin = np.cos(angles), np.sin(angles)
    first, second = x[:, :half], x[:, half:]
    return np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=1)


@exercise(
    "attention-rotary",
    title="Rotary positions",
    reference=rotate,
    difficulty=2,
    minutes=20,
)
def _(rng):
    def trial(idea, x, positions):
        return Trial(idea, (np.array(x, dtype=float), np.array(positions)))

    yield trial("position 0 turns nothing", [[1, 2, 3, 4]], [0])
    turn = "a pair turns by its position in radians, from the first slot towards the second"
    yield trial(turn, [[1, 0]], [1])
    yield trial(turn, [[0, 1]], [2])
    yield trial("slots i and i + d/2 are a pair", [[1, 0, 0, 0]], [1])
    yield trial("pair i turns by 10000^(-2i/d) a position", [[0, 1, 0, 0]], [50])
    yield trial("pair i turns by 10000^(-2i/d) a position", [[0, 1, 1, 0, 0, 0]], [9])
    yield trial("each row turns by its own position", [[1, 0], [1, 0], [1, 0]], [3, 0, 7])
    n, half = rng.integers(3, 8, size=2).tolist()
    yield trial("any rows will do", rng.normal(size=(n, 2 * half)), rng.integers(2048, size=n))


def alibi_slopes(n_heads: int) -> Float[np.ndarray, " {n_heads}"]:
    """Return the slopes of ALiBi, one for each head."""
    power = 2 ** int(np.log2(n_heads))
    first = 2.0 ** (-8 * np.arange(1, power + 1) / power)
    between = 2.0 ** (-8 * np.arange(1, 2 * power, 2) / (2 * power))
    return np.concatenate([first, between])[:n_heads]


def _first_slopes(result, expected):
    """Hold the slopes of the power of two below against the reference's."""
    first = expected[: 2 ** int(np.log2(len(expected)))]
    wanted = f"slopes that start with {describe(first)}"
    came = np.atleast_1d(numbers(result, wanted))[: len(first)]
    if came.shape != first.shape or not np.allclose(came, first):
        raise Wrong(wanted, describe(came))


@exercise(
    "attention-alibi-slopes",
    title="The slopes of ALiBi",
    reference=alibi_slopes,
    difficulty=2,
    minutes=15,
)
def _(rng):
    yield Trial("eight heads have 1/2, 1/4, and so on to 1/256", (8,))
    yield Trial("of n heads, a power of two, head i has 2^(-8i/n), i from 1", (4,))
    yield Trial("of n heads, a power of two, head i has 2^(-8i/n), i from 1", (16,))
    yield Trial("one head has 1/256", (1,))
    yield Trial(
        "other numbers start with the slopes of the power of two below", (12,), _first_slopes
    )
    yield Trial("the rest is every other slope of twice that power, from its first", (3,))
    yield Trial("the rest is every other slope of twice that power, from its first", (12,))
    yield Trial("any number of heads will do", (int(rng.integers(33, 64)),))


def log_sum_exp(scores: Float[np.ndarray, "n_query n_key"]) -> Float[np.ndarray, " n_query"]:
    """Return the logarithm of the sum of the exponentials of each row."""
    return np.logaddexp.reduce(scores, axis=1)


@exercise(
    "attention-lse",
    title="The logarithm of a sum of exponentials",
    reference=log_sum_exp,
    difficulty=2,
    minutes=10,
)
def _(rng):
    def trial(idea, scores):
        return Trial(idea, _arrays(scores))

    yield trial("the LSE of one score is that score", [[2.5]])
    yield trial("n scores of 0 have log n, the natural logarithm", [[0, 0, 0]])
    yield trial("each row has one number", [[0, 0], [1, 2]])
    yield trial("large scores stay finite", [[1000, 1000], [-1000, -1000]])
    yield trial("every row counts from a maximum of its own", [[0, 0], [2000, 2000]])
    yield trial("a score of -inf adds nothing", [[1, -np.inf, 1]])
    yield trial("a row of nothing but -inf has -inf", [[-np.inf, -np.inf], [0, 1]])
    scores = np.where(rng.random((6, 5)) < 0.3, -np.inf, 30 * rng.normal(size=(6, 5)))
    yield trial("any scores will do", scores)


def merge(
    output_a: Float[np.ndarray, "n d"],
    lse_a: Float[np.ndarray, " n"],
    output_b: Float[np.ndarray, "n d"],
    lse_b: Float[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """Return output and LSE over the keys of two blocks, from those of each."""
    lse = np.logaddexp(lse_a, lse_b)
    seen = np.where(lse == -np.inf, 0.0, lse)
    share_a, share_b = (np.exp(part - seen)[:, None] for part in (lse_a, lse_b))
    return share_a * output_a + share_b * output_b, lse


MERGED = ("output", "lse")


def _compare_one_of(result, expected, *, name):
    if not isinstance(result, (tuple, list)) or len(result) != len(MERGED):
        raise Wrong(f"a tuple ({', '.join(MERGED)})", describe(result))
    place = MERGED.index(name)
    compare(result[place], expected[place])


def _one_block(rng, query, n_key):
    """Return output and LSE of the queries over keys and values drawn at random."""
    key, value = rng.normal(size=(2, n_key, query.shape[1]))
    lse = log_sum_exp(query @ key.T / np.sqrt(query.shape[1]))
    return scaled_dot_product(query, key, value), lse


@exercise(
    "attention-merge",
    title="Merge two blocks of keys",
    reference=merge,
    difficulty=2,
    minutes=20,
)
def _(rng):
    def trial(idea, name, *arguments):
        arguments = _arrays(*arguments)
        tried = f"{name} of merge({', '.join(map(describe, arguments))})"
        return Trial(idea, arguments, functools.partial(_compare_one_of, name=name), tried)

    a, b = [[2, 4]], [[6, 0]]
    yield trial("blocks of equal LSE count half each", "output", a, [0], b, [0])
    yield trial("exponentials add up, LSEs do not", "lse", a, [0], b, [np.log(3)])
    yield trial("a block counts in proportion to exp(LSE)", "output", a, [0], b, [np.log(3)])
    yield trial("large LSEs stay finite", "output", a, [1000], b, [999])
    yield trial("large LSEs stay finite", "lse", a, [-1000], b, [-999])
    nothing = "a block that saw no key counts for nothing"
    yield trial(nothing, "output", a, [-2], [[0, 0]], [-np.inf])
    neither = "where neither block saw a key, output is 0 and LSE -inf"
    three = np.full((3, 2), [[0], [1], [0]]), [-np.inf, 1, -np.inf]
    yield trial(neither, "output", *three, np.full((3, 2), [[0], [3], [4]]), [-np.inf, 0, 2])
    yield trial(neither, "lse", *three, np.full((3, 2), [[0], [3], [4]]), [-np.inf, 0, 2])
    query = 3 * rng.normal(size=(5, 3))
    blocks = (*_one_block(rng, query, 4), *_one_block(rng, query, 2))
    yield trial("each query has shares of its own", "output", *blocks)


TILE = 32


def windowed_attention(
    query: Float[np.ndarray, "n d"],
    key: Float[np.ndarray, "n d"],
    value: Float[np.ndarray, "n d_value"],
    window: int,
) -> Float[np.ndarray, "n d_value"]:
    """Return attention in which each token sees the last ``window`` tokens, itself included."""
    n, d = query.shape
    output = np.empty((n, value.shape[1]))
    for start in range(0, n, TILE):
        stop, first = min(start + TILE, n), max(0, start - window + 1)
        distance = np.arange(start, stop)[:, None] - np.arange(first, stop)
        scores = query[start:stop] @ key[first:stop].T / np.sqrt(d)
        scores[(distance < 0) | (distance >= window)] = -np.inf
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        output[start:stop] = weights @ value[first:stop]
    return output


LONG, WINDOW = 2003, 64  # so that the whole matrix of scores would take 31 MiB
MOST_MEMORY = 768 * 1024  # bytes beside the result
MOST_SCORES = 4  # computed for each one that counts


class _Counting(np.ndarray):
    """An array that counts, with all that is computed from it, the exponentials taken.

    Scores are counted where they become weights, whichever product they come from. What leaves
    NumPy, or becomes a plain number, is no longer counted: an answer may only seem to do less.
    """

    count = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        options = {name: _plain(option) for name, option in options.items()}
        result = getattr(ufunc, method)(*map(_plain, inputs), **options)
        if ufunc in (np.exp, np.exp2):
            _Counting.count += np.size(result)
        return _counting(result)

    def __array_function__(self, function, types, arguments, options):
        return _counting(super().__array_function__(function, types, arguments, options))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value.view(np.ndarray) if isinstance(value, _Counting) else value


def _counting(value: Any) -> Any:
    return value.view(_Counting) if isinstance(value, np.ndarray) else value


class Run(NamedTuple):
    """What an answer returned, and what it took."""

    output: Any
    memory: int  # bytes of NumPy's arrays at the peak, beside the result
    scores: float  # computed for each one that counts; 0 if nobody counted


def _run(windowed_attention, query, key, value, window, counted):
    """Call the answer, trace the memory of its arrays, and count its scores if asked to."""
    arrays = query, key, value
    if counted:
        arrays = tuple(map(_counting, arrays))
    _Counting.count = 0
    traced = tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        output = windowed_attention(*arrays, window)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        if not traced:
            tracemalloc.stop()
    needed = np.minimum(np.arange(1, len(query) + 1), window).sum()
    return Run(output, peak - before - value.nbytes, _Counting.count / needed)


def _same_output(run, expected):
    compare(run.output, expected.output)


def _little_memory(run, expected):
    _same_output(run, expected)
    if run.memory > MOST_MEMORY:
        raise Wrong(f"at most {_size(MOST_MEMORY)} beside the result", _size(run.memory))


def _few_scores(run, expected):
    _same_output(run, expected)
    if run.scores > MOST_SCORES:
        wanted = f"at most {MOST_SCORES} scores computed for each one in the window"
        raise Wrong(wanted, f"{run.scores:.1f}")
    if run.scores:
        return f"It computes {run.scores:.1f} scores for each one in the window."


def _size(n_bytes: int) -> str:
    kibibytes = n_bytes / 1024
    return f"{kibibytes:.0f} KiB" if kibibytes < 1024 else f"{kibibytes / 1024:.1f} MiB"


@exercise(
    "attention-window",
    title="A window, without the matrix",
    reference=windowed_attention,
    drive=_run,
    difficulty=3,
    minutes=40,
)
def _(rng):
    def trial(idea, query, key, value, window, judge=_same_output):
        arguments = *_arrays(query, key, value), window
        tried = f"windowed_attention({', '.join(map(describe, arguments))})"
        return Trial(idea, (*arguments, judge is _few_scores), judge, tried)

    def draw(n, d):
        return 3 * rng.normal(size=(3, n, d))

    yield trial("the first token sees itself alone", [[2, 1]], [[1, 3]], [[5, 7]], 4)
    four = np.zeros((4, 1)), [[1], [2], [3], [4]], [[0], [6], [12], [24]]
    yield trial("in a wide window, a token sees itself and all before it", *four, 6)
    yield trial("window counts the token itself and the ones just before it", *four, 2)
    two = np.eye(2, 4)[[0, 0]] * [[1], [2]], np.eye(2, 4)[[0, 0]] * [[1], [3]], [[1], [0]]
    yield trial("scores are scaled dot products", *two, 2)
    yield trial("large scores stay finite", *(400 * draw(6, 4)), 2)
    odd = 2 * int(rng.integers(35, 65)) + 1
    yield trial("any length and window will do", *draw(odd, 4), 13)
    tile = "memory is that of a tile, however long the text"
    yield trial(tile, *draw(LONG, 8), WINDOW, _little_memory)
    yield trial("keys outside the window cost no work", *draw(LONG // 2, 8), WINDOW, _few_scores)
