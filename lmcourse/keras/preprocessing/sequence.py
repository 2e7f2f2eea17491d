"""Keras's `pad_sequences`: sequences of different lengths as the rows of one array."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy.typing import DTypeLike

from lmcourse import _arguments

_SIDES = ("pre", "post")


def pad_sequences(
    sequences: Any,
    maxlen: int | None = None,
    dtype: DTypeLike = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> Shaped[np.ndarray, "sequences length *step"]:
    """Return ``sequences`` as rows of one length, the short ones padded and the long ones cut.

    Args:
        sequences: lists of numbers, or of arrays of one shape.
        maxlen: the length; None for that of the longest sequence.
        dtype: type of the result; ``object`` for strings.
        padding: where ``value`` is filled in, ``"pre"`` (before the sequence) or ``"post"``.
        truncating: where long sequences lose steps, ``"pre"`` (their beginning) or ``"post"``.
        value: what short sequences are filled up with.

    Returns:
        The rows: ``[[0, 1, 2], [4, 5, 6]]`` of ``[[1, 2], [3, 4, 5, 6]]`` and ``maxlen=3``.

    Raises:
        TypeError: ``sequences`` is not a sequence of sequences, or ``maxlen`` is not an integer.
        ValueError: ``maxlen`` is below 1, or None without a sequence; there is no such ``padding``
            or ``truncating``; ``value`` or a sequence does not fit into ``dtype`` (a fraction is
            not an integer); steps have different shapes.
    """
    sequences = _sized("sequences", sequences)
    lengths = [len(_sized(f"sequences[{i}]", steps)) for i, steps in enumerate(sequences)]
    _arguments.one_of("padding", padding, _SIDES)
    _arguments.one_of("truncating", truncating, _SIDES)
    if maxlen is not None:
        maxlen = _arguments.integer("maxlen", maxlen, at_least=1)
    elif lengths:
        maxlen = max(lengths)
    else:
        raise ValueError("maxlen must be given where sequences is empty")

    kept = slice(-maxlen, None) if truncating == "pre" else slice(maxlen)
    rows = [_converted(f"sequences[{i}]", steps[kept], dtype) for i, steps in enumerate(sequences)]
    step_shape = next((row.shape[1:] for row in rows if len(row)), ())
    filler = _converted("value", value, dtype)
    result = np.full((len(rows), maxlen, *step_shape), filler, dtype=dtype)
    for i, row in enumerate(rows):
        if not len(row):
            continue
        if row.shape[1:] != step_shape:
            raise ValueError(
                f"sequences[{i}] must have steps of shape {step_shape} as those before it, "
                f"got {row.shape[1:]}"
            )
        start = maxlen - len(row) if padding == "pre" else 0
        result[i, start : start + len(row)] = row
    return result


def _sized(name: str, value: Any) -> Any:
    if isinstance(value, str | bytes) or not hasattr(value, "__getitem__"):
        raise TypeError(
            f"{name} must be a list or an array, got {type(value).__name__} {value!r:.60}"
        )
    return value


def _converted(name: str, value: Any, dtype: DTypeLike) -> np.ndarray:
    """Return ``value`` as an array of ``dtype``; integers must not come out as other numbers."""
    try:
        with np.errstate(invalid="ignore"):  # NaN and infinity are found below
            array = np.asarray(value, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise _does_not_fit(name, value, dtype, f": {error}") from None
    if array.dtype.kind in "iu" and not np.array_equal(array, np.asarray(value)):
        raise _does_not_fit(name, value, dtype)
    return array


def _does_not_fit(name: str, value: Any, dtype: DTypeLike, reason: str = "") -> ValueError:
    return ValueError(f"{name} must fit into dtype {np.dtype(dtype)}, got {value!r:.60}{reason}")
