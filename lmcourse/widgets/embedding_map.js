// EmbeddingMap: words on a map, with their neighbours and analogies in the whole space.
// An ES module without imports, once _widget.js stands before it: Jupyter runs it through anywidget,
// the book wraps it into its page.

// --- The arithmetic, to be read beside lmcourse/word_vectors.py ------------------------------

const EPSILON = 1e-3; // keeps 3CosMul's denominator above zero

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** The words' vectors, whole numbers of at most 127, and their lengths. */
function readVectors(codes, count) {
  const bytes = Int8Array.from(atob(codes), (character) => character.charCodeAt(0));
  const dimensions = bytes.length / count;
  const rows = range(1, count).map((i) => bytes.subarray((i - 1) * dimensions, i * dimensions));
  return { rows, dimensions, lengths: rows.map((row) => Math.sqrt(dot(row, row))) };
}

/** Each word's cosine with one of them. */
function cosines({ rows, lengths }, word) {
  return rows.map((row, i) => dot(row, rows[word]) / (lengths[i] * lengths[word]));
}

/** Each word's score as an answer to a - b + c. */
function analogyScores(vectors, [a, b, c], method) {
  const [nearA, nearB, nearC] = [a, b, c].map((word) => cosines(vectors, word));
  if (method === "mul") {
    const moved = (cosine) => (1 + cosine) / 2;
    return nearA.map((near, i) => (moved(near) * moved(nearC[i])) / (moved(nearB[i]) + EPSILON));
  }
  const squared = 3 - 2 * nearA[b] + 2 * nearA[c] - 2 * nearB[c];
  const length = Math.sqrt(Math.max(squared, 0)) || 1;
  return nearA.map((near, i) => (near - nearB[i] + nearC[i]) / length);
}

/** The words with the highest scores, the excluded ones aside. */
function best(scores, excluded, count) {
  const order = scores.map((_, i) => i).filter((i) => !excluded.includes(i));
  return order.sort((i, j) => scores[j] - scores[i]).slice(0, count);
}

// --- The view's numbers ----------------------------------------------------------------------

/** What never changes of a map. */
function readMap(model) {
  const words = model.get("words");
  const index = new Map(words.map((word, i) => [word, i]));
  const groups = Object.entries(model.get("groups"));
  const groupOf = words.map(() => null);
  groups.forEach(([, members], group) => {
    for (const word of members) groupOf[index.get(word)] = group;
  });
  return {
    words,
    index,
    groupOf,
    groups: groups.map(([name]) => name),
    places: model.get("coordinates"),
    variance: model.get("variance"),
    vectors: readVectors(model.get("codes"), words.length),
  };
}

/** What is shown: a word and its nearest words, an analogy and its answers, or neither. */
function compute(model, map, hovered) {
  const [selected, analogy] = [model.get("selected"), model.get("analogy")];
  const method = model.get("method");
  const asked = analogy ?? (selected === null ? [] : [selected]);
  const query = hovered === null ? asked.map((word) => map.index.get(word)) : [hovered];
  let scores = [];
  if (query.length === 1) scores = cosines(map.vectors, query[0]);
  if (query.length === 3) scores = analogyScores(map.vectors, query, method);
  return { query, method, scores, answers: best(scores, query, model.get("neighbours")) };
}

/** The nearest word in the quarter around an arrow key's direction; null, if there is none. */
function nextWord(places, from, [right, up]) {
  let [nearest, distance] = [null, Infinity];
  places.forEach(([x, y], i) => {
    const [dx, dy] = [x - places[from][0], y - places[from][1]];
    const along = dx * right + dy * up;
    const across = Math.abs(dx * up) + Math.abs(dy * right);
    if (along <= 0 || across > along || Math.hypot(dx, dy) >= distance) return;
    [nearest, distance] = [i, Math.hypot(dx, dy)];
  });
  return nearest;
}

/** The word that a reader has typed, capital letters or not; undefined, if it is not drawn. */
function findWord({ words, index }, typed) {
  const wanted = typed.trim();
  if (index.has(typed) || index.has(wanted)) return index.get(typed) ?? index.get(wanted);
  const lower = wanted.toLowerCase();
  return index.get(words.find((word) => word.toLowerCase() === lower));
}

// --- Words and numbers -----------------------------------------------------------------------

const METHODS = { add: "3CosAdd", mul: "3CosMul" };

// Isolated, so that a word written from right to left does not turn its surroundings round.
const quote = (word) => `“\u2068${visible(word)}\u2069”`;

const percent = (share) => `${(100 * share).toFixed(1)}%`;

function title({ query, method }, { words }) {
  const [a, b, c] = query.map((i) => quote(words[i]));
  if (query.length === 0) return "";
  if (query.length === 1) return `Nearest to ${a}`;
  return `Nearest to ${a} − ${b} + ${c}, by ${METHODS[method]}`;
}

