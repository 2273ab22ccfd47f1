// The command palette: sections, models, active alerts, newest rollouts and runbooks by a part of their name.
import { text } from "./texts.js";

const MOST = 50;
const dialog = document.getElementById("palette");
const input = dialog.querySelector("input");
const list = dialog.querySelector("ul");
let entries = [];
let chosen = 0;

function sections() {
  return [...document.querySelectorAll("#sections a")].map((a) => ({ name: a.textContent.trim(), href: a.getAttribute("href"), kind: "page" }));
}

async function from(path, entryOf) {
  try {
    const answer = await fetch(path);
    return answer.ok ? (await answer.json()).items.map(entryOf) : [];
  } catch {
    return []; // the other entries are useful without these
  }
}

async function collect() {
  entries = sections();
  show();
  const found = await Promise.all([
    from("/cp/v1/models", (m) => ({ name: m.name, href: `/models/${encodeURIComponent(m.name)}`, kind: "model" })),
    from("/cp/v1/alerts?state=active", (a) => ({ name: a.name, more: a.annotations.summary, href: `/alerts/${a.fingerprint}`, kind: "alert" })),
    from("/cp/v1/rollouts?limit=50", (r) => ({ name: `${r.model} ${r.from ?? ""} → ${r.to}`, more: r.phase, href: `/rollouts/${r.id}`, kind: "rollout" })),
    from("/cp/v1/runbooks", (r) => ({ name: r.name, more: r.title, href: `/runbooks/${r.name}`, kind: "runbook" })),
  ]);
  entries = [...sections(), ...found.flat()];
  show();
}

function matching() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const has = (e) => words.every((w) => `${e.name} ${e.more ?? ""} ${text(e.kind)} ${e.kind}`.toLowerCase().includes(w));
  return entries.filter(has).slice(0, MOST);
}

function show() {
  const found = matching();
  chosen = Math.max(0, Math.min(chosen, found.length - 1));
  list.replaceChildren(...found.map((e, i) => {
    const item = document.createElement("li");
    item.id = `palette-${i}`;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", String(i === chosen));
    item.dataset.href = e.href;
    const name = document.createElement("span"), kind = document.createElement("small");
    name.textContent = e.more ? `${e.name} · ${e.more}` : e.name;
    kind.textContent = text(e.kind);
    item.append(name, kind);
    return item;
  }));
  if (!found.length) {
    const none = document.createElement("li");
    none.setAttribute("role", "option");
    none.setAttribute("aria-disabled", "true");
    none.textContent = text("nothing");
    list.append(none);
  }
  input.setAttribute("aria-activedescendant", found.length ? `palette-${chosen}` : "");
  list.children[chosen]?.scrollIntoView({ block: "nearest" });
}

function open() {
  if (document.querySelector("dialog[open]")) return;
  [input.value, chosen] = ["", 0];
  dialog.showModal();
  input.focus();
  collect();
}

function pressed(event) {
  const last = list.children.length - 1;
  if (event.key === "ArrowDown") chosen = Math.min(chosen + 1, last);
  else if (event.key === "ArrowUp") chosen = Math.max(chosen - 1, 0);
  else if (event.key === "Enter") {
    const href = list.children[chosen]?.dataset.href;
    if (href) location.assign(href);
  } else return;
  event.preventDefault();
  show();
}

export function startPalette() {
  document.getElementById("open-palette").addEventListener("click", open);
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); open(); }
  });
  input.addEventListener("keydown", pressed);
  input.addEventListener("input", () => { chosen = 0; show(); });
  list.addEventListener("click", (event) => {
    const href = event.target.closest("li")?.dataset.href;
    if (href) location.assign(href);
  });
}
