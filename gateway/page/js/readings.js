// The last readings: of this conversation, with its words; why, where telemetry may say it.

import { byId, fill, h } from "./dom.js";
import { seconds } from "./tree.js";
import { AXES, clock, emotions, excerpt, lasting, signed, status } from "./words.js";
import { bar } from "./why.js";

const SHOWN = 4;

export class Readings {
  #conversation;
  #seen = new Map();
  #drawn = "";

  constructor(conversation) {
    this.#conversation = conversation;
    conversation.on("turns", () => this.draw());
  }

  /** Take what telemetry has seen: how long each reading took, and its reason. */
  take(snapshot) {
    this.#seen = new Map(snapshot.readings.map((one) => [one.turn_id, one]));
    this.draw();
  }

  draw() {
    const read = this.#conversation.path.filter((turn) => turn.role === "you" && (turn.reading || this.#seen.has(turn.id)));
    const latest = read.slice(-SHOWN).reverse();
    const drawn = JSON.stringify(latest.map((turn) => [turn.id, turn.status, turn.reading?.valence, this.#seen.get(turn.id)]));
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    byId("readings-note").textContent = latest.length ? "of this conversation" : "";
    fill(byId("readings"), latest.length ? latest.map((turn) => this.#item(turn)) : h("li", { class: "empty" }, "Nothing has been read yet."));
  }

  #item(turn) {
    const seen = this.#seen.get(turn.id);
    const reading = turn.reading;
    const reason = seen?.reading?.reasoning || reading?.reasoning || "";
    const said = [status(turn.status || seen?.status), seen?.latency && `after ${lasting(seconds(seen.latency))}`].filter(Boolean).join(" ");
    return h(
      "li",
      {},
      h("p", { class: "quote", dir: "auto" }, excerpt(turn.text, 90) || "(words not kept)"),
      reading && h("div", { class: "axes" }, AXES.map((axis) => h("span", { class: "axis" }, h("span", { class: "name" }, axis), bar(reading[axis], reading.uncertainty?.[axis]), h("span", { class: "number" }, signed(reading[axis]))))),
      h("p", { class: "aside" }, [clock(turn.at), said, reading && (emotions(reading).join(", ") || "no single emotion"), reading && `confidence ${reading.confidence.toFixed(2)}`].filter(Boolean).join(" · ")),
      reason && h("p", { class: "reason" }, reason),
    );
  }
}
