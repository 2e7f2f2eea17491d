// GradientFlow: how far back a prediction's gradient reaches, in an RNN and in a GRU.
// Read it with _widget.js, which stands before it in Jupyter's module and in the book's pages.

// --- The arithmetic, to be read beside lmcourse/rnn.py ---------------------------------------

const dot = (a, b) => a.reduce((sum, number, i) => sum + number * b[i], 0);
const norm = (v) => Math.sqrt(dot(v, v));
const add = (a, b) => a.map((number, i) => number + b[i]);
const sigmoid = (a) => 0.5 * Math.tanh(0.5 * a) + 0.5;

/** The row vector v times a matrix, which is a list of rows. */
function times(v, matrix) {
  const product = matrix[0].map(() => 0);
  v.forEach((number, i) => matrix[i].forEach((weight, j) => (product[j] += number * weight)));
  return product;
}

/** The row vector v times the transposed matrix. */
const timesTransposed = (v, matrix) => matrix.map((row) => dot(v, row));

/** The plain recurrent layer: h_t = tanh(x_t W_x + h_{t-1} W_h + b). */
const RNN = {
  forward({ input_weight, recurrent_weight, bias }, x) {
    const states = [recurrent_weight.map(() => 0)];
    x.forEach((vector, t) => {
      const fromX = add(times(vector, input_weight), bias);
      states.push(add(fromX, times(states[t], recurrent_weight)).map(Math.tanh));
    });
    return { states };
  },

  /** The gradients with respect to each state and each input, from that of the last state. */
  backward({ input_weight, recurrent_weight }, { states }, dLast) {
    const [dStates, dX] = [[], []];
    let dH = dLast;
    for (let t = states.length - 2; t >= 0; t--) {
      dStates[t] = dH;
      const dA = dH.map((d, i) => d * (1 - states[t + 1][i] ** 2));
      dX[t] = timesTransposed(dA, input_weight);
      dH = timesTransposed(dA, recurrent_weight);
    }
    return { dStates, dX };
  },
};

/** The gated recurrent unit: h_t = (1 - z) n + z h_{t-1}; its blocks stand in the order r, z, n. */
const GRU = {
  forward({ input_weight, recurrent_weight, bias, candidate_bias }, x) {
    const hidden = candidate_bias.length;
    const states = [candidate_bias.map(() => 0)];
    const gates = x.map((vector, t) => {
      const fromX = add(times(vector, input_weight), bias);
      const fromH = times(states[t], recurrent_weight);
      const sums = add(fromX, fromH);
      const r = sums.slice(0, hidden).map(sigmoid);
      const z = sums.slice(hidden, 2 * hidden).map(sigmoid);
      const inside = add(fromH.slice(2 * hidden), candidate_bias);
      const n = r.map((gate, i) => Math.tanh(fromX[2 * hidden + i] + gate * inside[i]));
      states.push(n.map((candidate, i) => candidate + z[i] * (states[t][i] - candidate)));
      return { r, z, n, inside };
    });
    return { states, gates };
  },

  backward({ input_weight, recurrent_weight }, { states, gates }, dLast) {
    const [dStates, dX] = [[], []];
    let dH = dLast;
    for (let t = gates.length - 1; t >= 0; t--) {
      const { r, z, n, inside } = gates[t];
      dStates[t] = dH;
      const dN = dH.map((d, i) => d * (1 - z[i]) * (1 - n[i] ** 2));
      const dR = dN.map((d, i) => d * inside[i] * r[i] * (1 - r[i]));
      const dZ = dH.map((d, i) => d * (states[t][i] - n[i]) * z[i] * (1 - z[i]));
      dX[t] = timesTransposed([...dR, ...dZ, ...dN], input_weight);
      const dFromH = [...dR, ...dZ, ...dN.map((d, i) => d * r[i])];
      const short = dH.map((d, i) => d * z[i]);
      dH = add(short, timesTransposed(dFromH, recurrent_weight));
    }
    return { dStates, dX };
  },
};

/** The weights as the sliders change them, as _set() of gradient_flow.py. */
function changed(weights, { spectralRadius, gateBias }) {
  const hidden = weights.recurrent_weight.length;
  const candidate = weights.bias.length - hidden; // where its block begins: in an RNN at 0
  const factor = spectralRadius === null ? 1 : spectralRadius / weights.spectral_radius;
  return {
    ...weights,
    recurrent_weight: weights.recurrent_weight.map((row) =>
      row.map((weight, j) => (j < candidate ? weight : weight * factor)),
    ),
    // An RNN has no second block.
    bias: weights.bias.map((b, j) => (hidden <= j && j < 2 * hidden ? b + gateBias : b)),
  };
}

