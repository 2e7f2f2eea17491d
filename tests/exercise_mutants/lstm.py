"""Wrong answers to the exercises of chapter 5."""

from __future__ import annotations

import functools

import numpy as np

from tests.exercise_mutants import mutant


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# --- one step -----------------------------------------------------------------------------------

stepping = functools.partial(mutant, "lstm-step")

FORGETS = "a closed forget gate forgets"
HALF_OPEN = "at 0 the gates are half open and the candidate is 0"
CURVES = "gates are sigmoids, the candidate is a tanh"
OUT = "h is the tanh of the new cell, times o"
NAMED = "order names the blocks, from the first columns to the last"
SIDE_BY_SIDE = "a block's columns stand side by side"
BOTH = "the gates see both x and h"
ROWS = "each row of the batch has gates of its own"


def blocks_of(x, h, kernel, recurrent_kernel, bias, order):
    """Return the sums for i, f, the candidate and o."""
    blocks = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
    return [blocks[order.index(name)] for name in "ifco"]


@stepping(idea=FORGETS, got="got [[0.8]]")
def no_forget_gate(x, h, c, kernel, recurrent_kernel, bias, order):
    i, _, g, o = blocks_of(x, h, kernel, recurrent_kernel, bias, order)
    c = c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@stepping(idea=FORGETS, got="got [[0.8]]")
def what_is_written_is_what_is_forgotten(x, h, c, kernel, recurrent_kernel, bias, order):
    i, _, g, o = blocks_of(x, h, kernel, recurrent_kernel, bias, order)
    c = (1 - sigmoid(i)) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@stepping(idea=FORGETS, got="got [[0.2]]")
