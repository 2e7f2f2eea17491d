"""Skip-gram with negative sampling against torch and gensim; PMI against NLTK; SVD against numpy's.

The theorem that joins the two, of Levy and Goldberg (2014), is tested too.
"""

import sys

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import scipy.special
import scipy.stats
import torch
from gensim.models import Word2Vec
from nltk.metrics import BigramAssocMeasures

from lmcourse import word2vec
from lmcourse.data import load_corpus
from lmcourse.glove import build_vocabulary, encode
from lmcourse.gradient_check import check_gradients
from lmcourse.tokenizers import split_words
from lmcourse.word2vec import (
    factorise,
    keep_probability,
    loss_and_gradients,
    noise_distribution,
    pmi,
    shifted_ppmi,
    train,
)

BACKENDS = ["numpy", "numba"]
COUNTS = np.array([[3, 0, 1, 0], [2, 5, 0, 0], [0, 1, 4, 0]])  # no symmetry, an empty column


def random_parameters(vocab_size=6, dim=3, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(vocab_size, dim)).astype(dtype) for name in ("word", "context")}


def random_pairs(vocab_size=6, pairs=40, negative=4, seed=1):
    """Among six words, ids repeat, and noise words repeat and equal their pair's context."""
    rng = np.random.default_rng(seed)
    words, contexts = rng.integers(vocab_size, size=(2, pairs))
    noise = rng.integers(vocab_size, size=(pairs, negative))
    assert (noise == contexts[:, None]).any()
    assert (noise[:, 0] == noise[:, 1]).any()
    return words, contexts, noise


def random_documents(vocab_size=20, lengths=(30, 0, 1, 2, 70), seed=2):
    rng = np.random.default_rng(seed)
    return [rng.integers(vocab_size, size=length) for length in lengths]


# --- the loss and its gradients ---


def torch_loss_and_gradients(parameters, words, contexts, noise):
    words, contexts, noise = map(torch.from_numpy, (words, contexts, noise))
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in parameters.items()}
    w = leaves["word"][words]
    true = (w * leaves["context"][contexts]).sum(-1)
    false = (w[:, None] * leaves["context"][noise]).sum(-1)
    log_sigmoid = torch.nn.functional.logsigmoid
    counted = log_sigmoid(-false)[noise != contexts[:, None]]
    loss = -(log_sigmoid(true).sum() + counted.sum()) / len(words)
    loss.backward()
    return loss.item(), {name: leaf.grad.numpy() for name, leaf in leaves.items()}


@pytest.mark.parametrize("scale", [1, 300])
def test_loss_and_gradients_equal_torch(scale):
    parameters = {name: array * scale for name, array in random_parameters().items()}
    loss, gradients = loss_and_gradients(parameters, *random_pairs())
    expected, expected_gradients = torch_loss_and_gradients(parameters, *random_pairs())
    np.testing.assert_allclose(loss, expected, rtol=1e-13)
    for name in parameters:
        np.testing.assert_allclose(
            gradients[name], expected_gradients[name], rtol=1e-12, atol=1e-13 * scale
        )


def test_gradients_are_those_of_the_loss():
    errors = check_gradients(lambda p: loss_and_gradients(p, *random_pairs()), random_parameters())
    assert errors.keys() == {"word", "context"}


def test_at_the_start_every_decision_costs_log_2():
    parameters = random_parameters()
    parameters["context"][:] = 0
    one = np.array([0])
    loss, _ = loss_and_gradients(parameters, one, one + 1, np.array([[2, 3, 3, 5]]))
    np.testing.assert_allclose(loss, 5 * np.log(2))
    loss, _ = loss_and_gradients(parameters, one, one + 1, np.array([[2, 1, 1, 5]]))
    np.testing.assert_allclose(loss, 3 * np.log(2))


def test_gradients_keep_float32():
    _, gradients = loss_and_gradients(random_parameters(dtype=np.float32), *random_pairs())
    assert {array.dtype for array in gradients.values()} == {np.dtype(np.float32)}


# --- the theorem of Levy and Goldberg ---