/** What screen readers hear. */
function spokenAnswers({ answers, scores, ...shown }, map) {
  if (answers.length === 0) return `Map of ${map.words.length} words.`;
  const heard = answers.slice(0, 5).map((i) => `${quote(map.words[i])} ${scores[i].toFixed(2)}`);
  return `${title(shown, map)}: ${heard.join(", ")}.`;
}

/** What the map leaves out, as _sentences() of embedding_map.py. */
function describeMap({ words, variance, vectors }) {
  return (
    `A map of ${words.length} words. Its two axes hold ${percent(variance[0] + variance[1])} of ` +
    `the words’ variance in ${vectors.dimensions} dimensions; nearest words are found in all of ` +
    `these.`
  );
}

/** That a word is not drawn, and those that it may have been meant for. */
function absence(typed, { words }) {
  const wanted = typed.trim().toLowerCase();
  const holding = words.filter((word) => wanted && word.toLowerCase().includes(wanted));
  const named = holding.slice(0, 5).map(quote).join(", ");
  const hint = named && `; these hold it: ${named}`;
  return `${quote(typed)} is not among the ${words.length} words of this map${hint}.`;
}

// --- The map ---------------------------------------------------------------------------------

const MOST_ZOOM = 32;
const MOST_ZOOM_OF_ANALOGY = 6;
const MARGIN = { x: 36, y: 22 };
const FONT = 'system-ui, "DejaVu Sans", sans-serif';
const LONGEST_LABEL = 20; // characters

// Okabe and Ito's colours; the shapes say the same to those who cannot tell them apart.
const GROUPS = [
  { colour: "#0072b2", outline: (r) => `M${-r} ${-r}H${r}V${r}H${-r}Z` },
  { colour: "#e69f00", outline: (r) => `M0 ${-1.3 * r}L${1.2 * r} ${r}H${-1.2 * r}Z` },
  { colour: "#009e73", outline: (r) => `M0 ${-1.4 * r}L${1.4 * r} 0L0 ${1.4 * r}L${-1.4 * r} 0Z` },
  { colour: "#cc79a7", outline: (r) => `M0 ${1.3 * r}L${1.2 * r} ${-r}H${-1.2 * r}Z` },
  { colour: "#d55e00", outline: (r) => cross(1.3 * r, 0.5 * r) },
  { colour: "#56b4e9", outline: circle },
];

function circle(r) {
  return `M${-r} 0A${r} ${r} 0 1 1 ${r} 0A${r} ${r} 0 1 1 ${-r} 0Z`;
}

function cross(r, half) {
  const [a, b] = [half, r];
  return `M${-a} ${-b}H${a}V${-a}H${b}V${a}H${a}V${b}H${-a}V${a}H${-b}V${-a}H${-a}Z`;
}

/** The middle of all places, and how far they spread along each axis. */
function extent(places) {
  const [xs, ys] = [0, 1].map((axis) => places.map((place) => place[axis]));
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  return { middle: [(left + right) / 2, (low + high) / 2], spans: [right - left, high - low] };
}

const WHOLE = { zoom: 1, shift: [0, 0] };

/** The view with its middle no further from the map's than what it cannot show at once. */
function bounded({ zoom, shift }, { spans }) {
  const within = shift.map((s, axis) => {
    const slack = (spans[axis] / 2) * Math.max(1 - 1 / zoom, 0);
    return Math.min(Math.max(s, -slack), slack);
  });
  return { zoom, shift: within };
}

/** The view from nearer or further, about a place that stays where it is. */
function zoomed({ zoom, shift }, factor, about, { middle }) {
  const next = Math.min(Math.max(zoom * factor, 1), MOST_ZOOM);
  const from = about.map((place, axis) => place - middle[axis]);
  const moved = shift.map((s, axis) => from[axis] + ((s - from[axis]) * zoom) / next);
  return { zoom: next, shift: moved };
}

/** The view of the words of an analogy, its answer and the place of a - b + c; or of everything. */
function viewOf({ query, answers }, places, { middle, spans }) {
  if (query.length < 3) return WHOLE;
  const corners = [...query, ...answers.slice(0, 1)].map((i) => places[i]);
  const { middle: centre, spans: needed } = extent([...corners, targetOf(query, places)]);
  // With room around them; along an axis where they are one point, nothing limits the view.
  const fit = spans.map((span, axis) => (needed[axis] > 0 ? span / needed[axis] / 1.6 : Infinity));
  const zoom = Math.min(...fit, MOST_ZOOM_OF_ANALOGY); // below 1 where a - b + c lies far out
  return { zoom, shift: centre.map((place, axis) => place - middle[axis]) };
}

