"""GateView: what each unit of a character LSTM does at each character of a text."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import traitlets
from jaxtyping import Float, Int

from lmcourse._arguments import finite_array, integer, one_of, text
from lmcourse.widgets._widget import Widget, script_and_style, table, visible

MOST_CHARACTERS = 2000
LARGEST_CODE = 2**15 - 1
DECIMALS_OF_DRIFT = 4
ROWS_OF_SUMMARY = 10
# What a step computes, in this order, and how it is written.
QUANTITIES = {
    "input": "input gate i",
    "forget": "forget gate f",
    "candidate": "candidate c̃",
    "output": "output gate o",
    "cell": "cell state c",
    "tanh_cell": "tanh(c)",
    "hidden": "hidden state h",
}
PARTS = tuple(QUANTITIES)
PROPERTIES = ("quotation", "line", "word", "space", "capital", "selection")
STORED = ("characters", "units", "width", "codes", "floats", "texts", "drift")
SETTINGS = ("text", "unit", "quantity", "focus", "search")
# Layers that leave no trace in a prediction.
SILENT = ("InputLayer", "Dropout")


class Drift(NamedTuple):
    """How far what the page computes is from the model, on the texts given.

    Each is the largest absolute difference, to 4 decimals.

    Attributes:
        gates: of the input, forget and output gates.
        cell: of the cell state c, as a share of the largest abs(c) of its unit in its text.
        tanh_cell: of tanh(c).
        probability: of a next character's probability.
    """

    gates: float
    cell: float
    tanh_cell: float
    probability: float


class Weights(NamedTuple):
    """The weights of a character LSTM in Keras's layout; gates in the order i, f, c, o.

    Attributes:
        embedding: a row for each character.
        kernel: of the LSTM, for its input.
        recurrent_kernel: of the LSTM, for its hidden state.
        bias: of the LSTM.
        dense_kernel: of the output layer.
        dense_bias: of the output layer.
    """

    embedding: Float[np.ndarray, "vocab width"]
    kernel: Float[np.ndarray, "width 4*units"]
    recurrent_kernel: Float[np.ndarray, "units 4*units"]
    bias: Float[np.ndarray, " 4*units"]
    dense_kernel: Float[np.ndarray, "units vocab"]
    dense_bias: Float[np.ndarray, " vocab"]


class GateView(Widget):
    """Shows gates, cells and hidden states of a character LSTM along a text that a reader types.

    The text is the axis: each character has the colour that one unit's gate, candidate, cell state
    or hidden state has after the network has read it, and a heat map below has all units. The cell
    state c has no bounds, so each unit's colours reach to its own largest abs(c) in the text, which
    the legend states; tanh(c) would hide what a cell counts beyond 3. A character
    looked at gives its numbers and the likeliest next characters. A search ranks the units by how
    their values correlate with a property of the text: being inside quotation marks, the place in
    the line, being inside a word, the distance from the last space, capital letters, or a stretch
    that the reader has marked.

    The page runs the LSTM itself, with a kernel and without, so everything follows each key that is
    pressed. With a kernel the attributes ``text``, ``unit``, ``quantity``, ``focus`` and ``search``
    follow the page, and setting one changes the page.

    Each weight is kept in 16 bits: a whole number times the scale of its column. ``drift`` has what
    that changes on the texts given, and the page states it; in the course's model tanh(c) moves by
    0.001 at most. In 8 bits, which take half the room, it moved by up to 0.12, and in half
    precision by 0.005, because a cell that keeps its state for long adds the errors up. The page
    grows by 2.67 bytes a weight.

    Equations: eq-lstm-gates, eq-lstm-cell

    Args:
        model: a model of ``lmcourse.keras`` with one Embedding, one LSTM with Keras's own
            activations, and one Dense layer that gives each next character's logit or probability;
            Dropout may stand between them.
        characters: the character of each id. An empty string, if there is one, is the id that
            every other character is read as; if there is none, the network skips them.
        texts: to begin with and to choose from, each of up to 2000 characters: strings, or a
            mapping from names to strings.
        unit: which unit is shown; ``None`` is the one whose values vary the most in the first text.
        quantity: ``"input"``, ``"forget"``, ``"candidate"``, ``"output"``, ``"cell"`` (c),
            ``"tanh_cell"`` (tanh(c)) or ``"hidden"``.
        focus: the place of the character looked at; ``None`` is the last one.
        search: the property that units are ranked by: ``"quotation"``, ``"line"``, ``"word"``,
            ``"space"``, ``"capital"`` or ``"selection"``.

    Attributes:
        characters: as given, as a list.
        texts: pairs of a name and a text.
        units, width: how many units the LSTM has, and how many numbers the embedding.
        codes, floats: the weights, in base64: 16-bit whole numbers, and single precision for the
            scales of their columns and for the biases.
        drift: what their rounding changes, a :class:`Drift`.
        text: the text shown, the first of ``texts`` at first; can be set.
        unit, quantity, focus, search: as given; can be set.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: ``model`` has other layers, or an LSTM that computes something else;
            ``characters`` are not as many as its ids, or one is there twice; there is no text, or
            one is empty or too long; an option is out of range.
    """

    _esm, _css = script_and_style("gate_view")

    characters = traitlets.Any(read_only=True).tag(sync=True)
    texts = traitlets.Any(read_only=True).tag(sync=True)
    units = traitlets.Any(read_only=True).tag(sync=True)
    width = traitlets.Any(read_only=True).tag(sync=True)
    codes = traitlets.Any(read_only=True).tag(sync=True)
    floats = traitlets.Any(read_only=True).tag(sync=True)
    drift = traitlets.Any(read_only=True).tag(sync=True)
    # Unlike Any, whose None no validator sees.
    text = traitlets.TraitType("").tag(sync=True)
    unit = traitlets.TraitType(0).tag(sync=True)
    quantity = traitlets.TraitType("cell").tag(sync=True)
    focus = traitlets.Any(None).tag(sync=True)
    search = traitlets.TraitType("quotation").tag(sync=True)

    def __init__(
        self,
        model: Any,
        characters: Sequence[str],
        texts: Sequence[str] | Mapping[str, str],
        *,
        unit: int | None = None,
        quantity: str = "cell",
        focus: int | None = None,
        search: str = "quotation",
    ):
        weights = _weights(model)
        texts = _checked_texts(texts)
        codes, floats = _encoded(weights)
        stored = {
            "characters": _checked_characters(characters, len(weights.embedding)),
            "texts": texts,
            "units": len(weights.recurrent_kernel),
            "width": len(weights.kernel),
            "codes": base64.b64encode(codes.tobytes()).decode("ascii"),
            "floats": base64.b64encode(floats.tobytes()).decode("ascii"),
        }
        for name, value in stored.items():
            self.set_trait(name, value)
        self._weights = _decoded(codes, floats, weights)
        self.set_trait("drift", self._drift_from(weights))
        first = texts[0][1]
        if unit is None:
            one_of("quantity", quantity, tuple(QUANTITIES))
            states = self._states(self._weights, first)[:, PARTS.index(quantity)]
            unit = int(np.nanvar(states, axis=0).argmax())
        super().__init__(text=first, unit=unit, quantity=quantity, focus=focus, search=search)

    @property
    def values(self) -> Float[np.ndarray, "characters units"]:
        """The chosen quantity of every unit after each character of ``text``.

        They are NaN where the network skips a character.
        """
        return self._states(self._weights, self.text)[:, PARTS.index(self.quantity)]

    @property
    def probabilities(self) -> Float[np.ndarray, "characters vocab"]:
        """The probability of each next character after each character of ``text``.

        They are NaN where the network skips a character.
        """
        return _probabilities(self._weights, self._states(self._weights, self.text))

    def page_state(self) -> dict[str, Any]:
        """Return the state that the built page draws the widget from."""
        return {name: getattr(self, name) for name in (*STORED, *SETTINGS)}

    def summary(self) -> str:
        """Return a table of where the unit's values are largest, for readers without JavaScript."""
        values = np.nan_to_num(self.values[:, self.unit])
        names = [visible(character) if character else "another" for character in self.characters]
        likeliest = np.nan_to_num(self.probabilities).argmax(axis=1)
        largest = np.argsort(-np.abs(values), kind="stable")[:ROWS_OF_SUMMARY]
        rows = [
            (
                f"{visible(self.text[i])} ({i})",
                "".join(map(visible, self.text[max(i - 20, 0) : i + 1])),
                f"{values[i]:.2f}",
                names[likeliest[i]],
            )
            for i in largest
        ]
        header = ("Character", "Text up to it", QUANTITIES[self.quantity], "Likeliest next")
        return f"<p>{html.escape(self._sentences())}</p>{table(header, rows)}"

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in SETTINGS[1:])
        size = f"{self.units} units, {len(self.characters)} characters"
        return f"GateView({size}, {len(self.text)} characters of text, {settings})"

    def _sentences(self) -> str:
        """Say what is shown and what is stored, in the page's words."""
        drift = self.drift
        return (
            f"{QUANTITIES[self.quantity].capitalize()} of unit {self.unit} "
            f"({_count(self.units, 'unit')}; {_count(len(self.text), 'character')} of text). "
            "Weights are stored in 16 bits: on the texts given that moves gates by at most "
            f"{drift.gates:.4f}, c by {drift.cell:.4f} of its unit's largest |c|, "
            f"tanh(c) by {drift.tanh_cell:.4f} and the probability of a next character by "
            f"{drift.probability:.4f}."
        )

    def _states(self, weights: Weights, read: str) -> Float[np.ndarray, "characters parts units"]:
        """Return all parts of all steps; NaN where a character is skipped."""
        ids = {character: i for i, character in enumerate(self.characters)}
        known = [ids.get(character, ids.get("", -1)) for character in read]
        return _states(weights, np.array(known, dtype=np.int64))

    def _drift_from(self, given: Weights) -> Drift:
        largest = np.zeros(len(Drift._fields))
        for _, read in self.texts:
            states = [self._states(weights, read) for weights in (given, self._weights)]
            moved = np.abs(np.nan_to_num(states[1] - states[0]))
            cell = PARTS.index("cell")
            scale = np.abs(np.nan_to_num(states[0][:, cell])).max(axis=0)
            chances = [
                _probabilities(weights, one)
                for weights, one in zip((given, self._weights), states, strict=True)
            ]
            gates = [PARTS.index(name) for name in ("input", "forget", "output")]
            drift = (
                moved[:, gates].max(),
                (moved[:, cell] / np.where(scale > 0, scale, 1)).max(),
                moved[:, PARTS.index("tanh_cell")].max(),
                np.abs(np.nan_to_num(chances[1] - chances[0])).max(),
            )
            largest = np.maximum(largest, drift)
        # Rounded, because sums differ in their last bits from machine to machine.
        return Drift(*(round(float(drift), DECIMALS_OF_DRIFT) for drift in largest))

    @traitlets.validate("text")
    def _validate_text(self, proposal: Any) -> str:
        return _checked_text("text", proposal.value)

    @traitlets.validate("unit")
    def _validate_unit(self, proposal: Any) -> int:
        return integer("unit", proposal.value, at_least=0, at_most=self.units - 1)

    @traitlets.validate("quantity")
    def _validate_quantity(self, proposal: Any) -> str:
        return one_of("quantity", proposal.value, tuple(QUANTITIES))

    @traitlets.validate("focus")
    def _validate_focus(self, proposal: Any) -> int | None:
        if proposal.value is None:
            return None
        return integer("focus", proposal.value, at_least=0, at_most=len(self.text) - 1)

    @traitlets.validate("search")
    def _validate_search(self, proposal: Any) -> str:
        return one_of("search", proposal.value, PROPERTIES)

    @traitlets.observe("text")
    def _let_go(self, _change: Any) -> None:
        if self.focus is not None and self.focus >= len(self.text):
            self.focus = None


