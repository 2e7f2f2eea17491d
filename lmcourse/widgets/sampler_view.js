// SamplerView: a next-token distribution under temperature, top-k, top-p and min-p.
// Read it with _widget.js, which stands before it in Jupyter's module and in the book's pages.

// --- The arithmetic, to be read beside lmcourse/probability.py -------------------------------

const CUT_TOLERANCE = 1e-9;

/** The entropy of a distribution in nats; 0 log 0 counts as 0. */
function entropy(probabilities) {
  return probabilities.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0);
}

/** The ids of the tokens, likeliest first, equal logits by lower id. */
function likeliestFirst(logits) {
  return logits.map((_, id) => id).sort((a, b) => logits[b] - logits[a] || a - b);
}

/** For each token what cuts it, or null if it stays. `order` is likeliestFirst(logits). */
function cuts(logits, order, { temperature, topK, topP, minP }) {
  const cutBy = logits.map((logit) => (logit === -Infinity ? "impossible" : null));
  const cut = (id, filter) => (cutBy[id] ??= filter);

  if (topK !== null && topK < logits.length) {
    const smallestKept = logits[order[topK - 1]];
    logits.forEach((logit, id) => logit < smallestKept && cut(id, "top-k"));
  }
  if (topP !== null && topP < 1) {
    const mass = softmax(
      logits.map((logit, id) => (cutBy[id] ? -Infinity : logit)),
      temperature,
    );
    let massBefore = 0;
    order.forEach((id, rank) => {
      if (rank > 0 && massBefore >= topP - CUT_TOLERANCE) cut(id, "top-p");
      massBefore += mass[id];
    });
  }
  if (minP !== null) {
    const max = logits[order[0]];
    const smallestKept = minP * (1 - CUT_TOLERANCE);
    logits.forEach((logit, id) => {
      if (Math.exp((logit - max) / temperature) < smallestKept) cut(id, "min-p");
    });
  }
  return cutBy;
}

/** The distribution that tokens are drawn from, given what is cut. */
function samplingDistribution(logits, cutBy, temperature) {
  return softmax(
    logits.map((logit, id) => (cutBy[id] ? -Infinity : logit)),
    temperature,
  );
}

/** The index-th number in [0, 1) of the generator mulberry32 started at `seed`. */
function uniform(seed, index) {
  let t = (seed + Math.imul(index + 1, 0x6d2b79f5)) | 0;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

/** The token into whose stretch of the cumulative sum `u` falls: the first with more than u. */
function sample(cumulative, u) {
  const target = u * cumulative[cumulative.length - 1];
  let low = 0;
  let high = cumulative.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (cumulative[middle] > target) high = middle;
    else low = middle + 1;
  }
  return low;
}

function cumulativeSum(values) {
  let sum = 0;
  return values.map((value) => (sum += value));
}

// --- What the sliders can be set to ----------------------------------------------------------

/** The stops of the top-k slider: every small number, then ever wider steps; null keeps all. */
function topKStops(model) {
  const vocabSize = model.get("tokens").length;
  const stops = range(1, 20);
  for (let decade = 10; decade < vocabSize; decade *= 10) {
    stops.push(...[2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20].map((step) => step * decade));
  }
  return [...stops.filter((k) => k < vocabSize), null];
}

const SLIDERS = [
  {
    trait: "temperature",
    label: "Temperature",
    stops: () => [...range(2, 40, 20), ...range(21, 30, 10)],
    show: (value) => String(value),
  },
  {
    trait: "top_k",
    label: "Top-k",
    stops: topKStops,
    show: (value) => (value === null ? "off" : groupDigits(value)),
  },
  {
    trait: "top_p",
    label: "Top-p",
    stops: () => [...range(1, 19, 20), 0.96, 0.97, 0.98, 0.99, 0.995, null],
    show: (value) => (value === null ? "off" : String(value)),
  },
  {
    trait: "min_p",
    label: "Min-p",
    stops: () => [null, 0.001, 0.002, 0.005, ...range(1, 10, 100), ...range(3, 20, 20)],
    show: (value) => (value === null ? "off" : String(value)),
  },
];

// --- Words and numbers -----------------------------------------------------------------------

function percent(p) {
  if (p === 0) return "0%";
  if (p < 0.0001) return "<0.01%";
  return `${(100 * p).toFixed(p < 0.1 ? 2 : 1)}%`;
}

const groupDigits = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");

const plural = (n, noun) => `${groupDigits(n)} ${noun}${n === 1 ? "" : "s"}`;

