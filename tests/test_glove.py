"""GloVe against brute-force counts, torch's autograd and torch's AdaGrad; its order of updates."""

import subprocess
import sys
import textwrap
import tracemalloc
from unittest import mock

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmcourse import glove
from lmcourse.glove import (
    TILES,
    build_vocabulary,
    cooccurrence,
    encode,
    gradients,
    initial_parameters,
    objective,
    train,
    weight,
)
from lmcourse.gradient_check import check_gradients

VOCAB = 6

both_backends = pytest.mark.parametrize("backend", ["numpy", "numba"])
documents_of_ids = st.lists(st.lists(st.integers(0, VOCAB - 1), max_size=20), max_size=4)
options = st.fixed_dictionaries(
    {
        "window": st.integers(1, 25),
        "distance_weighting": st.booleans(),
        "symmetric": st.booleans(),
    }
)


def ids(documents):
    return [np.array(document, dtype=np.int64) for document in documents]


def random_counts(vocab_size, *, share=0.4, seed=0):
    """Counts from 0.1 to some thousands, as many as text has, most of them small."""
    rng = np.random.default_rng(seed)
    counts = np.exp(rng.normal(1, 2, (vocab_size, vocab_size)))
    return scipy.sparse.csr_array(counts * (rng.random(counts.shape) < share))


