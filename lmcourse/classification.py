"""How good a classifier of two classes is: its decisions, its ranking, its probabilities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lmcourse import _arguments

Labels = Int[np.ndarray, " n"]


class Decisions(NamedTuple):
    """What came of deciding at a threshold.

    Attributes:
        accuracy: share of right decisions.
        precision: share of the positive decisions that are right; 0 if there are none.
        recall: share of the positive examples that were found.
        f1: harmonic mean of precision and recall.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float


class Reliability(NamedTuple):
    """Probabilities beside what came true, bin by bin. An empty bin has NaN for both means.

    Attributes:
        predicted: mean probability in each bin.
        observed: share of positive examples in each bin.
        counts: how many examples each bin holds.
    """

    predicted: Float[np.ndarray, " bins"]
    observed: Float[np.ndarray, " bins"]
    counts: Int[np.ndarray, " bins"]


def decisions(
    labels: Labels, probabilities: Float[np.ndarray, " n"], threshold: float = 0.5
) -> Decisions:
    """Decide for the positive class where the probability is at least ``threshold``.

    Equation: eq-lstm-f1

    Args:
        labels: 1 for the positive class, 0 for the other.
        probabilities: of the positive class.
        threshold: from which probability on to decide for it.

    Returns:
        Accuracy, precision, recall and F1.

    Raises:
        TypeError: ``labels`` are not integers, or a number is none.
        ValueError: shapes differ, a class is missing, or a probability is not in [0, 1].
    """
    labels, probabilities = _checked(labels, probabilities)
    said = probabilities >= _arguments.number("threshold", threshold)
    true_positives = int((said & (labels == 1)).sum())
    positives, named = int(labels.sum()), int(said.sum())
    return Decisions(
        accuracy=float((said == labels).mean()),
        precision=true_positives / named if named else 0.0,
        recall=true_positives / positives,
        f1=2 * true_positives / (positives + named),
    )


def best_threshold(labels: Labels, probabilities: Float[np.ndarray, " n"]) -> float:
    """Return the threshold with the highest F1; of several, the lowest.

    Only probabilities that occur are tried, since between two of them no decision changes.

    Args:
        labels: 1 for the positive class, 0 for the other. Not those of the test set.
        probabilities: of the positive class.

    Raises:
        TypeError: ``labels`` are not integers, or a number is none.
        ValueError: shapes differ, a class is missing, or a probability is not in [0, 1].
    """
    labels, probabilities = _checked(labels, probabilities)
    thresholds = np.unique(probabilities)
    scores = [decisions(labels, probabilities, float(t)).f1 for t in thresholds]
    return float(thresholds[int(np.argmax(scores))])


def roc_auc(labels: Labels, scores: Float[np.ndarray, " n"]) -> float:
    """Area under the ROC curve: how often a positive example scores above a negative one.

    A tie counts half, so that scores which say nothing have 0.5.

    Args:
        labels: 1 for the positive class, 0 for the other.
        scores: higher for what looks more positive; probabilities or any others.

    Returns:
        From 0 to 1; 1 if every positive example scores above every negative one.

    Raises:
        TypeError: ``labels`` are not integers, or a score is no number.
        ValueError: shapes differ, a class is missing, or a score is not finite.

    Source: Hanley and McNeil (1982), with ranks as in Mann and Whitney's test.
    """
    from scipy.stats import rankdata

    labels, scores = _checked(labels, scores, at_most=None)
    positive = labels == 1
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(scores)[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(ranks / (n_positive * n_negative))


def reliability(
    labels: Labels, probabilities: Float[np.ndarray, " n"], *, bins: int = 10
) -> Reliability:
    """Sort examples into bins of equal width by their probability.

    Args:
        labels: 1 for the positive class, 0 for the other.
        probabilities: of the positive class. One on an edge goes to the upper bin, 1 to the last.
        bins: how many.

    Returns:
        For each bin what was predicted, what came true, and how many examples it holds.

    Raises:
        TypeError: ``labels`` are not integers, ``bins`` is none, or a number is none.
        ValueError: shapes differ, a class is missing, a probability is not in [0, 1], or ``bins``
            is below 1.
    """
    labels, probabilities = _checked(labels, probabilities)
    bins = _arguments.integer("bins", bins, at_least=1)
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    sums = (np.bincount(place, weights, minlength=bins) for weights in (probabilities, labels))
    with np.errstate(invalid="ignore"):
        predicted, observed = (total / counts for total in sums)
    return Reliability(predicted, observed, counts)


def expected_calibration_error(
    labels: Labels, probabilities: Float[np.ndarray, " n"], *, bins: int = 10
) -> float:
    """Mean distance between predicted and observed share, weighted by the bins' counts.

    Equation: eq-lstm-calibration

    Args:
        labels: 1 for the positive class, 0 for the other.
        probabilities: of the positive class.
        bins: how many, as in ``reliability``.

    Returns:
        0 if in every bin as many came true as predicted; at most 1.

    Raises:
        TypeError: ``labels`` are not integers, ``bins`` is none, or a number is none.
        ValueError: shapes differ, a class is missing, a probability is not in [0, 1], or ``bins``
            is below 1.

    Source: Guo et al. (2017), for the positive class.
    """
    predicted, observed, counts = reliability(labels, probabilities, bins=bins)
    held = counts > 0
    return float(np.average(np.abs(predicted - observed)[held], weights=counts[held]))


def _checked(labels, numbers, *, at_most: float | None = 1.0):
    """Return labels and numbers as arrays; with ``at_most``, the numbers are probabilities."""
    labels = _arguments.token_ids("labels", labels, 2, ndim=1)
    name = "scores" if at_most is None else "probabilities"
    numbers = _arguments.finite_array(name, numbers, ndim=1).astype(np.float64)
    if numbers.shape != labels.shape:
        raise ValueError(
            f"{name} must have the shape of labels {labels.shape}, got shape {numbers.shape}"
        )
    if at_most is not None and len(numbers) and not 0 <= numbers.min() <= numbers.max() <= 1:
        worst = numbers.min() if numbers.min() < 0 else numbers.max()
        raise ValueError(f"probabilities must lie between 0 and 1, got {worst}")
    if len(np.unique(labels)) < 2:
        raise ValueError("labels must hold both classes, 0 and 1")
    return labels, numbers
