"""AttentionView in Python, in a built page without a kernel, and in JupyterLab with one."""

import base64
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import BartConfig, BartModel, GPT2Config, GPT2LMHeadModel

from lmcourse.widgets import AttentionView
from tests.attention_views import (
    GERMAN,
    HOSTILE_TOKENS,
    SENTENCE,
    cross_view,
    hostile_view,
    long_view,
    random_weights,
    sentence_view,
)
from tests.chromium import OfflinePage, accessibility_violations
from tests.widget_pages import (
    PHONE,
    Lab,
    WidgetInPage,
    build_book,
    evaluate_in_module,
    opened,
    stored_output_of_a_new_process,
)

LETTERS = list("abcdefgh")
ISOLATES = {0x2068: None, 0x2069: None}


def codes_of(view: AttentionView) -> np.ndarray:
    return np.frombuffer(base64.b64decode(view.codes), dtype=np.uint8)


def shown_weights(view: AttentionView) -> np.ndarray:
    """The weights that are shown, (heads, queries, keys): one head, their mean, or each."""
    weights = view.attention[view.layer]
    if view.head == "mean":
        return weights.mean(axis=0, keepdims=True)
    return weights if view.head == "all" else weights[[view.head]]


def keys_of(view: AttentionView) -> list[str]:
    return view.tokens if view.key_tokens is None else view.key_tokens


def weight_text(weight: float) -> str:
    if weight == 0:
        return "0"
    return "<0.001" if weight < 0.0005 else f"{weight:.3f}"


# --- Python: what is stored -------------------------------------------------------------------


def test_square_roots_are_kept_in_a_byte_each():
    weights = np.array([[[1, 0, 0], [0.25, 0.75, 0], [0.5, 0.49, 0.01]]])
    view = AttentionView(weights, list("abc"))
    assert view.causal
    # 255 times 1, 0.5, 0.866, 0.7071, 0.7 and 0.1
    assert codes_of(view).tolist() == [255, 128, 221, 180, 178, 26]
    expected = np.array([[255, 0, 0], [128, 221, 0], [180, 178, 26]])
    np.testing.assert_array_equal(view.attention, [[(expected / 255) ** 2]])


def test_layers_heads_and_rows_keep_their_places():
    weights = random_weights(3, 2, 4, 5)
    view = AttentionView(weights, LETTERS[:4], key_tokens=LETTERS[:5])
    assert (view.layers, view.heads, view.causal) == (3, 2, False)
    assert view.attention.shape == weights.shape
    np.testing.assert_array_equal(
        codes_of(view), np.rint(255 * np.sqrt(weights)).astype(np.uint8).ravel()
    )


@pytest.mark.parametrize(
    ("queries", "keys", "stored"), [(4, 4, 10), (2, 4, 7), (4, 2, 3), (1, 4, 4), (1, 1, 1)]
)
def test_of_causal_attention_the_lower_triangle_alone_is_stored(queries, keys, stored):
    """The last query stands at the last key."""
    scores = np.where(np.tri(queries, keys, keys - queries), np.ones((2, queries, keys)), 0)
    weights = scores / np.maximum(scores.sum(axis=-1, keepdims=True), 1)
    view = AttentionView(weights, LETTERS[:queries], key_tokens=LETTERS[:keys])
    assert len(codes_of(view)) == 2 * stored
    assert view.causal == (stored < queries * keys)
    np.testing.assert_allclose(view.attention[0], weights, atol=0.004)


def test_one_head_that_looks_ahead_makes_all_of_them_not_causal():
    weights = random_weights(2, 2, 5, 5, causal=True)
    assert AttentionView(weights, LETTERS[:5]).causal
    weights[1, 0, 2] = [0.2, 0.2, 0.2, 0.2, 0.2]
    view = AttentionView(weights, LETTERS[:5])
    assert not view.causal
    np.testing.assert_allclose(view.attention, weights, atol=0.004)


@given(seed=st.integers(0, 10**6), scale=st.floats(0, 8), causal=st.booleans())
def test_no_weight_moves_by_more_than_is_said(seed, scale, causal):
    rng = np.random.default_rng(seed)
    layers, heads, tokens = rng.integers(1, [4, 4, 30]).tolist()
    weights = random_weights(
        layers, heads, tokens, tokens, causal=causal, seed=seed, scale=max(scale, 1e-9)
    )
    view = AttentionView(weights, ["x"] * tokens)
    error = np.abs(view.attention - weights)
    assert (error <= np.sqrt(weights) / 255 + 4e-6).all()
    assert error.max() < 0.004
    large = weights > 1e-3
    relative = (error[large] / weights[large]).mean()
    assert view.reconstruction_error.mean_relative == pytest.approx(relative, abs=0.50001e-3)
    assert view.reconstruction_error.largest_absolute == pytest.approx(error.max(), abs=0.50001e-4)


def test_what_the_rounding_costs():
    """As the docstring has it."""
    for tokens, low, high in ((16, 0.008, 0.02), (256, 0.025, 0.037)):
        for scale in (1, 2):
            weights = random_weights(8, tokens, tokens, scale=scale, causal=True)
            error = AttentionView(weights, ["x"] * tokens).reconstruction_error
            assert low < error.mean_relative < high
    # Why rows are not scaled: the many small weights of this one are all rounded down.
    row = np.array([0.57, *[0.43 / 255] * 255])
    view = AttentionView(np.tile(row, (1, 256, 1)), ["x"] * 256)
    stored = view.attention[0, 0, 0]
    assert abs(stored[0] - 0.57) < 0.004 < 0.015 < abs(stored[0] / stored.sum() - 0.57)


def test_weights_that_codes_hold_exactly_have_no_error():
    view = AttentionView(np.eye(4)[None], LETTERS[:4])
    assert view.reconstruction_error == (0, 0)
    assert AttentionView(np.zeros((1, 4, 4)), LETTERS[:4]).reconstruction_error == (0, 0)


def test_a_page_stays_light():
    output = long_view(64)._repr_mimebundle_()[0]["text/html"]
    assert len(output) < 16 * 64 * 65 / 2 * 4 / 3 + 3000


# --- Python: what it takes --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_arrays_of_any_kind_and_precision(dtype):
    weights = random_weights(2, 3, 5, 5)
    tensor = torch.tensor(weights).to(getattr(torch, dtype)).requires_grad_()
    exact = tensor.detach().double().numpy()
    expected = np.rint(255 * np.sqrt(exact)).ravel()
    forms = [tensor, tensor[None].transpose(0, 1), list(tensor), tuple(tensor[:, None])]
    if dtype != "bfloat16":
        array = exact.astype(dtype)
        forms += [array, array[:, None], list(array), tuple(array[:, None])]
    for form in forms:
        view = AttentionView(form, LETTERS[:5])
        assert (view.layers, view.heads) == (2, 3)
        np.testing.assert_array_equal(codes_of(view), expected)
    for form in (tensor[1], [tensor[1]], tensor[1][None]):
        view = AttentionView(form, LETTERS[:5])
        assert (view.layers, view.heads) == (1, 3)
        np.testing.assert_array_equal(codes_of(view), expected[75:])


