// Rollouts and alerts as a thin strip above each chart: a bar from when one began until it ended, with its name on hover.
//
// A section `data-marks="/cp/v1/…"` names the API's lists, separated by spaces; `data-marks-model` keeps one model's.
const KEPT_MS = 30000; // the lists may be long, and change seldom
const LANES = 3, LANE = 6, SVG = "http://www.w3.org/2000/svg";
let known = [];
let readAt = 0;

function instant(words) {
  return words ? Date.parse(words) / 1000 : null;
}

function marksOf(item) {
  if (item.fingerprint) {
    const alert = { name: item.name, href: `/alerts/${item.fingerprint}`, model: item.labels.model };
    const pending = { ...alert, from: instant(item.pending_at), to: instant(item.fired_at ?? item.resolved_at), kind: "pending" };
    return [pending, { ...alert, from: instant(item.fired_at), to: instant(item.resolved_at), kind: "alert" }];
  }
  const name = `${item.from ?? "–"} → ${item.to} (${item.phase})`;
  return [{ from: instant(item.created_at), to: instant(item.finished_at), name, kind: "rollout", href: `/rollouts/${item.id}`, model: item.model }];
}

// Reads what is to be marked. Charts are drawn without marks when it cannot be read.
export async function readMarks() {
  const section = document.querySelector("[data-marks]");
  if (!section || Date.now() - readAt < KEPT_MS) return;
  readAt = Date.now();
  const model = section.dataset.marksModel;
  const lists = await Promise.all(section.dataset.marks.split(" ").map(async (path) => {
    try {
      const answer = await fetch(path);
      return answer.ok ? (await answer.json()).items.flatMap(marksOf) : [];
    } catch { return []; } // the charts are useful without
  }));
  known = lists.flat().filter((mark) => mark.from && (!model || mark.model === model));
}

// The marks within a time, rollouts first. Of those that do not fit side by side, the later ones are left out.
export function marksWithin(start, end) {
  return known
    .filter((mark) => mark.from <= end && (mark.to ?? end) >= start)
    .sort((a, b) => (a.kind < b.kind) - (a.kind > b.kind) || a.from - b.from);
}

function inLanes(marks, x) {
  const ends = new Array(LANES).fill(-Infinity);
  return marks.flatMap((mark) => {
    const [left, right] = [x(mark.from), Math.max(x(mark.to ?? Infinity), x(mark.from) + 4)];
    const lane = ends.findIndex((end) => end < left);
    if (lane < 0) return [];
    ends[lane] = right + 2;
    return [{ mark, left, right, lane }];
  });
}

// Draws the strip above a plot, and tells `hovered` the mark beneath the pointer, or null.
export function drawStrip(strip, u, hovered) {
  const { min, max } = u.scales.x;
  const offset = u.bbox.left / devicePixelRatio, width = u.bbox.width / devicePixelRatio;
  const x = (t) => offset + Math.max(0, Math.min(1, (t - min) / (max - min))) * width;
  strip.setAttribute("viewBox", `0 0 ${Math.max(1, strip.clientWidth)} ${LANES * LANE}`);
  strip.replaceChildren(...inLanes(marksWithin(min, max), x).map(({ mark, left, right, lane }) => {
    const bar = document.createElementNS(SVG, "rect");
    const size = { x: left, y: (LANES - 1 - lane) * LANE, width: right - left, height: LANE - 2, rx: 1.5 };
    for (const [name, value] of Object.entries(size)) bar.setAttribute(name, value);
    bar.setAttribute("class", mark.kind);
    bar.dataset.name = mark.name;
    bar.addEventListener("pointerenter", () => hovered(mark));
    bar.addEventListener("pointerleave", () => hovered(null));
    bar.addEventListener("click", () => location.assign(mark.href));
    return bar;
  }));
}

// Draws a faint line where each rollout and alert begins.
export function drawStarts(u, colours) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.globalAlpha = 0.35;
  ctx.setLineDash([]);
  ctx.lineWidth = devicePixelRatio;
  for (const mark of marksWithin(u.scales.x.min, u.scales.x.max)) {
    const x = Math.round(u.valToPos(mark.from, "x", true)) + 0.5;
    if (x <= bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = colours[mark.kind];
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}
