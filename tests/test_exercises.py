"""The exercises: their checks tell right answers from wrong ones, and say what is wrong."""

from __future__ import annotations

import inspect
import re
import warnings

import nbformat
import numpy as np
import pytest

from lmcourse import exercises
from lmcourse.exercises import Exercise, Trial, Wrong, check, compare, describe, evaluate, find
from tests.exercise_mutants import mutants
from tests.notebooks import ROOT

NAMES = list(exercises.exercises())
LEVELS = {1: "Warm-up", 2: "Core", 3: "Open-ended"}


def cells(chapter: str, tag: str) -> list:
    notebook = nbformat.read(ROOT / f"chapters/{chapter}.ipynb", as_version=4)
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def function_of(name: str, sources: list[str]):
    """Run a page's imports and these cells, and return the function that the exercise asks for."""
    task = find(name)
    solutions = nbformat.read(ROOT / f"chapters/{task.chapter}_solutions.ipynb", as_version=4)
    imports = next(cell.source for cell in solutions.cells if cell.cell_type == "code")
    namespace = {}
    for source in (imports, *sources):
        exec(source, namespace)
    return namespace[task.function]


def solution(name: str):
    sources = [c.source for c in cells(f"{find(name).chapter}_solutions", f"solution:{name}")]
    return function_of(name, sources)


# --- the exercises ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_worked_solution_passes(name, seed):
    report = evaluate(name, solution(name), seed=seed)
    assert report.passed and report.idea == "", report.message
    assert re.match(r"Passed all \d checks\.", report.message)


@pytest.mark.parametrize("name", NAMES)
def test_the_cells_of_the_chapter(name):
    task = find(name)
    text, stub, check_cell = cells(task.chapter, f"exercise:{name}")
    assert text.source.startswith(f":::{{exercise}} {task.title}\n:label: {name}\n")
    assert f"*{LEVELS[task.difficulty]}, {task.minutes} minutes.*" in text.source
    assert check_cell.source == f'check("{name}", {task.function})'
    report = evaluate(name, function_of(name, [stub.source]))
    assert not report.passed
    assert report.message.startswith("Not started yet: "), report.message
    parameters = list(inspect.signature(function_of(name, [stub.source])).parameters)
    assert parameters == list(inspect.signature(task.reference).parameters)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_body(name):
    report = evaluate(name, lambda *arguments: None)
    assert not report.passed
    assert report.message.endswith("got None (is a `return` missing?)."), report.message


