"""Word vectors against gensim and SciPy, association tests against brute force, and files."""

import itertools

import numpy as np
import pytest
import scipy.stats
from gensim.models import KeyedVectors
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lmcourse import word_vectors
from lmcourse.data import load_analogies, load_word_pairs, load_word_vectors
from lmcourse.word_vectors import (
    AnalogyResult,
    WordVectors,
    association_test,
    evaluate_analogies,
    evaluate_similarity,
)

both_methods = pytest.mark.parametrize("method", ["add", "mul"])


def keyed(vectors):
    """Return gensim's object with the same words and vectors."""
    theirs = KeyedVectors(vectors.vectors.shape[1], dtype=vectors.vectors.dtype)
    theirs.add_vectors(list(vectors.words), vectors.vectors)
    return theirs


def random_vectors(n=200, dim=10, *, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    lengths = rng.uniform(0.1, 10, (n, 1))  # of very different lengths: cosines must not see them
    return WordVectors(
        [f"w{i}" for i in range(n)], (rng.normal(size=(n, dim)) * lengths).astype(dtype)
    )


def assert_same_ranking(ours, theirs):
    assert [word for word, _ in ours] == [word for word, _ in theirs]
    np.testing.assert_allclose([s for _, s in ours], [s for _, s in theirs], rtol=1e-5)


@pytest.fixture(scope="module")
def pretrained():
    words, vectors = load_word_vectors()
    return WordVectors(words, vectors)


class TestWordVectors:
    def test_looking_up(self):
        array = np.array([[3.0, 4.0], [0.0, 2.0]])
        vectors = WordVectors(["a", "b"], array)
        assert vectors.words == ("a", "b") and vectors.index == {"a": 0, "b": 1}
        assert len(vectors) == 2 and "a" in vectors and "c" not in vectors
        assert vectors["b"].tolist() == [0, 2]
        np.testing.assert_allclose(vectors.unit, [[0.6, 0.8], [0, 1]])
        assert vectors.similarity("a", "b") == pytest.approx(0.8)
        assert repr(vectors) == "WordVectors(2 words, 2 dimensions)"

    @pytest.mark.parametrize(
        ("dtype", "kept"),
        [
            ("float16", "float32"),
            ("float32", "float32"),
            ("float64", "float64"),
        ],
    )
    def test_number_types(self, dtype, kept):
        vectors = WordVectors(["a", "b"], np.eye(2, dtype=dtype))
        assert vectors.vectors.dtype == vectors.unit.dtype == kept

    @pytest.mark.wrong_input
    def test_errors(self):
        eye = np.eye(2)
        with pytest.raises(TypeError, match="words must be a sequence of strings, got the string"):
            WordVectors("ab", eye)
        with pytest.raises(TypeError, match=r"words\[1\] must be a string, got int 3"):
            WordVectors(["a", 3], eye)
        with pytest.raises(ValueError, match=r"words\[1\] must not be empty"):
            WordVectors(["a", ""], eye)
        with pytest.raises(ValueError, match="a row for each of the 3 words, got shape"):
            WordVectors(["a", "b", "c"], eye)
        with pytest.raises(ValueError, match="words must be distinct, got 'a' twice"):
            WordVectors(["a", "a"], eye)
        with pytest.raises(ValueError, match="vectors must not be zero, got that of 'b'"):
            WordVectors(["a", "b"], np.array([[1.0, 0], [0, 0]]))
        with pytest.raises(ValueError, match=r"finite, got nan at vectors\[0, 1\]"):
            WordVectors(["a", "b"], np.array([[1.0, np.nan], [0, 1]]))
        with pytest.raises(ValueError, match="vectors must have 2 axes"):
            WordVectors(["a", "b"], np.ones(2))

    @pytest.mark.wrong_input
    def test_unknown_words(self):
        vectors = WordVectors(["king", "queen", "man"], np.eye(3))
        with pytest.raises(
            KeyError, match="word must be one of the 3 words, got 'kinq'; near it: 'king'"
        ):
            vectors["kinq"]
        with pytest.raises(KeyError, match=r"second must be .* got 'zzz'"):
            vectors.similarity("king", "zzz")
        with pytest.raises(KeyError, match=r"c must be .* got 'zzz'"):
            vectors.analogy("king", "man", "zzz")
        with pytest.raises(KeyError, match=r"word must be .* got \['king'\]"):
            vectors[["king"]]


class TestMostSimilar:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_equals_gensim(self, dtype):
        vectors = random_vectors(dtype=dtype)
        theirs = keyed(vectors)
        for word in vectors.words[:20]:
            assert_same_ranking(
                vectors.most_similar(word, top=15), theirs.most_similar(word, topn=15)
            )

    def test_equals_gensim_on_real_vectors(self, pretrained):
        theirs = keyed(pretrained)
        for word in ("king", "france", "monday", "running"):
            assert_same_ranking(pretrained.most_similar(word), theirs.most_similar(word))

    def test_a_vector_finds_its_own_word_first(self):
        vectors = random_vectors()
        (word, cosine), *_ = vectors.most_similar(7.5 * vectors["w3"])
        assert word == "w3" and cosine == pytest.approx(1)
        query = np.random.default_rng(5).normal(size=10)
        assert_same_ranking(
            vectors.most_similar(query, top=4), keyed(vectors).similar_by_vector(query, topn=4)
        )

    def test_equal_cosines_keep_the_vocabularys_order_and_top_may_be_too_large(self):
        words = [f"w{i}" for i in range(100)]
        directions = np.array([[1.0, 0], [0, 1]])[np.arange(100) % 2]
        vectors = WordVectors(words, directions * np.arange(1, 101)[:, None])
        expected = [(word, 1.0) for word in words[2::2]] + [(word, 0.0) for word in words[1::2]]
        assert vectors.most_similar("w0", top=1000) == expected

    @pytest.mark.wrong_input
    def test_errors(self):
        vectors = random_vectors(5, 3)
        with pytest.raises(ValueError, match=r"vector of 3 numbers.* got one of shape \(2,\)"):
            vectors.most_similar(np.ones(2))
        with pytest.raises(ValueError, match=r"not all zero, got one .* length 0"):
            vectors.most_similar(np.zeros(3))
        with pytest.raises(ValueError, match="top must be an integer >= 1, got 0"):
            vectors.most_similar("w1", top=0)


class TestAnalogy:
    @pytest.mark.filterwarnings("ignore:Call to deprecated")  # gensim calls itself so
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @both_methods
    def test_equals_gensim(self, method, dtype, monkeypatch):
        monkeypatch.setattr(word_vectors, "_EPSILON", 1e-6)  # gensim's
        vectors = random_vectors(dtype=dtype)
        theirs = keyed(vectors)
        ask = {"add": theirs.most_similar, "mul": theirs.most_similar_cosmul}[method]
        rng = np.random.default_rng(1)
        for a, b, c in (rng.choice(vectors.words, 3, replace=False) for _ in range(20)):
            a, b, c = map(str, (a, b, c))
            assert_same_ranking(
                vectors.analogy(a, b, c, method=method, top=5),
                ask(positive=[a, c], negative=[b], topn=5),
            )

    @both_methods
    def test_king_minus_man_plus_woman(self, pretrained, method):
        assert pretrained.analogy("king", "man", "woman", method=method)[0][0] == "queen"

    def test_the_epsilon_is_the_papers(self):
        vectors = WordVectors(["a", "b", "c", "d"], np.array([[1.0, 0], [-1, 0], [1, 0], [1, 0]]))
        ((word, score),) = vectors.analogy("a", "b", "c", method="mul")
        assert word == "d" and score == pytest.approx(1 * 1 / (0 + 0.001))

    @both_methods
    def test_the_query_words_are_left_out(self, method):
        vectors = random_vectors(6)
        answers = vectors.analogy("w0", "w1", "w2", method=method, top=10)
        assert sorted(word for word, _ in answers) == ["w3", "w4", "w5"]
        twice = vectors.analogy("w0", "w0", "w2", method=method, top=10)
        assert len(twice) == 4

    def test_a_sum_of_zero_points_nowhere(self):
        vectors = WordVectors(["a", "b", "c", "d"], np.array([[1.0, 0], [0, 3], [-1, 0], [2, 2]]))
        vectors.unit[1] = vectors.unit[0] + vectors.unit[2]  # a - b + c is 0 to the last bit
        assert vectors.analogy("a", "b", "c") == [("d", 0.0)]

    @pytest.mark.wrong_input
    def test_errors(self):
        vectors = random_vectors(6)
        with pytest.raises(ValueError, match="method must be one of 'add', 'mul', got 'cos'"):
            vectors.analogy("w0", "w1", "w2", method="cos")
        with pytest.raises(ValueError, match="top must be an integer >= 1, got 0"):
            vectors.analogy("w0", "w1", "w2", top=0)
        with pytest.raises(ValueError, match="method must be one of"):
            evaluate_analogies(vectors, {}, method="cos")


def spearman(x, y):
    return scipy.stats.spearmanr(x, y).statistic


def pairs_of(vectors, ratings):
    """Rate as many pairs of neighbouring words."""
    return [
        (*words, r) for words, r in zip(itertools.pairwise(vectors.words), ratings, strict=False)
    ]


class TestEvaluateSimilarity:
    @pytest.mark.filterwarnings("ignore:All-NaN slice")  # a few equal pairs have no interval
    @given(st.lists(st.integers(0, 5), min_size=3, max_size=40).filter(lambda r: len(set(r)) > 1))
    def test_equals_scipy_with_ties(self, ratings):
        vectors = random_vectors(45, 2)
        pairs = pairs_of(vectors, ratings)
        cosines = [vectors.similarity(a, b) for a, b, _ in pairs]
        result = evaluate_similarity(vectors, pairs, resamples=2)
        assert result.spearman == pytest.approx(spearman(cosines, ratings), abs=1e-12)
        assert (result.used, result.missing) == (len(ratings), ())

    def test_ties_among_the_cosines(self):
        vectors = WordVectors(list("abcd"), np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]]))
        pairs = [("a", "b", 3), ("b", "c", 1), ("c", "d", 2), ("a", "c", 4)]
        result = evaluate_similarity(vectors, pairs)
        assert result.spearman == pytest.approx(spearman([1, 1, 0, 1], [3, 1, 2, 4]))

    def test_equals_gensim_on_wordsim(self, pretrained, tmp_path):
        pairs = load_word_pairs("wordsim-353")
        file = tmp_path / "pairs.tsv"
        file.write_text("".join(f"{a}\t{b}\t{score}\n" for a, b, score in pairs))
        _, theirs, missing = keyed(pretrained).evaluate_word_pairs(str(file))
        result = evaluate_similarity(pretrained, pairs)
        assert result.spearman == pytest.approx(theirs.statistic, abs=1e-6)
        assert result.used + len(result.missing) == len(pairs)
        assert 100 * len(result.missing) / len(pairs) == pytest.approx(missing)

    @pytest.mark.parametrize("confidence", [0.95, 0.5])
    def test_the_interval_equals_scipys(self, confidence):
        rng = np.random.default_rng(0)
        vectors = random_vectors(80, 3)
        cosines = [vectors.similarity(a, b) for a, b in itertools.pairwise(vectors.words)]
        ratings = np.round(2 * (np.array(cosines) + rng.normal(0, 0.6, len(cosines))))
        result = evaluate_similarity(
            vectors, pairs_of(vectors, ratings), confidence=confidence, resamples=5000
        )
        theirs = scipy.stats.bootstrap(
            (cosines, ratings),
            spearman,
            paired=True,
            vectorized=False,
            method="percentile",
            n_resamples=2000,
            confidence_level=confidence,
            rng=rng,
        ).confidence_interval
        assert theirs.high - theirs.low > 0.05
        assert (result.low, result.high) == pytest.approx((theirs.low, theirs.high), abs=0.015)

    def test_the_seed_decides_the_interval(self):
        vectors = random_vectors(30, 3)
        pairs = pairs_of(vectors, range(29))
        first, again, other = (evaluate_similarity(vectors, pairs, seed=s) for s in (0, 0, 1))
        assert first == again
        assert first.low != other.low and first.spearman == other.spearman

    def test_missing_words_are_reported(self):
        vectors = WordVectors(["a", "b", "c", "D"], np.random.default_rng(0).normal(size=(4, 3)))
        pairs = [("a", "b", 1), ("A", "C", 2), ("a", "x", 3), ("b", "c", 4), ("d", "a", 5)]
        result = evaluate_similarity(vectors, iter(pairs))
        assert result.used == 3
        assert result.missing == (("a", "x"), ("d", "a"))  # upper case is not tried

    @pytest.mark.wrong_input
    def test_errors(self):
        vectors = random_vectors(10)
        pairs = pairs_of(vectors, range(9))
        with pytest.raises(ValueError, match="3 pairs of known words, got 1 and 1 with a word"):
            evaluate_similarity(vectors, [*pairs[:1], ("w1", "x", 2.0)])
        with pytest.raises(ValueError, match="3 pairs of known words, got 0 and 0"):
            evaluate_similarity(vectors, [])
        for bad in (0, 1, 95):
            with pytest.raises(ValueError, match="confidence must be a finite number > 0 and < 1"):
                evaluate_similarity(vectors, pairs, confidence=bad)
        with pytest.raises(ValueError, match="resamples must be an integer >= 1, got 0"):
            evaluate_similarity(vectors, pairs, resamples=0)
        with pytest.raises(ValueError, match=r"ratings must be finite, got nan at ratings\[9\]"):
            evaluate_similarity(vectors, [*pairs, ("w1", "w2", float("nan"))])
        with pytest.raises(ValueError, match="pairs must differ in their ratings and in their cos"):
            evaluate_similarity(vectors, pairs_of(vectors, [1] * 9))


