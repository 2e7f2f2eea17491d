"""GradientFlow in Python, in a built page without a kernel, and in JupyterLab with one."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmcourse.rnn import GRU, RNN, RecurrentModel, gradient_flow
from lmcourse.widgets import GradientFlow
from tests.chromium import OfflinePage, accessibility_violations
from tests.gradient_flows import hostile_flow, large_flow, models, unbounded_flow
from tests.sampler_views import HOSTILE
from tests.widget_pages import (
    PHONE,
    Lab,
    WidgetInPage,
    build_book,
    evaluate_in_module,
    opened,
    stored_output_of_a_new_process,
)

AS_TRAINED = {"spectral_radius": None, "gate_bias": 0.0}
SLIDERS = {
    "length": "Sequence length",
    "spectral_radius": "Spectral radius",
    "gate_bias": "Update-gate bias",
}
# Settings that lie on no stop of the sliders, or at the ends of what is allowed.
UNUSUAL_SETTINGS = [
    {"length": 2},
    {"spectral_radius": 0},
    {"spectral_radius": 10, "gate_bias": -8},
    {"spectral_radius": 0.123, "gate_bias": 1.75},
    {"gate_bias": 1e6, "length": 59},
]


def expected_flow(model, ids, *, length, spectral_radius, gate_bias):
    """gradient_flow of a copy whose weights are changed here, without the widget's code."""
    hidden, kind = model.layer.hidden_size, type(model.layer)
    layer = kind(model.layer.input_size, hidden, dtype=np.float64)
    changed = RecurrentModel(model.vocab_size, layer)
    for name, value in changed.parameters.items():
        value[:] = np.round(model.parameters[name].astype(float), 4)
    blocks = np.split(changed.parameters["recurrent_weight"], 1 if kind is RNN else 3, axis=1)
    if spectral_radius is not None:
        # Rounded as the view stores it: a chaotic RNN would magnify the difference.
        radius = float(f"{np.abs(np.linalg.eigvals(blocks[-1])).max():.11g}")
        blocks[-1] *= spectral_radius / radius
    if kind is GRU:
        np.split(changed.parameters["bias"], 3)[1][:] += gate_bias
    *read, target = np.array(ids)[-1 - length :]
    probability = changed.probabilities(np.array(read))[target]
    return gradient_flow(changed, np.array([*read, target])), probability


def shares_of(flow):
    """Each token's share; where nothing depends on any token, 0."""
    return flow.inputs / (flow.inputs.sum() or 1)


def settings_of(view):
    return {name: getattr(view, name) for name in SLIDERS}


def assert_norms_equal(actual, expected):
    # The squares of smaller numbers lose digits, which depend on the order of the sum.
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-150)


# --- Python -----------------------------------------------------------------------------------


def test_weights_are_kept_to_four_decimals():
    rnn, gru = models(3, 2, 2)
    rnn.parameters["bias"][:] = [-0.00004, 0.12345678]
    view = GradientFlow(rnn, gru, np.array([0, 2, 1]), ["a", "b", "c"])
    assert json.dumps(view.page_state()["rnn"]["bias"]) == "[0.0, 0.1235]"
    for model, given in ((view.rnn, rnn), (view.gru, gru)):
        for name, value in model.parameters.items():
            assert value.dtype == np.float64
            np.testing.assert_array_equal(value, np.round(given.parameters[name].astype(float), 4))
            assert not np.shares_memory(value, given.parameters[name])


def test_the_page_holds_the_embeddings_of_tokens_that_are_read():
    view = GradientFlow(*models(5, 3, 2), np.array([4, 1, 4, 0]), list("abcde"))
    for name, model in (("rnn", view.rnn), ("gru", view.gru)):
        stored = view.page_state()[name]
        embedding = model.parameters["embedding"]
        assert stored.pop("embedding") == {"1": embedding[1].tolist(), "4": embedding[4].tolist()}
        # Both sides rescale by this number.
        recurrent = model.parameters["recurrent_weight"][:, -2:]
        radius = np.abs(np.linalg.eigvals(recurrent)).max()
        assert stored.pop("spectral_radius") == pytest.approx(radius, rel=1e-10)
        assert stored.keys() == model.parameters.keys() - {"embedding"}
        for key, value in stored.items():
            np.testing.assert_array_equal(value, model.parameters[key])


