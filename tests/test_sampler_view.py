"""SamplerView in Python, in a built page without a kernel, and in JupyterLab with one."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import chisquare
from transformers import GPT2Config, GPT2LMHeadModel

from lmcourse import gpt2
from lmcourse.probability import entropy, sampling_distribution, softmax
from lmcourse.widgets import SamplerView, _growing
from lmcourse.widgets._widget import visible
from tests.chromium import OfflinePage, accessibility_violations
from tests.sampler_views import (
    HOSTILE,
    Words,
    flat_model,
    growing_view,
    hostile_view,
    large_view,
    random_model,
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


# --- A text that grows, in Python -------------------------------------------------------------

# Each with the draws of another seed; top-k and a low top-p keep named tokens alone.
GROWING_SETTINGS = [
    {"top_p": 0.9},
    {"temperature": 0.7, "top_k": 40, "seed": 7},
    {"temperature": 1.3, "min_p": 0.05, "seed": 2**32 - 3},
    {"temperature": 0.4, "top_k": 60, "top_p": 0.95, "min_p": 0.01},
]


def mulberry32(seed: int, index: int) -> float:
    """The index-th number of the published generator, started at `seed`."""
    mask = 2**32 - 1
    t = (seed + (index + 1) * 0x6D2B79F5) & mask
    t = ((t ^ t >> 15) * (t | 1)) & mask
    t ^= (t + ((t ^ t >> 7) * (t | 61))) & mask
    return ((t ^ t >> 14) & mask) / 2**32


def rounded_logits(path: list[int]) -> np.ndarray:
    """What the random model says after the usual prompt and `path`, to a thousandth of a nat."""
    logits = random_model(np.array([20, 7, 8, *path]))
    return np.round(logits - np.logaddexp.reduce(logits), 3)


def drawn_text(count: int, *, seed: int = 0, start=(), **settings) -> list[int]:
    """A text of `count` tokens that a seed draws, one by one, each from the likeliest down."""
    path = [*start]
    for place in range(len(path), count):
        p = sampling_distribution(rounded_logits(path), **settings)
        order = sorted(range(len(p)), key=lambda i: (-p[i], i))
        target, passed = mulberry32(seed, place), 0.0
        for i in order:
            passed += p[i]
            if passed > target:
                break
        path.append(i)
    return path


def held_contexts(view: SamplerView) -> dict[tuple[int, ...], dict]:
    """The contexts of the stored page by the tokens appended."""
    paths: list[tuple[int, ...]] = []
    contexts = view.page_state()["contexts"]
    for context in contexts:
        after = context["after"]
        paths.append(() if after is None else (*paths[after[0]], after[1]))
    return dict(zip(paths, contexts, strict=True))


@pytest.mark.parametrize("settings", GROWING_SETTINGS)
def test_appended_tokens_are_those_that_the_seed_draws(settings):
    view = growing_view(contexts=1, n_seeds=0, **settings)
    appended = [view.append() for _ in range(12)]
    assert appended == view.grown == drawn_text(12, **settings)
    np.testing.assert_allclose(view.logits, rounded_logits(appended), rtol=0, atol=1e-9)
    assert view.text == Words().decode([20, 7, 8, *appended])
    view.grown = view.grown[:-3]
    assert [view.append() for _ in range(3)] == appended[-3:]
    view.grown = []
    np.testing.assert_allclose(view.logits, rounded_logits([]), rtol=0, atol=1e-9)
    assert view.append(49) == 49
    assert view.grown == [49]


def test_a_longer_text_clears_the_counts():
    view = growing_view(contexts=1)
    view.drawn = {"20": 3}
    view.append()
    assert view.counts.sum() == 0


def test_networks_of_torch_are_read():
    sizes = {"vocab_size": 300, "n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 3}
    theirs = GPT2LMHeadModel(GPT2Config(**sizes, resid_pdrop=0.5)).double()
    ours = gpt2.GPT2(gpt2.GPT2Config(**sizes)).double()
    weights = theirs.transformer.state_dict()
    ours.load_state_dict({name: weights[name] for name in ours.state_dict()})
    theirs.train()
    views = [
        SamplerView.from_model(model, Words(), "20 7 8", contexts=6, length=3, n_seeds=1)
        for model in (theirs, ours)
    ]
    assert theirs.training, "the model was left in another mode"
    assert views[0].page_state() == views[1].page_state()
    assert views[0].room == views[1].room == 13

    ids = np.array([20, 7, 8, 120])
    views[0].append(120)
    with torch.no_grad():
        logits = theirs.eval()(torch.from_numpy(ids)[None]).logits[0, -1]
    expected = torch.log_softmax(logits, dim=0).numpy()
    np.testing.assert_allclose(views[0].logits, expected, rtol=0, atol=5.1e-4)


@pytest.mark.parametrize("settings", GROWING_SETTINGS)
def test_a_page_holds_what_the_model_says(settings):
    view = growing_view(contexts=60, length=10, **settings)
    held = held_contexts(view)
    assert len(held) == 60
    for path, context in held.items():
        logits = rounded_logits(list(path))
        order = np.argsort(-logits, kind="stable")
        named = len(context["ids"])
        assert named >= max(48, settings.get("top_k", 0) + 1)
        assert context["ids"] == order[:named].tolist()
        np.testing.assert_allclose(np.array(context["nats"]) / -1000, logits[order[:named]])
        assert named + sum(size for _, size in context["others"]) == 300
        assert context["others"][-1] == [None, 3]
    state = view.page_state()
    texts = {int(i): text for i, text in state["tokens"].items()}
    assert all(text == Words.texts[i] for i, text in texts.items())
    assert {20, 7, 8} <= texts.keys() >= {i for c in held.values() for i in c["ids"]}


@pytest.mark.parametrize("settings", GROWING_SETTINGS)
def test_a_page_goes_where_a_reader_is_likeliest_to_go(settings):
    seed = settings.get("seed", 0)
    presets = [{"top_k": 1}, {"temperature": 0.5}]
    view = growing_view(contexts=60, length=10, presets=presets, **settings)
    held = held_contexts(view)
    drawn = [{**settings, "seed": seed}, {**settings, "seed": seed + 1}]
    drawn += [{**preset, "seed": seed} for preset in presets]
    first = {tuple(drawn_text(10, **text)[:n]) for text in drawn for n in range(11)}
    assert set(list(held)[: len(first)]) == first
    unset = {"temperature": 1.0, "top_k": None, "top_p": None, "min_p": None}
    assert view.page_state()["texts"] == [{**unset, **text} for text in drawn]

    def nats(path: tuple[int, ...]) -> float:
        return -sum(rounded_logits(list(path[:n]))[i] for n, i in enumerate(path))

    others = [path for path in held if path not in first]
    assert [nats(path) for path in others] == sorted(nats(path) for path in others)
    neighbours = {(*path, i) for path in held for i in held[path]["ids"][:5]} - held.keys()
    assert max(map(nats, others)) <= min(map(nats, neighbours)) + 1e-9


def test_a_text_is_not_held_twice():
    presets = [{"top_k": 5}, {"top_k": 5, "temperature": 1.0}, {"top_k": 5, "temperature": 2.0}]
    view = growing_view(contexts=1, top_k=5, seed=2**32 - 1, presets=presets)
    texts = view.page_state()["texts"]
    assert [text["temperature"] for text in texts] == [1.0, 2.0]
    assert {text["seed"] for text in texts} == {2**32 - 1}


@pytest.mark.parametrize("temperature", [1.0, 1.2, 1.5, 2.0, 3.0])
def test_groups_hardly_change_a_probability(temperature):
    rng = np.random.default_rng(6)
    for _ in range(20):
        logits = rng.normal(0, rng.uniform(0.5, 4), 4000)
        logits = np.round(logits - np.logaddexp.reduce(logits), 3)
        context = _growing.abridged(logits, 48)
        others = np.sort(logits)[:-48]
        nats, sizes = np.array(context["others"]).T
        exact = np.exp(others / temperature).sum()
        held = (sizes * np.exp(nats / -1000 / temperature)).sum()
        assert held == pytest.approx(exact, rel=5e-4 if temperature == 1 else 3e-3)


def test_a_page_grows_by_what_is_said():
    sizes = [len(growing_view(contexts=n, length=10)._html()) for n in (100, 200)]
    assert sizes[1] - sizes[0] < 100 * 1100


def test_the_context_can_be_full():
    sizes = {"vocab_size": 300, "n_positions": 6, "n_embd": 4, "n_layer": 1, "n_head": 1}
    model = gpt2.GPT2(gpt2.GPT2Config(**sizes)).double()
    view = SamplerView.from_model(model, Words(), "20 7 8", contexts=400, n_seeds=1)
    assert {len(path) for path in held_contexts(view)} <= {0, 1, 2, 3}
    for _ in range(3):
        view.append()
    with pytest.raises(ValueError, match=r"grown must have at most 3 tokens, which fill"):
        view.append()
    assert len(view.grown) == 3


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": ""}, r"prompt must hold at least one token id"),
        ({"prompt": 3}, r"prompt must be a string, got int 3"),
        ({"contexts": 0}, r"contexts must be an integer >= 1, got 0"),
        ({"length": -1}, r"length must be an integer >= 0, got -1"),
        (
            {"presets": [{"top": 3}]},
            r"presets must set temperature, .*, min_p alone, got {'top': 3}",
        ),
        ({"presets": [{"top_p": 0}]}, r"top_p must be a finite number > 0 and <= 1, got 0"),
        ({"n_seeds": 1.5}, r"n_seeds must be an integer, got float 1.5"),
        ({"temperature": 0}, r"temperature must be a finite number > 0, got 0"),
        ({"model": lambda ids: np.zeros(299)}, r"a token for each of the model's 299 logits, got"),
        ({"model": lambda ids: np.full(300, np.nan)}, r"model's logits must be finite or -inf"),
        ({"model": lambda ids: np.full(300, -np.inf)}, r"at least one token possible"),
    ],
)
def test_wrong_input_of_a_growing_text_is_named(change, message):
    good = {"model": random_model, "tokenizer": Words(), "prompt": "20 7 8", "contexts": 2}
    with pytest.raises((TypeError, ValueError), match=message):
        SamplerView.from_model(**(good | change))


@pytest.mark.wrong_input
def test_a_prompt_beyond_the_context_is_refused():
    model = gpt2.GPT2(gpt2.GPT2Config(vocab_size=300, n_positions=2, n_embd=4, n_layer=1, n_head=1))
    with pytest.raises(ValueError, match=r"prompt must have at most 2 tokens, .* got 3"):
        SamplerView.from_model(model, Words(), "20 7 8")


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("make", "value", "message"),
    [
        (growing_view, [300], r"grown must lie in \[0, 300\), got 300 at grown\[0\]"),
        (growing_view, [1.5], r"grown must hold integer token ids"),
        (growing_view, None, r"grown must"),
        (hostile_view, [1], r"grown needs a model to go on with: see SamplerView.from_model"),
    ],
)
def test_a_wrong_text_changes_nothing(make, value, message):
    view = make()
    before = view.page_state()
    with pytest.raises((TypeError, ValueError), match=message):
        view.grown = value
    assert view.page_state() == before


def test_summary_of_a_growing_text():
    summary = growing_view(length=5, n_seeds=0, contexts=6)._html().partition("</script>")[2]
    assert "Next token after “ w20 \n”: 297 of 300 tokens kept" in summary
    text = "".join(visible(Words.texts[i]) for i in drawn_text(6, top_k=1))
    assert summary.endswith(
        f"<p>Taking the likeliest token each time, the text goes on: {text}</p></div>"
    )


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
    imports = "from tests.sampler_views import growing_view, hostile_view, large_view"
    views = ["hostile_view()", "large_view(top_k=7)", "growing_view(top_p=0.9, contexts=60)"]
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


@pytest.mark.browser
def test_groups_in_the_module_stay_close_to_the_whole_vocabulary(browser):
    """What a page computes from 48 tokens and groups, beside Python's arithmetic on all tokens."""
    function = """(cases) => cases.map(([context, settings]) => {
        const root = { after: null, ...context };
        const state = { contexts: [root], tokens: {}, grown: [], texts: [] };
        const numbers = compute(fromPage({ get: (name) => state[name] }).next(), settings);
        const { after, before, nats, kept, rough, ids, vocabSize } = numbers;
        return { after, before, nats, kept, rough, ids, vocabSize };
    })"""
    rng = np.random.default_rng(5)
    cases = []
    for _ in range(300):
        logits = rng.normal(0, rng.uniform(1, 4), 300)
        settings = {
            "temperature": float(rng.choice([0.3, 0.7, 1, 1.3, 2, 3])),
            "topK": rng.choice([None, None, 5, 40]),
            "topP": rng.choice([None, 0.5, 0.9, 0.995]),
            "minP": rng.choice([None, None, 0.001, 0.05]),
        }
        cases.append((np.round(logits - np.logaddexp.reduce(logits), 3), settings))
    sent = [[_growing.abridged(logits, 48), settings] for logits, settings in cases]
    computed = evaluate_in_module(browser, SamplerView, function, sent)
    n_exact = n_rough = 0
    for (logits, settings), page in zip(cases, computed, strict=True):
        temperature, top_k, top_p, min_p = settings.values()
        expected = sampling_distribution(
            logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
        )
        ids, kept = page["ids"][:48], np.count_nonzero(expected)
        np.testing.assert_allclose(page["before"][:48], softmax(logits)[ids], rtol=1e-3)
        if kept < 48:
            np.testing.assert_allclose(page["after"][:48], expected[ids], rtol=0.01, atol=1e-9)
            assert page["kept"] == kept and not page["rough"]
            n_exact += 1
            continue
        rtol = 0.05 if page["rough"] else 0.003
        np.testing.assert_allclose(page["after"][:48], expected[ids], rtol=rtol)
        np.testing.assert_allclose(page["nats"], entropy(expected), atol=10 * rtol)
        assert page["kept"] == (pytest.approx(kept, rel=0.2) if page["rough"] else kept)
        n_rough += page["rough"]
    assert n_exact > 100 and n_rough > 20


