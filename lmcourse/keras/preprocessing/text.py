"""Keras's `Tokenizer`: words, or characters, by falling frequency; the most frequent has id 1."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from lmcourse import _arguments

FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
"""What separates words besides ``split``: the punctuation of ASCII but for ', tab and newline."""

MODES = ("binary", "count", "freq", "tfidf")
"""What the cells of a matrix can hold; see `Tokenizer.sequences_to_matrix`."""

_Ids = Sequence[int] | Int[np.ndarray, "_"]


def text_to_word_sequence(
    input_text: str, filters: Iterable[str] = FILTERS, lower: bool = True, split: str = " "
) -> list[str]:
    """Cut a text into words.

    Args:
        input_text: the text.
        filters: characters that are replaced by ``split`` before the text is cut.
        lower: put the text into lower case first.
        split: where the text is cut. Carriage returns and white space beyond ASCII are cut nowhere.

    Returns:
        The words, none of them empty: ``["it's", "a", "well", "known", "fact"]`` of
        ``"It's a well-known fact."``

    Raises:
        TypeError: ``input_text`` or ``split`` is not a string.
        ValueError: ``split`` is empty, or ``filters`` holds something else than single characters.
    """
    text = _arguments.text("input_text", input_text)
    _arguments.text("split", split, allow_empty=False)
    separators = str.maketrans(dict.fromkeys(_characters(filters), split))
    if lower:
        text = text.lower()
    return [word for word in text.translate(separators).split(split) if word]


