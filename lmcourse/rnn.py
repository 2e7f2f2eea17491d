"""Recurrent networks in numpy: a plain RNN and a GRU, with gradients derived by hand.

A layer reads a batch of sequences from left to right and hands a state from step to step.
``RecurrentModel`` puts an embedding before it and an output layer behind it, which makes a language
model, and ``train`` fits one to a text by truncated back-propagation through time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lmcourse import _arguments
from lmcourse.optimizers import clip_by_global_norm, linear_decay
from lmcourse.probability import log_softmax

RECURRENT_STARTS = ("orthogonal", "normal", "identity")
CHUNK = 1024  # steps of a long text that are held in memory at once


class Tape(NamedTuple):
    """What a forward pass keeps for the backward pass. Its arrays are time-major: [time, batch, …].

    Attributes:
        x: the inputs.
        states: the state before the first step, then the one after each: [time + 1, batch, hidden].
        mask: which steps are real, or ``None`` if all are.
        gates: what else the layer computed at each step, by name.
    """

    x: np.ndarray
    states: np.ndarray
    mask: np.ndarray | None
    gates: dict[str, np.ndarray]


class LayerGradients(NamedTuple):
    """What a backward pass finds: the loss's gradient with respect to everything that went in.

    Attributes:
        parameters: by name, summed over batch and time.
        x: [batch, time, input].
        state: with respect to the state before the first step, [batch, hidden].
        hidden_states: [batch, time, hidden]; row t holds every path from h_t to the loss, those
            through later steps too.
    """

    parameters: dict[str, np.ndarray]
    x: np.ndarray
    state: np.ndarray
    hidden_states: np.ndarray


class _RecurrentLayer:
    """What the layers share: arguments are checked and turned time-major, results turned back.

    A subclass unrolls itself: ``_forward(x, state, mask)`` returns states and gates, and
    ``_backward(tape, d_outputs, d_state)`` the gradients, all time-major.
    """

    blocks: int  # how many matrices of [hidden, hidden] stand side by side in recurrent_weight

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        recurrent_start: str = "orthogonal",
        seed: int = 0,
        dtype: type = np.float32,
    ):
        self.input_size = _arguments.integer("input_size", input_size, at_least=1)
        self.hidden_size = _arguments.integer("hidden_size", hidden_size, at_least=1)
        _arguments.one_of("recurrent_start", recurrent_start, RECURRENT_STARTS)
        self.dtype = _arguments.float_type("dtype", dtype)
        rng = np.random.default_rng(_arguments.integer("seed", seed, at_least=0))
        wide = self.blocks * self.hidden_size
        x_weight = rng.normal(size=(self.input_size, wide)) / self.input_size**0.5
        h_weight = [_start(recurrent_start, self.hidden_size, rng) for _ in range(self.blocks)]
        self.parameters: dict[str, np.ndarray] = {
            "input_weight": x_weight.astype(dtype),
            "recurrent_weight": np.concatenate(h_weight, axis=1).astype(dtype),
            "bias": np.zeros(wide, dtype),
        }

    def forward(
        self,
        x: Float[np.ndarray, "batch time input"],
        state: Float[np.ndarray, "batch hidden"] | None = None,
        *,
        mask: Bool[np.ndarray, "batch time"] | None = None,
    ) -> tuple[Float[np.ndarray, "batch time hidden"], Float[np.ndarray, "batch hidden"], Tape]:
        """Read a batch of sequences.

        Cutting a sequence in two and handing the state over gives the same numbers, to the last
        bit, as reading it whole.

        Args:
            x: one vector for each step of each sequence; computed in the layer's own precision.
            state: where to start; zeros if not given.
            mask: False at the steps that are padding. They leave the state as it is.

        Returns:
            The state after every step; the last of them; and the tape, for ``backward``.

        Raises:
            TypeError: ``x`` or ``state`` is not numeric, or ``mask`` is not boolean.
            ValueError: a shape does not fit, a sequence has no steps, or a number is not finite.
        """
        x = np.asarray(x)
        if x.ndim == 3 and 0 in x.shape:
            raise ValueError(
                f"x must have at least one sequence, one step and one input, got shape {x.shape}"
            )
        x = _arguments.finite_array("x", x, ndim=3).astype(self.dtype, copy=False)
        batch, time, size = x.shape
        if size != self.input_size:
            raise ValueError(f"x must have {self.input_size} inputs a step, got shape {x.shape}")
        state = self._checked("state", state, (batch, self.hidden_size))
        if mask is not None:
            mask = _checked_mask("mask", mask, (batch, time)).T
        x = np.ascontiguousarray(x.transpose(1, 0, 2))
        states, gates = self._forward(x, state, mask)
        tape = Tape(x, states, mask, gates)
        return states[1:].transpose(1, 0, 2), states[-1].copy(), tape

    def backward(
        self,
        tape: Tape,
        d_hidden_states: Float[np.ndarray, "batch time hidden"],
        d_state: Float[np.ndarray, "batch hidden"] | None = None,
    ) -> LayerGradients:
        """Carry the loss's gradient back through every step.

        Args:
            tape: from ``forward``, with the parameters as they were then.
            d_hidden_states: the loss's gradient with respect to what ``forward`` returned first,
                each state taken as an output of its own.
            d_state: the same for the last state that ``forward`` returned; zeros if not given.

        Returns:
            The gradients.

        Raises:
            TypeError: a gradient is not numeric.
            ValueError: a gradient has another shape than the tape's, or is not finite.
        """
        time, batch, _ = tape.x.shape
        shape = (batch, time, self.hidden_size)
        d_outputs = self._checked("d_hidden_states", d_hidden_states, shape).transpose(1, 0, 2)
        d_state = self._checked("d_state", d_state, (batch, self.hidden_size))
        return self._backward(tape, d_outputs, d_state)

    def _checked(self, name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
        if value is None:
            return np.zeros(shape, self.dtype)
        value = _arguments.finite_array(name, value).astype(self.dtype, copy=False)
        if value.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got shape {value.shape}")
        return value

    def _gradients(self, tape, d_from_x, d_from_h, d_state, d_states):
        """Turn the gradients of the sums x W_x and h W_h, [time, batch, wide], into the result."""
        wide = d_from_x.shape[-1]
        flat_x, flat_h = d_from_x.reshape(-1, wide), d_from_h.reshape(-1, wide)
        parameters = {  # the same weights at every step: their gradients add up
            "input_weight": tape.x.reshape(-1, self.input_size).T @ flat_x,
            "recurrent_weight": tape.states[:-1].reshape(-1, self.hidden_size).T @ flat_h,
            "bias": flat_x.sum(axis=0),
        }
        d_x = (flat_x @ self.parameters["input_weight"].T).reshape(tape.x.shape)
        return LayerGradients(
            parameters, d_x.transpose(1, 0, 2), d_state, d_states.transpose(1, 0, 2)
        )


class RNN(_RecurrentLayer):
    """The plain recurrent layer: ``h_t = tanh(x_t W_x + h_{t-1} W_h + b)``.

    ``parameters`` is a dict of arrays, so an optimizer of ``lmcourse.optimizers`` can update them:

    - ``input_weight``      [input, hidden], W_x;
    - ``recurrent_weight``  [hidden, hidden], W_h;
    - ``bias``              [hidden]. ``torch.nn.RNN`` has two, which it only ever adds.

    Equations: eq-rnn-recurrence, eq-rnn-bptt

    Source: Elman (1990).

    Args:
        input_size: numbers in each step's input.
        hidden_size: numbers in the state.
        recurrent_start: what W_h starts as: a random ``"orthogonal"`` matrix, independent
            ``"normal"`` numbers of variance 1 / hidden, or the ``"identity"``.
        seed: of the random initial weights.
        dtype: float32 for speed, float64 to check gradients.

    Raises:
        TypeError: a size or the seed is not an integer.
        ValueError: a size is below 1, ``recurrent_start`` is none of the three, or ``dtype`` is
            neither of the two.
    """

    blocks = 1

    def _forward(self, x, state, mask):
        recurrent = self.parameters["recurrent_weight"]
        states = np.empty((len(x) + 1, *state.shape), self.dtype)  # [time + 1, batch, hidden]
        states[0] = state
        from_x = x @ self.parameters["input_weight"] + self.parameters["bias"]
        for t in range(len(x)):
            np.tanh(from_x[t] + states[t] @ recurrent, out=states[t + 1])
            _keep_at_padding(states, t, mask)
        return states, {}

    def _backward(self, tape, d_outputs, d_h):
        x, states, mask, _ = tape
        back = np.ascontiguousarray(self.parameters["recurrent_weight"].T)
        d_states, d_a = np.empty_like(states[1:]), np.empty_like(states[1:])
        for t in reversed(range(len(x))):
            d_h = d_states[t] = d_h + d_outputs[t]  # what flows back, and step t's own output
            d_new, d_h = _split_at_padding(d_h, t, mask)
            d_a[t] = d_new * (1 - states[t + 1] ** 2)  # through the tanh
            d_h = d_h + d_a[t] @ back  # to h_{t-1}
        return self._gradients(tape, d_a, d_a, d_h, d_states)


class GRU(_RecurrentLayer):
    """The gated recurrent unit: a gate decides, number by number, what of the state is replaced.

    With r the reset gate, z the update gate and n the candidate, ``h_t = (1 - z) n + z h_{t-1}``:
    an update gate near 1 *keeps* the state. Cho et al. (2014), torch and Keras write it so; Chung
    et al. (2014) write z where this has 1 - z.

    ``parameters`` is a dict of arrays; the three blocks stand side by side in the order r, z, n:

    - ``input_weight``      [input, 3 * hidden];
    - ``recurrent_weight``  [hidden, 3 * hidden];
    - ``bias``              [3 * hidden];
    - ``candidate_bias``    [hidden], the one that stands inside the reset gate's product.

    There are two conventions for the candidate. Here, as in torch, cuDNN and Keras with its default
    ``reset_after=True``, the reset gate multiplies *after* the matrix product,
    ``n = tanh(x W_n + b_n + r (h U_n + c))``, and so the candidate has two biases that differ. In
    the published paper of Cho et al. it multiplies *before*,
    ``n = tanh(x W_n + b_n + (r h) U_n)``, and one bias is all there is. For r and z, torch and
    Keras carry two biases as well, but only their sum matters: ``bias`` is ``bias_ih`` plus the r
    and z parts of torch's ``bias_hh``, and ``candidate_bias`` is the n part of ``bias_hh``.

    Equations: eq-rnn-gru, eq-rnn-gru-backward

    Sources: Cho et al. (2014); the form with the reset gate after the product, cuDNN.

    Args:
        input_size: numbers in each step's input.
        hidden_size: numbers in the state.
        update_bias: what the update gate's bias starts at. Above 0 the layer starts by keeping more
            of its state: sigmoid(update_bias) of it, where the weights add nothing.
        recurrent_start: as in ``RNN``, for each of the three blocks.
        seed: of the random initial weights.
        dtype: float32 for speed, float64 to check gradients.

    Raises:
        TypeError: a size or the seed is not an integer, or ``update_bias`` is not a number.
        ValueError: a size is below 1, ``update_bias`` is not finite, ``recurrent_start`` is none of
            the three, or ``dtype`` is neither of the two.
    """

    blocks = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        update_bias: float = 0.0,
        recurrent_start: str = "orthogonal",
        seed: int = 0,
        dtype: type = np.float32,
    ):
        super().__init__(
            input_size, hidden_size, recurrent_start=recurrent_start, seed=seed, dtype=dtype
        )
        update = slice(self.hidden_size, 2 * self.hidden_size)
        self.parameters["bias"][update] = _arguments.number("update_bias", update_bias)
        self.parameters["candidate_bias"] = np.zeros(self.hidden_size, dtype)

    def _forward(self, x, state, mask):
        hidden, recurrent = self.hidden_size, self.parameters["recurrent_weight"]
        states = np.empty((len(x) + 1, *state.shape), self.dtype)  # [time + 1, batch, hidden]
        states[0] = state
        # [time, batch, 3 * hidden]: x's share of all gates; each step turns it into r, z and n.
        gates = x @ self.parameters["input_weight"] + self.parameters["bias"]
        inside = np.empty_like(states[1:])  # [time, batch, hidden]: h U_n + c
        for t in range(len(x)):
            from_h = states[t] @ recurrent  # [batch, 3 * hidden]
            inside[t] = from_h[:, 2 * hidden :] + self.parameters["candidate_bias"]
            r_and_z = _sigmoid(gates[t, :, : 2 * hidden] + from_h[:, : 2 * hidden])
            r, z = r_and_z[:, :hidden], r_and_z[:, hidden:]
            n = np.tanh(gates[t, :, 2 * hidden :] + r * inside[t])
            states[t + 1] = n + z * (states[t] - n)  # (1 - z) n + z h
            gates[t, :, : 2 * hidden], gates[t, :, 2 * hidden :] = r_and_z, n
            _keep_at_padding(states, t, mask)
        return states, {"r, z, n": gates, "inside": inside}

    def _backward(self, tape, d_outputs, d_h):
        hidden, (x, states, mask, gates) = self.hidden_size, tape
        back = np.ascontiguousarray(self.parameters["recurrent_weight"].T)
        r, z, n = np.split(gates["r, z, n"], 3, axis=2)  # [time, batch, hidden] each
        d_states = np.empty_like(states[1:])
        d_from_x = np.empty_like(gates["r, z, n"])  # [time, batch, 3 * hidden]
        d_from_h = np.empty_like(d_from_x)  # the same but for the candidate's block
        for t in reversed(range(len(x))):
            d_h = d_states[t] = d_h + d_outputs[t]
            d_new, d_h = _split_at_padding(d_h, t, mask)
            d_n = d_new * (1 - z[t]) * (1 - n[t] ** 2)  # through the tanh
            d_r = d_n * gates["inside"][t]
            d_z = d_new * (states[t] - n[t])
            d_from_x[t, :, :hidden] = d_r * r[t] * (1 - r[t])  # through the sigmoids
            d_from_x[t, :, hidden : 2 * hidden] = d_z * z[t] * (1 - z[t])
            d_from_x[t, :, 2 * hidden :] = d_n
            d_from_h[t] = d_from_x[t]
            d_from_h[t, :, 2 * hidden :] *= r[t]
            # To h_{t-1} by the short path, and by the one through the gates.
            d_h = d_h + d_new * z[t] + d_from_h[t] @ back
        result = self._gradients(tape, d_from_x, d_from_h, d_h, d_states)
        inside = d_from_h[:, :, 2 * hidden :]
        result.parameters["candidate_bias"] = inside.sum(axis=(0, 1))
        return result


class RecurrentModel:
    """A language model around a recurrent layer: embed each token, read, score the next one.

    The state before the first token is zero, and the output layer on that state predicts it.
    ``parameters`` holds the layer's own arrays beside three more:

    - ``embedding``      [vocab, input];
    - ``output_weight``  [hidden, vocab] and ``output_bias`` [vocab].

    Equations: eq-rnn-output, eq-rnn-loss

    Source: Mikolov et al. (2010).

    Args:
        vocab_size: number of token ids.
        layer: an ``RNN`` or a ``GRU``; its input size is the size of the embedding.
        seed: of the random initial embedding and output weights.

    Raises:
        TypeError: ``vocab_size`` or ``seed`` is not an integer, or ``layer`` is not a layer.
        ValueError: ``vocab_size`` is below 1 or ``seed`` below 0.
    """

    def __init__(self, vocab_size: int, layer: RNN | GRU, *, seed: int = 0):
        self.vocab_size = _arguments.integer("vocab_size", vocab_size, at_least=1)
        if not isinstance(layer, _RecurrentLayer):
            raise TypeError(f"layer must be an RNN or a GRU, got {type(layer).__name__}")
        rng = np.random.default_rng(_arguments.integer("seed", seed, at_least=0))
        self.layer, hidden, dtype = layer, layer.hidden_size, layer.dtype
        output = rng.normal(size=(hidden, self.vocab_size)) / hidden**0.5
        embedding = rng.normal(size=(self.vocab_size, layer.input_size))
        self.parameters: dict[str, np.ndarray] = {
            "embedding": embedding.astype(dtype),
            **layer.parameters,
            "output_weight": output.astype(dtype),
            "output_bias": np.zeros(self.vocab_size, dtype),
        }

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.size for p in self.parameters.values())

    def logits(
        self,
        ids: Int[np.ndarray, "batch time"],
        state: Float[np.ndarray, "batch hidden"] | None = None,
        *,
        mask: Bool[np.ndarray, "batch time"] | None = None,
    ) -> tuple[Float[np.ndarray, "batch time vocab"], Float[np.ndarray, "batch hidden"]]:
        """Score the token after each token.

        Args:
            ids: token ids.
            state: the layer's state before them; zeros if not given.
            mask: False at padding.

        Returns:
            Logits in nats, ``logits[b, t]`` for the token that follows ``ids[b, t]``, and the state
            after the last token.

        Raises:
            TypeError: ``ids`` are not integers, or ``mask`` is not boolean.
            ValueError: ``ids`` is empty, an id is out of range, or a shape does not fit.
        """
        hidden_states, state, _ = self._read(ids, state, mask)
        # One product a step, time-major: a longer text must not change the last bits.
        return self._score(hidden_states.transpose(1, 0, 2)).transpose(1, 0, 2), state

    def loss_and_gradients(
        self,
        ids: Int[np.ndarray, "batch time"],
        targets: Int[np.ndarray, "batch time"],
        state: Float[np.ndarray, "batch hidden"] | None = None,
        *,
        mask: Bool[np.ndarray, "batch time"] | None = None,
        counted: Bool[np.ndarray, "batch time"] | None = None,
    ) -> tuple[float, dict[str, np.ndarray], Float[np.ndarray, "batch hidden"]]:
        """Return the mean cross-entropy, its gradients, and the state after the last token.

        The gradients stop at ``state``: it counts as a constant, which is what truncates
        back-propagation through time when a text is read in pieces.

        Args:
            ids: token ids.
            targets: ``targets[b, t]`` is the token that follows ``ids[b, t]``.
            state: the layer's state before them; zeros if not given.
            mask: False at padding, which neither moves the state nor counts.
            counted: which targets the loss is the mean over; all that are not padding if not given.

        Returns:
            The loss in nats per counted target; its gradient for each parameter; the last state.

        Raises:
            TypeError: ``ids`` or ``targets`` are not integers, or a mask is not boolean.
            ValueError: a shape does not fit, an id is out of range, or no target is counted.
        """
        shape = np.shape(ids)
        hidden_states, state, tape = self._read(ids, state, mask)
        targets = _arguments.token_ids("targets", targets, self.vocab_size, ndim=2)
        if targets.shape != shape:
            raise ValueError(f"targets must have ids' shape {shape}, got shape {targets.shape}")
        weights = (
            np.ones(shape, bool) if counted is None else _checked_mask("counted", counted, shape)
        )
        if mask is not None:
            weights = weights & mask
        n_counted = int(weights.sum())
        if n_counted == 0:
            raise ValueError("counted must hold at least one target that is not padding, got none")

        log_p = log_softmax(self._score(hidden_states))  # [batch, time, vocab]
        at_targets = np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
        loss = -float(at_targets[weights].sum(dtype=np.float64)) / n_counted

        d_logits = np.exp(log_p)  # [batch, time, vocab]: (p - y) / n where counted, else 0
        rows, columns = np.indices(shape, sparse=True)
        d_logits[rows, columns, targets] -= 1
        d_logits *= (weights / n_counted).astype(d_logits.dtype)[..., None]
        flat_h = hidden_states.reshape(-1, self.layer.hidden_size)  # [batch * time, hidden]
        flat_d = d_logits.reshape(-1, self.vocab_size)  # [batch * time, vocab]
        back = self.layer.backward(tape, d_logits @ self.parameters["output_weight"].T)
        gradients = {
            "embedding": self._embedding_gradient(ids, back.x),
            **back.parameters,
            "output_weight": flat_h.T @ flat_d,
            "output_bias": flat_d.sum(axis=0),
        }
        return loss, gradients, state

    def probabilities(self, context: Int[np.ndarray, " time"]) -> Float[np.ndarray, " vocab"]:
        """Return the distribution of the token that follows ``context``.

        Args:
            context: the tokens so far, all of which are read; may be empty.

        Returns:
            One probability for each token; they sum to 1.

        Raises:
            TypeError: ``context`` does not hold integers.
            ValueError: an id is outside ``[0, vocab_size)``.
        """
        return self.reader()(context)

    def reader(self) -> Callable[[Int[np.ndarray, " time"]], Float[np.ndarray, " vocab"]]:
        """Return a function that reads a text piece by piece.

        It takes the tokens that come next, from none to many, and returns the distribution of the
        token after them. It carries the state from call to call, so that ``generate`` of
        ``lmcourse.language_models`` pays for one step a token.

        Returns:
            The function, at the beginning of a text.
        """
        state = None

        def read(ids):
            nonlocal state
            state = self.state_after(ids, state)
            return np.exp(log_softmax(self._next_logits(state)))

        return read

    def token_log_probabilities(self, ids: Int[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
        """Return the log-probability of each token given all those before it.

        Args:
            ids: token ids of a text.

        Returns:
            ``log p(ids[t] | ids[:t])`` in nats.

        Raises:
            TypeError: ``ids`` are not integers.
            ValueError: ``ids`` is empty or an id is outside ``[0, vocab_size)``.
        """
        ids = _arguments.token_ids("ids", ids, self.vocab_size, ndim=1)
        state = self.state_after(ids[:0])
        scores = [log_softmax(self._next_logits(state))[ids[:1]]]
        for start in range(0, len(ids) - 1, CHUNK):
            piece = ids[start : start + CHUNK + 1]
            logits, state = self.logits(piece[None, :-1], state)
            scores.append(log_softmax(logits[0])[np.arange(len(piece) - 1), piece[1:]])
        return np.concatenate(scores).astype(np.float64)

    def state_after(
        self,
        context: Int[np.ndarray, " time"],
        state: Float[np.ndarray, "1 hidden"] | None = None,
    ) -> Float[np.ndarray, "1 hidden"]:
        """Read one text and return the layer's state after it.

        Args:
            context: token ids; may be empty.
            state: the state before them; zeros if not given.

        Returns:
            The state, for a batch of one.

        Raises:
            TypeError: ``context`` does not hold integers.
            ValueError: an id is outside ``[0, vocab_size)``, or ``state`` has another shape.
        """
        context = _arguments.token_ids("context", context, self.vocab_size, allow_empty=True)
        state = self.layer._checked("state", state, (1, self.layer.hidden_size))
        for start in range(0, len(context), CHUNK):
            _, state, _ = self._read(context[None, start : start + CHUNK], state, None)
        return state

    def _read(self, ids, state, mask):
        ids = _arguments.token_ids("ids", ids, self.vocab_size, ndim=2)
        return self.layer.forward(self.parameters["embedding"][ids], state, mask=mask)

    def _score(self, hidden_states):
        return hidden_states @ self.parameters["output_weight"] + self.parameters["output_bias"]

    def _embedding_gradient(self, ids, d_x):
        """Add up what each token's vector gets: a token met twice gets both gradients."""
        size = self.layer.input_size
        gradient = np.zeros(self.vocab_size * size, self.layer.dtype)
        # In one dimension, where np.add.at is several times as fast as row by row.
        entries = np.asarray(ids, np.int64)[..., None] * size + np.arange(size)
        np.add.at(gradient, entries.reshape(-1), d_x.reshape(-1))
        return gradient.reshape(self.vocab_size, size)

    def _next_logits(self, state):
        """Return the logits of the token that comes after ``state``, [vocab], in float64."""
        return self._score(state)[0].astype(np.float64)


