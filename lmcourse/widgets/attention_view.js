// AttentionView: which tokens attend to which, in every head of every layer.
// Read it with _widget.js, which stands before it in Jupyter's module and in the book's pages.

// --- The weights, to be read beside attention_view.py ----------------------------------------

const MEAN = "mean";
const ALL = "all";

/** What never changes of a view: the tokens, and where in the codes each query's row begins. */
function readAttention(model) {
  const tokens = model.get("tokens");
  const self = model.get("key_tokens") === null;
  const keyTokens = self ? tokens : model.get("key_tokens");
  const [queries, keys] = [tokens.length, keyTokens.length];
  const causal = model.get("causal");
  // How many keys a query sees; the last query stands at the last key.
  const seen = tokens.map((_, i) => (causal ? Math.max(i + 1 + keys - queries, 0) : keys));
  const starts = [0];
  seen.forEach((count, i) => starts.push(starts[i] + count));
  const text = atob(model.get("codes"));
  const codes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) codes[i] = text.charCodeAt(i);
  const [layers, heads] = [model.get("layers"), model.get("heads")];
  const error = model.get("reconstruction_error");
  return {
    tokens,
    keyTokens,
    self,
    queries,
    keys,
    layers,
    heads,
    causal,
    seen,
    starts,
    codes,
    error,
  };
}

// The weight that each code stands for.
const WEIGHTS = range(0, 255, 255).map((root) => root * root);

/** One head's weights, row by row. */
function weightsOf({ codes, starts, seen, queries, keys, heads }, layer, head) {
  const weights = new Float64Array(queries * keys);
  const start = (layer * heads + head) * starts[queries];
  for (let i = 0; i < queries; i++) {
    for (let j = 0; j < seen[i]; j++) weights[i * keys + j] = WEIGHTS[codes[start + starts[i] + j]];
  }
  return weights;
}

/**
 * The weights that are shown: `maps`, one for each head; `top`, the largest of them for each query
 * and key, and `owner`, the head that has it (an index of `maps`).
 */
function choose(data, layer, head) {
  const heads = typeof head === "number" ? [head] : range(0, data.heads - 1);
  let maps = heads.map((one) => ({ head: one, weights: weightsOf(data, layer, one) }));
  if (head === MEAN) {
    const mean = new Float64Array(data.queries * data.keys);
    for (const { weights } of maps) {
      for (let cell = 0; cell < mean.length; cell++) mean[cell] += weights[cell] / maps.length;
    }
    maps = [{ head: MEAN, weights: mean }];
  }
  const owner = new Uint16Array(data.queries * data.keys);
  const top = maps[0].weights.slice();
  for (let index = 1; index < maps.length; index++) {
    const { weights } = maps[index];
    for (let cell = 0; cell < top.length; cell++) {
      if (weights[cell] <= top[cell]) continue;
      top[cell] = weights[cell];
      owner[cell] = index;
    }
  }
  return { layer, head, maps, top, owner };
}

/** The strongest connections between some queries and some keys, strongest first. */
function strongest({ keys }, maps, [queryFrom, queryTo], [keyFrom, keyTo], count) {
  const found = [];
  let least = 0;
  for (const { head, weights } of maps) {
    for (let query = queryFrom; query <= queryTo; query++) {
      for (let key = keyFrom; key <= keyTo; key++) {
        const weight = weights[query * keys + key];
        if (weight <= least) continue;
        let place = found.length;
        while (place > 0 && found[place - 1].weight < weight) place--;
        found.splice(place, 0, { query, key, head, weight });
        if (found.length > count) found.pop();
        if (found.length === count) least = found[count - 1].weight;
      }
    }
  }
  return found;
}

const attendedTo = (data, maps, query, count) =>
  strongest(data, maps, [query, query], [0, data.seen[query] - 1], count);

const attendingTo = (data, maps, key, count) =>
  strongest(data, maps, [0, data.queries - 1], [key, key], count);

// --- Words and numbers -----------------------------------------------------------------------

const ROWS = 6; // of the tables of strongest connections

// Isolated, so that a token written from right to left does not turn its surroundings round.
const quote = (token) => `“\u2068${visible(token)}\u2069”`;

const plural = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;

function weightText(weight) {
  if (weight === 0) return "0";
  if (weight < 0.0005) return "<0.001";
  return weight.toFixed(3);
}

const headName = (head) =>
  head === MEAN ? "the mean of its heads" : head === ALL ? "all of its heads" : `head ${head}`;

/** What is stored and what is shown, as _sentences() of attention_view.py. */
function describe({ self, queries, keys, layers, heads, error }, { layer, head }) {
  const tokens = self
    ? plural(queries, "token")
    : `${plural(queries, "query token")}, ${plural(keys, "key token")}`;
  return (
    `Layer ${layer}, ${headName(head)} (${plural(layers, "layer")} of ${plural(heads, "head")}; ` +
    `${tokens}). Weights are stored in 8 bits: ${(100 * error[0]).toFixed(1)}% mean error of ` +
    `those above 0.001, ${error[1].toFixed(4)} at most.`
  );
}

/** The weight, or the token, that is looked at. */
function reading(data, choice, [query, key]) {
  const from = query === null ? "" : `${quote(data.tokens[query])} (${query})`;
  const to = key === null ? "" : `${quote(data.keyTokens[key])} (${key})`;
  if (query === null && key === null) return "Point at a token or a weight to read its numbers.";
  if (key === null) return from;
  if (query === null) return to;
  if (key >= data.seen[query]) return `${from} does not see ${to}`;
  const cell = query * data.keys + key;
  const owner = choice.head === ALL ? `, head ${choice.maps[choice.owner[cell]].head}` : "";
  return `${from} → ${to}: ${weightText(choice.top[cell])}${owner}`;
}

/** What screen readers hear of the token or the weight that is looked at. */
function spoken(data, choice, [query, key]) {
  const list = (found, side, tokens) =>
    found.map((one) => `${quote(tokens[one[side]])} ${weightText(one.weight)}`).join(", ");
  const said = [`Layer ${choice.layer}, ${headName(choice.head)}`];
  if (query !== null || key !== null) said.push(reading(data, choice, [query, key]));
  if (query !== null) {
    const found = attendedTo(data, choice.maps, query, 3);
    said.push(`attends to ${list(found, "key", data.keyTokens) || "nothing"}`);
  }
  if (key !== null) {
    const found = attendingTo(data, choice.maps, key, 3);
    said.push(`is attended to by ${list(found, "query", data.tokens) || "nothing"}`);
  }
  return `${said.join("; ")}.`;
}

