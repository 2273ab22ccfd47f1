// Values with their unit, as the server writes them: three digits, and never a zero for what is unknown.
const STEPS = [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"]];
const BYTES = [[2 ** 40, " TiB"], [2 ** 30, " GiB"], [2 ** 20, " MiB"], [2 ** 10, " KiB"], [1, " B"]];
const SUFFIX = { per_second: "/s", tokens_per_second: " tok/s", celsius: " °C", watts: " W", usd: " $", percent: " %" };

function digits(value) {
  return String(Number(value.toPrecision(3)));
}

function scaled(value, steps) {
  const [size, unit] = steps.find(([size]) => Math.abs(value) >= size) ?? [1, ""];
  return digits(value / size) + unit;
}

export function shown(value, unit = "") {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (unit === "seconds") return Math.abs(value) < 1 ? `${digits(value * 1000)} ms` : `${digits(value)} s`;
  if (unit === "ratio") return `${digits(value * 100)} %`;
  if (unit === "bytes") return scaled(value, BYTES);
  return scaled(value, STEPS) + (SUFFIX[unit] ?? "");
}
