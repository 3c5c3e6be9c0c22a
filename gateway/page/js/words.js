// What the page calls things. Pure.

export const HORMONES = ["dopamine", "serotonin", "cortisol", "oxytocin", "noradrenaline"];
export const AXES = ["valence", "intimacy", "tension"];

const BANDS = {
  BAND_CRASHING: { word: "crashing", sign: "▾▾" },
  BAND_FADING: { word: "fading", sign: "▾" },
  BAND_STEADY: { word: "steady", sign: "" },
  BAND_RISING: { word: "rising", sign: "▴" },
  BAND_SURGING: { word: "surging", sign: "▴▴" },
};

export const band = (level) => BANDS[level.band] ?? { word: "", sign: "" };

const STATUSES = {
  AFFECT_STATUS_IN_WINDOW: "felt in time",
  AFFECT_STATUS_PENDING: "still being read",
  AFFECT_STATUS_LATE: "read late",
  AFFECT_STATUS_UNAVAILABLE: "not felt: the affect head is away",
  AFFECT_STATUS_SHED: "not felt: the affect head had no room",
  AFFECT_STATUS_FAILED: "not felt: the affect head failed",
  AFFECT_STATUS_ALREADY_FELT: "felt before",
};

export const status = (name) => STATUSES[name] ?? "";

const PARTS = {
  "state-engine": { name: "State engine", away: "The state engine is away: it answers from the last known state, and what it learns waits on disk." },
  "affect-head": { name: "Affect head", away: "The affect head is away: your words are answered, but not felt." },
  "living-llm": { name: "Language model", away: "The language model is away: nobody can answer." },
};

export const partName = (name) => PARTS[name]?.name ?? name;
export const partAway = (name) => PARTS[name]?.away ?? `${name} is away.`;

const STAGES = {
  admission: "let in",
  check: "checked",
  state: "state read",
  history: "history read",
  affect: "words read",
  record: "words kept",
  first_delta: "first words",
  generate: "whole reply",
  record_reply: "reply kept",
};

/** The stages in the order in which they are shown. */
export const STAGE_ORDER = ["check", "state", "history", "affect", "record", "first_delta", "generate", "record_reply"];
export const stage = (name) => STAGES[name] ?? name;

const FINISHES = {
  FINISH_REASON_LENGTH: "It reached the length that it may have.",
  FINISH_REASON_CONTENT_FILTER: "The model's server cut it.",
};

export const finish = (name) => FINISHES[name] ?? "";

/** A signed number with two digits; what rounds to nothing has no sign. */
export function signed(value, digits = 2) {
  const shown = Math.abs(value).toFixed(digits);
  return Number(shown) === 0 ? shown : `${value < 0 ? "−" : "+"}${shown}`;
}

/** The strongest emotions that are active, as words. */
export function emotions(reading, most = 3) {
  return reading.emotions
    .filter((one) => one.active && one.label !== "neutral")
    .sort((one, other) => other.probability - one.probability)
    .slice(0, most)
    .map((one) => one.label);
}

/** A duration in the unit that suits it. */
export function lasting(seconds) {
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 0.01) return `${(seconds * 1e3).toFixed(1)} ms`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(0)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${seconds.toFixed(0)} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(0)} min`;
  if (seconds < 129_600) return `${(seconds / 3600).toFixed(seconds < 36_000 ? 1 : 0)} h`;
  return `${(seconds / 86_400).toFixed(0)} days`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const CLOCK_S = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

export const clock = (ms) => CLOCK.format(ms);
export const clockWithSeconds = (ms) => CLOCK_S.format(ms);

/** When something was said: the time today, with the day before that. */
export const when = (ms, now) => (now - ms < 20 * 3_600_000 ? CLOCK.format(ms) : DAY.format(ms));

/** The beginning of what was said, on one line. */
export function excerpt(text, most = 64) {
  const line = text.split(/\s+/).filter(Boolean).join(" ");
  const characters = [...line];
  return characters.length <= most ? line : `${characters.slice(0, most - 1).join("").trimEnd()}…`;
}
