// The gateway's HTTP API: messages are the contracts' own (protos/), docs/api.md lists the calls.

import { eventsOf } from "./sse.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

/** Something that the gateway refused, or that did not reach it. `reason` is stable; "" where nobody answered. */
export class ApiError extends Error {
  constructor(message, { status = 0, reason = "", field = "", retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, reason, field, retryAfter });
  }
}

const KEY = "limbic.key";
export const hasKey = () => localStorage.getItem(KEY) !== null;
export const rememberKey = (key) => localStorage.setItem(KEY, key);
export const forgetKey = () => localStorage.removeItem(KEY);

const path = (session, rest = "") => `/api/sessions/${encodeURIComponent(session)}${rest}`;

const query = (fields) => {
  const set = Object.entries(fields).filter(([, value]) => value !== undefined && value !== "");
  return set.length ? `?${new URLSearchParams(set)}` : "";
};

export const createSession = (id, signal) => call("PUT", path(id), {}, signal);
export const getState = (id, signal) => call("GET", path(id), undefined, signal);
export const deleteSession = (id) => call("DELETE", path(id));
export const listTurns = (id, fields, signal) => call("GET", path(id, `/turns${query(fields)}`), undefined, signal);
export const getCurve = (id, turnId, signal) => call("GET", path(id, `/curve${query({ turn_id: turnId })}`), undefined, signal);
export const explain = (id, fields, signal) => call("GET", path(id, `/explain${query(fields)}`), undefined, signal);
export const explainReading = (id, turnId, signal) =>
  call("GET", path(id, `/reading${query({ turn_id: turnId })}`), undefined, signal);
export const rewind = (id, turnId, signal) => call("POST", path(id, "/rewind"), { turn_id: turnId }, signal);

/** Run a turn; yields its events. Aborting the signal ends it, and the model stops. */
export async function* turn(id, request, signal) {
  yield* eventsOf(await send("POST", path(id, "/turns"), request, signal));
}

/** Follow a session's state for as long as the page is looked at. */
export const watch = (id, handlers) => follow(path(id, "/watch?interval=1s"), handlers);

/** Follow the gateway's telemetry. */
export const watchTelemetry = (handlers) => follow("/telemetry/stream?interval=2s", handlers);

/**
 * Keep a stream open: again and again after it ended, with growing waits, and not while nobody looks.
 * @returns a function that ends it.
 */
function follow(url, { onEvent, onUp = () => undefined, onDown = () => undefined }) {
  let ended = false;
  let current = null;
  let wait = FIRST_WAIT_MS;
  let timer = 0;

  async function open() {
    if (ended || document.hidden || current !== null) return;
    const mine = (current = new AbortController());
    try {
      const response = await send("GET", url, undefined, mine.signal);
      onUp();
      for await (const event of eventsOf(response)) {
        wait = FIRST_WAIT_MS;
        if (event.name === "error") throw asError(event.data, 0);
        onEvent(event);
      }
      onDown(new ApiError("the stream has ended"));
    } catch (error) {
      if (!mine.signal.aborted) onDown(error);
    }
    if (current !== mine) return;
    current = null;
    timer = setTimeout(open, wait);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }

  function seen() {
    clearTimeout(timer);
    if (document.hidden) close();
    else open();
  }

  function close() {
    const mine = current;
    current = null;
    mine?.abort();
  }

  document.addEventListener("visibilitychange", seen);
  open();
  return () => {
    ended = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
    close();
  };
}

async function call(method, url, body, signal) {
  return (await send(method, url, body, signal)).json();
}

async function send(method, url, body, signal) {
  const options = { method, signal, cache: "no-store", headers: {} };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  if (hasKey()) options.headers.authorization = `Bearer ${localStorage.getItem(KEY)}`;
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The gateway does not answer. Is it running?");
  }
  if (response.ok) return response;
  if (response.status === 401) document.dispatchEvent(new CustomEvent("limbic:key"));
  throw asError(await response.json().catch(() => ({})), response.status);
}

/** Make an error of what the API says about one. */
export function asError({ error = {} }, status) {
  return new ApiError(error.message ?? `The gateway answered ${status}.`, {
    status: error.code ?? status,
    reason: error.reason,
    field: error.field,
    retryAfter: error.retry_after_s ?? null,
  });
}
