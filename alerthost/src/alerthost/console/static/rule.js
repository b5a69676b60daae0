// Renews the preview of a rule while it is edited: the form is sent as by its Preview button, and
// the preview of the answer replaces the one on the page. Nothing is stored.
const form = document.getElementById("rule");
const PAUSE = 300; // milliseconds without a change before the form is sent

const touched = new Set(); // ids of the explanations of edited fields
let timer = 0;
let running = null;

async function renew() {
  running?.abort();
  running = new AbortController();
  const body = new URLSearchParams(new FormData(form));
  body.set("do", "preview");
  const response = await fetch(form.action, { method: "POST", body, signal: running.signal, redirect: "error" });
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const id of touched) renewFaults(id, page);
  const fresh = page.getElementById("preview");
  const shown = document.getElementById("preview");
  if (!fresh || fresh.innerHTML === shown.innerHTML) return;
  const focused = shown.contains(document.activeElement) ? document.activeElement.id : "";
  const place = shown.querySelector(".compared").scrollTop;
  shown.replaceChildren(...fresh.childNodes);
  shown.querySelector(".compared").scrollTop = place;
  if (focused) document.getElementById(focused)?.focus();
}

function renewFaults(id, page) {
  const [old, help] = [document.getElementById(id), page.getElementById(id)];
  if (!old || !help || old.innerHTML === help.innerHTML) return;
  old.replaceChildren(...help.childNodes);
  const field = document.getElementById(id.replace(/-help$/, ""));
  if (old.querySelector(".fault")) field?.setAttribute("aria-invalid", "true");
  else field?.removeAttribute("aria-invalid");
}

function changed(event) {
  if (event.target.form !== form) return;
  if (event.type === "change" && event.target.name.endsWith(".installation")) {
    form.requestSubmit(form.querySelector("[value=preview]")); // another account, other services
    return;
  }
  if (event.target.type === "search") return; // Enter and its button filter the choices
  const help = event.target.closest(".field")?.querySelector("[id$='-help']");
  if (help) touched.add(help.id);
  clearTimeout(timer);
  timer = setTimeout(() => renew().catch(() => {}), PAUSE);
}

if (form.querySelector("[value=save]")) {
  document.addEventListener("input", changed);
  document.addEventListener("change", changed);
}