// --- Colours ---------------------------------------------------------------------------------

// Okabe and Ito's colours; the seventh head begins again, with dashed lines.
const HEAD_COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9"];
const DASHES = [[], [6, 3], [2, 3]];

const colourOfHead = (head) => HEAD_COLOURS[head % HEAD_COLOURS.length];

const dashOfHead = (head) => DASHES[Math.floor(head / HEAD_COLOURS.length) % DASHES.length];

/** The colours of weights on a page: one hue, from its paper to its ink; or one for each head. */
function ramps(colours) {
  const [paper, ink, blue] = [colours.paper, colours.ink, colours.blue].map(rgb);
  const faint = mix(paper, ink, 0.06);
  const stops = [
    [0, faint],
    [0.35, mix(paper, blue, 0.45)],
    [0.7, blue],
    [1, mix(blue, ink, 0.75)],
  ];
  const ofHead = (colour) =>
    ramp([
      [0, faint],
      [1, rgb(colour)],
    ]);
  return { shades: ramp(stops), ofHeads: HEAD_COLOURS.map(ofHead) };
}

/** How dark a weight is drawn: the square root lets small ones be seen. */
const level = (weight) => Math.round(255 * Math.sqrt(weight));

/** A canvas of one pixel a weight; what a query does not see is left out. */
function pictureOf({ queries, keys, seen }, { head, maps, top, owner }, { shades, ofHeads }) {
  const canvas = element("canvas", { width: keys, height: queries });
  const g = canvas.getContext("2d");
  const image = g.createImageData(keys, queries);
  const pixels = new Uint32Array(image.data.buffer);
  const ramps = head === ALL ? ofHeads.map(packed) : [packed(shades)];
  for (let i = 0; i < queries; i++) {
    for (let cell = i * keys; cell < i * keys + seen[i]; cell++) {
      const ramp = head === ALL ? ramps[maps[owner[cell]].head % ramps.length] : ramps[0];
      pixels[cell] = ramp[level(top[cell])];
    }
  }
  g.putImageData(image, 0, 0);
  return canvas;
}

// --- Pens: the same drawing on a canvas and as SVG -------------------------------------------

const FONT = 'system-ui, "DejaVu Sans", sans-serif';

function canvasPen(g) {
  return {
    path(d, { fill, stroke, width = 1, opacity = 1, dash = [] }) {
      const path = new Path2D(d);
      g.globalAlpha = opacity;
      if (fill) {
        g.fillStyle = fill;
        g.fill(path);
      }
      if (stroke) {
        Object.assign(g, { strokeStyle: stroke, lineWidth: width });
        g.setLineDash(dash);
        g.stroke(path);
      }
      g.globalAlpha = 1;
    },
    text(words, x, y, { fill, anchor = "start", weight = 400, size = 12, turn = 0 }) {
      g.save();
      g.translate(x, y);
      g.rotate((turn * Math.PI) / 180);
      const textAlign = { start: "left", middle: "center", end: "right" }[anchor];
      Object.assign(g, { font: `${weight} ${size}px ${FONT}`, fillStyle: fill, textAlign });
      g.fillText(words, 0, 0);
      g.restore();
    },
    picture(canvas, x, y, width, height) {
      g.imageSmoothingEnabled = false;
      g.drawImage(canvas, x, y, width, height);
    },
    moved(x, y, draw) {
      g.save();
      g.translate(x, y);
      draw();
      g.restore();
    },
  };
}

function svgPen(node) {
  let parent = node;
  const add = (tag, attributes, ...children) => parent.append(shape(tag, attributes, ...children));
  return {
    path(d, { fill = "none", stroke = "none", width = 1, opacity = 1, dash = [] }) {
      const style = { fill, stroke, "stroke-width": width, opacity };
      if (dash.length > 0) style["stroke-dasharray"] = dash.join(" ");
      add("path", { d, style });
    },
    text(words, x, y, { fill, anchor = "start", weight = 400, size = 12, turn = 0 }) {
      const transform = `translate(${x} ${y}) rotate(${turn})`;
      const style = { fill, "font-weight": weight, "font-size": `${size}px` };
      add("text", { transform, "text-anchor": anchor, style }, words);
    },
    picture(canvas, x, y, width, height) {
      const transform = `translate(${x} ${y}) scale(${width / canvas.width} ${height / canvas.height})`;
      const cells = [...cellsOf(canvas)].map(([colour, d]) =>
        shape("path", { d, style: { fill: colour } }),
      );
      add("g", { class: "weights", transform, "shape-rendering": "crispEdges" }, ...cells);
    },
    moved(x, y, draw) {
      const outside = parent;
      parent = shape("g", { transform: `translate(${x} ${y})` });
      outside.append(parent);
      draw();
      parent = outside;
    },
  };
}

/** For each colour of a canvas, its pixels as a path of rectangles. */
function cellsOf(canvas) {
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const pixels = new Uint32Array(data.buffer);
  const paths = new Map();
  for (let y = 0; y < height; y++) {
    for (let x = 0, run; x < width; x += run) {
      const cell = y * width + x;
      run = 1;
      while (x + run < width && pixels[cell + run] === pixels[cell]) run++;
      if (data[4 * cell + 3] === 0) continue;
      const colour = css(data.subarray(4 * cell, 4 * cell + 3));
      paths.set(colour, `${paths.get(colour) ?? ""}M${x} ${y}h${run}v1h-${run}z`);
    }
  }
  return paths;
}

// --- Labels ----------------------------------------------------------------------------------

const LONGEST_LABEL = 84; // pixels
const LABEL_GAP = 13; // pixels between the middles of two labels

const ruler = element("canvas").getContext("2d");

function widthOf(words) {
  ruler.font = `600 12px ${FONT}`;
  return ruler.measureText(words).width;
}

/** Words, cut where they would take more than so many pixels. */
function fitted(words, pixels) {
  if (widthOf(words) <= pixels) return words;
  const letters = [...words].slice(0, 2 * pixels);
  while (letters.length > 1 && widthOf(`${letters.join("")}…`) > pixels) letters.pop();
  return `${letters.join("")}…`;
}

/** A token as a label, and the pixels it takes. */
function labelOf(token) {
  const words = fitted(visible(token), LONGEST_LABEL);
  return { words, width: widthOf(words) };
}

