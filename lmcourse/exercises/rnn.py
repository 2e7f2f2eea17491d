"""Exercises of chapter 2: the right answers, and the trials that an answer must stand."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lmcourse import exercises, rnn
from lmcourse.exercises import Trial, Wrong, compare, describe, numbers
from lmcourse.optimizers import Adam, clip_by_global_norm
from lmcourse.probability import sample, sampling_distribution
from lmcourse.rnn import GRU, RNN, RecurrentModel
from lmcourse.synthetic_tasks import delayed_copy_accuracy, learn_delayed_copy

exercise = functools.partial(exercises.exercise, chapter="02_rnn")


def clip_gradients(
    gradients: dict[str, Float[np.ndarray, "*_"]], max_norm: float
) -> dict[str, Float[np.ndarray, "*_"]]:
    """Return the gradients, scaled down together if their global norm is above ``max_norm``."""
    clipped = {name: gradient.copy() for name, gradient in gradients.items()}
    clip_by_global_norm(clipped, max_norm)
    return clipped


@exercise(
    "rnn-clip-gradients",
    title="Clip gradients by their global norm",
    reference=clip_gradients,
    difficulty=1,
    minutes=10,
)
def _(rng):
    def trial(idea, W_h, b, max_norm):
        return Trial(idea, ({"W_h": np.array(W_h), "b": np.array(b)}, max_norm))

    zeros = [[0.0, 0], [0, 0]]
    yield trial(
        "a gradient that is too long is shortened to max_norm", [[3.0, 0], [4, 0]], [0.0, 0], 1.0
    )
    yield trial(
        "a gradient that is short enough stays as it is", [[0.3, 0], [0.4, 0]], [0.0, 0], 1.0
    )
    yield trial("all arrays together have one norm", [[3.0, 0], [0, 0]], [0.0, 4], 1.0)
    yield trial("an array that is short by itself is scaled too", [[8.0, 0], [0, 0]], [6.0, 0], 7.0)
    yield trial("a gradient of zeros stays zero", zeros, [0.0, 0], 1.0)
    any_norm = rng.normal(size=(2, 2)), rng.normal(size=2), rng.uniform(0.5, 1)
    yield trial("any gradients and any max_norm will do", *any_norm)


def bptt_step(
    d_h: Float[np.ndarray, "batch hidden"],
    h: Float[np.ndarray, "batch hidden"],
    h_previous: Float[np.ndarray, "batch hidden"],
    x: Float[np.ndarray, "batch input"],
    W_h: Float[np.ndarray, "hidden hidden"],
) -> tuple[
    Float[np.ndarray, "input hidden"],
    Float[np.ndarray, "hidden hidden"],
    Float[np.ndarray, " hidden"],
    Float[np.ndarray, "batch hidden"],
]:
    """Return ``d_W_x, d_W_h, d_b, d_h_previous`` of one step of a plain RNN."""
    layer = RNN(x.shape[1], h.shape[1], dtype=np.float64)
    layer.parameters["recurrent_weight"][...] = W_h
    tape = rnn.Tape(x[None], np.stack([h_previous, h]), None, {})
    back = layer.backward(tape, d_h[:, None])
    return (*back.parameters.values(), back.state)


STEP_GRADIENTS = ("d_W_x", "d_W_h", "d_b", "d_h_previous")


def _compare_one_of(result, expected, *, name):
    if not isinstance(result, (tuple, list)) or len(result) != len(STEP_GRADIENTS):
        raise Wrong(f"a tuple ({', '.join(STEP_GRADIENTS)})", describe(result))
    place = STEP_GRADIENTS.index(name)
    compare(result[place], expected[place])


@exercise(
    "rnn-bptt-step",
    title="One step of back-propagation through time",
    reference=bptt_step,
    difficulty=2,
    minutes=20,
)
def _(rng):
    def trial(idea, name, *arguments):
        arguments = tuple(np.array(argument, dtype=float) for argument in arguments)
        tried = f"{name} of bptt_step({', '.join(map(describe, arguments))})"
        return Trial(idea, arguments, functools.partial(_compare_one_of, name=name), tried)

    # d_h, h, h_previous, x and W_h of one unit.
    one = [[2]], [[0.5]], [[-0.8]], [[3]], [[2]]
    yield trial("d_h goes through the tanh, then through W_h", "d_h_previous", *one)
    two = [[1, -1]], [[0.5, 0]], [[0.2, -0.4]], [[1, 2]], [[1, 2], [3, 4]]
    yield trial("on the way back W_h is transposed", "d_h_previous", *two)
    yield trial("d_W_x has a row for each input, a column for each unit", "d_W_x", *two)
    yield trial("W_h was multiplied by the state before", "d_W_h", *two)
    batch, n_in, hidden = rng.integers(3, 6, size=3)
    d_h, h, h_previous = rng.uniform(-0.9, 0.9, size=(3, batch, hidden))
    many = d_h, h, h_previous, rng.normal(size=(batch, n_in)), rng.normal(size=(hidden, hidden))
    yield trial("d_b adds up the rows of the batch", "d_b", *many)
    yield trial("the weights' gradients add up the rows of the batch", "d_W_x", *many)
    yield trial("the weights' gradients add up the rows of the batch", "d_W_h", *many)
    yield trial("each row has its own d_h_previous", "d_h_previous", *many)


def truncated_gradient(
    step: Callable, ids: Int[np.ndarray, " time"], k: int, state: Float[np.ndarray, " hidden"]
) -> tuple[float, Float[np.ndarray, " parameters"], Float[np.ndarray, " hidden"]]:
    """Return the text's mean loss, its gradient truncated to pieces of ``k``, and the state."""
    n = len(ids) - 1
    total_loss, total_gradient = 0.0, 0.0
    for start in range(0, n, k):
        stop = min(start + k, n)
        loss, gradient, state = step(ids[start:stop], ids[start + 1 : stop + 1], state)
        total_loss += loss * (stop - start) / n
        total_gradient += gradient * (stop - start) / n
    return total_loss, total_gradient, state


