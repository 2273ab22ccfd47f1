// One plot: the options of uPlot for the series of a chart, in the colours of the page's theme.
import { drawStarts } from "./markers.js";
import { zoom } from "./range.js";
import { shown } from "./units.js";

const COLOURS = 8;
const FONT = '11px system-ui, -apple-system, "Segoe UI", sans-serif', DASHES = [[], [6, 3], [2, 3], [9, 3, 2, 3]];

function themed(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Gives each series its colour and dash. A version has one colour on the whole page; what else differs is the dash.
export function dressed(named, versions) {
  const used = new Map();
  return named.map((series, i) => {
    const at = versions.indexOf(series.labels.version);
    const tint = ((at >= 0 ? at : versions.length + i) % COLOURS) + 1;
    const times = used.get(tint) ?? 0;
    used.set(tint, times + 1);
    return { ...series, tint, dash: DASHES[at >= 0 ? times % DASHES.length : 0] };
  });
}

export function clock(t, length) {
  const words = new Date(t * 1000).toISOString();
  return length > 172800 ? words.slice(5, 16).replace("T", " ") : length > 1800 ? words.slice(11, 16) : words.slice(11, 19);
}

// A threshold far above the data would flatten the line: then the scale is the data's, and the line is off it.
function top(max, thresholds, most) {
  if (most) return most;
  const near = thresholds.map((t) => t.value).filter((v) => v <= max * 2.5);
  return Math.max(max, ...near, 0) * 1.12 || 1;
}

function drawThresholds(u, spec) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = themed("--bad");
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.font = FONT.replace("11px", `${10 * devicePixelRatio}px`);
  ctx.textAlign = "right";
  for (const { value, label } of spec.thresholds ?? []) {
    const y = Math.round(u.valToPos(value, "y", true)) + 0.5;
    if (y < bbox.top || y > bbox.top + bbox.height) continue;
    ctx.globalAlpha = 0.7;
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.globalAlpha = 1;
    ctx.textBaseline = y - bbox.top < 14 * devicePixelRatio ? "top" : "bottom";
    ctx.fillText(label ?? shown(value, spec.unit), bbox.left + bbox.width - 2 * devicePixelRatio, y + (ctx.textBaseline === "top" ? 3 : -2) * devicePixelRatio);
  }
  ctx.restore();
}

// The index of the sample beneath the cursor. Null: the cursor is off the plot.
export const beneath = ({ cursor }) => cursor.left >= 0 ? cursor.idx : null;

// `told` gets the index of the sample beneath the cursor, or null; `ready` the plot when it has its scales; `drawn` the
// plot whenever its place may have changed.
export function optionsOf(size, spec, named, time, { told, ready, drawn }) {
  const axis = { stroke: themed("--dim"), font: FONT, grid: { stroke: themed("--line"), width: 1 }, ticks: { show: false } };
  const colours = { alert: themed("--bad"), pending: themed("--busy"), rollout: themed("--info") };
  const seriesOf = ({ name, tint, dash }) => {
    const stroke = themed(`--v${tint}`);
    return { label: name, stroke, dash, width: 1.5, spanGaps: false, points: { show: false }, fill: named.length === 1 ? stroke + "18" : undefined };
  };
  return {
    ...size,
    padding: [6, 16, 0, 0],
    tzDate: (t) => uPlot.tzDate(new Date(t * 1000), "Etc/UTC"),
    cursor: { y: false, drag: { x: true, y: false, setScale: false }, sync: { key: "page" }, points: { size: 6 } },
    legend: { show: false },
    axes: [
      { ...axis, size: 24, gap: 4, space: 62, values: (_, splits) => splits.map((t) => clock(t, time.length)) },
      { ...axis, size: (_, labels) => 14 + 6.2 * Math.max(3, ...(labels ?? []).map((l) => l.length)), gap: 4, space: 20, values: (_, splits) => splits.map((v) => shown(v, spec.unit)) },
    ],
    scales: {
      x: { time: true, range: () => [time.start, time.end] },
      y: { range: (_, min, max) => [Math.min(0, min ?? 0), top(max ?? 0, spec.thresholds ?? [], spec.max)] },
    },
    series: [{}, ...named.map(seriesOf)],
    hooks: {
      ready: [ready],
      draw: [(u) => { drawStarts(u, colours); drawThresholds(u, spec); drawn(u); }],
      setCursor: [(u) => told(beneath(u))],
      setSelect: [(u) => {
        if (u.select.width < 8) return;
        const [from, to] = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        zoom(from, to);
      }],
    },
  };
}
