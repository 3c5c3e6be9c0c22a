// One conversation as the page knows it, and everything that can be done with it. Draws nothing.

import * as api from "./api.js";
import { Tree, moment, turnOf } from "./tree.js";

const TURNS_AT_ONCE = 200;
const BRANCHES_SHOWN = 5;
const CONTRIBUTIONS = 60;
const LIVE_POINTS = 600;

/**
 * Tells its listeners what has changed: "turns" (what was said, and where the conversation stands), "text" (one reply grew), "state",
 * "curve", "why" (contributions and selection), "busy", "trouble".
 */
export class Conversation {
  #listeners = new Map();
  #opening = new AbortController();
  #speaking = null;
  #moving = false;
  #moves = 0;
  #unwatch = () => undefined;
  #seenAt = 0;
  #curveAsked = null;
  #branchCurves = new Map();
  #earlierPage = "";

  id = "";
  tree = new Tree();
  tip = "";
  state = null;
  curve = null;
  live = [];
  branches = [];
  why = null;
  selected = "";
  trouble = null;
  away = null;
  lastTrace = null;

  /** Call `listener` whenever one of the aspects has changed. */
  on(aspects, listener) {
    for (const aspect of aspects.split(" ")) this.#listeners.set(aspect, [...(this.#listeners.get(aspect) ?? []), listener]);
  }

  get busy() {
    return this.#speaking !== null;
  }

  get hasEarlier() {
    return this.#earlierPage !== "";
  }

  /** The gateway's time: the device's own clock may be wrong. */
  get now() {
    return this.state === null ? Date.now() : moment(this.state.as_of) + (performance.now() - this.#seenAt);
  }

  get path() {
    return this.tree.path(this.tip);
  }

  /** Open a conversation, and make it if it does not exist. */
  async open(id) {
    this.#unwatch();
    this.#opening.abort();
    this.#speaking?.abort();
    this.#speaking = null;
    const mine = (this.#opening = new AbortController());
    Object.assign(this, { id, tree: new Tree(), tip: "", state: null, curve: null, live: [], branches: [], why: null, selected: "" });
    Object.assign(this, { trouble: null, away: null, lastTrace: null });
    this.#branchCurves.clear();
    this.#earlierPage = "";
    this.#tell("turns", "state", "curve", "why", "busy", "trouble");
    try {
      this.#takeState(await opened(id, mine.signal));
      await this.#load(mine.signal);
    } catch (error) {
      if (mine.signal.aborted) return;
      this.away = error;
      this.#tell("state");
    }
    if (mine.signal.aborted) return;
    this.#unwatch = api.watch(id, {
      onEvent: ({ data }) => this.#watched(data),
      onUp: () => this.#isBack(),
      onDown: (error) => this.#isAway(error),
    });
  }

  /** Say something after the tip, or after another turn: an edited message is said after what went before the first one. */
  async say(text, parent = this.tip) {
    await this.#turn({ id: `t-${random()}`, parent, role: "you", text, at: this.now, reading: null, status: "", pending: true });
  }

  /** Have a reply made once more: the same words, felt once, and another answer beside the first. */
  async again(replyId) {
    const words = this.tree.get(this.tree.get(replyId).parent);
    await this.#turn(words);
  }

  /** Send again what failed: the same words under the same id, so that they are felt once. */
  async retry() {
    const { turn } = this.trouble;
    await this.#turn(turn);
  }

  /** Break the reply off. */
  stop() {
    this.#speaking?.abort();
  }