/** The norms of the gradients of -log p(last id), and p(last id) itself. */
function gradientFlow(layer, weights, ids) {
  const target = ids.at(-1);
  const x = ids.slice(0, -1).map((id) => weights.embedding[id]);
  const tape = layer.forward(weights, x);
  const logits = add(times(tape.states.at(-1), weights.output_weight), weights.output_bias);
  const probabilities = softmax(logits);
  const dLogits = probabilities.map((p, id) => (id === target ? p - 1 : p));
  const dLast = timesTransposed(dLogits, weights.output_weight);
  const { dStates, dX } = layer.backward(weights, tape, dLast);
  return {
    hiddenStates: dStates.map(norm),
    inputs: dX.map(norm),
    probability: probabilities[target],
  };
}

// --- The view's numbers ----------------------------------------------------------------------

const MODELS = [
  { trait: "rnn", name: "RNN", layer: RNN, colour: "blue" },
  { trait: "gru", name: "GRU", layer: GRU, colour: "orange" },
];

function readSettings(model) {
  return {
    length: model.get("length"),
    spectralRadius: model.get("spectral_radius"),
    gateBias: model.get("gate_bias"),
  };
}

/** Everything the view shows, computed from the model's state. Lists begin one step back. */
function compute(model) {
  const settings = readSettings(model);
  const ids = model.get("ids").slice(-1 - settings.length);
  const flows = MODELS.map(({ trait, name, layer, colour }) => {
    const weights = model.get(trait);
    const flow = gradientFlow(layer, changed(weights, settings), ids);
    const total = flow.inputs.reduce((a, b) => a + b, 0);
    const shares = flow.inputs.map((input) => (0 < total && total < Infinity ? input / total : 0));
    return {
      trait,
      name,
      colour,
      radius: settings.spectralRadius ?? weights.spectral_radius,
      probability: flow.probability,
      states: flow.hiddenStates.reverse(),
      inputs: flow.inputs.reverse(),
      shares: shares.reverse(),
    };
  });
  return { settings, ids: ids.reverse(), flows };
}

/** What the gradient is multiplied by from the last state read to the first. */
const growth = ({ states }) => (states[0] > 0 ? states.at(-1) / states[0] : 0);

// Two equal shares, each of them half, may differ in their last bits.
const ALMOST_HALF = 0.5 * (1 - 1e-9);

/** How many of the last tokens hold half of the dependence. */
function half({ inputs }) {
  let sum = 0;
  const held = inputs.map((input) => (sum += input));
  const first = held.findIndex((part) => part >= ALMOST_HALF * sum);
  return Math.max(first, 0) + 1; // -1, where sums have overflowed
}

// --- Words and numbers -----------------------------------------------------------------------

/** A number that is not negative with two digits, as _brief() of gradient_flow.py. */
function brief(x) {
  if (!Number.isFinite(x)) return "overflow";
  if (x === 0 || (x >= 1e-3 && x < 1e3)) return String(Number(x.toPrecision(2)));
  return x.toExponential(1).replace("+", "");
}

const percent = (p) => `${(100 * p).toFixed(1)}%`;

const signed = (x) => (x < 0 ? `−${-x}` : `+${x}`);

const lastTokens = (n) => (n === 1 ? "the last token" : `the last ${n} tokens`);

const stepsBack = (n) => `${n} step${n === 1 ? "" : "s"} back`;

const showRadius = (radius) => (radius === null ? "as trained" : String(radius));

function describeSettings({ length, spectralRadius, gateBias }) {
  const radius = `spectral radius ${showRadius(spectralRadius)}`;
  return `Length ${length}, ${radius}, update-gate bias ${signed(gateBias)}`;
}

