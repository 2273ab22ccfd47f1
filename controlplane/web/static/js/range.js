// The one range of time of all charts of a page. It is in the address: `?range=1h`, or `?start=S&end=S` in Unix seconds.
//
// `data-ranges="1h"` on the bar is the range without one in the address. `data-start` and `data-end` there are a fixed
// time instead, such as that of a rollout. `data-scrape` is the interval of scrapes in seconds.
import { movedTo } from "./live.js";

const UNITS_S = [31536000, 604800, 86400, 3600, 60, 1, 0.001];
const MOST_POINTS = 240, FEWEST_POINTS = 60;
const STEPS_S = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400];
// The window of the alert rules: a line crosses its threshold when the alert does. A short live range looks back less.
const WINDOW_S = 300, SHORT_WINDOW_S = 60, SHORT_S = 900, SCRAPE_S = 15;
const SHORTEST_S = 60; // of a zoom
const listeners = [];

// Seconds of a Prometheus duration such as 1h30m, or null for another text and for no time at all.
export function seconds(words) {
  const found = /^(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/.exec((words ?? "").trim());
  return found ? UNITS_S.reduce((sum, unit, number) => sum + unit * (found[number + 1] ?? 0), 0) || null : null;
}

// A chart asks for no more points than it has pixels: those of the narrowest chart of the page.
function points() {
  const widths = [...document.querySelectorAll("figure[data-chart] .plot")].map((plot) => plot.clientWidth).filter(Boolean);
  return Math.max(FEWEST_POINTS, Math.min(MOST_POINTS, ...widths));
}

// Start and end that the page or the address fixes, or null: the range ends now.
function fixed(asked, bar) {
  const [from, to] = [Number(asked.get("start")), Number(asked.get("end"))];
  if (from > 0 && to > from) return { from, to, zoomed: true };
  if (asked.get("range") || !bar?.dataset.start) return null;
  return { from: Number(bar.dataset.start), to: Number(bar.dataset.end) || Date.now() / 1000, zoomed: false };
}

// What rates look back over: never less than four scrapes, so that one lost scrape leaves no gap.
function windowOf(long, step, bar) {
  return Math.max(long ? WINDOW_S : SHORT_WINDOW_S, 4 * step, 4 * (Number(bar?.dataset.scrape) || SCRAPE_S));
}

// The range now: {start, end, step, window, length} in seconds. `window` is what rates look back over.
export function range() {
  const asked = new URL(location.href).searchParams;
  const bar = document.querySelector("[data-ranges]");
  const held = fixed(asked, bar);
  const length = held ? held.to - held.from : seconds(asked.get("range")) ?? seconds(bar?.dataset.ranges) ?? 3600;
  const step = STEPS_S.find((s) => length / s <= points()) ?? Math.ceil(length / points());
  const end = Math.floor((held ? held.to : Date.now() / 1000) / step) * step;
  const zoomed = held?.zoomed ?? false;
  return { start: end - Math.max(1, Math.floor(length / step)) * step, end, step, window: windowOf(held || length > SHORT_S, step, bar), zoomed, length };
}

export function onRange(listener) {
  listeners.push(listener);
}

function changed(search) {
  movedTo(location.pathname + (search.size ? `?${search}` : ""));
  mark();
  for (const listener of listeners) listener();
}

// Shows another time in all charts.
export function zoom(start, end) {
  const middle = (start + end) / 2, half = Math.max(end - start, SHORTEST_S) / 2;
  const search = new URL(location.href).searchParams;
  search.delete("range");
  search.set("start", Math.floor(middle - half));
  search.set("end", Math.ceil(middle + half));
  changed(search);
}

// Goes back from a zoom to the whole range, or to the named one.
export function whole(name = "") {
  const search = new URL(location.href).searchParams;
  for (const part of ["start", "end"]) search.delete(part);
  if (name) search.set("range", name);
  changed(search);
}

function mark() {
  const asked = new URL(location.href).searchParams;
  const bar = document.querySelector("[data-ranges]");
  const held = fixed(asked, bar);
  const { length } = range();
  for (const link of document.querySelectorAll("[data-range]")) {
    const whole = link.dataset.range === "whole";
    if (whole ? held && !held.zoomed : !held && seconds(link.dataset.range) === length) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  for (const back of document.querySelectorAll("[data-unzoom]")) back.hidden = !held?.zoomed;
}

export function startRange() {
  document.body.addEventListener("click", (event) => {
    const link = event.target.closest("[data-range], [data-unzoom]");
    if (!link) return;
    event.preventDefault();
    whole(link.dataset.range === "whole" ? "" : link.dataset.range);
  });
  mark();
}
