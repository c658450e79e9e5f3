// What the reader has chosen, kept in the browser.

const CHOICES = {
  theme: ["auto", "light", "dark"],
  zone: ["utc", "local"],
  density: ["comfortable", "compact"],
};
const FREE = { symbol: "", strategy: "", interval: "", sort: "symbol", order: "asc" };

const heard = [];

function stored(name, known) {
  const value = localStorage.getItem(`tapewatch.${name}`);
  return value !== null && (!known || known.includes(value)) ? value : known ? known[0] : FREE[name];
}

/** The choices by name; write them with `choose`. */
export const settings = {};
for (const name of Object.keys(CHOICES)) settings[name] = stored(name, CHOICES[name]);
for (const name of Object.keys(FREE)) settings[name] = stored(name, null);

/** Keep a choice, and tell those who listen. */
export function choose(name, value) {
  settings[name] = value;
  localStorage.setItem(`tapewatch.${name}`, value);
  if (name in CHOICES) document.documentElement.dataset[name] = value;
  for (const listener of heard) listener(name);
}

/** The next of a choice's values, round and round. */
export function turn(name) {
  const all = CHOICES[name];
  choose(name, all[(all.indexOf(settings[name]) + 1) % all.length]);
}

/** Be told the name of each choice that changes. */
export const onChoice = (listener) => heard.push(listener);
