"""Wrong answers to the exercises of chapter 4."""

from __future__ import annotations

import functools
import math

import numpy as np

from lmcourse.exercises import find
from tests.exercise_mutants import mutant


def softmax(scores, axis=-1):
    weights = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True)


# --- scaled dot-product attention ---------------------------------------------------------------

attending = functools.partial(mutant, "attention-scaled-dot-product")

ONE_KEY = "a single key gives its value"
MEAN = "a query of zeros takes the mean of the values"
SCALE = "scores are divided by the root of the keys' width"
ROWS = "each query's weights add up to 1"
FINITE = "large scores stay finite"
OWN_MAXIMUM = "every query's scores count from a maximum of their own"


def scores_of(query, key):
    return query @ key.T / np.sqrt(query.shape[1])


@attending(idea=ONE_KEY, got="got [[1]]")
def the_weights_alone(query, key, value):
    return softmax(scores_of(query, key))


@attending(idea=ONE_KEY, got="got [[3, 1]]")
def keys_for_values(query, key, value):
    return softmax(scores_of(query, key)) @ key


@attending(idea=ONE_KEY, got="got [[17.68, 24.75, 31.82]]")
def no_softmax(query, key, value):
    return scores_of(query, key) @ value


@attending(idea=ONE_KEY, got="got [[171.6, 240.2, 308.8]]")
def weights_not_normalised(query, key, value):
    return np.exp(scores_of(query, key)) @ value


@attending(idea=ONE_KEY, got="got [[3.536, 4.95, 6.364]]")
def scales_the_weights_in_place_of_the_scores(query, key, value):
    return softmax(query @ key.T) @ value / np.sqrt(query.shape[1])


@attending(idea=ONE_KEY, got="got [[4.858, 6.802, 8.745]]")
def a_sigmoid_for_each_key(query, key, value):
    return 1 / (1 + np.exp(-scores_of(query, key))) @ value


@attending(idea=ONE_KEY, got="got ValueError: matmul")
def keys_not_transposed(query, key, value):
    return softmax(query @ key / np.sqrt(query.shape[1])) @ value


@attending(idea="the arguments stay as they are", got="expected query unchanged; got a change")
def scales_in_place(query, key, value):
    query /= np.sqrt(query.shape[1])
    return softmax(query @ key.T) @ value


@attending(idea=MEAN, got="got [[nan], [nan], [nan]]")
def divides_by_the_sum_of_scores(query, key, value):
    scores = scores_of(query, key)
    return scores / scores.sum(axis=1, keepdims=True) @ value


@attending(idea=MEAN, got="got [[3], [3], [3]]")
def the_best_key_takes_all(query, key, value):
    return value[scores_of(query, key).argmax(axis=1)]


@attending(idea=SCALE, got="got [[0.982], [0.01799]]")
def not_scaled(query, key, value):
    return softmax(query @ key.T) @ value


@attending(idea=SCALE, got="got [[0.7311], [0.2689]]")
def divided_by_the_width(query, key, value):
    return softmax(query @ key.T / query.shape[1]) @ value


@attending(idea=SCALE, got="got [[0.9997], [0.0003354]]")
def multiplied_by_the_root(query, key, value):
    return softmax(query @ key.T * np.sqrt(query.shape[1])) @ value


@attending(idea=SCALE, got="got [[0.982], [0.01799]]")
def the_root_of_the_values_width(query, key, value):
    return softmax(query @ key.T / np.sqrt(value.shape[1])) @ value


@attending(idea=SCALE, got="got [[0.9442], [0.05581]]")
def the_root_of_the_number_of_keys(query, key, value):
    return softmax(query @ key.T / np.sqrt(len(key))) @ value


@attending(idea=SCALE, got="got [[0.7311], [0.2689]]")
def cosines_for_products(query, key, value):
    def unit(x):
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)

    return softmax(unit(query) @ unit(key).T) @ value


@attending(idea=ROWS, got="got [[10]]")
def the_softmax_over_the_queries(query, key, value):
    return softmax(scores_of(query, key), axis=0) @ value


@attending(idea=ROWS, got="got ValueError: matmul")
def queries_and_keys_exchanged(query, key, value):
    return softmax(scores_of(key, query)) @ value


@attending(idea=FINITE, got="got [[nan]] (nan comes from")
def plain_exponentials(query, key, value):
    weights = np.exp(scores_of(query, key))
    return weights @ value / weights.sum(axis=1, keepdims=True)


@attending(idea=FINITE, got="got [[3.5]]")
def scores_clipped(query, key, value):
    return softmax(np.clip(scores_of(query, key), -500, 500)) @ value


@attending(idea=OWN_MAXIMUM, got="got [[4], [nan]]")
def one_maximum_for_all(query, key, value):
    scores = scores_of(query, key)
    weights = np.exp(scores - scores.max())
    return weights @ value / weights.sum(axis=1, keepdims=True)


# --- the causal mask ----------------------------------------------------------------------------

masking = functools.partial(mutant, "attention-causal-mask")

PAST = "a token sees itself and what came before"
LAST = "the last query stands at the last key"
BEFORE = "the queries before it stand at the keys before"
NOTHING = "with more queries than keys the first ones see nothing"


@masking(idea=PAST, got="expected query 0 to see key 0; got keys 0, 1, 2")
def the_future_too(n_query, n_key):
    return np.ones((n_query, n_key), dtype=bool)