/** What the chart shows, as _sentences() of gradient_flow.py. */
function sentences({ settings, ids, flows }, tokens) {
  const [rnn, gru] = flows;
  const target = visible(tokens[ids[0]]);
  return (
    `Between 1 and ${stepsBack(settings.length)}, the RNN’s gradient is multiplied by ` +
    `${brief(growth(rnn))}, the GRU’s by ${brief(growth(gru))}. Half of the RNN’s dependence ` +
    `lies in ${lastTokens(half(rnn))}, half of the GRU’s in ${lastTokens(half(gru))}. The right ` +
    `token, “${target}”, has probability ${percent(rnn.probability)} in the RNN, ` +
    `${percent(gru.probability)} in the GRU.`
  );
}

// --- What the sliders can be set to ----------------------------------------------------------

/** Radii, with null, the weights as they are, at the place of the RNN's own radius. */
function radiusStops(model) {
  const value = model.get("spectral_radius");
  const stops = value === null ? range(0, 40, 10) : stopsWith(range(0, 40, 10), value);
  const own = stops.filter((radius) => radius <= model.get("rnn").spectral_radius).length;
  return [...stops.slice(0, own), null, ...stops.slice(own)];
}

const SLIDERS = [
  {
    trait: "length",
    label: "Sequence length",
    stops: (model) => range(2, model.get("ids").length - 1),
    show: String,
  },
  {
    trait: "spectral_radius",
    label: "Spectral radius",
    stops: radiusStops,
    show: showRadius,
    marked: null, // as trained
  },
  {
    trait: "gate_bias",
    label: "Update-gate bias",
    stops: () => range(-16, 16, 2),
    show: signed,
    marked: 0, // as trained
  },
];

// --- The chart -------------------------------------------------------------------------------

// Squares of smaller numbers are 0 in float64, and so are the norms.
const SMALLEST = 1e-160;
const LARGEST = 1e154;
const MARGIN = { left: 46, right: 46, top: 30, bottom: 44 };
const SUPERSCRIPT = { "-": "⁻", ...Object.fromEntries([..."⁰¹²³⁴⁵⁶⁷⁸⁹"].map((c, i) => [i, c])) };

const powerOfTen = (exponent) =>
  `10${String(exponent).replace(/./g, (character) => SUPERSCRIPT[character])}`;

/** The vertical axis: its ends and marks, as exponents of ten. It widens for lines that need it. */
function decades(flows) {
  const norms = flows.flatMap(({ states }) => states);
  const exponents = norms
    .filter((state) => state >= SMALLEST)
    .map((state) => Math.log10(Math.min(state, LARGEST)));
  const low = Math.floor(Math.min(-8, ...exponents));
  const high = Math.ceil(Math.max(1, ...exponents));
  const gap = [1, 2, 5, 10, 20, 50].find((size) => (high - low) / size <= 7);
  const marks = range(Math.ceil(low / gap), Math.floor(high / gap)).map((mark) => mark * gap);
  // What is 0 has a place of its own, below all others.
  const zero = norms.some((state) => state < SMALLEST) ? marks[0] - gap : null;
  return { low: zero ?? low, high, marks, zero };
}

/** Numbers of steps back that the horizontal axis marks. */
function stepMarks(length, width) {
  const gap = [1, 2, 5, 10, 20, 50, 100].find((size) => (length / size) * 40 <= width) ?? 200;
  const tooNear = 1 + gap / 2; // to the mark at 1
  return range(1, length).filter((step) => step === 1 || (step % gap === 0 && step > tooNear));
}

/** Where a step and a norm lie in a chart of this size. */
function scales({ settings, flows }, { width, height }) {
  const { low, high, marks, zero } = decades(flows);
  const right = width - MARGIN.right;
  const bottom = height - MARGIN.bottom;
  const perStep = (right - MARGIN.left) / (settings.length - 1);
  const x = (step) => MARGIN.left + (step - 1) * perStep;
  const y = (exponent) => bottom - ((exponent - low) / (high - low)) * (bottom - MARGIN.top);
  const yOf = (state) => {
    if (state < SMALLEST) return y(zero);
    return y(state < LARGEST ? Math.log10(state) : high); // NaN, too, has overflowed
  };
  return { marks, zero, right, bottom, x, y, yOf };
}

const rule = (x1, y1, x2, y2, stroke) => shape("line", { x1, y1, x2, y2, style: { stroke } });

