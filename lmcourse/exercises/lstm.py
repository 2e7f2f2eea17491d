"""Exercises of chapter 5: the right answers, and the trials that an answer must stand.

What ``lmcourse.keras`` has is written out again in numpy: it loads torch, which no check should
have to wait for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lmcourse import exercises
from lmcourse.classification import best_threshold, decisions, expected_calibration_error
from lmcourse.exercises import Trial, Wrong, compare, describe, numbers

exercise = functools.partial(exercises.exercise, chapter="05_lstm")


def _compare_one_of(result, expected, *, names, name):
    """Compare the part called ``name`` of a pair; say so if the two changed places."""
    if not isinstance(result, (tuple, list)) or len(result) != len(names):
        raise Wrong(f"a tuple ({', '.join(names)})", describe(result))
    place = names.index(name)
    try:
        compare(result[place], expected[place])
    except Wrong:
        if _agree(result[::-1], expected):
            first, second = names
            order = f"{first} comes first, then {second}"
            raise Wrong(*map(describe, (expected[place], result[place])), idea=order) from None
        raise


def _agree(result, expected) -> bool:
    try:
        for came, wanted in zip(result, expected, strict=True):
            compare(came, wanted)
    except Wrong:
        return False
    return True


def _sigmoid(x):
    return 0.5 * (1 + np.tanh(x / 2))


def _through_the_gates(i, f, candidate, o, c):
    """Return h and the new cell; the gates are given as the sums before the sigmoid."""
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(candidate)
    return _sigmoid(o) * np.tanh(c), c


KERAS_ORDER = "ifco"


def lstm_step(
    x: Float[np.ndarray, "batch features"],
    h: Float[np.ndarray, "batch units"],
    c: Float[np.ndarray, "batch units"],
    kernel: Float[np.ndarray, "features 4*units"],
    recurrent_kernel: Float[np.ndarray, "units 4*units"],
    bias: Float[np.ndarray, " 4*units"],
    order: str,
) -> tuple[Float[np.ndarray, "batch units"], Float[np.ndarray, "batch units"]]:
    """Return hidden state and cell after one step of an LSTM, ``order`` naming the blocks."""
    sums = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
    return _through_the_gates(*(sums[order.index(name)] for name in KERAS_ORDER), c)


@exercise(
    "lstm-step",
    title="One step, in any order",
    reference=lstm_step,
    difficulty=1,
    minutes=15,
)
def _(rng):
    def trial(idea, name, *arguments, tried=""):
        tried = tried or f"lstm_step({', '.join(map(describe, arguments))})"
        judge = functools.partial(_compare_one_of, names=("h", "c"), name=name)
        return Trial(idea, arguments, judge, f"{name} of {tried}")

    def gates(idea, name, bias, order=KERAS_ORDER, cell=(0.8,)):
        """One row whose gates the bias alone decides."""
        c, bias = np.array([cell]), np.array(bias, dtype=float)
        x, h, kernel, recurrent_kernel = (
            np.zeros(shape) for shape in ((1, 1), c.shape, (1, bias.size), (c.size, bias.size))
        )
        tried = (
            f"lstm_step with bias = {describe(bias)}, order = {order!r}, c = {describe(c)} "
            "and zeros elsewhere"
        )
        return trial(idea, name, x, h, c, kernel, recurrent_kernel, bias, order, tried=tried)

    def draw(batch, features, units):
        shapes = (batch, features), (batch, units), (batch, units)
        weights = (features, 4 * units), (units, 4 * units), (4 * units,)
        return *(rng.normal(size=shape) for shape in (*shapes, *weights)), KERAS_ORDER

    # In the first four the blocks are alike, and hold for any order.
    yield gates("a closed forget gate forgets", "c", [-40, -40, -40, -40])
    yield gates("at 0 the gates are half open and the candidate is 0", "c", [0, 0, 0, 0])
    yield gates("gates are sigmoids, the candidate is a tanh", "c", [0.5, 0.5, 0.5, 0.5])
    yield gates("h is the tanh of the new cell, times o", "h", [0, 0, 0, 0])
    named = "order names the blocks, from the first columns to the last"
    yield gates(named, "h", [1, -1, 0.5, 2])
    yield gates(named, "h", [1, 2, -1, 0.5], "iofc")
    side_by_side = "a block's columns stand side by side"
    yield gates(side_by_side, "c", [0, 0, 40, -40, 0, 0, 0, 0], cell=(0.8, 0.6))
    yield trial("the gates see both x and h", "c", *draw(1, 2, 1))
    yield trial("each row of the batch has gates of its own", "h", *draw(5, 3, 4))


BLOCKS = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}
BIASES = {"SimpleRNN": 1, "GRU": 2, "LSTM": 1}


def count_parameters(vocab: int, layers: list[tuple[str, int]]) -> list[int]:
    """Return how many numbers each layer of a Keras model has to learn."""
    features, counts = vocab, []
    for name, size in layers:
        *wrapper, kind = name.split()
        if kind == "Embedding":
            n = features * size
        elif kind == "Dense":
            n = (features + 1) * size
        else:
            n = BLOCKS[kind] * size * (features + size + BIASES[kind])
        directions = 2 if wrapper else 1
        counts.append(directions * n)
        features = directions * size
    return counts


@exercise(
    "lstm-parameters",
    title="Count like a summary",
    reference=count_parameters,
    difficulty=2,
    minutes=15,
)
def _(rng):
    def trial(idea, vocab, *layers):
        layers = [("Embedding", 4), *layers]
        return Trial(idea, (vocab, layers), tried=f"count_parameters({vocab}, {layers})")

    yield trial("an embedding has a vector for each id", 10)
    yield trial("a Dense unit has a weight for each feature, and a bias", 10, ("Dense", 3))
    yield trial("a recurrent unit has a weight for each unit, too", 10, ("SimpleRNN", 3))
    yield trial("an LSTM has four blocks of weights and biases", 10, ("LSTM", 3))
    yield trial("a GRU has three blocks of weights, and two biases for each", 10, ("GRU", 3))
    stack = ("LSTM", 3), ("LSTM", 5), ("Dense", 1)
    yield trial("a layer's features are the units of the layer before", 10, *stack)
    both = "Bidirectional is two layers, whose outputs are joined"
    yield trial(both, 10, ("Bidirectional LSTM", 3), ("Dense", 1))
    vocab, *sizes = rng.integers(20, 2000, size=5).tolist()
    names = "Bidirectional GRU", "Bidirectional LSTM", "SimpleRNN", "Dense"
    yield trial("any model will do", vocab, *zip(names, sizes, strict=True))


def training_batches(
    ids: Int[np.ndarray, " n_ids"], n_rows: int, length: int
) -> tuple[Int[np.ndarray, "n {n_rows} {length}"], Int[np.ndarray, "n {n_rows} {length}"]]:
    """Return batches of ids, each row the continuation of its row before, and what follows each."""
    n = (len(ids) - 1) // (n_rows * length)
    used = n * n_rows * length
    pieces = (part.reshape(n_rows, n, length) for part in (ids[:used], ids[1 : used + 1]))
    inputs, targets = (part.swapaxes(0, 1) for part in pieces)
    return inputs, targets


def _no_batch(result, expected, *, names, name):
    """Accept nothing in any shape: an empty list will do."""
    if not isinstance(result, (tuple, list)) or len(result) != len(names):
        raise Wrong(f"a tuple ({', '.join(names)})", describe(result))
    batches = numbers(result[names.index(name)], "no batch")
    if batches.size:
        raise Wrong("no batch", describe(batches))


@exercise(
    "lstm-shifted-targets",
    title="Targets one step on, rows that go on",
    reference=training_batches,
    difficulty=2,
    minutes=20,
)
def _(rng):
    def trial(idea, name, ids, n_rows, length, judge=_compare_one_of):
        tried = f"{name} of training_batches({describe(ids)}, {n_rows}, {length})"
        judge = functools.partial(judge, names=("inputs", "targets"), name=name)
        return Trial(idea, (ids, n_rows, length), judge, tried)

    def stream(n_ids):
        return rng.permutation(np.arange(11, 11 + n_ids))  # no id twice

    yield trial("a row holds length ids, from the first on", "inputs", stream(5), 1, 4)
    yield trial("the target of an id is the id that follows it", "targets", stream(5), 1, 4)
    nine = stream(9)
    yield trial("the next batch begins where the last one ended", "inputs", nine, 1, 4)
    yield trial("a row's last target is its first id in the next batch", "targets", nine, 1, 4)
    yield trial("row k goes on in row k of the next batch", "inputs", stream(9), 2, 2)
    yield trial("what fills no whole batch is left out", "targets", stream(11), 2, 2)
    yield trial("every id has a target", "inputs", stream(8), 2, 2)
    yield trial("a stream that is too short makes no batch", "inputs", stream(4), 2, 2, _no_batch)
    n_rows, length = rng.integers(3, 8, size=2).tolist()
    long = rng.integers(50, size=int(rng.integers(200, 300)))
    yield trial("any stream will do", "targets", long, n_rows, length)


def run_masked(
    step: Callable,
    x: Float[np.ndarray, "batch time features"],
    mask: Bool[np.ndarray, "batch time"],
    h: Float[np.ndarray, "batch units"],
    c: Float[np.ndarray, "batch units"],
) -> tuple[Float[np.ndarray, "batch units"], Float[np.ndarray, "batch units"]]:
    """Return the state after the last step of each text, as if there were no padding."""
    for t in range(x.shape[1]):
        now = mask[:, t, None]
        new_h, new_c = step(x[:, t], h, c)
        h, c = np.where(now, new_h, h), np.where(now, new_c, c)
    return h, c


def _run(run_masked, weights, x, mask, h, c):
    """Give the answer the step of an LSTM."""

    def step(x, h, c):
        x, h, c = (np.asarray(array, dtype=float) for array in (x, h, c))
        return lstm_step(x, h, c, *weights, KERAS_ORDER)

    return run_masked(step, x, mask, h, c)


@exercise(
    "lstm-masking",
    title="Read past the padding",
    reference=run_masked,
    drive=_run,
    difficulty=2,
    minutes=20,
)
def _(rng):
    def trial(idea, name, mask, features=1, units=1):
        mask = np.array(mask, dtype=bool)
        batch, time = mask.shape
        shapes = (features, 4 * units), (units, 4 * units), (4 * units,)
        weights = tuple(rng.normal(size=shape) for shape in shapes)
        # The padding is not 0: the embedding of id 0 is a vector like any other.
        x = rng.normal(size=(batch, time, features)).round(1)
        h, c = rng.uniform(0.2, 0.9, size=(2, batch, units)).round(1)
        shown = ", ".join(map(describe, (x, mask, h, c)))
        tried = f"{name} of run_masked(step, {shown})"
        judge = functools.partial(_compare_one_of, names=("h", "c"), name=name)
        return Trial(idea, (weights, x, mask, h, c), judge, tried)

    every = "without padding every step counts, from the given state on"
    yield trial(every, "c", [[1, 1, 1]])
    yield trial("padding at the end leaves h as it is", "h", [[1, 1, 0, 0]])
    yield trial("padding at the end leaves c as it is", "c", [[1, 1, 0, 0]])
    yield trial("padding at the front leaves the state as it is", "c", [[0, 0, 1, 1]])
    yield trial("each text has padding of its own", "c", [[1, 1, 1], [1, 0, 0]])
    yield trial("padding may stand anywhere", "h", [[0, 1, 0, 1, 0]])
    yield trial("a text of nothing but padding keeps the given state", "h", [[0, 0], [1, 1]])
    drawn = rng.random((6, 9)) < 0.6
    yield trial("any mask will do", "h", drawn, 3, 4)
    yield trial("any mask will do", "c", drawn, 3, 4)


def sample_ids(
    model: Callable, prompt: list[int], n_ids: int, temperature: float, rng: np.random.Generator
) -> list[int]:
    """Return ``n_ids`` ids drawn one by one after ``prompt``, the state handed on."""
    unread, state, drawn = prompt, None, []
    while len(drawn) < n_ids:
        probabilities, state = model(np.array([unread]), state)
        p = probabilities[0, -1] ** (1 / temperature)
        drawn.append(int(rng.choice(len(p), p=p / p.sum())))
        unread = drawn[-1:]
    return drawn


class Call(NamedTuple):
    """What an answer handed to the model."""

    ids: list[int]
    state: Any


class Sampled(NamedTuple):
    """What an answer returned, the calls of the model, and the prompt."""

    drawn: Any
    calls: list[Call]
    prompt: list[int]

    @property
    def read(self) -> list[int]:
        """The ids of all calls."""
        return [token for call in self.calls for token in call.ids]


def _sample(sample_ids, scores, prompt, n_ids, temperature, seed):
    """Give the answer a model over ``scores`` [vocab, vocab].

    The state is the tuple of the ids read so far; each adds to the logits, an older one less.
    """
    calls = []

    def model(ids, state):
        array = np.asarray(ids)
        if array.ndim != 2 or len(array) != 1 or not array.size or array.dtype.kind not in "iu":
            raise ValueError(f"ids must be whole numbers [1, time], got {describe(ids)}")
        calls.append(Call(array[0].tolist(), state))
        read = state if isinstance(state, tuple) else ()
        probabilities = np.empty((1, array.size, len(scores)))
        for place, token in enumerate(array[0].tolist()):
            read = (*read, token)
            logits = 0.5 ** np.arange(len(read))[::-1] @ scores[list(read)]
            odds = np.exp(logits - logits.max())
            probabilities[0, place] = odds / odds.sum()
        return probabilities, read

    asked, rng = list(prompt), np.random.default_rng(seed)
    return Sampled(sample_ids(model, prompt, n_ids, temperature, rng), calls, asked)


def _ids(drawn: Any, wanted: str) -> list[int]:
    array = numbers(drawn, wanted)
    if array.ndim != 1 or (array.size and array.dtype.kind == "f"):
        raise Wrong(wanted, describe(drawn))
    return array.tolist()


def _reads_the_prompt(run, expected):
    """The id that was drawn may be read after the prompt, or not."""
    drawn = _ids(run.drawn, f"ids, such as {describe(expected.drawn)}")
    if run.read not in (run.prompt, run.prompt + drawn):
        wanted = f"the model to read {describe(run.prompt)}"
        raise Wrong(wanted, describe(run.read) if run.read else "no call of it")


def _hands_the_state_on(run, expected):
    wanted = None
    for ids, state in run.calls:
        if not isinstance(state, type(wanted)) or state != wanted:
            raise Wrong(*(f"model([{ids}], {_state_text(s)})" for s in (wanted, state)))
        wanted = (*(wanted or ()), *ids)


def _state_text(state: Any) -> str:
    if state is None:
        return "None"
    return f"the state after {list(state)}" if isinstance(state, tuple) else describe(state)


def _right_number(run, expected):
    wanted = f"{len(expected.drawn)} ids"
    drawn = _ids(run.drawn, wanted)
    if len(drawn) != len(expected.drawn):
        raise Wrong(wanted, f"{len(drawn)}, {describe(drawn)}")


def _reads_back(run, expected):
    """The last id may be read or not: nothing is drawn after it."""
    _right_number(run, expected)
    drawn, read = _ids(run.drawn, "ids"), run.read[len(run.prompt) :]
    if read not in (drawn, drawn[:-1]):
        wanted = f"the model to read {describe(drawn[:-1])} after the prompt, as drawn"
        raise Wrong(wanted, describe(read))


def _same_draws(run, expected):
    _reads_back(run, expected)
    compare(_ids(run.drawn, describe(expected.drawn)), expected.drawn)


@exercise(
    "lstm-stateful-sampling",
    title="Write with the state carried on",
    reference=sample_ids,
    drive=_sample,
    difficulty=2,
    minutes=20,
)
def _(rng):
    seed = int(rng.integers(1000))

    def trial(idea, judge, prompt_length, n_ids, temperature=1.0):
        vocab = 8
        prompt = rng.choice(vocab, size=prompt_length, replace=False).tolist()
        tried = f"sample_ids(model, {prompt}, {n_ids}, {temperature:g}, rng)"
        scores = 1.5 * rng.normal(size=(vocab, vocab))
        return Trial(idea, (scores, prompt, n_ids, temperature, seed), judge, tried)

    yield trial("the prompt is read once, before the first draw", _reads_the_prompt, 3, 1)
    yield trial("every call gets the state of the one before", _hands_the_state_on, 3, 4)
    yield trial("n_ids new ids come back, without the prompt", _right_number, 3, 5)
    yield trial("each id drawn is read next, once", _reads_back, 3, 6)
    # After a prompt of one id there is but one place to draw from.
    yield trial("ids are drawn with the model's probabilities", _same_draws, 1, 12)
    yield trial("the first draw is from the last place", _same_draws, 5, 12)
    yield trial("probabilities are raised to 1/temperature and normalised", _same_draws, 3, 30, 0.5)
    yield trial("any prompt will do", _same_draws, 7, 12, 2.0)


def choose_threshold(
    p_validation: Float[np.ndarray, " n_validation"],
    y_validation: Int[np.ndarray, " n_validation"],
    p_test: Float[np.ndarray, " n_test"],
    y_test: Int[np.ndarray, " n_test"],
) -> tuple[float, float]:
    """Return the threshold with the best F1 on the validation data, and its F1 on the test data."""
    threshold = best_threshold(y_validation, p_validation)
    return threshold, decisions(y_test, p_test, threshold).f1


def _validation_score(result, expected, *, scores):
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise Wrong("a tuple (threshold, f1)", describe(result))
    threshold = numbers(result[0], "a number")
    if threshold.shape != () or not np.isclose(threshold, scores, rtol=1e-6).any():
        raise Wrong(f"a threshold out of {describe(scores)}", describe(result[0]))


@exercise(
    "lstm-threshold",
    title="A threshold, chosen fairly",
    reference=choose_threshold,
    difficulty=2,
    minutes=20,
)
def _(rng):
    def trial(idea, name, validation, test):
        """Messages are (probability, label)."""
        arguments = tuple(
            np.array(column) for data in (validation, test) for column in zip(*data, strict=True)
        )
        if name:
            judge = functools.partial(_compare_one_of, names=("threshold", "f1"), name=name)
        else:
            judge = functools.partial(_validation_score, scores=arguments[0])
        shown = f"choose_threshold({', '.join(map(describe, arguments))})"
        return Trial(idea, arguments, judge, f"{name} of {shown}" if name else shown)

    apart = [(0.123, 0), (0.234, 0), (0.678, 1), (0.891, 1)]
    yield trial("the threshold is one of the validation probabilities", "", apart, apart)
    yield trial("a message at the threshold counts as spam", "threshold", apart, apart)
    rare = [(0.9, 1), (0.8, 0), (0.7, 0), (0.6, 0), (0.5, 1), (0.4, 1), (0.3, 0), (0.2, 0)]
    yield trial("the threshold has the best F1", "threshold", rare, rare)
    tied = [(0.9, 1), (0.8, 0), (0.7, 0), (0.6, 1)]
    yield trial("of equally good thresholds the lowest is taken", "threshold", tied, tied)
    other = [(0.95, 1), (0.9, 1), (0.7, 0), (0.69, 0), (0.68, 0), (0.2, 0)]
    yield trial("the test data have no say in the threshold", "threshold", apart, other)
    yield trial("f1 is that of the test data, 2 TP / (2 TP + FP + FN)", "f1", apart, other)
    nothing = "F1 is 0 where no spam is found"
    yield trial(nothing, "f1", apart, [(0.1, 1), (0.2, 0), (0.3, 1)])
    yield trial(nothing, "threshold", [(0.9, 0), (0.8, 1), (0.1, 0)], apart)
    yield trial("any probabilities will do", "f1", _messages(rng, 60), _messages(rng, 80))


def _messages(rng, n):
    """Return probabilities and labels of n messages; no two thresholds share the best F1."""
    while True:
        labels = (rng.random(n) < 0.3).astype(int)
        probabilities = np.round(_sigmoid(rng.normal(size=n) + 2 * labels - 1.5), 2)
        scores = [decisions(labels, probabilities, p).f1 for p in np.unique(probabilities)]
        if scores.count(max(scores)) == 1:
            return list(zip(probabilities.tolist(), labels.tolist(), strict=True))


def calibration_error(
    probabilities: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], n_bins: int
) -> float:
    """Return how far shares and probabilities lie apart, on average over bins of equal width."""
    return expected_calibration_error(labels, probabilities, bins=n_bins)


@exercise(
    "lstm-calibration",
    title="The calibration error",
    reference=calibration_error,
    difficulty=2,
    minutes=15,
)
def _(rng):
    def trial(idea, probabilities, labels, n_bins):
        return Trial(idea, (np.array(probabilities), np.array(labels), n_bins))

    both = "a bin compares its share of spam with its mean probability"
    yield trial(both, [0.2, 0.9, 0.1], [0, 0, 1], 1)
    apart = "too high in one bin and too low in another do not cancel"
    yield trial(apart, [0.2, 0.4, 0.7, 0.9], [1, 0, 1, 0], 2)
    yield trial("a bin counts by its number of messages", [0.1, 0.2, 0.3, 0.9], [0, 1, 0, 0], 2)
    yield trial("an empty bin adds nothing", [0.2, 0.9, 0.8], [0, 1, 0], 4)
    yield trial("bins divide 0 to 1 into equal widths", [0.05, 0.3, 0.35, 0.45], [0, 1, 0, 1], 2)
    yield trial("0 and 1 have bins too", [0.0, 0.1, 1.0, 0.9], [1, 0, 0, 1], 5)
    probabilities = rng.random(200)
    labels = (rng.random(200) < probabilities**2).astype(int)
    yield Trial("any probabilities will do", (probabilities, labels, 10))


def quote_cell() -> tuple[
    Float[np.ndarray, "1 gates"],
    Float[np.ndarray, "units gates"],
    Float[np.ndarray, " gates"],
]:
    """Return the weights of an LSTM of one unit, which is on between quotation marks."""
    kernel = np.array([[40.0, -40, 0, 0]])  # a mark opens i and closes f
    recurrent_kernel = np.array([[0.0, 0, -40, 0]])  # the candidate is the opposite of h
    bias = np.array([-20.0, 20, 15, 20])
    return kernel, recurrent_kernel, bias


ON = 0.5


class Reading(NamedTuple):
    """What an answer returned, and the first unit's h after each character."""

    weights: Any
    h: Float[np.ndarray, " time"] | None


