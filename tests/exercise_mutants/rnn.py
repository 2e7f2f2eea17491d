"""Wrong answers to the exercises of chapter 2."""

from __future__ import annotations

import functools

import numpy as np

from lmcourse.rnn import GRU, RNN, RecurrentModel
from tests.exercise_mutants import mutant

# --- clipping ---------------------------------------------------------------------------------

clip = functools.partial(mutant, "rnn-clip-gradients")


def global_norm(gradients):
    return np.sqrt(sum(np.sum(g**2) for g in gradients.values()))


@clip(idea="a gradient that is too long is shortened to max_norm", got="got {'W_h': [[1, 0], [1")
def clips_each_number(gradients, max_norm):
    return {name: np.clip(g, -max_norm, max_norm) for name, g in gradients.items()}


@clip(idea="a gradient that is too long is shortened to max_norm", got="got {'W_h': [[0.12, 0]")
def forgets_the_root(gradients, max_norm):
    factor = max_norm / sum(np.sum(g**2) for g in gradients.values())
    return {name: g * min(1, factor) for name, g in gradients.items()}


@clip(idea="a gradient that is too long is shortened to max_norm", got="got {'W_h': [[3, 0], [4")
def takes_the_larger_factor(gradients, max_norm):
    factor = max(1, max_norm / global_norm(gradients))
    return {name: g * factor for name, g in gradients.items()}


@clip(idea="a gradient that is too long is shortened to max_norm", got="got {'W_h': [[15, 0]")
def divides_the_wrong_way_round(gradients, max_norm):
    norm = global_norm(gradients)
    return {name: g * norm / max_norm if norm > max_norm else g for name, g in gradients.items()}


@clip(idea="a gradient that is too long is shortened to max_norm", got="got {'W_h': [[0.4286, 0]")
def adds_up_the_numbers(gradients, max_norm):
    factor = min(1, max_norm / sum(np.abs(g).sum() for g in gradients.values()))
    return {name: g * factor for name, g in gradients.items()}


@clip(idea="a gradient that is too long is shortened to max_norm", got="got a list [array([")
def returns_a_list(gradients, max_norm):
    factor = min(1, max_norm / global_norm(gradients))
    return [g * factor for g in gradients.values()]


@clip(idea="a gradient that is short enough stays as it is", got="got {'W_h': [[0.6, 0], [0.8")
def lengthens_short_gradients(gradients, max_norm):
    factor = max_norm / global_norm(gradients)
    return {name: g * factor for name, g in gradients.items()}


@clip(idea="all arrays together have one norm", got="got {'W_h': [[1, 0], [0, 0]], 'b': [0, 1]}")
def norm_of_each_array(gradients, max_norm):
    return {
        name: g * min(1, max_norm / max(np.linalg.norm(g), 1e-12)) for name, g in gradients.items()
    }


@clip(idea="all arrays together have one norm", got="got {'W_h': [[0.4286, 0], [0, 0]]")
def adds_up_the_norms(gradients, max_norm):
    factor = max_norm / max(sum(np.linalg.norm(g) for g in gradients.values()), 1e-12)
    return {name: g * min(1, factor) for name, g in gradients.items()}


@clip(idea="all arrays together have one norm", got="got {'W_h': [[0.75, 0], [0, 0]], 'b': [0, 1]}")
def largest_norm_of_an_array(gradients, max_norm):
    factor = max_norm / max(1e-12, *(np.linalg.norm(g) for g in gradients.values()))
    return {name: g * min(1, factor) for name, g in gradients.items()}


@clip(idea="an array that is short by itself is scaled too", got="'b': [6, 0]}")
def scales_only_long_arrays(gradients, max_norm):
    factor = min(1, max_norm / max(global_norm(gradients), 1e-12))
    return {
        name: g * factor if np.linalg.norm(g) > max_norm else g for name, g in gradients.items()
    }


@clip(idea="a gradient of zeros stays zero", got="got ZeroDivisionError: float division")
def divides_by_zero(gradients, max_norm):
    factor = max_norm / float(global_norm(gradients))
    return {name: g * min(1, factor) for name, g in gradients.items()}


@clip(
    idea="the arguments stay as they are",
    got="expected gradients unchanged; got a change in place",
)
def scales_in_place(gradients, max_norm):
    factor = min(1, max_norm / global_norm(gradients))
    for g in gradients.values():
        g *= factor
    return gradients


