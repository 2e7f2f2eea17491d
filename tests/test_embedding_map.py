"""EmbeddingMap in Python, in a built page without a kernel, and in JupyterLab with one."""

import base64
import gzip
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors
from PIL import Image

from lmcourse.widgets import EmbeddingMap
from lmcourse.word_vectors import WordVectors
from tests.chromium import OfflinePage, accessibility_violations
from tests.embedding_maps import (
    GROUPS,
    HOSTILE_WORDS,
    hostile_map,
    large_map,
    pretrained,
    random_vectors,
    straight_map,
)
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

ROYAL = ("king", "man", "woman")
LETTERS = list("abcdefgh")


def decoded(view: EmbeddingMap) -> np.ndarray:
    """The vectors that the page computes with."""
    codes = np.frombuffer(base64.b64decode(view.codes), dtype=np.int8)
    return codes.reshape(len(view.words), -1).astype(np.float64)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt((vectors**2).sum(axis=1, keepdims=True))


def cosines(vectors: np.ndarray) -> np.ndarray:
    return unit(vectors) @ unit(vectors).T


def given(view: EmbeddingMap, vectors: WordVectors) -> np.ndarray:
    """The vectors that a view was made of."""
    return np.array([vectors[word] for word in view.words], dtype=np.float64)


def by_gensim(view: EmbeddingMap) -> KeyedVectors:
    vectors = decoded(view)
    reference = KeyedVectors(vectors.shape[1], dtype=np.float64)
    reference.add_vectors(view.words, vectors)
    return reference


def assert_same_answers(actual, expected, rtol=1e-9):
    """Hold words and scores against others."""
    assert [word for word, _ in actual] == [word for word, _ in expected]
    scores = [[score for _, score in answers] for answers in (actual, expected)]
    np.testing.assert_allclose(*scores, rtol=rtol)


# --- Python -----------------------------------------------------------------------------------


def test_vectors_are_kept_in_a_byte_a_number():
    rows = np.array([[0.5, -0.25, 0.1], [-3e-5, 1e-5, 2e-5], [7, 7, -7], [0, 1e-300, 0]])
    view = EmbeddingMap(WordVectors(LETTERS[:4], rows))
    expected = [[127, -64, 25], [-127, 42, 85], [127, 127, -127], [0, 127, 0]]
    np.testing.assert_array_equal(decoded(view), expected)


def test_what_the_rounding_costs():
    """As the docstring has it, on the shipped vectors: frequent words and any words."""
    rng = np.random.default_rng(0)
    any_words = [pretrained().words[i] for i in rng.choice(len(pretrained()), 500, replace=False)]
    for words in (pretrained().words[:500], any_words):
        view = EmbeddingMap(pretrained(), words)
        exact, rounded = cosines(given(view, pretrained())), cosines(decoded(view))
        error = np.abs(exact - rounded)
        assert error.max() < 0.01
        assert np.sqrt((error**2).mean()) < 0.0012
        for matrix in (exact, rounded):
            np.fill_diagonal(matrix, -np.inf)
        nearest = [np.argsort(-matrix, axis=1)[:, :10] for matrix in (exact, rounded)]
        kept = [np.intersect1d(*rows).size for rows in zip(*nearest, strict=True)]
        assert np.mean(kept) > 9.8


def test_a_page_stays_light():
    view = large_map(500, selected="king")
    output = view._repr_mimebundle_()[0]["text/html"].encode()
    assert decoded(view).shape == (500, 100)
    assert len(output) < 90_000
    assert len(gzip.compress(output)) < 70_000


@pytest.mark.parametrize("view", [large_map(), hostile_map()], ids=["large", "hostile"])
def test_the_map_is_the_plane_of_the_first_principal_components(view):
    vectors = unit(decoded(view))
    values, axes = np.linalg.eigh(np.cov(vectors.T))
    expected = (vectors - vectors.mean(axis=0)) @ axes[:, [-1, -2]]
    places = np.array(view.coordinates)
    for axis in range(2):
        furthest = np.abs(expected[:, axis]).argmax()
        expected[:, axis] *= np.sign(expected[furthest, axis])
        assert places[furthest, axis] > 0
    np.testing.assert_allclose(places, expected, atol=5.1e-5)
    np.testing.assert_array_equal(places, places.round(4))
    np.testing.assert_allclose(view.variance, values[[-1, -2]] / values.sum(), atol=5.1e-4)


def test_words_on_a_line_have_a_map():
    view = EmbeddingMap(WordVectors(LETTERS[:3], np.array([[1.0, 0], [-1, 0], [0.5, 0]])))
    assert view.variance == [1, 0]
    assert {y for _, y in view.coordinates} == {0}
    assert "-0.0" not in json.dumps(view.coordinates)


def test_of_two_words_equally_far_out_the_first_lies_on_the_positive_side():
    rows = np.array([[3.0, 1, 2], [-3, -1, 2], [1, -1, 0], [-1, 1, 0]])
    for order in ([0, 1, 2, 3], [1, 0, 3, 2]):
        view = EmbeddingMap(WordVectors(LETTERS[:4], rows[order]))
        places = np.array(view.coordinates)
        outermost = np.abs(places) == np.abs(places).max(axis=0)
        assert all(places[outermost[:, axis].argmax(), axis] > 0 for axis in range(2))


@pytest.mark.filterwarnings("ignore:Call to deprecated `init_sims`")
def test_nearest_words_are_gensims():
    view = large_map()
    reference = by_gensim(view)
    assert view.nearest == []
    for word in ("king", "paris", "wine"):
        view.selected = word
        assert_same_answers(view.nearest, reference.most_similar(word, topn=10), 1e-7)
    for a, b, c in (ROYAL, ("paris", "france", "italy")):
        view.analogy, query = (a, b, c), {"positive": [a, c], "negative": [b]}
        view.method = "add"
        assert_same_answers(view.nearest, reference.most_similar(**query, topn=10), 1e-7)
        view.method = "mul"
        # gensim keeps the denominator above 0 with 1e-6 where Levy and Goldberg have 1e-3.
        expected = dict(reference.most_similar_cosmul(**query, topn=50))
        assert view.nearest[0][0] == max(expected, key=expected.get)
        for word, score in view.nearest:
            assert score == pytest.approx(expected[word], rel=3e-3)