@pytest.fixture(scope="module")
def gpt2():
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2,
        n_head=4,
        n_embd=32,
        vocab_size=50,
        n_positions=16,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel._from_config(config, attn_implementation="eager").eval()


def test_attentions_of_a_hugging_face_model(gpt2):
    ids = torch.arange(12)[None]
    attentions = gpt2(ids, output_attentions=True).attentions
    view = AttentionView(attentions, [f"w{i}" for i in range(12)])
    assert (view.layers, view.heads, view.causal) == (2, 4, True)
    expected = torch.cat(attentions).detach().numpy()
    np.testing.assert_allclose(view.attention, expected, atol=0.004)
    # A cache of the first nine: three queries, twelve keys.
    past = gpt2(ids[:, :9], use_cache=True).past_key_values
    attentions = gpt2(ids[:, 9:], past_key_values=past, output_attentions=True).attentions
    tokens = [f"w{i}" for i in range(12)]
    view = AttentionView(attentions, tokens[9:], key_tokens=tokens)
    assert view.causal
    np.testing.assert_allclose(view.attention, expected[:, :, 9:], atol=0.005)


def test_cross_attentions_of_a_hugging_face_model():
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=50,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
    )
    model = BartModel._from_config(config, attn_implementation="eager").eval()
    outputs = model(
        torch.arange(3, 10)[None],
        decoder_input_ids=torch.arange(3, 8)[None],
        output_attentions=True,
    )
    view = AttentionView(outputs.cross_attentions, LETTERS[:5], key_tokens=LETTERS[:7])
    assert (view.layers, view.heads, view.causal) == (2, 4, False)
    expected = torch.cat(outputs.cross_attentions).detach().numpy()
    np.testing.assert_allclose(view.attention, expected, atol=0.004)


@pytest.mark.wrong_input
def test_a_model_that_does_not_give_its_weights_is_explained(gpt2):
    gpt2.set_attn_implementation("sdpa")
    try:
        attentions = gpt2(torch.arange(5)[None], output_attentions=True).attentions
    finally:
        gpt2.set_attn_implementation("eager")
    with pytest.raises((TypeError, ValueError), match="attn_implementation='eager'"):
        AttentionView(attentions, LETTERS[:5])


def changed(place, value) -> np.ndarray:
    weights = random_weights(2, 3, 4, 4)
    weights[place] = value
    return weights


FOUR = random_weights(2, 3, 4, 4)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"attention": changed((1, 2, 0), 0.255)},
            r"rows that sum to 1, .* got the sum 1.02 in layer 1, head 2, row 0$",
        ),
        (
            {"attention": changed((0, 1, 3), 0.2475 - 1e-4)},
            r"got the sum 0.9896 in layer 0, head 1, row 3$",
        ),
        (
            {"attention": changed((1, 0, 2), [-0.25, 0.5, 0.5, 0.25])},
            r"must not be negative, got -0.25 in layer 1, head 0, row 2, column 0",
        ),
        (
            {"attention": changed((1, 0, 2, 3), np.nan)},
            r"attention must be finite, got nan at attention\[1, 0, 2, 3\]",
        ),
        ({"attention": None}, r"attention must be an array, got None; a Hugging Face model gives"),
        ({"attention": (None, None)}, r"attention\[0\] must be an array, got None; a Hugging"),
        ({"attention": ()}, r"attention must hold at least one layer; a Hugging Face model gives"),
        ({"attention": "weights"}, r"attention must be an array of real numbers, got str"),
        ({"attention": FOUR[0, 0]}, r"must have the axes .*, got shape \(4, 4\)"),
        ({"attention": FOUR[None, None]}, r"got shape \(1, 1, 2, 3, 4, 4\)"),
        (
            {"attention": FOUR[None]},
            r"attention\[0\] must be of one text, got a batch of 2 in shape \(2, 3, 4, 4\); pick",
        ),
        (
            {"attention": tuple(torch.tensor(np.stack([FOUR, FOUR], axis=1)))},
            r"attention\[0\] must be of one text, got a batch of 2 in shape \(2, 3, 4, 4\); pick",
        ),
        ({"attention": [FOUR[0, 0]]}, r"attention\[0\] must have the axes .*, got shape \(4, 4\)"),
        (
            {"attention": [FOUR[0], FOUR[0, :2]]},
            r"attention\[1\] must have the shape of attention\[0\], \(3, 4, 4\), got \(2, 4, 4\)",
        ),
        (
            {"attention": np.eye(1025)[None], "tokens": ["x"] * 1025},
            r"attention must be of at most 1024 tokens, got shape \(1, 1, 1025, 1025\)",
        ),
        ({"tokens": LETTERS[:3]}, r"tokens must be 4 strings, one for each query, got 3"),
        ({"tokens": "abcd"}, r"tokens must be a sequence of strings, got the string 'abcd'"),
        ({"tokens": ["a", "b", 3, "d"]}, r"tokens\[2\] must be a string, got int 3"),
        ({"key_tokens": LETTERS}, r"key_tokens must be 4 strings, one for each key, got 8"),
        (
            {"attention": FOUR[..., :3, :]},
            r"tokens must be 3 strings, one for each query, got 4",
        ),
        (
            {"attention": FOUR[..., :3, :], "tokens": LETTERS[:3]},
            r"key_tokens must be given .*, got 3 queries and 4 keys",
        ),
        ({"layer": 2}, r"layer must be an integer >= 0 and <= 1, got 2"),
        ({"layer": -1}, r"layer must be an integer >= 0 and <= 1, got -1"),
        ({"layer": None}, r"layer must be an integer, got NoneType None"),
        ({"head": 3}, r"head must be an integer >= 0 and <= 2, got 3"),
        ({"head": "max"}, r"head must be one of 'mean', 'all', got 'max'"),
        ({"head": None}, r"head must be an integer, got NoneType None"),
        ({"focus": 4}, r"focus must be an integer >= 0 and <= 3, got 4"),
        ({"focus": "a"}, r"focus must be an integer, got str 'a'"),
        ({"focus": (0, 4)}, r"focus\[1\] must be an integer >= 0 and <= 3, got 4"),
        ({"focus": (0, 1, 2)}, r"focus must be a token's number, a pair \(query, key\) or None"),
        ({"view": "lines"}, r"view must be one of 'matrix', 'arcs', got 'lines'"),
    ],
)
def test_wrong_input_is_named(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        AttentionView(**({"attention": FOUR, "tokens": LETTERS[:4]} | change))


@pytest.mark.wrong_input
def test_more_weights_than_a_page_can_hold_are_refused():
    weights = np.broadcast_to(np.full((1, 1024), 1 / 1024), (17, 1024, 1024))
    with pytest.raises(ValueError, match=r"at most 16777216 weights to store, got 17825792; show"):
        AttentionView(weights, ["x"] * 1024)


def test_rows_may_sum_to_nothing_and_to_almost_one():
    weights = changed((0, 0, 1), 0)
    weights[1, 1, 2] = [0.4, 0.3, 0.2, 0.108]
    weights[1, 1, 3] = [1.004, 0, 0, 0]
    view = AttentionView(weights, LETTERS[:4])
    assert not view.attention[0, 0, 1].any()
    np.testing.assert_allclose(view.attention, weights, atol=0.0041)


def test_what_is_looked_at_is_a_pair():
    view = sentence_view(focus=3)
    assert view.focus == (3, 3)
    view.focus = [2, None]
    assert view.focus == (2, None)
    view.focus = (None, np.int64(4))
    assert view.focus == (None, 4)
    view.focus = (None, None)
    assert view.focus is None
    assert cross_view(focus=3).focus == (3, None)
    assert cross_view(focus=(3, 10)).focus == (3, 10)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layer", 2, r"layer must be an integer >= 0 and <= 1, got 2"),
        ("head", "some", r"head must be one of"),
        ("focus", 11, r"focus must be an integer >= 0 and <= 10, got 11"),
        ("view", None, r"view must be one of"),
        ("tokens", ["a"], r"read-only"),
        ("codes", "", r"read-only"),
    ],
)
def test_a_wrong_assignment_changes_nothing(name, value, message):
    view = sentence_view(layer=1, head="mean", focus=4)
    before = view.page_state()
    with pytest.raises(Exception, match=message):
        setattr(view, name, value)
    assert view.page_state() == before


