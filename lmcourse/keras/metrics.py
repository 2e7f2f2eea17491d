"""Metrics by Keras's names: running values over the batches of an epoch.

Sums are kept as tensors where the predictions are, and become numbers only when somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lmcourse import _arguments
from lmcourse.keras import losses
from lmcourse.keras.layers.base import get_mask, to_tensor, unique_name
from lmcourse.keras.losses import EPSILON, same_rank
from lmcourse.keras.registry import look_up, snake_case

MetricFunction = Callable[[Tensor, Tensor], Tensor]


def binary_accuracy(
    y_true: Any, y_pred: Any, threshold: float = 0.5
) -> Float[Tensor, "*batch labels"]:
    """1 where a probability above ``threshold`` and the label agree, otherwise 0.

    Args:
        y_true: labels 0 or 1, of the shape of ``y_pred`` or without its last axis of size 1.
        y_pred: probabilities (*batch, labels).
        threshold: above it, the prediction is 1.

    Returns:
        1 or 0 for every prediction (*batch, labels).
    """
    y_true, y_pred = same_rank(to_tensor(y_true), to_tensor(y_pred))
    return (y_true == (y_pred > threshold).to(y_true.dtype)).float()


def categorical_accuracy(y_true: Any, y_pred: Any) -> Float[Tensor, "*batch"]:
    """1 where the likeliest class is the label's, otherwise 0, for one-hot labels.

    Args:
        y_true: distributions (*batch, classes).
        y_pred: probabilities or logits (*batch, classes).

    Returns:
        1 or 0 for every prediction (*batch).
    """
    return (to_tensor(y_true).argmax(-1) == to_tensor(y_pred).argmax(-1)).float()


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Float[Tensor, "*batch"]:
    """1 where the likeliest class is the label, otherwise 0, for labels given as integers.

    Args:
        y_true: classes (*batch) or (*batch, 1).
        y_pred: probabilities or logits (*batch, classes).

    Returns:
        1 or 0 for every prediction (*batch).
    """
    y_true, y_pred = to_tensor(y_true), to_tensor(y_pred)
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true.squeeze(-1)
    return (y_true == y_pred.argmax(-1)).float()


class Metric:
    """A value that is updated batch by batch.

    Args:
        name: its key in histories; its class's name in small letters if not given, counted up.

    Attributes:
        direction: ``"up"`` if more is better, ``"down"`` if less is.
    """

    direction: str | None = None

    def __init__(self, name: str | None = None):
        self.name = name or unique_name(snake_case(type(self).__name__))
        self.reset_state()

    def reset_state(self) -> None:
        """Forget all batches."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it starts")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch.

        Args:
            y_true: targets.
            y_pred: predictions.
            sample_weight: how much each sample, or each prediction, counts.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what it computes")

    def result(self) -> Float[Tensor, "*_"]:
        """Return the value over all batches since the last ``reset_state``."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it computes")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """Add a batch and return the value so far."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another metric like this one, ready for JSON."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        """Return a metric like the one whose ``get_config`` returned ``config``."""
        return cls(**config)


class Mean(Metric):
    """Weighted mean of values; each sample counts as much as the mean of its weights."""

    def reset_state(self) -> None:
        """Forget all values."""
        self.total: Tensor | float = 0.0
        self.count: Tensor | float = 0.0

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add values.

        Args:
            values: (batch, ...), or a single number.
            sample_weight: of the same shape, or with fewer axes.
        """
        values = to_tensor(values).detach()
        if sample_weight is None:
            self.add(values, values.shape[0] if values.ndim else 1)
            return
        weight = to_tensor(sample_weight).to(values.dtype)
        values, weight = same_rank(values, weight)
        if values.ndim > weight.ndim:
            values = values.flatten(weight.ndim).mean(-1)
        weight = weight.expand(values.shape)
        self.add(values * weight, (weight.flatten(1).mean(1) if weight.ndim > 1 else weight).sum())

    def add(self, values: Float[Tensor, "*_"], count: Float[Tensor, ""] | int) -> None:
        """Add weighted ``values`` (batch, ...), or their sum, and their weights' sum ``count``."""
        samples = values.flatten(1).mean(1) if values.ndim > 1 else values  # (batch,)
        self.total = self.total + samples.sum(dtype=torch.float64)
        self.count = self.count + count

    def result(self) -> Float[Tensor, ""]:
        """Return the mean; 0 where nothing counted."""
        return _ratio(torch.as_tensor(self.total), torch.as_tensor(self.count)).float()


