"""Models: graphs of layers that can be trained, asked and saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

from torch import nn

from lmcourse.keras import saving
from lmcourse.keras.layers.base import Input, InputLayer, Layer, list_shapes, unique_name
from lmcourse.keras.layers.wrappers import describe, revive
from lmcourse.keras.saving import load_model
from lmcourse.keras.summary import summary
from lmcourse.keras.symbolic import (
    KerasTensor,
    Node,
    flatten,
    map_structure,
    nodes_between,
)
from lmcourse.keras.training import Trainer

__all__ = ["Model", "Sequential", "load_model"]


class Model(Trainer, Layer):
    """A graph of layers, from symbolic inputs to symbolic outputs.

    >>> from lmcourse.keras.layers import LSTM, Dense, Embedding, Input
    >>> ids = Input(shape=(None,))
    >>> states = LSTM(64, return_sequences=True)(Embedding(1000, 32)(ids))
    >>> model = Model(ids, Dense(1000, activation="softmax")(states))

    A model is a layer too: another model can call it.

    Args:
        inputs: what ``Input`` returned; several in a list, tuple or dict.
        outputs: what layers returned; several in a list, tuple or dict. The model returns numbers
            in the same structure.
        name: counted up from ``functional`` if not given.

    Attributes:
        inputs: the symbolic inputs, in a list.
        outputs: the symbolic outputs, in a list.
        layers: all layers, in the order of computation.
        input_names: names of the inputs.
        output_names: names of the layers that make the outputs.

    Raises:
        TypeError: ``inputs`` or ``outputs`` hold anything but symbolic tensors.
        ValueError: an output needs an input that is not given, or two layers share a name.
    """

    supports_masking = False  # the layers inside see to it

    def __init__(self, inputs: Any, outputs: Any, *, name: str | None = None):
        super().__init__(name=name or unique_name("functional"))
        self._set_graph(inputs, outputs)

    def _set_graph(self, inputs: Any, outputs: Any) -> None:
        self.inputs, self.outputs = flatten(inputs), flatten(outputs)
        for argument, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            if not tensors:
                raise ValueError(f"{argument} must hold at least one symbolic tensor, got none")
            for tensor in tensors:
                if not isinstance(tensor, KerasTensor):
                    raise TypeError(
                        f"{argument} must be symbolic tensors (Input makes the first), "
                        f"got {type(tensor).__name__}"
                    )
        for tensor in self.inputs:
            if not isinstance(tensor.node.layer, InputLayer):
                raise ValueError(f"inputs must come from Input, got an output of {tensor.name!r}")
        self._input_structure, self._output_structure = inputs, outputs
        self._graph = nodes_between(self.inputs, self.outputs)
        self.input_names = [tensor.name for tensor in self.inputs]
        self.output_names = [tensor.name for tensor in self.outputs]
        self.output_shape = map_structure(lambda tensor: tensor.shape, outputs)
        layers = _by_depth(self._graph, self.inputs, self.outputs)
        names = [layer.name for layer in layers]
        for layer_name in names:
            if names.count(layer_name) > 1:
                raise ValueError(
                    f"layers must have names of their own, got {layer_name!r} "
                    f"{names.count(layer_name)} times"
                )
        self._modules_in_order = nn.ModuleList(layers)
        self.built = True

    @property
    def layers(self) -> list[Layer]:
        """All layers, in the order of computation."""
        return list(self._modules_in_order)

    @property
    def children_with_weights(self) -> list[Layer]:
        """The layers, in Keras's order."""
        return self.layers

    @property
    def input(self) -> Any:
        """The symbolic input, or the inputs in their structure."""
        return self._input_structure

    @property
    def output(self) -> Any:
        """The symbolic output, or the outputs in their structure."""
        return self._output_structure

    @property
    def input_shape(self) -> Any:
        """Shape of the input, or of the inputs in their structure."""
        return map_structure(lambda tensor: tensor.shape, self._input_structure)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return a layer.

        Args:
            name: its name, or instead
            index: its place in ``layers``; from the end if negative.

        Raises:
            ValueError: there is none, or not exactly one of the two is given.
        """
        if (name is None) == (index is None):
            raise ValueError("get_layer must get either a name or an index")
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"index must be below {len(self.layers)}, got {index}")
            return self.layers[index]
        names = [layer.name for layer in self.layers]
        if name not in names:
            raise ValueError(f"name must be one of {', '.join(names)}, got {name!r}")
        return self.layers[names.index(name)]

    def __call__(self, inputs: Any, **keywords: Any) -> Any:
        """Compute the outputs; inputs may also come in a dict by name."""
        if isinstance(inputs, dict):
            structure = self._input_structure
            names = list(structure) if isinstance(structure, dict) else self.input_names
            if set(inputs) != set(names):
                raise ValueError(
                    f"inputs of {self.name!r} must be named {', '.join(names)}, "
                    f"got {', '.join(inputs)}"
                )
            inputs = [inputs[name] for name in names]
        if keywords.get("mask") is not None:
            raise TypeError("mask cannot be given to a model: it rides on the inputs")
        one_in_a_list = isinstance(inputs, list | tuple) and len(inputs) == len(self.inputs) == 1
        if one_in_a_list and not isinstance(inputs[0], int | float | list):
            inputs = inputs[0]
        return super().__call__(inputs, **keywords)

    def _check_shape(self, shape: Any) -> None:
        """The inputs' shapes are looked at together, in ``build_once``."""

    def build_once(self, input_shape: Any) -> None:
        """Check that the inputs have the shapes that were promised.

        Args:
            input_shape: their shapes, in a list or dict if there are several.

        Raises:
            ValueError: there are more or fewer inputs, or a shape is another one.
        """
        shapes = list_shapes(input_shape)
        if len(shapes) != len(self.inputs):
            raise ValueError(
                f"{self.name!r} must get {len(self.inputs)} inputs "
                f"({', '.join(self.input_names)}), got {len(shapes)}"
            )
        for tensor, shape in zip(self.inputs, shapes, strict=True):
            if not self._fits(tensor.shape, shape):
                raise ValueError(
                    f"input {tensor.name!r} of {self.name!r} must have shape {tensor.shape}, "
                    f"got shape {shape}"
                )

    def _fits(self, promised: Any, shape: Any) -> bool:
        return len(promised) == len(shape) and all(
            None in pair or pair[0] == pair[1] for pair in zip(promised, shape, strict=True)
        )

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Return what the layers make of ``inputs``; their masks ride on them, not in ``mask``."""
        values = dict(zip(map(id, self.inputs), flatten(inputs), strict=True))

        def value(leaf):
            return values[id(leaf)] if isinstance(leaf, KerasTensor) else leaf

        for node in self._graph:
            keywords = map_structure(value, node.keywords)
            results = node.layer(map_structure(value, node.inputs), **keywords)
            values |= zip(map(id, flatten(node.outputs)), flatten(results), strict=True)
        return map_structure(value, self._output_structure)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the outputs' shapes, in their structure, for ``input_shape``."""
        shapes = dict(zip(map(id, self.inputs), list_shapes(input_shape), strict=True))

        def shape_of(tensor):
            return shapes[id(tensor)]

        for node in self._graph:
            results = node.layer.compute_output_shape(map_structure(shape_of, node.inputs))
            shapes |= zip(map(id, flatten(node.outputs)), list_shapes(results), strict=True)
        return map_structure(shape_of, self._output_structure)

    def summary(
        self,
        line_length: int | None = None,
        print_fn: Callable[[str], Any] | None = None,
    ) -> None:
        """Print a table of the layers, their output shapes and their weights, as Keras does.

        Args:
            line_length: width of the table in characters.
            print_fn: what takes the text, instead of ``print``.
        """
        summary(self, line_length=line_length, print_fn=print_fn)

    def save(self, filepath: str | PathLike, overwrite: bool = True) -> None:
        """Write architecture, weights, and the state of training to one safetensors file.

        Args:
            filepath: where to.
            overwrite: whether a file that is there already may be replaced.
        """
        saving.save_model(self, filepath, overwrite=overwrite)

    def save_weights(self, filepath: str | PathLike, overwrite: bool = True) -> None:
        """Write the weights to a safetensors file.

        Args:
            filepath: where to.
            overwrite: whether a file that is there already may be replaced.
        """
        saving.save_weights(self, filepath, overwrite=overwrite)

    def load_weights(self, filepath: str | PathLike) -> None:
        """Read the weights that ``save_weights`` wrote to ``filepath``."""
        saving.load_weights(self, filepath)

    def get_config(self) -> dict[str, Any]:
        """Return the whole architecture, ready for JSON.

        Tensors appear as ``"3:0"``: the first output of the fourth call.
        """
        calls = [tensor.node for tensor in self.inputs] + self._graph
        place = {
            id(tensor): f"{i}:{j}"
            for i, node in enumerate(calls)
            for j, tensor in enumerate(flatten(node.outputs))
        }

        def refer(structure):
            return map_structure(lambda leaf: place.get(id(leaf), leaf), structure)

        return {
            "name": self.name,
            "layers": [describe(layer) for layer in self.layers],
            "calls": [
                {
                    "layer": node.layer.name,
                    "inputs": refer(node.inputs),
                    "keywords": refer(node.keywords),
                }
                for node in calls
            ],
            "inputs": refer(self._input_structure),
            "outputs": refer(self._output_structure),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Model:
        """Make a model, with new weights, from ``config``, which ``get_config`` returned."""
        layers = {d["config"]["name"]: revive(d) for d in config["layers"]}
        made: list[list[KerasTensor]] = []

        def tensor(reference):
            if not isinstance(reference, str):
                return reference  # a flag, such as training
            call, output = map(int, reference.split(":"))
            return made[call][output]

        for call in config["calls"]:
            layer = layers[call["layer"]]
            if isinstance(layer, InputLayer):
                outputs = layer.output
            else:
                keywords = map_structure(tensor, call["keywords"])
                outputs = layer(map_structure(tensor, call["inputs"]), **keywords)
            made.append(flatten(outputs))
        inputs, outputs = (map_structure(tensor, config[key]) for key in ("inputs", "outputs"))
        return cls(inputs, outputs, name=config["name"])


class Sequential(Model):
    """A model whose layers follow one another.

    Without an ``Input`` at its head it gets its weights from the first numbers that it sees.

    Args:
        layers: in order; ``Input(...)`` may come first.
        name: counted up from ``sequential`` if not given.

    Raises:
        TypeError: something in ``layers`` is not a layer.
        ValueError: two layers share a name, or an input layer is not the first.
    """

    def __init__(self, layers: Sequence[Any] | None = None, *, name: str | None = None):
        Layer.__init__(self, name=name or unique_name("sequential"))
        self._modules_in_order = nn.ModuleList()
        self._input: InputLayer | None = None
        self._promised_shape = True  # whether the input's sizes were said, and not just seen
        for layer in layers or ():
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Append a layer, or give the model its input.

        Args:
            layer: the layer, or what ``Input`` returned.

        Raises:
            TypeError: it is not a layer.
            ValueError: its name is taken, or it is an input layer and not the first.
        """
        if isinstance(layer, KerasTensor) and isinstance(layer.node.layer, InputLayer):
            layer = layer.node.layer
        if not isinstance(layer, Layer):
            raise TypeError(f"layer must be a layer or an Input, got {type(layer).__name__}")
        if isinstance(layer, InputLayer):
            if self._input is not None or self.layers:
                raise ValueError("an Input must come before all layers, and there can be only one")
            self._input = layer
            return
        if layer.name in [other.name for other in self.layers]:
            raise ValueError(f"layers must have names of their own, got {layer.name!r} twice")
        if not self.layers and self._input is None and layer.input_shape_argument is not None:
            self._input = Input(shape=tuple(layer.input_shape_argument)).node.layer
        self._modules_in_order.append(layer)
        self._connect()

    def pop(self) -> Layer:
        """Take the last layer off and return it.

        Raises:
            ValueError: there is none.
        """
        if not self.layers:
            raise ValueError("the model has no layers to take off")
        layer = self._modules_in_order.pop(len(self.layers) - 1)
        self._connect()
        return layer

    def _connect(self) -> None:
        if self._input is None or not self.layers:
            self.built = False
            return
        layers, tensor = self.layers, self._input.output
        for layer in layers:
            tensor = layer(tensor)
            if isinstance(tensor, list | tuple | dict):
                raise ValueError(
                    f"layers of a Sequential must return one tensor, {layer.name!r} returns "
                    f"{len(tensor)}: use Model"
                )
        self._set_graph(self._input.output, tensor)
        self._modules_in_order = nn.ModuleList(layers)

    def build(self, input_shape: Any = None) -> None:
        """Make the weights.

        Args:
            input_shape: the input's shape (batch, ...); not needed if the model has an ``Input``.

        Raises:
            ValueError: there are no layers, or a layer cannot take such inputs.
        """
        if not self.layers:
            raise ValueError(f"{self.name!r} must have at least one layer before it is built")
        if self._input is None and input_shape is None:
            raise ValueError(f"{self.name!r} must get an input_shape to be built, or an Input")
        if self._input is None:
            self._promised_shape = False
            self._input = Input(batch_shape=(None, *input_shape[1:])).node.layer
        self._connect()

    def build_once(self, input_shape: Any) -> None:
        """Build the model if it is not built, and check that it can take ``input_shape``."""
        if not self.built:
            self.build(input_shape)
        super().build_once(input_shape)

    def _fits(self, promised: Any, shape: Any) -> bool:
        if self._promised_shape:
            return super()._fits(promised, shape)
        return len(promised) == len(shape)

    def __call__(self, inputs: Any, **keywords: Any) -> Any:
        """Compute the output."""
        if self.built:
            return super().__call__(inputs, **keywords)
        return Layer.__call__(self, inputs, **keywords)

    def get_config(self) -> dict[str, Any]:
        """Return the whole architecture, ready for JSON."""
        return {
            "name": self.name,
            "input": None if self._input is None else self._input.get_config(),
            "promised_shape": self._promised_shape,
            "layers": [describe(layer) for layer in self.layers],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Sequential:
        """Make a model, with new weights, from ``config``, which ``get_config`` returned."""
        model = cls(name=config["name"])
        if config["input"] is not None:
            model.add(InputLayer.from_config(config["input"]))
        for description in config["layers"]:
            model.add(revive(description))
        model._promised_shape = config["promised_shape"]
        return model


def _by_depth(
    graph: Sequence[Node], inputs: Sequence[KerasTensor], outputs: Sequence[KerasTensor]
) -> list[Layer]:
    """Order layers as Keras does: by their distance from the outputs, the farthest first."""
    depth: dict[int, int] = {}
    for node in reversed([tensor.node for tensor in inputs] + list(graph)):
        own = depth.setdefault(id(node.layer), 0)
        for parent in node.parents:
            layer = id(parent.node.layer)
            depth[layer] = max(depth.get(layer, 0), own + 1)
    found: dict[int, Layer] = {}

    def visit(tensor):  # as Keras numbers layers of equal depth: on the way from the outputs
        if id(tensor.node.layer) in found:
            return
        found[id(tensor.node.layer)] = tensor.node.layer
        for parent in tensor.node.parents:
            visit(parent)

    for output in outputs:
        visit(output)
    for tensor in inputs:
        found.setdefault(id(tensor.node.layer), tensor.node.layer)
    return sorted(found.values(), key=lambda layer: -depth[id(layer)])
