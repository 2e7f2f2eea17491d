"""SamplerView in Python, in a built page without a kernel, and in JupyterLab with one."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chisquare

from lmcourse.probability import entropy, sampling_distribution, softmax
from lmcourse.widgets import SamplerView
from tests.chromium import OfflinePage, accessibility_violations
from tests.sampler_views import HOSTILE, hostile_view, large_view
from tests.widget_pages import (
    PHONE,
    Lab,
    WidgetInPage,
    build_book,
    evaluate_in_module,
    opened,
    stored_output_of_a_new_process,
)

# Settings that lie on no stop of the sliders, or at the ends of what is allowed.
UNUSUAL_SETTINGS = [
    {"temperature": 1e-3},
    {"temperature": 1000.0, "min_p": 0.97},
    {"temperature": 0.333, "top_k": 23, "top_p": 0.777, "min_p": 0.0123},
    {"top_k": 1},
    {"top_k": 10_000, "top_p": 1.0, "min_p": 0.0},
    {"top_p": 1e-6},
    {"min_p": 1.0, "temperature": 3.0},
]


# --- Python -----------------------------------------------------------------------------------


def test_logits_are_kept_to_six_decimals():
    view = SamplerView(np.array([0.12345678, -0.0000001, 7.0]), ["a", "b", "c"])
    assert view.logits.tolist() == [0.123457, 0.0, 7.0]
    assert json.dumps(view.page_state()["logits"]) == "[0.123457, 0.0, 7.0]"
    huge = SamplerView(np.array([1e305, -1e305]), ["a", "b"])
    assert huge.logits.tolist() == [1e305, -1e305]


def test_probabilities_follow_the_settings():
    view = large_view(temperature=0.7, top_k=40)
    expected = sampling_distribution(view.logits, temperature=0.7, top_k=40)
    np.testing.assert_array_equal(view.probabilities, expected)
    view.top_p, view.min_p = 0.8, 0.02
    expected = sampling_distribution(view.logits, temperature=0.7, top_k=40, top_p=0.8, min_p=0.02)
    np.testing.assert_array_equal(view.probabilities, expected)


def test_a_new_distribution_clears_the_counts():
    view = hostile_view()
    for change in ({"temperature": 0.5}, {"top_k": 3}, {"logits": np.zeros(len(HOSTILE))}):
        view.drawn = {"0": 2, "14": 1}
        assert view.counts.tolist() == [2] + 13 * [0] + [1]
        for name, value in change.items():
            setattr(view, name, value)
        assert view.counts.sum() == 0


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.array([0.0, np.nan])}, r"logits must be finite or -inf, got nan at"),
        ({"logits": np.array([0.0, np.inf])}, r"logits must be finite or -inf, got inf at"),
        ({"logits": np.full(2, -np.inf)}, r"logits must leave at least one token possible"),
        ({"logits": np.zeros((1, 2))}, r"logits must have 1 ax.s, got shape \(1, 2\)"),
        ({"logits": np.array([])}, r"logits must not be empty"),
        ({"tokens": ["a"]}, r"tokens must be 2 strings, one for each logit, got 1"),
        ({"tokens": "ab"}, r"tokens must be a sequence of strings, got the string 'ab'"),
        ({"tokens": ["a", 1]}, r"tokens\[1\] must be a string, got int 1"),
        ({"tokens": ["a", "\ud800"]}, r"tokens\[1\] must be valid Unicode"),
        ({"temperature": 0}, r"temperature must be a finite number > 0, got 0"),
        ({"temperature": "hot"}, r"temperature must be a number, got str 'hot'"),
        ({"top_k": 0}, r"top_k must be an integer >= 1, got 0"),
        ({"top_k": 2.5}, r"top_k must be an integer, got float 2.5"),
        ({"top_p": 0}, r"top_p must be a finite number > 0 and <= 1, got 0"),
        ({"top_p": 1.1}, r"top_p must be a finite number > 0 and <= 1, got 1.1"),
        ({"min_p": -0.1}, r"min_p must be a finite number >= 0 and <= 1, got -0.1"),
        ({"seed": -1}, r"seed must be an integer >= 0 and <= 4294967295, got -1"),
        ({"context": 3}, r"context must be a string, got int 3"),
    ],
)
def test_wrong_input_is_named(change, message):
    good = {"logits": np.array([0.0, 1.0]), "tokens": ["a", "b"]}
    with pytest.raises((TypeError, ValueError), match=message):
        SamplerView(**(good | change))


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", -1, r"temperature must be a finite number > 0, got -1"),
        ("top_p", 2, r"top_p must be"),
        ("logits", np.zeros(3), r"logits must be 15 numbers, one for each token, got 3"),
        ("tokens", ["a"], r"tokens must be 15 strings"),
        ("temperature", None, r"temperature must be a number, got None"),
        ("seed", None, r"seed must be an integer, got None"),
        ("logits", None, r"logits must be an array of real numbers, got None"),
    ],
)
def test_a_wrong_assignment_changes_nothing(name, value, message):
    view = hostile_view()
    before = view.page_state()
    with pytest.raises((TypeError, ValueError), match=message):
        setattr(view, name, value)
    assert view.page_state() == before


def test_output_escapes_its_tokens():
    html = hostile_view()._repr_mimebundle_()[0]["text/html"]
    state, rest = re.fullmatch(
        r'<div class="lmcourse-widget mathjax_ignore tex2jax_ignore" data-kind="SamplerView">'
        r'<script type="application/json">'
        r"([^<]*)</script>(.*)</div>",
        html,
        re.DOTALL,
    ).groups()
    assert json.loads(state)["tokens"] == HOSTILE
    assert "<img" not in rest and "<svg" not in rest and "<b>" not in rest


def test_stored_output_is_the_same_in_every_process():
    imports = "from tests.sampler_views import hostile_view, large_view"
    views = ["hostile_view()", "large_view(top_k=7)"]
    first, second = (
        stored_output_of_a_new_process(views, imports, hash_seed=seed) for seed in (1, 2)
    )
    assert first == second
    assert "SamplerView(15 tokens" in first


# --- The page's arithmetic --------------------------------------------------------------------


def random_cases(number: int):
    rng = np.random.default_rng(0)
    for _ in range(number):
        logits = rng.normal(0, rng.choice([0.01, 1, 5, 300]), rng.integers(1, 40))
        if rng.random() < 0.5:
            logits = logits.round(int(rng.integers(0, 2)))  # ties
        logits[1:][rng.random(logits.size - 1) < 0.1] = -np.inf
        yield (
            rng.permutation(logits),
            {
                "temperature": float(rng.choice([1e-300, 1e-3, 0.1, 0.7, 1, 1.3, 50, 1e6])),
                "top_k": rng.choice([None, 1, 2, 5, 40, 1000]),
                "top_p": rng.choice([None, 1e-9, 0.1, 0.5, 0.9, 0.99, 1.0, rng.random()]),
                "min_p": rng.choice([None, 0.0, 0.01, 0.2, 1.0, rng.random()]),
            },
        )


@pytest.mark.browser
def test_the_module_computes_what_the_package_computes(browser):
    function = """(cases) => cases.map(([logits, settings]) => {
        logits = logits.map((logit) => logit ?? -Infinity);
        const one = logits.map(() => 1);
        const { cutBy, left } = cuts(logits, one, likeliestFirst(logits), settings);
        const p = distributionOver(logits, left, settings.temperature);
        return [p, entropy(p, left), cutBy];
    })"""
    cases = list(random_cases(1500))
    sent = [
        [
            [None if logit == -np.inf else logit for logit in logits.tolist()],
            {
                "temperature": s["temperature"],
                "topK": s["top_k"],
                "topP": s["top_p"],
                "minP": s["min_p"],
            },
        ]
        for logits, s in cases
    ]
    computed = evaluate_in_module(browser, SamplerView, function, sent)
    for (logits, settings), (probabilities, nats, cut_by) in zip(cases, computed, strict=True):
        expected = sampling_distribution(logits, **settings)
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-6, err_msg=settings)
        np.testing.assert_allclose(nats, entropy(expected), rtol=0, atol=1e-6)
        if settings["temperature"] >= 0.1:  # colder ones underflow to 0 without being cut
            kept = [filter_ is None for filter_ in cut_by]
            floor = softmax(logits, temperature=settings["temperature"]) > 1e-300
            np.testing.assert_array_equal((expected > 0)[floor], np.array(kept)[floor])


# --- The built page, without a kernel ---------------------------------------------------------


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    unusual = [large_view(**settings) for settings in UNUSUAL_SETTINGS]
    pages = {"hostile": [hostile_view(), large_view(seed=3)], "unusual": unusual}
    return build_book(tmp_path_factory.mktemp("book"), pages)


class View(WidgetInPage):
    selector = ".lmc-sampler"

    def settings(self) -> dict[str, float | int | None]:
        """The settings as the page shows them."""
        shown = self.root.locator(".lmc-setting").all_text_contents()
        values = [None if text == "off" else float(text.replace(",", "")) for text in shown]
        settings = dict(zip(("temperature", "top_k", "top_p", "min_p"), values, strict=True))
        return settings | {"top_k": settings["top_k"] and int(settings["top_k"])}

    def table(self) -> dict[str, np.ndarray | list[str]]:
        """The saved CSV's columns, sorted by token id."""
        rows = sorted(self.saved_rows(), key=lambda row: int(row["id"]))
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        numbers = ("logit", "model_probability", "sampling_probability", "drawn")
        return columns | {name: np.array(columns[name], dtype=float) for name in numbers}

    def check_numbers(self) -> None:
        """Hold everything the page computed against lmcourse.probability."""
        table = self.table()
        sampling = sampling_distribution(table["logit"], **self.settings())
        for name, expected in (
            ("model_probability", softmax(table["logit"])),
            ("sampling_probability", sampling),
        ):
            np.testing.assert_allclose(table[name], expected, rtol=0, atol=1e-6)
        stats = self.root.locator(".lmc-strip .lmc-value").all_text_contents()
        kept = np.count_nonzero(np.array(table["cut_by"]) == "")
        bits = entropy(sampling) / np.log(2)
        assert stats[0] == f"{kept} of {len(sampling)}"
        assert stats[1] == f"{bits:.2f} bits {entropy(sampling):.2f} nats"


