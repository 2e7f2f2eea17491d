"""GPT-2's tokenizer against Hugging Face's, and its files against those that OpenAI published."""

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tokenizers as hf
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPT2TokenizerFast

from lmcourse.data import load_corpus
from lmcourse.gpt2.tokenizer import END_OF_TEXT, GPT2Tokenizer, TokenStream, spell, unspell

# OpenAI's vocab.bpe and encoder.json, which the hub's gpt2 calls merges.txt and vocab.json.
PUBLISHED = {
    "merges.txt": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "vocab.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
}
SENTENCE = "It is a truth, «naïve» 🙂👩‍👩‍👧 \\\n\x00" * 3


def is_settled(character: str) -> bool:
    """Characters that came into Unicode lately are letters to one library and not to another."""
    return unicodedata.category(character) not in ("Cn", "Cs")


def is_private(character: str) -> bool:
    return unicodedata.category(character) == "Co"


def batched(items: Sequence, n: int) -> list[Sequence]:
    return [items[i : i + n] for i in range(0, len(items), n)]


settled_text = st.text().filter(lambda text: all(map(is_settled, text)))
# Few different letters, so that pairs overlap and counts tie; and characters of several bytes.
repetitive = st.text(alphabet="aab\n 'é🙂", max_size=60)
marked = st.lists(st.one_of(settled_text, st.just(END_OF_TEXT))).map("".join)


@pytest.fixture(scope="module")
def gpt2() -> GPT2Tokenizer:
    return GPT2Tokenizer.from_pretrained("gpt2")


@pytest.fixture(scope="module")
def folder(gpt2, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2")
    gpt2.save(folder)
    return folder


@pytest.fixture(scope="module")
def reference(folder) -> GPT2TokenizerFast:
    """transformers' tokenizer, from the published files."""
    assert {file: digest(folder / file) for file in PUBLISHED} == PUBLISHED
    return GPT2TokenizerFast.from_pretrained(folder)


@pytest.fixture(scope="module")
def small() -> GPT2Tokenizer:
    return GPT2Tokenizer.train(SENTENCE, 300)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def trained_by_hugging_face(documents: list[str], vocab_size: int) -> tuple[dict, list]:
    other = hf.Tokenizer(hf.models.BPE())
    other.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = hf.trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(),
    )
    other.train_from_iterator(documents, trainer)
    return other.get_vocab(), json.loads(other.to_str())["model"]["merges"]


# --- the vocabulary that ships ---


def test_the_files_are_those_that_openai_published(gpt2, folder):
    assert {file: digest(folder / file) for file in PUBLISHED} == PUBLISHED
    assert gpt2.vocab_size == len(gpt2.tokens) == len(set(gpt2.tokens)) == 50257
    assert len(gpt2.merges) == 50000


def test_ids_that_everyone_knows(gpt2):
    assert gpt2.encode("Hello world").tolist() == [15496, 995]
    assert gpt2.encode(" Hello  world").tolist() == [18435, 220, 995]
    assert gpt2.eos_token_id == 50256
    assert gpt2.token_bytes(50256) == b"<|endoftext|>"
    assert gpt2.token_bytes(np.int64(262)) == b" the"
    assert gpt2.tokens[198] == r"\n"
    assert gpt2.byte_order[:2] == b'!"' and gpt2.byte_order[220] == ord(" ")


def test_all_sizes_share_the_vocabulary(gpt2):
    assert GPT2Tokenizer.from_pretrained("openai-community/gpt2-xl").merges == gpt2.merges


# --- against Hugging Face ---


@pytest.mark.parametrize("name", ["alice", "austen", "moby-dick", "shakespeare"])
def test_a_corpus_gets_hugging_faces_ids_and_comes_back(gpt2, reference, name):
    texts = [chapter.text for chapter in load_corpus(name).chapters]
    text = END_OF_TEXT.join(texts)
    ids = gpt2.encode(text, allowed_special="all")
    assert ids.dtype == np.int64
    assert gpt2.decode(ids) == text
    ends = np.flatnonzero(ids == gpt2.eos_token_id)
    ours = [part[part != gpt2.eos_token_id].tolist() for part in np.split(ids, ends)]
    theirs = reference.backend_tokenizer.encode_batch_fast(texts)
    assert ours == [encoding.ids for encoding in theirs]