def random_parameters(vocab_size, dim, *, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {
        "word": (vocab_size, dim),
        "context": (vocab_size, dim),
        "word_bias": (vocab_size,),
        "context_bias": (vocab_size,),
    }
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def brute_force_counts(documents, *, window, distance_weighting, symmetric):
    counts = np.zeros((VOCAB, VOCAB))
    for document in documents:
        for i, word in enumerate(document):
            for j, context in enumerate(document):
                near = 0 < abs(i - j) <= window
                if near and (symmetric or j < i):
                    counts[word, context] += 1 / abs(i - j) if distance_weighting else 1
    return counts


def stanford_counts(lines, vocabulary, *, window, distance_weighting, symmetric):
    """The loop of ``cooccur.c``, told again: a ring of the words seen on this line."""
    counts = {}
    for line in lines:
        history, j = [None] * window, 0
        for target in line:
            if target not in vocabulary:
                continue
            for k in range(j - 1, (j - window if j > window else 0) - 1, -1):
                context = history[k % window]
                amount = 1.0 / (j - k) if distance_weighting else 1.0
                counts[context, target] = counts.get((context, target), 0.0) + amount
                if symmetric:
                    counts[target, context] = counts.get((target, context), 0.0) + amount
            history[j % window] = target
            j += 1
    return counts


def torch_objective(parameters, counts, *, x_max=100.0, alpha=0.75):
    """Equation 8 of Pennington et al. (2014) on full matrices."""
    counts = torch.tensor(counts.toarray())
    there = counts > 0
    f = torch.where(counts < x_max, (counts / x_max) ** alpha, 1.0)
    products = parameters["word"] @ parameters["context"].T
    biases = parameters["word_bias"][:, None] + parameters["context_bias"][None, :]
    errors = products + biases - torch.log(torch.where(there, counts, 1.0))
    return (there * f * errors**2).sum()


def as_torch(parameters):
    return {name: torch.tensor(p, requires_grad=True) for name, p in parameters.items()}


class TestVocabulary:
    def test_frequent_words_first_then_sorted(self):
        documents = [["b", "d", "b", "c"], [], ["b", "d", "a", "a", "e"]]
        words, counts = build_vocabulary(documents, min_count=2)
        assert words == ("b", "a", "d")
        assert counts.tolist() == [3, 2, 2]

    def test_a_generator_will_do(self):
        words, _ = build_vocabulary((["x"] * n for n in (2, 3)), min_count=5)
        assert words == ("x",)

    def test_encode_leaves_other_words_out(self):
        encoded = encode([["b", "?", "a"], [], ["?"], ["a", "a"]], ("a", "b"))
        assert [document.tolist() for document in encoded] == [[1, 0], [], [], [0, 0]]

    @pytest.mark.wrong_input
    def test_errors(self):
        with pytest.raises(TypeError, match=r"documents\[1\] .* got the string 'a text'"):
            build_vocabulary([["a"], "a text"])
        with pytest.raises(ValueError, match="at least 2 times, got 3 words"):
            build_vocabulary([["a", "b"], ["c"]], min_count=2)
        with pytest.raises(ValueError, match="at least 5 times, got 0 words"):
            build_vocabulary([])
        with pytest.raises(ValueError, match="min_count must be an integer >= 1, got 0"):
            build_vocabulary([["a"]], min_count=0)


class TestCooccurrence:
    @given(documents_of_ids, options)
    def test_equals_a_triple_loop(self, documents, options):
        expected = brute_force_counts(documents, **options)
        if expected.any():
            counts = cooccurrence(ids(documents), VOCAB, **options)
            np.testing.assert_allclose(counts.toarray(), expected, rtol=1e-12)
            assert counts.nnz == np.count_nonzero(expected)
            assert counts.has_canonical_format and counts.dtype == np.float64

    @given(st.lists(st.lists(st.sampled_from("abcdef?!"), max_size=20), max_size=4), options)
    def test_equals_stanfords_program(self, lines, options):
        vocabulary = "fbdace"
        expected = stanford_counts(lines, vocabulary, **options)
        if expected:
            counts = cooccurrence(encode(lines, vocabulary), VOCAB, **options)
            if not options["symmetric"]:
                counts = counts.T  # there, the word on the left has the row
            ours = {
                (vocabulary[i], vocabulary[j]): count
                for i, j, count in zip(*counts.tocoo().coords, counts.tocoo().data, strict=True)
            }
            assert ours == pytest.approx(expected, rel=1e-12)

    @given(documents_of_ids, options, st.integers(1, 7), st.integers(1, 30))
    def test_a_text_in_pieces_counts_the_same(self, documents, options, tokens, pairs):
        expected = brute_force_counts(documents, **options)
        if expected.any():
            with (
                mock.patch.object(glove, "_TOKENS_AT_ONCE", tokens),
                mock.patch.object(glove, "_PAIRS_AT_ONCE", pairs),
            ):
                counts = cooccurrence((d for d in ids(documents)), VOCAB, **options)
            np.testing.assert_allclose(counts.toarray(), expected, rtol=1e-12)

    def test_a_stream_is_not_held_in_memory(self):
        rng = np.random.default_rng(0)
        stream = (rng.integers(50, size=5_000) for _ in range(100))
        with mock.patch.object(glove, "_PAIRS_AT_ONCE", 50_000):
            tracemalloc.start()
            counts = cooccurrence(stream, 50, window=5)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        pairs = 100 * sum(5_000 - distance for distance in range(1, 6))
        np.testing.assert_allclose(
            counts.sum(), 2 * 100 * sum((5_000 - d) / d for d in range(1, 6)), rtol=1e-12
        )
        assert peak < 4 * pairs  # bytes: less than one number for each pair

    def test_a_window_ends_with_its_document(self):
        counts = cooccurrence(ids([[0, 1], [2, 3]]), 4).toarray()
        assert counts[:2, 2:].sum() == counts[2:, :2].sum() == 0
        assert counts[0, 1] == counts[1, 0] == counts[2, 3] == 1

    def test_a_word_beside_itself_counts_from_both_sides(self):
        assert cooccurrence(ids([[0, 0]]), 1).toarray() == [[2]]
        assert cooccurrence(ids([[0, 0]]), 1, symmetric=False).toarray() == [[1]]

    def test_by_default_fifteen_words_on_both_sides(self):
        counts = cooccurrence([np.arange(20)], 20).toarray()
        assert counts[0, 15] == counts[15, 0] == 1 / 15
        assert counts[0, 16] == 0

    @pytest.mark.wrong_input
    def test_errors(self):
        two = ids([[0, 1]])
        with pytest.raises(ValueError, match="window must be an integer >= 1, got 0"):
            cooccurrence(two, 2, window=0)
        with pytest.raises(TypeError, match=r"window must be an integer, got float 2\.5"):
            cooccurrence(two, 2, window=2.5)
        with pytest.raises(ValueError, match=r"documents\[0\] must lie in \[0, 1\), got 1 at"):
            cooccurrence(two, 1)
        with pytest.raises(
            ValueError, match=r"documents\[1\] must lie .* got -1 at documents\[1\]"
        ):
            cooccurrence(ids([[0, 1], [-1]]), 2)
        with pytest.raises(TypeError, match=r"documents\[0\] must hold integer token ids"):
            cooccurrence([["a", "b"]], 2)
        with pytest.raises(ValueError, match="vocab_size must be an integer >= 1, got 0"):
            cooccurrence(two, 0)

    @pytest.mark.wrong_input
    @pytest.mark.parametrize("documents", [[], [[]], [[0], [1]]])
    def test_a_corpus_without_pairs(self, documents):
        with pytest.raises(ValueError, match="documents must hold two words that stand together"):
            cooccurrence(ids(documents), 2)


class TestWeight:
    @given(
        st.lists(st.floats(0, 1e6), min_size=1, max_size=10),
        st.floats(1e-3, 1e4),
        st.floats(0.05, 4),
    )
    def test_equals_the_formula(self, counts, x_max, alpha):
        expected = [(x / x_max) ** alpha if x < x_max else 1.0 for x in counts]
        ours = weight(np.array(counts), x_max=x_max, alpha=alpha)
        np.testing.assert_allclose(ours, expected, rtol=1e-12)

    def test_the_papers_constants(self):
        x = np.array([[0.0, 1.0], [100.0, 1e6]])
        np.testing.assert_allclose(weight(x), [[0, 100**-0.75], [1, 1]], rtol=1e-12)

    @pytest.mark.wrong_input
    def test_errors(self):
        x = np.ones(3)
        with pytest.raises(ValueError, match=r"x_max must be a finite number > 0, got 0"):
            weight(x, x_max=0)
        with pytest.raises(ValueError, match=r"x_max must be a finite number > 0, got -1"):
            weight(x, x_max=-1.0)
        with pytest.raises(ValueError, match=r"alpha must be a finite number > 0, got 0"):
            weight(x, alpha=0.0)
        with pytest.raises(ValueError, match=r"counts must not be negative, got -1\.0"):
            weight(np.array([2.0, -1.0]))
        with pytest.raises(ValueError, match=r"counts must be finite, got nan"):
            weight(np.array([2.0, np.nan]))


class TestInitialParameters:
    def test_uniform_in_half_a_unit_divided_by_the_dimensions(self):
        parameters = initial_parameters(400, 50)
        assert {name: p.shape for name, p in parameters.items()} == {
            "word": (400, 50),
            "context": (400, 50),
            "word_bias": (400,),
            "context_bias": (400,),
        }
        scaled = np.concatenate([p.ravel() for p in parameters.values()]) * 50
        assert scaled.dtype == np.float32
        assert -0.5 <= scaled.min() < -0.499 and 0.499 < scaled.max() <= 0.5
        np.testing.assert_allclose(scaled.std(), 1 / np.sqrt(12), rtol=0.02)
        assert not np.array_equal(parameters["word"], parameters["context"])

    def test_the_seed_decides(self):
        first, again, other = (initial_parameters(5, 3, seed=seed) for seed in (1, 1, 2))
        assert np.array_equal(first["word"], again["word"])
        assert not np.array_equal(first["word"], other["word"])

    @pytest.mark.wrong_input
    def test_errors(self):
        with pytest.raises(ValueError, match="dtype must be float32 or float64, got float16"):
            initial_parameters(5, 3, dtype=np.float16)
        with pytest.raises(ValueError, match="dim must be an integer >= 1, got 0"):
            initial_parameters(5, 0)
        with pytest.raises(ValueError, match="seed must be an integer >= 0, got -1"):
            initial_parameters(5, 3, seed=-1)


class TestObjective:
    @pytest.mark.parametrize("constants", [{}, {"x_max": 3.0, "alpha": 0.5}])
    def test_value_and_gradients_equal_autograd(self, constants):
        counts, parameters = random_counts(30), random_parameters(30, 4)
        assert counts.max() > 100 > counts.data.min() > 0  # both branches of f
        theirs = as_torch(parameters)
        value = torch_objective(theirs, counts, **constants)
        value.backward()
        np.testing.assert_allclose(
            objective(parameters, counts, **constants), value.item(), rtol=1e-12
        )
        ours = gradients(parameters, counts, **constants)
        assert ours.keys() == theirs.keys()
        for name, gradient in ours.items():
            np.testing.assert_allclose(gradient, theirs[name].grad.numpy(), rtol=1e-10, atol=1e-12)

    def test_gradients_equal_finite_differences(self):
        counts = random_counts(12)

        def loss_and_gradients(parameters):
            return objective(parameters, counts), gradients(parameters, counts)

        check_gradients(loss_and_gradients, random_parameters(12, 3), tolerance=1e-6)

    def test_is_zero_where_the_logarithms_are_matched(self):
        parameters = random_parameters(8, 3)
        counts = scipy.sparse.csr_array(counts_of(parameters))
        assert objective(parameters, counts) == pytest.approx(0, abs=1e-20)
        parameters["word_bias"] += 1  # then each entry costs its weight
        assert objective(parameters, counts) == pytest.approx(weight(counts.data).sum())

    @pytest.mark.parametrize(
        "storage", ["coo", "csc", "dok", "matrix", "shuffled", "in parts", "csr in parts"]
    )
    def test_the_storage_does_not_matter(self, storage):
        counts, parameters = random_counts(20), random_parameters(20, 3)
        coo, n = counts.tocoo(), counts.nnz
        order = np.random.default_rng(0).permutation(2 * n) % n  # each entry comes twice
        stored = {
            "coo": coo,
            "csc": counts.tocsc(),
            "dok": counts.todok(),
            "matrix": scipy.sparse.csr_matrix(counts),
            "shuffled": scipy.sparse.coo_array(
                (coo.data[::-1], tuple(c[::-1] for c in coo.coords)), shape=coo.shape
            ),
            "in parts": scipy.sparse.coo_array(
                (coo.data[order] / 2, tuple(c[order] for c in coo.coords)), shape=coo.shape
            ),
            "csr in parts": scipy.sparse.csr_array(
                (counts.data.repeat(2) / 2, counts.indices.repeat(2), 2 * counts.indptr)
            ),
        }[storage]
        kept = stored.copy()
        assert objective(parameters, stored) == pytest.approx(objective(parameters, counts))
        first, _ = train(stored, dim=3, passes=1, dtype=np.float64, backend="numpy")
        second, _ = train(counts, dim=3, passes=1, dtype=np.float64, backend="numpy")
        np.testing.assert_allclose(first["word"], second["word"], rtol=1e-12)
        assert stored.nnz == kept.nnz and (stored != kept).nnz == 0

    @pytest.mark.wrong_input
    @pytest.mark.parametrize("name", ["word", "context", "word_bias", "context_bias"])
    @pytest.mark.parametrize("function", [objective, gradients])
    def test_parameters_of_another_shape(self, function, name):
        counts, parameters = random_counts(5), random_parameters(5, 3)
        parameters[name] = random_parameters(6, 3)[name]
        with pytest.raises(
            ValueError, match=rf"parameters\['{name}'\] must have shape \(5,.* \(6,"
        ):
            function(parameters, counts)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    "function", [lambda x, **o: objective(random_parameters(2, 3), x, **o), gradients, train]
)
def test_wrong_counts(function):
    if function is gradients:

        def function(x, **options):
            return gradients(random_parameters(2, 3), x, **options)

    good = scipy.sparse.csr_array([[1.0, 2.0], [0, 3.0]])
    function(good)
    with pytest.raises(TypeError, match="counts must be a SciPy sparse matrix, got ndarray"):
        function(good.toarray())
    with pytest.raises(ValueError, match=r"counts must be square, got shape \(2, 3\)"):
        function(scipy.sparse.csr_array(np.ones((2, 3))))
    with pytest.raises(ValueError, match=r"counts must have two axes .* got shape \(4,\)"):
        function(scipy.sparse.coo_array(np.ones(4)))
    with pytest.raises(ValueError, match=r"counts must .* an entry, got .* and 0 entries"):
        function(scipy.sparse.csr_array((2, 2)))
    for data, message in ((-1.0, r"above 0 .* -1\.0"), (0.0, r"above 0 .* 0\.0"), (np.inf, "inf")):
        bad = good.copy()
        bad.data[1] = data
        with pytest.raises(ValueError, match=message):
            function(bad)
    with pytest.raises(ValueError, match="x_max must be a finite number > 0, got 0"):
        function(good, x_max=0)
    with pytest.raises(ValueError, match="alpha must be a finite number > 0, got -1"):
        function(good, alpha=-1)


