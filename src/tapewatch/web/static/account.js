// The paper account: what it is worth, how far below its best, what it holds and what it has closed.

import { get } from "./api.js";
import { $, el, gathered, write } from "./dom.js";
import { fixed, moment, price, short, signed, stamp } from "./format.js";
import { colour, looks } from "./chart.js";
import { openSignal, sideMark, tag } from "./detail.js";
import { onChoice } from "./settings.js";

let found = null;
let trades = [];
let curve = null;
let chart = null;
let worth = null;
let depth = null;
let told = () => {};
let open = () => {};
const parts = {};

/** Build the panel; `positions(items)` hears of each change, `show(symbol)` opens a chart. */
export function setUp(positions, show) {
  told = positions;
  open = show;
  parts.tiles = el("dl", { class: "tiles" });
  parts.canvas = el("div", { class: "canvas", role: "img", "aria-label": "Equity and drawdown over time" });
  parts.held = el("tbody");
  parts.closed = el("tbody");
  parts.heldNote = el("p", { class: "empty small" });
  parts.closedNote = el("p", { class: "empty small" });
  parts.note = el("p", { class: "empty", hidden: true });
  parts.curveNote = el("p", { class: "empty small", hidden: true });
  const table = (caption, titles, body, kind = "") => el("table", { class: `table ${kind}` }, el("caption", {}, caption),
    el("thead", {}, el("tr", {}, titles.map(([title, kind]) => el("th", { scope: "col", class: kind }, title)))), body);
  const number = (title) => [title, "number"];
  parts.all = el("div", { class: "account" },
    el("div", { class: "equity" }, parts.tiles, el("p", { class: "key" }, el("span", { class: "equity-key" }, "equity"), el("span", { class: "drawdown-key" }, "drawdown")), parts.canvas, parts.curveNote),
    el("div", { class: "held" },
      table("Open positions", [["Symbol"], ["Side"], number("Quantity"), number("Entry"), number("Mark"), number("Stop"), number("Target"), number("Unrealised"), number("R")], parts.held, "positions"), parts.heldNote,
      table("Closed trades", [["Closed"], ["Symbol"], ["Side"], ["Reason"], number("Net"), number("R")], parts.closed), parts.closedNote));
  $("account").append(parts.all, parts.note);
  onChoice((name) => ["theme", "zone"].includes(name) && render());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
}

/** Ask for the account, its positions and its curve. */
export async function load() {
  try {
    const [positions, closed, equity] = await Promise.all([get("/positions"), get("/trades", { limit: 50 }), get("/equity", { points: 500 })]);
    [found, trades, curve] = [positions, closed.items, equity];
    parts.note.hidden = true;
  } catch (error) {
    write(parts.note, error.message);
    parts.note.hidden = false;
  }
  render();
}

/** Something was filled: ask, but not for each of many. */
export const soon = gathered(load, 700);

/** What is held now. */
export const positions = () => found?.items ?? [];

function render() {
  if (!found) return;
  told(found.items);
  const without = found.account === null;
  parts.all.hidden = without;
  if (without) {
    write(parts.note, "No paper account is configured. With a section “paper”, signals are traded here without money.");
    parts.note.hidden = false;
    return;
  }
  tiles(found.account);
  parts.held.replaceChildren(...found.items.map(position));
  write(parts.heldNote, found.items.length ? "" : "Nothing is held.");
  parts.closed.replaceChildren(...trades.map(trade));
  write(parts.closedNote, trades.length ? "" : "No trade has been closed yet.");
  if ($("account").hidden) return;
  draw();
}

/** The panel is in view: the chart needs its size. */
export const shown = () => found?.account && draw();

