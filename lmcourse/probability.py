"""Probabilities of the next token: softmax, the measures built on it, and sampling.

Everything here is numpy. Arrays of float32 give float32, arrays of float64 give float64. A logit of
``-inf`` rules its token out (probability 0).
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from lmcourse._arguments import (
    axis_of,
    distribution,
    finite_array,
    integer,
    number,
    place,
    token_ids,
)

# Sums of probabilities carry rounding errors, which differ between numpy and a browser. The cuts of
# top-p and min-p therefore lie this far below the round numbers that people choose: 0.5 + 0.4 then
# reaches top_p=0.9 everywhere.
CUT_TOLERANCE = 1e-9


def softmax(
    logits: Float[np.ndarray, "*shape"], *, temperature: float = 1.0, axis: int = -1
) -> Float[np.ndarray, "*shape"]:
    """Turn logits into probabilities, ``exp(logits / temperature)`` divided by its sum.

    The largest logit is subtracted first, which changes nothing in the quotient and keeps every
    exponential in [0, 1].

    Equations: eq-language-models-softmax, eq-language-models-temperature

    Args:
        logits: scores in nats; ``-inf`` gives probability 0.
        temperature: above 1 flattens the distribution, below 1 sharpens it.
        axis: the axis that sums to 1.

    Returns:
        Probabilities, of the shape and type of ``logits``.

    Raises:
        TypeError: ``logits`` or ``temperature`` are not numbers, or ``axis`` is not an integer.
        ValueError: a logit is NaN or +inf, all logits along ``axis`` are -inf, ``temperature`` is
            not above 0, or there is no such ``axis``.
    """
    weights = np.exp(_scaled(logits, temperature, axis))
    return weights / weights.sum(axis=axis, keepdims=True)


def log_softmax(
    logits: Float[np.ndarray, "*shape"], *, temperature: float = 1.0, axis: int = -1
) -> Float[np.ndarray, "*shape"]:
    """Turn logits into log-probabilities, without the detour in which small ones underflow to 0.

    Equation: eq-language-models-log-softmax

    Args:
        logits: scores in nats; ``-inf`` gives ``-inf``.
        temperature: as in :func:`softmax`.
        axis: the axis whose probabilities sum to 1.

    Returns:
        Log-probabilities in nats, of the shape and type of ``logits``.

    Raises:
        TypeError: as in :func:`softmax`.
        ValueError: as in :func:`softmax`.
    """
    scaled = _scaled(logits, temperature, axis)
    return scaled - np.log(np.exp(scaled).sum(axis=axis, keepdims=True))


def entropy(
    probabilities: Float[np.ndarray, "*_"], *, axis: int = -1
) -> Float[np.ndarray, "*_"] | np.floating:
    """Return the entropy of a distribution, the surprise to expect from it, in nats.

    ``0 * log(0)`` counts as 0.

    Equation: eq-language-models-entropy

    Args:
        probabilities: distributions along ``axis``.
        axis: the axis that sums to 1.

    Returns:
        One number for each distribution; ``axis`` is gone.

    Raises:
        ValueError: ``probabilities`` are negative or do not sum to 1, or there is no such ``axis``.
    """
    p = distribution("probabilities", probabilities, axis=axis)
    # Zero minus the sum, so that certainty has the entropy 0 and not -0.
    return np.maximum(0 - np.sum(p * _log_where(p, p > 0), axis=axis), 0)


def kl_divergence(
    p: Float[np.ndarray, "*shape"], q: Float[np.ndarray, "*shape"], *, axis: int = -1
) -> Float[np.ndarray, "*_"] | np.floating:
    """Return the Kullback–Leibler divergence of ``q`` from ``p``, in nats.

    It is what you pay a token, on top of the entropy, for predicting with ``q`` what is drawn from
    ``p``. It is infinite where ``q`` rules out what ``p`` allows.

    Equation: eq-language-models-kl-divergence

    Args:
        p: the distributions that tokens are drawn from.
        q: the distributions that predict them, of the same shape.
        axis: the axis that sums to 1.

    Returns:
        One number >= 0 for each pair of distributions; ``axis`` is gone.

    Raises:
        ValueError: the shapes differ, ``p`` or ``q`` is negative or does not sum to 1, or there is
            no such ``axis``.
    """
    p = distribution("p", p, axis=axis)
    q = distribution("q", q, axis=axis)
    if p.shape != q.shape:
        raise ValueError(f"p and q must have the same shape, got {p.shape} and {q.shape}")
    with np.errstate(divide="ignore"):
        terms = p * (_log_where(p, p > 0) - _log_where(q, p > 0))
    # The sum of equal distributions' terms can come out a rounding error below 0.
    return np.maximum(terms.sum(axis=axis), 0)


def cross_entropy(
    logits: Float[np.ndarray, "*batch vocab"], targets: Int[np.ndarray, "*batch"]
) -> float:
    """Return the mean negative log-probability that the model gave to what came, in nats a token.

    Equation: eq-language-models-cross-entropy

    Args:
        logits: scores in nats.
        targets: the token ids that came.

    Returns:
        Mean nats a token; ``inf`` if a target's logit is ``-inf``.

    Raises:
        TypeError: ``targets`` are not integers.
        ValueError: ``targets`` do not have the shape of ``logits`` without its last axis, or lie
            outside the vocabulary; ``logits`` as in :func:`softmax`.
    """
    logits, targets = _logits_and_targets(logits, targets)
    of_target = np.take_along_axis(log_softmax(logits), targets[..., None], axis=-1)
    return -float(of_target.mean(dtype=np.float64)) + 0.0


def softmax_cross_entropy_gradient(
    logits: Float[np.ndarray, "*batch vocab"], targets: Int[np.ndarray, "*batch"]
) -> Float[np.ndarray, "*batch vocab"]:
    """Return the gradient of :func:`cross_entropy` with respect to the logits.

    It is the predicted distribution minus the one-hot target, divided by the number of targets.

    Equation: eq-language-models-softmax-gradient

    Args:
        logits: scores in nats.
        targets: the token ids that came.

    Returns:
        The gradient, of the shape and type of ``logits``.

    Raises:
        TypeError: as in :func:`cross_entropy`.
        ValueError: as in :func:`cross_entropy`.
    """
    logits, targets = _logits_and_targets(logits, targets)
    gradient = softmax(logits)
    of_target = np.take_along_axis(gradient, targets[..., None], axis=-1)
    np.put_along_axis(gradient, targets[..., None], of_target - 1, axis=-1)
    return gradient / targets.size


def perplexity(mean_nats: float) -> float:
    """Return ``exp(mean_nats)``: among how many equally likely tokens the model seems to choose.

    Equation: eq-language-models-perplexity

    Args:
        mean_nats: a cross-entropy in nats a token; ``inf`` is allowed and gives ``inf``.

    Returns:
        The perplexity, a number >= 1.

    Raises:
        ValueError: ``mean_nats`` is negative or NaN.
    """
    mean_nats = number("mean_nats", mean_nats, at_least=0, allow_inf=True)
    try:
        return math.exp(mean_nats)
    except OverflowError:
        return math.inf


def bits_per_byte(total_nats: float, n_bytes: int) -> float:
    """Return the bits that a model spends on each byte of a text.

    Unlike perplexity it does not depend on the tokenizer, so models with different tokens compare.

    Equation: eq-language-models-bits-per-byte

    Args:
        total_nats: the sum over the text's tokens of ``-log`` of their probability; may be ``inf``.
        n_bytes: the length of the same text in UTF-8 bytes.

    Returns:
        Bits per byte.

    Raises:
        TypeError: ``n_bytes`` is not an integer.
        ValueError: ``total_nats`` is negative or NaN, or ``n_bytes`` is below 1.
    """
    total_nats = number("total_nats", total_nats, at_least=0, allow_inf=True)
    return total_nats / (math.log(2) * integer("n_bytes", n_bytes, at_least=1))


def filter_logits(
    logits: Float[np.ndarray, "*batch vocab"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Float[np.ndarray, "*batch vocab"]:
    """Divide logits by the temperature and set those that sampling leaves out to ``-inf``.

    The filters apply in this order, which is that of Hugging Face's ``generate``:

    1. ``temperature`` divides every logit.
    2. ``top_k`` keeps the ``top_k`` largest logits, and every logit equal to the smallest of them:
       as in Hugging Face, a tie at the border keeps more than ``top_k`` tokens.
    3. ``top_p`` takes the softmax of what is left and sorts it in falling order, equal logits by
       lower index. A token stays if the tokens before it hold less than ``top_p - 1e-9``, and the
       first always stays: this is the smallest set that reaches ``top_p``. ``top_p=1`` keeps all.
    4. ``min_p`` keeps the tokens whose probability is at least ``min_p * (1 - 1e-9)`` times that of
       the likeliest.

    The 1e-9 takes up rounding errors, so that probabilities 0.5 and 0.4 reach ``top_p=0.9``. Which
    tokens stay is decided in float64 for float32 logits too. The likeliest token always stays.

    Equations: eq-language-models-temperature, eq-language-models-top-k, eq-language-models-top-p,
    eq-language-models-min-p

    Sources: top-k, Fan et al. 2018; top-p, Holtzman et al. 2020; min-p, Nguyen et al. 2024.

    Args:
        logits: scores in nats.
        temperature: above 0.
        top_k: 1 or more; above the vocabulary's size it keeps all. ``None`` leaves the filter out.
        top_p: in (0, 1]. ``None`` leaves the filter out.
        min_p: in [0, 1]. ``None`` leaves the filter out.

    Returns:
        ``logits / temperature`` where the token stays, ``-inf`` elsewhere; shape and type as
        ``logits``.

    Raises:
        TypeError: ``top_k`` is not an integer, or another option not a number.
        ValueError: an option is out of range, ``logits`` are as in :func:`softmax`, or
            ``logits / temperature`` is too large for its type.
    """
    logits = _checked_logits(logits, -1)
    temperature = _checked_temperature(temperature)
    kept = _kept(logits, temperature, top_k, top_p, min_p)
    with np.errstate(over="ignore"):
        scaled = (logits.astype(np.float64) / temperature).astype(logits.dtype)
    kept &= np.isfinite(logits)
    if np.isinf(scaled[kept]).any():
        raise ValueError(
            f"logits / temperature must fit into {logits.dtype}, got a logit of size "
            f"{np.abs(logits[kept]).max():g} and temperature {temperature:g}; "
            "sampling_distribution has no such limit"
        )
    return np.where(kept, scaled, -np.inf)


def sampling_distribution(
    logits: Float[np.ndarray, "*batch vocab"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Float[np.ndarray, "*batch vocab"]:
    """Return the distribution that tokens are drawn from, the softmax of the filtered logits.

    Equations: eq-language-models-temperature, eq-language-models-top-k, eq-language-models-top-p,
    eq-language-models-min-p

    Args:
        logits: scores in nats.
        temperature: as in :func:`filter_logits`, and so the others.
        top_k: a number of tokens.
        top_p: a probability mass.
        min_p: a share of the likeliest token's probability.

    Returns:
        Probabilities that sum to 1 over the last axis; shape and type as ``logits``.

    Raises:
        TypeError: as in :func:`filter_logits`.
        ValueError: as in :func:`filter_logits`, though no temperature is too small.
    """
    logits = _checked_logits(logits, -1)
    temperature = _checked_temperature(temperature)
    kept = _kept(logits, temperature, top_k, top_p, min_p)
    return softmax(np.where(kept, logits, -np.inf), temperature=temperature)


def sample(
    probabilities: Float[np.ndarray, " vocab"],
    rng: np.random.Generator,
    *,
    size: int | tuple[int, ...] | None = None,
) -> int | Int[np.ndarray, "*_"]:
    """Draw token ids by the inverse of the cumulative distribution.

    A uniform number picks the token whose stretch of the cumulative sum it falls into. Tokens of
    probability 0 have no stretch and are never drawn.

    Args:
        probabilities: one distribution.
        rng: the source of randomness; it gives one number for each token drawn.
        size: how many to draw, a number or a shape; ``None`` draws a single one.

    Returns:
        A token id, or an array of shape ``size``.

    Raises:
        TypeError: ``rng`` is not a ``numpy.random.Generator``.
        ValueError: ``probabilities`` is not a vector, is negative, or does not sum to 1.
    """
    probabilities = distribution("probabilities", probabilities, ndim=1)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            "rng must be a numpy.random.Generator such as np.random.default_rng(0), "
            f"got {type(rng).__name__}"
        )
    cumulative = np.cumsum(probabilities, dtype=np.float64)
    # rng.random() is below 1, and so the product is below the last entry: an index always exists.
    drawn = np.searchsorted(cumulative, rng.random(size) * cumulative[-1], side="right")
    return int(drawn) if size is None else drawn


def _checked_logits(logits: np.ndarray, axis: int) -> np.ndarray:
    logits = finite_array("logits", logits, allow_minus_inf=True)
    axis = axis_of("logits", logits, axis)
    ruled_out = np.all(logits == -np.inf, axis=axis, keepdims=True)
    if ruled_out.any():
        where = np.argwhere(ruled_out)[0].tolist()
        where = place("logits", [":" if i == axis else w for i, w in enumerate(where)])
        raise ValueError(f"logits must leave at least one token possible, got only -inf in {where}")
    return logits


def _checked_temperature(temperature: float) -> float:
    try:
        return number("temperature", temperature, above=0)
    except ValueError as error:
        raise ValueError(f"{error}; for greedy decoding take logits.argmax(axis=-1)") from None


def _scaled(logits: np.ndarray, temperature: float, axis: int) -> np.ndarray:
    """Return ``(logits - max) / temperature``: 0 for the likeliest token, negative for others."""
    logits = _checked_logits(logits, axis)
    temperature = _checked_temperature(temperature)
    with np.errstate(over="ignore"):  # differences too large for the type become -inf
        below_max = logits - logits.max(axis=axis, keepdims=True)
        if temperature == 1:
            return below_max
        # In float64, where a temperature that float32 would round to 0 is still positive.
        return (below_max.astype(np.float64) / temperature).astype(logits.dtype)


def _log_where(x: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.log(x, where=wanted, out=np.zeros_like(x))


def _logits_and_targets(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits = _checked_logits(logits, -1)
    targets = token_ids("targets", targets, logits.shape[-1])
    if targets.shape != logits.shape[:-1]:
        raise ValueError(
            f"targets must have the shape of logits without the last axis, {logits.shape[:-1]}, "
            f"got targets of shape {targets.shape} for logits of shape {logits.shape}"
        )
    return logits, targets


def _kept(
    logits: np.ndarray,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
) -> Bool[np.ndarray, "*batch vocab"]:
    """Return which tokens the filters leave, as :func:`filter_logits` describes."""
    logits = logits.astype(np.float64)
    kept = np.ones(logits.shape, dtype=bool)
    if top_k is not None:
        kept &= _top_k(logits, integer("top_k", top_k, at_least=1))
    if top_p is not None:
        left = np.where(kept, logits, -np.inf)
        kept &= _top_p(left, temperature, number("top_p", top_p, above=0, at_most=1))
    if min_p is not None:
        relative = np.exp(_scaled(logits, temperature, -1))
        kept &= relative >= number("min_p", min_p, at_least=0, at_most=1) * (1 - CUT_TOLERANCE)
    return kept


def _top_k(logits: np.ndarray, top_k: int) -> np.ndarray:
    rank = max(logits.shape[-1] - top_k, 0)
    smallest_kept = np.partition(logits, rank, axis=-1)[..., rank, None]
    return logits >= smallest_kept


def _top_p(logits: np.ndarray, temperature: float, top_p: float) -> np.ndarray:
    kept = np.ones(logits.shape, dtype=bool)
    if top_p < 1:
        falling = np.argsort(-logits, axis=-1, kind="stable")
        mass = np.take_along_axis(softmax(logits, temperature=temperature), falling, axis=-1)
        mass_before = np.cumsum(mass, axis=-1)[..., :-1]
        stays = mass_before < top_p - CUT_TOLERANCE
        np.put_along_axis(kept, falling[..., 1:], stays, axis=-1)
    return kept
