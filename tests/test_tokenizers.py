"""Tokenizers against Hugging Face `tokenizers`, against their own definitions, and round trips."""

import json
import re
import unicodedata
from collections import Counter

import numpy as np
import pytest
import tokenizers as hf
from hypothesis import given
from hypothesis import strategies as st

from lmcourse import tokenizers
from lmcourse.data import load_corpus
from lmcourse.tokenizers import (
    BPETokenizer,
    CharacterTokenizer,
    WordTokenizer,
    apply_merges,
    count_pairs,
    learn_merges,
    learn_merges_reference,
    merge_pair,
    split_pieces,
    split_words,
)

KINDS = [CharacterTokenizer, WordTokenizer, BPETokenizer]
LONE_SURROGATES = [("\ud800", 0), ("ab\udfff", 2), ("🙂\ude42", 1)]

# Few different letters, so that pairs overlap and counts tie.
repetitive = st.text(alphabet="aab\n '", max_size=60)
# Letters that became letters after the other library was released would be cut differently.
settled_text = st.text().filter(
    lambda text: all(unicodedata.ucd_3_2_0.category(c) not in ("Cn", "Cs") for c in text)
)


@pytest.fixture(scope="module")
def austen() -> str:
    return load_corpus("austen").text


@pytest.fixture(scope="module")
def bpe(austen) -> BPETokenizer:
    return BPETokenizer.train(austen, 4096)


@pytest.fixture(scope="module")
def hf_bpe(bpe) -> hf.Tokenizer:
    """Hugging Face's byte-level BPE with the same merges and the same ids."""
    characters = gpt2_characters()
    vocabulary = ["".join(characters[b] for b in token) for token in bpe.vocabulary]
    merges = [tuple("".join(characters[b] for b in part) for part in m) for m in bpe.merges]
    model = hf.models.BPE(vocab={token: i for i, token in enumerate(vocabulary)}, merges=merges)
    tokenizer = hf.Tokenizer(model)
    tokenizer.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = hf.decoders.ByteLevel()
    return tokenizer


def gpt2_characters() -> dict[int, str]:
    """How byte-level BPE writes each byte: as itself, or if that is invisible from U+0100."""
    visible = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in visible]
    return {b: chr(b) for b in visible} | {b: chr(256 + i) for i, b in enumerate(others)}


def words_of(text: str) -> tuple[list[bytes], list[int]]:
    counts = Counter(split_pieces(text))
    return [piece.encode() for piece in counts], list(counts.values())


# --- the pieces of byte-pair encoding ---


def test_pieces_are_cut_as_gpt2_cuts_them():
    text = "It's  4 o'clock,\n\n  she'll say:\t«naïve» №7"
    pieces = ["It", "'s", " ", " 4", " o", "'", "clock", ",", "\n\n ", " she", "'ll", " say", ":"]
    assert split_pieces(text) == [*pieces, "\t", "«", "naïve", "»", " №", "7"]
    contractions = ["I", "'m", "I", "'d", "we", "'re", "I", "'ve", "don", "'t", "o", "'", "er"]
    assert split_pieces("".join(contractions)) == contractions


@given(settled_text)
def test_pieces_equal_hugging_faces_on_any_text(text):
    ours, end = [], 0
    for piece in split_pieces(text):
        ours.append((end, end + len(piece)))
        end += len(piece)
    pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert ours == [span for _, span in pre_tokenizer.pre_tokenize_str(text)]


@given(st.text())
def test_pieces_join_to_the_text(text):
    assert "".join(split_pieces(text)) == text


# --- words ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Don’t, he'd said 3 times; 'tis naïve.",
            ["don't", "he'd", "said", "times", "tis", "naïve"],
        ),
        ("the 'dogs' of o'clock's o''er", ["the", "dogs", "of", "o'clock's", "o", "er"]),
        ("‘I’ll go,’ said she", ["i'll", "go", "said", "she"]),
        ("well-known _very_ low—high 4th", ["well", "known", "very", "low", "high", "th"]),
        ("ÉCOLE École e\u0301cole Straße Ёж ΣΟΦΟΣ", ["école"] * 3 + ["straße", "ёж", "σοφος"]),
        ("m\u0304\u0301x \u0301x İ", ["m\u0304\u0301x", "x", "i\u0307"]),
        ("", []),
        ("12 ... '’ \u0301", []),
    ],
)
def test_words_are_letters_with_apostrophes_inside(text, words):
    assert split_words(text) == words


