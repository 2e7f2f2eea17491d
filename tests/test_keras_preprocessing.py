"""Tokenizer, pad_sequences and the helpers of utils give what Keras gives, or a helpful error."""

from __future__ import annotations

import importlib
import json
import random

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from lmcourse.data import load_corpus, load_spam
from lmcourse.keras import utils
from lmcourse.keras.preprocessing import sequence, text
from lmcourse.keras.preprocessing.sequence import pad_sequences
from lmcourse.keras.preprocessing.text import Tokenizer, text_to_word_sequence, tokenizer_from_json
from tests.keras_reference import keras

# Keras 3 keeps its tokenizer for old programs, where `import keras` does not reach it.
keras_text = importlib.import_module("keras.src.legacy.preprocessing.text")

COUNTS = ("word_counts", "word_docs", "index_docs", "word_index", "index_word")
MODES = ["binary", "count", "freq", "tfidf"]

# A few letters, so that words recur; "İ" is two characters in lower case, "ﬁ" and "ß" stay.
STRINGS = st.text(st.sampled_from("aAbB'éß🙂İﬁ0 ,.-_\t\n\r\u00a0")) | st.text(max_size=8)
TEXTS = st.lists(STRINGS | st.lists(STRINGS, max_size=4), max_size=6)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "num_words": st.none() | st.integers(1, 8),
        "filters": st.sampled_from(["", "ab", ["b", "'"], "!,.\n"]),
        "lower": st.booleans(),
        "split": st.sampled_from([",", "ab", "\n"]),
        "char_level": st.booleans(),
        "oov_token": st.sampled_from([None, "<unk>", "a", ""]),
    },
)


@pytest.fixture(scope="module")
def alice():
    return [chapter.text for chapter in load_corpus("alice").chapters[:4]]


@pytest.fixture(scope="module")
def messages():
    return [text for part in load_spam() for text in part.texts[::6]]


def both(settings, texts):
    """Return our tokenizer and Keras's, fitted on the same texts."""
    ours, theirs = Tokenizer(**settings), keras_text.Tokenizer(**settings)
    for tokenizer in (ours, theirs):
        tokenizer.fit_on_texts(texts)
    return ours, theirs


def assert_same_counts(ours, theirs):
    assert ours.document_count == theirs.document_count
    for name in COUNTS:
        assert dict(getattr(ours, name)) == dict(getattr(theirs, name)), name
    assert list(ours.word_counts) == list(theirs.word_counts), "the order of first occurrence"
    assert list(ours.word_index) == list(theirs.word_index), "the order of ids"


def assert_same_results(ours, theirs, texts):
    sequences = ours.texts_to_sequences(texts)
    assert sequences == theirs.texts_to_sequences(texts)
    assert list(ours.texts_to_sequences_generator(iter(texts))) == sequences
    for ids in (sequences, [[0, 1, 2, 99], [], [3, 3]], pad_sequences(sequences, maxlen=3)):
        assert ours.sequences_to_texts(ids) == theirs.sequences_to_texts(ids)
    assert list(ours.sequences_to_texts_generator(sequences)) == ours.sequences_to_texts(sequences)


def assert_same_matrices(ours, theirs, texts):
    for mode in MODES:
        expected = theirs.texts_to_matrix(texts, mode)
        result = ours.texts_to_matrix(texts, mode)
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected)


# The tokenizer, on texts


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_words": 500, "oov_token": "<unk>"},
        {"num_words": 100},
        {"lower": False, "filters": "", "oov_token": "the"},
        {"char_level": True, "num_words": 30, "oov_token": "?"},
        {"split": "e", "filters": " "},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["alice", "messages"])