def test_a_page_stays_light():
    # The sizes of chapter 2: 69 characters, embeddings of 16 numbers, 32 states, 30 letters read.
    ids = np.arange(100) % 30
    view = GradientFlow(*models(69, 16, 32), ids, [chr(33 + i) for i in range(69)])
    output = view._repr_mimebundle_()[0]["text/html"].encode()
    assert len(output) < 100_000
    assert len(gzip.compress(output)) < 40_000


def test_flows_follow_the_settings():
    view = large_flow()
    assert settings_of(view) == AS_TRAINED | {"length": 59}
    changes = [
        {},
        {"length": 10},
        {"gate_bias": 3},
        {"spectral_radius": 0.5},
        {"gate_bias": -2.5, "length": 30},
        {"spectral_radius": None},
    ]
    for change in changes:
        for name, value in change.items():
            setattr(view, name, value)
        for model, flow in ((view.rnn, view.rnn_flow), (view.gru, view.gru_flow)):
            expected, _ = expected_flow(model, view.ids, **settings_of(view))
            assert len(flow.inputs) == view.length
            assert_norms_equal(flow.hidden_states, expected.hidden_states)
            assert_norms_equal(flow.inputs, expected.inputs)


def test_summary_gives_the_numbers_in_words():
    ids = np.array([0, 1, 0])
    rnn, gru = models(2, 1, 1)
    for model in (rnn, gru):
        for value in model.parameters.values():
            value[:] = 0
        model.parameters["recurrent_weight"][:] = 0.5
        model.parameters["output_weight"][:] = [[2, 0]]
    view = GradientFlow(rnn, gru, ids, ["a", "b"])
    # The states are 0, so p = 1/2. Back through a step: 0.5 for the RNN; for the GRU, whose gates
    # are 1/2, 1/2 + 1/2 * 1/2 * 0.5 = 0.625. At the last state: 2 * (1 - 1/2) = 1.
    np.testing.assert_allclose(view.rnn_flow.hidden_states, [0.5, 1])
    np.testing.assert_allclose(view.gru_flow.hidden_states, [0.625, 1])
    assert "the RNN’s gradient is multiplied by 0.5, the GRU’s by 0.62." in view.summary()
    assert "“a”, has probability 50.0% in the RNN, 50.0% in the GRU." in view.summary()
    assert re.findall("<td>(.*?)</td>", view.summary()) == ["b", "1", "1", "a", "0.5", "0.62"]
    steps = re.findall('<th scope="row">(.*?)</th>', large_flow().summary())
    assert steps == ["1", "2", "5", "10", "20", "50", "59"]
    view.gate_bias = 20.0  # hardly anything is replaced any more
    assert "the GRU’s by 1." in view.summary()


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([1, 1, 9], "the last token"),
        ([9, 1, 1], "the last 3 tokens"),
        ([1, 1, 2], "the last token"),
    ],
)
def test_half_of_the_dependence(monkeypatch, inputs, words):
    view = large_flow(length=3)
    flow = view.rnn_flow._replace(inputs=np.array(inputs, float))
    monkeypatch.setattr(GradientFlow, "rnn_flow", flow)
    assert f"Half of the RNN’s dependence lies in {words}, half" in view.summary()


def test_numbers_that_overflow_are_called_so():
    with np.errstate(over="ignore"):
        assert "the RNN’s gradient is multiplied by overflow" in unbounded_flow().summary()


def without(name):
    rnn, gru = models(2, 1, 1)
    for model in (rnn, gru):
        model.parameters[name][:] = 0
    return {"rnn": rnn, "gru": gru}