/** Which of `count` tokens get a label, `pitch` pixels apart: the important ones first. */
function labelled(count, pitch, important) {
  const labels = [];
  const taken = (i) => labels.some((other) => Math.abs(other - i) * pitch < LABEL_GAP);
  const add = (i) => !taken(i) && labels.push(i);
  important.forEach(add);
  const step = Math.ceil(LABEL_GAP / pitch);
  for (let i = 0; i < count; i += step) add(i);
  return labels;
}

// --- The matrix ------------------------------------------------------------------------------

const LARGEST_CELL = 44;
const SMALL_CELL = 6;
const LEGEND_HEIGHT = 34;
const SLANT = 45; // degrees

const longest = (labels) => Math.max(...labels.map(({ width }) => width));

/** Where the cells lie in a drawing of some width. */
function layoutOfMatrix({ queries, keys }, labels, width) {
  const slanted = longest(labels.keys) * Math.SQRT1_2;
  const left = Math.ceil(Math.max(longest(labels.queries), 54) + 8);
  const top = Math.ceil(slanted + 18);
  const room = width - left - Math.ceil(slanted) - 4;
  const cellWidth = Math.min(room / keys, LARGEST_CELL);
  const cellHeight = Math.min(room / queries, Math.max(cellWidth, 16));
  const bottom = top + cellHeight * queries;
  return { left, top, cellWidth, cellHeight, bottom, height: bottom + LEGEND_HEIGHT };
}

/** The outline of what is seen, step by step; its steps would hide cells that are small. */
function outlineOfSeen({ queries, keys, causal, seen }, { left, top, cellWidth, cellHeight }) {
  const corner = `M${left} ${top}V${top + queries * cellHeight}H${left + keys * cellWidth}`;
  if (causal && cellWidth < SMALL_CELL) return corner;
  const right = (i) => left + seen[i] * cellWidth;
  let d = `M${left} ${top}`;
  for (let i = 0; i < queries; i++) d += `H${right(i)}V${top + (i + 1) * cellHeight}`;
  return `${d}H${left}Z`;
}

function drawMatrix(pen, { data, labels, picture, shown, matches, colours }, layout) {
  const { left, top, cellWidth, cellHeight, bottom } = layout;
  const [query, key] = shown;
  const right = left + cellWidth * data.keys;
  pen.picture(picture, left, top, right - left, bottom - top);
  pen.path(outlineOfSeen(data, layout), { stroke: colours.outline });
  pen.text("query", left - 8, top - 7, { fill: colours.muted, anchor: "end", size: 11 });
  pen.text("key", left - 8, top - 21, { fill: colours.muted, anchor: "end", size: 11 });

  const importantKeys = key === null ? matches.keys : [key, ...matches.keys];
  for (const i of labelled(data.keys, cellWidth, importantKeys)) {
    const [x, y] = [left + (i + 0.5) * cellWidth + 3, top - 6];
    const style = styleOfLabel(i === key, matches.keys.includes(i), "orange", colours);
    pen.text(labels.keys[i].words, x, y, { ...style, turn: -SLANT });
  }
  const importantQueries = query === null ? matches.queries : [query, ...matches.queries];
  for (const i of labelled(data.queries, cellHeight, importantQueries)) {
    const y = top + (i + 0.5) * cellHeight + 4;
    const style = styleOfLabel(i === query, matches.queries.includes(i), "blue", colours);
    pen.text(labels.queries[i].words, left - 8, y, { ...style, anchor: "end" });
  }
  // Around small cells, not across them.
  const out = (size) => (size < SMALL_CELL ? 1 : 0);
  const [dx, dy] = [out(cellWidth), out(cellHeight)];
  const [x, y] = [left + key * cellWidth - dx, top + query * cellHeight - dy];
  const [wide, high] = [cellWidth + 2 * dx, cellHeight + 2 * dy];
  const lineOf = (stroke, size) => ({ stroke, width: size < SMALL_CELL ? 1 : 1.5 });
  if (key !== null) pen.path(box(x, top, wide, bottom - top), lineOf(colours.orange, cellWidth));
  if (query !== null) pen.path(box(left, y, right - left, high), lineOf(colours.blue, cellHeight));
  if (query !== null && key !== null) {
    pen.path(box(x, y, wide, high), { stroke: colours.ink, width: dx ? 1.5 : 2 });
  }
}

const box = (x, y, width, height) => `M${x} ${y}h${width}v${height}h${-width}z`;

function styleOfLabel(isShown, isMatch, colour, colours) {
  if (isShown) return { fill: colours[colour], weight: 700 };
  return isMatch ? { fill: colours.ink, weight: 700 } : { fill: colours.muted };
}

/** Where a matrix is too fine to see, the cells around the one that is looked at. */
function drawLens(g, { data, picture, shown: [query, key], colours }, layout) {
  const { left, top, cellWidth, cellHeight, bottom } = layout;
  const [around, size] = [7, 9];
  if (query === null || key === null || cellWidth >= SMALL_CELL) return;
  const side = (2 * around + 1) * size;
  const right = left + cellWidth * data.keys;
  const below = !data.causal && query < data.queries / 2 && key > data.keys / 2;
  const [x, y] = [right - side, below ? bottom - side : top];
  g.fillStyle = colours.paper;
  g.fillRect(x - 4, y - 4, side + 8, side + 8);
  g.imageSmoothingEnabled = false;
  const cells = 2 * around + 1;
  g.drawImage(picture, key - around, query - around, cells, cells, x, y, side, side);
  Object.assign(g, { strokeStyle: colours.outline, lineWidth: 1 });
  g.strokeRect(x - 0.5, y - 0.5, side + 1, side + 1);
  Object.assign(g, { strokeStyle: colours.ink, lineWidth: 2 });
  g.strokeRect(x + around * size, y + around * size, size, size);
}

// --- The arcs --------------------------------------------------------------------------------

const LARGEST_PITCH = 26;
const TALLEST = 540;
const FAINTEST = 1e-3; // weights below are not drawn
const WIDTHS = 24; // that arcs come in
const ARCS_OF_A_QUERY = 3; // while nothing is looked at
const LABELLED_ARCS = 12; // the strongest of a long text, where not every token has a label