class MeanMetricWrapper(Mean):
    """Mean of a function of targets and predictions; masked predictions do not count.

    Args:
        fn: maps targets and predictions to values.
        name: its key in histories; the function's name if not given.
        **keywords: further arguments of ``fn``.
    """

    def __init__(self, fn: MetricFunction, name: str | None = None, **keywords: Any):
        self.fn = fn
        self.keywords = keywords
        super().__init__(name or getattr(fn, "__name__", None))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch.

        Args:
            y_true: targets.
            y_pred: predictions; their mask says which of them count.
            sample_weight: how much each sample, or each prediction, counts.
        """
        y_pred = to_tensor(y_pred)
        mask = get_mask(y_pred)
        values = self.fn(to_tensor(y_true), y_pred, **self.keywords)
        if mask is not None:
            mask = mask.to(values.dtype)
            if sample_weight is not None:
                weight = to_tensor(sample_weight)
                mask = mask * weight.reshape(weight.shape + (1,) * (mask.ndim - weight.ndim))
            sample_weight = mask
        super().update_state(values, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another metric like this one, ready for JSON.

        Raises:
            ValueError: the function is not one of this module's, so that it cannot be saved.
        """
        if type(self) is MeanMetricWrapper:
            raise ValueError(
                f"metric {self.name!r} is a function of your own, which cannot be saved: use "
                "save_weights, or compile with metrics of lmcourse.keras.metrics"
            )
        return super().get_config() | self.keywords


class BinaryAccuracy(MeanMetricWrapper):
    """Mean of `binary_accuracy`.

    Args:
        name: its key in histories.
        threshold: above it, a prediction is 1.
    """

    direction = "up"

    def __init__(self, name: str | None = "binary_accuracy", threshold: float = 0.5):
        super().__init__(binary_accuracy, name, threshold=threshold)


class CategoricalAccuracy(MeanMetricWrapper):
    """Mean of `categorical_accuracy`.

    Args:
        name: its key in histories.
    """

    direction = "up"

    def __init__(self, name: str | None = "categorical_accuracy"):
        super().__init__(categorical_accuracy, name)


class SparseCategoricalAccuracy(MeanMetricWrapper):
    """Mean of `sparse_categorical_accuracy`.

    Args:
        name: its key in histories.
    """

    direction = "up"

    def __init__(self, name: str | None = "sparse_categorical_accuracy"):
        super().__init__(sparse_categorical_accuracy, name)


class MeanSquaredError(MeanMetricWrapper):
    """Mean of `losses.mean_squared_error`.

    Args:
        name: its key in histories.
    """

    direction = "down"

    def __init__(self, name: str | None = "mean_squared_error"):
        super().__init__(losses.mean_squared_error, name)


class MeanAbsoluteError(MeanMetricWrapper):
    """Mean of `losses.mean_absolute_error`.

    Args:
        name: its key in histories.
    """

    direction = "down"

    def __init__(self, name: str | None = "mean_absolute_error"):
        super().__init__(losses.mean_absolute_error, name)


class BinaryCrossentropy(MeanMetricWrapper):
    """Mean of `losses.binary_crossentropy`.

    Args:
        name: its key in histories.
        from_logits: whether predictions are logits.
        label_smoothing: as in the function.
    """

    direction = "down"

    def __init__(
        self,
        name: str | None = "binary_crossentropy",
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ):
        super().__init__(
            losses.binary_crossentropy,
            name,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
        )


class CategoricalCrossentropy(MeanMetricWrapper):
    """Mean of `losses.categorical_crossentropy`.

    Args:
        name: its key in histories.
        from_logits: whether predictions are logits.
        label_smoothing: as in the function.
    """

    direction = "down"

    def __init__(
        self,
        name: str | None = "categorical_crossentropy",
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ):
        super().__init__(
            losses.categorical_crossentropy,
            name,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
        )