/** The probability at the right end of the bars: a round number that the longest fits under. */
function scaleOf(rows) {
  const tokens = rows.filter((row) => row.isToken);
  const longest = Math.max(...tokens.flatMap((row) => [row.before, row.after]));
  return [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8].find((p) => longest <= p) ?? 1;
}

// --- The view's numbers ----------------------------------------------------------------------

function readSettings(model) {
  return {
    temperature: model.get("temperature"),
    topK: model.get("top_k"),
    topP: model.get("top_p"),
    minP: model.get("min_p"),
  };
}

/** Everything the view shows, computed from the model's state. */
function compute(model) {
  const logits = model.get("logits").map((logit) => logit ?? -Infinity);
  const settings = readSettings(model);
  const order = likeliestFirst(logits);
  const cutBy = cuts(logits, order, settings);
  const before = softmax(logits);
  const after = samplingDistribution(logits, cutBy, settings.temperature);
  const drawn = logits.map((_, id) => model.get("drawn")[id] ?? 0);
  const drawnInAll = drawn.reduce((a, b) => a + b, 0);
  const kept = cutBy.filter((filter) => filter === null).length;
  const nats = entropy(after);
  return { logits, settings, order, cutBy, before, after, drawn, drawnInAll, kept, nats };
}

function draw(model, howMany) {
  const { after, drawnInAll } = compute(model);
  const cumulative = cumulativeSum(after);
  const drawn = { ...model.get("drawn") };
  for (let i = 0; i < howMany; i++) {
    const id = sample(cumulative, uniform(model.get("seed"), drawnInAll + i));
    drawn[id] = (drawn[id] ?? 0) + 1;
  }
  setTraits(model, { drawn });
}

/** One row of the table, or the row that stands for all tokens below the last one shown. */
function rowsToShow(numbers, tokens, howMany) {
  const { order, cutBy, before, after, drawn } = numbers;
  const rows = order.slice(0, howMany).map((id) => ({
    name: visible(tokens[id]),
    isToken: true,
    before: before[id],
    after: after[id],
    drawn: drawn[id],
    cutBy: cutBy[id] && (cutBy[id] === "impossible" ? "impossible" : `cut: ${cutBy[id]}`),
  }));
  const rest = order.slice(howMany);
  if (rest.length > 0) {
    const total = (values) => rest.reduce((sum, id) => sum + values[id], 0);
    rows.push({
      name: plural(rest.length, "other"),
      isToken: false,
      before: total(before),
      after: total(after),
      drawn: total(drawn),
      cutBy: rest.every((id) => cutBy[id]) ? "cut" : null,
    });
  }
  return rows;
}

function describeSettings({ temperature, topK, topP, minP }) {
  const filters = [
    topK !== null && `top-k ${groupDigits(topK)}`,
    topP !== null && `top-p ${topP}`,
    minP !== null && `min-p ${minP}`,
  ];
  return [`temperature ${temperature}`, ...filters.filter(Boolean)].join(", ");
}

const inBits = (nats) => (nats / Math.LN2).toFixed(2);

/** The sentence that screen readers hear after a change. */
function announcement(numbers, tokens) {
  const { settings, kept, logits, nats, order, after, drawn, drawnInAll } = numbers;
  const best = order[0];
  const sentences = [
    `${describeSettings(settings)}: ${kept} of ${plural(logits.length, "token")} kept`,
    `entropy ${inBits(nats)} bits`,
    `likeliest ${visible(tokens[best])}, ${percent(after[best])}`,
  ];
  if (drawnInAll > 0) {
    const most = order.reduce((a, b) => (drawn[b] > drawn[a] ? b : a));
    sentences.push(
      `${groupDigits(drawnInAll)} drawn, most often ${visible(tokens[most])}, ${drawn[most]} times`,
    );
  }
  return `${sentences.join("; ")}.`;
}

// --- Files -----------------------------------------------------------------------------------

/** All tokens, likeliest first, at full precision. */
function toCSV(numbers, tokens) {
  const { logits, order, before, after, cutBy, drawn } = numbers;
  const header = "id,token,logit,model_probability,sampling_probability,cut_by,drawn";
  const lines = order.map((id) =>
    [
      id,
      quoted(tokens[id]),
      logits[id] === -Infinity ? "-inf" : logits[id],
      before[id],
      after[id],
      cutBy[id] ?? "",
      drawn[id],
    ].join(","),
  );
  return [header, ...lines, ""].join("\r\n");
}

