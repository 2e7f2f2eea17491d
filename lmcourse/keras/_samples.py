"""What `fit`, `evaluate` and `predict` are given: checked, as tensors, and in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmcourse import _arguments
from lmcourse.keras.layers.base import to_tensor
from lmcourse.keras.symbolic import flatten, map_structure


@dataclass(frozen=True)
class Samples:
    """Inputs, targets and weights, all on one device.

    Attributes:
        x: a tensor (samples, ...), or a list or dict of them.
        y: a tensor (samples, ...) for each output, ``None`` where there is no target.
        weight: weights (samples,) or (samples, ...) for each output, ``None`` where all are 1.
    """

    x: Any
    y: Sequence[Tensor | None] = ()
    weight: Sequence[Tensor | None] = ()

    def __len__(self):
        return flatten(self.x)[0].shape[0]

    def _map(self, function) -> Samples:
        return Samples(*(map_structure(function, part) for part in (self.x, self.y, self.weight)))

    def split(self, share: float) -> tuple[Samples, Samples]:
        """Split the last ``share`` of the samples off.

        Raises:
            TypeError: ``share`` is not a number.
            ValueError: it is not in (0, 1), or one of the parts would be empty.
        """
        share = _arguments.number("validation_split", share, above=0, below=1)
        n_train = math.floor(len(self) * (1 - share))
        if n_train in (0, len(self)):
            raise ValueError(
                f"validation_split={share:g} of {len(self)} samples leaves {n_train} for training "
                f"and {len(self) - n_train} for validation: neither may be 0"
            )
        return self._map(lambda t: t[:n_train]), self._map(lambda t: t[n_train:])

    def batches(self, batch_size: int, shuffle: bool = False) -> Iterator[Samples]:
        """Yield the samples ``batch_size`` at a time; the last batch may be smaller.

        With ``shuffle``, their order is drawn from torch's generator.
        """
        n = len(self)
        starts = range(0, n, batch_size)
        if not shuffle:
            for start in starts:
                yield self._map(lambda t, start=start: t[start : start + batch_size])
            return
        order = torch.randperm(n).to(flatten(self.x)[0].device)
        for start in starts:
            chosen = order[start : start + batch_size]
            yield self._map(lambda t, chosen=chosen: t.index_select(0, chosen))

    def with_class_weight(self, class_weight: Mapping[int, float], *, sparse: bool) -> Samples:
        """Weigh each sample by its class.

        Args:
            class_weight: weights by class; 1 for classes that it does not name.
            sparse: whether labels are classes; otherwise one-hot unless they are single numbers.

        Raises:
            TypeError: ``class_weight`` is not a mapping, or a weight is not a number.
            ValueError: there is more than one output, or more than one label to a sample.
        """
        if not isinstance(class_weight, Mapping):
            raise TypeError(
                "class_weight must map classes to weights, as in {0: 1.0, 1: 5.0}, "
                f"got {class_weight!r:.60}"
            )
        if len(self.y) != 1:
            raise ValueError(f"class_weight must go with one output, got {len(self.y)}")
        (y,) = self.y
        single = y.numel() == len(self)
        if not single and (sparse or y.ndim > 2):
            raise ValueError(
                f"class_weight must go with one label for each sample, got y of shape "
                f"{tuple(y.shape)}: weigh the single predictions with sample_weight"
            )
        labels = y.reshape(-1) if single else y.argmax(-1)
        weight = torch.ones(len(self), device=y.device)
        for label, value in class_weight.items():
            value = _arguments.number(f"class_weight[{label!r}]", value, at_least=0)
            weight[labels.round() == label if labels.is_floating_point() else labels == label] = (
                value
            )
        return replace(self, weight=[weight])


def samples(x: Any, y: Any = None, sample_weight: Any = None, *, outputs: Sequence[str]) -> Samples:
    """Check what a user gave, and turn it into tensors.

    Args:
        x: an array or tensor (samples, ...), or a list or dict of them for several inputs.
        y: the same for the targets; ``None`` if there are none.
        sample_weight: weights for all outputs, or a list or dict with those for each.
        outputs: names of the model's outputs.

    Raises:
        TypeError: something is no array of numbers.
        ValueError: the numbers of samples or of targets differ, or a number is not finite.
    """
    targets = per_output("y", y, outputs)
    weights: list[Any] = [None] * len(outputs)
    if sample_weight is not None:
        many = isinstance(sample_weight, list | tuple | dict)
        weights = (
            per_output("sample_weight", sample_weight, outputs)
            if many
            else ([sample_weight] * len(outputs))
        )
    made = Samples(
        tensors("x", x),
        [_named_tensor("y", name, y, outputs) for name, y in zip(outputs, targets, strict=True)],
        [
            _named_tensor("sample_weight", name, weight, outputs)
            for name, weight in zip(outputs, weights, strict=True)
        ],
    )
    _check_counts(made)
    if len(outputs) > 1 and sample_weight is not None and not many:
        shape = made.weight[0].shape
        if shape not in ((len(made),), (len(made), 1)):
            raise ValueError(
                f"sample_weight must have shape ({len(made)},) when it is for all "
                f"{len(outputs)} outputs, got shape {tuple(shape)}: give a list, one for each"
            )
    return made


def per_output(name: str, given: Any, outputs: Sequence[str]) -> list[Any]:
    """Return what is ``given`` for each output, in a list.

    Args:
        name: of the argument, for messages.
        given: one thing for the only output; a list with one for each; a dict by the outputs'
            names, where some may be missing; or ``None``.
        outputs: the outputs' names.

    Raises:
        ValueError: a list has another length, or a dict another name.
    """
    if given is None:
        return [None] * len(outputs)
    if isinstance(given, Mapping):
        for key in given:
            if key not in outputs:
                raise ValueError(
                    f"{name} must have the outputs' names {', '.join(outputs)}, got {key!r}"
                )
        return [given.get(output) for output in outputs]
    if isinstance(given, list | tuple) and (len(outputs) > 1 or _holds_arrays(given)):
        if len(given) != len(outputs):
            raise ValueError(
                f"{name} must hold one entry for each of the {len(outputs)} outputs "
                f"({', '.join(outputs)}), got {len(given)}"
            )
        return list(given)
    if len(outputs) > 1:
        raise ValueError(
            f"{name} must be a list or a dict with one entry for each of the {len(outputs)} "
            f"outputs ({', '.join(outputs)}), got {type(given).__name__}"
        )
    return [given]


def tensors(name: str, value: Any) -> Any:
    """Return an array, or a list or dict of them, as tensors; a list of one is that one.

    Raises:
        TypeError: something is no array of numbers.
        ValueError: an array has no axis or no entries, or a number is not finite.
    """
    if isinstance(value, Mapping):
        return {key: _tensor(f"{name}[{key!r}]", part) for key, part in value.items()}
    if not (isinstance(value, list | tuple) and _holds_arrays(value)):
        return _tensor(name, value)
    if len(value) == 1:
        return _tensor(name, value[0])
    return [_tensor(f"{name}[{i}]", part) for i, part in enumerate(value)]


def _named_tensor(name: str, output: str, value: Any, outputs: Sequence[str]) -> Tensor | None:
    label = name if len(outputs) == 1 else f"{name}[{output!r}]"
    return None if value is None else _tensor(label, value)


def _tensor(name: str, value: Any) -> Tensor:
    if not _is_array(value):
        raise TypeError(_no_array(name, value))
    if not isinstance(value, Tensor):
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise TypeError(_no_array(name, array))
    tensor = to_tensor(value)
    if tensor.is_floating_point():
        tensor = tensor.float()
    if tensor.ndim == 0 or tensor.numel() == 0:
        raise ValueError(f"{name} must hold samples, got shape {tuple(tensor.shape)}")
    if tensor.is_floating_point() and not _all_finite(tensor):
        where = (~tensor.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"{name} must be finite, got {tensor[tuple(where)].item()} "
            f"at {_arguments.place(name, where)}"
        )
    return tensor


def _all_finite(tensor: Tensor) -> bool:
    # A sum is found 30 times faster, and is finite only if all numbers are; but it may overflow.
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def _no_array(name: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return (
            f"{name} must be an array or tensor, got a {type(value).__name__}: np.array turns "
            "numbers into one, pad_sequences turns sequences into one"
        )
    if isinstance(value, np.ndarray):
        hint = (
            ": texts need a Tokenizer"
            if value.dtype.kind in "US"
            else ": sequences of different lengths need pad_sequences"
        )
        return f"{name} must hold numbers, got an array of {value.dtype}{hint}"
    return f"{name} must be an array or tensor, got {type(value).__name__}"


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and (isinstance(value, Tensor) or hasattr(value, "__array__"))


def _holds_arrays(values: Sequence[Any]) -> bool:
    return len(values) > 0 and all(part is None or _is_array(part) for part in values)


def _check_counts(made: Samples) -> None:
    counts = {
        name: [tensor.shape[0] for tensor in flatten(part)]
        for name, part in (("x", made.x), ("y", made.y), ("sample_weight", made.weight))
    }
    if len({n for sizes in counts.values() for n in sizes}) > 1:
        found = ", ".join(
            f"{name}: {' and '.join(map(str, sizes))}" for name, sizes in counts.items() if sizes
        )
        raise ValueError(f"x, y and sample_weight must hold equally many samples, got {found}")
