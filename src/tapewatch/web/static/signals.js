// The table of signals: newest first, a bounded number of them, each of which opens the drawer.

import { get } from "./api.js";
import { $, el, framed, roving } from "./dom.js";
import { fixed, price, stamp } from "./format.js";
import { delivery, openSignal, outcomeTag, sideMark, tag } from "./detail.js";
import { onChoice } from "./settings.js";

const MOST = 200;
const filter = { state: "", strategy: "", symbol: "" };
let items = [];
let next = null;
let error = "";
let asked = 0;
let body = null;
let note = null;
let more = null;
let only = null;
let current = () => "";

/** Build the panel; `symbol()` is the one in the chart. */
export function setUp(symbol) {
  current = symbol;
  const pick = (name, label, options) => el("label", { class: "pick" }, el("span", {}, label), el("select", { id: `signals-${name}`, onchange: (event) => {
    filter[name] = event.target.value;
    load();
  } }, options.map(([value, text]) => el("option", { value }, text))));
  only = el("input", { type: "checkbox", onchange: follow });
  const titles = ["Closed", "Symbol", "Side", "Strategy", "Entry", "Stop", "Reward", "Strength", "Gate", "Outcome", "Delivery"];
  body = el("tbody");
  note = el("p", { class: "empty", hidden: true });
  more = el("button", { type: "button", class: "tool more", onclick: () => load(next), hidden: true }, "Older signals");
  $("signals").append(
    el("div", { class: "filters" }, pick("state", "Gate", [["", "all"], ["passed", "passed"], ["blocked", "blocked"]]), pick("strategy", "Strategy", [["", "all"]]),
      el("label", { class: "check" }, only, "this symbol only")),
    el("table", { class: "table" }, el("caption", { class: "hidden" }, "Signals, newest first"),
      el("thead", {}, el("tr", {}, titles.map((title) => el("th", { scope: "col", class: NUMBERS.has(title) ? "number" : null }, title)))), body),
    note, more,
  );
  roving(body, "button", "ArrowUp", "ArrowDown");
  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr");
    if (line) openSignal(line.dataset.id);
  });
  onChoice((name) => name === "zone" && render());
}
const NUMBERS = new Set(["Entry", "Stop", "Reward", "Strength"]);

/** Offer these strategies. */
export function strategies(names) {
  $("signals-strategy").replaceChildren(...["", ...names].map((name) => el("option", { value: name }, name || "all")));
}

/** Another symbol is in the chart. */
export function follow() {
  const symbol = only.checked ? current() : "";
  if (symbol === filter.symbol) return;
  filter.symbol = symbol;
  load();
}

/** Ask for the newest, or for those after a cursor. */
export async function load(cursor = null) {
  const mine = ++asked; // an answer that another question has overtaken is not shown
  try {
    const found = await get("/signals", { ...filter, limit: 100, cursor });
    if (mine !== asked) return;
    items = cursor ? [...items, ...found.items].slice(-2 * MOST) : found.items;
    next = found.next;
    error = "";
  } catch (problem) {
    if (mine !== asked) return;
    error = problem.message;
  }
  render();
}

/** One that just came. */
export function add(one) {
  const wanted = (!filter.state || one.state === filter.state) && (!filter.strategy || one.strategy === filter.strategy) && (!filter.symbol || one.symbol === filter.symbol);
  if (!wanted) return;
  items = [one, ...items.filter((item) => item.id !== one.id)].slice(0, Math.max(MOST, items.length));
  render();
}

/** A message of an alert changed its state. */
export function delivered(change) {
  for (const one of items) {
    if (one.alert_id !== change.alert_id) continue;
    const rest = (one.deliveries ?? []).filter((each) => each.channel !== change.channel);
    one.deliveries = [...rest, { ...change, attempts: null }];
    cells.delete(one.id);
  }
  render();
}

const cells = new Map();

const render = framed(() => {
  // A row that is there already stays as it is: the focus in it, too.
  const kept = new Map();
  for (const one of items) {
    const known = cells.get(one.id);
    kept.set(one.id, known && known.of === one && known.zone === stamp(one.close_ms) ? known : { of: one, zone: stamp(one.close_ms), node: line(one) });
  }
  cells.clear();
  for (const [id, entry] of kept) cells.set(id, entry);
  const wanted = [...kept.values()].map((entry) => entry.node);
  const held = document.activeElement?.closest?.("tr")?.dataset.id;
  const same = wanted.length === body.children.length && wanted.every((node, index) => node === body.children[index]);
  if (!same) {
    body.replaceChildren(...wanted);
    if (held) cells.get(held)?.node.querySelector("button")?.focus();
  }
  note.hidden = items.length > 0;
  note.textContent = error || (filter.state || filter.strategy || filter.symbol ? "No signal is like this." : "No signal yet. Each one is shown here when its bar closes.");
  more.hidden = !next || items.length >= 2 * MOST;
});

function line(one) {
  const cell = (value, kind) => el("td", { class: kind ?? null }, value);
  return el("tr", { "data-id": one.id, "data-state": one.state },
    cell(stamp(one.close_ms), "time"), el("th", { scope: "row" }, el("button", { type: "button", class: "open" }, one.symbol)), cell(sideMark(one.side)),
    cell([`${one.strategy} `, el("span", { class: "faint" }, one.timeframe)]), cell(price(one.entry), "number"), cell(price(one.stop), "number"),
    cell(fixed(one.risk_reward), "number"), cell(fixed(one.strength, 1), "number"), cell(gate(one)), cell(outcomeTag(one.outcome)),
    cell((one.deliveries ?? []).length ? one.deliveries.map(delivery) : el("span", { class: "faint" }, "–"), "deliveries"));
}

function gate(one) {
  if (one.state !== "blocked") return el("span", { class: "tag", "data-tone": "good" }, "✓", el("span", { class: "word" }, " passed"));
  const blocked = (one.verdicts ?? []).find((verdict) => !(verdict.pass ?? verdict.passed));
  return el("span", { class: "tag", "data-tone": "warn", title: blocked?.reason ?? null }, "✕", el("span", { class: "word" }, ` ${blocked?.check ?? "blocked"}`));
}
