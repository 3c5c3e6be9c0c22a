// Where a moment stands on the timeline. Pure.
//
// People talk for minutes and come back after hours. Drawn to scale the talk would be a hair; so after each utterance some minutes are
// drawn to scale, in which most of the relaxing is seen, and the rest of a long silence is a narrow break.

export const LINGER_MS = 6 * 60_000;
const BREAK_PX = 34;
const MOST_BREAKS = 0.4;
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800];

/**
 * Make a scale.
 * @param moments when something was said, in any order, in milliseconds
 * @param now the right end
 * @param width of the drawing
 * @returns `x(moment)`, `at(x)`, `breaks` (`{from, to, start, end}`), `ticks(apart)`
 */
export function timeScale(moments, now, width) {
  const stops = [...new Set(moments.filter((one) => one < now))].sort((one, other) => one - other);
  stops.push(now);
  const parts = [];
  for (let index = 0; index + 1 < stops.length; index++) {
    const [start, end] = [stops[index], stops[index + 1]];
    if (end - start <= 1.5 * LINGER_MS) parts.push({ start, end, isBreak: false });
    else parts.push({ start, end: start + LINGER_MS, isBreak: false }, { start: start + LINGER_MS, end, isBreak: true });
  }
  if (parts.length === 0) parts.push({ start: now - 60_000, end: now, isBreak: false });
  const breaks = parts.filter((part) => part.isBreak);
  const breakPx = Math.min(BREAK_PX, (width * MOST_BREAKS) / Math.max(1, breaks.length));
  const drawn = parts.reduce((sum, part) => sum + (part.isBreak ? 0 : part.end - part.start), 0);
  const perMs = (width - breaks.length * breakPx) / drawn;
  let at = 0;
  for (const part of parts) {
    part.from = at;
    at += part.isBreak ? breakPx : (part.end - part.start) * perMs;
    part.to = at;
  }
  const first = parts[0];
  const last = parts.at(-1);

  const x = (moment) => {
    if (moment <= first.start) return 0;
    if (moment >= last.end) return width;
    const part = parts[firstWhere(parts, (one) => moment < one.end)] ?? last;
    return part.from + ((moment - part.start) / (part.end - part.start)) * (part.to - part.from);
  };
  const invert = (px) => {
    const part = parts[firstWhere(parts, (one) => px < one.to)] ?? last;
    const share = Math.min(1, Math.max(0, (px - part.from) / Math.max(1e-9, part.to - part.from)));
    return part.start + share * (part.end - part.start);
  };
  const ticks = (apart) => {
    const stepMs = 1000 * (STEPS_S.find((step) => step * 1000 * perMs >= apart) ?? STEPS_S.at(-1));
    const found = [];
    for (const part of parts.filter((one) => !one.isBreak)) {
      for (let tick = Math.ceil(part.start / stepMs) * stepMs; tick < part.end; tick += stepMs) {
        const px = x(tick);
        if (px >= apart / 2 && px <= width - apart / 2 && (found.length === 0 || px - found.at(-1).x >= apart)) found.push({ at: tick, x: px });
      }
    }
    return found;
  };
  return { x, at: invert, breaks, ticks, start: first.start, end: last.end };
}

/** Index of the first for which a condition holds that, once it holds, holds for all that follow; the length where it never does. */
function firstWhere(parts, holds) {
  let [low, high] = [0, parts.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(parts[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}