def with_nan():
    rnn, _ = models(2, 1, 1)
    rnn.parameters["output_bias"][1] = np.nan
    return rnn


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rnn": RNN(1, 1)}, r"rnn must be a RecurrentModel, got RNN"),
        ({"rnn": models(2, 1, 1)[1]}, r"rnn must have a layer of type RNN, got GRU"),
        ({"gru": models(2, 1, 1)[0]}, r"gru must have a layer of type GRU, got RNN"),
        ({"gru": models(3, 1, 1)[1]}, r"gru must have rnn's vocabulary of 2 tokens, got 3"),
        ({"rnn": with_nan()}, r"rnn\.parameters\['output_bias'\] must be finite, got nan at"),
        (without("recurrent_weight"), r"rnn's recurrent weight must have a spectral radius above"),
        ({"ids": np.array([0, 1])}, r"ids must hold at least three tokens, the last to predict"),
        ({"ids": np.array([0, 1, 2])}, r"ids must lie in \[0, 2\), got 2 at ids\[2\]"),
        ({"ids": np.array([0.0, 1, 0])}, r"ids must hold integer token ids"),
        ({"tokens": ["a"]}, r"tokens must be 2 strings, one for each token of the vocabulary, got"),
        ({"tokens": "ab"}, r"tokens must be a sequence of strings, got the string 'ab'"),
        ({"tokens": ["a", 1]}, r"tokens\[1\] must be a string, got int 1"),
        ({"length": 1}, r"length must be an integer >= 2 and <= 3, got 1"),
        ({"length": 4}, r"length must be an integer >= 2 and <= 3, got 4"),
        ({"length": 2.0}, r"length must be an integer, got float 2.0"),
        ({"spectral_radius": -0.1}, r"spectral_radius must be a finite number >= 0 and <= 10, got"),
        ({"spectral_radius": 10.1}, r"spectral_radius must be a finite number >= 0 and <= 10, got"),
        ({"spectral_radius": "1"}, r"spectral_radius must be a number, got str '1'"),
        ({"gate_bias": np.inf}, r"gate_bias must be a finite number, got inf"),
        ({"gate_bias": None}, r"gate_bias must be a number, got NoneType None"),
    ],
)
def test_wrong_input_is_named(change, message):
    rnn, gru = models(2, 1, 1)
    good = {"rnn": rnn, "gru": gru, "ids": np.array([0, 1, 0, 1]), "tokens": ["a", "b"]}
    with pytest.raises((TypeError, ValueError), match=message):
        GradientFlow(**(good | change))


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("length", 60, r"length must be an integer >= 2 and <= 59, got 60"),
        ("spectral_radius", np.nan, r"spectral_radius must be a finite number"),
        ("gate_bias", "a", r"gate_bias must be a number"),
        ("gate_bias", None, r"gate_bias must be a number, got None"),
        ("length", None, r"length must be an integer, got None"),
        ("ids", [0, 1, 2], r"read-only"),
        ("rnn", None, r"read-only"),
    ],
)
def test_a_wrong_assignment_changes_nothing(name, value, message):
    view = large_flow(length=7)
    before = view.page_state()
    with pytest.raises(Exception, match=message):
        setattr(view, name, value)
    assert view.page_state() == before


def test_output_escapes_its_tokens():
    html = hostile_flow()._repr_mimebundle_()[0]["text/html"]
    state, rest = re.fullmatch(
        r'<div class="lmcourse-widget mathjax_ignore tex2jax_ignore" data-kind="GradientFlow">'
        r'<script type="application/json">([^<]*)</script>(.*)</div>',
        html,
        re.DOTALL,
    ).groups()
    assert json.loads(state)["tokens"] == HOSTILE
    assert "<img" not in rest and "<svg" not in rest and "<script" not in rest


def test_stored_output_is_the_same_in_every_process():
    imports = "from tests.gradient_flows import hostile_flow, large_flow"
    views = ["hostile_flow()", "large_flow(length=7, spectral_radius=2)"]
    first, second = (
        stored_output_of_a_new_process(views, imports, hash_seed=seed) for seed in (1, 2)
    )
    assert first == second
    assert "GradientFlow(60 tokens, length=7, spectral_radius=2.0, gate_bias=0.0)" in first


# --- The page's arithmetic --------------------------------------------------------------------


def random_views(number: int):
    rng = np.random.default_rng(0)
    for seed in range(number):
        vocab_size, hidden_size = int(rng.integers(2, 10)), int(rng.choice([1, 2, 5, 9]))
        scale = rng.choice([0.3, 1, 1.5])  # larger ones saturate: 1 - h**2 is rounding error
        pair = models(vocab_size, int(rng.integers(1, 5)), hidden_size, seed=seed, scale=scale)
        ids = rng.integers(0, vocab_size, rng.choice([3, 4, 30, 80]))
        yield GradientFlow(
            *pair,
            ids,
            [f"t{i}" for i in range(vocab_size)],
            length=int(rng.choice([2, len(ids) - 1, rng.integers(2, len(ids))])),
            spectral_radius=rng.choice([None, 0.0, 1.0, 3.0, 3 * rng.random()]),
            gate_bias=float(rng.choice([0, -8, 8, rng.normal(0, 3)])),
        )


