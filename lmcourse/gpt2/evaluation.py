"""What a text of any length costs a model, and how much a text repeats itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch.nn import functional as F

from lmcourse import _arguments, probability


@dataclass(frozen=True)
class TextScore:
    """What a text cost a model.

    Attributes:
        nats: ``-log`` of the probability of each token that was scored.
    """

    nats: Float64[np.ndarray, " scored"]

    @property
    def n_tokens(self) -> int:
        """How many tokens were scored."""
        return len(self.nats)

    @property
    def total_nats(self) -> float:
        """The surprise of the whole text."""
        return float(self.nats.sum())

    @property
    def mean_nats(self) -> float:
        """Cross-entropy in nats a token."""
        return self.total_nats / self.n_tokens

    @property
    def perplexity(self) -> float:
        """Among how many equally likely tokens the model seems to choose."""
        return probability.perplexity(self.mean_nats)

    def bits_per_byte(self, n_bytes: int) -> float:
        """Return the bits that the model spends on each byte of the text.

        Args:
            n_bytes: length in UTF-8 of the tokens that were scored; if the first one was not, then
                without its bytes.

        Raises:
            TypeError: ``n_bytes`` is not an integer.
            ValueError: ``n_bytes`` is below 1.
        """
        return probability.bits_per_byte(self.total_nats, n_bytes)


def windows(n_tokens: int, length: int, stride: int) -> Int64[np.ndarray, "windows 3"]:
    """Lay windows over a text so that each token after the first is scored exactly once.

    A window reads the tokens from ``begin`` to ``end``, without ``end`` itself, and scores those
    from ``first`` to ``end``, with ``end``: each from what the window holds before it. So token
    ``i`` is scored in the window that begins at ``stride * ceil(max(0, i - length) / stride)``. It
    sees all that came before it while that is at most ``length`` tokens, and later at least
    ``length - stride + 1`` of them.

    Equation: eq-gpt2-sliding-window

    Args:
        n_tokens: of the text, at least 2.
        length: how many tokens the model reads at once.
        stride: by how many tokens each window lies behind the one before. With 1 every token has
            the longest context; with ``length`` the text is cut into blocks, which is cheapest.

    Returns:
        One row ``begin, end, first`` for each window.

    Raises:
        TypeError: a number is not an integer.
        ValueError: ``n_tokens`` is below 2, ``length`` below 1, or ``stride`` outside
            ``[1, length]``.
    """
    n_tokens = _arguments.integer("n_tokens", n_tokens, at_least=2)
    length = _arguments.integer("length", length, at_least=1)
    stride = _arguments.integer("stride", stride, at_least=1, at_most=length)
    last = n_tokens - 1
    begin = np.arange(0, max(last - length, 0) + stride, stride)
    end = np.minimum(begin + length, last)
    first = 1 + np.concatenate([[0], end[:-1]])
    return np.stack([begin, end, first], axis=1)


def sliding_window(
    model: Callable[[Int[torch.Tensor, "batch length"]], Any],
    ids: Int[np.ndarray, " time"],
    *,
    length: int | None = None,
    stride: int | None = None,
    start: int | None = None,
    batch_size: int = 8,
) -> TextScore:
    """Score every token of a text once, though the text may be longer than the model's context.

    The first token has nothing before it that could predict it. It is scored after ``start`` if
    that is given, and otherwise left out, of the count as well.

    Equation: eq-gpt2-sliding-window

    Args:
        model: gives the logits of the token after each of ``ids``, which come as a tensor of int64
            (batch, length): a ``GPT2``, a causal model of Hugging Face, or any function. A torch
            module runs where its parameters are, without dropout or gradients.
        ids: the text's token ids.
        length: how many tokens the model reads at once; ``model.config.n_positions`` if not given.
        stride: as in :func:`windows`; half of ``length`` if not given.
        start: a token to read before the text, such as that of ``<|endoftext|>``.
        batch_size: how many windows are read side by side. Their logits are ``batch_size * length *
            vocab_size`` numbers: for the default and GPT-2 of 124 million parameters, 1.6 GB.

    Returns:
        The nats of each scored token, and what follows from them.

    Raises:
        TypeError: ``ids`` or an option are not integers.
        ValueError: there is no token to score, ``length`` is missing or beyond ``n_positions``,
            another option is out of range, an id has no logit, or the logits are NaN or not of
            shape (batch, length, vocab).
    """
    text = ids = _arguments.token_ids("ids", ids, None, ndim=1)
    if start is not None:
        ids = np.concatenate([[_arguments.integer("start", start, at_least=0)], text])
    if len(ids) < 2:
        raise ValueError("ids must hold a token to score, got 1 token and no start before it")
    length = _context_length(model, length)
    stride = max(length // 2, 1) if stride is None else stride
    batch_size = _arguments.integer("batch_size", batch_size, at_least=1)

    nats = []
    with _evaluation_mode(model) as device:
        for batch in _batches(windows(len(ids), length, stride), batch_size):
            read = np.stack([ids[begin:end] for begin, end, _ in batch])  # (batch, length)
            logits = _logits(model, torch.from_numpy(read).to(device))  # (batch, length, vocab)
            _arguments.token_ids("ids", text, logits.shape[-1])
            for (begin, end, first), row in zip(batch, logits, strict=True):
                nats.append(_nats(row[first - 1 - begin :], ids[first : end + 1]))
    return TextScore(np.concatenate(nats))


def repetition_rate(
    tokens: Int[np.ndarray, " time"] | Sequence[Hashable], *, window: int = 128
) -> float:
    """Return the share of a text's tokens that stood among the ``window`` tokens before them.

    Equation: eq-gpt2-repetition

    Source: Welleck et al. (2020), "rep/l", where the tokens are the model's likeliest ones.

    Args:
        tokens: token ids or words.
        window: how many tokens to look back. People repeat words, too: compare texts of one length,
            and a text written by people with the same ``window``.

    Returns:
        A number from 0, where no token came back within the window, to just below 1.

    Raises:
        TypeError: ``tokens`` is a string or cannot be compared, or ``window`` is not an integer.
        ValueError: ``tokens`` is empty or has more than one axis, or ``window`` is below 1.
    """
    tokens = _tokens(tokens, at_least=1)
    window = _arguments.integer("window", window, at_least=1)
    last_place: dict[Hashable, int] = {}
    repeated = 0
    for place, token in enumerate(tokens):
        repeated += token in last_place and place - last_place[token] <= window
        last_place[token] = place
    return repeated / len(tokens)


def distinct_n(tokens: Int[np.ndarray, " time"] | Sequence[Hashable], n: int = 2) -> float:
    """Return how many different n-grams a text has, divided by how many n-grams it has.

    ``1 - distinct_n(tokens, 4)`` is the "seq-rep-4" of Welleck et al. (2020). A longer text has a
    smaller share of new n-grams, so compare texts of one length.

    Equation: eq-gpt2-distinct

    Source: Li et al. (2016), who divide by the number of tokens, ``n - 1`` more.

    Args:
        tokens: token ids or words.
        n: how many successive tokens make an n-gram.

    Returns:
        A number in (0, 1]; 1 if no n-gram comes twice.

    Raises:
        TypeError: ``tokens`` is a string or cannot be compared, or ``n`` is not an integer.
        ValueError: ``tokens`` has fewer than ``n`` tokens or more than one axis, or ``n`` is below
            1.
    """
    n = _arguments.integer("n", n, at_least=1)
    tokens = _tokens(tokens, at_least=n)
    n_grams = list(zip(*(tokens[i:] for i in range(n)), strict=False))
    return len(set(n_grams)) / len(n_grams)


def _context_length(model: Any, length: int | None) -> int:
    longest = getattr(getattr(model, "config", None), "n_positions", None)
    if length is None and longest is None:
        raise ValueError("length must be given for a model without config.n_positions")
    return _arguments.integer(
        "length", longest if length is None else length, at_least=1, at_most=longest
    )


@contextmanager
def _evaluation_mode(model: Any) -> Iterator[torch.device | None]:
    """Switch off gradients and dropout, and yield where a torch module wants its input."""
    modules = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    modes = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        with torch.no_grad():
            yield next((p.device for m in modules for p in m.parameters()), None)
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def _batches(rows: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Yield windows of one length in groups; the last window may be shorter, and is then alone."""
    size = rows[:, 1] - rows[:, 0]
    full = rows[size == size[0]]
    for i in range(0, len(full), batch_size):
        yield full[i : i + batch_size]
    if len(full) < len(rows):
        yield rows[-1:]


