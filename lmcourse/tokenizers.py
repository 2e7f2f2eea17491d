"""Three ways to turn a text into integers and back: characters, words and byte pairs.

All three are used alike: ``train`` builds a vocabulary from a text, ``encode`` gives a numpy array
of token ids, ``decode`` gives the text back.

For byte-pair encoding the module holds two tiers. ``learn_merges_reference`` and ``apply_merges``
are the definition, in as few lines as it takes; `BPETokenizer` learns with ``learn_merges`` and
encodes with a heap and a cache, which give the same merges and the same ids sooner.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import regex
from jaxtyping import Int

from lmcourse import _arguments, _files

BYTES = 256
UNKNOWN_WORD = "<unk>"

# GPT-2's pattern, from the code that came with Radford et al. (2019): English contractions, then
# letters, digits or other marks with the space before them, then white space. The last space before
# a word is left to the word.
_PIECE = regex.compile(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
_WORD = regex.compile(r"\p{L}[\p{L}\p{M}]*(?:'\p{L}[\p{L}\p{M}]*)*")

Pair = tuple[int, int]
AnyTokenizer = TypeVar("AnyTokenizer", bound="_Tokenizer")


def split_pieces(text: str) -> list[str]:
    """Return ``text`` cut as GPT-2 does before byte-pair encoding: no token reaches across a cut.

    Joined, the pieces are ``text`` again: ``"It's 4 o'clock."`` gives ``"It"``, ``"'s"``, ``" 4"``,
    ``" o"``, ``"'"``, ``"clock"``, ``"."``.

    Raises:
        TypeError: ``text`` is not a string.
        ValueError: it holds a lone surrogate, which UTF-8 cannot encode; the message names its
            place.

    Source: Radford et al. (2019), "Language Models are Unsupervised Multitask Learners".
    """
    return _PIECE.findall(_arguments.text("text", text))


def split_words(text: str) -> list[str]:
    """Return the words of ``text`` in lower case, without what stands between them.

    A word is made of letters, of any script, and of apostrophes between letters: ``"Don’t, he'd
    said 3 times; 'tis naïve."`` gives ``"don't"``, ``"he'd"``, ``"said"``, ``"times"``, ``"tis"``,
    ``"naïve"``. Both apostrophes become ``'``, and a letter with its accent becomes one character
    if there is such a one (Unicode's form NFC), so that a word has one spelling.

    Raises:
        TypeError: ``text`` is not a string.
        ValueError: it holds a lone surrogate, which UTF-8 cannot encode; the message names its
            place.
    """
    text = _arguments.text("text", text).lower().replace("’", "'")
    # Interned: however often a word occurs, memory holds it once.
    return list(map(sys.intern, _WORD.findall(unicodedata.normalize("NFC", text))))


def count_pairs(words: Iterable[Sequence[int]], counts: Iterable[int]) -> Counter[Pair]:
    """Return the count of each pair of neighbouring ids; a word that occurs n times counts n times.

    Args:
        words: sequences of token ids.
        counts: how often each of them occurs.

    Raises:
        ValueError: there are more words than counts, or fewer.
    """
    pairs = Counter()
    for ids, count in zip(words, counts, strict=True):
        for pair in itertools.pairwise(ids):
            pairs[pair] += count
    return pairs


def merge_pair(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    """Return ``ids`` with each occurrence of ``pair`` replaced by ``new_id``, from left to right.

    Equation: eq-language-models-bpe-merge
    """
    left, right = pair
    merged = []
    i = 0
    while i < len(ids):
        if ids[i] == left and i + 1 < len(ids) and ids[i + 1] == right:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def learn_merges_reference(
    words: Sequence[bytes], counts: Sequence[int], n_merges: int
) -> list[Pair]:
    """Learn byte-pair merges: again and again, give the most frequent pair an id of its own.

    Of pairs that are equally frequent, the one with the smallest ids goes first. This is the
    definition; ``learn_merges`` finds the same merges without counting anew at every step.

    Equation: eq-language-models-bpe-merge

    Args:
        words: each different piece of the text, as its UTF-8 bytes.
        counts: how often each of them occurs.
        n_merges: how many merges to learn; fewer come back when no pair is left.

    Returns:
        The merges in the order in which they were learned; number ``i`` makes the id ``256 + i``.

    Raises:
        TypeError: ``n_merges`` is not an integer.
        ValueError: ``n_merges`` < 0, or there are more words than counts, or fewer.

    Source: Gage (1994), "A New Algorithm for Data Compression"; Sennrich, Haddow and Birch (2016),
    "Neural Machine Translation of Rare Words with Subword Units".
    """
    n_merges = _arguments.integer("n_merges", n_merges, at_least=0)
    merges = []
    while len(merges) < n_merges and (pairs := count_pairs(words, counts)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        words = [merge_pair(ids, best, BYTES + len(merges)) for ids in words]
        merges.append(best)
    return merges


def learn_merges(words: Sequence[bytes], counts: Sequence[int], n_merges: int) -> list[Pair]:
    """Learn what ``learn_merges_reference`` learns, recounting only the words that a merge changes.

    Pairs wait in a heap. Merging only takes occurrences away from the pairs that were there, and
    the pairs it creates all hold the new id. So a count in the heap is never too small: if it is
    out of date, the pair goes back with its count of now.

    Equation: eq-language-models-bpe-merge

    Args:
        words: each different piece of the text, as its UTF-8 bytes.
        counts: how often each of them occurs.
        n_merges: how many merges to learn; fewer come back when no pair is left.

    Returns:
        The merges in the order in which they were learned; number ``i`` makes the id ``256 + i``.

    Raises:
        TypeError: ``n_merges`` is not an integer.
        ValueError: ``n_merges`` < 0, or there are more words than counts, or fewer.
    """
    n_merges = _arguments.integer("n_merges", n_merges, at_least=0)
    words = [list(ids) for ids in words]
    pairs = count_pairs(words, counts)
    words_with = defaultdict(set)  # pair -> words that hold it, or held it once
    for index, ids in enumerate(words):
        for pair in itertools.pairwise(ids):
            words_with[pair].add(index)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)

    merges = []
    while heap and len(merges) < n_merges:
        negative_count, best = heapq.heappop(heap)
        if -negative_count != pairs[best]:
            if pairs[best]:
                heapq.heappush(heap, (-pairs[best], best))
            continue
        new_id = BYTES + len(merges)
        merges.append(best)
        created = set()
        for index in words_with.pop(best):
            before = words[index]
            after = words[index] = merge_pair(before, best, new_id)
            for pair in itertools.pairwise(before):
                pairs[pair] -= counts[index]
            for pair in itertools.pairwise(after):
                pairs[pair] += counts[index]
                if new_id in pair:
                    created.add(pair)
                    words_with[pair].add(index)
        for pair in created:
            heapq.heappush(heap, (-pairs[pair], pair))
    return merges


def apply_merges(ids: Sequence[int], merges: Iterable[Pair]) -> list[int]:
    """Return the bytes of one piece, ``ids``, with ``merges`` applied in the order of learning.

    This is the definition; `BPETokenizer.encode` gives the same ids without trying every merge.
    """
    for new_id, pair in enumerate(merges, start=BYTES):
        ids = merge_pair(ids, pair, new_id)
    return list(ids)


class _Tokenizer:
    """What the tokenizers share: the size and the names of the vocabulary, and files.

    A file holds the constructor's arguments, ``_fields``, which are attributes too.
    """

    _fields: tuple[str, ...]
    vocabulary: tuple[str, ...] | tuple[bytes, ...]

    @property
    def vocab_size(self) -> int:
        """Number of tokens; ids lie in ``[0, vocab_size)``."""
        return len(self.vocabulary)

    @property
    def tokens(self) -> list[str]:
        r"""A printable name for each id, no two alike.

        Characters that cannot be seen, and bytes that are no UTF-8 by themselves, are written as
        Python does (``\n``, ``\xe2``), and so is the backslash. Spaces stay spaces.
        """
        return [_printable(token) for token in self.vocabulary]

    def save(self, path: str | os.PathLike) -> None:
        """Write the tokenizer as JSON, for ``load``.

        Raises:
            OSError: the folder is missing or not writable.
        """
        state = {"tokenizer": type(self).__name__} | self._to_json()
        _files.write_text(path, json.dumps(state, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls: type[AnyTokenizer], path: str | os.PathLike) -> AnyTokenizer:
        """Read a tokenizer that ``save`` wrote.

        Raises:
            OSError: the file cannot be read.
            ValueError: it holds something else; the message says what is wrong.
        """
        try:
            state = json.loads(Path(path).read_text(encoding="utf-8"))
            if not isinstance(state, dict) or state.pop("tokenizer", None) != cls.__name__:
                raise ValueError(f'expected an object with "tokenizer": "{cls.__name__}"')
            if state.keys() != set(cls._fields):
                raise ValueError(f"expected the keys {list(cls._fields)}, got {list(state)}")
            return cls._from_json(state)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path} does not hold a {cls.__name__}: {error}") from error

    def _to_json(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in self._fields}

    @classmethod
    def _from_json(cls: type[AnyTokenizer], state: dict[str, Any]) -> AnyTokenizer:
        return cls(**state)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab_size={self.vocab_size})"


class CharacterTokenizer(_Tokenizer):
    """One token for each character (Unicode code point) of the training text."""

    _fields = ("characters", "unknown")

    def __init__(self, characters: str, *, unknown: str | None = None):
        """Number the characters from 0.

        Args:
            characters: the vocabulary, in the order of the ids.
            unknown: the one of ``characters`` that stands for all others; without it they are an
                error.

        Raises:
            TypeError: ``characters`` is not a string.
            ValueError: it is empty, holds a character twice, or does not hold ``unknown``.
        """
        characters = _arguments.text("characters", characters, allow_empty=False)
        _check_distinct("characters", characters)
        if unknown is not None and unknown not in list(characters):
            raise ValueError(f"unknown must be one of the characters, got {unknown!r}")
        self.characters = characters
        self.unknown = unknown
        self.vocabulary = tuple(characters)
        self._ids = {character: i for i, character in enumerate(characters)}

    @classmethod
    def train(cls, text: str, *, unknown: str | None = None) -> CharacterTokenizer:
        """Take the characters of ``text``, sorted by code point, and ``unknown`` if it is given.

        Args:
            text: the training text.
            unknown: a character to stand for those that ``text`` lacks, such as ``"\\ufffd"``.

        Raises:
            TypeError: ``text`` is not a string.
            ValueError: ``text`` is empty or ``unknown`` is not a single character.
        """
        text = _arguments.text("text", text, allow_empty=False)
        if unknown is not None and (not isinstance(unknown, str) or len(unknown) != 1):
            raise ValueError(f"unknown must be a single character, got {unknown!r}")
        return cls("".join(sorted({*text, *(unknown or "")})), unknown=unknown)

    def encode(self, text: str) -> Int[np.ndarray, " tokens"]:
        """Return each character's id.

        Raises:
            TypeError: ``text`` is not a string.
            ValueError: a character is not in the vocabulary, and there is no ``unknown``; the
                message names it and its place.
        """
        text = _arguments.text("text", text)
        fallback = self._ids.get(self.unknown, -1)
        ids = np.fromiter((self._ids.get(c, fallback) for c in text), np.int64, len(text))
        if fallback < 0 and (ids < 0).any():
            place = int(np.argmax(ids < 0))
            raise ValueError(
                f"text must hold only the {self.vocab_size} characters of the vocabulary, "
                f"got {text[place]!r} at text[{place}]"
            )
        return ids

    def decode(self, ids: Int[np.ndarray, " tokens"] | Sequence[int]) -> str:
        """Return the text: the one that was encoded, but for characters that became ``unknown``.

        Raises:
            TypeError: ``ids`` are not integers.
            ValueError: an id is not in the vocabulary.
        """
        return "".join(_look_up(self.vocabulary, ids))


class WordTokenizer(_Tokenizer):
    """One token for each frequent word, with the space before it, and each mark between words.

    The words are the pieces of ``split_pieces``, so that nothing of the text is lost between them;
    ``"It is, he said"`` is ``"It"``, ``" is"``, ``","``, ``" he"``, ``" said"``. Pieces outside the
    vocabulary become the token ``<unk>``, id 0: decoding gives the text back only where there are
    none.
    """

    _fields = ("words",)

    def __init__(self, words: Sequence[str]):
        """Number the words from 1; id 0 is ``<unk>``.

        Raises:
            TypeError: ``words`` is not a sequence of strings.
            ValueError: a word is empty, ``<unk>``, or there twice.
        """
        if isinstance(words, str) or not isinstance(words, Sequence):
            raise TypeError(f"words must be a sequence of strings, got {words!r:.60}")
        for i, word in enumerate(words):
            _arguments.text(f"words[{i}]", word, allow_empty=False)
            if word == UNKNOWN_WORD:
                raise ValueError(f"words must not hold {UNKNOWN_WORD}, which is there by itself")
        _check_distinct("words", words)
        self.words = list(words)
        self.vocabulary = (UNKNOWN_WORD, *words)
        self._ids = {word: i for i, word in enumerate(self.vocabulary)}

    @classmethod
    def train(
        cls, text: str, *, min_count: int = 1, vocab_size: int | None = None
    ) -> WordTokenizer:
        """Take the words of ``text``, the most frequent first, equally frequent ones sorted.

        Args:
            text: the training text.
            min_count: leave out words that occur less often.
            vocab_size: keep at most this many tokens, ``<unk>`` included.

        Raises:
            TypeError: ``text`` is not a string, or an option not an integer.
            ValueError: ``text`` is empty, ``min_count`` < 1 or ``vocab_size`` < 1.
        """
        text = _arguments.text("text", text, allow_empty=False)
        min_count = _arguments.integer("min_count", min_count, at_least=1)
        counts = Counter(split_pieces(text))
        words = sorted(
            (word for word, count in counts.items() if count >= min_count),
            key=lambda word: (-counts[word], word),
        )
        if vocab_size is not None:
            words = words[: _arguments.integer("vocab_size", vocab_size, at_least=1) - 1]
        return cls(words)

    def encode(self, text: str) -> Int[np.ndarray, " tokens"]:
        """Return each word's id, 0 for words that are not in the vocabulary.

        Raises:
            TypeError: ``text`` is not a string.
            ValueError: it holds a lone surrogate.
        """
        pieces = split_pieces(text)
        return np.fromiter((self._ids.get(p, 0) for p in pieces), np.int64, len(pieces))

    def decode(self, ids: Int[np.ndarray, " tokens"] | Sequence[int]) -> str:
        """Return the words, joined; id 0 gives ``<unk>``.

        Raises:
            TypeError: ``ids`` are not integers.
            ValueError: an id is not in the vocabulary.
        """
        return "".join(_look_up(self.vocabulary, ids))


class BPETokenizer(_Tokenizer):
    """Byte-level byte-pair encoding: frequent strings are one token, any text can be encoded.

    The first 256 ids are the bytes of UTF-8, the others the merges in the order in which they were
    learned. Text is cut by ``split_pieces`` first, so that no token reaches across words.

    Equation: eq-language-models-bpe-merge

    Attributes:
        byte_order: the 256 bytes in the order of their ids. A subclass may order them otherwise.
        merges: the pairs of byte strings that became tokens 256, 257, …
        vocabulary: the bytes that each id stands for.

    Source: Gage (1994), "A New Algorithm for Data Compression"; Sennrich, Haddow and Birch (2016),
    "Neural Machine Translation of Rare Words with Subword Units"; Radford et al. (2019), "Language
    Models are Unsupervised Multitask Learners", for bytes and the pattern.
    """

    byte_order = bytes(range(BYTES))
    _fields = ("merges",)

    def __init__(self, merges: Sequence[tuple[bytes, bytes]]):
        """Build the tokenizer from its merges.

        Raises:
            TypeError: ``merges`` is not a sequence of pairs of bytes.
            ValueError: a merge joins something that is no token yet, or makes a token that there is
                already; the message names the first such merge.
        """
        if isinstance(merges, (str, bytes)) or not isinstance(merges, Sequence):
            raise TypeError(f"merges must be a sequence of pairs of bytes, got {merges!r:.60}")
        vocabulary = [bytes([value]) for value in self.byte_order]
        ids = {token: i for i, token in enumerate(vocabulary)}
        new_ids = {}
        for i, merge in enumerate(merges):
            left, right = _checked_merge(f"merges[{i}]", merge)
            for part in (left, right):
                if part not in ids:
                    raise ValueError(f"merges[{i}] must join tokens made before it, got {part!r}")
            if left + right in ids:
                raise ValueError(f"merges[{i}] must make a new token, got {left + right!r} again")
            new_ids[ids[left], ids[right]] = ids[left + right] = len(vocabulary)
            vocabulary.append(left + right)
        self.merges = [tuple(merge) for merge in merges]
        self.vocabulary = tuple(vocabulary)
        self._pieces = _PieceCache(new_ids, self._byte_ids())

    @classmethod
    def train(cls, text: str, vocab_size: int) -> BPETokenizer:
        """Learn ``vocab_size - 256`` merges from ``text``.

        The same text gives the same merges, those of Hugging Face's ``BpeTrainer`` over the same
        pieces and byte ids: the most frequent pair first, of equally frequent ones that with the
        smallest ids. A text that runs out of pairs gives a smaller vocabulary.

        Equation: eq-language-models-bpe-merge

        Raises:
            TypeError: ``text`` is not a string or ``vocab_size`` not an integer.
            ValueError: ``text`` is empty or ``vocab_size`` < 256.
        """
        text = _arguments.text("text", text, allow_empty=False)
        n_merges = _arguments.integer("vocab_size", vocab_size, at_least=BYTES) - BYTES
        return cls(cls._learn(Counter(split_pieces(text)), n_merges))

    def encode(self, text: str) -> Int[np.ndarray, " tokens"]:
        """Return the ids of any text; ``decode`` gives it back exactly.

        Raises:
            TypeError: ``text`` is not a string.
            ValueError: it holds a lone surrogate, which UTF-8 cannot encode; the message names its
                place.
        """
        pieces = split_pieces(text)
        ids = itertools.chain.from_iterable(map(self._pieces.__getitem__, pieces))
        return np.fromiter(ids, np.int64)

    def decode(self, ids: Int[np.ndarray, " tokens"] | Sequence[int]) -> str:
        """Return the tokens' bytes, joined and read as UTF-8.

        Bytes that are no UTF-8, as in a character cut short, become U+FFFD, as in GPT-2.

        Raises:
            TypeError: ``ids`` are not integers.
            ValueError: an id is not in the vocabulary.
        """
        return b"".join(_look_up(self.vocabulary, ids)).decode("utf-8", errors="replace")

    @classmethod
    def _learn(cls, counts: Mapping[str, int], n_merges: int) -> list[tuple[bytes, bytes]]:
        """Learn merges from pieces and how often each occurs."""
        words = [piece.encode().translate(cls._byte_ids()) for piece in counts]
        vocabulary = [bytes([value]) for value in cls.byte_order]
        merges = []
        for left, right in learn_merges(words, list(counts.values()), n_merges):
            merges.append((vocabulary[left], vocabulary[right]))
            vocabulary.append(vocabulary[left] + vocabulary[right])
        return merges

    @classmethod
    def _byte_ids(cls) -> bytes:
        """Return each byte's id at its place: a table for `bytes.translate`."""
        return bytes(cls.byte_order.index(value) for value in range(BYTES))

    # JSON has no bytes: Latin-1 writes each byte as one character.
    def _to_json(self) -> dict[str, Any]:
        return {"merges": [[part.decode("latin-1") for part in merge] for merge in self.merges]}

    @classmethod
    def _from_json(cls, state: dict[str, Any]) -> BPETokenizer:
        if not isinstance(state["merges"], list):
            raise TypeError(f"merges must be a list, got {state['merges']!r:.60}")
        return cls([_from_latin_1(f"merges[{i}]", m) for i, m in enumerate(state["merges"])])


class _PieceCache(dict[str, list[int]]):
    """The ids of each piece, worked out when it is first asked for.

    A text has few different pieces, so nearly all of it is encoded by looking up. The limits keep
    a text that has many, or that has no spaces, from filling the memory.
    """

    LONGEST = 256
    MOST = 1 << 17

    def __init__(self, new_ids: Mapping[Pair, int], byte_ids: bytes):
        self.new_ids = new_ids
        self.byte_ids = byte_ids

    def __missing__(self, piece: str) -> list[int]:
        ids = _merge_in_order(piece.encode().translate(self.byte_ids), self.new_ids)
        if len(piece) <= self.LONGEST and len(self) < self.MOST:
            self[piece] = ids
        return ids


def _merge_in_order(ids: Sequence[int], new_ids: Mapping[Pair, int]) -> list[int]:
    """Do what ``apply_merges`` does in O(n log n): a heap holds the pairs that can merge.

    The pair with the smallest new id was learned first and goes first; among its occurrences the
    leftmost does. A merged pair lives on at its left place, and its right place becomes -1, which
    no pair holds.
    """
    end = len(ids)
    ids = [*ids, -1]  # the last place is the neighbour that both ends lack: ids[-1] is ids[end]
    before = list(range(-1, end))
    after = list(range(1, end + 1))
    heap = [
        (new_ids[pair], left)
        for left, pair in enumerate(itertools.pairwise(ids))
        if pair in new_ids
    ]
    heapq.heapify(heap)
    while heap:
        new_id, left = heapq.heappop(heap)
        right = after[left]
        if new_ids.get((ids[left], ids[right])) != new_id:
            continue  # another merge has taken one of the two
        ids[left], ids[right] = new_id, -1
        after[left] = after[right]
        before[after[left]] = left
        for place in (before[left], left):
            pair = (ids[place], ids[after[place]])
            if pair in new_ids:
                heapq.heappush(heap, (new_ids[pair], place))
    return [i for i in ids if i >= 0]


def _look_up(vocabulary: Sequence, ids: Any) -> list:
    ids = _arguments.token_ids("ids", ids, len(vocabulary), ndim=1, allow_empty=True)
    return [vocabulary[i] for i in ids.tolist()]


def _check_distinct(name: str, items: Sequence[str]) -> None:
    seen = set()
    for i, item in enumerate(items):
        if item in seen:
            raise ValueError(f"{name} must be distinct, got {item!r} again at {name}[{i}]")
        seen.add(item)


def _checked_merge(name: str, merge: Any) -> tuple[bytes, bytes]:
    match merge:
        case (bytes(), bytes()):
            return tuple(merge)
    raise TypeError(f"{name} must be a pair of bytes, got {merge!r:.60}")


def _from_latin_1(name: str, merge: Any) -> tuple[bytes, bytes]:
    match merge:
        case [str(left), str(right)] if max(left + right, default="") <= "\xff":
            return left.encode("latin-1"), right.encode("latin-1")
    raise TypeError(f"{name} must be a pair of strings up to U+00FF, got {merge!r:.60}")


def _printable(token: str | bytes) -> str:
    if isinstance(token, bytes):
        text = token.replace(b"\\", b"\\\\").decode("utf-8", errors="backslashreplace")
    else:
        text = token.replace("\\", "\\\\")
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    r"""Write U+00A0 as ``\u00a0``: ``\xa0`` is the byte."""
    if character.isascii():
        return character.encode("unicode_escape").decode()
    return f"\\u{ord(character):04x}" if character <= "\uffff" else f"\\U{ord(character):08x}"