@pytest.mark.browser
def test_the_module_computes_what_the_package_computes(browser):
    # As JSON, which is much faster than what Playwright makes of such long lists.
    function = """(states) => JSON.stringify(JSON.parse(states).map((state) => {
        const numbers = compute({ get: (name) => state[name] });
        return [numbers.flows, sentences(numbers, state.tokens)];
    }))"""
    views = list(random_views(320))
    states = json.dumps([view.page_state() for view in views])
    computed = json.loads(evaluate_in_module(browser, GradientFlow, function, states))
    for view, (flows, sentences) in zip(views, computed, strict=True):
        for model, flow in zip((view.rnn, view.gru), flows, strict=True):
            expected, probability = expected_flow(model, view.ids, **settings_of(view))
            assert_norms_equal(flow["states"][::-1], expected.hidden_states)
            assert_norms_equal(flow["inputs"][::-1], expected.inputs)
            shares = shares_of(expected)
            np.testing.assert_allclose(flow["shares"][::-1], shares, rtol=1e-6, atol=1e-150)
            assert flow["probability"] == pytest.approx(probability, rel=1e-6)
        assert sentences in view.summary()


# --- The built page, without a kernel ---------------------------------------------------------


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    unusual = [large_flow(**settings) for settings in UNUSUAL_SETTINGS]
    pages = {
        "hostile": [hostile_flow(), large_flow(length=40)],
        "unusual": [*unusual, unbounded_flow()],
    }
    with np.errstate(over="ignore"):
        return build_book(tmp_path_factory.mktemp("book"), pages)


class Flow(WidgetInPage):
    selector = ".lmc-flow"

    def settings(self) -> dict[str, float | int | None]:
        """The settings as the page shows them."""
        shown = self.root.locator(".lmc-sliders .lmc-setting").all_text_contents()
        length, radius, bias = shown
        return {
            "length": int(length),
            "spectral_radius": None if radius == "as trained" else float(radius),
            "gate_bias": float(bias.replace("−", "-")),
        }

    def table(self) -> dict[str, np.ndarray | list[str]]:
        """The saved CSV's columns; the first row is one step back."""
        rows = self.saved_rows()
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        return columns | {
            name: np.array(values, dtype=float)
            for name, values in columns.items()
            if name != "token"
        }

    def check_numbers(self, view: GradientFlow) -> None:
        """Hold everything the page computed against lmcourse.rnn, at the page's settings."""
        table, settings = self.table(), self.settings()
        np.testing.assert_array_equal(table["steps_back"], np.arange(1, settings["length"] + 1))
        np.testing.assert_array_equal(table["id"], view.ids[-2 : -2 - settings["length"] : -1])
        assert table["token"] == [view.tokens[int(i)] for i in table["id"]]
        models = self.root.locator(".lmc-models tbody tr")
        for i, (name, model) in enumerate([("rnn", view.rnn), ("gru", view.gru)]):
            expected, probability = expected_flow(model, view.ids, **settings)
            assert_norms_equal(table[f"{name}_state_norm"][::-1], expected.hidden_states)
            assert_norms_equal(table[f"{name}_embedding_norm"][::-1], expected.inputs)
            shares = shares_of(expected)
            np.testing.assert_allclose(table[f"{name}_share"][::-1], shares, rtol=0, atol=1e-9)
            assert models.nth(i).locator("td").nth(1).text_content() == f"{probability:.1%}"

    def line(self, index: int) -> np.ndarray:
        """A line's points in the chart, as steps back and decimal exponents of the norm.

        They are read off as a reader does: against the marks of the axes.
        """
        points = self.root.locator("svg polyline").nth(index).get_attribute("points")
        pixels = np.array([point.split(",") for point in points.split()], dtype=float)
        marks = self.root.locator("svg text").evaluate_all(
            "texts => texts.map(t => [t.textContent, +t.getAttribute('x'), +t.getAttribute('y')])"
        )
        superscripts = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
        steps = [(x, int(text)) for text, x, _ in marks if text.isdecimal() and text != "0"]
        decades = [
            (y - 4, int(t[2:].translate(superscripts)))
            for t, _, y in marks
            if t[:2] == "10" and t[2:] and not t.isascii()
        ]
        at = [np.polynomial.Polynomial.fit(*np.array(m).T, 1) for m in (steps, decades)]
        return np.column_stack([at[0](pixels[:, 0]), at[1](pixels[:, 1])])


