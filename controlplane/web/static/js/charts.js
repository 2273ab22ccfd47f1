// Draws the charts of a page: `<figure class="chart" data-chart="JSON">`, all over one range of time.
//
// The JSON: {queries: [{expr, legend}], unit, thresholds: [{value, label}], max}. `legend` names labels, separated by
// spaces; `$window` in an expression is the window of rates. A section `data-versions="v1 v2"` gives each version one
// colour on the whole page. Missing samples are gaps, and a chart without data shows a sentence.
import { tabled } from "./chart_table.js";
import { drawStrip, marksWithin, readMarks } from "./markers.js";
import { beneath, clock, dressed, optionsOf } from "./plot.js";
import { postQuery } from "./query_api.js";
import { labelled } from "./query_result.js";
import { onRange, range, startRange, whole, zoom } from "./range.js";
import { text } from "./texts.js";
import { shown } from "./units.js";

const REFRESH_MS = 10000, MOST_SERIES = 24, SVG = "http://www.w3.org/2000/svg";
const charts = new Map(); // figure -> {plot, key, named, data, time, spec, hidden}
let asked = 0;

async function matrix({ expr, legend }, time) {
  const query = expr.replaceAll("$window", `${time.window}s`);
  const answer = await postQuery("/api/v1/query_range", { query, start: time.start, end: time.end, step: time.step });
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? text("answered", { status: answer.status }));
  const labels = (legend ?? "").split(" ").filter(Boolean);
  const result = (await answer.json()).data.result;
  // What no version is chosen for, such as a refused request, is beside the versions; what knows none is of all of them.
  const unnamed = labels[0] === "version" ? text(result.length > 1 ? "no_version" : "all") : legend || text("all");
  return result.map((series) => ({
    labels: series.metric,
    name: legend === "*" ? labelled(series.metric) : labels.map((l) => series.metric[l]).filter(Boolean).join(" ") || unnamed,
    values: series.values,
  }));
}

function rowOf(series, times, time) {
  const row = new Array(times.length).fill(null);
  for (const [t, v] of series.values) {
    const i = Math.round((t - time.start) / time.step);
    if (i >= 0 && i < row.length && Number.isFinite(+v)) row[i] = +v;
  }
  return row;
}

function say(figure, words) {
  charts.get(figure)?.plot.destroy();
  charts.delete(figure);
  const body = figure.querySelector(".plot");
  body.textContent = words;
  body.classList.toggle("empty", words !== "");
  if (!words) return;
  figure.querySelector(".legend").replaceChildren();
  figure.querySelector(".marks").replaceChildren();
  figure.querySelector(".values").replaceChildren();
}

function sizeOf(figure) {
  const plot = figure.querySelector(".plot");
  return { width: Math.max(160, plot.clientWidth), height: plot.clientHeight };
}

// The time at the cursor, which is one for all charts; undefined without one.
function pointedAt() {
  for (const { plot, data } of charts.values()) if (plot && beneath(plot) !== null) return data[0][beneath(plot)];
}

// The values beneath the cursor, or the latest ones. Null: the cursor is off the plot.
function tell(figure, index) {
  const chart = charts.get(figure);
  if (!chart) return;
  const at = index === null ? "" : clock(chart.data[0][index], chart.time.length);
  const moment = figure.querySelector(".moment");
  if (moment.textContent !== at) moment.textContent = at;
  figure.querySelectorAll(".legend output").forEach((output, i) => {
    const row = chart.data[i + 1];
    output.textContent = shown(index === null ? row.findLast((v) => v !== null) : row[index], chart.spec.unit);
  });
}

function legendOf(figure, named) {
  figure.querySelector(".legend").replaceChildren(...named.map(({ name, tint, dash }, i) => {
    const item = document.createElement("li"), button = document.createElement("button");
    const swatch = document.createElementNS(SVG, "svg"), line = document.createElementNS(SVG, "line");
    for (const [key, value] of Object.entries({ x1: 0, x2: 18, y1: 4, y2: 4, "stroke-dasharray": dash.join(" ") })) line.setAttribute(key, value);
    swatch.setAttribute("class", `swatch tint-${tint}`);
    swatch.setAttribute("aria-hidden", "true");
    swatch.append(line);
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(swatch, name);
    button.addEventListener("click", () => show(figure, i, name, button));
    item.append(button, " ", document.createElement("output"));
    return item;
  }));
}

function show(figure, i, name, button) {
  const chart = charts.get(figure);
  const visible = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", visible);
  if (visible) chart.hidden.delete(name);
  else chart.hidden.add(name);
  chart.plot.setSeries(i + 1, { show: visible });
}

function make(figure, state) {
  const { spec, named, data, time } = state, at = pointedAt();
  charts.get(figure)?.plot.destroy();
  const body = figure.querySelector(".plot");
  body.textContent = "";
  body.classList.remove("empty");
  const name = figure.querySelector(".mark-name");
  const hovered = (mark) => { name.textContent = mark?.name ?? ""; name.className = `mark-name ${mark?.kind ?? ""}`; };
  const strip = figure.querySelector(".marks");
  const heard = { told: (index) => tell(figure, index), drawn: (u) => drawStrip(strip, u, hovered) };
  charts.set(figure, state);
  legendOf(figure, named);
  const ready = (u) => { if (at !== undefined) u.setCursor({ left: u.valToPos(at, "x"), top: u.over.clientHeight / 2 }); };
  state.plot = new uPlot(optionsOf(sizeOf(figure), spec, named, time, { ...heard, ready }), data, body);
  for (const [i, series] of named.entries()) {
    if (!state.hidden.has(series.name)) continue;
    state.plot.setSeries(i + 1, { show: false });
    figure.querySelectorAll(".legend button")[i].setAttribute("aria-pressed", "false");
  }
}

