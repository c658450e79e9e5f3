// The drawer: a signal with all that is known of it, or why a bar had none.

import { get, signalPath } from "./api.js";
import { $, el, say } from "./dom.js";
import { direction, fixed, moment, price, second, short, signed, span } from "./format.js";
import { onChoice } from "./settings.js";

let opener = null;
let again = null;
let asked = 0;

/** Prepare the drawer. */
export function setUp() {
  $("drawer-close").addEventListener("click", close);
  onChoice((name) => name === "zone" && again?.());
}

/** Whether it is open. */
export const isOpen = () => !$("drawer").hidden;

/** Close it; the focus goes back to where it was opened from. */
export function close() {
  asked++;
  $("drawer").hidden = true;
  again = null;
  if (opener?.isConnected) opener.focus();
}

async function open(title, load) {
  const mine = ++asked;
  if ($("drawer").hidden) opener = document.activeElement;
  $("drawer").hidden = false;
  $("drawer-title").replaceChildren(...[title].flat());
  $("drawer-body").replaceChildren(el("p", { class: "empty" }, "Loading …"));
  $("drawer").focus({ preventScroll: true });
  try {
    const [found, draw, named = title] = await load();
    if (mine !== asked) return;
    $("drawer-title").replaceChildren(...[named].flat());
    again = () => $("drawer-body").replaceChildren(...draw(found).filter(Boolean));
    again();
    $("drawer-body").scrollTop = 0;
  } catch (error) {
    if (mine !== asked) return;
    $("drawer-body").replaceChildren(el("p", { class: "empty bad" }, error.message));
    say(error.message, true);
  }
}

/** Open a signal by its id. */
export const openSignal = (id) => open("Signal", async () => {
  const found = await get(signalPath(id));
  return [found, signal, [sideMark(found.side), ` ${found.symbol} ${found.strategy}`]];
});

/** Open what a strategy said of the bar that closed at `close_ms`. */
export const openWhy = (symbol, interval, strategy, close_ms) => open(`Why · ${symbol}`, async () => (
  [await get("/why", { symbol, ms: close_ms, strategy, interval }), (found) => why(found, symbol, interval, close_ms)]
));

/** ▲ long or ▼ short, in its colour. */
export function sideMark(side) {
  return el("span", { class: "side", "data-way": side === "long" ? "up" : "down" }, el("span", { "aria-hidden": true }, side === "long" ? "▲" : "▼"), el("span", { class: "word" }, ` ${side ?? ""}`));
}

/** A word in a frame; `tone` is good, bad, warn or plain. */
export const tag = (text, tone = "plain") => el("span", { class: "tag", "data-tone": tone }, text);

const STATE = { sent: ["✓", "good"], dead: ["✕", "bad"], late: ["!", "warn"], sending: ["…", "plain"], queued: ["…", "plain"] };
/** A channel with the state of its message. */
export function delivery(one) {
  const [mark, tone] = STATE[one.state] ?? ["·", "plain"];
  return el("span", { class: "tag", "data-tone": tone, title: one.error ?? one.last_error ?? `${one.channel}: ${one.state}` }, `${mark} ${one.channel}`, el("span", { class: "word" }, ` ${one.state}`));
}

/** A signal's outcome in one word. */
export function outcomeTag(outcome) {
  if (!outcome) return el("span", { class: "faint" }, "–");
  const tone = { target: "good", stop: "bad", time: "warn" }[outcome.result] ?? "plain";
  const mark = { target: "✓ ", stop: "✕ " }[outcome.result] ?? "";
  const r = outcome.net_r === null || outcome.net_r === undefined ? null : el("span", { class: "r" }, ` ${signed(outcome.net_r, 2)} R`);
  return el("span", { class: "tag", "data-tone": tone }, el("span", { class: "result" }, mark + outcome.result), r ?? "");
}

const section = (title, ...parts) => el("section", { class: "part" }, el("h3", {}, title), ...parts);
const none = (text) => el("p", { class: "faint" }, text);

