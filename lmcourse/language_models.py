"""Language models without a deep-learning library: n-grams, and a feed-forward network.

Both kinds answer the same two questions, so everything downstream takes either:

- ``model.probabilities(context)``: the distribution of the next token, given the tokens so far;
- ``model.token_log_probabilities(ids)``: the log-probability that each token of a text got.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from lmcourse import _arguments
from lmcourse.optimizers import linear_decay
from lmcourse.probability import bits_per_byte, log_softmax, sample, sampling_distribution

SMOOTHING = ("add-k", "kneser-ney")
FALLBACK_DISCOUNT = 0.5  # where counts are too regular to estimate one: no n-gram occurs just once


@runtime_checkable
class LanguageModel(Protocol):
    """What generation and evaluation ask of a model."""

    vocab_size: int

    def probabilities(self, context: Int[np.ndarray, " time"]) -> Float[np.ndarray, " vocab"]:
        """Return the distribution of the token that follows ``context``."""

    def token_log_probabilities(self, ids: Int[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
        """Return ``log p(ids[t] | ids[:t])`` in nats for every ``t``."""


class NGramModel:
    """A Markov model: the next token depends on the ``order - 1`` tokens before it.

    ``smoothing="add-k"`` adds ``k`` to every count; ``k=0`` is maximum likelihood, which gives
    probability 0 to whatever it has not seen. ``smoothing="kneser-ney"`` is interpolated
    Kneser-Ney: it subtracts a discount from each count and hands the mass to the next shorter
    context, whose counts are of *distinct* left neighbours rather than of occurrences.

    At the start of a text, where fewer than ``order - 1`` tokens came before, the context is what
    there is. A context that training never met falls back to the next shorter one under Kneser-Ney,
    and to the uniform distribution under add-k (for ``k=0`` that is the limit ``k -> 0``).

    Equations: eq-language-models-mle, eq-language-models-add-k, eq-language-models-kneser-ney

    Source: Kneser and Ney (1995); the interpolated form is that of Chen and Goodman (1999).

    Args:
        order: the n of n-gram, at least 1 (a unigram model has no context).
        vocab_size: number of token ids.
        smoothing: ``"add-k"`` or ``"kneser-ney"``.
        k: what add-k adds to every count, at least 0.
        discount: Kneser-Ney's discount in [0, 1], one for all orders or one for each, shortest
            first. By default each order estimates its own from its singletons and doubletons,
            ``n_1 / (n_1 + 2 n_2)``.

    Raises:
        TypeError: ``order`` or ``vocab_size`` is not an integer, or ``k`` or ``discount`` is not a
            number.
        ValueError: one of them is out of range, or ``smoothing`` is not one of the two.
    """

    def __init__(
        self,
        order: int,
        vocab_size: int,
        *,
        smoothing: str = "kneser-ney",
        k: float = 1.0,
        discount: float | Sequence[float] | None = None,
    ):
        self.order = _arguments.integer("order", order, at_least=1)
        self.vocab_size = _arguments.integer("vocab_size", vocab_size, at_least=1)
        self.smoothing = _arguments.one_of("smoothing", smoothing, SMOOTHING)
        self.k = _arguments.number("k", k, at_least=0)
        self.discounts = _discounts(discount, self.order)
        self._tables: list[_Table] = []

    def fit(self, ids: Int[np.ndarray, " time"]) -> NGramModel:
        """Count the n-grams of a text, replacing any earlier counts.

        Args:
            ids: token ids of the training text.

        Returns:
            The model itself.

        Raises:
            TypeError: ``ids`` are not integers.
            ValueError: ``ids`` is empty or an id is outside ``[0, vocab_size)``.
        """
        ids = _arguments.token_ids("ids", ids, self.vocab_size, ndim=1)
        self._tables, places = [], np.zeros(len(ids) + 1, dtype=np.int64)
        for length in range(min(self.order, len(ids))):  # n-grams with `length` tokens of context
            n_contexts = len(self._tables[-1].keys) if length else 1
            keys, first, inverse, counts = np.unique(
                places[:-1] * self.vocab_size + ids[length:],
                return_index=True,
                return_inverse=True,
                return_counts=True,
            )
            if length and self.smoothing == "kneser-ney":
                # Each distinct n-gram is one more left neighbour of the (n-1)-gram that ends it.
                suffixes = places[1:][first]
                shorter = self._tables[-1]
                shorter.set_counts(np.bincount(suffixes, minlength=len(shorter.keys)))
            self._tables.append(_Table(keys, counts, n_contexts, self.vocab_size))
            places = inverse  # where in the table the n-gram that ends at each position stands
        for length, table in enumerate(self._tables):
            given = self.discounts[length]
            table.discount = table.estimated_discount() if given is None else given
        return self

    @property
    def n_parameters(self) -> int:
        """Number of counts the model stores: its distinct n-grams, of all the orders it uses."""
        used = self._tables if self.smoothing == "kneser-ney" else self._tables[-1:]
        return sum(len(table.keys) for table in used)

    def probabilities(self, context: Int[np.ndarray, " time"]) -> Float[np.ndarray, " vocab"]:
        """Return the distribution of the token that follows ``context``.

        Args:
            context: the tokens so far; only the last ``order - 1`` are looked at.

        Returns:
            One probability for each token; they sum to 1.

        Raises:
            RuntimeError: the model has not been fitted.
            TypeError: ``context`` does not hold integers.
            ValueError: an id is outside ``[0, vocab_size)``.
        """
        self._require_fit()
        context = _arguments.token_ids("context", context, self.vocab_size, allow_empty=True)
        context = context[max(0, len(context) - len(self._tables) + 1) :]
        p = np.full(self.vocab_size, 1 / self.vocab_size)
        for length in range(len(context) + 1):
            table = self._tables[length]
            place = self._find(context[len(context) - length :])
            counts = np.zeros(self.vocab_size)
            if place >= 0:
                rows = slice(*np.searchsorted(table.contexts, [place, place + 1]))
                counts[table.keys[rows] % self.vocab_size] = table.counts[rows]
            p = self._smooth(table, np.array(place), counts, p)
        return p

    def token_log_probabilities(self, ids: Int[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
        """Return the log-probability of each token given those before it.

        Args:
            ids: token ids of a text.

        Returns:
            ``log p(ids[t] | ids[:t])`` in nats; ``-inf`` where the model rules the token out.

        Raises:
            RuntimeError: the model has not been fitted.
            TypeError: ``ids`` are not integers.
            ValueError: ``ids`` is empty or an id is outside ``[0, vocab_size)``.
        """
        self._require_fit()
        ids = _arguments.token_ids("ids", ids, self.vocab_size, ndim=1)
        p = np.full(len(ids), 1 / self.vocab_size)
        contexts = np.zeros(len(ids), dtype=np.int64)
        for length, table in enumerate(self._tables[: len(ids)]):
            places = table.find(contexts, ids[length:])
            counts = np.where(places >= 0, table.counts[places], 0)
            p[length:] = self._smooth(table, contexts, counts, p[length:])
            contexts = places[:-1]
        with np.errstate(divide="ignore"):
            return np.log(p)

    def _smooth(self, table: _Table, contexts, counts, shorter):
        """Turn counts into probabilities, given what the next shorter context says (``shorter``).

        ``contexts`` are places in the table of contexts, -1 for one that was never met.
        """
        totals = np.where(contexts >= 0, table.totals[contexts], 0)
        if self.smoothing == "add-k":
            mass = totals + self.k * self.vocab_size
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.where(mass > 0, (counts + self.k) / mass, 1 / self.vocab_size)
        reserved = table.discount * np.where(contexts >= 0, table.kinds[contexts], 0)
        kept = np.maximum(counts - table.discount, 0)
        return np.where(totals > 0, (kept + reserved * shorter) / np.maximum(totals, 1), shorter)

    def _find(self, tokens) -> int:
        """Return the place of an n-gram in the table of its length, -1 if it was never met."""
        place = np.zeros(1, dtype=np.int64)
        for table, token in zip(self._tables, tokens, strict=False):
            place = table.find(place, token)
        return int(place[0])

    def _require_fit(self):
        if not self._tables:
            raise RuntimeError("the model has no counts yet: call fit(ids) first")


class _Table:
    """The distinct n-grams of one length, and how often each occurs.

    An n-gram is its context's place in the table of the next shorter length, and its last token.
    Both are packed into one integer, ``place * vocab_size + token``; the keys are sorted, so a
    context's n-grams lie side by side and a look-up is a binary search.
    """

    def __init__(self, keys, counts, n_contexts: int, vocab_size: int):
        self.keys, self.vocab_size = keys, vocab_size
        self.contexts = keys // vocab_size
        self.n_contexts = n_contexts
        self.discount = 0.0
        self.set_counts(counts)

    def set_counts(self, counts):
        """Use these counts, and add them up over each context."""
        self.counts = counts
        self.totals = np.bincount(self.contexts, counts, minlength=self.n_contexts)
        self.kinds = np.bincount(self.contexts, counts > 0, minlength=self.n_contexts)

    def estimated_discount(self) -> float:
        """Return ``n_1 / (n_1 + 2 n_2)``: n_1 n-grams have count 1, n_2 have count 2."""
        once, twice = np.sum(self.counts == 1), np.sum(self.counts == 2)
        return float(once / (once + 2 * twice)) if once else FALLBACK_DISCOUNT

    def find(self, contexts, tokens):
        """Return the place of each n-gram (context, token), -1 where there is none."""
        wanted = contexts * self.vocab_size + tokens
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where((contexts >= 0) & (self.keys[places] == wanted), places, -1)


def _discounts(discount, order: int) -> list[float | None]:
    given = list(discount) if isinstance(discount, Sequence) else [discount] * order
    if len(given) != order:
        raise ValueError(f"discount must have one entry for each of {order} orders, got {discount}")
    return [
        None if d is None else _arguments.number("discount", d, at_least=0, at_most=1)
        for d in given
    ]


class FeedForwardModel:
    """A neural n-gram model: the tokens in a fixed window are embedded, concatenated and mixed.

    ``parameters`` is a dict of arrays, so an optimizer of ``lmcourse.optimizers`` can update them:

    - ``embedding``      [vocab + 1, embed]: one row for each token, and a last one for "before the
      text began", which fills the window at the start;
    - ``hidden_weight``  [window * embed, hidden] and ``hidden_bias`` [hidden];
    - ``output_weight``  [hidden, vocab] and ``output_bias`` [vocab].

    Equation: eq-language-models-feed-forward

    Source: Bengio, Ducharme, Vincent and Jauvin (2003), without the optional direct connections.

    Args:
        vocab_size: number of token ids.
        window: how many earlier tokens the model sees, at least 1.
        embedding_size: numbers per token embedding.
        hidden_size: number of hidden units.
        seed: of the random initial weights.
        dtype: float32 for speed, float64 to check gradients.

    Raises:
        TypeError: a size or the seed is not an integer.
        ValueError: a size is below 1, or ``dtype`` is not a floating-point type.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        window: int = 8,
        embedding_size: int = 24,
        hidden_size: int = 256,
        seed: int = 0,
        dtype: type = np.float32,
    ):
        self.vocab_size = _arguments.integer("vocab_size", vocab_size, at_least=1)
        self.window = _arguments.integer("window", window, at_least=1)
        embed = _arguments.integer("embedding_size", embedding_size, at_least=1)
        hidden = _arguments.integer("hidden_size", hidden_size, at_least=1)
        if np.dtype(dtype).kind != "f":
            raise ValueError(f"dtype must be a floating-point type, got {np.dtype(dtype)}")
        rng = np.random.default_rng(_arguments.integer("seed", seed, at_least=0))
        mixed = self.window * embed
        # Weights of variance 1/fan_in keep the scale of a layer's output that of its input.
        self.parameters: dict[str, np.ndarray] = {
            "embedding": rng.normal(size=(self.vocab_size + 1, embed)).astype(dtype),
            "hidden_weight": (rng.normal(size=(mixed, hidden)) / mixed**0.5).astype(dtype),
            "hidden_bias": np.zeros(hidden, dtype),
            "output_weight": (rng.normal(size=(hidden, vocab_size)) / hidden**0.5).astype(dtype),
            "output_bias": np.zeros(vocab_size, dtype),
        }

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.size for p in self.parameters.values())

    def windows(self, ids: Int[np.ndarray, " time"]) -> Int[np.ndarray, "time+1 window"]:
        """Return the window before each token of a text, and the one after its last token.

        Args:
            ids: token ids of a text; may be empty.

        Returns:
            Row t holds the ``window`` tokens before position t; ``vocab_size`` stands for "before
            the text began".

        Raises:
            TypeError: ``ids`` are not integers.
            ValueError: an id is outside ``[0, vocab_size)``.
        """
        ids = _arguments.token_ids("ids", ids, self.vocab_size, allow_empty=True)
        padded = np.concatenate([np.full(self.window, self.vocab_size), ids])
        return np.lib.stride_tricks.sliding_window_view(padded, self.window)

    def loss_and_gradients(
        self, windows: Int[np.ndarray, "batch window"], targets: Int[np.ndarray, " batch"]
    ) -> tuple[float, dict[str, np.ndarray]]:
        """Return ``feed_forward_loss_and_gradients`` at the model's own parameters.

        Args:
            windows: the tokens before each target, as ``windows`` gives them.
            targets: the token that came next.

        Returns:
            The mean loss in nats, and its gradient for each parameter.

        Raises:
            TypeError: ``windows`` or ``targets`` does not hold integers.
            ValueError: a shape does not fit, or an id is out of range.
        """
        return feed_forward_loss_and_gradients(self.parameters, windows, targets)

    def probabilities(self, context: Int[np.ndarray, " time"]) -> Float[np.ndarray, " vocab"]:
        """Return the distribution of the token that follows ``context``.

        Args:
            context: the tokens so far; only the last ``window`` are looked at.

        Returns:
            One probability for each token; they sum to 1.

        Raises:
            TypeError: ``context`` does not hold integers.
            ValueError: an id is outside ``[0, vocab_size)``.
        """
        windows = self.windows(np.asarray(context)[-self.window :])[-1:]
        logits, _ = _feed_forward(self.parameters, windows)
        return np.exp(log_softmax(logits[0].astype(np.float64)))

    def token_log_probabilities(
        self, ids: Int[np.ndarray, " time"], *, batch_size: int = 1024
    ) -> Float[np.ndarray, " time"]:
        """Return the log-probability of each token given those before it.

        Args:
            ids: token ids of a text.
            batch_size: how many positions are computed at once; bounds the memory.

        Returns:
            ``log p(ids[t] | ids[:t])`` in nats.

        Raises:
            TypeError: ``ids`` are not integers.
            ValueError: ``ids`` is empty, an id is outside ``[0, vocab_size)``, or ``batch_size`` is
                below 1.
        """
        ids = _arguments.token_ids("ids", ids, self.vocab_size, ndim=1)
        batch_size = _arguments.integer("batch_size", batch_size, at_least=1)
        windows, scores = self.windows(ids), []
        for start in range(0, len(ids), batch_size):
            targets = ids[start : start + batch_size]
            logits, _ = _feed_forward(self.parameters, windows[start : start + len(targets)])
            scores.append(log_softmax(logits)[np.arange(len(targets)), targets])
        return np.concatenate(scores).astype(np.float64)