@pytest.mark.browser
def test_numbers_in_the_built_page(browser, book):
    rng = np.random.default_rng(2)
    with opened(browser, book / "hostile.html") as page:
        view = View(page, 1)
        view.check_numbers()
        for _ in range(12):
            for label in ("Temperature", "Top-k", "Top-p", "Min-p"):
                highest = int(view.slider(label).get_attribute("max"))
                view.slide(label, rng.integers(0, highest, endpoint=True))
            view.check_numbers()


@pytest.mark.browser
def test_settings_that_the_sliders_would_not_reach(browser, book):
    with opened(browser, book / "unusual.html") as page:
        for index, settings in enumerate(UNUSUAL_SETTINGS):
            view = View(page, index)
            unset = {"temperature": 1.0, "top_k": None, "top_p": None, "min_p": None}
            assert view.settings() == unset | settings
            view.check_numbers()
        # An unusual value has its place among the stops.
        view = View(page, 2)
        view.slider("Temperature").press("ArrowRight")
        assert view.settings()["temperature"] == 0.35
        view.slider("Top-k").press("ArrowLeft")
        assert view.settings()["top_k"] == 20


@pytest.mark.browser
def test_rows_say_what_was_cut_and_by_which_filter(browser, book):
    with opened(browser, book / "hostile.html") as page:
        view = View(page)
        view.slide("Top-k", 11)
        view.slide("Top-p", 18)
        view.slide("Min-p", 15)
        cut_by = view.table()["cut_by"]
        cells = view.root.locator("tbody td.lmc-sampling").all_text_contents()
        assert cells == [f"cut: {c}" if c else cells[i] for i, c in enumerate(cut_by)]
        assert {"", "top-k", "top-p", "min-p"} == set(cut_by)
        assert all(cell.endswith("%") for cell, c in zip(cells, cut_by, strict=True) if not c)
        assert View(page, 1).table()["cut_by"][3] == "impossible"