def test_so_many_neighbours_as_asked_for_and_as_there_are():
    vectors = random_vectors(LETTERS, 4)
    assert len(EmbeddingMap(vectors, neighbours=3, selected="a").nearest) == 3
    assert len(EmbeddingMap(vectors, selected="a").nearest) == 7
    assert len(EmbeddingMap(vectors, analogy=list("abc")).nearest) == 5
    assert EmbeddingMap(vectors, list("abc"), analogy=list("abc")).nearest == []


def test_the_first_words_are_drawn_unless_others_are_asked_for():
    assert EmbeddingMap(pretrained()).words == list(pretrained().words[:500])
    assert EmbeddingMap(random_vectors(LETTERS, 4)).words == LETTERS
    view = EmbeddingMap(pretrained(), ("queen", "king", "cat"))
    assert view.words == ["queen", "king", "cat"]
    np.testing.assert_allclose(
        cosines(decoded(view)), cosines(given(view, pretrained())), atol=0.01
    )


def test_one_thing_is_shown_at_a_time():
    view = large_map(selected="king")
    view.analogy = list(ROYAL)
    assert (view.selected, view.analogy) == (None, ROYAL)
    view.selected = "cat"
    assert (view.selected, view.analogy) == ("cat", None)
    view.selected = None
    assert (view.selected, view.analogy) == (None, None)
    # A page sends both at once.
    view.set_state({"selected": None, "analogy": list(ROYAL)})
    assert (view.selected, view.analogy) == (None, ROYAL)
    view.set_state({"analogy": None, "selected": "dog"})
    assert (view.selected, view.analogy) == ("dog", None)


def test_summary_says_what_is_listed():
    view = large_map()
    share = f"{sum(view.variance):.1%}"
    assert f"A map of 200 words. Its two axes hold {share} of the words’ variance in 100" in (
        view.summary()
    )
    table = re.findall('<tr><th scope="row">(.*?)</th><td>(.*?)</td></tr>', view.summary())
    assert [word for word, _ in table] == view.words[:10]
    view.selected = "king"
    assert table[0] == ("king", ", ".join(word for word, _ in view.nearest[:3]))
    assert "Nearest to “king”:" in view.summary()
    table = re.findall('<tr><th scope="row">(.*?)</th><td>(.*?)</td></tr>', view.summary())
    assert table == [(word, f"{score:.2f}") for word, score in view.nearest]
    assert '<th scope="col">Cosine</th>' in view.summary()
    view.analogy = ROYAL
    assert "Nearest to “king” − “man” + “woman”, by 3CosAdd:" in view.summary()
    view.method = "mul"
    assert "Nearest to “king” − “man” + “woman”, by 3CosMul:" in view.summary()
    table = re.findall('<tr><th scope="row">(.*?)</th><td>(.*?)</td></tr>', view.summary())
    assert table == [(word, f"{score:.2f}") for word, score in view.nearest]
    assert '<th scope="col">Score</th>' in view.summary()


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": np.eye(3)}, r"vectors must be WordVectors, got ndarray"),
        ({"vectors": random_vectors(LETTERS, 1)}, r"vectors must have at least 2 dimensions, got"),
        (
            {"vectors": WordVectors(LETTERS[:3], np.ones((3, 2)))},
            r"vectors must not all point the same",
        ),
        ({"words": "abc"}, r"words must be a sequence of strings, got the string 'abc'"),
        ({"words": ["a", "b", 3]}, r"words\[2\] must be a string, got int 3"),
        ({"words": ["a", "b"]}, r"words must be 3 to 1000 words to draw, got 2"),
        ({"words": ["a"] * 1001}, r"words must be 3 to 1000 words to draw, got 1001"),
        ({"words": ["a", "b", "a"]}, r"words must be distinct, got 'a' twice"),
        ({"words": ["a", "x", "b", "y"]}, r"words must have vectors, got none for 'x', 'y'$"),
        ({"words": list("abstuvwx")}, r"got none for 's', 't', 'u', 'v', 'w' and 1 more$"),
        ({"neighbours": 0}, r"neighbours must be an integer >= 1 and <= 50, got 0"),
        ({"neighbours": 2.0}, r"neighbours must be an integer, got float 2.0"),
        ({"groups": ["a"]}, r"groups must map names to words, got list"),
        ({"groups": {1: ["a"]}}, r"a group's name must be a string, got int 1"),
        ({"groups": {"": ["a"]}}, r"a group's name must not be empty"),
        ({"groups": {"g": "ab"}}, r"groups\['g'\] must be a sequence of words, got 'ab'"),
        ({"groups": {"g": ["x"]}}, r"groups\['g'\] must hold words that are drawn, got 'x'"),
        ({"groups": {"g": ["a"], "h": ["a"]}}, r"must not share a word, got 'a' in 'g' and 'h'"),
        ({"groups": {str(i): [] for i in range(7)}}, r"groups must be at most 6, got 7"),
        ({"selected": "x"}, r"selected must be one of the 8 words drawn, got 'x'"),
        ({"selected": 0}, r"selected must be a string, got int 0"),
        (
            {"analogy": "abc"},
            r"analogy must be three words \(a, b, c\) for a - b \+ c, or None, got",
        ),
        ({"analogy": ["a", "b"]}, r"analogy must be three words \(a, b, c\)"),
        ({"analogy": ["a", "b", "x"]}, r"analogy\[2\] must be one of the 8 words drawn, got 'x'"),
        ({"method": "cos"}, r"method must be one of 'add', 'mul', got 'cos'"),
        ({"selected": "a", "analogy": list("abc")}, r"selected and analogy must not both be given"),
    ],
)
def test_wrong_input_is_named(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        EmbeddingMap(**({"vectors": random_vectors(LETTERS, 4)} | change))


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("selected", "kings", r"selected must be one of the 200 words drawn, got 'kings'"),
        ("analogy", ("king", "man", "wife"), r"analogy\[2\] must be one of the 200 words drawn"),
        ("analogy", ("king", "man"), r"analogy must be three words"),
        ("method", None, r"method must be one of"),
        ("words", ["a"], r"read-only"),
        ("codes", "", r"read-only"),
    ],
)
def test_a_wrong_assignment_changes_nothing(name, value, message):
    view = large_map(selected="king")
    before = view.page_state()
    with pytest.raises(Exception, match=message):
        setattr(view, name, value)
    assert view.page_state() == before


