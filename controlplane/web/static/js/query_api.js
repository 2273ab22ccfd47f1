// Asks the query API by POST: an expression may be longer than an address.
const { "X-CSRF-Token": token } = JSON.parse(document.body.getAttribute("hx-headers"));

export function postQuery(path, parameters) {
  return fetch(path, { method: "POST", body: new URLSearchParams(parameters), headers: { "X-CSRF-Token": token } });
}