class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """Mean of `losses.sparse_categorical_crossentropy`.

    Args:
        name: its key in histories.
        from_logits: whether predictions are logits.
    """

    direction = "down"

    def __init__(
        self, name: str | None = "sparse_categorical_crossentropy", from_logits: bool = False
    ):
        super().__init__(losses.sparse_categorical_crossentropy, name, from_logits=from_logits)


class _Thresholded(Metric):
    """Counts of true and false, positive and negative predictions at each threshold."""

    direction = "up"
    thresholds: Sequence[float]

    def reset_state(self) -> None:
        """Forget all batches."""
        self._positives: Tensor | float = 0.0  # above each threshold, labelled 1
        self._false_alarms: Tensor | float = 0.0  # above each threshold, labelled 0
        self._all_positives: Tensor | float = 0.0
        self._all_negatives: Tensor | float = 0.0

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch.

        Args:
            y_true: labels 0 or 1, of the shape of ``y_pred`` or without its last axis of size 1.
            y_pred: probabilities.
            sample_weight: how much each sample, or each prediction, counts.

        Raises:
            ValueError: the shapes do not go together.
        """
        y_pred, y_true = same_rank(to_tensor(y_pred).detach(), to_tensor(y_true))
        if y_pred.shape != y_true.shape:
            raise ValueError(
                f"{self.name} must get y of shape {tuple(y_pred.shape)}, one label 0 or 1 for "
                f"each probability, got shape {tuple(y_true.shape)}"
            )
        weight = torch.ones_like(y_pred)
        if sample_weight is not None:
            given = to_tensor(sample_weight).to(y_pred.dtype)
            weight = weight * given.reshape(given.shape + (1,) * (y_pred.ndim - given.ndim))
        y_pred, weight = y_pred.flatten(), weight.flatten().double()
        positive = weight * (y_true.flatten() != 0)
        thresholds = torch.tensor(self.thresholds, dtype=torch.float32, device=y_pred.device)
        above = torch.searchsorted(thresholds, y_pred)  # thresholds below each prediction
        self._positives = self._positives + self._at_least(above, positive)
        self._false_alarms = self._false_alarms + self._at_least(above, weight - positive)
        self._all_positives = self._all_positives + positive.sum()
        self._all_negatives = self._all_negatives + (weight - positive).sum()

    def _at_least(self, above: Tensor, weight: Tensor) -> Tensor:
        """Sum up, for each threshold, the weights of the predictions above it."""
        size = len(self.thresholds) + 1
        counts = torch.zeros(size, dtype=weight.dtype, device=weight.device)
        counts.index_add_(0, above, weight)
        return counts.flip(0).cumsum(0).flip(0)[1:]

    @property
    def true_positives(self) -> Tensor:
        """Weight of the samples labelled 1 above each threshold."""
        return torch.as_tensor(self._positives)

    @property
    def false_positives(self) -> Tensor:
        """Weight of the samples labelled 0 above each threshold."""
        return torch.as_tensor(self._false_alarms)

    @property
    def false_negatives(self) -> Tensor:
        """Weight of the samples labelled 1 not above each threshold."""
        return torch.as_tensor(self._all_positives - self._positives)

    @property
    def true_negatives(self) -> Tensor:
        """Weight of the samples labelled 0 not above each threshold."""
        return torch.as_tensor(self._all_negatives - self._false_alarms)


class _AtThresholds(_Thresholded):
    """A rate at one threshold, or a tensor of rates at several.

    Args:
        thresholds: a number, or a list of them in ascending order; a prediction above it is 1.
        name: its key in histories; its class's name in small letters if not given, counted up.

    Raises:
        ValueError: ``thresholds`` is empty or not in ascending order.
    """

    def __init__(self, thresholds: float | Sequence[float] | None = None, name: str | None = None):
        self._given = thresholds
        self.thresholds = np.atleast_1d(0.5 if thresholds is None else thresholds).tolist()
        if not self.thresholds or sorted(self.thresholds) != self.thresholds:
            raise ValueError(f"thresholds must be in ascending order, got {thresholds}")
        super().__init__(name)

    def _rates(self) -> Tensor:
        raise NotImplementedError

    def result(self) -> Float[Tensor, "*_"]:
        """Return the rate, or the rates."""
        rates = self._rates().float().expand(len(self.thresholds))
        return rates[0] if len(self.thresholds) == 1 else rates

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another metric like this one, ready for JSON."""
        return super().get_config() | {"thresholds": self._given}


