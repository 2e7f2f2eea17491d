// SamplerView: a next-token distribution under temperature, top-k, top-p and min-p.
// Read it with _widget.js, which stands before it in Jupyter's module and in the book's pages.

// --- The arithmetic, to be read beside lmcourse/probability.py -------------------------------

const CUT_TOLERANCE = 1e-9;

/** The ids of the tokens, likeliest first, equal logits by lower id. */
function likeliestFirst(logits) {
  return logits.map((_, id) => id).sort((a, b) => logits[b] - logits[a] || a - b);
}

/**
 * What cuts each entry, or null if it stays, and how many of its tokens are left. An entry is one
 * token or, in a page that does not know them all, a group of `sizes[i]` tokens that share a logit,
 * in which top-p may leave some. `order` is likeliestFirst(logits).
 */
function cuts(logits, sizes, order, { temperature, topK, topP, minP }) {
  const cutBy = logits.map((logit) => (logit === -Infinity ? "impossible" : null));
  const left = sizes.map((size, i) => (cutBy[i] ? 0 : size));

  function cut(i, filter) {
    cutBy[i] ??= filter;
    left[i] = 0;
  }

  if (topK !== null) {
    let tokens = 0;
    const last = order.find((i) => (tokens += sizes[i]) >= topK);
    logits.forEach((logit, i) => logit < logits[last] && cut(i, "top-k"));
  }
  if (topP !== null && topP < 1) {
    const mass = distributionOver(logits, left, temperature);
    let massBefore = 0;
    order.forEach((i, rank) => {
      const missing = topP - CUT_TOLERANCE - massBefore;
      massBefore += mass[i];
      if (rank > 0 && missing <= 0) cut(i, "top-p");
      else if (left[i] > 1) left[i] = Math.min(left[i], Math.ceil((missing / mass[i]) * left[i]));
    });
  }
  if (minP !== null) {
    const max = logits[order[0]];
    const smallestKept = minP * (1 - CUT_TOLERANCE);
    logits.forEach((logit, i) => {
      if (Math.exp((logit - max) / temperature) < smallestKept) cut(i, "min-p");
    });
  }
  return { cutBy, left };
}

/** The probability of each entry, of which so many tokens are left. */
function distributionOver(logits, left, temperature) {
  return softmax(
    logits.map((logit, i) => (left[i] > 0 ? logit + temperature * Math.log(left[i]) : -Infinity)),
    temperature,
  );
}