def counts_of(parameters):
    """Counts whose logarithms the parameters give exactly."""
    logs = parameters["word"] @ parameters["context"].T
    logs += parameters["word_bias"][:, None] + parameters["context_bias"]
    return np.exp(logs)


def schedule(counts, seed=0):
    """Return a training's order of words, its sorted entries, its starts and its random state."""
    rng = np.random.default_rng([seed, 1])
    words, contexts = (rng.permutation(counts.shape[0]) for _ in range(2))
    *cells, starts = glove._by_diagonal(counts, words, contexts)
    return words, contexts, glove._entries(*cells, 100.0, 0.75), starts, rng


class TestSchedule:
    """What makes it right to update many entries at once."""

    counts = st.builds(
        random_counts,
        st.integers(1, 70),
        share=st.floats(0.05, 1),
        seed=st.integers(0, 1000),
    ).filter(lambda counts: counts.nnz > 0)

    @given(counts)
    def test_a_pass_visits_every_entry_once(self, counts):
        words, contexts, entries, starts, rng = schedule(counts)
        for _ in range(2):
            visited = [
                n
                for diagonals in glove._strata(len(starts), rng)
                for diagonal in diagonals
                for tile in range(TILES)
                for n in range(starts[diagonal, tile], starts[diagonal, tile + 1])
            ]
            assert sorted(visited) == list(range(counts.nnz))
        seen = scipy.sparse.coo_array(
            (np.exp(entries.logs), (words[entries.rows], contexts[entries.columns])), counts.shape
        )
        np.testing.assert_allclose(seen.toarray(), counts.toarray(), rtol=1e-12)
        np.testing.assert_allclose(entries.weights, weight(np.exp(entries.logs)), rtol=1e-12)

    @given(counts)
    def test_the_entries_of_a_diagonal_share_no_row_and_no_column(self, counts):
        _, _, entries, starts, _ = schedule(counts)
        for first, *_, end in starts:
            for index in (entries.rows[first:end], entries.columns[first:end]):
                assert len(set(index.tolist())) == end - first

    @given(counts)
    def test_tiles_side_by_side_share_no_row_and_no_column(self, counts):
        _, _, entries, starts, rng = schedule(counts)
        for diagonals in glove._strata(len(starts), rng):
            for index in (entries.rows, entries.columns):
                by_tile = [
                    {i for k in diagonals for i in index[starts[k, t] : starts[k, t + 1]].tolist()}
                    for t in range(TILES)
                ]
                assert sum(map(len, by_tile)) == len(set().union(*by_tile))

    def test_each_pass_has_an_order_of_its_own(self):
        rng = np.random.default_rng(0)
        first, second = (np.concatenate(glove._strata(20 * TILES, rng)) for _ in range(2))
        assert sorted(first) == sorted(second) == list(range(20 * TILES))
        assert not np.array_equal(first, second)


