// The list of alerts: its filters change the address and what is live; a selection outlives refreshes.
import { movedTo, refresh } from "./live.js";

const TYPED_MS = 300;
const picked = new Map(); // fingerprint -> name
const bar = document.getElementById("picked");
let typing = null;

function boxes() {
  return [...document.querySelectorAll("#live input[data-pick]")];
}

// A refresh brings every box unchecked. This runs before the browser draws the page.
function show() {
  for (const box of boxes()) box.checked = picked.has(box.dataset.pick);
  for (const all of document.querySelectorAll("#live input[data-pick-all]")) {
    const mine = boxes().filter((box) => all.closest("table").contains(box));
    all.checked = mine.length > 0 && mine.every((box) => box.checked);
    all.indeterminate = !all.checked && mine.some((box) => box.checked);
    all.disabled = mine.length === 0;
  }
  if (!bar) return;
  bar.hidden = picked.size === 0;
  bar.querySelector("[data-picked-count]").textContent = String(picked.size);
  const names = [...new Set(picked.values())];
  bar.querySelector("[data-picked-names]").textContent = names.slice(0, 4).join(", ") + (names.length > 4 ? ", …" : "");
}

function pick(box, on) {
  if (on) picked.set(box.dataset.pick, box.dataset.name);
  else picked.delete(box.dataset.pick);
}

function changed(event) {
  const { target } = event;
  if (target.matches("#live input[data-pick]")) pick(target, target.checked);
  else if (target.matches("#live input[data-pick-all]")) {
    for (const box of boxes()) if (target.closest("table").contains(box)) pick(box, target.checked);
  } else return;
  show();
}

function ask(act) {
  const fingerprints = [...picked.keys()].map((one) => ["fp", one]);
  htmx.ajax("GET", `/alerts/selected/${act}?${new URLSearchParams(fingerprints)}`, { target: "#dialog", swap: "innerHTML" });
}

function pressed(event) {
  if (event.key !== "x" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]") || event.target.closest("input:not([type=checkbox]), textarea, select")) return;
  const box = document.activeElement.closest("#live tr")?.querySelector("input[data-pick]");
  if (!box) return;
  event.preventDefault();
  pick(box, !box.checked);
  show();
}

function clicked(event) {
  const act = event.target.closest("[data-picked-act]");
  if (act) return ask(act.dataset.pickedAct);
  if (event.target.closest("[data-picked-clear]")) { picked.clear(); return show(); }
  const link = event.target.closest("#live a[data-stay]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
}

function go(address) {
  const form = document.querySelector("form[data-lives]");
  form.elements.state.value = new URL(address, location.href).searchParams.get("state") ?? "all";
  movedTo(address);
  refresh();
}

function filter(form) {
  clearTimeout(typing);
  const asked = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
  go(`${form.getAttribute("action")}?${asked}`);
}

// Whether a person changed the form before this script ran, or the browser restored it after a reload.
function differs(form) {
  const asked = new URL(location.href).searchParams;
  return [...new FormData(form)].some(([name, value]) => value !== (asked.get(name) ?? (name === "state" ? "all" : "")));
}

function done(event) {
  for (const one of event.detail.done) picked.delete(one);
  if (event.detail.all) document.getElementById("dialog").close();
  show();
  refresh();
}

document.addEventListener("change", changed);
document.addEventListener("click", clicked);
document.addEventListener("keydown", pressed);
document.body.addEventListener("alertsHeld", done);
document.body.addEventListener("htmx:afterSwap", show);
for (const form of document.querySelectorAll("form[data-lives]")) {
  form.addEventListener("submit", (event) => { event.preventDefault(); filter(form); });
  form.addEventListener("change", () => filter(form));
  form.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(() => filter(form), TYPED_MS); });
  if (differs(form)) filter(form);
}
show();
