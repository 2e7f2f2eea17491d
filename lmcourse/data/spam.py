"""Text messages that people marked as spam or not, split without near-duplicates across parts.

>>> train, validation, test = load_spam()
>>> len(train), int(train.labels.sum())
(3902, 523)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from lmcourse.data._shipped import FOLDER, read_content

__all__ = ["Messages", "SpamSplit", "load_spam"]


@dataclass(frozen=True, eq=False)
class Messages:
    """Messages in the order of the collection; ``len`` counts them.

    Attributes:
        texts: the messages.
        labels: 1 for spam, 0 for others.
        groups: messages with the same number are near-duplicates of each other.
    """

    texts: tuple[str, ...]
    labels: Int64[np.ndarray, " messages"]
    groups: Int64[np.ndarray, " messages"]

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return f"Messages({len(self):,} messages, {self.labels.sum():,} spam)"


class SpamSplit(NamedTuple):
    """What `load_spam` returns; it unpacks into three sets of messages.

    Attributes:
        train: 70 % of the spam and of the other messages, to fit models to.
        validation: 15 %, to choose between models, and to choose a threshold.
        test: 15 %, to measure the chosen model once.
    """

    train: Messages
    validation: Messages
    test: Messages


def load_spam() -> SpamSplit:
    """Load the 5,574 messages of the SMS Spam Collection, 747 (13.4 %) of them spam.

    Spam comes in series: the same text with another number to call, or another prize. 5,170 of the
    messages are different, and 4,815 are no near-duplicates of an earlier one. Two messages are
    near-duplicates if they share at least 30 % of their runs of three words, in lower case, numbers
    alike, punctuation left out; a group holds all that chains of near-duplicates connect. No group
    has messages in two parts, so that a model is not tested on what it has learnt by heart.

    The messages are from British and Singaporean phones of the 2000s, with the language of their
    writers, the obscene included. ``<#>``, ``<DECIMAL>``, ``<TIME>``, ``<URL>`` and ``<EMAIL>``
    stand where the collectors took out what might identify somebody.

    Returns:
        Train, validation and test messages, always the same.

    Raises:
        DataFileError: the file is missing or its checksum is wrong.

    Source: Almeida, Gómez Hidalgo and Yamakami (2011), "Contributions to the Study of SMS Spam
    Filtering: New Collection and Results". CC BY 4.0; ``README.md`` says what was changed.
    """
    lines = list(map(json.loads, read_content("spam.jsonl.xz", FOLDER).splitlines()))

    def part(name: str) -> Messages:
        chosen = [line for line in lines if line["part"] == name]
        return Messages(
            tuple(line["text"] for line in chosen),
            np.array([line["spam"] for line in chosen], dtype=np.int64),
            np.array([line["group"] for line in chosen], dtype=np.int64),
        )

    return SpamSplit(*map(part, SpamSplit._fields))
