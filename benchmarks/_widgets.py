"""What the benchmarks of widgets share: a page, and the processor time of what a reader does."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Float
from playwright.sync_api import Browser, CDPSession

from lmcourse.book import extension
from lmcourse.widgets._widget import Widget
from tests.chromium import OfflinePage

TIMES = 100
WINDOW = {"viewport": {"width": 1280, "height": 1600}}


def measured(
    browser: Browser, view: Widget, program: str, doing: str
) -> Float[np.ndarray, "times 2"]:
    """Return the milliseconds of the script, and of all that the main thread does, each time.

    Args:
        browser: that the page is opened in.
        view: the only widget of the page.
        program: a JavaScript function that makes ``prepare(doing)``, which gets one interaction
            ready, and ``act()``, which does it and waits until it is on the screen.
        doing: the interaction, in the words of the program.
    """
    with tempfile.TemporaryDirectory() as folder, OfflinePage(browser, **WINDOW) as offline:
        path = Path(folder) / "page.html"
        path.write_text(page_of(view), "utf-8")
        page = offline.page
        page.goto(path.as_uri())
        page.evaluate(program)
        session = offline.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def spent(doing: str) -> Float[np.ndarray, " 2"]:
            page.evaluate("prepare", doing)
            before = _processor_times(session)
            page.evaluate("act")
            return 1000 * (_processor_times(session) - before)

        nothing = np.median([spent("() => {}") for _ in range(TIMES)], axis=0)
        taken = np.array([spent(doing) for _ in range(TIMES)])
        assert offline.errors == []
    return np.maximum(taken - nothing, 0)


def _processor_times(session: CDPSession) -> Float[np.ndarray, " 2"]:
    """Return the seconds of processor time of the page's scripts, and of its whole main thread."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    times = {metric["name"]: metric["value"] for metric in metrics}
    return np.array([times["ScriptDuration"], times["TaskDuration"]])


def page_of(view: Widget) -> str:
    """Return a page that holds one widget and nothing else."""
    output = view._repr_mimebundle_()[0]["text/html"]
    style, script = extension.widget_style(), extension.widget_script()
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{type(view).__name__}</title>'
        f"<style>{style}</style><body>{output}<script>{script}</script></body></html>"
    )


def stored_size(view: Widget) -> tuple[int, int]:
    """Return the bytes of a widget's stored output, and of the same gzipped."""
    output = view._repr_mimebundle_()[0]["text/html"].encode()
    return len(output), len(gzip.compress(output, mtime=0))


def own_size(name: str) -> int:
    """Return the bytes of a widget's own script and style, gzipped."""
    parts = [(extension.WIDGETS / f"{name}.{kind}").read_bytes() for kind in ("js", "css")]
    return sum(len(gzip.compress(part, mtime=0)) for part in parts)


def median_and_worst(taken: Float[np.ndarray, "times 2"]) -> list[str]:
    """Return the cells of a table: of the script, and of all."""
    return [f"{np.median(part):.1f} / {part.max():.1f}" for part in taken.T]
