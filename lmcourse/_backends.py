"""Which of two implementations of a training loop runs: numpy's, or the one that numba compiles."""

from __future__ import annotations

import importlib.util
import warnings

from lmcourse import _arguments

BACKENDS = ("numpy", "numba")


def choose_backend(backend: str | None) -> str:
    """Return ``backend`` or, if it is ``None``, ``"numba"`` where that is installed.

    The first time that numpy has to step in, a warning says so.

    Raises:
        ValueError: there is no such backend.
    """
    if backend is not None:
        return _arguments.one_of("backend", backend, BACKENDS)
    if importlib.util.find_spec("numba"):
        return "numba"
    # Python shows the same warning of the same line once.
    warnings.warn(
        "numba is not installed, so training runs in numpy and takes much longer; "
        'install it with pip install "lmcourse[fast]"',
        stacklevel=3,
    )
    return "numpy"