def test_output_escapes_its_words():
    for view in (hostile_map(), hostile_map(selected=HOSTILE[0]), hostile_map(analogy=HOSTILE[:3])):
        html = view._repr_mimebundle_()[0]["text/html"]
        state, rest = re.fullmatch(
            r'<div class="lmcourse-widget mathjax_ignore tex2jax_ignore" data-kind="EmbeddingMap">'
            r'<script type="application/json">([^<]*)</script>(.*)</div>',
            html,
            re.DOTALL,
        ).groups()
        assert json.loads(state)["words"] == HOSTILE_WORDS
        for tag in ("<img", "<svg", "<script", "<b>"):
            assert tag not in rest


@pytest.mark.parametrize("processor", ["Nehalem", "Haswell"])
def test_stored_output_is_the_same_in_every_process_and_on_older_processors(monkeypatch, processor):
    """OpenBLAS and numpy then compute sums in another order, as they do on another machine."""
    imports = "from tests.embedding_maps import hostile_map, large_map"
    views = ["hostile_map()", "large_map(500, analogy=('king', 'man', 'woman'))"]
    first = stored_output_of_a_new_process(views, imports, hash_seed=1)
    monkeypatch.setenv("OPENBLAS_CORETYPE", processor)
    monkeypatch.setenv("NPY_DISABLE_CPU_FEATURES", "AVX512F AVX512CD AVX512_SKX")
    assert stored_output_of_a_new_process(views, imports, hash_seed=2) == first
    assert "EmbeddingMap(500 words, selected=None, analogy=('king', 'man', 'woman')," in first


# --- The page's arithmetic --------------------------------------------------------------------


def random_maps(number: int):
    rng = np.random.default_rng(0)
    for seed in range(number):
        words = [f"w{i}" for i in range(rng.choice([3, 4, 9, 40]))]
        vectors = random_vectors(words, int(rng.choice([2, 3, 10, 60])), seed=seed)
        shown = [{}, {"selected": str(rng.choice(words))}]
        shown += [{"analogy": rng.choice(words, 3).tolist()}] * 2
        yield EmbeddingMap(
            vectors,
            groups={"odd": words[1::2], "none": []},
            neighbours=int(rng.choice([1, 10, 50])),
            method=str(rng.choice(["add", "mul"])),
            **shown[rng.integers(4)],
        )


def expected_scores(view: EmbeddingMap) -> np.ndarray:
    near = cosines(decoded(view))
    if view.selected is not None:
        return near[view.words.index(view.selected)]
    a, b, c = (view.words.index(word) for word in view.analogy)
    if view.method == "mul":
        return (1 + near[a]) / 2 * (1 + near[c]) / 2 / ((1 + near[b]) / 2 + 1e-3)
    wanted = unit(decoded(view))[[a, b, c]].T @ [1, -1, 1]
    return unit(decoded(view)) @ wanted / np.linalg.norm(wanted)


@pytest.mark.browser
def test_the_module_computes_what_the_package_computes(browser):
    program = """(states) => JSON.stringify(JSON.parse(states).map((state) => {
        const model = { get: (name) => state[name] };
        const map = readMap(model);
        const shown = compute(model, map, null);
        return [shown, describeMap(map) + (title(shown, map) && ` ${title(shown, map)}:`)];
    }))"""
    views = list(random_maps(300))
    states = json.dumps([view.page_state() for view in views])
    computed = json.loads(evaluate_in_module(browser, EmbeddingMap, program, states))
    for view, (shown, sentences) in zip(views, computed, strict=True):
        query = [view.selected] if view.selected else list(view.analogy or [])
        assert [view.words[i] for i in shown["query"]] == query
        if query:
            np.testing.assert_allclose(shown["scores"], expected_scores(view), atol=1e-12)
        answers = [(view.words[i], shown["scores"][i]) for i in shown["answers"]]
        assert len(answers) == len(view.nearest)
        if answers:
            assert_same_answers(answers, view.nearest)
        assert sentences.translate({0x2068: None, 0x2069: None}) in view.summary()


@pytest.mark.browser
def test_arrow_keys_reach_every_word(browser):
    """From any word to any other, in the maps of frequent words and of six groups."""
    program = """(states) => JSON.parse(states).map(({ coordinates: places }) =>
        places.map((_, i) => Object.values(ARROWS).map((to) => nextWord(places, i, to))))"""
    views = [EmbeddingMap(pretrained()), large_map(54), large_map(400)]
    states = json.dumps([view.page_state() for view in views])
    for view, steps in zip(
        views, evaluate_in_module(browser, EmbeddingMap, program, states), strict=True
    ):
        places = np.array(view.coordinates)
        for i, (right, left, up, down) in enumerate(steps):
            for word, axis, sign in ((right, 0, 1), (left, 0, -1), (up, 1, 1), (down, 1, -1)):
                if word is not None:
                    along = sign * (places[word] - places[i])[axis]
                    assert along > 0
                    assert along >= abs((places[word] - places[i])[1 - axis])
        reached = {0}
        while new := {w for i in reached for w in steps[i] if w is not None} - reached:
            reached |= new
        assert len(reached) == len(view.words)


# --- The built page, without a kernel ---------------------------------------------------------


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    pages = {
        "hostile": [hostile_map(), hostile_map(analogy=HOSTILE[:3])],
        "straight": [straight_map(selected="a"), straight_map(analogy=list("acd"))],
        "large": [large_map(selected="king"), large_map(analogy=ROYAL, method="mul"), large_map()],
    }
    return build_book(tmp_path_factory.mktemp("book"), pages)


