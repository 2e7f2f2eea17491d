import numpy as np
import pytest
import torch
from scipy.stats import binned_statistic, mannwhitneyu

from lmcourse.classification import (
    best_threshold,
    decisions,
    expected_calibration_error,
    reliability,
    roc_auc,
)
from tests.keras_reference import keras


@pytest.fixture
def labels_and_probabilities():
    rng = np.random.default_rng(0)
    labels = (rng.random(400) < 0.3).astype(np.int64)
    noisy = 0.5 * labels + 0.5 * rng.random(400)
    return labels, np.round(noisy, 2)  # rounded: ties, and numbers on the edges of bins


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 0.73, 1.0])
def test_decisions_equal_keras_metrics(labels_and_probabilities, threshold):
    labels, probabilities = labels_and_probabilities
    ours = decisions(labels, probabilities, threshold)
    # Keras decides strictly above its threshold, we from the threshold on.
    said = torch.tensor((probabilities >= threshold).astype(float))
    for name, metric in (
        ("accuracy", keras.metrics.BinaryAccuracy()),
        ("precision", keras.metrics.Precision()),
        ("recall", keras.metrics.Recall()),
    ):
        assert getattr(ours, name) == pytest.approx(float(metric(labels, said)), abs=1e-6)
    f1 = keras.metrics.F1Score(threshold=0.5)
    assert ours.f1 == pytest.approx(float(f1(labels[:, None], said[:, None])[0]), abs=1e-6)


def test_nothing_named_has_precision_and_f1_of_zero():
    assert decisions(np.array([1, 0]), np.array([0.1, 0.2]), 0.5)[1:] == (0.0, 0.0, 0.0)


def test_best_threshold_beats_a_fine_grid(labels_and_probabilities):
    labels, probabilities = labels_and_probabilities
    best = best_threshold(labels, probabilities)
    grid = [decisions(labels, probabilities, t).f1 for t in np.linspace(0, 1, 2001)]
    assert decisions(labels, probabilities, best).f1 == pytest.approx(max(grid), abs=1e-12)
    lower = [t for t in np.unique(probabilities) if t < best]
    assert all(decisions(labels, probabilities, t).f1 < max(grid) for t in lower)


def test_roc_auc_is_the_share_of_pairs_in_order(labels_and_probabilities):
    labels, scores = labels_and_probabilities
    statistic = mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic
    pairs = (labels == 1).sum() * (labels == 0).sum()
    assert roc_auc(labels, scores) == pytest.approx(statistic / pairs, abs=1e-12)
    assert roc_auc(labels, 50 * scores - 7) == roc_auc(labels, scores)
    assert roc_auc(labels, np.zeros(len(labels))) == 0.5


@pytest.mark.parametrize("bins", [1, 4, 10])
def test_reliability_equals_scipys_binning(labels_and_probabilities, bins):
    labels, probabilities = labels_and_probabilities
    # Away from the edges, where the two may round differently.
    probabilities = np.clip(probabilities + 1e-6, 0, 1)
    result = reliability(labels, probabilities, bins=bins)
    for found, values in ((result.predicted, probabilities), (result.observed, labels)):
        theirs = binned_statistic(probabilities, values, "mean", bins=bins, range=(0, 1))
        np.testing.assert_allclose(found, theirs.statistic, equal_nan=True)
    assert result.counts.sum() == len(labels)
    gaps = np.abs(result.predicted - result.observed)
    by_hand = np.nansum(gaps * result.counts / len(labels))
    error = expected_calibration_error(labels, probabilities, bins=bins)
    assert error == pytest.approx(by_hand, abs=1e-12)


def test_edges_go_up_and_one_goes_to_the_last_bin():
    labels, probabilities = np.array([0, 1, 1]), np.array([0.0, 0.5, 1.0])
    assert reliability(labels, probabilities, bins=2).counts.tolist() == [1, 2]


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("labels", "probabilities", "error", "message"),
    [
        ([0, 1], [0.1], ValueError, r"shape of labels \(2,\), got shape \(1,\)"),
        ([0, 1], [0.1, 1.2], ValueError, "between 0 and 1, got 1.2"),
        ([0, 1], [-0.1, 0.2], ValueError, "between 0 and 1, got -0.1"),
        ([0, 0], [0.1, 0.2], ValueError, "both classes"),
        ([0, 2], [0.1, 0.2], ValueError, "labels"),
        ([0.0, 1.0], [0.1, 0.2], TypeError, "labels"),
        ([0, 1], [0.1, np.nan], ValueError, "probabilities"),
    ],
)
def test_wrong_input_is_named(labels, probabilities, error, message):
    for function in (decisions, best_threshold, reliability, expected_calibration_error):
        with pytest.raises(error, match=message):
            function(np.array(labels), np.array(probabilities))


@pytest.mark.wrong_input
def test_scores_may_be_any_finite_numbers():
    with pytest.raises(ValueError, match="scores"):
        roc_auc(np.array([0, 1]), np.array([0.1, np.inf]))