/** Where a - b + c lies on the map. */
function targetOf([a, b, c], places) {
  return [0, 1].map((axis) => places[a][axis] - places[b][axis] + places[c][axis]);
}

/** From places to pixels, and back. */
function scales(view, { middle, spans }, { width, height }) {
  const fit = [(width - 2 * MARGIN.x) / spans[0], (height - 2 * MARGIN.y) / spans[1]];
  const scale = Math.min(...fit) * view.zoom;
  const [x, y] = middle.map((m, axis) => m + view.shift[axis]);
  return {
    scale,
    toPixels: (place) => [width / 2 + (place[0] - x) * scale, height / 2 - (place[1] - y) * scale],
    toPlace: (pixel) => [x + (pixel[0] - width / 2) / scale, y - (pixel[1] - height / 2) / scale],
  };
}

const pen = element("canvas").getContext("2d");

/** How many pixels a label takes. */
function widthOf(words, weight) {
  pen.font = `${weight} 12px ${FONT}`;
  return pen.measureText(words).width;
}

function shortened(word) {
  const letters = [...visible(word)];
  if (letters.length <= LONGEST_LABEL) return letters.join("");
  return `${letters.slice(0, LONGEST_LABEL - 1).join("")}…`;
}

const overlap = (a, b) =>
  a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

/** Where a label may stand: to the right of its point, to the left, above, below, or askew. */
function boxesAround({ x, y }, size) {
  const [right, left, above, below] = [x + 8, x - 8 - size, y - 15, y + 15];
  const spots = [[right, y], [left, y], [x - size / 2, above], [x - size / 2, below]];
  const askew = [[x + 4, above], [x + 4, below], [x - 4 - size, above], [x - 4 - size, below]];
  return [...spots, ...askew].map(([from, middle]) => ({
    left: from,
    right: from + size,
    top: middle - 8,
    bottom: middle + 8,
  }));
}

/**
 * Labels for points, the first ones before others, as many as fit: none leaves the picture, touches
 * another or covers a point or a line. Those that are `needed` may cover points and lines.
 */
function placeLabels(points, onLines, { width, height }) {
  const labels = [];
  const obstacles = [...points, ...onLines];
  const inside = (box) =>
    box.left >= 2 && box.right <= width - 2 && box.top >= 0 && box.bottom <= height;
  const free = (box) => inside(box) && !labels.some((label) => overlap(box, label.box));
  for (const point of points) {
    const { x, y, words, needed } = point;
    if (x < 0 || x > width || y < 0 || y > height) continue;
    const weight = point.marked ? 700 : 400;
    const boxes = boxesAround(point, widthOf(words, weight)).filter(free);
    const covered = boxes.map((box) => obstacles.filter((one) => isIn(box, one)).length);
    const least = Math.min(...covered);
    if (least === 0 || (needed && least < Infinity)) {
      labels.push({ ...point, weight, box: boxes[covered.indexOf(least)] });
    }
  }
  return labels;
}

const isIn = ({ left, right, top, bottom }, { x, y }) =>
  x > left - 3 && x < right + 3 && y > top - 1 && y < bottom + 1;

/** Everything to label: what is shown first, then all other words as they were given. */
function pointsToLabel({ words }, { query, answers }, pixels, target) {
  const marked = [...new Set([...query, ...answers])];
  const rest = words.map((_, i) => i).filter((i) => !marked.includes(i));
  const toPoint = (word) => ({
    word,
    words: shortened(words[word]),
    x: pixels[word][0],
    y: pixels[word][1],
    marked: marked.includes(word),
    needed: query.includes(word) || word === answers[0],
  });
  const points = [...marked, ...rest].map(toPoint);
  if (target === undefined) return points;
  const [x, y] = target;
  const needed = query.length + 1;
  const name = { word: null, words: "a − b + c", x, y, marked: true, needed: true };
  return [...points.slice(0, needed), name, ...points.slice(needed)];
}

/** The lines of the map: from a word to its neighbours, or an analogy's arrows. */
function linesOf({ query, answers }, pixels, target) {
  if (query.length === 1) {
    return answers.map((i) => ({ kind: "neighbour", from: pixels[query[0]], to: pixels[i] }));
  }
  if (query.length === 0) return [];
  const [a, b, c] = query.map((i) => pixels[i]);
  const answer = answers.slice(0, 1).map((i) => ({ kind: "arrow", from: c, to: pixels[i] }));
  return [{ kind: "sum", from: c, to: target }, { kind: "arrow", from: b, to: a }, ...answer];
}

/** Points along a line, in a line of usual length so close that no label fits between them. */
function pointsAlong({ from, to }) {
  const count = Math.min(Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / 8), 400);
  return range(0, count, count || 1).map((share) => ({
    x: from[0] + share * (to[0] - from[0]),
    y: from[1] + share * (to[1] - from[1]),
  }));
}