# --- The built page, without a kernel ---------------------------------------------------------


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    unusual = [large_view(**settings) for settings in UNUSUAL_SETTINGS]
    texts = [
        growing_view(top_p=0.9, seed=5, contexts=120, length=12),
        growing_view("0 1 2 3 4 5 6 7 8 9 10 11", contexts=30, length=4),
        SamplerView.from_model(flat_model, Words(), "20", contexts=1, n_seeds=0, presets=()),
    ]
    pages = {
        "hostile": [hostile_view(), large_view(seed=3)],
        "unusual": unusual,
        "growing": texts,
    }
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
        numbers = columns.keys() & {"logit", "model_probability", "sampling_probability", "drawn"}
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

    def check_spoken(self, words: str) -> None:
        """Wait until screen readers hear something with these words."""
        said = self.root.get_by_role("status").filter(has_text=words)
        said.wait_for(state="attached")


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


# --- A text that grows, in the built page ------------------------------------------------------


NAMES = [visible(text) for text in Words.texts]


class Growing(View):
    """A view whose text grows."""

    def appended(self) -> list[int]:
        """The token ids that the page has appended to the prompt."""
        shown = self.root.locator(".lmc-grown").all_text_contents()
        return [NAMES.index(name) for name in shown]

    def pick(self, row: int):
        return self.root.locator("tbody th button").nth(row)

    def notice(self) -> str:
        return self.root.locator(".lmc-notice").text_content()