@pytest.mark.parametrize("head", [1, "mean", "all"])
@pytest.mark.parametrize("focus", [None, 4, (5, None), (None, 1), (7, 3)])
def test_summary_has_the_strongest_connections(head, focus):
    view = cross_view(layer=1, head=head, focus=focus)
    weights = shown_weights(view)
    if view.focus is not None:
        query, key = view.focus
        keep = np.zeros(weights.shape[1:], dtype=bool)
        if query is not None:
            keep[query] = True
        if key is not None:
            keep[:, key] = True
        weights = weights * keep
    expected = sorted(weights.ravel(), reverse=True)[:10]
    rows = re.findall('<tr><th scope="row">(.*?)</th>(.*?)</tr>', view.summary())
    assert len(rows) == 10
    for (token, cells), weight in zip(rows, expected, strict=True):
        key, shown, *owner = re.findall("<td>(.*?)</td>", cells)
        i, j = (int(re.search(r"\((\d+)\)$", one)[1]) for one in (token, key))
        assert (token, key) == (f"{GERMAN[i]} ({i})", f"{SENTENCE[j]} ({j})")
        assert shown == f"{weight:.3f}"
        assert len(owner) == (head == "all")
        index = int(owner[0]) if owner else 0
        assert weights[index, i, j] == pytest.approx(weight, abs=0.0005)


def test_summary_says_what_is_stored():
    view = cross_view(layer=1, head="mean")
    mean_relative, largest = view.reconstruction_error
    assert view.summary().startswith(
        "<p>Layer 1, the mean of its heads (2 layers of 8 heads; 12 query tokens, 11 key tokens). "
        f"Weights are stored in 8 bits: {mean_relative:.1%} mean error of those above 0.001, "
        f"{largest:.4f} at most.</p>"
    )
    assert "Layer 0, head 3 (2 layers of 4 heads; 11 tokens)." in sentence_view(head=3).summary()


def test_output_escapes_its_tokens():
    html = hostile_view()._repr_mimebundle_()[0]["text/html"]
    state, rest = re.fullmatch(
        r'<div class="lmcourse-widget mathjax_ignore tex2jax_ignore" data-kind="AttentionView">'
        r'<script type="application/json">([^<]*)</script>(.*)</div>',
        html,
        re.DOTALL,
    ).groups()
    assert json.loads(state)["tokens"] == HOSTILE_TOKENS
    for tag in ("<img", "<svg", "<script", "<b>"):
        assert tag not in rest


def test_stored_output_is_the_same_in_every_process():
    imports = "from tests.attention_views import cross_view, hostile_view, sentence_view"
    views = ["hostile_view()", "sentence_view(focus=3)", "cross_view(head='all')"]
    first = stored_output_of_a_new_process(views, imports, hash_seed=1)
    assert stored_output_of_a_new_process(views, imports, hash_seed=2) == first
    assert "AttentionView(2 layers, 4 heads, 11 tokens, layer=0, head=0, focus=(3, 3)" in first


# --- The page's arithmetic --------------------------------------------------------------------


def random_views(number: int):
    rng = np.random.default_rng(0)
    for seed in range(number):
        queries, keys = rng.choice([1, 2, 3, 7, 12], 2).tolist()
        layers, heads = rng.integers(1, 4, 2).tolist()
        weights = random_weights(
            layers, heads, queries, keys, seed=seed, causal=queries <= keys and bool(seed % 2)
        )
        focus = [None, (0, keys - 1), (queries - 1, None), (None, 0)]
        yield AttentionView(
            weights,
            [f"q{i}" for i in range(queries)],
            key_tokens=[f"k{j}" for j in range(keys)],
            layer=int(rng.integers(layers)),
            head=[int(rng.integers(heads)), "mean", "all"][seed % 3],
            focus=focus[rng.integers(4)],
        )


@pytest.mark.browser
def test_the_module_computes_what_the_package_computes(browser):
    program = """(states) => JSON.stringify(JSON.parse(states).map((state) => {
        const data = readAttention({ get: (name) => state[name] });
        const choice = choose(data, state.layer, state.head);
        const all = strongest(data, choice.maps, [0, data.queries - 1], [0, data.keys - 1], 10);
        return {
            maps: choice.maps.map(({ weights }) => [...weights]),
            top: [...choice.top],
            owner: [...choice.owner],
            strongest: all,
            words: describe(data, choice),
        };
    }))"""
    views = list(random_views(150))
    states = json.dumps([view.page_state() for view in views])
    computed = json.loads(evaluate_in_module(browser, AttentionView, program, states))
    for view, page in zip(views, computed, strict=True):
        weights = shown_weights(view)
        maps = np.array(page["maps"]).reshape(weights.shape)
        np.testing.assert_allclose(maps, weights, rtol=0, atol=1e-15)
        top = np.array(page["top"]).reshape(weights.shape[1:])
        np.testing.assert_array_equal(top, maps.max(axis=0))
        owner = np.array(page["owner"]).reshape(1, *top.shape)
        np.testing.assert_array_equal(np.take_along_axis(maps, owner, axis=0)[0], top)
        found = [one["weight"] for one in page["strongest"]]
        assert found == sorted(maps[maps > 0], reverse=True)[:10]
        for one in page["strongest"]:
            head = one["head"] if view.head == "all" else 0
            assert maps[head, one["query"], one["key"]] == one["weight"]
            assert view.head in (one["head"], "all")
        assert f"<p>{page['words']}</p>" in view.summary()


# --- The built page, without a kernel ---------------------------------------------------------

VIEWS = {
    "sentence": [
        sentence_view(layer=1, head=3, focus=5),
        sentence_view(view="arcs", focus=7),
        sentence_view(),
    ],
    "cross": [cross_view(head=2), cross_view(view="arcs", head="all", focus=(3, None))],
    "long": [long_view(128, head=3, focus=(100, 90))],
    "many": [AttentionView(random_weights(1, 40, 3, 3), list("abc"))],
    "hostile": [hostile_view(), hostile_view(view="arcs", head="all", focus=0)],
}


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    return build_book(tmp_path_factory.mktemp("book"), VIEWS)