class Map(WidgetInPage):
    """One EmbeddingMap in a page."""

    selector = ".lmc-embedding"

    def __init__(self, page, index: int = 0):
        super().__init__(page, index)
        self.frame = self.root.get_by_role("listbox")
        self.find = self.box("Find a word")

    def box(self, label: str):
        return self.root.get_by_label(label, exact=True)

    def search(self, word: str) -> None:
        self.find.fill(word)
        self.find.press("Enter")

    def solve(self, words, method: str = "3CosAdd") -> None:
        for name, word in zip("abc", words, strict=True):
            self.box(name).fill(word)
        self.box("Ranked by").select_option(method)
        self.press("Solve")

    def selected(self) -> str | None:
        """The word that is looked at, which screen readers take for the focused one."""
        options = self.root.locator("[role=option][aria-selected=true]")
        active = self.frame.get_attribute("aria-activedescendant")
        if options.count() == 0:
            assert active is None
            return None
        assert active == options.get_attribute("id")
        return options.get_attribute("aria-label").split(",")[0]

    def title(self) -> str:
        shown = self.root.locator(".lmc-title").text_content()
        return shown.translate({0x2068: None, 0x2069: None})

    def answers(self) -> list[tuple[str, float]]:
        """The words listed and their scores, as the page shows them."""
        rows = self.root.locator(".lmc-answers li:not([hidden])")
        names = rows.locator("button").all_text_contents()
        scores = rows.locator(".lmc-score").all_text_contents()
        return [(name, float(score)) for name, score in zip(names, scores, strict=True)]

    def points(self, view: EmbeddingMap) -> dict[str, np.ndarray]:
        """Where each word's point lies, in pixels of the map."""
        moved = self.root.locator("[role=option]").evaluate_all(
            "marks => marks.map(m => [+m.id.split('-').at(-1), m.getAttribute('transform')])"
        )
        return {view.words[i]: np.array(numbers(transform)) for i, transform in moved}

    def lines(self) -> list[np.ndarray]:
        """The ends of the lines, in pixels of the map; arrows' heads are left out."""
        paths = (
            self.root.locator(".lmc-map svg > g")
            .first.locator("path")
            .evaluate_all("paths => paths.map(p => p.getAttribute('d'))")
        )
        return [
            np.array(numbers(d)).reshape(2, 2) for d in paths if re.fullmatch("M[^ML]*L[^Z]*", d)
        ]

    def labels(self) -> dict[str, dict]:
        """The labels on the map and the boxes they take."""
        return dict(
            self.root.locator(".lmc-map text").evaluate_all(
                """texts => texts.map(t => [t.textContent, t.getBBox().toJSON?.() ?? {
                    x: t.getBBox().x, y: t.getBBox().y,
                    width: t.getBBox().width, height: t.getBBox().height }])"""
            )
        )

    def hover(self, pixel) -> None:
        self.frame.hover(position={"x": pixel[0] + 1, "y": pixel[1] + 1})  # 1: the border

    def click(self, pixel) -> None:
        self.frame.click(position={"x": pixel[0] + 1, "y": pixel[1] + 1})

    def zoom(self, view: EmbeddingMap) -> float:
        """Pixels a unit of the map."""
        points = self.points(view)
        places = dict(zip(view.words, np.array(view.coordinates), strict=True))
        a, b = view.words[places_apart(view)[0]], view.words[places_apart(view)[1]]
        return np.hypot(*(points[a] - points[b])) / np.hypot(*(places[a] - places[b]))

    def check(self, view: EmbeddingMap) -> None:
        """Hold what the page shows against the package, at the view's settings."""
        self.check_list(view)
        rows = self.saved_rows()
        assert [row["word"] for row in rows] == view.words
        places = [[row["x"], row["y"]] for row in rows]
        np.testing.assert_array_equal(np.array(places, float), view.coordinates)
        if view.nearest:
            scores = [float(row["score"]) for row in rows]
            np.testing.assert_allclose(scores, expected_scores(view), atol=1e-12)
        else:
            assert {row["score"] for row in rows} == {""}

    def check_list(self, view: EmbeddingMap) -> None:
        assert self.answers() == [(word, round(score, 2)) for word, score in view.nearest]
        title = "Choose a word on the map, or find one by its name."
        if view.selected is not None:
            title = f"Nearest to “{view.selected}”"
        if view.analogy is not None:
            a, b, c = view.analogy
            name = {"add": "3CosAdd", "mul": "3CosMul"}[view.method]
            title = f"Nearest to “{a}” − “{b}” + “{c}”, by {name}"
        assert self.title() == title
        assert self.selected() == view.selected


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", text)]


def places_apart(view: EmbeddingMap) -> tuple[int, int]:
    """Two words far from each other on the map."""
    x = np.array(view.coordinates)[:, 0]
    return int(x.argmin()), int(x.argmax())


@pytest.mark.browser
def test_numbers_in_the_built_page(browser, book):
    rng = np.random.default_rng(1)
    view = large_map(selected="king")
    with opened(browser, book / "large.html") as page:
        shown = Map(page)
        shown.check(view)
        for word in rng.choice(view.words, 4):
            shown.search(word)
            view.selected = word
            shown.check(view)
        for method, name in (("add", "3CosAdd"), ("mul", "3CosMul"), ("add", "3CosAdd")):
            view.analogy, view.method = rng.choice(view.words, 3, replace=False).tolist(), method
            shown.solve(view.analogy, name)
            shown.check(view)
        shown.press("Reset")
        shown.check(large_map(selected="king"))
        Map(page, 1).check(large_map(analogy=ROYAL, method="mul"))
        Map(page, 2).check(large_map())


@pytest.mark.browser
def test_points_lie_where_the_coordinates_say(browser, book):
    with opened(browser, book / "large.html") as page:
        for index, view in enumerate((large_map(), large_map(analogy=ROYAL))):
            points = Map(page, index).points(view)
            pixels = np.array([points[word] for word in view.words])
            places = np.array(view.coordinates) * [1, -1]  # up is up
            # One scale for both axes, and a shift.
            scale = np.sqrt(np.var(pixels, axis=0).sum() / np.var(places, axis=0).sum())
            np.testing.assert_allclose(
                pixels - pixels.mean(axis=0), scale * (places - places.mean(axis=0)), atol=0.2
            )
        box = Map(page).frame.bounding_box()
        pixels = np.array(list(Map(page).points(large_map()).values()))
        assert pixels.min() > 10
        assert (pixels < [box["width"] - 10, box["height"] - 10]).all()


