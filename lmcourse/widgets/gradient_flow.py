"""GradientFlow: how far back a prediction's gradient reaches, in an RNN and in a GRU."""

from __future__ import annotations

import copy
import html
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import traitlets
from jaxtyping import Int

from lmcourse._arguments import finite_array, integer, number, token_ids
from lmcourse.rnn import GRU, RNN, FlowNorms, RecurrentModel, gradient_flow, spectral_radius
from lmcourse.widgets._widget import Widget, script_and_style, table, texts, visible

# Stored weights keep this many decimals: finer than any line in the chart, and short as JSON.
DECIMALS = 4
LARGEST_RADIUS = 10
# Two equal shares, each of them half, may differ in their last bits.
ALMOST_HALF = 0.5 * (1 - 1e-9)
STEPS_OF_SUMMARY = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def _to_json(model: RecurrentModel, widget: GradientFlow) -> dict[str, Any]:
    """Return a model's weights; of the embedding only the rows of the tokens that are read."""
    weights = {name: value.tolist() for name, value in model.parameters.items()}
    rows = sorted(set(widget.ids[:-1]))
    weights["embedding"] = {str(row): weights["embedding"][row] for row in rows}
    return {"spectral_radius": _radius(model), **weights}


class GradientFlow(Widget):
    """Shows how much one prediction of an RNN, and of a GRU, depends on each token before it.

    A chart draws the norm of the loss's gradient with respect to each state h_t against the steps
    back from the predicted token, as :func:`lmcourse.rnn.gradient_flow` computes it. Below, the
    text itself is shaded: a token's share is the norm of the gradient with respect to its
    embedding, divided by the sum of these norms.

    Three sliders change what is computed. The sequence length is how many tokens before the
    predicted one are read, from a state of zeros. The spectral radius rescales the RNN's W_h and
    the block of the GRU's recurrent weight that makes the candidate, U_n. The update-gate bias is
    added to the bias of the GRU's z: above 0, the GRU keeps more of its state. The models are not
    trained again, so their predictions suffer; each one's probability for the right token is shown.

    With a kernel the attributes follow the sliders, and setting an attribute moves its slider. In
    the built book the page does the same arithmetic itself. For that it holds all weights but the
    embedding's unread rows, about 7.5 bytes a number: with 69 tokens, an embedding of 16 numbers
    and 32 states it is about 90 kB, and it grows with the vocabulary times the states and with the
    square of the states.

    Equations: eq-rnn-jacobian, eq-rnn-spectral-radius, eq-rnn-gru

    Args:
        rnn: a model around an ``RNN``.
        gru: a model around a ``GRU``, of the same vocabulary.
        ids: token ids of a text of at least three tokens; the last one is predicted.
        tokens: the text of each token of the vocabulary; blanks are made visible.
        length: how many tokens before the last one are read, at least 2; ``None`` reads them all.
        spectral_radius: of the recurrent weights, in [0, 10]; ``None`` leaves them as trained.
        gate_bias: what is added to the update gate's bias.

    Attributes:
        rnn, gru: the models with their weights in float64 and rounded to 4 decimals.
        ids, tokens: as given.
        length, spectral_radius, gate_bias: as given; these three can be set.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a model has the wrong kind of layer, another vocabulary than the other, a weight
            that is not finite, or a recurrent weight of spectral radius 0, which no factor can
            rescale; ``tokens`` are not as many as the vocabulary; an id or an option is out of
            range.
    """

    _esm, _css = script_and_style("gradient_flow")

    rnn = traitlets.Any(read_only=True).tag(sync=True, to_json=_to_json)
    gru = traitlets.Any(read_only=True).tag(sync=True, to_json=_to_json)
    ids = traitlets.Any(read_only=True).tag(sync=True)
    tokens = traitlets.Any(read_only=True).tag(sync=True)
    length = traitlets.TraitType().tag(sync=True)
    spectral_radius = traitlets.Any(None).tag(sync=True)
    gate_bias = traitlets.TraitType(0.0).tag(sync=True)

    def __init__(
        self,
        rnn: RecurrentModel,
        gru: RecurrentModel,
        ids: Int[np.ndarray, " time"],
        tokens: Sequence[str],
        *,
        length: int | None = None,
        spectral_radius: Real | None = None,
        gate_bias: Real = 0.0,
    ):
        rnn, gru = _checked_model("rnn", rnn, RNN), _checked_model("gru", gru, GRU)
        if rnn.vocab_size != gru.vocab_size:
            raise ValueError(
                f"gru must have rnn's vocabulary of {rnn.vocab_size} tokens, got {gru.vocab_size}"
            )
        ids = token_ids("ids", ids, rnn.vocab_size, ndim=1).tolist()
        if len(ids) < 3:
            raise ValueError(f"ids must hold at least three tokens, the last to predict, got {ids}")
        tokens = texts("tokens", tokens, rnn.vocab_size, each="token of the vocabulary")
        for name, value in {"rnn": rnn, "gru": gru, "ids": ids, "tokens": tokens}.items():
            self.set_trait(name, value)
        super().__init__(
            length=len(ids) - 1 if length is None else length,
            spectral_radius=spectral_radius,
            gate_bias=gate_bias,
        )

    @property
    def rnn_flow(self) -> FlowNorms:
        """The norms of the RNN's gradients at the present settings, oldest step first."""
        return gradient_flow(self._set(self.rnn), self._read_ids())

    @property
    def gru_flow(self) -> FlowNorms:
        """The norms of the GRU's gradients at the present settings, oldest step first."""
        return gradient_flow(self._set(self.gru), self._read_ids())

    def page_state(self) -> dict[str, Any]:
        """Return the state that the built page draws the widget from."""
        return {
            "rnn": _to_json(self.rnn, self),
            "gru": _to_json(self.gru, self),
            "ids": self.ids,
            "tokens": self.tokens,
            "length": self.length,
            "spectral_radius": self.spectral_radius,
            "gate_bias": self.gate_bias,
        }

    def summary(self) -> str:
        """Return the gradients at some steps, and words, for readers without JavaScript."""
        rnn, gru = self.rnn_flow.hidden_states[::-1], self.gru_flow.hidden_states[::-1]
        steps = sorted({*(s for s in STEPS_OF_SUMMARY if s < self.length), self.length})
        rows = [
            (f"{s}", visible(self.tokens[self.ids[-1 - s]]), _brief(rnn[s - 1]), _brief(gru[s - 1]))
            for s in steps
        ]
        read = "".join(self.tokens[i] for i in self._read_ids()[:-1])
        return (
            f"<p>The token after “{html.escape(read)}” ({self._settings()}). "
            f"{html.escape(self._sentences())}</p>"
            + table(("Steps back", "Token", "RNN: norm of dL/dh", "GRU: norm of dL/dh"), rows)
        )

    def __repr__(self) -> str:
        return f"GradientFlow({len(self.ids)} tokens, {self._settings()})"

    def _settings(self) -> str:
        names = ("length", "spectral_radius", "gate_bias")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)

    def _sentences(self) -> str:
        """Say what the chart shows, in the page's words."""
        (rnn, gru), target = (self.rnn_flow, self.gru_flow), visible(self.tokens[self.ids[-1]])
        rnn_p, gru_p = (self._probability(model) for model in (self.rnn, self.gru))
        return (
            f"Between 1 and {self.length} steps back, the RNN’s gradient is multiplied by "
            f"{_brief(_growth(rnn))}, the GRU’s by {_brief(_growth(gru))}. Half of the RNN’s "
            f"dependence lies in {_last_tokens(_half(rnn))}, half of the GRU’s in "
            f"{_last_tokens(_half(gru))}. The right token, “{target}”, has probability "
            f"{rnn_p:.1%} in the RNN, {gru_p:.1%} in the GRU."
        )

    def _read_ids(self) -> np.ndarray:
        """Return the ids of the tokens that are read, and of the predicted one."""
        return np.array(self.ids[-1 - self.length :])

    def _probability(self, model: RecurrentModel) -> float:
        *read, target = self._read_ids()
        return float(self._set(model).probabilities(np.array(read))[target])

    def _set(self, model: RecurrentModel) -> RecurrentModel:
        """Return a copy of ``model`` as the sliders change it."""
        model, hidden = copy.deepcopy(model), model.layer.hidden_size
        if self.spectral_radius is not None:
            candidate = model.parameters["recurrent_weight"][:, -hidden:]  # in an RNN all there is
            candidate *= self.spectral_radius / _radius(model)
        model.parameters["bias"][hidden : 2 * hidden] += self.gate_bias  # an RNN has no such block
        return model

    @traitlets.validate("length")
    def _validate_length(self, proposal: Any) -> int:
        return integer("length", proposal.value, at_least=2, at_most=len(self.ids) - 1)

    @traitlets.validate("spectral_radius")
    def _validate_spectral_radius(self, proposal: Any) -> float | None:
        if proposal.value is None:
            return None
        return number("spectral_radius", proposal.value, at_least=0, at_most=LARGEST_RADIUS)

    @traitlets.validate("gate_bias")
    def _validate_gate_bias(self, proposal: Any) -> float:
        return number("gate_bias", proposal.value)


