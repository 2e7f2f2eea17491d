"""Layers that read a sequence from left to right: LSTM, GRU and the plain RNN."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from lmcourse import _arguments
from lmcourse.keras import activations, initializers, recurrence
from lmcourse.keras.layers.base import Layer
from lmcourse.keras.layers.core import dropout_mask, known_features

IMPLEMENTATIONS = ("auto", "equations")


class Recurrent(Layer):
    """What LSTM, GRU and SimpleRNN share: states, masks, direction and dropout.

    Args:
        units: numbers in the state.
        activation: of what enters the state.
        use_bias: whether there is a bias.
        kernel_initializer: what the weights for the input start as.
        recurrent_initializer: what the weights for the state start as.
        bias_initializer: what the bias starts as.
        dropout: share of the input's numbers that is dropped while training; the same ones at
            every step of a sequence.
        recurrent_dropout: the same for the state, drawn for each gate. The equations then run
            written out, which is slower.
        return_sequences: whether to return the output after every step, or only the last.
        return_state: whether to return the last state too.
        go_backwards: whether to read from the end; outputs come in the order of reading.
        stateful: whether to start from where the last batch ended, row by row, until
            ``reset_states()``.
        zero_output_for_mask: whether masked steps return zeros rather than the output before.
        unroll: accepted as in Keras, and not needed.
        implementation: ``"equations"`` writes every step out; ``"auto"`` uses torch's fused kernel
            where it computes the same. Keras's 0, 1 and 2 mean ``"auto"``.
        **base: arguments of every layer: ``name``, ``trainable``, ``input_shape``.

    Raises:
        TypeError: ``units`` is not an integer, or a rate is not a number.
        ValueError: ``units`` is below 1, a rate is not in [0, 1), or a name is not known.
    """

    rank = 3
    n_gates: int
    state_names: tuple[str, ...] = ("h",)

    def __init__(
        self,
        units: int,
        activation: str | activations.Activation | None = "tanh",
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        recurrent_initializer: str | initializers.Initializer = "orthogonal",
        bias_initializer: str | initializers.Initializer = "zeros",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        zero_output_for_mask: bool = False,
        unroll: bool = False,
        implementation: str | int = "auto",
        **base: Any,
    ):
        super().__init__(**base)
        self.units = _arguments.integer("units", units, at_least=1)
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.dropout = _arguments.number("dropout", dropout, at_least=0, below=1)
        self.recurrent_dropout = _arguments.number(
            "recurrent_dropout", recurrent_dropout, at_least=0, below=1
        )
        self.return_sequences = bool(return_sequences)
        self.return_state = bool(return_state)
        self.go_backwards = bool(go_backwards)
        self.stateful = bool(stateful)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self.unroll = bool(unroll)
        if implementation in (0, 1, 2):
            implementation = "auto"
        self.implementation = _arguments.one_of("implementation", implementation, IMPLEMENTATIONS)
        self.states: list[Tensor] | None = None

    def build(self, input_shape: Any) -> None:
        """Make the weights, all gates side by side, for the features of ``input_shape``.

        Raises:
            ValueError: their number is not known.
        """
        features, wide = known_features(self, input_shape), self.n_gates * self.units
        for name, rows, start in (
            ("kernel", features, self.kernel_initializer),
            ("recurrent_kernel", self.units, self.recurrent_initializer),
        ):
            self.add_weight(name=name, shape=(rows, wide), initializer=start)
        if self.use_bias:
            self._add_bias(wide)
        else:
            self.bias = None
        self.input_features = features

    def _add_bias(self, wide: int) -> None:
        self.add_weight(name="bias", shape=(wide,), initializer=self.bias_initializer)

    def call(
        self,
        sequences: Shaped[Tensor, "batch time features"],
        initial_state: Any = None,
        mask: Bool[Tensor, "batch time"] | None = None,
    ) -> Any:
        """Read sequences step by step.

        Args:
            sequences: the inputs.
            initial_state: one tensor (batch, units) for each state, in a list; zeros, or with
                ``stateful`` the last state, if not given.
            mask: False at the steps to leave out.

        Returns:
            The last output (batch, units), or with ``return_sequences`` all of them
            (batch, time, units); with ``return_state`` a list of that and the states.

        Raises:
            ValueError: a state or the mask does not fit the inputs.
        """
        sequences = sequences.to(self.kernel.dtype)
        if 0 in sequences.shape[:2]:
            raise ValueError(
                f"{self.name!r} must get at least one sequence of at least one step, "
                f"got shape {tuple(sequences.shape)}"
            )
        if mask is not None and mask.shape != sequences.shape[:2]:
            raise ValueError(
                f"mask must have the shape of {self.name!r}'s steps {tuple(sequences.shape[:2])}, "
                f"got shape {tuple(mask.shape)}"
            )
        state = self._starting_state(initial_state, sequences)
        if self.go_backwards:
            sequences = sequences.flip(1)
            mask = None if mask is None else mask.flip(1)
        if self.training and self.dropout:
            shape = (sequences.shape[0], 1, sequences.shape[2])  # the same at every step
            sequences = sequences * dropout_mask(self.dropout, shape, like=sequences)
        outputs, state = self._run(sequences, state, mask)
        if mask is not None and self.zero_output_for_mask:
            outputs = outputs * mask[:, :, None]
        if self.stateful:
            self.states = [part.detach() for part in state]
        output = outputs if self.return_sequences else outputs[:, -1]
        return [output, *state] if self.return_state else output

    def _run(self, sequences, state, mask):
        drops_state = self.training and self.recurrent_dropout > 0
        if self.implementation == "auto" and not drops_state and self._kernel_computes_this():
            return self._run_fused(sequences, state, mask)
        masks = None
        if drops_state:
            shape = (self.n_gates, len(sequences), self.units)
            masks = dropout_mask(self.recurrent_dropout, shape, like=sequences)
        step = partial(self._step, dropout_masks=masks)
        return recurrence.unroll(step, sequences, state, mask)

    def _kernel_computes_this(self) -> bool:
        return self.activation is torch.tanh

    def _step(self, x, state, *, dropout_masks):
        raise NotImplementedError

    def _run_fused(self, sequences, state, mask):
        raise NotImplementedError

    def _starting_state(self, initial_state: Any, sequences: Tensor) -> list[Tensor]:
        batch, state = len(sequences), initial_state
        if state is None and self.stateful:
            state = self.states
            if state is not None and len(state[0]) != batch:
                raise ValueError(
                    f"{self.name!r} is stateful and carries the state of {len(state[0])} rows, "
                    f"got a batch of {batch}: keep the batch size, or call reset_states() first"
                )
        if state is None:
            return [sequences.new_zeros(batch, self.units) for _ in self.state_names]
        state = [state] if isinstance(state, Tensor) else list(state)
        shapes = [tuple(part.shape) for part in state]
        wanted = [(batch, self.units)] * len(self.state_names)
        if shapes != wanted:
            raise ValueError(
                f"initial_state of {self.name!r} must hold {len(wanted)} tensors "
                f"({', '.join(self.state_names)}) of shape {wanted[0]}, got shapes {shapes}"
            )
        return [part.to(sequences.dtype) for part in state]

    def reset_states(self) -> None:
        """Forget the last batch: the next one, of any size, starts from zeros."""
        self.states = None

    reset_state = reset_states

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the output's shape, or those of output and states, for ``input_shape``."""
        batch, time, _ = input_shape
        output = (batch, time, self.units) if self.return_sequences else (batch, self.units)
        states = [(batch, self.units) for _ in self.state_names]
        return [output, *states] if self.return_state else output

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return ``mask`` if the output holds every step of ``inputs``; states have none."""
        own = mask if self.return_sequences else None
        return [own, *(None for _ in self.state_names)] if self.return_state else own

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another layer like this one."""
        return super().get_config() | {
            "units": self.units,
            "activation": activations.name_of(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.name_of(self.kernel_initializer),
            "recurrent_initializer": initializers.name_of(self.recurrent_initializer),
            "bias_initializer": initializers.name_of(self.bias_initializer),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "zero_output_for_mask": self.zero_output_for_mask,
            "unroll": self.unroll,
            "implementation": self.implementation,
        }


class _Gated(Recurrent):
    """LSTM and GRU: there is an activation for the gates too."""

    def __init__(
        self,
        units: int,
        activation: str | activations.Activation | None = "tanh",
        recurrent_activation: str | activations.Activation | None = "sigmoid",
        **arguments: Any,
    ):
        super().__init__(units, activation, **arguments)
        self.recurrent_activation = activations.get(recurrent_activation)

    def _kernel_computes_this(self):
        return super()._kernel_computes_this() and self.recurrent_activation is torch.sigmoid

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another layer like this one."""
        name = activations.name_of(self.recurrent_activation)
        return super().get_config() | {"recurrent_activation": name}


class LSTM(_Gated):
    """Long short-term memory: gates decide what a cell forgets, takes in and shows.

    Weights, the gates side by side in the order i, f, candidate, o:

    - ``kernel``           (features, 4 · units);
    - ``recurrent_kernel`` (units, 4 · units);
    - ``bias``             (4 · units,). ``torch.nn.LSTM`` has two, which it only ever adds.

    Equations: eq-lstm-gates, eq-lstm-cell, eq-lstm-parameters

    Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000).

    Args:
        units: numbers in the hidden state, and in the cell.
        activation: of the candidate, and of the cell on its way out.
        recurrent_activation: of the three gates.
        unit_forget_bias: whether the forget gate's bias starts at 1, so that the layer starts by
            keeping most of its cell. Source: Jozefowicz et al. (2015).
        **arguments: those of ``Recurrent``, such as ``return_sequences`` and ``dropout``.

    Raises:
        TypeError: ``units`` is not an integer, or a rate is not a number.
        ValueError: ``units`` is below 1, a rate is not in [0, 1), or a name is not known.
    """

    n_gates = 4
    state_names = ("h", "c")

    def __init__(
        self,
        units: int,
        activation: str | activations.Activation | None = "tanh",
        recurrent_activation: str | activations.Activation | None = "sigmoid",
        unit_forget_bias: bool = True,
        **arguments: Any,
    ):
        super().__init__(units, activation, recurrent_activation, **arguments)
        self.unit_forget_bias = bool(unit_forget_bias)

    def _add_bias(self, wide):
        super()._add_bias(wide)
        if self.unit_forget_bias:
            with torch.no_grad():
                self.bias[self.units : 2 * self.units] = 1.0

    def _step(self, x, state, *, dropout_masks):
        return recurrence.lstm_step(
            x,
            state,
            self.kernel,
            self.recurrent_kernel,
            self.bias,
            activation=self.activation,
            recurrent_activation=self.recurrent_activation,
            dropout_masks=dropout_masks,
        )

    def _run_fused(self, sequences, state, mask):
        weights = (self.kernel, self.recurrent_kernel, self.bias)
        wants_state = self.return_state or self.stateful
        return recurrence.fused_lstm(sequences, state, *weights, mask, wants_state=wants_state)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another layer like this one."""
        return super().get_config() | {"unit_forget_bias": self.unit_forget_bias}