def _read(quote_cell, text):
    """Let the LSTM that the answer describes read the text."""
    answer = quote_cell()
    try:
        weights = _weights(answer)
    except Wrong:
        return Reading(answer, None)
    kernel, recurrent_kernel, bias = weights
    h = c = np.zeros(len(recurrent_kernel))
    read = []
    for character in text:
        sums = (character == '"') * kernel[0] + h @ recurrent_kernel + bias
        h, c = _through_the_gates(*np.split(sums, 4), c)
        read.append(h[0])
    return Reading(weights, np.array(read))


def _weights(answer: Any) -> list[np.ndarray]:
    wanted = "a tuple (kernel, recurrent_kernel, bias)"
    if not isinstance(answer, (tuple, list)) or len(answer) != 3:
        raise Wrong(wanted, describe(answer))
    weights = [numbers(array, wanted).astype(float) for array in answer]
    shapes = [array.shape for array in weights]
    units = shapes[2][0] // 4 if shapes[2] else 0
    if not units or shapes != [(1, 4 * units), (units, 4 * units), (4 * units,)]:
        raise Wrong("shapes (1, 4u), (u, 4u) and (4u,) for u units", ", ".join(map(str, shapes)))
    return weights


def _right_shapes(run, expected):
    _weights(run.weights)


