// Keeps the page current, and shows whether it is. Two facts decide: whether the server answers, and sends events.
import { text } from "./texts.js";

const KINDS = ["alerts", "rollouts", "models", "targets", "config", "keys", "resync"];
const RECONNECT_MS = 5000;
const CALM_MS = 1000; // the least between two refreshes by events: a burst of events is one refresh, and one after it
const page = document.getElementById("live");
const indicator = document.getElementById("live-state");
const stale = document.getElementById("stale");
const title = document.title;

let lastRead = new Date();
let failure = ""; // why the last refresh failed; "": it succeeded
let events = null; // null: connecting
let leaving = false; // while signing out: requests under way get 401
let source = null;

function tell() {
  const [state, word] = failure ? ["off", "not_live"] : events ? ["on", "live"]
    : events === null ? ["", "connecting"] : ["slow", "no_events"];
  if (indicator.textContent !== text(word)) [indicator.className, indicator.textContent] = [state, text(word)];
  const words = text("state_of", { why: failure, time: lastRead.toISOString().slice(11, 19) });
  if (stale.hidden !== !failure) stale.hidden = !failure;
  if (failure && stale.textContent !== words) stale.textContent = words;
  document.body.classList.toggle("stale", failure !== "");
}

function read(answered, status) {
  if (answered) [failure, lastRead] = ["", new Date()];
  else if (status === 401) return signInAgain();
  else failure = status ? text("answered", { status }) : text("unreachable");
  tell();
}

function signInAgain() {
  if (leaving) return; // after a sign-out the user is not asked to sign in again
  location.assign("/sign-in?next=" + encodeURIComponent(location.pathname + location.search));
}

// The title of the tab has the number of firing alerts, so that a person sees it from another tab.
function count() {
  const firing = Number(page.dataset.firing);
  const words = firing ? `(${firing}) ${title}` : title;
  if (document.title !== words) document.title = words;
}

// A browser resumes an interrupted stream itself, but not a refused one. A hidden page closes its stream: a browser
// opens six connections to a server, so a seventh tab would hang.
function listen() {
  if (source) source.close();
  if (document.hidden) { source = events = null; return; }
  source = new EventSource("/cp/v1/events");
  source.onopen = () => { events = true; tell(); refresh(); };
  source.onerror = () => {
    if (events) refresh(); // shows at once whether only the stream ended
    events = false;
    tell();
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, RECONNECT_MS);
  };
  for (const kind of KINDS) source.addEventListener(kind, heard);
}

export function refresh() {
  htmx.trigger(page, "refresh");
}

let refreshedAt = 0;
let waiting = null;

function heard() {
  if (waiting) return;
  const rest = refreshedAt + CALM_MS - Date.now();
  waiting = setTimeout(() => { waiting = null; refreshedAt = Date.now(); refresh(); }, Math.max(0, rest));
}

let wanted = page?.getAttribute("hx-get");

// After a change of the address, such as another range of time, refreshes ask for the new one.
export function movedTo(address) {
  history.replaceState(null, "", address);
  wanted = address;
}

// An answer about the address before the last change comes too late: it would undo the change.
function dropLate(event) {
  const { requestConfig } = event.detail;
  if (requestConfig.elt !== page || requestConfig.path === wanted) return;
  event.detail.shouldSwap = false;
  refresh();
}

// Whether the page shows the state of now, and when it was read.
export function freshness() {
  return { stale: failure !== "", lastRead };
}

export function startLive() {
  document.addEventListener("visibilitychange", () => { listen(); refresh(); });
  document.body.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.elt === page) event.detail.path = wanted;
  });
  document.body.addEventListener("htmx:beforeSwap", dropLate);
  document.body.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.elt === page && document.hidden) return event.preventDefault();
    if (event.detail.requestConfig.path === "/sign-out") leaving = true;
  });
  document.body.addEventListener("htmx:afterRequest", (event) => {
    const { elt, xhr, requestConfig } = event.detail;
    const successful = xhr.status >= 200 && xhr.status < 400; // detail.successful is not set for a redirect
    if (requestConfig.path === "/sign-out") leaving = successful;
    if (elt === page) return read(successful, xhr.status);
    if (xhr.status === 401) signInAgain();
  });
  document.body.addEventListener("htmx:afterSettle", count);
  count();
  listen();
}