def test_every_character_gets_hugging_faces_ids(gpt2, reference):
    characters = [c for c in map(chr, range(0x110000)) if is_settled(c) and not is_private(c)]
    assert len(characters) > 140_000
    texts = ["".join(f"a{c}1{c} {c}\n" for c in row) for row in batched(characters, 200)]
    theirs = reference.backend_tokenizer.encode_batch_fast(texts)
    assert [gpt2.encode(text).tolist() for text in texts] == [e.ids for e in theirs]


@given(settled_text)
def test_any_text_gets_hugging_faces_ids(gpt2, reference, text):
    assert gpt2.encode(text).tolist() == reference(text).input_ids


@given(marked)
def test_the_mark_between_documents_is_special_only_when_asked_for(gpt2, reference, text):
    special = reference(text).input_ids
    plain = reference(text, split_special_tokens=True).input_ids
    assert gpt2.encode(text).tolist() == plain
    assert gpt2.encode(text, allowed_special={END_OF_TEXT}).tolist() == special
    assert gpt2.encode(text, allowed_special="all").tolist() == special
    assert gpt2.decode(special) == gpt2.decode(plain) == text
    assert gpt2.decode(special, skip_special_tokens=True) == text.replace(END_OF_TEXT, "")


@given(st.text())
def test_any_text_comes_back(gpt2, small, text):
    assert gpt2.decode(gpt2.encode(text)) == text
    assert small.decode(small.encode(text)) == text


# Bytes and rare tokens are the low and the high ids.
@given(st.lists(st.one_of(st.integers(0, 255), st.integers(0, 50256), st.just(50256))))
def test_any_ids_are_decoded_as_hugging_face_does(gpt2, reference, ids):
    for skip in (False, True):
        ours = gpt2.decode(ids, skip_special_tokens=skip)
        assert ours == reference.decode(
            ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False
        )


def test_empty_text_has_no_tokens(gpt2):
    for allowed in ((), "all"):
        ids = gpt2.encode("", allowed_special=allowed)
        assert ids.shape == (0,) and ids.dtype == np.int64
    assert gpt2.decode([]) == gpt2.decode(ids, skip_special_tokens=True) == ""
    assert gpt2.encode(END_OF_TEXT, allowed_special="all").tolist() == [50256]


# --- one id at a time ---


@given(st.lists(st.one_of(st.integers(0, 255), st.integers(0, 50256), st.just(50256))))
def test_a_stream_gives_what_decoding_the_whole_gives(gpt2, ids):
    for skip in (False, True):
        stream = gpt2.stream(skip_special_tokens=skip)
        for text in (ids, ids[:3]):  # flushing makes it fresh
            streamed = "".join(map(stream.push, text)) + stream.flush()
            assert streamed == gpt2.decode(text, skip_special_tokens=skip)


@given(st.text(alphabet=st.characters(exclude_characters="\ufffd", exclude_categories=["Cs"])))
def test_a_stream_never_gives_half_a_character_nor_holds_a_whole_one_back(small, text):
    stream = small.stream()
    seen, given = b"", ""
    for id in small.encode(text):
        seen += small.token_bytes(id)
        given += stream.push(id)
        assert given == seen.decode("utf-8", errors="ignore")
    assert given == text
    assert stream.flush() == ""


def test_a_character_spread_over_tokens_comes_with_its_last_byte(gpt2):
    ids = gpt2.encode("a🙂b")
    assert len(ids) > 3
    stream = gpt2.stream()
    assert isinstance(stream, TokenStream)
    assert [stream.push(id) for id in ids] == ["a", *[""] * (len(ids) - 3), "🙂", "b"]
    assert stream.push(ids[1]) == ""
    assert stream.flush() == "\ufffd"
    assert stream.push(ids[0]) == "a"


# --- training ---


def test_training_learns_hugging_faces_merges():
    documents = [chapter.text for chapter in load_corpus("moby-dick").chapters]
    tokenizer = GPT2Tokenizer.train(END_OF_TEXT.join(documents), 4096)
    vocabulary, merges = trained_by_hugging_face(documents, 4095)
    assert tokenizer.vocab_size == 4096 and tokenizer.eos_token_id == 4095
    assert [[spell(left), spell(right)] for left, right in tokenizer.merges] == merges
    assert {spell(token): i for i, token in enumerate(tokenizer.vocabulary[:-1])} == vocabulary


