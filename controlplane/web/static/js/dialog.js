// The dialog that asks before an action, and says what came of it.
import { text } from "./texts.js";

const dialog = document.getElementById("dialog");

function explain(xhr, verb) {
  let words = xhr.status ? text("answered", { status: xhr.status }) + "." : text("no_answer");
  try { words = JSON.parse(xhr.responseText).detail || words; } catch { /* not a problem document */ }
  if (verb !== "get" && (!xhr.status || xhr.status >= 500)) words += " " + text("unknown_outcome");
  if (!dialog.open) {
    dialog.replaceChildren(document.getElementById("failed").content.cloneNode(true));
    dialog.showModal();
  }
  dialog.querySelector(".failure").textContent = words;
}

export function startDialog() {
  document.body.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target === dialog && !dialog.open) dialog.showModal();
  });
  document.body.addEventListener("htmx:afterRequest", (event) => {
    const { target, xhr, requestConfig } = event.detail;
    const successful = xhr.status >= 200 && xhr.status < 400;
    if (!successful && xhr.status !== 401 && target === dialog) explain(xhr, requestConfig.verb);
  });
  for (const one of document.querySelectorAll("dialog")) {
    one.addEventListener("click", (event) => {
      if (event.target === one || event.target.closest("[data-close]")) one.close();
    });
  }
  // A closed dialog is emptied, so that its key cannot be used again. The next opening requests a new dialog.
  dialog.addEventListener("close", () => dialog.replaceChildren());
}
