// The levels over the conversation, one row each on one scale, with the utterances below and the timelines that were left as faint lines.

import { arrange, byId, fill, h, s } from "./dom.js";
import { timeScale } from "./scale.js";
import { HORMONES, clock, clockWithSeconds, emotions, excerpt, lasting, signed, when } from "./words.js";

const LABEL_PX = 92;
const VALUE_PX = 46;
const ROW_PX = 50;
const ROW_GAP_PX = 6;
const APART_PX = 10;
const REACH_PX = 16;
const LANE_PX = 18;
const MOST_LANES = 4;
const MOST_LEFT = 12;
const SMALLEST_REACH = { levels: 9, moods: 0.2 };
const REDRAW_MS = 2_000;

export class Timeline {
  #conversation;
  #what = "levels";
  #pointedAt = null;
  #drawnAt = 0;
  #width = 0;
  #box = byId("timeline");
  #behind = s("g");
  #rows = s("g");
  #joins = s("g");
  #marksBox = s("g");
  #pointer = s("line", { class: "pointer", y1: 0 });
  #chart = s(
    "svg",
    { class: "chart", tabindex: 0, role: "listbox", "aria-label": "Utterances: arrow keys go from one to the next", "aria-orientation": "horizontal" },
    this.#behind, this.#rows, this.#joins, this.#marksBox, this.#pointer,
  );
  #readout = h("p", { class: "readout", "aria-hidden": "true" });
  #marks = [];
  #elements = new Map();
  #drawn = null;

  constructor(conversation) {
    this.#conversation = conversation;
    conversation.on("curve turns why", () => this.draw());
    conversation.on("state", () => {
      if (performance.now() - this.#drawnAt > REDRAW_MS) this.draw();
    });
    new ResizeObserver(([entry]) => {
      if (Math.abs(entry.contentRect.width - this.#width) > 1) this.draw();
    }).observe(this.#box);
    for (const what of ["levels", "moods"]) byId(`show-${what}`).addEventListener("click", () => this.#show(what));
    this.#chart.addEventListener("keydown", (event) => this.#key(event));
    this.#chart.addEventListener("pointermove", (event) => this.#point(event));
    this.#chart.addEventListener("pointerleave", () => this.#pointAt(null));
    this.#chart.addEventListener("click", (event) => this.#click(event));
    byId("timeline-table").parentElement.addEventListener("toggle", () => this.#table());
  }

  draw() {
    this.#drawnAt = performance.now();
    this.#width = this.#box.clientWidth;
    const { curve, live, branches, now, tree, path } = this.#conversation;
    if (curve === null || curve.points.length === 0 || this.#width < 80) {
      this.#marks = [];
      this.#drawn = null;
      fill(this.#box, h("p", { class: "empty" }, "Once something has been said, this shows how it moved the levels, and how they relax."));
      this.#table();
      return;
    }
    const points = [...curve.points, ...live.filter((point) => point.at > curve.points.at(-1).at)];
    const turns = this.#drawnTurns(tree, path);
    const plot = { left: LABEL_PX, width: Math.max(40, this.#width - LABEL_PX - VALUE_PX) };
    const scale = timeScale(turns.map((turn) => turn.at), Math.max(now, points.at(-1).at), plot.width);
    const lanes = turns.reduce((most, turn) => Math.max(most, turn.lane + 1), 1);
    const rows = this.#rowsOf(points, branches);
    const below = rows.length * (ROW_PX + ROW_GAP_PX);
    const height = below + lanes * LANE_PX + 24;
    for (const [name, value] of Object.entries({ viewBox: `0 0 ${this.#width} ${height}`, width: this.#width, height })) this.#chart.setAttribute(name, value);
    for (const layer of [this.#behind, this.#joins, this.#marksBox]) layer.setAttribute("transform", `translate(${plot.left} ${layer === this.#behind ? 0 : below + LANE_PX / 2})`);
    fill(this.#behind, breaks(scale, below, lanes), ticks(scale, height), s("line", { class: "now", x1: plot.width, x2: plot.width, y1: 0, y2: below }));
    fill(this.#rows, rows.map((row, index) => this.#row(row, index, points, branches, scale, plot)));
    this.#pointer.setAttribute("y2", below);
    this.#utterances(turns, scale, below);
    if (this.#chart.parentElement !== this.#box) fill(this.#box, this.#chart, this.#readout);
    this.#drawn = { scale, plot, points, rows };
    this.#pointAt(this.#pointedAt);
    this.#table();
  }

  #show(what) {
    this.#what = what;
    for (const one of ["levels", "moods"]) byId(`show-${one}`).setAttribute("aria-pressed", String(one === what));
    this.draw();
  }

  /** The rows share one scale: what looks twice as far is twice as far. */
  #rowsOf(points, branches) {
    const what = this.#what;
    const rest = (name) => (what === "levels" ? (this.#conversation.curve.baselines[name] ?? 0) : 0);
    const names = Object.keys(points[0][what]);
    let reach = SMALLEST_REACH[what];
    for (const list of [points, ...branches.map((branch) => branch.curve.points)]) {
      for (const point of list) for (const name of names) reach = Math.max(reach, Math.abs((point[what][name] ?? rest(name)) - rest(name)));
    }
    return names.map((name) => ({ name, rest: rest(name), reach }));
  }

  #row(row, index, points, branches, scale, plot) {
    const { name, rest, reach } = row;
    const what = this.#what;
    const middle = ROW_PX / 2;
    const y = (value) => Number((middle - ((value - rest) / reach) * (middle - 2)).toFixed(1));
    const line = (list) => list.map((point, at) => `${at ? "L" : "M"}${scale.x(point.at).toFixed(1)} ${y(point[what][name] ?? rest)}`).join("");
    const path = line(points);
    // What is moved when somebody points at a moment.
    row.y = y;
    row.end = s("circle", { class: "end", r: 3.5 });
    row.number = s("text", { class: "value", x: plot.width + VALUE_PX, y: middle + 4 });
    return s(
      "g",
      { transform: `translate(${plot.left} ${index * (ROW_PX + ROW_GAP_PX)})`, class: `row of-${HORMONES.includes(name) ? name : "mood"}`, dataset: { row: name } },
      s("text", { class: "name", x: -LABEL_PX, y: middle + 4 }, name),
      s("line", { class: "rest", x1: 0, x2: plot.width, y1: middle, y2: middle }),
      branches.map((branch) => s("path", { class: "left", d: line(branch.curve.points.filter((point) => point.at >= branch.turns[0].at - 1)) })),
      s("path", { class: "area", d: `${path}L${plot.width} ${middle}L${scale.x(points[0].at).toFixed(1)} ${middle}Z` }),
      s("path", { class: "line", d: path }),
      row.end,
      row.number,
    );
  }

  /** What was said on the path, and the latest of what was left, each timeline in a lane of its own. */
  #drawnTurns(tree, path) {
    const drawn = path.filter((turn) => !turn.pending || turn.role === "you").map((turn) => ({ ...turn, lane: 0 }));
    const left = tree.left(this.#conversation.tip).slice(0, MOST_LEFT).reverse();
    left.forEach(({ turns }, index) => {
      const lane = 1 + (index % (MOST_LANES - 1));
      for (const turn of turns) drawn.push({ ...turn, lane });
    });
    return drawn;
  }

  #utterances(turns, scale, below) {
    const selected = this.#conversation.selected;
    const place = placed(turns, scale);
    const joins = turns.map((turn) => {
      const to = place.get(turn.id);
      const from = place.get(turn.parent);
      if (from === undefined) return null;
      if (from.y === to.y) return s("path", { class: turn.lane ? "join left" : "join", d: `M${from.x} ${from.y}H${to.x}` });
      const bend = Math.min(16, Math.max(4, to.x - from.x));
      return s("path", { class: "join left", d: `M${from.x} ${from.y}C${from.x + bend} ${from.y} ${from.x} ${to.y} ${from.x + bend} ${to.y}H${to.x}` });
    });
    fill(this.#joins, joins);
    this.#marks = turns.map((turn) => ({ ...turn, ...place.get(turn.id) })).sort((one, other) => one.lane - other.lane || one.at - other.at);
    // Marks are kept and moved: one that is pressed must still be there when it is let go.
    const kept = new Map();
    for (const turn of this.#marks) {
      const element = this.#elements.get(turn.id) ?? mark(turn);
      const isSelected = turn.id === selected;
      element.setAttribute("class", `mark ${turn.role}${turn.lane ? " left" : ""}${isSelected ? " selected" : ""}`);
      element.setAttribute("transform", `translate(${turn.x} ${turn.y})`);
      element.setAttribute("aria-selected", String(isSelected));
      element.setAttribute("aria-label", label(turn));
      element.querySelector("title").textContent = label(turn);
      element.querySelector(".stem").setAttribute("y1", isSelected && turn.lane === 0 ? -below - LANE_PX / 2 : 0);
      kept.set(turn.id, element);
    }
    this.#elements = kept;
    arrange(this.#marksBox, [...kept.values()]);
    if (kept.has(selected)) this.#chart.setAttribute("aria-activedescendant", `mark-${selected}`);
    else this.#chart.removeAttribute("aria-activedescendant");
  }

  #point(event) {
    if (this.#drawn === null || event.pointerType === "touch") return;
    const x = event.clientX - this.#chart.getBoundingClientRect().left - this.#drawn.plot.left;
    this.#pointAt(x < 0 || x > this.#drawn.plot.width ? null : x);
  }

  #pointAt(x) {
    this.#pointedAt = x;
    this.#pointer.setAttribute("visibility", x === null ? "hidden" : "visible");
    if (this.#drawn === null) return;
    const { scale, plot, points, rows } = this.#drawn;
    const what = this.#what;
    const shown = x === null ? points.at(-1) : at(points, scale.at(x));
    for (const name of ["x1", "x2"]) this.#pointer.setAttribute(name, plot.left + (x ?? 0));
    for (const row of rows) {
      const value = shown[what][row.name] ?? row.rest;
      row.end.setAttribute("cx", x ?? plot.width);
      row.end.setAttribute("cy", row.y(value));
      row.number.textContent = what === "levels" ? value.toFixed(1) : signed(value);
    }
    this.#readout.textContent = x === null ? "" : clockWithSeconds(scale.at(x));
  }

  /** The mark nearest to where somebody pressed, within a finger's reach. */
  #click(event) {
    if (this.#drawn === null) return;
    const box = this.#marksBox.getScreenCTM();
    const [x, y] = [event.clientX - box.e, event.clientY - box.f];
    const distance = (turn) => Math.hypot(turn.x - x, turn.y - y);
    const nearest = this.#marks.reduce((best, turn) => (best === null || distance(turn) < distance(best) ? turn : best), null);
    this.#conversation.select(nearest !== null && distance(nearest) <= REACH_PX ? nearest.id : "");
  }

  #key(event) {
    const path = this.#marks.filter((turn) => turn.lane === 0);
    const { selected, tree } = this.#conversation;
    const index = path.findIndex((turn) => turn.id === selected);
    const beside = (step) => {
      if (!tree.has(selected)) return undefined;
      const siblings = tree.siblings(selected);
      return siblings[siblings.indexOf(selected) + step];
    };
    const to = {
      ArrowLeft: () => (selected && index < 0 ? tree.get(selected)?.parent : path[index < 0 ? path.length - 1 : Math.max(0, index - 1)]?.id),
      ArrowRight: () => (selected && index < 0 ? tree.children(selected)[0] : path[Math.min(path.length - 1, index + 1)]?.id),
      ArrowUp: () => beside(-1),
      ArrowDown: () => beside(1),
      Home: () => path[0]?.id,
      End: () => path.at(-1)?.id,
      Escape: () => "",
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const id = to();
    if (id !== undefined) this.#conversation.select(id);
  }

  #table() {
    const box = byId("timeline-table");
    if (!box.parentElement.open) return;
    const { curve, path, now } = this.#conversation;
    if (curve === null || curve.points.length === 0) {
      fill(box, h("p", { class: "empty" }, "Nothing has been said yet."));
      return;
    }
    const what = this.#what;
    const names = Object.keys(curve.points[0][what]);
    const shown = (point) => names.map((name) => h("td", {}, what === "levels" ? point[what][name].toFixed(1) : signed(point[what][name])));
    const rows = path
      .map((turn) => ({ turn, point: curve.points.find((one) => one.cause === turn.id) }))
      .filter(({ point }) => point !== undefined)
      .map(({ turn, point }) => h("tr", {}, h("th", { scope: "row" }, when(turn.at, now)), h("td", { class: "words", dir: "auto" }, `${turn.role === "you" ? "You" : "Reply"}: ${excerpt(turn.text, 40) || "not kept"}`), shown(point)));
    fill(
      box,
      h(
        "table",
        {},
        h("caption", {}, `${what === "levels" ? "Hormones, 0 to 100" : "Moods, −1 to 1"}, at each utterance and now`),
        h("thead", {}, h("tr", {}, ["When", "Said", ...names].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, rows, h("tr", {}, h("th", { scope: "row" }, "now"), h("td", {}), shown(curve.points.at(-1)))),
      ),
    );
  }
}

function mark(turn) {
  return s(
    "g",
    { id: `mark-${turn.id}`, role: "option", dataset: { turn: turn.id } },
    s("line", { class: "stem", x1: 0, x2: 0, y1: 0, y2: 0 }),
    s("circle", { class: "touch", r: 11 }),
    s("circle", { class: "dot", r: turn.role === "you" ? 4.5 : 3 }),
    s("title"),
  );
}

function label(turn) {
  const voiced = turn.reading ? emotions(turn.reading).join(", ") : "";
  return [`${clock(turn.at)} ${turn.role === "you" ? "you" : "reply"}`, excerpt(turn.text, 80) || "words not kept", voiced, turn.lane ? "on a timeline that was left" : ""].filter(Boolean).join("; ");
}

/** Where each mark stands: at its moment, or, where marks would cover each other, beside the one before. */
function placed(drawn, scale) {
  const ends = new Map();
  const place = new Map();
  for (const turn of [...drawn].sort((one, other) => one.at - other.at)) {
    const x = Math.max(scale.x(turn.at), (ends.get(turn.lane) ?? -Infinity) + APART_PX);
    ends.set(turn.lane, x);
    place.set(turn.id, { x: Number(x.toFixed(1)), y: turn.lane * LANE_PX });
  }
  return place;
}

/** The point that holds at a moment, between two points halfway as far. */
function at(points, moment) {
  const after = points.findIndex((point) => point.at > moment);
  if (after <= 0) return after === 0 ? points[0] : points.at(-1);
  const [one, other] = [points[after - 1], points[after]];
  const share = (moment - one.at) / (other.at - one.at);
  const between = (what) => Object.fromEntries(Object.entries(one[what]).map(([name, value]) => [name, value + share * ((other[what][name] ?? value) - value)]));
  return { levels: between("levels"), moods: between("moods") };
}

function breaks(scale, below, lanes) {
  return scale.breaks.map((part) =>
    s(
      "g",
      { class: "break" },
      s("rect", { x: part.from, y: 0, width: part.to - part.from, height: below + lanes * LANE_PX }),
      s("text", { x: (part.from + part.to) / 2, y: below + lanes * LANE_PX + 18 }, lasting((part.end - part.start) / 1000)),
    ),
  );
}

function ticks(scale, height) {
  const isFree = ({ x }) => scale.breaks.every((part) => Math.abs(x - (part.from + part.to) / 2) > 52);
  return scale.ticks(74).filter(isFree).flatMap((tick) => [s("line", { class: "tick", x1: tick.x, x2: tick.x, y1: 0, y2: height - 20 }), s("text", { class: "time", x: tick.x, y: height - 6 }, clock(tick.at))]);
}
