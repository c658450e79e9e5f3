// The watch list: thousands of symbols, of which only those in view are elements of the page.

import { $, el, framed, gathered, mark, say, write } from "./dom.js";
import { brief, direction, fixed, price, signed, span } from "./format.js";
import { choose, onChoice, settings } from "./settings.js";

const COLUMNS = [
  ["symbol", "Symbol", "Symbol"],
  ["price", "Price", "Price"],
  ["change", "24 h", "Change over 24 hours"],
  ["volume_z", "Vol z", "Volume, in standard deviations"],
  ["regime", "Regime", "Trend and volatility"],
  ["signal", "Signal", "Last signal"],
  ["age", "Age", "Time since the last bar"],
];
const BY = {
  price: (row) => row.price,
  change: (row) => row.change_pct,
  volume_z: (row) => row.volume_z,
  regime: (row) => row.volatility && VOLATILITY.indexOf(row.volatility) + (row.trend === "up" ? 0.5 : row.trend === "down" ? 0.2 : 0),
  signal: (row) => row.last_signal?.ms ?? null,
  age: (row) => (row.last_bar_ms === null ? null : -row.last_bar_ms),
};
const VOLATILITY = ["low", "normal", "high"];
const TREND = { up: "↗", down: "↘", flat: "→" };
const MARK = { up: "▲", down: "▼", flat: "" };
const SIDE = { long: "▲", short: "▼" };
const EXTRA = 6;

const rows = new Map();
let shown = [];
let active = 0;
let query = "";
let clock = () => Date.now();
let chosen = () => {};
let body = null;
let height = 36;
const pool = [];

/** Build the list; `open(symbol)` is called for the one chosen, `now()` is the server's clock. */
export function setUp(open, now) {
  chosen = open;
  clock = now;
  const head = el("div", { role: "row", class: "row columns", "aria-rowindex": 1 }, COLUMNS.map(column));
  body = el("div", { class: "rows", role: "rowgroup" });
  $("grid").append(el("div", { class: "columns-head", role: "rowgroup" }, head), body);
  $("grid").addEventListener("scroll", draw, { passive: true });
  $("grid").addEventListener("keydown", keys);
  $("grid").addEventListener("focus", draw);
  $("grid").addEventListener("blur", draw);
  body.addEventListener("click", (event) => {
    const line = event.target.closest(".row");
    if (line) pick(Number(line.dataset.index));
  });
  $("filter").addEventListener("input", gathered(filtered, 60));
  $("filter").addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      if (event.key === "Enter" && shown.length) pick(0);
      $("grid").focus();
    }
    if (event.key === "Escape") {
      $("filter").value = "";
      filtered();
      $("grid").focus();
    }
  });
  onChoice(() => measure());
  new ResizeObserver(measure).observe($("grid"));
  setInterval(draw, 1000);
}

function column([name, title, whole]) {
  const button = el("button", { type: "button", title: whole, onclick: () => order(name) }, title, el("i", { "aria-hidden": true }));
  return el("div", { role: "columnheader", class: `cell ${name}`, "data-name": name }, button);
}

/** All rows anew. */
export function fill(items) {
  rows.clear();
  for (const item of items) rows.set(item.symbol, item);
  sorted();
}

/** Rows that changed. */
export function change(items) {
  for (const item of items) rows.set(item.symbol, item);
  resort();
}

/** Closed one-minute bars: their closes are the newest prices. */
export function bars(items) {
  for (const [symbol, , open_ms, , , , close] of items) {
    const row = rows.get(symbol);
    if (!row || open_ms < (row.last_bar_ms ?? 0) - 60_000) continue;
    row.price = close;
  }
  draw();
}

/** The row of a symbol, if it is watched. */
export const rowOf = (symbol) => rows.get(symbol);
/** The first symbol in the list. */
export const first = () => shown[0]?.symbol;

function order(name) {
  const same = settings.sort === name;
  choose("order", same ? (settings.order === "asc" ? "desc" : "asc") : name === "symbol" || name === "age" ? "asc" : "desc");
  choose("sort", name);
  sorted();
  say(`Sorted by ${name.replace("_", " ")}, ${settings.order === "asc" ? "ascending" : "descending"}`);
}

function filtered() {
  query = $("filter").value.trim().toUpperCase();
  $("grid").scrollTop = 0;
  active = 0;
  sorted();
  say(`${shown.length} symbols`);
}

const resort = gathered(() => sorted(), 400);

function sorted() {
  const held = shown[active]?.symbol;
  shown = [...rows.values()].filter((row) => !query || row.symbol.toUpperCase().includes(query));
  const way = settings.order === "asc" ? 1 : -1;
  const by = BY[settings.sort];
  const name = (a, b) => (a.symbol < b.symbol ? -1 : a.symbol > b.symbol ? 1 : 0);
  // What is unknown is last, whichever way; equals are by name, so that rows do not jump.
  shown.sort((a, b) => {
    if (!by) return way * name(a, b);
    const [x, y] = [by(a) ?? NaN, by(b) ?? NaN];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || name(a, b);
    return way * (x - y) || name(a, b);
  });
  const index = held === undefined ? -1 : shown.findIndex((row) => row.symbol === held);
  active = index >= 0 ? index : Math.min(active, Math.max(0, shown.length - 1));
  for (const cell of document.querySelectorAll(".columns [data-name]")) {
    const on = cell.dataset.name === settings.sort;
    mark(cell, "aria-sort", on ? (settings.order === "asc" ? "ascending" : "descending") : "none");
  }
  write($("count"), query ? `${shown.length} of ${rows.size}` : String(rows.size));
  empty();
  draw();
}