def train(
    model: RecurrentModel,
    ids: Int[np.ndarray, " time"],
    optimizer,
    *,
    steps: int,
    batch_size: int = 32,
    length: int = 64,
    max_norm: float | None = 1.0,
    carry_state: bool = True,
    seed: int = 0,
) -> Float[np.ndarray, " steps"]:
    """Train a recurrent model on a text by truncated back-propagation through time.

    The text is cut into ``batch_size`` streams that are read side by side, ``length`` tokens a
    step. The state after one piece is where the next one starts, but no gradient flows back into
    the piece before. At the streams' ends the reading starts again from zero, a random number of
    tokens further in, so that the cuts fall elsewhere. The learning rate falls linearly from the
    optimizer's own to zero over the run; it is restored at the end.

    Equations: eq-rnn-truncated, eq-rnn-clip

    Source: Williams and Peng (1990), truncation; Pascanu, Mikolov and Bengio (2013), clipping.

    Args:
        model: the model; its parameters are updated in place.
        ids: token ids of the training text.
        optimizer: from ``lmcourse.optimizers``.
        steps: number of updates.
        batch_size: number of streams.
        length: tokens of each stream read in a step, over which gradients flow.
        max_norm: gradients whose global norm is larger are scaled down to it; ``None`` leaves them.
        carry_state: False starts every piece from a zero state.
        seed: of the random cuts.

    Returns:
        The loss of each step before its update, in nats per token.

    Raises:
        TypeError: ``ids`` are not integers, or a number is of the wrong type.
        ValueError: an id is out of range, a number is too small, or the text is shorter than
            ``batch_size * length + 1`` tokens.
    """
    ids = _arguments.token_ids("ids", ids, model.vocab_size, ndim=1)
    steps = _arguments.integer("steps", steps, at_least=1)
    batch_size = _arguments.integer("batch_size", batch_size, at_least=1)
    length = _arguments.integer("length", length, at_least=1)
    if len(ids) < batch_size * length + 1:
        raise ValueError(
            f"ids must hold at least {batch_size} * {length} + 1 tokens, "
            f"batch_size times length and one to predict, got {len(ids)}"
        )
    rng = np.random.default_rng(_arguments.integer("seed", seed, at_least=0))
    losses, state = np.empty(steps), None
    pieces = _pieces(ids, batch_size, length, rng)
    with linear_decay(optimizer, steps) as counting:
        for step in counting:
            inputs, targets, fresh = next(pieces)
            losses[step], gradients, state = model.loss_and_gradients(
                inputs, targets, state if carry_state and not fresh else None
            )
            if max_norm is not None:
                clip_by_global_norm(gradients, max_norm)
            optimizer.step(model.parameters, gradients)
    return losses


