"""How the loss falls as models grow: the law, its fit, and four models to fit it to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from numbers import Real
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Int

from lmcourse import _arguments

RUNS = Path(__file__).with_name("scaling.json")
"""Four models of different sizes, trained on the same tokens by ``benchmarks/gpt2_scaling.py``."""

STARTS = (0.0, 0.5, 0.9)  # irreducible losses, as shares of the smallest loss


@dataclass(frozen=True)
class Run:
    """One trained model.

    Attributes:
        n_layer, n_embd, n_head: its sizes.
        parameters: how many numbers it has.
        non_embedding_parameters: without the embeddings of tokens and positions.
        tokens: how many it was trained on.
        held_out_loss: on text that it was not trained on, in nats a token.
        bits_per_byte: on the same text.
        curve: rows of tokens seen and the loss of training at that time, in nats a token.
    """

    n_layer: int
    n_embd: int
    n_head: int
    parameters: int
    non_embedding_parameters: int
    tokens: int
    held_out_loss: float
    bits_per_byte: float
    curve: Float64[np.ndarray, "points 2"]


def load_runs(path: str | PathLike = RUNS) -> list[Run]:
    """Read the models that ``benchmarks/gpt2_scaling.py`` trained.

    Args:
        path: its file; the one that comes with the course if not given.

    Returns:
        One run for each model, the smallest first.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, has no models, or a model lacks a field or has an unknown one.
    """
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    try:
        models = content["models"]
        runs = [Run(**model | {"curve": np.array(model["curve"], dtype=float)}) for model in models]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} must hold models with the fields of Run: {error}") from None
    return sorted(runs, key=lambda run: run.parameters)


@dataclass(frozen=True)
class ScalingLaw:
    """``loss = irreducible + coefficient * parameters ** -exponent``, fitted to some models.

    Equation: eq-gpt2-scaling

    Attributes:
        coefficient: in nats; what is above ``irreducible`` for a model of one parameter.
        exponent: how fast that falls: twice the parameters leave ``2 ** -exponent`` of it.
        irreducible: the loss in nats that no size takes away; 0 in a pure power law.
        exponent_error: the standard error of ``exponent``; NaN if the law has as many numbers as
            there were models, so that nothing is left over to estimate it from.
        residuals: ``log(loss) - log(predicted loss)`` of the models it was fitted to.
    """

    coefficient: float
    exponent: float
    irreducible: float
    exponent_error: float
    residuals: Float64[np.ndarray, " models"]

    def predict(
        self, parameters: Float[np.ndarray, "*shape"] | Int[np.ndarray, "*shape"] | Real
    ) -> Float64[np.ndarray, "*shape"] | np.float64:
        """Return the loss in nats that the law expects of models of these sizes.

        Args:
            parameters: how many numbers each model has.

        Raises:
            TypeError: ``parameters`` are not numbers.
            ValueError: one is not finite and above 0.
        """
        parameters = _positive("parameters", parameters)
        return self.irreducible + self.coefficient * parameters**-self.exponent


def fit(
    parameters: Float[np.ndarray, " models"] | Int[np.ndarray, " models"],
    losses: Float[np.ndarray, " models"],
    *,
    irreducible: bool = False,
) -> ScalingLaw:
    """Fit the law by least squares on the logarithms of the losses.

    Without an irreducible loss the law is a straight line through the logarithms. With one it has
    three numbers, found by a search from several starts. They trade off against each other: over a
    decade or two of sizes very different triples fit about equally well. Few models, then, are
    described by the law, and what it says of much larger ones is a guess. :func:`leave_one_out`
    tells how well it carries from some of them to another.

    Equation: eq-gpt2-scaling

    Sources: Kaplan et al. (2020) for the power law; Hoffmann et al. (2022) for the irreducible
    loss, which they fit to more than 400 models by the Huber loss.

    Args:
        parameters: how many numbers each model has; at least two different sizes, three with
            ``irreducible``.
        losses: each model's loss in nats a token.
        irreducible: whether the law has a loss that no size takes away; it lies between 0 and the
            smallest of ``losses``.

    Returns:
        The law.

    Raises:
        TypeError: ``parameters`` or ``losses`` are not numbers.
        ValueError: one of them is not finite and above 0, they are not two lists of one length, or
            there are too few different sizes.
    """
    needed = 3 if irreducible else 2
    parameters, losses = _models(parameters, losses, n_sizes=needed)
    # Around their mean the logarithms of the sizes leave slope and height independent.
    centre = np.log(parameters).mean()
    x, y = np.log(parameters) - centre, np.log(losses)
    slope, height, remains = (_curve if irreducible else _line)(x, y)
    reducible = np.exp(height + slope * x)
    predicted = remains + reducible
    jacobian = np.stack([reducible * x, reducible, np.ones_like(x)], axis=1) / predicted[:, None]
    residuals = y - np.log(predicted)
    return ScalingLaw(
        coefficient=float(np.exp(height - slope * centre)),
        exponent=-slope,
        irreducible=remains,
        exponent_error=_standard_error(jacobian[:, :needed], residuals),
        residuals=residuals,
    )


def leave_one_out(
    parameters: Float[np.ndarray, " models"] | Int[np.ndarray, " models"],
    losses: Float[np.ndarray, " models"],
    *,
    irreducible: bool = False,
) -> Float64[np.ndarray, " models"]:
    """Return the loss that the law, fitted to all other models, predicts for each.

    Args:
        parameters, losses, irreducible: as in :func:`fit`, with one more size.

    Raises:
        TypeError: as in :func:`fit`.
        ValueError: as in :func:`fit`.
    """
    parameters, losses = _models(parameters, losses, n_sizes=4 if irreducible else 3)
    predicted = np.empty(len(parameters))
    for i in range(len(parameters)):
        law = fit(np.delete(parameters, i), np.delete(losses, i), irreducible=irreducible)
        predicted[i] = law.predict(parameters[i])
    return predicted


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Return slope and height of the line through centred ``x``, and no irreducible loss."""
    slope = np.sum(x * y) / np.sum(x * x)
    return float(slope), float(y.mean()), 0.0