@given(settled_text)
def test_words_are_split_into_themselves_and_hold_every_letter(text):
    words = split_words(text)
    assert split_words(" ".join(words)) == words
    lower = unicodedata.normalize("NFC", text.lower())
    letters = [c for c in lower if unicodedata.category(c).startswith("L")]
    assert [c for word in words for c in word if c.isalpha()] == letters


def test_words_of_ascii_text_are_those_of_a_shorter_definition(austen):
    text = austen.encode("ascii", "replace").decode()
    assert split_words(text) == re.findall(r"[a-z]+(?:'[a-z]+)*", text.lower())


@pytest.mark.wrong_input
def test_wrong_text_to_split_into_words_is_named():
    with pytest.raises(TypeError, match="text must be a string, got bytes"):
        split_words(b"ab")
    with pytest.raises(ValueError, match=r"lone surrogate U\+D800 at text\[2\]"):
        split_words("ab\ud800")


def test_count_pairs_weighs_words_and_counts_overlaps():
    assert count_pairs([b"aab", b"aaa", b"b"], [2, 5, 9]) == {(97, 97): 12, (97, 98): 2}


def test_merge_pair_goes_from_left_to_right():
    assert merge_pair(b"aaabdaaabac", (97, 97), 256) == [256, 97, 98, 100, 256, 97, 98, 97, 99]
    assert merge_pair([1, 2, 1], (1, 2), 256) == [256, 1]
    assert merge_pair([1, 1, 1, 1, 1], (1, 1), 2) == [2, 2, 1]
    assert merge_pair([], (1, 1), 2) == []


def test_merges_of_the_textbook_example():
    """Of Sennrich et al. (2016): low ×5, lower ×2, newest ×6, widest ×3."""
    merges = learn_merges_reference([b"low", b"lower", b"newest", b"widest"], [5, 2, 6, 3], 5)
    vocabulary = [bytes([b]) for b in range(256)]
    for left, right in merges:
        vocabulary.append(vocabulary[left] + vocabulary[right])
    # es and st tie at 9, and e < s; we counts 8 until es takes its e; lo, ow and low count 7.
    assert vocabulary[256:] == [b"es", b"est", b"lo", b"low", b"ew"]


@given(repetitive, st.integers(0, 40))
def test_both_tiers_learn_the_same_merges(text, n_merges):
    words = words_of(text)
    assert learn_merges(*words, n_merges) == learn_merges_reference(*words, n_merges)


def test_both_tiers_learn_the_same_merges_from_a_chapter():
    words = words_of(load_corpus("austen").chapters[0].text)
    merges = learn_merges(*words, 300)
    assert merges == learn_merges_reference(*words, 300)
    assert len(merges) == 300


def test_training_learns_hugging_faces_merges(austen, bpe):
    """BpeTrainer numbers the alphabet by code point, so bytes go in as characters in that order."""
    pieces = ["".join(chr(0x100 + b) for b in piece.encode()) for piece in split_pieces(austen)]
    other = hf.Tokenizer(hf.models.BPE())
    trainer = hf.trainers.BpeTrainer(
        vocab_size=4096,
        show_progress=False,
        initial_alphabet=[chr(0x100 + b) for b in range(256)],
    )
    other.pre_tokenizer = hf.pre_tokenizers.Split("\n", "removed")
    other.train_from_iterator(["\n".join(pieces)], trainer)

    tokens = sorted(other.get_vocab().items(), key=lambda item: item[1])
    assert bpe.vocabulary == tuple(bytes(ord(c) - 0x100 for c in token) for token, _ in tokens)
    merges = json.loads(other.to_str())["model"]["merges"]
    assert bpe.merges == [
        tuple(bytes(ord(c) - 0x100 for c in part) for part in merge) for merge in merges
    ]


def test_training_stops_when_no_pair_is_left():
    tokenizer = BPETokenizer.train("abab ab", 1000)
    assert tokenizer.vocabulary[256:] == (b"ab", b" ab", b"abab")
    assert BPETokenizer.train("x", 256).vocab_size == 256


# --- encoding ---


def test_the_corpus_gets_hugging_faces_ids(austen, bpe, hf_bpe):
    ids = bpe.encode(austen)
    np.testing.assert_array_equal(ids, hf_bpe.encode(austen).ids)
    assert ids.dtype == np.int64
    assert bpe.decode(ids) == austen


@given(settled_text)
def test_any_text_gets_hugging_faces_ids(bpe, hf_bpe, text):
    assert bpe.encode(text).tolist() == hf_bpe.encode(text).ids


@given(repetitive, st.text(alphabet="aab", max_size=60))
def test_encoding_applies_the_merges_in_their_order(training_text, piece):
    tokenizer = BPETokenizer.train(training_text + " ", 290)
    merges = learn_merges(*words_of(training_text + " "), 34)
    assert tokenizer.encode(piece).tolist() == apply_merges(piece.encode(), merges)


