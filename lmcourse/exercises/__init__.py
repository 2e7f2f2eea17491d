"""Exercises with an instant check.

A chapter's exercise is a group of cells with the tag ``exercise:NAME``: the task, a stub, and

    check("language-models-softmax", softmax)

which calls the learner's function and prints one line: that all is well, or the first idea that
fails, with what was tried, what was expected and what came.

How to add an exercise
----------------------
Write the right answer and the trials that it must stand, easiest idea first, into the module of its
topic, here ``lmcourse/exercises/language_models.py``; every module in this folder is found by
itself. The right answer's name and parameters are those that the learner's function must have::

    def double(values):
        return 2 * values

    @exercise("language-models-double", title="Twice", reference=double,
              chapter="01_language_models", difficulty=1, minutes=2)
    def _(rng):
        yield Trial("each value is doubled", (np.array([1.0, 2.0]),))
        yield Trial("arrays may have any shape", (rng.normal(size=(2, 3)),))

What is expected is what the reference returns, compared by `compare`. Where several results are
right, give the trial a judge of its own, which raises `Wrong`; where the answer is more than a
function from arrays to arrays, give the exercise a ``drive``. Then

1. put the three cells into the chapter and the solution, tagged ``solution:NAME``, on its page of
   worked solutions;
2. write at least three plausible wrong answers into ``tests/exercise_mutants/``, each with the idea
   at which it must fail. ``pytest tests/test_exercises.py`` says what is missing.

An exercise is data and a reference kept apart from the call of the answer (`Exercise.drive`), so
that a grader can make that call in another process and judge here what comes back.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import inspect
import pkgutil
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmcourse.exercises._compare import Wrong, compare, describe, numbers, shorten

__all__ = [
    "Exercise",
    "Report",
    "Trial",
    "Wrong",
    "check",
    "compare",
    "describe",
    "evaluate",
    "exercise",
    "exercises",
    "find",
    "numbers",
]


@dataclass(frozen=True)
class Trial:
    """One call of the answer and the idea that it tests.

    Attributes:
        idea: what must hold, in a few words: "the last token stays".
        arguments: what the answer is called with. It gets copies, and may not change them.
        judge: gets the answer's result and the reference's; raises `Wrong` if it is not right, may
            return a remark for the line that reports success.
        tried: what to report as tried, where the call itself would say little.
    """

    idea: str
    arguments: tuple
    judge: Callable[[Any, Any], str | None] = compare
    tried: str = ""


def _call(answer: Callable, *arguments: Any) -> Any:
    return answer(*arguments)


@dataclass(frozen=True)
class Exercise:
    """A task, its right answer and the trials that an answer must stand.

    Attributes:
        name: topic and idea, "language-models-softmax", as in the cells' tags.
        title: its heading in the chapter.
        chapter: the stem of the chapter's file, "01_language_models".
        difficulty: 1 (warm-up), 2 (core) or 3 (open-ended).
        minutes: how long it should take.
        reference: a right answer, with the name and the parameters of the learner's function.
        trials: makes the trials from a random generator, first idea first.
        drive: ``drive(answer, *arguments)`` makes the call and returns what is judged.
    """

    name: str
    title: str
    chapter: str
    difficulty: int
    minutes: int
    reference: Callable
    trials: Callable[[np.random.Generator], Iterator[Trial]]
    drive: Callable = _call

    @property
    def function(self) -> str:
        """The name of the function that the learner writes."""
        return self.reference.__name__

    def expected(self, trial: Trial) -> Any:
        """Return what the reference makes of the trial."""
        return self.drive(self.reference, *copy.deepcopy(trial.arguments))

    def tried(self, trial: Trial) -> str:
        """Return the trial's call as text, ``merge([1, 2, 3], (1, 2), 9)``."""
        arguments = ", ".join(map(describe, trial.arguments))
        return trial.tried or f"{self.function}({arguments})"


@dataclass(frozen=True)
class Report:
    """The verdict on an answer.

    Attributes:
        name: the exercise.
        passed: whether every trial went well.
        idea: the first idea that failed; empty if none did.
        message: one line for the learner.
    """

    name: str
    passed: bool
    idea: str
    message: str


