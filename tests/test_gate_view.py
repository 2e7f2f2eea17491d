"""GateView in Python, in a built page without a kernel, and in JupyterLab with one."""

import base64
import json
import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lmcourse.widgets import GateView
from tests.chromium import OfflinePage, accessibility_violations
from tests.gate_views import (
    CHARACTERS,
    HOSTILE_TEXT,
    SPEECH,
    TEXTS,
    VERSE,
    character_model,
    hostile_view,
    large_view,
    plain_view,
    random_weights,
    skipping_view,
    small_model,
)
from tests.widget_pages import (
    PHONE,
    Lab,
    WidgetInPage,
    build_book,
    evaluate_in_module,
    opened,
    stored_output_of_a_new_process,
)

ISOLATES = {0x2068: None, 0x2069: None}
QUANTITIES = {
    "input": "input gate i",
    "forget": "forget gate f",
    "candidate": "candidate c̃",
    "output": "output gate o",
    "cell": "cell state c",
    "tanh_cell": "tanh(c)",
    "hidden": "hidden state h",
}
SIGNED = ("candidate", "cell", "tanh_cell", "hidden")
PROPERTIES = {
    "quotation": "inside quotation marks",
    "line": "position in the line",
    "word": "inside a word",
    "space": "distance from the last space",
    "capital": "capital letters",
    "selection": "what I mark in the text",
}


# --- What PyTorch makes of the stored weights -------------------------------------------------


def stored_weights(view: GateView) -> list[np.ndarray]:
    """The weights that the page has, decoded as the docstring describes them."""
    codes = np.frombuffer(base64.b64decode(view.codes), "<i2").astype(np.float64)
    floats = np.frombuffer(base64.b64decode(view.floats), "<f4").astype(np.float64)
    vocab, width, units = len(view.characters), view.width, view.units
    shapes = [(vocab, width), (width, 4 * units), (units, 4 * units), (units, vocab)]
    matrices = []
    for rows, columns in shapes:
        part, codes = codes[: rows * columns], codes[rows * columns :]
        scales, floats = floats[:columns], floats[columns:]
        matrices.append(part.reshape(rows, columns) * scales)
    assert len(codes) == 0 and len(floats) == 4 * units + vocab
    return [*matrices[:3], floats[: 4 * units], matrices[3], floats[4 * units :]]


def torch_steps(weights: list[np.ndarray], ids: list[int]) -> dict[str, np.ndarray]:
    """All quantities, each (characters, units), and the probabilities, by nn.LSTM and its cell.

    Neither gives its gates away. So they are measured: c is linear in the cell state before, with
    the forget gate as its slope; and with the candidate held at 1, or the input gate, what a cell
    at 0 becomes is the other one.
    """
    embedding, kernel, recurrent, bias, dense, dense_bias = (
        torch.tensor(array, dtype=torch.float64) for array in weights
    )
    units = len(recurrent)
    lstm = nn.LSTM(len(kernel), units, batch_first=True).double()
    cell, open_input, open_candidate = (nn.LSTMCell(len(kernel), units).double() for _ in "123")
    parameters = [kernel.T, recurrent.T, bias, torch.zeros_like(bias)]
    with torch.no_grad():
        for module in (lstm, cell, open_input, open_candidate):
            for parameter, value in zip(module.parameters(), parameters, strict=True):
                parameter.copy_(value)
        for module, first in ((open_input, 0), (open_candidate, 2)):
            for parameter in module.parameters():
                parameter[first * units : (first + 1) * units] = 0
            module.bias_ih[first * units : (first + 1) * units] = 1000
        inputs = embedding[ids]
        hidden, _ = lstm(inputs[None])
        before = torch.cat([torch.zeros(1, units).double(), hidden[0, :-1]])
        zero, one = torch.zeros_like(before), torch.ones_like(before)
        forget = cell(inputs, (before, one))[1] - cell(inputs, (before, zero))[1]
        state, states = torch.zeros(1, units).double(), []
        for t in range(len(ids)):
            state = cell(inputs[t : t + 1], (before[t : t + 1], state))[1]
            states.append(state[0])
        squashed = torch.tanh(torch.stack(states))
        found = {
            "input": open_candidate(inputs, (before, zero))[1],
            "forget": forget,
            "candidate": open_input(inputs, (before, zero))[1],
            "output": hidden[0] / squashed,
            "cell": torch.stack(states),
            "tanh_cell": squashed,
            "hidden": hidden[0],
            "probabilities": torch.softmax(hidden[0] @ dense + dense_bias, dim=-1),
        }
    return {name: values.numpy() for name, values in found.items()}


def ids_of(view: GateView, text: str) -> list[int]:
    """The id of each character; -1 where it is skipped."""
    unknown = view.characters.index("") if "" in view.characters else -1
    return [view.characters.index(c) if c in view.characters else unknown for c in text]


def steps_of(view: GateView, text: str | None = None) -> dict[str, np.ndarray]:
    """What torch_steps gives for a text; NaN where a character is skipped."""
    ids = np.array(ids_of(view, view.text if text is None else text))
    found = torch_steps(stored_weights(view), ids[ids >= 0].tolist())
    spread = {}
    for name, values in found.items():
        spread[name] = np.full((len(ids), values.shape[1]), np.nan)
        spread[name][ids >= 0] = values
    return spread


# --- Python: what is stored -------------------------------------------------------------------


def test_no_weight_moves_by_more_than_half_a_code():
    weights = random_weights(len(CHARACTERS), 5, 7, seed=3)
    weights[1][:, 4] = 0  # a column without a scale
    view = GateView(character_model(weights), CHARACTERS, [VERSE])
    assert (view.units, view.width) == (7, 5)
    for given, stored in zip(weights, stored_weights(view), strict=True):
        largest = np.abs(given).max(axis=0) if given.ndim == 2 else 0
        assert (np.abs(stored - given) <= largest / 65534 * 1.001).all()
    np.testing.assert_array_equal(stored_weights(view)[3], weights[3])


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_values_are_those_of_torch(quantity):
    view = plain_view(quantity=quantity)
    for text in (SPEECH, VERSE + " é?"):
        view.text = text
        expected = steps_of(view)
        np.testing.assert_allclose(view.values, expected[quantity], rtol=0, atol=1e-10)
        np.testing.assert_allclose(view.probabilities, expected["probabilities"], atol=1e-10)