def torch_training(counts, *, dim, passes, learning_rate, seed=0, x_max=100.0, alpha=0.75):
    """Train with torch's autograd and torch's AdaGrad, in our order of entries."""
    words, contexts, entries, starts, rng = schedule(counts, seed)
    rows, columns = torch.tensor(words[entries.rows]), torch.tensor(contexts[entries.columns])
    x = torch.tensor(counts.toarray())
    parameters = as_torch(initial_parameters(len(words), dim, seed=seed, dtype=np.float64))
    adagrad = torch.optim.Adagrad(
        parameters.values(), lr=learning_rate, initial_accumulator_value=1, eps=0
    )
    costs = []
    for _ in range(passes):
        cost = 0.0
        for diagonal in np.concatenate(glove._strata(len(starts), rng)):
            here = slice(starts[diagonal, 0], starts[diagonal, -1])
            i, j = rows[here], columns[here]
            errors = (
                (parameters["word"][i] * parameters["context"][j]).sum(dim=1)
                + parameters["word_bias"][i]
                + parameters["context_bias"][j]
                - torch.log(x[i, j])
            )
            loss = (torch.clamp(x[i, j] / x_max, max=1) ** alpha * errors**2).sum()
            adagrad.zero_grad()
            loss.backward()
            adagrad.step()
            cost += loss.item()
        costs.append(cost / counts.nnz)
    return {name: p.detach().numpy() for name, p in parameters.items()}, costs