@masking(idea=PAST, got="expected query 0 to see key 0; got no key")
def not_itself(n_query, n_key):
    return np.tri(n_query, n_key, n_key - n_query - 1, dtype=bool)


@masking(idea=PAST, got="expected query 0 to see key 0; got keys 1, 2")
def true_for_what_is_hidden(n_query, n_key):
    return ~np.tri(n_query, n_key, n_key - n_query, dtype=bool)


@masking(idea=PAST, got="expected query 0 to see key 0; got keys 0, 1, 2")
def the_upper_triangle(n_query, n_key):
    return np.triu(np.ones((n_query, n_key), dtype=bool), n_key - n_query)


@masking(idea=PAST, got="expected booleans of shape (3, 3); got float64 [[0, -inf, -inf]")
def added_to_the_scores(n_query, n_key):
    return np.where(np.tri(n_query, n_key, n_key - n_query), 0.0, -np.inf)


@masking(idea=PAST, got="expected booleans of shape (3, 3); got float64 [[1, 0, 0]")
def ones_and_zeros(n_query, n_key):
    return np.tri(n_query, n_key, n_key - n_query)


@masking(idea=LAST, got="expected query 0 to see keys 0, 1, 2, 3; got key 0")
def aligned_top_left(n_query, n_key):
    return np.tri(n_query, n_key, dtype=bool)


@masking(idea=LAST, got="expected query 0 to see keys 0, 1, 2, 3; got no key")
def shifted_the_wrong_way(n_query, n_key):
    return np.tri(n_query, n_key, n_query - n_key, dtype=bool)


@masking(idea=LAST, got="expected query 0 to see keys 0, 1, 2, 3; got keys 0, 1, 2")
def one_key_short(n_query, n_key):
    return np.tri(n_query, n_key, max(0, n_key - n_query - 1), dtype=bool)


@masking(idea=LAST, got="expected booleans of shape (1, 4); got booleans of shape (1, 1)")
def always_square(n_query, n_key):
    return np.tri(n_query, dtype=bool)


@masking(idea=LAST, got="expected booleans of shape (1, 4); got booleans of shape (4, 1)")
def keys_before_queries(n_query, n_key):
    return np.tri(n_key, n_query, n_query - n_key, dtype=bool)


@masking(idea=BEFORE, got="expected query 0 to see keys 0, 1, 2, 3; got keys 0, 1, 2, 3, 4")
def new_queries_see_everything(n_query, n_key):
    if n_query < n_key:
        return np.ones((n_query, n_key), dtype=bool)
    return np.tri(n_query, n_key, n_key - n_query, dtype=bool)


@masking(idea=NOTHING, got="expected query 0 to see no key; got key 0")
def never_shifted_to_the_left(n_query, n_key):
    return np.tri(n_query, n_key, max(0, n_key - n_query), dtype=bool)


@masking(idea=NOTHING, got="expected query 0 to see no key; got key 0")
def no_row_is_empty(n_query, n_key):
    mask = np.tri(n_query, n_key, n_key - n_query, dtype=bool)
    mask[:, 0] = True
    return mask


# --- splitting into heads -----------------------------------------------------------------------

splitting = functools.partial(mutant, "attention-split-heads")

AXES = "the axes are batch, heads, length, head_dim"
NEIGHBOURS = "a head takes neighbouring numbers of a token's vector"
EVERY_TOKEN = "every head sees every token"
TEXTS = "the texts of a batch stay apart"


@splitting(idea=AXES, got="got an array of shape (2, 3, 4, 2)")
def length_before_heads(x, n_heads):
    return x.reshape(*x.shape[:2], n_heads, -1)


@splitting(idea=AXES, got="got an array of shape (4, 2, 3, 2)")
def heads_before_the_batch(x, n_heads):
    return np.stack(np.split(x, n_heads, axis=2))


@splitting(idea=AXES, got="got an array of shape (2, 2, 3, 4)")
def so_many_numbers_a_head(x, n_heads):
    return x.reshape(*x.shape[:2], -1, n_heads).swapaxes(1, 2)


@splitting(idea=AXES, got="got an array of shape (8, 3, 2)")
def batch_and_heads_in_one(x, n_heads):
    return np.concatenate(np.split(x, n_heads, axis=2))


@splitting(idea=NEIGHBOURS, got="got [[[[1, 3, 5]], [[2, 4, 6]]]]")
def every_second_number(x, n_heads):
    return np.stack([x[:, :, head::n_heads] for head in range(n_heads)], axis=1)


@splitting(idea=NEIGHBOURS, got="got [[[[4, 5, 6]], [[1, 2, 3]]]]")
def the_last_head_first(x, n_heads):
    return np.stack(np.split(x, n_heads, axis=2)[::-1], axis=1)


