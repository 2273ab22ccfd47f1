// Countdowns, and the local time of each moment. The server says what is left at a time; the page counts down from it.
import { freshness } from "./live.js";
import { text } from "./texts.js";

function lasting(seconds) {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  return h ? `${h} h ${m} min` : m ? `${m} min ${s} s` : `${s} s`;
}

function countDown() {
  const { stale, lastRead } = freshness();
  if (stale) return; // a page that is not current counts no time down
  for (const element of document.querySelectorAll("[data-left]")) {
    const left = element.dataset.left - (Date.now() - lastRead) / 1000;
    if (left > 0) element.textContent = text("about", { time: lasting(left) });
  }
}

function showLocal(event) {
  const time = event.target.closest?.("time[datetime]");
  if (!time) return;
  const local = new Date(time.dateTime).toLocaleString(document.documentElement.lang, { timeZoneName: "short" });
  time.title = text("local", { time: local });
}

export function startTimes() {
  setInterval(countDown, 1000);
  document.body.addEventListener("htmx:afterSettle", countDown);
  document.body.addEventListener("pointerover", showLocal);
  countDown();
}
