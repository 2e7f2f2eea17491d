// GateView: what each unit of a character LSTM does at each character of a text.
// Read it with _widget.js, which stands before it in Jupyter's module and in the book's pages.

// --- The network, to be read beside gate_view.py ---------------------------------------------

// What a step computes, in this order.
const PARTS = ["input", "forget", "candidate", "output", "cell", "tanh_cell", "hidden"];
const [INPUT, FORGET, CANDIDATE, OUTPUT, CELL, TANH_CELL, HIDDEN] = PARTS.keys();
const SKIPPED = -1; // the id of a character that the network does not read

const sigmoid = (x) => 0.5 + 0.5 * Math.tanh(0.5 * x);

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

/**
 * The weights, laid out for steps. `inputs` is what each character adds to the gates, bias
 * included, and `recurrent` what each hidden number adds; both have the four gates of a unit side
 * by side.
 */
function readNetwork(model) {
  const [characters, units, width] = ["characters", "units", "width"].map((name) =>
    model.get(name),
  );
  const count = characters.length;
  const codes = new Int16Array(bytesOf(model.get("codes")).buffer);
  const floats = new Float32Array(bytesOf(model.get("floats")).buffer);
  let [code, float] = [0, 0];
  const vector = (length) => floats.subarray(float, (float += length));
  const scales = [width, 4 * units, 4 * units, count].map(vector);
  const [bias, denseBias] = [4 * units, count].map(vector);

  function matrix(rows, scale) {
    const weights = new Float64Array(rows * scale.length);
    for (let k = 0; k < weights.length; k++) weights[k] = codes[code++] * scale[k % scale.length];
    return weights;
  }
  const rows = [count, width, units, units];
  const [embedding, kernel, recurrentKernel, dense] = rows.map((one, i) => matrix(one, scales[i]));

  const inputs = new Float64Array(count * 4 * units);
  const recurrent = new Float64Array(units * 4 * units);
  for (let unit = 0; unit < units; unit++) {
    for (let gate = 0; gate < 4; gate++) {
      const column = gate * units + unit;
      for (let id = 0; id < count; id++) {
        let sum = bias[column];
        for (let k = 0; k < width; k++) {
          sum += embedding[id * width + k] * kernel[k * 4 * units + column];
        }
        inputs[4 * (id * units + unit) + gate] = sum;
      }
      for (let k = 0; k < units; k++) {
        recurrent[4 * (unit * units + k) + gate] = recurrentKernel[k * 4 * units + column];
      }
    }
  }
  const ids = new Map(characters.map((character, id) => [character, id]));
  const other = ids.get("") ?? SKIPPED; // of every character that is not among them
  const start = new Float64Array(PARTS.length * units);
  return { characters, units, ids, other, start, inputs, recurrent, dense, denseBias };
}

/** Read one character: all parts of all units, part by part, from those of the step before. */
function step({ units, inputs, recurrent }, id, before) {
  const after = new Float64Array(PARTS.length * units);
  let weight = 0;
  for (let unit = 0; unit < units; unit++) {
    const at = 4 * (id * units + unit);
    let [i, f, c, o] = [inputs[at], inputs[at + 1], inputs[at + 2], inputs[at + 3]];
    for (let k = HIDDEN * units; k < before.length; k++, weight += 4) {
      const hidden = before[k];
      i += hidden * recurrent[weight];
      f += hidden * recurrent[weight + 1];
      c += hidden * recurrent[weight + 2];
      o += hidden * recurrent[weight + 3];
    }
    const [input, forget, candidate, output] = [sigmoid(i), sigmoid(f), Math.tanh(c), sigmoid(o)];
    const cell = forget * before[CELL * units + unit] + input * candidate;
    const squashed = Math.tanh(cell);
    after[INPUT * units + unit] = input;
    after[FORGET * units + unit] = forget;
    after[CANDIDATE * units + unit] = candidate;
    after[OUTPUT * units + unit] = output;
    after[CELL * units + unit] = cell;
    after[TANH_CELL * units + unit] = squashed;
    after[HIDDEN * units + unit] = output * squashed;
  }
  return after;
}

/** Read a text. Steps are taken over from the last reading, as far as its text was the same. */
function read(network, text, last = { ids: [], steps: [] }) {
  const characters = [...text];
  const ids = characters.map((character) => network.ids.get(character) ?? network.other);
  const changed = ids.findIndex((id, place) => id !== last.ids[place]);
  const steps = last.steps.slice(0, changed < 0 ? ids.length : changed);
  while (steps.length < ids.length) {
    const [id, before] = [ids[steps.length], steps.at(-1) ?? network.start];
    steps.push(id === SKIPPED ? before : step(network, id, before));
  }
  return { text, characters, ids, steps };
}

/** The likeliest characters after a step, as pairs of an id and a probability. */
function likeliest({ units, dense, denseBias }, after, count) {
  const logits = Array.from(denseBias);
  for (let unit = 0; unit < units; unit++) {
    const hidden = after[HIDDEN * units + unit];
    for (let id = 0; id < logits.length; id++)
      logits[id] += hidden * dense[unit * logits.length + id];
  }
  const pairs = [...softmax(logits).entries()];
  return pairs.sort(([, a], [, b]) => b - a).slice(0, count);
}

