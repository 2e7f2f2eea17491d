"""Recurrent layers, twice: the equations written out, and torch's fused kernels.

Both paths take sequences (batch, time, features), a state (a list of tensors (batch, units), the
first of them h) and a mask, and return the output after every step and the last state. They give
equal results. A step that the mask leaves out keeps the state, and repeats the output before it.

Weights have Keras's layout: ``kernel`` (features, gates · units), ``recurrent_kernel``
(units, gates · units), the gates side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lmcourse.keras.activations import Activation

Sequences = Float[Tensor, "batch time features"]
Outputs = Float[Tensor, "batch time units"]
State = list[Float[Tensor, "batch units"]]
Mask = Bool[Tensor, "batch time"] | None
Step = Callable[[Tensor, State], State]


def lstm_step(
    x: Float[Tensor, "batch features"],
    state: State,
    kernel: Float[Tensor, "features gates"],
    recurrent_kernel: Float[Tensor, "units gates"],
    bias: Float[Tensor, " gates"] | None = None,
    *,
    activation: Activation = torch.tanh,
    recurrent_activation: Activation = torch.sigmoid,
    dropout_masks: Float[Tensor, "4 batch units"] | None = None,
) -> State:
    """One step of an LSTM.

    Equations: eq-lstm-gates, eq-lstm-cell, eq-lstm-cell-gradient (by autograd)

    Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000).

    Args:
        x: the input of this step.
        state: hidden state h and cell c, each (batch, units).
        kernel: the gates' weights for x, in Keras's order i, f, candidate, o: 4 · units columns.
        recurrent_kernel: the gates' weights for h, in the same order.
        bias: one number for each column.
        activation: of the candidate, and of the cell on its way out.
        recurrent_activation: of the three gates.
        dropout_masks: what h is multiplied by on its way to each gate.

    Returns:
        The new hidden state and cell.
    """
    h, c = state
    i, f, candidate, o = _gates(x, h, kernel, recurrent_kernel, bias, dropout_masks, 4)
    i, f, o = (recurrent_activation(gate) for gate in (i, f, o))  # (batch, units) each
    c = f * c + i * activation(candidate)
    return [o * activation(c), c]


def gru_step(
    x: Float[Tensor, "batch features"],
    state: State,
    kernel: Float[Tensor, "features gates"],
    recurrent_kernel: Float[Tensor, "units gates"],
    bias: Float[Tensor, "*bias_shape"] | None = None,
    *,
    reset_after: bool = True,
    activation: Activation = torch.tanh,
    recurrent_activation: Activation = torch.sigmoid,
    dropout_masks: Float[Tensor, "3 batch units"] | None = None,
) -> State:
    """One step of a GRU.

    Equation: eq-rnn-gru

    Source: Cho et al. (2014); with ``reset_after`` in cuDNN's form.

    Args:
        x: the input of this step.
        state: hidden state h.
        kernel: the gates' weights for x, in Keras's order z, r, candidate: 3 · units columns.
        recurrent_kernel: the gates' weights for h, in the same order.
        bias: (2, 3 · units), one row for x and one for h, with ``reset_after``; otherwise
            (3 · units,).
        reset_after: whether the reset gate multiplies after the matrix product, or before.
        activation: of the candidate.
        recurrent_activation: of the two gates.
        dropout_masks: what h is multiplied by on its way to each gate.

    Returns:
        The new hidden state.
    """
    (h,) = state
    units = h.shape[-1]
    bias_x, bias_h = bias if bias is not None and reset_after else (bias, None)
    for_z, for_r, for_candidate = [h] * 3 if dropout_masks is None else h * dropout_masks
    x_z, x_r, x_candidate = _affine(x, kernel, bias_x).split(units, dim=-1)
    u_z, u_r, u_candidate = recurrent_kernel.split(units, dim=-1)
    b_z, b_r, b_candidate = [None] * 3 if bias_h is None else bias_h.split(units)
    z = recurrent_activation(x_z + _affine(for_z, u_z, b_z))
    r = recurrent_activation(x_r + _affine(for_r, u_r, b_r))
    if reset_after:
        from_h = r * _affine(for_candidate, u_candidate, b_candidate)
    else:
        from_h = (r * for_candidate) @ u_candidate
    return [z * h + (1 - z) * activation(x_candidate + from_h)]


def rnn_step(
    x: Float[Tensor, "batch features"],
    state: State,
    kernel: Float[Tensor, "features units"],
    recurrent_kernel: Float[Tensor, "units units"],
    bias: Float[Tensor, " units"] | None = None,
    *,
    activation: Activation = torch.tanh,
    dropout_masks: Float[Tensor, "1 batch units"] | None = None,
) -> State:
    """One step of a plain RNN.

    Equation: eq-rnn-recurrence

    Source: Elman (1990).

    Args:
        x: the input of this step.
        state: hidden state h.
        kernel: weights for x.
        recurrent_kernel: weights for h.
        bias: one number for each unit.
        activation: of the sum.
        dropout_masks: what h is multiplied by.

    Returns:
        The new hidden state.
    """
    (h,) = state
    (total,) = _gates(x, h, kernel, recurrent_kernel, bias, dropout_masks, 1)
    return [activation(total)]


def unroll(step: Step, sequences: Sequences, state: State, mask: Mask) -> tuple[Outputs, State]:
    """Apply ``step`` to each input in turn.

    Args:
        step: takes an input (batch, features) and a state, and returns the next state.
        sequences: the inputs.
        state: where to start.
        mask: False at the steps to leave out; none if not given.

    Returns:
        The output after every step, zeros where no step has been taken yet, and the last state.
    """
    outputs, output = [], torch.zeros_like(state[0])
    for t in range(sequences.shape[1]):
        new_state = step(sequences[:, t], state)
        if mask is None:
            output, state = new_state[0], new_state
        else:
            taken = mask[:, t, None]  # (batch, 1)
            output = torch.where(taken, new_state[0], output)
            state = [
                torch.where(taken, new, old) for new, old in zip(new_state, state, strict=True)
            ]
        outputs.append(output)
    return torch.stack(outputs, dim=1), state


def fused_lstm(
    sequences: Sequences,
    state: State,
    kernel: Float[Tensor, "features gates"],
    recurrent_kernel: Float[Tensor, "units gates"],
    bias: Float[Tensor, " gates"] | None,
    mask: Mask,
    *,
    wants_state: bool,
) -> tuple[Outputs, State | None]:
    """Run a whole LSTM with ``torch.nn.LSTM``'s kernel, whose gates have the same order.

    torch keeps two biases and only ever adds them: the second is zero here.

    Args:
        sequences: the inputs.
        state: hidden state and cell.
        kernel: as in ``lstm_step``.
        recurrent_kernel: as in ``lstm_step``.
        bias: as in ``lstm_step``.
        mask: False at the steps to leave out.
        wants_state: whether the last state is needed. With a mask it costs more.

    Returns:
        The output after every step, and the last state, or ``None`` if it is not wanted.
    """
    biases = () if bias is None else (bias, torch.zeros_like(bias))
    weights = (kernel.T, recurrent_kernel.T, *biases)

    def run(inputs):
        module = _torch_module(nn.LSTM, len(kernel), len(recurrent_kernel), bias is not None)
        h_and_c = tuple(s[None] for s in state)
        outputs, last = functional_call(module, _named(weights), (inputs, h_and_c))
        return outputs, [s[0] for s in last]

    if mask is None:
        return run(sequences)
    return _masked(run, sequences, state, mask, wants_state=wants_state)


def fused_gru(
    sequences: Sequences,
    state: State,
    kernel: Float[Tensor, "features gates"],
    recurrent_kernel: Float[Tensor, "units gates"],
    bias: Float[Tensor, "2 gates"] | None,
    mask: Mask,
) -> tuple[Outputs, State]:
    """Run a whole GRU with ``torch.nn.GRU``'s kernel, which wants the gates in the order r, z, n.

    Args:
        sequences: the inputs.
        state: hidden state.
        kernel: as in ``gru_step``.
        recurrent_kernel: as in ``gru_step``.
        bias: as in ``gru_step`` with ``reset_after``, the only form that the kernel knows.
        mask: False at the steps to leave out.

    Returns:
        The output after every step, and the last state.
    """

    def reordered(weight):
        z, r, candidate = weight.chunk(3, dim=-1)
        return torch.cat([r, z, candidate], dim=-1)

    biases = () if bias is None else reordered(bias)
    weights = (reordered(kernel).T, reordered(recurrent_kernel).T, *biases)
    return _fused_without_cell(nn.GRU, sequences, state, weights, mask)


def fused_rnn(
    sequences: Sequences,
    state: State,
    kernel: Float[Tensor, "features units"],
    recurrent_kernel: Float[Tensor, "units units"],
    bias: Float[Tensor, " units"] | None,
    mask: Mask,
) -> tuple[Outputs, State]:
    """Run a whole plain RNN (tanh) with ``torch.nn.RNN``'s kernel, its second bias zero.

    Args:
        sequences: the inputs.
        state: hidden state.
        kernel: as in ``rnn_step``.
        recurrent_kernel: as in ``rnn_step``.
        bias: as in ``rnn_step``.
        mask: False at the steps to leave out.

    Returns:
        The output after every step, and the last state.
    """
    biases = () if bias is None else (bias, torch.zeros_like(bias))
    weights = (kernel.T, recurrent_kernel.T, *biases)
    return _fused_without_cell(nn.RNN, sequences, state, weights, mask)


def _fused_without_cell(kind, sequences, state, weights, mask):
    """The last output of these networks is their state, so no mask makes it cost more."""

    def run(inputs):
        features, units = sequences.shape[-1], state[0].shape[-1]
        module = _torch_module(kind, features, units, len(weights) == 4)
        outputs, last = functional_call(module, _named(weights), (inputs, state[0][None]))
        return outputs, [last[0]]

    if mask is None:
        return run(sequences)
    outputs, _ = _masked(run, sequences, state, mask, wants_state=False)
    return outputs, [torch.where(mask.any(dim=1)[:, None], outputs[:, -1], state[0])]


def _masked(run, sequences, state, mask, *, wants_state):
    """Close up the steps that count, run a kernel that knows no mask, and spread its outputs.

    The steps after the last one that counts compute something that nobody looks at.
    """
    lengths = mask.sum(dim=1)  # (batch,)
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)  # (batch, time): those that count
    closed_up = sequences.gather(1, order[:, :, None].expand_as(sequences))
    if wants_state:  # a packed sequence ends where its row ends, but is slower
        # The kernel refuses empty rows: they read one step, which is thrown away below.
        at_least_one = lengths.clamp(min=1).cpu()
        packed = pack_padded_sequence(
            closed_up, at_least_one, batch_first=True, enforce_sorted=False
        )
        outputs, last = run(packed)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=mask.shape[1])
        empty = (lengths == 0)[:, None]
        last = [torch.where(empty, old, new) for old, new in zip(state, last, strict=True)]
    else:
        outputs, last = run(closed_up)[0], None
    latest = mask.cumsum(dim=1)[:, :, None] - 1  # (batch, time, 1): the last step taken, or -1
    spread = outputs.gather(1, latest.clamp(min=0).expand_as(outputs))
    return torch.where(latest >= 0, spread, 0.0), last


def _gates(x, h, kernel, recurrent_kernel, bias, dropout_masks, n_gates):
    """The sums x W + h U + b, one (batch, units) for each gate."""
    units = h.shape[-1]
    if dropout_masks is None:
        from_h = h @ recurrent_kernel
    else:
        blocks = recurrent_kernel.split(units, dim=-1)
        from_h = torch.cat([(h * m) @ u for m, u in zip(dropout_masks, blocks, strict=True)], -1)
    return (_affine(x, kernel, bias) + from_h).chunk(n_gates, dim=-1)


def _affine(x, weight, bias):
    return x @ weight if bias is None else torch.addmm(bias, x, weight)


def _named(weights):
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return dict(zip(names, weights, strict=False))


@cache
def _torch_module(kind, features, units, bias):
    """A torch layer without numbers of its own: it only carries the sizes to the kernel."""
    return kind(features, units, bias=bias, batch_first=True, device="meta")
