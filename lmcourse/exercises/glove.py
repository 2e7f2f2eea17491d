"""Exercises of chapter 3: the right answers, and the trials that an answer must stand."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lmcourse import exercises, glove, word2vec
from lmcourse.data import load_word_vectors
from lmcourse.exercises import Trial, Wrong, compare, describe, numbers
from lmcourse.exercises._compare import shorten
from lmcourse.word_vectors import WordVectors, association_test

exercise = functools.partial(exercises.exercise, chapter="03_glove")


def weighting(
    counts: Float[np.ndarray, "*shape"], x_max: float, alpha: float
) -> Float[np.ndarray, "*shape"]:
    """Return what the error of each count weighs in GloVe's objective."""
    return glove.weight(counts, x_max=x_max, alpha=alpha)


@exercise(
    "glove-weighting",
    title="The weighting function",
    reference=weighting,
    difficulty=1,
    minutes=5,
)
def _(rng):
    yield Trial("with alpha = 1 a count weighs x / x_max", (np.array([2.0, 5.0]), 10.0, 1.0))
    yield Trial("alpha is the exponent of x / x_max", (np.array([1.0, 4.0]), 16.0, 0.5))
    yield Trial("no count weighs more than 1", (np.array([4.0, 16.0, 64.0]), 16.0, 0.5))
    yield Trial("a count of zero weighs nothing", (np.array([0.0, 4.0]), 16.0, 0.5))
    counts, x_max = rng.exponential(50, size=(3, 4)), rng.uniform(20, 100)
    yield Trial("counts may be an array of any shape", (counts, x_max, 0.75))


def count_pairs(
    ids: Int[np.ndarray, " time"], vocab_size: int, window: int
) -> Float[np.ndarray, "vocab vocab"]:
    """Return the co-occurrence counts of one document, distance-weighted and symmetric."""
    return glove.cooccurrence([ids], vocab_size, window=window).toarray()


def _counts(result, expected):
    """Return the result as an array of the right shape."""
    array = numbers(result, describe(expected))
    if array.shape != expected.shape:
        raise Wrong(describe(expected), describe(array))
    return array


def _neighbours(result, expected):
    """The words in the middle, which no end of the document disturbs."""
    array, middle = _counts(result, expected), len(expected) // 2
    pair = [(middle, middle + 1), (middle + 1, middle)]
    wanted, came = (
        " and ".join(f"{describe(counts[place])} at {list(place)}" for place in pair)
        for counts in (expected, array)
    )
    if wanted != came:
        raise Wrong(wanted, came)


def _reach(result, expected):
    """In a document without repetitions, a word's distance is that of the ids."""
    array = _counts(result, expected)
    for i, j in np.argwhere((array != 0) != (expected != 0)).tolist():
        wanted = "a count" if expected[i, j] else "no count"
        came = describe(float(array[i, j]))
        raise Wrong(f"{wanted} at [{i}, {j}], words {abs(i - j)} places apart", came)


@exercise(
    "glove-count-pairs",
    title="Count pairs, near ones for more",
    reference=count_pairs,
    difficulty=2,
    minutes=15,
)
def _(rng):
    each_once = np.arange(6)
    neighbours = "neighbours count 1, each for the other"
    yield Trial(neighbours, (each_once, 6, 2), _neighbours)
    reach = "the window reaches so many places to either side, within the document"
    yield Trial(reach, (each_once, 6, 2), _reach)
    yield Trial("a word d places away counts 1/d", (np.arange(3), 3, 2))
    yield Trial("a word d places away counts 1/d", (np.arange(4), 4, 3))
    yield Trial("pairs that come again add up", (np.array([0, 1, 0, 2, 0, 1, 0, 2]), 3, 1))
    yield Trial("a word next to itself counts from either side", (np.array([1, 1, 0]), 2, 1))
    yield Trial("a document may be shorter than the window", (np.array([2, 0, 1]), 3, 5))
    yield Trial("any document will do", (rng.integers(9, size=80), 9, 5))


