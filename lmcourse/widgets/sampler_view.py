"""SamplerView: what temperature, top-k, top-p and min-p do to a next-token distribution."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import traitlets
from jaxtyping import Float, Int

from lmcourse._arguments import finite_array, integer, number, text
from lmcourse.probability import entropy, sampling_distribution, softmax
from lmcourse.widgets._widget import Widget, script_and_style, table, texts, visible

# Stored logits keep this many decimals: far finer than a probability that anyone can see, and
# coarse enough that the last bits in which machines differ do not change the stored page.
DECIMALS = 6
ROWS_OF_SUMMARY = 10


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

    @property
    def probabilities(self) -> Float[np.ndarray, " vocab"]:
        """The distribution that tokens are now drawn from."""
        return sampling_distribution(
            self.logits,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
        )

    @property
    def counts(self) -> Int[np.ndarray, " vocab"]:
        """How often each token was drawn since the distribution last changed."""
        counts = np.zeros(len(self.tokens), dtype=np.int64)
        for token_id, count in self.drawn.items():
            counts[int(token_id)] = count
        return counts

    def page_state(self) -> dict[str, Any]:
        """Return the state that the built page draws the widget from; draws are not stored."""
        return {
            "logits": _logits_to_json(self.logits),
            "tokens": self.tokens,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "min_p": self.min_p,
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
        after = f" after “{html.escape(self.context)}”" if self.context else ""
        return (
            f"<p>Next token{after}: {np.count_nonzero(sampling)} of {len(self.tokens)} tokens "
            f"kept, entropy {bits:.2f} bits ({self._settings()}).</p>"
            + table(("Token", "Model", "Sampling"), rows)
        )

    def __repr__(self) -> str:
        return f"SamplerView({len(self.tokens)} tokens, {self._settings()}, seed={self.seed})"

    def _settings(self) -> str:
        names = ("temperature", "top_k", "top_p", "min_p")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)

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


def _checked_logits(logits: Any) -> np.ndarray:
    logits = finite_array("logits", logits, ndim=1, allow_minus_inf=True)
    softmax(logits)  # refuses logits that leave no token possible
    logits = logits.astype(np.float64)
    small = np.abs(logits) < 1e9  # beyond, float64 has hardly six decimals left
    # Adding 0 turns -0.0, which prints differently, into 0.0.
    logits[small] = np.round(logits[small], DECIMALS) + 0.0
    logits.flags.writeable = False
    return logits