class TestEvaluateAnalogies:
    def test_equals_gensim(self, pretrained, tmp_path):
        questions = {name: asked[:60] for name, asked in load_analogies().items()}
        file = tmp_path / "questions.txt"
        file.write_text(
            "".join(
                f": {name}\n" + "".join(" ".join(q).lower() + "\n" for q in asked)
                for name, asked in questions.items()
            )
        )
        _, sections = keyed(pretrained).evaluate_word_analogies(str(file))
        theirs = {
            s["section"]: (len(s["correct"]), len(s["correct"]) + len(s["incorrect"]))
            for s in sections[:-1]
        }
        results = evaluate_analogies(pretrained, questions)
        assert {name: (r.correct, r.used) for name, r in results.items()} == theirs
        assert all(r.used + r.missing == len(questions[name]) for name, r in results.items())
        correct, used = (sum(column) for column in zip(*theirs.values(), strict=True))
        assert 0.2 * used < correct < used and used > 200

    @both_methods
    def test_counts_the_questions_that_analogy_answers(self, method, monkeypatch):
        monkeypatch.setattr(word_vectors, "_CHUNK", 7)
        vectors = random_vectors(12, 3)
        questions, right = [], []
        for n, (a, b, c) in enumerate(itertools.permutations(vectors.words[:5], 3)):
            (best, _), (second, _) = vectors.analogy(b, a, c, method=method, top=2)
            right.append(n % 3 != 0)
            questions.append((a, b, c, best if right[n] else second))
        result = evaluate_analogies(vectors, {"all": iter(questions)}, method=method)
        assert result == {"all": AnalogyResult(sum(right), len(questions), 0)}

    def test_missing_words_are_counted(self):
        vectors = random_vectors(5)
        questions = {
            "some": [("w0", "W1", "w2", "w3"), ("w0", "w1", "w2", "x")],
            "none": [("x",) * 4],
        }
        results = evaluate_analogies(vectors, questions)
        assert (results["some"].used, results["some"].missing) == (1, 1)
        assert results["none"] == AnalogyResult(0, 0, 1)
        assert np.isnan(results["none"].accuracy)
        assert AnalogyResult(3, 4, 9).accuracy == 0.75