@given(st.lists(repetitive, min_size=1, max_size=3))
def test_training_breaks_ties_as_hugging_face_does(documents):
    tokenizer = GPT2Tokenizer.train(END_OF_TEXT.join([*documents, "ab"]), 300)
    _, merges = trained_by_hugging_face([*documents, "ab"], 299)
    assert [[spell(left), spell(right)] for left, right in tokenizer.merges] == merges


def test_nothing_is_learned_across_documents_nor_from_the_mark():
    tokenizer = GPT2Tokenizer.train(f"ab{END_OF_TEXT}cd{END_OF_TEXT}", 1000)
    assert tokenizer.vocabulary[256:] == (b"ab", b"cd", b"<|endoftext|>")
    assert GPT2Tokenizer.train("x", 257).vocab_size == 257


# --- how bytes are written ---


def test_bytes_are_written_as_gpt2_writes_them():
    assert spell(b" caf\xc3\xa9\n\x00\xad") == "ĠcafÃ©ĊĀŃ"
    alphabet = spell(bytes(range(256)))
    assert unspell(alphabet) == bytes(range(256))
    assert sorted(alphabet) == sorted(hf.pre_tokenizers.ByteLevel.alphabet())
    assert unspell("".join(sorted(alphabet))) == GPT2Tokenizer.byte_order


@given(st.binary())
def test_written_bytes_are_read_again(token):
    assert unspell(spell(token)) == token


@pytest.mark.wrong_input
def test_characters_that_stand_for_no_byte_are_named():
    with pytest.raises(ValueError, match=r"256 characters .* got ' ' at spelled\[1\]"):
        unspell("a b")


# --- files ---


def test_a_saved_tokenizer_loads_as_it_was(small, tmp_path):
    small.save(tmp_path / "new" / "folder")
    loaded = GPT2Tokenizer.load(tmp_path / "new" / "folder")
    assert loaded.vocabulary == small.vocabulary and loaded.merges == small.merges
    np.testing.assert_array_equal(loaded.encode(SENTENCE), small.encode(SENTENCE))
    files = sorted(file.name for file in (tmp_path / "new" / "folder").iterdir())
    assert files == ["merges.txt", "vocab.json"]


def test_a_folder_is_read_with_or_without_what_follows_from_the_merges(small, tmp_path):
    small.save(tmp_path)
    merges = (tmp_path / "merges.txt").read_text("utf-8")
    (tmp_path / "vocab.json").unlink()
    for text in (merges, merges.partition("\n")[2], merges.rstrip("\n"), merges + "\n"):
        (tmp_path / "merges.txt").write_text(text, "utf-8")
        assert GPT2Tokenizer.from_pretrained(tmp_path).vocabulary == small.vocabulary


def test_transformers_reads_what_we_write_and_we_read_what_it_writes(small, tmp_path):
    small.save(tmp_path / "ours")
    theirs = GPT2TokenizerFast.from_pretrained(tmp_path / "ours")
    text = SENTENCE + END_OF_TEXT
    assert theirs(text).input_ids == small.encode(text, allowed_special="all").tolist()
    assert theirs.eos_token_id == small.eos_token_id and len(theirs) == small.vocab_size
    theirs.save_pretrained(tmp_path / "theirs")
    assert not (tmp_path / "theirs" / "merges.txt").exists()  # they write tokenizer.json alone
    assert GPT2Tokenizer.load(tmp_path / "theirs").vocabulary == small.vocabulary