def feed_forward_loss_and_gradients(
    parameters: dict[str, np.ndarray],
    windows: Int[np.ndarray, "batch window"],
    targets: Int[np.ndarray, " batch"],
) -> tuple[float, dict[str, np.ndarray]]:
    """Return the mean cross-entropy of a feed-forward model, and its gradients, derived by hand.

    The forward pass computes the loss; the backward pass walks the same lines in reverse and
    multiplies by one local derivative at a time.

    Equations: eq-language-models-feed-forward, eq-language-models-backpropagation

    Args:
        parameters: arrays by name, as ``FeedForwardModel.parameters``.
        windows: the tokens before each target; ``vocab_size`` stands for "before the text began".
        targets: the token that came next.

    Returns:
        The mean loss in nats, and its gradient for each parameter, of the parameter's shape.

    Raises:
        TypeError: ``windows`` or ``targets`` does not hold integers.
        ValueError: ``windows`` does not fit ``hidden_weight``, the two differ in length, or an id
            is out of range.
    """
    embedding, hidden_weight = parameters["embedding"], parameters["hidden_weight"]
    vocab_size, embed = len(embedding) - 1, embedding.shape[1]
    windows = _arguments.token_ids("windows", windows, vocab_size + 1, ndim=2)
    targets = _arguments.token_ids("targets", targets, vocab_size, ndim=1)
    batch, window = windows.shape
    if window * embed != len(hidden_weight):
        raise ValueError(
            f"windows must have {len(hidden_weight) // embed} columns, got shape {windows.shape}"
        )
    if batch != len(targets):
        raise ValueError(f"targets must have {batch} entries, one a window, got {len(targets)}")

    # [batch, vocab], [batch, window * embed], [batch, hidden]
    logits, (x, h) = _feed_forward(parameters, windows)
    log_p = log_softmax(logits)  # [batch, vocab]
    rows = np.arange(batch)
    loss = -float(log_p[rows, targets].mean())

    d_logits = np.exp(log_p)  # [batch, vocab]: (p - y) / batch
    d_logits[rows, targets] -= 1
    d_logits /= batch
    d_h = d_logits @ parameters["output_weight"].T  # [batch, hidden]
    d_a = d_h * (1 - h**2)  # [batch, hidden]: through the tanh
    d_x = (d_a @ hidden_weight.T).reshape(-1, embed)  # [batch * window, embed]
    d_embedding = np.zeros_like(embedding)  # [vocab + 1, embed]
    np.add.at(d_embedding, windows.reshape(-1), d_x)  # a token met twice gets both gradients
    return loss, {
        "embedding": d_embedding,
        "hidden_weight": x.T @ d_a,
        "hidden_bias": d_a.sum(axis=0),
        "output_weight": h.T @ d_logits,
        "output_bias": d_logits.sum(axis=0),
    }


