"""GloVe: word vectors whose products are the logarithms of co-occurrence counts.

From text to vectors in five lines::

    documents = [split_words(chapter.text) for chapter in corpus.chapters]
    words, counts = build_vocabulary(documents, min_count=5)
    together = cooccurrence(encode(documents, words), len(words))
    parameters, costs = train(together, dim=50)
    vectors = WordVectors(words, parameters["word"] + parameters["context"])
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lmcourse import _arguments
from lmcourse._backends import choose_backend

if TYPE_CHECKING:
    import scipy.sparse

Parameters = dict[str, Float[np.ndarray, "vocab ..."]]
TILES = 16  # in each direction; a tile's share of the parameters should fit into a core's cache
_PAIRS_AT_ONCE = 1_000_000  # held in memory before they are summed
_TOKENS_AT_ONCE = 100_000


def build_vocabulary(
    documents: Iterable[Sequence[str]], *, min_count: int = 5
) -> tuple[tuple[str, ...], Int[np.ndarray, " vocab"]]:
    """Return the words that occur often enough, the most frequent first, and their counts.

    Args:
        documents: the words of each text.
        min_count: how often a word must occur. Equally frequent words are sorted.

    Raises:
        TypeError: a document is a string instead of a sequence of words.
        ValueError: no word occurs ``min_count`` times, or ``min_count`` < 1.
    """
    min_count = _arguments.integer("min_count", min_count, at_least=1)
    counter: Counter[str] = Counter()
    for i, document in enumerate(documents):
        if isinstance(document, str):
            raise TypeError(
                f"documents[{i}] must be a sequence of words, got the string {document!r:.40}"
            )
        counter.update(document)
    kept = sorted(
        (word for word, count in counter.items() if count >= min_count),
        key=lambda word: (-counter[word], word),
    )
    if not kept:
        raise ValueError(
            f"documents must hold a word that occurs at least {min_count} times, "
            f"got {counter.total()} words"
        )
    return tuple(kept), np.array([counter[word] for word in kept])


def encode(
    documents: Iterable[Sequence[str]], words: Sequence[str]
) -> list[Int[np.ndarray, " _tokens"]]:
    """Return each document's word ids.

    Words that are not in ``words`` are left out, and those on either side of them move together, as
    in Stanford's program.

    Args:
        documents: the words of each text.
        words: the vocabulary; a word's id is its position here.
    """
    index = {word: i for i, word in enumerate(words)}
    return [
        np.array([index[word] for word in document if word in index], dtype=np.int64)
        for document in documents
    ]


def cooccurrence(
    documents: Iterable[Int[np.ndarray, " _tokens"]],
    vocab_size: int,
    *,
    window: int = 15,
    distance_weighting: bool = True,
    symmetric: bool = True,
) -> scipy.sparse.csr_array:
    """Count how often each word stands near each other word.

    The documents are read one after the other, and only the counts are kept. No window reaches
    over a document's end. A pair of one and the same word counts twice if ``symmetric``, once from
    either side.

    Equation: eq-glove-cooccurrence

    Source: Pennington, Socher and Manning (2014); the counts are those of the authors' program.

    Args:
        documents: the word ids of each text.
        vocab_size: number of words.
        window: how many words on either side are context.
        distance_weighting: a word d places away counts 1/d; otherwise each counts 1.
        symmetric: words on both sides are context; otherwise those on the left alone (for which the
            authors' program returns the transpose: there the word on the left has the row).

    Returns:
        X, [vocab, vocab] in float64; row i is word i's, columns are its context words.

    Raises:
        TypeError: an id or ``window`` is not an integer.
        ValueError: an id is out of range, ``window`` < 1, or no two words stand together.
    """
    from scipy.sparse import csr_array

    vocab_size = _arguments.integer("vocab_size", vocab_size, at_least=1)
    window = _arguments.integer("window", window, at_least=1)
    total = csr_array((vocab_size, vocab_size), dtype=np.float64)
    for lefts, rights, distances in _pairs(documents, vocab_size, window):
        weights = 1 / distances if distance_weighting else np.ones(len(distances))
        total += csr_array((weights, (rights, lefts)), shape=total.shape)
    if total.nnz == 0:
        raise ValueError("documents must hold two words that stand together, got none")
    if symmetric:
        total = (total + total.T).tocsr()
    total.sort_indices()
    return total


def _pairs(
    documents: Iterable, vocab_size: int, window: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield all pairs of words at most ``window`` apart, many at a time: left, right, distance."""
    waiting, size = [], 0
    for piece, seen in _pieces(documents, vocab_size, window):
        for distance in range(1, min(window, len(piece) - 1) + 1):
            start = max(distance, seen)  # where the first right word stands that is new
            left, right = piece[start - distance : -distance], piece[start:]
            waiting.append((left, right, np.full(len(right), distance, np.int32)))
            size += len(right)
        if size > _PAIRS_AT_ONCE:
            yield tuple(map(np.concatenate, zip(*waiting, strict=True)))
            waiting, size = [], 0
    if waiting:
        yield tuple(map(np.concatenate, zip(*waiting, strict=True)))


def _pieces(documents: Iterable, vocab_size: int, window: int) -> Iterator[tuple[np.ndarray, int]]:
    """Cut long documents; each piece starts with the words in reach that were seen already."""
    for i, document in enumerate(documents):
        ids = _arguments.token_ids(
            f"documents[{i}]", document, vocab_size, ndim=1, allow_empty=True
        )
        ids = ids.astype(np.int32)  # a sparse matrix keeps its indices in this type
        for start in range(0, len(ids), _TOKENS_AT_ONCE):
            seen = min(start, window)
            yield ids[start - seen : start + _TOKENS_AT_ONCE], seen


def weight(
    counts: Float[np.ndarray, "*shape"], *, x_max: float = 100.0, alpha: float = 0.75
) -> Float[np.ndarray, "*shape"]:
    """Return f(x) = min(1, (x / x_max)^alpha), what an entry's error weighs in the objective.

    Equation: eq-glove-weight

    Args:
        counts: co-occurrence counts x, not negative.
        x_max: from here on every count weighs 1.
        alpha: how fast the weight grows up to there.

    Raises:
        ValueError: a count is negative, or ``x_max`` or ``alpha`` is not above 0.
    """
    x_max = _arguments.number("x_max", x_max, above=0)
    alpha = _arguments.number("alpha", alpha, above=0)
    counts = _arguments.finite_array("counts", counts)
    if counts.min() < 0:
        raise ValueError(f"counts must not be negative, got {counts.min()}")
    return np.minimum(1, (counts / x_max) ** alpha)


def initial_parameters(
    vocab_size: int, dim: int, *, seed: int = 0, dtype: type = np.float32
) -> Parameters:
    """Return parameters drawn uniformly from (-1/2, 1/2) / dim, as the authors' program does.

    Args:
        vocab_size: number of words.
        dim: dimensions of the vectors.
        seed: of the draws.
        dtype: ``np.float32`` or ``np.float64``.

    Returns:
        ``"word"`` and ``"context"``, the vectors w and w̃, [vocab, dim]; ``"word_bias"`` and
        ``"context_bias"``, b and b̃, [vocab].

    Raises:
        ValueError: ``vocab_size`` or ``dim`` < 1, or ``dtype`` is another one.
    """
    vocab_size = _arguments.integer("vocab_size", vocab_size, at_least=1)
    dim = _arguments.integer("dim", dim, at_least=1)
    dtype = _arguments.float_type("dtype", dtype)
    rng = np.random.default_rng(_arguments.integer("seed", seed, at_least=0))

    def draw(*shape):
        return (rng.uniform(-0.5, 0.5, shape) / dim).astype(dtype)

    return {
        "word": draw(vocab_size, dim),
        "context": draw(vocab_size, dim),
        "word_bias": draw(vocab_size),
        "context_bias": draw(vocab_size),
    }


def objective(
    parameters: Parameters,
    counts: scipy.sparse.csr_array,
    *,
    x_max: float = 100.0,
    alpha: float = 0.75,
) -> float:
    """Return the sum of f(X_ij) (w_i·w̃_j + b_i + b̃_j - log X_ij)² over the nonzero counts.

    Equations: eq-glove-model, eq-glove-objective

    Source: Pennington, Socher and Manning (2014), equation 8.

    Args:
        parameters: as ``initial_parameters`` names them.
        counts: X, [vocab, vocab].
        x_max: of ``weight``.
        alpha: of ``weight``.

    Raises:
        TypeError: ``counts`` is not a sparse matrix.
        ValueError: a shape does not fit, ``counts`` has no entry or one below zero, or ``x_max`` or
            ``alpha`` is not above 0.
    """
    entries = _entries_for(parameters, counts, x_max, alpha)
    return float(entries.weights @ _errors(parameters, entries) ** 2)


def gradients(
    parameters: Parameters,
    counts: scipy.sparse.csr_array,
    *,
    x_max: float = 100.0,
    alpha: float = 0.75,
) -> Parameters:
    """Return the gradient of ``objective`` with respect to every parameter, by name.

    Equation: eq-glove-gradients

    Args:
        parameters: as ``initial_parameters`` names them.
        counts: X, [vocab, vocab].
        x_max: of ``weight``.
        alpha: of ``weight``.

    Raises:
        TypeError: as ``objective``.
        ValueError: as ``objective``.
    """
    from scipy.sparse import csr_array

    entries = _entries_for(parameters, counts, x_max, alpha)
    slopes = 2 * entries.weights * _errors(parameters, entries)
    by_pair = csr_array((slopes, (entries.rows, entries.columns)), shape=counts.shape)
    return {
        "word": by_pair @ parameters["context"],
        "context": by_pair.T @ parameters["word"],
        "word_bias": by_pair.sum(axis=1),
        "context_bias": by_pair.sum(axis=0),
    }


class _Entries(NamedTuple):
    """The nonzero counts as the objective needs them, one array element for each."""

    rows: np.ndarray
    columns: np.ndarray
    logs: np.ndarray
    weights: np.ndarray


def _checked(counts: Any) -> scipy.sparse.csr_array:
    matrix = _arguments.sparse_counts("counts", counts)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"counts must be square, got shape {matrix.shape}")
    return matrix