_EXERCISES: dict[str, Exercise] = {}


def exercise(name: str, **facts: Any) -> Callable:
    """Register the decorated maker of trials as the exercise ``name``.

    Args:
        name: topic and idea, "language-models-softmax".
        facts: the other attributes of `Exercise`.

    Returns:
        A decorator.
    """

    def register(trials: Callable) -> Callable:
        _EXERCISES[name] = Exercise(name=name, trials=trials, **facts)
        return trials

    return register


def exercises() -> dict[str, Exercise]:
    """Return all exercises by name, in the order of the chapters."""
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_EXERCISES.items(), key=lambda item: item[1].chapter))


def find(name: str) -> Exercise:
    """Return the exercise called ``name``.

    Raises:
        ValueError: there is none; the message lists the names that come near.
    """
    known = exercises()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=3) or known
        raise ValueError(f"name must be that of an exercise ({', '.join(near)}?), got {name!r}")
    return known[name]


def check(name: str, answer: Any) -> None:
    """Try ``answer`` and print one line: it passed, or what failed first.

    Args:
        name: the exercise, as in its cells' tags.
        answer: the function that the exercise asks for, not the result of calling it.

    Raises:
        ValueError: there is no exercise ``name``.
    """
    print(evaluate(name, answer).message)


def evaluate(name: str, answer: Any, *, seed: int = 0) -> Report:
    """Try ``answer`` on the exercise's trials, up to the first that fails.

    Whatever the answer raises is part of the report, except KeyboardInterrupt.

    Args:
        name: the exercise.
        answer: the function that the exercise asks for.
        seed: makes the random arguments.

    Returns:
        The verdict, with the line that `check` prints.

    Raises:
        ValueError: there is no exercise ``name``.
    """
    task = find(name)
    passed, remark = 0, None
    for trial in task.trials(np.random.default_rng(seed)):
        try:
            remark = _attempt(task, trial, answer)
        except NotImplementedError:
            message = f"Not started yet: {task.function} still raises NotImplementedError."
            return Report(name, False, trial.idea, message)
        except Wrong as wrong:
            idea = wrong.idea or trial.idea
            message = f"Not yet: {idea}. Tried {task.tried(trial)}; {wrong}."
            return Report(name, False, idea, message)
        passed += 1
    return Report(name, True, "", f"Passed all {passed} checks." + (f" {remark}" if remark else ""))


def _attempt(task: Exercise, trial: Trial, answer: Any) -> str | None:
    if not callable(answer):
        hint = f'{describe(answer)}; write check("{task.name}", {task.function})'
        raise Wrong(f"the function {task.function} itself", hint, idea="check takes a function")
    expected = task.expected(trial)
    arguments = copy.deepcopy(trial.arguments)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = task.drive(answer, *arguments)
    except NotImplementedError:
        raise
    except (Exception, SystemExit) as error:
        wanted = "no error" if trial.tried else describe(expected)
        raise Wrong(wanted, _raised(error, answer)) from None
    remark = trial.judge(result, expected)
    names = inspect.signature(task.reference).parameters
    for name, before, after in zip(names, trial.arguments, arguments, strict=False):
        if not _same(before, after):
            idea = "the arguments stay as they are"
            raise Wrong(f"{name} unchanged", "a change in place (work on a copy)", idea=idea)
    return remark


def _same(before: Any, after: Any) -> bool:
    """Whether an argument, which may hold arrays at any depth, is as it was."""
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(_same(before[k], after[k]) for k in before)
    if isinstance(before, (list, tuple)):
        return len(before) == len(after) and all(map(_same, before, after))
    return np.array_equal(before, after)


def _raised(error: BaseException, answer: Callable) -> str:
    """Say what was raised, and by which line of the answer."""
    message = shorten(f"{type(error).__name__}: {error}", 200)
    file = getattr(getattr(answer, "__code__", None), "co_filename", None)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.line for frame in frames if frame.filename == file and frame.line]
    return f"{message} in the line `{lines[-1]}`" if lines else message