@pytest.mark.parametrize("hits_count", [True, False])
def test_with_enough_dimensions_the_products_are_shifted_pmi(hits_count):
    """The expected loss has its minimum at PMI - log k, if a noise word may be the context.

    Every pair stands in the data as often as it was counted, and its noise words are all the words
    as often as they are to be expected. Here a noise word that equals the context counts if its id
    is another one: the context vectors stand twice. If such hits are left out, as ``train`` does,
    each product grows by -log(1 - p(context | word)), which is small in a large vocabulary.
    """
    table = np.array([[4, 1, 2, 3], [1, 2, 6, 1], [2, 4, 3, 1], [1, 1, 1, 7]])
    vocab_size, total = len(table), table.sum()
    expected_noise = np.repeat(np.arange(vocab_size), table.sum(axis=0) // 4)
    negative = len(expected_noise)
    assert (table.sum(axis=0) == total * np.bincount(expected_noise) / negative).all()
    words, contexts = (
        np.repeat(ids, table.ravel()) for ids in np.indices(table.shape).reshape(2, -1)
    )
    noise = np.tile(expected_noise, (len(words), 1)) + (vocab_size if hits_count else 0)

    def objective(flat):
        w, c = flat.reshape(2, vocab_size, vocab_size)
        parameters = {"word": np.vstack([w, w]), "context": np.vstack([c, c])}
        loss, gradients = loss_and_gradients(parameters, words, contexts, noise)
        halves = [gradients[name].reshape(2, vocab_size, vocab_size).sum(0) for name in parameters]
        return loss, np.ravel(halves)

    start = np.random.default_rng(0).normal(size=2 * vocab_size**2)
    options = {"maxiter": 5000, "maxfun": 5000, "ftol": 1e-15, "gtol": 1e-9}
    result = scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    w, c = result.x.reshape(2, vocab_size, vocab_size)
    expected = pmi(scipy.sparse.csr_array(table)).toarray() - np.log(negative)
    if not hits_count:
        expected -= np.log(1 - table / table.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(w @ c.T, expected, atol=1e-4)


# --- which pairs are read ---


def pair_counts(documents, keep, window, size, times, seed=0):
    rng = np.random.default_rng(seed)
    counts = np.zeros((size, size))
    for _ in range(times):
        for _, (words, contexts) in word2vec._read(documents, keep, window, rng):
            np.add.at(counts, (words, contexts), 1)
    return counts


def test_a_word_is_read_the_rarer_the_farther_away_and_never_over_a_documents_end():
    """Two documents of different words: every cell of the counts is one pair of places."""
    window, times, lengths = 4, 3000, (7, 3)
    documents = np.split(np.arange(10), [7])
    counts = pair_counts(documents, np.ones(10), window, 10, times)
    distance = np.abs(np.subtract.outer(np.arange(10), np.arange(10)))
    inside = scipy.linalg.block_diag(*(np.ones((n, n)) for n in lengths)) > 0
    inside &= distance > 0
    expected = np.where(inside, np.maximum(window - distance + 1, 0) / window, 0)
    deviation = np.sqrt(expected * (1 - expected) / times)
    assert (np.abs(counts / times - expected) <= 5 * deviation).all()


def test_each_word_has_a_window_of_its_own_that_reaches_as_far_on_both_sides():
    place = np.arange(50)
    pieces = word2vec._read([place], np.ones(50), 5, np.random.default_rng(0))
    ((_, (words, contexts)),) = pieces
    reach = np.array([np.abs(contexts[words == i] - i).max() for i in place])
    assert set(reach) == {1, 2, 3, 4, 5}
    distance = np.abs(place[:, None] - place)
    expected = np.argwhere((distance > 0) & (distance <= reach[:, None]))
    np.testing.assert_array_equal(sorted(zip(words, contexts, strict=True)), expected)


def test_words_are_thinned_before_the_window_is_laid():
    documents, times = [np.array([0, 1, 2]), np.array([3, 4])], 4000
    counts = pair_counts(documents, np.array([1, 0.25, 1, 0.5, 0.8]), 1, 5, times) / times
    expected = np.zeros((5, 5))
    expected[0, 1] = expected[1, 2] = 0.25
    expected[0, 2] = 0.75  # neighbours where 1 was left out
    expected[3, 4] = 0.5 * 0.8
    expected += expected.T
    np.testing.assert_allclose(counts, expected, atol=5 * 0.5 / np.sqrt(times))
    np.testing.assert_array_equal(counts == 0, expected == 0)


def test_a_pass_reads_every_document_once_in_shuffled_pieces(monkeypatch):
    monkeypatch.setattr(word2vec, "_TOKENS_AT_ONCE", 25)
    documents = np.split(np.arange(200), 20)
    rng = np.random.default_rng(0)
    pieces = list(word2vec._read(documents, np.ones(200), 1, rng))
    # Three documents of ten tokens reach the limit; what remains comes at the end.
    np.testing.assert_allclose([done for done, _ in pieces], np.arange(7) * 0.15)
    words, contexts = (np.concatenate(ids) for ids in zip(*(p for _, p in pieces), strict=True))
    inner = np.arange(200).reshape(20, 10)
    lefts, rights = inner[:, :-1].ravel(), inner[:, 1:].ravel()
    expected = sorted([*zip(lefts, rights, strict=True), *zip(rights, lefts, strict=True)])
    assert sorted(zip(words, contexts, strict=True)) == expected
    assert len({d // 10 for d in words[:54]}) == 3
    assert (words[:18] // 10 != words[0] // 10).any()  # the first document's pairs are spread
    first, second = (
        next(word2vec._read(documents, np.ones(200), 1, np.random.default_rng(s)))[1][0]
        for s in (1, 2)
    )
    assert set(first) != set(second)  # in an order of chance


def test_documents_without_a_pair_wait_for_others(monkeypatch):
    monkeypatch.setattr(word2vec, "_TOKENS_AT_ONCE", 3)
    documents = [np.zeros(1, int)] * 10 + [np.zeros(0, int), np.array([0, 1])]
    pieces = list(word2vec._read(documents, np.ones(2), 5, np.random.default_rng(0)))
    assert sum(len(words) for _, (words, _) in pieces) == 2


def test_keep_probability_by_hand():
    counts = np.array([0, 1, 10, 89, 900])
    expected = [1, 1, np.sqrt(0.005 / 0.01), np.sqrt(0.005 / 0.089), np.sqrt(0.005 / 0.9)]
    np.testing.assert_allclose(keep_probability(counts, threshold=0.005), expected)


# --- noise ---


def test_noise_distribution_by_hand():
    counts = np.array([16, 0, 81])
    np.testing.assert_allclose(noise_distribution(counts), [8 / 35, 0, 27 / 35], rtol=1e-15)
    np.testing.assert_allclose(noise_distribution(counts, power=1), [16 / 97, 0, 81 / 97])
    np.testing.assert_allclose(noise_distribution(counts, power=0), [0.5, 0, 0.5])


def test_noise_is_drawn_with_these_probabilities():
    counts = np.array([0, *np.random.default_rng(0).integers(1, 200, size=30), 0])
    probabilities = noise_distribution(counts)
    rng, shape = np.random.default_rng(1), (20_000, 5)
    drawn = word2vec._draw(probabilities, shape, rng)
    assert drawn.shape == shape
    for column in [*drawn.T, drawn.ravel()]:
        seen = np.bincount(column, minlength=len(counts))
        assert seen[0] == seen[-1] == 0
        _, p = scipy.stats.chisquare(seen[1:-1], probabilities[1:-1] * len(column))
        assert p > 0.001
    assert len(drawn) - len(np.unique(drawn, axis=0)) < 100  # no pattern repeats


@pytest.mark.parametrize("columns", [(0, 1), (0, 4), (2, 3)])
def test_noise_words_of_a_pair_do_not_depend_on_each_other(columns):
    drawn = word2vec._draw(np.array([0.5, 0.3, 0.2]), (20_000, 5), np.random.default_rng(2))
    table = np.zeros((3, 3))
    np.add.at(table, tuple(drawn[:, columns].T), 1)
    assert scipy.stats.chi2_contingency(table).pvalue > 0.001
    after = np.zeros((3, 3))  # nor do those of one pair and the next
    np.add.at(after, (drawn[:-1, columns[0]], drawn[1:, columns[1]]), 1)
    assert scipy.stats.chi2_contingency(after).pvalue > 0.001


def test_no_noise_is_drawn_for_no_pairs():
    assert word2vec._draw(np.array([0.5, 0.5]), (0, 5), np.random.default_rng(0)).shape == (0, 5)


# --- training ---


def update_of(backend):
    if backend == "numpy":
        return word2vec._update
    from lmcourse._word2vec_numba import update

    return update


def one_pair(parameters, word, context, noise, learning_rate):
    """A pair's loss, and the parameters after its step, from the derivatives on paper."""
    sigmoid, log_sigmoid = scipy.special.expit, scipy.special.log_expit
    w, c = parameters["word"], parameters["context"]
    moved = {name: array.copy() for name, array in parameters.items()}
    moved["word"][word] += learning_rate * sigmoid(-w[word] @ c[context]) * c[context]
    moved["context"][context] += learning_rate * sigmoid(-w[word] @ c[context]) * w[word]
    loss = -log_sigmoid(w[word] @ c[context])
    for n in noise:
        if n != context:
            moved["word"][word] -= learning_rate * sigmoid(w[word] @ c[n]) * c[n]
            moved["context"][n] -= learning_rate * sigmoid(w[word] @ c[n]) * w[word]
            loss -= log_sigmoid(-w[word] @ c[n])
    return loss, moved


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_update_takes_one_step_for_each_pair_in_turn(backend):
    words, contexts, noise = random_pairs()
    expected, total = random_parameters(), 0.0
    for pair in zip(words, contexts, noise, strict=True):
        loss, expected = one_pair(expected, *pair, 0.3)
        total += loss
    parameters = random_parameters()
    same_arrays = dict(parameters)
    np.testing.assert_allclose(
        update_of(backend)(parameters, words, contexts, noise, 0.3), total, rtol=1e-12
    )
    for name, array in parameters.items():
        assert array is same_arrays[name]
        np.testing.assert_allclose(array, expected[name], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
def test_noise_that_is_the_context_moves_nothing_away(backend):
    parameters = random_parameters()
    before = parameters["word"][0] @ parameters["context"][1]
    only_hits = np.array([[1, 1, 1]])
    one = np.array([0])
    loss = update_of(backend)(parameters, one, one + 1, only_hits, 0.1)
    np.testing.assert_allclose(loss, -scipy.special.log_expit(before))
    assert parameters["word"][0] @ parameters["context"][1] > before


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_updates_survive_huge_products(backend, dtype):
    parameters = {name: a * dtype(100) for name, a in random_parameters(dtype=dtype).items()}
    products = parameters["context"] @ parameters["word"][0]
    assert products[1] > 1000  # beyond the exponential's range, as the next are
    assert max(products[2], products[4]) < -1000
    expected_loss, expected = one_pair(parameters, 0, 2, [1, 4], 0.1)
    loss = update_of(backend)(parameters, np.array([0]), np.array([2]), np.array([[1, 4]]), 0.1)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)
    for name, array in parameters.items():
        assert array.dtype == dtype
        np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("dim", "negative"), [(1, 1), (7, 5), (50, 2)])
def test_backends_train_alike(dim, negative):
    options = {
        "dim": dim,
        "negative": negative,
        "passes": 3,
        "learning_rate": 0.2,
        "threshold": 0.1,
    }
    numpys, numbas = (
        train(random_documents(), 20, backend=backend, dtype=np.float64, **options)
        for backend in BACKENDS
    )
    np.testing.assert_allclose(numbas.losses, numpys.losses, rtol=1e-12)
    singles = train(random_documents(), 20, backend="numba", **options)
    np.testing.assert_allclose(singles.losses, numpys.losses, rtol=1e-5)
    for name, array in numpys.parameters.items():
        assert array.dtype == numbas.parameters[name].dtype == np.float64
        np.testing.assert_allclose(numbas.parameters[name], array, rtol=1e-10, atol=1e-12)
        assert singles.parameters[name].dtype == np.float32
        np.testing.assert_allclose(singles.parameters[name], array, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_seed_fixes_every_bit(backend):
    one, again, other = (
        train(random_documents(), 20, passes=2, backend=backend, seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one.losses, again.losses)
    for name in ("word", "context"):
        np.testing.assert_array_equal(one.parameters[name], again.parameters[name])
        assert (one.parameters[name] != other.parameters[name]).any(axis=1).all()


class Recorder:
    """Stands in for the update, and keeps what it was given."""

    def __init__(self, monkeypatch):
        self.noise, self.rates, self.start = [], [], None
        monkeypatch.setattr(word2vec, "_update", self)

    def __call__(self, parameters, words, contexts, noise, learning_rate):
        if self.start is None:
            self.start = {name: array.copy() for name, array in parameters.items()}
        self.noise.append(noise)
        self.rates.append(learning_rate)
        return 2.5 * len(words)


def test_the_seed_decides_what_is_drawn_too(monkeypatch):
    recorder = Recorder(monkeypatch)
    for seed in (0, 1):
        train([np.array([0, 1])], 2, passes=50, threshold=1, backend="numpy", seed=seed)
    first, second = np.split(np.array(recorder.noise), 2)
    assert (first != second).any()


def test_the_learning_rate_falls_linearly_with_the_text(monkeypatch):
    monkeypatch.setattr(word2vec, "_TOKENS_AT_ONCE", 20)
    recorder = Recorder(monkeypatch)
    documents = [np.arange(10)] * 8  # four updates a pass
    losses = train(documents, 10, passes=3, learning_rate=0.6, threshold=1, backend="numpy").losses
    np.testing.assert_allclose(recorder.rates, 0.6 * (1 - np.arange(12) / 12))
    np.testing.assert_allclose(losses, 2.5)  # of a pair


def test_the_learning_rate_has_a_floor(monkeypatch):
    recorder = Recorder(monkeypatch)
    train([np.array([0, 1])], 2, passes=10_100, threshold=1, learning_rate=0.5, backend="numpy")
    assert len(recorder.rates) == 10_100
    np.testing.assert_allclose(min(recorder.rates), 0.5e-4)


def test_training_starts_small_and_draws_noise_by_the_counts(monkeypatch):
    recorder = Recorder(monkeypatch)
    counts = np.array([40, 0, 20, 10])
    documents = [np.random.default_rng(0).permutation(np.repeat(np.arange(4), counts))]
    options = {"dim": 8, "negative": 3, "passes": 40, "threshold": 1, "power": 0.5}
    train(documents, 4, backend="numpy", **options)
    assert np.abs(recorder.start["word"]).max() <= 0.5 / 8
    assert np.abs(recorder.start["word"]).max() > 0.4 / 8
    assert (recorder.start["context"] == 0).all()
    seen = np.bincount(np.vstack(recorder.noise).ravel(), minlength=4)
    assert np.vstack(recorder.noise).shape[1] == 3
    expected = noise_distribution(counts, power=0.5) * seen.sum()
    assert seen[1] == 0
    assert scipy.stats.chisquare(seen[[0, 2, 3]], expected[[0, 2, 3]]).pvalue > 0.001


def test_training_thins_by_the_counts(monkeypatch):
    recorder = Recorder(monkeypatch)
    documents = [np.zeros(1000, int), np.array([1, 2])]
    train(documents, 3, passes=20, window=1, threshold=0.01, backend="numpy")
    pairs = np.mean([len(noise) for noise in recorder.noise])
    # About 100 of the 1000 are left; they stand together in twice as many pairs less two.
    assert abs(pairs - (2 * 1000 * np.sqrt(0.01 * 1002 / 1000) - 2 + 2)) < 10


def test_a_pass_without_a_pair_has_no_loss():
    losses = train([np.array([0, 1])], 2, passes=2, threshold=1e-12).losses
    np.testing.assert_array_equal(losses, [np.nan, np.nan])


def test_words_of_one_topic_become_neighbours():
    rng = np.random.default_rng(0)
    documents = [rng.integers(8, size=40) + 8 * (i % 2) for i in range(40)]
    options = {"dim": 5, "window": 3, "passes": 3, "learning_rate": 0.2, "threshold": 1}
    parameters, losses = train(documents, 16, **options)
    assert losses[-1] < losses[0] < 6 * np.log(2)
    unit = parameters["word"] / np.linalg.norm(parameters["word"], axis=1, keepdims=True)
    topics = np.repeat([0, 1], 8)
    same = topics[:, None] == topics
    assert (unit @ unit.T)[same].min() > (unit @ unit.T)[~same].max() + 0.5


def cosines(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (unit @ unit.T)[np.triu_indices(len(unit), 1)]


def test_vectors_of_real_text_are_like_gensims():
    """They agree as gensim's own do from one seed to another: 0.96; other settings fall below."""
    documents = [split_words(chapter.text) for chapter in load_corpus("austen").chapters[:100]]
    words, _ = build_vocabulary(documents, min_count=10)
    ids = encode(documents, words)
    ours = train(ids, len(words), dim=20, window=4, passes=2, threshold=1).parameters["word"]
    model = Word2Vec(
        [document.tolist() for document in ids],
        vector_size=20, window=4, epochs=2, sg=1, negative=5, sample=0, min_count=1,
        workers=1, seed=1,
    )  # fmt: skip
    theirs = model.wv[list(range(len(words)))]
    ours, theirs = ours[:300], theirs[:300]
    assert np.corrcoef(cosines(ours), cosines(theirs))[0, 1] > 0.94
    np.testing.assert_allclose(cosines(ours).mean(), cosines(theirs).mean(), atol=0.02)
    lengths = [np.linalg.norm(vectors, axis=1).mean() for vectors in (ours, theirs)]
    np.testing.assert_allclose(*lengths, rtol=0.01)


def test_the_progress_bar_can_be_asked_for(capsys):
    options = {"passes": 2, "dim": 2}
    result = train(random_documents(), 20, progress=True, **options)
    assert f"loss={result.losses[-1]:.4f}" in capsys.readouterr().err
    train(random_documents(), 20, progress=False, **options)
    train(random_documents(), 20, **options)  # standard error is no terminal here
    assert capsys.readouterr().err == ""


# --- counts and their factorisation ---


def dense_pmi(counts, smoothing=1.0):
    with np.errstate(divide="ignore", invalid="ignore"):
        by_chance = counts.sum(axis=0) ** smoothing / (counts.sum(axis=0) ** smoothing).sum()
        ratio = counts / counts.sum() / (counts.sum(axis=1) / counts.sum())[:, None] / by_chance
        return np.where(counts > 0, np.log(ratio), 0)


@pytest.mark.parametrize("smoothing", [1.0, 0.75])
@pytest.mark.parametrize("kind", ["csr_array", "coo_array", "csr_matrix"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32])
def test_pmi_equals_the_dense_formula(kind, dtype, smoothing):
    counts = getattr(scipy.sparse, kind)(COUNTS.astype(dtype))
    result = pmi(counts, smoothing=smoothing)
    assert result.format == "csr"
    assert result.dtype == np.float64
    assert result.nnz == (COUNTS > 0).sum()
    np.testing.assert_allclose(result.toarray(), dense_pmi(COUNTS, smoothing), rtol=1e-13)
    np.testing.assert_array_equal(counts.toarray(), COUNTS)
    assert counts.dtype == dtype


def test_pmi_equals_nltks():
    rows, columns = COUNTS.nonzero()
    expected = [
        np.log(2)  # NLTK takes logarithms to base 2
        * BigramAssocMeasures.pmi(COUNTS[i, j], (COUNTS[i].sum(), COUNTS[:, j].sum()), COUNTS.sum())
        for i, j in zip(rows, columns, strict=True)
    ]
    result = pmi(scipy.sparse.csr_array(COUNTS)).toarray()
    np.testing.assert_allclose(result[rows, columns], expected, rtol=1e-13)


def test_pmi_adds_entries_of_one_cell_up():
    twice = scipy.sparse.csr_array(([1.0, 1, 2], [1, 1, 0], [0, 2, 3]), shape=(2, 2))
    np.testing.assert_allclose(pmi(twice).toarray(), [[0, np.log(2)], [np.log(2), 0]])
    assert twice.nnz == 3


@pytest.mark.parametrize("smoothing", [1.0, 0.75])
@pytest.mark.parametrize("shift", [1, 1.5, 100])
def test_shifted_ppmi_equals_the_dense_formula(shift, smoothing):
    result = shifted_ppmi(scipy.sparse.csr_array(COUNTS), shift=shift, smoothing=smoothing)
    expected = np.maximum(dense_pmi(COUNTS, smoothing) - np.log(shift), 0)
    np.testing.assert_allclose(result.toarray(), expected, rtol=1e-12, atol=1e-15)
    assert result.nnz == (expected > 0).sum()


@pytest.mark.parametrize("power", [0, 0.5, 1])
@pytest.mark.parametrize("shape", [(30, 30), (30, 12), (12, 30)])
def test_factorise_equals_numpys_svd(shape, power):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=shape) * (rng.random(shape) < 0.3)
    result = factorise(scipy.sparse.csr_array(matrix), 5, power=power)
    left, values, _ = np.linalg.svd(matrix)
    expected = left[:, :5] * values[:5] ** power
    expected *= np.sign(np.take_along_axis(expected, np.abs(expected).argmax(0)[None], axis=0))
    np.testing.assert_allclose(result, expected, atol=1e-10)
    largest = np.abs(result).argmax(axis=0)
    assert (result[largest, np.arange(5)] > 0).all()


def test_factorise_does_not_depend_on_its_start():
    rng = np.random.default_rng(0)
    matrix = scipy.sparse.csr_array(rng.normal(size=(40, 40)))
    default = factorise(matrix, 6)
    np.testing.assert_array_equal(default, factorise(matrix, 6))
    np.testing.assert_allclose(default, factorise(matrix, 6, seed=1), atol=1e-10)


# --- wrong input ---


@pytest.mark.wrong_input
@pytest.mark.parametrize("function", [noise_distribution, keep_probability])
@pytest.mark.parametrize(
    ("counts", "error", "message"),
    [
        ([1, -1], ValueError, "counts must not be negative nor all zero, got a smallest of -1"),
        ([0, 0], ValueError, "counts must not be negative nor all zero, .* and a sum of 0"),
        ([], ValueError, "counts must not be empty"),
        ([[1, 2]], ValueError, r"counts must have 1 axis, got shape \(1, 2\)"),
        ([1, np.nan], ValueError, r"counts must be finite, got nan at counts\[1\]"),
        (["a"], TypeError, "counts must be an array of real numbers"),
    ],
)
def test_wrong_counts_of_words_are_named(function, counts, error, message):
    with pytest.raises(error, match=message):
        function(counts)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"words": [0, 6]}, ValueError, r"words must lie in \[0, 6\), got 6 at words\[1\]"),
        ({"words": [0.0, 1.0]}, TypeError, "words must hold integer token ids"),
        ({"contexts": [0, -1]}, ValueError, r"contexts must lie in \[0, 6\), got -1"),
        ({"contexts": [[0, 1]]}, ValueError, r"contexts must have 1 axis, got shape \(1, 2\)"),
        ({"noise": [[0], [9]]}, ValueError, r"noise must lie in \[0, 6\), got 9 at noise\[1, 0\]"),
        ({"noise": [0, 1]}, ValueError, r"noise must have 2 axes, got shape \(2,\)"),
        ({"noise": [[0]]}, ValueError, "must be equally many, got 2, 2 and 1"),
        ({"words": [1]}, ValueError, "must be equally many, got 1, 2 and 2"),
    ],
)
def test_wrong_pairs_are_named(changes, error, message):
    pairs = {"words": [0, 1], "contexts": [1, 2], "noise": [[3], [4]]} | changes
    with pytest.raises(error, match=message):
        loss_and_gradients(random_parameters(), *pairs.values())


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"documents": [[0], []]}, ValueError, "two words that stand together, got none"),
        ({"documents": []}, ValueError, "two words that stand together, got none"),
        ({"documents": [[0, 1], [3]]}, ValueError, r"documents\[1\] must lie in \[0, 3\), got 3"),
        ({"documents": [["a", "b"]]}, TypeError, r"documents\[0\] must hold integer token ids"),
        ({"vocab_size": 0}, ValueError, "vocab_size must be an integer >= 1, got 0"),
        ({"dim": 0}, ValueError, "dim must be an integer >= 1, got 0"),
        ({"dim": 2.5}, TypeError, "dim must be an integer, got float 2.5"),
        ({"window": 0}, ValueError, "window must be an integer >= 1, got 0"),
        ({"negative": 0}, ValueError, "negative must be an integer >= 1, got 0"),
        ({"passes": 0}, ValueError, "passes must be an integer >= 1, got 0"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be a finite number > 0, got 0"),
        ({"threshold": 0}, ValueError, "threshold must be a finite number > 0, got 0"),
        ({"power": -1}, ValueError, "power must be a finite number >= 0, got -1"),
        ({"seed": -1}, ValueError, "seed must be an integer >= 0, got -1"),
        ({"dtype": np.int64}, ValueError, "dtype must be float32 or float64, got int64"),
        ({"backend": "cuda"}, ValueError, "backend must be one of 'numpy', 'numba', got 'cuda'"),
    ],
)
def test_wrong_training_is_named(options, error, message):
    with pytest.raises(error, match=message):
        train(**({"documents": [[0, 1, 2]], "vocab_size": 3} | options))


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (noise_distribution, {"power": -1}, "power must be a finite number >= 0, got -1"),
        (keep_probability, {"threshold": 0}, "threshold must be a finite number > 0, got 0"),
    ],
)
def test_wrong_options_of_distributions_are_named(function, options, message):
    with pytest.raises(ValueError, match=message):
        function(np.array([1, 2]), **options)