@pytest.mark.browser
def test_lines_lead_to_the_neighbours(browser, book):
    view = large_map(selected="king")
    with opened(browser, book / "large.html") as page:
        shown = Map(page)
        points, lines = shown.points(view), shown.lines()
        assert len(lines) == 10
        for (word, _), (start, end) in zip(view.nearest, lines, strict=True):
            np.testing.assert_allclose(start, points["king"], atol=0.1)
            np.testing.assert_allclose(end, points[word], atol=0.1)
        assert Map(page, 2).lines() == []


@pytest.mark.browser
def test_arrows_draw_the_analogy(browser, book):
    view = large_map(analogy=ROYAL, method="mul")
    assert view.nearest[0][0] == "queen"
    with opened(browser, book / "large.html") as page:
        shown = Map(page, 1)
        king, man, woman, queen = (shown.points(view)[word] for word in (*ROYAL, "queen"))
        total = king - man + woman
        expected = [(woman, total), (man, king), (woman, queen)]
        np.testing.assert_allclose(shown.lines(), expected, atol=0.2)
        # The view is near enough to tell the words apart, and holds them all.
        box = shown.frame.bounding_box()
        for pixel in (king, man, woman, queen, total):
            assert (pixel > 10).all()
            assert (pixel < [box["width"] - 10, box["height"] - 10]).all()
        assert shown.zoom(view) > 1.5 * Map(page, 2).zoom(view)
        assert {"king", "man", "woman", "queen", "a − b + c"} <= shown.labels().keys()
        heads = shown.root.locator(".lmc-map path[d$='Z']:not([role])").evaluate_all(
            "heads => heads.map(h => h.getAttribute('d'))"
        )
        assert len(heads) == 2
        for head, (start, end) in zip(heads, expected[1:], strict=True):
            tip, *back = np.array(numbers(head)).reshape(3, 2)
            along = (end - start) / np.hypot(*(end - start))
            np.testing.assert_allclose(end - tip, 9 * along, atol=0.3)
            assert all((tip - corner) @ along > 5 for corner in back)


@pytest.mark.browser
def test_an_analogy_that_leads_far_out_is_seen_whole(browser, book):
    view = hostile_map(analogy=HOSTILE[:3])
    with opened(browser, book / "hostile.html") as page:
        shown = Map(page, 1)
        box = shown.frame.bounding_box()
        a, b, c = (shown.points(view)[word] for word in HOSTILE[:3])
        for pixel in (a, b, c, a - b + c):
            assert (pixel > 10).all() and (pixel < [box["width"] - 10, box["height"] - 10]).all()
        assert shown.root.get_by_role("button", name="Zoom out").is_disabled()
        shown.root.get_by_role("button", name="Zoom in").click()
        shown.root.get_by_role("button", name="Zoom in").click()
        assert shown.zoom(view) > Map(page).zoom(view)


@pytest.mark.browser
def test_words_on_top_of_each_other_are_drawn(browser, book):
    with opened(browser, book / "straight.html") as page:
        for index, settings in enumerate(({"selected": "a"}, {"analogy": list("acd")})):
            shown, view = Map(page, index), straight_map(**settings)
            shown.check(view)
            points, box = shown.points(view), shown.frame.bounding_box()
            np.testing.assert_array_equal(points["a"], points["d"])
            assert abs(points["a"] - points["b"])[0] > box["width"] / 2
            assert {"a", "b"} <= shown.labels().keys()


@pytest.mark.browser
def test_labels_touch_nothing(browser, book):
    with opened(browser, book / "large.html") as page:
        for index, view in enumerate((large_map(selected="king"), large_map(), large_map())):
            shown = Map(page, index)
            labels, points = shown.labels(), shown.points(view)
            assert len(labels) > 35 or index == 1
            boxes = np.array([[b["x"], b["y"], b["width"], b["height"]] for b in labels.values()])
            size = shown.frame.bounding_box()
            left, top = boxes[:, 0], boxes[:, 1] + 1
            right, bottom = left + boxes[:, 2], top + boxes[:, 3] - 2
            assert left.min() >= 0 and right.max() <= size["width"]
            assert top.min() >= 0 and bottom.max() <= size["height"]
            meet = (
                (left[:, None] < right)
                & (left < right[:, None])
                & (top[:, None] < bottom)
                & (top < bottom[:, None])
            )
            assert meet.sum() == len(labels)  # each with itself
            for name, x0, y0, x1, y1 in zip(labels, left, top, right, bottom, strict=True):
                if name in points:
                    gap = np.maximum([x0, y0] - points[name], points[name] - [x1, y1])
                    assert np.hypot(*gap.clip(0)) < 12
                if name in points and name not in ("king", "man", "woman", "queen", "prince"):
                    covered = [w for w, p in points.items() if x0 < p[0] < x1 and y0 < p[1] < y1]
                    assert covered == []


@pytest.mark.browser
def test_the_mouse_shows_neighbours_and_a_click_keeps_them(browser, book):
    view = large_map()
    with opened(browser, book / "large.html") as page:
        shown = Map(page, 2)
        points = shown.points(view)
        shown.hover(points["cat"])
        assert shown.title() == "Nearest to “cat”"
        assert len(shown.lines()) == 10
        assert shown.selected() is None
        page.mouse.move(2, 2)
        assert shown.title().startswith("Choose a word")
        shown.click(points["cat"])
        page.mouse.move(2, 2)
        view.selected = "cat"
        shown.check_list(view)
        # A label stands for its word.
        box = shown.labels()["bread"]
        shown.click([box["x"] + 3, box["y"] + 8])
        view.selected = "bread"
        page.mouse.move(2, 2)
        shown.check_list(view)
        # Labels move when a word is shown; the mouse keeps the word that it met.
        shown.press("Reset")
        for word, box in itertools.islice(shown.labels().items(), 12):
            page.mouse.move(2, 2)
            shown.hover([box["x"] + box["width"] - 3, box["y"] + 8])
            shown.hover([box["x"] + box["width"] - 4, box["y"] + 8])
            assert shown.title() == f"Nearest to “{word}”"
        shown.search("bread")
        page.mouse.move(2, 2)
        # Words in the list can be looked at in turn.
        shown.root.locator(".lmc-answers button").nth(2).click()
        view.selected = view.nearest[2][0]
        shown.check_list(view)
        # Where there is no word, nothing happens.
        shown.click([3, 3])
        shown.check_list(view)