def test_a_long_piece_is_encoded_by_the_same_rule(bpe):
    letters = np.random.default_rng(0).choice(list("etaoinshrdlu"), 2000)
    ids = {token: i for i, token in enumerate(bpe.vocabulary)}
    merges = [(ids[left], ids[right]) for left, right in bpe.merges]
    piece = "".join(letters)
    assert bpe.encode(piece).tolist() == apply_merges(piece.encode(), merges)


def test_the_cache_changes_nothing_and_stays_small(bpe, austen, monkeypatch):
    text = austen[:20_000]
    expected = bpe.encode(text).tolist()
    fresh = BPETokenizer(bpe.merges)
    monkeypatch.setattr(tokenizers._PieceCache, "MOST", 10)
    monkeypatch.setattr(tokenizers._PieceCache, "LONGEST", 4)
    assert fresh.encode(text).tolist() == expected == fresh.encode(text).tolist()
    assert len(fresh._pieces) == 10
    assert max(map(len, fresh._pieces)) <= 4


@given(st.text())
def test_bpe_gives_any_text_back(bpe, text):
    assert bpe.decode(bpe.encode(text)) == text


@given(st.lists(st.integers(0, 4095)))
def test_bpe_decodes_any_ids_as_hugging_face_does(bpe, hf_bpe, ids):
    decoded = bpe.decode(ids)
    assert decoded == b"".join(bpe.vocabulary[i] for i in ids).decode("utf-8", errors="replace")
    assert decoded == hf_bpe.decode(ids)


def test_bytes_that_are_not_utf8_become_replacement_characters(bpe):
    assert bpe.decode([0xE2, 0x82]) == "\ufffd"
    assert bpe.decode([0x61, 0xFF, 0x61]) == "a\ufffda"
    assert bpe.decode([0xE2, 0x82, 0xAC]) == "€"


@given(st.text(min_size=1), st.text())
def test_characters_give_their_text_back(training_text, text):
    tokenizer = CharacterTokenizer.train(training_text, unknown="\ufffd")
    assert tokenizer.decode(tokenizer.encode(training_text)) == training_text
    known = "".join(c if c in training_text else "\ufffd" for c in text)
    assert tokenizer.decode(tokenizer.encode(text)) == known


def test_characters_are_numbered_in_their_sorted_order():
    tokenizer = CharacterTokenizer.train("banana 🙂")
    assert tokenizer.vocabulary == (" ", "a", "b", "n", "🙂")
    assert tokenizer.encode("nab 🙂").tolist() == [3, 1, 2, 0, 4]


@given(st.text(min_size=1), st.text())
def test_words_give_their_text_back(training_text, text):
    tokenizer = WordTokenizer.train(training_text)
    assert tokenizer.decode(tokenizer.encode(training_text)) == training_text
    pieces = split_pieces(text)
    known = [piece if piece in tokenizer.words else "<unk>" for piece in pieces]
    assert tokenizer.decode(tokenizer.encode(text)) == "".join(known)


def test_words_are_numbered_by_frequency_then_spelling():
    text = "It is, it is; it was. <unk>"
    tokenizer = WordTokenizer.train(text)
    assert tokenizer.vocabulary[:3] == ("<unk>", " is", " it")
    assert tokenizer.vocabulary[3:] == (" <", " was", ",", ".", ";", ">", "It", "unk")
    assert WordTokenizer.train(text, min_count=2).words == [" is", " it"]
    assert WordTokenizer.train(text, vocab_size=2).words == [" is"]
    assert WordTokenizer.train(text, vocab_size=2).encode("It is").tolist() == [0, 1]


def test_corpus_comes_back_from_characters_and_words(austen):
    for tokenizer in (CharacterTokenizer.train(austen), WordTokenizer.train(austen)):
        ids = tokenizer.encode(austen)
        assert tokenizer.decode(ids) == austen
        assert ids.min() >= 0 and ids.max() == tokenizer.vocab_size - 1


@pytest.mark.parametrize("kind", KINDS)
def test_empty_text_has_no_tokens(kind, bpe):
    tokenizer = bpe if kind is BPETokenizer else kind.train("a")
    ids = tokenizer.encode("")
    assert ids.shape == (0,) and ids.dtype == np.int64
    assert tokenizer.decode(ids) == tokenizer.decode([]) == ""


# --- printable names ---