class TestTrain:
    @both_backends
    @pytest.mark.parametrize("vocab_size", [3, 20, 50])
    def test_equals_torchs_adagrad(self, vocab_size, backend):
        counts = random_counts(vocab_size)
        options = {"dim": 5, "passes": 3, "learning_rate": 0.1, "seed": 4}
        expected, expected_costs = torch_training(counts, **options)
        parameters, costs = train(counts, backend=backend, dtype=np.float64, **options)
        np.testing.assert_allclose(costs, expected_costs, rtol=1e-10)
        for name, values in expected.items():
            np.testing.assert_allclose(parameters[name], values, rtol=1e-9, atol=1e-12)

    @both_backends
    def test_the_weights_options_reach_it(self, backend):
        counts, constants = random_counts(20), {"x_max": 5.0, "alpha": 0.5}
        options = {"dim": 4, "passes": 2, "learning_rate": 0.05}
        _, expected = torch_training(counts, **options, **constants)
        _, costs = train(counts, backend=backend, dtype=np.float64, **options, **constants)
        np.testing.assert_allclose(costs, expected, rtol=1e-10)

    def test_both_backends_reach_the_same_cost_in_float32(self):
        counts = random_counts(200, share=0.3)
        options = {"dim": 20, "passes": 8}
        slow, fast = (train(counts, backend=b, **options) for b in ("numpy", "numba"))
        np.testing.assert_allclose(fast.costs, slow.costs, rtol=0.01)
        assert fast.costs[-1] < 0.3 * fast.costs[0]
        for training in (slow, fast):
            assert {p.dtype for p in training.parameters.values()} == {np.dtype(np.float32)}

    @both_backends
    def test_the_same_seed_gives_the_same_bits(self, backend):
        counts = random_counts(40)
        first, again, other = (
            train(counts, dim=10, passes=3, backend=backend, seed=seed) for seed in (3, 3, 4)
        )
        assert np.array_equal(first.costs, again.costs)
        for name, values in first.parameters.items():
            assert np.array_equal(values, again.parameters[name])
            assert not np.array_equal(values, other.parameters[name])

    @both_backends
    def test_the_number_of_threads_does_not_matter(self, backend):
        counts = random_counts(70)
        alone = train(counts, dim=9, passes=3, backend=backend)
        for threads in (2, 3, 16, 40):
            together = train(counts, dim=9, passes=3, backend=backend, threads=threads)
            np.testing.assert_allclose(together.costs, alone.costs, rtol=1e-6)  # sums of float32
            for name, values in alone.parameters.items():
                assert np.array_equal(values, together.parameters[name])

    def test_finds_parameters_that_give_the_counts(self):
        truth = counts_of(random_parameters(40, 3))
        counts = scipy.sparse.csr_array(truth)
        options = {"dim": 3, "passes": 300, "learning_rate": 1, "dtype": np.float64}
        parameters, costs = train(counts, backend="numba", **options)
        assert costs[0] > 0.1 and costs[-1] < 1e-7
        assert objective(parameters, counts) / counts.nnz == pytest.approx(costs[-1], rel=0.5)
        np.testing.assert_allclose(np.log(counts_of(parameters)), np.log(truth), atol=0.01)

    def test_leaves_the_counts_alone(self):
        counts = random_counts(30)
        kept = counts.copy()
        train(counts, dim=3, passes=1)
        assert np.array_equal(counts.data, kept.data)
        assert np.array_equal(counts.indices, kept.indices)

    def test_unpacks_and_starts_from_the_papers_settings(self):
        counts = random_counts(20)
        parameters, costs = train(counts)
        assert parameters["word"].shape == (20, 50) and costs.shape == (25,)
        explicit = {"learning_rate": 0.1, "x_max": 100.0, "alpha": 0.75, "backend": "numba"}
        assert np.array_equal(costs, train(counts, dim=50, passes=25, **explicit).costs)

    def test_the_bar_shows_when_asked_for_and_by_default_in_a_terminal_alone(self, capsys):
        counts = random_counts(5)
        train(counts, dim=2, passes=2)
        train(counts, dim=2, passes=2, progress=False)
        assert capsys.readouterr().err == ""
        _, costs = train(counts, dim=2, passes=2, progress=True)
        shown = capsys.readouterr().err
        assert "GloVe: 100%" in shown and "2/2" in shown and f"cost={costs[-1]:.4f}" in shown
        with mock.patch.object(sys.stderr, "isatty", return_value=True, create=True):
            train(counts, dim=2, passes=2)
        assert "GloVe: 100%" in capsys.readouterr().err

    @pytest.mark.wrong_input
    def test_errors(self):
        counts = random_counts(5)
        for name in ("passes", "dim", "threads"):
            with pytest.raises(ValueError, match=f"{name} must be an integer >= 1, got 0"):
                train(counts, **{name: 0})
        with pytest.raises(ValueError, match="learning_rate must be a finite number > 0, got 0"):
            train(counts, learning_rate=0)
        with pytest.raises(ValueError, match="backend must be one of 'numpy', 'numba', got 'cuda'"):
            train(counts, backend="cuda")
        with pytest.raises(ValueError, match="dtype must be float32 or float64, got int64"):
            train(counts, dtype=np.int64)

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy says so, too, before we do
    @both_backends
    def test_says_when_the_parameters_overflow(self, backend):
        with pytest.raises(
            FloatingPointError, match=r"in pass \d; try a learning_rate below 1e\+30"
        ):
            train(random_counts(20), dim=3, learning_rate=1e30, backend=backend)


