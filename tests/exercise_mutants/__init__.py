"""Plausible wrong answers to the exercises, each with the idea at which it must fail.

One module per topic. An answer that fails at another idea than the one it gets wrong would mislead
the learner who wrote it, so that is an error too.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    exercise: str
    answer: Callable
    idea: str
    """The idea that the report must name, word for word."""
    got: str
    """What the report must say came."""


_MUTANTS: list[Mutant] = []


def mutant(exercise: str, *, idea: str, got: str) -> Callable:
    """Register the decorated function as a wrong answer."""

    def register(answer: Callable) -> Callable:
        _MUTANTS.append(Mutant(exercise, answer, idea, got))
        return answer

    return register


def mutants() -> list[Mutant]:
    """Return the mutants of all topics."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return _MUTANTS