// --- The search ------------------------------------------------------------------------------

const COUNT_FOUND = 8;
const SHIFTS = 19;

/** 1 inside double quotation marks, the first of them included; they end with the paragraph. */
function insideQuotation(characters) {
  let inside = false;
  return characters.map((character, i) => {
    if (character === '"') inside = !inside;
    else if (character === "“") inside = true;
    else if (character === "”" || (character === "\n" && characters[i - 1] === "\n"))
      inside = false;
    return Number(inside);
  });
}

/** How many characters there are since the last one that `ends` is true of; 0 at such a one. */
function distanceFrom(characters, ends) {
  let distance = 0;
  return characters.map((character) => (distance = ends(character) ? 0 : distance + 1));
}

const oneWhere = (pattern) => (characters) =>
  characters.map((character) => Number(pattern.test(character)));

/** What units are searched for: a number for each character, from the text and what is marked. */
const PROPERTIES = {
  quotation: { name: "inside quotation marks", of: insideQuotation },
  line: {
    name: "position in the line",
    of: (characters) => distanceFrom(characters, (character) => character === "\n"),
  },
  word: { name: "inside a word", of: oneWhere(/[\p{L}\p{M}\p{N}'’]/u) },
  space: {
    name: "distance from the last space",
    of: (characters) => distanceFrom(characters, (character) => /\s/u.test(character)),
  },
  capital: { name: "capital letters", of: oneWhere(/\p{Lu}/u) },
  selection: {
    name: "what I mark in the text",
    of: (characters, [from, to]) => characters.map((_, i) => Number(i >= from && i < to)),
  },
};

/** Values less their mean, scaled to length 1; null, if they are all the same. */
function standardised(values) {
  let [sum, squares] = [0, 0];
  for (const value of values) sum += value;
  const mean = sum / values.length;
  const centred = new Float64Array(values.length);
  for (let i = 0; i < values.length; i++) {
    centred[i] = values[i] - mean;
    squares += centred[i] ** 2;
  }
  const length = Math.sqrt(squares);
  if (length < 1e-12) return null;
  for (let i = 0; i < values.length; i++) centred[i] /= length;
  return centred;
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/**
 * The units whose values correlate best with a property; and, for comparison, the best
 * correlations with the property shifted along the text, smallest first. Null, if the property is
 * the same at all characters that are read.
 */
function searchUnits({ units }, { ids, steps }, part, property) {
  const places = [...ids.keys()].filter((place) => ids[place] !== SKIPPED);
  const wanted = standardised(places.map((place) => property[place]));
  if (wanted === null) return null;
  const columns = range(0, units - 1).map((unit) =>
    standardised(places.map((place) => steps[place][part * units + unit])),
  );
  const twice = Float64Array.of(...wanted, ...wanted); // so that it goes round when it is shifted
  function scores(shift) {
    const shifted = twice.subarray(shift, shift + places.length);
    return columns.map((column) => (column ? dot(column, shifted) : 0));
  }
  const found = [...scores(0).entries()].sort(([, a], [, b]) => Math.abs(b) - Math.abs(a));
  const best = (shift) => Math.max(...scores(shift).map(Math.abs));
  const shifts = range(1, SHIFTS).map((i) => Math.round((i * places.length) / (SHIFTS + 1)));
  const shifted = shifts.map(best).sort((a, b) => a - b);
  return { found: found.slice(0, COUNT_FOUND), shifted, count: places.length };
}

// --- Words and numbers -----------------------------------------------------------------------

const QUANTITIES = {
  input: { name: "input gate i", signed: false },
  forget: { name: "forget gate f", signed: false },
  candidate: { name: "candidate c̃", signed: true },
  output: { name: "output gate o", signed: false },
  cell: { name: "cell state c", signed: true, unbounded: true },
  tanh_cell: { name: "tanh(c)", signed: true },
  hidden: { name: "hidden state h", signed: true },
};

const partOf = (quantity) => PARTS.indexOf(quantity);

// Isolated, so that a character written from right to left does not turn its surroundings round.
const quote = (character) => `“\u2068${visible(character)}\u2069”`;

const plural = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;

const percent = (p) => `${(100 * p).toFixed(1)}%`;

const minus = (number) => number.replace("-", "−");

const decimals = (value) => minus(value.toFixed(2));

const score = (r) => (r < 0 ? decimals(r) : `+${decimals(r)}`);

/** A number inside a product. */
const factor = (value) => (value < 0 ? `(${decimals(value)})` : decimals(value));

const nameOf = (character) => (character === "" ? "another" : quote(character));

/** What is stored and what is shown, as _sentences() of gate_view.py. */
function describe({ units }, { characters }, { unit, quantity }, drift) {
  const [gates, cell, tanhCell, probability] = drift.map((one) => one.toFixed(4));
  const { name } = QUANTITIES[quantity];
  return (
    `${name[0].toUpperCase()}${name.slice(1)} of unit ${unit} (${plural(units, "unit")}; ` +
    `${plural(characters.length, "character")} of text). Weights are stored in 16 bits: on the ` +
    `texts given that moves gates by at most ${gates}, c by ${cell} of its unit’s largest |c|, ` +
    `tanh(c) by ${tanhCell} and the probability of a next character by ${probability}.`
  );
}

/** Where a character stands, and the chosen quantity of a unit there. */
function headline(network, { characters, ids, steps }, place, unit, quantity) {
  const where = `${quote(characters[place])} (${place})`;
  if (ids[place] === SKIPPED) return `${where} is none of the model’s characters; it is skipped`;
  const value = steps[place][partOf(quantity) * network.units + unit];
  const read = network.ids.has(characters[place]) ? "" : ", read as an unknown character";
  return `${where}${read}: ${QUANTITIES[quantity].name} of unit ${unit} = ${decimals(value)}`;
}

/** The unit's two equations with their numbers. */
function equations({ units, start }, { ids, steps }, place, unit) {
  if (ids[place] === SKIPPED) return ["", ""];
  const of = (values, part) => values[part * units + unit];
  const [after, before] = [steps[place], steps[place - 1] ?? start];
  const [i, f, candidate, o, c, squashed, h] = PARTS.map((_, part) => of(after, part));
  return [
    `c = f · c₋₁ + i · c̃ = ${decimals(f)} · ${factor(of(before, CELL))} + ` +
      `${decimals(i)} · ${factor(candidate)} = ${decimals(c)}`,
    `h = o · tanh(c) = ${decimals(o)} · ${factor(squashed)} = ${decimals(h)}`,
  ];
}

const nextInWords = (network, after) =>
  likeliest(network, after, 3)
    .map(([id, p]) => `${nameOf(network.characters[id])} ${percent(p)}`)
    .join(", ");

/** Which characters of a text the network does not know, and what becomes of them. */
function strangers(network, { characters }) {
  const strange = new Set(characters.filter((character) => !network.ids.has(character)));
  if (strange.size === 0) return "";
  const shown = [...strange].slice(0, 12).map(quote).join(" ");
  const more = strange.size > 12 ? ` and ${strange.size - 12} more` : "";
  const fate = network.other === SKIPPED ? "are skipped" : "are all read as one unknown character";
  return `Not among the model’s characters: ${shown}${more}. They ${fate}.`;
}

const NOTHING_MARKED =
  "Mark a stretch of the coloured text with the mouse, or with Shift and the arrow keys.";

/** What a search has found, and how much of it chance alone would give. */
function verdict({ units }, result, search, marked, quantity) {
  if (search === "selection" && marked === null) return NOTHING_MARKED;
  if (result === null) return "All characters of this text are alike in that: nothing to find.";
  const { found, shifted, count } = result;
  const [[best, r]] = found;
  const [middle, most] = [shifted[(SHIFTS - 1) / 2], shifted.at(-1)];
  return (
    `Correlation with the ${QUANTITIES[quantity].name} over ${plural(count, "character")}. The ` +
    `best of ${plural(units, "unit")} follows anything a little: when the property is shifted ` +
    `along the text, in ${SHIFTS} ways, the best unit reaches ${decimals(middle)} in the middle ` +
    `case and ${decimals(most)} at most. ` +
    (Math.abs(r) > most ? `Unit ${best} stands out.` : "So no unit stands out.")
  );
}

// --- Colours ---------------------------------------------------------------------------------

/** The colours of gates, of signed quantities, from orange to blue, and of a property. */
function palettesOf(colours) {
  const [paper, ink, blue, orange] = ["paper", "ink", "blue", "orange"].map((name) =>
    rgb(colours[name]),
  );
  const faint = mix(paper, ink, 0.06);
  const between = (from, to) =>
    ramp([
      [0, from],
      [1, to],
    ]);
  const signed = ramp([
    [0, orange],
    [0.5, faint],
    [1, blue],
  ]);
  return { signed, gate: between(faint, blue), property: between(faint, ink) };
}

const paletteOf = (palettes, quantity) =>
  QUANTITIES[quantity].signed ? palettes.signed : palettes.gate;

/** The value with the last colour: 1, or for c the largest |c| of the unit in the text. */
function scaleOf({ units }, { steps }, quantity, unit) {
  if (!QUANTITIES[quantity].unbounded) return 1;
  const at = partOf(quantity) * units + unit;
  return steps.reduce((largest, step) => Math.max(largest, Math.abs(step[at])), 0) || 1;
}

/** Which of 256 colours a value has, as a share of its scale. */
const level = (share, { signed }) => Math.round(signed ? 127.5 * (share + 1) : 255 * share);

/** The values at the two ends of the colours. */
function endsOf(quantity, scale) {
  const { signed, unbounded } = QUANTITIES[quantity];
  const end = unbounded ? decimals(scale) : "1";
  return [signed ? `−${end}` : "0", end];
}

/** How bright a colour is, as WCAG has it, from 0 to 1. */
function luminance(colour) {
  const [r, g, b] = colour.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Black or white, whichever is easier to read on a colour. */
const inkOn = (colour) => ((luminance(colour) + 0.05) ** 2 > 1.05 * 0.05 ? "#000" : "#fff");

/** A canvas of one pixel for each unit and character; skipped characters are left out. */
function pictureOf(network, reading, quantity, palette) {
  const { units } = network;
  const { ids, steps } = reading;
  const canvas = element("canvas", { width: Math.max(ids.length, 1), height: units });
  const g = canvas.getContext("2d");
  const image = g.createImageData(canvas.width, units);
  const pixels = new Uint32Array(image.data.buffer);
  const colours = packed(palette);
  const start = partOf(quantity) * units;
  const read = ids.flatMap((id, place) => (id === SKIPPED ? [] : [place]));
  for (let unit = 0; unit < units; unit++) {
    const row = unit * canvas.width;
    const scale = scaleOf(network, reading, quantity, unit);
    for (const place of read) {
      const share = steps[place][start + unit] / scale;
      pixels[row + place] = colours[level(share, QUANTITIES[quantity])];
    }
  }
  g.putImageData(image, 0, 0);
  return canvas;
}

// --- The picture of all units ----------------------------------------------------------------

const FONT = 'system-ui, "DejaVu Sans", sans-serif';
const GUTTER = 62; // for the numbers of units
const BAND = 8; // of the property, above the units
const TOP = BAND + 8;
const AXIS = 20;
const WIDEST_CELL = 24;
const HEIGHT = 256;

/** Where the cells lie in a drawing of some width. */
function layoutOf({ units }, { ids }, width) {
  const cellWidth = Math.min((width - GUTTER - 2) / Math.max(ids.length, 1), WIDEST_CELL);
  const cellHeight = Math.max(Math.min(HEIGHT / units, 16), 1);
  return {
    cellWidth,
    cellHeight,
    bottom: TOP + units * cellHeight,
    right: GUTTER + ids.length * cellWidth,
  };
}

/** Ticks at round numbers below `count`, not closer than `gap` pixels. */
function ticks(count, pitch, gap) {
  const steps = [1, 2, 5].flatMap((digit) => [1, 10, 100, 1000].map((power) => digit * power));
  const distance = steps.sort((a, b) => a - b).find((one) => one * pitch >= gap) ?? count;
  return range(0, Math.ceil(count / distance) - 1).map((i) => i * distance);
}

function drawUnits(g, { network, reading, picture, property, palettes, colours, shown }, layout) {
  const { cellWidth, cellHeight, bottom, right } = layout;
  const { units } = network;
  const count = reading.ids.length;
  if (count === 0) return;
  const write = (words, x, y, textAlign, weight = 400) => {
    Object.assign(g, { font: `${weight} 11px ${FONT}`, textAlign });
    g.fillText(words, x, y);
  };
  g.imageSmoothingEnabled = false;
  g.drawImage(picture, GUTTER, TOP, right - GUTTER, bottom - TOP);
  g.fillStyle = colours.muted;
  if (property) {
    const most = Math.max(...property, 1);
    write("property", GUTTER - 6, BAND, "right");
    property.forEach((value, place) => {
      g.fillStyle = css(palettes.property[Math.round((255 * value) / most)]);
      g.fillRect(GUTTER + place * cellWidth, 0, cellWidth + 0.5, BAND);
    });
  }
  g.fillStyle = colours.muted;
  const [x, y] = [GUTTER + shown.place * cellWidth, TOP + shown.unit * cellHeight];
  for (const unit of ticks(units, cellHeight, 24)) {
    const middle = TOP + (unit + 0.5) * cellHeight + 4;
    if (Math.abs(middle - y) > 14) write(unit, GUTTER - 6, middle, "right");
  }
  write("character", GUTTER - 6, bottom + 14, "right");
  for (const place of ticks(count, cellWidth, 40)) {
    write(place, GUTTER + (place + 0.5) * cellWidth, bottom + 14, place === 0 ? "left" : "center");
  }
  g.fillStyle = colours.ink;
  write(`unit ${shown.unit}`, GUTTER - 6, y + cellHeight / 2 + 4, "right", 700);
  Object.assign(g, { strokeStyle: colours.ink, lineWidth: 1 });
  g.strokeRect(GUTTER - 0.5, y - 0.5, right - GUTTER + 1, cellHeight + 1);
  g.strokeRect(x - 0.5, TOP - 0.5, cellWidth + 1, bottom - TOP + 1);
}

// --- Files -----------------------------------------------------------------------------------

const COLUMNS = 78; // of the text in a picture
const LETTER = { width: 8.8, height: 20 };

/** Where each character of a text stands in lines of COLUMNS characters, as [column, line]. */
function wrapped(characters) {
  let [column, line] = [0, 0];
  return characters.map((character) => {
    if (column === COLUMNS) [column, line] = [0, line + 1];
    const place = [column, line];
    [column, line] = character === "\n" ? [0, line + 1] : [column + 1, line];
    return place;
  });
}

/** The coloured text and all units under a title, as a picture for elsewhere. */
function toCanvas(network, reading, settings, scene, words) {
  const [width, side, top] = [720, 16, 68];
  const palettes = palettesOf(COLOURS_OF_PICTURE);
  const palette = paletteOf(palettes, settings.quantity);
  const { ink, muted } = COLOURS_OF_PICTURE;
  const places = wrapped(reading.characters);
  const lines = (places.at(-1)?.[1] ?? 0) + 1;
  const layout = layoutOf(network, reading, width - 2 * side);
  const middle = top + lines * LETTER.height + 16;
  const { canvas, g } = emptyPicture(width, Math.ceil(middle + layout.bottom + AXIS + 12));
  const write = (text, x, y, font, fill, textAlign = "left") => {
    Object.assign(g, { font, fillStyle: fill, textAlign });
    g.fillText(text, x, y, width - 2 * side);
  };
  write(words.title, side, 26, `700 14px ${FONT}`, ink);
  const scale = scaleOf(network, reading, settings.quantity, settings.unit);
  const [start, end] = endsOf(settings.quantity, scale);
  write(start, side + 40, 49, `11px ${FONT}`, muted, "right");
  write(end, side + 212, 49, `11px ${FONT}`, muted);
  palette.forEach((colour, i) => {
    g.fillStyle = css(colour);
    g.fillRect(side + 46 + (160 * i) / 256, 40, 1.2, 10);
  });
  reading.characters.forEach((character, place) => {
    const [x, y] = [side + places[place][0] * LETTER.width, top + places[place][1] * LETTER.height];
    const value = reading.steps[place][partOf(settings.quantity) * network.units + settings.unit];
    const isRead = reading.ids[place] !== SKIPPED;
    const colour = isRead ? palette[level(value / scale, QUANTITIES[settings.quantity])] : [255, 255, 255];
    g.fillStyle = css(colour);
    g.fillRect(x, y, LETTER.width, LETTER.height - 2);
    if (character === " ") return;
    write(
      visible(character)[0],
      x + LETTER.width / 2,
      y + 14,
      "14px monospace",
      inkOn(colour),
      "center",
    );
  });
  g.translate(side, middle);
  const picture = pictureOf(network, reading, settings.quantity, palette);
  drawUnits(g, { ...scene, palettes, picture, colours: COLOURS_OF_PICTURE }, layout);
  return canvas;
}

/** The chosen quantity of all units at each character that is read, at full precision. */
function toCSV({ units }, { characters, ids, steps }, { quantity }) {
  const part = partOf(quantity);
  const header = ["place", "character", ...range(0, units - 1).map((unit) => `unit_${unit}`)];
  const lines = characters.flatMap((character, place) =>
    ids[place] === SKIPPED
      ? []
      : [[place, quoted(character), ...steps[place].subarray(part * units, (part + 1) * units)]],
  );
  return [header, ...lines, ""].map(String).join("\r\n");
}

// --- The page's elements ---------------------------------------------------------------------

const SPOKEN = { " ": "space", "\n": "new line", "\t": "tab" };
const OF_BLANK = { " ": "lmc-space", "\n": "lmc-newline" };
const within = (i, count) => Math.min(Math.max(i, 0), count - 1);

/**
 * The text, one element a character, coloured by a unit. `onMark` hears of a stretch that is
 * marked: the place where it began and where it is now.
 */
function characterStrip({ onHover, onChoose, onKey, onMark }) {
  const ids = newId();
  const spans = [];
  const node = element("div", {
    ...{ class: "lmc-text", role: "listbox", "aria-label": "Characters" },
    ...{ "aria-multiselectable": "true", ...OWN_KEYS },
  });
  const placeOf = ({ target }) => (target.dataset.place ? Number(target.dataset.place) : null);
  node.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "touch") onHover(placeOf(event));
  });
  node.addEventListener("pointerleave", () => onHover(null));
  node.addEventListener("click", (event) => {
    if (placeOf(event) !== null && document.getSelection().isCollapsed) onChoose(placeOf(event));
  });
  followKeys(node, onKey);

  /** Where a boundary of the browser's selection lies between the characters. */
  function boundary(container, offset) {
    if (container === node) return offset;
    const span = container.nodeType === Node.TEXT_NODE ? container.parentNode : container;
    return Number(span.dataset.place) + (offset > 0 ? 1 : 0);
  }

  /** Hear of what the mouse or a finger selects in the text. */
  function followSelection() {
    const selected = document.getSelection();
    if (selected.isCollapsed || !node.contains(selected.anchorNode)) return;
    const { startContainer, startOffset, endContainer, endOffset } = selected.getRangeAt(0);
    const from = node.contains(startContainer) ? boundary(startContainer, startOffset) : 0;
    const to = node.contains(endContainer) ? boundary(endContainer, endOffset) : spans.length;
    if (to > from) onMark([from, to]);
  }
  document.addEventListener("selectionchange", followSelection);
  const remove = () => document.removeEventListener("selectionchange", followSelection);

  function write(character, place) {
    if (place === spans.length) {
      const attributes = { role: "option", id: `${ids}-${place}`, "aria-selected": "false" };
      const span = element("span", { ...attributes, "data-place": place });
      spans.push({ span, character: null, style: "" });
      node.append(span);
    }
    const one = spans[place];
    if (one.character === character) return;
    one.character = character;
    one.span.textContent = character in OF_BLANK ? character : visible(character);
    one.span.className = OF_BLANK[character] ?? "";
    if (character in SPOKEN) one.span.setAttribute("aria-label", SPOKEN[character]);
    else one.span.removeAttribute("aria-label");
  }

  function fill({ characters }) {
    characters.forEach(write);
    while (spans.length > characters.length) spans.pop().span.remove();
  }

  /** Colour each character; `styleOf` gives its style. */
  function colour(styleOf) {
    spans.forEach((one, place) => {
      const style = styleOf(place);
      if (one.style === style) return;
      one.style = style;
      one.span.style.cssText = style;
    });
  }

  /** Show which character is looked at, and scroll to it if a reader has moved there. */
  function look(place, scroll) {
    node.querySelector(".lmc-looked")?.classList.remove("lmc-looked");
    node.removeAttribute("aria-activedescendant");
    if (place === null) return;
    const { span } = spans[place];
    span.classList.add("lmc-looked");
    node.setAttribute("aria-activedescendant", span.id);
    if (!scroll) return;
    const { offsetTop, offsetHeight } = span;
    if (offsetTop < node.scrollTop) node.scrollTop = offsetTop - 4;
    const below = offsetTop + offsetHeight - node.clientHeight;
    if (below > node.scrollTop) node.scrollTop = below + 4;
  }

  function mark(marked) {
    const [from, to] = marked ?? [0, 0];
    spans.forEach(({ span }, place) => {
      const selected = String(place >= from && place < to);
      if (span.getAttribute("aria-selected") !== selected)
        span.setAttribute("aria-selected", selected);
    });
  }

  /** The character above or below one, in the lines as they are at present. */
  function nextLine(place, step) {
    const { offsetTop, offsetLeft } = spans[place].span;
    const beside = ({ span }) => Math.abs(span.offsetLeft - offsetLeft);
    let best = null;
    for (let i = place + step; i >= 0 && i < spans.length; i += step) {
      const { offsetTop: top } = spans[i].span;
      if (top === offsetTop) continue;
      if (best !== null && top !== spans[best].span.offsetTop) break;
      if (best === null || beside(spans[i]) < beside(spans[best])) best = i;
    }
    return best ?? (step < 0 ? 0 : spans.length - 1);
  }
  return { node, fill, colour, look, mark, nextLine, remove };
}

const MOST_CHARACTERS = 2000;

const HINT =
  "A dot is a space, ⏎ the end of a line. Arrow keys move through the text, and through characters " +
  "and units in the picture, Page Up and Page Down by 16 units; Escape goes back to the last " +
  "character. Drag over the text, or press Shift with the arrow keys, to mark a stretch.";

function render({ model, el }) {
  const network = readNetwork(model);
  const texts = model.get("texts");
  let reading = read(network, "");
  let [colours, palettes, styles] = [null, null, null]; // made when the page has its colours
  let [picture, result, property] = [null, null, null]; // made anew where what they show changes
  let searched = null; // what the search was last made for
  let hovered = null;
  let [marked, anchor] = [null, null];
  let current = null; // the layout of what is drawn
  let scroll = false; // whether a key has moved the place looked at

  const settings = () =>
    Object.fromEntries(["unit", "quantity", "search"].map((name) => [name, model.get(name)]));
  const last = () => reading.ids.length - 1;

  /** The character and the unit whose numbers are shown; the place is null in an empty text. */
  function shown() {
    const place = within(model.get("focus") ?? last(), reading.ids.length);
    const kept = { place: place < 0 ? null : place, unit: model.get("unit") };
    return hovered ? { ...kept, ...hovered } : kept;
  }

  // --- What is changed ---

  function setText(text) {
    hovered = null;
    setTraits(model, { focus: null, text });
  }

  function look(values) {
    hovered = null;
    setTraits(model, values);
  }

  function hover(what) {
    if (JSON.stringify(what) === JSON.stringify(hovered)) return;
    hovered = what;
    show();
  }

  function markFrom(stretch) {
    marked = stretch;
    setTraits(model, { search: "selection" });
    onChange();
  }

  /** Move to a character; with Shift, what lies between is marked. */
  function moveTo(place, shift) {
    const from = shown().place;
    scroll = true;
    if (shift) {
      anchor ??= from;
      markFrom([Math.min(anchor, place), Math.max(anchor, place) + 1]);
    } else anchor = null;
    look({ focus: place });
  }

  // --- Keys ---

  function keyInText(key, shift) {
    const { place } = shown();
    if (place === null) return false;
    const targets = {
      ArrowLeft: () => place - 1,
      ArrowRight: () => place + 1,
      ArrowUp: () => strip.nextLine(place, -1),
      ArrowDown: () => strip.nextLine(place, 1),
      Home: () => 0,
      End: last,
    };
    if (key === "Escape") look({ focus: null });
    else if (key in targets) moveTo(within(targets[key](), reading.ids.length), shift);
    else return false;
    return true;
  }

  function keyInPicture(key) {
    const { place, unit } = shown();
    const steps = { ArrowUp: -1, ArrowDown: 1, PageUp: -16, PageDown: 16 };
    const places = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: last() };
    if (key === "Escape") look({ focus: null });
    else if (key in steps) look({ unit: within(unit + steps[key], network.units) });
    else if (key in places && place !== null)
      moveTo(within(places[key], reading.ids.length), false);
    else return false;
    return true;
  }

  // --- The elements ---

  const status = announcer();
  const own = texts.length; // the choice of no stored text
  const names = [...texts.map(([name]) => name), "your own"];
  const textChoice = selection("Text", [...names.entries()], (i) => {
    if (i < own) return setText(texts[i][1]);
    textChoice.fill(own);
    typed.focus();
  });
  const quantityChoice = selection(
    "Show",
    Object.entries(QUANTITIES).map(([quantity, { name }]) => [quantity, name]),
    (quantity) => setTraits(model, { quantity }),
  );
  const unitSlider = slider("Unit", (unit) => look({ unit }));
  const typed = element("textarea", {
    ...{ id: newId(), rows: 3, maxlength: MOST_CHARACTERS, spellcheck: "false" },
    ...{ autocomplete: "off", autocapitalize: "none" },
  });
  typed.addEventListener("input", () => setText(typed.value));
  const strange = element("p", { class: "lmc-note" });
  const strip = characterStrip({
    onHover: (place) => hover(place === null ? null : { place }),
    onChoose: (place) => look({ focus: place }),
    onKey: keyInText,
    onMark: markFrom,
  });
  const scaleStart = element("span");
  const bar = element("span", { class: "lmc-bar" });
  const scaleEnd = element("span");
  const scaleName = element("span");
  const legend = element("p", { class: "lmc-legend" }, scaleStart, bar, scaleEnd, scaleName);
  const read1 = element("p", { class: "lmc-reading" });
  const [cellLine, hiddenLine, nextLine] = range(1, 3).map(() =>
    element("p", { class: "lmc-line" }),
  );
  const canvas = element("canvas", { role: "img" });
  const hint = element("p", { class: "lmc-note", id: newId() }, HINT);
  const frame = element(
    "div",
    {
      ...{ class: "lmc-frame", role: "application", "aria-label": "All units along the text" },
      ...{ "aria-describedby": hint.id, ...OWN_KEYS },
    },
    canvas,
  );
  const searchChoice = selection(
    "Find units that follow",
    Object.entries(PROPERTIES).map(([key, { name }]) => [key, name]),
    (search) => setTraits(model, { search }),
  );
  const foundButtons = range(1, COUNT_FOUND).map((_, rank) =>
    button("", () => look({ unit: result.found[rank][0] })),
  );
  const found = element(
    "div",
    { class: "lmc-buttons lmc-found", role: "group", "aria-label": "Units found" },
    ...foundButtons,
  );
  const judgement = element("p", { class: "lmc-note" });
  const note = element("p", { class: "lmc-note" });

  const sceneOf = () => ({
    ...{ network, reading, picture, property, palettes, colours, shown: shown() },
  });
  const title = () => {
    const { unit, quantity, search } = settings();
    const { name } = QUANTITIES[quantity];
    const property = result ? `; property: ${PROPERTIES[search].name}` : "";
    return `${name[0].toUpperCase()}${name.slice(1)} of unit ${unit}, and of all units${property}`;
  };
  const saves = saveButtons(
    "gates",
    () => toCanvas(network, reading, settings(), sceneOf(), { title: title() }),
    () => toCSV(network, reading, settings()),
  );

  // --- What is shown ---

  function drawCanvas() {
    const width = frame.clientWidth;
    if (width === 0 || colours === null) return; // not in the page yet
    const { quantity } = settings();
    picture ??= pictureOf(network, reading, quantity, paletteOf(palettes, quantity));
    current = layoutOf(network, reading, width);
    const g = sized(canvas, width, Math.ceil(current.bottom + AXIS));
    drawUnits(g, sceneOf(), current);
  }

  /** Show the numbers of what is looked at. */
  function show() {
    const { place, unit } = shown();
    const { quantity } = settings();
    strip.look(place, scroll);
    scroll = false;
    if (place === null) {
      read1.textContent = "Type a text, and the network reads along.";
      for (const line of [cellLine, hiddenLine, nextLine]) line.textContent = "";
    } else {
      read1.textContent = headline(network, reading, place, unit, quantity);
      const lines = equations(network, reading, place, unit);
      [cellLine, hiddenLine].forEach((line, i) => (line.textContent = lines[i]));
      nextLine.textContent = `Likeliest next: ${nextInWords(network, reading.steps[place])}`;
    }
    drawCanvas();
  }

  function paintText() {
    if (styles === null) return;
    const { unit, quantity } = settings();
    const start = partOf(quantity) * network.units + unit;
    const { name, signed, unbounded } = QUANTITIES[quantity];
    const scale = scaleOf(network, reading, quantity, unit);
    const shades = signed ? styles.signed : styles.gate;
    strip.colour((place) =>
      reading.ids[place] === SKIPPED
        ? ""
        : shades[level(reading.steps[place][start] / scale, QUANTITIES[quantity])],
    );
    const palette = paletteOf(palettes, quantity);
    const stops = range(0, 8).map((i) => css(palette[Math.min(32 * i, 255)]));
    bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    [scaleStart.textContent, scaleEnd.textContent] = endsOf(quantity, scale);
    const scaled = unbounded ? "; each unit is scaled by its largest |c| in this text" : "";
    scaleName.textContent = `${name}, unit ${unit}${scaled}`;
  }

  function searchAgain() {
    const { quantity, search, unit } = settings();
    const asked = [reading, quantity, search, marked];
    if (searched === null || asked.some((one, i) => one !== searched[i])) {
      const ready = search !== "selection" || marked !== null;
      property = ready ? PROPERTIES[search].of(reading.characters, marked) : null;
      result =
        ready && last() > 0 ? searchUnits(network, reading, partOf(quantity), property) : null;
      searched = asked;
      judgement.textContent = verdict(network, result, search, marked, quantity);
      found.hidden = result === null;
    }
    foundButtons.forEach((one, rank) => {
      const [number, r] = result?.found[rank] ?? [null, 0];
      one.hidden = number === null;
      if (number === null) return;
      one.textContent = `unit ${number} ${score(r)}`;
      one.setAttribute("aria-pressed", String(number === unit));
    });
  }

  /** Show the model's settings. */
  function update() {
    const [text, { unit, quantity, search }] = [model.get("text"), settings()];
    if (reading.text !== text) {
      reading = read(network, text, reading);
      [picture, marked, anchor] = [null, null, null];
      strip.fill(reading);
      strange.textContent = strangers(network, reading);
      strange.hidden = strange.textContent === "";
    }
    if (searched?.[1] !== quantity) picture = null;
    if (typed.value !== text) typed.value = text;
    const stored = texts.findIndex(([, one]) => one === text);
    textChoice.fill(stored < 0 ? own : stored);
    quantityChoice.fill(quantity);
    searchChoice.fill(search);
    unitSlider.fill(unit, network.units - 1, String(unit));
    searchAgain();
    strip.mark(search === "selection" ? marked : null);
    paintText();
    note.textContent = describe(network, reading, settings(), model.get("drift"));
    canvas.setAttribute(
      "aria-label",
      `${QUANTITIES[quantity].name} of all units. ${note.textContent}`,
    );
    show();
  }

  function spoken() {
    const { place, unit } = shown();
    const said = [read1.textContent];
    if (place !== null) said.push(nextLine.textContent);
    if (result) {
      const [best, r] = result.found[0];
      said.push(`Best for ${PROPERTIES[settings().search].name}: unit ${best}, ${score(r)}`);
    }
    return `Unit ${unit}. ${said.join(". ")}.`;
  }

  // One update for all traits that change at once.
  let due = false;
  function onChange() {
    if (due) return;
    due = true;
    queueMicrotask(() => {
      due = false;
      update();
      status.announce(spoken);
    });
  }

  /** Paint everything in these colours of the page. */
  function paint(present) {
    colours = present;
    palettes = palettesOf(colours);
    const styled = (palette) =>
      palette.map((colour) => `background:${css(colour)};color:${inkOn(colour)}`);
    styles = { signed: styled(palettes.signed), gate: styled(palettes.gate) };
    picture = null;
    paintText();
    drawCanvas();
  }

  // --- Pointers ---

  /** The unit and the character at a place of the canvas; null, if there is none. */
  function cellAt({ clientX, clientY }) {
    const { left, top } = canvas.getBoundingClientRect();
    const place = Math.floor((clientX - left - GUTTER) / current.cellWidth);
    const unit = Math.floor((clientY - top - TOP) / current.cellHeight);
    const isCell = place >= 0 && place <= last() && unit >= 0 && unit < network.units;
    return isCell ? { place, unit } : null;
  }

  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "touch") hover(cellAt(event));
  });
  canvas.addEventListener("pointerleave", () => hover(null));
  canvas.addEventListener("click", (event) => {
    const cell = cellAt(event);
    if (cell !== null) look({ focus: cell.place, unit: cell.unit });
  });
  followKeys(frame, keyInPicture);

  const root = element(
    "div",
    { class: "lmc-widget lmc-gates", role: "group", "aria-label": "Gates of an LSTM along a text" },
    element("div", { class: "lmc-tools" }, textChoice.node, quantityChoice.node, unitSlider.node),
    element("label", { for: typed.id }, "Write here, and the network reads along"),
    typed,
    strange,
    legend,
    strip.node,
    element("div", { class: "lmc-numbers" }, read1, cellLine, hiddenLine, nextLine),
    frame,
    element("div", { class: "lmc-tools lmc-search" }, searchChoice.node),
    found,
    judgement,
    note,
    hint,
    element("div", { class: "lmc-buttons" }, ...saves),
    status.node,
  );
  el.replaceChildren(root);
  update();

  const ignore = followPage(root, frame, paint);
  const deafen = listen(model, ["text", "unit", "quantity", "focus", "search"], onChange);
  return () => {
    status.stop();
    strip.remove();
    ignore();
    deafen();
  };
}

export default { render };
