// The conversations that this browser knows. The gateway lists none: who knows a conversation's id may read it.

import { byId, fill, glyph, h } from "./dom.js";
import { deleteSession } from "./api.js";
import { random } from "./conversation.js";
import { excerpt, when } from "./words.js";

const KEY = "limbic.sessions";
const CURRENT = "limbic.session";
const MOST = 100;

const read = () => {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found.filter((one) => typeof one?.id === "string") : [];
  } catch {
    return [];
  }
};
const write = (sessions) => localStorage.setItem(KEY, JSON.stringify(sessions.slice(0, MOST)));

export class Sessions {
  #conversation;
  #unused = "";

  constructor(conversation) {
    this.#conversation = conversation;
    conversation.on("turns", () => this.#remember());
    byId("new").addEventListener("click", () => this.begin());
    byId("conversations").addEventListener("click", () => this.#show());
    byId("sessions-close").addEventListener("click", () => byId("sessions").close());
    byId("sessions").addEventListener("click", (event) => {
      // A click beside the sheet is one on the dialog itself.
      if (event.target === byId("sessions")) byId("sessions").close();
    });
  }

  /** Open what the address names (`?session=ID`), else what was open last, else a new one. */
  start() {
    const named = new URLSearchParams(location.search).get("session");
    const current = named ?? localStorage.getItem(CURRENT);
    if (current) this.open(current);
    else this.begin();
  }

  open(id) {
    localStorage.setItem(CURRENT, id);
    this.#conversation.open(id);
  }

  /** Begin a new conversation; one in which nothing was said is not left behind. */
  begin() {
    if (this.#conversation.id === "" || this.#conversation.tree.size > 0) this.#unused = `page-${random()}`;
    else this.#unused = this.#conversation.id;
    if (this.#unused !== this.#conversation.id) this.open(this.#unused);
    byId("words").focus();
  }

  #remember() {
    const { id, path, tree } = this.#conversation;
    const first = path.find((turn) => turn.role === "you" && turn.text);
    const title = first ? excerpt(first.text, 48) : "New conversation";
    byId("conversation-title").textContent = title;
    if (tree.size === 0 || !first) return;
    const others = read().filter((one) => one.id !== id);
    write([{ id, title, at: path.at(-1).at }, ...others]);
  }

  #show() {
    this.#fill();
    byId("sessions").showModal();
  }

  #fill() {
    const sessions = read().sort((one, other) => other.at - one.at);
    const rows = sessions.map((one) =>
      h(
        "li",
        { class: one.id === this.#conversation.id ? "current" : "" },
        h(
          "button",
          { type: "button", class: "quiet open", onclick: () => this.#choose(one.id), "aria-current": one.id === this.#conversation.id && "true" },
          h("span", { class: "title" }, one.title),
          h("span", { class: "aside" }, when(one.at, Date.now())),
        ),
        h(
          "button",
          { type: "button", class: "quiet icon", "aria-label": `Delete “${one.title}”`, onclick: (event) => this.#delete(one.id, event.currentTarget) },
          glyph("M3.5 4.5h9M6.5 4.5v-1h3v1M5 4.5l.5 8h5l.5-8"),
        ),
      ),
    );
    fill(byId("session-list"), rows.length ? rows : h("li", { class: "empty" }, "None yet: say something."));
  }

  #choose(id) {
    byId("sessions").close();
    if (id !== this.#conversation.id) this.open(id);
  }

  async #delete(id, button) {
    if (button.dataset.sure !== "yes") {
      button.dataset.sure = "yes";
      button.setAttribute("aria-label", "Delete for good: press once more");
      fill(button, "Delete?");
      return;
    }
    try {
      await deleteSession(id);
    } catch (error) {
      fill(button, error.message);
      return;
    }
    write(read().filter((one) => one.id !== id));
    if (id === this.#conversation.id) this.open(`page-${random()}`);
    this.#fill();
  }
}
