"""What the benchmarks share: timing peers side by side, and writing what was found."""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

from lmcourse import _files

RESULTS = Path(__file__).parent / "results"
LOAD_BEFORE = os.getloadavg()[0]


def best_times(
    peers: dict[str, Callable[[], Callable[[], Any]]], *, rounds: int = 5
) -> dict[str, float]:
    """Time each peer once a round, in turn, and return the best time of each in seconds.

    Taking turns spreads what else the machine does over all of them.

    Args:
        peers: for each name a function that prepares, untimed, and returns the function to time.
        rounds: how often each of them runs.
    """
    best = dict.fromkeys(peers, float("inf"))
    for _ in range(rounds):
        for name, prepare in peers.items():
            function = prepare()
            gc.collect()
            start = perf_counter()
            result = function()
            best[name] = min(best[name], perf_counter() - start)
            del result  # only now: freeing it is not part of the work
    return best


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a Markdown table, the first column to the left and the others to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def machine(packages: Iterable[str]) -> str:
    """Describe the processor, how busy it was before, Python and the versions of ``packages``."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, "
        f"load average {LOAD_BEFORE:.1f} before the run; "
        f"Python {platform.python_version()}, {versions}"
    )


def report(name: str, title: str, *parts: str, packages: Iterable[str]) -> None:
    """Print the findings and write them, dated, to ``results/{name}.md``."""
    measured = f"Measured on {date.today().isoformat()}: {machine(packages)}."
    text = "\n\n".join([f"# {title}", measured, *parts]) + "\n"
    RESULTS.mkdir(exist_ok=True)
    _files.write_text(RESULTS / f"{name}.md", text)
    print(text)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