def _feed_forward(parameters, windows):
    """Return the logits, and the two activations that the backward pass needs again."""
    x = parameters["embedding"][windows].reshape(len(windows), -1)  # [batch, window * embed]
    h = np.tanh(x @ parameters["hidden_weight"] + parameters["hidden_bias"])  # [batch, hidden]
    logits = h @ parameters["output_weight"] + parameters["output_bias"]  # [batch, vocab]
    return logits, (x, h)


def train(
    model: FeedForwardModel,
    ids: Int[np.ndarray, " time"],
    optimizer,
    *,
    steps: int,
    batch_size: int = 256,
    seed: int = 0,
) -> Float[np.ndarray, " steps"]:
    """Train a feed-forward model on random positions of a text.

    The learning rate falls linearly from the optimizer's own to zero over the run; it is restored
    at the end.

    Args:
        model: the model; its parameters are updated in place.
        ids: token ids of the training text.
        optimizer: from ``lmcourse.optimizers``.
        steps: number of updates.
        batch_size: positions drawn, with replacement, for each update.
        seed: of the draws.

    Returns:
        The loss of each step's batch before its update, in nats per token.

    Raises:
        TypeError: ``ids`` are not integers, or ``steps``, ``batch_size`` or ``seed`` is not one.
        ValueError: ``ids`` is empty, an id is outside ``[0, vocab_size)``, or a number is too
            small.
    """
    ids = _arguments.token_ids("ids", ids, model.vocab_size, ndim=1)
    steps = _arguments.integer("steps", steps, at_least=1)
    batch_size = _arguments.integer("batch_size", batch_size, at_least=1)
    rng = np.random.default_rng(_arguments.integer("seed", seed, at_least=0))
    windows, losses = model.windows(ids), np.empty(steps)
    with linear_decay(optimizer, steps) as counting:
        for step in counting:
            batch = rng.integers(len(ids), size=batch_size)
            losses[step], gradients = model.loss_and_gradients(windows[batch], ids[batch])
            optimizer.step(model.parameters, gradients)
    return losses