# --- The model -----------------------------------------------------------------------------------


def _weights(model: Any) -> Weights:
    """Return the weights of the model's three layers, in float64."""
    layers = getattr(model, "layers", None)
    if not isinstance(layers, (list, tuple)):
        raise TypeError(f"model must be a model of lmcourse.keras, got {type(model).__name__}")
    kinds = [type(layer).__name__ for layer in layers]
    spoken = [kind for kind in kinds if kind not in SILENT]
    if spoken != ["Embedding", "LSTM", "Dense"]:
        raise ValueError(
            "model must have the layers Embedding, LSTM and Dense, one of each, "
            f"got {', '.join(kinds) or 'none'}"
        )
    embedding, lstm, dense = (layers[kinds.index(kind)] for kind in spoken)
    _check_options(embedding, mask_zero=False)
    _check_options(lstm, activation="tanh", recurrent_activation="sigmoid", use_bias=True)
    _check_options(lstm, go_backwards=False)
    _check_options(dense, use_bias=True)
    arrays = [*embedding.get_weights(), *lstm.get_weights(), *dense.get_weights()]
    if len(arrays) != len(Weights._fields):
        raise ValueError("model must be built, so that its layers have weights; call it once")
    checked = [
        finite_array(f"model's {name}", array)
        for name, array in zip(Weights._fields, arrays, strict=True)
    ]
    weights = Weights(*(array.astype(np.float64) for array in checked))
    if weights.dense_kernel.shape[1] != len(weights.embedding):
        raise ValueError(
            "model must have as many outputs as characters that it reads, got "
            f"{weights.dense_kernel.shape[1]} outputs and {len(weights.embedding)} characters"
        )
    return weights