/** A line as it is drawn: an arrow has a head, and the line to a - b + c a cross at its end. */
function drawLine({ kind, from, to }, colours) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = Math.hypot(dx, dy);
  const stroke = kind === "sum" ? colours.orange : colours.blue;
  const style = { stroke, "stroke-width": kind === "neighbour" ? 1.5 : 2, fill: "none" };
  const cross = shape("path", { d: `M${to}m-5 -5l10 10m0 -10l-10 10`, style });
  if (kind === "sum") style["stroke-dasharray"] = "2 4";
  const line = shape("path", { d: `M${from}L${to}`, style });
  if (kind === "sum") return [line, cross];
  if (kind === "neighbour" || length < 20) return [line];
  const at = (back, across) => [
    to[0] - (dx * back + dy * across) / length,
    to[1] - (dy * back - dx * across) / length,
  ];
  const head = `M${at(9, 0)}L${at(20, 5)}L${at(20, -5)}Z`;
  return [line, shape("path", { d: head, style: { fill: stroke } })];
}

/** How a word is drawn: its shape, size and colours. */
function markOf(group, { asked, answer }, colours) {
  const plain = { outline: circle, colour: asked || answer ? colours.blue : colours.outline };
  const { outline, colour } = group === null ? plain : GROUPS[group];
  const radius = (group === null ? 2.75 : 3.75) + (asked ? 2.5 : answer ? 1.25 : 0);
  const stroke = asked || answer || group !== null ? colours.ink : "none";
  const width = asked ? 2 : answer ? 1.5 : 0.75;
  return { d: outline(radius), style: { fill: colour, stroke, "stroke-width": width } };
}

/** The picture of a map; `fill` draws a view of it and returns its labels. */
function drawingOf(map) {
  const limits = extent(map.places);
  const marks = map.words.map(() => shape("path", {}));
  const inGroup = (mark) => map.groupOf[marks.indexOf(mark)] !== null;
  const lines = shape("g", { "aria-hidden": "true" });
  const labels = shape("g", { "aria-hidden": "true" });
  const style = { "font-family": FONT, "font-size": "12px" };
  // Words of a group lie above the others.
  const inOrder = [...marks].sort((a, b) => inGroup(a) - inGroup(b));
  const node = shape("svg", { role: "none", style }, lines, shape("g", {}, ...inOrder), labels);

  function fill(shown, view, size, colours) {
    const { query, answers } = shown;
    const { toPixels } = scales(view, limits, size);
    const pixels = map.places.map(toPixels);
    const target = query.length === 3 ? toPixels(targetOf(query, map.places)) : undefined;
    redraw(node, { ...size, viewBox: `0 0 ${size.width} ${size.height}` });
    const segments = linesOf(shown, pixels, target);
    lines.replaceChildren(...segments.flatMap((segment) => drawLine(segment, colours)));
    marks.forEach((mark, i) => {
      const role = { asked: query.includes(i), answer: answers.includes(i) };
      const [x, y] = pixels[i].map((pixel) => pixel.toFixed(1));
      redraw(mark, { ...markOf(map.groupOf[i], role, colours), transform: `translate(${x} ${y})` });
    });
    const points = pointsToLabel(map, shown, pixels, target);
    const placed = placeLabels(points, segments.flatMap(pointsAlong), size);
    const pale = query.length > 0 ? colours.muted : colours.ink;
    labels.replaceChildren(
      ...placed.map(({ words, weight, marked, box }) =>
        writing(words, box.left.toFixed(1), (box.top + 12).toFixed(1), "start", {
          fill: marked ? colours.ink : pale,
          "font-weight": weight,
          stroke: colours.paper,
          "stroke-width": 3,
          "stroke-linejoin": "round",
          "paint-order": "stroke",
        }),
      ),
    );
    return { pixels, labels: placed };
  }
  return { node, marks, limits, fill };
}

// --- Files -----------------------------------------------------------------------------------

/** Every word's place and, if something is shown, its cosine or score, at full precision. */
function toCSV({ words, places, groups, groupOf }, { scores }) {
  const lines = words.map((word, i) => {
    const group = groupOf[i] === null ? "" : groups[groupOf[i]];
    return [quoted(word), quoted(group), ...places[i], scores[i] ?? ""].join(",");
  });
  return ["word,group,x,y,score", ...lines, ""].join("\r\n");
}