def generate(
    model: LanguageModel,
    context: Int[np.ndarray, " time"],
    n_tokens: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Int[np.ndarray, " n_tokens"]:
    """Draw tokens one at a time, each given all before it.

    A model that can read on from where it stopped offers ``reader()``, a function of the tokens
    that come next, and is asked for no more than that; any other reads the whole text each time.

    Equation: eq-language-models-chain-rule

    Args:
        model: any language model.
        context: the prompt's token ids; may be empty.
        n_tokens: how many new tokens to draw.
        seed: of the draws.
        temperature: as in ``lmcourse.probability.sampling_distribution``, as are the next three.
        top_k: keep the ``top_k`` most probable tokens.
        top_p: keep the smallest set of tokens that holds this much probability.
        min_p: keep tokens at least this probable relative to the most probable.

    Returns:
        The new tokens, without the prompt.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an id is outside ``[0, vocab_size)`` or a number out of range.
    """
    context = _arguments.token_ids("context", context, model.vocab_size, allow_empty=True)
    n_tokens = _arguments.integer("n_tokens", n_tokens, at_least=0)
    rng = np.random.default_rng(_arguments.integer("seed", seed, at_least=0))
    read = model.reader() if hasattr(model, "reader") else _read_all_again(model)
    ids, unread = np.empty(n_tokens, dtype=np.int64), context
    for t in range(n_tokens):
        with np.errstate(divide="ignore"):
            logits = np.log(read(unread))
        p = sampling_distribution(
            logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
        )
        ids[t] = sample(p, rng)
        unread = ids[t : t + 1]
    return ids


def _read_all_again(model):
    """Stand in for ``model.reader()`` where the model has none."""
    text = np.zeros(0, dtype=np.int64)

    def read(ids):
        nonlocal text
        text = np.concatenate([text, ids])
        return model.probabilities(text)

    return read


def held_out_bits_per_byte(model: LanguageModel, tokenizer, text: str) -> float:
    """Return how many bits the model needs for each UTF-8 byte of a text it was not trained on.

    The unit is the same whatever the tokens are, so a character model and a subword model can be
    compared by it.

    Equation: eq-language-models-bits-per-byte

    Args:
        model: any language model.
        tokenizer: the one whose ids the model was trained on; it must lose nothing of ``text``.
        text: the held-out text.

    Returns:
        Bits per byte; ``inf`` if the model rules out a token that occurs.

    Raises:
        TypeError: ``text`` is not a string.
        ValueError: ``text`` is empty.
    """
    text = _arguments.text("text", text, allow_empty=False)
    nats = -model.token_log_probabilities(tokenizer.encode(text)).sum()
    return bits_per_byte(nats, len(text.encode("utf-8")))
