"""AttentionView: which tokens attend to which, in every head of every layer."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import traitlets
from jaxtyping import Bool, Float, UInt8

from lmcourse._arguments import finite_array, integer, one_of
from lmcourse.widgets._widget import Widget, script_and_style, table, texts, visible

MOST_TOKENS = 1024
MOST_WEIGHTS = 2**24
LARGEST_CODE = 255
# Half precision rounds each weight by up to 1 in 256, and so does a row's sum.
LARGEST_SUM_ERROR = 0.01
SMALL = 1e-3  # below, the relative error is not counted
DECIMALS_OF_ERRORS = (3, 4)  # as the page shows them
ROWS_OF_SUMMARY = 10
VIEWS = ("matrix", "arcs")
MEAN, ALL = "mean", "all"
STORED = ("tokens", "key_tokens", "layers", "heads", "causal", "codes", "reconstruction_error")
SETTINGS = ("layer", "head", "focus", "view")
EAGER = (
    "a Hugging Face model gives its weights if it was loaded with attn_implementation='eager' "
    "and is called with output_attentions=True"
)


class ReconstructionError(NamedTuple):
    """How far the stored weights are from those given.

    Attributes:
        mean_relative: the mean relative error of the weights above 0.001, to 3 decimals.
        largest_absolute: the largest absolute error of all weights, to 4 decimals.
    """

    mean_relative: float
    largest_absolute: float


class AttentionView(Widget):
    """Shows the attention weights of a model, head by head.

    A matrix, or arcs between two columns of tokens, shows one head of one layer, the mean of a
    layer's heads, or all of them in colours of their own; small pictures of all heads show where to
    look. A token or a single weight is looked at with the mouse, by the arrow keys or by its name:
    the view lists what the token attends to and what attends to it, with numbers, and shades the
    text by both.

    With a kernel the attributes ``layer``, ``head``, ``focus`` and ``view`` follow the page, and
    setting one changes the page. In the built book the page does the same itself.

    The square root of each weight is kept in 8 bits, and only the lower triangle if no token
    attends to a later one. That moves a weight p by at most sqrt(p) / 255 and always by less than
    0.004; the mean relative error of weights above 0.001 is 1 to 2 % with 16 tokens and about 3 %
    with 256, where most weights are small. ``reconstruction_error`` has it for the weights given,
    and the page states it. Rows are not scaled to sum to 1 again, because that can move a large
    weight by 0.02 where many small ones were rounded the same way. The page grows by 1.33 bytes a
    weight; of a causal model by half of that.

    Equations: eq-attention-sdpa, eq-attention-causal, eq-attention-multihead

    Args:
        attention: weights of shape (heads, queries, keys) or (layers, heads, queries, keys), or a
            sequence with one array of shape (heads, queries, keys) or (1, heads, queries, keys) for
            each layer, such as the ``attentions`` of a Hugging Face model. Arrays of numpy or torch
            of any precision. The weights of a query sum to 1, or to 0 if it sees no key.
        tokens: the text of each query, up to 1024; blanks are made visible.
        key_tokens: the text of each key, where these are other tokens than the queries.
        layer: which layer is shown.
        head: which head is shown, ``"mean"`` (the mean of the layer's heads), or ``"all"`` (each of
            them in its own colour).
        focus: the token looked at, or a pair (query, key), one of which may be ``None``; a token's
            number stands for the pair of the token with itself, or, with ``key_tokens``, for the
            query alone. ``None`` looks at nothing.
        view: ``"matrix"`` or ``"arcs"``.

    Attributes:
        tokens, key_tokens: as given.
        layers, heads: how many there are.
        causal: whether no query attends to a key after it, in any head. The last query and the last
            key are at the same place.
        codes: the square roots of the weights, one byte each, row by row, in base64; if ``causal``,
            of the keys that each query sees.
        reconstruction_error: of the stored weights, a :class:`ReconstructionError`.
        layer, head, focus, view: as given; can be set. ``focus`` is always a pair or ``None``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: ``attention`` has another shape, more than one text in its batch, more than 2^24
            weights to store, a weight that is negative or not finite, or a row that does not sum to
            1 or 0; ``tokens`` or ``key_tokens`` are not as many; an option is out of range.
    """

    _esm, _css = script_and_style("attention_view")

    tokens = traitlets.Any(read_only=True).tag(sync=True)
    key_tokens = traitlets.Any(None, read_only=True).tag(sync=True)
    layers = traitlets.Any(read_only=True).tag(sync=True)
    heads = traitlets.Any(read_only=True).tag(sync=True)
    causal = traitlets.Any(read_only=True).tag(sync=True)
    codes = traitlets.Any(read_only=True).tag(sync=True)
    reconstruction_error = traitlets.Any(read_only=True).tag(sync=True)
    # Unlike Any, whose None no validator sees.
    layer = traitlets.TraitType(0).tag(sync=True)
    head = traitlets.TraitType(0).tag(sync=True)
    focus = traitlets.Any(None).tag(sync=True)
    view = traitlets.TraitType("matrix").tag(sync=True)

    def __init__(
        self,
        attention: Any,
        tokens: Sequence[str],
        *,
        key_tokens: Sequence[str] | None = None,
        layer: int = 0,
        head: int | str = 0,
        focus: int | Sequence[int | None] | None = None,
        view: str = "matrix",
    ):
        weights = _checked_weights(attention)
        layers, heads, queries, keys = weights.shape
        tokens = texts("tokens", tokens, queries, each="query")
        if key_tokens is not None:
            key_tokens = texts("key_tokens", key_tokens, keys, each="key")
        elif keys != queries:
            raise ValueError(
                f"key_tokens must be given where keys are other tokens than the queries, "
                f"got {queries} queries and {keys} keys"
            )
        self._seen, causal = _seen(weights)
        codes = np.rint(LARGEST_CODE * np.sqrt(np.minimum(weights, 1)))
        codes = codes.astype(np.uint8)[..., self._seen]
        if codes.size > MOST_WEIGHTS:
            raise ValueError(
                f"attention must have at most {MOST_WEIGHTS} weights to store, got {codes.size}; "
                "show fewer layers, heads or tokens"
            )
        stored = {
            "tokens": tokens,
            "key_tokens": key_tokens,
            "layers": layers,
            "heads": heads,
            "causal": causal,
            "codes": base64.b64encode(codes.tobytes()).decode("ascii"),
            "reconstruction_error": _error(weights, _weights(codes, self._seen)),
        }
        for name, value in stored.items():
            self.set_trait(name, value)
        super().__init__(layer=layer, head=head, focus=focus, view=view)

    @property
    def attention(self) -> Float[np.ndarray, "layers heads queries keys"]:
        """The weights as they are stored and shown."""
        codes = np.frombuffer(base64.b64decode(self.codes), np.uint8)
        return _weights(codes.reshape(self.layers, self.heads, -1), self._seen)

    def page_state(self) -> dict[str, Any]:
        """Return the state that the built page draws the widget from."""
        return {name: getattr(self, name) for name in (*STORED, *SETTINGS)}

    def summary(self) -> str:
        """Return a table of the strongest connections, for readers without JavaScript."""
        keys = self.tokens if self.key_tokens is None else self.key_tokens
        rows = []
        for head, i, j, weight in self._strongest(ROWS_OF_SUMMARY):
            row = (f"{visible(self.tokens[i])} ({i})", f"{visible(keys[j])} ({j})", f"{weight:.3f}")
            rows.append((*row, str(head)) if self.head == ALL else row)
        header = ("Token", "attends to", "Weight", "Head")[: 4 if self.head == ALL else 3]
        return f"<p>{html.escape(self._sentences())}</p>{table(header, rows)}"

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in SETTINGS)
        size = f"{self.layers} layers, {self.heads} heads, {len(self.tokens)} tokens"
        return f"AttentionView({size}, {settings})"

    def _strongest(self, count: int) -> list[tuple[int, int, int, float]]:
        """Return the strongest of the weights shown, as (head, query, key, weight).

        If something is looked at, they are among the weights of that query and that key.
        """
        weights = self.attention[self.layer]
        if self.head == MEAN:
            weights = weights.mean(axis=0, keepdims=True)
        elif self.head != ALL:
            weights = weights[[self.head]]
        if self.focus is not None:
            query, key = self.focus
            looked_at = np.zeros(self._seen.shape, dtype=bool)
            looked_at[[] if query is None else query] = True
            looked_at[:, [] if key is None else key] = True
            weights = np.where(looked_at, weights, 0)
        order = np.argsort(-weights, axis=None, kind="stable")[:count]
        places = zip(*np.unravel_index(order, weights.shape), strict=True)
        return [(*map(int, place), float(weights[place])) for place in places if weights[place] > 0]

    def _sentences(self) -> str:
        """Say what is stored and what is shown, in the page's words."""
        tokens = _count(len(self.tokens), "token")
        if self.key_tokens is not None:
            tokens = f"{_count(len(self.tokens), 'query token')}, "
            tokens += _count(len(self.key_tokens), "key token")
        shown = {MEAN: "the mean of its heads", ALL: "all of its heads"}
        mean_relative, largest_absolute = self.reconstruction_error
        return (
            f"Layer {self.layer}, {shown.get(self.head, f'head {self.head}')} "
            f"({_count(self.layers, 'layer')} of {_count(self.heads, 'head')}; {tokens}). "
            f"Weights are stored in 8 bits: {mean_relative:.1%} mean error of those above 0.001, "
            f"{largest_absolute:.4f} at most."
        )

    @traitlets.validate("layer")
    def _validate_layer(self, proposal: Any) -> int:
        return integer("layer", proposal.value, at_least=0, at_most=self.layers - 1)

    @traitlets.validate("head")
    def _validate_head(self, proposal: Any) -> int | str:
        if isinstance(proposal.value, str):
            return one_of("head", proposal.value, (MEAN, ALL))
        return integer("head", proposal.value, at_least=0, at_most=self.heads - 1)

    @traitlets.validate("focus")
    def _validate_focus(self, proposal: Any) -> tuple[int | None, int | None] | None:
        focus = proposal.value
        if focus is None:
            return None
        if not isinstance(focus, Sequence) or isinstance(focus, str):
            token = integer("focus", focus, at_least=0, at_most=len(self.tokens) - 1)
            return token, token if self.key_tokens is None else None
        if len(focus) != 2:
            raise ValueError(
                f"focus must be a token's number, a pair (query, key) or None, got {focus!r:.80}"
            )
        pair = tuple(
            None if place is None else integer(f"focus[{axis}]", place, at_least=0, at_most=last)
            for axis, (place, last) in enumerate(
                zip(focus, (size - 1 for size in self._seen.shape), strict=True)
            )
        )
        return None if pair == (None, None) else pair

    @traitlets.validate("view")
    def _validate_view(self, proposal: Any) -> str:
        return one_of("view", proposal.value, VIEWS)