def test_characters_that_the_model_does_not_know_are_skipped_or_read_as_one():
    view = skipping_view(quantity="hidden")
    view.text = "aéb"
    assert np.isnan(view.values[1]).all() and np.isnan(view.probabilities[1]).all()
    both = view.values[[0, 2]]
    view.text = "ab"
    np.testing.assert_array_equal(view.values, both)
    view = plain_view()
    view.text = "aéñb"
    values = steps_of(view)["cell"]
    np.testing.assert_allclose(view.values, values, atol=1e-10)
    assert not np.isnan(values).any()


def test_the_drift_is_that_of_the_texts_given():
    weights = random_weights(len(CHARACTERS), 3, 6)
    view = plain_view()
    largest = np.zeros(4)
    for text in TEXTS.values():
        given, stored = torch_steps(weights, ids_of(view, text)), steps_of(view, text)
        moved = {name: np.abs(given[name] - stored[name]).max() for name in given}
        gates = max(moved[name] for name in ("input", "forget", "output"))
        change = np.abs(given["cell"] - stored["cell"]).max(axis=0)
        cell = (change / np.abs(given["cell"]).max(axis=0)).max()
        found = [gates, cell, moved["tanh_cell"], moved["probabilities"]]
        largest = np.maximum(largest, found)
    assert view.drift == pytest.approx(largest, abs=0.50001e-4)
    assert 0 < max(view.drift) < 0.002


def test_the_unit_that_varies_most_is_the_first_one_shown():
    for quantity in QUANTITIES:
        view = plain_view(quantity=quantity)
        assert view.unit == steps_of(view)[quantity].var(axis=0).argmax()
    assert plain_view(unit=0).unit == 0


def test_texts_have_names():
    assert plain_view().texts == list(TEXTS.items())
    assert plain_view().text == SPEECH
    view = GateView(small_model(), CHARACTERS, ["\nTo be\nor not", VERSE])
    assert [name for name, _ in view.texts] == ["To be", "If I have too austerely punish'd"]


# --- Python: what it takes --------------------------------------------------------------------


OPTIONS = {
    "Embedding": {"mask_zero": False},
    "LSTM": {
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "use_bias": True,
        "go_backwards": False,
    },
    "Dense": {"use_bias": True},
}


def stub_layer(kind: str, arrays=(), **options):
    """A layer of a name, with the options that a test changes."""
    layer = type(kind, (), {})()
    layer.get_config = lambda: OPTIONS.get(kind, {}) | options
    layer.get_weights = lambda: list(arrays)
    return layer


def stub_model(*, kinds=("Embedding", "LSTM", "Dense"), weights=None, **options):
    weights = random_weights(3, 2, 4) if weights is None else weights
    arrays = {"Embedding": weights[:1], "LSTM": weights[1:4], "Dense": weights[4:]}
    layers = [stub_layer(kind, arrays.get(kind, ()), **options.get(kind, {})) for kind in kinds]
    return SimpleNamespace(layers=layers)


def infinite_weights():
    weights = random_weights(3, 2, 4)
    weights[2][1, 3] = np.inf
    return weights


def test_dropout_and_inputs_may_stand_between():
    kinds = ("InputLayer", "Embedding", "Dropout", "LSTM", "Dropout", "Dense")
    view = GateView(stub_model(kinds=kinds), "abc", ["cab"])
    assert (view.characters, view.units) == (["a", "b", "c"], 4)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": [1]}, r"model must be a model of lmcourse.keras, got list"),
        (
            {"model": stub_model(kinds=("Embedding", "LSTM", "LSTM", "Dense"))},
            r"must have the layers Embedding, LSTM and Dense, .* got Embedding, LSTM, LSTM, Dense",
        ),
        ({"model": stub_model(kinds=("Embedding", "GRU", "Dense"))}, r"got Embedding, GRU, Dense"),
        ({"model": stub_model(kinds=())}, r"one of each, got none"),
        (
            {"model": stub_model(LSTM={"activation": "relu"})},
            r"model's LSTM must have activation='tanh', got 'relu'",
        ),
        (
            {"model": stub_model(LSTM={"go_backwards": True})},
            r"model's LSTM must have go_backwards=False, got True",
        ),
        (
            {"model": stub_model(Embedding={"mask_zero": True})},
            r"model's Embedding must have mask_zero=False, got True",
        ),
        (
            {"model": stub_model(weights=random_weights(3, 2, 4)[:4])},
            r"model must be built, so that its layers have weights; call it once",
        ),
        (
            {"model": stub_model(weights=infinite_weights())},
            r"model's recurrent_kernel must be finite, got inf at .*\[1, 3\]",
        ),
        (
            {
                "model": stub_model(
                    weights=[*random_weights(4, 2, 4)[:4], *random_weights(3, 2, 4)[4:]]
                )
            },
            r"as many outputs as characters that it reads, got 3 outputs and 4 characters",
        ),
        ({"characters": "ab"}, r"characters must be 3, one for each id of the model, got 2"),
        ({"characters": "aba"}, r"characters\[2\] is 'a', which characters has twice"),
        ({"characters": ["", "a", ""]}, r"characters\[2\] is '', which characters has twice"),
        ({"characters": ["a", "b", "<unk>"]}, r"characters\[2\] must be one character or ''"),
        ({"characters": ["a", "b", 3]}, r"characters\[2\] must be a string, got int 3"),
        ({"texts": "abc"}, r"texts must be strings or a mapping to strings, got 'abc'"),
        ({"texts": []}, r"texts must have at least one text, got none"),
        ({"texts": ["abc", ""]}, r"texts\[1\] must not be empty"),
        ({"texts": {"one": 1}}, r"texts\['one'\] must be a string, got int 1"),
        ({"texts": ["a" * 2001]}, r"texts\[0\] must have at most 2000 characters, got 2001"),
        ({"unit": 4}, r"unit must be an integer >= 0 and <= 3, got 4"),
        ({"quantity": "gate"}, r"quantity must be one of 'input', .*, got 'gate'"),
        ({"quantity": "state", "unit": 0}, r"quantity must be one of 'input', .*, got 'state'"),
        ({"focus": 3}, r"focus must be an integer >= 0 and <= 2, got 3"),
        ({"search": "nouns"}, r"search must be one of 'quotation', .*, got 'nouns'"),
    ],
)
def test_wrong_input_is_named(change, message):
    good = {"model": stub_model(), "characters": "abc", "texts": ["cab"]}
    with pytest.raises((TypeError, ValueError), match=message):
        GateView(**(good | change))


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("unit", 6, r"unit must be an integer >= 0 and <= 5, got 6"),
        ("unit", None, r"unit must be an integer, got NoneType None"),
        ("quantity", "gates", r"quantity must be one of"),
        ("focus", 66, r"focus must be an integer >= 0 and <= 65, got 66"),
        ("search", None, r"search must be one of"),
        ("text", "x" * 2001, r"text must have at most 2000 characters, got 2001"),
        ("text", 5, r"text must be a string, got int 5"),
        ("codes", "", r"read-only"),
    ],
)
def test_a_wrong_assignment_changes_nothing(name, value, message):
    view = plain_view(unit=2, focus=3)
    before = view.page_state()
    with pytest.raises(Exception, match=message):
        setattr(view, name, value)
    assert view.page_state() == before