PIECE_VOCAB = 6


def _in_pieces(truncated_gradient, seed, ids, k, state):
    """Give the answer a small RNN's step; return its result and the calls of the step.

    A call is inputs, targets, the state handed over and the one that came back.
    """
    layer = RNN(3, len(state), seed=seed, dtype=np.float64)
    model = RecurrentModel(PIECE_VOCAB, layer, seed=seed)
    calls = []

    def step(inputs, targets, before):
        inputs, targets = np.array(inputs), np.array(targets)
        before = None if before is None else np.array(before)[None]
        loss, gradients, after = model.loss_and_gradients(inputs[None], targets[None], before)
        calls.append((inputs, targets, before if before is None else before[0], after[0].copy()))
        return loss, np.concatenate([g.ravel() for g in gradients.values()]), after[0]

    return truncated_gradient(step, ids, k, state), calls


def _neighbours(run, expected):
    _three(run)
    for place, name in enumerate(("inputs", "targets")):
        came, wanted = (_joined([call[place] for call in calls]) for _, calls in (run, expected))
        if came != wanted:
            raise Wrong(f"the {name} of all pieces to be {wanted}", f"{came}")


def _three(run):
    returned, _ = run
    if not isinstance(returned, (tuple, list)) or len(returned) != 3:
        raise Wrong("a tuple (loss, gradient, state)", describe(returned))
    return returned


def _joined(pieces: list[np.ndarray]) -> list[int]:
    return [token for piece in pieces for token in piece.tolist()]


def _lengths(run, expected):
    came, wanted = ([len(call[0]) for call in calls] for _, calls in (run, expected))
    if came != wanted:
        raise Wrong(f"pieces of {describe(wanted)} tokens", f"pieces of {describe(came)}")


def _starts(run, expected):
    wanted = expected[1][0][2]  # the state that was given
    for number, (_, _, before, after) in enumerate(run[1], start=1):
        if before is None or not np.array_equal(before, wanted):
            start = "None" if before is None else describe(before)
            raise Wrong(f"piece {number} to start in the state {describe(wanted)}", start)
        wanted = after


def _compare_result(run, expected, *, place):
    compare(_three(run)[place], expected[0][place])