class Tokenizer:
    """Numbers words by how often they occur in the texts it was fitted on.

    Id 0 belongs to no word: it is left for padding. ``oov_token``, if given, has id 1. The words
    follow, the most frequent first, and of equally frequent ones the one that came first.

    A text is a string, which `text_to_word_sequence` cuts into words, or a list of words, which is
    taken as it is but for ``lower``.

    Attributes:
        word_counts: how often each word occurred, in the order of first occurrence.
        word_docs: in how many texts each word occurred.
        word_index: the id of each word, however large ``num_words`` is.
        index_word: the word of each id.
        index_docs: in how many texts the word of each id occurred.
        document_count: how many texts, or sequences, there were.
    """

    def __init__(
        self,
        num_words: int | None = None,
        filters: Iterable[str] = FILTERS,
        lower: bool = True,
        split: str = " ",
        char_level: bool = False,
        oov_token: str | None = None,
        analyzer: Callable[[str], Sequence[str]] | None = None,
        document_count: int = 0,
    ):
        """Make a tokenizer without a vocabulary.

        Args:
            num_words: only ids below this one are given out, so ``num_words - 1`` words are used,
                ``oov_token`` among them; None for all.
            filters: characters that separate words, like ``split``.
            lower: put texts into lower case.
            split: the separator of words.
            char_level: let every character be a word; filters do not count then.
            oov_token: stands for words that are unknown or beyond ``num_words``; None leaves them
                out.
            analyzer: cuts a string into words in place of `text_to_word_sequence`; it is not among
                what `to_json` writes.
            document_count: number of texts already seen.

        Raises:
            TypeError: ``num_words`` or ``document_count`` is not an integer, ``split`` or
                ``oov_token`` is not a string, or ``analyzer`` cannot be called.
            ValueError: ``num_words`` is below 1, ``document_count`` below 0, or ``filters`` holds
                something else than single characters.
        """
        if num_words is not None:
            num_words = _arguments.integer("num_words", num_words, at_least=1)
        if oov_token is not None:
            _arguments.text("oov_token", oov_token)
        if analyzer is not None and not callable(analyzer):
            raise TypeError(f"analyzer must be a function, got {type(analyzer).__name__}")
        self.num_words = num_words
        self.filters = _characters(filters)
        self.lower = lower
        self.split = _arguments.text("split", split)
        self.char_level = char_level
        self.oov_token = oov_token
        self.analyzer = analyzer
        self.document_count = _arguments.integer("document_count", document_count, at_least=0)
        self.word_counts: Counter[str] = Counter()
        self.word_docs: Counter[str] = Counter()
        self.index_docs: Counter[int] = Counter()
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}

    def fit_on_texts(self, texts: Iterable[str | list[str]]) -> None:
        """Count the words of ``texts`` and number them; a second call adds to the counts.

        Raises:
            TypeError: ``texts`` is a single string, or a text is neither a string nor a list of
                strings. Nothing is counted then.
        """
        counts: Counter[str] = Counter()
        docs: Counter[str] = Counter()
        number = 0
        for words in self._cut(texts):
            number += 1
            counts.update(words)
            docs.update(list(dict.fromkeys(words)))  # each word once, in the order of the text
        self.document_count += number
        self.word_counts.update(counts)
        self.word_docs.update(docs)

        reserved = [] if self.oov_token is None else [self.oov_token]
        vocabulary = reserved + [word for word, _ in self.word_counts.most_common()]
        self.word_index = {word: index for index, word in enumerate(vocabulary, start=1)}
        self.index_word = {index: word for word, index in self.word_index.items()}
        for word, count in self.word_docs.items():
            self.index_docs[self.word_index[word]] = count

    def fit_on_sequences(self, sequences: Iterable[_Ids]) -> None:
        """Count in how many of the ``sequences`` each id occurs, for ``mode="tfidf"``.

        Raises:
            TypeError: a sequence holds something else than integers.
            ValueError: an id is negative.
        """
        docs: Counter[int] = Counter()
        number = 0
        for ids in _id_lists(sequences):
            number += 1
            docs.update(set(ids))
        self.document_count += number
        self.index_docs.update(docs)

    def texts_to_sequences(self, texts: Iterable[str | list[str]]) -> list[list[int]]:
        """Return the ids of each text's words.

        A word that is unknown or beyond ``num_words`` becomes the id of ``oov_token``, and is left
        out if there is none.

        Raises:
            TypeError: ``texts`` is a single string, or a text is neither a string nor a list of
                strings.
            ValueError: there is no vocabulary yet.
        """
        return list(self.texts_to_sequences_generator(texts))

    def texts_to_sequences_generator(self, texts: Iterable[str | list[str]]) -> Iterator[list[int]]:
        """Yield what `texts_to_sequences` returns for ``texts``, one text at a time.

        Raises:
            TypeError: as `texts_to_sequences`.
            ValueError: as `texts_to_sequences`.
        """
        self._check_vocabulary()
        unknown = self.word_index.get(self.oov_token)
        for words in self._cut(texts):
            ids = (self._within(self.word_index.get(word), unknown) for word in words)
            yield [index for index in ids if index is not None]

    def sequences_to_texts(self, sequences: Iterable[_Ids]) -> list[str]:
        """Return the words of the ids in each of ``sequences``, joined by spaces.

        An id without a word (0, the padding, among them) or beyond ``num_words`` becomes
        ``oov_token``, and is left out if there is none.

        Raises:
            TypeError: a sequence holds something else than integers.
            ValueError: there is no vocabulary yet, or an id is negative.
        """
        return list(self.sequences_to_texts_generator(sequences))

    def sequences_to_texts_generator(self, sequences: Iterable[_Ids]) -> Iterator[str]:
        """Yield what `sequences_to_texts` returns for ``sequences``, one at a time.

        Raises:
            TypeError: as `sequences_to_texts`.
            ValueError: as `sequences_to_texts`.
        """
        self._check_vocabulary()
        unknown = self.word_index.get(self.oov_token)
        for ids in _id_lists(sequences):
            named = (index if index in self.index_word else None for index in ids)
            within = (self._within(index, unknown) for index in named)
            yield " ".join(self.index_word[index] for index in within if index is not None)

    def texts_to_matrix(
        self, texts: Iterable[str | list[str]], mode: str = "binary"
    ) -> Float64[np.ndarray, "texts ids"]:
        """Return a matrix with a row for each text; see `sequences_to_matrix`.

        Args:
            texts: strings or lists of words.
            mode: ``"binary"``, ``"count"``, ``"freq"`` or ``"tfidf"``.

        Raises:
            TypeError: ``texts`` is a single string, or a text is neither a string nor a list of
                strings.
            ValueError: there is no vocabulary yet, or no such ``mode``.
        """
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode=mode)

    def sequences_to_matrix(
        self, sequences: Iterable[_Ids], mode: str = "binary"
    ) -> Float64[np.ndarray, "sequences ids"]:
        """Return a matrix with a row for each sequence and a column for each id, from 0.

        Args:
            sequences: lists of ids; those from the matrix's width on are left out.
            mode: what a cell holds, where id j occurs c times in the sequence: ``"binary"`` 1,
                ``"count"`` c, ``"freq"`` c over the sequence's length, ``"tfidf"``
                (1 + log c) log(1 + documents / (1 + documents with id j)).

        Returns:
            The matrix, of ``num_words`` columns, or if that is None of one more than there are
            words.

        Raises:
            TypeError: a sequence holds something else than integers.
            ValueError: an id is negative, there is no such ``mode``, there is neither ``num_words``
                nor a vocabulary, or ``mode`` is ``"tfidf"`` and no document was counted.
        """
        _arguments.one_of("mode", mode, MODES)
        if not self.num_words and not self.word_index:
            raise ValueError("the matrix has no width; give num_words or call fit_on_texts first")
        if mode == "tfidf" and not self.document_count:
            raise ValueError("mode 'tfidf' needs counted documents; call fit_on_texts first")
        width = self.num_words or len(self.word_index) + 1
        rows = list(_id_lists(sequences))
        matrix = np.zeros((len(rows), width))
        for row, ids in zip(matrix, rows, strict=True):
            for index, count in Counter(i for i in ids if i < width).items():
                row[index] = self._weight(mode, index, count, len(ids))
        return matrix

    def get_config(self) -> dict[str, Any]:
        """Return the settings and, each as a string of JSON, the counts and numbers of words."""
        return {
            "num_words": self.num_words,
            "filters": self.filters,
            "lower": self.lower,
            "split": self.split,
            "char_level": self.char_level,
            "oov_token": self.oov_token,
            "document_count": self.document_count,
            "word_counts": json.dumps(self.word_counts),
            "word_docs": json.dumps(self.word_docs),
            "index_docs": json.dumps(self.index_docs),
            "index_word": json.dumps(self.index_word),
            "word_index": json.dumps(self.word_index),
        }

    def to_json(self, **kwargs: Any) -> str:
        """Return the tokenizer as JSON, which `tokenizer_from_json` and Keras read.

        Args:
            **kwargs: what `json.dumps` takes, such as ``indent=2``.
        """
        return json.dumps({"class_name": "Tokenizer", "config": self.get_config()}, **kwargs)

    def _cut(self, texts: Iterable[str | list[str]]) -> Iterator[Sequence[str]]:
        """Yield the words of each text."""
        if isinstance(texts, str):
            raise TypeError(f"texts must be a list of texts, got one string; say [{texts!r:.40}]")
        for number, text in enumerate(texts):
            yield self._words(f"texts[{number}]", text)

    def _words(self, name: str, text: str | list[str]) -> Sequence[str]:
        if isinstance(text, list):
            words = [_arguments.text(f"{name}[{i}]", word) for i, word in enumerate(text)]
            return [word.lower() for word in words] if self.lower else words
        if not isinstance(text, str):
            raise TypeError(
                f"{name} must be a string or a list of strings, got "
                f"{type(text).__name__} {text!r:.60}"
            )
        if self.char_level:
            return text.lower() if self.lower else text
        if self.analyzer is not None:
            return list(self.analyzer(text))
        return text_to_word_sequence(text, self.filters, self.lower, self.split)

    def _within(self, index: int | None, unknown: int | None) -> int | None:
        """Return ``index``, or ``unknown`` where there is none or it is beyond ``num_words``."""
        if index is None or (self.num_words and index >= self.num_words):
            return unknown
        return index

    def _weight(self, mode: str, index: int, count: int, length: int) -> float:
        if mode == "binary":
            return 1
        if mode == "count":
            return count
        if mode == "freq":
            return count / length
        inverse = np.log(1 + self.document_count / (1 + self.index_docs[index]))
        return (1 + np.log(count)) * inverse

    def _check_vocabulary(self) -> None:
        if not self.word_index and not self.document_count:
            raise ValueError("the tokenizer has no vocabulary; call fit_on_texts first")


