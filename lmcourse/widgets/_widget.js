// What the widgets' scripts share. In Jupyter this text and a widget's own are one module; a page of
// the book holds it once, before all widgets. So it has neither an import nor an export.

// --- Numbers and words -----------------------------------------------------------------------

const range = (from, to, divisor = 1) =>
  Array.from({ length: to - from + 1 }, (_, i) => (from + i) / divisor);

/** exp((logits - max) / temperature) divided by its sum. */
function softmax(logits, temperature = 1) {
  const max = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = logits.map((logit) => Math.exp((logit - max) / temperature));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
}

const VISIBLE = { " ": "␣", "\n": "⏎", "\t": "⇥" };

/** The token with blanks and invisible characters made visible, as _widget.py's visible(). */
function visible(token) {
  if (token === "") return "∅";
  return token.replace(/[\p{C}\p{Z}]/gu, (character) => {
    const number = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    return VISIBLE[character] ?? `U+${number}`;
  });
}

// --- Elements --------------------------------------------------------------------------------

/** An element with attributes and children; strings become text, never HTML. */
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function button(label, onClick) {
  const node = element("button", { type: "button" }, label);
  node.addEventListener("click", onClick);
  return node;
}

// Not a running number: in Jupyter each widget counts for itself.
const newId = () => `lmc-${Math.random().toString(36).slice(2)}`;

/** The heading of a table's column. */
const heading = (words) => element("th", { scope: "col" }, words);

const SPOKEN_AFTER_MS = 400;

/** Text for screen readers alone; of many changes in a row they hear the last one's `words()`. */
function announcer() {
  const node = element("p", { class: "lmc-spoken", role: "status", "aria-live": "polite" });
  let waiting = null;

  function stop() {
    clearTimeout(waiting);
  }

  function announce(words) {
    stop();
    waiting = setTimeout(() => (node.textContent = words()), SPOKEN_AFTER_MS);
  }
  return { node, announce, stop };
}

// --- The model -------------------------------------------------------------------------------

function setTraits(model, values) {
  for (const [trait, value] of Object.entries(values)) model.set(trait, value);
  model.save_changes();
}

/** Call `onChange` whenever one of these traits changes, until the returned function is called. */
function listen(model, traits, onChange) {
  traits.forEach((trait) => model.on(`change:${trait}`, onChange));
  return () => traits.forEach((trait) => model.off(`change:${trait}`, onChange));
}

// --- Sliders ---------------------------------------------------------------------------------

/** A slider with its label and its setting in words; `fill(position, last, words)` sets it. */
function slider(label, onMove) {
  const id = newId();
  const input = element("input", { type: "range", id, min: 0, step: 1 });
  // Hidden from screen readers, which say the slider's aria-valuetext.
  const setting = element("span", { class: "lmc-setting", "aria-hidden": "true" });
  input.addEventListener("input", () => onMove(input.valueAsNumber));
  const name = element("label", { for: id }, label);
  const node = element("div", { class: "lmc-slider" }, name, setting, input);

  function fill(position, last, shown, spoken = shown) {
    input.max = last;
    input.value = position;
    input.setAttribute("aria-valuetext", spoken);
    setting.textContent = shown;
  }
  return { node, input, setting, fill };
}

/** The stops with a value among them: a notebook may have set any. Null, if a stop, stays put. */
function stopsWith(stops, value) {
  if (stops.includes(value)) return stops;
  const place = stops.findIndex((stop) => stop !== null && stop > value);
  if (place >= 0) return [...stops.slice(0, place), value, ...stops.slice(place)];
  const end = stops.at(-1) === null ? stops.length - 1 : stops.length;
  return [...stops.slice(0, end), value, ...stops.slice(end)];
}

/** A slider that moves over the stops of one trait; the stop `marked`, if given, has a mark. */
function traitSlider(model, { trait, label, stops, show, marked }, set) {
  let present = [];
  const onMove = (position) => set({ [trait]: present[position] });
  const { node, input, setting, fill } = slider(label, onMove);
  const mark = element("option");
  const marks = element("datalist", { id: `${input.id}-marks` }, mark);
  if (marked !== undefined) {
    input.setAttribute("list", marks.id);
    node.append(marks);
  }

  function update() {
    const value = model.get(trait);
    if (!present.includes(value)) present = stopsWith(stops(model), value);
    fill(present.indexOf(value), present.length - 1, show(value));
    setting.classList.toggle("lmc-null", value === null);
    mark.value = present.indexOf(marked);
  }
  return { node, update };
}

/** Sliders for some traits, and the button that sets them back; `set` is called with new values. */
function traitSliders(model, specs, set) {
  const initial = Object.fromEntries(specs.map(({ trait }) => [trait, model.get(trait)]));
  const sliders = specs.map((spec) => traitSlider(model, spec, set));
  const node = element("div", { class: "lmc-sliders" }, ...sliders.map((one) => one.node));
  const reset = button("Reset sliders", () => set(initial));

  function update() {
    sliders.forEach((one) => one.update());
    reset.disabled = specs.every(({ trait }) => model.get(trait) === initial[trait]);
  }
  return { node, reset, update, traits: Object.keys(initial) };
}

// --- Choices and keys -------------------------------------------------------------------------

/** A choice among a few: `options` are pairs of a value and its name. */
function selection(label, options, onChoose) {
  const id = newId();
  const items = options.map(([value, name]) => element("option", { value }, name));
  const select = element("select", { id }, ...items);
  select.addEventListener("change", () => onChoose(options[select.selectedIndex][0]));
  const node = element(
    "span",
    { class: "lmc-field" },
    element("label", { for: id }, label),
    select,
  );
  return { node, fill: (value) => (select.value = value) };
}