  /** Go over to another timeline: to what was said last after a turn. */
  async go(turnId) {
    if (this.busy || this.#moving) return;
    const before = this.tip;
    this.#moving = true;
    this.#moves++;
    this.tip = this.tree.latestEnd(turnId);
    this.live = [];
    this.#tell("turns");
    try {
      const { state } = await api.rewind(this.id, this.tip, this.#opening.signal);
      this.#takeState(state);
      await this.refresh();
    } catch (error) {
      this.tip = before;
      this.#fail(error, null);
      this.#tell("turns");
    } finally {
      this.#moving = false;
    }
  }

  /** Look at one turn; "" for none. */
  select(turnId) {
    if (this.selected === turnId) return;
    this.selected = turnId;
    this.#tell("why");
    if (turnId && !this.path.some((turn) => turn.id === turnId)) this.#explain();
    else if (this.why?.at) this.#explain();
  }

  /** Which words of a turn moved its reading. */
  reading(turnId) {
    return api.explainReading(this.id, turnId, this.#opening.signal);
  }

  /** Read the page of earlier turns. */
  async earlier() {
    await this.#load(this.#opening.signal, this.#earlierPage);
  }

  /** Compute the curve and the contributions anew: something was said, felt, or taken from another timeline. */
  async refresh() {
    this.#curveAsked?.abort();
    const mine = (this.#curveAsked = new AbortController());
    try {
      const curve = this.tip ? await api.getCurve(this.id, this.tip, mine.signal) : null;
      if (mine.signal.aborted) return;
      this.curve = curve === null ? null : pointsOf(curve);
      const end = this.curve?.points.at(-1)?.at ?? 0;
      this.live = this.live.filter((point) => point.at > end);
      await this.#refreshBranches(mine.signal);
      if (mine.signal.aborted) return;
      this.#tell("curve");
      await this.#explain();
    } catch (error) {
      if (!mine.signal.aborted) this.#isAway(error);
    }
  }

  async #refreshBranches(signal) {
    // A reply alone moves nothing: only a timeline in which somebody said something can differ.
    const left = this.tree.left(this.tip).filter((branch) => branch.turns.some((turn) => turn.role === "you"));
    const shown = left.slice(0, BRANCHES_SHOWN);
    for (const { turns } of shown) {
      const end = turns.at(-1).id;
      if (!this.#branchCurves.has(end)) this.#branchCurves.set(end, pointsOf(await api.getCurve(this.id, end, signal)));
    }
    this.branches = shown.map((branch) => ({ ...branch, curve: this.#branchCurves.get(branch.turns.at(-1).id) }));
  }

  async #explain() {
    const elsewhere = this.selected && !this.path.some((turn) => turn.id === this.selected) ? this.selected : "";
    const at = elsewhere || this.tip;
    if (!at) {
      this.why = null;
    } else {
      try {
        this.why = { ...(await api.explain(this.id, { turn_id: at, limit: CONTRIBUTIONS }, this.#opening.signal)), at: elsewhere };
      } catch (error) {
        if (error.name === "AbortError") return;
        this.why = null;
      }
    }
    this.#tell("why");
  }

  async #turn(words) {
    if (this.busy) return;
    const mine = (this.#speaking = new AbortController());
    this.#moves++;
    const before = this.tip;
    const known = this.tree.has(words.id);
    const reply = { id: `pending-${words.id}`, parent: words.id, role: "reply", text: "", at: this.now, pending: true, key: `reply-${random()}` };
    this.tree.put(words);
    this.tree.put(reply);
    this.tip = reply.id;
    this.trouble = null;
    this.#tell("turns", "busy", "trouble");
    let done = null;
    try {
      const request = { turn_id: words.id, parent_turn_id: words.parent, text: words.text };
      for await (const { name, data } of api.turn(this.id, request, mine.signal)) {
        if (name === "error") throw api.asError(data, 0);
        if (name === "done") done = data.done;
        this.#heard(words.id, reply, name, data);
      }
    } catch (error) {
      if (!mine.signal.aborted) this.#fail(error, this.tree.get(words.id));
    }
    if (this.#speaking !== mine) return;
    this.#speaking = null;
    this.#settle(words.id, reply, done, before, known);
    this.#tell("turns", "busy");
    // What the engine has kept is what counts; a reply that was broken off is kept, too.
    await this.#reconcile();
    await this.refresh();
  }

  #heard(wordsId, reply, name, data) {
    const words = this.tree.get(wordsId);
    if (name === "delta") {
      const grown = { ...this.tree.get(reply.id), text: this.tree.get(reply.id).text + data.delta.text };
      this.tree.put(grown);
      this.#tell("text");
    } else if (name === "state") {
      this.tree.put({ ...words, pending: false });
      if (data.state.degraded) this.tree.put({ ...this.tree.get(reply.id), note: data.state.reason });
      this.#tell("turns");
    } else if (name === "affect" || name === "late_affect") {
      const update = data[name];
      const again = update.status === "AFFECT_STATUS_ALREADY_FELT" && words.reading;
      if (!again) {
        this.tree.put({ ...words, reading: update.reading ?? words.reading, status: update.status, lateness: update.lateness ?? null });
      }
      if (update.state) this.#takeState(update.state);
      if (name === "late_affect") {
        this.#branchCurves.clear();
        this.refresh();
      }
      this.#tell("turns");
    } else if (name === "done") {
      this.lastTrace = data.done.trace;
      this.tree.put({ ...this.tree.get(reply.id), note: data.done.trace.degraded_reasons.join("; "), finish: data.done.finish_reason });
    }
  }

  #settle(wordsId, reply, done, before, known) {
    const said = this.tree.get(reply.id);
    this.tree.remove(reply.id);
    if (done?.reply_turn_id) {
      this.tree.put({ ...said, id: done.reply_turn_id, pending: false, at: this.now });
      this.tip = done.reply_turn_id;
    } else if (known || !this.tree.get(wordsId).pending) {
      this.tip = wordsId;
    } else {
      // Refused before anything was written: the words go back to where they can be changed.
      this.tree.remove(wordsId);
      this.tip = before;
    }
  }

  async #reconcile() {
    const { signal } = this.#opening;
    const moves = this.#moves;
    try {
      const { state } = await api.getState(this.id, signal);
      const found = await api.listTurns(this.id, { page_size: 8 }, signal);
      for (const turn of found.turns) this.#put(turn);
      if (state.turn_id && !this.tree.has(state.turn_id)) {
        const path = await api.listTurns(this.id, { path_to_turn_id: state.turn_id, page_size: TURNS_AT_ONCE }, signal);
        for (const turn of path.turns) this.#put(turn);
      }
      // Somebody may have gone on meanwhile; what the engine said before that is not where the conversation stands.
      if (moves !== this.#moves) return;
      if (!this.#isBehind(state.turn_id)) this.tip = state.turn_id;
      this.#takeState(state);
      this.#tell("turns");
    } catch (error) {
      if (error.name !== "AbortError") this.#isAway(error);
    }
  }

  async #load(signal, page = "") {
    const found = await api.listTurns(this.id, { page_size: TURNS_AT_ONCE, page_token: page }, signal);
    for (const turn of found.turns) this.#put(turn);
    this.#earlierPage = found.next_page_token;
    const tip = this.state?.turn_id ?? "";
    if (!page && (tip === "" || this.tree.has(tip)) && !this.#isBehind(tip)) this.tip = tip;
    this.#tell("turns");
    await this.refresh();
  }

  #put(message) {
    const turn = turnOf(message);
    const known = this.tree.get(turn.id);
    // Where the journal keeps no words, those that are on the screen stay there.
    this.tree.put({ ...turn, kept: true, text: turn.text || known?.text || "" });
  }

  #takeState(state) {
    this.state = state;
    this.#seenAt = performance.now();
    if (state.turn_id === this.tip || this.busy) {
      this.live.push({ at: moment(state.as_of), ...valuesOf(state) });
      if (this.live.length > LIVE_POINTS) this.live.splice(0, this.live.length - LIVE_POINTS);
    }
    this.#tell("state");
  }

  #watched({ state, cause_turn_id: cause }) {
    this.#takeState(state);
    if (this.busy || this.#moving) return;
    const known = this.tree.get(cause);
    const isNew = cause && (known === undefined || (known.role === "you" && known.reading === null));
    if (isNew || (state.turn_id !== this.tip && !this.#isBehind(state.turn_id))) {
      this.#branchCurves.clear();
      this.#reconcile().then(() => this.refresh());
    }
  }

  /** Whether the engine merely does not know yet what was said last: it waits on the gateway's disk. */
  #isBehind(turnId) {
    const { path } = this;
    const rest = path.slice(path.findIndex((turn) => turn.id === turnId) + 1);
    return (turnId === "" || rest.length < path.length) && rest.length > 0 && rest.every((turn) => !turn.kept);
  }

  #isBack() {
    if (this.away === null) return;
    this.away = null;
    this.#tell("state");
    this.#load(this.#opening.signal).catch(() => undefined);
  }

  #isAway(error) {
    if (error.name === "AbortError") return;
    if (error.reason === "SESSION_NOT_FOUND") {
      // It was never made, because the engine was away, or somebody has deleted it.
      this.open(this.id);
      return;
    }
    this.away = error;
    this.#tell("state");
  }

  #fail(error, turn) {
    this.trouble = { error, turn };
    this.#tell("trouble");
  }

  #tell(...aspects) {
    for (const listener of new Set(aspects.flatMap((aspect) => this.#listeners.get(aspect) ?? []))) listener();
  }
}

/** The state of a conversation, which is made if it does not exist. One that exists may have a temperament of its own. */
async function opened(id, signal) {
  try {
    return (await api.getState(id, signal)).state;
  } catch (error) {
    if (error.reason !== "SESSION_NOT_FOUND") throw error;
    return (await api.createSession(id, signal)).state;
  }
}

/** Make points by name of the contract's Curve: `{levels: {name: value}, moods: {name: value}}` at each moment. */
export function pointsOf(curve) {
  const named = (names, values) => Object.fromEntries(names.map((name, index) => [name, values[index]]));
  return {
    baselines: named(curve.levels, curve.baselines),
    points: curve.points.map((point) => ({
      at: moment(point.at),
      cause: point.cause_turn_id,
      levels: named(curve.levels, point.levels),
      moods: named(curve.moods, point.moods),
    })),
  };
}

function valuesOf(state) {
  return {
    levels: Object.fromEntries(state.levels.map((level) => [level.name, level.value])),
    moods: Object.fromEntries(state.moods.map((mood) => [mood.name, mood.intensity])),
  };
}

/** Twelve random characters of an id. */
export function random() {
  return [...crypto.getRandomValues(new Uint8Array(9))].map((byte) => byte.toString(36).padStart(2, "0")).join("").slice(0, 14);
}
