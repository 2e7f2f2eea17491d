"""SamplerView: what temperature, top-k, top-p and min-p do to a next-token distribution."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import traitlets
from jaxtyping import Float, Int

from lmcourse._arguments import finite_array, integer, number, text, token_ids
from lmcourse.probability import entropy, sampling_distribution, softmax
from lmcourse.widgets import _growing
from lmcourse.widgets._widget import Widget, script_and_style, table, texts, visible

# Stored logits keep this many decimals: far finer than a probability that anyone can see, and
# coarse enough that the last bits in which machines differ do not change the stored page.
DECIMALS = 6
ROWS_OF_SUMMARY = 10
# What a built page without a model lets the reader compare: one filter at a time.
PRESETS = (
    {"top_k": 1},
    {"temperature": 0.5},
    {"top_k": 40},
    {"top_p": 0.9},
    {"min_p": 0.1},
)


def _logits_to_json(logits: np.ndarray, _widget: Any = None) -> list[float | None]:
    """JSON has no infinity: a ruled-out token's logit is null."""
    return [None if logit == -np.inf else float(logit) for logit in logits]


class SamplerView(Widget):
    """Shows a next-token distribution, what each filter leaves of it, and draws from it.

    Sliders set temperature, top-k, top-p and min-p, which act together and in this order as in
    :func:`lmcourse.probability.sampling_distribution`. Each token has its probability in the model
    (temperature 1, no filter) beside the one it is drawn with. Draws are counted; the same seed and
    the same settings give the same draws. Moving a slider clears the counts, because they belong to
    the distribution they were drawn from.

    With a kernel the attributes follow the sliders, and setting an attribute moves its slider. In
    the built book the page does the same arithmetic itself.

    :meth:`from_model` makes a view whose text grows: the reader appends a token, drawn or chosen,
    and the view goes on to the next distribution.

    Equations: eq-language-models-temperature, eq-language-models-top-k, eq-language-models-top-p,
    eq-language-models-min-p, eq-language-models-entropy

    Args:
        logits: scores in nats; ``-inf`` rules a token out. Kept as float64, rounded to 6 decimals,
            so that the stored output is the same on every machine.
        tokens: the text of each token; blanks are made visible.
        temperature: above 0.
        top_k: 1 or more; ``None`` leaves the filter out.
        top_p: in (0, 1]; ``None`` leaves the filter out.
        min_p: in [0, 1]; ``None`` leaves the filter out.
        seed: start of the random numbers, in [0, 2**32).
        context: the text that the token continues; shown as a heading.

    Attributes:
        logits: as given, rounded. A new array of the same length replaces the distribution.
        temperature, top_k, top_p, min_p, seed, context, tokens: as given.
        drawn: how often each token id was drawn since the distribution last changed, as a dict from
            the id (as a string) to the count.
        prompt: the token ids that a growing text starts with; ``None`` in a view without a model.
        grown: the token ids appended to the prompt, a list. Setting it changes the text: with
            ``view.grown[:-1]``, the last token is taken back.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: ``logits`` are not a vector, hold NaN or +inf, or are all ``-inf``; ``tokens``
            are not as many; an option is out of range.
    """

    _esm, _css = script_and_style("sampler_view")

    logits = traitlets.TraitType().tag(sync=True, to_json=_logits_to_json)
    tokens = traitlets.TraitType().tag(sync=True)
    temperature = traitlets.TraitType(1.0).tag(sync=True)
    top_k = traitlets.Any(None).tag(sync=True)
    top_p = traitlets.Any(None).tag(sync=True)
    min_p = traitlets.Any(None).tag(sync=True)
    seed = traitlets.TraitType(0).tag(sync=True)
    context = traitlets.TraitType("").tag(sync=True)
    drawn = traitlets.Dict().tag(sync=True)
    prompt = traitlets.Any(None, read_only=True).tag(sync=True)
    grown = traitlets.TraitType([]).tag(sync=True)
    # The appended tokens that `logits` follow: the page waits until these are those of `grown`.
    after = traitlets.Any([], read_only=True).tag(sync=True)
    # How many tokens can be appended before the model's context is full; None is any number.
    room = traitlets.Any(None, read_only=True).tag(sync=True)

    def __init__(
        self,
        logits: Float[np.ndarray, " vocab"],
        tokens: Sequence[str],
        *,
        temperature: Real = 1.0,
        top_k: int | None = None,
        top_p: Real | None = None,
        min_p: Real | None = None,
        seed: int = 0,
        context: str = "",
    ):
        logits = _checked_logits(logits)
        super().__init__(
            logits=logits,
            tokens=texts("tokens", tokens, len(logits), each="logit"),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=seed,
            context=context,
        )

    @classmethod
    def from_model(
        cls,
        model: Any,
        tokenizer: Any,
        prompt: str,
        *,
        temperature: Real = 1.0,
        top_k: int | None = None,
        top_p: Real | None = None,
        min_p: Real | None = None,
        seed: int = 0,
        contexts: int = 200,
        length: int = 20,
        n_seeds: int = 2,
        presets: Sequence[Mapping[str, Real]] = PRESETS,
    ) -> SamplerView:
        """Return a view of the model's next token, whose text grows token by token.

        The reader appends a token that the distribution draws, or one chosen from the list, takes
        tokens back, and sees the next distribution each time. Which token is drawn depends on the
        seed, the settings and the place in the text alone: the ``t``-th token appended takes the
        ``t``-th random number, and the likeliest tokens have its lowest stretches. So the same seed
        and settings give the same text, in Python (:meth:`append`) and in every page.

        With a kernel the model computes each next distribution, over the whole vocabulary. The
        built book has no model. Its page holds ``contexts`` distributions computed ahead: first
        those along some drawn texts, which the page lists and starts for the reader, then those
        that the model finds most probable. Elsewhere the page says that it goes no further. Of each
        distribution it names the 48 likeliest tokens (more if ``top_k`` or a drawn token takes
        more), and holds the others in groups of similar probability; their probability is off by
        less than 0.3 % of itself then. The page grows by about 1.1 KB a context.

        Probabilities are rounded to 0.001 nats of their logarithm. Where the stored page is to be
        the same on every machine, give a model in float64: in float32 other processors round
        otherwise, and a few of the numbers change in their last decimal.

        Args:
            model: a network such as :class:`lmcourse.gpt2.GPT2` or a Hugging Face causal language
                model (anything with a ``config``), which is called with a tensor of token ids
                (1, length) and returns logits (1, length, vocab); or any other callable that takes
                token ids, int64 of shape (length,), and returns the next token's logits (vocab,).
            tokenizer: has ``encode``, and ``token_bytes`` or ``decode``, as
                :class:`lmcourse.gpt2.GPT2Tokenizer` and Hugging Face's have.
            prompt: the text to go on with, at least one token.
            temperature, top_k, top_p, min_p, seed: as in :class:`SamplerView`.
            contexts: how many distributions the built page holds, each of which is computed here;
                1 is the prompt's alone.
            length: of the texts drawn ahead, in tokens.
            n_seeds: how many are drawn ahead at the settings given here: with ``seed``,
                ``seed + 1``, ….
            presets: settings at which one more text is drawn ahead each, with ``seed``; those not
                named are off, and the temperature 1.

        Returns:
            The view.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: ``prompt`` has no token, or more than the model can read; the tokenizer has
                not one token for each logit; logits are NaN or +inf; an option is out of range.
        """
        contexts = integer("contexts", contexts, at_least=1)
        length = integer("length", length, at_least=0)
        n_seeds = integer("n_seeds", n_seeds, at_least=0)
        start = token_ids("prompt", tokenizer.encode(text("prompt", prompt)), None, ndim=1)
        room = _room(model, len(start))
        logits = _growing.next_logits(model, start)
        view = cls(
            logits,
            _growing.token_texts(tokenizer, len(logits)),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=seed,
        )
        view._model, view._tokenizer = model, tokenizer
        view.set_trait("prompt", start.tolist())
        view.set_trait("room", room)
        view._texts = _texts_ahead(view._settings(), view.seed, n_seeds, presets)
        view._ahead = _growing.contexts_ahead(
            view._logits_after,
            view._texts,
            count=contexts,
            length=length,
            room=room,
            named=max(_growing.TOKENS_NAMED, (view.top_k or 0) + 1),
        )
        return view

    def append(self, token_id: int | None = None) -> int:
        """Append a token to the text of a view :meth:`from_model`.

        Args:
            token_id: which one; ``None`` draws it, the same one as the page does.

        Returns:
            The token's id.

        Raises:
            TypeError: ``token_id`` is not an integer.
            ValueError: there is no such token, the model's context is full, or there is no model.
        """
        if token_id is None:
            u = _growing.uniform(self.seed, len(self.grown))
            token_id = _growing.drawn_token(self.logits, u, **self._settings())
        self.grown = [*self.grown, token_id]
        return self.grown[-1]

    @property
    def text(self) -> str:
        """The prompt and what was appended to it; without a model, ``context``."""
        if self.prompt is None:
            return self.context
        return self._tokenizer.decode([*self.prompt, *self.grown])

    @property
    def probabilities(self) -> Float[np.ndarray, " vocab"]:
        """The distribution that tokens are now drawn from."""
        return sampling_distribution(self.logits, **self._settings())

    @property
    def counts(self) -> Int[np.ndarray, " vocab"]:
        """How often each token was drawn since the distribution last changed."""
        counts = np.zeros(len(self.tokens), dtype=np.int64)
        for token_id, count in self.drawn.items():
            counts[int(token_id)] = count
        return counts

    def page_state(self) -> dict[str, Any]:
        """Return the state that the built page draws the widget from; draws are not stored."""
        if self.prompt is not None:
            return self._growing_state()
        return {
            "logits": _logits_to_json(self.logits),
            "tokens": self.tokens,
            **self._settings(),
            "seed": self.seed,
            "context": self.context,
            "drawn": {},
        }

    def summary(self) -> str:
        """Return a table of the likeliest tokens, for readers without JavaScript."""
        model, sampling = softmax(self.logits), self.probabilities
        likeliest = np.argsort(-self.logits, kind="stable")[:ROWS_OF_SUMMARY]
        rows = [
            (visible(self.tokens[i]), f"{model[i]:.1%}", f"{sampling[i]:.1%}") for i in likeliest
        ]
        bits = float(entropy(sampling)) / math.log(2)
        after = f" after “{html.escape(self.text)}”" if self.text else ""
        return (
            f"<p>Next token{after}: {np.count_nonzero(sampling)} of {len(self.tokens)} tokens "
            f"kept, entropy {bits:.2f} bits ({self._settings_in_words()}).</p>"
            + table(("Token", "Model", "Sampling"), rows)
            + ("" if self.prompt is None else f"<p>{html.escape(self._continuation())}</p>")
        )

    def __repr__(self) -> str:
        appended = "" if self.prompt is None else f", {len(self.grown)} tokens appended"
        return (
            f"SamplerView({len(self.tokens)} tokens, {self._settings_in_words()}, "
            f"seed={self.seed}{appended})"
        )

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("temperature", "top_k", "top_p", "min_p")}

    def _settings_in_words(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self._settings().items())

    # --- A text that grows ---

    def _logits_after(self, appended: Sequence[int]) -> Float[np.ndarray, " vocab"]:
        ids = np.array([*self.prompt, *appended], dtype=np.int64)
        return _growing.next_logits(self._model, ids)

    def _growing_state(self) -> dict[str, Any]:
        """Return the state of a page without the model: the contexts that are held ahead."""
        numbers = {path: i for i, path in enumerate(self._ahead)}
        contexts = [
            {"after": [numbers[path[:-1]], path[-1]] if path else None, **node}
            for path, node in self._ahead.items()
        ]
        spoken = {token for node in contexts for token in node["ids"]}
        spoken.update(self.prompt, self.grown)
        return {
            "contexts": contexts,
            "texts": self._texts,
            "tokens": {str(token): self.tokens[token] for token in sorted(spoken)},
            **self._settings(),
            "seed": self.seed,
            "prompt": self.prompt,
            "grown": self.grown,
            "room": self.room,
        }

    def _continuation(self) -> str:
        """Say how the text goes on as far as the page holds it, most probable token by token."""
        path = tuple(self.grown)
        while path in self._ahead:
            path = (*path, self._ahead[path]["ids"][0])
        grown = "".join(visible(self.tokens[i]) for i in path[len(self.grown) :])
        return f"Taking the likeliest token each time, the text goes on: {grown}" if grown else ""

    @traitlets.validate("grown")
    def _validate_grown(self, proposal: Any) -> list[int]:
        grown = token_ids("grown", proposal.value, len(self.tokens), ndim=1, allow_empty=True)
        if self.prompt is None and len(grown) > 0:
            raise ValueError("grown needs a model to go on with: see SamplerView.from_model")
        if self.room is not None and len(grown) > self.room:
            raise ValueError(
                f"grown must have at most {self.room} tokens, which fill the model's context, "
                f"got {len(grown)}"
            )
        return grown.tolist()

    @traitlets.observe("grown")
    def _read_on(self, _change: Any) -> None:
        with self.hold_sync():
            self.logits = self._logits_after(self.grown)
            self.set_trait("after", self.grown)

    @traitlets.validate("logits")
    def _validate_logits(self, proposal: Any) -> np.ndarray:
        logits = _checked_logits(proposal.value)
        if len(logits) != len(self.tokens):
            raise ValueError(
                f"logits must be {len(self.tokens)} numbers, one for each token, got {len(logits)}"
            )
        return logits

    @traitlets.validate("tokens")
    def _validate_tokens(self, proposal: Any) -> list[str]:
        return texts("tokens", proposal.value, len(self.logits), each="logit")

    @traitlets.validate("temperature")
    def _validate_temperature(self, proposal: Any) -> float:
        return number("temperature", proposal.value, above=0)

    @traitlets.validate("top_k")
    def _validate_top_k(self, proposal: Any) -> int | None:
        return None if proposal.value is None else integer("top_k", proposal.value, at_least=1)

    @traitlets.validate("top_p")
    def _validate_top_p(self, proposal: Any) -> float | None:
        if proposal.value is None:
            return None
        return number("top_p", proposal.value, above=0, at_most=1)

    @traitlets.validate("min_p")
    def _validate_min_p(self, proposal: Any) -> float | None:
        if proposal.value is None:
            return None
        return number("min_p", proposal.value, at_least=0, at_most=1)

    @traitlets.validate("seed")
    def _validate_seed(self, proposal: Any) -> int:
        return integer("seed", proposal.value, at_least=0, at_most=2**32 - 1)

    @traitlets.validate("context")
    def _validate_context(self, proposal: Any) -> str:
        return text("context", proposal.value)

    @traitlets.observe("logits", "temperature", "top_k", "top_p", "min_p", "seed")
    def _clear_drawn(self, _change: Any) -> None:
        self.drawn = {}


