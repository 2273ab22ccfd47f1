// A field `data-filters="SELECTOR"` hides the rows that do not have its words. The words are in the address, as `?q=`.
import { movedTo } from "./live.js";

function apply() {
  for (const field of document.querySelectorAll("input[data-filters]")) {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of document.querySelectorAll(field.dataset.filters)) {
      const content = (row.dataset.words ?? row.textContent).toLowerCase();
      const hidden = !words.every((word) => content.includes(word));
      if (row.hidden !== hidden) row.hidden = hidden;
    }
  }
}

export function startFilter() {
  document.body.addEventListener("input", (event) => {
    if (!event.target.matches("input[data-filters]")) return;
    const address = new URL(location.href);
    if (event.target.value) address.searchParams.set("q", event.target.value);
    else address.searchParams.delete("q");
    movedTo(address.pathname + address.search);
    apply();
  });
  document.body.addEventListener("htmx:afterSettle", apply);
  apply();
}
