// The candle chart: one symbol on one interval, with the lines of a strategy, its signals, and what is held.

import { get } from "./api.js";
import { $, el, gathered, mark, say, write } from "./dom.js";
import { compact, day, decimals, direction, fixed, intervalMs, moment, price, short, signed, tick } from "./format.js";
import { onChoice, settings } from "./settings.js";

const LOAD = 500;
const MOST = 6000;
const LINES = 6;

const lib = () => window.LightweightCharts;
let chart = null;
let candles = null;
let volumes = null;
let markers = null;
let lines = new Map();
let levels = [];
let bars = [];
let at = -1;
let key = "";
let more = null;
let loading = false;
let signals = [];
let positions = [];
const hiddenLines = new Set();
let calls = { bar: () => {}, signal: () => {} };

/** Make the chart; `calls.bar(close_ms)` and `calls.signal(id)` are told what was chosen in it. */
export function setUp(told) {
  calls = told;
  const { createChart, CandlestickSeries, HistogramSeries, createSeriesMarkers, CrosshairMode } = lib();
  chart = createChart($("canvas"), {
    autoSize: true,
    layout: { attributionLogo: false, fontSize: 12, background: { color: "transparent" }, panes: { enableResize: false } },
    crosshair: { mode: CrosshairMode.Normal },
    timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 6, barSpacing: 8, minBarSpacing: 1 },
    rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.08, bottom: 0.22 } },
    handleScale: { axisPressedMouseMove: { price: false } },
  });
  candles = chart.addSeries(CandlestickSeries, { priceLineStyle: 1 });
  volumes = chart.addSeries(HistogramSeries, { priceScaleId: "volume", lastValueVisible: false, priceLineVisible: false });
  chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
  markers = createSeriesMarkers(candles, []);
  chart.subscribeCrosshairMove((moved) => tell(moved.logical ?? null));
  chart.subscribeClick(clicked);
  chart.timeScale().subscribeVisibleLogicalRangeChange((range) => range && range.from < 30 && older());
  $("canvas").addEventListener("keydown", keys);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  onChoice((name) => ["theme", "zone"].includes(name) && paint());
  paint();
}

const colours = new Map();
/** What a colour of the page's is now. */
export function colour(name) {
  const probe = $("chart-change");
  const before = probe.style.color;
  probe.style.color = `var(--${name})`;
  const found = getComputedStyle(probe).color;
  probe.style.color = before;
  colours.set(name, found);
  return found;
}

/** How charts look in the theme and the zone chosen. */
export function looks() {
  return {
    layout: { textColor: colour("muted"), fontFamily: getComputedStyle(document.body).fontFamily },
    grid: { vertLines: { color: colour("grid") }, horzLines: { color: colour("grid") } },
    crosshair: { vertLine: { color: colour("faint"), labelBackgroundColor: colour("chip") }, horzLine: { color: colour("faint"), labelBackgroundColor: colour("chip") } },
    timeScale: { borderColor: colour("rule"), tickMarkFormatter: (time, kind) => (kind < 3 ? day(time * 1000).slice(5) : tick(time * 1000)) },
    localization: { timeFormatter: (time) => moment(time * 1000) },
  };
}

function paint() {
  chart.applyOptions(looks());
  const [up, down, ground] = [colour("up"), colour("down"), colour("surface")];
  // Rising candles are hollow, falling ones filled: the shape says it too.
  candles.applyOptions({ upColor: ground, downColor: down, borderUpColor: up, borderDownColor: down, wickUpColor: up, wickDownColor: down });
  [...lines.values()].forEach((line, index) => line.applyOptions({ color: colour(`line-${(index % LINES) + 1}`) }));
  draw();
  marks();
  hold(positions);
  legend();
}

/** Show a symbol on an interval with a strategy's lines; resolves when its candles are there, or says why not. */
export async function show(symbol, interval, strategy) {
  const wanted = `${symbol} ${interval} ${strategy}`;
  key = wanted;
  mark($("canvas"), "aria-busy", "true");
  try {
    const found = await get("/candles", { symbol, interval, strategy, limit: LOAD });
    if (key !== wanted) return;
    bars = rowsOf(found);
    more = found.next;
    at = -1;
    series(Object.keys(found.indicators));
    draw();
    chart.timeScale().setVisibleLogicalRange({ from: bars.length - Math.max(40, $("canvas").clientWidth / 9), to: bars.length + 5 });
    empty(bars.length ? "" : `No ${interval} candle of ${symbol} is kept yet. The first comes when it closes.`);
  } catch (error) {
    if (key !== wanted) return;
    bars = [];
    series([]);
    draw();
    empty(error.message);
  } finally {
    if (key === wanted) mark($("canvas"), "aria-busy", null);
  }
}

