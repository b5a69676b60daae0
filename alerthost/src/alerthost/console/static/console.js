// Keeps the page up to date: after an event of the server the same page is read again, and its
// content replaced if it differs. Nothing is replaced while a form is being filled in.
"use strict";

const main = document.querySelector("main[data-live]");
const TICK = 1000; // milliseconds
const AGES = 20; // ticks after which the times on the page are renewed
const WITHOUT_EVENTS = 5; // ticks between two readings where there is no stream of events

let changed = false;
let every = AGES;
let ticks = 0;

const isBusy = () =>
  document.hidden ||
  (main.contains(document.activeElement) &&
    document.activeElement.matches("input, select, textarea, button")) ||
  !document.getSelection().isCollapsed;

const openDetails = () => new Set([...main.querySelectorAll("details[open]")].map((each) => each.id));

// Finds the focused element again in the new content.
function selectorOf(element) {
  if (element.id) return `#${CSS.escape(element.id)}`;
  if (element.matches("summary")) return `#${CSS.escape(element.parentElement.id)} > summary`;
  return element.matches("a[href]") ? `a[href="${CSS.escape(element.getAttribute("href"))}"]` : "";
}

async function update() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
  if (!response.ok) return;
  const text = await response.text();
  const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main[data-live]");
  if (!fresh) return;
  if (isBusy()) {
    changed = true;
    return;
  }
  const open = openDetails();
  for (const each of fresh.querySelectorAll("details")) each.open = open.has(each.id);
  if (fresh.innerHTML === main.innerHTML) return;
  const focused = document.activeElement;
  const selector = focused && main.contains(focused) ? selectorOf(focused) : "";
  main.replaceChildren(...fresh.childNodes);
  if (selector) main.querySelector(selector)?.focus();
}

function tick() {
  ticks += 1;
  if (ticks % every === 0) changed = true;
  if (!changed || isBusy()) return;
  changed = false;
  update().catch(() => {});
}

if (main) {
  const source = new EventSource("/console/events");
  source.addEventListener("message", () => {
    changed = true;
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) every = WITHOUT_EVENTS;
  });
  setInterval(tick, TICK);
}