@pytest.mark.browser
def test_the_page_draws_the_text_that_python_draws(browser, book):
    with opened(browser, book / "growing.html") as page:
        view = Growing(page)
        view.press("Append a token")
        assert view.appended() == drawn_text(1, top_p=0.9, seed=5)
        view.press("Append 10")
        assert view.appended() == drawn_text(11, top_p=0.9, seed=5)
        view.press("Undo")
        view.press("Undo")
        view.press("Append a token")
        assert view.appended() == drawn_text(10, top_p=0.9, seed=5)
        view.check_spoken("Appended")
        held = view.root.get_by_label("Start a text held here")
        texts = [
            {"top_p": 0.9, "seed": 5},
            {"top_p": 0.9, "seed": 6},
            {"top_k": 1, "seed": 5},
            {"temperature": 0.5, "seed": 5},
            {"top_k": 40, "seed": 5},
            {"min_p": 0.1, "seed": 5},
        ]
        assert held.locator("option").count() == len(texts)
        for i, text in enumerate(texts):
            held.select_option(index=i)
            assert view.appended() == []
            unset = {"temperature": 1.0, "top_k": None, "top_p": None, "min_p": None}
            assert view.settings() | {"seed": text["seed"]} == unset | text
            view.press("Append 10")
            view.press("Append a token")
            view.press("Append a token")
            assert view.appended() == drawn_text(12, **text)
            assert "(12 tokens)" in held.locator("option").nth(i).text_content()
        view.press("Restart")
        assert view.appended() == []
        view.root.get_by_label("Seed").fill("6")
        view.root.get_by_label("Seed").press("Enter")
        view.press("Append 10")
        assert view.appended() == drawn_text(10, min_p=0.1, seed=6)[: len(view.appended())]
        assert len(view.appended()) > 0