def tokenizer_from_json(json_string: str) -> Tokenizer:
    """Return the tokenizer that `Tokenizer.to_json`, here or in Keras, wrote as ``json_string``.

    Raises:
        TypeError: ``json_string`` is not a string.
        ValueError: it is not the JSON of a tokenizer.
    """
    text = _arguments.text("json_string", json_string)
    try:
        config = dict(json.loads(text)["config"])
        word_counts, word_docs, index_docs, word_index, index_word = (
            dict(json.loads(config.pop(name)))
            for name in ("word_counts", "word_docs", "index_docs", "word_index", "index_word")
        )
        tokenizer = Tokenizer(**config)
        # JSON has no integers for keys.
        tokenizer.index_docs = Counter({int(index): n for index, n in index_docs.items()})
        tokenizer.index_word = {int(index): word for index, word in index_word.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"json_string must be what Tokenizer.to_json returns, got {text!r:.60}: {error!r}"
        ) from None
    tokenizer.word_counts, tokenizer.word_docs = Counter(word_counts), Counter(word_docs)
    tokenizer.word_index = word_index
    return tokenizer


def _characters(filters: Iterable[str]) -> str | list[str]:
    """Return ``filters``, which must be single characters: a string as it is, others as a list."""
    characters = filters if isinstance(filters, str) else list(filters)
    for character in characters:
        if not isinstance(character, str) or len(character) != 1:
            raise ValueError(f"filters must hold single characters, got {character!r}")
    return characters


def _id_lists(sequences: Iterable[_Ids]) -> Iterator[list[int]]:
    """Yield each sequence as a list of ids that are not negative."""
    for number, ids in enumerate(sequences):
        name = f"sequences[{number}]"
        yield _arguments.token_ids(name, ids, None, ndim=1, allow_empty=True).tolist()