def test_texts_give_what_keras_gives(request, name, settings):
    texts = request.getfixturevalue(name)
    ours, theirs = both(settings, texts[: len(texts) // 2])
    assert_same_counts(ours, theirs)
    assert_same_results(ours, theirs, texts)
    assert_same_matrices(ours, theirs, texts[-20:])


@given(SETTINGS, TEXTS, TEXTS, TEXTS)
@example({"oov_token": "a"}, ["b b a"], ["a c"], ["a b c"])
@example({"num_words": 1}, ["a"], [], ["a", []])
@example({"char_level": True, "oov_token": "b"}, ["ab", ["A", "bb"]], [""], ["cab"])
@example({"lower": False}, ["İ İ i̇"], [["İ"]], ["i̇"])
def test_any_texts_give_what_keras_gives(settings, texts, more, new):
    ours, theirs = both(settings, texts)
    assert_same_counts(ours, theirs)
    for tokenizer in (ours, theirs):
        tokenizer.fit_on_texts(more)  # adds to what was counted
    assert_same_counts(ours, theirs)
    if not ours.document_count:
        return  # without a vocabulary we raise, Keras does not
    assert_same_results(ours, theirs, new)
    if ours.num_words or ours.word_index:
        assert_same_matrices(ours, theirs, new)
    copy, their_copy = tokenizer_from_json(ours.to_json()), tokenizer_from_json(theirs.to_json())
    for restored in (copy, their_copy, keras_text.tokenizer_from_json(ours.to_json())):
        assert_same_counts(restored, theirs)
        assert restored.texts_to_sequences(new) == theirs.texts_to_sequences(new)
    parsed, expected = json.loads(ours.to_json())["config"], json.loads(theirs.to_json())["config"]
    for name in COUNTS:
        parsed[name], expected[name] = json.loads(parsed[name]), json.loads(expected[name])
    assert parsed == expected


@given(
    STRINGS,
    st.sampled_from([text.FILTERS, "", "aé"]),
    st.booleans(),
    st.sampled_from([" ", "b", "..."]),
)
def test_text_to_word_sequence_gives_what_keras_gives(string, filters, lower, split):
    expected = keras_text.text_to_word_sequence(string, filters, lower, split)
    assert text_to_word_sequence(string, filters, lower, split) == expected


def test_defaults_are_those_of_keras():
    string = "It's a\twell-known\nfact; isn't_it?\u00a0Yes"
    assert text_to_word_sequence(string) == keras_text.text_to_word_sequence(string)
    assert keras_text.Tokenizer().filters == Tokenizer().filters == text.FILTERS


@given(
    st.lists(st.lists(st.integers(0, 12), max_size=6), max_size=5),
    st.lists(st.lists(st.integers(0, 12), max_size=6), min_size=1, max_size=4),
    st.integers(1, 10),
)
def test_sequences_are_counted_as_keras_counts_them(sequences, others, num_words):
    ours, theirs = Tokenizer(num_words), keras_text.Tokenizer(num_words)
    for tokenizer in (ours, theirs):
        tokenizer.fit_on_sequences(sequences)
    assert ours.document_count == theirs.document_count
    assert dict(ours.index_docs) == dict(theirs.index_docs)
    for mode in MODES if sequences else MODES[:3]:
        expected = theirs.sequences_to_matrix(others, mode)
        np.testing.assert_array_equal(ours.sequences_to_matrix(others, mode), expected)


def test_an_analyzer_cuts_texts_but_not_lists():
    settings = {"analyzer": lambda string: string.split("|"), "lower": False}
    ours, theirs = both(settings, ["A|b|A", ["c|d"]])
    assert ours.word_index == {"A": 1, "b": 2, "c|d": 3}
    assert_same_counts(ours, theirs)
    assert_same_results(ours, theirs, ["b|c", ["A"]])


def test_a_restored_tokenizer_goes_on_counting():
    """Keras's own fails here with a KeyError."""
    first, second = Tokenizer(), Tokenizer()
    for tokenizer in (first, second):
        tokenizer.fit_on_texts(["a b a"])
    second = tokenizer_from_json(second.to_json(indent=1))
    for tokenizer in (first, second):
        tokenizer.fit_on_texts(["c a"])
    assert_same_counts(first, second)


def test_the_json_of_a_tokenizer_is_always_the_same():
    """Keras's depends on the hash of strings."""
    texts = ["one two three four five", "six seven eight nine ten"]
    tokenizer = both({}, texts)[0]
    assert list(tokenizer.word_docs) == " ".join(texts).split()


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: t.fit_on_texts("a b"), TypeError, r"texts must be a list .*; say \['a b'\]"),
        (
            lambda t: t.texts_to_sequences("ab"),
            TypeError,
            r"texts must be a list of texts, got one",
        ),
        (lambda t: t.fit_on_texts(["a", 3]), TypeError, r"texts\[1\] must be a string or a list"),
        (lambda t: t.fit_on_texts([("a", "b")]), TypeError, r"texts\[0\] must .* got tuple"),
        (lambda t: t.fit_on_texts([["a", None]]), TypeError, r"texts\[0\]\[1\] must be a string"),
        (lambda t: t.texts_to_matrix(["a"], "tf"), ValueError, r"mode must be one of .* got 'tf'"),
        (lambda t: t.sequences_to_matrix([[1, -1]]), ValueError, r"-1 at sequences\[0\]\[1\]"),
        (
            lambda t: t.sequences_to_texts([[-2]]),
            ValueError,
            r"negative, got -2 at seq.*\[0\]\[0\]",
        ),
        (lambda t: t.sequences_to_texts([[0.5]]), TypeError, r"sequences\[0\] must hold integer"),
        (lambda t: t.sequences_to_texts([1, 2]), ValueError, r"sequences\[0\] must have 1 axis"),
        (lambda t: t.fit_on_sequences([[1], [None]]), TypeError, r"sequences\[1\] must hold int"),
        (lambda t: Tokenizer(split="").fit_on_texts(["a"]), ValueError, "split must not be empty"),
    ],
)
def test_wrong_texts_and_sequences_are_named(call, error, message):
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts(["a b"])
    before = tokenizer.to_json()
    with pytest.raises(error, match=message):
        call(tokenizer)
    assert tokenizer.to_json() == before, "nothing was counted"


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_words": 0}, ValueError, "num_words must be an integer >= 1, got 0"),
        ({"num_words": 10.0}, TypeError, "num_words must be an integer, got float 10.0"),
        ({"filters": ["ab"]}, ValueError, "filters must hold single characters, got 'ab'"),
        ({"split": 3}, TypeError, "split must be a string, got int 3"),
        ({"oov_token": 1}, TypeError, "oov_token must be a string, got int 1"),
        ({"analyzer": "word"}, TypeError, "analyzer must be a function, got str"),
        ({"document_count": -1}, ValueError, "document_count must be an integer >= 0, got -1"),
        ({"nb_word": 3}, TypeError, "nb_word"),
    ],
)
def test_wrong_settings_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        Tokenizer(**settings)


