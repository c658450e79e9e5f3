// The page: loads what there is, follows what comes, and says where it stands.

import { follow, get } from "./api.js";
import * as account from "./account.js";
import * as alerts from "./alerts.js";
import * as chart from "./chart.js";
import * as detail from "./detail.js";
import * as health from "./health.js";
import * as signals from "./signals.js";
import * as views from "./views.js";
import * as watchlist from "./watchlist.js";
import { $, el, framed, gathered, mark, say, write } from "./dom.js";
import { direction, intervalMs, price, second, signed, span, zoneName } from "./format.js";
import { choose, onChoice, settings } from "./settings.js";

const HIDDEN_MOST = 2000;
let state = null;
let skew_ms = 0;
let market_skew_ms = 0;
let stream = null;
let lost = false;
let pending = new Map();
let marked = [];

const now = () => Date.now() + skew_ms;
// The exchange's time, by which bars are: a simulated exchange may be years away and run faster.
const marketNow = () => Date.now() + market_skew_ms;
const interval = () => settings.interval;

async function start() {
  views.setUp({ signals: () => {}, account: account.shown, health: health.load });
  watchlist.setUp(show, marketNow);
  chart.setUp({ bar: (close_ms) => detail.openWhy(settings.symbol, interval(), settings.strategy, close_ms), signal: detail.openSignal });
  detail.setUp();
  signals.setUp(() => settings.symbol);
  alerts.setUp();
  account.setUp((items) => {
    chart.hold(items);
    if (state) health.glance(state, items.length);
  }, show);
  $("strategy").addEventListener("change", (event) => {
    choose("strategy", event.target.value);
    offerIntervals();
    reload();
  });
  setInterval(tick, 1000);
  onChoice((name) => name === "zone" && tick());
  tick();
  await begin();
}

/** Load until it works; the events come after. */
async function begin(wait_ms = 500) {
  try {
    await load();
  } catch (error) {
    banner(`${error.message} Trying again in ${span(wait_ms + 999)}.`);
    link("lost", "no answer");
    setTimeout(() => begin(Math.min(15_000, wait_ms * 2)), wait_ms);
    return;
  }
  if (!stream) stream = follow(state.seq, { event: take, reset: () => restart(), state: linked });
}

async function load() {
  const found = await get("/state");
  if (state && state.version !== found.version) location.reload();
  state = found;
  skew_ms = found.now_ms - Date.now();
  market_skew_ms = (found.market_ms ?? found.now_ms) - Date.now();
  write($("venue"), found.venue.replace("_", " "));
  $("paper").hidden = !found.paper;
  write($("about"), `tapewatch ${found.version}, ${found.role}, up for ${span(found.now_ms - found.started_ms)}`);
  offerStrategies();
  signals.strategies(found.strategies.map((one) => one.name));
  const list = await get("/watchlist");
  watchlist.fill(list.items);
  health.glance(found, account.positions().length);
  const symbol = watchlist.rowOf(settings.symbol) ? settings.symbol : watchlist.first();
  if (symbol) choose("symbol", symbol);
  banner("");
  health.load();
  await Promise.all([reload(), signals.load(), alerts.load(), account.load()]);
}

/** Events were missed, or the server is another one: everything anew, and from where it is now. */
const restart = gathered(async () => {
  try {
    await load();
    stream.from(state.seq);
  } catch (error) {
    banner(error.message);
    setTimeout(restart, 2000);
  }
}, 100);

function take(kind, data) {
  if (kind === "bars") for (const bar of data.bars) hold(bar);
  else if (kind === "watch") watchlist.change(data.rows);
  else if (kind === "signal") signal(data);
  else if (kind === "fill") filled(data);
  else if (kind === "health") told(data);
  else if (kind === "delivery") {
    signals.delivered(data);
    if (!alerts.delivered(data)) alerts.soon();
  }
  if (kind === "watch") price_();
}

function hold(bar) {
  market_skew_ms = Math.max(market_skew_ms, bar[2] + bar[1] - Date.now());
  // Later ones of the same bar replace: a page in the background, which draws nothing, holds no more for it.
  pending.set(`${bar[0]} ${bar[1]} ${bar[0] === settings.symbol ? bar[2] : ""}`, bar);
  if (pending.size > HIDDEN_MOST * 4) pending = new Map([...pending].slice(-HIDDEN_MOST));
  apply();
}