def _entries(
    rows: np.ndarray, columns: np.ndarray, counts: np.ndarray, x_max: float, alpha: float
) -> _Entries:
    return _Entries(rows, columns, np.log(counts), weight(counts, x_max=x_max, alpha=alpha))


def _entries_for(parameters: dict, counts: Any, x_max: float, alpha: float) -> _Entries:
    """Return the entries of ``counts`` once these and the parameters are known to fit."""
    coo = _checked(counts).tocoo(copy=False)
    entries = _entries(*coo.coords, coo.data, x_max, alpha)
    vocab_size, dim = coo.shape[0], parameters["word"].shape[-1]
    for name, array in parameters.items():
        shape = (vocab_size,) if name.endswith("bias") else (vocab_size, dim)
        if array.shape != shape:
            raise ValueError(f"parameters[{name!r}] must have shape {shape}, got {array.shape}")
    return entries


def _errors(parameters: dict, entries: _Entries) -> np.ndarray:
    """Return w_i·w̃_j + b_i + b̃_j - log X_ij for every entry."""
    i, j = entries.rows, entries.columns
    products = np.einsum("nd,nd->n", parameters["word"][i], parameters["context"][j])
    return products + parameters["word_bias"][i] + parameters["context_bias"][j] - entries.logs


class Training(NamedTuple):
    """What ``train`` returns; it unpacks into two.

    Attributes:
        parameters: as ``initial_parameters`` names them.
        costs: the mean of f(X_ij) (error)² over the entries in each pass, every entry taken just
            before its own update.
    """

    parameters: dict[str, np.ndarray]
    costs: np.ndarray