def test_printable_names():
    bpe = BPETokenizer([(b"\xc2", b"\xa0"), (b"\xe2", b"\x82"), (b"\xe2\x82", b"\xac")])
    names = [bpe.tokens[i] for i in (0x41, 0x20, 0x0A, 0x00, 0x5C, 0xE2, 0xA0, 256, 257, 258)]
    expected = ["A", " ", r"\n", r"\x00", r"\\", r"\xe2", r"\xa0", r"\u00a0", r"\xe2\x82", "€"]
    assert names == expected
    characters = CharacterTokenizer("a\n\\\u200b\U000e0001")
    assert characters.tokens == ["a", r"\n", r"\\", r"\u200b", r"\U000e0001"]


@given(st.sets(st.binary(min_size=1, max_size=6), max_size=20))
def test_printable_names_are_printable_and_differ(strings):
    names = [tokenizers._printable(string) for string in strings]
    assert all(name.isprintable() for name in names)
    assert len(set(names)) == len(strings)


def test_names_of_the_whole_vocabulary_differ(bpe):
    assert len(bpe.tokens) == len(set(bpe.tokens)) == bpe.vocab_size == 4096


# --- files ---


def trained(kind, text="It is a truth, «naïve» \\ 🙂\n\x00"):
    if kind is BPETokenizer:
        return kind.train(text * 3, 290)
    return kind.train(text)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_loads_as_it_was(kind, tmp_path):
    tokenizer = trained(kind)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    loaded = kind.load(path)
    assert loaded.vocabulary == tokenizer.vocabulary
    text = "It is «naïve» 🙂\n"
    np.testing.assert_array_equal(loaded.encode(text), tokenizer.encode(text))
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]


def test_the_unknown_character_is_saved(tmp_path):
    CharacterTokenizer.train("ab", unknown="?").save(tmp_path / "tokenizer.json")
    assert CharacterTokenizer.load(tmp_path / "tokenizer.json").encode("x").tolist() == [0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "Expecting value"),
        ("\ufeff{}", "BOM"),
        ("[" * 100_000, "recursion"),
        ("[]", 'expected an object with "tokenizer": "BPETokenizer"'),
        ('{"tokenizer": "WordTokenizer", "words": []}', '"tokenizer": "BPETokenizer"'),
        ('{"tokenizer": "BPETokenizer"}', r"expected the keys \['merges'\], got \[\]"),
        ('{"tokenizer": "BPETokenizer", "merges": [], "x": 1}', "got .*'x'"),
        ('{"tokenizer": "BPETokenizer", "merges": "th"}', "merges must be a list, got 'th'"),
        ('{"tokenizer": "BPETokenizer", "merges": [["t", "h"], ["e"]]}', r"merges\[1\] must be a"),
        ('{"tokenizer": "BPETokenizer", "merges": [["t", "€"]]}', r"merges\[0\].*U\+00FF"),
        ('{"tokenizer": "BPETokenizer", "merges": [["t", 1]]}', r"merges\[0\] must be a pair"),
        ('{"tokenizer": "BPETokenizer", "merges": [["th", "e"]]}', r"merges\[0\].*made before it"),
    ],
)
@pytest.mark.wrong_input
def test_files_that_hold_something_else_are_refused(content, message, tmp_path):
    path = tmp_path / "broken.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        BPETokenizer.load(path)
    assert str(caught.value).startswith(f"{path} does not hold a BPETokenizer: ")