def _curve(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Return slope and height of the power law, and the irreducible loss below it."""
    from scipy.optimize import least_squares

    lowest = np.exp(y.min())

    def residuals(numbers):
        slope, height, remains = numbers
        return np.log(remains + np.exp(height + slope * x)) - y

    fits = []
    for share in STARTS:
        slope, height, _ = _line(x, np.log(np.exp(y) - share * lowest))
        fits.append(
            least_squares(
                residuals,
                [slope, height, share * lowest],
                bounds=([-np.inf, -np.inf, 0], [np.inf, np.inf, lowest]),
                x_scale=[1, 1, lowest],
                xtol=1e-14,
                ftol=1e-14,
                gtol=1e-14,
            )
        )
    return tuple(min(fits, key=lambda found: found.cost).x.tolist())


def _standard_error(jacobian: np.ndarray, residuals: np.ndarray) -> float:
    """Return the standard error of the first number of a least-squares fit."""
    n_points, n_numbers = jacobian.shape
    if n_points == n_numbers:
        return float("nan")
    variance = np.sum(residuals**2) / (n_points - n_numbers)
    return float(np.sqrt(variance * np.linalg.pinv(jacobian.T @ jacobian)[0, 0]))


def _models(parameters, losses, *, n_sizes: int) -> tuple[np.ndarray, np.ndarray]:
    parameters = _positive("parameters", parameters, ndim=1)
    losses = _positive("losses", losses, ndim=1)
    if parameters.shape != losses.shape:
        raise ValueError(
            f"losses must give one loss for each of the {len(parameters)} models in parameters, "
            f"got {len(losses)}"
        )
    found = len(np.unique(parameters))
    if found < n_sizes:
        raise ValueError(f"parameters must hold at least {n_sizes} different sizes, got {found}")
    return parameters, losses


def _positive(name: str, value, *, ndim: int | None = None) -> Float64[np.ndarray, "*_"]:
    array = _arguments.finite_array(name, value, ndim=ndim).astype(np.float64)
    if array.min() <= 0:
        raise ValueError(f"{name} must be above 0, got {array.min():g}")
    return array