@pytest.mark.browser
def test_the_table_is_that_of_the_text_so_far(browser, book):
    held = held_contexts(growing_view(top_p=0.9, seed=5, contexts=120, length=12))
    with opened(browser, book / "growing.html") as page:
        view = Growing(page)
        for length in (0, 1, 4):
            path = drawn_text(length, top_p=0.9, seed=5)
            while len(view.appended()) < length:
                view.press("Append a token")
            logits = rounded_logits(path)
            rows = view.saved_rows()
            named = [row for row in rows if row["id"]]
            ids = [int(row["id"]) for row in named]
            assert ids == held[tuple(path)]["ids"]
            assert [row["token"] for row in named] == [Words.texts[i] for i in ids]
            p, after = softmax(logits), sampling_distribution(logits, top_p=0.9)
            for name, expected in (("model_probability", p), ("sampling_probability", after)):
                computed = [float(row[name]) for row in named]
                np.testing.assert_allclose(computed, expected[ids], rtol=0, atol=1e-5)
                total = sum(float(row[name]) for row in rows)
                assert total == pytest.approx(1)
            marked = view.root.locator("tbody tr", has=page.locator(".lmc-goes-on"))
            marks = [row.locator("button").text_content() for row in marked.all()]
            going_on = [i for i in ids[:20] if (*path, i) in held]
            assert marks == [f"{NAMES[i]}▸, goes on" for i in going_on]
            assert len(marks) > 0