def train(
    counts: scipy.sparse.csr_array,
    *,
    dim: int = 50,
    passes: int = 25,
    learning_rate: float = 0.1,
    x_max: float = 100.0,
    alpha: float = 0.75,
    backend: str | None = None,
    threads: int = 1,
    dtype: type = np.float32,
    seed: int = 0,
    progress: bool | None = None,
) -> Training:
    """Fit word vectors to co-occurrence counts, one entry at a time, with AdaGrad.

    The rows and columns are shuffled, and the matrix is cut into square tiles. The entries are
    visited diagonal by diagonal, in a new order each pass; a diagonal crosses one tile of each row
    of tiles, and no two of them in one column. No two of its entries share a row or a column
    either, so that no update touches what another one reads: numpy can do them all at once and get
    what doing them one by one would. The tiles fit into a processor's cache, and threads can work
    on them side by side: the parameters do not depend on the number of threads.

    Equations: eq-glove-objective, eq-glove-adagrad

    Source: Pennington, Socher and Manning (2014); Duchi, Hazan and Singer (2011), AdaGrad; Gemulla
    et al. (2011), entries that can be updated side by side.

    Args:
        counts: X, [vocab, vocab].
        dim: dimensions of the vectors.
        passes: how often each entry is visited.
        learning_rate: AdaGrad's; its sums of squares start at 1. The authors' program multiplies
            the gradient by its rate before squaring it, so that its 0.05 is no 0.05 here; with 0.1
            the cost falls somewhat faster than theirs.
        x_max: of ``weight``.
        alpha: of ``weight``.
        backend: ``"numba"``, or ``"numpy"``, which is some ten times slower; if not given, numba
            where it is installed.
        threads: how many threads work at once; numpy gains little from more than one.
        dtype: ``np.float32`` or ``np.float64``.
        seed: of the first parameters and of the order.
        progress: shows a bar on standard error; if not given, only in a terminal.

    Returns:
        The trained parameters and the cost of each pass.

    Raises:
        TypeError: ``counts`` is not a sparse matrix.
        ValueError: ``counts`` is empty, not square or has an entry below zero; a number is out of
            range; or there is no such backend.
        ImportError: numba is asked for and not installed.
        FloatingPointError: the parameters overflow; a smaller ``learning_rate`` helps.
    """
    from tqdm import trange

    passes = _arguments.integer("passes", passes, at_least=1)
    learning_rate = _arguments.number("learning_rate", learning_rate, above=0)
    threads = _arguments.integer("threads", threads, at_least=1)
    update = _update
    if choose_backend(backend) == "numba":
        from lmcourse._glove_numba import update
    counts = _checked(counts)
    rng = np.random.default_rng([seed, 1])
    # Row r of the shuffled matrix is word words[r]; a tile's parameters stand together in memory.
    words, contexts = (rng.permutation(counts.shape[0]) for _ in range(2))
    initial = initial_parameters(counts.shape[0], dim, seed=seed, dtype=dtype)
    parameters = _reordered(initial, words, contexts)
    squares = {name: np.ones_like(array) for name, array in parameters.items()}
    rows, columns, data, starts = _by_diagonal(counts, words, contexts)
    entries = _entries(rows, columns, data.astype(dtype), x_max, alpha)
    costs = np.empty(passes)
    bar = trange(passes, desc="GloVe", disable=None if progress is None else not progress)
    shares = np.array_split(np.arange(TILES), min(threads, TILES))
    with ThreadPoolExecutor(len(shares)) as pool:
        for n in bar:
            costs[n] = 0
            for diagonals in _strata(len(starts), rng):
                jobs = [
                    pool.submit(
                        update,
                        parameters,
                        squares,
                        entries,
                        starts,
                        diagonals,
                        tiles,
                        learning_rate,
                    )
                    for tiles in shares
                ]
                costs[n] += sum(job.result() for job in jobs)
            costs[n] /= len(entries.rows)
            if not np.isfinite(costs[n]):
                raise FloatingPointError(
                    f"the cost is {costs[n]} in pass {n + 1}; "
                    f"try a learning_rate below {learning_rate}"
                )
            bar.set_postfix(cost=f"{costs[n]:.4f}")
    return Training(_reordered(parameters, np.argsort(words), np.argsort(contexts)), costs)