def word_gradient(
    w: Float[np.ndarray, " dim"],
    contexts: Float[np.ndarray, "vocab dim"],
    b: float,
    context_biases: Float[np.ndarray, " vocab"],
    counts: Float[np.ndarray, " vocab"],
    x_max: float,
    alpha: float,
) -> Float[np.ndarray, " dim"]:
    """Return the gradient of GloVe's objective with respect to one word's vector."""
    vocab_size = len(counts)
    words, word_biases = np.zeros_like(contexts), np.zeros(vocab_size)
    words[0], word_biases[0] = w, b
    parameters = {
        "word": words,
        "context": contexts,
        "word_bias": word_biases,
        "context_bias": context_biases,
    }
    return glove.gradients(parameters, _one_row(counts), x_max=x_max, alpha=alpha)["word"][0]


def _one_row(counts: np.ndarray):
    from scipy.sparse import csr_array

    seen = np.flatnonzero(counts)
    return csr_array((counts[seen], (np.zeros_like(seen), seen)), shape=(len(counts), len(counts)))


@exercise(
    "glove-gradient",
    title="The gradient of a word's vector",
    reference=word_gradient,
    difficulty=2,
    minutes=20,
)
def _(rng):
    def trial(idea, w, contexts, *, b=0.0, context_biases=None, counts, x_max, alpha=0.5):
        context_biases = np.zeros(len(counts)) if context_biases is None else context_biases
        arrays = (np.array(a, dtype=float) for a in (w, contexts, context_biases, counts))
        w, contexts, context_biases, counts = arrays
        return Trial(idea, (w, contexts, b, context_biases, counts, x_max, alpha))

    pair = "a pair of weight 1 gives 2 (w·w̃ + b + b̃ - log X) w̃"
    yield trial(pair, [1, 2], [[3, 1]], counts=[1], x_max=1.0)
    log = {"counts": [round(np.exp(2), 3)], "x_max": round(np.exp(2), 3)}
    yield trial("the error subtracts the natural logarithm of the count", [1], [[3]], **log)
    biases = {"b": 0.5, "context_biases": [0.25]}
    yield trial("both biases are part of the error", [1], [[3]], **biases, counts=[1], x_max=1.0)
    yield trial("each error is weighted by f(X)", [1], [[3]], counts=[4], x_max=16.0)
    yield trial("from x_max on the weight is 1", [1], [[3]], counts=[64], x_max=16.0)
    two = [[3, 0], [0, 1]]
    yield trial("each context has its own error", [1, 2], two, counts=[1, 1], x_max=1.0)
    yield trial("a context never seen adds nothing", [1, 2], two, counts=[0, 1], x_max=1.0)
    vocab_size, dim = 12, 4
    yield trial(
        "any word will do",
        rng.normal(size=dim),
        rng.normal(size=(vocab_size, dim)),
        b=float(rng.normal()),
        context_biases=rng.normal(size=vocab_size),
        counts=rng.exponential(10, size=vocab_size) * (rng.random(vocab_size) < 0.7)
        + np.eye(vocab_size)[0],
        x_max=20.0,
        alpha=0.75,
    )


def ppmi(counts: Float[np.ndarray, "vocab context"]) -> Float[np.ndarray, "vocab context"]:
    """Return the positive pointwise mutual information of words and contexts, in nats."""
    from scipy.sparse import csr_array

    return word2vec.shifted_ppmi(csr_array(counts)).toarray()


def _above_chance(result, expected):
    """Entries that clipping leaves as they are."""
    array, seen = _counts(result, expected), expected > 0
    compare(array[seen], expected[seen])