def _checked_weights(attention: Any) -> Float[np.ndarray, "layers heads queries keys"]:
    """Return the weights of all layers in float64, whatever they came in."""
    if isinstance(attention, (list, tuple)):
        layers = [
            _checked_layer(f"attention[{i}]", _array(f"attention[{i}]", layer))
            for i, layer in enumerate(attention)
        ]
    else:
        array = _array("attention", attention)
        if array.ndim not in (3, 4, 5):
            raise ValueError(
                "attention must have the axes (heads, queries, keys) or "
                f"(layers, heads, queries, keys), got shape {array.shape}"
            )
        if array.ndim == 3:
            array = array[None]
        layers = [_checked_layer(f"attention[{i}]", layer) for i, layer in enumerate(array)]
    if not layers:
        raise ValueError(f"attention must hold at least one layer; {EAGER}")
    for i, layer in enumerate(layers):
        if layer.shape != layers[0].shape:
            raise ValueError(
                f"attention[{i}] must have the shape of attention[0], {layers[0].shape}, "
                f"got {layer.shape}"
            )
    weights = np.stack(layers)
    if max(weights.shape[2:]) > MOST_TOKENS:
        raise ValueError(
            f"attention must be of at most {MOST_TOKENS} tokens, got shape {weights.shape}"
        )
    if (weights < 0).any():
        layer, head, query, key = np.argwhere(weights < 0)[0].tolist()
        raise ValueError(
            f"attention must not be negative, got {weights[layer, head, query, key]:.7g} "
            f"in layer {layer}, head {head}, row {query}, column {key}"
        )
    sums = weights.sum(axis=-1)
    wrong = (np.abs(sums - 1) > LARGEST_SUM_ERROR) & (sums != 0)
    if wrong.any():
        layer, head, query = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            "attention must have rows that sum to 1, or to 0 for a query that sees nothing, "
            f"got the sum {sums[layer, head, query]:.7g} in layer {layer}, head {head}, row {query}"
        )
    return weights


