"""How long the page's script takes for each thing a reader does in a GateView.

Run as `python -m benchmarks.gate_view` from the repository's root; it needs Chromium.
"""

from __future__ import annotations

from benchmarks import _measure
from benchmarks._widgets import TIMES, measured, median_and_worst, own_size, stored_size
from tests.chromium import launch
from tests.gate_views import large_view

LENGTHS = (200, 600)
# What is done, and how; `any` is a random number below 1.
INTERACTIONS = {
    "a key typed at the end": "type(text.length)",
    "a key typed in the middle": "type(Math.floor(text.length / 2))",
    "a key typed at the start": "type(0)",
    "another unit": "slide()",
    "another quantity": "choose('Show')",
    "a search for another property": "choose('Find units that follow')",
    "one more character marked": "key(strip, 'ArrowLeft', true)",
    "mouse over a character": "pointer(strip)",
    "mouse over the picture": "pointer(canvas)",
    "arrow key in the picture": "key(frame, step % 2 ? 'ArrowDown' : 'ArrowUp', false)",
}
# Makes `prepare(doing)` and `act()`, as _widgets.measured() asks for.
PROGRAM = """() => {
    const one = (selector) => document.querySelector(`.lmc-gates ${selector}`);
    const [strip, frame, canvas] = [".lmc-text", ".lmc-frame", ".lmc-frame canvas"].map(one);
    const [area, unit] = ["textarea", "[type=range]"].map(one);
    const text = area.value;
    let [seed, step] = [1, 0];
    const any = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
    const send = (node, kind) => node.dispatchEvent(new Event(kind, { bubbles: true }));
    // A letter more, and then the text as it was.
    function type(place) {
        const typed = step % 2 ? `${text.slice(0, place)}q${text.slice(place)}` : text;
        return () => {
            area.value = typed;
            send(area, "input");
        };
    }
    function slide() {
        const to = Math.floor(128 * any());
        return () => {
            unit.value = to;
            send(unit, "input");
        };
    }
    function choose(label) {
        const names = [...document.querySelectorAll(".lmc-gates label")];
        const select = document.getElementById(names.find((n) => n.textContent === label).htmlFor);
        return () => {
            select.selectedIndex = step % (label === "Show" ? 7 : 5);
            send(select, "change");
        };
    }
    function key(node, name, shiftKey) {
        const pressed = { key: name, shiftKey, bubbles: true };
        return () => node.dispatchEvent(new KeyboardEvent("keydown", pressed));
    }
    function pointer(node) {
        const { left, top, width, height } = node.getBoundingClientRect();
        const [clientX, clientY] = [left + any() * width, top + any() * height];
        const target = node === canvas ? canvas : document.elementFromPoint(clientX, clientY);
        const options = { clientX, clientY, bubbles: true, pointerType: "mouse" };
        const kind = node === canvas ? "pointermove" : "pointerover";
        return () => target.dispatchEvent(new PointerEvent(kind, options));
    }
    const names = "type, slide, choose, key, pointer, text, strip, frame, canvas, step, doing";
    const ready = new Function(names, "return eval(doing)");
    let run;
    window.prepare = (doing) => {
        step += 1;
        run = ready(type, slide, choose, key, pointer, text, strip, frame, canvas, step, doing);
    };
    window.act = async () => {
        run();
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    };
}"""


def main() -> None:
    rows = []
    with launch() as browser:
        for name, doing in INTERACTIONS.items():
            cells = []
            for length in LENGTHS:
                cells += median_and_worst(measured(browser, large_view(length), PROGRAM, doing))
            rows.append((name, *cells))
    header = ["interaction"]
    for length in LENGTHS:
        header += [f"{length} characters: script", "all"]
    size, gzipped = stored_size(large_view(LENGTHS[-1]))
    _measure.report(
        "gate_view",
        "GateView in the page",
        f"Milliseconds of processor time that the page's main thread takes in headless Chromium "
        f"for each of {TIMES} interactions, median / worst: the script alone, and all with the "
        "styles, the layout and the painting that follow. Processor time leaves out what else the "
        "machine does. The page runs the LSTM, of 128 units, from the first character that has "
        "changed. A window of 1280 pixels.",
        _measure.table(header, rows),
        f"The widget's own script and style add {own_size('gate_view') / 1000:.1f} kB to a page, "
        f"gzipped; its stored output has {size / 1000:.0f} kB ({gzipped / 1000:.0f} kB gzipped).",
        packages=("playwright",),
    )


if __name__ == "__main__":
    main()