@pytest.mark.wrong_input
def test_a_tokenizer_without_a_vocabulary_says_so():
    with pytest.raises(ValueError, match="no vocabulary; call fit_on_texts first"):
        Tokenizer().texts_to_sequences(["a"])
    with pytest.raises(ValueError, match="no vocabulary; call fit_on_texts first"):
        Tokenizer(oov_token="<unk>").sequences_to_texts([[1]])
    with pytest.raises(ValueError, match="give num_words or call fit_on_texts"):
        Tokenizer(document_count=3).sequences_to_matrix([[1]])
    with pytest.raises(ValueError, match="mode 'tfidf' needs counted documents"):
        Tokenizer(num_words=3).sequences_to_matrix([[1]], "tfidf")


@pytest.mark.wrong_input
@pytest.mark.parametrize("json_string", ["", "{", "[]", "{}", '{"config": {"num_words": 3}}'])
def test_json_of_something_else_is_refused(json_string):
    with pytest.raises(ValueError, match=r"json_string must be what Tokenizer\.to_json returns"):
        tokenizer_from_json(json_string)
    with pytest.raises(TypeError, match="json_string must be a string, got NoneType"):
        tokenizer_from_json(None)


# pad_sequences

SIDE = st.sampled_from(["pre", "post"])


@given(
    st.lists(st.lists(st.integers(-1000, 1000), max_size=6), min_size=1, max_size=5),
    st.none() | st.integers(1, 8),
    st.sampled_from(["int32", "int64", np.int16, "float32", np.float64, object]),
    SIDE,
    SIDE,
    st.integers(-9, 9),
)
@example([[]], None, "int32", "pre", "pre", 0)
@example([[1, 2], []], 1, "int32", "post", "pre", 0)
def test_any_sequences_are_padded_as_keras_pads_them(rows, maxlen, dtype, padding, cut, value):
    expected = keras.utils.pad_sequences(rows, maxlen, dtype, padding, cut, value)
    result = pad_sequences(rows, maxlen, dtype, padding, cut, value)
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([[1], [2, 3], [4, 5, 6]], {}),
        ([(1, 2), np.array([3, 4, 5])], {"maxlen": 2}),
        (np.arange(12).reshape(3, 4), {"maxlen": 3, "truncating": "post"}),
        ([[[1, 2]], [[3, 4], [5, 6]], []], {"value": -1}),
        ([np.ones((2, 3)), np.zeros((4, 3))], {"dtype": "float32", "value": 0.5, "maxlen": 3}),
        ([["a"], ["bcd", "e"]], {"dtype": object, "value": "<pad>", "padding": "post"}),
        ([["a"], ["bcd", "e"]], {"dtype": "<U5", "value": "<pad>"}),
        ([[True], [False, True]], {"dtype": "bool"}),
        ([[1.0, 2.0], [3.0]], {}),
        ([], {"maxlen": 3}),
    ],
    ids=repr,
)
def test_other_sequences_are_padded_as_keras_pads_them(rows, options):
    expected = keras.utils.pad_sequences(rows, **options)
    result = pad_sequences(rows, **options)
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(result, expected)