/** The table as a picture. */
function toCanvas(numbers, rows, context) {
  const { settings, kept, logits, nats, drawnInAll } = numbers;
  const { ink, muted, outline, blue } = COLOURS_OF_PICTURE;
  const [width, rowHeight, top] = [720, 24, context ? 96 : 72];
  const [left, right] = [156, 470];
  const columns = { model: 544, sampling: 622, drawn: 696 };
  const height = top + rowHeight * rows.length + 44;
  const { canvas, g } = emptyPicture(width, height);
  g.textBaseline = "middle";

  const write = (text, x, y, { align = "right", font = "13px sans-serif", fill = ink } = {}) => {
    Object.assign(g, { textAlign: align, font, fillStyle: fill });
    g.fillText(text, x, y, width - 48);
  };
  const small = { font: "11px sans-serif", fill: muted };
  const clipped = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
  const scale = scaleOf(rows);
  const at = (p) => left + (right - left) * Math.min(p / scale, 1);

  if (context) {
    const heading = `Next token after “${clipped(context, 70)}”`;
    write(heading, 24, 26, { align: "left", font: "bold 15px sans-serif" });
  }
  const tokensKept = `${groupDigits(kept)} of ${plural(logits.length, "token")} kept`;
  const summary = `${describeSettings(settings)} · ${tokensKept} · entropy ${inBits(nats)} bits`;
  write(summary, 24, top - 46, { align: "left" });
  write("0", left, top - 14, { ...small, align: "left" });
  write(`${Math.round(100 * scale)}%`, right, top - 14, small);
  for (const [name, x] of Object.entries(columns)) write(name, x, top - 14, small);

  rows.forEach((row, i) => {
    const y = top + rowHeight * i + rowHeight / 2;
    const font = row.isToken ? "13px monospace" : "13px sans-serif";
    write(clipped(row.name, 15), left - 12, y, { font, fill: row.cutBy ? muted : ink });
    write(percent(row.before), columns.model, y, { fill: muted });
    write(row.cutBy ?? percent(row.after), columns.sampling, y);
    write(groupDigits(row.drawn), columns.drawn, y);
    if (!row.isToken) return;
    Object.assign(g, { strokeStyle: outline, lineWidth: 1 });
    g.setLineDash(row.cutBy ? [3, 2] : []);
    g.strokeRect(left + 0.5, y - 7.5, Math.max(at(row.before) - left - 1, 0), 15);
    g.setLineDash([]);
    g.fillStyle = blue;
    g.fillRect(left, y - 5, at(row.after) - left, 10);
    if (row.drawn > 0) diamond(g, at(row.drawn / drawnInAll), y);
  });
  const legend = "Outline: the model. Blue bar: what is sampled from. Diamond: share of the draws.";
  write(legend, 24, height - 22, { ...small, align: "left" });
  return canvas;
}

function diamond(g, x, y) {
  const { orange, paper } = COLOURS_OF_PICTURE;
  g.beginPath();
  g.moveTo(x, y - 6);
  [
    [x + 5, y],
    [x, y + 6],
    [x - 5, y],
  ].forEach(([px, py]) => g.lineTo(px, py));
  g.closePath();
  Object.assign(g, { fillStyle: orange, strokeStyle: paper, lineWidth: 1.5 });
  g.stroke();
  g.fill();
}

// --- The page's elements ---------------------------------------------------------------------

const ROWS_AT_FIRST = 20;

/** What the three marks of the bar chart mean. */
function legend() {
  const entry = (mark, words) => [element("span", { class: `lmc-mark lmc-mark-${mark}` }), words];
  return element(
    "p",
    { class: "lmc-legend" },
    element("span", {}, ...entry("model", "the model")),
    element("span", {}, ...entry("sampling", "sampled from")),
    element("span", {}, ...entry("drawn", "share of draws")),
  );
}

/** A table row whose cells are made once and then only refilled, so that nothing flickers. */
function tableRow() {
  const name = element("th", { scope: "row" });
  const model = element("div", { class: "lmc-bar-model" });
  const sampling = element("div", { class: "lmc-bar-sampling" });
  const share = element("div", { class: "lmc-diamond" });
  const track = element("div", { class: "lmc-track" }, model, sampling, share);
  const bars = element("td", { class: "lmc-bars", "aria-hidden": "true" }, track);
  const cells = ["model", "sampling", "drawn"].map((kind) =>
    element("td", { class: `lmc-${kind}` }),
  );
  const node = element("tr", {}, name, bars, ...cells);

  function fill(row, scale, drawnInAll, isLastKept) {
    // The sum over all other tokens would not fit the scale, and would look like one likely token.
    const width = (p) => `${row.isToken ? (100 * p) / scale : 0}%`;
    name.textContent = row.name;
    name.title = row.name;
    node.classList.toggle("lmc-rest", !row.isToken);
    node.classList.toggle("lmc-cut", Boolean(row.cutBy));
    node.classList.toggle("lmc-last-kept", isLastKept);
    model.style.width = width(row.before);
    sampling.style.width = width(row.after);
    share.hidden = row.drawn === 0 || !row.isToken;
    share.style.left = `min(${width(row.drawn / Math.max(drawnInAll, 1))}, 100%)`;
    cells[0].textContent = percent(row.before);
    cells[1].replaceChildren(
      row.cutBy ? element("span", { class: "lmc-chip" }, row.cutBy) : percent(row.after),
    );
    cells[2].textContent = drawnInAll > 0 ? groupDigits(row.drawn) : "–";
  }
  return { node, fill };
}