@pytest.mark.wrong_input
@pytest.mark.parametrize("function", [pmi, shifted_ppmi])
@pytest.mark.parametrize(
    ("counts", "error", "message"),
    [
        (COUNTS, TypeError, "counts must be a SciPy sparse matrix, got ndarray"),
        (scipy.sparse.csr_array((2, 3)), ValueError, r"an entry, got shape \(2, 3\) and 0 entries"),
        (scipy.sparse.csr_array([[1.0, -2]]), ValueError, "above 0 where they are stored, got -2"),
        (
            scipy.sparse.csr_array(([1.0, 0.0], ([0, 1], [1, 0]))),
            ValueError,
            "above 0 where they are stored, got 0",
        ),
        (scipy.sparse.csr_array([[1, np.inf]]), ValueError, "counts must be finite, got inf"),
    ],
)
def test_wrong_counts_of_pairs_are_named(function, counts, error, message):
    with pytest.raises(error, match=message):
        function(counts)
    with pytest.raises(ValueError, match="smoothing must be a finite number >= 0, got -1"):
        function(scipy.sparse.csr_array(COUNTS), smoothing=-1)


@pytest.mark.wrong_input
def test_wrong_shift_and_dimensions_are_named():
    with pytest.raises(ValueError, match="shift must be a finite number >= 1, got 0"):
        shifted_ppmi(scipy.sparse.csr_array(COUNTS), shift=0)
    matrix = scipy.sparse.csr_array(np.eye(5)[:4])
    for dim in (0, 4):
        with pytest.raises(ValueError, match=f"dim must be an integer >= 1 and <= 3, got {dim}"):
            factorise(matrix, dim)
    with pytest.raises(TypeError, match="dim must be an integer, got float"):
        factorise(matrix, 2.0)
    with pytest.raises(ValueError, match="power must be a finite number, got nan"):
        factorise(matrix, 2, power=np.nan)


@pytest.mark.wrong_input
def test_numba_that_is_missing_is_not_replaced_when_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "lmcourse._word2vec_numba", raising=False)
    with pytest.raises(ImportError, match="numba"):
        train([[0, 1, 2]], 3, backend="numba")
