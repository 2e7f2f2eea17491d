"""Loss functions by Keras's names.

Each exists twice, as in Keras: as a function that returns one number for every prediction, and as a
class whose objects weigh those numbers and reduce them to one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

from lmcourse import _arguments
from lmcourse.keras.layers.base import get_mask, to_tensor
from lmcourse.keras.registry import look_up, snake_case

EPSILON = 1e-7
"""Probabilities are kept this far from 0 and 1 before a logarithm is taken of them."""

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none")

LossFunction = Callable[[Tensor, Tensor], Tensor]


def mean_squared_error(y_true: Any, y_pred: Any) -> Float[Tensor, "*batch"]:
    """Mean over the last axis of the squared differences.

    Args:
        y_true: targets, of the shape of ``y_pred`` or without its last axis of size 1.
        y_pred: predictions (*batch, features).

    Returns:
        The losses (*batch).

    Raises:
        ValueError: the shapes do not go together.
    """
    y_true, y_pred = _same_shape("mean_squared_error", y_true, y_pred)
    return (y_true - y_pred).square().mean(-1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Float[Tensor, "*batch"]:
    """Mean over the last axis of the absolute differences.

    Args:
        y_true: targets, of the shape of ``y_pred`` or without its last axis of size 1.
        y_pred: predictions (*batch, features).

    Returns:
        The losses (*batch).

    Raises:
        ValueError: the shapes do not go together.
    """
    y_true, y_pred = _same_shape("mean_absolute_error", y_true, y_pred)
    return (y_true - y_pred).abs().mean(-1)


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> Float[Tensor, "*batch"]:
    """Mean over the last axis of −y log p − (1 − y) log(1 − p).

    Equation: eq-lstm-logistic-loss

    Args:
        y_true: labels 0 or 1 (*batch, labels).
        y_pred: their probabilities (*batch, labels), kept in [1e-7, 1 − 1e-7].
        from_logits: whether ``y_pred`` are logits instead.
        label_smoothing: share by which labels are drawn towards 0.5.

    Returns:
        The losses (*batch).

    Raises:
        ValueError: the shapes differ.
    """
    y_true, y_pred = to_tensor(y_true), to_tensor(y_pred)
    _check_shapes("binary_crossentropy", y_true, y_pred)
    y_true = y_true.to(y_pred.dtype)
    if label_smoothing:
        y_true = y_true * (1 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        losses = functional.binary_cross_entropy_with_logits(y_pred, y_true, reduction="none")
    else:
        losses = functional.binary_cross_entropy(
            y_pred.clip(EPSILON, 1 - EPSILON), y_true, reduction="none"
        )
    return losses.mean(-1)


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> Float[Tensor, "*batch"]:
    """−Σ y log p over the classes, for labels given as distributions (one-hot).

    Args:
        y_true: distributions (*batch, classes).
        y_pred: probabilities (*batch, classes); they are divided by their sum, then kept in
            [1e-7, 1 − 1e-7].
        from_logits: whether ``y_pred`` are logits instead.
        label_smoothing: share of each label that is spread evenly over all classes.

    Returns:
        The losses (*batch).

    Raises:
        ValueError: the shapes differ.
    """
    y_true, y_pred = to_tensor(y_true), to_tensor(y_pred)
    _check_shapes("categorical_crossentropy", y_true, y_pred)
    y_true = y_true.to(y_pred.dtype)
    if label_smoothing:
        y_true = y_true * (1 - label_smoothing) + label_smoothing / y_pred.shape[-1]
    if from_logits:
        log_probabilities = y_pred.log_softmax(-1)
    else:
        log_probabilities = _kept_inside(y_pred / y_pred.sum(-1, keepdim=True)).log()
    return -(y_true * log_probabilities).sum(-1)


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None
) -> Float[Tensor, "*batch"]:
    """−log p of the right class, for labels given as integers.

    Args:
        y_true: classes (*batch) or (*batch, 1).
        y_pred: probabilities (*batch, classes); they are divided by their sum, then kept in
            [1e-7, 1 − 1e-7].
        from_logits: whether ``y_pred`` are logits instead.
        ignore_class: label of places that do not count; a mask on the result says which do.

    Returns:
        The losses (*batch).

    Raises:
        ValueError: the shapes do not go together, or a label is no class.
    """
    y_true, y_pred = to_tensor(y_true), to_tensor(y_pred)
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true.squeeze(-1)
    _check_shapes("sparse_categorical_crossentropy", y_true, y_pred)
    labels = y_true.long()
    counted = None if ignore_class is None else labels != ignore_class
    if counted is not None:
        labels = labels.where(counted, 0)
    if y_true.is_floating_point():
        check_classes("y_true", y_true, y_pred.shape[-1], ignore_class)
    try:
        right = y_pred.gather(-1, labels.unsqueeze(-1)).squeeze(-1)  # (*batch)
    except RuntimeError:  # looking at every label before would cost each step more than this
        check_classes("y_true", labels, y_pred.shape[-1])
        raise
    if from_logits:
        losses = y_pred.logsumexp(-1) - right
    else:
        losses = -_kept_inside(right / y_pred.sum(-1)).log()
    if counted is not None:
        losses = losses * counted
        losses._keras_mask = counted
    return losses


def check_classes(
    name: str, labels: Shaped[Tensor, "*_"], n_classes: int, ignore_class: int | None = None
) -> None:
    """Check that labels are whole numbers in ``[0, n_classes)``, or ``ignore_class``.

    Args:
        name: of the labels, for the message.
        labels: of any shape.
        n_classes: how many classes there are.
        ignore_class: a label that is no class and allowed.

    Raises:
        ValueError: one is not; the message says which, and where it stands.
    """
    if labels.numel() == 0:
        return
    low, high = labels.aminmax()
    whole = not labels.is_floating_point() or bool((labels == labels.round()).all())
    if whole and low >= 0 and high < n_classes:
        return
    bad = (labels < 0) | (labels >= n_classes) | (labels != labels.round())
    if ignore_class is not None:
        bad &= labels != ignore_class
    if bad.any():
        where = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{name} must be classes in [0, {n_classes}), one for each of the model's outputs, "
            f"got {labels[tuple(where)].item()} at {_arguments.place(name, where)}"
        )


class Loss:
    """Losses of single predictions, weighted and reduced to one number.

    A subclass says in ``call`` what the single losses are. The mask that rides on the predictions
    takes part as Keras 3 has it: losses at masked places are 0, and a mean is one over the others.

    Args:
        name: what messages and histories call it.
        reduction: ``"sum_over_batch_size"`` or ``"mean"`` divides the weighted sum by the number
            of losses, ``"mean_with_sample_weight"`` by the sum of the weights; ``"sum"`` does not
            divide, and ``"none"`` or ``None`` returns the weighted losses.

    Raises:
        ValueError: there is no such ``reduction``.
    """

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size"):
        self.name = name or snake_case(type(self).__name__)
        self.reduction = _arguments.one_of("reduction", reduction or "none", REDUCTIONS)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """Return the loss, in whose mean each prediction counts by its weight.

        Args:
            y_true: targets.
            y_pred: predictions.
            sample_weight: one weight for each sample (batch,), or one for each loss.

        Raises:
            ValueError: the shapes do not go together.
        """
        y_true, y_pred = to_tensor(y_true), to_tensor(y_pred)
        losses = self.call(y_true, y_pred)
        masks = [mask for mask in (get_mask(y_pred), get_mask(losses)) if mask is not None]
        mask = masks[0] & masks[-1] if masks else None
        if sample_weight is not None:
            sample_weight = to_tensor(sample_weight)
        return _reduced(losses, sample_weight, mask, self.reduction)

    def call(
        self, y_true: Shaped[Tensor, "*_"], y_pred: Float[Tensor, "*_"]
    ) -> Float[Tensor, "*_"]:
        """Return the losses of the predictions ``y_pred``, given the targets ``y_true``."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it computes: no call()")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another loss like this one, ready for JSON."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        """Return a loss like the one whose ``get_config`` returned ``config``."""
        return cls(**config)


class LossFunctionWrapper(Loss):
    """A loss made of a function.

    Args:
        fn: maps targets and predictions to losses.
        reduction: as in `Loss`.
        name: what messages and histories call it.
        **keywords: further arguments of ``fn``.
    """

    def __init__(
        self,
        fn: LossFunction,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        **keywords: Any,
    ):
        super().__init__(name or getattr(fn, "__name__", None), reduction)
        self.fn = fn
        self.keywords = keywords

    def call(
        self, y_true: Shaped[Tensor, "*_"], y_pred: Float[Tensor, "*_"]
    ) -> Float[Tensor, "*_"]:
        """Return the losses of the predictions ``y_pred``, given the targets ``y_true``."""
        y_true, y_pred = same_rank(y_true, y_pred)
        return self.fn(y_true, y_pred, **self.keywords)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another loss like this one, ready for JSON.

        Raises:
            ValueError: the function is not one of this module's, so that it cannot be saved.
        """
        if type(self) is LossFunctionWrapper:
            raise ValueError(
                f"loss {self.name!r} is a function of your own, which cannot be saved: use "
                "save_weights, or compile with one of lmcourse.keras.losses"
            )
        return super().get_config() | self.keywords