/** The map as it is seen, and the words listed beside it, as a picture. */
async function toCanvas(map, shown, view) {
  const { ink, muted } = COLOURS_OF_PICTURE;
  const [width, top, mapHeight, lineHeight] = [720, 40, 480, 20];
  const legendHeight = map.groups.length > 0 ? 30 : 0;
  const rows = Math.ceil(shown.answers.length / 2);
  const below = top + mapHeight + legendHeight + 16;
  const { canvas, g } = emptyPicture(width, below + rows * lineHeight + 24);
  const drawing = drawingOf(map);
  drawing.fill(shown, view, { width, height: mapHeight }, COLOURS_OF_PICTURE);
  g.drawImage(await imageOf(drawing.node), 0, top, width, mapHeight);

  const write = (words, x, y, font = "13px sans-serif", fill = ink) => {
    Object.assign(g, { font, fillStyle: fill });
    g.fillText(words, x, y, width - x - 16);
  };
  write(title(shown, map) || `${map.words.length} words`, 16, 26, "bold 14px sans-serif");
  map.groups.forEach((name, group) => {
    const x = 24 + (group * (width - 32)) / map.groups.length;
    const { d, style } = markOf(group, {}, COLOURS_OF_PICTURE);
    g.setTransform(2, 0, 0, 2, 2 * x, 2 * (top + mapHeight + 16));
    Object.assign(g, { fillStyle: style.fill, strokeStyle: ink, lineWidth: 0.75 });
    g.fill(new Path2D(d));
    g.stroke(new Path2D(d));
    g.setTransform(2, 0, 0, 2, 0, 0);
    write(shortened(name), x + 10, top + mapHeight + 20, "12px sans-serif");
  });
  shown.answers.forEach((word, i) => {
    const [column, row] = [i < rows ? 0 : 1, i % rows];
    const [left, y] = [16 + column * 344, below + row * lineHeight];
    write(`${i + 1}.  ${shortened(map.words[word])}`, left, y);
    write(shown.scores[word].toFixed(2), left + 240, y);
  });
  write(describeMap(map), 16, below + rows * lineHeight + 8, "12px sans-serif", muted);
  return canvas;
}

// --- The page's elements ---------------------------------------------------------------------

const ZOOM_STEP = 1.5;
const TAP = 6; // pixels that a pointer may move without dragging
const REACH = { mouse: 14, pen: 18, touch: 26 }; // pixels between a pointer and its word

/** A text box for a word that suggests all words; `onEnter` hears of Enter and of a choice. */
function wordBox(label, list, onEnter) {
  const id = newId();
  const input = element("input", {
    id,
    type: "text",
    list,
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
  });
  input.addEventListener("keydown", ({ key }) => key === "Enter" && onEnter(true));
  input.addEventListener("input", ({ inputType }) => {
    if (inputType === undefined || inputType === "insertReplacementText") onEnter(false);
  });
  const node = element("span", { class: "lmc-field" }, element("label", { for: id }, label), input);
  return { node, input };
}

/** The words listed, each a button that looks at it. Its buttons stay, so that focus does. */
function answerList(count, map, onLook) {
  const rows = range(1, count).map((place) => {
    const name = button("", () => onLook(Number(name.dataset.word)));
    const score = element("span", { class: "lmc-score" });
    const number = element("span", { class: "lmc-place" }, `${place}.`);
    const node = element("li", {}, number, name, score);
    return { node, name, score };
  });
  const node = element("ol", { class: "lmc-answers" }, ...rows.map((row) => row.node));
  node.style.setProperty("--lmc-rows", Math.ceil(count / 2));

  function fill({ answers, scores }) {
    rows.forEach((row, i) => {
      const word = answers[i];
      row.node.hidden = word === undefined;
      if (row.node.hidden) return;
      row.name.textContent = visible(map.words[word]);
      row.name.dataset.word = word;
      row.score.textContent = scores[word].toFixed(2);
      row.node.style.setProperty("--lmc-share", Math.min(Math.max(scores[word], 0), 1).toFixed(3));
    });
  }
  return { node, fill };
}

/** What the groups' shapes and colours mean. */
function legendOfGroups({ groups }) {
  const entries = groups.map((name, group) => {
    const mark = shape("path", markOf(group, {}, COLOURS_OF_PAGE));
    redraw(mark, { transform: "translate(8 8)" });
    const drawing = shape("svg", { width: 16, height: 16, "aria-hidden": "true" }, mark);
    return element("li", {}, drawing, visible(name));
  });
  const node = element("ul", { class: "lmc-legend", "aria-label": "Groups" }, ...entries);
  node.hidden = groups.length === 0;
  return node;
}