@pytest.mark.browser
def test_numbers_in_the_built_page(browser, book):
    rng = np.random.default_rng(2)
    with opened(browser, book / "hostile.html") as page:
        flow, view = Flow(page, 1), large_flow()
        flow.check_numbers(view)
        for _ in range(12):
            for label in SLIDERS.values():
                highest = int(flow.slider(label).get_attribute("max"))
                flow.slide(label, rng.integers(0, highest, endpoint=True))
            flow.check_numbers(view)
        flow.press("Reset sliders")
        assert flow.settings() == AS_TRAINED | {"length": 40}


@pytest.mark.browser
def test_settings_that_the_sliders_would_not_reach(browser, book):
    with opened(browser, book / "unusual.html") as page:
        for index, settings in enumerate(UNUSUAL_SETTINGS):
            flow = Flow(page, index)
            assert flow.settings() == AS_TRAINED | {"length": 59} | settings
            flow.check_numbers(large_flow())
        # An unusual value has its place among the stops.
        flow = Flow(page, 3)
        flow.slider("Spectral radius").press("ArrowRight")
        flow.slider("Update-gate bias").press("ArrowLeft")
        assert flow.settings() == {"length": 59, "spectral_radius": 0.2, "gate_bias": 1.5}


@pytest.mark.browser
def test_as_trained_stands_at_the_rnns_own_radius(browser, book):
    radius = large_flow().page_state()["rnn"]["spectral_radius"]
    with opened(browser, book / "hostile.html") as page:
        flow = Flow(page, 1)
        flow.slider("Spectral radius").press("ArrowRight")
        above = flow.settings()["spectral_radius"]
        flow.press("Reset sliders")
        flow.slider("Spectral radius").press("ArrowLeft")
        below = flow.settings()["spectral_radius"]
        assert below < radius < above
        assert above - below == pytest.approx(0.1)
        shown = [f"{below:.2f}", f"{below:.2f}"]
        assert flow.root.locator(".lmc-models td:nth-child(2)").all_text_contents() == shown


@pytest.mark.browser
def test_lines_lie_where_the_axes_say(browser, book):
    with opened(browser, book / "hostile.html") as page:
        flow = Flow(page, 1)
        for position in (0, 20):
            flow.slide("Spectral radius", position)
            table = flow.table()
            for index, name in enumerate(("rnn", "gru")):
                steps, exponents = flow.line(index).T
                positive = table[f"{name}_state_norm"] > 0
                np.testing.assert_allclose(steps, table["steps_back"], atol=0.01)
                np.testing.assert_allclose(
                    exponents[positive], np.log10(table[f"{name}_state_norm"][positive]), atol=0.06
                )


@pytest.mark.browser
def test_markers_lie_on_the_lines(browser, book):
    with opened(browser, book / "hostile.html") as page:
        flow = Flow(page, 1)
        flow.slide("Look at", 11)
        shapes = [("circle", "cx", "cy", 0), ("rect", "x", "y", 4)]
        for line, (kind, x, y, half) in enumerate(shapes):
            shape = flow.root.locator(f"svg {kind}")
            place = [float(shape.get_attribute(name)) + half for name in (x, y)]
            points = flow.root.locator("svg polyline").nth(line).get_attribute("points").split()
            np.testing.assert_allclose(place, np.array(points[11].split(","), float), atol=0.06)


@pytest.mark.browser
def test_what_vanishes_or_overflows_is_drawn(browser, book):
    with opened(browser, book / "unusual.html") as page:
        vanishing = Flow(page, 1)  # radius 0: nothing of the RNN's gradient is left after a step
        marks = vanishing.root.locator("svg text").all_text_contents()
        assert "0" in marks
        zero = float(
            vanishing.root.locator("svg text", has_text=re.compile("^0$")).get_attribute("y")
        )
        points = vanishing.root.locator("polyline").first.get_attribute("points").split()
        assert {float(point.split(",")[1]) for point in points[1:]} == {zero - 4}
        assert "multiplied by 0, the GRU" in vanishing.root.locator(".lmc-words").text_content()

        overflowing = Flow(page, len(UNUSUAL_SETTINGS))
        assert "multiplied by overflow" in overflowing.root.locator(".lmc-words").text_content()
        for flow in (vanishing, overflowing):
            box = flow.root.locator(".lmc-chart svg").bounding_box()
            for line in flow.root.locator("polyline").all():
                inside = line.bounding_box()
                assert "NaN" not in line.get_attribute("points")
                assert box["y"] + 20 < inside["y"]
                assert inside["y"] + inside["height"] < box["y"] + box["height"] - 30