function tiles(account) {
  const drawdown = curve?.drawdown_pct ?? [];
  const deepest = drawdown.reduce((most, one) => Math.min(most, -Math.abs(one ?? 0)), 0);
  const gain = account.start_cash ? (Number(account.equity) / Number(account.start_cash) - 1) * 100 : null;
  const tile = (name, value, more, way) => el("div", {}, el("dt", {}, name), el("dd", { "data-way": way ?? null }, value, more && el("small", {}, more)));
  parts.tiles.replaceChildren(
    tile("Equity", fixed(account.equity), gain === null ? null : `${signed(gain)}% since the start`),
    tile("Drawdown", `${fixed(-Math.abs(drawdown.at(-1) ?? 0))}%`, `deepest ${fixed(deepest)}%`),
    tile("Cash", fixed(account.cash), `fees ${fixed(account.fees)}`),
    tile("Open", String(account.open ?? found.items.length), account.open_risk === null || account.open_risk === undefined ? null : `at risk ${fixed(account.open_risk)}`),
    ...(account.paused_until_ms ? [tile("Paused", "until", `${moment(account.paused_until_ms)}: ${account.paused_why ?? ""}`)] : []),
  );
}

const cell = (value, kind) => el("td", { class: kind ?? null }, value);
const way = (value) => (Number(value) > 0 ? "up" : Number(value) < 0 ? "down" : "flat");
const money = (value) => el("td", { class: "number", "data-way": way(value) }, signed(value));

function position(one) {
  const name = el("button", { type: "button", class: "open", onclick: () => open(one.symbol) }, one.symbol);
  return el("tr", {}, el("th", { scope: "row" }, name), cell(sideMark(one.side)), cell(short(one.quantity), "number"), cell(price(one.entry), "number"),
    cell(price(one.mark), "number"), cell(price(one.stop), "number"), cell(price(one.targets?.[0]?.price), "number"),
    money(one.unrealised), cell(signed(one.r), "number"));
}

function trade(one) {
  const name = one.signal_id ? el("button", { type: "button", class: "open", onclick: () => openSignal(one.signal_id) }, one.symbol) : one.symbol;
  return el("tr", {}, cell(stamp(one.closed_ms), "time"), el("th", { scope: "row" }, name), cell(sideMark(one.side)), cell(tag(one.reason ?? one.state ?? "–")), money(one.net), cell(signed(one.r), "number"));
}

function draw() {
  const lib = window.LightweightCharts;
  if (!chart) {
    chart = lib.createChart(parts.canvas, {
      autoSize: true, handleScroll: false, handleScale: false,
      layout: { attributionLogo: false, fontSize: 12, background: { color: "transparent" }, panes: { enableResize: false } },
      rightPriceScale: { borderVisible: false }, timeScale: { timeVisible: true, fixLeftEdge: true, fixRightEdge: true },
    });
    worth = chart.addSeries(lib.AreaSeries, { lineWidth: 2, priceLineVisible: false });
    depth = chart.addSeries(lib.AreaSeries, { lineWidth: 1, invertFilledArea: true, priceLineVisible: false, priceFormat: { type: "percent" } }, 1);
    chart.panes()[1].setStretchFactor(0.4);
  }
  chart.applyOptions({ ...looks(), layout: { ...looks().layout, panes: { separatorColor: colour("rule"), enableResize: false } } });
  worth.applyOptions({ lineColor: colour("accent"), topColor: colour("accent-soft"), bottomColor: "transparent" });
  depth.applyOptions({ lineColor: colour("down"), topColor: colour("down-soft"), bottomColor: colour("down-soft") });
  const points = (values, map) => (curve?.ms ?? []).map((ms, index) => ({ time: Math.floor(ms / 1000), value: map(Number(values[index])) }))
    .filter((point, index, all) => Number.isFinite(point.value) && (!index || point.time > all[index - 1].time));
  worth.setData(points(curve?.equity ?? [], (value) => value));
  depth.setData(points(curve?.drawdown_pct ?? [], (value) => -Math.abs(value)));
  chart.timeScale().fitContent();
  const few = (curve?.ms ?? []).length < 2;
  parts.canvas.hidden = few;
  parts.curveNote.hidden = !few;
  write(parts.curveNote, "The curve begins with the second sample.");
}
