"""GPT-2's tokenizer: byte-pair encoding over bytes, read and written in Hugging Face's files.

>>> from lmcourse.gpt2 import GPT2Tokenizer
>>> tokenizer = GPT2Tokenizer.from_pretrained("gpt2")
>>> tokenizer.encode("Hello world").tolist()
[15496, 995]

GPT-2's own merges lie in the folder ``vocabulary``: no network is needed.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Int64

from lmcourse import _arguments, _files
from lmcourse.tokenizers import BYTES, BPETokenizer, split_pieces

END_OF_TEXT = "<|endoftext|>"
"""The special token between documents; its id is the last one."""

# Bytes that are visible characters of Latin-1 are written as these and come first, in GPT-2's order
# of ids; the others are written as the characters from U+0100.
_VISIBLE = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_BYTE_ORDER = bytes(_VISIBLE + [byte for byte in range(BYTES) if byte not in _VISIBLE])
_CHARACTER = {
    byte: chr(byte if i < len(_VISIBLE) else BYTES + i - len(_VISIBLE))
    for i, byte in enumerate(_BYTE_ORDER)
}
_BYTE = {character: byte for byte, character in _CHARACTER.items()}

_VERSION = "#version: 0.2"  # the first line of merges.txt
_FOLDER = Path(__file__).parent
_FOLDERS = {"lmcourse-small": _FOLDER / "small"} | dict.fromkeys(
    ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"), _FOLDER / "vocabulary"
)


def spell(token: bytes) -> str:
    """Return the bytes of ``token`` as GPT-2's files write them, a visible character for each.

    A space is ``Ġ``, a line end ``Ċ``: the bytes that have no visible character of their own take
    the characters from U+0100. So ``b" caf\\xc3\\xa9"`` is ``"ĠcafÃ©"``.
    """
    return "".join(map(_CHARACTER.__getitem__, token))


def unspell(spelled: str) -> bytes:
    """Return the bytes that `spell` wrote as ``spelled``.

    Raises:
        ValueError: a character stands for no byte; the message names it and its place.
    """
    try:
        return bytes(map(_BYTE.__getitem__, spelled))
    except KeyError as error:
        (character,) = error.args
        raise ValueError(
            "spelled must hold only the 256 characters that stand for bytes, "
            f"got {character!r} at spelled[{spelled.index(character)}]"
        ) from None


class GPT2Tokenizer(BPETokenizer):
    """Byte-level byte-pair encoding with the ids and the files of GPT-2.

    The first 256 ids are the bytes in GPT-2's order, then come the merges as they were learned, and
    the last id is ``<|endoftext|>``. Ids, text and training are those of Hugging Face's libraries.

    Equation: eq-language-models-bpe-merge

    Attributes:
        merges: the pairs of byte strings that became tokens 256, 257, …
        vocabulary: the bytes that each id stands for.

    Source: Radford et al. (2019), "Language Models are Unsupervised Multitask Learners".
    """

    byte_order = _BYTE_ORDER

    def __init__(self, merges: Sequence[tuple[bytes, bytes]]):
        """Build the tokenizer from its merges.

        Raises:
            TypeError: ``merges`` is not a sequence of pairs of bytes.
            ValueError: a merge joins something that is no token yet, or makes a token that there is
                already, or ``<|endoftext|>``.
        """
        super().__init__(merges)
        end_of_text = END_OF_TEXT.encode()
        if end_of_text in self.vocabulary:
            raise ValueError(f"merges must not make {END_OF_TEXT}, which is there by itself")
        self.vocabulary = (*self.vocabulary, end_of_text)

    @classmethod
    def train(cls, text: str, vocab_size: int) -> GPT2Tokenizer:
        """Learn ``vocab_size - 257`` merges from ``text``.

        Where ``<|endoftext|>`` stands in ``text``, one document ends and another begins: no token
        reaches across, and nothing is learned from the mark itself. The merges are those of Hugging
        Face's byte-level ``BpeTrainer`` over the documents. A text that runs out of pairs gives a
        smaller vocabulary.

        Equation: eq-language-models-bpe-merge

        Args:
            text: the training text.
            vocab_size: 256 bytes, merges, and ``<|endoftext|>``.

        Raises:
            TypeError: ``text`` is not a string or ``vocab_size`` not an integer.
            ValueError: ``text`` is empty or ``vocab_size`` < 257.
        """
        documents = _arguments.text("text", text, allow_empty=False).split(END_OF_TEXT)
        n_merges = _arguments.integer("vocab_size", vocab_size, at_least=BYTES + 1) - BYTES - 1
        counts = Counter(piece for document in documents for piece in split_pieces(document))
        return cls(cls._learn(counts, n_merges))

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike) -> GPT2Tokenizer:
        """Return the tokenizer of a model that the course knows, or that of a folder.

        Args:
            name_or_path: ``"gpt2"``, ``"gpt2-medium"``, ``"gpt2-large"`` and ``"gpt2-xl"`` (they
                share GPT-2's own tokenizer, which ships with the course), ``"lmcourse-small"``, or
                a folder for `load`.

        Raises:
            FileNotFoundError: there is no such folder, or it holds no tokenizer.
            ValueError: its files hold something else; the message says what is wrong.
        """
        if isinstance(name_or_path, str):
            name = name_or_path.removeprefix("openai-community/")
            return cls.load(_FOLDERS.get(name, name_or_path))
        return cls.load(name_or_path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> GPT2Tokenizer:
        """Read a tokenizer from a folder: one that `save` or Hugging Face's libraries wrote.

        Its ``merges.txt`` is read, and ``vocab.json``, if it is there, compared with it: GPT-2's
        ids follow from the merges. A folder that has only a ``tokenizer.json`` is read from that.

        Args:
            path: the folder.

        Raises:
            FileNotFoundError: there is no such folder, or neither of the files is in it.
            ValueError: they hold something else, or number the tokens otherwise than GPT-2 does;
                the message says what is wrong.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{path} is no folder; a tokenizer is read from one, or by the name of a model: "
                f"{', '.join(_FOLDERS)}"
            )
        merges_file, ids_file = folder / "merges.txt", folder / "vocab.json"
        if not merges_file.exists():
            return cls._load_one_file(folder / "tokenizer.json")
        with _errors_naming(merges_file):
            tokenizer = cls(_read_merges(merges_file.read_text(encoding="utf-8")))
        if ids_file.exists():
            with _errors_naming(ids_file):
                tokenizer._check_ids(json.loads(ids_file.read_bytes()))
        return tokenizer

    @classmethod
    def _load_one_file(cls, file: Path) -> GPT2Tokenizer:
        with _errors_naming(file):
            merges, ids = _read_tokenizer_json(json.loads(file.read_bytes()))
            tokenizer = cls(merges)
            tokenizer._check_ids(ids)
            return tokenizer

    def save(self, path: str | os.PathLike) -> None:
        """Write ``vocab.json`` and ``merges.txt``, as Hugging Face's libraries read them.

        Args:
            path: a folder; it is made if it is not there.

        Raises:
            OSError: the folder cannot be made or is not writable.
        """
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        lines = [" ".join(map(spell, merge)) for merge in self.merges]
        _files.write_text(folder / "merges.txt", "\n".join([_VERSION, *lines, ""]))
        _files.write_text(folder / "vocab.json", json.dumps(self._ids()))

    @property
    def eos_token_id(self) -> int:
        """The id of ``<|endoftext|>``, the last one."""
        return self.vocab_size - 1

    def token_bytes(self, id: int | np.integer) -> bytes:
        """Return the bytes that ``id`` stands for; they need not be whole characters.

        Raises:
            TypeError: ``id`` is not an integer.
            ValueError: it is not in the vocabulary.
        """
        return self.vocabulary[self._checked_id(id)]

    def encode(
        self, text: str, *, allowed_special: Collection[str] = ()
    ) -> Int64[np.ndarray, " tokens"]:
        """Return the ids of any text; ``decode`` gives it back exactly.

        Args:
            text: any text. ``<|endoftext|>`` in it is text like any other, seven tokens in GPT-2,
                so that a reader's words cannot end a document.
            allowed_special: ``{"<|endoftext|>"}`` or ``"all"`` makes it the one special token, as
                it is for Hugging Face's tokenizers.

        Raises:
            TypeError: ``text`` is not a string.
            ValueError: it holds a lone surrogate, which UTF-8 cannot encode, and the message names
                its place; or ``allowed_special`` names something that is no special token.
        """
        if not _allows_end_of_text(allowed_special):
            return super().encode(text)
        documents = _arguments.text("text", text).split(END_OF_TEXT)
        parts = [super().encode(documents[0])]
        for document in documents[1:]:
            parts += [np.array([self.eos_token_id], np.int64), super().encode(document)]
        return np.concatenate(parts)

    def decode(
        self,
        ids: Int[np.ndarray, " tokens"] | Sequence[int],
        *,
        skip_special_tokens: bool = False,
    ) -> str:
        """Return the tokens' bytes, joined and read as UTF-8.

        Bytes that are no UTF-8, as in a character cut short, become U+FFFD.

        Args:
            ids: token ids.
            skip_special_tokens: leave out ``<|endoftext|>``.

        Raises:
            TypeError: ``ids`` are not integers.
            ValueError: an id is not in the vocabulary.
        """
        if skip_special_tokens:
            ids = _arguments.token_ids("ids", ids, self.vocab_size, ndim=1, allow_empty=True)
            ids = ids[ids != self.eos_token_id]
        return super().decode(ids)

    def stream(self, *, skip_special_tokens: bool = False) -> TokenStream:
        """Return a decoder that takes one id at a time and never gives half a character.

        Args:
            skip_special_tokens: leave out ``<|endoftext|>``.
        """
        return TokenStream(self, skip_special_tokens=skip_special_tokens)

    def _checked_id(self, id: Any) -> int:
        return _arguments.integer("id", id, at_least=0, at_most=self.vocab_size - 1)

    def _ids(self) -> dict[str, int]:
        *tokens, _ = self.vocabulary
        return {spell(token): i for i, token in enumerate(tokens)} | {END_OF_TEXT: len(tokens)}

    def _check_ids(self, ids: Any) -> None:
        """Compare a file's ids with those that follow from the merges."""
        if not isinstance(ids, Mapping):
            raise TypeError(f"expected an object of ids, got {ids!r:.60}")
        expected = self._ids()
        if ids == expected:
            return
        for token, i in expected.items():
            if ids.get(token) != i:
                raise ValueError(
                    f"expected GPT-2's order of ids, in which {token!r} is {i}, "
                    f"got {ids.get(token)!r}"
                )
        extra = sorted(ids.keys() - expected.keys())
        raise ValueError(f"expected {len(expected)} tokens, got more: {extra!r:.60}")


