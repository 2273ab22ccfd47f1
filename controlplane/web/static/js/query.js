// The page of queries. The address holds the query, its time and the tab, so that a link shows the same.
import { refreshCharts } from "./charts.js";
import { startCompletion } from "./complete.js";
import { movedTo } from "./live.js";
import { postQuery } from "./query_api.js";
import { writeFault, writeNotes, writeResult } from "./query_result.js";
import { onRange, range } from "./range.js";

const KEPT = 20, HISTORY = "cp_queries";
const { words, texts } = JSON.parse(document.getElementById("query-words").textContent);
const field = document.getElementById("expr"), time = document.getElementById("query-time");
const figure = document.querySelector("#query-chart figure");
const answers = document.getElementById("query-answers");
let result = null; // of the latest query, for the CSV
let turn = 0;

function tab() {
  return new URL(location.href).searchParams.get("tab") === "chart" ? "chart" : "table";
}

function show() {
  for (const link of document.querySelectorAll("[data-tab]")) {
    link.toggleAttribute("aria-current", false);
    if (link.dataset.tab === tab()) link.setAttribute("aria-current", "true");
  }
  document.getElementById("query-table").hidden = tab() !== "table";
  document.getElementById("query-chart").hidden = tab() !== "chart";
}

function remembered() {
  try { return JSON.parse(localStorage.getItem(HISTORY) ?? "[]").filter((q) => typeof q === "string"); } catch { return []; }
}

function writeHistory() {
  const items = remembered();
  document.getElementById("recent").hidden = !items.length;
  document.getElementById("recent-list").replaceChildren(...items.map((expr) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.className = "plain mono";
    button.textContent = expr;
    button.addEventListener("click", () => { field.value = expr; fit(); run(); });
    item.append(button);
    return item;
  }));
}

function remember(expr) {
  localStorage.setItem(HISTORY, JSON.stringify([expr, ...remembered().filter((q) => q !== expr)].slice(0, KEPT)));
  writeHistory();
}

function moveTo(changes) {
  const search = new URL(location.href).searchParams;
  for (const [name, value] of Object.entries(changes)) {
    if (value) search.set(name, value);
    else search.delete(name);
  }
  movedTo(location.pathname + (search.size ? `?${search}` : ""));
}

function asked() {
  const body = new URLSearchParams({ query: field.value });
  if (tab() === "chart") {
    const { start, end, step } = range();
    for (const [name, value] of Object.entries({ start, end, step })) body.set(name, value);
    return ["/api/v1/query_range", body];
  }
  const at = time.value.trim();
  if (at) body.set("time", /^\d{4}-\d\d-\d\d[T ][\d:]+$/.test(at) ? at.replace(" ", "T") + (at.length === 16 ? ":00Z" : "Z") : at);
  return ["/api/v1/query", body];
}

// Asks the query. `kept`: whether it becomes the newest of the history.
async function run(kept = true) {
  const expr = field.value.trim(), mine = ++turn;
  moveTo({ expr, time: tab() === "table" ? time.value.trim() : "" });
  show();
  document.getElementById("query-csv").disabled = true;
  if (!expr) return;
  figure.dataset.chart = JSON.stringify({ queries: [{ expr, legend: "*" }], unit: "" });
  answers.setAttribute("aria-busy", "true");
  const began = performance.now(), [path, body] = asked();
  let answer;
  try {
    answer = await (await postQuery(path, body)).json();
  } catch {
    answer = { status: "error", error: texts.unreachable };
  }
  if (mine !== turn) return;
  answers.removeAttribute("aria-busy");
  writeNotes([...(answer.warnings ?? []).map((words) => ["warning", words]), ...(answer.infos ?? []).map((words) => ["info", words])]);
  writeFault(answer.status === "success" ? "" : answer.error ?? answer.detail ?? texts.unreachable, field, texts);
  result = answer.status === "success" ? answer.data : null;
  document.getElementById("query-csv").disabled = !result;
  const spent = Math.round(performance.now() - began);
  document.getElementById("query-count").textContent = result ? texts.counted.replace("{n}", result.resultType === "scalar" || result.resultType === "string" ? 1 : result.result.length).replace("{ms}", spent) : "";
  if (tab() === "table") writeResult(result, texts);
  else if (result) refreshCharts();
  if (result && kept) remember(expr);
}

// A cell that no spreadsheet takes for a formula, as csv_cell of plain_text.py makes it.
function cell(value) {
  const words = String(value), safe = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(words) && !Number.isFinite(+words) ? `'${words}` : words;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function saveCsv() {
  const series = Array.isArray(result.result[0]) || typeof result.result[0] !== "object" ? [{ metric: {}, value: result.result }] : result.result;
  const labels = [...new Set(series.flatMap((s) => Object.keys(s.metric)))].sort();
  const rows = series.flatMap((s) => (s.values ?? [s.value]).map(([t, v]) => [...labels.map((l) => s.metric[l] ?? ""), new Date(t * 1000).toISOString(), v]));
  const file = new Blob([[[...labels, "time", "value"], ...rows].map((row) => row.map(cell).join(",") + "\r\n").join("")], { type: "text/csv" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = "query.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function fit() {
  field.rows = Math.max(2, Math.min(14, field.value.split("\n").length));
}

function start() {
  const search = new URL(location.href).searchParams;
  field.value = search.get("expr") ?? "";
  time.value = search.get("time") ?? "";
  startCompletion(field, document.getElementById("offers"), words);
  field.addEventListener("input", fit);
  document.getElementById("query-form").addEventListener("submit", (event) => { event.preventDefault(); run(); });
  document.getElementById("query-form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); }
  });
  document.getElementById("query-csv").addEventListener("click", saveCsv);
  document.getElementById("forget").addEventListener("click", () => { localStorage.removeItem(HISTORY); writeHistory(); });
  for (const link of document.querySelectorAll("[data-tab]")) {
    link.addEventListener("click", (event) => { event.preventDefault(); moveTo({ tab: link.dataset.tab === "chart" ? "chart" : "" }); run(false); });
  }
  onRange(() => { if (tab() === "chart") run(false); });
  fit();
  show();
  writeHistory();
  if (field.value) run(false);
  else field.focus();
}

start();