function axes({ marks, zero, right, bottom, x, y }, length, { line, muted }) {
  const { left, top } = MARGIN;
  const style = { fill: muted };
  const heights = zero === null ? marks : [zero, ...marks];
  const nameOf = (mark) => (mark === zero ? "0" : powerOfTen(mark));
  return [
    ...heights.map((mark) => rule(left, y(mark), right, y(mark), line)),
    ...heights.map((mark) => writing(nameOf(mark), left - 8, y(mark) + 4, "end", style)),
    ...stepMarks(length, right - left).map((step) =>
      writing(String(step), x(step), bottom + 18, "middle", style),
    ),
    writing("norm of ∂L/∂h, in nats per unit of state", 4, top - 16, "start", style),
    writing(
      "steps back from the predicted token",
      (left + right) / 2,
      bottom + 38,
      "middle",
      style,
    ),
  ];
}

function line({ trait, colour, states }, { x, yOf }, colours) {
  const points = states.map((state, i) => `${x(i + 1).toFixed(1)},${yOf(state).toFixed(1)}`);
  const style = { fill: "none", stroke: colours[colour], "stroke-width": 2.5 };
  if (trait === "gru") style["stroke-dasharray"] = "7 4";
  return shape("polyline", { points: points.join(" "), "stroke-linejoin": "round", style });
}

function marker({ trait, colour, states }, step, { x, yOf }, colours) {
  const [cx, cy] = [x(step), yOf(states[step - 1])];
  const style = { fill: colours[colour], stroke: colours.paper, "stroke-width": 1.5 };
  if (trait === "rnn") return shape("circle", { cx, cy, r: 6.5, style });
  return shape("rect", { x: cx - 4, y: cy - 4, width: 8, height: 8, style });
}

/** The models' names at the ends of their lines, apart where these meet. */
function namesOfLines(flows, { right, bottom, yOf }, colours) {
  const ends = flows.map(({ states }) => yOf(states.at(-1)));
  const middle = Math.min((ends[0] + ends[1]) / 2, bottom - 7);
  const apart = Math.max(Math.abs(ends[0] - ends[1]), 14) / 2;
  const upper = ends[0] < ends[1] ? 0 : 1;
  return flows.map(({ name, colour }, i) => {
    const y = middle + (i === upper ? -apart : apart) + 4;
    return writing(name, right + 10, y, "start", { fill: colours[colour], "font-weight": 700 });
  });
}

/** The norms against the steps back, with one step pointed out. */
function chart(numbers, step, size, colours) {
  const scale = scales(numbers, size);
  const { flows, settings } = numbers;
  const style = { "font-family": "system-ui, sans-serif", "font-size": "12px" };
  return shape(
    "svg",
    { ...size, viewBox: `0 0 ${size.width} ${size.height}`, style },
    ...axes(scale, settings.length, colours),
    rule(scale.x(step), MARGIN.top, scale.x(step), scale.bottom, colours.muted),
    ...flows.map((flow) => line(flow, scale, colours)),
    ...flows.map((flow) => marker(flow, step, scale, colours)),
    ...namesOfLines(flows, scale, colours),
  );
}

// --- Files -----------------------------------------------------------------------------------

/** All steps, nearest first, at full precision. */
function toCSV({ ids, flows }, tokens) {
  const kinds = ["states", "inputs", "shares"];
  const columns = { states: "state_norm", inputs: "embedding_norm", shares: "share" };
  const names = flows.flatMap(({ trait }) => kinds.map((kind) => `${trait}_${columns[kind]}`));
  const lines = ids.slice(1).map((id, i) => {
    const values = flows.flatMap((flow) => kinds.map((kind) => flow[kind][i]));
    return [i + 1, id, quoted(tokens[id]), ...values].join(",");
  });
  return [["steps_back", "id", "token", ...names].join(","), ...lines, ""].join("\r\n");
}

/** The chart as a picture. */
async function toCanvas(numbers, looked) {
  const [width, height, top] = [720, 340, 44];
  const svg = chart(numbers, looked, { width, height: height - top }, COLOURS_OF_PICTURE);
  const image = await imageOf(svg);
  const { canvas, g } = emptyPicture(width, height);
  g.fillStyle = COLOURS_OF_PICTURE.ink;
  g.font = "bold 14px sans-serif";
  g.fillText(describeSettings(numbers.settings), 16, 26, width - 32);
  g.drawImage(image, 0, top, width, height - top);
  return canvas;
}

// --- The page's elements ---------------------------------------------------------------------

const THUMB = 16; // how wide the handle of a slider is

