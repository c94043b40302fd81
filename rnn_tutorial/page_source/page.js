"use strict";
// The page: what is typed, where in it one is, and what each network makes of it there.

const {
  tokens: TOKENS,
  aliases: ALIASES,
  classes: CLASSES,
  machine: MACHINE,
  joined: MAY_BE_JOINED, // without spaces
  task: TASK,
  example: EXAMPLE,
  runs: RUNS,
} = JSON.parse(document.getElementById("data").textContent);
const MOST_TOKENS = 10_000;
const FEWEST_STEPS = 10; // columns of the heat map
const MOST_STEPS = 60;
const PATH_SHOWN = 8;
const SHOWN_AROUND = 30; // tokens on each side of the one just read
const SVG = "http://www.w3.org/2000/svg";

const element = (id) => document.getElementById(id);
const make = (name, attributes = {}, text = "") => {
  const made = name.startsWith("svg:")
    ? document.createElementNS(SVG, name.slice(4))
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
};
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const hue = (state) => `hsl(${(state * 137.5) % 360} 70% 50%)`; // turned by the golden angle
const percent = (share) => `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)}%`;
const written = (count) => count.toLocaleString("en");

// ---- the sequence ----

const READABLE = new Map(TOKENS.map((name, id) => [name, id]));
for (const [typed, meant] of Object.entries(ALIASES)) {
  if (READABLE.has(meant) && !READABLE.has(typed)) READABLE.set(typed, READABLE.get(meant));
}

// The ids of typed tokens; throws a sentence that names the first that is none.
function read(text) {
  const words = text.replaceAll(",", " ").trim().split(/\s+/).filter(Boolean);
  const names = words.flatMap((word) => (READABLE.has(word) || !MAY_BE_JOINED ? [word] : [...word]));
  if (!names.length) throw new Error("Type at least one token.");
  const unknown = names.find((name) => !READABLE.has(name));
  if (unknown !== undefined) throw new Error(`“${unknown}” is not one of the tokens ${listed()}.`);
  if (names.length > MOST_TOKENS) {
    throw new Error(`These are ${written(names.length)} tokens; at most ${written(MOST_TOKENS)} are read.`);
  }
  return names.map((name) => READABLE.get(name));
}

const listed = () => TOKENS.slice(0, 20).join(", ") + (TOKENS.length > 20 ? ", …" : "");

const page = { sequence: [], position: 0, right: [0], timer: null };

// Take a sequence, let every network read it, and stand at a position in it.
function take(sequence, position) {
  page.sequence = sequence;
  page.right = [0]; // states of the machine
  for (const token of sequence) page.right.push(MACHINE.successors[page.right.at(-1)][token]);
  for (const view of views) view.follow();
  element("position").max = sequence.length;
  element("sequence").value = sequence.map((id) => TOKENS[id]).join(" ");
  element("refusal").textContent = "";
  move(position);
}

function move(position) {
  page.position = Math.max(0, Math.min(page.sequence.length, position));
  element("position").value = page.position;
  element("count").textContent = `${written(page.position)} of ${written(page.sequence.length)} read`;
  showTokens();
  for (const view of views) view.show();
  element("said").textContent =
    page.position === 0
      ? "Nothing is read yet."
      : `Token ${page.position} is ${TOKENS[page.sequence[page.position - 1]]}; the right answer is now ${CLASSES[rightClass(page.position)]}.`;
}

const rightClass = (position) => MACHINE.outputs[page.right[position]];

function showTokens() {
  const first = Math.max(0, page.position - SHOWN_AROUND);
  const last = Math.min(page.sequence.length, page.position + SHOWN_AROUND);
  const shown = page.sequence.slice(first, last).map((token, index) => {
    const place = first + index + 1;
    const name = place === page.position ? "read now" : place < page.position ? "read" : "";
    return make("span", { class: name }, TOKENS[token]);
  });
  if (first > 0) shown.unshift(make("span", {}, "…"));
  if (last < page.sequence.length) shown.push(make("span", {}, "…"));
  element("tokens").replaceChildren(...shown);
}

// ---- what a network makes of it ----