@pytest.mark.browser
def test_a_step_can_be_looked_at(browser, book):
    with opened(browser, book / "hostile.html") as page:
        flow, view = Flow(page, 1), large_flow(length=40)
        looked = flow.root.locator(".lmc-cursor .lmc-setting")
        assert looked.text_content() == f"40 steps back, “{view.tokens[view.ids[-41]]}”"

        def check(step):
            token = view.tokens[view.ids[-1 - step]]
            steps = "1 step" if step == 1 else f"{step} steps"
            assert looked.text_content() == f"{steps} back, “{token}”"
            assert flow.root.locator(".lmc-looked").all_text_contents() == [token, token]
            backs = flow.root.locator(".lmc-looked").evaluate_all("s => s.map(e => e.dataset.back)")
            assert backs == [str(step)] * 2
            table = flow.table()
            spoken = flow.slider("Look at").get_attribute("aria-valuetext")
            for i, name in enumerate(("RNN", "GRU")):
                norm = table[f"{name.lower()}_state_norm"][step - 1]
                cells = flow.root.locator(".lmc-models tbody tr").nth(i).locator("td")
                shown, share = cells.nth(2).text_content(), cells.nth(3).text_content()
                assert float(shown) == pytest.approx(norm, rel=0.05)
                assert share == f"{table[f'{name.lower()}_share'][step - 1]:.1%}"
                assert f"{name} {shown}" in spoken

        flow.slider("Look at").focus()
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        check(2)
        chart = flow.root.locator(".lmc-chart")
        box = chart.bounding_box()
        chart.hover(position={"x": 46 + (box["width"] - 92) * 9 / 39, "y": 100})
        check(10)
        chart.hover(position={"x": 3, "y": 100})
        check(1)
        flow.root.locator(".lmc-text.lmc-gru [data-back='30']").hover()
        check(30)
        flow.slide("Sequence length", 18)
        check(20)  # no further than is read


@pytest.mark.browser
def test_the_text_is_shaded_by_share(browser, book):
    with opened(browser, book / "hostile.html") as page:
        flow, view = Flow(page, 1), large_flow()
        table = flow.table()
        for name in ("rnn", "gru"):
            text = flow.root.locator(f".lmc-text.lmc-{name}")
            spans = text.locator("span")
            assert "".join(spans.all_text_contents()) == "".join(view.tokens[i] for i in view.ids)
            shades = spans.evaluate_all(
                "spans => spans.map(s => +s.style.getPropertyValue('--lmc-shade'))"
            )
            expected = [*np.zeros(19), *np.sqrt(table[f"{name}_share"][::-1]), 0]
            np.testing.assert_allclose(shades, expected, atol=6e-4)
            alphas = spans.evaluate_all(
                "spans => spans.map(s => getComputedStyle(s).backgroundColor)"
                ".map(c => +(c.match(/[/] ([\\d.e-]+)/)?.[1] ?? c.match(/, ([\\d.]+)[)]$/)[1]))"
            )
            np.testing.assert_allclose(alphas, 0.7 * np.array(expected), atol=5e-3)
            unread = text.locator(".lmc-unread")
            assert unread.count() == 19
            assert text.locator(".lmc-oldest").get_attribute("data-back") == "40"
            assert text.locator(".lmc-target").get_attribute("data-back") == "0"
            nearest = np.argmax(table[f"{name}_share"])
            share = table[f"{name}_share"][nearest]
            label = text.get_attribute("aria-label")
            assert f"most on “{table['token'][nearest]}” {nearest + 1} step" in label
            assert f"back, {share:.1%};" in label
        note = flow.root.get_by_text("What is left of the bar is not read.")
        assert note.is_visible()
        flow.slider("Sequence length").press("End")
        assert not note.is_visible()
        assert flow.root.locator(".lmc-unread, .lmc-oldest").count() == 0


