// Keys: `g` and a letter opens a section, `/` goes to the filter, `j` and `k` move through rows, `?` shows the sheet.
const AFTER_G_MS = 1500;
const sheet = document.getElementById("keys");
let wentAt = 0;

function typing(element) {
  return element.closest("input, textarea, select, [contenteditable]") !== null;
}

// A row is reached by its first link or button, so that Enter opens it.
function move(step) {
  const rows = [...document.querySelectorAll("#live :is(tbody tr, .row)")].filter((row) => row.querySelector("a, button"));
  if (!rows.length) return;
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.max(0, Math.min(at + step, rows.length - 1));
  rows[next].querySelector("a, button").focus();
  rows[next].scrollIntoView({ block: "nearest" });
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  const key = event.key;
  if (Date.now() - wentAt < AFTER_G_MS) {
    wentAt = 0;
    const section = document.querySelector(`#sections a[data-key="${CSS.escape(key)}"]`);
    if (section) { event.preventDefault(); location.assign(section.href); }
    return;
  }
  if (key === "g") wentAt = Date.now();
  else if (key === "?") sheet.showModal();
  else if (key === "j") move(1);
  else if (key === "k") move(-1);
  else if (key === "/") {
    const filter = document.querySelector("main :is(input[type=search], .filters input:not([type=hidden]))");
    if (!filter) return;
    event.preventDefault();
    filter.focus();
  }
}

export function startKeys() {
  document.addEventListener("keydown", pressed);
  document.getElementById("open-keys").addEventListener("click", () => {
    document.getElementById("account").open = false;
    sheet.showModal();
  });
}