function empty(text) {
  $("chart-empty").hidden = !text;
  write($("chart-empty"), text);
  mark($("chart"), "data-empty", text ? "true" : null);
  tell(null);
}

function rowsOf(found) {
  const names = Object.entries(found.indicators);
  return found.open_ms.map((open_ms, index) => ({
    time: open_ms / 1000, open: found.open[index], high: found.high[index], low: found.low[index], close: found.close[index],
    volume: found.volume[index], values: Object.fromEntries(names.map(([name, values]) => [name, values[index]])),
  }));
}

function series(names) {
  for (const line of lines.values()) chart.removeSeries(line);
  lines = new Map(names.slice(0, LINES).map((name, index) => [name, chart.addSeries(lib().LineSeries, {
    color: colour(`line-${(index % LINES) + 1}`), lineWidth: name.startsWith("vwap") ? 2 : 1.5, lineStyle: name.startsWith("vwap") ? 2 : 0,
    // Candles alone decide the scale: a line far away must not flatten them.
    autoscaleInfoProvider: () => null, lastValueVisible: false, priceLineVisible: false, crosshairMarkerVisible: false, visible: !hiddenLines.has(name),
  })]));
  legend();
}

const point = (bar, value) => (value === null || value === undefined ? { time: bar.time } : { time: bar.time, value });
const column = (bar) => ({ time: bar.time, value: bar.volume, color: colours.get(bar.close >= bar.open ? "volume-up" : "volume-down") });

function draw() {
  colour("volume-up");
  colour("volume-down");
  const last = bars.at(-1);
  if (last) {
    const digits = decimals(last.close);
    candles.applyOptions({ priceFormat: { type: "price", precision: digits, minMove: 10 ** -digits } });
  }
  candles.setData(bars);
  lastPrice(true);
  volumes.setData(bars.map(column));
  for (const [name, line] of lines) line.setData(bars.map((bar) => point(bar, bar.values[name])));
  tell(null);
}

let rises = null;
/** The line of the last price is blue or orange: a hollow candle would give it the ground's colour. */
function lastPrice(anew = false) {
  const last = bars.at(-1);
  if (!last || (!anew && rises === last.close >= last.open)) return;
  rises = last.close >= last.open;
  candles.applyOptions({ priceLineColor: colour(rises ? "up" : "down") });
}

async function older() {
  if (loading || !more || bars.length >= MOST - LOAD) return;
  loading = true;
  const [wanted, [symbol, interval, strategy]] = [key, key.split(" ")];
  try {
    const found = await get("/candles", { symbol, interval, strategy, limit: LOAD, before_ms: more });
    if (key !== wanted) return;
    const early = rowsOf(found).filter((bar) => !bars.length || bar.time < bars[0].time);
    const range = chart.timeScale().getVisibleLogicalRange();
    bars = [...early, ...bars];
    more = early.length ? found.next : null;
    if (at >= 0) at += early.length;
    draw();
    marks();
    if (range) chart.timeScale().setVisibleLogicalRange({ from: range.from + early.length, to: range.to + early.length });
  } catch {
    more = null;
  } finally {
    loading = false;
  }
}

/** A closed bar of the symbol and interval shown; its lines are asked for a moment later. */
export function add(open_ms, open, high, low, close, volume) {
  const last = bars.at(-1);
  const bar = { time: open_ms / 1000, open, high, low, close, volume, values: {} };
  if (last && bar.time < last.time) return;
  if (last && bar.time === last.time) {
    bar.values = last.values;
    bars[bars.length - 1] = bar;
  } else bars.push(bar);
  if (bars.length > MOST) {
    bars = bars.slice(-LOAD);
    more = bars[0].time * 1000;
    draw();
  } else {
    candles.update(bar);
    volumes.update(column(bar));
    lastPrice();
  }
  if (!$("chart-empty").hidden) empty("");
  tell(null);
  tail();
}

const tail = gathered(async () => {
  if (!lines.size) return;
  const [wanted, [symbol, interval, strategy]] = [key, key.split(" ")];
  try {
    const found = await get("/candles", { symbol, interval, strategy, limit: 5 });
    if (key === wanted) refresh(rowsOf(found));
  } catch {
    // The next bar asks again; a lost connection is shown elsewhere.
  }
}, 1000);

function refresh(newest) {
  for (const bar of newest) {
    const place = bars.findLastIndex((one) => one.time === bar.time);
    if (place < 0) continue;
    bars[place] = bar;
    for (const [name, line] of lines) line.update(point(bar, bar.values[name]), place < bars.length - 1);
  }
  tell(null);
}

/** The signals to mark, newest first; those of other symbols and intervals are left out. */
export function setSignals(items) {
  signals = items;
  marks();
}

