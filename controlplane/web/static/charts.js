// Draws charts of PromQL queries. Missing samples are gaps, and a chart without data shows a sentence.
"use strict";

const RANGE_S = 900, STEP_S = 10, REFRESH_MS = 10000, HEIGHT = 190;
const COLORS = ["#2f81f7", "#e5534b", "#57ab5a", "#c69026", "#986ee2", "#39c5cf", "#e275ad", "#768390"];
const UTC = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19);

async function matrix(query) {
  const end = Math.floor(Date.now() / 1000 / STEP_S) * STEP_S;
  const body = new URLSearchParams({ query, start: end - RANGE_S, end, step: STEP_S });
  const answer = await fetch("/api/v1/query_range?" + body);
  if (!answer.ok) throw new Error("the server answered " + answer.status);
  const times = Array.from({ length: RANGE_S / STEP_S + 1 }, (_, i) => end - RANGE_S + i * STEP_S);
  return { times, result: (await answer.json()).data.result };
}

function rowOf(series, times) {
  const at = new Map(times.map((t, i) => [t, i]));
  const row = new Array(times.length).fill(null);
  for (const [t, v] of series.values) if (at.has(t) && Number.isFinite(+v)) row[at.get(t)] = +v;
  return row;
}

function say(element, words) {
  if (element.plot) element.plot.destroy();
  element.plot = null;
  element.textContent = words;
}

function draw(element, { times, result }) {
  const labels = element.dataset.legend.split(" ");
  const named = result
    .map((s) => ({ name: labels.map((l) => s.metric[l]).filter(Boolean).join(" ") || "all", row: rowOf(s, times) }))
    .filter((s) => s.row.some((v) => v !== null))
    .sort((a, b) => a.name.localeCompare(b.name));
  if (!named.length) return say(element, "No data in this time.");
  const data = [times, ...named.map((s) => s.row)];
  const key = named.map((s) => s.name).join("|");
  if (element.plot && element.key === key) return element.plot.setData(data);
  say(element, "");
  element.key = key;
  const axis = { stroke: getComputedStyle(element).color, grid: { stroke: "#8884", width: 1 } };
  const hours = (_, splits) => splits.map((t) => UTC(t).slice(0, 5));
  element.plot = new uPlot({
    width: Math.max(280, element.clientWidth), height: HEIGHT,
    axes: [{ ...axis, values: hours }, { ...axis, size: 56 }],
    scales: { y: { range: (_, min, max) => [0, max > 0 ? max * 1.1 : 1] } },
    series: [
      { label: "UTC", value: (_, t) => (t == null ? "–" : UTC(t)) },
      ...named.map(({ name }, i) => ({
        label: name, stroke: COLORS[i % COLORS.length], width: 1.5, spanGaps: false,
        value: (_, v) => (v == null ? "–" : String(Number(v.toPrecision(3)))),
      })),
    ],
  }, data, element);
}

async function refresh() {
  if (document.hidden) return;
  for (const element of document.querySelectorAll(".chart")) {
    try { draw(element, await matrix(element.dataset.query)); }
    catch (error) { if (!element.plot) say(element, "No chart: " + error.message); }
  }
}

addEventListener("resize", () => {
  for (const element of document.querySelectorAll(".chart")) {
    if (element.plot) element.plot.setSize({ width: Math.max(280, element.clientWidth), height: HEIGHT });
  }
});
refresh();
setInterval(refresh, REFRESH_MS);