@pytest.mark.browser
def test_all_steps_as_a_table(browser, book):
    with opened(browser, book / "hostile.html") as page:
        flow = Flow(page, 1)
        rows = flow.root.locator(".lmc-steps tbody tr")
        assert rows.count() == 0
        flow.root.locator("summary").click()
        rows.nth(39).wait_for()
        flow.slide("Sequence length", 28)
        assert rows.count() == 30
        table = flow.table()
        cells = rows.nth(4).locator("th, td").all_text_contents()
        assert cells[:2] == ["5", table["token"][4]]
        norms = [table["rnn_state_norm"][4], table["gru_state_norm"][4]]
        np.testing.assert_allclose(np.array(cells[2:4], float), norms, rtol=0.05)
        assert cells[4:] == [f"{table[f'{name}_share'][4]:.1%}" for name in ("rnn", "gru")]


@pytest.mark.browser
def test_tokens_stay_text(browser, book):
    with opened(browser, book / "hostile.html") as page:
        flow = Flow(page)
        flow.root.locator("summary").click()
        assert page.evaluate("typeof hacked") == "undefined"
        assert flow.root.locator("img, script, b, mjx-container").count() == 0
        assert flow.root.locator("svg").count() == 1
        assert page.locator("mjx-container").count() >= 2, "MathJax did not run at all"
        names = flow.root.locator(".lmc-steps td:nth-child(2)").all_text_contents()[::-1]
        assert names[:6] == [token.replace(" ", "␣") for token in HOSTILE[:6]]
        assert names[6:12] == ["∅", "␣", "⏎", "⇥", "U+202Edesrever", "U+200B"]
        spans = flow.root.locator(".lmc-text.lmc-rnn span").all_text_contents()
        assert spans[:6] == [token.replace(" ", "␣") for token in HOSTILE[:6]]
        assert spans[6:12] == ["∅", " ", "⏎", "⇥", "U+202Edesrever", "U+200B"]
        assert flow.table()["token"] == [HOSTILE[3], *HOSTILE[::-1]]


@pytest.mark.browser
def test_keyboard_alone_is_enough(browser, book):
    with opened(browser, book / "hostile.html") as page:
        flow = Flow(page, 1)
        flow.slider("Sequence length").focus()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Tab")
        page.keyboard.press("Home")
        assert flow.slider("Spectral radius").get_attribute("aria-valuetext") == "0"
        page.keyboard.press("Tab")
        page.keyboard.press("End")
        assert flow.slider("Update-gate bias").get_attribute("aria-valuetext") == "+8"
        assert flow.settings() == {"length": 39, "spectral_radius": 0, "gate_bias": 8}
        page.keyboard.press("Tab")
        page.keyboard.press("Home")
        assert flow.slider("Look at").input_value() == "0"
        said = flow.root.get_by_role("status")
        heard = (
            "Length 39, spectral radius 0, update-gate bias +8. Between 1 and 39 steps back, the"
        )
        said.filter(has_text=heard).wait_for(state="attached")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert flow.settings() == AS_TRAINED | {"length": 40}
        for _ in range(2 + 1):
            page.keyboard.press("Tab")
        # "Reset sliders" is disabled now, and focus has moved on from it.
        page.keyboard.press("Enter")
        assert flow.root.locator("details").get_attribute("open") is not None


@pytest.mark.browser
def test_screen_readers_hear_the_last_of_many_changes(browser, book):
    with opened(browser, book / "hostile.html") as page:
        flow = Flow(page, 1)
        flow.root.get_by_role("status").evaluate(
            """status => {
                window.heard = [];
                new MutationObserver(() => heard.push(status.textContent))
                    .observe(status, { childList: true });
            }"""
        )
        flow.slider("Sequence length").evaluate(
            """input => { for (const position of [5, 6, 7]) {
                input.value = position;
                input.dispatchEvent(new Event("input"));
            } }"""
        )
        page.wait_for_function("heard.length > 0")
        page.wait_for_timeout(600)
        heard = page.evaluate("heard")
        assert len(heard) == 1
        assert heard[0].startswith("Length 9, spectral radius as trained, update-gate bias +0.")