def test_messages_are_padded_as_keras_pads_them(messages):
    tokenizer = Tokenizer(num_words=2000)
    tokenizer.fit_on_texts(messages)
    ids = tokenizer.texts_to_sequences(messages)
    for options in ({}, {"maxlen": 20}, {"maxlen": 9, "padding": "post", "truncating": "post"}):
        np.testing.assert_array_equal(
            pad_sequences(ids, **options), keras.utils.pad_sequences(ids, **options)
        )


def test_padding_is_where_keras_has_it():
    assert sequence.pad_sequences is utils.pad_sequences is pad_sequences


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        ([[0.5]], {}, ValueError, r"sequences\[0\] must fit into dtype int32, got \[0.5\]"),
        ([[1], ["a"]], {}, ValueError, r"sequences\[1\] must fit into dtype int32, got \['a'\]"),
        ([["12"]], {}, ValueError, r"sequences\[0\] must fit into dtype int32"),
        ([[2**40]], {}, ValueError, r"sequences\[0\] must fit into dtype int32"),
        (np.array([[2**40]]), {}, ValueError, r"sequences\[0\] must fit into dtype int32"),
        (np.array([[np.nan]]), {}, ValueError, r"sequences\[0\] must fit into dtype int32"),
        ([[[1], [2, 3]]], {}, ValueError, r"sequences\[0\] must fit into dtype int32"),
        ([[1]], {"value": 0.5}, ValueError, "value must fit into dtype int32, got 0.5"),
        ([[1]], {"value": "<pad>"}, ValueError, "value must fit into dtype int32, got '<pad>'"),
        ([[1]], {"value": -1, "dtype": "uint8"}, ValueError, "value must fit into dtype uint8"),
        ([[[1]], [[1, 2]]], {}, ValueError, r"sequences\[1\] must have steps of shape \(1,\)"),
        ([[1], 2], {}, TypeError, r"sequences\[1\] must be a list or an array, got int 2"),
        (["abc"], {"dtype": object}, TypeError, r"sequences\[0\] must be a list .* got str 'abc'"),
        (iter([[1]]), {}, TypeError, "sequences must be a list or an array, got list_iterator"),
        ([], {}, ValueError, "maxlen must be given where sequences is empty"),
        ([[1]], {"maxlen": 0}, ValueError, "maxlen must be an integer >= 1, got 0"),
        ([[1]], {"maxlen": 2.0}, TypeError, "maxlen must be an integer, got float 2.0"),
        ([[1]], {"padding": "left"}, ValueError, "padding must be one of 'pre', 'post', got"),
        ([], {"maxlen": 1, "truncating": "end"}, ValueError, "truncating must be one of"),
    ],
)
def test_what_cannot_be_padded_is_named(rows, options, error, message):
    with pytest.raises(error, match=message):
        pad_sequences(rows, **options)


# utils


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=6)
    | st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=1), min_size=1, max_size=4)
    | st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2), min_size=1, max_size=4)
    | st.integers(0, 9),
    st.none() | st.just(10),
)
def test_one_hot_rows_are_those_of_keras(x, num_classes):
    expected = keras.utils.to_categorical(x, num_classes)
    result = utils.to_categorical(x, num_classes)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1, -1],), ValueError, r"x must not be negative, got -1 at x\[1\]"),
        (([1, 3], 3), ValueError, r"x must lie in \[0, 3\), got 3 at x\[1\]"),
        (([0.5],), TypeError, "x must hold integer"),
        (([],), ValueError, "x must hold at least one"),
        (([1], 0), ValueError, "num_classes must be an integer >= 1, got 0"),
    ],
)
def test_wrong_classes_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        utils.to_categorical(*arguments)


def test_a_seed_sets_what_keras_sets():
    def draw(set_random_seed):
        set_random_seed(11)
        return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        assert draw(utils.set_random_seed) == draw(keras.utils.set_random_seed)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


@pytest.mark.wrong_input
def test_a_wrong_seed_is_named():
    with pytest.raises(TypeError, match=r"seed must be an integer, got float 0\.5"):
        utils.set_random_seed(0.5)
    with pytest.raises(ValueError, match="seed must be an integer >= 0 and <= 4294967295, got -1"):
        utils.set_random_seed(-1)
