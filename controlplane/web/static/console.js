// Keeps the page fresh, says whether it is, and shows the confirmation dialog. Everything else is HTML from the server.
"use strict";

const KINDS = ["alerts", "rollouts", "models", "targets", "config", "resync"];
const RECONNECT_MS = 5000;
const page = document.getElementById("live");
const dialog = document.getElementById("dialog");

// --- Is what the page shows true now? Two facts: does the server answer, and does it send events. ---

const indicator = document.getElementById("live-state");
const stale = document.getElementById("stale");
let lastRead = new Date();
let failure = ""; // why the last reading failed, "" when it did not
let events = null; // null: connecting
let leaving = false; // signing out: what is still under way gets 401

function tell() {
  const [state, text] = failure ? ["off", "not live"] : events ? ["on", "live"]
    : events === null ? ["", "connecting"] : ["slow", "every 5 s, no events"];
  if (indicator.textContent !== text) [indicator.className, indicator.textContent] = [state, text];
  const words = `${failure}. This page shows what was known at ${lastRead.toISOString().slice(11, 19)} UTC.`;
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
  if (leaving) return; // whoever signs out is not asked to come back
  location.assign("/sign-in?next=" + encodeURIComponent(location.pathname + location.search));
}

// --- Events: each one makes the page read itself anew. A browser resumes a cut stream itself, a refused one not.
// A page that nobody sees holds no stream: browsers open six connections to a server, and a seventh tab would hang. ---

let source = null;

function listen() {
  if (source) source.close();
  if (document.hidden) { source = events = null; return; }
  source = new EventSource("/cp/v1/events");
  source.onopen = () => { events = true; tell(); htmx.trigger(page, "refresh"); };
  source.onerror = () => {
    if (events) htmx.trigger(page, "refresh"); // finds out at once whether only the stream ended
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
  const successful = xhr.status >= 200 && xhr.status < 400; // htmx leaves its own word out of answers that redirect
  if (requestConfig.path === "/sign-out") leaving = successful;
  if (elt === page) return read(successful, xhr.status);
  if (successful) return;
  if (xhr.status === 401) return signInAgain();
  if (target === dialog) explain(xhr, requestConfig.verb);
});

// --- The dialog. ---

document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target === dialog && !dialog.open) dialog.showModal();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
});
// What was confirmed once is not confirmed again: the next opening asks the server anew.
dialog.addEventListener("close", () => dialog.replaceChildren());

function explain(xhr, verb) {
  let words = xhr.status ? `The control plane answered ${xhr.status}.` : "The control plane did not answer.";
  try { words = JSON.parse(xhr.responseText).detail || words; } catch { /* not a problem document */ }
  if (verb !== "get" && (!xhr.status || xhr.status >= 500)) {
    words += " Whether it was started is not known. Pressing the button again is safe: it happens once.";
  }
  if (!dialog.open) {
    dialog.replaceChildren(document.getElementById("failed").content.cloneNode(true));
    dialog.showModal();
  }
  dialog.querySelector(".failure").textContent = words;
}

listen();
