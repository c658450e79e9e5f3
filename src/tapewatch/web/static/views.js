// Where one is and how one gets about: tabs, the bar of a phone, the switches at the top, the keys.

import * as detail from "./detail.js";
import { $, el, icon, mark, roving, write } from "./dom.js";
import { zoneName } from "./format.js";
import { onChoice, settings, turn } from "./settings.js";

const TABS = [["signals", "Signals"], ["account", "Account"], ["health", "Health"]];
const VIEWS = [["watch", "Watch"], ["chart", "Chart"], ["signals", "Signals"], ["alerts", "Alerts"], ["account", "Account"], ["health", "Health"]];
const KEYS = [
  ["/", "filter the watch list"], ["↑ ↓", "move in a list"], ["Enter", "open what is chosen"], ["← →", "in the chart: bar by bar; Enter says why"],
  ["Esc", "close, or clear the filter"], ["1 … 6", "watch list, chart, signals, alerts, account, health"],
  ["T", "light, dark or as the system"], ["Z", "UTC or local time"], ["D", "density"], ["?", "this help"],
];
let opened = {};

/** Build it; `into` has for each tab what is to be done when it comes into view. */
export function setUp(into) {
  opened = into;
  $("tabs").append(...TABS.map(([name, title]) => el("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": name, class: "tab", onclick: () => go(name) }, title)));
  $("views").append(...VIEWS.map(([name, title]) => el("button", { type: "button", "data-go": name, onclick: () => go(name) }, icon(name), el("span", {}, title))));
  roving($("tabs"), "button", "ArrowLeft", "ArrowRight");
  $("tabs").addEventListener("focusin", (event) => event.target.getAttribute("aria-selected") === "false" && go(event.target.getAttribute("aria-controls")));
  $("keys").append(...KEYS.flatMap(([key, what]) => [el("dt", {}, key.split(" ").map((one) => (one === "…" ? " … " : el("kbd", {}, one)))), el("dd", {}, what)]));
  for (const name of ["zone", "density", "theme"]) $(name).addEventListener("click", () => turn(name));
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("help-close").addEventListener("click", () => $("help").close());
  $("link").addEventListener("click", () => go("health"));
  document.addEventListener("keydown", keys);
  onChoice(labels);
  labels();
  tab("signals");
  view("watch");
}

/** Go to a view: on a phone it fills the page, elsewhere its tab is opened. */
export function go(name) {
  view(name);
  if (TABS.some(([tab_]) => tab_ === name)) tab(name);
}

function view(name) {
  document.body.dataset.view = name;
  for (const button of $("views").children) mark(button, "aria-current", button.dataset.go === name ? "page" : null);
}

function tab(name) {
  for (const [each] of TABS) {
    mark($(`tab-${each}`), "aria-selected", String(each === name));
    mark($(`tab-${each}`), "tabindex", each === name ? "0" : "-1");
    $(each).hidden = each !== name;
  }
  opened[name]?.();
}

function labels() {
  const say = (name, text, what) => {
    write($(name).querySelector("span"), text);
    mark($(name), "aria-label", `${what}: ${text}`);
    mark($(name), "title", `${what}: ${text}`);
  };
  say("zone", zoneName(), "Time zone");
  say("density", settings.density, "Density");
  say("theme", settings.theme, "Theme");
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.key === "Escape" && detail.isOpen()) {
    detail.close();
    return;
  }
  if (event.target.closest("input, select, textarea")) return;
  const act = {
    "/": () => (go("watch"), $("filter").focus(), $("filter").select()), "?": () => $("help").showModal(),
    t: () => turn("theme"), z: () => turn("zone"), d: () => turn("density"),
    Escape: () => $("grid").focus(),
  }[event.key];
  const place = VIEWS[Number(event.key) - 1]?.[0];
  if (act) {
    event.preventDefault();
    act();
  } else if (place) {
    go(place);
    ({ watch: $("grid"), chart: $("canvas"), alerts: $("alerts") })[place]?.focus();
    if (TABS.some(([name]) => name === place)) $(`tab-${place}`).focus();
  }
}