class Precision(_AtThresholds):
    """Share of the predictions of 1 that are right."""

    def _rates(self):
        return _ratio(self.true_positives, self.true_positives + self.false_positives)


class Recall(_AtThresholds):
    """Share of the labels 1 that are found."""

    def _rates(self):
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)


class AUC(_Thresholded):
    """Area under the ROC curve, or under the curve of precision over recall.

    The curve is computed at ``num_thresholds`` evenly spaced thresholds, so that the area is an
    approximation.

    Args:
        num_thresholds: how many; at least 2.
        curve: ``"ROC"`` or ``"PR"``.
        name: its key in histories; ``auc`` if not given, counted up.
        from_logits: whether the predictions are logits, of which the sigmoid is to be taken.

    Raises:
        ValueError: ``num_thresholds`` is below 2, or there is no such ``curve``.
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        *,
        name: str | None = None,
        from_logits: bool = False,
    ):
        self.num_thresholds = _arguments.integer("num_thresholds", num_thresholds, at_least=2)
        self.curve = _arguments.one_of("curve", curve, ("ROC", "PR"))
        self.from_logits = bool(from_logits)
        inner = [i / (num_thresholds - 1) for i in range(1, num_thresholds - 1)]
        self.thresholds = [-EPSILON, *inner, 1 + EPSILON]
        super().__init__(name)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch.

        Args:
            y_true: labels 0 or 1, of the shape of ``y_pred`` or without its last axis of size 1.
            y_pred: probabilities, or logits.
            sample_weight: how much each sample, or each prediction, counts.

        Raises:
            ValueError: the shapes do not go together.
        """
        y_pred = to_tensor(y_pred)
        super().update_state(
            y_true, y_pred.sigmoid() if self.from_logits else y_pred, sample_weight
        )

    def result(self) -> Float[Tensor, ""]:
        """Return the area."""
        if torch.as_tensor(self._positives).ndim == 0:  # no batch yet
            return torch.zeros(())
        return (self._under_roc() if self.curve == "ROC" else self._under_pr()).float()

    def _under_roc(self) -> Tensor:
        recall = _ratio(self.true_positives, self.true_positives + self.false_negatives)
        alarms = _ratio(self.false_positives, self.false_positives + self.true_negatives)
        return ((alarms[:-1] - alarms[1:]) * (recall[:-1] + recall[1:]) / 2).sum()

    def _under_pr(self) -> Tensor:
        """Between thresholds both counts run in a line, precision does not (Davis, 2006)."""
        found = self.true_positives
        predicted = found + self.false_positives
        d_found = found[:-1] - found[1:]
        slope = _ratio(d_found, predicted[:-1] - predicted[1:])
        intercept = found[1:] - slope * predicted[1:]
        growth = torch.where(predicted[1:] > 0, _ratio(predicted[:-1], predicted[1:]), 1.0)
        areas = slope * (d_found + intercept * growth.log())
        return _ratio(areas, (found + self.false_negatives)[1:]).sum()

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another metric like this one, ready for JSON."""
        names = ("num_thresholds", "curve", "from_logits")
        return super().get_config() | {name: getattr(self, name) for name in names}


class F1Score(Metric):
    """Harmonic mean of precision and recall, for each class or averaged.

    Equation: eq-lstm-f1

    Args:
        average: ``None`` returns one value for each class, ``"macro"`` their mean, ``"weighted"``
            their mean by the number of labels, ``"micro"`` one value of all classes' counts.
        threshold: a prediction above it is 1; if not given, the greatest of each row is.
        name: its key in histories.

    Raises:
        ValueError: there is no such ``average``, or ``threshold`` is not in (0, 1].
    """

    direction = "up"

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
    ):
        if average is not None:
            _arguments.one_of("average", average, ("micro", "macro", "weighted"))
        if threshold is not None:
            threshold = _arguments.number("threshold", threshold, above=0, at_most=1)
        self.average = average
        self.threshold = threshold
        super().__init__(name)

    def reset_state(self) -> None:
        """Forget all batches."""
        self._counts: Tensor | float = 0.0  # right, predicted, labelled: (3, classes)

    def update_state(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
    ) -> None:
        """Add a batch.

        Args:
            y_true: labels 0 or 1 (batch, classes).
            y_pred: probabilities (batch, classes).
            sample_weight: how much each sample counts (batch,).

        Raises:
            ValueError: the shapes do not go together.
        """
        y_true, y_pred = to_tensor(y_true).double(), to_tensor(y_pred).detach()
        if y_pred.ndim != 2 or y_true.shape != y_pred.shape:
            raise ValueError(
                f"{self.name} must get y and predictions of one shape (batch, classes), got "
                f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}"
            )
        if self.threshold is None:
            chosen = (y_pred == y_pred.amax(-1, keepdim=True)) & (y_pred.abs() > 1e-9)
        else:
            chosen = y_pred > self.threshold
        chosen = chosen.double()
        counts = torch.stack([chosen * y_true, chosen, y_true])  # (3, batch, classes)
        if sample_weight is not None:
            counts = counts * to_tensor(sample_weight).reshape(-1, 1)
        self._counts = self._counts + counts.sum(1)

    def result(self) -> Float[Tensor, "*_"]:
        """Return the score, or the scores (classes,)."""
        counts = torch.as_tensor(self._counts).expand(3, -1) if self._counted else torch.zeros(3, 1)
        right, predicted, labelled = counts.sum(-1) if self.average == "micro" else counts
        precision, recall = right / (predicted + EPSILON), right / (labelled + EPSILON)
        score = 2 * precision * recall / (precision + recall + EPSILON)
        if self.average == "macro":
            score = score.mean()
        elif self.average == "weighted":
            score = (score * labelled / (labelled.sum() + EPSILON)).sum()
        return score.float()

    @property
    def _counted(self) -> bool:
        return isinstance(self._counts, Tensor)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another metric like this one, ready for JSON."""
        return super().get_config() | {"average": self.average, "threshold": self.threshold}