@pytest.mark.browser
def test_rows_can_be_asked_for(browser, book):
    with opened(browser, book / "hostile.html") as page:
        view = View(page, 1)
        rows = view.root.locator("tbody tr")
        assert rows.count() == 21
        assert rows.last.inner_text().startswith("280 others")
        view.press("Show 20 more")
        assert rows.count() == 41
        assert rows.last.inner_text().startswith("260 others")
        view.press("Show fewer")
        assert rows.count() == 21


@pytest.mark.browser
def test_tokens_stay_text(browser, book):
    with opened(browser, book / "hostile.html") as page:
        view = View(page)
        assert page.evaluate("typeof hacked") == "undefined"
        assert view.root.locator("img, svg, script, b, mjx-container").count() == 0
        assert page.locator("mjx-container").count() >= 2, "MathJax did not run at all"
        names = view.root.locator("tbody th").all_text_contents()
        assert names[:6] == [token.replace(" ", "␣") for token in HOSTILE[:6]]
        assert names[6:12] == ["∅", "␣", "⏎", "⇥", "U+202Edesrever", "U+200B"]
        assert view.root.locator("q").text_content() == "</script><b>context</b>"
        assert view.table()["token"] == HOSTILE


def mulberry32(seed: int, index: int) -> float:
    """The index-th number of the published generator, started at `seed`."""
    mask = 2**32 - 1
    t = (seed + (index + 1) * 0x6D2B79F5) & mask
    t = ((t ^ t >> 15) * (t | 1)) & mask
    t ^= (t + ((t ^ t >> 7) * (t | 61))) & mask
    return ((t ^ t >> 14) & mask) / 2**32