class Attention(WidgetInPage):
    """One AttentionView in a page."""

    selector = ".lmc-attention"

    def __init__(self, page, index: int = 0):
        super().__init__(page, index)
        self.frame = self.root.get_by_role("application")
        self.canvas = self.frame.locator("canvas")
        self.heads = self.root.get_by_role("grid")
        self.find = self.root.get_by_label("Find a token", exact=True)

    def text(self, label: str = "Tokens"):
        return self.root.get_by_role("listbox", name=label, exact=True)

    def token(self, place: int, label: str = "Tokens"):
        return self.text(label).get_by_role("option").nth(place)

    def choose(self, label: str, value) -> None:
        self.root.get_by_label(label, exact=True).select_option(str(value))

    def reading(self) -> str:
        return self.root.locator(".lmc-reading").text_content().translate(ISOLATES)

    def tables(self) -> dict[str, list[list[str]]]:
        """The rows of each table that is shown, by its caption."""
        tables = self.root.locator(".lmc-list:not([hidden])").evaluate_all(
            """tables => tables.map((table) => [table.caption.textContent,
                [...table.tBodies[0].rows].map((row) => [...row.cells]
                    .filter((cell) => !cell.hidden).map((cell) => cell.textContent))])"""
        )
        return {
            caption.translate(ISOLATES): [r for r in rows if any(r)] for caption, rows in tables
        }

    def head_shown(self) -> list[str]:
        """The heads that are marked among the small pictures."""
        cells = self.heads.locator("[aria-selected=true]")
        return cells.evaluate_all("cells => cells.map((cell) => cell.ariaLabel)")

    def settings(self) -> tuple[str, str, str]:
        """The layer, the head and the view, as the page shows them."""
        layer, head = (self.root.get_by_label(name, exact=True) for name in ("Layer", "Head"))
        view = self.root.get_by_role("button", pressed=True)
        return layer.input_value(), head.input_value(), view.text_content()

    def looked_at(self, label: str = "Tokens") -> list[str]:
        """The token that screen readers take for the focused one."""
        active = self.text(label).get_attribute("aria-activedescendant")
        chosen = self.text(label).locator("[aria-selected=true]")
        assert chosen.evaluate_all("tokens => tokens.map(t => t.id)") == (
            [active] if active else []
        )
        return chosen.all_text_contents()

    def hover_all(self, points) -> list[tuple[str, list[int]]]:
        """For points of the canvas, as shares of its size, the reading and the pixel beneath."""
        program = """(canvas, points) => {
            const leave = () => canvas.dispatchEvent(new PointerEvent("pointerleave"));
            const { left, top, width, height } = canvas.getBoundingClientRect();
            const copy = new OffscreenCanvas(canvas.width, canvas.height);
            const g = copy.getContext("2d", { willReadFrequently: true });
            leave();
            g.drawImage(canvas, 0, 0);
            const { data } = g.getImageData(0, 0, canvas.width, canvas.height);
            const reading = canvas.closest(".lmc-attention").querySelector(".lmc-reading");
            return points.map(([x, y]) => {
                const [clientX, clientY] = [left + x * width, top + y * height];
                const options = { clientX, clientY, pointerType: "mouse" };
                canvas.dispatchEvent(new PointerEvent("pointermove", options));
                const [i, j] = [Math.floor(x * canvas.width), Math.floor(y * canvas.height)];
                const at = 4 * (j * canvas.width + i);
                const pixel = data.subarray(at, at + 4);
                const words = reading.textContent;
                leave();
                return [words, [...pixel]];
            });
        }"""
        found = self.canvas.evaluate(program, points)
        return [(words.translate(ISOLATES), pixel) for words, pixel in found]

    def check(self, view: AttentionView) -> None:
        """Hold everything that the page shows against the package, at the view's settings."""
        assert self.settings() == (str(view.layer), str(view.head), view.view.capitalize())
        heads = range(view.heads) if isinstance(view.head, str) else [view.head]
        assert self.head_shown() == [f"layer {view.layer}, head {head}" for head in heads]
        self.check_tables(view)
        rows = self.saved_rows()
        weights = shown_weights(view)
        names = range(view.heads) if view.head == "all" else [view.head]
        keys = view.tokens if view.key_tokens is None else view.key_tokens
        visible = [
            (str(view.layer), str(head), str(i), view.tokens[i], str(j), keys[j], weights[h, i, j])
            for h, head in enumerate(names)
            for i in range(len(view.tokens))
            for j in range(i + 1 if view.causal else len(keys))
        ]
        assert len(rows) == len(visible)
        for row, expected in zip(rows, visible, strict=True):
            *cells, weight = row.values()
            assert cells == list(expected[:-1])
            assert float(weight) == pytest.approx(expected[-1], abs=1e-15)

    def check_tables(self, view: AttentionView) -> None:
        weights, keys = shown_weights(view), keys_of(view)
        tables = self.tables()
        query, key = view.focus or (None, None)
        if view.focus is None:
            assert self.reading() == "Point at a token or a weight to read its numbers."
            assert list(tables) == ["Strongest connections"]
            expected = sorted(weights[weights > 0], reverse=True)[:6]
            assert [row[2] for row in tables["Strongest connections"]] == list(
                map(weight_text, expected)
            )
            return
        assert len(tables) == (query is not None) + (key is not None)
        if query is not None:
            rows = tables[f"“{view.tokens[query]}” attends to"]
            self.check_rows(rows, weights[:, query], keys, view)
        if key is not None:
            rows = tables[f"“{keys[key]}” is attended to by"]
            self.check_rows(rows, weights[:, :, key], view.tokens, view)
        if query is not None and key is not None:
            weight = weight_text(weights[:, query, key].max())
            expected = f"“{view.tokens[query]}” ({query}) → “{keys[key]}” ({key}): {weight}"
            assert self.reading().startswith(expected) or not weights[:, query, key].any()

    def check_rows(self, rows, weights, tokens, view: AttentionView) -> None:
        """Hold one table's rows against the weights of one query or key, (heads, tokens)."""
        expected = sorted(weights[weights > 0], reverse=True)[:6]
        assert [row[2] for row in rows] == list(map(weight_text, expected))
        for (token, place, weight, *head), exact in zip(rows, expected, strict=True):
            assert token == tokens[int(place)]
            assert len(head) == (view.head == "all")
            assert weights[int(head[0]) if head else 0, int(place)] == pytest.approx(
                exact, abs=5e-4
            )
            assert weight == weight_text(exact)


def random_points(count: int) -> list[list[float]]:
    return np.random.default_rng(2).random((count, 2)).tolist()


