// What the state is made of: what each utterance still contributes, and, of one that was chosen, how it was read and by which words.

import { byId, fill, h } from "./dom.js";
import { seconds } from "./tree.js";
import { AXES, HORMONES, emotions, excerpt, lasting, signed, when } from "./words.js";

const SHOWN = 5;

export class Why {
  #conversation;
  #words = new Map();
  #drawn = [undefined, undefined, undefined];

  constructor(conversation) {
    this.#conversation = conversation;
    conversation.on("why turns", () => this.draw());
  }

  draw() {
    const { why, selected, tree } = this.#conversation;
    const turn = tree.get(selected);
    const told = this.#words.get(selected);
    const [wasWhy, wasTurn, wasTold] = this.#drawn;
    // Made anew only where something has changed, so that focus is not lost each time a reply grows.
    if (why === wasWhy && turn === wasTurn && told === wasTold && why !== undefined) return;
    this.#drawn = [why, turn, told];
    byId("why-note").textContent = turn ? "" : "what is still felt of each utterance";
    if (turn) fill(byId("why"), this.#one(turn, why));
    else if (!why?.contributions.length) fill(byId("why"), h("p", { class: "empty" }, "At rest: nothing that was said is still felt."));
    else fill(byId("why"), this.#all(why));
  }

  #all({ contributions, remainder }) {
    const largest = Math.max(...contributions.flatMap((one) => one.levels.map((share) => Math.abs(share.value))), 1);
    const rows = contributions.slice(0, SHOWN).map((one) =>
      h(
        "li",
        {},
        h(
          "button",
          { type: "button", class: "quiet contribution", onclick: () => this.#conversation.select(one.turn_id) },
          h("span", { class: "quote", dir: "auto" }, this.#quote(one)),
          strip(one.levels, largest),
          h("span", { class: "aside" }, this.#age(one)),
        ),
      ),
    );
    const more = contributions.length - SHOWN + (remainder?.levels.some((share) => Math.abs(share.value) > 0.05) ? 1 : 0);
    return [h("ol", { class: "contributions" }, rows), more > 0 && h("p", { class: "aside" }, `and what is left of ${more === 1 ? "one more" : `${more} more`}`)];
  }

  #quote(contribution) {
    return excerpt(contribution.text || this.#conversation.tree.get(contribution.turn_id)?.text || "", 70) || "(words not kept)";
  }

  #age(contribution) {
    const left = contribution.half_life_left ? `half gone in ${lasting(seconds(contribution.half_life_left))}` : "";
    return left;
  }

  #one(turn, why) {
    const own = why?.contributions.filter((one) => one.turn_id === turn.id) ?? [];
    const onPath = this.#conversation.path.some((one) => one.id === turn.id);
    return [
      h(
        "div",
        { class: "chosen" },
        h("p", { class: "quote", dir: "auto" }, turn.text ? `“${excerpt(turn.text, 180)}”` : "These words are not kept."),
        h("p", { class: "aside" }, `${turn.role === "you" ? "You" : "Reply"}, ${when(turn.at, this.#conversation.now)}${onPath ? "" : "; on a timeline that was left, as it stood there"}`),
        h("button", { type: "button", class: "quiet icon small close", "aria-label": "Back to all utterances", onclick: () => this.#conversation.select("") }, "×"),
      ),
      own.length ? own.map((one) => this.#shares(one)) : h("p", { class: "empty" }, turn.role === "reply" ? "Replies are not felt; only what people say to it is." : turn.reading ? "Nothing of it is felt any more." : "It has not been felt."),
      turn.reading && this.#reading(turn),
    ];
  }

  #shares(contribution) {
    const shares = contribution.levels.filter((share) => Math.abs(share.value) >= 0.005);
    const largest = Math.max(1, ...shares.map((share) => Math.abs(share.value)));
    const moods = contribution.moods.filter((share) => Math.abs(share.value) >= 0.005).map((share) => `${share.name} ${signed(share.value)}`);
    return h(
      "div",
      { class: "shares" },
      h("h3", {}, "Still contributes"),
      shares.length === 0 && h("p", { class: "empty" }, "almost nothing"),
      h(
        "dl",
        {},
        shares.map((share) => [
          h("dt", {}, share.name),
          h("dd", { class: `of-${share.name}` }, bar(share.value / largest), h("span", { class: "number" }, signed(share.value, 1)), h("span", { class: "parts" }, causes(share.axes))),
        ]),
      ),
      moods.length > 0 && h("p", { class: "aside" }, `Moods: ${moods.join(", ")}`),
      contribution.half_life_left && h("p", { class: "aside" }, `Half of what is left is gone in ${lasting(seconds(contribution.half_life_left))}.`),
    );
  }

  #reading(turn) {
    const { reading } = turn;
    const voiced = emotions(reading, 5);
    return h(
      "div",
      { class: "reading" },
      h("h3", {}, "How it was read"),
      h("dl", {}, AXES.map((axis) => [h("dt", {}, axis), h("dd", {}, bar(reading[axis], reading.uncertainty?.[axis]), h("span", { class: "number" }, signed(reading[axis])))])),
      h("p", { class: "aside" }, [voiced.length ? voiced.join(", ") : "no emotion above its threshold", `confidence ${reading.confidence.toFixed(2)}`, `${reading.head?.id ?? ""} ${reading.head?.quantization ?? ""}`.trim(), reading.truncated && "its beginning did not fit"].filter(Boolean).join(" · ")),
      this.#which(turn),
    );
  }

  #which(turn) {
    const told = this.#words.get(turn.id);
    if (told === undefined) {
      return turn.text && h("button", { type: "button", class: "soft", onclick: () => this.#ask(turn) }, "Which words did it?");
    }
    if (typeof told === "string") return h("p", { class: "aside", role: "status", tabindex: -1 }, told);
    return h("div", { class: "which", role: "status", tabindex: -1 }, AXES.map((axis) => [h("h4", {}, axis), heard(turn.text, told.words, axis)]), h("p", { class: "aside" }, told.sentence));
  }

  async #ask(turn) {
    this.#words.set(turn.id, "asking the head …");
    this.draw();
    try {
      this.#words.set(turn.id, await this.#conversation.reading(turn.id));
    } catch (error) {
      this.#words.set(turn.id, error.message);
    }
    this.draw();
    byId("why").querySelector(".which, [role=status]")?.focus();
  }
}

/** The words, each marked as strongly as it moved the axis. Offsets count characters, not UTF-16 units. */
function heard(text, words, axis) {
  const characters = [...text];
  const parts = [];
  let end = 0;
  for (const word of words) {
    const length = [...word.word].length;
    parts.push(characters.slice(end, word.offset).join(""));
    const strength = Math.min(4, Math.round(Math.abs(word[axis]) * 10));
    const says = `${signed(word[axis])}`;
    parts.push(strength ? h("mark", { class: `${word[axis] > 0 ? "up" : "down"} strength-${strength}`, title: says }, word.word) : word.word);
    end = word.offset + length;
  }
  parts.push(characters.slice(end).join(""));
  return h("p", { class: "heard", dir: "auto" }, parts);
}

/** A bar from the middle to the left or right, −1 to 1, with a whisker of one standard deviation. */
export function bar(value, deviation = 0) {
  const share = Math.max(-1, Math.min(1, value));
  const low = Math.max(-1, value - deviation);
  const high = Math.min(1, value + deviation);
  return h(
    "span",
    { class: "bar", "aria-hidden": "true" },
    h("span", { class: "filled", style: { left: `${50 + Math.min(0, share) * 50}%`, width: `${Math.abs(share) * 50}%` } }),
    deviation > 0 && h("span", { class: "whisker", style: { left: `${50 + low * 50}%`, width: `${(high - low) * 50}%` } }),
  );
}

function strip(shares, largest) {
  const said = shares.filter((share) => Math.abs(share.value) >= 0.05).map((share) => `${share.name} ${signed(share.value, 1)}`).join(", ");
  return h(
    "span",
    { class: "strip", role: "img", "aria-label": said || "almost nothing", title: said },
    HORMONES.map((name) => {
      const value = (shares.find((share) => share.name === name)?.value ?? 0) / largest;
      return h("span", { class: `well of-${name}` }, h("span", { style: { height: `${Math.abs(value) * 50}%`, bottom: value >= 0 ? "50%" : `${50 - Math.abs(value) * 50}%` } }));
    }),
  );
}

function causes(axes) {
  return [...axes]
    .filter((one) => Math.abs(one.value) >= 0.05)
    .sort((one, other) => Math.abs(other.value) - Math.abs(one.value))
    .slice(0, 3)
    .map((one) => `${one.axis} ${signed(one.value, 1)}`)
    .join(", ");
}