@exercise(
    "glove-ppmi",
    title="Positive pointwise mutual information",
    reference=ppmi,
    difficulty=2,
    minutes=10,
)
def _(rng):
    def trial(idea, counts, *judge):
        return Trial(idea, (np.array(counts, dtype=float),), *judge)

    yield trial("words that stand together just by chance have 0", [[4, 8], [8, 16]])
    together = "PMI is the natural logarithm of p(i, j) over p(i) p(j)"
    yield trial(together, [[3, 1], [1, 3]], _above_chance)
    yield trial("a negative PMI becomes 0", [[3, 1], [1, 3]])
    yield trial("p(i) comes from the row's sum, p(j) from the column's", [[6, 1], [3, 2]])
    yield trial("words that never stand together have 0", [[2, 0], [1, 1]])
    yield trial("a word that never occurs has 0 with all words", [[2, 0, 1], [0, 0, 0], [1, 0, 2]])
    counts = rng.integers(6, size=(7, 7)) * (rng.random((7, 7)) < 0.7) + np.eye(7)
    yield trial("any counts will do", counts)


def analogy(vectors: Float[np.ndarray, "vocab dim"], a: int, b: int, c: int) -> int:
    """Return the row that is to c as a is to b, by 3CosAdd."""
    words = tuple(map(str, range(len(vectors))))
    answers = WordVectors(words, vectors).analogy(str(a), str(b), str(c), top=1)
    return int(answers[0][0])


@exercise(
    "glove-analogy",
    title="What is to c as a is to b",
    reference=analogy,
    difficulty=2,
    minutes=10,
)
def _(rng):
    def trial(idea, degrees, lengths=None):
        """Rows in the plane, the first three of them a, b and c."""
        angles, lengths = np.radians(degrees), lengths or [1] * len(degrees)
        vectors = np.array(lengths)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        rows = ", ".join(f"{degree}°" for degree in degrees)
        of_length = f", of lengths {describe(lengths)}" if len(set(lengths)) > 1 else ""
        tried = f"analogy(vectors, 0, 1, 2), the rows in the directions {rows}{of_length}"
        return Trial(idea, (vectors, 0, 1, 2), tried=tried)

    # With a, b and c at 90°, 0° and 60°, a - b + c points to 105°.
    yield trial("it is the row nearest to a - b + c", [90, 0, 60, 107, 15, 355, 285])
    left_out = "a, b and c themselves are left out"
    yield trial(left_out, [80, 90, 0, 30, 200])
    yield trial(left_out, [0, 90, 80, 200, 30])
    yield trial(left_out, [40, 0, 320, 75, 250])
    yield trial("each row counts with length 1", [90, 0, 60, 157, 107], [1.0, 5, 1, 1, 1])
    yield trial("the angle counts, not the length", [90, 0, 60, 130, 107], [1, 1, 1, 2, 0.5])
    a, b, c = rng.choice(40, size=3, replace=False).tolist()
    yield Trial("any rows will do", (rng.normal(size=(40, 5)), a, b, c))


def spearman(x: Float[np.ndarray, " pairs"], y: Float[np.ndarray, " pairs"]) -> float:
    """Return Spearman's rank correlation, ties counted with their mean rank."""
    from scipy.stats import spearmanr

    return float(spearmanr(x, y).statistic)


@exercise(
    "glove-spearman",
    title="Spearman's rank correlation",
    reference=spearman,
    difficulty=2,
    minutes=15,
)
def _(rng):
    def trial(idea, x, y):
        return Trial(idea, (np.array(x, dtype=float), np.array(y, dtype=float)))

    yield trial("lists in the same order have 1", [1, 2, 3, 4], [2, 4, 6, 8])
    yield trial("the order alone counts, not the distances", [1, 2, 3, 4], [1, 10, 100, 1000])
    yield trial("lists in opposite orders have -1", [1, 2, 3, 4], [80, 70, 60, 10])
    yield trial("it is Pearson's correlation of the ranks", [1, 2, 3, 4], [1, 4, 2, 3])
    yield trial("neither list need be sorted", [30, 10, 40, 20], [2, 4, 3, 1])
    ties = "equal values share the mean of their ranks, and those are correlated"
    yield trial(ties, [1, 1, 2, 3], [2, 1, 3, 4])
    yield trial(ties, [1, 2, 2, 2, 3], [5, 1, 1, 4, 4])
    yield trial("any lists will do", rng.normal(size=20), rng.integers(6, size=20))