/** All words as a table, made when it is first opened. */
function tableOfWords(map) {
  const head = element("tr", {}, ...["word", "group", "x", "y", "nearest", "cosine"].map(heading));
  const body = element("tbody");
  const table = element("table", {}, element("thead", {}, head), body);
  const box = { class: "lmc-all", tabindex: 0, role: "group", "aria-label": "All words" };
  const summary = element("summary", {}, "All words as a table");
  const node = element("details", {}, summary, element("div", box, table));
  node.addEventListener("toggle", () => {
    if (body.childElementCount > 0) return;
    const rows = map.words.map((word, i) => {
      const scores = cosines(map.vectors, i);
      const [nearest] = best(scores, [i], 1);
      const cells = [
        map.groupOf[i] === null ? "" : visible(map.groups[map.groupOf[i]]),
        ...map.places[i].map((place) => place.toFixed(2)),
        visible(map.words[nearest]),
        scores[nearest].toFixed(2),
      ];
      const name = element("th", { scope: "row" }, visible(word));
      return element("tr", {}, name, ...cells.map((cell) => element("td", {}, cell)));
    });
    body.replaceChildren(...rows);
  });
  return node;
}

/** Where on an element an event is. */
function pixelOn(node, { clientX, clientY }) {
  const { left, top } = node.getBoundingClientRect();
  return [clientX - left, clientY - top];
}

/** Dragging, pinching, tapping and hovering, from the pointers that are down on an element. */
function followPointers(node, { onMove, onTap, onHover }) {
  const down = new Map();
  let moved = 0;
  const pixelOf = (event) => pixelOn(node, event);
  const mean = (numbers) => numbers.reduce((a, b) => a + b, 0) / numbers.length;
  const minus = (a, b) => [a[0] - b[0], a[1] - b[1]];
  const pixels = () => [...down.values()];
  const middle = () => [0, 1].map((axis) => mean(pixels().map((pixel) => pixel[axis])));
  const spread = () => mean(pixels().map((pixel) => Math.hypot(...minus(pixel, middle()))));

  node.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    node.setPointerCapture(event.pointerId);
    down.set(event.pointerId, pixelOf(event));
    moved = down.size === 1 ? 0 : Infinity;
  });
  node.addEventListener("pointermove", (event) => {
    if (!down.has(event.pointerId)) return onHover(pixelOf(event), event.pointerType);
    const before = { middle: middle(), spread: spread() };
    down.set(event.pointerId, pixelOf(event));
    const by = minus(middle(), before.middle);
    moved += Math.hypot(...by);
    if (moved > TAP) onMove(by, down.size > 1 ? spread() / before.spread : 1, middle());
  });
  node.addEventListener("pointerup", (event) => {
    if (down.delete(event.pointerId) && moved <= TAP) onTap(pixelOf(event), event.pointerType);
  });
  node.addEventListener("pointercancel", (event) => down.delete(event.pointerId));
  node.addEventListener("pointerleave", () => onHover(null));
}

const ARROWS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

const HINT =
  "Arrow keys move from word to word, Page Up and Page Down through all of them; plus, minus and " +
  "zero zoom. Drag to move the map; pinch, or turn the wheel with Ctrl, to zoom.";

