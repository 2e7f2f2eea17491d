"""What a text grows by in SamplerView: a model's next token, its draw, and contexts held ahead."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lmcourse._arguments import finite_array
from lmcourse.probability import log_softmax, sampling_distribution

# The distributions of a growing text are held in thousandths of a nat, in Python as in a stored
# page, so that both draw the same tokens; a probability moves by 0.05 % of itself at most.
DECIMALS_OF_GROWTH = 3
# A stored context names so many of its likeliest tokens, and more if a draw made ahead would come
# out otherwise, but not beyond the second number.
TOKENS_NAMED = 48
MOST_NAMED = 600
# How far apart in nats the other tokens may be that it holds as one group. Their probability is off
# by less than 0.3 % of itself then, at temperatures from 1 to 3, and not at all at 1.
WIDTH_OF_GROUP = 0.5

# The tokens appended to the prompt.
Path = tuple[int, ...]


def next_logits(model: Any, ids: Int[np.ndarray, " length"]) -> Float[np.ndarray, " vocab"]:
    """Return the log-probabilities that ``model`` gives the token after ``ids``, rounded.

    Args:
        model: a network with a ``config``, called with a tensor of shape (1, length), or any other
            callable, called with ``ids``. It returns logits, or an object that has them as
            ``logits``; those of the last position count.
        ids: the tokens so far.

    Raises:
        ValueError: the logits have NaN or +inf, or no token is possible.
    """
    output = _evaluated(model, ids) if hasattr(model, "config") else model(ids)
    output = getattr(output, "logits", output)
    if hasattr(output, "detach"):  # a tensor; numpy knows neither its gradient nor bfloat16
        output = output.detach().cpu().double().numpy()
    logits = finite_array("the model's logits", output, allow_minus_inf=True)
    last = logits.reshape(-1, logits.shape[-1])[-1].astype(np.float64)
    # Adding 0 turns -0.0 into 0.0.
    return np.round(log_softmax(last), DECIMALS_OF_GROWTH) + 0.0


def _evaluated(model: Any, ids: Int[np.ndarray, " length"]) -> Any:
    import torch

    device = getattr(model, "device", None)
    was_training = getattr(model, "training", False)
    if was_training:
        model.eval()
    try:
        with torch.no_grad():
            return model(torch.from_numpy(ids)[None].to(device))
    finally:
        if was_training:
            model.train()


def token_texts(tokenizer: Any, vocab_size: int) -> list[str]:
    """Return the text of every token; bytes that are no text by themselves stand as ``\\xe2``.

    Raises:
        ValueError: the tokenizer has another number of tokens than ``vocab_size``.
    """
    count = len(tokenizer) if hasattr(tokenizer, "__len__") else tokenizer.vocab_size
    if count != vocab_size:
        raise ValueError(
            f"tokenizer must have a token for each of the model's {vocab_size} logits, "
            f"got {count} tokens"
        )
    if hasattr(tokenizer, "token_bytes"):
        return [
            tokenizer.token_bytes(i).decode("utf-8", errors="backslashreplace")
            for i in range(vocab_size)
        ]
    return [tokenizer.decode([i]) for i in range(vocab_size)]


# --- Draws ---------------------------------------------------------------------------------------


def uniform(seed: int, index: int) -> float:
    """Return the ``index``-th number in [0, 1) of the generator mulberry32 started at ``seed``."""
    mask = 2**32 - 1
    t = (seed + (index + 1) * 0x6D2B79F5) & mask
    t = ((t ^ t >> 15) * (t | 1)) & mask
    t ^= (t + ((t ^ t >> 7) * (t | 61))) & mask
    return ((t ^ t >> 14) & mask) / 2**32


def likeliest_first(logits: Float[np.ndarray, " vocab"]) -> Int[np.ndarray, " vocab"]:
    """Return the ids of all tokens in the order of their logits, equal ones by lower id."""
    return np.argsort(-logits, kind="stable")


def drawn_token(logits: Float[np.ndarray, " vocab"], u: float, **settings: Any) -> int:
    """Return the token that ``u`` draws; the likeliest tokens have the lowest stretches of [0, 1).

    In this order, unlike in that of the ids, a page finds the token that names the likeliest alone.
    """
    order = likeliest_first(logits)
    cumulative = np.cumsum(sampling_distribution(logits, **settings)[order])
    return int(order[np.searchsorted(cumulative, u * cumulative[-1], side="right")])


# --- Contexts for a page without a model ---------------------------------------------------------


def contexts_ahead(
    read: Callable[[Path], np.ndarray],
    texts: Sequence[dict[str, Any]],
    *,
    count: int,
    length: int,
    room: int | None,
    named: int,
) -> dict[Path, dict[str, Any]]:
    """Return what a page holds of ``count`` contexts: where a reader is likeliest to go.

    First come the contexts of the texts, each over ``length`` tokens, then all others, the most
    probable ones first.

    Args:
        read: gives the logits after the prompt and some tokens appended to it.
        texts: the seed and the settings that each is drawn with.
        count: how many contexts, with that of the prompt alone.
        length: of the texts.
        room: how many tokens can be appended at most; ``None`` is any number.
        named: how many tokens of each context are named at least.
    """
    held: dict[Path, dict[str, Any]] = {}
    for text in texts:
        _hold_text(held, read, text, count, length if room is None else min(length, room), named)

    # Thousandths of a nat are whole numbers: their sums, and so this order, are exact.
    waiting: list[tuple[int, Path]] = [(0, ())]
    while waiting and len(held) < count:
        nats, path = heapq.heappop(waiting)
        if path not in held:
            held[path] = abridged(read(path), named)
        if room is None or len(path) < room:
            node = held[path]
            for token, more in list(zip(node["ids"], node["nats"], strict=True))[:named]:
                if more is not None:
                    heapq.heappush(waiting, (nats + more, (*path, token)))
    return held


def _hold_text(
    held: dict[Path, dict[str, Any]],
    read: Callable[[Path], np.ndarray],
    text: dict[str, Any],
    count: int,
    length: int,
    named: int,
) -> None:
    """Add the contexts of one text to those held, naming the tokens that its draws need."""
    settings = {name: value for name, value in text.items() if name != "seed"}
    path: Path = ()
    while len(path) <= length and (path in held or len(held) < count):
        logits = read(path)
        u = uniform(text["seed"], len(path))
        token = drawn_token(logits, u, **settings)
        names = len(held[path]["ids"]) if path in held else named
        held[path] = abridged(logits, names)
        while _drawn_from(held[path], u, settings) != token:
            if names >= MOST_NAMED:
                return
            names = min(2 * names, MOST_NAMED)
            held[path] = abridged(logits, names)
        path = (*path, token)


def _drawn_from(node: dict[str, list], u: float, settings: dict[str, Any]) -> int | None:
    """Return the token that a page draws from what it holds, ``None`` if it has no name there."""
    entries = [(nats, 1) for nats in node["nats"]] + node["others"]
    logits = [-np.inf if nats is None else -nats / 1000 for nats, _ in entries]
    tokens = np.repeat(logits, [size for _, size in entries])
    place = drawn_token(tokens, u, **settings)
    return node["ids"][place] if place < len(node["ids"]) else None


def abridged(logits: Float[np.ndarray, " vocab"], named: int) -> dict[str, list]:
    """Return a distribution as a page holds it: ready for JSON, the likeliest tokens by name.

    Returns:
        ``ids`` of the ``named`` likeliest tokens, likeliest first; ``nats``, minus the logarithm of
        the probability of each, in thousandths; ``others``, the rest in groups of tokens with about
        the same probability, pairs of that number and how many tokens they are. It has two more
        decimals, for the sum of all probabilities. ``None`` are tokens that are impossible.
    """
    order = likeliest_first(logits)
    ids, others = order[:named], logits[order[named:]]
    possible = others[np.isfinite(others)]
    groups = []
    if possible.size > 0:
        places = ((possible[0] - possible) / WIDTH_OF_GROUP).astype(int)
        for place in np.unique(places):
            group = possible[places == place]
            mean = group[0] + np.log(np.exp(group - group[0]).mean())
            groups.append([round(-1000 * float(mean), 2), len(group)])
    if len(possible) < len(others):
        groups.append([None, len(others) - len(possible)])
    return {
        "ids": ids.tolist(),
        "nats": [_thousandths(logit) for logit in logits[ids]],
        "others": groups,
    }


def _thousandths(logit: float) -> int | None:
    return None if logit == -np.inf else round(-1000 * float(logit))
