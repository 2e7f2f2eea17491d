"""Layers that hold other layers."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from lmcourse import _arguments
from lmcourse.keras.layers.base import LAYERS, Layer
from lmcourse.keras.layers.recurrent import Recurrent
from lmcourse.keras.registry import look_up

MERGES = {
    "concat": lambda forward, backward: torch.cat([forward, backward], dim=-1),
    "sum": torch.add,
    "mul": torch.mul,
    "ave": lambda forward, backward: (forward + backward) / 2,
}


class Bidirectional(Layer):
    """A recurrent layer that reads forwards, and a copy of it that reads backwards.

    With ``return_sequences``, the outputs of the copy are turned round, so that both outputs at a
    step have read that step last; masked steps return zeros.

    Source: Schuster and Paliwal (1997).

    Args:
        layer: which to copy; it is not changed.
        merge_mode: how the two outputs become one: ``"concat"``, ``"sum"``, ``"mul"``, ``"ave"``,
            or ``None`` to return both.
        backward_layer: the layer that reads backwards, if it is not to be a copy.
        **base: arguments of every layer: ``name``, ``trainable``, ``input_shape``.

    Raises:
        TypeError: ``layer`` or ``backward_layer`` is not a recurrent layer.
        ValueError: there is no such ``merge_mode``, or the two layers do not go together.
    """

    rank = 3

    def __init__(
        self,
        layer: Recurrent,
        merge_mode: str | None = "concat",
        backward_layer: Recurrent | None = None,
        **base: Any,
    ):
        super().__init__(**base)
        for name, given in (("layer", layer), ("backward_layer", backward_layer)):
            if not isinstance(given, Recurrent) and not (given is None and name != "layer"):
                raise TypeError(f"{name} must be a recurrent layer, got {type(given).__name__}")
        if merge_mode is not None:
            _arguments.one_of("merge_mode", merge_mode, tuple(MERGES))
        self.merge_mode = merge_mode
        self.forward_layer = _copy(layer, "forward")
        if backward_layer is None:
            backward_layer = _copy(layer, "backward", go_backwards=not layer.go_backwards)
        self.backward_layer = backward_layer
        self._check_pair()
        for half in (self.forward_layer, self.backward_layer):
            half.path = f"{self.path}/{half.name}"
            half.zero_output_for_mask = half.return_sequences

    def _check_pair(self):
        forward, backward = self.forward_layer, self.backward_layer
        if forward.go_backwards == backward.go_backwards:
            raise ValueError(
                "backward_layer must read in the other direction than layer, "
                f"got go_backwards={backward.go_backwards} in both"
            )
        for option in ("return_sequences", "return_state", "stateful"):
            if getattr(forward, option) != getattr(backward, option):
                raise ValueError(
                    f"backward_layer must have layer's {option}={getattr(forward, option)}, "
                    f"got {getattr(backward, option)}"
                )

    def build(self, input_shape: Any) -> None:
        """Make the weights of both layers, for the features of ``input_shape``."""
        self.forward_layer.build_once(input_shape)
        self.backward_layer.build_once(input_shape)

    def call(
        self,
        sequences: Shaped[Tensor, "batch time features"],
        initial_state: Any = None,
        mask: Bool[Tensor, "batch time"] | None = None,
    ) -> Any:
        """Read sequences in both directions.

        Args:
            sequences: the inputs.
            initial_state: the states to start from, those of the forward layer first.
            mask: False at the steps to leave out.

        Returns:
            The merged output, or both; with ``return_state`` in a list, followed by the states.
        """
        starts = (None, None)
        if initial_state is not None:
            half = len(initial_state) // 2
            starts = (initial_state[:half], initial_state[half:])
        layers = (self.forward_layer, self.backward_layer)
        results = [
            layer(sequences, initial_state=start, mask=mask)
            for layer, start in zip(layers, starts, strict=True)
        ]
        states: list[Tensor] = []
        if self.forward_layer.return_state:
            states = [state for result in results for state in result[1:]]
            results = [result[0] for result in results]
        forward, backward = results
        if self.forward_layer.return_sequences:
            backward = backward.flip(1)
        merged = (
            [forward, backward]
            if self.merge_mode is None
            else [MERGES[self.merge_mode](forward, backward)]
        )
        return merged + states if len(merged + states) > 1 else merged[0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of each output and state for ``input_shape``; of one, no list."""
        shape = self.forward_layer.compute_output_shape(input_shape)
        states: list[Any] = []
        if self.forward_layer.return_state:
            shape, *states = shape
            states = states * 2
        if self.merge_mode == "concat":
            shape = (*shape[:-1], 2 * shape[-1])
        outputs = [shape, shape] if self.merge_mode is None else [shape]
        return outputs + states if len(outputs + states) > 1 else shape

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return ``mask`` if outputs hold every step of ``inputs``; states have none."""
        own = mask if self.forward_layer.return_sequences else None
        n_outputs = 2 if self.merge_mode is None else 1
        n_states = 2 * len(self.forward_layer.state_names) * self.forward_layer.return_state
        masks = [own] * n_outputs + [None] * n_states
        return masks if len(masks) > 1 else own

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another layer like this one."""
        return super().get_config() | {
            "layer": describe(self.forward_layer),
            "backward_layer": describe(self.backward_layer),
            "merge_mode": self.merge_mode,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Bidirectional:
        """Make a layer from ``config``, which ``get_config`` returned."""
        layers = {key: revive(config[key]) for key in ("layer", "backward_layer")}
        return cls(**config | layers)


class TimeDistributed(Layer):
    """Apply a layer to every step of a sequence, with the same weights.

    Args:
        layer: which; it sees the steps of all sequences as one batch.
        **base: arguments of every layer: ``name``, ``trainable``, ``input_shape``.

    Raises:
        TypeError: ``layer`` is not a layer.
    """

    at_least_rank = 3

    def __init__(self, layer: Layer, **base: Any):
        super().__init__(**base)
        if not isinstance(layer, Layer):
            raise TypeError(f"layer must be a layer, got {type(layer).__name__}")
        self.layer = layer
        self.layer.path = f"{self.path}/{layer.name}"

    def build(self, input_shape: Any) -> None:
        """Make the layer's weights for one step of inputs of ``input_shape``."""
        self.layer.build_once((input_shape[0], *input_shape[2:]))

    def call(self, inputs: Shaped[Tensor, "batch time ..."]) -> Shaped[Tensor, "batch time ..."]:
        """Return what the layer returns for every step of ``inputs``."""
        steps = self.layer(inputs.flatten(0, 1))
        return steps.unflatten(0, inputs.shape[:2])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the layer's output shape for a step of ``input_shape``, with the time axis."""
        batch, time, *rest = input_shape
        _, *output = self.layer.compute_output_shape((batch, *rest))
        return (batch, time, *output)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another layer like this one."""
        return super().get_config() | {"layer": describe(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TimeDistributed:
        """Make a layer from ``config``, which ``get_config`` returned."""
        return cls(**config | {"layer": revive(config["layer"])})


def describe(layer: Layer) -> dict[str, Any]:
    """Return class and configuration of ``layer``, ready for JSON."""
    return {"class_name": type(layer).__name__, "config": layer.get_config()}


def revive(description: dict[str, Any]) -> Layer:
    """Return a new layer like the one of which ``description`` is what ``describe`` returned.

    Raises:
        ValueError: there is no such layer.
    """
    layer_class = look_up("layer", description["class_name"], LAYERS)
    return layer_class.from_config(description["config"])


def _copy(layer: Recurrent, direction: str, **changes: Any) -> Recurrent:
    name = f"{direction}_{layer.name.removeprefix(f'{direction}_')}"
    return type(layer).from_config(layer.get_config() | {"name": name} | changes)
