// Rollouts and alerts on every chart: a band from when one began until it ended, with its name at the top.
//
// A section `data-marks="/cp/v1/…"` names the API's lists, separated by spaces; `data-marks-model` keeps one model's.
const found = [];

function instant(words) {
  return words ? Date.parse(words) / 1000 : null;
}

function marksOf(item) {
  if (item.fingerprint) {
    const { model } = item.labels;
    const fired = { from: instant(item.fired_at), to: instant(item.resolved_at), name: item.name, colour: "--bad", model };
    const pending = { from: instant(item.pending_at), to: instant(item.fired_at ?? item.resolved_at), name: "", colour: "--busy", model };
    return [pending, fired];
  }
  return [{ from: instant(item.created_at), to: instant(item.finished_at), name: `${item.from_ ?? item.from ?? "–"} → ${item.to}`, colour: "--info", model: item.model }];
}

// Reads what is to be marked within the range. Charts are drawn without marks when it cannot be read.
export async function markers(time) {
  const section = document.querySelector("[data-marks]");
  found.length = 0;
  if (!section) return;
  const model = section.dataset.marksModel;
  for (const path of section.dataset.marks.split(" ")) {
    try {
      const answer = await fetch(path);
      if (!answer.ok) continue;
      found.push(...(await answer.json()).items.flatMap(marksOf).filter((m) =>
        m.from && m.from <= time.end && (m.to ?? time.end) >= time.start && (!model || m.model === model)));
    } catch { /* the charts are useful without */ }
  }
}

export function drawMarkers(u) {
  const { ctx, bbox } = u;
  const style = getComputedStyle(document.documentElement);
  const at = (t) => Math.max(bbox.left, Math.min(bbox.left + bbox.width, u.valToPos(t, "x", true)));
  ctx.save();
  ctx.font = `${10 * devicePixelRatio}px system-ui`;
  for (const mark of found) {
    const [left, right] = [at(mark.from), at(mark.to ?? u.scales.x.max)];
    ctx.fillStyle = ctx.strokeStyle = style.getPropertyValue(mark.colour).trim();
    ctx.globalAlpha = 0.09;
    ctx.fillRect(left, bbox.top, Math.max(1, right - left), bbox.height);
    ctx.globalAlpha = 0.8;
    ctx.fillRect(left, bbox.top, Math.max(1, devicePixelRatio), bbox.height);
    if (right - left > 60 * devicePixelRatio || found.length < 4) ctx.fillText(mark.name, left + 3 * devicePixelRatio, bbox.top + 10 * devicePixelRatio);
  }
  ctx.restore();
}