@pytest.mark.browser
def test_what_the_page_shows_is_what_the_package_computes(browser, book):
    with opened(browser, book / "sentence.html") as page:
        for index, view in enumerate(VIEWS["sentence"]):
            Attention(page, index).check(view)
        shown = Attention(page, 2)
        for head in ("mean", "all", 2):
            shown.choose("Head", head)
            shown.choose("Layer", 1)
            shown.check(sentence_view(layer=1, head=head))
    with opened(browser, book / "cross.html") as page:
        for index, view in enumerate(VIEWS["cross"]):
            Attention(page, index).check(view)


@pytest.mark.browser
@pytest.mark.parametrize(
    ("name", "index", "count"), [("sentence", 2, 300), ("cross", 0, 300), ("long", 0, 300)]
)
def test_the_mouse_reads_the_weight_beneath_it(browser, book, name, index, count):
    """The number, within the stated error of the one given, and the shade that goes with it."""
    view = VIEWS[name][index]
    weights, keys = shown_weights(view)[0], keys_of(view)
    shades, read = {}, 0
    with opened(browser, book / f"{name}.html") as page:
        shown = Attention(page, index)
        shown.choose("Head", view.head)
        if view.focus is not None:
            shown.frame.press("Escape")
        for words, pixel in shown.hover_all(random_points(count)):
            places = [int(place) for place in re.findall(r"\((\d+)\)", words)]
            if " does not see " in words:
                assert view.causal and places[1] > places[0]
                assert pixel[3] == 0 or pixel[:3] != shades.get(255)
            elif len(places) == 2:
                query, key = places
                weight = weights[query, key]
                expected = f"“{view.tokens[query]}” ({query}) → “{keys[key]}” ({key}): "
                assert words == expected + weight_text(weight)
                read += 1
                shades.setdefault(round(255 * np.sqrt(weight)), []).append(pixel[:3])
    assert read > count / 6
    # Lines and their blurred edges aside, each weight has one shade, and larger ones are darker.
    usual = {code: max(found, key=found.count) for code, found in shades.items()}
    agree = sum(found.count(usual[code]) for code, found in shades.items())
    assert agree > 0.8 * read
    codes = sorted(code for code, found in shades.items() if found.count(usual[code]) > 1)
    lightness = np.array([usual[code] for code in codes]) @ [0.2126, 0.7152, 0.0722]
    assert len(codes) > 5
    assert (np.diff(lightness) <= 0.5).all()


@pytest.mark.browser
def test_the_cells_lie_in_the_order_of_the_tokens(browser, book):
    """Along the diagonal of the canvas, queries and keys go up; above it nothing is seen."""
    view = VIEWS["sentence"][2]
    with opened(browser, book / "sentence.html") as page:
        shown = Attention(page, 2)
        width, height = (shown.canvas.bounding_box()[side] for side in ("width", "height"))
        across = [[x, 0.5 + 30 / height] for x in np.arange(0, 0.5, 1 / width).tolist()]
        words = [words for words, _ in shown.hover_all(across)]
        left = next(x for (x, _), said in zip(across, words, strict=True) if "→" in said)
        down = [[left + 2 / width, y] for y in np.arange(0, 1, 2 / height).tolist()]
        queries = [re.findall(r"\((\d+)\) →", words) for words, _ in shown.hover_all(down)]
        places = [int(found[0]) for found in queries if found]
        assert places == sorted(places)
        assert set(places) == set(range(len(view.tokens)))
        cell = np.bincount(places)
        assert cell.max() - cell.min() <= 1


@pytest.mark.browser
@pytest.mark.parametrize(("index", "label"), [(0, "sentence"), (1, "cross")])
def test_arcs_follow_the_mouse(browser, book, index, label):
    view = (
        sentence_view(view="arcs") if label == "sentence" else cross_view(view="arcs", head="all")
    )
    keys = keys_of(view)
    with opened(browser, book / f"{label}.html") as page:
        shown = Attention(page, index)
        if label == "sentence":
            shown.choose("Layer", 0)
            shown.choose("Head", 0)
            shown.press("Arcs")
        shown.frame.press("Escape")
        box = shown.canvas.bounding_box()
        sides = {0: set(), 1: set()}
        for y in np.linspace(0, 1, 60):
            for side, x in enumerate((0.05, 0.9)):
                page.mouse.move(box["x"] + x * box["width"], box["y"] + y * (box["height"] - 1))
                found = re.fullmatch(r"“(.*)” \((\d+)\)", shown.reading())
                if not found:
                    continue
                place = int(found[2])
                assert found[1] == (view.tokens, keys)[side][place]
                if place not in sides[side]:
                    sides[side].add(place)
                    view.focus = (place, None) if side == 0 else (None, place)
                    shown.check_tables(view)
        assert sides == {0: set(range(len(view.tokens))), 1: set(range(len(keys)))}


@pytest.mark.browser
def test_tokens_of_the_text_are_shaded_both_ways(browser, book):
    def shades(shown, label, name):
        values = (
            shown.text(label)
            .get_by_role("option")
            .evaluate_all(
                f"tokens => tokens.map(t => +t.style.getPropertyValue('--lmc-{name}') || 0)"
            )
        )
        return np.array(values)

    with opened(browser, book / "sentence.html") as page:
        shown, weights = Attention(page, 2), sentence_view().attention[0, 0]
        for place in (0, 4, 10):
            shown.token(place).hover()
            to, of = shades(shown, "Tokens", "to"), shades(shown, "Tokens", "from")
            np.testing.assert_allclose(to, np.sqrt(weights[place]), atol=0.0251)
            np.testing.assert_allclose(of, np.sqrt(weights[:, place]), atol=0.0251)
            shown.check_tables(sentence_view(focus=place))
        page.mouse.move(2, 2)
        assert not shades(shown, "Tokens", "to").any()
        shown.check_tables(sentence_view())
    with opened(browser, book / "cross.html") as page:
        shown, weights = Attention(page), cross_view().attention[0, 2]
        shown.token(6, "Query tokens").hover()
        to = shades(shown, "Key tokens", "to")
        np.testing.assert_allclose(to, np.sqrt(weights[6]), atol=0.0251)
        shown.check_tables(cross_view(head=2, focus=6))
        shown.token(3, "Key tokens").hover()
        of = shades(shown, "Query tokens", "from")
        np.testing.assert_allclose(of, np.sqrt(weights[:, 3]), atol=0.0251)
        assert not shades(shown, "Key tokens", "to").any()
        shown.check_tables(cross_view(head=2, focus=(None, 3)))


@pytest.mark.browser
def test_a_click_keeps_what_the_mouse_shows(browser, book):
    with opened(browser, book / "sentence.html") as page:
        shown = Attention(page, 2)
        shown.token(4).click()
        page.mouse.move(2, 2)
        shown.check_tables(sentence_view(focus=4))
        assert shown.looked_at() == ["the"]
        shown.token(8).hover()
        shown.check_tables(sentence_view(focus=8))
        page.mouse.move(2, 2)
        shown.check_tables(sentence_view(focus=4))
        shown.token(4).click()
        page.mouse.move(2, 2)
        shown.check_tables(sentence_view())
        assert shown.looked_at() == []
        # A key is heeded where the mouse rests on another token.
        shown.token(8).hover()
        shown.text().press("End")
        shown.check_tables(sentence_view(focus=10))
        box = shown.canvas.bounding_box()
        shown.canvas.click(position={"x": 0.3 * box["width"], "y": 0.75 * box["height"]})
        words = shown.reading()
        page.mouse.move(2, 2)
        assert shown.reading() == words
        shown.check_tables(sentence_view(focus=[int(i) for i in re.findall(r"\((\d+)\)", words)]))