class MeanSquaredError(LossFunctionWrapper):
    """`mean_squared_error`, reduced.

    Args:
        reduction: as in `Loss`.
        name: what messages and histories call it.
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_squared_error",
    ):
        super().__init__(mean_squared_error, reduction, name)


class MeanAbsoluteError(LossFunctionWrapper):
    """`mean_absolute_error`, reduced.

    Args:
        reduction: as in `Loss`.
        name: what messages and histories call it.
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_absolute_error",
    ):
        super().__init__(mean_absolute_error, reduction, name)


class BinaryCrossentropy(LossFunctionWrapper):
    """`binary_crossentropy`, reduced.

    Args:
        from_logits: whether predictions are logits.
        label_smoothing: as in the function.
        reduction: as in `Loss`.
        name: what messages and histories call it.

    Raises:
        ValueError: ``label_smoothing`` is not in [0, 1], or there is no such ``reduction``.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        *,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_crossentropy",
    ):
        label_smoothing = _arguments.number(
            "label_smoothing", label_smoothing, at_least=0, at_most=1
        )
        super().__init__(
            binary_crossentropy,
            reduction,
            name,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
        )


class CategoricalCrossentropy(LossFunctionWrapper):
    """`categorical_crossentropy`, reduced.

    Args:
        from_logits: whether predictions are logits.
        label_smoothing: as in the function.
        reduction: as in `Loss`.
        name: what messages and histories call it.

    Raises:
        ValueError: ``label_smoothing`` is not in [0, 1], or there is no such ``reduction``.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        *,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_crossentropy",
    ):
        label_smoothing = _arguments.number(
            "label_smoothing", label_smoothing, at_least=0, at_most=1
        )
        super().__init__(
            categorical_crossentropy,
            reduction,
            name,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
        )