function empty() {
  $("watch-empty").hidden = shown.length > 0;
  write($("watch-empty"), query ? `No symbol has “${$("filter").value.trim()}” in its name.` : "No symbol is watched yet.");
}

function measure() {
  const found = parseFloat(getComputedStyle($("grid")).getPropertyValue("--row"));
  height = Number.isFinite(found) ? found : 36;
  draw();
}

const draw = framed(() => {
  const grid = $("grid");
  const top = grid.scrollTop;
  const from = Math.max(0, Math.floor(top / height) - EXTRA);
  const count = Math.min(shown.length - from, Math.ceil(grid.clientHeight / height) + 2 * EXTRA);
  const total = `${shown.length * height}px`;
  if (body.style.height !== total) body.style.height = total;
  mark(grid, "aria-rowcount", String(shown.length + 1));
  while (pool.length < count) pool.push(line());
  const now_ms = clock();
  // A row keeps its place in the pool while it is in view, so scrolling changes only those that come in.
  for (let index = from; index < from + count; index++) paint(pool[index % pool.length], index, now_ms);
  for (const one of pool) one.node.hidden = one.index < from || one.index >= from + count;
  const focused = document.activeElement === grid && shown.length > 0;
  mark(grid, "aria-activedescendant", focused && inView(from, count) ? `row-${active % pool.length}` : null);
});

const inView = (from, count) => active >= from && active < from + count;

function line() {
  const cells = Object.fromEntries(COLUMNS.map(([name]) => [name, el("div", { role: "gridcell", class: `cell ${name}` })]));
  const node = el("div", { role: "row", class: "row", id: `row-${pool.length}` }, Object.values(cells));
  body.append(node);
  return { node, cells, index: -1 };
}

function paint(one, index, now_ms) {
  const row = shown[index];
  const { node, cells } = one;
  if (one.index !== index) {
    one.index = index;
    node.dataset.index = index;
    node.style.transform = `translateY(${index * height}px)`;
    mark(node, "aria-rowindex", String(index + 2));
  } else {
    const place = `translateY(${index * height}px)`;
    if (node.style.transform !== place) node.style.transform = place;
  }
  mark(node, "aria-selected", String(row.symbol === settings.symbol));
  node.classList.toggle("active", index === active && document.activeElement === $("grid"));
  node.classList.toggle("stale", !row.fresh);
  write(cells.symbol, row.symbol);
  write(cells.price, price(row.price));
  const way = row.change_pct === null ? "flat" : direction(row.change_pct);
  write(cells.change, row.change_pct === null ? "–" : `${MARK[way]} ${fixed(Math.abs(row.change_pct))}%`.trim());
  mark(cells.change, "data-way", way);
  mark(cells.change, "aria-label", row.change_pct === null ? "change unknown" : signed(row.change_pct, 2, "%"));
  write(cells.volume_z, row.volume_z === null ? "–" : signed(row.volume_z, 1));
  mark(cells.volume_z, "data-high", String(row.volume_z !== null && row.volume_z >= 2));
  write(cells.regime, row.trend || row.volatility ? `${TREND[row.trend] ?? ""} ${row.volatility ?? ""}`.trim() : "–");
  mark(cells.regime, "aria-label", row.trend || row.volatility ? `trend ${row.trend ?? "unknown"}, volatility ${row.volatility ?? "unknown"}` : "unknown");
  lastSignal(cells.signal, row.last_signal, now_ms);
  write(cells.age, row.last_bar_ms === null ? "–" : brief(now_ms - row.last_bar_ms) + (row.fresh ? "" : "!"));
  mark(cells.age, "title", row.fresh ? null : "No bar for too long");
}

function lastSignal(cell, signal, now_ms) {
  write(cell, signal ? `${SIDE[signal.side]} ${brief(now_ms - signal.ms)}` : "–");
  mark(cell, "data-way", signal ? (signal.side === "long" ? "up" : "down") : "flat");
  mark(cell, "data-state", signal ? signal.state : null);
  const said = signal && `${signal.side}, ${signal.strategy}, ${signal.state}, ${span(now_ms - signal.ms)} ago`;
  mark(cell, "aria-label", signal ? said : "no signal");
  mark(cell, "title", said);
}

function pick(index) {
  const row = shown[index];
  if (!row) return;
  active = index;
  chosen(row.symbol);
  draw();
}

function keys(event) {
  const page = Math.max(1, Math.floor($("grid").clientHeight / height) - 2);
  const to = {
    ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: shown.length - 1,
  }[event.key];
  if (event.target !== $("grid")) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    pick(active);
  }
  if (to === undefined) return;
  event.preventDefault();
  active = Math.max(0, Math.min(shown.length - 1, to));
  reveal();
  draw();
}

function reveal() {
  const grid = $("grid");
  const head = body.offsetTop;
  const [top, bottom] = [active * height, (active + 1) * height];
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (bottom > grid.scrollTop + grid.clientHeight - head) grid.scrollTop = bottom - grid.clientHeight + head;
}

/** Draw again: another symbol is open, or times are told otherwise. */
export const redraw = draw;