@clip(
    idea="the arguments stay as they are",
    got="expected gradients unchanged; got a change in place",
)
def fills_the_same_dict(gradients, max_norm):
    factor = min(1, max_norm / global_norm(gradients))
    for name in gradients:
        gradients[name] = gradients[name] * factor
    return gradients


# --- one step of BPTT -------------------------------------------------------------------------

step_back = functools.partial(mutant, "rnn-bptt-step")


def weights_and_state(d_a, h_previous, x, W_h):
    return x.T @ d_a, h_previous.T @ d_a, d_a.sum(axis=0), d_a @ W_h.T


@step_back(idea="d_h goes through the tanh, then through W_h", got="got [[4]]")
def no_tanh(d_h, h, h_previous, x, W_h):
    return weights_and_state(d_h, h_previous, x, W_h)


@step_back(idea="d_h goes through the tanh, then through W_h", got="got [[1.44]]")
def tanh_of_the_state_before(d_h, h, h_previous, x, W_h):
    return weights_and_state(d_h * (1 - h_previous**2), h_previous, x, W_h)


@step_back(idea="d_h goes through the tanh, then through W_h", got="got [[3.146]]")
def tanh_twice(d_h, h, h_previous, x, W_h):
    return weights_and_state(d_h * (1 - np.tanh(h) ** 2), h_previous, x, W_h)


@step_back(idea="d_h goes through the tanh, then through W_h", got="got [[1]]")
def derivative_of_a_sigmoid(d_h, h, h_previous, x, W_h):
    return weights_and_state(d_h * h * (1 - h), h_previous, x, W_h)


@step_back(idea="d_h goes through the tanh, then through W_h", got="got [[1.5]]")
def stops_before_W_h(d_h, h, h_previous, x, W_h):
    d_a = d_h * (1 - h**2)
    return (*weights_and_state(d_a, h_previous, x, W_h)[:3], d_a)


@step_back(idea="d_h goes through the tanh, then through W_h", got="got a tuple (array(")
def three_gradients(d_h, h, h_previous, x, W_h):
    return weights_and_state(d_h * (1 - h**2), h_previous, x, W_h)[1:]


@step_back(idea="on the way back W_h is transposed", got="got [[-2.25, -2.5]]")
def forgets_to_transpose(d_h, h, h_previous, x, W_h):
    d_a = d_h * (1 - h**2)
    return (*weights_and_state(d_a, h_previous, x, W_h)[:3], d_a @ W_h)


@step_back(idea="on the way back W_h is transposed", got="got [[-0.75, -1]]")
def tanh_after_W_h(d_h, h, h_previous, x, W_h):
    d_a = d_h * (1 - h**2)
    before = d_h @ W_h.T * (1 - h**2)
    return (*weights_and_state(d_a, h_previous, x, W_h)[:3], before)


@step_back(idea="d_W_x has a row for each input, a column for each unit", got="got [[0.75, 1.5]")
def outer_products_transposed(d_h, h, h_previous, x, W_h):
    d_a = d_h * (1 - h**2)
    return d_a.T @ x, d_a.T @ h_previous, d_a.sum(axis=0), d_a @ W_h.T


@step_back(idea="W_h was multiplied by the state before", got="got [[0.75, -1], [1.5, -2]]")
def x_for_both_weights(d_h, h, h_previous, x, W_h):
    return weights_and_state(d_h * (1 - h**2), x, x, W_h)


@step_back(idea="W_h was multiplied by the state before", got="got [[0.375, -0.5], [0, 0]]")
def the_state_after(d_h, h, h_previous, x, W_h):
    return weights_and_state(d_h * (1 - h**2), h, x, W_h)


@step_back(idea="d_b adds up the rows of the batch", got="got an array of shape (")
def bias_not_summed(d_h, h, h_previous, x, W_h):
    d_a = d_h * (1 - h**2)
    d_W_x, d_W_h, _, before = weights_and_state(d_a, h_previous, x, W_h)
    return d_W_x, d_W_h, d_a, before


@step_back(idea="d_b adds up the rows of the batch", got="got [")
def means_over_the_batch(d_h, h, h_previous, x, W_h):
    *weights, before = weights_and_state(d_h * (1 - h**2), h_previous, x, W_h)
    return *(g / len(x) for g in weights), before