def test_merges_of_an_older_tokenizer_json_are_pairs_in_one_string(small, tmp_path):
    state = {
        "added_tokens": [{"id": small.eos_token_id, "content": END_OF_TEXT}],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "model": {
            "type": "BPE",
            "vocab": {spell(token): i for i, token in enumerate(small.vocabulary[:-1])},
            "merges": [f"{spell(left)} {spell(right)}" for left, right in small.merges],
        },
    }
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(state))
    assert GPT2Tokenizer.load(tmp_path).vocabulary == small.vocabulary
    for change in (
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}},
        {"model": state["model"] | {"type": "WordPiece"}},
    ):
        path.write_text(json.dumps(state | change))
        with pytest.raises(ValueError, match=r"tokenizer.json does not .* GPT-2's byte-level BPE"):
            GPT2Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("merges.txt", "t h\nt", r"line 2: expected two tokens, got \['t'\]"),
        ("merges.txt", "#version: 0.2\nt h e", r"line 2: expected two tokens"),
        ("merges.txt", "t \n", r"line 1: expected two tokens"),
        ("merges.txt", "t h\nth …", r"line 2: spelled must hold .* got '…'"),
        ("merges.txt", "th e", r"merges\[0\] must join tokens made before it, got b'th'"),
        ("merges.txt", "t h\nt h", r"merges\[1\] must make a new token, got b'th' again"),
        ("vocab.json", "{", "Expecting"),
        ("vocab.json", "[]", r"expected an object of ids, got \[\]"),
        ("vocab.json", "{}", "expected GPT-2's order of ids, in which '!' is 0, got None"),
    ],
)
@pytest.mark.wrong_input
def test_files_that_hold_something_else_are_refused(small, file, content, message, tmp_path):
    small.save(tmp_path)
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        GPT2Tokenizer.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / file} does not hold a GPT2Tokenizer: ")


@pytest.mark.wrong_input
def test_other_ids_than_those_of_the_merges_are_refused(small, tmp_path):
    small.save(tmp_path)
    path = tmp_path / "vocab.json"
    ids = json.loads(path.read_text())
    path.write_text(json.dumps(ids | {"<|pad|>": 500}))
    with pytest.raises(ValueError, match=rf"expected {len(ids)} tokens, got more: \['<\|pad\|>'\]"):
        GPT2Tokenizer.load(tmp_path)
    path.write_text(json.dumps({token: i + 1 for token, i in ids.items()} | {END_OF_TEXT: 0}))
    with pytest.raises(ValueError, match="in which '!' is 0, got 1"):
        GPT2Tokenizer.load(tmp_path)


@pytest.mark.wrong_input
def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gpt-2 is no folder; .*lmcourse-small, gpt2"):
        GPT2Tokenizer.from_pretrained("gpt-2")
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        GPT2Tokenizer.load(tmp_path)


# --- wrong input ---


@pytest.mark.parametrize(("text", "place"), [("\ud800", 0), ("ab\udfff", 2), ("🙂\ude42", 1)])
@pytest.mark.wrong_input
def test_lone_surrogates_are_refused(small, text, place):
    named = rf"text must be valid Unicode, got the lone surrogate U\+D\w+ at text\[{place}\]"
    with pytest.raises(ValueError, match=named):
        small.encode(text)
    with pytest.raises(ValueError, match=named):
        small.encode(text, allowed_special="all")
    with pytest.raises(ValueError, match=named):
        GPT2Tokenizer.train(text, 300)


@pytest.mark.wrong_input
def test_wrong_arguments_are_named(small):
    size = small.vocab_size
    with pytest.raises(ValueError, match="vocab_size must be an integer >= 257, got 256"):
        GPT2Tokenizer.train("ab", 256)
    with pytest.raises(ValueError, match="text must not be empty"):
        GPT2Tokenizer.train("", 300)
    for allowed in ((), "all"):
        with pytest.raises(TypeError, match="text must be a string, got bytes"):
            small.encode(b"ab", allowed_special=allowed)
    with pytest.raises(ValueError, match=r"may hold only '<\|endoftext\|>', got '<\|pad\|>'"):
        small.encode("ab", allowed_special={"<|pad|>"})
    with pytest.raises(TypeError, match="must be 'all' or a collection of strings"):
        small.encode("ab", allowed_special=END_OF_TEXT)
    for skip in (False, True):
        with pytest.raises(ValueError, match=rf"ids must lie in \[0, {size}\), got {size}"):
            small.decode([0, size], skip_special_tokens=skip)
    for call in (small.token_bytes, small.stream().push):
        with pytest.raises(
            ValueError, match=rf"id must be an integer .* <= {size - 1}, got {size}"
        ):
            call(size)
        with pytest.raises(ValueError, match=r"id must be an integer >= 0 .* got -1"):
            call(-1)
        with pytest.raises(TypeError, match="id must be an integer, got float"):
            call(1.0)
    with pytest.raises(ValueError, match=r"merges must not make <\|endoftext\|>"):
        GPT2Tokenizer(
            [(END_OF_TEXT[:i].encode(), END_OF_TEXT[i : i + 1].encode()) for i in range(1, 13)]
        )