@exercise(
    "rnn-truncated-bptt",
    title="Truncated back-propagation through time",
    reference=truncated_gradient,
    drive=_in_pieces,
    difficulty=2,
    minutes=15,
)
def _(rng):
    state, seed = rng.uniform(-0.9, 0.9, size=2), int(rng.integers(1000))
    loss, gradient, last = (functools.partial(_compare_result, place=i) for i in range(3))

    def trial(idea, n_tokens, k, judge, what=""):
        strides = rng.integers(1, PIECE_VOCAB, size=n_tokens + 1)
        ids = np.cumsum(strides) % PIECE_VOCAB  # no token follows itself
        tried = f"{what}truncated_gradient(step, {describe(ids)}, {k}, state)"
        return Trial(idea, (seed, ids, k, state), judge, tried)

    yield trial("each token has the next one for its target, over borders too", 8, 4, _neighbours)
    yield trial("pieces have k tokens", 8, 4, _lengths)
    yield trial("the first piece starts in the given state", 4, 4, _starts)
    yield trial("the state is handed on from piece to piece", 9, 3, _starts)
    yield trial("the last piece may be shorter", 10, 4, _lengths)
    yield trial("gradients of pieces are averaged", 8, 4, gradient, "the gradient of ")
    yield trial("a shorter piece counts for less", 9, 7, gradient, "the gradient of ")
    yield trial("the loss is averaged like the gradient", 9, 7, loss, "the loss of ")
    yield trial("the state after the last piece comes back", 11, 5, last, "the state of ")


def jacobian_norms(
    W_h: Float[np.ndarray, "hidden hidden"], radius: float, n_steps: int
) -> Float[np.ndarray, " n_steps"]:
    """Scale ``W_h`` to a spectral radius; return the 2-norms of its first ``n_steps`` powers."""
    scaled = W_h * (radius / rnn.spectral_radius(W_h))
    powers = (np.linalg.matrix_power(scaled.T, k) for k in range(1, n_steps + 1))
    return np.array([np.linalg.norm(power, 2) for power in powers])


@exercise(
    "rnn-spectral-radius",
    title="The spectral radius, and when it shows",
    reference=jacobian_norms,
    difficulty=2,
    minutes=20,
)
def _(rng):
    yield Trial("one unit multiplies by the radius at each step", (np.array([[0.5]]), 2.0, 3))
    yield Trial("the norm is the largest stretch of any vector", (np.eye(2), 0.5, 2))
    yield Trial("a negative eigenvalue counts by its size", (np.diag([0.5, -2.0]), 1.0, 2))
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    yield Trial("a complex eigenvalue counts by its absolute value", (3 * turn, 0.5, 2))
    shear = np.array([[0.5, 2.0], [0.0, 0.5]])
    yield Trial("eigenvalues decide, not singular values", (shear, 0.5, 1))
    yield Trial("the steps are matrix products", (shear, 0.5, 4))
    yield Trial("any matrix will do", (rng.normal(size=(6, 6)), 0.9, 8))


def gated_step(
    x: Float[np.ndarray, "batch input"],
    h: Float[np.ndarray, "batch hidden"],
    W: Float[np.ndarray, "input 3*hidden"],
    U: Float[np.ndarray, "hidden 3*hidden"],
    b: Float[np.ndarray, " 3*hidden"],
    c: Float[np.ndarray, " hidden"],
) -> Float[np.ndarray, "batch hidden"]:
    """Return the state of a GRU after one step."""
    layer = GRU(x.shape[1], h.shape[1], dtype=np.float64)
    for parameter, value in zip(layer.parameters.values(), (W, U, b, c), strict=True):
        parameter[...] = value
    return layer.forward(x[:, None], h)[1]


@exercise(
    "rnn-update-gate",
    title="One step of a gated recurrent unit",
    reference=gated_step,
    difficulty=2,
    minutes=15,
)
def _(rng):
    def trial(idea, *, h, b, c, U=None):
        """One row, and an input that is zero."""
        hidden = len(c)
        U = np.zeros((hidden, 3 * hidden)) if U is None else np.array(U)
        x, W = np.zeros((1, 1)), np.zeros((1, 3 * hidden))
        tried = ", ".join(
            f"{name} = {describe(np.array(value))}"
            for name, value in (("h", [h]), ("U", U), ("b", b), ("c", c))
        )
        arguments = x, np.array([h]), W, U, np.array(b), np.array(c)
        return Trial(idea, arguments, tried=f"gated_step with x and W zero, {tried}")

    yield trial("gates are sigmoids, half open at 0", h=[0.8], b=[0.0, 0, 0], c=[0.0])
    yield trial("an update gate near 1 keeps the state", h=[0.8], b=[20, 20, 0.5], c=[0.0])
    yield trial("the blocks stand in the order r, z, n", h=[0.8], b=[-20, 20, 0.5], c=[0.0])
    yield trial("c is inside the reset gate, b outside", h=[0.8], b=[0, -20, 0.3], c=[0.5])
    yield trial(
        "the reset gate multiplies after the product with U",
        h=[0.8, -0.4],
        b=[20.0, 0, -20, -20, 0, 0],
        c=[0.0, 0],
        U=[[0.0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 2, 0]],
    )

    def draw(batch, n_in, hidden):
        shapes = (batch, n_in), (batch, hidden), (n_in, 3 * hidden), (hidden, 3 * hidden)
        return tuple(rng.normal(size=s) for s in (*shapes, 3 * hidden, hidden))

    yield Trial("gates and candidate see both x and h", draw(1, 2, 1))
    yield Trial("each row of the batch has gates of its own", draw(5, 3, 5))