def _reordered(
    parameters: dict[str, np.ndarray], words: np.ndarray, contexts: np.ndarray
) -> dict[str, np.ndarray]:
    """Return copies of the parameters whose row r is row ``words[r]`` or ``contexts[r]``."""
    return {
        name: array[contexts if name.startswith("context") else words]
        for name, array in parameters.items()
    }


def _by_diagonal(
    counts: scipy.sparse.csr_array, words: np.ndarray, contexts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sort the counts by diagonal of the shuffled matrix and, on it, by tile.

    The matrix is padded to a multiple of ``TILES``. Diagonal k = s * length + d crosses each tile
    (t, t + s) along that tile's own d-th diagonal; both are cyclic. Its entries in tile t are those
    from ``starts[k, t]`` up to ``starts[k, t + 1]``.

    Returns:
        Rows, columns and counts of the entries, sorted, and ``starts``.
    """
    rows, columns = counts.tocoo(copy=False).coords
    rows = np.argsort(words).astype(np.int32)[rows]
    columns = np.argsort(contexts).astype(np.int32)[columns]
    length = -(-len(words) // TILES)  # of a tile's side
    order, starts = _sorted(_blocks(rows, columns, length), length)
    return rows[order], columns[order], counts.data[order], starts


def _blocks(rows: np.ndarray, columns: np.ndarray, length: int) -> np.ndarray:
    """Return each entry's diagonal, times the number of tiles, plus its tile."""
    tiles = rows // length
    diagonals = (columns // length - tiles) % TILES * length + (columns - rows) % length
    return diagonals * TILES + tiles


def _sorted(blocks: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the order that sorts the entries by block, and where each block starts and ends."""
    from scipy.sparse import csr_array

    # In a matrix with a row for each block and a column for each entry, SciPy sorts them by block.
    ones, numbers = np.ones(len(blocks), np.int8), np.arange(len(blocks), dtype=np.int32)
    by_block = csr_array((ones, (blocks, numbers)), shape=(length * TILES**2, len(blocks)))
    ends = by_block.indptr[1:].reshape(-1, TILES)
    return by_block.indices, np.column_stack([by_block.indptr[:-1:TILES], ends])


def _strata(size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return all diagonals in a random order, those together whose tiles share no row or column."""
    length = size // TILES
    return [s * length + rng.permutation(length) for s in rng.permutation(TILES)]


def _update(
    parameters: dict[str, np.ndarray],
    squares: dict[str, np.ndarray],
    entries: _Entries,
    starts: np.ndarray,
    diagonals: np.ndarray,
    tiles: np.ndarray,
    learning_rate: float,
) -> float:
    """Visit the entries of some diagonals in adjoining tiles; return the sum of their costs."""
    cost = 0.0
    for diagonal in diagonals:
        here = slice(starts[diagonal, tiles[0]], starts[diagonal, tiles[-1] + 1])
        entry = _Entries(*(array[here] for array in entries))
        errors = _errors(parameters, entry)
        cost += float(entry.weights @ errors**2)
        slopes = 2 * entry.weights * errors
        words, contexts = parameters["word"][entry.rows], parameters["context"][entry.columns]
        for name, index, gradient in (
            ("word", entry.rows, slopes[:, None] * contexts),
            ("context", entry.columns, slopes[:, None] * words),
            ("word_bias", entry.rows, slopes),
            ("context_bias", entry.columns, slopes),
        ):
            squares[name][index] += gradient**2
            parameters[name][index] -= learning_rate * gradient / np.sqrt(squares[name][index])
    return cost