def _texts_ahead(
    settings: dict[str, Any], seed: int, n_seeds: int, presets: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the settings and the seed of every text that a page holds, none of them twice."""
    seeds = range(seed, min(seed + n_seeds, 2**32))
    texts = [{**settings, "seed": seed} for seed in seeds]
    off = {"temperature": 1.0, "top_k": None, "top_p": None, "min_p": None}
    for preset in presets:
        text = {**off, **preset, "seed": seed}
        if len(text) > len(off) + 1:
            raise ValueError(f"presets must set {', '.join(off)} alone, got {dict(preset)}")
        texts += [text] if text not in texts else []
    return texts


def _room(model: Any, length: int) -> int | None:
    """Return how many tokens a prompt of this length leaves room for in the model's context."""
    config = getattr(model, "config", None)
    for name in ("n_positions", "max_position_embeddings"):
        if positions := getattr(config, name, None):
            if length > positions:
                raise ValueError(
                    f"prompt must have at most {positions} tokens, the model's context, "
                    f"got {length}"
                )
            return positions - length
    return None


def _checked_logits(logits: Any) -> np.ndarray:
    logits = finite_array("logits", logits, ndim=1, allow_minus_inf=True)
    softmax(logits)  # refuses logits that leave no token possible
    logits = logits.astype(np.float64)
    small = np.abs(logits) < 1e9  # beyond, float64 has hardly six decimals left
    # Adding 0 turns -0.0, which prints differently, into 0.0.
    logits[small] = np.round(logits[small], DECIMALS) + 0.0
    logits.flags.writeable = False
    return logits
