// The one range of time of all charts of a page. It is in the address: `?range=1h`, or `?start=S&end=S` in Unix seconds.
import { movedTo } from "./live.js";

const UNIT_S = { s: 1, m: 60, h: 3600, d: 86400 };
const POINTS = 240; // of a chart: about one every four pixels
const STEPS_S = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600];
const listeners = [];

function seconds(words) {
  const found = /^(\d+)([smhd])$/.exec(words ?? "");
  return found ? found[1] * UNIT_S[found[2]] : null;
}

// The range now: {start, end, step, window} in seconds. `window` is what rates look back over.
export function range() {
  const asked = new URL(location.href).searchParams;
  const [from, to] = [Number(asked.get("start")), Number(asked.get("end"))];
  const zoomed = from > 0 && to > from;
  const bar = document.querySelector("[data-ranges]");
  const length = zoomed ? to - from : seconds(asked.get("range")) ?? seconds(bar?.dataset.ranges) ?? 3600;
  const step = STEPS_S.find((s) => length / s <= POINTS) ?? Math.ceil(length / POINTS);
  const end = Math.floor((zoomed ? to : Date.now() / 1000) / step) * step;
  return { start: end - Math.floor(length / step) * step, end, step, window: Math.max(60, 4 * step), zoomed, length };
}

export function onRange(listener) {
  listeners.push(listener);
}

function changed(search) {
  movedTo(location.pathname + (search.size ? `?${search}` : ""));
  mark();
  for (const listener of listeners) listener();
}

// Zooms all charts to a time that was dragged over.
export function zoom(start, end) {
  const search = new URL(location.href).searchParams;
  search.delete("range");
  search.set("start", Math.floor(start));
  search.set("end", Math.ceil(end));
  changed(search);
}

function mark() {
  const { zoomed, length } = range();
  for (const link of document.querySelectorAll("[data-range]")) {
    if (!zoomed && seconds(link.dataset.range) === length) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  for (const back of document.querySelectorAll("[data-unzoom]")) back.hidden = !zoomed;
}

export function startRange() {
  document.body.addEventListener("click", (event) => {
    const link = event.target.closest("[data-range], [data-unzoom]");
    if (!link) return;
    event.preventDefault();
    const search = new URL(location.href).searchParams;
    for (const name of ["start", "end"]) search.delete(name);
    if (link.dataset.range) search.set("range", link.dataset.range);
    changed(search);
  });
  mark();
}