@pytest.mark.browser
def test_search_finds_words_or_says_that_there_is_none(browser, book):
    view = large_map()
    with opened(browser, book / "large.html") as page:
        shown = Map(page, 2)
        problem = shown.root.locator(".lmc-problem")
        suggested = shown.root.locator(f"datalist[id='{shown.find.get_attribute('list')}'] option")
        assert suggested.evaluate_all("options => options.map(o => o.value)") == view.words
        shown.search(" Queen")
        assert shown.selected() == "queen"
        assert shown.frame.evaluate("frame => frame === document.activeElement")
        assert problem.text_content() == ""
        for typed, words in (
            ("zebra", "“zebra” is not among the 200 words of this map."),
            ("ain", "“ain” is not among the 200 words of this map; these hold it: “spain”, “"),
            ("", "“∅” is not among the 200 words of this map."),
        ):
            shown.search(typed)
            said = problem.text_content().translate({0x2068: None, 0x2069: None})
            assert said.startswith(words)
            assert shown.find.get_attribute("aria-invalid") == "true"
            assert shown.find.get_attribute("aria-describedby") == problem.get_attribute("id")
            assert shown.selected() == "queen"
            heard = shown.root.get_by_role("status").filter(has_text=problem.text_content())
            heard.wait_for(state="attached")
        shown.click(shown.points(view)["man"])
        assert problem.text_content() == ""
        shown.search("queen")
        shown.search("zebra")
        shown.find.fill("dog")
        assert shown.selected() == "queen"  # typed, and not entered
        choice = "new InputEvent('input', { inputType: 'insertReplacementText' })"
        shown.find.evaluate(f"box => box.dispatchEvent({choice})")
        assert shown.selected() == "dog"
        assert problem.text_content() == ""
        assert shown.find.get_attribute("aria-invalid") is None


@pytest.mark.browser
def test_an_analogy_of_unknown_words_is_refused(browser, book):
    view = large_map(selected="king")
    with opened(browser, book / "large.html") as page:
        shown = Map(page)
        shown.solve(["paris", "frence", ""])
        said = shown.root.locator(".lmc-problem").text_content()
        assert "frence" in said and "∅" in said and "paris" not in said
        invalid = [shown.box(name).get_attribute("aria-invalid") for name in "abc"]
        assert invalid == [None, "true", "true"]
        assert shown.box("b").evaluate("box => box === document.activeElement")
        shown.check_list(view)
        shown.box("b").fill("france")
        shown.box("c").press_sequentially("Italy")
        shown.box("c").press("Enter")
        view.analogy = ("paris", "france", "italy")
        shown.check_list(view)
        assert shown.root.locator(".lmc-problem").text_content() == ""
        assert shown.box("c").input_value() == "italy"
        assert shown.box("c").get_attribute("aria-invalid") is None


@pytest.mark.browser
def test_keyboard_alone_is_enough(browser, book):
    view = large_map(54)
    words = large_map().words
    with opened(browser, book / "large.html") as page:
        shown, keys = Map(page, 2), page.keyboard
        shown.find.focus()
        for _ in range(2 + 3 + 2):  # the first zoom button can be pressed, the second cannot
            keys.press("Tab")
        if not shown.frame.evaluate("frame => frame === document.activeElement"):
            keys.press("Tab")
        assert shown.frame.evaluate("frame => frame === document.activeElement")
        keys.press("Home")
        assert shown.selected() == words[0] == "king"
        keys.press("PageDown")
        assert shown.selected() == words[1]
        keys.press("End")
        assert shown.selected() == words[-1]
        keys.press("PageDown")
        assert shown.selected() == words[-1]
        keys.press("PageUp")
        assert shown.selected() == words[-2]
        view = large_map(selected=words[-2])
        places = dict(zip(words, np.array(view.coordinates), strict=True))
        for key, axis, sign in (("ArrowUp", 1, 1), ("ArrowLeft", 0, -1), ("ArrowDown", 1, -1)):
            before = shown.selected()
            keys.press(key)
            assert sign * (places[shown.selected()] - places[before])[axis] > 0
        view.selected = shown.selected()
        shown.check_list(view)
        name, score = view.nearest[0]
        heard = f"Nearest to “{view.selected}”: “{name}” {score:.2f}, “"
        page.wait_for_function(
            """([root, words]) => root.querySelector("[role=status]").textContent
                .replace(/[\u2068\u2069]/g, "").startsWith(words)""",
            arg=[shown.root.element_handle(), heard],
        )
        before = shown.zoom(view)
        keys.press("+")
        keys.press("+")
        keys.press("-")
        assert shown.zoom(view) == pytest.approx(1.5 * before, rel=0.01)
        keys.press("0")
        assert shown.zoom(view) == pytest.approx(before, rel=0.01)
        keys.press("Tab")
        keys.press("Enter")  # the first of the words listed
        assert shown.selected() == name


@pytest.mark.browser
def test_arrow_keys_begin_in_the_middle_or_at_the_answer(browser, book):
    view = large_map()
    with opened(browser, book / "large.html") as page:
        shown = Map(page, 2)
        points, box = shown.points(view), shown.frame.bounding_box()
        middle = np.array([box["width"], box["height"]]) / 2
        shown.frame.press("ArrowRight")
        nearest = min(points, key=lambda word: np.hypot(*(points[word] - middle)))
        assert np.hypot(*(points[shown.selected()] - middle)) < 2 + np.hypot(
            *(points[nearest] - middle)
        )
        solved = Map(page, 1)
        solved.frame.press("ArrowRight")
        solved.check_list(large_map(selected="queen", method="mul"))


