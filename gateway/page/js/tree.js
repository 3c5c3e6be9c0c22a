// A conversation as a tree of turns. Pure.

/** The turns of one conversation, by id. A turn's parent is "" at the root. */
export class Tree {
  #turns = new Map();
  #children = new Map();

  get size() {
    return this.#turns.size;
  }

  get(id) {
    return this.#turns.get(id);
  }

  has(id) {
    return this.#turns.has(id);
  }

  all() {
    return [...this.#turns.values()];
  }

  /** Put a turn in, or put what is known now in the place of what was known before. */
  put(turn) {
    const known = this.#turns.get(turn.id);
    this.#turns.set(turn.id, { ...known, ...turn });
    if (known !== undefined && known.parent === turn.parent) return;
    if (known !== undefined) this.#children.set(known.parent, this.children(known.parent).filter((id) => id !== turn.id));
    this.#children.set(turn.parent, [...this.children(turn.parent), turn.id]);
  }

  /** Take a turn out that was only hoped for. */
  remove(id) {
    const turn = this.#turns.get(id);
    if (turn === undefined) return;
    this.#turns.delete(id);
    this.#children.set(turn.parent, this.children(turn.parent).filter((one) => one !== id));
  }

  /** Ids of the turns that follow a turn, in the order in which they were said. */
  children(id) {
    return this.#children.get(id) ?? [];
  }

  /** The turns from the root to a turn, oldest first, as far as they are known. */
  path(id) {
    const path = [];
    for (let turn = this.#turns.get(id); turn !== undefined; turn = this.#turns.get(turn.parent)) path.push(turn);
    return path.reverse();
  }

  /** Ids of a turn and of what was said, by the same one, in its place. */
  siblings(id) {
    const { parent, role } = this.#turns.get(id);
    return this.children(parent).filter((one) => this.#turns.get(one).role === role);
  }

  /** The end of what was said last below a turn, itself if nothing was. */
  latestEnd(id) {
    let end = id;
    for (let next = this.children(end).at(-1); next !== undefined; next = this.children(end).at(-1)) end = next;
    return end;
  }

  /**
   * The timelines that were left: all that does not lead to `tip`, each turn once, the latest first.
   * @returns `{from, turns}`: the turn that each begins after ("" for the root), and its turns, oldest first.
   */
  left(tip) {
    const taken = new Set(this.path(tip).map((turn) => turn.id));
    const ends = this.all().filter((turn) => this.children(turn.id).length === 0 && !taken.has(turn.id));
    ends.sort((one, other) => other.at - one.at);
    const found = [];
    for (const end of ends) {
      const turns = [];
      let turn = end;
      for (; turn !== undefined && !taken.has(turn.id); turn = this.#turns.get(turn.parent)) {
        taken.add(turn.id);
        turns.unshift(turn);
      }
      found.push({ from: turn?.id ?? "", turns });
    }
    return found;
  }
}

/** Make a turn of the contract's Turn. */
export function turnOf(message) {
  const felt = message.stimuli.find((stimulus) => stimulus.reading);
  return {
    id: message.turn_id,
    parent: message.parent_turn_id,
    role: message.role === "ROLE_ASSISTANT" ? "reply" : "you",
    text: message.text,
    at: moment(message.occurred_at),
    cut: message.cut,
    reading: felt?.reading ?? null,
    pending: false,
  };
}

/** Milliseconds since the epoch of a protobuf timestamp; not every engine takes nanoseconds. */
export function moment(timestamp) {
  return Date.parse(timestamp.replace(/(\.\d{3})\d+/, "$1"));
}

/** Seconds of a protobuf duration. */
export function seconds(duration) {
  return duration ? Number.parseFloat(duration) : 0;
}