def sample_with_state(
    step: Callable, prompt: list[int], n_tokens: int, temperature: float, rng: np.random.Generator
) -> list[int]:
    """Return ``n_tokens`` tokens drawn one by one after ``prompt``, the state handed on."""
    state = None
    for token in prompt:
        logits, state = step(token, state)
    drawn = []
    while len(drawn) < n_tokens:
        drawn.append(sample(sampling_distribution(logits, temperature=temperature), rng))
        logits, state = step(drawn[-1], state)
    return drawn


def _write(sample_with_state, scores, prompt, n_tokens, temperature, seed):
    """Give the answer a step over ``scores`` [vocab, vocab]; return result, calls and prompt.

    The state is the tuple of the tokens read so far, so that a call, (state, token), tells all.
    Each of these tokens adds to the logits, an older one less.
    """
    calls = []

    def step(token, state):
        calls.append((state, int(token)))
        read = (*(state if isinstance(state, tuple) else ()), int(token))
        return 0.5 ** np.arange(len(read))[::-1] @ scores[list(read)], read

    rng, asked = np.random.default_rng(seed), list(prompt)
    return sample_with_state(step, prompt, n_tokens, temperature, rng), calls, asked


def _tokens(drawn: Any, wanted: str) -> list[int]:
    array = numbers(drawn, wanted)
    if array.ndim != 1 or (array.size and array.dtype.kind == "f"):
        raise Wrong(wanted, describe(drawn))
    return array.tolist()


def _reads_the_prompt(run, expected):
    drawn, calls, prompt = run
    _tokens(drawn, f"tokens, such as {describe(expected[0])}")
    read = [token for _, token in calls]
    if read[: len(prompt)] != prompt:
        raise Wrong(f"step to be called with {describe(prompt)}", f"calls with {describe(read)}")


def _hands_the_state_on(run, expected):
    wanted = None
    for state, token in run[1]:
        if not isinstance(state, type(wanted)) or state != wanted:
            raise Wrong(*(f"step({token}, {_state_text(s)})" for s in (wanted, state)))
        wanted = (*(wanted or ()), token)


def _state_text(state: Any) -> str:
    if state is None:
        return "None"
    return f"the state after {list(state)}" if isinstance(state, tuple) else describe(state)


def _right_number(run, expected):
    wanted = f"{len(expected[0])} tokens"
    drawn = _tokens(run[0], wanted)
    if len(drawn) != len(expected[0]):
        raise Wrong(wanted, f"{len(drawn)}, {describe(drawn)}")


def _feeds_back(run, expected):
    """The last token may be fed back or not: nothing is drawn after it."""
    _right_number(run, expected)
    drawn, calls, prompt = run
    read, drawn = [token for _, token in calls][len(prompt) :], list(drawn)
    if read not in (drawn, drawn[:-1]):
        wanted = f"step to be called with {describe(drawn[:-1])} after the prompt, as drawn"
        raise Wrong(wanted, f"calls with {describe(read)}")


def _same_draws(run, expected):
    _feeds_back(run, expected)
    compare(_tokens(run[0], describe(expected[0])), expected[0])