def brute_force_association(vectors, targets, attributes):
    """Caliskan et al. (2017), word by word and division by division."""

    def cosine(a, b):
        a, b = vectors[a].astype(np.float64), vectors[b].astype(np.float64)
        return a @ b / np.sqrt((a @ a) * (b @ b))

    def association(word):
        first, second = (np.mean([cosine(word, a) for a in group]) for group in attributes)
        return first - second

    scores = {word: association(word) for group in targets for word in group}
    x, y = ([scores[word] for word in group] for group in targets)
    effect = (np.mean(x) - np.mean(y)) / np.std([*x, *y], ddof=1)
    observed, everyone = np.mean(x) - np.mean(y), list(scores)
    differences = []
    for chosen in itertools.combinations(everyone, len(x)):
        inside = [scores[word] for word in chosen]
        outside = [scores[word] for word in everyone if word not in chosen]
        differences.append(np.mean(inside) - np.mean(outside))
    return effect, np.mean(np.array(differences) >= observed - 1e-12)


FLOWERS, INSECTS = ["rose", "tulip"], ["wasp", "gnat"]
PLEASANT, UNPLEASANT = ["peace"], ["pain"]


def garden():
    """Flowers point the way of peace, insects that of pain."""
    return WordVectors(
        [*FLOWERS, *INSECTS, *PLEASANT, *UNPLEASANT],
        np.array([[2.0, 0], [3, 0], [0, 1], [0, 5], [1, 0], [0, 1]]),
    )


