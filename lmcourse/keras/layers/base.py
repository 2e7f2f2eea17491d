"""What all layers share: names, weights, masks, and being called."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from lmcourse import _arguments
from lmcourse.keras import initializers
from lmcourse.keras.registry import snake_case
from lmcourse.keras.symbolic import KerasTensor, Node, Shape, flatten, is_symbolic, map_structure

LAYERS: dict[str, type[Layer]] = {}
"""Every class of layers by its name, for configurations to find."""

_names_given: Counter[str] = Counter()


def device() -> torch.device:
    """Return where the numbers are: on torch's default device.

    That is the CPU until ``torch.set_default_device("cuda")`` says otherwise. Keras takes a GPU
    without being told.
    """
    return torch.get_default_device()


def clear_session() -> None:
    """Start the counting of names anew: the next LSTM will be called ``lstm``."""
    _names_given.clear()


def get_mask(tensor: Any) -> Bool[Tensor, "*steps"] | None:
    """Return the mask that rides on ``tensor``: False where a step is padding; or ``None``."""
    return getattr(tensor, "_keras_mask", None)


def set_mask(tensor: Shaped[Tensor, "*shape"], mask: Bool[Tensor, "*steps"] | None) -> None:
    """Let ``mask`` ride on ``tensor``, instead of the one that does."""
    tensor._keras_mask = mask


def to_tensor(value: Any) -> Shaped[Tensor, "*shape"]:
    """Return the numbers of ``value`` as a tensor on `device()`.

    An array's become float32 if they are fractions, and int64 if they are whole. A tensor that
    needs no change is returned as it is, with its mask.

    Raises:
        TypeError: ``value`` does not hold numbers.
    """
    if not isinstance(value, Tensor):
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"inputs must be numbers, got an array of {array.dtype}")
        value = torch.from_numpy(np.ascontiguousarray(array, _number_type(array.dtype)))
    mask = get_mask(value)
    moved = value.to(device())
    if moved is not value:
        set_mask(moved, mask)
    return moved


def _number_type(dtype: np.dtype) -> type:
    return np.float32 if dtype.kind == "f" else np.int64


def _marking_built(build: Callable[..., None]) -> Callable[..., None]:
    @wraps(build)
    def build_and_mark(layer, *arguments, **keywords):
        build(layer, *arguments, **keywords)
        layer.built = True

    return build_and_mark


class Layer(nn.Module):
    """A step of a model, called on numbers or on symbolic tensors.

    A subclass says what its weights are in ``build``, which runs when the first input's shape is
    known, and what it computes in ``call``. Its other arguments there, any of ``mask``,
    ``training`` and ``initial_state``, it gets only if it names them.

    Args:
        name: unique in its model; counted up from the class's name if not given.
        trainable: whether training changes its weights.
        input_shape: shape of one input without the batch; makes a Sequential build itself at once.

    Attributes:
        built: whether it has its weights.
        output_shape: shape of what it returned last, ``None`` where any size will do.
        training: whether it behaves as in training (dropout). Unlike in torch, False at first.
    """

    rank: int | None = None  # axes that an input must have, if it must have so many
    at_least_rank: int = 1
    supports_masking = True  # whether the input's mask rides on to the output

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        LAYERS[cls.__name__] = cls
        if "build" in vars(cls):  # whoever calls it, the weights are there afterwards
            cls.build = _marking_built(cls.build)

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        input_shape: Sequence[int | None] | None = None,
    ):
        super().__init__()
        self.name = name or unique_name(snake_case(type(self).__name__))
        self.path = self.name
        self.trainable = trainable
        self.input_shape_argument = input_shape
        self.built = False
        self.input_features: int | None = None
        self.output_shape: Any = None
        self.nodes: list[Node] = []
        self._call_takes = set(inspect.signature(self.call).parameters)
        self.eval()

    # What a subclass says about itself.

    def build(self, input_shape: Any) -> None:
        """Make the weights.

        Args:
            input_shape: the input's shape (batch, ...), ``None`` where any size will do; of several
                inputs, a list or dict of shapes.
        """

    def call(self, inputs: Any) -> Any:
        """Return the output for ``inputs``: a tensor, or a list or dict of them."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it computes: no call()")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the output's shape, or a list of shapes, for ``input_shape`` as in ``build``."""
        return input_shape

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return the output's mask, or a list of them, for ``inputs`` under ``mask``."""
        one = mask is None or isinstance(mask, Tensor)  # which of several would be the output's?
        return mask if self.supports_masking and one else None

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another layer like this one, ready for JSON."""
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable}
        if self.input_shape_argument is not None:
            config["input_shape"] = list(self.input_shape_argument)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """Make a layer from ``config``, which ``get_config`` returned."""
        return cls(**config)

    # Weights.

    def add_weight(
        self,
        *,
        name: str,
        shape: tuple[int, ...],
        initializer: str | initializers.Initializer = "glorot_uniform",
    ) -> nn.Parameter:
        """Make a weight.

        Args:
            name: the layer's attribute that holds it.
            shape: its shape.
            initializer: what it starts as, by name or a function of the shape.

        Returns:
            The weight.

        Raises:
            ValueError: there is no such initializer.
        """
        value = initializers.get(initializer)(shape).to(device(), torch.float32)
        weight = nn.Parameter(value)
        weight.path = f"{self.path}/{name}"
        self.register_parameter(name, weight)
        return weight

    @property
    def weights(self) -> list[nn.Parameter]:
        """All weights, in Keras's order."""
        own = [weight for weight in self._parameters.values() if weight is not None]
        return own + [weight for child in self.children_with_weights for weight in child.weights]

    @property
    def children_with_weights(self) -> list[Layer]:
        """The layers inside this one."""
        return [child for child in self.children() if isinstance(child, Layer)]

    @property
    def trainable_weights(self) -> list[nn.Parameter]:
        """The weights that training changes."""
        if not self.trainable:
            return []
        own = [weight for weight in self._parameters.values() if weight is not None]
        inner = [w for child in self.children_with_weights for w in child.trainable_weights]
        return own + inner

    @property
    def non_trainable_weights(self) -> list[nn.Parameter]:
        """The weights that training leaves alone."""
        trained = {id(weight) for weight in self.trainable_weights}
        return [weight for weight in self.weights if id(weight) not in trained]

    def count_params(self) -> int:
        """Return how many numbers the weights hold.

        Raises:
            ValueError: the layer is not built yet.
        """
        self._check_built("count_params")
        return sum(weight.numel() for weight in self.weights)

    def get_weights(self) -> list[Float[np.ndarray, "*shape"]]:
        """Return copies of all weights, in Keras's order and layout."""
        return [weight.detach().cpu().numpy().copy() for weight in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Replace all weights.

        Args:
            weights: arrays in the order of ``get_weights``, from here or from Keras.

        Raises:
            ValueError: the layer is not built yet, or number, shape or values do not fit.
        """
        self._check_built("set_weights")
        mine = self.weights
        if len(weights) != len(mine):
            raise ValueError(
                f"weights must hold {len(mine)} arrays for {self.name!r}, got {len(weights)}"
            )
        arrays = [np.asarray(array) for array in weights]
        for weight, array in zip(mine, arrays, strict=True):
            if array.shape != tuple(weight.shape):
                raise ValueError(
                    f"{weight.path} must have shape {tuple(weight.shape)}, got shape {array.shape}"
                )
            _arguments.finite_array(weight.path, array)
        with torch.no_grad():
            for weight, array in zip(mine, arrays, strict=True):
                weight.copy_(torch.from_numpy(np.array(array)))

    def reset_states(self) -> None:
        """Forget what stateful layers carried over."""
        for child in self.children_with_weights:
            child.reset_states()

    reset_state = reset_states

    def _check_built(self, what: str) -> None:
        if not self.built:
            raise ValueError(
                f"{what} needs weights, and {self.name!r} has none yet: call it on an input, or "
                "give the model an Input"
            )

    # Calls.

    def __call__(self, inputs: Any, **keywords: Any) -> Any:
        """Compute the output, or write the call down if the inputs are symbolic.

        Args:
            inputs: numbers (array or tensor), a symbolic tensor, or a list or dict of them.
            **keywords: ``training`` (bool, for this call), ``mask`` (instead of the one that rides
                on the inputs), and what else ``call`` takes, such as ``initial_state``.

        Raises:
            TypeError: an argument that the layer does not take, or inputs that are no numbers.
            ValueError: the inputs' shape or values do not fit.
        """
        training, mask = keywords.pop("training", None), keywords.pop("mask", None)
        if not any(_holds_numbers(leaf) or is_symbolic(leaf) for leaf in flatten(inputs)):
            inputs = np.asarray(inputs)  # a list of numbers is one input, a list of arrays several
        for keyword in keywords:
            if keyword not in self._call_takes:
                raise TypeError(f"{self.name!r} takes no argument {keyword!r} when it is called")
        keywords = {key: value for key, value in keywords.items() if value is not None}
        if is_symbolic(inputs, keywords):
            if mask is not None:
                raise TypeError("mask cannot be given in a graph: it rides on the numbers")
            given = {} if training is None else {"training": bool(training)}
            return self._write_down(inputs, keywords | given)
        inputs = map_structure(to_tensor, inputs)
        keywords = map_structure(lambda v: to_tensor(v) if _holds_numbers(v) else v, keywords)
        self.build_once(map_structure(lambda tensor: tuple(tensor.shape), inputs))
        mask = map_structure(get_mask, inputs) if mask is None else to_mask(mask)
        if "mask" in self._call_takes:
            keywords["mask"] = mask
        with self._mode(training):
            if "training" in self._call_takes:
                keywords["training"] = self.training
            outputs = self.call(inputs, **keywords)
        self._mask_outputs(outputs, inputs, mask)
        return outputs

    def build_once(self, input_shape: Any) -> None:
        """Check the input's shape, and make the weights if there are none.

        Args:
            input_shape: as in ``build``.

        Raises:
            ValueError: the layer cannot take inputs of this shape.
        """
        for shape in list_shapes(input_shape):
            self._check_shape(shape)
        if not self.built:
            self.build(input_shape)
            self.built = True

    def _check_shape(self, shape: Shape) -> None:
        wanted = None
        if self.rank is not None and len(shape) != self.rank:
            wanted = f"{self.rank} axes"
        elif len(shape) < self.at_least_rank:
            wanted = f"at least {self.at_least_rank} axes"
        elif self.input_features not in (None, shape[-1]):
            wanted = f"a last axis of {self.input_features}, as it was built for"
        if wanted:
            raise ValueError(f"{self.name!r} must get inputs with {wanted}, got shape {shape}")

    def _write_down(self, inputs: Any, keywords: dict[str, Any]) -> Any:
        shape = map_structure(lambda tensor: tensor.shape, inputs)
        self.build_once(shape)
        node = Node(self, inputs, keywords)
        self.output_shape = self.compute_output_shape(shape)
        node.outputs = map_shapes(
            lambda shape: KerasTensor(shape, "float32", self.name, node), self.output_shape
        )
        self.nodes.append(node)
        return node.outputs

    def _mask_outputs(self, outputs: Any, inputs: Any, mask: Any) -> None:
        out = self.compute_mask(inputs, mask)
        tensors = flatten(outputs)
        for tensor, own in zip(tensors, out if isinstance(out, list) else [out], strict=False):
            if get_mask(tensor) is None:
                set_mask(tensor, own)

    @contextmanager
    def _mode(self, training: bool | None) -> Iterator[None]:
        before = self.training
        if training is None or bool(training) == before:
            yield
            return
        self.train(bool(training))
        try:
            yield
        finally:
            self.train(before)

    @property
    def output(self) -> Any:
        """What the layer returned when it was first called on symbolic tensors.

        Raises:
            AttributeError: it never was.
        """
        if not self.nodes:
            raise AttributeError(f"{self.name!r} has not been called on symbolic tensors")
        return self.nodes[0].outputs


class InputLayer(Layer):
    """Where numbers enter a model. ``Input`` makes one.

    Args:
        batch_shape: shape of the numbers, ``None`` where any size will do.
        dtype: name of their type.
        name: counted up from ``input_layer`` if not given.
    """

    def __init__(
        self,
        batch_shape: Sequence[int | None],
        *,
        dtype: str = "float32",
        name: str | None = None,
    ):
        super().__init__(name=name or unique_name("input_layer"))
        self.batch_shape = self.output_shape = tuple(batch_shape)
        self.dtype = dtype
        self.built = True
        node = Node(self, None, {})
        node.outputs = KerasTensor(self.batch_shape, dtype, self.name, node)
        self.nodes.append(node)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another layer like this one."""
        return {"batch_shape": list(self.batch_shape), "dtype": self.dtype, "name": self.name}


def Input(
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: str = "float32",
    *,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
) -> KerasTensor:
    """Promise an input.

    Args:
        shape: of one example, ``None`` where any size will do: ``(None,)`` for sequences of ids.
        batch_size: how many examples come at a time, if that is fixed.
        dtype: name of the numbers' type.
        batch_shape: ``shape`` and ``batch_size`` in one, instead of them.
        name: what the model calls it.

    Returns:
        A symbolic tensor, to call layers on.

    Raises:
        TypeError: a size is not an integer.
        ValueError: neither or both of the shapes are given, or a size is below 1.
    """
    if (shape is None) == (batch_shape is None):
        raise ValueError(
            "Input must get either shape or batch_shape, "
            + ("got neither" if shape is None else "got both")
        )
    if batch_shape is None:
        batch_shape = (batch_size, *_sizes("shape", shape))
    return InputLayer(_sizes("batch_shape", batch_shape), dtype=dtype, name=name).output


def _sizes(name: str, shape: Any) -> tuple[int | None, ...]:
    if not isinstance(shape, list | tuple):
        raise TypeError(f"{name} must be a tuple such as (None,) or (10,), got {shape!r}")
    return tuple(
        None if size is None else _arguments.integer(f"{name}[{i}]", size, at_least=1)
        for i, size in enumerate(shape)
    )


def unique_name(base: str) -> str:
    """Return ``base`` the first time, then ``base_1`` and so on, as Keras counts."""
    count = _names_given[base]
    _names_given[base] += 1
    return f"{base}_{count}" if count else base


def is_shape(value: Any) -> bool:
    """Return whether ``value`` is a shape, rather than a list or dict of shapes."""
    return isinstance(value, tuple) and all(size is None or isinstance(size, int) for size in value)


def map_shapes(function, shapes: Any) -> Any:
    """Return ``function`` of ``shapes``: of a shape, or of each in a list or dict of shapes."""
    if is_shape(shapes):
        return function(shapes)
    if isinstance(shapes, dict):
        return {key: map_shapes(function, part) for key, part in shapes.items()}
    return [map_shapes(function, part) for part in shapes]


def to_mask(mask: Any) -> Any:
    """Return ``mask``, an array or a list of them, as boolean tensors on `device()`.

    Raises:
        TypeError: it is not boolean.
    """

    def convert(value):
        tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.asarray(value))
        if tensor.dtype != torch.bool:
            raise TypeError(f"mask must be an array of bool, got an array of {tensor.dtype}")
        return tensor.to(device())

    return map_structure(convert, mask) if isinstance(mask, list | tuple) else convert(mask)


def list_shapes(structure: Any) -> list[Shape]:
    """Return the shapes in ``structure``, a shape or a list or dict of them, in order."""
    found: list[Shape] = []
    map_shapes(found.append, structure)
    return found


def _holds_numbers(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)
