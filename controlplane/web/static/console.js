// Keeps the page current, shows whether it is, and opens the confirmation dialog. All other HTML is from the server.
"use strict";

const KINDS = ["alerts", "rollouts", "models", "targets", "config", "keys", "resync"];
const RECONNECT_MS = 5000;
const page = document.getElementById("live");
const dialog = document.getElementById("dialog");

// --- Whether the page is current. Two facts decide: whether the server answers, and whether it sends events. ---

const indicator = document.getElementById("live-state");
const stale = document.getElementById("stale");
let lastRead = new Date();
let failure = ""; // why the last refresh failed; "": it succeeded
let events = null; // null: connecting
let leaving = false; // while signing out: requests under way get 401

function tell() {
  const [state, text] = failure ? ["off", "not live"] : events ? ["on", "live"]
    : events === null ? ["", "connecting"] : ["slow", "every 5 s, no events"];
  if (indicator.textContent !== text) [indicator.className, indicator.textContent] = [state, text];
  const words = `${failure}. This page shows the state of ${lastRead.toISOString().slice(11, 19)} UTC.`;
  if (stale.hidden !== !failure) stale.hidden = !failure;
  if (failure && stale.textContent !== words) stale.textContent = words;
  document.body.classList.toggle("stale", failure !== "");
}

function read(answered, status) {
  if (answered) [failure, lastRead] = ["", new Date()];
  else if (status === 401) return signInAgain();
  else failure = status ? `The control plane answered ${status}` : "The control plane cannot be reached";
  tell();
}

function signInAgain() {
  if (leaving) return; // after a sign-out the user is not asked to sign in again
  location.assign("/sign-in?next=" + encodeURIComponent(location.pathname + location.search));
}

// --- Events: each one refreshes the page. A browser resumes an interrupted stream itself, but not a refused one.
// A hidden page closes its stream: a browser opens six connections to a server, so a seventh tab would hang. ---

let source = null;

function listen() {
  if (source) source.close();
  if (document.hidden) { source = events = null; return; }
  source = new EventSource("/cp/v1/events");
  source.onopen = () => { events = true; tell(); htmx.trigger(page, "refresh"); };
  source.onerror = () => {
    if (events) htmx.trigger(page, "refresh"); // shows at once whether only the stream ended
    events = false;
    tell();
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, RECONNECT_MS);
  };
  for (const kind of KINDS) source.addEventListener(kind, () => htmx.trigger(page, "refresh"));
}

document.addEventListener("visibilitychange", () => {
  listen();
  htmx.trigger(page, "refresh");
});

document.body.addEventListener("htmx:beforeRequest", (event) => {
  if (event.detail.elt === page && document.hidden) return event.preventDefault();
  if (event.detail.requestConfig.path === "/sign-out") leaving = true;
});
document.body.addEventListener("htmx:afterRequest", (event) => {
  const { elt, target, xhr, requestConfig } = event.detail;
  const successful = xhr.status >= 200 && xhr.status < 400; // detail.successful is not set for a redirect
  if (requestConfig.path === "/sign-out") leaving = successful;
  if (elt === page) return read(successful, xhr.status);
  if (successful) return;
  if (xhr.status === 401) return signInAgain();
  if (target === dialog) explain(xhr, requestConfig.verb);
});

// --- Countdowns: the server says what is left at a time, and the page counts down until the next refresh. ---

function lasting(seconds) {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  return h ? `${h} h ${m} min` : m ? `${m} min ${s} s` : `${s} s`;
}

function countDown() {
  if (failure) return; // a page that is not current counts no time down
  for (const element of document.querySelectorAll("[data-left]")) {
    const left = element.dataset.left - (Date.now() - lastRead) / 1000;
    if (left > 0) element.textContent = `about ${lasting(left)}`;
  }
}

setInterval(countDown, 1000);
document.body.addEventListener("htmx:afterSettle", countDown);
countDown();

// --- The dialog. ---

document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target === dialog && !dialog.open) dialog.showModal();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
});
// A closed dialog is emptied, so that its key cannot be used again. The next opening requests a new dialog.
dialog.addEventListener("close", () => dialog.replaceChildren());

function explain(xhr, verb) {
  let words = xhr.status ? `The control plane answered ${xhr.status}.` : "The control plane did not answer.";
  try { words = JSON.parse(xhr.responseText).detail || words; } catch { /* not a problem document */ }
  if (verb !== "get" && (!xhr.status || xhr.status >= 500)) {
    words += " It is unknown whether the action was started. You can press the button again: the action happens once.";
  }
  if (!dialog.open) {
    dialog.replaceChildren(document.getElementById("failed").content.cloneNode(true));
    dialog.showModal();
  }
  dialog.querySelector(".failure").textContent = words;
}

listen();