def _knows(run, expected, *, text):
    for place, (came, wanted) in enumerate(zip(run.h, expected.h, strict=True)):
        if (came > ON) != (wanted > ON):
            side = f"above {ON}" if wanted > ON else f"at most {ON}"
            read = text[: place + 1]
            shown = repr(read if len(read) < 40 else "…" + read[-30:])
            raise Wrong(f"h {side} after {shown}, {place + 1} characters", f"{came:.3g}")
    units = run.weights[2].size // 4
    margin = np.abs(run.h - ON).min()
    return f"Units: {units}. The closest that h comes to {ON}: {margin:.2f}."


@exercise(
    "lstm-quote-cell",
    title="A cell that knows what is quoted",
    reference=quote_cell,
    drive=_read,
    difficulty=3,
    minutes=40,
)
def _(rng):
    def words(length):
        letters = rng.choice(list("etaoinshrd    "), size=length)
        return "".join(letters.tolist())

    def trial(idea, text, judge=None):
        judge = judge or functools.partial(_knows, text=text)
        shown = repr(text) if len(text) < 40 else f"a text of {len(text)} characters"
        return Trial(idea, (text,), judge, f"the weights of quote_cell() on {shown}")

    yield trial("the weights have the shapes of an LSTM with one input", words(4), _right_shapes)
    yield trial("the cell starts outside", words(8))
    yield trial("a quotation mark turns it on", words(8) + '"')
    yield trial("it stays on through a long quotation", f'"{words(300)}')
    yield trial("the next mark turns it off", f'"{words(6)}"')
    yield trial("it stays off after the quotation", f'"{words(6)}"{words(300)}')
    yield trial("the mark after that turns it on again", f'"{words(4)}"{words(4)}"{words(4)}')
    yield trial("marks may stand side by side", '"' * int(rng.integers(8, 16)))
    text = "".join(words(int(n)) + '"' for n in rng.integers(0, 100, size=40))
    yield trial("it never loses count", text)