@step_back(idea="d_b adds up the rows of the batch", got="got ")
def bias_summed_over_the_units(d_h, h, h_previous, x, W_h):
    d_a = d_h * (1 - h**2)
    d_W_x, d_W_h, d_b, before = weights_and_state(d_a, h_previous, x, W_h)
    return d_W_x, d_W_h, d_a.sum(axis=1) if len(x) > 1 else d_b, before


@step_back(idea="the weights' gradients add up the rows of the batch", got="got ")
def first_row_alone(d_h, h, h_previous, x, W_h):
    d_a = d_h * (1 - h**2)
    _, _, d_b, before = weights_and_state(d_a, h_previous, x, W_h)
    return np.outer(x[0], d_a[0]), np.outer(h_previous[0], d_a[0]), d_b, before


@step_back(idea="each row has its own d_h_previous", got="got ")
def state_summed_over_the_batch(d_h, h, h_previous, x, W_h):
    *weights, before = weights_and_state(d_h * (1 - h**2), h_previous, x, W_h)
    return *weights, np.broadcast_to(before.sum(axis=0), before.shape)


# --- truncated BPTT ---------------------------------------------------------------------------

truncated = functools.partial(mutant, "rnn-truncated-bptt")

BORDERS = "each token has the next one for its target, over borders too"


def pieces(ids, k):
    """Yield inputs and targets."""
    for start in range(0, len(ids) - 1, k):
        yield ids[start : start + k][: len(ids) - 1 - start], ids[start + 1 : start + k + 1]


def averaged(results, weights):
    """Average losses and gradients."""
    weights = np.array(weights) / sum(weights)
    return [sum(w * r[place] for w, r in zip(weights, results, strict=True)) for place in (0, 1)]


@truncated(idea=BORDERS, got="expected the inputs of all pieces to be [")
def loses_the_pairs_at_the_borders(step, ids, k, state):
    results, weights = [], []
    for start in range(0, len(ids) - 1, k):
        piece = ids[start : start + k]
        results.append(step(piece[:-1], piece[1:], state))
        weights.append(len(piece) - 1)
        state = results[-1][2]
    return *averaged(results, weights), state


@truncated(idea=BORDERS, got="expected the targets of all pieces to be [")
def inputs_as_targets(step, ids, k, state):
    results = []
    for inputs, _ in pieces(ids, k):
        results.append(step(inputs, inputs, state))
        state = results[-1][2]
    return *averaged(results, [len(i) for i, _ in pieces(ids, k)]), state


@truncated(idea=BORDERS, got="expected the targets of all pieces to be [")
def targets_wrap_around_in_their_piece(step, ids, k, state):
    results = []
    for inputs, _ in pieces(ids, k):
        results.append(step(inputs, np.roll(inputs, -1), state))
        state = results[-1][2]
    return *averaged(results, [len(i) for i, _ in pieces(ids, k)]), state


@truncated(idea=BORDERS, got="expected the inputs of all pieces to be [")
def a_window_at_every_token(step, ids, k, state):
    results = []
    for start in range(len(ids) - k):
        results.append(step(ids[start : start + k], ids[start + 1 : start + k + 1], state))
        state = results[-1][2]
    return *averaged(results, [1] * len(results)), state


@truncated(idea="pieces have k tokens", got="got pieces of [8]")
def lets_the_gradient_flow_through_the_whole_text(step, ids, k, state):
    return step(ids[:-1], ids[1:], state)


@truncated(idea="pieces have k tokens", got="got pieces of [2, 2, 2, 2]")
def k_pieces(step, ids, k, state):
    results, parts = [], np.array_split(np.arange(len(ids) - 1), k)
    for part in parts:
        results.append(step(ids[part], ids[part + 1], state))
        state = results[-1][2]
    return *averaged(results, [len(part) for part in parts]), state


@truncated(idea="the first piece starts in the given state", got="got [0, 0]")
def drops_the_state(step, ids, k, state):
    results = [step(i, t, np.zeros_like(state)) for i, t in pieces(ids, k)]
    return *averaged(results, [len(i) for i, _ in pieces(ids, k)]), results[-1][2]


@truncated(idea="the first piece starts in the given state", got="got None")
def no_state(step, ids, k, state):
    results = [step(i, t, None) for i, t in pieces(ids, k)]
    return *averaged(results, [len(i) for i, _ in pieces(ids, k)]), results[-1][2]


@truncated(idea="the state is handed on from piece to piece", got="expected piece 2 to start in")
def starts_every_piece_in_the_first_state(step, ids, k, state):
    results = [step(i, t, state) for i, t in pieces(ids, k)]
    return *averaged(results, [len(i) for i, _ in pieces(ids, k)]), results[-1][2]