const apply = framed(() => {
  const bars = [...pending.values()];
  pending.clear();
  const interval_ms = intervalMs(interval());
  watchlist.bars(bars.filter((bar) => bar[1] === 60_000));
  const mine = bars.filter((bar) => bar[0] === settings.symbol && bar[1] === interval_ms).sort((a, b) => a[2] - b[2]);
  for (const [, , open_ms, open, high, low, close, volume] of mine) chart.add(open_ms, open, high, low, close, volume);
  price_();
});

function signal(one) {
  signals.add(one);
  if (one.symbol === settings.symbol) mark_([one, ...marked.filter((each) => each.id !== one.id)]);
  if (one.state !== "blocked") {
    say(`${one.side} signal: ${one.symbol}, ${one.strategy}`);
    alerts.soon();
  }
}

function mark_(items) {
  marked = items.slice(0, 500);
  chart.setSignals(marked);
}

function filled(data) {
  say(`${data.kind}: ${data.side} ${data.symbol} at ${price(data.price)}`);
  account.soon();
}

function told(data) {
  health.badge(data.status);
  if (!$("health").hidden) health.load();
  if (data.status === "fail") say(`Health: ${(data.reasons ?? []).join("; ")}`, true);
}

function show(symbol) {
  views.go("chart");
  if (symbol === settings.symbol && chart.held()) return;
  choose("symbol", symbol);
  reload();
  signals.follow();
  watchlist.redraw();
}

async function reload() {
  const { symbol } = settings;
  if (!symbol) return;
  write($("chart-symbol"), symbol);
  mark($("canvas"), "aria-label", `Candle chart of ${symbol}, ${interval()}`);
  document.title = `${symbol} · tapewatch`;
  price_();
  await Promise.all([chart.show(symbol, interval(), settings.strategy), marksOf(symbol)]);
  chart.hold(account.positions());
  chart.setSignals(marked);
}

async function marksOf(symbol) {
  marked = [];
  const asked = { symbol, interval: interval(), strategy: settings.strategy, limit: 200 };
  try {
    const found = await get("/signals", asked);
    // By now another chart may be asked for, whose answer came first.
    if (["symbol", "interval", "strategy"].every((name) => asked[name] === settings[name])) mark_(found.items);
  } catch {
    // The list of signals says what is wrong.
  }
}

function price_() {
  const row = watchlist.rowOf(settings.symbol);
  write($("chart-price"), row ? price(row.price) : "");
  const known = row && row.change_pct !== null;
  write($("chart-change"), known ? `${{ up: "▲", down: "▼", flat: "" }[direction(row.change_pct)]} ${signed(row.change_pct)}%` : "");
  mark($("chart-change"), "data-way", known ? direction(row.change_pct) : "flat");
}

function offerStrategies() {
  const names = state.strategies.map((one) => one.name);
  if (!names.includes(settings.strategy)) choose("strategy", names[0] ?? "");
  $("strategy").replaceChildren(...names.map((name) => el("option", { value: name, selected: name === settings.strategy }, name)));
  offerIntervals();
}

function offerIntervals() {
  const one = state.strategies.find((each) => each.name === settings.strategy);
  const all = one?.timeframes ?? ["1m"];
  if (!all.includes(settings.interval)) choose("interval", all[0]);
  $("intervals").replaceChildren(...all.map((name) => el("button", { type: "button", "aria-pressed": String(name === settings.interval), onclick: () => {
    choose("interval", name);
    for (const button of $("intervals").children) mark(button, "aria-pressed", String(button.textContent === name));
    reload();
  } }, name)));
}

function linked(name, wait_ms) {
  link(name, name === "live" ? "live" : `again in ${span(wait_ms + 999)}`);
  document.body.classList.toggle("lost", name !== "live");
  if (name === "live" && lost) {
    lost = false;
    say("Connected again.");
    restart();
  } else if (name !== "live" && !lost) {
    lost = true;
    say("The connection is lost; it is being made again.", true);
  }
  banner(name === "live" ? "" : "No connection to the server. What is shown may be old; it goes on by itself when the server is back.");
}

function link(name, text) {
  $("link").dataset.state = name;
  write($("link").querySelector("span"), text);
}

function banner(text) {
  $("banner").hidden = !text;
  write($("banner"), text);
}

function tick() {
  write($("clock"), `${second(now())} ${zoneName()}`);
}

start();
