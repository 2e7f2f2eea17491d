"""Checks of arguments, so that every module words its complaints alike.

Each function returns the argument in the form the caller needs, or raises an error that names the
argument, what was expected and what came.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np


def finite_array(
    name: str, value: Any, *, ndim: int | None = None, allow_minus_inf: bool = False
) -> np.ndarray:
    """Return ``value`` as a floating-point array without NaN or infinities.

    Integers become float64; float32 and float64 keep their type. With ``allow_minus_inf``, ``-inf``
    (a logit that rules its token out) passes.

    Raises:
        TypeError: ``value`` is not numeric.
        ValueError: it is empty, has another number of axes than ``ndim``, or holds NaN or infinity.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of numbers, got {_describe(value)}")
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, got shape {array.shape}")
    bad = np.isnan(array) | (array == np.inf)
    if not allow_minus_inf:
        bad |= array == -np.inf
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        wanted = "finite or -inf" if allow_minus_inf else "finite"
        index = ", ".join(map(str, where))
        raise ValueError(f"{name} must be {wanted}, got {array[where]} at {name}[{index}]")
    return array


def token_ids(
    name: str, value: Any, vocab_size: int, *, ndim: int | None = None, allow_empty: bool = False
) -> np.ndarray:
    """Return ``value`` as an integer array whose entries lie in ``[0, vocab_size)``.

    Raises:
        TypeError: the entries are not integers.
        ValueError: it is empty (unless ``allow_empty``), has another number of axes than ``ndim``,
            or an entry is out of range; the message gives the first such entry and its place.
    """
    array = np.asarray(value)
    if array.size == 0 and allow_empty:
        return array.astype(np.int64)
    if array.size == 0:
        raise ValueError(f"{name} must hold at least one token id, got an empty array")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integer token ids, got {_describe(value)}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, got shape {array.shape}")
    bad = (array < 0) | (array >= vocab_size)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        index = ", ".join(map(str, where))
        raise ValueError(
            f"{name} must lie in [0, {vocab_size}), got {array[where]} at {name}[{index}]"
        )
    return array.astype(np.int64)


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> float:
    """Return ``value`` as a finite float inside the stated bounds.

    Raises:
        TypeError: ``value`` is not a real number.
        ValueError: it is not finite or lies outside the bounds.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {_describe(value)}")
    bounds = [
        (above, "> ", above is None or value > above),
        (at_least, ">= ", at_least is None or value >= at_least),
        (at_most, "<= ", at_most is None or value <= at_most),
        (below, "< ", below is None or value < below),
    ]
    if not math.isfinite(value) or not all(holds for _, _, holds in bounds):
        wanted = " and ".join(f"{sign}{bound:g}" for bound, sign, _ in bounds if bound is not None)
        raise ValueError(f"{name} must be a finite number {wanted}".rstrip() + f", got {value}")
    return float(value)


def integer(
    name: str, value: Any, *, at_least: int | None = None, at_most: int | None = None
) -> int:
    """Return ``value`` as an int inside the stated bounds.

    Raises:
        TypeError: ``value`` is not an integer.
        ValueError: it lies outside the bounds.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {_describe(value)}")
    low = at_least is None or value >= at_least
    high = at_most is None or value <= at_most
    if not (low and high):
        bounds = [f">= {at_least}"] * (at_least is not None) + [f"<= {at_most}"] * (
            at_most is not None
        )
        raise ValueError(f"{name} must be an integer {' and '.join(bounds)}, got {value}")
    return int(value)


def text(name: str, value: Any, *, allow_empty: bool = True) -> str:
    """Return ``value``, a string that UTF-8 can encode.

    Raises:
        TypeError: ``value`` is not a string.
        ValueError: it is empty (unless ``allow_empty``) or holds a lone surrogate, which is half of
            a UTF-16 pair and no character.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {_describe(value)}")
    if not value and not allow_empty:
        raise ValueError(f"{name} must not be empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} must be valid Unicode, got the lone surrogate "
            f"U+{ord(value[error.start]):04X} at {name}[{error.start}]"
        ) from None
    return value


def one_of(name: str, value: Any, options: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``options``.

    Raises:
        ValueError: it is not; the message lists the options.
    """
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}")
    return value


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} with shape {value.shape}"
    return f"{type(value).__name__} {value!r:.60}"