def _checked_layer(name: str, layer: np.ndarray) -> Float[np.ndarray, "heads queries keys"]:
    if layer.ndim == 4 and layer.shape[0] != 1:
        raise ValueError(
            f"{name} must be of one text, got a batch of {layer.shape[0]} in shape {layer.shape}; "
            "pick one, as in [layer[0] for layer in attention]"
        )
    if layer.ndim == 4:
        layer = layer[0]
    if layer.ndim != 3:
        raise ValueError(
            f"{name} must have the axes (heads, queries, keys) or (1, heads, queries, keys), "
            f"got shape {layer.shape}"
        )
    return layer


def _array(name: str, value: Any) -> np.ndarray:
    if value is None:
        raise TypeError(f"{name} must be an array, got None; {EAGER}")
    if hasattr(value, "detach"):  # a tensor; numpy knows neither its gradient nor bfloat16
        value = value.detach().cpu().double().numpy()
    return finite_array(name, value).astype(np.float64)


def _seen(
    weights: Float[np.ndarray, "layers heads queries keys"],
) -> tuple[Bool[np.ndarray, "queries keys"], bool]:
    """Return which keys each query sees, and whether these are the ones up to its own."""
    queries, keys = weights.shape[2:]
    seen = np.tri(queries, keys, keys - queries, dtype=bool)
    if seen.all() or weights[..., ~seen].any():
        return np.ones_like(seen), False
    return seen, True


def _weights(
    codes: UInt8[np.ndarray, "layers heads stored"], seen: Bool[np.ndarray, "queries keys"]
) -> Float[np.ndarray, "layers heads queries keys"]:
    """Return the weights that codes stand for."""
    weights = np.zeros((*codes.shape[:2], *seen.shape))
    weights[..., seen] = (codes / LARGEST_CODE) ** 2
    return weights


def _error(
    given: Float[np.ndarray, "layers heads queries keys"],
    stored: Float[np.ndarray, "layers heads queries keys"],
) -> ReconstructionError:
    error, large = np.abs(stored - given), given > SMALL
    relative = (error[large] / given[large]).mean() if large.any() else 0.0
    # Rounded, because sums differ in their last bits from machine to machine.
    exact = (float(relative), float(error.max()))
    return ReconstructionError(*map(round, exact, DECIMALS_OF_ERRORS))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