function layoutOfArcs({ queries, keys }, labels, width) {
  const [left, right] = [longest(labels.queries) + 16, width - longest(labels.keys) - 16];
  const top = 24;
  const most = Math.max(queries, keys);
  const span = most * Math.min(LARGEST_PITCH, TALLEST / most);
  const pitches = { query: span / queries, key: span / keys };
  for (const side in pitches) pitches[side] = Math.min(pitches[side], LARGEST_PITCH);
  return { left, right, top, pitches, bottom: top + span, height: top + span + LEGEND_HEIGHT };
}

/** The connections that are drawn as arcs, weakest first, and how each is drawn. */
function connections({ data, choice: { head, maps }, shown: [query, key], colours }) {
  const { queries, keys } = data;
  const styled = (found, colour) =>
    found.map((one) =>
      head === ALL
        ? { ...one, stroke: colourOfHead(one.head), dash: dashOfHead(one.head) }
        : { ...one, stroke: colours[colour], dash: [] },
    );
  const byWeight = (arcs) => arcs.sort((a, b) => a.weight - b.weight);
  if (query === null && key === null) {
    const count = head === ALL ? 1 : ARCS_OF_A_QUERY;
    const ofQuery = (i) => maps.flatMap((map) => attendedTo(data, [map], i, count));
    return byWeight(styled(range(0, queries - 1).flatMap(ofQuery), "blue"));
  }
  const arcsFrom = (i) => range(0, keys - 1).map((j) => [i, j]);
  const arcsTo = (j) => range(0, queries - 1).map((i) => [i, j]);
  const drawn = (places) =>
    maps.flatMap(({ head: one, weights }) =>
      places
        .map(([i, j]) => ({ query: i, key: j, head: one, weight: weights[i * keys + j] }))
        .filter(({ weight }) => weight > FAINTEST),
    );
  const to = key === null ? [] : styled(drawn(arcsTo(key)), "orange");
  return byWeight([...to, ...(query === null ? [] : styled(drawn(arcsFrom(query)), "blue"))]);
}

/** Arcs that look alike, put together: a browser draws few paths faster than many. */
function strokesOf(arcs, curveOf) {
  const strokes = new Map();
  for (const arc of arcs) {
    const strength = Math.ceil(WIDTHS * Math.sqrt(arc.weight)) / WIDTHS;
    const alike = `${arc.stroke} ${arc.dash} ${strength}`;
    if (!strokes.has(alike)) strokes.set(alike, { ...arc, strength, d: "" });
    strokes.get(alike).d += curveOf(arc);
  }
  return [...strokes.values()];
}

function drawArcs(pen, scene, layout) {
  const { data, labels, choice, shown, matches, colours } = scene;
  const { left, right, top, pitches } = layout;
  const middle = (left + right) / 2;
  const yOf = (side, i) => top + (i + 0.5) * pitches[side];
  // Side by side, where several heads have the same connection.
  const beside = (side, head) =>
    choice.head === ALL
      ? (head - (data.heads - 1) / 2) * Math.min(2.5, (0.8 * pitches[side]) / data.heads)
      : 0;

  function curveOf({ head, ...arc }) {
    const [from, to] = ["query", "key"].map((side) =>
      (yOf(side, arc[side]) + beside(side, head)).toFixed(1),
    );
    return `M${left} ${from}C${middle} ${from} ${middle} ${to} ${right} ${to}`;
  }

  const arcs = connections(scene);
  for (const { d, stroke, dash, strength } of strokesOf(arcs, curveOf)) {
    const [width, opacity] = [0.75 + 3.25 * strength ** 2, 0.12 + 0.88 * strength];
    pen.path(d, { stroke, dash, width, opacity });
  }

  const looked = shown.some((place) => place !== null);
  const strongest = looked ? arcs.slice(-LABELLED_ARCS).reverse() : [];
  const columns = [
    { side: "query", colour: "blue", x: left - 8, anchor: "end", tokens: labels.queries },
    { side: "key", colour: "orange", x: right + 8, anchor: "start", tokens: labels.keys },
  ];
  columns.forEach(({ side, colour, x, anchor, tokens }, column) => {
    const found = [matches.queries, matches.keys][column];
    const ends = strongest.map((arc) => arc[side]);
    const focus = shown[column] === null ? [] : [shown[column]];
    pen.text(side, x, top - 10, { fill: colours.muted, size: 11, anchor });
    for (const i of labelled(tokens.length, pitches[side], [...focus, ...found, ...ends])) {
      const style = styleOfLabel(focus.includes(i), found.includes(i), colour, colours);
      if (ends.includes(i) && !focus.includes(i)) style.fill = colours.ink;
      pen.text(tokens[i].words, x, yOf(side, i) + 4, { ...style, anchor });
    }
  });
}

// --- The legend and files --------------------------------------------------------------------

/** What the shades, or the colours of the heads, mean. */
function drawLegend(pen, { choice, view, palette, colours, width }, y) {
  const text = { fill: colours.muted, size: 11 };
  if (choice.head === ALL) {
    const step = Math.min(width / choice.maps.length, 72);
    choice.maps.forEach(({ head }, i) => {
      const style = { stroke: colourOfHead(head), width: 4, dash: dashOfHead(head) };
      pen.path(`M${i * step} ${y + 18}h14`, style);
      pen.text(step < 60 ? String(head) : `head ${head}`, i * step + 18, y + 22, text);
    });
    return;
  }
  if (view !== "matrix") return;
  const [left, length] = [4, 200];
  range(0, 63).forEach((i) => {
    const x = left + (i * length) / 64;
    pen.path(box(x, y + 12, length / 64 + 0.5, 8), { fill: css(palette.shades[4 * i + 2]) });
  });
  for (const weight of [0, 0.05, 0.25, 0.5, 1]) {
    const x = left + length * Math.sqrt(weight);
    pen.text(String(weight), x, y + 32, { ...text, anchor: "middle" });
  }
  pen.text("weight", left + length + 14, y + 20, text);
}

const VIEWS = {
  matrix: { name: "Matrix", layout: layoutOfMatrix, draw: drawMatrix },
  arcs: { name: "Arcs", layout: layoutOfArcs, draw: drawArcs },
};

const layoutOf = ({ view, data, labels }, width) => VIEWS[view].layout(data, labels, width);

function drawView(pen, scene, layout) {
  VIEWS[scene.view].draw(pen, scene, layout);
  drawLegend(pen, scene, layout.bottom);
}