@exercise(
    "rnn-sample-with-state",
    title="Write with a state that is handed on",
    reference=sample_with_state,
    drive=_write,
    difficulty=2,
    minutes=15,
)
def _(rng):
    seed = int(rng.integers(1000))

    def trial(idea, judge, prompt, n_tokens, temperature):
        vocab = 8
        prompt = prompt or rng.choice(vocab, size=3, replace=False).tolist()
        tried = f"sample_with_state(step, {prompt}, {n_tokens}, {temperature:g}, rng)"
        arguments = rng.normal(size=(vocab, vocab)), prompt, n_tokens, temperature, seed
        return Trial(idea, arguments, judge, tried)

    yield trial("the whole prompt is read first", _reads_the_prompt, None, 1, 1.0)
    yield trial("every step gets the state of the one before", _hands_the_state_on, None, 4, 1.0)
    yield trial("n_tokens new tokens come back, without the prompt", _right_number, None, 5, 1.0)
    yield trial("each token drawn is read next, once", _feeds_back, None, 6, 1.0)
    drawing = "u picks the first token whose cumulative probability exceeds it"
    yield trial(drawing, _same_draws, None, 12, 1.0)
    yield trial("the logits are divided by the temperature", _same_draws, None, 12, 0.5)
    yield trial("any prompt will do", _same_draws, [5], 12, 2.0)


def make_layer(input_size: int, hidden_size: int) -> RNN | GRU:
    """Return the layer to beat: a plain RNN with small random recurrent weights."""
    layer = RNN(input_size, hidden_size, recurrent_start="normal")
    layer.parameters["recurrent_weight"] *= 0.5
    return layer


RECIPE = "200 updates with batches of 32"
REMEMBERED = 0.9  # share of right answers; guessing gets 1 in 8


class Memory(NamedTuple):
    """How the layers of one maker did: shares of right answers, and what they were."""

    sizes: tuple[int, int]
    fresh: bool
    shares: list[float]


def _remember(make_layer, input_size, hidden_size, delays, seed):
    """Train a layer for each delay, up to the first that fails; return what is no layer."""
    first, layer = (make_layer(input_size, hidden_size) for _ in range(2))
    if not isinstance(layer, (RNN, GRU)):
        return layer
    shares = []
    for delay in delays:
        shares.append(_share_remembered(make_layer(input_size, hidden_size), delay, seed))
        if shares[-1] < REMEMBERED:
            break
    return Memory((layer.input_size, layer.hidden_size), first is not layer, shares)


def _share_remembered(layer, delay, seed):
    """Train on symbols to copy after ``delay`` steps; return the share right of 500 new ones."""
    rng, model = np.random.default_rng(seed), RecurrentModel(17, layer, seed=seed)
    learn_delayed_copy(model, Adam(0.01), delay, rng, steps=200)
    return delayed_copy_accuracy(model, delay, rng)


def _is_layer(result, expected):
    if not isinstance(result, Memory):
        came = describe(None) if result is None else f"a {type(result).__name__}"
        raise Wrong("an RNN or a GRU", came)
    if result.sizes != expected.sizes:
        raise Wrong(
            *("input_size {} and hidden_size {}".format(*m.sizes) for m in (expected, result))
        )


def _is_fresh(result, expected):
    if not result.fresh:
        raise Wrong("two layers from two calls", "the same one twice")


def _remembers(result, expected):
    share, plain = result.shares, expected.shares
    if share[0] < REMEMBERED:
        others = "" if plain[0] >= REMEMBERED else f" (the plain RNN has {plain[0]:.2f})"
        raise Wrong(f"{REMEMBERED} of the symbols right{others}", f"{share[0]:.2f}")
    if len(share) > 1:
        return (
            f"Right after 30 steps: {share[0]:.2f} (the plain RNN: {plain[0]:.2f}); "
            f"after 100: {share[1]:.2f}."
        )


@exercise(
    "rnn-remember-longer",
    title="Remember for thirty steps",
    reference=make_layer,
    drive=_remember,
    difficulty=3,
    minutes=30,
)
def _(rng):
    def trial(idea, judge, *delays):
        tried = f"{RECIPE} on copying a symbol after {delays[0]} steps" if delays else ""
        sizes = (16, 32) if delays else tuple(rng.integers(3, 9, size=2).tolist())
        arguments = (*sizes, delays, int(rng.integers(1000)))
        return Trial(idea, arguments, judge, tried or f"make_layer{sizes}")

    yield trial("make_layer returns a layer of the given sizes", _is_layer)
    yield trial("every call makes a new layer", _is_fresh)
    yield trial("the layer can copy a symbol at all", _remembers, 2)
    yield trial("the layer remembers for 30 steps", _remembers, 30, 100)
