// A chart as a table, for those who do not see it and those who want the numbers. A button in its caption shows it.
import { clock } from "./plot.js";
import { text } from "./texts.js";
import { shown } from "./units.js";

function cells(row, kind, words) {
  for (const word of words) {
    const cell = document.createElement(kind);
    cell.textContent = word;
    row.append(cell);
  }
  return row;
}

function write(body, { named, data, time, spec }, marks) {
  const table = document.createElement("table"), head = document.createElement("thead"), rows = document.createElement("tbody");
  head.append(cells(document.createElement("tr"), "th", [text("time"), ...named.map((s) => s.name)]));
  for (let i = data[0].length - 1; i >= 0; i--) {
    if (data.slice(1).every((row) => row[i] === null)) continue;
    rows.append(cells(document.createElement("tr"), "td", [clock(data[0][i], time.length), ...data.slice(1).map((row) => shown(row[i], spec.unit))]));
  }
  table.append(head, rows);
  const list = document.createElement("p");
  list.textContent = marks.map((mark) => `${clock(mark.from, time.length)} ${mark.name}`).join(" · ");
  body.replaceChildren(table, list);
}

const latest = new WeakMap();

// Keeps a chart's data for its table, and writes the table anew where it is shown.
export function tabled(figure, chart, marks) {
  latest.set(figure, [chart, marks]);
  const body = figure.querySelector(".values");
  if (!body.hidden) write(body, chart, marks);
}

document.body.addEventListener("click", (event) => {
  const button = event.target.closest("[data-as-table]");
  if (!button) return;
  const figure = button.closest("figure"), body = figure.querySelector(".values");
  body.hidden = !body.hidden;
  button.setAttribute("aria-expanded", !body.hidden);
  if (!body.hidden && latest.has(figure)) write(body, ...latest.get(figure));
});