function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined);
  return el("dl", { class: "facts" }, shown.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function signal(one) {
  const state = one.state === "blocked" ? tag("blocked", "warn") : tag("passed", "good");
  const targets = (one.targets ?? []).map((target, index) => [`Target ${index + 1}`, `${price(target.price)}  (${short(target.share)}%)`]);
  return [
    el("p", { class: "tags" }, state, tag(one.timeframe), one.late && tag("late", "warn"), one.settled === false && tag("not settled", "warn"), outcomeTag(one.outcome)),
    ladder(one),
    facts([
      ["Bar closed", moment(one.close_ms)], ["Came", one.recv_ms ? `${second(one.recv_ms)}, ${span(one.recv_ms - one.close_ms)} after its close` : null],
      ["Entry", price(one.entry)], ["Stop", `${price(one.stop)}  (${fixed(one.stop_distance_pct)}%)`], ...targets,
      ["Reward to risk", fixed(one.risk_reward)], ["ATR", price(one.atr)], ["Bias", one.bias],
      ["Confidence", one.confidence ? `${one.confidence.met} of ${one.confidence.asked}` : null], ["Strength", fixed(one.strength, 1)],
      ["Model", typeof one.score === "number" ? `${fixed(one.score * 100, 0)}% to touch the target first` : null],
      ["Volume", one.volume_ratio ? `${fixed(one.volume_ratio, 1)} × its average` : null],
    ]),
    section("Factors", factors(one.factors ?? [])),
    section("Gate", verdicts(one.verdicts ?? [])),
    section("Delivery", messages(one.messages ?? one.deliveries ?? [])),
    section("Outcome", outcome(one)),
    one.trade && section("Paper trade", plain(one.trade, new Set(["fills", "targets", "signal_id", "symbol", "strategy", "venue"]))),
    one.context && section("Market around it", plain(one.context)),
    Object.keys(one.indicators ?? {}).length > 0 && section("Indicators", facts(Object.entries(one.indicators).map(([name, value]) => [name, short(value)]))),
    one.evidence && section("Evidence", plain(one.evidence)),
    el("p", { class: "faint id" }, one.id),
  ];
}

function ladder(one) {
  // Stop, entry and targets on one line, as far apart as they are.
  const levels = [["stop", one.stop, "bad"], ["entry", one.entry, "ink"], ...(one.targets ?? []).map((target, index) => [`T${index + 1}`, target.price, "good"])];
  const values = levels.map(([, value]) => Number(value)).filter(Number.isFinite);
  if (values.length < 2) return null;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const line = el("div", { class: "ladder", role: "img", "aria-label": levels.map(([name, value]) => `${name} ${price(value)}`).join(", ") });
  for (const [name, value, tone] of levels) {
    const dot = el("span", { "data-tone": tone }, el("b", {}, name));
    dot.style.left = `${high > low ? ((Number(value) - low) / (high - low)) * 100 : 50}%`;
    line.append(dot);
  }
  return line;
}

const MET = { true: ["✓", "met", "good"], false: ["✕", "not met", "bad"], null: ["?", "unknown", "warn"] };

function factors(list) {
  if (!list.length) return none("It has none.");
  return el("ul", { class: "checks" }, list.map((one) => {
    const [mark, said, tone] = MET[String(one.met)];
    const values = one.op ? `${short(one.left)} ${one.op} ${short(one.right)}` : "";
    const bar = el("i", { class: "margin", "data-tone": tone, "aria-hidden": true });
    bar.style.setProperty("--share", String(Math.min(1, Math.abs(one.margin ?? 0))));
    return el("li", { "data-tone": tone }, el("span", { class: "mark", role: "img", "aria-label": said }, mark),
      el("span", { class: "what" }, el("b", {}, one.name), el("code", {}, one.text), values && el("span", { class: "values" }, values)),
      el("span", { class: "amount", title: "margin" }, one.margin === null || one.margin === undefined ? "" : signed(one.margin, 3), bar));
  }));
}

function verdicts(list) {
  if (!list.length) return none("The gate was not asked.");
  return el("ul", { class: "checks" }, list.map((one) => {
    const passed = one.pass ?? one.passed;
    return el("li", { "data-tone": passed ? "good" : "bad" }, el("span", { class: "mark", role: "img", "aria-label": passed ? "passed" : "blocked" }, passed ? "✓" : "✕"),
      el("span", { class: "what" }, el("b", {}, one.check), one.reason && el("span", { class: "values" }, one.reason)));
  }));
}

function messages(list) {
  if (!list.length) return none("Nothing was sent for it.");
  return el("ul", { class: "lines" }, list.map((one) => el("li", {}, delivery(one),
    el("span", { class: "faint" }, ` ${Array.isArray(one.attempts) ? one.attempts.length : one.attempts ?? 0} attempts${one.sent_ms ? `, sent ${moment(one.sent_ms)}` : ""}`),
    (one.error ?? one.last_error) && el("span", { class: "bad" }, ` ${one.error ?? one.last_error}`),
    Array.isArray(one.attempts) && one.attempts.length > 1 && el("ol", {}, one.attempts.map((try_) => el("li", {}, `${second(try_.ms ?? try_.started_ms)} ${try_.outcome ?? ""} ${try_.error ?? ""}`))))));
}

function outcome(one) {
  const kinds = one.outcomes ? Object.entries(one.outcomes).filter(([, value]) => value) : one.outcome ? [["", one.outcome]] : [];
  if (!kinds.length) return none("Not known yet: it is followed until stop, target or time.");
  return el("div", {}, kinds.map(([name, value]) => el("div", {}, name && kinds.length > 1 && el("h4", {}, name),
    facts([
      ["Result", outcomeTag(value)], ["After", value.bars === undefined ? null : `${value.bars} bars`],
      ["Gross", value.gross_r === null || value.gross_r === undefined ? null : `${signed(value.gross_r)} R`],
      ["Net", value.net_r === null || value.net_r === undefined ? null : `${signed(value.net_r)} R`],
      ["Best on the way", value.mfe_r === undefined ? null : `${signed(value.mfe_r)} R`], ["Worst on the way", value.mae_r === undefined ? null : `${signed(value.mae_r)} R`],
      ["Ambiguous", value.ambiguous ? "its last candle touched both" : null], ["Ended", value.ms ? moment(value.ms) : null],
    ]))));
}

/** Whatever it has, as names and values; times as times. */
export function plain(value, without = new Set()) {
  if (value === null || value === undefined) return none("–");
  const text = (name, one) => {
    if (one === null) return "–";
    if (name.endsWith("_ms") && typeof one === "number" && one > 1e12) return moment(one);
    if (typeof one === "number") return short(one);
    return typeof one === "object" ? plain(one) : String(one);
  };
  if (Array.isArray(value)) return el("ul", { class: "lines" }, value.slice(0, 50).map((one) => el("li", {}, text("", one))));
  if (typeof value !== "object") return String(value);
  return facts(Object.entries(value).filter(([name]) => !without.has(name)).map(([name, one]) => [name.replace(/_ms$/, "").replaceAll("_", " "), text(name, one)]));
}

function why(answer, symbol, interval, close_ms) {
  const found = answer.items[0];
  if (!found) return [el("p", { class: "empty" }, `Nothing is known of the bar that closed at ${moment(close_ms)}.`)];
  const { bar } = found;
  const change = bar.open ? ((bar.close - bar.open) / bar.open) * 100 : null;
  return [
    el("p", { class: "tags" }, tag(interval), tag(`closed ${moment(bar.close_ms ?? close_ms)}`)),
    facts([
      ["Open", price(bar.open)], ["High", price(bar.high)], ["Low", price(bar.low)],
      ["Close", el("span", { "data-way": direction(change) }, `${price(bar.close)}  ${signed(change)}%`)], ["Volume", short(bar.volume)],
    ]),
    ...(found.strategies ?? []).map((one) => section(el("span", {}, `${one.strategy} `, sideMark(one.side), " ", one.fired ? tag("fired", "good") : tag("did not fire")),
      factors(one.factors ?? []), one.verdicts?.length ? verdicts(one.verdicts) : null, one.delivery?.length ? messages(one.delivery) : null)),
  ];
}
