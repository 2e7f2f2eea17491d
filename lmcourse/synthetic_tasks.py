"""Sequences whose right answer is known, and how far back the model must look for it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from lmcourse import _arguments
from lmcourse.optimizers import clip_by_global_norm, linear_decay


def delayed_copy(
    n_sequences: int,
    delay: int,
    rng: np.random.Generator,
    *,
    n_symbols: int = 8,
    n_fillers: int = 8,
) -> tuple[Int[np.ndarray, "n_sequences {delay}+1"], Int[np.ndarray, " n_sequences"]]:
    """Draw sequences that begin with a symbol and ask for it ``delay`` tokens later.

    A sequence is a symbol, ``delay - 1`` random fillers, and a cue. The answer is the symbol, so a
    model must carry it over ``delay`` steps past everything in between; guessing is right once in
    ``n_symbols`` times. Symbols have the ids from 0, fillers those after them, and the cue the
    last, ``n_symbols + n_fillers``.

    Source: after the noise-free and noisy delay tasks of Hochreiter and Schmidhuber (1997).

    Args:
        n_sequences: how many to draw, at least 1.
        delay: steps from the symbol to the cue, at least 1.
        rng: where the random numbers come from.
        n_symbols: kinds of symbols, at least 2.
        n_fillers: kinds of fillers, at least 1.

    Returns:
        The sequences, a row each, and the symbol that each must give after its cue.

    Raises:
        TypeError: a number is not an integer.
        ValueError: a number is too small.
    """
    n_sequences = _arguments.integer("n_sequences", n_sequences, at_least=1)
    delay = _arguments.integer("delay", delay, at_least=1)
    n_symbols = _arguments.integer("n_symbols", n_symbols, at_least=2)
    n_fillers = _arguments.integer("n_fillers", n_fillers, at_least=1)
    ids = rng.integers(n_symbols, n_symbols + n_fillers, size=(n_sequences, delay + 1))
    ids[:, 0] = rng.integers(n_symbols, size=n_sequences)
    ids[:, -1] = n_symbols + n_fillers
    return ids, ids[:, 0].copy()


def learn_delayed_copy(
    model, optimizer, delay: int, rng: np.random.Generator, *, steps: int, batch_size: int = 32
) -> None:
    """Train a model to give the symbol after the cue of ``delayed_copy``, at one delay.

    Only the prediction at the cue counts. Gradients are clipped at a global norm of 1, and the
    learning rate falls linearly to zero.

    Args:
        model: has ``parameters`` and ``loss_and_gradients(ids, targets, counted=...)``, as
            ``lmcourse.rnn.RecurrentModel``, and 17 tokens; it is trained in place.
        optimizer: from ``lmcourse.optimizers``.
        delay: steps from the symbol to the cue, at least 1.
        rng: where the sequences come from.
        steps: number of updates.
        batch_size: new sequences for each update.

    Raises:
        TypeError: a number is not an integer.
        ValueError: a number is too small.
    """
    with linear_decay(optimizer, steps) as counting:
        for _ in counting:
            ids, symbols = delayed_copy(batch_size, delay, rng)
            at_cue = np.zeros(ids.shape, dtype=bool)
            at_cue[:, -1] = True
            targets = np.where(at_cue, symbols[:, None], 0)
            _, gradients, _ = model.loss_and_gradients(ids, targets, counted=at_cue)
            clip_by_global_norm(gradients, 1.0)
            optimizer.step(model.parameters, gradients)


def delayed_copy_accuracy(
    model, delay: int, rng: np.random.Generator, *, n_sequences: int = 500
) -> float:
    """Return the share of new sequences of ``delayed_copy`` whose symbol a model gives.

    Args:
        model: has ``logits(ids)``, as ``lmcourse.rnn.RecurrentModel``.
        delay: steps from the symbol to the cue, at least 1.
        rng: where the sequences come from.
        n_sequences: how many to ask.

    Returns:
        The share for which the token with the largest logit after the cue is the symbol.

    Raises:
        TypeError: a number is not an integer.
        ValueError: a number is too small.
    """
    ids, symbols = delayed_copy(n_sequences, delay, rng)
    logits, _ = model.logits(ids)
    return float(np.mean(logits[:, -1].argmax(axis=-1) == symbols))


def bracket_matching(
    n_sequences: int,
    length: int,
    rng: np.random.Generator,
    *,
    n_kinds: int = 4,
    max_depth: int = 8,
) -> tuple[Int[np.ndarray, "n_sequences length"], Int[np.ndarray, "n_sequences length"]]:
    """Draw sequences of brackets in which every closing bracket fits the one it closes.

    Each token opens a bracket of a random kind or closes the last one still open, either with
    probability 1/2; where nothing is open it opens, and at ``max_depth`` it closes. Opening
    brackets have the ids from 0 to ``n_kinds - 1``, and ``kind + n_kinds`` closes ``kind``. The
    sequence stops at ``length``, wherever it is then.

    Source: the Dyck languages of Chomsky and Schützenberger (1963), with a bound on the depth.

    Args:
        n_sequences: how many to draw, at least 1.
        length: tokens in each, at least 1.
        rng: where the random numbers come from.
        n_kinds: kinds of brackets, at least 2.
        max_depth: how many brackets may be open at once, at least 1.

    Returns:
        The sequences, a row each; and for each token that closes, how many tokens back the bracket
        that it closes stands, 0 for one that opens.

    Raises:
        TypeError: a number is not an integer.
        ValueError: a number is too small.
    """
    n_sequences = _arguments.integer("n_sequences", n_sequences, at_least=1)
    length = _arguments.integer("length", length, at_least=1)
    n_kinds = _arguments.integer("n_kinds", n_kinds, at_least=2)
    max_depth = _arguments.integer("max_depth", max_depth, at_least=1)
    rows = np.arange(n_sequences)
    opened_at = np.zeros((n_sequences, max_depth), dtype=np.int64)  # the stack of open brackets
    depth = np.zeros(n_sequences, dtype=np.int64)
    ids = rng.integers(n_kinds, size=(n_sequences, length))  # as if every token opened
    distances = np.zeros_like(ids)
    for t in range(length):
        opens = (rng.random(n_sequences) < 0.5) & (depth < max_depth) | (depth == 0)
        opened_at[rows[opens], depth[opens]] = t
        depth += np.where(opens, 1, -1)
        closing = rows[~opens]
        partner = opened_at[closing, depth[closing]]
        ids[closing, t] = ids[closing, partner] + n_kinds
        distances[closing, t] = t - partner
    return ids, distances