/** The view under a title, as a picture for elsewhere: its size, and what draws it. */
function figureOf(data, labels, choice, view, shown, matches) {
  const [width, side, top] = [720, 16, 40];
  const palette = ramps(COLOURS_OF_PICTURE);
  const scene = {
    ...{ data, labels, choice, view, shown, matches, palette },
    colours: COLOURS_OF_PICTURE,
    picture: pictureOf(data, choice, palette),
    width: width - 2 * side,
  };
  const layout = layoutOf(scene, scene.width);
  const bottom = top + layout.height;
  const { ink, muted } = COLOURS_OF_PICTURE;
  const looked = shown.some((place) => place !== null);
  const name = `Layer ${choice.layer}, ${headName(choice.head)}`;
  const title = looked ? `${name}: ${reading(data, choice, shown)}` : name;
  const longest = (scene.width * 12) / 15; // the title's letters are larger than a label's

  function draw(pen) {
    pen.text(fitted(title, longest), side, 26, { fill: ink, weight: 700, size: 14 });
    pen.moved(side, top, () => drawView(pen, scene, layout));
    const [first, second] = describe(data, choice).split(/(?<=\.) (?=Weights)/);
    pen.text(first, side, bottom + 20, { fill: muted });
    pen.text(second, side, bottom + 38, { fill: muted });
  }
  return { width, height: Math.ceil(bottom + 50), draw };
}

function toCanvas({ width, height, draw }) {
  const { canvas, g } = emptyPicture(width, height);
  draw(canvasPen(g));
  return canvas;
}

function toSVG({ width, height, draw }) {
  const paper = { width, height, style: { fill: COLOURS_OF_PICTURE.paper } };
  const style = { "font-family": FONT };
  const size = { width, height, viewBox: `0 0 ${width} ${height}` };
  const node = shape("svg", { ...size, style }, shape("rect", paper));
  draw(svgPen(node));
  return new XMLSerializer().serializeToString(node);
}

/** Every weight that is shown, at full precision. */
function toCSV({ tokens, keyTokens, keys, seen }, { layer, maps }) {
  const lines = maps.flatMap(({ head, weights }) =>
    tokens.flatMap((token, i) =>
      range(1, seen[i]).map((count) => {
        const j = count - 1;
        const cells = [layer, head, i, quoted(token), j, quoted(keyTokens[j])];
        return [...cells, weights[i * keys + j]].join(",");
      }),
    ),
  );
  return ["layer,head,query,query_token,key,key_token,weight", ...lines, ""].join("\r\n");
}

// --- The page's elements ---------------------------------------------------------------------

/** Buttons of which one is pressed. */
function toggles(label, options, onChoose) {
  const buttons = options.map(([value, name]) => button(name, () => onChoose(value)));
  const node = element(
    "div",
    { class: "lmc-toggles", role: "group", "aria-label": label },
    ...buttons,
  );
  const fill = (chosen) =>
    buttons.forEach((one, i) => one.setAttribute("aria-pressed", String(options[i][0] === chosen)));
  return { node, fill };
}

const LARGEST_THUMBNAIL = 46;
const SMALLEST_THUMBNAIL = 10;
const FINEST = 48; // cells of a thumbnail, along each side
const GUTTER = 16; // for the numbers of layers and heads
const EDGE = 3; // around them, for the outline of the one that is shown

/** The largest codes in each square of a head, small enough for a thumbnail. */
function thumbnail({ codes, starts, seen, queries, keys, heads }, layer, head) {
  const [rows, columns] = [Math.min(queries, FINEST), Math.min(keys, FINEST)];
  const largest = new Uint8Array(rows * columns);
  const start = (layer * heads + head) * starts[queries];
  for (let i = 0; i < queries; i++) {
    const row = Math.floor((i * rows) / queries) * columns;
    for (let j = 0; j < seen[i]; j++) {
      const cell = row + Math.floor((j * columns) / keys);
      const code = codes[start + starts[i] + j];
      if (code > largest[cell]) largest[cell] = code;
    }
  }
  return { rows, columns, largest };
}

function pictureOfThumbnail({ rows, columns, largest }, colours) {
  const canvas = element("canvas", { width: columns, height: rows });
  const g = canvas.getContext("2d");
  const image = g.createImageData(columns, rows);
  new Uint32Array(image.data.buffer).set(Uint32Array.from(largest, (code) => colours[code]));
  g.putImageData(image, 0, 0);
  return canvas;
}

/** Small pictures of all heads; `onChoose` hears of the one that is clicked or moved to. */
function headGrid(data, onChoose) {
  const { layers, heads } = data;
  const ids = newId();
  const canvas = element("canvas", { "aria-hidden": "true" });
  const at = (layer, head) => {
    const name = `layer ${layer}, head ${head}`;
    const cell = element("span", { role: "gridcell", id: `${ids}-${layer}-${head}`, title: name });
    cell.setAttribute("aria-label", name);
    cell.addEventListener("click", () => onChoose(layer, head));
    return cell;
  };
  const rows = range(0, layers - 1).map((layer) =>
    range(0, heads - 1).map((head) => at(layer, head)),
  );
  const lines = rows.map((cells) => element("div", { role: "row" }, ...cells));
  const attributes = { role: "grid", "aria-label": "Heads of all layers", ...OWN_KEYS };
  const grid = element("div", attributes, ...lines);
  const node = element("div", { class: "lmc-heads" }, canvas, grid);
  const pictures = range(0, layers - 1).map((layer) =>
    range(0, heads - 1).map((head) => thumbnail(data, layer, head)),
  );
  node.hidden = layers * heads === 1;

  function mark(layer, head) {
    rows.forEach((cells, l) =>
      cells.forEach((cell, h) => {
        const chosen = l === layer && (typeof head !== "number" || h === head);
        cell.setAttribute("aria-selected", String(chosen));
        const colour = chosen && head === ALL ? colourOfHead(h) : "";
        cell.style.setProperty("--lmc-head", colour);
      }),
    );
    const active = rows[layer][typeof head === "number" ? head : 0];
    grid.setAttribute("aria-activedescendant", active.id);
    const left = GUTTER + active.offsetLeft;
    const right = left + active.offsetWidth + EDGE;
    if (left - EDGE < node.scrollLeft) node.scrollLeft = left - GUTTER;
    if (right > node.scrollLeft + node.clientWidth) node.scrollLeft = right - node.clientWidth;
  }

  function paint({ shades }, colours) {
    const width = node.clientWidth - GUTTER - EDGE;
    if (width <= 0) return;
    const gap = width / heads > 20 ? 4 : 2;
    const fit = Math.floor((width - gap * (heads - 1)) / heads);
    const size = Math.min(Math.max(fit, SMALLEST_THUMBNAIL), LARGEST_THUMBNAIL);
    const [wide, high] = [heads, layers].map((count) => GUTTER + count * (size + gap) - gap);
    const g = sized(canvas, wide, high);
    node.style.setProperty("--lmc-size", `${size}px`);
    node.style.setProperty("--lmc-gap", `${gap}px`);
    const numbered = canvasPen(g);
    const style = { fill: colours.muted, size: 10, anchor: "middle" };
    const step = Math.ceil(14 / (size + gap));
    const place = (i) => GUTTER + i * (size + gap);
    const pixels = packed(shades);
    range(0, heads - 1).forEach((head) => {
      if (head % step === 0) numbered.text(String(head), place(head) + size / 2, 11, style);
    });
    pictures.forEach((ofLayer, layer) => {
      const middle = place(layer) + size / 2 + 4;
      if (layer % step === 0) numbered.text(String(layer), GUTTER / 2 - 1, middle, style);
      ofLayer.forEach((picture, head) => {
        g.imageSmoothingEnabled = picture.columns > size * window.devicePixelRatio;
        g.drawImage(pictureOfThumbnail(picture, pixels), place(head), place(layer), size, size);
      });
    });
  }
  return { node, grid, mark, paint };
}