/** How dark a share is drawn: the square root lets small ones be seen. */
const shade = (share) => Math.sqrt(share).toFixed(3);

/** The text, each token shaded by its share of one model's dependence. */
function shadedText({ trait, name }, ids, tokens, onLook) {
  const length = ids.length - 1;
  const spans = ids.map((id, i) => {
    const shown = tokens[id] === " " ? " " : visible(tokens[id]); // words wrap at their spaces
    const span = element("span", {}, shown);
    span.dataset.back = length - i;
    return span;
  });
  spans[length].classList.add("lmc-target");
  const text = element("p", { class: `lmc-text lmc-${trait}`, role: "img" }, ...spans);
  text.addEventListener("pointerover", ({ target }) => {
    if (target.dataset.back > 0) onLook(Number(target.dataset.back));
  });
  const node = element("div", {}, element("span", { class: "lmc-name" }, name), text);

  function fill({ shares }, looked) {
    spans.forEach((span, i) => {
      const back = length - i;
      span.style.setProperty("--lmc-shade", shade(shares[back - 1] ?? 0));
      span.classList.toggle("lmc-unread", back > shares.length);
      span.classList.toggle("lmc-oldest", back === shares.length && back < length);
      span.classList.toggle("lmc-looked", back === looked);
    });
    const strongest = shares.map((_, i) => i).sort((a, b) => shares[b] - shares[a]);
    const words = strongest.slice(0, 3).map((i) => {
      const token = spans[length - 1 - i].textContent;
      return `“${token}” ${stepsBack(i + 1)}, ${percent(shares[i])}`;
    });
    const label = `The text as the ${name} depends on it; most on ${words.join("; ")}`;
    text.setAttribute("aria-label", label);
  }
  return { node, fill };
}

/** What the shades mean, and the bar before the oldest token that is read. */
function legendOfShades() {
  const shades = [0.01, 0.1, 0.5].map((share) => {
    const mark = element("span", { class: "lmc-shade" });
    mark.style.setProperty("--lmc-shade", shade(share));
    return element("span", {}, mark, `${100 * share}%`);
  });
  const words = "Each token’s share of the gradient with respect to the embeddings:";
  const bar = element("span", {}, "What is left of the bar is not read.");
  const node = element("p", { class: "lmc-legend" }, element("span", {}, words), ...shades, bar);
  return { node, fill: (allIsRead) => (bar.hidden = allIsRead) };
}

/** The table that is the chart's legend and gives the numbers of the step that is looked at. */
function legendOfLines() {
  const probability = heading("");
  const gradient = heading("");
  const share = heading("");
  const radius = heading("spectral radius");
  const head = element("tr", {}, heading("model"), radius, probability, gradient, share);
  const rows = MODELS.map(({ trait, name }) => {
    const mark = element("span", { class: `lmc-mark lmc-${trait}` });
    const cells = range(1, 4).map(() => element("td"));
    const node = element("tr", {}, element("th", { scope: "row" }, mark, name), ...cells);
    return { node, cells };
  });
  const body = element("tbody", {}, ...rows.map(({ node }) => node));
  const label = { "aria-label": "The models, and the step that is looked at", class: "lmc-models" };
  const node = element("table", label, element("thead", {}, head), body);

  function fill({ ids, flows }, tokens, looked) {
    probability.textContent = `p(“${visible(tokens[ids[0]])}”)`;
    gradient.textContent = `norm, ${stepsBack(looked)}`;
    share.textContent = `share of “${visible(tokens[ids[looked]])}”`;
    flows.forEach((flow, i) => {
      const numbers = [
        flow.radius.toFixed(2),
        percent(flow.probability),
        brief(flow.states[looked - 1]),
        percent(flow.shares[looked - 1]),
      ];
      rows[i].cells.forEach((cell, k) => (cell.textContent = numbers[k]));
    });
  }
  return { node, fill };
}