def test_a_shorter_text_lets_go_of_what_is_looked_at():
    view = plain_view(focus=60)
    view.text = "a" * 61
    assert view.focus == 60
    view.text = "a" * 60
    assert view.focus is None
    view.text = ""
    assert view.values.shape == (0, 6)
    assert "0 characters of text" in view.summary()


@pytest.mark.parametrize(("unit", "quantity"), [(0, "cell"), (5, "forget"), (3, "hidden")])
def test_summary_has_the_largest_values(unit, quantity):
    view = plain_view(unit=unit, quantity=quantity)
    values, steps = view.values[:, unit], steps_of(view)
    rows = re.findall('<tr><th scope="row">(.+?) \\((\\d+)\\)</th>(.*?)</tr>', view.summary())
    assert len(rows) == 10
    expected = sorted(np.abs(values), reverse=True)
    for (character, place, cells), size in zip(rows, expected, strict=False):
        place = int(place)
        assert (
            character.replace("␣", " ").replace("⏎", "\n").replace("&quot;", '"') == SPEECH[place]
        )
        _, value, following = re.findall("<td>(.*?)</td>", cells)
        assert value == f"{values[place]:.2f}"
        assert abs(values[place]) == pytest.approx(size)
        likeliest = CHARACTERS[steps["probabilities"][place].argmax()]
        assert following == {"": "another", '"': "&quot;", "'": "&#x27;", "\n": "⏎", " ": "␣"}.get(
            likeliest, likeliest
        )


def test_output_escapes_its_texts():
    output = hostile_view()._repr_mimebundle_()[0]["text/html"]
    state, rest = re.fullmatch(
        r'<div class="lmcourse-widget mathjax_ignore tex2jax_ignore" data-kind="GateView">'
        r'<script type="application/json">([^<]*)</script>(.*)</div>',
        output,
        re.DOTALL,
    ).groups()
    assert json.loads(state)["text"] == HOSTILE_TEXT
    for tag in ("<img", "<svg", "<script", "<b>"):
        assert tag not in rest


def test_stored_output_is_the_same_in_every_process():
    imports = "from tests.gate_views import hostile_view, plain_view"
    views = ["hostile_view()", "plain_view(unit=3, focus=2)"]
    first = stored_output_of_a_new_process(views, imports, hash_seed=1)
    assert stored_output_of_a_new_process(views, imports, hash_seed=2) == first
    shown = (
        "GateView(6 units, 66 characters, 66 characters of text, unit=3, quantity='cell', focus=2"
    )
    assert shown in first


def test_the_page_grows_by_what_is_said():
    weights = 68 * 32 + 32 * 512 + 128 * 512 + 128 * 66 + 512 + 66
    assert len(large_view()._repr_mimebundle_()[0]["text/html"]) < 2.67 * weights + 14_000


# --- The page's arithmetic --------------------------------------------------------------------


@pytest.mark.browser
def test_the_module_computes_what_torch_computes(browser):
    """Also after changes at the start, in the middle and at the end of what it has read."""
    program = """([state, texts]) => {
        const network = readNetwork({ get: (name) => state[name] });
        let reading;
        return texts.map((text) => {
            reading = read(network, text, reading);
            return reading.ids.map((id, t) => (id === SKIPPED ? null : {
                steps: [...reading.steps[t]],
                next: likeliest(network, reading.steps[t], 1000),
            }));
        });
    }"""
    texts = [SPEECH, "x" + SPEECH, SPEECH[:30] + "éé" + SPEECH[33:], SPEECH[:20], "", VERSE, "é"]
    parts = ("input", "forget", "candidate", "output", "cell", "tanh_cell", "hidden")
    for view in (plain_view(), skipping_view()):
        readings = evaluate_in_module(browser, GateView, program, [view.page_state(), texts])
        for text, reading in zip(texts, readings, strict=True):
            read = [t for t, one in enumerate(ids_of(view, text)) if one >= 0]
            assert [t for t, one in enumerate(reading) if one] == read
            if not read:
                continue
            expected = steps_of(view, text)
            steps = np.array([reading[t]["steps"] for t in read]).reshape(len(read), 7, -1)
            for i, part in enumerate(parts):
                np.testing.assert_allclose(steps[:, i], expected[part][read], rtol=0, atol=1e-10)
            chances = expected["probabilities"]
            for t in read:
                ids, found = zip(*reading[t]["next"], strict=True)
                assert sorted(ids) == list(range(len(view.characters)))
                np.testing.assert_allclose(found, chances[t, list(ids)], atol=1e-10)
                assert list(found) == sorted(found, reverse=True)


@pytest.mark.browser
def test_properties_of_a_text(browser):
    program = """(text) => Object.fromEntries(Object.entries(PROPERTIES).map(
        ([name, { of }]) => [name, of([...text], [1, 3]).join(" ")]))"""

    def properties(text: str) -> dict[str, str]:
        return evaluate_in_module(browser, GateView, program, text)

    found = properties('a "B c" d\n"É\n\nit\'s')
    assert found == {
        "quotation": "0 0 1 1 1 1 0 0 0 0 1 1 1 0 0 0 0 0",
        "line": "1 2 3 4 5 6 7 8 9 0 1 2 0 0 1 2 3 4",
        "word": "1 0 0 1 0 1 0 0 1 0 0 1 0 0 1 1 1 1",
        "space": "1 0 1 2 0 1 2 0 1 0 1 2 0 0 1 2 3 4",
        "capital": "0 0 0 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0",
        "selection": "0 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
    }
    assert properties("“a” b “c\n\nd")["quotation"] == "1 1 0 0 0 0 1 1 1 0 0"