@splitting(idea=EVERY_TOKEN, got="got [[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]]")
def one_reshape(x, n_heads):
    batch, length, width = x.shape
    return x.reshape(batch, n_heads, length, width // n_heads)


@splitting(idea=EVERY_TOKEN, got="got [[[[5, 6], [1, 2]], [[7, 8], [3, 4]]]]")
def tokens_turned_round(x, n_heads):
    return np.stack(np.split(x[:, ::-1], n_heads, axis=2), axis=1)


@splitting(idea=TEXTS, got="got [[[[1], [5]], [[2], [6]]], [[[3], [7]], [[4], [8]]]]")
def batch_and_length_exchanged(x, n_heads):
    batch, length, width = x.shape
    heads = x.reshape(length, batch, n_heads, width // n_heads)
    return heads.transpose(1, 2, 0, 3)


@splitting(idea=TEXTS, got="got [[[[1], [3]], [[5], [7]]], [[[2], [4]], [[6], [8]]]]")
def heads_first_then_taken_for_the_batch(x, n_heads):
    batch, length, width = x.shape
    heads = np.stack(np.split(x, n_heads, axis=2))
    return heads.reshape(batch, n_heads, length, width // n_heads)


# --- sinusoidal positions -----------------------------------------------------------------------

encoding = functools.partial(mutant, "attention-sinusoidal")

START = "position 0 has sin 0 in even slots and cos 0 in odd ones"
FIRST_PAIR = "the first pair turns by 1 radian a position"
FREQUENCY = "pair i turns by 10000^(-2i/width) a position"
ODD = "an odd width ends with a sine"


def waves(positions, slots, frequencies):
    """Return sines in even slots, cosines in odd ones."""
    angles = np.outer(positions, frequencies)
    return np.where(slots % 2 == 0, np.sin(angles), np.cos(angles))


@encoding(idea=START, got="got [[1, 1, 1, 1]]")
def sine_plus_cosine_in_every_slot(length, width):
    slots = np.arange(width)
    angles = np.outer(np.arange(length), 10000.0 ** (-2 * (slots // 2) / width))
    return np.sin(angles) + np.cos(angles)


@encoding(idea=START, got="got [[0, 0, 1, 1]]")
def all_sines_then_all_cosines(length, width):
    angles = np.outer(np.arange(length), 10000.0 ** (-2 * np.arange(width // 2) / width))
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


@encoding(idea=START, got="got [[1, 0, 1, 0]]")
def cosines_in_even_slots(length, width):
    slots = np.arange(width)
    return waves(range(length), slots + 1, 10000.0 ** (-2 * (slots // 2) / width))


@encoding(idea=START, got="got [[0.8415, 0.5403, 0.01, 1]]")
def positions_from_1(length, width):
    slots = np.arange(width)
    return waves(range(1, length + 1), slots, 10000.0 ** (-2 * (slots // 2) / width))


@encoding(idea=FIRST_PAIR, got="got [[0, 1], [-2.4")
def turns_of_a_wave_for_radians(length, width):
    slots = np.arange(width)
    return waves(2 * np.pi * np.arange(length), slots, 10000.0 ** (-2 * (slots // 2) / width))


@encoding(idea=FIRST_PAIR, got="got [[0, 1], [0.01745, 0.9998]")
def degrees(length, width):
    slots = np.arange(width)
    angles = np.radians(np.arange(length))
    return waves(angles, slots, 10000.0 ** (-2 * (slots // 2) / width))


@encoding(idea=FIRST_PAIR, got="got [[0, 1], [0.8415, 1]")
def every_slot_its_own_frequency(length, width):
    slots = np.arange(width)
    return waves(range(length), slots, 10000.0 ** (-2 * slots / width))


@encoding(idea=FIRST_PAIR, got="got [[0, 1], [0.0001, 1]")
def pairs_from_1(length, width):
    slots = np.arange(width)
    return waves(range(length), slots, 10000.0 ** (-2 * (slots // 2 + 1) / width))


@encoding(idea=FREQUENCY, got="got [[0, 1, 0, 1], [0.8415, 0.5403, 0.09983, 0.995]]")
def half_the_exponent(length, width):
    slots = np.arange(width)
    return waves(range(length), slots, 10000.0 ** (-(slots // 2) / width))


@encoding(idea=FREQUENCY, got="got [[0, 1, 0, 1], [0.8415, 0.5403, -0.5064, 0.8623]]")
def wavelengths_for_frequencies(length, width):
    slots = np.arange(width)
    return waves(range(length), slots, 10000.0 ** (2 * (slots // 2) / width))


@encoding(idea=FREQUENCY, got="got [[0, 1, 0, 1], [0.8415, 0.5403, 0.0001, 1]]")
def frequencies_from_1_to_1_in_10000(length, width):
    pairs = (width + 1) // 2
    frequencies = np.geomspace(1, 1e-4, pairs)
    return waves(range(length), np.arange(width), np.repeat(frequencies, 2)[:width])


@encoding(idea=FREQUENCY, got="got [[0, 1, 0, 1], [0.8415, 0.5403, 0.03162")
def base_1000(length, width):
    slots = np.arange(width)
    return waves(range(length), slots, 1000.0 ** (-2 * (slots // 2) / width))


@encoding(idea=ODD, got="got [[0, 1, 0, 1], [0.8415, 0.5403, 0.02512, 0.9997]]")
def odd_widths_lose_a_slot(length, width):
    even = width // 2 * 2
    slots = np.arange(even)
    return waves(range(length), slots, 10000.0 ** (-2 * (slots // 2) / width))


@encoding(idea=ODD, got="got ValueError: ")
def as_many_cosines_as_sines(length, width):
    angles = np.outer(np.arange(length), 10000.0 ** (-np.arange(0, width, 2) / width))
    encoding = np.empty((length, width))
    encoding[:, 0::2] = np.sin(angles)
    encoding[:, 1::2] = np.cos(angles)
    return encoding


@encoding(idea=ODD, got="got [[0, 1, 0, 1, 0], [0.8415, 0.5403, 0.0464")
def the_width_rounded_up(length, width):
    slots = np.arange(width)
    return waves(range(length), slots, 10000.0 ** (-2 * (slots // 2) / (width + width % 2)))


@encoding(idea=ODD, got="got [[0, 1, 0, 1, 0], [0.8415, 0.5403, 0.02512, 0.9997, 0]]")
def a_zero_in_the_last_slot(length, width):
    slots = np.arange(width)
    encoding = waves(range(length), slots, 10000.0 ** (-2 * (slots // 2) / width))
    encoding[:, width // 2 * 2 :] = 0
    return encoding


# --- rotary positions ---------------------------------------------------------------------------

rotating = functools.partial(mutant, "attention-rotary")

STILL = "position 0 turns nothing"
TURN = "a pair turns by its position in radians, from the first slot towards the second"
HALVES = "slots i and i + d/2 are a pair"
SLOWER = "pair i turns by 10000^(-2i/d) a position"
POSITIONS = "each row turns by its own position"


def turned(x, angles):
    """Turn the pairs of slots i and i + d/2."""
    first, second = np.split(x, 2, axis=1)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=1)


def angles_of(x, positions):
    half = x.shape[1] // 2
    return np.outer(positions, 10000.0 ** (-np.arange(half) / half))


@rotating(idea=STILL, got="got [[1, 2, 4, 5]]")
def adds_the_encoding(x, positions):
    angles = angles_of(x, positions)
    return x + np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


@rotating(idea=STILL, got="got [[-1.984, 1.96, 2.462, 4.02]]")
def positions_counted_from_1(x, positions):
    return turned(x, angles_of(x, positions + 1))


@rotating(idea=STILL, got="got [[1, 3, 2, 4]]")
def pairs_come_back_side_by_side(x, positions):
    halves = np.split(turned(x, angles_of(x, positions)), 2, axis=1)
    return np.stack(halves, axis=2).reshape(x.shape)


@rotating(idea=TURN, got="got [[0.5403, -0.8415]]")
def turned_the_other_way(x, positions):
    return turned(x, -angles_of(x, positions))


@rotating(idea=TURN, got="got [[0.9998, 0.01745]]")
def turned_by_degrees(x, positions):
    return turned(x, np.radians(angles_of(x, positions)))


@rotating(idea=TURN, got="got [[0.5403, 0]]")
def cosines_alone(x, positions):
    return x * np.cos(np.tile(angles_of(x, positions), 2))


@rotating(idea=TURN, got="got [[0.9093, -0.4161]]")
def no_minus_sign(x, positions):
    angles = angles_of(x, positions)
    first, second = np.split(x, 2, axis=1)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos + second * sin, first * sin + second * cos], axis=1)


@rotating(idea=TURN, got="got [[0.5403, 0.4546]]")
def the_first_half_overwritten_too_soon(x, positions):
    angles = angles_of(x, positions)
    x = x.copy()
    first, second = np.split(x, 2, axis=1)  # views
    first[:] = first * np.cos(angles) - second * np.sin(angles)
    second[:] = first * np.sin(angles) + second * np.cos(angles)
    return x


@rotating(idea=HALVES, got="got [[0.5403, 0.8415, 0, 0]]")
def neighbours_are_a_pair(x, positions):
    angles = angles_of(x, positions)
    cos, sin = np.cos(angles), np.sin(angles)
    result = np.empty(x.shape)
    result[:, 0::2] = x[:, 0::2] * cos - x[:, 1::2] * sin
    result[:, 1::2] = x[:, 0::2] * sin + x[:, 1::2] * cos
    return result


@rotating(idea=HALVES, got="got [[0.5403, 0, 0, 0.8415]]")
def the_outer_slots_are_a_pair(x, positions):
    half = x.shape[1] // 2
    folded = np.concatenate([x[:, :half], x[:, :half:-1], x[:, half : half + 1]], axis=1)
    result = turned(folded, angles_of(x, positions))
    return np.concatenate([result[:, :half], result[:, :half:-1], result[:, half : half + 1]], 1)


@rotating(idea=SLOWER, got="got [[0, 0.2837, 0, -0.9589]]")
def half_of_the_exponent(x, positions):
    d = x.shape[1]
    return turned(x, np.outer(positions, 10000.0 ** (-np.arange(d // 2) / d)))


@rotating(idea=SLOWER, got="got [[0, 0.965, 0, -0.2624]]")
def every_pair_alike(x, positions):
    return turned(x, np.outer(positions, np.ones(x.shape[1] // 2)))


@rotating(idea=SLOWER, got="got [[0, 1, 0, 0.005]]")
def twice_the_exponent(x, positions):
    half = x.shape[1] // 2
    return turned(x, np.outer(positions, 10000.0 ** (-2 * np.arange(half) / half)))


@rotating(idea=SLOWER, got="got [[0, 1, 0, 0.005]]")
def down_to_1_in_10000(x, positions):
    return turned(x, np.outer(positions, np.geomspace(1, 1e-4, x.shape[1] // 2)))


@rotating(idea=POSITIONS, got="got [[1, 0], [0.5403, 0.8415], [-0.4161, 0.9093]]")
def places_in_the_array_for_positions(x, positions):
    if len(x) > 1:
        positions = np.arange(len(x))
    return turned(x, angles_of(x, positions))


@rotating(idea=POSITIONS, got="got [[-0.99, 0.1411], [-0.99, 0.1411], [-0.99, 0.1411]]")
def all_at_the_first_row_s_position(x, positions):
    return turned(x, angles_of(x, positions[:1]))


# --- the slopes of ALiBi ------------------------------------------------------------------------

sloping = functools.partial(mutant, "attention-alibi-slopes")

EIGHT = "eight heads have 1/2, 1/4, and so on to 1/256"
POWER = "of n heads, a power of two, head i has 2^(-8i/n), i from 1"
ONE = "one head has 1/256"
BELOW = "other numbers start with the slopes of the power of two below"
OTHERS = "the rest is every other slope of twice that power, from its first"


@sloping(idea=EIGHT, got="got [1, 0.5, 0.25, 0.125")
def heads_from_0(n_heads):
    return 2.0 ** (-8 * np.arange(n_heads) / n_heads)


@sloping(idea=EIGHT, got="got [2, 4, 8")
def growing(n_heads):
    return 2.0 ** (8 * np.arange(1, n_heads + 1) / n_heads)


@sloping(idea=EIGHT, got="got [0.003906, 0.007812")
def the_flattest_first(n_heads):
    return 2.0 ** (-8 * np.arange(n_heads, 0, -1) / n_heads)


@sloping(idea=EIGHT, got="got [0.125, 0.25, 0.375")
def evenly_spaced(n_heads):
    return np.arange(1, n_heads + 1) / n_heads


@sloping(idea=EIGHT, got="got [-0.5, -0.25")
def the_minus_sign_too(n_heads):
    return -right_slopes(n_heads)


def right_slopes(n_heads):
    return find("attention-alibi-slopes").reference(n_heads)


@sloping(idea=POWER, got="got [0.5, 0.25, 0.125, 0.0625]")
def halved_from_head_to_head(n_heads):
    return 0.5 ** np.arange(1, n_heads + 1)


@sloping(idea=POWER, got="got [0.5, 0.09921, 0.01969, 0.003906]")
def from_a_half_to_1_in_256(n_heads):
    return np.geomspace(0.5, 2.0**-8, n_heads)


@sloping(idea=POWER, got="got 0.5 at [0]")
def whole_exponents(n_heads):
    return 0.5 ** np.maximum(1, 8 * np.arange(1, n_heads + 1) // n_heads)


@sloping(idea=ONE, got="got 0.003906")
def a_number_for_one_head(n_heads):
    slopes = right_slopes(n_heads)
    return slopes if n_heads > 1 else slopes[0]


@sloping(idea=BELOW, got="got [0.63, 0.3969, 0.25")
def one_formula_for_all(n_heads):
    return 2.0 ** (-8 * np.arange(1, n_heads + 1) / n_heads)


@sloping(idea=BELOW, got="got [0.7071, 0.5, 0.3536")
def the_power_above_cut_short(n_heads):
    power = 2 ** math.ceil(math.log2(n_heads))
    return right_slopes(power)[:n_heads]


@sloping(idea=BELOW, got="got [0.7071, 0.5, 0.3536")
def sorted_from_steep_to_flat(n_heads):
    return np.sort(right_slopes(n_heads))[::-1]


def completed(n_heads, rest):
    power = 2 ** int(math.log2(n_heads))
    first = right_slopes(power)
    return np.concatenate([first, rest(power)[: n_heads - power]])


@sloping(idea=OTHERS, got="got [0.0625, 0.003906, 0.0625]")
def the_other_every_other(n_heads):
    return completed(n_heads, lambda power: right_slopes(2 * power)[1::2])


@sloping(idea=OTHERS, got="got [0.0625, 0.003906, 0.0002441]")
def goes_on_where_the_power_ended(n_heads):
    return completed(
        n_heads, lambda power: 2.0 ** (-8 * np.arange(power + 1, 2 * power + 1) / power)
    )


@sloping(idea=OTHERS, got="got [0.0625, 0.003906, 0.0625]")
def every_slope_of_twice_the_power(n_heads):
    return completed(n_heads, lambda power: right_slopes(2 * power)[1:])


@sloping(idea=OTHERS, got="got [0.0625, 0.003906]")
def as_many_as_the_power(n_heads):
    return right_slopes(2 ** int(math.log2(n_heads)))


@sloping(idea=OTHERS, got="0.7071, 0.5, 0.3536, 0.25]")
def all_slopes_of_twice_the_power(n_heads):
    return completed(n_heads, lambda power: right_slopes(2 * power))


# --- log-sum-exp --------------------------------------------------------------------------------

summing = functools.partial(mutant, "attention-lse")

ITSELF = "the LSE of one score is that score"
LOG_N = "n scores of 0 have log n, the natural logarithm"
EACH_ROW = "each row has one number"
OWN = "every row counts from a maximum of its own"
ADDS_NOTHING = "a score of -inf adds nothing"
EMPTY = "a row of nothing but -inf has -inf"


@summing(idea=ITSELF, got="got [12.18]")
def no_logarithm(scores):
    return np.exp(scores).sum(axis=1)


@summing(idea=ITSELF, got="got [[2.5]]")
def keeps_the_axis(scores):
    m = scores.max(axis=1, keepdims=True)
    return m + np.log(np.exp(scores - m).sum(axis=1, keepdims=True))


@summing(idea=ITSELF, got="got [0]")
def the_maximum_not_put_back(scores):
    m = scores.max(axis=1, keepdims=True)
    return np.log(np.exp(scores - m).sum(axis=1))


@summing(idea=ITSELF, got="got [0.9163]")
def the_logarithm_of_the_sum(scores):
    return np.log(scores.sum(axis=1))


@summing(idea=LOG_N, got="got [0]")
def the_maximum_alone(scores):
    return scores.max(axis=1)


@summing(idea=LOG_N, got="got [0]")
def the_mean_for_the_sum(scores):
    m = scores.max(axis=1)
    return m + np.log(np.exp(scores - m[:, None]).mean(axis=1))


@summing(idea=LOG_N, got="got [1.585]")
def the_binary_logarithm(scores):
    m = scores.max(axis=1)
    return m + np.log2(np.exp(scores - m[:, None]).sum(axis=1))


@summing(idea=LOG_N, got="got [0]")
def the_sum_of_the_logarithms(scores):
    return np.log(np.exp(scores)).sum(axis=1)


@summing(idea=EACH_ROW, got="got 2.494")
def one_number_for_all_rows(scores):
    m = scores.max()
    total = m + np.log(np.exp(scores - m).sum())
    return total if len(scores) > 1 else np.array([total])


@summing(idea=EACH_ROW, got="got [1.313, 2.127]")
def down_the_columns(scores):
    scores = scores if len(scores) > 1 else scores.T
    return np.log(np.exp(scores).sum(axis=0))


@summing(idea=FINITE, got="got [inf, -inf]")
def overflows(scores):
    return np.log(np.exp(scores).sum(axis=1))


@summing(idea=FINITE, got="got [700.7, -690.8]")
def a_little_something_against_log_0(scores):
    return np.log(np.exp(np.minimum(scores, 700)).sum(axis=1) + 1e-300)


@summing(idea=FINITE, got="got [1001, -inf]")
def the_maximum_or_0(scores):
    m = np.maximum(scores.max(axis=1), 0)
    return m + np.log(np.exp(scores - m[:, None]).sum(axis=1))


@summing(idea=FINITE, got="got [1001, -inf]")
def one_maximum_for_the_table(scores):
    m = scores.max()
    return m + np.log(np.exp(scores - m).sum(axis=1))


@summing(idea=ADDS_NOTHING, got="got [nan] (nan comes from")
def a_mean_to_subtract(scores):
    m = scores.mean(axis=1)
    return m + np.log(np.exp(scores - m[:, None]).sum(axis=1))


@summing(idea=ADDS_NOTHING, got="got [1.862]")
def minus_infinity_for_0(scores):
    scores = np.where(scores == -np.inf, 0, scores)
    m = scores.max(axis=1)
    return m + np.log(np.exp(scores - m[:, None]).sum(axis=1))


@summing(idea=EMPTY, got="got [nan, 1.313] (nan comes from")
def minus_infinity_minus_itself(scores):
    m = scores.max(axis=1)
    return m + np.log(np.exp(scores - m[:, None]).sum(axis=1))


@summing(idea=EMPTY, got="got [0, 1.313]")
def nan_becomes_0(scores):
    return np.nan_to_num(minus_infinity_minus_itself(scores))


@summing(idea=EMPTY, got="got [-1e+09")
def a_large_number_for_infinity(scores):
    return minus_infinity_minus_itself(np.maximum(scores, -1e9))


# --- merging two blocks -------------------------------------------------------------------------

merging = functools.partial(mutant, "attention-merge")

HALF = "blocks of equal LSE count half each"
ADD_UP = "exponentials add up, LSEs do not"
PROPORTION = "a block counts in proportion to exp(LSE)"
LARGE = "large LSEs stay finite"
NO_KEY = "a block that saw no key counts for nothing"
NEITHER = "where neither block saw a key, output is 0 and LSE -inf"
SHARES = "each query has shares of its own"


@merging(idea=HALF, got="expected a tuple (output, lse); got [[4, 2]]")
def the_output_alone(output_a, lse_a, output_b, lse_b):
    return (output_a + output_b) / 2


@merging(idea=HALF, got="got [[8, 4]]")
def outputs_add_up(output_a, lse_a, output_b, lse_b):
    lse = np.logaddexp(lse_a, lse_b)
    return output_a + output_b, lse


@merging(idea=HALF, got="got [[8, 4]]")
def not_divided_by_the_sum(output_a, lse_a, output_b, lse_b):
    a, b = np.exp(lse_a)[:, None], np.exp(lse_b)[:, None]
    return a * output_a + b * output_b, np.log(a + b)[:, 0]


@merging(idea=HALF, got="got [[nan, nan]]")
def weighed_by_the_lses(output_a, lse_a, output_b, lse_b):
    a, b = lse_a[:, None], lse_b[:, None]
    return (a * output_a + b * output_b) / (a + b), np.logaddexp(lse_a, lse_b)


@merging(idea=HALF, got="got [0.6931]")
def lse_before_the_output(output_a, lse_a, output_b, lse_b):
    return right_merge(output_a, lse_a, output_b, lse_b)[::-1]


def right_merge(*blocks):
    return find("attention-merge").reference(*blocks)


@merging(idea=ADD_UP, got="got [1.099]")
def lses_add_up(output_a, lse_a, output_b, lse_b):
    return right_merge(output_a, lse_a, output_b, lse_b)[0], lse_a + lse_b


@merging(idea=ADD_UP, got="got [1.099]")
def the_larger_lse(output_a, lse_a, output_b, lse_b):
    return right_merge(output_a, lse_a, output_b, lse_b)[0], np.maximum(lse_a, lse_b)


@merging(idea=ADD_UP, got="got [0.6931]")
def the_mean_of_the_exponentials(output_a, lse_a, output_b, lse_b):
    output, lse = right_merge(output_a, lse_a, output_b, lse_b)
    return output, lse - np.log(2)


@merging(idea=ADD_UP, got="got [4]")
def the_sum_without_its_logarithm(output_a, lse_a, output_b, lse_b):
    output, lse = right_merge(output_a, lse_a, output_b, lse_b)
    return output, np.exp(lse)


@merging(idea=PROPORTION, got="got [[4, 2]]")
def always_half(output_a, lse_a, output_b, lse_b):
    return (output_a + output_b) / 2, np.logaddexp(lse_a, lse_b)


@merging(idea=PROPORTION, got="got [[3, 3]]")
def the_shares_exchanged(output_a, lse_a, output_b, lse_b):
    return right_merge(output_b, lse_a, output_a, lse_b)


@merging(idea=PROPORTION, got="got [[6, 0]]")
def the_better_block_takes_all(output_a, lse_a, output_b, lse_b):
    a = (np.sign(lse_a - lse_b)[:, None] + 1) / 2
    return a * output_a + (1 - a) * output_b, np.logaddexp(lse_a, lse_b)


@merging(idea=LARGE, got="got [[nan, nan]] (nan comes from")
def exponentials_of_the_lses(output_a, lse_a, output_b, lse_b):
    a, b = np.exp(lse_a), np.exp(lse_b)
    share = (a / (a + b))[:, None]
    return share * output_a + (1 - share) * output_b, np.log(a + b)


@merging(idea=LARGE, got="got [-inf]")
def safe_shares_and_a_plain_lse(output_a, lse_a, output_b, lse_b):
    output, _ = right_merge(output_a, lse_a, output_b, lse_b)
    return output, np.log(np.exp(lse_a) + np.exp(lse_b))


@merging(idea=NO_KEY, got="got [[nan, nan]] (nan comes from")
def both_count_from_their_mean(output_a, lse_a, output_b, lse_b):
    middle = (lse_a + lse_b) / 2
    a, b = (np.exp(part - middle)[:, None] for part in (lse_a, lse_b))
    return (a * output_a + b * output_b) / (a + b), np.logaddexp(lse_a, lse_b)


@merging(idea=NO_KEY, got="got [[0.2384, 0.4768]]")
def minus_infinity_taken_for_0(output_a, lse_a, output_b, lse_b):
    lse_a, lse_b = (np.where(np.isinf(part), 0, part) for part in (lse_a, lse_b))
    return right_merge(output_a, lse_a, output_b, lse_b)


@merging(idea=NEITHER, got="got [[nan, nan], [1.538, 1.538], [4, 4]]")
def minus_infinity_from_itself(output_a, lse_a, output_b, lse_b):
    lse = np.logaddexp(lse_a, lse_b)
    a, b = (np.exp(part - lse)[:, None] for part in (lse_a, lse_b))
    return a * output_a + b * output_b, lse


@merging(idea=NEITHER, got="got [0, 1.313, 2]")
def nothing_seen_is_lse_0(output_a, lse_a, output_b, lse_b):
    output, lse = right_merge(output_a, lse_a, output_b, lse_b)
    return output, np.where(np.isinf(lse), 0, lse)


@merging(idea=NEITHER, got="got [-1e+09, 1.313, 2]")
def a_number_for_infinity(output_a, lse_a, output_b, lse_b):
    lse_a, lse_b = np.maximum(lse_a, -1e9), np.maximum(lse_b, -1e9)
    return right_merge(output_a, lse_a, output_b, lse_b)


@merging(idea=SHARES, got=" at [1, 0]; got ")
def one_share_for_all_queries(output_a, lse_a, output_b, lse_b):
    output, lse = right_merge(output_a, lse_a, output_b, lse_b)
    if np.isinf(lse).any():
        return output, lse
    share = np.exp(lse_a - lse)[0]
    return share * output_a + (1 - share) * output_b, lse


# --- a window, without the matrix ---------------------------------------------------------------

windowing = functools.partial(mutant, "attention-window")

ALONE = "the first token sees itself alone"
WIDE = "in a wide window, a token sees itself and all before it"
NARROW = "window counts the token itself and the ones just before it"
SCORES = "scores are scaled dot products"
ANY_LENGTH = "any length and window will do"
MEMORY = "memory is that of a tile, however long the text"
WORK = "keys outside the window cost no work"


def whole(query, key, value, seen, scale=None):
    """Return attention by the whole matrix, where ``seen`` takes i - j."""
    places = np.arange(len(query))
    scores = query @ key.T * (scale or 1 / np.sqrt(query.shape[1]))
    return softmax(np.where(seen(places[:, None] - places), scores, -np.inf)) @ value


def tiled(query, key, value, window, *, tile=32, reach=None, softmax=softmax, scale=None):
    """Return attention by tiles of queries, which see keys from ``start - reach`` on."""
    output = np.zeros((len(query), value.shape[1]))
    for start in range(0, len(query), tile):
        stop = min(start + tile, len(query))
        first = max(0, start - (window - 1 if reach is None else reach))
        distance = np.arange(start, stop)[:, None] - np.arange(first, stop)
        scores = query[start:stop] @ key[first:stop].T * (scale or query.shape[1] ** -0.5)
        scores = np.where((distance >= 0) & (distance < window), scores, -np.inf)
        output[start:stop] = softmax(scores) @ value[first:stop]
    return output


@windowing(idea=ALONE, got="got [[nan, nan]]")
def sees_what_came_before_alone(query, key, value, window):
    return whole(query, key, value, lambda d: (d > 0) & (d <= window))


@windowing(idea=ALONE, got="got [[1, 3]]")
def the_keys_again(query, key, value, window):
    return tiled(query, key, key, window)


@windowing(idea=ALONE, got="got [[0, 0]]")
def the_last_tile_left_out(query, key, value, window):
    n = len(query) // 32 * 32
    output = np.zeros((len(query), value.shape[1]))
    output[:n] = tiled(query[:n], key[:n], value[:n], window)
    return output


@windowing(idea=ALONE, got="got ValueError: ")
def waits_for_a_full_window(query, key, value, window):
    return np.concatenate(
        [
            tiled(query[i - window : i], key[i - window : i], value[i - window : i], window)[-1:]
            for i in range(window, len(query) + 1)
        ]
    )


@windowing(idea=WIDE, got="got [[10.5], [10.5], [10.5], [10.5]]")
def sees_the_future_too(query, key, value, window):
    return whole(query, key, value, lambda d: abs(d) < window)


@windowing(idea=NARROW, got="got [[0], [3], [6], [14]]")
def one_token_more(query, key, value, window):
    return tiled(query, key, value, window + 1)


@windowing(idea=NARROW, got="got [[0], [6], [12], [24]]")
def one_token_less(query, key, value, window):
    return tiled(query, key, value, max(1, window - 1))


@windowing(idea=NARROW, got="got [[0], [3], [6], [10.5]]")
def causal_without_a_window(query, key, value, window):
    return whole(query, key, value, lambda d: d >= 0)


@windowing(idea=NARROW, got="got [[0], [3], [12], [18]]")
def blocks_for_a_window(query, key, value, window):
    places = np.arange(len(query))
    same = places[:, None] // window == places // window
    scores = np.where(same & (places[:, None] >= places), scores_of(query, key), -np.inf)
    return softmax(scores) @ value


@windowing(idea=SCORES, got="expected [[1], [0.1192]]; got [[1], [0.01799]]")
def scores_not_scaled(query, key, value, window):
    return tiled(query, key, value, window, scale=1.0)


@windowing(idea=SCORES, got="got [[1], [0.1824]]")
def queries_and_keys_take_each_other_s_place(query, key, value, window):
    return tiled(key, query, value, window)


@windowing(idea=FINITE, got="got nan at [")
def exponentials_as_they_are(query, key, value, window):
    def plain(scores):
        weights = np.exp(scores)
        return weights / weights.sum(axis=1, keepdims=True)

    return tiled(query, key, value, window, softmax=plain)


@windowing(idea=ANY_LENGTH, got=" at [32, 0]; got ")
def a_tile_sees_itself_alone(query, key, value, window):
    return tiled(query, key, value, window, reach=0)


@windowing(idea=ANY_LENGTH, got="got 0 at [")
def full_tiles_alone(query, key, value, window):
    n = len(query) - (len(query) % 8 if len(query) > 8 else 0)
    output = np.zeros((len(query), value.shape[1]))
    output[:n] = tiled(query[:n], key[:n], value[:n], window, tile=8)
    return output


@windowing(idea=MEMORY, got="expected at most 768 KiB beside the result; got ")
def the_whole_matrix(query, key, value, window):
    return whole(query, key, value, lambda d: (d >= 0) & (d < window))


@windowing(idea=MEMORY, got="expected at most 768 KiB beside the result; got ")
def all_windows_at_once(query, key, value, window):
    """Gather the window of every token: n times window numbers, and d times that for keys."""
    places = np.arange(len(query))[:, None] - np.arange(window)
    seen = np.maximum(places, 0)
    scores = np.einsum("nd,nwd->nw", query, key[seen]) / np.sqrt(query.shape[1])
    weights = softmax(np.where(places >= 0, scores, -np.inf))
    return np.einsum("nw,nwd->nd", weights, value[seen])


@windowing(idea=MEMORY, got="expected at most 768 KiB beside the result; got ")
def tiles_of_queries_against_all_keys(query, key, value, window):
    return tiled(query, key, value, window, reach=len(query))


@windowing(idea=MEMORY, got="expected at most 768 KiB beside the result; got ")
def one_tile_for_all(query, key, value, window):
    return tiled(query, key, value, window, tile=len(query))


@windowing(idea=WORK, got="expected at most 4 scores computed for each one in the window; got 8.1")
def a_row_against_all_keys_before(query, key, value, window):
    return tiled(query, key, value, window, tile=1, reach=len(query))


@windowing(idea=WORK, got="expected at most 4 scores computed for each one in the window; got 16.1")
def every_score_row_by_row(query, key, value, window):
    output, places = np.empty((len(query), value.shape[1])), np.arange(len(query))
    for i in places:
        seen = (places <= i) & (places > i - window)
        scores = np.where(seen, key @ query[i] / np.sqrt(query.shape[1]), -np.inf)
        output[i] = softmax(scores[None])[0] @ value
    return output