@pytest.mark.browser
def test_heads_are_chosen_by_picture_list_and_key(browser, book):
    with opened(browser, book / "sentence.html") as page:
        shown, view = Attention(page, 2), sentence_view()
        shown.heads.get_by_role("gridcell", name="layer 1, head 2").click()
        view.layer, view.head = 1, 2
        shown.check(view)
        shown.heads.focus()
        for key, layer, head in (
            ("ArrowRight", 1, 3),
            ("ArrowRight", 1, 3),
            ("ArrowUp", 0, 3),
            ("ArrowUp", 0, 3),
            ("Home", 0, 0),
            ("ArrowLeft", 0, 0),
            ("End", 0, 3),
            ("ArrowDown", 1, 3),
            ("ArrowLeft", 1, 2),
        ):
            page.keyboard.press(key)
            assert shown.head_shown() == [f"layer {layer}, head {head}"]
            active = shown.heads.get_attribute("aria-activedescendant")
            cell = shown.heads.get_by_role("gridcell", name=f"layer {layer}, head {head}")
            assert cell.get_attribute("id") == active
        view.layer, view.head = 1, 2
        shown.check(view)
        shown.choose("Head", "all")
        colours = shown.heads.locator("[aria-selected=true]").evaluate_all(
            "cells => cells.map(cell => getComputedStyle(cell).outlineColor)"
        )
        assert len(set(colours)) == 4
        page.keyboard.press("Shift+Tab")


@pytest.mark.browser
def test_small_pictures_show_each_head(browser, book):
    """Their pixels are those of the matrix: the middle of the cells of a few weights."""
    with opened(browser, book / "sentence.html") as page:
        shown, weights = Attention(page, 2), sentence_view().attention
        program = """(cell) => {
            const canvas = cell.closest(".lmc-heads").querySelector("canvas");
            const [box, all] = [cell, canvas].map((node) => node.getBoundingClientRect());
            const scale = canvas.width / all.width;
            const copy = new OffscreenCanvas(canvas.width, canvas.height);
            const g = copy.getContext("2d", { willReadFrequently: true });
            g.drawImage(canvas, 0, 0);
            return (([i, j, n]) => [...g.getImageData(
                Math.floor(scale * (box.left - all.left + ((j + 0.5) * box.width) / n)),
                Math.floor(scale * (box.top - all.top + ((i + 0.5) * box.height) / n)), 1, 1).data])
        }"""
        dark = np.zeros(weights.shape)
        tokens = len(SENTENCE)
        for layer in range(2):
            for head in range(4):
                cell = shown.heads.get_by_role("gridcell", name=f"layer {layer}, head {head}")
                pixels = cell.evaluate(
                    f"(cell, n) => {{ const at = ({program})(cell); return [...Array(n).keys()]"
                    ".map((i) => [...Array(n).keys()].map((j) => at([i, j, n]))); }",
                    tokens,
                )
                lightness = np.array(pixels)[..., :3] @ [0.2126, 0.7152, 0.0722]
                dark[layer, head] = 255 - lightness
        for layer in range(2):
            for head in range(4):
                roots = np.sqrt(weights[layer, head]).ravel()
                ranks = [np.corrcoef(roots, one.ravel())[0, 1] for one in dark.reshape(8, -1)]
                assert np.argmax(ranks) == 4 * layer + head
                assert max(ranks) > 0.95


@pytest.mark.browser
def test_keyboard_alone_is_enough(browser, book):
    with opened(browser, book / "sentence.html") as page:
        shown, keys, view = Attention(page, 2), page.keyboard, sentence_view()
        shown.root.get_by_label("Layer", exact=True).focus()
        keys.press("ArrowDown")
        keys.press("Tab")
        keys.press("ArrowDown")
        view.layer, view.head = 1, 1
        shown.check_tables(view)
        for _ in range(4):  # two buttons, the search, the text
            keys.press("Tab")
        for key, place in (
            ("ArrowRight", 0),
            ("ArrowRight", 1),
            ("ArrowDown", 2),
            ("ArrowLeft", 1),
            ("ArrowUp", 0),
            ("ArrowUp", 0),
            ("End", 10),
            ("ArrowRight", 10),
            ("Home", 0),
            ("ArrowRight", 1),
        ):
            keys.press(key)
            view.focus = place
            assert shown.looked_at() == [SENTENCE[place]]
            shown.check_tables(view)
        weights = view.attention[1, 1]
        heard = (
            f"Layer 1, head 1; “cat” (1) → “cat” (1): {weight_text(weights[1, 1])}; attends to “"
        )
        page.wait_for_function(
            """([root, words]) => root.querySelector("[role=status]").textContent
                .replace(/[\u2068\u2069]/g, "").startsWith(words)""",
            arg=[shown.root.element_handle(), heard],
        )
        keys.press("Tab")
        assert shown.frame.evaluate("frame => frame === document.activeElement")
        for key, pair in (
            ("ArrowDown", (2, 1)),
            ("ArrowRight", (2, 2)),
            ("ArrowRight", (2, 3)),
            ("ArrowUp", (1, 3)),
            ("ArrowLeft", (1, 2)),
            ("Home", (1, 0)),
            ("ArrowLeft", (1, 0)),
            ("End", (1, 10)),
            ("PageDown", (10, 10)),
            ("ArrowDown", (10, 10)),
            ("PageUp", (0, 10)),
        ):
            keys.press(key)
            view.focus = pair
            shown.check_tables(view)
        assert shown.reading() == "“the” (0) does not see “.” (10)"
        keys.press("Escape")
        view.focus = None
        shown.check_tables(view)
        keys.press("ArrowDown")
        view.focus = (0, 0)
        shown.check_tables(view)
        keys.press("Shift+Tab")
        keys.press("Escape")
        keys.press("Shift+Tab")
        keys.press("Shift+Tab")
        keys.press("Enter")
        view.focus, view.view = None, "arcs"
        shown.check(view)
        shown.frame.focus()
        for key, pair in (
            ("ArrowDown", (0, None)),
            ("ArrowDown", (1, None)),
            ("ArrowRight", (None, 1)),
            ("End", (None, 10)),
            ("ArrowUp", (None, 9)),
            ("ArrowLeft", (9, None)),
            ("Home", (0, None)),
            ("ArrowUp", (0, None)),
        ):
            keys.press(key)
            view.focus = pair
            shown.check_tables(view)