class GRU(_Gated):
    """The gated recurrent unit: one gate decides, number by number, what is replaced.

    Weights, the gates side by side in the order z, r, candidate:

    - ``kernel``           (features, 3 · units);
    - ``recurrent_kernel`` (units, 3 · units);
    - ``bias``             (2, 3 · units) with ``reset_after``, otherwise (3 · units,).

    Equation: eq-rnn-gru

    Source: Cho et al. (2014); with ``reset_after`` in cuDNN's form.

    Args:
        units: numbers in the state.
        activation: of the candidate.
        recurrent_activation: of the two gates.
        reset_after: whether the reset gate multiplies after the matrix product, or before as in
            the paper. Before, the equations run written out, which is slower.
        **arguments: those of ``Recurrent``, such as ``return_sequences`` and ``dropout``.

    Raises:
        TypeError: ``units`` is not an integer, or a rate is not a number.
        ValueError: ``units`` is below 1, a rate is not in [0, 1), or a name is not known.
    """

    n_gates = 3

    def __init__(
        self,
        units: int,
        activation: str | activations.Activation | None = "tanh",
        recurrent_activation: str | activations.Activation | None = "sigmoid",
        reset_after: bool = True,
        **arguments: Any,
    ):
        super().__init__(units, activation, recurrent_activation, **arguments)
        self.reset_after = bool(reset_after)

    def _add_bias(self, wide):
        shape = (2, wide) if self.reset_after else (wide,)
        self.add_weight(name="bias", shape=shape, initializer=self.bias_initializer)

    def _kernel_computes_this(self):
        return super()._kernel_computes_this() and self.reset_after

    def _step(self, x, state, *, dropout_masks):
        return recurrence.gru_step(
            x,
            state,
            self.kernel,
            self.recurrent_kernel,
            self.bias,
            reset_after=self.reset_after,
            activation=self.activation,
            recurrent_activation=self.recurrent_activation,
            dropout_masks=dropout_masks,
        )

    def _run_fused(self, sequences, state, mask):
        weights = (self.kernel, self.recurrent_kernel, self.bias)
        return recurrence.fused_gru(sequences, state, *weights, mask)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another layer like this one."""
        return super().get_config() | {"reset_after": self.reset_after}


class SimpleRNN(Recurrent):
    """The plain recurrent layer: h = tanh(x W + h U + b).

    Weights: ``kernel`` (features, units), ``recurrent_kernel`` (units, units), ``bias`` (units,).

    Equation: eq-rnn-recurrence

    Source: Elman (1990).

    Args:
        units: numbers in the state.
        activation: of the sum.
        **arguments: those of ``Recurrent``, such as ``return_sequences`` and ``dropout``.

    Raises:
        TypeError: ``units`` is not an integer, or a rate is not a number.
        ValueError: ``units`` is below 1, a rate is not in [0, 1), or a name is not known.
    """

    n_gates = 1

    def _step(self, x, state, *, dropout_masks):
        return recurrence.rnn_step(
            x,
            state,
            self.kernel,
            self.recurrent_kernel,
            self.bias,
            activation=self.activation,
            dropout_masks=dropout_masks,
        )

    def _run_fused(self, sequences, state, mask):
        weights = (self.kernel, self.recurrent_kernel, self.bias)
        return recurrence.fused_rnn(sequences, state, *weights, mask)