@pytest.mark.browser
def test_draws_add_up_and_follow_the_distribution(browser, book):
    with opened(browser, book / "hostile.html") as page:
        view = View(page, 1)
        view.slide("Top-k", 19)
        view.press("Draw 1")
        assert view.table()["drawn"].sum() == 1
        for _ in range(20):
            view.press("Draw 100")
        table = view.table()
        drawn, probabilities = table["drawn"], table["sampling_probability"]
        assert drawn.sum() == 2001
        assert view.root.locator(".lmc-strip .lmc-value").nth(2).text_content() == "2,001"
        shown = view.root.locator("tbody td.lmc-drawn").all_text_contents()
        assert sum(int(count.replace(",", "")) for count in shown) == 2001

        kept = probabilities > 0
        assert drawn[~kept].sum() == 0
        assert chisquare(drawn[kept], 2001 * probabilities[kept]).pvalue > 1e-3
        uniform = np.array([mulberry32(3, index) for index in range(2001)])
        cumulative = np.cumsum(probabilities)
        ids = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
        np.testing.assert_array_equal(drawn, np.bincount(ids, minlength=300))

        view.press("Clear draws")
        assert view.table()["drawn"].sum() == 0
        for _ in range(20):
            view.press("Draw 100")
        view.press("Draw 1")
        np.testing.assert_array_equal(view.table()["drawn"], drawn)
        view.slide("Temperature", 3)
        assert view.table()["drawn"].sum() == 0


@pytest.mark.browser
def test_keyboard_alone_is_enough(browser, book):
    with opened(browser, book / "hostile.html") as page:
        view = View(page)
        view.slider("Temperature").focus()
        before = view.settings()["temperature"]
        page.keyboard.press("ArrowLeft")
        assert view.settings()["temperature"] == before - 0.05
        page.keyboard.press("Tab")
        page.keyboard.press("Home")
        assert view.settings()["top_k"] == 1
        assert view.slider("Top-k").get_attribute("aria-valuetext") == "1"
        page.keyboard.press("End")
        assert view.slider("Top-k").get_attribute("aria-valuetext") == "off"
        for _ in range(4):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.keyboard.press("Space")
        assert view.table()["drawn"].sum() == 200
        said = view.root.get_by_role("status")
        said.filter(has_text="200 drawn").wait_for(state="attached")
        assert "temperature 0.95: 15 of 15 tokens kept; entropy" in said.text_content()
        view.press("Reset sliders")
        assert view.settings()["temperature"] == before