/** All numbers as a table, made only while it is open. */
function tableOfSteps() {
  const names = ["steps back", "token", "RNN norm", "GRU norm", "RNN share", "GRU share"];
  const body = element("tbody");
  const head = element("thead", {}, element("tr", {}, ...names.map(heading)));
  const table = element("table", {}, head, body);
  const box = { class: "lmc-steps", tabindex: 0, role: "group", "aria-label": "All steps" };
  const summary = element("summary", {}, "All steps as a table");
  const node = element("details", {}, summary, element("div", box, table));

  function fill({ ids, flows }, tokens) {
    if (!node.open) return;
    const rows = ids.slice(1).map((id, i) => {
      const norms = flows.map(({ states }) => brief(states[i]));
      const shares = flows.map(({ shares }) => percent(shares[i]));
      const cells = [visible(tokens[id]), ...norms, ...shares];
      const step = element("th", { scope: "row" }, String(i + 1));
      return element("tr", {}, step, ...cells.map((cell) => element("td", {}, cell)));
    });
    body.replaceChildren(...rows);
  }
  return { node, fill };
}

function render({ model, el }) {
  const tokens = model.get("tokens");
  const ids = model.get("ids");
  let numbers = compute(model);
  let chosen = null; // the step that the reader looks at; null is the oldest one
  const looked = () => Math.min(chosen ?? Infinity, numbers.settings.length);

  function look(step) {
    chosen = Math.max(step, 1);
    show();
  }

  const sliders = traitSliders(model, SLIDERS, (values) => setTraits(model, values));
  const figure = element("div", { class: "lmc-chart", role: "img" });
  const cursor = slider("Look at", (position) => look(position + 1));
  cursor.node.classList.add("lmc-cursor");
  const lines = legendOfLines();
  const shades = legendOfShades();
  const texts = MODELS.map((one) => shadedText(one, ids, tokens, look));
  const words = element("p", { class: "lmc-words" });
  const steps = tableOfSteps();
  const status = announcer();
  const saves = saveButtons(
    "gradient-flow",
    () => toCanvas(numbers, looked()),
    () => toCSV(numbers, tokens),
  );

  function draw() {
    const width = figure.clientWidth;
    if (width === 0) return; // not in the page yet
    const height = width < 480 ? 240 : 280;
    figure.replaceChildren(chart(numbers, looked(), { width, height }, COLOURS_OF_PAGE));
  }

  /** Show the numbers as they are, with the step that is looked at. */
  function show() {
    const { settings, ids: nearestFirst, flows } = numbers;
    const step = looked();
    const token = `“${visible(tokens[nearestFirst[step]])}”`;
    const norms = flows.map(({ name, states }) => `${name} ${brief(states[step - 1])}`);
    const shown = `${stepsBack(step)}, ${token}`;
    cursor.fill(step - 1, settings.length - 1, shown, `${shown}: ${norms.join(", ")}`);
    lines.fill(numbers, tokens, step);
    shades.fill(settings.length === ids.length - 1);
    texts.forEach((text, i) => text.fill(flows[i], step));
    draw();
  }

  function update() {
    numbers = compute(model);
    sliders.update();
    words.textContent = sentences(numbers, tokens);
    figure.setAttribute("aria-label", `Gradient norm against steps back. ${words.textContent}`);
    steps.fill(numbers, tokens);
    show();
  }

  function onChange() {
    update();
    status.announce(() => `${describeSettings(numbers.settings)}. ${words.textContent}`);
  }

  function pointAt(event) {
    const { left, width } = figure.getBoundingClientRect();
    const along = (event.clientX - left - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
    look(1 + Math.round(Math.min(Math.max(along, 0), 1) * (numbers.settings.length - 1)));
  }
  figure.addEventListener("pointermove", pointAt);
  figure.addEventListener("pointerdown", pointAt);
  steps.node.addEventListener("toggle", () => steps.fill(numbers, tokens));
  cursor.input.style.marginLeft = `${MARGIN.left - THUMB / 2}px`;
  cursor.input.style.width = `calc(100% - ${MARGIN.left + MARGIN.right - THUMB}px)`;

  const root = element(
    "div",
    {
      class: "lmc-widget lmc-flow",
      role: "group",
      "aria-label": "Gradient flow in an RNN and a GRU",
    },
    sliders.node,
    figure,
    cursor.node,
    lines.node,
    shades.node,
    ...texts.map((text) => text.node),
    words,
    element("div", { class: "lmc-buttons" }, sliders.reset, ...saves),
    steps.node,
    status.node,
  );
  el.replaceChildren(root);
  update();

  const resized = new ResizeObserver(draw);
  resized.observe(figure);
  const deafen = listen(model, sliders.traits, onChange);
  return () => {
    status.stop();
    resized.disconnect();
    deafen();
  };
}

export default { render };
