// What is missing, in words: a lamp in the corner when all is well, a notice when it is not.

import { byId, fill, h } from "./dom.js";
import { partAway, partName } from "./words.js";

export class Parts {
  #conversation;
  #snapshot = null;
  #gone = null;
  #said = "";

  constructor(conversation) {
    this.#conversation = conversation;
    conversation.on("state", () => this.draw());
  }

  take(snapshot) {
    this.#snapshot = snapshot;
    this.#gone = null;
    this.draw();
  }

  /** The gateway itself does not answer. */
  lost(error) {
    this.#gone = error;
    this.draw();
  }

  draw() {
    const away = (this.#snapshot?.backends ?? []).filter((one) => !one.serving);
    const spooled = Number(this.#snapshot?.spooled_facts ?? 0);
    const sentences = this.#gone
      ? [this.#gone.reason ? this.#gone.message : "The gateway does not answer; trying again."]
      : [
          ...away.map((one) => partAway(one.name)),
          spooled > 0 && `${spooled === 1 ? "One fact waits" : `${spooled} facts wait`} on the gateway's disk for the state engine.`,
          away.length === 0 && this.#conversation.away && this.#conversation.away.message,
        ].filter(Boolean);
    const said = sentences.join(" ");
    if (said === this.#said && this.#snapshot !== null && byId("parts").textContent) return;
    this.#said = said;
    const notice = byId("notice");
    notice.hidden = said === "";
    fill(notice, sentences.map((sentence) => h("p", {}, sentence)));
    const fine = said === "" && this.#snapshot !== null;
    const short = this.#gone ? "no gateway" : away.length ? `${away.map((one) => partName(one.name)).join(", ")} away` : fine ? "all parts serving" : said ? "degraded" : "";
    byId("parts").className = `parts ${fine ? "serving" : said ? "away" : ""}`;
    fill(byId("parts"), h("span", { class: "lamp", "aria-hidden": "true" }), h("span", { class: "parts-words" }, short));
  }
}
