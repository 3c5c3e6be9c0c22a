// What was said: messages, the reply as it grows, swipes and edits, and the field to say something.

import { arrange, byId, glyph, h } from "./dom.js";
import { clock, emotions, excerpt, finish, status } from "./words.js";
import { seconds } from "./tree.js";

export const MOST_CHARACTERS = 8_000;
const COUNT_FROM = 7_000;
const NEAR_END_PX = 120;

export class Chat {
  #conversation;
  #items = new Map();
  #editing = "";
  #troubleShown = { trouble: null, element: null };
  #welcome = welcome();
  #earlier = h("li", { class: "earlier" }, h("button", { type: "button", class: "quiet", onclick: () => this.#conversation.earlier() }, "Earlier messages"));

  constructor(conversation) {
    this.#conversation = conversation;
    conversation.on("turns busy trouble", () => this.draw());
    conversation.on("why", () => this.#mark());
    conversation.on("text", () => this.#grow());
    this.#listen();
  }

  draw() {
    const { path, trouble, hasEarlier } = this.#conversation;
    const near = this.#isNearEnd();
    const shown = new Map();
    for (const turn of path) {
      const key = turn.key ?? turn.id;
      const look = this.#lookOf(turn);
      const known = this.#items.get(key);
      shown.set(key, known?.look === look ? known : { look, ...this.#item(turn) });
    }
    this.#items = shown;
    const list = byId("messages");
    if (trouble !== this.#troubleShown.trouble) this.#troubleShown = { trouble, element: trouble && this.#trouble(trouble) };
    arrange(list, [
      hasEarlier && this.#earlier,
      path.length === 0 && !trouble && this.#welcome,
      ...[...shown.values()].map((item) => item.element),
      this.#troubleShown.element,
    ]);
    list.setAttribute("aria-busy", String(this.#conversation.busy));
    for (const button of list.querySelectorAll(".actions button")) button.disabled = this.#conversation.busy || button.dataset.end === "true";
    const send = byId("send");
    send.classList.toggle("speaking", this.#conversation.busy);
    send.setAttribute("aria-label", this.#conversation.busy ? "Stop" : "Send");
    this.#mark();
    if (near) this.#toEnd();
  }

  // A message is made anew only where something that it shows has changed: focus and selected text stay where they are.
  #lookOf(turn) {
    const { tree } = this.#conversation;
    const siblings = tree.has(turn.id) ? tree.siblings(turn.id) : [turn.id];
    const text = turn.pending && turn.role === "reply" ? "growing" : turn.text;
    const felt = [turn.status ?? "", Boolean(turn.reading), turn.lateness ?? "", turn.note ?? "", turn.finish ?? "", Boolean(turn.cut)];
    return JSON.stringify([turn.id, text, siblings, felt, Boolean(turn.pending), this.#editing === turn.id]);
  }

  #item(turn) {
    const body = h("div", { class: "said", dir: "auto" }, turn.text);
    const element = h(
      "li",
      { class: `message ${turn.role}${turn.pending ? " pending" : ""}`, dataset: { turn: turn.id } },
      h("p", { class: "who" }, turn.role === "you" ? "You" : "Reply", h("time", {}, turn.pending ? "" : clock(turn.at))),
      this.#editing === turn.id ? this.#editor(turn) : turn.text || turn.pending ? body : h("div", { class: "said gone" }, "These words are not kept."),
      h("div", { class: "below" }, turn.role === "you" ? this.#felt(turn) : notes(turn), this.#actions(turn)),
    );
    return { element, body };
  }

  #felt(turn) {
    if (!turn.reading && !turn.status) return h("span", { class: "felt" });
    const voiced = turn.reading ? emotions(turn.reading) : [];
    const late = turn.status === "AFFECT_STATUS_LATE" && turn.lateness ? `read ${seconds(turn.lateness).toFixed(1)} s late` : "";
    const said = turn.reading ? [voiced.join(", ") || "no single emotion", late].filter(Boolean).join(" · ") : status(turn.status);
    return h(
      "button",
      { type: "button", class: `quiet felt${turn.reading ? "" : " without"}`, title: "What it did, and what of it is left", onclick: () => this.#look(turn.id) },
      said,
    );
  }

  #look(turnId) {
    this.#conversation.select(turnId);
    document.dispatchEvent(new CustomEvent("limbic:why"));
  }

  #actions(turn) {
    const { tree } = this.#conversation;
    if (turn.pending || this.#editing === turn.id) return h("span", { class: "actions" });
    const siblings = tree.siblings(turn.id);
    const place = siblings.indexOf(turn.id);
    const what = turn.role === "you" ? "version" : "reply";
    const go = (to, says, path) =>
      h("button", { type: "button", class: "quiet icon small", "aria-label": says, title: says, dataset: { end: siblings[to] === undefined }, onclick: () => this.#conversation.go(siblings[to]) }, glyph(path));
    return h(
      "span",
      { class: "actions" },
      siblings.length > 1 &&
        h(
          "span",
          { class: "swipe", role: "group", "aria-label": `${what} ${place + 1} of ${siblings.length}` },
          go(place - 1, `Previous ${what}`, "M10 3.5 5.5 8l4.5 4.5"),
          h("span", { class: "place" }, `${place + 1}/${siblings.length}`),
          go(place + 1, `Next ${what}`, "M6 3.5 10.5 8 6 12.5"),
        ),
      turn.role === "you" && turn.text && this.#button("Edit", "M3 13h2.5l7-7L10 3.5l-7 7zM8.5 5l2.5 2.5", () => this.#edit(turn.id)),
      turn.role === "reply" && tree.get(turn.parent)?.text && this.#button("Another reply", "M13 8a5 5 0 1 1-1.5-3.6M13 2.5v3h-3", () => this.#conversation.again(turn.id)),
    );
  }

  #button(says, path, onclick) {
    return h("button", { type: "button", class: "quiet icon small", "aria-label": says, title: says, onclick }, glyph(path));
  }

  #edit(turnId) {
    this.#editing = turnId;
    this.draw();
    const field = byId("messages").querySelector(".editor textarea");
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
    fit(field);
  }

  #editor(turn) {
    const field = h("textarea", { "aria-label": "Your words", rows: 1, dir: "auto", oninput: (event) => fit(event.target) });
    field.value = turn.text;
    const end = () => {
      this.#editing = "";
      this.draw();
      byId("words").focus();
    };
    const save = () => {
      const text = field.value.trim();
      const changed = text && text !== turn.text;
      end();
      if (changed) this.#conversation.say(text, turn.parent);
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") end();
      else if (sends(event)) {
        event.preventDefault();
        save();
      }
    });
    return h(
      "div",
      { class: "editor" },
      field,
      h("div", {}, h("button", { type: "button", class: "primary", onclick: save }, "Say it so"), h("button", { type: "button", class: "quiet", onclick: end }, "Cancel")),
    );
  }

  #grow() {
    const turn = this.#conversation.path.at(-1);
    const item = this.#items.get(turn?.key ?? turn?.id);
    if (item === undefined) return;
    const near = this.#isNearEnd();
    item.body.textContent = turn.text;
    if (near) this.#toEnd();
  }

  #mark() {
    for (const item of this.#items.values()) item.element.classList.toggle("selected", item.element.dataset.turn === this.#conversation.selected);
  }

  #trouble({ error, turn }) {
    const tooLong = error.reason === "INVALID_ARGUMENT" || error.reason === "PROMPT_TOO_LONG";
    return h(
      "li",
      { class: "trouble", role: "alert" },
      h("p", {}, error.message),
      turn && h("p", { class: "aside", dir: "auto" }, `“${excerpt(turn.text)}”`),
      turn && !tooLong && h("button", { type: "button", class: "primary", onclick: () => this.#conversation.retry() }, "Try again"),
      turn && h("button", { type: "button", class: "quiet", onclick: () => this.#takeBack(turn) }, "Change the words"),
    );
  }

  #takeBack(turn) {
    const field = byId("words");
    field.value = turn.text;
    fit(field);
    this.#count();
    field.focus();
  }

  #listen() {
    const field = byId("words");
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#conversation.busy) this.#conversation.stop();
      else this.#send();
    });
    field.addEventListener("input", () => {
      fit(field);
      this.#count();
    });
    field.addEventListener("keydown", (event) => {
      if (!sends(event)) return;
      event.preventDefault();
      if (!this.#conversation.busy) this.#send();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#conversation.busy && !byId("sessions").open) this.#conversation.stop();
    });
    if (matchMedia("(pointer: coarse)").matches) byId("hint-text").textContent = "";
  }

  #send() {
    const field = byId("words");
    const text = field.value.trim();
    if (!text || this.#count() > MOST_CHARACTERS) return;
    field.value = "";
    fit(field);
    this.#count();
    this.#toEnd();
    this.#conversation.say(text);
  }

  #count() {
    const characters = [...byId("words").value.trim()].length;
    const over = characters > MOST_CHARACTERS;
    byId("count").textContent = characters < COUNT_FROM ? "" : `${characters.toLocaleString()} of ${MOST_CHARACTERS.toLocaleString()} characters`;
    byId("count").classList.toggle("over", over);
    byId("words").setAttribute("aria-invalid", String(over));
    return characters;
  }

  #isNearEnd() {
    const scroll = byId("scroll");
    return scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_END_PX;
  }

  #toEnd() {
    const scroll = byId("scroll");
    requestAnimationFrame(() => scroll.scrollTo({ top: scroll.scrollHeight }));
  }
}

function notes(turn) {
  const said = [turn.cut && "broken off", finish(turn.finish), turn.note].filter(Boolean).join(" · ");
  return h("span", { class: "felt note" }, said);
}

function welcome() {
  return h(
    "li",
    { class: "welcome" },
    h("p", { class: "large" }, "Say something."),
    h("p", {}, "What you say is felt: levels move with it, shape the reply, and relax again in their own time."),
  );
}

/** Whether a key press means that the words are to be said: not while an input method composes, nor where a key is all one has for lines. */
function sends(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && !matchMedia("(pointer: coarse)").matches;
}

function fit(field) {
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight + 2, 220)}px`;
}