class TokenStream:
    """Turns ids into text as they come: `GPT2Tokenizer.stream` makes it.

    The bytes of a character may be spread over several tokens; they are held back until it is
    complete. What `push` and `flush` return, joined, is what ``decode`` gives for all ids at once.

    Args:
        tokenizer: whose ids they are.
        skip_special_tokens: leave out ``<|endoftext|>``.
    """

    def __init__(self, tokenizer: GPT2Tokenizer, *, skip_special_tokens: bool = False):
        self._tokenizer = tokenizer
        self._skipped = tokenizer.eos_token_id if skip_special_tokens else None
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, id: int | np.integer) -> str:
        """Return the text that has become complete with the token ``id``; it may be empty.

        Raises:
            TypeError: ``id`` is not an integer.
            ValueError: it is not in the vocabulary.
        """
        token = self._tokenizer.token_bytes(id)
        return "" if id == self._skipped else self._decoder.decode(token)

    def flush(self) -> str:
        """End the text: return U+FFFD for a character that was begun, and start anew."""
        return self._decoder.decode(b"", final=True)


@contextlib.contextmanager
def _errors_naming(file: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} does not hold a GPT2Tokenizer: {error}") from error


def _allows_end_of_text(allowed_special: Any) -> bool:
    if allowed_special == "all":
        return True
    if isinstance(allowed_special, str) or not isinstance(allowed_special, Collection):
        raise TypeError(
            f"allowed_special must be 'all' or a collection of strings, got {allowed_special!r:.60}"
        )
    for token in allowed_special:
        if token != END_OF_TEXT:
            raise ValueError(f"allowed_special may hold only {END_OF_TEXT!r}, got {token!r:.60}")
    return bool(allowed_special)


