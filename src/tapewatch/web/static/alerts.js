// The feed of alerts: what was sent, over which channels, with the record of its kind.

import { get } from "./api.js";
import { $, el, framed, gathered, roving, write } from "./dom.js";
import { stamp } from "./format.js";
import { delivery, openSignal, sideMark } from "./detail.js";
import { onChoice } from "./settings.js";

const MOST = 150;
let items = [];
let error = "";
let known = new Map();

/** Build the feed. */
export function setUp() {
  roving($("alerts"), "button", "ArrowUp", "ArrowDown");
  onChoice((name) => {
    if (name !== "zone") return;
    known = new Map();
    render();
  });
}

/** Ask for the newest alerts, and for what waits. */
export async function load() {
  try {
    const found = await get("/alerts", { limit: MOST });
    items = found.items.slice(0, MOST);
    error = "";
  } catch (problem) {
    error = problem.message;
  }
  known = new Map();
  render();
  waiting();
}

/** There is a new one somewhere: ask, but not for each of many. */
export const soon = gathered(load, 700);

async function waiting() {
  try {
    const found = await get("/outbox");
    const counts = {};
    for (const { state, count } of found.items) counts[state] = (counts[state] ?? 0) + count;
    const said = ["queued", "sending", "dead"].filter((state) => counts[state]).map((state) => `${counts[state]} ${state}`);
    write($("outbox"), said.join(", ") || "all delivered");
  } catch {
    write($("outbox"), "");
  }
}

/** A message changed its state; false where its alert is not here. */
export function delivered(change) {
  const one = items.find((item) => item.alert_id === change.alert_id);
  if (!one) return false;
  const rest = one.deliveries.filter((each) => each.channel !== change.channel);
  one.deliveries = [...rest, change];
  known.delete(one.alert_id);
  render();
  return true;
}

const render = framed(() => {
  if (!items.length) {
    $("alerts").replaceChildren(el("p", { class: "empty" }, error || "No alert yet. Signals that pass the gate come here, with each channel's delivery."));
    return;
  }
  const list = $("alerts").querySelector("ol") ?? el("ol", { class: "feed-list" });
  if (!list.isConnected) $("alerts").replaceChildren(list);
  const fresh = new Map(items.map((one) => [one.alert_id, known.get(one.alert_id) ?? card(one)]));
  known = fresh;
  const wanted = [...fresh.values()];
  if (wanted.length !== list.children.length || wanted.some((node, index) => node !== list.children[index])) list.replaceChildren(...wanted);
});

/** The id of the signal that leads an alert: it is in the alert's own, or made of the same parts. */
function signalOf(one) {
  const parts = one.alert_id.split("/");
  if (parts.length >= 6) return parts.slice(0, 6).join("/");
  if (parts.length !== 4 || !one.strategy || !one.side) return null;
  return [...parts.slice(0, 3), encodeURIComponent(one.strategy), one.side, parts[3]].join("/");
}

function card(one) {
  const id = signalOf(one);
  const title = one.title ?? `${one.symbol} ${one.strategy}`;
  const name = id ? el("button", { type: "button", class: "open", onclick: () => openSignal(id) }, title) : el("b", {}, title);
  return el("li", { "data-kind": one.kind },
    el("p", { class: "top" }, el("span", {}, one.side ? [sideMark(one.side), " "] : "", one.kind === "signal" ? "" : el("span", { class: "faint" }, one.kind)), el("time", { class: "faint" }, stamp(one.ms))),
    el("h3", {}, name),
    one.strategy && el("p", { class: "faint" }, `${one.strategy}${one.interval ? ` on ${one.interval}` : ""}`),
    record(one.record),
    el("p", { class: "tags" }, (one.deliveries ?? []).map(delivery)));
}

function record(found) {
  if (!found) return null;
  if (typeof found === "string") return el("p", { class: "record" }, found);
  const rate = found.all ?? found.last;
  if (!rate?.n) return el("p", { class: "record" }, "no record yet");
  const percent = (share) => `${Math.round(share * 100)}%`;
  const chance = found.baseline === null || found.baseline === undefined ? "" : `, random ${percent(found.baseline)}`;
  const share = percent(rate.hits / rate.n);
  const bar = el("i", { "aria-hidden": true });
  bar.style.setProperty("--share", String(rate.hits / rate.n));
  if (chance) {
    bar.style.setProperty("--chance", String(found.baseline));
    bar.dataset.chance = "";
  }
  return el("p", { class: "record" }, `target first ${share} of ${rate.n}${chance}`, bar);
}