def tanh_for_gates(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, g, o = map(np.tanh, blocks_of(x, h, kernel, recurrent_kernel, bias, order))
    c = f * c + i * g
    return o * np.tanh(c), c


@stepping(idea=FORGETS, got="got [[0.4]]")
def the_bias_left_out(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, g, o = blocks_of(x, h, kernel, recurrent_kernel, 0, order)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@stepping(idea=FORGETS, got="expected a tuple (h, c); got [[")
def the_hidden_state_alone(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, g, o = blocks_of(x, h, kernel, recurrent_kernel, bias, order)
    return sigmoid(o) * np.tanh(sigmoid(f) * c + sigmoid(i) * np.tanh(g))


@stepping(idea=HALF_OPEN, got="got [[0.5848]]")
def a_forget_bias_on_top(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, g, o = blocks_of(x, h, kernel, recurrent_kernel, bias, order)
    c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@stepping(idea=HALF_OPEN, got="got [[0.65]]")
def a_sigmoid_for_the_candidate(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, g, o = map(sigmoid, blocks_of(x, h, kernel, recurrent_kernel, bias, order))
    c = f * c + i * g
    return o * np.tanh(c), c


@stepping(idea="h comes first, then c", got="got [[0.19]]")
def the_cell_first(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, g, o = blocks_of(x, h, kernel, recurrent_kernel, bias, order)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return c, sigmoid(o) * np.tanh(c)


@stepping(idea=CURVES, got="got [[0.8092]]")
def the_candidate_as_it_is(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, g, o = blocks_of(x, h, kernel, recurrent_kernel, bias, order)
    c = sigmoid(f) * c + sigmoid(i) * g
    return sigmoid(o) * np.tanh(c), c


@stepping(idea=CURVES, got="got [[0.7362]]")
def straight_lines_for_sigmoids(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, g, o = blocks_of(x, h, kernel, recurrent_kernel, bias, order)
    i, f, o = (np.clip(gate / 6 + 0.5, 0, 1) for gate in (i, f, o))
    c = f * c + i * np.tanh(g)
    return o * np.tanh(c), c


@stepping(idea=OUT, got="got [[0.2]]")
def the_cell_leaves_as_it_is(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, g, o = blocks_of(x, h, kernel, recurrent_kernel, bias, order)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * c, c


@stepping(idea=OUT, got="got [[0.3799]]")
def no_output_gate(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, g, _ = blocks_of(x, h, kernel, recurrent_kernel, bias, order)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return np.tanh(c), c


@stepping(idea=OUT, got="got [[0.332]]")
def the_output_of_the_cell_before(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, g, o = blocks_of(x, h, kernel, recurrent_kernel, bias, order)
    return sigmoid(o) * np.tanh(c), sigmoid(f) * c + sigmoid(i) * np.tanh(g)


@stepping(idea=NAMED, got="[1, -1, 0.5, 2], order = 'ifco', ")
def forget_gate_and_input_gate_swapped(x, h, c, kernel, recurrent_kernel, bias, order):
    f, i, g, o = blocks_of(x, h, kernel, recurrent_kernel, bias, order)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@stepping(idea=NAMED, got="[1, -1, 0.5, 2], order = 'ifco', ")
def candidate_and_output_gate_swapped(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, o, g = blocks_of(x, h, kernel, recurrent_kernel, bias, order)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@stepping(idea=NAMED, got="[1, -1, 0.5, 2], order = 'ifco', ")
def input_gate_and_output_gate_swapped(x, h, c, kernel, recurrent_kernel, bias, order):
    o, f, g, i = blocks_of(x, h, kernel, recurrent_kernel, bias, order)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@stepping(idea=NAMED, got="[1, 2, -1, 0.5], order = 'iofc', ")
def the_order_of_keras_always(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, g, o = blocks_of(x, h, kernel, recurrent_kernel, bias, "ifco")
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@stepping(idea=NAMED, got="[1, 2, -1, 0.5], order = 'iofc', ")
def the_order_the_other_way_round(x, h, c, kernel, recurrent_kernel, bias, order):
    blocks = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
    i, f, g, o = (blocks["ifco".index(name)] for name in order)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@stepping(idea=SIDE_BY_SIDE, got="got [[0.9, 0.3]]")
def every_fourth_column(x, h, c, kernel, recurrent_kernel, bias, order):
    columns = x @ kernel + h @ recurrent_kernel + bias
    i, f, g, o = (columns[:, order.index(name) :: 4] for name in "ifco")
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@stepping(idea=BOTH, got="got [[")
def gates_blind_to_the_state(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, g, o = blocks_of(x, 0 * h, kernel, recurrent_kernel, bias, order)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@stepping(idea=BOTH, got="got [[")
def the_cell_in_place_of_the_hidden_state(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, g, o = blocks_of(x, c, kernel, recurrent_kernel, bias, order)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@stepping(idea=BOTH, got="got [[")
def only_the_candidate_sees_the_state(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, _, o = blocks_of(x, 0 * h, kernel, recurrent_kernel, bias, order)
    g = blocks_of(x, h, kernel, recurrent_kernel, bias, order)[2]
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@stepping(idea=ROWS, got=" at [0, 0]")
def the_mean_of_the_batch(x, h, c, kernel, recurrent_kernel, bias, order):
    columns = (x @ kernel + h @ recurrent_kernel + bias).mean(axis=0, keepdims=True)
    blocks = np.split(columns, 4, axis=1)
    i, f, g, o = (blocks[order.index(name)] for name in "ifco")
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@stepping(idea="the arguments stay as they are", got="expected c unchanged")
def forgets_in_place(x, h, c, kernel, recurrent_kernel, bias, order):
    i, f, g, o = blocks_of(x, h, kernel, recurrent_kernel, bias, order)
    c *= sigmoid(f)
    c += sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


# --- parameters ---------------------------------------------------------------------------------

counting = functools.partial(mutant, "lstm-parameters")

IDS = "an embedding has a vector for each id"
DENSE = "a Dense unit has a weight for each feature, and a bias"
RECURRENT = "a recurrent unit has a weight for each unit, too"
FOUR = "an LSTM has four blocks of weights and biases"
GRU = "a GRU has three blocks of weights, and two biases for each"
STACKED = "a layer's features are the units of the layer before"
JOINED = "Bidirectional is two layers, whose outputs are joined"


def recurrent(kind, features, units, *, blocks=(1, 3, 4), biases=(1, 2, 1)):
    place = ("SimpleRNN", "GRU", "LSTM").index(kind)
    return blocks[place] * units * (features + units + biases[place])


def counts(vocab, layers, *, recurrent=recurrent, dense=lambda d, u: (d + 1) * u, joined=2, runs=2):
    features, found = vocab, []
    for name, size in layers:
        *two, kind = name.split()
        if kind == "Embedding":
            n = features * size
        elif kind == "Dense":
            n = dense(features, size)
        else:
            n = recurrent(kind, features, size)
        found.append(n * (runs if two else 1))
        features = size * (joined if two else 1)
    return found


@counting(idea=IDS, got="expected [40]; got [44]")
def an_embedding_with_a_bias(vocab, layers):
    first, *others = counts(vocab, layers)
    return [first + layers[0][1], *others]


@counting(idea=IDS, got="expected [40]; got [4]")
def only_the_width(vocab, layers):
    return [size for _, size in layers]


@counting(idea=IDS, got="expected [40]; got 40")
def the_sum_of_all_layers(vocab, layers):
    return sum(counts(vocab, layers))


@counting(idea=IDS, got="whole numbers, [40]; got floating-point [40]")
def not_whole(vocab, layers):
    return np.array(counts(vocab, layers), dtype=float)


@counting(idea=DENSE, got="expected [40, 15]; got [40, 12]")
def no_bias(vocab, layers):
    return counts(vocab, layers, dense=lambda d, u: d * u)


@counting(idea=DENSE, got="expected [40, 15]; got [40, 13]")
def one_bias_for_a_layer(vocab, layers):
    return counts(vocab, layers, dense=lambda d, u: d * u + 1)


@counting(idea=DENSE, got="expected [40, 15]; got [40, 33]")
def features_are_always_the_vocabulary(vocab, layers):
    return [counts(vocab, [layer])[0] for layer in layers]


@counting(idea=RECURRENT, got="expected [40, 24]; got [40, 15]")
def no_recurrent_weights(vocab, layers):
    return counts(vocab, layers, recurrent=lambda kind, d, u: recurrent(kind, d - u, u))


@counting(idea=RECURRENT, got="expected [40, 24]; got [40, 18]")
def each_unit_remembers_itself_alone(vocab, layers):
    return counts(vocab, layers, recurrent=lambda kind, d, u: recurrent(kind, d + 1 - u, u))


@counting(idea=RECURRENT, got="expected [40, 24]; got [40, 27]")
def two_biases_for_all(vocab, layers):
    return counts(vocab, layers, recurrent=functools.partial(recurrent, biases=(2, 2, 2)))


@counting(idea=FOUR, got="expected [40, 96]; got [40, 72]")
def three_gates_and_no_candidate(vocab, layers):
    return counts(vocab, layers, recurrent=functools.partial(recurrent, blocks=(1, 3, 3)))


@counting(idea=FOUR, got="expected [40, 96]; got [40, 108]")
def two_biases_as_in_torch(vocab, layers):
    return counts(vocab, layers, recurrent=functools.partial(recurrent, biases=(1, 2, 2)))


@counting(idea=FOUR, got="expected [40, 96]; got [40, 87]")
def one_bias_for_all_blocks(vocab, layers):
    def layer(kind, d, u):
        return recurrent(kind, d, u, biases=(0, 0, 0)) + u * (1 + (kind == "GRU"))

    return counts(vocab, layers, recurrent=layer)


@counting(idea=GRU, got="expected [40, 81]; got [40, 72]")
def a_gru_with_one_bias(vocab, layers):
    return counts(vocab, layers, recurrent=functools.partial(recurrent, biases=(1, 1, 1)))


@counting(idea=GRU, got="expected [40, 81]; got [40, 54]")
def a_gru_of_two_gates(vocab, layers):
    return counts(vocab, layers, recurrent=functools.partial(recurrent, blocks=(1, 2, 4)))


@counting(idea=GRU, got="expected [40, 81]; got [40, 75]")
def a_second_bias_for_the_candidate_alone(vocab, layers):
    def layer(kind, d, u):
        return recurrent(kind, d, u, biases=(1, 1, 1)) + u * (kind == "GRU")

    return counts(vocab, layers, recurrent=layer)


@counting(idea=STACKED, got="got [40, 96, 200, 5]")
def features_are_always_the_embedding(vocab, layers):
    (_, width), *others = layers
    return [vocab * width, *(counts(width, [layer])[0] for layer in others)]


@counting(idea=JOINED, got="expected [40, 192, 7]; got [40, 96, 7]")
def one_direction_counted(vocab, layers):
    return counts(vocab, layers, runs=1)


@counting(idea=JOINED, got="expected [40, 192, 7]; got [40, 192, 4]")
def outputs_added_up(vocab, layers):
    return counts(vocab, layers, joined=1)


@counting(idea=JOINED, got="expected [40, 192, 7]; got [40, 264, 7]")
def one_layer_of_twice_the_units(vocab, layers):
    return counts(vocab, [(name.split()[-1], size * len(name.split())) for name, size in layers])


# --- shifted targets ----------------------------------------------------------------------------

shifting = functools.partial(mutant, "lstm-shifted-targets")

FIRST_ROW = "a row holds length ids, from the first on"
NEXT_ID = "the target of an id is the id that follows it"
GOES_ON = "the next batch begins where the last one ended"
BORDER = "a row's last target is its first id in the next batch"
ROW_K = "row k goes on in row k of the next batch"
LEFT_OUT = "what fills no whole batch is left out"
HAS_TARGET = "every id has a target"
TOO_SHORT = "a stream that is too short makes no batch"


def batches(ids, n_rows, length, n):
    return ids[: n * n_rows * length].reshape(n_rows, n, length).swapaxes(0, 1)


def number(ids, n_rows, length):
    return (len(ids) - 1) // (n_rows * length)


@shifting(idea=FIRST_ROW, got="got [[[13, 15, 14]]]")
def rows_one_short(ids, n_rows, length):
    inputs = batches(ids, n_rows, length, number(ids, n_rows, length))
    return inputs[..., :-1], inputs[..., 1:]


@shifting(idea="inputs comes first, then targets", got="got [[[15, 14, 11, 12]]]")
def targets_first(ids, n_rows, length):
    n = number(ids, n_rows, length)
    return batches(ids[1:], n_rows, length, n), batches(ids, n_rows, length, n)


@shifting(idea=FIRST_ROW, got="got [[[13], [15], [14], [11]]]")
def time_before_rows(ids, n_rows, length):
    n = number(ids, n_rows, length)
    return tuple(batches(part, n_rows, length, n).swapaxes(1, 2) for part in (ids, ids[1:]))


@shifting(idea=NEXT_ID, got="expected [[[12, 13, 11, 14]]]; got [[[15, 12, 13, 11]]]")
def inputs_for_targets(ids, n_rows, length):
    inputs = batches(ids, n_rows, length, number(ids, n_rows, length))
    return inputs, inputs


@shifting(idea=NEXT_ID, got="got [[[14, 15, 12, 13]]]")
def the_id_before(ids, n_rows, length):
    n = number(ids, n_rows, length)
    return batches(ids, n_rows, length, n), batches(np.roll(ids, 1), n_rows, length, n)


@shifting(idea=NEXT_ID, got="got [[[13, 11, 14, 15]]]")
def two_steps_on(ids, n_rows, length):
    n = number(ids, n_rows, length)
    return batches(ids, n_rows, length, n), batches(np.roll(ids, -2), n_rows, length, n)


@shifting(idea=NEXT_ID, got="got [[[12, 13, 11, 15]]]")
def rolled_within_the_row(ids, n_rows, length):
    inputs = batches(ids, n_rows, length, number(ids, n_rows, length))
    return inputs, np.roll(inputs, -1, axis=2)


@shifting(idea=NEXT_ID, got="got [[[14]]]")
def one_target_for_a_row(ids, n_rows, length):
    n = number(ids, n_rows, length)
    inputs, targets = (batches(part, n_rows, length, n) for part in (ids, ids[1:]))
    return inputs, targets[..., -1:]


@shifting(idea=NEXT_ID, got="got [[[12, 13, 11, 0]]]")
def nothing_after_the_row(ids, n_rows, length):
    inputs = batches(ids, n_rows, length, number(ids, n_rows, length))
    return inputs, np.pad(inputs[..., 1:], [(0, 0), (0, 0), (0, 1)])


@shifting(idea=GOES_ON, got="got an array of shape (5, 1, 4)")
def rows_that_overlap(ids, n_rows, length):
    windows = np.lib.stride_tricks.sliding_window_view(ids, length + 1)[:, None]
    return windows[..., :-1], windows[..., 1:]


@shifting(idea=GOES_ON, got="got [[[")
def an_id_lost_between_batches(ids, n_rows, length):
    n = len(ids) // (n_rows * (length + 1))
    windows = batches(ids, n_rows, length + 1, n)
    return windows[..., :-1], windows[..., 1:]


@shifting(idea=BORDER, got="got [[[")
def rolled_within_all_but_the_last(ids, n_rows, length):
    inputs = batches(ids, n_rows, length, number(ids, n_rows, length))
    targets = np.roll(inputs, -1, axis=2)
    targets[-1:, -1:, -1] = ids[inputs.size : inputs.size + 1]
    return inputs, targets


@shifting(idea=ROW_K, got="got [[[")
def rows_after_each_other(ids, n_rows, length):
    n = number(ids, n_rows, length)
    used = n * n_rows * length
    return tuple(part[:used].reshape(n, n_rows, length) for part in (ids, ids[1:]))


@shifting(idea=GOES_ON, got="got [[[13, 19, 14, 17], [11")
def rows_before_batches(ids, n_rows, length):
    n = number(ids, n_rows, length)
    return tuple(batches(part, n_rows, length, n).swapaxes(0, 1)[:n] for part in (ids, ids[1:]))


@shifting(idea=ROW_K, got="got [[[")
def every_second_id_in_a_row(ids, n_rows, length):
    n = number(ids, n_rows, length)
    used = n * n_rows * length
    return tuple(part[:used].reshape(n, length, n_rows).swapaxes(1, 2) for part in (ids, ids[1:]))


@shifting(idea=LEFT_OUT, got="got ValueError: cannot reshape array of size 10")
def no_remainder_foreseen(ids, n_rows, length):
    return tuple(part.reshape(n_rows, -1, length).swapaxes(0, 1) for part in (ids[:-1], ids[1:]))


@shifting(idea=LEFT_OUT, got="got [[[")
def pieces_with_a_gap_between_them(ids, n_rows, length):
    n, piece = number(ids, n_rows, length), (len(ids) - 1) // n_rows
    return tuple(
        part[: piece * n_rows]
        .reshape(n_rows, piece)[:, : n * length]
        .reshape(n_rows, n, length)
        .swapaxes(0, 1)
        for part in (ids, ids[1:])
    )


@shifting(idea=LEFT_OUT, got="got [[[")
def the_remainder_filled_up(ids, n_rows, length):
    n = -(-(len(ids) - 1) // (n_rows * length))
    padded = np.append(ids, np.zeros(n * n_rows * length, dtype=int))
    return batches(padded, n_rows, length, n), batches(padded[1:], n_rows, length, n)


@shifting(idea=HAS_TARGET, got="got [[[")
def the_stream_ends_where_it_began(ids, n_rows, length):
    n = len(ids) // (n_rows * length)
    return batches(ids, n_rows, length, n), batches(np.roll(ids, -1), n_rows, length, n)


@shifting(idea=HAS_TARGET, got="got ValueError: ")
def as_many_batches_as_inputs_allow(ids, n_rows, length):
    n = len(ids) // (n_rows * length)
    return batches(ids, n_rows, length, n), batches(ids[1:], n_rows, length, n)


@shifting(idea=TOO_SHORT, got="expected no batch; got [[[")
def always_a_batch(ids, n_rows, length):
    n = max(1, number(ids, n_rows, length))
    return batches(ids, n_rows, length, n), batches(np.roll(ids, -1), n_rows, length, n)


# --- masking ------------------------------------------------------------------------------------

masking = functools.partial(mutant, "lstm-masking")

EVERY = "without padding every step counts, from the given state on"
END_H = "padding at the end leaves h as it is"
END_C = "padding at the end leaves c as it is"
FRONT = "padding at the front leaves the state as it is"
OWN = "each text has padding of its own"
ANYWHERE = "padding may stand anywhere"
ALL = "a text of nothing but padding keeps the given state"


def run(step, x, mask, h, c, keep):
    """Run all steps; ``keep(now, new, old)`` decides about h and c."""
    for t in range(x.shape[1]):
        new = step(x[:, t], h, c)
        h, c = keep(mask[:, t, None], new, (h, c))
    return h, c


def outputs(step, x, h, c):
    states = [(h, c)]
    for t in range(x.shape[1]):
        states.append(step(x[:, t], *states[-1]))
    return (np.stack(part, axis=1) for part in zip(*states, strict=True))


@masking(idea=EVERY, got="got [[")
def from_a_state_of_zeros(step, x, mask, h, c):
    zeros = np.zeros_like(h)
    return run(step, x, mask, zeros, zeros, lambda m, new, old: np.where(m, new, old))


@masking(idea=EVERY, got="got [[0.")
def true_for_padding(step, x, mask, h, c):
    return run(step, x, mask, h, c, lambda m, new, old: np.where(m, old, new))


@masking(idea=EVERY, got="expected a tuple (h, c); got [[")
def only_the_output(step, x, mask, h, c):
    return run(step, x, mask, h, c, lambda m, new, old: np.where(m, new, old))[0]


@masking(idea=EVERY, got="got [[")
def the_hidden_state_twice(step, x, mask, h, c):
    h, c = run(step, x, mask, h, c, lambda m, new, old: np.where(m, new, old))
    return h, h


@masking(idea=EVERY, got="got [[")
def back_to_front(step, x, mask, h, c):
    return run(step, x[:, ::-1], mask[:, ::-1], h, c, lambda m, new, old: np.where(m, new, old))


@masking(idea=EVERY, got="got [[")
def the_mean_of_all_states(step, x, mask, h, c):
    weights = (mask / np.maximum(mask.sum(axis=1, keepdims=True), 1))[..., None]
    return tuple((weights * part[:, 1:]).sum(axis=1) for part in outputs(step, x, h, c))


@masking(idea=END_H, got="got [[")
def the_last_column(step, x, mask, h, c):
    return run(step, x, mask, h, c, lambda m, new, old: new)


@masking(idea=END_H, got="got [[")
def inputs_times_the_mask(step, x, mask, h, c):
    return run(step, x * mask[..., None], mask, h, c, lambda m, new, old: new)


@masking(idea=END_H, got="got [[0]]")
def states_times_the_mask(step, x, mask, h, c):
    return run(step, x, mask, h, c, lambda m, new, old: (m * new[0], m * new[1]))


@masking(idea=END_H, got="got [[")
def back_to_the_first_state(step, x, mask, h, c):
    first = h, c
    return run(step, x, mask, h, c, lambda m, new, old: np.where(m, new, first))


@masking(idea=END_H, got="got [[")
def the_cell_alone_is_kept(step, x, mask, h, c):
    return run(step, x, mask, h, c, lambda m, new, old: (new[0], np.where(m, new[1], old[1])))


@masking(idea=END_C, got="got [[")
def the_hidden_state_alone_is_kept(step, x, mask, h, c):
    return run(step, x, mask, h, c, lambda m, new, old: (np.where(m, new[0], old[0]), new[1]))


@masking(idea=END_C, got="got [[0]]")
def the_cell_is_emptied(step, x, mask, h, c):
    return run(step, x, mask, h, c, lambda m, new, old: (np.where(m, new[0], old[0]), m * new[1]))


@masking(idea=FRONT, got="got [[")
def the_output_at_the_length(step, x, mask, h, c):
    lengths = mask.sum(axis=1)
    return tuple(part[np.arange(len(x)), lengths] for part in outputs(step, x, h, c))


@masking(idea=FRONT, got="got [[0.")
def stops_at_the_first_padding(step, x, mask, h, c):
    return run(
        step, x, np.cumprod(mask, axis=1) > 0, h, c, lambda m, new, old: np.where(m, new, old)
    )


@masking(idea=FRONT, got="got [[")
def the_output_at_the_last_word(step, x, mask, h, c):
    places = np.arange(1, mask.shape[1] + 1)
    last = (mask * places).max(axis=1)
    return tuple(part[np.arange(len(x)), last] for part in outputs(step, x, h, c))


@masking(idea=OWN, got="got [[")
def a_step_counts_if_any_text_has_a_word(step, x, mask, h, c):
    return run(step, x, mask, h, c, lambda m, new, old: new if m.any() else old)


@masking(idea=OWN, got="got [[")
def a_step_counts_if_all_texts_have_a_word(step, x, mask, h, c):
    return run(step, x, mask, h, c, lambda m, new, old: new if m.all() else old)


@masking(idea=OWN, got="got [[")
def the_mask_of_the_first_text(step, x, mask, h, c):
    return run(step, x, mask, h, c, lambda m, new, old: new if m[0] else old)


@masking(idea=ANYWHERE, got="got [[")
def from_the_first_word_to_the_last(step, x, mask, h, c):
    since = np.maximum.accumulate(mask, axis=1)
    until = np.maximum.accumulate(mask[:, ::-1], axis=1)[:, ::-1]
    return run(step, x, since & until, h, c, lambda m, new, old: np.where(m, new, old))


@masking(idea=ALL, got="got [[")
def no_words_no_state(step, x, mask, h, c):
    h, c = run(step, x, mask, h, c, lambda m, new, old: np.where(m, new, old))
    some = mask.any(axis=1, keepdims=True)
    return h * some, c * some


@masking(idea=ALL, got="got [[")
def at_least_one_step(step, x, mask, h, c):
    mask = mask.copy()
    mask[~mask.any(axis=1), -1] = True
    return run(step, x, mask, h, c, lambda m, new, old: np.where(m, new, old))


@masking(idea="the arguments stay as they are", got="expected h unchanged")
def writes_into_the_state(step, x, mask, h, c):
    for t in range(x.shape[1]):
        new_h, new_c = step(x[:, t], h, c)
        h[mask[:, t]], c[mask[:, t]] = new_h[mask[:, t]], new_c[mask[:, t]]
    return h.copy(), c.copy()


# --- sampling -----------------------------------------------------------------------------------

writing = functools.partial(mutant, "lstm-stateful-sampling")

READS = "the prompt is read once, before the first draw"
CARRIES = "every call gets the state of the one before"
NUMBER = "n_ids new ids come back, without the prompt"
READS_BACK = "each id drawn is read next, once"
AS_GIVEN = "ids are drawn with the model's probabilities"
LAST_PLACE = "the first draw is from the last place"
SHARPER = "probabilities are raised to 1/temperature and normalised"


def draw(p, temperature, rng):
    p = p ** (1 / temperature)
    return int(rng.choice(len(p), p=p / p.sum()))


def written(model, prompt, n_ids, temperature, rng, *, draw=draw, place=-1):
    unread, state, drawn = prompt, None, []
    while len(drawn) < n_ids:
        probabilities, state = model(np.array([unread]), state)
        drawn.append(draw(probabilities[0, place], temperature, rng))
        unread = drawn[-1:]
    return drawn


@writing(idea=READS, got="expected the model to read [6, 2, 3]; got [6, 2, 3, 3]")
def the_prompt_s_last_id_twice(model, prompt, n_ids, temperature, rng):
    _, state = model(np.array([prompt]), None)
    drawn, last = [], prompt[-1]
    while len(drawn) < n_ids:
        probabilities, state = model(np.array([[last]]), state)
        last = draw(probabilities[0, -1], temperature, rng)
        drawn.append(last)
    return drawn


@writing(idea=READS, got="expected the model to read [6, 2, 3]; got [3]")
def the_prompt_s_last_id_alone(model, prompt, n_ids, temperature, rng):
    return written(model, prompt[-1:], n_ids, temperature, rng)


@writing(idea=READS, got="ids must be whole numbers [1, time], got [6, 2, 3]")
def ids_without_a_batch(model, prompt, n_ids, temperature, rng):
    return written(lambda ids, state: model(ids[0], state), prompt, n_ids, temperature, rng)


@writing(idea=READS, got="ids must be whole numbers [1, time], got [[6], [2], [3]]")
def time_for_batch(model, prompt, n_ids, temperature, rng):
    return written(lambda ids, state: model(ids.T, state), prompt, n_ids, temperature, rng)


@writing(idea=READS, got="expected ids, such as [")
def one_text_for_ids(model, prompt, n_ids, temperature, rng):
    return " ".join(map(str, written(model, prompt, n_ids, temperature, rng)))


@writing(idea=CARRIES, got="got model([[")
def the_state_dropped(model, prompt, n_ids, temperature, rng):
    return written(lambda ids, state: model(ids, None), prompt, n_ids, temperature, rng)


@writing(idea=CARRIES, got="got model([[")
def the_state_after_the_prompt_for_ever(model, prompt, n_ids, temperature, rng):
    probabilities, state = model(np.array([prompt]), None)
    drawn = [draw(probabilities[0, -1], temperature, rng)]
    while len(drawn) < n_ids:
        probabilities, _ = model(np.array([drawn[-1:]]), state)
        drawn.append(draw(probabilities[0, -1], temperature, rng))
    return drawn


@writing(idea=CARRIES, got="[4, 0, 6]); got model([[4, 0, 6, 0]], None)")
def all_read_again_for_each_id(model, prompt, n_ids, temperature, rng):
    drawn = []
    while len(drawn) < n_ids:
        probabilities, _ = model(np.array([prompt + drawn]), None)
        drawn.append(draw(probabilities[0, -1], temperature, rng))
    return drawn


@writing(idea=READS_BACK, got="expected the model to read [")
def all_read_again_with_the_state(model, prompt, n_ids, temperature, rng):
    drawn, state = [], None
    while len(drawn) < n_ids:
        probabilities, state = model(np.array([prompt + drawn]), state)
        drawn.append(draw(probabilities[0, -1], temperature, rng))
    return drawn


@writing(idea=NUMBER, got="expected 5 ids; got 8, [")
def the_prompt_in_front(model, prompt, n_ids, temperature, rng):
    if n_ids < 5:
        return written(model, prompt, n_ids, temperature, rng)
    return prompt + written(model, prompt, n_ids, temperature, rng)


@writing(idea=NUMBER, got="expected 5 ids; got 2, [")
def the_prompt_counted(model, prompt, n_ids, temperature, rng):
    n_ids = n_ids if n_ids < 5 else max(0, n_ids - len(prompt))
    return written(model, prompt, n_ids, temperature, rng)


@writing(idea=READS_BACK, got="expected the model to read [")
def the_likeliest_id_read_back(model, prompt, n_ids, temperature, rng):
    unread, state, drawn = prompt, None, []
    while len(drawn) < n_ids:
        probabilities, state = model(np.array([unread]), state)
        drawn.append(draw(probabilities[0, -1], temperature, rng))
        unread = [int(probabilities[0, -1].argmax())]
    return drawn


@writing(idea=READS_BACK, got="expected the model to read [")
def all_drawn_from_one_distribution(model, prompt, n_ids, temperature, rng):
    probabilities, _ = model(np.array([prompt]), None)
    return [draw(probabilities[0, -1], temperature, rng) for _ in range(n_ids)]


@writing(idea=AS_GIVEN, got="got [")
def the_likeliest_id(model, prompt, n_ids, temperature, rng):
    return written(model, prompt, n_ids, temperature, rng, draw=lambda p, t, r: int(p.argmax()))


@writing(idea=AS_GIVEN, got="got [")
def a_softmax_of_probabilities(model, prompt, n_ids, temperature, rng):
    def draw(p, temperature, rng):
        odds = np.exp(p / temperature)
        return int(rng.choice(len(p), p=odds / odds.sum()))

    return written(model, prompt, n_ids, temperature, rng, draw=draw)


@writing(idea=AS_GIVEN, got="got [")
def all_ids_alike(model, prompt, n_ids, temperature, rng):
    return written(
        model, prompt, n_ids, temperature, rng, draw=lambda p, t, r: int(r.integers(len(p)))
    )


@writing(idea=LAST_PLACE, got="got [")
def the_first_place(model, prompt, n_ids, temperature, rng):
    return written(model, prompt, n_ids, temperature, rng, place=0)


@writing(idea=SHARPER, got="got ValueError: ")
def powers_not_normalised(model, prompt, n_ids, temperature, rng):
    def draw(p, temperature, rng):
        return int(rng.choice(len(p), p=p ** (1 / temperature)))

    return written(model, prompt, n_ids, temperature, rng, draw=draw)


@writing(idea=SHARPER, got="got ValueError: ")
def probabilities_divided_by_the_temperature(model, prompt, n_ids, temperature, rng):
    def draw(p, temperature, rng):
        return int(rng.choice(len(p), p=p / temperature))

    return written(model, prompt, n_ids, temperature, rng, draw=draw)


@writing(idea=SHARPER, got="expected 1 at [5]; got 5 at [5]")
def the_temperature_forgotten(model, prompt, n_ids, temperature, rng):
    return written(model, prompt, n_ids, 1.0, rng)


@writing(idea=SHARPER, got="expected 1 at [3]; got 2 at [3]")
def the_temperature_upside_down(model, prompt, n_ids, temperature, rng):
    return written(model, prompt, n_ids, 1 / temperature, rng)


# --- a threshold --------------------------------------------------------------------------------

choosing = functools.partial(mutant, "lstm-threshold")

CANDIDATE = "the threshold is one of the validation probabilities"
AT = "a message at the threshold counts as spam"
BEST = "the threshold has the best F1"
LOWEST = "of equally good thresholds the lowest is taken"
NO_SAY = "the test data have no say in the threshold"
TEST_F1 = "f1 is that of the test data, 2 TP / (2 TP + FP + FN)"
NO_SPAM = "F1 is 0 where no spam is found"


def confusion(said, y):
    return tuple(int(x.sum()) for x in (said & (y == 1), said & (y == 0), ~said & (y == 1)))


def f1(said, y):
    tp, fp, fn = confusion(said, y)
    return 2 * tp / max(2 * tp + fp + fn, 1)


def f1_of_rates(said, y):
    tp, fp, fn = (np.float64(n) for n in confusion(said, y))
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    return 2 * precision * recall / (precision + recall)


def best(p, y, score=f1):
    thresholds = np.unique(p)
    return thresholds[np.argmax([score(p >= t, y) for t in thresholds])]


@choosing(idea=CANDIDATE, got="got 0.5")
def one_half(p_validation, y_validation, p_test, y_test):
    return 0.5, f1(p_test >= 0.5, y_test)


@choosing(idea=CANDIDATE, got="got 0.2")
def a_grid(p_validation, y_validation, p_test, y_test):
    grid = np.arange(0.05, 1, 0.05)
    threshold = grid[np.argmax([f1(p_validation >= t, y_validation) for t in grid])]
    return threshold, f1(p_test >= threshold, y_test)


@choosing(idea=CANDIDATE, got="got 1")
def f1_before_threshold(p_validation, y_validation, p_test, y_test):
    threshold = best(p_validation, y_validation)
    return f1(p_test >= threshold, y_test), threshold


@choosing(idea=CANDIDATE, got="expected a tuple (threshold, f1); got 1")
def f1_alone(p_validation, y_validation, p_test, y_test):
    return f1(p_test >= best(p_validation, y_validation), y_test)


@choosing(idea=CANDIDATE, got="got 2")
def the_place_for_the_threshold(p_validation, y_validation, p_test, y_test):
    threshold = best(p_validation, y_validation)
    return int(np.flatnonzero(p_validation == threshold)[0]), f1(p_test >= threshold, y_test)


@choosing(idea=AT, got="expected 0.678; got 0.234")
def above_the_threshold(p_validation, y_validation, p_test, y_test):
    thresholds = np.unique(p_validation)
    scores = [f1(p_validation > t, y_validation) for t in thresholds]
    threshold = thresholds[np.argmax(scores)]
    return threshold, f1(p_test > threshold, y_test)


@choosing(idea=BEST, got="expected 0.4; got 0.9")
def the_best_accuracy(p_validation, y_validation, p_test, y_test):
    threshold = best(p_validation, y_validation, lambda said, y: (said == y).mean())
    return threshold, f1(p_test >= threshold, y_test)


@choosing(idea=BEST, got="expected 0.4; got 0.9")
def the_best_precision(p_validation, y_validation, p_test, y_test):
    def precision(said, y):
        tp, fp, _ = confusion(said, y)
        return tp / (tp + fp) + 1e-9 * tp

    threshold = best(p_validation, y_validation, precision)
    return threshold, f1(p_test >= threshold, y_test)


@choosing(idea=BEST, got="expected 0.4; got 0.9")
def the_f1_of_good_messages(p_validation, y_validation, p_test, y_test):
    threshold = best(p_validation, y_validation, lambda said, y: f1(~said, 1 - y))
    return threshold, f1(p_test >= threshold, y_test)


@choosing(idea=LOWEST, got="expected 0.6; got 0.9")
def the_highest_of_the_best(p_validation, y_validation, p_test, y_test):
    thresholds = np.unique(p_validation)[::-1]
    scores = [f1(p_validation >= t, y_validation) for t in thresholds]
    threshold = thresholds[np.argmax(scores)]
    return threshold, f1(p_test >= threshold, y_test)


@choosing(idea=LOWEST, got="expected 0.6; got 0.9")
def the_best_precision_at_the_best_f1(p_validation, y_validation, p_test, y_test):
    def score(said, y):
        return f1(said, y) - 1e-6 * said.sum()

    threshold = best(p_validation, y_validation, score)
    return threshold, f1(p_test >= threshold, y_test)


@choosing(idea=NO_SAY, got="expected 0.678; got 0.9")
def chosen_on_the_test_data(p_validation, y_validation, p_test, y_test):
    threshold = best(p_test, y_test)
    return threshold, f1(p_test >= threshold, y_test)


@choosing(idea=NO_SAY, got="expected 0.678; got 0.891")
def chosen_on_all_data(p_validation, y_validation, p_test, y_test):
    p, y = np.append(p_validation, p_test), np.append(y_validation, y_test)
    threshold = best(p, y)
    return threshold, f1(p_test >= threshold, y_test)


@choosing(idea=NO_SAY, got="expected 0.678; got 0.891")
def validation_thresholds_tried_on_the_test_data(p_validation, y_validation, p_test, y_test):
    thresholds = np.unique(p_validation)
    threshold = thresholds[np.argmax([f1(p_test >= t, y_test) for t in thresholds])]
    return threshold, f1(p_test >= threshold, y_test)


@choosing(idea=TEST_F1, got="expected 0.5714; got 1")
def f1_of_the_validation_data(p_validation, y_validation, p_test, y_test):
    threshold = best(p_validation, y_validation)
    return threshold, f1(p_validation >= threshold, y_validation)


@choosing(idea=TEST_F1, got="expected 0.5714; got 1")
def f1_of_a_second_threshold(p_validation, y_validation, p_test, y_test):
    return best(p_validation, y_validation), f1(p_test >= best(p_test, y_test), y_test)


@choosing(idea=TEST_F1, got="expected 0.5714; got 0.5")
def accuracy_of_the_test_data(p_validation, y_validation, p_test, y_test):
    threshold = best(p_validation, y_validation)
    return threshold, ((p_test >= threshold) == y_test).mean()


@choosing(idea=TEST_F1, got="expected 0.5714; got 0.7")
def the_mean_of_precision_and_recall(p_validation, y_validation, p_test, y_test):
    threshold = best(p_validation, y_validation)
    tp, fp, fn = confusion(p_test >= threshold, y_test)
    return threshold, (tp / max(tp + fp, 1) + tp / max(tp + fn, 1)) / 2


@choosing(idea=NO_SPAM, got="expected 0; got nan (nan comes from")
def nothing_over_nothing(p_validation, y_validation, p_test, y_test):
    threshold = best(p_validation, y_validation, f1_of_rates)
    return threshold, f1_of_rates(p_test >= threshold, y_test)


@choosing(idea=NO_SPAM, got="expected 0.8; got 0.9")
def nan_is_the_largest(p_validation, y_validation, p_test, y_test):
    threshold = best(p_validation, y_validation, f1_of_rates)
    return threshold, f1(p_test >= threshold, y_test)


# --- calibration --------------------------------------------------------------------------------

calibrating = functools.partial(mutant, "lstm-calibration")

MEANS = "a bin compares its share of spam with its mean probability"
NO_CANCEL = "too high in one bin and too low in another do not cancel"
BY_NUMBER = "a bin counts by its number of messages"
WIDTHS = "bins divide 0 to 1 into equal widths"
EMPTY = "an empty bin adds nothing"
ENDS = "0 and 1 have bins too"


def gaps(probabilities, labels, bins, n_bins):
    """Return how many messages each bin has, and how far its two means lie apart."""
    seen = [bins == number for number in range(n_bins) if (bins == number).any()]
    return np.array([(s.sum(), probabilities[s].mean() - labels[s].mean()) for s in seen]).T


def bins_of(probabilities, n_bins):
    return np.minimum((probabilities * n_bins).astype(int), n_bins - 1)


@calibrating(idea=MEANS, got="expected 0.06667; got 0.1667")
def the_middle_of_the_bin(probabilities, labels, n_bins):
    bins = bins_of(probabilities, n_bins)
    n, gap = gaps((bins + 0.5) / n_bins, labels, bins, n_bins)
    return (n * abs(gap)).sum() / n.sum()


@calibrating(idea=MEANS, got="expected 0.06667; got 0.6667")
def each_message_by_itself(probabilities, labels, n_bins):
    return abs(probabilities - labels).mean()


@calibrating(idea=MEANS, got="expected 0.06667; got 0.5333")
def confidence_in_what_is_said(probabilities, labels, n_bins):
    right = (probabilities >= 0.5) == labels
    confidence = np.maximum(probabilities, 1 - probabilities)
    n, gap = gaps(confidence, right, bins_of(confidence, n_bins), n_bins)
    return (n * abs(gap)).sum() / n.sum()


@calibrating(idea=MEANS, got="expected 0.06667; got 0.004444")
def squares(probabilities, labels, n_bins):
    n, gap = gaps(probabilities, labels, bins_of(probabilities, n_bins), n_bins)
    return (n * gap**2).sum() / n.sum()


@calibrating(idea=MEANS, got="expected 0.06667; got [0.06667]")
def a_gap_for_each_bin(probabilities, labels, n_bins):
    n, gap = gaps(probabilities, labels, bins_of(probabilities, n_bins), n_bins)
    return n * abs(gap) / n.sum()


@calibrating(idea=MEANS, got="expected 0.06667; got -0.06667")
def a_sign_left_in_the_result(probabilities, labels, n_bins):
    n, gap = gaps(probabilities, labels, bins_of(probabilities, n_bins), n_bins)
    return -(n * gap).sum() / n.sum()


@calibrating(idea=NO_CANCEL, got="expected 0.25; got 0.05")
def gaps_that_cancel(probabilities, labels, n_bins):
    n, gap = gaps(probabilities, labels, bins_of(probabilities, n_bins), n_bins)
    return abs((n * gap).sum()) / n.sum()


@calibrating(idea=NO_CANCEL, got="expected 0.25; got 0.3")
def the_largest_gap(probabilities, labels, n_bins):
    _, gap = gaps(probabilities, labels, bins_of(probabilities, n_bins), n_bins)
    return abs(gap).max()


@calibrating(idea=MEANS, got="expected 0.06667; got 0.2")
def divided_by_the_bins(probabilities, labels, n_bins):
    n, gap = gaps(probabilities, labels, bins_of(probabilities, n_bins), n_bins)
    return (n * abs(gap)).sum() / n_bins


@calibrating(idea=BY_NUMBER, got="got 0.5167")
def every_bin_alike(probabilities, labels, n_bins):
    _, gap = gaps(probabilities, labels, bins_of(probabilities, n_bins), n_bins)
    return abs(gap).mean()


@calibrating(idea=BY_NUMBER, got="got 0.")
def as_many_messages_in_each_bin(probabilities, labels, n_bins):
    bins = np.argsort(np.argsort(probabilities)) * n_bins // len(labels)
    n, gap = gaps(probabilities, labels, bins, n_bins)
    return (n * abs(gap)).sum() / n.sum()


@calibrating(idea=WIDTHS, got="got 0.")
def widths_of_what_is_there(probabilities, labels, n_bins):
    low, high = probabilities.min(), probabilities.max()
    bins = bins_of((probabilities - low) / (high - low), n_bins)
    n, gap = gaps(probabilities, labels, bins, n_bins)
    return (n * abs(gap)).sum() / n.sum()


@calibrating(idea=EMPTY, got="got nan (nan comes from 0/0")
def the_mean_of_nothing(probabilities, labels, n_bins):
    bins = bins_of(probabilities, n_bins)
    total = 0.0
    for number in range(n_bins):
        seen = bins == number
        gap = abs(np.mean(probabilities[seen]) - np.mean(labels[seen]))
        total += seen.mean() * gap
    return total


@calibrating(idea=ENDS, got="expected ")
def a_bin_beyond_the_last(probabilities, labels, n_bins):
    n, gap = gaps(probabilities, labels, (probabilities * n_bins).astype(int), n_bins + 1)
    return (n * abs(gap)).sum() / n.sum()


@calibrating(idea=ENDS, got="expected ")
def one_falls_out(probabilities, labels, n_bins):
    n, gap = gaps(probabilities, labels, (probabilities * n_bins).astype(int), n_bins)
    return (n * abs(gap)).sum() / len(labels)


@calibrating(idea=ENDS, got="expected ")
def zero_falls_out(probabilities, labels, n_bins):
    bins = np.ceil(probabilities * n_bins).astype(int) - 1
    n, gap = gaps(probabilities, labels, bins, n_bins)
    return (n * abs(gap)).sum() / len(labels)


# --- a cell by hand -----------------------------------------------------------------------------

quoting = functools.partial(mutant, "lstm-quote-cell")

SHAPES = "the weights have the shapes of an LSTM with one input"
OUTSIDE = "the cell starts outside"
TURNS_ON = "a quotation mark turns it on"
STAYS_ON = "it stays on through a long quotation"
TURNS_OFF = "the next mark turns it off"
STAYS_OFF = "it stays off after the quotation"
ON_AGAIN = "the mark after that turns it on again"
NEIGHBOURS = "marks may stand side by side"


def one_unit(*, i=(40, 0), f=(-40, 0), candidate=(0, -40), o=(0, 0), bias=(-20, 20, 15, 20)):
    """Return weights; each gate is given its weight for the input and that for h."""
    kernel, recurrent_kernel = np.array([i, f, candidate, o], dtype=float).T
    return kernel[None], recurrent_kernel[None], np.array(bias, dtype=float)


@quoting(idea=SHAPES, got="got (4,), (4,), (4,)")
def rows_left_out():
    return tuple(array.ravel() for array in one_unit())


@quoting(idea=SHAPES, got="got (4, 1), (4, 1), (4,)")
def the_layout_of_torch():
    kernel, recurrent_kernel, bias = one_unit()
    return kernel.T, recurrent_kernel.T, bias


@quoting(idea=SHAPES, got="expected a tuple (kernel, recurrent_kernel, bias); got ")
def two_biases():
    return (*one_unit(), np.zeros(4))


@quoting(idea=SHAPES, got="expected a tuple (kernel, recurrent_kernel, bias); got ")
def ragged_rows():
    return [[1.0, 2], [3]], [[0.0] * 4], [0.0] * 4


@quoting(idea=OUTSIDE, got="got 0.7")
def written_to_all_the_time():
    return one_unit(i=(0, 0), bias=(20, 20, 15, 20))


@quoting(idea=TURNS_ON, got="got 0")
def all_zeros():
    return one_unit(i=(0, 0), f=(0, 0), candidate=(0, 0), bias=(0, 0, 0, 0))


@quoting(idea=TURNS_ON, got="got 0")
def nothing_to_say_against_zero():
    return one_unit(bias=(-20, 20, 0, 20))


@quoting(idea=TURNS_ON, got="got -0.")
def the_candidate_has_the_sign_of_h():
    return one_unit(candidate=(0, 40), bias=(-20, 20, -15, 20))


@quoting(idea=STAYS_ON, got="got ")
def the_output_gate_before_the_candidate():
    return one_unit(candidate=(0, 0), o=(0, -40), bias=(-20, 20, 20, 15))


@quoting(idea=STAYS_ON, got="got ")
def the_forget_bias_of_keras():
    return one_unit(f=(-20, 0), bias=(-20, 1, 15, 20))


@quoting(idea=STAYS_ON, got="got ")
def a_forget_bias_of_five():
    return one_unit(f=(-40, 0), bias=(-20, 5, 15, 20))


@quoting(idea=STAYS_ON, got="got ")
def only_at_the_mark():
    return one_unit(f=(0, 0), candidate=(0, 0), bias=(-20, -20, 20, 20))


@quoting(idea=STAYS_ON, got="got ")
def an_input_gate_that_leaks():
    return one_unit(i=(20, 0), bias=(-5, 20, 15, 20))


@quoting(idea=TURNS_OFF, got="got 0.")
def on_for_good():
    return one_unit(candidate=(0, 0))


@quoting(idea=TURNS_OFF, got="got 0.")
def marks_are_counted():
    return one_unit(f=(0, 0), candidate=(0, 0))


@quoting(idea=TURNS_OFF, got="got 0.")
def what_was_there_stays():
    return one_unit(f=(0, 0), candidate=(0, -40), bias=(-20, 20, 38, 20))


@quoting(idea=ON_AGAIN, got="got ")
def only_one_quotation():
    """The second unit counts marks; the first is on after one of them."""
    kernel, recurrent_kernel, bias = np.zeros((1, 8)), np.zeros((2, 8)), np.zeros(8)
    kernel[0, 1] = 40  # unit 1 adds tanh(0.5) at each mark
    bias[[1, 3, 5, 7]] = -20, 20, 0.5, 20
    kernel[0, [0, 2]] = 40, -40  # unit 0 takes a new value at each mark
    bias[[0, 2, 4, 6]] = -20, 20, 10, 20
    recurrent_kernel[1, 4] = -60
    return kernel, recurrent_kernel, bias
