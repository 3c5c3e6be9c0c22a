// How long each stage takes, against the affect window: half of the turns, 95 % of them, and the last one.

import { byId, fill, h, s } from "./dom.js";
import { seconds } from "./tree.js";
import { STAGE_ORDER, lasting, partName, stage } from "./words.js";

const LABEL_PX = 96;
const ROW_PX = 22;
const DECADES = [0.001, 0.01, 0.1, 1, 10];
const SHORTEST_S = 0.0003;
const LONGEST_S = 30;

export class Latency {
  #conversation;
  #snapshot = null;
  #box = byId("latency");
  #width = 0;

  constructor(conversation) {
    this.#conversation = conversation;
    conversation.on("turns", () => this.draw());
    new ResizeObserver(([entry]) => {
      if (Math.abs(entry.contentRect.width - this.#width) > 1) this.draw();
    }).observe(this.#box);
    byId("latency-table").parentElement.addEventListener("toggle", () => this.#table());
  }

  take(snapshot) {
    this.#snapshot = snapshot;
    this.draw();
  }

  draw() {
    if (this.#snapshot === null) return;
    const { latencies, window } = this.#snapshot;
    this.#width = this.#box.clientWidth;
    byId("latency-note").textContent = `window ${lasting(seconds(window.window))}: ${window.hits} in time, ${window.late} late, ${window.missed} not felt`;
    this.#backends();
    if (latencies.length === 0 || this.#width < 80) {
      fill(this.#box, h("p", { class: "empty" }, "No turn has been taken since the gateway was started."));
      return;
    }
    const plot = this.#width - LABEL_PX - 8;
    const x = (value) => (plot * Math.log(Math.min(LONGEST_S, Math.max(SHORTEST_S, value)) / SHORTEST_S)) / Math.log(LONGEST_S / SHORTEST_S);
    const stages = this.#stages();
    const height = stages.length * ROW_PX;
    const windowX = x(seconds(window.window));
    fill(
      this.#box,
      s(
        "svg",
        { class: "chart", role: "img", "aria-label": this.#sentence(stages), width: this.#width, height: height + 22, viewBox: `0 0 ${this.#width} ${height + 22}` },
        s(
          "g",
          { transform: `translate(${LABEL_PX} 0)` },
          s("rect", { class: "window", x: 0, y: 0, width: windowX, height }),
          ...DECADES.flatMap((value) => [s("line", { class: "tick", x1: x(value), x2: x(value), y1: 0, y2: height }), s("text", { class: "time", x: x(value), y: height + 16 }, value < 1 ? `${value * 1000} ms` : `${value} s`)]),
          ...stages.map(({ name, p50, p95, last }, index) => {
            const y = (index + 0.5) * ROW_PX;
            return s(
              "g",
              { transform: `translate(0 ${y})` },
              s("text", { class: "name", x: -LABEL_PX, y: 4 }, stage(name)),
              s("line", { class: "p95", x1: x(p50), x2: x(p95), y1: 0, y2: 0 }),
              s("rect", { class: "p50", x: 0, y: -4, width: Math.max(1, x(p50)), height: 8, rx: 2 }),
              last !== null && s("path", { class: "last", d: `M${x(last)} -6l5 6-5 6-5-6z` }, s("title", {}, `last turn: ${lasting(last)}`)),
            );
          }),
          s("line", { class: "window-end", x1: windowX, x2: windowX, y1: 0, y2: height }),
        ),
      ),
      h("p", { class: "key aside" }, h("span", { class: "k50" }, "half of the turns"), h("span", { class: "k95" }, "95 %"), h("span", { class: "klast" }, "the last one"), h("span", { class: "kwindow" }, "the window")),
    );
    this.#table();
  }

  #stages() {
    const last = new Map((this.#conversation.lastTrace?.stages ?? []).filter((one) => one.status === "STAGE_STATUS_OK" || one.status === "STAGE_STATUS_TIMEOUT").map((one) => [one.name, seconds(one.duration)]));
    return this.#snapshot.latencies
      .filter((one) => STAGE_ORDER.includes(one.stage))
      .sort((one, other) => STAGE_ORDER.indexOf(one.stage) - STAGE_ORDER.indexOf(other.stage))
      .map((one) => ({ name: one.stage, count: one.count, p50: seconds(one.p50), p95: seconds(one.p95), p99: seconds(one.p99), last: last.get(one.stage) ?? null }));
  }

  #sentence(stages) {
    return stages.map(({ name, p50 }) => `${stage(name)}: half within ${lasting(p50)}`).join("; ");
  }

  #table() {
    const box = byId("latency-table");
    if (!box.parentElement.open || this.#snapshot === null) return;
    const head = ["Stage", "turns", "half", "95 %", "99 %", "last turn"];
    const rows = this.#stages().map((one) => h("tr", {}, h("th", { scope: "row" }, stage(one.name)), h("td", {}, String(one.count)), [one.p50, one.p95, one.p99].map((value) => h("td", {}, lasting(value))), h("td", {}, one.last === null ? "" : lasting(one.last))));
    fill(box, h("table", {}, h("caption", {}, "Of the last 256 turns"), h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows)));
  }

  #backends() {
    const { backends, upstreams, window } = this.#snapshot;
    const lateness = window.lateness_p50 ? ` (${lasting(seconds(window.lateness_p50))} at the median)` : "";
    fill(
      byId("backends"),
      backends.map((one) => h("li", { class: one.serving ? "serving" : "away" }, h("span", { class: "lamp", "aria-hidden": "true" }), `${partName(one.name)}: ${one.serving ? "serving" : "away"}`)),
      upstreams.map((one) => h("li", { class: one.circuit === "closed" ? "serving" : "away" }, h("span", { class: "lamp", "aria-hidden": "true" }), `${one.model}, ${one.kind}${one.circuit === "closed" ? "" : `, circuit ${one.circuit.replace("_", " ")}`}`)),
      Number(window.late) > 0 && h("li", {}, `Late readings are felt at the time of the words${lateness}.`),
    );
  }
}
