// The server: questions over fetch, and its events, over a connection that is made again after it was lost.

const BASE = "/api/v1";
const FIRST_MS = 500;
const MOST_MS = 15_000;
// The server says something every 15 s: a connection that says nothing for so long is dead, whatever the browser thinks.
const SILENT_MS = 40_000;
const KINDS = ["bars", "watch", "signal", "delivery", "fill", "health"];

/** What the server refused, with its own words for it. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The JSON answer of a path under /api/v1; parameters that are empty are left out. */
export async function get(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== null));
  let answer;
  try {
    answer = await fetch(`${BASE}${path}${query.size ? `?${query}` : ""}`, { headers: { accept: "application/json" } });
  } catch {
    throw new Refused(0, "The server cannot be reached.");
  }
  const text = await answer.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Refused(answer.status, `The server answered ${answer.status} without JSON.`);
  }
  if (!answer.ok && body.status !== "fail") {
    const said = answer.status === 401 ? "A token is needed: open /?token=… once." : body.error?.message;
    throw new Refused(answer.status, said ?? `The server answered ${answer.status}.`);
  }
  return body;
}

/** A signal's id is a path already: its parts are percent-encoded, and that again. */
export const signalPath = (id) => `/signals/${id.split("/").map(encodeURIComponent).join("/")}`;

/**
 * Follow the server's events.
 * @param {number} after the event to go on from.
 * @param {object} to `event(kind, data)`, `reset()` when some were missed, `state(name, wait_ms)`: "live" or "lost".
 */
export function follow(after, to) {
  let last = after;
  let wait_ms = FIRST_MS;
  let source = null;
  let timer = 0;
  let heard_ms = 0;
  const hear = () => (heard_ms = Date.now());
  const open = () => {
    clearTimeout(timer);
    hear();
    source?.close();
    source = new EventSource(`${BASE}/events?after=${last}`);
    source.addEventListener("quiet", hear);
    source.onopen = () => {
      hear();
      wait_ms = FIRST_MS;
      to.state("live", 0);
    };
    source.onerror = () => {
      source.close();
      const pause_ms = wait_ms * (0.75 + Math.random() / 2);
      wait_ms = Math.min(MOST_MS, wait_ms * 2);
      timer = setTimeout(open, pause_ms);
      to.state("lost", pause_ms);
    };
    for (const kind of KINDS) source.addEventListener(kind, (event) => take(kind, event));
    source.addEventListener("reset", (event) => {
      hear();
      if (event.lastEventId) last = Number(event.lastEventId);
      to.reset();
    });
  };
  const take = (kind, event) => {
    hear();
    if (event.lastEventId) last = Number(event.lastEventId);
    to.event(kind, JSON.parse(event.data));
  };
  const hurry = () => source?.readyState === EventSource.CLOSED && open();
  const check = () => {
    if (source?.readyState === EventSource.OPEN && Date.now() - heard_ms > SILENT_MS) open();
  };
  setInterval(check, 5_000);
  window.addEventListener("online", hurry);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && hurry());
  open();
  return { from: (seq) => (last = seq), now: open };
}
