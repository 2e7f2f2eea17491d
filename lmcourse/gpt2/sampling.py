"""Ways to choose the next token, on plain arrays; `generate` runs a model with them.

Temperature, top-k, top-p and min-p are those of ``lmcourse.probability``. Here is the rest: typical
sampling, the repetition penalty, all filters in Hugging Face's order, drawing from given uniform
numbers, and the scores of beam search and contrastive search.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Int64

from lmcourse import _arguments
from lmcourse.probability import (
    CUT_TOLERANCE,
    entropy,
    log_softmax,
    sampling_distribution,
    softmax,
)


def penalize_repetition(
    logits: Float[np.ndarray, " vocab"],
    ids: Int[np.ndarray, " length"] | Sequence[int],
    repetition_penalty: float,
) -> Float[np.ndarray, " vocab"]:
    """Make the tokens that a text already holds less likely.

    A positive logit is divided by the penalty and a negative one multiplied by it, so that both
    fall. It counts whether a token is there, not how often.

    Equation: eq-gpt2-repetition-penalty

    Source: Keskar et al. (2019), "CTRL"; the rule for negative logits is that of Hugging Face.

    Args:
        logits: scores in nats.
        ids: the tokens of the text so far, prompt included; may be empty.
        repetition_penalty: 1 changes nothing, more makes repetition less likely, less makes it
            likelier.

    Returns:
        The new logits, of the type of ``logits``.

    Raises:
        TypeError: ``ids`` are not integers, or ``repetition_penalty`` is not a number.
        ValueError: ``repetition_penalty`` is not above 0, an id is outside the vocabulary, or a
            logit is NaN or +inf.
    """
    logits = _arguments.finite_array("logits", logits, ndim=1, allow_minus_inf=True)
    ids = _arguments.token_ids("ids", ids, len(logits), ndim=1, allow_empty=True)
    penalty = _arguments.number("repetition_penalty", repetition_penalty, above=0)
    penalized, of_text = logits.copy(), logits[ids]
    penalized[ids] = np.where(of_text < 0, of_text * penalty, of_text / penalty)
    return penalized


def filter_typical(
    logits: Float[np.ndarray, "*batch vocab"], typical_p: float
) -> Float[np.ndarray, "*batch vocab"]:
    """Keep the tokens that are about as surprising as the distribution leads one to expect.

    Tokens are taken in the order of how far their surprise, ``-log p``, lies from the entropy,
    until they hold a probability of ``typical_p``. The likeliest token can be left out. Tokens as
    far away as the last one taken stay too. As in ``lmcourse.probability.filter_logits``, what
    stays is decided in float64, with a slack of 1e-9 for rounding errors.

    Equation: eq-gpt2-typical

    Source: Meister et al. (2023), "Locally Typical Sampling".

    Args:
        logits: scores in nats; ``-inf`` rules a token out.
        typical_p: in (0, 1]; 1 keeps all.

    Returns:
        ``logits`` where the token stays, ``-inf`` elsewhere.

    Raises:
        TypeError: ``typical_p`` is not a number.
        ValueError: it is out of range; ``logits`` as in ``lmcourse.probability.softmax``.
    """
    logits = _arguments.finite_array("logits", logits, allow_minus_inf=True)
    typical_p = _arguments.number("typical_p", typical_p, above=0, at_most=1)
    log_p = log_softmax(logits.astype(np.float64))
    if typical_p == 1:
        return logits.copy()
    p = np.exp(log_p)
    distance = np.abs(-log_p - entropy(p)[..., None])  # of each token's surprise from the entropy
    nearest_first = np.argsort(distance, axis=-1)
    mass = np.cumsum(np.take_along_axis(p, nearest_first, axis=-1), axis=-1)
    n_before = np.sum(mass < typical_p - CUT_TOLERANCE, axis=-1, keepdims=True)
    last = np.take_along_axis(nearest_first, np.minimum(n_before, p.shape[-1] - 1), axis=-1)
    furthest = np.take_along_axis(distance, last, axis=-1)
    return np.where(distance <= furthest + CUT_TOLERANCE, logits, -np.inf).astype(logits.dtype)


def next_token_distribution(
    logits: Float[np.ndarray, " vocab"],
    ids: Int[np.ndarray, " length"] | Sequence[int] = (),
    *,
    repetition_penalty: float = 1.0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    typical_p: float | None = None,
) -> Float[np.ndarray, " vocab"]:
    """Return the distribution that the next token is drawn from.

    The order is that of Hugging Face's ``generate``: repetition penalty, temperature, top-k, top-p,
    min-p, typical. Each filter sees what those before it left.

    Equations: eq-gpt2-repetition-penalty, eq-gpt2-typical

    Args:
        logits: the model's scores for the next token, in nats.
        ids: the text so far, prompt included, for the repetition penalty.
        repetition_penalty: as in `penalize_repetition`; 1 leaves it out.
        temperature: above 0; divides the logits.
        top_k: keep so many of the likeliest tokens, and ties; ``None`` leaves the filter out.
        top_p: in (0, 1]; keep the smallest set of likeliest tokens with this probability.
        min_p: in [0, 1]; keep tokens at least this probable relative to the likeliest.
        typical_p: as in `filter_typical`.

    Returns:
        Probabilities; 0 for what the filters leave out.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: a number is out of range, an id outside the vocabulary, or ``logits`` are as
            ``lmcourse.probability.softmax`` does not take them.
    """
    if repetition_penalty != 1:
        logits = penalize_repetition(logits, ids, repetition_penalty)
    p = sampling_distribution(
        logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
    )
    if typical_p is None:
        return p
    with np.errstate(divide="ignore"):
        return softmax(filter_typical(np.log(p), typical_p))


def draw(
    probabilities: Float[np.ndarray, "*batch vocab"], uniform: Float[np.ndarray, "*batch"] | float
) -> Int64[np.ndarray, "*batch"] | np.int64:
    """Draw tokens by the inverse of the cumulative distribution, from given uniform numbers.

    ``lmcourse.probability.sample`` does the same with numbers that it draws itself.

    Args:
        probabilities: distributions over the vocabulary.
        uniform: a number in [0, 1) for each of them.

    Returns:
        The id of the token whose stretch of the cumulative sum the number falls into.

    Raises:
        TypeError: an argument is not numeric.
        ValueError: ``probabilities`` are negative or do not sum to 1, ``uniform`` has another shape
            than they have without the last axis, or a number is outside [0, 1).
    """
    probabilities = _arguments.distribution("probabilities", probabilities)
    uniform = _arguments.finite_array("uniform", uniform).astype(np.float64)
    if uniform.shape != probabilities.shape[:-1]:
        raise ValueError(
            "uniform must have one number for each distribution, shape "
            f"{probabilities.shape[:-1]}, got shape {uniform.shape}"
        )
    if uniform.min() < 0 or uniform.max() >= 1:
        raise ValueError(f"uniform must lie in [0, 1), got {uniform.min()} to {uniform.max()}")
    cumulative = np.cumsum(probabilities, axis=-1, dtype=np.float64)
    # A uniform number is below 1, so the product is below the last sum: a token always exists.
    return np.sum(cumulative <= uniform[..., None] * cumulative[..., -1:], axis=-1)


def beam_score(log_probability: float, n_tokens: int, *, length_penalty: float = 1.0) -> float:
    """Return the score by which beam search compares texts of different lengths.

    Equation: eq-gpt2-beam

    Source: as in Hugging Face's ``generate``.

    Args:
        log_probability: of all new tokens together, in nats.
        n_tokens: how many there are, an end token included.
        length_penalty: 0 compares sums, which favours short texts; 1, means; more favours long
            texts further.

    Returns:
        ``log_probability / n_tokens**length_penalty``.

    Raises:
        TypeError: ``n_tokens`` is not an integer, or another argument not a number.
        ValueError: ``n_tokens`` is below 1, or a number is not finite.
    """
    n_tokens = _arguments.integer("n_tokens", n_tokens, at_least=1)
    length_penalty = _arguments.number("length_penalty", length_penalty)
    return _arguments.number("log_probability", log_probability) / n_tokens**length_penalty


def contrastive_scores(
    probabilities: Float[np.ndarray, " candidates"],
    candidates: Float[np.ndarray, "candidates n_embd"],
    context: Float[np.ndarray, "length n_embd"],
    *,
    penalty_alpha: float,
) -> Float[np.ndarray, " candidates"]:
    """Score candidates for the next token: likely, and unlike what stands in the text already.

    Likeness is the largest cosine between the model's vector of the candidate and those of the
    tokens before it.

    Equation: eq-gpt2-contrastive

    Source: Su et al. (2022), "A Contrastive Framework for Neural Text Generation".

    Args:
        probabilities: of the candidates, by the model.
        candidates: the vectors that the model gives each candidate, read after the text.
        context: the vectors of the text's tokens.
        penalty_alpha: in [0, 1], the weight of likeness; 0 takes the likeliest candidate.

    Returns:
        ``(1 - penalty_alpha) * probability - penalty_alpha * likeness``.

    Raises:
        TypeError: an argument is not numeric.
        ValueError: ``penalty_alpha`` is out of range, the shapes do not fit, or a number is not
            finite.
    """
    probabilities = _arguments.finite_array("probabilities", probabilities, ndim=1)
    candidates = _arguments.finite_array("candidates", candidates, ndim=2)
    context = _arguments.finite_array("context", context, ndim=2)
    alpha = _arguments.number("penalty_alpha", penalty_alpha, at_least=0, at_most=1)
    if len(candidates) != len(probabilities) or candidates.shape[1] != context.shape[1]:
        raise ValueError(
            "candidates must have a vector for each probability, as wide as those of context, got "
            f"shapes {candidates.shape}, {probabilities.shape} and {context.shape}"
        )
    likeness = (_unit(candidates) @ _unit(context).T).max(axis=1)  # (candidates,)
    return (1 - alpha) * probabilities - alpha * likeness


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
