// Glue between htmx, the confirmation dialog and uPlot. Everything else is HTML from the server.
"use strict";

const dialog = document.getElementById("dialog");

document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target === dialog && !dialog.open) dialog.showModal();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
});

// A page that is not being kept up to date must say so.
const live = document.getElementById("live-state");
function say(state, text) { live.className = state; live.textContent = text; }
document.body.addEventListener("htmx:sseOpen", () => say("on", "live"));
document.body.addEventListener("htmx:sseError", () => say("off", "no events, reconnecting"));
document.body.addEventListener("htmx:sendError", () => say("off", "control plane not reached: this page is old"));
document.body.addEventListener("htmx:afterOnLoad", () => { if (live.className === "off") say("on", "live"); });
document.body.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status === 401) location.assign("/sign-in?next=" + encodeURIComponent(location.pathname));
  else say("off", "the server answered " + event.detail.xhr.status + ": this page is old");
});

const RANGE_S = 900, STEP_S = 10, REFRESH_MS = 10000;
const COLORS = ["#2f81f7", "#e5534b", "#57ab5a", "#c69026", "#986ee2", "#39c5cf", "#e275ad", "#768390"];

async function matrix(query) {
  const end = Math.floor(Date.now() / 1000 / STEP_S) * STEP_S;
  const body = new URLSearchParams({ query, start: end - RANGE_S, end, step: STEP_S });
  const answer = await fetch("/api/v1/query_range?" + body);
  if (!answer.ok) throw new Error("the server answered " + answer.status);
  const times = Array.from({ length: RANGE_S / STEP_S + 1 }, (_, i) => end - RANGE_S + i * STEP_S);
  return { times, result: (await answer.json()).data.result };
}

function draw(element, { times, result }) {
  const labels = element.dataset.legend.split(" ");
  const at = new Map(times.map((t, i) => [t, i]));
  const rows = result.map((series) => {
    const row = new Array(times.length).fill(null); // a gap stays a gap
    for (const [t, v] of series.values) if (at.has(t) && Number.isFinite(+v)) row[at.get(t)] = +v;
    return row;
  });
  const names = result.map((s) => labels.map((l) => s.metric[l]).filter(Boolean).join(" ") || "value");
  const key = names.join("|");
  if (element.plot && element.key === key) return element.plot.setData([times, ...rows]);
  element.replaceChildren();
  element.key = key;
  const axis = { stroke: getComputedStyle(document.body).color, grid: { stroke: "#8884", width: 1 } };
  element.plot = new uPlot({
    width: Math.max(300, element.clientWidth), height: 190, axes: [axis, { ...axis, size: 56 }],
    scales: { y: { range: (_, min, max) => [0, max > 0 ? max * 1.1 : 1] } },
    series: [{}, ...names.map((label, i) => ({ label, stroke: COLORS[i % COLORS.length], width: 1.5, spanGaps: false }))],
  }, [times, ...rows], element);
}

async function refresh() {
  for (const element of document.querySelectorAll(".chart")) {
    try { draw(element, await matrix(element.dataset.query)); }
    catch (error) { if (!element.plot) element.textContent = "no chart: " + error.message; }
  }
}
if (document.querySelector(".chart")) { refresh(); setInterval(refresh, REFRESH_MS); }