function render({ model, el }) {
  let howMany = ROWS_AT_FIRST;
  let numbers = compute(model);
  const tokens = () => model.get("tokens");
  const set = (values) => setTraits(model, { ...values, drawn: {} });

  const sliders = traitSliders(model, SLIDERS, set);
  const heading = element("p", { class: "lmc-context" });
  const stats = ["Tokens kept", "Entropy", "Drawn"].map((name) => {
    const value = element("span", { class: "lmc-value" });
    return {
      value,
      node: element("p", {}, element("span", { class: "lmc-name" }, `${name} `), value),
    };
  });
  const scaleEnd = element("span");
  const head = element(
    "tr",
    {},
    element("th", { scope: "col" }, "token"),
    element(
      "td",
      { class: "lmc-scale", "aria-hidden": "true" },
      element("div", {}, element("span", {}, "0"), scaleEnd),
    ),
    element("th", { scope: "col", class: "lmc-model" }, "model"),
    element("th", { scope: "col", class: "lmc-sampling" }, "sampling"),
    element("th", { scope: "col", class: "lmc-drawn" }, "drawn"),
  );
  const body = element("tbody");
  const status = announcer();
  const rows = [];

  const more = button("Show 20 more", () => {
    howMany += ROWS_AT_FIRST;
    update();
  });
  const fewer = button("Show fewer", () => {
    howMany = ROWS_AT_FIRST;
    update();
    more.focus();
  });
  const draws = [1, 100].map((n) => button(`Draw ${n}`, () => draw(model, n)));
  draws.forEach((node) => node.classList.add("lmc-primary"));
  const clear = button("Clear draws", () => set({}));

  const shownRows = () => rowsToShow(numbers, tokens(), howMany);
  const saves = saveButtons(
    "sampler-view",
    () => toCanvas(numbers, shownRows(), model.get("context")),
    () => toCSV(numbers, tokens()),
  );

  function update() {
    numbers = compute(model);
    const shown = shownRows();
    const scale = scaleOf(shown);
    sliders.update();
    heading.replaceChildren("Next token after ", element("q", {}, model.get("context")));
    heading.hidden = model.get("context") === "";
    scaleEnd.textContent = `${Math.round(100 * scale)}%`;

    const { kept, logits, nats, drawnInAll } = numbers;
    stats[0].value.textContent = `${groupDigits(kept)} of ${groupDigits(logits.length)}`;
    stats[1].value.replaceChildren(
      `${inBits(nats)} bits `,
      element("small", {}, `${nats.toFixed(2)} nats`),
    );
    stats[2].value.textContent = groupDigits(drawnInAll);

    while (rows.length > shown.length) rows.pop().node.remove();
    while (rows.length < shown.length) {
      rows.push(tableRow());
      body.append(rows.at(-1).node);
    }
    shown.forEach((row, i) => {
      const isLastKept = !row.cutBy && Boolean(shown[i + 1]?.cutBy);
      rows[i].fill(row, scale, drawnInAll, isLastKept);
    });
    more.hidden = howMany >= logits.length;
    fewer.hidden = howMany === ROWS_AT_FIRST;
    clear.disabled = drawnInAll === 0;
  }

  function onChange() {
    update();
    status.announce(() => announcement(numbers, tokens()));
  }

  const root = element(
    "div",
    { class: "lmc-widget lmc-sampler", role: "group", "aria-label": "Next-token sampler" },
    heading,
    sliders.node,
    element(
      "div",
      { class: "lmc-strip" },
      ...stats.map((stat) => stat.node),
      element("div", { class: "lmc-buttons" }, ...draws, clear),
    ),
    legend(),
    element("table", { "aria-label": "Tokens, likeliest first" }, element("thead", {}, head), body),
    element("div", { class: "lmc-buttons lmc-foot" }, more, fewer, sliders.reset, ...saves),
    status.node,
  );
  el.replaceChildren(root);
  update();

  const traits = ["logits", "tokens", "seed", "context", "drawn", ...sliders.traits];
  const deafen = listen(model, traits, onChange);
  return () => {
    status.stop();
    deafen();
  };
}

export default { render };