class SparseCategoricalCrossentropy(LossFunctionWrapper):
    """`sparse_categorical_crossentropy`, reduced.

    Args:
        from_logits: whether predictions are logits.
        ignore_class: as in the function.
        reduction: as in `Loss`.
        name: what messages and histories call it.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "sparse_categorical_crossentropy",
    ):
        super().__init__(
            sparse_categorical_crossentropy,
            reduction,
            name,
            from_logits=from_logits,
            ignore_class=ignore_class,
        )


LOSSES: dict[str, type[Loss]] = {
    loss.__name__: loss
    for loss in (
        MeanSquaredError,
        MeanAbsoluteError,
        BinaryCrossentropy,
        CategoricalCrossentropy,
        SparseCategoricalCrossentropy,
    )
}
_BY_NAME = (
    LOSSES
    | {snake_case(name): loss for name, loss in LOSSES.items()}
    | {"mse": MeanSquaredError, "MSE": MeanSquaredError}
    | {"mae": MeanAbsoluteError, "MAE": MeanAbsoluteError}
    | {"bce": BinaryCrossentropy, "BCE": BinaryCrossentropy}
)
_FUNCTIONS = {loss().fn: loss for loss in LOSSES.values()}


def get(loss: str | Loss | type[Loss] | LossFunction) -> Loss:
    """Return a loss by name; an object is itself, and a function becomes one.

    Raises:
        TypeError: ``loss`` is none of these.
        ValueError: there is no loss of that name; the message gives the nearest ones.
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, type) and issubclass(loss, Loss):
        return loss()
    if callable(loss):
        return _FUNCTIONS[loss]() if loss in _FUNCTIONS else LossFunctionWrapper(loss)
    return look_up("loss", loss, _BY_NAME)()