class TestAssociationTest:
    def test_flowers_and_insects(self):
        """The associations are 1, 1, -1, -1: mean difference 2, variance 4/3; 1 of 6 divisions."""
        result = association_test(garden(), (FLOWERS, INSECTS), (PLEASANT, UNPLEASANT))
        assert result.effect_size == pytest.approx(2 / np.sqrt(4 / 3))
        assert result.p_value == pytest.approx(1 / 6)
        assert result.missing == ()
        turned = association_test(garden(), (INSECTS, FLOWERS), (PLEASANT, UNPLEASANT))
        assert turned.effect_size == pytest.approx(-result.effect_size)
        assert turned.p_value == 1

    @given(
        st.integers(2, 4),
        st.integers(2, 4),
        st.integers(1, 3),
        st.integers(1, 3),
        st.integers(0, 99),
    )
    def test_equals_brute_force(self, n_x, n_y, n_a, n_b, seed):
        vectors = random_vectors(14, 3, seed=seed, dtype=np.float32)
        words = iter(vectors.words)
        x, y, a, b = (list(itertools.islice(words, n)) for n in (n_x, n_y, n_a, n_b))
        effect, p_value = brute_force_association(vectors, (x, y), (a, b))
        result = association_test(vectors, (x, y), (a, b))
        assert result.effect_size == pytest.approx(effect, abs=1e-5)
        assert result.p_value == pytest.approx(p_value)

    def test_many_divisions_are_sampled(self):
        vectors = random_vectors(24, 3, seed=1)
        words = list(vectors.words)
        groups = (words[:8], words[8:16]), (words[16:20], words[20:])
        exact = association_test(vectors, *groups)
        assert 0.05 < exact.p_value < 0.95  # of 12,870 divisions
        sampled, again, other = (
            association_test(vectors, *groups, max_partitions=4000, seed=s) for s in (0, 0, 1)
        )
        assert sampled == again
        assert sampled.p_value != other.p_value
        assert sampled.p_value == pytest.approx(exact.p_value, abs=0.03)
        assert sampled.effect_size == exact.effect_size

    def test_a_sampled_p_value_is_never_zero(self):
        """The division that was observed is one of those tried."""
        angles = np.radians([1, 2, 3, 4, 5, 6, 7, 8, 81, 82, 83, 84, 85, 86, 87, 88, 0, 90])
        words = [f"w{i}" for i in range(18)]
        vectors = WordVectors(words, np.column_stack([np.cos(angles), np.sin(angles)]))
        groups = (words[:8], words[8:16]), (words[16:17], words[17:])
        assert association_test(vectors, *groups).p_value == pytest.approx(1 / 12_870)
        assert association_test(vectors, *groups, max_partitions=50).p_value == 1 / 50

    def test_pretrained_vectors_find_family_nearer_to_women_than_work(self, pretrained):
        result = association_test(
            pretrained,
            (["she", "her", "woman", "mother"], ["he", "his", "man", "father"]),
            (
                ["home", "family", "children", "marriage"],
                ["office", "business", "salary", "career"],
            ),
        )
        assert result.effect_size > 0.5

    def test_missing_and_repeated_words(self):
        result = association_test(
            garden(),
            (["ROSE", "rose", "tulip", "orchid"], [*INSECTS, "flea"]),
            (["peace", "joy"], UNPLEASANT),
        )
        assert result.missing == ("orchid", "flea", "joy")
        plain = association_test(garden(), (FLOWERS, INSECTS), (PLEASANT, UNPLEASANT))
        assert result[:2] == plain[:2]  # a word counts once

    @pytest.mark.wrong_input
    def test_errors(self):
        vectors, attributes = garden(), (PLEASANT, UNPLEASANT)
        with pytest.raises(ValueError, match=r"targets\[1\] must have at least 2 .* got 1 of 2"):
            association_test(vectors, (FLOWERS, ["wasp", "flea"]), attributes)
        with pytest.raises(ValueError, match=r"attributes\[0\] must have at least 1 .* got 0 of 1"):
            association_test(vectors, (FLOWERS, INSECTS), (["joy"], UNPLEASANT))
        with pytest.raises(ValueError, match="targets must not share a word, got 'rose' twice"):
            association_test(vectors, (FLOWERS, ["rose", *INSECTS]), attributes)
        with pytest.raises(ValueError, match="targets must be two groups of words, got 3"):
            association_test(vectors, (FLOWERS, INSECTS, FLOWERS), attributes)
        with pytest.raises(ValueError, match="max_partitions must be an integer >= 1, got 0"):
            association_test(vectors, (FLOWERS, INSECTS), attributes, max_partitions=0)
        same = WordVectors(vectors.words, np.ones((6, 2)))
        with pytest.raises(ValueError, match="targets must differ in their association"):
            association_test(same, (FLOWERS, INSECTS), attributes)