class FlowNorms(NamedTuple):
    """How strongly one prediction depends on each earlier step.

    Attributes:
        hidden_states: the norm of the loss's gradient with respect to h_t, [time].
        inputs: the same with respect to the embedding of token t, [time].
    """

    hidden_states: np.ndarray
    inputs: np.ndarray


def gradient_flow(model: RecurrentModel, ids: Int[np.ndarray, " time"]) -> FlowNorms:
    """Measure how the loss on a text's last token depends on each token before it.

    The gradient with respect to h_t is the gradient at the last state times the product of the
    Jacobians of all steps between, so its norm shows whether that product vanishes or explodes.

    Equation: eq-rnn-jacobian

    Source: Pascanu, Mikolov and Bengio (2013).

    Args:
        model: a recurrent model.
        ids: token ids; the last one is predicted from the others.

    Returns:
        Norms of gradients of -log p(ids[-1] | ids[:-1]), in nats per unit of state and of
        embedding, for each token but the last.

    Raises:
        TypeError: ``ids`` are not integers.
        ValueError: there are fewer than two, or an id is outside ``[0, vocab_size)``.
    """
    ids = _arguments.token_ids("ids", ids, model.vocab_size, ndim=1)
    if len(ids) < 2:
        raise ValueError(f"ids must hold at least two tokens, one of them to predict, got {ids}")
    hidden_states, _, tape = model._read(ids[None, :-1], None, None)
    d_logits = np.exp(log_softmax(model._score(hidden_states[:, -1])))  # [1, vocab]
    d_logits[0, ids[-1]] -= 1
    back = model.layer.backward(
        tape, np.zeros_like(hidden_states), d_logits @ model.parameters["output_weight"].T
    )
    norms = (np.linalg.norm(d[0], axis=-1) for d in (back.hidden_states, back.x))
    return FlowNorms(*norms)