// JupyterLab would take the keys for its own: "b" adds a cell, "0 0" restarts the kernel.
const OWN_KEYS = { tabindex: 0, "data-lm-suppress-shortcuts": "true" };

/** Call `onKey(key, shift)` of keys pressed without Ctrl or the like; it says if it took the key. */
function followKeys(node, onKey) {
  node.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (onKey(event.key, event.shiftKey)) event.preventDefault();
  });
}

// --- Drawings --------------------------------------------------------------------------------

/** Give an SVG element new attributes; `style` is an object. */
function redraw(node, { style = {}, ...attributes }) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  for (const [name, value] of Object.entries(style)) node.style.setProperty(name, value);
}

/** An SVG element with attributes and children. */
function shape(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  redraw(node, attributes);
  node.append(...children);
  return node;
}

const writing = (words, x, y, anchor, style) =>
  shape("text", { x, y, "text-anchor": anchor, style }, words);

/** A drawing as an image, which a canvas can draw. */
async function imageOf(svg) {
  const image = new Image();
  const source = new XMLSerializer().serializeToString(svg);
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(source)}`;
  await image.decode();
  return image;
}

// --- Colours and files -----------------------------------------------------------------------

// A saved picture is drawn on white whatever the page's colours are.
const COLOURS_OF_PICTURE = {
  ink: "#1f2328",
  muted: "#59636e",
  paper: "#ffffff",
  line: "#d1d9e0",
  outline: "#8c959f",
  blue: "#0072b2",
  orange: "#d55e00",
};

/** The same colours as the style sheet has them, light or dark. */
const COLOURS_OF_PAGE = Object.fromEntries(
  Object.keys(COLOURS_OF_PICTURE).map((name) => [name, `var(--lmc-${name})`]),
);

const swatch = element("canvas", { width: 1, height: 1 }).getContext("2d", {
  willReadFrequently: true,
});

/** A CSS colour as its red, green and blue. */
function rgb(colour) {
  swatch.fillStyle = colour;
  swatch.fillRect(0, 0, 1, 1);
  return [...swatch.getImageData(0, 0, 1, 1).data.subarray(0, 3)];
}

const mix = (a, b, share) => a.map((part, i) => part + (b[i] - part) * share);

/** 256 colours from the first stop to the last, as an image has them. */
function ramp(stops) {
  return range(0, 255, 255).map((share) => {
    const next = Math.max(
      stops.findIndex(([at]) => at >= share),
      1,
    );
    const [[from, a], [to, b]] = [stops[next - 1], stops[next]];
    return mix(a, b, (share - from) / (to - from)).map(Math.round);
  });
}

const css = ([red, green, blue]) => `rgb(${red},${green},${blue})`;

/** The page's colours as they are at present, light or dark. */
function coloursOf(node) {
  const style = getComputedStyle(node);
  return Object.fromEntries(
    Object.keys(COLOURS_OF_PICTURE).map((name) => [
      name,
      css(rgb(style.getPropertyValue(`--lmc-${name}`).trim())),
    ]),
  );
}

/** Colours as an image has them, one number a pixel. */
const packed = (ramp) =>
  new Uint32Array(Uint8Array.from(ramp.flatMap((colour) => [...colour, 255])).buffer);

/**
 * Call `paint(colours)` when the frame has its width, and whenever that or the page's colours
 * change, until the returned function is called.
 */
function followPage(root, frame, paint) {
  let painted = "";

  function repaint() {
    const colours = coloursOf(root);
    const present = JSON.stringify([frame.clientWidth, colours]);
    if (frame.clientWidth === 0 || present === painted) return;
    painted = present;
    paint(colours);
  }
  const resized = new ResizeObserver(repaint);
  resized.observe(frame);
  // Hosts change these elements' attributes with the theme, and for other reasons, too.
  const themed = new MutationObserver(() => requestAnimationFrame(repaint));
  for (const node of [document.documentElement, document.body]) {
    themed.observe(node, { attributes: true });
  }
  return () => {
    resized.disconnect();
    themed.disconnect();
  };
}

/** The context of a canvas that is given a size on the page, as sharp as the screen. */
function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio;
  const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== across || canvas.height !== down) {
    Object.assign(canvas, { width: across, height: down });
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  }
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  return g;
}

/** An empty canvas of two pixels a unit, and the context that draws on it. */
function emptyPicture(width, height) {
  const canvas = element("canvas", { width: 2 * width, height: 2 * height });
  const g = canvas.getContext("2d");
  g.scale(2, 2);
  g.fillStyle = COLOURS_OF_PICTURE.paper;
  g.fillRect(0, 0, width, height);
  return { canvas, g };
}

/** A string as a cell of a CSV file. */
const quoted = (text) => `"${text.replaceAll('"', '""')}"`;

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Buttons that save a canvas, or a promise of one, and the text of a CSV file. */
function saveButtons(name, toCanvas, toCSV) {
  async function savePicture() {
    const canvas = await toCanvas();
    canvas.toBlob((blob) => download(blob, `${name}.png`), "image/png");
  }

  function saveTable() {
    download(new Blob([toCSV()], { type: "text/csv;charset=utf-8" }), `${name}.csv`);
  }
  return [button("Save PNG", savePicture), button("Save CSV", saveTable)];
}