def _checked_model(name: str, model: Any, layer: type[RNN] | type[GRU]) -> RecurrentModel:
    """Return a copy of ``model`` in float64, with the rounded weights that the page computes with.

    Raises:
        TypeError: ``model`` is not a ``RecurrentModel``.
        ValueError: its layer is not a ``layer``, a weight is not finite, or no factor can rescale
            its recurrent weight.
    """
    if not isinstance(model, RecurrentModel):
        raise TypeError(f"{name} must be a RecurrentModel, got {type(model).__name__}")
    if not isinstance(model.layer, layer):
        raise ValueError(
            f"{name} must have a layer of type {layer.__name__}, got {type(model.layer).__name__}"
        )
    sizes = model.layer.input_size, model.layer.hidden_size
    rounded = RecurrentModel(model.vocab_size, layer(*sizes, dtype=np.float64))
    for key, value in model.parameters.items():
        value = finite_array(f"{name}.parameters[{key!r}]", value)
        # Adding 0 turns -0.0, which prints differently, into 0.0.
        rounded.parameters[key][:] = np.round(value.astype(np.float64), DECIMALS) + 0.0
    if _radius(rounded) == 0:
        raise ValueError(f"{name}'s recurrent weight must have a spectral radius above 0, got 0")
    return rounded


def _radius(model: RecurrentModel) -> float:
    """Return the spectral radius of an RNN's W_h or of a GRU's U_n.

    It is rounded to 11 digits, because its last bits differ from machine to machine.
    """
    candidate = model.parameters["recurrent_weight"][:, -model.layer.hidden_size :]
    return float(f"{spectral_radius(candidate):.11g}")


def _growth(flow: FlowNorms) -> float:
    """Return what the gradient is multiplied by from the last state read to the first."""
    oldest, newest = flow.hidden_states[[0, -1]]
    return float(oldest / newest) if newest > 0 else 0.0


def _half(flow: FlowNorms) -> int:
    """Return how many of the last tokens hold half of the dependence."""
    held = np.cumsum(flow.inputs[::-1])
    return int(np.argmax(held >= ALMOST_HALF * held[-1])) + 1


def _brief(x: float) -> str:
    """Write a number that is not negative with two digits, as the page does."""
    if not math.isfinite(x):
        return "overflow"
    if x == 0 or 1e-3 <= x < 1e3:
        return f"{float(f'{x:.2g}'):g}"
    mantissa, exponent = f"{x:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _last_tokens(n: int) -> str:
    return "the last token" if n == 1 else f"the last {n} tokens"
