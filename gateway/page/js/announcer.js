// Tells screen readers what happens: a reply when it is whole, and which levels have come into another band.

import { byId } from "./dom.js";
import { band } from "./words.js";

export class Announcer {
  #conversation;
  #told = "";
  #bands = new Map();

  constructor(conversation) {
    this.#conversation = conversation;
    conversation.on("busy", () => this.#speak());
  }

  #speak() {
    const { busy, path, state } = this.#conversation;
    const last = path.at(-1);
    if (busy || last === undefined || last.role !== "reply" || last.id === this.#told) return;
    // What was there when the page was opened is not news.
    const isNews = this.#told !== "" || last.key !== undefined;
    this.#told = last.id;
    const moved = [];
    for (const level of state?.levels ?? []) {
      const { word } = band(level);
      if (this.#bands.has(level.name) && this.#bands.get(level.name) !== word) moved.push(`${level.name} ${word}`);
      this.#bands.set(level.name, word);
    }
    if (isNews) byId("announcer").textContent = `Reply: ${last.text}${moved.length ? `. ${moved.join(", ")}` : ""}`;
  }
}