@pytest.mark.browser
def test_the_map_can_be_zoomed_and_moved(browser, book):
    view = large_map()
    with opened(browser, book / "large.html", viewport={"width": 1280, "height": 4000}) as page:
        shown = Map(page, 2)
        before, points = shown.zoom(view), shown.points(view)
        assert shown.root.get_by_role("button", name="Zoom out").is_disabled()
        box = shown.frame.bounding_box()
        corner = np.array([box["x"] + 1, box["y"] + 1])
        # With Ctrl, the wheel zooms about the mouse; without, the page scrolls.
        page.mouse.move(*(corner + points["lion"]).round())
        page.mouse.wheel(0, -100)
        page.keyboard.down("Control")
        page.mouse.wheel(0, -100)
        page.keyboard.up("Control")
        page.wait_for_function("document.querySelectorAll('.lmc-near').length === 2")
        assert shown.zoom(view) == pytest.approx(np.e * before, rel=0.02)
        np.testing.assert_allclose(shown.points(view)["lion"], points["lion"], atol=1)
        # Dragging moves it, and selects nothing.
        page.mouse.down()
        page.mouse.move(*(corner + points["lion"] + [-40, 30]).round())
        page.mouse.up()
        np.testing.assert_allclose(shown.points(view)["lion"], points["lion"] + [-40, 30], atol=1.5)
        assert shown.selected() is None
        # Not beyond its edge.
        for _ in range(20):
            shown.root.get_by_role("button", name="Zoom out").press("Enter")
        assert shown.zoom(view) == pytest.approx(before, rel=0.01)
        np.testing.assert_allclose(shown.points(view)["lion"], points["lion"], atol=0.5)
        for _ in range(20):
            shown.root.get_by_role("button", name="Zoom in").press("Enter")
        assert shown.zoom(view) == pytest.approx(32 * before, rel=0.01)
        assert shown.root.get_by_role("button", name="Zoom in").is_disabled()
        # What is looked for comes into sight.
        for word in ("beijing", "cheese"):
            shown.search(word)
            pixel, box = shown.points(view)[word], shown.frame.bounding_box()
            assert (pixel > 0).all() and (pixel < [box["width"], box["height"]]).all()
            assert word in shown.labels()
        shown.press("Reset")
        assert shown.zoom(view) == pytest.approx(before, rel=0.01)
        assert shown.root.get_by_role("button", name="Reset").is_disabled()


@pytest.mark.browser
def test_fingers_tap_and_pinch(browser, book):
    view = large_map()
    options = {**PHONE, "has_touch": True, "is_mobile": True}
    with opened(browser, book / "large.html", **options) as page:
        shown = Map(page, 2)
        shown.frame.scroll_into_view_if_needed()
        before, point = shown.zoom(view), shown.points(view)["cat"]
        box = shown.frame.bounding_box()
        page.touchscreen.tap(box["x"] + 1 + point[0], box["y"] + 1 + point[1])
        assert shown.selected() == "cat"
        fingers = page.context.new_cdp_session(page)
        middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
        for kind, apart in (("touchStart", 20), ("touchMove", 30), ("touchMove", 60)):
            at = [{"x": middle[0] + side * apart, "y": middle[1], "id": side} for side in (-1, 1)]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})
        fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert shown.zoom(view) == pytest.approx(3 * before, rel=0.1)
        assert shown.selected() == "cat"


@pytest.mark.browser
def test_groups_have_shapes_colours_and_names(browser, book):
    view = large_map()
    with opened(browser, book / "large.html") as page:
        shown = Map(page, 2)
        legend = shown.root.get_by_role("list", name="Groups").get_by_role("listitem")
        assert legend.all_text_contents() == list(GROUPS)
        keys = legend.locator("path").evaluate_all(
            "keys => keys.map(k => [k.getAttribute('d'), k.style.fill])"
        )
        assert len({d for d, _ in keys}) == len({fill for _, fill in keys}) == 6
        marks = shown.root.locator("[role=option]").evaluate_all(
            "ms => ms.map(m => [m.ariaLabel, [m.getAttribute('d'), m.style.fill]])"
        )
        labels = dict(marks)
        assert len(labels) == len(view.words)
        for (group, words), key in zip(GROUPS.items(), keys, strict=True):
            for word in words:
                assert labels[f"{word}, {group}"] == key
        plain = [word for word in view.words if word in labels]
        assert len(plain) == len(view.words) - 49
        assert all(labels[word] not in keys for word in plain)


@pytest.mark.browser
def test_all_words_as_a_table(browser, book):
    view = large_map()
    with opened(browser, book / "large.html") as page:
        shown = Map(page)
        rows = shown.root.locator(".lmc-all tbody tr")
        assert rows.count() == 0
        shown.root.locator("summary").click()
        rows.nth(199).wait_for()
        for index in (0, 30, 199):
            view.selected = view.words[index]
            (nearest, score), (x, y) = view.nearest[0], view.coordinates[index]
            group = next((name for name, words in GROUPS.items() if view.selected in words), "")
            cells = rows.nth(index).locator("th, td").all_text_contents()
            assert cells[:2] == [view.selected, group]
            np.testing.assert_allclose(np.array(cells[2:4], float), [x, y], atol=0.0051)
            assert cells[4:] == [nearest, f"{score:.2f}"]


@pytest.mark.browser
def test_words_stay_text(browser, book):
    with opened(browser, book / "hostile.html") as page:
        for index in range(2):
            shown = Map(page, index)
            shown.root.locator("summary").click()
            rows = shown.root.locator(".lmc-all tbody tr")
            rows.nth(len(HOSTILE_WORDS) - 1).wait_for()
            for word in HOSTILE_WORDS:
                shown.search(word)
            shown.solve(HOSTILE_WORDS[1:4])
            shown.search("<img src=x onerror=hacked=1>")
            assert shown.root.locator("img, script, b, mjx-container").count() == 0
            names = rows.locator("th").all_text_contents()
            assert names[:5] == [word.replace(" ", "␣") for word in HOSTILE_WORDS[:5]]
            assert names[6:11] == ["␣", "⏎", "⇥", "U+202Edesrever", "U+200B"]
            saved = shown.saved_rows()
            assert [row["word"] for row in saved] == HOSTILE_WORDS
            assert saved[0]["group"] == HOSTILE[0]
            shown.saved("Save PNG")
        assert page.evaluate("typeof hacked") == "undefined"
        assert page.locator("mjx-container").count() >= 2, "MathJax did not run at all"


