"""How long the page's script takes for each thing a reader does in an AttentionView.

Run as `python -m benchmarks.attention_view` from the repository's root; it needs Chromium.
"""

from __future__ import annotations

from benchmarks import _measure
from benchmarks._widgets import TIMES, measured, median_and_worst, own_size, stored_size
from tests.attention_views import long_view
from tests.chromium import launch

LENGTHS = (64, 128, 256)
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
# Makes `prepare(doing)` and `act()`, as _widgets.measured() asks for.
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
                taken = measured(browser, long_view(length, view=view), PROGRAM, doing)
                cells += median_and_worst(taken)
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
        f"The widget's own script and style add {own_size('attention_view') / 1000:.1f} kB to a "
        "page, gzipped.",
        _measure.table(
            ("tokens", "weights", "stored output, kB", "gzipped, kB"),
            [
                (str(length), f"{16 * length**2:,}", *(f"{size / 1000:.0f}" for size in pair))
                for length, pair in zip(LENGTHS, sizes, strict=True)
            ],
        ),
        packages=("playwright",),
    )


if __name__ == "__main__":
    main()