def correlations(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.array([np.corrcoef(column, wanted)[0, 1] for column in values.T])


def shifted_best(values: np.ndarray, wanted: np.ndarray) -> list[float]:
    """The best unit's correlation with the property at 19 shifts, smallest first."""
    shifts = [int(i * len(wanted) / 20 + 0.5) for i in range(1, 20)]
    return sorted(np.abs(correlations(values, np.roll(wanted, -s))).max() for s in shifts)


@pytest.mark.browser
def test_the_search_correlates_as_numpy_does(browser):
    program = """([state, text, quantity, property]) => {
        const network = readNetwork({ get: (name) => state[name] });
        const reading = read(network, text);
        return searchUnits(network, reading, PARTS.indexOf(quantity), property);
    }"""
    rng = np.random.default_rng(0)
    for view, text in ((plain_view(), SPEECH + VERSE), (skipping_view(), "é" + VERSE + "é")):
        for quantity in ("cell", "tanh_cell"):
            for wanted in (rng.normal(size=len(text)), rng.random(len(text)) < 0.2):
                argument = [view.page_state(), text, quantity, wanted.astype(float).tolist()]
                result = evaluate_in_module(browser, GateView, program, argument)
                read = np.array(ids_of(view, text)) >= 0
                values, wanted = steps_of(view, text)[quantity][read], wanted[read]
                expected = correlations(values, wanted)
                assert result["count"] == len(wanted)
                units, scores = zip(*result["found"], strict=True)
                assert list(units) == np.argsort(-np.abs(expected)).tolist()
                np.testing.assert_allclose(scores, expected[list(units)], atol=1e-12)
                best = shifted_best(values, wanted)
                np.testing.assert_allclose(result["shifted"], best, atol=1e-12)
    same = evaluate_in_module(
        browser, GateView, program, [view.page_state(), VERSE, "cell", [1] * len(VERSE)]
    )
    assert same is None


# --- The built page, without a kernel ---------------------------------------------------------

VIEWS = {
    "speech": [plain_view(), plain_view(unit=2, quantity="forget", focus=7, search="word")],
    "skipping": [skipping_view(quantity="hidden")],
    "hostile": [hostile_view()],
    "long": [large_view()],
}


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    return build_book(tmp_path_factory.mktemp("book"), VIEWS)


class Gates(WidgetInPage):
    """One GateView in a page."""

    selector = ".lmc-gates"

    def __init__(self, page, index: int = 0):
        super().__init__(page, index)
        self.frame = self.root.get_by_role("application")
        self.canvas = self.frame.locator("canvas")
        self.strip = self.root.get_by_role("listbox", name="Characters", exact=True)
        self.typed = self.root.get_by_role("textbox")

    def character(self, place: int):
        return self.strip.get_by_role("option").nth(place)

    def choose(self, label: str, option: str) -> None:
        self.root.get_by_label(label, exact=True).select_option(label=option)

    def chosen(self, label: str) -> str:
        select = self.root.get_by_label(label, exact=True)
        return select.evaluate("select => select.selectedOptions[0].textContent")

    def unit(self) -> int:
        return int(self.slider("Unit").input_value())

    def lines(self) -> list[str]:
        """What is said of the character that is looked at: the headline and three lines."""
        lines = self.root.locator(".lmc-numbers p").all_text_contents()
        return [line.translate(ISOLATES).replace("−", "-") for line in lines]

    def text(self) -> str:
        """The text in the coloured strip."""
        return "".join(self.strip.get_by_role("option").all_text_contents())

    def colours(self) -> np.ndarray:
        """The background of each character, (characters, 3)."""
        read = """spans => spans.map((span) => getComputedStyle(span).backgroundColor
            .match(/[\\d.]+/g).map(Number))"""
        return np.array([c[:3] for c in self.strip.get_by_role("option").evaluate_all(read)])

    def legend(self) -> tuple[str, str, list[list[int]]]:
        """The values at both ends of the legend, and the colours of its bar."""
        start, bar, end, _ = self.root.locator(".lmc-legend span").all()
        shown = bar.evaluate("bar => getComputedStyle(bar).backgroundImage")
        colours = [[int(n) for n in c.split(",")] for c in re.findall(r"rgb\((.*?)\)", shown)]
        return start.text_content().replace("−", "-"), end.text_content(), colours

    def found(self) -> list[tuple[int, float]]:
        """The units that the search has found, and their scores."""
        buttons = self.root.locator(".lmc-found:not([hidden]) button:not([hidden])")
        words = [re.fullmatch(r"unit (\d+) (.*)", one) for one in buttons.all_text_contents()]
        return [(int(word[1]), float(word[2].replace("−", "-"))) for word in words]

    def judgement(self) -> str:
        return self.root.locator(".lmc-found + .lmc-note").text_content()

    def hover_cells(self, cells: list[tuple[float, float]]) -> list[tuple[str, list[int]]]:
        """For points of the picture of all units, the headline and the pixel beneath."""
        program = """(canvas, points) => {
            const { left, top } = canvas.getBoundingClientRect();
            const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
            copy.drawImage(canvas, 0, 0);
            const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
            const line = canvas.closest(".lmc-gates").querySelector(".lmc-reading");
            const scale = canvas.width / canvas.clientWidth;
            return points.map(([x, y]) => {
                const options = { clientX: left + x, clientY: top + y, pointerType: "mouse" };
                canvas.dispatchEvent(new PointerEvent("pointermove", options));
                const words = line.textContent;
                canvas.dispatchEvent(new PointerEvent("pointerleave"));
                const at = 4 * (Math.floor(y * scale) * canvas.width + Math.floor(x * scale));
                return [words, [...data.subarray(at, at + 3)]];
            });
        }"""
        found = self.canvas.evaluate(program, cells)
        return [(words.translate(ISOLATES).replace("−", "-"), pixel) for words, pixel in found]

    def check(self, view: GateView, place: int | None = None) -> None:
        """Hold what the page shows against torch, at the view's settings."""
        steps = steps_of(view)
        assert self.unit() == view.unit
        assert self.chosen("Show") == QUANTITIES[view.quantity]
        assert self.typed.input_value() == view.text
        assert self.text() == view.text
        self.check_numbers(view, steps, len(view.text) - 1 if place is None else place)
        values = steps[view.quantity][:, view.unit]
        scale = np.abs(values).max() if view.quantity == "cell" else 1
        shares = values / scale
        levels = np.rint(127.5 * (shares + 1) if view.quantity in SIGNED else 255 * shares)
        colours = self.colours()
        start, end, stops = self.legend()
        assert end == (f"{scale:.2f}" if view.quantity == "cell" else "1")
        assert start == (f"-{end}" if view.quantity in SIGNED else "0")
        if view.quantity == "cell":
            largest = np.abs(values).argmax()
            assert colours[largest].tolist() == stops[-1 if values[largest] > 0 else 0]
        for level in np.unique(levels):
            assert len(np.unique(colours[levels == level], axis=0)) == 1
        order = np.argsort(values)
        blueness = (colours @ [-1, 0, 1])[order]
        assert (np.diff(blueness) >= -2).all() and len(np.unique(blueness)) > 5

    def check_numbers(self, view: GateView, steps: dict[str, np.ndarray], place: int) -> None:
        headline, cell, hidden, following = self.lines()
        unit, quantity = view.unit, view.quantity
        name = {" ": "␣", "\n": "⏎"}.get(view.text[place], view.text[place])
        assert headline.startswith(f"“{name}” ({place})")
        value = steps[quantity][place, unit]
        assert headline.endswith(f": {QUANTITIES[quantity]} of unit {unit} = {value:.2f}")
        i, f, candidate, o, c, squashed, h = (
            steps[part][place, unit]
            for part in ("input", "forget", "candidate", "output", "cell", "tanh_cell", "hidden")
        )
        before = steps["cell"][place - 1, unit] if place > 0 else 0.0

        def factor(number: float) -> str:
            return f"({number:.2f})" if number < 0 else f"{number:.2f}"

        assert cell == (
            f"c = f · c₋₁ + i · c̃ = {f:.2f} · {factor(before)} + {i:.2f} · {factor(candidate)} "
            f"= {c:.2f}"
        )
        assert hidden == f"h = o · tanh(c) = {o:.2f} · {factor(squashed)} = {h:.2f}"
        chances = steps["probabilities"][place]
        names = {"": "another", " ": "“␣”", "\n": "“⏎”"}
        expected = [
            f"{names.get(c, f'“{c}”')} {100 * chances[i]:.1f}%"
            for i in np.argsort(-chances)[:3]
            for c in [view.characters[i]]
        ]
        assert following == f"Likeliest next: {', '.join(expected)}"


def moved(text: str, unit: int = 4, quantity: str = "cell") -> GateView:
    view = plain_view(unit=unit, quantity=quantity)
    view.text = text
    return view


@pytest.mark.browser
def test_the_page_shows_what_torch_computes(browser, book):
    with opened(browser, book / "speech.html") as page:
        for index, view in enumerate(VIEWS["speech"]):
            shown = Gates(page, index)
            shown.check(view, view.focus)
        for quantity, name in QUANTITIES.items():
            shown.choose("Show", name)
            shown.slide("Unit", 5)
            shown.check(plain_view(unit=5, quantity=quantity), 7)
        steps = steps_of(plain_view())
        for place in range(0, len(SPEECH), 5):
            shown.character(place).hover()
            shown.check_numbers(plain_view(unit=5, quantity="hidden"), steps, place)
        page.mouse.move(2, 2)
        shown.check_numbers(plain_view(unit=5, quantity="hidden"), steps, 7)


@pytest.mark.browser
def test_each_key_that_is_typed_is_read(browser, book):
    with opened(browser, book / "speech.html") as page:
        shown = Gates(page)
        shown.typed.fill("")
        assert shown.text() == ""
        assert shown.lines() == ["Type a text, and the network reads along.", "", "", ""]
        assert shown.chosen("Text") == "your own"
        for i, key in enumerate("He said"):
            page.keyboard.press(key)
            view = moved("He said"[: i + 1])
            shown.check_numbers(view, steps_of(view), i)
        shown.check(view)
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        page.keyboard.press('"')
        shown.check(moved('\n"He said'))
        shown.character(2).click()
        page.mouse.move(2, 2)
        shown.typed.fill("He sang")
        shown.typed.fill("He sank")  # as many characters, and one of them another
        shown.check(moved("He sank"))
        for name, text in TEXTS.items():
            shown.choose("Text", name)
            shown.check(moved(text))
            assert shown.chosen("Text") == name
        shown.choose("Text", "your own")
        assert shown.typed.evaluate("area => area === document.activeElement")
        shown.check(moved(VERSE))


@pytest.mark.browser
def test_unknown_characters_are_named(browser, book):
    with opened(browser, book / "speech.html") as page:
        shown, note = Gates(page), ".lmc-note >> nth=0"
        assert not shown.root.locator(note).is_visible()
        shown.typed.fill("née señor")
        said = shown.root.locator(note).text_content().translate(ISOLATES)
        assert said == (
            "Not among the model’s characters: “é” “ñ”. They are all read as one unknown character."
        )
        shown.check(moved("née señor"))
        shown.character(6).hover()
        assert ", read as an unknown character: cell" in shown.lines()[0]
    with opened(browser, book / "skipping.html") as page:
        shown = Gates(page)
        shown.typed.fill("née")
        said = shown.root.locator(note).text_content().translate(ISOLATES)
        assert said == "Not among the model’s characters: “é”. They are skipped."
        view = skipping_view(quantity="hidden")
        view.text = "née"
        assert shown.character(1).get_attribute("style") == ""
        shown.character(1).click()
        assert shown.lines()[0] == "“é” (1) is none of the model’s characters; it is skipped"
        shown.character(0).click()
        view.focus = 0
        shown.check_numbers(view, steps_of(view), 0)
        rows = shown.saved_rows()
        assert [row["character"] for row in rows] == ["n", "e"]
        np.testing.assert_allclose(
            [[float(row[f"unit_{u}"]) for u in range(6)] for row in rows],
            steps_of(view)["hidden"][[0, 2]],
            atol=1e-10,
        )


@pytest.mark.browser
def test_the_picture_has_all_units(browser, book):
    """Its cells lie in order, have the numbers beneath the mouse, and the colours of the text."""
    with opened(browser, book / "speech.html") as page:
        shown, view = Gates(page), plain_view()
        steps = steps_of(view)["cell"]
        box = shown.canvas.bounding_box()
        points = np.random.default_rng(0).random((400, 2)) * [box["width"], box["height"]]
        read, places, units = [], {}, {}
        for (x, y), (words, pixel) in zip(points, shown.hover_cells(points.tolist()), strict=True):
            found = re.fullmatch(r"“.*” \((\d+)\): cell state c of unit (\d) = (\S+)", words)
            if x < 62 or y < 16 or not found:
                continue
            place, unit = int(found[1]), int(found[2])
            if f"{steps[place, unit]:.2f}" == found[3] and (place, unit) != (65, 4):
                read.append((place, unit, pixel))
                places.setdefault(place, []).append(x)
                units.setdefault(unit, []).append(y)
        assert len(read) > 200
        for along in (places, units):
            ends = [(min(along[i]), max(along[i])) for i in sorted(along)]
            assert all(a[1] < b[0] for a, b in pairwise(ends))
        agree = 0
        for unit in range(6):
            shown.slide("Unit", unit)
            colours = shown.colours()
            of_unit = [(place, pixel) for place, one, pixel in read if one == unit]
            agree += sum(colours[place].tolist() == pixel for place, pixel in of_unit)
        assert agree > 0.9 * len(read)  # the others lie below a line
        shown.choose("Show", QUANTITIES["forget"])
        middles = [(np.mean(places[i]), np.mean(units[5])) for i in sorted(places)]
        pixels = [pixel for _, pixel in shown.hover_cells(middles)]
        same = shown.colours()[sorted(places)] == pixels
        assert same.all(axis=1).mean() > 0.9
        shown.choose("Show", QUANTITIES["cell"])

        place, unit, _ = read[0]
        x, y = np.mean(places[place]), np.mean(units[unit])
        shown.canvas.click(position={"x": x, "y": y})
        page.mouse.move(2, 2)
        shown.check(plain_view(unit=unit), place)


def properties_of(text: str) -> dict[str, np.ndarray]:
    """Of texts with straight quotation marks that end with their lines."""
    places, quotes = np.arange(len(text)), np.array([c == '"' for c in text])
    since = {
        kind: np.array(
            [
                i - max((j for j in range(i + 1) if text[j] in kind), default=-1)
                for i in range(len(text))
            ]
        )
        for kind in ("\n", " \n")
    }
    return {
        "quotation": np.cumsum(quotes) % 2,
        "line": since["\n"],
        "word": np.array([c.isalpha() or c == "'" for c in text]),
        "space": since[" \n"],
        "capital": np.array([c.isupper() for c in text]),
        "selection": (places >= 10) & (places < 20),
    }


def check_search(shown: Gates, view: GateView, search: str) -> None:
    values = steps_of(view)[view.quantity]
    expected = correlations(values, properties_of(view.text)[search])
    order = np.argsort(-np.abs(expected))
    assert shown.found() == [(unit, pytest.approx(expected[unit], abs=0.0051)) for unit in order]
    words = shown.judgement()
    assert words.startswith(
        f"Correlation with the {QUANTITIES[view.quantity]} over {len(view.text)} characters."
    )
    middle, most = re.search(
        r"reaches (\S+) in the middle case and (\S+) at most\.", words
    ).groups()
    best = shifted_best(values, properties_of(view.text)[search])
    assert (float(middle), float(most)) == pytest.approx((best[9], best[18]), abs=0.0051)
    stands_out = np.abs(expected).max() > best[18]
    said = f"Unit {order[0]} stands out." if stands_out else "So no unit stands out."
    assert words.endswith(f" at most. {said}")


@pytest.mark.browser
def test_the_search_finds_units(browser, book):
    with opened(browser, book / "speech.html") as page:
        shown = Gates(page)
        for search in ("quotation", "line", "word", "space", "capital"):
            shown.choose("Find units that follow", PROPERTIES[search])
            check_search(shown, plain_view(), search)
        shown.choose("Show", QUANTITIES["forget"])
        check_search(shown, plain_view(quantity="forget"), "capital")
        best, worst = shown.found()[0][0], shown.found()[-1][0]
        for unit in (worst, best):
            shown.root.get_by_role("button", name=f"unit {unit} ").click()
            assert shown.unit() == unit
            pressed = shown.root.locator(".lmc-found [aria-pressed=true]").all_text_contents()
            assert len(pressed) == 1 and pressed[0].startswith(f"unit {unit} ")
        shown.typed.fill("abc")
        assert shown.found() == []
        assert shown.judgement() == (
            "All characters of this text are alike in that: nothing to find."
        )
        shown.choose("Find units that follow", PROPERTIES["selection"])
        assert shown.found() == []
        assert shown.judgement().startswith("Mark a stretch of the coloured text with the mouse")
        check_search(Gates(page, 1), plain_view(quantity="forget"), "word")


@pytest.mark.browser
def test_what_a_reader_marks_is_searched_for(browser, book):
    def marked(shown) -> list[int]:
        return shown.strip.get_by_role("option").evaluate_all(
            "spans => spans.flatMap((span, i) => span.ariaSelected === 'true' ? [i] : [])"
        )

    with opened(browser, book / "speech.html") as page:
        shown = Gates(page)
        first, last = (shown.character(place).bounding_box() for place in (10, 19))
        page.mouse.move(first["x"] + 1, first["y"] + 8)
        page.mouse.down()
        page.mouse.move(last["x"] + last["width"] - 1, last["y"] + 8, steps=5)
        page.mouse.up()
        page.mouse.move(2, 2)
        assert marked(shown) == list(range(10, 20))
        assert shown.chosen("Find units that follow") == PROPERTIES["selection"]
        check_search(shown, plain_view(), "selection")
        assert page.evaluate("String(document.getSelection())") == SPEECH[10:20]

        shown.choose("Find units that follow", PROPERTIES["word"])
        assert marked(shown) == []
        shown.choose("Find units that follow", PROPERTIES["selection"])
        assert marked(shown) == list(range(10, 20))

        shown = Gates(page, 1)
        shown.strip.focus()
        page.keyboard.press("ArrowRight")
        for _ in range(4):
            page.keyboard.press("Shift+ArrowRight")
        assert marked(shown) == [8, 9, 10, 11, 12]
        for _ in range(6):
            page.keyboard.press("Shift+ArrowLeft")
        assert marked(shown) == [6, 7, 8]
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Shift+Home")
        assert marked(shown) == [0, 1, 2, 3, 4, 5]
        shown.typed.fill("abc")
        assert marked(shown) == []


@pytest.mark.browser
def test_keyboard_alone_is_enough(browser, book):
    with opened(browser, book / "speech.html") as page:
        shown, keys = Gates(page), page.keyboard
        steps = steps_of(plain_view())

        def check(place: int, unit: int) -> None:
            shown.check_numbers(plain_view(unit=unit), steps, place)
            active = shown.strip.get_attribute("aria-activedescendant")
            assert active == shown.character(place).get_attribute("id")
            assert shown.unit() == unit

        shown.root.get_by_label("Text", exact=True).focus()
        for _ in range(2):
            keys.press("Tab")
        keys.press("ArrowRight")
        check(65, 5)
        keys.press("Home")
        check(65, 0)
        for _ in range(2):
            keys.press("Tab")
        for key, place in (
            ("ArrowLeft", 64),
            ("ArrowRight", 65),
            ("ArrowRight", 65),
            ("Home", 0),
            ("ArrowLeft", 0),
            ("ArrowRight", 1),
            ("ArrowDown", 22),
            ("ArrowDown", 41),
            ("ArrowDown", 42),
            ("ArrowUp", 41),
            ("ArrowUp", 21),
            ("End", 65),
            ("Escape", 65),
        ):
            keys.press(key)
            check(place, 0)
        heard = "Unit 0. “?”"
        assert SPEECH[64] == "?"
        keys.press("ArrowLeft")
        page.wait_for_function(
            """([root, words]) => root.querySelector("[role=status]").textContent
                .replace(/[\u2068\u2069]/g, "").startsWith(words)""",
            arg=[shown.root.element_handle(), heard],
        )
        keys.press("Tab")
        for key, place, unit in (
            ("ArrowDown", 64, 1),
            ("ArrowLeft", 63, 1),
            ("PageDown", 63, 5),
            ("ArrowDown", 63, 5),
            ("ArrowUp", 63, 4),
            ("Home", 0, 4),
            ("ArrowLeft", 0, 4),
            ("PageUp", 0, 0),
            ("ArrowUp", 0, 0),
            ("ArrowRight", 1, 0),
            ("End", 65, 0),
        ):
            keys.press(key)
            check(place, unit)
        keys.press("Tab")
        keys.press("Tab")
        keys.press("Enter")
        assert shown.unit() == shown.found()[0][0]


# --- Files ------------------------------------------------------------------------------------


@pytest.mark.browser
def test_a_saved_table_has_every_value(browser, book):
    with opened(browser, book / "speech.html") as page:
        for index, view in enumerate(VIEWS["speech"]):
            rows = Gates(page, index).saved_rows()
            assert [row["character"] for row in rows] == list(SPEECH)
            assert [int(row["place"]) for row in rows] == list(range(len(SPEECH)))
            values = [[float(row[f"unit_{unit}"]) for unit in range(6)] for row in rows]
            expected = steps_of(view)[view.quantity]
            np.testing.assert_allclose(values, expected, rtol=0, atol=1e-10)


@pytest.mark.browser
def test_a_saved_picture_shows_the_view(browser, book):
    with opened(browser, book / "speech.html", color_scheme="dark") as page:
        picture = Image.open(Gates(page).saved("Save PNG")).convert("RGB")
    assert picture.size[0] == 1440
    assert picture.getpixel((2, 2)) == (255, 255, 255)
    view = plain_view()
    values = steps_of(view)["cell"][:, view.unit]
    column, line, seen = 0, 0, []
    for place, character in enumerate(SPEECH):
        x, y = 16 + 8.8 * column + 0.8, 68 + 20 * line + 2
        seen.append(picture.getpixel((round(2 * x), round(2 * y))))
        column, line = (0, line + 1) if character == "\n" else (column + 1, line)
        assert place < len(values)
    blueness = (np.array(seen) @ [-1, 0, 1])[np.argsort(values)]
    assert (np.diff(blueness) >= -2).all()
    assert blueness[0] < -30 and blueness[-1] > 30
    largest = np.abs(values).argmax()
    assert seen[largest] == ((0x00, 0x72, 0xB2) if values[largest] > 0 else (0xD5, 0x5E, 0x00))


# --- Every reader -----------------------------------------------------------------------------


@pytest.mark.browser
def test_text_stays_text(browser, book):
    with opened(browser, book / "hostile.html") as page:
        shown = Gates(page)
        names = shown.root.get_by_label("Text", exact=True).locator("option").all_text_contents()
        assert names == ["</script><b>name</b>", "$x_1$", "your own"]
        characters = shown.strip.get_by_role("option").all_text_contents()
        assert len(characters) == len(HOSTILE_TEXT)
        assert {"U+202E", "U+200B", "⇥", "\n", " "} <= set(characters)
        for place in range(0, len(characters), 20):
            shown.character(place).hover()
        shown.choose("Text", "$x_1$")
        assert shown.text() == "<img src=x onerror=hacked=1>"
        assert shown.root.locator("img, script, b, svg, mjx-container").count() == 0
        shown.saved("Save PNG")
        assert {row["character"] for row in shown.saved_rows()} == set(
            "<img src=x onerror=hacked=1>"
        )
        assert page.evaluate("typeof hacked") == "undefined"
        assert page.locator("mjx-container").count() >= 2, "MathJax did not run at all"


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["hostile", "speech"])
def test_accessible_in_the_book(browser, book, name, scheme):
    with opened(browser, book / f"{name}.html", color_scheme=scheme) as page:
        shown = Gates(page)
        shown.strip.press("Shift+ArrowLeft")
        label = shown.canvas.get_attribute("aria-label")
        assert label.startswith("cell state c of all units. Cell state c of unit ")
        assert page.locator("html").get_attribute("data-theme") == scheme
        assert accessibility_violations(page) == []