@pytest.mark.browser
def test_picture_shows_the_chart(browser, book):
    with opened(browser, book / "hostile.html", color_scheme="dark") as page:
        picture = Image.open(Flow(page, 1).saved("Save PNG")).convert("RGB")
    assert picture.size == (1440, 680)
    colours = dict((colour, n) for n, colour in picture.getcolors(2**20))
    # Lines 1100 px long and 5 px thick; the GRU's has gaps.
    assert colours[(0, 114, 178)] > 4000
    assert colours[(213, 94, 0)] > 2500
    assert picture.getpixel((2, 2)) == (255, 255, 255)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_in_the_book(browser, book, scheme):
    with opened(browser, book / "hostile.html", color_scheme=scheme) as page:
        Flow(page, 0).slide("Spectral radius", 0)  # one token gets all of the RNN's shade
        for index in range(2):
            Flow(page, index).root.locator("summary").click()
        assert page.locator("html").get_attribute("data-theme") == scheme
        assert accessibility_violations(page) == []


@pytest.mark.browser
def test_fits_a_phone(browser, book):
    with opened(browser, book / "hostile.html", **PHONE) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        for index in range(2):
            flow = Flow(page, index)
            flow.root.locator("summary").click()
            overflowing = flow.root.evaluate(
                "root => [...root.querySelectorAll('button, input, svg, .lmc-text span, td')]"
                ".filter(e => e.getBoundingClientRect().right > root.getBoundingClientRect().right)"
                ".length"
            )
            assert overflowing == 0
        assert accessibility_violations(page, colours=False) == []


@pytest.mark.browser
def test_the_chart_follows_the_windows_width(browser, book):
    with opened(browser, book / "hostile.html") as page:
        chart = Flow(page).root.locator("svg")
        assert chart.bounding_box()["width"] > 500
        page.set_viewport_size(PHONE["viewport"])
        page.wait_for_function("document.querySelector('.lmc-flow svg').clientWidth < 390")


@pytest.mark.browser
def test_readable_without_javascript(browser, book):
    with opened(browser, book / "hostile.html", java_script_enabled=False) as page:
        output = page.locator(".lmcourse-widget").nth(1)
        steps = output.locator("tbody th").all_text_contents()
        assert steps == ["1", "2", "5", "10", "20", "40"]
        view = large_flow(length=40)
        shown = output.locator("tbody td:nth-child(3)").all_text_contents()
        norms = view.rnn_flow.hidden_states[::-1][np.array(steps, int) - 1]
        np.testing.assert_allclose(np.array(shown, float), norms, rtol=0.06)
        assert "Between 1 and 40 steps back" in output.text_content()


# --- JupyterLab, with a kernel ----------------------------------------------------------------

LAB_CELLS = (
    "from tests.gradient_flows import large_flow\n\nview = large_flow(length=30)\nview",
    "import json\n\n"
    "state = {name: getattr(view, name) for name in ('length', 'spectral_radius', 'gate_bias')}\n"
    "flows = [norms.tolist() for flow in (view.rnn_flow, view.gru_flow) for norms in flow]\n"
    "print(json.dumps(state | {'flows': flows}))",
    "view.spectral_radius, view.gate_bias = 1.25, -3",
)


@pytest.mark.browser
def test_live_in_jupyterlab(browser, lab):
    with OfflinePage(browser, viewport={"width": 1280, "height": 1800}) as offline:
        notebook = Lab(offline.page, lab, Flow)
        flow, view = notebook.view, large_flow()
        # The last cell set the radius and the bias: the page follows the kernel.
        flow.root.locator(".lmc-setting", has_text="1.25").wait_for()
        assert flow.settings() == {"length": 30, "spectral_radius": 1.25, "gate_bias": -3}
        flow.check_numbers(view)

        for label, position in (("Sequence length", 50), ("Spectral radius", 7)):
            flow.slide(label, position)
        flow.check_numbers(view)
        state, table = notebook.kernel_state(), flow.table()
        assert {name: state[name] for name in SLIDERS} == flow.settings()
        columns = [f"{m}_{kind}_norm" for m in ("rnn", "gru") for kind in ("state", "embedding")]
        for column, norms in zip(columns, state["flows"], strict=True):
            assert_norms_equal(table[column][::-1], norms)

        notebook.run(2)
        flow.root.locator(".lmc-setting", has_text="1.25").wait_for()
        flow.check_numbers(view)

        assert accessibility_violations(offline.page, ".lmc-flow") == []
        notebook.go_dark()
        assert accessibility_violations(offline.page, ".lmc-flow") == []
        assert offline.refused == []