@pytest.mark.browser
def test_picture_shows_the_map(browser, book):
    with opened(browser, book / "large.html", color_scheme="dark") as page:
        king = Image.open(Map(page).saved("Save PNG")).convert("RGB")
        solved = Image.open(Map(page, 1).saved("Save PNG")).convert("RGB")
        plain = Image.open(Map(page, 2).saved("Save PNG")).convert("RGB")
    assert king.size == solved.size == (1440, 2 * (40 + 480 + 30 + 16 + 5 * 20 + 24))
    assert plain.size == (1440, 2 * (40 + 480 + 30 + 16 + 24))
    counts = [dict((c, n) for n, c in p.getcolors(2**20)) for p in (king, solved, plain)]
    blue, orange, vermilion = (0, 114, 178), (230, 159, 0), (213, 94, 0)
    # Ten lines, or two long arrows and a dotted line, beside the groups' marks.
    assert counts[0][blue] > counts[2][blue] + 2000
    assert counts[1][blue] > counts[2][blue] + 1500
    assert counts[1][vermilion] > counts[2][vermilion] + 150 or counts[1][vermilion] > 500
    assert all(count[orange] > 500 for count in counts)
    for picture in (king, solved, plain):
        assert picture.getpixel((2, 2)) == (255, 255, 255)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_in_the_book(browser, book, scheme):
    with opened(browser, book / "hostile.html", color_scheme=scheme) as page:
        Map(page).search(HOSTILE_WORDS[0])
        Map(page, 1).search("nothing of the kind")
        Map(page, 1).root.locator("summary").click()
        assert page.locator("html").get_attribute("data-theme") == scheme
        assert accessibility_violations(page) == []


@pytest.mark.browser
def test_fits_a_phone(browser, book):
    with opened(browser, book / "hostile.html", **PHONE) as page:
        for index in range(2):
            shown = Map(page, index)
            shown.root.locator("summary").click()
            shown.search("</script><img " * 5)
            overflowing = shown.root.evaluate(
                "root => [...root.querySelectorAll('button, input, select, svg, li, td, p')]"
                ".filter(e => e.getBoundingClientRect().right > root.getBoundingClientRect().right)"
                ".length"
            )
            assert overflowing == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert accessibility_violations(page, colours=False) == []


@pytest.mark.browser
def test_the_map_follows_the_windows_width(browser, book):
    with opened(browser, book / "large.html") as page:
        assert Map(page).frame.locator("svg").bounding_box()["width"] > 500
        page.set_viewport_size(PHONE["viewport"])
        page.wait_for_function("document.querySelector('.lmc-map svg').clientWidth < 390")
        pixels = np.array(list(Map(page).points(large_map()).values()))
        assert pixels.max(axis=0)[0] < 390


@pytest.mark.browser
def test_readable_without_javascript(browser, book):
    with opened(browser, book / "large.html", java_script_enabled=False) as page:
        outputs = page.locator(".lmcourse-widget")
        views = large_map(selected="king"), large_map(analogy=ROYAL, method="mul")
        for output, view in zip(outputs.all(), views, strict=False):
            words = output.locator("tbody th").all_text_contents()
            scores = output.locator("tbody td").all_text_contents()
            shown = [(word, float(score)) for word, score in zip(words, scores, strict=True)]
            assert shown == [(word, round(score, 2)) for word, score in view.nearest]
        assert "Nearest to “king”:" in outputs.first.text_content()
        assert outputs.nth(2).locator("tbody th").count() == 10


# --- JupyterLab, with a kernel ----------------------------------------------------------------

LAB_CELLS = (
    "from tests.embedding_maps import large_map\n\nview = large_map(selected='dog')\nview",
    "import json\n\n"
    "state = {name: getattr(view, name) for name in ('selected', 'analogy', 'method')}\n"
    "print(json.dumps(state | {'nearest': view.nearest}))",
    "view.analogy = ('king', 'man', 'woman')",
    "try:\n    view.selected = 'kings'\nexcept ValueError as error:\n    print(error)",
)


@pytest.mark.browser
def test_live_in_jupyterlab(browser, lab):
    with OfflinePage(browser, viewport={"width": 1280, "height": 2200}) as offline:
        page = offline.page
        notebook = Lab(page, lab, Map)
        shown, view = notebook.view, large_map(analogy=ROYAL)
        # The third cell set the analogy: the page follows the kernel. The fourth changed nothing.
        shown.root.locator(".lmc-title", has_text="man").wait_for()
        shown.check(view)
        page.get_by_text("selected must be one of the 200 words drawn, got 'kings'").wait_for()

        # The kernel follows the page.
        shown.search("cat")
        view.selected = "cat"
        state = notebook.kernel_state()
        assert (state["selected"], state["analogy"]) == ("cat", None)
        assert_same_answers([tuple(answer) for answer in state["nearest"]], view.nearest)
        shown.check(view)
        shown.solve(["paris", "france", "italy"], "3CosMul")
        view.analogy, view.method = ("paris", "france", "italy"), "mul"
        state = notebook.kernel_state()
        assert (state["selected"], state["method"]) == (None, "mul")
        assert state["analogy"] == ["paris", "france", "italy"]
        assert_same_answers([tuple(answer) for answer in state["nearest"]], view.nearest)
        shown.check(view)
        notebook.run(2)
        shown.root.locator(".lmc-title", has_text="man").wait_for()

        # Keys on the map are the map's: in a notebook, "b" adds a cell, "0 0" restarts the kernel.
        cells = page.locator(".jp-Notebook .jp-CodeCell").count()
        shown.frame.focus()
        for key in ("ArrowDown", "0", "0", "b", "Home", "ArrowDown", "+"):
            page.keyboard.press(key)
        assert page.locator(".jp-Notebook .jp-CodeCell").count() == cells
        assert shown.frame.evaluate("frame => frame === document.activeElement")
        assert page.locator(".jp-Dialog").count() == 0
        assert shown.selected() is not None

        assert accessibility_violations(page, ".lmc-embedding") == []
        notebook.go_dark()
        assert accessibility_violations(page, ".lmc-embedding") == []
        assert offline.refused == []
