"""What `import lmcourse` costs, beside numpy and torch. The goal is less than 0.3 seconds.

Run as `python -m benchmarks.import_time` from the repository's root.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial

from benchmarks import _measure

MODULES = (
    "lmcourse",
    "lmcourse.probability",
    "lmcourse.language_models",
    "lmcourse.tokenizers",
    "numpy",
    "torch",
)
NOTHING = "pass"


def main() -> None:
    statements = [NOTHING, *(f"import {module}" for module in MODULES)]
    times = _measure.best_times({s: partial(interpreter, s) for s in statements}, rounds=7)
    rows = [
        (f"`{statement}`", f"{seconds - times[NOTHING]:.3f}")
        for statement, seconds in times.items()
        if statement != NOTHING
    ]
    _measure.report(
        "import_time",
        "Import time",
        f"Seconds beyond the {times[NOTHING]:.3f} s of a bare interpreter, each in a process of "
        "its own.",
        _measure.table(("statement", "seconds"), rows),
        packages=("numpy", "torch"),
    )


def interpreter(statement: str) -> Callable[[], object]:
    return partial(subprocess.run, [sys.executable, "-c", statement], check=True)


if __name__ == "__main__":
    main()
