// Health: what is wrong first, and the figures it is judged by.

import { get } from "./api.js";
import { $, el, write } from "./dom.js";
import { compact, fixed, second, short, span } from "./format.js";
import { tag } from "./detail.js";

const EVERY_MS = 10_000;
const MOST = 40;
const TONE = { pass: "good", warn: "warn", fail: "bad" };
const MARK = { pass: "✓", warn: "!", fail: "✕" };
const WORD = { pass: "All is well", warn: "Something needs a look", fail: "It does not work as it should" };
const NAMES = { "symbols:freshness": "Symbols without fresh bars" };

let timer = 0;

/** Ask now and, while the panel is in view, again and again. */
export async function load() {
  clearTimeout(timer);
  try {
    render(await get("/health"));
  } catch (error) {
    $("health").replaceChildren(el("p", { class: "empty" }, error.message));
  }
  clearTimeout(timer);
  if (!$("health").hidden) timer = setTimeout(load, EVERY_MS);
}

/** The state in the tab and on the button at the top. */
export function badge(status) {
  const tab = $("tab-health");
  if (tab) tab.dataset.tone = TONE[status] ?? "plain";
  for (const one of document.querySelectorAll(".views [data-go=health]")) one.dataset.tone = TONE[status] ?? "plain";
}

function render(found) {
  badge(found.status);
  const all = Object.entries(found.checks ?? {}).flatMap(([name, entries]) => entries.map((entry) => ({ name, ...entry })));
  const bad = all.filter((one) => one.status === "fail" || one.status === "warn").sort((a, b) => (a.status === b.status ? 0 : a.status === "fail" ? -1 : 1));
  const scroll = $("health").scrollTop;
  $("health").replaceChildren(
    el("div", { class: "verdict", "data-tone": TONE[found.status] }, el("b", {}, `${MARK[found.status] ?? ""} ${WORD[found.status] ?? found.status}`),
      el("span", { class: "faint" }, `tapewatch ${found.version}, role ${found.role ?? "–"}, asked at ${second(Date.now())}`), found.output && el("p", {}, found.output)),
    bad.length ? el("ul", { class: "checks" }, bad.slice(0, MOST).map((one) => el("li", { "data-tone": TONE[one.status] },
      el("span", { class: "mark", role: "img", "aria-label": one.status }, MARK[one.status]),
      el("span", { class: "what" }, el("b", {}, NAMES[one.name] ?? words(one.name)), el("span", { class: "values" }, [one.componentId, one.output].filter(Boolean).join(": "))),
    ))) : "",
    el("div", { class: "figures" }, groups(all).map(([group, entries]) => el("section", {}, el("h3", {}, group), el("dl", { class: "facts" }, entries.flatMap((one) => [
      el("dt", {}, [words(one.name.split(":")[1] ?? one.name), one.componentId].filter(Boolean).join(" ")),
      el("dd", { "data-tone": one.status && one.status !== "pass" ? TONE[one.status] : null }, observed(one)),
    ]))))),
    bad.length > MOST ? el("p", { class: "faint" }, `and ${bad.length - MOST} more`) : "",
  );
  $("health").scrollTop = scroll;
}

function groups(all) {
  const found = new Map();
  for (const one of all) {
    if (one.name === "symbols:freshness" || one.name === "alerts:latency") continue;
    const group = words(one.name.split(":")[0]);
    if (!found.has(group)) found.set(group, []);
    found.get(group).push(one);
  }
  return [...found];
}

const words = (name) => name.replace(/([a-z])([A-Z])/g, "$1 $2").replace(":", " ").toLowerCase();

function observed(one) {
  const value = one.observedValue;
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return tag(value ? "yes" : "no", one.status === "pass" ? "plain" : TONE[one.status]);
  if (typeof value !== "number") return String(value);
  if (one.observedUnit === "bytes") return `${compact(value)}B`;
  if (one.observedUnit === "percent") return `${fixed(value, 1)}%`;
  if (one.observedUnit === "s") return value >= 100 ? span(value * 1000) : `${short(Number(value.toFixed(3)))} s`;
  return short(value);
}

/** One line for the top of the page, from the state. */
export function glance(state, positions) {
  const parts = [`${state.symbols} symbols`];
  if (state.paper) parts.push(`${positions} open`);
  write($("glance"), parts.join(" · "));
}