@pytest.mark.parametrize(
    "mutant", [pytest.param(m, id=f"{m.exercise}-{m.answer.__name__}") for m in mutants()]
)
def test_a_wrong_answer_fails_at_the_idea_it_gets_wrong(mutant):
    report = evaluate(mutant.exercise, mutant.answer)
    assert not report.passed
    assert report.idea == mutant.idea, report.message
    assert report.message.startswith(f"Not yet: {mutant.idea}. Tried ")
    assert mutant.got in report.message


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_has_mutants_and_every_mutant_fails_whatever_the_seed(name):
    own = [mutant.answer for mutant in mutants() if mutant.exercise == name]
    assert len(own) >= 3
    # Another seed may make another idea the first to fail, but nothing wrong may pass.
    assert not any(evaluate(name, answer, seed=1).passed for answer in own)


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_gives_other_arguments(name):
    first, again, other = (
        [repr(trial.arguments) for trial in find(name).trials(np.random.default_rng(seed))]
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_evaluate_uses_its_seed():
    def tried(seed):
        seen = []
        answer = solution("language-models-softmax")
        evaluate(
            "language-models-softmax",
            lambda logits, temperature: (seen.append(logits.sum()), answer(logits, temperature))[1],
            seed=seed,
        )
        return seen

    assert tried(0) == tried(0) != tried(1)


def test_names_and_facts():
    for name, task in exercises.exercises().items():
        topic = task.chapter.partition("_")[2].replace("_", "-")
        assert name.startswith(f"{topic}-") and task.name == name
        assert task.difficulty in LEVELS and task.minutes > 0
        assert (ROOT / f"chapters/{task.chapter}.ipynb").exists()
    assert {mutant.exercise for mutant in mutants()} == set(NAMES)


# --- the report ---------------------------------------------------------------------------------


def double(values):
    return 2 * values


@pytest.fixture
def doubling(monkeypatch):
    """An exercise with two trials."""

    def trials(rng):
        yield Trial("values are doubled", (np.array([1.0, 2.5]),))
        yield Trial("long arrays are doubled too", (np.arange(1.0, 101),))

    task = Exercise("test-double", "Twice", "00_test", 1, 1, double, trials)
    monkeypatch.setitem(exercises._EXERCISES, task.name, task)
    return lambda answer: evaluate(task.name, answer)


def test_check_prints_one_line(doubling, capsys):
    check("test-double", double)
    check("test-double", lambda values: values)
    assert capsys.readouterr().out == (
        "Passed all 2 checks.\n"
        "Not yet: values are doubled. Tried double([1, 2.5]); expected [2, 5]; got [1, 2.5].\n"
    )


@pytest.mark.parametrize(
    ("result", "got"),
    [
        (None, "None (is a `return` missing?)"),
        ("[2, 5]", "'[2, 5]'"),
        ({"a": 2}, "{'a': 2}"),
        ([[2.0], 5.0], "a list [[2.0], 5.0]"),
        (double, "the function double"),
        (7.0, "7"),
        ([[2.0, 5.0]], "[[2, 5]]"),
        ([2.0, 5.0, 7.0], "[2, 5, 7]"),
        ((2.0, 4.0), "[2, 4]"),
        ([True, False], "[True, False]"),
        ([2 + 1j, 5], "a list [(2+1j), 5]"),
        ([2.0, np.nan], "[2, nan] (nan comes from 0/0, inf/inf or inf - inf)"),
        ([2.0, np.inf], "[2, inf]"),
        ([-0.0, 5.0], "[0, 5]"),
    ],
)
def test_results_of_the_wrong_kind(doubling, result, got):
    message = doubling(lambda values: result).message
    assert message.endswith(f"expected [2, 5]; got {got}."), message


def test_lists_tuples_and_other_precisions_are_welcome(doubling):
    assert doubling(lambda values: (2 * values).tolist()).passed
    assert doubling(lambda values: tuple(2 * values)).passed
    assert doubling(lambda values: (2 * values).astype(np.float32)).passed


def test_a_long_array_is_reported_at_its_first_difference(doubling):
    def wrong_from_51_on(values):
        return np.where(values > 50, 3.25 * values, 2 * values)

    assert doubling(wrong_from_51_on).message == (
        "Not yet: long arrays are doubled too. Tried double([1, 2, 3, …] of shape (100,)); "
        "expected 102 at [50]; got 165.8 at [50]."
    )
    assert doubling(lambda values: 2 * values[:99]).message.endswith(
        "expected [2, 4, 6, …] of shape (100,); got [2, 4, 6, …] of shape (99,)."
    )


def test_numbers_that_look_alike_are_told_apart(doubling):
    assert doubling(lambda values: 2 * values + 1e-5).message.endswith(
        "expected [2, 5]; got [2.00001, 5.00001]."
    )


def test_arguments_changed_in_place(doubling):
    def doubles_in_place(values):
        values *= 2
        return values

    report = doubling(doubles_in_place)
    assert report.idea == "the arguments stay as they are"
    assert report.message.endswith(
        "expected values unchanged; got a change in place (work on a copy)."
    )


def test_what_the_answer_raises_is_reported_with_its_line(doubling):
    def helper(values):
        raise LookupError("first line\n   second line")

    def fails(values):
        return helper(values)

    def exits(values):
        raise SystemExit("bye")

    def recurses(values):
        return recurses(values)

    assert doubling(fails).message.endswith(
        "expected [2, 5]; got LookupError: first line second line in the line "
        '`raise LookupError("first line\\n   second line")`.'
    )
    assert "got SystemExit: bye in the line" in doubling(exits).message
    assert "got RecursionError: maximum recursion depth exceeded" in doubling(recurses).message
    assert "got TypeError: " in doubling(lambda: 1).message
    assert "got TypeError: " in doubling(int).message


def test_an_interrupt_stops_the_check(doubling):
    def interrupted(values):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        doubling(interrupted)


def test_warnings_of_the_answer_do_not_add_lines(doubling):
    def warns(values):
        warnings.warn("careful", stacklevel=1)
        np.log(np.zeros(1))
        return 2 * values

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert doubling(warns).passed
    assert not caught


def test_not_started(doubling):
    def stub(values):
        raise NotImplementedError

    report = doubling(stub)
    assert not report.passed
    assert report.message == "Not started yet: double still raises NotImplementedError."


def test_the_result_in_place_of_the_function(doubling):
    report = doubling(np.array([2.0, 5.0]))
    assert report.idea == "check takes a function"
    assert report.message.endswith(
        'expected the function double itself; got [2, 5]; write check("test-double", double).'
    )


def test_unknown_names_get_near_ones():
    with pytest.raises(ValueError) as caught:
        check("language-models-sofmax", double)
    assert str(caught.value).startswith("name must be that of an exercise (language-models-softmax")
    assert str(caught.value).endswith("?), got 'language-models-sofmax'")
    assert "language-models-beat-the-trigram" not in str(caught.value)
    with pytest.raises(ValueError, match="language-models-chain-rule"):
        find("xyz")


def test_whole_numbers_are_compared_exactly():
    compare([9, 3], [9, 3])
    with pytest.raises(Wrong, match=re.escape("whole numbers, [9, 3]; got floating-point [9, 3]")):
        compare([9.0, 3.0], [9, 3])
    with pytest.raises(Wrong, match="10000000001"):
        compare([10_000_000_001], [10_000_000_000])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (1 / 3, "0.3333"),
        (np.float64(12345.678), "1.235e+04"),
        (np.int64(12345), "12345"),
        ("a" * 100, "'" + "a" * 58 + "…"),
        ((1, 2), "(1, 2)"),
        ([], "[]"),
        (np.eye(2), "[[1, 0], [0, 1]]"),
        (np.zeros((3, 5)), "an array of shape (3, 5)"),
        (range(100), "a range range(0, 100)"),
    ],
)
def test_values_in_messages_are_short(value, text):
    assert describe(value) == text