@pytest.mark.wrong_input
def test_files_of_the_other_tokenizers_are_checked_too(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text('{"tokenizer": "WordTokenizer", "words": ["a", 1]}')
    with pytest.raises(ValueError, match=r"words\[1\] must be a string, got int 1"):
        WordTokenizer.load(path)
    path.write_text('{"tokenizer": "CharacterTokenizer", "characters": "aba", "unknown": null}')
    with pytest.raises(ValueError, match=r"got 'a' again at characters\[2\]"):
        CharacterTokenizer.load(path)
    path.write_text('{"tokenizer": "CharacterTokenizer", "characters": "\\ud800", "unknown": null}')
    with pytest.raises(ValueError, match="lone surrogate"):
        CharacterTokenizer.load(path)
    with pytest.raises(FileNotFoundError):
        BPETokenizer.load(tmp_path / "missing.json")


# --- wrong input ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("text", "place"), LONE_SURROGATES)
@pytest.mark.wrong_input
def test_lone_surrogates_are_refused(kind, text, place, bpe):
    tokenizer = bpe if kind is BPETokenizer else kind.train("ab")
    named = rf"text must be valid Unicode, got the lone surrogate U\+D\w+ at text\[{place}\]"
    with pytest.raises(ValueError, match=named):
        tokenizer.encode(text)
    with pytest.raises(ValueError, match=named):
        kind.train(text, 300) if kind is BPETokenizer else kind.train(text)


@given(st.text(), st.characters(categories=["Cs"]), st.text())
def test_a_lone_surrogate_is_refused_wherever_it_stands(bpe, before, surrogate, after):
    with pytest.raises(ValueError, match=rf"at text\[{len(before)}\]"):
        bpe.encode(before + surrogate + after)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.wrong_input
def test_wrong_arguments_are_named(kind, bpe):
    tokenizer = bpe if kind is BPETokenizer else kind.train("ab")
    size = tokenizer.vocab_size
    options = (300,) if kind is BPETokenizer else ()
    with pytest.raises(ValueError, match="text must not be empty"):
        kind.train("", *options)
    for text in (b"ab", None, ["a"]):
        with pytest.raises(TypeError, match="text must be a string, got"):
            kind.train(text, *options)
        with pytest.raises(TypeError, match="text must be a string, got"):
            tokenizer.encode(text)
    with pytest.raises(ValueError, match=rf"ids must lie in \[0, {size}\), got {size} at ids\[1\]"):
        tokenizer.decode([0, size])
    with pytest.raises(ValueError, match=r"ids must lie in .* got -1 at ids\[0\]"):
        tokenizer.decode(np.array([-1]))
    with pytest.raises(TypeError, match="ids must hold integer token ids, got list"):
        tokenizer.decode([0.0])
    with pytest.raises(ValueError, match="ids must have 1 axis, got shape"):
        tokenizer.decode(np.zeros((2, 2), dtype=int))


@pytest.mark.wrong_input
def test_wrong_arguments_of_characters():
    with pytest.raises(ValueError, match=r"characters of the vocabulary, got 'é' at text\[3\]"):
        CharacterTokenizer.train("caf").encode("café é")
    with pytest.raises(ValueError, match="unknown must be a single character, got '<unk>'"):
        CharacterTokenizer.train("ab", unknown="<unk>")
    with pytest.raises(ValueError, match="unknown must be one of the characters, got 'c'"):
        CharacterTokenizer("ab", unknown="c")
    with pytest.raises(ValueError, match="unknown must be one of the characters, got 'ab'"):
        CharacterTokenizer("ab", unknown="ab")
    with pytest.raises(ValueError, match="characters must not be empty"):
        CharacterTokenizer("")


@pytest.mark.wrong_input
def test_wrong_arguments_of_words():
    with pytest.raises(ValueError, match="min_count must be an integer >= 1, got 0"):
        WordTokenizer.train("a", min_count=0)
    with pytest.raises(ValueError, match="vocab_size must be an integer >= 1, got 0"):
        WordTokenizer.train("a", vocab_size=0)
    with pytest.raises(TypeError, match="vocab_size must be an integer, got float"):
        WordTokenizer.train("a", vocab_size=2.0)
    with pytest.raises(ValueError, match=r"got 'a' again at words\[1\]"):
        WordTokenizer(["a", "a"])
    with pytest.raises(ValueError, match=r"words must not hold <unk>"):
        WordTokenizer(["<unk>"])
    with pytest.raises(ValueError, match=r"words\[0\] must not be empty"):
        WordTokenizer([""])
    with pytest.raises(TypeError, match="words must be a sequence of strings, got 'ab'"):
        WordTokenizer("ab")


@pytest.mark.wrong_input
def test_wrong_arguments_of_bpe():
    with pytest.raises(ValueError, match="vocab_size must be an integer >= 256, got 255"):
        BPETokenizer.train("a", 255)
    with pytest.raises(TypeError, match="vocab_size must be an integer, got str '300'"):
        BPETokenizer.train("a", "300")
    with pytest.raises(TypeError, match="merges must be a sequence of pairs of bytes, got b'th'"):
        BPETokenizer(b"th")
    with pytest.raises(TypeError, match=r"merges\[0\] must be a pair of bytes, got \('t', 'h'\)"):
        BPETokenizer([("t", "h")])
    with pytest.raises(ValueError, match=r"merges\[1\] must join tokens made before it, got b'ab'"):
        BPETokenizer([(b"a", b"c"), (b"ab", b"c")])
    with pytest.raises(ValueError, match=r"merges\[3\] must make a new token, got b'abc' again"):
        BPETokenizer([(b"a", b"b"), (b"b", b"c"), (b"ab", b"c"), (b"a", b"bc")])
    for learn in (learn_merges, learn_merges_reference):
        with pytest.raises(ValueError, match="n_merges must be an integer >= 0, got -1"):
            learn([b"ab"], [1], -1)
        with pytest.raises(ValueError, match="shorter"):
            learn([b"ab", b"cd"], [1], 1)