@pytest.mark.browser
def test_search_finds_tokens_one_after_the_other(browser, book):
    with opened(browser, book / "sentence.html") as page:
        shown, count = Attention(page, 2), ".lmc-count"
        shown.find.fill("AT")
        assert shown.root.locator(count).text_content() == "3 found"
        assert shown.text().locator(".lmc-found").all_text_contents() == ["cat", "sat", "mat"]
        for key, place in (
            ("Enter", 1),
            ("Enter", 2),
            ("Enter", 5),
            ("Enter", 1),
            ("Shift+Enter", 5),
        ):
            shown.find.press(key)
            shown.check_tables(sentence_view(focus=place))
        shown.find.fill("dog")
        assert shown.root.locator(count).text_content() == "0 found"
        shown.find.press("Enter")
        shown.check_tables(sentence_view(focus=5))
        shown.root.get_by_role("status").filter(has_text="0 tokens found.").wait_for(
            state="attached"
        )
        shown.find.fill(" ")
        assert shown.root.locator(count).text_content() == ""
        assert shown.text().locator(".lmc-found").count() == 0
    with opened(browser, book / "cross.html") as page:
        shown = Attention(page)
        shown.find.fill("at")
        assert shown.root.locator(count).text_content() == "5 found"
        found = [GERMAN.index(word) for word in ("Katze", "Matte")]
        pairs = [(i, None) for i in found] + [
            (None, SENTENCE.index(w)) for w in ("cat", "sat", "mat")
        ]
        for pair in pairs:
            shown.find.press("Enter")
            shown.check_tables(cross_view(head=2, focus=pair))


# --- Files ------------------------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"


def cells_of(svg: ElementTree.Element, shape) -> np.ndarray:
    """The colour of each cell of the matrix, as red, green and blue; -1 where there is none."""
    colours = np.full((*shape, 3), -1)
    group = svg.find(f".//{SVG}g[@class='weights']")
    for path in group:
        colour = [int(part) for part in re.findall(r"\d+", path.get("style"))]
        for x, y, run in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", path.get("d")):
            assert (colours[int(y), int(x) : int(x) + int(run)] == -1).all()
            colours[int(y), int(x) : int(x) + int(run)] = colour
    return colours


def saved_svg(shown: Attention) -> ElementTree.Element:
    return ElementTree.fromstring(shown.saved("Save SVG").read_text("utf-8"))


@pytest.mark.browser
def test_a_saved_drawing_has_every_weight(browser, book):
    with opened(browser, book / "sentence.html", color_scheme="dark") as page:
        view = sentence_view(layer=1, head=3, focus=5)
        svg = saved_svg(Attention(page))
    colours = cells_of(svg, view.attention.shape[2:])
    seen = np.tri(len(SENTENCE), dtype=bool)
    assert (colours[~seen] == -1).all() and (colours[seen] >= 0).all()
    codes = np.rint(255 * np.sqrt(view.attention[1, 3]))[seen]
    lightness = (colours @ [0.2126, 0.7152, 0.0722])[seen]
    order = np.argsort(codes)
    assert (np.diff(lightness[order]) <= 0.5).all()
    assert lightness[codes == 0].min() > 225 and lightness[codes > 240].max() < 60
    words = [text.text for text in svg.iter(f"{SVG}text")]
    weight = weight_text(view.attention[1, 3, 5, 5])
    assert words[0].translate(ISOLATES) == f"Layer 1, head 3: “mat” (5) → “mat” (5): {weight}"
    assert all(words.count(token) >= 2 for token in SENTENCE)
    assert " ".join(words[-2:]) in view.summary()


@pytest.mark.browser
def test_a_saved_drawing_has_every_arc(browser, book):
    with opened(browser, book / "sentence.html") as page:
        shown = Attention(page, 1)
        svg = saved_svg(shown)
        shown.frame.press("Escape")
        svg_of_all = saved_svg(shown)
    weights = sentence_view().attention[0, 0]

    def arcs(svg) -> dict[str, list[str]]:
        by_colour = {}
        for path in svg.iter(f"{SVG}path"):
            curves = re.findall(r"M[\d.]+ ([\d.]+)C\S+ \S+ \S+ \S+ \S+ ([\d.]+)", path.get("d"))
            colour = re.search(r"stroke: (.*?);", path.get("style"))[1]
            by_colour.setdefault(colour, []).extend(curves)
        return by_colour

    found = arcs(svg)
    blue, orange = "rgb(0, 114, 178)", "rgb(213, 94, 0)"
    assert len(found[blue]) == (weights[7] > 1e-3).sum()
    assert len(found[orange]) == (weights[:, 7] > 1e-3).sum()
    assert len({start for start, _ in found[blue]}) == 1
    assert {end for _, end in found[orange]} == {start for start, _ in found[blue]}
    found = arcs(svg_of_all)
    assert set(found) == {blue}
    assert len(found[blue]) == sum(min(3, (row > 0).sum()) for row in weights)


@pytest.mark.browser
def test_a_saved_picture_shows_the_view(browser, book):
    with opened(browser, book / "cross.html", color_scheme="dark") as page:
        matrix = Image.open(Attention(page).saved("Save PNG")).convert("RGB")
        svg = saved_svg(Attention(page))
        arcs = Image.open(Attention(page, 1).saved("Save PNG")).convert("RGB")
    assert matrix.size == (1440, 2 * int(svg.get("height")))
    assert arcs.size[0] == 1440
    for picture in (matrix, arcs):
        assert picture.getpixel((2, 2)) == (255, 255, 255)
    # The picture's cells have the drawing's colours.
    group = svg.find(f".//{SVG}g[@class='weights']")
    moved = svg.find(f"{SVG}g").get("transform")
    (x0, y0), (x, y, across, down) = (
        [float(number) for number in re.findall(r"[\d.]+", one)]
        for one in (moved, group.get("transform"))
    )
    colours = cells_of(svg, (len(GERMAN), len(SENTENCE)))
    for i in range(len(GERMAN)):
        for j in range(len(SENTENCE)):
            place = (2 * (x0 + x + (j + 0.5) * across), 2 * (y0 + y + (i + 0.5) * down))
            pixel = matrix.getpixel(tuple(map(int, place)))
            np.testing.assert_allclose(pixel, colours[i, j], atol=1)
    counts = {colour: count for count, colour in arcs.getcolors(2**20)}
    for colour in [(0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0)]:
        assert counts.get(colour, 0) > 30


# --- Every reader -----------------------------------------------------------------------------


@pytest.mark.browser
def test_tokens_stay_text(browser, book):
    names = [token.replace(" ", "␣") for token in HOSTILE_TOKENS]
    with opened(browser, book / "hostile.html") as page:
        for index in range(2):
            shown = Attention(page, index)
            tokens = shown.text().get_by_role("option").all_text_contents()
            assert tokens[:5] == names[:5]
            assert tokens[6:12] == ["∅", "␣", "⏎", "⇥", "U+202Edesrever", "U+200B"]
            shown.find.fill("<img")
            shown.find.press("Enter")
            for place in range(0, len(tokens), 5):
                shown.token(place).hover()
            assert shown.root.locator("img, script, b, svg, mjx-container").count() == 0
            saved_svg(shown)
            shown.saved("Save PNG")
            assert {row["query_token"] for row in shown.saved_rows()} == set(HOSTILE_TOKENS)
        assert page.evaluate("typeof hacked") == "undefined"
        assert page.locator("mjx-container").count() >= 2, "MathJax did not run at all"


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["hostile", "cross"])
def test_accessible_in_the_book(browser, book, name, scheme):
    with opened(browser, book / f"{name}.html", color_scheme=scheme) as page:
        shown = Attention(page)
        shown.find.fill("a")
        shown.frame.press("ArrowRight")
        label = shown.canvas.get_attribute("aria-label")
        assert label.startswith("Matrix of attention weights. Layer 0, head ")
        assert page.locator("html").get_attribute("data-theme") == scheme
        assert accessibility_violations(page) == []