def _logits(model: Callable, ids: torch.Tensor) -> Float[torch.Tensor, "batch length vocab"]:
    output = model(ids)
    logits = torch.as_tensor(getattr(output, "logits", output))  # Hugging Face's has more fields
    if logits.ndim != 3 or logits.shape[:2] != ids.shape:
        raise ValueError(
            f"model must give logits of shape ({ids.shape[0]}, {ids.shape[1]}, vocab), "
            f"got {tuple(logits.shape)}"
        )
    return logits


def _nats(
    logits: Float[torch.Tensor, "scored vocab"], targets: Int[np.ndarray, " scored"]
) -> Float64[np.ndarray, " scored"]:
    if logits.dtype != torch.float64:
        logits = logits.float()  # half precision is too coarse for the sum over the vocabulary
    targets = torch.from_numpy(targets).to(logits.device)
    losses = F.cross_entropy(logits, targets, reduction="none").double()
    if losses.isnan().any():
        raise ValueError("model must give logits that are numbers, got NaN")
    return losses.cpu().numpy()


def _tokens(tokens: Any, *, at_least: int) -> list[Hashable]:
    if isinstance(tokens, str):
        raise TypeError("tokens must be token ids or words, got a string; split it into words")
    tokens = tokens.tolist() if hasattr(tokens, "tolist") else list(tokens)
    if any(isinstance(token, list) for token in tokens):
        raise ValueError("tokens must have 1 axis, got a list of lists")
    if len(tokens) < at_least:
        wanted = "1 token" if at_least == 1 else f"{at_least} tokens"
        raise ValueError(f"tokens must hold at least {wanted}, got {len(tokens)}")
    return tokens