@pytest.mark.browser
def test_every_colour_leaves_its_character_readable(browser):
    program = """(colours) => {
        const { signed, gate } = palettesOf(colours);
        return [...signed, ...gate].map((colour) => [colour, rgb(inkOn(colour))]);
    }"""
    light = {"paper": "#ffffff", "ink": "#1f2328", "blue": "#0072b2", "orange": "#d55e00"}
    dark = {"paper": "#121212", "ink": "#ced6dd", "blue": "#56b4e9", "orange": "#e69f00"}

    def luminance(colours: np.ndarray) -> np.ndarray:
        linear = np.where(
            colours <= 10, colours / 255 / 12.92, ((colours / 255 + 0.055) / 1.055) ** 2.4
        )
        return linear @ [0.2126, 0.7152, 0.0722] + 0.05

    for colours in (light, dark):
        pairs = np.array(evaluate_in_module(browser, GateView, program, colours))
        paper, ink = luminance(pairs[:, 0]), luminance(pairs[:, 1])
        assert len(pairs) == 512
        assert (np.maximum(paper, ink) / np.minimum(paper, ink) >= 4.5).all()


@pytest.mark.browser
def test_the_colours_follow_the_pages_theme(browser, book):
    with opened(browser, book / "speech.html") as page:
        shown = Gates(page)
        light = shown.colours()
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        page.wait_for_timeout(200)
        dark = shown.colours()
        values = steps_of(plain_view())["cell"][:, plain_view().unit]
        middle = np.abs(values).argmin()
        assert light[middle].mean() > 200 and dark[middle].mean() < 80