def _read_merges(text: str) -> list[tuple[bytes, bytes]]:
    lines = text.split("\n")
    first = int(lines[0].startswith("#version"))
    return [
        _unspelled(f"line {number}", line.split(" "))
        for number, line in enumerate(lines[first:], start=first + 1)
        if line
    ]


def _unspelled(place: str, merge: Any) -> tuple[bytes, bytes]:
    match merge:
        case [str(left), str(right)] if left and right:
            try:
                return unspell(left), unspell(right)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from None
    raise ValueError(f"{place}: expected two tokens, got {merge!r:.60}")


def _read_tokenizer_json(state: Any) -> tuple[list[tuple[bytes, bytes]], dict[str, int]]:
    """Return the merges and the ids in the one file of Hugging Face's ``tokenizers``."""
    match state:
        case {
            "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, **cutting},
            "model": {"type": "BPE", "vocab": dict(ids), "merges": list(merges)},
            "added_tokens": list(added),
        } if cutting.get("use_regex", True):
            pairs = [m.split(" ") if isinstance(m, str) else m for m in merges]
            pairs = [_unspelled(f"merges[{i}]", pair) for i, pair in enumerate(pairs)]
            return pairs, ids | {token.get("content"): token.get("id") for token in added}
    raise ValueError("expected GPT-2's byte-level BPE, which adds no space in front")
