// Elements with text put in as text: symbols and reasons are other people's words.

export const $ = (id) => document.getElementById(id);

/** A new element: attributes by name, `class` and `on…` handlers among them; children are elements or text. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? (name.startsWith("aria-") ? "true" : "") : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** One of the page's symbols, which says nothing to a screen reader. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** Write a text only where it differs: what stays is not laid out again. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set an attribute only where it differs; null takes it away. */
export function mark(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Do `work` in the next frame, however often it is asked for until then. */
export function framed(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}

/** Do `work` once `wait_ms` after the first of many calls. */
export function gathered(work, wait_ms) {
  let timer = 0;
  return () => {
    timer ||= setTimeout(() => {
      timer = 0;
      work();
    }, wait_ms);
  };
}

/** Say something to a screen reader: politely, or at once. */
export function say(text, urgent = false) {
  write($(urgent ? "shout" : "say"), text);
}

/** Arrow keys move the focus among the elements that match, in their order. */
export function roving(container, selector, back, forth) {
  container.addEventListener("keydown", (event) => {
    const step = event.key === forth ? 1 : event.key === back ? -1 : 0;
    if (!step || !(event.target instanceof Element) || !event.target.matches(selector)) return;
    const all = [...container.querySelectorAll(selector)];
    const next = all[all.indexOf(event.target) + step];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  });
}