class View {
  constructor(run) {
    this.run = run;
    this.network = new Network(run);
    this.root = element("network").content.cloneNode(true).firstElementChild;
    this.find(".about").textContent = run.about;
    this.find("h2").textContent = run.name;
    this.bars = CLASSES.map((name) => {
      const bar = make("div", { class: "bar" });
      bar.append(make("span", {}, name), make("i"), make("span"));
      return bar;
    });
    this.find(".bars").append(...this.bars);
    this.drawClusters();
    element("networks").append(this.root);
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  // Read the whole sequence: states, scores and leads after each token, the first before any.
  follow() {
    let state = this.network.start();
    this.states = [state];
    for (const token of page.sequence) {
      state = this.network.advance(state, token);
      this.states.push(state);
    }
    this.scores = this.states.map((each) => this.network.scores(each));
    this.leads = this.scores.map((scores, position) => {
      const right = rightClass(position);
      const lead = scores[right] - Math.max(...scores.filter((_, index) => index !== right));
      return Number.isFinite(lead) ? lead : 0; // a network that overflows gives no answer
    });
    this.reach = Math.max(1, ...this.states.map((layers) => largestOf(layers)));
    this.firstWrong = this.leads.findIndex((lead, position) => position > 0 && lead <= 0);
    this.numWrong = this.leads.filter((lead, position) => position > 0 && lead <= 0).length;
    this.drawLeads();
  }

  show() {
    this.showScores();
    this.showPath();
    this.showHeat();
    const place = page.sequence.length ? (600 * page.position) / page.sequence.length : 0;
    this.cursor.setAttribute("d", `M${place} 0V150`);
  }

  showScores() {
    const scores = this.scores[page.position];
    const largest = Math.max(...scores);
    const shares = scores.map((score) => Math.exp(score - largest));
    const sum = shares.reduce((a, b) => a + b);
    const answer = Number.isFinite(largest) ? scores.indexOf(largest) : -1;
    const right = rightClass(page.position);
    this.bars.forEach((bar, index) => {
      bar.className = `bar${index === right ? " right" : ""}${index === answer ? " answer" : ""}`;
      bar.children[1].style.width = `${Math.max(1, (100 * shares[index]) / sum || 0)}%`;
      bar.children[2].textContent = scores[index].toFixed(1);
    });
    const verdict = this.find(".verdict");
    const probability = percent(shares[answer] / sum);
    verdict.textContent =
      page.position === 0
        ? "Nothing is read yet: the hidden state is zero."
        : answer < 0
        ? `The network overflows: its scores are not numbers. ${this.summary()}`
        : `The network answers ${CLASSES[answer]} (${probability}), the machine ${CLASSES[right]}: ` +
          `${answer === right ? "right" : "wrong"}. ${this.summary()}`;
    verdict.classList.toggle("wrong", page.position > 0 && answer !== right);
  }

  summary() {
    if (this.firstWrong < 0) return "It is right at every token of this sequence.";
    return `First wrong at token ${this.firstWrong}; wrong at ${written(this.numWrong)} of ${written(page.sequence.length)}.`;
  }

  // Small dots: states after training sequences; names: the means of the machine's states.
  drawClusters() {
    const { points, states, centres } = this.run.clusters;
    const reaches = points.flat().map(Math.abs).sort((a, b) => a - b);
    this.scale = 90 / (reaches[Math.floor(0.98 * reaches.length)] || 1); // some lie far out
    const at = ([x, y]) => ({ cx: x * this.scale, cy: -y * this.scale });
    const dots = points.map((point, index) =>
      make("svg:circle", { class: "dot", r: 1.6, fill: hue(states[index]), ...at(point) }),
    );
    const names = centres.flatMap((centre, state) => {
      if (centre === null) return []; // no sequence led there
      const place = { x: centre[0] * this.scale, y: 4 - centre[1] * this.scale };
      return make("svg:text", { class: "name", ...place }, this.nameOf(state));
    });
    this.trace = make("svg:polyline", { class: "trace" });
    this.here = make("svg:circle", { class: "here", r: 6 });
    this.find(".path svg").append(...dots, ...names, this.trace, this.here);
  }

  nameOf(state) {
    const isOnly = MACHINE.outputs.filter((output) => output === MACHINE.outputs[state]).length === 1;
    return isOnly ? CLASSES[MACHINE.outputs[state]] : `${state}`;
  }

  project(position) {
    const { middle, directions } = this.run.clusters;
    const { h } = this.states[position].at(-1);
    return directions.map((direction) =>
      direction.reduce((sum, weight, unit) => sum + weight * (h[unit] - middle[unit]), 0),
    );
  }

  showPath() {
    if (!this.project(page.position).every(Number.isFinite)) return;
    const first = Math.max(0, page.position - PATH_SHOWN);
    const points = [];
    for (let position = first; position <= page.position; position++) {
      const [x, y] = this.project(position);
      points.push([x * this.scale, -y * this.scale]);
    }
    this.trace.setAttribute("points", points.map((point) => point.join()).join(" "));
    const [x, y] = points.at(-1);
    const inside = (place) => Math.max(-103, Math.min(103, place)); // far out: at the edge
    this.here.setAttribute("cx", inside(x));
    this.here.setAttribute("cy", inside(y));
    this.find(".path svg").setAttribute(
      "aria-label",
      `Hidden state in two directions: ${(x / this.scale).toFixed(2)}, ${(-y / this.scale).toFixed(2)}`,
    );
  }

  drawLeads() {
    const largest = Math.max(...this.leads.map(Math.abs), 1e-9);
    const length = page.sequence.length;
    const x = (position) => (length ? (600 * position) / length : 0);
    const y = (lead) => 75 - (70 * lead) / largest;
    const line = this.leads.slice(1).map((lead, index) => `${x(index + 1)},${y(lead)}`);
    if (length === 1) line.unshift(`0,${y(this.leads[1])}`); // a line needs two ends
    const below = this.leads.slice(1).map((lead, index) => `${x(index + 1)},${y(Math.min(0, lead))}`);
    this.cursor = make("svg:path", { class: "cursor" });
    this.find(".margin svg").replaceChildren(
      make("svg:polygon", { class: "below", points: [`${x(1)},75`, ...below, `${x(length)},75`].join(" ") }),
      make("svg:path", { class: "zero", d: "M0 75H600" }),
      make("svg:polyline", { class: "lead", points: line.join(" ") }),
      this.cursor,
    );
    this.find(".margin svg").setAttribute("aria-label", this.summary());
    this.find(".scale").textContent = `From token 1 to ${written(length)}; the scale ends at ±${largest.toFixed(1)}.`;
  }

  showHeat() {
    const token = page.position ? page.sequence[page.position - 1] : null;
    const { embedDim } = this.network;
    const embedding = token === null ? new Float64Array(embedDim) : this.network.embedding(token);
    const strip = this.find(".embedding canvas");
    strip.width = embedDim;
    strip.setAttribute("aria-label", token === null ? "No token yet" : `Embedding of ${TOKENS[token]}`);
    const reach = Math.max(...embedding.map(Math.abs), 1e-9);
    paint(strip, (column) => embedding[column] / reach);

    const heat = this.find(".hidden canvas");
    const { length: numLayers } = this.network.layers;
    const columns = Math.max(FEWEST_STEPS, Math.min(MOST_STEPS, page.sequence.length));
    heat.width = columns;
    heat.height = numLayers * this.network.size;
    const layers = numLayers > 1 ? `, ${numLayers} layers, the lowest on top` : "";
    heat.setAttribute("aria-label", `Hidden states of up to ${columns} steps${layers}`);
    paint(heat, (column, row) => {
      const position = page.position - columns + 1 + column; // the last column is now
      if (position < 0) return 0;
      const { h } = this.states[position][Math.floor(row / this.network.size)];
      return h[row % this.network.size] / this.reach;
    });
  }
}

// The largest finite unit of a state, without its sign.
const largestOf = (layers) =>
  Math.max(...layers.flatMap(({ h }) => Array.from(h, Math.abs)).filter(Number.isFinite));

// Fill a canvas, pixel by pixel, with values from -1 (low) to 1 (high).
function paint(canvas, valueAt) {
  const [low, middle, high] = ["--low", "--middle", "--high"].map((name) =>
    colour(name).match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16)),
  );
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let row = 0, place = 0; row < canvas.height; row++) {
    for (let column = 0; column < canvas.width; column++) {
      const value = Math.max(-1, Math.min(1, valueAt(column, row)));
      const end = value < 0 ? low : high;
      for (let part = 0; part < 3; part++) {
        image.data[place++] = middle[part] + Math.abs(value) * (end[part] - middle[part]);
      }
      image.data[place++] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}

// ---- what the reader does ----

function tryToRead(text) {
  stop();
  try {
    const sequence = read(text);
    take(sequence, sequence.length);
    element("position").focus(); // whose keys step through what was read
  } catch (error) {
    element("refusal").textContent = error.message;
  }
}

function stop() {
  clearInterval(page.timer);
  page.timer = null;
  playButton.textContent = "Play";
}

const playButton = document.querySelector("[data-move=play]");
const MOVES = {
  first: () => move(0),
  back: () => move(page.position - 1),
  forward: () => move(page.position + 1),
  last: () => move(page.sequence.length),
};

function play() {
  if (page.timer !== null) return stop();
  if (page.position === page.sequence.length) move(0);
  playButton.textContent = "Stop";
  page.timer = setInterval(() => {
    move(page.position + 1);
    if (page.position === page.sequence.length) stop();
  }, 500);
}

function listen() {
  element("typed").addEventListener("submit", (event) => {
    event.preventDefault();
    tryToRead(element("sequence").value);
  });
  element("steps").addEventListener("click", ({ target }) => {
    const wanted = target.dataset.move;
    if (wanted === "play") play();
    else if (wanted) {
      stop();
      MOVES[wanted]();
    }
  });
  element("position").addEventListener("input", ({ target }) => {
    stop();
    move(Number(target.value));
  });
  document.addEventListener("keydown", (event) => {
    const isHeld = event.ctrlKey || event.metaKey || event.altKey || event.shiftKey;
    if (event.target.matches("input") || isHeld) return;
    const wanted = { ArrowLeft: "back", ArrowRight: "forward", Home: "first", End: "last" }[event.key];
    if (!wanted) return;
    event.preventDefault();
    stop();
    MOVES[wanted]();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => move(page.position));
  for (const length of [10, 100, 1_000]) {
    const button = make("button", { type: "button" }, `${written(length)} random tokens`);
    button.addEventListener("click", () => {
      stop();
      const draw = () => Math.floor(Math.random() * TOKENS.length);
      take(Array.from({ length }, draw), length);
    });
    element("more").append(button);
  }
}

const views = RUNS.map((run) => new View(run));
element("rule").textContent = TASK;
element("allowed").textContent = `Tokens: ${listed()}${MAY_BE_JOINED ? ", with or without spaces" : ", separated by spaces"}.`;
listen();
take(EXAMPLE, EXAMPLE.length);