SCIENCE = [
    "science",
    "technology",
    "physics",
    "chemistry",
    "einstein",
    "nasa",
    "experiment",
    "astronomy",
]
ARTS = ["poetry", "art", "shakespeare", "dance", "literature", "novel", "symphony", "drama"]
MALE = ["brother", "father", "uncle", "grandfather", "son", "he", "his", "him"]
FEMALE = ["sister", "mother", "aunt", "grandmother", "daughter", "she", "hers", "her"]
EVEN = ["two", "four", "six", "eight", "ten", "twelve"]
ODD = ["one", "three", "five", "seven", "nine", "eleven"]


def audit(vectors: WordVectors) -> dict[str, Any]:
    """Return an audit: are science and the arts a matter of men or women, or of numbers?"""
    asked, control = (
        {"targets": (SCIENCE, ARTS), "attributes": attributes}
        for attributes in ((MALE, FEMALE), (EVEN, ODD))
    )
    for test in (asked, control):
        test |= association_test(vectors, test["targets"], test["attributes"])._asdict()
    limits = (
        "The test compares the company that words keep in the news and in an encyclopedia; why "
        "they keep it, and what harm a system does that uses these vectors, it cannot show."
    )
    return {**asked, "control": control, "cannot_show": limits}


MEASURED = ("targets", "attributes", "effect_size", "p_value", "missing")
REPORTED = (*MEASURED, "control", "cannot_show")
FEWEST_WORDS = 6  # of each group, with a vector
FEWEST_LIMITS = 15  # words on what the test cannot show
TOLERANCE = 0.02  # of effect sizes and p-values: rounding, other random divisions


def _audit(audit, seed):
    return audit(_vectors(seed))


@functools.lru_cache(maxsize=2)
def _vectors(seed: int | None) -> WordVectors:
    """Return the pretrained vectors, or a random four in five of them; not to be changed."""
    words, array = load_word_vectors()
    chances = (
        np.zeros(len(words)) if seed is None else np.random.default_rng(seed).random(len(words))
    )
    kept = np.flatnonzero(chances < 0.8)
    vectors = WordVectors([words[i] for i in kept], array[kept])
    for shared in (vectors.vectors, vectors.unit):
        shared.flags.writeable = False
    return vectors


def _is_report(report, expected=None):
    _has_names(report, REPORTED, "the report")
    _has_names(report["control"], MEASURED, "control")


def _has_names(part, names, which):
    wanted = f"{which} to be a dict with {', '.join(names)}"
    if not isinstance(part, dict):
        raise Wrong(wanted, describe(part))
    absent = [name for name in names if name not in part]
    if absent:
        raise Wrong(wanted, f"one without {', '.join(absent)}")


def _parts(report) -> tuple[tuple[dict, str], ...]:
    _is_report(report)
    return (report, ""), (report["control"], " of the control")


def _pairs_of_groups(report):
    for part, of_what in _parts(report):
        for name in ("targets", "attributes"):
            yield name + of_what, part[name]


def _are_groups(report, expected=None):
    vectors = _vectors(None)
    for name, groups in _pairs_of_groups(report):
        wanted = f"{name} to be two lists of words"
        if not isinstance(groups, (tuple, list)) or len(groups) != 2:
            raise Wrong(wanted, describe(groups))
        for group in groups:
            if not isinstance(group, (tuple, list)) or not all(isinstance(w, str) for w in group):
                raise Wrong(wanted, describe(group))
            known = {w.lower() for w in group if w in vectors or w.lower() in vectors}
            if len(known) < FEWEST_WORDS:
                words = shorten(", ".join(group), 60)
                raise Wrong(
                    f"at least {FEWEST_WORDS} words with a vector in either group of {name}",
                    f"{len(known)} in {words}",
                )


