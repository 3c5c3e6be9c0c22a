// The levels and moods as they are now, as bars that move; and the same, small, above the chat on a phone.

import { byId, fill, h } from "./dom.js";
import { band, clockWithSeconds, signed } from "./words.js";
import { moment } from "./tree.js";

/** Show a conversation's state in `#levels`, `#moods` and `#pulse`. */
export class Levels {
  #conversation;
  #rows = new Map();
  #moods = new Map();
  #pulse = new Map();

  constructor(conversation) {
    this.#conversation = conversation;
    conversation.on("state", () => this.draw());
  }

  draw() {
    const { state, away } = this.#conversation;
    byId("levels-note").textContent = away ? "last known" : state?.as_of ? clockWithSeconds(moment(state.as_of)) : "";
    byId("levels").classList.toggle("stale", away !== null);
    if (state === null || state.levels.length === 0) {
      this.#rows.clear();
      this.#moods.clear();
      this.#pulse.clear();
      fill(byId("levels"), h("p", { class: "empty" }, "The state engine has not answered yet."));
      fill(byId("moods"));
      fill(byId("pulse"));
      return;
    }
    this.#build(state);
    for (const level of state.levels) this.#move(level);
    for (const mood of state.moods) this.#shift(mood);
  }

  #build(state) {
    const names = [...state.levels, ...state.moods].map((one) => one.name).join();
    if (names === [...this.#rows.keys(), ...this.#moods.keys()].join()) return;
    this.#rows = new Map(state.levels.map((level) => [level.name, levelRow(level)]));
    this.#moods = new Map(state.moods.map((mood) => [mood.name, moodRow(mood)]));
    this.#pulse = new Map(state.levels.map((level) => [level.name, pulseBar(level)]));
    fill(byId("levels"), [...this.#rows.values()].map((row) => row.element));
    fill(byId("moods"), [...this.#moods.values()].map((row) => row.element));
    fill(byId("pulse"), [...this.#pulse.values()].map((bar) => bar.element));
  }

  #move(level) {
    const row = this.#rows.get(level.name);
    const { word, sign } = band(level);
    const share = `${level.value}%`;
    row.knob.style.left = share;
    row.away.style.left = `${Math.min(level.value, level.baseline)}%`;
    row.away.style.width = `${Math.abs(level.value - level.baseline)}%`;
    row.rest.style.left = `${level.baseline}%`;
    row.number.textContent = level.value.toFixed(1);
    row.band.textContent = word;
    row.sign.textContent = sign;
    row.element.dataset.band = word;
    row.meter.setAttribute("aria-valuenow", level.value.toFixed(1));
    row.meter.setAttribute("aria-valuetext", `${level.value.toFixed(0)}, ${word}; rests at ${level.baseline.toFixed(0)}`);
    row.meter.title = `rests at ${level.baseline.toFixed(0)}`;
    const bar = this.#pulse.get(level.name);
    // The same distance from rest moves every bar as far, whatever it rests at.
    const distance = Math.max(-1, Math.min(1, (level.value - level.baseline) / 25));
    bar.fill.style.height = `${Math.abs(distance) * 50}%`;
    bar.fill.style.bottom = distance >= 0 ? "50%" : `${50 - Math.abs(distance) * 50}%`;
    bar.element.dataset.band = word;
    bar.element.title = `${level.name} ${word}`;
  }

  #shift(mood) {
    const row = this.#moods.get(mood.name);
    row.fill.style.left = `${50 + Math.min(0, mood.intensity) * 50}%`;
    row.fill.style.width = `${Math.abs(mood.intensity) * 50}%`;
    row.number.textContent = signed(mood.intensity);
    row.meter.setAttribute("aria-valuenow", mood.intensity.toFixed(2));
    row.meter.setAttribute("aria-valuetext", signed(mood.intensity));
  }
}

function levelRow({ name }) {
  const knob = h("span", { class: "knob" });
  const away = h("span", { class: "away" });
  const rest = h("span", { class: "rest" });
  const number = h("span", { class: "number" });
  const sign = h("span", { class: "sign", "aria-hidden": "true" });
  const word = h("span", { class: "band-word" });
  const meter = h(
    "div",
    { class: "track", role: "meter", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 100, dataset: { level: name } },
    rest, away, knob,
  );
  const element = h(
    "div",
    { class: `level of-${name}` },
    h("span", { class: "name" }, name), meter, number, h("span", { class: "band" }, sign, word),
  );
  return { element, meter, knob, away, rest, number, band: word, sign };
}

function moodRow({ name }) {
  const bar = h("span", { class: "away" });
  const number = h("span", { class: "number" });
  const meter = h(
    "div",
    { class: "track", role: "meter", "aria-label": name, "aria-valuemin": -1, "aria-valuemax": 1, dataset: { mood: name } },
    h("span", { class: "rest", style: { left: "50%" } }), bar,
  );
  const element = h("div", { class: "mood" }, h("span", { class: "name" }, name), meter, number);
  return { element, meter, fill: bar, number };
}

function pulseBar({ name }) {
  const bar = h("span", { class: "rise" });
  const word = h("span", { class: "pulse-word" }, name);
  return { element: h("span", { class: `pulse-bar of-${name}` }, h("span", { class: "well" }, bar), word), fill: bar };
}
