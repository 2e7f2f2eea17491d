"""Checks of arguments, so that every module words its complaints alike.

Each function returns the argument in the form the caller needs, or raises an error that names the
argument, what was expected and what came.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse


def finite_array(
    name: str,
    value: Any,
    *,
    ndim: int | None = None,
    allow_minus_inf: bool = False,
) -> np.ndarray:
    """Return ``value`` as a floating-point array without NaN or infinities.

    float32 and float64 keep their type; integers and half precision become float64. With
    ``allow_minus_inf``, ``-inf`` (a logit that rules its token out) passes.

    Raises:
        TypeError: ``value`` is not numeric.
        ValueError: it is empty, has another number of axes than ``ndim``, or holds NaN or infinity.
    """
    array = _array(name, value, kinds="fiu", wanted="be an array of real numbers")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    _check_ndim(name, array, ndim)
    good = np.isfinite(array)
    if allow_minus_inf:
        good |= array == -np.inf
    if not good.all():
        wanted = "finite or -inf" if allow_minus_inf else "finite"
        raise ValueError(f"{name} must be {wanted}, got {_first(name, array, ~good)}")
    return array


def distribution(name: str, value: Any, *, axis: int = -1, ndim: int | None = None) -> np.ndarray:
    """Return ``value`` as an array of probabilities that sum to 1 along ``axis``.

    Sums may be off by 1e-6 in float64 and by 1e-4 in float32, as softmax over a large vocabulary
    is.

    Raises:
        TypeError: ``value`` is not numeric, or ``axis`` is not an integer.
        ValueError: it is empty, has no such axis or another number of axes than ``ndim``, holds a
            negative number, NaN or infinity, or a sum is not 1.
    """
    array = finite_array(name, value, ndim=ndim)
    axis = axis_of(name, array, axis)
    if (array < 0).any():
        raise ValueError(f"{name} must not be negative, got {_first(name, array, array < 0)}")
    total = array.sum(axis=axis, dtype=np.float64, keepdims=True)
    off = np.abs(total - 1) > (1e-4 if array.dtype == np.float32 else 1e-6)
    if off.any():
        where = np.argwhere(off)[0].tolist()
        index = [":" if i == axis else w for i, w in enumerate(where)]
        raise ValueError(
            f"{name} must sum to 1, got the sum {total[tuple(where)]:.7g} of {place(name, index)}"
        )
    return array


def axis_of(name: str, array: np.ndarray, axis: Any) -> int:
    """Return ``axis`` of the array called ``name``, counted from the front.

    Raises:
        TypeError: ``axis`` is not an integer.
        ValueError: ``array`` has no such axis.
    """
    if array.ndim == 0:
        raise ValueError(f"{name} must have at least 1 axis, got the single number {array}")
    return integer("axis", axis, at_least=-array.ndim, at_most=array.ndim - 1) % array.ndim


def token_ids(
    name: str,
    value: Any,
    vocab_size: int | None,
    *,
    ndim: int | None = None,
    allow_empty: bool = False,
) -> np.ndarray:
    """Return ``value`` as an integer array whose entries lie in ``[0, vocab_size)``.

    Without a ``vocab_size`` (None), they must only not be negative.

    Raises:
        TypeError: the entries are not integers.
        ValueError: it is empty (unless ``allow_empty``), has another number of axes than ``ndim``,
            or an entry is out of range; the message gives the first such entry and its place.
    """
    array = _array(name, value, kinds=None, wanted="hold integer token ids")
    if array.size == 0:
        if not allow_empty:
            raise ValueError(f"{name} must hold at least one token id, got an empty array")
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integer token ids, got {_describe(value)}")
    _check_ndim(name, array, ndim)
    bad = array < 0
    wanted = "not be negative"
    if vocab_size is not None:
        bad |= array >= vocab_size
        wanted = f"lie in [0, {vocab_size})"
    if bad.any():
        raise ValueError(f"{name} must {wanted}, got {_first(name, array, bad)}")
    return array.astype(np.int64)


def place(name: str, index: Iterable[Any]) -> str:
    """Name an entry as the reader would, ``logits[2, 0]``; a single number has its name alone."""
    index = ", ".join(map(str, index))
    return f"{name}[{index}]" if index else name


def writable_arrays(name: str, arrays: Any) -> None:
    """Check that every one of ``arrays`` is of float32 or float64 and can be updated in place.

    Raises:
        TypeError: ``arrays`` is not a mapping, or one of them is something else.
        ValueError: one is read-only.
    """
    if not isinstance(arrays, Mapping):
        raise TypeError(f"{name} must map names to arrays, got {_describe(arrays)}")
    for key, value in arrays.items():
        label = f"{name}[{key!r}]"
        if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"{label} must be an array of float32 or float64, got {_describe(value)}"
            )
        if not value.flags.writeable:
            raise ValueError(f"{label} must be writable, got a read-only array")


def gradients_for(parameters: Mapping[str, np.ndarray], gradients: Any) -> dict[str, np.ndarray]:
    """Return ``gradients`` as finite arrays, one for each parameter and of its shape.

    Raises:
        TypeError: ``gradients`` is not a mapping, or a gradient is not numeric.
        ValueError: a gradient is missing or belongs to no parameter, has another shape than its
            parameter, or holds NaN or infinity.
    """
    if not isinstance(gradients, Mapping):
        raise TypeError(f"gradients must map names to arrays, got {_describe(gradients)}")
    if parameters.keys() != gradients.keys():
        raise ValueError(
            "gradients must have the names of parameters; "
            f"missing: {sorted(parameters.keys() - gradients.keys())}, "
            f"unknown: {sorted(gradients.keys() - parameters.keys())}"
        )
    checked = {}
    for name, parameter in parameters.items():
        label = f"gradients[{name!r}]"
        checked[name] = finite_array(label, gradients[name])
        if checked[name].shape != parameter.shape:
            raise ValueError(
                f"{label} must have its parameter's shape {parameter.shape}, "
                f"got shape {checked[name].shape}"
            )
    return checked


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    allow_inf: bool = False,
) -> float:
    """Return ``value`` as a float inside the stated bounds, finite unless ``allow_inf``.

    Raises:
        TypeError: ``value`` is not a real number.
        ValueError: it is NaN, infinite (unless ``allow_inf``) or outside the bounds.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {_describe(value)}")
    bounds = [
        (above, "> ", above is None or value > above),
        (at_least, ">= ", at_least is None or value >= at_least),
        (at_most, "<= ", at_most is None or value <= at_most),
        (below, "< ", below is None or value < below),
    ]
    unwanted = math.isnan(value) if allow_inf else not math.isfinite(value)
    if unwanted or not all(holds for _, _, holds in bounds):
        wanted = " and ".join(f"{sign}{bound:g}" for bound, sign, _ in bounds if bound is not None)
        kind = "number" if allow_inf else "finite number"
        raise ValueError(f"{name} must be a {kind} {wanted}".rstrip() + f", got {value}")
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


