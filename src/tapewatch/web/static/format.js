// Numbers and times as text. What is unknown is a dash.

import { settings } from "./settings.js";

const NONE = "–";
const known = (value) => value !== null && value !== undefined && value !== "" && Number.isFinite(Number(value));

const prices = new Map();

/** How many decimals prices of this size have. */
export function decimals(value) {
  const size = Math.abs(Number(value));
  if (!size) return 2;
  return Math.min(10, Math.max(2, 5 - Math.ceil(Math.log10(size))));
}

/** A price with as many decimals as its size needs. */
export function price(value, digits = null) {
  if (!known(value)) return NONE;
  return fixed(value, digits ?? decimals(value));
}

/** A number with this many decimals, thousands apart; what rounds to zero has no sign. */
export function fixed(value, digits = 2) {
  if (!known(value)) return NONE;
  if (!prices.has(digits)) {
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "negative" };
    prices.set(digits, new Intl.NumberFormat("en", options));
  }
  return prices.get(digits).format(Number(value)).replace("-", "−");
}

/** A number as short as it can be with six digits. */
export function short(value) {
  if (!known(value)) return NONE;
  const number = Number(value);
  return Math.abs(number) >= 1e6 ? compact(number) : String(Number(number.toPrecision(6))).replace("-", "−");
}

const small = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });
/** 1.2M and the like. */
export const compact = (value) => (known(value) ? small.format(Number(value)) : NONE);

/** With its sign; what rounds to zero has none. */
export function signed(value, digits = 2, unit = "") {
  if (!known(value)) return NONE;
  const text = fixed(value, digits);
  return (Number(value) > 0 && /[1-9]/.test(text) ? `+${text}` : text) + unit;
}

/** "up", "down" or "flat". */
export const direction = (value) => (Number(value) > 0 ? "up" : Number(value) < 0 ? "down" : "flat");

/** How long: 8 s, 3 min, 2 h, 4 d. */
export function span(ms) {
  if (!known(ms)) return NONE;
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 100) return `${seconds} s`;
  if (seconds < 6000) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** The same where there is little room: 8s, 3m, 2h, 4d. */
export const brief = (ms) => span(ms).replace(" min", "m").replace(" ", "");

const formats = new Map();
function format(kind, options) {
  const key = kind + settings.zone;
  if (!formats.has(key)) {
    const timeZone = settings.zone === "utc" ? "UTC" : undefined;
    formats.set(key, new Intl.DateTimeFormat("sv-SE", { ...options, timeZone }));
  }
  return formats.get(key);
}
const CLOCK = { hour: "2-digit", minute: "2-digit" };
const DAY = { year: "numeric", month: "2-digit", day: "2-digit" };

/** 2025-03-01 14:07 in the chosen zone. */
export const moment = (ms) => (known(ms) ? format("moment", { ...DAY, ...CLOCK }).format(ms) : NONE);
/** 14:07:33 in the chosen zone. */
export const second = (ms) => (known(ms) ? format("second", { ...CLOCK, second: "2-digit" }).format(ms) : NONE);
/** 14:07 */
export const minute = (ms) => (known(ms) ? format("minute", CLOCK).format(ms) : NONE);
/** 2025-03-01 */
export const day = (ms) => (known(ms) ? format("day", DAY).format(ms) : NONE);
/** 03-01 14:07: what a table has room for. */
export const stamp = (ms) => (known(ms) ? moment(ms).slice(5) : NONE);
/** The zone's name as it is shown. */
export const zoneName = () => (settings.zone === "utc" ? "UTC" : "local");

/** What an axis of time says: the day where one begins, else the time. */
export function tick(ms) {
  const text = minute(ms);
  return text === "00:00" ? day(ms).slice(5) : text;
}

const MINUTE_MS = 60_000;
/** "5m", "4h", "1d" in milliseconds; 0 where it is none. */
export function intervalMs(name) {
  const found = /^(\d+)([smhdwM])$/.exec(name);
  const unit = { s: 1000, m: MINUTE_MS, h: 60 * MINUTE_MS, d: 1440 * MINUTE_MS, w: 10080 * MINUTE_MS, M: 43200 * MINUTE_MS };
  return found ? Number(found[1]) * unit[found[2]] : 0;
}
