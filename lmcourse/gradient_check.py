"""Gradient checking: a gradient worked out by hand, held against differences of the function.

Every entry costs two evaluations of the function, so this is for tests and small models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float64

from lmcourse._arguments import finite_array, gradients_for, integer, number, place

# The loss carries rounding errors of about 1e-16 of its size, its differences then of about 1e-11.
# Gradients below this share of the loss are mostly such errors and are compared absolutely.
FLOOR = 1e-4


def numerical_gradient(
    f: Callable[[Float64[np.ndarray, "*shape"]], float],
    x: Float64[np.ndarray, "*shape"],
    *,
    step: float = 1e-5,
) -> Float64[np.ndarray, "*shape"]:
    """Return the gradient of ``f`` at ``x`` by central differences.

    It is ``(f(x + h) - f(x - h)) / (2 h)`` for each entry, with ``h = step * max(1, |entry|)``. Two
    errors add up: that of the curve's bend, which grows as h², and that of rounding ``f``, which
    grows as 1/h. They balance where ``step`` is near the cube root of the rounding unit. In float64
    that is 6e-6 and leaves about ten good digits; in float32 it would leave four at best, too few
    to tell a small mistake from rounding, and so float32 is refused. At a kink (ReLU at 0) no step
    is right.

    Equation: eq-language-models-gradient-check

    Args:
        f: takes an array like ``x`` and returns one number.
        x: where to differentiate; it is not modified.
        step: relative size of the change, above 0.

    Returns:
        The gradient, of the shape of ``x``.

    Raises:
        TypeError: ``x`` is not a float64 array, or ``f`` does not return a number.
        ValueError: ``x`` is empty or holds NaN or infinity, ``step`` is not above 0, or ``f``
            returns NaN or infinity; the message says for which change.
    """
    x = _float64_copy("x", x)
    step = number("step", step, above=0)
    gradient = _central_differences(lambda: f(x.copy()), "x", x, np.arange(x.size), step)
    return gradient.reshape(x.shape)


def check_gradients(
    loss_and_gradients: Callable[[dict[str, np.ndarray]], tuple[float, dict[str, np.ndarray]]],
    parameters: dict[str, Float64[np.ndarray, "*_"]],
    *,
    step: float = 1e-5,
    tolerance: float = 1e-5,
    max_entries: int | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Compare the gradients that a function returns with central differences of its loss.

    The relative error of an entry is ``|returned - numerical| / max(|returned|, |numerical|,
    floor)``; the floor is 1e-4 times the loss, and at least 1e-4.

    Equation: eq-language-models-gradient-check

    Args:
        loss_and_gradients: takes parameters by name, returns the loss and its gradients by name.
        parameters: float64 arrays by name; they are not modified.
        step: as in :func:`numerical_gradient`.
        tolerance: the largest relative error that passes, above 0.
        max_entries: how many entries of each parameter to check, drawn at random; ``None`` checks
            them all.
        seed: decides which entries are drawn.

    Returns:
        The worst relative error of each parameter.

    Raises:
        AssertionError: a gradient is off. For each parameter that fails, the message gives the
            worst entry's index, both values and their relative error.
        TypeError: a parameter is not a float64 array, or the loss is not a number.
        ValueError: there are no parameters; a parameter, a loss or a gradient holds NaN or
            infinity; gradients and parameters differ in names or shapes; an option is out of range;
            or two calls with the same parameters give different losses, as dropout would.
    """
    step = number("step", step, above=0)
    tolerance = number("tolerance", tolerance, above=0)
    if max_entries is not None:
        max_entries = integer("max_entries", max_entries, at_least=1)
    if not parameters:
        raise ValueError("parameters must hold at least one array, got none")
    parameters = {
        name: _float64_copy(f"parameters[{name!r}]", value) for name, value in parameters.items()
    }

    def evaluate() -> tuple[float, dict[str, np.ndarray]]:
        return loss_and_gradients({name: value.copy() for name, value in parameters.items()})

    loss, returned = evaluate()
    # Copied, because the next call may refill the same arrays.
    returned = {name: g.copy() for name, g in gradients_for(parameters, returned).items()}
    loss, loss_again = number("the loss", loss), number("the loss", evaluate()[0])
    if loss != loss_again:
        raise ValueError(f"the loss must repeat, got {loss} and {loss_again} from the same input")

    rng = np.random.default_rng(seed)
    floor = FLOOR * max(1.0, abs(loss))
    worst_errors, failures = {}, []
    for name, parameter in parameters.items():
        label = f"parameters[{name!r}]"
        entries = _entries(parameter.size, max_entries, rng)
        numerical = _central_differences(lambda: evaluate()[0], label, parameter, entries, step)
        given = returned[name].reshape(-1)[entries]
        sizes = np.maximum(np.maximum(np.abs(given), np.abs(numerical)), floor)
        errors = np.abs(given - numerical) / sizes
        worst = int(errors.argmax())
        worst_errors[name] = float(errors[worst])
        if errors[worst] > tolerance:
            where = place(f"gradients[{name!r}]", np.unravel_index(entries[worst], parameter.shape))
            failures.append(
                f"{where} is {given[worst]:.9g}, but the loss changes at a rate of "
                f"{numerical[worst]:.9g} (relative error {errors[worst]:.2g}, tolerance "
                f"{tolerance:g}; {(errors > tolerance).sum()} of {len(entries)} entries are off)"
            )
    if failures:
        raise AssertionError("\n".join(failures))
    return worst_errors


def _central_differences(
    f: Callable[[], float], name: str, x: np.ndarray, entries: np.ndarray, step: float
) -> np.ndarray:
    """Return the derivative of ``f`` by each flat entry of ``x``, the array that ``f`` looks at."""
    flat = x.reshape(-1)
    derivatives = np.empty(len(entries))
    for i, entry in enumerate(entries):
        centre = flat[entry]
        h = step * max(1.0, abs(centre))
        above, below = centre + h, centre - h
        values = []
        for flat[entry] in (above, below):
            where = f"{place(name, np.unravel_index(entry, x.shape))} = {flat[entry]}"
            values.append(number(f"the value at {where}", f()))
        flat[entry] = centre
        # Not 2 * h: the sums above are rounded.
        derivatives[i] = (values[0] - values[1]) / (above - below)
    return derivatives


def _entries(size: int, max_entries: int | None, rng: np.random.Generator) -> np.ndarray:
    if max_entries is None or max_entries >= size:
        return np.arange(size)
    return np.sort(rng.choice(size, max_entries, replace=False))


def _float64_copy(name: str, value: Any) -> np.ndarray:
    """Return a copy in C order, whose flat view is a view."""
    if not isinstance(value, np.ndarray) or value.dtype != np.float64:
        got = (
            f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        )
        raise TypeError(
            f"{name} must be an array of float64, got {got}; in fewer digits the difference of two "
            "nearly equal losses is mostly rounding error, so convert with .astype(np.float64)"
        )
    return finite_array(name, value).copy()