/** The entropy in nats of a distribution over so many tokens each; 0 log 0 counts as 0. */
function entropy(probabilities, left) {
  return probabilities.reduce((sum, p, i) => (p > 0 ? sum - p * Math.log(p / left[i]) : sum), 0);
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
  const contexts = model.get("contexts")?.map(({ ids }) => ids.length);
  const known = contexts ? Math.min(...contexts) : model.get("tokens").length;
  const stops = range(1, 20);
  for (let decade = 10; decade < known; decade *= 10) {
    stops.push(...[2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20].map((step) => step * decade));
  }
  return [...stops.filter((k) => k < known), null];
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

const readSettings = (get) => ({
  temperature: get("temperature"),
  topK: get("top_k"),
  topP: get("top_p"),
  minP: get("min_p"),
});

const settingsOf = (model) => readSettings((trait) => model.get(trait));

const sumOf = (values) => values.reduce((a, b) => a + b, 0);

/** A distribution whose every token is known by its logit and its text. */
const ofAllTokens = (logits, texts) => ({
  logits: logits.map((logit) => logit ?? -Infinity),
  sizes: logits.map(() => 1),
  ids: logits.map((_, id) => id),
  texts,
});

/**
 * Everything that the panel shows of a distribution: its `logits`, in entries of `sizes` tokens,
 * and the id and the text of each entry that is one token; `counts` has how often each was drawn.
 */
function compute({ logits, sizes, ids, texts }, settings, counts = {}) {
  const order = likeliestFirst(logits);
  const { cutBy, left } = cuts(logits, sizes, order, settings);
  const before = distributionOver(logits, sizes, 1);
  const after = distributionOver(logits, left, settings.temperature);
  const drawn = ids.map((id) => counts[id] ?? 0);
  const [drawnInAll, kept, vocabSize] = [drawn, left, sizes].map(sumOf);
  const nats = entropy(after, left);
  const named = ids.filter((id) => id !== null).length;
  // A filter that cuts a named token cuts all the less likely ones; what else it cuts in groups, and
  // so how many tokens it keeps, is known roughly.
  const isFiltered = [settings.topK, settings.topP, settings.minP].some((value) => value !== null);
  const isNamedCut = order.slice(0, named).some((i) => cutBy[i] !== null);
  const rough = isFiltered && !isNamedCut && order.length > named;
  const tokens = { logits, sizes, ids, texts, order, named, vocabSize };
  return { ...tokens, settings, cutBy, left, before, after, drawn, drawnInAll, kept, nats, rough };
}

/** The entry that `u` draws; the likeliest have the lowest stretches of [0, 1). */
function drawnEntry({ order, after }, u) {
  return order[sample(cumulativeSum(order.map((i) => after[i])), u)];
}

function draw(model, { after, drawnInAll }, howMany) {
  const cumulative = cumulativeSum(after);
  const drawn = { ...model.get("drawn") };
  for (let i = 0; i < howMany; i++) {
    const id = sample(cumulative, uniform(model.get("seed"), drawnInAll + i));
    drawn[id] = (drawn[id] ?? 0) + 1;
  }
  setTraits(model, { drawn });
}

/** One row of the table, or the row that stands for all tokens below the last one shown. */
function rowsToShow(numbers, howMany) {
  const { order, ids, texts, sizes, cutBy, before, after, drawn } = numbers;
  const shown = Math.min(howMany, numbers.named);
  const rows = order.slice(0, shown).map((i) => ({
    id: ids[i],
    name: visible(texts[i]),
    isToken: true,
    before: before[i],
    after: after[i],
    drawn: drawn[i],
    cutBy: cutBy[i] && (cutBy[i] === "impossible" ? "impossible" : `cut: ${cutBy[i]}`),
  }));
  const rest = order.slice(shown);
  if (rest.length > 0) {
    const total = (values) => sumOf(rest.map((i) => values[i]));
    rows.push({
      id: null,
      name: plural(total(sizes), "other"),
      isToken: false,
      before: total(before),
      after: total(after),
      drawn: total(drawn),
      cutBy: rest.every((i) => cutBy[i]) ? "cut" : null,
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

const tokensKept = ({ kept, vocabSize, rough }) =>
  `${rough ? "about " : ""}${groupDigits(kept)} of ${plural(vocabSize, "token")} kept`;

/** The sentence that screen readers hear after a change. */
function announcement(numbers) {
  const { settings, nats, texts, order, after, drawn, drawnInAll } = numbers;
  const best = order[0];
  const sentences = [
    `${describeSettings(settings)}: ${tokensKept(numbers)}`,
    `entropy ${inBits(nats)} bits`,
    `likeliest ${visible(texts[best])}, ${percent(after[best])}`,
  ];
  if (drawnInAll > 0) {
    const most = order.reduce((a, b) => (drawn[b] > drawn[a] ? b : a));
    sentences.push(
      `${groupDigits(drawnInAll)} drawn, most often ${visible(texts[most])}, ${drawn[most]} times`,
    );
  }
  return `${sentences.join("; ")}.`;
}

// --- Files -----------------------------------------------------------------------------------

/** All tokens, likeliest first, at full precision; tokens without a name are in groups. */
function toCSV(numbers, countsDraws) {
  const { logits, sizes, ids, texts, order, before, after, cutBy, drawn } = numbers;
  const columns = ["id", "token", "logit", "model_probability", "sampling_probability", "cut_by"];
  const lines = order.map((i) => [
    ids[i] ?? "",
    quoted(texts[i] ?? plural(sizes[i], "other")),
    logits[i] === -Infinity ? "-inf" : logits[i],
    before[i],
    after[i],
    cutBy[i] ?? "",
    ...(countsDraws ? [drawn[i]] : []),
  ]);
  const header = countsDraws ? [...columns, "drawn"] : columns;
  return [...[header, ...lines].map((cells) => cells.join(",")), ""].join("\r\n");
}

/** The table as a picture. */
function toCanvas(numbers, rows, context, countsDraws) {
  const { settings, nats, drawnInAll } = numbers;
  const { ink, muted, outline, blue } = COLOURS_OF_PICTURE;
  const [width, rowHeight, top] = [720, 24, context ? 96 : 72];
  const [left, right] = [156, 470];
  const columns = { model: 544, sampling: 622, ...(countsDraws && { drawn: 696 }) };
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
  const summary = [describeSettings(settings), tokensKept(numbers), `entropy ${inBits(nats)} bits`];
  write(summary.join(" · "), 24, top - 46, { align: "left" });
  write("0", left, top - 14, { ...small, align: "left" });
  write(`${Math.round(100 * scale)}%`, right, top - 14, small);
  for (const [name, x] of Object.entries(columns)) write(name, x, top - 14, small);

  rows.forEach((row, i) => {
    const y = top + rowHeight * i + rowHeight / 2;
    const font = row.isToken ? "13px monospace" : "13px sans-serif";
    write(clipped(row.name, 15), left - 12, y, { font, fill: row.cutBy ? muted : ink });
    write(percent(row.before), columns.model, y, { fill: muted });
    write(row.cutBy ?? percent(row.after), columns.sampling, y);
    if (countsDraws) write(groupDigits(row.drawn), columns.drawn, y);
    if (!row.isToken) return;
    Object.assign(g, { strokeStyle: outline, lineWidth: 1 });
    g.setLineDash(row.cutBy ? [3, 2] : []);
    g.strokeRect(left + 0.5, y - 7.5, Math.max(at(row.before) - left - 1, 0), 15);
    g.setLineDash([]);
    g.fillStyle = blue;
    g.fillRect(left, y - 5, at(row.after) - left, 10);
    if (row.drawn > 0) diamond(g, at(row.drawn / drawnInAll), y);
  });
  const legend = ["Outline: the model. Blue bar: what is sampled from."];
  if (countsDraws) legend.push("Diamond: share of the draws.");
  write(legend.join(" "), 24, height - 22, { ...small, align: "left" });
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

// --- The distribution's panel ----------------------------------------------------------------

const ROWS_AT_FIRST = 20;

const entry = (mark, words) =>
  element("span", {}, element("span", { class: `lmc-mark lmc-mark-${mark}` }), words);

/** What the marks of the bar chart mean, and what the tokens are for. */
function legend(countsDraws, canPick) {
  const entries = [entry("model", "the model"), entry("sampling", "sampled from")];
  if (countsDraws) entries.push(entry("drawn", "share of draws"));
  if (canPick) entries.push("Click a token to append it.");
  return element("p", { class: "lmc-legend" }, ...entries);
}

/** A table row whose cells are made once and then only refilled, so that nothing flickers. */
function tableRow(countsDraws, onPick) {
  let id = null;
  const name = element("th", { scope: "row" });
  const pick = button("", () => onPick(id));
  const model = element("div", { class: "lmc-bar-model" });
  const sampling = element("div", { class: "lmc-bar-sampling" });
  const share = element("div", { class: "lmc-diamond" });
  const track = element("div", { class: "lmc-track" }, model, sampling, share);
  const bars = element("td", { class: "lmc-bars", "aria-hidden": "true" }, track);
  const kinds = countsDraws ? ["model", "sampling", "drawn"] : ["model", "sampling"];
  const cells = kinds.map((kind) => element("td", { class: `lmc-${kind}` }));
  const node = element("tr", {}, name, bars, ...cells);

  function fillName(row, goesOn) {
    name.title = row.name;
    if (onPick === null || !row.isToken) {
      name.textContent = row.name;
      return;
    }
    pick.replaceChildren(row.name);
    if (goesOn) {
      const words = element("span", { class: "lmc-spoken" }, ", goes on");
      pick.append(element("span", { class: "lmc-goes-on", "aria-hidden": "true" }, "▸"), words);
    }
    // A button that is put where it is already would lose the focus.
    if (pick.parentNode !== name) name.replaceChildren(pick);
  }

  function fill(row, scale, drawnInAll, isLastKept, goesOn) {
    // The sum over all other tokens would not fit the scale, and would look like one likely token.
    const width = (p) => `${row.isToken ? (100 * p) / scale : 0}%`;
    id = row.id;
    fillName(row, goesOn);
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
    if (countsDraws) cells[2].textContent = drawnInAll > 0 ? groupDigits(row.drawn) : "–";
  }
  return { node, fill };
}

/**
 * A distribution: its size, its bars and its files. It knows no model: `fill(numbers, context)`
 * shows what compute() made of any logits. `tools` stand beside the size and `foot` below the bars;
 * with `onPick`, which is called with an id, tokens can be chosen; with `countsDraws` it shows how
 * often each was drawn. `goesOn(id)` says which tokens are marked.
 */
function distributionPanel({ tools = [], foot = [], onPick = null, countsDraws = false }) {
  let howMany = ROWS_AT_FIRST;
  let [numbers, context, goesOn] = [null, "", () => false];

  const stats = ["Tokens kept", "Entropy", ...(countsDraws ? ["Drawn"] : [])].map((name) => {
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
    ...(countsDraws ? [element("th", { scope: "col", class: "lmc-drawn" }, "drawn")] : []),
  );
  const body = element("tbody");
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
  const shownRows = () => rowsToShow(numbers, howMany);
  const saves = saveButtons(
    "sampler-view",
    () => toCanvas(numbers, shownRows(), context, countsDraws),
    () => toCSV(numbers, countsDraws),
  );

  function update() {
    const shown = shownRows();
    const scale = scaleOf(shown);
    scaleEnd.textContent = `${Math.round(100 * scale)}%`;

    const { kept, vocabSize, rough, named, nats, drawnInAll } = numbers;
    const about = rough ? "≈ " : "";
    stats[0].value.textContent = `${about}${groupDigits(kept)} of ${groupDigits(vocabSize)}`;
    stats[1].value.replaceChildren(
      `${inBits(nats)} bits `,
      element("small", {}, `${nats.toFixed(2)} nats`),
    );
    if (countsDraws) stats[2].value.textContent = groupDigits(drawnInAll);

    while (rows.length > shown.length) rows.pop().node.remove();
    while (rows.length < shown.length) {
      rows.push(tableRow(countsDraws, onPick));
      body.append(rows.at(-1).node);
    }
    shown.forEach((row, i) => {
      const isLastKept = !row.cutBy && Boolean(shown[i + 1]?.cutBy);
      rows[i].fill(row, scale, drawnInAll, isLastKept, goesOn(row.id));
    });
    more.hidden = howMany >= named;
    fewer.hidden = howMany === ROWS_AT_FIRST;
  }

  function fill(...present) {
    [numbers, context, goesOn = () => false] = present;
    update();
  }
  const node = element(
    "div",
    { class: "lmc-panel" },
    element(
      "div",
      { class: "lmc-strip" },
      ...stats.map((stat) => stat.node),
      element("div", { class: "lmc-buttons" }, ...tools),
    ),
    legend(countsDraws, onPick !== null),
    element("table", { "aria-label": "Tokens, likeliest first" }, element("thead", {}, head), body),
    element("div", { class: "lmc-buttons lmc-foot" }, more, fewer, ...foot, ...saves),
  );
  return { node, fill };
}

function primary(node) {
  node.classList.add("lmc-primary");
  return node;
}

const group = (...children) =>
  element(
    "div",
    { class: "lmc-widget lmc-sampler", role: "group", "aria-label": "Next-token sampler" },
    ...children,
  );

// --- A view of one distribution --------------------------------------------------------------

function renderFixed(model, el) {
  let numbers = null;
  const set = (values) => setTraits(model, { ...values, drawn: {} });
  const sliders = traitSliders(model, SLIDERS, set);
  const heading = element("p", { class: "lmc-context" });
  const draws = [1, 100].map((n) => primary(button(`Draw ${n}`, () => draw(model, numbers, n))));
  const clear = button("Clear draws", () => set({}));
  const panel = distributionPanel({
    tools: [...draws, clear],
    foot: [sliders.reset],
    countsDraws: true,
  });
  const status = announcer();

  function update() {
    const context = model.get("context");
    const distribution = ofAllTokens(model.get("logits"), model.get("tokens"));
    numbers = compute(distribution, settingsOf(model), model.get("drawn"));
    sliders.update();
    heading.replaceChildren("Next token after ", element("q", {}, context));
    heading.hidden = context === "";
    clear.disabled = numbers.drawnInAll === 0;
    panel.fill(numbers, context);
  }

  function onChange() {
    update();
    status.announce(() => announcement(numbers));
  }

  el.replaceChildren(group(heading, sliders.node, panel.node, status.node));
  update();

  const traits = ["logits", "tokens", "seed", "context", "drawn", ...sliders.traits];
  const deafen = listen(model, traits, onChange);
  return () => {
    status.stop();
    deafen();
  };
}

// --- A text that grows -----------------------------------------------------------------------

/** The next distributions of a text, from a kernel that runs the model; null while it computes. */
function fromKernel(model) {
  return {
    next() {
      const isUpToDate = String(model.get("after")) === String(model.get("grown"));
      return isUpToDate ? ofAllTokens(model.get("logits"), model.get("tokens")) : null;
    },
    goesOn: () => false,
    ends: false,
    texts: [],
    note: "",
  };
}

/** The next distributions of a text, from those that a stored page holds; null beyond them. */
function fromPage(model) {
  const contexts = model.get("contexts");
  const texts = model.get("tokens");
  // A context is known by the number of the one before it and the token between them.
  const places = new Map(contexts.map(({ after }, i) => [String(after), i]));
  const follow = (place, id) => places.get(`${place},${id}`);
  const present = () => model.get("grown").reduce(follow, 0);

  function distributionAt(place) {
    if (place === undefined) return null;
    const { ids, nats, others } = contexts[place];
    const entries = [...nats, ...others.map(([each]) => each)];
    return {
      logits: entries.map((each) => (each === null ? -Infinity : -each / 1000)),
      sizes: [...ids.map(() => 1), ...others.map(([, size]) => size)],
      ids: [...ids, ...others.map(() => null)],
      texts: ids.map((id) => texts[id]),
    };
  }

  /** How many tokens of a text drawn in this way are there. */
  function lengthOf(text) {
    const settings = readSettings((trait) => text[trait]);
    let length = -1;
    for (let place = 0; place !== undefined; length += 1) {
      const numbers = compute(distributionAt(place), settings);
      place = follow(place, numbers.ids[drawnEntry(numbers, uniform(text.seed, length + 1))]);
    }
    return length;
  }

  function nameOf(text) {
    const isGreedy = text.top_k === 1;
    const settings = isGreedy ? "" : `${describeSettings(readSettings((trait) => text[trait]))}, `;
    const name = isGreedy ? "the likeliest token each time" : `${settings}seed ${text.seed}`;
    return `${name} (${plural(lengthOf(text), "token")})`;
  }
  return {
    next: () => distributionAt(present()),
    goesOn: (id) => follow(present(), id) !== undefined,
    ends: true,
    texts: model.get("texts").map((text) => [text, nameOf(text)]),
    note:
      `No model runs in this page: it holds ${plural(contexts.length, "distribution")} computed ` +
      "ahead, and goes on after the tokens marked ▸. With a running kernel every text goes on.",
  };
}

/** A choice among the texts that a page holds; it sets all that they are drawn with. */
function textChoice(model, texts, onChoose) {
  const options = texts.map(([, name], i) => [i, name]);
  const start = (i) => onChoose({ ...texts[i][0], grown: [] });
  const { node, fill } = selection("Start a text held here:", options, start);
  const isPresent = ([text]) =>
    Object.entries(text).every(([trait, value]) => model.get(trait) === value);
  return { node, update: () => fill(texts.findIndex(isPresent)) };
}

/** The text so far, each token in a frame of its own. */
function tokenText() {
  const spoken = element("span", { class: "lmc-spoken" });
  const pieces = element("span", { "aria-hidden": "true" });
  const attributes = { class: "lmc-text", role: "group", "aria-label": "Text so far" };
  const node = element("div", attributes, spoken, pieces);

  function fill(prompt, grown) {
    const piece = (kind) => (text) => {
      const frame = element("span", { class: `lmc-piece lmc-${kind}` }, visible(text));
      return text.includes("\n") ? [frame, element("br")] : [frame];
    };
    pieces.replaceChildren(...prompt.flatMap(piece("prompt")), ...grown.flatMap(piece("grown")));
    spoken.textContent = [...prompt, ...grown].join("");
  }
  return { node, fill };
}

const ROUGH =
  " Here a filter cuts among tokens that this page does not name but holds in groups of similar " +
  "probability: its numbers are right to within a few percent of themselves.";

const LARGEST_SEED = 2 ** 32 - 1;

/** A field for the seed. */
function seedField(onChange) {
  const attributes = { type: "number", id: newId(), min: 0, max: LARGEST_SEED, step: 1 };
  // JupyterLab would take "0 0" for its own.
  const input = element("input", { ...attributes, "data-lm-suppress-shortcuts": "true" });
  let present = 0;
  const fill = (seed) => (input.value = present = seed);
  input.addEventListener("change", () => {
    const isSeed = input.value !== "" && input.validity.valid;
    if (isSeed) onChange(input.valueAsNumber);
    else fill(present);
  });
  const label = element("label", { for: input.id }, "Seed");
  return { node: element("span", { class: "lmc-field" }, label, input), fill };
}

function renderGrowing(model, el) {
  const source = (model.get("contexts") ? fromPage : fromKernel)(model);
  const grown = () => model.get("grown");
  const textOf = (id) => model.get("tokens")[id];
  const isFull = () => model.get("room") !== null && grown().length >= model.get("room");
  let numbers = null; // of the next token, if its distribution is there
  let toDraw = 0;
  let isDrawing = false;
  let notice = "";
  let news = [];

  /** The reader changes something: what was under way is off. */
  function set(values) {
    toDraw = 0;
    notice = "";
    setTraits(model, values);
  }

  function endOfText() {
    const characters = [...[...model.get("prompt"), ...grown()].map(textOf).join("")];
    const shown = characters.slice(-60).join("");
    return characters.length > 60 ? `…${shown}` : shown;
  }

  function append(id) {
    news.push(visible(textOf(id)));
    setTraits(model, { grown: [...grown(), id] });
  }

  function choose(id) {
    if (numbers === null || isFull()) return;
    toDraw = 0;
    notice = "";
    append(id);
  }

  function appendDrawn() {
    const i = drawnEntry(numbers, uniform(model.get("seed"), grown().length));
    if (numbers.ids[i] !== null) {
      append(numbers.ids[i]);
      return;
    }
    const unnamed = groupDigits(numbers.vocabSize - numbers.named);
    toDraw = 0;
    notice =
      `The draw fell on one of ${unnamed} unlikely tokens, which this page does not name. ` +
      "Choose a token, cut the unlikely ones off with top-k, or take another seed.";
    onChange();
  }

  /** Draw the tokens asked for, one after the other, as their distributions come. */
  function goOn() {
    if (toDraw === 0 || numbers === null || isDrawing) return;
    isDrawing = true;
    // Not at once: of several attributes that the kernel changes, some may be still to come.
    queueMicrotask(() => {
      isDrawing = false;
      if (toDraw === 0 || numbers === null) return;
      toDraw -= 1;
      appendDrawn();
    });
  }

  function ask(howMany) {
    notice = "";
    toDraw += howMany;
    goOn();
  }

  const sliders = traitSliders(model, SLIDERS, set);
  const text = tokenText();
  const appends = [
    primary(button("Append a token", () => ask(1))),
    button("Append 10", () => ask(10)),
  ];
  const undo = button("Undo", () => set({ grown: grown().slice(0, -1) }));
  const restart = button("Restart", () => set({ grown: [] }));
  const seed = seedField((value) => set({ seed: value }));
  const tools = element("div", { class: "lmc-buttons" }, ...appends, undo, restart, seed.node);
  const choice = textChoice(model, source.texts, set);
  const words = element("p", { class: "lmc-notice" });
  const panel = distributionPanel({
    foot: [sliders.reset],
    onPick: choose,
  });
  const note = element("p", { class: "lmc-note" });
  const status = announcer();

  function wordsNow() {
    if (notice !== "") return notice;
    if (isFull()) return "The model's context is full: no more tokens can be appended.";
    if (numbers !== null) return "";
    if (!source.ends) return "The kernel is computing the next distribution.";
    const last = visible(textOf(grown().at(-1)));
    return `This page goes no further: it holds no distribution after ${last} here.`;
  }

  /** Nobody's focus stays on what is hidden or off. */
  function keepFocus() {
    const focused = document.activeElement;
    if (!root.contains(focused) || !(focused.disabled || focused.closest("[hidden]"))) return;
    [appends[0], undo].find((node) => !node.disabled)?.focus();
  }

  function update() {
    const distribution = source.next();
    numbers = distribution && compute(distribution, settingsOf(model));
    const hasEnded = isFull() || (source.ends && numbers === null);
    if (hasEnded) toDraw = 0;

    sliders.update();
    choice.update();
    seed.fill(model.get("seed"));
    text.fill(model.get("prompt").map(textOf), grown().map(textOf));
    appends.forEach((node) => (node.disabled = hasEnded));
    [undo, restart].forEach((node) => (node.disabled = grown().length === 0));
    words.textContent = wordsNow();
    words.hidden = words.textContent === "";
    note.textContent = source.note + (numbers?.rough ? ROUGH : "");
    panel.node.hidden = source.ends && numbers === null;
    panel.node.setAttribute("aria-busy", numbers === null);
    if (numbers !== null) {
      panel.fill(numbers, endOfText(), source.goesOn);
    }
    keepFocus();
    goOn();
  }

  function onChange() {
    update();
    status.announce(() => {
      const appended = news.length > 0 ? [`Appended ${news.join(" ")}.`] : [];
      news = [];
      const distribution = numbers === null ? [] : [announcement(numbers)];
      return [...appended, wordsNow(), ...distribution].filter(Boolean).join(" ");
    });
  }

  const marks = [entry("prompt", "prompt"), entry("grown", "appended")];
  const root = group(
    text.node,
    element("p", { class: "lmc-legend" }, ...marks),
    tools,
    choice.node,
    words,
    sliders.node,
    panel.node,
    note,
    status.node,
  );
  choice.node.hidden = source.texts.length === 0;
  el.replaceChildren(root);
  update();

  const traits = ["logits", "tokens", "seed", "grown", "after", ...sliders.traits];
  const deafen = listen(model, traits, onChange);
  return () => {
    status.stop();
    deafen();
  };
}

function render({ model, el }) {
  return (model.get("prompt") ? renderGrowing : renderFixed)(model, el);
}

export default { render };
