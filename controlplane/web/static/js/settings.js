// Appearance and language, kept in cookies of a year: the server renders both, so no page appears in the wrong one first.
const YEAR_S = 31536000;

export function startSettings() {
  const account = document.getElementById("account");
  for (const select of account.querySelectorAll("select[data-cookie]")) {
    select.addEventListener("change", () => {
      document.cookie = `${select.dataset.cookie}=${select.value}; path=/; max-age=${YEAR_S}; samesite=lax`;
      location.reload();
    });
  }
  document.addEventListener("click", (event) => {
    if (!account.contains(event.target)) account.open = false;
  });
  account.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { account.open = false; account.querySelector("summary").focus(); }
  });
  const menu = document.getElementById("open-menu");
  menu.addEventListener("click", () => menu.setAttribute("aria-expanded", String(menu.getAttribute("aria-expanded") !== "true")));
}