def _reduced(
    losses: Tensor, sample_weight: Tensor | None, mask: Tensor | None, reduction: str
) -> Tensor:
    """Weigh losses, leave out the masked ones, and reduce them to one number.

    Args:
        losses: one for each prediction, (batch, ...).
        sample_weight: of the same shape, or with fewer axes.
        mask: of the same shape; False where there is nothing to predict.
        reduction: as in `Loss`.
    """
    weight = sample_weight
    if mask is not None and mask.shape != losses.shape:
        raise ValueError(
            f"the mask of the predictions has shape {tuple(mask.shape)}, but the losses have shape "
            f"{tuple(losses.shape)}: y must have as many axes as the predictions, as y[..., None]"
        )
    if mask is not None:
        counted = mask.to(losses.dtype)
        if reduction in ("mean", "sum_over_batch_size"):  # so that the mean is of what counts
            counted = counted * (counted.numel() / counted.sum().clamp(min=1))
        weight = counted if weight is None else _over_axes(weight, counted) * counted
    if weight is not None:
        losses = losses * _over_axes(weight.to(losses.dtype), losses)
    if reduction == "none" or losses.ndim == 0:
        return losses
    if reduction == "sum":
        return losses.sum()
    if reduction == "mean_with_sample_weight" and weight is not None:
        total = weight.sum()
        return torch.where(total == 0, 0.0, losses.sum() / torch.where(total == 0, 1.0, total))
    return losses.mean()


def same_rank(
    x: Shaped[Tensor, "*_"], y: Shaped[Tensor, "*_"]
) -> tuple[Shaped[Tensor, "*_"], Shaped[Tensor, "*_"]]:
    """Return ``x`` and ``y`` with equally many axes if one has a last axis of size 1 too many."""
    if x.ndim == y.ndim + 1 and x.shape[-1] == 1:
        return (x, y.unsqueeze(-1)) if y.ndim == 1 else (x.squeeze(-1), y)
    if y.ndim == x.ndim + 1 and y.shape[-1] == 1:
        return (x.unsqueeze(-1), y) if x.ndim == 1 else (x, y.squeeze(-1))
    return x, y


def _over_axes(weight: Tensor, values: Tensor) -> Tensor:
    """Give ``weight`` the axes that it lacks: (batch,) weighs all of (batch, time)."""
    if weight.ndim == values.ndim + 1 and weight.shape[-1] == 1:
        weight = weight.squeeze(-1)
    pairs = zip(weight.shape, values.shape, strict=False)
    if weight.ndim > values.ndim or any(w not in (1, v) for w, v in pairs):
        raise ValueError(
            f"sample_weight must have shape {tuple(values.shape)}, or its first axes alone, "
            f"got shape {tuple(weight.shape)}"
        )
    return weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim))


def _kept_inside(probabilities: Tensor) -> Tensor:
    return probabilities.clip(EPSILON, 1 - EPSILON)


def _same_shape(loss: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    y_true, y_pred = same_rank(to_tensor(y_true), to_tensor(y_pred))
    _check_shapes(loss, y_true, y_pred)
    return y_true.to(y_pred.dtype), y_pred


def _check_shapes(loss: str, y_true: Tensor, y_pred: Tensor) -> None:
    sparse = loss == "sparse_categorical_crossentropy"
    wanted = y_pred.shape[:-1] if sparse else y_pred.shape
    if y_true.shape == wanted:
        return
    message = (
        f"{loss} must get y of shape {tuple(wanted)} for predictions of shape "
        f"{tuple(y_pred.shape)}, got shape {tuple(y_true.shape)}"
    )
    raise ValueError(message + _advice(loss, tuple(y_true.shape), tuple(y_pred.shape)))


def _advice(loss: str, y_true: tuple[int, ...], y_pred: tuple[int, ...]) -> str:
    """Say what the mistake may be, if the shapes give it away."""
    if loss == "sparse_categorical_crossentropy":
        if y_true == y_pred:
            return (
                ": one-hot labels go with categorical_crossentropy, or turn them into classes "
                "with y.argmax(-1)"
            )
        if len(y_true) == len(y_pred) == 2 and y_true[0] == y_pred[0]:
            return (
                ": the model predicts once for a whole sequence; for one prediction at every "
                "step, its last recurrent layer needs return_sequences=True"
            )
        if len(y_pred) == 3 and y_true in (y_pred[:1], (y_pred[0], 1)):
            return (
                ": the model predicts at every step; for one prediction for a sequence, its last "
                "recurrent layer needs return_sequences=False"
            )
    if loss == "categorical_crossentropy" and y_true in (y_pred[:-1], (*y_pred[:-1], 1)):
        return (
            ": labels given as classes go with sparse_categorical_crossentropy, or turn them "
            "into one-hot labels with to_categorical"
        )
    if loss == "binary_crossentropy" and y_true[:1] == y_pred[:1]:
        if y_pred[-1] == 1:
            return ": with one output there is one label, 0 or 1, for each prediction"
        return ": with several outputs every one has a label of its own, 0 or 1"
    return ""
