"""What came, held against what was expected, in few words."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np

# Arrays of up to this many numbers are shown whole.
SHOWN_WHOLE = 12


class Wrong(Exception):
    """An answer is wrong: says what was expected and what came.

    ``idea`` is what failed if it is not the idea that the trial was made to test.
    """

    def __init__(self, expected: str, got: str, *, idea: str = ""):
        super().__init__(f"expected {expected}; got {got}")
        self.idea = idea


def compare(result: Any, expected: Any, *, rtol: float = 1e-6, atol: float = 1e-9) -> None:
    """Accept ``result`` if its shape and its numbers are those of ``expected``.

    Lists count as arrays, and a dict must have the same names, each with its array. Whole numbers
    must be equal, others to ``rtol`` or ``atol``.

    Raises:
        Wrong: they are not.
    """
    if isinstance(expected, dict):
        _compare_by_name(result, expected, rtol=rtol, atol=atol)
        return
    expected = np.asarray(expected)
    array = numbers(result, describe(expected))
    if array.shape != expected.shape:
        raise Wrong(describe(expected), describe(array))
    whole = expected.dtype.kind in "iu"
    if whole and array.dtype.kind == "f" and array.size:
        raise Wrong(f"whole numbers, {describe(expected)}", f"floating-point {describe(array)}")
    same = np.isclose(array, expected, rtol=0 if whole else rtol, atol=0 if whole else atol)
    if not same.all():
        raise Wrong(*_difference(array, expected, tuple(np.argwhere(~same)[0].tolist())))


def _compare_by_name(result: Any, expected: dict, **tolerances: float) -> None:
    if not isinstance(result, dict) or result.keys() != expected.keys():
        raise Wrong(describe(expected), describe(result))
    try:
        for name, value in expected.items():
            compare(result[name], value, **tolerances)
    except Wrong:
        raise Wrong(describe(expected), describe(result)) from None


def numbers(result: Any, expected: str) -> np.ndarray:
    """Return ``result`` as an array of numbers.

    Raises:
        Wrong: it is none; the message says that ``expected`` was expected.
    """
    try:
        array = np.asarray(result)
    except Exception:  # ragged lists; array-likes of other libraries that refuse
        array = np.array(None)
    if array.dtype.kind not in "iuf":
        raise Wrong(expected, describe(result))
    return array


def describe(value: Any, *, digits: int = 4) -> str:
    """Return ``value`` as short text on one line: 4 significant digits, long arrays elided."""
    if isinstance(value, dict):
        items = (f"{k!r}: {describe(v, digits=digits)}" for k, v in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, (np.ndarray, np.generic, list, tuple)):
        try:
            array = np.asarray(value)
        except ValueError:
            return f"a {type(value).__name__} {shorten(repr(value), 60)}"
        if array.dtype.kind in "biuf":
            text = _array_text(array, digits)
            small_tuple = isinstance(value, tuple) and array.size <= SHOWN_WHOLE
            return f"({text[1:-1]})" if small_tuple else text
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    if value is None:
        return "None (is a `return` missing?)"
    if isinstance(value, (int, str)):
        return shorten(repr(value), 60)
    if callable(value):
        return f"the function {getattr(value, '__name__', type(value).__name__)}"
    return f"a {type(value).__name__} {shorten(reprlib.repr(value), 60)}"


def shorten(text: str, length: int) -> str:
    """Return ``text`` on one line of at most ``length`` characters, elided at its end."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _array_text(array: np.ndarray, digits: int) -> str:
    def text(part: Any) -> str:
        if isinstance(part, list):
            return f"[{', '.join(map(text, part))}]"
        return f"{part + 0.0:.{digits}g}" if isinstance(part, float) else str(part)  # no -0

    if array.size <= SHOWN_WHOLE:
        return text(array.tolist())
    if array.ndim > 1:
        return f"an array of shape {array.shape}"
    return f"[{', '.join(map(text, array[:3].tolist()))}, …] of shape {array.shape}"


def _difference(array: np.ndarray, expected: np.ndarray, where: tuple[int, ...]) -> tuple[str, str]:
    """Describe two unlike arrays of one shape: whole if small, else where they first differ."""
    place = ""
    if expected.size > SHOWN_WHOLE:
        array, expected = np.asarray(array[where]), np.asarray(expected[where])
        place = f" at [{', '.join(map(str, where))}]"
    for digits in (4, 8, 17):
        texts = describe(expected, digits=digits), describe(array, digits=digits)
        if texts[0] != texts[1]:
            break
    nan = " (nan comes from 0/0, inf/inf or inf - inf)" if np.isnan(array).any() else ""
    return texts[0] + place, texts[1] + place + nan