def _check_options(layer: Any, **wanted: Any) -> None:
    config = layer.get_config()
    for name, value in wanted.items():
        if config[name] != value:
            raise ValueError(
                f"model's {type(layer).__name__} must have {name}={value!r}, got {config[name]!r}"
            )


def _checked_characters(characters: Any, count: int) -> list[str]:
    checked = [text(f"characters[{i}]", one) for i, one in enumerate(characters)]
    for i, one in enumerate(checked):
        if len(one) > 1:
            raise ValueError(f"characters[{i}] must be one character or '', got {one!r:.40}")
        if checked.index(one) < i:
            raise ValueError(f"characters[{i}] is {one!r}, which characters has twice")
    if len(checked) != count:
        raise ValueError(
            f"characters must be {count}, one for each id of the model, got {len(checked)}"
        )
    return checked


def _checked_texts(texts: Any) -> list[tuple[str, str]]:
    """Return pairs of a name and a text; a text without a name has its first words as one."""
    if isinstance(texts, str):
        raise TypeError(f"texts must be strings or a mapping to strings, got {texts!r:.60}")
    if isinstance(texts, Mapping):
        named = [(text("a name in texts", name), f"texts[{name!r}]") for name in texts]
        values = list(texts.values())
    else:
        values = list(texts)
        named = [(None, f"texts[{i}]") for i in range(len(values))]
    if not values:
        raise ValueError("texts must have at least one text, got none")
    checked = [
        _checked_text(place, value, allow_empty=False)
        for (_, place), value in zip(named, values, strict=True)
    ]
    names = [
        value.strip().split("\n")[0][:32] if name is None else name
        for (name, _), value in zip(named, checked, strict=True)
    ]
    return list(zip(names, checked, strict=True))