def run_without_numba(tmp_path, code):
    """Run a script in which numba cannot be found; return its lines and what it wrote."""
    script = tmp_path / "script.py"
    head = 'import sys\nsys.modules["numba"] = None\n'
    script.write_text(head + textwrap.dedent(code))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    return script, done


def test_without_numba_numpy_trains_and_one_warning_says_so(tmp_path):
    script, done = run_without_numba(
        tmp_path,
        """
        import numpy as np
        import scipy.sparse
        from lmcourse.glove import train
        counts = scipy.sparse.csr_array(np.ones((4, 4)))
        for _ in range(3):
            _, costs = train(counts, dim=2, passes=2, dtype=np.float64)
        assert np.array_equal(costs, train(counts, dim=2, passes=2, dtype=np.float64,
                                           backend="numpy").costs)
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Warning") == 1
    assert f"{script}:9: UserWarning: numba is not installed" in done.stderr
    assert 'pip install "lmcourse[fast]"' in done.stderr


def test_without_numba_it_cannot_be_asked_for(tmp_path):
    _, done = run_without_numba(
        tmp_path,
        """
        import numpy as np
        import scipy.sparse
        from lmcourse.glove import train
        try:
            train(scipy.sparse.csr_array(np.ones((4, 4))), backend="numba")
        except ImportError as error:
            assert "numba" in str(error)
            print("refused")
        """,
    )
    assert done.stdout == "refused\n", done.stderr
