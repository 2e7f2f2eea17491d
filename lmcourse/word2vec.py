"""Skip-gram with negative sampling, and the matrix that it factorises.

``train`` reads text and pushes the vectors of words that stand together towards each other, away
from those of random words. ``shifted_ppmi`` and ``factorise`` reach much the same vectors from
co-occurrence counts, by a singular value decomposition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lmcourse import _arguments
from lmcourse._backends import choose_backend

if TYPE_CHECKING:
    import scipy.sparse

Parameters = dict[str, Float[np.ndarray, "vocab dim"]]
_TOKENS_AT_ONCE = 20_000  # of the text, whose pairs are shuffled among themselves


def noise_distribution(
    counts: Int[np.ndarray, " vocab"], *, power: float = 0.75
) -> Float[np.ndarray, " vocab"]:
    """Return the probabilities with which words are drawn as noise: counts^power, normalised.

    Equation: eq-glove-noise

    Source: Mikolov et al. (2013), who found 3/4 to be better than 0 (uniform) and 1 (frequency).

    Args:
        counts: how often each word occurs.
        power: 1 draws words as often as they occur, 0 all equally often.

    Raises:
        ValueError: a count is negative, all are zero, or ``power`` is negative.
    """
    power = _arguments.number("power", power, at_least=0)
    counts = _checked_counts(counts)
    weights = np.where(counts > 0, counts, 1.0) ** power * (counts > 0)
    return weights / weights.sum()


def keep_probability(
    counts: Int[np.ndarray, " vocab"], *, threshold: float = 1e-3
) -> Float[np.ndarray, " vocab"]:
    """Return min(1, sqrt(threshold / frequency)), the share of a word's occurrences that are read.

    Frequent words say little about their neighbours; leaving most of them out saves time and makes
    the window reach further.

    Equation: eq-glove-subsampling

    Source: Mikolov et al. (2013), equation 5. (Their program uses another formula.)

    Args:
        counts: how often each word occurs.
        threshold: words less frequent than this share of the text are always read.

    Raises:
        ValueError: a count is negative, all are zero, or ``threshold`` is not above 0.
    """
    threshold = _arguments.number("threshold", threshold, above=0)
    counts = _checked_counts(counts)
    frequency = np.maximum(counts, 1) / counts.sum()
    return np.minimum(1, np.sqrt(threshold / frequency))


def loss_and_gradients(
    parameters: Parameters,
    words: Int[np.ndarray, " pairs"],
    contexts: Int[np.ndarray, " pairs"],
    noise: Int[np.ndarray, "pairs negative"],
) -> tuple[float, Parameters]:
    """Return the mean loss of pairs against noise words, and its gradients.

    A pair's loss is -log σ(w·c) - Σ log σ(-w·c̃) over its noise words c̃: the cross-entropy of
    telling the true context from the noise.

    Equations: eq-glove-sgns, eq-glove-sgns-gradients

    Args:
        parameters: ``"word"`` and ``"context"`` vectors, [vocab, dim].
        words: ids of the centre words.
        contexts: ids of the words that stand near them.
        noise: ids of words drawn at random, some for each pair. One that is the pair's context by
            chance does not count.

    Raises:
        TypeError: the ids are not integers.
        ValueError: an id is out of range, or the shapes do not fit.
    """
    from scipy.special import expit, log_expit

    vocab_size = len(parameters["word"])
    words = _arguments.token_ids("words", words, vocab_size, ndim=1)
    contexts = _arguments.token_ids("contexts", contexts, vocab_size, ndim=1)
    noise = _arguments.token_ids("noise", noise, vocab_size, ndim=2)
    if not len(words) == len(contexts) == len(noise):
        raise ValueError(
            f"words, contexts and noise must be equally many, "
            f"got {len(words)}, {len(contexts)} and {len(noise)}"
        )
    w = parameters["word"][words]  # [pairs, dim]
    targets = np.column_stack([contexts, noise])  # [pairs, 1 + negative]
    c = parameters["context"][targets]  # [pairs, 1 + negative, dim]
    products = np.einsum("pd,ptd->pt", w, c)
    signs = np.ones_like(products)
    signs[:, 1:] = -1
    signs[:, 1:][noise == contexts[:, None]] = 0
    losses = -np.abs(signs) * log_expit(signs * products)
    slopes = -signs * expit(-signs * products) / len(words)
    gradients = {name: np.zeros_like(array) for name, array in parameters.items()}
    np.add.at(gradients["word"], words, np.einsum("pt,ptd->pd", slopes, c))
    np.add.at(gradients["context"], targets, slopes[:, :, None] * w[:, None, :])
    return float(losses.sum() / len(words)), gradients


class Training(NamedTuple):
    """What ``train`` returns; it unpacks into two.

    Attributes:
        parameters: ``"word"`` and ``"context"`` vectors, [vocab, dim].
        losses: the mean loss of a pair in each pass, every pair taken just before its own update;
            NaN if thinning left no pair.
    """

    parameters: dict[str, np.ndarray]
    losses: np.ndarray


def train(
    documents: Sequence[Int[np.ndarray, " _tokens"]],
    vocab_size: int,
    *,
    dim: int = 50,
    window: int = 5,
    negative: int = 5,
    passes: int = 5,
    learning_rate: float = 0.025,
    threshold: float = 1e-3,
    power: float = 0.75,
    backend: str | None = None,
    dtype: type = np.float32,
    seed: int = 0,
    progress: bool | None = None,
) -> Training:
    """Fit word vectors to a text by skip-gram with negative sampling.

    In each pass frequent words are thinned out, every remaining word's window shrinks to a random
    size (so that near words are read more often than far ones), and every pair that is left updates
    the vectors of the word, of its context and of its noise words. The learning rate falls linearly
    to a ten-thousandth of its start.

    Equations: eq-glove-sgns, eq-glove-sgns-gradients

    Source: Mikolov et al. (2013).

    Args:
        documents: the word ids of each text.
        vocab_size: number of words.
        dim: dimensions of the vectors.
        window: the largest number of words on either side that are context.
        negative: noise words for each pair.
        passes: how often the text is read.
        learning_rate: at the start.
        threshold: of ``keep_probability``.
        power: of ``noise_distribution``.
        backend: ``"numba"``, or ``"numpy"``, which is some two hundred times slower; if not given,
            numba where it is installed.
        dtype: ``np.float32`` or ``np.float64``.
        seed: of the first parameters and of all draws.
        progress: shows a bar on standard error; if not given, only in a terminal.

    Returns:
        The trained parameters and the loss of each pass.

    Raises:
        TypeError: an id or a whole number is not an integer.
        ValueError: an id or a number is out of range, no two words stand together, or there is no
            such backend.
        ImportError: numba is asked for and not installed.
    """
    from tqdm import trange

    vocab_size = _arguments.integer("vocab_size", vocab_size, at_least=1)
    window = _arguments.integer("window", window, at_least=1)
    negative = _arguments.integer("negative", negative, at_least=1)
    passes = _arguments.integer("passes", passes, at_least=1)
    learning_rate = _arguments.number("learning_rate", learning_rate, above=0)
    seed = _arguments.integer("seed", seed, at_least=0)
    documents = [
        _arguments.token_ids(f"documents[{i}]", ids, vocab_size, ndim=1, allow_empty=True)
        for i, ids in enumerate(documents)
    ]
    if not any(len(ids) > 1 for ids in documents):
        raise ValueError("documents must hold two words that stand together, got none")
    update = _update
    if choose_backend(backend) == "numba":
        from lmcourse._word2vec_numba import update
    counts = np.bincount(np.concatenate(documents), minlength=vocab_size)
    keep = keep_probability(counts, threshold=threshold)
    noise_probabilities = noise_distribution(counts, power=power)
    parameters = _initial_parameters(vocab_size, dim, dtype, seed)
    rng = np.random.default_rng([seed, 1])
    losses = np.zeros(passes)
    bar = trange(passes, desc="word2vec", disable=None if progress is None else not progress)
    for n in bar:
        pairs = 0
        for done, (words, contexts) in _read(documents, keep, window, rng):
            noise = _draw(noise_probabilities, (len(words), negative), rng)
            rate = learning_rate * max(1 - (n + done) / passes, 1e-4)
            losses[n] += update(parameters, words, contexts, noise, rate)
            pairs += len(words)
        losses[n] = losses[n] / pairs if pairs else np.nan
        bar.set_postfix(loss=f"{losses[n]:.4f}")
    return Training(parameters, losses)


def _initial_parameters(vocab_size: int, dim: int, dtype: type, seed: int) -> dict:
    """Return small random word vectors and zeros as context vectors, as the authors' program."""
    dim = _arguments.integer("dim", dim, at_least=1)
    dtype = _arguments.float_type("dtype", dtype)
    words = np.random.default_rng(seed).uniform(-0.5, 0.5, (vocab_size, dim)) / dim
    return {"word": words.astype(dtype), "context": np.zeros((vocab_size, dim), dtype)}