METRICS: dict[str, type[Metric]] = {
    metric.__name__: metric
    for metric in (
        BinaryAccuracy,
        CategoricalAccuracy,
        SparseCategoricalAccuracy,
        MeanSquaredError,
        MeanAbsoluteError,
        BinaryCrossentropy,
        CategoricalCrossentropy,
        SparseCategoricalCrossentropy,
        Precision,
        Recall,
        AUC,
        F1Score,
    )
}
_BY_NAME = (
    METRICS
    | {snake_case(name): metric for name, metric in METRICS.items()}
    | {"mse": MeanSquaredError, "MSE": MeanSquaredError}
    | {"mae": MeanAbsoluteError, "MAE": MeanAbsoluteError}
    | {"bce": BinaryCrossentropy, "BCE": BinaryCrossentropy}
)


def get(metric: str | Metric | type[Metric] | MetricFunction) -> Metric:
    """Return a metric by name; an object is itself, and a function becomes one.

    Raises:
        TypeError: ``metric`` is none of these.
        ValueError: there is no metric of that name; the message gives the nearest ones.
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, type) and issubclass(metric, Metric):
        return metric()
    if callable(metric):
        return MeanMetricWrapper(metric)
    return look_up("metric", metric, _BY_NAME)(name=metric)


def is_accuracy(metric: Any) -> bool:
    """Return whether ``metric`` is called accuracy, so that its kind depends on the shapes."""
    return isinstance(metric, str) and metric.lower() in ("accuracy", "acc")


def accuracy_for(
    name: str, y_true: Shaped[Tensor, "*_"], y_pred: Float[Tensor, "*batch classes"]
) -> Metric:
    """Return the accuracy that goes with the shapes, as Keras chooses it.

    One class makes it binary; labels without the axis of classes make it sparse.

    Args:
        name: its key in histories.
        y_true: targets.
        y_pred: predictions.
    """
    if y_pred.shape[-1] == 1:
        return BinaryAccuracy(name)
    if y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1:
        return SparseCategoricalAccuracy(name)
    return CategoricalAccuracy(name)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, 0 where the denominator is."""
    empty = denominator == 0
    return torch.where(empty, 0.0, numerator / torch.where(empty, 1.0, denominator))
