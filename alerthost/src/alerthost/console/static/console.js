// Keeps the page up to date: every few seconds while it is visible, the same page is read again,
// and its content replaced if it differs. Nothing is replaced while a form is being filled in.
"use strict";

const main = document.querySelector("main[data-live]");
const seconds = 3;

const isBusy = () =>
  document.hidden ||
  (main.contains(document.activeElement) &&
    document.activeElement.matches("input, select, textarea, button")) ||
  !document.getSelection().isCollapsed;

const openDetails = () => new Set([...main.querySelectorAll("details[open]")].map((each) => each.id));

async function update() {
  if (isBusy()) return;
  const response = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
  if (!response.ok) return;
  const text = await response.text();
  const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main[data-live]");
  if (!fresh || isBusy()) return;
  const open = openDetails();
  for (const each of fresh.querySelectorAll("details")) each.open = open.has(each.id);
  if (fresh.innerHTML === main.innerHTML) return;
  const focused = document.activeElement?.id;
  main.replaceChildren(...fresh.childNodes);
  if (focused) document.getElementById(focused)?.focus();
}

if (main) {
  setInterval(() => update().catch(() => {}), seconds * 1000);
}
