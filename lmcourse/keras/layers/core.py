"""Layers that look at one position at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

from lmcourse import _arguments
from lmcourse.keras import activations, initializers
from lmcourse.keras.layers.base import Layer, is_shape


class Embedding(Layer):
    """A table of vectors: each id is replaced by its row.

    Weight: ``embeddings`` (input_dim, output_dim).

    Args:
        input_dim: how many ids there are; the largest is ``input_dim - 1``.
        output_dim: numbers in a vector.
        embeddings_initializer: what the table starts as.
        mask_zero: whether id 0 is padding. The layers behind it then leave its steps out.
        input_length: accepted as in older Keras, and not needed.
        **base: arguments of every layer: ``name``, ``trainable``, ``input_shape``.

    Raises:
        TypeError: a size is not an integer.
        ValueError: a size is below 1, or there is no such initializer.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: str | initializers.Initializer = "uniform",
        mask_zero: bool = False,
        input_length: int | None = None,
        **base: Any,
    ):
        super().__init__(**base)
        self.input_dim = _arguments.integer("input_dim", input_dim, at_least=1)
        self.output_dim = _arguments.integer("output_dim", output_dim, at_least=1)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.mask_zero = bool(mask_zero)
        self.input_length = input_length

    def build(self, input_shape: Any) -> None:
        """Make the table, for ids of any ``input_shape``."""
        shape = (self.input_dim, self.output_dim)
        self.add_weight(name="embeddings", shape=shape, initializer=self.embeddings_initializer)

    def call(self, inputs: Shaped[Tensor, "*batch"]) -> Float[Tensor, "*batch output_dim"]:
        """Look ids up.

        Args:
            inputs: ids; whole numbers of any type.

        Returns:
            Their vectors.

        Raises:
            TypeError: an id is a fraction.
            ValueError: an id is below 0, or ``input_dim`` or above.
        """
        return functional.embedding(self._checked(inputs), self.embeddings)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return ``input_shape`` with an axis of ``output_dim`` appended."""
        return (*input_shape, self.output_dim)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return where ``inputs`` are not 0, with ``mask_zero``; whatever ``mask`` they had."""
        return inputs != 0 if self.mask_zero else None

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another layer like this one."""
        return super().get_config() | {
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.name_of(self.embeddings_initializer),
            "mask_zero": self.mask_zero,
            "input_length": self.input_length,
        }

    def _checked(self, ids: Tensor) -> Tensor:
        if ids.is_floating_point():
            whole = ids.long()
            if not torch.equal(whole.to(ids.dtype), ids):
                raise TypeError(f"{self.name!r} must get token ids, whole numbers; got fractions")
            ids = whole
        if ids.numel():
            smallest, largest = (int(bound) for bound in ids.aminmax())
            if smallest < 0 or largest >= self.input_dim:
                raise ValueError(
                    f"{self.name!r} must get token ids from 0 to {self.input_dim - 1} "
                    f"(input_dim is {self.input_dim}), got {smallest if smallest < 0 else largest}"
                )
        return ids


class Dense(Layer):
    """A matrix product, a bias, and an activation, at every position alike.

    Weights: ``kernel`` (features, units), ``bias`` (units,).

    Args:
        units: numbers in the output's last axis.
        activation: name or function; linear if not given.
        use_bias: whether there is a bias.
        kernel_initializer: what the kernel starts as.
        bias_initializer: what the bias starts as.
        **base: arguments of every layer: ``name``, ``trainable``, ``input_shape``.

    Raises:
        TypeError: ``units`` is not an integer.
        ValueError: ``units`` is below 1, or there is no such activation or initializer.
    """

    at_least_rank = 2

    def __init__(
        self,
        units: int,
        activation: str | activations.Activation | None = None,
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        **base: Any,
    ):
        super().__init__(**base)
        self.units = _arguments.integer("units", units, at_least=1)
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def build(self, input_shape: Any) -> None:
        """Make kernel and bias for the last axis of ``input_shape``.

        Raises:
            ValueError: its size is not known.
        """
        features = known_features(self, input_shape)
        shape = (features, self.units)
        self.add_weight(name="kernel", shape=shape, initializer=self.kernel_initializer)
        if self.use_bias:
            shape = (self.units,)
            self.add_weight(name="bias", shape=shape, initializer=self.bias_initializer)
        self.input_features = features

    def call(self, inputs: Shaped[Tensor, "*batch features"]) -> Float[Tensor, "*batch units"]:
        """Return the activation of ``inputs`` times the kernel plus the bias."""
        bias = self.bias if self.use_bias else None
        return self.activation(functional.linear(inputs.to(self.kernel.dtype), self.kernel.T, bias))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return ``input_shape`` with ``units`` for its last axis."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another layer like this one."""
        return super().get_config() | {
            "units": self.units,
            "activation": activations.name_of(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.name_of(self.kernel_initializer),
            "bias_initializer": initializers.name_of(self.bias_initializer),
        }


class Dropout(Layer):
    """While training, set numbers to zero at random and scale the rest up to keep the mean.

    Source: Srivastava et al. (2014).

    Args:
        rate: the share that is set to zero, from 0 to below 1.
        noise_shape: which axes draw for themselves: a 1 repeats one draw along its axis.
        **base: arguments of every layer: ``name``, ``trainable``, ``input_shape``.

    Raises:
        TypeError: ``rate`` is not a number.
        ValueError: ``rate`` is below 0, or 1 or above.
    """

    def __init__(self, rate: float, noise_shape: tuple | None = None, **base: Any):
        super().__init__(**base)
        self.rate = _arguments.number("rate", rate, at_least=0, below=1)
        self.noise_shape = noise_shape

    def call(self, inputs: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """Return ``inputs``, while training with a share dropped."""
        if not self.training or self.rate == 0:
            return inputs
        shape = inputs.shape
        if self.noise_shape is not None:
            sizes = zip(self.noise_shape, inputs.shape, strict=True)
            shape = [actual if size is None else size for size, actual in sizes]
        return inputs * dropout_mask(self.rate, shape, like=inputs)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another layer like this one."""
        noise_shape = None if self.noise_shape is None else list(self.noise_shape)
        return super().get_config() | {"rate": self.rate, "noise_shape": noise_shape}


class Concatenate(Layer):
    """Join several inputs along one axis.

    Args:
        axis: which; the last if not given.
        **base: arguments of every layer: ``name``, ``trainable``, ``input_shape``.

    Raises:
        TypeError: ``axis`` is not an integer.
    """

    def __init__(self, axis: int = -1, **base: Any):
        super().__init__(**base)
        self.axis = _arguments.integer("axis", axis)

    def build(self, input_shape: Any) -> None:
        """Check that the shapes differ along ``axis`` alone.

        Args:
            input_shape: the inputs' shapes, in a list.

        Raises:
            ValueError: they differ along another axis, or there are fewer than two.
        """
        if is_shape(input_shape) or len(input_shape) < 2:
            raise ValueError(f"{self.name!r} must get a list of at least two inputs")
        ndim = min(len(shape) for shape in input_shape)
        if not -ndim <= self.axis < ndim:
            raise ValueError(
                f"{self.name!r} joins along axis {self.axis}, which inputs of {ndim} axes lack"
            )
        first, *rest = ([*s[: self.axis], *s[self.axis :][1:]] for s in input_shape)
        if any(other != first for other in rest):
            raise ValueError(
                f"{self.name!r} must get inputs that differ along axis {self.axis} alone, "
                f"got shapes {', '.join(map(str, input_shape))}"
            )

    def call(self, inputs: Sequence[Shaped[Tensor, "*_"]]) -> Shaped[Tensor, "*_"]:
        """Return ``inputs`` joined along ``axis``."""
        return torch.cat(list(inputs), dim=self.axis)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shapes of ``input_shape`` as one, their sizes along ``axis`` added up."""
        sizes = [shape[self.axis] for shape in input_shape]
        joined = list(input_shape[0])
        joined[self.axis] = None if None in sizes else sum(sizes)
        return tuple(joined)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return where every ``mask`` that one of ``inputs`` has lets a step count."""
        given = [part for part in mask if part is not None]
        return torch.stack(given).all(dim=0) if given else None

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another layer like this one."""
        return super().get_config() | {"axis": self.axis}


def dropout_mask(
    rate: float, shape: Sequence[int], *, like: Float[Tensor, "*_"]
) -> Float[Tensor, "*shape"]:
    """Draw zeros, and ones scaled up so that their mean is 1.

    Args:
        rate: the share of zeros.
        shape: how many numbers to draw.
        like: a tensor whose type and device they get.

    Returns:
        Zeros and ``1 / (1 - rate)``.
    """
    kept = torch.rand(shape, dtype=like.dtype, device=like.device) >= rate
    return kept.to(like.dtype) / (1 - rate)


def known_features(layer: Layer, input_shape: Any) -> int:
    """Return the size of the last axis, which weights depend on.

    Args:
        layer: whose weights, for the message.
        input_shape: shape of its inputs.

    Raises:
        ValueError: it is not known yet.
    """
    if input_shape[-1] is None:
        raise ValueError(
            f"{layer.name!r} needs to know its input's last axis to make weights, "
            f"got shape {input_shape}"
        )
    return input_shape[-1]
