// Completion in the field of a PromQL expression: metrics and labels from the query API, functions from the page.
import { contextOf } from "./promql_context.js";

const MOST = 40, DURATIONS = ["1m", "5m", "15m", "1h", "6h", "1d"];
const answers = new Map(); // path -> promise of data

// Asks the API once for each path. A part that cannot be read offers nothing.
function ask(path) {
  if (!answers.has(path)) {
    answers.set(path, fetch(path).then(async (a) => { if (!a.ok) throw new Error(); return (await a.json()).data; }).catch(() => { answers.delete(path); return []; }));
  }
  return answers.get(path);
}

async function candidates(context, words) {
  const match = context.metric ? "?" + new URLSearchParams({ "match[]": context.metric }) : "";
  const labels = (names) => names.filter((name) => name !== "__name__").map((name) => ({ name, kind: "label" }));
  switch (context.kind) {
    case "label": case "grouping": return labels(await ask(`/api/v1/labels${match}`));
    case "value": return (await ask(`/api/v1/label/${encodeURIComponent(context.label)}/values${match}`)).map((name) => ({ name, kind: "value" }));
    case "duration": return DURATIONS.map((name) => ({ name, kind: "duration" }));
    case "name": {
      const [names, told] = await Promise.all([ask("/api/v1/label/__name__/values"), ask("/api/v1/metadata")]);
      const metrics = names.map((name) => {
        const [about] = told[name] ?? told[name.replace(/_(bucket|sum|count)$/, "")] ?? [];
        return { name, kind: about?.type || "metric", help: about?.help ?? "" };
      });
      return [...metrics, ...Object.entries(words).flatMap(([kind, some]) => some.map((name) => ({ name, kind })))];
    }
    default: return [];
  }
}

function ranked(every, word) {
  const wanted = word.toLowerCase();
  const rank = ({ name }) => { const at = name.toLowerCase().indexOf(wanted); return at < 0 ? -1 : at === 0 ? 0 : 1; };
  return every.filter((one) => rank(one) >= 0).sort((a, b) => rank(a) - rank(b)).slice(0, MOST);
}

// Adds completion to a textarea. `list` is the listbox beneath it; `words` has names by kind.
export function startCompletion(field, list, words) {
  let offered = [], chosen = -1, context = null, turn = 0;

  function close() {
    turn++;
    list.hidden = true;
    field.removeAttribute("aria-activedescendant");
  }

  function choose(index) {
    chosen = (index + offered.length) % offered.length;
    [...list.children].forEach((item, i) => item.setAttribute("aria-selected", i === chosen));
    field.setAttribute("aria-activedescendant", list.children[chosen].id);
    list.children[chosen].scrollIntoView({ block: "nearest" });
  }

  function write() {
    list.replaceChildren(...offered.map(({ name, kind, help }, i) => {
      const item = document.createElement("li"), kindOf = document.createElement("small");
      item.id = `offer-${i}`;
      item.setAttribute("role", "option");
      item.append(name);
      kindOf.textContent = help ? `${kind} · ${help}` : kind;
      item.append(kindOf);
      item.addEventListener("pointerdown", (event) => { event.preventDefault(); accept(i); });
      return item;
    }));
  }

  async function offer(asked) {
    const mine = ++turn, now = contextOf(field.value.slice(0, field.selectionStart));
    if (now.kind === "none" || (now.kind === "name" && !now.word && !asked)) return close();
    const found = ranked(await candidates(now, words), now.word);
    if (mine !== turn) return;
    if (!found.length || (found.length === 1 && found[0].name === now.word)) return close();
    [offered, context] = [found, now];
    write();
    list.hidden = false;
    choose(0);
  }

  function accept(index) {
    const { name, kind } = offered[index], at = field.selectionStart, after = field.value.slice(field.selectionEnd);
    const escaped = kind === "value" ? name.replace(/[\\"]/g, "\\$&") : name;
    const more = kind === "value" && !after.startsWith('"') ? '"'
      : (kind === "function" || kind === "aggregation") && !after.startsWith("(") ? "("
        : context.kind === "label" && !/^\s*[=!]/.test(after) ? '="' : "";
    field.setRangeText(escaped + more, at - context.word.length, field.selectionEnd, "end");
    close();
    field.dispatchEvent(new Event("input", { bubbles: true }));
    if (context.kind !== "label") close();
  }

  field.addEventListener("input", () => offer(false));
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if (event.key === " " && event.ctrlKey) { event.preventDefault(); return offer(true); }
    if (list.hidden || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowDown") choose(chosen + 1);
    else if (event.key === "ArrowUp") choose(chosen - 1);
    else if (event.key === "Enter" || event.key === "Tab") accept(chosen);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
}