def spectral_radius(matrix: Float[np.ndarray, "size size"]) -> float:
    """Return the largest absolute value among a square matrix's eigenvalues.

    Equation: eq-rnn-spectral-radius

    Args:
        matrix: real and square.

    Returns:
        The radius: ``matrix`` applied over and over grows, in the long run, by this factor a time.

    Raises:
        TypeError: ``matrix`` is not numeric.
        ValueError: it is not square, is empty, or holds NaN or infinity.
    """
    matrix = _arguments.finite_array("matrix", matrix, ndim=2)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix must be square, got shape {matrix.shape}")
    return float(np.abs(np.linalg.eigvals(matrix.astype(np.float64))).max())


def orthogonal_matrix(size: int, rng: np.random.Generator) -> Float[np.ndarray, "size size"]:
    """Draw an orthogonal matrix, each one as likely as any other.

    It leaves the length of every vector as it is, and so has spectral radius 1.

    Equation: eq-rnn-orthogonal

    Source: Saxe, McClelland and Ganguli (2014); the draw is that of Mezzadri (2007).

    Args:
        size: number of rows and of columns, at least 1.
        rng: where the random numbers come from.

    Returns:
        The matrix, in float64.

    Raises:
        TypeError: ``size`` is not an integer.
        ValueError: ``size`` is below 1.
    """
    size = _arguments.integer("size", size, at_least=1)
    q, r = np.linalg.qr(rng.normal(size=(size, size)))
    return q * np.sign(np.diag(r))  # the signs that QR happens to choose are not uniform