UNUSUAL_WORDS = [
    "naïve",
    "日本",
    ".",
    "...",
    "12,5",
    "3",
    "-1e5",
    "nan",
    "#",
    '"',
    "</s>",
    "e\u0301",
    "🙂",
]
words_without_whitespace = st.text(
    st.characters(exclude_categories=["Cs"]).filter(lambda c: not c.isspace()),
    min_size=1,
    max_size=8,
)


class TestFiles:
    @given(
        st.lists(words_without_whitespace, min_size=1, max_size=5, unique=True),
        st.sampled_from([np.float32, np.float64]),
        st.data(),
    )
    def test_what_is_saved_is_loaded(self, tmp_path_factory, words, dtype, data):
        array = data.draw(
            npst.arrays(
                dtype,
                (len(words), 3),
                elements=npst.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False),
            ).filter(lambda a: a.any(axis=1).all())
        )
        path = tmp_path_factory.mktemp("vectors") / "glove.txt"
        WordVectors(words, array).save(path)
        loaded = WordVectors.load(path, dtype=dtype)
        assert loaded.words == tuple(words)
        assert loaded.vectors.dtype == dtype
        assert np.array_equal(loaded.vectors, array)

    def test_the_format_is_gloves(self, tmp_path):
        path = tmp_path / "glove.txt"
        WordVectors(["the", "."], np.array([[0.5, -2], [1e-8, 3]], np.float32)).save(str(path))
        assert path.read_bytes() == b"the 0.5 -2.0\n. 1e-08 3.0\n"
        assert WordVectors.load(str(path)).vectors.dtype == np.float32

    def test_gensim_reads_it(self, tmp_path):
        array = np.random.default_rng(0).normal(size=(len(UNUSUAL_WORDS), 7)).astype(np.float32)
        WordVectors(UNUSUAL_WORDS, array).save(tmp_path / "glove.txt")
        theirs = KeyedVectors.load_word2vec_format(tmp_path / "glove.txt", no_header=True)
        assert theirs.index_to_key == UNUSUAL_WORDS
        assert np.array_equal(theirs.vectors, array)

    def test_reads_files_of_others(self, tmp_path):
        path = tmp_path / "glove.txt"
        path.write_bytes("the 0.418 -1.2e-3 7\r\nnaïve 1 2 3".encode())
        vectors = WordVectors.load(path)
        assert vectors.words == ("the", "naïve")
        np.testing.assert_array_equal(
            vectors.vectors, np.array([[0.418, -1.2e-3, 7], [1, 2, 3]], np.float32)
        )

    @pytest.mark.wrong_input
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("a 1 2\nb 1 x\n", "line 2: not a word and numbers"),
            ("a 1 2\nb 1  2\n", "line 2: not a word and numbers"),
            ("a 1 2\nnew york 1 2\n", "line 2: not a word and numbers"),
            ("a 1 2\nb 1\n", "line 2: expected 2 numbers after the word, got 1"),
            ("a 1 2\nb 1 2 3\n", "line 2: expected 2 numbers after the word, got 3"),
            ("a 1 2\n\nb 1 2\n", "line 2: expected 2 numbers after the word, got 0"),
            ("2 3\na 1 2 3\nb 1 2 3\n", "line 2: expected 1 numbers after the word, got 3"),
            ("a\nb\n", "line 1: expected some numbers after the word, got 0"),
            ("a 1 2\n 3 4\n", r"words\[1\] must not be empty"),
            ("a 1 2\na 3 4\n", "words must be distinct, got 'a' twice"),
            ("a 1 nan\n", r"vectors must be finite, got nan at vectors\[0, 1\]"),
            ("a 0 0\n", "vectors must not be zero, got that of 'a'"),
            ("", "holds no vectors"),
        ],
    )
    def test_malformed_files(self, tmp_path, content, message):
        path = tmp_path / "glove.txt"
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            WordVectors.load(path)

    @pytest.mark.wrong_input
    @pytest.mark.parametrize("word", ["new york", " a", "a\n", "a\tb", "\u00a0", "a\u2028b"])
    def test_words_with_whitespace_cannot_be_saved(self, tmp_path, word):
        path = tmp_path / "glove.txt"
        with pytest.raises(ValueError, match="words must not hold whitespace in this format, got"):
            WordVectors(["the", word], np.eye(2)).save(path)
        assert not path.exists()