def _read(
    documents: Sequence[np.ndarray], keep: np.ndarray, window: int, rng: np.random.Generator
) -> Iterator[tuple[float, tuple[np.ndarray, np.ndarray]]]:
    """Yield shuffled pairs of a word and its context, and the share of the text read before."""
    total, read = sum(map(len, documents)), 0
    waiting, tokens = [], 0
    for i in rng.permutation(len(documents)):
        ids = documents[i][rng.random(len(documents[i])) < keep[documents[i]]]
        waiting += _pairs(ids, window, rng)
        tokens += len(documents[i])
        if waiting and tokens >= _TOKENS_AT_ONCE:
            yield read / total, _shuffled(waiting, rng)
            waiting, read, tokens = [], read + tokens, 0
    if waiting:
        yield read / total, _shuffled(waiting, rng)


def _pairs(
    ids: np.ndarray, window: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield words and contexts at each distance, both ways, as far as each word's window goes."""
    reach = rng.integers(1, window + 1, size=len(ids))
    for distance in range(1, min(window, len(ids) - 1) + 1):
        left, right = ids[:-distance], ids[distance:]
        forward, back = reach[:-distance] >= distance, reach[distance:] >= distance
        yield left[forward], right[forward]
        yield right[back], left[back]


def _shuffled(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    words, contexts = map(np.concatenate, zip(*pairs, strict=True))
    order = rng.permutation(len(words))
    return words[order], contexts[order]


def _draw(
    probabilities: np.ndarray, shape: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Draw ids independently: how often each one comes, then their order. A search takes longer."""
    possible = np.flatnonzero(probabilities)
    times = rng.multinomial(shape[0] * shape[1], probabilities[possible])
    return rng.permutation(np.repeat(possible, times)).reshape(shape)


def _update(
    parameters: dict[str, np.ndarray],
    words: np.ndarray,
    contexts: np.ndarray,
    noise: np.ndarray,
    learning_rate: float,
) -> float:
    """Take a step of gradient descent for each pair, in order; return the sum of their losses."""
    total = 0.0
    for pair in range(len(words)):
        one = slice(pair, pair + 1)
        ids = np.unique(np.concatenate([words[one], contexts[one], noise[pair]]))
        part = {name: array[ids] for name, array in parameters.items()}
        word, context, chance = (
            np.searchsorted(ids, given) for given in (words[one], contexts[one], noise[one])
        )
        loss, gradients = loss_and_gradients(part, word, context, chance)
        total += loss
        for name, gradient in gradients.items():
            parameters[name][ids] -= learning_rate * gradient
    return total


def pmi(counts: scipy.sparse.csr_array, *, smoothing: float = 1.0) -> scipy.sparse.csr_array:
    """Return log p(i, j) / (p(i) p(j)) for every nonzero count: how much oftener than by chance.

    Equation: eq-glove-pmi

    Source: Church and Hanks (1990); Levy, Goldberg and Dagan (2015), smoothing.

    Args:
        counts: X, [vocab, vocab], not negative.
        smoothing: p(j) is proportional to the column's sum to this power; 3/4 is what negative
            sampling draws from.

    Returns:
        A sparse matrix in float64, zero where ``counts`` is.

    Raises:
        TypeError: ``counts`` is not a sparse matrix.
        ValueError: it has no entry or one that is not above 0, or ``smoothing`` is negative.
    """
    smoothing = _arguments.number("smoothing", smoothing, at_least=0)
    matrix = _arguments.sparse_counts("counts", counts).copy()
    row_sums, column_sums = (matrix.sum(axis=axis, dtype=np.float64) for axis in (1, 0))
    # Where a sum is zero there is no entry, so that any number will do for its logarithm.
    by_chance = smoothing * np.log(np.where(column_sums > 0, column_sums, 1))
    by_chance -= np.log(np.exp(by_chance) @ (column_sums > 0))
    by_row = np.log(np.where(row_sums > 0, row_sums, 1))
    matrix.data = np.log(matrix.data, dtype=np.float64)
    matrix.data -= np.repeat(by_row, np.diff(matrix.indptr))
    matrix.data -= by_chance[matrix.indices]
    return matrix


def shifted_ppmi(
    counts: scipy.sparse.csr_array, *, shift: float = 1.0, smoothing: float = 1.0
) -> scipy.sparse.csr_array:
    """Return max(0, PMI - log shift), sparse.

    With as many noise words as ``shift``, the products of skip-gram's vectors would equal PMI -
    log shift if they had enough dimensions.

    Equation: eq-glove-ppmi

    Source: Levy and Goldberg (2014), "Neural word embedding as implicit matrix factorization".

    Args:
        counts: X, [vocab, vocab].
        shift: at least 1, which keeps all that is more frequent than by chance.
        smoothing: of ``pmi``.

    Raises:
        TypeError: as ``pmi``.
        ValueError: as ``pmi``, or ``shift`` < 1.
    """
    shift = _arguments.number("shift", shift, at_least=1)
    matrix = pmi(counts, smoothing=smoothing)
    matrix.data -= np.log(shift)
    np.maximum(0, matrix.data, out=matrix.data)
    matrix.eliminate_zeros()
    return matrix


def factorise(
    matrix: scipy.sparse.csr_array, dim: int, *, power: float = 0.5, seed: int = 0
) -> Float[np.ndarray, "vocab dim"]:
    """Return the left singular vectors of the ``dim`` largest singular values, times these^power.

    Equation: eq-glove-svd

    Source: Levy, Goldberg and Dagan (2015), who found 1/2 and 0 to be better than 1.

    Args:
        matrix: [vocab, any], such as ``shifted_ppmi`` returns.
        dim: dimensions of the vectors, fewer than the matrix has rows and columns.
        power: of the singular values.
        seed: of the vector that the iteration starts from.

    Returns:
        A vector for each row, columns by falling singular value; the entry of a column that is
        largest in size is positive.

    Raises:
        ValueError: ``dim`` is not in [1, the matrix's smaller side), or ``power`` is not a number.
    """
    from scipy.sparse.linalg import svds

    dim = _arguments.integer("dim", dim, at_least=1, at_most=min(matrix.shape) - 1)
    power = _arguments.number("power", power)
    start = np.random.default_rng(seed).normal(size=min(matrix.shape))
    left, values, _ = svds(matrix, k=dim, v0=start)
    left, values = left[:, ::-1], values[::-1]
    largest = left[np.abs(left).argmax(axis=0), np.arange(dim)]
    return left * np.sign(largest) * values**power


def _checked_counts(counts: np.ndarray) -> np.ndarray:
    counts = _arguments.finite_array("counts", counts, ndim=1)
    if counts.min() < 0 or not counts.any():
        raise ValueError(
            f"counts must not be negative nor all zero, got a smallest of {counts.min():g} "
            f"and a sum of {counts.sum():g}"
        )
    return counts
