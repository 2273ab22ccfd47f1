// The answer to a query: a table, its annotations, or the fault with its place. Every word of it is text, never HTML.
const MOST_ROWS = 500, MOST_VALUES = 60;

function element(name, words = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = words;
  if (kind) made.className = kind;
  return made;
}

export function labelled(metric) {
  const { __name__: name = "", ...labels } = metric;
  const pairs = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
  return pairs.length || !name ? `${name}{${pairs.join(", ")}}` : name;
}

function instant(t) {
  return new Date(t * 1000).toISOString().slice(0, 19).replace("T", " ");
}

function seriesCell(metric) {
  const cell = element("td", "", "wide"), { __name__: name, ...labels } = metric;
  if (name) cell.append(element("strong", name), " ");
  for (const [key, value] of Object.entries(labels)) cell.append(element("span", `${key}=${value}`, "label"), " ");
  if (!name && !Object.keys(labels).length) cell.append("{}");
  return cell;
}

function rowOf({ metric, value, values }) {
  const row = element("tr");
  const cell = element("td", value?.[1] ?? "", "n mono");
  for (const [t, v] of values?.slice(-MOST_VALUES) ?? []) cell.append(element("div", `${v} @ ${instant(t)}`));
  row.append(seriesCell(metric), cell);
  return row;
}

// Writes the table of an instant query's result. Null: nothing was answered.
export function writeResult(data, texts) {
  const place = document.getElementById("query-table");
  if (!data) return place.replaceChildren();
  const single = data.resultType === "scalar" || data.resultType === "string";
  const series = single ? [{ metric: {}, value: data.result }] : data.result;
  if (!series.length) return place.replaceChildren(element("p", texts.empty, "empty"));
  const box = element("div", "", "table"), table = element("table"), head = element("thead"), top = element("tr"), body = element("tbody");
  top.append(element("th", texts.series), element("th", texts.value, "n"));
  head.append(top);
  body.append(...series.slice(0, MOST_ROWS).map(rowOf));
  table.append(head, body);
  box.append(table);
  const more = series.length - MOST_ROWS;
  place.replaceChildren(box, ...(more > 0 ? [element("p", texts.more.replace("{n}", more), "empty")] : []));
}

export function writeNotes(notes) {
  document.getElementById("query-notes").replaceChildren(...notes.map(([kind, words]) => element("li", words, kind)));
}

// Shows an error; where it names its place as `LINE:COLUMN:`, also that line with the place marked.
export function writeFault(words, field, texts) {
  const place = document.getElementById("query-fault");
  place.hidden = !words;
  if (!words) return place.replaceChildren();
  const found = /(?:^|: )(\d+):(\d+): /.exec(words), children = [element("p", words)];
  const line = found && field.value.split("\n")[found[1] - 1];
  if (line !== undefined && line !== null) {
    const at = Math.max(0, found[2] - 1), shown = element("pre");
    shown.append(line.slice(0, at), element("mark", line.slice(at, at + 1) || " "), line.slice(at + 1));
    const button = element("button", texts.place, "plain");
    button.type = "button";
    const before = field.value.split("\n").slice(0, found[1] - 1).reduce((sum, l) => sum + l.length + 1, 0);
    button.addEventListener("click", () => { field.focus(); field.setSelectionRange(before + at, before + at + 1); });
    children.push(shown, button);
  }
  place.replaceChildren(...children);
}