function render({ model, el }) {
  const map = readMap(model);
  const settings = ["selected", "analogy", "method"];
  const initial = Object.fromEntries(settings.map((name) => [name, model.get(name)]));
  const atFirst = JSON.stringify(Object.values(initial));
  const drawing = drawingOf(map);
  let hovered = null;
  let shown = compute(model, map, hovered);
  const viewAtFirst = viewOf(shown, map.places, drawing.limits);
  let view = viewAtFirst;
  let drawn = null; // pixels and labels, once the map has a size

  // --- What is changed ---

  function look(word) {
    hovered = null;
    setTraits(model, { analogy: null, selected: map.words[word] });
  }

  /** Move the map, if a word is out of sight. */
  function reveal(word) {
    if (drawn === null) return;
    const { width, height } = size();
    const [x, y] = drawn.pixels[word];
    const { x: dx, y: dy } = MARGIN;
    const seen = x >= dx / 2 && x <= width - dx / 2 && y >= dy / 2 && y <= height - dy / 2;
    if (seen) return;
    const shift = map.places[word].map((place, axis) => place - drawing.limits.middle[axis]);
    view = bounded({ zoom: view.zoom, shift }, drawing.limits);
  }

  function zoom(factor, about) {
    view = bounded(zoomed(view, factor, about, drawing.limits), drawing.limits);
    show();
  }

  /** Zoom about the word that is looked at, or else the middle. */
  function zoomHere(factor) {
    const { middle } = drawing.limits;
    const centre = middle.map((place, axis) => place + view.shift[axis]);
    zoom(factor, shown.query.length === 1 ? map.places[shown.query[0]] : centre);
  }

  function seeWhole() {
    view = WHOLE;
    show();
  }

  function move(by, factor, about) {
    const { toPlace, scale } = scales(view, drawing.limits, size());
    const shift = [view.shift[0] - by[0] / scale, view.shift[1] + by[1] / scale];
    view = bounded({ zoom: view.zoom, shift }, drawing.limits);
    zoom(factor, toPlace(about));
  }

  /** Say what is wrong with some of the boxes; without any, nothing is. */
  function complain(wrong) {
    for (const { input } of [find, ...boxes]) {
      if (wrong.includes(input)) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
    problem.textContent = wrong.map(({ value }) => absence(value, map)).join(" ");
    if (wrong.length > 0) status.announce(() => problem.textContent);
  }

  /** Look at the word in the search box; if there is none of that name, say so. */
  function search(entered) {
    const word = findWord(map, find.input.value);
    if (word !== undefined) {
      complain([]);
      look(word);
      if (entered) frame.focus();
    } else if (entered) {
      complain([find.input]);
    }
  }

  /** Show the analogy of the three boxes, or say which of their words is not drawn. */
  function solve(entered) {
    const found = boxes.map(({ input }) => findWord(map, input.value));
    const missing = boxes.filter((_, i) => found[i] === undefined).map(({ input }) => input);
    if (missing.length === 0) {
      complain([]);
      hovered = null;
      setTraits(model, { selected: null, analogy: found.map((word) => map.words[word]) });
    } else if (entered) {
      complain(missing);
      missing[0].focus();
    }
  }

  function reset() {
    hovered = null;
    find.input.value = "";
    setTraits(model, initial);
    view = viewAtFirst;
    complain([]);
    update();
  }

  // --- The elements ---

  const status = announcer();
  const list = element(
    "datalist",
    { id: newId() },
    ...map.words.map((word) => element("option", { value: word })),
  );
  const find = wordBox("Find a word", list.id, search);
  const boxes = ["a", "b", "c"].map((name) => wordBox(name, list.id, solve));
  const problem = element("p", { class: "lmc-problem", id: newId() });
  for (const { input } of [find, ...boxes]) input.setAttribute("aria-describedby", problem.id);
  const ranking = element(
    "select",
    { "aria-label": "Ranked by" },
    ...Object.entries(METHODS).map(([value, name]) => element("option", { value }, name)),
  );
  ranking.addEventListener("change", () => setTraits(model, { method: ranking.value }));
  const nearer = button("+", () => zoomHere(ZOOM_STEP));
  const further = button("−", () => zoomHere(1 / ZOOM_STEP));
  nearer.setAttribute("aria-label", "Zoom in");
  further.setAttribute("aria-label", "Zoom out");
  const hint = element("p", { class: "lmc-note", id: newId() }, HINT);
  const ids = newId();
  drawing.marks.forEach((mark, i) => {
    const group = map.groupOf[i] === null ? "" : `, ${visible(map.groups[map.groupOf[i]])}`;
    const label = visible(map.words[i]) + group;
    redraw(mark, { id: `${ids}-${i}`, role: "option", "aria-label": label });
  });
  const frame = element(
    "div",
    {
      class: "lmc-map",
      role: "listbox",
      tabindex: 0,
      "aria-label": `Map of ${map.words.length} words`,
      "aria-describedby": hint.id,
      // Or JupyterLab takes the keys for its own: "b" adds a cell, "0 0" restarts the kernel.
      "data-lm-suppress-shortcuts": "true",
    },
    drawing.node,
  );
  const name = element("p", { class: "lmc-title" });
  const answers = answerList(model.get("neighbours"), map, look);
  const saves = saveButtons(
    "embedding-map",
    () => toCanvas(map, shown, view),
    () => toCSV(map, shown),
  );
  const whole = button("Reset", reset);

  // --- What is shown ---

  function size() {
    const width = frame.clientWidth;
    return { width, height: width < 480 ? 380 : Math.round(0.7 * width) };
  }

  /** Show what is looked at as the view has it. */
  function show() {
    shown = compute(model, map, hovered);
    name.textContent = title(shown, map) || "Choose a word on the map, or find one by its name.";
    answers.fill(shown);
    nearer.disabled = view.zoom === MOST_ZOOM;
    further.disabled = view.zoom <= 1;
    frame.classList.toggle("lmc-near", view.zoom > 1);
    const unchanged = JSON.stringify(settings.map((one) => model.get(one))) === atFirst;
    whole.disabled = unchanged && view === viewAtFirst;
    if (size().width > 0) drawn = drawing.fill(shown, view, size(), COLOURS_OF_PAGE);
  }

  /** Show the model's settings. */
  function update() {
    const selected = model.get("selected");
    drawing.marks.forEach((mark, i) =>
      mark.setAttribute("aria-selected", String(map.words[i] === selected)),
    );
    if (selected === null) frame.removeAttribute("aria-activedescendant");
    else frame.setAttribute("aria-activedescendant", `${ids}-${map.index.get(selected)}`);
    ranking.value = model.get("method");
    show();
  }

  /** Write the analogy into its boxes; otherwise they keep what a reader has typed. */
  function writeAnalogy() {
    const analogy = model.get("analogy");
    if (analogy !== null) boxes.forEach(({ input }, i) => (input.value = analogy[i]));
  }

  function onChange() {
    const changed = compute(model, map, null);
    if (changed.query.length === 3) view = viewOf(changed, map.places, drawing.limits);
    if (changed.query.length === 1) reveal(changed.query[0]);
    complain([]);
    update();
    status.announce(() => spokenAnswers(shown, map));
  }

  // --- Keys and pointers ---

  /** The word whose label lies at a pixel, or whose point is nearest; and where it can be met. */
  function wordAt([x, y], reach) {
    const at = { left: x, right: x, top: y, bottom: y };
    const label = drawn.labels.find(({ word, box }) => word !== null && overlap(at, box));
    if (label) return label;
    const distances = drawn.pixels.map((pixel) => Math.hypot(pixel[0] - x, pixel[1] - y));
    const word = distances.reduce((a, b, i) => (b < distances[a] ? i : a), 0);
    if (distances[word] > reach) return { word: null };
    const [px, py] = drawn.pixels[word];
    return { word, box: { left: px - 7, right: px + 7, top: py - 7, bottom: py + 7 } };
  }

  /** The word where the arrow keys begin when none is looked at: the answer, or the middlemost. */
  function start() {
    if (shown.answers.length > 0) return shown.answers[0];
    const { width, height } = size();
    return wordAt([width / 2, height / 2], Infinity).word;
  }

  function wordOfKey(key) {
    const word = map.index.get(model.get("selected"));
    const last = map.words.length - 1;
    if (key === "Home") return 0;
    if (key === "End") return last;
    if (!(key in ARROWS || key === "PageUp" || key === "PageDown")) return undefined;
    if (word === undefined) return start();
    if (key === "PageDown") return Math.min(word + 1, last);
    if (key === "PageUp") return Math.max(word - 1, 0);
    return nextWord(map.places, word, ARROWS[key]) ?? word;
  }

  frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const word = wordOfKey(event.key);
    if (word !== undefined) look(word);
    else if (event.key === "+" || event.key === "=") zoomHere(ZOOM_STEP);
    else if (event.key === "-") zoomHere(1 / ZOOM_STEP);
    else if (event.key === "0") seeWhole();
    else return;
    event.preventDefault();
  });

  let zone = null; // where the mouse met the word; labels move, and it must not run after them

  function hover(pixel, kind) {
    const away = { word: null };
    const met = pixel === null || kind === "touch" ? away : wordAt(pixel, REACH[kind]);
    const [x, y] = pixel ?? [];
    if (met.word === hovered || (hovered !== null && isIn(zone, { x, y }))) return;
    [hovered, zone] = [met.word, met.box];
    show();
  }

  function tap(pixel, kind) {
    const word = hovered ?? wordAt(pixel, REACH[kind]).word;
    if (word !== null) look(word);
  }
  followPointers(drawing.node, { onMove: move, onTap: tap, onHover: hover });
  frame.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey) return; // the page scrolls
      event.preventDefault();
      const { toPlace } = scales(view, drawing.limits, size());
      zoom(Math.exp(-0.01 * event.deltaY), toPlace(pixelOn(drawing.node, event)));
    },
    { passive: false },
  );

  const [a, b, c] = boxes.map(({ node }) => node);
  const root = element(
    "div",
    { class: "lmc-widget lmc-embedding", role: "group", "aria-label": "A map of word vectors" },
    element("div", { class: "lmc-tools" }, find.node, nearer, further),
    element(
      "fieldset",
      {},
      element("legend", { class: "lmc-spoken" }, "Analogy: a − b + c"),
      element("span", { class: "lmc-formula" }, a, "−", b, "+", c),
      ranking,
      button("Solve", () => solve(true)),
    ),
    problem,
    list,
    frame,
    legendOfGroups(map),
    name,
    answers.node,
    element("p", { class: "lmc-note" }, describeMap(map)),
    hint,
    element("div", { class: "lmc-buttons" }, whole, ...saves),
    tableOfWords(map),
    status.node,
  );
  el.replaceChildren(root);
  writeAnalogy();
  update();

  const resized = new ResizeObserver(show);
  resized.observe(frame);
  model.on("change:analogy", writeAnalogy);
  settings.forEach((setting) => model.on(`change:${setting}`, onChange));
  return () => {
    status.stop();
    resized.disconnect();
    model.off("change:analogy", writeAnalogy);
    settings.forEach((setting) => model.off(`change:${setting}`, onChange));
  };
}

export default { render };