def float_type(name: str, value: Any) -> np.dtype:
    """Return ``value`` as a NumPy type, float32 or float64.

    Raises:
        TypeError: ``value`` is no type that NumPy knows.
        ValueError: it is another type.
    """
    dtype = np.dtype(value)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} must be float32 or float64, got {dtype}")
    return dtype


def sparse_counts(name: str, value: Any) -> scipy.sparse.csr_array:
    """Return ``value``, a sparse matrix of counts, in CSR form with one entry a cell.

    Raises:
        TypeError: it is no sparse matrix, or not numeric.
        ValueError: it has other than two axes or no entry, or an entry is not finite and above 0.
    """
    from scipy.sparse import csr_array, issparse

    if not issparse(value):
        raise TypeError(f"{name} must be a SciPy sparse matrix, got {type(value).__name__}")
    if value.ndim != 2 or value.nnz == 0:
        raise ValueError(
            f"{name} must have two axes and an entry, "
            f"got shape {value.shape} and {value.nnz} entries"
        )
    matrix = csr_array(value)
    if not matrix.has_canonical_format:  # a count may stand there in several parts
        matrix = matrix.copy()
        matrix.sum_duplicates()
    data = finite_array(name, matrix.data)
    if data.min() <= 0:
        raise ValueError(f"{name} must be above 0 where they are stored, got {data.min()}")
    return matrix


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


def _array(name: str, value: Any, *, kinds: str | None, wanted: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors off the CPU
        raise TypeError(f"{name} must {wanted}, got {_describe(value)}: {error}") from None
    if kinds is not None and array.dtype.kind not in kinds:
        raise TypeError(f"{name} must {wanted}, got {_describe(value)}")
    return array


def _check_ndim(name: str, array: np.ndarray, ndim: int | None) -> None:
    if ndim is not None and array.ndim != ndim:
        axes = "1 axis" if ndim == 1 else f"{ndim} axes"
        raise ValueError(f"{name} must have {axes}, got shape {array.shape}")


def _first(name: str, array: np.ndarray, bad: np.ndarray) -> str:
    """Say which is the first bad entry, as in ``nan at logits[2, 0]``."""
    where = tuple(np.argwhere(bad)[0].tolist())
    return f"{array[where]} at {place(name, where)}"


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} with shape {value.shape}"
    return f"{type(value).__name__} {value!r:.60}"