@pytest.mark.browser
def test_fits_a_phone(browser, book):
    for name in ("hostile", "long"):
        with opened(browser, book / f"{name}.html", **PHONE) as page:
            shown = Gates(page)
            shown.character(3).click()
            overflowing = shown.root.evaluate(
                "root => [...root.querySelectorAll('*:not(.lmc-spoken)')].filter(e =>"
                "e.getBoundingClientRect().right > root.getBoundingClientRect().right).length"
            )
            assert overflowing == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            assert accessibility_violations(page, colours=False) == []


@pytest.mark.browser
def test_the_picture_follows_the_windows_width(browser, book):
    with opened(browser, book / "speech.html") as page:
        shown = Gates(page)
        assert shown.canvas.bounding_box()["width"] > 400
        page.set_viewport_size(PHONE["viewport"])
        page.wait_for_function("document.querySelector('.lmc-frame canvas').clientWidth < 360")


@pytest.mark.browser
def test_fingers_tap(browser, book):
    with opened(browser, book / "speech.html", **PHONE, has_touch=True, is_mobile=True) as page:
        shown = Gates(page)
        shown.character(4).tap()
        shown.check(plain_view(), 4)
        shown.canvas.scroll_into_view_if_needed()
        box = shown.canvas.bounding_box()
        page.touchscreen.tap(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
        place, unit = re.search(r"\((\d+)\): .* of unit (\d) ", shown.lines()[0]).groups()
        assert place != "4"
        shown.check(plain_view(unit=int(unit)), int(place))


@pytest.mark.browser
def test_a_long_text_scrolls_to_what_keys_look_at(browser, book):
    with opened(browser, book / "long.html") as page:
        shown = Gates(page)
        assert shown.strip.evaluate("strip => strip.scrollTop") == 0
        for key in ("End", "Home", "ArrowDown", "End"):
            shown.strip.press(key)
            inside = shown.strip.evaluate(
                """strip => {
                    const [a, b] = [strip, strip.querySelector(".lmc-looked")]
                        .map((node) => node.getBoundingClientRect());
                    return b.top >= a.top && b.bottom <= a.bottom;
                }"""
            )
            assert inside
        assert shown.strip.evaluate("strip => strip.scrollTop") > 0


@pytest.mark.browser
def test_readable_without_javascript(browser, book):
    with opened(browser, book / "speech.html", java_script_enabled=False) as page:
        output = page.locator(".lmcourse-widget").first
        assert output.locator("thead th").all_text_contents() == [
            "Character",
            "Text up to it",
            "cell state c",
            "Likeliest next",
        ]
        assert output.locator("tbody tr").count() == 10


# --- JupyterLab, with a kernel ----------------------------------------------------------------

LAB_CELLS = (
    "from tests.gate_views import plain_view\n\nview = plain_view(unit=2)\nview",
    "import json\n\n"
    "names = ('text', 'unit', 'quantity', 'focus', 'search')\n"
    "print(json.dumps({name: getattr(view, name) for name in names}))",
    "view.text, view.unit, view.quantity, view.focus = 'He said', 1, 'output', 3",
    "try:\n    view.unit = 6\nexcept ValueError as error:\n    print(error)",
)


@pytest.mark.browser
def test_live_in_jupyterlab(browser, lab):
    with OfflinePage(browser, viewport={"width": 1280, "height": 2200}) as offline:
        page = offline.page
        notebook = Lab(page, lab, Gates)
        shown = notebook.view
        # The third cell set everything: the page follows the kernel. The fourth changed nothing.
        shown.root.locator(".lmc-reading", has_text="output gate o of unit 1").wait_for()
        shown.check(moved("He said", 1, "output"), 3)
        page.get_by_text("unit must be an integer >= 0 and <= 5, got 6").wait_for()

        # The kernel follows the page.
        shown.typed.press("End")
        page.keyboard.type(" so")
        shown.choose("Show", "cell state c")
        shown.choose("Find units that follow", PROPERTIES["capital"])
        shown.slide("Unit", 3)
        shown.character(2).click()
        page.mouse.move(2, 2)
        state = notebook.kernel_state()
        assert state == {
            "text": "He said so",
            "unit": 3,
            "quantity": "cell",
            "focus": 2,
            "search": "capital",
        }
        shown.check(moved("He said so", 3), 2)
        notebook.run(2)
        shown.root.locator(".lmc-reading", has_text="output gate o of unit 1").wait_for()
        shown.check(moved("He said", 1, "output"), 3)

        # Keys are the widget's: in a notebook, "b" adds a cell, "0 0" restarts the kernel.
        cells = page.locator(".jp-Notebook .jp-CodeCell").count()
        for place in (shown.frame, shown.strip, shown.typed):
            notebook.command("notebook:enter-command-mode")
            page.wait_for_selector(".jp-Notebook.jp-mod-commandMode")
            place.focus()
            for key in ("ArrowDown", "0", "0", "b", "Home", "Escape"):
                page.keyboard.press(key)
            assert place.evaluate("place => place === document.activeElement")
        assert page.locator(".jp-Notebook .jp-CodeCell").count() == cells
        assert page.locator(".jp-Dialog").count() == 0

        assert accessibility_violations(page, ".lmc-gates") == []
        notebook.go_dark()
        assert accessibility_violations(page, ".lmc-gates") == []
        assert offline.refused == []
