// Draws the charts of a page: `<figure class="chart" data-chart="JSON">`, all over one range of time.
//
// The JSON: {queries: [{expr, legend}], unit, thresholds: [{value, label}], max}. `legend` names labels, separated by
// spaces; `$window` in an expression is the window of rates. A section `data-versions="v1 v2"` gives each version one
// colour on the whole page. Missing samples are gaps, and a chart without data shows a sentence.
import { markers, drawMarkers } from "./markers.js";
import { onRange, range, startRange, zoom } from "./range.js";
import { text } from "./texts.js";
import { shown } from "./units.js";

const REFRESH_MS = 10000, HEIGHT = 190, COLOURS = 8, MOST_SERIES = 24;
const plots = new Map(); // figure -> {plot, key}

function colour(index) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--v${(index % COLOURS) + 1}`).trim();
}

function themed(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

async function matrix({ expr, legend }, time) {
  const query = expr.replaceAll("$window", `${time.window}s`);
  const body = new URLSearchParams({ query, start: time.start, end: time.end, step: time.step });
  const answer = await fetch("/api/v1/query_range?" + body);
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? text("answered", { status: answer.status }));
  const labels = (legend ?? "").split(" ").filter(Boolean);
  return (await answer.json()).data.result.map((series) => ({
    labels: series.metric,
    name: labels.map((l) => series.metric[l]).filter(Boolean).join(" ") || legend || "all",
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

function colourOf(series, index, versions) {
  const at = versions.indexOf(series.labels.version);
  return colour(at >= 0 ? at : versions.length + index);
}

function say(figure, words) {
  plots.get(figure)?.plot.destroy();
  plots.delete(figure);
  const body = figure.querySelector(".plot");
  body.textContent = words;
  body.classList.add("empty");
}

// A threshold far above the data would flatten the line: then the scale is the data's, and the line is off it.
function top(max, thresholds, most) {
  if (most) return most;
  const near = thresholds.map((t) => t.value).filter((v) => v <= max * 2.5);
  return Math.max(max, ...near, 0) * 1.1 || 1;
}

function lines(u, spec) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = themed("--bad");
  ctx.setLineDash([6, 4]);
  ctx.font = `${11 * devicePixelRatio}px system-ui`;
  for (const { value, label } of spec.thresholds ?? []) {
    const y = u.valToPos(value, "y", true);
    if (y < bbox.top || y > bbox.top + bbox.height) continue;
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.fillText(label ?? shown(value, spec.unit), bbox.left + 4, y - 4);
  }
  ctx.restore();
}

function optionsOf(figure, spec, named, time) {
  const versions = (figure.closest("[data-versions]")?.dataset.versions ?? "").split(" ").filter(Boolean);
  const axis = { stroke: themed("--dim"), grid: { stroke: themed("--line"), width: 1 }, ticks: { stroke: themed("--line") }, font: "11px system-ui" };
  const clock = (t) => new Date(t * 1000).toISOString().slice(...(time.length > 172800 ? [5, 16] : time.length > 7200 ? [11, 16] : [11, 19]));
  const last = (data, i) => data[i]?.findLast((v) => v !== null);
  return {
    width: Math.max(240, figure.querySelector(".plot").clientWidth), height: HEIGHT,
    cursor: { drag: { x: true, y: false, setScale: false }, sync: { key: "page" } },
    legend: { live: true },
    axes: [{ ...axis, values: (_, splits) => splits.map((t) => clock(t).replace("T", " ")) }, { ...axis, size: 62, values: (_, splits) => splits.map((v) => shown(v, spec.unit)) }],
    scales: { x: { time: true, range: [time.start, time.end] }, y: { range: (_, min, max) => [Math.min(0, min ?? 0), top(max ?? 0, spec.thresholds ?? [], spec.max)] } },
    series: [
      { label: "UTC", value: (_, t) => (t == null ? "" : clock(t).replace("T", " ")) },
      ...named.map((series, i) => ({
        label: series.name, stroke: colourOf(series, i, versions), width: 1.6, spanGaps: false, points: { show: false },
        fill: named.length === 1 ? colourOf(series, i, versions) + "22" : undefined,
        value: (u, v, at) => shown(v ?? last(u.data, at), spec.unit),
      })),
    ],
    hooks: {
      draw: [(u) => { lines(u, spec); drawMarkers(u); }],
      setSelect: [(u) => {
        if (u.select.width < 8) return;
        const [from, to] = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        zoom(from, to);
      }],
    },
  };
}

function draw(figure, spec, found, time) {
  const times = Array.from({ length: Math.round((time.end - time.start) / time.step) + 1 }, (_, i) => time.start + i * time.step);
  const named = found
    .map((series) => ({ ...series, row: rowOf(series, times, time) }))
    .filter((series) => series.row.some((v) => v !== null))
    .sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }))
    .slice(0, MOST_SERIES);
  if (!named.length) return say(figure, text("no_data"));
  const data = [times, ...named.map((s) => s.row)];
  const key = [time.zoomed, time.length, ...named.map((s) => s.name)].join("|");
  const known = plots.get(figure);
  if (known?.key === key) {
    known.plot.setScale("x", { min: time.start, max: time.end });
    return known.plot.setData(data);
  }
  say(figure, "");
  figure.querySelector(".plot").classList.remove("empty");
  plots.set(figure, { key, plot: new uPlot(optionsOf(figure, spec, named, time), data, figure.querySelector(".plot")) });
}

async function drawOne(figure, time) {
  const spec = JSON.parse(figure.dataset.chart);
  try {
    draw(figure, spec, (await Promise.all(spec.queries.map((q) => matrix(q, time)))).flat(), time);
  } catch (error) {
    if (!plots.has(figure)) say(figure, text("no_chart", { why: error.message }));
  }
}

// Draws every chart of the page once more.
export async function refreshCharts() {
  if (document.hidden) return;
  const time = range();
  await markers(time);
  await Promise.all([...document.querySelectorAll("figure[data-chart]")].map((figure) => drawOne(figure, time)));
}

function resize() {
  for (const [figure, { plot }] of plots) plot.setSize({ width: Math.max(240, figure.querySelector(".plot").clientWidth), height: HEIGHT });
}

startRange();
onRange(refreshCharts);
addEventListener("resize", resize);
document.addEventListener("visibilitychange", refreshCharts);
refreshCharts();
setInterval(() => { if (!range().zoomed) refreshCharts(); }, REFRESH_MS);
