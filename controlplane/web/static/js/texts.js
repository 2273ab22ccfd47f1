// The texts of scripts, in the page's language. The server writes them into each page.
const texts = JSON.parse(document.getElementById("texts").textContent);

export function text(name, values = {}) {
  return texts[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
}