@pytest.mark.browser
def test_every_shade_of_a_token_leaves_it_readable(browser, book):
    for scheme in ("light", "dark"):
        with opened(browser, book / "sentence.html", color_scheme=scheme) as page:
            shown = Attention(page, 2)
            for place in range(len(SENTENCE)):
                share = str(place / (len(SENTENCE) - 1))
                shown.token(place).evaluate(
                    "(token, share) => token.style.setProperty('--lmc-to', share)", share
                )
            assert accessibility_violations(page, ".lmc-text") == []


@pytest.mark.browser
def test_the_picture_takes_the_pages_colours(browser, book):
    def background(shown) -> int:
        return shown.canvas.evaluate(
            """canvas => {
                const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
                copy.drawImage(canvas, 0, 0);
                const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
                return data.filter((part, i) => i % 4 < 3 && data[i - (i % 4) + 3] === 255)
                    .reduce((a, b) => a + b, 0) / data.length;
            }"""
        )

    with opened(browser, book / "sentence.html") as page:
        shown = Attention(page, 2)
        light = background(shown)
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        page.wait_for_timeout(200)
        assert background(shown) < 0.6 * light


@pytest.mark.browser
def test_fits_a_phone(browser, book):
    for name in ("hostile", "long"):
        with opened(browser, book / f"{name}.html", **PHONE) as page:
            for index in range(len(VIEWS[name])):
                shown = Attention(page, index)
                shown.token(3).click()
                overflowing = shown.root.evaluate(
                    "root => [...root.querySelectorAll('*:not(.lmc-spoken)')].filter(e =>"
                    "e.getBoundingClientRect().right > root.getBoundingClientRect().right).length"
                )
                assert overflowing == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            assert accessibility_violations(page, colours=False) == []


@pytest.mark.browser
def test_the_picture_follows_the_windows_width(browser, book):
    with opened(browser, book / "sentence.html") as page:
        shown = Attention(page, 2)
        assert shown.canvas.bounding_box()["width"] > 400
        page.set_viewport_size(PHONE["viewport"])
        page.wait_for_function("document.querySelector('.lmc-frame canvas').clientWidth < 360")
        assert any("→" in words for words, _ in shown.hover_all(random_points(20)))


@pytest.mark.browser
def test_more_heads_than_fit_scroll(browser, book):
    with opened(browser, book / "many.html", **PHONE) as page:
        shown = Attention(page)
        shown.heads.focus()
        for key, head in (("End", 39), ("ArrowLeft", 38), ("Home", 0), ("ArrowRight", 1)):
            page.keyboard.press(key)
            assert shown.head_shown() == [f"layer 0, head {head}"]
            cell = shown.heads.locator("[aria-selected=true]").bounding_box()
            box = shown.root.locator(".lmc-heads").bounding_box()
            assert box["x"] <= cell["x"]
            assert cell["x"] + cell["width"] <= box["x"] + box["width"]


@pytest.mark.browser
def test_fingers_tap(browser, book):
    with opened(browser, book / "sentence.html", **PHONE, has_touch=True, is_mobile=True) as page:
        shown = Attention(page, 2)
        shown.token(4).tap()
        shown.check_tables(sentence_view(focus=4))
        shown.canvas.scroll_into_view_if_needed()
        box = shown.canvas.bounding_box()
        page.touchscreen.tap(box["x"] + 0.3 * box["width"], box["y"] + 0.7 * box["height"])
        places = [int(place) for place in re.findall(r"\((\d+)\)", shown.reading())]
        assert len(places) == 2 and places != [4, 4]
        shown.check_tables(sentence_view(focus=places))


@pytest.mark.browser
def test_readable_without_javascript(browser, book):
    with opened(browser, book / "sentence.html", java_script_enabled=False) as page:
        output = page.locator(".lmcourse-widget").last
        assert output.locator("thead th").all_text_contents() == ["Token", "attends to", "Weight"]
        weights = sorted(sentence_view().attention[0, 0].ravel(), reverse=True)[:10]
        shown = output.locator("tbody td:last-child").all_text_contents()
        assert shown == [f"{weight:.3f}" for weight in weights]


# --- JupyterLab, with a kernel ----------------------------------------------------------------

LAB_CELLS = (
    "from tests.attention_views import sentence_view\n\nview = sentence_view(focus=2)\nview",
    "import json\n\n"
    "names = ('layer', 'head', 'focus', 'view')\n"
    "print(json.dumps({name: getattr(view, name) for name in names}))",
    "view.layer, view.head, view.focus, view.view = 1, 'all', (6, None), 'arcs'",
    "try:\n    view.focus = 11\nexcept ValueError as error:\n    print(error)",
)


@pytest.mark.browser
def test_live_in_jupyterlab(browser, lab):
    with OfflinePage(browser, viewport={"width": 1280, "height": 2200}) as offline:
        page = offline.page
        notebook = Lab(page, lab, Attention)
        shown = notebook.view
        # The third cell set everything: the page follows the kernel. The fourth changed nothing.
        shown.root.locator(".lmc-reading", has_text="because").wait_for()
        view = sentence_view(layer=1, head="all", focus=(6, None), view="arcs")
        shown.check(view)
        page.get_by_text("focus must be an integer >= 0 and <= 10, got 11").wait_for()

        # The kernel follows the page.
        shown.heads.get_by_role("gridcell", name="layer 0, head 2").click()
        shown.press("Matrix")
        shown.token(9).click()
        page.mouse.move(2, 2)
        state = notebook.kernel_state()
        assert state == {"layer": 0, "head": 2, "focus": [9, 9], "view": "matrix"}
        shown.check(sentence_view(head=2, focus=9))
        notebook.run(2)
        shown.root.locator(".lmc-reading", has_text="because").wait_for()
        shown.check(view)

        # Keys are the widget's: in a notebook, "b" adds a cell, "0 0" restarts the kernel.
        cells = page.locator(".jp-Notebook .jp-CodeCell").count()
        for place in (shown.frame, shown.heads, shown.text()):
            notebook.command("notebook:enter-command-mode")
            page.wait_for_selector(".jp-Notebook.jp-mod-commandMode")
            place.focus()
            for key in ("ArrowDown", "0", "0", "b", "Home", "Escape"):
                page.keyboard.press(key)
            assert place.evaluate("place => place === document.activeElement")
        assert page.locator(".jp-Notebook .jp-CodeCell").count() == cells
        assert page.locator(".jp-Dialog").count() == 0

        assert accessibility_violations(page, ".lmc-attention") == []
        notebook.go_dark()
        assert accessibility_violations(page, ".lmc-attention") == []
        assert offline.refused == []