def _checked_text(name: str, value: Any, *, allow_empty: bool = True) -> str:
    value = text(name, value, allow_empty=allow_empty)
    if len(value) > MOST_CHARACTERS:
        raise ValueError(f"{name} must have at most {MOST_CHARACTERS} characters, got {len(value)}")
    return value


# --- Its arithmetic ------------------------------------------------------------------------------


def _encoded(weights: Weights) -> tuple[Int[np.ndarray, " codes"], Float[np.ndarray, " floats"]]:
    """Return the matrices in whole numbers, and the scales of their columns and the biases."""
    matrices = [array for array in weights if array.ndim == 2]
    scales = [_scale(matrix) for matrix in matrices]
    codes = [
        np.rint(matrix / scale).astype("<i2").ravel()
        for matrix, scale in zip(matrices, scales, strict=True)
    ]
    floats = [*scales, weights.bias, weights.dense_bias]
    return np.concatenate(codes), np.concatenate(floats).astype("<f4")


def _scale(matrix: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, " columns"]:
    largest = np.abs(matrix).max(axis=0)
    return np.where(largest > 0, largest / LARGEST_CODE, 1).astype("<f4")


def _decoded(
    codes: Int[np.ndarray, " codes"], floats: Float[np.ndarray, " floats"], like: Weights
) -> Weights:
    """Return the weights that codes stand for, as the page has them."""
    matrices = [array for array in like if array.ndim == 2]
    ends = np.cumsum([matrix.size for matrix in matrices])[:-1]
    sizes = [matrix.shape[1] for matrix in matrices] + [like.bias.size]
    *scales, bias, dense_bias = np.split(floats.astype(np.float64), np.cumsum(sizes))
    embedding, kernel, recurrent_kernel, dense_kernel = (
        part.reshape(matrix.shape) * scale
        for part, matrix, scale in zip(np.split(codes, ends), matrices, scales, strict=True)
    )
    return Weights(embedding, kernel, recurrent_kernel, bias, dense_kernel, dense_bias)


def _states(
    weights: Weights, ids: Int[np.ndarray, " characters"]
) -> Float[np.ndarray, "characters parts units"]:
    """Run the LSTM over ids; -1 is skipped, and its row is NaN."""
    units = len(weights.recurrent_kernel)
    inputs = weights.embedding @ weights.kernel + weights.bias
    states = np.full((len(ids), len(PARTS), units), np.nan)
    cell = hidden = np.zeros(units)
    for t, token_id in enumerate(ids):
        if token_id < 0:
            continue
        scores = (inputs[token_id] + hidden @ weights.recurrent_kernel).reshape(4, units)
        input_gate, forget_gate, output_gate = _sigmoid(scores[[0, 1, 3]])
        candidate = np.tanh(scores[2])
        cell = forget_gate * cell + input_gate * candidate
        hidden = output_gate * np.tanh(cell)
        parts = (input_gate, forget_gate, candidate, output_gate, cell, np.tanh(cell), hidden)
        states[t] = parts
    return states


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * x)  # never overflows


def _probabilities(
    weights: Weights, states: Float[np.ndarray, "characters parts units"]
) -> Float[np.ndarray, "characters vocab"]:
    logits = states[:, PARTS.index("hidden")] @ weights.dense_kernel + weights.dense_bias
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