def _start(recurrent_start: str, size: int, rng: np.random.Generator) -> np.ndarray:
    if recurrent_start == "identity":
        return np.eye(size)
    if recurrent_start == "normal":
        return rng.normal(size=(size, size)) / size**0.5
    return orthogonal_matrix(size, rng)


def _sigmoid(a: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-a)), by the tanh, which cannot overflow."""
    return 0.5 * np.tanh(0.5 * a) + 0.5


def _keep_at_padding(states, t: int, mask) -> None:
    """Where step t is padding, take back the state it made."""
    if mask is not None:
        np.copyto(states[t + 1], states[t], where=~mask[t][:, None])


def _split_at_padding(d_h, t: int, mask):
    """Split a gradient into what goes through step t and what padding hands on unchanged."""
    if mask is None:
        return d_h, np.zeros((), d_h.dtype)
    real = mask[t][:, None]
    return np.where(real, d_h, 0), np.where(real, 0, d_h)


def _checked_mask(name: str, mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"{name} must be an array of bool, got an array of {mask.dtype}")
    if mask.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got shape {mask.shape}")
    return mask


def _pieces(ids, batch_size: int, length: int, rng):
    """Yield inputs and targets, [batch, length] each, and whether the reading starts afresh."""
    offset = 0
    while True:
        stream = (len(ids) - 1 - offset) // batch_size
        inputs = ids[offset : offset + batch_size * stream].reshape(batch_size, stream)
        targets = ids[offset + 1 : offset + 1 + batch_size * stream].reshape(batch_size, stream)
        for start in range(0, stream - length + 1, length):
            piece = slice(start, start + length)
            yield inputs[:, piece], targets[:, piece], start == 0
        # Leave at least one whole piece in every stream.
        offset = int(rng.integers(min(length, len(ids) - batch_size * length)))