@truncated(idea="the state is handed on from piece to piece", got="expected piece 2 to start in")
def state_of_the_wrong_piece(step, ids, k, state):
    results, states = [], [state, state]
    for inputs, targets in pieces(ids, k):
        results.append(step(inputs, targets, states[-2]))
        states.append(results[-1][2])
    return *averaged(results, [len(i) for i, _ in pieces(ids, k)]), states[-1]


@truncated(idea="the last piece may be shorter", got="got pieces of [4, 4]")
def forgets_the_short_piece(step, ids, k, state):
    results = []
    for inputs, targets in pieces(ids, k):
        if len(inputs) == k:
            results.append(step(inputs, targets, state))
            state = results[-1][2]
    return *averaged(results, [k] * len(results)), state


@truncated(idea="the last piece may be shorter", got="got pieces of [4, 3, 3]")
def pieces_of_nearly_equal_length(step, ids, k, state):
    results, parts = [], np.array_split(np.arange(len(ids) - 1), -(-(len(ids) - 1) // k))
    for part in parts:
        results.append(step(ids[part], ids[part + 1], state))
        state = results[-1][2]
    return *averaged(results, [len(part) for part in parts]), state


@truncated(idea="gradients of pieces are averaged", got="got ")
def adds_the_gradients_up(step, ids, k, state):
    loss, gradient = 0, 0
    for inputs, targets in pieces(ids, k):
        piece_loss, piece_gradient, state = step(inputs, targets, state)
        loss, gradient = loss + piece_loss, gradient + piece_gradient
    return loss, gradient, state


@truncated(idea="gradients of pieces are averaged", got="got ")
def gradient_of_the_last_piece(step, ids, k, state):
    for inputs, targets in pieces(ids, k):
        loss, gradient, state = step(inputs, targets, state)
    return loss, gradient, state


@truncated(idea="a shorter piece counts for less", got="got ")
def all_pieces_count_the_same(step, ids, k, state):
    results = []
    for inputs, targets in pieces(ids, k):
        results.append(step(inputs, targets, state))
        state = results[-1][2]
    return *averaged(results, [1] * len(results)), state


@truncated(idea="a shorter piece counts for less", got="got ")
def weights_every_piece_by_k(step, ids, k, state):
    loss, gradient = 0, 0
    for inputs, targets in pieces(ids, k):
        piece_loss, piece_gradient, state = step(inputs, targets, state)
        loss, gradient = loss + k * piece_loss, gradient + k * piece_gradient
    return loss / (len(ids) - 1), gradient / (len(ids) - 1), state


@truncated(idea="the loss is averaged like the gradient", got="got ")
def loss_of_the_last_piece(step, ids, k, state):
    results = []
    for inputs, targets in pieces(ids, k):
        results.append(step(inputs, targets, state))
        state = results[-1][2]
    _, gradient = averaged(results, [len(i) for i, _ in pieces(ids, k)])
    return results[-1][0], gradient, state


@truncated(idea="the state after the last piece comes back", got="got [")
def returns_the_first_state(step, ids, k, state):
    results, given = [], state
    for inputs, targets in pieces(ids, k):
        results.append(step(inputs, targets, state))
        state = results[-1][2]
    return *averaged(results, [len(i) for i, _ in pieces(ids, k)]), given


@truncated(
    idea="the arguments stay as they are",
    got="expected state unchanged; got a change in place",
)
def overwrites_the_state(step, ids, k, state):
    results = []
    for inputs, targets in pieces(ids, k):
        results.append(step(inputs, targets, state))
        state[:] = results[-1][2]
    return *averaged(results, [len(i) for i, _ in pieces(ids, k)]), state


# --- the spectral radius ----------------------------------------------------------------------

radius_of = functools.partial(mutant, "rnn-spectral-radius")


def norms_of_powers(W, n_steps):
    return np.array([np.linalg.norm(np.linalg.matrix_power(W, k + 1), 2) for k in range(n_steps)])


def scaled(W_h, radius):
    return W_h * radius / np.abs(np.linalg.eigvals(W_h)).max()


@radius_of(idea="one unit multiplies by the radius at each step", got="got [0.5, 0.25, 0.125]")
def does_not_scale(W_h, radius, n_steps):
    return norms_of_powers(W_h, n_steps)


@radius_of(idea="one unit multiplies by the radius at each step", got="got [1, 1, 1]")
def multiplies_by_the_radius_only(W_h, radius, n_steps):
    return norms_of_powers(W_h * radius, n_steps)


@radius_of(idea="one unit multiplies by the radius at each step", got="got [1, 2, 4]")
def starts_with_no_step(W_h, radius, n_steps):
    W = scaled(W_h, radius)
    return [np.linalg.norm(np.linalg.matrix_power(W, k), 2) for k in range(n_steps)]


@radius_of(idea="one unit multiplies by the radius at each step", got="got 8")
def last_norm_only(W_h, radius, n_steps):
    return norms_of_powers(scaled(W_h, radius), n_steps)[-1]


@radius_of(idea="the norm is the largest stretch of any vector", got="got [0.7071, 0.3536]")
def root_of_the_sum_of_squares(W_h, radius, n_steps):
    W = scaled(W_h, radius)
    return [np.linalg.norm(np.linalg.matrix_power(W, k + 1)) for k in range(n_steps)]


@radius_of(idea="the norm is the largest stretch of any vector", got="got [0.25, 0.0625]")
def determinant(W_h, radius, n_steps):
    W = scaled(W_h, radius)
    return [abs(np.linalg.det(W)) ** (k + 1) for k in range(n_steps)]


@radius_of(idea="a negative eigenvalue counts by its size", got="got [4, 16]")
def largest_real_part(W_h, radius, n_steps):
    return norms_of_powers(W_h * radius / np.linalg.eigvals(W_h).real.max(), n_steps)


@radius_of(idea="a complex eigenvalue counts by its absolute value", got="got [0.8333, 0.6944]")
def absolute_real_part(W_h, radius, n_steps):
    largest = np.abs(np.linalg.eigvals(W_h).real).max()
    return norms_of_powers(W_h * radius / largest, n_steps)


@radius_of(idea="a complex eigenvalue counts by its absolute value", got="got [")
def takes_the_matrix_for_symmetric(W_h, radius, n_steps):
    largest = np.abs(np.linalg.eigvalsh(W_h)).max()
    return norms_of_powers(W_h * radius / largest, n_steps)


@radius_of(idea="eigenvalues decide, not singular values", got="got [0.5]")
def largest_singular_value(W_h, radius, n_steps):
    return norms_of_powers(W_h * radius / np.linalg.norm(W_h, 2), n_steps)


@radius_of(idea="eigenvalues decide, not singular values", got="got [0.5]")
def powers_of_the_radius(W_h, radius, n_steps):
    return radius ** np.arange(1, n_steps + 1)


@radius_of(idea="the steps are matrix products", got="got [2.118, 4.")
def powers_of_the_numbers(W_h, radius, n_steps):
    W = scaled(W_h, radius)
    return [np.linalg.norm(W ** (k + 1), 2) for k in range(n_steps)]


@radius_of(idea="the steps are matrix products", got="got [2.118, 4.486")
def powers_of_the_norm(W_h, radius, n_steps):
    return np.linalg.norm(scaled(W_h, radius), 2) ** np.arange(1, n_steps + 1)


@radius_of(
    idea="the arguments stay as they are",
    got="expected W_h unchanged; got a change in place",
)
def scales_W_h_in_place(W_h, radius, n_steps):
    W_h *= radius / np.abs(np.linalg.eigvals(W_h)).max()
    return norms_of_powers(W_h, n_steps)


# --- the update gate --------------------------------------------------------------------------

gated = functools.partial(mutant, "rnn-update-gate")


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def blocks(x, h, W, U, b):
    """Return the three blocks of x W + b and of h U."""
    return np.split(x @ W + b, 3, axis=1), np.split(h @ U, 3, axis=1)


@gated(idea="gates are sigmoids, half open at 0", got="got [[0]]")
def tanh_for_gates(x, h, W, U, b, c):
    (xr, xz, xn), (hr, hz, hn) = blocks(x, h, W, U, b)
    r, z = np.tanh(xr + hr), np.tanh(xz + hz)
    return (1 - z) * np.tanh(xn + r * (hn + c)) + z * h


@gated(idea="gates are sigmoids, half open at 0", got="got [[0.65]]")
def sigmoid_for_the_candidate(x, h, W, U, b, c):
    (xr, xz, xn), (hr, hz, hn) = blocks(x, h, W, U, b)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    return (1 - z) * sigmoid(xn + r * (hn + c)) + z * h


@gated(idea="gates are sigmoids, half open at 0", got="got [[0]]")
def returns_the_candidate(x, h, W, U, b, c):
    (xr, _, xn), (hr, _, hn) = blocks(x, h, W, U, b)
    r = sigmoid(xr + hr)
    return np.tanh(xn + r * (hn + c))


@gated(idea="gates are sigmoids, half open at 0", got="got [[0.8]]")
def adds_the_candidate_to_the_state(x, h, W, U, b, c):
    (xr, xz, xn), (hr, hz, hn) = blocks(x, h, W, U, b)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    return h + (1 - z) * np.tanh(xn + r * (hn + c))


@gated(idea="an update gate near 1 keeps the state", got="got [[0.4621]]")
def swapped_update_gate(x, h, W, U, b, c):
    (xr, xz, xn), (hr, hz, hn) = blocks(x, h, W, U, b)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    return z * np.tanh(xn + r * (hn + c)) + (1 - z) * h


@gated(idea="an update gate near 1 keeps the state", got="got [[0.4]]")
def forgets_b(x, h, W, U, b, c):
    (xr, xz, xn), (hr, hz, hn) = blocks(x, h, W, U, 0 * b)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    return (1 - z) * np.tanh(xn + r * (hn + c)) + z * h


@gated(idea="the blocks stand in the order r, z, n", got="got [[0.4621]]")
def update_gate_first(x, h, W, U, b, c):
    (xz, xr, xn), (hz, hr, hn) = blocks(x, h, W, U, b)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    return (1 - z) * np.tanh(xn + r * (hn + c)) + z * h


@gated(idea="gates are sigmoids, half open at 0", got="got [[0.2]]")
def reset_gate_on_the_kept_state_too(x, h, W, U, b, c):
    (xr, xz, xn), (hr, hz, hn) = blocks(x, h, W, U, b)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    return (1 - z) * np.tanh(xn + r * (hn + c)) + z * (r * h)


@gated(idea="c is inside the reset gate, b outside", got="got [[0.2913]]")
def forgets_c(x, h, W, U, b, c):
    (xr, xz, xn), (hr, hz, hn) = blocks(x, h, W, U, b)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    return (1 - z) * np.tanh(xn + r * hn) + z * h


@gated(idea="c is inside the reset gate, b outside", got="got [[0.664]]")
def both_biases_outside(x, h, W, U, b, c):
    (xr, xz, xn), (hr, hz, hn) = blocks(x, h, W, U, b)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    return (1 - z) * np.tanh(xn + c + r * hn) + z * h


@gated(idea="c is inside the reset gate, b outside", got="got [[0.3799]]")
def both_biases_inside(x, h, W, U, b, c):
    (xr, xz, xn), (hr, hz, hn) = blocks(x, h, W, U, b)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    return (1 - z) * np.tanh(r * (xn + hn + c)) + z * h


@gated(idea="the reset gate multiplies after the product with U", got="got [[-0.3799, 0.664]]")
def reset_gate_before_the_product(x, h, W, U, b, c):
    (xr, xz, xn), (hr, hz, _) = blocks(x, h, W, U, b)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    U_n = np.split(U, 3, axis=1)[2]
    return (1 - z) * np.tanh(xn + (r * h) @ U_n + r * c) + z * h


@gated(idea="the reset gate multiplies after the product with U", got="got [[-0.664, 0.664]]")
def no_reset_gate(x, h, W, U, b, c):
    (_, xz, xn), (_, hz, hn) = blocks(x, h, W, U, b)
    z = sigmoid(xz + hz)
    return (1 - z) * np.tanh(xn + hn + (c if len(c) > 1 else c / 2)) + z * h


@gated(idea="gates and candidate see both x and h", got="got [[")
def gates_see_x_alone(x, h, W, U, b, c):
    (xr, xz, xn), (_, _, hn) = blocks(x, h, W, U, b)
    r, z = sigmoid(xr), sigmoid(xz)
    return (1 - z) * np.tanh(xn + r * (hn + c)) + z * h


@gated(idea="each row of the batch has gates of its own", got="at [1, 0]")
def gates_of_the_first_row(x, h, W, U, b, c):
    (xr, xz, xn), (hr, hz, hn) = blocks(x, h, W, U, b)
    r, z = sigmoid(xr + hr)[:1], sigmoid(xz + hz)[:1]
    return (1 - z) * np.tanh(xn + r * (hn + c)) + z * h


@gated(
    idea="the arguments stay as they are",
    got="expected h unchanged; got a change in place",
)
def updates_the_state_in_place(x, h, W, U, b, c):
    (xr, xz, xn), (hr, hz, hn) = blocks(x, h, W, U, b)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    h *= z
    h += (1 - z) * np.tanh(xn + r * (hn + c))
    return h


# --- sampling with state ----------------------------------------------------------------------

writing = functools.partial(mutant, "rnn-sample-with-state")


def draw(logits, temperature, rng):
    p = np.exp((logits - logits.max()) / temperature)
    return int(np.searchsorted(np.cumsum(p / p.sum()), rng.random(), side="right"))


def read(step, prompt):
    state = None
    for token in prompt:
        logits, state = step(token, state)
    return logits, state


@writing(idea="the whole prompt is read first", got="got calls with [")
def reads_the_last_token_of_the_prompt(step, prompt, n_tokens, temperature, rng):
    return right_from(*step(prompt[-1], None), step, n_tokens, temperature, rng)


def right_from(logits, state, step, n_tokens, temperature, rng):
    drawn = []
    for _ in range(n_tokens):
        drawn.append(draw(logits, temperature, rng))
        logits, state = step(drawn[-1], state)
    return drawn


@writing(idea="the whole prompt is read first", got="got calls with [")
def stops_before_the_last_token_of_the_prompt(step, prompt, n_tokens, temperature, rng):
    if len(prompt) == 1:
        return right_from(*read(step, prompt), step, n_tokens, temperature, rng)
    return right_from(*read(step, prompt[:-1]), step, n_tokens, temperature, rng)


@writing(idea="the whole prompt is read first", got="got a list ['")
def returns_text(step, prompt, n_tokens, temperature, rng):
    drawn = right_from(*read(step, prompt), step, n_tokens, temperature, rng)
    return [chr(97 + token) for token in drawn]


@writing(idea="every step gets the state of the one before", got="expected step(")
def forgets_the_state_in_the_prompt(step, prompt, n_tokens, temperature, rng):
    for token in prompt:
        logits, state = step(token, None)
    return right_from(logits, state, step, n_tokens, temperature, rng)


@writing(idea="every step gets the state of the one before", got=", None)")
def forgets_the_state_while_writing(step, prompt, n_tokens, temperature, rng):
    logits, _ = read(step, prompt)
    drawn = []
    for _ in range(n_tokens):
        drawn.append(draw(logits, temperature, rng))
        logits, _ = step(drawn[-1], None)
    return drawn


@writing(idea="every step gets the state of the one before", got="got step(")
def keeps_the_state_of_the_prompt(step, prompt, n_tokens, temperature, rng):
    logits, state = read(step, prompt)
    drawn = []
    for _ in range(n_tokens):
        drawn.append(draw(logits, temperature, rng))
        logits, _ = step(drawn[-1], state)
    return drawn


@writing(idea="every step gets the state of the one before", got=", None)")
def reads_everything_again_for_each_token(step, prompt, n_tokens, temperature, rng):
    drawn = []
    for _ in range(n_tokens):
        logits, _ = read(step, prompt + drawn)
        drawn.append(draw(logits, temperature, rng))
    return drawn


@writing(idea="n_tokens new tokens come back, without the prompt", got="got 8, [")
def returns_the_prompt_too(step, prompt, n_tokens, temperature, rng):
    return prompt + right_from(*read(step, prompt), step, n_tokens, temperature, rng)


@writing(idea="n_tokens new tokens come back, without the prompt", got="got 4, [")
def one_too_few(step, prompt, n_tokens, temperature, rng):
    return right_from(*read(step, prompt), step, max(n_tokens - 1, 1), temperature, rng)


@writing(idea="n_tokens new tokens come back, without the prompt", got="got 6, [")
def one_too_many(step, prompt, n_tokens, temperature, rng):
    return right_from(*read(step, prompt), step, n_tokens + 1, temperature, rng)


@writing(idea="each token drawn is read next, once", got="got calls with [")
def reads_the_end_of_the_prompt_twice(step, prompt, n_tokens, temperature, rng):
    _, state = read(step, prompt)
    token, drawn = prompt[-1], []
    for _ in range(n_tokens):
        logits, state = step(token, state)
        token = draw(logits, temperature, rng)
        drawn.append(token)
    return drawn


@writing(idea="each token drawn is read next, once", got="got calls with [")
def feeds_the_end_of_the_prompt_for_ever(step, prompt, n_tokens, temperature, rng):
    logits, state = read(step, prompt)
    drawn = []
    for _ in range(n_tokens):
        drawn.append(draw(logits, temperature, rng))
        logits, state = step(prompt[-1], state)
    return drawn


@writing(idea="each token drawn is read next, once", got="got calls with []")
def draws_all_from_the_same_logits(step, prompt, n_tokens, temperature, rng):
    logits, _ = read(step, prompt)
    return [draw(logits, temperature, rng) for _ in range(n_tokens)]


@writing(idea="each token drawn is read next, once", got="got calls with [")
def feeds_the_likeliest_token(step, prompt, n_tokens, temperature, rng):
    logits, state = read(step, prompt)
    drawn = []
    for _ in range(n_tokens):
        drawn.append(draw(logits, temperature, rng))
        logits, state = step(int(np.argmax(logits)), state)
    return drawn


@writing(
    idea="the arguments stay as they are",
    got="expected prompt unchanged; got a change in place",
)
def appends_to_the_prompt(step, prompt, n_tokens, temperature, rng):
    logits, state = read(step, prompt)
    for _ in range(n_tokens):
        prompt.append(draw(logits, temperature, rng))
        logits, state = step(prompt[-1], state)
    return prompt[-n_tokens:]


DRAWN = "u picks the first token whose cumulative probability exceeds it"


@writing(idea=DRAWN, got="got [")
def likeliest_token(step, prompt, n_tokens, temperature, rng):
    logits, state = read(step, prompt)
    drawn = []
    for _ in range(n_tokens):
        drawn.append(int(np.argmax(logits)))
        logits, state = step(drawn[-1], state)
    return drawn


@writing(idea=DRAWN, got="got [")
def another_generator(step, prompt, n_tokens, temperature, rng):
    rng = np.random.default_rng()
    return right_from(*read(step, prompt), step, n_tokens, temperature, rng)


@writing(idea=DRAWN, got="got [")
def likeliest_first(step, prompt, n_tokens, temperature, rng):
    logits, state = read(step, prompt)
    drawn = []
    for _ in range(n_tokens):
        order = np.argsort(-logits)
        drawn.append(int(order[draw(logits[order], temperature, rng)]))
        logits, state = step(drawn[-1], state)
    return drawn


@writing(idea="the logits are divided by the temperature", got="got [")
def multiplies_by_the_temperature(step, prompt, n_tokens, temperature, rng):
    return right_from(*read(step, prompt), step, n_tokens, 1 / temperature, rng)


@writing(idea="the logits are divided by the temperature", got="got [")
def ignores_the_temperature(step, prompt, n_tokens, temperature, rng):
    return right_from(*read(step, prompt), step, n_tokens, 1.0, rng)


# --- remembering for longer -------------------------------------------------------------------

remember = functools.partial(mutant, "rnn-remember-longer")

LONG = "the layer remembers for 30 steps"


@remember(idea="make_layer returns a layer of the given sizes", got="got a RecurrentModel.")
def returns_a_model(input_size, hidden_size):
    return RecurrentModel(17, GRU(input_size, hidden_size, update_bias=3.0))


@remember(idea="make_layer returns a layer of the given sizes", got="and hidden_size 64")
def more_units_than_allowed(input_size, hidden_size):
    return GRU(input_size, 64, update_bias=3.0)


@remember(idea="make_layer returns a layer of the given sizes", got="got input_size ")
def sizes_in_the_wrong_order(input_size, hidden_size):
    return GRU(hidden_size, input_size, update_bias=3.0)


@functools.cache
def one_layer(input_size, hidden_size):
    return GRU(input_size, hidden_size, update_bias=3.0)


@remember(idea="every call makes a new layer", got="got the same one twice")
def always_the_same_layer(input_size, hidden_size):
    return one_layer(input_size, hidden_size)


@remember(idea="the layer can copy a symbol at all", got="got 0.")
def gates_that_are_shut_for_good(input_size, hidden_size):
    return GRU(input_size, hidden_size, update_bias=25.0)


@remember(idea=LONG, got="(the plain RNN has 0.1")
def a_plain_rnn(input_size, hidden_size):
    return RNN(input_size, hidden_size)


@remember(idea=LONG, got="(the plain RNN has 0.1")
def update_bias_of_the_wrong_sign(input_size, hidden_size):
    return GRU(input_size, hidden_size, update_bias=-3.0)