// A label with one value in all series, such as the source, is told once in the caption and not at each series.
function inCommon(figure, spec, series) {
  const labels = spec.queries.flatMap((q) => (q.legend ?? "").split(" ")).filter((l, i, all) => l && l !== "*" && all.indexOf(l) === i);
  const common = labels.slice(1).filter((l) => new Set(series.map((s) => s.labels[l] ?? "")).size === 1);
  figure.querySelector(".common").textContent = common.map((l) => series[0].labels[l] ?? "").filter(Boolean).join(" ");
  if (!common.length) return series;
  return series.map((s) => ({ ...s, name: labels.filter((l) => !common.includes(l)).map((l) => s.labels[l]).filter(Boolean).join(" ") || s.name }));
}

function draw(figure, spec, found, time) {
  const times = Array.from({ length: Math.round((time.end - time.start) / time.step) + 1 }, (_, i) => time.start + i * time.step);
  const versions = (figure.closest("[data-versions]")?.dataset.versions ?? "").split(" ").filter(Boolean);
  const sorted = found
    .map((series) => ({ ...series, row: rowOf(series, times, time) }))
    .filter((series) => series.row.some((v) => v !== null))
    .sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }))
    .slice(0, MOST_SERIES);
  if (!sorted.length) return say(figure, text("no_data"));
  const named = dressed(inCommon(figure, spec, sorted), versions);
  const data = [times, ...named.map((s) => s.row)];
  const key = named.map((s) => `${s.name}|${s.tint}`).join("\n");
  const known = charts.get(figure);
  if (known?.key === key) {
    Object.assign(known, { named, data });
    Object.assign(known.time, time);
    known.plot.setData(data);
  } else make(figure, { key, spec, named, data, time: { ...time }, hidden: known?.hidden ?? new Set() });
  tell(figure, beneath(charts.get(figure).plot));
  tabled(figure, charts.get(figure), marksWithin(time.start, time.end));
}

async function drawOne(figure, time, turn) {
  const spec = JSON.parse(figure.dataset.chart);
  try {
    const found = (await Promise.all(spec.queries.map((q) => matrix(q, time)))).flat();
    if (turn === asked) draw(figure, spec, found, time);
  } catch (error) {
    if (turn === asked && !charts.has(figure)) say(figure, text("no_chart", { why: error.message }));
  }
}

// Draws every chart of the page once more.
export async function refreshCharts() {
  const turn = ++asked, time = range();
  const figures = [...document.querySelectorAll("figure[data-chart]")].filter((figure) => figure.offsetParent);
  if (document.hidden || !figures.length) return;
  const marks = readMarks();
  await Promise.all(figures.map((figure) => drawOne(figure, time, turn)));
  await marks;
  for (const { plot } of charts.values()) plot.redraw(false);
}

// Keys on a plot: the arrows move the cursor, + and - zoom, Escape takes the cursor away, 0 is the whole range.
function pressed(event) {
  const figure = event.target.closest?.("figure[data-chart]");
  const chart = figure && event.target.matches(".plot") && charts.get(figure);
  if (!chart || event.ctrlKey || event.metaKey || event.altKey) return;
  const { plot, data, time } = chart, last = data[0].length - 1;
  const now = beneath(plot);
  const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -last, End: last };
  const middle = data[0][now ?? last] ?? time.end;
  if (event.key in moves) {
    const to = Math.max(0, Math.min(last, (now ?? last + (moves[event.key] < 0 ? 1 : -1)) + moves[event.key]));
    plot.setCursor({ left: plot.valToPos(data[0][to], "x"), top: plot.over.clientHeight / 2 }, true, true);
    figure.querySelector(".said").textContent = `${figure.querySelector(".moment").textContent} UTC: ${figure.querySelector(".legend").innerText.replaceAll("\n", ", ")}`;
  } else if (event.key === "+") zoom(middle - time.length / 4, middle + time.length / 4);
  else if (event.key === "-") zoom(time.start - time.length / 2, time.end + time.length / 2);
  else if (event.key === "0") whole();
  else if (event.key === "Escape") plot.setCursor({ left: -10, top: -10 }, true, true);
  else return;
  event.preventDefault();
}

function again() {
  for (const [figure, state] of [...charts]) make(figure, state), tell(figure, beneath(state.plot));
}

function start() {
  // Charts may be within the live part of the page: a refresh leaves such a section as it is.
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (old) => !(old instanceof Element && old.hasAttribute("data-still"));
  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const figure = target.closest("figure"), chart = charts.get(figure), size = sizeOf(figure);
      if (chart && (chart.plot.width !== size.width || chart.plot.height !== size.height)) chart.plot.setSize(size);
    }
  });
  for (const plot of document.querySelectorAll("figure[data-chart] .plot")) sizes.observe(plot);
  new MutationObserver(again).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  document.addEventListener("keydown", pressed);
  document.addEventListener("visibilitychange", refreshCharts);
  startRange();
  onRange(refreshCharts);
  refreshCharts();
  setInterval(() => { if (!range().zoomed) refreshCharts(); }, REFRESH_MS);
}

start();