function marks() {
  const [symbol, interval] = key.split(" ");
  const start = bars[0]?.time ?? Infinity;
  const step = intervalMs(interval ?? "");
  const mine = signals.filter((one) => one.symbol === symbol && one.timeframe === interval && one.open_ms / 1000 >= start);
  markers.setMarkers(mine.map((one) => {
    const long = one.side === "long";
    const passed = one.state !== "blocked";
    return {
      time: (one.open_ms ?? one.close_ms - step) / 1000, id: one.id, size: passed ? 1.4 : 0.8,
      position: long ? "belowBar" : "aboveBar", shape: passed ? (long ? "arrowUp" : "arrowDown") : "circle",
      color: colour(passed ? (long ? "up" : "down") : "faint"),
    };
  }).sort((a, b) => a.time - b.time));
}

/** Lines at entry, stop and targets of the open positions of the symbol shown. */
export function hold(items) {
  positions = items;
  for (const level of levels) candles.removePriceLine(level);
  const [symbol] = key.split(" ");
  levels = items.filter((one) => one.symbol === symbol).flatMap((one) => {
    const line = (title, value, name, style) => value !== null && value !== undefined && candles.createPriceLine({
      price: Number(value), title, color: colour(name), lineStyle: style, lineWidth: 1, axisLabelVisible: true,
    });
    const targets = (one.targets ?? []).map((target, index) => line(`target ${index + 1}`, target.price, "good", 2));
    return [line(`${one.side} entry`, one.entry, "ink", 0), line("stop", one.stop, "bad", 2), ...targets];
  }).filter(Boolean);
}

function legend() {
  $("legend").replaceChildren(...[...lines.keys()].map((name, index) => {
    const on = !hiddenLines.has(name);
    const text = el("span", { class: "value" });
    const toggle = () => {
      if (!hiddenLines.delete(name)) hiddenLines.add(name);
      lines.get(name).applyOptions({ visible: on === false });
      legend();
    };
    return el("li", {}, el("button", { type: "button", "aria-pressed": String(on), "data-line": (index % LINES) + 1, onclick: toggle }, el("i", { "aria-hidden": true }), `${name} `, text));
  }));
  tell(null);
}

function tell(logical) {
  const bar = bars[logical ?? at] ?? bars.at(-1);
  if (!bar) {
    $("bar").replaceChildren();
    return;
  }
  const part = (name, value) => [el("span", { class: "faint" }, `${name} `), `${value} `];
  const change = ((bar.close - bar.open) / bar.open) * 100;
  $("bar").replaceChildren(
    el("span", { class: "faint" }, `${moment(bar.time * 1000)} `), ...part("O", price(bar.open)), ...part("H", price(bar.high)),
    ...part("L", price(bar.low)), ...part("C", price(bar.close)), el("span", { "data-way": direction(change) }, `${signed(change)}% `), ...part("V", compact(bar.volume)),
  );
  const values = $("legend").querySelectorAll(".value");
  // The newest bar's values come a moment after it: until then those of the one before it stay.
  const valued = bar === bars.at(-1) && !Object.keys(bar.values).length ? (bars.at(-2) ?? bar) : bar;
  [...lines.keys()].forEach((name, index) => values[index] && write(values[index], short(valued.values[name] ?? null)));
}

const step_ms = () => intervalMs(key.split(" ")[1] ?? "");

function clicked(event) {
  const id = event.hoveredObjectId;
  if (id && signals.some((one) => one.id === id)) calls.signal(id);
  else if (event.time) calls.bar(event.time * 1000 + step_ms());
}

function keys(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0;
  if (event.key === "Enter" && bars.length) {
    const bar = bars[at] ?? bars.at(-1);
    const here = signals.find((one) => one.open_ms === bar.time * 1000 && key.startsWith(`${one.symbol} ${one.timeframe}`));
    if (here && !event.shiftKey) calls.signal(here.id);
    else calls.bar(bar.time * 1000 + step_ms());
  }
  if (!step || !bars.length) return;
  event.preventDefault();
  at = Math.max(0, Math.min(bars.length - 1, (at < 0 ? bars.length : at) + step));
  const bar = bars[at];
  const range = chart.timeScale().getVisibleLogicalRange();
  if (range && (at < range.from || at > range.to)) chart.timeScale().scrollToPosition(at - bars.length + 10, false);
  chart.setCrosshairPosition(bar.close, bar.time, candles);
  say(`${moment(bar.time * 1000)}: open ${price(bar.open)}, high ${price(bar.high)}, low ${price(bar.low)}, close ${price(bar.close)}, ${fixed(((bar.close - bar.open) / bar.open) * 100)} percent`);
}

/** How many bars are held. */
export const held = () => bars.length;