@pytest.mark.browser
def test_a_page_says_where_it_goes_no_further(browser, book):
    held = held_contexts(growing_view(top_p=0.9, seed=5, contexts=120, length=12))
    with opened(browser, book / "growing.html") as page:
        view = Growing(page)
        row = next(i for i, token in enumerate(held[()]["ids"]) if (token,) not in held)
        token = held[()]["ids"][row]
        for _ in range(row // 20):
            view.press("Show 20 more")
        view.pick(row).focus()
        page.keyboard.press("Enter")
        assert view.appended() == [token]
        assert view.notice() == (
            f"This page goes no further: it holds no distribution after {NAMES[token]} here."
        )
        assert view.root.locator("table").is_hidden()
        assert view.root.get_by_role("button", name="Append a token").is_disabled()
        assert page.evaluate("document.activeElement.textContent") == "Undo"
        view.check_spoken(f"Appended {NAMES[token]}. This page goes no further")
        assert accessibility_violations(page) == []
        page.keyboard.press("Enter")
        assert view.appended() == []
        assert view.root.locator("table").is_visible()
        assert page.evaluate("document.activeElement.textContent") == "Append a token"

        # A token that goes on is taken the same way, and keeps the focus in its row.
        row = next(i for i, token in enumerate(held[()]["ids"]) if (token,) in held)
        view.pick(row).click()
        assert view.appended() == [held[()]["ids"][row]]
        assert view.pick(row).evaluate("button => button === document.activeElement")


@pytest.mark.browser
def test_a_draw_of_a_token_without_a_name_is_said(browser, book):
    """Of 300 tokens about as likely, the page names 48, and the first draw's u is beyond them."""
    assert mulberry32(0, 0) > 0.25
    with opened(browser, book / "growing.html") as page:
        view = Growing(page, 2)
        view.press("Append 10")
        assert view.appended() == []
        assert view.notice().startswith("The draw fell on one of 252 unlikely tokens, which this")
        view.slide("Top-p", 10)
        assert view.root.locator(".lmc-notice").is_hidden()
        about = view.root.locator(".lmc-strip .lmc-value").first.text_content()
        assert about.startswith("≈ ")
        assert "Here a filter cuts among tokens" in view.root.locator(".lmc-note").text_content()
        view.slide("Top-p", 24)
        assert view.settings()["top_p"] is None
        assert not view.root.locator(".lmc-strip .lmc-value").first.text_content().startswith("≈")
        view.slide("Top-k", 0)
        view.press("Append a token")
        assert len(view.appended()) == 1


@pytest.mark.browser
def test_a_growing_text_stays_text(browser, book):
    with opened(browser, book / "growing.html") as page:
        view = Growing(page, 1)
        assert page.evaluate("typeof hacked") == "undefined"
        assert view.root.locator("img, svg, script, b, mjx-container").count() == 0
        pieces = view.root.locator(".lmc-prompt").all_text_contents()
        assert pieces[:6] == [token.replace(" ", "␣") for token in HOSTILE[:6]]
        assert pieces[6:] == ["∅", "␣", "⏎", "⇥", "U+202Edesrever", "U+200B"]
        group = view.root.get_by_role("group", name="Text so far")
        spoken = group.locator(".lmc-spoken").text_content()
        assert spoken == "".join(HOSTILE[:12])


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_growing_text_is_accessible(browser, book, scheme):
    with opened(browser, book / "growing.html", color_scheme=scheme) as page:
        Growing(page).press("Append 10")
        assert accessibility_violations(page) == []


@pytest.mark.browser
def test_a_growing_text_fits_a_phone(browser, book):
    with opened(browser, book / "growing.html", **PHONE) as page:
        view = Growing(page)
        view.press("Append 10")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        overflowing = view.root.evaluate(
            "root => [...root.querySelectorAll('button, input, select, .lmc-track, .lmc-piece')]"
            ".filter(e => e.getBoundingClientRect().right > root.getBoundingClientRect().right)"
            ".length"
        )
        assert overflowing == 0


@pytest.mark.browser
def test_whatever_a_reader_does_the_text_is_one_of_those_held(browser, book):
    held = held_contexts(growing_view(top_p=0.9, seed=5, contexts=120, length=12))
    rng = np.random.default_rng(8)
    with opened(browser, book / "growing.html") as page:
        view = Growing(page)
        for _ in range(150):
            match rng.integers(6):
                case 0:
                    label = rng.choice(["Temperature", "Top-k", "Top-p", "Min-p"])
                    highest = int(view.slider(label).get_attribute("max"))
                    view.slide(label, rng.integers(0, highest, endpoint=True))
                case 1 if view.root.locator("table").is_visible():
                    view.pick(int(rng.integers(8))).click()
                case 2:
                    view.root.get_by_label("Seed").fill(str(rng.integers(2**32)))
                    view.root.get_by_label("Seed").press("Tab")
                case 3:
                    view.root.locator("select").select_option(index=int(rng.integers(6)))
                case _:
                    names = ["Append a token", "Append a token", "Append 10", "Undo", "Restart"]
                    button = view.root.get_by_role("button", name=rng.choice(names), exact=True)
                    if button.is_enabled():
                        button.click()
            path = tuple(view.appended())
            goes_on = path in held
            assert view.root.locator("table").is_visible() == goes_on
            assert path[:-1] in held
            assert "NaN" not in view.root.text_content()


@pytest.mark.browser
def test_readable_without_javascript(browser, book):
    with opened(browser, book / "growing.html", java_script_enabled=False) as page:
        output = page.locator(".lmcourse-widget").first
        assert "Next token after “ w20" in output.text_content()
        assert "Taking the likeliest token each time, the text goes on: " in output.text_content()
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
    "from tests.sampler_views import growing_view\n\n"
    "text = growing_view(top_p=0.9, seed=5, contexts=2)\ntext",
    "print(json.dumps(text.grown))",
    "text.temperature, text.grown = 0.7, [20, 30]",
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


@pytest.mark.browser
def test_a_text_grows_live_in_jupyterlab(browser, lab):
    with OfflinePage(browser, viewport={"width": 1280, "height": 3600}) as offline:
        notebook_ = Lab(offline.page, lab, View)
        view = Growing(offline.page, 1)

        def wait_for(count: int) -> list[int]:
            view.root.locator(".lmc-grown").nth(count - 1).wait_for()
            view.root.locator(".lmc-panel[aria-busy=false]").wait_for()
            assert view.root.locator(".lmc-grown").count() == count
            return view.appended()

        # The last cell set the temperature and a text: the page follows the kernel.
        drawn = {"temperature": 0.7, "top_p": 0.9, "seed": 5, "start": [20, 30]}
        view.root.locator(".lmc-setting", has_text="0.7").wait_for()
        assert wait_for(2) == [20, 30]
        view.press("Append a token")
        assert wait_for(3) == drawn_text(3, **drawn)
        view.press("Append 10")
        assert wait_for(13) == drawn_text(13, **drawn)
        logits = rounded_logits(view.appended())
        expected = sampling_distribution(logits, temperature=0.7, top_p=0.9)
        np.testing.assert_allclose(view.table()["sampling_probability"], expected, atol=1e-6)

        least = int(np.argsort(-logits, kind="stable")[19])
        view.pick(19).click()
        assert wait_for(14)[-1] == least
        view.press("Undo")
        wait_for(13)
        view.slide("Temperature", 18)
        view.press("Append a token")
        path = wait_for(14)
        assert path == drawn_text(14, temperature=1.0, top_p=0.9, seed=5, start=path[:13])
        notebook_.run(4)
        printed = offline.page.locator(".jp-CodeCell").nth(4).locator(".jp-OutputArea-output pre")
        assert json.loads(printed.last.text_content()) == path
        assert view.root.locator(".lmc-goes-on, .lmc-note:visible, select:visible").count() == 0
        assert accessibility_violations(offline.page, ".lmc-sampler") == []
        assert offline.refused == []
        assert offline.errors == []