def _are_apart(report, expected=None):
    _are_groups(report)
    for name, groups in _pairs_of_groups(report):
        first, second = ({word.lower() for word in group} for group in groups)
        if first & second:
            both = ", ".join(sorted(first & second))
            raise Wrong(f"no word in both {name}", both)


def _measured_again(report, seed):
    """Yield the two parts, their names and what the test finds."""
    _are_apart(report)
    for part, of_what in _parts(report):
        yield part, of_what, association_test(_vectors(seed), part["targets"], part["attributes"])


def _number_holds(report, expected, *, name, seed=None):
    for part, of_what, measured in _measured_again(report, seed):
        value = getattr(measured, name)
        wanted = f"{name}{of_what} to be {describe(value)}"
        came = numbers(part[name], wanted)
        if came.ndim or not abs(came - value) <= TOLERANCE:
            raise Wrong(wanted, describe(part[name]))
        if name == "p_value" and came <= 0:
            raise Wrong(wanted, "0, though the division that was measured is one of all")


def _missing_holds(report, expected, *, seed=None):
    for part, of_what, measured in _measured_again(report, seed):
        came, wanted = part["missing"], f"missing{of_what} to be {list(measured.missing)}"
        if not isinstance(came, (tuple, list, set)) or set(came) != set(measured.missing):
            raise Wrong(wanted, describe(came))


def _holds_here(report, expected, *, seed):
    """The numbers and the missing words are those of these vectors, too."""
    _number_holds(report, expected, name="effect_size", seed=seed)
    _number_holds(report, expected, name="p_value", seed=seed)
    _missing_holds(report, expected, seed=seed)


def _is_control(report, expected):
    _are_apart(report)
    kept = [
        name
        for name in ("targets", "attributes")
        if set(map(frozenset, report[name])) == set(map(frozenset, report["control"][name]))
    ]
    if len(kept) != 1:
        came = "both as they are" if kept else "others for both"
        raise Wrong("a control with the audit's targets or its attributes, not both", came)


def _says_what_is_left(report, expected):
    _are_apart(report)
    text = report["cannot_show"]
    if not isinstance(text, str) or len(text.split()) < FEWEST_LIMITS:
        raise Wrong(f"a text of {FEWEST_LIMITS} words or more as cannot_show", describe(text))
    found = (f"{p['effect_size']:.2f} (p = {p['p_value']:.2g})" for p, _ in _parts(report))
    return "Effect size {}, of the control {}. The rubric is yours to judge.".format(*found)


@exercise(
    "glove-bias-audit",
    title="Audit the vectors for a bias",
    reference=audit,
    drive=_audit,
    difficulty=3,
    minutes=45,
)
def _(rng):
    def trial(idea, judge, **options):
        """On all vectors, or on some of them if there is a ``seed``."""
        seed = options.get("seed")
        which = "the pretrained vectors" if seed is None else "four in five of the vectors"
        return Trial(idea, (seed,), functools.partial(judge, **options), f"audit with {which}")

    yield trial("the audit is a report with the names asked for", _is_report)
    yield trial("the test compares groups of words that have vectors", _are_groups)
    yield trial("no word stands on both sides", _are_apart)
    yield trial("the effect size is that of the words reported", _number_holds, name="effect_size")
    yield trial("the p-value is that of the words reported", _number_holds, name="p_value")
    yield trial("words without a vector are reported", _missing_holds)
    yield trial("the control changes one side of the test", _is_control)
    given, seed = "the report is measured on the vectors that are given", int(rng.integers(10_000))
    yield trial(given, _holds_here, seed=seed)
    yield trial("the report says what the test cannot show", _says_what_is_left)