/** The tokens as a text, shaded by the weights of the one that is looked at. */
function tokenText(label, tokens, { onHover, onChoose, onKey }) {
  const ids = newId();
  const spans = tokens.map((token, i) => {
    const attributes = { role: "option", id: `${ids}-${i}`, "aria-selected": "false" };
    const span = element("span", attributes, visible(token));
    span.dataset.place = i;
    return span;
  });
  const node = element(
    "div",
    { class: "lmc-text", role: "listbox", "aria-label": label, ...OWN_KEYS },
    ...spans,
  );
  const placeOf = ({ target }) => (target.dataset.place ? Number(target.dataset.place) : null);
  node.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "touch") onHover(placeOf(event));
  });
  node.addEventListener("pointerleave", () => onHover(null));
  node.addEventListener("click", (event) => {
    if (placeOf(event) !== null) onChoose(placeOf(event));
  });
  followKeys(node, onKey);
  const shades = spans.map(() => ({ "--lmc-to": "", "--lmc-from": "" }));
  let chosen = null;

  /** Set one of a token's shades, if it changes: browsers compute styles for each that is set. */
  function shade(i, name, weight) {
    const value = weight < 0.0005 ? "0" : Math.sqrt(weight).toFixed(2);
    if (shades[i][name] === value) return;
    shades[i][name] = value;
    spans[i].style.setProperty(name, value);
  }

  /** Shade each token by how much it is attended to, and by how much it attends. */
  function fill(to, from, looked) {
    spans.forEach((span, i) => {
      shade(i, "--lmc-to", to(i));
      shade(i, "--lmc-from", from(i));
      span.classList.toggle("lmc-looked", i === looked);
    });
  }

  function choose(place) {
    if (chosen !== null) spans[chosen].setAttribute("aria-selected", "false");
    chosen = place;
    if (chosen === null) return node.removeAttribute("aria-activedescendant");
    spans[chosen].setAttribute("aria-selected", "true");
    node.setAttribute("aria-activedescendant", spans[chosen].id);
    const { offsetTop, offsetHeight } = spans[chosen];
    if (offsetTop < node.scrollTop) node.scrollTop = offsetTop - 4;
    const below = offsetTop + offsetHeight - node.clientHeight;
    if (below > node.scrollTop) node.scrollTop = below + 4;
  }

  const mark = (found) =>
    spans.forEach((span, i) => span.classList.toggle("lmc-found", found.includes(i)));
  return { node, fill, choose, mark };
}

/** A table of connections; its rows are made once and then only refilled. */
function tableOfConnections(kind) {
  const caption = element("caption");
  const head = element("tr");
  const rows = range(1, ROWS).map(() => {
    const cells = [element("th", { scope: "row" }), element("td"), element("td"), element("td")];
    return { cells, node: element("tr", {}, ...cells) };
  });
  const body = element("tbody", {}, ...rows.map(({ node }) => node));
  const node = element(
    "table",
    { class: `lmc-list lmc-${kind}` },
    caption,
    element("thead", {}, head),
    body,
  );

  function fill(words, header, found) {
    caption.textContent = words;
    if (head.childElementCount !== header.length)
      head.replaceChildren(...header.map(() => heading("")));
    header.forEach((name, i) => (head.children[i].textContent = name));
    rows.forEach(({ cells, node: row }, i) => {
      const texts = found[i] ?? [];
      row.hidden = texts.length === 0;
      cells.forEach((cell, k) => {
        cell.hidden = k >= header.length;
        cell.textContent = texts[k] ?? "";
      });
    });
  }
  return { node, fill };
}

/** The tokens that hold what a reader has typed, capital letters or not. */
function matching(tokens, typed) {
  const wanted = typed.trim().toLowerCase();
  if (wanted === "") return [];
  const holds = (token) =>
    [token, visible(token)].some((one) => one.toLowerCase().includes(wanted));
  return tokens.flatMap((token, i) => (holds(token) ? [i] : []));
}

const HINT =
  "Shades show the square root of a weight, so that small ones are seen. A click keeps what the " +
  "mouse shows, and Escape lets go. Arrow keys move through the text, the matrix or the arcs, and " +
  "the heads; in the search, Enter goes to the next token found.";