@pytest.mark.browser
def test_picture_shows_the_bars(browser, book):
    with opened(browser, book / "hostile.html") as page:
        view = View(page)
        before = Image.open(view.saved("Save PNG")).convert("RGB")
        view.slide("Temperature", 0)
        view.press("Draw 100")
        after = Image.open(view.saved("Save PNG")).convert("RGB")
    assert before.size == after.size
    assert before.width == 1440

    def blue_and_orange(picture):
        colours = dict((colour, n) for n, colour in picture.getcolors(2**20))
        return colours.get((0, 114, 178), 0), colours.get((213, 94, 0), 0)

    # Fifteen bars of 10 px in a track of 314 px, at twice the size, as long as the probabilities.
    probabilities = softmax(np.linspace(3, 0, 15))
    expected = 4 * 10 * 314 * probabilities.sum() / 0.3
    assert blue_and_orange(before) == (pytest.approx(expected, rel=0.02), 0)
    assert blue_and_orange(after)[1] > 100


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_in_the_book(browser, book, scheme):
    with opened(browser, book / "hostile.html", color_scheme=scheme) as page:
        view = View(page)
        view.slide("Top-p", 9)
        view.press("Draw 100")
        assert page.locator("html").get_attribute("data-theme") == scheme
        assert accessibility_violations(page) == []


@pytest.mark.browser
def test_fits_a_phone(browser, book):
    with opened(browser, book / "hostile.html", **PHONE) as page:
        view = View(page)
        view.press("Draw 100")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        overflowing = view.root.evaluate(
            "root => [...root.querySelectorAll('button, input, .lmc-track, td.lmc-sampling')]"
            ".filter(e => e.getBoundingClientRect().right > root.getBoundingClientRect().right)"
            ".length"
        )
        assert overflowing == 0
        assert accessibility_violations(page) == []


@pytest.mark.browser
def test_readable_without_javascript(browser, book):
    with opened(browser, book / "hostile.html", java_script_enabled=False) as page:
        output = page.locator(".lmcourse-widget").first
        assert output.locator("tbody tr").count() == 10
        shares = output.locator("tbody td").all_text_contents()[::2]
        assert shares == [f"{p:.1%}" for p in softmax(np.linspace(3, 0, 15))[:10]]


# --- JupyterLab, with a kernel ----------------------------------------------------------------

LAB_CELLS = (
    "from tests.sampler_views import large_view\n\nview = large_view(top_k=50, seed=3)\nview",
    "import json\n\n"
    "state = {name: getattr(view, name) for name in ('temperature', 'top_k', 'top_p', 'min_p')}\n"
    "print(json.dumps(state | {'p': view.probabilities.tolist(), 'counts': view.counts.tolist()}))",
    "view.temperature, view.min_p = 2.5, 0.2",
)


@pytest.mark.browser
def test_live_in_jupyterlab(browser, lab):
    with OfflinePage(browser, viewport={"width": 1280, "height": 1600}) as offline:
        notebook_ = Lab(offline.page, lab, View)
        view = notebook_.view
        # The last cell set the temperature and min-p: the page follows the kernel.
        view.root.locator(".lmc-setting", has_text="2.5").wait_for()
        unset = {"top_p": None}
        assert view.settings() == {"temperature": 2.5, "top_k": 50, "min_p": 0.2} | unset
        view.check_numbers()

        rng = np.random.default_rng(4)
        for _ in range(4):
            for label in ("Temperature", "Top-k", "Top-p", "Min-p"):
                highest = int(view.slider(label).get_attribute("max"))
                view.slide(label, rng.integers(0, highest, endpoint=True))
            view.check_numbers()
        view.press("Draw 100")
        view.press("Draw 1")
        table = view.table()
        state = notebook_.kernel_state()
        assert {name: state[name] for name in view.settings()} == view.settings()
        sampling = table["sampling_probability"]
        np.testing.assert_allclose(sampling, state["p"], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(table["drawn"], state["counts"])
        assert sum(state["counts"]) == 101

        # Python's change of a setting clears the counts in the page too.
        notebook_.run(2)
        view.root.locator(".lmc-setting", has_text="2.5").wait_for()
        assert view.table()["drawn"].sum() == 0

        assert accessibility_violations(offline.page, ".lmc-sampler") == []
        notebook_.go_dark()
        assert accessibility_violations(offline.page, ".lmc-sampler") == []
        assert offline.refused == []
