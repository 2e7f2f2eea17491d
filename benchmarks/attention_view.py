"""How long the page's script takes for each thing a reader does in an AttentionView.

Run as `python -m benchmarks.attention_view` from the repository's root; it needs Chromium.
"""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Float
from playwright.sync_api import Browser, CDPSession

from benchmarks import _measure
from lmcourse.book import extension
from lmcourse.widgets import AttentionView
from tests.attention_views import long_view
from tests.chromium import OfflinePage, launch

LENGTHS = (64, 128, 256)
TIMES = 100
WINDOW = {"viewport": {"width": 1280, "height": 1600}}
# What is done, in which view, and how; `any` is a random number below 1.
INTERACTIONS = {
    "mouse over a weight": ("matrix", "pointer(canvas, any(), any())"),
    "mouse over an arc's token": ("arcs", "pointer(canvas, 0.1, any())"),
    "mouse over a token of the text": ("matrix", "pointer(text, any(), any())"),
    "arrow key in the matrix": ("matrix", "key(frame, 'ArrowDown', 'ArrowRight')"),
    "arrow key in the arcs": ("arcs", "key(frame, 'ArrowDown', 'ArrowUp')"),
    "arrow key in the text": ("matrix", "key(text, 'ArrowRight')"),
    "another head, in the matrix": ("matrix", "key(heads, 'ArrowRight', 'ArrowLeft', 'ArrowDown')"),
    "another head, in the arcs": ("arcs", "key(heads, 'ArrowRight', 'ArrowLeft', 'ArrowDown')"),
    "all heads of another layer, matrix": ("matrix", "layer('all')"),
    "all heads of another layer, arcs": ("arcs", "layer('all')"),
    "mean of another layer's heads": ("matrix", "layer('mean')"),
    "matrix to arcs and back": ("matrix", "toggle()"),
}
# Makes `prepare(doing)`, which gets one interaction ready, and `act()`, which does it and waits
# until it is on the screen.
PROGRAM = """() => {
    const one = (selector) => document.querySelector(`.lmc-attention ${selector}`);
    const [canvas, frame, text] = [".lmc-frame canvas", ".lmc-frame", ".lmc-text"].map(one);
    const heads = one("[role=grid]");
    const [layers, head] = document.querySelectorAll(".lmc-attention select");
    let [seed, step] = [1, 0];
    const any = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
    const choose = (select, value) => {
        select.value = value;
        select.dispatchEvent(new Event("change"));
    };
    function pointer(node, across, down) {
        const { left, top, width, height } = node.getBoundingClientRect();
        const [clientX, clientY] = [left + across * width, top + down * height];
        const target = node === canvas ? canvas : document.elementFromPoint(clientX, clientY);
        const options = { clientX, clientY, bubbles: true, pointerType: "mouse" };
        const kind = node === canvas ? "pointermove" : "pointerover";
        return () => target.dispatchEvent(new PointerEvent(kind, options));
    }
    function key(node, ...keys) {
        const pressed = { key: keys[step % keys.length], bubbles: true };
        return () => node.dispatchEvent(new KeyboardEvent("keydown", pressed));
    }
    function layer(heads) {
        if (head.value !== heads) choose(head, heads);
        return () => choose(layers, step % layers.options.length);
    }
    function toggle() {
        const buttons = document.querySelectorAll(".lmc-toggles button");
        return () => buttons[step % 2].click();
    }
    const names = "pointer, key, layer, toggle, canvas, frame, text, heads, any, doing";
    const ready = new Function(names, "return eval(doing)");
    text.scrollIntoView({ block: "start" });
    let run;
    window.prepare = (doing) => {
        step += 1;
        run = ready(pointer, key, layer, toggle, canvas, frame, text, heads, any, doing);
    };
    window.act = async () => {
        run();
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    };
}"""


def main() -> None:
    rows = []
    with launch() as browser:
        for name, (view, doing) in INTERACTIONS.items():
            cells = []
            for length in LENGTHS:
                taken = measured(browser, long_view(length, view=view), doing)
                cells += [f"{np.median(part):.1f} / {part.max():.1f}" for part in taken.T]
            rows.append((name, *cells))
    header = ["interaction"]
    for length in LENGTHS:
        header += [f"{length} tokens: script", "all"]
    sizes = [stored_size(long_view(length)) for length in LENGTHS]
    _measure.report(
        "attention_view",
        "AttentionView in the page",
        f"Milliseconds of processor time that the page's main thread takes in headless Chromium "
        f"for each of {TIMES} interactions, median / worst: the script alone, and all with the "
        "styles, the layout and the painting that follow. Processor time leaves out what else the "
        "machine does. Four layers of four heads, causal, in a window of 1280 pixels. The goal is "
        "a script of less than 16.",
        _measure.table(header, rows),
        f"The widget's own script and style add {own_size() / 1000:.1f} kB to a page, gzipped.",
        _measure.table(
            ("tokens", "weights", "stored output, kB", "gzipped, kB"),
            [
                (str(length), f"{16 * length**2:,}", *(f"{size / 1000:.0f}" for size in pair))
                for length, pair in zip(LENGTHS, sizes, strict=True)
            ],
        ),
        packages=("playwright",),
    )


def measured(browser: Browser, view: AttentionView, doing: str) -> Float[np.ndarray, "times 2"]:
    """Return the milliseconds of the script, and of all that the main thread does, each time."""
    with tempfile.TemporaryDirectory() as folder, OfflinePage(browser, **WINDOW) as offline:
        path = Path(folder) / "page.html"
        path.write_text(page_of(view), "utf-8")
        page = offline.page
        page.goto(path.as_uri())
        page.evaluate(PROGRAM)
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


def page_of(view: AttentionView) -> str:
    output = view._repr_mimebundle_()[0]["text/html"]
    style, script = extension.widget_style(), extension.widget_script()
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>AttentionView</title>'
        f"<style>{style}</style><body>{output}<script>{script}</script></body></html>"
    )


def stored_size(view: AttentionView) -> tuple[int, int]:
    output = view._repr_mimebundle_()[0]["text/html"].encode()
    return len(output), len(gzip.compress(output, mtime=0))


def own_size() -> int:
    parts = [(extension.WIDGETS / f"attention_view.{kind}").read_bytes() for kind in ("js", "css")]
    return sum(len(gzip.compress(part, mtime=0)) for part in parts)


if __name__ == "__main__":
    main()