function render({ model, el }) {
  const data = readAttention(model);
  const labels = { queries: data.tokens.map(labelOf), keys: data.keyTokens.map(labelOf) };
  let choice = choose(data, model.get("layer"), model.get("head"));
  let [colours, palette, picture] = [null, null, null]; // made when they are first needed
  let hovered = null;
  let matches = { queries: [], keys: [] };
  let current = null; // the layout of what is drawn
  const focus = () => model.get("focus") ?? [null, null];
  const shown = () => hovered ?? focus();

  // --- What is changed ---

  function look([query, key]) {
    hovered = null;
    setTraits(model, { focus: query === null && key === null ? null : [query, key] });
  }

  /** Look at something, or no longer, if it is looked at already. */
  function toggle(place) {
    const same = focus().every((one, axis) => one === place[axis]);
    look(same ? [null, null] : place);
  }

  const chooseHead = (layer, head) => setTraits(model, { layer, head });

  function hover(place) {
    const same = JSON.stringify(place) === JSON.stringify(hovered);
    hovered = place;
    if (!same) show();
  }

  /** The pair that a token of one of the texts stands for. */
  function pairOf(side, i) {
    if (data.self) return [i, i];
    return side === "query" ? [i, null] : [null, i];
  }

  const within = (i, count) => Math.min(Math.max(i, 0), count - 1);

  // --- Keys ---

  const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

  function keyInText(side, count, key) {
    const [query, keyPlace] = focus();
    const place = side === "query" ? (query ?? (data.self ? keyPlace : null)) : keyPlace;
    const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    if (key === "Escape") look([null, null]);
    else if (key === "Home") look(pairOf(side, 0));
    else if (key === "End") look(pairOf(side, count - 1));
    else if (key in steps)
      look(pairOf(side, place === null ? 0 : within(place + steps[key], count)));
    else return false;
    return true;
  }

  function keyInMatrix(key) {
    const [query, keyPlace] = focus();
    const [i, j] = [query ?? 0, keyPlace ?? 0];
    const started = query !== null && keyPlace !== null;
    if (key === "Escape") look([null, null]);
    else if (key === "Home") look([i, 0]);
    else if (key === "End") look([i, data.keys - 1]);
    else if (key === "PageUp") look([0, j]);
    else if (key === "PageDown") look([data.queries - 1, j]);
    else if (!(key in ARROWS)) return false;
    else if (!started) look([i, j]);
    else look([within(i + ARROWS[key][0], data.queries), within(j + ARROWS[key][1], data.keys)]);
    return true;
  }

  function keyInArcs(key) {
    const [query, keyPlace] = focus();
    const place = query ?? keyPlace;
    const move = (to) =>
      look([
        query === null && place !== null ? null : within(to, data.queries),
        keyPlace === null ? null : within(to, data.keys),
      ]);
    if (key === "Escape") look([null, null]);
    else if (key === "ArrowLeft") look([within(place ?? 0, data.queries), null]);
    else if (key === "ArrowRight") look([null, within(place ?? 0, data.keys)]);
    else if (key === "Home") move(0);
    else if (key === "End") move(Infinity);
    else if (key in ARROWS) move(place === null ? 0 : place + ARROWS[key][0]);
    else return false;
    return true;
  }

  /** From head to head; beside the first and last ones there is none. */
  function keyInHeads(key) {
    const [layer, head] = [model.get("layer"), model.get("head")];
    const at = typeof head === "number" ? head : 0;
    if (key === "Home") chooseHead(layer, 0);
    else if (key === "End") chooseHead(layer, data.heads - 1);
    else if (key in ARROWS) {
      const [down, right] = ARROWS[key];
      chooseHead(within(layer + down, data.layers), within(at + right, data.heads));
    } else return false;
    return true;
  }

  // --- The elements ---

  const status = announcer();
  const numbers = (count, name) => range(0, count - 1).map((i) => [i, `${name}${i}`]);
  const layerChoice = selection("Layer", numbers(data.layers, ""), (layer) =>
    setTraits(model, { layer }),
  );
  const headChoice = selection(
    "Head",
    [...numbers(data.heads, ""), [MEAN, "mean"], [ALL, "all"]],
    (head) => setTraits(model, { head }),
  );
  const viewChoice = toggles(
    "View",
    Object.entries(VIEWS).map(([view, { name }]) => [view, name]),
    (view) => setTraits(model, { view }),
  );
  const find = element("input", {
    ...{ type: "search", id: newId(), autocomplete: "off", autocapitalize: "none" },
    spellcheck: "false",
  });
  const found = element("span", { class: "lmc-count" });
  const search = element(
    "span",
    { class: "lmc-field lmc-search" },
    element("label", { for: find.id }, "Find a token"),
    find,
    found,
  );
  const textOf = (side, label, tokens) =>
    tokenText(label, tokens, {
      onHover: (i) => hover(i === null ? null : pairOf(side, i)),
      onChoose: (i) => toggle(pairOf(side, i)),
      onKey: (key) => keyInText(side, tokens.length, key),
    });
  const queryText = textOf("query", data.self ? "Tokens" : "Query tokens", data.tokens);
  const keyText = data.self ? queryText : textOf("key", "Key tokens", data.keyTokens);
  if (!data.self) {
    queryText.node.dataset.name = "query";
    keyText.node.dataset.name = "key";
  }
  const canvas = element("canvas", { role: "img" });
  const hint = element("p", { class: "lmc-note", id: newId() }, HINT);
  const frame = element(
    "div",
    { class: "lmc-frame", role: "application", "aria-describedby": hint.id, ...OWN_KEYS },
    canvas,
  );
  const read = element("p", { class: "lmc-reading" });
  const heads = headGrid(data, chooseHead);
  const lists = { query: tableOfConnections("query"), key: tableOfConnections("key") };
  const note = element("p", { class: "lmc-note" });
  const figure = () => figureOf(data, labels, choice, model.get("view"), shown(), matches);
  const [savePNG, saveCSV] = saveButtons(
    "attention",
    () => toCanvas(figure()),
    () => toCSV(data, choice),
  );
  const saveSVG = button("Save SVG", () =>
    download(new Blob([toSVG(figure())], { type: "image/svg+xml" }), "attention.svg"),
  );

  // --- What is shown ---

  function sceneOf() {
    const view = model.get("view");
    return { data, labels, choice, view, shown: shown(), matches, palette, colours, picture };
  }

  function drawCanvas() {
    const width = frame.clientWidth;
    if (width === 0 || colours === null) return; // not in the page yet
    if (model.get("view") === "matrix") picture ??= pictureOf(data, choice, palette);
    const scene = { ...sceneOf(), width };
    current = layoutOf(scene, width);
    const g = sized(canvas, width, Math.ceil(current.height));
    drawView(canvasPen(g), scene, current);
    if (scene.view === "matrix") drawLens(g, scene, current);
  }

  const nameOf = (tokens, i) => `${visible(tokens[i])}`;

  function fillLists([query, key]) {
    const { maps, head } = choice;
    const last = head === ALL ? ["head"] : [];
    const lastOf = (one) => (head === ALL ? [String(one.head)] : []);
    if (query === null && key === null) {
      const best = strongest(data, maps, [0, data.queries - 1], [0, data.keys - 1], ROWS);
      const rows = best.map((one) => [
        nameOf(data.tokens, one.query),
        nameOf(data.keyTokens, one.key),
        weightText(one.weight),
        ...lastOf(one),
      ]);
      lists.query.fill("Strongest connections", ["query", "key", "weight", ...last], rows);
      lists.key.node.hidden = true;
      lists.query.node.hidden = false;
      return;
    }
    const fill = (side, words, tokens, best, other) => {
      const nothing = best.length === 0 ? " nothing" : "";
      const rows = best.map((one) => [
        nameOf(tokens, one[other]),
        String(one[other]),
        weightText(one.weight),
        ...lastOf(one),
      ]);
      lists[side].fill(words + nothing, [other, "position", "weight", ...last], rows);
    };
    lists.query.node.hidden = query === null;
    lists.key.node.hidden = key === null;
    if (query !== null) {
      const words = `${quote(data.tokens[query])} attends to`;
      fill("query", words, data.keyTokens, attendedTo(data, maps, query, ROWS), "key");
    }
    if (key !== null) {
      const words = `${quote(data.keyTokens[key])} is attended to by`;
      fill("key", words, data.tokens, attendingTo(data, maps, key, ROWS), "query");
    }
  }

  function shadeTexts([query, key]) {
    const { top } = choice;
    const to = (j) => (query === null ? 0 : top[query * data.keys + j]);
    const from = (i) => (key === null ? 0 : top[i * data.keys + key]);
    const nothing = () => 0;
    if (data.self) return queryText.fill(to, from, query === key ? query : null);
    queryText.fill(nothing, from, query);
    keyText.fill(to, nothing, key);
  }

  /** Show what is looked at. */
  function show() {
    const looked = shown();
    read.textContent = reading(data, choice, looked);
    fillLists(looked);
    shadeTexts(looked);
    drawCanvas();
  }

  /** Show the model's settings. */
  function update() {
    const [layer, head, view] = ["layer", "head", "view"].map((trait) => model.get(trait));
    if (choice.layer !== layer || choice.head !== head) {
      choice = choose(data, layer, head);
      picture = null;
    }
    layerChoice.fill(layer);
    headChoice.fill(head);
    viewChoice.fill(view);
    heads.mark(layer, head);
    const [query, key] = focus();
    queryText.choose(query ?? (data.self ? key : null));
    if (!data.self) keyText.choose(key);
    note.textContent = describe(data, choice);
    const label = `${VIEWS[view].name} of attention weights`;
    frame.setAttribute("aria-label", label);
    canvas.setAttribute("aria-label", `${label}. ${note.textContent}`);
    show();
  }

  function onChange() {
    update();
    status.announce(() => spoken(data, choice, focus()));
  }

  /** Paint everything in these colours of the page. */
  function paint(present) {
    colours = present;
    palette = ramps(colours);
    picture = null;
    heads.paint(palette, colours);
    drawCanvas();
  }

  // --- The search ---

  function fillSearch() {
    const typed = find.value;
    matches = {
      queries: matching(data.tokens, typed),
      keys: matching(data.keyTokens, typed),
    };
    const count = matches.queries.length + (data.self ? 0 : matches.keys.length);
    found.textContent = typed.trim() === "" ? "" : `${count} found`;
    queryText.mark(matches.queries);
    if (!data.self) keyText.mark(matches.keys);
    if (typed.trim() !== "") status.announce(() => `${plural(count, "token")} found.`);
    drawCanvas();
  }

  /** Look at the next token found, or at the one before. */
  function goOn(step) {
    const pairs = matches.queries.map((i) => pairOf("query", i));
    if (!data.self) pairs.push(...matches.keys.map((j) => pairOf("key", j)));
    if (pairs.length === 0) return;
    const at = pairs.findIndex((pair) => pair.every((one, axis) => one === focus()[axis]));
    const next = at < 0 ? (step > 0 ? 0 : pairs.length - 1) : at + step;
    look(pairs[(next + pairs.length) % pairs.length]);
  }

  find.addEventListener("input", fillSearch);
  find.addEventListener("keydown", (event) => {
    if (event.key === "Enter") goOn(event.shiftKey ? -1 : 1);
  });

  // --- Pointers ---

  /** The token or the weight at a place of the canvas; null, if there is none. */
  function placeAt({ clientX, clientY }) {
    const { left, top } = canvas.getBoundingClientRect();
    const [x, y] = [clientX - left, clientY - top];
    const inside = (i, count) => i >= 0 && i < count;
    if (model.get("view") === "arcs") {
      const side = x < (current.left + current.right) / 2 ? "query" : "key";
      const i = Math.floor((y - current.top) / current.pitches[side]);
      if (!inside(i, side === "query" ? data.queries : data.keys)) return null;
      return side === "query" ? [i, null] : [null, i];
    }
    const query = Math.floor((y - current.top) / current.cellHeight);
    const key = Math.floor((x - current.left) / current.cellWidth);
    const [isQuery, isKey] = [inside(query, data.queries), inside(key, data.keys)];
    if (isQuery && isKey) return [query, key];
    if (isQuery && x < current.left) return [query, null];
    return isKey && y < current.top ? [null, key] : null;
  }

  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "touch") hover(placeAt(event));
  });
  canvas.addEventListener("pointerleave", () => hover(null));
  canvas.addEventListener("click", (event) => {
    const place = placeAt(event);
    if (place !== null) toggle(place);
  });
  followKeys(frame, (key) => (model.get("view") === "matrix" ? keyInMatrix : keyInArcs)(key));
  followKeys(heads.grid, keyInHeads);

  const texts = data.self ? [queryText.node] : [queryText, keyText].map(({ node }) => node);
  const root = element(
    "div",
    { class: "lmc-widget lmc-attention", role: "group", "aria-label": "Attention weights" },
    element(
      "div",
      { class: "lmc-tools" },
      layerChoice.node,
      headChoice.node,
      viewChoice.node,
      search,
    ),
    ...texts,
    element(
      "div",
      { class: "lmc-panes" },
      element("div", { class: "lmc-main" }, read, frame),
      element("div", { class: "lmc-side" }, heads.node, lists.query.node, lists.key.node),
    ),
    note,
    hint,
    element("div", { class: "lmc-buttons" }, savePNG, saveSVG, saveCSV),
    status.node,
  );
  el.replaceChildren(root);
  update();

  const ignore = followPage(root, frame, paint);
  const deafen = listen(model, ["layer", "head", "focus", "view"], onChange);
  return () => {
    status.stop();
    ignore();
    deafen();
  };
}

export default { render };
